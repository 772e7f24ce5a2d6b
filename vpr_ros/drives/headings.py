"""Whether the rotations of poses go together with the way, which tells rotations that are none.

Positions look right on every plot, while the rotations beside them may be a placeholder, in
another order of numbers, of another frame or of a compass. Nothing then fails: the map has few
landmarks, and robots publish wrong headings. But a robot drives ahead, so its way tells what its
rotations should say.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.geometry import (
    IDENTITY,
    angle_between,
    interpolate,
    quat_conjugate,
    rotate,
    yaw_of,
)
from vpr_ros.core.plurals import counted
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.types import Poses
from vpr_ros.drives.bag_poses import BasePoses

Array = NDArray[np.float64]

_UPWARDS = _OPTICAL = np.array([0.0, 0.0, 1.0])  # z of a base, and of an optical frame
_STEP_M = 0.5  # less may be the noise of a robot that stands
_FEWEST = 20  # steps, or views, that tell
_LONGEST_M = 20.0  # of a step; what is longer tells no direction
_SAME_RAD = 1e-4  # between rotations of which none was measured
_STRAIGHT = 0.9  # share of the motion along one line
_LYING_RAD = np.radians(60.0)
_ASIDE_RAD = np.radians(60.0)
_MOST_AHEAD = 0.2  # share of the steps, within 45 degrees of ahead or behind
_ALIKE = 0.8  # share of the motion along one axis of the robot
_FITS, _FITS_NOT = 0.9, 0.7  # mean of unit vectors
_ALONG_UP = 0.7  # of the viewing direction: the base may be the optical frame itself
_LOOK = 64  # poses at a time
_UP = 0.9  # at the median, of the viewing direction upwards, and of the way to the side
_EXPECTED = 'expected are rotations x y z w of a frame with x ahead, y left and z up'


def with_true_headings(
    base: BasePoses, base_T_camera: Poses, source: str, warnings: list[str]
) -> BasePoses:
    """The poses without rotations that are a placeholder; others that are wrong are noted.

    source: of the poses, for people.
    """
    if not base.has_heading:
        return base
    trajectory = base.trajectory
    steps = _steps(trajectory.poses)
    if _are_placeholders(trajectory.poses, steps):
        count = counted(len(trajectory.poses), 'pose')
        warnings.append(
            f'{source}: the rotations of all {count} are the same, although the way turns, so '
            'headings are taken for unknown; record poses with measured rotations'
        )
        poses = trajectory.poses.copy()
        poses[:, 3:] = IDENTITY[3:]
        positions = Trajectory(trajectory.stamps_ns, poses, trajectory.interpolates)
        return replace(base, trajectory=positions, has_heading=False)
    looking = rotate(base_T_camera[3:], _OPTICAL)
    if abs(looking[2]) <= _ALONG_UP and len(steps[0]) >= _FEWEST and (said := _wrong(steps)):
        warnings.append(f'{source}: {said}')
    return base


def with_true_views(
    cameras: Trajectory, source: str, warnings: list[str]
) -> tuple[Trajectory, bool]:
    """The same for map_T_camera, of a camera that may look anywhere, and if it has headings."""
    poses = with_true_headings(BasePoses(cameras, '', ''), IDENTITY, source, warnings)
    middles, moved = _steps(cameras.poses)
    is_of_robot = False
    if poses.has_heading and len(moved) >= _FEWEST:
        looking = rotate(middles[:, 3:], np.broadcast_to(_OPTICAL, moved.shape))
        to_right = np.abs(rotate(quat_conjugate(middles[:, 3:]), moved)[:, 0])
        is_of_robot = min(np.median(looking[:, 2]), np.median(to_right)) > _UP
    if is_of_robot:
        warnings.append(
            f'{source}: by the rotations the camera looks up and moves to its side; expected are '
            'those of its optical frame, z ahead and x to the right. Poses of a robot (x ahead) '
            'go into a file for --pose-file; ignore this if the camera looks at the ceiling'
        )
    return poses.trajectory, poses.has_heading


def _are_placeholders(poses: Poses, steps: tuple[Poses, Array]) -> bool:
    """Whether all rotations are one and the same, although the way turns."""
    if len(steps[0]) < _FEWEST or (angle_between(poses[:1, 3:], poses[:, 3:]) > _SAME_RAD).any():
        return False
    return not _is_straight(steps[1])


def _wrong(steps: tuple[Poses, Array]) -> str:
    """What is wrong with the rotations; '' where nothing is."""
    poses, moved = steps
    ups = rotate(poses[:, 3:], np.broadcast_to(_UPWARDS, moved.shape))
    lying_rad = float(np.median(np.arccos(np.clip(ups[:, 2], -1.0, 1.0))))
    if lying_rad > _LYING_RAD:
        return (
            f'by the rotations the robot is {np.degrees(lying_rad):.0f} deg off upright at the '
            f'median; {_EXPECTED}. Is w the first number? Of poses of a camera, give '
            '--mounting "0 0 0 0 0 0 1"'
        )
    turned = np.exp(1j * _directions(steps))
    heading = np.exp(1j * yaw_of(poses))
    if abs((turned * heading).mean()) > _FITS and abs((turned / heading).mean()) < _FITS_NOT:
        return (
            'the headings turn to the right where the way turns to the left; headings are '
            'expected to grow to the left (from x to y), are these of a compass or NED?'
        )
    way = rotate(quat_conjugate(poses[:, 3:]), moved)  # in the robot's own axes
    along = np.abs(way[:, 0]) > np.sqrt(0.5)
    shares, axes = np.linalg.eigh(way.T @ way / len(way))
    axis = axes[:, -1] * (1 if (way @ axes[:, -1]).sum() >= 0 else -1)
    aside_rad = float(np.arccos(min(abs(axis[0]), 1.0)))
    if along.mean() > _MOST_AHEAD or shares[-1] < _ALIKE or aside_rad < _ASIDE_RAD:
        return ''
    if abs(axis[2]) > abs(axis[1]):
        where = 'up' if axis[2] > 0 else 'down'
        step = 'Of poses of a camera, give --mounting "0 0 0 0 0 0 1"'
    else:
        where = 'to its left' if axis[1] > 0 else 'to its right'
        step = 'Are the headings counted from north? Ignore this if the robot drives so'
    return f'by the rotations the robot moves {where}, not ahead; {_EXPECTED}. {step}'


def _steps(poses: Poses) -> tuple[Poses, Array]:
    """Steps of half a metre and more: poses in their middle [S, 7], and unit vectors [S, 3]."""
    kept = [0]
    positions = poses[:, :3]
    row = 0
    while True:
        apart_m = np.linalg.norm(
            positions[row + 1 : row + 1 + _LOOK] - positions[kept[-1]], axis=1
        )
        far = np.flatnonzero(apart_m >= _STEP_M)
        if far.size:
            row += 1 + int(far[0])
            kept.append(row)
        elif row + 1 + _LOOK < len(poses):
            row += _LOOK
        else:
            break
    rows = np.array(kept)
    moved = np.diff(positions[rows], axis=0)
    lengths_m = np.linalg.norm(moved, axis=1)
    tells = lengths_m <= _LONGEST_M
    before, after = poses[rows[:-1]][tells], poses[rows[1:]][tells]
    return interpolate(before, after, np.full(len(before), 0.5)), (
        moved[tells] / lengths_m[tells][:, None]
    )


def _directions(steps: tuple[Poses, Array]) -> Array:
    """Of the way in the plane, radians [S]."""
    return np.asarray(np.arctan2(steps[1][:, 1], steps[1][:, 0]))


def _is_straight(moved: Array) -> bool:
    """Whether steps [S, 3] go along one line, to and fro."""
    return bool(np.linalg.eigvalsh(moved.T @ moved / len(moved))[-1] > _STRAIGHT)
