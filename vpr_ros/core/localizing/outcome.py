"""The outcome of one frame: a fix, or a reason why there is none.

Having no answer is normal in place recognition, so `NoFix` is a value and no exception.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.types import Poses


class Reason(Enum):
    """Why there is no fix."""

    NOTHING_SIMILAR = 'no place on the map is similar enough'
    CANDIDATES_DISAGREE = 'the similar places lie apart'
    OUTSIDE_INITIAL_POSE = 'no place on the map lies where the initial pose says'
    OUTSIDE_GPS = 'no place on the map lies where GPS says'
    NOT_SURE = 'not sure enough yet'
    LOOK_ALIKES = 'two places far apart are both likely'
    DOES_NOT_FIT = 'the image does not fit the landmarks of the likeliest place'
    LOOKS_ELSEWHERE = 'the image looks like other places than the drive so far leads to'
    ELSEWHERE = 'probably not on the map'
    OUTSIDE_CUT = "the image looks like a place outside this cut of the fleet's map"
    NOTHING_SEEN = 'the image shows nothing'
    REPEATED = 'the image is the last one again, and no odometry says that the robot stands'


@dataclass(frozen=True, slots=True)
class Fix:
    """Where the robot is.

    Along a drive the probability is calibrated (see confidence.py), whether the pose rests on
    places or on landmarks, and is that of a position within agreement_radius of the true one. From
    one image alone it is a share that agrees: of the candidates' weight, or of the best place's
    landmarks against those of the place that says otherwise.
    """

    pose: Poses  # [7], map_T_base
    covariance: NDArray[np.float64]  # [6, 6]: x y z in m^2, turns about the map's axes in rad^2
    probability: float  # that it is right, in [0, 1]
    place_index: int  # the most similar place of those that agree
    inliers: int = 0  # landmarks that the pose rests on; 0: it rests on the places' own poses


@dataclass(frozen=True, slots=True)
class NoFix:
    """The robot cannot tell where it is."""

    reason: Reason
    probability: float = 0.0  # of the best answer that was refused


Outcome: TypeAlias = Fix | NoFix


def headline(outcome: Outcome) -> str:
    """An outcome in a few words, for pictures."""
    if isinstance(outcome, Fix):
        return f'fix, probability {outcome.probability:.2f}'
    return f'no fix: {outcome.reason.value}'
