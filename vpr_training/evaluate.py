"""Measure how often models find the right place: Recall@N on a data set with known truth.

The command describes, searches and counts with the functions that the robot runs, so its figures
hold for the deployed model. An exported model needs no torch. A checkpoint is exported to a
temporary folder first. An ONNX file from elsewhere is used as it is. Descriptors are kept on disk,
so an interrupted run continues and a second run takes seconds.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from vpr_ros.cli.command import Parser, command
from vpr_ros.cli.option_values import count, output_file, positive, require_different
from vpr_ros.cli.options import add_precision, add_workers, workers_of
from vpr_training.basics.errors import TrainingError
from vpr_training.basics.files import write_json
from vpr_training.data.layouts import SPLITS, open_recall_set
from vpr_training.evaluating.descriptor_store import default_cache, forgotten_folder
from vpr_training.evaluating.recall import examine
from vpr_training.evaluating.report_page import write_report
from vpr_training.evaluating.table_and_json import as_json, as_table
from vpr_training.evaluating.third_party_onnx import LAYOUTS, SCALINGS, InputForm
from vpr_training.evaluating.verifying import BEST
from vpr_training.exporting.describers import open_describer


def _size(text: str) -> tuple[int, int]:
    """(height, width) from `HEIGHTxWIDTH`."""
    found = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)
    if not found:
        raise argparse.ArgumentTypeError(f'{text!r}: expected HEIGHTxWIDTH, for example 320x320')
    return int(found[1]), int(found[2])


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = Parser(
        prog='python -m vpr_training.evaluate',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--model',
        required=True,
        action='append',
        type=Path,
        metavar='MODEL',
        help='a model folder, a checkpoint, or an ONNX file; give it several times to compare',
    )
    parser.add_argument(
        '--dataset',
        required=True,
        type=Path,
        metavar='DIR',
        help='a folder of database/ and queries/, with gt.csv or @utm@ names; or of one '
        'sequence: images/ with gt.csv; or a tree of these, see --split',
    )
    parser.add_argument(
        '--split',
        choices=SPLITS,
        help='use DIR/images/SPLIT or DIR/SPLIT (default: the only one there)',
    )
    parser.add_argument(
        '--radius',
        type=positive,
        metavar='M',
        help='an answer within this many metres is right (default: 25); '
        'if there is a gt.csv, it decides instead',
    )
    parser.add_argument(
        '--verify',
        type=count,
        metavar='N',
        help='rank the best N places of each query again by their cells, and show recall both '
        f'ways (default: {BEST} for a model with cells; 0: no)',
    )
    add_precision(parser)
    parser.add_argument(
        '--json', type=output_file, metavar='FILE', help='write the figures to this file'
    )
    parser.add_argument(
        '--report', type=output_file, metavar='FILE.html', help='write a report to this file'
    )
    parser.add_argument(
        '--cache',
        type=Path,
        metavar='DIR',
        help="folder that keeps descriptors (default: vpr_ros/descriptors in the user's cache)",
    )
    parser.add_argument('--no-cache', action='store_true', help='do not keep descriptors')
    add_workers(parser, what='images')
    group = parser.add_argument_group('ONNX files from elsewhere')
    group.add_argument(
        '--layout', choices=LAYOUTS, help='order of the axes (default: as the graph says)'
    )
    group.add_argument(
        '--scaling',
        choices=SCALINGS,
        help='how the graph expects pixels: imagenet (less the mean of ImageNet, divided by its '
        'deviation), unit (0 to 1) or bytes (0 to 255)',
    )
    group.add_argument(
        '--image-size',
        type=_size,
        metavar='HxW',
        help='size of the images, if the graph takes any size',
    )
    return parser


def _require_used(arguments: argparse.Namespace) -> None:
    """Raise TrainingError for what is said of ONNX files where no model is one."""
    if any(path.suffix.lower() == '.onnx' for path in arguments.model):
        return
    for option, value in (
        ('--layout', arguments.layout),
        ('--scaling', arguments.scaling),
        ('--image-size', arguments.image_size),
    ):
        if value:
            raise TrainingError(
                f'{option}: has an effect only on ONNX files from elsewhere, and no --model is '
                'one; leave it out'
            )


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = make_parser().parse_args(argv)
    require_different({'json': arguments.json, 'report': arguments.report})
    _require_used(arguments)
    images = open_recall_set(arguments.dataset, radius_m=arguments.radius, split=arguments.split)
    workers = workers_of(arguments)
    form = InputForm(arguments.layout, arguments.scaling, arguments.image_size)
    with ExitStack() as scratch:
        store = arguments.cache or default_cache()
        if arguments.no_cache:
            store = scratch.enter_context(forgotten_folder('evaluate-'))
        models = [
            open_describer(path, form, scratch, precision=arguments.precision)
            for path in arguments.model
        ]
        measured = [
            examine(describer, images, store, verify=arguments.verify, workers=workers)
            for describer in models
        ]
        for found in measured:
            print(as_table(found, images))
        if arguments.json:
            figures = [as_json(found, images) for found in measured]
            write_json(arguments.json, figures[0] | ({'models': figures} if figures[1:] else {}))
        if arguments.report:
            words = sys.argv[1:] if argv is None else argv
            repeat = shlex.join(['python', '-m', 'vpr_training.evaluate', *words])
            write_report(arguments.report, measured, images, command=repeat)
            print(f'report in {arguments.report}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
