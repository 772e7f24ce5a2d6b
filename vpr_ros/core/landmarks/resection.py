"""A camera's pose from rays to known points, and how sure it is.

A robust minimal solver finds the sightings that agree; Gauss-Newton then weighs each by the
feature's and its landmark's own uncertainty. The covariance is the inverse of that normal matrix,
scaled by the residuals, on top of a floor for what all landmarks have in common (the map's poses,
the calibration), which residuals do not show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import (
    compose,
    invert,
    matrix,
    quat_of_matrix,
    quat_of_rotation_vector,
)
from vpr_ros.core.landmarks.points import PIXEL_SIGMA, safe_depth
from vpr_ros.core.types import Poses

Array = NDArray[np.float64]

_RANSAC_PX = 4.0
_RANSAC_STEPS = 300
_STEPS, _ROUGH_STEPS = 10, 2
_CONVERGED = 1e-4  # squared change, in standard deviations of the pose
_HUBER = 2.0  # of the Mahalanobis distance, beyond which a sighting loses weight
_GATE = 9.21  # 99 % of a squared Mahalanobis distance in two dimensions
_MEDIAN = 1.386  # of chi-square with two degrees of freedom
_FEWEST, _FITTED = 4, 6  # features that fix a pose, and numbers of a pose


@dataclass(frozen=True, slots=True)
class Matches:
    """Query rays and the points they may show, in one frame, M of them.

    A point is known worse along the ray in which its place saw it than across it.
    """

    rays: Array  # [M, 2] on the plane z = 1
    points_m: Array  # [M, 3]
    toward: Array  # [M, 3] unit vectors, along which a point is known worst
    along_m2: Array  # [M], a point's variance along it
    across_m2: Array  # [M], and in the two directions across
    keypoint: NDArray[np.int64]  # [M] which feature of the query; one may match several points

    def __len__(self) -> int:
        """Number of sightings, M."""
        return len(self.rays)

    @classmethod
    def joined(cls, parts: 'Sequence[Matches]') -> 'Matches':
        """All matches of some parts, which are in one frame."""
        columns = [[getattr(part, one.name) for part in parts] for one in fields(cls)]
        return cls(*map(np.concatenate, columns))


@dataclass(frozen=True, slots=True)
class Resection:
    """A pose and what supports it."""

    pose: Poses  # [7] frame_T_camera
    covariance: Array  # [6, 6] position, then rotation about the frame's axes
    inliers: NDArray[np.bool_]  # [M]
    features: int  # of the query, that the inliers are


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
    start = invert(frame_T_camera)
    rotation, shift = matrix(start[3:]), start[:3]  # camera_T_frame
    sights = _Sights.of(matches, PIXEL_SIGMA / focal_px)
    gate = max(_GATE, (_RANSAC_PX / PIXEL_SIGMA) ** 2)  # wide at first, as the start is rough
    steps = 0
    while True:
        normal = _normal_equations(sights, rotation, shift, gate)
        change = _step(normal)
        if change is None or normal.features < _FEWEST:
            return None
        is_rough = steps < _ROUGH_STEPS
        if steps == _STEPS or (not is_rough and _in_sigmas(change, normal) < _CONVERGED):
            break
        steps += 1
        turn = cv2.Rodrigues(change[3:])[0]
        rotation, shift = turn @ rotation, turn @ shift + change[:3]
        if not is_rough:
            gate = _GATE * normal.scale
    found = invert(np.concatenate([shift, quat_of_matrix(rotation)]))
    covariance = np.asarray(np.linalg.inv(normal.information) * normal.scale, dtype=np.float64)
    return Resection(found, _in_frame(covariance, found), normal.inliers, normal.features)


@dataclass(frozen=True, slots=True)
class _Sights:
    """Matches as the normal equations read them: long rows, over which numpy is quick."""

    points: Array  # [3, M]
    toward: Array  # [3, M]
    rays: Array  # [2, M]
    across: Array  # [M] variance of a point in all directions
    further: Array  # [M] and how much more it is along `toward`
    floor: float  # variance of a ray
    keypoint: NDArray[np.int64]  # [M]
    keypoints: int

    @classmethod
    def of(cls, matches: Matches, sigma: float) -> '_Sights':
        """sigma: of a ray."""
        return cls(
            np.ascontiguousarray(matches.points_m.T),
            np.ascontiguousarray(matches.toward.T),
            np.ascontiguousarray(matches.rays.T),
            matches.across_m2,
            matches.along_m2 - matches.across_m2,
            sigma**2,
            matches.keypoint,
            int(matches.keypoint.max(initial=-1)) + 1,
        )


@dataclass(frozen=True, slots=True)
class _NormalEquations:
    """The normal equations of one Gauss-Newton step."""

    information: Array  # [6, 6] of a shift and a turn of the camera's world
    gradient: Array  # [6]
    inliers: NDArray[np.bool_]  # [M]
    features: int  # of the query, that the inliers are
    scale: float  # how much larger the squared residuals are than expected, at least 1


def _step(normal: _NormalEquations) -> Array | None:
    """Shift and turn [6] to the least residual; None where the points leave it open."""
    found, step = cv2.solve(normal.information, -normal.gradient, flags=cv2.DECOMP_CHOLESKY)
    return np.asarray(step[:, 0]) if found else None


def _in_sigmas(change: Array, normal: _NormalEquations) -> float:
    """The square of a change of the pose [6], in its standard deviations."""
    return float(change @ normal.information @ change) / normal.scale


def _normal_equations(
    sights: _Sights, rotation: Array, shift: Array, gate: float
) -> _NormalEquations:
    """rotation, shift: camera_T_frame; gate: of the squared Mahalanobis distance."""
    x, y, z = rotation @ sights.points + shift[:, None]
    inverse = 1 / safe_depth(z)
    u, v = x * inverse, y * inverse
    error = np.empty((2, len(u)))
    np.subtract(u, sights.rays[0], out=error[0])
    np.subtract(v, sights.rays[1], out=error[1])
    uv, one_uu, one_vv = u * v, 1 + u * u, 1 + v * v

    # Inverse covariance of the error: what a point's covariance is on the plane z = 1.
    ahead = rotation @ sights.toward
    p, q = (ahead[0] - u * ahead[2]) * inverse, (ahead[1] - v * ahead[2]) * inverse
    near, far_p = sights.across * inverse * inverse, sights.further * p
    uu_part = near * one_uu + far_p * p + sights.floor
    uv_part = near * uv + far_p * q
    vv_part = near * one_vv + sights.further * q * q + sights.floor
    determinant = uu_part * vv_part - uv_part * uv_part
    weigh_uu, weigh_uv, weigh_vv = (
        vv_part / determinant,
        -uv_part / determinant,
        uu_part / determinant,
    )

    cross_error = weigh_uv * error[1]
    distance = (weigh_uu * error[0] + 2 * cross_error) * error[0] + weigh_vv * error[1] ** 2
    inliers = (distance < gate) & (z > 0)
    share, features = _share(sights, inliers)
    share *= np.minimum(1, _HUBER / np.sqrt(np.maximum(distance, 1e-12)))

    # Derivative of the error by a shift and a turn of the camera's world.
    slope = np.zeros((6, 2, len(u)))
    slope[0, 0] = slope[1, 1] = inverse
    slope[2, 0], slope[2, 1] = -u * inverse, -v * inverse
    slope[3, 0], slope[3, 1] = -uv, -one_vv
    slope[4, 0], slope[4, 1] = one_uu, uv
    slope[5, 0], slope[5, 1] = -v, u
    weighed = np.empty_like(slope)
    mixed = share * weigh_uv
    weighed[:, 0] = (share * weigh_uu) * slope[:, 0] + mixed * slope[:, 1]
    weighed[:, 1] = mixed * slope[:, 0] + (share * weigh_vv) * slope[:, 1]
    rows = weighed.reshape(6, -1)
    return _NormalEquations(
        rows @ slope.reshape(6, -1).T,
        rows @ error.ravel(),
        inliers,
        features,
        _scale(distance[inliers]),
    )


def _scale(distance: Array) -> float:
    """Squared residuals against what is expected, at least 1, and for the six fitted numbers."""
    measured = 2 * len(distance)
    if measured <= _FITTED:
        return 1.0
    return max(1.0, _median(distance) / _MEDIAN) * measured / (measured - _FITTED)


def _median(values: Array) -> float:
    """np.median, without its cost on a few."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    return float(np.partition(values, (middle - 1, middle))[middle - 1 : middle + 1].mean())


def _share(sights: _Sights, inliers: NDArray[np.bool_]) -> tuple[Array, int]:
    """Weights [M] that sum to one for each keypoint, and how many keypoints have an inlier.

    Two landmarks of one feature are no two.
    """
    counts = np.bincount(sights.keypoint[inliers], minlength=sights.keypoints)
    features = int(np.count_nonzero(counts))
    return inliers / np.maximum(counts, 1)[sights.keypoint], features


def _in_frame(covariance: Array, frame_T_camera: Poses) -> Array:
    """Covariance of position and rotation in the frame, from that of the camera's world."""
    rotation = matrix(frame_T_camera[3:])
    turned = np.zeros((6, 6))
    turned[:3, :3] = turned[3:, 3:] = -rotation
    return np.asarray(turned @ covariance @ turned.T)


def moved_to(resection: Resection, camera_T_base: Poses) -> Resection:
    """The pose and covariance of a body that is fixed to the camera, by camera_T_base [7].

    The farther it is from the camera, the more the uncertainty of the turn adds to its position's.
    """
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
