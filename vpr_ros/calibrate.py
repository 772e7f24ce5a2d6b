"""Fit the probability that an answer on a map is right, from a bag whose true poses are known.

The command localizes the bag four times: as it is, with its middle third cut out (as if somebody
had carried the robot), at twice the speed, and backwards. The extra passes show wrong answers and
other ways to drive the route. The probability is fitted on every other ten frames and judged on
those between them. On a map with cells, the fit raises or lowers all probabilities alike. The map
keeps it in map.yaml, and the node takes it from there.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from vpr_ros.cli.command import Parser, command, say_drive
from vpr_ros.cli.drive_options import add_drive, drive_options
from vpr_ros.cli.options import add_model, add_precision, add_radius, add_threads
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.errors import DriveError
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.kept_calibrations import as_dict
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.header import read_header, require_calibratable, write_calibration
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives import open_drive
from vpr_ros.drives.same_frame import (
    OWN_FIGURES,
    note_mapped,
    note_same_time,
    require_frame_of_map,
)
from vpr_ros.evaluating.calibration import calibrate, calibration_images, table


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser(prog='calibrate', description=__doc__)
    parser.add_argument(
        '--map', required=True, type=Path, metavar='MAP', help='map folder, made by build_map'
    )
    parser.add_argument('--bag', required=True, metavar='BAG', help='a bag or a posed folder')
    add_model(parser, default='the shipped one that made the map')
    add_radius(parser, note='; use the value of agreement_radius')
    parser.add_argument(
        '--dry-run', action='store_true', help='print the figures and do not change the map'
    )
    add_threads(parser)
    add_precision(parser)
    add_drive(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = make_parser().parse_args(argv)
    header = read_header(arguments.map)
    if not arguments.dry_run:
        require_calibratable(arguments.map)
    folder = arguments.model or model_that_made(header.model_name, header.model_sha256)
    model = Model.open(folder, precision=arguments.precision)
    place_map = PlaceMap.open(arguments.map, model=model)
    drive = open_drive(Path(arguments.bag), drive_options(arguments, datum=header.datum))
    require_frame_of_map(header, drive)
    note_mapped(header, drive, OWN_FIGURES)
    note_same_time(place_map.stamps_ns, drive, OWN_FIGURES)
    describer = OnnxDescriber(model, threads=arguments.threads, singly=False)
    images = calibration_images(
        drive, describer, max_pose_gap_s=arguments.max_pose_gap, like=header.camera
    )
    config = LocalizerConfig(agreement_radius=arguments.radius)
    localizer = Localizer(describer, place_map, config)
    found = calibrate(images, localizer, arguments.radius, source=Path(arguments.bag).name)
    say_drive(drive)
    print(table(found))
    if found.other_frame is not None:
        other = found.other_frame
        raise DriveError(
            f'{drive.name}: {other.agreeing} of {other.fixes} images match places that lie '
            f'elsewhere, but are right if the true positions are {other}; nothing was changed. '
            'Map and drive have different frames: take poses of both in one'
        )
    if not found.is_ever_right:
        raise DriveError(
            f'{drive.name}: in no frame is the best place within {arguments.radius:g} m of the '
            'true pose; nothing was changed. Take a drive along the mapped route, with poses in '
            f'the frame of the map ({header.frame_id})'
        )
    if found.after.error > found.before.error:
        print('note: the previous calibration fits these frames better', file=sys.stderr)
    if not arguments.dry_run:
        write_calibration(arguments.map, as_dict(found.calibration))
        print(f'kept in {arguments.map}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
