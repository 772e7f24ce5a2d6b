"""What the table `parts` says: the frame of the map in its notes, and a record for each part.

Other programs write this table, too, so that nothing in it is used before it is checked.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.model import checked_cells
from vpr_ros.core.documents import parse_json
from vpr_ros.core.errors import DocumentError, FleetError, VprError
from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.landmarks.feature_kinds import size_without_networks
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.names import printable
from vpr_ros.core.types import Datum, Poses
from vpr_ros.fleet.engine import Table, arrow
from vpr_ros.fleet.places import Form, require_form

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
"""Of the tables; a later program that writes other ones raises it."""

_NOTE = b'vpr_ros'  # key of the frame in the schema's notes
_DIGEST = re.compile(r'[0-9a-f]{64}')
_PUSH = re.compile(r'[0-9a-f]{32}')
_MOST_DESCRIPTOR = 65_536
_MOST_PIXELS = 65_536  # of a side of an image


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

    def as_notes(self) -> dict[bytes, bytes]:
        """The notes of a table with this frame."""
        said = json.dumps({'format': FORMAT, **asdict(self)}, sort_keys=True)
        return {_NOTE: said.encode()}

    @classmethod
    def from_notes(cls, notes: Mapping[bytes, bytes], *, where: str) -> 'Frame':
        """The frame from the notes of the table; raises FleetError."""
        try:
            found = parse_json(notes.get(_NOTE, b''))
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


def parts_schema() -> 'pa.Schema':
    """Columns of the table `parts`, those of a record."""
    pa = arrow()
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema(
        [(name, kinds[kind]) for name, kind in PartRecord.__annotations__.items()],
    )


def records_of(table: Table) -> list[PartRecord]:
    """The records of `parts` in the order of the pushes, each part once; raises FleetError."""
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
    for name, kind in PartRecord.__annotations__.items():
        value = row[name]
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            raise FleetError(f'{where}: {name} of a part is {str(value)[:40]}')
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
