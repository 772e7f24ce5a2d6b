"""What the fixes of a drive are off by in common, which is a fault of a recording, not of a match.

The errors of single fixes cancel out in their mean. A camera that is mounted otherwise than said
moves all fixes by one vector in the robot's own axes. Poses that are stamped late move them along
the path, by the way that the robot drives meanwhile. To the left and right the mean says less: a
robot that drives beside the mapped path is seen nearer to it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import quat_conjugate, rotate
from vpr_ros.core.intervals import Interval, mean_interval
from vpr_ros.evaluating.judging import Judged
from vpr_ros.evaluating.tolerance import turn_to_left

Array = NDArray[np.float64]

_LEFT = 1  # axis
_FEWEST = 10  # fixes that have it in common
_SLOWEST_MPS = 0.2  # at which a clock still explains metres
_LONGEST_S = 5.0  # between images, of a speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """Mean of the fixes less the true poses, in the axes of the robot: x ahead, y left, z up."""

    mean_m: Array  # [3]
    interval_m: list[Interval]  # of each of them, 95 %
    scatter_m: float  # median distance of the fixes from the mean
    turned_deg: float  # mean turn to the left
    late_s: float  # how late the true poses would be stamped for what is ahead; NaN for a slow one
    fixes: int  # of which it is the mean

    @property
    def is_telling(self) -> bool:
        """Whether it is sure that fixes lie ahead or above, and by more than they scatter."""
        return any(
            abs(self.mean_m[axis]) > self.scatter_m and (low > 0 or high < 0)
            for axis, (low, high) in enumerate(self.interval_m)
            if axis != _LEFT
        )

    def as_json(self) -> dict[str, Any]:
        """As `evaluate_bag --json` writes it."""
        names = ('ahead', 'left', 'up')
        return {
            **{f'{name}_m': float(mean) for name, mean in zip(names, self.mean_m)},
            **{f'{name}_m_interval': list(held) for name, held in zip(names, self.interval_m)},
            'scatter_m': self.scatter_m,
            'turned_deg': self.turned_deg,
            'late_s': self.late_s,
            'fixes': self.fixes,
        }


def offset_of(judged: Judged, *, radius_m: float) -> Offset | None:
    """The offset of most fixes whose truth is known; None where there are few, or none in common.

    Headings must be known: without them nobody knows what is ahead. radius_m: a fix takes part
    where its error is so near the median one, however large that is.
    """
    fixes = judged.of(judged.known & judged.fixed)
    if len(fixes.answers) < _FEWEST:
        return None
    error_m = rotate(quat_conjugate(fixes.truth[:, 3:]), fixes.poses[:, :3] - fixes.truth[:, :3])
    near = np.linalg.norm(error_m - np.median(error_m, axis=0), axis=1) <= radius_m
    if near.sum() < max(_FEWEST, len(near) / 2):
        return None
    error_m, fixes = error_m[near], fixes.of(near)
    mean_m = error_m.mean(axis=0)
    speed_mps = _usual_speed(judged)
    return Offset(
        mean_m=mean_m,
        interval_m=[mean_interval(error_m[:, axis], drive=fixes.drive) for axis in range(3)],
        scatter_m=float(np.median(np.linalg.norm(error_m - mean_m, axis=1))),
        turned_deg=float(np.degrees(turn_to_left(fixes.poses, fixes.truth).mean())),
        late_s=float(mean_m[0] / speed_mps) if speed_mps > _SLOWEST_MPS else float('nan'),
        fixes=int(near.sum()),
    )


def _usual_speed(judged: Judged) -> float:
    """Median speed of the robot from image to image, in m/s; 0 where it is not known."""
    known = judged.of(judged.known)
    step_m = np.linalg.norm(np.diff(known.truth[:, :3], axis=0), axis=1)
    step_s = np.diff(known.elapsed_s)
    timed = (step_s > 0) & (step_s < _LONGEST_S) & (np.diff(known.drive) == 0)
    return float(np.median(step_m[timed] / step_s[timed])) if timed.any() else 0.0
