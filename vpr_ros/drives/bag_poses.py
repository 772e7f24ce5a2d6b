"""Where the robot was, by one topic of a bag or by its transform tree."""

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from vpr_ros.core.errors import DriveError, VprError
from vpr_ros.core.geometry import IDENTITY, checked_pose
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.types import Datum, Poses
from vpr_ros.drives.drive import DriveOptions
from vpr_ros.drives.geographic import datum_at, east_north_of
from vpr_ros.drives.reader import (
    NAVSAT,
    ODOMETRY,
    POSE_TYPES,
    TRANSFORMS,
    RawMessage,
    connections_of,
    decoded,
    messages,
)
from vpr_ros.drives.transforms import TransformTree, frame_name

_USUAL_FRAMES = (
    ('map', 'base_link'),
    ('map', 'base_footprint'),
    ('odom', 'base_link'),
    ('odom', 'base_footprint'),
)


@dataclass(frozen=True, slots=True)
class BasePoses:
    """map_T_base over time."""

    trajectory: Trajectory
    frame_id: str
    base_frame: str  # '' where the recording does not say whose poses these are
    has_heading: bool = True
    datum: Datum | None = None


def read_transforms(reader: AnyReader, warnings: list[str], *, dynamic: bool) -> TransformTree:
    """The transforms of /tf_static, and of /tf if `dynamic`."""
    tree, skipped = TransformTree(), 0
    wanted = [
        entry
        for entry in connections_of(reader, None, TRANSFORMS)
        if entry.topic.endswith('tf_static') or dynamic
    ]
    for message in messages(reader, wanted, warnings):
        fixed = message.topic.endswith('tf_static')
        for transform in _transforms(reader, message):
            translation, rotation = transform.transform.translation, transform.transform.rotation
            pose = _checked(_pose(translation, rotation))
            if pose is None:
                skipped += 1
                continue
            stamp_ns = header_ns(transform.header)
            tree.add(
                transform.header.frame_id, transform.child_frame_id, stamp_ns, pose, fixed=fixed
            )
    if skipped:
        warnings.append(f'{skipped} transforms with NaN or without a unit quaternion were skipped')
    return tree


def poses_of_topic(
    reader: AnyReader, topic: str, options: DriveOptions, warnings: list[str]
) -> BasePoses:
    """Odometry, PoseStamped, PoseWithCovarianceStamped or NavSatFix; raises DriveError where no pose is usable."""
    connections = connections_of(reader, topic, POSE_TYPES)
    track = _Track(options.datum)
    take = track.add_fix if connections[0].msgtype == NAVSAT else track.add_pose
    for raw in messages(reader, connections, warnings):
        try:
            take(decoded(reader, raw), raw)
        except DriveError:
            track.skipped += 1
    if track.skipped:
        why = 'no position' if connections[0].msgtype == NAVSAT else 'NaN or no unit quaternion'
        warnings.append(f'{topic}: {track.skipped} poses were skipped ({why})')
    if not track.header_ns:
        raise DriveError(
            f'{reader.paths[0]}: {topic} has no usable pose ({track.skipped} skipped)'
        )
    return track.finished(topic, warnings)


def poses_of_tree(
    tree: TransformTree, options: DriveOptions, warnings: list[str], *, name: str
) -> BasePoses | None:
    """The motion between the two frames of the options, or of the usual names; None where the latter do not exist.

    Raises DriveError where frames that were asked for are missing or do not move.
    """
    pairs = (options.tf_frames,) if options.tf_frames else _USUAL_FRAMES
    for parent, child in pairs:
        found = tree.trajectory(parent, child, max_gap_s=options.max_pose_gap_s)
        if found is not None:
            return BasePoses(found, frame_name(parent), frame_name(child))
    frames = ', '.join(tree.frames) or 'none'
    if options.tf_frames:
        parent, child = options.tf_frames
        missing = [frame for frame in options.tf_frames if frame_name(frame) not in tree.frames]
        if missing:
            raise DriveError(
                f'{name}: no frame {" and no frame ".join(missing)} on /tf; frames: {frames}'
            )
        reason = (
            'do not move in each other' if tree.connects(parent, child) else 'are not connected'
        )
        raise DriveError(f'{name}: {parent} and {child} {reason} on /tf; frames: {frames}')
    if tree.frames:
        warnings.append(
            f'no poses: no pose topic, and none of the usual frames moves on /tf; frames: {frames}'
        )
    return None


def header_ns(header: Any) -> int:
    """The stamp of a std_msgs/Header in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


class _Track:
    """Poses as they come, 72 bytes each."""

    def __init__(self, datum: Datum | None) -> None:
        self.header_ns: array[int] = array('q')
        self.skipped = 0
        self._bag_ns: array[int] = array('q')
        self._values: array[float] = array('d')
        self._wanted_datum = datum
        self._datum: Datum | None = None
        self._frame_id = ''
        self._base_frame = ''

    def add_pose(self, message: Any, raw: RawMessage) -> None:
        """Odometry, PoseStamped or PoseWithCovarianceStamped."""
        pose = message.pose if hasattr(message.pose, 'position') else message.pose.pose
        child = message.child_frame_id if raw.msgtype == ODOMETRY else ''
        self._add(_checked(_pose(pose.position, pose.orientation)), message.header, raw)
        self._frame_id = self._frame_id or frame_name(message.header.frame_id)
        self._base_frame = self._base_frame or frame_name(child)

    def add_fix(self, message: Any, raw: RawMessage) -> None:
        """NavSatFix; raises DriveError for what is no position."""
        if message.status.status < 0:  # STATUS_NO_FIX, STATUS_UNKNOWN
            raise DriveError('no fix')
        if self._datum is None:
            own = datum_at(message.latitude, message.longitude, message.altitude)
            self._datum = self._wanted_datum or own
        east_m, north_m = east_north_of(message.latitude, message.longitude, self._datum)
        pose = IDENTITY.copy()
        pose[:2] = east_m, north_m
        self._add(pose, message.header, raw)
        self._frame_id = 'map'
        self._base_frame = self._base_frame or frame_name(message.header.frame_id)

    def finished(self, topic: str, warnings: list[str]) -> BasePoses:
        """The track so far, which must not be empty."""
        stamps_ns = self.header_ns
        if not any(stamps_ns) and any(self._bag_ns):
            warnings.append(
                f'{topic}: all header stamps are zero, the times of recording are used'
            )
            stamps_ns = self._bag_ns
        backwards = int((np.diff(np.frombuffer(stamps_ns, dtype=np.int64)) < 0).sum())
        if backwards:
            warnings.append(
                f'{topic}: the stamps jump back {backwards} times; poses are used in the order of stamps'
            )
        poses = np.frombuffer(self._values, dtype=np.float64).reshape(-1, 7)
        trajectory = Trajectory.from_unordered(np.array(stamps_ns), poses, source=topic)
        return BasePoses(
            trajectory,
            self._frame_id or 'map',
            self._base_frame,
            has_heading=self._datum is None,
            datum=self._datum,
        )

    def _add(self, pose: Poses | None, header: Any, raw: RawMessage) -> None:
        if pose is None:
            self.skipped += 1
            return
        self.header_ns.append(header_ns(header))
        self._bag_ns.append(raw.bag_ns)
        self._values.extend(pose.tolist())


def _transforms(reader: AnyReader, message: RawMessage) -> list[Any]:
    try:
        return list(decoded(reader, message).transforms)
    except DriveError:
        return []


def _pose(position: Any, orientation: Any) -> list[float]:
    return [
        *(position.x, position.y, position.z),
        *(orientation.x, orientation.y, orientation.z, orientation.w),
    ]


def _checked(pose: list[float]) -> Poses | None:
    try:
        return checked_pose(pose)
    except VprError:
        return None
