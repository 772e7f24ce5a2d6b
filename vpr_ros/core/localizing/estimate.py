"""Candidates -> a pose with a covariance, or a reason why there is none.

Retrieval lies now and then, and its best answer alone does not tell when. Candidates that agree on
a place do: the mode of their weighted positions is found first, a fix is given only if enough
weight stands behind it, and the pose is a robust mean over the candidates of that mode. With a
belief, the weights are the belief's and a calibrated probability decides.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import (
    lengths,
    mean_quat,
    quat_conjugate,
    quat_multiply,
    rotation_vector,
)
from vpr_ros.core.localizing.confidence import observe
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.match import LEAST_MATCH, rank_by
from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.types import Poses

Array: TypeAlias = NDArray[np.float64]

_ROBUST_STEPS = 3
_BEST_MATCHES = 3  # an image of which none of these lies at a place speaks against that place
_MATCH_POWER = 0.5  # of a place's match in its weight for the position
_UNIFORM_ANGLE_VARIANCE = np.pi**2 / 3  # of an angle about which nothing is known


@dataclass(frozen=True, slots=True)
class Mode:
    """The strongest group of candidates that agree on one pose."""

    agreeing: NDArray[np.bool_]  # [K], which candidates belong to it
    weight: float  # of them together, at most 1
    rival: float  # weight of the strongest group outside it


def weighed(candidates: Candidates, config: LocalizerConfig) -> Candidates:
    """Candidates by their images with weights that fall with what ranks them and sum to one."""
    similarity = candidates.similarity.astype(np.float64)
    if candidates.match is None or not candidates.match.any():  # nothing tells them apart
        weights = np.exp((similarity - similarity[0]) / config.similarity_scale)
    else:
        rank = rank_by(similarity, candidates.match.astype(np.float64))
        weights = (rank / max(float(rank[0]), 1e-12)) ** config.match_power
    return replace(candidates, weight=(weights / weights.sum()).astype(np.float32))


def estimate(candidates: Candidates, config: LocalizerConfig, *, has_heading: bool) -> Outcome:
    """Robust weighted mean of the agreeing candidates of one image; K > 0, with weights.

    has_heading: the map knows its rotations.
    """
    if candidates.similarity[0] < config.min_similarity:
        return NoFix(Reason.NOTHING_SIMILAR)
    mode = strongest_mode(candidates, config, has_heading=has_heading)
    if mode.weight < config.min_agreement:
        return NoFix(Reason.CANDIDATES_DISAGREE, mode.weight)
    return fix_at(candidates, mode, mode.weight, config, has_heading=has_heading)


def observe_mode(
    candidates: Candidates, similar: Candidates, mode: Mode, config: LocalizerConfig
) -> Array:
    """What tells how probable a belief's strongest mode is, [OBSERVED]; see confidence.observe.

    similar: the candidates by this image alone; the best of them outside the mode is the next
    distinct place, or else the last of them, which is then no less similar.
    """
    weights, positions_m = _weights(candidates), candidates.map_T_base[:, :3]
    similarity = float(candidates.similarity[mode.agreeing].max())
    centre_m = positions_m[np.flatnonzero(mode.agreeing)[0]]
    apart_m = lengths(similar.map_T_base[:, :3] - centre_m)
    is_outside = apart_m > config.agreement_radius
    outside = similar.similarity[is_outside]
    runner_up = float(outside.max() if len(outside) else similar.similarity.min())
    ratio = (1 - runner_up) / max(1 - similarity, 1e-3)
    share = weights / max(float(weights.sum()), 1e-12)
    away_m = positions_m - share @ positions_m
    spread = float(np.sqrt(share @ (away_m**2).sum(axis=1))) / config.agreement_radius
    match = other = 0.0
    if similar.match is not None:
        match = float(similar.match[~is_outside].max(initial=0.0))
        other = float(similar.match[is_outside].max(initial=0.0))
    return observe(
        mode.weight,
        similarity,
        ratio,
        spread,
        match=match,
        other_match=other,
        rival=mode.rival,
        contradicted=similar.match is not None and bool(is_outside[:_BEST_MATCHES].all()),
    )


def drawn_to_matches(candidates: Candidates, similar: Candidates) -> Candidates:
    """Candidates of a belief, weighed anew by how well this image's cells match theirs.

    similar: the candidates by this image alone. A belief is spread over neighbouring places, and
    its mean lies behind the place that the image shows. Without matches nothing changes.
    """
    if similar.match is None:
        return candidates
    matches = dict(zip(similar.place_index.tolist(), similar.match.tolist(), strict=True))
    match = np.array([matches.get(place, 0.0) for place in candidates.place_index.tolist()])
    factor = np.maximum(match, LEAST_MATCH) ** _MATCH_POWER
    weights = _weights(candidates) * factor
    return replace(candidates, weight=weights.astype(np.float32))


def fix_at(
    candidates: Candidates,
    mode: Mode,
    probability: float,
    config: LocalizerConfig,
    *,
    has_heading: bool,
) -> Fix:
    """The robust mean of the candidates of a mode."""
    similarity = candidates.similarity[mode.agreeing].astype(np.float64)
    weights = _weights(candidates)[mode.agreeing]
    pose, covariance = _robust_mean(
        candidates.map_T_base[mode.agreeing],
        weights,
        prior_sigma=_prior_sigma(similarity, weights, config),
    )
    if not has_heading:
        covariance[3:] = covariance[:, 3:] = 0
        covariance[3:, 3:] = np.eye(3) * _UNIFORM_ANGLE_VARIANCE
    return Fix(pose, covariance, probability, int(candidates.place_index[mode.agreeing][0]))


def strongest_mode(candidates: Candidates, config: LocalizerConfig, *, has_heading: bool) -> Mode:
    """The candidates that agree with the one that most weight agrees with; K > 0."""
    poses, weights = candidates.map_T_base, _weights(candidates)
    agree = agreement(poses, poses, config, has_heading=has_heading)
    support = agree @ weights
    best = int(np.argmax(support))
    others = ~agree[best]
    rival = (agree[others][:, others] @ weights[others]).max(initial=0.0)
    return Mode(agree[best], float(min(support[best], 1.0)), float(rival))


def agreement(
    first: Poses, second: Poses, config: LocalizerConfig, *, has_heading: bool
) -> NDArray[np.bool_]:
    """Which of poses [K, 7] and [L, 7] are the same place, [K, L]."""
    apart_m = lengths(first[:, None, :3] - second[None, :, :3])  # [K, L]
    agree = apart_m <= config.agreement_radius
    if has_heading:
        cosine = np.abs(first[:, 3:] @ second[:, 3:].T)  # of half the angle between
        agree &= cosine >= np.cos(np.radians(config.agreement_heading) / 2)
    return np.asarray(agree)


def _weights(candidates: Candidates) -> Array:
    if candidates.weight is None:
        raise ValueError('candidates without weights: no judge has weighed them')
    return candidates.weight.astype(np.float64)


def _prior_sigma(similarity: Array, weights: Array, config: LocalizerConfig) -> Array:
    """Uncertainty [6] of a single match: a place's extent, scaled by the descriptors' distance.

    Unit descriptors with similarity s lie sqrt(2 (1 - s)) apart: 0 for the same image, 1 for s =
    0.5.
    """
    mean_similarity = float((similarity * weights).sum() / weights.sum())
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
        apart = lengths((poses[:, :3] - mean) / prior_sigma[:3])
        robust = weights / (1 + apart**2)
        robust /= robust.sum()
    pose = np.concatenate([robust @ poses[:, :3], mean_quat(poses[:, 3:], robust)])
    turn = rotation_vector(quat_multiply(poses[:, 3:], quat_conjugate(pose[3:])))
    deviation = np.concatenate([poses[:, :3] - pose[:3], turn], axis=1)  # [K, 6]
    spread = np.einsum('k,ki,kj->ij', robust, deviation, deviation)
    effective = 1 / np.sum(robust**2)
    return pose, spread + np.diag(prior_sigma**2) / effective
