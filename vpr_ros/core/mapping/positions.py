"""Find the places around a spot without a look at every place.

Places are sorted into strips along y, and within a strip by y. A circle meets a few strips, and of
each one stretch.
"""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_STRIPS_SHARE = 4  # there are this many times fewer strips than places on a side of a square
_ROUNDING_M = 1e-6


class Positions:
    """Positions of N places, sorted once."""

    def __init__(self, positions_m: NDArray[np.float64]) -> None:
        """positions_m: [N, 3]; the height plays no part."""
        self._least = positions_m[:, :2].min(axis=0)
        x, y = (positions_m[:, :2] - self._least).T
        self._strips = max(int(len(x) ** 0.5) // _STRIPS_SHARE, 1)
        self._width_m = max(float(x.max()) / self._strips, 1e-3)
        self._span_m = float(y.max()) + 1.0  # keys of one strip end before those of the next
        keys = np.floor(x / self._width_m) * self._span_m + y
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def near(self, centre_m: NDArray[np.float64], radius_m: float) -> Rows:
        """Rows, ascending, of all places within a square of 2 `radius_m`, and of some beside it.

        centre_m: [2] or [3], in metres.
        """
        x, y = centre_m[:2] - self._least
        first, last = np.clip(
            np.floor([(x - radius_m) / self._width_m, (x + radius_m) / self._width_m]),
            [0, -1],
            self._strips,
        ).astype(np.int64)
        strips = np.arange(first, last + 1) * self._span_m
        low, high = max(y - radius_m, 0.0), min(y + radius_m, self._span_m - 0.5)
        if low > high:
            return np.empty(0, np.int64)
        starts = np.searchsorted(self._keys, strips + low - _ROUNDING_M, 'left')
        ends = np.searchsorted(self._keys, strips + high + _ROUNDING_M, 'right')
        return np.sort(self._order[stretches(starts, ends)])


def stretches(starts: Rows, ends: Rows) -> Rows:
    """The numbers from each start [K] to before its end [K], one stretch after another.

    A stretch whose end is not behind its start has none.
    """
    lengths = np.maximum(ends - starts, 0)
    total = np.cumsum(lengths)
    if not len(total):
        return np.empty(0, np.int64)
    return np.asarray(np.arange(total[-1]) + np.repeat(starts - (total - lengths), lengths))


def distinct(rows: Rows) -> Rows:
    """Each of some numbers [K] once, ascending: np.unique, without its cost on a few."""
    found = np.sort(rows)
    is_first = np.ones(len(found), np.bool_)
    np.not_equal(found[1:], found[:-1], out=is_first[1:])
    return np.asarray(found[is_first])
