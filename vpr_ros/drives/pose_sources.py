"""Choose the source of a bag's poses: one topic, or two frames of its tf.

A type says little: a goal that somebody clicked is a PoseStamped like the poses of a tracker, and
every robot of a fleet has its own tf with the same frames in it. So it is evidence that decides:
the topic's name and namespace, how many poses there are beside the images, and which part of the
images' time they cover. Whatever is chosen is said, with what was not and why.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rosbags.highlevel import AnyReader

from vpr_ros.core.errors import DriveError
from vpr_ros.core.geometry import said_frames
from vpr_ros.core.plurals import counted
from vpr_ros.core.trajectory import MOST_MPS, Trajectory, clock_question
from vpr_ros.drives.bag_poses import BasePoses, poses_of_topic, read_transforms
from vpr_ros.drives.drive import DriveOptions, frame_of
from vpr_ros.drives.pose_file import covering
from vpr_ros.drives.reader import (
    NAVSAT,
    POSE_TYPES,
    SINGLE_POSES,
    TRANSFORMS,
    all_topics,
    listed,
    named_topic,
    short,
    topics_of,
)
from vpr_ros.drives.transforms import TransformTree, frame_name

_NO_TRACKS = frozenset(
    {
        *('goal', 'goals', 'initialpose', 'initial', 'clicked', 'setpoint', 'waypoint'),
        *('waypoints', 'target', 'desired', 'command', 'cmd', 'plan', 'planner'),
    }
)
"""Words in topics of poses where a robot is to be, not where it was."""
_SPARSE_PERIOD_S, _SPARSE_COUNT = 5.0, 4
_SAMPLES = 100  # instants of the images' time at which a source is asked
_MOST_PAIRS = 4  # that are named


@dataclass(frozen=True, slots=True)
class ImageTime:
    """When the images were taken, and what they are called."""

    topic: str
    frame: str
    count: int
    first_ns: int
    duration_ns: int  # at most

    def covered(self, trajectory: Trajectory, max_gap_s: float | None) -> float:
        """Share of the images' time at which a trajectory is known."""
        stamps = np.linspace(0, self.duration_ns, _SAMPLES).astype(np.int64) + self.first_ns
        return float(trajectory.at(stamps, max_gap_s=max_gap_s)[1].mean())


@dataclass(slots=True)
class PoseSource:
    """What was chosen, with the tree of the transforms that were read."""

    poses: BasePoses | None
    tree: TransformTree
    said: str  # for the user: what gave the poses, or what there is instead
    tf: 'TfTopics'
    name: str = ''  # of the topic or the file that gave the poses

    @property
    def is_whole_tree(self) -> bool:
        """Whether the transforms that move were read, too."""
        return self.tf.moving is None or self.tf.moving in self.tf.read


@dataclass(slots=True)
class TfTopics:
    """The tf of one robot."""

    moving: str | None = None
    fixed: str | None = None
    foreign: list[str] = field(default_factory=list)  # robots' topics, where none is chosen
    read: list[str] = field(default_factory=list)

    @property
    def every(self) -> list[str]:
        """Both topics."""
        return [topic for topic in (self.moving, self.fixed) if topic]

    def tree(self, reader: AnyReader, warnings: list[str], topics: list[str]) -> TransformTree:
        """Read some of the topics."""
        self.read = topics
        return read_transforms(reader, warnings, topics)

    def not_read(self, image_topic: str) -> str:
        """Why no tf is read; '' where that is not so."""
        if not self.foreign:
            return ''
        names = ' and '.join(self.foreign)
        if len(self.foreign) == 1:
            return f'{names} is of another robot than {image_topic}; use it with --tf-topic'
        return (
            f'{names} are of several robots, and {image_topic} does not say whose; '
            'choose one with --tf-topic'
        )

    def require_one(self, image_topic: str, *, name: str) -> None:
        """Raise DriveError where it is open whose tf is meant."""
        if why := self.not_read(image_topic):
            raise DriveError(f'{name}: {why}')


def pose_source(
    reader: AnyReader,
    options: DriveOptions,
    images: ImageTime,
    warnings: list[str],
    *,
    name: str,
) -> PoseSource:
    """Choose the source of the poses by the options, else by what is there; raises DriveError."""
    tf = tf_topics(reader, options, images.topic)
    if options.pose_files:
        tree = tf.tree(reader, warnings, [tf.fixed] if tf.fixed else [])
        poses, said, files = poses_of_files(options, images, warnings)
        return PoseSource(poses, tree, said, tf, files)
    if options.pose_topic is not None and options.tf_frames is None:
        topic = named_topic(reader, options.pose_topic, POSE_TYPES, what='pose')
        poses = poses_of_topic(reader, topic, options, warnings)
        tree = tf.tree(reader, warnings, [tf.fixed] if tf.fixed else [])
        return _said(reader, poses, topic, tree, tf, ['as --pose-topic says'], warnings)
    if options.tf_frames is not None:
        tf.require_one(images.topic, name=name)
        tree = tf.tree(reader, warnings, tf.every)
        motion = _between(tree, *options.tf_frames, options)
        if motion is None:
            raise DriveError(f'{name}: {_why_not(tree, *options.tf_frames)}')
        because = ['as --tf-frames says']
        return _said(reader, motion, tf.moving or '/tf', tree, tf, because, warnings)
    return _chosen(reader, options, images, tf, warnings, name=name)


def tf_topics(reader: AnyReader, options: DriveOptions, image_topic: str) -> TfTopics:
    """The tf of the robot whose images these are; trees of different namespaces never mix."""
    there = [topic for topic, (_, count) in topics_of(reader, TRANSFORMS).items() if count]
    fixed = [topic for topic in there if topic.endswith('tf_static')]
    moving = [topic for topic in there if topic not in fixed]
    if options.tf_topic is not None:
        named = named_topic(reader, options.tf_topic, TRANSFORMS, what='tf')
        own = [topic for topic in fixed if _encloses(_namespace(topic), named)]
        return TfTopics(named, max(own, key=len, default=None))
    near = [image_topic]
    near += [f'/{options.pose_topic.lstrip("/")}'] if options.pose_topic is not None else []
    chosen, foreign = _of_robot(moving, near)
    chosen_fixed, foreign_fixed = _of_robot(fixed, near)
    return TfTopics(chosen, chosen_fixed, foreign or ([] if chosen else foreign_fixed))


def _chosen(
    reader: AnyReader,
    options: DriveOptions,
    images: ImageTime,
    tf: TfTopics,
    warnings: list[str],
    *,
    name: str,
) -> PoseSource:
    topics, reasons = _tracks(reader, images)
    gps = {topic: held for topic, held in topics.items() if held[0] == NAVSAT}
    wants_degrees = options.datum is not None and bool(gps)
    if wants_degrees:
        others = [topic for topic in topics if topic not in gps]
        reasons += [f'not {topic}: positions in degrees are asked for' for topic in others]
        topics = gps
    if not topics:
        tf.require_one(images.topic, name=name)
    reasons += [why] if (why := tf.not_read(images.topic)) else []
    tree = tf.tree(reader, warnings, tf.every)
    poses = None
    if not wants_degrees:
        poses = _of_robots(tree, ('map',), images, options, reasons, name=name)
        if poses is not None and topics:
            known = images.covered(poses.trajectory, options.max_pose_gap_s)
            if known >= 0.5:
                named = ', '.join(topics)
                why = f'tf from map is preferred to {named} (choose that with --pose-topic)'
                reasons.append(why)
            else:
                frames = said_frames(poses.frame_id, poses.base_frame)
                reasons.append(f'not {tf.moving}: {frames} is {_share(known)}')
                poses = None
    if poses is not None:
        return _said(reader, poses, tf.moving or '/tf', tree, tf, reasons, warnings)
    if topics:
        best, topic = _best(reader, topics, options, images, reasons, warnings, name=name)
        return _said(reader, best, topic, tree, tf, reasons, warnings)
    poses = _of_robots(tree, ('odom',), images, options, reasons, name=name)
    if poses is None:
        return PoseSource(None, tree, _nothing(reader, tree, reasons), tf)
    return _said(reader, poses, tf.moving or '/tf', tree, tf, reasons, warnings)


def _tracks(reader: AnyReader, images: ImageTime) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Topics that may tell where this robot was, and why others do not."""
    topics = {topic: held for topic, held in topics_of(reader, POSE_TYPES).items() if held[1]}
    reasons = []
    for topic, (kind, count) in list(topics.items()):
        words = set(topic.replace('/', '_').lower().split('_'))
        if kind in SINGLE_POSES and words & _NO_TRACKS:
            why = 'its name says that it holds goals, not positions of the robot'
        elif kind in SINGLE_POSES and _is_sparse(count, images):
            few = counted(count, 'pose is', 'poses are')
            why = f'{few} too few for {counted(images.count, "image")}'
        elif _are_siblings(topic, images.topic):
            why = f'it is of another robot than {images.topic}'
        else:
            continue
        del topics[topic]
        reasons.append(f'not {topic} ({short(kind)}, {counted(count, "message")}): {why}')
    twins = [topic for topic in topics if _first(topic) == _first(images.topic)]
    for topic in list(topics):
        kind, rest = topics[topic][0], topic.split('/')[2:]
        if (
            topic not in twins
            and rest
            and any(topics[twin][0] == kind and twin.split('/')[2:] == rest for twin in twins)
        ):
            del topics[topic]
            reasons.append(f'not {topic}: it is of another robot than {images.topic}')
    return topics, reasons


def _is_sparse(count: int, images: ImageTime) -> bool:
    """Whether there are so few poses per image that they are more likely goals."""
    period_s = images.duration_ns / 1e9 / max(count, 1)
    return count * 2 <= images.count and (period_s > _SPARSE_PERIOD_S or count < _SPARSE_COUNT)


def _best(
    reader: AnyReader,
    topics: dict[str, tuple[str, int]],
    options: DriveOptions,
    images: ImageTime,
    reasons: list[str],
    warnings: list[str],
    *,
    name: str,
) -> tuple[BasePoses, str]:
    """The poses of the only topic, or of the only one that covers the images' time."""
    if len(topics) == 1:
        topic = next(iter(topics))
        return poses_of_topic(reader, topic, options, warnings), topic
    found: dict[str, tuple[BasePoses, float, list[str]]] = {}
    for topic in topics:
        said: list[str] = []
        try:
            poses = poses_of_topic(reader, topic, options, said)
        except DriveError as error:
            reasons.append(f'not {topic}: {error}')
            continue
        share = images.covered(poses.trajectory, options.max_pose_gap_s)
        found[topic] = poses, share, said
    best = max((share for _, share, _ in found.values()), default=0.0)
    fitting = [topic for topic, (_, share, _) in found.items() if share >= best / 2]
    if len(fitting) != 1:
        raise DriveError(
            f'{name}: {counted(len(topics), "pose topic")}, choose one with --pose-topic: '
            f'{listed(topics)}'
        )
    for topic, (_, share, _) in found.items():
        if topic not in fitting:
            reasons.append(f'not {topic}: {_share(share)}')
    poses, _, said = found[fitting[0]]
    warnings += said
    return poses, fitting[0]


def _share(known: float) -> str:
    return f"known for {known:.0%} of the images' time"


def _of_robots(
    tree: TransformTree,
    parents: Iterable[str],
    images: ImageTime,
    options: DriveOptions,
    reasons: list[str],
    *,
    name: str,
) -> BasePoses | None:
    """The motion of the robot whose images these are in a frame of one of the names."""
    for parent in parents:
        moving = {
            prefix: (above, base, poses)
            for prefix, above, base in tree.robots(parent)
            if (poses := _between(tree, above, base, options)) is not None
        }
        own = [prefix for prefix in moving if _is_of(prefix, images)]
        foreign = [prefix for prefix in moving if prefix and _is_sibling_of(prefix, images)]
        others = [prefix for prefix in moving if prefix not in foreign]
        chosen = own[:1] or [prefix for prefix in others if not prefix] or others
        for prefix in moving.keys() - set(chosen):
            reasons.append(f'not {moving[prefix][1]}: it is of another robot (--tf-frames)')
        if len(chosen) > 1:
            pairs = ', or '.join(
                f'--tf-frames {moving[one][0]} {moving[one][1]}' for one in chosen
            )
            raise DriveError(f'{name}: several robots on tf, choose one with {pairs}')
        if chosen:
            return moving[chosen[0]][2]
    return None


def _between(
    tree: TransformTree, parent: str, child: str, options: DriveOptions
) -> BasePoses | None:
    found = tree.trajectory(parent, child, max_gap_s=options.max_pose_gap_s)
    return None if found is None else BasePoses(found, frame_name(parent), frame_name(child))


def _why_not(tree: TransformTree, parent: str, child: str) -> str:
    """Why two frames give no motion."""
    frames = ', '.join(tree.frames) or 'none'
    missing = [frame for frame in (parent, child) if frame_name(frame) not in tree.frames]
    if missing:
        return f'no frame {" and no frame ".join(missing)} on /tf; frames: {frames}'
    reason = 'do not move in each other' if tree.connects(parent, child) else 'are not connected'
    return f'{parent} and {child} {reason} on /tf; frames: {frames}'


def _nothing(reader: AnyReader, tree: TransformTree, reasons: Sequence[str]) -> str:
    """What a recording without poses has instead, and which poses could be read."""
    said = [*reasons]
    if tree.frames:
        said.append(f'none of the usual frames moves on /tf; frames: {", ".join(tree.frames)}')
        pairs = tree.moving_pairs()[:_MOST_PAIRS]
        said += [
            f'try --tf-frames {" or --tf-frames ".join(f"{a} {b}" for a, b in pairs)}'
        ] * bool(pairs)
    types = ', '.join(short(kind) for kind in POSE_TYPES)
    said.append(
        f'poses are read from {types} (--pose-topic) and from tf (--tf-frames); '
        f'topics: {listed(all_topics(reader))}'
    )
    return f'no poses: {"; ".join(said)}'


def poses_of_files(
    options: DriveOptions, images: ImageTime, warnings: list[str]
) -> tuple[BasePoses, str, str]:
    """What the files beside the recording say, a sentence for the user that they do, and names.

    Their notes and jumps go to `warnings`.
    """
    file = covering(options.pose_files, images.first_ns, images.first_ns + images.duration_ns)
    warnings += file.notes
    note_jumps(file.trajectory, file.name, warnings)
    poses = BasePoses(file.trajectory, options.pose_frame or 'map', '')
    what = f'TUM, {frame_of(poses.frame_id, None)}'
    said = _said_poses(poses.trajectory, file.name, what, ['as --pose-file says'])
    return poses, said, file.name


def _said(
    reader: AnyReader,
    poses: BasePoses,
    topic: str,
    tree: TransformTree,
    tf: TfTopics,
    reasons: Sequence[str],
    warnings: list[str],
) -> PoseSource:
    """The source with its sentence; jumps of its positions are noted."""
    kinds = {entry.msgtype for entry in reader.connections if entry.topic == topic}
    is_tf = bool(kinds & set(TRANSFORMS))
    what = (
        said_frames(poses.frame_id, poses.base_frame)
        if is_tf
        else f'{short(kinds.pop() if kinds else "")}, {frame_of(poses.frame_id, poses.datum)}'
    )
    note_jumps(poses.trajectory, topic, warnings)
    said = _said_poses(poses.trajectory, topic, what, reasons)
    return PoseSource(poses, tree, said, tf, topic)


def _said_poses(trajectory: Trajectory, source: str, what: str, reasons: Sequence[str]) -> str:
    """For the user: what gave the poses, how many there are, and why these."""
    count, span_s = len(trajectory.stamps_ns), np.ptp(trajectory.stamps_ns) / 1e9
    rate = f', {(count - 1) / span_s:.2g} Hz' if span_s > 0 else ''
    because = f'; {"; ".join(reasons)}' if reasons else ''
    return f'poses from {source} ({what}): {count} in {span_s:.1f} s{rate}{because}'


def note_jumps(trajectory: Trajectory, source: str, warnings: list[str]) -> None:
    """Note where positions jump farther than a vehicle can drive, or move as none does."""
    if (usual_mps := trajectory.usual_speed_mps) > MOST_MPS:
        warnings.append(
            f'{source}: the positions move at {usual_mps:.0f} m/s at the median; metres and '
            'seconds are expected, are these millimetres?'
        )
    if jumps := trajectory.jumps:
        warnings.append(
            f'{source}: the position jumps {counted(len(jumps), "time")} farther than a vehicle '
            f'drives, the first {jumps[0]}; nothing is interpolated there'
        )


def note_clocks(images: ImageTime, trajectory: Trajectory, warnings: list[str]) -> None:
    """Note images that all lie before the first pose or after the last one."""
    first_ns, last_ns = int(trajectory.stamps_ns[0]), int(trajectory.stamps_ns[-1])
    late_ns = images.first_ns - last_ns
    early_ns = first_ns - images.first_ns - images.duration_ns
    if max(late_ns, early_ns) <= 0:
        return
    where, apart_s = ('later', late_ns / 1e9) if late_ns > 0 else ('earlier', early_ns / 1e9)
    than = 'than the last pose' if late_ns > 0 else 'than the first pose'
    which = 'the first image is' if late_ns > 0 else 'the images end'
    warnings.append(
        f'{which} {apart_s:.1f} s {where} {than}; {clock_question(images.first_ns, first_ns)}'
    )


def _of_robot(topics: Sequence[str], near: Sequence[str]) -> tuple[str | None, list[str]]:
    """The topic of the innermost namespace around one of `near`; else the only one, else none.

    Where none is chosen, all of them are given as well.
    """
    for other in near:
        around = [topic for topic in topics if _encloses(_namespace(topic), other)]
        if around:
            inner = max(len(_namespace(topic)) for topic in around)
            own = [topic for topic in around if len(_namespace(topic)) == inner]
            exact = [topic for topic in own if topic.endswith(('/tf', '/tf_static'))]
            return (exact or own)[0], []
    if len(topics) == 1 and not _are_siblings(topics[0], near[0]):
        return topics[0], []
    return None, list(topics)


def _namespace(topic: str) -> str:
    """/robot1 of /robot1/tf, '' of /tf."""
    return topic.rpartition('/')[0]


def _encloses(namespace: str, topic: str) -> bool:
    return topic.startswith(f'{namespace}/')


def _first(topic: str) -> str:
    """The first word of a topic's namespace, '' where it has none."""
    words = topic.strip('/').split('/')
    return words[0] if words[1:] else ''


def _are_siblings(topic: str, other: str) -> bool:
    """Whether two topics lie in namespaces that differ in a number alone, as /robot1, /robot2."""
    return _differ_in_number(_first(topic), _first(other))


def _differ_in_number(one: str, other: str) -> bool:
    return one != other and bool(one and other) and _unnumbered(one) == _unnumbered(other)


def _unnumbered(name: str) -> str:
    return re.sub(r'\d+', '0', name)


def _is_of(prefix: str, images: ImageTime) -> bool:
    """Whether a frame's prefix is the robot's that the images' topic or frame names."""
    name = prefix.rstrip('/_')
    return bool(name) and (
        name in images.topic.split('/') or images.frame.startswith((f'{name}/', f'{name}_'))
    )


def _is_sibling_of(prefix: str, images: ImageTime) -> bool:
    name = prefix.rstrip('/_')
    frame = images.frame.partition('/')[0]
    return _differ_in_number(name, _first(images.topic)) or _differ_in_number(name, frame)
