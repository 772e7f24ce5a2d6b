"""Maps keep the cells of their places: written once, carried along, read when they are asked for.

The cells of these maps are random bits, or those of a tiny model that gives some.
"""

import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import (
    CELLS,
    cell_bits,
    picture,
    straight_drive,
    unit_rows,
    write_map,
    write_posed_folder,
    write_tiny_model,
)

from vpr_ros import build_map, map
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, write_model
from vpr_ros.core.errors import MapError
from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.mapping.header import map_id, read_header, write_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.core.types import CellBits, Descriptors, Frame, Image
from vpr_ros.drives import open_drive
from vpr_ros.drives.posed_images import posed_images
from vpr_ros.evaluating.answers import answers_offline
from vpr_ros.evaluating.calibration import calibrate, calibration_images
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care.build import append_drive
from vpr_ros.map_care.build import build_map as build_map_of
from vpr_ros.map_care.check import damages
from vpr_ros.map_care.edit import append, keep_places, merge
from vpr_ros.map_care.facts import facts
from vpr_ros.map_care.recall import map_recall, own_places

COUNT = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A map of 20 places with random cells."""
    write_map(
        tmp_path / 'map', unit_rows(COUNT, 16), straight_drive(COUNT), cells=cell_bits(COUNT)
    )
    return tmp_path / 'map'


def add_rows(folder: Path, count: int, cells: CellBits | None) -> None:
    with append(folder, read_header(folder)) as writer:
        for row, pose in enumerate(straight_drive(count)):
            writer.add(
                unit_rows(count, 16, 1)[row],
                pose,
                stamp_ns=row,
                name=f'more {row}',
                thumbnail=b'',
                cells=None if cells is None else cells[row],
            )


# Reading


def test_cells_are_read_back_as_they_were_written_in_any_order(folder: Path) -> None:
    place_map = PlaceMap.open(folder)
    bits = cell_bits(COUNT)
    assert place_map.has_cells and place_map.cells_size == CELLS
    for places in ([3], [], [7, 0, 7, 19, 2], range(COUNT)):
        asked = np.array(places, dtype=np.int64)
        found = place_map.cells_of(asked)
        assert found.dtype == np.uint8 and found.shape == (len(asked), 12, 2)
        np.testing.assert_array_equal(found, bits[asked])
    np.testing.assert_array_equal(place_map.cells(11), bits[11])


def test_cells_of_several_parts_come_in_the_order_of_the_places(folder: Path) -> None:
    more = cell_bits(5, seed=1)
    for _ in range(3):
        add_rows(folder, 5, more)
    place_map = PlaceMap.open(folder)
    everything = np.concatenate([cell_bits(COUNT), more, more, more])
    asked = np.random.default_rng(0).permutation(len(place_map))
    np.testing.assert_array_equal(place_map.cells_of(asked), everything[asked])


def test_cells_that_were_read_are_the_callers_and_the_map_stays(folder: Path) -> None:
    place_map = PlaceMap.open(folder)
    place_map.cells_of(np.array([3]))[:] = 0
    np.testing.assert_array_equal(place_map.cells(3), cell_bits(COUNT)[3])
    assert damages(folder) == []


def test_a_map_without_cells_says_so(tmp_path: Path) -> None:
    place_map = write_map(tmp_path / 'map', unit_rows(3, 16), straight_drive(3))
    assert not place_map.has_cells and place_map.cells_size is None and place_map.cells(0) is None
    assert own_places(place_map).images.cells is None
    with pytest.raises(MapError, match='has no cells; rebuild it with a model that has cells'):
        place_map.cells_of(np.array([0]))


def test_no_memory_is_taken_for_cells_that_nobody_asks_for(tmp_path: Path) -> None:
    """Opened by memory map, and gathered row by row."""
    size, count = (16, 16, 512), 300  # 16 kB a place, 5 MB in all
    header = replace(read_header_of(tmp_path / 'small'), cells=size)
    bits = np.zeros((256, 64), np.uint8)
    with build(tmp_path / 'map', header) as writer:
        for row, pose in enumerate(straight_drive(count)):
            bits[0, 0] = row % 256
            descriptor = unit_rows(1, 16)[0]
            writer.add(descriptor, pose, stamp_ns=row, name='', thumbnail=b'', cells=bits)
    place_map = PlaceMap.open(tmp_path / 'map')
    assert isinstance(place_map.cell_blocks[0].base, np.memmap)
    tracemalloc.start()
    found = place_map.cells_of(np.arange(0, count, 60))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[:, 0, 0].tolist() == [0, 60, 120, 180, 240]
    assert peak < 5 * found.nbytes


def read_header_of(folder: Path) -> object:
    write_map(folder, unit_rows(1, 16), straight_drive(1))
    return read_header(folder)


# Writing


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda bits: None, r'more 0: no cells, expected uint8 \[12, 2\] as the map has'),
        (lambda bits: bits[:, :11], r'cells uint8 \[11, 2\], expected uint8 \[12, 2\]'),
        (lambda bits: bits.reshape(-1, 24), r'cells uint8 \[24\], expected'),
        (lambda bits: bits.astype(np.float16), r'cells float16 \[12, 2\], expected uint8'),
    ],
)
def test_a_place_with_other_cells_than_the_map_has_is_refused_and_the_map_stays(
    folder: Path, change: Callable[[CellBits], CellBits | None], said: str
) -> None:
    before = map_id(read_header(folder))
    with pytest.raises(MapError, match=f'{said}.*rebuild the map with build_map'):
        add_rows(folder, 2, change(cell_bits(2)))
    assert map_id(PlaceMap.open(folder).header) == before
    assert [path.name for path in folder.parent.iterdir()] == ['map']


def test_a_map_without_cells_takes_none(tmp_path: Path) -> None:
    write_map(tmp_path / 'map', unit_rows(3, 16), straight_drive(3))
    with pytest.raises(MapError, match=r'cells uint8 \[12, 2\], expected none as the map has'):
        add_rows(tmp_path / 'map', 1, cell_bits(1))
    assert len(PlaceMap.open(tmp_path / 'map')) == 3


# Changing


def test_kept_places_keep_their_cells(folder: Path, tmp_path: Path) -> None:
    add_rows(folder, 5, cell_bits(5, seed=1))
    old = PlaceMap.open(folder)
    kept = np.arange(25) % 3 == 0
    assert keep_places(old, kept, tmp_path / 'small')
    small = PlaceMap.open(tmp_path / 'small')
    expected = np.concatenate([cell_bits(COUNT), cell_bits(5, seed=1)])[kept]
    np.testing.assert_array_equal(small.cells_of(np.arange(len(small))), expected)


def test_merged_maps_keep_the_cells_of_all(folder: Path, tmp_path: Path) -> None:
    bits = cell_bits(7, seed=3)
    other = write_map(tmp_path / 'other', unit_rows(7, 16, 3), straight_drive(7), cells=bits)
    assert merge([PlaceMap.open(folder), other], tmp_path / 'all') == []
    merged = PlaceMap.open(tmp_path / 'all')
    expected = np.concatenate([cell_bits(COUNT), bits])
    np.testing.assert_array_equal(merged.cells_of(np.arange(27)), expected)
    assert merged.cells_size == CELLS and damages(tmp_path / 'all') == []


@pytest.mark.parametrize('swapped', [False, True])
def test_a_map_with_cells_is_not_merged_with_one_without(
    folder: Path, tmp_path: Path, swapped: bool
) -> None:
    plain = write_map(tmp_path / 'plain', unit_rows(7, 16, 3), straight_drive(7))
    maps = [PlaceMap.open(folder), plain]
    said = r'cells are .*\[3, 4, 16\].*, expected the same; rebuild \S+/plain with build_map'
    with pytest.raises(MapError, match=said):
        merge(maps[::-1] if swapped else maps, tmp_path / 'all')
    assert not (tmp_path / 'all').exists()


# From images to maps and queries


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return write_tiny_model(tmp_path_factory.mktemp('models') / 'celled', cells=True)


@pytest.fixture(scope='module')
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return write_tiny_model(tmp_path_factory.mktemp('models') / 'plain')


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posed_folder(tmp_path_factory.mktemp('drives') / 'day', range(6))


class Counting:
    """A describer that counts what it is asked for."""

    at_once = 1

    def __init__(self, model: Model) -> None:
        self._inner, self.model = OnnxDescriber(model), model
        self.alone = self.both = 0

    def describe(self, images: list[Image]) -> Descriptors:
        self.alone += len(images)
        return self._inner.describe(images)

    def describe_with_cells(self, images: list[Image]) -> tuple[Descriptors, np.ndarray | None]:
        self.both += len(images)
        return self._inner.describe_with_cells(images)


def test_cells_become_the_signs_of_their_numbers_from_top_left(model: Model) -> None:
    describer = OnnxDescriber(model)
    _, cells = describer.describe_with_cells([picture(3)])
    assert cells is not None and cells.shape == (1, 4, 4, 48) and cells.dtype == np.float16
    kept = describe_as_kept(describer, picture(3))
    assert kept.cells is not None and kept.cells.shape == (16, 6)
    for cell, bits in enumerate(kept.cells):
        numbers = cells[0, cell // 4, cell % 4]
        signs = [bool(bits[at // 8] & 128 >> at % 8) for at in range(48)]
        assert signs == [bool(number > 0) for number in numbers]
    np.testing.assert_array_equal(kept.descriptor, describer.describe([picture(3)])[0])


def test_a_built_map_has_the_cells_of_its_images_from_one_pass(
    model: Model, drive: Path, tmp_path: Path
) -> None:
    describer = Counting(model)
    build_map_of(open_drive(drive), describer, tmp_path / 'map')
    assert (describer.alone, describer.both) == (0, 6)
    place_map = PlaceMap.open(tmp_path / 'map', model=model)
    assert place_map.cells_size == (4, 4, 48)
    needed_hw = model.card.image_size
    for place, frame in enumerate(open_drive(drive).frames()):
        image = frame.load(at_least_hw=(max(needed_hw[0], 240), max(needed_hw[1], 240)))
        seen = describe_as_kept(describer, image)
        np.testing.assert_array_equal(place_map.cells(place), seen.cells)


def test_a_map_is_built_the_same_byte_for_byte(model: Model, drive: Path, tmp_path: Path) -> None:
    ids = set()
    for name, threads in (('one', 1), ('two', 2), ('again', 2)):
        describer = OnnxDescriber(model, threads=threads, singly=False)
        build_map_of(open_drive(drive), describer, tmp_path / name)
        ids.add(map_id(read_header(tmp_path / name)))
    assert len(ids) == 1


def test_an_appended_drive_brings_its_cells(model: Model, drive: Path, tmp_path: Path) -> None:
    folder, describer = tmp_path / 'map', OnnxDescriber(model)
    build_map_of(open_drive(drive), describer, folder)
    append_drive(folder, read_header(folder), open_drive(drive), describer)
    place_map = PlaceMap.open(folder)
    bits = place_map.cells_of(np.arange(12))
    np.testing.assert_array_equal(bits[6:], bits[:6])
    assert place_map.header.cells == (4, 4, 48)


def test_a_map_without_cells_goes_on_without_and_its_model_is_not_asked_for_any(
    model: Model, drive: Path, tmp_path: Path
) -> None:
    """As a map of a program that knew no cells, of the same graph."""
    folder, describer = tmp_path / 'map', Counting(model)
    header = replace(built_header(model, drive, tmp_path / 'built'), cells=None)
    with build(folder, header) as writer:
        row = describer.describe([picture(0)])[0]
        writer.add(row, straight_drive(1)[0], stamp_ns=0, name='', thumbnail=b'')
    append_drive(folder, read_header(folder), open_drive(drive), describer)
    place_map = PlaceMap.open(folder)
    assert len(place_map) == 7 and not place_map.has_cells and describer.both == 0
    query = Localizer(describer, place_map).describe(Frame(picture(0), 0))
    assert query.cells is None and describer.both == 0


def built_header(model: Model, drive: Path, folder: Path) -> object:
    build_map_of(open_drive(drive), OnnxDescriber(model), folder)
    return read_header(folder)


def test_a_model_that_gives_no_cells_adds_nothing_to_a_map_with_cells(
    model: Model, plain_model: Model, drive: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'map'
    header = built_header(model, drive, folder)
    before = map_id(read_header(folder))
    other_size = Counting(model)
    other_size.model = replace(model, card=replace(model.card, cells=(4, 4, 24)))
    for other, given in (
        (Counting(plain_model), 'no cells'),
        (other_size, r'cells of \[4, 4, 24\]'),
    ):
        said = rf'has cells of \[4, 4, 48\], .* gives {given}; choose the model folder that made'
        with pytest.raises(MapError, match=said):
            append_drive(folder, header, open_drive(drive), other)
    assert map_id(read_header(folder)) == before


def test_queries_have_cells_where_the_map_has_some(
    model: Model, drive: Path, tmp_path: Path
) -> None:
    build_map_of(open_drive(drive), OnnxDescriber(model), tmp_path / 'map')
    place_map, describer = PlaceMap.open(tmp_path / 'map'), Counting(model)
    query = Localizer(describer, place_map).describe(Frame(picture(4), 0))
    assert query.cells is not None and (describer.alone, describer.both) == (0, 1)
    differing = np.unpackbits(place_map.cells_of(np.arange(6)) ^ query.cells).reshape(6, -1)
    assert differing.sum(axis=1).argmin() == 4


class Watched(Localizer):
    """Notes the queries that it is asked."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.asked: list[Query] = []

    def locate(self, query: Query) -> Localization:
        self.asked.append(query)
        return super().locate(query)


def test_evaluating_and_calibrating_ask_with_cells_of_one_pass(
    model: Model, tmp_path: Path
) -> None:
    drive = open_drive(write_posed_folder(tmp_path / 'drive', range(48)))
    describer = Counting(model)
    build_map_of(drive, describer, tmp_path / 'map')
    localizer = Watched(describer, PlaceMap.open(tmp_path / 'map'))
    assert len(list(answers_offline(drive.frames(), localizer))) == 48
    images = calibration_images(drive, describer, max_pose_gap_s=1.0)
    calibrate(images, localizer, 5.0, source='drive')
    assert (describer.alone, describer.both) == (0, 3 * 48)
    assert len(localizer.asked) == 48 + 48 + 32 + 24 + 48
    stored = {place.tobytes() for place in images.cells}
    assert all(query.cells.tobytes() in stored for query in localizer.asked[48:])
    assert {query.cells.shape for query in localizer.asked} == {(16, 6)}


def test_on_a_map_with_cells_only_the_level_is_calibrated(model: Model, tmp_path: Path) -> None:
    drive = open_drive(write_posed_folder(tmp_path / 'drive', range(48)))
    describer = OnnxDescriber(model)
    build_map_of(drive, describer, tmp_path / 'map')
    localizer = Localizer(describer, PlaceMap.open(tmp_path / 'map'))
    images = calibration_images(drive, describer, max_pose_gap_s=1.0)
    elsewhere = replace(images, poses=images.poses + np.array([100.0, 0, 0, 0, 0, 0, 0]))
    shipped = localizer.calibration
    own = calibrate(elsewhere, localizer, 5.0, source='x').calibration
    assert own.weights == pytest.approx(shipped.weights, abs=1e-5)
    assert own.bias < shipped.bias - 1  # no answer was right
    assert own.risk_ratio == shipped.risk_ratio


def test_images_of_a_drive_come_with_their_cells_where_their_pose_is_known(
    model: Model, plain_model: Model, tmp_path: Path
) -> None:
    folder = write_posed_folder(tmp_path / 'drive', range(5))
    (folder / 'images' / '000001.jpg').write_bytes(b'')
    describer = Counting(model)
    found = posed_images(open_drive(folder), describer, max_pose_gap_s=1.0)
    assert found.cells is not None and found.cells.shape == (4, 16, 6)
    assert (describer.alone, describer.both) == (0, 4)
    alone = describe_as_kept(describer, picture(3)).cells
    assert np.unpackbits(found.cells ^ alone).reshape(4, -1).sum(axis=1).argmin() == 2
    plain = posed_images(open_drive(folder), OnnxDescriber(plain_model), max_pose_gap_s=1.0)
    assert plain.cells is None and len(plain) == 4


def test_a_maps_own_places_are_queries_with_cells(folder: Path) -> None:
    np.testing.assert_array_equal(own_places(PlaceMap.open(folder)).images.cells, cell_bits(COUNT))


def test_places_that_only_their_cells_tell_apart_are_found_by_them(tmp_path: Path) -> None:
    alike = np.eye(1, 16, dtype=np.float32).repeat(COUNT, axis=0)
    poses = straight_drive(COUNT, spacing_m=50.0)
    place_map = write_map(tmp_path / 'map', alike, poses, cells=cell_bits(COUNT))
    queries = replace(own_places(place_map), own=False)
    assert map_recall(queries, place_map, Tolerance(5.0)).at[1] == 1.0
    without = replace(queries, images=replace(queries.images, cells=None))
    assert map_recall(without, place_map, Tolerance(5.0)).at[1] == 1 / COUNT


# Commands


def test_info_says_what_each_kind_takes(folder: Path, tmp_path: Path) -> None:
    said = dict(facts(PlaceMap.open(folder)))
    assert said['cells'] == '3 x 4 of 16 bits each'
    kinds = re.fullmatch(r'(\d+) bytes \((.*)\)', said['a place'])
    assert kinds is not None
    each = {name: int(size) for name, size in (one.rsplit(' ', 1) for one in kinds[2].split(', '))}
    assert list(each) == ['descriptors', 'cells', 'thumbnails', 'the rest']
    assert 0 <= each['descriptors'] - 16 * 4 <= 128 / COUNT + 1  # and a header of 128 bytes
    assert 0 <= each['cells'] - 24 <= 128 / COUNT + 1
    assert int(kinds[1]) == sum(each.values())
    plain = write_map(tmp_path / 'plain', unit_rows(3, 16), straight_drive(3))
    said = dict(facts(plain))
    assert said['cells'] == 'none' and 'cells' not in said['a place']


def test_the_commands_carry_cells_along(
    model: Model, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, by = str(tmp_path / 'map'), ['--model', str(model.folder), '--bag', str(drive)]
    assert build_map.main([*by, '--output', folder]) == 0
    assert map.main(['append', folder, *by]) == 0
    assert map.main(['prune', folder, *by]) == 0
    assert '12 places, 6 of them redundant' in capsys.readouterr().out
    assert map.main(['check', folder]) == 0
    assert re.search(r'files +7, all as map\.yaml says', capsys.readouterr().out)
    arrays = tmp_path / 'arrays.npz'
    assert map.main(['export', folder, '--npz', str(arrays)]) == 0
    place_map = PlaceMap.open(folder)
    exported = np.load(arrays, allow_pickle=False)['cells']
    assert exported.shape == (6, 4, 4, 6)
    bits = place_map.cells_of(np.arange(6))
    np.testing.assert_array_equal(exported.reshape(bits.shape), bits)
    (tmp_path / 'map/parts/0000/cells.npy').write_bytes(b'x')
    capsys.readouterr()
    assert map.main(['check', folder]) == 1
    assert 'cells.npy: sha256' in capsys.readouterr().out


def test_a_map_from_before_a_model_had_cells_goes_on_with_it(tmp_path: Path) -> None:
    """The card names the digest of the graph without cells, whose descriptors are the same."""
    plain = write_tiny_model(tmp_path / 'plain')
    place_map = write_map(tmp_path / 'map', unit_rows(COUNT, 16), straight_drive(COUNT))
    write_header(tmp_path / 'map', replace(place_map.header, model_sha256=plain.card.sha256))
    with_cells = write_tiny_model(tmp_path / 'cells', cells=True)
    with pytest.raises(MapError, match='made with model'):
        PlaceMap.open(tmp_path / 'map', model=with_cells)
    card = replace(with_cells.card, same_descriptors_as=(plain.card.sha256,))
    model = write_model(tmp_path / 'named', with_cells.graph.read_bytes(), card)
    assert model.card.same_descriptors_as == (plain.card.sha256,)
    opened = PlaceMap.open(tmp_path / 'map', model=model)
    assert len(opened) == COUNT and not opened.has_cells
