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
_OUTSIDE = 2**40  # no vote


def agreement(found: Correspondences, grid: tuple[int, int], candidates: int) -> Scores:
    """How much of a query's cells agrees on a displacement with each candidate, [K] in [0, 1].

    A correspondence counts by the square of what it tells, so that vague ones count little. grid:
    (h, w) of the cells; candidates: K.
    """
    if candidates == 0:
        return np.empty(0, np.float32)
    rows, columns = grid
    padded = _padded(grid)
    weight = np.square(found.telling)
    best = np.zeros(candidates, np.float32)
    size = candidates * padded[0] * padded[1]
    pair = found.query_cell * (rows * columns) + found.place_cell
    start = found.candidate * (padded[0] * padded[1])
    for displaced in _displacements(grid):
        at = np.minimum(start + displaced[pair], size)
        votes = np.bincount(at, weight, minlength=size + 1)[:size].astype(np.float32)
        sums = cv2.boxFilter(
            votes.reshape(-1, padded[1]),
            -1,
            (WINDOW, WINDOW),
            normalize=False,
            borderType=cv2.BORDER_CONSTANT,
        )
        np.maximum(best, sums.reshape(candidates, -1).max(axis=1), out=best)
    return best / np.float32(rows * columns)


def _padded(grid: tuple[int, int]) -> tuple[int, int]:
    """Displacements, high and wide, and zeros that keep one candidate's windows out of the next's.

    The zeros are behind the votes.
    """
    rows, columns = grid
    return 2 * rows - 1 + WINDOW - 1, 2 * columns - 1 + WINDOW - 1


@lru_cache(maxsize=8)
def _displacements(grid: tuple[int, int]) -> list[NDArray[np.int64]]:
    """Where each pair of cells [h * w * h * w] votes, in a candidate's window, at each scale.

    The query's cell comes first. A pair whose displacement is too large votes beyond all windows.
    """
    rows, columns = grid
    high, wide = 2 * rows - 1, 2 * columns - 1
    found: list[NDArray[np.int64]] = []
    for scale in SCALES:
        down = _moved(rows, scale)[:, None, :, None]
        right = _moved(columns, scale)[None, :, None, :]
        inside = (down >= 0) & (down < high) & (right >= 0) & (right < wide)
        at = np.where(inside, down * _padded(grid)[1] + right, _OUTSIDE)
        found.append(at.ravel())
    return found


def _moved(size: int, scale: float) -> NDArray[np.int64]:
    """Displacement along an axis of `size` cells, counted from -(size - 1): [query's, place's]."""
    cell = np.arange(size) - (size - 1) / 2
    return np.rint(cell[None, :] - scale * cell[:, None]).astype(np.int64) + size - 1
