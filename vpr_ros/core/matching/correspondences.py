"""Which cells of two images show the same: mutual nearest neighbours by Hamming distance.

A cell and the nearest one of the other image correspond where each is the other's nearest. Sky and
road have a near cell in every image and tell nothing: a cell counts by how much nearer it finds
one in this candidate than in the candidates on average. faiss compares all cells of two images in
some ten microseconds and wakes no other thread.
"""

from dataclasses import dataclass
from math import gcd

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.matching.bits import in_words
from vpr_ros.core.types import CellBits, Rows

_FOLD = 8  # rows of distances that lie side by side where their least is taken


@dataclass(frozen=True, slots=True)
class Correspondences:
    """Corresponding cells of one query and K candidates: M in all that carry information."""

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
    starts = np.arange(cells) * cells  # of the rows of `apart`
    apart = np.empty((cells, cells), dtype=np.int32)  # Hamming distances, candidate by candidate
    nearest = np.empty((len(places), cells), dtype=np.int64)  # the place's, to each of the query's
    distance = np.empty((len(places), cells), dtype=np.int32)
    # From each of the place's cells: numpy takes the least of few long rows sooner than of many.
    fold = gcd(cells, _FOLD)
    least = np.empty((len(places), fold * cells), dtype=np.int32)
    folded = apart.reshape(cells // fold, fold * cells)
    ours, theirs = faiss.swig_ptr(query), [faiss.swig_ptr(place) for place in places]
    between = faiss.swig_ptr(apart)
    for row, place in enumerate(theirs):
        faiss.hammings(ours, place, cells, cells, size, between)  # type: ignore[attr-defined]
        apart.argmin(axis=1, out=nearest[row])
        apart.take(starts + nearest[row], out=distance[row], mode='clip')
        folded.min(axis=0, out=least[row])
    least = least.reshape(len(places), fold, cells).min(axis=1)
    mutual = distance == least.take(nearest + np.arange(len(places))[:, None] * cells)
    usual = distance.mean(axis=0, dtype=np.float32) if len(places) else np.float32(0)
    telling = (usual - distance) / np.float32(numbers / 2)
    found = np.flatnonzero(mutual & (telling > 0))
    candidate = found // cells  # numpy has no quick divmod
    query_cell = found - candidate * cells
    return Correspondences(candidate, query_cell, nearest.take(found), telling.take(found))
