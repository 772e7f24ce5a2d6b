"""Places as rows of a table: their columns, their identity, and what a row must be.

A place's id is the sha256 of all that it says but its landmarks, which have an id of their own
(landmarks.py), and a part's digest that of both ids of its places in their order.
So what comes out of a store is known to be what went in, the same part has the same digest on
every robot, and pushing it again adds nothing. Rows from a store are untrusted: form, ids, poses,
descriptors and names are checked before anything of them is written.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import FleetError
from vpr_ros.core.geometry import checked_pose, compose, invert, yaw_of
from vpr_ros.core.landmarks.points import Landmarks
from vpr_ros.core.mapping.layout import MOST_NAME, MOST_THUMBNAIL_BYTES
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.names import one_line
from vpr_ros.core.types import CellBits, Descriptors, Poses, Stamps
from vpr_ros.fleet.engine import RESTORE, Table, arrow
from vpr_ros.fleet.landmarks import (
    LANDMARK_COLUMNS,
    LANDMARK_ID,
    landmark_bytes,
    landmark_ids,
    landmarks_of,
    require_sound_landmarks,
)

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1024
"""Places that are in memory at a time."""

POSE_COLUMNS = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
ID_BYTES = 32
_NORM_TOLERANCE = 1e-2
_ROUNDS = 8  # of normalizing; the second mostly changes nothing
_UPWARDS = re.compile(r'(^|[/\\])\.\.([/\\]|$)')


@dataclass(frozen=True, slots=True)
class Form:
    """What the places of a part are; parts of one model differ in landmarks alone."""

    model_sha256: str
    descriptor_size: int  # D
    cells: tuple[int, int, int] | None = None  # (h, w, C); None: there are none
    landmarks: str = field(default='', compare=False)  # kind of features; empty: there are none

    @property
    def cell_bytes(self) -> int:
        """Bytes of a place's cells."""
        rows, columns, numbers = self.cells or (0, 0, 0)
        return rows * columns * numbers // 8

    def schema(self) -> 'pa.Schema':
        """Columns of a part's table."""
        pa = arrow()
        cells = [('cells', pa.binary(self.cell_bytes))] if self.cells else []
        landmarks = [(LANDMARK_ID, pa.binary(ID_BYTES))]
        landmarks += [(name, pa.binary()) for name in LANDMARK_COLUMNS]
        return pa.schema(
            [
                ('row', pa.int32()),
                ('id', pa.binary(ID_BYTES)),
                ('stamp_ns', pa.int64()),
                ('name', pa.string()),
                *((column, pa.float64()) for column in POSE_COLUMNS),
                ('heading_rad', pa.float32()),
                ('descriptor', pa.list_(pa.float32(), self.descriptor_size)),
                *cells,
                ('thumbnail', pa.binary()),
                *(landmarks if self.landmarks else []),
            ]
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Some places in memory, n of them."""

    poses: Poses  # [n, 7] map_T_camera
    stamps_ns: Stamps  # [n]
    descriptors: Descriptors  # [n, D]
    cells: CellBits | None  # [n, h * w, C / 8]
    names: list[str]
    thumbnails: list[bytes]
    landmarks: list[Landmarks] | None = None  # [n]; None: the part has none

    def __len__(self) -> int:
        """Number of places, n."""
        return len(self.poses)

    def ids(self, form: Form) -> list[bytes]:
        """What each place is known by, 32 bytes, whatever its landmarks."""
        start = hashlib.sha256(f'vpr_ros place 1 {form.model_sha256} {form.cells}\n'.encode())
        found = []
        for row, (name, thumbnail) in enumerate(zip(self.names, self.thumbnails)):
            text = name.encode()
            digest = start.copy()
            digest.update(f'{len(text)} {len(thumbnail)} {int(self.stamps_ns[row])}\n'.encode())
            digest.update(text)
            digest.update(np.ascontiguousarray(self.poses[row], dtype='<f8').tobytes())
            digest.update(np.ascontiguousarray(self.descriptors[row], dtype='<f4').tobytes())
            if self.cells is not None:
                digest.update(np.ascontiguousarray(self.cells[row]).tobytes())
            digest.update(thumbnail)
            found.append(digest.digest())
        return found

    def landmark_ids(self, form: Form) -> list[bytes]:
        """What each place's landmarks are known by, 32 bytes; of none, empty."""
        if self.landmarks is None:
            return [b''] * len(self)
        return landmark_ids(self.landmarks, form.landmarks)


def keys_of(ids: Sequence[bytes], ids_of_landmarks: Sequence[bytes]) -> list[bytes]:
    """What each place is known by with its landmarks; without any, its id."""
    return [one + marks for one, marks in zip(ids, ids_of_landmarks, strict=True)]


def part_digest(keys: Iterable[bytes]) -> str:
    """What a part is known by: the keys of its places in their order."""
    digest = hashlib.sha256(b'vpr_ros part 1\n')
    for one in keys:
        digest.update(one)
    return digest.hexdigest()


def places_of(
    place_map: PlaceMap, rows: NDArray[np.int64], form: Form, *, shift_m: NDArray[np.float64]
) -> Places:
    """Places [n] of a part, with poses from another origin: shift [2] in metres is added."""
    poses = place_map.poses[rows].copy()
    poses[:, :2] += shift_m
    names = place_map.names
    return Places(
        poses=settled(poses),
        stamps_ns=place_map.stamps_ns[rows],
        descriptors=place_map.descriptors_of(rows),
        cells=place_map.cells_of(rows) if place_map.has_cells else None,
        names=[names[row] for row in rows.tolist()],
        thumbnails=[place_map.thumbnail_jpeg(row) for row in rows.tolist()],
        landmarks=_landmarks_of(place_map, rows) if form.landmarks else None,
    )


def _landmarks_of(place_map: PlaceMap, rows: NDArray[np.int64]) -> list[Landmarks]:
    found = (place_map.landmarks(row) for row in rows.tolist())
    return [one for one in found if one is not None]  # all rows of a part have some, or none


def settled(poses: Poses) -> Poses:
    """Poses [n, 7] that a map's writer, which normalizes quaternions, keeps to the last bit."""
    for _ in range(_ROUNDS):
        normalized = checked_pose(poses)
        if np.array_equal(normalized, poses):
            break
        poses = normalized
    return poses


def batches(rows: Sequence[int] | NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows in pieces that fit in memory."""
    whole = np.asarray(rows, dtype=np.int64)
    for start in range(0, len(whole), BATCH):
        yield whole[start : start + BATCH]


def as_batch(
    places: Places,
    form: Form,
    *,
    first_row: int,
    ids: Sequence[bytes],
    ids_of_landmarks: Sequence[bytes],
    base_T_camera: Poses | None,
) -> 'pa.RecordBatch':
    """Rows of the table; first_row: number in the part; base_T_camera: None without headings."""
    pa = arrow()
    count = len(places)
    heading = np.full(count, np.nan, dtype=np.float32)
    if base_T_camera is not None:
        heading[:] = yaw_of(compose(places.poses, invert(base_T_camera)))
    columns: dict[str, Any] = {
        'row': np.arange(first_row, first_row + count, dtype=np.int32),
        'id': pa.array(list(ids), pa.binary(ID_BYTES)),
        'stamp_ns': np.asarray(places.stamps_ns, dtype=np.int64),
        'name': pa.array(places.names, pa.string()),
        'heading_rad': heading,
        'descriptor': pa.FixedSizeListArray.from_arrays(
            pa.array(places.descriptors.ravel()), form.descriptor_size
        ),
        'thumbnail': pa.array(places.thumbnails, pa.binary()),
    }
    columns |= {name: places.poses[:, number] for number, name in enumerate(POSE_COLUMNS)}
    if places.cells is not None:
        packed = np.ascontiguousarray(places.cells).tobytes()
        columns['cells'] = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(form.cell_bytes), count, [None, pa.py_buffer(packed)]
        )
    if places.landmarks is not None:
        columns[LANDMARK_ID] = pa.array(list(ids_of_landmarks), pa.binary(ID_BYTES))
        packed_rows = [landmark_bytes(one) for one in places.landmarks]
        for number, name in enumerate(LANDMARK_COLUMNS):
            columns[name] = pa.array([row[number] for row in packed_rows], pa.binary())
    schema = form.schema()
    arrays = [
        found if isinstance(found := columns[field.name], pa.Array) else pa.array(found)
        for field in schema
    ]
    return pa.record_batch(arrays, schema=schema)


def require_form(found: 'pa.Schema', wanted: 'pa.Schema', *, where: str) -> None:
    """Raise FleetError where a table has other columns than it must have."""
    if not found.equals(wanted, check_metadata=False):
        names = {field.name: str(field.type) for field in found}
        expected = {field.name: str(field.type) for field in wanted}
        differing = sorted(
            name for name in names.keys() | expected if names.get(name) != expected.get(name)
        )
        name = differing[0] if differing else 'the order'
        raise FleetError(
            f'{where}: column {name!r} is {names.get(name, "missing")}, expected '
            f'{expected.get(name, "none of that name")}; the table was made by '
            'another program or another version of this one'
        )


def from_table(rows: 'pa.Table', form: Form, *, where: str) -> Places:
    """Places of rows of the table, all columns; raises FleetError for what is none."""
    require_form(rows.schema, form.schema(), where=where)
    for name in rows.schema.names:
        require_full(rows.column(name), name, where=where)
    count = rows.num_rows
    cells = None
    if form.cells is not None:
        height, width, numbers = form.cells
        packed = b''.join(rows.column('cells').to_pylist())
        cells = np.frombuffer(packed, np.uint8).reshape(count, height * width, numbers // 8)
    places = Places(
        poses=np.stack([rows.column(name).to_numpy() for name in POSE_COLUMNS], axis=-1),
        stamps_ns=rows.column('stamp_ns').to_numpy(),
        descriptors=_descriptors(rows, form.descriptor_size, where),
        cells=cells,
        names=rows.column('name').to_pylist(),
        thumbnails=rows.column('thumbnail').to_pylist(),
        landmarks=landmarks_of(rows, form.landmarks, where=where) if form.landmarks else None,
    )
    require_sound(places, where=where)
    held = keys_of(
        rows.column('id').to_pylist(),
        rows.column(LANDMARK_ID).to_pylist() if form.landmarks else [b''] * count,
    )
    for row, wanted in enumerate(keys_of(places.ids(form), places.landmark_ids(form))):
        if held[row] != wanted:
            raise FleetError(
                f'{where}: place {printable_name(places.names[row])} is not what its id says, '
                f'so the row was changed; {RESTORE}'
            )
    return places


def require_full(column: 'pa.Array', name: str, *, where: str) -> None:
    """Raise FleetError for a column with empty values."""
    if column.null_count:
        raise FleetError(f'{where}: column {name!r} has empty values, expected none')


@dataclass(frozen=True, slots=True)
class Rows:
    """Some places of a part, in the store."""

    table: Table
    row_ids: NDArray[np.int64]  # [n], of the table
    numbers: NDArray[np.int64]  # [n], within the part

    def __len__(self) -> int:
        """Number of places, n."""
        return len(self.row_ids)

    def only(self, which: NDArray[np.int64]) -> 'Rows':
        """Some of them, by their positions [k] among these."""
        return Rows(self.table, self.row_ids[which], self.numbers[which])

    def taken(self, columns: list[str]) -> 'pa.Table':
        """What columns say of them, `row` among these; raises FleetError."""
        found = self.table.take(self.row_ids.tolist(), columns)
        if found.column('row').to_pylist() != self.numbers.tolist():
            raise FleetError(
                f'{self.table.where}: the rows came in another order than requested; try again'
            )
        return found

    def descriptors(self) -> Descriptors:
        """Descriptors [n, D] as they are stored: nothing but their size is checked."""
        found = self.taken(['row', 'descriptor'])
        size = found.schema.field('descriptor').type.list_size
        return _descriptors(found, size, self.table.where)


def _descriptors(rows: 'pa.Table', size: int, where: str) -> Descriptors:
    column = rows.column('descriptor').combine_chunks()
    values = column.flatten()
    if values.null_count or len(values) != rows.num_rows * size:
        raise FleetError(f'{where}: descriptors have empty values, expected none')
    found: Descriptors = values.to_numpy(zero_copy_only=False)
    return found.reshape(rows.num_rows, size)


def require_sound(places: Places, *, where: str) -> None:
    """Raise VprError for places that no map holds."""
    checked_pose(places.poses, source=where)
    norms = np.linalg.norm(places.descriptors.astype(np.float64), axis=1)
    if not (np.abs(norms - 1) <= _NORM_TOLERANCE).all():
        worst = norms[~(np.abs(norms - 1) <= _NORM_TOLERANCE)][0]
        raise FleetError(f'{where}: a descriptor of norm {worst:.3g}, expected 1')
    for name in places.names:
        if len(name) > MOST_NAME or name != one_line(name) or _UPWARDS.search(name):
            raise FleetError(
                f'{where}: the name {printable_name(name)}, expected one line of text without '
                f'control characters and .., of at most {MOST_NAME} characters'
            )
    largest = max(map(len, places.thumbnails), default=0)
    if largest > MOST_THUMBNAIL_BYTES:
        raise FleetError(
            f'{where}: a thumbnail of {largest} bytes, expected at most {MOST_THUMBNAIL_BYTES}'
        )
    if places.landmarks is not None:
        require_sound_landmarks(places.landmarks, where=where)


def printable_name(name: str) -> str:
    """A name for a message: escaped and short."""
    return ascii(name[:80])
