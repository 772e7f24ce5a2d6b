"""Candidates -> a pose with a covariance, or a reason why there is none.

Retrieval lies now and then, and its best answer alone does not tell when. Candidates that agree on
a place do: the mode of their weighted positions is found first, a fix is given only if enough
weight stands behind it, and the pose is a robust mean over the candidates of that mode. With a
belief, the weights are the belief's and a calibrated probability decides.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import (
    mean_quat,
    quat_conjugate,
    quat_multiply,
    rotation_vector,
)
from vpr_ros.core.localizing.confidence import observe
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses

Array: TypeAlias = NDArray[np.float64]

_ROBUST_STEPS = 3
_MOST = 0.5
_UNIFORM_ANGLE_VARIANCE = np.pi**2 / 3  # of an angle about which nothing is known


class Reason(Enum):
    """Why there is no fix."""

    NOTHING_SIMILAR = 'no place on the map is similar enough'
    CANDIDATES_DISAGREE = 'the similar places lie apart'
    OUTSIDE_PRIOR = 'no place on the map lies where the initial pose says'
    NOT_SURE = 'not sure enough yet'
    ELSEWHERE = 'probably not on the map'
    NOTHING_SEEN = 'the image shows nothing'


@dataclass(frozen=True, slots=True)
class Fix:
    """Where the robot is."""

    pose: Poses  # [7], map_T_base
    covariance: Array  # [6, 6]: x y z in m^2, rotations about the map's x y z axes in rad^2
    probability: float  # that it is right, in [0, 1]; from one image only, the agreeing share
    place_index: int  # the most similar place of those that agree
    inliers: int = 0  # landmarks that the pose rests on; 0: on the places' own poses


@dataclass(frozen=True, slots=True)
class NoFix:
    """The robot cannot tell where it is."""

    reason: Reason
    probability: float = 0.0  # of the best answer that was refused


def estimate(
    candidates: Candidates,
    place_map: PlaceMap,
    config: LocalizerConfig,
    *,
    base_T_camera: Poses | None = None,
) -> Fix | NoFix:
    """Robust weighted mean of the agreeing candidates.

    base_T_camera: [7], this robot's mounting; None takes the mapping camera's.
    """
    if len(candidates) == 0:
        return NoFix(Reason.OUTSIDE_PRIOR)
    if candidates.similarity[0] < config.min_similarity:
        return NoFix(Reason.NOTHING_SIMILAR)
    poses = place_map.base_poses(candidates.place_index, base_T_camera=base_T_camera)  # [K, 7]
    similarity = candidates.similarity.astype(np.float64)
    weights = np.exp((similarity - similarity[0]) / config.similarity_scale)
    weights /= weights.sum()
    agreeing, agreement, _ = _strongest_mode(poses, weights, config, place_map.header.has_heading)
    if agreement < config.min_agreement:
        return NoFix(Reason.CANDIDATES_DISAGREE, agreement)
    return _fix(
        candidates.place_index[agreeing],
        poses[agreeing],
        similarity[agreeing],
        weights[agreeing],
        agreement,
        place_map,
        config,
    )


@dataclass(frozen=True, slots=True)
class Observed:
    """What candidates of a belief tell about their strongest mode, see confidence.observe."""

    agreeing: NDArray[np.bool_]  # [K], which of them are the mode
    values: Array  # [OBSERVED]


def observe_belief(
    candidates: Candidates, most_similar: Candidates, place_map: PlaceMap, config: LocalizerConfig
) -> Observed:
    """Observations of the strongest mode of a belief's candidates.

    most_similar: the candidates by similarity alone; the best of them outside the mode is the next
    distinct place, or else the last of them, which is then no less similar.
    """
    poses = place_map.base_poses(candidates.place_index)
    assert candidates.weight is not None
    weights = candidates.weight.astype(np.float64)
    agreeing, belief, rival = _strongest_mode(poses, weights, config, place_map.header.has_heading)
    similarity = float(candidates.similarity[agreeing].max())
    centre_m = poses[np.flatnonzero(agreeing)[0], :3]
    others_m = place_map.base_poses(most_similar.place_index)[:, :3]
    outside = np.linalg.norm(others_m - centre_m, axis=1) > config.agreement_radius
    next_best = most_similar.similarity[outside] if outside.any() else most_similar.similarity
    runner_up = float(next_best[0] if outside.any() else next_best[-1])
    ratio = (1 - runner_up) / max(1 - similarity, 1e-3)
    share = weights / max(float(weights.sum()), 1e-12)
    away_m = poses[:, :3] - share @ poses[:, :3]
    spread = float(np.sqrt(share @ (away_m**2).sum(axis=1))) / config.agreement_radius
    return Observed(agreeing, observe(belief, similarity, ratio, spread, rival=rival))


def estimate_belief(
    candidates: Candidates,
    observed: Observed,
    probability: float,
    place_map: PlaceMap,
    config: LocalizerConfig,
    *,
    base_T_camera: Poses | None = None,
) -> Fix | NoFix:
    """The pose of a belief's strongest mode, if it is probable enough."""
    if probability < 1 - config.max_false_fix_rate:
        assert candidates.weight is not None
        away = float(candidates.weight.sum()) < _MOST
        return NoFix(Reason.ELSEWHERE if away else Reason.NOT_SURE, probability)
    agreeing = observed.agreeing
    assert candidates.weight is not None
    poses = place_map.base_poses(candidates.place_index[agreeing], base_T_camera=base_T_camera)
    weights = candidates.weight[agreeing].astype(np.float64)
    similarity = candidates.similarity[agreeing].astype(np.float64)
    return _fix(
        candidates.place_index[agreeing],
        poses,
        similarity,
        weights,
        probability,
        place_map,
        config,
    )


def _fix(
    places: NDArray[np.int64],
    poses: Poses,
    similarity: Array,
    weights: Array,
    probability: float,
    place_map: PlaceMap,
    config: LocalizerConfig,
) -> Fix:
    """The robust mean of candidates that agree, all [K], best first."""
    pose, covariance = _robust_mean(
        poses, weights, prior_sigma=_prior_sigma(similarity, weights, config)
    )
    if not place_map.header.has_heading:
        covariance[3:] = covariance[:, 3:] = 0
        covariance[3:, 3:] = np.eye(3) * _UNIFORM_ANGLE_VARIANCE
    return Fix(pose, covariance, probability, int(places[0]))


def _strongest_mode(
    poses: Poses, weights: Array, config: LocalizerConfig, has_heading: bool
) -> tuple[NDArray[np.bool_], float, float]:
    """Which poses [K] agree with the one that most weight agrees with, and how much that is.

    And how much weight is behind the strongest of the others.
    """
    apart_m = np.linalg.norm(poses[:, None, :3] - poses[None, :, :3], axis=-1)  # [K, K]
    agree = apart_m <= config.agreement_radius
    if has_heading:
        cosine = np.abs(poses[:, 3:] @ poses[:, 3:].T)  # of half the angle between
        agree &= cosine >= np.cos(np.radians(config.agreement_heading) / 2)
    support = agree @ weights
    mode = int(np.argmax(support))
    others = ~agree[mode]
    rival = (agree[np.ix_(others, others)] @ weights[others]).max(initial=0.0)
    return agree[mode], float(min(support[mode], 1.0)), float(rival)


def _prior_sigma(similarity: Array, weights: Array, config: LocalizerConfig) -> Array:
    """Uncertainty [6] of a single match: a place's extent, scaled by the descriptors' distance.

    Unit descriptors with similarity s lie sqrt(2 (1 - s)) apart: 0 for the same image, 1 for s =
    0.5.
    """
    mean_similarity = float(np.average(similarity, weights=weights))
    distance = np.sqrt(max(2 * (1 - mean_similarity), 1e-4))
    extent = [config.agreement_radius] * 3 + [np.radians(config.agreement_heading)] * 3
    return np.asarray(np.array(extent) * (distance / 2))


def _robust_mean(poses: Poses, weights: Array, *, prior_sigma: Array) -> tuple[Poses, Array]:
    """Mean pose [7] and covariance [6, 6] of poses [K, 7].

    The mean is iteratively reweighted (Cauchy), so that one far candidate does not drag it. The
    covariance is the spread of the candidates plus the uncertainty of a single match, shared among
    as many as effectively take part.
    """
    robust = weights / weights.sum()
    for _ in range(_ROBUST_STEPS):
        mean = robust @ poses[:, :3]
        apart = np.linalg.norm((poses[:, :3] - mean) / prior_sigma[:3], axis=1)
        robust = weights / (1 + apart**2)
        robust /= robust.sum()
    pose = np.concatenate([robust @ poses[:, :3], mean_quat(poses[:, 3:], robust)])
    turn = rotation_vector(quat_multiply(poses[:, 3:], quat_conjugate(pose[3:])))
    deviation = np.concatenate([poses[:, :3] - pose[:3], turn], axis=1)  # [K, 6]
    spread = np.einsum('k,ki,kj->ij', robust, deviation, deviation)
    effective = 1 / np.sum(robust**2)
    return pose, spread + np.diag(prior_sigma**2) / effective
