"""Images of a camera with another lens get the view of the mapping camera."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from session_world import Describer, session_on, texts
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.camera import Camera, CameraCalibration, field_of_view_deg
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.rig import MountedCamera
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame, Image
from vpr_ros.core.virtual_camera import shown_share, virtual_camera, zoom
from vpr_ros.session.events import CameraInfoCame


def camera(
    focal: float = 400.0, size: tuple[int, int] = (640, 480), model: str = '', *lens: float
) -> Camera:
    """size: width, height; lens: coefficients of the distortion model."""
    width, height = size
    middle = width / 2 - 0.5, height / 2 - 0.5
    matrix = (focal, 0.0, middle[0], 0.0, focal, middle[1], 0.0, 0.0, 1.0)
    return Camera(width, height, matrix, model, lens)


MAPPING = camera()


def scene(rays: np.ndarray) -> np.ndarray:
    """Colours [M, 3] in the directions of rays [M, 2], smooth and each its own."""
    x, y = np.arctan(rays).T
    return np.stack([128 + 100 * x, 128 + 100 * y, 128 + 60 * np.sin(6 * x + 4 * y)], axis=1)


def shot(by: Camera, size_hw: tuple[int, int] | None = None) -> Image:
    """What a camera sees of the scene, at its own size or another."""
    height, width = size_hw or (by.height_px, by.width_px)
    across = (np.arange(width) + 0.5) / width * by.width_px - 0.5
    down = (np.arange(height) + 0.5) / height * by.height_px - 0.5
    pixels = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    seen = scene(by.normalized(pixels)).reshape(height, width, 3)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    'own',
    [
        camera(300.0),
        camera(450.0, (1280, 720)),
        camera(900.0, (1920, 1080)),
        camera(300.0, (640, 480), 'plumb_bob', -0.2, 0.05, 0.0, 0.0, 0.0),
        camera(260.0, (640, 480), 'equidistant', 0.01, 0.0, 0.0, 0.0),
        camera(300.0, (640, 640), 'rational_polynomial', *[0.1, 0.02, 0, 0, 0, 0.1, 0, 0]),
    ],
    ids=['wider', 'wider in a wider picture', 'large', 'barrel', 'fisheye', 'rational'],
)
def test_an_image_looks_as_the_mapping_camera_would_have_taken_it(own: Camera) -> None:
    for size_hw in ((480, 640), (320, 320)):
        made = virtual_camera(
            own, MAPPING, image_hw=(own.height_px, own.width_px), size_hw=size_hw
        )
        assert made is not None and made.camera is MAPPING
        found, expected = made.view(shot(own)), shot(MAPPING, size_hw)
        assert found.shape == (*size_hw, 3) and found.dtype == np.uint8
        apart = np.abs(found.astype(int) - expected)
        assert apart.mean() < 1 and np.percentile(apart, 99) <= 3
        assert shown_share(own, MAPPING) == 1


def test_a_lens_of_the_mapping_camera_is_put_on() -> None:
    fisheye = camera(330.0, (640, 480), 'equidistant', 0.0, 0.0, 0.0, 0.0)
    wide = camera(200.0, (1280, 960))
    made = virtual_camera(wide, fisheye, image_hw=(960, 1280), size_hw=(480, 640))
    assert made is not None
    apart = np.abs(made.view(shot(wide)).astype(int) - shot(fisheye))
    assert apart.mean() < 1


def test_what_a_narrower_camera_does_not_see_is_its_mirror_image() -> None:
    narrow = camera(800.0)
    made = virtual_camera(narrow, MAPPING, image_hw=(480, 640), size_hw=(480, 640))
    assert made is not None and shown_share(narrow, MAPPING) == pytest.approx(0.25, abs=0.01)
    assert made.camera == camera(1.12 * 400)  # a little narrower than the mapping camera
    found, expected = made.view(shot(narrow)), shot(made.camera)
    rows, columns = 134, 179  # to either side of the middle
    inside = slice(241 - rows, 239 + rows), slice(321 - columns, 319 + columns)
    assert np.abs(found[inside].astype(int) - expected[inside]).max() <= 2
    border = [(240 - rows,) * 2, (320 - columns,) * 2, (0, 0)]
    seen = expected[240 - rows : 240 + rows, 320 - columns : 320 + columns]
    assert np.abs(found.astype(int) - np.pad(seen, border, 'symmetric')).mean() < 1.5


@pytest.mark.parametrize(('focal', 'virtual'), [(440.0, 440.0), (448.0, 448.0), (500.0, 448.0)])
def test_a_little_narrower_camera_is_not_completed(focal: float, virtual: float) -> None:
    made = virtual_camera(camera(focal), MAPPING, image_hw=(480, 640), size_hw=(320, 320))
    assert made is not None and made.camera.matrix[0] == pytest.approx(virtual)


@pytest.mark.parametrize(
    ('own', 'image_hw'),
    [
        (MAPPING, (480, 640)),
        (MAPPING, (240, 320)),
        (camera(800.0, (1280, 960)), (960, 1280)),
        (camera(404.0), (480, 640)),
        (camera(200.0), (360, 640)),
        (camera(200.0), (640, 480)),
    ],
    ids=['the same', 'smaller', 'finer', 'calibrated anew', 'of another shape', 'upright'],
)
def test_images_are_taken_as_they_are_where_views_are_alike_or_not_known(own, image_hw) -> None:
    assert virtual_camera(own, MAPPING, image_hw=image_hw, size_hw=(320, 320)) is None


def test_a_binned_image_of_another_camera_has_the_same_view() -> None:
    wide = camera(250.0, (1280, 960))
    whole, half = (
        virtual_camera(wide, MAPPING, image_hw=image_hw, size_hw=(320, 320))
        for image_hw in ((960, 1280), (480, 640))
    )
    assert whole is not None and half is not None
    seen = half.view(shot(wide, (480, 640)))
    assert np.abs(whole.view(shot(wide)).astype(int) - seen).mean() < 1


@pytest.mark.parametrize(
    'lens',
    [
        ('', ()),
        ('plumb_bob', (-0.3, 0.1, 0.001, -0.001, 0.0)),
        ('equidistant', (0.02, -0.01, 0.0, 0.0)),
    ],
)
def test_a_ray_is_shown_at_the_pixel_that_looks_along_it(lens) -> None:
    name, numbers = lens
    one = camera(300.0, (640, 480), name, *numbers)
    pixels = np.array([[0.0, 0], [639, 479], [320, 240], [100, 400]])
    np.testing.assert_allclose(one.pixels(one.normalized(pixels)), pixels, atol=0.1)
    assert one.pixels(np.empty((0, 2))).shape == (0, 2)


@pytest.mark.parametrize('steps', [5, 20, 99, 100])
def test_rays_are_exact_with_an_opencv_that_swings_between_two(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """With a stand-in for OpenCV 4.6, which takes the usual steps and damps none."""

    def swinging(points, matrix, distortion, *_):
        ends = start = (points - matrix[:2, 2]) / [matrix[0, 0], matrix[1, 1]]
        for _ in range(steps):
            square = (ends**2).sum(axis=2, keepdims=True)
            ends = start / (1 + distortion[0] * square + distortion[1] * square**2)
        return ends

    monkeypatch.setattr(cv2, 'undistortPointsIter', swinging)
    wide = camera(300.0, (640, 480), 'plumb_bob', -0.3, 0.1, 0.0, 0.0)
    pixels = np.array([[0.0, 0], [639, 479], [320, 240], [100, 400]])
    np.testing.assert_allclose(wide.pixels(wide.normalized(pixels)), pixels, atol=0.01)


def test_a_pixel_that_no_ray_reaches_has_a_ray_of_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lens = (0.5, -0.2, 0.001, 0.001, 0.01, 0.8, -0.1, 0.02)
    one = camera(300.0, (640, 480), 'rational_polynomial', *lens)
    corners = np.array([[0.0, 0], [639, 479]])
    assert np.isfinite(one.normalized(corners)).all()
    unknown = np.full((2, 1, 2), np.nan)
    monkeypatch.setattr(cv2, 'undistortPointsIter', lambda *_: unknown)
    straight = (corners - [320, 240]) / 300
    np.testing.assert_allclose(one.normalized(corners), straight, atol=0.01)


def test_rays_far_outside_do_not_come_back_into_the_image() -> None:
    """r (1 - 0.3 r^2) falls again from a distance of 1.05 on, and is 0 at 1.83."""
    barrel = camera(300.0, (640, 480), 'plumb_bob', -0.3, 0.0, 0.0, 0.0)
    rays = np.array([[1.8, 0.0], [-1.8, 0.0], [0.0, 2.0], [50.0, 0.0], [np.inf, 0.0]])
    shown = barrel.pixels(rays)
    outside = (shown < 0) | (shown > [639, 479])
    assert outside.any(axis=1).all() and np.isfinite(shown).all()


@pytest.mark.parametrize(
    ('focal', 'size', 'times'),
    [
        (400.0, (640, 480), 1),
        (200.0, (640, 480), 2),
        (800.0, (640, 480), 1),
        (10.0, (640, 480), 4),
    ],
)
def test_a_camera_that_sees_more_is_needed_larger(focal, size, times) -> None:
    assert zoom(camera(focal, size), MAPPING) == times


@pytest.mark.parametrize(
    ('own', 'like'),
    [
        (camera(4000.0, (40_000, 200)), camera(100_000.0)),
        (camera(40.0, (640, 480), 'plumb_bob', 1e6, -1e6, 1e3, 1e3, 1e6), MAPPING),
        (MAPPING, camera(40.0, (640, 480), 'equidistant', 1e3, 1e3, 1e3, 1e3)),
        (replace(MAPPING, matrix=(400.0, 0.0, 1e7, 0.0, 400.0, -1e7, 0.0, 0.0, 1.0)), MAPPING),
    ],
    ids=['a panorama', 'wild distortion', 'a wild fisheye', 'a middle far outside'],
)
def test_no_calibration_makes_a_view_fail(own: Camera, like: Camera) -> None:
    image_hw = own.height_px, own.width_px
    made = virtual_camera(own, like, image_hw=image_hw, size_hw=(32, 48))
    shown = shown_share(own, like)
    assert made is not None and shown is not None and 0 <= shown <= 1
    assert made.view(np.full((*image_hw, 3), 7, np.uint8)).tolist() == [[[7] * 3] * 48] * 32


class Looking(Describer):
    """Remembers the images that it described."""

    def __init__(self) -> None:
        self.seen: list[Image] = []

    def describe(self, images):
        self.seen += images
        return super().describe(images)


def mapped_by(folder: Path, by: Camera) -> PlaceMap:
    """A street whose map tells its camera."""
    place_map = write_map(folder, unit_rows(60, 64), straight_drive(60))
    place_map.header = replace(
        place_map.header, camera=by, field_of_view_deg=field_of_view_deg(640, by.matrix[0])
    )
    return place_map


def test_the_localizer_describes_the_mapping_cameras_view(tmp_path: Path) -> None:
    wide, describer = camera(200.0), Looking()
    place_map = mapped_by(tmp_path / 'map', MAPPING)
    cameras = [MountedCamera(calibration=wide), MountedCamera()]
    localizer = Localizer(describer, place_map, cameras=cameras)
    frame = Frame(shot(wide), 0)
    query = localizer.describe(frame)
    expected = virtual_camera(wide, MAPPING, image_hw=(480, 640), size_hw=(16, 16))
    assert expected is not None
    np.testing.assert_array_equal(describer.seen[-1], expected.view(frame.image))
    assert query.seen_by is MAPPING and localizer.needed_hw == (32, 32)
    assert localizer.describe(replace(frame, camera=1)).seen_by is None
    assert describer.seen[-1] is frame.image
    localizer.use(LocalizerConfig(virtual_camera=False))
    assert localizer.describe(frame).seen_by is None and localizer.needed_hw == (16, 16)
    assert describer.seen[-1] is frame.image


@pytest.mark.parametrize(
    ('own', 'said'),
    [
        (MAPPING, ''),
        (camera(200.0), ''),
        (camera(800.0), 'sees 25% of what the mapping camera sees of a place: fewer places'),
        (None, 'sees 44 degrees, the map was made with 77: fewer places will be found'),
    ],
    ids=['alike', 'wider', 'narrower', 'not understood'],
)
def test_the_session_says_once_that_a_camera_sees_less(
    tmp_path: Path, own: Camera | None, said: str
) -> None:
    session = session_on(mapped_by(tmp_path / 'map', MAPPING))
    focal = 800.0 if own is None else own.matrix[0]
    came = CameraInfoCame('/cam', CameraCalibration(own, field_of_view_deg(640, focal)))
    first, again = texts(session.handle(came)), texts(session.handle(came))
    assert said in first and bool(first) == bool(said) and not again
