"""Look after a map: what is in it, what is wrong with it, and how it grows and stays small.

A map is changed beside itself and exchanged in one step, so that a kill leaves the old one, and a
node that has it open keeps what it opened.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr_ros.build_map import (
    Spacing,
    add_mapping_arguments,
    add_places,
    chosen_features,
    landmark_maker,
)
from vpr_ros.cli.command import add_precision_argument, command
from vpr_ros.cli.options import add_drive_arguments, drive_options
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import model_that_made
from vpr_ros.core.errors import ConfigError, MapError
from vpr_ros.core.landmarks.features import Features
from vpr_ros.core.mapping.graphs import features_of
from vpr_ros.core.mapping.header import MapHeader, read_header, require_model
from vpr_ros.core.mapping.layout import HEADER_NAME
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.recall import Recall
from vpr_ros.drives import open_drive
from vpr_ros.evaluating.figures import Tolerance
from vpr_ros.evaluating.recall import Queries, drive_images, own_places, recall_of
from vpr_ros.map_care.check import Findings, check, damages, spacing_m
from vpr_ros.map_care.edit import append, keep_places, merge, require_same_frame
from vpr_ros.map_care.export import (
    export_csv,
    export_faiss,
    export_geojson,
    export_images,
    export_npz,
    export_tum,
)
from vpr_ros.map_care.page import called, damaged_page, sound_page
from vpr_ros.map_care.plots import draw_places
from vpr_ros.map_care.redundancy import Redundancy, standing_for
from vpr_ros.report.page import write_page

_EXPORTS = {
    'tum': (export_tum, 'FILE', 'poses as `t x y z qx qy qz qw` lines, for evo'),
    'csv': (export_csv, 'FILE', 'poses as image,stamp_s,x,y,z,qx,qy,qz,qw'),
    'geojson': (export_geojson, 'FILE', 'points in degrees, of a map with a datum'),
    'images': (export_images, 'DIR', 'thumbnails and poses as a posed folder'),
    'npz': (export_npz, 'FILE', 'descriptors, poses, stamps and names as numpy arrays'),
    'faiss': (export_faiss, 'FILE', 'descriptors as a flat faiss index'),
}
_SHOWN = 10  # findings of each kind in the terminal


def info(arguments: argparse.Namespace) -> int:
    """Print what is in a map."""
    place_map = PlaceMap.open(arguments.map)
    _print_table(_facts(place_map))
    if arguments.picture:
        draw_places(place_map, arguments.picture, title=str(arguments.map))
        print(f'picture in {arguments.picture}')
    return 0


def check_map(arguments: argparse.Namespace) -> int:
    """Print what is wrong with a map; 1 where a file is damaged."""
    if not (arguments.map / HEADER_NAME).is_file():
        read_header(arguments.map)  # says that there is no map
    try:
        damaged = damages(arguments.map)
        place_map = None if damaged else PlaceMap.open(arguments.map)
    except MapError as error:
        damaged, place_map = [str(error)], None
    if place_map is None:
        _print_table([('damaged', line) for line in damaged])
        page = damaged_page(arguments.map, damaged, _command_line(arguments))
    else:
        findings = check(place_map, near_m=arguments.near, far_m=arguments.far)
        _print_table(_weaknesses(place_map, findings))
        page = sound_page(place_map, findings, _facts(place_map), _command_line(arguments))
    if arguments.report:
        write_page(arguments.report, page)
        print(f'report in {arguments.report}')
    return 1 if damaged else 0


def append_drive(arguments: argparse.Namespace) -> int:
    """Add a drive to a map."""
    spacing = Spacing.parse(arguments.every)
    header = read_header(arguments.map)
    folder = arguments.model or model_that_made(header)
    model = Model.open(folder, precision=arguments.precision)
    require_model(arguments.map, header, model)
    source = Path(arguments.bag or arguments.images)
    drive = open_drive(source, drive_options(arguments, datum=header.datum))
    if drive.trajectory is not None:
        require_same_frame(
            header, drive.frame_id, drive.datum, drive.has_heading, where=drive.name
        )
    describer = OnnxDescriber(model, threads=arguments.threads, singly=False)
    said = _command_line(arguments)
    features = _appended_features(arguments, header)
    maker = landmark_maker(drive, features) if features else None
    landmarks = (maker.camera, maker.features) if maker else None
    with append(
        arguments.map, header, command=said, source=drive.name, landmarks=landmarks
    ) as writer:
        report = add_places(
            drive,
            describer,
            writer,
            spacing=spacing,
            max_pose_gap_s=arguments.max_pose_gap,
            maker=maker,
        )
    for warning in drive.warnings:
        print(f'note: {warning}', file=sys.stderr)
    for line in report.lines():
        print(line)
    changed = read_header(arguments.map)
    print(
        f'{arguments.map}: {header.places} places before, {changed.places} now '
        f'in {len(changed.parts)} parts'
    )
    return 0


def _appended_features(arguments: argparse.Namespace, header: MapHeader) -> Features | None:
    """The map's own where it has landmarks and no others are named; None without --landmarks."""
    if header.landmark_features and arguments.landmarks in ('', header.landmark_features):
        return features_of(arguments.map, header)
    return chosen_features(arguments.landmarks)


def prune(arguments: argparse.Namespace) -> int:
    """Leave out what is redundant; 1 where that would cost too much recall."""
    limits = _limits(arguments)
    place_map = PlaceMap.open(arguments.map)
    queries = _queries(arguments, place_map)
    kept = standing_for(place_map, limits) == np.arange(len(place_map))
    print(f'{len(place_map)} places, {int((~kept).sum())} of them redundant')
    if kept.all():
        return 0
    before = recall_of(queries, place_map, _tolerance(arguments))
    after: list[Recall] = []

    def accepts(smaller: PlaceMap) -> bool:
        after.append(recall_of(queries, smaller, _tolerance(arguments)))
        lost = before.at[1] - after[0].at[1]
        return lost <= arguments.max_recall_drop and not arguments.dry_run

    output = arguments.output or arguments.map
    done = keep_places(place_map, kept, output, command=_command_line(arguments), accepts=accepts)
    _print_recall([('before', before), ('after', after[0])], own=queries.own)
    if done:
        print(f'{output}: {_megabytes(_size(read_header(output), output))}')
        return 0
    if arguments.dry_run:
        print('nothing written (--dry-run)')
        return 0
    print(
        f'nothing written: Recall@1 falls by more than {arguments.max_recall_drop:g}; keep more '
        'places with --similarity, --distance or --heading, or allow it with --max-recall-drop'
    )
    return 1


def merge_maps(arguments: argparse.Namespace) -> int:
    """Join maps of one model and frame."""
    maps = [PlaceMap.open(folder) for folder in arguments.maps]
    notes = merge(maps, arguments.output, command=_command_line(arguments))
    merged = PlaceMap.open(arguments.output)
    for note in notes:
        print(f'note: {note}', file=sys.stderr)
    tolerance = _tolerance(arguments)
    rows = []
    for place_map in [*maps, merged]:
        queries = _queries(arguments, place_map)
        rows.append((f'{place_map.folder}', recall_of(queries, place_map, tolerance)))
    _print_recall(rows, own=not arguments.bag)
    print(
        f'{arguments.output}: {len(merged)} places in {len(merged.header.parts)} parts, '
        f'{_megabytes(_size(merged.header, arguments.output))}'
    )
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write a map's content for other tools."""
    wanted = [name for name in _EXPORTS if getattr(arguments, name)]
    if not wanted:
        raise ConfigError(f'nothing to export; expected at least one of --{", --".join(_EXPORTS)}')
    place_map = PlaceMap.open(arguments.map)
    for name in wanted:
        write, path = _EXPORTS[name][0], getattr(arguments, name)
        write(place_map, path)
        print(f'{len(place_map)} places in {path}')
    return 0


def _facts(place_map: PlaceMap) -> list[tuple[str, str]]:
    header = place_map.header
    low, high = place_map.poses[:, :3].min(axis=0), place_map.poses[:, :3].max(axis=0)
    rows = [
        ('places', f'{len(place_map)} in {len(header.parts)} parts'),
        ('extent', ' x '.join(f'{side:.1f}' for side in high - low) + ' m'),
        ('spacing', f'{spacing_m(place_map):.2f} m at the median'),
        ('frame', header.frame_id),
    ]
    if header.datum is not None:
        datum = header.datum
        origin = f'{datum.east_m:.1f} east, {datum.north_m:.1f} north'
        rows.append(('datum', f'UTM zone {datum.utm_zone}{datum.utm_letter}, {origin}'))
    view = header.field_of_view_deg
    rows += [
        ('headings', 'known' if header.has_heading else 'not known'),
        ('camera', f'sees {view:.0f} deg' if view else 'of unknown field of view'),
        ('mounting', 'known' if header.mounting_known else 'not known, taken as looking forward'),
        ('model', f'{header.model_name} ({header.model_sha256[:12]})'),
        ('descriptors', f'{header.descriptor_size} numbers each'),
        ('size on disk', _megabytes(_size(header, place_map.folder))),
        ('id', place_map.id),
        ('made at', f'{header.made_at} from {header.source}'),
        ('made by', header.command),
    ]
    rows += [
        ('then', f'{change.places} places at {change.made_at} by {change.command}')
        for change in header.changes
    ]
    return rows


def _weaknesses(place_map: PlaceMap, findings: Findings) -> list[tuple[str, str]]:
    """What `check` says in the terminal: a line for each kind, then the worst of it."""
    aliases = [
        f'{called(place_map, alias.place)} looks like {called(place_map, alias.twin)}, '
        f'{alias.distance_m:.0f} m away: {alias.similarity:.2f}, '
        f'its most similar near one {alias.near_similarity:.2f}'
        for alias in findings.aliases
    ]
    gaps = [
        f'{gap.length_m:.1f} m and {gap.seconds:.1f} s from {called(place_map, gap.before)} '
        f'to {called(place_map, gap.after)}'
        for gap in findings.gaps
    ]
    doubles = [
        f'{called(place_map, old)} is the same as {called(place_map, new)}'
        for old, new in findings.duplicates.tolist()
    ]
    poor = [
        f'{called(place_map, image.place)} is {image.reason}: {place_map.names[image.place]}'
        for image in findings.poor_images
    ]
    hint = ', which `map prune` leaves out' if doubles else ''
    compared = '' if findings.compared == len(place_map) else f' of {findings.compared} compared'
    shown = [
        ('files', f'{len(place_map.header.files or {})}, all as map.yaml says', []),
        ('look-alike places', f'{findings.aliased}{compared}', aliases),
        ('gaps in the route', f'{len(gaps)}', gaps),
        ('duplicates', f'{len(doubles)}{hint}', doubles),
        ('poor images', f'{len(poor)}', poor),
    ]
    rows = []
    for title, count, lines in shown:
        rows.append((title, count))
        rows += [('', line) for line in lines[:_SHOWN]]
        if len(lines) > _SHOWN:
            rows.append(('', f'... and {len(lines) - _SHOWN} more'))
    return rows


def _queries(arguments: argparse.Namespace, place_map: PlaceMap) -> Queries:
    if not arguments.bag:
        return own_places(place_map)
    header = place_map.header
    folder = arguments.model or model_that_made(header)
    model = Model.open(folder, precision=arguments.precision)
    require_model(place_map.folder, header, model)
    drive = open_drive(Path(arguments.bag), drive_options(arguments, datum=header.datum))
    describer = OnnxDescriber(model, singly=False)
    return drive_images(drive, describer, max_pose_gap_s=arguments.max_pose_gap)


def _limits(arguments: argparse.Namespace) -> Redundancy:
    """What is redundant; raises ConfigError."""
    for name, low, high in (('distance', 0, 1000), ('heading', 0, 180), ('similarity', -1, 1)):
        value = getattr(arguments, name)
        if not low <= value <= high:
            raise ConfigError(f'--{name} {value:g}: expected {low} to {high}')
    return Redundancy(arguments.distance, math.radians(arguments.heading), arguments.similarity)


def _tolerance(arguments: argparse.Namespace) -> Tolerance:
    return Tolerance(arguments.radius)


def _size(header: MapHeader, folder: Path) -> dict[str, int]:
    """Bytes on disk by the file's name within its part."""
    sizes: dict[str, int] = {}
    for name in header.files or {}:
        path = folder / name
        sizes[path.name] = sizes.get(path.name, 0) + path.stat().st_size
    return sizes


def _megabytes(sizes: dict[str, int]) -> str:
    largest = sorted(sizes.items(), key=lambda entry: -entry[1])[:3]
    shares = ', '.join(f'{name} {size / 1e6:.1f}' for name, size in largest)
    return f'{sum(sizes.values()) / 1e6:.1f} MB ({shares})'


def _print_recall(rows: Sequence[tuple[str, Recall]], *, own: bool) -> None:
    how = 'of its own places, each left out' if own else 'of the bag'
    for name, recall in rows:
        shares = '  '.join(
            f'R@{n} {share:.3f} [{recall.interval[n][0]:.3f}, {recall.interval[n][1]:.3f}]'
            for n, share in recall.at.items()
        )
        print(f'{name:<22}{shares}  ({recall.queries} queries {how})')


def _print_table(rows: Sequence[tuple[str, str]]) -> None:
    for name, value in rows:
        print(f'{name:<22}{value}'.rstrip())


def _command_line(arguments: argparse.Namespace) -> str:
    return shlex.join(['map', *arguments.argv])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='map', description=__doc__)
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')

    def verb(name: str, run: object, sentence: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=sentence, description=sentence)
        added.set_defaults(run=run)
        return added

    one = verb('info', info, 'Counts, extent, model, size, and how it was made.')
    one.add_argument('map', type=Path, metavar='MAP')
    one.add_argument('--picture', type=Path, metavar='FILE', help='write a PNG of the places')

    one = verb(
        'check',
        check_map,
        'Look-alike places, gaps, duplicates, poor images, damage; exit status 1 if damaged.',
    )
    one.add_argument('map', type=Path, metavar='MAP')
    one.add_argument(
        '--near', type=float, default=5.0, metavar='M', help='the same place (default: 5 m)'
    )
    one.add_argument(
        '--far', type=float, default=20.0, metavar='M', help='another place (default: 20 m)'
    )
    one.add_argument(
        '--report', type=Path, metavar='FILE', help='write an HTML page with pictures of it all'
    )

    one = verb('append', append_drive, 'Add a drive; costs what the drive costs.')
    one.add_argument('map', type=Path, metavar='MAP')
    one.add_argument(
        '--model', type=Path, metavar='MODEL', help='default: the shipped one that made the map'
    )
    add_mapping_arguments(one)

    one = verb(
        'prune', prune, 'Leave out places that a newer one near by says again; measures recall.'
    )
    limits = Redundancy()
    one.add_argument('map', type=Path, metavar='MAP')
    one.add_argument('--output', type=Path, metavar='MAP', help='default: the map itself')
    one.add_argument(
        '--distance',
        type=float,
        default=limits.radius_m,
        metavar='M',
        help='redundant within this distance (default: %(default)s m)',
    )
    one.add_argument(
        '--heading',
        type=float,
        default=round(math.degrees(limits.heading_rad)),
        metavar='DEG',
        help='and this angle (default: %(default)s deg)',
    )
    one.add_argument(
        '--similarity',
        type=float,
        default=limits.similarity,
        metavar='S',
        help='and from this cosine similarity (default: %(default)s)',
    )
    one.add_argument(
        '--max-recall-drop',
        type=float,
        default=0.01,
        metavar='SHARE',
        help='write nothing if Recall@1 falls by more (default: %(default)s)',
    )
    one.add_argument('--dry-run', action='store_true', help='measure, but write nothing')
    _add_recall_arguments(one)

    one = verb('merge', merge_maps, 'Join maps of one model and frame; measures recall.')
    one.add_argument('maps', type=Path, nargs='+', metavar='MAP')
    one.add_argument('--output', type=Path, required=True, metavar='MAP')
    _add_recall_arguments(one)

    one = verb('export', export, 'Poses, thumbnails and descriptors for other tools.')
    one.add_argument('map', type=Path, metavar='MAP')
    for name, (_, metavar, sentence) in _EXPORTS.items():
        one.add_argument(f'--{name}', type=Path, metavar=metavar, help=sentence)
    return parser


def _add_recall_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--bag',
        metavar='BAG',
        help="measure recall with this drive (default: the map's own places, each left out)",
    )
    parser.add_argument('--model', type=Path, metavar='MODEL', help='for --bag')
    add_precision_argument(parser)
    parser.add_argument(
        '--radius',
        type=float,
        default=5.0,
        metavar='M',
        help='a place this near is right (default: 5 m)',
    )
    add_drive_arguments(parser)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    arguments.argv = given
    return int(arguments.run(arguments))


if __name__ == '__main__':
    sys.exit(main())
