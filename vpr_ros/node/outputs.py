"""The session's answers -> topics, tf and the log; what nobody listens to is not made.

What navigation needs (pose, state, initialpose, tf) goes out before anything that is only looked
at, and an error in one message keeps no other from going out.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from vpr_ros.core.encodings import rgb_to_image
from vpr_ros.core.errors import VprError
from vpr_ros.core.localizing.localizer import Localization
from vpr_ros.core.localizing.outcome import Fix, headline
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.names import printable
from vpr_ros.core.types import Image as RgbImage
from vpr_ros.core.types import Poses
from vpr_ros.drives.transforms import frame_name
from vpr_ros.node import conversions as convert
from vpr_ros.node import topics
from vpr_ros.node.config import NodeConfig
from vpr_ros.node.tf import SteadyBroadcast, Transforms
from vpr_ros.report.picture import MOMENTS, Moment, Verdict, glance
from vpr_ros.rerun_log.drive_log import DriveLog
from vpr_ros.session.answers import (
    Answer,
    Corrected,
    CorrectionLost,
    Localized,
    MapChanged,
    Noted,
    Refused,
    StartGiven,
    StateChanged,
)
from vpr_ros.session.counts import Counts
from vpr_ros.session.tracker import State


class Outputs:
    """The node's publishers, from configure to cleanup."""

    def __init__(
        self,
        node: Node,
        place_map: PlaceMap,
        counts: Counts,
        *,
        map_frame: str,
        config: Callable[[], NodeConfig],
        transforms: Transforms | None,
        report: Callable[[Exception], None],
        drive_log: DriveLog | None = None,
    ) -> None:
        """Create the publishers; ~/matches only where vpr_msgs is built."""
        self._node = node
        self._map = place_map
        self._counts = counts
        self._map_frame = map_frame
        self._config = config
        self._transforms = transforms
        self._report = report
        self._drive_log = drive_log
        self._history: deque[Moment] = deque(maxlen=MOMENTS)
        self._last_fix: tuple[int, Poses] | None = None  # stamp in ns, map_T_base
        self._tf: SteadyBroadcast | None = None  # made at the first correction
        self._publishers: list[Any] = []
        try:
            self._create()
        except BaseException:
            self.destroy()
            raise

    def _create(self) -> None:
        self._pose = self._publisher(topics.POSE)
        self._state = self._publisher(topics.STATE)
        self._initialpose = None
        if self._config().publish_initialpose:
            self._initialpose = self._publisher(topics.GIVEN_INITIALPOSE)
        self._candidates = self._publisher(topics.CANDIDATES)
        self._markers = self._publisher(topics.MARKERS)
        self._places = self._publisher(topics.PLACES)
        self._debug_image = self._publisher(topics.DEBUG_IMAGE)
        self._matches = None
        if convert.PlaceMatchArray is not None:
            self._matches = self._publisher(topics.MATCHES)

    def _publisher(self, topic: topics.Topic) -> Any:
        made = self._node.create_publisher(topic.kind, topic.name, topic.qos)
        self._publishers.append(made)
        return made

    def destroy(self) -> None:
        """Remove the topics."""
        self.end()
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        self._publishers = []

    def begin(self, state: State) -> None:
        """Publish what is known before the first image: the map's places and the state."""
        self._publish_places()
        self._state.publish(String(data=state.value))

    def _publish_places(self) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        header = convert.header(now_ns, self._map_frame)
        self._places.publish(convert.places_message(self._map, header))

    def end(self) -> None:
        """Stop what goes out by itself."""
        if self._tf is not None:
            self._tf.close()
            self._tf = None

    @property
    def correction_age_s(self) -> float | None:
        """Time since map -> odom was corrected; None while it is not sent."""
        return None if self._tf is None else self._tf.age_s

    def publish(self, answers: list[Answer]) -> None:
        """Publish what follows from one event."""
        started_s = time.perf_counter()
        for answer in answers:
            self._try(self._publish_one, answer)
        for answer in answers:
            if isinstance(answer, Localized):
                self._show(answer)
                ended_s = time.perf_counter()
                self._counts.took(
                    {
                        'publish': (ended_s - started_s) * 1e3,
                        'total': (ended_s - answer.came_s) * 1e3,
                    }
                )
        if self._drive_log is not None:
            self._try(self._drive_log.take, answers)

    def _publish_one(self, answer: Answer) -> None:
        """What navigation needs."""
        if isinstance(answer, Localized):
            self._publish_fix(answer.located)
        elif isinstance(answer, StateChanged):
            self._state.publish(String(data=answer.state.value))
            self._node.get_logger().info(f'{answer.before.value} -> {answer.state.value}')
        elif isinstance(answer, StartGiven) and self._initialpose is not None:
            header = convert.header(answer.stamp_ns, self._map_frame)
            self._initialpose.publish(convert.fix_message(answer.fix, header))
        elif isinstance(answer, Corrected):
            self._correct(answer)
        elif isinstance(answer, CorrectionLost):
            self._forget_correction(answer)
        elif isinstance(answer, MapChanged):
            self._map = answer.place_map
            self._publish_places()
        elif isinstance(answer, Noted):
            self._log(answer)
        elif isinstance(answer, Refused):
            self._report(VprError(answer.text))

    def _publish_fix(self, located: Localization) -> None:
        if isinstance(located.outcome, Fix):
            header = convert.header(located.stamp_ns, self._map_frame)
            self._pose.publish(convert.fix_message(located.outcome, header))

    def _correct(self, corrected: Corrected) -> None:
        if self._transforms is None:
            self._node.get_logger().warning(
                'publish_tf: tf2_ros is not installed, so no transform is published', once=True
            )
            return
        if self._tf is None:
            config = self._config()
            self._tf = SteadyBroadcast(
                self._transforms,
                frames=(self._map_frame, frame_name(config.odom_frame)),
                rate_hz=config.tf_rate,
                tolerance_s=lambda: self._config().transform_tolerance,
                now_ns=lambda: self._node.get_clock().now().nanoseconds,
                report=self._report,
            )
        self._tf.aim(corrected.map_T_odom)

    def _forget_correction(self, lost: CorrectionLost) -> None:
        if self._tf is not None:
            self._tf.forget()
        if lost.clock_was_set_back and self._transforms is not None:
            self._transforms.clear()

    def _log(self, noted: Noted) -> None:
        logger, text = self._node.get_logger(), printable(noted.text)
        if noted.level == 'info':
            logger.info(text)
        elif noted.level == 'warning':
            logger.warning(text)
        else:
            logger.error(text)

    # What is looked at ---------------------------------------------------------------------------

    def _show(self, answer: Localized) -> None:
        """Matches, candidates, markers and debug image of a frame, each by itself."""
        located = answer.located
        outcome = located.outcome
        header = convert.header(located.stamp_ns, self._map_frame)
        self._history.append(Moment(outcome.probability, isinstance(outcome, Fix)))
        for show in (
            self._show_matches,
            self._show_candidates,
            self._show_markers,
        ):
            self._try(show, located, header)
        self._try(self._show_debug_image, answer, header)
        if isinstance(outcome, Fix):
            self._last_fix = located.stamp_ns, outcome.pose

    def _try(self, publish: Callable[..., None], *arguments: Any) -> None:
        try:
            publish(*arguments)
        except Exception as error:
            self._report(error)

    def _show_matches(self, located: Localization, header: Header) -> None:
        if self._matches is not None:
            count = self._config().published_matches
            self._matches.publish(convert.matches_message(located, self._map, header, count=count))

    def _show_candidates(self, located: Localization, header: Header) -> None:
        if self._candidates.get_subscription_count():
            self._candidates.publish(convert.candidates_message(located.candidates, header))

    def _show_markers(self, located: Localization, header: Header) -> None:
        if self._markers.get_subscription_count():
            self._markers.publish(convert.markers_message(located, header))

    def _show_debug_image(self, answer: Localized, header: Header) -> None:
        if self._debug_image.get_subscription_count():
            picture_header = Header(stamp=header.stamp, frame_id=answer.frame.camera_frame)
            picture = self._picture(answer)
            self._debug_image.publish(rgb_to_image(picture, Image, picture_header))

    def _picture(self, answer: Localized) -> RgbImage:
        """The debug image."""
        located = answer.located
        outcome, candidates = located.outcome, located.candidates
        place = located.shown_place
        kept = None if place is None else self._map.thumbnail(place)
        without = '' if place is None or kept is not None else ', no picture kept'
        verdict = Verdict(
            headline=headline(outcome),
            details=self._details(located) if len(candidates) else '',
            match_title='map' if place is None else f'map, place {place}{without}',
            is_fix=isinstance(outcome, Fix),
        )
        return glance(
            answer.frame.image,
            kept,
            verdict,
            history=tuple(self._history),
            height_px=self._config().debug_image_height,
        )

    def _details(self, located: Localization) -> str:
        """How alike the best candidate is, and how far the answer is from the last fix."""
        outcome, candidates = located.outcome, located.candidates
        pose = outcome.pose if isinstance(outcome, Fix) else candidates.map_T_base[0]
        similar = f'similarity {candidates.similarity[0]:.2f}'
        if self._last_fix is None:
            return similar
        fixed_ns, fixed_pose = self._last_fix
        apart_m = np.linalg.norm(pose[:3] - fixed_pose[:3])
        passed_s = (located.stamp_ns - fixed_ns) / 1e9
        return f'{similar}, {apart_m:.1f} m from the last fix, {passed_s:.1f} s ago'
