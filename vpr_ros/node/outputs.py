"""All that the node publishes about a localized frame; what nobody listens to is not made."""

from collections import deque

import numpy as np
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from visualization_msgs.msg import Marker, MarkerArray

from vpr_ros.core.encodings import rgb_to_image
from vpr_ros.core.localizing.localizer import Localization
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame, Poses
from vpr_ros.core.types import Image as RgbImage
from vpr_ros.node import conversions as convert
from vpr_ros.node.config import NodeConfig
from vpr_ros.node.qos import LATCHED, RECENT
from vpr_ros.report.picture import MOMENTS, Moment, Verdict, glance
from vpr_ros.session.tracker import State


class Outputs:
    """The node's publishers, from configure to cleanup."""

    def __init__(self, node: Node, place_map: PlaceMap, *, initialpose: bool) -> None:
        """Create the publishers; ~/matches only where vpr_msgs is built."""
        self._node = node
        self._place_map = place_map
        self._history: deque[Moment] = deque(maxlen=MOMENTS)
        self._last_fix: tuple[int, Poses] | None = None  # stamp in ns, map_T_base
        create = node.create_publisher
        self._pose = create(PoseWithCovarianceStamped, '~/pose', LATCHED)
        self._state = create(String, '~/state', LATCHED)
        self._initialpose = None
        if initialpose:
            self._initialpose = create(PoseWithCovarianceStamped, 'initialpose', RECENT)
        self._initialpose_sent: PoseWithCovarianceStamped | None = None
        self._candidates = create(PoseArray, '~/candidates', RECENT)
        self._markers = create(MarkerArray, '~/markers', RECENT)
        self._places = create(Marker, '~/places', LATCHED)
        self._debug_image = create(Image, '~/debug_image', RECENT)
        self._matches = None
        if convert.PlaceMatchArray is not None:
            self._matches = create(convert.PlaceMatchArray, '~/matches', RECENT)

    def destroy(self) -> None:
        """Remove the topics."""
        for publisher in (
            self._pose,
            self._state,
            self._initialpose,
            self._candidates,
            self._markers,
            self._places,
            self._debug_image,
            self._matches,
        ):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def publish_map(self, header: Header) -> None:
        """The map's places, once; the topic is latched."""
        self._places.publish(convert.places_message(self._place_map, header))

    def publish_state(self, state: State) -> None:
        """LOST, TENTATIVE or LOCALIZED; the topic is latched."""
        self._state.publish(String(data=state.value))

    def publish_initialpose(self, fix: Fix, header: Header) -> None:
        """A fix for other localizers to start from, once until `expect_initialpose`."""
        if self._initialpose is None or self._initialpose_sent is not None:
            return
        self._initialpose_sent = convert.fix_message(fix, header)
        self._initialpose.publish(self._initialpose_sent)

    def expect_initialpose(self) -> None:
        """Publish one again at the next call."""
        self._initialpose_sent = None

    def is_own(self, message: PoseWithCovarianceStamped) -> bool:
        """Whether an initial pose that came in is the one that went out."""
        return bool(message == self._initialpose_sent)

    def publish(
        self,
        frame: Frame,
        located: Localization,
        header: Header,
        *,
        config: NodeConfig,
    ) -> None:
        """A frame's pose (only with a fix), matches, candidates, markers and debug image.

        header is the map's.
        """
        outcome = located.outcome
        self._history.append(Moment(outcome.probability, isinstance(outcome, Fix)))
        if isinstance(outcome, Fix):
            self._pose.publish(convert.fix_message(outcome, header))
        if self._matches is not None:
            count = config.published_matches
            self._matches.publish(
                convert.matches_message(located, self._place_map, header, count=count)
            )
        if self._candidates.get_subscription_count():
            self._candidates.publish(convert.candidates_message(located.candidates, header))
        if self._markers.get_subscription_count():
            self._markers.publish(convert.markers_message(located, header))
        if self._debug_image.get_subscription_count():
            picture_header = Header(stamp=header.stamp, frame_id=frame.camera_frame)
            picture = self._picture(frame, located, height_px=config.debug_image_height)
            self._debug_image.publish(rgb_to_image(picture, Image, picture_header))
        if isinstance(outcome, Fix):
            self._last_fix = located.stamp_ns, outcome.pose

    def _picture(self, frame: Frame, located: Localization, *, height_px: int) -> RgbImage:
        """The debug image."""
        outcome, candidates = located.outcome, located.candidates
        place = int(candidates.place_index[0]) if len(candidates) else None
        if isinstance(outcome, Fix):
            place, headline = outcome.place_index, f'fix, probability {outcome.probability:.2f}'
        else:
            headline = f'no fix: {outcome.reason.value}'
        verdict = Verdict(
            headline=headline,
            details=self._details(located) if len(candidates) else '',
            match_title='map' if place is None else f'map, place {place}',
            is_fix=isinstance(outcome, Fix),
        )
        match = None if place is None else self._place_map.thumbnail(place)
        return glance(
            frame.image, match, verdict, history=tuple(self._history), height_px=height_px
        )

    def _details(self, located: Localization) -> str:
        """How alike the best candidate is, and how far the answer is from the last fix."""
        outcome = located.outcome
        position_m = (
            outcome.pose if isinstance(outcome, Fix) else located.candidates.map_T_base[0]
        )[:3]
        similar = f'similarity {located.candidates.similarity[0]:.2f}'
        if self._last_fix is None:
            return similar
        fixed_ns, fixed_pose = self._last_fix
        apart_m = np.linalg.norm(position_m - fixed_pose[:3])
        passed_s = (located.stamp_ns - fixed_ns) / 1e9
        return f'{similar}, {apart_m:.1f} m from the last fix, {passed_s:.1f} s ago'
