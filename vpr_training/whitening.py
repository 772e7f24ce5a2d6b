"""Whiten the descriptors of a network on images without labels: training without a gradient.

  python -m vpr_training.whitening --config config/train/whiten_lite0.yaml --data.root IMAGES

The command computes means and covariances over `epochs` passes. It sees the images as the trainer
does, with crops, RandAugment and disturbed light. It whitens the parts of the aggregator
`whitened`, the output of any aggregator before its projection to `descriptor_size` numbers, and
the cells if `network.cells` is set. A few thousand images take some minutes on two cores.

IMAGES is a folder of image files, if `data.images_per_place` is 1; otherwise a set of places. The
settings that count are epochs, seed, init, network, data and whitening; those of the optimizer,
the schedule, the loss and validation do not.

The command writes RUN: config.yaml, run.json and best.ckpt. It replaces no other run. Ctrl-C loses
the passes so far; start it again. Next: python -m vpr_training.export --checkpoint RUN/best.ckpt
--output MODEL. You can also train RUN/best.ckpt further (--init), like that of any run.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jsonargparse import ArgumentParser

from vpr_ros.cli.command import command
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings_parser import parse, settings, settings_parser
from vpr_training.runs.whitening_run import whitening_run


def make_parser() -> ArgumentParser:
    """The options of the command."""
    parser = settings_parser(
        prog='python -m vpr_training.whitening',
        usage='%(prog)s --config FILE [--KEY VALUE ...] [--output RUN]',
        description=__doc__,
    )
    parser.add_argument(
        '--output',
        type=str,
        default='runs/whitened',
        metavar='RUN',
        help='the folder to write (default: %(default)s)',
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
