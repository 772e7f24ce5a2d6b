"""How well a query's cells match those of candidates: see the place, not its average."""

from vpr_ros.core.matching.correspondences import correspondences
from vpr_ros.core.matching.displacement import Scores, agreement
from vpr_ros.core.types import CellBits


def match_scores(query: CellBits, places: CellBits, grid: tuple[int, int]) -> Scores:
    """Score [K] of a query [h * w, C / 8] with each candidate [K, h * w, C / 8], in [0, 1].

    grid: (h, w). A score tells how far a candidate stands out of the others: compare it with
    theirs. Candidates that match alike, and a single one, have next to none.
    """
    return agreement(correspondences(query, places), grid, len(places))
