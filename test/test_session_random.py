"""Thousands of random events: no exception, no contradiction, bounded memory."""

import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from session_world import (
    BROKEN,
    DARK,
    PLACES,
    SECOND,
    image_at,
    initial_pose,
    odometry_at,
    outcomes,
    session_on,
    street,
)

from vpr_ros.core.camera import CameraCalibration
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.same_places import rows_before
from vpr_ros.map_care.edit import keep_places
from vpr_ros.session.answers import Answer, Localized, Replied
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.events import (
    CameraInfoCame,
    ClockSetBack,
    GpsCame,
    LocalizeAsked,
    MapOpened,
    ResetAsked,
    SettingsChanged,
    TriggerAsked,
)
from vpr_ros.session.mailbox import Mailbox
from vpr_ros.session.odometry import _KEPT
from vpr_ros.session.tracker import JUMPS, State
from vpr_ros.session.worker import Worker

NUMBERS = st.floats(-300, 300) | st.sampled_from([float('nan'), float('inf')])
SETTINGS = st.builds(
    SessionConfig,
    belief=st.booleans(),
    continuous=st.booleans(),
    publish_tf=st.booleans(),
    publish_initialpose=st.booleans(),
    candidates=st.sampled_from([1, 5, 20]),
    max_false_fix_rate=st.sampled_from([0.0001, 0.01, 0.5]),
    initialpose_timeout=st.sampled_from([0.1, 5.0]),
    time_jump=st.sampled_from([0.01, 0.5, 5.0]),
)


@cache
def the_street() -> PlaceMap:
    return street(Path(tempfile.mkdtemp()) / 'map')


@cache
def the_maps() -> list[PlaceMap]:
    """The street, its second half, and three places of it."""
    folder = Path(tempfile.mkdtemp())
    for name, first in (('half', PLACES // 2), ('three', PLACES - 3)):
        assert keep_places(the_street(), np.arange(PLACES) >= first, folder / name)
    return [the_street(), PlaceMap.open(folder / 'half'), PlaceMap.open(folder / 'three')]


class AnyEvents(RuleBasedStateMachine):
    """Events in any order, with any numbers; `handle` must never raise."""

    @initialize(config=SETTINGS)
    def begin(self, config: SessionConfig) -> None:
        values = {name: getattr(config, name) for name in SessionConfig.__dataclass_fields__}
        self.session = session_on(the_street(), **values)
        self.now_s = 100.0
        self.away = 0
        self.fixes: list[Fix] = []

    def is_out_of_reach(self, fix: Fix) -> bool:
        """Of one of the fixes before it, which is the only reason to be LOST with a fix."""
        apart_m = [np.linalg.norm(fix.pose[:3] - one.pose[:3]) for one in self.fixes[-JUMPS:]]
        return max(apart_m, default=0.0) > 2 * self.session.localizer.config.agreement_radius

    @rule(
        place=st.integers(0, PLACES - 1) | st.sampled_from([DARK, BROKEN]),
        passed_s=st.sampled_from([-30.0, -0.6, -0.1, 0.0, 0.1, 1.0, 60.0]),
        noise=st.none() | st.just(7),
        camera=st.sampled_from([0, 0, 0, 1]),
    )
    def image(self, place: int, passed_s: float, noise: int | None, camera: int) -> None:
        self.now_s = max(self.now_s + passed_s, 1.0)
        event = image_at(place, self.now_s, noise=noise, camera=camera)
        for outcome in outcomes(self.session.handle(event)):
            is_away = isinstance(outcome, NoFix) and outcome.reason is Reason.ELSEWHERE
            self.away = self.away + 1 if is_away else 0
            if self.away >= 2:
                assert self.session.state is State.LOST
            if isinstance(outcome, Fix):
                assert np.isfinite(outcome.pose).all() and np.isfinite(outcome.covariance).all()
                assert self.session.state is not State.LOST or self.is_out_of_reach(outcome)
                self.fixes.append(outcome)

    @rule(steps=st.integers(1, 40))
    def a_stretch_of_the_street(self, steps: int) -> None:
        for step in range(steps):
            self.image((10 + step) % PLACES, 1.0, None, 0)

    @rule(x_m=NUMBERS, late_s=st.sampled_from([0.0, 0.05, 0.3, 20.0]))
    def odometry(self, x_m: float, late_s: float) -> None:
        self.session.handle(odometry_at(x_m, max(self.now_s - late_s, 0)))

    @rule(x_m=NUMBERS, sigma_m=NUMBERS)
    def gps(self, x_m: float, sigma_m: float) -> None:
        event = GpsCame(np.array([x_m, 0.0]), sigma_m, round(self.now_s * SECOND))
        self.session.handle(event)

    @rule(
        x_m=NUMBERS,
        z_m=NUMBERS,
        variance=NUMBERS,
        z_variance=st.just(0.0) | NUMBERS,
        frame_id=st.sampled_from(['map', '/map', 'odom', '']),
    )
    def initial_pose(
        self, x_m: float, z_m: float, variance: float, z_variance: float, frame_id: str
    ) -> None:
        self.session.handle(
            initial_pose(x_m, 0, z_m, frame_id=frame_id, variance=variance, z_variance=z_variance)
        )

    @rule()
    def reset(self) -> None:
        answers = self.session.handle(ResetAsked())
        assert isinstance(answers[-1], Replied) and self.session.state is State.LOST
        self.away = 0

    @rule(by_s=st.floats(0, 10))
    def clock(self, by_s: float) -> None:
        self.session.handle(ClockSetBack(by_s))
        self.away = 0

    @rule()
    def trigger(self) -> None:
        self.session.handle(TriggerAsked())

    @rule(config=SETTINGS)
    def change(self, config: SessionConfig) -> None:
        self.session.handle(SettingsChanged(config))
        self.away = 0

    @rule(place=st.integers(0, PLACES - 1) | st.just(BROKEN))
    def ask(self, place: int) -> None:
        before = self.session.state
        self.session.handle(LocalizeAsked(0, image_at(place, 0).read))
        assert self.session.state is before

    @rule(number=st.integers(0, 2))
    def another_map(self, number: int) -> None:
        before = self.session.localizer
        place_map = the_maps()[number]
        rows = rows_before(place_map, before.place_map)
        event = MapOpened(before.with_map(place_map), before.place_map.id, rows)
        assert isinstance(self.session.handle(event)[-1], Replied)
        assert self.session.localizer.place_map is place_map
        self.away = 0

    @rule(seen_deg=st.none() | st.floats(1, 170), camera=st.sampled_from([0, 1]))
    def camera_info(self, seen_deg: float | None, camera: int) -> None:
        self.session.handle(CameraInfoCame('/cam', CameraCalibration(None, seen_deg), camera))

    @invariant()
    def nothing_grows_without_bound_and_weights_are_weights(self) -> None:
        if not hasattr(self, 'session'):
            return
        counted = self.session.counts.snapshot()
        assert counted.facts['state'] == self.session.state.value
        assert len(self.session._map_to_odom.odometry._poses) < 2 * _KEPT
        assert len(self.session._notes) < 200
        judge = self.session.localizer._drive
        if judge is not None:
            belief = judge._belief
            assert np.isfinite(belief.cells).all() and np.isfinite(belief.elsewhere)
            assert belief.cells.sum() + belief.elsewhere == pytest.approx(1, abs=1e-3)


AnyEvents.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, derandomize=True
)
test_any_events_in_any_order = AnyEvents.TestCase


class Recorder:
    """What a worker publishes and reports."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.errors: list[Exception] = []

    def publish(self, answers: list[Answer]) -> None:
        self.answers += answers


@pytest.fixture
def quick_switching() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_callbacks_of_many_threads_and_diagnostics_meet_the_worker(
    quick_switching: None,
) -> None:
    """Thousands of events of four threads, snapshots of a fifth, resets of a sixth."""
    session, mailbox, record = session_on(the_street()), Mailbox(), Recorder()
    worker = Worker(session, mailbox, publish=record.publish, report=record.errors.append)
    ends_s, failures = time.monotonic() + 4, []

    def until_the_end(act) -> threading.Thread:
        def run() -> None:
            random = np.random.default_rng(threading.get_ident() % 2**32)
            try:
                while time.monotonic() < ends_s:
                    act(random)
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    put = [0]

    def image(random: np.random.Generator) -> None:
        put[0] += 1
        mailbox.put(image_at(int(random.integers(0, PLACES)), 100 + put[0] / 50))
        time.sleep(0.001)

    def odometry(random: np.random.Generator) -> None:
        mailbox.put(odometry_at(float(random.normal()), 100 + put[0] / 50))
        time.sleep(0.0005)

    def operator(random: np.random.Generator) -> None:
        mailbox.put(initial_pose(float(random.uniform(-50, 200))))
        mailbox.put(SettingsChanged(SessionConfig(belief=bool(random.integers(2)))))
        time.sleep(0.005)

    def reset(random: np.random.Generator) -> None:
        before = put[0]
        answers = mailbox.put(ResetAsked()).result(30)
        assert isinstance(answers[-1], Replied)
        seen = len(record.answers)
        time.sleep(0.02)
        for answer in record.answers[seen:]:
            if isinstance(answer, Localized):
                assert answer.located.stamp_ns > round((100 + (before - 1) / 50) * SECOND)

    acts = (image, odometry, operator, lambda random: session.counts.snapshot(), reset)
    threads = [until_the_end(act) for act in acts]
    for thread in threads:
        thread.join()
    worker.stop()
    assert not failures and not record.errors
    assert sum(isinstance(answer, Localized) for answer in record.answers) > 20
    assert len(mailbox._events) == 0 and len(mailbox._images) == 0
