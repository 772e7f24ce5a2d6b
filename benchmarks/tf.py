"""map -> odom as navigation meets it: how fresh it is, and what late odometry does to it.

    python benchmarks/tf.py [--late 0 0.4 1.0]

The demo's drive at dusk is played with /clock into the real node in this process, its odometry as
late as told. tf2_ros is not among the wheels, so a seam keeps what the node would send. A listener
that asks 20 times a second, as a costmap does, is then played back on these messages: it takes the
newest transform that has come.
"""

import argparse
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from inputs import DRIVES
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from sections import map_of_day
from sensor_msgs.msg import CompressedImage

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.geometry import compose, invert
from vpr_ros.core.types import Poses
from vpr_ros.drives import open_drive
from vpr_ros.evaluating.domain import free_domain
from vpr_ros.node.conversions import stamp_message
from vpr_ros.node.lifecycle import LocalizeNode
from vpr_ros.node.spinning import until_shutdown

IMAGES, ODOMETRY = '/camera/image/compressed', '/odom'
TICK_NS = 5_000_000
ASKED_NS = 50_000_000
FRESH_S = (0.1, 0.3, 1.0)


@dataclass
class Kept:
    """Stands for tf2_ros: keeps what is sent and when, by the node's clock."""

    now_ns: int = 0
    came_ns: list[int] = field(default_factory=list)
    stamp_ns: list[int] = field(default_factory=list)
    poses: list[Poses] = field(default_factory=list)

    def latest(self, parent: str, child: str) -> None:
        """No mounting is known: the map's holds."""

    def clear(self) -> None:
        """Nothing is buffered."""

    def broadcast(self, parent: str, child: str, pose: Poses, at_ns: int) -> None:
        """Keep a transform."""
        self.came_ns.append(self.now_ns)
        self.stamp_ns.append(at_ns)
        self.poses.append(pose)


@dataclass
class Run:
    """What a listener finds."""

    fresh: dict[float, float]  # share of the time after the first transform, by tolerance
    at_now: float  # share of look-ups at now() that succeed
    longest_gap_s: float
    error_m: float  # median distance of map -> base through tf from the truth
    sent: int


def messages(late_s: float) -> list[tuple[int, str, bytes]]:
    """When, where and what is published, in order."""
    found = []
    with AnyReader([DRIVES / 'dusk']) as reader:
        wanted = [entry for entry in reader.connections if entry.topic in (IMAGES, ODOMETRY)]
        for connection, at_ns, data in reader.messages(wanted):
            late_ns = round(late_s * 1e9) if connection.topic == ODOMETRY else 0
            found.append((at_ns + late_ns, connection.topic, data))
    return sorted(found, key=lambda entry: entry[0])


def play(kept: Kept, entries: list[tuple[int, str, bytes]], context: rclpy.Context) -> None:
    """Publish everything at the recorded speed, with /clock 200 times a second."""
    peer = Node('peer', context=context)
    publishers = {
        IMAGES: peer.create_publisher(CompressedImage, IMAGES, 1),
        ODOMETRY: peer.create_publisher(Odometry, ODOMETRY, 50),
    }
    clock = peer.create_publisher(Clock, '/clock', 1)
    time.sleep(1.0)
    first_ns, waiting = entries[0][0], list(reversed(entries))
    started_s, at_ns = time.monotonic(), first_ns
    while waiting:
        kept.now_ns = at_ns
        clock.publish(Clock(clock=stamp_message(at_ns)))
        while waiting and waiting[-1][0] <= at_ns:
            _, topic, data = waiting.pop()
            publishers[topic].publish(data)
        at_ns += TICK_NS
        time.sleep(max(started_s + (at_ns - first_ns) / 1e9 - time.monotonic(), 0))
    time.sleep(0.5)
    peer.destroy_node()


def measure(late_s: float, map_folder: Path) -> Run:
    """Play the drive once."""
    with free_domain() as domain:
        return measure_in(domain, late_s, map_folder)


def measure_in(domain: int, late_s: float, map_folder: Path) -> Run:
    """The same in a ROS domain."""
    kept, context = Kept(), rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    overrides = {
        'map': str(map_folder),
        'image_topic': '/camera/image',
        'image_transport': 'compressed',
        'publish_tf': True,
        'use_sim_time': True,
    }
    node = LocalizeNode(
        transforms=kept,  # type: ignore[arg-type]
        context=context,
        parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.trigger_configure()
    node.trigger_activate()
    spinning = threading.Thread(target=spin, args=(executor,), daemon=True)
    spinning.start()
    entries = messages(late_s)
    play(kept, entries, context)
    node.close()
    rclpy.try_shutdown(context=context)
    spinning.join(5)
    images_ns = [at_ns for at_ns, topic, _ in entries if topic == IMAGES]
    return listened(kept, images_ns[-1])


def spin(executor: SingleThreadedExecutor) -> None:
    """Handle messages until the context is shut down."""
    with until_shutdown(executor.context):
        executor.spin()


def listened(kept: Kept, end_ns: int) -> Run:
    """What a listener that asks 20 times a second until the last image finds."""
    drive = open_drive(DRIVES / 'dusk')
    came, stamps = np.array(kept.came_ns), np.array(kept.stamp_ns)
    asked = np.arange(came[0], end_ns, ASKED_NS)
    newest = np.searchsorted(came, asked, 'right') - 1
    age_s = (asked - stamps[newest]) / 1e9
    cameras, known = drive.trajectory.at(asked)
    truth = compose(cameras, invert(drive.base_T_camera))  # the demo's odometry is the truth
    through_tf = compose(np.array(kept.poses)[newest], truth)
    error_m = np.linalg.norm(through_tf[known, :3] - truth[known, :3], axis=1)
    return Run(
        fresh={tolerance: float((age_s <= tolerance).mean()) for tolerance in FRESH_S},
        at_now=float((age_s <= 0).mean()),
        longest_gap_s=float(np.diff(came).max() / 1e9),
        error_m=float(np.median(error_m)),
        sent=len(came),
    )


def main() -> int:
    """Print a table, a row for each lateness."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--late', nargs='+', type=float, default=[0.0, 0.4, 1.0], metavar='S')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Model.open(default_model())
        map_folder = Path(folder) / 'map'
        map_of_day(OnnxDescriber(model, singly=False), map_folder)
        columns = [f'fresh {tolerance:g} s' for tolerance in FRESH_S]
        print(
            '| odometry late s | '
            + ' | '.join(columns)
            + ' | at now() | longest gap s | error m |'
        )
        print('|---' * (len(columns) + 4) + '|')
        for late_s in arguments.late:
            run = measure(late_s, map_folder)
            shares = ' | '.join(f'{share:.3f}' for share in run.fresh.values())
            print(
                f'| {late_s:g} | {shares} | {run.at_now:.3f} | {run.longest_gap_s:.2f} '
                f'| {run.error_m:.2f} |',
                flush=True,
            )
    return 0


if __name__ == '__main__':
    sys.exit(main())
