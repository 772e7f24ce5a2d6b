"""Decide from the outcomes of the last frames whether the robot is lost.

A fix says where one frame is; a robot that acts on it wants to know whether fixes can be relied on
now. Several can, with no doubt between them; one alone cannot. One frame without a fix does not
take that away. Fixes also have to lie where the robot can have driven: a robot that was carried
away may find itself so soon that no image looks improbable.
"""

from enum import Enum

import numpy as np

from vpr_ros.core.localizing.localizer import Localization, Localizer
from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason


class State(Enum):
    """The state after the last frames."""

    LOST = 'LOST'
    TENTATIVE = 'TENTATIVE'
    LOCALIZED = 'LOCALIZED'


CONFIRMATIONS = 2  # fixes without a doubt between them until LOCALIZED
PATIENCE = 2  # improbable frames in a row until LOST
JUMPS = 2  # fixes in a row out of reach of the ones before, until LOST
REPETITIONS = 20  # of the same image in a row until TENTATIVE
_PROBABLE = 0.5
_DOUBTS = (Reason.ELSEWHERE, Reason.OUTSIDE_CUT, Reason.LOOKS_ELSEWHERE)


class Tracker:
    """The state, changed by each frame's outcome."""

    def __init__(self) -> None:
        """Start lost."""
        self.reset()

    def reset(self) -> None:
        """Set the state to LOST."""
        self.state = State.LOST
        self._fixes = 0
        self._doubts = 0
        self._repeated = 0
        self._jumps = 0
        self._is_known = False  # where the robot is, since it was LOCALIZED
        self._last: tuple[Fix, int] | None = None  # fix that counted, and its stamp

    def follow(self, located: Localization, localizer: Localizer) -> State:
        """Take what a localizer made of a frame; returns the state after it."""
        return self.step(
            located.outcome,
            stamp_ns=located.stamp_ns,
            bound_mps=localizer.bound_mps,
            radius_m=localizer.config.agreement_radius,
        )

    def step(self, outcome: Outcome, *, stamp_ns: int, bound_mps: float, radius_m: float) -> State:
        """Take one frame's outcome; returns the state after it.

        bound_mps: on the robot's speed; radius_m: within which a fix is right.
        """
        if isinstance(outcome, NoFix) and outcome.reason is Reason.REPEATED:
            return self._step_repeated()
        self._repeated = 0
        is_doubt = _is_doubt(outcome)
        if isinstance(outcome, Fix):
            reach_m = 2 * radius_m + bound_mps * self._elapsed_s(stamp_ns)
            if not self._is_within(outcome, reach_m):
                return self._step_jump(outcome, stamp_ns)
            self._jumps = 0
            self._last = outcome, stamp_ns
        self._fixes = 0 if is_doubt else self._fixes + isinstance(outcome, Fix)
        self._doubts = self._doubts + 1 if is_doubt else 0
        if self._fixes >= CONFIRMATIONS:
            self.state, self._is_known = State.LOCALIZED, True
        elif self._doubts >= PATIENCE:
            self.state, self._is_known = State.LOST, False
        elif self._is_changing():
            self.state = State.TENTATIVE
        return self.state

    def _elapsed_s(self, stamp_ns: int) -> float:
        return 0.0 if self._last is None else max(stamp_ns - self._last[1], 0) / 1e9

    def _is_within(self, fix: Fix, reach_m: float) -> bool:
        """Whether the robot can have come to a fix from the last one."""
        if self._last is None:
            return True
        return bool(np.linalg.norm(fix.pose[:3] - self._last[0].pose[:3]) <= reach_m)

    def _step_jump(self, fix: Fix, stamp_ns: int) -> State:
        """A fix out of reach: it is wrong, or the robot was carried, or the ones before are."""
        self._jumps += 1
        if self._is_known and self._jumps < JUMPS:
            self._fixes, self.state = 0, State.TENTATIVE
            return self.state
        if self._is_known:
            self.state, self._is_known = State.LOST, False
        elif self.state is State.LOST:
            self.state = State.TENTATIVE
        self._fixes, self._doubts, self._jumps = 1, 0, 0
        self._last = fix, stamp_ns
        return self.state

    def _step_repeated(self) -> State:
        """A repeated image gives no information; after many, the state is no longer trusted."""
        self._repeated += 1
        if self._repeated >= REPETITIONS and self.state is State.LOCALIZED:
            self.state, self._fixes = State.TENTATIVE, 0
        return self.state

    def _is_changing(self) -> bool:
        """Whether a frame speaks against being LOCALIZED, or against being LOST."""
        if self.state is State.LOCALIZED:
            return self._doubts > 0
        return self.state is State.LOST and self._fixes > 0


def _is_doubt(outcome: Outcome) -> bool:
    """Whether a frame speaks against what was known before it."""
    if isinstance(outcome, NoFix) and outcome.reason in _DOUBTS:
        return True
    return outcome.probability < _PROBABLE
