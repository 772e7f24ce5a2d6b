"""Find the rows of a map that are most like a query.

Descriptors are unit vectors, so a dot product is a cosine similarity and exact search is one pass
over memory-mapped rows; nothing is copied. A single query is bound by memory bandwidth: one thread
reads, and several where there is much. Many queries at once are bound by arithmetic, where faiss's
blocked search also avoids the [Q, N] matrix. Large parts are scanned by compact codes (codes.py),
and only what these find is compared.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.codes import COMPARED, CodedRows
from vpr_ros.core.mapping.halves import as_floats
from vpr_ros.core.mapping.products import products
from vpr_ros.core.types import Descriptors

_THREAD_READS = 16_000_000  # numbers of descriptors, which pay for waking a thread


class ExactIndex:
    """Exact cosine search over one or more blocks of descriptors."""

    def __init__(self, blocks: Sequence[Descriptors]) -> None:
        """blocks: [n, D] each, float32 or half, rows numbered through all of them in order."""
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

    @property
    def size(self) -> int:
        """Numbers of a descriptor, D; 0 without rows."""
        return self._blocks[0].shape[1] if self._blocks else 0

    def similarities_of(self, rows: NDArray[np.int64], query: Descriptors) -> NDArray[np.float32]:
        """Cosine similarity [K] of one query [D] to some rows [K]."""
        found = np.empty(len(rows), dtype=np.float32)
        for number, inside, chosen in self._by_block(rows):
            found[inside] = products(self._rows_of(number, chosen), query)
        return found

    def similar_about(self, rows: NDArray[np.int64], query: Descriptors) -> NDArray[np.float32]:
        """Like similarities_of, from what is read fastest: exact to some thousandths if coded.

        The query may have any length, and the error has the same.
        """
        return self.similarities_of(rows, query)

    def rows(self, rows: NDArray[np.int64]) -> Descriptors:
        """Descriptors [K, D] of some rows [K], copied."""
        found = np.empty((len(rows), self.size), dtype=np.float32)
        for number, inside, chosen in self._by_block(rows):
            found[inside] = self._rows_of(number, chosen)
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
            similarity, rows = self._best(queries[0], k)
            return similarity[None], rows[None]
        found = [self._search_block(number, queries, k) for number in range(len(self._blocks))]
        similarity = np.concatenate([similarity for similarity, _ in found], axis=1)
        rows = np.concatenate([rows for _, rows in found], axis=1)
        order = np.argsort(-similarity, axis=1, kind='stable')[:, :k]
        return np.take_along_axis(similarity, order, 1), np.take_along_axis(rows, order, 1)

    def search_beside(
        self, query: Descriptors, k: int, beside: Descriptors, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Search for two vectors at once: `search` for a query [D], and rows for another [D].

        Gives similarity [K] and row [K] of the query's best, best first, and the rows, at most
        `count` and in no order, that have the largest products with `beside`.
        """
        return *self._best(query, k), self._best(beside, count)[1]

    def search_among(
        self, rows: NDArray[np.int64], query: Descriptors, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Similarity [K] and row [K] of the most similar of some rows [R], best first."""
        best, chosen = best_of(self.similarities_of(rows, query), k)
        return best, rows[chosen]

    def _best(self, query: Descriptors, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return best_of(self.similarities(query), k)

    def _by_block(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.int64] | slice, NDArray[np.int64]]]:
        """Number of each block that some rows [K] are in, which of them, and their rows there."""
        if len(self._blocks) == 1:
            yield 0, slice(None), rows
            return
        numbers = np.searchsorted(self._starts, rows, side='right') - 1
        for number in np.unique(numbers).tolist():
            inside = np.flatnonzero(numbers == number)
            yield number, inside, rows[inside] - self._starts[number]

    def _rows_of(self, number: int, rows: NDArray[np.int64]) -> Descriptors:
        """Rows [K, D] of a block."""
        return as_floats(self._blocks[number][rows])

    def _search_block(
        self, number: int, queries: Descriptors, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        block = self._blocks[number]
        similarity, rows = faiss.knn(
            np.ascontiguousarray(queries),
            as_floats(block),
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

    def similar_about(self, rows: NDArray[np.int64], query: Descriptors) -> NDArray[np.float32]:
        """As ExactIndex.similar_about, by the bytes of a coded block."""
        found = np.empty(len(rows), dtype=np.float32)
        for number, inside, chosen in self._by_block(rows):
            coded = self._codes[number]
            found[inside] = (
                products(self._rows_of(number, chosen), query)
                if coded is None
                else coded.near(chosen, query)
            )
        return found

    def search(
        self, queries: Descriptors, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As ExactIndex.search."""
        k = min(k, len(self))
        found = [self._best(query, k) for query in queries]
        return (
            np.array([similarity for similarity, _ in found], np.float32).reshape(-1, k),
            np.array([rows for _, rows in found], np.int64).reshape(-1, k),
        )

    def search_beside(
        self, query: Descriptors, k: int, beside: Descriptors, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """As ExactIndex.search_beside, with one scan for both."""
        k, count = min(k, len(self)), min(count, len(self))
        found, others = [], []
        for number, start in enumerate(self._starts[:-1].tolist()):
            best, other = self._best_of_block(number, query, k, beside, count)
            found.append((best[0], best[1] + start))
            others.append((other[0], other[1] + start))
        similarity, rows = _joined(found, k)
        return similarity, rows, _joined(others, count)[1]

    def search_among(
        self, rows: NDArray[np.int64], query: Descriptors, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As ExactIndex.search_among; reads whole only what is near by its bytes."""
        if len(rows) > k + COMPARED:
            rows = np.sort(rows[best_of(self.similar_about(rows, query), k + COMPARED)[1]])
        return super().search_among(rows, query, k)

    def _best(self, query: Descriptors, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        found = []
        for number, start in enumerate(self._starts[:-1].tolist()):
            best, inside = self._best_of_block(number, query, k)[0]
            found.append((best, inside + start))
        return _joined(found, k)

    def _best_of_block(
        self,
        number: int,
        query: Descriptors,
        k: int,
        beside: Descriptors | None = None,
        count: int = 0,
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Value and row of a block's best for a query, and for `beside` where that is given."""
        block, coded = self._blocks[number], self._codes[number]
        asked = [(query, k), *([] if beside is None else [(beside, count)])]
        if coded is not None:
            found = coded.search(asked)
            if all(len(rows) >= min(k, len(block)) for (_, rows), (_, k) in zip(found, asked)):
                return found  # else codes hide rows
        return [best_of(products(block, vector), k) for vector, k in asked]

    def _rows_of(self, number: int, rows: NDArray[np.int64]) -> Descriptors:
        coded = self._codes[number]
        return super()._rows_of(number, rows) if coded is None else coded.read(rows)


def _joined(
    found: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best of several blocks' best, best first."""
    best, chosen = best_of(np.concatenate([values for values, _ in found]), k)
    return best, np.concatenate([rows for _, rows in found])[chosen]


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
