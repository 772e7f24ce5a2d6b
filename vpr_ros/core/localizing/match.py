"""Match a query's cells with those of its candidates, and rank these anew.

A descriptor is an average of the image: the right place is among the most similar ones, and often
not the first. Its cells tell which of them it is.
"""

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.confidence import UNRELATED
from vpr_ros.core.localizing.query import Query
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.matching.scores import match_scores
from vpr_ros.core.types import CellBits

Values: TypeAlias = NDArray[np.floating[Any]]

_LEAST_SIMILAR = 0.01  # keeps the order of matches where a similarity is not positive
LEAST_MATCH = 5e-5
_SLOPE, _OFFSET, _MOST = 1.8, -1.0, 3.0  # of a log likelihood, in nats
_WRONG_TOO = 0.4  # nats that wrong places stand out by, per nat that right ones match better


def matched(similar: Candidates, query: Query, place_map: PlaceMap) -> Candidates:
    """The same candidates as `rank_by` ranks them; as they are where there are no cells.

    A single one is left as it is: a match tells how far one stands out of others.
    """
    size = place_map.cells_size
    if query.cells is None or size is None or len(similar) < 2:
        return similar
    order, match = match_order(
        similar.similarity, query.cells, place_map.cells_of(similar.place_index), size[:2]
    )
    return replace(
        similar,
        place_index=similar.place_index[order],
        similarity=similar.similarity[order],
        map_T_base=similar.map_T_base[order],
        match=match[order],
    )


def match_order(
    similarity: NDArray[np.float32], query: CellBits, places: CellBits, grid: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Order [K] of candidates, best first, and the match of each [K].

    similarity: [K]; query: [h * w, C / 8]; places: [K, h * w, C / 8]; grid: (h, w).
    """
    match = match_scores(query, places, grid)
    return np.argsort(-rank_by(similarity, match), kind='stable'), match


def rank_by(similarity: Values, match: Values) -> Values:
    """What candidates are ranked by [K]; both [K]."""
    return np.asarray(np.maximum(similarity, _LEAST_SIMILAR) * match)


def log_likelihood(
    match: NDArray[np.float32], *, more_than_usual: float = 0.0
) -> NDArray[np.float32]:
    """How much likelier matches [K] are where the query was taken than elsewhere, in nats [K].

    A match counts by how far it stands out of the others: by dusk all of them are weak. It never
    counts against a place: where places are dense, most candidates are near the right one. It
    stands out of what unrelated images match, where the others match even less: see UNRELATED.

    more_than_usual: how much better right places match on this drive than on others, in nats. By
    day a wrong place stands out by as much as a right one does at night.
    """
    middle = max(float(np.median(match)), UNRELATED)
    stands_out = np.log(np.maximum(match, LEAST_MATCH) / middle)
    stands_out -= _WRONG_TOO * more_than_usual
    return np.asarray(np.clip(_SLOPE * stands_out + _OFFSET, 0, _MOST), dtype=np.float32)
