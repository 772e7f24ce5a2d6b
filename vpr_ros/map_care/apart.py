"""Whether places that are added to a map lie in another frame than those that were there.

Two runs of a SLAM system call their frames `map` alike. A map of both has each place twice, at two
positions, and a robot then finds two places that are both likely.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.evaluating.other_frame import OtherFrame, other_frame_of
from vpr_ros.map_care.check import sampled, spacing_m

_MOST_NEW, _MOST_KNOWN = 400, 5_000  # places that are compared
_NEAR_M = 5.0  # of places that are the same; more where places lie farther apart

Places: TypeAlias = tuple[PlaceMap, NDArray[np.int64]]  # some of a map, by their rows


def appended_notes(place_map: PlaceMap, before: int, name: str) -> list[str]:
    """What to know of a drive by whose places a map grew; before: how many it had."""
    rows = np.arange(len(place_map))
    return _notes(name, (place_map, rows[before:]), (place_map, rows[:before]))


def merged_notes(maps: Sequence[PlaceMap]) -> list[str]:
    """What to know of maps that are joined to the first of them."""
    first, *others = ((place_map, np.arange(len(place_map))) for place_map in maps)
    return [note for other in others for note in _notes(str(other[0].folder), other, first)]


def _notes(name: str, new: Places, known: Places) -> list[str]:
    """The note that places of a name lie in another frame than known ones; none where not.

    Floors that look alike differ in height alone, and are no other frame. Positions of GPS are of
    one frame by themselves.
    """
    if known[0].header.datum is not None or not len(new[1]) or not len(known[1]):
        return []
    radius_m = max(_NEAR_M, 2 * spacing_m(known[0]))
    other = _other_frame(new, known, radius_m)
    if other is None:
        return []
    turned = abs(other.turned_deg) > 1 or other.is_mirrored or other.scale != 1
    if not turned and np.hypot(*other.moved_m[:2]) <= radius_m:
        return []
    return [
        f'{name}: {other.agreeing} of {other.fixes} of its places look like places of the map '
        f'that lie elsewhere, and lie there if its positions are {other}; if these are the same '
        'places, robots cannot tell which of two positions is right: make the map anew from poses '
        'of one frame'
    ]


def _other_frame(new: Places, known: Places, radius_m: float) -> OtherFrame | None:
    """By the half of the new places that look most like a known one."""
    (new_map, new_rows), (known_map, known_rows) = new, known
    new_rows = new_rows[sampled(len(new_rows), _MOST_NEW)]
    known_rows = known_rows[sampled(len(known_rows), _MOST_KNOWN)]
    similarity = new_map.descriptors_of(new_rows) @ known_map.descriptors_of(known_rows).T
    best = similarity.max(axis=1)
    told = best >= np.median(best)
    twins = known_rows[similarity.argmax(axis=1)[told]]
    return other_frame_of(
        known_map.base_poses(twins)[:, :3],
        new_map.base_poses(new_rows[told])[:, :3],
        radius_m=radius_m,
    )
