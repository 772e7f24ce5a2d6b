"""Inputs as people have them: what looks valid and is not, and what is said when a command fails.

Each was reported for another tool: several robots in one bag, goals beside the track, receivers
that start up at 0, 0, files of other programs, clocks that differ.
"""

import sqlite3
from dataclasses import replace
from pathlib import Path

import bags
import numpy as np
import pytest
from worlds import picture, write_posed_folder, write_tiny_model

from vpr_ros import build_map, calibrate, evaluate_bag, images_to_bag, map
from vpr_ros.core.describing.model import Model
from vpr_ros.core.errors import DriveError, MapError, ModelError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.drives import DriveOptions, open_drive
from vpr_ros.drives.drive import notes_of
from vpr_ros.drives.folder_to_bag import write_bag

LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 123456\n'
Capture = pytest.CaptureFixture[str]


def photo(seconds: float, place: int, frame: str = 'camera'):
    return bags.compressed(seconds, place, data=encode_jpeg(picture(place)), frame=frame)


def put_images(put, topic: str = '/camera/image/compressed', *, count: int = 6, frame='camera'):
    for index in range(count):
        put(topic, index / 2, photo(index / 2 + 100, index, frame))


def put_tf(put, topic: str, *edges, count: int = 7):
    """edges: (parent, child, metres a second along x), each at 2 Hz from 100 s on."""
    for index in range(count):
        moved = [(above, below, bags.along_x(mps * index / 2)) for above, below, mps in edges]
        put(topic, index / 2, bags.transforms(100 + index / 2, *moved))


def at(drive, *seconds: float) -> list[float | None]:
    """x of the camera, None where it is not known."""
    stamps_ns = np.array([round(second * 1e9) for second in seconds])
    poses, known = drive.trajectory.at(stamps_ns)
    return [round(float(pose[0]), 6) if there else None for pose, there in zip(poses, known)]


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model')).folder


def built(model: Path, bag: Path, output: Path, *words: str) -> int:
    given = ['--bag', str(bag), '--output', str(output), '--model', str(model)]
    return build_map.main([*given, *words])


# Whose poses


def two_robots(path: Path, *, image: str = '/robot1/camera/image/compressed') -> Path:
    with bags.writing(path) as put:
        put_images(put, image)
        put_tf(put, '/robot1/tf', ('map', 'odom', 0.0), ('odom', 'base_link', 2.0))
        put_tf(put, '/robot2/tf', ('map', 'odom', 50.0), ('odom', 'base_link', -3.0))
        for robot, height in (('robot1', 1), ('robot2', 7)):
            mounting = [0, 0, height, 0, 0, 0, 1]
            put(f'/{robot}/tf_static', 0, bags.transforms(0, ('base_link', 'camera', mounting)))
    return path


def test_the_tf_of_the_images_robot_is_taken_and_no_other(tmp_path: Path) -> None:
    drive = open_drive(two_robots(tmp_path / 'bag'))
    assert at(drive, 100, 101.25, 102.5) == [0, 2.5, 5] and drive.base_T_camera[2] == 1
    assert drive.pose_source.startswith('poses from /robot1/tf (map to base_link)')


def test_an_image_that_does_not_say_whose_it_is_asks_for_the_tf_topic(tmp_path: Path) -> None:
    bag = two_robots(tmp_path / 'bag', image='/camera/image')
    both = '/robot1/tf and /robot2/tf are of several robots.*choose one with --tf-topic'
    with pytest.raises(DriveError, match=both):
        open_drive(bag)
    drive = open_drive(bag, DriveOptions(tf_topic='robot1/tf'))
    assert at(drive, 102) == [4] and drive.base_T_camera[2] == 1
    with pytest.raises(DriveError, match='no topic /tf; tf topics: /robot1/tf'):
        open_drive(bag, DriveOptions(tf_topic='/tf'))


def test_the_tf_of_another_robot_alone_is_refused(tmp_path: Path) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put, '/robot1/camera/image')
        put_tf(put, '/robot2/tf', ('map', 'base_link', 1.0))
    with pytest.raises(DriveError, match='/robot2/tf is of another robot than /robot1/camera'):
        open_drive(tmp_path / 'bag')


def test_odometry_of_another_robot_is_not_taken(tmp_path: Path) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put, '/alice/camera/image')
        for name, speed in (('alice', 1.0), ('bob', 9.0)):
            for index in range(7):
                pose = bags.along_x(speed * index / 2)
                put(f'/{name}/odom', index / 2, bags.odometry(100 + index / 2, pose))
    drive = open_drive(tmp_path / 'bag')
    assert at(drive, 102) == [2] and 'not /bob/odom' in drive.pose_source


@pytest.mark.parametrize('goals', ['/goal_pose', '/move_base_simple/goal', '/somewhere'])
def test_goals_are_no_track_beside_tf(tmp_path: Path, goals: str) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put, count=12)
        put_tf(put, '/tf', ('map', 'odom', 0.0), ('odom', 'base_link', 1.0), count=13)
        for index in range(3):
            put(goals, index, bags.pose_stamped(100 + index, bags.along_x(50 + index)))
    drive = open_drive(tmp_path / 'bag')
    assert at(drive, 101.5) == [1.5]
    assert drive.pose_source.startswith('poses from /tf') and goals in drive.pose_source
    named = open_drive(tmp_path / 'bag', DriveOptions(pose_topic=goals))
    assert at(named, 101.5) == [51.5]


@pytest.mark.parametrize('pose', [bags.pose_stamped, bags.pose_with_covariance])
@pytest.mark.parametrize('topic', ['/goal_pose', '/initialpose', '/target', '/whatever'])
def test_goals_alone_are_no_poses_and_the_flag_is_named(tmp_path: Path, topic, pose) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put, count=12)
        for index in range(2):
            put(topic, index, pose(100 + index, bags.along_x(50 + index)))
    drive = open_drive(tmp_path / 'bag')
    assert drive.trajectory is None
    assert f'not {topic}' in drive.pose_source and '--pose-topic' in drive.pose_source


def test_odometry_is_taken_beside_goals(tmp_path: Path) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put)
        for index in range(7):
            put('/odom', index / 2, bags.odometry(100 + index / 2, bags.along_x(index)))
        put('/initialpose', 1, bags.pose_with_covariance(101, bags.along_x(70)))
        put('/goal_pose', 1, bags.pose_stamped(101, bags.along_x(70)))
    drive = open_drive(tmp_path / 'bag')
    assert at(drive, 101) == [2] and drive.pose_source.startswith('poses from /odom')


def test_tf_of_the_map_goes_before_odometry_and_that_is_said(tmp_path: Path) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put)
        put_tf(put, '/tf', ('map', 'odom', 0.5), ('odom', 'base_link', 1.0))
        for index in range(7):
            put('/odom', index / 2, bags.odometry(100 + index / 2, bags.along_x(index / 2)))
    drive = open_drive(tmp_path / 'bag')
    assert at(drive, 102) == [3] and 'tf from map is preferred to /odom' in drive.pose_source
    assert at(open_drive(tmp_path / 'bag', DriveOptions(pose_topic='/odom')), 102) == [2]


def test_odometry_is_taken_where_tf_of_the_map_ends_before_the_images_do(tmp_path: Path) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put, count=20)
        put_tf(put, '/tf', ('map', 'odom', 0.5), ('odom', 'base_link', 1.0), count=4)
        for index in range(21):
            put('/odom', index / 2, bags.odometry(100 + index / 2, bags.along_x(index / 2)))
    drive = open_drive(tmp_path / 'bag')
    assert at(drive, 101, 109) == [1, 9] and drive.pose_source.startswith('poses from /odom')
    assert 'not /tf: map to base_link is known for 1' in drive.pose_source  # to 1.5 s of 10


def test_of_two_topics_the_one_that_covers_the_images_is_taken(tmp_path: Path) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put, count=20)
        for index in range(21):
            put('/odom', index / 2, bags.odometry(100 + index / 2, bags.along_x(index / 2)))
        for index in range(3):
            put('/old/odom', index / 9, bags.odometry(100 + index / 9, bags.along_x(70)))
    drive = open_drive(tmp_path / 'bag')
    assert at(drive, 105) == [5] and 'not /old/odom: known for' in drive.pose_source


def test_frames_with_a_robots_prefix_are_found(tmp_path: Path, model: Path, capsys) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put)
        put_tf(
            put, '/tf', ('robot1/map', 'robot1/odom', 0), ('robot1/odom', 'robot1/base_link', 1)
        )
    assert built(model, tmp_path / 'bag', tmp_path / 'map') == 0
    assert 'robot1/map to robot1/base_link' in capsys.readouterr().err
    assert len(PlaceMap.open(tmp_path / 'map')) == 6


def test_of_several_prefixes_the_images_tell_which_or_the_flag_is_named(tmp_path: Path) -> None:
    edges = [('map', 'robot1/base_link', 1), ('map', 'robot2/base_link', 5)]
    for name, topic, frame in (
        ('topic', '/robot2/image', 'camera'),
        ('frame', '/image', 'robot2/camera'),
        ('neither', '/image', 'camera'),
    ):
        with bags.writing(tmp_path / name) as put:
            put_images(put, topic, frame=frame)
            put_tf(put, '/tf', *edges)
    assert at(open_drive(tmp_path / 'topic'), 101) == [5]
    assert at(open_drive(tmp_path / 'frame'), 101) == [5]
    asked = '--tf-frames map robot1/base_link, or --tf-frames map robot2/base_link'
    with pytest.raises(DriveError, match=f'several robots on tf, choose one with {asked}'):
        open_drive(tmp_path / 'neither')


def test_unusual_frames_are_named_with_the_flag_when_the_map_fails(
    tmp_path: Path, model: Path, capsys: Capture
) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put)
        put_tf(put, '/tf', ('world', 'drone', 1))
    assert built(model, tmp_path / 'bag', tmp_path / 'map') == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert 'no poses in it' in error and any('try --tf-frames world drone' in one for one in notes)
    assert built(model, tmp_path / 'bag', tmp_path / 'map', '--tf-frames', 'world', 'drone') == 0


@pytest.mark.parametrize('kind', ['ros1', 'mcap'])
def test_transforms_of_a_tracker_are_poses(tmp_path: Path, kind: str) -> None:
    with bags.writing(tmp_path / 'bag', kind) as put:
        put_images(put)
        for index in range(7):
            pose = bags.along_x(index / 2)
            put('/vicon/mav/mav', index / 2, bags.transform_stamped(100 + index / 2, pose))
    drive = open_drive(tmp_path / ('bag.bag' if kind == 'ros1' else 'bag'))
    assert at(drive, 101.25) == [1.25] and drive.frame_id == 'world'


def test_topics_that_are_no_poses_are_named_with_the_types_that_are(
    tmp_path: Path, model: Path, capsys: Capture
) -> None:
    origin = bags.made('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0)
    point = bags.made('geometry_msgs/msg/PointStamped', header=bags.header(100), point=origin)
    path = bags.made(
        'nav_msgs/msg/Path',
        header=bags.header(100),
        poses=[bags.pose_stamped(100, bags.along_x(1))],
    )
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put)
        put('/leica', 0, point)
        put('/path', 0, path)
    assert built(model, tmp_path / 'bag', tmp_path / 'map') == 2
    said = capsys.readouterr().err
    assert 'geometry_msgs/TransformStamped' in said and '--pose-topic' in said
    assert '/path (nav_msgs/Path, 1 message)' in said and '/leica' in said


# Values that look valid


def gps_bag(path: Path, places, *, status: int = 0, period_s: float = 0.5) -> Path:
    with bags.writing(path) as put:
        put_images(put, count=len(places))
        for index, (latitude, longitude) in enumerate(places):
            seconds = index * period_s
            put('/fix', seconds, bags.fix(100 + seconds, latitude, longitude, status=status))
    return path


def north(count: int) -> list[tuple[float, float]]:
    return [(48.0 + 1e-5 * index, 11.0) for index in range(count)]


@pytest.mark.parametrize('row', [0, 3])
def test_a_fix_at_null_island_is_no_position(tmp_path: Path, row: int) -> None:
    places = north(6)
    places[row] = 0.0, 0.0
    drive = open_drive(gps_bag(tmp_path / 'bag', places))
    assert (drive.datum.utm_zone, drive.datum.utm_letter) == (32, 'U')
    assert np.ptp(drive.trajectory.poses[:, :2], axis=0).max() < 10
    why = 'latitude and longitude are 0, expected a position'
    assert f'/fix: 1 pose was skipped ({why})' in drive.warnings


@pytest.mark.parametrize('row', [0, 3, 5])
def test_a_fix_on_another_continent_is_left_out_and_is_no_datum(tmp_path: Path, row: int) -> None:
    places = north(6)
    places[row] = 22.5, 114.0
    drive = open_drive(gps_bag(tmp_path / 'bag', places))
    assert drive.datum.utm_zone == 32 and len(drive.trajectory.stamps_ns) == 5
    stamp_s = 100 + row / 2
    assert any(f'the first at {stamp_s:.3f} s is 22.50000' in one for one in drive.warnings)


def test_gps_of_two_places_jumps_and_none_of_them_is_left_out(tmp_path: Path) -> None:
    places = [*north(4), *((latitude + 0.2, east) for latitude, east in north(3))]
    drive = open_drive(gps_bag(tmp_path / 'bag', places))
    assert len(drive.trajectory.stamps_ns) == 7 and len(drive.trajectory.jumps) == 1
    assert not any('left out' in one for one in drive.warnings)


def test_a_jump_is_said_and_nothing_is_interpolated_there(tmp_path: Path) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        put_images(put)
        for index in range(7):
            pose = bags.along_x(index / 2 + (3000 if index >= 4 else 0))
            put('/odom', index / 2, bags.odometry(100 + index / 2, pose))
    drive = open_drive(tmp_path / 'bag')
    assert at(drive, 101.25, 101.75, 102.25) == [1.25, None, 3002.25]
    assert any(
        'the position jumps 1 time ' in one and 'by 3000 m in 0.50 s, at 102.000 s' in one
        for one in drive.warnings
    )


def test_a_posed_folder_with_a_jump_says_so(tmp_path: Path) -> None:
    drive = open_drive(write_posed_folder(tmp_path / 'drive', [0, 1, 90], period_s=1.0))
    assert any('poses.csv: the position jumps' in one for one in drive.warnings)


def test_a_status_that_nobody_set_is_taken_and_said(tmp_path: Path) -> None:
    drive = open_drive(gps_bag(tmp_path / 'bag', north(3), status=-2))
    assert len(drive.trajectory.stamps_ns) == 3
    assert any('3 of 3 positions have status -2 (unknown)' in one for one in drive.warnings)


@pytest.mark.parametrize(
    ('places', 'status', 'why'),
    [
        (north(3), -1, 'status -1, no fix'),
        ([(0.0, 0.0)] * 3, -2, 'latitude and longitude are 0'),
        ([(np.nan, 11.0)] * 3, 0, 'NaN'),
    ],
)
def test_no_usable_position_says_why(tmp_path: Path, places, status: int, why: str) -> None:
    with pytest.raises(DriveError, match=f'/fix has no usable pose, all 3: {why}'):
        open_drive(gps_bag(tmp_path / 'bag', places, status=status))


@pytest.mark.parametrize(
    ('stamps', 'said'),
    [
        ('1403636579763555584 1403636579813555584', 'line 2: stamp_s is 1403636579763555584; '
         'seconds are expected, these look like nanoseconds'),
        ('1403636579763555 1403636579813555', 'these look like microseconds'),
        ('1403636579763 1403636579813', 'these look like milliseconds'),
        ('0 50000000', 'stamp_s grows by 50000000 .*these look like nanoseconds'),
        ('1e400 2', "'1e400' is too large for a stamp"),
        ('1e999999999999999 2', "'1e999999999999999' is too large for a stamp"),
        ('nan 2', 'are not eight numbers'),
    ],
)  # fmt: skip
def test_stamps_in_other_units_are_named(tmp_path: Path, stamps: str, said: str) -> None:
    folder = write_posed_folder(tmp_path / 'drive', [0, 1])
    rows = [line.split(',') for line in (folder / 'poses.csv').read_text().splitlines()]
    for row, stamp in zip(rows[1:], stamps.split()):
        row[1] = stamp
    (folder / 'poses.csv').write_text('\n'.join(','.join(row) for row in rows))
    with pytest.raises(DriveError, match=said):
        open_drive(folder)


@pytest.mark.parametrize('pose_s', [0, 1_700_000_000])
def test_images_on_another_clock_than_the_poses_are_said_in_both_directions(
    tmp_path: Path, model: Path, capsys: Capture, pose_s: int
) -> None:
    image_s = 1_700_000_000 - pose_s
    with bags.writing(tmp_path / 'bag') as put:
        for index in range(3):
            put('/image', index, photo(image_s + 1 + index, index))
            put('/odom', index, bags.odometry(pose_s + 1 + index, bags.along_x(index)))
    assert built(model, tmp_path / 'bag', tmp_path / 'map') == 2
    said = capsys.readouterr().err
    kinds = ('wall', 'simulated') if image_s > pose_s else ('simulated', 'wall')
    assert 'do both use the same clock?' in said and 'use_sim_time' in said
    assert f'The images have {kinds[0]} time' in said and f'the poses {kinds[1]} time' in said


# Poses that are far apart


@pytest.mark.parametrize('period_s', [1.01, 1.7, 5.0])
def test_poses_at_any_steady_rate_are_interpolated(tmp_path: Path, period_s: float) -> None:
    places = north(8)
    drive = open_drive(gps_bag(tmp_path / 'bag', places, period_s=period_s))
    assert None not in at(drive, 100 + 0.5 * period_s, 100 + 6.5 * period_s)


def test_a_long_hole_is_no_usual_gap_and_the_cause_and_the_flag_are_named() -> None:
    seconds = np.array([0, 1, 2, 3, 4, 30, 31, 32.0])
    trajectory = Trajectory.from_unordered(
        (seconds * 1e9).astype(np.int64), np.array([bags.along_x(s) for s in seconds]), source='x'
    )
    asked = (np.array([-0.5, 0.5, 15, 16, 33]) * 1e9).astype(np.int64)
    assert trajectory.at(asked)[1].tolist() == [False, True, False, False, False]
    assert trajectory.why_unknown(asked[[0, 2, 3, 4]]) == (
        '1 before the first pose (by up to 0.5000 s), 1 after the last pose (by up to 1.00 s), '
        '2 in a gap: the poses are 26.00 s apart, --max-pose-gap is 2.5'
    )


def test_a_given_gap_is_named_with_the_counts(tmp_path: Path, model: Path, capsys) -> None:
    bag = gps_bag(tmp_path / 'bag', north(5), period_s=1.01)
    assert built(model, bag, tmp_path / 'map', '--max-pose-gap', '1.0') == 0
    said = capsys.readouterr().out
    assert 'in a gap: the poses are 1.01 s apart, --max-pose-gap is 1' in said


# What was learned is told of a failure, too


def odometry_bag(path: Path, *, encoding: str = 'rgb8', count: int = 6) -> Path:
    with bags.writing(path) as put:
        for index in range(count):
            message = bags.image(index, index)
            message.encoding = encoding
            put('/image', index, message)
            put('/odom', index, bags.odometry(index, bags.along_x(index)))
    return path


def test_the_reason_is_told_where_nothing_can_be_mapped(
    tmp_path: Path, model: Path, capsys: Capture
) -> None:
    bag = odometry_bag(tmp_path / 'bag', encoding='RGB8')
    assert built(model, bag, tmp_path / 'map') == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert '6 cannot be used' in error and 'no image has a pose' not in error
    assert 'note: 6 images read, 0 places mapped' in notes
    assert any('6 images could not be used, the first: /image#0' in one for one in notes)
    assert any("encoding 'RGB8' is unknown" in one for one in notes)
    assert any(one.startswith('note: poses from /odom') for one in notes)


def test_every_command_tells_the_reason(tmp_path: Path, model: Path, capsys: Capture) -> None:
    bad = str(odometry_bag(tmp_path / 'bad', encoding='RGB8'))
    assert built(model, odometry_bag(tmp_path / 'good'), tmp_path / 'map') == 0
    place_map = str(tmp_path / 'map')
    models = ['--model', str(model)]
    for main, words in (
        (evaluate_bag.main, ['--map', place_map, '--bag', bad, *models]),
        (calibrate.main, ['--map', place_map, '--bag', bad, *models]),
        (map.main, ['append', place_map, '--bag', bad, *models]),
        (map.main, ['prune', place_map, '--bag', bad, *models]),
        (images_to_bag.main, [bad, '--output', str(tmp_path / 'written')]),
    ):
        capsys.readouterr()
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "encoding 'RGB8' is unknown" in said, said
        assert 'poses from /odom' in said and said.count('error: ') == 1


def test_a_bag_is_written_anew_with_the_poses_between_which_its_images_lie(tmp_path: Path) -> None:
    bag = gps_bag(tmp_path / 'bag', north(3), period_s=1.5)
    written = write_bag(bag, tmp_path / 'again')
    assert (written.images, written.poses) == (3, 3)
    shorter = write_bag(bag, tmp_path / 'less', drive_options=DriveOptions(max_pose_gap_s=0.1))
    assert shorter.poses == 1
    why = '2 in a gap: the poses are 1.50 s apart, --max-pose-gap is 0.1'
    assert f'2 images have no pose at their stamp: {why}' in shorter.notes


# Frames


def test_a_drive_in_another_frame_than_the_map_is_refused_everywhere(
    tmp_path: Path, model: Path, capsys: Capture
) -> None:
    with bags.writing(tmp_path / 'odom') as put:
        put_images(put)
        for index in range(7):
            pose = bags.along_x(index / 2)
            put('/odom', index / 2, bags.odometry(100 + index / 2, pose, frame='odom'))
    gps = str(gps_bag(tmp_path / 'gps', north(6)))
    assert built(model, tmp_path / 'odom', tmp_path / 'map') == 0
    on_map = ['--map', str(tmp_path / 'map'), '--bag', gps, '--model', str(model)]
    of_map = [str(tmp_path / 'map'), '--bag', gps, '--model', str(model)]
    between = ['--map-bag', str(tmp_path / 'odom'), '--bag', gps, '--model', str(model)]
    for main, words in (
        (evaluate_bag.main, on_map),
        (evaluate_bag.main, between),
        (calibrate.main, on_map),
        (map.main, ['append', *of_map]),
        (map.main, ['prune', *of_map]),
    ):
        capsys.readouterr()
        assert main(words) == 2
        *_, error = capsys.readouterr().err.splitlines()
        assert 'positions in UTM zone 32U, expected frame odom' in error
        assert '--pose-topic' in error and '--pose-frame' not in error


def test_a_frame_that_is_only_called_otherwise_can_be_said(tmp_path: Path, model: Path) -> None:
    bag = odometry_bag(tmp_path / 'bag')
    assert built(model, bag, tmp_path / 'map', '--pose-frame', 'hall') == 0
    assert PlaceMap.open(tmp_path / 'map').header.frame_id == 'hall'
    words = ['--map', str(tmp_path / 'map'), '--bag', str(bag), '--model', str(model)]
    assert evaluate_bag.main(words) == 2
    assert evaluate_bag.main([*words, '--pose-frame', 'hall']) == 0


# Bags of other programs


def channels(**definition: str) -> list[bags.Channel]:
    images = [(float(index), photo(index, index)) for index in range(1, 4)]
    poses = [(float(index), bags.odometry(index, bags.along_x(index))) for index in range(1, 4)]
    return [
        bags.ros2_channel('/image', images, **definition),
        bags.ros2_channel('/odom', poses, **definition),
    ]


JSON = bags.Channel('/note', 'json', 'Note', 'jsonschema', b'{}', [(1.5, b'{"a": 1}')])
PROTOBUF = bags.Channel(
    '/pb', 'protobuf', 'x.Y', 'protobuf', b'\x0a\xff\xfe\x01', [(1.5, b'\x08')]
)


@pytest.mark.parametrize('indexed', [True, False])
@pytest.mark.parametrize('foreign', [JSON, PROTOBUF])
def test_foreign_channels_are_left_out_and_named(tmp_path: Path, foreign, indexed: bool) -> None:
    path = bags.write_mcap(tmp_path / 'a.mcap', [foreign, *channels()], indexed=indexed)
    drive = open_drive(path)
    assert len(drive) == 3 and at(drive, 1.5) == [1.5]
    assert [int(frame.load().mean()) for frame in drive.frames()]
    left_out = f'left out: {foreign.encoding} on {foreign.topic}'
    assert any(left_out in one for one in drive.warnings)
    assert not any('recover' in one for one in drive.warnings)


@pytest.mark.parametrize('indexed', [True, False])
@pytest.mark.parametrize('library', ['', 'a library with a long name'])
@pytest.mark.parametrize('profile', ['', 'x', 'a profile with a long name'])
def test_the_profile_does_not_matter(tmp_path: Path, profile, library, indexed: bool) -> None:
    path = bags.write_mcap(
        tmp_path / 'a.mcap', channels(), profile=profile, library=library, indexed=indexed
    )
    drive = open_drive(path)
    assert [frame.stamp_ns for frame in drive.frames()] == [10**9, 2 * 10**9, 3 * 10**9]
    assert at(drive, 2.5) == [2.5] and drive.warnings == []


def test_ros1_messages_in_an_mcap_are_named(tmp_path: Path) -> None:
    channel = bags.Channel('/image', 'ros1', 'sensor_msgs/Image', 'ros1msg', b'', [(1.0, b'x')])
    path = bags.write_mcap(tmp_path / 'a.mcap', [channel], profile='ros1')
    with pytest.raises(DriveError, match=r'holds ROS 1 messages; give the .bag.*rosbags-convert'):
        open_drive(path)


def test_an_mcap_without_ros_says_what_it_holds(tmp_path: Path) -> None:
    path = bags.write_mcap(tmp_path / 'a.mcap', [JSON, PROTOBUF], profile='')
    with pytest.raises(DriveError, match='json on /note; protobuf on /pb') as caught:
        open_drive(path)
    assert 'recover' not in str(caught.value)


@pytest.mark.parametrize('encoding', ['ros2msg', '', 'unknown'])
@pytest.mark.parametrize('definition', ['', '\n', 'sensor_msgs/msg/Image'])
def test_standard_types_need_no_definition(tmp_path: Path, encoding: str, definition: str) -> None:
    own = channels(encoding=encoding, definition=definition)
    drive = open_drive(bags.write_mcap(tmp_path / 'a.mcap', own))
    assert at(drive, 1.5) == [1.5] and drive.has_heading
    assert all(frame.load().any() for frame in drive.frames())


@pytest.mark.parametrize('encoding', ['ros2msg', 'unknown'])
def test_sqlite3_with_empty_definitions_is_read(tmp_path: Path, encoding: str) -> None:
    bag = bags.plain_bag(tmp_path / 'bag', 'sqlite3')
    with sqlite3.connect(bag / 'bag.db3') as database:
        database.execute(
            'UPDATE message_definitions SET encoded_message_definition = "", encoding = ?',
            (encoding,),
        )
    database.close()
    for path in (bag, bag / 'bag.db3'):
        drive = open_drive(path)
        assert len(list(drive.frames())) == 5 and at(drive, 2) == [2.2]


def test_a_type_that_the_bag_defines_in_another_way_is_left_out_and_named(tmp_path: Path) -> None:
    image, odometry = channels()
    odd = replace(odometry, definition=b'std_msgs/Header header\nstring child_frame_id')
    drive = open_drive(bags.write_mcap(tmp_path / 'a.mcap', [image, odd]))
    assert len(drive) == 3 and drive.trajectory is None
    assert any('nav_msgs/Odometry lacks pose' in one for one in drive.warnings)


def test_a_file_with_another_suffix_is_told_by_its_content(tmp_path: Path) -> None:
    bag = bags.plain_bag(tmp_path / 'bag', 'mcap')
    renamed = (bag / 'bag.mcap').rename(tmp_path / 'a.db3')
    with pytest.raises(DriveError, match=r'is an mcap by its content; rename it to end in \.mcap'):
        open_drive(renamed)


def test_bags_of_two_kinds_in_a_folder_are_named(tmp_path: Path) -> None:
    bags.plain_bag(tmp_path / 'a', 'ros1')
    bags.write_mcap(tmp_path / 'b.mcap', channels())
    drive = open_drive(tmp_path)
    assert len(drive) == 5
    assert any('a.bag is read, not b.mcap; name a file' in one for one in drive.warnings)


def test_a_bag_beside_the_metadata_of_another_is_named(tmp_path: Path) -> None:
    bag = bags.plain_bag(tmp_path / 'bag')
    bags.write_mcap(bag / 'repaired.mcap', channels())
    assert any('bag.mcap is read, not repaired.mcap' in one for one in open_drive(bag).warnings)


def test_a_bag_among_posed_images_is_named(tmp_path: Path) -> None:
    folder = write_posed_folder(tmp_path / 'drive', [0, 1])
    bags.write_mcap(folder / 'b.mcap', channels())
    assert any('its images are read, not b.mcap' in one for one in open_drive(folder).warnings)


# Git LFS


@pytest.mark.parametrize('name', ['a.mcap', 'a.bag', 'a.db3', 'folder/metadata.yaml'])
def test_a_bag_that_was_not_fetched_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(LFS)
    given = (tmp_path / name).parent if 'folder' in name else tmp_path / name
    with pytest.raises(DriveError, match=f'{name}: is a Git LFS pointer; run `git lfs pull`'):
        open_drive(given)


@pytest.mark.parametrize('name', ['model.onnx', 'card.json'])
def test_a_model_that_was_not_fetched_is_named(tmp_path: Path, name: str) -> None:
    write_tiny_model(tmp_path / 'model')
    (tmp_path / 'model' / name).write_text(LFS)
    with pytest.raises(ModelError, match=f'{name}: is a Git LFS pointer; run `git lfs pull`'):
        Model.open(tmp_path / 'model')


@pytest.mark.parametrize('name', ['map.yaml', 'parts/0000/descriptors.npy'])
def test_a_map_that_was_not_fetched_is_named(
    tmp_path: Path, model: Path, capsys: Capture, name: str
) -> None:
    assert built(model, odometry_bag(tmp_path / 'bag'), tmp_path / 'map') == 0
    (tmp_path / 'map' / name).write_text(LFS)
    with pytest.raises(MapError):
        PlaceMap.open(tmp_path / 'map')
    assert map.main(['info', str(tmp_path / 'map')]) == 2
    assert f'{name}: is a Git LFS pointer; run `git lfs pull`' in capsys.readouterr().err


def test_notes_come_once_and_the_source_first(tmp_path: Path) -> None:
    first, *others = notes_of(open_drive(gps_bag(tmp_path / 'bag', north(3), status=-2)))
    assert first.startswith('poses from /fix (sensor_msgs/NavSatFix, UTM zone 32U): 3 in 1.0 s')
    assert len(others) == len(set(others)) == 1
