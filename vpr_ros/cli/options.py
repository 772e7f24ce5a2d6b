"""The command-line options that say how to read a recording, the same in every command."""

import argparse

from vpr_ros.core.errors import DriveError, VprError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.types import Datum, Poses
from vpr_ros.drives.drive import DriveOptions
from vpr_ros.drives.geographic import datum_at


def add_drive_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for topics, frames, mounting, datum and gaps between poses."""
    group = parser.add_argument_group('reading the recording')
    group.add_argument('--image-topic', metavar='T', help='default: the only image topic')
    group.add_argument(
        '--depth-topic',
        metavar='T',
        help='depth images aligned with the images, for --landmarks; default: one that is named '
        'so (aligned_depth, depth_registered)',
    )
    group.add_argument('--pose-topic', metavar='T', help='default: the only pose topic, else tf')
    group.add_argument(
        '--tf-frames',
        nargs=2,
        metavar=('MAP', 'BASE'),
        help='take poses from /tf between these frames',
    )
    group.add_argument(
        '--mounting',
        metavar='"X Y Z QX QY QZ QW"',
        help='base_T_camera (optical frame); '
        'default: from /tf_static, else a camera that looks forward',
    )
    group.add_argument(
        '--datum', metavar='LAT,LON', help='origin for GPS positions; default: the first position'
    )
    group.add_argument(
        '--max-pose-gap',
        type=float,
        default=1.0,
        metavar='S',
        help='no pose is interpolated across a longer gap (default: %(default)s s)',
    )


def drive_options(arguments: argparse.Namespace, *, datum: Datum | None = None) -> DriveOptions:
    """What the options say; `datum` is used where --datum is not given. Raises DriveError."""
    return DriveOptions(
        image_topic=arguments.image_topic,
        depth_topic=arguments.depth_topic,
        pose_topic=arguments.pose_topic,
        tf_frames=tuple(arguments.tf_frames) if arguments.tf_frames else None,
        base_T_camera=_mounting(arguments.mounting),
        datum=_datum(arguments.datum) or datum,
        max_pose_gap_s=arguments.max_pose_gap,
    )


def _mounting(text: str | None) -> Poses | None:
    if text is None:
        return None
    try:
        return checked_pose(
            [float(word) for word in text.replace(',', ' ').split()], source='--mounting'
        )
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
