"""Fit a calibration to answers of which it is known whether they were right.

It is pulled towards a prior, so that a drive without a single wrong answer does not make the robot
believe all.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.confidence import (
    CENTRES,
    OBSERVATIONS,
    SCALES,
    SHIPPED,
    Calibration,
    logistic,
)

Array: TypeAlias = NDArray[np.float64]

PULL = 1.0  # towards the prior, in observations that contradict it
_STEPS = 50
_TOLERANCE = 1e-9


def fit(
    observed: Array,
    right: NDArray[np.bool_],
    *,
    prior: Calibration = SHIPPED,
    source: str,
    counts: Array | float = 1.0,
    centres: Array = CENTRES,
    scales: Array = SCALES,
    held: Sequence[str] = (),
    pull: float = PULL,
) -> Calibration:
    """Most probable weights for observations [Q, OBSERVED] and whether each answer was right [Q].

    Newton's method on the logistic loss with a Gaussian prior around `prior`'s weights. counts:
    how many answers each stands for [Q]; centres, scales: [OBSERVED - 1], about which and by how
    much an observation varies; held: observations whose weights stay as they are in `prior`; pull:
    towards `prior`, in observations that contradict it.
    """
    inputs = np.column_stack([(observed[:, :-1] - centres) / scales, np.ones(len(observed))])
    centre = _standardized(prior, centres, scales)

    def loss(weights: Array) -> float:
        heights = inputs @ weights
        misfit = float((counts * (np.logaddexp(0, heights) - right * heights)).sum())
        return misfit + pull / 2 * float(((weights - centre) ** 2).sum())

    weights = centre.copy()
    free = np.array([name not in held for name in OBSERVATIONS[: len(weights) - 1]] + [True])
    for _ in range(_STEPS):
        expected = logistic(inputs @ weights)
        slope = inputs.T @ (counts * (expected - right)) + pull * (weights - centre)
        weighted = inputs.T * (counts * expected * (1 - expected))
        curvature = weighted @ inputs + pull * np.eye(len(weights))
        step: Array = np.zeros(len(weights))
        step[free] = np.linalg.solve(curvature[free][:, free], slope[free])
        while loss(weights - step) > loss(weights) and np.abs(step).max() > _TOLERANCE:
            step = step / 2  # far from the minimum Newton's step is too long
        weights = weights - step
        if np.abs(step).max() < _TOLERANCE:
            break
    plain = weights[:-1] / scales
    return Calibration(
        tuple(round(float(weight), 6) for weight in plain),
        round(float(weights[-1] - plain @ centres), 6),
        source,
        len(observed),
        usual=prior.usual,
    )


def _standardized(calibration: Calibration, centres: Array, scales: Array) -> Array:
    """Weights and bias [OBSERVED] of observations brought to a common centre and scale."""
    weights = np.array(calibration.weights)
    return np.append(weights * scales, calibration.bias + weights @ centres)
