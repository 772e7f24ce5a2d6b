"""Bags that break off, made readable without writing a byte.

A full disk or a killed recorder leaves such files.

A mended bag is the file's complete records followed by an end made here. rosbags reads it like any
other path. An mcap needs only a footer, as its reader can scan; a ROS 1 bag needs its connections
and chunks listed, which the index records behind each chunk allow. sqlite3 is left to SQLite's own
recovery.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rosbags.rosbag1.reader import Header as ReadHeader
from rosbags.rosbag1.reader import RecordType, decompressors
from rosbags.rosbag1.writer import Header as WriteHeader

_MCAP_MAGIC = b'\x89MCAP0\r\n'
_MCAP_FOOTER = b'\x02' + struct.pack('<QQQI', 20, 0, 0, 0)
_ROS1_MAGIC = b'#ROSBAG V2.0\n'


@dataclass(frozen=True)
class MendedBag:
    """Acts as the path of a file: `head`, then the file's bytes `start` to `end`, then `tail`."""

    file: Path
    head: bytes
    start: int
    end: int
    tail: bytes

    @property
    def suffix(self) -> str:
        """Suffix of the file."""
        return self.file.suffix

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.file.name

    def __str__(self) -> str:
        return str(self.file)

    def exists(self) -> bool:
        """Whether the file exists."""
        return self.file.exists()

    def is_dir(self) -> bool:
        """Never."""
        return False

    def open(self, *_: Any, **__: Any) -> BinaryIO:
        """The mended content, read-only."""
        return io.BufferedReader(_Spliced(self.file.open('rb'), self))


class _Spliced(io.RawIOBase):
    """Three pieces read as one."""

    def __init__(self, file: BinaryIO, bag: MendedBag) -> None:
        self._file, self._head, self._tail = file, bag.head, bag.tail
        self._shift = bag.start - len(bag.head)  # from positions here to those in the file
        self._end = bag.end - self._shift
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = self._end + len(self._tail)
        self._position = max(
            0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: size}[whence]
        )
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        piece = self._piece(len(buffer))
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _piece(self, size: int) -> bytes:
        position = self._position
        if position < len(self._head):
            return self._head[position : position + size]
        if position < self._end:
            self._file.seek(position + self._shift)
            return self._file.read(min(size, self._end - position))
        return self._tail[position - self._end :][:size]


def mend(file: Path) -> Path | MendedBag:
    """The file itself where it is complete or of another kind, else its complete part."""
    if file.suffix == '.mcap':
        return _mend_mcap(file)
    return _mend_ros1(file) if file.suffix == '.bag' else file


def _mend_mcap(file: Path) -> Path | MendedBag:
    size = file.stat().st_size
    with file.open('rb') as stream:
        if stream.read(8) != _MCAP_MAGIC:
            return file
        end = 8
        while header := stream.read(9):
            if len(header) < 9 or header[0] == 0x02 or not 1 <= header[0] <= 0x0F:
                break
            following = end + 9 + int(struct.unpack('<Q', header[1:])[0])
            if following > size:
                break
            end = following
            stream.seek(end)
        stream.seek(end)
        rest = stream.read(len(_MCAP_FOOTER + _MCAP_MAGIC))
        if rest[:1] == b'\x02' and rest.endswith(_MCAP_MAGIC):
            return file
    return MendedBag(file, b'', 0, end, _MCAP_FOOTER + _MCAP_MAGIC)


@dataclass
class _Chunk:
    """A chunk of a ROS 1 bag and what its index records say."""

    position: int
    compression: str
    data_position: int
    data_size: int
    counts: dict[int, int]  # connection -> messages
    first_ns: int = 2**63 - 1
    last_ns: int = 0


def _mend_ros1(file: Path) -> Path | MendedBag:
    with file.open('rb') as stream:
        if stream.read(len(_ROS1_MAGIC)) != _ROS1_MAGIC:
            return file
        head_size = _skip_record(stream)
        chunks, end = _scan_ros1(stream, file.stat().st_size)
        connections = _connections(stream, chunks)
        stream.seek(0)
        head = stream.read(head_size)
    values = {
        b'index_pos=': struct.pack('<Q', end),
        b'conn_count=': struct.pack('<I', len(connections)),
        b'chunk_count=': struct.pack('<I', len(chunks)),
    }
    for name, value in values.items():
        start = head.index(name) + len(name)
        head = head[:start] + value + head[start + len(value) :]
    return MendedBag(
        file,
        head,
        len(head),
        end,
        b''.join(connections.values()) + b''.join(map(_chunk_info, chunks)),
    )


def _skip_record(stream: BinaryIO) -> int:
    """Go over a record; returns the position behind it."""
    for _ in range(2):  # header, data
        stream.seek(struct.unpack('<I', stream.read(4))[0], io.SEEK_CUR)
    return stream.tell()


def _scan_ros1(stream: BinaryIO, size: int) -> tuple[list[_Chunk], int]:
    """The chunks that are complete with their index records, and where they end."""
    chunks: list[_Chunk] = []
    end = stream.tell()
    try:
        while True:
            position = stream.tell()
            header = ReadHeader.read(stream)
            kind = header.get_uint8('op')
            (data_size,) = struct.unpack('<I', stream.read(4))
            following = stream.tell() + data_size
            if following > size or kind not in (RecordType.CHUNK, RecordType.IDXDATA):
                break
            if kind == RecordType.CHUNK:
                compression = header.get_string('compression')
                chunks.append(_Chunk(position, compression, stream.tell(), data_size, {}))
            else:
                chunks[-1].counts[header.get_uint32('conn')] = data_size // 12
                for seconds, nanoseconds, _ in struct.iter_unpack('<III', stream.read(data_size)):
                    stamp_ns = seconds * 10**9 + nanoseconds
                    chunks[-1].first_ns = min(chunks[-1].first_ns, stamp_ns)
                    chunks[-1].last_ns = max(chunks[-1].last_ns, stamp_ns)
                end = following
            stream.seek(following)
    except Exception:  # the end of what is complete; rosbags and struct have no common error
        pass
    return [chunk for chunk in chunks if chunk.counts], end


def _connections(stream: BinaryIO, chunks: list[_Chunk]) -> dict[int, bytes]:
    """The connection records, which stand in the first chunk that uses each."""
    found: dict[int, bytes] = {}
    for chunk in chunks:
        if chunk.counts.keys() <= found.keys():
            continue
        stream.seek(chunk.data_position)
        content = stream.read(chunk.data_size)
        records = io.BytesIO(decompressors[chunk.compression](content))
        while (start := records.tell()) < len(records.getbuffer()):
            header = ReadHeader.read(records)
            records.seek(struct.unpack('<I', records.read(4))[0], io.SEEK_CUR)
            if header.get_uint8('op') == RecordType.CONNECTION:
                found[header.get_uint32('conn')] = records.getvalue()[start : records.tell()]
    return found


def _chunk_info(chunk: _Chunk) -> bytes:
    header = WriteHeader()
    header.set_uint32('ver', 1)
    header.set_uint64('chunk_pos', chunk.position)
    header.set_time('start_time', chunk.first_ns)
    header.set_time('end_time', chunk.last_ns)
    header.set_uint32('count', len(chunk.counts))
    record = io.BytesIO()
    header.write(record, RecordType.CHUNK_INFO)
    record.write(struct.pack('<I', 8 * len(chunk.counts)))
    for connection, count in chunk.counts.items():
        record.write(struct.pack('<II', connection, count))
    return record.getvalue()
