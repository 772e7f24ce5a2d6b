"""What `map` says of a map in the terminal: what is in it, what is wrong with it, its recall."""

from collections.abc import Sequence
from pathlib import Path

from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.recall import Recall
from vpr_ros.map_care.check import Findings, blank_said, spacing_m
from vpr_ros.map_care.page import called

_SHOWN = 10  # findings of each kind
_KINDS = {
    'descriptors': 'descriptors',
    'codes': 'codes',
    'bytes': 'codes',
    'byte': 'codes',
    'cells': 'cells',
    'landmark': 'landmarks',
    'thumbnails': 'thumbnails',
    'thumbnail': 'thumbnails',
}
"""What a file of a part is a kind of, by the first word of its name."""


def facts(place_map: PlaceMap) -> list[tuple[str, str]]:
    """What is in a map: names and values."""
    header = place_map.header
    low, high = place_map.poses[:, :3].min(axis=0), place_map.poses[:, :3].max(axis=0)
    view = header.field_of_view_deg
    return [
        ('places', f'{len(place_map)} in {len(header.parts)} parts'),
        ('extent', ' x '.join(f'{side:.1f}' for side in high - low) + ' m'),
        ('spacing', f'{spacing_m(place_map):.2f} m at the median'),
        ('frame', header.frame_id),
        *_datum(header),
        ('headings', 'known' if header.has_heading else 'not known'),
        ('camera', f'sees {view:.0f} deg' if view else 'of unknown field of view'),
        ('mounting', 'known' if header.mounting_known else 'not known, taken as looking forward'),
        ('model', f'{header.model_name} ({header.model_sha256[:12]})'),
        ('descriptors', f'{header.descriptor_size} numbers each'),
        ('cells', _cells(header)),
        ('size on disk', size_on_disk(header, place_map.folder)),
        ('a place', bytes_a_place(header, place_map.folder)),
        ('id', place_map.id),
        ('made at', f'{header.made_at or "a time that is not kept"} from {header.source}'),
        ('made by', header.command),
        *(
            ('then', f'{change.places} places at {change.made_at} by {change.command}')
            for change in header.changes
        ),
    ]


def weaknesses(place_map: PlaceMap, findings: Findings) -> list[tuple[str, str]]:
    """What is wrong with a map: a line for each kind, then the worst of it."""
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
        ('poor images', f'{len(poor)}{_blank(findings)}', poor),
    ]
    return [row for title, count, lines in shown for row in _listed(title, count, lines)]


def _blank(findings: Findings) -> str:
    return f'; {blank_said(findings.blank, findings.compared)}' if findings.blank else ''


def size_on_disk(header: MapHeader, folder: Path) -> str:
    """The size of a map, and its three largest files by their names within a part."""
    sizes = _file_sizes(header, folder)
    largest = sorted(sizes.items(), key=lambda entry: -entry[1])[:3]
    shares = ', '.join(f'{name} {size / 1e6:.1f}' for name, size in largest)
    return f'{sum(sizes.values()) / 1e6:.1f} MB ({shares})'


def bytes_a_place(header: MapHeader, folder: Path) -> str:
    """What a place takes on the disk in the mean, by kind; what there is none of is left out."""
    sizes: dict[str, int] = {}
    for name, size in _file_sizes(header, folder).items():
        kind = _KINDS.get(name.partition('_')[0].partition('.')[0], 'the rest')
        sizes[kind] = sizes.get(kind, 0) + size
    each = {kind: round(size / header.places) for kind, size in sizes.items()}
    shown = [
        f'{kind} {each[kind]}'
        for kind in dict.fromkeys([*_KINDS.values(), 'the rest'])
        if kind in each
    ]
    return f'{sum(each.values())} bytes ({", ".join(shown)})'


def recall_rows(found: Sequence[tuple[str, Recall]], *, own: bool) -> list[tuple[str, str]]:
    """Recalls beside each other; own: of a map's own places."""
    how = 'of its own places, each left out' if own else 'of the bag'
    return [
        (name, f'{_shares(recall)}  ({recall.queries} queries {how})') for name, recall in found
    ]


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as lines."""
    return '\n'.join(f'{name:<22}{value}'.rstrip() for name, value in rows)


def _file_sizes(header: MapHeader, folder: Path) -> dict[str, int]:
    """Bytes of a map's files by their names within a part, all parts together."""
    sizes: dict[str, int] = {}
    for name in header.files or {}:
        path = folder / name
        sizes[path.name] = sizes.get(path.name, 0) + path.stat().st_size
    return sizes


def _cells(header: MapHeader) -> str:
    if header.cells is None:
        return 'none'
    rows, columns, numbers = header.cells
    return f'{rows} x {columns} of {numbers} bits each'


def _datum(header: MapHeader) -> list[tuple[str, str]]:
    datum = header.datum
    if datum is None:
        return []
    origin = f'{datum.east_m:.1f} east, {datum.north_m:.1f} north'
    return [('datum', f'UTM zone {datum.utm_zone}{datum.utm_letter}, {origin}')]


def _listed(title: str, count: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    rows = [(title, count), *(('', line) for line in lines[:_SHOWN])]
    return rows if len(lines) <= _SHOWN else [*rows, ('', f'... and {len(lines) - _SHOWN} more')]


def _shares(recall: Recall) -> str:
    return '  '.join(
        f'R@{n} {share:.3f} [{recall.interval[n][0]:.3f}, {recall.interval[n][1]:.3f}]'
        for n, share in recall.at.items()
    )
