"""What the node tells an operator, in one DiagnosticStatus a second.

It says what came in, what came out and how long it took.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from vpr_ros.core.localizing.localizer import Localization
from vpr_ros.core.localizing.outcome import Fix

_LATENCIES_KEPT = 200
_LATENCY, _UNIT = 'latency ', ' p50/p95/p99 [ms]'


@dataclass
class Counts:
    """What has happened since the node was configured."""

    received: int = 0
    dropped: int = 0
    unusable: int = 0
    fixes: int = 0
    time_jumps: int = 0
    no_fixes: Counter[str] = field(default_factory=Counter)  # by reason
    last_error: str = ''
    last: Localization | None = None
    latency_ms: dict[str, deque[float]] = field(default_factory=dict)  # by stage

    def add(self, located: Localization, latency_ms: Mapping[str, float]) -> None:
        """Count one localized frame."""
        self.last = located
        if isinstance(located.outcome, Fix):
            self.fixes += 1
        else:
            self.no_fixes[located.outcome.reason.value] += 1
        for stage, value in latency_ms.items():
            self.latency_ms.setdefault(stage, deque(maxlen=_LATENCIES_KEPT)).append(value)


def status_message(
    name: str,
    counts: Counts,
    *,
    facts: Mapping[str, str],
    problem: str,
    doing: str = '',
    received_lately: int,
    stamp: Time,
) -> DiagnosticArray:
    """One DiagnosticArray: ERROR for a problem, WARN without images or a fix, OK otherwise.

    doing: what configuring waits for, which is a WARN.
    """
    level, summary = _judge(counts, problem, doing, received_lately)
    values = dict(facts) | _values(counts)
    status = DiagnosticStatus(
        level=level,
        name=f'{name}: localization',
        message=summary,
        hardware_id='vpr_ros',
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def _judge(counts: Counts, problem: str, doing: str, received_lately: int) -> tuple[bytes, str]:
    if problem:
        return DiagnosticStatus.ERROR, problem
    if doing:
        return DiagnosticStatus.WARN, doing
    if not received_lately:
        return (
            DiagnosticStatus.WARN,
            'no images arrive; check image_topic, image_transport and image_qos',
        )
    if counts.last is None:
        return DiagnosticStatus.WARN, counts.last_error or 'no image localized yet'
    if not isinstance(counts.last.outcome, Fix):
        return DiagnosticStatus.WARN, f'no fix: {counts.last.outcome.reason.value}'
    return DiagnosticStatus.OK, 'localized'


def _values(counts: Counts) -> dict[str, str]:
    values = {
        'images received': str(counts.received),
        'images dropped': str(counts.dropped),
        'images unusable': str(counts.unusable),
        'fixes': str(counts.fixes),
        'time jumps': str(counts.time_jumps),
    }
    values |= {f'no fix: {reason}': str(count) for reason, count in counts.no_fixes.items()}
    for stage, kept in counts.latency_ms.items():
        spread = np.percentile(list(kept), [50, 95, 99])
        values[f'{_LATENCY}{stage}{_UNIT}'] = '/'.join(f'{value:.2f}' for value in spread)
    if counts.last is not None:
        values['probability'] = f'{counts.last.outcome.probability:.3f}'
        if len(counts.last.candidates):
            values['best similarity'] = f'{counts.last.candidates.similarity[0]:.3f}'
    if counts.last_error:
        values['last error'] = counts.last_error
    return values


def latencies_of(message: DiagnosticArray) -> dict[str, dict[str, float]]:
    """The latencies that `status_message` wrote, by stage: p50, p95 and p99 in ms."""
    found = {}
    for pair in (pair for status in message.status for pair in status.values):
        if pair.key.startswith(_LATENCY) and pair.key.endswith(_UNIT):
            p50, p95, p99 = (float(text) for text in pair.value.split('/'))
            stage = pair.key.removeprefix(_LATENCY).removesuffix(_UNIT)
            found[stage] = {'p50': p50, 'p95': p95, 'p99': p99}
    return found
