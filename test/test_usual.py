"""How a right place looks depends on the light: images are compared with the drive's fixes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import cell_bits, straight_drive, unit_rows, write_map

from vpr_ros.core.localizing.confidence import COMPARED, OBSERVATIONS, SHIPPED, observe
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.judges import Verdict
from vpr_ros.core.localizing.kept_calibrations import as_dict, from_dict
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.localizing.usual import Usual
from vpr_ros.core.mapping.header import write_calibration
from vpr_ros.core.mapping.place_map import PlaceMap

SECOND = 10**9
BY_DAY = replace(SHIPPED, usual=(0.8, 1.6))
SIMILARITY, MATCH = COMPARED


def seen(similarity: float, match: float) -> np.ndarray:
    """Observations of an image; match: the logarithm that `observe` makes of it."""
    observed = observe(0.99, similarity, 1.1, 0.2, rival=1e-3)
    observed[MATCH] = match
    return observed


def driven(
    usual: Usual, *, similarity: float, match: float, images: int, is_fix: bool = True
) -> None:
    for _ in range(images):
        compared = usual.compared(seen(similarity, match))
        usual.take(compared, is_fix=is_fix, counts=1.0)


def test_what_light_changes_is_compared_and_nothing_else() -> None:
    assert [OBSERVATIONS[row] for row in COMPARED] == ['similarity', 'match']
    usual = Usual(BY_DAY)
    driven(usual, similarity=0.6, match=0.8, images=50)
    before, after = seen(0.6, 0.8), usual.compared(seen(0.6, 0.8))
    others = np.setdiff1d(np.arange(len(before)), COMPARED)
    assert after[others].tolist() == before[others].tolist()
    assert after[SIMILARITY] > before[SIMILARITY] and after[MATCH] > before[MATCH]
    assert usual.match_difference == before[MATCH] - after[MATCH]


def test_at_night_a_right_place_comes_to_look_as_right_places_do_by_day() -> None:
    usual = Usual(BY_DAY)
    first = usual.compared(seen(0.6, 0.8))
    assert first.tolist() == seen(0.6, 0.8).tolist()  # nothing is known yet
    driven(usual, similarity=0.6, match=0.8, images=300)
    night = usual.compared(seen(0.6, 0.8))
    assert night[COMPARED] == pytest.approx([0.8, 1.6], abs=0.1)


def test_a_place_that_matches_less_than_the_fixes_before_it_stands_back() -> None:
    bright = Usual(BY_DAY)
    driven(bright, similarity=0.9, match=3.4, images=100)
    leaves_map = seen(0.85, 2.0)  # as a right place of another day, and not of this one
    assert bright.compared(leaves_map)[MATCH] < 0.5 < leaves_map[MATCH]


def test_only_fixes_tell_and_what_they_told_is_forgotten() -> None:
    usual = Usual(BY_DAY)
    driven(usual, similarity=0.2, match=0.0, images=100, is_fix=False)
    assert usual.compared(seen(0.6, 0.8)).tolist() == seen(0.6, 0.8).tolist()
    driven(usual, similarity=0.6, match=0.8, images=100)
    learned = float(np.abs(usual.difference).max())
    driven(usual, similarity=0.2, match=0.0, images=600, is_fix=False)
    assert float(np.abs(usual.difference).max()) < learned / 10


def test_a_robot_that_stands_does_not_learn_one_image_by_heart() -> None:
    moving, standing = Usual(BY_DAY), Usual(BY_DAY)
    for usual in (moving, standing):
        driven(usual, similarity=0.7, match=1.2, images=50)
    for _ in range(1000):
        standing.take(standing.compared(seen(0.95, 3.5)), is_fix=True, counts=0.0)
    assert standing.difference.tolist() == moving.difference.tolist()


def test_a_calibration_without_a_usual_level_leaves_all_as_it_is() -> None:
    usual = Usual(SHIPPED)
    driven(usual, similarity=0.6, match=0.8, images=50)
    assert usual.compared(seen(0.6, 0.8)).tolist() == seen(0.6, 0.8).tolist()


def test_the_usual_level_is_kept_with_the_calibration() -> None:
    kept = as_dict(BY_DAY)
    assert kept['usual'] == {'similarity': 0.8, 'match': 1.6} and from_dict(kept) == BY_DAY
    del kept['usual']
    assert from_dict(kept).usual is None  # of a map from before


def walk(localizer: Localizer, start_s: int) -> list[np.ndarray]:
    """What is observed along places 5 to 24, each seen dimly and with a part of its cells."""
    random, found = np.random.default_rng(3), []
    for second, place in enumerate(range(5, 25)):
        row = localizer.place_map.descriptor(place) + 0.1 * random.standard_normal(64)
        cells = localizer.place_map.cells(place).copy()
        cells[8:] = random.integers(0, 256, cells[8:].shape)
        descriptor = (row / np.linalg.norm(row)).astype(np.float32)
        query = Query(descriptor, (start_s + second) * SECOND, cells=cells)
        located = localizer.locate(query)
        assert located.observed is not None and located.similar.match is not None
        found.append(located.observed)
    assert isinstance(located.outcome, Fix)
    return found


@pytest.fixture
def calibrated(tmp_path: Path) -> PlaceMap:
    """40 places ten metres apart, with cells, of a drive by day."""
    poses = straight_drive(40, spacing_m=10.0)
    write_map(tmp_path / 'map', unit_rows(40, 64), poses, cells=cell_bits(40))
    write_calibration(tmp_path / 'map', as_dict(BY_DAY))
    return PlaceMap.open(tmp_path / 'map')


def test_what_is_usual_is_learned_along_a_drive_and_forgotten_with_it(
    calibrated: PlaceMap,
) -> None:
    config = LocalizerConfig(max_false_fix_rate=0.1)
    localizer = Localizer(None, calibrated, config)  # type: ignore[arg-type]
    first = walk(localizer, 100)
    again = walk(localizer, 200)
    assert (np.abs(again[0] - first[0])[COMPARED] > 0.005).all()
    localizer.reset()
    np.testing.assert_array_equal(walk(localizer, 300), first)


def test_a_fix_at_another_place_than_the_drive_believes_tells_nothing(
    calibrated: PlaceMap,
) -> None:
    config = LocalizerConfig(max_false_fix_rate=0.1)
    localizer = Localizer(None, calibrated, config)  # type: ignore[arg-type]
    query, agreeing = Query(calibrated.descriptor(20), 0), np.array([20, 21])
    poses = calibrated.base_poses(agreeing)
    candidates = Candidates(agreeing, np.ones(2, np.float32), poses)
    unsure = NoFix(Reason.NOT_SURE)
    verdict = Verdict(candidates, unsure, agreeing, seen(0.3, 0.1), agreeing=agreeing, new=1.0)
    assert localizer._drive is not None
    for place, tells in ((3, False), (21, True)):
        for _ in range(20):
            localizer._drive.conclude(query, verdict, Fix(poses[0], np.eye(6), 0.9, place))
        told = localizer._drive._usual_of(query).difference
        assert (told < 0).all() == tells


def test_what_is_usual_goes_along_to_another_version_of_the_map(calibrated: PlaceMap) -> None:
    config = LocalizerConfig(max_false_fix_rate=0.1)
    stays, leaves, fresh = (
        Localizer(None, calibrated, config)  # type: ignore[arg-type]
        for _ in range(3)
    )
    for localizer in (stays, leaves):
        walk(localizer, 100)
    other = leaves.with_map(PlaceMap.open(calibrated.folder))
    assert other.continue_from(leaves, np.arange(40)) == pytest.approx(1)
    here, there, new = (walk(each, 200)[0][COMPARED] for each in (stays, other, fresh))
    np.testing.assert_allclose(there, here, rtol=1e-3)
    assert (np.abs(there - new) > 0.005).all()


def test_what_is_usual_begins_anew_on_a_map_with_another_usual_level(
    calibrated: PlaceMap, tmp_path: Path
) -> None:
    """What was learned is how far the drive is from the level of the old map."""
    folder = tmp_path / 'other'
    shutil.copytree(calibrated.folder, folder)
    write_calibration(folder, as_dict(replace(BY_DAY, usual=(0.6, 1.2))))
    config = LocalizerConfig(max_false_fix_rate=0.1)
    leaves = Localizer(None, calibrated, config)  # type: ignore[arg-type]
    walk(leaves, 100)
    other = leaves.with_map(PlaceMap.open(folder))
    other.continue_from(leaves, np.arange(40))
    assert other._drive is not None and leaves._drive is not None
    query = Query(calibrated.descriptor(20), 0)
    assert leaves._drive._usual_of(query).difference.any()
    assert not other._drive._usual_of(query).difference.any()


def test_images_without_cells_tell_nothing_of_what_is_usual(calibrated: PlaceMap) -> None:
    """Their match is none, which is no low one."""
    config = LocalizerConfig(max_false_fix_rate=0.1, match_cells=False)
    localizer = Localizer(None, calibrated, config)  # type: ignore[arg-type]
    for place in range(5, 25):
        query = Query(calibrated.descriptor(place), place * SECOND, cells=calibrated.cells(place))
        located = localizer.locate(query)
        assert located.similar.match is None
    assert isinstance(located.outcome, Fix) and localizer._drive is not None
    assert not localizer._drive._usual_of(query).difference.any()
