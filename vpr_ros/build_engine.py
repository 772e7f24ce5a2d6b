"""Build a model's engine for TensorRT or TensorRT-RTX ahead of the node, and check the result.

The node builds the engine itself where there is none, but that takes minutes, which a robot may
not have at start. With --for, TensorRT-RTX builds it on a machine without a GPU. With --check, the
images of a recording are described by the engine and by onnxruntime on the CPU, one at a time: how
alike the descriptors are, what recall both have, and how long both take. With --choose, every
backend that is here is timed with 1, 2, 4 ... threads. The node remembers the times.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from vpr_ros.cli.command import Parser, command, say_drive
from vpr_ros.cli.drive_options import add_drive, drive_options
from vpr_ros.cli.options import add_model, add_radius, add_threads
from vpr_ros.core.atomic import require_writable, unwritable_as
from vpr_ros.core.describing.backend import (
    Chosen,
    default_engine_cache,
    engine_precision,
    open_tensorrt,
)
from vpr_ros.core.describing.choosing import measured_ways, table, threads_within
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.engine import build_ahead
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.describing.tensorrt_library import (
    LIBRARIES,
    LibraryName,
    MissingLibraryError,
    Progress,
    load,
)
from vpr_ros.core.errors import BackendError, ConfigError
from vpr_ros.drives import open_drive
from vpr_ros.drives.same_frame import require_one_frame
from vpr_ros.evaluating.engine_check import describe_twice, report
from vpr_ros.evaluating.tolerance import Tolerance

PRECISIONS = ('auto', 'fp32', 'fp16', 'int8')
_NEXT_STEP = 'docs/how-to/jetson.md says how to install it; without it the node uses onnxruntime'


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser(prog='build_engine', description=(__doc__ or '').split('\n\n')[0])
    add_model(parser)
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='auto',
        help='auto: fp16; or fp32 if the library takes the precision from the graph (TensorRT '
        '11, TensorRT-RTX) and the model has no fp16 graph',
    )
    parser.add_argument(
        '--library',
        choices=LIBRARIES,
        help='library to use (default: TensorRT if it is installed, or else TensorRT-RTX)',
    )
    parser.add_argument(
        '--for',
        dest='capabilities',
        nargs='+',
        metavar='CAPABILITY',
        help='build with TensorRT-RTX for these compute capabilities, such as 8.9; needs no GPU',
    )
    parser.add_argument(
        '--cache',
        type=Path,
        metavar='DIR',
        help="folder for the engines (default: vpr_ros/engines in the user's cache)",
    )
    parser.add_argument(
        '--choose',
        action='store_true',
        help='time all backends of this machine, on the CPU with up to --threads threads; the '
        'node goes by these times',
    )
    parser.add_argument('--rebuild', action='store_true', help='build even if the engine exists')
    parser.add_argument(
        '--check',
        metavar='BAG',
        help='a bag or folder to compare the engine with onnxruntime on the CPU',
    )
    parser.add_argument(
        '--map-bag',
        metavar='BAG',
        help='with --check: the drive that serves as the map (default: every second image)',
    )
    add_radius(parser)
    add_threads(parser)
    add_drive(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = make_parser().parse_args(argv)
    if arguments.map_bag and not arguments.check:
        raise ConfigError(
            '--map-bag works only with --check BAG; add --check or leave out --map-bag'
        )
    if arguments.capabilities and (arguments.check or arguments.library == 'TensorRT'):
        raise ConfigError(
            '--for only builds an engine, and only with TensorRT-RTX; leave out --check and '
            '--library TensorRT'
        )
    others = (arguments.capabilities, arguments.check, arguments.library, arguments.rebuild)
    if arguments.choose and any(others):
        raise ConfigError(
            '--choose times this machine only; leave out --for, --check, --library and --rebuild'
        )
    cache = arguments.cache or default_engine_cache()
    with unwritable_as(ConfigError, cache, next_step='choose another folder with --cache'):
        require_writable(cache / 'file')  # before the minutes that it takes to fill it
    if arguments.choose:
        return _choose(arguments, cache)
    reference = Model.open(arguments.model or default_model(), precision='fp32')
    with tqdm(bar_format='{desc}', disable=None) as line:
        try:
            if arguments.capabilities:
                for path in _built_ahead(arguments, reference, cache, line.set_description_str):
                    line.write(str(path))
                return 0
            chosen = _opened(arguments, reference, cache, line.set_description_str)
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


def _choose(arguments: argparse.Namespace, cache: Path) -> int:
    """Print a line for each way to run the model here; the node takes the best from now on."""
    model = Model.open(arguments.model or default_model(), precision=arguments.precision)
    with tqdm(bar_format='{desc}', disable=None) as line:
        measured = measured_ways(
            model,
            most_threads=arguments.threads or threads_within(1.0),
            cache=cache,
            progress=line.set_description_str,
        )
    print(f'{model.card.name} {model.precision}')
    print('\n'.join(table(measured)))
    return 0


def _built_ahead(
    arguments: argparse.Namespace, model: Model, cache: Path, progress: Progress
) -> Iterator[Path]:
    library = load('TensorRT-RTX')
    for capability in arguments.capabilities:
        yield build_ahead(
            library,
            model,
            capability,
            precision=engine_precision(arguments.precision),
            cache=cache,
            progress=progress,
            rebuild=arguments.rebuild,
        )


def _opened(
    arguments: argparse.Namespace, model: Model, cache: Path, progress: Progress
) -> Chosen:
    """Open the model with the chosen library, or with the first that is installed."""
    wished: tuple[LibraryName, ...] = (arguments.library,) if arguments.library else LIBRARIES
    missing: list[str] = []
    for library in wished:
        try:
            return open_tensorrt(
                model,
                library=library,
                precision=arguments.precision,
                cache=cache,
                progress=progress,
                rebuild=arguments.rebuild,
            )
        except MissingLibraryError as error:
            missing.append(str(error))
    raise BackendError('; '.join(missing))


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
