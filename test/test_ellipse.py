"""The test of the 95 % ellipsoid counts the directions in which a drive can be wrong."""

import numpy as np
import pytest

from vpr_ros.evaluating.ellipse import axes_that_count, is_inside

LINE = np.column_stack([np.linspace(0, 60, 50), np.zeros(50), np.zeros(50)])


def test_a_line_tests_one_direction_a_plane_two_and_a_flight_three() -> None:
    random = np.random.default_rng(0)
    turned = LINE @ np.linalg.qr(random.standard_normal((3, 3)))[0]
    assert len(axes_that_count(LINE, 5.0)) == len(axes_that_count(turned, 5.0)) == 1
    bent = LINE + np.column_stack([np.zeros(50), np.linspace(0, 9, 50) ** 1.5, np.zeros(50)])
    assert len(axes_that_count(bent, 5.0)) == 2
    assert len(axes_that_count(random.standard_normal((50, 3)) * 9, 5.0)) == 3


def test_less_than_a_tenth_of_the_radius_does_not_count() -> None:
    hilly = LINE + np.column_stack([np.zeros((50, 2)), np.sin(np.arange(50.0)) * 0.6])
    assert len(axes_that_count(hilly, 5.0)) == 1
    assert len(axes_that_count(hilly, 2.0)) == 2


def test_a_robot_that_stands_has_one_direction() -> None:
    assert axes_that_count(np.zeros((5, 3)), 5.0).shape == (1, 3)


@pytest.mark.parametrize('directions', [1, 2, 3])
def test_of_errors_as_the_covariance_says_95_percent_are_inside(directions: int) -> None:
    random = np.random.default_rng(directions)
    axes = np.linalg.qr(random.standard_normal((3, 3)))[0][:directions]
    root = random.standard_normal((3, 3))
    errors = random.standard_normal((4000, 3)) @ root.T
    errors -= errors @ (np.eye(3) - axes.T @ axes)  # in the others there can be none
    inside = [is_inside(error, root @ root.T, axes) for error in errors]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)
