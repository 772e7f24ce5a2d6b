"""How probable it is that an answer is right: a logistic regression on six observations.

A belief is sure of itself too often: its frames are not independent, and it knows nothing of
images from another town. The similarity itself, and how far the next distinct place is from it,
tell the rest. The regression is fitted on drives whose poses are known (`calibrate`), pulled
towards the shipped one, so that a drive without a single wrong answer does not make the robot
believe all.

Whatever the regression says, of two distinct places with the same weight at most one is right. The
probability is therefore bounded by how far the answer outweighs its strongest rival.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import ConfigError, MapError
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.layout import HEADER_NAME

Array: TypeAlias = NDArray[np.float64]

OBSERVATIONS = ('belief', 'similarity', 'ratio', 'spread', 'match', 'match_ratio')
MATCHES = OBSERVATIONS[4:]
"""Those of maps with cells; they are 0, and their weights may be absent, without."""
OBSERVED = len(OBSERVATIONS) + 1  # and by how far the answer outweighs its rival
USUAL = ('similarity', 'match')
"""Those that are compared with what is usual on the drive: see usual.py."""
COMPARED = [OBSERVATIONS.index(name) for name in USUAL]
BINS = 10

_CENTRES = np.array([0.0, 0.5, 1.0, 1.0, 1.0, 0.5])  # about which an observation varies
_SCALES = np.array([2.0, 0.1, 0.1, 1.0, 0.5, 0.5])  # by how much
UNRELATED = 0.0005  # match of images of different places
_AHEAD = 2.0  # bound on the log odds of being right, per log of the weights' ratio to the rival
_HARDLY_BELIEVED = -1.4  # log odds of a fifth
PULL = 1.0  # towards the prior, in observations that contradict it
_MOST_RISK_RATIO = 20.0
_MOST_RISK = 0.5  # of a fix, whatever rate is asked for
_STEPS = 50
_TOLERANCE = 1e-9


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
        return _logistic(np.minimum(heights, _AHEAD * observed[..., -1]))

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

LANDMARK_OBSERVATIONS = ('inliers', 'odds', 'sigma')
LANDMARKS_OBSERVED = len(LANDMARK_OBSERVATIONS) + 1  # and by how far the place outdoes its rival
LANDMARK_CENTRES = np.array([4.0, 1.0, -4.0])
LANDMARK_SCALES = np.array([0.7, 1.0, 1.0])
_CELL_EVIDENCE = (-8.275, 1.625, 1.833)  # constant, and by the log of inliers and their odds
_EVIDENCE_BOUNDS = -6.0, 4.0
_FEWEST_LANDMARKS = 30
_MOST_INLIERS, _LEAST_SIGMA = 400, 0.003  # beyond these nothing that looks alike was ever seen

_FITTED_ON = 'shipped: the demo and kitti_clip1, half of the frames where the map has no place'
_XFEAT = Calibration((1.883261, 1.85301, -1.087045), -13.97105, _FITTED_ON, frames=0)
LANDMARKS = {
    'root-sift': Calibration((0.10303, 2.990894, -0.682177), -3.214018, _FITTED_ON, frames=883),
    'xfeat': _XFEAT,
    'xfeat-lighterglue': _XFEAT,  # not measured itself
}
"""By the kind of features, how probable a pose is by its landmarks: decision 0020.

No frame vouches for XFeat's: in a town that had no part in the fit its look-alikes were as good as
true places, so that they never exceed one half, and only refine what a drive believes.
"""


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


def observe_landmarks(*, inliers: int, matches: int, sigma: float, rival: int) -> Array:
    """The observations that tell how probable a pose by landmarks is, [LANDMARKS_OBSERVED].

    inliers: of the best place's matches, that agree on the pose; matches: all of them; sigma:
    standard deviation of the position where it is largest, in radii; rival: inliers of the best
    place that says otherwise.
    """
    odds = np.log((inliers + 0.5) / (matches - inliers + 0.5))
    ahead = np.log(inliers / max(rival, 1e-12))
    return np.array(
        [np.log(min(inliers, _MOST_INLIERS)), odds, np.log(max(sigma, _LEAST_SIGMA)), ahead]
    )


def cell_evidence(*, inliers: int, matches: int, landmarks: int) -> float:
    """How much cells of landmarks speak for a place, in nats; negative: against it.

    inliers, matches: cells of the query that agree on a pose, and all that show landmarks of the
    place; landmarks: of the place, of which few say nothing.
    """
    if landmarks < _FEWEST_LANDMARKS:
        return 0.0
    odds = np.log((inliers + 0.5) / (matches - inliers + 0.5))
    constant, by_inliers, by_odds = _CELL_EVIDENCE
    nats = constant + by_inliers * np.log(inliers + 1) + by_odds * odds
    return float(np.clip(nats, *_EVIDENCE_BOUNDS))


def with_odds(probability: float, nats: float) -> float:
    """A probability after something that makes its odds exp(nats) times as large."""
    share = min(max(probability, 1e-9), 1 - 1e-9)
    return float(_logistic(np.log(share / (1 - share)) + nats))


def said_by_landmarks(nats: float, observed: Array | None) -> float:
    """What landmarks may say of an answer with observations [OBSERVED], in nats.

    They do not speak for it where the whole image matches another place better: a terrace that is
    built twice has the same points in both places. observed: None where nothing was observed.
    """
    if observed is None or observed[OBSERVATIONS.index('match_ratio')] >= 0:
        return nats
    return min(nats, 0.0)


def with_landmarks(probability: float, nats: float, observed: Array) -> float:
    """The probability of an answer with observations [OBSERVED], as landmarks speak for it.

    They do not speak for an answer that the image contradicts, or that the drive hardly believes,
    and not past its rival. nats: as `said_by_landmarks` gives them.
    """
    belief, ahead = observed[OBSERVATIONS.index('belief')], observed[-1]
    if belief < _HARDLY_BELIEVED or ahead <= 0:
        nats = min(nats, 0.0)
    return min(with_odds(probability, nats), float(_logistic(_AHEAD * ahead)))


def at_most_known(calibration: Calibration, observed: Array) -> Array:
    """Probability [...] of observations [..., OBSERVED], never surer than so many frames allow.

    Of n answers without a wrong one, the next is wrong with 1 / (n + 2): Laplace's rule.
    """
    return np.minimum(calibration.probability(observed), 1 - 1 / (calibration.frames + 2))


def fit(
    observed: Array,
    right: NDArray[np.bool_],
    *,
    prior: Calibration = SHIPPED,
    source: str,
    counts: Array | float = 1.0,
    centres: Array = _CENTRES,
    scales: Array = _SCALES,
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
        expected = _logistic(inputs @ weights)
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


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """What map.yaml keeps."""
    usual = calibration.usual
    return {
        'weights': dict(zip(OBSERVATIONS, calibration.weights, strict=True)),
        'bias': calibration.bias,
        'source': calibration.source,
        'frames': calibration.frames,
        'error': calibration.error,
        'risk_ratio': calibration.risk_ratio,
        'radius_m': calibration.radius_m,
        'usual': None if usual is None else dict(zip(USUAL, usual, strict=True)),
    }


def from_dict(values: Mapping[str, Any]) -> Calibration:
    """The inverse; raises ConfigError for what as_dict does not write."""
    try:
        said = dict.fromkeys(MATCHES, 0.0) | dict(values['weights'])
        weights = tuple(float(said[name]) for name in OBSERVATIONS)
        bias = float(values['bias'])
        error, radius_m = values['error'], values['radius_m']
        usual = values.get('usual')
        made = Calibration(
            weights,
            bias,
            str(values['source']),
            int(values['frames']),
            None if error is None else float(error),
            None if radius_m is None else float(radius_m),
            float(values.get('risk_ratio', 1.0)),
            None if usual is None else tuple(float(usual[name]) for name in USUAL),
        )
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ConfigError(f'calibration: {type(error).__name__} {error}') from error
    if not np.isfinite([*weights, bias, *(made.usual or ())]).all():
        raise ConfigError(
            f'calibration: weights {weights}, bias {bias}, usual {made.usual}, '
            'expected finite numbers'
        )
    if not 1 <= made.risk_ratio <= _MOST_RISK_RATIO:
        raise ConfigError(
            f'calibration: risk_ratio {made.risk_ratio}, expected 1 to {_MOST_RISK_RATIO:g}'
        )
    return made


def calibration_of(header: MapHeader, *, folder: Path | str = '') -> Calibration:
    """The calibration of a map: its own, else that of its model, else the shipped one.

    folder: of the map, which is named where its calibration is damaged. Raises MapError then.
    """
    own = _of_map('calibration', header.calibration, folder)
    return own or model_calibration_of(header, folder=folder)


def model_calibration_of(header: MapHeader, *, folder: Path | str = '') -> Calibration:
    """What the model's card said when the map was made, else the shipped one.

    Like calibration_of.
    """
    return _of_map('model_calibration', header.model_calibration, folder) or SHIPPED


def _of_map(
    entry: str, values: Mapping[str, Any] | None, folder: Path | str
) -> Calibration | None:
    if values is None:
        return None
    try:
        return from_dict(values)
    except ConfigError as error:
        raise MapError(
            f'{Path(folder) / HEADER_NAME}: {entry} is damaged ({error}); '
            f'delete the entry {entry} there and run `calibrate` again'
        ) from error


def _logistic(value: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -50, 50))))
