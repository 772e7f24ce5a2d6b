"""Open a bag of any kind, mended if it breaks off, and read what can be read of it.

rosbags does the reading. What is added here: recordings that lack their index are read all the
same where possible, what rosbags refuses (custom types, channels of other programs) does not stop
the rest, and every failure is one sentence with a next step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from vpr_ros.core.errors import DriveError, noting
from vpr_ros.core.plurals import counted
from vpr_ros.drives.bag_files import (
    files_in_metadata,
    lack_of_metadata,
    missing_files,
    parts_of,
    storage_files,
)
from vpr_ros.drives.bounds import LEFT_OUT, BoundedRos1, BoundedRos2, require_short_arrays
from vpr_ros.drives.definitions import (
    STANDARD,
    StandardRos1,
    StandardRos2,
    complete_types,
    lacking,
)
from vpr_ros.drives.diagnosis import RECOVERY, diagnosis, sentence
from vpr_ros.drives.drive import note
from vpr_ros.drives.mcap import without_foreign_channels
from vpr_ros.drives.mended import MendedBag, mend
from vpr_ros.drives.topics import CAMERA_INFO_TYPES, IMAGE_TYPES, POSE_TYPES, TRANSFORMS, short

_KNOWN_TYPES = {*IMAGE_TYPES, *CAMERA_INFO_TYPES, *POSE_TYPES, *TRANSFORMS}


class RawMessage(NamedTuple):
    """One message as it was recorded."""

    topic: str
    msgtype: str  # package/msg/Name, of ROS 1 as well
    bag_ns: int  # when it was received
    data: bytes


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
        paths = parts_of(path, warnings)
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
            note(
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
            note(
                warnings,
                f'the bag breaks off: {count} of {counted(expected, "message")} on {topics} can '
                f'be read ({sentence(error)}; {_recovery(reader.paths[0])})',
            )
            return
        count += 1
        yield RawMessage(connection.topic, connection.msgtype, bag_ns, data)


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
    files = [file for path in paths for file in (storage_files(path) if path.is_dir() else [path])]
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
        note(warnings, text)
    if broken:
        note(
            warnings,
            f'{broken[0]}: {sentence(error)}; its complete part was read '
            f'({_recovery(broken[0])} for the rest)',
        )
    elif readable == files and not any(
        missing_files(files_in_metadata(path), path) for path in paths
    ):
        note(
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
    if len(paths) > 1 or lack_of_metadata(folder) or not (files := storage_files(folder)):
        return reader
    if any(entry.msgcount for entry in reader.connections) and files_in_metadata(folder):
        return reader
    try:
        other = _opened(files)
    except Exception:  # see open_reader
        return reader
    if not any(entry.msgcount for entry in other.connections):
        other.close()
        return reader
    reader.close()
    note(
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
        note(warnings, f'topics without ROS 2 messages (cdr) were left out: {said}')
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
        note(warnings, f'types that the bag defines in another way were left out: {said}')
        reader.connections = [entry for entry in reader.connections if entry.msgtype not in odd]


def _is_dropped(entry: Connection) -> bool:
    return entry.msgdef is LEFT_OUT and entry.msgtype not in _KNOWN_TYPES


def _recovery(path: Any) -> str:
    suffix = path.suffix
    if path.is_dir() and (files := storage_files(path)):
        suffix = files[0].suffix
    return RECOVERY.get(suffix, 'try `ros2 bag reindex`')
