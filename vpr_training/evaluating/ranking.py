"""Exact search for the most similar images: in memory, in blocks, or among earlier frames."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.index import ExactIndex
from vpr_ros.core.types import Descriptors, Rows

_BLOCK = 256  # queries whose similarities to the database are held at once, in a sequence


def rank(
    database: Descriptors, queries: Descriptors, earlier_than: Rows | None, k: int
) -> NDArray[np.int64]:
    """The k most similar rows of a database [N, D] for each query [Q, D], by exact search: [Q, k].

    earlier_than: [Q], each query may only match database rows before this one; None: all.
    """
    if earlier_than is None:
        return ExactIndex([database]).search(queries, k)[1]
    return rank_earlier(database, queries, earlier_than, k)


def rank_blocks(blocks: Iterable[Descriptors], queries: Descriptors, k: int) -> NDArray[np.int64]:
    """The same for a database that comes in blocks [n, D], one of them in memory at a time."""
    best: NDArray[np.float32] = np.empty((len(queries), 0), dtype=np.float32)
    rows: NDArray[np.int64] = np.empty((len(queries), 0), dtype=np.int64)
    start = 0
    for block in blocks:
        similarity, found = ExactIndex([block]).search(queries, k)
        best = np.concatenate([best, similarity], axis=1)
        rows = np.concatenate([rows, found + start], axis=1)
        order = np.argsort(-best, axis=1, kind='stable')[:, :k]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
        start += len(block)
    return rows


def rank_earlier(
    frames: Descriptors, queries: Descriptors, earlier_than: Rows, k: int
) -> NDArray[np.int64]:
    """For queries [Q, D] the k most similar rows [Q, k] of a sequence [N, D] before row [Q].

    Best first, -1 where fewer are.
    """
    ranked = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(queries), _BLOCK):
        rows = earlier_than[start : start + _BLOCK]
        similarity = queries[start : start + _BLOCK] @ frames.T  # [b, N]
        for number, (row, values) in enumerate(zip(rows, similarity, strict=True), start=start):
            best = np.argsort(-values[:row], kind='stable')[:k]
            ranked[number, : len(best)] = best
    return ranked
