"""Compare answers with the truth: which are right, and which could not be right.

Distances are between robot bases. Where no true pose is known the truth is NaN. Such an answer is
no query, but it is kept: the first fix of a drive may be one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import FORWARD_CAMERA, compose, invert
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Poses
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.posed_images import base_poses, known_rows
from vpr_ros.evaluating.answers import Answer, fixes
from vpr_ros.evaluating.tolerance import Tolerance, TruePlaces

_SEEN_ALIKE_RAD = np.radians(60.0)
"""Between the directions of two cameras: beyond it they hardly show the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Answers beside the truth, a row for each; those whose truth is known are the queries."""

    answers: list[Answer]  # Q
    truth: Poses  # [Q, 7] map_T_base, NaN where it is not known
    rank: NDArray[np.int64]  # [Q], of the first true candidate, -1: none or not on the map
    right_first: NDArray[np.bool_]  # [Q], the first candidate is true, be it a distractor
    unmatchable: NDArray[np.bool_]  # [Q], no place of the map is true
    right: NDArray[np.bool_]  # [Q], there is a fix, and it is inside the tolerance
    drive: NDArray[np.int64]  # [Q], number of the drive
    single_rank: NDArray[np.int64]  # [Q], as rank, of the most similar places alone
    other_direction: NDArray[np.bool_]  # [Q], every place near was seen in another direction

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether the true pose is known, [Q]."""
        return np.asarray(np.isfinite(self.truth[:, 0]))

    @property
    def asked(self) -> NDArray[np.bool_]:
        """The queries, [Q]; where no truth is known at all, every answer."""
        known = self.known
        return known if known.any() else np.ones_like(known)

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Whether there is a fix, [Q]."""
        return np.array([answer.pose is not None for answer in self.answers], dtype=bool)

    @property
    def poses(self) -> Poses:
        """The fixes, NaN where there is none, [Q, 7]."""
        return fixes(self.answers)

    @property
    def error_m(self) -> NDArray[np.float64]:
        """Distance of each fix from the truth, NaN where one of them is missing, [Q]."""
        return np.asarray(np.linalg.norm(self.poses[:, :3] - self.truth[:, :3], axis=1))

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        """Time since the first answer of the same drive, [Q]."""
        stamps_ns = np.array([answer.stamp_ns for answer in self.answers], dtype=np.int64)
        elapsed_s = np.zeros(len(stamps_ns))
        for number in np.unique(self.drive):
            rows = self.drive == number
            elapsed_s[rows] = (stamps_ns[rows] - stamps_ns[rows].min()) / 1e9
        return elapsed_s

    def of(self, chosen: NDArray[np.bool_]) -> 'Judged':
        """Only the chosen rows [Q]."""
        arrays = {name: getattr(self, name)[chosen] for name in _ARRAYS}
        answers = [answer for answer, wanted in zip(self.answers, chosen.tolist()) if wanted]
        return Judged(answers=answers, **arrays)

    @classmethod
    def joined(cls, parts: Sequence['Judged']) -> 'Judged':
        """The rows of several drives, which are numbered anew in their order."""
        columns = {name: [getattr(part, name) for part in parts] for name in _ARRAYS}
        arrays = {name: np.concatenate(column) for name, column in columns.items()}
        numbers = [np.full_like(part.drive, number) for number, part in enumerate(parts)]
        answers = [answer for part in parts for answer in part.answers]
        return cls(answers=answers, **arrays | {'drive': np.concatenate(numbers)})


_ARRAYS = tuple(name for name in Judged.__dataclass_fields__ if name != 'answers')


def judge(
    answers: Sequence[Answer],
    drive: Drive,
    place_map: PlaceMap,
    tolerance: Tolerance,
    *,
    max_pose_gap_s: float | None = None,
) -> Judged:
    """Put the truth beside the answers.

    Raises DriveError where a drive has poses, but none at the stamp of any image.
    """
    stamps_ns = np.array([answer.stamp_ns for answer in answers], dtype=np.int64)
    truth = base_poses(drive, stamps_ns, max_pose_gap_s=max_pose_gap_s)
    if drive.trajectory is not None:
        known_rows(drive, truth, stamps_ns, max_pose_gap_s=max_pose_gap_s)
    nothing: Poses = np.empty((0, 7))
    answering = place_map.base_poses()[~place_map.is_distractor]
    alone = [nothing if answer.similar is None else answer.similar for answer in answers]
    candidates = ranks([answer.candidates for answer in answers], truth, tolerance)
    unmatchable = TruePlaces(answering, tolerance).missing(truth)
    return Judged(
        answers=list(answers),
        truth=truth,
        rank=np.where(unmatchable, -1, candidates),
        right_first=candidates == 0,
        unmatchable=unmatchable,
        right=tolerance.accepts(fixes(answers), truth),
        drive=np.zeros(len(answers), dtype=np.int64),
        single_rank=np.where(unmatchable, -1, ranks(alone, truth, tolerance)),
        other_direction=_other_direction(drive, truth, place_map, tolerance),
    )


def _other_direction(
    drive: Drive, truth: Poses, place_map: PlaceMap, tolerance: Tolerance
) -> NDArray[np.bool_]:
    """Where the map has places near, and all of them were seen looking another way, [Q].

    It is the cameras that count: one behind sees what one in front saw of the way back. False
    where directions are not known.
    """
    if not (place_map.header.has_heading and drive.has_heading):
        return np.zeros(len(truth), dtype=bool)
    looks = compose(truth, compose(drive.base_T_camera, invert(FORWARD_CAMERA)))
    places = compose(place_map.poses[~place_map.is_distractor], invert(FORWARD_CAMERA))
    near = ~TruePlaces(places, Tolerance(tolerance.radius_m)).missing(looks)
    alike = Tolerance(tolerance.radius_m, _SEEN_ALIKE_RAD)
    return np.asarray(near & TruePlaces(places, alike).missing(looks))


def ranks(candidates: Sequence[Poses], truth: Poses, tolerance: Tolerance) -> NDArray[np.int64]:
    """Rank of the first true one among the candidates [K, 7] of each query, else -1, [Q]."""
    found = np.full(len(candidates), -1, dtype=np.int64)
    for query, poses in enumerate(candidates):
        hits = np.flatnonzero(tolerance.accepts(poses, truth[query]))
        if hits.size:
            found[query] = hits[0]
    return found
