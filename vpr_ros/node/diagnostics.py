"""What the node tells an operator, in one DiagnosticStatus a second.

It says what came in, what came out, how long it took, and what to do next. Levels: ERROR where a
person has to act before anything can work, WARN where there is no fix now, OK otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from vpr_ros.core.localizing.outcome import Reason
from vpr_ros.session.counts import Counted

_LATENCY, _UNIT = 'latency ', ' p50/p95/p99 [ms]'
_ERROR_LASTS_S = 30.0
_NO_CHANCE = 5  # fixes without odometry in a row, or images that cannot be used

VALUES = {
    'lifecycle': 'unconfigured, inactive, active or finalized',
    'map': 'folder of the map in use',
    'map id': 'digest of that map, which changes with its content',
    'map opened': 'when it was opened',
    'map being opened': 'folder of another map, while it is being opened',
    'map refused': 'the last map that was refused, when, and why',
    'places': 'places in the map',
    'model': 'name of the model that made the map',
    'precision': "which of the model's graphs runs",
    'backend': 'library that runs the model',
    'threads': 'threads of one inference on the CPU',
    'backend, measured here': 'time of one image by each backend and number of threads',
    'backend, why not faster': 'why the node does not use a faster one',
    'rerun': 'file of the log for the Rerun viewer, and how many images it has and lacks',
    'calibration': 'where the calibration of the probability comes from',
    'state': 'LOST, TENTATIVE or LOCALIZED',
    'initial pose': 'says that an initial pose restricts the search',
    'odometry': 'its rate and delay, and whether it contradicts the images; absent if none comes',
    'gps': 'says that GPS is not used, and how far it is from the position by the images',
    'field of view, camera/map [deg]': 'field of view of this camera and of the mapping camera',
    'images received': 'since the node was configured',
    'images dropped': 'replaced by a newer one before their turn; many with a slow model',
    'images late': 'older than the image before, so left out',
    'images unusable': 'could not be decoded or localized',
    'fixes': 'images with a pose',
    'fixes without odometry': 'fixes that could not correct map -> odom',
    'no fix: *': 'images without a pose, counted for each reason',
    'time jumps': 'how often the clock went back',
    'map -> odom': 'says that it is sent, and how old its last correction is',
    'latency * p50/p95/p99 [ms]': 'of the last 200 images, for each step: wait, decode, describe, '
    'search, match, judge, landmarks, publish, and total',
    'probability': 'probability that the last answer is right',
    'best similarity': 'similarity of the likeliest place to the last image',
    'last error': 'what went wrong in the last 30 seconds, and how long ago',
}
"""What each value of the status means; `*` stands for a reason or a step."""

_NEXT_STEP = {
    Reason.NOTHING_SIMILAR: 'drive on, or map this place with `map append`',
    Reason.CANDIDATES_DISAGREE: 'drive on, or give an initial pose',
    Reason.OUTSIDE_INITIAL_POSE: 'give another initial pose, or call ~/reset',
    Reason.OUTSIDE_GPS: "check the GPS and the map's datum; GPS is not used after some seconds",
    Reason.NOT_SURE: 'drive on, or give an initial pose',
    Reason.LOOK_ALIKES: 'drive on until they differ, or give an initial pose',
    Reason.DOES_NOT_FIT: 'drive on; check that camera_info belongs to this camera',
    Reason.LOOKS_ELSEWHERE: 'drive on; if the robot was carried, call ~/reset',
    Reason.OUTSIDE_CUT: 'pull a cut around the robot and load it with ~/load_map',
    Reason.ELSEWHERE: 'if it is on the route, map it in this light with `map append`',
    Reason.NOTHING_SEEN: 'check lens, exposure and light',
    Reason.REPEATED: 'check that the camera runs; give odometry on `odom` if the robot stands',
}
_NO_FIX = 'no fix: '
_CHECK_TOPIC = 'check image_topic and image_transport'
_COMPRESSED = '/compressed'
_MOST_TOPICS = 3  # that are named


class Stage(Enum):
    """How far the lifecycle is."""

    UNCONFIGURED = 'unconfigured'
    INACTIVE = 'inactive'
    ACTIVE = 'active'
    FINALIZED = 'finalized'


@dataclass(frozen=True, slots=True)
class Camera:
    """One image topic."""

    topic: str
    publishers: int  # of images in the transport that is listened to
    other_type: str = ''  # that is published there in place of such images
    is_best_effort: bool = False  # where the node wants reliable images
    step: str = ''  # how to get the images that others publish, where this topic has none
    silent_s: float = math.inf  # since its last image
    interval_s: float = 0.0  # at which its images came lately; 0 if not known

    def is_silent(self, period_s: float) -> bool:
        """Whether its images stopped: none came in a period, nor in two of its intervals."""
        return self.silent_s > max(period_s, 2 * self.interval_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """All inputs of a status."""

    node: str  # its full name
    stage: Stage
    period_s: float  # between statuses
    problem: str = ''  # why the last transition failed
    doing: str = ''  # what configuring waits for
    clock_stands: bool = False  # the node's time is simulated, and nothing publishes /clock
    cameras: Sequence[Camera] = ()
    images: int = 0
    dropped: int = 0
    wants_odometry: bool = False  # for tf
    lacks_tf: bool = False  # which is wanted, and is not installed
    correction_age_s: float | None = None  # of map -> odom; None while it is not sent
    has_namesake: bool = False  # another node with its name
    counted: Counted = field(default_factory=Counted)
    facts: Mapping[str, str] = field(default_factory=dict)


def status_message(health: Health, *, stamp: Time) -> DiagnosticArray:
    """One DiagnosticArray of one status."""
    level, summary = judge(health)
    status = DiagnosticStatus(
        level=level,
        name=f'{health.node}: localization',
        message=summary,
        hardware_id='vpr_ros',
        values=[KeyValue(key=key, value=value) for key, value in _values(health).items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def judge(health: Health) -> tuple[bytes, str]:
    """Level and sentence: the first thing that keeps the robot from knowing where it is."""
    ok, warn, error = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
    counted = health.counted
    if health.problem:
        return error, health.problem
    if health.doing:
        return warn, health.doing
    if health.stage is Stage.FINALIZED:
        return warn, 'finalized, so no image is localized; end the node and start it again'
    if health.stage is not Stage.ACTIVE:
        step = 'configure' if health.stage is Stage.UNCONFIGURED else 'activate'
        return warn, (
            f'{health.stage.value}, so no image is localized; '
            f'`ros2 lifecycle set {health.node} {step}`'
        )
    if waits := waits_for(health):
        return warn, waits
    if not counted.localized or counted.unusable_in_a_row >= _NO_CHANCE:
        return warn, counted.last_error or 'no image localized yet'
    if counted.verdict is not None:
        return warn, f'{_NO_FIX}{counted.verdict.value}; {_NEXT_STEP[counted.verdict]}'
    if health.has_namesake:
        return warn, f'localized, but {namesake(health.node)}'
    if health.lacks_tf:
        return warn, (
            'localized, but publish_tf needs tf2_ros, which is not installed; '
            'install ros-$ROS_DISTRO-tf2-ros-py, or set publish_tf to false'
        )
    if health.wants_odometry and not counted.facts.get('odometry'):
        return warn, (
            'localized, but publish_tf has no odometry; check its driver, or remap odom to the '
            'topic that has it'
        )
    if health.wants_odometry and counted.uncorrected_in_a_row >= _NO_CHANCE:
        return warn, (
            'localized, but publish_tf has no odometry for the time of the images; both need the '
            'same clock'
        )
    if silent := _silent(health):
        return warn, f'localized, but {_no_images(silent)}'
    return ok, 'localized'


def namesake(name: str) -> str:
    """Says that another node has the same full name."""
    return f'another node is called {name}, too; end one of them, or give it another name'


def waits_for(health: Health) -> str:
    """Why an active node has no image to localize; empty where some arrive."""
    if health.stage is not Stage.ACTIVE:
        return ''
    if health.clock_stands:
        return (
            'use_sim_time is true and nothing publishes /clock; '
            'play the bag with --clock, or set use_sim_time to false'
        )
    silent = _silent(health)
    return _no_images(silent) if len(silent) == len(health.cameras) else ''


def _silent(health: Health) -> list[Camera]:
    return [camera for camera in health.cameras if camera.is_silent(health.period_s)]


def _no_images(cameras: Sequence[Camera]) -> str:
    for camera in cameras:
        if camera.other_type:
            return (
                f'no images arrive: {camera.topic} has messages of type {camera.other_type}; '
                f'{camera.step or _CHECK_TOPIC}'
            )
    unpublished = [camera for camera in cameras if not camera.publishers]
    if unpublished:
        steps = '; '.join(dict.fromkeys(camera.step for camera in unpublished if camera.step))
        return (
            'no images arrive: nothing publishes '
            f'{", ".join(camera.topic for camera in unpublished)}; {steps or _CHECK_TOPIC}'
        )
    loose = [camera.topic for camera in cameras if camera.is_best_effort]
    if loose:
        return (
            f'no images arrive: the publisher of {", ".join(loose)} is best effort; '
            'set image_qos to sensor_data'
        )
    topics = ', '.join(camera.topic for camera in cameras)
    return f'no images arrive on {topics}, which has a publisher; check image_qos and the camera'


def step_to_images(topic: str, published: Mapping[str, str]) -> str:
    """How to set the node so that it gets images in place of those that a topic does not have.

    topic: that it listens to, with the suffix of its transport; published: of other programs, each
    with image_transport, raw or compressed. Empty where there is none that the node can read.
    """
    readable = {
        name: transport
        for name, transport in published.items()
        if transport == 'raw' or name.endswith(_COMPRESSED)
    }
    wanted = topic.removesuffix(_COMPRESSED)
    for name, transport in readable.items():
        if name.removesuffix(_COMPRESSED) == wanted:
            return f'set image_topic to {wanted} and image_transport to {transport}'
    if not readable:
        return ''
    named = sorted(readable)[:_MOST_TOPICS]
    more = ', ...' if len(readable) > len(named) else ''
    return f'{_CHECK_TOPIC}, there are images on {", ".join(named)}{more}'


def _values(health: Health) -> dict[str, str]:
    counted = health.counted
    age_s = health.correction_age_s
    values = {
        'lifecycle': health.stage.value,
        **health.facts,
        'images received': str(health.images),
        'images dropped': str(health.dropped),
        'images late': str(counted.late),
        'images unusable': str(counted.unusable),
        'fixes': str(counted.fixes),
        'time jumps': str(counted.time_jumps),
    }
    if age_s is not None:
        values['map -> odom'] = f'sent; corrected {age_s:.1f} s ago'
    if counted.uncorrected:
        values['fixes without odometry'] = str(counted.uncorrected)
    values |= {f'{_NO_FIX}{reason}': str(count) for reason, count in counted.no_fixes.items()}
    for stage, spread in counted.latency_ms.items():
        values[f'{_LATENCY}{stage}{_UNIT}'] = '/'.join(f'{value:.2f}' for value in spread)
    if counted.probability is not None:
        values['probability'] = f'{counted.probability:.3f}'
    if counted.similarity is not None:
        values['best similarity'] = f'{counted.similarity:.3f}'
    values |= {name: fact for name, fact in counted.facts.items() if fact}
    if counted.last_error and counted.error_age_s <= _ERROR_LASTS_S:
        values['last error'] = f'{counted.last_error} ({counted.error_age_s:.0f} s ago)'
    return values


def doubt_of(message: DiagnosticArray) -> str:
    """Why there was no fix when `status_message` wrote this; empty where there was one."""
    said = message.status[0].message if message.status else ''
    return said.removeprefix(_NO_FIX).partition(';')[0] if said.startswith(_NO_FIX) else ''


def latencies_of(message: DiagnosticArray) -> dict[str, dict[str, float]]:
    """The latencies that `status_message` wrote, by stage: p50, p95 and p99 in ms."""
    found = {}
    for pair in (pair for status in message.status for pair in status.values):
        if pair.key.startswith(_LATENCY) and pair.key.endswith(_UNIT):
            p50, p95, p99 = (float(text) for text in pair.value.split('/'))
            stage = pair.key.removeprefix(_LATENCY).removesuffix(_UNIT)
            found[stage] = {'p50': p50, 'p95': p95, 'p99': p99}
    return found
