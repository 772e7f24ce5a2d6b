"""A camera's pose among points, and how sure it is."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vpr_ros.core.geometry import (
    IDENTITY,
    compose,
    invert,
    matrix,
    quat_conjugate,
    quat_multiply,
    quat_of_rotation_vector,
    rotate,
    rotation_vector,
    yaw_quat,
)
from vpr_ros.core.landmarks.resection import (
    Matches,
    Resection,
    _in_frame,
    _median,
    _normal_equations,
    _Sights,
    moved_to,
    refine,
    resect,
)
from vpr_ros.core.types import Poses


def turn_of(found: Poses, true: Poses) -> np.ndarray:
    return rotation_vector(quat_multiply(true[3:], quat_conjugate(found[3:])))


def simulated(
    random: np.random.Generator,
    true: Poses,
    *,
    count: int = 60,
    outliers: int = 0,
    along_m: float = 0.0,
) -> Matches:
    """Points seen with 0.7 px of noise at 500 px, some of them wrong.

    along_m: deviation of the points along one direction each, which the matches tell.
    """
    local = random.uniform([-3, -2, 4], [3, 2, 12], (count, 3))
    points = true[:3] + rotate(np.broadcast_to(true[3:], (count, 4)), local)
    rays = local[:, :2] / local[:, 2:] + random.normal(0, 0.7 / 500, (count, 2))
    rays[:outliers] = random.uniform(-0.5, 0.5, (outliers, 2))
    toward = random.normal(size=(count, 3))
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    points += along_m * random.normal(size=(count, 1)) * toward
    along, across = np.full(count, along_m**2), np.zeros(count)
    return Matches(rays, points, toward, along, across, np.arange(count))


@pytest.mark.parametrize('along_m', [0.0, 0.05])
def test_the_covariance_is_the_scatter_of_repeated_poses(along_m: float) -> None:
    random = np.random.default_rng(1)
    true = np.append([2.0, -1.0, 0.5], quat_of_rotation_vector(np.array([0.3, -0.8, 0.2])))
    camera_T_base = np.append([0.5, 0.2, -0.4], yaw_quat(0.4))
    errors, told = [], []
    for _ in range(300):
        found = resect(simulated(random, true, along_m=along_m), focal_px=500.0)
        assert found is not None
        based, true_base = moved_to(found, camera_T_base), compose(true, camera_T_base)
        errors.append(np.append(based.pose[:3] - true_base[:3], -turn_of(based.pose, true_base)))
        told.append(based.covariance)
    scatter, mean = np.cov(np.array(errors).T), np.mean(told, axis=0)
    ratio = np.linalg.eigvals(np.linalg.solve(mean, scatter)).real
    assert ratio.min() > 0.5 and ratio.max() < 1.5


def test_the_normal_equations_are_those_of_a_loop_over_sightings() -> None:
    """Slopes by differences, and each error's covariance from that of its point.

    The last two points are far off, one is behind the camera, and features show two points each.
    """
    random = np.random.default_rng(11)
    count, floor, gate, far_off = 14, 0.002**2, 200.0, 12
    local = random.uniform([-3, -2, 4], [3, 2, 12], (count, 3))
    local[3, 2] = -6.0
    rotation = cv2.Rodrigues(np.array([0.3, -0.8, 0.2]))[0]
    shift = np.array([0.5, -1.0, 2.0])
    toward = random.normal(size=(count, 3))
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    along, across = random.uniform(0.01, 0.04, count), random.uniform(1e-4, 1e-3, count)
    rays = local[:, :2] / local[:, 2:] + random.normal(0, 0.01, (count, 2))
    rays[far_off:] += 0.9
    keypoint = np.arange(count) // 2
    points = (local - shift) @ rotation
    matches = Matches(rays, points, toward, along, across, keypoint)
    found = _normal_equations(_Sights.of(matches, floor**0.5), rotation, shift, gate)

    def error(row: int, change: np.ndarray, moved_m: np.ndarray) -> np.ndarray:
        turn = cv2.Rodrigues(change[3:])[0]
        x, y, z = turn @ (rotation @ (points[row] + moved_m) + shift) + change[:3]
        return np.array([x / z, y / z]) - rays[row]

    def slope(function: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
        steps = 1e-6 * np.eye(size)
        return np.stack([(function(step) - function(-step)) / 2e-6 for step in steps], axis=1)

    still = np.zeros(6), np.zeros(3)
    seen, distance, parts = np.zeros(count, bool), np.zeros(count), []
    for row in range(count):
        by_point = slope(lambda moved_m, row=row: error(row, still[0], moved_m), 3)
        by_pose = slope(lambda change, row=row: error(row, change, still[1]), 6)
        ahead = np.outer(toward[row], toward[row])
        spread = along[row] * ahead + across[row] * (np.eye(3) - ahead)
        inverse = np.linalg.inv(by_point @ spread @ by_point.T + floor * np.eye(2))
        off = error(row, *still)
        distance[row] = off @ inverse @ off
        seen[row] = distance[row] < gate and local[row, 2] > 0
        parts.append((by_pose.T @ inverse @ by_pose, by_pose.T @ inverse @ off))
    assert not seen[3] and not seen[far_off:].any() and seen.sum() == far_off - 1
    weight = seen * np.minimum(1, 2.0 / np.sqrt(distance))
    weight /= [max(seen[keypoint == one].sum(), 1) for one in keypoint]
    for mine, naive in zip((found.information, found.gradient), zip(*parts, strict=True)):
        expected = sum(share * part for share, part in zip(weight, naive, strict=True))
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(found.inliers, seen)
    assert found.features == len(np.unique(keypoint[seen])) == 6
    expected = np.median(distance[seen]) / (2 * np.log(2)) * 22 / (22 - 6)
    assert found.scale == pytest.approx(max(expected, 22 / 16), rel=1e-3)


def spread(random: np.random.Generator) -> np.ndarray:
    """Any covariance [6, 6]."""
    root = random.normal(size=(6, 6))
    return root @ root.T


def slope_of(function: Callable[[np.ndarray], Poses]) -> np.ndarray:
    """Shift and turn about the frame's axes of a pose, by what changes it [6, 6]: differences."""
    at = function(np.zeros(6))

    def change(by: np.ndarray) -> np.ndarray:
        pose = function(by)
        turn = rotation_vector(quat_multiply(pose[3:], quat_conjugate(at[3:])))
        return np.append(pose[:3] - at[:3], turn)

    return np.stack([(change(by) - change(-by)) / 2e-5 for by in 1e-5 * np.eye(6)], axis=1)


def test_covariances_follow_a_pose_into_other_frames() -> None:
    """From the camera's world to the frame, and on to a body that the camera is fixed to."""
    random = np.random.default_rng(12)
    true = np.append([2.0, -1.0, 0.5], quat_of_rotation_vector(np.array([0.3, -0.8, 0.2])))
    camera_T_base = np.append([0.5, 0.2, -0.4], yaw_quat(0.4))
    covariance, none = spread(random), np.zeros(0, dtype=bool)

    def by_world(change: np.ndarray) -> Poses:
        moved = np.append(change[:3], quat_of_rotation_vector(change[3:]))
        return invert(compose(moved, invert(true)))

    slope = slope_of(by_world)
    np.testing.assert_allclose(
        _in_frame(covariance, true), slope @ covariance @ slope.T, atol=1e-6
    )

    def by_camera(change: np.ndarray) -> Poses:
        turn = quat_of_rotation_vector(change[3:])
        moved = np.append(true[:3] + change[:3], quat_multiply(turn, true[3:]))
        return compose(moved, camera_T_base)

    found = moved_to(Resection(true, covariance, none, 0), camera_T_base)
    slope = slope_of(by_camera)
    np.testing.assert_allclose(found.pose, compose(true, camera_T_base))
    np.testing.assert_allclose(found.covariance, slope @ covariance @ slope.T, atol=1e-6)


def test_a_covariance_grows_with_what_is_left_of_the_error_and_shrinks_for_no_luck() -> None:
    """Features are found to 0.7 px; three times as much noise is nine times the variance.

    And somewhat more, as sightings beyond two deviations count less.
    """
    random = np.random.default_rng(13)
    matches = simulated(random, IDENTITY, count=200)
    exact = matches.points_m[:, :2] / matches.points_m[:, 2:]
    variances = []
    for share in (0.0, 0.3, 1.0, 3.0):
        noisy = replace(matches, rays=exact + share * (matches.rays - exact))
        found = refine(noisy, IDENTITY, focal_px=500.0)
        assert found is not None
        variances.append(np.diag(found.covariance))
    nothing, little, usual, much = variances
    np.testing.assert_allclose(little / nothing, 1, atol=0.1)
    np.testing.assert_allclose(usual / nothing, 1, atol=0.25)
    assert 9 < np.median(much / nothing) < 18


@pytest.mark.parametrize('count', [1, 2, 7, 8])
def test_a_median_is_numpys(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    assert _median(values) == pytest.approx(np.median(values))


def test_a_rough_start_is_refined_to_the_exact_pose() -> None:
    true = np.append([2.0, -1.0, 0.5], quat_of_rotation_vector(np.array([0.3, -0.8, 0.2])))
    matches = simulated(np.random.default_rng(14), true)
    local = compose(
        invert(true), np.column_stack([matches.points_m, np.tile(IDENTITY[3:], (60, 1))])
    )
    matches = replace(matches, rays=local[:, :2] / local[:, 2:3])
    start = compose(true, np.append([0.01, -0.02, 0.01], yaw_quat(0.004)))
    found = refine(matches, start, focal_px=500.0)
    assert found is not None and found.features == 60 == found.inliers.sum()
    np.testing.assert_allclose(found.pose, true, atol=1e-6)


def test_a_start_that_is_a_few_pixels_off_still_sees_its_landmarks() -> None:
    """It is turned by 2.75 px in the middle of the image, which no feature is off by chance."""
    matches = simulated(np.random.default_rng(15), IDENTITY)
    matches = replace(matches, rays=matches.points_m[:, :2] / matches.points_m[:, 2:])
    turned = quat_of_rotation_vector(np.array([0, 2.75 / 500, 0]))
    found = refine(matches, np.append(np.zeros(3), turned), focal_px=500.0)
    assert found is not None and found.features == 60
    np.testing.assert_allclose(found.pose, IDENTITY, atol=1e-6)


@pytest.mark.parametrize(('wrong_px', 'is_inlier'), [(2.0, True), (4.2, False)])
def test_a_sighting_counts_if_its_error_may_be_chance(wrong_px: float, is_inlier: bool) -> None:
    """Of errors of 0.7 px in both directions, 99 % are below 2.1 px, and none is beyond 4 px."""
    matches = simulated(np.random.default_rng(16), IDENTITY, count=200)
    rays = matches.points_m[:, :2] / matches.points_m[:, 2:]
    rays[7, 0] += wrong_px / 500
    found = refine(replace(matches, rays=rays), IDENTITY, focal_px=500.0)
    assert found is not None and found.inliers[7] == is_inlier and found.inliers.sum() >= 199


def test_in_a_turned_frame_a_pose_and_its_covariance_are_turned() -> None:
    random = np.random.default_rng(17)
    matches = simulated(random, IDENTITY)
    turn = quat_of_rotation_vector(np.array([0.5, -0.3, 1.2]))
    frame = np.append([3.0, -2.0, 1.0], turn)
    there = replace(
        matches,
        points_m=frame[:3] + rotate(np.broadcast_to(turn, (60, 4)), matches.points_m),
        toward=rotate(np.broadcast_to(turn, (60, 4)), matches.toward),
    )
    one, other = (
        refine(each, start, focal_px=500.0)
        for each, start in ((matches, IDENTITY), (there, frame))
    )
    assert one is not None and other is not None
    np.testing.assert_allclose(other.pose[:3], compose(frame, one.pose)[:3], atol=1e-6)
    both = np.kron(np.eye(2), matrix(turn))
    np.testing.assert_allclose(other.covariance, both @ one.covariance @ both.T, atol=1e-10)


def test_two_landmarks_of_one_feature_count_as_one() -> None:
    matches = simulated(np.random.default_rng(6), IDENTITY, outliers=5)
    once = resect(matches, focal_px=500.0)
    twice = resect(Matches.joined([matches, matches]), focal_px=500.0)
    assert once is not None and twice is not None
    assert twice.features == once.features == once.inliers.sum() == twice.inliers.sum() / 2
    np.testing.assert_allclose(twice.pose, once.pose, atol=1e-4)
    spread = np.sqrt(np.diag(twice.covariance) / np.diag(once.covariance))
    np.testing.assert_allclose(spread, 1, atol=0.05)


def test_what_lies_behind_the_camera_is_not_seen() -> None:
    matches = simulated(np.random.default_rng(7), IDENTITY)
    behind = replace(matches, points_m=-matches.points_m, keypoint=matches.keypoint + 60)
    found = resect(Matches.joined([matches, behind]), focal_px=500.0)
    assert found is not None and found.inliers[:60].mean() > 0.9 and not found.inliers[60:].any()
    np.testing.assert_allclose(found.pose[:3], 0, atol=0.03)


def test_wrong_matches_do_not_move_the_pose() -> None:
    random = np.random.default_rng(2)
    true = np.append([2.0, -1.0, 0.5], quat_of_rotation_vector(np.array([0.3, -0.8, 0.2])))
    found = resect(simulated(random, true, outliers=25), focal_px=500.0)
    assert found is not None and not found.inliers[:25].any() and found.inliers[25:].mean() > 0.9
    assert np.linalg.norm(found.pose[:3] - true[:3]) < 0.03


@pytest.mark.parametrize('count', [0, 3])
def test_too_few_matches_give_no_pose(count: int) -> None:
    random = np.random.default_rng(3)
    matches = simulated(random, IDENTITY, count=count)
    assert resect(matches, focal_px=500.0) is None
