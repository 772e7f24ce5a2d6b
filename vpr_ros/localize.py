"""The node: camera images in, place matches and poses out.

A lifecycle node that also starts by itself (`autostart`). Images go into a slot that keeps only
the newest one, and a worker thread takes them from there, so that services, parameters and
diagnostics answer while the network runs and a slow model drops frames and never lags.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, NavSatFix, NavSatStatus
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from vpr_ros.core.camera import (
    camera_info_topic,
    differs,
    field_of_view_deg,
    is_rectified,
    pinhole,
)
from vpr_ros.core.describing.backend import Chosen, open_describer
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.encodings import to_rgb
from vpr_ros.core.errors import ConfigError, ImageError, VprError
from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.localizing.outcome import Fix, Reason
from vpr_ros.core.localizing.query import Prior
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.place_map import PlaceMap, read_header
from vpr_ros.core.types import Frame
from vpr_ros.drives.geographic import east_north_of
from vpr_ros.node import conversions as convert
from vpr_ros.node.diagnostics import Counts, status_message
from vpr_ros.node.outputs import Outputs
from vpr_ros.node.parameters import Parameters
from vpr_ros.node.qos import RECENT, image_qos
from vpr_ros.node.spinning import until_shutdown
from vpr_ros.node.tf import OdometryBuffer, Transforms, map_T_odom
from vpr_ros.session.newest import Newest
from vpr_ros.session.tracker import SmoothTransform, State, Tracker

try:
    from vpr_msgs.srv import Localize
except ImportError:
    Localize = None

_ONE_SIDED_SIGMAS = 3.0  # of an initial pose, and of GPS
_USUAL_GPS_SIGMA_M = 10.0  # where the receiver does not say
_GPS_LASTS_S = 2.0


class LocalizeNode(LifecycleNode):
    """See the module; parameters are documented by vpr_ros.node.config.NodeConfig."""

    def __init__(self, **node_arguments: Any) -> None:
        """Declare the parameters; raises ConfigError for a bad one."""
        super().__init__('localize', **node_arguments)
        self._localizer: Localizer | None = None
        self._worker: Thread | None = None
        self._newest: Newest[Any] = Newest()
        self._describing = Lock()
        self._counts = Counts()
        self._problem = ''
        self._said_doing_s = -math.inf
        self._doing = ''  # while configuring, which may take minutes
        self._chosen: Chosen | None = None
        self._armed = False
        self._received_before = 0
        self._last_stamp_ns: dict[int, int] = {}  # by camera
        self._prior: Prior | None = None  # of the operator
        self._gps: tuple[int, Prior] | None = None  # when it came, in ns of this node's clock
        self._field_of_view_deg: float | None = None
        self._odometry = OdometryBuffer()
        self._located_ns: int | None = None  # stamp of the last image localized
        self._tracker = Tracker()
        self._map_T_odom = SmoothTransform()
        self._transforms = Transforms(self) if Transforms.available() else None
        self._settings = Parameters(self, is_configured=lambda: self._localizer is not None)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', RECENT)
        self._timer = self.create_timer(self.config.diagnostics_period, self._publish_diagnostics)

    @property
    def config(self) -> Any:
        """The parameters' values now, a NodeConfig."""
        return self._settings.config

    # Lifecycle -----------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model and the map."""
        try:
            self._problem = ''
            self._localizer = self._open()
        except Exception as error:  # rclpy would swallow it
            self._close_describer()
            self._doing = ''
            self._problem = str(error) if isinstance(error, VprError) else repr(error)
            self.get_logger().error(self._problem)
            self._publish_diagnostics()
            return TransitionCallbackReturn.FAILURE
        self._doing = ''
        self._counts = Counts()
        place_map = self._localizer.place_map
        self._outputs = Outputs(self, place_map, initialpose=self.config.publish_initialpose)
        self._forget()
        model, chosen = self._localizer.describer.model, self._chosen
        assert chosen is not None
        self.get_logger().info(
            f'{len(place_map)} places of {place_map.folder}, '
            f'model {model.card.name} ({model.precision}), {chosen.name}'
        )
        if chosen.is_failure:
            self.get_logger().warning(f'backend {self.config.backend}: {chosen.reason}')
        if convert.PlaceMatchArray is None:
            self.get_logger().warning(
                'vpr_msgs is not built: ~/matches and ~/localize are missing, all else works; '
                'build it with colcon, or `make setup` where a C++ compiler is'
            )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen and to work."""
        result = super().on_activate(state)
        self._newest = Newest()
        self._create_inputs()
        self._worker = Thread(
            target=self._work, args=(self._newest,), name='localizer', daemon=True
        )
        self._worker.start()
        header = self._header(self.get_clock().now().nanoseconds)
        self._outputs.publish_map(header)
        self._outputs.publish_state(self._tracker.state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the frame at work is finished first."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and the map."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release whatever the state."""
        self._stop()
        self._release()
        return super().on_shutdown(state)

    def stop(self) -> None:
        """End the worker; called when the process ends without a lifecycle transition."""
        self._newest.close()
        if self._worker is not None:
            self._worker.join()

    def _open(self) -> Localizer:
        config = self.config
        if not config.map:
            raise ConfigError('map: not given; make one with build_map and pass map:=FOLDER')
        header = read_header(_expanded(config.map))
        folder = _expanded(config.model) if config.model else model_that_made(header)
        model = Model.open(folder, precision=config.precision)
        place_map = PlaceMap.open(_expanded(config.map), model=model)
        mountings = config.mountings()
        if self._transforms is None and any(given is None for given in mountings[1:]):
            raise ConfigError(
                f'image_topic: {len(mountings)} cameras need a mounting each in base_T_camera, '
                'because tf2_ros is not installed'
            )
        self._chosen = open_describer(
            model,
            backend=config.backend,
            precision=config.precision,
            threads=config.threads,
            cache=_expanded(config.engine_cache) if config.engine_cache else None,
            progress=self._say_doing,
        )
        describer = self._chosen.describer
        height, width = model.card.image_size
        describer.describe([np.zeros((height, width, 3), np.uint8)])  # the first run is slow
        cameras = [MountedCamera(mounting) for mounting in mountings]
        return Localizer(describer, place_map, config, cameras=cameras)

    def _create_inputs(self) -> None:
        self._subscription_handles = [
            self.create_subscription(Odometry, 'odom', self._on_odometry, RECENT),
            self.create_subscription(
                PoseWithCovarianceStamped, 'initialpose', self._on_initial_pose, RECENT
            ),
        ]
        assert self._localizer is not None
        if self._localizer.place_map.header.datum is not None:
            self._subscription_handles.append(
                self.create_subscription(
                    NavSatFix, 'gps/fix', self._on_gps, image_qos('sensor_data')
                )
            )
        for camera, topic in enumerate(self.config.image_topics):
            self._subscription_handles += self._camera_inputs(camera, topic)
        self._service_handles = [
            self.create_service(Trigger, '~/trigger_localization', self._on_trigger),
            self.create_service(Trigger, '~/reset', self._on_reset),
        ]
        if Localize is not None:
            self._service_handles.append(
                self.create_service(Localize, '~/localize', self._on_localize)
            )

    def _camera_inputs(self, camera: int, topic: str) -> list[Any]:
        config = self.config
        compressed = config.image_transport == 'compressed'
        return [
            self.create_subscription(
                CompressedImage if compressed else Image,
                f'{topic}/compressed' if compressed else topic,
                partial(self._on_image, camera),
                image_qos(config.image_qos),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            ),
            self.create_subscription(
                CameraInfo,
                camera_info_topic(topic),
                partial(self._on_camera_info, camera, topic),
                RECENT,
            ),
        ]

    def _stop(self) -> None:
        if self._worker is None:
            return
        self.stop()
        self._worker = None
        for subscription in self._subscription_handles:
            self.destroy_subscription(subscription)
        for service in self._service_handles:
            self.destroy_service(service)

    def _release(self) -> None:
        if self._localizer is None:
            return
        self._outputs.destroy()
        self._localizer = None
        self._close_describer()

    def _close_describer(self) -> None:
        if self._chosen is not None:
            self._chosen.close()
        self._chosen = None

    def _say_doing(self, text: str) -> None:
        """Tell the operator what configuring waits for; the timer cannot, it waits too."""
        now_s = time.monotonic()
        if now_s - self._said_doing_s >= self.config.diagnostics_period:
            self._said_doing_s, self._doing = now_s, text
            self._publish_diagnostics()

    # Input ---------------------------------------------------------------------------------------

    def _on_image(self, camera: int, message: Any) -> None:
        self._counts.received += 1
        if self.config.continuous or self._armed:
            self._newest.put((message, camera, time.perf_counter()), camera)
            self._counts.dropped = self._newest.dropped

    def _on_camera_info(self, camera: int, topic: str, message: CameraInfo) -> None:
        """Tell the operator of a camera that sees much more or much less than the mapping one."""
        assert self._localizer is not None
        calibration = pinhole(
            message.width,
            message.height,
            matrix=message.k,
            distortion_model=message.distortion_model,
            distortion=message.d,
            projection=message.p,
            rectified=is_rectified(topic),
        )
        cameras = self._localizer.rig.cameras
        cameras[camera] = replace(cameras[camera], calibration=calibration)
        self._field_of_view_deg = field_of_view_deg(message.width, float(message.k[0]))
        mapped_deg = self._localizer.place_map.header.field_of_view_deg
        seen_deg = self._field_of_view_deg
        if mapped_deg and seen_deg and differs(mapped_deg, seen_deg):
            self.get_logger().warning(
                f'{topic}: this camera sees {seen_deg:.0f} degrees, the map was made with '
                f'{mapped_deg:.0f}: fewer places will be found',
                once=True,
            )

    def _on_odometry(self, message: Odometry) -> None:
        try:
            self._odometry.add(message)
        except VprError as error:
            self._report(error)

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        """Search only where the operator says the robot is, until the next fix."""
        if self._outputs.is_own(message):
            return
        try:
            pose = convert.pose_array(message.pose.pose, source='initialpose')
        except VprError as error:
            self._report(error)
            return
        variance = max(message.pose.covariance[0], message.pose.covariance[7], 0.0)
        radius_m = _ONE_SIDED_SIGMAS * variance**0.5 + self.config.agreement_radius
        self._prior = Prior(pose[:3], radius_m)

    def _on_gps(self, message: NavSatFix) -> None:
        """Search only where GPS says the robot is, as long as it says so."""
        assert self._localizer is not None
        datum = self._localizer.place_map.header.datum
        assert datum is not None
        if message.status.status == NavSatStatus.STATUS_NO_FIX:
            return
        try:
            east_m, north_m = east_north_of(message.latitude, message.longitude, datum)
        except VprError as error:
            self._report(error)
            return
        variance = max(message.position_covariance[0], message.position_covariance[4])
        known = message.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN
        sigma_m = variance**0.5 if known and variance > 0 else _USUAL_GPS_SIGMA_M
        radius_m = _ONE_SIDED_SIGMAS * sigma_m + self.config.agreement_radius
        prior = Prior(
            np.array([east_m, north_m, 0.0]),
            radius_m,
            on_map=False,
            excluding=Reason.OUTSIDE_GPS,
        )
        self._gps = self.get_clock().now().nanoseconds, prior

    def _known_place(self) -> Prior | None:
        """What the operator says, else what GPS said just now."""
        if self._prior is not None or self._gps is None:
            return self._prior
        came_ns, prior = self._gps
        age_s = (self.get_clock().now().nanoseconds - came_ns) / 1e9
        return prior if 0 <= age_s <= _GPS_LASTS_S else None

    def _on_trigger(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self._armed = True
        response.success = True
        response.message = 'the next images are localized until there is a fix, see ~/pose'
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._forget()
        response.success, response.message = (
            True,
            ('the drive so far, initial pose and odometry are forgotten'),
        )
        return response

    def _on_localize(self, request: Any, response: Any) -> Any:
        """Localize the image of a request, outside the stream."""
        given = [image for image in (request.image, request.compressed_image) if len(image.data)]
        try:
            if len(given) != 1:
                raise ImageError(
                    f'{len(given)} of image and compressed_image have data, expected one'
                )
            located = self._locate(self._frame(given[0]), alone=True)
        except VprError as error:
            response.success, response.message = False, str(error)
            return response
        assert self._localizer is not None
        place_map, header = self._localizer.place_map, self._header(located.stamp_ns)
        count = request.max_matches or self.config.candidates
        response.success = True
        response.matches = convert.matches_message(located, place_map, header, count=count)
        if isinstance(located.outcome, Fix):
            response.pose = convert.fix_message(located.outcome, header)
        return response

    # Work ----------------------------------------------------------------------------------------

    def _work(self, newest: Newest[Any]) -> None:
        """Localize images until the slot is closed; no image, however broken, ends it."""
        while (taken := newest.take()) is not None:
            message, camera, received_s = taken
            try:
                self._localize(message, camera, received_s)
            except VprError as error:
                self._counts.unusable += 1
                self._report(error)
            except Exception as error:
                if not rclpy.ok(context=self.context):
                    return
                self._counts.unusable += 1
                self._report(error)

    def _localize(self, message: Any, camera: int, received_s: float) -> None:
        started_s = time.perf_counter()
        frame = self._frame(message, camera)
        decoded_s = time.perf_counter()
        self._watch_clock(frame)
        self._look_up_mounting(frame)
        located = self._locate(
            frame, prior=self._known_place(), travelled_m=self._travelled_m(frame)
        )
        before, state = self._tracker.state, self._tracker.step(located.outcome)
        if isinstance(located.outcome, Fix):
            self._armed, self._prior = False, None
        located_s = time.perf_counter()
        header = self._header(located.stamp_ns)
        self._outputs.publish(frame, located, header, config=self.config)
        if state is not before:
            self._on_state(before, state)
        if isinstance(located.outcome, Fix) and state is State.LOCALIZED:
            self._outputs.publish_initialpose(located.outcome, header)
            self._broadcast(located.outcome, located.stamp_ns)
        ended_s = time.perf_counter()
        waited = {'wait': started_s - received_s, 'decode': decoded_s - started_s}
        published = {'publish': ended_s - located_s, 'total': ended_s - received_s}
        measured = {stage: value * 1e3 for stage, value in (waited | published).items()}
        self._counts.add(located, located.latency_ms | measured)

    def _frame(self, message: Any, camera: int = 0) -> Frame:
        at_ns = convert.stamp_ns(message.header.stamp) or self.get_clock().now().nanoseconds
        assert self._localizer is not None
        image = to_rgb(message, at_least_hw=self._localizer.needed_hw)
        return Frame(image, at_ns, message.header.frame_id, camera)

    def _locate(
        self,
        frame: Frame,
        *,
        prior: Prior | None = None,
        travelled_m: float | None = None,
        alone: bool = False,
    ) -> Localization:
        assert self._localizer is not None
        with self._describing:
            self._localizer.use(self.config)
            if alone:
                return self._localizer.locate_alone(self._localizer.describe(frame))
            return self._localizer.step(frame, prior=prior, travelled_m=travelled_m)

    def _travelled_m(self, frame: Frame) -> float | None:
        """How far odometry says the robot moved since the last image."""
        before_ns = self._located_ns
        self._located_ns = max(frame.stamp_ns, before_ns or 0)
        if before_ns is None:
            return None
        if frame.stamp_ns <= before_ns:  # of another camera
            return 0.0
        return self._odometry.distance_m(before_ns, frame.stamp_ns)

    def _on_state(self, before: State, state: State) -> None:
        """Tell of a new state; after being lost, initialpose and tf start anew."""
        self._outputs.publish_state(state)
        if state is State.LOST:
            self._map_T_odom.reset()
            self._outputs.expect_initialpose()
        self.get_logger().info(f'{before.value} -> {state.value}')

    def _watch_clock(self, frame: Frame) -> None:
        jump_ns = self._last_stamp_ns.get(frame.camera, frame.stamp_ns) - frame.stamp_ns
        if jump_ns > 0:
            self._counts.time_jumps += 1
            self._last_stamp_ns.clear()
            self._forget()
            self.get_logger().warning(
                f'time jumped back by {jump_ns / 1e9:.3f} s; what was known is forgotten'
            )
        self._last_stamp_ns[frame.camera] = frame.stamp_ns

    def _look_up_mounting(self, frame: Frame) -> None:
        """Ask tf for the camera's mounting until it answers, where no parameter gives it."""
        assert self._localizer is not None
        cameras = self._localizer.rig.cameras
        known = cameras[frame.camera].base_T_camera is not None
        if known or self._transforms is None or not frame.camera_frame:
            return
        found = self._transforms.mounting(self.config.base_frame, frame.camera_frame)
        cameras[frame.camera] = replace(cameras[frame.camera], base_T_camera=found)

    def _forget(self) -> None:
        self._odometry, self._prior, self._located_ns = OdometryBuffer(), None, None
        self._gps = None
        self._map_T_odom.reset()
        if self._localizer is None:
            return
        with self._describing:
            self._localizer.reset()
        before = self._tracker.state
        self._tracker.reset()
        if before is not State.LOST:
            self._on_state(before, State.LOST)

    # Output --------------------------------------------------------------------------------------

    def _broadcast(self, fix: Fix, at_ns: int) -> None:
        if not self.config.publish_tf:
            return
        if self._transforms is None:
            self.get_logger().warning('publish_tf: tf2_ros is not installed', once=True)
            return
        odom_T_base = self._odometry.at(at_ns)
        if odom_T_base is None:
            self.get_logger().warning('publish_tf: no odometry yet on the topic odom', once=True)
            return
        tolerance_ns = int(self.config.transform_tolerance * 1e9)
        self._transforms.broadcast(
            self._map_frame(),
            self.config.odom_frame,
            self._map_T_odom.step(
                map_T_odom(fix.pose, odom_T_base), float(fix.covariance[:3, :3].trace()) ** 0.5
            ),
            at_ns + tolerance_ns,
        )

    def _publish_diagnostics(self) -> None:
        received_lately = self._counts.received - self._received_before
        self._received_before = self._counts.received
        facts = {'map': self.config.map}
        if self._localizer is not None:
            header = self._localizer.place_map.header
            facts |= {'places': str(header.places), 'model': header.model_name}
            facts |= {
                'precision': self._localizer.describer.model.precision,
                'backend': self._chosen.name if self._chosen else '',
                'state': self._tracker.state.value,
                'calibration': self._localizer.place_map.calibration.source,
            }
            if self._chosen is not None and self._chosen.reason:
                facts['backend, why not faster'] = self._chosen.reason
            views = (self._field_of_view_deg, header.field_of_view_deg)
            seen, mapped = (f'{view:.0f}' if view else 'unknown' for view in views)
            facts['field of view, camera/map [deg]'] = f'{seen}/{mapped}'
        self._diagnostics.publish(
            status_message(
                self.get_fully_qualified_name(),
                self._counts,
                facts=facts,
                problem=self._problem,
                doing=self._doing,
                received_lately=received_lately,
                stamp=self.get_clock().now().to_msg(),
            )
        )

    def _header(self, at_ns: int) -> Header:
        return Header(stamp=convert.stamp_message(at_ns), frame_id=self._map_frame())

    def _map_frame(self) -> str:
        assert self._localizer is not None
        return str(self.config.map_frame or self._localizer.place_map.header.frame_id)

    def _report(self, error: Exception) -> None:
        self._counts.last_error = str(error)
        self.get_logger().error(str(error), throttle_duration_sec=2.0)


def _expanded(folder: str) -> Path:
    return Path(folder).expanduser()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 2 if it cannot be configured."""
    rclpy.init(args=None if args is None else list(args))
    node: LocalizeNode | None = None
    try:
        node = LocalizeNode()
        if node.config.autostart and not _start(node):
            return 2
        with until_shutdown():
            rclpy.spin(node)
    except VprError as error:
        print(f'localize: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the node was spinning
        pass
    finally:
        if node is not None:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _start(node: LocalizeNode) -> bool:
    """Configure and activate; False where the map or the model cannot be used."""
    if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
        return False
    if node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
        raise VprError('configured, but cannot be activated')
    return True


if __name__ == '__main__':
    sys.exit(main())
