"""Build a model's TensorRT engine on this robot, ahead of the node; and check what it gives.

The node builds the engine itself where there is none, but that takes minutes, which a robot may
not have at start. With --check, the images of a recording are described by the engine and by
onnxruntime on the CPU, one at a time: how alike the descriptors are, what recall both have, and
how long both take.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vpr_ros.cli.command import Parser, command, say_drive
from vpr_ros.cli.options import add_drive, add_model, add_radius, add_threads, drive_options
from vpr_ros.core.describing.backend import default_engine_cache, open_tensorrt
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.errors import BackendError, ConfigError
from vpr_ros.drives import open_drive
from vpr_ros.drives.same_frame import require_one_frame
from vpr_ros.evaluating.engine_check import describe_twice, report
from vpr_ros.evaluating.tolerance import Tolerance

PRECISIONS = ('auto', 'fp32', 'fp16', 'int8')
_NEXT_STEP = 'docs/jetson.md says how to install it; without it the node uses onnxruntime'


def _parser() -> Parser:
    parser = Parser(prog='build_engine', description=(__doc__ or '').split('\n\n')[0])
    add_model(parser)
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='auto',
        help='auto: fp16, or fp32 where TensorRT 11 finds no fp16 graph in the model',
    )
    parser.add_argument(
        '--cache', type=Path, metavar='DIR', help="default: vpr_ros/engines in the user's cache"
    )
    parser.add_argument('--rebuild', action='store_true', help='also where the engine is kept')
    parser.add_argument(
        '--check', metavar='BAG', help='a bag or folder: compare with onnxruntime on the CPU'
    )
    parser.add_argument(
        '--map-bag',
        metavar='BAG',
        help='with --check: the drive to find its images in (default: every second image)',
    )
    add_radius(parser)
    add_threads(parser)
    add_drive(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    if arguments.map_bag and not arguments.check:
        raise ConfigError('--map-bag: needs --check BAG, whose images are found in it')
    reference = Model.open(arguments.model or default_model(), precision='fp32')
    cache = arguments.cache or default_engine_cache()
    with tqdm(bar_format='{desc}', disable=None) as line:
        try:
            chosen = open_tensorrt(
                reference,
                precision=arguments.precision,
                cache=cache,
                progress=line.set_description_str,
                rebuild=arguments.rebuild,
            )
        except BackendError as error:
            raise BackendError(f'{error}; {_NEXT_STEP}') from error
    try:
        print(f'{reference.card.name}: {chosen.name}')
        print(chosen.reason or f'kept in {cache}')
        if arguments.check:
            _check(arguments, chosen.describer, reference)
    finally:
        chosen.close()
    return 0


def _check(arguments: argparse.Namespace, engine: Describer, model: Model) -> None:
    reference = OnnxDescriber(model, threads=arguments.threads)
    gap_s = arguments.max_pose_gap
    mapped = map_drive = None
    if arguments.map_bag:
        map_drive = open_drive(Path(arguments.map_bag), drive_options(arguments))
    datum = map_drive.datum if map_drive is not None else None
    drive = open_drive(Path(arguments.check), drive_options(arguments, datum=datum))
    if map_drive is not None:
        require_one_frame(map_drive, drive)
        mapped = describe_twice(map_drive, engine, reference, max_pose_gap_s=gap_s)
        say_drive(map_drive)
    checked = describe_twice(drive, engine, reference, max_pose_gap_s=gap_s)
    say_drive(drive)
    print('\n'.join(report(checked, mapped, Tolerance(arguments.radius))))


if __name__ == '__main__':
    sys.exit(main())
