"""Train, evaluate and export the networks that tell places apart; needs torch, and no ROS."""
