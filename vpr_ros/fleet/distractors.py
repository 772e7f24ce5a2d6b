"""Which places around a cut look like its own.

A robot that leaves its cut still asks it where it is. Without the streets around, the most similar
street of the cut is the best answer. So a cut holds for each of its places the most similar place
outside, too: a distractor, as retrieval calls what is in a database and never the right answer.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.types import Descriptors
from vpr_ros.fleet.places import Rows, batches

MOST = 4096
"""Places of a cut that are asked for, evenly thinned where it has more."""

_STEPS = 4000
"""In which numbers of unit length are counted. Sums of their products stay below 2^24, so float32
adds them exactly, in any order: every processor finds the same places."""


def most_similar(cut: Sequence[Rows], around: Sequence[Rows]) -> list[NDArray[np.int64]]:
    """Of each of the parts around a cut, the places that are most similar to one of the cut's.

    Returns positions [k] among the places of each, rising. Raises FleetError where a table cannot
    be read.
    """
    wanted = _thinned(cut)
    best = np.full(len(wanted), -1, dtype=np.float32)
    part, place = np.full((2, len(wanted)), -1, dtype=np.int64)
    with tqdm(total=sum(map(len, around)), unit='place', disable=None, delay=2) as progress:
        for number, rows in enumerate(around):
            for piece in batches(np.arange(len(rows))):
                similarity = _counted(rows.only(piece)) @ wanted.T
                at = similarity.argmax(axis=0)
                found = np.take_along_axis(similarity, at[None], axis=0)[0]
                is_better = found > best
                best[is_better] = found[is_better]
                part[is_better], place[is_better] = number, piece[at[is_better]]
                progress.update(len(piece))
    return [np.unique(place[part == number]) for number in range(len(around))]


def _thinned(cut: Sequence[Rows]) -> Descriptors:
    """Descriptors [Q, D] of at most MOST places of a cut, in steps."""
    ends = np.cumsum([len(rows) for rows in cut])
    asked = np.unique(np.linspace(0, ends[-1] - 1, min(int(ends[-1]), MOST)).round())
    return np.concatenate(list(_of_each(cut, ends, asked.astype(np.int64))))


def _of_each(
    cut: Sequence[Rows], ends: NDArray[np.int64], asked: NDArray[np.int64]
) -> Iterator[Descriptors]:
    for rows, end in zip(cut, ends):
        inside = asked[(asked < end) & (asked >= end - len(rows))] - (end - len(rows))
        for piece in batches(inside):
            yield _counted(rows.only(piece))


def _counted(rows: Rows) -> Descriptors:
    """Descriptors [n, D] of some rows, in steps; a damaged one is like nothing."""
    found = rows.descriptors()
    with np.errstate(invalid='ignore', over='ignore'):
        found = np.rint(found * _STEPS)
        is_sound = (found * found).sum(axis=1) < 2**24
    return np.where(is_sound[:, None], found, np.float32(0))
