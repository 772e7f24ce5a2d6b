"""Where the origin of odometry is on the map, by fixes and the odometry of their moments."""

from collections import deque
from collections.abc import Generator, Iterator

from vpr_ros.core.errors import VprError
from vpr_ros.core.geometry import IDENTITY, checked_pose, compose, invert, said_frames
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.types import Poses
from vpr_ros.session.answers import Answer, Corrected, CorrectionLost
from vpr_ros.session.cameras import MountingOf
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.counts import Counts
from vpr_ros.session.events import OdometryCame
from vpr_ros.session.notes import Notes
from vpr_ros.session.odometry import Odometry
from vpr_ros.session.smooth import SmoothTransform

_MOST_WAITING = 100  # fixes that wait for odometry


class MapToOdom:
    """Odometry of late, and the transform that leads from the map to it."""

    def __init__(
        self,
        notes: Notes,
        counts: Counts,
        *,
        odom_frame: str,
        base_frame: str,
        mounting_of: MountingOf | None,
    ) -> None:
        """odom_frame, base_frame: see Session; mounting_of: where odometry's body is on it."""
        self.odometry = Odometry()
        self._notes = notes
        self._counts = counts
        self._odom_frame, self._base_frame = odom_frame, base_frame
        self._mounting_of = mounting_of
        self._frames: tuple[str, str] | None = None  # of the newest pose
        self._base_T_body: Poses | None = None  # [7], of the frame that odometry is of
        self._map_T_odom = SmoothTransform()
        self._waiting: deque[tuple[Fix, int]] = deque(maxlen=_MOST_WAITING)  # for odometry

    def take(
        self, event: OdometryCame, config: SessionConfig, *, bound_mps: float
    ) -> Iterator[Answer]:
        """Know where odometry was; bound_mps: on the robot's speed, roughly. Raises VprError."""
        pose = checked_pose(event.odom_T_base, source='odom')
        yield from self._compare_frames(event.frames)
        newest_ns = self.odometry.newest_ns
        if newest_ns is not None and event.stamp_ns <= newest_ns:
            if (newest_ns - event.stamp_ns) / 1e9 < config.time_jump:
                return  # late, or said twice
            yield from self._start_anew()
        yield from self._compare_steps(event, pose, bound_mps)
        self.odometry.add(event.stamp_ns, pose, event.came_ns)
        yield from self._correct_waiting(event.stamp_ns, config)

    def correct(self, fix: Fix, stamp_ns: int, config: SessionConfig) -> Iterator[Answer]:
        """Map -> odom by a fix, as soon as odometry reaches to the image's stamp."""
        self._waiting.append((fix, stamp_ns))
        yield from self._correct_waiting(stamp_ns, config)

    def forget_transform(self) -> None:
        """Take the next fix as it is."""
        self._map_T_odom.reset()
        self._waiting.clear()

    def forget(self) -> None:
        """Forget odometry, and where its origin is on the map."""
        self.odometry.clear()
        self.forget_transform()

    def _correct_waiting(self, now_ns: int, config: SessionConfig) -> Iterator[Answer]:
        """Use the fixes whose odometry has come, and give up those that wait for too long.

        Odometry that is late bends map -> odom by as far as the robot moved meanwhile, if it is
        taken for newer than it is. So a fix waits for it.
        """
        newest_ns = self.odometry.newest_ns
        while self._waiting:
            fix, stamp_ns = self._waiting[0]
            has_come = newest_ns is not None and newest_ns >= stamp_ns
            if not has_come and now_ns - stamp_ns <= config.odometry_wait * 1e9:
                return
            self._waiting.popleft()
            odom_T_body = self.odometry.at(stamp_ns) if has_come else None
            self._counts.corrected(is_corrected=odom_T_body is not None)
            if odom_T_body is None:
                yield from self._notes.once(
                    f'publish_tf: no odometry on the topic odom within '
                    f'{config.odometry_wait:g} s of an image; such images do not correct '
                    'map -> odom'
                )
                continue
            body_T_base = yield from self._look_up_body()
            odom_T_base = compose(odom_T_body, body_T_base)
            sigma_m = float(fix.covariance[:3, :3].trace()) ** 0.5
            yield Corrected(self._map_T_odom.step(fix.pose, odom_T_base, sigma_m), stamp_ns)

    def _look_up_body(self) -> Generator[Answer, None, Poses]:
        """body_T_base [7]: where the robot is, seen from the frame that odometry is of."""
        odom_frame, body = self._frames or ('', '')
        if odom_frame and self._odom_frame and odom_frame != self._odom_frame:
            yield from self._notes.once(
                f'publish_tf: odometry is in frame {odom_frame}, but map -> odom leads to '
                f'{self._odom_frame}; set the parameter odom_frame to {odom_frame}'
            )
        if self._base_T_body is None and body and self._base_frame and body != self._base_frame:
            self._base_T_body = yield from self._asked_of_tf(body)
            if self._base_T_body is not None:
                self._map_T_odom.reset()  # it was of another frame
        return IDENTITY if self._base_T_body is None else invert(self._base_T_body)

    def _asked_of_tf(self, body: str) -> Generator[Answer, None, Poses | None]:
        """base_T_body [7] of the frame that odometry is of; tells once where tf has none."""
        try:
            found = None if self._mounting_of is None else self._mounting_of(body)
        except VprError as error:
            yield from self._notes.once(str(error))
            return None
        if found is None:
            yield from self._notes.once(
                f'publish_tf: odometry is of {body}, and tf has no transform from '
                f'{self._base_frame} to it yet; until there is one, both are taken for the same '
                'frame. Set base_frame to the frame of the robot that is on tf'
            )
        return found

    def _compare_frames(self, frames: tuple[str, str]) -> Iterator[Answer]:
        """Start anew where odometry comes from another program: its poses have another origin."""
        before, self._frames = self._frames, frames
        if before in (None, frames):
            return
        self._base_T_body = None
        yield from self._start_anew()
        names = ' and '.join(said_frames(*each) for each in (before, frames))
        yield from self._notes.once(
            f'odom: odometry of several frames, {names}; let one program publish on this topic',
            key='odom frames',
        )

    def _compare_steps(
        self, event: OdometryCame, pose: Poses, bound_mps: float
    ) -> Iterator[Answer]:
        """Start anew where odometry jumps, as when its driver starts again from zero."""
        jump_m = self.odometry.jump_m(event.stamp_ns, pose, bound_mps=bound_mps)
        if jump_m:
            yield from self._start_anew()
            yield from self._notes.once(
                f'odom: odometry jumped by {jump_m:.1f} m at {event.stamp_ns / 1e9:.2f} s; the '
                'node starts anew from there. Let one program publish on this topic, and set no '
                'odometry back while the node runs',
                key='odom jump',
            )

    def _start_anew(self) -> Iterator[Answer]:
        """Its poses have another origin, of which nobody knows where it is on the map."""
        self.forget()
        yield CorrectionLost()
