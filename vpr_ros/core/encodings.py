"""Turn image messages into RGB arrays, and arrays into messages.

The functions look at a message's fields only, so that the same code serves rclpy and a bag read
without ROS. That is also why OpenCV converts the rare encodings and not cv_bridge: a bag must
decode alike with and without ROS, and the cv_bridge of the package index fails on newer OpenCV and
numpy and lacks bayer_grbg8 and mono16 to RGB. The tests hold both against each other pixel by
pixel.

Encodings follow sensor_msgs/image_encodings.hpp: bayer_rggb8 has red, green in its first row
(OpenCV calls the same pattern BayerBG), 16 bits are scaled to 8 as cv_bridge does (255/65535), and
8UC3 means BGR.
"""

import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import MOST_PIXELS, check, decode, decode_as_stored, halved
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Image

_Pixels = NDArray[Any]  # [H, W, C] or [H, W], uint8 or uint16
_NOT_IMAGES = ('compresseddepth', 'h264', 'h265', 'hevc', 'av1', 'theora', 'ffmpeg')


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How the bytes of an encoding are laid out, and how they become RGB."""

    channels: int
    to_rgb: Callable[[_Pixels], _Pixels]
    sample_bytes: int = 1
    rows_per_row: float = (
        1.0  # rows of bytes for each row of pixels; 1.5 where colour planes follow
    )
    even_width: bool = False
    even_height: bool = False

    def rows(self, height: int) -> int:
        """Rows of bytes of an image of `height` pixels."""
        return int(height * self.rows_per_row)


def _same(pixels: _Pixels) -> _Pixels:
    return pixels


def _by(code: int) -> Callable[[_Pixels], _Pixels]:
    """One OpenCV colour conversion."""

    def convert(pixels: _Pixels) -> _Pixels:
        return np.asarray(cv2.cvtColor(pixels, code))

    return convert


_GREY, _BGR = _by(cv2.COLOR_GRAY2RGB), _by(cv2.COLOR_BGR2RGB)
_RGBA, _BGRA = _by(cv2.COLOR_RGBA2RGB), _by(cv2.COLOR_BGRA2RGB)
# OpenCV names a pattern by the second and third pixel of its second row. It knows ROS's names only
# from 4.5.5 on, and Ubuntu 22.04 has 4.5.4.
_BAYER = {
    'rggb': _by(cv2.COLOR_BayerBG2RGB),
    'bggr': _by(cv2.COLOR_BayerRG2RGB),
    'gbrg': _by(cv2.COLOR_BayerGR2RGB),
    'grbg': _by(cv2.COLOR_BayerGB2RGB),
}
_UYVY, _YUY2 = _by(cv2.COLOR_YUV2RGB_UYVY), _by(cv2.COLOR_YUV2RGB_YUY2)

_ENCODINGS = {
    'rgb8': _Encoding(3, _same),
    'bgr8': _Encoding(3, _BGR),
    'rgba8': _Encoding(4, _RGBA),
    'bgra8': _Encoding(4, _BGRA),
    'mono8': _Encoding(1, _GREY),
    '8UC1': _Encoding(1, _GREY),
    '8UC3': _Encoding(3, _BGR),
    '8UC4': _Encoding(4, _BGRA),
    'rgb16': _Encoding(3, _same, 2),
    'bgr16': _Encoding(3, _BGR, 2),
    'rgba16': _Encoding(4, _RGBA, 2),
    'bgra16': _Encoding(4, _BGRA, 2),
    'mono16': _Encoding(1, _GREY, 2),
    '16UC1': _Encoding(1, _GREY, 2),
    **{f'bayer_{name}8': _Encoding(1, convert) for name, convert in _BAYER.items()},
    **{f'bayer_{name}16': _Encoding(1, convert, 2) for name, convert in _BAYER.items()},
    **{name: _Encoding(2, _UYVY, even_width=True) for name in ('yuv422', 'uyvy')},
    **{name: _Encoding(2, _YUY2, even_width=True) for name in ('yuv422_yuy2', 'yuyv')},
    'nv12': _Encoding(1, _by(cv2.COLOR_YUV2RGB_NV12), 1, 1.5, even_width=True, even_height=True),
    'nv21': _Encoding(1, _by(cv2.COLOR_YUV2RGB_NV21), 1, 1.5, even_width=True, even_height=True),
}

_DEEP = ('mono16', '16uc1', 'rgb16', 'bgr16', 'rgba16', 'bgra16')
_PLANES = ('nv12', 'nv21')  # colours behind the brightness, if they were not converted
_COLOURS = ('rgb8', 'bgr8', 'rgba8', 'bgra8', 'rgb16', 'bgr16', 'rgba16', 'bgra16')
_PIXEL_BY_PIXEL = (*_COLOURS, 'mono8', 'mono16', '8UC1', '8UC3', '8UC4', '16UC1')
"""A pixel's bytes are its colour: such an image is halved first, and less has to be converted."""
_CASES = {'16uc1': '16UC1'}  # formats are compared in small letters
_DEPTHS = ('32fc1', '64fc1')
_DEPTH_ENCODINGS = {'16UC1': _Encoding(1, _same, 2), '32FC1': _Encoding(1, _same, 4)}
_DEPTH_HEADER = struct.Struct('<4x2f')  # of compressedDepth: its format, then a and b
ENCODINGS = tuple(_ENCODINGS)
"""What `to_rgb` understands of sensor_msgs/Image."""


def to_rgb(
    message: Any,
    *,
    source: str = 'image',
    at_least_hw: tuple[int, int] | None = None,
    most_pixels: int = MOST_PIXELS,
) -> Image:
    """Decode a sensor_msgs/Image or CompressedImage to RGB uint8 [H, W, 3].

    at_least_hw: an image may come smaller, down to this (height, width), which costs less: a JPEG
    as `decode` says, another one as `halved` does.
    most_pixels: beyond which an image is refused before memory is taken for it.
    rgb8 costs no copy: the result is then a view of the message's data, which it keeps alive.
    Raises ImageError, which begins with `source`, for an unknown encoding, fields that contradict
    each other, and data that does not decode.
    """
    if hasattr(message, 'format'):
        return _decode_compressed(message, source, at_least_hw, most_pixels)
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f'{source}: encoding {message.encoding!r} is unknown, '
            f'expected one of {", ".join(ENCODINGS)}'
        )
    _check_fields(message, encoding, source, most_pixels)
    pixels = _pixels(message, encoding)
    if message.encoding in _PIXEL_BY_PIXEL:
        return _as_bytes(encoding.to_rgb(halved(pixels, at_least_hw)), source)
    return halved(_as_bytes(encoding.to_rgb(pixels), source), at_least_hw)


def to_depth_m(message: Any, *, source: str = 'depth image') -> NDArray[np.float32]:
    """Depth along z in metres [H, W] of an Image or CompressedImage, NaN where not measured.

    16UC1 holds millimetres and 32FC1 metres (REP-118); compressed ones are read as
    compressed_depth_image_transport writes them, as PNG. Raises ImageError like `to_rgb`.
    """
    if hasattr(message, 'format'):
        return _measured(_compressed_depth_m(message, source))
    encoding = _DEPTH_ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f'{source}: encoding {message.encoding!r}, '
            f'expected depth as one of {", ".join(_DEPTH_ENCODINGS)}'
        )
    _check_fields(message, encoding, source)
    order = '>' if message.is_bigendian else '<'
    sample = np.dtype(f'{order}f4' if encoding.sample_bytes == 4 else f'{order}u2')
    shape, strides = (message.height, message.width), (message.step, sample.itemsize)
    stored: _Pixels = np.ndarray(shape, sample, buffer=message.data, strides=strides)
    return _measured(
        stored.astype(np.float32) * np.float32(1.0 if encoding.sample_bytes == 4 else 1e-3)
    )


def _measured(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(np.nan))


def _compressed_depth_m(message: Any, source: str) -> NDArray[np.float32]:
    """Depth in metres [H, W]; anything where it was not measured.

    Depth of 32 bits is stored by its inverse: `a / (stored - b)`, with a and b in front.
    """
    encoding, _, codec = message.format.partition(';')
    name = encoding.strip()
    content = np.frombuffer(message.data, dtype=np.uint8)
    is_inverse, quantization = name == '32FC1', (0.0, 0.0)
    if 'compresseddepth' in message.format.lower():
        if content.size < _DEPTH_HEADER.size:
            raise ImageError(
                f'{source}: {counted(content.size, "byte")}, expected a header and a PNG'
            )
        quantization = _DEPTH_HEADER.unpack(content[: _DEPTH_HEADER.size].tobytes())
        content = content[_DEPTH_HEADER.size :]
    if name not in _DEPTH_ENCODINGS or 'rvl' in codec or (is_inverse and quantization[0] == 0.0):
        raise ImageError(
            f'{source}: format {message.format!r}, expected depth as '
            '16UC1 or 32FC1; compressedDepth png'
        )
    stored = decode_as_stored(content, source=source)
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise ImageError(
            f'{source}: the picture is {stored.dtype} {list(stored.shape)}, expected one grey '
            'channel of 16 bits'
        )
    if not is_inverse:
        return stored.astype(np.float32) * np.float32(1e-3)
    with np.errstate(all='ignore'):  # what is no number here was not measured
        depth = np.float32(quantization[0]) / (stored - np.float32(quantization[1]))
    return np.where(stored > 0, depth, np.float32(np.nan)).astype(np.float32)


def rgb_to_image(image: Image, kind: Callable[..., Any], header: Any) -> Any:
    """A sensor_msgs/Image of class `kind` (rclpy's) that holds RGB uint8 [H, W, 3].

    The bytes go in as array.array, which the generated setter takes without looking at each.
    """
    height, width = image.shape[:2]
    return kind(
        header=header,
        height=height,
        width=width,
        encoding='rgb8',
        is_bigendian=0,
        step=3 * width,
        data=array('B', np.ascontiguousarray(image).tobytes()),
    )


def _decode_compressed(
    message: Any, source: str, at_least_hw: tuple[int, int] | None, most_pixels: int
) -> Image:
    """Read `format` as compressed_image_transport's subscriber does.

    It is 'jpeg' or 'png', or begins with the encoding of the image before it was compressed:
    'rgb8; jpeg compressed bgr8', 'bayer_rggb8; png compressed '. What is not a colour is
    compressed as it is, so that a grey picture may be a Bayer pattern. Colours that are not said
    to be bgr went in as RGB, where the codec expects BGR.
    """
    name = message.format.lower()
    _refuse_others(name, message.format, source)
    said, told, codec = name.partition(';')
    encoding = said.strip().split(' ')[0]
    is_bgr = 'compressed bgr' in codec
    went_in_as_rgb = bool(told) and encoding in _COLOURS and not is_bgr
    if encoding.startswith('bayer_') or encoding in _DEEP or (encoding in _PLANES and not is_bgr):
        rgb = _as_encoded(message, encoding, source, most_pixels)
    else:
        rgb = decode(message.data, source=source, at_least_hw=at_least_hw, most_pixels=most_pixels)
    if went_in_as_rgb:
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), dtype=np.uint8)
    return rgb


def _refuse_others(name: str, said: str, source: str) -> None:
    """Raise ImageError for formats that hold no picture of a colour camera."""
    refused = next((word for word in _NOT_IMAGES if word in name), None)
    if refused == 'compresseddepth' or name.startswith(_DEPTHS):
        raise ImageError(
            f'{source}: format {said!r} is a depth image, expected JPEG or PNG of a colour camera'
        )
    if refused is not None:
        raise ImageError(
            f'{source}: format {said!r} is a video stream, expected single images; '
            'republish it as raw or JPEG'
        )


def _as_encoded(message: Any, name: str, source: str, most_pixels: int) -> Image:
    """A picture whose numbers are those of an encoding; one in colour is what it looks like."""
    pixels = decode_as_stored(message.data, source=source, most_pixels=most_pixels)
    encoding = _ENCODINGS.get(_CASES.get(name, name))
    if encoding is None:
        raise ImageError(
            f'{source}: the Bayer pattern of format {message.format!r} is unknown, '
            f'expected one of {", ".join(known for known in ENCODINGS if "bayer" in known)}'
        )
    is_grey = pixels.ndim == 2
    if is_grey and encoding.channels > 1:
        encoding = _ENCODINGS['mono8']
    elif not is_grey:
        encoding = _ENCODINGS['bgr8' if pixels.shape[2] == 3 else 'bgra8']
    try:
        rgb = encoding.to_rgb(pixels)
    except cv2.error as error:
        raise ImageError(
            f'{source}: the format is {message.format!r}, which does not fit a picture of '
            f'{pixels.dtype} {list(pixels.shape)} ({error.err})'
        ) from error
    return _as_bytes(rgb, source)


def _as_bytes(rgb: _Pixels, source: str) -> Image:
    """RGB of 8 bits, from 8 or 16."""
    if rgb.dtype == np.uint16:
        rgb = cv2.convertScaleAbs(rgb, alpha=255 / 65535)
    return check(np.asarray(rgb, dtype=np.uint8), source=source)


def _check_fields(
    message: Any, encoding: _Encoding, source: str, most_pixels: int = MOST_PIXELS
) -> None:
    width, height, step = message.width, message.height, message.step
    if width == 0 or height == 0:
        raise ImageError(f'{source}: {width}x{height} pixels, expected an image')
    if (encoding.even_width and width % 2) or (encoding.even_height and height % 2):
        raise ImageError(
            f'{source}: {width}x{height} pixels, but {message.encoding} needs even sides'
        )
    least = width * encoding.channels * encoding.sample_bytes
    if step < least:
        raise ImageError(
            f'{source}: step is {step}, but {width} pixels of {message.encoding} need at least '
            f'{counted(least, "byte")} a row'
        )
    found, expected = memoryview(message.data).nbytes, step * encoding.rows(height)
    if found != expected:
        raise ImageError(
            f'{source}: {counted(found, "byte")} of data, '
            f'expected {expected} (step {step} x {counted(encoding.rows(height), "row")})'
        )
    if width * height > most_pixels:
        raise ImageError(
            f'{source}: {width}x{height} pixels, expected at most {most_pixels / 1e6:g} million'
        )


def _pixels(message: Any, encoding: _Encoding) -> _Pixels:
    """The message's data as [H, W, C], or [H, W] for one channel; 8-bit samples are not copied."""
    size = encoding.sample_bytes
    sample = (
        np.dtype(np.uint8) if size == 1 else np.dtype('>u2' if message.is_bigendian else '<u2')
    )
    shape: tuple[int, ...] = (encoding.rows(message.height), message.width)
    strides: tuple[int, ...] = (message.step, size * encoding.channels)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, size)
    pixels: _Pixels = np.ndarray(shape, sample, buffer=message.data, strides=strides)
    if size == 1:
        return pixels
    return np.ascontiguousarray(
        pixels, dtype=np.uint16
    )  # OpenCV takes neither the other order nor an odd step
