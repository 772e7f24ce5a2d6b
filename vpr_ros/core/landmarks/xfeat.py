"""XFeat as features of landmarks, run by onnxruntime; matched one by one, or by LighterGlue.

XFeat (Potje et al., CVPR 2024) finds corners and describes them with a small network. LighterGlue
matches all corners of two images at once by another one, at many times the cost.
vpr_training/export_xfeat.py makes both graphs. A map keeps the graphs that its landmarks came
from, so that a robot needs nothing but the map, and always describes an image as the map's were.
"""

import math
from collections.abc import Mapping

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import opened_session, run_graph
from vpr_ros.core.describing.onnx_file import require_self_contained
from vpr_ros.core.errors import ModelError
from vpr_ros.core.image import resize
from vpr_ros.core.landmarks.features import MOST_PIXELS, FeatureRays, Keypoints, at_most_pixels
from vpr_ros.core.types import Image

NETWORK_NAME, MATCHER_NAME = 'xfeat.onnx', 'lighterglue.onnx'
NETWORK_INPUTS, NETWORK_OUTPUTS = ('grey',), ('descriptors', 'scores', 'reliability')
MATCHER_INPUTS = ('first_points', 'first_descriptors', 'second_points', 'second_descriptors')
MATCHER_OUTPUTS = ('log_probability',)

_LEAST_SCORE = 0.05  # of a corner; this, the neighbourhood and the cosine are the authors'
_NEIGHBOURHOOD_PX = 5  # in which a corner has the highest score
_LEAST_COSINE = 0.82  # of two descriptors that show the same
_RATIO = 0.95  # of distances to the best and the next best
_LEAST_PROBABILITY = 0.1  # of a match, by LighterGlue
_MULTIPLE_PX = 32  # of the sides of the network's input
_BYTE_SCALE, _BYTE_ZERO = 256.0, 128.0  # for the numbers of unit descriptors, as bytes
_RAY_SCALE = 1.2
"""From rays to LighterGlue's points, for which half of an image's longer side is one.

Of a lens of 80 degrees; only differences of points count, and others differ by less than images
that it was trained on.
"""

Matched = tuple[NDArray[np.int64], NDArray[np.int64]]


class XFeatFeatures:
    """XFeat; see Features. With LighterGlue's graph that matches, else mutual nearest do."""

    descriptor_size = 64
    least_inlier_ratio = 0.55  # of wrong places in the rendered town 0.4 to 0.55 agreed
    shared_error = 2.25  # neighbours err together; fitted on the rendered town by day and at dusk

    def __init__(self, graphs: Mapping[str, bytes]) -> None:
        """graphs: ONNX files by their names, NETWORK_NAME and perhaps MATCHER_NAME.

        Raises ModelError.
        """
        self.graphs: Mapping[str, bytes] = dict(graphs)
        self.name = 'xfeat-lighterglue' if MATCHER_NAME in graphs else 'xfeat'
        # LighterGlue's time grows with the square.
        self._count = 1000 if MATCHER_NAME in graphs else 2000
        self._network = _session(graphs, NETWORK_NAME, NETWORK_INPUTS, NETWORK_OUTPUTS)
        self._matcher = (
            _session(graphs, MATCHER_NAME, MATCHER_INPUTS, MATCHER_OUTPUTS)
            if MATCHER_NAME in graphs
            else None
        )

    def extract(self, image: Image) -> Keypoints:
        """See Features.extract."""
        size_hw = _working_size(image.shape[0], image.shape[1])
        descriptors, scores, reliability = self._maps(resize(image, size_hw))
        corners = _corners(scores[: size_hw[0], : size_hw[1]])
        in_cells = _in_cells(corners, scores.shape, reliability.shape[1:])
        worth = scores[corners[:, 1], corners[:, 0]] * _sampled(reliability, in_cells)[:, 0]
        best = np.argsort(-worth, kind='stable')[: self._count]
        scale = np.array(image.shape[1::-1]) / size_hw[::-1]
        points = (_centred(scores, corners[best]) + 0.5) * scale - 0.5
        return Keypoints(
            points.astype(np.float32), _as_bytes(_sampled(descriptors, in_cells[best]))
        )

    def match(self, first: FeatureRays, second: FeatureRays) -> Matched:
        """See Features.match."""
        if len(first) == 0 or len(second) < 2:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        if self._matcher is None:
            return _clear_nearest(_as_units(first.descriptors) @ _as_units(second.descriptors).T)
        given = [array for seen in (first, second) for array in _matcher_input(seen)]
        (table,) = run_graph(
            self._matcher,
            MATCHER_OUTPUTS,
            dict(zip(MATCHER_INPUTS, given, strict=True)),
            source=MATCHER_NAME,
        )
        return _mutual(np.asarray(table[0]), math.log(_LEAST_PROBABILITY))

    def kept(self, found: Keypoints, image_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """See Features.kept: the descriptors."""
        return found.descriptors

    def _maps(
        self, image: Image
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Descriptors [64, h, w], scores [H, W] and reliability [1, h, w] of a padded image."""
        grey = image.mean(axis=2, dtype=np.float32)
        below, right = (-side % _MULTIPLE_PX for side in grey.shape)
        padded = cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE)
        descriptors, scores, reliability = run_graph(
            self._network, NETWORK_OUTPUTS, {'grey': padded[None, None]}, source=NETWORK_NAME
        )
        return descriptors[0], scores[0], reliability[0]


def _session(
    graphs: Mapping[str, bytes],
    name: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> ort.InferenceSession:
    if name not in graphs:
        raise ModelError(f'no {name} among {", ".join(graphs) or "no graphs"}')
    require_self_contained(graphs[name], source=name)
    session = opened_session(graphs[name], source=name)
    found = [
        tuple(entry.name for entry in side()) for side in (session.get_inputs, session.get_outputs)
    ]
    if found != [inputs, outputs]:
        raise ModelError(
            f'{name}: takes {found[0]} and gives {found[1]}, expected {inputs} and {outputs}; '
            'make it with vpr_training.export_xfeat'
        )
    return session


def _working_size(height: int, width: int) -> tuple[int, int]:
    """The size (height, width) in which an image is looked at.

    Small images are doubled, for corners are told apart by cells of eight pixels.
    """
    if 4 * height * width <= MOST_PIXELS:
        return 2 * height, 2 * width
    return at_most_pixels(height, width)


def _corners(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Pixels [M, 2] (x, y) whose score is the highest around."""
    around = np.ones((_NEIGHBOURHOOD_PX, _NEIGHBOURHOOD_PX), np.uint8)
    highest = cv2.dilate(scores, around)
    row, column = np.nonzero((scores == highest) & (scores > _LEAST_SCORE))
    return np.stack([column, row], axis=1)


def _centred(scores: NDArray[np.float32], corners: NDArray[np.int64]) -> NDArray[np.float64]:
    """Corners [M, 2] moved to the centre of the scores of the pixels around them."""
    height, width = scores.shape
    column, row = np.clip(corners, 1, [width - 2, height - 2]).T
    steps = np.arange(-1, 2)
    around = scores[row[:, None, None] + steps[:, None], column[:, None, None] + steps]
    across, down = around.sum(axis=1) @ steps, around.sum(axis=2) @ steps
    shift = np.stack([across, down], axis=1) / around.sum(axis=(1, 2))[:, None]
    return np.asarray(np.stack([column, row], axis=1) + shift)


def _in_cells(
    corners: NDArray[np.int64], size_hw: tuple[int, ...], cells_hw: tuple[int, ...]
) -> NDArray[np.float64]:
    """Where pixels [M, 2] lie on a map of cells, as the network was trained to be read."""
    cells, last = np.array(cells_hw[::-1]), np.array(size_hw[::-1]) - 1
    return np.asarray(corners * (cells / last) - 0.5)


def _sampled(maps: NDArray[np.float32], where: NDArray[np.float64]) -> NDArray[np.float32]:
    """Maps [C, h, w] between their pixels, at (x, y) [M, 2]: [M, C]."""
    channels, height, width = maps.shape
    rows = np.ascontiguousarray(maps.reshape(channels, -1).T)  # [h w, C]
    inside = np.clip(where, 0, [width - 1, height - 1])
    corner = np.minimum(inside.astype(np.int64), [width - 2, height - 2])
    (right, below), first = (inside - corner).astype(np.float32).T, corner @ [1, width]
    right, below = right[:, None], below[:, None]
    above = rows[first] * (1 - right) + rows[first + 1] * right
    beneath = rows[first + width] * (1 - right) + rows[first + width + 1] * right
    return np.asarray(above * (1 - below) + beneath * below, dtype=np.float32)


def _as_bytes(descriptors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Descriptors [M, 64] of any length, as bytes of their directions."""
    norm = np.linalg.norm(descriptors, axis=1, keepdims=True)
    scaled = descriptors / np.maximum(norm, 1e-6) * _BYTE_SCALE + _BYTE_ZERO
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def _as_units(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptors [M, 64] from bytes, of unit norm."""
    centred = descriptors.astype(np.float32) - np.float32(_BYTE_ZERO)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(norm, 1e-6), dtype=np.float32)


def _matcher_input(seen: FeatureRays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """LighterGlue's points [1, M, 2] and descriptors [1, M, 64]."""
    points = (seen.rays * _RAY_SCALE).astype(np.float32)
    return points[None], _as_units(seen.descriptors)[None]


def _mutual(table: NDArray[np.float32], least: float) -> Matched:
    """Rows and columns of [M, L] that are each other's largest, above `least`."""
    nearest = np.argmax(table, axis=1)
    rows = np.arange(len(table))
    mutual = np.argmax(table, axis=0)[nearest] == rows
    kept = np.flatnonzero(mutual & (table[rows, nearest] > least))
    return kept, nearest[kept]


def _clear_nearest(cosine: NDArray[np.float32]) -> Matched:
    """Each other's nearest, clearly nearer than the next, of cosines [M, L]."""
    rows, columns = _mutual(cosine, _LEAST_COSINE)
    chosen = cosine[rows]
    best = chosen[np.arange(len(rows)), columns]
    chosen[np.arange(len(rows)), columns] = -1.0
    # Squared distances, halved.
    clear = 1 - best < _RATIO**2 * (1 - chosen.max(axis=1, initial=-1.0))
    return rows[clear], columns[clear]
