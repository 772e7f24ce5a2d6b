"""Diagnostics say the first thing that is wrong and what to do next."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter as NodeParameter
from rclpy.qos import qos_profile_sensor_data
from ros_world import domain, running
from sensor_msgs.msg import CompressedImage, Image
from session_world import image_at
from test_localize import assert_reported
from worlds import write_pictured_map

from vpr_ros.core.errors import VprError
from vpr_ros.core.localizing.outcome import Reason
from vpr_ros.node import diagnostics, reporting
from vpr_ros.node.conversions import stamp_ns
from vpr_ros.node.diagnostics import (
    Camera,
    Health,
    Stage,
    doubt_of,
    judge,
    latencies_of,
    status_message,
    step_to_images,
)
from vpr_ros.node.error_log import ErrorLog, LastingLog
from vpr_ros.node.lifecycle import LocalizeNode
from vpr_ros.session.counts import Counted

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
GOOD = Health(
    node='/robot/localize',
    stage=Stage.ACTIVE,
    period_s=1.0,
    cameras=[Camera('/front', 1, silent_s=0.1, interval_s=0.2)],
    images=10,
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
            {'cameras': [Camera('/front', 1), Camera('/rear', 0)]},
            WARN,
            'nothing publishes /rear; check image_topic and image_transport',
        ),
        (
            {'cameras': [Camera('/front', 0, 'sensor_msgs/msg/CompressedImage')]},
            WARN,
            '/front has messages of type sensor_msgs/msg/CompressedImage; check image_topic',
        ),
        (
            {'cameras': [Camera('/front', 0, 'a/msg/B', step='set image_topic to /a')]},
            WARN,
            '/front has messages of type a/msg/B; set image_topic to /a',
        ),
        (
            {'cameras': [Camera('/left', 0, step='look'), Camera('/right', 0, step='look')]},
            WARN,
            'nothing publishes /left, /right; look',
        ),
        ({'cameras': [Camera('/front', 1)]}, WARN, 'on /front, which has a publisher; check'),
        (
            {'cameras': [Camera('/front', 1, is_best_effort=True)]},
            WARN,
            'the publisher of /front is best effort; set image_qos to sensor_data',
        ),
        ({'has_namesake': True}, WARN, 'localized, but another node is called /robot/localize'),
        ({'counted': Counted(last_error='image: broken')}, WARN, 'image: broken'),
        ({'counted': Counted()}, WARN, 'no image localized yet'),
        (
            {
                'counted': replace(
                    lost(Reason.NOT_SURE), unusable_in_a_row=5, last_error='image: broken'
                )
            },
            WARN,
            'image: broken',
        ),
        (
            {'counted': replace(GOOD.counted, unusable=9, last_error='image: broken')},
            OK,
            'localized',
        ),
        (
            {'wants_odometry': True, 'counted': replace(GOOD.counted, facts={})},
            WARN,
            'remap odom to the topic that has it',
        ),
        (
            {'wants_odometry': True, 'lacks_tf': True},
            WARN,
            'needs tf2_ros, which is not installed',
        ),
        (
            {
                'wants_odometry': True,
                'counted': replace(GOOD.counted, uncorrected=99, uncorrected_in_a_row=5),
            },
            WARN,
            'no odometry for the time of the images',
        ),
        (
            {'wants_odometry': True, 'counted': replace(GOOD.counted, uncorrected=99)},
            OK,
            'localized',
        ),
        ({'wants_odometry': True}, OK, 'localized'),
        (
            {'counted': replace(GOOD.counted, facts={}, uncorrected_in_a_row=5)},
            OK,  # without publish_tf nobody needs odometry
            'localized',
        ),
    ],
)
def test_the_first_thing_that_is_wrong_is_said(
    changes: dict[str, object], level: bytes, said: str
) -> None:
    found, text = judge(replace(GOOD, **changes))
    assert found == level and said in text


@pytest.mark.parametrize(
    ('silent_s', 'interval_s', 'level'),
    [
        (0.9, 0.1, OK),
        (1.1, 0.1, WARN),
        (1.1, 0.0, WARN),  # one image alone
        (9.0, 5.0, OK),  # a camera slower than the status
        (10.1, 5.0, WARN),
    ],
)
def test_images_have_stopped_after_a_period_and_two_intervals_of_the_camera(
    silent_s: float, interval_s: float, level: bytes
) -> None:
    camera = Camera('/front', 1, silent_s=silent_s, interval_s=interval_s)
    assert judge(replace(GOOD, cameras=[camera]))[0] == level


def test_one_silent_camera_of_two_is_told() -> None:
    level, said = judge(replace(GOOD, cameras=[*GOOD.cameras, Camera('/rear', 1)]))
    assert level == WARN
    assert said.startswith('localized, but no images arrive on /rear, which has a publisher')
    _, said = judge(replace(GOOD, cameras=[*GOOD.cameras, Camera('/rear', 0)]))
    assert said.startswith('localized, but no images arrive: nothing publishes /rear;')


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


def test_what_lasts_is_logged_once_and_what_passes_is_not() -> None:
    logged, now_s = [], [0.0]
    lasting = LastingLog(logged.append, after_s=5.0, now_s=lambda: now_s[0])
    for at_s, wrong in [(0, 'a'), (4, 'a'), (5, ''), (6, 'a'), (10, 'a')]:
        now_s[0] = at_s
        assert not lasting.take(wrong)
    assert not logged
    for at_s, wrong in [(11, 'a'), (12, 'a'), (13, 'b'), (14, 'b')]:
        now_s[0] = at_s
        assert lasting.take(wrong)
    assert logged == ['a', 'b']
    now_s[0] = 15
    assert not lasting.take('')
    now_s[0] = 16
    assert not lasting.take('b')
    now_s[0] = 21
    assert lasting.take('b') and logged == ['a', 'b', 'b']


def test_the_log_has_another_error_at_once_and_the_same_one_after_two_seconds() -> None:
    logged: list[str] = []
    now_s = [100.0]
    errors = ErrorLog(logged.append, now_s=lambda: now_s[0])
    for error in ('image: 7 bytes', 'image: 8 bytes', 'initialpose: far', 'image: 9 bytes'):
        errors.say(error)
        now_s[0] += 0.4
    assert logged == ['image: 7 bytes', 'initialpose: far']
    now_s[0] = 102.1
    errors.say('image: 10 bytes')
    errors.say('initialpose: far')
    assert logged[2:] == ['image: 10 bytes']


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


def test_a_slow_camera_is_no_silent_one_and_a_node_configured_anew_waits_for_images(
    tmp_path: Path,
) -> None:
    values = write_pictured_map(tmp_path, 3, spacing_m=10.0) | {'autostart': False}
    overrides = [
        NodeParameter(name, value=str(value) if isinstance(value, Path) else value)
        for name, value in values.items()
    ]
    with domain() as (_, peer):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        node = LocalizeNode(context=peer.node.context, parameter_overrides=overrides)
        peer.wait(
            lambda: peer.node.count_publishers('/diagnostics') > 0, 'the node does not show up'
        )
        peer.spin(0.5)  # the listener learns of the publisher a moment later

        def said() -> str:
            asked_ns = node.get_clock().now().nanoseconds  # configuring may have told something
            node._reporting.publish()
            peer.wait(
                lambda: bool(reports) and stamp_ns(reports[-1].header.stamp) >= asked_ns,
                'no diagnostics',
            )
            return reports[-1].status[0].message

        def images_came(*seconds_ago: float) -> None:
            now_s = time.perf_counter()
            for ago_s in seconds_ago:
                node._configured.mailbox.put(replace(image_at(1, 1), came_s=now_s - ago_s))

        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert said().startswith('no images arrive')
        images_came(250, 200, 150)
        assert said().startswith('no images arrive')
        images_came(100, 50)
        assert not said().startswith('no images arrive')
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert said().startswith('no images arrive')
        node.close()
        node.destroy_node()


def test_a_period_that_was_set_before_configure_holds_from_then_on(tmp_path: Path) -> None:
    with (
        domain() as (number, peer),
        running(number, autostart=False, diagnostics_period=60.0, map=tmp_path),
    ):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        assert peer.set('diagnostics_period', 0.1).successful
        assert not peer.change(Transition.TRANSITION_CONFIGURE)
        peer.wait(lambda: len(reports) > 3, 'the old period holds', 20.0)


def test_where_the_images_are_is_said() -> None:
    def step(topic: str, **published: str) -> str:
        return step_to_images(
            topic, {f'/{name.replace("__", "/")}': kind for name, kind in published.items()}
        )

    as_compressed = 'set image_topic to /front/image and image_transport to compressed'
    assert step('/front/image', front__image__compressed='compressed') == as_compressed
    assert step('/front/image/compressed', front__image__compressed='compressed') == as_compressed
    assert step('/front/image/compressed', front__image='raw') == (
        'set image_topic to /front/image and image_transport to raw'
    )
    assert step('/front', rear='raw', left__compressed='compressed') == (
        'check image_topic and image_transport, there are images on /left/compressed, /rear'
    )
    assert step('/front', a='raw', b='raw', c='raw', d='raw').endswith('on /a, /b, /c, ...')
    assert step('/front', jpegs='compressed') == step('/front') == ''


def test_a_compressed_topic_that_is_given_as_raw_is_told_with_what_to_set(tmp_path: Path) -> None:
    world = write_pictured_map(tmp_path, 3, spacing_m=10.0)
    topic = '/front/image/compressed'
    with domain() as (number, peer), running(number, image_topic=topic, **world):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        peer.node.create_publisher(CompressedImage, topic, 1)
        assert_reported(
            peer,
            reports,
            f'no images arrive: {topic} has messages of type sensor_msgs/msg/CompressedImage; set '
            'image_topic to /front/image and image_transport to compressed',
            WARN,
        )


def test_a_terminal_tells_once_that_no_images_arrive(tmp_path: Path) -> None:
    world = write_pictured_map(tmp_path, 3, spacing_m=10.0)
    log = tmp_path / 'log'
    told = 'no images arrive: nothing publishes /nowhere; check image_topic and image_transport'
    with domain() as (number, peer), running(number, log=log, image_topic='/nowhere', **world):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        peer.wait(lambda: told in log.read_text(), 'nothing in the log', 40.0)
        heard = len(reports)
        peer.wait(lambda: len(reports) > heard + 2, 'no diagnostics')
        assert log.read_text().count(told) == 1
        assert log.read_text().count('lie 10.0 m apart, but agreement_radius is 5 m') == 1


@pytest.mark.filterwarnings('ignore:Deprecated in favor')  # by rclpy itself, where it warns
def test_a_best_effort_camera_that_reliable_images_are_asked_of_is_told(tmp_path: Path) -> None:
    world = write_pictured_map(tmp_path, 3, spacing_m=10.0)
    with domain() as (number, peer), running(number, image_qos='default', **world):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        peer.node.create_publisher(Image, '/image', qos_profile_sensor_data)
        assert_reported(peer, reports, 'of /image is best effort; set image_qos to', WARN)


def test_what_fails_because_ros_ends_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Ctrl-C comes while a pose is published."""
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = LocalizeNode(context=context)
        logged: list[str] = []
        monkeypatch.setattr(node._reporting._errors, '_log', logged.append)
        node._reporting.report(VprError('the camera broke'))
        assert logged == ['the camera broke']
    finally:
        rclpy.try_shutdown(context=context)
    node._reporting.report(RuntimeError("publisher's context is invalid"))
    assert len(logged) == 1
    node.destroy_node()


def test_another_node_of_the_same_name_is_told_once_it_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that was left running, with another map."""
    monkeypatch.setattr(reporting, '_SAYS_NAMESAKE_AFTER_S', 0.5)
    with domain() as (_, peer):
        node = LocalizeNode(
            context=peer.node.context,
            parameter_overrides=[NodeParameter('diagnostics_period', value=0.1)],
        )
        logged: list[str] = []
        monkeypatch.setattr(node._reporting._namesake, '_log', logged.append)
        peer._executor.add_node(node)
        peer.spin(1.0)
        assert not logged
        other = Node('localize', context=peer.node.context)
        peer.wait(lambda: bool(logged), 'nothing said')
        assert logged == [
            'another node is called /localize, too; end one of them, or give it another name'
        ]
        other.destroy_node()
        node.close()
        node.destroy_node()


def test_a_node_that_was_shut_down_asks_for_no_transition_that_is_not_there(
    tmp_path: Path,
) -> None:
    with domain() as (number, peer), running(number, autostart=False, map=tmp_path):
        reports = peer.listen(DiagnosticArray, '/diagnostics')

        assert not peer.change(Transition.TRANSITION_CONFIGURE)
        assert_reported(peer, reports, 'no map here', ERROR)
        assert peer.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert_reported(peer, reports, 'finalized, so no image is localized; end the node', WARN)
        assert_reported(peer, reports, 'lifecycle: finalized')
        assert not peer.change(Transition.TRANSITION_CONFIGURE)


def test_a_transition_that_the_state_does_not_have_ends_no_node(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a stand-in for the method that raises on Humble and Jazzy; Kilted's returns ERROR."""

    def refuse(node: LocalizeNode, transition: int) -> None:
        raise RuntimeError('Transition is not registered.')

    monkeypatch.setattr(LifecycleNodeMixin, '_LifecycleNodeMixin__change_state', refuse)
    with domain() as (_, peer):
        node = LocalizeNode(context=peer.node.context)
        assert node.trigger_configure() == TransitionCallbackReturn.ERROR
        rclpy.shutdown(context=peer.node.context)
        with pytest.raises(RuntimeError):  # which until_shutdown takes for the shutdown
            node.trigger_configure()
        node.close()
    assert (
        'configure is not possible now (Transition is not registered.)' in capfd.readouterr().err
    )


def test_an_image_topic_is_named_as_it_is_in_its_namespace_and_remapped(tmp_path: Path) -> None:
    """Publishers were counted on a topic to which the node did not listen."""
    world = write_pictured_map(tmp_path, 3, spacing_m=10.0)
    robot = ('-r', '__ns:=/robot', '-r', 'image:=front/image')
    with domain() as (number, peer), running(number, *robot, **world):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        assert_reported(peer, reports, 'nothing publishes /robot/front/image', WARN)
        compressed = peer.node.create_publisher(CompressedImage, '/robot/front/image', 1)
        assert_reported(
            peer, reports, 'front/image has messages of type sensor_msgs/msg/CompressedImage', WARN
        )
        peer.node.destroy_publisher(compressed)
        peer.publisher(Image, '/robot/front/image')
        assert_reported(peer, reports, 'on /robot/front/image, which has a publisher', WARN)
