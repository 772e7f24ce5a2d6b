"""A rendered room with known poses: six walls of noise, one ray for each pixel.

No renderer is needed, the calibration may have any distortion, and depth comes for free.
"""

import functools

import cv2
import numpy as np

from vpr_ros.core.camera import Camera, camera_calibration
from vpr_ros.core.geometry import FORWARD_CAMERA, compose, matrix, yaw_quat
from vpr_ros.core.types import Poses

ROOM_M = np.array([14.0, 8.0, 5.0])  # x from 0, y and z about 0
_PER_METRE = 40  # pixels of the walls' paper


def camera(*, width: int = 480, distortion: tuple[float, ...] = (-0.1, 0.02, 0, 0, 0)) -> Camera:
    """A camera of about 80 degrees."""
    found = camera_calibration(
        width,
        width * 3 // 4,
        matrix=[width * 0.6, 0, width / 2 + 3, 0, width * 0.61, width * 3 / 8 - 2, 0, 0, 1],
        distortion_model='plumb_bob',
        distortion=distortion,
    ).camera
    assert found is not None
    return found


def drive(count: int, *, start_m: float = 2.0, step_m: float = 0.5, sway_m: float = 0.3) -> Poses:
    """map_T_camera [count, 7] of a robot that sways through the room along x."""
    bases = np.zeros((count, 7))
    at = start_m + np.arange(count) * step_m
    bases[:, 0], bases[:, 1] = at, sway_m * np.sin(at)
    bases[:, 3:] = yaw_quat(0.15 * np.cos(1.3 * at))
    return compose(bases, FORWARD_CAMERA)


def wall_distance_m(points: np.ndarray) -> np.ndarray:
    """How far points [L, 3] of the map lie from the nearest wall, [L]."""
    low, high = _bounds()
    return np.min(np.abs(np.concatenate([points - low, points - high], axis=1)), axis=1)


def render(
    view: Camera, pose: Poses, *, room: int = 0, noise: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """An image, RGB [H, W, 3], and its depth along z in metres [H, W]; room: the walls' seed."""
    height, width = view.height_px, view.width_px
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    rays = view.normalized(np.stack([columns.ravel(), rows.ravel()], axis=1))
    local = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
    towards = local @ matrix(pose[3:]).T  # [H W, 3] with z = 1 in the camera
    low, high = _bounds()
    towards[np.abs(towards) < 1e-9] = 1e-9
    reach = np.where(towards > 0, high - pose[:3], low - pose[:3]) / towards
    axis = np.argmin(reach, axis=1)
    depth = reach[np.arange(len(axis)), axis]
    hit = pose[:3] + depth[:, None] * towards
    grey = np.zeros((height, width), np.float32)
    for across in range(3):
        others = [other for other in range(3) if other != across]
        at = ((hit[:, others] - low[others]) * _PER_METRE).astype(np.float32)
        for side in (False, True):
            here = ((axis == across) & ((towards[:, across] > 0) == side)).reshape(height, width)
            paper = _paper(room, across, side)
            shown = cv2.remap(paper, at.reshape(height, width, 2), None, cv2.INTER_LINEAR)
            grey[here] = shown[here]
    random = np.random.default_rng(int(abs(pose[0]) * 1e6) % 2**31)
    image = np.clip(np.rint(grey + random.normal(0, noise, grey.shape)), 0, 255).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2), depth.reshape(height, width)


def _bounds() -> tuple[np.ndarray, np.ndarray]:
    half = ROOM_M / 2
    return np.array([0, -half[1], -half[2]]), np.array([ROOM_M[0], half[1], half[2]])


@functools.cache
def _paper(room: int, across: int, side: bool) -> np.ndarray:
    """A wall's noise of several scales, float32."""
    random = np.random.default_rng([room, across, side])
    width, height = (np.delete(ROOM_M, across) * _PER_METRE).astype(int) + 2
    paper = np.zeros((height, width), np.float32)
    for cell in (4, 10, 30):
        coarse = random.normal(0, 30, (height // cell + 2, width // cell + 2)).astype(np.float32)
        paper += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return paper + 128
