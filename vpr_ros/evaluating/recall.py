"""What a change of a map does to its recall: the same queries before and after.

The queries are the images of a drive, or the map's own places, each against all others (leave one
out), where no second drive exists. The latter flatters a map, because an image's neighbours come
from the same drive; the difference between two maps is what it is for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.recall import STANDARD_N, Recall, recall_of_ranks
from vpr_ros.core.types import Descriptors, Poses
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.prefetch import described, load
from vpr_ros.evaluating.figures import Tolerance
from vpr_ros.map_care.check import sampled

MOST_QUERIES = 2_000  # of a map's own places
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Queries:
    """Images whose true poses are known."""

    descriptors: Descriptors  # [Q, D]
    poses: Poses  # [Q, 7], map_T_base
    stamps_ns: NDArray[np.int64]  # [Q]
    own: bool = False  # places of the map itself: each is kept from finding itself


def own_places(place_map: PlaceMap) -> Queries:
    """A map's places as queries, evenly thinned to a few thousand."""
    rows = sampled(len(place_map), MOST_QUERIES)
    return Queries(
        place_map.descriptors_of(rows),
        place_map.base_poses(rows),
        place_map.stamps_ns[rows],
        own=True,
    )


def drive_images(drive: Drive, describer: Describer, *, max_pose_gap_s: float) -> Queries:
    """The images of a drive as queries; raises DriveError where none has a pose."""
    if drive.trajectory is None:
        raise DriveError(f'{drive.name}: no true poses in it, so that recall cannot be measured')
    stamps, descriptors = [], []
    frames = tqdm(drive.frames(), total=len(drive), unit='image', disable=None, delay=2)
    for frame, found in described(frames, load, describer):
        if not isinstance(found, ImageError):
            stamps.append(frame.stamp_ns)
            descriptors.append(found[1])
    stamps_ns = np.array(stamps, dtype=np.int64)
    camera_poses, known = drive.trajectory.at(stamps_ns, max_gap_s=max_pose_gap_s)
    if not known.any():
        raise DriveError(f'{drive.name}: none of {len(stamps)} images has a true pose')
    poses = compose(camera_poses[known], invert(drive.base_T_camera))
    return Queries(np.array(descriptors, dtype=np.float32)[known], poses, stamps_ns[known])


def recall_of(queries: Queries, place_map: PlaceMap, tolerance: Tolerance) -> Recall:
    """Recall@N of queries against a map."""
    places = place_map.base_poses()
    ranks = np.full(len(queries.poses), -1, dtype=np.int64)
    unmatchable = np.zeros(len(ranks), dtype=bool)
    # One more than is judged: a query's own place is left out.
    count = max(STANDARD_N) + queries.own
    for start in tqdm(range(0, len(ranks), _CHUNK), unit='chunk', disable=None, delay=2):
        chunk = slice(start, start + _CHUNK)
        _, found = place_map.index.search(queries.descriptors[chunk], count)
        for query, ranked in enumerate(found, start):
            itself = _itself(queries, query, place_map)
            ranked = ranked[~np.isin(ranked, itself)]
            hits = np.flatnonzero(tolerance.accepts(places[ranked], queries.poses[query]))
            if hits.size:
                ranks[query] = hits[0]
            right = tolerance.accepts(places, queries.poses[query])
            right[itself] = False
            unmatchable[query] = not right.any()
    return recall_of_ranks(ranks, unmatchable)


def _itself(queries: Queries, query: int, place_map: PlaceMap) -> NDArray[np.int64]:
    """Row of the place that a query is, if the map holds it; none for a drive's image."""
    if not queries.own:
        return np.empty(0, dtype=np.int64)
    rows = np.flatnonzero(place_map.stamps_ns == queries.stamps_ns[query])
    same = (place_map.descriptors_of(rows) == queries.descriptors[query]).all(axis=1)
    return np.asarray(rows[same])
