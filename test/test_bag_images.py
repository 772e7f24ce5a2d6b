"""Images of bags as cameras and image_transport write them: padded, Bayer patterns, depth."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from bags import SIZE, along_x, compressed, image, odometry, picture, writing

from vpr_ros.core.image import encode_jpeg
from vpr_ros.drives import open_drive


def test_pictures_padded_to_the_buffer_of_a_driver_are_whole(tmp_path: Path) -> None:
    with writing(tmp_path / 'bag') as put:
        for index in (1, 2, 3):
            padded = encode_jpeg(picture(index)) + bytes(20_000)
            put('/camera/image/compressed', index, compressed(index, index, data=padded))
            put('/odom', index, odometry(index, along_x(index)))
    frames = list(open_drive(tmp_path / 'bag').frames())
    assert [round(float(frame.load().mean())) for frame in frames] == [1, 2, 3]


def test_a_compressed_bayer_topic_shows_the_colours_of_the_raw_one(tmp_path: Path) -> None:
    mosaic = np.random.default_rng(0).integers(0, 255, SIZE, np.uint8)
    raw = replace(image(1, 0), encoding='bayer_rggb8', step=64, data=mosaic.reshape(-1))
    encoded = cv2.imencode('.png', mosaic)[1].tobytes()
    packed = replace(compressed(1, 0, data=encoded), format='bayer_rggb8; png compressed ')
    seen = []
    for name, topic, message in (('raw', '/image', raw), ('packed', '/image/compressed', packed)):
        with writing(tmp_path / name) as put:
            put(topic, 1, message)
            put('/odom', 1, odometry(1, along_x(1)))
        seen.append(next(open_drive(tmp_path / name).frames()).load())
    np.testing.assert_array_equal(*seen)
    assert np.ptp(seen[0], axis=2).max() > 50


def test_compressed_depth_is_found_beside_the_images(tmp_path: Path) -> None:
    depth_mm = np.full(SIZE, 2500, np.uint16)
    content = bytes(12) + cv2.imencode('.png', depth_mm)[1].tobytes()
    packed = replace(compressed(1, 0, data=content), format='16UC1; compressedDepth png')
    topic = '/camera/aligned_depth_to_color/image_raw/compressedDepth'
    with writing(tmp_path / 'bag') as put:
        put('/camera/color/image_raw/compressed', 1, compressed(1, 1))
        put(topic, 1, packed)
        put('/odom', 1, odometry(1, along_x(1)))
    drive = open_drive(tmp_path / 'bag')
    assert (drive.image_topic, drive.depth_topic) == ('/camera/color/image_raw/compressed', topic)
    np.testing.assert_allclose(next(drive.frames()).depth(), 2.5)
