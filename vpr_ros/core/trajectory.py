"""Poses over time: interpolated to image stamps, and exchanged with other tools in TUM form."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import DriveError, VprError
from vpr_ros.core.geometry import checked_pose, interpolate
from vpr_ros.core.types import Poses, Stamps


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Poses at increasing stamps."""

    stamps_ns: Stamps  # [T], strictly increasing
    poses: Poses  # [T, 7]
    interpolates: bool = True  # False: single photos, with nothing known between two of them

    @classmethod
    def from_unordered(
        cls, stamps_ns: Stamps, poses: Poses, *, source: str, interpolates: bool = True
    ) -> 'Trajectory':
        """Sort by time and drop repeated stamps (the first stays); raises DriveError for NaN and bad quaternions."""
        if len(stamps_ns) == 0:
            raise DriveError(f'{source}: no poses')
        try:
            poses = checked_pose(poses, source=source)
        except VprError as error:
            raise DriveError(str(error)) from error
        stamps_ns, first = np.unique(np.asarray(stamps_ns, dtype=np.int64), return_index=True)
        return cls(stamps_ns, poses[first], interpolates)

    def at(self, stamps_ns: Stamps, *, max_gap_s: float = 1.0) -> tuple[Poses, NDArray[np.bool_]]:
        """Interpolate to stamps [M]; returns poses [M, 7] and whether each is known [M].

        A stamp outside the trajectory, or between two poses further apart than `max_gap_s`, has no known pose; its row
        is then only a guess. Where the trajectory does not interpolate, only its own stamps are known.
        """
        stamps_ns = np.asarray(stamps_ns, dtype=np.int64)
        after = np.clip(np.searchsorted(self.stamps_ns, stamps_ns), 0, len(self.stamps_ns) - 1)
        exact = self.stamps_ns[after] == stamps_ns
        before = np.where(exact, after, np.maximum(after - 1, 0))
        gap_ns = self.stamps_ns[after] - self.stamps_ns[before]
        inside = (stamps_ns >= self.stamps_ns[0]) & (stamps_ns <= self.stamps_ns[-1])
        known = inside & (exact | ((gap_ns <= max_gap_s * 1e9) & self.interpolates))
        passed = np.clip((stamps_ns - self.stamps_ns[before]) / np.maximum(gap_ns, 1), 0.0, 1.0)
        return interpolate(self.poses[before], self.poses[after], passed), known


def write_tum(path: Path, trajectory: Trajectory) -> None:
    """Write `t x y z qx qy qz qw` lines, seconds and metres, as evo and the TUM benchmark read them."""
    with path.open('w', encoding='utf-8') as file:
        for stamp_ns, pose in zip(trajectory.stamps_ns.tolist(), trajectory.poses, strict=True):
            numbers = ' '.join(f'{value:.9f}' for value in pose)
            file.write(f'{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} {numbers}\n')
