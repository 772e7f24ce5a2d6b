"""Maps that earlier programs wrote are read, localized on, grown and joined as today's are.

The maps are bytes of those programs: see tools/make_golden_maps.py for what is in them.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.landmarks.points import no_landmarks
from vpr_ros.core.localizing.confidence import SHIPPED
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.kept_calibrations import calibration_of, model_calibration_of
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.index import CodedIndex
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.versions import FORMAT_VERSION
from vpr_ros.map_care.check import damages
from vpr_ros.map_care.edit import append, keep_places, merge

GOLDEN = Path(__file__).parent / 'golden_maps'
PLACES = {
    'first': 4,
    'geographic': 4,
    'appended': 5,
    'coded': 24,
    'sift_landmarks': 4,
    'calibrated': 4,
    'xfeat_landmarks': 4,
    'newest': 5,
    'cells': 5,
    'half': 5,
}


@pytest.fixture(params=PLACES)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a golden map under its name."""
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / request.param))


def add_a_drive(folder: Path) -> None:
    """Two places that show what the first two do, 100 m to the left."""
    place_map = PlaceMap.open(folder)
    poses = place_map.poses[:2].copy()
    poses[:, 1] += 100
    with append(folder, place_map.header, command='map append', source='again') as writer:
        for row, pose in enumerate(poses):
            writer.add(
                np.roll(place_map.descriptor(row), 5),
                pose,
                stamp_ns=row,
                name=f'again {row}.jpg',
                thumbnail=encode_jpeg(np.full((8, 8, 3), 200, np.uint8)),
                cells=place_map.cells(row),
            )


def test_every_golden_map_is_tested() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(PLACES)


def test_an_old_map_holds_what_was_written_into_it(golden: Path) -> None:
    place_map = PlaceMap.open(golden)
    count, size = PLACES[golden.name], place_map.header.descriptor_size
    assert damages(golden) == []
    assert len(place_map) == place_map.header.places == count
    np.testing.assert_array_equal(np.concatenate(place_map.blocks), np.eye(size)[:count])
    np.testing.assert_allclose(place_map.base_poses()[:, 0], 10 * np.arange(count), atol=1e-9)
    assert place_map.stamps_ns.tolist() == [n * 10**9 for n in range(count)]
    assert place_map.names == [f'{n}.jpg' for n in range(count)]
    for n in range(count):
        assert abs(int(place_map.thumbnail(n).mean()) - 20 - n) <= 1
    header = place_map.header
    assert (header.model_name, header.model_sha256) == ('golden', 'a' * 64)
    assert header.format_version == FORMAT_VERSION


def test_a_drive_is_localized_on_an_old_map(golden: Path) -> None:
    place_map = PlaceMap.open(golden)
    localizer = Localizer(None, place_map, LocalizerConfig())  # type: ignore[arg-type]
    size = place_map.header.descriptor_size
    for n in range(3):
        seen = np.eye(size, dtype=np.float32)[n] + np.float32(0.02)
        located = localizer.locate(Query(seen / np.linalg.norm(seen), n * 10**9))
        assert located.similar.place_index[0] == located.candidates.place_index[0] == n


def test_a_drive_is_appended_to_an_old_map(golden: Path) -> None:
    before = PlaceMap.open(golden)
    add_a_drive(golden)
    grown = PlaceMap.open(golden)
    count = len(before)
    assert len(grown) == count + 2 and damages(golden) == []
    np.testing.assert_array_equal(grown.poses[:count], before.poses)
    assert grown.names[-1] == 'again 1.jpg'
    assert len(grown.header.parts) == len(before.header.parts) + 1
    assert grown.header.drives[0] in ('golden', 'golden and 1 more')  # an old map does not say
    assert grown.header.drives == (*before.header.drives, 'again')
    assert [change.places for change in grown.header.changes][-1] == count + 2
    assert type(grown.index) is type(before.index)
    query = grown.descriptor(count + 1)
    assert grown.index.search(query[None], 1)[0][0, 0] == pytest.approx(1)


def test_an_old_map_is_merged_with_another(golden: Path, tmp_path: Path) -> None:
    longer = Path(shutil.copytree(golden, tmp_path / 'longer'))
    add_a_drive(longer)
    maps = [PlaceMap.open(golden), PlaceMap.open(longer)]
    notes = merge(maps, tmp_path / 'all')
    merged = PlaceMap.open(tmp_path / 'all')
    assert len(merged) == len(maps[1])
    assert len(notes) == len(maps[0].header.parts) and all('held already' in n for n in notes)
    np.testing.assert_array_equal(merged.poses, maps[1].poses)
    assert calibration_of(merged.header) == calibration_of(maps[0].header)


def test_places_of_an_old_map_are_left_out(golden: Path, tmp_path: Path) -> None:
    old = PlaceMap.open(golden)
    kept = np.arange(len(old)) != 1
    assert keep_places(old, kept, tmp_path / 'smaller')
    smaller = PlaceMap.open(tmp_path / 'smaller')
    np.testing.assert_array_equal(smaller.poses, old.poses[kept])
    assert smaller.header.parts == ['parts/0000']
    for new, place in enumerate(np.flatnonzero(kept).tolist()):
        before, after = old.landmarks(place), smaller.landmarks(new)
        if before is None:
            before = no_landmarks(old.landmark_descriptor_size or 0)
        assert after is None or np.array_equal(after.points_m, before.points_m)


def test_what_the_first_program_did_not_know_is_unknown() -> None:
    header = PlaceMap.open(GOLDEN / 'first').header
    text = (GOLDEN / 'first' / 'map.yaml').read_text()
    assert 'changes' not in text and 'calibration' not in text and 'field_of_view' not in text
    assert header.changes == () and header.field_of_view_deg is None
    assert calibration_of(header) is SHIPPED


def test_a_geographic_map_keeps_its_origin() -> None:
    header = read_header(GOLDEN / 'geographic')
    assert header.datum is not None and header.datum.utm_zone == 33
    assert header.datum.east_m == 500_000 and not header.has_heading
    assert header.field_of_view_deg == 90


def test_codes_of_an_old_map_are_searched_and_its_samples_checked() -> None:
    place_map = PlaceMap.open(GOLDEN / 'coded')
    assert isinstance(place_map.index, CodedIndex)
    assert ':' in (place_map.header.files or {})['parts/0000/descriptors.npy']
    assert place_map.index.search(place_map.descriptors_of(np.array([9])), 1)[1] == [[9]]


@pytest.mark.parametrize(
    ('name', 'size', 'first'),
    [('sift_landmarks', 128, 0), ('xfeat_landmarks', 64, 0), ('newest', 128, 3)],
)
def test_landmarks_of_an_old_map_are_those_that_were_written(
    name: str, size: int, first: int
) -> None:
    place_map = PlaceMap.open(GOLDEN / name)
    assert place_map.has_landmarks and place_map.features().descriptor_size == size
    assert first == 0 or place_map.landmarks(0) is None
    for n in range(first, len(place_map)):
        found = place_map.landmarks(n)
        assert found is not None and len(found) == n + 1
        np.testing.assert_allclose(found.points_m[n], [0.1 * n, 0.2, 5 + n], atol=1e-6)
        assert (found.sigma_m == 0.25).all() and (found.descriptors == 7 * n).all()


def test_cells_of_an_old_map_are_those_that_were_written(golden: Path, tmp_path: Path) -> None:
    place_map = PlaceMap.open(golden)
    if golden.name not in ('cells', 'half'):
        assert not place_map.has_cells and place_map.cells(0) is None
        return
    assert place_map.cells_size == (2, 3, 16)
    for n, found in enumerate(place_map.cells_of(np.arange(5))):
        np.testing.assert_array_equal(found, np.arange(n, n + 12).reshape(6, 2))
    add_a_drive(golden)
    grown = PlaceMap.open(golden)
    kept = np.arange(7) != 1
    assert keep_places(grown, kept, tmp_path / 'smaller')
    smaller = PlaceMap.open(tmp_path / 'smaller')
    assert smaller.cells_of(np.arange(6))[:, 0, 0].tolist() == [0, 2, 3, 4, 0, 1]


def test_half_precision_of_an_old_map_is_kept_by_what_is_added(golden: Path) -> None:
    is_half = golden.name == 'half'
    add_a_drive(golden)
    grown = PlaceMap.open(golden)
    assert grown.header.half_descriptors == is_half
    assert grown.half_places == (len(grown) if is_half else 0)


def test_calibrations_of_old_maps_are_used() -> None:
    own = calibration_of(read_header(GOLDEN / 'calibrated'))
    assert (own.bias, own.frames, own.radius_m) == (-20, 40, 5)
    header = read_header(GOLDEN / 'newest')
    assert calibration_of(header) == own and model_calibration_of(header).bias == -15
