"""Play a recording into ROS 2 topics, without a rosbag2 installation.

ROS 1, sqlite3 and mcap bags are played, and posed folders. Serialized messages go out untouched;
ROS 1 messages are converted. Only topics whose message type is installed are played, and the
others are named.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from vpr_ros.cli.command import command
from vpr_ros.core.errors import DriveError
from vpr_ros.drives.reader import cdr_converter, is_bag, open_reader
from vpr_ros.drives.writer import write_bag
from vpr_ros.node.conversions import stamp_message
from vpr_ros.node.qos import LATCHED
from vpr_ros.node.spinning import until_shutdown

_LATCHED_TOPICS = ('/tf_static', '/map')
_CLOCK_PERIOD_NS = 10_000_000
_QUEUE = 10
_ACKNOWLEDGE = Duration(seconds=5)  # for the last messages, which else end with the process
_MATCHING_S = 0.5  # a listener learns of a publisher a moment after the publisher learns of it


class Player:
    """A bag's topics as publishers of one node."""

    def __init__(self, node: Node, reader: AnyReader, topics: Sequence[str] | None = None) -> None:
        """Create a publisher for each topic whose type is installed.

        Raises DriveError if none is left.
        """
        self._node = node
        self._reader = reader
        self.missing: dict[str, str] = {}  # topic -> type that is not installed
        self._publishers: dict[str, Any] = {}
        for connection in reader.connections:
            if topics and connection.topic not in topics:
                continue
            kind = _message_class(connection.msgtype)
            if kind is None:
                self.missing[connection.topic] = connection.msgtype
            elif connection.topic not in self._publishers:
                latched = connection.topic in _LATCHED_TOPICS
                qos = LATCHED if latched else QoSProfile(depth=_QUEUE)
                self._publishers[connection.topic] = node.create_publisher(
                    kind, connection.topic, qos
                )
        if not self._publishers:
            held = (
                ', '.join(sorted(connection.topic for connection in reader.connections)) or 'none'
            )
            raise DriveError(f'{reader.paths[0]}: none of its topics can be played; it has {held}')

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
        ticker = _Ticker(self._node) if clock else None
        played, started_s, first_ns = 0, 0.0, None
        for connection, bag_ns, data in self._messages():
            if first_ns is None:
                first_ns, started_s = bag_ns, time.monotonic()
            due_s = started_s + (bag_ns - first_ns) / 1e9 / rate
            while (left_s := due_s - time.monotonic()) > 0:
                time.sleep(min(left_s, 0.01) if ticker else left_s)
                if ticker:
                    ticker.show(bag_ns - int(max(due_s - time.monotonic(), 0.0) * 1e9 * rate))
            if not self._node.context.ok():
                return played
            if on_publish:
                on_publish(connection.topic, bag_ns, data)
            self._publishers[connection.topic].publish(data)
            played += 1
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(_ACKNOWLEDGE)
        return played

    def _messages(self) -> Iterator[tuple[Any, int, bytes]]:
        connections = [
            entry for entry in self._reader.connections if entry.topic in self._publishers
        ]
        to_cdr = cdr_converter(self._reader)
        for connection, bag_ns, data in self._reader.messages(connections):
            yield connection, bag_ns, to_cdr(data, connection.msgtype)


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


def _message_class(type_name: str) -> Any | None:
    """The Python class of `package/msg/Name`, or None where that package is not installed."""
    package, _, name = type_name.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name, None)
    except ImportError:
        return None


@contextmanager
def opened(path: Path) -> Iterator[AnyReader]:
    """A reader of a bag; a posed folder is made into a bag in a temporary place first."""
    with ExitStack() as stack:
        if path.is_dir() and not is_bag(path):
            scratch = Path(stack.enter_context(TemporaryDirectory(prefix='replay_bag-')))
            write_bag(path, scratch / 'bag')
            path = scratch / 'bag'
        yield stack.enter_context(open_reader(path))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='replay_bag',
        description='Play a recording into ROS 2 topics: ROS 1, sqlite3 and mcap bags, and posed '
        'folders, without a rosbag2 installation.',
    )
    parser.add_argument(
        'bag', type=Path, metavar='BAG', help='a bag of any kind, or a posed folder'
    )
    parser.add_argument(
        '--rate',
        type=float,
        default=1.0,
        metavar='R',
        help='times the recorded speed (default: 1)',
    )
    parser.add_argument('--clock', action='store_true', help='publish /clock, for use_sim_time')
    parser.add_argument('--loop', action='store_true', help='start again at the end, until Ctrl-C')
    parser.add_argument('--topics', nargs='+', metavar='T', help='only these topics')
    parser.add_argument(
        '--wait',
        nargs='+',
        default=[],
        metavar='T',
        help='do not start before somebody listens to each of these topics (30 s at most)',
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help. ROS arguments (--ros-args -r /a:=/b) are understood as well."""
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(rclpy.utilities.remove_ros_args(['replay_bag', *given])[1:])
    if not arguments.rate > 0:
        raise DriveError(f'--rate {arguments.rate}: expected a number above 0')
    with opened(arguments.bag) as reader:
        rclpy.init(args=given)
        try:
            node = rclpy.create_node('replay_bag')
            player = Player(node, reader, arguments.topics)
            for topic, kind in player.missing.items():
                print(f'note: {topic} is not played, {kind} is not installed', file=sys.stderr)
            with until_shutdown():
                _play(player, reader, arguments)
        finally:
            rclpy.try_shutdown()
    return 0


def _play(player: Player, reader: AnyReader, arguments: argparse.Namespace) -> None:
    for topic in arguments.wait:
        if not player.wait_for_subscriber(topic, timeout_s=30.0):
            print(f'note: nobody listens to {topic} after 30 s, playing anyway', file=sys.stderr)
    first_ns = reader.start_time
    while True:
        with tqdm(total=round(reader.duration / 1e9, 1), unit='s', disable=None, delay=2) as bar:

            def advance(topic: str, bag_ns: int, data: bytes) -> None:
                bar.update(round((bag_ns - first_ns) / 1e9, 1) - bar.n)

            played = player.play(rate=arguments.rate, clock=arguments.clock, on_publish=advance)
        print(f'{played} messages played')
        if not arguments.loop or not rclpy.ok():
            return


if __name__ == '__main__':
    sys.exit(main())
