"""The images of a drive, one after another, and where the robot was when they were taken.

Mapping, evaluating, calibrating and checking go through a drive in the same way: images are worked
on ahead of use, those that cannot be used are counted and left out, and poses are looked up by
stamp. That way is written here, once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.core.camera import Camera
from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.errors import DriveError, ImageError, noting
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.plurals import by_count, counted
from vpr_ros.core.types import CellBits, Described, Descriptors, Image, Poses, Stamps
from vpr_ros.core.virtual_camera import seen_as, zoom
from vpr_ros.drives.drive import Drive, RecordedFrame, add_note, notes_of
from vpr_ros.drives.prefetch import described_with_cells, load
from vpr_ros.drives.same_frame import note_view

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

    def lines(self, what: str = 'image') -> list[str]:
        """The count as a sentence, none where all could be used."""
        if not self.count:
            return []
        return [f'{counted(self.count, what)} could not be used, the first: {self.first}']


@dataclass(frozen=True, slots=True)
class PosedImages:
    """Images that are described and whose true poses are known."""

    descriptors: Descriptors  # [Q, D]
    poses: Poses  # [Q, 7] map_T_base
    stamps_ns: Stamps  # [Q]
    cells: CellBits | None = None  # [Q, h * w, C / 8]; None of a model without cells

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


def base_poses(drive: Drive, stamps_ns: Stamps, *, max_pose_gap_s: float | None) -> Poses:
    """map_T_base [Q, 7] at stamps [Q], NaN where it is not known."""
    poses: Poses = np.full((len(stamps_ns), 7), np.nan)
    if drive.trajectory is not None:
        cameras, known = drive.trajectory.at(stamps_ns, max_gap_s=max_pose_gap_s)
        poses[known] = compose(cameras[known], invert(drive.base_T_camera))
    return poses


def known_rows(
    drive: Drive, poses: Poses, stamps_ns: Stamps, *, max_pose_gap_s: float | None
) -> NDArray[np.bool_]:
    """Which of `base_poses` [Q, 7] at stamps [Q] are known, [Q]; why others are not is noted.

    Raises DriveError where none is.
    """
    known: NDArray[np.bool_] = np.isfinite(poses[:, 0])
    if known.all() and len(known):
        return known
    if not known.any():
        why = why_unposed(drive, stamps_ns, max_pose_gap_s=max_pose_gap_s)
        raise DriveError(
            f'{drive.name}: none of {counted(len(poses), "image")} has a true pose at its stamp'
            f'{why}'
        )
    add_note(drive, unposed(drive, stamps_ns[~known], max_pose_gap_s=max_pose_gap_s))
    return known


def unposed(
    drive: Drive, stamps_ns: Stamps, pose: str = 'true pose', *, max_pose_gap_s: float | None
) -> str:
    """The sentence that images at stamps [M] have no pose, and why."""
    count = len(stamps_ns)
    has, its = counted(count, 'image has', 'images have'), by_count(count, 'its', 'their')
    why = why_unposed(drive, stamps_ns, max_pose_gap_s=max_pose_gap_s)
    return f'{has} no {pose} at {its} stamp{why}'


def why_unposed(
    drive: Drive,
    stamps_ns: Stamps,
    *,
    max_pose_gap_s: float | None,
    flag: str = '--max-pose-gap',
) -> str:
    """Why images [M] have no pose, to follow a sentence that says so."""
    if drive.trajectory is None or not len(stamps_ns):
        return ''
    why = drive.trajectory.why_unknown(stamps_ns, max_gap_s=max_pose_gap_s, flag=flag)
    return f': {why}'


def posed_images(
    drive: Drive,
    describer: Describer,
    *,
    max_pose_gap_s: float | None,
    like: Camera | None = None,
    wanted: Callable[[Image], bool] = lambda image: True,
) -> PosedImages:
    """Describe the images of a drive that can be used, are wanted and have a true pose.

    like: the camera of the map that they are compared with, in whose view they are described;
    None: as they are. Why others are left out is noted. Raises DriveError for a drive without
    poses, or without one at any stamp.
    """
    unusable = Unusable()
    with noting(lambda: notes_of(drive), unusable.lines):
        if drive.trajectory is None:
            raise DriveError(
                f'{drive.name}: has no poses, expected true poses of the images; record them, '
                'give a trajectory with --pose-file, or write a poses.csv beside images/'
            )
        note_view(drive, like)
        stamps: list[int] = []
        rows: list[Described] = []
        results = described_with_cells(frames_of(drive), _loading(drive.camera, like), describer)
        for frame, (image, row) in usable(results, unusable):
            if wanted(image):
                stamps.append(frame.stamp_ns)
                rows.append(row)
        if not rows:
            raise DriveError(
                f'{drive.name}: none of {counted(len(drive), "image")} can be used here'
            )
        stamps_ns = np.array(stamps, dtype=np.int64)
        poses = base_poses(drive, stamps_ns, max_pose_gap_s=max_pose_gap_s)
        known = known_rows(drive, poses, stamps_ns, max_pose_gap_s=max_pose_gap_s)
    for line in unusable.lines():
        add_note(drive, line)
    kept = [row for row, is_known in zip(rows, known.tolist()) if is_known]
    cells = [row.cells for row in kept if row.cells is not None]
    return PosedImages(
        np.array([row.descriptor for row in kept], dtype=np.float32),
        poses[known],
        stamps_ns[known],
        np.array(cells) if cells else None,
    )


def _loading(
    own: Camera | None, like: Camera | None
) -> Callable[[RecordedFrame, tuple[int, int]], Image]:
    """How images of a camera are loaded in the view of another, where both are known."""
    if own is None or like is None:
        return load

    def load_like(recorded: RecordedFrame, size_hw: tuple[int, int]) -> Image:
        times = zoom(own, like)
        image = load(recorded, (ceil(size_hw[0] * times), ceil(size_hw[1] * times)))
        return seen_as(image, own, like, size_hw=size_hw)

    return load_like
