"""What a store holds: one table of parts, and a table of places for each part.

    parts              a row for each part of the fleet's map; its versions are the fleet's
    places_<digest>    the places of one part, named by what they say; never changed

A part is there when `parts` says so. Its places are written first, all in one commit. Then one
commit to `parts` makes all parts of a push visible. A kill between the two leaves a table that
nobody sees, whole, and the next push of that part takes it. Nothing is ever deleted, so that every
older version stays readable and going back is one commit.

Two programs may push the same part at once. Both then write the same places under the same name,
and it does not matter whose stay. Its row may stand twice in `parts`, and counts once.

Only the making of `parts` has to happen once, because the library lets a late maker replace what
is in a table by then. In a folder a lock sees to that. Object storage has no locks, so that there
a person says when a store is new.
"""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.atomic import unwritable_as
from vpr_ros.core.errors import FleetError
from vpr_ros.core.plurals import counted
from vpr_ros.fleet.engine import (
    RESTORE,
    ConflictError,
    Database,
    MissingTableError,
    Table,
    arrow,
    insistently,
)
from vpr_ros.fleet.landmarks import LANDMARK_ID
from vpr_ros.fleet.places import Form, keys_of, part_digest, require_form, require_full
from vpr_ros.fleet.records import Frame, PartRecord, parts_schema, records_of

if TYPE_CHECKING:
    import pyarrow as pa

EMPTY = 1
"""Version of a store before its first push."""

PARTS = 'parts'


class Fleet:
    """A store, opened."""

    def __init__(self, database: Database, frame: Frame) -> None:
        """Use Fleet.open or Fleet.created."""
        self._database = database
        self.frame = frame

    @property
    def address(self) -> str:
        """Where it is; has no secret in it."""
        return self._database.address

    @property
    def folder(self) -> Path | None:
        """The folder that it is, without links; None for object storage."""
        return self._database.folder

    @classmethod
    def open(cls, address: str) -> 'Fleet':
        """A store that is there; raises FleetError."""
        database = Database(address)
        try:
            table = database.table(PARTS)
        except MissingTableError as error:
            raise FleetError(
                f'{address}: no fleet here; make one with map push FOLDER --fleet '
                f'{shlex.quote(address)}'
            ) from error
        return cls(database, _frame(table))

    @classmethod
    def created(cls, address: str, frame: Frame, *, is_new: bool = False) -> 'Fleet':
        """A store that is there, or a new one of this frame.

        is_new: a new one may be made in object storage; in a folder it always may. Raises
        FleetError.
        """
        database = Database(address)
        try:
            return cls(database, _frame(database.table(PARTS)))
        except MissingTableError as error:
            if database.folder is None and not is_new:
                raise FleetError(
                    f'{address}: no fleet here; give --new with the first push, from one '
                    'computer only'
                ) from error
        schema = parts_schema().with_metadata(frame.as_notes())
        with unwritable_as(FleetError, address), database.making(PARTS):
            with suppress(ConflictError):  # made by another program meanwhile
                database.create(PARTS, schema, iter([]))
            return cls(database, _frame(database.table(PARTS)))

    def parts(self, version: int | None = None) -> tuple[int, list[PartRecord]]:
        """A version's number and its parts in the order of the pushes, each part once.

        version: the newest one where it is not given. Raises FleetError where there is none.
        """
        table = self._database.table(PARTS)
        try:
            if version is not None:
                table.at(version)
            found = table.version, records_of(table)
        except MissingTableError as error:
            raise FleetError(
                f'{self.address}: no version {version}; '
                f'map fleet {shlex.quote(self.address)} lists them'
            ) from error
        return found

    def versions(self) -> list[tuple[int, str]]:
        """Numbers and times of all versions, oldest first."""
        return self._database.table(PARTS).versions()

    def places(self, part: str, form: Form) -> 'PartTable':
        """The table with a part's places, checked; raises MissingTableError and FleetError."""
        table = self._database.table(f'places_{part}')
        require_form(table.schema, form.schema(), where=table.where)
        return PartTable(table, part, has_landmarks=bool(form.landmarks))

    def places_of(self, record: PartRecord) -> 'PartTable':
        """The table with the places of a part that `parts` names; raises FleetError."""
        try:
            return self.places(record.part, record.form)
        except MissingTableError as error:
            raise FleetError(
                f'{self.address}: the places of part {record.part[:12]} are missing; {RESTORE}'
            ) from error

    def write_places(self, part: str, form: Form, rows: Iterator['pa.RecordBatch']) -> None:
        """Write a part's places in one commit; what another program wrote of it is the same."""
        with suppress(ConflictError):
            self._database.create(f'places_{part}', form.schema(), rows)

    def publish(self, records: Sequence[PartRecord]) -> int | None:
        """Make parts visible in one commit; the new version, None where all were there already.

        Raises FleetError where others commit all the time.
        """

        def attempt() -> int | None:
            table = self._database.table(PARTS)
            held = records_of(table)
            known = {one.part for one in held}
            missing = [one for one in records if one.part not in known]
            if not missing:
                return None
            sequence = 1 + max((one.sequence for one in held), default=0)
            rows = [asdict(one) | {'sequence': sequence} for one in missing]
            schema = parts_schema()
            table.add(schema, iter([arrow().RecordBatch.from_pylist(rows, schema=schema)]))
            return table.version

        return insistently(self.address, attempt)

    def roll_back(self, version: int) -> int:
        """Make a new version that equals an older one; returns its number.

        Raises FleetError where there is no such version, and where others commit all the time.
        """

        def attempt() -> int:
            newest, _ = self.parts()
            if version == newest:
                raise FleetError(f'{self.address}: version {version} is already the newest')
            self.parts(version)  # says that there is none, or that it is damaged
            table = self._database.table(PARTS)
            table.restore(version)
            return table.version

        return insistently(self.address, attempt)


class PartTable:
    """The places of one part: which there are and where, read and compared with its digest."""

    def __init__(self, table: Table, part: str, *, has_landmarks: bool) -> None:
        """Raises FleetError where they are not the part's."""
        self.table = table
        columns = ['row', 'x', 'y', 'id', *([LANDMARK_ID] if has_landmarks else [])]
        found = list(table.rows(columns))
        for batch, name in ((batch, name) for batch in found for name in columns):
            require_full(batch.column(name), name, where=table.where)
        row, x_m, y_m, row_ids = (
            np.concatenate([batch.column(name).to_numpy(zero_copy_only=False) for batch in found])
            if found
            else np.zeros(0)
            for name in ('row', 'x', 'y', '_rowid')
        )
        order = np.argsort(row, kind='stable')

        def in_order(name: str) -> list[bytes]:
            values = [one for batch in found for one in batch.column(name).to_pylist()]
            return [values[number] for number in order.tolist()]

        self.ids = in_order('id')
        marks = in_order(LANDMARK_ID) if has_landmarks else [b''] * len(self.ids)
        self.keys = keys_of(self.ids, marks)
        is_counted = np.array_equal(row[order], np.arange(len(row)))
        if not is_counted or part_digest(self.keys) != part:
            raise FleetError(
                f'{table.where}: the digest of its {counted(len(row), "place")} differs from the '
                'name of the table, so the table is damaged; '
                f'{RESTORE}'
            )
        self.x_m, self.y_m = x_m[order], y_m[order]  # [n]
        self.row_ids: NDArray[np.int64] = row_ids[order].astype(np.int64)  # [n]

    def __len__(self) -> int:
        """Number of places, n."""
        return len(self.ids)


def _frame(table: Table) -> Frame:
    return Frame.from_notes(table.schema.metadata or {}, where=table.where)
