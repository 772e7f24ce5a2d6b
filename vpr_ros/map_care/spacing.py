"""Which images of a drive are far enough apart to be mapped, and how many those can be."""

import re
from dataclasses import dataclass

import numpy as np

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.geometry import angle_between
from vpr_ros.core.types import Poses
from vpr_ros.drives.drive import Drive

_TURN_RAD = np.radians(20.0)


@dataclass(frozen=True, slots=True)
class Spacing:
    """How far apart mapped images are at least; zeros keep all.

    A turn of 20 degrees also starts a new place.
    """

    metres: float = 0.0
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> 'Spacing':
        """From `1.5m` or `0.5s`; raises ConfigError."""
        found = re.fullmatch(r'(\d+\.?\d*|\.\d+)\s*(m|s)', text.strip())
        if not found:
            raise ConfigError(
                f'--every {text}: expected metres or seconds, for example 1.5m or 0.5s'
            )
        value = float(found[1])
        return cls(metres=value) if found[2] == 'm' else cls(seconds=value)

    def is_reached(self, last: tuple[int, Poses] | None, stamp_ns: int, pose: Poses) -> bool:
        """Whether an image at (stamp, pose [7]) is far enough from the last one that was kept."""
        if last is None:
            return True
        last_ns, last_pose = last
        if self.seconds:
            return abs(stamp_ns - last_ns) >= self.seconds * 1e9  # the clock may be set back
        if self.metres:
            moved_m = np.linalg.norm(pose[:3] - last_pose[:3])
            return bool(
                moved_m >= self.metres or angle_between(last_pose[3:], pose[3:]) >= _TURN_RAD
            )
        return True


EVERY_IMAGE = Spacing()


def most_places(drive: Drive, spacing: Spacing) -> int:
    """A bound on the places that a drive becomes, known before an image is read.

    A place needs an image, and with a spacing a stretch of the way, a turn or a time since the
    last one. It does not hold in seconds where the clock was set back.
    """
    images, trajectory = len(drive), drive.trajectory
    if trajectory is None or len(trajectory.stamps_ns) < 2:
        return images
    if spacing.seconds:
        passed_s = float(np.ptp(trajectory.stamps_ns)) / 1e9
        return min(images, int(passed_s / spacing.seconds) + 1)
    if spacing.metres:
        poses = trajectory.poses
        way_m = float(np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1).sum())
        turned_rad = float(angle_between(poses[:-1, 3:], poses[1:, 3:]).sum())
        return min(images, int(way_m / spacing.metres + turned_rad / _TURN_RAD) + 1)
    return images
