"""Diagnostics say the first thing that is wrong and what to do next."""

from dataclasses import replace

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ros_world import domain, running
from test_localize import assert_reported

from vpr_ros.core.localizing.outcome import Reason
from vpr_ros.node import diagnostics
from vpr_ros.node.diagnostics import (
    Camera,
    Health,
    Stage,
    doubt_of,
    judge,
    latencies_of,
    status_message,
)
from vpr_ros.session.counts import Counted

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
GOOD = Health(
    node='/robot/localize',
    stage=Stage.ACTIVE,
    cameras=[Camera('/front', 1)],
    images=10,
    images_lately=5,
    counted=Counted(localized=10, fixes=9, facts={'state': 'LOCALIZED', 'odometry': '50 Hz'}),
)


def lost(reason: Reason) -> Counted:
    return replace(GOOD.counted, verdict=reason)


@pytest.mark.parametrize(
    ('changes', 'level', 'said'),
    [
        ({}, OK, 'localized'),
        ({'problem': 'map: not given'}, ERROR, 'map: not given'),
        ({'doing': 'TensorRT builds'}, WARN, 'TensorRT builds'),
        ({'stage': Stage.UNCONFIGURED}, WARN, 'ros2 lifecycle set /robot/localize configure'),
        ({'stage': Stage.INACTIVE}, WARN, 'ros2 lifecycle set /robot/localize activate'),
        ({'clock_stands': True}, WARN, 'nothing publishes /clock; play the bag with --clock'),
        (
            {'images_lately': 0, 'cameras': [Camera('/front', 1), Camera('/rear', 0)]},
            WARN,
            'nothing publishes /rear; check image_topic and image_transport',
        ),
        ({'images_lately': 0}, WARN, 'on /front, which has a publisher; check image_qos'),
        ({'counted': Counted(last_error='image: broken')}, WARN, 'image: broken'),
        ({'counted': Counted()}, WARN, 'no image localized yet'),
        (
            {'wants_odometry': True, 'counted': replace(GOOD.counted, facts={})},
            WARN,
            'remap odom to the topic that has it',
        ),
        ({'wants_odometry': True}, OK, 'localized'),
    ],
)
def test_the_first_thing_that_is_wrong_is_said(
    changes: dict[str, object], level: bytes, said: str
) -> None:
    found, text = judge(replace(GOOD, **changes))
    assert found == level and said in text


@pytest.mark.parametrize('reason', list(Reason))
def test_every_reason_for_no_fix_has_a_next_step(reason: Reason) -> None:
    level, text = judge(replace(GOOD, counted=lost(reason)))
    assert level == WARN and text.startswith(f'no fix: {reason.value}; ')


def test_the_reason_for_no_fix_is_read_back() -> None:
    stamp = DiagnosticArray().header.stamp
    doubtful = replace(GOOD, counted=lost(Reason.LOOK_ALIKES))
    assert doubt_of(status_message(doubtful, stamp=stamp)) == Reason.LOOK_ALIKES.value
    assert doubt_of(status_message(GOOD, stamp=stamp)) == ''
    assert doubt_of(DiagnosticArray()) == ''


def values(health: Health) -> dict[str, str]:
    message = status_message(health, stamp=DiagnosticArray().header.stamp)
    return {pair.key: pair.value for pair in message.status[0].values}


def test_an_error_is_told_with_its_age_and_expires() -> None:
    recent = replace(GOOD.counted, last_error='image: broken', error_age_s=4.2)
    assert values(replace(GOOD, counted=recent))['last error'] == 'image: broken (4 s ago)'
    old = replace(recent, error_age_s=diagnostics._ERROR_LASTS_S + 1)
    assert 'last error' not in values(replace(GOOD, counted=old))


def test_the_age_of_the_correction_and_fixes_without_odometry_are_told() -> None:
    found = values(replace(GOOD, correction_age_s=3.25))
    assert found['map -> odom'] == 'sent; corrected 3.2 s ago' and 'odometry' in found
    assert (
        values(replace(GOOD, counted=replace(GOOD.counted, uncorrected=2)))[
            'fixes without odometry'
        ]
        == '2'
    )


def test_latencies_survive_the_message() -> None:
    counted = replace(GOOD.counted, latency_ms={'describe': (1.0, 2.0, 3.0)})
    message = status_message(replace(GOOD, counted=counted), stamp=DiagnosticArray().header.stamp)
    assert latencies_of(message) == {'describe': {'p50': 1.0, 'p95': 2.0, 'p99': 3.0}}


def test_a_simulated_clock_that_stands_is_told_by_the_wall_clock() -> None:
    with domain() as (number, peer), running(number, use_sim_time=True, autostart=False):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        assert_reported(peer, reports, 'unconfigured, so no image is localized', WARN)
        assert_reported(peer, reports, 'lifecycle: unconfigured')
