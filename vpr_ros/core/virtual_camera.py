"""See an image as another camera would have taken it from the same spot.

A descriptor is of a whole picture, and cells are matched by where they lie in it. A camera that
sees half as much as the mapping camera, or twice as much, has other pictures of the same place. So
its images are brought to the mapping camera's view before they are described: of a wider picture a
part is left, and a narrower one is continued by its mirror image, which has the same colours and
textures and no edge that is not there. Both calibrations have to be known.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import VprError
from vpr_ros.core.image import resize
from vpr_ros.core.types import Image

Array = NDArray[np.float64]

_ALIKE = 0.02  # of width or height, by which views may differ: less than half a cell
_LOOKED_AT_HW = 9, 9  # pixels by which views are compared
_FARTHEST = 2.0  # widths or heights outside of an image, beyond which nothing is mirrored
_LEAST_ZOOM, _MOST_ZOOM = 1.05, 4.0


@dataclass(frozen=True, slots=True)
class VirtualCamera:
    """Turns images of one camera and one size into those of another camera."""

    camera: Camera
    """That would have taken the images."""
    shown: float
    """Share of its picture that the real camera sees, in [0, 1]; the rest is mirrored."""
    _shrunk_hw: tuple[int, int]  # of the real image before it is sampled, so that nothing aliases
    _at: NDArray[np.int16]  # [height, width, 2], where each pixel is in the shrunk image
    _between: NDArray[np.uint16]  # [height, width], and how far between its pixels

    def view(self, image: Image) -> Image:
        """An image [H, W, 3] of the real camera -> [height, width, 3] of the virtual one."""
        shrunk = resize(image, self._shrunk_hw)
        seen = cv2.remap(
            shrunk, self._at, self._between, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(seen, dtype=np.uint8)


@lru_cache(maxsize=8)
def virtual_camera(
    own: Camera, like: Camera, *, image_hw: tuple[int, int], size_hw: tuple[int, int]
) -> VirtualCamera | None:
    """What gives images of `own` the view of `like`; None where their views hardly differ.

    image_hw: of the images to come, in pixels; None comes back, too, if the calibration is not for
    images of this shape. size_hw: of the images to make, whose aspect may be another.
    """
    try:
        own = own.scaled_to(image_hw[1], image_hw[0])
    except VprError:
        return None
    shares = _shares(_LOOKED_AT_HW)
    if np.abs(_shown_at(own, like, shares) - shares).max() <= _ALIKE:
        return None
    shares = _shown_at(own, like, _shares(size_hw))
    inside = ((shares >= 0) & (shares <= 1)).all(axis=1)
    shrunk_hw = _shrunk_hw(own, like, size_hw)
    pixels = np.clip(shares, -_FARTHEST, 1 + _FARTHEST) * shrunk_hw[::-1] - 0.5
    x, y = pixels.astype(np.float32).T.reshape(2, *size_hw)
    at, between = cv2.convertMaps(x, y, cv2.CV_16SC2)
    return VirtualCamera(like, float(inside.mean()), shrunk_hw, at, between)


def zoom(own: Camera, like: Camera) -> float:
    """How many times larger than it is described an image of `own` is needed; at least 1.

    If it sees more than `like`, only a part of it is described.
    """
    found = float((_focal_shares(like) / _focal_shares(own)).max())
    return 1.0 if found < _LEAST_ZOOM else min(found, _MOST_ZOOM)


def _focal_shares(camera: Camera) -> Array:
    """Focal lengths [2] in widths and heights of the image."""
    fx, fy = camera.matrix[0], camera.matrix[4]
    return np.array([fx / camera.width_px, fy / camera.height_px])


def _shrunk_hw(own: Camera, like: Camera, size_hw: tuple[int, int]) -> tuple[int, int]:
    """(height, width) to which images are shrunk, so that a pixel of the middle becomes one."""
    wanted = _focal_shares(like) / _focal_shares(own) * size_hw[::-1]
    width, height = np.minimum(np.ceil(wanted), [own.width_px, own.height_px]).astype(int)
    return int(height), int(width)


def _shares(size_hw: tuple[int, int]) -> Array:
    """Middles of the pixels of an image, row by row, in widths and heights [M, 2]."""
    height, width = size_hw
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)


def _shown_at(own: Camera, like: Camera, shares: Array) -> Array:
    """Where `own` shows what `like` shows at shares of its image [M, 2], in shares of its own."""
    rays = like.normalized(shares * [like.width_px, like.height_px] - 0.5)
    return (own.pixels(rays) + 0.5) / [own.width_px, own.height_px]
