"""What landmarks say of an answer: how probable a pose by them is, and how they speak for a place.

Landmarks with descriptors of their own (SIFT, XFeat) give a pose that has a probability. Landmarks
by cells change the probability of the answer that they are asked about.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.confidence import AHEAD, OBSERVATIONS, Calibration, logistic

Array: TypeAlias = NDArray[np.float64]

_HARDLY_BELIEVED = -1.4  # log odds of a fifth

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
    return float(logistic(np.log(share / (1 - share)) + nats))


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
    return min(with_odds(probability, nats), float(logistic(AHEAD * ahead)))
