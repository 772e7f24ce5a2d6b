"""Train, evaluate and export the networks that tell places apart; needs torch, and no ROS."""

import vpr_ros  # noqa: F401  # keeps onnxruntime from reporting, and has to come before it
