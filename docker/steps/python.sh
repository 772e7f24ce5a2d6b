#!/usr/bin/env bash
# Make a virtual environment with what apt lacks: faiss-cpu, onnxruntime, rosbags and utm.
# It sees a sourced ROS 2. Without one it takes ROS 2 from wheels, as CI does outside of a container.
#   python.sh VENV
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${1:?expected the folder of the environment}

make --directory "$root" --no-print-directory environment VENV="$venv"
"$venv/bin/python" -c 'import cv2, faiss, numpy, onnxruntime, rclpy, rosbags, utm'
