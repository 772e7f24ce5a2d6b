"""The topics of a bag: which message types are read, and which topic is meant."""

import re
from collections.abc import Sequence

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection

from vpr_ros.core.errors import DriveError
from vpr_ros.core.plurals import counted

ALIGNED_DEPTH = re.compile(r'aligned_depth|depth_registered')
"""In the names of depth images that are aligned with colour ones: RealSense's, and REP-118's."""

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
CAMERA_INFO_TYPES = ('sensor_msgs/msg/CameraInfo',)
ODOMETRY = 'nav_msgs/msg/Odometry'
NAVSAT = 'sensor_msgs/msg/NavSatFix'
TRANSFORMS = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
TRANSFORM = 'geometry_msgs/msg/TransformStamped'
SINGLE_POSES = ('geometry_msgs/msg/PoseStamped', 'geometry_msgs/msg/PoseWithCovarianceStamped')
POSE_TYPES = (ODOMETRY, *SINGLE_POSES, NAVSAT, TRANSFORM)


def topics_of(reader: AnyReader, types: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Topic -> (type, number of messages)."""
    found: dict[str, tuple[str, int]] = {}
    for entry in reader.connections:
        if entry.msgtype in types:
            count = found.get(entry.topic, ('', 0))[1] + entry.msgcount
            found[entry.topic] = entry.msgtype, count
    return dict(sorted(found.items()))


def all_topics(reader: AnyReader) -> dict[str, tuple[str, int]]:
    """Every topic with messages: (type, number of messages)."""
    found = topics_of(reader, sorted({entry.msgtype for entry in reader.connections}))
    return {topic: held for topic, held in found.items() if held[1]}


def named_topic(reader: AnyReader, named: str, types: Sequence[str], *, what: str) -> str:
    """A topic by its name, with or without the slash.

    what: 'image', 'depth', 'pose' or 'tf', for the message. Raises DriveError, which lists the
    topics of the types, where the named one is missing or of another type.
    """
    fitting = topics_of(reader, types)
    for topic in (named, f'/{named}'):
        if topic in fitting:
            return topic
    others = {entry.topic: entry.msgtype for entry in reader.connections}
    if named in others:
        expected = ', '.join(short(name) for name in types)
        raise DriveError(
            f'{_name(reader)}: {named} is {short(others[named])}, expected {expected}; '
            f'{what} topics: {listed(fitting)}'
        )
    raise DriveError(f'{_name(reader)}: no topic {named}; {what} topics: {listed(fitting)}')


def chosen_image_topic(reader: AnyReader, named: str | None) -> str | None:
    """The named topic, or the only one of images, or None where there is none.

    Raises DriveError with the topics of images when the named one is missing or of another type,
    and when there are several.
    """
    if named is not None:
        return named_topic(reader, named, IMAGE_TYPES, what='image')
    topics = topics_of(reader, IMAGE_TYPES)
    candidates = [
        topic
        for topic, (_, count) in topics.items()
        if count
        and not topic.endswith(('/compressedDepth', '/theora'))
        and not ALIGNED_DEPTH.search(topic)
    ]
    if len(candidates) > 1:
        raise DriveError(
            f'{_name(reader)}: {len(candidates)} image topics, '
            f'choose one with --image-topic: {listed(topics)}'
        )
    return candidates[0] if candidates else None


def connections_of(reader: AnyReader, topic: str | None, types: Sequence[str]) -> list[Connection]:
    """Every connection with one of the types on a topic, None: on any topic.

    ROS 1 has one for each publisher.
    """
    return [
        entry
        for entry in reader.connections
        if entry.msgtype in types and topic in (None, entry.topic)
    ]


def listed(topics: dict[str, tuple[str, int]]) -> str:
    """Topics with their types and counts, as `topics_of` gives them."""
    said = [
        f'{topic} ({short(kind)}, {counted(count, "message")})'
        for topic, (kind, count) in topics.items()
    ]
    return ', '.join(said) or 'none'


def short(msgtype: str) -> str:
    """A type as people write it."""
    return msgtype.replace('/msg/', '/')


def _name(reader: AnyReader) -> str:
    return str(reader.paths[0])
