"""What the user is told of a drive's poses: where they come from, and what is odd about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.core.plurals import counted
from vpr_ros.core.trajectory import MOST_MPS, Trajectory, clock_question
from vpr_ros.drives.bag_poses import BasePoses
from vpr_ros.drives.drive import DriveOptions, frame_of
from vpr_ros.drives.pose_file import covering

_SAMPLES = 100  # instants of the images' time at which poses are asked for


@dataclass(frozen=True, slots=True)
class ImageTime:
    """When the images were taken, and what they are called."""

    topic: str
    frame: str
    count: int
    first_ns: int
    duration_ns: int  # at most

    def covered(self, trajectory: Trajectory, max_gap_s: float | None) -> float:
        """Share of the images' time at which a trajectory is known."""
        stamps = np.linspace(0, self.duration_ns, _SAMPLES).astype(np.int64) + self.first_ns
        return float(trajectory.at(stamps, max_gap_s=max_gap_s)[1].mean())


def poses_of_files(
    options: DriveOptions, images: ImageTime, warnings: list[str]
) -> tuple[BasePoses, str, str]:
    """What the files beside the recording say, a sentence for the user that they do, and names.

    Their notes and jumps go to `warnings`.
    """
    file = covering(options.pose_files, images.first_ns, images.first_ns + images.duration_ns)
    warnings += file.notes
    note_jumps(file.trajectory, file.name, warnings)
    poses = BasePoses(file.trajectory, options.pose_frame or 'map', '')
    what = f'TUM, {frame_of(poses.frame_id, None)}'
    said = said_poses(poses.trajectory, file.name, what, ['as --pose-file says'])
    return poses, said, file.name


def said_poses(trajectory: Trajectory, source: str, what: str, reasons: Sequence[str]) -> str:
    """For the user: what gave the poses, how many there are, and why these."""
    count, span_s = len(trajectory.stamps_ns), np.ptp(trajectory.stamps_ns) / 1e9
    rate = f', {(count - 1) / span_s:.2g} Hz' if span_s > 0 else ''
    because = f'; {"; ".join(reasons)}' if reasons else ''
    return f'poses from {source} ({what}): {count} in {span_s:.1f} s{rate}{because}'


def note_jumps(trajectory: Trajectory, source: str, warnings: list[str]) -> None:
    """Note where positions jump farther than a vehicle can drive, or move as none does."""
    if (usual_mps := trajectory.usual_speed_mps) > MOST_MPS:
        warnings.append(
            f'{source}: the positions move at {usual_mps:.0f} m/s at the median; metres and '
            'seconds are expected, are these millimetres?'
        )
    if jumps := trajectory.jumps:
        warnings.append(
            f'{source}: the position jumps {counted(len(jumps), "time")} farther than a vehicle '
            f'drives, the first {jumps[0]}; nothing is interpolated there'
        )


def note_clocks(images: ImageTime, trajectory: Trajectory, warnings: list[str]) -> None:
    """Note images that all lie before the first pose or after the last one."""
    first_ns, last_ns = int(trajectory.stamps_ns[0]), int(trajectory.stamps_ns[-1])
    late_ns = images.first_ns - last_ns
    early_ns = first_ns - images.first_ns - images.duration_ns
    if max(late_ns, early_ns) <= 0:
        return
    where, apart_s = ('later', late_ns / 1e9) if late_ns > 0 else ('earlier', early_ns / 1e9)
    than = 'than the last pose' if late_ns > 0 else 'than the first pose'
    which = 'the first image is' if late_ns > 0 else 'the images end'
    warnings.append(
        f'{which} {apart_s:.1f} s {where} {than}; {clock_question(images.first_ns, first_ns)}'
    )
