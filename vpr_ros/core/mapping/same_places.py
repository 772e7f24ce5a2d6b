"""Which places of a map another version of it had already, and in which rows.

A version that is appended to, merged, pruned or cut anew keeps places and numbers them anew. A
part with the same digests is the same part. Elsewhere a place is the same where its pose, its
stamp and its descriptor are the same to the bit.
"""

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Rows

_COMPARED_AT_ONCE = 4096  # descriptors


def rows_before(place_map: PlaceMap, before: PlaceMap) -> Rows:
    """The row of each place [N] in an earlier version; -1 for a place that is new."""
    found = np.full(len(place_map), -1, np.int64)
    known = dict(zip(_contents(before), before.part_starts.tolist()))
    starts = place_map.part_starts.tolist()
    for content, start, end in zip(_contents(place_map), starts, starts[1:]):
        if content in known:
            found[start:end] = known[content] + np.arange(end - start)
    new = np.flatnonzero(found < 0)
    if len(new) and place_map.header.descriptor_size == before.header.descriptor_size:
        found[new] = _rows_of_same(place_map, new, before)
    return found


def _contents(place_map: PlaceMap) -> list[frozenset[tuple[str, str]]]:
    """Names and digests of each part's files, in the order of the parts."""
    digests = place_map.header.files or {}
    return [
        frozenset((name, digests[f'{part}/{name}']) for name in names)
        for part, names in place_map.header.part_files.items()
    ]


def _rows_of_same(place_map: PlaceMap, places: Rows, before: PlaceMap) -> Rows:
    """The rows [K] of places [K] in the earlier map, found one by one; -1 for new ones."""
    sought, known = _keys(place_map)[places], _keys(before)
    order = np.argsort(known, kind='stable')
    rows = order[np.minimum(np.searchsorted(known[order], sought), len(order) - 1)]
    same = (place_map.poses[places] == before.poses[rows]).all(axis=1)
    same &= place_map.stamps_ns[places] == before.stamps_ns[rows]
    maybe = np.flatnonzero(same)
    for start in range(0, len(maybe), _COMPARED_AT_ONCE):
        some = maybe[start : start + _COMPARED_AT_ONCE]
        here = place_map.descriptors_of(places[some])
        same[some] = (here == before.descriptors_of(rows[some])).all(axis=1)
    return np.where(same, rows, -1)


def _keys(place_map: PlaceMap) -> NDArray[np.uint64]:
    """A number [N] of each place's pose and stamp, the same for the same ones."""
    columns = [*place_map.poses.T.astype(np.float64), place_map.stamps_ns]
    keys: NDArray[np.uint64] = np.zeros(len(place_map), np.uint64)
    for column in columns:
        keys = keys * np.uint64(0x9E3779B97F4A7C15) + np.ascontiguousarray(column).view(np.uint64)
    return keys
