"""The launch file, by the real `launch` where it is installed.

It comes with ROS 2, not with the wheels.
"""

from pathlib import Path

import pytest

launch = pytest.importorskip('launch', reason='launch comes with a ROS 2 installation')
pytest.importorskip('launch_ros', reason='launch_ros comes with a ROS 2 installation')
from launch.launch_description_sources import get_launch_description_from_python_launch_file

FILE = Path(__file__).resolve().parents[1] / 'launch' / 'localize.launch.py'


def test_it_declares_the_arguments_of_the_contract() -> None:
    description = get_launch_description_from_python_launch_file(str(FILE))
    names = {argument.name for argument in description.get_launch_arguments()}
    assert names == {
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
