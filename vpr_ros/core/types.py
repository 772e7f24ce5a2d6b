"""The array types that every stage shares, and the letters of their shapes.

B batch, C numbers of a cell, D descriptor size, H W image height and width, h w rows and columns
of cells, K candidates, N places, Q queries, T trajectory points.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]  # [H, W, 3] RGB
Descriptors: TypeAlias = NDArray[np.float32]  # [..., D], unit norm
Cells: TypeAlias = NDArray[np.float16]
"""[..., h, w, C], unit norm: local descriptors of an image on a regular grid, from top left."""
CellBits: TypeAlias = NDArray[np.uint8]
"""[..., h * w, C / 8]: the signs of cells, as maps keep them (matching/bits.py)."""
Poses: TypeAlias = NDArray[
    np.float64
]  # [..., 7]: x y z in metres, then the quaternion qx qy qz qw
Stamps: TypeAlias = NDArray[np.int64]  # [...], nanoseconds
Rows: TypeAlias = NDArray[np.int64]  # [...], numbers of rows: of places, cells, candidates


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera image and when it was taken."""

    image: Image  # [H, W, 3] RGB
    stamp_ns: int
    camera_frame: str = ''
    camera: int = 0  # number of the robot's camera


@dataclass(frozen=True, slots=True)
class Described:
    """What a model says of one image, in the form that maps keep it."""

    descriptor: Descriptors  # [D]
    cells: CellBits | None = None  # [h * w, C / 8]; None: not asked for, or the model has none


@dataclass(frozen=True, slots=True)
class Datum:
    """Where a map's origin lies on the Earth.

    All positions are metres east and north of it in its UTM zone.
    """

    utm_zone: int
    utm_letter: str
    east_m: float
    north_m: float
    altitude_m: float = 0.0
