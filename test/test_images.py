"""Image messages of every encoding become RGB arrays, or say what is wrong with them."""

import io
import struct
import zlib
from array import array
from contextlib import suppress
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImage
from rosbags.typesys import Stores, get_typestore

from vpr_ros.core.encodings import ENCODINGS, rgb_to_image, to_depth_m, to_rgb
from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import (
    MOST_ENCODED,
    MOST_PIXELS,
    check,
    decode,
    encode_jpeg,
    halved,
    read,
    resize,
    shows_something,
)
from vpr_ros.core.image_header import exif_block, read_header

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


def png_bomb(width: int, height: int) -> bytes:
    """A black PNG of any size in few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', crc)

    packer = zlib.compressobj(9)
    rows = packer.compress(bytes(min(height * (width + 1), 1 << 22))) + packer.flush()
    head = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')


@pytest.mark.parametrize(
    'name', ['jpeg', 'png', 'rgb8; jpeg compressed bgr8', '', 'rgb8', 'bgr8; png compressed bgr8']
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
        (jpeg(), '32FC1; png compressed ', 'depth'),
        (jpeg(), 'h264', 'video'),
        (png_bomb(20_000, 20_000), 'bayer_rggb8; png compressed ', '20000x20000 pixels'),
        (jpeg()[:-40], 'mono16; jpeg compressed ', 'truncated'),
        (jpeg(noise(16, 17), '.png'), 'nv12; png compressed ', 'does not fit a picture of uint8'),
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
        ({'step': 47}, 'step is 47, but 16 pixels of rgb8 need at least 48'),
        ({'data': array('B')}, '0 bytes of data, expected 576'),
        ({'data': array('B', bytes(575))}, '575 bytes of data, expected 576'),
        ({'height': 11}, '576 bytes of data, expected 528'),
        ({'encoding': 'yuyv', 'width': 15}, '15x12 pixels, but yuyv needs even sides'),
        ({'encoding': 'uyvy', 'width': 15}, '15x12 pixels, but uyvy needs even sides'),
        ({'encoding': 'nv12', 'width': 15}, '15x12 pixels, but nv12 needs even sides'),
        ({'encoding': 'nv21', 'height': 11}, '16x11 pixels, but nv21 needs even sides'),
        ({'encoding': 'rgb16'}, 'step is 48, but 16 pixels of rgb16 need at least 96'),
        ({'width': 1, 'height': 1, 'step': 3, 'data': array('B', bytes(3))}, '1x1 pixels'),
        ({'width': 2**31}, 'step is 48'),
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


# Completeness


def whole_jpeg(*, thumbnail: bool = False, progressive: bool = False) -> bytes:
    """A JPEG of noise, with a picture that is whole in its EXIF data if `thumbnail`."""
    exif = b''
    if thumbnail:
        exif = b'Exif\0\0' + b'MM\0*\0\0\0\x08\0\0\0\0\0\0' + jpeg()
    written = io.BytesIO()
    PilImage.fromarray(noise(64, 80, 3)).save(
        written, 'JPEG', exif=exif, progressive=progressive, quality=90
    )
    return written.getvalue()


BEHIND = {
    'zeros': bytes(30_000),
    'a film': struct.pack('>I4s4s', 24, b'ftyp', b'mp42') + bytes(range(256)) * 400,
    'the rest of an older picture': whole_jpeg()[300:],
    'text': b'SEFT' * 5000,
}


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('behind', BEHIND)
def test_what_lies_behind_a_whole_picture_changes_nothing(behind, progressive):
    for encoded in (whole_jpeg(progressive=progressive), jpeg(noise(64, 80, 3), '.png')):
        np.testing.assert_array_equal(decode(encoded + BEHIND[behind]), decode(encoded))


@pytest.mark.parametrize('thumbnail', [False, True])
@pytest.mark.parametrize('progressive', [False, True])
def test_a_jpeg_that_is_cut_anywhere_is_truncated(thumbnail, progressive):
    """Also inside its EXIF data, right behind the end mark of the small picture there."""
    encoded = whole_jpeg(thumbnail=thumbnail, progressive=progressive)
    inside = encoded.find(b'\xff\xd9') + 2
    for end in {30, inside, 700, len(encoded) // 2, len(encoded) - 2} - {len(encoded)}:
        for behind in (b'', bytes(5000)):
            with pytest.raises(ImageError, match=r'^image: truncated after'):
                decode(encoded[:end] + behind)


def test_a_png_that_is_cut_is_truncated_even_where_its_data_hold_the_word_of_its_end():
    encoded = jpeg(noise(64, 80, 3), '.png')
    text = b'tEXtcomment\0IEND'
    chunk = struct.pack('>I', len(text) - 4) + text + struct.pack('>I', zlib.crc32(text))
    for cut in (
        encoded[:-1],
        encoded[:-12],
        encoded[:33] + chunk + encoded[33:-40],
        encoded[: len(encoded) // 2],
    ):
        with pytest.raises(ImageError, match='truncated'):
            decode(cut)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (bytes(4000), '4000 bytes, all of them zero'),
        (b'\0\0\0\x18ftypheic' + bytes(900), 'HEIC, which is not supported; convert it to JPEG'),
        (b'\0\0\0\x18ftypavif' + bytes(900), 'AVIF, which is not supported'),
        (b'\0\0\0\x18ftypcrx ' + bytes(900), r'camera raw file \(CR3\), which is not supported'),
        (b'\0\0\0\x18ftypisom' + bytes(900), r'a film \(MP4\), which is not supported'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'Git LFS pointer'),
        (b'RIFF\0\0\0\0AVI ' + bytes(900), 'not an image of a supported kind'),
        (b'PK\3\4' + bytes(900), 'not an image of a supported kind'),
        (b'RIFF\0\0\0\0WEBPALPH' + bytes(900), 'with a broken header'),
        (b'P6\nPortable\n' + bytes(900), 'with a broken header'),
        (b'\x89PNG\r\n\x1a\n' + bytes(900), 'with a broken header'),
    ],
)
def test_what_stands_in_place_of_an_image_is_told(content, said):
    with pytest.raises(ImageError, match=f'^image: .*{said}'):
        decode(content)


# Sizes


def resized(encoded: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame claims another size."""
    at = next(
        at for at in range(len(encoded)) if encoded[at : at + 2] in (b'\xff\xc0', b'\xff\xc2')
    )
    return encoded[: at + 5] + struct.pack('>HH', height, width) + encoded[at + 9 :]


def in_parts(encoded: bytes) -> bytes:
    """A JPEG whose first scan has one of its three colours, so that all of it has to be held."""
    scan = encoded.find(b'\xff\xda')
    one = b'\xff\xda' + struct.pack('>H', 8) + b'\x01' + encoded[scan + 5 : scan + 7] + b'\0\x3f\0'
    return encoded[:scan] + one + encoded[scan + 14 :]


def tiff(*entries: tuple[int, int, int]) -> bytes:
    """The header of a TIFF; entries: tag, kind and value of each."""
    packed = b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in entries)
    return b'II*\0\x08\0\0\0' + struct.pack('<H', len(entries)) + packed + bytes(4)


TOO_LARGE = {
    'png': png_bomb(20_000, 20_000),
    'jpeg': resized(whole_jpeg(), 60_000, 60_000),
    'progressive': resized(whole_jpeg(progressive=True), 20_000, 20_000),
    'jpeg in parts': resized(in_parts(whole_jpeg()), 20_000, 20_000),
    'webp': b'RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0' + b'\xff\x3f\0\xff\x3f\0',
    'bmp': b'BM' + bytes(12) + struct.pack('<Iii', 40, 30_000, -30_000) + bytes(40),
    'ppm': b'P6\n# a bomb\n30000 30000\n255\n' + bytes(64),
    'ppm of two sizes': b'P6\n#\r30000 30000\n8 8\n255\n' + bytes(192),
    'gif': b'GIF89a' + struct.pack('<HH', 50_000, 50_000) + bytes(64),
    'tiff': tiff((256, 4, 90_000), (257, 3, 60_000)),
}


@pytest.mark.parametrize('kind', TOO_LARGE)
def test_a_size_that_takes_too_much_memory_is_refused_before_it_is_taken(kind, monkeypatch):
    def decoder(*_: object) -> None:
        raise AssertionError('decoded')

    monkeypatch.setattr(cv2, 'imdecode', decoder)
    for at_least_hw in (None, (9000, 9000)):
        with pytest.raises(ImageError, match=r'\d+x\d+ pixels, expected at most 100 million'):
            decode(TOO_LARGE[kind], at_least_hw=at_least_hw)


@pytest.mark.parametrize(
    'entries',
    [
        [(256, 9, 65_536 + 8), (257, 3, 8192)],
        [(256, 4, 16_384), (256, 4, 8), (257, 4, 8)],
        [(256, 4, 64), (257, 4, 64), (322, 4, 16_384), (323, 4, 16_368)],
    ],
    ids=['a signed width', 'two widths', 'a tile larger than the image'],
)
def test_a_tiff_whose_decoder_may_take_more_memory_than_its_size_says_is_refused(entries):
    with pytest.raises(ImageError, match=r'^image: .* with a broken header'):
        decode(tiff(*entries))


def test_a_large_jpeg_comes_smaller_where_that_is_enough():
    encoded = cv2.imencode('.jpg', np.full((960, 1280, 3), 90, np.uint8))[1].tobytes()
    assert decode(encoded, at_least_hw=(200, 200), most_pixels=100_000).shape == (240, 320, 3)
    with pytest.raises(ImageError, match=r'1280x960 pixels, expected at most 0\.1 million'):
        decode(encoded, most_pixels=100_000)
    as_png = jpeg(np.zeros((96, 128, 3), np.uint8), '.png')
    assert decode(as_png, at_least_hw=(12, 12)).shape == (96, 128, 3)


@pytest.mark.parametrize('name', ['jpeg', 'mono16; jpeg compressed ', None])
def test_a_message_of_more_pixels_than_its_reader_allows_is_refused(name):
    sent = compressed(jpeg(), name) if name else message(noise(HEIGHT, WIDTH, 3), 'rgb8')
    assert to_rgb(sent, most_pixels=HEIGHT * WIDTH).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match=r'16x12 pixels, expected at most 0\.000191 million'):
        to_rgb(sent, most_pixels=HEIGHT * WIDTH - 1)


def test_a_compressed_message_comes_smaller_where_that_is_enough():
    assert to_rgb(compressed(whole_jpeg()), at_least_hw=(32, 32)).shape == (32, 40, 3)


def test_an_image_message_of_too_many_pixels_is_refused():
    side = int((MOST_PIXELS * 1.1) ** 0.5)
    sent = SimpleNamespace(
        height=side, width=side, encoding='mono8', is_bigendian=0, step=side,
        data=np.zeros(side * side, np.uint8),
    )  # fmt: skip
    with pytest.raises(ImageError, match='expected at most 100 million'):
        to_rgb(sent)


def moved(encoded: bytes, kind: bytes, *, before: bytes) -> bytes:
    """A JPEG with its segment of a kind, such as FFC0, right in front of that of another kind."""
    start = encoded.find(b'\xff' + kind)
    end = start + 2 + int.from_bytes(encoded[start + 2 : start + 4], 'big')
    rest = encoded[:start] + encoded[end:]
    at = rest.find(b'\xff' + before)
    return rest[:at] + encoded[start:end] + rest[at:]


def saved(kind: str, *, mode: str = 'RGB', **options: object) -> bytes:
    """An image of 53 x 37 pixels as Pillow writes it."""
    written = io.BytesIO()
    PilImage.fromarray(noise(37, 53, 3)).convert(mode).save(written, kind, **options)
    return written.getvalue()


FRAME = saved('JPEG').find(b'\xff\xc0')
OF_53_X_37 = {
    **{
        suffix: cv2.imencode(suffix, noise(37, 53, 3))[1].tobytes()
        for suffix in ('.jpg', '.png', '.webp', '.bmp', '.ppm', '.tif')
    },
    '.gif': saved('GIF'),
    'lossy webp': saved('WEBP', quality=80),
    'webp with transparency': saved('WEBP', mode='RGBA', quality=80, exif=b'MM\0*'),
    'bmp of OS/2': b'BM'
    + struct.pack('<IHHIIHHHH', 26 + 37 * 160, 0, 0, 26, 12, 53, 37, 1, 24)
    + bytes(37 * 160),
    'jpeg with its tables first': moved(saved('JPEG'), b'\xc0', before=b'\xda'),
    'jpeg with bytes between segments': saved('JPEG')[:FRAME]
    + b'\x12\xff\0\x34\xff\xd0\xff\x01\xff\xff'
    + saved('JPEG')[FRAME:],
    'tiff of Motorola': b'MM\0*\0\0\0\x08\0\x08'
    + b''.join(
        struct.pack('>HHIHH', tag, 3, 1, value, 0)
        for tag, value in {
            256: 53, 257: 37, 258: 8, 259: 1, 262: 1, 273: 110, 278: 37, 279: 53 * 37,
        }.items()
    )
    + bytes(4)
    + bytes(53 * 37),
}  # fmt: skip


@pytest.mark.parametrize('kind', OF_53_X_37)
def test_the_header_says_the_size_that_the_decoder_finds(kind):
    header = read_header(OF_53_X_37[kind])
    assert (header.width_px, header.height_px, header.is_whole) == (53, 37, True)
    if cv2.imdecode(np.frombuffer(OF_53_X_37[kind], np.uint8), cv2.IMREAD_COLOR) is None:
        assert kind == '.gif'  # before OpenCV 4.11
        with pytest.raises(ImageError, match='are not an image that OpenCV can decode'):
            decode(OF_53_X_37[kind])
    else:
        assert decode(OF_53_X_37[kind]).shape == (37, 53, 3)


def test_only_a_jpeg_of_one_scan_is_decoded_row_by_row():
    for encoded, in_rows in (
        (whole_jpeg(), True),
        (OF_53_X_37['jpeg with its tables first'], True),
        (in_parts(whole_jpeg()), False),
        (whole_jpeg(progressive=True), False),
    ):
        assert read_header(encoded).is_in_rows is in_rows


EXIF = b'MM\0*\0\0\0\x08\0\0\0\0\0\0'
WITH_XMP = saved('JPEG', exif=b'Exif\0\0' + EXIF, xmp=b'<x/>')


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with some chunks, kind and content, in front of its last one."""
    encoded = jpeg(noise(HEIGHT, WIDTH, 3), '.png')
    added = b''.join(
        struct.pack('>I', len(content)) + kind + content + bytes(4) for kind, content in chunks
    )
    return encoded[:-12] + added + encoded[-12:]


def profile(text: bytes) -> bytes:
    return b'Raw profile type exif\0' + text


@pytest.mark.parametrize(
    ('encoded', 'found'),
    [
        (moved(WITH_XMP, b'\xe1', before=b'\xdb'), EXIF),
        (WITH_XMP, EXIF),
        (saved('JPEG', xmp=b'<x/>'), None),
        (png_with((b'tEXt', profile(b'\nexif\n14\n' + EXIF.hex().encode()))), EXIF),
        (
            png_with(
                (b'tEXt', profile(b'\nexif\n20\n' + (b'Exif\0\0' + EXIF).hex().encode())),
                (b'tEXt', b'Comment\0\nexif\n1\n00'),
            ),
            EXIF,
        ),
        (png_with((b'eXIf', b'Exif\0\0' + EXIF)), EXIF),
        (png_with((b'eXIf', bytes((1 << 20) + 1)), (b'eXIf', EXIF)), EXIF),
        (png_with((b'tEXt', profile(b'\nexif\n14\nno digits'))), None),
        (png_with((b'zTXt', profile(b'\0no zlib'))), None),
        (png_with((b'tEXt', b'Comment\0nice')), None),
        (
            b'RIFF\0\0\0\0WEBPICCP\x03\0\0\0abc\0EXIF\x14\0\0\0Exif\0\0' + EXIF,
            EXIF,
        ),
        (b'RIFF\0\0\0\0WEBPICCP\x03\0\0\0abc\0', None),
    ],
    ids=[
        'behind XMP', 'before XMP', 'XMP alone', 'text', 'text before another', 'with a prefix',
        'behind one that is too large', 'no digits', 'not packed', 'other text',
        'behind an odd chunk', 'webp without',
    ],
)  # fmt: skip
def test_exif_data_are_found_wherever_programs_put_them(encoded, found):
    assert exif_block(encoded) == found


@given(st.sampled_from([*TOO_LARGE.values(), jpeg(), whole_jpeg()]), st.data())
def test_a_header_of_any_bytes_is_read_or_refused(encoded, data):
    broken = bytearray(encoded[:2000])
    for at in data.draw(st.lists(st.integers(0, len(broken) - 1), max_size=6)):
        broken[at] = data.draw(st.integers(0, 255))
    with suppress(ImageError):
        read_header(bytes(broken))
    exif_block(bytes(broken))


# compressed_image_transport: `format` tells how the numbers are to be read


@pytest.mark.parametrize('codec', ['png', 'jpeg'])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_a_compressed_bayer_pattern_is_seen_like_the_raw_one(pattern, codec):
    smooth = cv2.resize(noise(4, 4), (WIDTH, HEIGHT))
    encoded = jpeg(smooth, f'.{codec[:3]}' if codec == 'png' else '.jpg')
    stored = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = to_rgb(message(stored[..., None], f'bayer_{pattern}8'))
    for name in (f'bayer_{pattern}8; {codec} compressed ', f'BAYER_{pattern.upper()}8; {codec}'):
        np.testing.assert_array_equal(to_rgb(compressed(encoded, name)), expected)
    colour = jpeg(noise(HEIGHT, WIDTH, 3), '.png')
    np.testing.assert_array_equal(
        to_rgb(compressed(colour, f'bayer_{pattern}8; {codec} compressed bgr8')), decode(colour)
    )


def test_an_unknown_bayer_pattern_is_refused():
    grey = jpeg(noise(HEIGHT, WIDTH), '.png')
    with pytest.raises(ImageError, match=r"'bayer_rgbw8; .*unknown, expected one of bayer_rggb8"):
        to_rgb(compressed(grey, 'bayer_rgbw8; png compressed '))


@pytest.mark.parametrize('encoding', WORDS)
def test_compressed_sixteen_bits_are_seen_like_raw_ones(encoding):
    pixels = noise(HEIGHT, WIDTH, WORDS[encoding], dtype=np.uint16)
    expected = to_rgb(message(pixels, encoding))
    order = {'rgb16': [2, 1, 0], 'rgba16': [2, 1, 0, 3]}.get(encoding, [*range(WORDS[encoding])])
    encoded = jpeg(pixels[..., order], '.png')
    said = 'bgr16' if 'gb' in encoding or 'bg' in encoding else ''
    found = to_rgb(compressed(encoded, f'{encoding}; png compressed {said}'))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
def test_colours_behind_the_brightness_are_found_in_a_compressed_picture_too(encoding):
    stored = noise(HEIGHT * 3 // 2, WIDTH)
    sent = SimpleNamespace(
        height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=0, step=WIDTH,
        data=array('B', stored.tobytes()),
    )  # fmt: skip
    found = to_rgb(compressed(jpeg(stored, '.png'), f'{encoding}; png compressed '))
    np.testing.assert_array_equal(found, to_rgb(sent))


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_colours_that_went_in_as_rgb_come_out_as_rgb(encoding):
    """As the transport's subscriber reads what is not said to be `compressed bgr8`."""
    rgb = noise(HEIGHT, WIDTH, 3)
    for name in (f'{encoding}; png compressed rgb8', f'{encoding}; png compressed '):
        np.testing.assert_array_equal(to_rgb(compressed(jpeg(rgb, '.png'), name)), rgb)


def test_a_picture_of_other_numbers_than_its_format_can_say_is_refused():
    encoded = jpeg(np.full((HEIGHT, WIDTH), 0.5, np.float32), '.tif')
    with pytest.raises(ImageError, match=r'^image: its numbers are float32, expected uint8 or'):
        to_rgb(compressed(encoded, 'mono16; tiff compressed '))


def test_a_yuv_picture_that_was_converted_is_a_colour_picture():
    encoded = jpeg(noise(HEIGHT, WIDTH, 3), '.png')
    for name in ('yuv422_yuy2; png compressed bgr8', 'nv21; png compressed bgr8'):
        np.testing.assert_array_equal(to_rgb(compressed(encoded, name)), decode(encoded))


def test_compressed_depth_is_read_as_its_transport_writes_it():
    depth_m = np.linspace(0.3, 9.0, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    depth_m[0, :3] = np.nan
    millimetres = np.nan_to_num(depth_m * 1000).round().astype(np.uint16)
    a = np.float32(100.0 * 101.0)
    b = np.float32(1.0 - a / 10.0)
    inverse = np.where(np.isnan(depth_m), 0, a / depth_m + b).astype(np.uint16)
    png = {name: jpeg(pixels, '.png') for name, pixels in (('mm', millimetres), ('inv', inverse))}
    for data, name in (
        (bytes(12) + png['mm'], '16UC1; compressedDepth png'),
        (bytes(12) + png['mm'], '16UC1; compressedDepth'),
        (png['mm'], '16UC1; png compressed '),
        (struct.pack('<iff', 1, a, b) + png['inv'], '32FC1; compressedDepth png'),
    ):
        found = to_depth_m(compressed(data, name))
        assert np.isnan(found[0, :3]).all()
        np.testing.assert_allclose(found[1:], depth_m[1:], rtol=0.01)


@pytest.mark.parametrize('bigendian', [0, 1])
@pytest.mark.parametrize(('encoding', 'form', 'unit'), [('16UC1', 'u2', 1e3), ('32FC1', 'f4', 1)])
def test_raw_depth_is_in_metres_where_it_was_measured(encoding, form, unit, bigendian):
    depth_m = np.linspace(0.5, 9, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    sent = (depth_m * unit).astype('<>'[bigendian] + form)
    sent[0, :3] = [0, 0, 0] if form == 'u2' else [np.nan, np.inf, -1]
    found = to_depth_m(message(sent, encoding, padding=5, bigendian=bigendian))
    assert found.dtype == np.float32
    assert np.isnan(found[0, :3]).all()
    np.testing.assert_allclose(found[1:], depth_m[1:], atol=1e-3)


@pytest.mark.parametrize(
    ('fields', 'complaint'),
    [
        ({'encoding': 'mono8'}, "encoding 'mono8', expected depth as one of 16UC1, 32FC1"),
        ({'encoding': '32FC1'}, 'step is 32, but 16 pixels of 32FC1 need at least 64'),
        ({'data': array('B', bytes(383))}, '383 bytes of data, expected 384'),
    ],
)
def test_raw_depth_whose_fields_contradict_each_other_is_refused(fields, complaint):
    sent = message(noise(HEIGHT, WIDTH, dtype=np.uint16), '16UC1')
    vars(sent).update(fields)
    with pytest.raises(ImageError, match=f'^depth image: {complaint}'):
        to_depth_m(sent)


@pytest.mark.parametrize(('a', 'b'), [(np.inf, np.inf), (3e38, 499.99997), (np.nan, 0)])
def test_depth_whose_scale_is_no_number_was_not_measured(a, b):
    png = jpeg(np.full((HEIGHT, WIDTH), 500, np.uint16), '.png')
    found = to_depth_m(
        compressed(struct.pack('<iff', 1, a, b) + png, '32FC1; compressedDepth png')
    )
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    ('data', 'name', 'said'),
    [
        (bytes(12), '16UC1; compressedDepth rvl', 'expected depth as'),
        (bytes(5), '16UC1; compressedDepth png', 'expected a header and a PNG'),
        (bytes(12) + jpeg(), '16UC1; compressedDepth png', r'uint8 \[12, 16, 3\]'),
        (jpeg(noise(HEIGHT, WIDTH), '.png'), '16UC1; png compressed ', r'uint8 \[12, 16\]'),
        (
            jpeg(noise(HEIGHT, WIDTH, 3, dtype=np.uint16), '.png'),
            '16UC1; png compressed ',
            r'uint16 \[12, 16, 3\]',
        ),
        (jpeg(), 'jpeg', 'expected depth as'),
        (jpeg(), '32FC1; tiff compressed ', 'expected depth as'),
        (
            jpeg(np.ones((HEIGHT, WIDTH), np.float32), '.tif'),
            '16UC1; tiff compressed ',
            'numbers are float32, expected uint8 or uint16',
        ),
    ],
)
def test_compressed_depth_that_cannot_be_read_says_why(data, name, said):
    with pytest.raises(ImageError, match=f'^depth image: .*{said}'):
        to_depth_m(compressed(data, name))


def test_shrinking_averages_over_the_area_and_enlarging_interpolates():
    pixels = noise(64, 48, 3)
    means = pixels.reshape(32, 2, 16, 3, 3).mean(axis=(1, 3))
    assert np.abs(resize(pixels, (32, 16)) - means).max() <= 0.5
    step = np.zeros((8, 2, 3), np.uint8) + np.array([0, 100], np.uint8)[:, None]
    assert resize(step, (8, 4))[3, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize(
    ('image', 'said'),
    [
        (np.zeros((9, 9, 3)), r'float64 of shape \(9, 9, 3\), expected uint8 \[H, W, 3\]'),
        (np.zeros((9, 9), np.uint8), r'uint8 of shape \(9, 9\), expected'),
        (np.zeros((9, 9, 4), np.uint8), r'uint8 of shape \(9, 9, 4\), expected'),
        (np.zeros((7, 90, 3), np.uint8), '90x7 pixels, expected at least 8 on each side'),
        (np.zeros((90, 7, 3), np.uint8), '7x90 pixels, expected at least 8 on each side'),
        (np.zeros((0, 0, 3), np.uint8), '0x0 pixels, expected at least 8 on each side'),
    ],
)
def test_only_colour_pictures_of_a_usable_size_are_images(image, said):
    with pytest.raises(ImageError, match=f'^front: {said}'):
        check(image, source='front')
    assert check(np.zeros((8, 8, 3), np.uint8)).shape == (8, 8, 3)


@pytest.mark.parametrize('size_hw', [(8, 8), (48, 64), (480, 640), (64, 4000)])
def test_noise_shows_nothing_and_a_slope_of_brightness_something(size_hw):
    assert not shows_something(np.zeros((*size_hw, 3), np.uint8))
    slope = np.linspace(0, 20, size_hw[1]).astype(np.uint8)
    assert shows_something(np.broadcast_to(slope[:, None], (*size_hw, 3)))
    if min(size_hw) > 8:
        dark = np.random.default_rng(0).integers(0, 12, (*size_hw, 3), np.uint8)
        assert not shows_something(dark)


def test_a_file_that_cannot_be_an_image_is_named(tmp_path):
    with pytest.raises(ImageError, match=r'gone\.jpg: No such file'):
        read(tmp_path / 'gone.jpg')
    with pytest.raises(ImageError, match=r'a folder\.jpg: it is not a regular file'):
        (tmp_path / 'a folder.jpg').mkdir()
        read(tmp_path / 'a folder.jpg')
    with (tmp_path / 'holes.jpg').open('wb') as file:
        file.truncate(MOST_ENCODED + 1)
    with pytest.raises(ImageError, match=r'holes\.jpg: 1073741825 bytes, expected an image of at'):
        read(tmp_path / 'holes.jpg')


@pytest.mark.parametrize(
    ('size_hw', 'longest_px', 'written_hw'),
    [
        ((100, 400), 40, (10, 40)),
        ((400, 100), 40, (40, 10)),
        ((100, 400), 400, (100, 400)),
        ((100, 400), 500, (100, 400)),
        ((100, 400), None, (100, 400)),
        ((8, 4000), 100, (1, 100)),
    ],
)
def test_a_picture_is_written_no_larger_than_wished_and_never_enlarged(
    size_hw, longest_px, written_hw
):
    encoded = encode_jpeg(
        np.full((*size_hw, 3), (200, 90, 20), np.uint8), longest_side_px=longest_px
    )
    header = read_header(encoded)
    assert (header.height_px, header.width_px) == written_hw
    stored = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(stored.astype(int) - (20, 90, 200)).max() <= 6


def test_a_picture_that_is_too_wide_for_jpeg_is_refused():
    with pytest.raises(ImageError, match=r'image of shape \(8, 66000, 3\) cannot be written'):
        encode_jpeg(np.zeros((8, 66_000, 3), np.uint8))


def smooth(height, width):
    return resize(noise(9, 16, 3), (height, width))


@pytest.mark.parametrize(
    ('size_hw', 'expected'),
    [
        ((1080, 1920), (540, 960)),
        ((2160, 3840), (540, 960)),
        ((960, 960), (480, 480)),
        ((958, 1600), (958, 1600)),
        ((1081, 1920), (1081, 1920)),
        ((720, 1279), (720, 1279)),
    ],
)
def test_an_image_is_halved_while_it_stays_large_enough_and_even(size_hw, expected):
    for at_least_hw in ((320, 320), (320, 100), (100, 320)):
        assert halved(np.zeros((*size_hw, 3), np.uint8), at_least_hw).shape[:2] == expected


def test_each_pixel_of_a_halved_image_is_the_mean_of_four():
    pixels = noise(64, 48, 3)
    means = pixels.reshape(32, 2, 24, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved(pixels, (16, 16)) - means).max() <= 0.5


@pytest.mark.parametrize('encoding', [*CHANNELS, *WORDS])
@pytest.mark.parametrize('padding', [0, 6])
def test_a_raw_image_that_may_come_smaller_shows_what_the_whole_one_shows(encoding, padding):
    channels = CHANNELS.get(encoding) or WORDS[encoding]
    dtype = np.uint8 if encoding in CHANNELS else np.uint16
    pixels = noise(64, 48, channels, dtype=dtype)
    sent = message(pixels, encoding, padding=padding)
    sent.height, sent.width = 64, 48
    found = to_rgb(sent, at_least_hw=(16, 16))
    assert found.shape == (32, 24, 3)
    assert np.abs(found.astype(int) - halved(to_rgb(sent), (16, 16))).max() <= 1


@pytest.mark.parametrize('encoding', ['bayer_rggb8', 'yuv422', 'nv12'])
def test_colours_that_lie_in_other_pixels_are_converted_before_an_image_is_halved(encoding):
    rows = 96 if encoding == 'nv12' else 64
    pixels = noise(rows, 48, 2) if encoding == 'yuv422' else noise(rows, 48)
    sent = message(pixels, encoding)
    sent.height, sent.width = 64, 48
    np.testing.assert_array_equal(
        to_rgb(sent, at_least_hw=(16, 16)), halved(to_rgb(sent), (16, 16))
    )


def test_the_network_sees_nearly_the_same_of_a_raw_1080p_image_that_comes_smaller():
    picture = smooth(1080, 1920)
    sent = message(picture, 'rgb8')
    sent.height, sent.width = picture.shape[:2]
    smaller = to_rgb(sent, at_least_hw=(320, 320))
    assert smaller.shape == (540, 960, 3)
    apart = resize(smaller, (320, 320)).astype(int) - resize(picture, (320, 320))
    assert np.abs(apart).max() <= 2
