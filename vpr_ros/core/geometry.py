"""Rigid transforms on arrays.

A pose `a_T_b` is float64 [..., 7]: position x y z of b's origin in a, in metres, then the unit
quaternion x y z w that turns vectors of b into vectors of a. Frames follow REP-103: x forward (or
east), y left (or north), z up; optical frames have x right, y down, z forward.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpr_ros.core.errors import VprError
from vpr_ros.core.types import Poses

Array = NDArray[np.float64]

IDENTITY: Poses = np.array([0, 0, 0, 0, 0, 0, 1], dtype=np.float64)
FORWARD_CAMERA: Poses = np.array([0, 0, 0, -0.5, 0.5, -0.5, 0.5], dtype=np.float64)
"""base_T_camera of a camera at the base's origin that looks along x.

It is what is assumed when nothing is known.
"""

FARTHEST_M = 1e12
"""Of a position on each axis. What lies beyond stands for no position, such as the largest double,
and would overflow where positions are squared or counted in steps."""

_NORM_TOLERANCE = 1e-2


def checked_pose(pose: ArrayLike, *, source: str = 'pose') -> Poses:
    """Return finite poses [..., 7] with quaternions of unit norm.

    Rounding of a quaternion (norm within 1 % of one) is repaired; NaN, infinite and grossly
    unnormalized values, and positions beyond FARTHEST_M, raise VprError naming `source`.
    """
    poses = np.array(pose, dtype=np.float64)
    if poses.shape[-1:] != (7,):
        raise VprError(f'{source}: shape {poses.shape}, expected [..., 7] (x y z qx qy qz qw)')
    if not np.isfinite(poses).all():
        raise VprError(
            f'{source}: contains NaN or infinity: {_first_bad(poses, ~np.isfinite(poses))}'
        )
    if (far := np.abs(poses[..., :3]) > FARTHEST_M).any():
        raise VprError(
            f'{source}: a position of {poses[..., :3][far][0]:.3g} m, expected at most '
            f'{FARTHEST_M:g} m from the origin'
        )
    norm = np.linalg.norm(poses[..., 3:], axis=-1, keepdims=True)
    wrong = np.abs(norm - 1) > _NORM_TOLERANCE
    if wrong.any():
        raise VprError(f'{source}: quaternion norm {norm[wrong][0]:.3g}, expected 1')
    poses[..., 3:] /= norm
    return poses


def said_frames(parent: str, child: str) -> str:
    """What messages call the pose parent_T_child; '' is a frame that nobody named."""
    return ' to '.join(name for name in (parent, child) if name) or 'no frame'


def _first_bad(poses: Poses, bad: NDArray[np.bool_]) -> list[float]:
    rows = poses.reshape(-1, 7)[bad.reshape(-1, 7).any(axis=1)]
    return [float(value) for value in rows[0]]


def quat_multiply(left: Array, right: Array) -> Array:
    """Hamilton product of quaternions [..., 4] (x y z w)."""
    lx, ly, lz, lw = (left[..., number] for number in range(4))
    rx, ry, rz, rw = (right[..., number] for number in range(4))
    return _joined(
        lw * rx + lx * rw + ly * rz - lz * ry,
        lw * ry - lx * rz + ly * rw + lz * rx,
        lw * rz + lx * ry - ly * rx + lz * rw,
        lw * rw - lx * rx - ly * ry - lz * rz,
    )


def _joined(*components: Array) -> Array:
    """Components [...] as [..., n]: np.stack, without its cost on a few poses."""
    found = np.empty((*components[0].shape, len(components)), components[0].dtype)
    for number, component in enumerate(components):
        found[..., number] = component
    return found


def lengths(vectors: Array) -> Array:
    """Euclidean length [...] of vectors [..., n]: np.linalg.norm, without its cost on a few."""
    return np.asarray(np.sqrt((vectors * vectors).sum(axis=-1)))


def quat_conjugate(quat: Array) -> Array:
    """The opposite rotation, [..., 4]."""
    return np.asarray(quat * np.array([-1.0, -1.0, -1.0, 1.0]))


def rotate(quat: Array, vector: Array) -> Array:
    """Turn vectors [..., 3] by quaternions [..., 4]."""
    # Written out, because np.cross costs forty times its arithmetic on a single vector.
    x, y, z, w = (quat[..., number] for number in range(4))
    vx, vy, vz = (vector[..., number] for number in range(3))
    tx, ty, tz = 2 * (y * vz - z * vy), 2 * (z * vx - x * vz), 2 * (x * vy - y * vx)
    return _joined(
        vx + w * tx + y * tz - z * ty,
        vy + w * ty + z * tx - x * tz,
        vz + w * tz + x * ty - y * tx,
    )


def compose(a_T_b: Poses, b_T_c: Poses) -> Poses:
    """a_T_c [..., 7] of a_T_b and b_T_c [..., 7], which are broadcast."""
    position = a_T_b[..., :3] + rotate(a_T_b[..., 3:], b_T_c[..., :3])
    quat = quat_multiply(a_T_b[..., 3:], b_T_c[..., 3:])
    return np.concatenate([position, quat], axis=-1)


def invert(a_T_b: Poses) -> Poses:
    """b_T_a [..., 7] of a_T_b [..., 7]."""
    quat = quat_conjugate(a_T_b[..., 3:])
    return np.concatenate([-rotate(quat, a_T_b[..., :3]), quat], axis=-1)


def matrix(quat: Array) -> Array:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4]."""
    x, y, z, w = (quat[..., number] for number in range(4))
    xx, yy, zz = 2 * x * x, 2 * y * y, 2 * z * z
    xy, xz, yz = 2 * x * y, 2 * x * z, 2 * y * z
    wx, wy, wz = 2 * w * x, 2 * w * y, 2 * w * z
    found = np.empty((*quat.shape[:-1], 3, 3))
    found[..., 0, 0], found[..., 0, 1], found[..., 0, 2] = 1 - yy - zz, xy - wz, xz + wy
    found[..., 1, 0], found[..., 1, 1], found[..., 1, 2] = xy + wz, 1 - xx - zz, yz - wx
    found[..., 2, 0], found[..., 2, 1], found[..., 2, 2] = xz - wy, yz + wx, 1 - xx - yy
    return found


def quat_of_matrix(rotation: Array) -> Array:
    """Quaternion [4] of one rotation matrix [3, 3].

    It is the largest eigenvector of a symmetric form (Bar-Itzhack 2000).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    form = np.array(
        [
            [xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, yy - xx - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    quat = np.linalg.eigh(form)[1][:, -1]
    return np.asarray(quat * (1.0 if quat[3] >= 0 else -1.0))


def principal_axes(covariance: Array) -> tuple[Array, Array]:
    """Standard deviations [3] along a covariance's axes [3, 3], and the rotation [4] to them.

    The first is the smallest. The rotation turns vectors along the axes into the frame of the
    covariance.
    """
    variances, axes = np.linalg.eigh(covariance)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    return np.sqrt(np.maximum(variances, 0.0)), quat_of_matrix(axes)


def yaw_quat(yaw_rad: ArrayLike) -> Array:
    """Quaternions [..., 4] of rotations about z."""
    half = np.asarray(yaw_rad, dtype=np.float64) / 2
    zero = np.zeros_like(half)
    return np.stack([zero, zero, np.sin(half), np.cos(half)], axis=-1)


def yaw_of(pose: Poses) -> Array:
    """Heading in the xy plane of each pose's x axis, radians [...].

    0 is along x (east), angles grow anticlockwise.
    """
    ahead = np.broadcast_to(np.array([1.0, 0, 0]), (*pose.shape[:-1], 3))
    direction = rotate(pose[..., 3:], ahead)
    return np.asarray(np.arctan2(direction[..., 1], direction[..., 0]))


def angle_between(first: Array, second: Array) -> Array:
    """Angle in radians [...] between rotations [..., 4], in [0, pi]."""
    relative = quat_multiply(quat_conjugate(first), second)
    sine = np.linalg.norm(relative[..., :3], axis=-1)
    return np.asarray(2 * np.arctan2(sine, np.abs(relative[..., 3])))


def rotation_vector(quat: Array) -> Array:
    """Axis times angle in radians [..., 3] of quaternions [..., 4], angle in [0, pi]."""
    quat = np.where(quat[..., 3:] < 0, -quat, quat)
    sine = lengths(quat[..., :3])[..., None]
    angle = 2 * np.arctan2(sine, quat[..., 3:])
    scale = np.divide(angle, sine, out=np.full_like(sine, 2.0), where=sine > 1e-12)
    return np.asarray(quat[..., :3] * scale)


def mean_quat(quats: Array, weights: Array) -> Array:
    """Weighted mean rotation [4] of quaternions [K, 4], weights [K].

    The eigenvector of sum w q q^T with the largest eigenvalue, which does not care about the
    quaternions' signs (Markley et al., Averaging Quaternions, 2007, eq. 12).
    """
    scatter = np.einsum('k,ki,kj->ij', weights, quats, quats)
    mean = np.linalg.eigh(scatter)[1][:, -1]
    return np.asarray(mean * (1.0 if mean[3] >= 0 else -1.0))


def interpolate(start: Poses, end: Poses, fraction: ArrayLike) -> Poses:
    """Poses between `start` and `end` [..., 7] at `fraction` [...] in [0, 1].

    Positions go along the straight line, rotations the shortest way.
    """
    fraction = np.asarray(fraction)[..., None]
    position = start[..., :3] + fraction * (end[..., :3] - start[..., :3])
    turn = rotation_vector(quat_multiply(quat_conjugate(start[..., 3:]), end[..., 3:])) * fraction
    quat = quat_multiply(start[..., 3:], quat_of_rotation_vector(turn))
    quat /= np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.concatenate([position, quat], axis=-1)


def quat_of_rotation_vector(vector: Array) -> Array:
    """Quaternions [..., 4] of turns by axis times angle in radians [..., 3]."""
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    scale = np.divide(np.sin(angle / 2), angle, out=np.full_like(angle, 0.5), where=angle > 1e-12)
    return np.concatenate([vector * scale, np.cos(angle / 2)], axis=-1)
