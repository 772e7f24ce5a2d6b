"""Play a recording into ROS 2 topics, without a rosbag2 installation.

The command plays ROS 1, sqlite3 and mcap bags, and posed folders. It plays only topics whose
message type is installed, and names the others.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rosbags.highlevel import AnyReader
from tqdm import tqdm

from vpr_ros.cli.command import Parser, command, say_notes
from vpr_ros.cli.option_values import positive
from vpr_ros.core.errors import noting
from vpr_ros.core.plurals import counted
from vpr_ros.node.large_images import room_for_large_images
from vpr_ros.node.player import Player, opened
from vpr_ros.node.starting import start_ros, without_ros_arguments


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser(
        prog='replay_bag',
        description='Play a recording into ROS 2 topics: ROS 1, sqlite3 and mcap bags, and posed '
        'folders, without a rosbag2 installation.',
    )
    parser.add_argument(
        'bag', type=Path, metavar='BAG', help='a bag of any kind, or a posed folder'
    )
    parser.add_argument(
        '--rate',
        type=positive,
        default=1.0,
        metavar='R',
        help='speed as a multiple of the recorded speed (default: 1)',
    )
    parser.add_argument('--clock', action='store_true', help='publish /clock, for use_sim_time')
    parser.add_argument(
        '--loop', action='store_true', help='start again at the end; stop with Ctrl-C'
    )
    parser.add_argument('--topics', nargs='+', metavar='T', help='play only these topics')
    parser.add_argument(
        '--wait',
        nargs='+',
        default=[],
        metavar='T',
        help='start when each of these topics has a listener (wait 30 s at most)',
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help. ROS arguments (--ros-args -r /a:=/b) are understood as well."""
    given = sys.argv[1:] if argv is None else list(argv)
    words = without_ros_arguments(given)
    arguments = make_parser().parse_args(words)
    notes: list[str] = []
    with opened(arguments.bag, warnings=notes) as reader, noting(lambda: notes):
        try:
            with room_for_large_images():
                start_ros([] if words == given else given)
                node = rclpy.create_node('replay_bag')
            player = Player(node, reader, arguments.topics)
            say_notes(notes)
            notes.clear()
            for topic, kind in player.missing.items():
                say_notes([f'{topic} is not played, {kind} is not installed'])
            _play(player, reader, arguments)
        finally:
            rclpy.try_shutdown()
    return 0


def _play(player: Player, reader: AnyReader, arguments: argparse.Namespace) -> None:
    for topic in arguments.wait:
        if not player.wait_for_subscriber(topic, timeout_s=30.0):
            say_notes([f'nobody listens to {topic} after 30 s, playing anyway'])
    first_ns = reader.start_time
    while True:
        with tqdm(total=round(reader.duration / 1e9, 1), unit='s', disable=None, delay=2) as bar:

            def advance(topic: str, bag_ns: int, data: bytes) -> None:
                bar.update(round((bag_ns - first_ns) / 1e9, 1) - bar.n)

            played = player.play(rate=arguments.rate, clock=arguments.clock, on_publish=advance)
        say_notes(player.warnings)
        print(f'{counted(played, "message")} played')
        if not arguments.loop:
            return


if __name__ == '__main__':
    sys.exit(main())
