"""How much of two images moved together: votes of corresponding cells for one displacement.

Cells that show the same thing lie apart by one displacement where the camera has turned a little,
and by one displacement and one scale where it has come nearer. Correspondences by chance do not
agree. Each votes for its displacement at each of some scales, and the best window of displacements
tells how well the images match.
"""

from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.matching.correspondences import Correspondences

Scores: TypeAlias = NDArray[np.float32]

SCALES = (0.7, 0.84, 1.0, 1.19, 1.4)  # of the place's image to the query's
WINDOW = 5  # cells of displacement, high and wide, that count as one
_ABREAST = 5  # candidates whose votes lie side by side, because wide images are filtered sooner
_OUTSIDE = 2**29  # no vote, along one axis or both


def agreement(found: Correspondences, grid: tuple[int, int], candidates: int) -> Scores:
    """How much of a query's cells agrees on a displacement with each candidate, [K] in [0, 1].

    A correspondence counts by the square of what it tells, so that vague ones count little. grid:
    (h, w) of the cells; candidates: K.
    """
    if candidates == 0:
        return np.empty(0, np.float32)
    rows, columns = grid
    high, wide = _padded(grid)
    levels = -(-candidates // _ABREAST)
    shape = levels * high, _ABREAST * wide
    size = shape[0] * shape[1]
    weight = np.square(found.telling)
    our_row, their_row = found.query_cell // columns, found.place_cell // columns
    rows_pair = our_row * rows + their_row
    columns_pair = (found.query_cell - our_row * columns) * columns
    columns_pair += found.place_cell - their_row * columns
    level, beside = np.divmod(np.arange(candidates), _ABREAST)
    start = (level * (high * shape[1]) + beside * wide).astype(np.int32).take(found.candidate)
    best = np.zeros(shape, np.float32)
    for down, right in _displacements(grid):
        at = down.take(rows_pair)
        at += right.take(columns_pair)
        at += start
        np.minimum(at, size, out=at)
        votes = np.bincount(at, weight, minlength=size + 1)[:size].astype(np.float32)
        sums = cv2.boxFilter(
            votes.reshape(shape),
            -1,
            (WINDOW, WINDOW),
            normalize=False,
            borderType=cv2.BORDER_CONSTANT,
        )
        np.maximum(best, sums, out=best)
    # A window whose middle is among the zeros would reach into the next candidate's votes.
    of_columns = best.reshape(levels, high, shape[1])[:, : 2 * rows - 1].max(axis=1)
    of_candidates = of_columns.reshape(-1, wide)[:, : 2 * columns - 1].max(axis=1)
    return np.asarray(of_candidates[:candidates] / np.float32(rows * columns))


def _padded(grid: tuple[int, int]) -> tuple[int, int]:
    """Displacements, high and wide, and zeros that keep one candidate's windows out of the next's.

    The zeros are behind the votes.
    """
    rows, columns = grid
    return 2 * rows - 1 + WINDOW - 1, 2 * columns - 1 + WINDOW - 1


@lru_cache(maxsize=8)
def _displacements(grid: tuple[int, int]) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Where each pair of rows and of columns votes, from its candidate's first, at each scale.

    Pairs of rows [h * h] and of columns [w * w], the query's first; a pair of cells votes at the
    sum of both. A pair whose displacement is too large votes beyond all windows.
    """
    rows, columns = grid
    across = _ABREAST * _padded(grid)[1]
    found: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    for scale in SCALES:
        moved = _moved(rows, scale).ravel(), _moved(columns, scale).ravel()
        found.append(
            (_places(moved[0], 2 * rows - 1, across), _places(moved[1], 2 * columns - 1, 1))
        )
    return found


def _places(moved: NDArray[np.int64], count: int, step: int) -> NDArray[np.int32]:
    """Where displacements vote along one axis of `count`, `step` apart."""
    inside = (moved >= 0) & (moved < count)
    return np.where(inside, moved * step, _OUTSIDE).astype(np.int32)


def _moved(size: int, scale: float) -> NDArray[np.int64]:
    """Displacement along an axis of `size` cells, counted from -(size - 1): [query's, place's]."""
    cell = np.arange(size) - (size - 1) / 2
    return np.rint(cell[None, :] - scale * cell[:, None]).astype(np.int64) + size - 1
