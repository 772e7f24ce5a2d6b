"""Poses that a recording lacks, from a file beside it: the trajectory of a SLAM system."""

from dataclasses import dataclass
from pathlib import Path

from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.tum import read_tum


@dataclass(frozen=True, slots=True)
class PoseFile:
    """map_T_base over time, by a file in TUM form."""

    name: str
    trajectory: Trajectory
    notes: tuple[str, ...] = ()  # what is wrong with the file

    @classmethod
    def read(cls, file: Path) -> 'PoseFile':
        """Read a file; raises DriveError."""
        trajectory, notes = read_tum(file)
        return cls(str(file), trajectory, tuple(notes))
