"""Make a bag from an image folder, to replay it, map it or evaluate with it.

The folder may be a posed folder (images/ and poses.csv), have @utm@ file names or EXIF GPS, or
hold plain images, which become a drive along x with one image per --spacing metres.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from vpr_ros.cli.command import Parser, command, say_notes
from vpr_ros.cli.drive_options import add_drive, drive_options
from vpr_ros.cli.option_values import positive
from vpr_ros.core.errors import DriveError
from vpr_ros.core.plurals import counted
from vpr_ros.drives.folder_to_bag import WriteOptions, write_bag
from vpr_ros.drives.writer import COMPRESSED_TOPIC, IMAGE_TOPIC, STORAGES


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser(
        prog='images_to_bag',
        description=__doc__,
        epilog=(
            f'Topics: {COMPRESSED_TOPIC}, or {IMAGE_TOPIC} with --raw; '
            '/odom, or /fix for positions without headings; /tf_static; '
            '/camera/camera_info where the folder has a camera_info.yaml.'
        ),
    )
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='folder of the images')
    parser.add_argument(
        '--output',
        required=True,
        type=Path,
        metavar='BAG',
        help='bag to write: a new folder, or a new file NAME.bag with --storage ros1',
    )
    parser.add_argument(
        '--storage',
        choices=STORAGES,
        default='mcap',
        help='format of the bag (default: %(default)s)',
    )
    parser.add_argument(
        '--rate',
        type=positive,
        metavar='HZ',
        help='images per second (default: by their own stamps, or else one)',
    )
    parser.add_argument(
        '--raw',
        action='store_true',
        help='write decoded images (default: JPEG and PNG files as they are, others as PNG)',
    )
    parser.add_argument(
        '--spacing',
        type=positive,
        metavar='M',
        help='metres between two images, for images without poses (default: 1)',
    )
    add_drive(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = make_parser().parse_args(argv)
    _require_no_bag(arguments.output)
    options = WriteOptions(
        storage=arguments.storage,
        rate_hz=arguments.rate,
        spacing_m=arguments.spacing,
        raw=arguments.raw,
    )
    written = write_bag(arguments.folder, arguments.output, options, drive_options(arguments))
    say_notes(written.notes)
    print(
        f'{arguments.output}: {counted(written.images, "image")}, '
        f'{counted(written.poses, "pose")} on {written.pose_topic}'
    )
    return 0


def _require_no_bag(output: Path) -> None:
    """Raise DriveError where a bag is: it may be a recording, which nobody can make again."""
    if output.is_file() or (output / 'metadata.yaml').exists():
        raise DriveError(
            f'{output}: holds a bag, which is not replaced; '
            'give another --output, or delete it first'
        )


if __name__ == '__main__':
    sys.exit(main())
