"""LOST, TENTATIVE, LOCALIZED, and a transform that does not jump."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from vpr_ros.core.geometry import IDENTITY, compose, yaw_quat
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.session.smooth import _AGREEING_OUTLIERS, Glide, SmoothTransform
from vpr_ros.session.tracker import (
    CONFIRMATIONS,
    JUMPS,
    PATIENCE,
    REPETITIONS,
    State,
    Tracker,
)

FIX = Fix(IDENTITY, np.eye(6), 0.995, 0)
UNSURE = NoFix(Reason.NOT_SURE, 0.8)
AWAY = NoFix(Reason.ELSEWHERE, 0.01)


def at(x_m: float) -> np.ndarray:
    return IDENTITY + np.array([x_m, 0, 0, 0, 0, 0, 0])


def fix_at(x_m: float) -> Fix:
    return replace(FIX, pose=at(x_m))


def states(*outcomes: Fix | NoFix, period_s: float = 0.1) -> list[State]:
    """Of a robot that drives at most 2 m/s, whose fixes are right within 5 m."""
    tracker = Tracker()
    stamps_ns = (int(frame * period_s * 1e9) for frame in range(len(outcomes)))
    return [
        tracker.step(outcome, stamp_ns=stamp_ns, bound_mps=2.0, radius_m=5.0)
        for outcome, stamp_ns in zip(outcomes, stamps_ns, strict=False)
    ]


def test_some_fixes_localize_and_one_alone_does_not() -> None:
    assert states(FIX, UNSURE)[-1] is State.TENTATIVE
    found = states(*[FIX] * CONFIRMATIONS)
    assert found[-1] is State.LOCALIZED and State.LOCALIZED not in found[:-1]


def test_between_fixes_there_may_be_none_but_no_doubt() -> None:
    between = [FIX, UNSURE] * CONFIRMATIONS
    assert states(*between)[-2:] == [State.LOCALIZED, State.LOCALIZED]
    assert states(*between[:-2], AWAY, FIX)[-1] is State.TENTATIVE


def test_a_frame_without_a_fix_does_not_take_the_robots_place_away() -> None:
    assert states(*[FIX] * CONFIRMATIONS, UNSURE)[-1] is State.LOCALIZED
    assert states(*[FIX] * CONFIRMATIONS, AWAY)[-1] is State.TENTATIVE


def test_improbable_frames_in_a_row_lose_it() -> None:
    found = states(*[FIX] * CONFIRMATIONS, *[AWAY] * PATIENCE)
    assert found[-1] is State.LOST and found[-2] is State.TENTATIVE
    assert states(AWAY)[0] is State.LOST


@pytest.mark.parametrize('reason', [Reason.LOOKS_ELSEWHERE, Reason.ELSEWHERE, Reason.OUTSIDE_CUT])
def test_images_in_a_row_that_look_like_other_places_or_none_lose_it(reason: Reason) -> None:
    carried = NoFix(reason, 0.6)
    assert states(*[FIX] * CONFIRMATIONS, *[carried] * PATIENCE)[-1] is State.LOST


def test_a_robot_that_finds_itself_out_of_reach_was_carried() -> None:
    known = [FIX] * CONFIRMATIONS
    found = states(*known, *[fix_at(40.0)] * (JUMPS + CONFIRMATIONS))[CONFIRMATIONS:]
    assert found[JUMPS - 1] is State.LOST and State.LOCALIZED not in found[:JUMPS]
    assert found[-1] is State.LOCALIZED


def test_one_fix_out_of_reach_is_doubted_and_the_next_ones_clear_it() -> None:
    known = [FIX] * CONFIRMATIONS
    found = states(*known, fix_at(40.0), *known)[CONFIRMATIONS:]
    assert found[0] is State.TENTATIVE and State.LOST not in found
    assert found[-1] is State.LOCALIZED


def test_fixes_that_contradict_each_other_do_not_localize() -> None:
    assert State.LOCALIZED not in states(*[FIX, fix_at(40.0)] * 5)


def test_a_robot_may_have_driven_far_where_no_fix_came_for_long() -> None:
    seconds = 2 * JUMPS * [UNSURE]
    known = [FIX] * CONFIRMATIONS
    assert states(*known, *seconds, fix_at(40.0), period_s=10.0)[-1] is State.LOCALIZED
    assert states(*known, *seconds, fix_at(40.0), period_s=0.1)[-1] is State.TENTATIVE


@pytest.mark.parametrize(('x_m', 'expected'), [(69.0, State.LOCALIZED), (71.0, State.TENTATIVE)])
def test_a_fix_is_in_reach_up_to_two_errors_and_the_way_driven(
    x_m: float, expected: State
) -> None:
    """In 30 s at 2 m/s: 60 m, and 5 m that each of the two fixes may be wrong."""
    known = [FIX] * CONFIRMATIONS
    assert states(*known, fix_at(x_m), period_s=30.0)[-1] is expected


def test_a_session_measures_reach_by_its_robots_speed_and_its_settings_radius() -> None:
    """In 30 s at 1 m/s: 30 m, and 3 m that each of the two fixes may be wrong."""
    robot = SimpleNamespace(bound_mps=1.0, config=SimpleNamespace(agreement_radius=3.0))
    for x_m, expected in ((35.0, State.LOCALIZED), (37.0, State.TENTATIVE)):
        tracker = Tracker()
        for second, outcome in ((0, FIX), (1, FIX), (31, fix_at(x_m))):
            located = SimpleNamespace(outcome=outcome, stamp_ns=second * 10**9)
            state = tracker.follow(located, robot)
        assert state is expected


def test_a_fix_of_an_older_image_gives_the_robot_no_time_to_drive() -> None:
    """Two cameras: the second one's image is 30 s older, so nobody drove 60 m in between."""
    tracker = Tracker()
    for second, outcome in ((100, FIX), (101, FIX), (71, fix_at(40.0))):
        state = tracker.step(outcome, stamp_ns=second * 10**9, bound_mps=2.0, radius_m=5.0)
    assert state is State.TENTATIVE


def test_a_fix_on_another_floor_is_out_of_reach() -> None:
    above = replace(FIX, pose=IDENTITY + np.array([0, 0, 40.0, 0, 0, 0, 0]))
    assert states(*[FIX] * CONFIRMATIONS, above)[-1] is State.TENTATIVE


def test_a_robot_whose_fix_was_doubted_is_confirmed_as_one_that_starts() -> None:
    found = states(*[FIX] * CONFIRMATIONS, fix_at(40.0), *[FIX] * CONFIRMATIONS)
    assert found[-CONFIRMATIONS:] == [State.TENTATIVE] * (CONFIRMATIONS - 1) + [State.LOCALIZED]


def test_fixes_out_of_reach_count_only_in_a_row() -> None:
    doubted = [fix_at(40.0)] * (JUMPS - 1) + [FIX] * CONFIRMATIONS
    assert State.LOST not in states(*[FIX] * CONFIRMATIONS, *doubted, *doubted)


def test_repeated_images_count_only_in_a_row() -> None:
    repeated = [NoFix(Reason.REPEATED)] * (REPETITIONS - 1)
    known = [FIX] * CONFIRMATIONS
    assert states(*known, *repeated, UNSURE, *repeated)[-1] is State.LOCALIZED
    assert states(*known, *repeated, *repeated[:1])[-1] is State.TENTATIVE


def test_a_robot_after_a_repeated_image_is_confirmed_as_one_that_starts() -> None:
    repeated = [NoFix(Reason.REPEATED)] * REPETITIONS
    found = states(*[FIX] * CONFIRMATIONS, *repeated, *[FIX] * CONFIRMATIONS)
    assert found[-CONFIRMATIONS:] == [State.TENTATIVE] * (CONFIRMATIONS - 1) + [State.LOCALIZED]


@pytest.mark.parametrize(('probability', 'loses'), [(0.45, True), (0.55, False)])
def test_an_answer_that_is_rather_wrong_than_right_is_a_doubt(
    probability: float, loses: bool
) -> None:
    unsure = NoFix(Reason.NOT_SURE, probability)
    found = states(*[FIX] * CONFIRMATIONS, *[unsure] * PATIENCE)[-1]
    assert found is (State.LOST if loses else State.LOCALIZED)


def test_doubts_count_only_in_a_row() -> None:
    assert State.LOST not in states(*[FIX] * CONFIRMATIONS, *[AWAY, UNSURE] * PATIENCE)


def test_one_fix_makes_a_lost_robot_tentative_wherever_it_lies() -> None:
    lost = [*[FIX] * CONFIRMATIONS, *[AWAY] * PATIENCE]
    assert [states(*lost, fix)[-1] for fix in (FIX, fix_at(400.0))] == [State.TENTATIVE] * 2


@pytest.mark.parametrize('lost_by', [[AWAY] * PATIENCE, [fix_at(40.0)] * JUMPS])
def test_a_lost_robot_may_find_itself_anywhere(lost_by: list[Fix | NoFix]) -> None:
    """It takes as many fixes as at the start, and one doubt between them does not lose it."""
    lost = [*[FIX] * CONFIRMATIONS, *lost_by]
    assert states(*lost)[-1] is State.LOST
    found = states(*lost, *[fix_at(400.0)] * CONFIRMATIONS)[-CONFIRMATIONS:]
    assert found == [State.TENTATIVE] * (CONFIRMATIONS - 1) + [State.LOCALIZED]
    assert states(*lost, fix_at(400.0), AWAY)[-1] is State.TENTATIVE


def test_the_fix_that_shows_that_a_robot_was_carried_is_its_first_one_there() -> None:
    carried = [fix_at(40.0)] * (JUMPS + CONFIRMATIONS - 1)
    assert states(*[FIX] * CONFIRMATIONS, *carried)[-1] is State.LOCALIZED


def test_a_lost_robot_that_sees_the_same_image_stays_lost() -> None:
    repeated = [NoFix(Reason.REPEATED)] * (REPETITIONS + 1)
    assert set(states(*repeated)) == {State.LOST}
    assert states(*[FIX] * CONFIRMATIONS, *repeated)[-1] is State.TENTATIVE


def test_one_far_estimate_does_not_move_the_transform() -> None:
    smooth = SmoothTransform()
    smooth.step(at(1.0), IDENTITY, 0.5)
    assert smooth.step(at(40.0), IDENTITY, 0.5)[0] == 1.0
    assert smooth.step(at(1.2), IDENTITY, 0.5)[0] == pytest.approx(1.04)


@pytest.mark.parametrize(('x_m', 'counts'), [(2.4, True), (2.6, False)])
def test_a_far_estimate_is_one_beyond_three_standard_deviations(x_m: float, counts: bool) -> None:
    """The robot is at 1 m, and 0.5 m is one of them; what counts moves it a fifth of the way."""
    smooth = SmoothTransform()
    smooth.step(at(1.0), IDENTITY, 0.5)
    found = smooth.step(at(x_m), IDENTITY, 0.5)[0]
    assert found == pytest.approx(1 + 0.2 * (x_m - 1) if counts else 1.0)


def test_far_estimates_count_only_in_a_row() -> None:
    smooth = SmoothTransform()
    for x_m in (1.0, *[40.0] * (_AGREEING_OUTLIERS - 1), 1.0, *[40.0] * (_AGREEING_OUTLIERS - 1)):
        assert smooth.step(at(x_m), IDENTITY, 0.5)[0] == pytest.approx(1.0)
    assert smooth.step(at(40.0), IDENTITY, 0.5)[0] > 1.0
    smooth.reset()
    for x_m in (1.0, *[40.0] * (_AGREEING_OUTLIERS - 1)):
        assert smooth.step(at(x_m), IDENTITY, 0.5)[0] == 1.0


def test_estimates_that_agree_pull_it_little_by_little() -> None:
    smooth = SmoothTransform()
    smooth.step(at(0.0), IDENTITY, 0.5)
    moved = np.diff([smooth.step(at(10.0), IDENTITY, 0.5)[0] for _ in range(40)])
    assert moved.max() <= 2.0 and smooth.pose is not None
    assert smooth.pose[0] == pytest.approx(10, abs=0.01)
    smooth.reset()
    assert smooth.step(at(-5.0), IDENTITY, 0.5)[0] == -5.0


@pytest.mark.parametrize('far_m', [0.0, 50.0, 1000.0])
def test_a_robot_far_from_the_origin_of_odometry_is_smoothed_as_one_near_it(far_m: float) -> None:
    """Each fix is wrong by a degree, which turns an origin 1 km away by 17 m; one is 40 m off."""
    random, smooth, apart_m = np.random.default_rng(0), SmoothTransform(), []
    for row in range(200):
        truth = at(far_m + 0.2 * row)
        fix = truth.copy()
        fix[:2] += random.normal(0, 0.3, 2)
        fix[1] += 40.0 if row % 20 == 19 else 0.0
        fix[3:] = yaw_quat(np.radians(random.normal(0, 1.0)))
        map_T_odom = smooth.step(fix, truth, 0.42)
        apart_m.append(np.linalg.norm(compose(map_T_odom, truth)[:3] - truth[:3]))
    assert np.median(apart_m) < 0.2 and np.max(apart_m) < 0.7


def test_a_step_is_spread_over_half_a_second_and_the_first_is_taken_at_once() -> None:
    glide = Glide()
    assert glide.at(0.0) is None
    glide.aim(at(10.0), 0.0)
    assert glide.at(0.0)[0] == 10.0
    glide.aim(at(11.0), 1.0)
    moved = [glide.at(1.0 + tick / 20)[0] for tick in range(12)]
    assert moved[0] == 10.0 and moved[-1] == 11.0
    assert np.abs(np.diff(moved)).max() == pytest.approx(0.1)
    glide.aim(at(10.0), 1.25)  # in the middle of the way
    assert glide.at(1.25)[0] == pytest.approx(10.5)
    glide.forget()
    assert glide.at(9.0) is None
