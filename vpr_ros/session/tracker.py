"""Decide from the outcomes of the last frames whether the robot is lost.

A fix says where one frame is; a robot that acts on it wants to know whether fixes can be relied on
now. Several can, with no doubt between them; one alone cannot. One frame without a fix does not
take that away.
"""

from enum import Enum

from vpr_ros.core.localizing.outcome import Fix, NoFix, Outcome, Reason


class State(Enum):
    """The state after the last frames."""

    LOST = 'LOST'
    TENTATIVE = 'TENTATIVE'
    LOCALIZED = 'LOCALIZED'


CONFIRMATIONS = 3  # fixes without a doubt between them until LOCALIZED
PATIENCE = 2  # improbable frames in a row until LOST
REPETITIONS = 20  # of the same image in a row until TENTATIVE
_PROBABLE = 0.5
_DOUBTS = (Reason.ELSEWHERE, Reason.LOOKS_ELSEWHERE)


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

    def step(self, outcome: Outcome) -> State:
        """Take one frame's outcome; returns the state after it."""
        if isinstance(outcome, NoFix) and outcome.reason is Reason.REPEATED:
            return self._step_repeated()
        self._repeated = 0
        is_doubt = _is_doubt(outcome)
        self._fixes = 0 if is_doubt else self._fixes + isinstance(outcome, Fix)
        self._doubts = self._doubts + 1 if is_doubt else 0
        if self._fixes >= CONFIRMATIONS:
            self.state = State.LOCALIZED
        elif self._doubts >= PATIENCE:
            self.state = State.LOST
        elif self._is_changing():
            self.state = State.TENTATIVE
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
