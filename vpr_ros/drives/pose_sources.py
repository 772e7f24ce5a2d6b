"""Choose the source of a bag's poses: one topic, or two frames of its tf.

A type says little: a goal that somebody clicked is a PoseStamped like the poses of a tracker, and
every robot of a fleet has its own tf with the same frames in it. So it is evidence that decides:
the topic's name and namespace, how many poses there are beside the images, and which part of the
images' time they cover. Whatever is chosen is said, with what was not and why.
"""

from dataclasses import dataclass, field

from rosbags.highlevel import AnyReader

from vpr_ros.core.errors import DriveError
from vpr_ros.core.geometry import said_frames
from vpr_ros.core.plurals import counted
from vpr_ros.drives.bag_poses import BasePoses, poses_of_topic, read_transforms
from vpr_ros.drives.drive import DriveOptions, frame_of
from vpr_ros.drives.namespaces import (
    TfTopics,
    are_siblings,
    first_word,
    is_prefix_of,
    is_prefix_of_sibling,
    tf_topics,
)
from vpr_ros.drives.pose_notes import ImageTime, note_jumps, poses_of_files, said_poses
from vpr_ros.drives.topics import (
    NAVSAT,
    POSE_TYPES,
    SINGLE_POSES,
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
_MOST_PAIRS = 4  # that are named


@dataclass(frozen=True, slots=True)
class PoseSource:
    """What was chosen, with the tree of the transforms that were read."""

    poses: BasePoses | None
    tree: TransformTree
    said: str  # for the user: what gave the poses, or what there is instead
    tf: TfTopics
    is_whole_tree: bool  # whether the transforms that move were read, too
    name: str = ''  # of the topic or the file that gave the poses


def pose_source(
    reader: AnyReader,
    options: DriveOptions,
    images: ImageTime,
    warnings: list[str],
    *,
    name: str,
) -> PoseSource:
    """Choose the source of the poses by the options, else by what is there.

    Notes go to `warnings`; name: the recording's, for messages. Raises DriveError where the
    options name what is not there, and where the choice is open.
    """
    tf = tf_topics(reader, options, images.topic)
    return _Choice(reader, options, images, warnings, name, tf).source()


@dataclass(slots=True)
class _Choice:
    """The choice for one recording, and what is known of it so far."""

    reader: AnyReader
    options: DriveOptions
    images: ImageTime
    warnings: list[str]
    name: str
    tf: TfTopics
    reasons: list[str] = field(default_factory=list)  # for what is chosen, and against the others
    tree: TransformTree = field(default_factory=TransformTree)
    is_whole_tree: bool = False

    def source(self) -> PoseSource:
        """As the options say, else by what is there."""
        options = self.options
        if options.pose_files:
            self._read_tree(moving=False)
            return self._source(*poses_of_files(options, self.images, self.warnings))
        if options.tf_frames is not None:
            self.tf.require_one(self.images.topic, name=self.name)
            self._read_tree()
            motion = self._between(*options.tf_frames)
            if motion is None:
                raise DriveError(f'{self.name}: {_why_not(self.tree, *options.tf_frames)}')
            self.reasons.append('as --tf-frames says')
            return self._of_tf(motion)
        if options.pose_topic is not None:
            topic = named_topic(self.reader, options.pose_topic, POSE_TYPES, what='pose')
            poses = poses_of_topic(self.reader, topic, options, self.warnings)
            self._read_tree(moving=False)
            self.reasons.append('as --pose-topic says')
            return self._of_topic(poses, topic)
        return self._by_evidence()

    def _by_evidence(self) -> PoseSource:
        """A tf from map, else a topic, else a tf from odom; topics in degrees for a datum."""
        topics = self._tracks()
        gps = {topic: held for topic, held in topics.items() if held[0] == NAVSAT}
        wants_degrees = self.options.datum is not None and bool(gps)
        if wants_degrees:
            self.reasons += [
                f'not {topic}: positions in degrees are asked for'
                for topic in topics
                if topic not in gps
            ]
            topics = gps
        if not topics:
            self.tf.require_one(self.images.topic, name=self.name)
        if why := self.tf.not_read(self.images.topic):
            self.reasons.append(why)
        self._read_tree()
        poses = None if wants_degrees else self._motion_in('map')
        if poses is not None and self._is_preferred(poses, topics):
            return self._of_tf(poses)
        if topics:
            return self._of_topic(*self._best(topics))
        poses = self._motion_in('odom')
        return self._source(None, self._nothing()) if poses is None else self._of_tf(poses)

    def _is_preferred(self, poses: BasePoses, topics: dict[str, tuple[str, int]]) -> bool:
        """Whether a tf from map is taken before topics: where it covers half of the time."""
        if not topics:
            return True
        known = self.images.covered(poses.trajectory, self.options.max_pose_gap_s)
        if known < 0.5:
            frames = said_frames(poses.frame_id, poses.base_frame)
            self.reasons.append(f'not {self.tf.moving}: {frames} is {_share(known)}')
            return False
        named = ', '.join(topics)
        self.reasons.append(f'tf from map is preferred to {named} (choose that with --pose-topic)')
        return True

    def _tracks(self) -> dict[str, tuple[str, int]]:
        """Topics that may tell where this robot was; why others do not goes to the reasons."""
        images = self.images
        held = topics_of(self.reader, POSE_TYPES)
        topics = {topic: (kind, count) for topic, (kind, count) in held.items() if count}
        for topic, (kind, count) in list(topics.items()):
            words = set(topic.replace('/', '_').lower().split('_'))
            if kind in SINGLE_POSES and words & _NO_TRACKS:
                why = 'its name says that it holds goals, not positions of the robot'
            elif kind in SINGLE_POSES and _is_sparse(count, images):
                few = counted(count, 'pose is', 'poses are')
                why = f'{few} too few for {counted(images.count, "image")}'
            elif are_siblings(topic, images.topic):
                why = f'it is of another robot than {images.topic}'
            else:
                continue
            del topics[topic]
            self.reasons.append(f'not {topic} ({short(kind)}, {counted(count, "message")}): {why}')
        first = first_word(images.topic)
        twins = {
            (kind, *_below_first(topic))
            for topic, (kind, _) in topics.items()
            if first_word(topic) == first
        }
        for topic, (kind, _) in list(topics.items()):
            rest = _below_first(topic)
            if first_word(topic) != first and rest and (kind, *rest) in twins:
                del topics[topic]
                self.reasons.append(f'not {topic}: it is of another robot than {images.topic}')
        return topics

    def _best(self, topics: dict[str, tuple[str, int]]) -> tuple[BasePoses, str]:
        """The poses of the only topic, or of the only one that covers the images' time."""
        if len(topics) == 1:
            topic = next(iter(topics))
            return poses_of_topic(self.reader, topic, self.options, self.warnings), topic
        found: dict[str, tuple[BasePoses, float, list[str]]] = {}
        for topic in topics:
            said: list[str] = []
            try:
                poses = poses_of_topic(self.reader, topic, self.options, said)
            except DriveError as error:
                self.reasons.append(f'not {topic}: {error}')
                continue
            share = self.images.covered(poses.trajectory, self.options.max_pose_gap_s)
            found[topic] = poses, share, said
        best = max((share for _, share, _ in found.values()), default=0.0)
        fitting = [topic for topic, (_, share, _) in found.items() if share >= best / 2]
        if len(fitting) != 1:
            raise DriveError(
                f'{self.name}: {counted(len(topics), "pose topic")}, choose one with '
                f'--pose-topic: {listed(topics)}'
            )
        for topic, (_, share, _) in found.items():
            if topic not in fitting:
                self.reasons.append(f'not {topic}: {_share(share)}')
        poses, _, said = found[fitting[0]]
        self.warnings += said
        return poses, fitting[0]

    def _motion_in(self, parent: str) -> BasePoses | None:
        """The motion, in a frame of that name, of the robot whose images these are."""
        moving = {
            prefix: (above, base, poses)
            for prefix, above, base in self.tree.robots(parent)
            if (poses := self._between(above, base)) is not None
        }
        own = [prefix for prefix in moving if is_prefix_of(prefix, self.images)]
        foreign = [
            prefix for prefix in moving if prefix and is_prefix_of_sibling(prefix, self.images)
        ]
        others = [prefix for prefix in moving if prefix not in foreign]
        chosen = own[:1] or [prefix for prefix in others if not prefix] or others
        self.reasons += [
            f'not {base}: it is of another robot (--tf-frames)'
            for prefix, (_, base, _) in moving.items()
            if prefix not in chosen
        ]
        if len(chosen) > 1:
            pairs = ', or '.join(
                f'--tf-frames {moving[one][0]} {moving[one][1]}' for one in chosen
            )
            raise DriveError(f'{self.name}: several robots on tf, choose one with {pairs}')
        return moving[chosen[0]][2] if chosen else None

    def _between(self, parent: str, child: str) -> BasePoses | None:
        """The motion of one frame in another; None where the tree has none."""
        found = self.tree.trajectory(parent, child, max_gap_s=self.options.max_pose_gap_s)
        return None if found is None else BasePoses(found, frame_name(parent), frame_name(child))

    def _read_tree(self, *, moving: bool = True) -> None:
        """Read the transforms of the robot; moving: not only those that are fixed."""
        fixed = [self.tf.fixed] if self.tf.fixed else []
        self.tree = read_transforms(self.reader, self.warnings, self.tf.every if moving else fixed)
        self.is_whole_tree = moving or self.tf.moving is None

    def _of_tf(self, poses: BasePoses) -> PoseSource:
        frames = said_frames(poses.frame_id, poses.base_frame)
        return self._said(poses, self.tf.moving or '/tf', frames)

    def _of_topic(self, poses: BasePoses, topic: str) -> PoseSource:
        kind = short(topics_of(self.reader, POSE_TYPES)[topic][0])
        return self._said(poses, topic, f'{kind}, {frame_of(poses.frame_id, poses.datum)}')

    def _said(self, poses: BasePoses, topic: str, what: str) -> PoseSource:
        """The source with its sentence; jumps of its positions are noted."""
        note_jumps(poses.trajectory, topic, self.warnings)
        return self._source(poses, said_poses(poses.trajectory, topic, what, self.reasons), topic)

    def _source(self, poses: BasePoses | None, said: str, name: str = '') -> PoseSource:
        return PoseSource(poses, self.tree, said, self.tf, self.is_whole_tree, name)

    def _nothing(self) -> str:
        """What a recording without poses has instead, and which poses could be read."""
        said = [*self.reasons]
        if frames := self.tree.frames:
            said.append(f'none of the usual frames moves on /tf; frames: {", ".join(frames)}')
            if pairs := self.tree.moving_pairs()[:_MOST_PAIRS]:
                flags = ' or '.join(f'--tf-frames {above} {below}' for above, below in pairs)
                said.append(f'try {flags}')
        types = ', '.join(short(kind) for kind in POSE_TYPES)
        said.append(
            f'poses are read from {types} (--pose-topic) and from tf (--tf-frames); '
            f'topics: {listed(all_topics(self.reader))}'
        )
        return f'no poses: {"; ".join(said)}'


def _is_sparse(count: int, images: ImageTime) -> bool:
    """Whether there are so few poses per image that they are more likely goals."""
    period_s = images.duration_ns / 1e9 / max(count, 1)
    return count * 2 <= images.count and (period_s > _SPARSE_PERIOD_S or count < _SPARSE_COUNT)


def _below_first(topic: str) -> list[str]:
    """The words of a topic after the first of its namespace."""
    return topic.split('/')[2:]


def _share(known: float) -> str:
    return f"known for {known:.0%} of the images' time"


def _why_not(tree: TransformTree, parent: str, child: str) -> str:
    """Why two frames give no motion."""
    frames = ', '.join(tree.frames) or 'none'
    missing = [frame for frame in (parent, child) if frame_name(frame) not in tree.frames]
    if missing:
        return f'no frame {" and no frame ".join(missing)} on /tf; frames: {frames}'
    reason = 'do not move in each other' if tree.connects(parent, child) else 'are not connected'
    return f'{parent} and {child} {reason} on /tf; frames: {frames}'
