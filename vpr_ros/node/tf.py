"""Transforms: the camera's mounting in, map -> odom out.

They are there where tf2_ros is installed; it is not among the wheels.
"""

from collections import deque
from typing import Any

import numpy as np
from geometry_msgs.msg import Transform, TransformStamped, Vector3
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from vpr_ros.core.geometry import checked_pose, compose, interpolate, invert
from vpr_ros.core.types import Poses
from vpr_ros.node.conversions import pose_array, pose_message, stamp_message, stamp_ns

try:
    import tf2_ros
except ImportError:
    tf2_ros = None

_ODOMETRY_KEPT = 2000  # poses: 20 s at 100 Hz
_ODOMETRY_LATE_NS = 100_000_000


class Transforms:
    """tf in and out for one node."""

    def __init__(self, node: Node) -> None:
        """Start listening; only where `available()`."""
        self._buffer: Any = tf2_ros.Buffer()
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node)
        self._broadcaster: Any = tf2_ros.TransformBroadcaster(node)

    @staticmethod
    def available() -> bool:
        """Whether tf2_ros is installed."""
        return tf2_ros is not None

    def mounting(self, base_frame: str, camera_frame: str) -> Poses | None:
        """base_T_camera [7] as tf knows it now, or None."""
        try:
            found = self._buffer.lookup_transform(base_frame, camera_frame, Time())
        except tf2_ros.TransformException:
            return None
        move, turn = found.transform.translation, found.transform.rotation
        return checked_pose(
            [move.x, move.y, move.z, turn.x, turn.y, turn.z, turn.w],
            source=f'tf of {camera_frame}',
        )

    def broadcast(self, parent: str, child: str, pose: Poses, at_ns: int) -> None:
        """Send parent -> child, dated `at_ns`."""
        message = pose_message(pose)
        where = message.position
        self._broadcaster.sendTransform(
            TransformStamped(
                header=Header(stamp=stamp_message(at_ns), frame_id=parent),
                child_frame_id=child,
                transform=Transform(
                    translation=Vector3(x=where.x, y=where.y, z=where.z),
                    rotation=message.orientation,
                ),
            )
        )


class OdometryBuffer:
    """Recent odometry, to be asked where the robot was when an image was taken."""

    def __init__(self) -> None:
        """Start empty."""
        self._poses: deque[tuple[int, Poses]] = deque(maxlen=_ODOMETRY_KEPT)

    def add(self, message: Odometry) -> None:
        """Keep one message; a jump back in time forgets the rest. VprError for a broken pose."""
        at_ns = stamp_ns(message.header.stamp)
        if self._poses and at_ns <= self._poses[-1][0]:
            self._poses.clear()
        self._poses.append((at_ns, pose_array(message.pose.pose, source='odom')))

    def at(self, at_ns: int) -> Poses | None:
        """odom_T_base [7] at a stamp; None if unknown.

        It is interpolated, or the newest one for a stamp just after it.
        """
        poses = list(self._poses)
        if not poses or at_ns < poses[0][0]:
            return None
        for (start_ns, start), (end_ns, end) in zip(poses[-2::-1], poses[:0:-1], strict=True):
            if start_ns <= at_ns <= end_ns:
                return interpolate(start, end, (at_ns - start_ns) / (end_ns - start_ns))
        return poses[-1][1]

    def distance_m(self, from_ns: int, to_ns: int) -> float | None:
        """Straight distance between where the robot was at two stamps; None if unknown.

        Only odometry around both stamps counts: one that has stopped would claim a standstill.
        """
        newest_ns = self._poses[-1][0] if self._poses else None
        if newest_ns is None or newest_ns < to_ns - _ODOMETRY_LATE_NS:
            return None
        start, end = self.at(from_ns), self.at(to_ns)
        if start is None or end is None:
            return None
        return float(np.linalg.norm(end[:3] - start[:3]))


def map_T_odom(map_T_base: Poses, odom_T_base: Poses) -> Poses:
    """The transform that REP-105 wants from a localizer, [7]."""
    return compose(map_T_base, invert(odom_T_base))
