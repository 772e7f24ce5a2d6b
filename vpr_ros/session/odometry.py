"""Where odometry says that the robot was when an image was taken."""

from bisect import bisect_left

import numpy as np

from vpr_ros.core.geometry import interpolate
from vpr_ros.core.types import Poses

_KEPT = 2000  # poses: 20 s at 100 Hz
_LATE_NS = 100_000_000  # how far a stamp may lie behind the newest odometry
_GAP_NS = 1_000_000_000  # between two poses, beyond which nothing is interpolated
_MEAN_OF = 20  # values that weigh in a running mean
_JUMP_M = 1.0  # a shorter step is no jump: it only looks fast if its stamps are too close
_FASTER = 10.0  # a step so many times faster than the bound on the robot's speed is a jump


class Odometry:
    """Recent poses in the odometry's own frame, in the order of their stamps."""

    def __init__(self) -> None:
        """Start empty."""
        self._stamps_ns: list[int] = []
        self._poses: list[Poses] = []
        self._came_ns = 0  # of the newest, by the node's clock
        self._late_s: float | None = None  # running means
        self._period_s: float | None = None

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest pose; None without any."""
        return self._stamps_ns[-1] if self._stamps_ns else None

    def clear(self) -> None:
        """Forget all."""
        self._stamps_ns.clear()
        self._poses.clear()
        self._period_s = self._late_s = None

    def pace(self, now_ns: int) -> str:
        """The rate and the delay of odometry, for people.

        Empty before the second pose, and where none came for longer than a gap may be.
        """
        if self._period_s is None or self._late_s is None or now_ns - self._came_ns > _GAP_NS:
            return ''
        return f'{1 / max(self._period_s, 1e-6):.0f} Hz, {self._late_s:.2f} s late'

    def add(self, stamp_ns: int, odom_T_base: Poses, came_ns: int = 0) -> None:
        """Keep a pose [7] that is newer than all before it; came_ns: by the node's clock."""
        if self._stamps_ns:
            period_s = (stamp_ns - self._stamps_ns[-1]) / 1e9
            self._period_s = _mean(self._period_s, period_s)
            self._late_s = _mean(self._late_s, (came_ns - stamp_ns) / 1e9)
        self._came_ns = came_ns
        self._stamps_ns.append(stamp_ns)
        self._poses.append(odom_T_base)
        if len(self._stamps_ns) >= 2 * _KEPT:
            del self._stamps_ns[:-_KEPT], self._poses[:-_KEPT]

    def jump_m(self, stamp_ns: int, odom_T_base: Poses, *, bound_mps: float) -> float:
        """How far a pose [7] lies from the newest one if no robot gets there in time, else 0.

        bound_mps: on the robot's speed, roughly.
        """
        if not self._stamps_ns:
            return 0.0
        apart_m = float(np.linalg.norm(odom_T_base[:3] - self._poses[-1][:3]))
        reached_m = _FASTER * bound_mps * (stamp_ns - self._stamps_ns[-1]) / 1e9
        return apart_m if apart_m > max(reached_m, _JUMP_M) else 0.0

    def at(self, stamp_ns: int) -> Poses | None:
        """odom_T_base [7] at a stamp, interpolated; None if odometry does not reach to it.

        A stamp just after the newest pose gets the newest pose.
        """
        after = bisect_left(self._stamps_ns, stamp_ns)
        if after == len(self._stamps_ns):
            newest_ns = self.newest_ns
            recent = newest_ns is not None and stamp_ns - newest_ns <= _LATE_NS
            return self._poses[-1] if recent else None
        if self._stamps_ns[after] == stamp_ns:
            return self._poses[after]
        if after == 0:
            return None
        start_ns, end_ns = self._stamps_ns[after - 1 : after + 1]
        if end_ns - start_ns > _GAP_NS:
            return None
        share = (stamp_ns - start_ns) / (end_ns - start_ns)
        return interpolate(self._poses[after - 1], self._poses[after], share)

    def distance_m(self, from_ns: int, to_ns: int) -> float | None:
        """Straight distance between where the robot was at two stamps; None if unknown.

        Only odometry around both stamps counts: one that has stopped would claim a standstill.
        """
        start, end = self.at(from_ns), self.at(to_ns)
        if start is None or end is None:
            return None
        return float(np.linalg.norm(end[:3] - start[:3]))


def _mean(mean: float | None, value: float) -> float:
    return value if mean is None else mean + (value - mean) / _MEAN_OF
