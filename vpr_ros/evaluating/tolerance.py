"""What counts as the right place, and which places of a map are right at a true pose.

For the latter, the places stand in the cells of a grid in x and y, as wide as the radius, so that
a pose is compared with the few places around it. Neither the memory nor the time of a question
grows with the map, as long as its places are spread.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import quat_conjugate, quat_multiply, rotate
from vpr_ros.core.mapping.positions import stretches
from vpr_ros.core.types import Poses

_FORWARD = np.array([1.0, 0.0, 0.0])
_AT_ONCE = 4096  # places compared with a pose, where very many are near it
_POSES_AT_ONCE, _PAIRS_AT_ONCE = 4096, 50_000  # of many poses
_FIRST_LOOK = 4  # places of each column that many poses are compared with first
_MOST_CELLS = 2**20  # on a side, so that the number of a cell fits into 64 bits


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as the right place."""

    radius_m: float = 5.0
    heading_rad: float | None = None

    def accepts(self, first: Poses, second: Poses) -> NDArray[np.bool_]:
        """Whether poses [..., 7] are the same place, broadcasting."""
        near = np.linalg.norm(first[..., :3] - second[..., :3], axis=-1) <= self.radius_m
        if self.heading_rad is None:
            return np.asarray(near)
        return np.asarray(near & (heading_difference(first, second) <= self.heading_rad))

    def __str__(self) -> str:
        if self.heading_rad is None:
            return f'{self.radius_m:g} m'
        return f'{self.radius_m:g} m and {np.degrees(self.heading_rad):g} deg'


def heading_difference(first: Poses, second: Poses) -> NDArray[np.float64]:
    """Turn about the second's own vertical in [0, pi], broadcasting over poses [..., 7]."""
    return np.asarray(np.abs(turn_to_left(first, second)))


def turn_to_left(first: Poses, second: Poses) -> NDArray[np.float64]:
    """Turn from the second to the first about the second's own vertical, in [-pi, pi].

    Between level robots it is the difference of their headings; it does not depend on which way is
    up in the map. Broadcasts over poses [..., 7].
    """
    turn = quat_multiply(quat_conjugate(second[..., 3:]), first[..., 3:])
    forward = rotate(turn, np.broadcast_to(_FORWARD, (*turn.shape[:-1], 3)))
    return np.asarray(np.arctan2(forward[..., 1], forward[..., 0]))


class TruePlaces:
    """Finds the places that are right at a pose."""

    def __init__(self, places: Poses, tolerance: Tolerance) -> None:
        """places: map_T_base [N, 7]."""
        self._places, self._tolerance = places, tolerance
        positions = places[:, :2] if len(places) else np.zeros((1, 2))
        self._low, extent_m = positions.min(axis=0), np.ptp(positions, axis=0).max()
        # A little wider than the radius: rounding must not put a near place two cells away.
        self._cell_m = max(1.001 * tolerance.radius_m, extent_m / _MOST_CELLS)
        numbers = self._number(np.floor((places[:, :2] - self._low) / self._cell_m))
        self._order = np.argsort(numbers, kind='stable')
        self._numbers = numbers[self._order]

    def rows(self, pose: Poses) -> NDArray[np.int64]:
        """Rows of the places that are right at a pose [7], rising; none where it is NaN."""
        near = self._near(pose[:2])
        chunks = [near[start : start + _AT_ONCE] for start in range(0, len(near), _AT_ONCE)]
        found = [chunk[self._tolerance.accepts(self._places[chunk], pose)] for chunk in chunks]
        return np.sort(np.concatenate([*found, np.empty(0, dtype=np.int64)]))

    def missing(self, poses: Poses) -> NDArray[np.bool_]:
        """Whether no place is right at each of poses [Q, 7], [Q]; true where a pose is NaN."""
        found = np.ones(len(poses), dtype=bool)
        for start in range(0, len(poses), _POSES_AT_ONCE):
            some = slice(start, start + _POSES_AT_ONCE)
            found[some] = self._are_missing(poses[some])
        return found

    def _are_missing(self, poses: Poses) -> NDArray[np.bool_]:
        """See `missing`: first by a few places around each pose, then by more where none is right.

        So a crowd of places costs little where one of the first is right.
        """
        starts, ends = self._stretches(poses[:, :2])
        is_missing = np.ones(len(poses), dtype=bool)
        rows, look = np.flatnonzero((starts < ends).any(axis=1)), _FIRST_LOOK
        while len(rows):
            look = min(look, max(_PAIRS_AT_ONCE // (3 * len(rows)), 1))
            upto = np.minimum(starts[rows] + look, ends[rows])
            counts = np.maximum(upto - starts[rows], 0).sum(axis=1)
            near = self._order[stretches(starts[rows].ravel(), upto.ravel())]
            asked = np.repeat(rows, counts)
            right = self._tolerance.accepts(self._places[near], poses[asked])
            is_missing[asked[right]] = False
            starts[rows] = np.maximum(upto, starts[rows])
            rows = rows[is_missing[rows] & (starts[rows] < ends[rows]).any(axis=1)]
            look *= 2
        return is_missing

    def _near(self, position: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of the places in the nine cells around a position [2]."""
        starts, ends = self._stretches(position[None])
        return np.asarray(self._order[stretches(starts[0], ends[0])])

    def _stretches(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the places of the three columns of cells around positions [Q, 2] are in the order.

        Starts and ends [Q, 3]; empty ones where a position is not finite or far off the map.
        """
        cells = np.floor((positions - self._low) / self._cell_m)  # [Q, 2]
        with np.errstate(invalid='ignore'):
            off = ~(np.abs(cells) <= 2 * _MOST_CELLS).all(axis=1)
        cells[off] = 0
        columns = cells[:, :1] + np.array([-1.0, 0.0, 1.0])  # [Q, 3]
        first = self._number(np.stack([columns, np.repeat(cells[:, 1:] - 1, 3, axis=1)], axis=2))
        starts = np.searchsorted(self._numbers, first)
        ends = np.searchsorted(self._numbers, first + 2, side='right')
        ends[off] = starts[off]
        return starts, ends

    @staticmethod
    def _number(cells: NDArray[np.float64]) -> NDArray[np.int64]:
        """One number for each cell [..., 2], in which the cells of a column follow each other."""
        whole = cells.astype(np.int64)
        return np.asarray(whole[..., 0] * (8 * _MOST_CELLS) + whole[..., 1])
