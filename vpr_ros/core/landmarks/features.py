"""Small distinct patches of an image that are found again from another viewpoint.

The default is SIFT with the root of its histogram (Arandjelovic and Zisserman, Three things
everyone should know, 2012): Euclidean distance then compares histograms by Hellinger's measure.
Kept as bytes, which changes no match that matters and is a quarter of the memory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.image import resize
from vpr_ros.core.types import Image

MOST_PIXELS = 500_000
"""Larger images are shrunk, because time grows with their area and precision hardly does."""
_WHOLE = 65535  # an image's width or height, in two bytes
_STRONGEST = 2000  # features of an image that SIFT keeps
_RATIO = 0.8  # of distances to the best and the next best
_ROOT_SCALE = 512.0  # brings roots of a unit histogram to bytes, as OpenCV does with SIFT itself


@dataclass(frozen=True, slots=True)
class Keypoints:
    """The features of one image."""

    points_px: NDArray[np.float32]  # [M, 2], x to the right, y down, pixel centres at integers
    descriptors: NDArray[np.uint8]  # [M, F]


@dataclass(frozen=True, slots=True)
class FeatureRays:
    """Features and the directions in which a camera sees them."""

    rays: NDArray[np.float64]  # [M, 2] on the plane z = 1
    descriptors: NDArray[np.uint8]  # [M, F]

    def __len__(self) -> int:
        """Number of features, M."""
        return len(self.rays)


class Features(Protocol):
    """A kind of local features."""

    name: str  # kept in the map, so that a query is described in the same way
    descriptor_size: int  # F
    graphs: Mapping[str, bytes]  # ONNX files by name that go with it into the map
    least_inlier_ratio: float  # of matches, below which look-alikes are taken for the place
    shared_error: float  # variance of a pose from many, in terms of what independent ones give

    def extract(self, image: Image) -> Keypoints:
        """Find and describe the features of an RGB image [H, W, 3]."""
        ...

    def match(
        self, first: FeatureRays, second: FeatureRays
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of `first` and of `second` that show the same, each at most once."""
        ...

    def kept(self, found: Keypoints, image_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """What a map keeps of features of an image of (height, width) pixels, [M, F]."""
        ...


class SiftFeatures:
    """OpenCV's SIFT, with roots; see Features."""

    name = 'root-sift'
    descriptor_size = 128
    graphs: Mapping[str, bytes] = MappingProxyType({})
    least_inlier_ratio = 0.0  # the configured one is made for it
    shared_error = 1.0

    def extract(self, image: Image) -> Keypoints:
        """See Features.extract."""
        size_hw = at_most_pixels(image.shape[0], image.shape[1])
        grey = cv2.cvtColor(resize(image, size_hw), cv2.COLOR_RGB2GRAY)
        sift = cv2.SIFT.create(nfeatures=_STRONGEST, contrastThreshold=0.02)  # of this thread
        found, histograms = sift.detectAndCompute(grey, None)
        if not found:
            return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
        scale = np.array(image.shape[1::-1]) / size_hw[::-1]
        points = (np.array([entry.pt for entry in found]) + 0.5) * scale - 0.5
        share = histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-6)
        roots = np.sqrt(share) * _ROOT_SCALE
        return Keypoints(
            points.astype(np.float32), np.clip(np.rint(roots), 0, 255).astype(np.uint8)
        )

    def match(
        self, first: FeatureRays, second: FeatureRays
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Each other's nearest, clearly nearer than the next (Lowe 2004, section 7.1)."""
        if len(first) == 0 or len(second) < 2:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        distance = _squared_distances(first.descriptors, second.descriptors)  # [M, L]
        nearest = np.argmin(distance, axis=1)
        rows = np.arange(len(distance))
        mutual = np.argmin(distance, axis=0)[nearest] == rows
        best = distance[rows, nearest]
        distance[rows, nearest] = np.inf
        clear = best < _RATIO**2 * distance.min(axis=1)
        kept = np.flatnonzero(mutual & clear)
        return kept, nearest[kept]

    def kept(self, found: Keypoints, image_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """See Features.kept: the descriptors."""
        return found.descriptors


class CellFeatures(SiftFeatures):
    """Points that SIFT finds while a map is made, and that a query sees by the cells of its image.

    Cells are found again in other light, where SIFT's descriptors are not. A map keeps of each
    point where its own image shows it, as two shares of the image's size.
    """

    name = 'cells'
    descriptor_size = 4
    shared_error = (
        9.0  # neighbouring cells err together; fitted on a rendered town, not the demo's
    )

    def kept(self, found: Keypoints, image_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """See Features.kept."""
        share = (found.points_px + 0.5) / np.array(image_hw[::-1])
        whole = np.rint(np.clip(share, 0, 1) * _WHOLE).astype('<u2')
        return np.ascontiguousarray(whole).view(np.uint8).reshape(-1, self.descriptor_size)


def at_most_pixels(height: int, width: int) -> tuple[int, int]:
    """The size (height, width) of an image of the same form with MOST_PIXELS, or its own."""
    shrink = min(1.0, math.sqrt(MOST_PIXELS / (height * width)))
    return max(round(height * shrink), 1), max(round(width * shrink), 1)


def shares_of_image(kept: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where CellFeatures saw points [L, 2], as shares of the image's (width, height)."""
    return np.ascontiguousarray(kept).view('<u2').reshape(-1, 2) / _WHOLE


def _squared_distances(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Between all rows of [M, F] and [L, F]: [M, L]."""
    left, right = first.astype(np.float32), second.astype(np.float32)
    squares = np.sum(left**2, axis=1)[:, None] + np.sum(right**2, axis=1)[None]
    return np.asarray(squares - 2 * (left @ right.T), dtype=np.float32)
