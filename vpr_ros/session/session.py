"""What the node knows of the drive at hand, and what follows from each event.

A session is made when the node is configured and dropped at cleanup. One thread hands it events,
in the order of their coming, and nothing else touches it; so no event can fall into the middle of
a frame, and nothing that it knows can be lost to one. It knows no ROS: the same events give the
same answers in a test.
"""

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from vpr_ros.core.errors import VprError
from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Frame, Poses
from vpr_ros.session.answers import (
    Answer,
    CorrectionLost,
    Localized,
    MapChanged,
    Noted,
    Refused,
    Replied,
    StartGiven,
    StateChanged,
)
from vpr_ros.session.cameras import Cameras, MountingOf
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
from vpr_ros.session.map_to_odom import MapToOdom
from vpr_ros.session.notes import Notes
from vpr_ros.session.odometry_check import OdometryCheck
from vpr_ros.session.tracker import State, Tracker
from vpr_ros.session.whereabouts import Whereabouts

_OTHER_CLOCK_S = 60.0  # stamps further apart are of two clocks
_STANDS_STILL_S = 10.0  # without an image as new as the newest, after which its stamp is wrong
_LEAST_KEPT = 0.5  # share of the belief's weight that another map must have, or the state is LOST


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
        self._notes = Notes()
        self._cameras = Cameras(self._notes, self.counts, mounting_of)
        self._map_to_odom = MapToOdom(
            self._notes,
            self.counts,
            odom_frame=odom_frame,
            base_frame=base_frame,
            mounting_of=mounting_of,
        )
        self._odometry_check = OdometryCheck()
        self._whereabouts = Whereabouts(
            localizer.place_map.poses[:, :3],
            map_frame=map_frame,
            bound_mps=localizer.bound_mps,
        )
        self._tracker = Tracker()
        self._triggered = False
        self._start: tuple[int, Poses] | None = None  # given to other localizers, until lost
        self._last_stamp_ns: dict[int, int] = {}  # by camera
        self._located_ns: int | None = None  # stamp of the newest image localized
        self._newest_came_ns = 0  # when that came, by the node's clock
        self._came_ns = 0  # of the newest image, by the node's clock
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
        self._map_to_odom.forget()
        self._odometry_check.start_anew()
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
        ahead_s = self._stands_still_s(event)
        if max(behind_s, ahead_s) > 0:
            yield from self._set_back(max(behind_s, ahead_s))
        self._last_stamp_ns[event.camera] = event.stamp_ns
        self._came_ns = event.came_ns
        yield from self._compare_clocks(event)
        started_s = time.perf_counter()
        image = event.read(at_least_hw=self.localizer.needed_hw)
        decoded_s = time.perf_counter()
        yield from self._cameras.look_up_mounting(event, self.localizer)
        frame = Frame(image, event.stamp_ns, event.camera_frame, event.camera)
        yield from self._cameras.compare_size(frame, self.localizer, self._config)
        yield from self._cameras.miss_calibration(event, self.localizer)
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
        yield from self._notes.once(
            f'images are stamped {event.stamp_ns / 1e9:.0f} s, and the clock of this node says '
            f'{event.came_ns / 1e9:.0f} s; for a recording or a simulator, set use_sim_time '
            'and publish /clock; otherwise tf and GPS do not fit the images',
            key='clock',  # the numbers differ from image to image
        )

    def _behind_s(self, event: ImageCame) -> float:
        """How far an image is older than the last one of its camera."""
        last_ns = self._last_stamp_ns.get(event.camera, event.stamp_ns)
        return (last_ns - event.stamp_ns) / 1e9

    def _stands_still_s(self, event: ImageCame) -> float:
        """How far the newest stamp is ahead where no other camera has reached it for long, else 0.

        Time stands still for the others until they do: one camera's clock may be wrong.
        """
        if self._located_ns is None:
            return 0.0
        ahead_s = (self._located_ns - event.stamp_ns) / 1e9
        waited_s = (event.came_ns - self._newest_came_ns) / 1e9
        is_wrong = ahead_s > self._config.time_jump and waited_s > _STANDS_STILL_S
        return ahead_s if is_wrong else 0.0

    def _locate(self, frame: Frame, came_ns: int) -> Generator[Answer, None, Localization]:
        """Localize one image with all that is known; returns the Localization."""
        travelled_m = self._travelled_m(frame)
        prior, note = self._whereabouts.prior(frame.stamp_ns, came_ns, travelled_m, self._config)
        if note:
            yield Noted(note)
        located = self.localizer.step(frame, prior=prior, travelled_m=travelled_m)
        if self._located_ns is None or frame.stamp_ns > self._located_ns:
            self._located_ns, self._newest_came_ns = frame.stamp_ns, came_ns
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
        odom_T_base = self._map_to_odom.odometry.at(located.stamp_ns)
        if note := self._odometry_check.learn(outcome, odom_T_base):
            yield Noted(note)
        if state is State.LOCALIZED or not self._gives_on():
            self._triggered = False
        if state is State.LOCALIZED:
            yield from self._give_start(outcome, located.stamp_ns)
            if self._config.publish_tf:
                yield from self._map_to_odom.correct(outcome, located.stamp_ns, self._config)

    def _changed(self, before: State, state: State) -> Iterator[Answer]:
        """Tell of a new state; after being lost, initialpose and tf start anew."""
        yield StateChanged(before, state)
        if state is State.LOST:
            self._map_to_odom.forget_transform()
            self._odometry_check.lose()
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

    def _travelled_m(self, frame: Frame) -> float | None:
        """How far odometry says the robot moved since the last image."""
        if self._located_ns is None:
            return None
        if frame.stamp_ns <= self._located_ns:  # of another camera
            return 0.0
        if not self._odometry_check.agrees:
            return None
        return self._map_to_odom.odometry.distance_m(self._located_ns, frame.stamp_ns)

    # What else comes -----------------------------------------------------------------------------

    def _on_odometry(self, event: OdometryCame) -> Iterator[Answer]:
        bound_mps = self.localizer.bound_mps
        for answer in self._map_to_odom.take(event, self._config, bound_mps=bound_mps):
            if isinstance(answer, CorrectionLost):  # it has another origin now
                self._odometry_check.start_anew()
            yield answer

    def _on_gps(self, event: GpsCame) -> Iterator[Answer]:
        self._whereabouts.take_gps(event, self._config)
        yield from ()

    def _on_initial_pose(self, event: InitialPoseCame) -> Iterator[Answer]:
        if self._start is not None and (event.map_T_base == self._start[1]).all():
            return  # what this session gave to others
        self._whereabouts.take_initial_pose(event, self._config)
        yield Noted('initialpose: the search is restricted to it until the next fix', 'info')

    def _on_camera_info(self, event: CameraInfoCame) -> Iterator[Answer]:
        yield from self._cameras.take_calibration(event, self.localizer, self._config)

    def _on_settings(self, event: SettingsChanged) -> Iterator[Answer]:
        stops_tf = self._config.publish_tf and not event.config.publish_tf
        self._config = event.config
        self.localizer.use(event.config)
        if stops_tf:
            self._map_to_odom.forget_transform()  # odometry drifts until it is sent again
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
        self._map_to_odom.forget()
        self._odometry_check = OdometryCheck()
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

    def _said_of_odometry(self) -> str:
        pace = self._map_to_odom.odometry.pace(self._came_ns)
        agrees = self._odometry_check.agrees
        return pace if agrees or not pace else f'{pace}; not used, it contradicts the images'

    def _tell(self) -> None:
        """Update what diagnostics say about the session."""
        has_initial_pose = self._whereabouts.has_initial_pose
        away_m = self._whereabouts.gps.contradicts_by_m
        self.counts.say(
            **{
                'state': self._tracker.state.value,
                'initial pose': 'restricts the search' if has_initial_pose else '',
                'odometry': self._said_of_odometry(),
                'gps': '' if away_m is None else f'not used, {away_m:.0f} m from the images',
            }
        )
