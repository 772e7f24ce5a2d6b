"""Where odometry says that the robot was when an image was taken."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpr_ros.core.geometry import interpolate, yaw_quat
from vpr_ros.session.odometry import Odometry

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
