"""Open a bag of any kind, mended if it breaks off, and read what can be read of it.

rosbags does the reading. What is added here: recordings that lack their index are read all the
same where possible, a custom type that rosbags refuses does not stop the known ones, and every
failure is one sentence with a next step.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_typestore

from vpr_ros.core.errors import DriveError
from vpr_ros.drives.mended import MendedBag, mend

ALIGNED_DEPTH = re.compile(r'aligned_depth|depth_registered')
"""In the names of depth images that are aligned with colour ones: RealSense's, and REP-118's."""

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
CAMERA_INFO_TYPES = ('sensor_msgs/msg/CameraInfo',)
ODOMETRY = 'nav_msgs/msg/Odometry'
NAVSAT = 'sensor_msgs/msg/NavSatFix'
TRANSFORMS = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
POSE_TYPES = (
    ODOMETRY,
    'geometry_msgs/msg/PoseStamped',
    'geometry_msgs/msg/PoseWithCovarianceStamped',
    NAVSAT,
)
_KNOWN_TYPES = {*IMAGE_TYPES, *CAMERA_INFO_TYPES, *POSE_TYPES, *TRANSFORMS}

_SUFFIXES = ('.bag', '.mcap', '.db3')
_NEXT_STEP = {
    '.bag': 'try `rosbag reindex`',
    '.mcap': 'try `mcap recover`',
    '.db3': 'try `sqlite3 FILE .recover`, then `ros2 bag reindex`',
}


class RawMessage(NamedTuple):
    """One message as it was recorded."""

    topic: str
    msgtype: str  # package/msg/Name, of ROS 1 as well
    bag_ns: int  # when it was received
    data: bytes


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: one of its files, or a folder that holds some."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or bool(_bag_files(path))
    return path.suffix in _SUFFIXES


@contextmanager
def open_reader(
    path: Path | Sequence[Path], *, warnings: list[str] | None = None
) -> Iterator[AnyReader]:
    """Open a ROS 1 bag, an sqlite3 or mcap bag, one of their files, or the parts of a split bag.

    What is wrong with the recording and could be worked around goes to `warnings`. Raises
    DriveError with a next step.
    """
    warnings = [] if warnings is None else warnings
    paths = _parts(path, warnings)
    try:
        reader = _opened(paths)
    except Exception as error:  # rosbags lets struct.error, KeyError and others through
        reader = _opened_mended(paths, error, warnings)
    try:
        if unread := sorted({entry.msgtype for entry in reader.connections if _is_dropped(entry)}):
            _note(
                warnings,
                f'message definitions in the bag cannot be used, left out: {", ".join(unread)}',
            )
        yield reader
    finally:
        reader.close()


def messages(
    reader: AnyReader, connections: Sequence[Connection], warnings: list[str]
) -> Iterator[RawMessage]:
    """Messages in the order they were received; ends with a warning where the bag breaks off."""
    if not connections:
        return
    found = reader.messages(connections)
    count = 0
    while True:
        try:
            connection, bag_ns, data = next(found)
        except StopIteration:
            return
        except Exception as error:  # see open_reader
            expected = sum(entry.msgcount for entry in connections)
            topics = ', '.join(sorted({entry.topic for entry in connections}))
            _note(
                warnings,
                f'the bag breaks off: {count} of {expected} messages on {topics} can be read '
                f'({_sentence(error)}; {_next_step(reader.paths[0])})',
            )
            return
        count += 1
        yield RawMessage(connection.topic, connection.msgtype, bag_ns, data)


def choose_topic(
    reader: AnyReader, named: str | None, types: Sequence[str], *, what: str, option: str
) -> str | None:
    """The named topic, or the only one of a fitting type, or None where there is none.

    what: 'image' or 'pose', option: the flag that names one, for the message. Raises DriveError
    with the topics of a fitting type when the named one is missing or of another type, and when
    there are several.
    """
    fitting = _topics(reader, types)
    if named is not None:
        return _named_topic(reader, named, fitting, types, what)
    candidates = [topic for topic, (_, count) in fitting.items() if count]
    candidates = [
        topic
        for topic in candidates
        if not topic.endswith(('/compressedDepth', '/theora')) and not ALIGNED_DEPTH.search(topic)
    ]
    if len(candidates) > 1:
        raise DriveError(
            f'{_name(reader)}: {len(candidates)} {what} topics, '
            f'choose one with {option}: {_listed(fitting)}'
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


def decoded(reader: AnyReader, message: RawMessage) -> Any:
    """Deserialize; raises DriveError for bytes that are not such a message."""
    try:
        return reader.deserialize(message.data, message.msgtype)
    except Exception as error:  # see open_reader
        raise DriveError(
            f'{message.topic}: a message cannot be read ({_sentence(error)})'
        ) from error


def cdr_converter(reader: AnyReader) -> Callable[[bytes, str], bytes]:
    """A function of (data, msgtype) that makes the bag's serialized messages what ROS 2 sends.

    ROS 1 data goes through ROS 2's definitions, because the header lost a field, and through the
    bag's own for custom types. What is ROS 2 already comes back untouched.
    """
    if reader.is2:
        return lambda data, msgtype: bytes(data)
    store = get_typestore(Stores.LATEST)
    own = reader.typestore.fielddefs
    store.register({name: fields for name, fields in own.items() if name not in store.fielddefs})
    return lambda data, msgtype: bytes(store.ros1_to_cdr(data, msgtype))


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Sorted as people count: part_2 before part_10."""
    return sorted(
        paths, key=lambda path: [_number(word) for word in re.split(r'(\d+)', path.name)]
    )


def _number(word: str) -> tuple[int, str]:
    return (int(word), '') if word.isdecimal() else (-1, word)


def _parts(path: Path | Sequence[Path], warnings: list[str]) -> list[Path]:
    """The files (or the one folder) that make up a recording."""
    if not isinstance(path, Path):
        if not path:
            raise DriveError('no bag files given')
        return [part for entry in path for part in _parts(entry, warnings)]
    if path.is_dir():
        if (path / 'metadata.yaml').is_file():
            return [path]
        if not (files := _bag_files(path)):
            raise DriveError(
                f'{path}: no bag in this folder, '
                'expected metadata.yaml or files *.bag, *.mcap, *.db3'
            )
        if files[0].suffix != '.bag':
            _note(
                warnings,
                f'{path}: metadata.yaml is missing, its files are read alone; '
                '`ros2 bag reindex` makes it anew',
            )
        return files
    if not path.exists():
        raise DriveError(f'{path}: no such bag')
    if path.name.endswith('.bag.active'):
        raise DriveError(
            f'{path}: its recorder was killed; run `rosbag reindex` and rename it to end in .bag'
        )
    if path.suffix == '.zstd':
        raise DriveError(
            f'{path}: a compressed part of a bag; give the folder that holds it and metadata.yaml'
        )
    if path.suffix not in _SUFFIXES:
        raise DriveError(
            f'{path}: not a bag, expected .bag, .mcap, .db3 or a folder with metadata.yaml'
        )
    return [path]


def _bag_files(folder: Path) -> list[Path]:
    """The files of the first kind that a folder holds, in order."""
    for suffix in _SUFFIXES:
        if files := in_order(list(folder.glob(f'*{suffix}'))):
            return files
    return []


def _opened(paths: Sequence[Any]) -> AnyReader:
    """An open reader; where a custom type stops it, one that knows the standard types only."""
    store = get_typestore(Stores.LATEST)
    reader = AnyReader(paths, default_typestore=store)
    try:
        reader.open()
    except Exception:  # see open_reader
        kind = _KnownTypes2 if reader.is2 else _KnownTypes1
        reader = AnyReader(paths, default_typestore=store)
        reader.readers = [kind(path) for path in paths]  # type: ignore[assignment]
        reader.open()
    return reader


def _opened_mended(paths: Sequence[Path], error: Exception, warnings: list[str]) -> AnyReader:
    """A reader of what a broken recording still holds; raises DriveError where that is nothing."""
    files = [file for path in paths for file in (_bag_files(path) if path.is_dir() else [path])]
    said = f'{paths[0]}: {_sentence(error)}'
    mended: list[Path | MendedBag] = []
    try:
        mended = [mend(file) for file in files]
        reader = None if mended == list(paths) else _opened(mended)
    except Exception:  # see open_reader
        reader = None
    if reader is None:
        raise DriveError(f'{said}; {_next_step(files[0] if files else paths[0])}') from error
    if mended == files:
        _note(
            warnings,
            f'{said}; its files are read alone, `ros2 bag reindex` makes metadata.yaml anew',
        )
    else:
        _note(
            warnings,
            f'{said}; what is complete of it was read ({_next_step(files[0])} for the rest)',
        )
    return reader


class _KnownTypes2(Ros2Reader):
    """A ROS 2 reader that ignores the bag's own definitions, as the standard ones never change."""

    @property
    def connections(self) -> list[Connection]:
        return [_without_definition(entry) for entry in super().connections]


class _KnownTypes1(Ros1Reader):
    """The same for ROS 1."""

    def open(self) -> None:
        super().open()
        self.connections = [_without_definition(entry) for entry in self.connections]


_DROPPED = MessageDefinition(MessageDefinitionFormat.NONE, 'left out')


def _without_definition(entry: Connection) -> Connection:
    return entry._replace(msgdef=_DROPPED, digest='')


def _is_dropped(entry: Connection) -> bool:
    return entry.msgdef is _DROPPED and entry.msgtype not in _KNOWN_TYPES


def _topics(reader: AnyReader, types: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Topic -> (type, number of messages)."""
    found: dict[str, tuple[str, int]] = {}
    for entry in reader.connections:
        if entry.msgtype in types:
            count = found.get(entry.topic, ('', 0))[1] + entry.msgcount
            found[entry.topic] = entry.msgtype, count
    return dict(sorted(found.items()))


def _named_topic(
    reader: AnyReader,
    named: str,
    fitting: dict[str, tuple[str, int]],
    types: Sequence[str],
    what: str,
) -> str:
    for topic in (named, f'/{named}'):
        if topic in fitting:
            return topic
    others = {entry.topic: entry.msgtype for entry in reader.connections}
    if named in others:
        expected = ', '.join(_short(name) for name in types)
        raise DriveError(
            f'{_name(reader)}: {named} is {_short(others[named])}, expected {expected}; '
            f'{what} topics: {_listed(fitting)}'
        )
    raise DriveError(f'{_name(reader)}: no topic {named}; {what} topics: {_listed(fitting)}')


def _listed(topics: dict[str, tuple[str, int]]) -> str:
    said = [
        f'{topic} ({_short(kind)}, {count} messages)' for topic, (kind, count) in topics.items()
    ]
    return ', '.join(said) or 'none'


def _short(msgtype: str) -> str:
    return msgtype.replace('/msg/', '/')


def _name(reader: AnyReader) -> str:
    return str(reader.paths[0])


def _next_step(path: Any) -> str:
    suffix = path.suffix
    if path.is_dir() and (files := _bag_files(path)):
        suffix = files[0].suffix
    return _NEXT_STEP.get(suffix, 'try `ros2 bag reindex`')


def _sentence(error: Exception) -> str:
    text = ' '.join(str(error).split()).rstrip('.')
    return text or 'it is damaged'  # a bare assertion of the reader


def _note(warnings: list[str], text: str) -> None:
    if text not in warnings:
        warnings.append(text)
