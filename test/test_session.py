"""A session is driven by a list of events, and its answers are compared; no ROS is needed."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from session_world import (
    BROKEN,
    DARK,
    PLACES,
    SECOND,
    SPACING_M,
    answers_of,
    drive,
    image_at,
    initial_pose,
    odometry_at,
    outcomes,
    session_on,
    states,
    street,
    texts,
    travelled,
    wheels,
)

from vpr_ros.core.geometry import IDENTITY
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.query import Prior
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.session.answers import (
    Corrected,
    CorrectionLost,
    Localized,
    Refused,
    Replied,
    StartGiven,
)
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.counts import Counts
from vpr_ros.session.events import (
    ClockSetBack,
    GpsCame,
    LocalizeAsked,
    ResetAsked,
    SettingsChanged,
    TriggerAsked,
)
from vpr_ros.session.tracker import JUMPS, REPETITIONS, State
from vpr_ros.session.whereabouts import Gps, InitialPose, Whereabouts


@pytest.fixture(scope='module')
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return street(tmp_path_factory.mktemp('session') / 'map')


def test_the_same_events_give_the_same_answers(place_map: PlaceMap) -> None:
    events = [*drive(range(10, 20)), initial_pose(60), *drive(range(30, 34), start_s=110)]

    def run() -> list:
        answers = answers_of(session_on(place_map), events)
        return [(type(outcome), outcome.probability) for outcome in outcomes(answers)]

    assert run() == run() and len(run()) == 14


def test_a_drive_becomes_localized_and_a_reset_loses_it(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    answers = answers_of(session, drive(range(10, 20)))
    assert states(answers)[-1] == 'LOCALIZED'
    found = outcomes(answers)[-1]
    assert isinstance(found, Fix) and found.pose[0] == pytest.approx(19 * SPACING_M, abs=1.5)
    after = session.handle(ResetAsked())
    assert states(after) == ['LOST'] and isinstance(after[-1], Replied)
    assert session.state is State.LOST


# The clock ---------------------------------------------------------------------------------------


def test_a_late_image_is_dropped_and_counted_and_forgets_nothing(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    answers_of(session, drive(range(10, 20)))
    late = replace(image_at(19, 109), stamp_ns=109 * SECOND - 1000)
    assert session.handle(late) == []
    assert session.state is State.LOCALIZED and session.counts.snapshot().late == 1
    assert isinstance(outcomes(session.handle(image_at(20, 110)))[0], Fix)


def test_a_clock_that_is_set_back_forgets_the_drive(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    answers_of(session, drive(range(10, 20)))
    answers = session.handle(image_at(10, 105))
    assert 'the clock jumped back by 4.000 s' in texts(answers) and states(answers)[0] == 'LOST'
    assert len(outcomes(answers)) == 1  # the image itself is localized
    assert session.counts.snapshot().time_jumps == 1
    answers_of(session, drive(range(10, 20), start_s=106))
    answers = session.handle(ClockSetBack(by_s=0.2))
    assert states(answers) == ['LOST'] and session.counts.snapshot().time_jumps == 2


@pytest.mark.parametrize('came_s', [1.8e9, 0.0], ids=['wall time', 'no clock yet'])
def test_images_of_another_clock_are_told_once_and_localized_all_the_same(
    place_map: PlaceMap, came_s: float
) -> None:
    session = session_on(place_map)
    events = [replace(event, came_ns=round(came_s * SECOND)) for event in drive(range(10, 20))]
    answers = answers_of(session, events)
    assert texts(answers).count('set use_sim_time and publish /clock') == 1
    assert isinstance(outcomes(answers)[-1], Fix)
    assert 'use_sim_time' not in texts(answers_of(session_on(place_map), drive(range(10, 20))))


def test_how_far_back_a_jump_is_can_be_set(place_map: PlaceMap) -> None:
    session = session_on(place_map, time_jump=10.0)
    answers_of(session, drive(range(10, 20)))
    assert session.handle(image_at(10, 105)) == [] and session.state is State.LOCALIZED


# The operator ------------------------------------------------------------------------------------


def test_an_initial_pose_counts_in_the_plane_where_its_height_is_not_known(
    tmp_path: Path,
) -> None:
    """RViz says z = 0 with a variance of 0, also on a hill."""
    session = session_on(street(tmp_path / 'map', z_m=30.0), belief=False, min_similarity=-1.0)
    answers = answers_of(session, [initial_pose(20.0), image_at(10, 100)])
    assert not any(isinstance(answer, Refused) for answer in answers)
    assert isinstance(outcomes(answers)[0], Fix)


def test_an_initial_pose_on_another_floor_is_refused(tmp_path: Path) -> None:
    session = session_on(street(tmp_path / 'map', z_m=30.0))
    answers = session.handle(initial_pose(20.0, z_m=3.0, z_variance=0.5))
    assert 'and 7.1 m in z; the pose is ignored' in texts(answers)
    fits = session.handle(initial_pose(20.0, z_m=28.0, z_variance=0.5))
    assert not any(isinstance(answer, Refused) for answer in fits)


@pytest.mark.parametrize('across', [0, 1], ids=['x', 'y'])
def test_an_initial_pose_reaches_as_far_as_its_less_sure_direction(
    place_map: PlaceMap, across: int
) -> None:
    """It is 25 m off the street, and 10 m is one standard deviation of x or of y."""
    event = initial_pose(20.0, 25.0, variance=0.01)
    covariance = event.covariance.copy()
    covariance[across, across] = 100.0
    answers = session_on(place_map).handle(replace(event, covariance=covariance))
    assert not any(isinstance(answer, Refused) for answer in answers)


@pytest.mark.parametrize(
    ('event', 'said'),
    [
        (initial_pose(3.0, frame_id='odom'), "in frame 'odom', expected 'map'"),
        (initial_pose(3.0, frame_id=''), "in frame '', expected 'map'"),
        (initial_pose(3.0, variance=float('nan')), 'variances of x, y, z are [nan, nan, 0.0]'),
        (initial_pose(3.0, variance=float('inf')), 'variances of x, y, z are [inf, inf, 0.0]'),
        (initial_pose(3.0, variance=-1.0), 'expected finite numbers of at least 0'),
        (initial_pose(float('nan')), 'initialpose: contains NaN'),
        (initial_pose(20.0, 80.0), '80.0 m from the nearest place of the map, expected at most'),
        (
            initial_pose(20.0, 80.0, variance=0.01, z_variance=1e4),
            '80.0 m from the nearest place of the map, expected at most 5.3 m, and 305.0 m in z',
        ),
    ],
    ids=[
        'other frame',
        'no frame',
        'NaN variance',
        'infinite variance',
        'negative variance',
        'NaN',
        'off the map',
        'height not known',
    ],
)
def test_an_initial_pose_that_cannot_be_used_is_refused_with_the_reason(
    place_map: PlaceMap, event: object, said: str
) -> None:
    session = session_on(place_map)
    answers = session.handle(event)
    assert said in texts(answers) and isinstance(answers[-1], Refused)
    assert said in session.counts.snapshot().last_error
    found = outcomes(answers_of(session, drive(range(10, 20))))
    assert isinstance(found[-1], Fix)


def test_a_leading_slash_makes_no_other_frame(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    answers = session.handle(initial_pose(3.0, frame_id='/map'))
    assert not any(isinstance(answer, Refused) for answer in answers)


def test_an_initial_pose_restricts_the_search_until_the_next_fix(place_map: PlaceMap) -> None:
    session = session_on(place_map, belief=False, min_similarity=-1.0, agreement_radius=3.0)
    inside, after = outcomes(
        answers_of(session, [initial_pose(80.0), image_at(10, 100), image_at(10, 101)])
    )
    assert abs(inside.pose[0] - 80) < 5 and after.pose[0] == pytest.approx(20, abs=1)


def test_an_initial_pose_expires_and_says_so(place_map: PlaceMap) -> None:
    session = session_on(place_map, belief=False, min_similarity=0.9, initialpose_timeout=2.0)
    events = [initial_pose(80.0), *(image_at(10, 100 + half / 2) for half in range(8))]
    answers = answers_of(session, events)
    found = outcomes(answers)
    assert isinstance(found[0], NoFix) and isinstance(found[-1], Fix)
    assert 'no fix within 2 s; the whole map is searched again' in texts(answers)
    assert session.counts.snapshot().facts['initial pose'] == ''


def test_an_initial_pose_that_has_expired_is_told_once() -> None:
    known = Whereabouts(np.zeros((1, 3)), map_frame='map', bound_mps=1.0)
    config = SessionConfig(initialpose_timeout=2.0)
    known.take_initial_pose(initial_pose(0.0), config)
    found = [known.prior(second * SECOND, 0, 0.0, config) for second in range(6)]
    assert [prior is not None for prior, _ in found] == [True] * 3 + [False] * 3
    assert [bool(note) for _, note in found] == [False] * 3 + [True, False, False]
    assert not known.has_initial_pose


def test_an_initial_pose_grows_as_the_robot_moves(place_map: PlaceMap) -> None:
    """By odometry; without it by the bound on the speed."""
    session = session_on(place_map, belief=False, min_similarity=0.9, max_speed=10.0)
    near = initial_pose(20.0, variance=0.01)
    with_odometry = [near, odometry_at(0, 100), image_at(40, 100)]
    with_odometry += [odometry_at(0, 101), image_at(40, 101)]
    assert all(isinstance(found, NoFix) for found in outcomes(answers_of(session, with_odometry)))
    with_odometry = [odometry_at(60, 101.9), odometry_at(60, 102), image_at(40, 102)]
    assert isinstance(outcomes(answers_of(session, with_odometry))[-1], Fix)
    session = session_on(place_map, belief=False, min_similarity=0.9, max_speed=10.0)
    blind = [near, *(image_at(40, 100 + second) for second in range(8))]
    found = outcomes(answers_of(session, blind))
    assert isinstance(found[1], NoFix) and isinstance(found[-1], Fix)


def test_an_initial_pose_grows_by_what_the_robot_drove_between_images() -> None:
    """At 2 m/s; an image of another camera that is older adds nothing."""
    told = InitialPose(Prior(np.zeros(3), 5.0))
    stamps_s = (100.0, 101.0, 102.0, 101.5, 103.0)
    priors = [
        told.prior(round(stamp_s * SECOND), None, timeout_s=3.0, bound_mps=2.0)
        for stamp_s in stamps_s
    ]
    assert [prior.radius_m for prior in priors if prior] == pytest.approx([5, 7, 9, 9, 11])
    assert told.prior(104 * SECOND, None, timeout_s=3.0, bound_mps=2.0) is None


def test_what_the_session_gave_to_other_localizers_is_not_taken_back(
    place_map: PlaceMap,
) -> None:
    session = session_on(place_map, publish_initialpose=True)
    answers = answers_of(session, drive(range(10, 20)))
    given = [answer for answer in answers if isinstance(answer, StartGiven)]
    assert len(given) == 1
    echo = replace(initial_pose(0.0), map_T_base=given[0].fix.pose)
    assert session.handle(echo) == []
    other = echo.map_T_base + np.array([0, 1.0, 0, 0, 0, 0, 0])  # of the same height and turn
    assert 'the search is restricted' in texts(session.handle(replace(echo, map_T_base=other)))


def test_with_continuous_off_images_wait_for_a_trigger_and_end_with_a_fix(
    place_map: PlaceMap,
) -> None:
    session = session_on(place_map, continuous=False, belief=False)
    assert answers_of(session, drive([10, 10])) == []
    assert isinstance(session.handle(TriggerAsked())[0], Replied)
    assert len(outcomes(answers_of(session, drive([10, 10], start_s=105)))) == 1


@pytest.mark.parametrize('gives', ['publish_tf', 'publish_initialpose'])
def test_what_others_get_when_localized_is_worth_a_trigger_until_then(
    place_map: PlaceMap, gives: str
) -> None:
    """It ended with the first fix, which alone is TENTATIVE, so that others never got anything."""
    session = session_on(place_map, continuous=False, **{gives: True})
    assert 'until the state is LOCALIZED' in session.handle(TriggerAsked())[0].text
    answers: list[Any] = []
    for row in range(12):
        answers += answers_of(session, [wheels(2.0 * row, 100 + row), image_at(row, 100 + row)])
    given = [answer for answer in answers if isinstance(answer, (Corrected, StartGiven))]
    assert len(given) == 1 and states(answers)[-1] == 'LOCALIZED'
    assert len(outcomes(answers)) < 12


# GPS ---------------------------------------------------------------------------------------------


def gps(x_m: float, came_s: float, *, sigma_m: float = 2.0) -> GpsCame:
    return GpsCame(np.array([x_m, 0.0]), sigma_m, round(came_s * SECOND))


def test_gps_restricts_the_search_as_long_as_it_comes(place_map: PlaceMap) -> None:
    session = session_on(place_map, belief=False, min_similarity=-1.0, agreement_radius=3.0)
    near, after = outcomes(
        answers_of(session, [gps(80, 100), image_at(10, 100), image_at(10, 103)])
    )
    assert abs(near.pose[0] - 80) < 10 and after.pose[0] == pytest.approx(20, abs=1)


def test_gps_that_comes_while_an_image_waits_restricts_its_search(place_map: PlaceMap) -> None:
    session = session_on(place_map, belief=False, min_similarity=-1.0, agreement_radius=3.0)
    (found,) = outcomes(answers_of(session, [gps(78, 99.9), gps(80, 100.3), image_at(10, 100)]))
    assert abs(found.pose[0] - 80) < 10


def test_only_seconds_in_a_row_without_a_fix_take_gps_away() -> None:
    fix, none = Fix(IDENTITY, np.eye(6), 0.99, 0), NoFix(Reason.NOT_SURE, 0.5)
    used = Gps()
    for second, outcome in enumerate([none, fix, none, none, none, none, none, none, none]):
        used.take(gps(0.0, second), radius_m=10.0)
        assert used.prior(second * SECOND) is not None
        used.learn(outcome, second * SECOND, second * SECOND)
    assert used.prior(8 * SECOND) is None  # 6 s after the first without one


def test_gps_that_was_away_has_all_its_seconds_again() -> None:
    none, used = NoFix(Reason.NOT_SURE, 0.5), Gps()
    for second in (0, 1, 20, 21):  # seconds of images; GPS does not come from 4 to 18
        if second < 4 or second > 18:
            used.take(gps(0.0, second), radius_m=10.0)
        used.learn(none, second * SECOND, second * SECOND)
        if second == 1:
            used.learn(none, 10 * SECOND, 10 * SECOND)
    assert used.prior(21 * SECOND) is not None


def test_gps_that_was_left_out_is_asked_again_where_the_images_tell_nothing() -> None:
    """And while it is, nobody says that it is not used."""
    pose = np.array([20.0, 0, 0, *IDENTITY[3:]])
    fix, none, used = Fix(pose, np.eye(6), 0.99, 0), NoFix(Reason.NOT_SURE, 0.5), Gps()
    for second, outcome in enumerate([fix, *[none] * 6]):
        used.take(gps(120.0, second), radius_m=10.0)
        said = used.learn(outcome, second * SECOND, second * SECOND)
        if second == 0:
            assert '100 m from the position by the images' in said
            assert used.contradicts_by_m == pytest.approx(100)
        assert (used.prior(second * SECOND) is not None) == (second == 6)
    assert used.contradicts_by_m is None


def test_gps_counts_again_as_soon_as_the_images_agree_with_it() -> None:
    fix, used = Fix(IDENTITY, np.eye(6), 0.99, 0), Gps()
    for second, x_m in enumerate([0.0, 100.0, 100.0, 8.0]):
        used.take(gps(x_m, second), radius_m=10.0)
        used.learn(fix, second * SECOND, second * SECOND)
        assert (used.prior(second * SECOND) is not None) == (x_m < 10)
        assert used.contradicts_by_m == (None if x_m < 10 else 100)


def test_gps_is_timed_by_the_nodes_clock_whatever_stamps_images_have(
    place_map: PlaceMap,
) -> None:
    """The camera counts from its start; GPS and the node know what day it is."""
    session = session_on(place_map, belief=False, min_similarity=0.9, agreement_radius=3.0)
    day_s, found = 1.7e9, []
    for second in range(12):
        image = replace(image_at(10, 100 + second), came_ns=round((day_s + second) * SECOND))
        found += outcomes(answers_of(session, [gps(80, day_s + second), image]))
    assert all(isinstance(outcome, NoFix) for outcome in found[:7])
    assert isinstance(found[7], Fix)  # GPS had led to none for more than 5 s
    assert 'not used' in session.counts.snapshot().facts['gps']


def test_a_robot_that_gps_has_beside_the_map_may_be_off_it() -> None:
    """An operator's initial pose is on the map; GPS is as good off it."""
    told = Gps()
    told.take(gps(0.0, 1.0), radius_m=10.0)
    prior = told.prior(SECOND)
    assert prior is not None and not prior.on_map


@pytest.mark.parametrize('belief', [True, False])
@pytest.mark.parametrize('away_m', [60.0, 5000.0], ids=['on the map', 'off the map'])
def test_a_gps_that_contradicts_the_images_never_silences_the_node_for_good(
    place_map: PlaceMap, belief: bool, away_m: float
) -> None:
    session = session_on(place_map, belief=belief, min_similarity=0.8)
    events = []
    for second in range(40):
        events += [gps(away_m + 2 * second, 100 + second), image_at(5 + second, 100 + second)]
    answers = answers_of(session, events)
    found = outcomes(answers)
    silent = [outcome.reason for outcome in found[:4] if isinstance(outcome, NoFix)]
    assert len(silent) == 4
    if away_m > 1000:
        assert set(silent) == {Reason.OUTSIDE_GPS}
    assert all(isinstance(outcome, Fix) for outcome in found[-20:])
    assert texts(answers).count('gps/fix: ') == 1
    assert 'it is not used until both agree' in texts(answers)
    assert 'not used' in session.counts.snapshot().facts['gps']
    agreed = [gps(90, 140), image_at(45, 140), gps(92, 141), image_at(46, 141)]
    answers_of(session, agreed)
    assert session.counts.snapshot().facts['gps'] == ''


def test_gps_of_nan_is_refused(place_map: PlaceMap) -> None:
    assert 'gps/fix: the position has NaN' in texts(
        session_on(place_map).handle(gps(float('nan'), 1))
    )


# Standing, darkness, broken images ---------------------------------------------------------------


def test_a_robot_that_stands_before_a_noiseless_camera_keeps_what_it_knew(
    place_map: PlaceMap,
) -> None:
    """As in a simulator: the images are equal to the bit, and odometry is at rest."""
    session = session_on(place_map)
    answers_of(session, drive(range(10, 20)))
    for tenth in range(600):
        session.handle(odometry_at(38.0, 110 + tenth / 10))
        if tenth == 0:
            session.handle(odometry_at(38.0, 110.05))
        answers = session.handle(image_at(19, 110 + tenth / 10, noise=7))
        assert isinstance(outcomes(answers)[0], Fix) or tenth < 2, tenth
        assert session.state is State.LOCALIZED
    assert isinstance(outcomes(session.handle(image_at(20, 170.5)))[0], Fix)


def test_without_odometry_a_camera_that_repeats_itself_gives_no_fix_and_takes_nothing_away(
    place_map: PlaceMap,
) -> None:
    """The robot may stand, or the camera may have stopped: nothing tells which."""
    session = session_on(place_map)
    answers_of(session, drive(range(10, 20)))
    session.handle(image_at(19, 110, noise=7))
    for tenth in range(1, 600):
        outcome = outcomes(session.handle(image_at(19, 110 + tenth / 10, noise=7)))[0]
        assert isinstance(outcome, NoFix) and outcome.reason is Reason.REPEATED
        assert session.state is (State.LOCALIZED if tenth < REPETITIONS else State.TENTATIVE)
    assert isinstance(outcomes(session.handle(image_at(20, 170.5)))[0], Fix)


def test_a_camera_that_repeats_itself_while_the_robot_drives_on_proves_nothing(
    place_map: PlaceMap,
) -> None:
    """Odometry tells that the robot has moved, so the old place is not claimed for ever."""
    session = session_on(place_map)
    for second in range(10):
        session.handle(odometry_at(2.0 * second, 100 + second))
        session.handle(image_at(10 + second, 100 + second))
    assert session.state is State.LOCALIZED
    for second in range(10, 30):
        session.handle(odometry_at(2.0 * second, 100 + second))
        last = outcomes(session.handle(image_at(19, 100 + second, noise=7)))[0]
    assert not isinstance(last, Fix) or last.pose[0] > 60


def test_state_and_reason_never_contradict_each_other(place_map: PlaceMap) -> None:
    """'Probably not on the map' again and again ends LOCALIZED; so do fixes out of reach."""
    session = session_on(place_map)
    answers_of(session, drive(range(10, 20)))
    random, away, fixes_m = np.random.default_rng(4), 0, [19.0]
    for second in range(60):
        event = image_at(int(random.integers(0, PLACES)), 110 + second)
        outcome = outcomes(session.handle(event))[0]
        is_away = isinstance(outcome, NoFix) and outcome.reason is Reason.ELSEWHERE
        away = away + 1 if is_away else 0
        assert not (away >= 2 and session.state is not State.LOST)
        if isinstance(outcome, Fix):
            radius_m = session.localizer.config.agreement_radius
            is_far = np.ptp([*fixes_m[-JUMPS:], outcome.pose[0]]) > 2 * radius_m
            assert session.state is not State.LOST or is_far
            fixes_m.append(outcome.pose[0])


def test_dark_and_broken_images_are_told_and_the_drive_goes_on(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    answers_of(session, drive(range(10, 20)))
    dark = outcomes(session.handle(image_at(DARK, 110)))[0]
    assert isinstance(dark, NoFix) and dark.reason is Reason.NOTHING_SEEN
    assert texts(session.handle(image_at(BROKEN, 110.5))) == 'image: broken'
    counted = session.counts.snapshot()
    assert counted.unusable == 1 and counted.unusable_in_a_row == 1
    session.handle(image_at(BROKEN, 110.6))
    assert session.counts.snapshot().unusable_in_a_row == 2
    assert isinstance(outcomes(answers_of(session, drive([20, 21], start_s=111)))[-1], Fix)
    counted = session.counts.snapshot()
    assert (counted.unusable, counted.unusable_in_a_row) == (2, 0)
    for second in range(5):
        session.handle(image_at(BROKEN, 114 + second, camera=1))
    counted = session.counts.snapshot()
    assert (counted.unusable, counted.unusable_in_a_row) == (7, 0)  # one camera of two works


# Requests, settings, a robot that is carried --------------------------------------------------


def test_an_image_asked_about_leaves_the_drive_as_it_was(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    answers_of(session, drive(range(10, 20)))
    (reply,) = session.handle(LocalizeAsked(0, image_at(50, 0).read))
    assert isinstance(reply, Replied) and reply.located is not None
    assert reply.located.candidates.place_index[0] == 50
    assert isinstance(outcomes(session.handle(image_at(20, 110)))[0], Fix)
    assert isinstance(session.handle(LocalizeAsked(0, image_at(BROKEN, 0).read))[-1], Refused)


@pytest.mark.parametrize(
    ('by_cells', 'use_landmarks', 'needed_hw'),
    [(False, True, None), (False, False, (16, 16)), (True, True, (16, 16))],
)
def test_images_are_decoded_in_full_only_where_features_are_looked_for_in_them(
    place_map: PlaceMap, by_cells: bool, use_landmarks: bool, needed_hw: tuple[int, int] | None
) -> None:
    session = session_on(place_map, belief=False, use_landmarks=use_landmarks)
    verifier = SimpleNamespace(by_cells=by_cells)
    session.localizer._verifier = verifier  # type: ignore[assignment]
    assert session.localizer.needed_hw == needed_hw


def test_settings_count_from_the_next_image_on(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    answers_of(session, drive(range(10, 20)))
    session.handle(SettingsChanged(SessionConfig(max_false_fix_rate=0.0001, candidates=7)))
    (localized, *_) = session.handle(image_at(20, 110))
    assert isinstance(localized, Localized) and len(localized.located.candidates) == 7
    alone = SettingsChanged(SessionConfig(belief=False))
    again = SettingsChanged(SessionConfig(max_false_fix_rate=0.0001))
    found = outcomes(answers_of(session, [alone, image_at(21, 111), again, image_at(22, 112)]))
    assert isinstance(found[0], Fix)
    assert isinstance(found[1], NoFix)  # a belief that is switched on begins anew


def test_candidates_have_probabilities_that_fall_and_sum_to_at_most_one(
    place_map: PlaceMap,
) -> None:
    for belief in (True, False):
        session = session_on(place_map, belief=belief)
        for answer in answers_of(session, drive(range(10, 20))):
            if isinstance(answer, Localized):
                weight = answer.located.candidates.weight
                assert weight is not None and np.isfinite(weight).all()
                assert (np.diff(weight) <= 0).all() and weight.sum() < 1 + 1e-5


def test_after_a_reset_nothing_of_the_drive_is_left(place_map: PlaceMap) -> None:
    session = session_on(place_map)
    told = travelled(session)
    moved = [wheels(2.0 * row, 100 + row) for row in range(10)]
    answers_of(session, [*moved, *drive(range(10, 20)), initial_pose(80.0), gps(80.0, 110)])
    session.handle(ResetAsked())
    facts = session.counts.snapshot().facts
    assert (facts['initial pose'], facts['odometry']) == ('', '')
    first = image_at(40, 108.9)  # older than the last one
    found, alone = (outcomes(one.handle(first))[0] for one in (session, session_on(place_map)))
    assert found.probability == pytest.approx(alone.probability) and told[-1] is None
    assert session.counts.snapshot().late == 0 and session.counts.snapshot().time_jumps == 0


def test_latencies_of_the_session_are_those_before_and_in_its_decoder(
    place_map: PlaceMap,
) -> None:
    """The image came five seconds before its turn."""
    session = session_on(place_map, belief=False)
    session.handle(replace(image_at(10, 100), came_s=time.perf_counter() - 5.0))
    latency_ms = session.counts.snapshot().latency_ms
    assert 5000 <= latency_ms['wait'][0] < 9000 and latency_ms['decode'][0] < 1000


@pytest.mark.parametrize('when_lost', ['keep', 'stop'])
def test_a_robot_that_was_carried_gives_others_its_new_place_at_once(
    place_map: PlaceMap, when_lost: str
) -> None:
    """From 12 m to 80 m of the street; its wheels know nothing of it."""
    session = session_on(
        place_map, publish_tf=True, publish_initialpose=True, tf_when_lost=when_lost
    )
    answers: list[Any] = []
    for row in range(20):
        place = row if row < 7 else row + 33
        answers += answers_of(session, [wheels(2.0 * row, 100 + row), image_at(place, 100 + row)])
    assert states(answers).count('LOST') == 1 and states(answers)[-1] == 'LOCALIZED'
    lost = [getattr(answer, 'state', None) for answer in answers].index(State.LOST)
    corrected = [
        [answer.map_T_odom[0] for answer in part if isinstance(answer, Corrected)]
        for part in (answers[:lost], answers[lost:])
    ]
    assert corrected[0] == pytest.approx([0.0] * len(corrected[0]), abs=1.0)
    assert len(corrected[1]) > 2
    assert corrected[1] == pytest.approx([66.0] * len(corrected[1]), abs=1.0)
    given = [answer.fix.pose[0] for answer in answers if isinstance(answer, StartGiven)]
    assert len(given) == 2 and given[0] < 14 and given[1] > 78
    assert answers.count(CorrectionLost()) == (when_lost == 'stop')


def test_latencies_are_percentiles_of_the_last_two_hundred_images() -> None:
    counts = Counts()
    for value in (*[1000.0] * 50, *range(200)):
        counts.took({'judge': float(value)})
    assert counts.snapshot().latency_ms['judge'] == pytest.approx((99.5, 189.05, 197.01))
