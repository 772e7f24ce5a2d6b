"""Poses over time, interpolated to image stamps."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import DriveError, VprError
from vpr_ros.core.geometry import checked_pose, interpolate
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Poses, Stamps

_PERIODS_OF_A_GAP = 2.5  # one pose may be missing, and both its neighbours may be late
_LEAST_GAP_S, _MOST_GAP_S = 1.0, 15.0
WALL_NS = 10**17
"""Stamps from which on time is no simulated one, which begins at zero: three years."""
MOST_MPS = 150.0
"""Speed beyond which no vehicle drives."""
_JUMP_M = 100.0  # a longer and faster step is neither a drive nor a loop closure
_SAME_M = 1e-3  # a pose that is repeated may be rounded
_LEAST_STEP_S = 1e-3  # a shorter step tells no speed; photos may share a stamp


@dataclass(frozen=True, slots=True)
class Jump:
    """Two poses in a row between which no vehicle can have driven."""

    before_ns: int
    after_ns: int
    distance_m: float

    def __str__(self) -> str:
        """The jump in words."""
        far = (
            f'{self.distance_m / 1000:.0f} km'
            if self.distance_m >= 1e4
            else f'{self.distance_m:.0f} m'
        )
        took_s = (self.after_ns - self.before_ns) / 1e9
        return f'by {far} in {took_s:.2f} s, at {self.after_ns / 1e9:.3f} s'


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Poses at increasing stamps."""

    stamps_ns: Stamps  # [T], strictly increasing
    poses: Poses  # [T, 7]
    interpolates: bool = True  # False: single photos, with nothing known between two of them
    usual_gap_s: float = field(init=False)
    """Longest gap that is interpolated unless another is given: 2.5 times the median period."""
    _jumps: NDArray[np.bool_] = field(init=False, repr=False)  # [T - 1], behind each pose

    def __post_init__(self) -> None:
        """Learn the usual period and the jumps, which every look-up needs."""
        periods_s = np.diff(self.stamps_ns) / 1e9
        usual_s = _PERIODS_OF_A_GAP * float(np.median(periods_s)) if len(periods_s) else 0.0
        object.__setattr__(self, 'usual_gap_s', min(max(usual_s, _LEAST_GAP_S), _MOST_GAP_S))
        object.__setattr__(self, '_jumps', jumped(self.stamps_ns, self.poses[:, :3]))

    @property
    def jumps(self) -> list[Jump]:
        """Where the position changes as no vehicle drives."""
        return [
            Jump(
                int(self.stamps_ns[row]),
                int(self.stamps_ns[row + 1]),
                float(np.linalg.norm(self.poses[row + 1, :3] - self.poses[row, :3])),
            )
            for row in np.flatnonzero(self._jumps).tolist()
        ]

    @property
    def usual_speed_mps(self) -> float:
        """Median of the steps' speeds; 0 where there is no step that tells."""
        took_s = np.diff(self.stamps_ns) / 1e9
        told = took_s >= _LEAST_STEP_S
        if not told.any():
            return 0.0
        moved_m = np.linalg.norm(np.diff(self.poses[:, :3], axis=0), axis=1)
        return float(np.median(moved_m[told] / took_s[told]))

    @classmethod
    def from_unordered(
        cls, stamps_ns: Stamps, poses: Poses, *, source: str, interpolates: bool = True
    ) -> 'Trajectory':
        """Sort by time; of repeated stamps the first stays.

        Raises DriveError for NaN, for bad quaternions, and where there is no pose at all.
        """
        if len(stamps_ns) == 0:
            raise DriveError(f'{source}: no poses')
        try:
            poses = checked_pose(poses, source=source)
        except VprError as error:
            raise DriveError(str(error)) from error
        stamps_ns, first = np.unique(np.asarray(stamps_ns, dtype=np.int64), return_index=True)
        return cls(stamps_ns, poses[first], interpolates)

    def at(
        self, stamps_ns: Stamps, *, max_gap_s: float | None = None
    ) -> tuple[Poses, NDArray[np.bool_]]:
        """Interpolate to stamps [M]; returns poses [M, 7] and whether each is known [M].

        A stamp outside the trajectory, between two poses further apart than `max_gap_s` (None:
        `usual_gap_s`), or within a jump, has no known pose; its row is then only a guess. Where
        the trajectory does not interpolate, only its own stamps are known.
        """
        limit_s = self.usual_gap_s if max_gap_s is None else max_gap_s
        stamps_ns = np.asarray(stamps_ns, dtype=np.int64)
        after = np.clip(np.searchsorted(self.stamps_ns, stamps_ns), 0, len(self.stamps_ns) - 1)
        exact = self.stamps_ns[after] == stamps_ns
        before = np.where(exact, after, np.maximum(after - 1, 0))
        gap_ns = self.stamps_ns[after] - self.stamps_ns[before]
        inside = (stamps_ns >= self.stamps_ns[0]) & (stamps_ns <= self.stamps_ns[-1])
        between = (gap_ns <= limit_s * 1e9) & self.interpolates
        if len(self._jumps):
            between &= ~self._jumps[np.minimum(before, len(self._jumps) - 1)]
        known = inside & (exact | between)
        passed = np.clip((stamps_ns - self.stamps_ns[before]) / np.maximum(gap_ns, 1), 0.0, 1.0)
        return interpolate(self.poses[before], self.poses[after], passed), known

    def why_unknown(
        self, stamps_ns: Stamps, *, max_gap_s: float | None = None, flag: str = '--max-pose-gap'
    ) -> str:
        """Why `at` knows no pose for some stamps [M], in words, with the counts."""
        stamps_ns = np.asarray(stamps_ns, dtype=np.int64)
        early, late = stamps_ns < self.stamps_ns[0], stamps_ns > self.stamps_ns[-1]
        inside = stamps_ns[~(early | late)]
        causes = [
            *_beyond('before the first pose', self.stamps_ns[0] - stamps_ns[early]),
            *_beyond('after the last pose', stamps_ns[late] - self.stamps_ns[-1]),
        ]
        if not self.interpolates:
            causes += [f'{len(inside)} without a pose of their own'] if len(inside) else []
        elif len(inside):
            before = np.searchsorted(self.stamps_ns, inside) - 1
            torn = self._jumps[before]
            gaps_s = (self.stamps_ns[before + 1] - self.stamps_ns[before])[~torn] / 1e9
            causes += [f'{int(torn.sum())} within a jump of the position'] if torn.any() else []
            if len(gaps_s):
                limit_s = self.usual_gap_s if max_gap_s is None else max_gap_s
                causes.append(
                    f'{len(gaps_s)} in a gap: the poses are {_span_s(gaps_s)} apart, '
                    f'{flag} is {limit_s:g}'
                )
        return '; '.join([', '.join(causes), *_other_clock(stamps_ns, self.stamps_ns)])


def jumped(stamps_ns: Stamps, positions_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a jump follows each position [T, 2 or 3] at increasing stamps [T], [T - 1]."""
    moved_m = np.linalg.norm(np.diff(positions_m, axis=0), axis=1)
    took_s = np.maximum(np.diff(stamps_ns) / 1e9, 1e-9)
    return np.asarray((moved_m > _JUMP_M) & (moved_m / took_s > MOST_MPS))


def repeated_said(stamps_ns: Stamps, poses: Poses, *, source: str) -> list[str]:
    """A sentence where several poses [T, 7] that differ have one stamp [T]."""
    _, first, again = np.unique(stamps_ns, return_index=True, return_inverse=True)
    apart_m = np.linalg.norm(poses[:, :3] - poses[first[again.ravel()], :3], axis=1)
    count = int((apart_m > _SAME_M).sum())
    if not count:
        return []
    return [
        f'{source}: {counted(count, "pose was", "poses were")} left out, because an earlier one '
        'at another position has the same stamp; stamp each pose with its own time'
    ]


def clock_question(images_ns: int, poses_ns: int) -> str:
    """What to ask where the first stamps of images and poses hardly are of one clock."""
    kinds = [_kind_of(stamp_ns) for stamp_ns in (images_ns, poses_ns)]
    step = 'record both with the same use_sim_time'
    if kinds == ['wall', 'wall']:
        step = 'set the clocks of the computers that stamp them by each other (NTP, PTP)'
    return (
        f'do both use the same clock? The images have {kinds[0]} time ({images_ns / 1e9:.1f} s), '
        f'the poses {kinds[1]} time ({poses_ns / 1e9:.1f} s); {step}'
    )


def _kind_of(stamp_ns: int) -> str:
    """What a stamp seems to be: wall time from 2001 on, simulated time up to three years."""
    return 'wall' if stamp_ns > 10**18 else 'simulated' if stamp_ns < WALL_NS else 'unknown'


def _beyond(where: str, apart_ns: NDArray[np.int64]) -> list[str]:
    if not len(apart_ns):
        return []
    most_s = apart_ns.max() / 1e9
    return [f'{len(apart_ns)} {where} (by up to {most_s:.{2 if most_s >= 1 else 4}f} s)']


def _span_s(gaps_s: NDArray[np.float64]) -> str:
    low, high = f'{gaps_s.min():.2f}', f'{gaps_s.max():.2f}'
    return f'{low} s' if low == high else f'{low} to {high} s'


def _other_clock(images_ns: Stamps, poses_ns: Stamps) -> list[str]:
    """A sentence where images and poses lie so far apart that they hardly share a clock."""
    early_ns, late_ns = poses_ns[0] - images_ns.max(), images_ns.min() - poses_ns[-1]
    if max(early_ns, late_ns) < 86_400 * 10**9:
        return []
    return [clock_question(int(images_ns.min()), int(poses_ns[0]))]
