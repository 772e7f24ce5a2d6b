"""Recall of described images against the places of a map, each image by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.intervals import BLOCK
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.match import match_order
from vpr_ros.core.mapping.index import ExactIndex
from vpr_ros.core.recall import STANDARD_N, Recall, recall_of_ranks
from vpr_ros.core.types import CellBits, Poses
from vpr_ros.drives.posed_images import PosedImages
from vpr_ros.evaluating.judging import ranks
from vpr_ros.evaluating.tolerance import Tolerance, TruePlaces

_CHUNK = 256  # queries searched at once
MATCHED = LocalizerConfig().candidates


@dataclass(frozen=True, slots=True)
class CellsOfPlaces:
    """What matches a query with some places."""

    of: Callable[[NDArray[np.int64]], CellBits]  # rows [K] -> [K, h * w, C / 8]
    grid: tuple[int, int]  # (h, w)

    def ranked(
        self, query: CellBits, rows: NDArray[np.int64], similarity: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Places [K] by similarity [K] and by the cells of a query [h * w, C / 8]; -1: none."""
        known = rows >= 0
        order, _ = match_order(similarity[known], query, self.of(rows[known]), self.grid)
        return np.concatenate([rows[known][order], rows[~known]])


def recall_of(
    queries: PosedImages,
    index: ExactIndex,
    places: Poses,
    tolerance: Tolerance,
    *,
    itself: Sequence[NDArray[np.int64]] | None = None,
    cells: CellsOfPlaces | None = None,
) -> Recall:
    """Recall@N of queries against places, of which `index` holds the descriptors.

    places: map_T_base [N, 7]. itself: for each query the rows of the places that it is, which
    count neither as found nor as missed. cells: of the places; with them, and cells of the
    queries, the best candidates are matched as the node does it.
    """
    own = itself or [np.empty(0, dtype=np.int64)] * len(queries)
    most = max((len(rows) for rows in own), default=0)
    found = np.full(len(queries), -1, dtype=np.int64)
    for start in tqdm(range(0, len(queries), _CHUNK), unit='chunk', disable=None, delay=2):
        chunk = slice(start, start + _CHUNK)
        similarity, ranked = index.search(queries.descriptors[chunk], MATCHED + most)
        if cells is not None and queries.cells is not None:
            bits = queries.cells[chunk]
            ranked = np.array([cells.ranked(*one) for one in zip(bits, ranked, similarity)])
        others = [rows[~np.isin(rows, left_out)] for rows, left_out in zip(ranked, own[chunk])]
        candidates = [places[rows[: max(STANDARD_N)]] for rows in others]
        found[chunk] = ranks(candidates, queries.poses[chunk], tolerance)
    right = TruePlaces(places, tolerance)
    unmatchable = [
        not np.setdiff1d(right.rows(pose), left_out).size
        for pose, left_out in zip(queries.poses, own)
    ]
    return recall_of_ranks(found, np.array(unmatchable, dtype=bool), STANDARD_N, least=BLOCK)
