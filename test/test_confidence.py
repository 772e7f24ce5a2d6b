"""The probability of an answer: fitted, kept with the map, and used in place of a threshold."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.errors import ConfigError, MapError
from vpr_ros.core.geometry import IDENTITY
from vpr_ros.core.localizing.confidence import (
    OBSERVATIONS,
    SHIPPED,
    Calibration,
    at_most_known,
    observe,
)
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.judges import Verdict
from vpr_ros.core.localizing.kept_calibrations import (
    as_dict,
    calibration_of,
    from_dict,
    model_calibration_of,
)
from vpr_ros.core.localizing.landmark_evidence import (
    cell_evidence,
    observe_landmarks,
    said_by_landmarks,
    with_landmarks,
    with_odds,
)
from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.query import Prior, Query
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.mapping.header import map_id, read_header, write_calibration
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.evaluating.fitting import fit
from vpr_ros.evaluating.reliability import BINS, reliability

SECOND = 10**9


def made_up(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Observations and answers whose true probability is known: another calibration's."""
    random = np.random.default_rng(seed)
    observed = np.column_stack(
        [
            random.normal(0, 3, count),
            random.uniform(0.3, 0.8, count),
            random.uniform(0.9, 1.3, count),
            random.uniform(0, 4, count),
            random.uniform(0, 2, count),
            random.uniform(-1, 2, count),
            np.full(count, 9.0),
        ]
    )
    return observed, random.random(count) < TRUE.probability(observed)


TRUE = Calibration(weights=(0.8, 12.0, 4.0, -0.4, 0.9, 1.5), bias=-11.0, source='made up')


def test_more_belief_likeness_lead_and_less_spread_make_an_answer_more_probable() -> None:
    middle = {'belief': 0.5, 'similarity': 0.6, 'ratio': 1.1, 'spread': 1.0}
    better = {'belief': 0.9, 'similarity': 0.7, 'ratio': 1.3, 'spread': 0.2}
    usual = SHIPPED.probability(observe(**middle))
    for name, value in better.items():
        assert SHIPPED.probability(observe(**middle | {name: value})) > usual


def test_observations_are_logarithms_of_odds_and_shares_within_bounds() -> None:
    seen = observe(0.9, 0.8, 7.0, 9.0, match=0.002, other_match=0.001, rival=0.3)
    logs = np.log([9, 4, 2, 3])
    np.testing.assert_allclose(seen, [logs[0], 0.8, 5, 5, *logs[1:]], rtol=1e-9)
    elsewhere = observe(0.2, 0.8, 1.1, 0.4, match=1e-5, other_match=0.002, rival=0.4)
    logs = np.log([0.25, 0.25, 0.5])
    expected = [logs[0], 0.8, 1.1, 0.4, 0, *logs[1:]]
    np.testing.assert_allclose(elsewhere, expected, rtol=1e-9)
    contradicted = observe(0.9, 0.8, 1.1, 0.4, rival=0.3, contradicted=True)
    assert contradicted[-1] == 0
    for belief, odds in ((1.0, 9999), (0.0, 1 / 9999)):
        certain = observe(belief, 0.8, 1.1, 0.4)
        assert certain[0] == pytest.approx(np.log(odds)) and np.isfinite(certain).all()


def test_observations_of_landmarks_are_logarithms_within_bounds() -> None:
    seen = observe_landmarks(inliers=30, matches=40, sigma=0.1, rival=10)
    np.testing.assert_allclose(seen, np.log([30, 30.5 / 10.5, 0.1, 3]))
    most = observe_landmarks(inliers=900, matches=900, sigma=0.0, rival=0)
    np.testing.assert_allclose(most[:3], np.log([400, 900.5 / 0.5, 0.003]))
    assert most[3] > 20
    known = Calibration((0.0, 0.0, 0.0), 9.0, 'made up', frames=18)
    assert at_most_known(known, most) == pytest.approx(0.95)  # of 18 right ones, the next
    assert at_most_known(replace(known, bias=0.0), most) == pytest.approx(0.5)


def test_a_match_that_stands_out_makes_an_answer_more_probable_where_cells_are_matched() -> None:
    middle = {'belief': 0.5, 'similarity': 0.6, 'ratio': 1.1, 'spread': 1.0}
    usual = TRUE.probability(observe(**middle, match=0.002, other_match=0.002))
    assert TRUE.probability(observe(**middle, match=0.004, other_match=0.002)) > usual
    assert TRUE.probability(observe(**middle, match=0.002, other_match=0.004)) < usual
    assert observe(**middle)[4:6].tolist() == [0, 0]  # none was matched


def test_a_calibration_from_before_cells_gives_the_probabilities_that_it_gave() -> None:
    old = as_dict(SHIPPED)
    old['weights'] = {name: old['weights'][name] for name in OBSERVATIONS[:4]}
    assert from_dict(old) == SHIPPED


def test_of_two_places_with_the_same_weight_at_most_one_is_right() -> None:
    sure = {'belief': 0.5, 'similarity': 0.95, 'ratio': 1.5, 'spread': 1.0}
    assert SHIPPED.probability(observe(**sure)) > 0.99
    assert SHIPPED.probability(observe(**sure, rival=0.5)) == pytest.approx(0.5)
    assert SHIPPED.probability(observe(**sure, rival=0.05)) == pytest.approx(0.99, abs=0.002)


def test_an_image_that_looks_like_elsewhere_leaves_an_answer_at_best_as_probable_as_not() -> None:
    seen = {'match': 0.01, 'other_match': 0.001, 'rival': 1e-6}
    believed = observe(0.999, 0.9, 1.2, 0.1, **seen)
    contradicted = observe(0.999, 0.9, 1.2, 0.1, **seen, contradicted=True)
    assert SHIPPED.probability(contradicted) <= 0.5 < SHIPPED.probability(believed)


def test_landmarks_do_not_speak_past_what_the_drive_believes() -> None:
    """A terrace that is built twice has the same points in both places."""
    place = np.zeros(1, np.int64)
    candidates = Candidates(place, np.ones(1, np.float32), IDENTITY[None])
    likeliest = Fix(IDENTITY, np.eye(6), 0.7, 0)
    for belief, rival, is_fix in ((0.1, 0.01, False), (0.7, 0.05, True), (0.5, 0.45, False)):
        observed = observe(belief, 0.8, 1.1, 0.2, rival=rival)
        unsure = NoFix(Reason.NOT_SURE, 0.7)
        verdict = Verdict(candidates, unsure, place, observed, likeliest, least=0.92)
        assert isinstance(verdict.with_evidence(4.0), Fix) == is_fix
        against = verdict.with_evidence(-4.0)
        assert isinstance(against, NoFix) and against.probability < 0.1


def test_landmarks_speak_only_against_an_answer_that_the_image_matches_less() -> None:
    for match, other, nats in ((0.002, 0.001, 3.0), (0.001, 0.002, 0.0)):
        observed = observe(0.9, 0.8, 1.1, 0.2, match=match, other_match=other, rival=0.01)
        said = said_by_landmarks(3.0, observed)
        assert said == nats and said_by_landmarks(-3.0, observed) == -3.0
        assert (with_landmarks(0.7, said, observed) > 0.7) == (nats > 0)
    assert said_by_landmarks(3.0, None) == 3.0


def test_fixes_are_given_down_to_a_risk_above_their_mean_risk() -> None:
    assert replace(SHIPPED, risk_ratio=1.0).least(0.01) == pytest.approx(0.99)
    assert replace(SHIPPED, risk_ratio=4.0).least(0.01) == pytest.approx(0.96)
    assert replace(SHIPPED, risk_ratio=4.0).least(0.4) == 0.5


def test_the_ratio_of_risks_is_kept_and_a_senseless_one_is_refused() -> None:
    kept = as_dict(replace(SHIPPED, risk_ratio=4.0))
    assert from_dict(kept).risk_ratio == 4.0
    del kept['risk_ratio']
    assert from_dict(kept).risk_ratio == 1.0  # of a map from before
    for ratio in (0.5, 100.0, float('nan')):
        with pytest.raises(ConfigError, match='risk_ratio'):
            from_dict(kept | {'risk_ratio': ratio})


def test_points_that_are_seen_where_they_would_be_speak_for_a_place() -> None:
    many, some, few = (
        cell_evidence(inliers=inliers, matches=60, landmarks=150) for inliers in (55, 35, 10)
    )
    assert 0 < many <= 3 and many > some > few and -6 <= few < -2
    assert cell_evidence(inliers=0, matches=0, landmarks=150) < -4
    assert cell_evidence(inliers=0, matches=0, landmarks=10) == 0.0  # a bare wall tells nothing


def test_evidence_in_nats_multiplies_the_odds() -> None:
    assert with_odds(0.5, 0.0) == pytest.approx(0.5)
    assert with_odds(0.5, np.log(3)) == pytest.approx(0.75)
    assert 0 < with_odds(0.0, 3.0) < 1e-6 and 0.99 < with_odds(1.0, -6.0) < 1


def test_a_fit_finds_the_probabilities_that_made_the_answers() -> None:
    observed, right = made_up(4000)
    unseen, answers = made_up(4000, seed=1)
    found = fit(observed, right, source='made up')
    assert reliability(found.probability(unseen), answers).error < 0.03
    assert reliability(SHIPPED.probability(unseen), answers).error > 0.1
    np.testing.assert_allclose(found.probability(unseen), TRUE.probability(unseen), atol=0.1)


def test_an_answer_that_counts_three_times_is_three_answers() -> None:
    observed, right = made_up(200)
    counts = np.where(np.arange(200) < 50, 3.0, 1.0)
    rows = np.repeat(np.arange(200), counts.astype(int))
    counted = fit(observed, right, source='made up', counts=counts)
    repeated = fit(observed[rows], right[rows], source='made up')
    np.testing.assert_allclose(counted.weights, repeated.weights, rtol=1e-4, atol=1e-5)
    assert counted.bias == pytest.approx(repeated.bias, rel=1e-4)


def test_a_few_right_answers_do_not_make_everything_certain() -> None:
    observed = np.tile(observe(0.9, 0.6, 1.05, 1.0), (20, 1))
    found = fit(observed, np.ones(20, dtype=bool), source='all right')
    weak = observe(0.1, 0.3, 1.0, 3.0)
    assert found.probability(weak) < 0.05


def test_a_weight_that_is_held_stays_and_the_others_are_fitted_around_it() -> None:
    observed, right = made_up(4000)
    prior = replace(SHIPPED, weights=(0.8, 10.0, 0.0, 0.0, 0.0, 0.0))
    found = fit(observed, right, prior=prior, source='made up', held=('similarity', 'ratio'))
    assert found.weights[1:3] == (10.0, 0.0)
    assert found.weights[0] != 0.8 and found.bias != prior.bias
    before, after = (
        reliability(made.probability(observed), right).error for made in (prior, found)
    )
    assert after < before


def test_the_calibration_error_is_the_gap_between_promise_and_truth() -> None:
    """Against a loop over the answers."""
    random = np.random.default_rng(3)
    probability, right = random.random(500), random.random(500) < 0.5
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = [
            row for row, value in enumerate(probability) if low <= value < low + 1 / BINS - 1e-12
        ]
        promised = sum(probability[row] for row in inside) / len(inside)
        true = sum(bool(right[row]) for row in inside) / len(inside)
        expected += len(inside) / 500 * abs(promised - true)
    found = reliability(probability, right)
    assert found.error == pytest.approx(expected)
    assert found.count.sum() == 500
    lone = reliability(np.array([0.05, 0.95]), np.ones(2, dtype=bool))  # each alone in its bin
    assert lone.error == pytest.approx((0.95 + 0.05) / 2)
    sure = reliability(np.ones(10), np.ones(10, dtype=bool))
    assert sure.error == 0 and np.isnan(sure.true[0]) and sure.true[-1] == 1


def test_a_map_keeps_its_calibration_and_stays_the_same_map(tmp_path: Path) -> None:
    place_map = write_map(tmp_path / 'map', unit_rows(20, 16), straight_drive(20))
    assert calibration_of(place_map.header) is SHIPPED
    calibration = replace(TRUE, frames=80, error=0.03, radius_m=5.0)
    write_calibration(tmp_path / 'map', as_dict(calibration))
    again = PlaceMap.open(tmp_path / 'map')
    assert calibration_of(again.header) == calibration and map_id(again.header) == place_map.id


@pytest.mark.parametrize('entry', ['calibration', 'model_calibration'])
def test_a_broken_calibration_is_refused_where_it_is_used_and_the_map_stays_readable(
    tmp_path: Path, entry: str
) -> None:
    write_map(tmp_path / 'map', unit_rows(20, 16), straight_drive(20))
    path = tmp_path / 'map' / 'map.yaml'
    header = yaml.safe_load(path.read_text())
    for broken in (
        {'weights': {}},
        as_dict(TRUE) | {'bias': float('nan')},
        as_dict(TRUE) | {'bias': []},
    ):
        path.write_text(yaml.safe_dump(header | {entry: broken}))
        place_map = PlaceMap.open(tmp_path / 'map')
        said = rf'map/map\.yaml: {entry} is damaged .* delete the entry {entry} there and run'
        with pytest.raises(MapError, match=said):
            Localizer(None, place_map, LocalizerConfig())  # type: ignore[arg-type]
    path.write_text(yaml.safe_dump(header | {entry: 'no mapping'}))
    with pytest.raises(MapError, match=rf"{entry}: 'no mapping', expected dict or null"):
        PlaceMap.open(tmp_path / 'map')
    with pytest.raises(ConfigError, match='finite'):
        from_dict(as_dict(TRUE) | {'bias': float('inf')})
    with pytest.raises(ConfigError, match='calibration: OverflowError'):
        from_dict(as_dict(TRUE) | {'frames': float('inf')})


def walk(localizer: Localizer, places: list[int], rows: np.ndarray) -> list[Localization]:
    """A drive past places, each seen with some noise."""
    random = np.random.default_rng(5)
    found = []
    for second, place in enumerate(places):
        seen = rows[place] + 0.05 * random.standard_normal(rows.shape[1]).astype(np.float32)
        seen /= np.linalg.norm(seen)
        found.append(localizer.locate(Query(seen, second * SECOND)))
    return found


@pytest.fixture
def rows() -> np.ndarray:
    return unit_rows(60, 64)


@pytest.fixture
def localizer(tmp_path: Path, rows: np.ndarray) -> Localizer:
    """60 places ten metres apart; nothing is described in these tests."""
    poses = straight_drive(60, spacing_m=10.0)
    return Localizer(None, write_map(tmp_path / 'map', rows, poses), LocalizerConfig())  # type: ignore[arg-type]


def test_a_drive_along_the_map_is_fixed_more_and_more_surely(
    localizer: Localizer, rows: np.ndarray
) -> None:
    found = walk(localizer, list(range(5, 30)), rows)
    assert [place.candidates.place_index[0] for place in found[5:]] == list(range(10, 30))
    last = found[-1].outcome
    assert isinstance(last, Fix) and last.probability >= 0.99
    assert last.pose[0] == pytest.approx(290, abs=3)
    assert found[-1].similar.place_index[0] == 29


def test_a_lower_rate_of_false_fixes_gives_fewer_fixes(
    localizer: Localizer, rows: np.ndarray
) -> None:
    counts = []
    for rate in (0.0001, 0.01, 0.5):
        localizer.reset()
        localizer.use(LocalizerConfig(max_false_fix_rate=rate))
        found = walk(localizer, list(range(5, 12)), rows)
        fixes = [place.outcome for place in found if isinstance(place.outcome, Fix)]
        assert all(fix.probability >= 1 - rate for fix in fixes)
        counts.append(len(fixes))
    assert counts == sorted(counts) and counts[-1] > 0


def test_candidates_of_a_drive_have_the_similarity_of_their_own_images(
    localizer: Localizer, rows: np.ndarray
) -> None:
    for second in range(3):
        query = Query(rows[second], second * SECOND)
        candidates = localizer.locate(query).candidates
        assert candidates.place_index[0] == second and 0 in candidates.place_index
        expected = rows[candidates.place_index] @ rows[second]
        np.testing.assert_allclose(candidates.similarity, expected, atol=1e-5)


def test_images_from_another_world_get_no_fix(localizer: Localizer) -> None:
    elsewhere = unit_rows(60, 64, seed=9)
    found = walk(localizer, list(range(60)), elsewhere)
    assert not any(isinstance(place.outcome, Fix) for place in found)
    reasons = {place.outcome.reason for place in found if isinstance(place.outcome, NoFix)}
    unsure = {Reason.NOT_SURE, Reason.LOOK_ALIKES}
    assert Reason.ELSEWHERE in reasons and reasons <= {Reason.ELSEWHERE} | unsure


def test_an_image_that_shows_nothing_gets_no_fix_however_sure_the_drive_was(
    localizer: Localizer, rows: np.ndarray
) -> None:
    walk(localizer, list(range(5, 30)), rows)
    dark = localizer.locate(Query(rows[30], 25 * SECOND, shows_something=False))
    assert isinstance(dark.outcome, NoFix) and dark.outcome.reason is Reason.NOTHING_SEEN
    assert dark.outcome.probability == 0


def test_an_image_asked_about_alone_leaves_the_drive_as_it_was(
    localizer: Localizer, rows: np.ndarray
) -> None:
    walk(localizer, list(range(5, 15)), rows)
    assert localizer._drive is not None
    before = localizer._drive._belief.cells.copy()
    asked = localizer.locate_alone(Query(rows[50], 10 * SECOND))
    assert asked.candidates.place_index[0] == 50
    np.testing.assert_array_equal(localizer._drive._belief.cells, before)


def test_the_drive_remembers_what_landmarks_say_of_a_place_that_the_image_matches(
    localizer: Localizer, rows: np.ndarray
) -> None:
    located = walk(localizer, list(range(5, 15)), rows)[-1]
    assert localizer._drive is not None
    places, belief = np.array([13, 14, 15]), localizer._drive._belief
    for match, other, nats, way in (
        (0.002, 0.001, 2.0, 1),
        (0.002, 0.001, -2.0, -1),
        (0.001, 0.002, 2.0, 0),
    ):
        observed = observe(0.9, 0.8, 1.1, 0.2, match=match, other_match=other, rival=0.01)
        unsure = NoFix(Reason.NOT_SURE, 0.5)
        verdict = Verdict(located.candidates, unsure, places, observed, agreeing=places)
        before = belief.cells[places].sum()
        localizer._drive.hear(verdict, said_by_landmarks(nats, observed))
        assert np.sign(np.round(belief.cells[places].sum() - before, 6)) == way


@pytest.mark.parametrize(
    ('elsewhere', 'times', 'reason'),
    [
        (0.76, 100.0, Reason.ELSEWHERE),
        (0.74, 100.0, Reason.NOT_SURE),
        (0.5, 4.1, Reason.NOT_SURE),
        (0.5, 3.9, Reason.LOOK_ALIKES),
        (0.5, 1.1, Reason.LOOK_ALIKES),
        (0.5, 0.9, Reason.LOOKS_ELSEWHERE),
        (0.76, 0.9, Reason.ELSEWHERE),
    ],
)
def test_an_answer_is_refused_for_what_the_belief_has_beside_it(
    localizer: Localizer, elsewhere: float, times: float, reason: Reason
) -> None:
    """times: the weight of the answer over that of its rival."""
    drive = localizer._drive
    assert drive is not None
    drive._belief = SimpleNamespace(elsewhere=elsewhere)  # type: ignore[assignment]
    observed = observe(0.4, 0.8, 1.1, 0.2, rival=0.4 / times)
    assert drive._doubt(observed) is reason


def test_landmarks_change_the_probability_of_an_answer_and_with_it_whether_it_is_a_fix() -> None:
    """A probability of 0.9 is odds of nine; the answer is a fix from 0.95 on."""
    observed = observe(0.9, 0.8, 1.1, 0.2, match=0.002, other_match=0.001, rival=1e-9)
    answer = Fix(np.array([1.0, 2, 3, 0, 0, 0, 1]), np.eye(6), 0.9, 7)
    refused = NoFix(Reason.LOOK_ALIKES, 0.9)
    places, none = (
        np.array([7]),
        Candidates(np.array([7]), np.ones(1, np.float32), np.ones((1, 7))),
    )

    def after(outcome: Fix | NoFix, factor: float) -> Fix | NoFix:
        verdict = Verdict(none, outcome, places, observed, likeliest=answer, least=0.95)
        return verdict.with_evidence(float(np.log(factor)))

    fix = after(refused, 3.0)
    assert isinstance(fix, Fix) and fix.pose is answer.pose and fix.place_index == 7
    assert fix.probability == pytest.approx(27 / 28)
    assert after(refused, 2.0) == NoFix(Reason.LOOK_ALIKES, pytest.approx(18 / 19))
    for outcome, reason in ((refused, Reason.LOOK_ALIKES), (answer, Reason.DOES_NOT_FIT)):
        assert after(outcome, 1 / 3) == NoFix(reason, pytest.approx(0.75))
    unseen = Verdict(none, answer, places, None, likeliest=answer, least=0.95)
    assert unseen.with_evidence(-5.0) is answer


def test_landmarks_say_nothing_where_there_is_no_answer_to_speak_of() -> None:
    place = np.zeros(1, np.int64)
    candidates = Candidates(place, np.ones(1, np.float32), IDENTITY[None])
    repeated = NoFix(Reason.REPEATED, 0.7)
    verdict = Verdict(candidates, repeated, place, observe(0.9, 0.8, 1.1, 0.2))
    assert verdict.with_evidence(4.0) is repeated


@pytest.mark.parametrize(('max_speed', 'is_followed'), [(0.0, True), (12.0, True), (1.0, False)])
def test_a_robot_is_followed_as_fast_as_it_may_drive(
    localizer: Localizer, rows: np.ndarray, max_speed: float, is_followed: bool
) -> None:
    config = LocalizerConfig(max_speed=max_speed)
    faster = Localizer(None, localizer.place_map, config)  # type: ignore[arg-type]
    last = walk(faster, list(range(5, 15)), rows)[-1].candidates  # ten metres each second
    assert last.weight is not None
    assert (last.weight[last.place_index == 14].sum() > 0.5) == is_followed


def test_only_the_places_around_an_answer_agree_on_it(
    localizer: Localizer, rows: np.ndarray
) -> None:
    walk(localizer, list(range(5, 15)), rows)
    drive, query = localizer._drive, Query(rows[15], 10 * SECOND)
    assert drive is not None
    verdict = drive.judge(query, localizer._search(query, drive), localizer.config)
    assert verdict.agreeing is not None and verdict.agreeing.tolist() == [15]
    assert len(verdict.candidates) > 1


@pytest.mark.parametrize('on_map', [True, False])
def test_a_robot_is_on_the_map_only_where_its_prior_says_so(
    localizer: Localizer, on_map: bool
) -> None:
    beside = Prior(np.array([200.0, 0, 0]), 15.0, on_map=on_map)
    localizer.locate(Query(unit_rows(1, 64, seed=9)[0], 0, prior=beside))
    assert localizer._drive is not None
    assert (localizer._drive._belief.elsewhere > 0.1) == (not on_map)


@pytest.mark.parametrize('belief', [True, False])
def test_an_image_that_nothing_can_be_told_of_says_why(
    localizer: Localizer, rows: np.ndarray, belief: bool
) -> None:
    localizer.use(LocalizerConfig(belief=belief))
    beside = Prior(np.array([200.0, 500, 0]), 15.0, excluding=Reason.OUTSIDE_GPS)
    for query, reason in (
        (Query(rows[9], 0, prior=beside), Reason.OUTSIDE_GPS),
        (Query(rows[9], SECOND, shows_something=False), Reason.NOTHING_SEEN),
    ):
        outcome = localizer.locate(query).outcome
        assert isinstance(outcome, NoFix) and outcome.reason is reason


@pytest.mark.parametrize(('travelled_m', 'place'), [(0.0, 14), (10.0, 15), (30.0, 17), (None, 15)])
def test_in_the_dark_a_robot_is_where_odometry_says_else_where_it_would_be(
    localizer: Localizer, rows: np.ndarray, travelled_m: float | None, place: int
) -> None:
    """It has driven from place to place, 10 m each second."""
    walk(localizer, list(range(5, 15)), rows)
    dark = Query(rows[50], 10 * SECOND, shows_something=False, travelled_m=travelled_m)
    assert localizer.locate(dark).candidates.place_index[0] == place


def test_a_change_of_settings_forgets_no_drive_unless_the_belief_was_off(
    localizer: Localizer, rows: np.ndarray
) -> None:
    walk(localizer, list(range(5, 30)), rows)
    drive = localizer._drive
    localizer.use(LocalizerConfig(candidates=7))
    assert localizer._drive is drive
    localizer.use(LocalizerConfig(belief=False))
    localizer.use(LocalizerConfig())
    assert localizer._drive is not drive and localizer._drive is not None


def test_without_belief_each_image_stands_alone(localizer: Localizer, rows: np.ndarray) -> None:
    localizer.use(LocalizerConfig(belief=False))
    found = walk(localizer, [5, 50, 7], rows)
    assert [place.candidates.place_index[0] for place in found] == [5, 50, 7]
    assert all(place.observed is None for place in found)


def test_a_map_without_a_calibration_of_its_own_has_that_of_its_model(tmp_path: Path) -> None:
    write_map(tmp_path / 'map', unit_rows(20, 16), straight_drive(20))
    described = tmp_path / 'map' / 'map.yaml'
    header = yaml.safe_load(described.read_text())
    described.write_text(yaml.safe_dump(header | {'model_calibration': as_dict(TRUE)}))
    assert calibration_of(read_header(tmp_path / 'map')) == TRUE
    own = replace(TRUE, bias=-3.0, source='its own')
    write_calibration(tmp_path / 'map', as_dict(own))
    calibrated = read_header(tmp_path / 'map')
    assert calibration_of(calibrated) == own and model_calibration_of(calibrated) == TRUE
