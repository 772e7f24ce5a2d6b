"""How a change of a map affects its recall: the same queries before and after.

The queries are the images of a drive, or the map's own places, each against all others (leave one
out), where no second drive exists. The latter flatters a map, because an image's neighbours come
from the same drive; the difference between two maps is what it is for.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.recall import Recall
from vpr_ros.drives.posed_images import PosedImages
from vpr_ros.evaluating.recall import CellsOfPlaces, recall_of
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care.check import sampled

MOST_QUERIES = 2_000  # of a map's own places
_SIDES: tuple[Literal['left', 'right'], ...] = ('left', 'right')


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries to a map before and after a change."""

    images: PosedImages
    own: bool = False  # places of the map itself: each is kept from finding itself


def own_places(place_map: PlaceMap) -> Queries:
    """A map's places as queries, evenly thinned to a few thousand."""
    rows = sampled(len(place_map), MOST_QUERIES)
    images = PosedImages(
        place_map.descriptors_of(rows),
        place_map.base_poses(rows),
        place_map.stamps_ns[rows],
        place_map.cells_of(rows) if place_map.has_cells else None,
    )
    return Queries(images, own=True)


def map_recall(queries: Queries, place_map: PlaceMap, tolerance: Tolerance) -> Recall:
    """Recall@N of queries against a map."""
    return recall_of(
        queries.images,
        place_map.index,
        place_map.base_poses(),
        tolerance,
        itself=_themselves(queries.images, place_map) if queries.own else None,
        cells=cells_of_places(place_map),
    )


def cells_of_places(place_map: PlaceMap) -> CellsOfPlaces | None:
    """What matches queries with a map's places; None of a map without cells."""
    size = place_map.cells_size
    return None if size is None else CellsOfPlaces(place_map.cells_of, size[:2])


def _themselves(images: PosedImages, place_map: PlaceMap) -> list[NDArray[np.int64]]:
    """Rows of the places that each image is, as far as the map holds it; rising."""
    found = []
    order = np.argsort(place_map.stamps_ns, kind='stable')
    stamps_ns = place_map.stamps_ns[order]
    starts, ends = (np.searchsorted(stamps_ns, images.stamps_ns, side) for side in _SIDES)
    for descriptor, start, end in zip(images.descriptors, starts, ends):
        rows = order[start:end]
        same = (place_map.descriptors_of(rows) == descriptor).all(axis=1)
        found.append(np.asarray(rows[same]))
    return found
