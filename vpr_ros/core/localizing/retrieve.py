"""Query and map -> the places that may match.

Descriptors are unit vectors, so similarity is their dot product, between -1 and 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.query import Prior, Query
from vpr_ros.core.mapping.index import best_of
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Descriptors, Poses

Similarity = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Places that may match one query, best first: by their images, or by a judge's weight."""

    place_index: NDArray[np.int64]  # [K]
    similarity: Similarity  # [K], in [-1, 1]; non-increasing where ranked by it alone
    map_T_base: Poses  # [K, 7], where this robot would be at each
    weight: NDArray[np.float32] | None = None  # [K], of the judge, non-increasing; sums to <= 1
    match: NDArray[np.float32] | None = None  # [K], of cells, in [0, 1]; None: not matched

    def __len__(self) -> int:
        """Number of candidates, K."""
        return len(self.place_index)


@dataclass(frozen=True, slots=True)
class Sought:
    """Further places to look for, besides those that are similar to the query."""

    contrast: Descriptors  # [D], the query less what it shares with others of its drive
    count: int  # places most like that


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The places of the map that are similar to a query."""

    similar: Candidates  # by similarity, and by cells where those were matched
    row: Similarity | None = None  # [N], of every place; None where only the best were sought
    standing_out: NDArray[np.int64] | None = (
        None  # the places that were sought beside it, in no order
    )
    inside: NDArray[np.int64] | None = None  # places inside the query's prior, ascending

    @property
    def likely(self) -> NDArray[np.int64]:
        """All places that were found, some of them twice."""
        if self.standing_out is None:
            return self.similar.place_index
        return np.concatenate([self.similar.place_index, self.standing_out])


def retrieve(
    query: Query,
    place_map: PlaceMap,
    *,
    count: int,
    poses_of: Callable[[NDArray[np.int64]], Poses] | None = None,
    every_place: bool = False,
    sought: Sought | None = None,
) -> Retrieved:
    """The `count` places most similar to a query; with a prior, only those inside it.

    poses_of: gives map_T_base [K, 7] of places [K]; None takes the mapping camera's mounting.
    every_place: compare the query with all places; sought: find these, too. A judge of whole
    drives needs one or the other.
    """
    row = place_map.index.similarities(query.descriptor) if every_place else None  # [N]
    inside = None if query.prior is None else places_inside(query.prior, place_map)
    standing_out = None
    if row is not None:
        similarity, places = _best_of_row(row, inside, count)
    elif inside is not None:
        similarity, places = place_map.index.search_among(inside, query.descriptor, count)
        if sought is not None:
            standing = place_map.index.similar_about(inside, sought.contrast)
            standing_out = inside[best_of(standing, sought.count)[1]]
    elif sought is not None:
        similarity, places, standing_out = place_map.index.search_beside(
            query.descriptor, count, sought.contrast, sought.count
        )
    else:
        found = place_map.index.search(query.descriptor[None], count)
        similarity, places = found[0][0], found[1][0]
    poses = (poses_of or place_map.base_poses)(places)
    return Retrieved(Candidates(places, similarity, poses), row, standing_out, inside)


def _best_of_row(
    row: Similarity, inside: NDArray[np.int64] | None, count: int
) -> tuple[Similarity, NDArray[np.int64]]:
    """Similarity [K] and row [K] of the best places of a row [N]; inside: only some of them."""
    if inside is None:
        return best_of(row, count)
    similarity, chosen = best_of(row[inside], count)
    return similarity, inside[chosen]


def places_inside(prior: Prior, place_map: PlaceMap) -> NDArray[np.int64]:
    """The places inside a prior, ascending, found without comparing all places."""
    near = place_map.positions.near(prior.centre_m, prior.radius_m)
    return near[prior.allows(place_map.poses[near, :3])]
