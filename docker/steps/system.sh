#!/usr/bin/env bash
# Install what apt has of what both packages need, by rosdep's keys. As root, where ROS 2 is installed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${ROS_DISTRO:?expected a ROS 2 image, whose ROS_DISTRO names the distribution}"

apt-get update
apt-get install -y --no-install-recommends make python3-venv
rosdep update --rosdistro "$ROS_DISTRO"
rosdep install --from-paths "$root" "$root/vpr_msgs" --ignore-src --rosdistro "$ROS_DISTRO" -y
rm -rf /var/lib/apt/lists/*
