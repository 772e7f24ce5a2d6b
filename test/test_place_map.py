"""A map is read back as it was written, and refuses damage by name.

It survives every failure of its builder.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import until_begun
from worlds import cell_bits, straight_drive, unit_rows, write_map

from vpr_ros.core.describing.model import Model, ModelCard
from vpr_ros.core.errors import MapError, VprError
from vpr_ros.core.mapping.header import MapHeader, map_id
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import MAP, build

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_map(tmp_path / 'map', unit_rows(20, 16), straight_drive(20), cells=cell_bits(20))
    return tmp_path / 'map'


def test_a_map_is_read_back_as_it_was_written(folder: Path) -> None:
    place_map = PlaceMap.open(folder)
    np.testing.assert_allclose(place_map.poses, straight_drive(20), atol=1e-12)
    assert place_map.stamps_ns.tolist() == [row * 10**9 for row in range(20)]
    assert place_map.names[7] == '7.jpg'
    assert abs(int(place_map.thumbnail(7).mean()) - 7) <= 1
    np.testing.assert_array_equal(place_map.index.search(unit_rows(20, 16)[3:4], 1)[1], [[3]])


def test_the_same_map_has_the_same_id_wherever_it_is_built(tmp_path: Path, folder: Path) -> None:
    again = write_map(
        tmp_path / 'again', unit_rows(20, 16), straight_drive(20), cells=cell_bits(20)
    )
    assert map_id(again.header) == map_id(PlaceMap.open(folder).header)


def test_descriptors_are_mapped_from_disk_not_held_in_memory(folder: Path) -> None:
    assert all(isinstance(block, np.memmap) for block in PlaceMap.open(folder).index._blocks)


@pytest.mark.parametrize(
    'name',
    [
        'descriptors.npy',
        'poses.npy',
        'stamps_ns.npy',
        'names.txt',
        'thumbnails.bin',
        'thumbnail_ends.npy',
        'cells.npy',
    ],
)
def test_a_flipped_byte_in_any_file_is_found_and_named(folder: Path, name: str) -> None:
    path = folder / 'parts' / '0000' / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(MapError, match=f'{name}: sha256 .* damaged'):
        PlaceMap.open(folder)


def test_a_folder_that_is_no_map_says_which_one_is_meant(tmp_path: Path) -> None:
    for name in ('office', 'yard'):
        write_map(tmp_path / 'maps' / name, unit_rows(3, 16), straight_drive(3))
    maps = tmp_path / 'maps'
    for folder, said in (
        (maps, f'no map here (no map.yaml), but in {maps}/office, {maps}/yard'),
        (
            maps / 'office' / 'map.yaml',
            f'a file of a map, expected its folder; give {maps}/office',
        ),
        (tmp_path / 'none', 'no map here (no map.yaml); make one with build_map'),
    ):
        with pytest.raises(MapError) as caught:
            PlaceMap.open(folder)
        assert str(caught.value) == f'{folder}: {said}'


@pytest.mark.parametrize('name', ['descriptors.npy', 'names.txt', 'cells.npy'])
def test_a_truncated_file_is_found_and_named(folder: Path, name: str) -> None:
    path = folder / 'parts' / '0000' / name
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(MapError, match=name):
        PlaceMap.open(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / 'parts' / '0000' / 'poses.npy').unlink()
    with pytest.raises(MapError, match=r'poses\.npy: No such file'):
        PlaceMap.open(folder)


def test_a_missing_map_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(MapError, match='make one with build_map'):
        PlaceMap.open(tmp_path / 'nowhere')


@pytest.mark.parametrize(
    'text', ['', '[1, 2]', 'format_version: 2', '{', 'format_version: 1', '\x00']
)
def test_another_version_and_garbage_in_the_header_are_refused(folder: Path, text: str) -> None:
    (folder / 'map.yaml').write_text(text)
    with pytest.raises(MapError, match=r'map\.yaml'):
        PlaceMap.open(folder)


def test_a_map_of_another_model_is_refused_by_both_names(folder: Path) -> None:
    card = ModelCard(
        name='other', image_height=8, image_width=8, descriptor_size=16, sha256='b' * 64
    )
    with pytest.raises(MapError, match=r'model test \(aaaa.*runs other \(bbbb'):
        PlaceMap.open(folder, model=Model(folder, card))


def test_an_error_while_building_leaves_the_old_map_and_no_litter(folder: Path) -> None:
    before = map_id(PlaceMap.open(folder).header)
    header = MapHeader(model_name='m', model_sha256='c' * 64, descriptor_size=16)
    with pytest.raises(VprError, match='NaN'), build(folder, header) as writer:
        writer.add(unit_rows(1, 16)[0], straight_drive(1)[0], stamp_ns=0, name='0', thumbnail=b'')
        writer.add(unit_rows(1, 16)[0], np.full(7, np.nan), stamp_ns=0, name='1', thumbnail=b'')
    assert map_id(PlaceMap.open(folder).header) == before
    assert [path.name for path in folder.parent.iterdir()] == ['map']


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'descriptor': np.full(16, np.nan)}, r'^a: descriptor of shape \(16,\), expected finite'),
        ({'descriptor': np.ones(15)}, r'^a: descriptor of shape \(15,\)'),
        ({'pose': np.full(7, np.nan)}, '^a: contains NaN'),
        ({'name': 4096 * 'a'}, r'^a{80}: a name of 4097 .* expected at most 4096 and'),
        ({'name': 2048 * '\xe9'}, 'a name of 4097 '),
        ({'thumbnail': b'j' * ((1 << 20) + 1)}, 'a thumbnail of 1048577 bytes'),
        ({'cells': cell_bits(1)[0]}, r'^a: cells uint8 .* expected none'),
    ],
)
def test_a_place_that_no_map_could_be_opened_with_is_refused_by_its_name(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    header = MapHeader(model_name='m', model_sha256='c' * 64, descriptor_size=16)
    right = {'descriptor': unit_rows(1, 16)[0], 'pose': straight_drive(1)[0], 'name': 'a'}
    with pytest.raises(VprError, match=said), build(tmp_path / 'map', header) as writer:
        writer.add(stamp_ns=0, **right | wrong)
    assert not (tmp_path / 'map').exists()


def test_the_longest_names_and_thumbnails_are_kept(tmp_path: Path) -> None:
    header = MapHeader(model_name='m', model_sha256='c' * 64, descriptor_size=16)
    name, thumbnail = 4095 * 'a', b'j' * (1 << 20)
    with build(tmp_path / 'map', header) as writer:
        writer.add(
            unit_rows(1, 16)[0],
            straight_drive(1)[0],
            stamp_ns=0,
            name=name,
            thumbnail=thumbnail,
        )
    place_map = PlaceMap.open(tmp_path / 'map')
    assert place_map.names[0] == name and place_map.thumbnail_jpeg(0) == thumbnail


def test_a_map_without_places_is_not_written(folder: Path) -> None:
    header = MapHeader(model_name='m', model_sha256='c' * 64, descriptor_size=16)
    with pytest.raises(MapError, match='no image has a pose'), build(folder, header):
        pass
    assert len(PlaceMap.open(folder)) == 20


def test_a_folder_that_is_no_map_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / 'thesis').mkdir()
    (tmp_path / 'thesis' / 'chapter.tex').write_text('years of work')
    header = MapHeader(model_name='m', model_sha256='c' * 64, descriptor_size=16)
    with (
        pytest.raises(MapError, match='exists and is not a map'),
        build(tmp_path / 'thesis', header),
    ):
        pass
    assert (tmp_path / 'thesis' / 'chapter.tex').exists()


@pytest.mark.parametrize('picture', ['office.pgm', ''])
def test_a_folder_with_the_map_yaml_of_nav2_is_not_replaced(tmp_path: Path, picture: str) -> None:
    occupancy = tmp_path / 'office' / 'map.yaml'
    occupancy.parent.mkdir()
    occupancy.write_text(f'image: {picture or "/maps/office.pgm"}\nresolution: 0.05\n')
    if picture:
        (tmp_path / 'office' / picture).touch()
    with pytest.raises(MapError, match='office: exists and is not a map'):
        MAP.require_place(tmp_path / 'office')
    MAP.require_place(tmp_path / 'office' / 'places')
    assert occupancy.exists()


BUILD_FOREVER = """
import sys
sys.path.insert(0, {test!r})
from pathlib import Path
from worlds import CELLS, cell_bits, straight_drive, unit_rows
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.writer import MAP, build
import resource
if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
header = MapHeader(model_name='m', model_sha256='c' * 64, descriptor_size=16, cells=CELLS)
with build(Path({folder!r}), header) as writer:
    print('started', flush=True)
    while True:
        row, pose, bits = unit_rows(1, 16)[0], straight_drive(1)[0], cell_bits(1)[0]
        writer.add(row, pose, stamp_ns=0, name='0', thumbnail=b'x' * 1000, cells=bits)
"""


def start_builder(folder: Path, *, limit: int = 0) -> 'subprocess.Popen[bytes]':
    code = BUILD_FOREVER.format(test=str(ROOT / 'test'), folder=str(folder), limit=limit)
    return subprocess.Popen(
        [sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_killed_builder_leaves_the_old_map_and_the_next_one_removes_its_remains(
    folder: Path,
) -> None:
    with start_builder(folder) as builder:
        assert builder.stdout is not None and builder.stdout.readline() == b'started\n'
        until_begun(folder)
        os.kill(builder.pid, signal.SIGKILL)
    assert len(PlaceMap.open(folder)) == 20
    assert len(list(folder.parent.iterdir())) == 3  # the map, what was begun, and its lock
    write_map(folder, unit_rows(5, 16), straight_drive(5))
    assert len(PlaceMap.open(folder)) == 5
    assert [path.name for path in folder.parent.iterdir()] == ['map']


def test_a_disk_that_fills_while_the_map_is_written_leaves_the_old_one(folder: Path) -> None:
    """The kernel refuses writes past a size limit here; a full disk fails in the same calls."""
    with start_builder(folder, limit=200_000) as builder:
        _, said = builder.communicate(timeout=60)
    assert b'MapError' in said and b'cannot be written' in said
    assert len(PlaceMap.open(folder)) == 20
    assert [path.name for path in folder.parent.iterdir()] == ['map']


def test_a_place_that_cannot_be_written_is_named() -> None:
    """Nobody, root included, may make folders in /proc."""
    with pytest.raises(MapError, match='/proc/self/map: cannot be written'):
        write_map(Path('/proc/self/map'), unit_rows(5, 16), straight_drive(5))


def test_a_read_only_map_can_be_opened(folder: Path) -> None:
    for path in sorted(folder.rglob('*'), reverse=True):
        path.chmod(0o500 if path.is_dir() else 0o400)
    assert len(PlaceMap.open(folder)) == 20
