"""How often the right place is among the first N answers, and how sure one can be of that share.

A query without any true match on the map can never be answered; it counts as a miss, as in the
literature, and is reported apart, so that nobody mistakes a gap in the map for a weak model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.intervals import drive_interval

STANDARD_N = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of queries with a true match among the first N answers."""

    at: dict[int, float]  # N -> share in [0, 1]
    interval: dict[int, tuple[float, float]]  # N -> 95 %, see intervals.drive_interval
    queries: int
    unmatchable: int  # queries without any true match; misses in `at`

    def shares(self) -> dict[str, float]:
        """N -> share, as JSON has it."""
        return {str(n): share for n, share in self.at.items()}

    def intervals(self) -> dict[str, list[float]]:
        """N -> 95 % interval, as JSON has it."""
        return {str(n): list(ends) for n, ends in self.interval.items()}

    def said(self, n: int) -> str:
        """A share with its interval, as people read it."""
        low, high = self.interval[n]
        return f'{self.at[n]:.3f} [{low:.3f}, {high:.3f}]'


def first_hit_rank(
    ranked: NDArray[np.int64], positives: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Rank of the first true match of each query, from 0; -1 where there is none.

    ranked: [Q, K] database rows, best first, -1 where fewer than K exist; positives: Q arrays of
    true rows.
    """
    ranks = np.full(len(ranked), -1, dtype=np.int64)
    for query, true_rows in enumerate(positives):
        hits = np.flatnonzero(np.isin(ranked[query], true_rows) & (ranked[query] >= 0))
        if hits.size:
            ranks[query] = hits[0]
    return ranks


def recall_at(
    ranked: NDArray[np.int64],
    positives: Sequence[NDArray[np.int64]],
    ns: Sequence[int],
) -> Recall:
    """Recall@N for each N with its interval; shapes as in `first_hit_rank`."""
    unmatchable = np.array([len(true_rows) == 0 for true_rows in positives], dtype=bool)
    return recall_of_ranks(first_hit_rank(ranked, positives), unmatchable, ns)


def recall_of_ranks(
    ranks: NDArray[np.int64],
    unmatchable: NDArray[np.bool_],
    ns: Sequence[int],
    *,
    drive: NDArray[np.int64] | None = None,
    least: int = 1,
) -> Recall:
    """The same from each query's rank of its first true match [Q] (-1: none), in their order.

    unmatchable: whether a query could have none [Q]. drive, least: of the interval, see
    intervals.drive_interval; without them nobody says that the queries are a drive, and only their
    own autocorrelation tells.
    """
    hits = {n: (ranks >= 0) & (ranks < n) for n in ns}
    return Recall(
        at={n: float(hit.mean()) if hit.size else 0.0 for n, hit in hits.items()},
        interval={
            n: drive_interval(hit, drive=drive, least=least) if hit.size else (0.0, 0.0)
            for n, hit in hits.items()
        },
        queries=len(ranks),
        unmatchable=int(unmatchable.sum()),
    )


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """What is right of the answers above a threshold, and what share of the possible ones."""

    threshold: NDArray[np.float64]  # [T], the distinct scores, falling
    precision: NDArray[np.float64]  # [T], share of the answers at or above it that are right
    recall: NDArray[np.float64]  # [T], those in shares of the queries that have a true match
    average_precision: float  # mean of the precision over the steps of the recall
    recall_at_full_precision: float  # largest recall without a single wrong answer


def precision_recall(
    scores: NDArray[np.floating[Any]], right: NDArray[np.bool_], matchable: NDArray[np.bool_]
) -> PrecisionRecall | None:
    """Precision and recall over the threshold of a score; None where nothing can be right.

    scores: [Q], larger is surer; right: [Q], whether the answer is; matchable: [Q], whether a
    right one exists. Answers of equal score are accepted together.
    """
    if not len(scores) or not matchable.any():
        return None
    order = np.argsort(-scores, kind='stable')
    ordered = np.asarray(scores, dtype=np.float64)[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true = np.cumsum(right[order])[ends]
    precision, recall = true / (ends + 1), true / matchable.sum()
    return PrecisionRecall(
        threshold=ordered[ends],
        precision=precision,
        recall=recall,
        average_precision=float(np.sum(np.diff(recall, prepend=0.0) * precision)),
        recall_at_full_precision=float(recall[precision == 1].max(initial=0.0)),
    )
