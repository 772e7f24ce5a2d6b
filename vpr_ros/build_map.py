"""Make a map from a drive: describe its images, take their poses, write both down."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr_ros.cli.command import Parser, command, say_drive
from vpr_ros.cli.options import add_mapping, add_model, drive_options
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives import open_drive
from vpr_ros.map_care.build import Spacing, build_map, chosen_features


def _parser() -> Parser:
    parser = Parser(prog='build_map', description=__doc__)
    add_mapping(parser)
    parser.add_argument(
        '--output', required=True, type=Path, metavar='MAP', help='the map folder to write'
    )
    add_model(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    spacing = Spacing.parse(arguments.every)
    model = Model.open(arguments.model or default_model(), precision=arguments.precision)
    drive = open_drive(Path(arguments.bag or arguments.images), drive_options(arguments))
    features = chosen_features(arguments.landmarks, drive, model.card.cells)
    report = build_map(
        drive,
        OnnxDescriber(model, threads=arguments.threads, singly=False),
        arguments.output,
        spacing=spacing,
        max_pose_gap_s=arguments.max_pose_gap,
        features=features,
        command=shlex.join(['build_map', *(sys.argv[1:] if argv is None else argv)]),
    )
    say_drive(drive)
    for line in report.lines():
        print(line)
    if not drive.mounting_known:
        print(
            'note: camera mounting unknown, taken as looking forward; '
            'give --mounting, or record /tf_static'
        )
    print(_extent(PlaceMap.open(arguments.output)))
    return 0


def _extent(place_map: PlaceMap) -> str:
    extent_m = np.ptp(place_map.poses[:, :2], axis=0)
    return (
        f'{place_map.folder}: {len(place_map)} places over '
        f'{extent_m[0]:.0f} m x {extent_m[1]:.0f} m in frame '
        f'{place_map.header.frame_id}, model {place_map.header.model_name}'
    )


if __name__ == '__main__':
    sys.exit(main())
