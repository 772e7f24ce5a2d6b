"""Image folders become bags that hold the same."""

import shutil
import sqlite3

import cv2
import numpy as np
import pytest
from image_folders import photo, picture, posed_folder

from vpr_ros import images_to_bag
from vpr_ros.cli.command import command
from vpr_ros.core.errors import DriveError
from vpr_ros.core.geometry import (
    FORWARD_CAMERA,
    IDENTITY,
    angle_between,
    compose,
)
from vpr_ros.drives import open_drive
from vpr_ros.drives.folder_to_bag import WriteOptions, write_bag
from vpr_ros.drives.writer import STORAGES, writing


def same_drive(found, expected):
    """Frames, stamps and camera poses agree; a drive that begins at zero is a second later."""
    expected_ns = np.array([frame.stamp_ns for frame in expected.frames()])
    shift_ns = 10**9 if expected_ns[0] == 0 else 0
    found_ns = [frame.stamp_ns for frame in found.frames()]
    np.testing.assert_array_equal(found_ns, expected_ns + shift_ns)
    for one, other in zip(found.frames(), expected.frames()):
        np.testing.assert_array_equal(one.load(), other.load())
    np.testing.assert_array_equal(
        found.trajectory.stamps_ns, expected.trajectory.stamps_ns + shift_ns
    )
    np.testing.assert_allclose(
        found.trajectory.poses[:, :3], expected.trajectory.poses[:, :3], atol=1e-3
    )
    assert (
        angle_between(found.trajectory.poses[:, 3:], expected.trajectory.poses[:, 3:]).max() < 1e-6
    )
    assert found.has_heading == expected.has_heading


def target(tmp_path, storage):
    return tmp_path / ('out.bag' if storage == 'ros1' else 'out')


@pytest.mark.parametrize('raw', [False, True])
@pytest.mark.parametrize('storage', STORAGES)
def test_a_posed_folder_comes_back_out_of_its_bag(tmp_path, storage, raw):
    folder = posed_folder(
        tmp_path / 'in',
        *[f'{k}.jpg,{k + 1}.5,{k},2,3,0,0,{np.sin(k)},{np.cos(k)}' for k in range(4)],
    )
    (folder / 'mounting.yaml').write_text(
        'position: [1, 0, 2]\nquaternion_xyzw: [-0.5, 0.5, -0.5, 0.5]\n'
    )
    output = target(tmp_path, storage)
    written = write_bag(folder, output, WriteOptions(storage=storage, raw=raw))
    assert (written.images, written.poses, written.pose_topic) == (4, 4, '/odom')
    found = open_drive(output)
    same_drive(found, open_drive(folder))
    np.testing.assert_allclose(found.base_T_camera, [1, 0, 2, -0.5, 0.5, -0.5, 0.5])
    assert found.mounting_known and found.warnings == []


@pytest.mark.parametrize('storage', STORAGES)
def test_positions_without_headings_stay_geographic_in_the_bag(tmp_path, storage):
    for index, degrees in enumerate([(55.7, 13.19), None, (55.701, 13.191)]):
        photo(tmp_path / 'in' / f'{index}.jpg', degrees)
    output = target(tmp_path, storage)
    written = write_bag(tmp_path / 'in', output, WriteOptions(storage=storage))
    assert (written.images, written.poses, written.pose_topic) == (3, 2, '/fix')
    found, expected = open_drive(output), open_drive(tmp_path / 'in')
    same_drive(found, expected)
    assert (found.datum.utm_zone, found.datum.utm_letter) == (33, 'U')
    assert found.datum.east_m == pytest.approx(expected.datum.east_m, abs=1e-3)


def test_plain_images_become_a_drive_along_x(tmp_path):
    for index in range(3):
        picture(tmp_path / 'in' / f'{index}.png', index)
    options = WriteOptions(spacing_m=2.0, rate_hz=10.0)
    written = write_bag(tmp_path / 'in', tmp_path / 'out', options)
    assert 'the images are placed along x, one every 2 m' in written.notes
    drive = open_drive(tmp_path / 'out')
    assert [frame.stamp_ns for frame in drive.frames()] == [10**9, 11 * 10**8, 12 * 10**8]
    np.testing.assert_allclose(
        drive.trajectory.poses,
        compose(np.array([[2.0 * k, 0, 0, 0, 0, 0, 1] for k in range(3)]), FORWARD_CAMERA),
    )


def test_jpeg_and_png_files_are_copied_byte_by_byte_and_others_lose_nothing(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'in').mkdir()
    for name in ('a.jpg', 'b.png', 'c.bmp'):
        assert cv2.imwrite(
            str(tmp_path / 'in' / name), rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        )
    write_bag(tmp_path / 'in', tmp_path / 'out')
    content = (tmp_path / 'out' / 'out.mcap').read_bytes()
    assert (tmp_path / 'in' / 'a.jpg').read_bytes() in content
    assert (tmp_path / 'in' / 'b.png').read_bytes() in content
    for one, other in zip(
        open_drive(tmp_path / 'out').frames(), open_drive(tmp_path / 'in').frames()
    ):
        np.testing.assert_array_equal(one.load(), other.load())


@pytest.mark.parametrize('storage', STORAGES)
def test_a_failure_leaves_the_old_bag_whole_and_nothing_else(tmp_path, storage):
    output = target(tmp_path, storage)
    folder = posed_folder(tmp_path / 'in')
    write_bag(folder, output, WriteOptions(storage=storage))
    before = [frame.stamp_ns for frame in open_drive(output).frames()]
    with pytest.raises(RuntimeError, match='power'), writing(output, storage) as bag:
        bag.odometry(0, IDENTITY)
        raise RuntimeError('power failure')
    assert [frame.stamp_ns for frame in open_drive(output).frames()] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(['in', output.name])
    write_bag(folder, output, WriteOptions(storage=storage, rate_hz=1.0))
    assert [frame.stamp_ns for frame in open_drive(output).frames()] == [
        n * 10**9 for n in (1, 2, 3)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(['in', output.name])


def test_what_is_no_bag_is_never_replaced(tmp_path):
    folder = posed_folder(tmp_path / 'in')
    precious = tmp_path / 'precious'
    precious.mkdir()
    (precious / 'thesis.tex').write_text('x')
    with pytest.raises(DriveError, match='exists and is not a ROS 2 bag'):
        write_bag(folder, precious)
    with pytest.raises(DriveError, match=r'ends in \.bag'):
        write_bag(folder, tmp_path / 'out', WriteOptions(storage='ros1'))
    with pytest.raises(DriveError, match=r'is a folder; leave out \.mcap'):
        write_bag(folder, tmp_path / 'out.mcap')
    assert (precious / 'thesis.tex').read_text() == 'x'


def test_unusable_images_are_left_out_and_said(tmp_path):
    folder = posed_folder(tmp_path / 'in')
    (folder / 'images' / '1.jpg').write_bytes(b'garbage')
    written = write_bag(folder, tmp_path / 'out')
    assert written.images == 2
    assert any('1 image could not be used, the first: ' in note for note in written.notes)
    for name in ('0.jpg', '2.jpg'):
        (folder / 'images' / name).write_bytes(b'')
    with pytest.raises(DriveError, match='not one of its 3 images can be used'):
        write_bag(folder, tmp_path / 'none')
    assert not (tmp_path / 'none').exists()


def test_the_calibration_goes_along(tmp_path, shared_data):
    from rosbags.highlevel import AnyReader

    write_bag(shared_data / 'kitti_clip1', tmp_path / 'out')
    with AnyReader([tmp_path / 'out']) as reader:
        counts = {entry.topic: entry.msgcount for entry in reader.connections}
        connections = [
            entry for entry in reader.connections if entry.topic == '/camera/camera_info'
        ]
        _, _, data = next(reader.messages(connections))
        camera_info = reader.deserialize(data, connections[0].msgtype)
    assert counts == {
        '/odom': 51,
        '/camera/camera_info': 51,
        '/camera/image/compressed': 51,
    }
    assert (camera_info.width, camera_info.height) == (1226, 370)
    assert camera_info.k.tolist() == [707.0912, 0, 601.8873, 0, 707.0912, 183.1104, 0, 0, 1]
    assert camera_info.r.tolist() == np.eye(3).ravel().tolist()
    assert camera_info.p.reshape(3, 4)[:, :3].ravel().tolist() == camera_info.k.tolist()


def test_an_assumed_mounting_is_not_recorded_as_a_fact(tmp_path):
    write_bag(posed_folder(tmp_path / 'in'), tmp_path / 'out')
    found = open_drive(tmp_path / 'out')
    assert not found.mounting_known
    same_drive(found, open_drive(tmp_path / 'in'))


SHORT_CALIBRATION = """
image_width: 4
image_height: 3
distortion_model: plumb_bob
distortion_coefficients: {data: [0, 0, 0, 0, 0]}
camera_matrix: {data: [1, 0, 2, 0, 1, 2, 0, 0, 1]}
rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {data: [1, 0, 2, 0, 1, 2, 0, 0, 1]}
"""


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('image_width: 3', 'not a ROS camera calibration'),
        (SHORT_CALIBRATION, r'matrices of \[9, 9, 9\] numbers, expected 9, 9 and 12'),
    ],
)
def test_a_broken_calibration_is_named(tmp_path, text, said):
    folder = posed_folder(tmp_path / 'in')
    (folder / 'camera_info.yaml').write_text(text)
    with pytest.raises(DriveError, match=rf'camera_info\.yaml: {said}'):
        write_bag(folder, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_the_command_makes_a_bag_and_says_what_is_in_it(tmp_path, capsys):
    folder = posed_folder(tmp_path / 'in')
    words = [str(folder), '--output', str(tmp_path / 'out.bag'), '--storage', 'ros1']
    assert images_to_bag.main(words) == 0
    assert '3 images, 3 poses on /odom' in capsys.readouterr().out


@pytest.mark.parametrize('storage', STORAGES)
def test_the_command_never_replaces_a_bag_that_may_be_a_recording(tmp_path, capsys, storage):
    output = target(tmp_path, storage)
    folder = posed_folder(tmp_path / 'in')
    with writing(output, storage) as bag:
        bag.odometry(0, IDENTITY)
    files = [output] if output.is_file() else sorted(output.iterdir())
    recorded = [file.read_bytes() for file in files]
    words = [str(folder), '--output', str(output), '--storage', storage]
    assert images_to_bag.main(words) == 2
    assert 'give another --output, or delete it first' in capsys.readouterr().err
    assert [file.read_bytes() for file in files] == recorded


@pytest.mark.parametrize(
    ('words', 'complaint'),
    [
        (['{tmp}/nothing'], 'no such file or folder'),
        (['{tmp}/in', '--spacing', '2'], 'its images have poses'),
        (['{tmp}/in', '--datum', 'Lund'], "--datum 'Lund'"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_2(tmp_path, capsys, words, complaint):
    posed_folder(tmp_path / 'in')
    words = [word.format(tmp=tmp_path) for word in words]
    assert images_to_bag.main([*words, '--output', str(tmp_path / 'out')]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_ctrl_c_is_one_line_and_status_130(capsys):
    @command
    def interrupted(argv):
        raise KeyboardInterrupt

    assert interrupted() == 130
    assert capsys.readouterr().err == 'stopped\n'


@pytest.mark.parametrize(
    'error', [OSError(28, 'disk is full'), sqlite3.OperationalError('database or disk is full')]
)
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, capsys, error):
    def full(*_):
        raise error

    folder = posed_folder(tmp_path / 'in')
    monkeypatch.setattr('rosbags.rosbag2.Writer.write', full)
    assert images_to_bag.main([str(folder), '--output', str(tmp_path / 'out')]) == 2
    said = capsys.readouterr().err
    assert 'out: cannot be written (' in said and 'disk is full' in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in']


def test_a_real_posed_folder_survives_every_storage(tmp_path, shared_data):
    expected = open_drive(shared_data / 'kitti_clip1')
    assert len(expected) == len(expected.trajectory.stamps_ns) == 51
    for storage in STORAGES:
        write_bag(
            shared_data / 'kitti_clip1', target(tmp_path, storage), WriteOptions(storage=storage)
        )
        same_drive(open_drive(target(tmp_path, storage)), expected)
        shutil.rmtree(tmp_path / 'out', ignore_errors=True)
