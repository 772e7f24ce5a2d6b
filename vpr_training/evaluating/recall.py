"""Recall@N of a model on a set, by exact search over descriptors that are kept on disk.

Nothing here needs torch: validation during training, `evaluate` and its page share it.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.describing.model import ModelCard
from vpr_ros.core.describing.precision import Precision
from vpr_ros.core.mapping.index import ExactIndex
from vpr_ros.core.recall import Recall, first_hit_rank, recall_of_ranks
from vpr_ros.core.types import Descriptors
from vpr_training.data.conditions import by_condition
from vpr_training.data.recall_set import RecallSet, Rows
from vpr_training.evaluating.descriptor_store import DescriptorFile, described_files

RECALL_NS = (1, 5, 10, 15, 20, 25)
_BLOCK = 256  # queries whose similarities to the database are held at once, in a sequence


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model made of a set."""

    card: ModelCard
    precision: Precision
    recall: Recall
    matchable: Recall  # of the queries that have a true match
    conditions: dict[str, Recall]  # by what names tell; empty where they tell nothing
    ranked: NDArray[np.int64] = field(repr=False)  # [Q, K] database rows, best first, -1: no more
    first_hit: NDArray[np.int64] = field(repr=False)  # [Q], see first_hit_rank
    database: DescriptorFile
    queries: DescriptorFile | None  # None: rows of the database, in a sequence

    def query_descriptors(self, images: RecallSet) -> Descriptors:
        """Of all queries, [Q, D]."""
        if self.queries is not None:
            return self.queries.array()
        assert images.earlier_than is not None
        return self.database.array()[images.earlier_than]


def measure(describer: Describer, images: RecallSet, *, ns: Sequence[int] = RECALL_NS) -> Recall:
    """Recall@N of a model on a set, by exact search; ImageError names an unreadable image."""
    with tempfile.TemporaryDirectory(prefix='evaluate-') as folder:
        return examine(describer, images, Path(folder), ns=ns).recall


def examine(
    describer: Describer, images: RecallSet, store: Path, *, ns: Sequence[int] = RECALL_NS
) -> Measured:
    """All figures of a model on a set; descriptors are kept in, and taken from, `store`.

    Raises ImageError naming an unreadable image, TrainingError where the store cannot be written.
    """
    database = described_files(describer, images.database, store, label='database')
    if images.earlier_than is None:
        queries = described_files(describer, images.queries, store, label='queries')
        ranked = rank_blocks(database.blocks(), queries.array(), max(ns))
    else:
        queries = None
        frames = database.array()
        ranked = rank_earlier(frames, frames[images.earlier_than], images.earlier_than, max(ns))
    first_hit = first_hit_rank(ranked, images.positives)
    unmatchable = np.array([len(rows) == 0 for rows in images.positives], dtype=bool)

    def recall_of(rows: NDArray[Any]) -> Recall:
        return recall_of_ranks(first_hit[rows], unmatchable[rows], ns)

    return Measured(
        card=describer.model.card,
        precision=describer.model.precision,
        recall=recall_of(np.arange(len(first_hit))),
        matchable=recall_of(~unmatchable),
        conditions={name: recall_of(rows) for name, rows in by_condition(images.queries).items()},
        ranked=ranked,
        first_hit=first_hit,
        database=database,
        queries=queries,
    )


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
