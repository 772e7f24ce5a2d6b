"""Is the robot lost? What the outcomes of the last frames add up to, and a smooth transform.

A fix says where one frame is; a robot that acts on it wants to know whether fixes can be relied on
now. Several in a row can, one alone cannot, and one frame without a fix does not take that away.
"""

from enum import Enum

import numpy as np

from vpr_ros.core.geometry import interpolate
from vpr_ros.core.localizing.outcome import Fix, NoFix
from vpr_ros.core.types import Poses


class State(Enum):
    """What the last frames add up to."""

    LOST = 'LOST'
    TENTATIVE = 'TENTATIVE'
    LOCALIZED = 'LOCALIZED'


CONFIRMATIONS = 3  # fixes in a row until LOCALIZED
PATIENCE = 2  # improbable frames in a row until LOST
_PROBABLE = 0.5


class Tracker:
    """The state, changed by each frame's outcome."""

    def __init__(self) -> None:
        """Start lost."""
        self.reset()

    def reset(self) -> None:
        """Be lost."""
        self.state = State.LOST
        self._fixes = 0
        self._doubts = 0

    def step(self, outcome: Fix | NoFix) -> State:
        """Take one frame's outcome; returns the state after it."""
        self._fixes = self._fixes + 1 if isinstance(outcome, Fix) else 0
        self._doubts = self._doubts + 1 if outcome.probability < _PROBABLE else 0
        if self._fixes >= CONFIRMATIONS:
            self.state = State.LOCALIZED
        elif self._doubts >= PATIENCE:
            self.state = State.LOST
        elif self._is_changing():
            self.state = State.TENTATIVE
        return self.state

    def _is_changing(self) -> bool:
        """Whether a frame speaks against being LOCALIZED, or against being LOST."""
        if self.state is State.LOCALIZED:
            return self._doubts > 0
        return self.state is State.LOST and self._fixes > 0


_GAIN = 0.2  # share of the way to a new estimate that one frame moves the transform
_GATE_SIGMAS = 3.0
_AGREEING_OUTLIERS = 3  # in a row that are believed after all


class SmoothTransform:
    """map_T_odom that moves little by little, because planners and controllers hang on it."""

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
