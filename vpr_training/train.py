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
from pathlib import Path

from jsonargparse import ArgumentParser

from vpr_ros.cli.command import command
from vpr_training.basics.errors import TrainingError
from vpr_training.models.network import NetworkConfig
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.settings_parser import HelpFormatter, add_settings, parse, settings
from vpr_training.runs.start import started
from vpr_training.runs.training_run import train


def make_parser() -> ArgumentParser:
    """The options of the command."""
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
        help='the folder of the run (default: runs/ and the time)',
    )
    parser.add_argument(
        '--resume', type=str, default='', metavar='RUN', help='continue the run in this folder'
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    arguments = parse(parser, argv)
    resume = bool(arguments.resume)
    folder = RunFolder(
        Path(arguments.resume or arguments.output or f'runs/{time.strftime("%Y%m%d-%H%M%S")}')
    )
    if resume:
        if not folder.config.exists():
            raise TrainingError(f'{folder.config}: no such file; is {folder.folder} a run?')
        begun = parse(parser, ['--config', str(folder.config)])
        arguments = parse(parser, ['--config', str(folder.config), *argv])
        _require_same_rates(
            settings(parser, begun, source=str(folder.config)),
            settings(parser, arguments, source='settings'),
            folder,
        )
    config = settings(parser, arguments, source='settings')
    if not resume:
        config = started(config)
        arguments.init = config.init
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


def _require_same_rates(held: TrainConfig, wanted: TrainConfig, folder: RunFolder) -> None:
    """Raise TrainingError for changed settings that a checkpoint holds: they would not count."""
    for group, names in (
        ('optimizer', ('name', 'lr', 'weight_decay', 'options')),
        ('scheduler', ('name', 'options')),
    ):
        for name in names:
            old, new = (getattr(getattr(one, group), name) for one in (held, wanted))
            if old != new:
                raise TrainingError(
                    f'{group}.{name} is {old} in {folder.folder}, and last.ckpt keeps it, so it '
                    f'cannot become {new}; leave it out, or start a new run with '
                    f'--init {folder.last}'
                )


if __name__ == '__main__':
    sys.exit(main())
