"""Measure how well a map answers bags whose true poses are known.

Offline, the images go straight through the core, as fast as the model runs. With --live they go
through the running node in its own process, at the speed of the bag. That adds dropped frames and
the latency from publishing an image to receiving its pose. Give --map-bag to make the map first.
Give several maps, models or settings to compare them on the same bags.
"""

import argparse
import math
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from vpr_ros.cli.command import Parser, command, say_drive
from vpr_ros.cli.drive_options import add_drive, drive_options
from vpr_ros.cli.option_values import output_file, positive, require_different
from vpr_ros.cli.options import add_landmarks, add_precision, add_radius, add_threads
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.drives import Drive, drives_in, open_drive
from vpr_ros.evaluating.drive_page import drive_report
from vpr_ros.evaluating.logs import require_log, require_written
from vpr_ros.evaluating.measuring import Variant, Way, measured
from vpr_ros.evaluating.setups import ModelledMap, opened_maps, settings_of, setups_of
from vpr_ros.evaluating.shown_figures import as_table
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.evaluating.written import write_figures, write_fixes
from vpr_ros.map_care.build import MapOptions, build_map
from vpr_ros.map_care.landmark_kind import chosen_features
from vpr_ros.report.page import write_page

_OUTPUTS = ('report', 'json', 'tum', 'rerun')


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser(prog='evaluate_bag', description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--map',
        action='append',
        type=Path,
        metavar='MAP',
        help='map folder, made by build_map; give several to compare them',
    )
    source.add_argument(
        '--map-bag',
        type=Path,
        metavar='BAG',
        help='make the map from this bag first, and keep it only for this run',
    )
    parser.add_argument(
        '--bag',
        required=True,
        nargs='+',
        type=Path,
        metavar='BAG',
        help='bags or posed folders, or a folder that contains them',
    )
    parser.add_argument(
        '--model',
        action='append',
        default=[],
        type=Path,
        metavar='MODEL',
        help='the model folder (default: the shipped one that made the map); with --map-bag '
        'several times to compare',
    )
    add_radius(parser)
    parser.add_argument(
        '--heading',
        type=positive,
        metavar='DEG',
        help='and is right only if it looks the same way within this angle (default: any)',
    )
    parser.add_argument(
        '--live',
        action='store_true',
        help='send the images through the running node, in its own process (needs ROS 2)',
    )
    parser.add_argument(
        '--rate',
        type=positive,
        default=1.0,
        metavar='R',
        help='with --live: speed as a multiple of the recorded speed (default: 1)',
    )
    parser.add_argument(
        '--every-image',
        action='store_true',
        help='with --live: send each image only when the one before is answered, so that the node '
        'drops none however slow it is',
    )
    _add_comparison(parser)
    add_landmarks(
        parser,
        meaning='with --map-bag: kind of the landmarks, as in build_map',
    )
    add_threads(parser)
    add_precision(parser)
    add_drive(parser)
    return parser


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    """Add the settings to measure with, and what is written of the figures."""
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='parameters of the node to set',
    )
    parser.add_argument(
        '--compare',
        nargs='+',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='measure with these parameters too, in addition to those of --set; may be repeated',
    )
    parser.add_argument(
        '--split-every',
        type=positive,
        metavar='S',
        help='show the figures of each stretch of this many seconds, too',
    )
    parser.add_argument(
        '--report', type=output_file, metavar='FILE.html', help='write a report to this file'
    )
    parser.add_argument(
        '--json', type=output_file, metavar='FILE', help='write the figures to this file'
    )
    parser.add_argument(
        '--rerun',
        type=output_file,
        metavar='FILE.rrd',
        help='write a log for the Rerun viewer to this file, of one bag on one map (needs '
        'rerun-sdk)',
    )
    parser.add_argument(
        '--tum',
        type=output_file,
        metavar='FILE',
        help='write the fixes to this file in TUM format, for evo',
    )


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    arguments = make_parser().parse_args(argv)
    repeat = shlex.join(['evaluate_bag', *(sys.argv[1:] if argv is None else argv)])
    bags = drives_in(arguments.bag)
    _require_fitting(arguments, bags)
    way = _way(arguments)
    with ExitStack() as scratch:
        maps = _maps(arguments, scratch)
        setups = setups_of(maps, settings_of(arguments.set), arguments.compare)
        options = drive_options(arguments, datum=maps[0].place_map.header.datum)
        drives = [open_drive(bag, options) for bag in bags]
        if arguments.heading is not None:
            _require_headings(maps, drives)
        variants = [measured(setup, drives, way) for setup in setups]
        _say(variants, drives, way.tolerance)
        _write(arguments, variants)
        if arguments.report:
            page = drive_report(variants, drives, way.tolerance, command=repeat)
            write_page(arguments.report, page)
            print(f'report in {arguments.report}')
    return 0


def _require_fitting(arguments: argparse.Namespace, bags: Sequence[Path]) -> None:
    """Raise ConfigError for options that do not fit together."""
    require_different({name: getattr(arguments, name) for name in _OUTPUTS})
    several = bags[1:] or len(arguments.map or []) > 1 or arguments.compare
    if arguments.tum and several:
        raise ConfigError(
            '--tum writes the fixes of one bag on one map, but several were given; give one of '
            'each'
        )
    if arguments.rerun and (several or len(arguments.model) > 1):
        raise ConfigError(
            '--rerun logs one bag on one map, but several were given; give one of each'
        )
    if arguments.rerun:
        require_log(arguments.rerun)
    if arguments.every_image and not arguments.live:
        raise ConfigError('--every-image: only with --live; offline no image is dropped')
    if arguments.landmarks is not None and not arguments.map_bag:
        raise ConfigError(
            '--landmarks works only with --map-bag; to add landmarks to a map, rebuild it with '
            'build_map --landmarks'
        )


def _require_headings(maps: Sequence[ModelledMap], drives: Sequence[Drive]) -> None:
    """Raise ConfigError where --heading would compare rotations that nobody knows."""
    headers = [each.place_map.header for each in maps]
    without = [f'the map of {header.source}' for header in headers if not header.has_heading]
    without += [drive.name for drive in drives if drive.trajectory and not drive.has_heading]
    if without:
        raise ConfigError(
            f'--heading: the positions of {", ".join(without)} have no headings, expected them of '
            'map and bag; leave --heading out'
        )


def _way(arguments: argparse.Namespace) -> Way:
    heading_rad = None if arguments.heading is None else math.radians(arguments.heading)
    return Way(
        tolerance=Tolerance(arguments.radius, heading_rad),
        live=arguments.live,
        rate=arguments.rate,
        every_image=arguments.every_image,
        threads=arguments.threads,
        precision=arguments.precision,
        image_topic=arguments.image_topic,
        max_pose_gap_s=arguments.max_pose_gap,
        split_every_s=arguments.split_every,
        rerun=arguments.rerun,
    )


def _maps(arguments: argparse.Namespace, scratch: ExitStack) -> list[ModelledMap]:
    """The maps that are given, or made; the latter live as long as `scratch`."""
    if not arguments.map_bag:
        return opened_maps(arguments.map, arguments.model, precision=arguments.precision)
    models = arguments.model or [default_model()]
    return [_made_map(arguments, model, scratch) for model in models]


def _made_map(
    arguments: argparse.Namespace, model_folder: Path, scratch: ExitStack
) -> ModelledMap:
    model = Model.open(model_folder, precision=arguments.precision)
    folder = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix='evaluate_bag-')))
    drive = open_drive(arguments.map_bag, drive_options(arguments))
    report = build_map(
        drive,
        OnnxDescriber(model, threads=arguments.threads, singly=False),
        folder / 'map',
        MapOptions(
            max_pose_gap_s=arguments.max_pose_gap,
            features=chosen_features(arguments.landmarks, drive, model.card.cells),
        ),
        command='evaluate_bag --map-bag',
    )
    say_drive(drive)
    print(f'{arguments.map_bag}: {"; ".join(report.lines())}')
    return ModelledMap(PlaceMap.open(folder / 'map', model=model), model, model.card.name)


def _say(variants: Sequence[Variant], drives: Sequence[Drive], tolerance: Tolerance) -> None:
    for drive in drives:
        say_drive(drive)
        if drive.trajectory is None:
            print(f'note: {drive.name}: has no true poses; figures that need them are missing')
    for variant in variants:
        if variants[1:]:
            print(f'== {variant.name}')
        print(as_table(variant.evaluation, tolerance))
        print('\n'.join(variant.costs()))


def _write(arguments: argparse.Namespace, variants: Sequence[Variant]) -> None:
    if arguments.rerun:
        require_written(arguments.rerun)
        print(f'log in {arguments.rerun}; look at it: rerun {shlex.quote(str(arguments.rerun))}')
    if arguments.tum:
        count = write_fixes(arguments.tum, variants[0].evaluation.answers)
        print(f'{counted(count, "pose")} in {arguments.tum}')
    if arguments.json:
        bags = [str(bag) for bag in arguments.bag]
        asked = {
            'bag': bags if bags[1:] else bags[0],
            'radius_m': arguments.radius,
            'heading_deg': arguments.heading,
        } | ({'map': str(arguments.map_bag)} if arguments.map_bag else {})
        write_figures(arguments.json, variants, asked)
        print(f'figures in {arguments.json}')


if __name__ == '__main__':
    sys.exit(main())
