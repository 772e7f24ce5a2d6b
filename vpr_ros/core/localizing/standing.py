"""The weights of a belief by place, so that a belief on another map can continue from them.

What the images of the drive have in common is not part of it. It was learned for the places of
the old map alone, and new places would be held against another background than the others. So each
camera begins to learn it anew, while the weights hold what is known.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.types import Rows

Array: TypeAlias = NDArray[np.float32]

_MAY_BE_NEW = 0.5  # share of the weight elsewhere that places get which are new, as at a start


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Weights of a belief between two frames."""

    weight: Array  # [N], of places
    elsewhere: float  # weight off the map
    speeds: Array  # [V], the share of each speed
    stamp_ns: int | None = None  # of the last frame
    held_m: float = 0.0  # travelled since the last image that was new

    def share_kept(self, rows: Rows) -> float:
        """Share of the weight on this map whose places another one has; rows: [N], as for `on`."""
        total = float(self.weight.sum())
        return float(self.weight[rows[rows >= 0]].sum()) / total if total > 0 else 1.0

    def on(self, rows: Rows) -> 'Standing':
        """The same on a map of which rows [N] tell each place's row here; -1 for a new one.

        A place that both maps have keeps its weight. That of places that are gone is elsewhere.
        What is elsewhere may be at a place that is new: half of it is shared by these. On a map
        without any of the places, that is what a belief knows at its start.
        """
        is_new = rows < 0
        weight = np.where(is_new, np.float32(0), self.weight[rows])
        elsewhere = max(1.0 - float(weight.sum()), 0.0)
        if is_new.any():
            weight[is_new] = _MAY_BE_NEW * elsewhere / is_new.sum()
            elsewhere *= 1 - _MAY_BE_NEW
        return Standing(
            weight=weight,
            elsewhere=elsewhere,
            speeds=self.speeds,
            stamp_ns=self.stamp_ns,
            held_m=self.held_m,
        )
