"""Points of the world that mapped images show, found by triangulation from their known poses.

Each place keeps the points that its own image shows, in its camera's frame: they stay right when
poses of the map are corrected, and go when their place goes. A point is kept if the views agree on
it (reprojection) and see it from directions that differ (parallax); how well its distance is known
stays with it, so that a pose can be weighted by it.
"""

from collections import deque
from collections.abc import Iterator
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
    seen_by: list[tuple['_View', NDArray[np.int64], NDArray[np.int64]]] = field(
        default_factory=list
    )  # another view, rows here, rows there


@dataclass(frozen=True, slots=True)
class _Sightings:
    """Rays of several views to the same keypoints, in the frame of one of them, R of them."""

    row: NDArray[np.int64]  # [R] keypoint
    ray: Array  # [R, 2] on the plane z = 1 of the view that saw it
    rotation: Array  # [R, 3, 3] from the common frame to that view's
    centre: Array  # [R, 3] of that view, in the common frame

    def chosen(self, keep: NDArray[np.bool_]) -> '_Sightings':
        """Those of a mask [R]."""
        return _Sightings(self.row[keep], self.ray[keep], self.rotation[keep], self.centre[keep])


class LandmarkMaker:
    """Mapped images in, the landmarks of each out, some images later, in the same order."""

    def __init__(self, camera: Camera, features: Features) -> None:
        """camera: of the mapping drive."""
        self.camera = camera
        self.features = features
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
        camera = self.camera.scaled_to(width, height)
        found = self.features.extract(image)
        view = _View(
            pose,
            FeatureRays(camera.normalized(found.points_px), found.descriptors),
            self.features.kept(found, (height, width)),
            camera.focal_px,
            None if depth_m is None else _sampled(depth_m, found.points_px),
        )
        for partner in self._partners(pose):
            here, there = self.features.match(view.features, partner.features)
            view.seen_by.append((partner, here, there))
            partner.seen_by.append((view, there, here))
        self._views.append(view)
        if len(self._views) > _WINDOW:
            yield self._pop()

    def finish(self) -> Iterator[Landmarks]:
        """The landmarks of the last images."""
        while self._views:
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
    points = _midpoints(sightings, len(view.features.rays))
    limit = _REPROJECTION_PX / view.focal_px
    for _ in range(2):  # the second time without the sightings that disagree
        points, _information = _refined(points, sightings)
        error, depth = _reprojected(points, sightings)
        sightings = sightings.chosen((np.linalg.norm(error, axis=1) < limit) & (depth > 0))
    points, information = _refined(points, sightings)
    error, depth = _reprojected(points, sightings)
    bad = (np.linalg.norm(error, axis=1) >= limit) | (depth <= 0)
    views = np.bincount(sightings.row, minlength=len(points))
    spoilt = np.bincount(sightings.row[bad], minlength=len(points)) > 0
    range_m = np.linalg.norm(points, axis=1)
    sigma_m = _sigma_along(points, information) * PIXEL_SIGMA / view.focal_px
    good = (views >= 2) & ~spoilt & (points[:, 2] > 0) & (sigma_m < _RANGE_SIGMA * range_m)
    good &= _parallax(points, sightings) >= _PARALLAX_RAD
    points, sigma_m, good = _with_depth(view, points, sigma_m, good)
    return Landmarks(
        points[good].astype(np.float32),
        sigma_m[good].astype(np.float32),
        view.kept[good],
    )


def _sightings_of(view: _View) -> _Sightings:
    """A view's own rays and those of the views that show the same."""
    own = np.arange(len(view.features.rays))
    rows: list[NDArray[np.int64]] = [own]
    rays, poses = [view.features.rays], [IDENTITY[None]]
    counts = [len(own)]
    for other, here, there in view.seen_by:
        rows.append(here)
        rays.append(other.features.rays[there])
        poses.append(compose(invert(view.pose), other.pose)[None])
        counts.append(len(here))
    view_T_other = np.concatenate(poses)  # [views, 7]
    rotation = np.swapaxes(matrix(view_T_other[:, 3:]), -1, -2)
    return _Sightings(
        np.concatenate(rows),
        np.concatenate(rays),
        np.repeat(rotation, counts, axis=0),
        np.repeat(view_T_other[:, :3], counts, axis=0),
    )


def _directions(sightings: _Sightings) -> Array:
    """Unit vectors [R, 3] of the rays, in the common frame."""
    ray = np.concatenate([sightings.ray, np.ones((len(sightings.ray), 1))], axis=1)
    direction = np.einsum('rji,rj->ri', sightings.rotation, ray)
    return np.asarray(direction / np.linalg.norm(direction, axis=1, keepdims=True))


def _summed(values: Array, rows: NDArray[np.int64], count: int) -> Array:
    """Sum of values [R, ...] by row, [count, ...]."""
    total = np.zeros((count, *values.shape[1:]))
    np.add.at(total, rows, values)
    return total


def _midpoints(sightings: _Sightings, count: int) -> Array:
    """The points [count, 3] nearest to all rays of each keypoint."""
    direction = _directions(sightings)
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]  # [R, 3, 3]
    normal = _summed(across, sightings.row, count) + 1e-9 * np.eye(3)
    right = _summed(np.einsum('rij,rj->ri', across, sightings.centre), sightings.row, count)
    return np.asarray(np.linalg.solve(normal, right[..., None])[..., 0])


def _reprojected(points: Array, sightings: _Sightings) -> tuple[Array, Array]:
    """Errors [R, 2] on the plane z = 1, and depths [R] in the views."""
    seen = _in_views(points, sightings)
    return seen[:, :2] / safe_depth(seen[:, 2:]) - sightings.ray, seen[:, 2]


def _in_views(points: Array, sightings: _Sightings) -> Array:
    relative = points[sightings.row] - sightings.centre
    return np.asarray(np.einsum('rij,rj->ri', sightings.rotation, relative))


def safe_depth(depth: Array) -> Array:
    """Depths by which one may divide."""
    return np.where(np.abs(depth) < 1e-6, 1e-6, depth)


def _refined(points: Array, sightings: _Sightings) -> tuple[Array, Array]:
    """Points [M, 3] of least reprojection error, and their information [M, 3, 3] per ray^2.

    Gauss-Newton, damped a little, for all points at once.
    """
    information: Array = np.zeros((len(points), 3, 3))
    for _ in range(_STEPS):
        seen = _in_views(points, sightings)
        slope = _projection_slope(seen) @ sightings.rotation  # [R, 2, 3]
        error = seen[:, :2] / safe_depth(seen[:, 2:]) - sightings.ray
        information = _summed(np.swapaxes(slope, 1, 2) @ slope, sightings.row, len(points))
        gradient = _summed(np.einsum('rij,ri->rj', slope, error), sightings.row, len(points))
        damping = 1e-6 * np.trace(information, axis1=1, axis2=2)[:, None, None] + 1e-12
        step = np.linalg.solve(information + damping * np.eye(3), gradient[..., None])[..., 0]
        points = points - step
    return points, information


def _projection_slope(seen: Array) -> Array:
    """Derivative [R, 2, 3] of x/z, y/z by points [R, 3]."""
    x, y = seen[:, 0], seen[:, 1]
    z = safe_depth(seen[:, 2])
    slope = np.zeros((len(seen), 2, 3))
    slope[:, 0, 0] = slope[:, 1, 1] = 1 / z
    slope[:, 0, 2], slope[:, 1, 2] = -x / z**2, -y / z**2
    return slope


def _sigma_along(points: Array, information: Array) -> Array:
    """Standard deviation [M] along the ray, per unit of a ray's deviation."""
    direction = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    damping = 1e-9 * np.trace(information, axis1=1, axis2=2)[:, None, None] + 1e-12
    spread = np.linalg.solve(information + damping * np.eye(3), direction[..., None])[..., 0]
    return np.asarray(np.sqrt(np.maximum(np.sum(direction * spread, axis=1), 0)))


def _parallax(points: Array, sightings: _Sightings) -> Array:
    """Largest angle [M] between a point's directions from the view and from the others."""
    towards = points[sightings.row] - sightings.centre
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)
    own = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    sine = np.linalg.norm(np.cross(towards, own[sightings.row]), axis=1)
    largest = np.zeros(len(points))
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
