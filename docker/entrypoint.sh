#!/usr/bin/env bash
# Source ROS 2 and the workspace, then run what was asked for.
set -eo pipefail
# shellcheck disable=SC1090,SC1091
. "/opt/ros/$ROS_DISTRO/setup.bash"
# shellcheck disable=SC1091
. /opt/vpr/ws/install/local_setup.bash
exec "$@"
