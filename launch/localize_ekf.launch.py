"""Start the localizer and an EKF: `ros2 launch vpr_ros localize_ekf.launch.py map:=~/maps/office`.

robot_localization's ekf_node fuses odometry with the poses of the camera and broadcasts
map -> odom; the localizer broadcasts nothing (docs/tutorials/robot-localization.md). All that
localize.launch.py takes is passed on to it.
"""

import runpy
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

LOCALIZE = Path(__file__).absolute().with_name('localize.launch.py')
localize = runpy.run_path(str(LOCALIZE))

# The filter owns map -> odom. From what comes on initialpose it starts anew.
FORCED = {'publish_tf': 'false', 'publish_initialpose': 'true'}
OWN = {
    'ekf_params_file': (
        str(localize['CONFIG'] / 'robot_localization.yaml'),
        'Parameters of the filters.',
    ),
    'imu_topic': ('', 'Gyroscope (sensor_msgs/Imu); default: imu/data.'),
    'odom_filter': (
        'false',
        'Start a second filter that broadcasts odom -> base_link, where the driver does not.',
    ),
}
PASSED = {name: what for name, what in localize['ARGUMENTS'].items() if name not in FORCED}


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Make the actions once the arguments are known."""
    names = (*PASSED, *OWN)
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    localize['needs'](
        'robot_localization', 'ekf_node', 'or take localize.launch.py publish_tf:=true'
    )
    params_file = localize['existing']('ekf_params_file', given['ekf_params_file'])
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LOCALIZE)),
        launch_arguments=[*((name, given[name]) for name in PASSED), *FORCED.items()],
    )
    # RViz's 2D Pose Estimate comes on initialpose, too.
    anew = [('set_pose', 'initialpose')]
    filters = [ekf('ekf_map', given, params_file, world='map_frame', remappings=anew)]
    if localize['is_true']('odom_filter', given['odom_filter']):
        local = [('odometry/filtered', 'odometry/local')]
        filters.append(ekf('ekf_odom', given, params_file, world='odom_frame', remappings=local))
    return [node, *filters]


def ekf(
    name: str,
    given: dict[str, str],
    params_file: Path,
    *,
    world: str,
    remappings: list[tuple[str, str]],
) -> Node:
    """A filter whose frames are those of the localizer; world: which of them it is in."""
    own = frames(given)
    own |= {'world_frame': own[world]} if world in own else {}
    topics = {'odom0': given['odom_topic'], 'imu0': given['imu_topic']}
    own |= {parameter: topic for parameter, topic in topics.items() if topic}
    return Node(
        package='robot_localization',
        executable='ekf_node',
        name=name,
        namespace=given['namespace'],
        parameters=[
            str(params_file),
            own | {'use_sim_time': localize['is_true']('use_sim_time', given['use_sim_time'])},
        ],
        remappings=[*localize['TF'], *remappings],
        ros_arguments=['--log-level', localize['checked_level'](given['log_level'])],
        output='screen',
        respawn=localize['is_true']('use_respawn', given['use_respawn']),
        respawn_delay=localize['checked_seconds']('respawn_delay', given['respawn_delay']),
    )


def frames(given: dict[str, str]) -> dict[str, Any]:
    """The frames that the localizer's parameter file names, as the filters call them."""
    from_file = localize['parameters_of'](Path(given['params_file']).expanduser())
    names = {'map_frame': 'map_frame', 'odom_frame': 'odom_frame', 'base_link_frame': 'base_frame'}
    return {own: str(from_file[name]) for own, name in names.items() if from_file.get(name)}


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return localize['described'](PASSED | OWN, start)
