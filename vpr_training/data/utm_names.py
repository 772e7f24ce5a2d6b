"""Sets whose truth is in the file names.

They are `database/` + `queries/` with `@UTM_east@UTM_north@zone@...@.jpg`. SF-XS and Tokyo-XS have
this form, in sub-folders `images/test` or `test` (see `layouts`). An answer is right within a
radius, inclusive. Positions of two UTM zones are never compared: the same east and north there are
two different points on the Earth.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_training.basics.errors import DatasetError
from vpr_training.data.files import list_images
from vpr_training.data.recall_set import RecallSet, Rows

DEFAULT_RADIUS_M = 25.0


def recognizes(folder: Path) -> bool:
    """Whether a folder has this layout."""
    halves = (folder / 'database', folder / 'queries')
    return all(half.is_dir() and next(half.rglob('@*'), None) is not None for half in halves)


def read(folder: Path, *, radius_m: float | None = None) -> RecallSet:
    """Read a set; answers within `radius_m` (25 m if None) are right. Raises DatasetError."""
    radius_m = DEFAULT_RADIUS_M if radius_m is None else radius_m
    database, queries = list_images(folder / 'database'), list_images(folder / 'queries')
    positives = positives_within(positions(database), positions(queries), radius_m)
    truth = f'within {radius_m:g} m'
    return RecallSet(folder.resolve().name, database, queries, tuple(positives), truth)


def positions(images: tuple[Path, ...]) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """East and north in metres [N, 2] and the UTM zone [N]; raises DatasetError.

    The zone is '' if the name has none.
    """
    parsed = [_parse(path) for path in images]
    metres = np.array([(east, north) for east, north, _ in parsed], dtype=np.float64)
    return metres.reshape(-1, 2), np.array([zone for _, _, zone in parsed], dtype=np.str_)


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
    if not (first.name.startswith('@') and second.name.startswith('@')):
        return None
    (east, north, zone), (other_east, other_north, other_zone) = _parse(first), _parse(second)
    return math.hypot(east - other_east, north - other_north) if zone == other_zone else None


def _parse(path: Path) -> tuple[float, float, str]:
    fields = path.name.split('@')
    try:
        east, north = float(fields[1]), float(fields[2])
    except (IndexError, ValueError) as error:
        raise DatasetError(f'{path}: the name has no @UTM_east@UTM_north@ at its start') from error
    if not (np.isfinite(east) and np.isfinite(north)):
        raise DatasetError(f'{path}: UTM {fields[1]}, {fields[2]} is not a position')
    return east, north, fields[3].lstrip('0') if len(fields) > 4 else ''
