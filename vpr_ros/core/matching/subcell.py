"""Where in a query's image each cell of a place is seen, more finely than by whole cells.

Cells are some 16 pixels wide, and neighbours move together: the distance of two cells is averaged
over their surroundings, which leaves few wrong ones, and its minimum lies between cells.
"""

from functools import lru_cache
from typing import TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.matching.bits import in_words
from vpr_ros.core.types import CellBits

Distances: TypeAlias = NDArray[np.float32]

_OWN = 4  # weight of a pair of cells, where one of its neighbours' has 1


def seen_at(
    place: CellBits, query: CellBits, grid: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Where a query shows the cells of a place: (column, row) [n, 2], query cell [n], mutual [n].

    place, query: [n, C / 8] with n = h * w; grid: (h, w). Columns and rows count cells, 0 at the
    middle of the first. Mutual: the cell of the query is nearest to this one, too; the others may
    be anywhere.
    """
    rows, columns = grid
    distance = _averaged(_distances(place, query), grid)  # [n, n]
    nearest = distance.argmin(axis=1)
    mutual = distance.argmin(axis=0)[nearest] == np.arange(len(place))
    row, column = np.divmod(nearest, columns)
    finer = distance.reshape(-1, rows, columns)
    cells = np.arange(len(place))
    across = _minimum(finer[cells, row], column)
    down = _minimum(finer[cells, :, column], row)
    return np.stack([across, down], axis=1), nearest, mutual


def _distances(place: CellBits, query: CellBits) -> Distances:
    """Hamming distances [n, n] of the cells of a place to those of a query."""
    place, query = in_words(place), in_words(query)
    apart = np.empty((len(place), len(query)), dtype=np.int32)
    faiss.hammings(  # type: ignore[attr-defined]
        faiss.swig_ptr(place),
        faiss.swig_ptr(query),
        len(place),
        len(query),
        place.shape[1],
        faiss.swig_ptr(apart),
    )
    return apart.astype(np.float32)


def _averaged(distance: Distances, grid: tuple[int, int]) -> Distances:
    """Mean over both cells' surroundings, 3 x 3, those beyond the border left out.

    The cells themselves count most, because neighbours may show what is farther or nearer.
    """
    rows, columns = grid
    total = _summed(distance.reshape(rows, columns, rows, columns))
    return np.asarray((total * _share_of_each(grid)).reshape(distance.shape))


@lru_cache(maxsize=4)
def _share_of_each(grid: tuple[int, int]) -> Distances:
    """One over the sum of the weights that both cells have."""
    return np.asarray(1 / _summed(np.ones((*grid, *grid), np.float32)))


def _summed(pairs: Distances) -> Distances:
    return _summed_along(_summed_along(pairs, 0), 1) + np.float32(_OWN - 1) * pairs


def _summed_along(pairs: Distances, axis: int) -> Distances:
    """Each entry and the two whose cells are both shifted by one along an axis of the grid."""
    total = pairs.copy()
    before, after = slice(None, -1), slice(1, None)
    _both(total, axis, before)[...] += _both(pairs, axis, after)
    _both(total, axis, after)[...] += _both(pairs, axis, before)
    return total


def _both(pairs: Distances, axis: int, part: slice) -> Distances:
    """A part along an axis of both grids, as a view."""
    chosen = [slice(None)] * 4
    chosen[axis] = chosen[axis + 2] = part
    return pairs[tuple(chosen)]


def _minimum(profile: Distances, lowest: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where two lines of one slope through the lowest value of profiles [n, s] would meet.

    Distances of bits rise linearly on both sides; a parabola would draw minima towards whole cells
    (Shimizu and Okutomi, Sub-pixel estimation error cancellation on area-based matching, 2005).
    """
    inner = np.clip(lowest, 1, profile.shape[1] - 2)
    entries = np.arange(len(profile))
    before, at, after = (profile[entries, inner + step] for step in (-1, 0, 1))
    steeper = np.maximum(before, after) - at
    shift = np.where(steeper > 0, (before - after) / np.where(steeper > 0, 2 * steeper, 1), 0)
    return np.where(inner == lowest, lowest + np.clip(shift, -0.5, 0.5), lowest)
