"""The matrix of ordered pairs counts as one would by hand: real localizer, made-up drives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from driven import Maps, Matches, Outcome, Pass, localized, strayed
from journeys import Journey, pairs_of
from kidnapping import kidnapped, kidnapping_summary
from pair_figures import OWN, figures, measured, save_observations
from pairs import outcomes
from pairs_page import pairs_page
from test_report_page import Checker
from worlds import cell_bits, unit_rows, write_tiny_model

from vpr_ros.core.describing.model import Model
from vpr_ros.core.geometry import yaw_quat
from vpr_ros.report.page import render
from vpr_ros.session.tracker import State

LENGTH = 120


def descriptors(size: int, seed: int) -> np.ndarray:
    """Of a drive on which neighbours look alike, [LENGTH, size]."""
    rows = unit_rows(LENGTH + 4, size, seed)
    smooth = sum(rows[shift : shift + LENGTH] for shift in range(5))
    return smooth / np.linalg.norm(smooth, axis=1, keepdims=True)


def a_pass(size: int, seed: int, *, noise: int = 0, turned: bool = False) -> Pass:
    """A drive along x at 1 m a frame; noise: seed of what another day adds."""
    rows = descriptors(size, seed)
    if noise:
        rows = rows + 0.4 * unit_rows(LENGTH, size, noise)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    bases = np.zeros((LENGTH, 7))
    bases[:, 0] = np.arange(LENGTH)
    bases[:, 3:] = yaw_quat(np.pi if turned else 0.0)
    stamps_ns = np.arange(LENGTH) * 125_000_000
    return Pass(rows.astype(np.float32), None, bases, stamps_ns, np.arange(LENGTH))


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return write_tiny_model(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def found(model: Model) -> list[Journey]:
    size = model.card.descriptor_size
    journeys = [
        Journey('town', 'day', a_pass(size, 1), 3.0, True),
        Journey('town', 'dusk', a_pass(size, 1, noise=11), 3.0, True),
        Journey('corridor', 'pass 1', a_pass(size, 2), 2.0, False, is_metric=False),
        Journey('corridor', 'pass 2', a_pass(size, 2, noise=12), 2.0, False, is_metric=False),
        Journey('village', 'day', a_pass(size, 3), 3.0, True),
    ]
    return [replace(one, driven=replace(one.driven, travelled_m=None)) for one in journeys]


@pytest.fixture(scope='module')
def made(found: list[Journey], model: Model, tmp_path_factory: pytest.TempPathFactory) -> list:
    maps = Maps(model, tmp_path_factory.mktemp('maps'))
    return list(outcomes(pairs_of(found), maps, workers=1))


def test_every_drive_goes_along_every_other_map_of_its_place_and_along_other_places(
    found: list[Journey],
) -> None:
    names = {(pair.group, pair.mapped.name, pair.asked.name) for pair in pairs_of(found)}
    for place, one, other in (('town', 'day', 'dusk'), ('corridor', 'pass 1', 'pass 2')):
        group = 'rendered' if place == 'town' else 'real'
        assert (group, f'{place}/{one}', f'{place}/{other}') in names
        assert (group, f'{place}/{other}', f'{place}/{one}') in names
    assert ('foreign', 'town/day', 'corridor/pass 2') in names
    assert ('twin', 'village/day', 'town/dusk') in names
    assert ('mixture', 'town/day', 'town/dusk') in names
    assert not any(mapped == asked for _, mapped, asked in names)


def test_drives_of_a_place_are_answered_and_those_of_others_are_not(made: list) -> None:
    whole = measured(made)
    groups = whole['groups']
    assert groups[OWN]['answered_mean'] > 0.7 and groups['foreign']['answered_mean'] is None
    assert groups['foreign']['answerable'] == 0
    assert groups['all']['pairs'] == len(whole['pairs']) - groups['twin']['pairs']
    assert groups['foreign']['fixes'] == groups['foreign']['false_fixes']
    for row in whole['pairs']:
        low, high = row['false_rate_interval']
        assert low <= (row['false_rate'] or 0) <= high
        assert row['within_interval'] is (low <= whole['target'])


def test_a_drive_that_strays_can_be_answered_only_outside_its_middle(made: list) -> None:
    pair, outcome = next(one for one in made if one[0].group == 'mixture')
    third = LENGTH // 3
    assert pair.foreign.sum() == third
    assert outcome.matchable.tolist() == (~pair.foreign).tolist()
    assert not outcome.right[pair.foreign].any()
    moved, foreign = strayed(pair.asked.driven, pair.mapped.driven[:10])
    assert len(moved) == len(foreign) == LENGTH
    assert np.flatnonzero(foreign).tolist() == list(range(third, third + 10))


def test_an_oncoming_drive_has_no_frame_that_can_be_answered(model: Model, tmp_path: Path) -> None:
    size = model.card.descriptor_size
    mapped, oncoming = a_pass(size, 1), a_pass(size, 1, turned=True)
    bench = Maps(model, tmp_path).bench('town', 'day', mapped, oncoming, 3.0)
    outcome = localized(bench, oncoming)
    assert outcome.fixed.any() and not outcome.matchable.any() and not outcome.right.any()


def outcome_of(right: list[int], can: list[int]) -> Outcome:
    """All frames fixed; right and can are 0 or 1 for each."""
    flags, able = np.array(right, dtype=bool), np.array(can, dtype=bool)
    count = len(flags)
    observed, ones = np.zeros((count, 7)), np.ones(count, dtype=bool)
    inside = np.where(flags, 1.0, np.nan)
    states = [State.LOCALIZED] * count
    error_m = np.where(flags, 0.5, 20.0)
    best = flags
    return Outcome(
        best, best, able, observed, np.full(count, 0.99), ones, flags, inside, states, error_m
    )


def test_figures_equal_a_count_by_hand(found: list[Journey]) -> None:
    pair = next(pair for pair in pairs_of(found) if pair.group == 'real')
    outcome = outcome_of([0, 0, 1, 1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1, 1, 1, 1, 0])
    row = figures(pair, outcome)
    assert (row['frames'], row['answerable'], row['fixes'], row['false_fixes']) == (10, 8, 10, 3)
    assert row['answered'] == 7 / 8 and row['false_rate'] == 0.3
    assert row['first_fix_frames'] == 1 and row['first_fix_s'] == 0.125
    assert row['calibration_error'] == pytest.approx(0.99 - 0.7)
    assert row['error_m'] == 0.5 and not row['at_most_target'] and not row['within_interval']


def test_a_carried_robot_is_lost_and_found(
    found: list[Journey], model: Model, tmp_path: Path
) -> None:
    pairs = [pair for pair in pairs_of(found) if pair.group == 'rendered']
    trials = kidnapped(pairs, Maps(model, tmp_path), workers=1)
    assert 5 <= len(trials) <= 10
    for trial in trials:
        assert trial.carried_m >= 12 and trial.lost is not None and trial.found is not None
        assert trial.unsure <= trial.lost < trial.found
    summary = kidnapping_summary(trials)
    assert summary['groups']['all']['trials'] == len(trials)
    assert kidnapped(pairs, Maps(model, tmp_path / 'again'), workers=1) == trials


def test_the_page_shows_all_of_it_and_the_observations_can_be_read(
    made: list, tmp_path: Path
) -> None:
    whole = measured(made) | {'model': 'tiny', 'model_sha256': 'a' * 64}
    page = Checker(render(pairs_page(json.loads(json.dumps(whole)), command='python pairs.py')))
    assert not page.open and 'town/day > town/dusk' in page.said and 'python pairs.py' in page.said
    save_observations(tmp_path / 'observations.npz', made)
    with np.load(tmp_path / 'observations.npz', allow_pickle=False) as arrays:
        frames = sum(len(outcome.best) for _, outcome in made)
        assert len(arrays['observed']) == len(arrays['best']) == len(arrays['pair']) == frames
        assert arrays['pair_name'][arrays['pair'][-1]] == made[-1][0].name


def test_what_was_matched_is_remembered(tmp_path: Path) -> None:
    from vpr_ros.core.localizing import match

    query, places = cell_bits(1)[0], cell_bits(6, seed=1)
    expected = match.match_scores(query, places, (3, 4))
    for _ in range(2):
        matches = Matches(tmp_path)
        with matches.remembered():
            np.testing.assert_array_equal(match.match_scores(query, places, (3, 4)), expected)
        was_new = matches.new()
        matches.save()
    assert not was_new and match.match_scores.__module__ == 'vpr_ros.core.matching.scores'
