"""What the node knows of the drive at hand, and what follows from each event.

A session is made when the node is configured and dropped at cleanup. One thread hands it events,
in the order of their coming, and nothing else touches it; so no event can fall into the middle of
a frame, and nothing that it knows can be lost to one. It knows no ROS: the same events give the
same answers in a test.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

from vpr_ros.core.camera import camera_info_topic, differs
from vpr_ros.core.errors import VprError
from vpr_ros.core.geometry import IDENTITY, checked_pose, compose, invert, said_frames
from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Frame, Poses
from vpr_ros.core.virtual_camera import shown_share
from vpr_ros.session.answers import (
    Answer,
    Corrected,
    CorrectionLost,
    Level,
    Localized,
    MapChanged,
    Noted,
    Refused,
    Replied,
    StartGiven,
    StateChanged,
)
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.counts import Counts
from vpr_ros.session.events import (
    CameraInfoCame,
    ClockSetBack,
    Event,
    GpsCame,
    ImageCame,
    InitialPoseCame,
    LocalizeAsked,
    MapOpened,
    OdometryCame,
    ResetAsked,
    SettingsChanged,
    TriggerAsked,
)
from vpr_ros.session.odometry import Odometry
from vpr_ros.session.smooth import SmoothTransform
from vpr_ros.session.tracker import State, Tracker
from vpr_ros.session.whereabouts import Whereabouts

_OTHER_CLOCK_S = 60.0  # stamps further apart are of two clocks
_CALIBRATION_S = 5.0  # without camera_info, after which the operator is told
_SHOWN = 0.8  # share of the mapping camera's view, below which the operator is told
_MOST_WAITING = 100  # fixes that wait for odometry
_LEAST_KEPT = 0.5  # share of the belief's weight that another map must have, or the state is LOST

MountingOf = Callable[[str], Poses | None]
"""base_T_frame [7] of an optical frame or of odometry's, as tf knows it now, or None."""


class Session:
    """The drive so far."""

    def __init__(
        self,
        localizer: Localizer,
        config: SessionConfig,
        *,
        map_frame: str,
        odom_frame: str = '',
        base_frame: str = '',
        mounting_of: MountingOf | None = None,
    ) -> None:
        """map_frame: of initial poses; mounting_of: asked where no parameter gives a mounting.

        odom_frame, base_frame: what map -> odom leads to, and the robot; '': as odometry has them.
        """
        self.localizer = localizer
        self.counts = Counts()
        self._config = config
        self._mounting_of = mounting_of
        self._odometry = Odometry()
        self._odometry_frames: tuple[str, str] | None = None  # of the newest pose
        self._odom_frame, self._base_frame = odom_frame, base_frame
        self._base_T_body: Poses | None = None  # [7], of the frame that odometry is of
        self._whereabouts = Whereabouts(
            localizer.place_map.poses[:, :3],
            map_frame=map_frame,
            bound_mps=localizer.bound_mps,
        )
        self._tracker = Tracker()
        self._map_T_odom = SmoothTransform()
        self._waiting: deque[tuple[Fix, int]] = deque(maxlen=_MOST_WAITING)  # for odometry
        self._triggered = False
        self._start: tuple[int, Poses] | None = None  # given to other localizers, until lost
        self._last_stamp_ns: dict[int, int] = {}  # by camera
        self._camera_frames: dict[int, str] = {}  # by camera, of its last image
        self._first_ns: dict[int, int] = {}  # when the first image came, by camera
        self._calibrates: dict[str, dict[int, str]] = {}  # by topic of calibrations: its cameras
        self._mounted_by_tf: set[int] = set()  # cameras
        self._located_ns: int | None = None  # stamp of the newest image localized
        self._came_ns = 0  # of the newest image, by the node's clock
        self._said: set[str] = set()
        self._handlers: dict[type, Callable[[Any], Iterator[Answer]]] = {
            ImageCame: self._on_image,
            OdometryCame: self._on_odometry,
            GpsCame: self._on_gps,
            InitialPoseCame: self._on_initial_pose,
            CameraInfoCame: self._on_camera_info,
            SettingsChanged: self._on_settings,
            ClockSetBack: self._on_clock_set_back,
            ResetAsked: self._on_reset,
            TriggerAsked: self._on_trigger,
            LocalizeAsked: self._on_localize,
            MapOpened: self._on_map_opened,
        }
        self._tell()

    @property
    def state(self) -> State:
        """The state after the last frames."""
        return self._tracker.state

    def handle(self, event: Event) -> list[Answer]:
        """What follows from an event; one that cannot be used is Refused."""
        answers: list[Answer] = []
        try:
            for answer in self._handlers[type(event)](event):
                answers.append(answer)
        except VprError as error:
            if isinstance(event, ImageCame):
                self.counts.unusable(event.camera)
            self.counts.report(str(error))
            answers.append(Refused(str(error)))
        self._tell()
        return answers

    def pause(self) -> list[Answer]:
        """What follows when no more events come for a while.

        The robot may be carried meanwhile, and its odometry may start again from another origin.
        What the images told of the drive stays.
        """
        self._forget_odometry()
        answers = list(self._lose())
        self._tell()
        return answers

    # Images --------------------------------------------------------------------------------------

    def _on_image(self, event: ImageCame) -> Iterator[Answer]:
        if not (self._config.continuous or self._triggered):
            return
        behind_s = self._behind_s(event)
        if 0 < behind_s < self._config.time_jump:
            self.counts.add('late')
            return
        if behind_s > 0:
            yield from self._set_back(behind_s)
        self._last_stamp_ns[event.camera] = event.stamp_ns
        self._came_ns = event.came_ns
        yield from self._compare_clocks(event)
        started_s = time.perf_counter()
        image = event.read(at_least_hw=self.localizer.needed_hw)
        decoded_s = time.perf_counter()
        yield from self._look_up_mounting(event)
        frame = Frame(image, event.stamp_ns, event.camera_frame, event.camera)
        yield from self._compare_size(frame)
        yield from self._miss_calibration(event)
        located = yield from self._locate(frame, event.came_ns)
        waited = {'wait': started_s - event.came_s, 'decode': decoded_s - started_s}
        self.counts.took({name: value * 1e3 for name, value in waited.items()})
        self.counts.took(located.latency_ms)
        self.counts.localized(located, event.camera)
        yield Localized(frame, located, event.came_s)
        yield from self._track(located)

    def _compare_clocks(self, event: ImageCame) -> Iterator[Answer]:
        """Tell once where images are stamped by another clock than the node's."""
        apart_s = (event.came_ns - event.stamp_ns) / 1e9
        if abs(apart_s) <= _OTHER_CLOCK_S:
            return
        yield from self._once(
            f'images are stamped {event.stamp_ns / 1e9:.0f} s, and the clock of this node says '
            f'{event.came_ns / 1e9:.0f} s; for a recording or a simulator, set use_sim_time '
            'and publish /clock; otherwise tf and GPS do not fit the images',
            key='clock',  # the numbers differ from image to image
        )

    def _compare_size(self, frame: Frame) -> Iterator[Answer]:
        """Tell once where a calibration is not of these images, so that landmarks are not used."""
        place_map = self.localizer.place_map
        camera = self.localizer.rig.cameras[frame.camera].calibration or place_map.header.camera
        if camera is None or not place_map.has_landmarks or not self._config.use_landmarks:
            return
        try:
            camera.scaled_to(frame.image.shape[1], frame.image.shape[0])
        except VprError as error:
            yield from self._once(
                f'camera {frame.camera + 1}: {error}; landmarks are not used. Publish the '
                'camera_info of these images',
                key=f'size of {frame.camera}',
            )

    def _miss_calibration(self, event: ImageCame) -> Iterator[Answer]:
        """Tell once where a camera is taken for the mapping camera for want of a calibration."""
        if not self.localizer.place_map.has_landmarks:
            return
        if any(event.camera in sharing for sharing in self._calibrates.values()):
            return
        first_ns = self._first_ns.setdefault(event.camera, event.came_ns)
        if event.came_ns - first_ns >= _CALIBRATION_S * 1e9:
            yield from self._once(
                f'camera {event.camera + 1}: no camera_info came in {_CALIBRATION_S:.0f} s, so it '
                'is taken for the mapping camera; the poses of another lens are wrong. Publish '
                'the camera_info beside its images',
                key=f'no calibration of {event.camera}',
            )

    def _behind_s(self, event: ImageCame) -> float:
        """How far an image is older than the last one of its camera."""
        last_ns = self._last_stamp_ns.get(event.camera, event.stamp_ns)
        return (last_ns - event.stamp_ns) / 1e9

    def _locate(self, frame: Frame, came_ns: int) -> Generator[Answer, None, Localization]:
        """Localize one image with all that is known; returns the Localization."""
        travelled_m = self._travelled_m(frame)
        prior, note = self._whereabouts.prior(frame.stamp_ns, came_ns, travelled_m, self._config)
        if note:
            yield Noted(note)
        located = self.localizer.step(frame, prior=prior, travelled_m=travelled_m)
        self._located_ns = max(frame.stamp_ns, self._located_ns or 0)
        if note := self._whereabouts.learn(located.outcome, frame.stamp_ns, came_ns):
            yield Noted(note)
        return located

    def _track(self, located: Localization) -> Iterator[Answer]:
        """The consequences of an outcome beyond its own frame."""
        outcome = located.outcome
        before = self._tracker.state
        state = self._tracker.follow(located, self.localizer)
        if state is not before:
            yield from self._changed(before, state)
        if not isinstance(outcome, Fix):
            return
        if state is State.LOCALIZED or not self._gives_on():
            self._triggered = False
        if state is State.LOCALIZED:
            yield from self._give_start(outcome, located.stamp_ns)
            yield from self._correct(outcome, located.stamp_ns)

    def _changed(self, before: State, state: State) -> Iterator[Answer]:
        """Tell of a new state; after being lost, initialpose and tf start anew."""
        yield StateChanged(before, state)
        if state is State.LOST:
            self._map_T_odom.reset()
            self._waiting.clear()
            self._start = None
            if self._config.tf_when_lost == 'stop':
                yield CorrectionLost()

    def _gives_on(self) -> bool:
        """Whether others get what only a robot that is LOCALIZED can give."""
        return self._config.publish_tf or self._config.publish_initialpose

    def _give_start(self, fix: Fix, stamp_ns: int) -> Iterator[Answer]:
        """One fix for other localizers, until lost again."""
        if self._config.publish_initialpose and self._start is None:
            self._start = stamp_ns, fix.pose
            yield StartGiven(fix, stamp_ns)

    def _correct(self, fix: Fix, stamp_ns: int) -> Iterator[Answer]:
        """Map -> odom, as soon as odometry reaches to the image's stamp."""
        if self._config.publish_tf:
            self._waiting.append((fix, stamp_ns))
            yield from self._correct_waiting(stamp_ns)

    def _correct_waiting(self, now_ns: int) -> Iterator[Answer]:
        """Use the fixes whose odometry has come, and give up those that wait for too long.

        Odometry that is late bends map -> odom by as far as the robot moved meanwhile, if it is
        taken for newer than it is. So a fix waits for it.
        """
        newest_ns = self._odometry.newest_ns
        while self._waiting:
            fix, stamp_ns = self._waiting[0]
            has_come = newest_ns is not None and newest_ns >= stamp_ns
            if not has_come and now_ns - stamp_ns <= self._config.odometry_wait * 1e9:
                return
            self._waiting.popleft()
            odom_T_body = self._odometry.at(stamp_ns) if has_come else None
            self.counts.corrected(is_corrected=odom_T_body is not None)
            if odom_T_body is None:
                yield from self._once(
                    f'publish_tf: no odometry on the topic odom within '
                    f'{self._config.odometry_wait:g} s of an image; such images do not correct '
                    'map -> odom'
                )
                continue
            body_T_base = yield from self._look_up_body()
            odom_T_base = compose(odom_T_body, body_T_base)
            sigma_m = float(fix.covariance[:3, :3].trace()) ** 0.5
            yield Corrected(self._map_T_odom.step(fix.pose, odom_T_base, sigma_m), stamp_ns)

    def _look_up_body(self) -> Generator[Answer, None, Poses]:
        """body_T_base [7]: where the robot is, seen from the frame that odometry is of."""
        odom_frame, body = self._odometry_frames or ('', '')
        if odom_frame and self._odom_frame and odom_frame != self._odom_frame:
            yield from self._once(
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
            yield from self._once(str(error))
            return None
        if found is None:
            yield from self._once(
                f'publish_tf: odometry is of {body}, and tf has no transform from '
                f'{self._base_frame} to it yet; until there is one, both are taken for the same '
                'frame. Set base_frame to the frame of the robot that is on tf'
            )
        return found

    def _travelled_m(self, frame: Frame) -> float | None:
        """How far odometry says the robot moved since the last image."""
        if self._located_ns is None:
            return None
        if frame.stamp_ns <= self._located_ns:  # of another camera
            return 0.0
        return self._odometry.distance_m(self._located_ns, frame.stamp_ns)

    def _look_up_mounting(self, event: ImageCame) -> Iterator[Answer]:
        """Ask tf for the camera's mounting until it answers, where no parameter gives it."""
        yield from self._compare_camera_frames(event)
        cameras = self.localizer.rig.cameras
        if self._mounting_of is None or cameras[event.camera].base_T_camera is not None:
            return
        if not event.camera_frame:
            yield from self._once(
                f'camera {event.camera + 1}: its images have no frame_id, so that tf cannot tell '
                'how it is mounted; set the frame in its driver, or give base_T_camera'
            )
            return
        try:
            found = self._mounting_of(event.camera_frame)
        except VprError as error:
            yield from self._once(str(error))
            return
        if found is not None:
            cameras[event.camera] = replace(cameras[event.camera], base_T_camera=found)
            self._mounted_by_tf.add(event.camera)
            yield from self._once(f'tf: mounting of {event.camera_frame} found', level='info')
        elif event.camera == 0:
            yield from self._once(
                f'tf: no transform to {event.camera_frame} yet; until there is one, poses assume '
                "the mapping camera's mounting"
            )

    def _compare_camera_frames(self, event: ImageCame) -> Iterator[Answer]:
        """Ask tf anew where a camera's images come from another frame than before."""
        camera, frame = event.camera, event.camera_frame
        before = self._camera_frames.get(camera, frame)
        self._camera_frames[camera] = frame
        if before == frame:
            return
        if camera in self._mounted_by_tf:
            cameras = self.localizer.rig.cameras
            cameras[camera] = replace(cameras[camera], base_T_camera=None)
            self._mounted_by_tf.remove(camera)
        names = ' and '.join(name or 'no frame' for name in (before, frame))
        yield from self._once(
            f'camera {camera + 1}: images of several frames, {names}; let one camera publish on '
            'its topic',
            key=f'frames of camera {camera}',
        )

    # What else comes -----------------------------------------------------------------------------

    def _on_odometry(self, event: OdometryCame) -> Iterator[Answer]:
        pose = checked_pose(event.odom_T_base, source='odom')
        yield from self._compare_odometry(event.frames)
        newest_ns = self._odometry.newest_ns
        if newest_ns is not None and event.stamp_ns <= newest_ns:
            if (newest_ns - event.stamp_ns) / 1e9 < self._config.time_jump:
                return  # late, or said twice
            yield from self._start_odometry_anew()
        yield from self._compare_steps(event, pose)
        self._odometry.add(event.stamp_ns, pose, event.came_ns)
        yield from self._correct_waiting(event.stamp_ns)

    def _compare_odometry(self, frames: tuple[str, str]) -> Iterator[Answer]:
        """Start anew where odometry comes from another program: its poses have another origin."""
        before, self._odometry_frames = self._odometry_frames, frames
        if before in (None, frames):
            return
        self._base_T_body = None
        yield from self._start_odometry_anew()
        names = ' and '.join(said_frames(*each) for each in (before, frames))
        yield from self._once(
            f'odom: odometry of several frames, {names}; let one program publish on this topic',
            key='odom frames',
        )

    def _compare_steps(self, event: OdometryCame, pose: Poses) -> Iterator[Answer]:
        """Start anew where odometry jumps, as when its driver starts again from zero."""
        bound_mps = self.localizer.bound_mps
        jump_m = self._odometry.jump_m(event.stamp_ns, pose, bound_mps=bound_mps)
        if jump_m:
            yield from self._start_odometry_anew()
            yield from self._once(
                f'odom: odometry jumped by {jump_m:.1f} m at {event.stamp_ns / 1e9:.2f} s; the '
                'node starts anew from there. Let one program publish on this topic, and set no '
                'odometry back while the node runs',
                key='odom jump',
            )

    def _forget_odometry(self) -> None:
        """Forget odometry, and where its origin is on the map."""
        self._odometry.clear()
        self._map_T_odom.reset()
        self._waiting.clear()

    def _start_odometry_anew(self) -> Iterator[Answer]:
        """Its poses have another origin, of which nobody knows where it is on the map."""
        self._forget_odometry()
        yield CorrectionLost()

    def _on_gps(self, event: GpsCame) -> Iterator[Answer]:
        self._whereabouts.take_gps(event, self._config)
        yield from ()

    def _on_initial_pose(self, event: InitialPoseCame) -> Iterator[Answer]:
        if self._start is not None and (event.map_T_base == self._start[1]).all():
            return  # what this session gave to others
        self._whereabouts.take_initial_pose(event, self._config)
        yield Noted('initialpose: the search is restricted to it until the next fix', 'info')

    def _on_camera_info(self, event: CameraInfoCame) -> Iterator[Answer]:
        cameras = self.localizer.rig.cameras
        told = event.calibration
        beside = camera_info_topic(event.topic)
        sharing = self._calibrates.setdefault(beside, {})
        sharing[event.camera] = event.topic
        if len(sharing) > 1:
            yield from self._once(
                f'{beside} calibrates {" and ".join(sharing.values())}: the poses of a camera '
                'with another lens are wrong. Publish the images and the camera_info of each '
                'camera under a name of its own, such as /left/image_raw and /left/camera_info',
                key=f'shared {beside}',
            )
        cameras[event.camera] = replace(cameras[event.camera], calibration=told.camera)
        seen_deg = told.field_of_view_deg
        mapped_deg = self.localizer.place_map.header.field_of_view_deg
        said = (f'{view:.0f}' if view else 'unknown' for view in (seen_deg, mapped_deg))
        self.counts.say(**{'field of view, camera/map [deg]': '/'.join(said)})
        if told.why_not and self.localizer.place_map.has_landmarks:
            yield from self._once(
                f'{event.topic}: the calibration in its camera_info cannot be used: '
                f"{told.why_not}; landmarks are looked for with the mapping camera's"
            )
        yield from self._compare_views(event)

    def _compare_views(self, event: CameraInfoCame) -> Iterator[Answer]:
        """Tell once where a camera sees much more or less than the mapping camera."""
        header = self.localizer.place_map.header
        shown = None
        if self._config.virtual_camera:
            shown = shown_share(event.calibration.camera, header.camera)
        seen_deg, mapped_deg = event.calibration.field_of_view_deg, header.field_of_view_deg
        if shown is not None and shown < _SHOWN:
            yield from self._once(
                f'{event.topic}: this camera sees {shown:.0%} of what the mapping camera '
                'sees of a place: fewer places will be found'
            )
        elif shown is None and mapped_deg and seen_deg and differs(mapped_deg, seen_deg):
            yield from self._once(
                f'{event.topic}: this camera sees {seen_deg:.0f} degrees, the map was made with '
                f'{mapped_deg:.0f}: fewer places will be found'
            )

    def _on_settings(self, event: SettingsChanged) -> Iterator[Answer]:
        stops_tf = self._config.publish_tf and not event.config.publish_tf
        self._config = event.config
        self.localizer.use(event.config)
        if stops_tf:
            self._waiting.clear()
            self._map_T_odom.reset()  # odometry drifts until it is sent again
            yield CorrectionLost()

    def _on_clock_set_back(self, event: ClockSetBack) -> Iterator[Answer]:
        yield from self._set_back(event.by_s)

    def _on_reset(self, event: ResetAsked) -> Iterator[Answer]:
        yield from self._forget()
        yield Replied('the drive so far, initial pose, GPS and odometry are forgotten')

    def _on_trigger(self, event: TriggerAsked) -> Iterator[Answer]:
        self._triggered = True
        end = 'the state is LOCALIZED' if self._gives_on() else 'there is a fix'
        yield Replied(f'the next images are localized until {end}, see ~/pose')

    def _on_localize(self, event: LocalizeAsked) -> Iterator[Answer]:
        image = event.read(at_least_hw=self.localizer.needed_hw)
        query = self.localizer.describe(Frame(image, event.stamp_ns))
        yield Replied('', self.localizer.locate_alone(query), self.localizer.place_map)

    def _on_map_opened(self, event: MapOpened) -> Iterator[Answer]:
        """Go on with the drive on another map; only belief and map know of its places."""
        localizer = event.localizer
        if event.before_id != self.localizer.place_map.id:
            raise VprError('the map changed in the meantime; ask again')
        kept = localizer.continue_from(self.localizer, event.rows_before)
        self.localizer = localizer
        self._whereabouts.use_map(localizer.place_map.poses[:, :3], bound_mps=localizer.bound_mps)
        yield MapChanged(localizer.place_map)
        if kept < _LEAST_KEPT:
            yield from self._lose()
        new = int((event.rows_before < 0).sum())
        yield Replied(
            f'{counted(len(localizer.place_map), "place")} of {localizer.place_map.folder}, '
            f'{new} of them new'
        )

    def _set_back(self, by_s: float) -> Iterator[Answer]:
        self.counts.add('time_jumps')
        yield Noted(f'the clock jumped back by {by_s:.3f} s; the node forgets the drive so far')
        yield from self._forget()
        yield CorrectionLost(clock_was_set_back=True)  # odometry may have started anew, too

    def _forget(self) -> Iterator[Answer]:
        """Forget the drive; settings, calibrations and mountings stay."""
        self.localizer.reset()
        self._forget_odometry()
        self._whereabouts.forget()
        self._start = None
        self._last_stamp_ns.clear()
        self._located_ns = None
        yield from self._lose()

    def _lose(self) -> Iterator[Answer]:
        """Set the state to LOST without an image."""
        before = self._tracker.state
        self._tracker.reset()
        if before is not State.LOST:
            yield from self._changed(before, State.LOST)

    # Notes ---------------------------------------------------------------------------------------

    def _once(self, text: str, *, key: str = '', level: Level = 'warning') -> Iterator[Answer]:
        """A note that is given once in a session; key: what makes two texts the same."""
        key = key or text
        if key not in self._said:
            self._said.add(key)
            yield Noted(text, level)

    def _tell(self) -> None:
        """Update what diagnostics say about the session."""
        has_initial_pose = self._whereabouts.has_initial_pose
        away_m = self._whereabouts.gps.contradicts_by_m
        self.counts.say(
            **{
                'state': self._tracker.state.value,
                'initial pose': 'restricts the search' if has_initial_pose else '',
                'odometry': self._odometry.pace(self._came_ns),
                'gps': '' if away_m is None else f'not used, {away_m:.0f} m from the images',
            }
        )
