"""The bond with Nav2's lifecycle manager, and the bringup with it and without it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
import rclpy
from interfaces import sourced
from ros_world import ROOT
from waiting import until
from worlds import straight_drive, unit_rows, write_map, write_tiny_model

from vpr_ros.evaluating.domain import free_domain
from vpr_ros.node import bond

MANAGER = ROOT / 'test' / 'nav2_manager_stand_in.py'


class StatusStandIn:
    """Stands in for bond.msg.Status: has its fields and no others."""

    __slots__ = (
        'active', 'header', 'heartbeat_period', 'heartbeat_timeout', 'id', 'instance_id',
    )  # fmt: skip

    def __init__(self) -> None:
        self.header = SimpleNamespace(stamp=None)


class NodeStandIn:
    """Stands in for a node: keeps what is published and logged."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        self.context.init(args=[])
        self.topics: list[str] = []
        self.sent: list[Any] = []
        self.told: list[str] = []

    def create_publisher(self, kind: type, topic: str, depth: int) -> Any:
        self.topics.append(topic)
        return SimpleNamespace(publish=self.sent.append, wait_for_all_acked=lambda timeout: True)

    def destroy_publisher(self, publisher: Any) -> None:
        self.topics.pop()

    def get_name(self) -> str:
        return 'localize'

    def get_clock(self) -> Any:
        return rclpy.clock.Clock()

    def get_logger(self) -> Any:
        def tell(text: str, **_: Any) -> None:
            self.told.append(text)

        return SimpleNamespace(info=tell, error=tell)


@pytest.fixture
def node() -> Any:
    made = NodeStandIn()
    yield made
    made.context.try_shutdown()


def beats_of(node: NodeStandIn, least: int) -> list[Any]:
    """What a bond of one activation sends until some heartbeats are there; no executor spins."""
    node.sent.clear()
    opened = bond.open_bond(node, expected=True)
    assert opened is not None
    until(lambda: len(node.sent) >= least, f'{len(node.sent)} heartbeats, expected {least}')
    opened.close()
    return list(node.sent)


def test_a_bond_beats_until_it_says_goodbye(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bond, 'Status', StatusStandIn)
    *beats, goodbye = beats_of(node, 4)
    assert len(beats) >= 4 and all(beat.active for beat in beats)
    assert goodbye.active is False
    assert {message.id for message in (*beats, goodbye)} == {'localize'}
    assert {message.instance_id for message in beats} == {goodbye.instance_id}
    assert beats[0].heartbeat_period == 0.25 and beats[0].heartbeat_timeout == 4.0
    assert beats[0].header.stamp.sec > 0
    assert node.topics == [] and node.told == []


def test_each_activation_is_another_bond(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bond, 'Status', StatusStandIn)
    first, second = beats_of(node, 1), beats_of(node, 1)
    assert first[0].instance_id != second[0].instance_id


def test_a_bond_ends_in_silence_when_rclpy_has_ended(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bond, 'Status', StatusStandIn)
    opened = bond.open_bond(node, expected=True)
    node.context.try_shutdown()
    opened.close()
    assert all(message.active for message in node.sent) and node.told == []


def test_a_signal_that_comes_while_a_bond_says_goodbye_keeps_nothing_from_closing(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bond, 'Status', StatusStandIn)
    opened = bond.open_bond(node, expected=True)
    assert opened is not None

    def shut_down(timeout: Any) -> bool:
        node.context.try_shutdown()
        raise RuntimeError('rcl: the context is invalid')

    opened._publisher.wait_for_all_acked = shut_down
    opened.close()
    assert node.sent[-1].active is False and node.told == []


def test_without_the_package_the_log_says_how_to_do_without(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bond, 'Status', None)
    assert bond.open_bond(node, expected=False) is None
    assert node.told == []
    assert bond.open_bond(node, expected=True) is None
    assert 'bond_timeout: 0.0' in node.told[0] and 'ros-$ROS_DISTRO-bond' in node.told[0]


def test_a_broken_installation_of_the_package_keeps_no_node_from_working(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bond, 'Status', StatusStandIn)
    monkeypatch.setattr(node, 'create_publisher', None)
    assert bond.open_bond(node, expected=True) is None
    assert node.told[0].startswith('bond: ')


# With a manager ----------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments with which the node can be activated, and waits for a manager."""
    folder = tmp_path_factory.mktemp('world')
    model = write_tiny_model(folder / 'model')
    rows = unit_rows(4, model.card.descriptor_size)
    write_map(folder / 'map', rows, straight_drive(4), model_sha256=model.card.sha256)
    given = ['autostart:=false', f'map:={folder}/map', f'model:={folder}/model']
    return ['--ros-args', *(word for one in given for word in ('-p', one))]


@contextmanager
def started(
    world: list[str], log: Path, variables: Mapping[str, str]
) -> Iterator[tuple['subprocess.Popen[bytes]', Callable[..., 'subprocess.Popen[str]']]]:
    """The node in a domain and an environment, and what starts a manager in the same."""
    managers = []

    def managed(bond_timeout: float, *steps: str) -> 'subprocess.Popen[str]':
        command = [sys.executable, str(MANAGER), 'localize', str(bond_timeout), *steps]
        managers.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        )
        return managers[-1]

    with free_domain() as number, log.open('wb') as output:
        environment = {**variables, 'ROS_DOMAIN_ID': str(number)}
        command = [sys.executable, '-m', 'vpr_ros.localize', *world]
        node = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            yield node, managed
            if node.poll() is None:
                node.terminate()
                assert node.wait(20) == 0
        finally:
            for process in (node, *managers):
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()


def test_a_manager_without_a_bond_brings_the_node_up(world: list[str], tmp_path: Path) -> None:
    with started(world, tmp_path / 'log', os.environ) as (_, managed):
        printed, _ = managed(0.0, 'startup', 'pause', 'resume').communicate(timeout=90)
    assert printed.splitlines() == [
        'startup: active without a bond',
        'pause: inactive, ',
        'resume: active without a bond',
    ]
    if bond.Status is None:
        log = (tmp_path / 'log').read_text()
        assert log.count('bond_timeout: 0.0') == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_manager_forms_a_bond_and_sees_it_end(
    world: list[str], tmp_path: Path, ros_workspace: Path
) -> None:
    variables = sourced(ros_workspace / 'install/bond/share/bond/local_setup.bash')
    with started(world, tmp_path / 'log', variables) as (node, managed):
        manager = managed(4.0, 'startup', 'pause', 'resume', 'broken')
        assert manager.stdout is not None
        assert manager.stdout.readline() == 'startup: active with a bond, heartbeats: True\n'
        assert manager.stdout.readline() == 'pause: inactive, the node said goodbye\n'
        assert manager.stdout.readline() == 'resume: active with a bond, heartbeats: True\n'
        assert manager.stdout.readline() == 'watching\n'
        node.kill()
        assert manager.stdout.readline() == 'broken: no heartbeat\n'
        assert manager.wait(20) == 0
    assert 'bond_timeout' not in (tmp_path / 'log').read_text()


def test_a_node_that_started_by_itself_is_refused_by_a_manager(
    world: list[str], tmp_path: Path
) -> None:
    """Which is why launch/localize_nav2.launch.py never lets it."""
    arguments = [word.replace('autostart:=false', 'autostart:=true') for word in world]
    with started(arguments, tmp_path / 'log', os.environ) as (_, managed):
        log = tmp_path / 'log'
        until(lambda: 'places of' in log.read_text(), 'the node does not open its map')
        printed, _ = managed(0.0, 'startup').communicate(timeout=90)
    assert printed == 'failed: transition 1 was refused\n'
