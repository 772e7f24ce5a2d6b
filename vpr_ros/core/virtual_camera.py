"""See an image as another camera would have taken it from the same spot.

A descriptor is of a whole picture, and cells are matched by where they lie in it. A camera that
sees half as much as the mapping camera, or twice as much, has other pictures of the same place. So
its images are brought to the mapping camera's view before they are described: of a wider picture a
part is left, and a narrower one is continued by its mirror image, which has the same colours and
textures and no edge that is not there. Things in it stay somewhat larger, which cells forgive, so
that less has to be made up. Both calibrations have to be known.
"""

from dataclasses import dataclass, replace
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
_LOOKED_AT_HW = 32, 32  # pixels by which views are compared
ALL_OF_IT = 0.98
"""Share of a picture beyond which only a border of half a cell is not seen."""
_LARGER = 1.12  # things in a narrower camera's view than in the mapping camera's, at most
_FARTHEST = 2.0  # widths or heights outside of an image, beyond which nothing is mirrored
_LEAST_ZOOM, _MOST_ZOOM = 1.05, 4.0
_MOST_PX = 10_000  # of a sampled image: with what is mirrored, two bytes hold a pixel's row


@dataclass(frozen=True, slots=True)
class VirtualCamera:
    """Turns images of one camera and one size into those of another camera."""

    camera: Camera
    """That would have taken the images: the wanted one, or one that sees a little less."""
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
    shown = shown_share(own, like)
    if shown is None:
        return None
    if shown < ALL_OF_IT:
        like = _nearer(own, like)
    shares = _shown_at(own, like, _shares(size_hw))
    shrunk_hw = _shrunk_hw(own, like, size_hw)
    pixels = np.clip(shares, -_FARTHEST, 1 + _FARTHEST) * shrunk_hw[::-1] - 0.5
    x, y = pixels.astype(np.float32).T.reshape(2, *size_hw)
    at, between = cv2.convertMaps(x, y, cv2.CV_16SC2)
    return VirtualCamera(like, shrunk_hw, np.asarray(at, np.int16), np.asarray(between, np.uint16))


def seen_as(image: Image, own: Camera, like: Camera, *, size_hw: tuple[int, int]) -> Image:
    """An image [H, W, 3] of `own` in the view of `like`, of a size (height, width).

    As it is where `virtual_camera` gives None.
    """
    image_hw = image.shape[0], image.shape[1]
    made = virtual_camera(own, like, image_hw=image_hw, size_hw=size_hw)
    return image if made is None else made.view(image)


def shown_share(own: Camera | None, like: Camera | None) -> float | None:
    """Share of the picture of `like` that `own` sees, in [0, 1].

    None where their views are alike, whatever the sizes of their images are, and where one of them
    is not known.
    """
    if own is None or like is None:
        return None
    shares = _shares(_LOOKED_AT_HW)
    shown_at = _shown_at(own, like, shares)
    if np.abs(shown_at - shares).max() <= _ALIKE:
        return None
    return float(((shown_at >= 0) & (shown_at <= 1)).all(axis=1).mean())


def zoom(own: Camera, like: Camera) -> float:
    """How many times larger than it is described an image of `own` is needed; at least 1.

    If it sees more than `like`, only a part of it is described.
    """
    found = float((_focal_shares(like) / _focal_shares(own)).max())
    return 1.0 if found < _LEAST_ZOOM else min(found, _MOST_ZOOM)


def _nearer(own: Camera, like: Camera) -> Camera:
    """`like`, or where `own` sees less, one that sees less than `like` in the same directions."""
    larger = float(np.clip((_focal_shares(own) / _focal_shares(like)).min(), 1.0, _LARGER))
    fx, skew, cx, _, fy, cy, *_ = like.matrix
    matrix = (fx * larger, skew * larger, cx, 0.0, fy * larger, cy, 0.0, 0.0, 1.0)
    return like if larger == 1 else replace(like, matrix=matrix)


def _focal_shares(camera: Camera) -> Array:
    """Focal lengths [2] in widths and heights of the image."""
    fx, fy = camera.matrix[0], camera.matrix[4]
    return np.array([fx / camera.width_px, fy / camera.height_px])


def _shrunk_hw(own: Camera, like: Camera, size_hw: tuple[int, int]) -> tuple[int, int]:
    """(height, width) to which images are shrunk, so that a pixel of the middle becomes one."""
    wanted = _focal_shares(like) / _focal_shares(own) * size_hw[::-1]
    most = np.minimum([own.width_px, own.height_px], _MOST_PX)
    width, height = np.minimum(np.ceil(wanted), most).astype(int)
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
