"""The pose on which the landmarks of several places agree.

The landmarks of each place give a pose by themselves. A place holds if a share of its matches, not
just a number of them, agrees on its pose, and that pose is known well and lies near the place. The
places that agree on where the camera is then give the pose together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import (
    compose,
    lengths,
    matrix,
    quat_conjugate,
    quat_multiply,
    rotation_vector,
)
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.landmarks.resection import Matches, Resection, refine, resect
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.sightings import Sightings
from vpr_ros.core.types import Poses

Array = NDArray[np.float64]

_LATERAL = 1e-3  # deviation of a landmark across its ray, per metre: a pixel at 700 px
_POSITION_FLOOR_M, _ROTATION_FLOOR_RAD = 0.004, np.radians(0.02)
_SAME_POSE_SIGMAS = 5.0


@dataclass(frozen=True, slots=True)
class Verified:
    """Where the camera is by the landmarks of the places that agree."""

    resection: Resection  # map_T_camera
    place_index: int  # the one with most support
    inliers: int  # features of the query that agree with a landmark
    best_inliers: int  # of the best place's matches
    best_matches: int  # all of them
    rival_inliers: int  # of the best place that says otherwise; 0: none does

    @property
    def agreement(self) -> float:
        """Share of the best place's inliers, against those of the place that says otherwise."""
        return self.best_inliers / (self.best_inliers + self.rival_inliers)


@dataclass(frozen=True, slots=True)
class Support:
    """The pose that the landmarks of one place give, and its support."""

    place_index: int
    matches: Matches  # in the map frame, moved to the best candidate's origin
    resection: Resection
    landmark: NDArray[np.int64]  # [M], row of the place's landmarks, of each match
    keypoints: int  # features of the query that have a match

    @property
    def inliers(self) -> int:
        """Features of the query that agree with a landmark."""
        return self.resection.features


def support_of(
    place_index: int,
    landmarks: Landmarks,
    seen: Sightings,
    *,
    origin_T_place: Poses,
    focal_px: float,
) -> Support | None:
    """The pose that the landmarks of a place give; None where they agree on none.

    origin_T_place: [7], of the camera at the place, in the frame of the matches.
    """
    matches = _matches(landmarks, seen, origin_T_place)
    resection = resect(matches, focal_px=focal_px)
    if resection is None:
        return None
    return Support(place_index, matches, resection, seen.landmark, len(np.unique(seen.keypoint)))


def holds(
    support: Support, origin_T_place: Poses, config: LocalizerConfig, least_ratio: float
) -> bool:
    """Whether enough matches, and a large enough share of them, fix a pose near the place.

    least_ratio: of the features with a match, the share that must agree.
    """
    if support.inliers < max(config.min_inliers, least_ratio * support.keypoints):
        return False
    resection = support.resection
    sigma_m = np.sqrt(np.linalg.eigvalsh(resection.covariance[:3, :3])[-1])
    if not sigma_m < config.agreement_radius / 2:
        return False
    inliers_m = support.matches.points_m[resection.inliers]
    range_m = lengths(inliers_m - origin_T_place[:3])
    apart_m = lengths(resection.pose[:3] - origin_T_place[:3])
    return bool(apart_m < np.percentile(range_m, 90))


def consensus(
    supports: Sequence[Support],
    origin: Poses,
    config: LocalizerConfig,
    *,
    focal_px: float,
    shared_error: float,
) -> Verified | None:
    """The pose on which places agree, all of which hold; None where there is none.

    origin: in the map, of the frame of their matches; shared_error: see Features.
    """
    if not supports:
        return None
    best = max(supports, key=lambda support: support.inliers)
    agreeing = [other for other in supports if _agree(best.resection, other.resection, config)]
    rival = max([other.inliers for other in supports if other not in agreeing], default=0)
    resection: Resection | None = best.resection
    if len(agreeing) > 1:
        joined = Matches.joined([support.matches for support in agreeing])
        resection = refine(joined, best.resection.pose, focal_px=focal_px)
    if resection is None:
        return None
    scatter = _scatter(agreeing, resection)
    return Verified(
        _in_map(resection, origin, scatter, shared_error=shared_error),
        best.place_index,
        resection.features,
        best.inliers,
        best.keypoints,
        rival,
    )


def _matches(landmarks: Landmarks, seen: Sightings, frame_T_place: Poses) -> Matches:
    """The landmarks that are seen, in a frame."""
    rotation = matrix(frame_T_place[3:])
    points = landmarks.points_m[seen.landmark].astype(np.float64)
    along = landmarks.sigma_m[seen.landmark].astype(np.float64) ** 2
    range_m = np.linalg.norm(points, axis=1)
    return Matches(
        seen.rays,
        points @ rotation.T + frame_T_place[:3],
        (points / range_m[:, None]) @ rotation.T,
        along,
        (range_m * _LATERAL) ** 2,
        seen.keypoint,
    )


def _agree(first: Resection, second: Resection, config: LocalizerConfig) -> bool:
    """Whether two poses are the same within their uncertainty."""
    apart = first.pose[:3] - second.pose[:3]
    spread = first.covariance[:3, :3] + second.covariance[:3, :3]
    spread = spread + np.eye(3) * (config.agreement_radius / 10) ** 2
    return bool(apart @ np.linalg.solve(spread, apart) < _SAME_POSE_SIGMAS**2)


def _scatter(supports: list[Support], resection: Resection) -> Array:
    """Covariance [6, 6] of the mean of what the places say one by one.

    Landmarks of one place share the errors of the map's poses around it, which no residual shows;
    places disagree by them.
    """
    apart = np.array([_difference(support.resection.pose, resection.pose) for support in supports])
    weight = np.array([support.inliers for support in supports], dtype=np.float64)
    spread: Array = np.einsum('s,si,sj->ij', weight / weight.sum(), apart, apart)
    return spread / len(supports)


def _difference(first: Poses, second: Poses) -> Array:
    """Shift and turn [6] from the second to the first, about the frame's axes."""
    turn = rotation_vector(quat_multiply(first[3:], quat_conjugate(second[3:])))
    return np.concatenate([first[:3] - second[:3], turn])


def _in_map(
    resection: Resection, origin: Poses, common: Array, *, shared_error: float
) -> Resection:
    """In the map frame, with what landmarks have in common added to the covariance."""
    floor = np.diag([_POSITION_FLOOR_M**2] * 3 + [_ROTATION_FLOOR_RAD**2] * 3)
    return Resection(
        compose(origin, resection.pose),
        shared_error * (resection.covariance + common) + floor,
        resection.inliers,
        resection.features,
    )
