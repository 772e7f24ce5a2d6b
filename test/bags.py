"""Small bags of every kind for tests, written by rosbags itself."""

import io
import struct
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vpr_ros.core.geometry import IDENTITY
from vpr_ros.core.image import encode_jpeg

STORE = get_typestore(Stores.LATEST)
STORE1 = get_typestore(Stores.ROS1_NOETIC)
STORE1.register(
    get_types_from_msg('geometry_msgs/TransformStamped[] transforms', 'tf2_msgs/msg/TFMessage')
)
SIZE = (48, 64)  # height, width
MODES = {
    'file': CompressionMode.FILE,
    'message': CompressionMode.MESSAGE,
    'storage': CompressionMode.STORAGE,
}
KINDS = (
    'ros1',
    'ros1-bz2',
    'ros1-lz4',
    'sqlite3',
    'sqlite3-file',
    'sqlite3-message',
    'mcap',
    'mcap-file',
    'mcap-message',
    'mcap-storage',
)
"""Storage and compression, everything that rosbags writes."""


def made(kind: str, **fields):
    return STORE.types[kind](**fields)


def header(seconds: float, frame: str = 'map'):
    sec, nanosec = divmod(round(seconds * 1e9), 10**9)
    return made(
        'std_msgs/msg/Header',
        stamp=made('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec),
        frame_id=frame,
    )


def picture(index: int) -> np.ndarray:
    """An image [48, 64, 3] whose mean tells its index."""
    return np.full((*SIZE, 3), index % 250, dtype=np.uint8)


def image(seconds: float, index: int, frame: str = 'camera'):
    height, width = SIZE
    return made(
        'sensor_msgs/msg/Image',
        header=header(seconds, frame),
        height=height,
        width=width,
        encoding='rgb8',
        is_bigendian=0,
        step=3 * width,
        data=picture(index).reshape(-1),
    )


def compressed(seconds: float, index: int, *, data: bytes | None = None, frame: str = 'camera'):
    data = encode_jpeg(picture(index)) if data is None else data
    return made(
        'sensor_msgs/msg/CompressedImage',
        header=header(seconds, frame),
        format='jpeg',
        data=np.frombuffer(data, dtype=np.uint8),
    )


def pose_message(pose):
    x, y, z, qx, qy, qz, qw = (float(value) for value in pose)
    return made(
        'geometry_msgs/msg/Pose',
        position=made('geometry_msgs/msg/Point', x=x, y=y, z=z),
        orientation=made('geometry_msgs/msg/Quaternion', x=qx, y=qy, z=qz, w=qw),
    )


def along_x(metres: float):
    pose = IDENTITY.copy()
    pose[0] = metres
    return pose


def with_covariance(pose):
    return made(
        'geometry_msgs/msg/PoseWithCovariance', pose=pose_message(pose), covariance=np.zeros(36)
    )


def odometry(seconds: float, pose, *, frame: str = 'map', child: str = 'base_link'):
    zero = made('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0)
    twist = made('geometry_msgs/msg/Twist', linear=zero, angular=zero)
    return made(
        'nav_msgs/msg/Odometry',
        header=header(seconds, frame),
        child_frame_id=child,
        pose=with_covariance(pose),
        twist=made('geometry_msgs/msg/TwistWithCovariance', twist=twist, covariance=np.zeros(36)),
    )


def pose_stamped(seconds: float, pose):
    return made('geometry_msgs/msg/PoseStamped', header=header(seconds), pose=pose_message(pose))


def pose_with_covariance(seconds: float, pose):
    return made(
        'geometry_msgs/msg/PoseWithCovarianceStamped',
        header=header(seconds),
        pose=with_covariance(pose),
    )


def fix(
    seconds: float, latitude: float, longitude: float, *, status: int = 0, altitude: float = 10.0
):
    return made(
        'sensor_msgs/msg/NavSatFix',
        header=header(seconds, 'gps'),
        status=made('sensor_msgs/msg/NavSatStatus', status=status, service=1),
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
        position_covariance=np.zeros(9),
        position_covariance_type=0,
    )


def transforms(seconds: float, *edges):
    """edges: (parent, child, pose [7])."""
    return made(
        'tf2_msgs/msg/TFMessage',
        transforms=[
            made(
                'geometry_msgs/msg/TransformStamped',
                header=header(seconds, parent),
                child_frame_id=child,
                transform=made(
                    'geometry_msgs/msg/Transform',
                    translation=made(
                        'geometry_msgs/msg/Vector3', **dict(zip('xyz', map(float, pose[:3])))
                    ),
                    rotation=made(
                        'geometry_msgs/msg/Quaternion', **dict(zip('xyzw', map(float, pose[3:])))
                    ),
                ),
            )
            for parent, child, pose in edges
        ],
    )


Put = Callable[..., None]


@contextmanager
def writing(path: Path, kind: str = 'mcap'):
    """Yield put(topic, seconds of reception, message); ros1 appends .bag to the path."""
    storage, _, mode = kind.partition('-')
    if storage == 'ros1':
        writer = Ros1Writer(path.with_suffix('.bag'))
        if mode:
            writer.set_compression(Ros1Writer.CompressionFormat[mode.upper()])
    else:
        writer = Ros2Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
        if mode:
            writer.set_compression(MODES[mode], CompressionFormat.ZSTD)
    connections = {}
    with writer:

        def put(topic: str, seconds: float, message, *, store=STORE) -> None:
            msgtype = message.__msgtype__
            data = store.serialize_cdr(message, msgtype)
            if storage == 'ros1':
                data = store.cdr_to_ros1(data, msgtype)
            if topic not in connections:
                own = STORE1 if storage == 'ros1' and store is STORE else store
                connections[topic] = writer.add_connection(topic, msgtype, typestore=own)
            writer.write(connections[topic], round(seconds * 1e9), data)

        yield put


def plain_bag(path: Path, kind: str = 'mcap', *, count: int = 5) -> Path:
    """Images at 1, 2, ... s, odometry along x at 1 m/s, the camera 0.2 m ahead and 1 m above."""
    with writing(path, kind) as put:
        put(
            '/tf_static',
            0.5,
            transforms(
                0.5,
                ('base_link', 'mast', along_x(0.2)),
                ('mast', 'camera', [0, 0, 1, -0.5, 0.5, -0.5, 0.5]),
            ),
        )
        for half in range(2 * count + 1):
            seconds = 0.75 + half / 2
            put('/odom', seconds, odometry(seconds, along_x(seconds)))
            if half % 2 == 0 and half < 2 * count:
                index = half // 2 + 1
                put('/camera/image', index, image(index, index))
    return path.with_suffix('.bag') if kind.startswith('ros1') else path


def transform_stamped(seconds: float, pose, *, frame: str = 'world', child: str = 'body'):
    return transforms(seconds, (frame, child, pose)).transforms[0]


def cdr(message) -> bytes:
    return bytes(STORE.serialize_cdr(message, message.__msgtype__))


@dataclass(frozen=True)
class Channel:
    """A channel of an mcap of any kind, with its messages as (seconds, bytes)."""

    topic: str
    encoding: str
    schema: str
    definition_encoding: str
    definition: bytes
    messages: Sequence[tuple[float, bytes]]


def ros2_channel(
    topic: str, messages, *, encoding: str = 'ros2msg', definition: str | None = None
):
    """messages: (seconds, message) of one type; definition: None is the right one."""
    kind = messages[0][1].__msgtype__
    text = STORE.generate_msgdef(kind, ros_version=2)[0] if definition is None else definition
    made_bytes = [(seconds, cdr(message)) for seconds, message in messages]
    return Channel(topic, 'cdr', kind, encoding, text.encode(), made_bytes)


def write_mcap(
    path: Path,
    channels: Sequence[Channel],
    *,
    profile: str = 'ros2',
    library: str = 'test',
    indexed: bool = True,
) -> Path:
    """An mcap as other programs write it: one chunk with its index, or messages in a row."""
    data, kept, index = io.BytesIO(), [], {}
    for number, one in enumerate(channels, start=1):
        schema = struct.pack('<H', number) + _sized(one.schema) + _sized(one.definition_encoding)
        channel = struct.pack('<HH', number, number) + _sized(one.topic) + _sized(one.encoding)
        kept += [_record(3, schema + _sized(one.definition)), _record(4, channel + _sized(b''))]
    data.write(b''.join(kept))
    ordered = sorted(
        (round(seconds * 1e9), number, content)
        for number, one in enumerate(channels, start=1)
        for seconds, content in one.messages
    )
    for stamp_ns, number, content in ordered:
        index.setdefault(number, []).append((stamp_ns, data.tell()))
        data.write(_record(5, struct.pack('<HIQQ', number, 0, stamp_ns, stamp_ns) + content))
    magic = b'\x89MCAP0\r\n'
    start = magic + _record(1, _sized(profile) + _sized(library))
    end = _record(2, struct.pack('<QQI', 0, 0, 0)) + magic
    if not indexed:
        path.write_bytes(start + data.getvalue() + _record(15, bytes(4)) + end)
        return path
    first_ns, last_ns = ordered[0][0], ordered[-1][0]
    size = len(data.getvalue())
    chunk = _record(
        6,
        struct.pack('<QQQI', first_ns, last_ns, size, 0)
        + _sized('')
        + struct.pack('<Q', size)
        + data.getvalue(),
    )
    offsets, indices = b'', b''
    for number, entries in index.items():
        offsets += struct.pack('<HQ', number, len(start) + len(chunk) + len(indices))
        pairs = b''.join(struct.pack('<QQ', *entry) for entry in entries)
        indices += _record(7, struct.pack('<H', number) + _sized(pairs))
    chunk_index = _record(
        8,
        struct.pack('<QQQQ', first_ns, last_ns, len(start), len(chunk))
        + _sized(offsets)
        + struct.pack('<Q', len(indices))
        + _sized('')
        + struct.pack('<QQ', size, size),
    )
    counts = b''.join(struct.pack('<HQ', number, len(found)) for number, found in index.items())
    numbers = (len(ordered), len(channels), len(channels), 0, 0, 1, first_ns, last_ns)
    statistics = _record(11, struct.pack('<QHIIIIQQ', *numbers) + _sized(counts))
    body = start + chunk + indices + _record(15, bytes(4))
    footer = _record(2, struct.pack('<QQI', len(body), 0, 0)) + magic
    path.write_bytes(body + b''.join(kept) + chunk_index + statistics + footer)
    return path


def _record(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + struct.pack('<Q', len(content)) + content


def _sized(content: str | bytes) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return struct.pack('<I', len(content)) + content
