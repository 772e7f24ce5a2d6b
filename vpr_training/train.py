"""Train a place-recognition model, or continue a run.

  python -m vpr_training.train --config config/train/resnet18_mixvpr.yaml --data.root DIR
  python -m vpr_training.train --config config/train/finetune_own_drive.yaml --data.root DRIVE
  python -m vpr_training.train --resume RUN

The first command trains from the weights of the backbone. The second fine-tunes the shipped model
on a bag, a posed folder, or a folder of several, and ends with a model, a map, and recall before
and after. The third continues a stopped run.

A flag after the file overrides a setting of the file. The folder of the run gets the settings,
versions, curves, and two checkpoints: last.ckpt to continue from, best.ckpt to export. Ctrl-C
saves and ends. --resume takes the same next steps as a run that was never stopped.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from operator import attrgetter
from pathlib import Path

from jsonargparse import ArgumentParser

from vpr_ros.cli.command import command
from vpr_training.basics.errors import TrainingError
from vpr_training.models.network import NetworkConfig
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.settings_parser import parse, settings, settings_parser
from vpr_training.runs.start import from_anywhere, started
from vpr_training.runs.training_run import train

_KEPT = (
    'optimizer.name', 'optimizer.lr', 'optimizer.weight_decay', 'optimizer.options',
    'scheduler.name', 'scheduler.options',  # last.ckpt holds these
    'init',  # the weights are in last.ckpt, and fine-tuning compares with where they came from
    'data.held_out', 'validation.radius',  # say what the best epoch so far was measured on
)  # fmt: skip
"""Settings that a resumed run keeps."""

_JUDGING = (
    'loss.name', 'loss.options', 'loss.miner', 'loss.miner_options',
    'distillation.maps', 'distillation.similarities', 'distillation.cells',
)  # fmt: skip
"""Settings that it keeps, too, where the loss chooses its best epoch or moves its schedule."""


def make_parser() -> ArgumentParser:
    """The options of the command."""
    parser = settings_parser(
        prog='python -m vpr_training.train',
        usage='%(prog)s [--config FILE] [--KEY VALUE ...] [--output RUN | --resume RUN]',
        description=__doc__,
    )
    parser.add_argument(
        '--output',
        type=str,
        metavar='RUN',
        help='the folder of the run (default: runs/ and the time)',
    )
    parser.add_argument(
        '--resume', type=str, metavar='RUN', help='continue the run in this folder'
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    arguments = parse(parser, argv)
    for name in ('output', 'resume'):
        if arguments[name] == '':
            raise TrainingError(f'--{name}: is empty, expected the folder of a run')
    resume = bool(arguments.resume)
    if resume and arguments.output:
        raise TrainingError(
            f'--output {arguments.output}: a resumed run goes on in its own folder, '
            f'{arguments.resume}; leave --output out'
        )
    folder = RunFolder(
        Path(arguments.resume or arguments.output or f'runs/{time.strftime("%Y%m%d-%H%M%S")}')
    )
    if resume:
        if not folder.config.exists():
            raise TrainingError(f'{folder.config}: no such file; is {folder.folder} a run?')
        begun = parse(parser, ['--config', str(folder.config)])
        arguments = parse(parser, ['--config', str(folder.config), *argv])
        _require_same(
            settings(parser, begun, source=str(folder.config)),
            settings(parser, arguments, source='settings'),
            folder,
        )
    config = from_anywhere(settings(parser, arguments, source='settings'))
    if not resume:
        config = started(config)
    arguments.init = config.init
    arguments.data.root = config.data.root
    arguments.data.pose_files = list(config.data.pose_files)
    arguments.validation.roots = list(config.validation.roots)
    arguments.distillation.teacher = config.distillation.teacher
    for entry in fields(NetworkConfig):
        arguments.network[entry.name] = getattr(config.network, entry.name)
    for beside in ('config', 'output', 'resume'):
        arguments.pop(beside, None)
    train(
        config,
        folder,
        say=partial(print, flush=True),
        resume=resume,
        config_yaml=parser.dump(arguments, skip_unset=False),
    )
    return 0


def _require_same(held: TrainConfig, wanted: TrainConfig, folder: RunFolder) -> None:
    """Raise TrainingError for changed settings that would not count, or count for half a run."""
    by_loss = not (held.validation.roots or held.data.held_out) or held.scheduler.name == 'plateau'
    for name in (*_KEPT, *(_JUDGING if by_loss else ())):
        old, new = (attrgetter(name)(one) for one in (held, wanted))
        if old != new:
            raise TrainingError(
                f'{name} is {_said(old)} in {folder.folder}, and a resumed run keeps it, so it '
                f'cannot become {_said(new)}; leave it out, or start a new run with '
                f'--init {folder.last}'
            )


def _said(value: object) -> str:
    return 'empty' if value == '' else f'{value}'


if __name__ == '__main__':
    sys.exit(main())
