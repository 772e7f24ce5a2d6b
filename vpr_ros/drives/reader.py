"""Open a bag of any kind, mended if it breaks off, and read what can be read of it.

rosbags does the reading. What is added here: recordings that lack their index are read all the
same where possible, what rosbags refuses (custom types, channels of other programs) does not stop
the rest, and every failure is one sentence with a next step.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from vpr_ros.core.documents import parse_yaml
from vpr_ros.core.errors import DriveError, noting
from vpr_ros.core.lfs import LFS_ADVICE, is_lfs_pointer
from vpr_ros.core.plurals import counted
from vpr_ros.drives.bounds import (
    LEFT_OUT,
    MOST_METADATA,
    BoundedRos1,
    BoundedRos2,
    require_short_arrays,
)
from vpr_ros.drives.definitions import (
    STANDARD,
    StandardRos1,
    StandardRos2,
    complete_types,
    lacking,
)
from vpr_ros.drives.diagnosis import RECOVERY, diagnosis, sentence
from vpr_ros.drives.mcap import without_foreign_channels
from vpr_ros.drives.mended import MendedBag, mend

ALIGNED_DEPTH = re.compile(r'aligned_depth|depth_registered')
"""In the names of depth images that are aligned with colour ones: RealSense's, and REP-118's."""

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
CAMERA_INFO_TYPES = ('sensor_msgs/msg/CameraInfo',)
ODOMETRY = 'nav_msgs/msg/Odometry'
NAVSAT = 'sensor_msgs/msg/NavSatFix'
TRANSFORMS = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
TRANSFORM = 'geometry_msgs/msg/TransformStamped'
SINGLE_POSES = ('geometry_msgs/msg/PoseStamped', 'geometry_msgs/msg/PoseWithCovarianceStamped')
POSE_TYPES = (ODOMETRY, *SINGLE_POSES, NAVSAT, TRANSFORM)
_KNOWN_TYPES = {*IMAGE_TYPES, *CAMERA_INFO_TYPES, *POSE_TYPES, *TRANSFORMS}

_SUFFIXES = ('.bag', '.mcap', '.db3')
_PACKED = ('.gz', '.xz', '.bz2', '.zip', '.tar', '.tgz', '.7z', '.zst')


class RawMessage(NamedTuple):
    """One message as it was recorded."""

    topic: str
    msgtype: str  # package/msg/Name, of ROS 1 as well
    bag_ns: int  # when it was received
    data: bytes


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: one of its files, or a folder that holds some."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or bool(_bag_files(path) or _packed(path))
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
    with noting(lambda: warnings):
        paths = _parts(path, warnings)
        try:
            reader = _opened(paths)
        except Exception as error:  # rosbags lets struct.error, KeyError and others through
            reader = _opened_mended(paths, error, warnings)
        reader = _or_without_metadata(reader, paths, warnings)
    try:
        _leave_out_other_encodings(reader, warnings)
        complete_types(reader)
        _leave_out_odd_types(reader, warnings)
        if unread := sorted({entry.msgtype for entry in reader.connections if _is_dropped(entry)}):
            _note(
                warnings,
                'message definitions in the bag cannot be used and were left out: '
                f'{", ".join(unread)}',
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
                f'the bag breaks off: {count} of {counted(expected, "message")} on {topics} can '
                f'be read ({sentence(error)}; {_recovery(reader.paths[0])})',
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
    fitting = topics_of(reader, types)
    if named is not None:
        return named_topic(reader, named, types, what=what)
    candidates = [topic for topic, (_, count) in fitting.items() if count]
    candidates = [
        topic
        for topic in candidates
        if not topic.endswith(('/compressedDepth', '/theora')) and not ALIGNED_DEPTH.search(topic)
    ]
    if len(candidates) > 1:
        raise DriveError(
            f'{_name(reader)}: {len(candidates)} {what} topics, '
            f'choose one with {option}: {listed(fitting)}'
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
            f'{message.topic}: a message cannot be read ({sentence(error)})'
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


def bags_in(folder: Path) -> list[Path]:
    """The bag files of every kind that lie in a folder, in order."""
    return in_order([file for file in folder.iterdir() if file.suffix in _SUFFIXES])


def _number(word: str) -> tuple[int, str]:
    return (int(word), '') if word.isdecimal() else (-1, word)


def _parts(path: Path | Sequence[Path], warnings: list[str]) -> list[Path]:
    """The files (or the one folder) that make up a recording."""
    if not isinstance(path, Path):
        if not path:
            raise DriveError('no bag files given')
        return [part for entry in path for part in _parts(entry, warnings)]
    if path.is_dir():
        return _parts_of_folder(path, warnings)
    if not path.exists():
        raise DriveError(f'{path}: no such bag')
    if path.name.endswith('.bag.active'):
        raise DriveError(
            f'{path}: its recorder was killed; run `rosbag reindex` and rename the file to end '
            'in .bag'
        )
    if path.suffix == '.zstd':
        raise DriveError(
            f'{path}: this is a compressed part of a bag; give the folder that holds it and '
            'metadata.yaml'
        )
    if path.name == 'metadata.yaml':
        raise DriveError(f'{path}: describes a bag; give the folder in which it lies')
    if path.suffix in _PACKED:
        raise DriveError(f'{path}: is packed; unpack it, and give the bag')
    if path.suffix not in _SUFFIXES:
        raise DriveError(
            f'{path}: not a bag, expected .bag, .mcap, .db3 or a folder with metadata.yaml'
        )
    _require_fetched([path])
    return [path]


def _parts_of_folder(folder: Path, warnings: list[str]) -> list[Path]:
    """The folder itself where it is a ROS 2 bag, else its files of one kind; notes the others."""
    every = bags_in(folder)
    lack = _lack_of_metadata(folder)
    if not lack:
        _require_fetched([folder / 'metadata.yaml', *every])
        listed_files = _files_in_metadata(folder)
        _require_files([folder / name for name in sorted(listed_files)])
        others = [file for file in every if listed_files and file.name not in listed_files]
        if missing := _missing(listed_files, folder):
            _note(
                warnings,
                f'{folder}: metadata.yaml lists {", ".join(missing)}, which is not there, so that '
                'a part of the recording may be missing; copy it into the folder. The other '
                'files are read',
            )
        else:
            _say_unread(folder, sorted(listed_files), others, warnings)
        return [folder]
    packed = ', '.join(file.name for file in _packed(folder))
    unpack = (
        f'metadata.yaml {lack}, without which the compressed {packed} cannot be read; copy it '
    )
    unpack += 'into the folder, or unpack with `zstd -d`'
    if not (files := _bag_files(folder)):
        if packed:
            raise DriveError(f'{folder}: {unpack}')
        raise DriveError(
            f'{folder}: no bag in this folder, '
            'expected metadata.yaml or files *.bag, *.mcap, *.db3'
        )
    _require_fetched(files)
    others = [file for file in every if file not in files]
    _say_unread(folder, [file.name for file in files], others, warnings)
    if packed:
        _note(warnings, f'{folder}: {unpack}')
    if files[0].suffix != '.bag':
        _note(
            warnings,
            f'{folder}: metadata.yaml {lack}, so the files are read without it; '
            '`ros2 bag reindex` writes it again',
        )
    if files[1:]:
        names = ', '.join(file.name for file in files)
        _note(warnings, f'{folder}: {names} are read as the parts of one recording')
    return files


def _say_unread(
    folder: Path, read: Sequence[str], others: Sequence[Path], warnings: list[str]
) -> None:
    """Note the bags in a folder that are not read beside those that are."""
    if others:
        names = ', '.join(file.name for file in others)
        _note(
            warnings,
            f'{folder}: {", ".join(read)} is read, not {names}; name a file to read that one',
        )


def _missing(names: set[str], folder: Path) -> list[str]:
    """The names of which the folder has no file, sorted."""
    return sorted(name for name in names if not (folder / name).exists())


def _lack_of_metadata(folder: Path) -> str:
    """Why the metadata of a bag is not read, to follow its name; empty where it is."""
    file = folder / 'metadata.yaml'
    if not file.is_file():
        return 'is missing'
    is_large = file.stat().st_size > MOST_METADATA
    return f'has more than {MOST_METADATA / 1e6:.0f} MB' if is_large else ''


def _files_in_metadata(folder: Path) -> set[str]:
    """Names of the files that a bag's metadata lists; empty where it cannot be read."""
    if _lack_of_metadata(folder):
        return set()
    try:
        found = parse_yaml((folder / 'metadata.yaml').read_bytes(), most_bytes=MOST_METADATA)
        return {
            PurePath(name).name
            for name in found['rosbag2_bagfile_information']['relative_file_paths']
        }
    except Exception:  # whoever opens the bag says what is wrong with it
        return set()


def _require_files(files: Sequence[Path]) -> None:
    """Raise DriveError for a pipe or a device, which a reader would wait for without end."""
    for file in files:
        if file.exists() and not file.is_file() and not file.is_dir():
            raise DriveError(f'{file}: is not a regular file; give the file or folder of a bag')


def _require_fetched(files: Sequence[Path]) -> None:
    """Raise DriveError for a pipe or a device, and for what Git LFS has not fetched."""
    _require_files(files)
    for file in files:
        if is_lfs_pointer(file):
            raise DriveError(f'{file}: {LFS_ADVICE}')


def _bag_files(folder: Path) -> list[Path]:
    """The files of the first kind that a folder holds, in order."""
    for suffix in _SUFFIXES:
        if files := in_order(list(folder.glob(f'*{suffix}'))):
            return files
    return []


def _packed(folder: Path) -> list[Path]:
    """The parts of a bag in a folder that were compressed as whole files, in order."""
    return in_order([file for kind in ('mcap', 'db3') for file in folder.glob(f'*.{kind}.zstd')])


def _opened(paths: Sequence[Any]) -> AnyReader:
    """An open reader; where a custom type stops it, one that knows the standard types only."""
    reader = _reader(paths, BoundedRos1, BoundedRos2)
    try:
        reader.open()
        require_short_arrays(reader.typestore.fielddefs)
    except Exception:  # see open_reader
        if reader.stack is not None:
            reader.close()
        reader = _reader(paths, StandardRos1, StandardRos2)
        reader.open()
    return reader


def _reader(paths: Sequence[Any], ros1: type[BoundedRos1], ros2: type[BoundedRos2]) -> AnyReader:
    """A reader by these readers of one bag."""
    reader = AnyReader(paths, default_typestore=STANDARD)
    kind = ros2 if reader.is2 else ros1
    reader.readers = [kind(path) for path in paths]  # type: ignore[assignment]
    return reader


def _opened_mended(paths: Sequence[Path], error: Exception, warnings: list[str]) -> AnyReader:
    """A reader of what can be read of files that rosbags refuses; DriveError where nothing can."""
    files = [file for path in paths for file in (_bag_files(path) if path.is_dir() else [path])]
    foreign: list[str] = []
    broken: list[Path] = []
    readable: list[Path | MendedBag] = []
    try:
        for file in files:
            mended = mend(file)
            broken += [file] if mended is not file else []
            is_mcap = file.suffix == '.mcap'
            readable.append(without_foreign_channels(mended, foreign) if is_mcap else mended)
        reader = None if readable == list(paths) else _opened(readable)
    except DriveError:
        raise
    except Exception:  # see open_reader
        reader = None
    if reader is None:
        refused = _refused(files, paths)
        raise DriveError(f'{refused}: {diagnosis(refused, error)}') from error
    for text in foreign:
        _note(warnings, text)
    if broken:
        _note(
            warnings,
            f'{broken[0]}: {sentence(error)}; its complete part was read '
            f'({_recovery(broken[0])} for the rest)',
        )
    elif readable == files and not any(_missing(_files_in_metadata(path), path) for path in paths):
        _note(
            warnings,
            f'{paths[0]}: {sentence(error)}; the files are read without it, and '
            '`ros2 bag reindex` writes metadata.yaml again',
        )
    return reader


def _or_without_metadata(
    reader: AnyReader, paths: Sequence[Path], warnings: list[str]
) -> AnyReader:
    """A reader of the files themselves where metadata.yaml knows no messages in them."""
    folder = paths[0]
    is_told = any(entry.msgcount for entry in reader.connections) and _files_in_metadata(folder)
    if is_told or len(paths) > 1 or _lack_of_metadata(folder) or not (files := _bag_files(folder)):
        return reader
    try:
        other = _opened(files)
    except Exception:  # see open_reader
        return reader
    if not any(entry.msgcount for entry in other.connections):
        other.close()
        return reader
    reader.close()
    _note(
        warnings,
        f'{folder}: metadata.yaml lists no messages; the files are read without it, and '
        '`ros2 bag reindex` writes it again',
    )
    return other


def _refused(files: Sequence[Path], paths: Sequence[Path]) -> Path:
    """The file that a reader refused, as far as that is known; else what was given."""
    for file in files:
        try:
            _opened([file]).close()
        except Exception:  # see open_reader
            return file
    return paths[0]


def _leave_out_other_encodings(reader: AnyReader, warnings: list[str]) -> None:
    """Leave out topics whose messages are not CDR; not every storage refuses them by itself."""
    if not reader.is2:
        return
    foreign = [entry for entry in reader.connections if _encoding(entry) not in ('cdr', '')]
    if foreign:
        said = ', '.join(sorted({f'{_encoding(entry)} on {entry.topic}' for entry in foreign}))
        _note(warnings, f'topics without ROS 2 messages (cdr) were left out: {said}')
        reader.connections = [entry for entry in reader.connections if entry not in foreign]


def _encoding(entry: Connection) -> str:
    return str(getattr(entry.ext, 'serialization_format', ''))


def _leave_out_odd_types(reader: AnyReader, warnings: list[str]) -> None:
    """Leave out topics whose types the bag defines without some of the standard fields."""
    odd = {
        kind: lack
        for kind in _KNOWN_TYPES & {entry.msgtype for entry in reader.connections}
        if (lack := lacking(kind, reader.typestore.fielddefs))
    }
    if odd:
        said = ', '.join(f'{short(kind)} lacks {lack}' for kind, lack in sorted(odd.items()))
        _note(warnings, f'types that the bag defines in another way were left out: {said}')
        reader.connections = [entry for entry in reader.connections if entry.msgtype not in odd]


def _is_dropped(entry: Connection) -> bool:
    return entry.msgdef is LEFT_OUT and entry.msgtype not in _KNOWN_TYPES


def topics_of(reader: AnyReader, types: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Topic -> (type, number of messages)."""
    found: dict[str, tuple[str, int]] = {}
    for entry in reader.connections:
        if entry.msgtype in types:
            count = found.get(entry.topic, ('', 0))[1] + entry.msgcount
            found[entry.topic] = entry.msgtype, count
    return dict(sorted(found.items()))


def named_topic(reader: AnyReader, named: str, types: Sequence[str], *, what: str) -> str:
    """A topic by its name, with or without the slash; DriveError lists those of the types."""
    fitting = topics_of(reader, types)
    for topic in (named, f'/{named}'):
        if topic in fitting:
            return topic
    others = {entry.topic: entry.msgtype for entry in reader.connections}
    if named in others:
        expected = ', '.join(short(name) for name in types)
        raise DriveError(
            f'{_name(reader)}: {named} is {short(others[named])}, expected {expected}; '
            f'{what} topics: {listed(fitting)}'
        )
    raise DriveError(f'{_name(reader)}: no topic {named}; {what} topics: {listed(fitting)}')


def listed(topics: dict[str, tuple[str, int]]) -> str:
    """Topics with their types and counts, as `topics_of` gives them."""
    said = [
        f'{topic} ({short(kind)}, {counted(count, "message")})'
        for topic, (kind, count) in topics.items()
    ]
    return ', '.join(said) or 'none'


def all_topics(reader: AnyReader) -> dict[str, tuple[str, int]]:
    """Every topic with messages: (type, number of messages)."""
    found = topics_of(reader, sorted({entry.msgtype for entry in reader.connections}))
    return {topic: held for topic, held in found.items() if held[1]}


def short(msgtype: str) -> str:
    """A type as people write it."""
    return msgtype.replace('/msg/', '/')


def _name(reader: AnyReader) -> str:
    return str(reader.paths[0])


def _recovery(path: Any) -> str:
    suffix = path.suffix
    if path.is_dir() and (files := _bag_files(path)):
        suffix = files[0].suffix
    return RECOVERY.get(suffix, 'try `ros2 bag reindex`')


def _note(warnings: list[str], text: str) -> None:
    if text not in warnings:
        warnings.append(text)
