"""Points of the world that mapped images show, found by triangulation from their known poses.

Each place keeps the points that its own image shows, in its camera's frame: they stay right when
poses of the map are corrected, and go when their place goes. A point is kept if the views agree on
it (reprojection) and see it from directions that differ (parallax); how well its distance is known
stays with it, so that a pose can be weighted by it.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import VprError
from vpr_ros.core.geometry import IDENTITY, compose, invert, matrix
from vpr_ros.core.landmarks.features import FeatureRays, Features
from vpr_ros.core.types import Image, Poses

Array = NDArray[np.float64]

PIXEL_SIGMA = 0.7
"""Standard deviation of where a feature is found, in pixels of the image it was found in."""

DEPTH_SIGMA_M, DEPTH_SIGMA_PER_M = 0.005, 0.003
"""Of a depth camera at z metres: the first plus the second times z^2, as stereo has it."""
_DEPTH_STEP = 0.05  # change between neighbouring pixels, as a share, from which it is an edge

_PARTNERS = 2  # earlier views that a view is matched with; as many later ones come to it
_BASELINE_M = 0.25  # between partners: nearer views show nothing new
_WINDOW = 40  # views held back, of a camera that moves slowly
_REPROJECTION_PX = 2.5
_PARALLAX_RAD = np.radians(0.5)
_RANGE_SIGMA = 0.2  # of a landmark's distance, above which it says nothing about position
_STEPS = 4


@dataclass(frozen=True, slots=True)
class Landmarks:
    """What one place's image shows, L points."""

    points_m: NDArray[np.float32]  # [L, 3] in the place's optical frame
    sigma_m: NDArray[np.float32]  # [L] standard deviation along the ray
    descriptors: NDArray[np.uint8]  # [L, F]

    def __len__(self) -> int:
        """Number of landmarks, L."""
        return len(self.points_m)

    def seen(self) -> FeatureRays:
        """The landmarks as the place's own camera sees them."""
        points = self.points_m.astype(np.float64)
        return FeatureRays(points[:, :2] / points[:, 2:], self.descriptors)


@dataclass(frozen=True, slots=True)
class _View:
    """A mapped image's features, and where other views show the same."""

    pose: Poses  # [7] map_T_camera
    features: FeatureRays  # M of them
    kept: NDArray[np.uint8]  # [M, F], what the map keeps of them
    focal_px: float
    depth_m: Array | None = None  # [M] along z, NaN where not measured
    seen_by: list['_Pair'] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Another view, and which features of it show the same."""

    other: _View
    matched: Future[tuple[NDArray[np.int64], NDArray[np.int64]]]  # features of both, in pairs
    is_first: bool  # whether this view's are the first of the two

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Features here, and there; waits until they are known."""
        first, second = self.matched.result()
        return (first, second) if self.is_first else (second, first)


@dataclass(frozen=True, slots=True)
class _Sightings:
    """Rays of several views to the same keypoints, in the frame of one of them, R of them."""

    row: NDArray[np.int64]  # [R] keypoint
    ray: Array  # [2, R] on the plane z = 1 of the view that saw it
    rotation: Array  # [3, 3, R] from the common frame to that view's
    centre: Array  # [3, R] of that view, in the common frame

    def chosen(self, keep: NDArray[np.bool_]) -> '_Sightings':
        """Those of a mask [R]."""
        return _Sightings(
            self.row[keep], self.ray[:, keep], self.rotation[:, :, keep], self.centre[:, keep]
        )


class LandmarkMaker:
    """Mapped images in, the landmarks of each out, some images later, in the same order.

    Features are found and matched by threads of its own, which go when it goes: OpenCV and numpy
    compute beside Python.
    """

    def __init__(self, camera: Camera, features: Features, *, at_once: int = 1) -> None:
        """camera: of the mapping drive; at_once: images in which features are found at once."""
        self.camera = camera
        self.features = features
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix='landmarks')
        self._coming: deque[Future[_View]] = deque()
        self._views: deque[_View] = deque()

    def add(
        self, image: Image, pose: Poses, *, depth_m: NDArray[np.float32] | None = None
    ) -> Iterator[Landmarks]:
        """Take an image with map_T_camera [7]; give what is complete by now.

        depth_m: [H, W] along z, aligned with the image, NaN or 0 where not measured; distances
        then come from it where it has them. Raises VprError for an image of another camera, or a
        depth image of another size.
        """
        height, width = image.shape[:2]
        if depth_m is not None and depth_m.shape != (height, width):
            raise VprError(
                f'the depth image has {depth_m.shape[1]}x{depth_m.shape[0]} pixels and its image '
                f'{width}x{height}, expected two aligned images of one size'
            )
        try:
            camera = self.camera.scaled_to(width, height)
        except VprError as error:
            raise VprError(
                f'{error}; landmarks need the calibration of these images: record their '
                'camera_info, or map with --landmarks none'
            ) from error
        self._coming.append(self._pool.submit(self._view, image, pose, camera, depth_m))
        if len(self._coming) > self._at_once:
            yield from self._take(self._coming.popleft().result())

    def finish(self) -> Iterator[Landmarks]:
        """The landmarks of the last images."""
        while self._coming:
            yield from self._take(self._coming.popleft().result())
        while self._views:
            yield self._pop()

    def _view(
        self, image: Image, pose: Poses, camera: Camera, depth_m: NDArray[np.float32] | None
    ) -> _View:
        found = self.features.extract(image)
        return _View(
            pose,
            FeatureRays(camera.normalized(found.points_px), found.descriptors),
            self.features.kept(found, (image.shape[0], image.shape[1])),
            camera.focal_px,
            None if depth_m is None else _sampled(depth_m, found.points_px),
        )

    def _take(self, view: _View) -> Iterator[Landmarks]:
        """Have the next view matched with earlier ones; give what is complete by now."""
        for partner in self._partners(view.pose):
            matched = self._pool.submit(self.features.match, view.features, partner.features)
            view.seen_by.append(_Pair(partner, matched, is_first=True))
            partner.seen_by.append(_Pair(view, matched, is_first=False))
        self._views.append(view)
        if len(self._views) > _WINDOW:
            yield self._pop()

    def _partners(self, pose: Poses) -> list[_View]:
        """Earlier views, the latest first, each some way from the one before."""
        chosen: list[_View] = []
        for view in reversed(self._views):
            if np.linalg.norm(view.pose[:3] - pose[:3]) >= _BASELINE_M:
                chosen.append(view)
                pose = view.pose
            if len(chosen) == _PARTNERS:
                break
        return chosen

    def _pop(self) -> Landmarks:
        view = self._views.popleft()
        landmarks = _triangulated(view)
        view.seen_by.clear()  # views refer to each other
        return landmarks


def no_landmarks(descriptor_size: int) -> Landmarks:
    """The empty landmarks of an image that shows none."""
    return Landmarks(
        np.empty((0, 3), np.float32),
        np.empty(0, np.float32),
        np.empty((0, descriptor_size), np.uint8),
    )


def _triangulated(view: _View) -> Landmarks:
    """The points on which at least two views agree, or whose depth was measured."""
    sightings = _sightings_of(view)
    points = _midpoints(sightings, len(view.features.rays))  # [3, M]
    limit = _REPROJECTION_PX / view.focal_px
    for _ in range(2):  # the second time without the sightings that disagree
        points, _information = _refined(points, sightings)
        error, depth = _reprojected(points, sightings)
        sightings = sightings.chosen((_lengths(error) < limit) & (depth > 0))
    points, information = _refined(points, sightings)
    error, depth = _reprojected(points, sightings)
    bad = (_lengths(error) >= limit) | (depth <= 0)
    views = np.bincount(sightings.row, minlength=points.shape[1])
    spoilt = np.bincount(sightings.row[bad], minlength=points.shape[1]) > 0
    range_m = _lengths(points)
    sigma_m = _sigma_along(points, information) * PIXEL_SIGMA / view.focal_px
    good = (views >= 2) & ~spoilt & (points[2] > 0) & (sigma_m < _RANGE_SIGMA * range_m)
    good &= _parallax(points, sightings) >= _PARALLAX_RAD
    placed, sigma_m, good = _with_depth(view, points.T, sigma_m, good)
    return Landmarks(
        placed[good].astype(np.float32),
        sigma_m[good].astype(np.float32),
        view.kept[good],
    )


def _sightings_of(view: _View) -> _Sightings:
    """A view's own rays and those of the views that show the same."""
    own = np.arange(len(view.features.rays))
    rows: list[NDArray[np.int64]] = [own]
    rays, poses = [view.features.rays], [IDENTITY[None]]
    counts = [len(own)]
    for pair in view.seen_by:
        here, there = pair.rows()
        rows.append(here)
        rays.append(pair.other.features.rays[there])
        poses.append(compose(invert(view.pose), pair.other.pose)[None])
        counts.append(len(here))
    view_T_other = np.concatenate(poses)  # [views, 7]
    rotation = matrix(view_T_other[:, 3:]).T  # of each view, turned back: [3, 3, views]
    return _Sightings(
        np.concatenate(rows),
        np.ascontiguousarray(np.concatenate(rays).T),
        np.repeat(rotation, counts, axis=2),
        np.repeat(view_T_other[:, :3].T, counts, axis=1),
    )


def _lengths(vectors: Array) -> Array:
    """Of vectors [n, R], [R]."""
    return np.asarray(np.sqrt((vectors * vectors).sum(axis=0)))


def _summed(values: Array, rows: NDArray[np.int64], count: int) -> Array:
    """Sum of values [n, R] by row, [n, count]."""
    return np.array([np.bincount(rows, one, minlength=count) for one in values])


# The upper triangle of a symmetric matrix [3, 3], as [6, ...].
_UPPER = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 1, 2, 2])
_DIAGONAL = np.array([1.0, 0, 0, 1, 0, 1])[:, None]


def _solved(upper: Array, right: Array) -> Array:
    """The solutions [3, M] of symmetric equations [6, M], by Cramer's rule."""
    a, b, c, d, e, f = upper
    x, y, z = right
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    dd, ee, ff = a * f - c * c, b * c - a * e, a * d - b * b
    found = np.array(
        [aa * x + bb * y + cc * z, bb * x + dd * y + ee * z, cc * x + ee * y + ff * z]
    )
    return np.asarray(found / (a * aa + b * bb + c * cc))


def _midpoints(sightings: _Sightings, count: int) -> Array:
    """The points [3, count] nearest to all rays of each keypoint."""
    ray = np.concatenate([sightings.ray, np.ones((1, len(sightings.row)))])
    direction = (sightings.rotation * ray[:, None]).sum(axis=0)  # in the common frame
    direction /= _lengths(direction)
    across = _DIAGONAL - direction[_UPPER[0]] * direction[_UPPER[1]]  # [6, R]
    normal = _summed(across, sightings.row, count) + 1e-9 * _DIAGONAL
    away = sightings.centre - direction * (direction * sightings.centre).sum(axis=0)
    return _solved(normal, _summed(away, sightings.row, count))


def _reprojected(points: Array, sightings: _Sightings) -> tuple[Array, Array]:
    """Errors [2, R] on the plane z = 1, and depths [R] in the views."""
    seen = _in_views(points, sightings)
    return seen[:2] / safe_depth(seen[2]) - sightings.ray, seen[2]


def _in_views(points: Array, sightings: _Sightings) -> Array:
    """Where each view has the points [3, M] that it saw, [3, R]."""
    relative = points[:, sightings.row] - sightings.centre
    return np.asarray((sightings.rotation * relative).sum(axis=1))


def safe_depth(depth: Array) -> Array:
    """Depths [...], of which those near zero are 1e-6, so that one may divide by them."""
    return np.where(np.abs(depth) < 1e-6, 1e-6, depth)


def _refined(points: Array, sightings: _Sightings) -> tuple[Array, Array]:
    """Points [3, M] of least reprojection error, and their information [6, M] per ray^2.

    Gauss-Newton, damped a little, for all points at once.
    """
    rows, count = sightings.row, points.shape[1]
    information: Array = np.zeros((6, count))
    for _ in range(_STEPS):
        seen = _in_views(points, sightings)
        inverse = 1 / safe_depth(seen[2])
        u, v = seen[0] * inverse, seen[1] * inverse
        # Derivatives [3, R] of u and v by the point.
        by_u = (sightings.rotation[0] - u * sightings.rotation[2]) * inverse
        by_v = (sightings.rotation[1] - v * sightings.rotation[2]) * inverse
        first, second = _UPPER
        information = _summed(by_u[first] * by_u[second] + by_v[first] * by_v[second], rows, count)
        error = u - sightings.ray[0], v - sightings.ray[1]
        gradient = _summed(by_u * error[0] + by_v * error[1], rows, count)
        points = points - _solved(_damped(information, 1e-6), gradient)
    return points, information


def _damped(information: Array, share: float) -> Array:
    """Information [6, M] with a share of its trace more on the diagonal."""
    trace = information[0] + information[3] + information[5]
    return np.asarray(information + (share * trace + 1e-12) * _DIAGONAL)


def _sigma_along(points: Array, information: Array) -> Array:
    """Standard deviation [M] along the ray, per unit of a ray's deviation."""
    direction = points / np.maximum(_lengths(points), 1e-9)
    spread = _solved(_damped(information, 1e-9), direction)
    return np.asarray(np.sqrt(np.maximum((direction * spread).sum(axis=0), 0)))


def _parallax(points: Array, sightings: _Sightings) -> Array:
    """Largest angle [M] between a point's directions from the view and from the others."""
    towards = points[:, sightings.row] - sightings.centre
    towards /= np.maximum(_lengths(towards), 1e-9)
    own = (points / np.maximum(_lengths(points), 1e-9))[:, sightings.row]
    sine = _lengths(np.cross(towards, own, axis=0))
    largest = np.zeros(points.shape[1])
    np.maximum.at(largest, sightings.row, np.arcsin(np.minimum(sine, 1)))
    return largest


def _sampled(depth_m: NDArray[np.float32], points_px: NDArray[np.float32]) -> Array:
    """Depth [M] at pixels [M, 2], NaN where there is none, or a step beside it."""
    column, row = np.rint(points_px).astype(int).reshape(-1, 2).T
    height, width = depth_m.shape
    steps = np.arange(-1, 2)
    rows = np.clip(row[:, None] + steps, 0, height - 1)[:, :, None]
    columns = np.clip(column[:, None] + steps, 0, width - 1)[:, None, :]
    around = depth_m[rows, columns].reshape(-1, 9).astype(np.float64)  # [M, 9]
    known = np.isfinite(around).all(axis=1) & (around > 0).all(axis=1)
    smooth = known & (np.ptp(around, axis=1) < _DEPTH_STEP * around[:, 4])
    return np.where(smooth, around[:, 4], np.nan)


def _with_depth(
    view: _View, points: Array, sigma_m: Array, good: NDArray[np.bool_]
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Points placed by measured depth, where that is known better than by triangulation."""
    if view.depth_m is None:
        return points, sigma_m, good
    depth = np.nan_to_num(view.depth_m)
    measured = (
        np.concatenate([view.features.rays, np.ones((len(depth), 1))], axis=1) * depth[:, None]
    )
    measured_sigma = DEPTH_SIGMA_M + DEPTH_SIGMA_PER_M * depth**2
    take = (depth > 0) & (~good | (measured_sigma < sigma_m))
    return (
        np.where(take[:, None], measured, points),
        np.where(take, measured_sigma, sigma_m),
        good | take,
    )
