"""The one definition of what happens to an image before the network sees it.

Training, export, evaluation and the robot all call `resize` below, and everything after it
(scaling, normalization) lives inside the exported graph. Pixels that differ between training and
robot are a classic silent loss of recall.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import ImageError
from vpr_ros.core.types import Image

SMALLEST_SIDE_PX = 8
"""Below this no place can be told from another; such images are refused rather than enlarged."""

_COARSE_HW = 16, 16
_FEW = 64  # rows or columns of pixels that are enough for the coarse grid
_LEAST_CONTRAST = 4.0  # standard deviation, of 255
_TAIL_BYTES = 4096
_JPEG = b'\xff\xd8'
_HEADER_BYTES = 1 << 18  # within which a JPEG says its size, EXIF data and previews before it
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables, an extension and conditioning, among the frame markers
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)
_END_MARKS = {b'\xff\xd8': b'\xff\xd9', b'\x89P': b'IEND'}  # first two bytes -> mark near the end


def resize(image: Image, size_hw: tuple[int, int]) -> Image:
    """Bring an image to the network's input size, without keeping its aspect.

    image: uint8 [H, W, 3]; size_hw: (height, width) in pixels; returns uint8 [height, width, 3].
    Shrinking averages over the covered area, so that no detail aliases; enlarging interpolates
    linearly.
    """
    height, width = size_hw
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def check(image: Image, *, source: str = 'image') -> Image:
    """Return the image if it is uint8 [H, W, 3] of a usable size; raise ImageError otherwise."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f'{source}: {image.dtype} of shape {image.shape}, expected uint8 [H, W, 3]'
        )
    if min(image.shape[:2]) < SMALLEST_SIDE_PX:
        height, width = image.shape[:2]
        raise ImageError(
            f'{source}: {width}x{height} pixels, expected at least {SMALLEST_SIDE_PX} on each side'
        )
    return image


def shows_something(image: Image) -> bool:
    """Whether an image [H, W, 3] has any content; a covered lens and a black frame have none.

    Brightness is compared between the cells of a coarse grid, so that noise does not count.
    """
    height, width = image.shape[:2]
    every = max(min(height // _FEW, width // _FEW), 1)  # a part of the pixels tells as well
    coarse = resize(image[::every, ::every], _COARSE_HW).mean(axis=2)
    return bool(coarse.std() >= _LEAST_CONTRAST)


def decode(
    encoded: bytes | memoryview | NDArray[np.uint8],
    *,
    source: str = 'image',
    at_least_hw: tuple[int, int] | None = None,
) -> Image:
    """Decode JPEG, PNG or any other format OpenCV reads to RGB.

    encoded: the file's bytes; at_least_hw: a JPEG may come at a half, a quarter or an eighth of
    its size, which its decoder does by leaving work out, as long as it is not smaller than this
    (height, width). Raises ImageError for empty, garbled, truncated and too small
    images. OpenCV itself paints the missing part of a truncated JPEG grey and says nothing, so the
    end mark is looked for here.
    """
    buffer = np.frombuffer(encoded, dtype=np.uint8)
    if buffer.size == 0:
        raise ImageError(f'{source}: no bytes, expected an encoded image')
    end_mark = _END_MARKS.get(buffer[:2].tobytes())
    if end_mark is not None and end_mark not in buffer[-_TAIL_BYTES:].tobytes():
        raise ImageError(f'{source}: truncated after {buffer.size} bytes')
    try:
        bgr = cv2.imdecode(buffer, _reduction(buffer, at_least_hw))
    except cv2.error as error:
        raise ImageError(f'{source}: {buffer.size} bytes do not decode ({error.err})') from error
    if bgr is None:
        raise ImageError(f'{source}: {buffer.size} bytes are not an image that OpenCV can decode')
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)
    return check(np.asarray(rgb, dtype=np.uint8), source=source)


def read(path: Path, *, at_least_hw: tuple[int, int] | None = None) -> Image:
    """Read an image file as RGB uint8 [H, W, 3]; ImageError names one that cannot be used.

    at_least_hw: as in `decode`.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise ImageError(f'{path}: {error.strerror or error}') from error
    return decode(encoded, source=str(path), at_least_hw=at_least_hw)


def _reduction(buffer: NDArray[np.uint8], at_least_hw: tuple[int, int] | None) -> int:
    """OpenCV's flag for the smallest size of a JPEG that is still large enough."""
    if at_least_hw is None or buffer[:2].tobytes() != _JPEG:
        return cv2.IMREAD_COLOR
    # Turned by its EXIF tag, width and height may change places.
    room = _shorter_side_px(buffer) / max(at_least_hw)
    for shrink, flag in _REDUCED:
        if room >= shrink:
            return flag
    return cv2.IMREAD_COLOR


def _shorter_side_px(jpeg: NDArray[np.uint8]) -> int:
    """From the frame header, after other segments (ITU-T T.81, B.1.1.4); 0 where there is none."""
    place, header = 2, bytes(jpeg[:_HEADER_BYTES])
    while place + 9 <= len(header) and header[place] == 0xFF:
        marker, length = header[place + 1], int.from_bytes(header[place + 2 : place + 4], 'big')
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            height = int.from_bytes(header[place + 5 : place + 7], 'big')
            width = int.from_bytes(header[place + 7 : place + 9], 'big')
            return min(height, width)
        place += 2 + length
    return 0


def encode_jpeg(image: Image, *, longest_side_px: int | None = None, quality: int = 85) -> bytes:
    """Encode RGB as JPEG, shrunk first if its longest side exceeds `longest_side_px`."""
    longest = max(image.shape[:2])
    if longest_side_px is not None and longest > longest_side_px:
        scale = longest_side_px / longest
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = resize(image, (height, width))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(f'image of shape {image.shape} cannot be written as JPEG')
    return bytes(encoded)
