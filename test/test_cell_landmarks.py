"""Landmarks that a query sees by the cells of its image, in any light."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import CELLS, cell_bits, straight_drive, unit_rows, write_map

from vpr_ros.build_map import main as build_map_main
from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.landmarks.features import CellFeatures, Keypoints, shares_of_image
from vpr_ros.core.landmarks.points import PIXEL_SIGMA, Landmarks
from vpr_ros.core.localizing.confidence import observe
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.judges import Verdict
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.localizing.sightings import ByCells
from vpr_ros.core.localizing.verify import Verifier
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.matching.bits import packed
from vpr_ros.core.matching.subcell import seen_at
from vpr_ros.core.types import Frame
from vpr_ros.drives import open_drive
from vpr_ros.map import main as map_main
from vpr_ros.map_care.landmark_kind import NO_LANDMARKS, chosen_features

ROOT = Path(__file__).resolve().parents[1]
DRIVES = ROOT / 'demo' / 'drives'
GRID = (6, 8)
AT_DUSK = (20, 60, 110)  # frames that look at houses from 1.4 m beside the mapped lane


def cells(seed: int = 0) -> np.ndarray:
    return packed(np.random.default_rng(seed).standard_normal((*GRID, 64)))


def moved(bits: np.ndarray, down: int, right: int) -> np.ndarray:
    """The same scene shifted by whole cells; what comes in is new."""
    rows, columns = GRID
    before, after = bits.reshape(rows, columns, -1), cells(99).reshape(rows, columns, -1).copy()
    after[down:, right:] = before[: rows - down, : columns - right]
    return after.reshape(rows * columns, -1)


def test_cells_are_seen_where_the_scene_moved_to() -> None:
    place = cells()
    at, cell, mutual = seen_at(place, moved(place, 1, 2), GRID)
    row, column = np.divmod(np.arange(len(place)), GRID[1])
    inside = (row >= 1) & (row < GRID[0] - 2) & (column >= 1) & (column < GRID[1] - 3)
    assert mutual[inside].all()
    np.testing.assert_array_equal(cell[inside], ((row + 1) * GRID[1] + column + 2)[inside])
    np.testing.assert_allclose(at[inside], np.stack([column + 2, row + 1], 1)[inside], atol=0.35)


def test_a_scene_that_moved_by_part_of_a_cell_is_seen_between_cells() -> None:
    random = np.random.default_rng(1)
    fine = random.standard_normal((GRID[0], 4 * GRID[1] + 8, 64))
    wide = np.stack(
        [fine[:, start : start + 8].mean(axis=1) for start in range(fine.shape[1] - 8)], 1
    )
    at, _, mutual = seen_at(packed(wide[:, 1:33:4]), packed(wide[:, 0:32:4]), GRID)
    column = np.tile(np.arange(GRID[1]), GRID[0])
    inside = mutual & (column > 0) & (column < GRID[1] - 1)
    assert 0.1 < np.median((at[:, 0] - column)[inside]) < 0.4


def test_a_place_is_seen_by_itself_where_it_is() -> None:
    place = cells()
    at, cell, mutual = seen_at(place, place, GRID)
    assert mutual.all()
    np.testing.assert_array_equal(cell, np.arange(len(place)))
    assert np.abs(at - np.stack(np.divmod(cell, GRID[1])[::-1], 1)).max() <= 0.5


def naively_averaged(place: np.ndarray, query: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Mean Hamming distances [n, n] over both cells' surroundings, their own counting four."""
    apart = np.array([[np.unpackbits(one ^ other).sum() for other in query] for one in place])
    rows, columns = grid
    pairs = apart.reshape(rows, columns, rows, columns)
    found = np.zeros(pairs.shape)
    for pair in np.ndindex(pairs.shape):
        total = weights = 0
        for down, right in np.ndindex(3, 3):
            moved = np.array(pair) + [down - 1, right - 1] * 2
            if (moved >= 0).all() and (moved < pairs.shape).all():
                weight = 4 if (down, right) == (1, 1) else 1
                total, weights = total + weight * pairs[tuple(moved)], weights + weight
        found[pair] = total / weights
    return found.reshape(apart.shape)


def naive_minimum(profile: np.ndarray, lowest: int) -> float:
    """Where two lines of one slope meet, at most half a cell from the lowest of some values."""
    if lowest in (0, len(profile) - 1):
        return lowest
    before, at, after = profile[lowest - 1 : lowest + 2]
    slope = max(before, after) - at
    return lowest + (np.clip((before - after) / (2 * slope), -0.5, 0.5) if slope > 0 else 0)


@pytest.mark.parametrize('grid', [(5, 4), (3, 7)])
def test_where_cells_are_seen_equals_a_loop_over_pairs_of_cells(grid: tuple[int, int]) -> None:
    random = np.random.default_rng(grid[0])
    numbers = random.standard_normal((*grid, 64))
    noisy = np.roll(numbers, (1, -1), axis=(0, 1)) + 0.8 * random.standard_normal((*grid, 64))
    place, query = packed(numbers), packed(noisy)
    at, cell, mutual = seen_at(place, query, grid)
    apart = naively_averaged(place, query, grid)
    np.testing.assert_array_equal(cell, apart.argmin(axis=1))
    nearest = apart.argmin(axis=0)
    assert mutual.tolist() == [nearest[other] == row for row, other in enumerate(cell)]
    assert mutual.sum() > 5
    for row, other in enumerate(cell):
        down, right = divmod(int(other), grid[1])
        around = apart[row].reshape(grid)
        expected = naive_minimum(around[down], right), naive_minimum(around[:, right], down)
        np.testing.assert_allclose(at[row], expected, atol=1e-3)


def test_a_map_keeps_where_a_point_is_seen_to_a_hundredth_of_a_pixel() -> None:
    points = np.array([[0.0, 0.0], [319.0, 239.0], [12.3, 77.7]], np.float32)
    found = Keypoints(points, np.zeros((3, 128), np.uint8))
    kept = CellFeatures().kept(found, (240, 320))
    assert kept.shape == (3, CellFeatures.descriptor_size)
    np.testing.assert_allclose(shares_of_image(kept) * [320, 240] - 0.5, points, atol=0.01)


def test_a_map_keeps_where_a_point_is_seen_as_two_whole_numbers_of_two_bytes() -> None:
    """Of the width, then of the height; a feature beyond the image is at its edge."""
    points = np.array([[-0.5, 9.5], [39.5, -7.0], [19.5, 4.5]], np.float32)
    kept = CellFeatures().kept(Keypoints(points, np.zeros((3, 128), np.uint8)), (10, 40))
    expected = np.array([[0, 65535], [65535, 0], [32768, 32768]], '<u2')
    np.testing.assert_array_equal(kept, expected.view(np.uint8).reshape(3, 4))


def test_a_landmark_is_sighted_as_far_from_the_middle_of_its_cell_as_the_map_saw_it(
    tmp_path: Path,
) -> None:
    rows, columns, _ = CELLS
    place_map = write_map(
        tmp_path / 'map', unit_rows(2, 16), straight_drive(2), cells=cell_bits(2)
    )
    camera = Camera(320, 240, (200.0, 0, 160.0, 0, 210.0, 120.0, 0, 0, 1.0), 'plumb_bob', ())
    pixels = np.random.default_rng(2).uniform(-0.5, [319.5, 239.5], (40, 2))
    pixels[:2] = [[0, 0], [319, 239]]
    found = Keypoints(pixels.astype(np.float32), np.zeros((40, 128), np.uint8))
    kept = CellFeatures().kept(found, (240, 320))
    landmarks = Landmarks(np.ones((40, 3), np.float32), np.ones(40, np.float32), kept)
    query = place_map.cells(1).copy()
    query[[0, 3, 7]] = cell_bits(1, seed=5)[0, :3]
    sighter = ByCells(place_map, query, camera)
    sightings = sighter.sightings(1, landmarks)

    at, query_cell, mutual = seen_at(place_map.cells(1), query, (rows, columns))
    cell_px = np.array([320 / columns, 240 / rows])
    column, row = ((pixels + 0.5) // cell_px).astype(int).T
    cell = row * columns + column
    assert sightings.landmark.tolist() == np.flatnonzero(mutual[cell]).tolist()
    assert 10 < len(sightings.landmark) < 40
    moved = at[cell] - np.stack([column, row], axis=1)
    rays = (pixels + moved * cell_px - [160, 120]) / [200, 210]
    np.testing.assert_allclose(sightings.rays, rays[sightings.landmark], atol=1e-4)
    assert sightings.keypoint.tolist() == query_cell[cell][sightings.landmark].tolist()
    sigma = 0.3 * np.mean(cell_px / [200, 210])  # of a ray, of three tenths of a cell
    assert sighter.focal_px == pytest.approx(PIXEL_SIGMA / sigma)


def test_a_landmark_at_the_very_edge_of_the_image_is_sighted_in_the_last_cell(
    tmp_path: Path,
) -> None:
    place_map = write_map(
        tmp_path / 'map', unit_rows(1, 16), straight_drive(1), cells=cell_bits(1)
    )
    camera = Camera(320, 240, (200.0, 0, 160.0, 0, 210.0, 120.0, 0, 0, 1.0), 'plumb_bob', ())
    found = Keypoints(np.array([[320, 240], [-1, -1]], np.float32), np.zeros((2, 128), np.uint8))
    landmarks = Landmarks(
        np.ones((2, 3), np.float32),
        np.ones(2, np.float32),
        CellFeatures().kept(found, (240, 320)),
    )
    sightings = ByCells(place_map, place_map.cells(0), camera).sightings(0, landmarks)
    rows, columns, _ = CELLS
    assert sightings.keypoint.tolist() == [rows * columns - 1, 0]
    edges = (np.array([[319.5, 239.5], [-0.5, -0.5]]) - [160, 120]) / [200, 210]
    np.testing.assert_allclose(sightings.rays, edges, atol=1e-3)


@pytest.fixture(scope='module')
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's day, as build_map maps it by default, at fewer places."""
    folder = tmp_path_factory.mktemp('day') / 'map'
    words = ['--bag', str(DRIVES / 'day'), '--output', str(folder), '--every', '3m']
    assert build_map_main([*words, '--precision', 'fp32']) == 0
    return folder


@pytest.fixture(scope='module')
def at_dusk() -> tuple[OnnxDescriber, list[tuple[Frame, np.ndarray]]]:
    """Some images of the demo's dusk, and where the robot was."""
    drive = open_drive(DRIVES / 'dusk')
    frames = list(drive.frames())
    assert drive.trajectory is not None
    stamps_ns = np.array([frame.stamp_ns for frame in frames])
    bases = compose(drive.trajectory.at(stamps_ns)[0], invert(drive.base_T_camera))
    model = Model.open(default_model(), precision='fp32')
    chosen = [(Frame(frames[row].load(), int(stamps_ns[row])), bases[row]) for row in AT_DUSK]
    return OnnxDescriber(model), chosen


def test_a_calibrated_drive_gets_landmarks_by_cells_unless_they_are_refused(
    day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place_map = PlaceMap.open(day)
    assert place_map.header.landmark_features == 'cells'
    assert np.mean([len(place_map.landmarks(row)) for row in range(len(place_map))]) > 50
    words = ['--bag', str(DRIVES / 'day'), '--output', str(tmp_path / 'map'), '--every', '60m']
    assert build_map_main([*words, '--landmarks', NO_LANDMARKS]) == 0
    assert not PlaceMap.open(tmp_path / 'map').has_landmarks
    lite0 = str(ROOT / 'models' / 'lite0')
    assert build_map_main([*words, '--model', lite0, '--landmarks', 'cells']) != 0
    assert 'the map has no cells' in capsys.readouterr().err


def test_an_appended_drive_gets_the_landmarks_of_its_map(day: Path, tmp_path: Path) -> None:
    for name, words in (('with', []), ('without', ['--landmarks', NO_LANDMARKS])):
        shutil.copytree(day, tmp_path / name)
        said = [str(tmp_path / name), '--bag', str(DRIVES / 'dusk'), '--every', '60m', *words]
        assert map_main(['append', *said]) == 0
    grown, bare = (PlaceMap.open(tmp_path / name) for name in ('with', 'without'))
    assert grown.landmarks(len(grown) - 1) is not None
    assert bare.landmarks(len(bare) - 1) is None


def test_cells_place_the_robot_at_dusk_where_the_places_do_not(
    day: Path, at_dusk: tuple[OnnxDescriber, list[tuple[Frame, np.ndarray]]]
) -> None:
    describer, frames = at_dusk
    place_map = PlaceMap.open(day)
    localizer = Localizer(describer, place_map, LocalizerConfig(belief=False))
    verifier = Verifier(place_map)
    bases = place_map.base_poses()[:, :3]
    by_cells_m, by_place_m = [], []
    for frame, base in frames:
        query = localizer.describe(frame)
        apart_m = np.linalg.norm(bases - base[:3], axis=1)
        near = np.argsort(apart_m)[:2]
        candidates = Candidates(near, np.ones(2, np.float32), place_map.base_poses(near))
        verdict = Verdict(candidates, NoFix(Reason.NOT_SURE), near)
        placed = verifier.place(query, verdict, localizer.rig, localizer.config)
        assert placed is not None
        by_cells_m.append(np.linalg.norm(placed.fix.pose[:3] - base[:3]))
        by_place_m.append(apart_m.min())
    assert np.median(by_cells_m) < 0.75 < 1.3 < np.median(by_place_m)


def cropped(frame: Frame, camera: Camera, share: float) -> tuple[Frame, Camera]:
    """The middle of an image, and the camera that takes such images."""
    height, width = frame.image.shape[:2]
    rows, columns = round(height * share), round(width * share)
    top, left = (height - rows) // 2, (width - columns) // 2
    image = np.ascontiguousarray(frame.image[top : top + rows, left : left + columns])
    fx, skew, cx, _, fy, cy, *_ = camera.scaled_to(width, height).matrix
    matrix = (fx, skew, cx - left, 0.0, fy, cy - top, 0.0, 0.0, 1.0)
    return replace(frame, image=image), Camera(columns, rows, matrix)


def test_cells_place_a_robot_with_another_lens(
    day: Path, at_dusk: tuple[OnnxDescriber, list[tuple[Frame, np.ndarray]]]
) -> None:
    describer, frames = at_dusk
    place_map = PlaceMap.open(day)
    mapping = place_map.header.camera
    assert mapping is not None
    localizer = Localizer(describer, place_map, LocalizerConfig(belief=False))
    verifier, bases = Verifier(place_map), place_map.base_poses()
    apart_m = []
    for frame, base in frames:
        narrow, own = cropped(frame, mapping, 0.8)
        localizer.rig.cameras = [MountedCamera(calibration=own)]
        query = localizer.describe(narrow)
        assert query.seen_by is not None
        near = np.argsort(np.linalg.norm(bases[:, :3] - base[:3], axis=1))[:2]
        candidates = Candidates(near, np.ones(2, np.float32), bases[near])
        verdict = Verdict(candidates, NoFix(Reason.NOT_SURE), near)
        placed = verifier.place(query, verdict, localizer.rig, localizer.config)
        assert placed is not None
        apart_m.append(np.linalg.norm(placed.fix.pose[:3] - base[:3]))
    assert np.median(apart_m) < 1


def verdict_for(places: np.ndarray, bases: np.ndarray) -> Verdict:
    """A fix of probability 0.9 at the first of two places [2]; bases: [N, 7]."""
    candidates = Candidates(places, np.ones(2, np.float32), bases[places])
    likeliest = Fix(bases[places[0]], np.eye(6), 0.9, int(places[0]))
    observed = observe(0.9, 0.8, 1.1, 0.2, rival=0.01)
    return Verdict(candidates, likeliest, places, observed, likeliest, least=0.97, agreeing=places)


def test_cells_speak_for_the_true_place_and_against_another(
    day: Path, at_dusk: tuple[OnnxDescriber, list[tuple[Frame, np.ndarray]]]
) -> None:
    describer, frames = at_dusk
    place_map = PlaceMap.open(day)
    localizer = Localizer(describer, place_map, LocalizerConfig(belief=False))
    verifier, bases = Verifier(place_map), place_map.base_poses()
    for frame, base in frames:
        query = localizer.describe(frame)
        apart_m = np.linalg.norm(bases[:, :3] - base[:3], axis=1)
        order = np.argsort(apart_m)
        said = []
        for places in (order[:2], order[-2:]):
            verdict = verdict_for(places, bases)
            said.append(verifier.supported(query, verdict, localizer.rig, localizer.config))
        (here, for_it, seen), (there, against, _) = said
        assert for_it > 0 > against
        assert seen is not None and seen.place_index in order[:2] and seen.seen.sum() > 3
        assert len(seen.seen) == len(place_map.landmarks(seen.place_index) or ())
        assert isinstance(there, NoFix) and there.reason is Reason.DOES_NOT_FIT
        if isinstance(here, Fix):
            assert here.probability > 0.9 and here.inliers > 0


@pytest.mark.parametrize(('away_m', 'turned_deg'), [(0.0, 0.0), (20.0, 0.0), (0.0, 90.0)])
def test_cells_give_the_pose_of_an_answer_at_their_place_and_of_no_other(
    day: Path,
    at_dusk: tuple[OnnxDescriber, list[tuple[Frame, np.ndarray]]],
    away_m: float,
    turned_deg: float,
) -> None:
    describer, frames = at_dusk
    place_map = PlaceMap.open(day)
    localizer = Localizer(describer, place_map, LocalizerConfig(belief=False))
    bases = place_map.base_poses()
    frame, base = frames[0]
    near = np.argsort(np.linalg.norm(bases[:, :3] - base[:3], axis=1))[:2]
    half_rad = np.radians(turned_deg) / 2
    turn = np.array([0, 0, 0, 0, 0, np.sin(half_rad), np.cos(half_rad)])
    pose = compose(bases[near[0]], turn)
    pose[0] += away_m
    answer = Fix(pose, np.eye(6), 0.9, int(near[0]))
    verdict = replace(verdict_for(near, bases), outcome=answer, likeliest=answer, least=0.5)
    outcome, nats, _ = Verifier(place_map).supported(
        localizer.describe(frame), verdict, localizer.rig, localizer.config
    )
    assert isinstance(outcome, Fix)
    assert outcome.probability == verdict.with_evidence(nats).probability != 0.9
    if away_m or turned_deg:
        assert outcome.pose is pose and outcome.inliers == 0
    else:
        by_cells_m, by_place_m = (np.linalg.norm(it[:3] - base[:3]) for it in (outcome.pose, pose))
        assert outcome.inliers > 0 and by_cells_m < by_place_m


def test_the_cells_of_as_many_places_are_matched_as_the_setting_says(
    day: Path, at_dusk: tuple[OnnxDescriber, list[tuple[Frame, np.ndarray]]]
) -> None:
    describer, frames = at_dusk
    place_map = PlaceMap.open(day)
    localizer = Localizer(describer, place_map, LocalizerConfig(belief=False))
    verifier, bases = Verifier(place_map), place_map.base_poses()
    frame, base = frames[0]
    order = np.argsort(np.linalg.norm(bases[:, :3] - base[:3], axis=1))
    places = np.array([order[-1], order[0]])  # the wrong place first
    verdict = verdict_for(places, bases)
    seen_of = {}
    for most in (1, 2, 5):
        config = LocalizerConfig(verified_places=most)
        query = localizer.describe(frame)
        _, _, seen_of[most] = verifier.supported(query, verdict, localizer.rig, config)
    assert seen_of[1] is None or seen_of[1].place_index == order[-1]
    assert seen_of[2] is not None and seen_of[2].place_index == order[0]
    assert seen_of[5] is not None and seen_of[5].place_index == order[0]


def test_cells_make_no_fix_of_their_own(
    day: Path, at_dusk: tuple[OnnxDescriber, list[tuple[Frame, np.ndarray]]]
) -> None:
    describer, frames = at_dusk
    localizer = Localizer(describer, PlaceMap.open(day))
    outcome = localizer.step(frames[0][0]).outcome
    assert isinstance(outcome, NoFix)  # a drive's first image is not enough


def test_landmarks_by_cells_want_no_larger_image(day: Path) -> None:
    model = Model.open(default_model(), precision='fp32')
    localizer = Localizer(OnnxDescriber(model), PlaceMap.open(day))
    assert localizer.needed_hw == model.card.image_size


def test_landmarks_by_cells_need_a_map_with_cells() -> None:
    with pytest.raises(ConfigError, match='no cells'):
        chosen_features('cells', open_drive(DRIVES / 'day'), None)
