"""Poses that recordings lack, from files beside them: trajectories of a SLAM system."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from vpr_ros.core.errors import DriveError
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.tum import read_tum


@dataclass(frozen=True, slots=True)
class PoseFile:
    """map_T_base over time, by a file in TUM format."""

    name: str
    trajectory: Trajectory
    notes: tuple[str, ...] = ()  # what is wrong with the file

    @classmethod
    def read(cls, file: Path) -> 'PoseFile':
        """Read a file; raises DriveError."""
        trajectory, notes = read_tum(file)
        return cls(str(file), trajectory, tuple(notes))

    @property
    def span_ns(self) -> tuple[int, int]:
        """Stamps of the first and the last pose."""
        stamps_ns = self.trajectory.stamps_ns
        return int(stamps_ns[0]), int(stamps_ns[-1])


def read_pose_files(files: Sequence[Path]) -> tuple[PoseFile, ...]:
    """Read the trajectories of several drives, in the order of time.

    Raises DriveError for a file, and where two of them tell of the same time.
    """
    read = sorted(map(PoseFile.read, files), key=lambda file: file.span_ns)
    for before, after in pairwise(read):
        if after.span_ns[0] <= before.span_ns[1]:
            raise DriveError(
                f'{before.name} and {after.name} overlap in time; give the file of one drive at '
                'a time'
            )
    return tuple(read)


def covering(files: Sequence[PoseFile], first_ns: int, last_ns: int) -> PoseFile:
    """The poses of the files that tell of a stretch of time, or of all files if none does."""
    chosen = [
        file for file in files if file.span_ns[0] <= last_ns and first_ns <= file.span_ns[1]
    ] or files
    if len(chosen) == 1:
        return chosen[0]
    return PoseFile(
        ', '.join(file.name for file in chosen),
        Trajectory(
            np.concatenate([file.trajectory.stamps_ns for file in chosen]),
            np.concatenate([file.trajectory.poses for file in chosen]),
        ),
        tuple(note for file in chosen for note in file.notes),
    )
