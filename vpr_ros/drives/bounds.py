"""Bounds for what rosbags takes from a bag, which may come from anywhere.

A bag of some kB can unpack to more than a machine holds, and its definitions or its tables can
keep a reader busy for ever. rosbags has no limits for that, so this module sets them for the whole
process. Its readers, which derive from those of rosbags, check a bag before they open it, and
rosbags unpacks data and parses YAML by functions of this module. A bag that goes beyond a bound
counts as damaged at that place.
"""

import bz2
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, BinaryIO

import apsw
import lz4.frame  # type: ignore[import-untyped]
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.rosbag2 import metadata, reader, storage_mcap
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from vpr_ros.core.documents import parse_yaml

MOST_UNPACKED = 1 << 29
"""Most bytes that a chunk or a message of a bag may unpack to; 100 million pixels have 300 MB."""

MOST_METADATA = 16 << 20
"""Most bytes of metadata.yaml. A bag of 10,000 files has 3 MB."""

LEFT_OUT = MessageDefinition(MessageDefinitionFormat.NONE, 'left out')
"""Stands for the definition of a message that is not read."""

_MOST_STREAMS = 1000  # behind each other in a chunk, which usually has one
_MOST_RATIO = 1000  # of a file to its packed form; real recordings stay below 100
_MOST_DEFINITION = 1 << 18  # characters; the longest of ROS have some thousand
_MOST_UNROLLED = 1000  # elements of a fixed array that become code, each one
_FIRST_LINE = 64  # bytes, within which the first line of a ROS 1 bag ends
_TABLES = ('topics', 'messages', 'schema', 'message_definitions', 'metadata')
_NO_WORDS = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|' r"'(?:\\.|[^'\\])*'", re.DOTALL
)  # comments and texts of IDL
_ENDLESS = re.compile(r'\([^()]*\(|<<')
_ADDRESS = str.maketrans({'%': '%25', '?': '%3f', '#': '%23'})
_zstd_library = vars(reader)['zstd']  # of Python 3.14, and its backport before


class BoundError(Exception):
    """A bag that goes beyond a bound, said without its name; whoever opens it adds that."""


# Definitions ---------------------------------------------------------------------------------


def bounded(entry: Connection) -> Connection:
    """A topic without its definition, where rosbags could read that for hours; else as it is.

    Each pair of parentheses within another takes its parser of IDL 70 times as long, and a number
    can be shifted to any length.
    """
    text = entry.msgdef.data
    is_long = len(text) > _MOST_DEFINITION
    is_idl = entry.msgdef.format == MessageDefinitionFormat.IDL
    if is_long or (is_idl and _ENDLESS.search(_NO_WORDS.sub(' ', text))):
        return entry._replace(msgdef=LEFT_OUT, digest='')
    return entry


def require_short_arrays(fielddefs: Mapping[str, Any]) -> None:
    """Raise BoundError for a type with a fixed array that rosbags would write out as code."""
    for name, (_, fields) in fielddefs.items():
        for field, (kind, inner) in fields:
            if kind != Nodetype.ARRAY or inner[1] <= _MOST_UNROLLED:
                continue
            (element, named), count = inner
            if element != Nodetype.BASE or named[0] == 'string':
                raise BoundError(f'{name}: its {field} has {count} elements')


def sqlite_path(path: Any) -> Path:
    """The path as rosbags has to get it, which makes an address of it: # and ? would end that."""
    return Path(str(path).translate(_ADDRESS))


# Readers -------------------------------------------------------------------------------------


class BoundedDb3(Sqlite3Reader):
    """An sqlite3 file whose tables are tables.

    A view or a computed column is a program, which can give rows without end.
    """

    def open(self) -> None:
        """Open it."""
        plain = self.path
        self.path = sqlite_path(plain)
        try:
            _require_tables(f'file:{self.path}?immutable=1')
            super().open()
        except apsw.Error as error:
            raise BoundError(f'not an sqlite3 bag ({error})') from error
        finally:
            self.path = plain


class BoundedFolder(reader.DirectoryReader):
    """A folder with metadata.yaml whose sqlite3 files are read so."""

    STORAGE_PLUGINS = MappingProxyType(
        {**reader.DirectoryReader.STORAGE_PLUGINS, 'sqlite3': BoundedDb3}
    )


class BoundedRos2(Ros2Reader):
    """A ROS 2 bag of any kind."""

    STORAGE_PLUGINS = MappingProxyType(
        {**Ros2Reader.STORAGE_PLUGINS, 'dir': BoundedFolder, '.db3': BoundedDb3}
    )

    kept = staticmethod(bounded)  # what is kept of a topic

    @property
    def connections(self) -> list[Connection]:
        """The topics of the bag."""
        return [self.kept(entry) for entry in super().connections]


class BoundedRos1(Ros1Reader):
    """A ROS 1 bag."""

    kept = staticmethod(bounded)  # what is kept of a topic

    def open(self) -> None:
        """Open it."""
        with self.path.open('rb') as file:
            if b'\n' not in file.read(_FIRST_LINE):  # rosbags reads up to one, however far
                raise BoundError('it does not begin as a ROS 1 bag')
        super().open()
        self.connections = [self.kept(entry) for entry in self.connections]


def _require_tables(address: str) -> None:
    """Raise BoundError where a table of a bag is something else; no row of it is read."""
    database = apsw.Connection(address, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        found: Sequence[Any] = database.execute(
            "SELECT lower(name), type, sql FROM sqlite_master WHERE type IN ('table', 'view')"
        ).fetchall()
        for name, kind, made in found:
            if name not in _TABLES:
                continue
            is_plain = kind == 'table' and str(made).lower().split()[1:2] == ['table']
            columns = (
                database.execute(f'PRAGMA table_xinfo({name})').fetchall() if is_plain else []
            )
            if not is_plain or any(hidden for *_, hidden in columns):
                raise BoundError(f'its {name} are computed and not a plain table')
    finally:
        database.close()


# Unpacking -----------------------------------------------------------------------------------


def unpacked(new: Callable[[], Any], packed: bytes, most: int) -> bytes:
    """All streams of some packed bytes, by a new decompressor for each.

    Raises BoundError for more than `most` bytes, before they are taken.
    """
    pieces: list[bytes] = []
    room = most + 1
    for _ in range(_MOST_STREAMS):
        stream = new()
        pieces.append(stream.decompress(packed, room))
        room -= len(pieces[-1])
        if room <= 0:
            raise BoundError(f'a part of it unpacks to more than {most} bytes')
        if not stream.eof:
            raise BoundError('a packed part of it breaks off')
        packed = stream.unused_data
        if not packed:
            return b''.join(pieces)
    raise BoundError(f'a part of it is packed in more than {_MOST_STREAMS} pieces')


def _by_zstd(packed: bytes, size: int | None = None) -> bytes:
    return unpacked(_zstd_library.ZstdDecompressor, packed, _most(size))


def _by_lz4(packed: bytes, size: int | None = None) -> bytes:
    return unpacked(lz4.frame.LZ4FrameDecompressor, packed, _most(size))


def _by_bz2(packed: bytes) -> bytes:
    return unpacked(bz2.BZ2Decompressor, packed, MOST_UNPACKED)


def _most(size: int | None) -> int:
    """The bound for what says of itself that it has `size` bytes, None: says nothing."""
    return MOST_UNPACKED if size is None else min(size, MOST_UNPACKED)


class _PackedFile:
    """A packed file on its way into a temporary folder, read as far as its size allows."""

    def __init__(self, file: BinaryIO, mode: str) -> None:
        size = file.seek(0, 2)
        file.seek(0)
        self._most = self._room = max(MOST_UNPACKED, _MOST_RATIO * size)
        self._file = _zstd_library.open(file, mode)

    def __enter__(self) -> '_PackedFile':
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        piece: bytes = self._file.read(size)
        self._room -= len(piece)
        if self._room < 0:
            raise BoundError(f'a file of it unpacks to more than {self._most} bytes')
        return piece


class _BoundedYaml(vars(metadata)['YAML']):  # type: ignore[misc]
    """rosbags reads metadata.yaml and the QoS of each topic by this."""

    def load(self, stream: Any) -> Any:
        return parse_yaml(stream, most_bytes=MOST_METADATA)


def _set_bounds() -> None:
    """Let rosbags use what is here."""
    storage_mcap.DECOMPRESSORS.update(zstd=_by_zstd, lz4=_by_lz4)
    rosbag1.decompressors.update(bz2=_by_bz2, lz4=_by_lz4)
    for module in (metadata, reader):
        vars(module)['YAML'] = _BoundedYaml
    vars(reader)['zstd'] = SimpleNamespace(decompress=_by_zstd, open=_PackedFile)


_set_bounds()
