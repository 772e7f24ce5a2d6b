"""Whether a true position lies inside the 95 % ellipsoid of a fix, in the directions that count.

A drive on a plane tests two directions, one along a line only one. In the others places, truth and
fix are the same by construction, and a test with three degrees of freedom would pass too often. A
direction counts for a fix where map and drive vary by its own standard deviation at least: a road
that rises by a foot tests a fix by landmarks, which is good to centimetres, and none by places.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

CHI_SQUARE_95 = {1: 3.841, 2: 5.991, 3: 7.815}
"""By the number of directions."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How far positions reach in three orthogonal directions."""

    axes: Array  # [3, 3], a row for each, the one of most variation last
    deviations_m: Array  # [3], standard deviations of the positions along them

    @classmethod
    def of(cls, positions_m: Array) -> 'Extent':
        """The extent of the map's places and the true positions of a drive together, [N, 3]."""
        apart_m = positions_m - positions_m.mean(axis=0)
        variances, axes = np.linalg.eigh(apart_m.T @ apart_m / max(len(apart_m), 1))
        return cls(axes.T, np.sqrt(np.maximum(variances, 0.0)))

    def tested(self, covariance: Array) -> Array:
        """The directions [A, 3] that count for a fix of covariance [3, 3], 1 to 3 of them."""
        sigmas_m = np.sqrt(np.einsum('ai,ij,aj->a', self.axes, covariance, self.axes))
        counts = self.deviations_m >= sigmas_m
        counts[-1] = True
        return np.asarray(self.axes[counts])


def is_inside(error_m: Array, covariance: Array, extent: Extent) -> bool:
    """Whether an error [3] is in the 95 % ellipsoid of a covariance [3, 3] where that counts."""
    axes = extent.tested(covariance)
    along = axes @ error_m
    distance = along @ np.linalg.solve(axes @ covariance @ axes.T, along)
    return bool(distance <= CHI_SQUARE_95[len(axes)])
