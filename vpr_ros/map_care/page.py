"""The page of a map's check-up: what was found, where it lies, and what it looks like."""

from collections.abc import Sequence
from pathlib import Path

from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.map_care.check import Alias, Findings, blank_said
from vpr_ros.map_care.plots import places_jpeg
from vpr_ros.report.charts import Tone
from vpr_ros.report.page import (
    Drawing,
    Facts,
    Figure,
    Gallery,
    Headline,
    Page,
    Picture,
    Section,
    Strip,
    Table,
)

_MOST_ALIASES, _MOST_ROWS, _MOST_PICTURES, _IN_A_ROW = 30, 50, 36, 6


def sound_page(
    place_map: PlaceMap, findings: Findings, facts: Sequence[tuple[str, str]], command: str
) -> Page:
    """The page of a map whose files are as they should be; facts: what `map info` says."""
    sections: list[Section] = [
        _headline(place_map, findings),
        Drawing('Where it lies', places_jpeg(place_map, findings), 'places and what was found'),
        _aliases(place_map, findings),
        _gaps(place_map, findings),
        _poor_images(place_map, findings),
        _duplicates(place_map, findings),
    ]
    shown = [section for section in sections if not _is_empty(section)]
    return Page(
        f'Check of {place_map.folder.name}',
        f'model {place_map.header.model_name}; every file is as its digest says',
        [*shown, Facts('The map', facts, [command])],
    )


def damaged_page(folder: Path, damages: Sequence[str], command: str) -> Page:
    """The page of a map that cannot be used."""
    return Page(
        f'Check of {folder.name}',
        'damaged',
        [
            Headline([Figure('damaged files', str(len(damages)), tone='bad')]),
            Table('Damage', ['what'], [[line] for line in damages]),
            Facts('The map', [('folder', str(folder))], [command]),
        ],
    )


def called(place_map: PlaceMap, place: int) -> str:
    """A place as a person finds it again."""
    x, y = place_map.poses[place, :2]
    return f'{place} at ({x:.1f}, {y:.1f})'


def _is_empty(section: Section) -> bool:
    if isinstance(section, Gallery):
        return not section.strips
    return isinstance(section, Table) and not section.rows


def _headline(place_map: PlaceMap, findings: Findings) -> Headline:
    def figure(label: str, count: int, note: str) -> Figure:
        tone: Tone = 'silent' if count else 'good'
        return Figure(label, str(count), note, tone)

    compared = 'of all places'
    if findings.compared < len(place_map):
        compared = f'of {findings.compared} that were compared'
    parts = counted(len(place_map.header.parts), 'part')
    return Headline(
        [
            Figure('places', str(len(place_map)), f'in {parts}'),
            figure('look like a far place', findings.aliased, compared),
            figure('gaps in the route', len(findings.gaps), 'no other recording covers them'),
            figure('poor images', len(findings.poor_images), 'dark, white, flat or blurred'),
            figure('duplicates', len(findings.duplicates), 'map prune leaves them out'),
        ]
    )


def _aliases(place_map: PlaceMap, findings: Findings) -> Gallery:
    shown = findings.aliases[:_MOST_ALIASES]
    strips = [
        Strip(
            '',
            [picture for alias in shown[start : start + 3] for picture in _pair(place_map, alias)],
        )
        for start in range(0, len(shown), 3)
    ]
    return Gallery(
        'Places that look alike and lie apart',
        strips,
        f'{len(shown)} of {counted(len(findings.aliases), "pair")}, one for each two regions, '
        'most similar first. A single image from there may be misleading; a sequence of images, '
        'or a camera that sees more, tells them apart.',
    )


def _pair(place_map: PlaceMap, alias: Alias) -> list[Picture]:
    apart = f'looks like the next one, {alias.distance_m:.0f} m away ({alias.similarity:.2f})'
    return [
        _picture(place_map, alias.place, f'{called(place_map, alias.place)} {apart}'),
        _picture(place_map, alias.twin, called(place_map, alias.twin)),
    ]


def _gaps(place_map: PlaceMap, findings: Findings) -> Table:
    return Table(
        'Gaps in the route',
        ['from place', 'to place', 'length', 'time'],
        [
            [
                called(place_map, gap.before),
                called(place_map, gap.after),
                f'{gap.length_m:.1f} m',
                f'{gap.seconds:.1f} s',
            ]
            for gap in findings.gaps[:_MOST_ROWS]
        ],
        'Between these the robot has nothing to recognize. Drive there again and `map append`.',
    )


def _poor_images(place_map: PlaceMap, findings: Findings) -> Gallery:
    shown = findings.poor_images[:_MOST_PICTURES]
    pictures = [
        _picture(place_map, poor.place, f'{poor.reason}: {called(place_map, poor.place)}')
        if poor.reason != 'unreadable'
        else Picture(b'', f'unreadable: {called(place_map, poor.place)}')
        for poor in shown
    ]
    rows = [pictures[start : start + _IN_A_ROW] for start in range(0, len(pictures), _IN_A_ROW)]
    return Gallery(
        'Images that show little',
        [Strip('', row) for row in rows],
        f'{len(shown)} of {len(findings.poor_images)}, in the order of the map.{_blank(findings)}',
    )


def _blank(findings: Findings) -> str:
    return f' {blank_said(findings.blank, findings.compared)}.' if findings.blank else ''


def _duplicates(place_map: PlaceMap, findings: Findings) -> Table:
    return Table(
        'Duplicates',
        ['place', 'is the same as'],
        [
            [called(place_map, old), called(place_map, new)]
            for old, new in findings.duplicates[:_MOST_ROWS].tolist()
        ],
    )


def _picture(place_map: PlaceMap, place: int, caption: str) -> Picture:
    return Picture(place_map.thumbnail_jpeg(place), caption)
