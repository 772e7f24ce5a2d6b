"""Sets whose truth is in the file names.

They are `database/` + `queries/` with `@UTM_east@UTM_north@zone@...@.jpg`. SF-XS and Tokyo-XS have
this form, in sub-folders `images/test` or `test`; the folder that is given is the one that holds
`database/` and `queries/`. An answer is right within a radius, inclusive. Positions of two UTM
zones are never compared: the same east and north there are two different points on the Earth.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_training.data.files import list_images
from vpr_training.data.recall_set import RecallSet, Rows
from vpr_training.errors import DatasetError

DEFAULT_RADIUS_M = 25.0
_BLOCK = 512  # queries whose distances to the database are held at once


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
    """For each query the database rows of its zone at most `radius_m` away."""
    (places, place_zones), (points, point_zones) = database, queries
    found: list[Rows] = []
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        offsets = block[:, None, :] - places[None, :, :]  # [b, N, 2]
        near = (offsets**2).sum(axis=2) <= radius_m**2
        near &= point_zones[start : start + _BLOCK, None] == place_zones[None, :]
        found += [np.flatnonzero(row).astype(np.int64) for row in near]
    return found


def _parse(path: Path) -> tuple[float, float, str]:
    fields = path.name.split('@')
    try:
        east, north = float(fields[1]), float(fields[2])
    except (IndexError, ValueError) as error:
        raise DatasetError(f'{path}: the name has no @UTM_east@UTM_north@ at its start') from error
    if not (np.isfinite(east) and np.isfinite(north)):
        raise DatasetError(f'{path}: UTM {fields[1]}, {fields[2]} is not a position')
    return east, north, fields[3].lstrip('0') if len(fields) > 4 else ''
