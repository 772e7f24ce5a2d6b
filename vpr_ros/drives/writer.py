"""Write the messages of one camera drive into a bag, without ROS.

A bag appears under its name when it is complete; whatever was there before stays until then.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vpr_ros.core.atomic import require_writable, unwritable_as
from vpr_ros.core.errors import DriveError
from vpr_ros.core.folder_kind import FolderKind
from vpr_ros.core.geometry import IDENTITY
from vpr_ros.core.types import Image, Poses
from vpr_ros.drives.bounds import sqlite_path
from vpr_ros.drives.camera_info import CameraInfo

Storage = Literal['mcap', 'sqlite3', 'ros1']
STORAGES: tuple[Storage, ...] = ('mcap', 'sqlite3', 'ros1')

IMAGE_TOPIC = '/camera/image'
COMPRESSED_TOPIC = '/camera/image/compressed'
CAMERA_INFO_TOPIC = '/camera/camera_info'
ODOMETRY_TOPIC = '/odom'
FIX_TOPIC = '/fix'
MAP_FRAME, BASE_FRAME, CAMERA_FRAME = 'map', 'base_link', 'camera_optical'

_ROS2 = get_typestore(Stores.LATEST)
_ROS1 = get_typestore(Stores.ROS1_NOETIC)  # which lacks tf2_msgs
_ROS1.register(
    get_types_from_msg('geometry_msgs/TransformStamped[] transforms', 'tf2_msgs/msg/TFMessage')
)
_ZERO = QosTime(0, 0)
_ROS2_BAG = FolderKind('metadata.yaml', 'a ROS 2 bag', DriveError, ('*.mcap', '*.db3'))
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _ZERO,
    _ZERO,
    QosLiveliness.AUTOMATIC,
    _ZERO,
    False,
)


class BagWriter:
    """Writes the messages of one camera drive; made by `writing`."""

    def __init__(self, writer: Ros1Writer | Ros2Writer) -> None:
        self._writer = writer
        self._connections: dict[str, Connection] = {}

    def mounting(self, stamp_ns: int, base_T_camera: Poses) -> None:
        """Write base_T_camera [7] to /tf_static."""
        transform = _made(
            'geometry_msgs/msg/TransformStamped',
            header=_header(stamp_ns, BASE_FRAME),
            child_frame_id=CAMERA_FRAME,
            transform=_made(
                'geometry_msgs/msg/Transform',
                translation=_vector('geometry_msgs/msg/Vector3', base_T_camera),
                rotation=_quaternion(base_T_camera),
            ),
        )
        self._write(
            '/tf_static', stamp_ns, _made('tf2_msgs/msg/TFMessage', transforms=[transform])
        )

    def image(self, stamp_ns: int, image: Image) -> None:
        """Write RGB [H, W, 3] as sensor_msgs/Image."""
        height, width = image.shape[:2]
        message = _made(
            'sensor_msgs/msg/Image',
            header=_header(stamp_ns, CAMERA_FRAME),
            height=height,
            width=width,
            encoding='rgb8',
            is_bigendian=0,
            step=3 * width,
            data=np.ascontiguousarray(image).reshape(-1),
        )
        self._write(IMAGE_TOPIC, stamp_ns, message)

    def compressed(self, stamp_ns: int, encoded: bytes, kind: str) -> None:
        """Write an encoded image as sensor_msgs/CompressedImage; kind: 'jpeg' or 'png'."""
        message = _made(
            'sensor_msgs/msg/CompressedImage',
            header=_header(stamp_ns, CAMERA_FRAME),
            format=kind,
            data=np.frombuffer(encoded, dtype=np.uint8),
        )
        self._write(COMPRESSED_TOPIC, stamp_ns, message)

    def odometry(self, stamp_ns: int, map_T_base: Poses) -> None:
        """Write map_T_base [7] as nav_msgs/Odometry."""
        pose = _made(
            'geometry_msgs/msg/Pose',
            position=_vector('geometry_msgs/msg/Point', map_T_base),
            orientation=_quaternion(map_T_base),
        )
        still = _vector('geometry_msgs/msg/Vector3', IDENTITY)
        twist = _made('geometry_msgs/msg/Twist', linear=still, angular=still)
        unknown = np.zeros(36)
        message = _made(
            'nav_msgs/msg/Odometry',
            header=_header(stamp_ns, MAP_FRAME),
            child_frame_id=BASE_FRAME,
            pose=_made('geometry_msgs/msg/PoseWithCovariance', pose=pose, covariance=unknown),
            twist=_made('geometry_msgs/msg/TwistWithCovariance', twist=twist, covariance=unknown),
        )
        self._write(ODOMETRY_TOPIC, stamp_ns, message)

    def fix(
        self, stamp_ns: int, latitude_deg: float, longitude_deg: float, altitude_m: float
    ) -> None:
        """Write a position as sensor_msgs/NavSatFix."""
        message = _made(
            'sensor_msgs/msg/NavSatFix',
            header=_header(stamp_ns, BASE_FRAME),
            status=_made('sensor_msgs/msg/NavSatStatus', status=0, service=1),
            latitude=latitude_deg,
            longitude=longitude_deg,
            altitude=altitude_m,
            position_covariance=np.zeros(9),
            position_covariance_type=0,
        )
        self._write(FIX_TOPIC, stamp_ns, message)

    def camera_info(self, stamp_ns: int, calibration: CameraInfo) -> None:
        """Write sensor_msgs/CameraInfo."""
        region = _made(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        )
        message = _made(
            'sensor_msgs/msg/CameraInfo',
            header=_header(stamp_ns, CAMERA_FRAME),
            height=calibration.height,
            width=calibration.width,
            distortion_model=calibration.distortion_model,
            d=np.array(calibration.distortion),
            k=np.array(calibration.camera),
            r=np.array(calibration.rectification),
            p=np.array(calibration.projection),
            binning_x=0,
            binning_y=0,
            roi=region,
        )
        self._write(CAMERA_INFO_TOPIC, stamp_ns, message)

    def _write(self, topic: str, stamp_ns: int, message: Any) -> None:
        msgtype = message.__msgtype__
        data = _ROS2.serialize_cdr(message, msgtype)
        connection = self._connections.get(topic)
        if isinstance(self._writer, Ros1Writer):
            if connection is None:
                latched = 1 if topic == '/tf_static' else 0
                connection = self._writer.add_connection(
                    topic, msgtype, typestore=_ROS1, latching=latched
                )
            data = _ROS2.cdr_to_ros1(data, msgtype)
        elif connection is None:
            profiles = [_LATCHED] if topic == '/tf_static' else []
            connection = self._writer.add_connection(
                topic, msgtype, typestore=_ROS2, offered_qos_profiles=profiles
            )
        self._connections[topic] = connection
        self._writer.write(connection, stamp_ns, data)


@contextmanager
def writing(output: Path, storage: Storage = 'mcap') -> Iterator[BagWriter]:
    """Write a bag that takes the place of `output` when the block ends without an error.

    output: a folder for mcap and sqlite3, a file that ends in .bag for ros1. Raises DriveError
    where it cannot be written, or where something that is no bag stands in its place.
    """
    require_place(output, storage)
    target = _ros1_file(output) if storage == 'ros1' else _ros2_folder(output, storage)
    with unwritable_as(DriveError, output, also=sqlite3.Error), target as writer:
        yield BagWriter(writer)


def require_place(output: Path, storage: Storage) -> None:
    """Raise DriveError where no bag can be written; to be asked before long work."""
    if storage == 'ros1':
        if output.suffix != '.bag':
            raise DriveError(f'{output}: a ROS 1 bag is a file whose name ends in .bag')
        if output.exists() and not output.is_file():
            raise DriveError(f'{output}: exists and is not a file; it will not be replaced')
        with unwritable_as(DriveError, output):
            require_writable(output)
        return
    if output.suffix in ('.bag', '.mcap', '.db3'):
        raise DriveError(f'{output}: a ROS 2 bag is a folder; leave out {output.suffix}')
    _ROS2_BAG.require_place(output)


class _Sqlite3(Sqlite3Writer):
    """An sqlite3 file in a folder of any name."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        super().__init__(sqlite_path(path), compression)
        self.path = path / f'{path.name}.db3'


class _Folder(Ros2Writer):
    """A folder with such a file, or with an mcap."""

    STORAGE_PLUGINS = MappingProxyType(
        {**Ros2Writer.STORAGE_PLUGINS, StoragePlugin.SQLITE3: _Sqlite3}
    )


@contextmanager
def _ros2_folder(output: Path, storage: Storage) -> Iterator[Ros2Writer]:
    """The storage file takes its name from its folder, so it is written deeper and moved up."""
    plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
    with _ROS2_BAG.staged(output) as staging:
        inner = staging / output.absolute().name
        with _Folder(inner, version=9, storage_plugin=plugin) as writer:
            yield writer
        for file in inner.iterdir():
            file.rename(staging / file.name)
        inner.rmdir()


@contextmanager
def _ros1_file(output: Path) -> Iterator[Ros1Writer]:
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f'.{output.name}.partial-', dir=output.parent) as staging:
        made = Path(staging, output.name)
        with Ros1Writer(made) as writer:
            yield writer
        with made.open('rb') as file:
            os.fsync(file.fileno())
        made.replace(output)


def _made(msgtype: str, **fields: Any) -> Any:
    return _ROS2.types[msgtype](**fields)


def _header(stamp_ns: int, frame: str) -> Any:
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    if not -(2**31) <= seconds < 2**31:
        raise DriveError(
            f'a stamp is {seconds} s, but stamps of ROS 2 end at {2**31 - 1} s; give seconds, or '
            'a higher --rate'
        )
    stamp = _made('builtin_interfaces/msg/Time', sec=seconds, nanosec=nanoseconds)
    return _made('std_msgs/msg/Header', stamp=stamp, frame_id=frame)


def _vector(msgtype: str, pose: Poses) -> Any:
    x, y, z = pose[:3].tolist()
    return _made(msgtype, x=x, y=y, z=z)


def _quaternion(pose: Poses) -> Any:
    x, y, z, w = pose[3:].tolist()
    return _made('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)
