"""How much a camera sees, and along which ray each of its pixels looks.

Descriptors compare whole pictures, so a camera that sees half as much as the one that made the
map finds fewer places. Nothing else about the lens matters to them. Landmarks need the whole
calibration: rays of pixels, with the distortion taken out.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import VprError
from vpr_ros.core.plurals import counted

# How many distortion coefficients each model of sensor_msgs/distortion_models.hpp has.
_FISHEYE = {'equidistant': (4,)}
_POLYNOMIAL = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), '': ()}

_RECTIFIED = re.compile(r'(^|_)rect(ified)?(_|$)')  # not of `direct` or `corrected`

_LEAST_FOCAL = 0.05  # of the width: 169 degrees; drivers without a calibration say 1 pixel

_EXACTLY = cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-6
_EXACT_PX = 1e-3
_NEWTON_STEPS, _NEWTON_STEP = 10, 0.5  # how many, and the longest along an axis
_FARTHEST_RAY = 10.0  # on the plane z = 1: 84 degrees from the axis
_SAME_RAY = 0.05  # of a ray's distance from the axis, by which rounding may move it

WORTH_SAYING = 1.25
"""Ratio of two fields of view from which the operator should know."""


def field_of_view_deg(width_px: int, focal_px: float) -> float | None:
    """Horizontal field of view in degrees of a pinhole camera; None for an unset calibration.

    width_px: of the image; focal_px: K[0] of sensor_msgs/CameraInfo, 0 or 1 if not calibrated.
    """
    if not (width_px > 0 and math.isfinite(focal_px) and focal_px >= _LEAST_FOCAL * width_px):
        return None
    return math.degrees(2 * math.atan(width_px / (2 * focal_px)))


def differs(first_deg: float, second_deg: float) -> bool:
    """Whether two fields of view are so different that recall will suffer."""
    return max(first_deg, second_deg) > WORTH_SAYING * min(first_deg, second_deg)


def camera_info_topic(image_topic: str) -> str:
    """The topic beside an image topic where ROS's drivers publish the calibration."""
    base = image_topic.removesuffix('/compressed')
    parent, slash, _ = base.rpartition('/')
    return f'{parent}{slash}camera_info'


@dataclass(frozen=True, slots=True)
class Camera:
    """How a camera projects, in the terms of sensor_msgs/CameraInfo."""

    width_px: int
    height_px: int
    matrix: tuple[float, ...]  # [9], row by row: fx 0 cx, 0 fy cy, 0 0 1, in pixels
    distortion_model: str = 'plumb_bob'  # or one of the others of _FISHEYE and _POLYNOMIAL
    distortion: tuple[float, ...] = ()

    @classmethod
    def checked(cls, found: Mapping[str, Any]) -> 'Camera':
        """The camera from a mapping as `as_mapping` gives it; raises VprError."""
        try:
            camera = camera_calibration(
                found['width_px'],
                found['height_px'],
                matrix=found['matrix'],
                distortion_model=found['distortion_model'],
                distortion=found['distortion'],
            ).camera
        except (KeyError, TypeError, ValueError) as error:
            raise VprError(f'camera: {found}, expected a calibration') from error
        if camera is None:
            raise VprError(f'camera: {found}, expected a calibration')
        return camera

    def as_mapping(self) -> dict[str, Any]:
        """Plain numbers, texts and lists."""
        lists = {'matrix': list(self.matrix), 'distortion': list(self.distortion)}
        return asdict(self) | lists

    @property
    def focal_px(self) -> float:
        """Geometric mean of both focal lengths, in pixels."""
        return math.sqrt(self.matrix[0] * self.matrix[4])

    def scaled_to(self, width_px: int, height_px: int) -> 'Camera':
        """The same camera for images enlarged or shrunk to another size.

        Raises VprError where the aspect differs, because then it is another camera or a crop.
        """
        across, down = width_px / self.width_px, height_px / self.height_px
        if abs(across * self.height_px - height_px) > 1.0 + across:
            raise VprError(
                f'the image has {width_px}x{height_px} pixels, but the calibration is for '
                f'{self.width_px}x{self.height_px}'
            )
        fx, skew, cx, _, fy, cy, *_ = self.matrix
        centre = (cx + 0.5) * across - 0.5, (cy + 0.5) * down - 0.5
        matrix = (fx * across, skew * across, centre[0], 0.0, fy * down, centre[1], 0.0, 0.0, 1.0)
        return replace(self, width_px=width_px, height_px=height_px, matrix=matrix)

    @property
    def _lens(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix [3, 3] and coefficients, as OpenCV takes them."""
        return np.array(self.matrix).reshape(3, 3), np.array(self.distortion or (0.0,) * 4)

    def normalized(self, points_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """Where the rays of pixels [M, 2] meet the plane z = 1, [M, 2], distortion removed."""
        if len(points_px) == 0:
            return np.empty((0, 2))
        points = np.asarray(points_px, dtype=np.float64)[:, None]
        matrix, distortion = self._lens
        if self.distortion_model in _FISHEYE:
            rays = cv2.fisheye.undistortPoints(points, matrix, distortion)
        else:  # OpenCV's usual five steps are off by tens of pixels in the corners of a wide lens
            same = np.eye(3)
            rays = cv2.undistortPointsIter(points, matrix, distortion, same, same, _EXACTLY)
            if distortion.any():  # else they are exact
                rays = _exact(np.asarray(rays, dtype=np.float64), points, matrix, distortion)
        return np.asarray(rays, dtype=np.float64).reshape(-1, 2)

    def pixels(self, rays: NDArray[np.floating]) -> NDArray[np.float64]:
        """Where the camera shows rays [M, 2] on the plane z = 1, in pixels [M, 2].

        The polynomials of a lens hold inside its image. Far outside they may lead back into it;
        such a ray is placed as if there were no distortion.
        """
        if len(rays) == 0:
            return np.empty((0, 2))
        ends = np.clip(np.asarray(rays, dtype=np.float64), -_FARTHEST_RAY, _FARTHEST_RAY)
        matrix, distortion = self._lens
        straight = ends * [matrix[0, 0], matrix[1, 1]] + matrix[:2, 2]
        points = np.concatenate([ends, np.ones((len(ends), 1))], axis=1)[:, None]
        project = cv2.fisheye if self.distortion_model in _FISHEYE else cv2
        found, _ = project.projectPoints(points, np.zeros(3), np.zeros(3), matrix, distortion)
        found = np.asarray(found, dtype=np.float64).reshape(-1, 2)
        apart = np.abs(self.normalized(found) - ends).max(axis=1)
        holds = apart <= _SAME_RAY * (1 + np.abs(ends).max(axis=1))
        return np.where(holds[:, None], found, straight)


@dataclass(frozen=True, slots=True)
class CameraCalibration:
    """What a calibration says about a camera."""

    camera: Camera | None  # None: unset, or not understood
    field_of_view_deg: float | None  # horizontal
    why_not: str = ''  # why there is no camera


def unusable_said(where: str, why: str) -> str:
    """Why a drive with a calibration that cannot be used has no landmarks, as a sentence."""
    return f'{where}: the calibration cannot be used, so there are no landmarks: {why}'


def _exact(
    rays: NDArray[np.float64],
    points_px: NDArray[np.float64],
    matrix: NDArray[np.float64],
    distortion: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Rays [M, 1, 2] that show at points [M, 1, 2], by Newton's method from rays near them.

    In the corners of a wide lens, OpenCV 4.6 of Ubuntu 24.04 swings between two rays and ends tens
    of pixels off. A point that no ray reaches keeps its ray, or has a straight one where OpenCV
    knows none.
    """
    exact, left = rays.copy(), np.arange(len(rays))
    for _ in range(_NEWTON_STEPS):
        ends = np.concatenate([exact[left], np.ones((len(left), 1, 1))], axis=2)
        found, slopes = cv2.projectPoints(ends, np.zeros(3), np.zeros(3), matrix, distortion)
        off_px = points_px[left] - found
        is_off = ~(np.abs(off_px) < _EXACT_PX).all(axis=(1, 2))
        left = left[is_off]
        if len(left) == 0:
            break
        # A ray and the camera's position move a point of depth 1 alike.
        (xx, xy), (yx, yy) = slopes[:, 3:5].reshape(-1, 2, 2)[is_off].transpose(1, 2, 0)
        x, y = off_px[is_off, 0].T
        with np.errstate(all='ignore'):  # where no ray leads there, anything may come
            step = (
                np.stack([x * yy - y * xy, y * xx - x * yx], axis=1) / (xx * yy - xy * yx)[:, None]
            )
        exact[left, 0] += np.clip(step, -_NEWTON_STEP, _NEWTON_STEP)
    exact[left] = rays[left]
    straight = (points_px - matrix[:2, 2]) / [matrix[0, 0], matrix[1, 1]]
    return np.where(np.isfinite(exact), exact, straight)


def read_camera_info(message: Any, *, rectified: bool) -> CameraCalibration:
    """Read a sensor_msgs/CameraInfo of ROS 1 or 2; rectified: as in `camera_calibration`.

    Its numbers are those of the whole sensor. Where the region of interest is a part of it, the
    camera is that part. Binned images are smaller ones of the same camera.
    """
    k, d, p = (_either_case(message, name) for name in 'kdp')
    left, top, width, height = _region(message)
    matrix, projection = np.array(k, dtype=np.float64), np.array(p, dtype=np.float64)
    for values, fy in ((matrix, 4), (projection, 5)):
        if len(values) > fy + 1:
            values[2] -= left
            values[fy + 1] -= top
    return camera_calibration(
        width,
        height,
        matrix=matrix,
        distortion_model=message.distortion_model,
        distortion=d,
        projection=projection,
        rectified=rectified,
    )


def camera_calibration(
    width_px: int,
    height_px: int,
    *,
    matrix: Sequence[float] | NDArray[np.float64],
    distortion_model: str,
    distortion: Sequence[float],
    projection: Sequence[float] | NDArray[np.float64] = (),
    rectified: bool = False,
) -> CameraCalibration:
    """What a calibration tells, which may be unset or not understood.

    matrix: K [9], distortion: D, projection: P [12] of sensor_msgs/CameraInfo; rectified: the
    images are already undistorted, so that P holds and D does not.
    """
    given, name = np.array(matrix, dtype=np.float64), 'K'
    seen_deg = field_of_view_deg(width_px, float(given[0])) if given.shape == (9,) else None
    if rectified and len(projection) == 12:
        given = np.array(projection, dtype=np.float64).reshape(3, 4)[:, :3].ravel()
        name = 'P'
    numbers = () if rectified else tuple(float(value) for value in distortion)
    if min(width_px, height_px) <= 0:
        why_not = f'it is for images of {width_px}x{height_px} pixels'
    else:
        why_not = _fault_of_matrix(given, name, width_px)
        why_not = why_not or _fault_of_distortion(distortion_model, numbers)
    if why_not:
        return CameraCalibration(None, seen_deg, why_not)
    held = tuple(given.tolist())
    return CameraCalibration(
        Camera(int(width_px), int(height_px), held, distortion_model, numbers), seen_deg
    )


def _fault_of_matrix(given: NDArray[np.float64], name: str, width_px: int) -> str:
    """Why a camera matrix tells nothing of images so wide; empty where it does."""
    if given.shape != (9,) or not np.isfinite(given).all():
        return f'{name} has NaN, infinity or not nine numbers'
    if not given.any():
        return f'{name} is all zeros, as of a camera that is not calibrated'
    focal_px = min(given[0], given[4])
    if focal_px < _LEAST_FOCAL * width_px:
        return (
            f'{name} has a focal length of {focal_px:g} pixels for images {width_px} pixels wide, '
            'as of a camera that is not calibrated'
        )
    return ''


def _fault_of_distortion(model: str, numbers: Sequence[float]) -> str:
    """Why a distortion is not understood; empty where it is. No numbers: there is none."""
    if len(numbers) not in (0, *_FISHEYE.get(model, _POLYNOMIAL.get(model, ()))):
        known = ', '.join(name for name in (*_POLYNOMIAL, *_FISHEYE) if name)
        return (
            f'distortion_model {model!r} with {counted(len(numbers), "coefficient")} is not '
            f'understood, expected {known}'
        )
    return '' if np.isfinite(numbers).all() else 'D has NaN or infinity'


def _either_case(message: Any, name: str) -> Any:
    """A field that ROS 1 writes with a capital."""
    return getattr(message, name) if hasattr(message, name) else getattr(message, name.upper())


def _region(message: Any) -> tuple[int, int, int, int]:
    """Left, top, width and height of what the camera sends of its sensor, before binning.

    Zeros mean the whole sensor. A region that does not fit into it is none: the driver has written
    the size of the region into width and height, too.
    """
    region = message.roi
    fits = (
        0 < region.width <= message.width - region.x_offset
        and 0 < region.height <= message.height - region.y_offset
    )
    if not fits:
        return 0, 0, int(message.width), int(message.height)
    return int(region.x_offset), int(region.y_offset), int(region.width), int(region.height)


def is_rectified(image_topic: str) -> bool:
    """Whether a topic's name says, by ROS's custom, that its images are undistorted."""
    name = image_topic.removesuffix('/compressed').rpartition('/')[2]
    return bool(_RECTIFIED.search(name))
