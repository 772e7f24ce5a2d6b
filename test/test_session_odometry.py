"""Odometry in a session: the way between images, and the transform from map to odom."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from session_world import (
    SECOND,
    answers_of,
    drive,
    driven_with_two_cameras,
    image_at,
    odometry_at,
    outcomes,
    session_on,
    street,
    texts,
    travelled,
    wheels,
)

from vpr_ros.core.geometry import IDENTITY, compose, yaw_quat
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses
from vpr_ros.session.answers import (
    Corrected,
    CorrectionLost,
)
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.events import (
    ClockSetBack,
    OdometryCame,
    ResetAsked,
    SettingsChanged,
)
from vpr_ros.session.session import Session
from vpr_ros.session.smooth import SmoothTransform
from vpr_ros.session.tracker import State


@pytest.fixture(scope='module')
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return street(tmp_path_factory.mktemp('session') / 'map')


def test_odometry_that_is_late_or_said_twice_is_left_out_and_forgets_nothing(
    place_map: PlaceMap,
) -> None:
    session = session_on(place_map, publish_tf=True)
    answers = []
    for second in range(10):
        answers += session.handle(odometry_at(2.0 * second, 100.0 + second))
        answers += session.handle(odometry_at(99.0, 99.9 + second))
        answers += session.handle(odometry_at(99.0, 100.0 + second))
        answers += session.handle(image_at(10 + second, 100.0 + second))
    corrected = [answer for answer in answers if isinstance(answer, Corrected)]
    assert corrected
    for answer in corrected:
        assert answer.map_T_odom[0] == pytest.approx(20, abs=1.5)


def test_the_way_between_images_is_from_the_newest_one_of_any_camera(
    place_map: PlaceMap,
) -> None:
    """The robot drives 2 m/s; images of the second camera come late, or at the same moment."""
    session, told = driven_with_two_cameras(place_map)
    answers_of(session, [wheels(tick / 5, 100 + tick / 10) for tick in range(40)])
    stamps = [(0, 101.0), (1, 100.8), (0, 102.0), (1, 102.0), (1, 102.5)]
    answers_of(session, [image_at(10, stamp_s, camera=camera) for camera, stamp_s in stamps])
    assert told == [None, 0.0, pytest.approx(2.0), 0.0, pytest.approx(1.0)]


def test_two_images_of_one_moment_lie_nowhere_apart_also_without_odometry(
    place_map: PlaceMap,
) -> None:
    session, told = driven_with_two_cameras(place_map)
    answers_of(session, [image_at(10, 100, camera=camera) for camera in (0, 1)])
    assert told == [None, 0.0]


def test_odometry_of_another_program_has_another_origin(place_map: PlaceMap) -> None:
    session = session_on(place_map, publish_tf=True)
    first, other = ('odom', 'base_link'), ('odom_combined', 'base_link')
    told = travelled(session)
    events = [wheels(0.0, 100, frames=first), image_at(10, 100), wheels(2.0, 101, frames=first)]
    assert CorrectionLost() not in answers_of(session, events)
    assert CorrectionLost() in session.handle(wheels(2.2, 101.1, frames=other))
    answers_of(session, [wheels(4.0, 102, frames=other), image_at(11, 102)])
    assert told == [None, None]


def test_a_correction_is_weighed_by_the_deviation_of_its_fix(place_map: PlaceMap) -> None:
    """In metres: the root of the variances of x, y and z together."""
    session = session_on(place_map, publish_tf=True)
    deviations_m, smooth = [], session._map_to_odom._map_T_odom

    class Noting(SmoothTransform):
        def step(self, map_T_base: Poses, odom_T_base: Poses, sigma_m: float) -> Poses:
            deviations_m.append(sigma_m)
            return smooth.step(map_T_base, odom_T_base, sigma_m)

    session._map_to_odom._map_T_odom = Noting()
    for row in range(10):
        answers = answers_of(session, [wheels(2.0 * row, 100 + row), image_at(row, 100 + row)])
    variances = np.diag(outcomes(answers)[-1].covariance)[:3]
    assert deviations_m[-1] ** 2 == pytest.approx(variances.sum())


def test_odometry_that_stands_still_while_the_images_go_on_is_not_used(
    place_map: PlaceMap,
) -> None:
    """The encoders are broken from the start; after a while somebody mends them."""
    session = session_on(place_map, belief=False)
    told, said = travelled(session), ''
    for seconds in range(40):
        at_m = 0.0 if seconds < 20 else 2.0 * (seconds - 20)
        events = [wheels(at_m, 100 + seconds), image_at(10 + seconds, 100 + seconds)]
        said += texts(answers_of(session, events))
        if seconds in (5, 15, 39):
            fact = session.counts.snapshot().facts['odometry']
            assert ('not used, it contradicts the images' in fact) == (seconds == 15)
    assert told[1] == 0.0 and told[15] is None and told[-1] == pytest.approx(2.0)
    assert said.count('odom: odometry moved 0.0 m while the robot moved') == 1
    assert said.count('odometry agrees with the images again') == 1


def test_the_way_of_a_robot_that_was_paused_is_not_known(place_map: PlaceMap) -> None:
    """It may have been carried, and its odometry may have started anew somewhere else."""
    session = session_on(place_map)
    told = travelled(session)
    answers_of(session, [wheels(0.0, 100), image_at(10, 100), wheels(2.0, 101)])
    session.pause()
    answers_of(session, [wheels(3.0, 101.5), wheels(4.0, 102), image_at(30, 102)])
    assert told == [None, None]


@pytest.mark.parametrize('how', ['lost', 'reset', 'paused', 'switched off and on'])
def test_fixes_that_wait_for_odometry_are_gone_with_what_they_were_part_of(
    place_map: PlaceMap, how: str
) -> None:
    def settings(publish_tf: bool) -> SessionConfig:
        return SessionConfig(publish_tf=publish_tf, odometry_wait=30.0, max_false_fix_rate=0.2)

    session = session_on(place_map, publish_tf=True, odometry_wait=30.0)
    answers_of(session, drive(range(10, 20)))
    assert session.state is State.LOCALIZED
    if how == 'lost':
        for row in range(20):
            session.handle(image_at((50, 5, 35)[row % 3], 110 + row))
            if session.state is State.LOST:
                break
        assert session.state is State.LOST
    elif how == 'reset':
        session.handle(ResetAsked())
    elif how == 'paused':
        session.pause()
    else:
        answers_of(session, [SettingsChanged(settings(False)), SettingsChanged(settings(True))])
    late = answers_of(session, [wheels(2.0 * row, 100 + row) for row in range(12)])
    assert not any(isinstance(answer, Corrected) for answer in late)


def test_odometry_whose_clock_is_set_back_starts_anew(place_map: PlaceMap) -> None:
    session = session_on(place_map, publish_tf=True)
    answers_of(session, [wheels(0.1 * tick, 100 + tick / 10) for tick in range(20)])
    back = session.handle(wheels(0.0, 50.0))
    assert back == [CorrectionLost()]
    answers_of(session, [wheels(0.1 * tick, 50.1 + tick / 10) for tick in range(20)])
    session.handle(image_at(10, 52))
    assert session.counts.snapshot().facts['odometry'].startswith('10 Hz')


def turned(y_m: float, stamp_s: float, *, late_s: float = 0.0) -> OdometryCame:
    """Odometry whose x axis looks along the map's -y, 2 m further every second."""
    pose = np.array([0.0, y_m, 0.0, *yaw_quat(np.pi / 2)])
    return OdometryCame(round(stamp_s * SECOND), pose, round((stamp_s + late_s) * SECOND))


def test_map_to_odom_brings_odometry_to_the_fix_and_old_odometry_is_not_used(
    place_map: PlaceMap,
) -> None:
    session = session_on(place_map, publish_tf=True)
    answers = []
    for second in range(10):
        answers += session.handle(turned(2.0 * second, 100 + second))
        answers += session.handle(image_at(10 + second, 100 + second))
    corrected = [answer for answer in answers if isinstance(answer, Corrected)]
    assert corrected[-1].stamp_ns == 109 * SECOND
    base = compose(corrected[-1].map_T_odom, np.array([0.0, 18.0, 0, *yaw_quat(np.pi / 2)]))
    assert base[0] == pytest.approx(38, abs=1.5) and abs(base[6]) == pytest.approx(1, abs=1e-3)
    later = answers_of(session, drive(range(20, 26), start_s=110))
    assert all(isinstance(outcome, Fix) for outcome in outcomes(later))
    assert not any(isinstance(answer, Corrected) for answer in later)
    assert texts(later).count('no odometry on the topic odom within 2 s') == 1
    counted = session.counts.snapshot()
    assert counted.uncorrected == counted.uncorrected_in_a_row == 3
    answers_of(session, [turned(32.0, 116.0), image_at(26, 116)])
    counted = session.counts.snapshot()
    assert counted.uncorrected >= 3 and counted.uncorrected_in_a_row == 0


@pytest.mark.parametrize('late_s', [0.0, 0.4, 1.0])
def test_late_odometry_does_not_bend_map_to_odom(place_map: PlaceMap, late_s: float) -> None:
    """A fix waits for the odometry of its image; the robot drives 2 m/s."""
    session = session_on(place_map, publish_tf=True)
    came = [
        (100 + tick / 20 + late_s, turned(tick / 10, 100 + tick / 20, late_s=late_s))
        for tick in range(400)
    ]
    came += [(100.0 + second, image_at(10 + second, 100 + second)) for second in range(20)]
    answers = answers_of(session, [event for _, event in sorted(came, key=lambda pair: pair[0])])
    corrected = [answer for answer in answers if isinstance(answer, Corrected)]
    assert len(corrected) >= 15
    for answer in corrected:
        seconds = answer.stamp_ns / SECOND - 100
        base = compose(answer.map_T_odom, np.array([0, 2 * seconds, 0, *yaw_quat(np.pi / 2)]))
        assert base[0] == pytest.approx(20 + 2 * seconds, abs=0.7)
    said = session.counts.snapshot().facts['odometry']
    assert said == f'20 Hz, {late_s:.2f} s late'


def test_odometry_that_is_set_back_to_zero_loses_no_robot_and_bends_no_transform(
    place_map: PlaceMap,
) -> None:
    """The robot drives 2 m/s; after 12 s the driver of its wheels starts again from zero."""
    session = session_on(place_map, publish_tf=True)
    jump_s, corrected, lost, notes = 12.0, [], 0, ''
    for tick in range(20 * 30):
        seconds = tick / 20
        x_m = 2 * seconds - (0 if seconds < jump_s else 2 * jump_s)
        events: list[Any] = [wheels(x_m, 100 + seconds)]
        if tick % 20 == 0:
            events.append(image_at(tick // 20, 100 + seconds))
        answers = answers_of(session, events)
        corrected += [(seconds, each) for each in answers if isinstance(each, Corrected)]
        lost += CorrectionLost() in answers
        notes += texts(answers)
        if seconds > 3:
            assert session.state is State.LOCALIZED
    assert lost == 1 and notes.count('odometry jumped by 23.9 m at 112.00 s') == 1
    for seconds, answer in corrected:
        origin_m = 0.0 if seconds < jump_s else 2 * jump_s
        assert answer.map_T_odom[0] == pytest.approx(origin_m, abs=1.0)
    assert corrected[-1][0] == 29.0


def test_a_correction_that_is_switched_on_again_takes_the_next_fix_as_it_is(
    place_map: PlaceMap,
) -> None:
    session = session_on(place_map, publish_tf=True)
    off, on = (
        SettingsChanged(SessionConfig(publish_tf=sends, max_false_fix_rate=0.2))
        for sends in (False, True)
    )
    answers: list[Any] = []
    for row in range(30):
        events: list[Any] = [off] if row == 8 else [on] if row == 20 else []
        slipped_m = 0.0 if row < 10 else 0.8 * (min(row, 20) - 10)  # while nothing is corrected
        events += [wheels(2.0 * row + slipped_m, 100 + row), image_at(row, 100 + row)]
        answers.append((row, answers_of(session, events)))
    later = [x for row, each in answers for x in each if row >= 20 and isinstance(x, Corrected)]
    assert len(later) == 10
    assert [answer.map_T_odom[0] for answer in later] == pytest.approx([-8.0] * 10, abs=0.7)


def test_odometry_that_stops_has_no_pace_any_more(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    answers_of(session, [wheels(tick / 10, 100 + tick / 20) for tick in range(40)])
    session.handle(image_at(1, 102))
    assert session.counts.snapshot().facts['odometry'] == '20 Hz, 0.00 s late'
    session.handle(image_at(2, 104))
    assert session.counts.snapshot().facts['odometry'] == ''


def test_odometry_of_another_part_of_the_robot_is_taken_to_its_base(place_map: PlaceMap) -> None:
    """Odometry of a tracking camera 3 m ahead of the base; map -> odom has to fit tf's chain."""
    mast = np.array([3.0, 0, 0, *yaw_quat(np.pi)])
    found: dict[str, np.ndarray] = {}
    config = SessionConfig(publish_tf=True, max_false_fix_rate=0.2)
    localizer = session_on(place_map).localizer
    session = Session(
        localizer,
        config,
        map_frame='map',
        odom_frame='odom',
        base_frame='base_link',
        mounting_of=found.get,
    )
    answers: list[Any] = []
    for row in range(12):
        if row == 6:
            found['mast'] = mast
        odom_T_base = np.array([2.0 * row - 40, 0, 0, 0, 0, 0, 1.0])
        told = OdometryCame(
            (100 + row) * SECOND, compose(odom_T_base, mast), frames=('vio', 'mast')
        )
        answers += answers_of(session, [told, image_at(row, 100 + row)])
    notes = texts(answers)
    assert notes.count('odometry is of mast, and tf has no transform from base_link to it') == 1
    assert notes.count('odometry is in frame vio, but map -> odom leads to odom; set') == 1
    corrected = [answer.map_T_odom for answer in answers if isinstance(answer, Corrected)]
    np.testing.assert_allclose(corrected[-1], [40, 0, 0, 0, 0, 0, 1], atol=1.0)


def test_odometry_that_comes_to_be_of_another_part_is_taken_to_its_base_from_there(
    place_map: PlaceMap,
) -> None:
    """First of a mast ahead of the base, then of what is behind it."""
    parts = {'mast': np.array([3.0, 0, 0, *yaw_quat(np.pi)]), 'rear': IDENTITY.copy()}
    parts['rear'][0] = -2.0
    session = Session(
        session_on(place_map).localizer,
        SessionConfig(publish_tf=True, max_false_fix_rate=0.2),
        map_frame='map',
        base_frame='base_link',
        mounting_of=parts.get,
    )
    answers: list[Any] = []
    for row in range(16):
        part = 'mast' if row < 8 else 'rear'
        odom_T_base = np.array([2.0 * row - 40, 0, 0, 0, 0, 0, 1.0])
        told = OdometryCame(
            (100 + row) * SECOND, compose(odom_T_base, parts[part]), frames=('odom', part)
        )
        answers += answers_of(session, [told, image_at(row, 100 + row)])
    corrected = [answer.map_T_odom for answer in answers if isinstance(answer, Corrected)]
    assert len(corrected) > 10
    for found in corrected:
        np.testing.assert_allclose(found, [40, 0, 0, 0, 0, 0, 1], atol=1.0)


def test_switching_tf_off_or_a_clock_set_back_makes_the_correction_unknown(
    place_map: PlaceMap,
) -> None:
    session = session_on(place_map, publish_tf=True)
    answers = session.handle(SettingsChanged(SessionConfig(publish_tf=False)))
    assert answers == [CorrectionLost()]
    assert session.handle(SettingsChanged(SessionConfig(publish_tf=False))) == []
    assert CorrectionLost(clock_was_set_back=True) in session.handle(ClockSetBack(by_s=3.0))


def test_a_pose_of_odometry_that_is_no_pose_is_refused(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    broken = replace(odometry_at(0, 100), odom_T_base=IDENTITY * np.nan)
    assert 'odom: ' in texts(session.handle(broken))
