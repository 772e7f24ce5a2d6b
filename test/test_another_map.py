"""A drive goes on when the map under it is exchanged; no ROS is needed."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from session_world import (
    DARK,
    PLACES,
    ROWS,
    SECOND,
    SIZE,
    SPACING_M,
    answers_of,
    drive,
    image_at,
    initial_pose,
    outcomes,
    session_on,
    states,
    street,
    texts,
)
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.errors import MapError
from vpr_ros.core.geometry import FORWARD_CAMERA
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.localizing.belief import SPEEDS, Belief
from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.localizing.standing import Standing
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.same_places import rows_before
from vpr_ros.map_care.edit import append, keep_places
from vpr_ros.session.answers import Answer, Localized, MapChanged, Refused, Replied
from vpr_ros.session.config import SessionConfig
from vpr_ros.session.events import InitialPoseCame, LocalizeAsked, MapOpened, SettingsChanged
from vpr_ros.session.session import Session
from vpr_ros.session.tracker import State

NEW = 40  # places of the street that is added


@pytest.fixture(scope='module')
def old(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return street(tmp_path_factory.mktemp('old') / 'map')


@pytest.fixture(scope='module')
def longer(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    """The same map with another street appended."""
    folder = tmp_path_factory.mktemp('longer') / 'map'
    street(folder)
    return with_a_street_more(folder, y_m=500.0, seed=1)


def with_a_street_more(folder: Path, *, y_m: float, seed: int) -> PlaceMap:
    """The map in a folder after NEW places were appended to it."""
    poses = straight_drive(NEW, spacing_m=SPACING_M)
    poses[:, 1] += y_m
    rows = unit_rows(NEW, SIZE, seed)
    with append(folder, read_header(folder)) as writer:
        for row, (descriptor, pose) in enumerate(zip(rows, poses, strict=True)):
            writer.add(
                descriptor,
                pose,
                stamp_ns=row * SECOND,
                name=f'new {row}',
                thumbnail=encode_jpeg(np.zeros((24, 32, 3), np.uint8)),
            )
    return PlaceMap.open(folder)


def part_of(place_map: PlaceMap, folder: Path, rows: Sequence[int]) -> PlaceMap:
    """A map of some places of another one, as `map prune` leaves it."""
    assert keep_places(place_map, np.isin(np.arange(len(place_map)), rows), folder)
    return PlaceMap.open(folder)


def candidates(answers: list[Answer]) -> Candidates:
    """Of the first image."""
    return next(answer.located.candidates for answer in answers if isinstance(answer, Localized))


def change(session: Session, place_map: PlaceMap) -> list[Answer]:
    before = session.localizer
    rows = rows_before(place_map, before.place_map)
    event = MapOpened(before.with_map(place_map), before.place_map.id, rows)
    return session.handle(event)


# Which places are the same -----------------------------------------------------------------------


def test_places_of_an_appended_map_are_those_of_before_and_new_ones(
    old: PlaceMap, longer: PlaceMap
) -> None:
    assert rows_before(longer, old).tolist() == [*range(PLACES), *[-1] * NEW]
    assert rows_before(old, longer).tolist() == list(range(PLACES))


def test_each_part_of_a_map_that_is_appended_to_again_keeps_its_rows(
    longer: PlaceMap, tmp_path: Path
) -> None:
    folder = shutil.copytree(longer.folder, tmp_path / 'map')
    longest = with_a_street_more(folder, y_m=900.0, seed=2)
    assert rows_before(longest, longer).tolist() == [*range(PLACES + NEW), *[-1] * NEW]


def test_places_of_a_pruned_map_are_found_one_by_one(old: PlaceMap, tmp_path: Path) -> None:
    rows = [3, 4, 5, 40, 41, 42, 59]
    kept = part_of(old, tmp_path / 'map', rows)
    assert rows_before(kept, old).tolist() == rows
    assert np.flatnonzero(rows_before(old, kept) >= 0).tolist() == rows


def test_a_place_that_was_moved_or_described_anew_is_a_new_one(
    old: PlaceMap, tmp_path: Path
) -> None:
    poses, descriptors = old.poses.copy(), ROWS.copy()
    poses[7, 0] += 0.01
    descriptors[9] = descriptors[10]
    descriptors[11, 3] += 0.01  # all other numbers are as before
    rows = rows_before(write_map(tmp_path / 'map', descriptors, poses), old)
    assert np.flatnonzero(rows < 0).tolist() == [7, 9, 11]


def test_a_place_that_was_taken_at_another_time_is_a_new_one(
    old: PlaceMap, tmp_path: Path
) -> None:
    """The robot stood there, and its camera saw the same."""
    stamps_ns = np.arange(PLACES) * SECOND
    stamps_ns[7] += 1
    rows = rows_before(write_map(tmp_path / 'map', ROWS, old.poses, stamps_ns=stamps_ns), old)
    assert np.flatnonzero(rows < 0).tolist() == [7]


# What the belief keeps ---------------------------------------------------------------------------


def standing_at(place: int, weight: float = 0.9) -> Standing:
    weights = np.full(PLACES, (1 - weight) / (2 * PLACES), np.float32)
    weights[place] += weight
    speeds = np.full(len(SPEEDS), 1 / len(SPEEDS), np.float32)
    elsewhere = 1 - float(weights.sum())
    return Standing(weight=weights, elsewhere=elsewhere, speeds=speeds, stamp_ns=5)


def test_a_belief_is_at_the_same_places_after_it_was_told_where_it_stands(old: PlaceMap) -> None:
    belief = Belief(old.grid, old.background)
    told = standing_at(23)
    belief.begin_at(told)
    again = belief.standing()
    np.testing.assert_allclose(again.weight, told.weight, atol=1e-6)
    np.testing.assert_allclose(again.speeds, told.speeds, atol=1e-5)
    assert again.elsewhere == pytest.approx(told.elsewhere) and again.stamp_ns == 5
    assert belief.places(1)[0].tolist() == [23]


def test_places_keep_their_weight_and_new_ones_share_half_of_what_is_elsewhere() -> None:
    told = standing_at(23)
    there = told.on(np.array([23, 22, -1, -1]))
    assert there.weight[0] == told.weight[23] and there.weight[1] == told.weight[22]
    rest = 1 - told.weight[[22, 23]].sum()
    np.testing.assert_allclose([there.elsewhere, there.weight[2:].sum()], rest / 2, rtol=1e-4)
    assert told.share_kept(np.array([23, -1])) > 0.9 > 0.1 > told.share_kept(np.array([0, -1]))


def test_the_first_place_is_a_place_as_any_other_and_what_is_of_no_place_stays() -> None:
    weight = np.array([0.6, 0.1, 0.1], np.float32)
    speeds = np.array([0.25, 0.75], np.float32)
    before = Standing(weight=weight, elsewhere=0.2, speeds=speeds, stamp_ns=7, held_m=0.3)
    there = before.on(np.array([2, 0]))
    np.testing.assert_allclose(there.weight, [0.1, 0.6])
    assert there.elsewhere == pytest.approx(0.3)
    assert before.share_kept(np.array([2, 0])) == pytest.approx(0.7 / 0.8)
    assert (there.stamp_ns, there.held_m) == (7, 0.3) and there.speeds is speeds
    nowhere = Standing(weight=0 * weight, elsewhere=1.0, speeds=speeds)
    assert nowhere.share_kept(np.array([0])) == 1.0  # none is lost


def test_on_a_map_without_any_known_place_a_belief_knows_what_it_knows_at_its_start(
    old: PlaceMap,
) -> None:
    belief, fresh = (Belief(old.grid, old.background) for _ in range(2))
    belief.begin_at(standing_at(23).on(np.full(PLACES, -1)))
    np.testing.assert_allclose(belief.cells, fresh.cells, rtol=1e-5)
    assert belief.elsewhere == pytest.approx(fresh.elsewhere)


def test_weights_reach_the_cells_of_an_uneven_map_and_none_is_lost(tmp_path: Path) -> None:
    """Some places share a cell, some have several, the drive has a break and ends in a stop."""
    poses = straight_drive(PLACES, spacing_m=SPACING_M)
    poses[20:, 0] += 3.0
    poses[30:34, 0] = poses[30, 0] + np.arange(4) * 0.1
    poses[50:, 0] += 900.0
    poses[57:, 0] = poses[57, 0]
    grid = write_map(tmp_path / 'map', ROWS, poses).grid
    weight = np.random.default_rng(0).random(PLACES).astype(np.float32)
    cells = grid.on_cells(weight)
    assert cells.sum() == pytest.approx(weight.sum(), rel=1e-5)
    assert (cells[grid.place_of_cell < 0] == 0).all()


# The drive goes on -------------------------------------------------------------------------------


def test_a_localized_robot_stays_localized_on_a_longer_map(
    old: PlaceMap, longer: PlaceMap
) -> None:
    session = session_on(old)
    answers_of(session, drive(range(10, 20)))
    changed = change(session, longer)
    assert [type(answer) for answer in changed] == [MapChanged, Replied]
    assert f'{PLACES + NEW} places of {longer.folder}, {NEW} of them new' in changed[-1].text
    after = answers_of(session, drive(range(20, 30), start_s=110))
    assert states(after) == [] and session.state is State.LOCALIZED
    for row, outcome in enumerate(outcomes(after)):
        assert isinstance(outcome, Fix)
        assert outcome.pose[0] == pytest.approx((20 + row) * SPACING_M, abs=1.5)


def test_the_belief_goes_on_from_where_it_stood_and_not_from_nothing(
    old: PlaceMap, longer: PlaceMap
) -> None:
    """An image that shows nothing tells what is believed without it: the robot drove on."""
    session, fresh = session_on(old), session_on(longer)
    answers_of(session, drive(range(10, 20)))
    change(session, longer)
    dark = image_at(DARK, 110)
    carried, nothing = (candidates(one.handle(dark)) for one in (session, fresh))
    assert carried.place_index[0] == 20 and carried.weight[:3].sum() > 0.5
    assert nothing.weight[:3].sum() < 0.1


def test_what_does_not_depend_on_places_is_kept(old: PlaceMap, longer: PlaceMap) -> None:
    session = session_on(old, publish_tf=True)
    answers_of(session, [*drive(range(10, 20)), initial_pose(20 * SPACING_M)])
    cameras = list(session.localizer.rig.cameras)
    change(session, longer)
    said = session.counts.snapshot()
    assert said.facts['initial pose'] == 'restricts the search' and said.localized == 10
    assert session.localizer.rig.cameras == cameras
    assert session.handle(image_at(18, 105))  # older: the clock of the last image is known


def test_what_changed_while_the_other_map_was_opened_counts_there(
    old: PlaceMap, longer: PlaceMap
) -> None:
    session = session_on(old)
    opened = session.localizer.with_map(longer)
    higher = FORWARD_CAMERA + np.array([0, 0, 1.0, 0, 0, 0, 0])
    session.localizer.rig.cameras[1] = MountedCamera(higher)
    session.handle(SettingsChanged(SessionConfig(candidates=7, max_false_fix_rate=0.2)))
    answers = session.handle(MapOpened(opened, old.id, rows_before(longer, old)))
    assert isinstance(answers[-1], Replied) and session.localizer is opened
    assert len(candidates(session.handle(image_at(10, 100))).place_index) == 7
    np.testing.assert_array_equal(opened.rig.mounting(1), higher)


def test_an_initial_pose_may_be_on_the_new_places(old: PlaceMap, longer: PlaceMap) -> None:
    session = session_on(old)
    there = InitialPoseCame('map', np.array([20, 500, 0, 0, 0, 0, 1.0]), np.eye(6) * 0.2)
    assert 'from the nearest place of the map' in texts(session.handle(there))
    change(session, longer)
    assert not any(isinstance(answer, Refused) for answer in session.handle(there))


def test_a_robot_whose_place_is_gone_is_lost_and_finds_itself_again(
    old: PlaceMap, tmp_path: Path
) -> None:
    session = session_on(part_of(old, tmp_path / 'map', range(40)))
    answers_of(session, drive(range(10, 20)))
    changed = change(session, part_of(old, tmp_path / 'first', range(12)))
    assert states(changed) == ['LOST']
    change(session, old)
    assert states(answers_of(session, drive(range(20, 30), start_s=110)))[-1] == 'LOCALIZED'


def test_without_a_belief_the_next_image_is_answered_by_the_new_map(
    old: PlaceMap, longer: PlaceMap
) -> None:
    session = session_on(old, belief=False)
    answers_of(session, drive(range(10, 20)))
    assert states(change(session, longer)) == []
    answers = session.handle(image_at(20, 110))
    assert isinstance(outcomes(answers)[0], Fix)
    asked = session.handle(LocalizeAsked(0, image_at(20, 0).read))[0]
    assert isinstance(asked, Replied) and asked.place_map is longer


def test_a_map_opened_for_another_one_than_is_served_is_refused(
    old: PlaceMap, longer: PlaceMap
) -> None:
    session = session_on(old)
    before = session.localizer
    event = MapOpened(before.with_map(longer), longer.id, rows_before(longer, longer))
    assert 'changed in the meantime' in texts(session.handle(event))
    assert session.localizer is before


def test_a_map_whose_calibration_is_damaged_cannot_take_the_place(
    old: PlaceMap, tmp_path: Path
) -> None:
    folder = tmp_path / 'map'
    street(folder)
    path = folder / 'map.yaml'
    path.write_text(path.read_text().replace('calibration: null', 'calibration: {a: 1}', 1))
    with pytest.raises(MapError, match='calibration is damaged'):
        session_on(old).localizer.with_map(PlaceMap.open(folder))


def test_the_files_of_the_old_map_are_let_go(old: PlaceMap, tmp_path: Path) -> None:
    """Nothing of a session holds the map that it left."""
    folders = tmp_path / 'a', tmp_path / 'b'
    session = session_on(street(folders[0]))
    localized = answers_of(session, drive(range(10, 20)))
    assert mapped(folders[0])
    change(session, street(folders[1]))
    answers_of(session, drive(range(20, 22), start_s=110))
    assert mapped(folders[1]) and not mapped(folders[0])
    assert isinstance(localized[-1], Localized)


def mapped(folder: Path) -> list[str]:
    """Files of a folder that this process has mapped."""
    maps = Path('/proc/self/maps')
    if not maps.exists():
        pytest.skip('needs /proc')
    return [line for line in maps.read_text().splitlines() if f'{folder}/' in line]
