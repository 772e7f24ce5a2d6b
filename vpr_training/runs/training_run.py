"""A training run from its settings to its end: data, network and loop are put together here."""

import logging
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric, seed_everything
from lightning.fabric.utilities.rank_zero import rank_zero_only

from vpr_ros.core.names import as_text
from vpr_ros.core.plurals import counted
from vpr_training.basics.errors import TrainingError
from vpr_training.data.layouts import open_held_out, open_places, open_recall_set
from vpr_training.data.loader import TrainingBatches, training_batches
from vpr_training.data.places import PlaceSet
from vpr_training.data.recall_set import RecallSet
from vpr_training.learning.schedules import rates_over_epochs
from vpr_training.models.network import Network
from vpr_training.runs.curves import draw_run
from vpr_training.runs.fine_tuning import finish, map_drive
from vpr_training.runs.progress import Progress
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.start import initial_network
from vpr_training.runs.training_loop import Log, Training, no_log
from vpr_training.runs.validation import Validation


def train(
    config: TrainConfig,
    folder: RunFolder,
    *,
    say: Callable[[str], object],
    resume: bool = False,
    config_yaml: str = '',
) -> None:
    """Run a training to its end, from the start or from the folder's last checkpoint.

    Raises VprError for data, weights or checkpoints that cannot be used, and KeyboardInterrupt,
    with everything saved, when it is told to stop. say: takes what is for people.
    """
    if config.data.images_per_place < 2 and not config.distillation.teacher:
        raise TrainingError(
            f'data.images_per_place is {config.data.images_per_place}, expected 2 or more; '
            'only training with distillation.teacher works without places'
        )
    # The first process starts the others, where there are some; lightning sets the attribute.
    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    with folder.only_writer() if first else nullcontext():
        _train(config, folder, say=say, resume=resume, config_yaml=config_yaml)


def _train(
    config: TrainConfig,
    folder: RunFolder,
    *,
    say: Callable[[str], object],
    resume: bool,
    config_yaml: str,
) -> None:
    if not resume:
        folder.require_new()  # before anything is read, and before other processes start
    held = folder.load() if resume else None
    fabric = _fabric(config)
    seed_everything(config.seed, verbose=False)
    places = open_places(config.data)
    sets = _sets(config)
    restored = replace(config.network, weights=None)  # its weights are in the checkpoint
    network = Network(restored) if resume else initial_network(config)
    batches = training_batches(
        places,
        config.data,
        height=config.network.image_height,
        width=config.network.image_width,
        seed=config.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    validation = Validation(
        sets, batch=config.validation.batch, workers=config.data.reading_processes
    )
    training = Training(
        fabric, config, network, batches, validation, folder, _provenance(places, config)
    )
    notes = [] if held is None else training.restore(held, source=str(folder.last))
    if not fabric.is_global_zero:
        with _ending_with_others(fabric):
            training.run()
        return
    if held is None:
        folder.create(config_yaml, seed=config.seed)
    else:
        folder.keep_settings(config_yaml)  # what was changed holds when it is resumed again
    say('\n'.join([_summary(places, network, batches, config, fabric, folder), *notes]))
    with _tensorboard(folder, training.progress.step) as log, _ending_with_others(fabric):
        progress = training.run(log)
    _end(config, sets, progress, folder, say)


@contextmanager
def _ending_with_others(fabric: Fabric) -> Iterator[None]:
    """Inside, the end of another process of the run is one line, for that one says why."""
    try:
        yield
    except RuntimeError as error:  # of gloo, it is no more than that
        lost = isinstance(error, torch.distributed.DistError) or 'gloo' in str(error)
        if fabric.world_size == 1 or not lost:
            raise
        raise TrainingError(
            'another process of this run has ended, so this one ends, too; its message says why'
        ) from error


def _end(
    config: TrainConfig,
    sets: Sequence[RecallSet],
    progress: Progress,
    folder: RunFolder,
    say: Callable[[str], object],
) -> None:
    """Curves, what fine-tuning leaves where it is asked for, and the mark that the run is done."""
    best = next(row for row in progress.history if row['epoch'] == progress.best_epoch)
    draw_run(progress.history, folder.folder / 'curves.png', title=as_text(folder.folder.name))
    if config.finish:
        with _resumable(folder):
            outcome = finish(config, sets, folder)
            say(str(outcome))
            say(map_drive(config, outcome.recommended, folder))
    else:
        say(_result(progress, best, folder))
    folder.finish(best)


def _sets(config: TrainConfig) -> list[RecallSet]:
    """What recall is measured on: the held-out part first, then the other sets."""
    radius_m = config.validation.radius
    held = [open_held_out(config.data, radius_m=radius_m)] if config.data.held_out else []
    sets = held + [
        open_recall_set(Path(root), radius_m=radius_m or None) for root in config.validation.roots
    ]
    names = [images.name for images in sets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise TrainingError(
            f'validation.roots: {twice[0]} is given twice, or two sets have this name; give the '
            'folder of one another name'
        )
    for images in sets:
        images.require_matches('validation.roots')
    return sets


@contextmanager
def _resumable(folder: RunFolder) -> Iterator[None]:
    """Inside, Ctrl-C says how to go on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            'stopped after the last epoch; continue with: '
            f'python -m vpr_training.train --resume {shlex.quote(str(folder.folder))}'
        ) from interrupt


def _fabric(config: TrainConfig) -> Fabric:
    on_gpu = config.accelerator == 'gpu' or (
        config.accelerator == 'auto' and torch.cuda.is_available()
    )
    if on_gpu and not torch.cuda.is_available():
        raise TrainingError('accelerator gpu: PyTorch found no GPU; use --accelerator cpu')
    devices: Any = config.devices or ('auto' if on_gpu else 1)
    many = devices not in (1, 'auto') or (devices == 'auto' and torch.cuda.device_count() > 1)
    precision = config.precision
    if precision == 'auto':
        precision = '16-mixed' if on_gpu else '32'
    fabric = Fabric(
        accelerator='gpu' if on_gpu else 'cpu',
        devices=devices,
        strategy='ddp' if many else 'auto',
        precision='32-true' if precision == '32' else precision,
    )
    logging.getLogger('lightning.fabric').setLevel(logging.WARNING)  # it greets at length
    fabric.launch()
    return fabric


def _provenance(places: PlaceSet, config: TrainConfig) -> dict[str, Any]:
    return {
        'training_data': places.name,
        'images': len(places.files),
        'places': places.places,
        'cities': list(places.cities),
        'loss': f'distilled from {Path(config.distillation.teacher).name}'
        if config.distillation.teacher
        else config.loss.name,
        'seed': config.seed,
    }


@contextmanager
def _tensorboard(folder: RunFolder, step: int) -> Iterator[Log]:
    """Where to log for TensorBoard; nowhere, if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield no_log
        return
    with SummaryWriter(str(folder.folder / 'tensorboard'), purge_step=step or None) as writer:
        yield lambda values, step: [writer.add_scalar(*one, step) for one in values.items()]


def _summary(
    places: PlaceSet,
    network: Network,
    batches: TrainingBatches,
    config: TrainConfig,
    fabric: Fabric,
    folder: RunFolder,
) -> str:
    learning = sum(one.numel() for one in network.parameters() if one.requires_grad)
    held = sum(one.numel() for one in network.parameters())
    built = network.config
    stop = f', {counted(config.steps, "step")} in all' if config.steps else ''
    return '\n'.join(
        [
            f'{places}',
            *(f'  left out: {said}' for said in batches.left_out),
            f'network: {built.backbone} + {built.aggregator}, {network.descriptor_size} numbers '
            f'an image, {held / 1e6:.2f} M parameters, {learning / 1e6:.2f} M of them learn',
            f'{counted(len(batches), "batch")} an epoch{stop}, on {fabric.world_size} x '
            f'{fabric.device.type}; run folder {folder.folder}',
            *_first_rate(config),
            *_warm_up(config, len(batches)),
        ]
    )


def _first_rate(config: TrainConfig) -> list[str]:
    """What to say where the schedule begins with another rate than the one that was asked for."""
    asked, begins = (
        config.optimizer.lr,
        rates_over_epochs(config.optimizer, config.scheduler, 1)[0],
    )
    if math.isclose(asked, begins):
        return []
    return [
        f'note: scheduler {config.scheduler.name} begins with a learning rate of {begins:g} '
        f'(scheduler.options), not with optimizer.lr, {asked:g}'
    ]


def _warm_up(config: TrainConfig, batches: int) -> list[str]:
    """What to say where a run ends before its warm-up does."""
    warmup = config.scheduler.warmup_steps
    steps = config.steps or config.epochs * batches
    if steps >= warmup:
        return []
    return [
        f'note: the warm-up takes {warmup} steps (scheduler.warmup_steps), but the run has '
        f'{steps}: its learning rate ends at {steps / warmup:.1%} of the scheduled one; '
        'lower scheduler.warmup_steps, or train for more steps'
    ]


def _result(progress: Progress, best: Mapping[str, float], folder: RunFolder) -> str:
    recalls = ', '.join(f'{name} {best[name]:.3f}' for name in best if '/R@' in name)
    return '\n'.join(
        [
            f'{counted(progress.epoch, "epoch")}, the best is {progress.best_epoch}: '
            + (recalls or f'loss {best["loss"]:.4f}'),
            folder.next_step(),
        ]
    )
