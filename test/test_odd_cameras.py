"""Calibrations as drivers send them: of a part of the sensor, of nothing, or of other images."""

from collections.abc import Sequence
from pathlib import Path

import bags
import numpy as np
import pytest
from session_world import image_at, session_on, street, texts
from worlds import picture, write_posed_folder, write_tiny_model

from vpr_ros import build_map, evaluate_bag
from vpr_ros import map as map_command
from vpr_ros.core.camera import (
    Camera,
    camera_calibration,
    differs,
    field_of_view_deg,
    read_camera_info,
)
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame
from vpr_ros.drives import open_drive
from vpr_ros.drives.posed_images import posed_images
from vpr_ros.evaluating.answers import answers_offline
from vpr_ros.session.events import CameraInfoCame

SENSOR = [480.0, 0, 320, 0, 480, 240, 0, 0, 1]
GOOD = [120.0, 0, 80, 0, 120, 60, 0, 0, 1]
NAN = float('nan')


def camera_info(
    matrix: Sequence[float] = GOOD,
    *,
    size: tuple[int, int] = (160, 120),
    region: tuple[int, int, int, int] = (0, 0, 0, 0),
    model: str = 'plumb_bob',
    distortion: Sequence[float] = (0, 0, 0, 0, 0),
):
    """size: width, height; region: left, top, width, height."""
    left, top, width, height = region
    return bags.made(
        'sensor_msgs/msg/CameraInfo',
        header=bags.header(1, 'camera'),
        width=size[0],
        height=size[1],
        distortion_model=model,
        d=np.array(distortion, dtype=np.float64),
        k=np.array(matrix, dtype=np.float64),
        r=np.eye(3).ravel(),
        p=np.insert(np.array(matrix, dtype=np.float64).reshape(3, 3), 3, 0, axis=1).ravel(),
        binning_x=0,
        binning_y=0,
        roi=bags.made(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=left,
            y_offset=top,
            width=width,
            height=height,
            do_rectify=False,
        ),
    )


def drive(path: Path, infos: Sequence, *, count: int = 8) -> Path:
    """Photos of 160x120 along x; the n-th camera_info beside the n-th of them."""
    with bags.writing(path) as put:
        for index in range(count):
            put('/odom', index, bags.odometry(100 + index, bags.along_x(index)))
            photo = bags.compressed(100 + index, 0, data=encode_jpeg(picture(index)))
            put('/camera/image_raw/compressed', index, photo)
            put('/camera/camera_info', index, infos[min(index, len(infos) - 1)])
    return path


@pytest.mark.parametrize('rectified', [False, True])
def test_a_region_of_the_sensor_is_a_camera_that_sees_less(rectified: bool) -> None:
    message = camera_info(SENSOR, size=(640, 480), region=(200, 150, 160, 120))
    found = read_camera_info(message, rectified=rectified)
    assert found.camera is not None and (found.camera.width_px, found.camera.height_px) == (
        160,
        120,
    )
    assert found.camera.matrix == (480, 0, 120, 0, 480, 90, 0, 0, 1)
    assert found.field_of_view_deg == pytest.approx(18.9, abs=0.05)


def test_a_region_may_end_where_the_sensor_does() -> None:
    message = camera_info(SENSOR, size=(640, 480), region=(480, 360, 160, 120))
    found = read_camera_info(message, rectified=False)
    assert found.camera is not None and found.camera.width_px == 160
    assert found.camera.matrix == (480, 0, -160, 0, 480, -120, 0, 0, 1)


def test_a_scaled_camera_sees_the_same_ray_in_the_same_part_of_the_picture() -> None:
    whole = Camera(640, 480, (500.0, 2.0, 300.0, 0.0, 450.0, 250.0, 0.0, 0.0, 1.0))
    pixels = np.array([[0.0, 0.0], [639.0, 479.0], [123.0, 400.0]])
    for width, height in ((320, 240), (1280, 960), (160, 119)):
        scale = np.array([width / 640, height / 480])
        small = whole.scaled_to(width, height)
        assert (small.width_px, small.height_px) == (width, height)
        assert small.matrix[1] == pytest.approx(2.0 * width / 640)
        there = (pixels + 0.5) * scale - 0.5  # a pixel's middle stands half a pixel inside
        np.testing.assert_allclose(small.normalized(there), whole.normalized(pixels), atol=1e-9)
    assert whole.focal_px == pytest.approx(np.sqrt(500 * 450))


def test_a_fisheye_without_coefficients_turns_pixels_into_angles() -> None:
    """Equidistant: a ray of 1 rad is one focal length from the middle of the image."""
    fisheye = Camera(640, 480, (200.0, 0, 320.0, 0, 200.0, 240.0, 0, 0, 1.0), 'equidistant')
    rays = fisheye.normalized(np.array([[320.0, 240.0], [520.0, 240.0], [320.0, 140.0]]))
    np.testing.assert_allclose(rays, [[0, 0], [np.tan(1), 0], [0, -np.tan(0.5)]], atol=1e-6)


def test_rectified_images_without_a_projection_keep_their_matrix() -> None:
    found = camera_calibration(
        160, 120, matrix=GOOD, distortion_model='plumb_bob', distortion=[0.1] * 5, rectified=True
    )
    assert found.camera is not None and found.camera.matrix == tuple(GOOD)
    assert found.camera.distortion == ()


def test_an_image_without_a_width_has_no_field_of_view() -> None:
    assert field_of_view_deg(0, 500.0) is None
    assert field_of_view_deg(1000, 500.0) == pytest.approx(90)


def test_fields_of_view_differ_by_their_ratio_whichever_is_wider() -> None:
    for narrow, wide, expected in ((60, 60, False), (60, 66, False), (60, 120, True)):
        assert differs(narrow, wide) == differs(wide, narrow) == expected


@pytest.mark.parametrize(
    'region',
    [
        (0, 0, 0, 0),
        (0, 0, 640, 480),
        (200, 150, 640, 480),
        (200, 150, 160, 480),
        (200, 150, 640, 120),
        (200, 150, 0, 120),
        (200, 150, 160, 0),
    ],
)
def test_the_whole_sensor_and_a_region_beyond_it_leave_the_calibration(region) -> None:
    found = read_camera_info(camera_info(SENSOR, size=(640, 480), region=region), rectified=False)
    assert found.camera is not None and found.camera.matrix == tuple(SENSOR)
    assert found.camera.width_px == 640


@pytest.mark.parametrize(
    ('info', 'why'),
    [
        (camera_info([0.0] * 9), 'K is all zeros'),
        (camera_info([1.0, 0, 0, 0, 1, 0, 0, 0, 1]), 'K has a focal length of 1 pixels'),
        (camera_info([500, 0, 320, 0, 1.0, 240, 0, 0, 1]), 'K has a focal length of 1 pixels'),
        (camera_info([NAN] * 9), 'K has NaN'),
        (camera_info(distortion=[NAN] * 5), 'D has NaN'),
        (camera_info(size=(640, 0)), 'it is for images of 640x0 pixels'),
        (camera_info(size=(0, 0)), 'it is for images of 0x0 pixels'),
        (camera_info(model='fisheye', distortion=[0.1] * 4), "'fisheye' with 4 coefficients"),
    ],
)
def test_a_calibration_that_is_none_says_why(tmp_path: Path, info, why: str) -> None:
    found = open_drive(drive(tmp_path / 'bag', [info]))
    assert found.camera is None
    said = [note for note in found.warnings if note.startswith('/camera/camera_info: ')]
    assert len(said) == 1 and why in said[0]
    if info.k[0] in (0, 1):
        assert found.field_of_view_deg is None


@pytest.mark.parametrize(
    ('model', 'count'),
    [('plumb_bob', 4), ('plumb_bob', 5), ('rational_polynomial', 8), ('equidistant', 4), ('', 0)],
)
def test_each_distortion_model_has_its_coefficients(model: str, count: int) -> None:
    for given, understood in ((count, True), (0, True), (3, False)):
        message = camera_info(model=model, distortion=[0.01] * given)
        found = read_camera_info(message, rectified=False)
        assert (found.camera is not None) == understood


def test_the_first_calibration_that_tells_is_taken(tmp_path: Path) -> None:
    found = open_drive(drive(tmp_path / 'bag', [camera_info([0.0] * 9), camera_info()]))
    assert found.camera is not None and found.camera.matrix == tuple(GOOD)
    assert found.warnings == []


def test_a_posed_folder_says_why_its_calibration_is_none(tmp_path: Path) -> None:
    write_posed_folder(tmp_path, [0, 1])
    numbers = {'camera_matrix': '1, 0, 0, 0, 1, 0, 0, 0, 1', 'distortion_coefficients': '0'}
    numbers |= {'rectification_matrix': '1, 0, 0, 0, 1, 0, 0, 0, 1'}
    numbers |= {'projection_matrix': '1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0'}
    lines = [f'{name}: {{data: [{values}]}}' for name, values in numbers.items()]
    text = 'image_width: 160\nimage_height: 120\ndistortion_model: plumb_bob\n'
    (tmp_path / 'camera_info.yaml').write_text(text + '\n'.join(lines))
    found = open_drive(tmp_path)
    assert found.camera is None and found.field_of_view_deg is None
    assert any('K has a focal length of 1 pixels' in note for note in found.warnings)


def test_a_calibration_of_other_images_names_the_way_out(tmp_path: Path, capsys) -> None:
    model = write_tiny_model(tmp_path / 'model', cells=True).folder
    bag = drive(tmp_path / 'bag', [camera_info(size=(1920, 1080))])
    words = ['--bag', str(bag), '--model', str(model), '--output', str(tmp_path / 'map')]
    assert build_map.main(words) == 2
    said = capsys.readouterr().err
    assert 'the calibration is for 1920x1080' in said and '--landmarks none' in said
    assert build_map.main([*words, '--landmarks', 'none']) == 0


def test_the_node_says_why_landmarks_are_not_used(tmp_path: Path, monkeypatch) -> None:
    place_map = street(tmp_path / 'map')
    session = session_on(place_map)
    monkeypatch.setattr(type(place_map), 'has_landmarks', True)
    broken = CameraInfoCame('/cam', read_camera_info(camera_info([0.0] * 9), rectified=False))
    assert '/cam: the calibration in its camera_info cannot be used: K is all' in texts(
        session.handle(broken)
    )
    assert session.handle(broken) == []
    session.handle(CameraInfoCame('/cam', read_camera_info(camera_info(), rectified=False)))
    said = texts(session.handle(image_at(3, 100)))  # 16x16 pixels
    assert 'the calibration is for 160x120; landmarks are not used' in said
    assert 'landmarks' not in texts(session.handle(image_at(4, 101)))


def test_the_session_says_once_that_no_calibration_comes(tmp_path: Path, monkeypatch) -> None:
    place_map = street(tmp_path / 'map')
    sessions = {calibrated: session_on(place_map) for calibrated in (False, True)}
    monkeypatch.setattr(type(place_map), 'has_landmarks', True)
    unset = CameraInfoCame('/cam', read_camera_info(camera_info([0.0] * 9), rectified=False))
    sessions[True].handle(unset)  # and says itself what is wrong
    for calibrated, session in sessions.items():
        said = [texts(session.handle(image_at(3, 100 + second))) for second in range(8)]
        missing = ['camera 1: no camera_info came in 5 s' in text for text in said]
        assert missing == [second == 5 and not calibrated for second in range(8)]


def test_a_drive_with_another_lens_is_described_in_its_maps_view(tmp_path: Path, capsys) -> None:
    model = str(write_tiny_model(tmp_path / 'model', cells=True).folder)
    wide = [60.0, 0, 80, 0, 60, 60, 0, 0, 1]
    mapped, other = (
        str(drive(tmp_path / name, [camera_info(matrix)]))
        for name, matrix in (('mapped', GOOD), ('other', wide))
    )
    folder = str(tmp_path / 'map')
    assert build_map.main(['--bag', mapped, '--model', model, '--output', folder]) == 0
    asked = ['--bag', other, '--map', folder, '--model', model, '--radius', '1']
    place_map, describer = PlaceMap.open(folder), OnnxDescriber(Model.open(model))
    camera = MountedCamera(calibration=open_drive(other).camera)
    localizer = Localizer(describer, place_map, cameras=[camera])
    queries = [
        localizer.describe(Frame(frame.load(), frame.stamp_ns))
        for frame in open_drive(other).frames()
    ]
    assert all(query.seen_by is not None for query in queries)
    capsys.readouterr()
    assert evaluate_bag.main(asked) == 0
    said = capsys.readouterr()
    assert "its images are given that one's view, of which they show 100%" in said.out + said.err
    assert evaluate_bag.main([*asked, '--set', 'virtual_camera=false']) == 0
    said = capsys.readouterr()
    assert 'another lens' not in said.out + said.err
    found = posed_images(
        open_drive(other), describer, max_pose_gap_s=1.0, like=place_map.header.camera
    )
    assert found.descriptors.tolist() == [query.descriptor.tolist() for query in queries]
    asked = ['--bag', other, '--model', model]
    assert map_command.main(['prune', folder, '--dry-run', *asked]) == 0
    said = capsys.readouterr()
    assert "given that one's view" in said.out + said.err
    assert map_command.main(['append', folder, *asked]) == 0
    said = capsys.readouterr()
    assert "given the view of the map's camera, which has another lens" in said.out + said.err


def test_the_node_learns_the_lens_of_a_drive_that_is_evaluated_live(tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from vpr_ros.evaluating.live import run_live

    model = write_tiny_model(tmp_path / 'model', cells=True)
    wide = [60.0, 0, 80, 0, 60, 60, 0, 0, 1]
    mapped, other = (
        drive(tmp_path / name, [camera_info(matrix)])
        for name, matrix in (('mapped', GOOD), ('other', wide))
    )
    folder = str(tmp_path / 'map')
    words = ['--bag', str(mapped), '--model', str(model.folder), '--output', folder]
    assert build_map.main(words) == 0
    place_map, recorded = PlaceMap.open(folder, model=model), open_drive(other)
    camera = MountedCamera(calibration=recorded.camera)
    offline = {}
    for virtual in (True, False):
        config = LocalizerConfig(belief=False, virtual_camera=virtual)
        localizer = Localizer(OnnxDescriber(model), place_map, config, cameras=[camera])
        found = [answer.candidates for answer in answers_offline(recorded.frames(), localizer)]
        offline[virtual] = found[1:]  # the first image came before its calibration
    parameters = {'map': folder, 'model': str(model.folder), 'belief': False}
    live = run_live(other, None, parameters, every_image=True)
    nodes = [answer.candidates for answer in live.answers][1:]
    np.testing.assert_allclose(nodes, offline[True], atol=1e-9)
    assert not np.allclose(nodes, offline[False])
