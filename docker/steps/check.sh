#!/usr/bin/env bash
# Map the demo's day and evaluate its dusk by the commands that a workspace installed.
#   check.sh VENV WORKSPACE [arguments of tools/check_installed.py, such as --live]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${1:?expected the folder of the environment}
workspace=${2:?expected the folder of the workspace}
shift 2

set +u # colcon's files ask for variables that are not set
# shellcheck disable=SC1091
. "$workspace/install/local_setup.bash"
set -u
exec "$venv/bin/python" "$root/tools/check_installed.py" \
    --commands "$workspace/install/vpr_ros/lib/vpr_ros" "$@"
