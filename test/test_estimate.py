"""A pose where the candidates agree, silence where not, and a covariance that means something."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.geometry import FORWARD_CAMERA, compose, quat_multiply, yaw_of, yaw_quat
from vpr_ros.core.localizing.confidence import observe
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.estimate import (
    agreement,
    drawn_to_matches,
    estimate,
    fix_at,
    observe_mode,
    strongest_mode,
    weighed,
)
from vpr_ros.core.localizing.judges import Alone
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.query import Prior, Query
from vpr_ros.core.localizing.retrieve import Candidates, Sought, retrieve
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses

CONFIG = LocalizerConfig(agreement_radius=5.0, min_similarity=0.5, min_agreement=0.6)


@pytest.fixture(scope='module')
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    """100 places a metre apart along x."""
    return write_map(
        tmp_path_factory.mktemp('estimate') / 'map', unit_rows(100, 16), straight_drive(100)
    )


def judged(
    place_map: PlaceMap,
    rows: list[int],
    similarity: list[float],
    *,
    base_T_camera: Poses | None = None,
) -> Fix | NoFix:
    """What places of a map that are so similar to one image amount to."""
    poses = place_map.base_poses(np.array(rows), base_T_camera=base_T_camera)
    found = Candidates(np.array(rows), np.array(similarity, dtype=np.float32), poses)
    return estimate(weighed(found, CONFIG), CONFIG, has_heading=place_map.header.has_heading)


def fix_of(place_map: PlaceMap, rows: list[int], similarity: list[float]) -> Fix:
    outcome = judged(place_map, rows, similarity)
    assert isinstance(outcome, Fix)
    return outcome


def test_agreeing_candidates_give_their_weighted_mean(place_map: PlaceMap) -> None:
    fix = fix_of(place_map, [50, 51, 49], [0.9, 0.89, 0.89])
    np.testing.assert_allclose(fix.pose[:3], [50, 0, 0], atol=0.01)
    assert fix.place_index == 50


def test_a_lone_far_candidate_does_not_drag_the_pose(place_map: PlaceMap) -> None:
    with_outlier = fix_of(place_map, [50, 51, 49, 90], [0.9, 0.89, 0.89, 0.88])
    np.testing.assert_allclose(with_outlier.pose[0], 50, atol=0.01)


def test_look_alikes_far_apart_give_no_fix(place_map: PlaceMap) -> None:
    outcome = judged(place_map, [10, 90], [0.9, 0.895])
    assert isinstance(outcome, NoFix) and outcome.reason is Reason.CANDIDATES_DISAGREE
    better = 1 / (1 + np.exp(-0.005 / CONFIG.similarity_scale))
    assert outcome.probability == pytest.approx(better, rel=1e-4)  # of the one that was refused


@pytest.mark.parametrize('scale', [0.001, 0.02, 1.0])
def test_a_weight_falls_to_one_in_e_with_each_scale_of_similarity(scale: float) -> None:
    similarity = [0.95, 0.95 - scale, 0.95 - 2 * scale]
    found = along_x([0.0, 1.0, 2.0], similarity, weight=[0.0] * 3, match=[0.0] * 3)
    for each in (found, replace(found, match=None)):
        weight = weighed(each, replace(CONFIG, similarity_scale=scale)).weight
        assert weight is not None and weight.sum() == pytest.approx(1)
        np.testing.assert_allclose(weight / weight[0], np.exp([0, -1, -2]), rtol=1e-3)


def test_where_cells_match_a_weight_is_a_power_of_similarity_and_match() -> None:
    found = along_x([0.0, 1.0], [0.8, 0.6], weight=[0.0] * 2, match=[0.04, 0.03])
    weight = weighed(found, replace(CONFIG, match_power=3.0)).weight
    assert weight is not None and weight.sum() == pytest.approx(1)
    assert weight[1] / weight[0] == pytest.approx((0.6 * 0.03 / (0.8 * 0.04)) ** 3, rel=1e-4)


def test_the_thresholds_of_one_image_are_the_least_that_is_enough() -> None:
    """Two places have half of the weight each, and a similarity of 0.5."""
    apart = along_x([0.0, 50.0], [0.5, 0.5], weight=[0.5, 0.5], match=[0.0] * 2)
    for least, enough in ((0.5, True), (0.51, False)):
        for name in ('min_similarity', 'min_agreement'):
            config = replace(CONFIG, min_similarity=-1.0, min_agreement=0.0)
            outcome = estimate(apart, replace(config, **{name: least}), has_heading=True)
            assert isinstance(outcome, Fix) == enough


def test_candidates_up_to_the_radius_and_the_angle_agree() -> None:
    poses = np.zeros((4, 7))
    poses[:, 0] = [0.0, 5.0, 5.001, 0.0]
    poses[:, 3:] = yaw_quat(np.radians([0.0, 59.9, 0.0, 60.1]))
    poses[1, 3:] *= -1  # the same rotation
    agree = agreement(poses[:1], poses, CONFIG, has_heading=True)
    assert agree.tolist() == [[True, True, False, False]]
    assert agreement(poses[:1], poses, CONFIG, has_heading=False)[0].tolist() == [
        True,
        True,
        False,
        True,
    ]


def test_a_rival_is_a_group_of_its_own() -> None:
    """Of 0.4 at 0 m, 0.3 at 4 m and 0.3 at 8 m, the mode is around 4 m, and no group is left.

    Around 50 m there are two more: what the mode has is not theirs.
    """
    near = along_x([4.0, 0.0, 8.0], [0.9] * 3, weight=[0.3, 0.4, 0.3], match=[0.0] * 3)
    mode = strongest_mode(near, CONFIG, has_heading=True)
    assert (mode.weight, mode.rival) == (pytest.approx(1), 0)
    x_m = [4.0, 0.0, 8.0, 50.0, 53.0, 12.9]
    more = along_x(x_m, [0.9] * 6, weight=[0.2, 0.3, 0.1, 0.1, 0.1, 0.15], match=[0.0] * 6)
    mode = strongest_mode(more, CONFIG, has_heading=True)
    assert mode.agreeing.tolist() == [True] * 3 + [False] * 3
    assert (mode.weight, mode.rival) == (pytest.approx(0.6), pytest.approx(0.2))


def test_one_candidate_at_the_edge_of_the_mode_hardly_moves_the_pose() -> None:
    """The plain mean would be 1.1 m off; places this similar are half a metre wide."""
    found = along_x([0.0, 0.0, 0.0, 4.5], [0.98] * 4, weight=[0.25] * 4, match=[0.0] * 4)
    mode = strongest_mode(found, CONFIG, has_heading=True)
    assert mode.agreeing.all()
    assert 0 < fix_at(found, mode, 0.9, CONFIG, has_heading=True).pose[0] < 0.1


@pytest.mark.parametrize(
    ('rank', 'away_m', 'contradicted'), [(2, 4.9, False), (2, 5.1, True), (3, 4.9, True)]
)
def test_an_answer_that_is_not_among_the_three_best_matches_is_contradicted(
    rank: int, away_m: float, contradicted: bool
) -> None:
    """The belief has a similar place at 50 m, too, of less weight."""
    believed = along_x([90.0, 0.0], [0.95, 0.8], weight=[0.2, 0.7], match=[0.0] * 2)
    mode = strongest_mode(believed, CONFIG, has_heading=True)
    x_m = [50.0] * 5
    x_m[rank] = away_m
    image = along_x(x_m, [0.9] * 5, weight=[0.0] * 5, match=[0.04, 0.03, 0.03, 0.02, 0.01])
    observed = observe_mode(believed, image, mode, CONFIG)
    assert observed[1] == pytest.approx(0.8)  # of the answer, not of the other place
    assert (observed[-1] <= 0) == contradicted
    without = observe_mode(believed, replace(image, match=None), mode, CONFIG)
    assert without[-1] > 0  # similarity alone contradicts nothing


def test_a_crowd_of_agreeing_candidates_outvotes_the_single_best(place_map: PlaceMap) -> None:
    fix = fix_of(place_map, [10, 60, 61, 62, 59], [0.9, 0.895, 0.894, 0.893, 0.89])
    assert 58 < fix.pose[0] < 63
    assert fix.place_index == 60  # the most similar one of the crowd


def test_nothing_similar_gives_no_fix(place_map: PlaceMap) -> None:
    outcome = judged(place_map, [10], [0.2])
    assert isinstance(outcome, NoFix) and outcome.reason is Reason.NOTHING_SIMILAR


def test_a_position_is_drawn_to_the_place_whose_cells_match(place_map: PlaceMap) -> None:
    rows = np.array([50, 51, 52])
    believed = Candidates(
        rows, np.full(3, 0.9, np.float32), place_map.base_poses(rows), np.full(3, 0.3, np.float32)
    )
    matches = np.array([0.01, 0.0001], np.float32)
    similar = replace(
        believed, place_index=np.array([52, 90]), similarity=np.ones(2, np.float32), match=matches
    )
    drawn = drawn_to_matches(believed, similar)
    assert drawn.weight is not None and drawn.weight[2] == drawn.weight.max()
    assert drawn_to_matches(believed, replace(similar, match=None)) is believed
    modes = [strongest_mode(each, CONFIG, has_heading=True) for each in (believed, drawn)]
    before, after = (
        fix_at(each, mode, 0.99, CONFIG, has_heading=True).pose[0]
        for each, mode in zip((believed, drawn), modes, strict=True)
    )
    assert before == pytest.approx(51, abs=0.01) and after > 51.5


def along_x(
    x_m: list[float], similarity: list[float], *, weight: list[float], match: list[float]
) -> Candidates:
    poses = straight_drive(len(x_m))
    poses[:, :3] = np.column_stack([x_m, np.zeros((len(x_m), 2))])
    columns = [np.array(values, np.float32) for values in (similarity, weight, match)]
    return Candidates(np.arange(len(x_m)), columns[0], poses, columns[1], match=columns[2])


@pytest.mark.parametrize(
    ('near_m', 'other', 'match', 'contradicted'),
    [([0.0, 3.0], 0.8, 0.02, False), ([20.0, 30.0], 0.9, 0.0, True)],
)
def test_the_mode_of_a_belief_is_observed_against_what_the_image_alone_tells(
    near_m: list[float], other: float, match: float, contradicted: bool
) -> None:
    """Weights 0.5 at 0 m, 0.3 at 2 m and 0.2 at 12 m: their mean is 3 m, their variance 21 m2."""
    believed = along_x(
        [0.0, 2.0, 12.0], [0.88, 0.9, 0.7], weight=[0.5, 0.3, 0.2], match=[0.0, 0.0, 0.0]
    )
    image = along_x(
        [*near_m, 12.0], [0.9, 0.85, 0.8], weight=[0.0, 0.0, 0.0], match=[0.02, 0.01, 0.004]
    )
    mode = strongest_mode(believed, CONFIG, has_heading=True)
    expected = observe(
        0.8,
        0.9,
        (1 - other) / (1 - 0.9),
        np.sqrt(21) / CONFIG.agreement_radius,
        match=match,
        other_match=0.02 if contradicted else 0.004,
        rival=0.2,
        contradicted=contradicted,
    )
    np.testing.assert_allclose(observe_mode(believed, image, mode, CONFIG), expected, rtol=1e-5)


def test_where_all_that_looks_alike_lies_in_the_mode_the_least_similar_is_the_next_place() -> None:
    few = {'weight': [0.5, 0.4], 'match': [0.0, 0.0]}
    believed = along_x([0.0, 2.0], [0.9, 0.8], **few)
    mode = strongest_mode(believed, CONFIG, has_heading=True)
    ratio = observe_mode(believed, believed, mode, CONFIG)[2]
    assert ratio == pytest.approx((1 - 0.8) / (1 - 0.9), rel=1e-5)


def test_opposite_headings_at_one_spot_disagree(tmp_path: Path) -> None:
    poses = np.concatenate([straight_drive(1), straight_drive(1, yaw_rad=np.pi)])
    both_ways = write_map(tmp_path / 'map', unit_rows(2, 16), poses)
    assert isinstance(judged(both_ways, [0, 1], [0.9, 0.9]), NoFix)


def test_the_covariance_is_symmetric_and_positive_even_for_one_candidate(
    place_map: PlaceMap,
) -> None:
    covariance = fix_of(place_map, [50], [0.9]).covariance
    np.testing.assert_allclose(covariance, covariance.T)
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_the_covariance_grows_with_spread_and_shrinks_with_similarity_and_number(
    place_map: PlaceMap,
) -> None:
    def sigma(rows: list[int], similarity: list[float]) -> float:
        return float(np.sqrt(fix_of(place_map, rows, similarity).covariance[0, 0]))

    near, wide = sigma([50, 51, 49], [0.9] * 3), sigma([50, 53, 47], [0.9] * 3)
    assert near < wide
    assert sigma([50, 51, 49], [0.98] * 3) < near < sigma([50, 51, 49], [0.6] * 3)
    assert sigma([50, 50, 50], [0.9] * 3) < sigma([50], [0.9])


def test_the_covariance_holds_the_spread_of_the_places_along_the_axes_of_the_map() -> None:
    """Two places lie 1 m apart along y, and are turned by 0.2 rad about z, of a robot on its side.

    Each is 0.5 m and 0.1 rad from their mean. What one match leaves unsure is alike in x, y and z.
    """
    on_its_side = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    poses = np.array(
        [
            [3, 7 + side * 0.5, 0, *quat_multiply(yaw_quat(side * 0.1), on_its_side)]
            for side in (-1, 1)
        ]
    )
    found = Candidates(np.arange(2), np.full(2, 0.9, np.float32), poses)
    fix = estimate(weighed(found, CONFIG), CONFIG, has_heading=True)
    assert isinstance(fix, Fix)
    np.testing.assert_allclose(fix.pose, [3, 7, 0, *on_its_side], atol=1e-9)
    x, y, z, roll, pitch, yaw = np.diag(fix.covariance)
    assert [y - x, z - x] == pytest.approx([0.25, 0], abs=1e-9)
    assert [yaw - roll, pitch - roll] == pytest.approx([0.01, 0], abs=1e-9)
    apart = fix.covariance - np.diag(np.diag(fix.covariance))
    np.testing.assert_allclose(apart[:3, :3], 0, atol=1e-9)


def test_the_covariance_of_one_match_is_a_share_of_the_extent_of_a_place() -> None:
    """Descriptors of similarity 0.5 lie 1 apart: half of 5 m, and half of the angle in radians."""
    pose = straight_drive(1)
    weight = np.array([0.3], np.float32)  # the belief has the rest elsewhere
    found = Candidates(np.array([0]), np.array([0.5], np.float32), pose, weight)
    mode = strongest_mode(found, CONFIG, has_heading=True)
    fix = fix_at(found, mode, 0.99, CONFIG, has_heading=True)
    half_rad = np.radians(CONFIG.agreement_heading) / 2
    np.testing.assert_allclose(
        np.sqrt(np.diag(fix.covariance)), [2.5] * 3 + [half_rad] * 3, rtol=1e-6
    )


def test_the_pose_is_the_robots_not_the_cameras(tmp_path: Path) -> None:
    camera_ahead = FORWARD_CAMERA + np.array([0.5, 0, 1.2, 0, 0, 0, 0])
    base = np.array([[3.0, 4.0, 0.0, *yaw_quat(0.7)]])
    place_map = write_map(tmp_path / 'map', unit_rows(1, 16), compose(base, camera_ahead))
    outcome = judged(place_map, [0], [0.9], base_T_camera=camera_ahead)
    assert isinstance(outcome, Fix)
    np.testing.assert_allclose(outcome.pose[:3], [3, 4, 0], atol=1e-9)
    assert yaw_of(outcome.pose) == pytest.approx(0.7)


def test_a_map_without_headings_says_that_it_knows_none(tmp_path: Path) -> None:
    poses = straight_drive(3)
    poses[:, 3:] = yaw_quat(np.array([-0.3, 0.0, 0.3]))
    place_map = write_map(tmp_path / 'map', unit_rows(3, 16), poses, has_heading=False)
    covariance = fix_of(place_map, [0, 1, 2], [0.9] * 3).covariance
    assert (np.sqrt(np.diag(covariance)[3:]) > 1.5).all()
    assert not covariance[:3, 3:].any() and not covariance[3:, :3].any()


def test_a_prior_restricts_the_search_to_its_cylinder(place_map: PlaceMap) -> None:
    asked = unit_rows(100, 16)[90]
    prior = Prior(np.array([20.0, 0, 50.0]), 3.0)  # z is not known
    for every_place in (False, True):
        query = Query(asked, 0, prior=prior)
        found = retrieve(query, place_map, count=50, every_place=every_place).similar
        assert sorted(found.place_index.tolist()) == [17, 18, 19, 20, 21, 22, 23]
        nowhere = replace(query, prior=Prior(np.array([0.0, 500, 0]), 3.0))
        assert len(retrieve(nowhere, place_map, count=5, every_place=every_place).similar) == 0
    floor = replace(prior, height_m=2.0)
    assert not floor.allows(place_map.poses[:, :3]).any()


def test_a_prior_is_a_cylinder_that_holds_its_edge() -> None:
    """5 m around (1, 2), and 2 m above and below 3 m."""
    inside = [[4, 6, 3], [1, 7, 3], [-4, 2, 3], [1, 2, 5], [1, 2, 1]]
    outside = [[4.1, 6, 3], [1, 7.1, 3], [4.6, 5.6, 3], [1, 2, 5.1], [1, 2, 0.9]]
    told = Prior(np.array([1.0, 2.0, 3.0]), 5.0, 2.0)
    assert told.allows(np.array(inside, dtype=np.float64)).all()
    assert not told.allows(np.array(outside)).any()


def test_what_stands_out_is_found_inside_a_prior_and_everywhere_without_one(
    place_map: PlaceMap,
) -> None:
    """A judge also seeks places like what an image alone has: here place 22 is."""
    rows = unit_rows(100, 16)
    query = Query(rows[18], 0, prior=Prior(np.array([20.0, 0, 0]), 3.0))
    found = retrieve(query, place_map, count=2, sought=Sought(rows[22], 1))
    assert found.similar.place_index[0] == 18
    assert found.standing_out is not None and found.standing_out.tolist() == [22]
    anywhere = retrieve(replace(query, prior=None), place_map, count=2, sought=Sought(rows[60], 1))
    assert anywhere.similar.place_index[0] == 18 and anywhere.standing_out is not None
    assert anywhere.standing_out.tolist() == [60]


def test_nothing_inside_a_prior_is_told_by_its_source(place_map: PlaceMap) -> None:
    away, asked = np.array([0.0, 500, 0]), unit_rows(100, 16)[90]
    for excluding in (Reason.OUTSIDE_INITIAL_POSE, Reason.OUTSIDE_GPS):
        query = Query(asked, 0, prior=Prior(away, 3.0, excluding=excluding))
        found = retrieve(query, place_map, count=5)
        outcome = Alone(place_map).judge(query, found, CONFIG).outcome
        assert isinstance(outcome, NoFix) and outcome.reason is excluding
