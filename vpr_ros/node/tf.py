"""tf: the camera's mounting in, map -> odom out. The only module that touches tf2_ros.

tf2_ros is not among the wheels; where it is missing, mountings come from a parameter.
"""

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

from geometry_msgs.msg import Transform, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.time import Time

from vpr_ros.core.geometry import checked_pose
from vpr_ros.core.types import Poses
from vpr_ros.node import conversions as convert
from vpr_ros.session.smooth import Glide

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

    def clear(self) -> None:
        """Forget all transforms, as after a clock that was set back."""
        self._buffer.clear()

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


class SteadyBroadcast:
    """map -> odom at a steady rate, in a thread of its own, so that nothing delays it.

    Navigation asks for transforms at its own time and refuses old ones. So the last one goes out
    again and again, dated a little into the future, and a correction is spread over a moment.
    """

    def __init__(
        self,
        transforms: Transforms,
        *,
        frames: tuple[str, str],
        rate_hz: float,
        tolerance_s: Callable[[], float],
        now_ns: Callable[[], int],
        report: Callable[[Exception], None],
    ) -> None:
        """Start; nothing goes out before the first `aim`.

        frames: of the map and of odometry; now_ns: the node's clock.
        """
        self._transforms = transforms
        self._frames = frames
        self._period_s = 1 / rate_hz
        self._tolerance_s = tolerance_s
        self._now_ns = now_ns
        self._report = report
        self._lock = Lock()
        self._glide = Glide()
        self._aimed_s: float | None = None
        self._sent_ns = 0
        self._closed = Event()
        self._thread = Thread(target=self._run, name='tf', daemon=True)
        self._thread.start()

    @property
    def age_s(self) -> float | None:
        """Time since the last correction; None while nothing is sent."""
        with self._lock:
            return None if self._aimed_s is None else time.monotonic() - self._aimed_s

    def aim(self, map_T_odom: Poses) -> None:
        """Go to a new transform [7]."""
        with self._lock:
            self._aimed_s = time.monotonic()
            self._glide.aim(map_T_odom, self._aimed_s)

    def forget(self) -> None:
        """Send nothing until the next `aim`."""
        with self._lock:
            self._glide.forget()
            self._aimed_s, self._sent_ns = None, 0

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._closed.wait(max(due_s - time.monotonic(), 0.0)):
            due_s = max(due_s + self._period_s, time.monotonic())
            try:
                self._send()
            except Exception as error:
                self._report(error)

    def _send(self) -> None:
        now_ns = self._now_ns()
        with self._lock:
            pose = self._glide.at(time.monotonic())
            if pose is None or now_ns <= self._sent_ns:  # a simulated clock that stands
                return
            self._sent_ns = now_ns
        ahead_ns = int(self._tolerance_s() * 1e9)
        self._transforms.broadcast(*self._frames, pose, now_ns + ahead_ns)
