"""An mcap with what else lies in it left out: only the channels that hold ROS 2 messages.

An mcap may hold messages of any kind beside each other: JSON and protobuf of Foxglove's tools,
ROS 1 of a converted bag. rosbags reads none of the file then, nor one whose header does not say
`ros2`. What decides here is each channel's own encoding. Nothing is written: the file's data
stands between a header and a summary that are made here (see `mended`).

Format: https://mcap.dev/spec
"""

import io
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag2.storage_mcap import decompress

from vpr_ros.core.errors import DriveError
from vpr_ros.drives.mended import MendedBag

_MAGIC = b'\x89MCAP0\r\n'
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
_CHUNK_INDEX, _STATISTICS = 0x08, 0x0B
_DEFINITIONS = ('ros2msg', 'ros2idl', 'omgidl', '')  # that rosbags understands
_FIRST_NS, _LAST_NS = 2**63 - 1, 0


@dataclass(frozen=True, slots=True)
class _Schema:
    """The type of a channel's messages; the definition is bytes of any kind."""

    name: str
    encoding: str
    definition: bytes


@dataclass(frozen=True, slots=True)
class _Channel:
    """A topic, as one publisher wrote it."""

    schema: int
    topic: str
    encoding: str  # of the messages: cdr, json, protobuf, ros1
    rest: bytes  # its metadata, as they stand


@dataclass(slots=True)
class _Content:
    """What the file says of itself, or what is found by going through it."""

    schemas: dict[int, _Schema] = field(default_factory=dict)
    channels: dict[int, _Channel] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)  # index records
    counts: Counter[int] = field(default_factory=Counter)  # messages of each channel
    first_ns: int = _FIRST_NS
    last_ns: int = _LAST_NS
    is_counted: bool = False

    def take(self, kind: int, record: bytes) -> None:
        """Remember a schema, a channel, an index record or the statistics."""
        words = _Words(record)
        if kind == _SCHEMA:
            number = words.number(2)
            self.schemas[number] = _Schema(words.text(), words.text(), words.sized())
        elif kind == _CHANNEL:
            number = words.number(2)
            self.channels[number] = _Channel(
                words.number(2), words.text(), words.text(), words.rest()
            )
        elif kind == _CHUNK_INDEX:
            self.chunks.append(record)
        elif kind == _STATISTICS:
            words.skip(8 + 2 + 4 + 4 + 4 + 4)
            self.first_ns, self.last_ns = words.number(8), words.number(8)
            pairs = struct.iter_unpack('<HQ', words.sized())
            self.counts, self.is_counted = Counter(dict(pairs)), True

    def count(self, record: bytes) -> None:
        """Count a message by the start of its record."""
        number, _, stamp_ns = struct.unpack_from('<HIQ', record)
        self.counts[number] += 1
        self.first_ns, self.last_ns = min(self.first_ns, stamp_ns), max(self.last_ns, stamp_ns)


class _Words:
    """The fields of a record, one after another."""

    def __init__(self, record: bytes) -> None:
        self._stream = io.BytesIO(record)

    def number(self, size: int) -> int:
        return int.from_bytes(self._stream.read(size), 'little')

    def sized(self) -> bytes:
        return self._stream.read(self.number(4))

    def text(self) -> str:
        return self.sized().decode('utf-8', 'replace')

    def skip(self, size: int) -> None:
        self._stream.seek(size, io.SEEK_CUR)

    def rest(self) -> bytes:
        return self._stream.read()


def without_foreign_channels(source: Path | MendedBag, warnings: list[str]) -> Path | MendedBag:
    """The mcap itself where all of it is ROS 2, else what of it is; the rest is named.

    source: the file, complete or mended. Raises DriveError where no channel holds ROS 2 messages,
    and what struct and rosbags raise for a file that is damaged.
    """
    with source.open('rb') as stream:
        stream.seek(0, io.SEEK_END)
        size = stream.tell()
        stream.seek(0)
        if stream.read(8) != _MAGIC:
            return source
        profile, library, data_start = _header(stream)
        stream.seek(size - 28)
        (summary_start,) = struct.unpack('<Q', stream.read(8))
        data_end = summary_start or size - 37
        content = _content(stream, data_start, data_end, size - 37)
        kept = {number for number, one in content.channels.items() if _is_ros2(one, content)}
        odd = any(one.encoding not in _DEFINITIONS for one in content.schemas.values())
        if profile == 'ros2' and len(kept) == len(content.channels) and not odd:
            return source
        _say_left_out(source, content, kept, warnings)
        if not content.is_counted:
            content.chunks = []  # they cannot be relied on without the statistics
            _scan(stream, data_start, data_end, content)
    head = _MAGIC + _record(_HEADER, _text('ros2') + _text(library))
    shift = len(head) - data_start
    tail = _summary(content, kept, shift, data_end + shift)
    file = source.file if isinstance(source, MendedBag) else source
    return MendedBag(file, head, data_start, data_end, tail)


def _header(stream: BinaryIO) -> tuple[str, str, int]:
    """Profile, library and where the data begin; the stream stands behind the magic."""
    kind, record = next(_records(stream, 2**62))
    if kind != _HEADER:
        raise DriveError('no header at its start')
    words = _Words(record)
    return words.text(), words.text(), stream.tell()


def _content(stream: BinaryIO, start: int, summary: int, end: int) -> _Content:
    """What the summary says; of a file without one, what its data say."""
    content = _Content()
    stream.seek(summary)
    for kind, record in _records(stream, end):
        content.take(kind, record)
    if not content.channels:
        content = _Content()
        _scan(stream, start, summary, content)
    return content


def _scan(stream: BinaryIO, start: int, end: int, content: _Content) -> None:
    """Go through the data, chunk by chunk."""
    content.counts, content.is_counted = Counter(), True
    stream.seek(start)
    for kind, record in _records(stream, end):
        inner = _records(io.BytesIO(_unpacked(record)), 2**62) if kind == _CHUNK else None
        for kind_inside, inside in inner or [(kind, record)]:
            if kind_inside == _MESSAGE:
                content.count(inside)
            elif kind_inside in (_SCHEMA, _CHANNEL):
                content.take(kind_inside, inside)


def _records(stream: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each record up to a position, or to the end."""
    while stream.tell() < end and len(start := stream.read(9)) == 9:
        yield start[0], stream.read(int.from_bytes(start[1:], 'little'))


def _unpacked(chunk: bytes) -> bytes:
    words = _Words(chunk)
    words.skip(16)
    size, crc, compression = words.number(8), words.number(4), words.text()
    packed_size = words.number(8)
    return decompress(words.rest()[:packed_size], compression, size, crc)


def _is_ros2(channel: _Channel, content: _Content) -> bool:
    return channel.encoding == 'cdr' and channel.schema in content.schemas


def _say_left_out(
    source: Path | MendedBag, content: _Content, kept: set[int], warnings: list[str]
) -> None:
    """Note the channels that are left out; raise DriveError where none is kept."""
    foreign = [one for number, one in content.channels.items() if number not in kept]
    if not foreign:
        return
    encodings = sorted({_kind_of(one, content) for one in foreign})
    said = '; '.join(
        f'{encoding} on '
        + ', '.join(sorted({one.topic for one in foreign if _kind_of(one, content) == encoding}))
        for encoding in encodings
    )
    if kept:
        warnings.append(f'{source}: channels without ROS 2 messages were left out: {said}')
    elif encodings == ['ros1']:
        raise DriveError(
            f'{source}: holds ROS 1 messages; give the .bag itself, or convert it '
            'with `rosbags-convert`'
        )
    else:
        raise DriveError(
            f'{source}: it has no channel with ROS 2 messages (cdr), only {said}; '
            'give the recording from which it was made'
        )


def _kind_of(channel: _Channel, content: _Content) -> str:
    """The encoding of a channel, for people."""
    if channel.encoding == 'cdr':
        return 'cdr without a schema'
    schema = content.schemas.get(channel.schema)
    return channel.encoding or (schema.encoding if schema else '') or 'unknown encoding'


def _summary(content: _Content, kept: set[int], shift: int, start: int) -> bytes:
    """Schemas, channels, indices and statistics of what is kept, and the end of the file.

    shift: by how much the data stand further back than in the file; start: where this is.
    """
    channels = {number: content.channels[number] for number in sorted(kept)}
    used = sorted({one.schema for one in channels.values()})
    records = [_schema_record(number, content.schemas[number]) for number in used]
    records += [
        _record(
            _CHANNEL,
            struct.pack('<HH', number, one.schema)
            + _text(one.topic)
            + _text(one.encoding)
            + one.rest,
        )
        for number, one in channels.items()
    ]
    records += [_record(_CHUNK_INDEX, _shifted(chunk, shift)) for chunk in content.chunks]
    counts = {number: content.counts[number] for number in channels if content.counts[number]}
    pairs = b''.join(struct.pack('<HQ', *pair) for pair in counts.items())
    records.append(
        _record(
            _STATISTICS,
            struct.pack(
                '<QHIIIIQQ',
                sum(counts.values()),
                len(used),
                len(channels),
                0,
                0,
                len(content.chunks),
                content.first_ns,
                content.last_ns,
            )
            + struct.pack('<I', len(pairs))
            + pairs,
        )
    )
    footer = _record(_FOOTER, struct.pack('<QQI', start, 0, 0))
    return b''.join([*records, footer, _MAGIC])


def _schema_record(number: int, schema: _Schema) -> bytes:
    """A schema as it is; one in another language loses its definition, the type's name stays."""
    known = schema.encoding in _DEFINITIONS
    encoding, definition = (schema.encoding, schema.definition) if known else ('', b'')
    return _record(
        _SCHEMA,
        struct.pack('<H', number)
        + _text(schema.name)
        + _text(encoding)
        + struct.pack('<I', len(definition))
        + definition,
    )


def _shifted(chunk_index: bytes, shift: int) -> bytes:
    """An index record whose positions in the file are moved."""
    first_ns, last_ns, position, length = struct.unpack_from('<QQQQ', chunk_index)
    words = _Words(chunk_index[32:])
    offsets = struct.iter_unpack('<HQ', words.sized())
    moved = b''.join(struct.pack('<HQ', number, offset + shift) for number, offset in offsets)
    start = struct.pack('<QQQQI', first_ns, last_ns, position + shift, length, len(moved))
    return start + moved + words.rest()


def _record(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + struct.pack('<Q', len(content)) + content


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack('<I', len(encoded)) + encoded
