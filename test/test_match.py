"""Candidates whose cells match come first, alone and in the belief over a drive."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import cell_bits, straight_drive, unit_rows, write_map

from vpr_ros.core.localizing.belief import Belief
from vpr_ros.core.localizing.confidence import COMPARED, SHIPPED, UNRELATED, observe
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.kept_calibrations import as_dict
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.match import log_likelihood, match_order, rank_by
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.query import Prior, Query
from vpr_ros.core.mapping.background import WholeBackground
from vpr_ros.core.mapping.grid import place_grid
from vpr_ros.core.mapping.header import write_calibration
from vpr_ros.core.mapping.place_map import PlaceMap

COUNT, TRUE, LIKE = 40, 7, 30
SECOND = 10**9


@pytest.fixture
def place_map(tmp_path: Path) -> PlaceMap:
    """Places 10 m apart with cells of their own."""
    poses = straight_drive(COUNT, spacing_m=10.0)
    return write_map(tmp_path / 'map', unit_rows(COUNT, 16), poses, cells=cell_bits(COUNT))


def query(place_map: PlaceMap) -> Query:
    """Its descriptor is a little more like that of LIKE, its cells are those of TRUE."""
    both = place_map.descriptors_of(np.array([TRUE, LIKE]))
    mixed = both[0] + 1.2 * both[1]
    return Query(mixed / np.linalg.norm(mixed), SECOND, cells=place_map.cells(TRUE))


def localizer(place_map: PlaceMap, **settings: object) -> Localizer:
    return Localizer(None, place_map, LocalizerConfig(**settings))  # type: ignore[arg-type]


def test_the_place_whose_cells_match_is_first_and_the_most_similar_is_without_them(
    place_map: PlaceMap,
) -> None:
    found = localizer(place_map, belief=False).locate(query(place_map))
    assert found.candidates.place_index[0] == TRUE
    assert found.candidates.match is not None and found.candidates.match.argmax() == 0
    assert 'match' in found.latency_ms
    without = localizer(place_map, belief=False, match_cells=False).locate(query(place_map))
    assert without.candidates.place_index[0] == LIKE
    assert without.candidates.match is None and 'match' not in without.latency_ms


def test_a_query_without_cells_is_ranked_by_similarity(place_map: PlaceMap) -> None:
    found = localizer(place_map).locate(replace(query(place_map), cells=None))
    assert found.similar.place_index[0] == LIKE and found.similar.match is None


@pytest.mark.parametrize('belief', [False, True])
def test_a_single_place_inside_a_prior_is_not_matched(place_map: PlaceMap, belief: bool) -> None:
    here = Prior(place_map.base_poses()[TRUE, :3], radius_m=4.0)
    found = localizer(place_map, belief=belief).locate(replace(query(place_map), prior=here))
    assert found.similar.place_index.tolist() == [TRUE] and found.similar.match is None
    assert found.candidates.weight is not None and found.candidates.weight[0] > 0.5


def test_of_two_places_inside_a_prior_the_cells_tell_which(place_map: PlaceMap) -> None:
    both = place_map.descriptors_of(np.array([TRUE, TRUE + 1]))
    mixed = (both[0] + 1.2 * both[1]) / np.linalg.norm(both[0] + 1.2 * both[1])
    here = Prior(place_map.base_poses()[TRUE, :3] + [5, 0, 0], radius_m=6.0)
    asked = replace(query(place_map), descriptor=mixed, prior=here)
    found = localizer(place_map).locate(asked)
    assert found.similar.place_index.tolist() == [TRUE, TRUE + 1]
    without = localizer(place_map, match_cells=False).locate(asked)
    assert without.similar.place_index.tolist() == [TRUE + 1, TRUE]


def test_candidates_that_match_alike_are_weighed_by_similarity(tmp_path: Path) -> None:
    same = np.repeat(cell_bits(1), COUNT, axis=0)
    poses = straight_drive(COUNT, spacing_m=10.0)
    alike = write_map(tmp_path / 'alike', unit_rows(COUNT, 16), poses, cells=same)
    found = localizer(alike, belief=False).locate(query(alike))
    without = localizer(alike, belief=False, match_cells=False).locate(query(alike))
    assert found.candidates.match is not None and not found.candidates.match.any()
    np.testing.assert_array_equal(found.candidates.place_index, without.candidates.place_index)
    np.testing.assert_array_equal(found.candidates.weight, without.candidates.weight)


def test_the_belief_listens_to_matches(place_map: PlaceMap) -> None:
    found = localizer(place_map).locate(query(place_map))
    without = localizer(place_map, match_cells=False).locate(query(place_map))
    weight = dict(zip(found.candidates.place_index, found.candidates.weight, strict=True))
    before = dict(zip(without.candidates.place_index, without.candidates.weight, strict=True))
    assert weight[TRUE] / weight[LIKE] > 2 * before[TRUE] / before[LIKE]


def test_a_pose_along_a_drive_is_drawn_to_the_place_whose_cells_match_best(tmp_path: Path) -> None:
    """By odometry the robot is between places 20 and 21, which only their cells tell apart."""
    rows, bits = unit_rows(COUNT, 64), cell_bits(COUNT)
    rows[20], bits[20, :9] = rows[21], bits[21, :9]
    drive = localizer(
        write_map(tmp_path / 'near', rows, straight_drive(COUNT), cells=bits),
        max_false_fix_rate=0.1,
    )
    for second, place in enumerate(range(10, 20)):
        drive.locate(Query(rows[place], second * SECOND, cells=bits[place], travelled_m=1.0))
    found = drive.locate(Query(rows[21], 10 * SECOND, cells=bits[21], travelled_m=1.5))
    assert isinstance(found.outcome, Fix)
    assert found.outcome.pose[0] == pytest.approx(21, abs=0.1)  # by the belief alone 20.7


def test_on_a_drive_of_weak_matches_one_that_stands_out_little_counts_more(
    place_map: PlaceMap,
) -> None:
    write_calibration(place_map.folder, as_dict(replace(SHIPPED, usual=(0.8, 1.6))))
    cells = np.concatenate([place_map.cells(TRUE)[:1], cell_bits(1, seed=3)[0, 1:]])
    asked = replace(query(place_map), cells=cells)
    ratio = {}
    for light in ('day', 'night'):
        drive = localizer(PlaceMap.open(place_map.folder))
        assert drive._drive is not None
        if light == 'night':
            dim = observe(0.99, 0.6, 1.1, 0.2)
            dim[COMPARED] = 0.6, 0.8  # of right places, half as much as usual
            for _ in range(300):
                drive._drive._usual_of(asked).take(dim, is_fix=True, counts=1.0)
        located = drive.locate(asked)
        similar, found = located.similar, located.candidates
        assert similar.match is not None and found.weight is not None
        match = dict(zip(similar.place_index.tolist(), similar.match.tolist(), strict=True))
        assert match[LIKE] < np.median(similar.match) < match[TRUE]
        weight = dict(zip(found.place_index.tolist(), found.weight.tolist(), strict=True))
        ratio[light] = weight[TRUE] / weight[LIKE]
    assert ratio['night'] > 2 * ratio['day']


def test_an_image_that_looks_like_elsewhere_is_refused_for_that(place_map: PlaceMap) -> None:
    """The robot was carried from place 14 to place 30."""
    there = localizer(place_map)
    for second, place in enumerate([*range(5, 15), LIKE]):
        row, cells = place_map.descriptor(place), place_map.cells(place)
        outcome = there.locate(Query(row, second * SECOND, cells=cells)).outcome
    assert isinstance(outcome, NoFix) and outcome.reason is Reason.LOOKS_ELSEWHERE
    assert outcome.probability <= 0.5


def test_candidates_are_ordered_by_similarity_times_match() -> None:
    similarity = np.array([0.9, 0.8, -0.2], np.float32)
    match = np.array([0.1, 0.2, 0.3], np.float32)
    np.testing.assert_allclose(rank_by(similarity, match), [0.09, 0.16, 0.003], rtol=1e-5)
    bits = cell_bits(4)
    order, scores = match_order(np.ones(3, np.float32), bits[2], bits[1:], (3, 4))
    assert order[0] == 1 and scores.argmax() == 1


def test_a_match_counts_by_how_far_it_stands_out_and_never_against_a_place() -> None:
    match = np.array([0.0, 0.001, 0.001, 0.002, 0.004, 0.1], np.float32)
    found = log_likelihood(match)
    assert (np.diff(found) >= 0).all() and (found >= 0).all()
    assert (found[:3] == 0).all() and found[-1] == 3.0  # never more than so much
    # By dusk all matches are weaker, and tell the same.
    np.testing.assert_allclose(log_likelihood(match[1:] / 2), log_likelihood(match[1:]), rtol=1e-5)
    assert log_likelihood(np.zeros(1, np.float32)).tolist() == [0]


def test_what_unrelated_images_match_tells_nothing_however_far_it_stands_out() -> None:
    blurred = np.array([1e-5, 1e-5, 1e-5, UNRELATED], np.float32)
    assert (log_likelihood(blurred, more_than_usual=-1.0) == 0).all()


def test_a_match_that_stands_out_little_tells_more_where_right_places_match_less() -> None:
    match = np.array([0.001, 0.001, 0.002], np.float32)
    night, usual, day = (
        log_likelihood(match, more_than_usual=more)[-1] for more in (-0.8, 0.0, 1.5)
    )
    assert night > usual > day == 0.0
    assert night < usual + 0.8  # it is the same picture for all that


def test_what_is_told_of_a_place_multiplies_its_likelihood() -> None:
    grid = place_grid(np.arange(30)[:, None] * np.array([1.0, 0, 0]), np.arange(30) * SECOND)
    flat = WholeBackground(np.zeros(30, np.float32), np.ones(30, np.float32))
    row = np.random.default_rng(0).standard_normal(30).astype(np.float32)
    plain, told = Belief(grid, flat), Belief(grid, flat)
    plain.step(row, stamp_ns=0)
    told.step(row, stamp_ns=0, told=(np.array([12]), np.array([1.5], np.float32)))
    shares = told.cells / plain.cells
    assert shares[12] / shares[3] == pytest.approx(np.exp(1.5), rel=1e-3)
