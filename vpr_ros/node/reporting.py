"""What an operator reads of the node: its diagnostics, and lines in its log."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.node import Node

from vpr_ros.core.errors import told
from vpr_ros.core.names import printable
from vpr_ros.core.plurals import counted
from vpr_ros.node import conversions as convert
from vpr_ros.node import topics
from vpr_ros.node.config import NodeConfig
from vpr_ros.node.diagnostics import (
    Camera,
    Health,
    Stage,
    namesake,
    status_message,
    step_to_images,
    waits_for,
)
from vpr_ros.node.error_log import ErrorLog, LastingLog
from vpr_ros.node.inputs import image_topics, image_type
from vpr_ros.node.lifetimes import Configured
from vpr_ros.node.qos import are_too_loose
from vpr_ros.session.mailbox import Pace

_SAYS_WAIT_AFTER_S = 5.0  # without an image: a camera may start after the node
_SAYS_NAMESAKE_AFTER_S = 30.0  # ROS knows a node that was killed for 20 s more


class Reporting:
    """Publishes diagnostics periodically, and logs what is wrong."""

    def __init__(
        self,
        node: Node,
        *,
        config: Callable[[], NodeConfig],
        stage: Callable[[], Stage],
        configured: Callable[[], Configured | None],
        has_tf: bool,
    ) -> None:
        """config, stage, configured: what they are now; has_tf: transforms can be sent."""
        self._node, self._has_tf = node, has_tf
        self._config, self._stage, self._configured = config, stage, configured
        self._errors = ErrorLog(node.get_logger().error)
        self._waits = LastingLog(self.warn, after_s=_SAYS_WAIT_AFTER_S)
        self._namesake = LastingLog(self.warn, after_s=_SAYS_NAMESAKE_AFTER_S)
        self.problem = ''  # why the last transition failed
        self._said_doing_s = -math.inf
        self._diagnostics = node.create_publisher(
            topics.DIAGNOSTICS.kind, topics.DIAGNOSTICS.name, topics.DIAGNOSTICS.qos
        )
        # By the wall, because an operator wants to know also why a simulated clock stands.
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(config().diagnostics_period, self.publish, clock=wall)

    def begin(self) -> None:
        """Begin anew, with the present period; called when the node is configured."""
        self.problem = ''
        self._timer.timer_period_ns = round(self._config().diagnostics_period * 1e9)
        self._timer.reset()  # or else the new period begins when the old one ends

    def warn(self, text: str) -> None:
        """Log a warning."""
        self._node.get_logger().warning(printable(text))

    def report(self, error: Exception) -> None:
        """Log an error of any thread, and let diagnostics tell it.

        What fails because a signal has just ended ROS is no fault, and could not be logged either.
        """
        if not self._node.context.ok():
            return
        text = printable(told(error))
        configured = self._configured()
        if configured is not None:
            configured.session.counts.report(text)
        self._errors.say(text)

    def fail(self, error: Exception) -> None:
        """Say why a transition failed."""
        self.problem = printable(told(error))
        self._node.get_logger().error(self.problem)
        self.publish()

    def say_doing(self, text: str) -> None:
        """Tell what configuring waits for, now and then; the timer cannot, it waits too."""
        now_s = time.monotonic()
        if now_s - self._said_doing_s >= self._config().diagnostics_period:
            self._said_doing_s = now_s
            self.publish(doing=text)

    def say_configured(self, configured: Configured) -> None:
        """Log what runs, and what of it an operator may want otherwise."""
        chosen = configured.chosen
        self.say_map(configured)
        if chosen.is_failure:
            self.warn(f'backend {self._config().backend}: {chosen.reason}')
        if convert.PlaceMatchArray is None:
            self.warn(
                'vpr_msgs is not built, so ~/matches, ~/localize and ~/load_map are missing; all '
                'else works. Build it with colcon, or run `make setup` where a C++ compiler is '
                'installed'
            )

    def say_map(self, configured: Configured) -> None:
        """Log which map is served."""
        place_map = configured.place_map
        model = configured.session.localizer.describer.model
        self._node.get_logger().info(
            printable(
                f'{counted(len(place_map), "place")} of {place_map.folder}, '
                f'model {model.card.name} ({model.precision}), {configured.chosen.name}'
            )
        )
        for doubt in configured.session.localizer.doubts():
            self.warn(doubt)

    def publish(self, *, doing: str = '') -> None:
        """Publish diagnostics; an error here must not end the executor."""
        try:
            self._publish(doing)
        except Exception as error:
            if self._node.context.ok():
                self._node.get_logger().error(f'diagnostics: {error!r}', throttle_duration_sec=10)

    def _publish(self, doing: str) -> None:
        now, config = self._node.get_clock().now(), self._config()
        health = Health(
            node=self._node.get_fully_qualified_name(),
            stage=self._stage(),
            period_s=config.diagnostics_period,
            problem=self.problem,
            doing=doing,
            clock_stands=now.nanoseconds == 0,
            wants_odometry=config.publish_tf,
            lacks_tf=config.publish_tf and not self._has_tf,
            has_namesake=self._namesake.take(self._another_node()),
            facts={'map': config.map},
        )
        configured = self._configured()
        if configured is not None:
            health = self._with_session(health, configured)
        self._diagnostics.publish(status_message(health, stamp=now.to_msg()))
        self._waits.take(waits_for(health))

    def _another_node(self) -> str:
        """That another node has this one's name, as one that was left running; or ''."""
        own = self._node.get_name(), self._node.get_namespace()
        are_two = self._node.get_node_names_and_namespaces().count(own) > 1
        return namesake(self._node.get_fully_qualified_name()) if are_two else ''

    def _with_session(self, health: Health, configured: Configured) -> Health:
        return replace(
            health,
            cameras=[
                self._camera(topic, configured.mailbox.pace(camera))
                for camera, topic in enumerate(image_topics(self._config()))
            ],
            images=configured.mailbox.images,
            dropped=configured.mailbox.dropped,
            correction_age_s=configured.outputs.correction_age_s,
            counted=configured.session.counts.snapshot(),
            facts=_facts(configured),
        )

    def _camera(self, topic: str, pace: Pace | None) -> Camera:
        config = self._config()
        topic = self._node.resolve_topic_name(topic)  # in its namespace, and as it is remapped
        found = self._node.get_publishers_info_by_topic(topic)
        fitting = [entry for entry in found if entry.topic_type == image_type(config)]
        camera = Camera(
            topic,
            len(fitting),
            other_type='' if fitting or not found else found[0].topic_type,
            is_best_effort=are_too_loose(fitting, config.image_qos),
            step='' if fitting else step_to_images(topic, self._published_images()),
        )
        if pace is None:
            return camera
        silent_s = time.perf_counter() - pace.last_s
        return replace(camera, silent_s=silent_s, interval_s=pace.interval_s)

    def _published_images(self) -> dict[str, str]:
        """The topics on which other programs publish images, each with its transport."""
        transports = {topics.IMAGE.type: 'raw', topics.COMPRESSED_IMAGE.type: 'compressed'}
        own = self._node.get_fully_qualified_name()
        return {
            name: transports[kinds[0]]
            for name, kinds in self._node.get_topic_names_and_types()
            if kinds[0] in transports
            and not name.startswith(f'{own}/')
            and self._node.count_publishers(name)
        }


def _facts(configured: Configured) -> dict[str, str]:
    """The facts of what runs."""
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
