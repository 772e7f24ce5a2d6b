"""Whether probabilities were kept: the reliability diagram, and the calibration error."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

BINS = 10


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram: what was promised and what was true, in BINS bins of probability."""

    promised: Array  # [BINS], mean probability; NaN for an empty bin
    true: Array  # [BINS], share of right answers; NaN for an empty bin
    count: NDArray[np.int64]  # [BINS]
    error: float  # expected calibration error: mean of |promised - true|, weighted by count


def reliability(probability: Array, right: NDArray[np.bool_]) -> Reliability:
    """The reliability of answers with probabilities [Q], of which some were right [Q].

    Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning,
    2015, with equal bins.
    """
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    sums = (np.bincount(bins, values, minlength=BINS) for values in (probability, right))
    promised, true = (
        np.divide(total, count, out=np.full(BINS, np.nan), where=count > 0) for total in sums
    )
    filled = count > 0
    apart = np.abs(promised - true)[filled]
    error = float(apart @ count[filled] / max(count.sum(), 1))
    return Reliability(promised, true, count, error)
