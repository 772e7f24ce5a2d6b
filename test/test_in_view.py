"""A drive through a wide lens makes a map for robots with a narrower one."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from test_virtual_camera import MAPPING, camera, shot
from worlds import write_posed_folder, write_tiny_model

from vpr_ros import build_map
from vpr_ros import map as map_command
from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import DriveError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives import DriveOptions, open_drive

WIDE = camera(250.0, (800, 600), 'plumb_bob', -0.1, 0.0, 0.0, 0.0)
NARROW = camera(800.0)


def write_camera_info(file: Path, by: Camera) -> Path:
    fx, _, cx, _, fy, cy, *_ = by.matrix
    told = {
        'image_width': by.width_px,
        'image_height': by.height_px,
        'distortion_model': by.distortion_model or 'plumb_bob',
        'distortion_coefficients': {'data': list(by.distortion)},
        'camera_matrix': {'data': list(by.matrix)},
        'rectification_matrix': {'data': np.eye(3).ravel().tolist()},
        'projection_matrix': {'data': [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]},
    }
    file.write_text(yaml.safe_dump(told))
    return file


def drive_by(folder: Path, by: Camera, *, calibrated: bool = True) -> Path:
    """Six images of the scene, brighter from place to place."""
    write_posed_folder(folder, range(6))
    for row, path in enumerate(sorted((folder / 'images').iterdir())):
        path.write_bytes(encode_jpeg(shot(by) // 8 * (row + 2), quality=95))
    if calibrated:
        write_camera_info(folder / 'camera_info.yaml', by)
    return folder


def test_the_images_and_the_camera_are_those_of_the_view(tmp_path: Path) -> None:
    folder = drive_by(tmp_path / 'wide', WIDE)
    plain, drive = open_drive(folder), open_drive(folder, DriveOptions(view=MAPPING))
    assert drive.camera == MAPPING and drive.field_of_view_deg == pytest.approx(77.3, abs=0.1)
    assert len(drive) == len(plain) == 6 and drive.name == plain.name
    for row, frame in enumerate(drive.frames()):
        seen = frame.load(at_least_hw=(100, 100))
        assert seen.shape == (480, 640, 3) and frame.file is None
        assert np.abs(seen.astype(int) - shot(MAPPING) // 8 * (row + 2)).mean() < 6


def test_a_lens_of_longer_focal_length_that_shows_all_gives_the_very_view(tmp_path: Path) -> None:
    """Barrel distortion shows the corners of the view although things in the middle are larger."""
    barrel = camera(430.0, (640, 480), 'plumb_bob', -0.16, 0.0, 0.0, 0.0)
    drive = open_drive(drive_by(tmp_path / 'barrel', barrel), DriveOptions(view=MAPPING))
    *_, brightest = drive.frames()
    assert np.abs(brightest.load().astype(int) - shot(MAPPING) // 8 * 7).mean() < 2.5


@pytest.mark.parametrize(
    ('by', 'calibrated', 'said'),
    [
        (NARROW, True, 'its camera sees 25% of what the camera of --view sees, expected all'),
        (WIDE, False, 'no calibration of its camera in it; --view needs camera_info'),
    ],
)
def test_a_drive_that_does_not_show_the_view_is_refused(
    tmp_path: Path, by: Camera, calibrated: bool, said: str
) -> None:
    folder = drive_by(tmp_path / 'drive', by, calibrated=calibrated)
    with pytest.raises(DriveError, match=said):
        open_drive(folder, DriveOptions(view=MAPPING))


def test_a_drive_that_has_the_view_already_stays_as_it_is(tmp_path: Path) -> None:
    finer = camera(800.0, (1280, 960))
    folder = drive_by(tmp_path / 'drive', finer)
    drive = open_drive(folder, DriveOptions(view=MAPPING))
    assert drive.camera is not None and drive.camera.matrix == finer.matrix
    assert next(drive.frames()).load().shape == (960, 1280, 3)


def test_a_calibration_of_other_images_gives_no_view(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = drive_by(tmp_path / 'drive', camera(250.0, (800, 800)))
    write_camera_info(folder / 'camera_info.yaml', camera(250.0, (800, 600)))
    view = str(write_camera_info(tmp_path / 'robot.yaml', MAPPING))
    model = str(write_tiny_model(tmp_path / 'model').folder)
    words = ['--bag', str(folder), '--view', view, '--model', model]
    assert build_map.main([*words, '--output', str(tmp_path / 'map')]) == 2
    assert 'has 800x800 pixels, but the calibration is for 800x600' in capsys.readouterr().err
    assert not (tmp_path / 'map').exists()


def test_a_map_in_the_view_of_a_narrower_camera_is_as_if_that_had_made_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_tiny_model(tmp_path / 'model', cells=True).folder)
    wide, own = drive_by(tmp_path / 'wide', WIDE), drive_by(tmp_path / 'own', MAPPING)
    view = str(write_camera_info(tmp_path / 'robot.yaml', MAPPING))
    words = ['--model', model, '--output']
    assert build_map.main(['--bag', str(wide), '--view', view, *words, str(tmp_path / 'a')]) == 0
    assert build_map.main(['--bag', str(own), *words, str(tmp_path / 'b')]) == 0
    made, expected = (PlaceMap.open(tmp_path / name) for name in 'ab')
    assert made.header.camera == expected.header.camera
    rows = np.arange(6)
    similar = (made.descriptors_of(rows) * expected.descriptors_of(rows)).sum(axis=1)
    assert similar.min() > 0.999
    assert made.thumbnail(0).shape == expected.thumbnail(0).shape

    empty = tmp_path / 'empty.yaml'
    empty.write_text('image_width: 4\n')
    capsys.readouterr()
    assert build_map.main(['--bag', str(wide), '--view', str(empty), *words, 'c']) == 2
    assert f'{empty}: not a ROS camera calibration' in capsys.readouterr().err


def test_recordings_through_different_lenses_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_tiny_model(tmp_path / 'model', cells=True).folder)
    made = {name: str(drive_by(tmp_path / name, by)) for name, by in (('a', MAPPING), ('b', WIDE))}
    view = str(write_camera_info(tmp_path / 'robot.yaml', MAPPING))
    words = ['--bags', *made.values(), '--model', model, '--output', str(tmp_path / 'map')]
    for asked, is_told in (([], True), (['--view', view], False)):
        assert build_map.main([*words, *asked]) == 0
        said = ''.join(capsys.readouterr())
        assert ("another lens than the map's camera" in said) == is_told
        assert ('1 of 2 recordings has another lens' in said) == is_told


def test_an_appended_drive_is_mapped_in_the_maps_view_where_it_shows_all_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_tiny_model(tmp_path / 'model', cells=True).folder)
    for name, by in (('own', MAPPING), ('wide', WIDE), ('narrow', NARROW)):
        drive_by(tmp_path / name, by)
    folder, words = tmp_path / 'map', ['--model', model]
    made = ['--bag', str(tmp_path / 'own'), '--output', str(folder), *words]
    assert build_map.main(made) == 0
    for name, said in (
        ('wide', "its images are given the view of the map's camera"),
        ('narrow', "another lens than the map's, and does not show all"),
    ):
        capsys.readouterr()
        asked = ['append', str(folder), '--bag', str(tmp_path / name), *words]
        assert map_command.main(asked) == 0
        assert said in ''.join(capsys.readouterr())
    held = read_header(folder).camera
    assert held is not None and held.matrix == MAPPING.matrix
    rows = PlaceMap.open(folder).descriptors_of(np.arange(18)).reshape(3, 6, -1)
    like_own = (rows[1:] * rows[0]).sum(axis=2).min(axis=1)
    assert like_own[0] > 0.999 > like_own[1]
