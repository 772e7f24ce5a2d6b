"""A colcon workspace, built once a run by a plain `colcon build`: vpr_ros, vpr_msgs and `bond`.

The build environment is the one of tools/build_msgs.py, with colcon. `bond` is a stand-in for
the package of that name, which is in no package index: its message with the same fields, and so
with the same type on the wire.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tools'))
import build_msgs
import workspace

COLCON = 'colcon-common-extensions==0.3.0'
BOND = {
    'package.xml': """<?xml version="1.0"?>
<package format="3">
  <name>bond</name>
  <version>0.0.0</version>
  <description>Stands in for bond</description>
  <maintainer email="nobody@example.org">nobody</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>std_msgs</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
""",
    'CMakeLists.txt': """cmake_minimum_required(VERSION 3.16)
project(bond)
find_package(ament_cmake REQUIRED)
find_package(std_msgs REQUIRED)
find_package(rosidl_default_generators REQUIRED)
rosidl_generate_interfaces(bond msg/Status.msg DEPENDENCIES std_msgs)
ament_package()
""",
    'msg/Status.msg': """std_msgs/Header header
string id
string instance_id
bool active
float32 heartbeat_timeout
float32 heartbeat_period
""",
}


def built_workspace(folder: Path) -> Path:
    """Build into `folder`, whose src/ has the links of `make workspace`; skips where it cannot."""
    if missing := build_msgs.missing_tool():
        pytest.skip(f'nothing can be built: {missing}')
    workspace.link(folder)
    for name, text in BOND.items():
        path = folder / 'src' / 'bond' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tools = folder.parent / 'build_environment'
    try:
        environment = build_msgs.build_environment(tools, COLCON)
    except build_msgs.BuildError as error:
        if 'No matching distribution' in str(error) or 'connection' in str(error).lower():
            pytest.skip('the package index cannot be reached')
        raise
    arguments = build_msgs.cmake_arguments(tools / 'bin' / 'python')
    done = subprocess.run(
        [str(tools / 'bin' / 'colcon'), 'build', '--cmake-args', '-GNinja', *arguments],
        cwd=folder,
        env=environment | {'COLCON_HOME': str(folder / 'home')},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def sourced(setup: Path) -> dict[str, str]:
    """The environment of a shell that has sourced a setup file."""
    printed = subprocess.run(
        ['bash', '-c', f'. "{setup}" && env -0'], capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.partition('=') for line in printed.split('\0') if line)
    return {name: value for name, _, value in pairs} | {'PYTHONDONTWRITEBYTECODE': '1'}
