"""The launch files, by the real `launch`, which comes with ROS 2 and not with its wheels.

test_launch_files.py tests all of them by a stand-in.
"""

from pathlib import Path

import pytest

launch = pytest.importorskip('launch', reason='launch comes with a ROS 2 installation')
pytest.importorskip('launch_ros', reason='launch_ros comes with a ROS 2 installation')
from launch.launch_description_sources import get_launch_description_from_python_launch_file

FILE = Path(__file__).resolve().parents[1] / 'launch' / 'localize.launch.py'
NAV2 = FILE.with_name('localize_nav2.launch.py')
EKF = FILE.with_name('localize_ekf.launch.py')


def test_it_declares_the_arguments_of_the_contract() -> None:
    description = get_launch_description_from_python_launch_file(str(FILE))
    names = {argument.name for argument in description.get_launch_arguments()}
    assert names >= {
        'map', 'model', 'params_file', 'namespace', 'use_sim_time', 'autostart', 'image_topic',
        'image_transport', 'log_level', 'rviz',
    }  # fmt: skip


@pytest.mark.parametrize(('rviz', 'count'), [('false', 1), ('true', 2)])
def test_it_starts_the_node_and_rviz_if_asked(rviz: str, count: int) -> None:
    description = get_launch_description_from_python_launch_file(str(FILE))
    context = launch.LaunchContext()
    context.launch_configurations['rviz'] = rviz
    context.launch_configurations['map'] = '/maps/office'
    actions = [action for entity in description.entities for action in entity.visit(context) or []]
    assert len(actions) == count


def test_the_launch_file_for_nav2_can_be_read() -> None:
    description = get_launch_description_from_python_launch_file(str(NAV2))
    names = {argument.name for argument in description.get_launch_arguments()}
    assert names >= {'map', 'mode', 'manager', 'bond_timeout', 'namespace', 'use_respawn'}


def test_the_launch_file_for_robot_localization_can_be_read() -> None:
    description = get_launch_description_from_python_launch_file(str(EKF))
    names = {argument.name for argument in description.get_launch_arguments()}
    assert names >= {'map', 'ekf_params_file', 'imu_topic', 'odom_filter', 'namespace'}
