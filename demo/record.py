"""Turn posed folders into ROS 2 bags, as a robot with exact odometry would have recorded them.

The JPEG bytes go in unchanged, images and odometry tick at their own moments, and each message
reaches the bag a little after its stamp, so that a reader has to match stamps and interpolate, as
with a real recording. No ROS installation is needed.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from drive import quaternion_xyzw, rotation_matrix

Floats = NDArray[np.float64]

TYPES = get_typestore(Stores.ROS2_HUMBLE)  # the oldest supported; later ones read it
MAP_FRAME, BASE_FRAME, CAMERA_FRAME = 'map', 'base_link', 'camera_optical_frame'
ODOMETRY_PERIOD_NS = 50_000_000
IMAGE_DELAY_NS, ODOMETRY_DELAY_NS = 18_000_000, 2_000_000  # from the stamp to the bag
POSITION_SIGMA_M, ANGLE_SIGMA_RAD = 0.02, 0.002
SPEED_SIGMA_MPS, TURN_SIGMA_RADPS = 0.05, 0.01
UNKNOWN_VARIANCE = 1e-6  # what a planar vehicle cannot do: z, roll, pitch


@dataclass(frozen=True, slots=True)
class Track:
    """Poses over time: stamps_ns [N] increasing, matrices [N, 4, 4], image names [N] or none."""

    stamps_ns: NDArray[np.int64]
    matrices: Floats
    names: tuple[str, ...] = ()


def main() -> None:
    """Write one bag a posed folder, named like the folder, and read it back."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument('folders', nargs='+', type=Path, help='posed folders')
    parser.add_argument('--output', required=True, type=Path, help='the bags go into this folder')
    parser.add_argument('--replace', action='store_true', help='overwrite bags that exist')
    args = parser.parse_args()
    for folder in args.folders:
        bag = args.output / folder.name
        if bag.exists() and args.replace:
            shutil.rmtree(bag)
        write_bag(folder, bag)
        size = sum(file.stat().st_size for file in bag.iterdir())
        counts = ', '.join(f'{topic} {count}' for topic, count in count_messages(bag).items())
        print(f'{bag}: {size / 1e6:.2f} MB; {counts}')


def write_bag(folder: Path, bag: Path) -> None:
    """Write the posed folder's images, camera, odometry and mounting into a new mcap bag."""
    base_T_camera = _read_mounting(folder / 'mounting.yaml')
    camera_info = yaml.safe_load((folder / 'camera_info.yaml').read_text())
    images = _read_track(folder / 'poses.csv')
    missing = [name for name in images.names if not (folder / 'images' / name).exists()]
    if missing:
        raise SystemExit(
            f'{folder}: {len(missing)} of {len(images.names)} images are not there, the first is '
            f'{missing[0]}; run render.py again, it goes on where it stopped'
        )
    if (folder / 'odometry.csv').exists():
        odometry = _read_track(folder / 'odometry.csv')
    else:
        odometry = interpolate_base(images, base_T_camera)
    messages = [
        *_image_messages(folder, images),
        *_info_messages(camera_info, images),
        *_odometry_messages(odometry),
        (
            int(min(images.stamps_ns[0], odometry.stamps_ns[0])),
            '/tf_static',
            _static_tf(base_T_camera, images),
        ),
    ]
    with Writer(bag, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {
            topic: writer.add_connection(
                topic,
                kind,
                typestore=TYPES,
                offered_qos_profiles=[_offered(latched=topic == '/tf_static')],
            )
            for topic, kind in (
                ('/camera/image/compressed', 'sensor_msgs/msg/CompressedImage'),
                ('/camera/camera_info', 'sensor_msgs/msg/CameraInfo'),
                ('/odom', 'nav_msgs/msg/Odometry'),
                ('/tf_static', 'tf2_msgs/msg/TFMessage'),
            )
        }
        for stamp_ns, topic, message in sorted(messages, key=lambda entry: entry[0]):
            writer.write(
                topics[topic], stamp_ns, TYPES.serialize_cdr(message, message.__msgtype__)
            )


def count_messages(bag: Path) -> dict[str, int]:
    """Return how many messages of each topic can be read back, after decoding every one."""
    counts: dict[str, int] = {}
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            reader.deserialize(raw, connection.msgtype)
            counts[connection.topic] = counts.get(connection.topic, 0) + 1
    return counts


def interpolate_base(images: Track, base_T_camera: Floats) -> Track:
    """Return the base's track at 20 Hz from the first to the last image, from the camera's."""
    known = images.matrices @ np.linalg.inv(base_T_camera)
    start, end = int(images.stamps_ns[0]), int(images.stamps_ns[-1])
    stamps = np.arange(start + 7_000_000, end, ODOMETRY_PERIOD_NS, dtype=np.int64)
    quats = [quaternion_xyzw(matrix[:3, :3]) for matrix in known]
    for k in range(1, len(quats)):  # neighbours on one half of the sphere
        quats[k] = quats[k] if quats[k] @ quats[k - 1] >= 0 else -quats[k]
    rows = np.hstack([known[:, :3, 3], np.stack(quats)])
    at = np.stack(
        [np.interp(stamps - start, images.stamps_ns - start, row) for row in rows.T], axis=1
    )
    at[:, 3:] /= np.linalg.norm(at[:, 3:], axis=1, keepdims=True)
    return Track(stamps, np.stack([_matrix(row[:3], row[3:]) for row in at]))


def _image_messages(folder: Path, images: Track) -> Iterator[tuple[int, str, Any]]:
    make = TYPES.types['sensor_msgs/msg/CompressedImage']
    for stamp_ns, name in zip(images.stamps_ns, images.names):
        content = np.frombuffer((folder / 'images' / name).read_bytes(), dtype=np.uint8)
        message = make(header=_header(int(stamp_ns), CAMERA_FRAME), format='jpeg', data=content)
        yield int(stamp_ns) + IMAGE_DELAY_NS, '/camera/image/compressed', message


def _info_messages(info: dict[str, Any], images: Track) -> Iterator[tuple[int, str, Any]]:
    """Yield the calibration with an image's stamp, about once a second."""
    make, make_roi = (
        TYPES.types['sensor_msgs/msg/CameraInfo'],
        TYPES.types['sensor_msgs/msg/RegionOfInterest'],
    )

    def numbers(key: str) -> Floats:
        return np.array(info[key]['data'], dtype=np.float64)

    due_ns = 0
    for stamp_ns in map(int, images.stamps_ns):
        if stamp_ns < due_ns:
            continue
        due_ns = stamp_ns + 900_000_000
        message = make(
            header=_header(stamp_ns, CAMERA_FRAME),
            height=info['image_height'],
            width=info['image_width'],
            distortion_model=info['distortion_model'],
            d=numbers('distortion_coefficients'),
            k=numbers('camera_matrix'),
            r=numbers('rectification_matrix'),
            p=numbers('projection_matrix'),
            binning_x=0,
            binning_y=0,
            roi=make_roi(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        )
        yield stamp_ns + ODOMETRY_DELAY_NS, '/camera/camera_info', message


def _odometry_messages(odometry: Track) -> Iterator[tuple[int, str, Any]]:
    t = TYPES.types
    vector = t['geometry_msgs/msg/Vector3']
    forward, left, turn = _planar_twist(odometry)
    pose_covariance = _covariance(POSITION_SIGMA_M, ANGLE_SIGMA_RAD)
    twist_covariance = _covariance(SPEED_SIGMA_MPS, TURN_SIGMA_RADPS)
    for k, stamp_ns in enumerate(map(int, odometry.stamps_ns)):
        matrix = odometry.matrices[k]
        pose = t['geometry_msgs/msg/Pose'](
            position=t['geometry_msgs/msg/Point'](*map(float, matrix[:3, 3])),
            orientation=_quaternion(matrix),
        )
        twist = t['geometry_msgs/msg/Twist'](
            linear=vector(float(forward[k]), float(left[k]), 0.0),
            angular=vector(0.0, 0.0, float(turn[k])),
        )
        message = t['nav_msgs/msg/Odometry'](
            header=_header(stamp_ns, MAP_FRAME),
            child_frame_id=BASE_FRAME,
            pose=t['geometry_msgs/msg/PoseWithCovariance'](pose=pose, covariance=pose_covariance),
            twist=t['geometry_msgs/msg/TwistWithCovariance'](
                twist=twist, covariance=twist_covariance
            ),
        )
        yield stamp_ns + ODOMETRY_DELAY_NS, '/odom', message


def _planar_twist(track: Track) -> tuple[Floats, Floats, Floats]:
    """Return forward and left speed [N] in m/s and turn rate [N] in rad/s, in the base frame."""
    time_s = (track.stamps_ns - track.stamps_ns[0]) / 1e9
    yaw = np.unwrap(np.arctan2(track.matrices[:, 1, 0], track.matrices[:, 0, 0]))
    vx, vy = (np.gradient(track.matrices[:, axis, 3], time_s) for axis in (0, 1))
    forward = np.cos(yaw) * vx + np.sin(yaw) * vy
    left = -np.sin(yaw) * vx + np.cos(yaw) * vy
    return forward, left, np.gradient(yaw, time_s)


def _static_tf(base_T_camera: Floats, images: Track) -> Any:
    t = TYPES.types
    transform = t['geometry_msgs/msg/Transform'](
        translation=t['geometry_msgs/msg/Vector3'](*map(float, base_T_camera[:3, 3])),
        rotation=_quaternion(base_T_camera),
    )
    stamped = t['geometry_msgs/msg/TransformStamped'](
        header=_header(int(images.stamps_ns[0]), BASE_FRAME),
        child_frame_id=CAMERA_FRAME,
        transform=transform,
    )
    return t['tf2_msgs/msg/TFMessage'](transforms=[stamped])


def _header(stamp_ns: int, frame: str) -> Any:
    time = TYPES.types['builtin_interfaces/msg/Time'](
        sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
    )
    return TYPES.types['std_msgs/msg/Header'](stamp=time, frame_id=frame)


def _quaternion(matrix: Floats) -> Any:
    return TYPES.types['geometry_msgs/msg/Quaternion'](
        *map(float, quaternion_xyzw(matrix[:3, :3]))
    )


def _covariance(linear_sigma: float, turn_sigma: float) -> Floats:
    """Return a row-major [36] covariance in ROS order: x, y, z, then the turns about x, y, z."""
    diagonal = [linear_sigma**2] * 2 + [UNKNOWN_VARIANCE] * 3 + [turn_sigma**2]
    return np.diag(diagonal).ravel()


def _offered(*, latched: bool) -> Qos:
    forever = QosTime(9223372036, 854775807)  # what rmw calls infinite
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 10,
        QosReliability.RELIABLE,
        durability,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        False,
    )


def _read_track(path: Path) -> Track:
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise SystemExit(f'{path}: no rows; expected one pose a line')
    stamps = np.array([int(Decimal(row['stamp_s']) * 10**9) for row in rows], dtype=np.int64)
    matrices = [
        _matrix(
            np.array([float(row[c]) for c in 'xyz']),
            np.array([float(row[c]) for c in ('qx', 'qy', 'qz', 'qw')]),
        )
        for row in rows
    ]
    return Track(stamps, np.stack(matrices), tuple(row.get('image', '') for row in rows))


def _read_mounting(path: Path) -> Floats:
    found = yaml.safe_load(path.read_text())
    return _matrix(
        np.array(found['position'], dtype=float), np.array(found['quaternion_xyzw'], dtype=float)
    )


def _matrix(position_m: Floats, quat_xyzw: Floats) -> Floats:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_matrix(quat_xyzw), position_m
    return out


if __name__ == '__main__':
    main()
