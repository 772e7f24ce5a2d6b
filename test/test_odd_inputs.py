"""Recordings and folders that look right and are not: two programs on one topic, stamps that tell
no time, millimetres, tables that name other files, parts that are missing.

What is taken is said, what is left out is counted, and an error names the next step.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import bags
import numpy as np
import pytest
import yaml
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import IFDRational
from session_world import SECOND, odometry_at, session_on, street, texts
from worlds import picture, write_posed_folder, write_tiny_model

from vpr_ros import build_map, calibrate, evaluate_bag, images_to_bag, map
from vpr_ros.core.errors import DriveError
from vpr_ros.core.geometry import IDENTITY, said_frames
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.core.types import Datum
from vpr_ros.drives import DriveOptions, open_drive
from vpr_ros.drives.drive import notes_of
from vpr_ros.drives.geographic import datum_at
from vpr_ros.drives.same_frame import OWN_FIGURES, note_same_time
from vpr_ros.session.answers import CorrectionLost
from vpr_ros.session.events import OdometryCame

COUNT = 24
FIX = [48.0, 11.0]


def recorded(
    path: Path,
    put_poses: Callable,
    *,
    stamp: Callable | None = None,
    frames=('',),
    start_s: int = 1000,
) -> Path:
    """Photos at 4 Hz from start_s on; put_poses(put, row, seconds) adds the rest."""
    with bags.writing(path) as put:
        for row in range(COUNT):
            seconds = start_s + row / 4
            put_poses(put, row, seconds)
            data, frame = encode_jpeg(picture(row)), frames[row % len(frames)]
            stamp_s = seconds if stamp is None else stamp(row)
            photo = bags.compressed(stamp_s, row, data=data, frame=frame or 'camera')
            put('/camera/image/compressed', seconds, photo)
    return path


def odometry(put, row: int, seconds: float) -> None:
    put('/odom', seconds, bags.odometry(seconds, bags.along_x(row)))


def x_of(drive) -> list[float]:
    return [round(x, 6) for x in drive.trajectory.poses[:, 0].tolist()]


def said(drive) -> str:
    return '\n'.join(notes_of(drive))


# Two programs on one topic


def test_of_two_programs_on_one_topic_of_poses_one_counts_and_that_is_said(tmp_path: Path) -> None:
    def both(put, row, seconds):
        odometry(put, row, seconds)
        other = bags.odometry(
            seconds, [500, 9, 0, 0, 0, 0, 1], frame='odom', child='base_footprint'
        )
        put('/odom', seconds, other)

    drive = open_drive(recorded(tmp_path / 'bag', both))
    assert x_of(drive) == list(range(COUNT)) and drive.frame_id == 'map'
    assert 'map to base_link: 24, odom to base_footprint: 24; only those of map to' in said(drive)


def test_of_two_bodies_of_a_tracker_the_more_frequent_counts(tmp_path: Path) -> None:
    def both(put, row, seconds):
        if row % 2:
            wand = bags.transform_stamped(seconds, bags.along_x(90), child='wand')
            put('/vicon', seconds, wand)
        robot = bags.transform_stamped(seconds, bags.along_x(row), child='robot')
        put('/vicon', seconds, robot)

    drive = open_drive(recorded(tmp_path / 'bag', both))
    assert x_of(drive) == list(range(COUNT))
    assert 'only those of world to robot are used' in said(drive)


def test_a_frame_with_two_parents_loses_no_transform_and_is_named(tmp_path: Path) -> None:
    def both(put, row, seconds):
        edges = [('map', 'odom', bags.along_x(0)), ('odom', 'base_link', bags.along_x(row))]
        put('/tf', seconds, bags.transforms(seconds, *edges))
        other = ('camera_odom', 'base_link', bags.along_x(-row))
        put('/tf', seconds, bags.transforms(seconds, other))

    bag = recorded(tmp_path / 'bag', both)
    drive = open_drive(bag)
    assert x_of(drive) == list(range(COUNT))
    parents = 'base_link has several parents on tf, odom (24 transforms) and camera_odom (24'
    assert parents in said(drive)
    drive = open_drive(bag, DriveOptions(tf_frames=('camera_odom', 'base_link')))
    assert x_of(drive) == [-float(row) for row in range(COUNT)]


def test_a_frame_that_moves_is_not_nailed_down_by_a_fixed_transform(tmp_path: Path) -> None:
    def both(put, row, seconds):
        edges = [('map', 'odom', bags.along_x(100)), ('odom', 'base_link', bags.along_x(row))]
        put('/tf', seconds, bags.transforms(seconds, *edges))
        if row in (0, COUNT - 1):
            fixed = bags.transforms(0, ('odom', 'base_link', bags.along_x(0)))
            put('/tf_static', seconds + 0.01, fixed)

    drive = open_drive(recorded(tmp_path / 'bag', both))
    assert x_of(drive) == [100 + row for row in range(COUNT)]
    assert 'base_link in odom is on tf_static and on tf, of which the latter' in said(drive)


def test_a_mounting_on_both_tf_topics_is_one_and_one_that_changes_is_said(tmp_path: Path) -> None:
    def with_camera(metres, topics):
        def put_all(put, row, seconds):
            odometry(put, row, seconds)
            if row in metres:
                edge = bags.transforms(seconds, ('base_link', 'camera', bags.along_x(metres[row])))
                for topic in topics:
                    put(topic, seconds, edge)

        return put_all

    twice = with_camera({0: 1, 9: 1}, ('/tf_static', '/tf'))
    drive = open_drive(recorded(tmp_path / 'twice', twice))
    assert drive.base_T_camera[0] == 1 and 'tf_static' not in said(drive)
    drive = open_drive(recorded(tmp_path / 'other', with_camera({0: 1, 9: 2}, ['/tf_static'])))
    assert drive.base_T_camera[0] == 2
    assert 'camera in base_link changes on tf_static, and the last transform' in said(drive)


def test_two_cameras_on_one_topic_are_said(tmp_path: Path) -> None:
    drive = open_drive(recorded(tmp_path / 'bag', odometry, frames=('left', 'right')))
    assert len(list(drive.frames())) == COUNT
    assert said(drive).count('images of several frames, left and right') == 1


def test_the_node_starts_anew_where_odometry_comes_from_another_program(tmp_path: Path) -> None:
    session = session_on(street(tmp_path / 'map'))

    def came(x_m: float, seconds: float, frame: str) -> OdometryCame:
        told = odometry_at(x_m, seconds)
        return OdometryCame(told.stamp_ns, told.odom_T_base, frames=(frame, 'base_link'))

    assert session.handle(came(0, 100, 'odom')) == [] == session.handle(came(1, 101, 'odom'))
    assert session._map_to_odom.odometry.distance_m(100 * SECOND, 101 * SECOND) == 1
    notes = texts(session.handle(came(500, 101.5, 'odom_combined')))
    assert 'odom: odometry of several frames, odom to base_link and odom_combined to' in notes
    assert session._map_to_odom.odometry.distance_m(101 * SECOND, round(101.5 * SECOND)) is None
    # Told once, but with each change nothing is known of where its origin is on the map.
    assert session.handle(came(2, 102, 'odom')) == [CorrectionLost()]


@pytest.mark.parametrize(
    ('frames', 'said'),
    [
        (('odom', 'base_link'), 'odom to base_link'),
        (('odom', ''), 'odom'),
        (('', 'base_link'), 'base_link'),
        (('', ''), 'no frame'),
    ],
)
def test_a_frame_without_a_name_is_left_out_of_messages(
    frames: tuple[str, str], said: str
) -> None:
    assert said_frames(*frames) == said


# Stamps that tell no time


def test_tf_without_stamps_has_the_times_of_recording(tmp_path: Path) -> None:
    def unstamped(put, row, seconds):
        put('/tf', seconds, bags.transforms(0, ('map', 'base_link', bags.along_x(row))))

    drive = open_drive(recorded(tmp_path / 'bag', unstamped))
    assert x_of(drive) == list(range(COUNT))
    assert '/tf: all header stamps are zero, so the times of recording' in said(drive)


@pytest.mark.parametrize('first_s', [0, 12, 5000])
def test_a_wrong_first_stamp_does_not_choose_the_poses(tmp_path: Path, first_s: int) -> None:
    def both(put, row, seconds):
        put('/tf', seconds, bags.transforms(seconds, ('map', 'base_link', bags.along_x(row))))
        put('/odom', seconds, bags.odometry(seconds, bags.along_x(7), frame='odom'))

    stamp = lambda row: 1000 + row / 4 if row else first_s  # noqa: E731
    drive = open_drive(recorded(tmp_path / 'bag', both, stamp=stamp))
    assert drive.pose_source.startswith('poses from /tf (map to base_link)')
    assert 'same clock' not in said(drive)


def test_a_stamp_that_stands_still_is_none(tmp_path: Path) -> None:
    drive = open_drive(recorded(tmp_path / 'bag', odometry, stamp=lambda row: 1003))
    stamps = [frame.stamp_ns / SECOND for frame in drive.frames()]
    assert stamps == [1000 + row / 4 for row in range(COUNT)]
    assert 'header stamps are all the same, so the times of recording' in said(drive)


def test_single_messages_without_a_stamp_have_the_time_of_recording(tmp_path: Path) -> None:
    """Stamps lie a day before the times of recording, which alone tell where 0 belongs."""
    start = 1.7e9
    with bags.writing(tmp_path / 'bag') as put:
        for row in range(COUNT):
            stamp, received = start + row, start + 86400 + row
            pose = bags.odometry(0 if row == 5 else stamp, bags.along_x(row))
            put('/odom', received, pose)
            put('/image', received, bags.image(0 if row in (2, 7) else stamp, row))
    drive = open_drive(tmp_path / 'bag')
    assert [frame.stamp_ns for frame in drive.frames()] == [
        int(start + row) * 10**9 for row in range(COUNT)
    ]
    assert x_of(drive) == list(range(COUNT))
    assert '/odom: 1 pose has no stamp; its time of recording is used' in said(drive)
    assert '/image: images without a stamp have the time of recording' in said(drive)


def test_a_single_transform_without_a_stamp_has_the_time_of_recording(tmp_path: Path) -> None:
    start = 1.7e9
    with bags.writing(tmp_path / 'bag') as put:
        for row in range(COUNT):
            edge = ('map', 'base_link', bags.along_x(row))
            put('/tf', start + row, bags.transforms(0 if row == 5 else start + row, edge))
            put('/image', start + row, bags.image(start + row, row))
    drive = open_drive(tmp_path / 'bag')
    assert x_of(drive) == list(range(COUNT))
    assert '1 transform has no stamp; its time of recording is used' in said(drive)


def test_depth_without_stamps_belongs_to_the_image_that_was_recorded_with_it(
    tmp_path: Path,
) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        for row in range(3):
            depth = bags.image(0, row)
            depth.encoding, depth.step = '16UC1', 2 * depth.width
            depth.data = np.full(depth.width * depth.height, row + 1, np.uint16).view(np.uint8)
            put('/camera/color/image_raw', row, bags.image(0, row))
            put('/camera/aligned_depth_to_color/image_raw', row + 0.001, depth)
    frames = list(open_drive(tmp_path / 'bag').frames())
    assert [round(1000 * float(frame.depth()[0, 0])) for frame in frames] == [1, 2, 3]


def test_two_clocks_of_wall_time_are_to_be_set_by_each_other(tmp_path: Path) -> None:
    def wall(put, row, seconds):
        put('/odom', seconds, bags.odometry(1.7e9 + row, bags.along_x(row)))

    bag = recorded(tmp_path / 'bag', wall, stamp=lambda row: 1.7e9 - 7200 + row)
    assert 'wall time (1700000000.0 s); set the clocks of the computers' in said(open_drive(bag))


def test_stamps_before_1970_are_stamps(tmp_path: Path) -> None:
    def before(put, row, seconds):
        put('/odom', seconds, bags.odometry(row - 60, bags.along_x(row)))

    drive = open_drive(recorded(tmp_path / 'bag', before, stamp=lambda row: row - 60))
    assert [frame.stamp_ns for frame in drive.frames()] == [
        (row - 60) * 10**9 for row in range(COUNT)
    ]
    assert drive.warnings == []


def test_a_tf_that_goes_in_a_circle_is_said(tmp_path: Path) -> None:
    def circle(put, row, seconds):
        edges = [('odom', 'base_link', bags.along_x(row)), ('base_link', 'odom', bags.along_x(1))]
        put('/tf', seconds, bags.transforms(seconds, *edges))

    drive = open_drive(recorded(tmp_path / 'bag', circle))
    assert 'tf goes in a circle, base_link to odom to base_link, so that' in said(drive)


def test_poses_that_share_a_stamp_are_counted(tmp_path: Path) -> None:
    def whole_seconds(put, row, seconds):
        put('/odom', seconds, bags.odometry(int(seconds), bags.along_x(row)))
        put('/odom', seconds, bags.odometry(int(seconds), bags.along_x(row)))

    drive = open_drive(recorded(tmp_path / 'bag', whole_seconds))
    assert x_of(drive) == list(range(0, COUNT, 4))
    assert '/odom: 36 poses were left out, because an earlier one at another' in said(drive)


@pytest.mark.parametrize('kind', ['bag', 'photos'])
def test_a_drive_across_the_date_line_is_near_a_datum_there(tmp_path: Path, kind: str) -> None:
    """As many positions on one side as on the other: their plain median is Greenwich."""
    east = [179.9999, 180.0, -179.9999, -179.9998]
    drive = tmp_path / kind
    if kind == 'bag':
        with bags.writing(drive) as put:
            for row, longitude in enumerate(east):
                put('/fix', row, bags.fix(row, 16.8, longitude))
                put('/image', row, bags.image(row, row))
    else:
        drive.mkdir()
        for row, longitude in enumerate(east):
            gps = {1: 'N', 2: (16.8,), 3: 'WE'[longitude > 0], 4: (abs(longitude),)}
            exif = PillowImage.Exif()
            exif[0x8825] = gps
            PillowImage.new('RGB', (32, 24)).save(drive / f'{row}.jpg', exif=exif)
    found = open_drive(drive, DriveOptions(datum=datum_at(16.8, 179.9999)))
    assert x_of(found) == pytest.approx([0, 10.67, 21.34, 32.0], abs=0.02)
    assert found.warnings == []


def test_stamps_of_whole_seconds_are_said(tmp_path: Path) -> None:
    drive = open_drive(recorded(tmp_path / 'bag', odometry, stamp=lambda row: 1000 + row // 4))
    assert 'header stamps are whole seconds' in said(drive)
    drive = open_drive(recorded(tmp_path / 'each', odometry, stamp=lambda row: 1000 + row))
    assert 'whole seconds' not in said(drive)  # one image a second


@pytest.mark.parametrize(('every', 'is_said'), [(2, True), (3, True), (24, False)])
def test_stamps_that_a_driver_uses_again_are_said(
    tmp_path: Path, every: int, is_said: bool
) -> None:
    def stamp(row: int) -> float:
        return 1000 + (row - (row % every == 1)) / 4

    drive = open_drive(recorded(tmp_path / 'bag', odometry, stamp=stamp))
    assert len(list(drive.frames())) == COUNT
    count = COUNT // every
    note = f'/camera/image/compressed: {count} of 24 images have the stamp of the one before'
    assert (note in said(drive)) == is_said and ('the stamp of' in said(drive)) == is_said


# Numbers that cannot be


@pytest.mark.parametrize('speed_mps', [160, 800])
def test_millimetres_are_suspected(tmp_path: Path, speed_mps: int) -> None:
    def fast(put, row, seconds):
        pose = bags.along_x(speed_mps * (seconds - 1000))
        put('/odom', seconds, bags.odometry(seconds, pose))

    drive = open_drive(recorded(tmp_path / 'bag', fast))
    assert f'the positions move at {speed_mps} m/s at the median; metres' in said(drive)


def test_a_posed_folder_in_millimetres_is_suspected(tmp_path: Path) -> None:
    write_posed_folder(tmp_path, [0, 4, 8, 12])  # 40 m in 0.1 s
    assert 'are these millimetres?' in said(open_drive(tmp_path))


@pytest.mark.parametrize('place', [(11.0, 148.0), (11.0, 48.0), (48.0, -11.0)])
def test_a_datum_on_the_other_side_of_the_earth_is_refused(tmp_path: Path, place) -> None:
    def fixes(put, row, seconds):
        put('/fix', seconds, bags.fix(seconds, FIX[0] + row * 1e-5, FIX[1]))

    bag = recorded(tmp_path / 'bag', fixes)
    with pytest.raises(DriveError, match=r'/fix: .* km from the datum .*give another --datum LAT'):
        open_drive(bag, DriveOptions(datum=datum_at(*place)))
    assert open_drive(bag, DriveOptions(datum=datum_at(47.0, 13.0))).has_heading is False


@pytest.mark.parametrize(
    ('name', 'why'),
    [
        ('@0.0@0.0@32@U@@@@@@@@@@@.jpg', '0 east, 0 north is no position in a UTM zone'),
        ('@5300000@500000@32@U@@@@@@@@@@@.jpg', 'expected east below 1000000 m'),
        ('@500000@5300000@32@U@@@@@-999@@@@@@.jpg', 'heading is -999, expected -180 to 360'),
    ],
)
def test_a_name_with_impossible_numbers_is_named(tmp_path: Path, name: str, why: str) -> None:
    for each in (name, '@500003@5300000@32@U@@@@@90@@@@@@.jpg'):
        (tmp_path / each).write_bytes(encode_jpeg(picture(1)))
    with pytest.raises(DriveError, match=why):
        open_drive(tmp_path)


def gps_photo(path: Path, latitude: float, longitude: float) -> None:
    exif = PillowImage.Exif()
    degrees = [IFDRational(round(each * 1e6), 10**6) for each in (latitude, longitude)]
    zero = IFDRational(0, 1)
    exif[0x8825] = {1: 'N', 2: (degrees[0], zero, zero), 3: 'E', 4: (degrees[1], zero, zero)}
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(picture(round(latitude * 1e5) % 200)).save(path, exif=exif)


def test_a_first_photo_from_elsewhere_is_named_and_is_no_datum(tmp_path: Path) -> None:
    for row in range(6):
        gps_photo(tmp_path / f'{row}.jpg', *((52.5, 13.4) if row == 0 else (48 + row * 1e-5, 11)))
    drive = open_drive(tmp_path)
    assert isinstance(drive.datum, Datum) and drive.datum.utm_zone == 32
    assert '1 of 6 images with a position is more than 100 km from' in said(drive)
    assert 'the first: 0.jpg' in said(drive)
    with pytest.raises(DriveError, match=r'1\.jpg: .* km from the datum'):
        open_drive(tmp_path, DriveOptions(datum=datum_at(11, 48)))


def test_one_photo_beyond_utm_ends_nothing(tmp_path: Path) -> None:
    gps_photo(tmp_path / '0.jpg', 84.5, 11)
    gps_photo(tmp_path / '1.jpg', 48, 11)
    drive = open_drive(tmp_path)
    assert len(drive.trajectory.stamps_ns) == 1
    assert '0.jpg: EXIF position 84.5, 11.0 is beyond UTM' in said(drive)


# A part is read


def test_images_in_other_folders_are_named(tmp_path: Path) -> None:
    for name in ('0.jpg', '100MEDIA/1.jpg', '100MEDIA/2.jpg', '101MEDIA/3.jpg'):
        gps_photo(tmp_path / name, 48, 11)
    drive = open_drive(tmp_path)
    counts = f'and not 2 in {tmp_path}/100MEDIA, 1 in {tmp_path}/101MEDIA'
    assert len(drive) == 1 and counts in said(drive)
    gps_photo(tmp_path / 'images' / '4.jpg', 48, 11)
    assert f'and not 1 in {tmp_path}, 2 in' in said(open_drive(tmp_path))


@pytest.mark.parametrize('where', ['images/poses.csv', 'Poses.CSV'])
def test_a_table_in_another_place_is_named(tmp_path: Path, where: str) -> None:
    write_posed_folder(tmp_path, [0, 1])
    (tmp_path / 'poses.csv').rename(tmp_path / where)
    note = f'{tmp_path / where} is not read; the table of the poses is {tmp_path}/poses.csv'
    assert note in said(open_drive(tmp_path))


def rewritten(folder: Path, change: Callable[[list[str]], list[str]]) -> Path:
    write_posed_folder(folder, [0, 1, 2])
    header, *rows = (folder / 'poses.csv').read_text().splitlines()
    (folder / 'poses.csv').write_text('\n'.join([header, *change(rows), '']))
    return folder


@pytest.mark.parametrize('name', ['../secret.jpg', '{}/secret.jpg', 'a/../../secret.jpg'])
def test_a_table_reads_nothing_outside_the_folder_of_the_images(tmp_path: Path, name: str) -> None:
    (tmp_path / 'drive').mkdir()
    (tmp_path / 'drive' / 'secret.jpg').write_bytes(encode_jpeg(picture(9)))
    row = name.format(tmp_path / 'drive') + ',9,0,0,0,0,0,0,1'
    folder = rewritten(tmp_path / 'drive', lambda rows: [*rows, row])
    with pytest.raises(DriveError, match=r"line 5: the image '.*secret.jpg' is not in the folder"):
        open_drive(folder)


@pytest.mark.parametrize('before', ['images/', 'images\\'])
def test_a_table_whose_names_fit_no_image_shows_one(tmp_path: Path, before: str) -> None:
    folder = rewritten(tmp_path, lambda rows: [before + row for row in rows])
    with pytest.raises(DriveError, match=r"the first is 'images.*000000.jpg'; write names as"):
        open_drive(folder)


def test_an_image_with_two_rows_is_one_image(tmp_path: Path) -> None:
    folder = rewritten(tmp_path, lambda rows: [*rows, rows[0].replace('1.0', '7.0', 1)])
    drive = open_drive(folder)
    assert [frame.name for frame in drive.frames()] == [f'00000{row}.jpg' for row in range(3)]
    assert '1 row of poses.csv names an image that an earlier row names' in said(drive)


def metadata_of(bag: Path, change: Callable[[dict], None]) -> None:
    found = yaml.safe_load((bag / 'metadata.yaml').read_text())
    change(found['rosbag2_bagfile_information'])
    (bag / 'metadata.yaml').write_text(yaml.safe_dump(found))


def test_a_missing_part_of_a_split_bag_is_named(tmp_path: Path) -> None:
    bag = recorded(tmp_path / 'bag', odometry)
    metadata_of(bag, lambda facts: facts['relative_file_paths'].append('bag_1.mcap'))
    drive = open_drive(bag)
    assert len(list(drive.frames())) == COUNT
    assert 'metadata.yaml lists bag_1.mcap, which is not there' in said(drive)
    assert 'reindex' not in said(drive)


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('lost', ['topics_with_message_count', 'relative_file_paths'])
def test_messages_that_the_metadata_do_not_list_are_read(
    tmp_path: Path, kind: str, lost: str
) -> None:
    with bags.writing(tmp_path / 'bag', kind) as put:
        put('/image', 1, bags.image(1, 1))
        put('/odom', 1, bags.odometry(1, bags.along_x(7)))
    file = tmp_path / 'bag' / 'metadata.yaml'
    found = yaml.safe_load(file.read_text())
    found['rosbag2_bagfile_information'][lost] = []
    file.write_text(yaml.safe_dump(found))
    drive = open_drive(tmp_path / 'bag')
    assert len(list(drive.frames())) == len(drive) == 1 and x_of(drive) == [7]
    assert 'metadata.yaml lists no messages; the files are read without it' in said(drive)


@pytest.mark.parametrize('kind', ['mcap-file', 'sqlite3-file'])
def test_compressed_parts_without_metadata_are_named(tmp_path: Path, kind: str) -> None:
    with bags.writing(tmp_path / 'bag', kind) as put:
        put('/image', 1, bags.image(1, 1))
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    wanted = (
        r'metadata.yaml is missing, without which the compressed bag\.\w+\.zstd cannot be read'
    )
    with pytest.raises(DriveError, match=wanted):
        open_drive(tmp_path / 'bag')
    with bags.writing(tmp_path / 'other') as put:
        put('/image', 2, bags.image(2, 2))
    part = tmp_path / 'other' / 'other.mcap'
    part.rename(tmp_path / 'bag' / 'bag_1.mcap')
    drive = open_drive(tmp_path / 'bag')
    assert len(drive) == 1 and 'unpack with `zstd -d`' in said(drive)


def test_a_bag_one_folder_deeper_is_named(tmp_path: Path) -> None:
    recorded(tmp_path / 'bag', odometry)
    with pytest.raises(DriveError, match='no images in it, but a bag in bag: give that folder'):
        open_drive(tmp_path)
    with pytest.raises(DriveError, match=r'metadata\.yaml: describes a bag; give the folder'):
        open_drive(tmp_path / 'bag' / 'metadata.yaml')
    (tmp_path / 'bag.zip').write_bytes(b'PK')
    with pytest.raises(DriveError, match=r'bag\.zip: is packed; unpack it'):
        open_drive(tmp_path / 'bag.zip')


# The map's own drive


def test_the_drive_of_the_map_itself_is_said(tmp_path: Path, capsys) -> None:
    model = ['--model', str(write_tiny_model(tmp_path / 'model').folder)]
    bag = ['--bag', str(recorded(tmp_path / 'bag', odometry))]
    other = ['--bag', str(recorded(tmp_path / 'other', odometry))]
    on = ['--map', str(tmp_path / 'map')]
    assert build_map.main([*bag, *model, '--output', on[1]]) == 0
    capsys.readouterr()
    note = 'a drive with this path is on the map already'
    assert evaluate_bag.main([*on, *other, *model]) == 0
    assert note not in capsys.readouterr().err
    assert evaluate_bag.main([*on, *bag, *model]) == 0
    assert f'{note}; if it is the same drive, each image finds' in capsys.readouterr().err
    calibrate.main([*on, *bag, *model, '--dry-run'])
    assert note in capsys.readouterr().err
    assert map.main(['append', on[1], *bag, *model]) == 0
    assert 'its places are there twice now' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('first_s', 'apart_s', 'is_noted'),
    [
        (1_700_000_000, 0.3, True),  # a copy of its bag, or other images of it
        (1_700_000_000, -30.0, True),  # a part of it
        (1_700_000_000, 60.0, False),
        (1_700_000_000, -86_400.0, False),
        (10, 0.0, False),  # simulated time begins anew each time
    ],
)
def test_a_drive_of_the_same_time_as_the_maps_is_said(
    first_s: int, apart_s: float, is_noted: bool
) -> None:
    mapped_ns = (first_s + np.arange(0, 60, 2)) * 10**9
    driven_ns = (1e9 * (first_s + apart_s)) + np.arange(0, 60 * 10**9, 10**8)
    poses = np.tile(IDENTITY, (600, 1))
    drive = SimpleNamespace(
        name='copy', warnings=[], trajectory=Trajectory(driven_ns.astype(np.int64), poses)
    )
    note_same_time(mapped_ns[::-1], drive, OWN_FIGURES)
    note_same_time(mapped_ns, drive, OWN_FIGURES)
    said = f'copy: was recorded at the same time as places of the map; {OWN_FIGURES}'
    assert drive.warnings == [said] * is_noted
    note_same_time(mapped_ns, SimpleNamespace(trajectory=None), OWN_FIGURES)


def test_a_copy_of_the_maps_drive_is_said(tmp_path: Path, capsys) -> None:
    model = ['--model', str(write_tiny_model(tmp_path / 'model').folder)]
    bag, copy, later = (
        ['--bag', str(recorded(tmp_path / name, odometry, start_s=1_700_000_000 + later_s))]
        for name, later_s in (
            ('bag', 0),
            ('copy', 0),
            ('a', 1000),
        )
    )
    on, note = ['--map', str(tmp_path / 'map')], 'copy: was recorded at the same time as places'
    assert build_map.main([*bag, *model, '--output', on[1]]) == 0
    assert evaluate_bag.main([*on, *copy, *model]) == 0
    assert note in capsys.readouterr().err
    calibrate.main([*on, *copy, *model, '--dry-run'])
    assert note in capsys.readouterr().err
    for own in (bag, later):
        assert evaluate_bag.main([*on, *own, *model]) == 0
        assert 'at the same time' not in capsys.readouterr().err


def test_drives_that_are_compared_by_odometry_are_noted(tmp_path: Path, capsys) -> None:
    """The frame has one name and, with each recording, another origin."""

    def wheels(put, row, seconds):
        put('/odom', seconds, bags.odometry(seconds, bags.along_x(row), frame='odom'))

    model = ['--model', str(write_tiny_model(tmp_path / 'model').folder)]
    on, note = ['--map', str(tmp_path / 'map')], 'frame odom: odometry begins anew with each'
    bag = ['--bag', str(recorded(tmp_path / 'bag', wheels))]
    assert build_map.main([*bag, *model, '--output', on[1]]) == 0
    assert note not in capsys.readouterr().err
    assert evaluate_bag.main([*on, *model, '--bag', str(recorded(tmp_path / 'b', wheels))]) == 0
    assert note in capsys.readouterr().err


def test_places_farther_apart_than_candidates_may_be_are_noted(tmp_path: Path, capsys) -> None:
    model = ['--model', str(write_tiny_model(tmp_path / 'model').folder)]
    bag = ['--bag', str(recorded(tmp_path / 'bag', odometry))]
    on = ['--map', str(tmp_path / 'map')]
    assert build_map.main([*bag, *model, '--output', on[1]]) == 0
    capsys.readouterr()
    for radius_m, is_noted in [(0.9, True), (1.1, False)]:
        assert evaluate_bag.main([*on, *bag, *model, '--set', f'agreement_radius={radius_m}']) == 0
        noted = 'lie 1.0 m apart, but agreement_radius is 0.9 m' in capsys.readouterr().err
        assert noted is is_noted


# Files and folders that are not to be replaced


def test_no_output_replaces_a_file_of_a_map_or_a_bag(tmp_path: Path, capsys) -> None:
    model = ['--model', str(write_tiny_model(tmp_path / 'model').folder)]
    bag = recorded(tmp_path / 'bag', odometry)
    folder = tmp_path / 'map'
    assert build_map.main(['--bag', str(bag), *model, '--output', str(folder)]) == 0
    judge = ['--map', str(folder), '--bag', str(bag), *model]
    for command, *words in (
        (map.main, 'export', str(folder), '--tum', str(folder / 'map.yaml')),
        (map.main, 'export', str(folder), '--npz', str(folder / 'parts/0000/poses.npy')),
        (map.main, 'check', str(folder), '--report', str(bag / 'bag.mcap')),
        (evaluate_bag.main, *judge, '--json', str(bag / 'metadata.yaml')),
        (evaluate_bag.main, *judge, '--report', str(tmp_path / 'model' / 'card.json')),
    ):
        capsys.readouterr()
        assert command(words) == 2
        assert 'which is not replaced; give another name' in capsys.readouterr().err
    assert map.main(['check', str(folder), '--report', str(folder / 'report.html')]) == 0
    assert map.main(['check', str(folder), '--report', str(folder / 'report.html')]) == 0
    assert len(open_drive(bag)) == COUNT


@pytest.mark.parametrize('where', ['map', 'map/map.yaml', 'map/parts', 'map/parts/far/away'])
def test_a_map_does_not_become_the_store_of_a_fleet(tmp_path: Path, capsys, where: str) -> None:
    pytest.importorskip('lancedb', reason="pip install 'vpr_ros[fleet]'")
    street(tmp_path / 'map')
    before = sorted((tmp_path / 'map').rglob('*'))
    given = ['push', str(tmp_path / 'map'), '--fleet', str(tmp_path / where)]
    assert map.main(given) == 2
    assert 'expected the folder of a store; give another --fleet' in capsys.readouterr().err
    assert sorted((tmp_path / 'map').rglob('*')) == before


def test_a_stamp_beyond_those_of_ros_is_one_line(tmp_path: Path, capsys) -> None:
    write_posed_folder(tmp_path / 'drive', [0, 1])
    given = [str(tmp_path / 'drive'), '--output', str(tmp_path / 'bag'), '--rate', '1e-10']
    assert images_to_bag.main(given) == 2
    assert 'stamps of ROS 2 end at 2147483647 s' in capsys.readouterr().err
    assert not (tmp_path / 'bag').exists()
