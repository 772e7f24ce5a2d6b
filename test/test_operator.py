"""What an operator does to the running node, and what may never end it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import State, Transition
from nav_msgs.msg import Odometry
from ros_world import Peer, domain, running
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger
from test_localize import PLACES, assert_reported, raw, send_until_fix
from worlds import picture, straight_drive, write_pictured_map, write_tiny_model

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.writer import build
from vpr_ros.node import conversions
from vpr_ros.node.qos import LATCHED


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny model and a map of twelve places, ten metres apart, on a hill."""
    folder = tmp_path_factory.mktemp('operator')
    given = write_pictured_map(folder, PLACES, spacing_m=10.0, z_m=30.0)
    return {**given, 'image_qos': 'default', 'max_false_fix_rate': 0.2}


def clicked(x: float, *, frame_id: str = 'map', variance: float = 0.25) -> Any:
    """What RViz sends for a "2D Pose Estimate": z and its variance are 0."""
    message = PoseWithCovarianceStamped()
    message.header.frame_id = frame_id
    message.pose.pose.position.x = x
    message.pose.covariance[0] = message.pose.covariance[7] = variance
    return message


def drive(peer: Peer, images: Any, places: range, *, start_s: int = 100) -> None:
    """Pictures of places, one a second by their stamps."""
    for row, place in enumerate(places):
        peer.show(images, raw(place, stamp_s=start_s + row))


def test_a_click_on_a_hill_is_understood(world: dict[str, Any]) -> None:
    with domain() as (number, peer), running(number, **world | {'belief': False}):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        peer.publisher(PoseWithCovarianceStamped, '/initialpose').publish(clicked(40.0))
        peer.spin(0.3)
        assert send_until_fix(peer, images, raw, 4, fixes).pose.pose.position.x > 35


@pytest.mark.parametrize(
    ('message', 'said'),
    [
        (clicked(3.0, frame_id='odom_of_another_robot'), "expected 'map'"),
        (clicked(3.0, variance=float('nan')), 'variances of x, y, z'),
        (clicked(900.0), 'm from the nearest place of the map'),
    ],
    ids=['another frame', 'NaN in the covariance', 'off the map'],
)
def test_a_click_that_cannot_be_used_is_told_and_silences_nothing(
    world: dict[str, Any], tmp_path: Path, message: Any, said: str
) -> None:
    log = tmp_path / 'log'
    with domain() as (number, peer), running(number, **world | {'belief': False}, log=log):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        images = peer.publisher(Image, '/image')
        peer.publisher(PoseWithCovarianceStamped, '/initialpose').publish(message)
        peer.spin(0.3)
        send_until_fix(peer, images, raw, 7, fixes)
        assert_reported(peer, reports, said)
    assert said in log.read_text()


def test_an_image_a_microsecond_late_forgets_nothing(world: dict[str, Any]) -> None:
    with domain() as (number, peer), running(number, **world):
        states = peer.listen(String, '/localize/state', LATCHED)
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        images = peer.publisher(Image, '/image')
        drive(peer, images, range(10))
        peer.wait(lambda: bool(states) and states[-1].data == 'LOCALIZED', f'{states}')
        late = raw(9, stamp_s=108)
        late.header.stamp.nanosec = 999_999_000
        images.publish(late)
        peer.spin(1.0)
        assert states[-1].data == 'LOCALIZED'
        assert_reported(peer, reports, 'images late: 1')
        assert_reported(peer, reports, 'time jumps: 0')


def test_standing_still_before_a_noiseless_camera_keeps_the_fix(world: dict[str, Any]) -> None:
    """Also while odometry says so, as a simulator does."""
    with domain() as (number, peer), running(number, **world):
        states = peer.listen(String, '/localize/state', LATCHED)
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images, odometry = peer.publisher(Image, '/image'), peer.publisher(Odometry, '/odom')
        drive(peer, images, range(10))
        peer.wait(lambda: bool(states) and states[-1].data == 'LOCALIZED', f'{states}')
        before = len(fixes)
        for tenth in range(40):
            message = raw(9, stamp_s=110 + tenth // 10)
            message.header.stamp.nanosec = tenth % 10 * 10**8
            still = Odometry(header=message.header)
            still.pose.pose.orientation.w = 1.0
            odometry.publish(still)
            peer.show(images, message)
        peer.wait(lambda: len(fixes) - before >= 30, f'{len(fixes) - before} fixes of 40')
        assert states[-1].data == 'LOCALIZED'


def test_after_a_reset_has_answered_no_older_pose_comes(world: dict[str, Any]) -> None:
    with domain() as (number, peer), running(number, **world | {'belief': False}):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        states = peer.listen(String, '/localize/state', LATCHED)
        images = peer.publisher(Image, '/image')
        send_until_fix(peer, images, raw, 4, fixes)
        for round_ in range(5):
            for row in range(4):
                images.publish(raw(4, stamp_s=1000 + 10 * round_ + row))
            answer = peer.call(Trigger, '/localize/reset', Trigger.Request())
            assert answer.success and 'forgotten' in answer.message
            peer.spin(0.3)
            assert states[-1].data == 'LOST'


def test_a_clock_that_goes_back_forgets_the_drive(world: dict[str, Any]) -> None:
    with domain() as (number, peer), running(number, **world, use_sim_time=True):
        states = peer.listen(String, '/localize/state', LATCHED)
        clock, images = peer.publisher(Clock, '/clock'), peer.publisher(Image, '/image')
        for row in range(10):
            now = Clock()
            now.clock.sec = 100 + row
            clock.publish(now)
            peer.show(images, raw(row, stamp_s=100 + row))
        peer.wait(lambda: bool(states) and states[-1].data == 'LOCALIZED', f'{states}')
        now.clock.sec = 50
        clock.publish(now)
        peer.wait(lambda: states[-1].data == 'LOST', 'the clock went back and nothing is lost')


def test_a_picture_that_cannot_be_drawn_keeps_pose_and_state_going(
    world: dict[str, Any], tmp_path: Path
) -> None:
    """The map's thumbnails are damaged, and somebody looks at ~/debug_image."""
    model = write_tiny_model(tmp_path / 'model')
    descriptors = OnnxDescriber(model).describe([picture(place) for place in range(PLACES)])
    header = MapHeader(
        model_name='tiny',
        model_sha256=model.card.sha256,
        descriptor_size=descriptors.shape[1],
    )
    with build(tmp_path / 'map', header) as writer:
        for row, pose in enumerate(straight_drive(PLACES, spacing_m=10.0)):
            writer.add(
                descriptors[row], pose, stamp_ns=row, name=f'{row}', thumbnail=b'no picture'
            )
    given = world | {'map': tmp_path / 'map', 'model': tmp_path / 'model'}
    with domain() as (number, peer), running(number, **given):
        states = peer.listen(String, '/localize/state', LATCHED)
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        peer.listen(Image, '/localize/debug_image')
        images = peer.publisher(Image, '/image')
        drive(peer, images, range(10))
        peer.wait(lambda: bool(states) and states[-1].data == 'LOCALIZED', f'{states}')
        assert fixes
        assert_reported(peer, reports, 'images unusable: 0')
        assert_reported(peer, reports, 'last error: ')


def test_matches_are_ranked_by_their_probability(world: dict[str, Any]) -> None:
    messages = conversions.PlaceMatchArray
    if messages is None:
        pytest.skip('vpr_msgs is not built, see `make setup`')
    with domain() as (number, peer), running(number, **world):
        matches = peer.listen(messages, '/localize/matches')
        images = peer.publisher(Image, '/image')
        peer.wait(lambda: peer.node.count_publishers('/localize/matches') > 0, 'no topic')
        drive(peer, images, range(10))
        peer.wait(lambda: len(matches) >= 5, 'no matches')
        for message in matches:
            shares = np.array([match.probability for match in message.matches])
            assert np.isfinite(shares).all() and (np.diff(shares) <= 0).all()
            assert shares.sum() < 1.001


@pytest.mark.parametrize('topic', ['/front image', '/front-image', '//image'])
def test_a_topic_that_ros_refuses_is_refused_at_configure(
    world: dict[str, Any], tmp_path: Path, topic: str
) -> None:
    log = tmp_path / 'log'
    with (
        domain() as (number, _),
        running(number, **world | {'image_topic': topic}, log=log) as process,
    ):
        assert process.wait(30) == 2
    said = log.read_text()
    assert f'image_topic: {topic!r} is no topic name' in said and 'Traceback' not in said
    assert '.c:' not in said  # where rcl found it


def test_a_failed_configuration_can_be_mended_and_tried_again(world: dict[str, Any]) -> None:
    given = world | {'image_topic': '/front image', 'autostart': False, 'belief': False}
    with domain() as (number, peer), running(number, **given):
        reports = peer.listen(DiagnosticArray, '/diagnostics')

        assert not peer.change(Transition.TRANSITION_CONFIGURE)
        assert peer.state() == State.PRIMARY_STATE_UNCONFIGURED
        assert_reported(peer, reports, 'is no topic name')
        assert peer.set('image_topic', '/front').successful
        assert peer.change(Transition.TRANSITION_CONFIGURE)
        assert_reported(peer, reports, 'inactive, so no image is localized')
        assert peer.change(Transition.TRANSITION_ACTIVATE)
        assert peer.node.count_publishers('/localize/pose') == 1
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        send_until_fix(peer, peer.publisher(Image, '/front'), raw, 4, fixes)


def test_counts_go_on_when_the_node_is_activated_again(world: dict[str, Any]) -> None:
    given = world | {'belief': False, 'autostart': False, 'continuous': True}
    with domain() as (number, peer), running(number, **given):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        for step in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert peer.change(step)
        images = peer.publisher(Image, '/image')
        burst = picture(3, height=2160, width=3840)
        for row in range(20):
            message = raw(3, stamp_s=100 + row)
            message.height, message.width, message.step = 2160, 3840, 3840 * 3
            message.data = burst.tobytes()
            images.publish(message)

        def counted(name: str, report: int = -1) -> int:
            values = {pair.key: pair.value for pair in reports[report].status[0].values}
            return int(values.get(name, 0))

        def is_over() -> bool:
            name = 'images received'
            return len(reports) > 1 and counted(name) == counted(name, -2) > 0

        peer.wait(is_over, 'the burst has not come or does not end')
        dropped, received = counted('images dropped'), counted('images received')
        for step in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            assert peer.change(step)
        images.publish(raw(3, stamp_s=200))
        peer.wait(
            lambda: counted('images received') > received,
            'no image has come after the node was activated again',
        )
        assert counted('images dropped') >= dropped


def test_settings_that_change_while_the_node_runs_reach_the_next_image(
    world: dict[str, Any],
) -> None:
    with domain() as (number, peer), running(number, **world | {'belief': False}):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        send_until_fix(peer, images, raw, 4, fixes)
        assert peer.set('min_similarity', 1.0).successful
        peer.spin(0.5)
        before = len(fixes)
        drive(peer, images, range(999, 1003), start_s=500)
        assert len(fixes) == before


def test_an_image_above_the_limit_is_refused_and_the_next_one_is_localized(
    world: dict[str, Any],
) -> None:
    given = world | {'belief': False, 'max_image_size': 0.05}
    with domain() as (number, peer), running(number, **given):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        images = peer.publisher(Image, '/image')
        large = raw(4, stamp_s=1)
        large.height, large.width, large.step = 240, 320, 960
        large.data = bytes(240 * 960)
        images.publish(large)
        assert_reported(peer, reports, '320x240 pixels, expected at most 0.05 million')
        send_until_fix(peer, images, raw, 4, fixes)
