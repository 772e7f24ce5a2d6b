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

import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.atomic import unwritable_as
from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.model import checked_cells
from vpr_ros.core.documents import parse_json
from vpr_ros.core.errors import DocumentError, FleetError, VprError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.landmarks.feature_kinds import size_without_networks
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.names import printable
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Datum, Poses
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

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
"""Of the tables; a later program that writes other ones raises it."""

EMPTY = 1
"""Version of a store before its first push."""

PARTS = 'parts'
_NOTE = b'vpr_ros'  # key of the frame in the schema's notes
_DIGEST = re.compile(r'[0-9a-f]{64}')
_PUSH = re.compile(r'[0-9a-f]{32}')
_MOST_DESCRIPTOR = 65_536
_MOST_PIXELS = 65_536  # of a side of an image
_TEXTS = ('part', 'push', 'model_name', 'model_sha256', 'robot', 'condition', 'note')
_SAID = ('pushed_at', 'source', 'made_at', 'details')
_NUMBERS = ('x_min', 'y_min', 'x_max', 'y_max')
_COUNTS = ('sequence', 'number', 'places', 'first_stamp_ns', 'last_stamp_ns')


@dataclass(frozen=True, slots=True)
class Frame:
    """What the positions of a fleet's map are relative to."""

    frame_id: str
    datum: Datum | None
    has_heading: bool

    @classmethod
    def of(cls, header: MapHeader) -> 'Frame':
        """The frame of a map."""
        return cls(header.frame_id, header.datum, header.has_heading)

    def __str__(self) -> str:
        """For people."""
        where = f'frame {printable(self.frame_id)}'
        if self.datum is not None:
            where = f'UTM zone {self.datum.utm_zone}{printable(self.datum.utm_letter)}'
        return where if self.has_heading else f'{where}, without headings'

    def shift_of(self, other: 'Frame', *, where: str) -> NDArray[np.float64]:
        """Metres east and north [2] that bring positions of `other` into this frame.

        Raises FleetError where nothing does.
        """
        if str(self) != str(other):
            raise FleetError(
                f'{where}: positions in {other}, expected {self} as the fleet has them; '
                'push it to a fleet of its own'
            )
        if self.datum is None or other.datum is None:
            return np.zeros(2)
        ours, theirs = self.datum, other.datum
        return np.array([theirs.east_m - ours.east_m, theirs.north_m - ours.north_m])

    def as_json(self) -> str:
        """The frame as text for the notes of the table."""
        return json.dumps({'format': FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: bytes, *, where: str) -> 'Frame':
        """The frame from the notes of the table; raises FleetError."""
        try:
            found = parse_json(text)
            version = found['format']
            if version == FORMAT:
                datum = None if found['datum'] is None else _datum(found['datum'])
                return cls(
                    _typed(found['frame_id'], str), datum, _typed(found['has_heading'], bool)
                )
        except (DocumentError, KeyError, TypeError, ValueError) as error:
            raise FleetError(
                f'{where}: its notes are not the frame of a fleet ({error})'
            ) from error
        raise FleetError(
            f'{where}: the fleet has format {str(version)[:20]}, but this program knows {FORMAT}; '
            'update the program'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """One part of the fleet's map: a row of the table `parts`."""

    part: str  # digest of its places
    push: str  # id of the push; of two at once, it says whose parts come first
    model_name: str
    model_sha256: str
    robot: str
    condition: str
    note: str
    pushed_at: str
    source: str  # the drive, as the map names it
    made_at: str
    details: str  # JSON: what else map.yaml says that a cut needs
    places: int
    first_stamp_ns: int
    last_stamp_ns: int
    x_min: float  # metres, of the cameras' positions
    y_min: float
    x_max: float
    y_max: float
    sequence: int  # rises with each push
    number: int  # within its push

    @property
    def form(self) -> Form:
        """The form of its places."""
        details = self.known_details
        return Form(
            self.model_sha256,
            details['descriptor_size'],
            details['cells'],
            details['landmark_features'],
        )

    @property
    def files(self) -> str:
        """What the files that it was pushed from are known by; older stores say nothing of it.

        See files_digest. Raises FleetError.
        """
        try:
            files: str = _typed(parse_json(self.details).get('files', ''), str)
            return files
        except (AttributeError, DocumentError, ValueError) as error:
            raise FleetError(
                f'part {self.part[:12]}: its details are damaged ({error})'
            ) from error

    @property
    def known_details(self) -> dict[str, Any]:
        """What else map.yaml says, checked; raises FleetError."""
        try:
            found = parse_json(self.details)
            size = _typed(found['descriptor_size'], int)
            if not 1 <= size <= _MOST_DESCRIPTOR:
                raise ValueError(f'descriptor_size is {size}, expected 1 to {_MOST_DESCRIPTOR}')
            view = found['field_of_view_deg']
            if view is not None and not 0 < _typed(view, float) < 360:
                raise ValueError(f'field_of_view_deg is {view}, expected above 0 and below 360')
            calibration = found['model_calibration']
            kind, camera = _landmarks(found)
            return {
                'descriptor_size': size,
                'half_descriptors': _typed(found.get('half_descriptors', False), bool),
                'cells': checked_cells(found['cells']),
                'base_T_camera': _mounting(found['base_T_camera']),
                'mounting_known': _typed(found['mounting_known'], bool),
                'field_of_view_deg': view,
                'model_calibration': None if calibration is None else _typed(calibration, dict),
                'landmark_features': kind,
                'camera': camera,
            }
        except (
            DocumentError, KeyError, OverflowError, TypeError, ValueError, VprError
        ) as error:  # fmt: skip
            raise FleetError(
                f'part {self.part[:12]}: its details are damaged ({error})'
            ) from error

    def is_near(self, x: float, y: float, radius_m: float) -> bool:
        """Whether the part's extent reaches into a circle."""
        across = max(self.x_min - x, 0.0, x - self.x_max)
        along = max(self.y_min - y, 0.0, y - self.y_max)
        return math.hypot(across, along) <= radius_m * (1 + 1e-9)


def details_of(
    header: MapHeader, *, has_landmarks: bool = False, is_half: bool = False, files: str = ''
) -> str:
    """The details of a record, from a map's header.

    has_landmarks: whether the part has some in the store; is_half: whether its descriptors are in
    half precision in the map; files: see files_digest.
    """
    view, camera = header.field_of_view_deg, header.camera
    landmarks: dict[str, Any] = {}
    if has_landmarks and camera is not None:
        landmarks = {'landmark_features': header.landmark_features, 'camera': camera.as_mapping()}
    return json.dumps(
        landmarks
        | {
            'descriptor_size': header.descriptor_size,
            'half_descriptors': is_half,
            'files': files,
            'cells': header.cells and list(header.cells),
            'base_T_camera': list(header.base_T_camera),
            'mounting_known': header.mounting_known,
            'field_of_view_deg': None if view is None else float(view),
            'model_calibration': header.model_calibration,
        },
        sort_keys=True,
    )


def content_id(records: Sequence[PartRecord]) -> str:
    """A short name of what a version holds: equal versions have equal ones."""
    return hashlib.sha256('\n'.join(one.part for one in records).encode()).hexdigest()[:12]


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
        schema = parts_schema().with_metadata({_NOTE: frame.as_json().encode()})
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
            found = table.version, _records(table)
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
            held = _records(table)
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


def parts_schema() -> 'pa.Schema':
    """Columns of the table `parts`, those of a record."""
    pa = arrow()
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema(
        [(name, kinds[kind]) for name, kind in PartRecord.__annotations__.items()],
    )


def _records(table: Table) -> list[PartRecord]:
    require_form(table.schema, parts_schema(), where=table.where)
    columns = list(PartRecord.__annotations__)
    found = [
        _record(row, table.where)
        for batch in table.rows(columns)
        for row in batch.select(columns).to_pylist()
    ]
    found.sort(key=lambda one: (one.sequence, one.push, one.number))
    first: dict[str, PartRecord] = {}
    for one in found:
        first.setdefault(one.part, one)
    return list(first.values())


def _record(row: dict[str, Any], where: str) -> PartRecord:
    record = PartRecord(**row)
    wrong = [
        *(name for name in (*_TEXTS, *_SAID) if type(row[name]) is not str),
        *(name for name in _COUNTS if type(row[name]) is not int),
        *(
            name
            for name in _NUMBERS
            if type(row[name]) is not float or not math.isfinite(row[name])
        ),
    ]
    if wrong:
        raise FleetError(f'{where}: {wrong[0]} of a part is {str(row[wrong[0]])[:40]}')
    for name, form in (
        ('part', _DIGEST),
        ('model_sha256', _DIGEST),
        ('push', _PUSH),
    ):
        if not form.fullmatch(row[name]):
            raise FleetError(f'{where}: {name} of a part is {row[name][:80]!a}, expected a digest')
    if record.places < 1:
        raise FleetError(
            f'{where}: part {record.part[:12]} has {record.places} places, expected at least one'
        )
    return record


def _frame(table: Table) -> Frame:
    notes = table.schema.metadata or {}
    return Frame.from_json(notes.get(_NOTE, b''), where=table.where)


def _datum(found: Any) -> Datum:
    datum = Datum(
        _typed(found['utm_zone'], int),
        _typed(found['utm_letter'], str),
        *(float(found[name]) for name in ('east_m', 'north_m', 'altitude_m')),
    )
    if not all(math.isfinite(one) for one in (datum.east_m, datum.north_m, datum.altitude_m)):
        raise ValueError(f'{datum}, expected finite metres')
    return datum


def _landmarks(found: Any) -> tuple[str, Camera | None]:
    """Kind and camera of a part's landmarks; older stores say nothing of them."""
    kind = _typed(found.get('landmark_features', ''), str)
    if not kind:
        return '', None
    if size_without_networks(kind) is None:
        raise ValueError(f'landmarks of {kind[:40]!a}, expected a kind without networks')
    mapping = _typed(found['camera'], dict)
    sides = [_typed(mapping[name], int) for name in ('width_px', 'height_px')]
    camera = Camera.checked(mapping)
    is_finite = all(map(math.isfinite, (*camera.matrix, *camera.distortion)))
    if max(sides) > _MOST_PIXELS or not is_finite:
        raise ValueError('its camera is not a calibration')
    return kind, camera


def _mounting(found: Any) -> tuple[float, ...]:
    pose: Poses = checked_pose(found, source='base_T_camera')
    if pose.ndim != 1:
        raise ValueError(f'base_T_camera has shape {pose.shape}, expected [7]')
    return tuple(pose.tolist())


def _typed(found: Any, kind: type) -> Any:
    if type(found) is not kind:
        raise ValueError(f'{str(found)[:40]!a}, expected {kind.__name__}')
    return found
