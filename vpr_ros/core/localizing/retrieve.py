"""Query and map -> the places that may match.

Descriptors are unit vectors, so similarity is their dot product, between -1 and 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.index import best_of
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Descriptors


@dataclass(frozen=True, slots=True)
class Candidates:
    """Places that may match one query, best first: by similarity, or by a belief's weight."""

    place_index: NDArray[np.int64]  # [K]
    similarity: NDArray[np.float32]  # [K], in [-1, 1]; non-increasing where ranked by it
    weight: NDArray[np.float32] | None = None  # [K], of a belief, non-increasing

    def __len__(self) -> int:
        """K."""
        return len(self.place_index)


@dataclass(frozen=True, slots=True)
class Prior:
    """Where the robot must be, if something else already knows: a ball in the map frame."""

    centre_m: NDArray[np.float64]  # [3]
    radius_m: float
    on_map: bool = True  # it is at one of the places inside; else it may be off the map, too


def retrieve(
    descriptor: Descriptors, place_map: PlaceMap, *, count: int, prior: Prior | None = None
) -> Candidates:
    """The `count` places most similar to a descriptor [D]; with a prior, only those inside it."""
    if prior is None:
        similarity, place_index = place_map.index.search(descriptor[None], count)
        return Candidates(place_index[0], similarity[0])
    inside = np.flatnonzero(inside_prior(place_map, prior))
    best, rows = best_of(place_map.index.similarities_of(inside, descriptor), count)
    return Candidates(inside[rows], best)


def most_similar(
    similarity: NDArray[np.float32], place_map: PlaceMap, *, count: int, prior: Prior | None = None
) -> Candidates:
    """The same from the similarity of every place, [N]."""
    if prior is None:
        best, rows = best_of(similarity, count)
        return Candidates(rows, best)
    inside = np.flatnonzero(inside_prior(place_map, prior))
    best, rows = best_of(similarity[inside], count)
    return Candidates(inside[rows], best)


def inside_prior(place_map: PlaceMap, prior: Prior) -> NDArray[np.bool_]:
    """Which places [N] a prior allows."""
    distance_m = np.linalg.norm(place_map.poses[:, :3] - prior.centre_m, axis=1)
    return np.asarray(distance_m <= prior.radius_m)
