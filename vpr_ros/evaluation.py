"""How well a map answers a drive whose true poses are known.

An answer is what one frame got, offline or from the running node. Distances are between robot
bases; a place counts as true within a radius and, if wanted, a heading tolerance.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.estimate import Fix
from vpr_ros.core.geometry import compose, invert, quat_conjugate, quat_multiply, rotate
from vpr_ros.core.localizer import Localizer
from vpr_ros.core.place_map import PlaceMap
from vpr_ros.core.recall import STANDARD_N, Recall, recall_of_ranks
from vpr_ros.core.types import Frame, Poses
from vpr_ros.drives.drive import Drive, RecordedFrame
from vpr_ros.drives.prefetch import decoded

_CHUNK = 256  # queries compared with all places at a time
_CHI_SQUARE_95 = 7.815  # of three dimensions
_FORWARD = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True, slots=True)
class Answer:
    """What one frame got."""

    stamp_ns: int
    candidates: Poses  # [K, 7] map_T_base, best first
    pose: Poses | None  # [7] map_T_base, None without a fix
    probability: float
    latency_ms: dict[str, float]  # by stage
    covariance: NDArray[np.float64] | None = None  # [6, 6] of the pose


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as the right place."""

    radius_m: float = 5.0
    heading_rad: float | None = None

    def accepts(self, first: Poses, second: Poses) -> NDArray[np.bool_]:
        """Whether poses [..., 7] are the same place, broadcasting."""
        near = np.linalg.norm(first[..., :3] - second[..., :3], axis=-1) <= self.radius_m
        if self.heading_rad is None:
            return np.asarray(near)
        return np.asarray(near & (heading_difference(first, second) <= self.heading_rad))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The figures of one drive against one map."""

    recall: Recall
    database: int  # places
    frames: int  # images of the drive
    without_pose: int  # images without a true pose; not queries
    unusable: int  # images that could not be decoded; not queries
    dropped: int  # images the node skipped for newer ones; not queries
    answered: float  # share of queries that got a fix
    false_fixes: float  # share of fixes outside the tolerance; NaN without a fix
    position_error_m: dict[str, float]  # of the fixes: median, p90
    heading_error_deg: dict[str, float]
    inside_ellipse: float  # share of true positions in the fix's 95 % ellipsoid; or NaN
    latency_ms: dict[str, dict[str, float]]  # by stage: p50, p95
    truth: Poses = field(repr=False)  # [Q, 7] map_T_base
    answers: list[Answer] = field(repr=False)  # Q of them


def heading_difference(first: Poses, second: Poses) -> NDArray[np.float64]:
    """Turn about the second's own vertical in [0, pi], broadcasting over poses [..., 7].

    Between level robots it is the difference of their headings; it does not depend on which way is
    up in the map.
    """
    turn = quat_multiply(quat_conjugate(second[..., 3:]), first[..., 3:])
    forward = rotate(turn, np.broadcast_to(_FORWARD, (*turn.shape[:-1], 3)))
    return np.asarray(np.abs(np.arctan2(forward[..., 1], forward[..., 0])))


def answers_offline(
    frames: Iterable[RecordedFrame], localizer: Localizer
) -> Iterator[Answer | ImageError]:
    """Localize a drive's frames without ROS; one answer, or one error, for each."""
    place_map = localizer.place_map
    for frame, image in decoded(frames, lambda recorded: recorded.load()):
        if isinstance(image, ImageError):
            yield image
            continue
        located = localizer.step(Frame(image, frame.stamp_ns))
        outcome = located.outcome
        yield Answer(
            stamp_ns=frame.stamp_ns,
            candidates=place_map.base_poses(
                located.candidates.place_index, base_T_camera=localizer.base_T_camera
            ),
            pose=outcome.pose if isinstance(outcome, Fix) else None,
            probability=outcome.probability,
            latency_ms=located.latency_ms,
            covariance=outcome.covariance if isinstance(outcome, Fix) else None,
        )


def evaluate(
    answers: Sequence[Answer],
    drive: Drive,
    place_map: PlaceMap,
    tolerance: Tolerance,
    *,
    unusable: int = 0,
    dropped: int = 0,
    node_latency_ms: Mapping[str, dict[str, float]] = MappingProxyType({}),
    max_pose_gap_s: float = 1.0,
) -> Evaluation:
    """Judge answers by the drive's own poses; raises DriveError if it has none for any of them."""
    if drive.trajectory is None:
        raise DriveError(f'{drive.name}: no true poses in it, so that recall cannot be measured')
    stamps_ns = np.array([answer.stamp_ns for answer in answers], dtype=np.int64)
    camera_poses, known = drive.trajectory.at(stamps_ns, max_gap_s=max_pose_gap_s)
    judged = [answer for answer, has_pose in zip(answers, known.tolist(), strict=True) if has_pose]
    if not judged:
        raise DriveError(
            f'{drive.name}: none of {len(answers)} images has a true pose at its stamp'
        )
    truth = compose(camera_poses[known], invert(drive.base_T_camera))  # [Q, 7]
    fixed = np.array([answer.pose is not None for answer in judged])
    poses = np.array([answer.pose for answer in judged if answer.pose is not None]).reshape(-1, 7)
    right = tolerance.accepts(poses, truth[fixed])
    return Evaluation(
        recall=recall_of_ranks(
            _ranks(judged, truth, tolerance), _unmatchable(truth, place_map, tolerance), STANDARD_N
        ),
        database=len(place_map),
        frames=len(drive),
        without_pose=int((~known).sum()),
        unusable=unusable,
        dropped=dropped,
        answered=float(fixed.mean()),
        false_fixes=float(1 - right.mean()) if right.size else float('nan'),
        position_error_m=_spread(np.linalg.norm(poses[:, :3] - truth[fixed, :3], axis=1)),
        heading_error_deg=_spread(
            np.degrees(heading_difference(poses, truth[fixed]))
            if place_map.header.has_heading and drive.has_heading
            else np.empty(0)
        ),
        inside_ellipse=_inside_ellipse(judged, truth),
        latency_ms={**node_latency_ms, **_latencies(judged)},
        truth=truth,
        answers=judged,
    )


def _inside_ellipse(answers: Sequence[Answer], truth: Poses) -> float:
    """Share of true positions [Q] inside the 95 % ellipsoid of the fix; NaN without any fix."""
    inside = []
    for answer, true in zip(answers, truth, strict=True):
        if answer.pose is not None and answer.covariance is not None:
            apart = true[:3] - answer.pose[:3]
            distance = apart @ np.linalg.solve(answer.covariance[:3, :3], apart)
            inside.append(distance <= _CHI_SQUARE_95)
    return float(np.mean(inside)) if inside else float('nan')


def _ranks(answers: Sequence[Answer], truth: Poses, tolerance: Tolerance) -> NDArray[np.int64]:
    """Rank of each answer's first true candidate, -1 where there is none, [Q]."""
    ranks = np.full(len(answers), -1, dtype=np.int64)
    for query, answer in enumerate(answers):
        hits = np.flatnonzero(tolerance.accepts(answer.candidates, truth[query]))
        if hits.size:
            ranks[query] = hits[0]
    return ranks


def _unmatchable(truth: Poses, place_map: PlaceMap, tolerance: Tolerance) -> NDArray[np.bool_]:
    """Whether no place of the map is true for a query, [Q]."""
    places = place_map.base_poses()  # [N, 7]
    chunks = [truth[start : start + _CHUNK, None] for start in range(0, len(truth), _CHUNK)]
    return np.concatenate(
        [~tolerance.accepts(chunk, places[None]).any(axis=1) for chunk in chunks]
    )


def _spread(errors: NDArray[np.float64]) -> dict[str, float]:
    if errors.size == 0:
        return {'median': float('nan'), 'p90': float('nan')}
    median, p90 = np.percentile(errors, [50, 90])
    return {'median': float(median), 'p90': float(p90)}


def _latencies(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    stages = dict.fromkeys(stage for answer in answers for stage in answer.latency_ms)
    spreads = {}
    for stage in stages:
        values = [answer.latency_ms[stage] for answer in answers if stage in answer.latency_ms]
        p50, p95 = np.percentile(values, [50, 95])
        spreads[stage] = {'p50': float(p50), 'p95': float(p95)}
    return spreads
