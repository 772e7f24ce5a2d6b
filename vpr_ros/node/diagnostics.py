"""What the node tells an operator, in one DiagnosticStatus a second.

It says what came in, what came out and how long it took.
"""

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from vpr_ros.session.counts import Counted

_LATENCY, _UNIT = 'latency ', ' p50/p95/p99 [ms]'


def status_message(
    name: str,
    counted: Counted,
    *,
    images: int,
    dropped: int,
    facts: Mapping[str, str],
    problem: str,
    doing: str = '',
    images_lately: int,
    stamp: Time,
) -> DiagnosticArray:
    """One DiagnosticArray: ERROR for a problem, WARN without images or a fix, OK otherwise.

    images, dropped: that came, and that newer ones replaced; images_lately: since the last
    message; doing: what configuring waits for, which is a WARN.
    """
    level, summary = _judge(counted, problem, doing, images_lately)
    came = {'images received': str(images), 'images dropped': str(dropped)}
    values = dict(facts) | came | _values(counted)
    status = DiagnosticStatus(
        level=level,
        name=f'{name}: localization',
        message=summary,
        hardware_id='vpr_ros',
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def _judge(counted: Counted, problem: str, doing: str, images_lately: int) -> tuple[bytes, str]:
    if problem:
        return DiagnosticStatus.ERROR, problem
    if doing:
        return DiagnosticStatus.WARN, doing
    if not images_lately:
        return (
            DiagnosticStatus.WARN,
            'no images arrive; check image_topic, image_transport and image_qos',
        )
    if not counted.localized:
        return DiagnosticStatus.WARN, counted.last_error or 'no image localized yet'
    if counted.verdict:
        return DiagnosticStatus.WARN, f'no fix: {counted.verdict}'
    return DiagnosticStatus.OK, 'localized'


def _values(counted: Counted) -> dict[str, str]:
    values = {
        'images late': str(counted.late),
        'images unusable': str(counted.unusable),
        'fixes': str(counted.fixes),
        'time jumps': str(counted.time_jumps),
    }
    values |= {f'no fix: {reason}': str(count) for reason, count in counted.no_fixes.items()}
    for stage, spread in counted.latency_ms.items():
        values[f'{_LATENCY}{stage}{_UNIT}'] = '/'.join(f'{value:.2f}' for value in spread)
    if counted.probability is not None:
        values['probability'] = f'{counted.probability:.3f}'
    if counted.similarity is not None:
        values['best similarity'] = f'{counted.similarity:.3f}'
    values |= {name: fact for name, fact in counted.facts.items() if fact}
    if counted.last_error:
        values['last error'] = counted.last_error
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
