"""The options that several commands have, each with one meaning, and the numbers they may be.

An option that is defined here means the same in every command. A number that cannot be is refused
where it is read, in the same words, and not by a traceback of what would have computed with it.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from vpr_ros.batch.workers import MOST_PROCESSES, Workers
from vpr_ros.core.atomic import require_writable, unwritable_as
from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.model import CARD_NAME
from vpr_ros.core.describing.precision import MOST_THREADS, WANTED
from vpr_ros.core.errors import ConfigError, DriveError, VprError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.mapping.layout import HEADER_NAME
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Datum, Poses
from vpr_ros.drives.camera_info import CameraInfo
from vpr_ros.drives.drive import DriveOptions
from vpr_ros.drives.geographic import datum_at
from vpr_ros.drives.pose_file import read_pose_files

_NEEDED_NAMES = (HEADER_NAME, 'metadata.yaml', CARD_NAME)
_NEEDED_SUFFIXES = ('.bag', '.db3', '.mcap', '.onnx')

RADIUS_M = 5.0
"""How near a place has to be to count as right, unless --radius says otherwise."""


def positive(text: str) -> float:
    """The type of an option that is a finite number above 0."""
    return _number(text, 'a number above 0', lambda value: 0 < value < math.inf)


def not_negative(text: str) -> float:
    """The type of an option that is a finite number from 0."""
    return _number(text, 'a number of at least 0', lambda value: 0 <= value < math.inf)


def count(text: str) -> int:
    """The type of an option that is a whole number from 0."""
    expected = 'a whole number of at least 0'
    return int(_number(text, expected, lambda value: value >= 0 and value % 1 == 0))


def threads(text: str) -> int:
    """The type of an option that is a number of threads; 0 stands for every core."""
    expected = f'a whole number from 0 to {MOST_THREADS}'
    return int(_number(text, expected, lambda n: 0 <= n <= MOST_THREADS and n % 1 == 0))


def between(low: float, high: float) -> Callable[[str], float]:
    """The type of an option that is a number from `low` to `high`."""

    def within(text: str) -> float:
        return _number(text, f'{low:g} to {high:g}', lambda value: low <= value <= high)

    return within


def output_file(text: str) -> Path:
    """The type of an option that names a file to write: never one that a map or a bag needs.

    A slip of the keyboard would otherwise replace what a whole drive made. Raises ConfigError for
    a file that cannot be written, which is told before the work and not after it.
    """
    path = Path(text)
    above = path.absolute().parents  # of parts/0000/poses.npy in a map
    is_part = len(above) > 2 and above[1].name == 'parts' and (above[2] / HEADER_NAME).exists()
    is_needed = path.name in _NEEDED_NAMES or path.suffix in _NEEDED_SUFFIXES or is_part
    if is_needed and path.exists():
        raise argparse.ArgumentTypeError(
            f'{text}: a file of a map, a bag or a model, which is not replaced; give another name'
        )
    if path.exists() and not path.is_file():
        raise ConfigError(f'{text}: cannot be written (it exists and is not a regular file)')
    if not path.parent.exists():
        raise ConfigError(
            f'{text}: cannot be written, because there is no folder {path.parent}; create it first'
        )
    with unwritable_as(ConfigError, text):
        require_writable(path)
    return path


def require_different(outputs: Mapping[str, Path | None]) -> None:
    """Raise ConfigError where two options name one output, of which only the last would be left.

    outputs: paths by their options; None of an option that was not given.
    """
    held: dict[str, str] = {}
    for name, path in outputs.items():
        other = name if path is None else held.setdefault(os.path.realpath(path), name)
        if other != name:
            raise ConfigError(
                f'--{other} and --{name}: both write {path}, expected another name for each'
            )


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


def add_drive(parser: argparse.ArgumentParser) -> None:
    """Add the options for topics, frames, mounting, datum and gaps between poses."""
    group = parser.add_argument_group('reading the recording')
    group.add_argument(
        '--image-topic', metavar='T', help='topic of the images (default: the only one)'
    )
    group.add_argument(
        '--depth-topic',
        metavar='T',
        help='topic of depth images that are aligned with the images, for landmarks '
        '(default: one with aligned_depth or depth_registered in its name)',
    )
    group.add_argument(
        '--pose-topic',
        metavar='T',
        help='topic of the poses (default: tf from map to the base, or else the only topic of '
        'poses, or else tf from odom)',
    )
    group.add_argument(
        '--pose-file',
        action='append',
        default=[],
        type=Path,
        metavar='FILE',
        help='a trajectory in TUM format (t x y z qx qy qz qw), as SLAM systems write it: the '
        "robot's poses, at the images' clock, instead of those of the recording. For poses of "
        'the camera add --mounting "0 0 0 0 0 0 1". Give it several times for several drives',
    )
    group.add_argument(
        '--tf-frames',
        nargs=2,
        metavar=('MAP', 'BASE'),
        help='take the poses from /tf, between these two frames',
    )
    group.add_argument(
        '--tf-topic',
        metavar='T',
        help='topic of tf; tf_static beside it is read, too (default: in the namespace of the '
        'image topic)',
    )
    group.add_argument(
        '--pose-frame',
        metavar='FRAME',
        help='name of the frame of the poses, if the recording has another name for it than '
        'the map',
    )
    group.add_argument(
        '--mounting',
        metavar='"X Y Z QX QY QZ QW"',
        help='base_T_camera, of the optical frame (default: from /tf_static, or else a camera '
        'that looks forward)',
    )
    group.add_argument(
        '--datum', metavar='LAT,LON', help='origin of GPS positions (default: the first position)'
    )
    group.add_argument(
        '--max-pose-gap',
        type=not_negative,
        metavar='S',
        help='longest gap between two poses in seconds; images in a longer gap get no pose '
        '(default: 2.5 times the usual time between two poses, from 1 to 15 s)',
    )


def drive_options(arguments: argparse.Namespace, *, datum: Datum | None = None) -> DriveOptions:
    """What the options of `add_drive` say; `datum` is used without --datum. Raises DriveError."""
    others = {
        '--pose-topic': arguments.pose_topic,
        '--tf-frames': arguments.tf_frames,
        '--datum': arguments.datum,
    }
    if arguments.pose_file and (given := [name for name, value in others.items() if value]):
        raise DriveError(
            f'--pose-file and {" and ".join(given)} say where the poses come from; give one of '
            'them'
        )
    return DriveOptions(
        image_topic=arguments.image_topic,
        depth_topic=arguments.depth_topic,
        pose_topic=arguments.pose_topic,
        pose_files=read_pose_files(arguments.pose_file),
        tf_frames=tuple(arguments.tf_frames) if arguments.tf_frames else None,
        tf_topic=arguments.tf_topic,
        pose_frame=arguments.pose_frame,
        base_T_camera=_mounting(arguments.mounting),
        datum=_datum(arguments.datum) or datum,
        max_pose_gap_s=arguments.max_pose_gap,
        view=_view(getattr(arguments, 'view', None)),
    )


def _view(file: Path | None) -> Camera | None:
    if file is None:
        return None
    calibration = CameraInfo.read(file).calibration
    if calibration.camera is None:
        raise DriveError(f'--view {file}: {calibration.why_not}; expected a calibrated camera')
    return calibration.camera


def _number(text: str, expected: str, accepts: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not accepts(value):
        raise argparse.ArgumentTypeError(f'{text}: expected {expected}')
    return value


def _mounting(text: str | None) -> Poses | None:
    if text is None:
        return None
    try:
        numbers = [float(word) for word in text.replace(',', ' ').split()]
        if len(numbers) != 7:
            raise ValueError(f'{counted(len(numbers), "number")} came')
        return checked_pose(numbers, source='pose')
    except (ValueError, VprError) as error:
        raise DriveError(
            f'--mounting {text!r}: expected seven numbers x y z qx qy qz qw ({error})'
        ) from error


def _datum(text: str | None) -> Datum | None:
    if text is None:
        return None
    try:
        latitude, longitude = (float(word) for word in text.split(','))
    except ValueError as error:
        raise DriveError(f'--datum {text!r}: expected LAT,LON in degrees') from error
    return datum_at(latitude, longitude)
