"""Bags of every kind come out as the same drive, and broken ones say what is wrong with them."""

import shutil
import sqlite3
import struct
import tracemalloc
from itertools import pairwise

import bags
import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vpr_ros.core.errors import DriveError, ImageError
from vpr_ros.core.geometry import FORWARD_CAMERA, IDENTITY, compose, invert, yaw_of
from vpr_ros.core.types import Datum
from vpr_ros.drives import DriveOptions, open_drive
from vpr_ros.drives.mended import mend
from vpr_ros.drives.pose_file import PoseFile
from vpr_ros.drives.reader import cdr_converter, open_reader
from vpr_ros.map_care.build import MapOptions, Report, posed_frames
from vpr_ros.map_care.spacing import Spacing


def stamps_s(drive):
    return [frame.stamp_ns / 1e9 for frame in drive.frames()]


def positions(drive, *seconds):
    """Where the camera was, None where that is not known."""
    poses, known = drive.trajectory.at(np.array([round(second * 1e9) for second in seconds]))
    return [
        pose[:3].round(6).tolist() if is_known else None for pose, is_known in zip(poses, known)
    ]


@pytest.mark.parametrize('kind', bags.KINDS)
def test_every_storage_and_compression_gives_the_same_drive(tmp_path, kind):
    drive = open_drive(bags.plain_bag(tmp_path / 'bag', kind))
    assert len(drive) == 5
    assert drive.warnings == []
    assert drive.frame_id == 'map'
    assert drive.has_heading and drive.mounting_known
    np.testing.assert_allclose(drive.base_T_camera, [0.2, 0, 1, -0.5, 0.5, -0.5, 0.5])
    frames = list(drive.frames())
    assert [frame.stamp_ns for frame in frames] == [index * 10**9 for index in range(1, 6)]
    assert [int(frame.load().mean()) for frame in frames] == [1, 2, 3, 4, 5]
    assert len({frame.name for frame in frames}) == 5
    assert positions(drive, 1, 2.5, 5.5) == [[1.2, 0, 1], [2.7, 0, 1], [5.7, 0, 1]]
    assert yaw_of(compose(drive.trajectory.poses[0], invert(FORWARD_CAMERA))) == pytest.approx(0)


def test_a_file_of_poses_is_used_instead_of_those_of_a_bag(tmp_path):
    bag = bags.plain_bag(tmp_path / 'bag')
    (tmp_path / 'slam.tum').write_text('1 30 0 0 0 0 0 1\n4 60 0 0 0 0 0 1\n')
    poses = PoseFile.read(tmp_path / 'slam.tum')
    drive = open_drive(bag, DriveOptions(pose_files=(poses,)))
    # The mounting of the bag's tf_static holds: 0.2 m ahead and 1 m above.
    assert positions(drive, 2, 3, 5) == [[40.2, 0, 1], [50.2, 0, 1], None]
    assert drive.mounting_known and drive.has_heading and drive.frame_id == 'map'
    assert drive.pose_source.startswith(f'poses from {tmp_path}/slam.tum (TUM, frame map): 2 in')


def test_frames_can_be_read_twice_and_interleaved(tmp_path):
    drive = open_drive(bags.plain_bag(tmp_path / 'bag'))
    first, second = drive.frames(), drive.frames()
    assert [(next(first).name, next(second).name) for _ in range(5)] == [
        (frame.name,) * 2 for frame in drive.frames()
    ]


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3'])
def test_a_storage_file_alone_is_a_bag(tmp_path, kind):
    bag = bags.plain_bag(tmp_path / 'bag', kind)
    file = next(file for file in bag.iterdir() if file.name != 'metadata.yaml')
    assert stamps_s(open_drive(file)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize('kind', ['ros1', 'mcap', 'sqlite3'])
def test_a_split_bag_is_read_as_one(tmp_path, kind):
    parts = []
    for part in range(3):
        with bags.writing(tmp_path / f'part_{part}', kind) as put:
            for index in range(2):
                seconds = 2 * part + index + 1
                put('/image', seconds, bags.image(seconds, seconds))
                put('/odom', seconds, bags.odometry(seconds, bags.along_x(seconds)))
        name = tmp_path / f'part_{part}'
        parts.append(name.with_suffix('.bag') if kind == 'ros1' else name)
    drive = open_drive(parts)
    assert stamps_s(drive) == [1, 2, 3, 4, 5, 6]
    assert positions(drive, 2.5)[0][0] == 2.5


def test_a_folder_of_ros1_bags_is_a_split_bag(tmp_path):
    for part in (2, 10):
        with bags.writing(tmp_path / f'part_{part}', 'ros1') as put:
            put('/image', part, bags.image(part, part))
    assert stamps_s(open_drive(tmp_path)) == [2, 10]


def test_a_folder_without_metadata_is_read_with_a_note(tmp_path):
    bag = bags.plain_bag(tmp_path / 'bag')
    (bag / 'metadata.yaml').unlink()
    drive = open_drive(bag)
    assert len(drive) == 5
    assert any('ros2 bag reindex' in warning for warning in drive.warnings)


def test_sqlite3_without_definitions_is_read(tmp_path):
    """Recorders before Iron did not store them."""
    bag = bags.plain_bag(tmp_path / 'bag', 'sqlite3')
    with sqlite3.connect(bag / 'bag.db3') as database:
        database.execute('DELETE FROM message_definitions')
    database.close()
    assert stamps_s(open_drive(bag)) == [1, 2, 3, 4, 5]


# Poses


@pytest.mark.parametrize('kind', ['ros1', 'mcap'])
@pytest.mark.parametrize('pose', [bags.odometry, bags.pose_stamped, bags.pose_with_covariance])
def test_each_pose_type_is_read(tmp_path, pose, kind):
    with bags.writing(tmp_path / 'bag', kind) as put:
        for second in (1, 2):
            put('/image', second, bags.compressed(second, second))
            put('/pose', second, pose(second, bags.along_x(second)))
    drive = open_drive(
        (tmp_path / 'bag').with_suffix('.bag') if kind == 'ros1' else tmp_path / 'bag'
    )
    assert positions(drive, 1, 1.5) == [[1, 0, 0], [1.5, 0, 0]]
    assert not drive.mounting_known
    np.testing.assert_array_equal(drive.base_T_camera, FORWARD_CAMERA)


def gps_bag(path, *fixes):
    with bags.writing(path) as put:
        for index, position in enumerate(fixes):
            put('/image', index, bags.image(index, index))
            put(
                '/fix',
                index,
                bags.fix(index, *position[:2], status=position[2] if len(position) > 2 else 0),
            )
    return path


def test_gps_gives_metres_from_the_first_fix_and_no_heading(tmp_path):
    drive = open_drive(gps_bag(tmp_path / 'bag', (55.7, 13.19), (55.701, 13.19), (55.7, 13.191)))
    assert not drive.has_heading
    assert (drive.datum.utm_zone, drive.datum.utm_letter) == (33, 'U')
    np.testing.assert_allclose(drive.trajectory.poses[:, 3:], np.tile(IDENTITY[3:], (3, 1)))
    north, east = drive.trajectory.poses[1, :3], drive.trajectory.poses[2, :3]
    assert np.linalg.norm(north) == pytest.approx(111.4, abs=0.5)
    assert np.linalg.norm(east) == pytest.approx(62.8, abs=0.5)
    assert north[2] == east[2] == 0


def test_gps_is_relative_to_the_datum_of_the_options(tmp_path):
    datum = Datum(33, 'U', 386000.0, 6174000.0)
    drive = open_drive(
        gps_bag(tmp_path / 'bag', (55.698166666666665, 13.195388888888889)),
        DriveOptions(datum=datum),
    )
    np.testing.assert_allclose(drive.trajectory.poses[0, :2], [581.588, -37.124], atol=0.01)
    assert drive.datum == datum


def test_a_datum_chooses_gps_among_poses_and_nothing_else_does(tmp_path):
    for name, fixes in (('both', 4), ('poses', 0)):
        with bags.writing(tmp_path / name) as put:
            for index in range(4):
                put('/image', index, bags.image(index, index))
                put('/odom', index, bags.odometry(index, bags.along_x(index)))
            for index in range(fixes):
                put('/fix', index, bags.fix(index, 55.7, 13.19))
    with pytest.raises(DriveError, match='2 pose topics, choose one with --pose-topic'):
        open_drive(tmp_path / 'both')
    asked = DriveOptions(datum=Datum(33, 'U', 386000.0, 6174000.0))
    chosen = open_drive(tmp_path / 'both', asked)
    assert chosen.pose_source.startswith('poses from /fix (')
    assert 'not /odom: positions in degrees are asked for' in chosen.pose_source
    assert open_drive(tmp_path / 'poses', asked).pose_source.startswith('poses from /odom (')


def test_gps_across_a_zone_border_stays_in_the_zone_of_the_datum(tmp_path):
    drive = open_drive(gps_bag(tmp_path / 'bag', (55.7, 11.9995), (55.7, 12.0005)))
    assert np.linalg.norm(np.diff(drive.trajectory.poses[:, :3], axis=0)) == pytest.approx(
        62.8, abs=0.5
    )


def test_gps_across_the_equator_has_no_jump(tmp_path):
    drive = open_drive(gps_bag(tmp_path / 'bag', (0.0005, 13.0), (-0.0005, 13.0)))
    assert np.linalg.norm(np.diff(drive.trajectory.poses[:, :3], axis=0)) == pytest.approx(
        110.6, abs=0.5
    )


def test_gps_without_a_fix_is_skipped_and_counted(tmp_path):
    drive = open_drive(
        gps_bag(tmp_path / 'bag', (0.0, 0.0, -1), (np.nan, 13.0), (55.7, 13.19), (95.0, 13.0))
    )
    assert len(drive.trajectory.stamps_ns) == 1
    why = '1 status -1, no fix; 1 NaN; 1 not on the Earth, or beyond UTM'
    assert f'/fix: 3 poses were skipped ({why})' in drive.warnings


def tf_bag(path, *, static_odom=False):
    """map -> odom at 2 Hz, turned by 90 degrees; odom -> base_link at 10 Hz, along x."""
    turned = np.array([10, 0, 0, 0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    with bags.writing(path) as put:
        put('/tf_static', 0, bags.transforms(0, ('base_link', 'camera', FORWARD_CAMERA)))
        if static_odom:
            put('/tf_static', 0, bags.transforms(0, ('map', 'odom', turned)))
        for tenth in range(31):
            seconds = tenth / 10
            put(
                '/tf',
                seconds,
                bags.transforms(seconds, ('odom', 'base_link', bags.along_x(seconds))),
            )
            if tenth % 5 == 0 and not static_odom:
                put('/tf', seconds, bags.transforms(seconds, ('/map', 'odom', turned)))
            if tenth % 10 == 0:
                put('/image', seconds, bags.image(seconds, tenth))
    return path


@pytest.mark.parametrize('static_odom', [False, True])
@pytest.mark.parametrize('frames', [None, ('map', 'base_link')])
def test_poses_come_from_the_chain_of_transforms(tmp_path, frames, static_odom):
    drive = open_drive(
        tf_bag(tmp_path / 'bag', static_odom=static_odom), DriveOptions(tf_frames=frames)
    )
    assert drive.frame_id == 'map'
    assert drive.mounting_known
    assert positions(drive, 0.25, 2) == [[10, 0.25, 0], [10, 2, 0]]
    bases = compose(drive.trajectory.poses, invert(FORWARD_CAMERA))
    np.testing.assert_allclose(yaw_of(bases), np.pi / 2)


def test_transforms_may_be_asked_for_against_their_direction(tmp_path):
    drive = open_drive(
        tf_bag(tmp_path / 'bag'),
        DriveOptions(tf_frames=('base_link', 'odom'), base_T_camera=IDENTITY),
    )
    assert positions(drive, 2) == [[-2, 0, 0]]


def test_a_gap_of_one_transform_is_a_gap_of_the_chain(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        put('/image', 0, bags.image(0, 0))
        for second in range(11):
            put(
                '/tf', second, bags.transforms(second, ('odom', 'base_link', bags.along_x(second)))
            )
            if second < 3 or second > 8:
                put('/tf', second, bags.transforms(second, ('map', 'odom', bags.along_x(100))))
    drive = open_drive(tmp_path / 'bag')
    assert positions(drive, 2, 5, 9) == [[102, 0, 0], None, [109, 0, 0]]
    longer = open_drive(tmp_path / 'bag', DriveOptions(max_pose_gap_s=10.0))
    assert positions(longer, 5) == [[105, 0, 0]]


def test_frames_that_do_not_exist_are_listed(tmp_path):
    with pytest.raises(
        DriveError, match='no frame world on /tf; frames: base_link, camera, map, odom'
    ):
        open_drive(tf_bag(tmp_path / 'bag'), DriveOptions(tf_frames=('world', 'base_link')))
    with pytest.raises(DriveError, match='base_link and camera do not move'):
        open_drive(tf_bag(tmp_path / 'bag2'), DriveOptions(tf_frames=('base_link', 'camera')))


def test_the_mounting_of_the_options_beats_the_recorded_one(tmp_path):
    mounting = np.array([1, 2, 3, 0, 0, 0, 1.0])
    drive = open_drive(bags.plain_bag(tmp_path / 'bag'), DriveOptions(base_T_camera=mounting))
    assert drive.mounting_known
    assert positions(drive, 1) == [[2, 2, 3]]


def test_a_mounting_repeated_on_tf_is_found(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        for second in (1, 2):
            put('/image', second, bags.image(second, second))
            put('/odom', second, bags.odometry(second, bags.along_x(second)))
            put(
                '/tf',
                second,
                bags.transforms(second, ('base_link', 'camera', [0, 0, 1, 0, 0, 0, 1])),
            )
    assert positions(open_drive(tmp_path / 'bag'), 1) == [[1, 0, 1]]


def test_a_camera_on_a_moving_head_has_no_mounting(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        for second in (1, 2):
            put('/image', second, bags.image(second, second))
            put('/odom', second, bags.odometry(second, bags.along_x(second)))
            put(
                '/tf',
                second,
                bags.transforms(second, ('base_link', 'camera', bags.along_x(second))),
            )
    drive = open_drive(tmp_path / 'bag')
    assert not drive.mounting_known
    assert any('camera moves in base_link' in warning for warning in drive.warnings)


def test_a_bag_without_poses_is_a_drive_without_a_trajectory(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        put('/image', 1, bags.image(1, 1))
    drive = open_drive(tmp_path / 'bag')
    assert drive.trajectory is None
    assert stamps_s(drive) == [1]


@pytest.mark.parametrize(
    ('bad', 'why'),
    [
        ([np.nan, 0, 0, 0, 0, 0, 1], 'NaN'),
        ([0, 0, 0, 0, 0, 0, 0], 'a quaternion of zeros'),
        ([0, 0, 0, 1, 1, 1, 1], 'no unit quaternion'),
        ([3.4e38, 0, 0, 0, 0, 0, 1], r'beyond 1e+12 m'),
    ],
)
def test_unusable_poses_are_skipped_and_counted(tmp_path, bad, why):
    with bags.writing(tmp_path / 'bag') as put:
        put('/image', 1, bags.image(1, 1))
        for second, pose in enumerate([bags.along_x(0), bad, bags.along_x(2)]):
            put('/odom', second, bags.odometry(second, pose))
    drive = open_drive(tmp_path / 'bag')
    assert len(drive.trajectory.stamps_ns) == 2
    assert f'/odom: 1 pose was skipped ({why})' in drive.warnings


def test_no_usable_pose_at_all_is_an_error(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        put('/image', 1, bags.image(1, 1))
        put('/odom', 1, bags.odometry(1, np.full(7, np.nan)))
    with pytest.raises(DriveError, match='/odom has no usable pose, all 1: NaN'):
        open_drive(tmp_path / 'bag')


# Stamps


def test_images_recorded_out_of_order_come_in_order(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        for received, second in enumerate([2, 1, 3, 5, 4, 7, 6]):
            put('/image', received, bags.image(second, second))
    frames = list(open_drive(tmp_path / 'bag').frames())
    assert [int(frame.load().mean()) for frame in frames] == [1, 2, 3, 4, 5, 6, 7]


def test_repeated_stamps_lose_no_image_and_names_stay_unique(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        for received in range(4):
            put('/image', received, bags.image(1, received))
            put('/odom', received, bags.odometry(1, bags.along_x(received)))
    drive = open_drive(tmp_path / 'bag')
    assert len({frame.name for frame in drive.frames()}) == 4
    assert len(drive.trajectory.stamps_ns) == 1


def test_places_in_time_go_on_where_the_clock_was_set_back(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        for received in range(20):
            second = received + (1 if received > 9 else 101)
            put('/image', received, bags.image(second, received))
            put('/odom', received, bags.odometry(second, bags.along_x(received)))
    drive, report = open_drive(tmp_path / 'bag'), Report()
    options = MapOptions(spacing=Spacing.parse('4s'))
    frames = posed_frames(drive, drive.frames(), options, report)
    assert [frame.stamp_ns // 10**9 for frame, _ in frames] == [101, 105, 109, 11, 15, 19]
    assert report.thinned == 14


def test_a_clock_set_back_loses_no_image_and_is_said(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        for received in range(60):
            second = received % 30 + 1
            put('/image', received, bags.image(second, second))
            put('/odom', received, bags.odometry(second, bags.along_x(second)))
    drive = open_drive(tmp_path / 'bag')
    assert stamps_s(drive) == [*range(1, 31), *range(1, 31)]
    assert '/image: the clock was set back 1 time' in drive.warnings
    assert any(warning.startswith('/odom: the stamps jump back') for warning in drive.warnings)


def test_without_header_stamps_the_times_of_recording_are_used(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        for second in (1, 2, 3):
            put('/image', second, bags.image(0, second))
            put('/odom', second, bags.odometry(0, bags.along_x(second)))
    drive = open_drive(tmp_path / 'bag')
    assert stamps_s(drive) == [1, 2, 3]
    assert positions(drive, 2.5)[0][0] == 2.5
    assert sum('the times of recording are used' in warning for warning in drive.warnings) == 2


@pytest.mark.parametrize(
    ('image_s', 'said'),
    [
        (1_700_000_000, 'the first image is 1699999980.0 s later than the last pose; do both'),
        (10, 'the images end 8.0 s earlier than the first pose; do both use the same clock?'),
        (20, ''),
    ],
)
def test_two_clocks_are_noticed(tmp_path, image_s, said):
    with bags.writing(tmp_path / 'bag') as put:
        put('/image', 1, bags.image(image_s, 1))
        put('/odom', 2, bags.odometry(19, bags.along_x(1)))
        put('/odom', 2, bags.odometry(20, bags.along_x(2)))
    found = [warning for warning in open_drive(tmp_path / 'bag').warnings if 'clock' in warning]
    assert [warning.startswith(said) for warning in found] == [True] * bool(said)


@pytest.mark.parametrize('kind', ['ros1', 'sqlite3', 'mcap'])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, kind):
    count = 2000
    with bags.writing(tmp_path / 'bag', kind) as put:
        for index in range(count):
            put('/image', index / 30, bags.image(index / 30, index))
    drive = open_drive(tmp_path / ('bag.bag' if kind == 'ros1' else 'bag'))
    tracemalloc.start()
    try:
        assert sum(1 for _ in drive.frames()) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * count * bags.picture(0).nbytes


# Topics and types


def two_cameras(path):
    with bags.writing(path) as put:
        put('/left/image', 1, bags.image(1, 1))
        put('/right/image/compressed', 1, bags.compressed(1, 2))
        put('/right/image/compressedDepth', 1, bags.compressed(1, 2))
        put('/odom', 1, bags.odometry(1, bags.along_x(1)))
        put('/amcl_pose', 1, bags.pose_with_covariance(1, bags.along_x(1)))
    return path


def test_several_fitting_topics_are_listed_with_type_and_count(tmp_path):
    bag = two_cameras(tmp_path / 'bag')
    listed = (
        r'/left/image \(sensor_msgs/Image, 1 message\), '
        r'/right/image/compressed \(sensor_msgs/CompressedImage, 1'
    )
    with pytest.raises(
        DriveError, match=f'2 image topics, choose one with --image-topic: {listed}'
    ):
        open_drive(bag)
    with pytest.raises(
        DriveError, match=r'2 pose topics, choose one with --pose-topic: /amcl_pose .*/odom'
    ):
        open_drive(bag, DriveOptions(image_topic='/left/image'))
    chosen = DriveOptions(image_topic='right/image/compressed', pose_topic='/odom')
    assert int(next(open_drive(bag, chosen).frames()).load().mean()) == 2


def test_a_missing_or_unfitting_topic_names_the_fitting_ones(tmp_path):
    bag = two_cameras(tmp_path / 'bag')
    with pytest.raises(DriveError, match='no topic /front; image topics: /left/image'):
        open_drive(bag, DriveOptions(image_topic='/front'))
    with pytest.raises(
        DriveError,
        match=r'/odom is nav_msgs/Odometry, expected sensor_msgs/Image.*image topics: /left',
    ):
        open_drive(bag, DriveOptions(image_topic='/odom'))


def test_a_broken_image_is_the_error_of_that_image_alone(tmp_path):
    with bags.writing(tmp_path / 'bag') as put:
        put('/image', 1, bags.compressed(1, 1, data=b'garbage' * 9))
        put('/image', 2, bags.compressed(2, 2, data=b''))
        put('/image', 3, bags.compressed(3, 3))
    first, second, third = open_drive(tmp_path / 'bag').frames()
    with pytest.raises(ImageError, match=r'^/image#0@1\.000000000: .*not an image'):
        first.load()
    with pytest.raises(ImageError, match='no bytes'):
        second.load()
    assert int(third.load().mean()) == 3


def test_a_message_cut_short_is_the_error_of_that_image_alone(tmp_path):
    bag = bags.plain_bag(tmp_path / 'bag', 'sqlite3')
    with sqlite3.connect(bag / 'bag.db3') as database:
        database.execute(
            'UPDATE messages SET data = substr(data, 1, 30) WHERE timestamp = 2000000000'
        )
    database.close()
    frames = list(open_drive(bag).frames())
    assert len(frames) == 5
    with pytest.raises(ImageError, match='cannot be read'):
        frames[1].load()


def custom_store(definition='uint8 a\nstring b'):
    store = get_typestore(Stores.LATEST)
    store.register(get_types_from_msg(definition, 'own_msgs/msg/Own'))
    return store


@pytest.mark.parametrize('kind', ['ros1', 'sqlite3', 'mcap'])
def test_custom_types_do_not_disturb(tmp_path, kind):
    store = custom_store()
    with bags.writing(tmp_path / 'bag', kind) as put:
        put('/own', 0, store.types['own_msgs/msg/Own'](a=1, b='x'), store=store)
        put('/image', 1, bags.image(1, 1))
    drive = open_drive(tmp_path / ('bag.bag' if kind == 'ros1' else 'bag'))
    assert stamps_s(drive) == [1]
    assert drive.warnings == []


@pytest.mark.parametrize('kind', ['ros1', 'sqlite3', 'mcap'])
def test_a_custom_type_whose_definition_is_broken_does_not_disturb(tmp_path, kind):
    store = custom_store()
    with bags.writing(tmp_path / 'bag', kind) as put:
        put('/own', 0, store.types['own_msgs/msg/Own'](a=1, b='x'), store=store)
        put('/image', 1, bags.image(1, 1))
    bag = tmp_path / ('bag.bag' if kind == 'ros1' else 'bag')
    file = (
        bag if kind == 'ros1' else next(file for file in bag.iterdir() if file.suffix != '.yaml')
    )
    content = file.read_bytes()
    assert b'uint8 a' in content
    file.write_bytes(content.replace(b'uint8 a', b'~~int8 a'[:7]))
    drive = open_drive(bag)
    assert stamps_s(drive) == [1]
    assert any('own_msgs/msg/Own' in warning for warning in drive.warnings)


@pytest.mark.parametrize('kind', ['ros1', 'mcap'])
def test_messages_of_any_bag_become_what_ros2_sends(tmp_path, kind):
    bag = bags.plain_bag(tmp_path / 'bag', kind)
    with open_reader(bag) as reader:
        convert = cdr_converter(reader)
        sent = [
            bags.STORE.deserialize_cdr(convert(data, connection.msgtype), connection.msgtype)
            for connection, _, data in reader.messages()
            if connection.topic == '/odom'
        ]
    assert sent[0].header.frame_id == 'map'
    assert sent[0].child_frame_id == 'base_link'


# Broken bags


@pytest.mark.parametrize('kind', ['ros1', 'sqlite3', 'mcap'])
def test_an_empty_bag_is_an_error(tmp_path, kind):
    with bags.writing(tmp_path / 'bag', kind):
        pass
    with pytest.raises(DriveError, match='no images in it'):
        open_drive(tmp_path / ('bag.bag' if kind == 'ros1' else 'bag'))


@pytest.mark.parametrize('name', ['zero.bag', 'zero.mcap', 'zero.db3'])
@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'', 'is empty; record it or copy it again'),
        (b'garbage' * 100, 'it begins with .*; copy or download it again'),
        (b'\x28\xb5\x2f\xfd' * 100, 'is compressed with zstd; unpack it with `zstd -d`'),
        (b'<!DOCTYPE html>' * 100, 'is a web page, not a bag; download'),
        (b'#ROSBAG V1.2\n' * 100, 'of an old version; `rosbag migrate`'),
    ],
    ids=['empty', 'garbage', 'zstd', 'html', 'old'],
)
def test_a_file_that_is_no_bag_gives_one_sentence_with_a_next_step(tmp_path, name, content, said):
    """The next step is that of the fault, not of the suffix."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DriveError, match=f'{name}: .*{said}') as caught:
        open_drive(tmp_path / name)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['missing.bag', 'missing', 'missing.mcap'])
def test_a_path_that_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(DriveError, match=f'{name}: no such'):
        open_drive(tmp_path / name)


def test_other_files_are_refused_with_what_is_understood(tmp_path):
    (tmp_path / 'notes.txt').write_text('x')
    with pytest.raises(DriveError, match=r'not a bag, expected \.bag, \.mcap, \.db3'):
        open_drive(tmp_path / 'notes.txt')
    (tmp_path / 'run.bag.active').write_text('x')
    with pytest.raises(DriveError, match='rosbag reindex'):
        open_drive(tmp_path / 'run.bag.active')


def long_bag(path, kind, count=400):
    with bags.writing(path, kind) as put:
        for index in range(count):
            put('/odom', index / 10, bags.odometry(index / 10, bags.along_x(index)))
            put('/image', index / 10, bags.image(index / 10, index))
    return path.with_suffix('.bag') if kind.startswith('ros1') else path


def storage_file(bag):
    return bag if bag.is_file() else next(file for file in bag.iterdir() if file.suffix != '.yaml')


@pytest.mark.parametrize('share', [0.4, 0.7, 0.99, 0.9999])
@pytest.mark.parametrize('kind', ['ros1', 'ros1-lz4', 'ros1-bz2', 'mcap', 'mcap-storage'])
def test_a_bag_cut_in_its_middle_gives_what_it_still_holds(tmp_path, kind, share):
    bag = long_bag(tmp_path / 'bag', kind)
    file = storage_file(bag)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    try:
        drive = open_drive(bag)
    except DriveError as error:  # a compressed bag may be one single chunk
        assert 'try `' in str(error)
        assert kind in ('ros1-lz4', 'ros1-bz2', 'mcap-storage') or share < 0.5
        return
    frames = list(drive.frames())
    assert [frame.stamp_ns for frame in frames] == [index * 10**8 for index in range(len(frames))]
    assert len(frames) == len(drive) > 400 * share - 250
    assert all(int(frame.load().mean()) == index % 250 for index, frame in enumerate(frames))
    assert len(drive.trajectory.stamps_ns) >= len(frames)
    assert any('recover' in warning or 'reindex' in warning for warning in drive.warnings)


def record_ends(content, kind):
    """Where the records of an mcap end, and the index records of a ROS 1 bag."""
    found, position = [], 8 if kind == 'mcap' else len(b'#ROSBAG V2.0\n')
    while position < len(content) and not (kind == 'mcap' and content[position] == 2):
        if kind == 'mcap':
            position += 9 + struct.unpack_from('<Q', content, position + 1)[0]
            found.append(position)
            continue
        (size,) = struct.unpack_from('<I', content, position)
        is_index = b'op=\x04' in content[position + 4 : position + 4 + size]
        position += 4 + size
        position += 4 + struct.unpack_from('<I', content, position)[0]
        found += [position] * is_index
    return found


@pytest.mark.parametrize('kind', ['ros1', 'mcap'])
def test_a_bag_that_breaks_off_keeps_all_records_that_are_whole(tmp_path, kind):
    file = storage_file(long_bag(tmp_path / 'bag', kind))
    content = file.read_bytes()
    ends = record_ends(content, kind)
    assert len(ends) > 5
    for before, end in list(pairwise(ends))[:: len(ends) // 4]:
        for cut, kept in ((end, end), (end - 1, before), (before + 1, before)):
            file.write_bytes(content[:cut])
            mended = mend(file)
            assert mended.end == kept
            assert (
                mended.open().read()[len(mended.head) :].startswith(content[mended.start : kept])
            )


def test_parts_that_overlap_in_time_are_merged(tmp_path):
    for part in range(2):
        with bags.writing(tmp_path / f'part_{part}', 'ros1') as put:
            for second in range(part, 10, 2):
                put('/image', second, bags.image(second, second))
    drive = open_drive([tmp_path / 'part_0.bag', tmp_path / 'part_1.bag'])
    assert stamps_s(drive) == list(range(10))


def test_an_mcap_without_its_summary_is_read(tmp_path):
    bag = bags.plain_bag(tmp_path / 'bag')
    file = bag / 'bag.mcap'
    content = bytearray(file.read_bytes())
    content[-28:-12] = bytes(16)  # the footer's offsets: no summary
    file.write_bytes(content)
    drive = open_drive(bag)
    assert stamps_s(drive) == [1, 2, 3, 4, 5]
    assert drive.warnings == []


def test_a_ros1_bag_without_its_index_is_read_with_a_note(tmp_path):
    bag = long_bag(tmp_path / 'bag', 'ros1')
    content = bytearray(bag.read_bytes())
    start = content.index(b'index_pos=') + 10
    content[start : start + 8] = bytes(8)
    bag.write_bytes(content)
    drive = open_drive(bag)
    assert len(list(drive.frames())) == 400
    assert any('rosbag reindex' in warning for warning in drive.warnings)


@pytest.mark.parametrize('kind', ['ros1', 'mcap', 'mcap-storage', 'ros1-bz2'])
def test_damage_in_the_middle_ends_the_drive_there_and_is_said(tmp_path, kind):
    bag = long_bag(tmp_path / 'bag', kind, count=1500)
    file = storage_file(bag)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20000] = b'\xff' * min(20000, len(content) - middle)
    file.write_bytes(content)
    drive = open_drive(bag)
    assert 0 < len(list(drive.frames())) < 1500
    assert any('try `' in warning for warning in drive.warnings)


@pytest.mark.parametrize('share', [0.3, 0.9])
def test_a_cut_sqlite3_bag_gives_a_sentence_or_what_it_still_holds(tmp_path, share):
    bag = long_bag(tmp_path / 'bag', 'sqlite3')
    content = (bag / 'bag.db3').read_bytes()
    (bag / 'bag.db3').write_bytes(content[: int(len(content) * share)])
    try:
        drive = open_drive(bag)
        frames = list(drive.frames())
    except DriveError as error:
        assert 'try `sqlite3' in str(error)
        assert '\n' not in str(error)
    else:
        assert 0 < len(frames) < 400
        assert any('breaks off' in warning for warning in drive.warnings)


def test_a_folder_whose_storage_file_is_gone_says_so(tmp_path):
    bag = bags.plain_bag(tmp_path / 'bag')
    (bag / 'bag.mcap').unlink()
    with pytest.raises(DriveError, match='missing'):
        open_drive(bag)


@pytest.mark.parametrize('content', ['{{{', '', 'rosbag2_bagfile_information: {version: 99}'])
@pytest.mark.parametrize('kind', ['mcap', 'sqlite3'])
def test_a_folder_with_broken_metadata_is_read_with_a_note(tmp_path, kind, content):
    bag = bags.plain_bag(tmp_path / 'bag', kind)
    (bag / 'metadata.yaml').write_text(content)
    drive = open_drive(bag)
    assert stamps_s(drive) == [1, 2, 3, 4, 5]
    assert any('ros2 bag reindex' in warning for warning in drive.warnings)


def test_a_bag_that_vanishes_after_it_was_opened_is_an_error_not_an_empty_drive(tmp_path):
    bag = bags.plain_bag(tmp_path / 'bag')
    drive = open_drive(bag)
    shutil.rmtree(bag)
    with pytest.raises(DriveError):
        list(drive.frames())


# Real recordings


def test_a_real_ros1_bag(shared_data):
    bag = shared_data / 't265_ros1_bag' / 'trimmed_locoffice.bag'
    with pytest.raises(DriveError, match='2 image topics'):
        open_drive(bag)
    drive = open_drive(bag, DriveOptions(image_topic='/camera/fisheye1/image_raw'))
    frames = list(drive.frames())
    assert [frame.load().shape for frame in frames] == [(800, 848, 3)] * 3
    assert drive.frame_id == 'camera_odom_frame'
    _, known = drive.trajectory.at(np.array([frame.stamp_ns for frame in frames]))
    assert known.tolist() == [
        False,
        True,
        True,
    ]  # the first image is older than the first odometry
