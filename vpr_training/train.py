"""Train a place-recognition model, or go on with a run.

  python -m vpr_training.train --config config/train/resnet18_mixvpr.yaml --data.root DIR
  python -m vpr_training.train --config config/train/finetune_own_drive.yaml --data.root DRIVE
  python -m vpr_training.train --resume RUN

The first trains from the backbone's weights; the second fine-tunes the shipped model on a bag or
posed folder, or a folder of several, and ends with a model, a map, and recall before and after.

Every setting of the file can be given as a flag after it. The run's folder gets the settings,
versions, curves, and two checkpoints: last.ckpt to go on from, best.ckpt to export. Ctrl-C saves
and ends; --resume goes on with the same next steps as a run that was never stopped.
"""

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.fabric import Fabric, seed_everything

from vpr_ros.cli.command import command
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_training.basics.errors import TrainingError
from vpr_training.data.layouts import open_held_out, open_places, open_recall_set
from vpr_training.data.loader import training_batches
from vpr_training.data.pictures import draw_run
from vpr_training.data.places import PlaceSet
from vpr_training.data.recall_set import RecallSet
from vpr_training.export import load_checkpoint
from vpr_training.exporting.network_from_graph import config_of, load_model
from vpr_training.models.network import Network, NetworkConfig
from vpr_training.runs.fine_tuning import finish, map_drive
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import HelpFormatter, TrainConfig, add_settings, parse, settings
from vpr_training.runs.training_loop import Log, Progress, Training, no_log
from vpr_training.runs.validation import Validation


def train(
    config: TrainConfig, folder: RunFolder, *, resume: bool = False, config_yaml: str = ''
) -> Progress:
    """Run a training to its end, from the start or from the folder's last checkpoint.

    Raises VprError for data, weights or checkpoints that cannot be used, and KeyboardInterrupt,
    with everything saved, when it is told to stop.
    """
    if config.data.images_per_place < 2 and not config.distillation.teacher:
        raise TrainingError(
            f'data.images_per_place is {config.data.images_per_place}, expected 2 or more; '
            'only a distillation.teacher needs no places'
        )
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
    if held is not None:
        training.restore(held, source=str(folder.last))
    if not fabric.is_global_zero:
        return training.run()
    if held is None:
        folder.create(config_yaml, seed=config.seed)
    print(_summary(places, network, len(batches), config.steps, fabric, folder), flush=True)
    with _tensorboard(folder, training.progress.step) as log:
        progress = training.run(log)
    best = next(row for row in progress.history if row['epoch'] == progress.best_epoch)
    draw_run(progress.history, folder.folder / 'curves.png', title=folder.folder.name)
    if config.finish:
        with _resumable(folder):
            outcome = finish(config, sets, folder)
            print(outcome, flush=True)
            print(map_drive(config, outcome.recommended, folder))
    else:
        print(_result(progress, best, folder))
    folder.finish(best)
    return progress


def _sets(config: TrainConfig) -> list[RecallSet]:
    """What recall is measured on: the held-out part first, then the other sets."""
    radius_m = config.validation.radius
    held = [open_held_out(config.data, radius_m=radius_m)] if config.data.held_out else []
    return held + [
        open_recall_set(Path(root), radius_m=radius_m or None) for root in config.validation.roots
    ]


@contextmanager
def _resumable(folder: RunFolder) -> Iterator[None]:
    """Inside, Ctrl-C says how to go on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            'stopped by Ctrl-C after the last epoch; go on with: '
            f'python -m vpr_training.train --resume {folder.folder}'
        ) from interrupt


def _fabric(config: TrainConfig) -> Fabric:
    on_gpu = config.accelerator == 'gpu' or (
        config.accelerator == 'auto' and torch.cuda.is_available()
    )
    if on_gpu and not torch.cuda.is_available():
        raise TrainingError('accelerator gpu: torch sees none; use --accelerator cpu')
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


def started(config: TrainConfig) -> TrainConfig:
    """The settings with `init` found, and with its network where it is a model folder.

    Of `network`, a model folder leaves open what learns (frozen_stages); raises VprError, also
    where a setting of `network` says something else than the model.
    """
    init = default_model() if config.init == 'shipped' else Path(config.init)
    if not config.init or not init.is_dir():
        return config
    network = config_of(Model.open(init, precision='fp32').card, init)
    for entry in fields(NetworkConfig):
        wanted, held = (getattr(one, entry.name) for one in (config.network, network))
        chosen = wanted != getattr(NetworkConfig(), entry.name)
        if entry.name not in ('frozen_stages', 'weights') and chosen and wanted != held:
            raise TrainingError(
                f'{init}: of another architecture: network.{entry.name} is {held}, not {wanted}; '
                'leave it out, or start from a checkpoint of that network'
            )
    network = replace(network, frozen_stages=config.network.frozen_stages)
    network.check(str(init))
    return replace(config, init=str(init), network=network)


def initial_network(config: TrainConfig) -> Network:
    """The network at its start, of settings that are `started`; raises VprError.

    A checkpoint without a projection may get one (network.descriptor_size), of random weights.
    """
    if not config.init:
        return Network(config.network)
    if Path(config.init).is_dir():
        return load_model(Path(config.init), config.network)
    network = Network(replace(config.network, weights=None))
    held = load_checkpoint(Path(config.init))
    state = held.state_dict()
    if not held.config.descriptor_size:
        state.update(network.projection.state_dict(prefix='projection.'))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        line = ' '.join(str(error).split())[:300]
        raise TrainingError(f'{config.init}: of another architecture: {line}') from error
    return network


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
    batches: int,
    steps: int,
    fabric: Fabric,
    folder: RunFolder,
) -> str:
    learning = sum(one.numel() for one in network.parameters() if one.requires_grad)
    held = sum(one.numel() for one in network.parameters())
    config = network.config
    stop = f', {steps} steps in all' if steps else ''
    return '\n'.join(
        [
            f'{places}',
            f'network: {config.backbone} + {config.aggregator}, {network.descriptor_size} numbers '
            f'an image, {held / 1e6:.2f} M parameters, {learning / 1e6:.2f} M of them learn',
            f'{batches} batches an epoch{stop}, on {fabric.world_size} x {fabric.device.type}; '
            f'run folder {folder.folder}',
        ]
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog='python -m vpr_training.train',
        usage='%(prog)s [--config FILE] [--KEY VALUE ...] [--output RUN | --resume RUN]',
        description=__doc__,
        formatter_class=HelpFormatter,
        exit_on_error=False,
    )
    add_settings(parser)
    parser.add_argument(
        '--output',
        type=str,
        default='',
        metavar='RUN',
        help="the run's folder; empty: runs/ and the time",
    )
    parser.add_argument(
        '--resume', type=str, default='', metavar='RUN', help='go on with the run in this folder'
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    arguments = parse(parser, argv)
    resume = bool(arguments.resume)
    folder = RunFolder(
        Path(arguments.resume or arguments.output or f'runs/{time.strftime("%Y%m%d-%H%M%S")}')
    )
    if resume:
        if not folder.config.exists():
            raise TrainingError(f'{folder.config}: no such file; is {folder.folder} a run?')
        arguments = parse(parser, ['--config', str(folder.config), *argv])
    config = settings(parser, arguments, source='settings')
    if not resume:
        config = started(config)
        arguments.init = config.init
        for entry in fields(NetworkConfig):
            arguments.network[entry.name] = getattr(config.network, entry.name)
    for beside in ('config', 'output', 'resume'):
        arguments.pop(beside, None)
    train(config, folder, resume=resume, config_yaml=parser.dump(arguments, skip_unset=False))
    return 0


def _result(progress: Progress, best: Mapping[str, float], folder: RunFolder) -> str:
    recalls = ', '.join(f'{name} {best[name]:.3f}' for name in best if '/R@' in name)
    return '\n'.join(
        [
            f'{progress.epoch} epochs, the best is {progress.best_epoch}: '
            + (recalls or f'loss {best["loss"]:.4f}'),
            f'next: python -m vpr_training.export --checkpoint {folder.best} --output MODEL',
        ]
    )


if __name__ == '__main__':
    sys.exit(main())
