"""How much of two images moved together: votes of corresponding cells for one displacement.

Cells that show the same thing lie apart by one displacement where the camera has turned a little,
and by one displacement and one scale where it has come nearer. Correspondences by chance do not
agree. Each votes for its displacement at each of some scales, and the best window of displacements
tells how well the images match.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.matching.correspondences import Correspondences

Scores: TypeAlias = NDArray[np.float32]

SCALES = (0.7, 0.84, 1.0, 1.19, 1.4)  # of the place's image to the query's
WINDOW = 5  # cells of displacement, high and wide, that count as one


def agreement(found: Correspondences, grid: tuple[int, int], candidates: int) -> Scores:
    """How much of a query's cells agrees on a displacement with each candidate, [K] in [0, 1].

    A correspondence counts by the square of what it tells, so that vague ones count little. grid:
    (h, w) of the cells; candidates: K.
    """
    if candidates == 0:
        return np.empty(0, np.float32)
    rows, columns = grid
    high, wide = 2 * rows - 1, 2 * columns - 1  # displacements
    # Zeros behind each candidate's votes keep the windows of one out of the next one's.
    padded = high + WINDOW - 1, wide + WINDOW - 1
    weight = np.square(found.telling)
    best = np.zeros(candidates, np.float32)
    size = candidates * padded[0] * padded[1]
    for scale in SCALES:
        down = _displacement(found, columns, rows, scale, axis=0)
        right = _displacement(found, columns, columns, scale, axis=1)
        inside = (down >= 0) & (down < high) & (right >= 0) & (right < wide)
        at = (found.candidate * padded[0] + down) * padded[1] + right
        votes = np.bincount(at[inside], weight[inside], minlength=size).astype(np.float32)
        sums = cv2.boxFilter(
            votes.reshape(-1, padded[1]),
            -1,
            (WINDOW, WINDOW),
            normalize=False,
            borderType=cv2.BORDER_CONSTANT,
        )
        np.maximum(best, sums.reshape(candidates, -1).max(axis=1), out=best)
    return best / np.float32(rows * columns)


def _displacement(
    found: Correspondences, columns: int, size: int, scale: float, *, axis: int
) -> NDArray[np.int64]:
    """Of each correspondence along an axis of `size` cells, counted from -(size - 1)."""
    ours = np.divmod(found.query_cell, columns)[axis]
    theirs = np.divmod(found.place_cell, columns)[axis]
    centre = (size - 1) / 2
    moved = (theirs - centre) - scale * (ours - centre)
    return np.rint(moved).astype(np.int64) + size - 1
