"""Recall@N of a model on a set, by exact search over descriptors that are kept on disk.

Of a model with cells, the best candidates may be ordered anew by these (see `verifying`), and
recall is told both ways.

Nothing here needs torch: validation during training, `evaluate` and its page share it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.batch.workers import ALONE, Workers
from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.describing.model import ModelCard
from vpr_ros.core.describing.precision import Precision
from vpr_ros.core.intervals import BLOCK
from vpr_ros.core.plurals import counted
from vpr_ros.core.recall import Recall, first_hit_rank, recall_of_ranks
from vpr_ros.core.types import Descriptors
from vpr_training.basics.errors import TrainingError
from vpr_training.data.conditions import by_condition
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.descriptor_store import DescriptorFile, described_files
from vpr_training.evaluating.ranking import rank_blocks, rank_earlier
from vpr_training.evaluating.verifying import BEST, ranked_anew

RECALL_NS = (1, 5, 10, 15, 20, 25)


@dataclass(frozen=True, slots=True)
class Answers:
    """Ranked places of all queries, and how often they are right."""

    recall: Recall
    matchable: Recall  # of the queries that have a true match
    conditions: dict[str, Recall]  # by what names tell; empty where they tell nothing
    ranked: NDArray[np.int64] = field(repr=False)  # [Q, K] database rows, best first, -1: no more
    first_hit: NDArray[np.int64] = field(repr=False)  # [Q], see first_hit_rank

    @classmethod
    def of(cls, ranked: NDArray[np.int64], images: RecallSet) -> 'Answers':
        """The figures of a ranking [Q, K] of a set's queries.

        Intervals go by the order of the files, in which neighbours are often neighbours in place:
        their autocorrelation tells how far, see intervals.drive_interval.
        """
        first_hit = first_hit_rank(ranked, images.positives)
        unmatchable = np.array([len(rows) == 0 for rows in images.positives], dtype=bool)
        least = 1 if images.earlier_than is None else BLOCK  # a sequence is a drive

        def recall_of(rows: NDArray[Any]) -> Recall:
            return recall_of_ranks(first_hit[rows], unmatchable[rows], RECALL_NS, least=least)

        conditions = by_condition(images.queries).items()
        return cls(
            recall=recall_of(np.arange(len(first_hit))),
            matchable=recall_of(~unmatchable),
            conditions={name: recall_of(rows) for name, rows in conditions},
            ranked=ranked,
            first_hit=first_hit,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of one model on a set."""

    card: ModelCard
    precision: Precision
    answers: Answers  # by descriptors
    verified: Answers | None  # the best of these by their cells; None: not verified
    best: int  # how many of each query were verified
    database: DescriptorFile
    queries: DescriptorFile | None  # None: rows of the database, in a sequence

    @property
    def recall(self) -> Recall:
        """Recall by descriptors."""
        return self.answers.recall

    @property
    def matchable(self) -> Recall:
        """Recall by descriptors over the queries that have a true match."""
        return self.answers.matchable

    @property
    def conditions(self) -> dict[str, Recall]:
        """Recall by descriptors for each condition that names give."""
        return self.answers.conditions

    @property
    def ranked(self) -> NDArray[np.int64]:
        """Ranking by descriptors: database rows [Q, K], best first, -1 where there are no more."""
        return self.answers.ranked

    @property
    def first_hit(self) -> NDArray[np.int64]:
        """Rank of the first true match by descriptors, [Q]; see first_hit_rank."""
        return self.answers.first_hit

    def query_descriptors(self, images: RecallSet) -> Descriptors:
        """Descriptors of all queries, [Q, D]."""
        if self.queries is not None:
            return self.queries.array()
        assert images.earlier_than is not None
        return self.database.array()[images.earlier_than]


def examine(
    describer: Describer,
    images: RecallSet,
    store: Path,
    *,
    verify: int | None = 0,
    workers: Workers = ALONE,
) -> Measured:
    """All figures of a model on a set; descriptors are kept in, and taken from, `store`.

    verify: how many of each query's best are ordered anew by their cells, 0: none, None: as many
    as is usual where the model has cells. workers: who describes. Raises ImageError
    naming an unreadable image, TrainingError where the store cannot be written, or a model without
    cells is to verify.
    """
    card = describer.model.card
    if verify and card.cells is None:
        raise TrainingError(
            f'{card.name}: the model has no cells, so it cannot verify '
            f'{counted(verify, "candidate")}; add cells with python -m vpr_training.export --cells'
        )
    best = (BEST if card.cells else 0) if verify is None else verify
    deepest = max(*RECALL_NS, best)
    database = described_files(
        describer, images.database, store, label='database', workers=workers
    )
    if images.earlier_than is None:
        queries = described_files(
            describer, images.queries, store, label='queries', workers=workers
        )
        ranked = rank_blocks(database.blocks(), queries.array(), deepest)
    else:
        queries = None
        frames = database.array()
        asking = frames[images.earlier_than]
        ranked = rank_earlier(frames, asking, images.earlier_than, deepest)
    return Measured(
        card=card,
        precision=describer.model.precision,
        answers=Answers.of(ranked, images),
        verified=_verified(ranked, database, queries, images, best) if best else None,
        best=best,
        database=database,
        queries=queries,
    )


def _verified(
    ranked: NDArray[np.int64],
    database: DescriptorFile,
    queries: DescriptorFile | None,
    images: RecallSet,
    best: int,
) -> Answers:
    assert database.cells is not None
    bits, rows = database.cell_bits(), database.array()
    if queries is None:
        asking, asking_bits = rows[images.earlier_than], bits[images.earlier_than]
    else:
        asking, asking_bits = queries.array(), queries.cell_bits()
    anew = ranked_anew(
        ranked,
        database=rows,
        queries=asking,
        database_bits=bits,
        query_bits=asking_bits,
        grid=database.cells[:2],
        best=best,
    )
    return Answers.of(anew, images)
