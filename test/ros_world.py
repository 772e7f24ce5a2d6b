"""The real node in its own process, and a real rclpy node in this one to talk to it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from geometry_msgs.msg import PoseArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from vpr_ros.evaluating.domain import free_domain
from vpr_ros.node.qos import LATCHED

ROOT = Path(__file__).resolve().parents[1]


class Peer:
    """A node of this process that publishes, listens and calls."""

    def __init__(self, context: Any) -> None:
        self.node = Node('peer', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._answered: list[Any] | None = None

    def listen(self, kind: Any, topic: str, qos: Any = 10) -> list[Any]:
        """A list that grows by each message that comes."""
        received: list[Any] = []
        self.node.create_subscription(kind, topic, received.append, qos)
        return received

    def publisher(self, kind: Any, topic: str, qos: Any = 10, *, timeout_s: float = 30.0) -> Any:
        """A publisher to which somebody listens already."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.wait(
            lambda: publisher.get_subscription_count() > 0, f'nobody listens to {topic}', timeout_s
        )
        self.spin(0.3)  # the listener learns of the publisher a moment later
        return publisher

    def call(self, kind: Any, name: str, request: Any, *, timeout_s: float = 30.0) -> Any:
        """A service's response."""
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(timeout_s), f'no service {name}'
        self.spin(0.3)  # the service learns of the client a moment later, and could not answer it
        future = client.call_async(request)
        self.wait(future.done, f'{name} does not answer', timeout_s)
        return future.result()

    def change(self, transition: int) -> bool:
        """Ask the node for a transition of its lifecycle; whether it succeeded."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, '/localize/change_state', request).success)

    def state(self) -> int:
        """Where the node is in its lifecycle."""
        request = GetState.Request()
        return int(self.call(GetState, '/localize/get_state', request).current_state.id)

    def set(self, name: str, value: Any) -> Any:
        """Set a parameter of the node, as `ros2 param set` does; the result."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return self.call(SetParameters, '/localize/set_parameters', request).results[0]

    def wait(self, until: Callable[[], bool], otherwise: str, timeout_s: float = 30.0) -> None:
        """Handle messages until a condition holds; fail after a time."""
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, otherwise
            self._executor.spin_once(timeout_sec=0.05)

    def show(self, images: Any, message: Any) -> None:
        """Publish an image and handle messages until the node has answered it.

        The node drops an image while it is at work on another, and a busy machine makes it slow:
        waiting for the answer is what keeps every image. Go on after a while where none comes.
        """
        if self._answered is None:
            self._answered = self.listen(PoseArray, '/localize/candidates')
            # A node learns of subscriptions in their order: where its latched state comes, it
            # knows who listens to the candidates.
            states = self.listen(String, '/localize/state', LATCHED)
            self.wait(lambda: bool(states), 'the node tells no state')
        answered, stamp = self._answered, message.header.stamp
        images.publish(message)
        deadline = time.monotonic() + 10.0
        while not (answered and answered[-1].header.stamp == stamp):
            if time.monotonic() > deadline:
                return
            self._executor.spin_once(timeout_sec=0.05)

    def spin(self, seconds: float) -> None:
        """Handle messages for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)


@contextmanager
def domain() -> Iterator[tuple[int, Peer]]:
    """A ROS domain of its own and a peer in it."""
    with free_domain() as number:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=number)
        try:
            yield number, Peer(context)
        finally:
            rclpy.try_shutdown(context=context)


@contextmanager
def running(
    number: int,
    *ros_arguments: str,
    module: str = 'vpr_ros.localize',
    before: Sequence[str] = (),
    log: Path | None = None,
    **parameters: Any,
) -> Iterator['subprocess.Popen[bytes]']:
    """The node as a user starts it, in a domain.

    It must end by SIGINT with status 0 unless it ended before.
    """
    given = [
        word for name, value in parameters.items() for word in ('-p', f'{name}:={_yaml(value)}')
    ]
    command = [sys.executable, '-m', module, *before, '--ros-args', *given, *ros_arguments]
    environment = os.environ | {'ROS_DOMAIN_ID': str(number)}
    output = log.open('wb') if log else None
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0, 'SIGINT must end the node cleanly'
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if output:
            output.close()


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, (str, Path)) else str(value)
