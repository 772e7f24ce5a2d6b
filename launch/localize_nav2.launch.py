"""Start the localizer for Nav2: `ros2 launch vpr_ros localize_nav2.launch.py map:=~/maps/office`.

The node waits, and Nav2's lifecycle manager configures and activates it and forms a bond with it.
It takes AMCL's place, or gives AMCL its first pose (docs/tutorials/nav2.md). All that
localize.launch.py takes is passed on to it.
"""

import runpy
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

LOCALIZE = Path(__file__).absolute().with_name('localize.launch.py')
localize = runpy.run_path(str(LOCALIZE))
ArgumentError = localize['ArgumentError']

MODES = {
    'localization': {'publish_tf': 'true', 'publish_initialpose': 'false'},
    'initialpose': {'publish_tf': 'false', 'publish_initialpose': 'true'},
}
OWN = {
    'mode': (
        'localization',
        "localization: in AMCL's place, with map -> odom. initialpose: AMCL localizes and gets "
        'its first pose from here, and another after each loss.',
    ),
    'autostart': ('true', 'The manager configures and activates the node at start.'),
    'manager': ('true', 'Start a manager; false if localize is among the nodes of another one.'),
    'manager_params_file': (
        str(localize['CONFIG'] / 'nav2_lifecycle_manager.yaml'),
        'Parameters of the manager.',
    ),
    'bond_timeout': ('', 'Seconds without a heartbeat; 0.0: no bond; default: as the file says.'),
    'occupancy_map': ('', "YAML file of an occupancy map; also starts Nav2's map_server with it."),
}
FORCED = {'autostart', *MODES['localization']}
PASSED = {name: what for name, what in localize['ARGUMENTS'].items() if name not in FORCED}


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Make the actions once the arguments are known."""
    names = (*PASSED, *OWN)
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    if given['mode'] not in MODES:
        raise ArgumentError(f'mode:={given["mode"]}: expected {" or ".join(MODES)}')
    managing = localize['is_true']('manager', given['manager'])
    servers = map_server(given) if given['occupancy_map'] else []
    managers = [manager(given, has_map=bool(servers))] if managing else []
    passed = {name: given[name] for name in PASSED} | MODES[given['mode']]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LOCALIZE)),
        launch_arguments=[*passed.items(), ('autostart', 'false')],
    )
    return [node, *servers, *managers]


def manager(given: dict[str, str], *, has_map: bool) -> Node:
    """Nav2's lifecycle manager, of this node and of a map server."""
    localize['needs']('nav2_lifecycle_manager', 'lifecycle_manager', 'or take manager:=false')
    managed = {
        'autostart': localize['is_true']('autostart', given['autostart']),
        'use_sim_time': localize['is_true']('use_sim_time', given['use_sim_time']),
        'node_names': ['map_server', 'localize'] if has_map else ['localize'],
    }
    if given['bond_timeout']:
        seconds = localize['checked_seconds']('bond_timeout', given['bond_timeout'])
        managed['bond_timeout'] = seconds
    params_file = localize['existing']('manager_params_file', given['manager_params_file'])
    return Node(
        package='nav2_lifecycle_manager',
        executable='lifecycle_manager',
        name='lifecycle_manager_localize',
        namespace=given['namespace'],
        parameters=[str(params_file), managed],
        ros_arguments=['--log-level', localize['checked_level'](given['log_level'])],
        output='screen',
    )


def map_server(given: dict[str, str]) -> list[Node]:
    """Nav2's map server, as nav2_bringup starts it."""
    localize['needs']('nav2_map_server', 'map_server', 'or leave out occupancy_map')
    like = '; expected the YAML of a map'
    path = localize['existing']('occupancy_map', given['occupancy_map'], like)
    return [
        Node(
            package='nav2_map_server',
            executable='map_server',
            name='map_server',
            namespace=given['namespace'],
            parameters=[
                {
                    'yaml_filename': ParameterValue(str(path), value_type=str),
                    'use_sim_time': localize['is_true']('use_sim_time', given['use_sim_time']),
                }
            ],
            remappings=localize['TF'],
            output='screen',
            respawn=localize['is_true']('use_respawn', given['use_respawn']),
            respawn_delay=localize['checked_seconds']('respawn_delay', given['respawn_delay']),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return localize['described'](PASSED | OWN, start)
