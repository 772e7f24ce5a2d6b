"""Image folders of every layout come out as drives."""

import re
import struct
import time
import zlib
from contextlib import suppress

import cv2
import numpy as np
import pytest
from image_folders import (
    GPS_TAG,
    SOFTWARE_TAG,
    known_at,
    names,
    photo,
    picture,
    posed_folder,
)
from PIL import Image
from worlds import picture as textured
from worlds import write_posed_folder

from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.geometry import (
    FORWARD_CAMERA,
    IDENTITY,
    angle_between,
    compose,
    invert,
    yaw_of,
    yaw_quat,
)
from vpr_ros.core.image import encode_jpeg, resize
from vpr_ros.core.image_header import exif_block
from vpr_ros.core.types import Datum
from vpr_ros.drives import DriveOptions, drives_in, open_drive
from vpr_ros.drives.camera_info import CameraInfo
from vpr_ros.drives.folder_to_bag import WriteOptions, write_bag
from vpr_ros.drives.geographic import (
    datum_at,
)
from vpr_ros.drives.pose_file import PoseFile, read_pose_files

# Poses from a file


def track(file, *rows):
    """A file in TUM format along x; rows are seconds and metres."""
    file.write_text(''.join(f'{seconds} {metres} 0 0 0 0 0 1\n' for seconds, metres in rows))
    return PoseFile.read(file)


@pytest.mark.parametrize(
    ('stems', 'stamps_ns'),
    [
        (['1700000001.25', '1700000002.5'],
         [1_700_000_001_250_000_000, 1_700_000_002_500_000_000]),
        (['1700000001250', '1700000002500'],
         [1_700_000_001_250_000_000, 1_700_000_002_500_000_000]),
        (['1700000001250000000', '1700000002500000001'],
         [1_700_000_001_250_000_000, 1_700_000_002_500_000_001]),
        (['1700000001', '1700000002'], [0, 10**9]),  # could be numbers of anything
        (['20260131120000', '20260131120001'], [0, 10**9]),  # a date
        (['0001250000000000', '0001250000000001'], [0, 10**9]),  # numbers of frames
        (['1250000000000000', '125000000000000'], [0, 10**9]),  # not of our time
        (['1700000001.25', 'last'], [0, 10**9]),
        (['1_700_000_001.25', '1_700_000_002.5'], [0, 10**9]),
        (['1e999999999', '2e999999999'], [0, 10**9]),
    ],
)  # fmt: skip
def test_images_that_are_named_by_their_stamps_have_these_stamps(tmp_path, stems, stamps_ns):
    for stem in stems:
        picture(tmp_path / f'{stem}.png')
    drive = open_drive(tmp_path)
    assert [frame.stamp_ns for frame in drive.frames()] == stamps_ns
    assert drive.trajectory is None and drive.warnings == []


def test_a_file_of_poses_tells_where_the_images_of_a_folder_were_taken(tmp_path):
    for stem in ('1700000001.25', '1700000002.5', '1700000009.5'):
        picture(tmp_path / 'frames' / f'{stem}.png')
    poses = track(tmp_path / 'slam.tum', (1700000001, 0), (1700000002, 1), (1700000003, 2))
    mounting = np.array([0.5, 0, 1, *FORWARD_CAMERA[3:]])
    options = DriveOptions(pose_files=(poses,), pose_frame='site', base_T_camera=mounting)
    drive = open_drive(tmp_path / 'frames', options)
    at, known = drive.trajectory.at(np.array([frame.stamp_ns for frame in drive.frames()]))
    assert known.tolist() == [True, True, False]
    np.testing.assert_allclose(at[:2, :3], [[0.75, 0, 1], [2, 0, 1]])
    assert drive.has_heading and drive.frame_id == 'site' and drive.datum is None
    assert drive.pose_source == (
        f'poses from {tmp_path}/slam.tum (TUM, frame site): 3 in 2.0 s, 1 Hz; as --pose-file says'
    )


def test_a_file_of_poses_is_used_instead_of_those_of_a_posed_folder(tmp_path):
    posed = posed_folder(tmp_path / 'posed')
    poses = track(tmp_path / 'slam.tum', (0, 10), (1, 20))
    drive = open_drive(posed, DriveOptions(pose_files=(poses,)))
    at, known = drive.trajectory.at(np.array([frame.stamp_ns for frame in drive.frames()]))
    assert known.all() and at[:, 0].tolist() == pytest.approx([10, 11, 12])


def test_of_the_files_of_several_drives_each_drive_takes_its_own(tmp_path):
    for stem in ('1700000001.5', '1700000101.5'):
        picture(tmp_path / stem / f'{stem}.png')
    track(tmp_path / 'day.tum', (1700000000, 0), (1700000002, 1))
    track(tmp_path / 'dusk.tum', (1700000100, 10), (1700000102, 11))
    options = DriveOptions(
        pose_files=read_pose_files([tmp_path / 'dusk.tum', tmp_path / 'day.tum'])
    )
    for stem, name, x_m in (('1700000001.5', 'day', 0.75), ('1700000101.5', 'dusk', 10.75)):
        drive = open_drive(tmp_path / stem, options)
        stamps_ns = np.array([frame.stamp_ns for frame in drive.frames()])
        at, known = drive.trajectory.at(stamps_ns, max_gap_s=9)
        assert known.tolist() == [True] and at[0, 0] == pytest.approx(x_m)
        assert drive.pose_source.startswith(f'poses from {tmp_path}/{name}.tum (TUM, frame map)')


def test_a_drive_that_needs_two_files_of_poses_has_both(tmp_path):
    for stem in ('1700000000.5', '1700000005.5'):
        picture(tmp_path / 'frames' / f'{stem}.png')
    track(tmp_path / 'a.tum', (1700000000, 0), (1700000001, 1))
    track(tmp_path / 'b.tum', (1700000005, 5), (1700000006, 6))
    options = DriveOptions(pose_files=read_pose_files([tmp_path / 'a.tum', tmp_path / 'b.tum']))
    drive = open_drive(tmp_path / 'frames', options)
    assert known_at(drive) == [True, True]
    assert f'poses from {tmp_path}/a.tum, {tmp_path}/b.tum (TUM' in drive.pose_source


def test_files_of_poses_that_tell_of_the_same_time_are_refused(tmp_path):
    track(tmp_path / 'a.tum', (0, 0), (5, 1))
    track(tmp_path / 'b.tum', (5, 0), (9, 1))
    with pytest.raises(DriveError, match=r'a\.tum and .*b\.tum overlap in time'):
        read_pose_files([tmp_path / 'b.tum', tmp_path / 'a.tum'])


def test_a_file_of_poses_needs_images_with_stamps(tmp_path):
    picture(tmp_path / 'frames' / 'a.png')
    poses = track(tmp_path / 'slam.tum', (0, 0), (1, 1))
    with pytest.raises(DriveError, match='images have no stamps, so --pose-file cannot tell'):
        open_drive(tmp_path / 'frames', DriveOptions(pose_files=(poses,)))


def test_what_is_wrong_with_a_file_of_poses_is_noted(tmp_path):
    picture(tmp_path / 'frames' / '1700000001.25.png')
    (tmp_path / 'slam.tum').write_text('0 0 0 0 0 0 0 1\n0.1 900 0 0 0 0 0 1\n0.2 0 0 0 0 0 0 2\n')
    poses = PoseFile.read(tmp_path / 'slam.tum')
    said = '\n'.join(open_drive(tmp_path / 'frames', DriveOptions(pose_files=(poses,))).warnings)
    assert '1 pose was skipped' in said and 'do both use the same clock?' in said
    assert 'the position jumps 1 time' in said


def test_every_folder_of_images_may_have_a_calibration(tmp_path):
    picture(tmp_path / '1700000001.25.png')
    (tmp_path / 'camera_info.yaml').write_text(
        'image_width: 32\nimage_height: 24\ndistortion_model: plumb_bob\n'
        'camera_matrix: {rows: 3, cols: 3, data: [30, 0, 16, 0, 30, 12, 0, 0, 1]}\n'
        'distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}\n'
    )
    camera = open_drive(tmp_path).camera
    assert camera is not None and camera.matrix == (30, 0, 16, 0, 30, 12, 0, 0, 1)
    written = CameraInfo.read(tmp_path / 'camera_info.yaml')  # without what stereo cameras need
    assert written.rectification == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert written.projection == (30, 0, 16, 0, 0, 30, 12, 0, 0, 0, 1, 0)


# Posed folders


def test_a_posed_folder_gives_its_images_with_their_poses(tmp_path):
    drive = open_drive(posed_folder(tmp_path))
    frames = list(drive.frames())
    assert [(frame.name, frame.stamp_ns) for frame in frames] == [
        ('0.jpg', 0),
        ('1.jpg', 10**8),
        ('2.jpg', 2 * 10**8),
    ]
    assert frames[1].load().shape == (24, 32, 3)
    np.testing.assert_array_equal(drive.trajectory.poses[:, 0], [0, 1, 2])
    assert drive.has_heading and not drive.mounting_known and drive.warnings == []
    np.testing.assert_array_equal(drive.base_T_camera, FORWARD_CAMERA)


def test_stamps_keep_their_nanoseconds(tmp_path):
    drive = open_drive(posed_folder(tmp_path, 'a.jpg,1700000000.123456789,0,0,0,0,0,0,1'))
    assert next(drive.frames()).stamp_ns == 1700000000123456789


def test_rows_in_any_order_come_in_time_order(tmp_path):
    drive = open_drive(posed_folder(tmp_path, 'b.jpg,2,2,0,0,0,0,0,1', 'a.jpg,1,1,0,0,0,0,0,1'))
    assert names(drive) == ['a.jpg', 'b.jpg']
    np.testing.assert_array_equal(drive.trajectory.poses[:, 0], [1, 2])


def test_images_that_share_a_stamp_keep_their_own_poses(tmp_path):
    drive = open_drive(posed_folder(tmp_path, 'a.jpg,1,1,0,0,0,0,0,1', 'b.jpg,1,2,0,0,0,0,0,1'))
    np.testing.assert_array_equal(drive.trajectory.poses[:, 0], [1, 2])
    assert known_at(drive) == [True, True]
    assert any('shares a stamp' in warning for warning in drive.warnings)


def test_the_mounting_is_read_or_given(tmp_path):
    posed_folder(tmp_path)
    (tmp_path / 'mounting.yaml').write_text('position: [1, 2, 3]\nquaternion_xyzw: [0, 0, 0, 1]\n')
    drive = open_drive(str(tmp_path))  # or a Path, as below
    assert drive.mounting_known
    np.testing.assert_array_equal(drive.base_T_camera, [1, 2, 3, 0, 0, 0, 1])
    given = open_drive(tmp_path, DriveOptions(base_T_camera=IDENTITY))
    np.testing.assert_array_equal(given.base_T_camera, IDENTITY)


@pytest.mark.parametrize(
    'content',
    ['position: [1, 2]', '{{', '', 'position: [1, 2, 3]\nquaternion_xyzw: [0, 0, 0, 0]', '- 1'],
)
def test_a_broken_mounting_is_named(tmp_path, content):
    posed_folder(tmp_path)
    (tmp_path / 'mounting.yaml').write_text(content)
    with pytest.raises(DriveError, match=r'mounting\.yaml'):
        open_drive(tmp_path)


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(
        DriveError, match=r'poses\.csv: no column stamp_s, qw; expected image,stamp_s'
    ):
        open_drive(posed_folder(tmp_path, 'a.jpg,0,0,0,0,0,0', header='image,x,y,z,qx,qy,qz'))


@pytest.mark.parametrize(
    'row',
    [
        'a.jpg,now,0,0,0,0,0,0,1',
        'a.jpg,0,0,0,zero,0,0,0,1',
        'a.jpg,0,0',
        'a.jpg,inf,0,0,0,0,0,0,1',
    ],
)
def test_a_word_that_is_no_number_is_named_with_its_line(tmp_path, row):
    with pytest.raises(DriveError, match=r'poses\.csv, line 2: .* are not eight numbers'):
        open_drive(posed_folder(tmp_path, row))


def test_rows_without_an_image_and_images_without_a_row_are_counted(tmp_path):
    rows = [f'{name}.jpg,{index},0,0,0,0,0,0,1' for index, name in enumerate('abc')]
    drive = open_drive(posed_folder(tmp_path, *rows, images=['a.jpg', 'x.jpg']))
    assert names(drive) == ['a.jpg']
    assert any(
        warning.startswith('2 rows of poses.csv name an image') for warning in drive.warnings
    )
    assert any(warning.startswith('1 image in') for warning in drive.warnings)


def test_a_nan_pose_leaves_its_image_without_one(tmp_path):
    drive = open_drive(
        posed_folder(
            tmp_path, 'a.jpg,0,0,0,0,0,0,0,1', 'b.jpg,.1,nan,0,0,0,0,0,1', 'c.jpg,.2,2,0,0,0,0,0,1'
        )
    )
    assert names(drive) == ['a.jpg', 'b.jpg', 'c.jpg']
    assert known_at(drive) == [True, False, True]
    assert any(
        warning.startswith('1 row of poses.csv has no usable pose') for warning in drive.warnings
    )


@pytest.mark.parametrize(
    ('row', 'complaint'),
    [
        ('a.jpg,0,nan,0,0,0,0,0,1', 'no usable pose'),
        ('a.jpg,0,0,0,0,0,0,0,0', 'no usable'),
    ],
)
def test_no_usable_pose_at_all_is_an_error(tmp_path, row, complaint):
    with pytest.raises(DriveError, match=complaint):
        open_drive(posed_folder(tmp_path, row))


def test_a_table_without_any_of_its_images_is_an_error(tmp_path):
    with pytest.raises(DriveError, match='none of the images in its 1 row is'):
        open_drive(posed_folder(tmp_path, 'a.jpg,0,0,0,0,0,0,0,1', images=['x.jpg']))


@pytest.mark.parametrize(
    'make', [lambda folder: None, lambda folder: (folder / 'notes.txt').write_text('x')]
)
def test_a_folder_without_images_says_what_is_understood(tmp_path, make):
    make(tmp_path)
    with pytest.raises(
        DriveError, match=r'no images in it; supported are images/ with poses\.csv'
    ):
        open_drive(tmp_path)


def test_a_folder_of_folders_names_those_with_images(tmp_path):
    picture(tmp_path / 'database' / '1.jpg')
    picture(tmp_path / 'queries' / '1.jpg')
    (tmp_path / 'map' / 'parts' / '0000').mkdir(parents=True)
    with pytest.raises(DriveError, match='no images in it: it is a map, give the recording;'):
        open_drive(tmp_path / 'map')
    with pytest.raises(DriveError, match='no images in it, but in database, queries'):
        open_drive(tmp_path)


# @utm@ names


def utm_folder(folder, *stems):
    for stem in stems:
        picture(folder / f'{stem}.jpg')
    return folder


def test_utm_names_give_metres_from_the_first_image_and_compass_headings(tmp_path):
    drive = open_drive(
        utm_folder(
            tmp_path,
            '@550506.5@4181256.9@10@S@@@@@0@@@@@@',
            '@550516.5@4181256.9@10@S@@@@@90@@@@@@',
        )
    )
    assert drive.datum == Datum(10, 'S', 550506.5, 4181256.9)
    np.testing.assert_allclose(drive.trajectory.poses[:, :3], [[0, 0, 0], [10, 0, 0]])
    headings = yaw_of(compose(drive.trajectory.poses, invert(FORWARD_CAMERA)))
    np.testing.assert_allclose(headings, [np.pi / 2, 0], atol=1e-9)  # north, east
    assert drive.has_heading


def test_the_camera_of_a_utm_image_stands_upright(tmp_path):
    drive = open_drive(utm_folder(tmp_path, '@1@2@10@S@@@@@30@@@@@@'))
    down = compose(drive.trajectory.poses[0], np.array([0, 1, 0, 0, 0, 0, 1.0]))[:3]
    np.testing.assert_allclose(down, [0, 0, -1], atol=1e-9)


def test_one_image_without_a_heading_makes_all_headings_unknown(tmp_path):
    drive = open_drive(utm_folder(tmp_path, '@1@2@10@S@@@@@30@@@@@@', '@1@3@10@S@@@@@@@@@@@'))
    assert not drive.has_heading
    np.testing.assert_array_equal(drive.trajectory.poses[:, 3:], np.tile(IDENTITY[3:], (2, 1)))


def test_only_the_two_utm_fields_are_required(tmp_path):
    drive = open_drive(utm_folder(tmp_path, '@1000@2000@', '@1003@2004@'))
    np.testing.assert_allclose(np.linalg.norm(drive.trajectory.poses[1, :3]), 5)
    other = open_drive(
        utm_folder(tmp_path / 'other', '@1003@2004@'), DriveOptions(datum=drive.datum)
    )
    np.testing.assert_allclose(other.trajectory.poses[0, :2], [3, 4])


def test_two_folders_agree_by_the_datum(tmp_path):
    datum = Datum(10, 'S', 1000.0, 2000.0)
    drive = open_drive(
        utm_folder(tmp_path, '@1003@2004@10@S@@@@@@@@@@@'), DriveOptions(datum=datum)
    )
    np.testing.assert_allclose(drive.trajectory.poses[0, :2], [3, 4])


@pytest.mark.parametrize('degrees', [True, False])
def test_two_zones_are_never_compared_as_they_stand(tmp_path, degrees):
    """Two images 63 m apart on the two sides of the border between the zones 32 and 33."""
    stems = []
    for longitude in (11.9995, 12.0005):
        datum = datum_at(55.7, longitude)
        where = f'{55.7}@{longitude}' if degrees else '@'
        stems.append(
            f'@{datum.east_m}@{datum.north_m}@{datum.utm_zone}@{datum.utm_letter}@{where}@@@@@@@@@'
        )
    drive = open_drive(utm_folder(tmp_path, *stems))
    assert np.linalg.norm(np.diff(drive.trajectory.poses[:, :3], axis=0)) == pytest.approx(
        62.8, abs=0.5
    )


def test_zones_that_cannot_be_converted_are_refused(tmp_path):
    with pytest.raises(
        DriveError,
        match=r'@2@3@33@.*zone 33 has no letter, .* in zone 32U; .*cannot be compared',
    ):
        open_drive(utm_folder(tmp_path, '@1@2@32@U@@@@@@@@@@@', '@2@3@33@@@@@@@@@@@@'))
    with pytest.raises(DriveError, match='no UTM zone in this name, but in others'):
        open_drive(utm_folder(tmp_path / 'other', '@1@2@32@U@@@@@@@@@@@', '@2@3@@@@@@@@@@@@@'))


@pytest.mark.parametrize(
    ('stem', 'complaint'),
    [
        ('@x@2@10@S@@@@@@@@@@@', "UTM_east is 'x'"),
        ('@1@nan@10@S@@@@@@@@@@@', "UTM_north is 'nan'"),
        ('@1@@10@S@@@@@@@@@@@', 'no UTM_east or UTM_north'),
        ('@1@2@61@S@@@@@@@@@@@', 'UTM zone 61, expected 1 to 60'),
        ('@1@2@32U@@@@@@@@@@@@', "zone is '32U', expected a number"),
        ('@1@2@10@I@@@@@@@@@@@', 'UTM letter I'),
        ('@1@2@10@S@@@@@north@@@@@@', "heading is 'north'"),
    ],
)
def test_broken_fields_are_named_with_the_file(tmp_path, stem, complaint):
    with pytest.raises(DriveError, match=f'^{stem}.jpg: {complaint}'):
        open_drive(utm_folder(tmp_path, stem))


# Photos


def test_photos_with_gps_are_placed_and_others_stay_without_a_pose(tmp_path):
    photo(tmp_path / '1.jpg', (55.7, 13.19))
    photo(tmp_path / '2.jpg')
    photo(tmp_path / '10.jpg', (55.701, 13.19))
    drive = open_drive(tmp_path, DriveOptions(max_pose_gap_s=100))
    assert names(drive) == ['1.jpg', '2.jpg', '10.jpg']
    assert known_at(drive) == [True, False, True]
    assert not drive.has_heading
    assert np.linalg.norm(drive.trajectory.poses[1, :3]) == pytest.approx(111.4, abs=0.5)
    assert '1 of 3 images has no position' in drive.warnings


@pytest.fixture
def far_from_utc(monkeypatch):
    """The zone of this computer's clock, which a photo's time must not depend on."""
    with monkeypatch.context() as changed:
        changed.setenv('TZ', 'UTC+5')
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures('far_from_utc')
def test_photos_with_directions_and_times_have_headings_and_stamps(tmp_path):
    photo(tmp_path / 'a.jpg', (55.7, 13.19), heading=90.0, taken='2020:01:01 00:00:09')
    photo(tmp_path / 'b.jpg', (55.7, 13.19), heading=180.0, taken='2020:01:01 00:00:01')
    drive = open_drive(tmp_path)
    assert names(drive) == ['b.jpg', 'a.jpg']
    assert next(drive.frames()).stamp_ns == 1577836801 * 10**9
    # west of the zone's middle, true north lies 1.495 degrees east of the grid's
    expected = np.radians([-90 - 1.495, 0 - 1.495])
    np.testing.assert_allclose(
        yaw_of(compose(drive.trajectory.poses, invert(FORWARD_CAMERA))), expected, atol=1e-4
    )


def test_photos_of_the_same_second_are_numbered_instead(tmp_path):
    for name in ('a.jpg', 'b.jpg'):
        photo(tmp_path / name, (55.7, 13.19), taken='2020:01:01 00:00:09')
    drive = open_drive(tmp_path)
    assert [frame.stamp_ns for frame in drive.frames()] == [0, 10**9]
    said = '2 of 2 images have a time, but not each one of its own; instead image k'
    assert any(warning.startswith(said) for warning in drive.warnings)


def test_south_is_south(tmp_path):
    photo(tmp_path / 'a.jpg', (33.9, 18.4), latitude_ref='S')
    assert open_drive(tmp_path).datum.utm_letter == 'H'


def test_a_broken_photo_is_the_error_of_that_photo_alone(tmp_path):
    photo(tmp_path / '1.jpg', (55.7, 13.19))
    (tmp_path / '2.jpg').write_bytes(b'')
    (tmp_path / '3.jpg').write_bytes((tmp_path / '1.jpg').read_bytes()[:200])
    frames = list(open_drive(tmp_path).frames())
    for frame in frames[1:]:
        with pytest.raises(ImageError, match=frame.name):
            frame.load()


# What photos say that cannot be, or that is not understood


def gps(path, tags, *, size=(32, 24)):
    """A photo with GPS tags as they are given, over a sound position."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    sound = {1: 'N', 2: (55.0, 42.0, 0.0), 3: 'E', 4: (13.0, 11.0, 24.0)}
    written = {tag: value for tag, value in (sound | tags).items() if value is not None}
    exif[SOFTWARE_TAG] = 'test'  # an empty one is not written into a PNG
    exif[GPS_TAG] = written
    Image.new('RGB', size, (90, 90, 90)).save(path, exif=exif)
    return path


ZERO = (0.0, 0.0, 0.0)


def test_a_photo_whose_position_was_zeroed_has_none_and_is_named(tmp_path):
    for number in range(4):
        gps(tmp_path / f'IMG_{number}.jpg', {2: ZERO, 4: ZERO} if number == 2 else {})
    drive = open_drive(tmp_path, DriveOptions(max_pose_gap_s=100))
    assert known_at(drive) == [True, True, False, True]
    assert np.ptp(drive.trajectory.poses[:, :2], axis=0).max() < 1
    assert any(said.startswith('1 photo has an impossible position') for said in drive.warnings)
    assert any('IMG_2.jpg: EXIF position 0.0, 0.0 is all zeros' in w for w in drive.warnings)
    assert '1 of 4 images has no position' in drive.warnings


@pytest.mark.parametrize(
    ('tags', 'said'),
    [
        ({2: (95.0, 0.0, 0.0)}, 'is not on the Earth'),
        ({2: (55.0, 90.0, 0.0)}, 'minutes and seconds up to 60'),
        ({1: 'Q'}, r'55\.7 Q, expected N or S'),
    ],
)
def test_one_photo_with_an_impossible_position_is_named_and_ends_nothing(tmp_path, tags, said):
    gps(tmp_path / '1.jpg', {})
    gps(tmp_path / '2.jpg', tags)
    drive = open_drive(tmp_path, DriveOptions(max_pose_gap_s=100))
    assert known_at(drive) == [True, False]
    (told,) = [warning for warning in drive.warnings if warning.startswith('1 photo has')]
    assert re.search(rf'the first: 2\.jpg.*({said})', told)


@pytest.mark.parametrize(
    ('tags', 'said', 'headed'),
    [
        ({16: 'M', 17: 90.0}, r'2 photos have a direction from magnetic north .*1\.jpg', True),
        ({16: 'T', 17: 90.0}, None, True),
        ({16: 'T', 17: 4000.0}, r'impossible direction.*1\.jpg \(4000 degrees', False),
        (
            {1: None, 3: None},
            r'without N or S, E or W, which is taken as north and east.*1\.jpg',
            False,
        ),
        ({9: 'V'}, r'receiver without a fix \(GPSStatus V\).*1\.jpg', False),
    ],
)
def test_what_is_doubtful_in_exif_data_is_told(tmp_path, tags, said, headed):
    for name in ('1.jpg', '2.jpg'):
        gps(tmp_path / name, tags)
    drive = open_drive(tmp_path, DriveOptions(max_pose_gap_s=100))
    assert known_at(drive) == [True, True] and drive.has_heading is headed
    told = [warning for warning in drive.warnings if 'photos have' in warning]
    assert not told if said is None else re.search(said, ' '.join(told))


def test_directions_that_are_not_used_are_told(tmp_path):
    gps(tmp_path / '1.jpg', {16: 'T', 17: 10.0})
    gps(tmp_path / '2.jpg', {})
    drive = open_drive(tmp_path)
    assert not drive.has_heading
    said = '1 of 2 images with a position has no direction'
    assert any(warning.startswith(said) for warning in drive.warnings)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_exif_data_are_found_in_every_kind_of_photo(tmp_path, suffix):
    made = gps(tmp_path / 'made' / f'1{".jpg" if suffix == ".tif" else suffix}', {})
    content = made.read_bytes()  # Pillow puts no GPS into a TIFF, whose form EXIF data have
    (tmp_path / f'1{suffix}').write_bytes(exif_block(content) if suffix == '.tif' else content)
    drive = open_drive(tmp_path)
    assert (drive.datum.utm_zone, drive.datum.utm_letter) == (33, 'U')


def test_exif_data_in_the_text_of_a_png_and_behind_its_picture_are_found(tmp_path):
    """As ImageMagick and exiftool leave them."""
    jpeg = gps(tmp_path / 'source' / '1.jpg', {}).read_bytes()
    block = exif_block(jpeg)
    plain = cv2.imencode('.png', np.full((24, 32, 3), 90, np.uint8))[1].tobytes()
    digits = b'\nexif\n%8d\n' % (len(block) + 6) + (b'Exif\0\0' + block).hex().encode()
    text = b'Raw profile type exif\0\0' + zlib.compress(digits)
    for number, (kind, content) in enumerate([(b'zTXt', text), (b'eXIf', block)]):
        crc = struct.pack('>I', zlib.crc32(kind + content))
        chunk = struct.pack('>I', len(content)) + kind + content + crc
        (tmp_path / f'{number}.png').write_bytes(plain[:-12] + chunk + plain[-12:])
    drive = open_drive(tmp_path, DriveOptions(max_pose_gap_s=100))
    assert known_at(drive) == [True, True]


def claims(path, width, height):
    """Let a PNG claim another size."""
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack('>II', width, height)
    content[29:33] = struct.pack('>I', zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)


def test_a_panorama_among_photos_tells_its_place_and_is_not_decoded(tmp_path):
    for number in range(3):
        gps(tmp_path / f'IMG_{number}.jpg', {})
    claims(gps(tmp_path / 'PANO.png', {}), 20992, 10496)
    drive = open_drive(tmp_path, DriveOptions(max_pose_gap_s=100))
    assert known_at(drive) == [True] * 4
    *others, panorama = drive.frames()
    assert all(frame.load().shape == (24, 32, 3) for frame in others)
    with pytest.raises(ImageError, match=r'PANO\.png: 20992x10496 pixels, expected at most 100'):
        panorama.load()
    written = write_bag(tmp_path, tmp_path / 'bag', WriteOptions())
    assert written.images == 3
    assert any('1 image could not be used, the first: ' in note for note in written.notes)


@pytest.mark.timeout(30)
def test_no_photo_ends_the_folder(tmp_path):
    gps(tmp_path / '0.jpg', {})
    sound = (tmp_path / '0.jpg').read_bytes()
    for end in range(0, 400, 7):
        (tmp_path / f'cut{end}.jpg').write_bytes(sound[:end])
    rng = np.random.default_rng(0)
    for number in range(60):
        broken = bytearray(sound)
        for at in rng.integers(0, 300, 5):
            broken[at] = rng.integers(0, 256)
        (tmp_path / f'broken{number}.jpg').write_bytes(broken)
    (tmp_path / 'endless.jpg').symlink_to('/dev/zero')
    (tmp_path / 'folder.jpg').mkdir()
    drive = open_drive(tmp_path)
    assert drive.trajectory is not None
    for frame in drive.frames():
        with suppress(ImageError):
            frame.load()


@pytest.mark.parametrize('inner', ['', 'images'])
def test_images_that_are_not_understood_are_named(tmp_path, inner):
    for number in range(9):
        picture(tmp_path / inner / f'{number}.png')
        (tmp_path / inner / f'IMG_{number}.HEIC').write_bytes(b'')
    (tmp_path / inner / 'raw.cr2').write_bytes(b'')
    (tmp_path / inner / '.hidden.heic').write_bytes(b'')
    warnings = open_drive(tmp_path).warnings
    assert '9 files .HEIC are not supported; convert them to JPEG' in warnings
    assert '1 file .cr2 is not supported; convert it to JPEG' in warnings
    for file in [*(tmp_path / inner).glob('*.png')]:
        file.unlink()
    with pytest.raises(DriveError, match=r'no images in it; 9 files \.HEIC are not supported'):
        open_drive(tmp_path)


def test_images_beside_a_table_that_are_not_understood_are_named(tmp_path):
    folder = posed_folder(tmp_path)
    (folder / 'images' / 'a.dng').write_bytes(b'')
    assert '1 file .dng is not supported; convert it to JPEG' in open_drive(folder).warnings


def test_a_stray_picture_among_utm_names_has_no_position(tmp_path):
    utm_folder(tmp_path, '@500000@5300000@32@U@@@@@@@@@@@', '@500005@5300000@32@U@@@@@@@@@@@')
    picture(tmp_path / 'overview.png')
    drive = open_drive(tmp_path, DriveOptions(max_pose_gap_s=100))
    assert known_at(drive) == [True, True, False]
    assert '1 of 3 images has no position' in drive.warnings


def test_a_stray_name_among_photos_is_no_position(tmp_path):
    gps(tmp_path / '1.jpg', {})
    gps(tmp_path / '@home.jpg', {})
    drive = open_drive(tmp_path, DriveOptions(max_pose_gap_s=100))
    assert known_at(drive) == [True, True]


def test_what_stands_behind_the_last_mark_of_a_name_is_no_field(tmp_path):
    drive = open_drive(utm_folder(tmp_path, '@1000@2000@1', '@1003@2004@2'))
    assert drive.datum.utm_zone == 0
    drive = open_drive(utm_folder(tmp_path / 'short', '@1000@2000.5', '@1003@2004.5'))
    np.testing.assert_allclose(np.linalg.norm(drive.trajectory.poses[1, :3]), 5)


def test_a_truncated_file_does_not_go_into_a_bag(tmp_path):
    good = picture(tmp_path / 'in' / '1.jpg')
    (tmp_path / 'in' / '2.jpg').write_bytes(good.read_bytes()[:-30])
    written = write_bag(tmp_path / 'in', tmp_path / 'bag', WriteOptions())
    assert written.images == 1 and any('truncated' in note for note in written.notes)


def test_plain_images_are_a_drive_without_poses_one_second_apart(tmp_path):
    for index in (1, 2, 10):
        picture(tmp_path / f'{index}.png')
    drive = open_drive(tmp_path)
    assert drive.trajectory is None
    assert [(frame.name, frame.stamp_ns) for frame in drive.frames()] == [
        ('1.png', 0),
        ('2.png', 10**9),
        ('10.png', 2 * 10**9),
    ]


# Real folders


def test_real_photos_are_where_their_survey_says(shared_data):
    east_m, north_m = 386_000.0, 6_174_000.0
    drive = open_drive(
        shared_data / 'lund_street_gps' / 'database',
        DriveOptions(datum=Datum(33, 'U', east_m, north_m)),
    )
    table = np.genfromtxt(
        shared_data / 'lund_street_gps' / 'positions.csv',
        delimiter=',',
        dtype=None,
        names=True,
        encoding=None,
    )
    surveyed = {
        row['image']: (row['utm_east'] - east_m, row['utm_north'] - north_m)
        for row in table
        if row['split'] == 'database'
    }
    assert names(drive) == sorted(surveyed)
    np.testing.assert_allclose(
        drive.trajectory.poses[:, :2], [surveyed[name] for name in names(drive)], atol=0.01
    )


def test_real_names_of_street_views_are_read(tmp_path):
    stem = (
        '@0550506.53@4181256.88@10@S@037.77726@-122.42647@4lvBxtHrrG--rnHW9UcwKA@@150@@@@201508@@'
    )
    drive = open_drive(utm_folder(tmp_path, stem))
    assert drive.datum == Datum(10, 'S', 550506.53, 4181256.88)
    yaw = yaw_quat(np.radians(-60.0 + 0.351))  # by the grid's north, not the compass's
    expected = compose(np.concatenate([np.zeros(3), yaw]), FORWARD_CAMERA)
    assert angle_between(drive.trajectory.poses[0, 3:], expected[3:]) < 1e-4


def test_a_large_photo_is_decoded_no_larger_than_is_asked_for(tmp_path):
    write_posed_folder(tmp_path, range(1))
    file = next((tmp_path / 'images').iterdir())
    file.write_bytes(encode_jpeg(textured(0, height=960, width=1280)))
    (frame,) = open_drive(tmp_path).frames()
    assert frame.load().shape == (960, 1280, 3)
    smaller = frame.load(at_least_hw=(320, 320))
    assert smaller.shape == (480, 640, 3)
    whole = resize(frame.load(), (64, 64)).astype(int)
    assert np.abs(resize(smaller, (64, 64)).astype(int) - whole).mean() < 1


def test_a_folder_of_photos_in_images_is_a_drive_of_its_own_among_others(tmp_path):
    for name in ('a/images', 'b/images', 'c'):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / '0.jpg').write_bytes(encode_jpeg(textured(0)))
    drives = [tmp_path / name for name in 'abc']
    assert drives_in([tmp_path]) == drives_in(drives) == drives
