"""Order the best candidates of each query anew by their cells, as the robot does. No torch."""

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.match import match_order
from vpr_ros.core.types import CellBits, Descriptors

BEST = LocalizerConfig().candidates
"""Candidates that are verified, where a model has cells and nobody says how many."""


def ranked_anew(
    ranked: NDArray[np.int64],
    *,
    database: Descriptors,
    queries: Descriptors,
    database_bits: CellBits,
    query_bits: CellBits,
    grid: tuple[int, int],
    best: int,
) -> NDArray[np.int64]:
    """Rows [Q, K] of a database with the first `best` of each query ordered by verification.

    ranked: by similarity, -1: no more. database, queries: descriptors [N, D] and [Q, D]; bits:
    cells [N, h * w, C / 8] and [Q, h * w, C / 8]; all may be memory-mapped.
    """
    found = ranked.copy()
    for number, row in enumerate(ranked[:, :best]):
        rows = row[row >= 0]
        similarity = database[rows] @ queries[number]
        places = np.asarray(database_bits[rows])
        order, _ = match_order(similarity, query_bits[number], places, grid)
        found[number, : len(rows)] = rows[order]
    return found
