"""Rays of pixels, by the calibration of a camera."""

import cv2
import numpy as np
import pytest
import rendered

from vpr_ros.core.camera import Camera, camera_calibration, is_rectified
from vpr_ros.core.errors import VprError

CAMERA = rendered.camera()


def test_normalized_rays_undo_the_projection_of_opencv() -> None:
    points = np.random.default_rng(4).uniform([-1, -0.7, 2], [1, 0.7, 4], (50, 3))
    matrix = np.array(CAMERA.matrix).reshape(3, 3)
    seen, _ = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), matrix, np.array(CAMERA.distortion)
    )
    np.testing.assert_allclose(
        CAMERA.normalized(seen.reshape(-1, 2)), points[:, :2] / points[:, 2:], atol=1e-4
    )
    fisheye = camera_calibration(
        480, 360, matrix=CAMERA.matrix, distortion_model='equidistant', distortion=[0.01] * 4
    ).camera
    assert fisheye is not None
    seen, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), matrix, np.array(fisheye.distortion)
    )
    np.testing.assert_allclose(
        fisheye.normalized(seen.reshape(-1, 2)), points[:, :2] / points[:, 2:], atol=1e-4
    )


def test_rectified_images_are_projected_by_p_without_distortion() -> None:
    found = camera_calibration(
        100,
        80,
        matrix=[50, 0, 50, 0, 50, 40, 0, 0, 1],
        distortion_model='plumb_bob',
        distortion=[0.1] * 5,
        projection=[60, 0, 51, 0, 0, 60, 41, 0, 0, 0, 1, 0],
        rectified=True,
    ).camera
    assert found is not None and found.matrix[0] == 60 and found.distortion == ()
    for topic in ('/cam/image_rect/compressed', '/cam/image_rect_color', '/left/rectified'):
        assert is_rectified(topic)
    for topic in ('/rect/image_raw', '/camera/direct', '/image_corrected'):
        assert not is_rectified(topic)


@pytest.mark.parametrize(
    'wrong',
    [{'matrix': [0.0] * 9}, {'distortion_model': 'thin_prism'}, {'distortion': [0.1]}],
)
def test_an_unset_or_unknown_calibration_is_none(wrong: dict[str, object]) -> None:
    given = {
        'matrix': list(CAMERA.matrix),
        'distortion_model': 'plumb_bob',
        'distortion': [0.0] * 5,
    }
    found = camera_calibration(480, 360, **(given | wrong))  # type: ignore[arg-type]
    assert found.camera is None and found.why_not


def test_a_camera_of_another_aspect_is_refused() -> None:
    half = CAMERA.scaled_to(240, 180)
    assert half.matrix[0] == pytest.approx(CAMERA.matrix[0] / 2)
    assert Camera.checked(CAMERA.as_mapping()) == CAMERA
    with pytest.raises(VprError, match='300x360'):
        CAMERA.scaled_to(300, 360)
