"""How well a map answers drives whose true poses are known.

An answer is what one frame got, offline or from the running node. Distances are between robot
bases; a place counts as true within a radius and, if wanted, a heading tolerance. Of a drive
without true poses everything that needs none is reported, the rest is NaN.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.geometry import compose, invert, quat_conjugate, quat_multiply, rotate
from vpr_ros.core.localizing.confidence import CHI_SQUARE_95, Reliability, reliability
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.recall import (
    PrecisionRecall,
    Recall,
    precision_recall,
    recall_of_ranks,
    share_interval,
)
from vpr_ros.core.types import Frame, Poses
from vpr_ros.drives.drive import Drive, RecordedFrame
from vpr_ros.drives.prefetch import prefetched

RECALL_NS = (1, 5, 10, 20)
_CHUNK = 256  # queries compared with all places at a time
_FORWARD = np.array([1.0, 0.0, 0.0])
_NAN_INTERVAL = (float('nan'), float('nan'))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one frame got."""

    stamp_ns: int
    candidates: Poses  # [K, 7] map_T_base, best first
    pose: Poses | None  # [7] map_T_base, None without a fix
    probability: float  # of the fix, or of the answer that was refused; NaN where it is not told
    latency_ms: dict[str, float]  # by stage
    covariance: NDArray[np.float64] | None = None  # [6, 6] of the pose
    similarity: float = float('nan')  # of the first candidate; NaN where it is not told
    similar: Poses | None = None  # [K, 7] map_T_base by similarity alone; None where not told
    observed: NDArray[np.float64] | None = None  # see confidence.observe


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


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers beside the truth, a row for each query."""

    answers: list[Answer]  # Q
    truth: Poses  # [Q, 7] map_T_base, NaN where it is not known
    rank: NDArray[np.int64]  # [Q], of the first true candidate, -1: none
    unmatchable: NDArray[np.bool_]  # [Q], no place of the map is true
    right: NDArray[np.bool_]  # [Q], there is a fix, and it is inside the tolerance
    drive: NDArray[np.int64]  # [Q], number of the drive
    single_rank: NDArray[np.int64]  # [Q], as rank, of the most similar places alone

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether the true pose is known, [Q]."""
        return np.asarray(np.isfinite(self.truth[:, 0]))

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Whether there is a fix, [Q]."""
        return np.array([answer.pose is not None for answer in self.answers], dtype=bool)

    @property
    def poses(self) -> Poses:
        """The fixes, NaN where there is none, [Q, 7]."""
        return _poses(self.answers)

    @property
    def error_m(self) -> NDArray[np.float64]:
        """Distance of each fix from the truth, NaN where one of them is missing, [Q]."""
        return np.asarray(np.linalg.norm(self.poses[:, :3] - self.truth[:, :3], axis=1))

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        """Time since the first answer of the same drive, [Q]."""
        stamps_ns = np.array([answer.stamp_ns for answer in self.answers], dtype=np.int64)
        elapsed_s = np.zeros(len(stamps_ns))
        for number in np.unique(self.drive):
            rows = self.drive == number
            elapsed_s[rows] = (stamps_ns[rows] - stamps_ns[rows].min()) / 1e9
        return elapsed_s

    def of(self, chosen: NDArray[np.bool_]) -> 'Judged':
        """Only the chosen rows [Q]."""
        return Judged(
            [answer for answer, wanted in zip(self.answers, chosen.tolist()) if wanted],
            self.truth[chosen],
            self.rank[chosen],
            self.unmatchable[chosen],
            self.right[chosen],
            self.drive[chosen],
            self.single_rank[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The figures of drives against one map."""

    recall: Recall
    single_image: Recall | None  # of the most similar places of each image alone
    reliability: Reliability | None  # of the probabilities, where they are calibrated ones
    precision_recall: PrecisionRecall | None  # of the first candidates, by similarity
    database: int  # places
    frames: int  # images of the drive
    without_pose: int  # images without a true pose; not queries
    unusable: int  # images that could not be decoded; not queries
    dropped: int  # images the node skipped for newer ones; not queries
    answered: float  # share of queries that got a fix
    answered_interval: tuple[float, float]  # 95 %
    false_fixes: float  # share of fixes outside the tolerance; NaN without a fix
    false_fixes_interval: tuple[float, float]  # 95 %
    position_error_m: dict[str, float]  # of the fixes: median, p90
    heading_error_deg: dict[str, float]
    inside_ellipse: float  # share of true positions in the fix's 95 % ellipsoid; or NaN
    time_to_first_fix_s: float  # median over the drives that had one; NaN without a fix
    latency_ms: dict[str, dict[str, float]]  # by stage: p50, p95, p99
    has_heading: bool
    judged: Judged = field(repr=False)

    @property
    def truth(self) -> Poses:
        """True poses of the queries, [Q, 7] map_T_base."""
        return self.judged.truth

    @property
    def answers(self) -> list[Answer]:
        """What the queries got, Q of them."""
        return self.judged.answers


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
    """Localize a drive's frames without ROS; one answer, or one error, for each.

    The localizer begins the drive without what it believed before.
    """
    localizer.reset()

    def describe(recorded: RecordedFrame) -> tuple[float, float, Query]:
        started = time.perf_counter()
        image = recorded.load(at_least_hw=localizer.needed_hw)
        decoded = time.perf_counter()
        query = localizer.describe(Frame(image, recorded.stamp_ns))
        return (decoded - started) * 1e3, (time.perf_counter() - decoded) * 1e3, query

    for frame, found in prefetched(frames, describe, workers=localizer.describer.at_once):
        if isinstance(found, ImageError):
            yield found
            continue
        decode_ms, describe_ms, query = found
        located = localizer.locate(query)
        outcome, candidates = located.outcome, located.candidates
        yield Answer(
            stamp_ns=frame.stamp_ns,
            candidates=candidates.map_T_base,
            pose=outcome.pose if isinstance(outcome, Fix) else None,
            probability=outcome.probability,
            latency_ms={'decode': decode_ms, 'describe': describe_ms} | located.latency_ms,
            similarity=float(candidates.similarity[0]) if len(candidates) else float('nan'),
            covariance=outcome.covariance if isinstance(outcome, Fix) else None,
            similar=located.similar.map_T_base,
            observed=located.observed,
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
    """Judge answers by the drive's own poses.

    Without poses what needs none is still measured. Raises DriveError where no image was answered,
    or where there are poses, but none at the stamp of any image.
    """
    if not answers:
        raise DriveError(f'{drive.name}: none of {len(drive)} images was answered')
    judged = judge(answers, drive, place_map, tolerance, max_pose_gap_s=max_pose_gap_s)
    return figures_of(
        judged,
        database=len(place_map),
        frames=len(drive),
        without_pose=len(answers) - int(judged.known.sum()),
        unusable=unusable,
        dropped=dropped,
        node_latency_ms=node_latency_ms,
        has_heading=place_map.header.has_heading and drive.has_heading,
    )


def judge(
    answers: Sequence[Answer],
    drive: Drive,
    place_map: PlaceMap,
    tolerance: Tolerance,
    *,
    max_pose_gap_s: float = 1.0,
) -> Judged:
    """Put the truth beside the answers; those without a true pose are left out if others have one.

    Raises DriveError where a drive has poses, but none at the stamp of any image.
    """
    judged = list(answers)
    if drive.trajectory is None:
        truth: Poses = np.full((len(judged), 7), np.nan)
    else:
        stamps_ns = np.array([answer.stamp_ns for answer in answers], dtype=np.int64)
        camera_poses, known = drive.trajectory.at(stamps_ns, max_gap_s=max_pose_gap_s)
        if not known.any():
            raise DriveError(
                f'{drive.name}: none of {len(answers)} images has a true pose at its stamp; '
                'do both use the same clock?'
            )
        judged = [answer for answer, has_pose in zip(answers, known.tolist()) if has_pose]
        truth = compose(camera_poses[known], invert(drive.base_T_camera))  # [Q, 7]
    return Judged(
        judged,
        truth,
        _ranks([answer.candidates for answer in judged], truth, tolerance),
        _unmatchable(truth, place_map, tolerance),
        tolerance.accepts(_poses(judged), truth),
        np.zeros(len(judged), dtype=np.int64),
        _ranks(
            [np.empty((0, 7)) if answer.similar is None else answer.similar for answer in judged],
            truth,
            tolerance,
        ),
    )


def figures_of(
    judged: Judged,
    *,
    database: int,
    frames: int,
    without_pose: int,
    unusable: int,
    dropped: int,
    node_latency_ms: Mapping[str, dict[str, float]],
    has_heading: bool,
) -> Evaluation:
    """The figures of judged answers."""
    known, fixed = judged.known, judged.fixed
    counted = known if known.any() else np.ones_like(known)  # without any truth: all answers
    fixes = known & fixed
    right = judged.right[fixes]
    return Evaluation(
        recall=_recall(judged.of(known), database),
        single_image=_single_image(judged.of(known)),
        reliability=_reliability(judged.of(known)),
        precision_recall=_precision_recall(judged.of(known)),
        database=database,
        frames=frames,
        without_pose=without_pose,
        unusable=unusable,
        dropped=dropped,
        answered=float(fixed[counted].mean()),
        answered_interval=share_interval(fixed[counted]),
        false_fixes=float(1 - right.mean()) if right.size else float('nan'),
        false_fixes_interval=share_interval(~right) if right.size else _NAN_INTERVAL,
        position_error_m=_spread(judged.error_m[fixes]),
        heading_error_deg=_spread(
            np.degrees(heading_difference(judged.poses[fixes], judged.truth[fixes]))
            if has_heading
            else np.empty(0)
        ),
        inside_ellipse=_inside_ellipse(judged.of(known)),
        time_to_first_fix_s=_time_to_first_fix(judged),
        latency_ms={**node_latency_ms, **_latencies(judged.answers)},
        has_heading=has_heading,
        judged=judged,
    )


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Drives together, each query counted once; node latencies are those of the first drive."""
    if len(evaluations) == 1:
        return evaluations[0]
    parts = [entry.judged for entry in evaluations]
    judged = Judged(
        [answer for part in parts for answer in part.answers],
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.rank for part in parts]),
        np.concatenate([part.unmatchable for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate([np.full_like(part.drive, row) for row, part in enumerate(parts)]),
        np.concatenate([part.single_rank for part in parts]),
    )
    return figures_of(
        judged,
        database=evaluations[0].database,
        frames=sum(entry.frames for entry in evaluations),
        without_pose=sum(entry.without_pose for entry in evaluations),
        unusable=sum(entry.unusable for entry in evaluations),
        dropped=sum(entry.dropped for entry in evaluations),
        node_latency_ms=evaluations[0].latency_ms,
        has_heading=all(entry.has_heading for entry in evaluations),
    )


def by_time(evaluation: Evaluation, every_s: float) -> dict[str, Evaluation]:
    """The figures of each stretch of `every_s` seconds since the start of a drive."""
    stretch = np.floor(evaluation.judged.elapsed_s / every_s + 1e-9).astype(np.int64)
    return {
        f'{number * every_s:g} to {(number + 1) * every_s:g} s': _part(
            evaluation, stretch == number
        )
        for number in np.unique(stretch).tolist()
    }


def _part(evaluation: Evaluation, chosen: NDArray[np.bool_]) -> Evaluation:
    return replace(
        figures_of(
            evaluation.judged.of(chosen),
            database=evaluation.database,
            frames=int(chosen.sum()),
            without_pose=0,
            unusable=0,
            dropped=0,
            node_latency_ms={},
            has_heading=evaluation.has_heading,
        ),
        time_to_first_fix_s=float('nan'),
    )


def _poses(answers: Sequence[Answer]) -> Poses:
    """The fixes, NaN where there is none, [Q, 7]."""
    nothing = np.full(7, np.nan)
    rows = [nothing if answer.pose is None else answer.pose for answer in answers]
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def _recall(judged: Judged, database: int) -> Recall:
    """Recall of rows whose truth is known.

    NaN where there is none, and for N beyond the candidates that were retrieved.
    """
    if not judged.answers:
        unknown = float('nan')
        intervals = dict.fromkeys(RECALL_NS, _NAN_INTERVAL)
        return Recall(dict.fromkeys(RECALL_NS, unknown), intervals, queries=0, unmatchable=0)
    found = recall_of_ranks(judged.rank, judged.unmatchable, RECALL_NS)
    deepest = max(len(answer.candidates) for answer in judged.answers)
    for n in RECALL_NS:
        if deepest < min(n, database):
            found.at[n], found.interval[n] = float('nan'), _NAN_INTERVAL
    return found


def _precision_recall(judged: Judged) -> PrecisionRecall | None:
    scores = np.array([answer.similarity for answer in judged.answers], dtype=np.float64)
    if not np.isfinite(scores).all():
        return None
    return precision_recall(scores, judged.rank == 0, ~judged.unmatchable)


def _inside_ellipse(judged: Judged) -> float:
    """Share of true positions inside the 95 % ellipsoid of the fix; NaN without any fix."""
    inside = []
    for answer, true in zip(judged.answers, judged.truth, strict=True):
        if answer.pose is not None and answer.covariance is not None:
            apart = true[:3] - answer.pose[:3]
            distance = apart @ np.linalg.solve(answer.covariance[:3, :3], apart)
            inside.append(distance <= CHI_SQUARE_95)
    return float(np.mean(inside)) if inside else float('nan')


def _time_to_first_fix(judged: Judged) -> float:
    fixed, elapsed_s = judged.fixed, judged.elapsed_s
    first = [
        elapsed_s[fixed & (judged.drive == number)].min()
        for number in np.unique(judged.drive[fixed])
    ]
    return float(np.median(first)) if first else float('nan')


def _ranks(candidates: Sequence[Poses], truth: Poses, tolerance: Tolerance) -> NDArray[np.int64]:
    """Rank of the first true one among the candidates [K, 7] of each query, else -1, [Q]."""
    ranks = np.full(len(candidates), -1, dtype=np.int64)
    for query, poses in enumerate(candidates):
        hits = np.flatnonzero(tolerance.accepts(poses, truth[query]))
        if hits.size:
            ranks[query] = hits[0]
    return ranks


def _single_image(judged: Judged) -> Recall | None:
    if not judged.answers or any(answer.similar is None for answer in judged.answers):
        return None
    return recall_of_ranks(judged.single_rank, judged.unmatchable, RECALL_NS)


def _reliability(judged: Judged) -> Reliability | None:
    """Of the answers whose best place has a calibrated probability."""
    calibrated = np.array([answer.observed is not None for answer in judged.answers], dtype=bool)
    if not calibrated.any():
        return None
    probability = np.array([answer.probability for answer in judged.answers])
    return reliability(probability[calibrated], judged.rank[calibrated] == 0)


def _unmatchable(truth: Poses, place_map: PlaceMap, tolerance: Tolerance) -> NDArray[np.bool_]:
    """Whether no place of the map is true for a query, [Q]."""
    places = place_map.base_poses()  # [N, 7]
    if not len(truth):
        return np.empty(0, dtype=bool)
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
        p50, p95, p99 = np.percentile(values, [50, 95, 99])
        spreads[stage] = {'p50': float(p50), 'p95': float(p95), 'p99': float(p99)}
    return spreads
