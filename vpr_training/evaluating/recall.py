"""Recall@N of a model on a set, by exact search over descriptors that are kept on disk.

Nothing here needs torch: validation during training, `evaluate` and its page share it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.describing.model import ModelCard
from vpr_ros.core.describing.precision import Precision
from vpr_ros.core.recall import Recall, first_hit_rank, recall_of_ranks
from vpr_ros.core.types import Descriptors
from vpr_training.data.conditions import by_condition
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.descriptor_store import DescriptorFile, described_files
from vpr_training.evaluating.ranking import rank_blocks, rank_earlier

RECALL_NS = (1, 5, 10, 15, 20, 25)


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


def examine(describer: Describer, images: RecallSet, store: Path) -> Measured:
    """All figures of a model on a set; descriptors are kept in, and taken from, `store`.

    Raises ImageError naming an unreadable image, TrainingError where the store cannot be written.
    """
    deepest = max(RECALL_NS)
    database = described_files(describer, images.database, store, label='database')
    if images.earlier_than is None:
        queries = described_files(describer, images.queries, store, label='queries')
        ranked = rank_blocks(database.blocks(), queries.array(), deepest)
    else:
        queries = None
        frames = database.array()
        asking = frames[images.earlier_than]
        ranked = rank_earlier(frames, asking, images.earlier_than, deepest)
    first_hit = first_hit_rank(ranked, images.positives)
    unmatchable = np.array([len(rows) == 0 for rows in images.positives], dtype=bool)

    def recall_of(rows: NDArray[Any]) -> Recall:
        return recall_of_ranks(first_hit[rows], unmatchable[rows], RECALL_NS)

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
