"""The train command: it learns, it resumes exactly, and bad input loses nothing."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ROOT

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('lightning', reason='make setup-training')
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision

from vpr_training.basics.errors import TrainingError
from vpr_training.evaluate import main as evaluate
from vpr_training.experiments import main as experiments
from vpr_training.exporting.model_folder import export_checkpoint
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.runs import training_run
from vpr_training.runs.progress import Progress
from vpr_training.runs.run_folder import RunFolder, StepLog
from vpr_training.runs.training_loop import Training
from vpr_training.train import main as train

SMALL = (
    '--network.weights=null',
    '--network.frozen_stages=0',
    '--network.last_stage=2',
    '--network.aggregator=gem',
    '--network.image_height=64',
    '--network.image_width=64',
    '--data.places_per_batch=4',
    '--data.images_per_place=2',
    '--data.min_images_per_place=2',
    '--optimizer.lr=1e-3',
    '--scheduler.name=plateau',
    '--scheduler.warmup_steps=4',
    '--accelerator=cpu',
)


def draw_place(place: int, view: int) -> np.ndarray:
    """A picture that a place's views share but for noise and a shift, uint8 [80, 96, 3]."""
    rng = np.random.default_rng(place)
    picture = np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    seen = np.random.default_rng([place, view])
    light, shift = seen.uniform(0.2, 1.0, 3), seen.integers(-20, 21)
    noise = seen.normal(0, 30, picture.shape)
    return np.roll(picture * light + noise, shift, axis=1).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope='module')
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four places of three images, as places.csv lists them."""
    folder = tmp_path_factory.mktemp('places')
    lines = ['image,place_id']
    for place in range(24):
        for view in range(3):
            name = f'{place}_{view}.jpg'
            cv2.imwrite(str(folder / name), draw_place(place, view))
            lines.append(f'{name},{place}')
    (folder / 'places.csv').write_text('\n'.join(lines) + '\n')
    return folder


@pytest.fixture(scope='module')
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other views of other places, as database/, queries/ and gt.csv."""
    folder = tmp_path_factory.mktemp('evaluation')
    lines = ['query,positives']
    for half in ('database', 'queries'):
        (folder / half).mkdir()
    for place in range(100, 120):
        cv2.imwrite(str(folder / 'database' / f'{place}.png'), draw_place(place, 0))
        cv2.imwrite(str(folder / 'queries' / f'{place}.png'), draw_place(place, 2))
        lines.append(f'{place}.png,{place}.png')
    (folder / 'gt.csv').write_text('\n'.join(lines) + '\n')
    return folder


def steps(run: Path) -> list[tuple[str, ...]]:
    """Step, epoch, loss, mined share and rate of every step, as written."""
    with (run / 'steps.csv').open() as file:
        return [tuple(row.values())[:5] for row in csv.DictReader(file)]


def epochs(run: Path) -> list[dict[str, str]]:
    with (run / 'epochs.csv').open() as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name != 'seconds'} for row in rows]


def command(*flags: str) -> list[str]:
    return [sys.executable, '-m', 'vpr_training.train', *flags]


def in_process(*flags: str, limit: int | None = None) -> 'subprocess.Popen[str]':
    """The command in a process of its own; limit: largest file in bytes that it may write."""

    def prepare() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        command(*flags),
        cwd=ROOT,
        # As many threads as here: sums in another order differ in their last digits.
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'OMP_NUM_THREADS': str(torch.get_num_threads()),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
        start_new_session=True,
    )


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory: pytest.TempPathFactory, places: Path, evaluation: Path) -> Path:
    run = tmp_path_factory.mktemp('runs') / 'unbroken'
    flags = (f'--data.root={places}', f'--validation.roots=[{evaluation}]', '--epochs=4')
    assert train([*SMALL, *flags, f'--output={run}']) == 0
    return run


@pytest.mark.timeout(300)
def test_a_run_learns_and_its_folder_tells_how(unbroken: Path, evaluation: Path) -> None:
    rows = epochs(unbroken)
    recall = [float(row[f'{evaluation.name}/R@1']) for row in rows]
    assert [row['epoch'] for row in rows] == ['0', '1', '2', '3', '4']
    assert max(recall[1:]) > recall[0]
    assert float(rows[-1]['loss']) < float(rows[1]['loss'])
    said = json.loads((unbroken / 'run.json').read_text())
    assert said['seed'] == 0 and said['packages']['torch'] and 'git_revision' in said
    assert 'lr: 0.001' in (unbroken / 'config.yaml').read_text()
    assert (unbroken / 'curves.png').stat().st_size > 1000
    assert any((unbroken / 'tensorboard').iterdir())
    best = json.loads((unbroken / 'result.json').read_text())
    assert best[f'{evaluation.name}/R@1'] == max(recall)
    assert load_checkpoint(unbroken / 'best.ckpt').descriptor_size == 128


@pytest.mark.timeout(300)
def test_an_exported_checkpoint_finds_what_it_found_while_training(
    tmp_path: Path, unbroken: Path, evaluation: Path, places: Path
) -> None:
    model = export_checkpoint(unbroken / 'best.ckpt', tmp_path / 'model')
    assert model.card.provenance['training_data'] == places.name
    assert model.card.provenance['places'] == 24
    figures = tmp_path / 'figures.json'
    arguments = ['--model', str(model.folder), '--dataset', str(evaluation)]
    assert evaluate([*arguments, '--json', str(figures)]) == 0
    best = json.loads((unbroken / 'result.json').read_text())
    found = json.loads(figures.read_text())['recall']
    assert found['1'] == pytest.approx(best[f'{evaluation.name}/R@1'], abs=0.051)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ('send', 'told'),
    [(os.kill, signal.SIGINT), (os.kill, signal.SIGTERM), (os.killpg, signal.SIGTERM)],
    ids=['Ctrl-C', 'SIGTERM', 'SIGTERM to its workers, too'],
)
def test_a_run_that_is_stopped_in_mid_epoch_goes_on_with_the_same_steps(
    tmp_path: Path, places: Path, evaluation: Path, unbroken: Path,
    send: Callable[[int, int], None], told: signal.Signals,
) -> None:  # fmt: skip
    run = tmp_path / 'stopped'
    flags = (f'--data.root={places}', f'--validation.roots=[{evaluation}]', '--epochs=4')
    workers = '--data.workers=2'  # another number of workers changes no picture
    process = in_process(*SMALL, *flags, workers, f'--output={run}')
    until(lambda: (run / 'epochs.csv').exists() and len(epochs(run)) >= 2, process)
    send(process.pid, told)
    _, said = process.communicate(timeout=60)
    assert (
        process.returncode == 130
        and f'continue with: python -m vpr_training.train --resume {run}' in said
    )
    assert said.count('\n') <= 1 + said.count('epoch '), said
    assert 0 < len(steps(run)) < len(steps(unbroken))
    assert train([f'--resume={run}']) == 0
    assert steps(run) == steps(unbroken)
    assert epochs(run) == epochs(unbroken)
    mine, theirs = load_checkpoint(run / 'last.ckpt'), load_checkpoint(unbroken / 'last.ckpt')
    for name, value in theirs.state_dict().items():
        assert torch.equal(mine.state_dict()[name], value), name


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(
    tmp_path: Path, places: Path, evaluation: Path, unbroken: Path
) -> None:
    run = tmp_path / 'killed'
    flags = (f'--data.root={places}', f'--validation.roots=[{evaluation}]', '--epochs=4')
    process = in_process(*SMALL, *flags, f'--output={run}')
    until(lambda: (run / 'epochs.csv').exists() and len(epochs(run)) >= 2, process)
    process.kill()
    process.communicate()
    assert train([f'--resume={run}']) == 0
    assert steps(run) == steps(unbroken) and epochs(run) == epochs(unbroken)


@pytest.mark.timeout(300)
def test_two_processes_train_one_network(tmp_path: Path, places: Path) -> None:
    run = tmp_path / 'two'
    flags = (f'--data.root={places}', '--epochs=2', '--devices=2', f'--output={run}')
    process = in_process(*SMALL, *flags)
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert said.count('next: ') == 1
    rows = epochs(run)
    assert len(rows) == 2 and float(rows[1]['loss']) < float(rows[0]['loss'])


@pytest.mark.timeout(300)
def test_an_error_of_one_of_two_processes_is_a_line_of_each(
    tmp_path: Path, places: Path, evaluation: Path
) -> None:
    broken = tmp_path / 'broken'
    shutil.copytree(evaluation, broken)
    (broken / 'queries' / '103.png').write_text('broken')
    flags = (f'--data.root={places}', f'--validation.roots=[{broken}]', '--data.workers=0')
    process = in_process(*SMALL, *flags, '--devices=2', f'--output={tmp_path / "run"}')
    _, said = process.communicate(timeout=280)
    assert process.returncode == 2
    assert '103.png: 6 bytes are not an image' in said and 'Traceback' not in said
    assert 'another process of this run has ended' in said


@pytest.mark.timeout(400)
def test_two_processes_stop_in_a_short_epoch_and_go_on_with_the_same_steps(
    tmp_path: Path, places: Path
) -> None:
    flags = (f'--data.root={places}', '--epochs=10', '--devices=2', '--data.workers=0')
    unbroken, stopped = tmp_path / 'unbroken', tmp_path / 'stopped'
    process = in_process(*SMALL, *flags, f'--output={unbroken}')
    assert process.communicate(timeout=180) and process.returncode == 0
    process = in_process(*SMALL, *flags, f'--output={stopped}')
    until(lambda: (stopped / 'epochs.csv').exists(), process)
    process.send_signal(signal.SIGINT)  # to one of the two
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and f'--resume {stopped}' in said
    assert 3 < len(steps(stopped)) < 30
    process = in_process(f'--resume={stopped}')
    assert process.communicate(timeout=180) and process.returncode == 0
    assert steps(stopped) == steps(unbroken) and epochs(stopped) == epochs(unbroken)


def stop_at_the_second_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the trainer be told to stop in the second step of a run, as by Ctrl-C."""
    stop_at_step(monkeypatch, 1)


def stop_at_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The same in a step that is given, counted from 0."""
    step = Training._step

    def stopped(training: Training, *batch: torch.Tensor) -> tuple[float, float]:
        if training.progress.step == number:
            os.kill(os.getpid(), signal.SIGINT)
        return step(training, *batch)

    monkeypatch.setattr(Training, '_step', stopped)


@pytest.mark.timeout(300)
def test_two_processes_go_on_with_what_one_has_left_of_its_epoch(
    tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / 'run'
    stop_at_the_second_step(monkeypatch)
    assert train([*SMALL, f'--data.root={places}', '--epochs=2', f'--output={run}']) == 130
    assert len(steps(run)) == 2  # of the 6 batches of 4 places
    process = in_process(f'--resume={run}', '--devices=2')
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert [row[1] for row in steps(run)] == ['0'] * (2 + 4 // 2) + ['1'] * (6 // 2)


@pytest.mark.timeout(300)
def test_an_epoch_that_goes_on_with_other_batches_says_so(
    tmp_path: Path,
    places: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / 'run'
    with monkeypatch.context() as patched:
        stop_at_the_second_step(patched)
        assert train([*SMALL, f'--data.root={places}', '--epochs=2', f'--output={run}']) == 130
    for flag, is_other in (
        ('--data.workers=0', False),
        ('--data.images_per_place=3', False),  # of the same places
        ('--data.places_per_batch=6', True),
        ('--seed=7', True),
    ):
        resumed = tmp_path / flag.strip('-')
        shutil.copytree(run, resumed)
        capsys.readouterr()
        flags = ['--data.min_images_per_place=3', flag]  # of which each place has as many
        assert train([f'--resume={resumed}', *flags]) == 0
        said = capsys.readouterr().out
        assert said.count('note: the rest of epoch 1 has other batches') == is_other
    assert len(steps(tmp_path / 'data.places_per_batch=6')) == 2 + (4 - 2) + 4


@pytest.mark.timeout(300)
def test_a_run_that_is_stopped_while_it_validates_ends_at_once_and_loses_no_step(
    tmp_path: Path, places: Path, evaluation: Path
) -> None:
    large = tmp_path / 'large'
    large.mkdir()
    (large / 'queries').symlink_to(evaluation / 'queries')
    for number in range(3000):
        part = large / 'database' / f'{number}'
        part.mkdir(parents=True)
        (part / 'image.png').symlink_to(evaluation / 'database' / '100.png')
    (large / 'gt.csv').write_text('query,positives\n100.png,0/image.png\n')
    run = tmp_path / 'run'
    flags = (f'--data.root={places}', '--epochs=2', f'--output={run}')
    process = in_process(*SMALL, *flags, f'--validation.roots=[{large}]')
    until(lambda: (run / 'last.ckpt').exists(), process)  # it is saved before validation
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and f'--resume {run}' in said
    assert 'Traceback' not in said and not (run / 'best.ckpt').exists()
    assert train([f'--resume={run}', f'--validation.roots=[{evaluation}]']) == 0
    assert [row['epoch'] for row in epochs(run)] == ['0', '1', '2']


@pytest.mark.timeout(300)
def test_a_folder_in_which_a_run_trains_takes_no_second_one(
    tmp_path: Path, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'run'
    flags = [*SMALL, f'--data.root={places}', '--epochs=1000', f'--output={run}']
    process = in_process(*flags)
    try:
        until(lambda: (run / 'run.json').exists(), process)
        for second in (flags, [f'--resume={run}']):
            assert train(second) == 2
            assert 'is writing it; wait until that program ends' in one_line(capsys)
    finally:
        process.kill()
        process.communicate()


def test_a_run_goes_on_from_another_folder(
    tmp_path: Path, places: Path, evaluation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places)
    relative = os.path.relpath(evaluation)
    flags = ('--data.root=.', f'--validation.roots=[{relative}]', '--epochs=1')
    assert train([*SMALL, *flags, f'--output={tmp_path / "run"}']) == 0
    monkeypatch.chdir(tmp_path)
    assert train(['--resume=run', '--epochs=2']) == 0
    assert len(epochs(tmp_path / 'run')) == 3


def test_a_resumed_run_keeps_what_chooses_its_best_epoch(
    unbroken: Path, evaluation: Path, places: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = (unbroken / 'best.ckpt').read_bytes()
    for flags, said in (
        (['--validation.roots=[]'], f'{evaluation.name}/R@1 has chosen best.ckpt so far'),
        (['--validation.radius=3'], 'validation.radius is 0.0 in'),
        (['--init=shipped'], 'init is empty in'),
        ([f'--output={tmp_path / "new"}'], 'leave --output out'),
    ):
        assert train([f'--resume={unbroken}', '--epochs=5', *flags]) == 2
        assert said in one_line(capsys)
    assert (unbroken / 'best.ckpt').read_bytes() == before and len(epochs(unbroken)) == 5
    run = tmp_path / 'by_loss'
    assert train([*SMALL, f'--data.root={places}', '--epochs=1', f'--output={run}']) == 0
    assert train([f'--resume={run}', '--epochs=2', f'--validation.roots=[{evaluation}]']) == 2
    assert 'loss has chosen best.ckpt so far' in one_line(capsys)
    assert train([f'--resume={run}', '--epochs=2', '--loss.name=triplet']) == 2
    assert 'loss.name is multi_similarity in' in one_line(capsys)


def test_without_a_set_each_epoch_may_be_the_best(tmp_path: Path, places: Path) -> None:
    run = tmp_path / 'run'
    flags = (f'--data.root={places}', '--epochs=5', '--validation.every=4', f'--output={run}')
    assert train([*SMALL, '--optimizer.lr=1e-12', *flags]) == 0
    losses = {row['epoch']: float(row['loss']) for row in epochs(run)}
    best = json.loads((run / 'result.json').read_text())
    assert best['loss'] == min(losses.values()) == losses[str(best['epoch'])]


def test_a_run_that_ends_in_its_warm_up_says_so_and_logs_the_rate_that_it_had(
    tmp_path: Path, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'run'
    flags = (f'--data.root={places}', '--epochs=2', f'--output={run}')
    assert train([*SMALL, *flags, '--scheduler.warmup_steps=600']) == 0
    said = capsys.readouterr().out
    assert 'warm-up takes 600 steps' in said and 'has 12: its learning rate ends at 2.0%' in said
    rates = [float(row[4]) for row in steps(run)]
    assert rates == pytest.approx([1e-3 * (step + 1) / 600 for step in range(12)])
    assert [float(row['lr']) for row in epochs(run)] == pytest.approx([rates[5], rates[11]])


def test_a_run_in_fp32_goes_on_where_losses_are_scaled(
    tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU they are. Here the same scaler is for a processor, and no step is left."""

    def scaled(**given: Any) -> Fabric:
        del given['precision']
        return Fabric(**given, plugins=MixedPrecision('16-mixed', 'cpu'))

    run = tmp_path / 'run'
    shutil.copytree(unbroken, run)
    monkeypatch.setattr(training_run, 'Fabric', scaled)
    assert train([f'--resume={run}']) == 0


def test_a_schedule_that_replaces_the_rate_is_told(
    tmp_path: Path, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cyclic = '--scheduler.options={base_lr: 1e-4, max_lr: 1e-3}'
    flags = (f'--data.root={places}', '--epochs=2', '--scheduler.name=cyclic', cyclic)
    assert train([*SMALL, *flags, f'--output={tmp_path / "run"}']) == 0
    assert 'rate of 0.0001 (scheduler.options), not with optimizer.lr, 0.001' in (
        capsys.readouterr().out
    )
    assert [float(row['lr']) for row in epochs(tmp_path / 'run')] == pytest.approx([1e-4, 1e-3])
    assert train([*SMALL, *flags[:2], f'--output={tmp_path / "plain"}']) == 0
    assert 'optimizer.lr' not in capsys.readouterr().out


def test_a_run_of_so_many_steps_ends_within_an_epoch(
    tmp_path: Path, places: Path, unbroken: Path
) -> None:
    run = tmp_path / 'run'
    flags = (f'--data.root={places}', '--scheduler.name=none', f'--output={run}')
    assert train([*SMALL, *flags, '--epochs=1', '--steps=8']) == 0
    assert len(epochs(run)) == 2 and len(steps(run)) == 8
    assert steps(run)[:6] == steps(unbroken)[:6]


@pytest.mark.timeout(300)
def test_a_resumed_run_takes_as_many_steps_as_asked_for_where_its_epochs_have_other_batches(
    tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / 'run'
    with monkeypatch.context() as patched:
        stop_at_step(patched, 4)  # of six in an epoch
        flags = (f'--data.root={places}', '--steps=8', f'--output={run}')
        assert train([*SMALL, *flags]) == 130
    assert train([f'--resume={run}', '--data.places_per_batch=12']) == 0  # now two in an epoch
    assert len(steps(run)) == 8
    assert all(float(row['loss']) > 0 for row in epochs(run))  # none is an epoch of no batch
    assert train([f'--resume={run}', '--steps=9']) == 0  # one more, of an epoch of its own
    assert len(steps(run)) == 9


@pytest.mark.timeout(300)
def test_settings_that_are_changed_when_a_run_is_resumed_hold_when_it_is_resumed_again(
    tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / 'run'
    for step, flags in (
        (1, [*SMALL, f'--data.root={places}', '--epochs=1', f'--output={run}']),
        (4, [f'--resume={run}', '--epochs=2']),
    ):
        with monkeypatch.context() as patched:
            stop_at_step(patched, step)
            assert train(flags) == 130
    changed = (run / 'config.yaml').read_text()
    assert train([f'--resume={run}']) == 0
    assert [row['epoch'] for row in epochs(run)] == ['1', '2'] and len(steps(run)) == 12
    assert (run / 'config.yaml').read_text() == changed  # nothing was changed this time
    monkeypatch.chdir(places.parent)
    assert train([f'--resume={run}', f'--data.root={places.name}']) == 0
    assert (run / 'config.yaml').read_text() == changed  # the same folder, named from here


def test_a_stopped_run_says_at_which_batch_of_which_epoch(
    tmp_path: Path,
    places: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop_at_the_second_step(monkeypatch)
    flags = (f'--data.root={places}', '--epochs=2', f'--output={tmp_path / "run"}')
    assert train([*SMALL, *flags]) == 130
    assert 'stopped after batch 2 of epoch 1; ' in capsys.readouterr().err


def test_early_stop_ends_after_so_many_epochs_without_a_better_one(
    tmp_path: Path, places: Path, evaluation: Path
) -> None:
    run = tmp_path / 'early'
    flags = (f'--data.root={places}', f'--validation.roots=[{evaluation}]', '--epochs=50')
    still = ('--optimizer.lr=1e-12', '--patience=2')
    assert train([*SMALL, *flags, *still, f'--output={run}']) == 0
    assert len(epochs(run)) <= 1 + 4


def test_a_step_goes_no_farther_than_the_clipped_gradient(
    tmp_path: Path, places: Path, unbroken: Path
) -> None:
    init, run = unbroken / 'best.ckpt', tmp_path / 'run'
    flags = (f'--data.root={places}', f'--init={init}', '--steps=1', f'--output={run}')
    plain = ('--optimizer.name=sgd', '--optimizer.lr=1', '--scheduler.warmup_steps=0')
    assert train([*SMALL, *flags, *plain, '--optimizer.gradient_clip=1e-3']) == 0
    before, after = (
        torch.load(path, weights_only=True)['state_dict'] for path in (init, run / 'last.ckpt')
    )
    learned = [name for name in before if not name.endswith(('_mean', '_var', '_tracked'))]
    moved = torch.cat([(after[name] - before[name]).ravel().double() for name in learned])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=0.01)


def test_fine_tuning_starts_from_a_checkpoint(
    tmp_path: Path, places: Path, evaluation: Path, unbroken: Path
) -> None:
    run = tmp_path / 'tuned'
    flags = (f'--data.root={places}', f'--validation.roots=[{evaluation}]', '--epochs=1')
    assert train([*SMALL, *flags, f'--init={unbroken / "best.ckpt"}', f'--output={run}']) == 0
    best = json.loads((unbroken / 'result.json').read_text())
    assert float(epochs(run)[0][f'{evaluation.name}/R@1']) == best[f'{evaluation.name}/R@1']


def test_a_checkpoint_of_another_architecture_is_refused(
    unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (unbroken / 'last.ckpt').read_bytes()
    assert train([f'--resume={unbroken}', '--network.aggregator=avg']) == 2
    assert 'aggregator is gem, not avg' in one_line(capsys)
    assert (unbroken / 'last.ckpt').read_bytes() == before


def test_a_run_says_in_which_settings_its_first_checkpoint_differs(
    tmp_path: Path, unbroken: Path, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (f'--data.root={places}', f'--init={unbroken / "best.ckpt"}')
    other = '--network.aggregator=convap'
    assert train([*SMALL, *flags, other, f'--output={tmp_path / "run"}']) == 2
    assert '(network.aggregator is gem, not convap); give its settings' in one_line(capsys)
    assert not (tmp_path / 'run').exists()


def test_a_folder_that_holds_a_run_is_not_overwritten(
    unbroken: Path, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train([*SMALL, f'--data.root={places}', f'--output={unbroken}']) == 2
    assert 'already holds a run' in one_line(capsys)


def test_the_command_that_continues_a_run_can_be_copied_into_a_shell(
    unbroken: Path, places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'my run'
    run.symlink_to(unbroken)
    assert train([*SMALL, f'--data.root={places}', f'--output={run}']) == 2
    assert f"continue it with --resume '{run}'," in one_line(capsys)
    assert f"--checkpoint '{run / 'best.ckpt'}' --output" in RunFolder(run).next_step()


def test_a_folder_with_files_of_others_is_no_place_for_a_run(
    tmp_path: Path, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'config.yaml').write_text('mine: 1')
    assert train([*SMALL, f'--data.root={places}', f'--output={tmp_path}']) == 2
    assert 'holds config.yaml, which a run would replace' in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ['config.yaml']
    assert (tmp_path / 'config.yaml').read_text() == 'mine: 1'
    (tmp_path / 'config.yaml').unlink()
    (tmp_path / 'best.ckpt').touch()
    assert train([*SMALL, f'--data.root={places}', f'--output={tmp_path}']) == 2
    assert 'already holds best.ckpt' in one_line(capsys)


def test_a_rate_that_the_checkpoint_would_override_is_refused(
    unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train([f'--resume={unbroken}', '--optimizer.lr=5']) == 2
    assert 'optimizer.lr is 0.001 in' in capsys.readouterr().err
    assert train([f'--resume={unbroken}', '--scheduler.name=cosine']) == 2
    assert 'scheduler.name is plateau in' in capsys.readouterr().err


def test_two_sets_of_one_name_are_refused(
    tmp_path: Path, places: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (f'--data.root={places}', f'--validation.roots=[{evaluation},{evaluation}]')
    assert train([*SMALL, *flags, f'--output={tmp_path / "run"}']) == 2
    assert 'or two sets have this name' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_a_set_that_any_network_finds_nothing_on_chooses_no_checkpoint(
    tmp_path: Path, places: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / 'foreign'
    shutil.copytree(evaluation, foreign)
    (foreign / 'gt.csv').write_text('query,positives\n100.png,\n101.png,\n')
    flags = (f'--data.root={places}', f'--validation.roots=[{evaluation},{foreign}]')
    assert train([*SMALL, *flags, f'--output={tmp_path / "run"}']) == 2
    assert 'validation.roots foreign: none of its queries has a true match' in one_line(capsys)
    assert not (tmp_path / 'run').exists()


def test_a_run_without_its_last_checkpoint_says_how_to_begin(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / 'my run')
    with pytest.raises(TrainingError, match=r'no last\.ckpt .*; start it again without --res'):
        folder.load()
    folder.folder.mkdir()
    folder.best.touch()
    with pytest.raises(TrainingError, match=f"start another one with --init '{folder.best}'"):
        folder.load()


def test_the_table_of_steps_goes_on_at_the_step_of_the_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    row = {'epoch': 0, 'loss': 0.5, 'mined_share': 1, 'lr': 1e-4, 'images_per_s': 9}
    with closing(folder.open_steps(0)) as log:
        for step in range(5):
            log.write(step=step, **row)
    table = (tmp_path / 'steps.csv').read_bytes()
    (tmp_path / 'steps.csv').write_bytes(table + b'\0\0\xff\xfe\n5,0,0.')  # of a crash
    with closing(folder.open_steps(3)) as log:
        log.write(step=3, **row | {'loss': 0.25})
    assert [one[0] for one in steps(tmp_path)] == ['0', '1', '2', '3']
    assert [one[2] for one in steps(tmp_path)] == ['0.5'] * 3 + ['0.25']
    folder.open_steps(0).close()  # a run that begins anew
    assert not steps(tmp_path)
    (tmp_path / 'steps.csv').unlink()
    (tmp_path / 'steps.csv').mkdir()
    with pytest.raises(TrainingError, match=r'steps\.csv: cannot be written'):
        folder.open_steps(3)


def test_the_next_step_names_a_checkpoint_that_is_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.best.touch()
    assert f'--checkpoint {folder.best} ' in folder.next_step()
    folder.best.unlink()
    assert f'--checkpoint {folder.last} ' in folder.next_step()


def test_a_full_disk_is_told_with_the_table_of_steps_also_when_that_is_closed() -> None:
    log = StepLog(Path('/dev/full'))
    log.write(step=0, epoch=0, loss=1, mined_share=0, lr=1, images_per_s=1)
    for end in (log.flush, log.close):
        with pytest.raises(TrainingError, match=r'/dev/full: cannot be written \(No space left'):
            end()


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 not a checkpoint'])
def test_a_damaged_checkpoint_is_one_line(
    tmp_path: Path, unbroken: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'config.yaml').write_text((unbroken / 'config.yaml').read_text())
    (tmp_path / 'last.ckpt').write_bytes(content)
    assert train([f'--resume={tmp_path}']) == 2
    assert 'last.ckpt' in one_line(capsys)


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (['--data.root=/nowhere'], '/nowhere'),
        (['--learning.rate=3'], 'learning.rate'),
        (['--resume=/nowhere'], '/nowhere/config.yaml'),
        (['--config=/nowhere.yaml'], '/nowhere.yaml'),
        (['--network.frozen_stages=2', '--network.aggregator=avg', '--network.last_stage=2'],
         'no part of it learns'),
        (['--accelerator=gpu'], 'PyTorch found no GPU'),
        (['--resume='], '--resume: is empty, expected the folder of a run'),
        (['--output='], '--output: is empty, expected the folder of a run'),
    ],
)  # fmt: skip
def test_input_that_cannot_be_used_is_one_line_and_leaves_no_folder(
    tmp_path: Path, places: Path, flags: list[str], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = tmp_path / 'run'
    root = [] if flags[0].startswith('--data.root') else [f'--data.root={places}']
    output = [] if flags[0].startswith('--resume') else [f'--output={run}']
    assert train([*SMALL, *root, *output, *flags]) == 2
    assert said in one_line(capsys)
    assert not run.exists()


def test_a_network_that_diverges_in_a_last_batch_replaces_no_checkpoint(
    tmp_path: Path, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss of an epoch is that of the weights before its last step."""
    run = tmp_path / 'run'
    one_batch = ('--data.places_per_batch=24', '--scheduler.warmup_steps=0')
    flags = (*SMALL, *one_batch, f'--data.root={places}', f'--output={run}', '--epochs=3')
    rates = ('--optimizer.name=sgd', '--scheduler.name=multi_step', '--optimizer.lr=1e-3')
    assert train([*flags, *rates, '--scheduler.options={milestones: [2], gamma: 1e40}']) == 2
    assert 'epoch 3, batch 1: the descriptors are no longer numbers' in capsys.readouterr().err
    for name in ('last.ckpt', 'best.ckpt'):
        assert max(one.abs().max() for one in load_checkpoint(run / name).parameters()) < 100
    assert torch.load(run / 'last.ckpt', weights_only=True)['progress']['epoch'] == 2


@pytest.mark.timeout(300)
def test_a_full_disk_is_one_line_and_the_old_checkpoint_survives(
    tmp_path: Path, places: Path
) -> None:
    """The kernel's limit on a file's size fails in the calls in which a full disk does."""
    run = tmp_path / 'full'
    flags = (*SMALL, f'--data.root={places}', f'--output={run}')
    assert train([*flags, '--epochs=1']) == 0
    before = (run / 'last.ckpt').read_bytes()
    process = in_process(f'--resume={run}', '--epochs=2', limit=len(before) // 2)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2 and 'cannot be written' in said.splitlines()[-1]
    assert (run / 'last.ckpt').read_bytes() == before
    assert train([f'--resume={run}', '--epochs=2']) == 0


@pytest.mark.timeout(400)
def test_experiments_run_once_resume_and_stand_beside_the_paper(
    tmp_path: Path, places: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [flag for flag in SMALL if not flag.startswith('--network.aggregator')]
    flags = [
        '--table=pooling', f'--output={tmp_path}', f'--data.root={places}', '--seeds=1',
        '--evaluate', f'Tokyo-XS={evaluation}', f'mine={evaluation}', *small, '--epochs=1',
        '--network.aggregator_options={}',
        '--scheduler.options={}',
    ]  # fmt: skip
    assert experiments([*flags, '--dry-run']) == 0
    planned = capsys.readouterr().out
    assert planned.count(': new, ') == 3 and '3 runs, about' in planned
    assert not any(tmp_path.iterdir())
    assert experiments(flags) == 0
    markdown = (tmp_path / 'pooling.md').read_text()
    assert '| pooling | Tokyo-XS | mine |' in markdown and '(72.38, ' in markdown
    with (tmp_path / 'pooling.csv').open() as file:
        cells = list(csv.DictReader(file))
    mixvpr = next(
        cell
        for cell in cells
        if (cell['pooling'], cell['set'], cell['n']) == ('MixVPR', 'Tokyo-XS', '1')
    )
    assert float(mixvpr['difference']) == pytest.approx(float(mixvpr['mean']) - 72.38, abs=0.01)
    assert (tmp_path / 'figures' / 'retrieved_mine.png').stat().st_size > 10_000

    # Nothing is trained again; only a changed checkpoint and damaged figures are measured again.
    # The settings of a run count, not the words that they came from.
    avg, gem, mixer = (
        tmp_path / f'resnet18_{name}' / 'seed0' for name in ('avg', 'gem', 'mixvpr')
    )
    written = (gem / 'last.ckpt').stat().st_mtime_ns
    shutil.copyfile(gem / 'best.ckpt', tmp_path / 'copy')
    shutil.copyfile(tmp_path / 'copy', gem / 'best.ckpt')
    (mixer / 'measured.json').write_text('{')
    (avg / 'last.ckpt').unlink()
    capsys.readouterr()
    at = flags.index('--evaluate')
    one = [*flags[: at + 2], *flags[at + 3 :], '--epochs', '1', f'--data.root={places}/']
    assert experiments(one) == 0
    said = capsys.readouterr().out
    assert said.count(': measured') == 2 and said.count(': trained') == 1
    assert said.count('measured on Tokyo-XS\n') == 2
    assert (gem / 'last.ckpt').stat().st_mtime_ns == written
    drawn = tmp_path / 'figures' / 'retrieved_Tokyo-XS.png'
    drawn.write_text('of the last call')
    assert experiments([*flags, '--epochs=2']) == 2
    assert 'choose another --output' in capsys.readouterr().err

    # Other sets: each cell is of the set that its column names.
    easy = tmp_path / 'easy'
    shutil.copytree(evaluation, easy)
    for file in (easy / 'queries').iterdir():
        shutil.copyfile(easy / 'database' / file.name, file)
    wanted = [*flags[: at + 2], f'mine={easy}', f'n/e|w={evaluation}', *flags[at + 3 :]]
    assert experiments(wanted) == 0
    assert capsys.readouterr().out.count('measured on mine, n/e|w\n') >= 2
    assert (tmp_path / 'figures' / 'retrieved_n_e_w.png').exists()
    assert drawn.read_text() == 'of the last call'
    assert '| Tokyo-XS | mine | n/e\\|w |' in (tmp_path / 'pooling.md').read_text()
    with (tmp_path / 'pooling.csv').open() as file:
        cells = list(csv.DictReader(file))
    means = {(one['pooling'], one['set'], one['n']): float(one['mean']) for one in cells}
    for pooling in ('AVG', 'GeM', 'MixVPR'):
        assert means[pooling, 'mine', '1'] == 100 > means[pooling, 'n/e|w', '1']
        assert means[pooling, 'n/e|w', '1'] == means[pooling, 'Tokyo-XS', '1']
    swapped = [*flags[: at + 1], f'mine={easy}', f'Tokyo-XS={evaluation}', *flags[at + 3 :]]
    assert experiments(swapped) == 2
    assert f'{evaluation} chose its best epoch' in one_line(capsys)
    twice = [*flags[: at + 1], f'A={evaluation}', f'A={easy}', *flags[at + 3 :]]
    assert experiments(twice) == 2 and 'two sets have the name A' in one_line(capsys)
    (mixer / 'best.ckpt').unlink()
    assert experiments(wanted) == 2
    assert f'remove {mixer} to train it again' in one_line(capsys)
    begun = (gem / 'config.yaml').read_text()
    (gem / 'config.yaml').write_text(begun.replace('epochs: 1', 'epochs: 3'))
    assert experiments(wanted) == 2
    assert 'epochs is 3, not 1' in one_line(capsys)


def test_a_set_without_a_true_match_makes_no_column(
    tmp_path: Path, places: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = tmp_path / 'none'
    shutil.copytree(evaluation, none)
    lines = (none / 'gt.csv').read_text().splitlines()
    (none / 'gt.csv').write_text(
        '\n'.join([lines[0], *(f'{line.split(",")[0]},' for line in lines[1:])])
    )
    sets = ('--evaluate', f'A={evaluation}', f'B={none}')
    runs = tmp_path / 'runs'
    assert (
        experiments(['--table=pooling', f'--output={runs}', f'--data.root={places}', *sets]) == 2
    )
    assert 'none of its queries has a true match' in one_line(capsys)
    assert not runs.exists()


def test_the_figure_of_learning_rates_needs_no_data(tmp_path: Path) -> None:
    assert experiments(['--figure=lr', f'--output={tmp_path}']) == 0
    picture = cv2.imread(str(tmp_path / 'figures' / 'learning_rate.png'))
    assert picture is not None and picture.std() > 5


@pytest.mark.parametrize(
    'changed',
    [
        {'history': []},
        {'history': 'epochs'},
        {'history': [{'epoch': 4}, 'row']},
        {'history': [{'epoch': 4, 'loss': 'low'}]},
        {'history': [{'loss': 1.0}, {'epoch': 4}]},
        {'epoch': 'four'},
        {'done': -1},
        {'best': 'high'},
        {'best_epoch': None},
        {'loss_sum': {}},
        {'order': 3},
    ],
)
def test_progress_that_no_run_can_have_made_is_refused(changed: dict[str, Any]) -> None:
    right = {'epoch': 4, 'step': 24, 'best': 0.5, 'best_epoch': 4, 'history': [{'epoch': 4}]}
    Progress(**right).check()
    with pytest.raises(ValueError, match=r'^progress: '):
        Progress(**right | changed).check()


def test_a_checkpoint_whose_progress_makes_no_sense_is_one_line(
    tmp_path: Path, unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = torch.load(unbroken / 'last.ckpt', weights_only=True)
    held['progress']['history'] = []
    shutil.copyfile(unbroken / 'config.yaml', tmp_path / 'config.yaml')
    torch.save(held, tmp_path / 'last.ckpt')
    before = (tmp_path / 'last.ckpt').read_bytes()
    capsys.readouterr()
    assert train([f'--resume={tmp_path}', '--epochs=5']) == 2
    assert 'last.ckpt: progress: history has no epoch' in one_line(capsys)
    assert (tmp_path / 'last.ckpt').read_bytes() == before


def test_a_checkpoint_of_other_types_is_one_line(
    tmp_path: Path, unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = torch.load(unbroken / 'last.ckpt', weights_only=True)
    shutil.copyfile(unbroken / 'config.yaml', tmp_path / 'config.yaml')
    torch.save(held | {'network': 3}, tmp_path / 'last.ckpt')
    assert train([f'--resume={tmp_path}', '--epochs=5']) == 2
    assert 'last.ckpt: network is a int, expected a dict' in one_line(capsys)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.startswith('error: ') and said.count('\n') == 1, said
    return said


def until(done: object, process: 'subprocess.Popen[str]') -> None:
    """Wait until done() while the process runs."""
    ends = time.monotonic() + 120
    while not done():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < ends, 'took too long'
        time.sleep(0.02)
