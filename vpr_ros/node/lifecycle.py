"""The lifecycle node `localize`: parameters, transitions and diagnostics.

What the node knows of a drive lives in a session (vpr_ros/session), which one worker thread owns
from configure to cleanup. The executor's thread only queues events for it, so that services,
parameters and diagnostics answer while the network runs.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from vpr_ros.core.describing.backend import Chosen
from vpr_ros.core.errors import ConfigError, LogError, VprError, told
from vpr_ros.core.mapping.header import now
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.names import printable
from vpr_ros.core.plurals import counted
from vpr_ros.drives.transforms import frame_name
from vpr_ros.node import conversions as convert
from vpr_ros.node import topics
from vpr_ros.node.bond import Bond, open_bond
from vpr_ros.node.config import NodeConfig
from vpr_ros.node.diagnostics import (
    Camera,
    Health,
    Stage,
    namesake,
    status_message,
    waits_for,
)
from vpr_ros.node.error_log import ErrorLog, LastingLog
from vpr_ros.node.inputs import Inputs, check_topics, image_topics, image_type
from vpr_ros.node.maps import Loading, MapLoader, begin_checked, serve_maps
from vpr_ros.node.opening import expanded, open_localizer
from vpr_ros.node.outputs import Outputs
from vpr_ros.node.parameters import Parameters
from vpr_ros.node.qos import are_too_loose
from vpr_ros.node.spinning import until_shutdown
from vpr_ros.node.tf import Transforms
from vpr_ros.rerun_log.drive_log import DriveLog
from vpr_ros.session.events import SettingsChanged
from vpr_ros.session.mailbox import Mailbox, Pace
from vpr_ros.session.session import Session
from vpr_ros.session.worker import Worker

_ERROR = TransitionCallbackReturn.ERROR  # after which on_error releases all
_SAYS_WAIT_AFTER_S = 5.0  # without an image: a camera may start after the node
_SAYS_NAMESAKE_AFTER_S = 30.0  # ROS knows a node that was killed for 20 s more
_TRANSITIONS = {
    Transition.TRANSITION_CONFIGURE: 'configure',
    Transition.TRANSITION_CLEANUP: 'cleanup',
    Transition.TRANSITION_ACTIVATE: 'activate',
    Transition.TRANSITION_DEACTIVATE: 'deactivate',
}
_MAP_CHECK_S = 0.5  # how long setting the parameter map waits for map.yaml to be read


@dataclass(frozen=True, slots=True)
class Configured:
    """What lives from configure to cleanup."""

    session: Session
    mailbox: Mailbox
    outputs: Outputs
    chosen: Chosen
    map_frame: str
    drive_log: DriveLog | None

    @property
    def place_map(self) -> PlaceMap:
        """The map that is searched."""
        return self.session.localizer.place_map

    def close(self) -> None:
        """Release the topics, the log, and what runs the model."""
        self.outputs.destroy()
        if self.drive_log is not None:
            self.drive_log.close()
        self.chosen.close()


@dataclass(frozen=True, slots=True)
class Active:
    """What lives from activate to deactivate."""

    worker: Worker
    inputs: Inputs
    outputs: Outputs
    maps: MapLoader

    def close(self) -> None:
        """Finish the event at work, then stop to listen and to send."""
        self.worker.stop()
        self.maps.close()
        self.inputs.destroy()
        self.outputs.end()


class LocalizeNode(LifecycleNode):
    """The lifecycle node `localize`; vpr_ros.node.config.NodeConfig documents its parameters."""

    def __init__(self, *, transforms: Transforms | None = None, **node_arguments: Any) -> None:
        """Declare the parameters; raises ConfigError for a bad one.

        transforms: in place of tf2_ros, as a test gives.
        """
        super().__init__('localize', **node_arguments)
        self._configured: Configured | None = None
        self._active: Active | None = None
        self._bond: Bond | None = None
        self._errors = ErrorLog(self.get_logger().error)
        self._problem = ''  # why the last transition failed
        self._is_finalized = False
        self._doing = ''  # while configuring, which may take minutes
        self._said_doing_s = -math.inf
        self._waits = LastingLog(self._warn, after_s=_SAYS_WAIT_AFTER_S)
        self._namesake = LastingLog(self._warn, after_s=_SAYS_NAMESAKE_AFTER_S)
        self._transforms = transforms
        if transforms is None and Transforms.available():
            self._transforms = Transforms(self)
        self._settings = Parameters(
            self,
            is_configured=lambda: self._configured is not None,
            require=self._require_frames,
            on_change=self._on_change,
            change_map=self._change_map,
        )
        serve_maps(self, self._begin_map, self._map_id)
        self._diagnostics = self.create_publisher(
            topics.DIAGNOSTICS.kind, topics.DIAGNOSTICS.name, topics.DIAGNOSTICS.qos
        )
        # By the wall, because an operator wants to know also why a simulated clock stands.
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self.config.diagnostics_period, self._on_timer, clock=wall)

    @property
    def config(self) -> NodeConfig:
        """The current values of the parameters."""
        return self._settings.config

    # Transitions ---------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model and the map."""
        try:
            self._problem = ''
            self._timer.timer_period_ns = round(self.config.diagnostics_period * 1e9)
            self._timer.reset()  # or else the new period begins when the old one ends
            self._configured = self._configure()
        except Exception as error:  # rclpy would swallow it
            return self._failed(error)
        finally:
            self._doing = ''
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen and to work; a failure leaves the node configured as it was."""
        try:
            self._problem = ''
            if self._configured is None:
                raise VprError('the node is not configured; configure it first')
            self._active = self._activate(self._configured)
            self._bond = open_bond(self, expected=not self.config.autostart)
        except Exception as error:
            return self._failed(error)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the frame at work is finished first."""
        return super().on_deactivate(state) if self._ends(self._pause) else _ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and the map."""
        return super().on_cleanup(state) if self._ends(self._release) else _ERROR

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release whatever the state; from here no transition leads back."""
        self._is_finalized = self._ends(self._release)
        return super().on_shutdown(state) if self._is_finalized else _ERROR

    def _LifecycleNodeMixin__change_state(self, transition: int) -> TransitionCallbackReturn:
        """Make a transition; ERROR where the present state does not have it.

        This is rclpy's own method. On Humble and Jazzy it raises there, which would end the node:
        to configure it twice would be enough.
        """
        try:
            returned: TransitionCallbackReturn = super()._LifecycleNodeMixin__change_state(  # type: ignore[misc]
                transition
            )
        except RuntimeError as error:  # of rclpy's binding
            if not self.context.ok():
                raise
            name = _TRANSITIONS.get(transition, f'transition {transition}')
            self.get_logger().error(
                f'{name} is not possible now ({printable(str(error))}); what is possible says '
                f'`ros2 lifecycle list {self.get_fully_qualified_name()}`'
            )
            return _ERROR
        return returned

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release all, so that the node can be configured again."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """End the threads; called when the process ends without a transition."""
        maps = self._active.maps if self._active is not None else None
        self._stop()
        if self._configured is not None and self._configured.drive_log is not None:
            self._configured.drive_log.close()
        if maps is not None:
            maps.join()

    def _configure(self) -> Configured:
        config = self.config
        check_topics(self, config)
        localizer, chosen = open_localizer(
            config, has_tf=self._transforms is not None, progress=self._say_doing
        )
        drive_log = None
        try:
            map_frame = frame_name(config.map_frame or localizer.place_map.header.frame_id)
            _require_two_frames(config, map_frame)
            session = Session(
                localizer,
                config,
                map_frame=map_frame,
                odom_frame=frame_name(config.odom_frame),
                base_frame=frame_name(config.base_frame),
                mounting_of=self._mounting_of(),
            )
            drive_log = self._open_log(localizer.place_map)
            outputs = Outputs(
                self,
                localizer.place_map,
                session.counts,
                map_frame=map_frame,
                config=lambda: self.config,
                transforms=self._transforms,
                report=self.report,
                drive_log=drive_log,
            )
        except BaseException:
            if drive_log is not None:
                drive_log.close()
            chosen.close()
            raise
        session.counts.say(**{'map opened': now()})
        configured = Configured(session, Mailbox(), outputs, chosen, map_frame, drive_log)
        self._log_configured(configured)
        return configured

    def _activate(self, configured: Configured) -> Active:
        configured.outputs.begin(configured.session.state)
        worker = Worker(
            configured.session,
            configured.mailbox,
            publish=configured.outputs.publish,
            report=self.report,
        )
        configured.mailbox.put(SettingsChanged(self.config))  # what changed while inactive
        try:
            inputs = Inputs(
                self,
                self.config,
                configured.place_map,
                configured.mailbox,
                map_frame=configured.map_frame,
                report=self.report,
            )
        except BaseException:
            worker.stop()
            raise
        maps = MapLoader(
            configured.session,
            configured.mailbox,
            serving=self.config.map,
            finished=self._on_map_finished,
        )
        return Active(worker, inputs, configured.outputs, maps)

    def _stop(self) -> None:
        """End what is active. It is dropped first: what cannot be ended must not keep the node."""
        bond, self._bond = self._bond, None
        active, self._active = self._active, None
        if bond is not None:
            bond.close()
        if active is not None:
            active.close()

    def _pause(self) -> None:
        """Stop, and tell that nobody knows any more where the robot is."""
        self._stop()
        if self._configured is not None:
            self._configured.outputs.publish(self._configured.session.pause())

    def _release(self) -> None:
        self._stop()
        configured, self._configured = self._configured, None
        if configured is not None:
            configured.close()

    def _ends(self, end: Callable[[], None]) -> bool:
        """Run `end`; whether that raised no error. rclpy would swallow it."""
        self._problem = ''
        try:
            end()
        except Exception as error:
            self._failed(error)
            return False
        return True

    def _failed(self, error: Exception) -> TransitionCallbackReturn:
        """Say why a transition failed."""
        self._problem = printable(told(error))
        self.get_logger().error(self._problem)
        self._on_timer()
        return TransitionCallbackReturn.FAILURE

    def _open_log(self, place_map: PlaceMap) -> DriveLog | None:
        """The log that the parameter `rerun` asks for; without it the node works as well."""
        config = self.config
        if not config.rerun:
            return None
        try:
            return DriveLog(
                expanded(config.rerun),
                place_map,
                tell=self._say_log_ended,
                cameras=len(config.image_topics),
                most_bytes=round(config.rerun_max_size * 1e6),
            )
        except (ConfigError, LogError) as error:
            self._say_log_ended(str(error))
            return None

    def _say_log_ended(self, problem: str) -> None:
        """Report once that there is no log; also called in the log's thread."""
        self._warn(f'rerun: no log is written: {problem}')

    def _mounting_of(self) -> Any:
        """How the session asks tf where a frame is on the robot; None where there is no tf."""
        transforms = self._transforms
        if transforms is None:
            return None
        return lambda frame: transforms.latest(frame_name(self.config.base_frame), frame)

    def _require_frames(self, config: NodeConfig) -> None:
        if self._configured is not None:
            _require_two_frames(config, self._configured.map_frame)

    def _on_change(self, config: NodeConfig) -> None:
        """Parameters that may change while the node runs reach the session in their order."""
        if self._configured is not None:
            self._configured.mailbox.put(SettingsChanged(config))

    # Another map ---------------------------------------------------------------------------------

    def _begin_map(self, folder: str) -> Loading:
        """Begin to open another map; raises VprError where that cannot be."""
        if self._active is None:
            raise ConfigError(
                'map: the node is not active; set the parameter map while it is unconfigured, or '
                'activate it first'
            )
        return self._active.maps.begin(folder)

    def _change_map(self, folder: str) -> None:
        """The parameter was set: the same as ~/load_map, but that it does not wait for the end."""
        if self._active is not None or folder != self.config.map:
            begin_checked(self._begin_map, folder, patience_s=_MAP_CHECK_S)

    def _on_map_finished(self, loading: Loading, refusal: str) -> None:
        """Tell the operator; called in the loader's thread."""
        configured = self._configured
        if refusal:
            self.get_logger().error(
                printable(f'map {loading.folder} was refused, and the old map stays: {refusal}')
            )
        elif configured is not None:
            self._log_map(configured)
        active, executor = self._active, self.executor
        if active is not None and executor is not None:
            with until_shutdown(self.context):
                executor.create_task(self._settings.settle_map, active.maps.serving)

    def _map_id(self) -> str:
        return '' if self._configured is None else self._configured.place_map.id

    # What the operator reads ---------------------------------------------------------------------

    def report(self, error: Exception) -> None:
        """Log an error of any thread, and let diagnostics tell it."""
        text = printable(told(error))
        if self._configured is not None:
            self._configured.session.counts.report(text)
        self._errors.say(text)

    def _log_configured(self, configured: Configured) -> None:
        chosen, logger = configured.chosen, self.get_logger()
        self._log_map(configured)
        if configured.map_frame == frame_name(self.config.odom_frame):
            logger.warning(_one_frame(configured.map_frame))
        if chosen.is_failure:
            logger.warning(printable(f'backend {self.config.backend}: {chosen.reason}'))
        if convert.PlaceMatchArray is None:
            logger.warning(
                'vpr_msgs is not built, so ~/matches, ~/localize and ~/load_map are missing; all '
                'else works. Build it with colcon, or run `make setup` where a C++ compiler is '
                'installed'
            )

    def _log_map(self, configured: Configured) -> None:
        place_map, logger = configured.place_map, self.get_logger()
        model = configured.session.localizer.describer.model
        logger.info(
            printable(
                f'{counted(len(place_map), "place")} of {place_map.folder}, '
                f'model {model.card.name} ({model.precision}), {configured.chosen.name}'
            )
        )
        radius_m = configured.session.localizer.calibration.radius_m
        if self.config.belief and radius_m and radius_m != self.config.agreement_radius:
            logger.warning(
                f'the map was calibrated for answers right within {radius_m:g} m, but '
                f'agreement_radius is {self.config.agreement_radius:g} m; set agreement_radius to '
                'the same, or calibrate again with that --radius'
            )

    def _say_doing(self, text: str) -> None:
        """Tell the operator what configuring waits for; the timer cannot, it waits too."""
        now_s = time.monotonic()
        if now_s - self._said_doing_s >= self.config.diagnostics_period:
            self._said_doing_s, self._doing = now_s, text
            self._on_timer()

    def _on_timer(self) -> None:
        """Publish diagnostics; an error here must not end the executor."""
        try:
            self._publish_diagnostics()
        except Exception as error:
            self.get_logger().error(f'diagnostics: {error!r}', throttle_duration_sec=10.0)

    def _publish_diagnostics(self) -> None:
        now = self.get_clock().now()
        health = Health(
            node=self.get_fully_qualified_name(),
            stage=self._stage(),
            period_s=self.config.diagnostics_period,
            problem=self._problem,
            doing=self._doing,
            clock_stands=now.nanoseconds == 0,
            wants_odometry=self.config.publish_tf,
            lacks_tf=self.config.publish_tf and self._transforms is None,
            facts={'map': self.config.map},
        )
        if self._configured is not None:
            health = self._with_session(health, self._configured)
        if self._namesake.take(self._another_node()):
            health = replace(health, has_namesake=True)
        self._diagnostics.publish(status_message(health, stamp=now.to_msg()))
        self._waits.take(waits_for(health))

    def _another_node(self) -> str:
        """That another node has this one's name, as one that was left running; or ''."""
        own = self.get_name(), self.get_namespace()
        are_two = self.get_node_names_and_namespaces().count(own) > 1
        return namesake(self.get_fully_qualified_name()) if are_two else ''

    def _warn(self, text: str) -> None:
        self.get_logger().warning(printable(text))

    def _with_session(self, health: Health, configured: Configured) -> Health:
        """Further facts of a configured node, for diagnostics."""
        return replace(
            health,
            cameras=[
                self._camera(topic, configured.mailbox.pace(camera))
                for camera, topic in enumerate(image_topics(self.config))
            ],
            images=configured.mailbox.images,
            dropped=configured.mailbox.dropped,
            correction_age_s=configured.outputs.correction_age_s,
            counted=configured.session.counts.snapshot(),
            facts={**health.facts, **_facts(configured)},
        )

    def _camera(self, topic: str, pace: Pace | None) -> Camera:
        """One image topic, for diagnostics."""
        topic = self.resolve_topic_name(topic)  # in its namespace, and as it is remapped
        found = self.get_publishers_info_by_topic(topic)
        fitting = [entry for entry in found if entry.topic_type == image_type(self.config)]
        camera = Camera(
            topic,
            len(fitting),
            other_type='' if fitting or not found else found[0].topic_type,
            is_best_effort=are_too_loose(fitting, self.config.image_qos),
        )
        if pace is None:
            return camera
        silent_s = time.perf_counter() - pace.last_s
        return replace(camera, silent_s=silent_s, interval_s=pace.interval_s)

    def _stage(self) -> Stage:
        if self._is_finalized:
            return Stage.FINALIZED
        if self._configured is None:
            return Stage.UNCONFIGURED
        return Stage.INACTIVE if self._active is None else Stage.ACTIVE


def _require_two_frames(config: NodeConfig, map_frame: str) -> None:
    """Raise ConfigError where map -> odom would lead from a frame to itself; tf drops it then."""
    if config.publish_tf and map_frame == frame_name(config.odom_frame):
        raise ConfigError(f'publish_tf: {_one_frame(map_frame)}')


def _one_frame(name: str) -> str:
    return (
        f'the poses of the map are in frame {name}, which is also odom_frame, where the odometry '
        'of this drive begins elsewhere; set map_frame to another name, such as map'
    )


def _facts(configured: Configured | None) -> dict[str, str]:
    """The facts of what runs, for diagnostics."""
    if configured is None:
        return {}
    place_map, chosen = configured.place_map, configured.chosen
    facts = {
        'map': str(place_map.folder),
        'map id': place_map.id,
        'places': str(len(place_map)),
        'model': place_map.header.model_name,
        'precision': configured.session.localizer.describer.model.precision,
        'backend': chosen.name,
        'calibration': configured.session.localizer.calibration.source,
    }
    if configured.drive_log is not None:
        facts |= {'rerun': configured.drive_log.said}
    of_backend = {
        'threads': str(chosen.threads or ''),
        'backend, measured here': chosen.measured,
        'backend, why not faster': chosen.reason,
    }
    return facts | {name: said for name, said in of_backend.items() if said}
