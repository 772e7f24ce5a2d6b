"""RandAugment (Cubuk et al. 2020) on camera bytes, by OpenCV and lookup tables.

The operations and their strengths are those that torchvision's RandAugment has; most of them are
one table of 256 values or one warp, which is what makes them cheap. Randomness comes from the
caller's generator only.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.types import Image

_STRENGTHS = 31
_BYTES = np.arange(256, dtype=np.float32)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13


def rand_augment(
    image: Image, rng: np.random.Generator, *, operations: int, magnitude: int
) -> Image:
    """Do `operations` random operations of strength `magnitude` (0 to 30), one after another.

    image: uint8 [H, W, 3] RGB; the result has the same shape.
    """
    share = magnitude / (_STRENGTHS - 1)
    for number in rng.integers(len(OPERATIONS), size=operations):
        sign = 1.0 if rng.random() < 0.5 else -1.0
        image = OPERATIONS[number](image, share, sign)
    return image


def random_crop(image: Image, rng: np.random.Generator, *, least_share: float) -> Image:
    """A part of the picture with at least `least_share` of its area (Szegedy et al. 2015).

    image: [H, W, 3]; the part's sides are to each other as the picture's, within a factor of 4/3.
    """
    height, width = image.shape[:2]
    share, stretch = rng.uniform(least_share, 1), np.sqrt(4 / 3) ** rng.uniform(-1, 1)
    rows = min(max(round(height * np.sqrt(share) * stretch), 1), height)
    columns = min(max(round(width * np.sqrt(share) / stretch), 1), width)
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def shear_x(image: Image, share: float, sign: float) -> Image:
    """Shear by up to 0.3 along the rows, about the centre."""
    return _warp(image, [[1, sign * 0.3 * share, 0], [0, 1, 0]])


def shear_y(image: Image, share: float, sign: float) -> Image:
    """Shear by up to 0.3 along the columns."""
    return _warp(image, [[1, 0, 0], [sign * 0.3 * share, 1, 0]])


def translate_x(image: Image, share: float, sign: float) -> Image:
    """Shift by up to 45 % of the width."""
    return _shift(image, 1, round(sign * share * 150 / 331 * image.shape[1]))


def translate_y(image: Image, share: float, sign: float) -> Image:
    """Shift by up to 45 % of the height."""
    return _shift(image, 0, round(sign * share * 150 / 331 * image.shape[0]))


def rotate(image: Image, share: float, sign: float) -> Image:
    """Turn by up to 30 degrees about the centre, counterclockwise for a positive sign."""
    angle = np.radians(sign * 30 * share)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    return _warp(image, [[cosine, sine, 0], [-sine, cosine, 0]])


def brightness(image: Image, share: float, sign: float) -> Image:
    """Blend with black by up to 0.9."""
    return _lookup(image, _BYTES * _factor(share, sign))


def contrast(image: Image, share: float, sign: float) -> Image:
    """Blend with the mean grey by up to 0.9."""
    grey = float(np.round(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()))
    factor = _factor(share, sign)
    return _lookup(image, grey + (_BYTES - grey) * factor)


def color(image: Image, share: float, sign: float) -> Image:
    """Blend with the grey picture by up to 0.9."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _blend(np.asarray(grey, dtype=np.uint8), image, _factor(share, sign))


def sharpness(image: Image, share: float, sign: float) -> Image:
    """Blend with the smoothed picture by up to 0.9; the border stays."""
    smooth = image.copy()
    smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, _SMOOTH)[1:-1, 1:-1]
    return _blend(smooth, image, _factor(share, sign))


def posterize(image: Image, share: float, sign: float) -> Image:
    """Keep the 8 to 4 highest bits."""
    bits = 8 - round(4 * share)
    return np.asarray(image & np.uint8(0xFF << (8 - bits) & 0xFF))


def solarize(image: Image, share: float, sign: float) -> Image:
    """Invert what is brighter than a threshold, from 255 down to 0."""
    return _lookup(image, np.where(255 * (1 - share) <= _BYTES, 255 - _BYTES, _BYTES))


def auto_contrast(image: Image, share: float, sign: float) -> Image:
    """Stretch each channel to 0 to 255."""
    tables = np.empty((256, 3), dtype=np.float32)
    for channel, values in enumerate(cv2.split(image)):
        low, high, _, _ = cv2.minMaxLoc(values)
        scale, start = (255 / (high - low), low) if high > low else (1.0, 0.0)
        tables[:, channel] = (_BYTES - start) * scale
    return _lookup(image, tables)


def equalize(image: Image, share: float, sign: float) -> Image:
    """Equalize each channel's histogram."""
    return _lookup(image, np.stack([_equalized(values) for values in cv2.split(image)], axis=1))


def identity(image: Image, share: float, sign: float) -> Image:
    """Leave it."""
    return image


OPERATIONS: tuple[Callable[[Image, float, float], Image], ...] = (
    identity, shear_x, shear_y, translate_x, translate_y, rotate, brightness, color, contrast,
    sharpness, posterize, solarize, auto_contrast, equalize,
)  # fmt: skip


def _factor(share: float, sign: float) -> float:
    return 1 + sign * 0.9 * share


def _warp(image: Image, matrix: list[list[float]]) -> Image:
    """Warp about the centre; what comes from outside is black."""
    height, width = image.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    forward = np.array(matrix, dtype=np.float64)
    forward[:, 2] += centre - forward[:, :2] @ centre
    return np.asarray(cv2.warpAffine(image, forward, (width, height)), dtype=np.uint8)


def _shift(image: Image, axis: int, pixels: int) -> Image:
    """Shift along an axis; what comes from outside is black."""
    shifted = np.zeros_like(image)
    source, target = [slice(None)] * 2, [slice(None)] * 2
    source[axis] = slice(max(-pixels, 0), image.shape[axis] - max(pixels, 0))
    target[axis] = slice(max(pixels, 0), image.shape[axis] - max(-pixels, 0))
    shifted[tuple(target)] = image[tuple(source)]
    return shifted


def _lookup(image: Image, table: NDArray[np.float32]) -> Image:
    """table: [256], or [256, 3] for each channel its own."""
    values = np.clip(table, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, values.reshape(256, 1, -1)), dtype=np.uint8)


def _blend(zero: Image, one: Image, factor: float) -> Image:
    return np.asarray(cv2.addWeighted(zero, 1 - factor, one, factor, 0), dtype=np.uint8)


def _equalized(channel: NDArray[Any]) -> NDArray[np.float32]:
    counts = cv2.calcHist([channel], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    held = counts[counts > 0]
    step = (counts.sum() - held[-1]) // 255
    if step == 0:
        return _BYTES
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.asarray((step // 2 + before) // step, dtype=np.float32)
