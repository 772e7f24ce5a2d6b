"""Order the best candidates of each query anew by how well their cells agree with the query's.

`agreement` is the seam: whatever the robot verifies with takes its place, and every figure of the
trainer (`evaluate`, the gate of `export`) follows. Needs no torch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.types import CellBits, Descriptors

BEST = 25
"""Candidates that are verified, where a model has cells and nobody says how many."""

_WINDOW = 5  # cells of displacement, in each direction, that count as one
_LEAST_SIMILARITY = 0.01  # of a candidate's descriptor: the score is multiplied by it


def agreement(query: CellBits, candidates: CellBits, grid: tuple[int, int]) -> NDArray[np.float32]:
    """How well cells of a query [h * w, C / 8] agree with those of candidates [K, h * w, C / 8].

    grid: (h, w). Gives [K], 0 or more. Two cells are a pair if each is the other's nearest of its
    image, by Hamming distance. A pair votes for its displacement with its similarity, and the
    score is the most votes in a window of 5 x 5 displacements: one place seen twice is moved as a
    whole.
    """
    if not len(candidates):
        return np.zeros(0, dtype=np.float32)
    count, cells, _ = candidates.shape
    numbers = 8 * candidates.shape[2]
    own, others = _signs(query), _signs(candidates.reshape(count * cells, -1))
    likeness = (own @ others.T).reshape(cells, count, cells)  # C - 2 * Hamming distance
    there, back = likeness.argmax(axis=2), likeness.argmax(axis=0)  # [h * w, K], [K, h * w]
    returns = np.take_along_axis(back, there.T, axis=1)  # [K, h * w]
    candidate, mine = np.nonzero(returns == np.arange(cells))
    its = there[mine, candidate]
    weight = np.maximum(likeness[mine, candidate, its], 0) / numbers
    rows, columns = grid
    moved = (
        candidate,
        its // columns - mine // columns + rows,
        its % columns - mine % columns + columns,
    )
    votes = np.zeros((count, 2 * rows + 1, 2 * columns + 1))
    np.add.at(votes, moved, weight)
    return _most_in_window(votes).astype(np.float32)


def ranked_anew(
    ranked: NDArray[np.int64],
    *,
    database: Descriptors,
    queries: Descriptors,
    database_bits: CellBits,
    query_bits: CellBits,
    grid: tuple[int, int],
    best: int,
) -> NDArray[np.int64]:
    """Rows [Q, K] of a database with the first `best` of each query ordered by verification.

    ranked: by similarity, -1: no more. database, queries: descriptors [N, D] and [Q, D]; bits:
    cells [N, h * w, C / 8] and [Q, h * w, C / 8]; all may be memory-mapped.
    """
    found = ranked.copy()
    for number, row in enumerate(ranked[:, :best]):
        rows = row[row >= 0]
        similarity = database[rows] @ queries[number]
        scores = agreement(query_bits[number], np.asarray(database_bits[rows]), grid)
        scores = scores * np.maximum(similarity, _LEAST_SIMILARITY)
        found[number, : len(rows)] = rows[np.argsort(-scores, kind='stable')]
    return found


def _signs(bits: CellBits) -> NDArray[np.float32]:
    """Bits [n, C / 8] -> [n, C] of -1 and 1."""
    return 2 * np.unpackbits(bits, axis=-1).astype(np.float32) - 1


def _most_in_window(votes: NDArray[Any]) -> NDArray[Any]:
    """The largest sum of votes [K, n, m] in a window, [K]."""
    edge = _WINDOW // 2
    sums = np.pad(votes, ((0, 0), (edge + 1, edge), (edge + 1, edge))).cumsum(1).cumsum(2)
    sums = sums[:, _WINDOW:] - sums[:, :-_WINDOW]
    sums = sums[:, :, _WINDOW:] - sums[:, :, :-_WINDOW]
    most: NDArray[Any] = sums.max(axis=(1, 2))
    return most
