"""Whose a topic or a frame is, by its namespace or prefix.

Every robot of a fleet has its own tf with the same frames in it, so trees of different namespaces
never mix.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rosbags.highlevel import AnyReader

from vpr_ros.core.errors import DriveError
from vpr_ros.drives.drive import DriveOptions
from vpr_ros.drives.pose_notes import ImageTime
from vpr_ros.drives.topics import TRANSFORMS, named_topic, topics_of


@dataclass(frozen=True, slots=True)
class TfTopics:
    """The topics with the tf of one robot."""

    moving: str | None
    fixed: str | None
    foreign: tuple[str, ...] = ()  # the topics of other robots, where none is chosen

    @property
    def every(self) -> list[str]:
        """Both topics."""
        return [topic for topic in (self.moving, self.fixed) if topic]

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


def tf_topics(reader: AnyReader, options: DriveOptions, image_topic: str) -> TfTopics:
    """The tf of the robot whose images these are; raises DriveError as `named_topic`."""
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
    return TfTopics(chosen, chosen_fixed, tuple(foreign or ([] if chosen else foreign_fixed)))


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
    if len(topics) == 1 and not are_siblings(topics[0], near[0]):
        return topics[0], []
    return None, list(topics)


def _namespace(topic: str) -> str:
    """/robot1 of /robot1/tf, '' of /tf."""
    return topic.rpartition('/')[0]


def _encloses(namespace: str, topic: str) -> bool:
    return topic.startswith(f'{namespace}/')


def first_word(topic: str) -> str:
    """The first word of a topic's namespace, '' where it has none."""
    words = topic.strip('/').split('/')
    return words[0] if words[1:] else ''


def are_siblings(topic: str, other: str) -> bool:
    """Whether two topics lie in namespaces that differ in a number alone, as /robot1, /robot2."""
    return _differ_in_number(first_word(topic), first_word(other))


def _differ_in_number(one: str, other: str) -> bool:
    return one != other and bool(one and other) and _unnumbered(one) == _unnumbered(other)


def _unnumbered(name: str) -> str:
    return re.sub(r'\d+', '0', name)


def is_prefix_of(prefix: str, images: ImageTime) -> bool:
    """Whether a frame's prefix is the robot's that the images' topic or frame names."""
    name = prefix.rstrip('/_')
    return bool(name) and (
        name in images.topic.split('/') or images.frame.startswith((f'{name}/', f'{name}_'))
    )


def is_prefix_of_sibling(prefix: str, images: ImageTime) -> bool:
    """Whether a frame's prefix differs in a number alone from the robot's of the images."""
    name = prefix.rstrip('/_')
    frame = images.frame.partition('/')[0]
    return _differ_in_number(name, first_word(images.topic)) or _differ_in_number(name, frame)
