"""map -> odom that moves little by little, because planners and controllers hang on it."""

import numpy as np

from vpr_ros.core.geometry import interpolate
from vpr_ros.core.types import Poses

_GAIN = 0.2  # share of the way to a new estimate that one frame moves the transform
_GATE_SIGMAS = 3.0
_AGREEING_OUTLIERS = 3  # in a row that are believed after all


class SmoothTransform:
    """map_T_odom [7], a share of the way towards each new estimate."""

    def __init__(self) -> None:
        """Start without one."""
        self.reset()

    def reset(self) -> None:
        """Take the next estimate as it is."""
        self.pose: Poses | None = None
        self._outliers = 0

    def step(self, estimate: Poses, sigma_m: float) -> Poses:
        """The transform after an estimate [7] whose position is known to about sigma_m.

        An estimate too far off for its sigma is left out, unless several in a row are.
        """
        if self.pose is None:
            self.pose = estimate
            return self.pose
        apart_m = float(np.linalg.norm(estimate[:3] - self.pose[:3]))
        self._outliers = self._outliers + 1 if apart_m > _GATE_SIGMAS * sigma_m else 0
        if self._outliers == 0 or self._outliers >= _AGREEING_OUTLIERS:
            self.pose = interpolate(self.pose, estimate, _GAIN)
        return self.pose
