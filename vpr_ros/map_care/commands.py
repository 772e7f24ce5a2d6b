"""The verbs of `map` for one's own maps: their options, what they do, and what they print."""

import argparse
import math
from pathlib import Path
from typing import TypeAlias

from vpr_ros.cli.command import Parser, say_drive, say_notes
from vpr_ros.cli.drive_options import add_drive, drive_options
from vpr_ros.cli.option_values import between, output_file, positive, require_different
from vpr_ros.cli.options import (
    add_half,
    add_mapping,
    add_model,
    add_no_thumbnails,
    add_precision,
    add_radius,
    source_of,
)
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.errors import ConfigError, MapError
from vpr_ros.core.mapping.header import MapHeader, read_header, require_model
from vpr_ros.core.mapping.layout import HEADER_NAME
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import MAP
from vpr_ros.core.names import as_text
from vpr_ros.core.plurals import counted
from vpr_ros.drives import open_drive
from vpr_ros.drives.posed_images import posed_images
from vpr_ros.drives.same_frame import require_frame_of_map
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care.apart import appended_notes, merged_notes
from vpr_ros.map_care.build import MapOptions, append_drive
from vpr_ros.map_care.check import check, damages
from vpr_ros.map_care.edit import merge, slimmed
from vpr_ros.map_care.export import EXPORTS, POSED_FOLDER
from vpr_ros.map_care.facts import facts, recall_rows, size_on_disk, table, weaknesses
from vpr_ros.map_care.landmark_kind import features_to_append
from vpr_ros.map_care.page import damaged_page, sound_page
from vpr_ros.map_care.plots import draw_places
from vpr_ros.map_care.pruning import prune
from vpr_ros.map_care.recall import Queries, map_recall, own_places
from vpr_ros.map_care.redundancy import Redundancy
from vpr_ros.map_care.spacing import Spacing
from vpr_ros.report.page import write_page

_NEXT = (
    'Next: look at the map with `map check`, and let a running node load it (~/load_map); until '
    'then it keeps the old one.'
)

Verbs: TypeAlias = 'argparse._SubParsersAction[Parser]'


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to those of `map`."""
    _add_info(verbs)
    _add_check(verbs)
    _add_append(verbs)
    _add_prune(verbs)
    _add_merge(verbs)
    _add_export(verbs)


def _added(
    verbs: Verbs, name: str, run: object, sentence: str, more: str = ''
) -> argparse.ArgumentParser:
    """A verb of a map; more: what it writes, what it leaves alone, and what comes next."""
    added = verbs.add_parser(name, help=sentence, description=f'{sentence} {more}'.rstrip())
    added.set_defaults(run=run)
    if run is not _merge:
        added.add_argument('map', type=Path, metavar='MAP', help='map folder')
    return added


def _add_info(verbs: Verbs) -> None:
    one = _added(
        verbs, 'info', _info, 'Show counts, extent, model, size, and how the map was made.'
    )
    one.add_argument(
        '--picture', type=output_file, metavar='FILE', help='write a picture (PNG) of the places'
    )


def _info(arguments: argparse.Namespace) -> int:
    place_map = PlaceMap.open(arguments.map)
    print(table(facts(place_map)))
    if arguments.picture:
        draw_places(place_map, arguments.picture, title=as_text(str(arguments.map)))
        print(f'picture in {arguments.picture}')
    return 0


def _add_check(verbs: Verbs) -> None:
    one = _added(
        verbs,
        'check',
        _check,
        'Find look-alike places, gaps, duplicates, poor images and damage. Exit status 1 means '
        'damage.',
    )
    for name, default, meaning in (
        ('--near', 5.0, "the same place, or 1.5 times the places' spacing if that is more"),
        ('--far', 20.0, 'another place, or twice the distance of the same place if that is more'),
    ):
        said = f'{meaning} (default: %(default)g m)'
        one.add_argument(name, type=positive, default=default, metavar='M', help=said)
    one.add_argument(
        '--report', type=output_file, metavar='FILE', help='write a report with pictures (HTML)'
    )


def _check(arguments: argparse.Namespace) -> int:
    if not (arguments.map / HEADER_NAME).is_file():
        read_header(arguments.map)  # says that there is no map
    try:
        damaged = damages(arguments.map)
        place_map = None if damaged else PlaceMap.open(arguments.map)
    except MapError as error:
        damaged, place_map = [str(error)], None
    if place_map is None:
        print(table([('damaged', line) for line in damaged]))
        page = damaged_page(arguments.map, damaged, arguments.said)
    else:
        findings = check(place_map, near_m=arguments.near, far_m=arguments.far)
        print(table(weaknesses(place_map, findings)))
        page = sound_page(place_map, findings, facts(place_map), arguments.said)
    if arguments.report:
        write_page(arguments.report, page)
        print(f'report in {arguments.report}')
    return 1 if damaged else 0


def _add_append(verbs: Verbs) -> None:
    one = _added(
        verbs,
        'append',
        _append,
        'Add a drive to a map. The time depends only on the drive.',
        'The poses of the drive must be in the frame of the map. The places, the landmarks and '
        'the calibration that the map has stay as they are. If no image has a pose, nothing is '
        f'written. {_NEXT}',
    )
    add_model(one, default='the shipped one that made the map')
    add_mapping(one)


def _append(arguments: argparse.Namespace) -> int:
    spacing = Spacing.parse(arguments.every)
    header = read_header(arguments.map)
    MAP.require_place(arguments.map)
    model = _model(arguments, header, arguments.map)
    source = source_of(arguments)
    drive = open_drive(source, drive_options(arguments, datum=header.datum))
    report = append_drive(
        arguments.map,
        header,
        drive,
        OnnxDescriber(model, threads=arguments.threads, singly=False),
        MapOptions(
            spacing=spacing,
            max_pose_gap_s=arguments.max_pose_gap,
            features=features_to_append(arguments.map, header, arguments.landmarks, drive),
            thumbnails=arguments.thumbnails,
        ),
        command=arguments.said,
    )
    say_drive(drive)
    print('\n'.join(report.lines()))
    say_notes(appended_notes(PlaceMap.open(arguments.map), header.places, drive.name))
    changed = read_header(arguments.map)
    print(
        f'{arguments.map}: {counted(header.places, "place")} before, {changed.places} now '
        f'in {counted(len(changed.parts), "part")}'
    )
    return 0


def _add_prune(verbs: Verbs) -> None:
    one = _added(
        verbs,
        'prune',
        _prune,
        'Drop places that a newer place nearby repeats, and measure recall before and after.',
        'The smaller map has one part. It replaces MAP itself, unless --output names another '
        'folder; nothing brings dropped places back. Nothing is written if no place is redundant. '
        'Nothing is written either, and the exit status is 1, if Recall@1 would fall by more than '
        f'--max-recall-drop. {_NEXT}',
    )
    one.add_argument(
        '--output',
        type=Path,
        metavar='MAP',
        help='map folder to write, in place of a map that is there (default: the map itself)',
    )
    _add_limits(one)
    one.add_argument('--dry-run', action='store_true', help='measure and write nothing')
    _add_recall(one)


def _prune(arguments: argparse.Namespace) -> int:
    place_map = PlaceMap.open(arguments.map)
    output = arguments.output or arguments.map
    MAP.require_place(output)
    queries = _queries(arguments, place_map)
    found = prune(
        place_map,
        output,
        queries,
        limits=Redundancy(
            arguments.distance, math.radians(arguments.heading), arguments.similarity
        ),
        tolerance=Tolerance(arguments.radius),
        max_recall_drop=arguments.max_recall_drop,
        dry_run=arguments.dry_run,
        command=arguments.said,
    )
    print(f'{counted(len(place_map), "place")}, {found.redundant} of them redundant')
    if found.before is None or found.after is None:
        return 0
    print(table(recall_rows([('before', found.before), ('after', found.after)], own=queries.own)))
    if found.written:
        print(f'{output}: {size_on_disk(read_header(output), output)}')
    elif arguments.dry_run:
        print('nothing written (--dry-run)')
    else:
        print(
            f'nothing written: Recall@1 falls by more than {arguments.max_recall_drop:g}; keep '
            'more places with --similarity, --distance or --heading, or allow it with '
            '--max-recall-drop'
        )
    return 0 if found.written or arguments.dry_run else 1


def _add_merge(verbs: Verbs) -> None:
    one = _added(
        verbs,
        'merge',
        _merge,
        'Join maps of one model and one frame, and measure recall before and after.',
        'The maps stay as they are, unless --output names one of them. A drive that several of '
        'them have is taken once. Frame, mounting and calibration are those of the first map; run '
        f'calibrate on the new map if the others are of other places. {_NEXT}',
    )
    one.add_argument('maps', type=Path, nargs='+', metavar='MAP', help='map folders')
    one.add_argument(
        '--output',
        type=Path,
        required=True,
        metavar='MAP',
        help='map folder to write, in place of a map that is there',
    )
    _add_recall(one)


def _merge(arguments: argparse.Namespace) -> int:
    MAP.require_place(arguments.output)
    maps = [PlaceMap.open(folder) for folder in arguments.maps]
    notes = merge(maps, arguments.output, command=arguments.said)
    merged = PlaceMap.open(arguments.output)
    say_notes([*notes, *merged_notes(maps)])
    tolerance = Tolerance(arguments.radius)
    found = [
        (f'{each.folder}', map_recall(_queries(arguments, each), each, tolerance))
        for each in [*maps, merged]
    ]
    print(table(recall_rows(found, own=not arguments.bag)))
    print(
        f'{arguments.output}: {counted(len(merged), "place")} in '
        f'{counted(len(merged.header.parts), "part")}, '
        f'{size_on_disk(merged.header, arguments.output)}'
    )
    return 0


def _add_export(verbs: Verbs) -> None:
    one = _added(
        verbs,
        'export',
        _export,
        'Export poses, thumbnails and descriptors for other tools, or write a smaller map.',
        'Give one or more of the options. The map stays as it is. A file that has the name of '
        'an output is replaced, unless it belongs to a map, a bag or a model.',
    )
    for name, form in EXPORTS.items():
        kind = output_file if form.metavar == 'FILE' else Path
        one.add_argument(f'--{name}', type=kind, metavar=form.metavar, help=form.sentence)
    one.add_argument(
        '--slim',
        type=Path,
        metavar='MAP',
        help='the same map with less, in place of a map that is there; give --half, '
        '--no-thumbnails or both',
    )
    add_half(one)
    add_no_thumbnails(one)


def _export(arguments: argparse.Namespace) -> int:
    wanted = {name: path for name in EXPORTS if (path := getattr(arguments, name))}
    if not wanted and not arguments.slim:
        names = ', --'.join([*EXPORTS, 'slim'])
        raise ConfigError(f'nothing to export; expected at least one of --{names}')
    has_less = arguments.half or not arguments.thumbnails
    if bool(arguments.slim) != has_less:
        raise ConfigError(
            '--slim works only with --half, --no-thumbnails or both, and these work only with '
            '--slim'
        )
    outputs = {'slim': arguments.slim} if arguments.slim else {}
    require_different({**outputs, **wanted})
    for kind, folder in ((MAP, arguments.slim), (POSED_FOLDER, arguments.images)):
        if folder:
            kind.require_place(folder)
    place_map = PlaceMap.open(arguments.map)
    if arguments.slim:
        before = size_on_disk(place_map.header, arguments.map)  # which --slim may replace
        slimmed(
            place_map,
            arguments.slim,
            half=arguments.half,
            thumbnails=arguments.thumbnails,
            command=arguments.said,
        )
        print(f'{arguments.slim}: {size_on_disk(read_header(arguments.slim), arguments.slim)}')
        print(f'{arguments.map}: {before}')
    for name, path in wanted.items():
        EXPORTS[name].write(place_map, path)
        print(f'{counted(len(place_map), "place")} in {path}')
    return 0


def _model(arguments: argparse.Namespace, header: MapHeader, folder: Path) -> Model:
    model = Model.open(
        arguments.model or model_that_made(header.model_name, header.model_sha256),
        precision=arguments.precision,
    )
    require_model(folder, header, model)
    return model


def _queries(arguments: argparse.Namespace, place_map: PlaceMap) -> Queries:
    """The images of --bag, else the map's own places."""
    if not arguments.bag:
        return own_places(place_map)
    header = place_map.header
    describer = OnnxDescriber(_model(arguments, header, place_map.folder), singly=False)
    drive = open_drive(Path(arguments.bag), drive_options(arguments, datum=header.datum))
    require_frame_of_map(header, drive)
    images = posed_images(
        drive,
        describer,
        max_pose_gap_s=arguments.max_pose_gap,
        like=header.camera,
    )
    say_drive(drive)
    return Queries(images)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = Redundancy()
    parser.add_argument(
        '--distance',
        type=between(0, 1000),
        default=limits.radius_m,
        metavar='M',
        help='a place is redundant within this distance of a newer one (default: %(default)s m)',
    )
    parser.add_argument(
        '--heading',
        type=between(0, 180),
        default=round(math.degrees(limits.heading_rad)),
        metavar='DEG',
        help='and within this angle (default: %(default)s deg)',
    )
    parser.add_argument(
        '--similarity',
        type=between(-1, 1),
        default=limits.similarity,
        metavar='S',
        help='and at this cosine similarity or more (default: %(default)s)',
    )
    parser.add_argument(
        '--max-recall-drop',
        type=between(-1, 1),
        default=0.01,
        metavar='SHARE',
        help='write nothing if Recall@1 falls by more than this (default: %(default)s)',
    )


def _add_recall(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--bag',
        metavar='BAG',
        help="measure recall with this drive (default: with the map's own places, leaving each "
        'out)',
    )
    parser.add_argument('--model', type=Path, metavar='MODEL', help='model folder, for --bag')
    add_precision(parser)
    add_radius(parser)
    add_drive(parser)
