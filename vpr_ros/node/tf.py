"""tf: the camera's mounting in, map -> odom out. The only module that touches tf2_ros.

tf2_ros is not among the wheels; where it is missing, mountings come from a parameter.
"""

from typing import Any

from geometry_msgs.msg import Transform, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.time import Time

from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.types import Poses
from vpr_ros.node import conversions as convert

try:
    import tf2_ros
except ImportError:
    tf2_ros = None


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

    def latest(self, parent: str, child: str) -> Poses | None:
        """parent_T_child [7] as tf knows it now, or None; raises VprError for a broken one."""
        try:
            found = self._buffer.lookup_transform(parent, child, Time())
        except tf2_ros.TransformException:
            return None
        move, turn = found.transform.translation, found.transform.rotation
        return checked_pose(
            [move.x, move.y, move.z, turn.x, turn.y, turn.z, turn.w], source=f'tf of {child}'
        )

    def broadcast(self, parent: str, child: str, pose: Poses, at_ns: int) -> None:
        """Send parent_T_child [7], dated `at_ns`."""
        message = convert.pose_message(pose)
        where = message.position
        self._broadcaster.sendTransform(
            TransformStamped(
                header=convert.header(at_ns, parent),
                child_frame_id=child,
                transform=Transform(
                    translation=Vector3(x=where.x, y=where.y, z=where.z),
                    rotation=message.orientation,
                ),
            )
        )
