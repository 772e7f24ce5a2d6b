"""Query and map -> the places that may match.

Descriptors are unit vectors, so similarity is their dot product, between -1 and 1. One image alone
may show the places that are most similar to it. In the light of another hour or season, these are
few and always the same. So a judge of drives names the places instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.query import Prior, Query
from vpr_ros.core.mapping.index import best_of
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses, Rows

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
        """Number of candidates, K."""
        return len(self.place_index)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The places of the map that a query may show."""

    similar: Candidates  # by similarity, and by cells where those were matched
    row: Similarity | None = None  # [N], of every place; None where they were not compared
    likely: Rows | None = None  # all places [L] that were named, best first; None: none were
    inside: Rows | None = None  # places inside the query's prior, ascending


Named: TypeAlias = Callable[[Similarity | None, Rows | None, int], Rows]
"""Names places, best first: at least so many as the third argument says, if there are so many.

The first two are `row` and `inside`, as Retrieved has them.
"""


def retrieve(
    query: Query,
    place_map: PlaceMap,
    *,
    count: int,
    poses_of: Callable[[NDArray[np.int64]], Poses] | None = None,
    every_place: bool = False,
    named: Named | None = None,
) -> Retrieved:
    """The `count` places most similar to a query, or the first named ones, by similarity.

    With a prior, only places inside it. poses_of: gives map_T_base [K, 7] of places [K]; None
    takes the mapping camera's mounting. every_place: compare the query with all places.
    """
    index = place_map.index
    row = index.similarities(query.descriptor) if every_place else None  # [N]
    inside = None if query.prior is None else places_inside(query.prior, place_map)
    likely = None if named is None else named(row, inside, count)
    if likely is not None:
        places = likely[:count]
        similarity = (
            index.similarities_of(places, query.descriptor) if row is None else row[places]
        )
        similarity, order = best_of(similarity, count)
        places = places[order]
    elif inside is not None:
        similarity, places = index.search_among(inside, query.descriptor, count)
    else:
        found = index.search(query.descriptor[None], count)
        similarity, places = found[0][0], found[1][0]
    poses = (poses_of or place_map.base_poses)(places)
    return Retrieved(Candidates(places, similarity, poses), row, likely, inside)


def places_inside(prior: Prior, place_map: PlaceMap) -> NDArray[np.int64]:
    """The places inside a prior, ascending, found without comparing all places."""
    near = place_map.positions.near(prior.centre_m, prior.radius_m)
    return near[prior.allows(place_map.poses[near, :3])]
