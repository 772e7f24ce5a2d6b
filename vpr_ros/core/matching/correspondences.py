"""Which cells of two images show the same: mutual nearest neighbours by Hamming distance.

A cell and the nearest one of the other image correspond where each is the other's nearest. Sky and
road have a near cell in every image and tell nothing: a cell counts by how much nearer it finds
one in this candidate than in the candidates on average. faiss compares all cells of two images in
some ten microseconds and wakes no other thread.
"""

from dataclasses import dataclass
from typing import TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.matching.bits import in_words
from vpr_ros.core.types import CellBits

Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Correspondences:
    """Of one query with K candidates, M in all that tell something."""

    candidate: Rows  # [M], which of the candidates
    query_cell: Rows  # [M], row of the query's cells
    place_cell: Rows  # [M], row of the candidate's cells
    telling: NDArray[np.float32]  # [M], cosine of the bits beyond its mean over the candidates


def correspondences(query: CellBits, places: CellBits) -> Correspondences:
    """Those of a query [n, C / 8] with each of the candidates [K, n, C / 8].

    A single candidate has nothing to be compared with, and none of its cells tells anything.
    """
    numbers = 8 * query.shape[-1]
    query, places = in_words(query), in_words(places)
    cells, size = query.shape
    every = np.arange(cells)
    apart = np.empty((cells, cells), dtype=np.int32)  # Hamming distances, candidate by candidate
    nearest = np.empty((len(places), cells), dtype=np.int64)
    distance = np.empty((len(places), cells), dtype=np.int32)
    mutual = np.empty((len(places), cells), dtype=np.bool_)
    for row, place in enumerate(places):
        faiss.hammings(  # type: ignore[attr-defined]
            faiss.swig_ptr(query),
            faiss.swig_ptr(place),
            cells,
            cells,
            size,
            faiss.swig_ptr(apart),
        )
        nearest[row] = apart.argmin(axis=1)
        distance[row] = apart[every, nearest[row]]
        mutual[row] = distance[row] == apart.min(axis=0)[nearest[row]]
    usual = distance.mean(axis=0, dtype=np.float32) if len(places) else np.float32(0)
    telling = (usual - distance) / np.float32(numbers / 2)
    candidate, query_cell = np.nonzero(mutual & (telling > 0))
    return Correspondences(
        candidate,
        query_cell,
        nearest[candidate, query_cell],
        telling[candidate, query_cell],
    )
