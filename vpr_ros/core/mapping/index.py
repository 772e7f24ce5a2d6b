"""Find the rows of a map that are most like a query.

Descriptors are unit vectors, so a dot product is a cosine similarity and exact search is one pass
over memory-mapped rows; nothing is copied. A single query is bound by memory bandwidth: one thread
reads, and several where there is much. Many queries at once are bound by arithmetic, where faiss's
blocked search also avoids the [Q, N] matrix. Large parts are scanned by compact codes (codes.py),
and only what these find is compared.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.codes import CodedRows
from vpr_ros.core.mapping.products import products
from vpr_ros.core.types import Descriptors

_THREAD_READS = 16_000_000  # numbers of descriptors, which pay for waking a thread


class ExactIndex:
    """Exact cosine search over one or more blocks of descriptors."""

    def __init__(self, blocks: Sequence[Descriptors]) -> None:
        """blocks: float32 [n, D] each, rows numbered through all of them in order."""
        self._blocks = [block for block in blocks if len(block)]
        self._starts = np.cumsum([0, *(len(block) for block in self._blocks)])
        self._shares = [share for block in self._blocks for share in _shares(block)]
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, 'compare')

    def __len__(self) -> int:
        """Number of rows, N."""
        return int(self._starts[-1])

    def similarities(self, query: Descriptors) -> NDArray[np.float32]:
        """Cosine similarity [N] of one query [D] to every row."""
        if not self._blocks:
            return np.empty(0, dtype=np.float32)
        much = len(self) * len(query) > _THREAD_READS
        each = self._pool.map if much else map
        return np.concatenate(list(each(lambda rows: products(rows, query), self._shares)))

    def similarities_of(self, rows: NDArray[np.int64], query: Descriptors) -> NDArray[np.float32]:
        """Cosine similarity [K] of one query [D] to some rows [K]."""
        found = np.empty(len(rows), dtype=np.float32)
        for start, block in zip(self._starts, self._blocks):
            inside = (rows >= start) & (rows < start + len(block))
            found[inside] = products(block[rows[inside] - start], query)
        return found

    def mean(self) -> Descriptors:
        """Mean of all rows [D]; not of unit norm."""
        total = np.sum([block.sum(axis=0, dtype=np.float64) for block in self._blocks], axis=0)
        return np.asarray(total / len(self), dtype=np.float32)

    def search(
        self, queries: Descriptors, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Similarity [Q, K] and row [Q, K] of the rows most similar to queries [Q, D], best first.

        K = min(k, N).
        """
        k = min(k, len(self))
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        if len(queries) == 1:
            similarity, rows = best_of(self.similarities(queries[0]), k)
            return similarity[None], rows[None]
        found = [self._search_block(number, queries, k) for number in range(len(self._blocks))]
        similarity = np.concatenate([similarity for similarity, _ in found], axis=1)
        rows = np.concatenate([rows for _, rows in found], axis=1)
        order = np.argsort(-similarity, axis=1, kind='stable')[:, :k]
        return np.take_along_axis(similarity, order, 1), np.take_along_axis(rows, order, 1)

    def _search_block(
        self, number: int, queries: Descriptors, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        block = self._blocks[number]
        similarity, rows = faiss.knn(
            np.ascontiguousarray(queries),
            block,
            min(k, len(block)),
            metric=faiss.METRIC_INNER_PRODUCT,
        )
        return similarity, rows + self._starts[number]


class CodedIndex(ExactIndex):
    """Search that scans codes where a block has them; similarities are exact all the same.

    The most similar row may be missed; `benchmarks/index.py` measures how seldom.
    """

    def __init__(self, blocks: Sequence[Descriptors], codes: Sequence[CodedRows | None]) -> None:
        """blocks: as in ExactIndex; codes: of each block, None where it is scanned exactly."""
        super().__init__(blocks)
        self._codes = [coded for coded, block in zip(codes, blocks) if len(block)]

    def search(
        self, queries: Descriptors, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As ExactIndex.search."""
        k = min(k, len(self))
        found = [self._search_one(query, k) for query in queries]
        return (
            np.array([similarity for similarity, _ in found], np.float32).reshape(-1, k),
            np.array([rows for _, rows in found], np.int64).reshape(-1, k),
        )

    def _search_one(
        self, query: Descriptors, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        similarities, rows = [], []
        for start, block, coded in zip(self._starts, self._blocks, self._codes):
            found = None if coded is None else coded.search(query, k)
            if found is None or len(found[1]) < min(k, len(block)):  # codes may hide rows
                found = best_of(products(block, query), k)
            best, inside = found
            similarities.append(best)
            rows.append(inside + start)
        best, chosen = best_of(np.concatenate(similarities), k)
        return best, np.concatenate(rows)[chosen]


def _shares(block: Descriptors) -> list[Descriptors]:
    """A block in parts, each for one thread."""
    step = max(_THREAD_READS // block.shape[1], 1)
    return [block[start : start + step] for start in range(0, len(block), step)]


def best_of(
    similarity: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k largest of similarity [N] and their rows, best first; equal ones in row order."""
    k = min(k, len(similarity))
    if k == 0:
        return np.empty(0, np.float32), np.empty(0, np.int64)
    rows = np.sort(np.argpartition(-similarity, k - 1)[:k])
    rows = rows[np.argsort(-similarity[rows], kind='stable')]
    return similarity[rows], rows.astype(np.int64)
