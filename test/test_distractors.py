"""Places around a cut of a larger map that look like its own: they give no fix."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fleet_world import FleetProcess
from test_evaluation import Line
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.errors import MapError
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Reason
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.mapping.header import read_header, write_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.figures import evaluate
from vpr_ros.evaluating.judging import judge
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care.check import check
from vpr_ros.map_care.edit import keep_places, merge, slimmed
from vpr_ros.map_care.facts import facts
from vpr_ros.map_care.redundancy import Redundancy, standing_for

SIZE = 64


def mapped(folder: Path, count: int, *, north_m: float = 0.0, seed: int = 0) -> PlaceMap:
    """A straight drive with a place each metre."""
    poses = straight_drive(count)
    poses[:, 1] += north_m
    return write_map(folder, unit_rows(count, SIZE, seed), poses)


@pytest.fixture
def cut(tmp_path: Path) -> PlaceMap:
    """Ten places of its own, and seven distractors 3 m, and so on to 303 m, beside the first."""
    own = mapped(tmp_path / 'own', 10)
    poses = np.repeat(straight_drive(1), 7, axis=0)
    poses[:, 1] += 3.0 + 50.0 * np.arange(7)
    around = write_map(tmp_path / 'around', unit_rows(7, SIZE, 1), poses)
    return with_distractors(own, around, tmp_path / 'cut')


def with_distractors(own: PlaceMap, around: PlaceMap, folder: Path) -> PlaceMap:
    merge([own, around], folder)
    header = read_header(folder)
    write_header(folder, replace(header, distractor_parts=(header.parts[-1],)))
    return PlaceMap.open(folder)


@pytest.mark.parametrize('belief', [False, True])
def test_a_distractor_gives_no_fix_but_near_a_place_of_the_map(
    cut: PlaceMap, belief: bool
) -> None:
    config = LocalizerConfig(belief=belief, agreement_radius=5.0)
    localizer = Localizer(None, cut, config)  # type: ignore[arg-type]

    def outcome(place: int) -> Fix | NoFix:
        return localizer.locate_alone(Query(cut.descriptor(place), 0)).outcome

    for own in (0, 9):
        found = outcome(own)
        assert isinstance(found, Fix) and found.place_index == own
    near = outcome(10)  # 3 m beside the first place
    assert isinstance(near, Fix) and near.place_index == 10
    far = outcome(11)
    assert isinstance(far, NoFix) and far.reason is Reason.OUTSIDE_CUT
    assert far.probability > 0.5


def test_what_distractors_say_of_other_places_does_not_count(cut: PlaceMap) -> None:
    assert cut.is_distractor.tolist() == [False] * 10 + [True] * 7
    assert cut.grid.cell_m == cut.grid.mapping_speed_mps == 1.0
    named = dict(facts(cut))
    assert named['places'] == '17 in 2 parts' and named[''].startswith('7 of them show')
    findings = check(cut, near_m=2.0, far_m=20.0)
    assert findings.compared == 10 and not findings.gaps


def test_a_place_is_not_said_to_look_like_a_distractor(tmp_path: Path) -> None:
    own = mapped(tmp_path / 'own', 10)
    twins = mapped(tmp_path / 'twins', 10, north_m=100.0)  # the same descriptors
    merge([own, twins], tmp_path / 'both')
    assert check(PlaceMap.open(tmp_path / 'both'), near_m=2.0, far_m=20.0).aliased == 20
    found = with_distractors(own, twins, tmp_path / 'cut')
    assert check(found, near_m=2.0, far_m=20.0).aliased == 0


def test_changes_of_a_map_keep_its_distractors(cut: PlaceMap, tmp_path: Path) -> None:
    slimmed(cut, tmp_path / 'slim', thumbnails=False)
    assert PlaceMap.open(tmp_path / 'slim').is_distractor.tolist() == [False] * 10 + [True] * 7

    other = mapped(tmp_path / 'other', 4, north_m=9.0, seed=3)
    merge([cut, other], tmp_path / 'merged')
    merged = PlaceMap.open(tmp_path / 'merged')
    assert merged.is_distractor.tolist() == [False] * 10 + [True] * 7 + [False] * 4

    kept = np.arange(len(merged)) % 2 == 0
    assert keep_places(merged, kept, tmp_path / 'kept')
    small = PlaceMap.open(tmp_path / 'kept')
    assert small.is_distractor.tolist() == [False] * 7 + [True] * 4
    own, around = np.flatnonzero(kept & ~merged.is_distractor), [10, 12, 14, 16]
    np.testing.assert_array_equal(small.poses, merged.poses[[*own, *around]])
    assert keep_places(cut, ~cut.is_distractor, tmp_path / 'own only')
    assert read_header(tmp_path / 'own only').distractor_parts == ()


def test_what_is_a_maps_own_place_in_one_of_two_merged_maps_stays_one(
    cut: PlaceMap, tmp_path: Path
) -> None:
    around = PlaceMap.open(tmp_path / 'around')
    for number, maps in enumerate([(cut, around), (around, cut)]):
        notes = merge(maps, tmp_path / f'{number}')
        assert not PlaceMap.open(tmp_path / f'{number}').is_distractor.any()
        assert any('held already' in note for note in notes)


def test_a_distractor_is_never_redundant_and_makes_no_place_so(tmp_path: Path) -> None:
    own, poses = mapped(tmp_path / 'own', 5), straight_drive(5)
    later = write_map(
        tmp_path / 'later', unit_rows(5, SIZE), poses, stamps_ns=10**12 + np.arange(5)
    )
    marked = with_distractors(own, later, tmp_path / 'marked')
    assert standing_for(marked, Redundancy()).tolist() == list(range(10))
    write_header(marked.folder, replace(marked.header, distractor_parts=()))
    assert standing_for(PlaceMap.open(marked.folder), Redundancy()).tolist() == [
        *range(5, 10),
        *range(5, 10),
    ]


@pytest.mark.parametrize(
    'wrong', ['parts/0001', ['parts/0002'], [1], ['parts/0000', 'parts/0001'], {'a': 1}]
)
def test_distractors_that_are_no_parts_or_all_of_them_are_damage(
    cut: PlaceMap, wrong: Any
) -> None:
    path = cut.folder / 'map.yaml'
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {'distractor_parts': wrong}))
    with pytest.raises(MapError, match=r'distractor_parts: .* expected some of the parts'):
        read_header(cut.folder)


def test_a_robot_at_a_distractor_is_judged_as_off_the_map(cut: PlaceMap) -> None:
    drive = Line(2)
    drive.trajectory = Trajectory(np.arange(2) * 10**9, cut.poses[[0, 11]])
    seen = cut.base_poses()[[0, 11]]
    answers = [Answer(n * 10**9, seen[[n]], None, 0.0, {'total': 1.0}) for n in (0, 1)]
    found = judge(answers, drive, cut, Tolerance(2.0))  # type: ignore[arg-type]
    assert found.unmatchable.tolist() == [False, True]
    assert found.rank.tolist() == [0, -1] and found.right_first.all()
    sure = [replace(one, probability=0.9, is_calibrated=True, similarity=0.9) for one in answers]
    figures = evaluate(sure, drive, cut, Tolerance(2.0))  # type: ignore[arg-type]
    assert figures.recall.at[1] == 0.5 and figures.precision_recall is not None
    assert figures.precision_recall.average_precision == 1.0
    assert figures.reliability is not None and figures.reliability.error == pytest.approx(0.1)


def test_a_cut_has_the_most_similar_place_around_it_for_each_of_its_own(
    engine: FleetProcess, tmp_path: Path
) -> None:
    fleet = tmp_path / 'fleet'
    for seed, north_m in enumerate([0.0, 40.0, 500.0]):
        mapped(tmp_path / f'{seed}', 30, north_m=north_m, seed=seed)
        engine.done('push', tmp_path / f'{seed}', '--fleet', fleet)
    whole = PlaceMap.open(tmp_path / '0'), PlaceMap.open(tmp_path / '1')
    descriptors = np.concatenate([one.descriptors_of(np.arange(30)) for one in whole])
    positions = np.concatenate([one.poses[:, :2] for one in whole])
    apart_m = np.hypot(positions[:, 0] - 5, positions[:, 1])
    inside = np.flatnonzero(apart_m <= 5)
    outside = np.flatnonzero((apart_m > 5) & (apart_m <= 105))
    nearest = {int(outside[np.argmax(descriptors[outside] @ descriptors[row])]) for row in inside}

    output = tmp_path / 'cut'
    pull = ('pull', '--fleet', fleet, '--near', '5,0,5', '--output', output)
    said = engine.done(*pull, '--distractors', '100')
    assert f'11 places in 1 part and {len(nearest)} distractors, map' in said
    found = PlaceMap.open(output)
    assert found.is_distractor.tolist() == [False] * 11 + [True] * len(nearest)
    np.testing.assert_array_equal(found.poses[:11, :2], positions[inside])
    np.testing.assert_array_equal(found.poses[11:, :2], positions[sorted(nearest)])

    assert 'nothing added' in engine.done('push', output, '--fleet', fleet)
    assert '11 places in 1 part added' in engine.done('push', output, '--fleet', tmp_path / 'new')

    assert 'distractor' not in engine.done(*pull, '--distractors', '0')
    assert not PlaceMap.open(output).is_distractor.any()
    assert '--distractors -1: expected a number of at least 0' in engine.refused(
        *pull, '--distractors', '-1'
    )
