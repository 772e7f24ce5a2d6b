"""Where odometry says that the robot was when an image was taken."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpr_ros.core.geometry import interpolate, yaw_quat
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.session.odometry import Odometry
from vpr_ros.session.odometry_check import OdometryCheck

SECOND = 10**9


def pose(x: float, yaw_rad: float = 0.0) -> np.ndarray:
    return np.array([x, 0.0, 0.0, *yaw_quat(yaw_rad)])


def filled(*entries: tuple[float, float, float]) -> Odometry:
    """Odometry of (seconds, x, yaw)."""
    odometry = Odometry()
    for seconds, x, yaw_rad in entries:
        odometry.add(round(seconds * SECOND), pose(x, yaw_rad))
    return odometry


def test_odometry_is_interpolated_to_the_image() -> None:
    odometry = filled((1, 0, 0), (2, 1, 0.2), (3, 5, 0.2))
    found = odometry.at(int(1.25 * SECOND))
    assert found is not None
    np.testing.assert_allclose(found, [0.25, 0, 0, *yaw_quat(0.05)], atol=1e-9)


def test_an_image_just_after_the_newest_odometry_takes_it_and_a_later_or_older_one_none() -> None:
    odometry = filled((1, 0, 0), (2, 1, 0))
    newest = odometry.at(int(2.05 * SECOND))
    assert newest is not None and newest[0] == 1
    assert odometry.at(9 * SECOND) is None  # odometry has stopped: it does not tell
    assert odometry.at(SECOND // 2) is None and Odometry().at(SECOND) is None


def test_across_a_gap_nothing_is_interpolated() -> None:
    odometry = filled((1, 0, 0), (5, 40, 0))
    assert odometry.at(3 * SECOND) is None
    assert odometry.at(SECOND) is not None and odometry.at(5 * SECOND) is not None


def test_the_distance_is_known_only_where_odometry_is_around_both_stamps() -> None:
    odometry = filled((1, 0, 0), (2, 3, 0))
    assert odometry.distance_m(SECOND, 2 * SECOND) == pytest.approx(3)
    assert odometry.distance_m(SECOND, int(1.5 * SECOND)) == pytest.approx(1.5)
    assert odometry.distance_m(SECOND, 3 * SECOND) is None
    assert odometry.distance_m(0, 2 * SECOND) is None


def test_a_lift_is_a_way_too() -> None:
    odometry = Odometry()
    for second, z_m in ((1, 0.0), (2, 4.0)):
        odometry.add(second * SECOND, np.array([0, 3.0, z_m, 0, 0, 0, 1]))
    assert odometry.distance_m(SECOND, 2 * SECOND) == pytest.approx(4)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=60), st.integers(0, 40_000))
def test_finding_by_bisection_is_finding_by_a_loop(steps_ms: list[int], asked_ms: int) -> None:
    stamps = np.cumsum(steps_ms).tolist()
    odometry = filled(*((stamp / 1e3, float(row), 0) for row, stamp in enumerate(stamps)))
    found = odometry.at(asked_ms * 10**6)
    expected = None
    for row, (start, end) in enumerate(pairwise(stamps)):
        if start <= asked_ms <= end:
            expected = interpolate(pose(row), pose(row + 1), (asked_ms - start) / (end - start))
    if stamps[-1] <= asked_ms <= stamps[-1] + 100:
        expected = pose(len(stamps) - 1)
    if asked_ms == stamps[0]:
        expected = pose(0)
    assert (found is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_only_the_last_poses_are_kept() -> None:
    odometry = filled(*((row / 100, row, 0) for row in range(10_000)))
    assert len(odometry._poses) < 4001 and odometry.at(SECOND) is None
    found = odometry.at(80 * SECOND)  # 20 s before the end
    assert found is not None and found[0] == 8000


def test_the_pace_is_known_while_odometry_comes() -> None:
    odometry = Odometry()
    for tick in range(20):
        odometry.add(tick * SECOND // 10, pose(0), came_ns=tick * SECOND // 10 + SECOND // 5)
    assert odometry.pace(2 * SECOND) == '10 Hz, 0.20 s late'
    assert odometry.pace(4 * SECOND) == ''  # it has stopped
    odometry.clear()
    assert odometry.pace(2 * SECOND) == ''


def test_one_long_pause_hardly_changes_the_pace() -> None:
    """Twenty values weigh in it: 0.1 s, and a twentieth of the 0.5 s by which one is longer."""
    odometry = Odometry()
    for second in (*np.arange(40) / 10, 4.5):
        odometry.add(round(second * SECOND), pose(0), came_ns=round(second * SECOND))
    assert odometry.pace(round(4.5 * SECOND)) == '8 Hz, 0.00 s late'


def test_a_step_that_no_robot_makes_is_a_jump() -> None:
    odometry = filled((1, 0, 0), (2, 3, 0))
    soon, later = round(2.05 * SECOND), 8 * SECOND
    assert odometry.jump_m(soon, pose(30), bound_mps=6.0) == pytest.approx(27)
    assert odometry.jump_m(later, pose(30), bound_mps=6.0) == 0
    assert odometry.jump_m(soon, pose(3.9), bound_mps=0.1) == 0  # two stamps too close together
    assert odometry.jump_m(soon, pose(4.1), bound_mps=0.1) == pytest.approx(1.1)
    assert odometry.jump_m(soon, pose(5.9), bound_mps=6.0) == 0  # 3 m at ten times the bound
    assert odometry.jump_m(soon, pose(6.1), bound_mps=6.0) == pytest.approx(3.1)
    assert Odometry().jump_m(soon, pose(30), bound_mps=6.0) == 0


# Whether it agrees with the fixes


def fix(x: float, sigma_m: float = 0.1) -> Fix:
    return Fix(pose(x), np.diag([sigma_m**2 / 3] * 3 + [0.01] * 3), 0.99, 0)


def judged(
    ways: list[tuple[float, float]], check: OdometryCheck | None = None, *, sigma_m: float = 0.1
) -> tuple[OdometryCheck, list[int]]:
    """A check after fixes at (x by images, x by odometry), and after which it said something."""
    check = check or OdometryCheck()
    said = [
        row
        for row, (by_images, by_odometry) in enumerate(ways)
        if check.learn(fix(by_images, sigma_m), pose(by_odometry))
    ]
    return check, said


def along(count: int, times: float, *, start: float = 0.0) -> list[tuple[float, float]]:
    """Two metres from fix to fix; odometry goes so many times as far."""
    return [(start + 2.0 * row, (start + 2.0 * row) * times) for row in range(count)]


@pytest.mark.parametrize('times', [1.0, 0.4, 2.5, -1.0])
def test_odometry_that_goes_about_as_far_as_the_fixes_is_believed(times: float) -> None:
    check, said = judged(along(60, times))
    assert check.agrees and said == []


@pytest.mark.parametrize(('times', 'row'), [(0.0, 9), (0.3, 9), (4.0, 6), (1000.0, 5)])
def test_odometry_that_goes_another_way_than_the_fixes_is_told_once(
    times: float, row: int
) -> None:
    """Five times in a row after ten metres, by whichever went farther."""
    check, said = judged(along(60, times))
    assert not check.agrees and said == [row]


def test_what_odometry_and_images_say_is_in_the_note() -> None:
    check = OdometryCheck()
    notes = [check.learn(fix(x), pose(y)) for x, y in along(12, 0.1)]
    assert [note for note in notes if note] == [
        'odom: odometry moved 1.0 m while the robot moved 10.0 m by the images; it is not used '
        'until both agree. Check the encoders, the unit and the topic of odometry, and the scale '
        'of the map'
    ]


def test_odometry_that_agrees_again_is_used_again() -> None:
    check, _ = judged(along(12, 0.0))
    check.start_anew()
    _, said = judged(along(12, 1.0), check)
    assert check.agrees and said == [9]


def test_one_wrong_fix_and_a_robot_that_stands_contradict_nothing() -> None:
    strayed = along(30, 1.0)
    strayed[15] = 500.0, strayed[15][1]
    assert judged(strayed)[0].agrees
    noise = np.random.default_rng(0).normal(0, 1.0, 500)
    assert judged([(x, 0.0) for x in noise.tolist()])[0].agrees


def test_a_robot_that_was_carried_contradicts_no_odometry() -> None:
    check, _ = judged(along(20, 1.0))
    check.lose()
    there = [(900 + x, y) for x, y in along(20, 1.0, start=40.0)]
    assert judged(there, check)[0].agrees


def test_a_robot_that_is_lost_for_a_moment_is_compared_with_what_was_before() -> None:
    """Odometry that stands still makes it so."""
    check, said = judged(along(8, 0.0))
    check.lose()
    more, told = judged(along(3, 0.0, start=20.0), check)
    assert said == [] and told == [1] and not more.agrees


def test_fixes_that_are_vague_are_compared_over_longer_ways() -> None:
    """Six deviations of 5 m are 30 m."""
    assert judged(along(15, 0.0), sigma_m=5.0)[0].agrees
    assert not judged(along(60, 0.0), sigma_m=5.0)[0].agrees


def test_fixes_close_to_each_other_do_not_push_out_those_that_are_far() -> None:
    """At 30 images per second and 1 m/s."""
    ways = [(row / 30, 0.0) for row in range(30 * 20)]
    assert not judged(ways)[0].agrees


def test_without_odometry_nothing_is_compared() -> None:
    check = OdometryCheck()
    assert not any(check.learn(fix(2.0 * row), None) for row in range(30)) and check.agrees
