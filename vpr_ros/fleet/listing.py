"""What a fleet's store holds, and how it came to be: for a terminal and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vpr_ros.core.names import printable
from vpr_ros.core.plurals import counted
from vpr_ros.fleet.store import Fleet, PartRecord, content_id

_DIGITS = 12  # of a digest that are shown


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a fleet's map."""

    version: int
    made_at: str
    content: str  # id; equal contents have equal ones
    parts: int
    places: int
    change: str  # against the version before

    def as_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Listing:
    """A store at its newest version, and its latest versions."""

    address: str
    frame: str
    records: tuple[PartRecord, ...]  # of the newest version
    versions: tuple[Version, ...]  # newest first
    older: int  # versions that are not listed

    def as_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return {
            'fleet': self.address,
            'frame': self.frame,
            'version': self.versions[0].version,
            'content': self.versions[0].content,
            'places': sum(one.places for one in self.records),
            'parts': [_part(one) for one in self.records],
            'versions': [one.as_mapping() for one in self.versions],
            'older_versions': self.older,
        }

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        newest = self.versions[0]
        yield f'fleet     {printable(self.address)}'
        yield f'frame     {self.frame}'
        yield (
            f'version   {newest.version}, content {newest.content}: '
            f'{counted(newest.places, "place")} in {counted(newest.parts, "part")}'
        )
        for heading in ('model_name', 'condition', 'robot'):
            yield from _counts(heading, self.records)
        yield ''
        yield from _columns(
            ['part', 'places', 'extent (m)', 'condition', 'robot', 'pushed at', 'drive', 'note'],
            [
                [
                    one.part[:_DIGITS],
                    f'{one.places}',
                    _extent(one),
                    one.condition or '-',
                    one.robot or '-',
                    one.pushed_at,
                    one.source or '-',
                    one.note,
                ]
                for one in self.records
            ],
        )
        yield ''
        yield from _columns(
            ['version', 'at', 'content', 'parts', 'places', 'what'],
            [
                [
                    f'{one.version}',
                    one.made_at,
                    one.content,
                    f'{one.parts}',
                    f'{one.places}',
                    one.change,
                ]
                for one in self.versions
            ],
        )
        if self.older:
            yield f'... and {self.older} older; --versions N lists more'


def listing(address: str, *, most_versions: int = 20) -> Listing:
    """Read a store; raises FleetError."""
    fleet = Fleet.open(address)
    all_versions = fleet.versions()
    shown = all_versions[-max(most_versions, 1) :]
    before: list[PartRecord] = []
    if len(shown) < len(all_versions):
        before = fleet.parts(all_versions[-len(shown) - 1][0])[1]
    known: dict[str, int] = {}
    found = []
    for number, made_at in shown:
        records = fleet.parts(number)[1]
        content = content_id(records)
        found.append(
            Version(
                version=number,
                made_at=made_at,
                content=content,
                parts=len(records),
                places=sum(one.places for one in records),
                change=_change(before, records, known.get(content)),
            )
        )
        known.setdefault(content, number)
        before = records
    return Listing(
        address=fleet.address,
        frame=str(fleet.frame),
        records=tuple(before),
        versions=tuple(reversed(found)),
        older=len(all_versions) - len(shown),
    )


def _change(before: Sequence[PartRecord], after: Sequence[PartRecord], twin: int | None) -> str:
    """What happened between two versions; twin: an older version of the same content."""
    held = {one.part for one in before}
    added = [one for one in after if one.part not in held]
    gone = len(held - {one.part for one in after})
    if gone and twin is not None:
        return f'rolled back to {twin}'
    if gone:
        return f'rolled back: {counted(gone, "part")} less'
    if added:
        robots = ', '.join(sorted({printable(one.robot) or 'no name' for one in added}))
        return f'{counted(len(added), "part")} of {robots}'
    return 'empty' if not after else 'the same parts'


def _counts(heading: str, records: Sequence[PartRecord]) -> Iterator[str]:
    places: dict[str, int] = {}
    for one in records:
        named = getattr(one, heading)
        if heading == 'model_name':
            named = f'{named} ({one.model_sha256[:_DIGITS]})'
        places[named] = places.get(named, 0) + one.places
    said = ', '.join(f'{printable(name) or "-"} {count}' for name, count in sorted(places.items()))
    if said:
        yield f'{heading.partition("_")[0]:<10}{said}'


def _extent(record: PartRecord) -> str:
    return f'{record.x_min:.1f}..{record.x_max:.1f}, {record.y_min:.1f}..{record.y_max:.1f}'


def _part(record: PartRecord) -> dict[str, Any]:
    named = (
        'part', 'places', 'condition', 'robot', 'note', 'pushed_at', 'source', 'made_at',
        'model_name', 'model_sha256', 'x_min', 'x_max', 'y_min', 'y_max', 'first_stamp_ns',
        'last_stamp_ns',
    )  # fmt: skip
    return {name: getattr(record, name) for name in named}


def _columns(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    shown = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(heads))]
    for row in shown:
        yield '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
