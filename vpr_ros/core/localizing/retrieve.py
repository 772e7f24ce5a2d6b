"""Query and map -> the places that may match.

Descriptors are unit vectors, so similarity is their dot product, between -1 and 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.query import Query
from vpr_ros.core.mapping.index import best_of
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses

Similarity = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Places that may match one query, best first: by their images, or by a judge's weight."""

    place_index: NDArray[np.int64]  # [K]
    similarity: Similarity  # [K], in [-1, 1]; non-increasing where ranked by it alone
    map_T_base: Poses  # [K, 7], where this robot would be at each
    weight: NDArray[np.float32] | None = None  # [K], of the judge, non-increasing; sums to <= 1
    match: NDArray[np.float32] | None = None  # [K], of cells, in [0, 1]; NaN where not matched

    def __len__(self) -> int:
        """K."""
        return len(self.place_index)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What the map holds that is like a query."""

    similar: Candidates  # by similarity, and by cells where those were matched
    row: Similarity | None  # [N], of every place; None where only the best were looked for


def retrieve(
    query: Query,
    place_map: PlaceMap,
    *,
    count: int,
    poses_of: Callable[[NDArray[np.int64]], Poses] | None = None,
    every_place: bool = False,
) -> Retrieved:
    """The `count` places most similar to a query; with a prior, only those inside it.

    poses_of: gives map_T_base [K, 7] of places [K]; None takes the mapping camera's mounting.
    every_place: compare the query with all places, which a judge of whole drives needs.
    """
    row = place_map.index.similarities(query.descriptor) if every_place else None  # [N]
    similarity, places = _best(query, place_map, count, row)
    poses = (poses_of or place_map.base_poses)(places)
    return Retrieved(Candidates(places, similarity, poses), row)


def _best(
    query: Query, place_map: PlaceMap, count: int, row: Similarity | None
) -> tuple[Similarity, NDArray[np.int64]]:
    """Similarity [K] and row [K] of the best places, from the row [N] where it is there."""
    if query.prior is None:
        if row is not None:
            return best_of(row, count)
        similarity, places = place_map.index.search(query.descriptor[None], count)
        return similarity[0], places[0]
    inside = np.flatnonzero(query.prior.allows(place_map.poses[:, :3]))
    if row is None:
        found = place_map.index.similarities_of(inside, query.descriptor)
    else:
        found = row[inside]
    similarity, chosen = best_of(found, count)
    return similarity, inside[chosen]
