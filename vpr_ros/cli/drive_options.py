"""The options that say how a recording is read: topics, frames, poses, mounting and datum."""

import argparse
from pathlib import Path

from vpr_ros.cli.option_values import not_negative
from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import DriveError, VprError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Datum, Poses
from vpr_ros.drives.camera_info import CameraInfo
from vpr_ros.drives.drive import DriveOptions
from vpr_ros.drives.geographic import datum_at
from vpr_ros.drives.pose_file import read_pose_files


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
