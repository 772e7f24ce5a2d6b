"""Whether a true position lies inside the 95 % ellipsoid of a fix, in the directions that count.

A drive on a plane tests two directions, one along a line only one. In the others truth and fix are
the same by construction, and a test with three degrees of freedom would pass too often.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

CHI_SQUARE_95 = {1: 3.841, 2: 5.991, 3: 7.815}
"""By the number of directions."""

LEAST_SHARE = 0.1
"""Of the radius within which an answer is right: the least variation that counts."""


def axes_that_count(positions_m: Array, radius_m: float) -> Array:
    """The directions [A, 3] in which positions [N, 3] vary, 1 to 3 of them, orthogonal.

    positions_m: of the map's places and of the drive together. radius_m: within which an answer is
    right; a standard deviation below LEAST_SHARE of it does not count.
    """
    apart_m = positions_m - positions_m.mean(axis=0)
    variances, axes = np.linalg.eigh(apart_m.T @ apart_m / max(len(apart_m), 1))
    counts = np.sqrt(np.maximum(variances, 0)) >= LEAST_SHARE * radius_m
    counts[-1] = True  # the largest
    return np.asarray(axes[:, counts].T)


def is_inside(error_m: Array, covariance: Array, axes: Array) -> bool:
    """Whether an error [3] is in the 95 % ellipsoid of a covariance [3, 3] along axes [A, 3]."""
    along = axes @ error_m
    distance = along @ np.linalg.solve(axes @ covariance @ axes.T, along)
    return bool(distance <= CHI_SQUARE_95[len(axes)])
