"""Image messages of every encoding become RGB arrays, or say what is wrong with them."""

from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from vpr_ros.core.encodings import ENCODINGS, rgb_to_image, to_rgb
from vpr_ros.core.errors import ImageError

HEIGHT, WIDTH = 12, 16
CHANNELS = {
    'rgb8': 3,
    'bgr8': 3,
    'rgba8': 4,
    'bgra8': 4,
    'mono8': 1,
    '8UC1': 1,
    '8UC3': 3,
    '8UC4': 4,
}
WORDS = {'mono16': 1, '16UC1': 1, 'rgb16': 3, 'bgr16': 3, 'rgba16': 4, 'bgra16': 4}
PATTERNS = ('rggb', 'bggr', 'gbrg', 'grbg')


def message(pixels, encoding, *, padding=0, bigendian=0):
    """An Image message of pixels [H, W] or [H, W, C], its rows padded by some bytes."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return SimpleNamespace(
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=bigendian,
        step=padded.shape[1],
        data=array('B', padded.tobytes()),
    )


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True
    )


def oracle(sent):
    """What cv_bridge makes of a message."""
    bridge = pytest.importorskip('cv_bridge').CvBridge()
    image_class = pytest.importorskip('sensor_msgs.msg').Image
    fields = {
        name: getattr(sent, name)
        for name in ('height', 'width', 'encoding', 'is_bigendian', 'step', 'data')
    }
    return bridge.imgmsg_to_cv2(image_class(**fields), 'rgb8')


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', CHANNELS)
def test_eight_bit_encodings_come_out_as_rgb(encoding, padding):
    channels = CHANNELS[encoding]
    pixels = noise(HEIGHT, WIDTH, channels)
    order = [2, 1, 0] if encoding in ('bgr8', 'bgra8', '8UC3', '8UC4') else [0, 1, 2]
    expected = np.repeat(pixels, 3, axis=2) if channels == 1 else pixels[..., order]
    np.testing.assert_array_equal(to_rgb(message(pixels, encoding, padding=padding)), expected)


@pytest.mark.parametrize('bigendian', [0, 1])
@pytest.mark.parametrize('encoding', WORDS)
def test_sixteen_bits_are_scaled_to_eight_in_either_byte_order(encoding, bigendian):
    pixels = noise(HEIGHT, WIDTH, WORDS[encoding], dtype=np.uint16)
    order = [2, 1, 0] if encoding.startswith('bgr') else [0, 1, 2]
    scaled = np.round(pixels * (255 / 65535)).astype(np.uint8)
    expected = np.repeat(scaled, 3, axis=2) if WORDS[encoding] == 1 else scaled[..., order]
    sent = pixels.astype('>u2' if bigendian else '<u2')
    found = to_rgb(message(sent, encoding, bigendian=bigendian, padding=6))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    'encoding',
    ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8'],
)
def test_every_pixel_is_as_cv_bridge_makes_it(encoding):
    sent = message(noise(HEIGHT, WIDTH, CHANNELS.get(encoding, 1)), encoding)
    np.testing.assert_array_equal(to_rgb(sent), oracle(sent))


@pytest.mark.parametrize(('encoding', 'dtype'), [('8', np.uint8), ('16', np.uint16)])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_a_bayer_picture_of_one_colour_comes_out_in_that_colour(pattern, encoding, dtype):
    """The pattern names the colours of the first two rows: a red world lights the r cells."""
    largest = np.iinfo(dtype).max
    for colour, name in enumerate('rgb'):
        cell = np.array(
            [largest if filter_name == name else 0 for filter_name in pattern], dtype=dtype
        )
        pixels = np.tile(cell.reshape(2, 2), (HEIGHT // 2, WIDTH // 2))
        found = to_rgb(message(pixels, f'bayer_{pattern}{encoding}'))[2:-2, 2:-2]
        assert (found[..., colour] == 255).all()
        assert (np.delete(found, colour, axis=2) == 0).all()


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('yuv422', 'UYVY'), ('uyvy', 'UYVY'), ('yuv422_yuy2', 'YUYV'), ('yuyv', 'YUYV')],
)
def test_yuv422_gives_the_colours_that_went_in(encoding, order):
    luma, blue_difference, red_difference = 81, 90, 240  # pure red, BT.601
    value = {'Y': luma, 'U': blue_difference, 'V': red_difference}
    cell = np.array([value[letter] for letter in order], dtype=np.uint8)
    found = to_rgb(message(np.tile(cell, (HEIGHT, WIDTH // 2)), encoding, padding=4))
    np.testing.assert_allclose(found, np.broadcast_to([255, 0, 0], found.shape), atol=2)


@pytest.mark.parametrize(('encoding', 'order'), [('nv12', (90, 240)), ('nv21', (240, 90))])
def test_planar_yuv_gives_the_colours_that_went_in(encoding, order):
    luma = np.full((HEIGHT, WIDTH), 81, dtype=np.uint8)
    chroma = np.tile(np.array(order, dtype=np.uint8), (HEIGHT // 2, WIDTH // 2))
    found = to_rgb(message(np.vstack([luma, chroma]), encoding))
    np.testing.assert_allclose(found, np.broadcast_to([255, 0, 0], found.shape), atol=2)


@pytest.mark.parametrize('padding', [0, 5])
def test_rgb8_is_not_copied(padding):
    sent = message(noise(HEIGHT, WIDTH, 3), 'rgb8', padding=padding)
    assert np.shares_memory(to_rgb(sent), np.frombuffer(sent.data, dtype=np.uint8))


@given(padding=st.integers(0, 9), encoding=st.sampled_from(ENCODINGS), data=st.data())
def test_any_bytes_of_the_right_size_decode_to_the_right_shape(padding, encoding, data):
    words = {**WORDS, **{f'bayer_{name}16': 1 for name in PATTERNS}}
    channels = {**CHANNELS, **words}.get(
        encoding, 2 if 'yu' in encoding or 'uy' in encoding else 1
    )
    rows = HEIGHT * 3 // 2 if encoding.startswith('nv') else HEIGHT
    seed = data.draw(st.integers(0, 5))
    pixels = noise(
        rows, WIDTH, channels, dtype=np.uint16 if encoding in words else np.uint8, seed=seed
    )
    found = to_rgb(message(pixels, encoding, padding=padding))
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert found.dtype == np.uint8


def test_a_message_of_a_bag_decodes_as_one_of_rclpy():
    store = get_typestore(Stores.LATEST)
    types = store.types
    header = types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](1, 2), 'camera')
    pixels = noise(HEIGHT, WIDTH, 3)
    sent = types['sensor_msgs/msg/Image'](
        header, HEIGHT, WIDTH, 'bgr8', 0, WIDTH * 3, pixels.reshape(-1)
    )
    read = store.deserialize_cdr(store.serialize_cdr(sent, sent.__msgtype__), sent.__msgtype__)
    np.testing.assert_array_equal(to_rgb(read), pixels[..., ::-1])


def test_a_real_message_goes_there_and_back():
    image_class = pytest.importorskip('sensor_msgs.msg').Image
    header_class = pytest.importorskip('std_msgs.msg').Header
    pixels = noise(HEIGHT, WIDTH, 3)[:, ::-1]
    np.testing.assert_array_equal(
        to_rgb(rgb_to_image(pixels, image_class, header_class())), pixels
    )


def compressed(data, name='jpeg'):
    return SimpleNamespace(format=name, data=array('B', data))


def jpeg(pixels=None, suffix='.jpg'):
    return cv2.imencode(suffix, noise(HEIGHT, WIDTH, 3) if pixels is None else pixels)[1].tobytes()


@pytest.mark.parametrize(
    'name', ['jpeg', 'png', 'rgb8; jpeg compressed bgr8', '', 'bgr8; png compressed bgr8']
)
def test_the_bytes_say_what_a_compressed_image_is_not_its_format_text(name):
    pixels = noise(HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(
        to_rgb(compressed(jpeg(pixels, '.png'), name)), pixels[..., ::-1]
    )
    assert to_rgb(compressed(jpeg(), name)).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ('data', 'name', 'complaint'),
    [
        (b'', 'jpeg', 'no bytes'),
        (b'\xff\xd8\xff' + b'garbage' * 20, 'jpeg', 'truncated'),
        (b'garbage' * 20, 'jpeg', 'not an image'),
        (jpeg()[:-40], 'jpeg', 'truncated'),
        (jpeg(), '16UC1; compressedDepth png', 'depth'),
        (jpeg(), 'h264', 'video'),
        (jpeg(np.zeros((1, 1, 3), np.uint8)), 'jpeg', '1x1'),
    ],
)
def test_a_broken_compressed_image_is_refused_with_its_reason(data, name, complaint):
    with pytest.raises(ImageError, match=f'^/camera: .*{complaint}'):
        to_rgb(compressed(data, name), source='/camera')


@pytest.mark.parametrize(
    ('fields', 'complaint'),
    [
        ({'encoding': 'rgb9'}, "'rgb9' is unknown, expected one of rgb8, bgr8"),
        ({'width': 0}, '0x12 pixels'),
        ({'height': 0}, '16x0 pixels'),
        ({'step': 47}, 'step 47, 16 pixels of rgb8 need at least 48'),
        ({'data': array('B')}, '0 bytes of data, expected 576'),
        ({'data': array('B', bytes(575))}, '575 bytes of data, expected 576'),
        ({'height': 11}, '576 bytes of data, expected 528'),
        ({'encoding': 'yuyv', 'width': 15}, 'even sides'),
        ({'width': 1, 'height': 1, 'step': 3, 'data': array('B', bytes(3))}, '1x1 pixels'),
        ({'width': 2**31}, 'step 48'),
    ],
)
def test_fields_that_contradict_each_other_are_named(fields, complaint):
    sent = message(noise(HEIGHT, WIDTH, 3), 'rgb8')
    vars(sent).update(fields)
    with pytest.raises(ImageError, match=f'^/camera: .*{complaint}'):
        to_rgb(sent, source='/camera')


def test_an_eight_k_image_decodes():
    height, width = 4320, 7680
    sent = SimpleNamespace(
        height=height,
        width=width,
        encoding='mono8',
        is_bigendian=0,
        step=width,
        data=np.zeros(height * width, np.uint8),
    )
    assert to_rgb(sent).shape == (height, width, 3)
