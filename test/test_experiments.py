"""Tables and figures of experiments, from the folders that runs leave."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from waiting import until

pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('lightning', reason='make setup-training')
from vpr_training.data.recall_set import RecallSet
from vpr_training.experiments import main
from vpr_training.paper import figures as experiment_figures
from vpr_training.paper import forecast, tables
from vpr_training.paper import published as paper
from vpr_training.paper.plan import as_text, runs_of_grid, runs_of_table
from vpr_training.paper.seeded_run import Run, duration


def pretend(run: Run, recall: float, epochs: int = 3) -> None:
    """Leave what a run leaves: the rows of its epochs and what was measured at the end."""
    run.folder.mkdir(parents=True)
    lines = ['epoch,mine/R@1,loss']
    lines += [
        f'{epoch},{recall * epoch / epochs},{1.0 if epoch else ""}' for epoch in range(epochs + 1)
    ]
    (run.folder / 'epochs.csv').write_text('\n'.join(lines) + '\n')
    at = {'1': recall, '5': min(recall + 0.1, 1)}
    (run.folder / 'measured.json').write_text(json.dumps({'SF-XS val': {'at': at}}))


def test_a_table_has_the_mean_over_seeds_beside_the_paper(tmp_path: Path) -> None:
    runs = runs_of_table('schedulers', tmp_path, 2, ())
    assert len(runs) == 8
    for row, same in enumerate(runs.values()):
        for seed, run in enumerate(same):
            pretend(run, 0.5 + 0.01 * row + 0.002 * seed)
    markdown = tables.write_table('schedulers', runs, ['SF-XS val'], tmp_path)
    assert markdown == (tmp_path / 'schedulers.md').read_text()
    assert (
        '| GeM | MultiStepLR | 50.1 ± 0.1 (56.82, -6.7) / 60.1 ± 0.1 (72.33, -12.2) |' in markdown
    )
    with (tmp_path / 'schedulers.csv').open() as file:
        cells = list(csv.DictReader(file))
    assert len(cells) == len(paper.TABLES['schedulers']) * 2
    assert {cell['seeds'] for cell in cells} == {'2'}


def test_the_figures_of_epochs_and_of_the_grid_are_drawn(tmp_path: Path) -> None:
    runs = runs_of_table('schedulers', tmp_path, 1, ())
    grid = runs_of_grid(tmp_path, 1, ())
    for number, (run,) in enumerate([*runs.values(), *grid.values()]):
        pretend(run, 0.3 + 0.01 * number)
    for path in (
        experiment_figures.draw_epochs(tmp_path, runs),
        experiment_figures.draw_grid(tmp_path, grid, 'SF-XS val'),
    ):
        picture = cv2.imread(str(path))
        assert picture is not None and picture.std() > 5


def test_every_row_of_the_grid_has_its_own_rate_and_decay(tmp_path: Path) -> None:
    runs = runs_of_grid(tmp_path, 1, ('--epochs=1',))
    assert len(runs) == 24 and len({run.folder for (run,) in runs.values()}) == 24
    (best,) = runs['asgd_lr0.3_wd0.001']
    assert best.config == ROOT / 'config' / 'train' / 'resnet18_gem_asgd.yaml'
    assert best.overrides == (
        '--epochs=1', '--optimizer.lr=0.3', '--optimizer.weight_decay=0.001', '--seed=0',
    )  # fmt: skip


def test_the_papers_tables_are_the_published_ones() -> None:
    """Spot checks, and the two rows that two tables share."""
    pooling = {row.pooling: row.recall for row in paper.TABLES['pooling']}
    assert pooling['MixVPR'][2] == (72.38, 84.13) and pooling['AVG'][1] == (17.20, 32.40)
    for name in ('GeM', 'MixVPR'):
        adam = next(
            r for r in paper.TABLES['optimizers'] if (r.pooling, r.varied) == (name, 'Adam')
        )
        steps = next(
            r for r in paper.TABLES['schedulers'] if (r.pooling, r.varied) == (name, 'MultiStepLR')
        )
        assert adam.recall == steps.recall
    for rows in paper.TABLES.values():
        for row in rows:
            assert len(row.recall) == len(paper.SETS)
            assert all(one < five for one, five in row.recall)


def write_places(folder: Path) -> None:
    """Eight places of four images, as places.csv lists them."""
    lines = ['image,place_id']
    for place in range(8):
        for view in range(4):
            lines.append(f'{place}_{view}.png,{place}')
            picture = np.full((8, 8, 3), place * 8 + view, np.uint8)
            cv2.imwrite(str(folder / f'{place}_{view}.png'), picture)
    (folder / 'places.csv').write_text('\n'.join(lines) + '\n')


def test_a_plan_measures_each_network_once_for_all_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_places(tmp_path)
    measured = []

    def per_image(network: object) -> float:
        measured.append(network)
        return 0.5

    monkeypatch.setattr(forecast, 'seconds_per_image', per_image)
    flags = (f'--data.root={tmp_path}', '--data.places_per_batch=2', '--epochs=5')
    runs = runs_of_table('optimizers', tmp_path / 'runs', 3, flags)
    text = as_text([run for same in runs.values() for run in same])
    assert len(measured) == 2  # GeM and MixVPR, with three optimizers and three seeds each
    seconds = 0.5 * (2 * 4) * 4 * 5  # of an image; images, batches, epochs
    assert text.count(f': new, {duration(seconds)}') == 18
    assert text.endswith(f'18 runs, about {duration(18 * seconds)} on this machine')
    runs = runs_of_table('pooling', tmp_path / 'runs', 1, (*flags, '--steps=7'))
    assert f'3 runs, about {duration(3 * 0.5 * 8 * 7)} on' in as_text(
        [run for (run,) in runs.values()]
    )


def test_the_time_of_an_image_is_measured_on_its_network(tmp_path: Path) -> None:
    small = ('--network.image_height=32', '--network.image_width=32')
    (run,) = runs_of_table('pooling', tmp_path, 1, small)['resnet18_gem']
    assert 0 < forecast.seconds_per_image(run.settings().network) < 60


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (['--table=pooling', '--data.root=/nowhere'], '--evaluate: give at least one set'),
        (['--table=pooling', '--evaluate', 'sf_xs/val'], 'expected NAME=DIR'),
        (['--table=pooling', '--seeds=0'], '--seeds 0'),
        (['--table=pooling', '--learning=3', '--evaluate', 'x=/nowhere'], 'learning'),
        (['--table=pooling', '--seed=3'], '--seed: each run has its own'),
        (['--table=pooling', '--validation.roots', '[x]'], 'the first set of --evaluate chooses'),
        (['--figure=grid', '--optimizer.lr', '1'], '--optimizer.lr: the grid has its own'),
        (['--figure=lr', '--epochs=5'], '--epochs=5: the figure lr takes no settings'),
    ],
)
def test_input_that_cannot_be_used_is_one_line(
    tmp_path: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f'--output={tmp_path}', *flags]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count('\n') == 1


def test_the_picture_of_what_is_retrieved_has_gaps_where_a_set_has_no_more_images(
    tmp_path: Path,
) -> None:
    files = [tmp_path / name for name in ('a.png', 'b.png')]
    for value, file in enumerate(files):
        assert cv2.imwrite(str(file), np.full((60, 80, 3), 90 * value, dtype=np.uint8))
    images = RecallSet('two', (files[0],), (files[1],), (np.array([0]),), truth='mine')
    drawn = []
    for name, ranked in (('gaps', [[0, -1, -1]]), ('full', [[0, 0, 0]])):
        path = tmp_path / f'{name}.png'
        experiment_figures._side_by_side(images, {'GeM': np.array(ranked)}, path)
        drawn.append(cv2.imread(str(path)))
    width = drawn[0].shape[1]
    assert (drawn[0][:, width // 2 + 20 :] > 200).mean() > 0.9
    assert (drawn[1][:, width // 2 + 20 :] > 200).mean() < 0.6


_SLOW_TO_SAVE = """
import signal, sys, time
from pathlib import Path
def save(number, frame):
    time.sleep(1.5)
    Path(sys.argv[1], 'saved').touch()
    sys.exit(130)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, save)
Path(sys.argv[1], 'begun').touch()
time.sleep(60)
"""
_WAITING = """
import sys
from vpr_ros.cli.command import command
from vpr_training.paper.plan import _status_of
waiting = command(lambda argv: _status_of([sys.executable, '-c', argv[1], argv[0]]))
sys.exit(waiting(sys.argv[1:]))
"""


@pytest.mark.parametrize(('send', 'told'), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)])
def test_a_training_has_time_to_save_when_it_is_stopped(
    tmp_path: Path, send: Callable[[int, int], None], told: signal.Signals
) -> None:
    """A terminal sends Ctrl-C to the command and to the training that it waits for.

    SIGTERM comes to the command alone, which hands it on.
    """
    process = subprocess.Popen(
        [sys.executable, '-c', _WAITING, str(tmp_path), _SLOW_TO_SAVE],
        cwd=ROOT,
        start_new_session=True,
    )
    until((tmp_path / 'begun').exists, 'the training does not begin')
    send(process.pid, told)
    assert process.wait(timeout=30) == 130
    assert (tmp_path / 'saved').exists()


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (12, 300, 12_000)] == ['12 s', '5 min', '3 h 20 min']
