"""Bags of some kB that would take all memory, all time or all of a disk are refused soon."""

import bz2
import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
from bags import STORE, _record, _sized, picture, plain_bag, ros2_channel, write_mcap
from bags import image as image_message
from rosbags.rosbag1.reader import Header
from rosbags.rosbag2.storage_mcap import zstd

from vpr_ros.core.errors import VprError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.drives import bounds, open_drive
from vpr_ros.drives.folder_to_bag import WriteOptions, write_bag
from vpr_ros.drives.writer import Storage

_MOST = 1 << 20
_EXPLODES = bytes(64 << 20)
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    'zstd': zstd.compress,
    'lz4': lz4.frame.compress,
    'bz2': bz2.compress,
}


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, 'MOST_UNPACKED', _MOST)
    monkeypatch.setattr(bounds, '_MOST_RATIO', 1)


def said_of(bag: Path) -> str:
    """All that is said of a bag, which cannot be read."""
    drive = None
    with pytest.raises(VprError) as refused:
        drive = open_drive(bag)
        for frame in drive.frames():
            frame.load()
    return ' '.join([str(refused.value), *(drive.warnings if drive else ())])


def mcap_of_a_chunk(path: Path, packing: str, content: bytes, size: int) -> Path:
    """An mcap without an index, whose only chunk says that it has `size` bytes."""
    packed = _PACKERS[packing](content)
    magic = b'\x89MCAP0\r\n'
    chunk = struct.pack('<QQQI', 0, 10**9, size, 0) + _sized(packing)
    chunk += struct.pack('<Q', len(packed)) + packed
    parts = [
        magic,
        _record(1, _sized('ros2') + _sized('test')),
        _record(6, chunk),
        _record(15, bytes(4)),
        _record(2, struct.pack('<QQI', 0, 0, 0)),
        magic,
    ]
    path.write_bytes(b''.join(parts))
    return path


@pytest.mark.parametrize('packing', ['zstd', 'lz4'])
@pytest.mark.parametrize(
    ('size', 'allowed'), [(1000, 1000), (len(_EXPLODES), _MOST), (2**63, _MOST)]
)
def test_a_chunk_unpacks_to_what_it_says_and_to_no_more_than_the_bound(
    tmp_path: Path, small_bounds: None, packing: str, size: int, allowed: int
) -> None:
    bag = mcap_of_a_chunk(tmp_path / 'drive.mcap', packing, _EXPLODES, size)
    assert f'unpacks to more than {allowed} bytes' in said_of(bag)


@pytest.mark.parametrize('packing', sorted(_PACKERS))
def test_packed_bytes_are_read_up_to_the_bound_and_in_all_their_pieces(packing: str) -> None:
    new = {
        'zstd': zstd.ZstdDecompressor,
        'lz4': lz4.frame.LZ4FrameDecompressor,
        'bz2': bz2.BZ2Decompressor,
    }[packing]
    pack = _PACKERS[packing]
    two = pack(b'abc') + pack(b'de')
    assert bounds.unpacked(new, two, 5) == b'abcde'
    with pytest.raises(bounds.BoundError, match='more than 4 bytes'):
        bounds.unpacked(new, two, 4)
    with pytest.raises(bounds.BoundError, match='breaks off'):
        bounds.unpacked(new, two[:-6], 100)
    with pytest.raises(bounds.BoundError, match='1000 pieces'):
        bounds.unpacked(new, pack(b'') * 1001, 100)


@pytest.mark.parametrize('packing', ['lz4', 'bz2'])
def test_a_ros1_chunk_stays_within_the_bound(
    tmp_path: Path, small_bounds: None, packing: str
) -> None:
    bag = plain_bag(tmp_path / 'drive', f'ros1-{packing}')
    content = bag.read_bytes()
    with bag.open('rb') as file:
        file.readline()
        Header.read(file)
        file.seek(struct.unpack('<I', file.read(4))[0], os.SEEK_CUR)
        Header.read(file)
        start = file.tell()
        (size,) = struct.unpack('<I', file.read(4))
    packed = _PACKERS[packing](_EXPLODES)
    longer = len(packed) - size
    content = content[:start] + _sized(packed) + content[start + 4 + size :]
    index = content.index(b'index_pos=') + len(b'index_pos=')
    (position,) = struct.unpack_from('<Q', content, index)
    bag.write_bytes(content[:index] + struct.pack('<Q', position + longer) + content[index + 8 :])
    assert 'cannot be read' in said_of(bag) or 'no usable pose' in said_of(bag)
    with pytest.raises(bounds.BoundError):
        bounds.rosbag1.decompressors[packing](packed)


def test_a_packed_message_stays_within_the_bound(tmp_path: Path, small_bounds: None) -> None:
    bag = plain_bag(tmp_path / 'drive', 'sqlite3-message')
    with sqlite3.connect(bag / 'drive.db3') as database:
        database.execute(
            'UPDATE messages SET data = ? WHERE topic_id = '
            "(SELECT id FROM topics WHERE name = '/camera/image')",
            [zstd.compress(_EXPLODES)],
        )
    database.close()
    assert 'not one image' in said_of(bag)
    with pytest.raises(bounds.BoundError):
        bounds.reader.zstd.decompress(zstd.compress(_EXPLODES))


def test_a_packed_file_fills_no_disk(tmp_path: Path, small_bounds: None) -> None:
    bag = plain_bag(tmp_path / 'drive', 'sqlite3-file')
    (bag / 'drive.db3.zstd').write_bytes(zstd.compress(_EXPLODES))
    assert f'unpacks to more than {_MOST} bytes' in said_of(bag)


@pytest.mark.parametrize(
    'statement',
    [
        'CREATE VIEW messages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) '
        "SELECT i AS id, 1 AS topic_id, i AS timestamp, x'00' AS data FROM n",
        'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, '
        'data AS (zeroblob(900000000)))',
        'CREATE VIRTUAL TABLE messages USING fts5(id, topic_id, timestamp, data)',
    ],
    ids=['view', 'computed', 'virtual'],
)
@pytest.mark.parametrize('alone', [False, True], ids=['folder', 'file'])
def test_tables_that_are_programs_are_not_run(tmp_path: Path, statement: str, alone: bool) -> None:
    bag = plain_bag(tmp_path / 'drive', 'sqlite3')
    with sqlite3.connect(bag / 'drive.db3') as database:
        database.execute('ALTER TABLE messages RENAME TO real_messages')
        database.execute(statement)
    database.close()
    assert 'its messages are computed' in said_of(bag / 'drive.db3' if alone else bag)


@pytest.mark.parametrize('folder', ['drive #1', '100% of it?', 'a%20b'])
def test_an_sqlite3_bag_lies_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    there = tmp_path / folder / 'of #2'
    there.parent.mkdir()
    plain_bag(tmp_path / 'drive', 'sqlite3').rename(there)
    assert len(list(open_drive(there).frames())) == 5
    assert len(list(open_drive(there / 'drive.db3').frames())) == 5


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap', 'ros1'])
def test_a_bag_is_written_into_a_folder_of_any_name(tmp_path: Path, storage: Storage) -> None:
    images = tmp_path / 'images'
    images.mkdir()
    for name in ('a.jpg', 'b.jpg'):
        (images / name).write_bytes(encode_jpeg(picture(1)))
    output = tmp_path / 'drive #1' / f'100%41?{".bag" if storage == "ros1" else ""}'
    write_bag(images, output, WriteOptions(storage=storage))
    assert len(list(open_drive(output).frames())) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ['drive #1', 'images']


_MERGES = 'x0: &x0 {a: 1}\n' + ''.join(
    f'x{n}: &x{n} {{<<: [{", ".join([f"*x{n - 1}"] * 8)}]}}\n' for n in range(1, 12)
)


@pytest.mark.parametrize(
    ('added', 'said'),
    [
        (_MERGES, 'more than 2000000 values'),
        ('x: ' + '[' * 5000 + ']' * 5000, 'nested more than 32 deep'),
        ('x: ' + '9' * 900_000, '900000 digits'),
        ('#' * (bounds.MOST_METADATA + 1), 'has more than 17 MB'),
    ],
    ids=['merges', 'depth', 'digits', 'size'],
)
def test_metadata_without_bounds_are_not_read_and_the_files_are(
    tmp_path: Path, added: str, said: str
) -> None:
    bag = plain_bag(tmp_path / 'drive')
    with (bag / 'metadata.yaml').open('a') as file:
        file.write(f'\n{added}\n')
    drive = open_drive(bag)
    assert len(list(drive.frames())) == 5
    assert any(said in warning for warning in drive.warnings), drive.warnings


def test_the_qos_of_a_topic_has_bounds(tmp_path: Path) -> None:
    bag = plain_bag(tmp_path / 'drive', 'sqlite3')
    with sqlite3.connect(bag / 'drive.db3') as database:
        database.execute('UPDATE topics SET offered_qos_profiles = ?', [_MERGES])
    database.close()
    assert 'more than 2000000 values' in said_of(bag / 'drive.db3')


@pytest.mark.parametrize(
    ('encoding', 'definition'),
    [
        ('ros2idl', f'module a {{ const uint32 X = {"(" * 9}1{")" * 9}; }};'),
        ('ros2idl', 'module a { const uint32 X = ( /* ) */ ( // )\n "x)" == (1))); };'),
        ('ros2idl', 'module a { const uint32 X = 1 << 9999999999; };'),
        ('ros2msg', 'string[100000000] names'),
        ('ros2msg', 'std_msgs/Header header\nstd_msgs/Header[1000000] others'),
        ('ros2msg', '# a comment\n' * 100_000),
    ],
    ids=['parentheses', 'comments', 'shift', 'texts', 'messages', 'length'],
)
def test_a_definition_that_takes_for_ever_is_not_read(
    tmp_path: Path, encoding: str, definition: str
) -> None:
    images = [(float(second), image_message(second, second)) for second in range(1, 4)]
    channel = ros2_channel('/camera', images, encoding=encoding, definition=definition)
    drive = open_drive(write_mcap(tmp_path / 'drive.mcap', [channel]))
    assert [frame.load().shape for frame in drive.frames()] == [(48, 64, 3)] * 3


def test_real_definitions_are_read() -> None:
    for kind in sorted(STORE.fielddefs):
        text, _ = STORE.generate_msgdef(kind, ros_version=2)
        assert len(text) < bounds._MOST_DEFINITION / 4, kind
    bounds.require_short_arrays(STORE.fielddefs)


@pytest.mark.parametrize('suffix', ['bag', 'mcap', 'db3'])
@pytest.mark.parametrize('kind', ['pipe', 'device'])
def test_a_bag_that_is_a_pipe_or_a_device_is_not_waited_for(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    bag = tmp_path / f'drive.{suffix}'
    os.mkfifo(bag) if kind == 'pipe' else bag.symlink_to('/dev/zero')
    assert 'is not a regular file' in said_of(bag)
    assert 'is not a regular file' in said_of(tmp_path)


def test_a_listed_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    bag = plain_bag(tmp_path / 'drive')
    metadata = bag / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('drive.mcap', 'data'))
    os.mkfifo(bag / 'data')
    assert 'is not a regular file' in said_of(bag)


@pytest.mark.parametrize('name', ['drive.bag', 'poses.csv'])
def test_a_line_without_an_end_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / 'a.jpg').write_bytes(encode_jpeg(picture(1)))
    start = b'#ROSBAG V2.0' if name == 'drive.bag' else b'image,stamp_s,x,y,z,qx,qy,qz,qw\n'
    (tmp_path / name).write_bytes(start)
    os.truncate(tmp_path / name, 60 << 30)  # with holes: it takes no room
    said = said_of(tmp_path / name if name == 'drive.bag' else tmp_path)
    assert 'does not begin as a ROS 1 bag' in said or 'has a line of more than' in said
