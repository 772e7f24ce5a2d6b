"""Whether odometry moves as far as the robot does by its fixes.

Odometry that stands still while the robot drives, as with a broken encoder, or that is in another
unit, holds the belief back or carries it away. Without it the belief knows a bound on the speed,
which is better than a wrong way.
"""

from collections import deque

import numpy as np

from vpr_ros.core.localizing.outcome import Fix
from vpr_ros.core.types import Poses

_STEP_M = 1.0  # by fixes or by odometry, between two that are kept
_KEPT = 30
_FAR_M, _FAR_SIGMAS = 10.0, 6.0  # between two that are compared, at least
_CARRIED_M = 30.0  # from the last fix to the first after LOST, beyond which it was carried
_TIMES = 3.0  # as far by one as by the other is a contradiction
_DECIDES = 5  # contradictions less agreements, from which on odometry is not used


class OdometryCheck:
    """Fixes of late, and where odometry was at their moments."""

    def __init__(self) -> None:
        """Start by believing odometry."""
        self.agrees = True
        self._against = 0
        self._was_lost = False
        self._kept: deque[tuple[Poses, Poses]] = deque(maxlen=_KEPT)  # map_T_base, odom_T_base

    def start_anew(self) -> None:
        """Compare nothing with what was before: odometry has another origin."""
        self._kept.clear()

    def lose(self) -> None:
        """The state is LOST: the robot may have been carried, or odometry leads astray."""
        self._was_lost = True

    def learn(self, fix: Fix, odom_T_base: Poses | None) -> str:
        """Compare a fix with odometry [7] at its moment; a note where the judgement changes."""
        if odom_T_base is None:
            return ''
        if self._kept:
            by_fixes_m, by_odometry_m = _ways_m(self._kept[-1], fix.pose, odom_T_base)
            if self._was_lost and by_fixes_m > _CARRIED_M:
                self.start_anew()
            self._was_lost = False
            if max(by_fixes_m, by_odometry_m) < _STEP_M:
                return ''
        said = self._compared(fix, odom_T_base)
        self._kept.append((fix.pose, odom_T_base))
        return said

    def _compared(self, fix: Fix, odom_T_base: Poses) -> str:
        sigma_m = float(fix.covariance[:3, :3].trace()) ** 0.5
        far_m = max(_FAR_M, _FAR_SIGMAS * sigma_m)
        for kept in reversed(self._kept):
            by_fixes_m, by_odometry_m = _ways_m(kept, fix.pose, odom_T_base)
            longer_m = max(by_fixes_m, by_odometry_m)
            if longer_m >= far_m:
                contradicts = longer_m > _TIMES * min(by_fixes_m, by_odometry_m)
                self._against += 1 if contradicts else -1
                self._against = min(max(self._against, 0), _DECIDES)
                return self._judged(by_fixes_m, by_odometry_m)
        return ''

    def _judged(self, by_fixes_m: float, by_odometry_m: float) -> str:
        if self.agrees and self._against == _DECIDES:
            self.agrees = False
            return (
                f'odom: odometry moved {by_odometry_m:.1f} m while the robot moved '
                f'{by_fixes_m:.1f} m by the images; it is not used until both agree. Check the '
                'encoders, the unit and the topic of odometry, and the scale of the map'
            )
        if not self.agrees and self._against == 0:
            self.agrees = True
            return 'odom: odometry agrees with the images again, and is used'
        return ''


def _ways_m(before: tuple[Poses, Poses], map_T_base: Poses, odom_T_base: Poses) -> list[float]:
    """Straight distances from before, by fixes and by odometry."""
    now = map_T_base, odom_T_base
    return [
        float(np.linalg.norm(one[:3] - other[:3])) for one, other in zip(now, before, strict=True)
    ]
