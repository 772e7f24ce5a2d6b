"""The one definition of what happens to an image before the network sees it.

Training, export, evaluation and the robot all call `resize` below, and everything after it
(scaling, normalization) lives inside the exported graph. Pixels that differ between training and
robot are a classic silent loss of recall.
"""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.documents import open_regular
from vpr_ros.core.errors import DocumentError, ImageError
from vpr_ros.core.image_header import ImageHeader, read_header
from vpr_ros.core.types import Image

SMALLEST_SIDE_PX = 8
"""Smallest side of an image. Smaller ones show too little of a place, so they are refused."""

MOST_PIXELS = 100_000_000
"""Of an image that is decoded. A file of some kB may claim any size; this many take 300 MB."""

MOST_ENCODED = 1 << 30
"""Bytes of an image file that is read; so many pixels take less, however they are packed."""

_COARSE_HW = 16, 16
_FEW = 64  # rows or columns of pixels that are enough for the coarse grid
_LEAST_CONTRAST = 4.0  # standard deviation, of 255
_ROOM = 1.5  # halved to less, one picture's descriptors had a cosine of 0.994 to the whole one's
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


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


def halved(pixels: NDArray[Any], at_least_hw: tuple[int, int] | None) -> NDArray[Any]:
    """Halve an image as often as both sides stay 1.5 times the larger of (height, width).

    pixels: uint8 or uint16 [H, W] or [H, W, C], of any strides between rows; comes back itself
    where nothing is done. Each pixel is the mean of four, which costs a sixth of shrinking to any
    other size, and leaves a quarter for that. As with a JPEG that comes smaller, the network's
    input differs a little from that of the whole image.
    """
    if at_least_hw is None:
        return pixels
    least = 2 * _ROOM * max(at_least_hw)
    while min(pixels.shape[:2]) >= least and not any(side % 2 for side in pixels.shape[:2]):
        height, width = pixels.shape[:2]
        pixels = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return pixels


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
    most_pixels: int = MOST_PIXELS,
) -> Image:
    """Decode JPEG, PNG, WebP, TIFF, BMP, PGM, PPM or, from OpenCV 4.11 on, GIF to RGB.

    encoded: the file's bytes; at_least_hw: a JPEG may come at a half, a quarter or an eighth of
    its size, which its decoder does by leaving work out, as long as it is not smaller than this
    (height, width); most_pixels: beyond which an image is refused before memory is taken for it.
    Raises ImageError for empty, garbled, truncated, too small and too large images. OpenCV itself
    paints the missing part of a truncated JPEG grey and says nothing.
    """
    content = _content(encoded, source)
    header = _whole_header(content, source)
    shrink, flag = _reduction(header, at_least_hw)
    _require_size(header, shrink, most_pixels, source)
    # Checked first: OpenCV 4.5.4 cannot exchange the colours of a single pixel in its place.
    bgr = check(np.asarray(_decoded(content, flag, source), dtype=np.uint8), source=source)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), dtype=np.uint8)


def decode_as_stored(
    encoded: bytes | memoryview | NDArray[np.uint8],
    *,
    source: str = 'image',
    most_pixels: int = MOST_PIXELS,
) -> NDArray[Any]:
    """The numbers of an encoded image: [H, W], or [H, W, C] in OpenCV's order, BGR or BGRA.

    uint8 or uint16, not turned by an EXIF tag. Raises ImageError as `decode` does, and for other
    numbers, which a TIFF may hold.
    """
    content = _content(encoded, source)
    _require_size(_whole_header(content, source), 1, most_pixels, source)
    pixels = _decoded(content, cv2.IMREAD_UNCHANGED, source)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f'{source}: its numbers are {pixels.dtype}, expected uint8 or uint16')
    return pixels


def require_decodable(encoded: bytes, *, source: str) -> None:
    """Raise ImageError for an image that is truncated or too large, by its header alone."""
    _require_size(_whole_header(encoded, source), 1, MOST_PIXELS, source)


def read(path: Path, *, at_least_hw: tuple[int, int] | None = None) -> Image:
    """Read an image file as RGB uint8 [H, W, 3]; ImageError names one that cannot be used.

    at_least_hw: as in `decode`.
    """
    return decode(read_encoded(path), source=str(path), at_least_hw=at_least_hw)


def read_encoded(path: Path) -> bytes:
    """An image file as it is; ImageError names one that cannot be read, or that never ends."""
    try:
        with open_regular(path, follow_links=True) as file:
            size = os.fstat(file.fileno()).st_size
            require_size(size, source=str(path))
            return file.read(size)
    except OSError as error:
        raise ImageError(f'{path}: {error.strerror or error}') from error
    except DocumentError as error:
        raise ImageError(f'{path}: {error}') from error


def require_size(size: int, *, source: str) -> None:
    """Raise ImageError, which begins with `source`, for a file that is too large to be an image.

    A file with holes takes no room on a disk, and all of it in memory.
    """
    if size > MOST_ENCODED:
        raise ImageError(f'{source}: {size} bytes, expected an image of at most {MOST_ENCODED}')


def _content(encoded: bytes | memoryview | NDArray[np.uint8], source: str) -> bytes:
    content = encoded if isinstance(encoded, bytes) else np.frombuffer(encoded, np.uint8).tobytes()
    if not content:
        raise ImageError(f'{source}: no bytes, expected an encoded image')
    return content


def _whole_header(content: bytes, source: str) -> ImageHeader:
    header = read_header(content, source=source)
    if not header.is_whole:
        raise ImageError(f'{source}: truncated after {len(content)} bytes')
    return header


def _require_size(header: ImageHeader, shrink: int, most_pixels: int, source: str) -> None:
    """Raise ImageError for a size that would take too much memory."""
    pixels = header.width_px * header.height_px
    held = pixels // shrink**2 if header.is_in_rows else pixels
    if held > most_pixels:
        raise ImageError(
            f'{source}: {header.width_px}x{header.height_px} pixels, expected at most '
            f'{most_pixels / 1e6:g} million; shrink it'
        )


def _decoded(content: bytes, flag: int, source: str) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    except cv2.error as error:
        raise ImageError(f'{source}: {len(content)} bytes do not decode ({error.err})') from error
    if pixels is None:
        raise ImageError(f'{source}: {len(content)} bytes are not an image that OpenCV can decode')
    return np.asarray(pixels)


def _reduction(header: ImageHeader, at_least_hw: tuple[int, int] | None) -> tuple[int, int]:
    """How many times smaller a JPEG may come and still be large enough, and OpenCV's flag."""
    if at_least_hw is not None and header.kind == 'JPEG':
        # Turned by its EXIF tag, width and height may change places.
        room = min(header.width_px, header.height_px) / max(at_least_hw)
        for shrink, flag in _REDUCED:
            if room >= shrink:
                return shrink, flag
    return 1, cv2.IMREAD_COLOR


def encode_jpeg(image: Image, *, longest_side_px: int | None = None, quality: int = 85) -> bytes:
    """Encode RGB as JPEG, shrunk first if its longest side exceeds `longest_side_px`."""
    longest = max(image.shape[:2])
    if longest_side_px is not None and longest > longest_side_px:
        scale = longest_side_px / longest
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = resize(image, (height, width))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    try:
        done, encoded = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:  # as OpenCV 4.5.4 says that an image is too large; newer ones return False
        done, encoded = False, np.empty(0, np.uint8)
    if not done:
        raise ImageError(f'image of shape {image.shape} cannot be written as JPEG')
    return bytes(encoded)
