"""The images of a drive, one after another, and where the robot was when they were taken.

Mapping, evaluating, calibrating and checking go through a drive in the same way: images are worked
on ahead of use, those that cannot be used are counted and left out, and poses are looked up by
stamp. That way is written here, once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.types import Descriptors, Image, Poses, Stamps
from vpr_ros.drives.drive import Drive, RecordedFrame
from vpr_ros.drives.prefetch import described, load

Item = TypeVar('Item')
Result = TypeVar('Result')


@dataclass
class Unusable:
    """The images of a drive that could not be used."""

    count: int = 0
    first: str = ''  # what was wrong with the first one

    def add(self, error: ImageError) -> None:
        """Count one more."""
        self.count += 1
        self.first = self.first or str(error)


@dataclass(frozen=True, slots=True)
class PosedImages:
    """Images that are described and whose true poses are known."""

    descriptors: Descriptors  # [Q, D]
    poses: Poses  # [Q, 7] map_T_base
    stamps_ns: Stamps  # [Q]

    def __len__(self) -> int:
        return len(self.stamps_ns)


def frames_of(drive: Drive) -> Iterator[RecordedFrame]:
    """The frames of a drive, with a progress bar on a terminal."""
    yield from tqdm(drive.frames(), total=len(drive), unit='image', disable=None, delay=2)


def usable(
    results: Iterable[tuple[Item, Result | ImageError]], unusable: Unusable
) -> Iterator[tuple[Item, Result]]:
    """What `prefetched` or `described` give, without the errors, which `unusable` counts."""
    for item, result in results:
        if isinstance(result, ImageError):
            unusable.add(result)
        else:
            yield item, result


def base_poses(drive: Drive, stamps_ns: Stamps, *, max_pose_gap_s: float) -> Poses:
    """map_T_base [Q, 7] at stamps [Q], NaN where it is not known."""
    poses: Poses = np.full((len(stamps_ns), 7), np.nan)
    if drive.trajectory is not None:
        cameras, known = drive.trajectory.at(stamps_ns, max_gap_s=max_pose_gap_s)
        poses[known] = compose(cameras[known], invert(drive.base_T_camera))
    return poses


def known_rows(drive: Drive, poses: Poses) -> NDArray[np.bool_]:
    """Which of `base_poses` [Q, 7] are known, [Q]; raises DriveError where none is."""
    known: NDArray[np.bool_] = np.isfinite(poses[:, 0])
    if not known.any():
        raise DriveError(
            f'{drive.name}: none of {len(poses)} images has a true pose at its stamp; '
            'do both use the same clock?'
        )
    return known


def posed_images(
    drive: Drive,
    describer: Describer,
    *,
    max_pose_gap_s: float,
    wanted: Callable[[Image], bool] = lambda image: True,
) -> PosedImages:
    """Describe the images of a drive that can be used, are wanted and have a true pose.

    Raises DriveError for a drive without poses, or without one at any stamp.
    """
    if drive.trajectory is None:
        raise DriveError(f'{drive.name}: no true poses in it, which are needed here')
    stamps, rows = [], []
    results = described(frames_of(drive), load, describer)
    for frame, (image, descriptor) in usable(results, Unusable()):
        if wanted(image):
            stamps.append(frame.stamp_ns)
            rows.append(descriptor)
    stamps_ns = np.array(stamps, dtype=np.int64)
    poses = base_poses(drive, stamps_ns, max_pose_gap_s=max_pose_gap_s)
    known = known_rows(drive, poses)
    return PosedImages(np.array(rows, dtype=np.float32)[known], poses[known], stamps_ns[known])
