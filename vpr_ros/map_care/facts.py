"""The text of `map` in the terminal: content of a map, its faults, its recall."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.recall import Recall
from vpr_ros.map_care.check import Findings, blank_said, spacing_m
from vpr_ros.map_care.costs import (
    available_bytes,
    bytes_by_kind,
    cost_of_million,
    file_sizes,
    gigabytes,
    unserved,
)
from vpr_ros.map_care.page import called

_SHOWN = 10  # findings of each kind
_NAME_COLUMNS = 22  # wider where a name, such as a folder, is longer


def facts(place_map: PlaceMap) -> list[tuple[str, str]]:
    """What is in a map: names and values."""
    header = place_map.header
    kinds = bytes_by_kind(header, place_map.folder)
    low, high = place_map.poses[:, :3].min(axis=0), place_map.poses[:, :3].max(axis=0)
    view = header.field_of_view_deg
    return [
        ('places', f'{len(place_map)} in {counted(len(header.parts), "part")}'),
        *_distractors(place_map),
        ('extent', ' x '.join(f'{side:.1f}' for side in high - low) + ' m'),
        ('spacing', f'{spacing_m(place_map):.2f} m at the median'),
        ('frame', header.frame_id),
        *_datum(header),
        ('headings', 'known' if header.has_heading else 'not known'),
        ('camera', f'sees {view:.0f} deg' if view else 'of unknown field of view'),
        ('mounting', 'known' if header.mounting_known else 'not known, assumed to look forward'),
        ('model', f'{header.model_name} ({header.model_sha256[:12]})'),
        ('descriptors', f'{header.descriptor_size} numbers each{_halves(place_map)}'),
        ('cells', _cells(header)),
        ('size on disk', size_on_disk(header, place_map.folder)),
        ('a place', bytes_a_place(header, kinds)),
        ('a million places', a_million(header, kinds)),
        *_unserved(place_map),
        ('id', place_map.id),
        ('made at', f'{header.made_at or "a time that is not kept"} from {header.source}'),
        ('made by', header.command),
        *(
            ('then', f'{counted(change.places, "place")} at {change.made_at} by {change.command}')
            for change in header.changes
        ),
    ]


def weaknesses(place_map: PlaceMap, findings: Findings) -> list[tuple[str, str]]:
    """What is wrong with a map: a line for each kind, then the worst of it."""
    aliases = [
        f'{called(place_map, alias.place)} looks like {called(place_map, alias.twin)}, '
        f'{alias.distance_m:.0f} m away: {alias.similarity:.2f}, '
        + (
            f'its most similar near one {alias.near_similarity:.2f}'
            if alias.near_similarity > -1
            else 'and no near one is among its most similar'
        )
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
    said = f'; {blank_said(findings.blank, findings.compared)}' if findings.blank else ''
    without = findings.unpictured
    if not without:
        return said
    places, verb = counted(findings.compared, 'place'), by_count(without, 'has', 'have')
    return f'{said}; {without} of {places} {verb} no picture'


def size_on_disk(header: MapHeader, folder: Path) -> str:
    """The size of a map, and its three largest files by their names within a part."""
    sizes = file_sizes(header, folder)
    largest = sorted(sizes.items(), key=lambda entry: -entry[1])[:3]
    shares = ', '.join(f'{name} {size / 1e6:.1f}' for name, size in largest)
    return f'{sum(sizes.values()) / 1e6:.1f} MB ({shares})'


def bytes_a_place(header: MapHeader, kinds: Mapping[str, int]) -> str:
    """What a place takes on the disk in the mean; kinds: the map's bytes by kind."""
    each = {kind: round(size / header.places) for kind, size in kinds.items()}
    shown = ', '.join(f'{kind} {size}' for kind, size in each.items())
    return f'{sum(each.values())} bytes ({shown})'


def a_million(header: MapHeader, kinds: Mapping[str, int]) -> str:
    """What a million places like a map's take; kinds: the map's bytes by kind."""
    cost = cost_of_million(header, kinds)
    return (
        f'{gigabytes(cost.disk_bytes)} on the disk, {gigabytes(cost.resident_bytes)} of memory of '
        'the node that serves them in one part'
    )


def recall_rows(found: Sequence[tuple[str, Recall]], *, own: bool) -> list[tuple[str, str]]:
    """Recalls beside each other; own: of a map's own places."""
    how = 'of its own places, each left out' if own else 'of the bag'
    return [
        (name, f'{_shares(recall)}  ({counted(recall.queries, "query")} {how})')
        for name, recall in found
    ]


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as lines."""
    width = max(_NAME_COLUMNS, *(len(name) + 2 for name, _ in rows))
    return '\n'.join(f'{name:<{width}}{value}'.rstrip() for name, value in rows)


def _distractors(place_map: PlaceMap) -> list[tuple[str, str]]:
    count = int(place_map.is_distractor.sum())
    if not count:
        return []
    verb = by_count(count, 'shows', 'show')
    return [('', f'{count} of them {verb} what lies around this cut, and give no fix')]


def _cells(header: MapHeader) -> str:
    if header.cells is None:
        return 'none'
    rows, columns, numbers = header.cells
    return f'{rows} x {columns} of {numbers} bits each'


def _halves(place_map: PlaceMap) -> str:
    """Whether some of the descriptors are kept in half precision."""
    halves = place_map.half_places
    if not halves:
        return ''
    whole = halves == len(place_map)
    return ', in half precision' if whole else f', {halves} of them in half precision'


def _unserved(place_map: PlaceMap) -> list[tuple[str, str]]:
    parts = np.diff(place_map.part_starts).tolist()
    said = unserved(parts, place_map.header.descriptor_size, available_bytes())
    return [('memory', said)] if said else []


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
    return '  '.join(f'R@{n} {recall.said(n)}' for n in recall.at)
