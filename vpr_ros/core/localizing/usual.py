"""How alike images and their places usually look on a drive.

A right place has a similarity of .9 by day and .7 at night, and its cells match less. So what a
wrong place has by day, a right one has at night, and no fixed threshold tells them apart. A drive
does: its light changes slowly, and each fix tells how alike images and right places look in it.
Observations are therefore compared with those of the drive's fixes. A drive without fixes is
taken to look as the drives did that the calibration was fitted on.
"""

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.confidence import COMPARED, USUAL, Calibration

Array = NDArray[np.float64]

_LEAST_FIXES = 10.0  # that weigh as much as the level of the calibration
_REMEMBERED = 0.99  # of the weight of earlier fixes, per image


class Usual:
    """How far right places of a drive are from the usual level of a calibration."""

    def __init__(self, calibration: Calibration) -> None:
        """calibration: without a usual level, observations stay as they are."""
        usual = calibration.usual
        self._level: Array | None = None if usual is None else np.array(usual)
        self._sum: Array = np.zeros(len(COMPARED))  # of differences to the level, weighted
        self._weight = 0.0

    @property
    def difference(self) -> Array:
        """How much higher than usual this drive's fixes are, [COMPARED]."""
        return self._sum / (_LEAST_FIXES + self._weight)

    @property
    def match_difference(self) -> float:
        """That of the match: how much better right places match than usual, in nats."""
        return float(self.difference[USUAL.index('match')])

    def compared(self, observed: Array) -> Array:
        """Observations [OBSERVED] as they would be on a drive that looks as usual."""
        if self._level is None:
            return observed
        changed = observed.copy()
        changed[COMPARED] -= self.difference
        return changed

    def take(self, compared: Array, *, is_fix: bool, counts: float) -> None:
        """Learn from an image, with what `compared` gave for it.

        counts: how new the image is, in [0, 1]; one that repeats the last one tells nothing.
        """
        if self._level is None:
            return
        further = compared[COMPARED] + self.difference - self._level
        kept = 1 - counts * (1 - _REMEMBERED)
        self._sum *= kept
        self._weight *= kept
        if is_fix:
            self._sum += counts * further
            self._weight += counts
