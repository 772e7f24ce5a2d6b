"""Start the localizer on a robot: `ros2 launch vpr_ros localize.launch.py map:=~/maps/office`.

The node runs as a module of the interpreter that runs this file, so that the same launch file
works from a colcon workspace and from a pip environment. Only what is given on the command line
overrides the parameter file.
"""

import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(__file__).resolve().parents[1] / 'config'

ARGUMENTS = {
    'map': ('', 'Map folder, made by build_map (required unless the parameter file names it).'),
    'model': ('', 'Model folder; default: the shipped model that made the map.'),
    'params_file': (str(CONFIG / 'localize.yaml'), 'Parameters of the node.'),
    'namespace': ('', 'Namespace of the node.'),
    'use_sim_time': ('false', 'Take the time from /clock, as when a bag is played.'),
    'autostart': ('true', 'Configure and activate without a lifecycle manager.'),
    'image_topic': ('', 'Camera topic, without the suffix of the transport; default: image.'),
    'image_transport': ('', 'raw or compressed; default: raw.'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
    'rviz': ('false', 'Also start RViz with the layout of this package.'),
}
FLAGS = ('use_sim_time', 'autostart')
OVERRIDES = ('map', 'model', 'image_topic', 'image_transport')


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Make the actions once the arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    parameters = {
        name: ParameterValue(given[name], value_type=str) for name in OVERRIDES if given[name]
    }
    flags = {name: is_true(name, given[name]) for name in FLAGS}
    node = Node(
        executable=sys.executable,
        arguments=['-m', 'vpr_ros.localize'],
        name='localize',
        namespace=given['namespace'],
        parameters=[given['params_file'], parameters | flags],
        ros_arguments=['--log-level', given['log_level']],
        output='screen',
        emulate_tty=True,
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(CONFIG / 'rviz' / 'localize.rviz')],
        parameters=[{'use_sim_time': flags['use_sim_time']}],
    )
    return [node, rviz] if is_true('rviz', given['rviz']) else [node]


def is_true(name: str, text: str) -> bool:
    """The meaning of a launch argument that is true or false."""
    if text.lower() not in ('true', 'false', '1', '0'):
        raise ValueError(f'{name}:={text}: expected true or false')
    return text.lower() in ('true', '1')


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
