"""What a fleet's store holds, and how it came to be: for a terminal and as JSON."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from vpr_ros.core.errors import FleetError
from vpr_ros.core.names import printable
from vpr_ros.core.plurals import counted
from vpr_ros.fleet.records import PartRecord, content_id
from vpr_ros.fleet.store import Fleet

_DIGITS = 12  # of a digest that are shown


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a fleet's map."""

    version: int
    made_at: str
    content: str  # id; equal contents have equal ones
    parts: int
    places: int  # each once, as a pull takes them
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
    count: Callable[[Iterable[PartRecord]], int]  # places of parts, each once
    versions: tuple[Version, ...]  # newest first
    older: int  # versions that are not listed

    def as_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return {
            'fleet': self.address,
            'frame': self.frame,
            'version': self.versions[0].version,
            'content': self.versions[0].content,
            'places': self.versions[0].places,
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
            yield from self._counts(heading)
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

    def _counts(self, heading: str) -> Iterator[str]:
        groups: dict[str, list[PartRecord]] = {}
        for one in self.records:
            named = getattr(one, heading)
            if heading == 'model_name':
                named = f'{named} ({one.model_sha256[:_DIGITS]})'
            groups.setdefault(named, []).append(one)
        said = ', '.join(
            f'{printable(name) or "-"} {self.count(parts)}'
            for name, parts in sorted(groups.items())
        )
        if said:
            yield f'{heading.partition("_")[0]:<10}{said}'


def listing(address: str, *, most_versions: int = 20) -> Listing:
    """Read a store; raises FleetError."""
    fleet = Fleet.open(address)
    all_versions = fleet.versions()
    shown = all_versions[-max(most_versions, 1) :]
    before: list[PartRecord] = []
    if len(shown) < len(all_versions):
        before = fleet.parts(all_versions[-len(shown) - 1][0])[1]
    held = {number: fleet.parts(number)[1] for number, _ in shown}
    count = _counter(fleet, chain.from_iterable(held.values()))
    known: dict[frozenset[PartRecord], int] = {}
    found = []
    for number, made_at in shown:
        records = held[number]
        same = frozenset(records)  # as of no other push: each has its own id and time
        found.append(
            Version(
                version=number,
                made_at=made_at,
                content=content_id(records),
                parts=len(records),
                places=count(records),
                change=_change(before, records, known.get(same)),
            )
        )
        known.setdefault(same, number)
        before = records
    return Listing(
        address=fleet.address,
        frame=str(fleet.frame),
        records=tuple(before),
        count=count,
        versions=tuple(reversed(found)),
        older=len(all_versions) - len(shown),
    )


def _change(before: Sequence[PartRecord], after: Sequence[PartRecord], twin: int | None) -> str:
    """What happened between two versions; twin: an older version with the parts after it."""
    held = {one.part for one in before}
    added = [one for one in after if one.part not in held]
    gone = len(held - {one.part for one in after})
    if (gone or added) and twin is not None:
        return f'rolled back to {twin}'
    if gone:
        return f'rolled back: {counted(gone, "part")} less'
    if added:
        robots = ', '.join(sorted({printable(one.robot) or 'no name' for one in added}))
        return f'{counted(len(added), "part")} of {robots}'
    return 'empty' if not after else 'the same parts'


def _counter(fleet: Fleet, records: Iterable[PartRecord]) -> Callable[[Iterable[PartRecord]], int]:
    """A function that counts the places of some of these parts, each place once.

    Only parts that may share places are read. Those that cannot be read count as they say.
    """
    ids: dict[str, list[bytes]] = {}
    for record in _overlapping({one.part: one for one in records}.values()):
        with suppress(FleetError):
            ids[record.part] = fleet.places_of(record).ids

    def count(chosen: Iterable[PartRecord]) -> int:
        alone = 0
        shared: set[bytes] = set()
        for one in chosen:
            if one.part in ids:
                shared.update(ids[one.part])
            else:
                alone += one.places
        return alone + len(shared)

    return count


def _overlapping(records: Iterable[PartRecord]) -> list[PartRecord]:
    """Those that can have a place in common with another one: its model, stamp and position."""
    found: dict[str, PartRecord] = {}
    running: list[PartRecord] = []  # whose time is not over
    for one in sorted(records, key=lambda record: record.first_stamp_ns):
        running = [other for other in running if other.last_stamp_ns >= one.first_stamp_ns]
        for other in running:
            if _is_near(one, other):
                found |= {one.part: one, other.part: other}
        running.append(one)
    return list(found.values())


def _is_near(one: PartRecord, other: PartRecord) -> bool:
    return (
        one.model_sha256 == other.model_sha256
        and one.x_min <= other.x_max
        and other.x_min <= one.x_max
        and one.y_min <= other.y_max
        and other.y_min <= one.y_max
    )


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
