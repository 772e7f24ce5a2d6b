"""Rotations by which no robot drives are told, whatever they come from."""

from pathlib import Path

import numpy as np
import pytest
from bags import compressed, odometry, writing
from worlds import picture, write_posed_folder

from vpr_ros.core.geometry import (
    FORWARD_CAMERA,
    IDENTITY,
    compose,
    invert,
    quat_multiply,
    yaw_of,
    yaw_quat,
)
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.tum import write_tum
from vpr_ros.drives import open_drive
from vpr_ros.drives.bag_poses import BasePoses
from vpr_ros.drives.drive import DriveOptions
from vpr_ros.drives.headings import with_true_headings
from vpr_ros.drives.pose_file import read_pose_files

COUNT = 200


def driven(*, backwards: bool = False) -> np.ndarray:
    """map_T_base along two streets and around the corner between them, with a little noise."""
    along = np.linspace(0, 60, COUNT)
    yaw = np.radians(20 + 3 * np.clip(along - 25, 0, 30))
    steps = np.stack([np.cos(yaw), np.sin(yaw), 0 * yaw], axis=1) * (along[1] - along[0])
    poses = np.concatenate([np.cumsum(steps, axis=0), yaw_quat(yaw + np.pi * backwards)], axis=1)
    poses[:, 2] += np.random.default_rng(0).normal(0, 0.01, COUNT)
    return poses


def turned(poses: np.ndarray, quats: np.ndarray) -> np.ndarray:
    return np.concatenate([poses[:, :3], np.broadcast_to(quats, (len(poses), 4))], axis=1)


def said(poses: np.ndarray, base_T_camera: np.ndarray = FORWARD_CAMERA) -> tuple[str, BasePoses]:
    stamps_ns = np.arange(len(poses)) * 10**8
    notes: list[str] = []
    base = BasePoses(Trajectory(stamps_ns, poses), 'map', 'base_link')
    found = with_true_headings(base, base_T_camera, '/pose', notes)
    assert len(notes) <= 1
    return ''.join(notes), found


def test_a_robot_that_drives_ahead_or_backs_up_is_right() -> None:
    assert said(driven())[0] == said(driven(backwards=True))[0] == ''
    to_and_fro = np.concatenate([driven(), driven()[::-1]])
    assert said(to_and_fro)[0] == ''


def test_a_straight_way_a_short_one_and_a_robot_that_stands_tell_nothing() -> None:
    poses = np.tile(IDENTITY, (COUNT, 1))
    assert said(poses)[1].has_heading
    poses[:, 0] = np.linspace(0, 50, COUNT)
    poses[COUNT // 2 :, 0] = np.linspace(50, 0, COUNT // 2)
    note, found = said(poses)
    assert note == '' and found.has_heading
    assert said(turned(driven()[:20], np.array([0.5, 0.5, 0.5, 0.5])))[0] == ''


def test_one_rotation_for_all_poses_of_a_way_that_turns_is_none() -> None:
    note, found = said(turned(driven(), yaw_quat(0.3)))
    assert note == (
        '/pose: the rotations of all 200 poses are the same, although the way turns, so headings '
        'are taken for unknown; record poses with measured rotations'
    )
    assert not found.has_heading and (found.trajectory.poses[:, 3:] == IDENTITY[3:]).all()
    assert (found.trajectory.poses[:, :3] == driven()[:, :3]).all()
    measured = turned(driven(), yaw_quat(0.3))
    measured[-1, 3:] = yaw_quat(0.31)
    assert said(measured)[1].has_heading


def test_w_in_front_and_poses_of_an_optical_frame_are_told() -> None:
    poses = driven()
    note = said(turned(poses, poses[:, [6, 3, 4, 5]]))[0]
    assert 'deg off upright at the median' in note and 'Is w the first number?' in note
    optical = compose(poses, FORWARD_CAMERA)
    assert 'by the rotations the robot is 90 deg off upright' in said(optical)[0]
    assert said(optical, IDENTITY)[0] == ''  # as --mounting says
    slam = compose(invert(optical[:1]), optical)  # in the first view's own axes
    assert 'moves up, not ahead' in said(slam)[0]
    assert said(slam)[0].endswith('Of poses of a camera, give --mounting "0 0 0 0 0 0 1"')


@pytest.mark.parametrize(('degrees', 'where'), [(-90, 'left'), (90, 'right')])
def test_headings_that_are_counted_from_north_are_told(degrees: float, where: str) -> None:
    poses = driven()
    aside = turned(poses, quat_multiply(poses[:, 3:], yaw_quat(np.radians(degrees))))
    assert f'the robot moves to its {where}, not ahead' in said(aside)[0]
    compass = turned(poses, yaw_quat(np.radians(90) - yaw_of(poses)))
    assert 'turn to the right where the way turns to the left' in said(compass)[0]


def test_a_robot_that_goes_in_all_directions_is_left_alone() -> None:
    """As one on mecanum wheels, a drone, or a camera in a hand."""
    poses = driven()
    looks = turned(poses, yaw_quat(np.linspace(0, 20, COUNT)))
    assert said(looks)[0] == ''
    assert said(turned(poses, yaw_quat(yaw_of(poses) + np.radians(50))))[0] == ''


def test_a_bag_and_a_folder_with_a_pose_file_say_it(tmp_path: Path) -> None:
    poses = turned(driven(), yaw_quat(0.0))
    with writing(tmp_path / 'bag') as put:
        for row, pose in enumerate(poses):
            put('/odom', 1 + row / 10, odometry(1 + row / 10, pose))
            if row % 20 == 0:
                put('/camera/compressed', 1 + row / 10, compressed(1 + row / 10, row))
    trajectory = Trajectory((10**9 * (1 + np.arange(COUNT) / 10)).astype(np.int64), poses)
    write_tum(tmp_path / 'poses.txt', trajectory)
    options = DriveOptions(pose_files=read_pose_files([tmp_path / 'poses.txt']))
    (tmp_path / 'images').mkdir()
    for row in range(0, COUNT, 20):
        stamp_ms = 1_700_000_000_000 + row
        file = tmp_path / 'images' / f'{stamp_ms}.jpg'
        file.write_bytes(encode_jpeg(picture(0), quality=95))
    for drive, source in (
        (open_drive(tmp_path / 'bag'), '/odom'),
        (open_drive(tmp_path / 'bag', options), f'{tmp_path}/poses.txt'),
        (open_drive(tmp_path / 'images', options), f'{tmp_path}/poses.txt'),
    ):
        assert not drive.has_heading and (drive.trajectory.poses[:, 3:] == IDENTITY[3:]).all()
        assert any(f'{source}: the rotations of all 200' in note for note in drive.warnings)


def test_a_camera_in_a_world_with_y_down_is_right(tmp_path: Path) -> None:
    """As the poses of KITTI are."""
    folder = write_posed_folder(tmp_path / 'drive', range(30))
    head, *rows = (folder / 'poses.csv').read_text().splitlines()
    way = [row.split(',')[:2] + ['0'] * 3 + ['0,0,0,1'] for row in rows]
    for number, row in enumerate(way):
        row[2:5] = f'{number % 2 / 50}', f'{number % 3 / 50}', str(number)
    (folder / 'poses.csv').write_text('\n'.join([head, *map(','.join, way)]))
    drive = open_drive(folder)
    assert drive.has_heading and drive.warnings == []


def test_a_table_with_the_rotations_of_the_robot_is_told(tmp_path: Path) -> None:
    folder = write_posed_folder(tmp_path / 'drive', range(30))
    assert open_drive(folder).warnings == []
    head, *rows = (folder / 'poses.csv').read_text().splitlines()
    ahead = [','.join([*row.split(',')[:5], '0,0,0.01,0.99995']) for row in rows]
    (folder / 'poses.csv').write_text('\n'.join([head, *ahead]))
    (note,) = open_drive(folder).warnings
    assert note.startswith(
        'poses.csv: by the rotations the camera looks up and moves to its side;'
    )
    way = turned(driven()[:: COUNT // 29][:30], FORWARD_CAMERA[3:])
    numbers = [','.join(f'{number:.6f}' for number in pose) for pose in way]
    placeholders = [f'{row.rsplit(",", 7)[0]},{pose}' for row, pose in zip(rows, numbers)]
    (folder / 'poses.csv').write_text('\n'.join([head, *placeholders]))
    drive = open_drive(folder)
    assert not drive.has_heading and (drive.trajectory.poses[:, 3:] == IDENTITY[3:]).all()
    assert 'poses.csv: the rotations of all 30 poses are the same' in drive.warnings[0]
