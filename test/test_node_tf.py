"""tf in and out of the running node, through a seam in place of tf2_ros.

tf2_ros is not among the wheels. The node is the real one, in this process, with real messages;
only the object that asks and sends transforms is replaced. Where tf2_ros is installed, the last
test runs the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_world import Peer, domain
from sensor_msgs.msg import Image
from test_localize import PLACES, raw
from worlds import write_pictured_map

from vpr_ros.core.geometry import FORWARD_CAMERA, compose
from vpr_ros.node import inputs
from vpr_ros.node.lifecycle import LocalizeNode
from vpr_ros.node.qos import LATCHED
from vpr_ros.node.tf import Transforms

SUCCESS = TransitionCallbackReturn.SUCCESS


class FakeTransforms:
    """Stands for tf2_ros: answers what a test has put in, and keeps what was sent."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], np.ndarray] = {}
        self.asked: list[tuple[str, str]] = []
        self.sent: list[tuple[str, str, np.ndarray, int]] = []

    def latest(self, parent: str, child: str) -> np.ndarray | None:
        self.asked.append((parent, child))
        return self.known.get((parent, child))

    def broadcast(self, parent: str, child: str, pose: np.ndarray, at_ns: int) -> None:
        self.sent.append((parent, child, pose, at_ns))


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    given = write_pictured_map(tmp_path_factory.mktemp('tf'), PLACES, spacing_m=10.0)
    words = {name: str(folder) for name, folder in given.items()}
    return {**words, 'image_qos': 'default', 'max_false_fix_rate': 0.2}


@contextmanager
def node_here(
    peer: Peer, world: dict[str, Any], transforms: Any = None, **changes: Any
) -> Iterator[LocalizeNode]:
    """The node in this process, spun together with the peer."""
    overrides = [Parameter(name, value=value) for name, value in (world | changes).items()]
    node = LocalizeNode(
        transforms=transforms, context=peer.node.context, parameter_overrides=overrides
    )
    peer._executor.add_node(node)
    try:
        yield node
    finally:
        node.close()
        node.destroy_node()


def drive(
    peer: Peer, images: Any, odometry: Any, places: range, *, origin_m: float = -30.0
) -> None:
    """Pictures a second apart; origin_m: where odometry started, on the map."""
    for place in places:
        moved = Odometry()
        moved.header.stamp.sec, moved.header.frame_id = 100 + place, 'odom'
        moved.pose.pose.position.x = 10.0 * place - origin_m
        moved.pose.pose.orientation.w = 1.0
        odometry.publish(moved)
        peer.spin(0.1)
        peer.show(images, raw(place, stamp_s=100 + place))


def test_map_to_odom_goes_out_steadily_from_the_first_sure_fix_on(world: dict[str, Any]) -> None:
    """Also without images: whoever asks for the transform at any time finds a fresh one."""
    transforms = FakeTransforms()
    with (
        domain() as (_, peer),
        node_here(peer, world, transforms, publish_tf=True, transform_tolerance=0.3) as node,
    ):
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        images, odometry = peer.publisher(Image, '/image'), peer.publisher(Odometry, '/odom')
        assert not transforms.sent
        drive(peer, images, odometry, range(11))
        peer.wait(lambda: len(transforms.sent) >= 3, 'no transform sent')
        peer.spin(2.0)
        before = len(transforms.sent)
        started_ns = node.get_clock().now().nanoseconds
        peer.spin(3.0)
        sent = transforms.sent[before:]
        assert len(sent) > 30  # 60 at 20 Hz, on a machine that does nothing else
        for parent, child, pose, at_ns in sent:
            assert (parent, child) == ('map', 'odom')
            assert pose[0] == pytest.approx(-30, abs=1.5)
            assert at_ns > started_ns + 200_000_000  # ahead of the moment when it was sent
        stamps = [at_ns for *_, at_ns in sent]
        assert stamps == sorted(set(stamps))
        assert node.trigger_deactivate() == SUCCESS
        ended = len(transforms.sent)
        peer.spin(0.5)
        assert len(transforms.sent) == ended


def test_what_the_wheels_did_while_the_node_was_inactive_bends_no_transform(
    world: dict[str, Any],
) -> None:
    """Their driver was started again, and its origin is now where the robot stood."""
    transforms = FakeTransforms()
    with domain() as (_, peer), node_here(peer, world, transforms, publish_tf=True) as node:
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        images, odometry = peer.publisher(Image, '/image'), peer.publisher(Odometry, '/odom')
        drive(peer, images, odometry, range(6))
        peer.wait(lambda: bool(transforms.sent), 'no transform sent')
        assert node.trigger_deactivate() == SUCCESS
        transforms.sent.clear()
        assert node.trigger_activate() == SUCCESS
        images, odometry = peer.publisher(Image, '/image'), peer.publisher(Odometry, '/odom')
        drive(peer, images, odometry, range(6, 10), origin_m=50.0)
        peer.wait(lambda: len(transforms.sent) > 2, 'no transform sent')
        for *_, pose, _ in transforms.sent:
            assert pose[0] == pytest.approx(50, abs=1.5)


@pytest.mark.parametrize(('when_lost', 'goes_on'), [('keep', True), ('stop', False)])
def test_after_lost_the_last_transform_goes_on_or_stops_as_asked(
    world: dict[str, Any], when_lost: str, goes_on: bool
) -> None:
    transforms = FakeTransforms()
    with (
        domain() as (_, peer),
        node_here(peer, world, transforms, publish_tf=True, tf_when_lost=when_lost) as node,
    ):
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        images, odometry = peer.publisher(Image, '/image'), peer.publisher(Odometry, '/odom')
        drive(peer, images, odometry, range(11))
        peer.wait(lambda: len(transforms.sent) >= 3, 'no transform sent')
        for row in range(12):
            peer.show(images, raw(500 + row, stamp_s=120 + row))
        peer.wait(lambda: node._configured.session.state.value == 'LOST', 'never lost')
        peer.spin(0.3)
        before = len(transforms.sent)
        peer.spin(1.0)
        assert (len(transforms.sent) > before) is goes_on


def test_the_cameras_mounting_is_asked_of_tf_with_the_images_frame(
    world: dict[str, Any],
) -> None:
    transforms = FakeTransforms()
    ahead = compose(np.array([0.5, 0, 0, 0, 0, 0, 1.0]), FORWARD_CAMERA)
    with domain() as (_, peer), node_here(peer, world, transforms, belief=False) as node:
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        images.publish(raw(4, stamp_s=1))
        peer.wait(lambda: len(fixes) == 1, 'no pose before tf answers')
        assert fixes[0].pose.pose.position.x == pytest.approx(40, abs=0.5)
        assert transforms.asked == [('base_link', 'camera')]
        transforms.known['base_link', 'camera'] = ahead
        images.publish(raw(4, stamp_s=2))
        peer.wait(lambda: len(fixes) == 2, 'no pose after tf has answered')
        assert fixes[1].pose.pose.position.x == pytest.approx(39.5, abs=0.5)
        images.publish(raw(4, stamp_s=3))
        peer.wait(lambda: len(fixes) == 3, 'no third pose')
        assert len(transforms.asked) == 2  # once it is known, nobody asks again


def test_frames_with_the_leading_slash_of_ros1_are_those_without(world: dict[str, Any]) -> None:
    """tf2 knows no frame that begins with a slash, so that the mounting was never found."""
    transforms = FakeTransforms()
    transforms.known['base_link', 'camera'] = FORWARD_CAMERA
    slashes = {'base_frame': '/base_link', 'odom_frame': '/odom', 'map_frame': '/map'}
    with (
        domain() as (_, peer),
        node_here(peer, world, transforms, publish_tf=True, **slashes) as node,
    ):
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images, odometry = peer.publisher(Image, '/image'), peer.publisher(Odometry, '/odom')
        for row in range(8):
            moved, image = Odometry(child_frame_id='/base_link'), raw(row, stamp_s=100 + row)
            moved.header.stamp.sec, moved.header.frame_id = 100 + row, '/odom'
            moved.pose.pose.position.x, moved.pose.pose.orientation.w = 10.0 * row, 1.0
            image.header.frame_id = '/camera'
            odometry.publish(moved)
            peer.spin(0.1)
            peer.show(images, image)
        peer.wait(lambda: bool(transforms.sent), 'no transform sent')
        assert transforms.asked == [('base_link', 'camera')]
        assert transforms.sent[0][:2] == ('map', 'odom')
        assert fixes[-1].header.frame_id == 'map'


def test_map_and_odometry_in_one_frame_are_refused_where_a_transform_should_join_them(
    world: dict[str, Any],
) -> None:
    """As with a map that was made by odometry: tf drops what leads from odom to odom."""
    with (
        domain() as (_, peer),
        node_here(peer, world, FakeTransforms(), map_frame='/odom') as node,
    ):
        assert node.trigger_configure() == SUCCESS
        (refused,) = node.set_parameters([Parameter('publish_tf', value=True)])
        assert not refused.successful and 'set map_frame to another name' in refused.reason
        assert not node.config.publish_tf
        assert node.trigger_cleanup() == SUCCESS
        (taken,) = node.set_parameters([Parameter('publish_tf', value=True)])
        assert taken.successful
        assert node.trigger_configure() != SUCCESS
        assert 'in frame odom, which is also odom_frame' in node._reporting.problem
        node.set_parameters([Parameter('map_frame', value='map')])
        assert node.trigger_configure() == SUCCESS


def test_a_failed_activation_says_why_releases_all_and_can_be_tried_again(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with domain() as (_, peer), node_here(peer, world, belief=False) as node:
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        peer.wait(lambda: peer.node.count_publishers('/diagnostics') > 0, 'no node')
        assert node.trigger_configure() == SUCCESS

        def fails(topic: str) -> str:
            raise RuntimeError('the middleware has no more sockets')

        monkeypatch.setattr(inputs, 'camera_info_topic', fails)
        before = {name for name, _ in node.get_service_names_and_types_by_node('localize', '/')}
        assert node.trigger_activate() != SUCCESS
        assert node._active is None and 'no more sockets' in node._reporting.problem
        listening = [entry.topic_name for entry in node.subscriptions]
        assert '/image' not in listening and '/odom' not in listening
        peer.wait(
            lambda: any('no more sockets' in report.status[0].message for report in reports),
            'diagnostics do not say why',
        )
        after = {name for name, _ in node.get_service_names_and_types_by_node('localize', '/')}
        assert after == before
        monkeypatch.undo()
        assert node.trigger_activate() == SUCCESS and node._reporting.problem == ''
        assert peer.node.count_publishers('/localize/pose') == 1
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        peer.publisher(Image, '/image').publish(raw(4, stamp_s=1))
        peer.wait(lambda: bool(fixes), 'no pose after the second try')


def test_an_error_at_the_end_of_an_activation_is_told_and_can_be_got_over(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node was finalized without a word, and the process ended with a traceback."""
    with domain() as (_, peer), node_here(peer, world, belief=False) as node:
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS

        def fails() -> None:
            raise RuntimeError('the middleware is gone')

        monkeypatch.setattr(node._active.inputs, 'destroy', fails)
        assert node.trigger_deactivate() == TransitionCallbackReturn.ERROR
        peer.wait(
            lambda: any('middleware is gone' in report.status[0].message for report in reports),
            'diagnostics do not say why',
        )
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        peer.publisher(Image, '/image').publish(raw(4, stamp_s=1))
        peer.wait(lambda: bool(fixes), 'no pose after the error')


def test_what_changes_while_the_node_is_inactive_counts_when_it_is_active_again(
    world: dict[str, Any],
) -> None:
    with domain() as (_, peer), node_here(peer, world, belief=False) as node:
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        assert node.trigger_deactivate() == SUCCESS
        (done,) = node.set_parameters([Parameter('min_similarity', value=1.0)])
        assert done.successful and node.trigger_activate() == SUCCESS
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        for row in range(5):
            peer.show(images, raw(999, stamp_s=100 + row))
        assert not fixes
        assert node._configured.session._config.min_similarity == 1.0


def test_an_error_in_a_callback_or_in_diagnostics_ends_nothing(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with domain() as (_, peer), node_here(peer, world, belief=False) as node:
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        odometry, images = peer.publisher(Odometry, '/odom'), peer.publisher(Image, '/image')

        def fails(*_: object) -> None:
            raise RuntimeError('unexpected')

        monkeypatch.setattr(inputs.convert, 'pose_numbers', fails)
        monkeypatch.setattr(node._configured.session.counts, 'snapshot', fails)
        odometry.publish(Odometry())
        peer.spin(1.5)  # the timer runs, too
        monkeypatch.undo()
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images.publish(raw(4, stamp_s=1))
        peer.wait(lambda: bool(fixes), 'the node has ended')
        assert (
            node._configured.session.counts.snapshot().last_error == "RuntimeError('unexpected')"
        )


def test_the_real_tf2_ros_carries_a_mounting_and_a_correction(tmp_path: Path) -> None:
    tf2_ros = pytest.importorskip('tf2_ros', reason='comes with a ROS 2 installation')
    with domain() as (_, peer):
        transforms = Transforms(peer.node)
        buffer = tf2_ros.Buffer()
        tf2_ros.TransformListener(buffer, peer.node)
        pose = np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0])
        transforms.broadcast('map', 'odom', pose, 10**9)
        peer.wait(lambda: transforms.latest('map', 'odom') is not None, 'nothing came')
        np.testing.assert_allclose(transforms.latest('map', 'odom'), pose)
        assert transforms.latest('map', 'nowhere') is None
