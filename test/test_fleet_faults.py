"""Kills and several writers: a fleet's store has a push wholly or not at all.

By the real LanceDB in real processes, which are killed (SIGKILL) before and after each commit, at
each batch of places that the engine takes, and at times spread over the whole command.
"""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_maps import drive
from fleet_world import BATCH, FleetProcess

from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.map_care.edit import merge

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec('lancedb'), reason='lancedb is missing (requirements/fleet.txt)'
)
PLACES = 3 * BATCH


@pytest.fixture(scope='module')
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    process = FleetProcess(tmp_path_factory.mktemp('faults'))
    yield process
    process.close()


@pytest.fixture(scope='module')
def two_drives(engine: FleetProcess) -> Path:
    """A map of two parts, one with landmarks, of which the store holds none."""
    parts = [
        PlaceMap.open(
            drive(engine.folder / f'{n}', places=count, seed=n, north_m=9.0 * n, landmarks=kind)
        )
        for n, count, kind in ((1, PLACES, 'cells'), (2, 20, ''))
    ]
    merge(parts, engine.folder / 'both')
    return engine.folder / 'both'


@pytest.fixture(scope='module')
def held(engine: FleetProcess) -> str:
    """A store with two versions of parts; its name."""
    for n in (5, 6):
        folder = drive(engine.folder / f'held {n}', seed=n)
        (answer,) = engine.do('at_once', commands=[['push', str(folder), '--fleet', 'held']])
        assert answer[0] == 0, answer
    return 'held'


@pytest.mark.parametrize(('base', 'points', 'timed'), [('held', 12, 10), ('nowhere', 14, 3)])
def test_a_push_that_is_killed_is_there_wholly_or_not_at_all_and_a_rerun_completes_it(
    engine: FleetProcess, held: str, two_drives: Path, base: str, points: int, timed: int
) -> None:
    found = engine.do(
        'kills',
        base=base,
        argv=['push', str(two_drives), '--fleet', 'FLEET', '--robot', 'r'],
        after_again=True,
        timed=timed,
    )
    assert found['wrong'] == []
    assert found['points'] == points and len(found['ended']) == 2


def test_a_rollback_that_is_killed_happened_or_not(engine: FleetProcess, held: str) -> None:
    found = engine.do(
        'kills',
        base=held,
        argv=['fleet', 'FLEET', '--rollback', '2'],
        after_again=False,
        timed=5,
    )
    assert found['wrong'] == []
    assert found['points'] == 2 and len(found['ended']) == 2


def test_a_pull_that_is_killed_leaves_the_old_map_or_the_new_one(
    engine: FleetProcess, held: str
) -> None:
    drive(engine.folder / 'pulled over', seed=9)
    argv = ['pull', '--fleet', held, '--output', 'pulled over']
    found = engine.do('pull_kills', argv=argv, folder='pulled over')
    assert found['wrong'] == [] and found['points'] == 4


def test_robots_that_push_at_once_all_arrive(engine: FleetProcess) -> None:
    maps = [drive(engine.folder / f'robot {n}', seed=n + 20, north_m=n) for n in range(4)]
    twin = shutil.copytree(maps[0], engine.folder / 'twin')
    for round_number in range(2):
        fleet = f'busy {round_number}'
        answers = engine.do(
            'at_once',
            commands=[['push', str(folder), '--fleet', fleet] for folder in [*maps, twin]],
        )
        assert [status for status, _, _ in answers] == [0] * 5, answers
        ((status, out, _),) = engine.do('at_once', commands=[['fleet', fleet, '--json']])
        listed = json.loads(out)
        assert status == 0 and listed['places'] == 40 and len(listed['parts']) == 4
        argv = ['pull', '--fleet', fleet, '--output', 'all']
        ((status, _, err),) = engine.do('at_once', commands=[argv])
        assert status == 0, err
        assert len(set(PlaceMap.open(engine.folder / 'all').names)) == 40


def test_robots_that_push_while_an_operator_rolls_back_arrive_or_are_told(
    engine: FleetProcess, held: str
) -> None:
    maps = [drive(engine.folder / f'r{n}', seed=n + 40, north_m=n) for n in range(3)]
    rollback = ['fleet', 'shaken', '--rollback', '2']
    shutil.copytree(engine.folder / held, engine.folder / 'shaken')
    pushes = [['push', str(folder), '--fleet', 'shaken'] for folder in maps]
    answers = engine.do('at_once', commands=[*pushes, rollback, rollback])
    for status, _, err in answers:
        assert status == 0 or 'try again' in err, err
    for argv in pushes:
        ((status, _, err),) = engine.do('at_once', commands=[argv])
        assert status == 0, err
    ((_, out, _),) = engine.do('at_once', commands=[['fleet', 'shaken', '--json']])
    assert json.loads(out)['places'] == 40  # version 2 has 10, each robot 10
    argv = ['pull', '--fleet', 'shaken', '--output', 'calm']
    assert engine.do('at_once', commands=[argv])[0][0] == 0


def test_a_conflict_is_tried_again_and_not_for_ever(engine: FleetProcess, held: str) -> None:
    shutil.copytree(engine.folder / held, engine.folder / 'contended')
    folder = drive(engine.folder / 'late', seed=60)
    given = {'fleet': 'contended', 'folder': str(folder)}
    (status, out, err), tries = engine.do('conflicts', **given, always=True)
    assert status == 2 and tries == 8
    assert 'gave up after 8 tries; nothing was changed; try again' in err
    (status, out, err), tries = engine.do('conflicts', **given, always=False)
    assert (status, tries) == (0, 1), err
    assert '10 places in 1 part added, 1 of them sent before' in out
