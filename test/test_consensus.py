"""Places agree on one pose, or none is given."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vpr_ros.core.geometry import (
    IDENTITY,
    yaw_quat,
)
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.landmarks.resection import (
    Matches,
    Resection,
)
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.consensus import (
    Support,
    Verified,
    _agree,
    _in_map,
    _matches,
    _scatter,
    holds,
)
from vpr_ros.core.localizing.sightings import Sightings
from vpr_ros.core.types import Poses


def supported_by(
    pose: Poses, *, inliers: int = 20, keypoints: int = 20, sigma_m: float = 0.01
) -> Support:
    """What one place says: its landmarks lie 1 m to 10 m from the origin, all in one direction."""
    points = np.zeros((10, 3))
    points[:, 0] = np.arange(1, 11)
    fewer = np.zeros(10)
    matches = Matches(points[:, :2], points, points, fewer, fewer, np.arange(10))
    covariance = np.eye(6) * sigma_m**2
    found = Resection(pose, covariance, np.ones(10, dtype=bool), inliers)
    return Support(0, matches, found, np.arange(10), keypoints)


@pytest.mark.parametrize(
    ('changed', 'expected'),
    [
        ({}, True),
        ({'inliers': 12, 'keypoints': 24}, True),
        ({'inliers': 11, 'keypoints': 20}, False),  # fewer than min_inliers
        ({'inliers': 12, 'keypoints': 25}, False),  # less than half of what matched
        ({'sigma_m': 2.4}, True),
        ({'sigma_m': 2.6}, False),  # more than half of the radius within which it has to be right
        ({'pose': IDENTITY + np.array([0, 9.0, 0, 0, 0, 0, 0])}, True),
        ({'pose': IDENTITY + np.array([0, 9.2, 0, 0, 0, 0, 0])}, False),  # beyond nine in ten
    ],
)
def test_a_place_holds_if_enough_landmarks_fix_a_pose_near_it(
    changed: dict[str, Any], expected: bool
) -> None:
    config = LocalizerConfig(min_inliers=12, agreement_radius=5.0)
    given = {'pose': IDENTITY} | changed
    assert holds(supported_by(**given), IDENTITY, config, least_ratio=0.5) == expected
    moved = IDENTITY + np.array([100.0, 0, 0, 0, 0, 0, 0])  # the place is elsewhere
    assert not holds(supported_by(**given), moved, config, least_ratio=0.5)


@pytest.mark.parametrize(('apart_m', 'same'), [(2.49, True), (2.51, False)])
def test_places_agree_on_a_pose_within_five_standard_deviations(
    apart_m: float, same: bool
) -> None:
    """Of both, and of a tenth of the radius: 0.5 m here, as the poses themselves are exact."""
    config = LocalizerConfig(agreement_radius=5.0)
    first, second = (
        supported_by(IDENTITY + np.array([0, y_m, 0, 0, 0, 0, 0]), sigma_m=1e-6).resection
        for y_m in (0.0, apart_m)
    )
    assert _agree(first, second, config) == same
    unsure = replace(second, covariance=np.diag([0, 0.1, 0, 0, 0, 0]))
    assert _agree(first, unsure, config)


def test_what_places_disagree_by_is_shared_by_as_many_as_there_are() -> None:
    """30 landmarks say 0.1 m to one side and 10 say 0.3 m and 0.2 rad to the other."""
    poses = [IDENTITY + np.array([0, 0.1, 0, 0, 0, 0, 0])]
    poses.append(np.array([0, -0.3, 0, *yaw_quat(-0.2)]))
    supports = [supported_by(pose, inliers=count) for pose, count in zip(poses, (30, 10))]
    mean = supported_by(IDENTITY).resection
    expected = np.zeros((6, 6))
    expected[1, 1] = (0.75 * 0.1**2 + 0.25 * 0.3**2) / 2
    expected[5, 5] = 0.25 * 0.2**2 / 2
    expected[1, 5] = expected[5, 1] = 0.25 * 0.3 * 0.2 / 2
    np.testing.assert_allclose(_scatter(supports, mean), expected, atol=1e-9)


def test_in_the_map_a_pose_has_the_errors_that_its_landmarks_share() -> None:
    origin = np.array([10.0, 20.0, 30.0, 0, 0, 0, 1])
    found = supported_by(np.array([1.0, 2.0, 3.0, *yaw_quat(0.4)]), sigma_m=0.1).resection
    told = _in_map(found, origin, np.eye(6) * 0.03, shared_error=9.0)
    np.testing.assert_allclose(told.pose, [11, 22, 33, *yaw_quat(0.4)], atol=1e-9)
    floor = [0.004**2] * 3 + [np.radians(0.02) ** 2] * 3
    np.testing.assert_allclose(told.covariance, np.diag(9 * 0.04 + np.array(floor)))


def test_the_agreeing_share_is_of_the_best_place_and_the_one_that_says_otherwise() -> None:
    found = Verified(supported_by(IDENTITY).resection, 0, 50, 30, 40, 10)
    assert found.agreement == pytest.approx(0.75)
    assert replace(found, rival_inliers=0).agreement == 1


def test_landmarks_that_are_seen_are_known_worst_along_the_rays_of_their_place() -> None:
    """The place is turned to the left: what is 2 m to its x is 2 m to the frame's y."""
    landmarks = Landmarks(
        np.array([[0, 0, 5.0], [2.0, 0, 0]], np.float32),
        np.array([0.5, 0.1], np.float32),
        np.zeros((2, 4), np.uint8),
    )
    seen = Sightings(np.array([[0.1, 0.2]]), np.array([7]), np.array([1]))
    found = _matches(landmarks, seen, np.array([1.0, 2.0, 3.0, *yaw_quat(np.pi / 2)]))
    np.testing.assert_allclose(found.points_m, [[1, 4, 3]], atol=1e-9)
    np.testing.assert_allclose(found.toward, [[0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(found.along_m2, [0.1**2], rtol=1e-6)
    np.testing.assert_allclose(found.across_m2, [(2e-3) ** 2], rtol=1e-6)
    assert found.keypoint.tolist() == [7] and found.rays is seen.rays
