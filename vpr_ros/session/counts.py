"""What has happened to a session, counted by the thread that owns it and read by any other."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from vpr_ros.core.localizing.localizer import Localization
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason

_LATENCIES_KEPT = 200


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts at one moment."""

    localized: int = 0  # images
    late: int = 0  # images that were older than the last one
    unusable: int = 0  # images that could not be decoded or localized
    unusable_in_a_row: int = 0  # of the camera with the fewest since its last localized one
    fixes: int = 0
    time_jumps: int = 0
    uncorrected: int = 0  # fixes for which no odometry came, so that tf was not corrected
    uncorrected_in_a_row: int = 0  # of these, since tf was corrected for the last time
    no_fixes: dict[str, int] = field(default_factory=dict)  # by reason
    verdict: Reason | None = None  # of the last image: why there was no fix; None with a fix
    probability: float | None = None  # of the last image
    similarity: float | None = None  # of the last image's best place
    last_error: str = ''
    error_age_s: float = 0.0
    latency_ms: dict[str, tuple[float, float, float]] = field(
        default_factory=dict
    )  # by stage: p50, p95, p99
    facts: dict[str, str] = field(default_factory=dict)  # what the session says of itself


class Counts:
    """Counters behind one lock."""

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = Lock()
        self._numbers: Counter[str] = Counter()
        self._no_fixes: Counter[str] = Counter()
        self._unusable_in_a_row: Counter[int] = Counter()  # by camera
        self._latency_ms: dict[str, deque[float]] = {}
        self._facts: dict[str, str] = {}
        self._last: Localization | None = None
        self._last_error = ''
        self._erred_s = 0.0  # when, by time.monotonic

    def add(self, what: str) -> None:
        """Count one more of `late` or `time_jumps`."""
        with self._lock:
            self._numbers[what] += 1

    def unusable(self, camera: int) -> None:
        """Count one image of a camera that could not be decoded or localized."""
        with self._lock:
            self._numbers['unusable'] += 1
            self._unusable_in_a_row[camera] += 1

    def corrected(self, *, is_corrected: bool) -> None:
        """Count a fix that corrected tf, or that could not for lack of odometry."""
        with self._lock:
            if is_corrected:
                self._numbers['uncorrected_in_a_row'] = 0
            else:
                self._numbers.update(['uncorrected', 'uncorrected_in_a_row'])

    def report(self, error: str) -> None:
        """Remember the last error."""
        with self._lock:
            self._last_error, self._erred_s = error, time.monotonic()

    def say(self, **facts: str) -> None:
        """Change the facts that the session reports for diagnostics."""
        with self._lock:
            self._facts.update(facts)

    def localized(self, located: Localization, camera: int) -> None:
        """Count one localized image of a camera."""
        with self._lock:
            self._last = located
            self._numbers['localized'] += 1
            self._unusable_in_a_row[camera] = 0
            if isinstance(located.outcome, Fix):
                self._numbers['fixes'] += 1
            else:
                self._no_fixes[located.outcome.reason.value] += 1

    def took(self, latency_ms: Mapping[str, float]) -> None:
        """Keep the latencies of one image, by stage."""
        with self._lock:
            for stage, value in latency_ms.items():
                kept = self._latency_ms.setdefault(stage, deque(maxlen=_LATENCIES_KEPT))
                kept.append(value)

    def snapshot(self) -> Counted:
        """All counts at this moment."""
        with self._lock:
            last, numbers = self._last, dict(self._numbers)
            kept = {stage: list(values) for stage, values in self._latency_ms.items()}
            no_fixes, facts = dict(self._no_fixes), dict(self._facts)
            error, erred_s = self._last_error, self._erred_s
            unusable_in_a_row = min(self._unusable_in_a_row.values(), default=0)
        outcome = None if last is None else last.outcome
        best = None if last is None or not len(last.candidates) else last.candidates.similarity[0]
        return Counted(
            **numbers,
            unusable_in_a_row=unusable_in_a_row,
            no_fixes=no_fixes,
            verdict=outcome.reason if isinstance(outcome, NoFix) else None,
            probability=None if outcome is None else outcome.probability,
            similarity=None if best is None else float(best),
            last_error=error,
            error_age_s=time.monotonic() - erred_s,
            latency_ms={stage: _spread(values) for stage, values in kept.items()},
            facts=facts,
        )


def _spread(values: list[float]) -> tuple[float, float, float]:
    p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return p50, p95, p99
