"""Where the robot was, by one topic of a bag or by its transform tree."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection

from vpr_ros.core.errors import DriveError, VprError
from vpr_ros.core.geometry import FARTHEST_M, IDENTITY, checked_pose, compose, said_frames
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.trajectory import WALL_NS, Trajectory, jumped, repeated_said
from vpr_ros.core.types import Datum, Poses, Stamps
from vpr_ros.drives.drive import DriveOptions
from vpr_ros.drives.geographic import (
    UNKNOWN_FIX,
    datum_at,
    degrees_of_fix,
    east_north_of,
    middle_of,
    require_near,
)
from vpr_ros.drives.reader import RawMessage, decoded, messages
from vpr_ros.drives.topics import NAVSAT, POSE_TYPES, TRANSFORMS, connections_of
from vpr_ros.drives.transforms import TransformTree, frame_name

_MOST_FRAMES = 1000  # that are told apart on one topic of poses
_PROBED = 20  # messages that tell whether stamps are filled
_FEWEST_OF_A_STRAY = 3  # positions, of which one may be left out as a stray


@dataclass(frozen=True, slots=True)
class BasePoses:
    """map_T_base over time."""

    trajectory: Trajectory
    frame_id: str
    base_frame: str  # '' where the recording does not say whose poses these are
    has_heading: bool = True
    datum: Datum | None = None

    def of_camera(self, base_T_camera: Poses) -> Trajectory:
        """map_T_camera; without a heading the camera's arm has no direction and is left out."""
        if not self.has_heading:
            return self.trajectory
        poses = compose(self.trajectory.poses, base_T_camera)
        return Trajectory(self.trajectory.stamps_ns, poses)


def read_transforms(
    reader: AnyReader, warnings: list[str], topics: Sequence[str]
) -> TransformTree:
    """The transforms on some topics; those of a topic .../tf_static hold for ever."""
    tree, skipped, lost = TransformTree(), 0, 0
    wanted = [entry for entry in connections_of(reader, None, TRANSFORMS) if entry.topic in topics]
    moving = [entry for entry in wanted if not entry.topic.endswith('tf_static')]
    unstamped = _is_unstamped(reader, moving, warnings)
    late_ns = None if unstamped else _lateness_of_transforms(reader, moving)
    for message in messages(reader, wanted, warnings):
        fixed = message.topic.endswith('tf_static')
        for transform in _transforms(reader, message):
            translation, rotation = transform.transform.translation, transform.transform.rotation
            try:
                pose = _checked(translation, rotation)
            except VprError:
                skipped += 1
                continue
            stamp_ns = message.bag_ns if unstamped else header_ns(transform.header)
            if stamp_ns == 0 and late_ns is not None and not fixed:
                stamp_ns, lost = message.bag_ns + late_ns, lost + 1
            tree.add(
                transform.header.frame_id, transform.child_frame_id, stamp_ns, pose, fixed=fixed
            )
    if skipped:
        warnings.append(
            f'{counted(skipped, "transform")} with NaN, beyond {FARTHEST_M:g} m or without a unit '
            f'quaternion {by_count(skipped, "was", "were")} skipped'
        )
    if lost:
        warnings.append(_unstamped_said(lost, 'transform'))
    warnings += tree.disputes()
    return tree


def _is_unstamped(
    reader: AnyReader, connections: Sequence[Connection], warnings: list[str]
) -> bool:
    """Whether the first transforms that move have no stamps; then the times of recording count."""
    first = list(islice(messages(reader, connections, []), _PROBED))
    stamped = any(
        header_ns(transform.header) for raw in first for transform in _transforms(reader, raw)
    )
    if stamped or not any(raw.bag_ns for raw in first):
        return False
    warnings.append(
        f'{first[0].topic}: all header stamps are zero, so the times of recording are used'
    )
    return True


def _lateness_of_transforms(reader: AnyReader, connections: Sequence[Connection]) -> int | None:
    """See `lateness_ns`, of the first transforms that move."""
    times = [
        (header_ns(transform.header), raw.bag_ns)
        for raw in islice(messages(reader, connections, []), _PROBED)
        for transform in _transforms(reader, raw)
    ]
    headers_ns, received_ns = np.array(times, dtype=np.int64).reshape(-1, 2).T
    return lateness_ns(headers_ns, received_ns)


def poses_of_topic(
    reader: AnyReader, topic: str, options: DriveOptions, warnings: list[str]
) -> BasePoses:
    """The poses of one topic; raises DriveError where none is usable."""
    connections = connections_of(reader, topic, POSE_TYPES)
    is_gps = connections[0].msgtype == NAVSAT
    track = _Fixes(options.datum) if is_gps else _Track()
    for raw in messages(reader, connections, warnings):
        try:
            track.add(decoded(reader, raw), raw)
        except VprError as error:
            track.skipped[
                error.args[0] if isinstance(error, _NoPoseError) else 'cannot be read'
            ] += 1
    skipped = sum(track.skipped.values())
    if not track.header_ns:
        why = f'all {skipped}: {_said(track.skipped)}' if skipped else 'there are none'
        raise DriveError(f'{reader.paths[0]}: {topic} has no usable pose, {why}')
    if skipped:
        poses = counted(skipped, 'pose was', 'poses were')
        warnings.append(f'{topic}: {poses} skipped ({_said(track.skipped)})')
    return track.finished(topic, warnings)


def header_ns(header: Any) -> int:
    """The stamp of a std_msgs/Header in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def _unstamped_said(count: int, what: str) -> str:
    """A sentence on some transforms or poses without a stamp."""
    return (
        f'{counted(count, f"{what} has", f"{what}s have")} no stamp; '
        f'{by_count(count, "its time", "their times")} of recording '
        f'{by_count(count, "is", "are")} used'
    )


def lateness_ns(headers_ns: Stamps, received_ns: Stamps) -> int | None:
    """How much later than they were recorded [M] messages are stamped [M], at the median.

    None where a stamp of 0 may be one: in simulated time, or where the recording has no times.
    """
    stamped = headers_ns != 0
    if not stamped.any() or headers_ns[stamped].min() < WALL_NS or not received_ns.all():
        return None
    return int(np.median(headers_ns[stamped] - received_ns[stamped]))


class _NoPoseError(VprError):
    """A message without a usable pose, with the reason in a few words."""


class _Track:
    """Poses as they come, 72 bytes each."""

    def __init__(self) -> None:
        self.header_ns: array[int] = array('q')
        self.skipped: Counter[str] = Counter()
        self._bag_ns: array[int] = array('q')
        self._values: array[float] = array('d')
        self._whose: array[int] = array('H')  # of each pose: number of its frames
        self._frames: dict[tuple[str, str], int] = {}  # frame and child frame -> number

    def add(self, message: Any, raw: RawMessage) -> None:
        """Take a pose of any type but NavSatFix; raises _NoPoseError for what is none."""
        if hasattr(message, 'transform'):
            position, orientation = message.transform.translation, message.transform.rotation
        else:
            pose = message.pose if hasattr(message.pose, 'position') else message.pose.pose
            position, orientation = pose.position, pose.orientation
        values = _checked(position, orientation).tolist()
        frames = (
            frame_name(message.header.frame_id),
            frame_name(getattr(message, 'child_frame_id', '')),
        )
        number = self._frames.setdefault(frames, min(len(self._frames), _MOST_FRAMES))
        self._keep(values, message.header, raw)
        self._whose.append(number)

    def finished(self, topic: str, warnings: list[str]) -> BasePoses:
        """The track so far, which must not be empty."""
        poses: Poses = np.frombuffer(self._values, dtype=np.float64).reshape(-1, 7)
        stamps_ns = self._stamps(topic, warnings)
        own, (frame_id, base_frame) = self._of_one_body(topic, warnings)
        warnings += repeated_said(stamps_ns[own], poses[own], source=topic)
        trajectory = Trajectory.from_unordered(stamps_ns[own], poses[own], source=topic)
        return BasePoses(trajectory, frame_id or 'map', base_frame)

    def _of_one_body(
        self, topic: str, warnings: list[str]
    ) -> tuple[NDArray[np.bool_], tuple[str, str]]:
        """Which poses are those of the frames that most have, or the first, and these frames."""
        whose = np.frombuffer(self._whose, dtype=np.uint16)
        counts = np.bincount(whose)
        most = int(np.argmax(counts))
        named = {number: frames for frames, number in reversed(self._frames.items())}
        if len(counts) > 1:
            said = ', '.join(
                f'{said_frames(*named[number])}: {count}'
                for number, count in enumerate(counts.tolist())
            )
            warnings.append(
                f'{topic}: poses of several frames, {said}; only those of '
                f'{said_frames(*named[most])} are used. Let each program publish on a topic of '
                'its own'
            )
        return whose == most, named[most]

    def _keep(self, values: Sequence[float], header: Any, raw: RawMessage) -> None:
        self.header_ns.append(header_ns(header))
        self._bag_ns.append(raw.bag_ns)
        self._values.extend(values)

    def _stamps(self, topic: str, warnings: list[str]) -> NDArray[np.int64]:
        """The headers' stamps, or the times of recording where those are empty."""
        stamps_ns = self.header_ns
        if not any(stamps_ns) and any(self._bag_ns):
            warnings.append(
                f'{topic}: all header stamps are zero, so the times of recording are used'
            )
            stamps_ns = self._bag_ns
        found = np.array(stamps_ns, dtype=np.int64)
        received_ns = np.array(self._bag_ns, dtype=np.int64)
        unstamped = found == 0
        if unstamped.any() and (late_ns := lateness_ns(found, received_ns)) is not None:
            warnings.append(f'{topic}: {_unstamped_said(int(unstamped.sum()), "pose")}')
            found[unstamped] = received_ns[unstamped] + late_ns
        backwards = int((np.diff(found) < 0).sum())
        if backwards:
            warnings.append(
                f'{topic}: the stamps jump back {counted(backwards, "time")}; '
                'poses are used in the order of stamps'
            )
        return found


class _Fixes(_Track):
    """Positions in degrees, which become metres when all of them are known."""

    def __init__(self, datum: Datum | None) -> None:
        super().__init__()
        self._wanted = datum
        self._unknown = 0

    def add(self, message: Any, raw: RawMessage) -> None:
        """Take a NavSatFix; raises _NoPoseError for what is no position."""
        try:
            place = degrees_of_fix(message)
        except DriveError as error:
            raise _NoPoseError(str(error)) from error
        self._unknown += message.status.status == UNKNOWN_FIX
        self._keep((*place, message.altitude), message.header, raw)

    def finished(self, topic: str, warnings: list[str]) -> BasePoses:
        """The track so far, which must not be empty; its positions are metres from the datum."""
        count = len(self.header_ns)
        if self._unknown:
            verb = by_count(self._unknown, 'has', 'have')
            they_are = by_count(self._unknown, 'it is', 'they are')
            warnings.append(
                f'{topic}: {self._unknown} of {counted(count, "position")} {verb} status '
                f'{UNKNOWN_FIX} (unknown); {they_are} used, because {they_are} finite and not 0'
            )
        stamps_ns = self._stamps(topic, warnings)
        places: NDArray[np.float64] = np.frombuffer(self._values, dtype=np.float64)
        places = places.reshape(-1, 3)  # latitude, longitude, altitude
        order = np.argsort(stamps_ns, kind='stable')
        stamps_ns, places = stamps_ns[order], places[order]
        kept = _without_strays(stamps_ns, places)
        if not kept.all():
            strays, first_s = int((~kept).sum()), stamps_ns[~kept][0] / 1e9
            warnings.append(
                f'{topic}: {strays} of {count} positions {by_count(strays, "is", "are")} left '
                'out, because no vehicle drives from the others to '
                f'{by_count(strays, "it", "them")} and back; the first at {first_s:.3f} s is '
                f'{places[~kept][0, 0]:.5f}, {places[~kept][0, 1]:.5f}'
            )
        stamps_ns, places = stamps_ns[kept], places[kept]
        if self._wanted is not None:
            require_near(*middle_of(places[:, :2]), self._wanted, source=topic)
        datum = self._wanted or datum_at(*places[0].tolist())
        poses = np.tile(IDENTITY, (len(places), 1))
        poses[:, :2] = [east_north_of(lat, lon, datum) for lat, lon, _ in places.tolist()]
        warnings += repeated_said(stamps_ns, poses, source=topic)
        trajectory = Trajectory.from_unordered(stamps_ns, poses, source=topic)
        # The header says where the antenna is, which is no base of anything.
        return BasePoses(trajectory, 'map', '', has_heading=False, datum=datum)


def _without_strays(
    stamps_ns: NDArray[np.int64], places_deg: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which positions [T, 2 or more] by stamp [T] belong together, [T].

    Stretches between jumps are joined where one can drive from the end of one to the start of the
    next. The longest chain stays; the others go only if they are few, because a stray is few.
    """
    earth_m = _on_the_earth(places_deg)
    starts = np.flatnonzero(np.concatenate([[True], jumped(stamps_ns, earth_m)]))
    chains: list[list[int]] = []
    for first, end in zip(starts.tolist(), [*starts[1:].tolist(), len(stamps_ns)]):
        for chain in chains:
            rows = [chain[-1], first]
            if not jumped(stamps_ns[rows], earth_m[rows]).any():
                chain.extend(range(first, end))
                break
        else:
            chains.append(list(range(first, end)))
    kept = np.zeros(len(stamps_ns), dtype=bool)
    kept[max(chains, key=len)] = True
    few = (~kept).sum() * _FEWEST_OF_A_STRAY <= len(kept)
    return kept if few else np.ones(len(kept), dtype=bool)


def _on_the_earth(places_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres from the middle of a ball as large as the Earth, [T, 3]."""
    latitude, longitude = np.radians(places_deg[:, 0]), np.radians(places_deg[:, 1])
    east, north = np.cos(longitude), np.sin(longitude)
    return 6.371e6 * np.stack(
        [np.cos(latitude) * east, np.cos(latitude) * north, np.sin(latitude)], axis=1
    )


def _said(reasons: Counter[str]) -> str:
    if len(reasons) == 1:
        return next(iter(reasons))
    return '; '.join(f'{count} {reason}' for reason, count in reasons.most_common())


def _transforms(reader: AnyReader, message: RawMessage) -> list[Any]:
    try:
        return list(decoded(reader, message).transforms)
    except DriveError:
        return []


def _checked(position: Any, orientation: Any) -> Poses:
    """A pose [7]; raises _NoPoseError where its numbers are none."""
    pose = [
        *(position.x, position.y, position.z),
        *(orientation.x, orientation.y, orientation.z, orientation.w),
    ]
    if not np.isfinite(pose).all():
        raise _NoPoseError('NaN')
    if not any(pose[3:]):
        raise _NoPoseError('a quaternion of zeros')
    if max(map(abs, pose[:3])) > FARTHEST_M:
        raise _NoPoseError(f'beyond {FARTHEST_M:g} m')
    try:
        return checked_pose(pose)
    except VprError as error:
        raise _NoPoseError('no unit quaternion') from error
