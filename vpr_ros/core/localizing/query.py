"""A query: one described image, and what is known of the robot before the search."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.localizing.outcome import Reason
from vpr_ros.core.types import CellBits, Descriptors, Image


@dataclass(frozen=True, slots=True)
class Prior:
    """Where the robot must be, if something else already knows: a cylinder in the map frame."""

    centre_m: NDArray[np.float64]  # [3]
    radius_m: float  # horizontal
    height_m: float | None = None  # half of the cylinder's height; None: z is not known
    on_map: bool = True  # the robot is at a place inside; else it may be off the map, too
    excluding: Reason = Reason.OUTSIDE_INITIAL_POSE  # why there is no fix where no place is inside

    def allows(self, positions_m: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which positions [N, 3] lie inside, [N]."""
        apart_m = positions_m - self.centre_m
        inside = np.hypot(apart_m[:, 0], apart_m[:, 1]) <= self.radius_m
        if self.height_m is not None:
            inside &= np.abs(apart_m[:, 2]) <= self.height_m
        return np.asarray(inside)


@dataclass(frozen=True, slots=True)
class Query:
    """One described image, and what else is known when it is localized."""

    descriptor: Descriptors  # [D]
    stamp_ns: int
    cells: CellBits | None = None  # [h * w, C / 8]; None of a map or a model without cells
    seen_by: Camera | None = None  # whose view was described; None: as its own camera saw it
    camera: int = 0  # number of the robot's camera that took it
    shows_something: bool = True  # False: too dark or too flat to tell a place
    image: Image | None = None  # [H, W, 3] in full size, for landmarks; None: do without them
    prior: Prior | None = None  # only places inside it
    travelled_m: float | None = None  # since the last image, by odometry; None: not known
