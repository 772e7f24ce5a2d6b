"""The node, in its own process with the real rclpy.

It gives poses for images, and diagnostics for everything that is wrong.
"""

import hashlib
import shutil
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from lifecycle_msgs.msg import State, Transition
from rcl_interfaces.srv import DescribeParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter as NodeParameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from ros_world import Peer, domain, running
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, NavSatFix
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tensorrt_stand_in import StandIn, installed
from visualization_msgs.msg import Marker, MarkerArray
from worlds import (
    picture,
    straight_drive,
    unit_rows,
    write_map,
    write_pictured_map,
    write_tiny_model,
)

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, write_model
from vpr_ros.core.describing.precision import Accepted
from vpr_ros.core.geometry import FORWARD_CAMERA, compose, yaw_quat
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives.geographic import datum_at, degrees_of
from vpr_ros.node import conversions, inputs
from vpr_ros.node.lifecycle import LocalizeNode
from vpr_ros.node.qos import LATCHED

PLACES = 12


def raw(place: int, *, stamp_s: int = 1, encoding: str = 'rgb8') -> Image:
    image = picture(place)
    pixels = {
        'rgb8': image,
        'bgr8': image[..., ::-1],
        'mono8': cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),
    }[encoding]
    message = Image(
        height=120, width=160, encoding=encoding, step=160 * (1 if encoding == 'mono8' else 3)
    )
    message.header.stamp.sec, message.header.frame_id = stamp_s, 'camera'
    message.data = array('B', np.ascontiguousarray(pixels).tobytes())
    return message


def compressed(place: int, *, stamp_s: int = 1) -> CompressedImage:
    message = CompressedImage(format='jpeg')
    message.header.stamp.sec, message.header.frame_id = stamp_s, 'camera'
    message.data = array('B', cv2.imencode('.jpg', picture(place)[..., ::-1])[1].tobytes())
    return message


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny model and a map of twelve places, ten metres apart; each image stands alone."""
    folder = tmp_path_factory.mktemp('world')
    return {**write_pictured_map(folder, PLACES, spacing_m=10.0), 'belief': False}


def send_until_fix(
    peer: Peer, publisher: Any, make: Any, place: int, fixes: list[Any]
) -> PoseWithCovarianceStamped:
    """Publish a place's picture until a pose comes."""
    before = len(fixes)
    for attempt in range(60):
        publisher.publish(make(place, stamp_s=100 + attempt))
        peer.spin(0.2)
        if len(fixes) > before:
            return fixes[-1]
    raise AssertionError(f'no pose for place {place}')


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'mono8'])
def test_a_raw_image_of_a_mapped_place_gives_its_pose(
    world: dict[str, Any], encoding: str
) -> None:
    with (
        domain() as (number, peer),
        running(number, **world, image_qos='default', min_similarity=0.3),
    ):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        fix = send_until_fix(
            peer,
            images,
            lambda place, stamp_s: raw(place, stamp_s=stamp_s, encoding=encoding),
            7,
            fixes,
        )
        assert fix.header.frame_id == 'map' and fix.header.stamp.sec >= 100
        assert fix.pose.pose.position.x == pytest.approx(70, abs=0.5)
        assert fix.pose.pose.orientation.w == pytest.approx(1, abs=1e-3)
        covariance = np.array(fix.pose.covariance).reshape(6, 6)
        assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_compressed_images_poses_markers_candidates_and_debug_pictures(
    world: dict[str, Any],
) -> None:
    with (
        domain() as (number, peer),
        running(number, **world, image_transport='compressed', image_topic='/cam'),
    ):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        candidates = peer.listen(PoseArray, '/localize/candidates')
        markers = peer.listen(MarkerArray, '/localize/markers')
        places = peer.listen(Marker, '/localize/places', LATCHED)
        pictures = peer.listen(Image, '/localize/debug_image')
        images = peer.publisher(CompressedImage, '/cam/compressed')
        fix = send_until_fix(peer, images, compressed, 3, fixes)
        assert fix.pose.pose.position.x == pytest.approx(30, abs=0.5)
        peer.wait(
            lambda: bool(candidates and markers and places and pictures), 'an output is missing'
        )
        assert len(candidates[-1].poses) == PLACES
        assert {marker.ns for marker in markers[-1].markers} == {'candidates', 'fix', 'covariance'}
        assert len(places[-1].points) == PLACES
        assert pictures[-1].encoding == 'rgb8' and pictures[-1].height > 240
        assert len(pictures[-1].data) == pictures[-1].step * pictures[-1].height


def test_the_pose_topic_is_reliable_and_latched_for_a_late_listener(
    world: dict[str, Any],
) -> None:
    with domain() as (number, peer), running(number, **world, image_qos='default'):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        send_until_fix(peer, peer.publisher(Image, '/image'), raw, 2, fixes)
        offered = peer.node.get_publishers_info_by_topic('/localize/pose')[0].qos_profile
        assert offered.reliability is ReliabilityPolicy.RELIABLE
        assert offered.durability is DurabilityPolicy.TRANSIENT_LOCAL
        late = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        peer.wait(lambda: len(late) > 0, 'a late listener gets no pose')


def test_matches_and_the_service_where_vpr_msgs_is_built(world: dict[str, Any]) -> None:
    messages, services = conversions.PlaceMatchArray, inputs.Localize
    if messages is None:
        pytest.skip('vpr_msgs is not built, see `make setup`')
    with domain() as (number, peer), running(number, **world, image_qos='default'):
        matches = peer.listen(messages, '/localize/matches')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        send_until_fix(peer, peer.publisher(Image, '/image'), raw, 5, fixes)
        peer.wait(lambda: len(matches) > 0, 'no matches')
        best = matches[-1].matches[0]
        assert (
            matches[-1].localized
            and matches[-1].model_name == 'test'
            and len(matches[-1].map_id) == 12
        )
        assert (best.place_id, best.source) == (5, '5.jpg') and best.similarity > 0.99
        asked = peer.call(
            services,
            '/localize/localize',
            services.Request(compressed_image=compressed(9)),
        )
        assert asked.success and asked.matches.matches[0].place_id == 9
        assert asked.pose.pose.pose.position.x == pytest.approx(90, abs=0.5)
        empty = peer.call(services, '/localize/localize', services.Request())
        assert not empty.success and '0 of the fields image and compressed_image' in empty.message


def test_an_unknown_place_gives_no_pose_and_a_reason(world: dict[str, Any]) -> None:
    with (
        domain() as (number, peer),
        running(number, **world, image_qos='default', min_similarity=0.9),
    ):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        images = peer.publisher(Image, '/image')
        for stamp_s in range(10):
            peer.show(images, raw(999, stamp_s=stamp_s + 1))
        assert not fixes
        assert_reported(
            peer, reports, 'no fix: no place on the map is similar enough', DiagnosticStatus.WARN
        )


def assert_reported(
    peer: Peer, reports: list[DiagnosticArray], text: str, level: bytes | None = None
) -> None:
    """A diagnostic whose message or values contain a text comes soon.

    It has this level if one is given.
    """

    def said() -> bool:
        return any(
            level in (None, status.level)
            and (
                text in status.message
                or any(text in f'{pair.key}: {pair.value}' for pair in status.values)
            )
            for report in reports
            for status in report.status
        )

    peer.wait(
        said, f'no diagnostic says {text!r}: {reports[-1] if reports else "none came"}', 15.0
    )


def test_diagnostics_say_what_runs_the_model_and_why_nothing_faster_does(
    world: dict[str, Any],
) -> None:
    with domain() as (number, peer), running(number, **world):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        assert_reported(peer, reports, 'backend: onnxruntime')
        assert_reported(peer, reports, 'why not faster: TensorRT cannot be imported')
        assert_reported(peer, reports, 'threads: ')


def test_an_engine_is_built_at_configure_with_progress_in_diagnostics_and_freed_at_cleanup(
    world: dict[str, Any], tmp_path: Path
) -> None:
    values = world | {'engine_cache': tmp_path, 'autostart': False}
    overrides = [
        NodeParameter(name, value=str(value) if isinstance(value, Path) else value)
        for name, value in values.items()
    ]
    with domain() as (_, peer), installed(StandIn()) as jetson:
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        context = peer.node.context
        node = LocalizeNode(context=context, parameter_overrides=overrides)
        peer.wait(
            lambda: peer.node.count_publishers('/diagnostics') > 0, 'the node does not show up'
        )
        peer.spin(0.5)  # the listener learns of the publisher a moment later
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert_reported(peer, reports, 'TensorRT builds the fp16 engine', DiagnosticStatus.WARN)
        assert jetson.built == 1 and jetson.live
        node._reporting.publish()
        assert_reported(peer, reports, 'backend: TensorRT 10.3.0 fp16 on Orin')
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert not jetson.live
        node.destroy_node()


def broken(**changes: Any) -> Image:
    message = raw(1)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ('message', 'said'),
    [
        (broken(step=100), 'step'),
        (broken(data=array('B', bytes(100))), '100'),
        (broken(encoding='rgb7'), 'rgb7'),
        (broken(data=array('B')), 'image'),
        (Image(height=1, width=1, encoding='rgb8', step=3, data=array('B', bytes(3))), '1x1'),
    ],
    ids=['wrong step', 'too few bytes', 'unknown encoding', 'no bytes', 'one pixel'],
)
def test_a_broken_image_is_reported_and_the_next_good_one_is_localized(
    world: dict[str, Any], message: Image, said: str
) -> None:
    with domain() as (number, peer), running(number, **world, image_qos='default'):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        for _ in range(5):
            images.publish(message)
            peer.spin(0.1)
        send_until_fix(peer, images, raw, 4, fixes)
        assert_reported(peer, reports, said)


def test_garbage_and_truncated_jpegs_are_reported_and_an_8k_image_is_localized(
    world: dict[str, Any],
) -> None:
    with (
        domain() as (number, peer),
        running(number, **world, image_transport='compressed', image_qos='default'),
    ):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(CompressedImage, '/image/compressed')
        whole = compressed(1).data.tobytes()
        for content in (b'', b'garbage' * 50, whole[: len(whole) // 2]):
            for _ in range(3):
                images.publish(CompressedImage(format='jpeg', data=array('B', content)))
                peer.spin(0.1)
        large = cv2.imencode('.jpg', picture(6, height=4320, width=7680)[..., ::-1])[1].tobytes()
        huge = CompressedImage(format='jpeg', data=array('B', large))
        for attempt in range(20):
            huge.header.stamp.sec = attempt + 1
            images.publish(huge)
            peer.spin(1.0)
            if fixes:
                break
        assert fixes and fixes[-1].pose.pose.position.x == pytest.approx(60, abs=0.5)
        assert_reported(peer, reports, 'truncated')


def test_a_slow_model_drops_frames_and_counts_them(world: dict[str, Any]) -> None:
    """A burst is sent faster than large pictures can be decoded; the newest one must win."""
    with (
        domain() as (number, peer),
        running(number, **world, image_transport='compressed', image_qos='default'),
    ):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(CompressedImage, '/image/compressed')
        large = [
            array(
                'B',
                cv2.imencode('.png', picture(place, height=2160, width=3840)[..., ::-1])[
                    1
                ].tobytes(),
            )
            for place in range(PLACES)
        ]

        def dropped() -> bool:
            values = {
                pair.key: pair.value for report in reports for pair in report.status[0].values
            }
            return int(values.get('images dropped', 0)) > 0

        stamp_s = 0
        while stamp_s < 60 or not dropped():
            stamp_s += 1
            message = CompressedImage(format='png', data=large[stamp_s % PLACES])
            message.header.stamp.sec = stamp_s
            images.publish(message)
            peer.spin(0.01)
        peer.wait(
            lambda: bool(fixes) and fixes[-1].header.stamp.sec == stamp_s,
            'the newest image was not localized',
        )
        assert len(fixes) < stamp_s


def test_time_that_jumps_back_is_counted_and_localization_goes_on(world: dict[str, Any]) -> None:
    with domain() as (number, peer), running(number, **world, image_qos='default'):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        send_until_fix(peer, images, raw, 2, fixes)
        before = len(fixes)
        images.publish(raw(3, stamp_s=5))
        peer.wait(lambda: len(fixes) > before, 'no pose after the jump')
        assert fixes[-1].header.stamp.sec == 5
        assert_reported(peer, reports, 'time jumps: 1')


def test_an_initial_pose_restricts_the_search_once_and_a_broken_one_is_reported(
    world: dict[str, Any],
) -> None:
    with (
        domain() as (number, peer),
        running(number, **world, image_qos='default', min_similarity=-1.0),
    ):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        initial = peer.publisher(PoseWithCovarianceStamped, '/initialpose')
        message = PoseWithCovarianceStamped()
        message.header.frame_id = 'map'
        message.pose.pose.position.x = 80.0
        initial.publish(message)
        peer.spin(0.5)
        images.publish(raw(2, stamp_s=1))
        peer.wait(lambda: len(fixes) == 1, 'no pose inside the prior')
        assert fixes[0].pose.pose.position.x == pytest.approx(80, abs=0.5)
        images.publish(raw(2, stamp_s=2))
        peer.wait(lambda: len(fixes) == 2, 'no pose after the prior')
        assert fixes[1].pose.pose.position.x == pytest.approx(20, abs=0.5)
        message.pose.pose.orientation.w = float('nan')
        initial.publish(message)
        assert_reported(peer, reports, 'initialpose: contains NaN')


def test_a_drive_is_believed_and_the_state_and_one_initial_pose_are_told(
    world: dict[str, Any],
) -> None:
    """The pictures are unlike each other, so that a few frames suffice."""
    with (
        domain() as (number, peer),
        running(
            number,
            **world | {'belief': True},
            image_qos='default',
            max_false_fix_rate=0.2,
            publish_initialpose=True,
        ),
    ):
        states = peer.listen(String, '/localize/state', LATCHED)
        poses = peer.listen(PoseWithCovarianceStamped, '/initialpose')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        images = peer.publisher(Image, '/image')
        peer.wait(lambda: bool(states), 'no state before the first image')
        for place in range(10):
            peer.show(images, raw(place, stamp_s=1 + place))
        peer.wait(lambda: states[-1].data == 'LOCALIZED', f'{states}, {len(fixes)} fixes')
        assert states[0].data == 'LOST'
        assert len(poses) == 1
        assert poses[0].pose.pose.position.x == pytest.approx(
            10.0 * (poses[0].header.stamp.sec - 1), abs=2.0
        )
        assert_reported(peer, reports, 'state: LOCALIZED')
        assert_reported(peer, reports, 'calibration: shipped')
        assert peer.call(Trigger, '/localize/reset', Trigger.Request()).success
        peer.wait(lambda: states[-1].data == 'LOST', 'a reset does not lose it')


def test_a_camera_that_sees_less_than_the_mapping_one_is_reported(
    world: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / 'log'
    with domain() as (number, peer), running(number, **world, image_topic='/cam/image', log=log):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        message = CameraInfo(width=640, height=480)
        message.k = [1000.0, 0.0, 320.0, 0.0, 1000.0, 240.0, 0.0, 0.0, 1.0]
        peer.publisher(CameraInfo, '/cam/camera_info').publish(message)
        assert_reported(peer, reports, 'field of view, camera/map [deg]: 35/90')
    assert 'this camera sees 35 degrees, the map was made with 90' in log.read_text()


def test_with_continuous_off_only_a_trigger_localizes(world: dict[str, Any]) -> None:
    with (
        domain() as (number, peer),
        running(number, **world, image_qos='default', continuous=False),
    ):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        for stamp_s in range(1, 6):
            images.publish(raw(2, stamp_s=stamp_s))
            peer.spin(0.1)
        assert not fixes
        assert peer.call(Trigger, '/localize/trigger_localization', Trigger.Request()).success
        send_until_fix(peer, images, raw, 2, fixes)
        peer.spin(0.5)
        count = len(fixes)
        images.publish(raw(2, stamp_s=900))
        peer.spin(1.0)
        assert len(fixes) == count
        assert peer.call(Trigger, '/localize/reset', Trigger.Request()).success


def test_the_lifecycle_goes_down_and_up_again(world: dict[str, Any]) -> None:
    with (
        domain() as (number, peer),
        running(number, **world, image_qos='default', autostart=False),
    ):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        told = peer.listen(String, '/localize/state', LATCHED)
        assert peer.state() == State.PRIMARY_STATE_UNCONFIGURED
        for place in (4, 8):
            assert peer.change(Transition.TRANSITION_CONFIGURE)
            assert peer.change(Transition.TRANSITION_ACTIVATE)
            images = peer.publisher(Image, '/image')
            fix = send_until_fix(peer, images, raw, place, fixes)
            assert fix.pose.pose.position.x == pytest.approx(10.0 * place, abs=0.5)
            peer.wait(lambda: told[-1].data == 'TENTATIVE', 'no state')
            assert peer.change(Transition.TRANSITION_DEACTIVATE)
            assert peer.state() == State.PRIMARY_STATE_INACTIVE
            peer.wait(
                lambda images=images: images.get_subscription_count() == 0,
                'an inactive node still listens',
            )
            peer.wait(lambda: told[-1].data == 'LOST', 'an inactive node knows where it is')
            peer.node.destroy_publisher(images)
            assert peer.change(Transition.TRANSITION_CLEANUP)
        assert peer.state() == State.PRIMARY_STATE_UNCONFIGURED


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'map': '/nowhere'}, '/nowhere: no map here (no map.yaml); make one with build_map'),
        ({'map': ''}, 'map: not given'),
        ({'model': '/nowhere'}, '/nowhere: no such model folder'),
        ({'map': '/' + 300 * 'x'}, 'x/map.yaml: File name too long; choose a shorter name'),
        ({'min_similarity': 3.0}, 'min_similarity out of range Min: -1.0, Max: 1.0'),
        ({'image_transport': 'theora'}, 'expected one of raw, compressed'),
        ({'candidates': 'many'}, 'candidates'),
        ({'precision': 'int8'}, 'no int8 graph was accepted for this model, it has fp32'),
        ({'precision': 'int4'}, 'expected one of auto, fp32, fp16, int8'),
        ({'image_topic': '/a,'}, 'expected different topics between the commas'),
        (
            {'image_topic': '/a,/b', 'base_T_camera': FORWARD_CAMERA.tolist()},
            '1 mounting for the 2 of image_topic',
        ),
    ],
    ids=[
        'missing map',
        'no map',
        'missing model',
        'long name',
        'out of range',
        'no such transport',
        'wrong type',
        'no such graph',
        'no such precision',
        'half a topic',
        'half a rig',
    ],
)
def test_what_is_wrong_at_start_ends_the_node_with_one_clear_reason(
    world: dict[str, Any], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    log = tmp_path / 'log'
    with domain() as (number, _), running(number, **world | changes, log=log) as process:
        assert process.wait(30) == 2
    assert said in log.read_text()
    assert 'Traceback' not in log.read_text()


def test_a_map_of_another_model_is_refused_by_both_names(
    world: dict[str, Any], tmp_path: Path
) -> None:
    other = write_tiny_model(tmp_path / 'other', name='other', grid=4)
    log = tmp_path / 'log'
    with (
        domain() as (number, _),
        running(number, map=world['map'], model=other.folder, log=log) as process,
    ):
        assert process.wait(30) == 2
    assert 'made with model test' in log.read_text() and 'runs other' in log.read_text()


def test_a_bad_map_without_autostart_is_an_error_in_diagnostics(world: dict[str, Any]) -> None:
    with domain() as (number, peer), running(number, map='/nowhere', autostart=False):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        assert not peer.change(Transition.TRANSITION_CONFIGURE)
        assert_reported(peer, reports, 'no map here', DiagnosticStatus.ERROR)


def test_parameters_are_described_and_refused_at_run_time_with_the_reason(
    world: dict[str, Any],
) -> None:
    with domain() as (number, peer), running(number, **world):
        described = peer.call(
            DescribeParameters,
            '/localize/describe_parameters',
            DescribeParameters.Request(names=['agreement_radius', 'candidates']),
        ).descriptors
        assert 'Candidates within this distance' in described[0].description
        assert described[0].floating_point_range[0].to_value == 1000.0
        assert described[1].integer_range[0].from_value == 1

        refused = peer.set('agreement_radius', -1.0)
        assert not refused.successful and refused.reason
        assert peer.set('agreement_radius', 7).successful
        no_map = peer.set('map', '/other')
        assert not no_map.successful and 'no map here' in no_map.reason
        fixed = peer.set('model', '/other')
        assert (
            not fixed.successful and 'reads this parameter when it is configured' in fixed.reason
        )


def test_the_node_runs_the_graph_that_is_asked_for_on_the_models_map(
    world: dict[str, Any], tmp_path: Path
) -> None:
    """The int8 graph, another file, of a map that fp32 made; logs and diagnostics say so."""
    made = Model.open(world['model'], precision='fp32')
    another = write_tiny_model(tmp_path / 'renamed', name='another').graph.read_bytes()
    record = Accepted(
        sha256=hashlib.sha256(another).hexdigest(),
        size_bytes=len(another),
        latency_ms=1,
        threads=1,
    )
    card = replace(made.card, precisions={'int8': record})
    model = write_model(
        tmp_path / 'model', made.graph.read_bytes(), card, smaller={'int8': another}
    )
    log = tmp_path / 'log'
    with (
        domain() as (number, peer),
        running(
            number,
            **world | {'model': model.folder},
            precision='int8',
            image_qos='default',
            log=log,
        ),
    ):
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        fix = send_until_fix(peer, images, raw, 5, fixes)
        assert fix.pose.pose.position.x == pytest.approx(50, abs=0.5)
        assert_reported(peer, reports, 'precision: int8')
    assert 'model tiny (int8)' in log.read_text()


def test_a_running_node_keeps_its_map_when_the_folder_is_exchanged(
    world: dict[str, Any], tmp_path: Path
) -> None:
    """The pose and the map's picture are still those of the map that the node opened."""
    mapped = shutil.copytree(world['map'], tmp_path / 'map')
    with (
        domain() as (number, peer),
        running(number, **world | {'map': mapped}, image_qos='default') as node,
    ):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        send_until_fix(peer, images, raw, 3, fixes)
        size = PlaceMap.open(mapped).header.descriptor_size
        write_map(mapped, unit_rows(2, size), straight_drive(2), model_sha256='c' * 64)
        pictures = peer.listen(Image, '/localize/debug_image')
        peer.wait(lambda: peer.node.count_publishers('/localize/debug_image') > 0, 'no topic')
        fix = send_until_fix(peer, images, raw, 7, fixes)
        assert fix.pose.pose.position.x == pytest.approx(70, abs=0.5)
        peer.wait(lambda: bool(pictures), 'no picture')
        assert node.poll() is None


def test_a_rear_camera_on_its_own_topic_places_the_robot_too(
    world: dict[str, Any], tmp_path: Path
) -> None:
    """The street is mapped both ways, so that a robot that drives there knows its rear view."""
    model = Model.open(world['model'])
    descriptors = OnnxDescriber(model).describe([picture(place) for place in range(2 * PLACES)])
    there = straight_drive(PLACES, spacing_m=10.0)
    back = straight_drive(PLACES, spacing_m=10.0, yaw_rad=np.pi)[::-1]
    write_map(
        tmp_path / 'map',
        descriptors,
        np.concatenate([there, back]),
        model_sha256=model.card.sha256,
    )
    rear = compose(np.array([-0.5, 0, 0, *yaw_quat(np.pi)]), FORWARD_CAMERA)
    cameras = {
        'image_topic': '/front, /rear',
        'base_T_camera': [*FORWARD_CAMERA.tolist(), *rear.tolist()],
    }
    given = world | {'map': tmp_path / 'map', 'image_qos': 'default'} | cameras
    with domain() as (number, peer), running(number, **given):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        front, behind = peer.publisher(Image, '/front'), peer.publisher(Image, '/rear')
        seen_ahead = send_until_fix(peer, front, raw, 4, fixes).pose.pose
        seen_behind = send_until_fix(peer, behind, raw, PLACES + 3, fixes).pose.pose
        assert seen_ahead.position.x == pytest.approx(40, abs=0.5)
        # the rear camera is half a metre behind the robot: the robot is ahead of the place
        assert seen_behind.position.x == pytest.approx(80.5, abs=0.6)
        assert abs(seen_behind.orientation.w) == pytest.approx(1, abs=1e-3)


def test_gps_restricts_the_search_while_it_comes(world: dict[str, Any], tmp_path: Path) -> None:
    model = Model.open(world['model'])
    descriptors = OnnxDescriber(model).describe([picture(place) for place in range(PLACES)])
    datum = datum_at(55.7, 13.2)
    poses = straight_drive(PLACES, spacing_m=10.0)
    write_map(tmp_path / 'map', descriptors, poses, model_sha256=model.card.sha256, datum=datum)
    given = world | {'map': tmp_path / 'map', 'image_qos': 'default', 'min_similarity': -1.0}
    latitude_deg, longitude_deg = degrees_of(
        datum.east_m + 80, datum.north_m, datum.utm_zone, datum.utm_letter
    )
    message = NavSatFix(latitude=latitude_deg, longitude=longitude_deg)
    message.position_covariance = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 4.0]
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
    with domain() as (number, peer), running(number, **given):
        fixes = peer.listen(PoseWithCovarianceStamped, '/localize/pose', LATCHED)
        images = peer.publisher(Image, '/image')
        gps = peer.publisher(NavSatFix, '/gps/fix')
        reports = peer.listen(DiagnosticArray, '/diagnostics')
        for _ in range(10):  # best effort: the first ones may be lost
            gps.publish(NavSatFix())  # 0, 0: what a receiver says before it knows
            peer.spin(0.1)
        assert_reported(peer, reports, 'gps/fix: latitude and longitude are 0')
        for _ in range(5):
            gps.publish(message)
            peer.spin(0.1)
        images.publish(raw(2, stamp_s=1))
        peer.wait(lambda: len(fixes) == 1, 'no pose near what GPS says')
        assert fixes[0].pose.pose.position.x == pytest.approx(80, abs=0.5)
        peer.spin(2.5)
        images.publish(raw(2, stamp_s=2))
        peer.wait(lambda: len(fixes) == 2, 'no pose after GPS has gone')
        assert fixes[1].pose.pose.position.x == pytest.approx(20, abs=0.5)
