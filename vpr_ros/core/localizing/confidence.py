"""How probable it is that an answer is right: a logistic regression on six observations.

A belief is sure of itself too often: its frames are not independent, and it knows nothing of
images from another town. The similarity itself, and how far the next distinct place is from it,
tell the rest. The regression is fitted on drives whose poses are known (`calibrate`).

Whatever the regression says, of two distinct places with the same weight at most one is right. The
probability is therefore bounded by how far the answer outweighs its strongest rival.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

OBSERVATIONS = ('belief', 'similarity', 'ratio', 'spread', 'match', 'match_ratio')
MATCHES = OBSERVATIONS[4:]
"""Those of maps with cells; they are 0, and their weights may be absent, without."""
OBSERVED = len(OBSERVATIONS) + 1  # and by how far the answer outweighs its rival
USUAL = ('similarity', 'match')
"""Those that are compared with what is usual on the drive: see usual.py."""
COMPARED = [OBSERVATIONS.index(name) for name in USUAL]

CENTRES = np.array([0.0, 0.5, 1.0, 1.0, 1.0, 0.5])  # about which an observation varies
SCALES = np.array([2.0, 0.1, 0.1, 1.0, 0.5, 0.5])  # by how much
UNRELATED = 0.0005  # match of images of different places
AHEAD = 2.0  # bound on the log odds of being right, per log of the weights' ratio to the rival
_MOST_RISK = 0.5  # of a fix, whatever rate is asked for


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weights of the observations, in the order of OBSERVATIONS."""

    weights: tuple[float, ...]
    bias: float
    source: str  # what it was fitted on
    frames: int = 0  # of them
    error: float | None = None  # expected calibration error on frames not used for fitting
    radius_m: float | None = None  # within which an answer was right
    risk_ratio: float = 1.0  # of the largest risk of a fix to the mean risk of fixes
    usual: tuple[float, ...] | None = None
    """Of a right place, in the order of USUAL; None: nothing is compared with the drive."""

    def probability(self, observed: Array) -> Array:
        """Probability [...] that an answer with observations [..., OBSERVED] is right."""
        heights = observed[..., :-1] @ np.array(self.weights) + self.bias
        return logistic(np.minimum(heights, AHEAD * observed[..., -1]))

    def least(self, max_false_fix_rate: float) -> float:
        """Probability from which on fixes are given, so that at most such a share is false.

        A rate is about all fixes, and most are far surer than the least sure one.
        """
        return 1 - min(self.risk_ratio * max_false_fix_rate, _MOST_RISK)


SHIPPED = Calibration(
    weights=(0.799, 26.51, 12.10, -0.067, 0.0, 0.0),
    bias=-27.69,
    source='shipped: the first halves of five drives',
)
"""For maps that were never calibrated, of a model whose card tells nothing of it."""


def observe(
    belief: float,
    similarity: float,
    ratio: float,
    spread: float,
    *,
    match: float = 0.0,
    other_match: float = 0.0,
    rival: float = 0.0,
    contradicted: bool = False,
) -> Array:
    """The observations that tell how probable an answer is, [OBSERVED].

    belief: weight of the answer's neighbourhood, in [0, 1]; similarity: of the best place in it;
    ratio: how much farther the descriptor is from the best place outside it, in squared distances;
    spread: of the candidates' positions, in radii; match, other_match: of the best candidate's
    cells in the answer's neighbourhood and outside it, 0 where none was matched; rival: weight of
    the strongest other neighbourhood; contradicted: the image looks like other places, so that
    either it or the answer is wrong, and the answer is at best as probable as not.
    """
    share = min(max(belief, 1e-4), 1 - 1e-4)
    ahead = np.log(max(belief, 1e-12) / max(rival, 1e-12))
    if contradicted:
        ahead = min(ahead, 0.0)
    matches = np.maximum([match, other_match], UNRELATED)
    return np.array(
        [
            np.log(share / (1 - share)),
            similarity,
            min(ratio, 5.0),
            min(spread, 5.0),
            np.log(matches[0] / UNRELATED),
            np.log(matches[0] / matches[1]),
            ahead,
        ]
    )


def at_most_known(calibration: Calibration, observed: Array) -> Array:
    """Probability [...] of observations [..., OBSERVED], never surer than so many frames allow.

    Of n answers without a wrong one, the next is wrong with 1 / (n + 2): Laplace's rule.
    """
    return np.minimum(calibration.probability(observed), 1 - 1 / (calibration.frames + 2))


def logistic(value: Array | float) -> Array:
    """Probability of log odds [...], the natural logarithm."""
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -50, 50))))
