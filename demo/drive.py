"""Turn a route through the town into the exact motion of a robot and of its camera.

The path is a line with rounded corners, smoothed so that the heading never jumps; the speed drops
in the corners; a slow weave and a slow heading error make two drives of one road differ as real
ones do. All of it is a function of time, so that odometry between two frames is the truth and not
an interpolation of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, radians, sin, tan

import numpy as np
from numpy.typing import NDArray

from world import Camera, Drive

Floats = NDArray[np.float64]
_STEP_M = 0.05


@dataclass(frozen=True, slots=True)
class Motion:
    """The base's planar motion, densely sampled.

    time_s [T] increasing from 0, xy_m [T, 2], yaw_rad [T] (unwrapped); map frame, z is 0.
    """

    time_s: Floats
    xy_m: Floats
    yaw_rad: Floats

    @property
    def duration_s(self) -> float:
        """Time from start to end."""
        return float(self.time_s[-1])

    @property
    def length_m(self) -> float:
        """Length of the driven path."""
        return float(np.hypot(*np.diff(self.xy_m, axis=0).T).sum())

    def at(self, times_s: Floats) -> tuple[Floats, Floats]:
        """Return positions [N, 2] in metres and yaw angles [N] in radians at these times [N]."""
        x = np.interp(times_s, self.time_s, self.xy_m[:, 0])
        y = np.interp(times_s, self.time_s, self.xy_m[:, 1])
        return np.stack([x, y], axis=1), np.interp(times_s, self.time_s, self.yaw_rad)


def plan_motion(route: tuple[tuple[float, float], ...], drive: Drive) -> Motion:
    """Drive along a route given by its corner points (map frame, metres)."""
    rng = np.random.default_rng(drive.seed)
    path = _smooth(_round_corners(_shift_left(np.array(route), drive.lane_m)), sigma_m=1.2)
    heading = np.unwrap(np.arctan2(*np.gradient(path, axis=0).T[::-1]))
    along_m = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    path = path + normal * (drive.weave_m * _slow_noise(rng, along_m))[:, None]
    heading = heading + radians(drive.heading_noise_deg) * _slow_noise(rng, along_m)
    speed = _speed(heading, along_m, drive)
    time_s = np.concatenate([[0.0], np.cumsum(np.diff(along_m) / speed[:-1])])
    return Motion(time_s=time_s, xy_m=path, yaw_rad=heading)


def frame_times(motion: Motion, drive: Drive) -> Floats:
    """Return when the camera fires [N], in seconds: a steady rate with a little jitter."""
    rng = np.random.default_rng(drive.seed + 100)
    count = int((motion.duration_s - 0.3) * drive.rate_hz)
    return 0.137 + np.arange(count) / drive.rate_hz + rng.uniform(-0.004, 0.004, count)


def base_matrices(xy_m: Floats, yaw_rad: Floats) -> Floats:
    """Return map_T_base [N, 4, 4] from positions [N, 2] and yaw angles [N]."""
    out = np.tile(np.eye(4), (len(yaw_rad), 1, 1))
    out[:, 0, 0] = out[:, 1, 1] = np.cos(yaw_rad)
    out[:, 1, 0] = np.sin(yaw_rad)
    out[:, 0, 1] = -np.sin(yaw_rad)
    out[:, :2, 3] = xy_m
    return out


def mounting(camera: Camera) -> Floats:
    """Return base_T_camera [4, 4]: the optical frame (x right, y down, z forward) on the base."""
    out = np.eye(4)
    up = radians(camera.pitch_up_deg)
    out[:3, 0] = (0.0, -1.0, 0.0)
    out[:3, 1] = (sin(up), 0.0, -cos(up))
    out[:3, 2] = (cos(up), 0.0, sin(up))
    out[:3, 3] = (camera.forward_m, 0.0, camera.up_m)
    return out


def focal_px(camera: Camera) -> float:
    """Return the focal length in pixels; pixels are square."""
    return camera.width_px / 2 / tan(radians(camera.horizontal_fov_deg) / 2)


def quaternion_xyzw(rotation: Floats) -> Floats:
    """Return the unit quaternion [4] (x, y, z, w; w not negative) of a rotation [3, 3]."""
    r = rotation
    four = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    found: Floats = np.linalg.eigh(four)[1][
        :, -1
    ]  # eigh reads the lower triangle: Bar-Itzhack 2000
    return -found if found[3] < 0 else found


def rotation_matrix(quat_xyzw: Floats) -> Floats:
    """Return the rotation [3, 3] of a unit quaternion [4] (x, y, z, w)."""
    x, y, z, w = quat_xyzw
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _shift_left(corners: Floats, by_m: float) -> Floats:
    """Move a polyline of right angles to its left; each corner moves along both of its legs."""
    legs = np.diff(corners, axis=0)
    legs /= np.linalg.norm(legs, axis=1, keepdims=True)
    left = np.stack([-legs[:, 1], legs[:, 0]], axis=1) * by_m
    out = corners.copy()
    out[0] += left[0]
    out[-1] += left[-1]
    out[1:-1] += left[:-1] + left[1:]
    return out


def _round_corners(
    corners: Floats, *, left_radius_m: float = 8.0, right_radius_m: float = 6.0
) -> Floats:
    pieces, at = [], corners[0]
    for before, corner, after in zip(corners, corners[1:], corners[2:]):
        enter = (corner - before) / np.linalg.norm(corner - before)
        leave = (after - corner) / np.linalg.norm(after - corner)
        turns_left = enter[0] * leave[1] - enter[1] * leave[0] > 0
        room = min(np.linalg.norm(corner - before), np.linalg.norm(after - corner)) / 2
        radius = min(left_radius_m if turns_left else right_radius_m, float(room))
        start = corner - radius * enter
        pieces.append(_segment(at, start))
        angle = np.arange(0.0, pi / 2, _STEP_M / radius)[:, None]
        pieces.append(
            start + radius * np.sin(angle) * enter + radius * (1 - np.cos(angle)) * leave
        )
        at = corner + radius * leave
    pieces.append(_segment(at, corners[-1]))
    return np.concatenate(pieces)


def _segment(start: Floats, end: Floats) -> Floats:
    count = max(2, int(np.linalg.norm(end - start) / _STEP_M))
    return start + np.linspace(0.0, 1.0, count, endpoint=False)[:, None] * (end - start)


def _smooth(path: Floats, *, sigma_m: float) -> Floats:
    reach = int(3 * sigma_m / _STEP_M)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _STEP_M / sigma_m) ** 2)
    weights /= weights.sum()
    return np.stack([np.convolve(path[:, axis], weights, mode='valid') for axis in (0, 1)], axis=1)


def _slow_noise(rng: np.random.Generator, along_m: Floats) -> Floats:
    """Return a smooth wander [T] with unit standard deviation and wavelengths of 15 m to 70 m."""
    total = np.zeros_like(along_m)
    for wavelength_m in (15.0, 26.0, 43.0, 70.0):
        total += np.sin(2 * pi * along_m / wavelength_m + rng.uniform(0, 2 * pi))
    return np.asarray(total / np.sqrt(2.0), dtype=np.float64)


def _speed(heading: Floats, along_m: Floats, drive: Drive) -> Floats:
    """Return the speed [T] in m/s: slow where the path bends, braking over some metres."""
    bend = np.abs(np.gradient(heading, along_m))
    wanted = np.where(bend > 0.06, drive.corner_mps, drive.cruise_mps)
    reach = int(5.0 / _STEP_M)
    padded = np.pad(wanted, reach, mode='edge')
    speed: Floats = np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), mode='valid')
    return speed
