"""poses.csv of a posed folder: map_T_camera of each image, in metres, optical frame."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from vpr_ros.core.documents import lines_of
from vpr_ros.core.errors import DocumentError, DriveError, VprError
from vpr_ros.core.geometry import FARTHEST_M, checked_pose
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.stamps import parsed_stamp
from vpr_ros.core.types import Poses

_LONG_PERIOD_S = 10**6  # between images of one drive: eleven days, a millisecond of nanoseconds

COLUMNS = ('image', 'stamp_s', 'x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')


@dataclass(frozen=True, slots=True)
class PosedRow:
    """One image of the table."""

    image: str
    stamp_ns: int
    pose: Poses | None  # [7]; None where it was NaN or no rotation


def read_posed_csv(table: Path, images: Path) -> tuple[list[PosedRow], list[str]]:
    """The rows whose image exists, and what was wrong with others.

    Raises DriveError for a missing column, a word that is no number, stamps in another unit than
    seconds, a name that leads out of the folder, and a table without any usable image or pose.
    """
    try:
        found, missing, again = _read(table, images)
    except (OSError, UnicodeDecodeError, csv.Error, DocumentError) as error:
        raise DriveError(f'{table}: cannot be read ({error})') from error
    rows = list(found.values())
    if not rows:
        first = f', the first is {missing[0]!r}' if missing else ''
        raise DriveError(
            f'{table}: none of the images in its {counted(len(missing), "row")} is in '
            f'{images}{first}; write names as they are in that folder'
        )
    _require_seconds(table, rows)
    unposed = sum(row.pose is None for row in rows)
    if unposed == len(rows):
        raise DriveError(
            f'{table}: no usable pose in {counted(len(rows), "row")} '
            f'({by_count(len(rows), "it has", "all have")} NaN, a position beyond '
            f'{FARTHEST_M:g} m or a quaternion that is not of unit length)'
        )
    warnings = []
    if missing:
        warnings.append(
            f'{counted(len(missing), "row")} of {table.name} '
            f'{by_count(len(missing), "names", "name")} an image that is not in {images}, the '
            f'first: {missing[0]!r}'
        )
    if again:
        warnings.append(
            f'{counted(again, "row")} of {table.name} {by_count(again, "names", "name")} an image '
            'that an earlier row names; the first row of an image counts'
        )
    if unposed:
        warnings.append(
            f'{counted(unposed, "row")} of {table.name} {by_count(unposed, "has", "have")} no '
            f'usable pose (NaN, beyond {FARTHEST_M:g} m, or no unit quaternion)'
        )
    return rows, warnings


def _read(table: Path, images: Path) -> tuple[dict[str, PosedRow], list[str], int]:
    """Rows by their images, names of images that are not there, and how many rows name one again.

    Raises DriveError for what no row may say.
    """
    rows: dict[str, PosedRow] = {}
    missing: list[str] = []
    again = 0
    # Names that are not UTF-8 find their files all the same.
    with table.open(encoding='utf-8-sig', errors='surrogateescape', newline='') as file:
        reader = csv.DictReader(lines_of(file), skipinitialspace=True)
        _check_columns(table, reader.fieldnames or [])
        for row in reader:
            where, name = f'{table}, line {reader.line_num}', row['image'] or ''
            _require_inside(name, where)
            if not (images / name).is_file():
                missing.append(name)
            elif name in rows:
                again += 1
            else:
                rows[name] = _posed_row(row, where)
    return rows, missing, again


def _require_inside(name: str, where: str) -> None:
    """Raise DriveError for a name that leads out of the folder of the images."""
    path = PurePath(name)
    if path.is_absolute() or '..' in path.parts:
        raise DriveError(f'{where}: the image {name!r} is not in the folder of the images')


def _check_columns(table: Path, found: Sequence[str]) -> None:
    if missing := [name for name in COLUMNS if name not in found]:
        raise DriveError(
            f'{table}: no column {", ".join(missing)}; '
            f'expected {",".join(COLUMNS)}, found {",".join(found) or "nothing"}'
        )


def _require_seconds(table: Path, rows: Sequence[PosedRow]) -> None:
    """Refuse stamps that begin near zero and count nanoseconds: their steps tell it."""
    steps_s = np.diff(np.sort([row.stamp_ns for row in rows])) / 1e9
    if len(steps_s) and (period_s := float(np.median(steps_s))) >= _LONG_PERIOD_S:
        raise DriveError(
            f'{table}: stamp_s grows by {period_s:.0f} from image to image; seconds are expected, '
            'these look like nanoseconds'
        )


def _posed_row(row: dict[str, str], where: str) -> PosedRow:
    try:
        stamp_ns, unit = parsed_stamp(row['stamp_s'])
        numbers = [float(row[name]) for name in COLUMNS[2:]]
    except (ValueError, TypeError) as error:
        found = ','.join(str(row[name]) for name in COLUMNS[1:])
        raise DriveError(f'{where}: {found} are not eight numbers ({error})') from error
    if unit != 'seconds':
        raise DriveError(
            f'{where}: stamp_s is {row["stamp_s"].strip()}; seconds are expected, '
            f'these look like {unit}'
        )
    try:
        return PosedRow(row['image'], stamp_ns, checked_pose(numbers))
    except VprError:
        return PosedRow(row['image'], stamp_ns, None)
