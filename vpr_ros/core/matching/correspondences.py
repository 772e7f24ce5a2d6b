"""Which cells of two images show the same: mutual nearest neighbours by Hamming distance.

A cell and the nearest one of the other image correspond where each is the other's nearest. faiss
compares all cells of two images in some ten microseconds and wakes no other thread.
"""

from dataclasses import dataclass
from typing import TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.types import CellBits

Rows: TypeAlias = NDArray[np.int64]

_WORD_BYTES = 8  # what faiss compares at once


@dataclass(frozen=True, slots=True)
class Correspondences:
    """Of one query with K candidates, M in all."""

    candidate: Rows  # [M], which of the candidates
    query_cell: Rows  # [M], row of the query's cells
    place_cell: Rows  # [M], row of the candidate's cells
    similarity: NDArray[np.float32]  # [M], cosine of the bits: 1 for the same, 0 for unrelated


def correspondences(query: CellBits, places: CellBits) -> Correspondences:
    """Those of a query [n, C / 8] with each of the candidates [K, n, C / 8]."""
    numbers = 8 * query.shape[-1]
    query, places = _in_words(query), _in_words(places)
    cells, size = query.shape
    every = np.arange(cells)
    apart = np.empty((cells, cells), dtype=np.int32)  # Hamming distances, candidate by candidate
    found: list[tuple[Rows, Rows, NDArray[np.int32]]] = []
    for place in places:
        faiss.hammings(  # type: ignore[attr-defined]
            faiss.swig_ptr(query),
            faiss.swig_ptr(place),
            cells,
            cells,
            size,
            faiss.swig_ptr(apart),
        )
        nearest = apart.argmin(axis=1)
        distance = apart[every, nearest]
        mutual = np.flatnonzero(distance == apart.min(axis=0)[nearest])
        found.append((mutual, nearest[mutual], distance[mutual]))
    counts = [len(one) for one, _, _ in found]
    distances = np.concatenate([one for _, _, one in found]) if found else np.empty(0, np.int32)
    return Correspondences(
        np.repeat(np.arange(len(found)), counts),
        np.concatenate([one for one, _, _ in found]) if found else np.empty(0, np.int64),
        np.concatenate([one for _, one, _ in found]) if found else np.empty(0, np.int64),
        1 - distances.astype(np.float32) / np.float32(numbers / 2),
    )


def _in_words(bits: CellBits) -> CellBits:
    """Bits [..., n, C / 8] as faiss wants them: whole words of 8 bytes, one after another."""
    missing = -bits.shape[-1] % _WORD_BYTES
    if missing:
        bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, missing)])
    return np.ascontiguousarray(bits)
