"""The test of the 95 % ellipsoid counts the directions in which a drive can be wrong."""

import numpy as np
import pytest

from vpr_ros.evaluating.ellipse import Extent, is_inside

LINE = np.column_stack([np.linspace(0, 60, 50), np.zeros(50), np.zeros(50)])
METRE = np.eye(3)


def directions(positions_m: np.ndarray, covariance: np.ndarray = METRE) -> int:
    return len(Extent.of(positions_m).tested(covariance))


def test_a_line_tests_one_direction_a_plane_two_and_a_flight_three() -> None:
    random = np.random.default_rng(0)
    turned = LINE @ np.linalg.qr(random.standard_normal((3, 3)))[0]
    assert directions(LINE) == directions(turned) == 1
    bent = LINE + np.column_stack([np.zeros(50), np.linspace(0, 9, 50) ** 1.5, np.zeros(50)])
    assert directions(bent) == 2
    assert directions(random.standard_normal((50, 3)) * 9) == 3


def test_a_rise_of_the_road_tests_only_fixes_that_are_better_known() -> None:
    hilly = LINE + np.column_stack([np.zeros((50, 2)), np.sin(np.arange(50.0)) * 0.6])
    assert directions(hilly) == 1
    assert directions(hilly, 0.1**2 * np.eye(3)) == 2


def test_a_robot_that_stands_has_one_direction() -> None:
    assert directions(np.zeros((5, 3))) == 1


@pytest.mark.parametrize('count', [1, 2, 3])
def test_of_errors_as_the_covariance_says_95_percent_are_inside(count: int) -> None:
    random = np.random.default_rng(count)
    axes = np.linalg.qr(random.standard_normal((3, 3)))[0]
    extent = Extent(axes, np.where(np.arange(3) >= 3 - count, 1e3, 0.0))
    root = random.standard_normal((3, 3))
    along = axes[3 - count :]
    errors = random.standard_normal((4000, 3)) @ root.T @ along.T @ along  # elsewhere none
    inside = [is_inside(error, root @ root.T, extent) for error in errors]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(('sigma_m', 'count'), [(0.2, 2), (0.29, 2), (0.31, 1), (0.4, 1)])
def test_a_direction_counts_where_map_and_drive_vary_by_a_standard_deviation(
    sigma_m: float, count: int
) -> None:
    road = np.zeros((100, 3))
    road[:, 0] = np.arange(100)
    road[:, 2] = 0.3 * (-1.0) ** np.arange(100)  # its standard deviation is 0.3 m
    assert directions(road, sigma_m**2 * METRE) == count
