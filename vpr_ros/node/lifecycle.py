"""The lifecycle node `localize`: parameters and transitions.

What the node knows of a drive lives in a session (vpr_ros/session), which one worker thread owns
from configure to cleanup. The executor's thread only queues events for it, so that services,
parameters and diagnostics answer while the network runs.
"""

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from vpr_ros.core.errors import ConfigError, LogError, VprError
from vpr_ros.core.mapping.header import now
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.names import printable
from vpr_ros.drives.transforms import frame_name
from vpr_ros.node.bond import Bond, open_bond
from vpr_ros.node.config import NodeConfig
from vpr_ros.node.diagnostics import Stage
from vpr_ros.node.inputs import Inputs, check_topics
from vpr_ros.node.lifetimes import Active, Configured
from vpr_ros.node.maps import Loading, MapLoader, begin_checked, serve_maps
from vpr_ros.node.opening import expanded, open_localizer
from vpr_ros.node.outputs import Outputs
from vpr_ros.node.parameters import Parameters
from vpr_ros.node.reporting import Reporting
from vpr_ros.node.spinning import until_shutdown
from vpr_ros.node.tf import Transforms
from vpr_ros.rerun_log.drive_log import DriveLog
from vpr_ros.session.events import SettingsChanged
from vpr_ros.session.mailbox import Mailbox
from vpr_ros.session.session import Session
from vpr_ros.session.worker import Worker

_ERROR = TransitionCallbackReturn.ERROR  # after which on_error releases all
_TRANSITIONS = {
    Transition.TRANSITION_CONFIGURE: 'configure',
    Transition.TRANSITION_CLEANUP: 'cleanup',
    Transition.TRANSITION_ACTIVATE: 'activate',
    Transition.TRANSITION_DEACTIVATE: 'deactivate',
}
_MAP_CHECK_S = 0.5  # how long setting the parameter map waits for map.yaml to be read


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
        self._is_finalized = False
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
        self._reporting = Reporting(
            self,
            config=lambda: self.config,
            stage=self._stage,
            configured=lambda: self._configured,
            has_tf=self._transforms is not None,
        )

    @property
    def config(self) -> NodeConfig:
        """The current values of the parameters."""
        return self._settings.config

    # Transitions ---------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model and the map."""
        try:
            self._reporting.begin()
            self._configured = self._configure()
        except Exception as error:  # rclpy would swallow it
            return self._failed(error)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen and to work; a failure leaves the node configured as it was."""
        try:
            self._reporting.problem = ''
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
            config, has_tf=self._transforms is not None, progress=self._reporting.say_doing
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
                report=self._reporting.report,
                drive_log=drive_log,
            )
        except BaseException:
            if drive_log is not None:
                drive_log.close()
            chosen.close()
            raise
        session.counts.say(**{'map opened': now()})
        configured = Configured(session, Mailbox(), outputs, chosen, map_frame, drive_log)
        self._reporting.say_configured(configured)
        if map_frame == frame_name(config.odom_frame):
            self._reporting.warn(_one_frame(map_frame))
        return configured

    def _activate(self, configured: Configured) -> Active:
        configured.outputs.begin(configured.session.state)
        worker = Worker(
            configured.session,
            configured.mailbox,
            publish=configured.outputs.publish,
            report=self._reporting.report,
        )
        configured.mailbox.put(SettingsChanged(self.config))  # what changed while inactive
        try:
            inputs = Inputs(
                self,
                self.config,
                configured.place_map,
                configured.mailbox,
                map_frame=configured.map_frame,
                report=self._reporting.report,
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
        self._reporting.problem = ''
        try:
            end()
        except Exception as error:
            self._failed(error)
            return False
        return True

    def _failed(self, error: Exception) -> TransitionCallbackReturn:
        self._reporting.fail(error)
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
        self._reporting.warn(f'rerun: no log is written: {problem}')

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
            self._reporting.say_map(configured)
        active, executor = self._active, self.executor
        if active is not None and executor is not None:
            with until_shutdown(self.context):
                executor.create_task(self._settings.settle_map, active.maps.serving)

    def _map_id(self) -> str:
        return '' if self._configured is None else self._configured.place_map.id

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
