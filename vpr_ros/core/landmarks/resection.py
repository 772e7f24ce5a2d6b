"""A camera's pose from rays to known points, and how sure it is.

A robust minimal solver finds the sightings that agree; Gauss-Newton then weighs each by the
feature's and its landmark's own uncertainty. The covariance is the inverse of that normal matrix,
scaled by the residuals, on top of a floor for what all landmarks have in common (the map's poses,
the calibration), which residuals do not show.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import compose, invert, matrix, quat_of_rotation_vector
from vpr_ros.core.landmarks.points import PIXEL_SIGMA, projection_slope
from vpr_ros.core.types import Poses

Array = NDArray[np.float64]

_RANSAC_PX = 4.0
_RANSAC_STEPS = 300
_STEPS, _ROUGH_STEPS = 10, 2
_CONVERGED = 1e-4  # squared change, in standard deviations of the pose
_HUBER = 2.0  # of the Mahalanobis distance, beyond which a sighting loses weight
_GATE = 9.21  # 99 % of a squared Mahalanobis distance in two dimensions
_MEDIAN = 1.386  # of chi-square with two degrees of freedom
_FEWEST, _FITTED = 4, 6  # features for a pose, and its numbers


@dataclass(frozen=True, slots=True)
class Matches:
    """Query rays and the points they may show, in one frame, M of them."""

    rays: Array  # [M, 2] on the plane z = 1
    points_m: Array  # [M, 3]
    covariance_m2: Array  # [M, 3, 3] of the points
    keypoint: NDArray[np.int64]  # [M] which feature of the query; one may match several points

    def __len__(self) -> int:
        """Number of sightings, M."""
        return len(self.rays)

    def chosen(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> 'Matches':
        """The sightings of some rows, or of a mask."""
        return Matches(
            self.rays[rows], self.points_m[rows], self.covariance_m2[rows], self.keypoint[rows]
        )


@dataclass(frozen=True, slots=True)
class Resection:
    """A pose and what supports it."""

    pose: Poses  # [7] frame_T_camera
    covariance: Array  # [6, 6] position, then rotation about the frame's axes
    inliers: NDArray[np.bool_]  # [M]


def resect(matches: Matches, *, focal_px: float) -> Resection | None:
    """The pose that most matches agree on, None where fewer than four do."""
    start = _ransac(matches, focal_px)
    return None if start is None else refine(matches, start, focal_px=focal_px)


def _ransac(matches: Matches, focal_px: float) -> Poses | None:
    """Frame_T_camera [7] by P3P in a consensus loop; in pixels, for OpenCV's thresholds."""
    if len(matches) < _FEWEST:
        return None
    try:
        found, turn, shift, inliers = cv2.solvePnPRansac(
            matches.points_m,
            matches.rays * focal_px,
            np.diag([focal_px, focal_px, 1.0]),
            None,
            reprojectionError=_RANSAC_PX,
            iterationsCount=_RANSAC_STEPS,
            confidence=0.9999,
            flags=cv2.SOLVEPNP_AP3P,
        )
    except cv2.error:  # degenerate points
        return None
    if not found or len(inliers) < _FEWEST:
        return None
    quat = quat_of_rotation_vector(np.asarray(turn, dtype=np.float64).ravel())
    if not np.isfinite([*quat, *shift.ravel()]).all():
        return None
    camera_T_frame = np.concatenate([shift.ravel(), quat])
    return invert(camera_T_frame)


def refine(matches: Matches, frame_T_camera: Poses, *, focal_px: float) -> Resection | None:
    """The most likely pose [7] near a given one, from the matches that fit it."""
    pose = invert(frame_T_camera)
    sigma = PIXEL_SIGMA / focal_px
    gate = max(_GATE, (_RANSAC_PX / PIXEL_SIGMA) ** 2)  # wide at first, as the start is rough
    for step in range(_STEPS):
        normal = _normal_equations(matches, pose, sigma, gate)
        if len(np.unique(matches.keypoint[normal.inliers])) < _FEWEST:
            return None
        change = _step(normal)
        if change is None:
            return None
        if step >= _ROUGH_STEPS and _in_sigmas(change, normal) < _CONVERGED:
            break
        pose = compose(np.append(change[:3], quat_of_rotation_vector(change[3:])), pose)
        pose[3:] /= np.linalg.norm(pose[3:])
        if step >= _ROUGH_STEPS:
            gate = _GATE * normal.scale
    normal = _normal_equations(matches, pose, sigma, gate)
    if _step(normal) is None:
        return None
    found = invert(pose)
    covariance = np.asarray(np.linalg.inv(normal.information) * normal.scale, dtype=np.float64)
    return Resection(found, _in_frame(covariance, found), normal.inliers)


@dataclass(frozen=True, slots=True)
class _NormalEquations:
    """The normal equations of one Gauss-Newton step."""

    information: Array  # [6, 6] of a shift and a turn of the camera's world
    gradient: Array  # [6]
    inliers: NDArray[np.bool_]  # [M]
    scale: float  # how much larger the squared residuals are than expected, at least 1


def _step(normal: _NormalEquations) -> Array | None:
    """Shift and turn [6] to the least residual; None where the points leave it open."""
    try:
        return np.asarray(-np.linalg.solve(normal.information, normal.gradient), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None


def _in_sigmas(change: Array, normal: _NormalEquations) -> float:
    """The square of a change of the pose [6], in its standard deviations."""
    return float(change @ normal.information @ change) / normal.scale


def _normal_equations(
    matches: Matches, pose: Poses, sigma: float, gate: float
) -> _NormalEquations:
    """Pose: camera_T_frame [7]; sigma: of a ray; gate: of the squared Mahalanobis distance."""
    seen, error, weight = _weighed(matches, pose, sigma)
    weighed_error = (weight @ error[:, :, None])[:, :, 0]
    distance = np.sum(error * weighed_error, axis=1)
    inliers = (distance < gate) & (seen[:, 2] > 0)
    robust = np.minimum(1, _HUBER / np.sqrt(np.maximum(distance, 1e-12)))
    share = _share(matches.keypoint, inliers) * robust
    slope = projection_slope(seen) @ _moved(seen)  # [M, 2, 6]
    weighed_slope = (share[:, None, None] * (weight @ slope)).reshape(-1, 6)
    return _NormalEquations(
        weighed_slope.T @ slope.reshape(-1, 6),
        weighed_slope.T @ error.ravel(),
        inliers,
        _scale(distance[inliers]),
    )


def _scale(distance: Array) -> float:
    """Squared residuals against what is expected, at least 1, and for the six fitted numbers."""
    measured = 2 * len(distance)
    if measured <= _FITTED:
        return 1.0
    return max(1.0, float(np.median(distance)) / _MEDIAN) * measured / (measured - _FITTED)


def _weighed(matches: Matches, pose: Poses, sigma: float) -> tuple[Array, Array, Array]:
    """Points in the camera [M, 3], errors [M, 2] and their inverse covariance [M, 2, 2]."""
    rotation = matrix(pose[3:])
    seen = matches.points_m @ rotation.T + pose[:3]
    slope = projection_slope(seen) @ rotation  # [M, 2, 3]
    depth = np.where(np.abs(seen[:, 2:]) < 1e-6, 1e-6, seen[:, 2:])
    error = np.asarray(seen[:, :2] / depth - matches.rays)
    covariance = slope @ matches.covariance_m2 @ np.swapaxes(slope, 1, 2)
    return seen, error, _inverse(covariance + sigma**2 * np.eye(2))


def _inverse(covariance: Array) -> Array:
    """Inverse of symmetric matrices [M, 2, 2]."""
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    turned = np.stack([c, -b, -b, a], axis=-1) / (a * c - b * b)[:, None]
    return np.asarray(turned.reshape(-1, 2, 2))


def _moved(seen: Array) -> Array:
    """Derivative [M, 3, 6] of points in the camera by a shift and a turn of the camera's world."""
    slope = np.zeros((len(seen), 3, 6))
    slope[:, :, :3] = np.eye(3)
    x, y, z = seen.T
    slope[:, 0, 4], slope[:, 0, 5] = z, -y
    slope[:, 1, 3], slope[:, 1, 5] = -z, x
    slope[:, 2, 3], slope[:, 2, 4] = y, -x
    return slope


def _share(keypoint: NDArray[np.int64], inliers: NDArray[np.bool_]) -> Array:
    """Weights [M] that sum to one for each keypoint: two landmarks of one feature are no two."""
    counts = np.bincount(keypoint[inliers], minlength=int(keypoint.max()) + 1)
    return np.where(inliers, 1 / np.maximum(counts[keypoint], 1), 0.0)


def _in_frame(covariance: Array, frame_T_camera: Poses) -> Array:
    """Covariance of position and rotation in the frame, from that of the camera's world."""
    rotation = matrix(frame_T_camera[3:])
    turned = np.zeros((6, 6))
    turned[:3, :3] = turned[3:, 3:] = -rotation
    return np.asarray(turned @ covariance @ turned.T)


def moved_to(resection: Resection, camera_T_base: Poses) -> Resection:
    """Covariance of a body that is fixed to the camera; its arm adds uncertainty of the turn."""
    arm = matrix(resection.pose[3:]) @ camera_T_base[:3]
    slope = np.eye(6)
    slope[:3, 3:] = -_cross(arm)
    return replace(
        resection,
        pose=compose(resection.pose, camera_T_base),
        covariance=slope @ resection.covariance @ slope.T,
    )


def _cross(vector: Array) -> Array:
    """The matrix [3, 3] by which a vector is crossed with others, from the left."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
