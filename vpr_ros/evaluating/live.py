"""Send a bag through the real node in its own process, and collect what it answers.

The node runs in a ROS domain of its own, so that no other robot's topics mix in. Images are sent
reliably: what is missing at the end was dropped by the node for a newer image, not lost on the
way. A computer that is busy drops more, so a run can also send each image only after the answer to
the one before. A run ends when answers have stopped for longer than the slowest of them took.
"""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread
from typing import IO, Any, NoReturn, TypeAlias

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from tqdm import tqdm

from vpr_ros.core.camera import camera_info_topic
from vpr_ros.core.errors import DriveError
from vpr_ros.core.settings import Value
from vpr_ros.core.types import Poses
from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.domain import free_domain
from vpr_ros.node.conversions import pose_array, stamp_ns
from vpr_ros.node.diagnostics import doubt_of, latencies_of
from vpr_ros.node.large_images import room_for_large_images
from vpr_ros.node.player import Player, opened
from vpr_ros.node.qos import LATCHED, RECENT
from vpr_ros.node.spinning import until_shutdown
from vpr_ros.node.starting import start_ros

OnAnswer: TypeAlias = Callable[[int, PoseWithCovarianceStamped | None, str], None]

_READY_S = 60.0
_QUIET_S = 1.5  # shortest silence that ends a run; diagnostics still come within it
_OFTEN_S = 0.2  # between diagnostics: about once per image, so that each gets its own reason
_SLOWEST_TIMES = 3.0  # a silence so many times as long as the slowest answer took ends a run
_FIRST_ANSWER_S = 30.0  # wait for the first answer
_UNANSWERED_S = 5.0  # shortest wait for an answer before the next image is sent
_STOP_S = 10.0
_COMPRESSED = 'sensor_msgs/msg/CompressedImage'
_NODE = """
import ctypes, signal
ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG
from vpr_ros.localize import main
raise SystemExit(main())
"""
"""The node, which the kernel ends with whoever started it, also by SIGKILL."""


@dataclass(frozen=True, slots=True)
class LiveRun:
    """The answers of the node to a bag."""

    answers: list[Answer]  # by stamp
    sent: int  # images
    dropped: int  # images the node skipped for a newer one
    node_latency_ms: dict[str, dict[str, float]]  # by stage: p50, p95, p99, from its diagnostics


class _Listener(Node):
    """Remembers when each answer came."""

    def __init__(self, on_answer: OnAnswer | None) -> None:
        super().__init__('evaluate_bag')
        self._on_answer = on_answer
        self.candidates: dict[int, Poses] = {}
        self.poses: dict[int, PoseWithCovarianceStamped] = {}
        self.arrived_s: dict[int, float] = {}
        self.node_latency_ms: dict[str, dict[str, float]] = {}
        self.doubt = ''  # why there is no fix, as the node said last
        self.is_known = False  # to the node, whose answers come from now on
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, RECENT)
        self.create_subscription(PoseArray, '/localize/candidates', self._on_candidates, RECENT)
        self.create_subscription(
            PoseWithCovarianceStamped, '/localize/pose', self._on_pose, LATCHED
        )
        # The last one, because a node learns of subscriptions in their order: where the state
        # comes, which the node tells every new listener, the node knows the others too.
        self.create_subscription(String, '/localize/state', self._on_state, LATCHED)

    def _on_state(self, _: String) -> None:
        self.is_known = True

    def _on_candidates(self, message: PoseArray) -> None:
        at_ns = stamp_ns(message.header.stamp)
        self.arrived_s.setdefault(at_ns, time.monotonic())
        poses = [pose_array(pose, source='candidates') for pose in message.poses]
        before = next(reversed(self.candidates), None)
        self.candidates[at_ns] = np.array(poses).reshape(-1, 7)
        if self._on_answer and before is not None:
            # Its pose, on a topic of its own, has come by now.
            self._on_answer(before, self.poses.get(before), self.doubt)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.node_latency_ms.update(latencies_of(message))
        self.doubt = doubt_of(message)

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        at_ns = stamp_ns(message.header.stamp)
        self.arrived_s[at_ns] = time.monotonic()
        self.poses[at_ns] = message


def run_live(
    bag: Path,
    image_topic: str | None,
    parameters: Mapping[str, Value],
    *,
    rate: float = 1.0,
    every_image: bool = False,
    on_answer: OnAnswer | None = None,
) -> LiveRun:
    """Launch the node with `parameters`, play the bag's images at `rate`, and return its answers.

    The calibration beside the images is played, too.

    every_image: send each image only when the one before is answered, so that none is dropped.
    on_answer: called while the bag plays with each image's stamp in ns, its pose message, None
    without a fix, and why there was none. Raises DriveError when the node ends early, with the
    last line it said.
    """
    with free_domain() as domain, opened(bag) as reader:
        connections = {entry.topic: entry for entry in reader.connections}
        topic = image_topic or _only_image_topic(connections)
        parameters = {**parameters, **_transport(topic, connections[topic].msgtype)}
        if on_answer is not None:
            parameters = {'diagnostics_period': _OFTEN_S, **parameters}
        with (
            _node_process(parameters, domain) as (process, log),
            _spinning(domain, on_answer) as listener,
            _bar(connections[topic].msgcount, shown=on_answer is None) as bar,
        ):
            player = Player(listener, reader, [topic, camera_info_topic(topic)])
            _wait_until_ready(player, listener, topic, process, log)
            sent_s: dict[int, float] = {}

            def note(played: str, _: int, data: bytes) -> None:
                if played != topic:
                    return
                if every_image:
                    _wait_for_answer(listener, sent_s, process)
                seconds, nanoseconds = struct.unpack_from('<iI', data, 4)
                sent_s[seconds * 10**9 + nanoseconds] = time.monotonic()
                bar.update()

            player.play(rate=rate, on_publish=note)
            _wait_until_quiet(listener, sent_s, process)
            if process.poll() is not None:
                raise DriveError(f'the node ended while the bag was played: {_last_line(log)}')
    answers = _answers(listener, sent_s)
    return LiveRun(answers, len(sent_s), len(sent_s) - len(answers), listener.node_latency_ms)


def _bar(images: int, *, shown: bool) -> 'tqdm[NoReturn]':
    """Shows on a terminal how far the bag is played."""
    return tqdm(total=images, unit='image', disable=None if shown else True, delay=2)


def _transport(topic: str, type_name: str) -> dict[str, Value]:
    """The node's parameters for images of this topic."""
    if type_name == _COMPRESSED:
        base = topic.removesuffix('/compressed')
        return {'image_topic': base, 'image_transport': 'compressed', 'image_qos': 'default'}
    return {'image_topic': topic, 'image_transport': 'raw', 'image_qos': 'default'}


def _answers(listener: _Listener, sent_s: Mapping[int, float]) -> list[Answer]:
    """What came back for the images that were sent, by stamp."""
    return [
        Answer(
            stamp_ns=at_ns,
            candidates=listener.candidates[at_ns],
            pose=_pose_of(listener.poses.get(at_ns)),
            probability=float('nan'),
            latency_ms={'end_to_end': (listener.arrived_s[at_ns] - sent_s[at_ns]) * 1e3},
            covariance=_covariance_of(listener.poses.get(at_ns)),
        )
        for at_ns in sorted(listener.candidates.keys() & sent_s.keys())
    ]


def _pose_of(message: PoseWithCovarianceStamped | None) -> Poses | None:
    return None if message is None else pose_array(message.pose.pose, source='pose')


def _covariance_of(message: PoseWithCovarianceStamped | None) -> NDArray[np.float64] | None:
    return None if message is None else np.array(message.pose.covariance).reshape(6, 6)


def _only_image_topic(connections: Mapping[str, Any]) -> str:
    kinds = (_COMPRESSED, 'sensor_msgs/msg/Image')
    topics = [topic for topic, entry in connections.items() if entry.msgtype in kinds]
    if len(topics) != 1:
        raise DriveError(
            f'--image-topic: the bag has {len(topics)} image topics: {", ".join(topics)}'
        )
    return topics[0]


@contextmanager
def _node_process(
    parameters: Mapping[str, Value], domain: int
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """The node `localize`; ended by SIGINT."""
    given = [
        word for name, value in parameters.items() for word in ('-p', f'{name}:={_yaml(value)}')
    ]
    command = [sys.executable, '-c', _NODE, '--ros-args', *given]
    environment = os.environ | {'ROS_DOMAIN_ID': str(domain)}
    with TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield process, log
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _yaml(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@contextmanager
def _spinning(domain: int, on_answer: OnAnswer | None) -> Iterator[_Listener]:
    """A listening node whose callbacks run in a thread."""
    with room_for_large_images():
        start_ros([], domain=domain)
        listener = _Listener(on_answer)
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    thread = Thread(target=_spin, args=(executor,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        rclpy.try_shutdown()
        thread.join()


def _spin(executor: SingleThreadedExecutor) -> None:
    with until_shutdown():
        executor.spin()


def _wait_until_ready(
    player: Player,
    listener: _Listener,
    topic: str,
    process: subprocess.Popen[bytes],
    log: IO[bytes],
) -> None:
    """Until the node listens to the images and knows of the listener."""
    deadline_s = time.monotonic() + _READY_S
    while not (player.wait_for_subscriber(topic, timeout_s=0.1) and listener.is_known):
        if process.poll() is not None:
            raise DriveError(f'the node did not start: {_last_line(log)}')
        if time.monotonic() > deadline_s:
            raise DriveError(
                f'the node does not listen to {topic} after {_READY_S:.0f} s: {_last_line(log)}'
            )


def _wait_for_answer(
    listener: _Listener, sent_s: dict[int, float], process: subprocess.Popen[bytes]
) -> None:
    """Until the newest image is answered, or gets no answer (as one that cannot be decoded)."""
    newest = next(reversed(sent_s), None)
    while newest is not None and newest not in listener.candidates and process.poll() is None:
        longest_s = max(_UNANSWERED_S, patience_s(sent_s, dict(listener.arrived_s)))
        if time.monotonic() - sent_s[newest] > longest_s:
            return
        time.sleep(0.002)


def _wait_until_quiet(
    listener: _Listener, sent_s: Mapping[int, float], process: subprocess.Popen[bytes]
) -> None:
    """Until no answer has come for longer than one may take, or the node has ended."""
    while process.poll() is None:
        arrived_s = dict(listener.arrived_s)  # which the listener's thread goes on filling
        last_s = max([*sent_s.values(), *arrived_s.values()], default=0.0)
        if time.monotonic() - last_s > patience_s(sent_s, arrived_s):
            return
        time.sleep(0.05)


def patience_s(sent_s: Mapping[int, float], arrived_s: Mapping[int, float]) -> float:
    """How long no answer may come before a run is over, by how long the slowest answer took.

    Both: seconds of one clock by the image's stamp. The node answers its newest image last, so
    that after the answer to the last one that was sent there is little left to wait for.
    """
    took_s = [arrived_s[stamp] - sent_s[stamp] for stamp in sent_s.keys() & arrived_s.keys()]
    if not sent_s or (took_s and max(sent_s) in arrived_s):
        return _QUIET_S
    return max(_QUIET_S, _SLOWEST_TIMES * max(took_s)) if took_s else _FIRST_ANSWER_S


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors='replace').strip().splitlines()
    return lines[-1] if lines else 'it said nothing'
