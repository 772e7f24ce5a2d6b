"""Find the robot on a mapped route by camera images: a pose with a probability, or no answer."""

import os

from vpr_ros.cli.importing import end_at_interrupt

# onnxruntime from 1.29 on reports to its maker what it runs, and keeps a number of this machine in
# the user's cache. It reads this variable once, when it is loaded.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

end_at_interrupt()
