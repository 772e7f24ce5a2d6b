"""Running the node for an evaluation: in which ROS domain, and for how long."""

import os
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')

from rclpy.duration import Duration

from vpr_ros.core.errors import VprError
from vpr_ros.evaluating import domain
from vpr_ros.evaluating.domain import free_domain, is_free
from vpr_ros.evaluating.live import patience_s
from vpr_ros.node.player import Player


def drawn(times: int) -> set[int]:
    found = set()
    for _ in range(times):
        with free_domain() as number:
            found.add(number)
    return found


def test_the_domain_is_none_that_the_environment_names_or_a_process_uses(monkeypatch) -> None:
    monkeypatch.setattr(domain, 'is_free', lambda number: number in (5, 6))
    monkeypatch.setenv('ROS_DOMAIN_ID', '5')
    assert drawn(20) == {6}
    monkeypatch.setenv('ROS_DOMAIN_ID', 'nonsense')
    assert drawn(50) == {5, 6}


def test_a_domain_is_kept_from_others_while_it_is_in_use(monkeypatch) -> None:
    monkeypatch.setattr(domain, 'is_free', lambda number: number in (5, 6))
    monkeypatch.delenv('ROS_DOMAIN_ID', raising=False)
    with free_domain() as first, free_domain() as second:
        assert {first, second} == {5, 6}
        with pytest.raises(VprError, match='every ROS domain'), free_domain():
            pass
    assert drawn(50) == {5, 6}


def test_a_domain_in_which_somebody_is_is_not_free() -> None:
    import rclpy

    with free_domain() as number:
        assert is_free(number) and 1 <= number <= domain.MOST
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=number)
        try:
            node = rclpy.create_node('somebody', context=context)
            assert not is_free(number)
            node.destroy_node()
        finally:
            rclpy.try_shutdown(context=context)


def test_a_port_that_is_taken_makes_its_domain_not_free() -> None:
    with free_domain() as number:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(('', 7400 + 250 * number + 10))
            assert not is_free(number)
        assert is_free(number)


def test_the_lock_of_a_domain_empties_no_file_behind_its_name(tmp_path, monkeypatch) -> None:
    """The folder for temporary files is everybody's."""
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    kept = tmp_path / 'kept'
    kept.write_text('mine')
    for number in range(1, domain.MOST + 1):
        (tmp_path / f'vpr_ros-domain-{os.getuid()}-{number}').symlink_to(kept)
    with free_domain():
        pass
    assert kept.read_text() == 'mine'


def test_a_run_waits_for_a_slow_model_as_long_as_its_slowest_answer_asks() -> None:
    sent_s = {stamp: float(stamp) for stamp in range(10)}
    assert patience_s(sent_s, {}) >= 10  # the first answer of a slow model
    assert patience_s(sent_s, {0: 0.1, 3: 3.1}) == 1.5
    assert patience_s(sent_s, {0: 4.0, 5: 7.0}) == pytest.approx(12.0)
    assert patience_s(sent_s, {0: 4.0, 9: 13.0}) == 1.5  # of the last image: none can follow
    assert patience_s({}, {}) == 1.5


class Publisher:
    """Stands in for a publisher whose listener acknowledges at the third question."""

    def __init__(self) -> None:
        self.asked_ns: list[int] = []

    def publish(self, data: bytes) -> None:
        pass

    def wait_for_all_acked(self, timeout: Duration) -> bool:
        self.asked_ns.append(timeout.nanoseconds)
        return len(self.asked_ns) == 3


class Reader:
    """A bag with two messages, an hour apart by default."""

    is2 = True
    paths = ('made up',)
    connections = (SimpleNamespace(topic='/said', msgtype='std_msgs/msg/String'),)

    def __init__(self, apart_s: int = 3600) -> None:
        self.apart_s = apart_s

    def messages(self, connections):
        for bag_ns in (0, self.apart_s * 10**9):
            yield self.connections[0], bag_ns, b''


def player_of(
    reader: Reader, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, is_running: Any
) -> Player:
    monkeypatch.setattr(
        'vpr_ros.node.player.cdr_converter', lambda reader: lambda data, kind: data
    )
    node = SimpleNamespace(
        context=SimpleNamespace(ok=is_running),
        create_publisher=lambda kind, topic, qos: publisher,
    )
    return Player(node, reader)


def test_a_player_asks_for_acknowledgement_without_holding_up_the_middleware(monkeypatch) -> None:
    """While Fast DDS waits for it, the answers to the last images would not come in."""
    publisher = Publisher()
    assert player_of(Reader(0), publisher, monkeypatch, lambda: True).play() == 2
    assert publisher.asked_ns == [0, 0, 0]


def test_a_clock_moves_where_nothing_is_waited_for_and_is_one_for_all_rounds(monkeypatch) -> None:
    """A rate that is too high for the machine leaves no time to wait."""
    told_s: list[int] = []
    clocks = []

    class Clock(Publisher):
        def publish(self, data: Any) -> None:
            told_s.append(data.clock.sec)

    player = player_of(Reader(), Publisher(), monkeypatch, lambda: True)
    player._node.create_publisher = lambda kind, topic, qos: clocks.append(topic) or Clock()
    for _ in range(2):
        assert player.play(rate=1e9, clock=True) == 2
    assert told_s == [0, 3600, 0, 3600]
    assert clocks == ['/clock']


@pytest.mark.parametrize('clock', [False, True])
def test_a_player_that_waits_through_a_gap_ends_at_once_when_ros_does(monkeypatch, clock) -> None:
    running = threading.Event()
    running.set()
    player = player_of(Reader(), Publisher(), monkeypatch, running.is_set)
    threading.Timer(0.5, running.clear).start()
    started_s = time.monotonic()
    assert player.play(clock=clock) == 1
    assert time.monotonic() - started_s < 3
