"""Several cameras on one robot, all on one map.

A belief is about places as the robot's first camera took them. Another camera, from the same spot,
sees what some other place shows, taken where the robot once looked that way. Which one is a matter
of geometry alone and is found once: a place's pose, from the first camera to the robot to the
other camera, and the mapped place nearest to that view.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.geometry import angle_between, compose, invert, rotate
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.positions import distinct
from vpr_ros.core.types import Poses
from vpr_ros.core.virtual_camera import VirtualCamera, virtual_camera, zoom

_OPTICAL_AXIS = np.array([0.0, 0.0, 1.0])
_SAME_VIEW_RAD = np.radians(30.0)
_AT_ONCE = (
    64  # neighbouring places whose poses are turned together; they cost little more than one
)
_EXHAUSTIVE = 50_000  # places up to which all are compared with all
_PROBES = 8


@dataclass(frozen=True, slots=True)
class MountedCamera:
    """A camera on the robot."""

    base_T_camera: Poses | None = None  # [7]; None: as the mapping camera was mounted
    calibration: Camera | None = None  # None: the mapping camera's


class Rig:
    """The robot's cameras and what each of them sees of a map."""

    def __init__(
        self, place_map: PlaceMap, cameras: Sequence[MountedCamera], *, radius_m: float
    ) -> None:
        """radius_m: how far a place may lie from where another camera is; it may be changed."""
        self._map = place_map
        self.radius_m = radius_m
        self._seen: dict[tuple[bytes, bytes, float], NDArray[np.int64] | None] = {}
        self._bases: dict[bytes, Poses] = {}  # [N, 7], by mounting; rows of zeros: not known yet
        self.cameras = list(cameras)

    def mounting(self, camera: int) -> Poses:
        """base_T_camera [7] of a camera; raises ConfigError where it is not known."""
        found = self.cameras[camera].base_T_camera
        if found is not None:
            return found
        if camera:
            raise ConfigError(
                f'camera {camera + 1}: its mounting is not known; set the parameter '
                'base_T_camera, or publish the mounting on tf'
            )
        return self._map.base_T_camera

    def base_poses(self, camera: int, places: NDArray[np.int64]) -> Poses:
        """map_T_base [K, 7] of this robot where a camera is where places [K] were taken.

        They are kept, because frame after frame asks for the same ones.
        """
        mounting = self.mounting(camera)
        key = mounting.tobytes()
        if key not in self._bases:
            self._bases[key] = np.zeros((len(self._map), 7))  # takes memory where it is written
        known = self._bases[key]
        found = known.take(places, axis=0)
        if len(new := places[~found[:, 3:].any(axis=1)]):  # not asked for yet
            beside = distinct(new // _AT_ONCE)[:, None] * _AT_ONCE + np.arange(_AT_ONCE)
            rows = beside[beside < len(known)]
            known[rows] = self._map.base_poses(rows, base_T_camera=mounting)
            found = known.take(places, axis=0)
        return found

    def calibration(self, camera: int) -> Camera | None:
        """A camera's own calibration, else the mapping camera's."""
        return self.cameras[camera].calibration or self._map.header.camera

    def view(
        self, camera: int, *, image_hw: tuple[int, int], size_hw: tuple[int, int]
    ) -> VirtualCamera | None:
        """What gives a camera's images the view of the mapping camera; None: they are taken as is.

        None where the views are alike or not known. image_hw, size_hw: see `virtual_camera`.
        """
        own, like = self.cameras[camera].calibration, self._map.header.camera
        if own is None or like is None:
            return None
        return virtual_camera(own, like, image_hw=image_hw, size_hw=size_hw)

    @property
    def zoom(self) -> float:
        """How many times larger than they are described images are needed; at least 1."""
        like = self._map.header.camera
        known = [each.calibration for each in self.cameras if each.calibration is not None]
        return 1.0 if like is None else max((zoom(own, like) for own in known), default=1.0)

    def places_seen(self, camera: int) -> NDArray[np.int64] | None:
        """The place that a camera sees at each place [N]; None for the place itself.

        Raises ConfigError for a camera of which the map shows nothing.
        """
        if camera == 0:
            return None
        first, other = self.mounting(0), self.mounting(camera)
        key = first.tobytes(), other.tobytes(), self.radius_m
        if key not in self._seen:
            self._seen[key] = self._compared(first, other)
        found = self._seen[key]
        if found is not None and not (found >= 0).any():
            raise ConfigError(
                f'camera {camera + 1}: no place on the map was seen in its viewing '
                'direction; leave this camera out, or map the route in the other direction, too'
            )
        return found

    def _compared(self, first: Poses, other: Poses) -> NDArray[np.int64] | None:
        if looks_alike(first, other) or not self._map.header.has_heading:
            return None
        poses = np.asarray(self._map.poses)
        return places_seen(poses, first, other, radius_m=self.radius_m)


def looks_alike(first: Poses, other: Poses) -> bool:
    """Whether two mountings [7] look the same way, so that both cameras see the same places."""
    turned: NDArray[np.float64] = angle_between(first[3:], other[3:])
    return bool(turned <= _SAME_VIEW_RAD)


def places_seen(poses: Poses, first: Poses, other: Poses, *, radius_m: float) -> NDArray[np.int64]:
    """For each place, the place that another camera sees where the first one sees this; -1: none.

    poses: [N, 7] map_T_camera of the places; first, other: [7] base_T_camera; radius_m: how far
    the place may lie from where the other camera is.
    """
    sought = compose(poses, compose(invert(first), other))  # [N, 7]
    centre = poses[:, :3].mean(axis=0)
    nearest = _nearest(_views(poses, centre, radius_m), _views(sought, centre, radius_m))
    apart_m = np.linalg.norm(poses[nearest, :3] - sought[:, :3], axis=1)
    turned = angle_between(poses[nearest, 3:], sought[:, 3:])
    return np.where((apart_m <= radius_m) & (turned <= _SAME_VIEW_RAD), nearest, -1)


def _views(poses: Poses, centre: NDArray[np.float64], radius_m: float) -> NDArray[np.float32]:
    """Points [N, 6] that are near each other where positions and optical axes are."""
    axes = rotate(poses[:, 3:], np.broadcast_to(_OPTICAL_AXIS, (len(poses), 3)))
    views = np.concatenate([(poses[:, :3] - centre) / radius_m, axes / np.sin(_SAME_VIEW_RAD)], 1)
    return np.ascontiguousarray(views, dtype=np.float32)


def _nearest(known: NDArray[np.float32], sought: NDArray[np.float32]) -> NDArray[np.int64]:
    """Row of `known` [N, 6] nearest to each of `sought` [N, 6]."""
    if len(known) <= _EXHAUSTIVE:
        _, found = faiss.knn(sought, known, 1)
        return np.asarray(found[:, 0], dtype=np.int64)
    size = known.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(size), size, int(len(known) ** 0.5))
    index.train(known[:: max(1, len(known) // _EXHAUSTIVE)])
    index.add(known)
    index.nprobe = _PROBES
    _, found = index.search(sought, 1)
    return np.asarray(found[:, 0], dtype=np.int64)
