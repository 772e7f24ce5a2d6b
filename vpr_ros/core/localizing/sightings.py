"""Which landmarks of a place a query shows, and along which rays: by local features, or by cells.

Local features are found in the query's image and matched with those of the landmarks. Cells come
with the descriptor, so that they cost no second look at the image; each is seen within a third of
its width, in light by which local features are no longer found.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.landmarks.features import FeatureRays, Features, shares_of_image
from vpr_ros.core.landmarks.points import PIXEL_SIGMA, Landmarks
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.matching.subcell import seen_at
from vpr_ros.core.types import CellBits, Image

Rows = NDArray[np.int64]

_CELL_SIGMA = 0.3  # standard deviation of where a cell is seen, in cells


@dataclass(frozen=True, slots=True)
class Sightings:
    """Landmarks of one place that a query may show, M of them."""

    rays: NDArray[np.float64]  # [M, 2] on the plane z = 1, of the query's camera
    keypoint: Rows  # [M], which feature of the query; one may show several landmarks
    landmark: Rows  # [M], row of the place's landmarks


@dataclass(frozen=True, slots=True)
class SeenLandmarks:
    """Which landmarks of the best place an image shows at their expected positions."""

    place_index: int
    seen: NDArray[np.bool_]  # [L], by row of the place's landmarks


class Sighter(Protocol):
    """Finds the landmarks of places in one query."""

    focal_px: float
    """Focal length in pixels, of such a size that a ray deviates by PIXEL_SIGMA of them."""
    most_places: int
    """Places beyond which more of them say nothing new."""

    def sightings(self, place: int, landmarks: Landmarks) -> Sightings:
        """The landmarks of a place that the query may show."""
        ...


class ByFeatures:
    """Finds landmarks by local features of the query's image."""

    most_places = 100

    def __init__(self, features: Features, image: Image, camera: Camera) -> None:
        """camera: of images of this size."""
        found = features.extract(image)
        self._seen = FeatureRays(camera.normalized(found.points_px), found.descriptors)
        self._features = features
        self.focal_px = camera.focal_px

    def sightings(self, place: int, landmarks: Landmarks) -> Sightings:
        """See Sighter."""
        rows, columns = self._features.match(self._seen, landmarks.seen())
        return Sightings(self._seen.rays[rows], rows, columns)


class ByCells:
    """Finds landmarks by the cells in which the map's images show them."""

    most_places = 2  # with five, poses were as exact and took twice the time

    def __init__(self, place_map: PlaceMap, cells: CellBits, camera: Camera) -> None:
        """place_map: with cells; cells: [h * w, C / 8] of the query; camera: that took it."""
        size = place_map.cells_size
        if size is None:
            raise ValueError('landmarks by cells of a map without cells')
        self._map = place_map
        self._cells = cells
        self._camera = camera
        self._grid = size[:2]
        cell_px = np.array([camera.width_px, camera.height_px]) / self._grid[::-1]
        focal_px = np.array([camera.matrix[0], camera.matrix[4]])
        self.focal_px = PIXEL_SIGMA / (_CELL_SIGMA * float(np.mean(cell_px / focal_px)))

    def sightings(self, place: int, landmarks: Landmarks) -> Sightings:
        """See Sighter."""
        size = np.array(self._grid[::-1])  # (w, h)
        bits = self._map.cells_of(np.array([place]))[0]
        shown_at, query_cell, mutual = seen_at(bits, self._cells, self._grid)
        at = shares_of_image(landmarks.descriptors) * size - 0.5  # [L, 2] (column, row)
        whole = np.clip(np.rint(at), 0, size - 1).astype(np.int64)
        place_cell = whole[:, 1] * size[0] + whole[:, 0]  # [L]
        seen = np.flatnonzero(mutual[place_cell])
        cell = place_cell[seen]
        there = shown_at[cell] + at[seen] - whole[seen]  # as far from its cell's middle as here
        pixels = (there + 0.5) / size * [self._camera.width_px, self._camera.height_px] - 0.5
        return Sightings(self._camera.normalized(pixels), query_cell[cell], seen)
