"""One file of a log: moments in, what Rerun calls entities out.

Every value stands at the stamp of its image. A match's picture is written when another place
takes its rank, and what a frame does not have is cleared, so that nothing old is shown beside
something new.
"""

from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr
from numpy.typing import NDArray

from vpr_ros.core.geometry import principal_axes, rotate
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses
from vpr_ros.rerun_log import layout
from vpr_ros.rerun_log.moment import Moment
from vpr_ros.rerun_log.outlet import Outlet
from vpr_ros.session.tracker import State

_LONGEST_SIDE_PX, _QUALITY = 480, 70
_MOST_PLACES = 50_000  # points of a map; of a larger one they are thinned evenly
_EVERY_S = 2.0  # by which rows of one entity are gathered; fewer of them make a larger file
_SIGMAS = 2.0
_ARROW_M = 2.0
_JPEG = 'image/jpeg'
_GREY, _BLUE, _BLACK = (170, 176, 184), (25, 102, 255), (30, 34, 40)
_SEEN, _NOT_SEEN = (46, 160, 67), (207, 84, 60)
_COLOURS = {
    State.LOST: (207, 84, 60),
    State.TENTATIVE: (230, 140, 20),
    State.LOCALIZED: (46, 160, 67),
}


class Recording:
    """A file that is being written; one thread logs."""

    def __init__(
        self,
        path: Path,
        *,
        cameras: int,
        places_m: NDArray[np.float64],
        true_path_m: NDArray[np.float64] | None,
    ) -> None:
        """Make the file; raises OSError, also where there is one.

        places_m: [N, 3] of the map; true_path_m: [T, 3], where the robot was.
        """
        self._stream = rr.RecordingStream(
            'vpr_ros', batcher_config=rr.ChunkBatcherConfig(flush_tick=_EVERY_S)
        )
        self._stream.set_log_tick_enabled(False)
        self._stream.set_log_time_enabled(False)
        self._outlet = Outlet(path)
        try:
            view = layout.blueprint(cameras, places_m)
            self._stream.save(self._outlet.path, default_blueprint=view)
        finally:
            self._outlet.opened()
        self._map_id = ''
        self._shown: dict[str, int | None] = {}  # which place's picture a match has
        self._visible: set[str] = set()
        self._state: State | None = None
        self._log_styles()
        if true_path_m is not None:
            self._static(layout.TRUE_PATH, rr.LineStrips3D([true_path_m], colors=_BLACK))

    @property
    def bytes(self) -> int:
        """The size of the file so far."""
        return self._outlet.bytes

    def flush(self, *, timeout_s: float) -> None:
        """Bring what was logged to the file; raises OSError or RuntimeError where that fails."""
        self._stream.flush(timeout_sec=timeout_s)
        self._outlet.check()

    def give_up(self) -> None:
        """Let nothing wait for the disk any more."""
        self._outlet.give_up()

    def close(self, *, timeout_s: float) -> None:
        """Finish the file; raises OSError where the disk had an error, or takes longer."""
        self._stream.disconnect()
        self._outlet.join(timeout_s)

    def log(self, moment: Moment) -> None:
        """Write one moment."""
        located = moment.located
        self._stream.set_time(layout.TIMELINE, timestamp=np.datetime64(located.stamp_ns, 'ns'))
        if moment.place_map.id != self._map_id:
            self._log_places(moment.place_map)
        self._log_image(moment)
        self._log_matches(moment)
        self._log_answer(moment)
        self._log_pose(moment)
        self._log_landmarks(moment)

    def _log(self, entity: str, *values: Any) -> None:
        self._visible.add(entity)
        self._stream.log(entity, *values, strict=True)

    def _static(self, entity: str, *values: Any) -> None:
        self._stream.log(entity, *values, static=True, strict=True)

    def _clear(self, entity: str) -> None:
        """Clear an entity and those below it, so that only what is logged later is shown."""
        if entity in self._visible:
            self._visible.remove(entity)
            self._stream.log(entity, rr.Clear(recursive=True), strict=True)

    def _log_styles(self) -> None:
        """What does not change: axes, colours and legends."""
        self._static(layout.MAP, rr.ViewCoordinates.RIGHT_HAND_Z_UP)
        for entity, (name, colour) in layout.SERIES.items():
            self._static(entity, rr.SeriesLines(names=name, colors=colour))
        self._static(
            layout.STATE,
            rr.StateConfiguration(
                values=[state.value for state in _COLOURS], colors=list(_COLOURS.values())
            ),
        )

    def _log_places(self, place_map: PlaceMap) -> None:
        self._map_id = place_map.id
        self._shown.clear()
        points = place_map.poses[~place_map.is_distractor, :3]
        step = -(-len(points) // _MOST_PLACES)
        self._log(
            layout.PLACES, rr.Points3D(points[::step], colors=_GREY, radii=rr.Radius.ui_points(2))
        )

    def _log_image(self, moment: Moment) -> None:
        frame = moment.frame
        jpeg = encode_jpeg(frame.image, longest_side_px=_LONGEST_SIDE_PX, quality=_QUALITY)
        self._log(layout.camera(frame.camera), rr.EncodedImage(contents=jpeg, media_type=_JPEG))

    def _log_matches(self, moment: Moment) -> None:
        """The pictures of the best places, as the map keeps them."""
        places = moment.located.candidates.place_index[: len(layout.MATCHES)].tolist()
        for entity, place in zip(layout.MATCHES, [*places, None, None, None], strict=False):
            if entity in self._shown and self._shown[entity] == place:
                continue
            self._shown[entity] = place
            jpeg = b'' if place is None else moment.place_map.thumbnail_jpeg(place)
            if jpeg:
                self._log(entity, rr.EncodedImage(contents=jpeg, media_type=_JPEG))
            else:
                self._clear(entity)

    def _log_answer(self, moment: Moment) -> None:
        """The outcome in words and numbers, and the state where it is another."""
        candidates, outcome = moment.located.candidates, moment.located.outcome
        self._log(layout.ANSWER, rr.TextDocument(moment.said, media_type=rr.MediaType.MARKDOWN))
        for remark in moment.remarks:
            self._log(layout.EVENTS, rr.TextLog(remark.text, level=remark.level))
        if moment.state is not self._state:
            self._state = moment.state
            self._log(layout.STATE, rr.StateChange(state=moment.state.value))
        numbers = {'drive/probability': outcome.probability}
        if len(candidates):
            numbers['drive/similarity'] = float(candidates.similarity[0])
        if len(candidates) and candidates.weight is not None:
            numbers['drive/belief'] = float(candidates.weight[0])
        for entity, number in numbers.items():
            self._log(entity, rr.Scalars(number))

    def _log_pose(self, moment: Moment) -> None:
        """The candidates, the fix, and the robot inside its 2-sigma ellipsoid."""
        candidates, outcome = moment.located.candidates, moment.located.outcome
        self._log(
            layout.CANDIDATES,
            rr.Points3D(candidates.map_T_base[:, :3], colors=_BLUE, radii=rr.Radius.ui_points(3)),
        )
        if not isinstance(outcome, Fix):
            self._clear(layout.ROBOT)
            return
        position, colour = outcome.pose[None, :3], _COLOURS[moment.state]
        self._log(layout.FIXES, rr.Points3D(position, colors=colour, radii=rr.Radius.ui_points(4)))
        ahead = rotate(outcome.pose[3:], np.array([_ARROW_M, 0.0, 0.0]))
        self._log(
            layout.ROBOT,
            rr.Arrows3D(
                origins=position,
                vectors=ahead[None],
                colors=_BLACK,
                radii=rr.Radius.ui_points(3),
            ),
        )
        sigmas_m, turned = principal_axes(outcome.covariance[:3, :3])
        self._log(
            layout.EXTENT,
            rr.Ellipsoids3D(
                centers=position,
                half_sizes=_SIGMAS * sigmas_m[None],
                quaternions=turned[None],
                colors=colour,
            ),
        )

    def _log_landmarks(self, moment: Moment) -> None:
        """The points of the place that fits best: those that the image shows, and the others."""
        landmarks = moment.located.landmarks
        kept = None if landmarks is None else moment.place_map.landmarks(landmarks.place_index)
        if landmarks is None or kept is None:
            self._clear(layout.SEEN)
            self._clear(layout.NOT_SEEN)
            return
        points = in_map(kept.points_m, moment.place_map.poses[landmarks.place_index])
        for entity, rows, colour in (
            (layout.SEEN, landmarks.seen, _SEEN),
            (layout.NOT_SEEN, ~landmarks.seen, _NOT_SEEN),
        ):
            self._log(
                entity,
                rr.Points3D(points[rows], colors=colour, radii=rr.Radius.ui_points(2)),
            )


def in_map(points_m: NDArray[np.float32], map_T_camera: Poses) -> NDArray[np.float64]:
    """Points [L, 3] of a place's camera in the map's frame."""
    return rotate(map_T_camera[3:], points_m.astype(np.float64)) + map_T_camera[:3]
