"""Which places of a map are redundant, because a newer place shows the same.

A place is redundant if a kept one lies near it, looks the same way and looks alike: another look
at the same spot (at night, with the gate shut) is not redundant. Newer places are kept first, so
that a map that is driven again and again follows the world.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.geometry import angle_between
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses

_AT_ONCE = 4096  # places compared with one, where very many are near it


@dataclass(frozen=True, slots=True)
class Redundancy:
    """How much alike two places must be for one to stand for both."""

    radius_m: float = 1.0
    heading_rad: float = float(np.radians(15.0))
    similarity: float = 0.9


def standing_for(place_map: PlaceMap, limits: Redundancy) -> NDArray[np.int64]:
    """For each place the kept one that stands for it, itself where it is kept, [N].

    Distractors are kept, and stand for no other.

    Greedy, from the newest place to the oldest: each is compared with the kept places of the cells
    of a grid around it, so that the time grows with the places and not with their square.
    """
    keeper = np.arange(len(place_map), dtype=np.int64)
    cells = np.floor(place_map.poses[:, :3] / max(limits.radius_m, 1e-6)).astype(np.int64)
    kept: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    newest_first = np.argsort(-place_map.stamps_ns, kind='stable')
    own = newest_first[~place_map.is_distractor[newest_first]].tolist()
    for row in tqdm(own, unit='place', disable=None, delay=2):
        cell = tuple(cells[row].tolist())
        near = [place for neighbour in _around(cell) for place in kept.get(neighbour, ())]
        standing = _most_similar(place_map, row, np.array(near, dtype=np.int64), limits)
        if standing is None:
            kept[cell].append(row)
        else:
            keeper[row] = standing
    return keeper


def _around(cell: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [
        tuple(value + step for value, step in zip(cell, steps))
        for steps in product((-1, 0, 1), repeat=len(cell))
    ]


def _most_similar(
    place_map: PlaceMap, row: int, near: NDArray[np.int64], limits: Redundancy
) -> int | None:
    """The most similar of the places [K] that may stand for a row, None where none may."""
    if near.size:
        near = near[_alike_in_pose(place_map, place_map.poses[row], place_map.poses[near], limits)]
    if not near.size:
        return None
    own = place_map.descriptor(row)
    similarity = np.concatenate(
        [
            place_map.descriptors_of(near[start : start + _AT_ONCE]) @ own
            for start in range(0, len(near), _AT_ONCE)
        ]
    )
    best = int(np.argmax(similarity))
    return int(near[best]) if similarity[best] >= limits.similarity else None


def _alike_in_pose(
    place_map: PlaceMap, pose: Poses, poses: Poses, limits: Redundancy
) -> NDArray[np.bool_]:
    """Whether poses [K, 7] are near a pose [7] and look the same way."""
    near = np.linalg.norm(poses[:, :3] - pose[:3], axis=1) <= limits.radius_m
    if place_map.header.has_heading:
        near &= angle_between(poses[:, 3:], pose[3:]) <= limits.heading_rad
    return np.asarray(near)
