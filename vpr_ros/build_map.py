"""Make a map from a drive: describe its images, and store them with their poses."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr_ros.cli.command import Parser, command, say_drive, say_notes
from vpr_ros.cli.drive_options import drive_options
from vpr_ros.cli.option_values import count
from vpr_ros.cli.options import (
    add_half,
    add_mapping,
    add_model,
    add_workers,
    source_of,
    workers_of,
)
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import MAP
from vpr_ros.core.plurals import counted
from vpr_ros.drives import drives_in, open_drive
from vpr_ros.map_care.archive import broken_lines, build_archive
from vpr_ros.map_care.build import MapOptions, build_map
from vpr_ros.map_care.costs import available_bytes, unserved
from vpr_ros.map_care.landmark_kind import chosen_features
from vpr_ros.map_care.pieces import STRETCH, Recipe
from vpr_ros.map_care.spacing import Spacing, most_places

_ARCHIVE = ('work', 'workers', 'ray', 'stretch', 'leave_out_broken')
_MOST_SAID = 20  # bags in a map's command


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser(prog='build_map', description=__doc__)
    add_mapping(parser, many=True)
    parser.add_argument(
        '--output', required=True, type=Path, metavar='MAP', help='the map folder to write'
    )
    add_model(parser)
    add_half(parser)
    _add_archive(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = make_parser().parse_args(argv)
    said = shlex.join(['build_map', *(sys.argv[1:] if argv is None else argv)])
    if arguments.bags:
        return _build_archive(arguments)
    if given := [name for name in _ARCHIVE if getattr(arguments, name) not in (None, 0, False)]:
        raise ConfigError(
            f'--{given[0].replace("_", "-")} works only with --bags; use --bags or leave it out'
        )
    spacing = Spacing.parse(arguments.every)
    MAP.require_place(arguments.output)
    model = Model.open(arguments.model or default_model(), precision=arguments.precision)
    drive = open_drive(source_of(arguments), drive_options(arguments))
    features = chosen_features(arguments.landmarks, drive, model.card.cells)
    _warn([most_places(drive, spacing)], model.card.descriptor_size, at_most=True)
    report = build_map(
        drive,
        OnnxDescriber(model, threads=arguments.threads, singly=False),
        arguments.output,
        MapOptions(
            spacing=spacing,
            max_pose_gap_s=arguments.max_pose_gap,
            features=features,
            half=arguments.half,
            thumbnails=arguments.thumbnails,
        ),
        command=said,
    )
    say_drive(drive)
    for line in report.lines():
        print(line)
    if arguments.landmarks is None and drive.camera is None:
        print('no landmarks: the drive has no camera_info that can be used')
    if not drive.mounting_known:
        print(
            'note: the mounting of the camera is unknown, so the map assumes that it looks '
            'forward; give --mounting, or record /tf_static'
        )
    _tell(PlaceMap.open(arguments.output))
    return 0


def _build_archive(arguments: argparse.Namespace) -> int:
    model = Model.open(arguments.model or default_model(), precision=arguments.precision)
    recipe = Recipe(
        model=model.folder,
        precision=model.precision,
        drive=drive_options(arguments),
        spacing=Spacing.parse(arguments.every),
        max_pose_gap_s=arguments.max_pose_gap,
        landmarks=arguments.landmarks,
        half=arguments.half,
        thumbnails=arguments.thumbnails,
        stretch=arguments.stretch or STRETCH,
    )
    output: Path = arguments.output
    found = build_archive(
        drives_in(arguments.bags),
        output,
        arguments.work or output.absolute().with_name(f'{output.absolute().name}.work'),
        recipe,
        workers=workers_of(arguments, threads=arguments.threads),
        command=_told(arguments),
        leave_out_broken=arguments.leave_out_broken,
    )
    say_notes([*broken_lines(found.broken), *found.notes])
    for line in found.lines():
        print(line)
    _tell(PlaceMap.open(output))
    return 1 if found.broken else 0


def _told(arguments: argparse.Namespace) -> str:
    """The command without what leaves the map as it is: who works on it, and in which folder."""
    ours = vars(arguments)
    words = ['build_map', '--bags', *map(str, arguments.bags[:_MOST_SAID])]
    if more := len(arguments.bags) - _MOST_SAID:
        words += [f'... and {more} more'] if more > 0 else []
    for name in sorted(ours.keys() - {*_ARCHIVE, 'bags', 'output', 'threads'} | {'stretch'}):
        if ours[name] not in (None, make_parser().get_default(name)):
            values = ours[name] if isinstance(ours[name], list) else [ours[name]]
            no = 'no-' if ours[name] is False else ''
            said = [] if isinstance(ours[name], bool) else map(str, values)
            words += [f'--{no}{name.replace("_", "-")}', *said]
    return shlex.join(words)


def _add_archive(parser: Parser) -> None:
    group = parser.add_argument_group('many drives (--bags)')
    add_workers(group, what='drive')
    group.add_argument(
        '--work',
        type=Path,
        metavar='DIR',
        help='folder for finished pieces; the same command, or one with more bags, continues with '
        'them (default: MAP.work beside the map; you can delete it at any time)',
    )
    group.add_argument(
        '--stretch',
        type=count,
        default=0,
        metavar='N',
        help=f'images in a piece; a killed worker loses at most one piece (default: {STRETCH})',
    )
    group.add_argument(
        '--leave-out-broken',
        action='store_true',
        help='make the map without the drives that cannot be read, and end with status 1 if there '
        'are some (default: make no map)',
    )


def _tell(place_map: PlaceMap) -> None:
    """Print where a new map lies, and whether this machine can serve it."""
    print(_extent(place_map))
    parts = np.diff(place_map.part_starts).tolist()
    _warn(parts, place_map.header.descriptor_size)


def _warn(part_places: Sequence[int], descriptor_size: int, *, at_most: bool = False) -> None:
    """Say where this machine has too little memory to serve parts of so many places."""
    said = unserved(part_places, descriptor_size, available_bytes(), at_most=at_most)
    say_notes([said] if said else [])


def _extent(place_map: PlaceMap) -> str:
    extent_m = np.ptp(place_map.poses[:, :2], axis=0)
    return (
        f'{place_map.folder}: {counted(len(place_map), "place")} over '
        f'{extent_m[0]:.0f} m x {extent_m[1]:.0f} m in frame '
        f'{place_map.header.frame_id}, model {place_map.header.model_name}'
    )


if __name__ == '__main__':
    sys.exit(main())
