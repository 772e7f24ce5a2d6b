"""What a map costs is counted, and what makes it small changes only what it says."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from worlds import CELLS, cell_bits, picture, straight_drive, unit_rows, write_map

from vpr_ros import map as map_command
from vpr_ros.core.errors import MapError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping import codes, versions
from vpr_ros.core.mapping import place_map as opened_maps
from vpr_ros.core.mapping.halves import as_floats
from vpr_ros.core.mapping.header import MapHeader, read_header
from vpr_ros.core.mapping.index import CodedIndex
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.map_care import edit
from vpr_ros.map_care.check import check
from vpr_ros.map_care.costs import (
    BASE_BYTES,
    STATE_BYTES,
    available_bytes,
    bytes_by_kind,
    cost_of_million,
    resident_bytes,
    unserved,
)
from vpr_ros.map_care.edit import append, keep_places, merge, slimmed
from vpr_ros.map_care.export import export_images, export_npz
from vpr_ros.map_care.facts import facts, size_on_disk
from vpr_ros.map_care.page import sound_page
from vpr_ros.report.page import render

ROWS = unit_rows(30, 32)


@pytest.fixture
def whole(tmp_path: Path) -> PlaceMap:
    """Thirty places with descriptors as float32, cells and thumbnails."""
    return write_map(tmp_path / 'whole', ROWS, straight_drive(30), cells=cell_bits(30))


@pytest.fixture
def slim(whole: PlaceMap, tmp_path: Path) -> PlaceMap:
    """The same with less."""
    slimmed(whole, tmp_path / 'slim', half=True, thumbnails=False, command='map export')
    return PlaceMap.open(tmp_path / 'slim')


def half_map(folder: Path, rows: np.ndarray) -> PlaceMap:
    """A map that is built in half precision and without thumbnails."""
    header = MapHeader(
        model_name='test',
        model_sha256='a' * 64,
        descriptor_size=rows.shape[1],
        half_descriptors=True,
    )
    with build(folder, header) as writer:
        for number, (row, pose) in enumerate(zip(rows, straight_drive(len(rows)))):
            writer.add(row, pose, stamp_ns=number, name=f'{number}.jpg')
    return PlaceMap.open(folder)


def test_every_half_becomes_the_float_that_it_is() -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(256, 256)
    np.testing.assert_array_equal(as_floats(halves), halves.astype(np.float32))
    assert as_floats(halves[:0]).shape == (0, 256) and as_floats(halves[3]).shape == (256,)
    floats = halves.astype(np.float32)
    assert np.shares_memory(as_floats(floats), floats)


def test_half_precision_is_half_the_bytes_and_finds_the_same_places(tmp_path: Path) -> None:
    place_map = half_map(tmp_path / 'map', ROWS)
    path = tmp_path / 'map/parts/0000/descriptors.npy'
    assert np.load(path).dtype == np.float16
    rounded = ROWS.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(place_map.descriptors_of(np.arange(30)), rounded)
    np.testing.assert_array_equal(place_map.descriptor(7), rounded[7])
    similarity, rows = place_map.index.search(ROWS[:3], 5)
    expected = np.argsort(-ROWS[:3] @ ROWS.T, axis=1)[:, :5]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(similarity[:, 0], 1, atol=1e-3)
    np.testing.assert_array_equal(place_map.index.search(ROWS[3:4], 5)[1][0, 0], 3)
    assert place_map.half_places == 30


def test_older_programs_are_told_to_be_updated(
    slim: PlaceMap, whole: PlaceMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = yaml.safe_load((slim.folder / 'map.yaml').read_text())
    assert (said['format_version'], said['half_descriptors']) == (3, True)
    assert yaml.safe_load((whole.folder / 'map.yaml').read_text())['format_version'] == 2
    monkeypatch.setattr(versions, 'FORMAT_VERSION', 2)  # as programs before had it
    with pytest.raises(MapError, match='version 3, this program reads up to 2; update the pro'):
        read_header(slim.folder)


def test_halves_that_the_header_does_not_announce_are_refused(slim: PlaceMap) -> None:
    path = slim.folder / 'map.yaml'
    text = path.read_text()
    path.write_text(text.replace('half_descriptors: true', 'half_descriptors: false'))
    with pytest.raises(MapError, match=r'descriptors\.npy: float16 .* expected float32'):
        PlaceMap.open(slim.folder)
    path.write_text(text.replace('half_descriptors: true', 'half_descriptors: maybe'))
    with pytest.raises(MapError, match="half_descriptors: 'maybe', expected bool"):
        PlaceMap.open(slim.folder)


def test_a_slim_map_is_the_same_map_with_less(whole: PlaceMap, slim: PlaceMap) -> None:
    np.testing.assert_array_equal(slim.poses, whole.poses)
    np.testing.assert_array_equal(slim.stamps_ns, whole.stamps_ns)
    assert slim.names == whole.names
    np.testing.assert_array_equal(slim.cells_of(np.arange(30)), whole.cells_of(np.arange(30)))
    assert slim.thumbnail(3) is None and whole.thumbnail(3) is not None
    linked = 'parts/0000/cells.npy'
    assert (slim.folder / linked).samefile(whole.folder / linked)
    assert slim.header.changes[-1].command == 'map export'
    before, after = (bytes_by_kind(each.header, each.folder) for each in (whole, slim))
    assert 2 * after['descriptors'] == pytest.approx(before['descriptors'], abs=200)
    assert after['thumbnails'] < before['thumbnails']


def test_each_descriptor_of_a_slim_map_is_the_old_one_in_half_precision(
    whole: PlaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit, '_AT_ONCE', 4 * 32)  # rewritten in eight pieces
    slimmed(whole, tmp_path / 'slim', half=True)
    found = PlaceMap.open(tmp_path / 'slim').descriptors_of(np.arange(30))
    np.testing.assert_array_equal(found, ROWS.astype(np.float16).astype(np.float32))


def test_a_map_can_take_its_own_place_in_slim(whole: PlaceMap) -> None:
    slimmed(whole, whole.folder, half=True)
    place_map = PlaceMap.open(whole.folder)
    assert place_map.half_places == 30 and place_map.thumbnail(3) is not None
    with pytest.raises(MapError, match='another program changed the map'):
        slimmed(whole, whole.folder, thumbnails=False)
    slimmed(place_map, whole.folder, thumbnails=False)
    slimmer = PlaceMap.open(whole.folder)
    assert slimmer.half_places == 30 and slimmer.thumbnail(3) is None


def test_large_parts_of_halves_have_codes_and_are_read_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, 'CODED_FROM_BYTES', 1)
    monkeypatch.setattr(codes, 'CODED_FROM_PLACES', 100)
    rows = unit_rows(300, 32)
    place_map = half_map(tmp_path / 'map', rows)
    assert isinstance(place_map.index, CodedIndex)
    assert place_map.blocks[0].dtype == np.float16
    for row in (0, 77, 299):
        similarity, found = place_map.index.search(rows[row : row + 1], 1)
        assert found.tolist() == [[row]] and similarity[0, 0] == pytest.approx(1, abs=1e-3)


def test_small_parts_are_widened_once_as_far_as_memory_is_given_to_it(
    slim: PlaceMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slim.blocks[0].dtype == np.float32
    monkeypatch.setattr(opened_maps, '_MOST_WIDENED_BYTES', 100)
    narrow = PlaceMap.open(slim.folder)
    assert narrow.blocks[0].dtype == np.float16
    for queries in (ROWS[:3], ROWS[:1]):
        np.testing.assert_array_equal(
            narrow.index.search(queries, 5)[1], slim.index.search(queries, 5)[1]
        )


def test_slim_maps_grow_join_and_shrink(whole: PlaceMap, slim: PlaceMap, tmp_path: Path) -> None:
    with append(slim.folder, slim.header) as writer:
        pose = straight_drive(1)[0]
        bits = cell_bits(1)[0]
        writer.add(ROWS[4], pose, stamp_ns=99, name='more', cells=bits)
    grown = PlaceMap.open(slim.folder)
    assert grown.half_places == len(grown) == 31
    merge([whole, grown], tmp_path / 'all')
    mixed = PlaceMap.open(tmp_path / 'all')
    assert (len(mixed), mixed.half_places) == (61, 31)
    assert mixed.header.half_descriptors
    values = dict(facts(mixed))
    assert values['descriptors'] == '32 numbers each, 31 of them in half precision'
    export_npz(mixed, tmp_path / 'all.npz')
    assert np.load(tmp_path / 'all.npz')['descriptors'].dtype == np.float32
    keep_places(mixed, np.arange(61) != 3, tmp_path / 'smaller')
    smaller = PlaceMap.open(tmp_path / 'smaller')
    assert smaller.half_places == len(smaller) == 60
    assert smaller.cells_size == CELLS


def test_check_up_and_page_do_without_thumbnails(slim: PlaceMap) -> None:
    found = check(slim, near_m=1, far_m=5)
    assert found.poor_images == []
    assert (
        '<img' not in render(sound_page(slim, found, facts(slim), 'map check')).split('class')[0]
    )
    with pytest.raises(MapError, match='30 of 30 places have no thumbnail'):
        export_images(slim, slim.folder.with_name('images'))


def test_the_command_makes_a_map_slim(whole: PlaceMap, tmp_path: Path, capsys) -> None:
    target = tmp_path / 'less'
    arguments = ['export', str(whole.folder), '--slim', str(target)]
    assert map_command.main([*arguments, '--half', '--no-thumbnails']) == 0
    assert PlaceMap.open(target).half_places == 30
    assert map_command.main(arguments) == 2
    assert '--slim works only with --half, --no-thumbnails or both' in capsys.readouterr().err
    assert map_command.main(['info', str(target)]) == 0
    printed = capsys.readouterr().out
    assert 'a million places' in printed and 'in half precision' in printed


def test_the_command_tells_the_size_of_the_map_that_a_slim_one_replaces(
    whole: PlaceMap, capsys
) -> None:
    before = size_on_disk(whole.header, whole.folder)
    arguments = ['export', str(whole.folder), '--slim', str(whole.folder), '--no-thumbnails']
    assert map_command.main(arguments) == 0
    after, *_ = said = capsys.readouterr().out.splitlines()
    assert said == [after, f'{whole.folder}: {before}'] and after != said[1]


def test_bytes_of_a_place_are_those_on_the_disk(whole: PlaceMap) -> None:
    kinds = bytes_by_kind(whole.header, whole.folder)
    on_disk = sum(
        path.stat().st_size for path in (whole.folder / 'parts').rglob('*') if path.is_file()
    )
    assert sum(kinds.values()) == on_disk
    assert list(kinds) == ['descriptors', 'cells', 'thumbnails', 'the rest']
    million = cost_of_million(whole.header, kinds)
    assert million.disk_bytes == round(1e6 * (on_disk / 30 + 32 + 68))


def test_bytes_of_a_map_are_those_of_all_its_parts(whole: PlaceMap, tmp_path: Path) -> None:
    more = write_map(tmp_path / 'more', -ROWS, straight_drive(30), cells=cell_bits(30))
    merge([whole, more], tmp_path / 'both')
    both = PlaceMap.open(tmp_path / 'both')
    there = sum(path.stat().st_size for path in (both.folder / 'parts').rglob('*.*'))
    assert sum(bytes_by_kind(both.header, both.folder).values()) == there


def test_what_a_robot_holds_is_codes_of_large_parts_and_rows_of_small_ones() -> None:
    small, large = resident_bytes([1000], 512), resident_bytes([1_000_000], 512)
    assert small == BASE_BYTES + 1000 * (4 * 512 + STATE_BYTES)
    assert large < BASE_BYTES + 1_000_000 * (4 * 512 + STATE_BYTES) / 2
    assert resident_bytes([1000, 1000], 512) - BASE_BYTES == 2 * (small - BASE_BYTES)


def test_a_map_that_this_machine_cannot_serve_is_told() -> None:
    assert unserved([1000], 512, 10**9) is None
    assert unserved([1000], 512, None) is None
    said = unserved([600_000, 400_000], 512, 10**9)
    assert said is not None and 'serves 1000000 places takes about 1.2 GB' in said
    assert '1.0 GB left' in said and '--every' in said
    assert 'up to 1000000' in str(unserved([1_000_000], 512, 10**9, at_most=True))


def test_memory_is_what_the_system_and_the_container_leave(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
    (tmp_path / 'proc').mkdir()
    (tmp_path / 'proc/meminfo').write_text('MemTotal: 9 kB\nMemAvailable:    4000 kB\n')
    assert available_bytes(tmp_path) == 4_096_000
    group = tmp_path / 'sys/fs/cgroup'
    group.mkdir(parents=True)
    (group / 'memory.max').write_text('max\n')
    (group / 'memory.current').write_text('1000\n')
    assert available_bytes(tmp_path) == 4_096_000
    (group / 'memory.max').write_text('50000\n')
    assert available_bytes(tmp_path) == 49_000
    assert (available_bytes() or 0) > 0


def test_a_thumbnail_that_is_there_is_kept_beside_one_that_is_not(tmp_path: Path) -> None:
    header = MapHeader(model_name='test', model_sha256='a' * 64, descriptor_size=32)
    with build(tmp_path / 'map', header) as writer:
        for number, pose in enumerate(straight_drive(3)):
            jpeg = encode_jpeg(picture(number)) if number == 1 else b''
            writer.add(ROWS[number], pose, stamp_ns=number, name=f'{number}', thumbnail=jpeg)
    place_map = PlaceMap.open(tmp_path / 'map')
    assert [place_map.thumbnail(place) is not None for place in range(3)] == [False, True, False]
