"""The options that several commands have: one that is defined here means the same in each."""

import argparse
from pathlib import Path

from vpr_ros.batch.workers import MOST_PROCESSES, Workers
from vpr_ros.cli.drive_options import add_drive
from vpr_ros.cli.option_values import count, positive, threads
from vpr_ros.core.describing.precision import WANTED
from vpr_ros.core.errors import ConfigError

RADIUS_M = 5.0
"""How near a place has to be to count as right, unless --radius says otherwise."""


def add_model(parser: argparse.ArgumentParser, *, default: str = 'the shipped model') -> None:
    """Add --model; `default` tells which one is taken without it."""
    parser.add_argument(
        '--model', type=Path, metavar='MODEL', help=f'the model folder (default: {default})'
    )


def add_radius(parser: argparse.ArgumentParser, *, note: str = '') -> None:
    """Add --radius, within which an answer is right; `note` follows that sentence."""
    parser.add_argument(
        '--radius',
        type=positive,
        default=RADIUS_M,
        metavar='M',
        help=f'a place this near is right{note} (default: %(default)g m)',
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads, of the model; 0 is a thread for every core."""
    parser.add_argument(
        '--threads',
        type=threads,
        default=0,
        metavar='N',
        help='threads of the model (default: every core)',
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add --precision, which has the meaning of the node's parameter of that name."""
    parser.add_argument(
        '--precision',
        choices=WANTED,
        default='auto',
        help="number format of the network; auto takes the fastest that the model's card allows "
        '(default: %(default)s)',
    )


def add_landmarks(parser: argparse.ArgumentParser, *, meaning: str) -> None:
    """Add --landmarks, with or without the kind of their features; `meaning` explains it."""
    parser.add_argument('--landmarks', nargs='?', const='', metavar='FEATURES', help=meaning)


def add_workers(parser: argparse._ActionsContainer, *, what: str) -> None:
    """Add --workers and --ray, which say who works on many of `what`."""
    parser.add_argument(
        '--workers',
        type=count,
        default=0,
        metavar='N',
        help=f'number of processes, each with its own {what} (default: 1; with --ray, one for '
        'every core)',
    )
    parser.add_argument(
        '--ray',
        nargs='?',
        const='',
        metavar='ADDRESS',
        help='run the workers with Ray, on this machine or on the cluster at ADDRESS (HOST:PORT, '
        "auto). All machines must see the same files. Needs pip install 'vpr_ros[batch]'",
    )


def workers_of(arguments: argparse.Namespace, *, threads: int = 0) -> Workers:
    """What --workers and --ray say; threads: of each worker, 0: its share of the cores.

    Raises ConfigError for more processes than a machine is to start; a cluster may have more.
    """
    if arguments.workers > MOST_PROCESSES and not arguments.ray:
        raise ConfigError(
            f'--workers {arguments.workers}: expected at most {MOST_PROCESSES} on this machine'
        )
    return Workers(count=arguments.workers, threads=threads, ray=arguments.ray)


def add_mapping(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Add what says which images are mapped: --bag or --images, --every, and how to read them.

    many: add --bags, too.
    """
    source = parser.add_mutually_exclusive_group(required=True)
    if many:
        source.add_argument(
            '--bags',
            type=Path,
            nargs='+',
            metavar='BAG',
            help='several bags and posed folders, or folders that contain them',
        )
    source.add_argument(
        '--bag', metavar='BAG', help='a ROS 1, sqlite3 or mcap bag, or a posed folder'
    )
    source.add_argument(
        '--images',
        metavar='DIR',
        help='a folder: images/ with poses.csv, @utm@ file names, or photos with EXIF GPS',
    )
    parser.add_argument(
        '--every',
        default='0m',
        metavar='DISTANCE',
        help='leave out images that are closer than this to the last one, for example 1.5m or '
        '0.5s (default: keep all)',
    )
    add_landmarks(
        parser,
        meaning='kind of the landmarks, which make poses exact: cells (to decimetres, in any '
        'light), sift (to centimetres, in the same light as the map), xfeat, xfeat-lighterglue '
        'or none. Default of a new map: cells if the drive has camera_info and headings. '
        'Default of an appended drive: as in the map',
    )
    parser.add_argument(
        '--view',
        type=Path,
        metavar='FILE',
        help='camera_info.yaml of another camera: map the images as it would have taken them. '
        'Take the narrowest lens of your robots (default of a new map: the images as they are; '
        "of an appended drive: the view of the map's camera, if the drive shows all of it)",
    )
    add_no_thumbnails(parser)
    add_threads(parser)
    add_precision(parser)
    add_drive(parser)


def source_of(arguments: argparse.Namespace) -> Path:
    """What --bag or --images of `add_mapping` names."""
    return Path(arguments.images if arguments.bag is None else arguments.bag)


def add_no_thumbnails(parser: argparse.ArgumentParser) -> None:
    """Add --no-thumbnails, of a map that is written."""
    parser.add_argument(
        '--no-thumbnails',
        dest='thumbnails',
        action='store_false',
        help='do not store small pictures. They are half of a map; only map check, reports and '
        'the debug image use them',
    )


def add_half(parser: argparse.ArgumentParser) -> None:
    """Add --half, of a map that is written."""
    parser.add_argument(
        '--half',
        action='store_true',
        help='store descriptors in half precision; programs older than map format 3 refuse '
        'such a map',
    )
