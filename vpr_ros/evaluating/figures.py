"""The figures of drives against one map: recall, fixes, errors, latencies, and how sure they are.

Answers come from the core or from the running node. Of a drive without true poses every figure
that needs none is there; the rest is NaN.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import DriveError
from vpr_ros.core.intervals import BLOCK, UNKNOWN, Interval, drive_interval
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.core.recall import (
    PrecisionRecall,
    Recall,
    precision_recall,
    recall_of_ranks,
)
from vpr_ros.core.types import Poses
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.ellipse import Extent, is_inside
from vpr_ros.evaluating.judging import Judged, judge
from vpr_ros.evaluating.offset import Offset, offset_of
from vpr_ros.evaluating.other_frame import OtherFrame, other_frame_of
from vpr_ros.evaluating.reliability import Reliability, reliability
from vpr_ros.evaluating.tolerance import Tolerance, heading_difference

RECALL_NS = (1, 5, 10, 20)
_NO_LATENCY: Mapping[str, dict[str, float]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where answers come from: what they do not say themselves."""

    database: int  # places
    frames: int  # images of the drive
    has_heading: bool  # of the map and of the true poses, if there are some
    radius_m: float  # within which a fix is right
    extent: Extent  # of the map's places and the true positions
    without_pose: int = 0  # images without a true pose; not queries
    unusable: int = 0  # images that could not be decoded; not queries
    dropped: int = 0  # images the node skipped for newer ones; not queries
    node_latency_ms: Mapping[str, dict[str, float]] = field(default_factory=dict)  # by stage

    @classmethod
    def joined(cls, parts: Sequence['Provenance']) -> 'Provenance':
        """Join several drives against one map; node latencies are those of the first drive."""
        return cls(
            database=parts[0].database,
            frames=sum(part.frames for part in parts),
            has_heading=all(part.has_heading for part in parts),
            radius_m=parts[0].radius_m,
            extent=max((part.extent for part in parts), key=_size_m),
            without_pose=sum(part.without_pose for part in parts),
            unusable=sum(part.unusable for part in parts),
            dropped=sum(part.dropped for part in parts),
            node_latency_ms=parts[0].node_latency_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The figures of drives against one map."""

    provenance: Provenance
    recall: Recall
    single_image: Recall | None  # of the most similar places of each image alone
    reliability: Reliability | None  # of the probabilities, where they are calibrated ones
    precision_recall: PrecisionRecall | None  # of the first candidates, by similarity
    answered: float  # share of queries that got a fix
    answered_interval: Interval  # 95 %, as all others here
    no_fix_reasons: dict[str, int]  # queries without a fix by what was said, most frequent first
    answerable: int  # queries with a true place on the map
    answered_of_answerable: float  # share of them that got a right fix; NaN where there are none
    answered_of_answerable_interval: Interval
    other_direction: int  # queries where the map's places were seen in another direction only
    fixes_not_on_map: int  # of the queries without a true place
    false_fixes_not_on_map: int  # a pose may be within the radius although no place is
    false_fixes: float  # share of fixes outside the tolerance; NaN without a fix
    false_fixes_interval: Interval
    position_error_m: dict[str, float]  # of the fixes: median, p90
    heading_error_deg: dict[str, float]
    offset: Offset | None  # that the fixes have in common
    other_frame: OtherFrame | None  # in which most fixes are right, where they are false as it is
    inside_ellipse: float  # share of true positions in the fix's 95 % ellipsoid; or NaN
    inside_ellipse_interval: Interval
    inside_ellipse_axes: float  # directions that are tested, mean of the fixes; or NaN
    time_to_first_fix_s: float  # median over the drives that had one; NaN without a fix
    latency_ms: dict[str, dict[str, float]]  # by stage: p50, p95, p99
    judged: Judged = field(repr=False)

    @property
    def truth(self) -> Poses:
        """True poses beside the answers, [Q, 7] map_T_base; NaN where they are not known."""
        return self.judged.truth

    @property
    def answers(self) -> list[Answer]:
        """What the images got, Q of them; those with a true pose are the queries."""
        return self.judged.answers


def evaluate(
    answers: Sequence[Answer],
    drive: Drive,
    place_map: PlaceMap,
    tolerance: Tolerance,
    *,
    unusable: int = 0,
    dropped: int = 0,
    node_latency_ms: Mapping[str, dict[str, float]] = _NO_LATENCY,
    max_pose_gap_s: float | None = None,
) -> Evaluation:
    """Judge answers by the drive's own poses.

    Without poses what needs none is still measured. Raises DriveError where no image was answered,
    or where there are poses, but none at the stamp of any image.
    """
    if not answers:
        raise DriveError(f'{drive.name}: none of {counted(len(drive), "image")} was answered')
    judged = judge(answers, drive, place_map, tolerance, max_pose_gap_s=max_pose_gap_s)
    provenance = Provenance(
        database=len(place_map),
        frames=len(drive),
        has_heading=place_map.header.has_heading
        and (drive.has_heading or drive.trajectory is None),
        radius_m=tolerance.radius_m,
        extent=_extent(judged, place_map),
        without_pose=len(answers) - int(judged.known.sum()),
        unusable=unusable,
        dropped=dropped,
        node_latency_ms=node_latency_ms,
    )
    return figures_of(judged, provenance)


def figures_of(judged: Judged, provenance: Provenance) -> Evaluation:
    """The figures of judged answers."""
    known, fixed, asked = judged.known, judged.fixed, judged.asked
    fixes, able, queries = known & fixed, known & ~judged.unmatchable, judged.of(known)

    def interval(hits: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Interval:
        return drive_interval(hits[rows], drive=judged.drive[rows])

    inside, has_ellipse = _inside_ellipse(judged, provenance)
    return Evaluation(
        provenance=provenance,
        recall=_recall(queries, provenance.database),
        single_image=_single_image(queries),
        reliability=_reliability(queries),
        precision_recall=_precision_recall(queries),
        answered=float(fixed[asked].mean()),
        answered_interval=interval(fixed, asked),
        no_fix_reasons=_no_fix_reasons(judged.of(asked)),
        answerable=int(able.sum()),
        answered_of_answerable=_share(judged.right[able]),
        answered_of_answerable_interval=interval(judged.right, able),
        other_direction=int((known & judged.other_direction).sum()),
        fixes_not_on_map=int((fixes & judged.unmatchable).sum()),
        false_fixes_not_on_map=int((fixes & judged.unmatchable & ~judged.right).sum()),
        false_fixes=_share(~judged.right[fixes]),
        false_fixes_interval=interval(~judged.right, fixes),
        position_error_m=_spread(judged.error_m[fixes]),
        heading_error_deg=_spread(_turned_deg(judged.of(fixes), provenance)),
        offset=offset_of(judged, radius_m=provenance.radius_m) if provenance.has_heading else None,
        other_frame=other_frame_of(
            judged.poses[fixes, :3], judged.truth[fixes, :3], radius_m=provenance.radius_m
        ),
        inside_ellipse=_share(inside[has_ellipse]),
        inside_ellipse_interval=interval(inside, has_ellipse),
        inside_ellipse_axes=_tested_axes(judged.of(has_ellipse), provenance),
        time_to_first_fix_s=_time_to_first_fix(judged),
        latency_ms={**provenance.node_latency_ms, **_latencies(judged.answers)},
        judged=judged,
    )


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Drives together, each query counted once."""
    if len(evaluations) == 1:
        return evaluations[0]
    return figures_of(
        Judged.joined([entry.judged for entry in evaluations]),
        Provenance.joined([entry.provenance for entry in evaluations]),
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
    whole = evaluation.provenance
    provenance = Provenance(
        database=whole.database,
        frames=int(chosen.sum()),
        without_pose=int((chosen & ~evaluation.judged.known).sum()),
        has_heading=whole.has_heading,
        radius_m=whole.radius_m,
        extent=whole.extent,
    )
    found = figures_of(evaluation.judged.of(chosen), provenance)
    return replace(found, time_to_first_fix_s=float('nan'))


def _no_fix_reasons(judged: Judged) -> dict[str, int]:
    said = Counter(answer.reason.value for answer in judged.answers if answer.reason is not None)
    return dict(said.most_common())


def _turned_deg(fixes: Judged, provenance: Provenance) -> NDArray[np.float64]:
    """Error of the heading of each fix, [Q]; none where headings are not known."""
    if not provenance.has_heading:
        return np.empty(0)
    return np.degrees(heading_difference(fixes.poses, fixes.truth))


def _recall(judged: Judged, database: int) -> Recall:
    """Recall of rows whose truth is known.

    NaN where there is none, and for N beyond the candidates that were retrieved.
    """
    if not judged.answers:
        unknown = float('nan')
        intervals = dict.fromkeys(RECALL_NS, UNKNOWN)
        return Recall(dict.fromkeys(RECALL_NS, unknown), intervals, queries=0, unmatchable=0)
    found = _recall_of_ranks(judged.rank, judged)
    deepest = max(len(answer.candidates) for answer in judged.answers)
    for n in RECALL_NS:
        if deepest < min(n, database):
            found.at[n], found.interval[n] = float('nan'), UNKNOWN
    return found


def _precision_recall(judged: Judged) -> PrecisionRecall | None:
    scores = np.array([answer.similarity for answer in judged.answers], dtype=np.float64)
    if not np.isfinite(scores).all():
        return None
    counts = ~(judged.unmatchable & judged.right_first)  # a true distractor promises no place
    return precision_recall(scores[counts], judged.rank[counts] == 0, ~judged.unmatchable[counts])


def _recall_of_ranks(ranks: NDArray[np.int64], judged: Judged) -> Recall:
    return recall_of_ranks(ranks, judged.unmatchable, RECALL_NS, drive=judged.drive, least=BLOCK)


def _share(hits: NDArray[np.bool_]) -> float:
    """NaN of none."""
    return float(hits.mean()) if hits.size else float('nan')


def _extent(judged: Judged, place_map: PlaceMap) -> Extent:
    true_m = judged.truth[judged.known, :3]
    return Extent.of(np.concatenate([place_map.base_poses()[:, :3], true_m]))


def _size_m(extent: Extent) -> float:
    return float(extent.deviations_m.sum())


def _tested_axes(fixes: Judged, provenance: Provenance) -> float:
    tested = [
        len(provenance.extent.tested(answer.covariance[:3, :3]))
        for answer in fixes.answers
        if answer.covariance is not None
    ]
    return float(np.mean(tested)) if tested else float('nan')


def _inside_ellipse(
    judged: Judged, provenance: Provenance
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the truth is in the 95 % ellipsoid of each fix, and whether that is known, [Q]."""
    inside, told = np.zeros((2, len(judged.answers)), dtype=bool)
    for row, (answer, true) in enumerate(zip(judged.answers, judged.truth, strict=True)):
        if answer.pose is not None and answer.covariance is not None and judged.known[row]:
            told[row] = True
            error_m = true[:3] - answer.pose[:3]
            inside[row] = is_inside(error_m, answer.covariance[:3, :3], provenance.extent)
    return inside, told


def _time_to_first_fix(judged: Judged) -> float:
    fixed, elapsed_s = judged.fixed, judged.elapsed_s
    first = [
        elapsed_s[fixed & (judged.drive == number)].min()
        for number in np.unique(judged.drive[fixed])
    ]
    return float(np.median(first)) if first else float('nan')


def _single_image(judged: Judged) -> Recall | None:
    if not judged.answers or any(answer.similar is None for answer in judged.answers):
        return None
    return _recall_of_ranks(judged.single_rank, judged)


def _reliability(judged: Judged) -> Reliability | None:
    """The reliability of the answers whose probability is calibrated.

    It is about the fix, or where none was given, about the best place.
    """
    calibrated = np.array([answer.is_calibrated for answer in judged.answers], dtype=bool)
    if not calibrated.any():
        return None
    probability = np.array([answer.probability for answer in judged.answers])
    true = np.where(judged.fixed, judged.right, judged.right_first)
    return reliability(probability[calibrated], true[calibrated])


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
