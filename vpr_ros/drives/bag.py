"""A bag as a drive: ROS 1, sqlite3 or mcap, with poses from a topic or from tf."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from vpr_ros.core.camera import (
    Camera,
    camera_info_topic,
    is_rectified,
    read_camera_info,
    unusable_said,
)
from vpr_ros.core.encodings import to_depth_m, to_rgb
from vpr_ros.core.errors import DriveError, ImageError, noting
from vpr_ros.core.geometry import FORWARD_CAMERA, IDENTITY, checked_pose
from vpr_ros.core.plurals import counted
from vpr_ros.core.stamps import exact_seconds
from vpr_ros.core.types import Image, Poses
from vpr_ros.drives.bag_poses import BasePoses, header_ns, lateness_ns, read_transforms
from vpr_ros.drives.drive import DEFAULTS, DriveOptions, RecordedFrame, note
from vpr_ros.drives.headings import with_true_headings
from vpr_ros.drives.pose_notes import ImageTime, note_clocks
from vpr_ros.drives.pose_sources import PoseSource, pose_source
from vpr_ros.drives.reader import RawMessage, decoded, messages, open_reader
from vpr_ros.drives.topics import (
    ALIGNED_DEPTH,
    CAMERA_INFO_TYPES,
    IMAGE_TYPES,
    all_topics,
    chosen_image_topic,
    connections_of,
    listed,
    named_topic,
)
from vpr_ros.drives.transforms import TransformTree, frame_name

_PROBED = 20  # images that tell whether header stamps are filled
_MANY_REPEATS = 0.05  # share of the images; a recorder may double a few
_REORDERED = (
    8  # images held back, so that neighbours that were recorded out of order come in order
)
_DEPTH_GAP_NS = 10_000_000  # between an image and its depth
_USUAL_BASES = ('base_link', 'base_footprint')


class BagDrive:
    """A bag whose poses and mounting have been read; see Drive."""

    def __init__(self, path: Path | Sequence[Path], options: DriveOptions = DEFAULTS) -> None:
        """Read everything but the images; raises DriveError.

        path: a bag, a storage file of one, or the parts of a split bag.
        """
        self._path = path
        self.name = str(path) if isinstance(path, Path) else ', '.join(str(part) for part in path)
        self.warnings: list[str] = []
        self.pose_source = ''
        self._image_frames: list[str] = []  # the first two
        with (
            noting(lambda: self.warnings),
            open_reader(path, warnings=self.warnings) as reader,
        ):
            base = self._read(reader, options)
        self.frame_id = 'map' if base is None else base.frame_id
        if options.pose_frame and (base is None or base.datum is None):
            self.frame_id = options.pose_frame
        self.datum = None if base is None else base.datum
        self.has_heading = base is not None and base.has_heading
        self.trajectory = None if base is None else base.of_camera(self.base_T_camera)

    def _read(self, reader: AnyReader, options: DriveOptions) -> BasePoses | None:
        """Read topics, poses, mounting and calibration."""
        self.image_topic = self._image_topic(reader, options)
        self.depth_topic = _depth_topic(reader, self.image_topic, options)
        self._length = sum(
            entry.msgcount for entry in connections_of(reader, self.image_topic, IMAGE_TYPES)
        )
        images = self._probe(reader)
        source = pose_source(reader, options, images, self.warnings, name=self.name)
        self.pose_source = source.said
        if source.poses is not None:
            note_clocks(images, source.poses.trajectory, self.warnings)
        mounting = _mounting(reader, options, source, images.frame, self.warnings)
        self.field_of_view_deg, self.camera = _calibration(reader, self.image_topic, self.warnings)
        self.mounting_known = mounting is not None
        self.base_T_camera: Poses = FORWARD_CAMERA if mounting is None else mounting
        if source.poses is None:
            return None
        return with_true_headings(source.poses, self.base_T_camera, source.name, self.warnings)

    def __len__(self) -> int:
        """Number of images."""
        return self._length

    def frames(self) -> Iterator[RecordedFrame]:
        """Images in the order of their stamps; see Drive.frames."""
        with open_reader(self._path) as reader:
            last_ns: int | None = None
            jumps = repeats = count = 0
            for frame in _in_order(self._recorded(reader)):
                jumps += last_ns is not None and frame.stamp_ns < last_ns
                repeats += frame.stamp_ns == last_ns
                count += 1
                last_ns = frame.stamp_ns
                yield frame
        if last_ns is None:
            raise DriveError(f'{self.name}: not one image on {self.image_topic} can be read')
        if jumps:
            self._warn(f'{self.image_topic}: the clock was set back {counted(jumps, "time")}')
        if repeats >= _MANY_REPEATS * count and not self._has_whole_seconds:
            self._warn(
                f'{self.image_topic}: {repeats} of {counted(count, "image")} have the stamp of '
                'the one before, and so its pose; let the driver stamp each image when it is taken'
            )

    def _recorded(self, reader: AnyReader) -> Iterator[RecordedFrame]:
        """Images in the order they were received, with their depth where that is recorded."""
        connections = connections_of(reader, self.image_topic, IMAGE_TYPES)
        if self.depth_topic is None:
            raws = messages(reader, connections, self.warnings)
            yield from (self._frame(reader, raw, index) for index, raw in enumerate(raws))
            return
        connections = connections + connections_of(reader, self.depth_topic, IMAGE_TYPES)
        depths: deque[tuple[int, Any]] = deque(maxlen=2 * _REORDERED)
        waiting: deque[RecordedFrame] = deque()
        index = 0
        for raw in messages(reader, connections, self.warnings):
            if raw.topic == self.depth_topic:
                with suppress(DriveError):
                    message = decoded(reader, raw)
                    stamp_ns = self._stamp_ns(header_ns(message.header), raw.bag_ns)
                    depths.append((stamp_ns, message))
            else:
                waiting.append(self._frame(reader, raw, index))
                index += 1
            while waiting and (
                len(waiting) > _REORDERED or (depths and depths[-1][0] >= waiting[0].stamp_ns)
            ):
                yield _with_depth(waiting.popleft(), depths)
        yield from (_with_depth(frame, depths) for frame in waiting)

    def _frame(self, reader: AnyReader, raw: RawMessage, index: int) -> RecordedFrame:
        """The index-th image."""
        try:
            message = decoded(reader, raw)
        except DriveError as error:
            name = _frame_name(raw, index, raw.bag_ns)
            return RecordedFrame(raw.bag_ns, name, partial(_refuse, f'{name}: {error}'))
        self._compare_frames(frame_name(message.header.frame_id))
        stamp_ns = self._stamp_ns(header_ns(message.header), raw.bag_ns)
        name = _frame_name(raw, index, stamp_ns)
        return RecordedFrame(stamp_ns, name, partial(to_rgb, message, source=name))

    def _stamp_ns(self, stamp_ns: int, bag_ns: int) -> int:
        """The stamp of an image by its header's, and the time of its recording."""
        if self._bag_clock:
            return bag_ns
        if stamp_ns == 0 and self._late_ns is not None:
            self._warn(f'{self.image_topic}: images without a stamp have the time of recording')
            return bag_ns + self._late_ns
        return stamp_ns

    def _compare_frames(self, frame: str) -> None:
        """Note a second camera on the topic, once."""
        if frame in self._image_frames or len(self._image_frames) > 1:
            return
        self._image_frames.append(frame)
        if len(self._image_frames) > 1:
            names = ' and '.join(name or 'no frame' for name in self._image_frames)
            self._warn(
                f'{self.image_topic}: images of several frames, {names}, are taken for those of '
                'one camera; let each camera publish on a topic of its own'
            )

    def _image_topic(self, reader: AnyReader, options: DriveOptions) -> str:
        topic = chosen_image_topic(reader, options.image_topic)
        if topic is None:
            raise DriveError(
                f'{self.name}: no images in it; topics with messages: {listed(all_topics(reader))}'
            )
        return topic

    def _probe(self, reader: AnyReader) -> ImageTime:
        """The camera's frame and the first stamp; decides which clock stamps the images."""
        connections = connections_of(reader, self.image_topic, IMAGE_TYPES)
        headers: list[tuple[Any, int]] = []
        for raw in islice(messages(reader, connections, self.warnings), _PROBED):
            try:
                headers.append((decoded(reader, raw).header, raw.bag_ns))
            except DriveError:
                continue
        if self._length == 0:
            raise DriveError(f'{self.name}: no images on {self.image_topic}')
        stamps = {header_ns(header) for header, _ in headers}
        said = 'zero' if stamps == {0} else 'all the same'
        unstamped = stamps == {0} or (len(headers) > 1 and len(stamps) == 1)
        self._bag_clock = unstamped and any(bag_ns for _, bag_ns in headers)
        found_ns = np.array([header_ns(header) for header, _ in headers], dtype=np.int64)
        received_ns = np.array([bag_ns for _, bag_ns in headers], dtype=np.int64)
        self._late_ns = lateness_ns(found_ns, received_ns)
        self._has_whole_seconds = len(stamps) < len(headers) and not any(
            stamp_ns % 10**9 for stamp_ns in stamps
        )
        if not headers:
            return ImageTime(self.image_topic, '', self._length, 0, 0)
        if self._bag_clock:
            self._warn(
                f'{self.image_topic}: header stamps are {said}, so the times of recording are used'
            )
        elif self._has_whole_seconds:
            self._warn(
                f'{self.image_topic}: header stamps are whole seconds, so images get the pose of '
                'the second and not their own; let the driver fill in the nanoseconds'
            )
        header, bag_ns = headers[0]
        self._compare_frames(frame_name(header.frame_id))
        # The first stamp of a stream may be a wrong one, so that most have a say.
        late_ns = [header_ns(each) - received_ns for each, received_ns in headers]
        return ImageTime(
            self.image_topic,
            frame_name(header.frame_id),
            self._length,
            bag_ns if self._bag_clock else bag_ns + int(np.median(late_ns)),
            max(reader.end_time - bag_ns, 0),
        )

    def _warn(self, text: str) -> None:
        note(self.warnings, text)


def _depth_topic(reader: AnyReader, image_topic: str, options: DriveOptions) -> str | None:
    """The named depth topic, else one whose name says that it is aligned; raises DriveError."""
    if options.depth_topic is not None:
        return named_topic(reader, options.depth_topic, IMAGE_TYPES, what='depth')
    named = [
        entry
        for entry in reader.connections
        if ALIGNED_DEPTH.search(entry.topic) and entry.topic != image_topic
    ]
    raw = [entry.topic for entry in named if entry.msgtype == IMAGE_TYPES[0]]
    packed = [
        entry.topic
        for entry in named
        if entry.msgtype == IMAGE_TYPES[1] and entry.topic.endswith('/compressedDepth')
    ]
    return next(iter(raw + packed), None)


def _with_depth(frame: RecordedFrame, depths: Iterable[tuple[int, Any]]) -> RecordedFrame:
    """A frame with the depth image of its moment, where there is one among (stamp, message)."""
    nearest = min(depths, key=lambda depth: abs(depth[0] - frame.stamp_ns), default=None)
    if nearest is None or abs(nearest[0] - frame.stamp_ns) > _DEPTH_GAP_NS:
        return frame
    source = f'depth of {frame.name}'
    return replace(frame, depth=partial(to_depth_m, nearest[1], source=source))


def _calibration(
    reader: AnyReader, image_topic: str, warnings: list[str]
) -> tuple[float | None, Camera | None]:
    """Field of view in degrees and camera by the first calibration beside the images that tells.

    A driver may send empty ones before it has loaded its own.
    """
    topic = camera_info_topic(image_topic)
    connections = connections_of(reader, topic, CAMERA_INFO_TYPES)
    seen_deg, why_not = None, ''
    for raw in islice(messages(reader, connections, []), _PROBED):
        try:
            found = read_camera_info(decoded(reader, raw), rectified=is_rectified(image_topic))
        except DriveError as error:
            why_not = why_not or str(error)
            continue
        seen_deg = seen_deg or found.field_of_view_deg
        if found.camera is not None:
            return found.field_of_view_deg, found.camera
        why_not = why_not or found.why_not
    if why_not:
        warnings.append(unusable_said(topic, why_not))
    return seen_deg, None


def _mounting(
    reader: AnyReader,
    options: DriveOptions,
    source: PoseSource,
    camera_frame: str,
    warnings: list[str],
) -> Poses | None:
    """base_T_camera [7] by the options or the transform tree, None where neither says it."""
    if options.base_T_camera is not None:
        return checked_pose(options.base_T_camera, source='base_T_camera')
    if not camera_frame:
        return None
    base = source.poses
    bases = (base.base_frame,) if base is not None and base.base_frame else _USUAL_BASES
    if camera_frame in bases:
        return IDENTITY
    # ROS 1 also repeats fixed transforms on /tf.
    trees: list[TransformTree | None] = [source.tree, *([] if source.is_whole_tree else [None])]
    for tree in trees:
        known = tree or read_transforms(reader, warnings, source.tf.every)
        for frame in bases:
            if (found := known.constant(frame, camera_frame)) is not None:
                return found
            if known.connects(frame, camera_frame):
                warnings.append(
                    f'{camera_frame} moves in {frame}, so its mounting is treated as unknown'
                )
                return None
    return None


def _in_order(frames: Iterable[RecordedFrame]) -> Iterator[RecordedFrame]:
    """Sort by stamp within a few frames; what comes later starts a new stretch of time."""
    waiting: list[tuple[int, int, RecordedFrame]] = []
    last_ns: int | None = None
    for index, frame in enumerate(frames):
        if last_ns is not None and frame.stamp_ns < last_ns:
            yield from _emptied(waiting)
        heapq.heappush(waiting, (frame.stamp_ns, index, frame))
        if len(waiting) > _REORDERED:
            first = heapq.heappop(waiting)[2]
            last_ns = first.stamp_ns
            yield first
    yield from _emptied(waiting)


def _emptied(waiting: list[tuple[int, int, RecordedFrame]]) -> Iterator[RecordedFrame]:
    while waiting:
        yield heapq.heappop(waiting)[2]


def _frame_name(raw: RawMessage, index: int, stamp_ns: int) -> str:
    return f'{raw.topic}#{index}@{exact_seconds(stamp_ns)}'


def _refuse(reason: str, *, at_least_hw: tuple[int, int] | None = None) -> Image:
    raise ImageError(reason)
