"""The answer to one image of a drive, and how to answer a whole drive without ROS.

The running node gives the same answers through its topics, see live.py.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.types import Frame, Poses
from vpr_ros.drives.drive import RecordedFrame
from vpr_ros.drives.posed_images import Unusable, usable
from vpr_ros.drives.prefetch import prefetched


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one frame."""

    stamp_ns: int
    candidates: Poses  # [K, 7] map_T_base, best first
    pose: Poses | None  # [7] map_T_base, None without a fix
    probability: float  # of the fix, or of the answer that was refused; NaN where it is not told
    latency_ms: dict[str, float]  # by stage
    covariance: NDArray[np.float64] | None = None  # [6, 6] of the pose
    similarity: float = float('nan')  # of the first candidate; NaN where it is not told
    similar: Poses | None = None  # [K, 7] map_T_base by similarity alone; None where not told
    observed: NDArray[np.float64] | None = None  # see confidence.observe
    is_calibrated: bool = False  # the probability promises how often such an answer is right
    reason: Reason | None = None  # why there is no fix; None with a fix, or where it is not told


OnLocated: TypeAlias = Callable[[Frame, Localization], None]
"""Is called with each image and its result, in the order of the drive."""


def fixes(answers: Sequence[Answer]) -> Poses:
    """The poses of the answers, NaN where there is no fix, [Q, 7]."""
    nothing = np.full(7, np.nan)
    rows = [nothing if answer.pose is None else answer.pose for answer in answers]
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def answers_offline(
    frames: Iterable[RecordedFrame],
    localizer: Localizer,
    *,
    unusable: Unusable | None = None,
    on_located: OnLocated | None = None,
) -> Iterator[Answer]:
    """Localize a drive's frames without ROS; one answer for each that can be used.

    The localizer begins the drive without what it believed before, and describes frames ahead of
    their turn.
    """
    localizer.reset()

    def describe(recorded: RecordedFrame) -> tuple[dict[str, float], Query, Frame | None]:
        started_s = time.perf_counter()
        image = recorded.load(at_least_hw=localizer.needed_hw)
        decoded_s = time.perf_counter()
        frame = Frame(image, recorded.stamp_ns)
        query = localizer.describe(frame)
        described_s = time.perf_counter()
        latency_ms = {
            'decode': (decoded_s - started_s) * 1e3,
            'describe': (described_s - decoded_s) * 1e3,
        }
        return latency_ms, query, None if on_located is None else frame

    ahead = prefetched(frames, describe, workers=localizer.describer.at_once)
    described = usable(ahead, Unusable() if unusable is None else unusable)
    for _, (latency_ms, query, frame) in described:
        located = localizer.locate(query)
        if on_located is not None and frame is not None:
            on_located(frame, located)
        yield _answer(located, latency_ms, along_a_drive=localizer.config.belief)


def _answer(located: Localization, before_ms: dict[str, float], *, along_a_drive: bool) -> Answer:
    """What a frame got; before_ms: latency of the stages before its turn.

    along_a_drive: judged by a belief, whose probabilities are calibrated, those of landmarks too.
    """
    outcome, candidates = located.outcome, located.candidates
    fix = outcome if isinstance(outcome, Fix) else None
    return Answer(
        stamp_ns=located.stamp_ns,
        candidates=candidates.map_T_base,
        pose=None if fix is None else fix.pose,
        probability=outcome.probability,
        latency_ms=before_ms | located.latency_ms,
        similarity=float(candidates.similarity[0]) if len(candidates) else float('nan'),
        covariance=None if fix is None else fix.covariance,
        similar=located.similar.map_T_base,
        observed=located.observed,
        is_calibrated=along_a_drive and (located.observed is not None or fix is not None),
        reason=outcome.reason if isinstance(outcome, NoFix) else None,
    )
