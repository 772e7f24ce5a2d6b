"""Messages and requests of ROS -> events of the session.

Callbacks run in the executor's thread. They only translate and queue, and an error in one of them
is reported and ends nothing.
"""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial, wraps
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.expand_topic_name import expand_topic_name
from rclpy.lifecycle import LifecycleNode
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CameraInfo, NavSatFix, NavSatStatus
from std_srvs.srv import Trigger

from vpr_ros.core.camera import camera_info_topic, is_rectified, read_camera_info
from vpr_ros.core.encodings import to_rgb
from vpr_ros.core.errors import ConfigError, ImageError, VprError
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives.geographic import degrees_of_fix, east_north_of, require_near
from vpr_ros.drives.transforms import frame_name
from vpr_ros.node import conversions as convert
from vpr_ros.node import topics
from vpr_ros.node.config import NodeConfig
from vpr_ros.node.qos import image_qos
from vpr_ros.node.starting import sentence_of
from vpr_ros.session.answers import Refused, Replied
from vpr_ros.session.events import (
    CameraInfoCame,
    ClockSetBack,
    Event,
    GpsCame,
    ImageCame,
    InitialPoseCame,
    LocalizeAsked,
    OdometryCame,
    ReadImage,
    ResetAsked,
    TriggerAsked,
)
from vpr_ros.session.mailbox import Mailbox

Localize = topics.LOCALIZE.kind

_USUAL_GPS_SIGMA_M = 10.0  # where the receiver does not say
_REQUEST_S = 30.0  # a request waits at most this long for the frame at work and its own


def check_topics(node: LifecycleNode, config: NodeConfig) -> None:
    """Raise ConfigError for topic names that ROS would refuse at activation."""
    for topic in config.image_topics:
        try:
            whole = expand_topic_name(topic, node.get_name(), node.get_namespace())
            validate_full_topic_name(whole)
        except Exception as error:  # rclpy's own class differs between distributions
            raise ConfigError(
                f'image_topic: {topic!r} is no topic name ({sentence_of(error)})'
            ) from error


def image_topics(config: NodeConfig) -> list[str]:
    """The topics that carry images, with the transport's suffix."""
    return [_image_topic(config, topic) for topic in config.image_topics]


def image_type(config: NodeConfig) -> str:
    """The type of the messages on these topics."""
    return _image_kind(config).type


def _image_topic(config: NodeConfig, topic: str) -> str:
    return _image_kind(config).name.replace(topics.IMAGE.name, topic)


def _image_kind(config: NodeConfig) -> topics.Topic:
    is_compressed = config.image_transport == 'compressed'
    return topics.COMPRESSED_IMAGE if is_compressed else topics.IMAGE


class Inputs:
    """The node's subscriptions and services, from activate to deactivate."""

    def __init__(
        self,
        node: LifecycleNode,
        config: NodeConfig,
        place_map: PlaceMap,
        mailbox: Mailbox,
        *,
        map_frame: str,
        report: Callable[[Exception], None],
    ) -> None:
        """Begin to listen; on an error nothing is left behind."""
        self._node = node
        self._config = config
        self._datum = place_map.header.datum
        self._mailbox = mailbox
        self._map_frame = map_frame
        self._report = report
        self._calibrations: dict[int, Any] = {}  # by camera, as it was last told
        self._subscriptions: list[Any] = []
        self._services: list[Any] = []
        self._jump: Any = None
        try:
            self._listen()
        except BaseException:
            self.destroy()
            raise

    def destroy(self) -> None:
        """Stop to listen."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for service in self._services:
            self._node.destroy_service(service)
        if self._jump is not None:
            self._jump.unregister()
        self._subscriptions, self._services, self._jump = [], [], None

    def _listen(self) -> None:
        self._subscribe(topics.ODOM, self._on_odometry)
        self._subscribe(topics.INITIALPOSE, self._on_initial_pose)
        if self._datum is not None:
            self._subscribe(topics.GPS, self._on_gps)
        for camera, topic in enumerate(self._config.image_topics):
            self._listen_to_camera(camera, topic)
        self._serve(topics.TRIGGER, self._on_trigger)
        self._serve(topics.RESET, self._on_reset)
        if Localize is not None:
            self._serve(topics.LOCALIZE, self._on_localize)
        self._jump = self._node.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            ),
            post_callback=self._guarded(self._on_clock_jump),
        )

    def _listen_to_camera(self, camera: int, topic: str) -> None:
        self._subscribe(
            _image_kind(self._config).of_camera(
                _image_topic(self._config, topic), qos=image_qos(self._config.image_qos)
            ),
            partial(self._on_image, camera),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._subscribe(
            topics.CAMERA_INFO.of_camera(camera_info_topic(topic)),
            partial(self._on_camera_info, camera, topic),
        )

    def _subscribe(
        self, topic: topics.Topic, callback: Callable[[Any], None], **options: Any
    ) -> None:
        subscription = self._node.create_subscription(
            topic.kind, topic.name, self._guarded(callback), topic.qos, **options
        )
        self._subscriptions.append(subscription)

    def _serve(self, service: topics.Service, fill: Callable[[Any, Any], None]) -> None:
        """A service whose response `fill` fills in; what it raises becomes its message."""

        def serve(request: Any, response: Any) -> Any:
            try:
                fill(request, response)
            except FutureTimeoutError:
                response.success = False
                response.message = (
                    f'no answer within {_REQUEST_S:.0f} s, because the image at work takes '
                    'longer; the request is still carried out after it'
                )
            except CancelledError:
                response.success, response.message = False, 'the node is being deactivated'
            except Exception as error:
                if not isinstance(error, VprError):
                    self._report(error)
                response.success, response.message = False, str(error)
            return response

        made = self._node.create_service(service.kind, service.name, serve)
        self._services.append(made)

    def _guarded(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """A callback whose errors are reported and end nothing."""

        @wraps(callback)
        def guarded(message: Any) -> None:
            try:
                callback(message)
            except Exception as error:
                self._report(error)

        return guarded

    def _reading(self, message: Any) -> ReadImage:
        """How an image message is decoded, later and in the worker's thread."""
        most_pixels = round(self._config.max_image_size * 1e6)
        return partial(to_rgb, message, most_pixels=most_pixels)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    # Messages ------------------------------------------------------------------------------------

    def _on_image(self, camera: int, message: Any) -> None:
        now_ns = self._now_ns()
        self._mailbox.put(
            ImageCame(
                stamp_ns=convert.stamp_ns(message.header.stamp) or now_ns,
                read=self._reading(message),
                camera=camera,
                camera_frame=frame_name(message.header.frame_id),
                came_ns=now_ns,
                came_s=time.perf_counter(),
            )
        )

    def _on_odometry(self, message: Odometry) -> None:
        pose = convert.pose_numbers(message.pose.pose)
        now_ns = self._now_ns()
        stamp_ns = convert.stamp_ns(message.header.stamp) or now_ns
        frames = frame_name(message.header.frame_id), frame_name(message.child_frame_id)
        self._mailbox.put(OdometryCame(stamp_ns, pose, now_ns, frames))

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        pose = convert.pose_numbers(message.pose.pose)
        covariance = np.array(message.pose.covariance).reshape(6, 6)
        self._mailbox.put(InitialPoseCame(message.header.frame_id, pose, covariance))

    def _on_gps(self, message: NavSatFix) -> None:
        datum = self._datum
        if datum is None or message.status.status == NavSatStatus.STATUS_NO_FIX:
            return
        try:
            place = degrees_of_fix(message)
            require_near(*place, datum, source='the position', step='')
            position_m = np.array(east_north_of(*place, datum))
        except VprError as error:
            raise VprError(f'gps/fix: {error}; the position is ignored') from error
        variance = max(message.position_covariance[0], message.position_covariance[4])
        known = message.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN
        sigma_m = variance**0.5 if known and variance > 0 else _USUAL_GPS_SIGMA_M
        self._mailbox.put(GpsCame(position_m, sigma_m, self._now_ns()))

    def _on_camera_info(self, camera: int, topic: str, message: CameraInfo) -> None:
        """Tell the calibration when it changes, which is mostly once."""
        region = message.roi
        told = [
            message.width,
            message.height,
            message.distortion_model,
            (region.x_offset, region.y_offset, region.width, region.height),
            *(np.asarray(values).tobytes() for values in (message.k, message.d, message.p)),
        ]
        if self._calibrations.get(camera) == told:
            return
        calibration = read_camera_info(message, rectified=is_rectified(topic))
        self._mailbox.put(CameraInfoCame(topic, calibration, camera))
        self._calibrations[camera] = told

    def _on_clock_jump(self, jump: Any) -> None:
        # rclpy documents a TimeJump and gives a dict.
        delta_ns = jump['delta'] if isinstance(jump, dict) else jump.delta.nanoseconds
        self._mailbox.put(ClockSetBack(by_s=-delta_ns / 1e9))

    # Requests ------------------------------------------------------------------------------------

    def _on_trigger(self, _: Trigger.Request, response: Trigger.Response) -> None:
        response.success, response.message = True, self._reply(TriggerAsked()).text

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> None:
        response.success, response.message = True, self._reply(ResetAsked()).text

    def _on_localize(self, request: Any, response: Any) -> None:
        """Localize the image of a request, outside the drive."""
        given = [image for image in (request.image, request.compressed_image) if len(image.data)]
        if len(given) != 1:
            raise ImageError(
                f'{len(given)} of the fields image and compressed_image have data, expected one'
            )
        at_ns = convert.stamp_ns(given[0].header.stamp) or self._now_ns()
        replied = self._reply(LocalizeAsked(at_ns, self._reading(given[0])))
        located, place_map = replied.located, replied.place_map
        if located is None or place_map is None:
            raise VprError('the image was not localized')
        header = convert.header(at_ns, self._map_frame)
        count = request.max_matches or len(located.candidates)
        response.success = True
        response.matches = convert.matches_message(located, place_map, header, count=count)
        if isinstance(located.outcome, Fix):
            response.pose = convert.fix_message(located.outcome, header)

    def _reply(self, event: Event) -> Replied:
        """The session's reply; raises VprError where it refuses.

        The executor waits for the worker here, so that no pose of an older image can come after
        the reply.
        """
        for answer in self._mailbox.put(event).result(_REQUEST_S):
            if isinstance(answer, Replied):
                return answer
            if isinstance(answer, Refused):
                raise VprError(answer.text)
        raise VprError('the session gave no reply')
