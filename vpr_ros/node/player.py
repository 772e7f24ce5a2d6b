"""Play a recording into ROS 2 topics, without a rosbag2 installation.

It plays ROS 1, sqlite3 and mcap bags, and posed folders. Serialized messages go out untouched;
ROS 1 messages are converted.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock

from vpr_ros.core.errors import DriveError
from vpr_ros.drives.bag_files import is_bag
from vpr_ros.drives.folder_to_bag import write_bag
from vpr_ros.drives.reader import cdr_converter, messages, open_reader
from vpr_ros.node.conversions import stamp_message
from vpr_ros.node.qos import LATCHED
from vpr_ros.node.topics import interface

_LATCHED_TOPICS = ('/tf_static', '/map')
_CLOCK_PERIOD_NS = 10_000_000
_QUEUE = 10
_ACKNOWLEDGE_S = 5.0  # for the last messages, which else end with the process
_STEP_S, _STEP_WITH_CLOCK_S = 0.1, 0.01  # of waiting, after which an end of ROS is noticed
_MATCHING_S = 0.5  # a listener learns of a publisher a moment after the publisher learns of it


class Player:
    """A bag's topics as publishers of one node."""

    def __init__(self, node: Node, reader: AnyReader, topics: Sequence[str] | None = None) -> None:
        """Create a publisher for each topic whose type is installed.

        Raises DriveError if none is left.
        """
        self._node = node
        self._reader = reader
        self.warnings: list[str] = []  # grows where the bag breaks off
        self.missing: dict[str, str] = {}  # topic -> type that is not installed
        self._publishers: dict[str, Any] = {}
        self._ticker: _Ticker | None = None  # made at the first play with a clock, kept for more
        for connection in reader.connections:
            if not topics or connection.topic in topics:
                self._publish(connection.topic, connection.msgtype)
        if not self._publishers:
            held = ', '.join(sorted(entry.topic for entry in reader.connections)) or 'none'
            raise DriveError(f'{reader.paths[0]}: none of its topics can be played; it has {held}')

    def _publish(self, topic: str, type_name: str) -> None:
        """Create the publisher of a topic, unless its type is missing or it is there already."""
        kind = interface(type_name)
        if kind is None:
            self.missing[topic] = type_name
        elif topic not in self._publishers:
            qos = LATCHED if topic in _LATCHED_TOPICS else QoSProfile(depth=_QUEUE)
            self._publishers[topic] = self._node.create_publisher(kind, topic, qos)

    def wait_for_subscriber(self, topic: str, *, timeout_s: float) -> bool:
        """Wait until somebody listens to a topic; False if nobody does in time.

        Raises DriveError for a topic that is not played.
        """
        if topic not in self._publishers:
            raise DriveError(f'{topic}: not among the played topics {", ".join(self._publishers)}')
        deadline_s = time.monotonic() + timeout_s
        publisher = self._publishers[topic]
        while publisher.get_subscription_count() == 0:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
        time.sleep(_MATCHING_S)
        return True

    def play(
        self,
        *,
        rate: float = 1.0,
        clock: bool = False,
        on_publish: Callable[[str, int, bytes], None] | None = None,
    ) -> int:
        """Publish everything once at `rate` times the recorded speed; returns the message count.

        on_publish: called just before each message with its topic, its bag time in ns and its CDR
        bytes.
        """
        if clock and self._ticker is None:
            self._ticker = _Ticker(self._node)
        ticker = self._ticker if clock else None
        played, started_s, first_ns = 0, 0.0, None
        for connection, bag_ns, data in self._messages():
            if first_ns is None:
                first_ns, started_s = bag_ns, time.monotonic()
            due_s = started_s + (bag_ns - first_ns) / 1e9 / rate
            if not self._wait(due_s, bag_ns, rate, ticker):
                return played
            if on_publish:
                on_publish(connection.topic, bag_ns, data)
            self._publishers[connection.topic].publish(data)
            played += 1
        self._wait_until_acknowledged()
        return played

    def _wait_until_acknowledged(self) -> None:
        """Ask again and again, because while Fast DDS waits, no other topic is heard here."""
        deadline_s = time.monotonic() + _ACKNOWLEDGE_S
        for publisher in self._publishers.values():
            while self._node.context.ok() and not publisher.wait_for_all_acked(Duration()):
                if time.monotonic() > deadline_s:
                    return
                time.sleep(_STEP_WITH_CLOCK_S)

    def _wait(self, due_s: float, bag_ns: int, rate: float, ticker: '_Ticker | None') -> bool:
        """Wait until a message is due, in short steps; False where ROS was shut down meanwhile.

        The clock also moves where there is nothing to wait for, as at a rate for which this
        machine is too slow.
        """
        step_s = _STEP_WITH_CLOCK_S if ticker else _STEP_S
        while self._node.context.ok() and (left_s := due_s - time.monotonic()) > 0:
            time.sleep(min(left_s, step_s))
            if ticker:
                ticker.show(bag_ns - int(max(due_s - time.monotonic(), 0.0) * 1e9 * rate))
        if ticker:
            ticker.show(bag_ns)
        return bool(self._node.context.ok())

    def _messages(self) -> Iterator[tuple[Any, int, bytes]]:
        connections = [
            entry for entry in self._reader.connections if entry.topic in self._publishers
        ]
        to_cdr = cdr_converter(self._reader)
        for raw in messages(self._reader, connections, self.warnings):
            yield raw, raw.bag_ns, to_cdr(raw.data, raw.msgtype)


class _Ticker:
    """Publishes /clock, at most every 10 ms of bag time."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(Clock, '/clock', QoSProfile(depth=1))
        self._shown_ns: int | None = None

    def show(self, now_ns: int) -> None:
        shown = self._shown_ns
        if shown is None or now_ns < shown or now_ns - shown >= _CLOCK_PERIOD_NS:
            self._publisher.publish(Clock(clock=stamp_message(now_ns)))
            self._shown_ns = now_ns


@contextmanager
def opened(path: Path, *, warnings: list[str] | None = None) -> Iterator[AnyReader]:
    """A reader of a bag; a posed folder is made into a bag in a temporary place first.

    warnings: gets what is wrong with the recording, as `open_reader` says.
    """
    with ExitStack() as stack:
        if path.is_dir() and not is_bag(path):
            scratch = Path(stack.enter_context(TemporaryDirectory(prefix='replay_bag-')))
            written = write_bag(path, scratch / 'bag')
            if warnings is not None:
                warnings += written.notes
            path = scratch / 'bag'
        yield stack.enter_context(open_reader(path, warnings=warnings))
