"""Sets whose truth is in the file names.

They are `database/` + `queries/` with `@UTM_east@UTM_north@zone@...@.jpg`. SF-XS and Tokyo-XS have
this form, in sub-folders `images/test` or `test` (see `layouts`). An answer is right within a
radius, inclusive. What names say is read as on the robot (vpr_ros/drives/utm_names.py): positions
of two UTM zones are never compared, and a set that says its zones in part only is refused, because
its recall would be zero for no fault of the model.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import DriveError
from vpr_ros.core.image_files import files_below
from vpr_ros.core.names import as_text
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.types import Rows
from vpr_ros.drives.utm_names import UtmPosition, begins_as_utm, utm_position, zone_names
from vpr_training.basics.errors import DatasetError
from vpr_training.data.files import list_images, others_in
from vpr_training.data.recall_set import RecallSet

DEFAULT_RADIUS_M = 25.0


def recognizes(folder: Path) -> bool:
    """Whether a folder has this layout."""
    halves = (folder / 'database', folder / 'queries')
    return all(any(file.name[0] == '@' for file in files_below(half)) for half in halves)


def read(folder: Path, *, radius_m: float | None = None) -> RecallSet:
    """Read a set; answers within `radius_m` (25 m if None) are right. Raises DatasetError."""
    radius_m = DEFAULT_RADIUS_M if radius_m is None else radius_m
    halves = folder / 'database', folder / 'queries'
    found = [list_images(half) for half in halves]
    named = [tuple(path for path in half if begins_as_utm(path.name)) for half in found]
    metres, zones = positions((*named[0], *named[1]))
    split = len(named[0])
    positives = positives_within(
        (metres[:split], zones[:split]), (metres[split:], zones[split:]), radius_m
    )
    return RecallSet(
        as_text(folder.resolve().name),
        named[0],
        named[1],
        tuple(positives),
        truth=f'within {radius_m:g} m',
        left_out=(*_nameless(found, named), *others_in(*halves)),
    )


def _nameless(found: Sequence[Sequence[Path]], named: Sequence[Sequence[Path]]) -> list[str]:
    """What to say of images whose names say nothing."""
    total = sum(map(len, found))
    without = [path for half in found for path in half if not begins_as_utm(path.name)]
    if not without:
        return []
    images, verb = counted(total, 'image'), by_count(len(without), 'has', 'have')
    return [f'{len(without)} of {images} {verb} no position, the first: {without[0]}']


def positions(images: Sequence[Path]) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """East and north in metres [N, 2] and the UTM zone [N]; raises DatasetError.

    The zone is '' if no name has one.
    """
    parsed = [_parse(path) for path in images]
    metres = np.array([(each.east_m, each.north_m) for each in parsed], dtype=np.float64)
    try:
        zones = zone_names(parsed)
    except DriveError as error:
        raise DatasetError(str(error)) from error
    return metres.reshape(-1, 2), np.array(zones, dtype=np.str_)


def positives_within(
    database: tuple[NDArray[np.float64], NDArray[np.str_]],
    queries: tuple[NDArray[np.float64], NDArray[np.str_]],
    radius_m: float,
) -> list[Rows]:
    """For each query the database rows of its zone at most `radius_m` away.

    Only the strip of places as far east is compared, so that a million places need little memory.
    """
    (places, place_zones), (points, point_zones) = database, queries
    by_east = np.argsort(places[:, 0], kind='stable')
    east = places[by_east, 0]
    # Rounding may put a place on the radius outside this strip; the exact test is below.
    starts = np.searchsorted(east, points[:, 0] - radius_m * (1 + 1e-9) - 1e-6, side='left')
    ends = np.searchsorted(east, points[:, 0] + radius_m * (1 + 1e-9) + 1e-6, side='right')
    found: list[Rows] = []
    for point, zone, start, end in zip(points, point_zones, starts, ends, strict=True):
        strip = by_east[start:end]
        near = ((places[strip] - point) ** 2).sum(axis=1) <= radius_m**2
        near &= place_zones[strip] == zone
        found.append(np.sort(strip[near]).astype(np.int64))
    return found


def distance_m(first: Path, second: Path) -> float | None:
    """Between two images; None where a name has no position, or where their zones differ."""
    if not (begins_as_utm(first.name) and begins_as_utm(second.name)):
        return None
    one, other = _parse(first), _parse(second)
    try:
        zones = zone_names([one, other])
    except DriveError:
        return None
    apart_m = math.hypot(one.east_m - other.east_m, one.north_m - other.north_m)
    return apart_m if zones[0] == zones[1] else None


def _parse(path: Path) -> UtmPosition:
    try:
        return utm_position(path.name, source=str(path))
    except DriveError as error:
        raise DatasetError(str(error)) from error
