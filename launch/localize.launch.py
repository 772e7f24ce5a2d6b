"""Start the localizer on a robot: `ros2 launch vpr_ros localize.launch.py map:=~/maps/office`.

The node is the executable that was installed with this file, and so runs by the interpreter that
the package was installed for, whatever interpreter `ros2` has (decision 0025). Only what is
given on the command line overrides the parameter file.
"""

import copy
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# Not resolved: colcon's --symlink-install leads to the sources, where no executable is.
SHARE = Path(__file__).absolute().parents[1]
CONFIG = SHARE / 'config'
INSTALLED = SHARE.parents[1] / 'lib' / 'vpr_ros' / 'localize'

ARGUMENTS = {
    'map': ('', 'Map folder, made by build_map (required unless the parameter file names it).'),
    'model': ('', 'Model folder; default: the shipped model that made the map.'),
    'params_file': (str(CONFIG / 'localize.yaml'), 'Parameters of the node.'),
    'namespace': ('', 'Namespace of the node, of its topics and of tf.'),
    'use_sim_time': ('false', 'Take the time from /clock, for example of a bag that is played.'),
    'autostart': ('true', 'Configure and activate without a lifecycle manager.'),
    'image_topic': ('', 'Camera topic, without the suffix of the transport; default: image.'),
    'image_transport': ('', 'raw or compressed; default: raw.'),
    'camera_info_topic': ('', 'Its calibration; default: camera_info beside the camera topic.'),
    'odom_topic': ('', 'Odometry; default: odom.'),
    'gps_topic': ('', 'Positions of a receiver, for maps made with GPS; default: gps/fix.'),
    'publish_tf': ('', 'Broadcast map -> odom; default: as the parameter file says.'),
    'publish_initialpose': ('', 'Give one pose to another localizer; default: as the file says.'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
    'use_respawn': ('false', 'Start the node again if it ends.'),
    'respawn_delay': ('2.0', 'Seconds until then.'),
    'rviz': ('false', 'Also start RViz with the layout of this package.'),
}
TEXTS = ('map', 'model', 'image_topic', 'image_transport')
SWITCHES = ('publish_tf', 'publish_initialpose')
LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')
TF = [('/tf', 'tf'), ('/tf_static', 'tf_static')]  # a namespace has a tf of its own, as in Nav2


class ArgumentError(Exception):
    """An argument cannot be used; launch prints the message in one line."""


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Make the actions once the arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    params_file = Path(given['params_file']).expanduser()
    from_file = parameters_of(params_file)
    overrides = {n: ParameterValue(given[n], value_type=str) for n in TEXTS if given[n]}
    overrides |= {n: is_true(n, given[n]) for n in SWITCHES if given[n]}
    overrides |= {n: is_true(n, given[n]) for n in ('use_sim_time', 'autostart')}
    cameras = camera_topics(given, from_file)
    node = Node(
        **executable(),
        exec_name='localize',
        name='localize',
        namespace=given['namespace'],
        parameters=[str(params_file), overrides],
        remappings=TF + remapped(given, cameras),
        ros_arguments=['--log-level', checked_level(given['log_level'])],
        output='screen',
        emulate_tty=True,
        respawn=is_true('use_respawn', given['use_respawn']),
        respawn_delay=checked_seconds('respawn_delay', given['respawn_delay']),
    )
    # RViz comes first, so that nothing runs yet should it not start.
    transport = given['image_transport'] or str(from_file.get('image_transport', 'raw'))
    rviz = is_true('rviz', given['rviz'])
    return [*(shown(given, cameras, transport) if rviz else []), node]


def executable() -> dict[str, str]:
    """The node: of this file's installation, or of whatever installation of the package is found.

    The second is for a launch file that is run in the sources.
    """
    if os.access(INSTALLED, os.X_OK):
        return {'executable': str(INSTALLED)}
    return {'package': 'vpr_ros', 'executable': 'localize'}


def remapped(given: dict[str, str], cameras: list[str]) -> list[tuple[str, str]]:
    """The remappings of the topics that were given."""
    rules = [('odom', given['odom_topic']), ('gps/fix', given['gps_topic'])]
    if given['camera_info_topic']:
        infos = [topic.strip() for topic in given['camera_info_topic'].split(',')]
        if len(infos) != len(cameras):
            raise ArgumentError(
                f'camera_info_topic:={given["camera_info_topic"]}: {len(infos)} topics, '
                f'expected one for each of {", ".join(cameras)}, in this order'
            )
        # As vpr_ros.core.camera has it; the interpreter of ros2 may not have the package.
        usual = (c.removesuffix('/compressed').rpartition('/') for c in cameras)
        rules += [(f'{where}{slash}camera_info', t) for (where, slash, _), t in zip(usual, infos)]
    return [(name, topic) for name, topic in rules if topic]


# Arguments ---------------------------------------------------------------------------------------


def is_true(name: str, text: str) -> bool:
    """The meaning of a launch argument that is true or false."""
    if text.lower() not in ('true', 'false', '1', '0'):
        raise ArgumentError(f'{name}:={text}: expected true or false')
    return text.lower() in ('true', '1')


def checked_seconds(name: str, text: str) -> float:
    """The meaning of a launch argument that is a time."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float('inf'):
        raise ArgumentError(f'{name}:={text}: expected seconds, such as 2.0')
    return seconds


def checked_level(text: str) -> str:
    """A log level, or one logger's as NAME:=LEVEL."""
    if text.rpartition(':=')[2].lower() not in LEVELS:
        raise ArgumentError(f'log_level:={text}: expected {", ".join(LEVELS)}')
    return text


def existing(name: str, text: str, expected: str = '') -> Path:
    """The file that a launch argument names."""
    path = Path(text).expanduser()
    if not path.is_file():
        raise ArgumentError(f'{name}:={path}: no such file{expected}')
    return path


def parameters_of(path: Path) -> dict[str, Any]:
    """What a parameter file says of the node, as far as it matters here."""
    like = f'expected a YAML file like {CONFIG / "localize.yaml"}; copy that file'
    if not path.is_file():
        raise ArgumentError(f'params_file:={path}: no such file; {like}')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArgumentError(
            f'params_file:={path}: {" ".join(str(error).split())}; {like}'
        ) from None
    found = list(sections(content))
    if not found:
        raise ArgumentError(f'params_file:={path}: no ros__parameters in it; {like}')
    return {
        k: v for keys, part in found if keys[-1] in ('localize', '**') for k, v in part.items()
    }


def sections(content: Any, *keys: str) -> Any:
    """Each `ros__parameters` of a parameter file, with the parts of the name it belongs to."""
    if not isinstance(content, dict):
        return
    for key, inner in content.items():
        if key == 'ros__parameters' and keys and isinstance(inner, dict):
            yield keys, inner
        else:
            yield from sections(inner, *keys, *(p for p in str(key).split('/') if p))


# RViz --------------------------------------------------------------------------------------------


def shown(
    given: dict[str, str], cameras: list[str], transport: str
) -> list[LaunchDescriptionEntity]:
    """RViz with the layout, or a line that says why not."""
    if not has_executable('rviz2', 'rviz2'):
        text = 'rviz:=true: rviz2 is not installed, so it is left out; see ros-$ROS_DISTRO-rviz2'
        return [LogInfo(msg=text)]
    return [
        Node(
            package='rviz2',
            executable='rviz2',
            namespace=given['namespace'],
            arguments=['-d', str(layout(given['namespace'], cameras, transport))],
            parameters=[{'use_sim_time': is_true('use_sim_time', given['use_sim_time'])}],
            remappings=TF,
        )
    ]


def has_executable(package: str, name: str) -> bool:
    """Whether a package and its executable are installed."""
    try:
        prefix = Path(get_package_prefix(package))
    except PackageNotFoundError:
        return False
    return os.access(prefix / 'lib' / package / name, os.X_OK)


def needs(package: str, executable: str, otherwise: str) -> None:
    """Raise before anything has started if a package is missing."""
    if not has_executable(package, executable):
        deb = f'ros-$ROS_DISTRO-{package.replace("_", "-")}'
        raise ArgumentError(f'{package} is not installed; install {deb}, {otherwise}')


def camera_topics(given: dict[str, str], from_file: dict[str, Any]) -> list[str]:
    """The topic of each camera, as the node will have it."""
    text = given['image_topic'] or str(from_file.get('image_topic', 'image'))
    return [topic.strip() for topic in text.split(',')]


def layout(namespace: str, cameras: list[str], transport: str) -> Path:
    """Write the layout with the topics of this start into a temporary file."""
    content = yaml.safe_load((CONFIG / 'rviz' / 'localize.rviz').read_text(encoding='utf-8'))
    manager = content['Visualization Manager']
    images = [whole(namespace, topic) for topic in cameras]
    if transport == 'compressed':  # RViz takes the transport from the end of the name
        images = [f'{topic}/compressed' for topic in images]
    displays = []
    for display in manager['Displays']:
        if display.get('Topic', {}).get('Value') == '/image':
            displays += [with_topic(display, topic) for topic in images]
        elif 'Topic' in display:
            displays.append(with_topic(display, whole(namespace, display['Topic']['Value'][1:])))
        else:
            displays.append(display)
    manager['Displays'] = displays
    manager['Tools'] = [
        with_topic(tool, whole(namespace, tool['Topic']['Value'][1:])) if 'Topic' in tool else tool
        for tool in manager['Tools']
    ]
    with tempfile.NamedTemporaryFile(
        'w', prefix='localize_', suffix='.rviz', delete=False, encoding='utf-8'
    ) as file:
        yaml.safe_dump(content, file, sort_keys=False)
    return Path(file.name)


def whole(namespace: str, topic: str) -> str:
    """A topic's full name, as ROS makes it of a relative one."""
    if topic.startswith('/'):
        return topic
    parts = [namespace.strip('/'), topic.replace('~', 'localize', 1)]
    return '/' + '/'.join(part for part in parts if part)


def with_topic(entry: dict[str, Any], topic: str) -> dict[str, Any]:
    """A display or tool of the layout on another topic."""
    changed = copy.deepcopy(entry)
    changed['Topic']['Value'] = topic
    return changed


def described(
    arguments: dict[str, tuple[str, str]],
    start: Callable[[LaunchContext], list[LaunchDescriptionEntity]],
) -> LaunchDescription:
    """Declare arguments (default, text), and start what follows from their values."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in arguments.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return described(ARGUMENTS, start)
