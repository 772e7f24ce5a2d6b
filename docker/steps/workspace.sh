#!/usr/bin/env bash
# Build both packages in a workspace, by the environment's Python, so that the commands run by it.
#   workspace.sh VENV WORKSPACE [further arguments of colcon build]
# Outside of ROS 2 there is no ament_cmake for vpr_msgs: give --base-paths src/vpr_ros.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$(realpath -s "${1:?expected the folder of the environment}")
workspace=${2:?expected the folder of the workspace}
shift 2

"$venv/bin/python" "$root/tools/workspace.py" "$workspace"
cd "$workspace"
"$venv/bin/python" -m colcon build "$@"
