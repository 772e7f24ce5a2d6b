"""Where in a query's image each cell of a place is seen, more finely than by whole cells.

Cells are some 16 pixels wide, and neighbours move together: the distance of two cells is averaged
over their surroundings, which leaves few wrong ones, and its minimum lies between cells.
"""

from functools import lru_cache
from typing import Any, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.matching.bits import in_words
from vpr_ros.core.types import CellBits

Distances: TypeAlias = NDArray[np.int32]
Averages: TypeAlias = NDArray[np.float32]
Sums: TypeAlias = NDArray[np.int16]

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
    wide = columns + 1
    distance = _averaged(_distances(place, query), grid)
    nearest = distance.argmin(axis=1)
    cells = np.arange(len(place))
    mutual = distance.argmin(axis=0)[nearest] == cells
    row, column = np.divmod(nearest, wide)
    flat = distance.ravel()
    first = cells * distance.shape[1]  # in `flat`
    across = _minimum(flat, first + row * wide, column, columns, step=1)
    down = _minimum(flat, first + column, row, rows, step=wide)
    return np.stack([across, down], axis=1), row * columns + column, mutual


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
    return apart


def _averaged(distance: Distances, grid: tuple[int, int]) -> Averages:
    """Mean over both cells' surroundings, 3 x 3, those beyond the border left out.

    The cells themselves count most, because neighbours may show what is farther or nearer.
    distance: [n, n]; returns [n, (h + 1) * (w + 1)]: the query's cells with a row and a column
    more than the grid has, which are infinitely far.
    """
    rows, columns = grid
    total = _summed(_padded(distance.reshape(rows, columns, rows, columns)))
    averages = total[:, :-1].astype(np.float32)
    averages *= _share_of_each(grid)
    averages[..., -1] = np.inf
    averages[..., -1, :] = np.inf
    return averages.reshape(rows * columns, -1)


@lru_cache(maxsize=4)
def _share_of_each(grid: tuple[int, int]) -> Averages:
    """One over the sum of the weights that both cells have, as `_padded` but for its zeros."""
    weights = _summed(_padded(np.ones((*grid, *grid))))[:, :-1]
    return np.asarray(1 / np.maximum(weights, 1, dtype=np.float32))


def _padded(pairs: NDArray[Any]) -> Sums:
    """Pairs of cells [h, w, h, w] with zeros behind the last ones: [h, w + 1, h + 1, w + 1].

    So that two pairs whose cells are both shifted alike are at one distance in memory, and those
    without a neighbour meet a zero.
    """
    rows, columns = pairs.shape[:2]
    padded = np.zeros((rows, columns + 1, rows + 1, columns + 1), np.int16)
    padded[:, :-1, :-1, :-1] = pairs
    return padded


def _summed(pairs: Sums) -> Sums:
    """Each entry, weighed, and the eight whose cells are both shifted alike; pairs: `_padded`."""
    high, wide = pairs.shape[2:]
    flat, row = pairs.ravel(), high * wide
    total = _summed_along(_summed_along(flat, row + 1), wide * (row + 1))
    total += np.int16(_OWN - 1) * flat
    return total.reshape(pairs.shape)


def _summed_along(flat: Sums, step: int) -> Sums:
    """Each entry, the one a step behind it, and the one a step before."""
    total = flat.copy()
    total[:-step] += flat[step:]
    total[step:] += flat[:-step]
    return total


def _minimum(
    distance: Averages, first: NDArray[np.int64], lowest: NDArray[np.int64], count: int, step: int
) -> NDArray[np.float64]:
    """Where two lines of one slope through the lowest value of profiles would meet, [n].

    Each profile has `count` values in `distance`, the first at `first`, one `step` from the next.
    Distances of bits rise linearly on both sides; a parabola would draw minima towards whole cells
    (Shimizu and Okutomi, Sub-pixel estimation error cancellation on area-based matching, 2005).
    """
    inner = np.clip(lowest, 1, count - 2)
    middle = first + inner * step
    before, at, after = (distance.take(middle + away) for away in (-step, 0, step))
    steeper = np.maximum(before, after) - at
    shift = np.where(steeper > 0, (before - after) / np.where(steeper > 0, 2 * steeper, 1), 0)
    return np.where(inner == lowest, lowest + np.clip(shift, -0.5, 0.5), lowest)
