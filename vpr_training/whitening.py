"""Whiten a network's descriptors on images without labels: a training without a gradient.

  python -m vpr_training.whitening --config config/train/whiten_lite0.yaml --data.root IMAGES

Means and covariances are those of the images, as the trainer would see them (crops, RandAugment,
disturbed light), over `epochs` passes: of the parts of the aggregator `whitened`, of what any
aggregator gives, before its projection to `descriptor_size` numbers, and of the cells, where
`network.cells` asks for some. RUN/best.ckpt is exported, or trained further, as that of any run.
Some minutes for a few thousand images on a laptop.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jsonargparse import ArgumentParser

from vpr_ros.cli.command import command
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings_parser import HelpFormatter, add_settings, parse, settings
from vpr_training.runs.whitening_run import whitening_run


def make_parser() -> ArgumentParser:
    """The options of the command."""
    parser = ArgumentParser(
        prog='python -m vpr_training.whitening',
        usage='%(prog)s --config FILE [--KEY VALUE ...] [--output RUN]',
        description=__doc__,
        formatter_class=HelpFormatter,
        exit_on_error=False,
    )
    add_settings(parser)
    parser.add_argument(
        '--output', type=str, default='runs/whitened', metavar='RUN', help="the run's folder"
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    parser = make_parser()
    arguments = parse(parser, argv)
    folder = RunFolder(Path(arguments.output))
    config = settings(parser, arguments, source='settings')
    for beside in ('config', 'output'):
        arguments.pop(beside, None)
    whitening_run(
        config,
        folder,
        say=partial(print, flush=True),
        config_yaml=parser.dump(arguments, skip_unset=False),
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
