"""Leave out what is redundant, unless the map would find too much less without it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_ros.core.errors import DriveError
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.plurals import counted
from vpr_ros.core.recall import Recall
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care.edit import keep_places
from vpr_ros.map_care.recall import Queries, map_recall
from vpr_ros.map_care.redundancy import Redundancy, standing_for

_ROUNDING = 1e-9  # of a difference of two shares, of which as much as allowed is allowed


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning found, and whether it wrote anything."""

    redundant: int  # places
    before: Recall | None = None  # None where nothing is redundant
    after: Recall | None = None
    written: bool = False


def prune(
    place_map: PlaceMap,
    output: Path,
    queries: Queries,
    *,
    limits: Redundancy,
    tolerance: Tolerance,
    max_recall_drop: float,
    dry_run: bool = False,
    command: str = '',
) -> Pruned:
    """Write the map without its redundant places, if Recall@1 falls by at most max_recall_drop.

    Raises DriveError where no query has a true place, so that none can be lost, and MapError where
    the map cannot be written.
    """
    kept = standing_for(place_map, limits) == np.arange(len(place_map))
    if kept.all():
        return Pruned(0)
    before = map_recall(queries, place_map, tolerance)
    if before.unmatchable == before.queries:
        raise DriveError(
            f'not one of {counted(before.queries, "query")} has a true place within {tolerance}, '
            'so no loss can be measured; give --bag with a drive along the route of the map, or a '
            'larger --radius'
        )
    after: list[Recall] = []

    def accepts(smaller: PlaceMap) -> bool:
        after.append(map_recall(queries, smaller, tolerance))
        fell = before.at[1] - after[0].at[1]
        return fell <= max_recall_drop + _ROUNDING and not dry_run

    written = keep_places(place_map, kept, output, command=command, accepts=accepts)
    return Pruned(int((~kept).sum()), before, after[0], written)
