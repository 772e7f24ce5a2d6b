"""map -> odom without jumps, because planners and controllers hang on it.

Two steps: `SmoothTransform` weighs each new fix against the ones before it, and `Glide`
spreads what is left of a step over a moment, so that whoever asks often sees a motion and no jump.
"""

import numpy as np

from vpr_ros.core.geometry import compose, interpolate, invert
from vpr_ros.core.types import Poses

_GAIN = 0.2  # share of the way to a fix that the robot is moved
_GATE_SIGMAS = 3.0
_AGREEING_OUTLIERS = 3  # in a row that are believed after all
_GLIDE_S = 0.5  # duration of the motion that replaces a step


class SmoothTransform:
    """map_T_odom [7], by which the robot moves a share of the way towards each fix.

    The robot is what is compared and moved. The transform itself says where the origin of odometry
    is on the map, and a robot far from it turns that origin by metres with each degree.
    """

    def __init__(self) -> None:
        """Start without one."""
        self.reset()

    def reset(self) -> None:
        """Take the next fix as it is."""
        self.pose: Poses | None = None
        self._outliers = 0

    def step(self, map_T_base: Poses, odom_T_base: Poses, sigma_m: float) -> Poses:
        """The transform after a fix [7] of a robot that odometry has at odom_T_base [7].

        sigma_m: of the fix's position. A fix too far off for it is left out, unless several in a
        row are.
        """
        if self.pose is None:
            self.pose = compose(map_T_base, invert(odom_T_base))
            return self.pose
        expected = compose(self.pose, odom_T_base)
        apart_m = float(np.linalg.norm(map_T_base[:3] - expected[:3]))
        self._outliers = self._outliers + 1 if apart_m > _GATE_SIGMAS * sigma_m else 0
        if self._outliers == 0 or self._outliers >= _AGREEING_OUTLIERS:
            moved = interpolate(expected, map_T_base, _GAIN)
            self.pose = compose(moved, invert(odom_T_base))
        return self.pose


class Glide:
    """A transform on its way from where it was to where it should be."""

    def __init__(self) -> None:
        """Start without one."""
        self.forget()

    def forget(self) -> None:
        """Forget the transform; the next one is taken at once."""
        self._from: Poses | None = None
        self._to: Poses | None = None
        self._began_s = 0.0

    def aim(self, pose: Poses, now_s: float) -> None:
        """Go to a pose [7] from where it is at a time."""
        self._from, self._to, self._began_s = self.at(now_s), pose, now_s

    def at(self, now_s: float) -> Poses | None:
        """Where it is at a time [7]; None before the first aim."""
        if self._to is None or self._from is None:
            return self._to
        share = min(max((now_s - self._began_s) / _GLIDE_S, 0.0), 1.0)
        return interpolate(self._from, self._to, share)
