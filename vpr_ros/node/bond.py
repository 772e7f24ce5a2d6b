"""The bond by which Nav2's lifecycle manager sees that the node lives.

The manager forms a bond with each node that it has activated, and stops the bringup if it gets no
heartbeat (docs/tutorials/nav2.md). The protocol is bondcpp's: both sides send
bond/msg/Status on the topic `bond` under one id, which is the node's name; `active: false` ends
the bond. Nav2's nodes do nothing when the manager falls silent, and neither does this one, so that
sending is all that is needed (decision 0024). A thread sends, because the executor waits while an
image that was asked for is localized, and a manager that hears nothing for four seconds stops
Nav2.

`bond` comes with bondcpp, which the manager needs, but not with the wheels.
"""

import uuid
from threading import Event, Thread
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node

from vpr_ros.node.spinning import until_shutdown
from vpr_ros.node.topics import BOND

Status = BOND.kind

PERIOD_S = 0.25  # as Nav2's nodes
TIMEOUT_S = 4.0  # as Nav2's nodes; only informs: the manager uses its own bond_timeout
_GOODBYE = Duration(seconds=0.2)  # how long the last message may take to arrive


class Bond:
    """Heartbeats of one activation; `open_bond` makes it."""

    def __init__(self, node: Node, kind: Any) -> None:
        """Send on `bond` from now on; kind: bond.msg.Status."""
        self._node = node
        self._kind = kind
        self._instance_id = str(uuid.uuid4())  # tells this side of the bond from the other
        self._publisher: Any = node.create_publisher(kind, BOND.name, BOND.qos)
        self._closed = Event()
        self._thread = Thread(target=self._run, name='bond', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell the manager that the bond ends, if rclpy still runs."""
        self._closed.set()
        self._thread.join()
        with until_shutdown(self._node.context):
            if rclpy.ok(context=self._node.context):
                self._send(active=False)
                self._publisher.wait_for_all_acked(_GOODBYE)
                self._node.destroy_publisher(self._publisher)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._send(active=True)
            except Exception as error:
                if not rclpy.ok(context=self._node.context):
                    return
                self._node.get_logger().error(f'bond: {error!r}', throttle_duration_sec=10.0)
            self._closed.wait(PERIOD_S)

    def _send(self, *, active: bool) -> None:
        message = self._kind()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.id = self._node.get_name()
        message.instance_id = self._instance_id
        message.active = active
        message.heartbeat_timeout = TIMEOUT_S
        message.heartbeat_period = PERIOD_S
        self._publisher.publish(message)


def open_bond(node: Node, *, expected: bool) -> Bond | None:
    """A bond for a node that was just activated; None where `bond` is not installed or broken.

    expected: whether a manager is likely to wait for one; then the log says once what to do.
    """
    if Status is not None:
        try:
            return Bond(node, Status)
        except Exception as error:  # half an installation; the node works without a bond
            node.get_logger().error(f'bond: {error!r}')
    elif expected:
        node.get_logger().info(
            "bond is not installed: Nav2's lifecycle manager finds no bond with this node; "
            'install ros-$ROS_DISTRO-bond, or set bond_timeout: 0.0 for the manager',
            once=True,
        )
    return None
