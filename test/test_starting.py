"""How the node starts: what it says of arguments it cannot use, and how Ctrl-C ends it."""

import os
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from the wheels of `make setup`')
from lifecycle_msgs.msg import State
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.parameter import parameter_value_to_python
from ros_world import ROOT, Peer, domain, running
from worlds import straight_drive, unit_rows, write_map, write_tiny_model

from vpr_ros import localize
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.settings import checked
from vpr_ros.evaluating.domain import free_domain
from vpr_ros.node.config import NodeConfig
from vpr_ros.node.starting import without_ros_arguments

NODE = (sys.executable, '-m', 'vpr_ros.localize')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model and a map that can be opened."""
    folder = tmp_path_factory.mktemp('world')
    model = write_tiny_model(folder / 'model')
    rows = unit_rows(4, model.card.descriptor_size)
    write_map(folder / 'map', rows, straight_drive(4), model_sha256=model.card.sha256)
    return {'map': folder / 'map', 'model': folder / 'model'}


def started(*ros_arguments: str) -> subprocess.CompletedProcess[str]:
    """The node, started with arguments that it should refuse; without a map it ends anyway."""
    with free_domain() as number:
        return subprocess.run(
            [*NODE, '--ros-args', *ros_arguments],
            cwd=ROOT,
            env=os.environ | {'ROS_DOMAIN_ID': str(number)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (('--params-file', 'broken.yaml'), ('broken.yaml', 'line 3', 'ros__parameters')),
        (('--params-file', 'missing.yaml'), ('missing.yaml', 'opening', 'ros__parameters')),
        (('--log-level', 'loud'), ('loud', 'debug, info, warn, error or fatal')),
        (('-p', 'map'), ("'-p map'", '-p NAME:=VALUE')),
        (('-r', '__node'), ("'-r __node'", '-r FROM:=TO')),
        (('--colour',), ('--colour', '--params-file')),
        (('-p', 'base_T_camera:=5'), ('base_T_camera: 5 is int, expected list',)),
        (('-p', 'candidates:=0'), ('candidates', 'Min: 1, Max: 1000, value: 0')),
        (('-p', 'base_T_camera:=[a]'), ("base_T_camera: ['a'], expected a list of numbers",)),
    ],
    ids=lambda value: ' '.join(value),
)
def test_an_argument_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], told: tuple[str, ...]
) -> None:
    (tmp_path / 'broken.yaml').write_text('/**:\n  ros__parameters:\n    map: [a\n')
    done = started(*(str(tmp_path / a) if a.endswith('.yaml') else a for a in arguments))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith('localize: ')]
    assert len(lines) == 1 and all(part in lines[0] for part in told)
    assert 'Traceback' not in done.stderr and '.c:' not in lines[0]
    name = arguments[-1].partition(':=')[0]
    assert not lines[0].endswith(f': {name}')  # as rclpy ends each of its sentences


@pytest.mark.parametrize(
    ('command', 'begins'),
    [
        (('localize', '--ros-args', '-p', 'map:=m'), 'localize: '),
        (('replay_bag', str(ROOT / 'demo' / 'drives' / 'day')), 'error: '),
    ],
)
def test_without_a_folder_for_logs_the_variable_for_another_one_is_named(
    command: tuple[str, ...], begins: str
) -> None:
    """As with a home that is read-only, in which ROS keeps its logs."""
    module, *words = command
    done = subprocess.run(
        [sys.executable, '-m', f'vpr_ros.{module}', *words],
        cwd=ROOT,
        env=os.environ | {'ROS_LOG_DIR': '/dev/null/logs'},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(begins)]
    assert '/dev/null/logs' in line and line.endswith('name one with ROS_LOG_DIR')
    assert 'Traceback' not in done.stderr and '.cpp:' not in line


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (('--ros-args', '-r', '__node'), '-r FROM:=TO'),
        (('--ros-args', '--log-level', 'loud'), 'debug, info, warn, error or fatal'),
    ],
)
def test_ros_arguments_that_the_player_cannot_use_are_one_line(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from vpr_ros import replay_bag

    assert replay_bag.main(['bag', *words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if 'rcl' not in line]
    assert len(said) == 1 and said[0].startswith('error: ') and told in said[0]


def test_words_for_ros_are_those_after_their_mark() -> None:
    assert without_ros_arguments(['a', 'b\udce4']) == ['a', 'b\udce4']
    words = ['a', '--ros-args', '-r', '/x:=/y', '--', '--loop']
    assert without_ros_arguments(words) == ['a', '--loop']
    with pytest.raises(ConfigError, match='not UTF-8, and ROS takes no such name; rename it'):
        without_ros_arguments(['b\udce4', '--ros-args'])


@pytest.mark.parametrize(
    ('words', 'step'),
    [
        (('map:=maps/office one',), "--ros-args -p 'map:=maps/office one', see"),
        (('--map', 'office'), '--ros-args -p NAME:=VALUE'),
        (('--params-file', 'mine.yaml'), '--ros-args -p NAME:=VALUE'),
        (('-p', 'map:=office'), '--ros-args -p NAME:=VALUE'),
    ],
)
def test_words_that_rclpy_would_ignore_are_refused(
    words: tuple[str, ...], step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert localize.main(list(words)) == 2
    assert f'localize: {words[0]}: not a ROS argument; write' in (said := capsys.readouterr().err)
    assert step in said


def test_help_says_how_to_start_the_node_and_starts_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert localize.main(['--help']) == 0
    assert 'usage: localize --ros-args -p map:=FOLDER' in capfd.readouterr().out


def test_names_that_the_node_does_not_have_are_told_with_the_nearest_one(tmp_path: Path) -> None:
    given = {
        'image_topics': '/camera',
        'xyzzy': 1,
        'base_frame': 'base',
        'use_sim_time': True,
        'qos_overrides./image.subscription.depth': 3,
    }
    file = tmp_path / 'given.yaml'
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': given}}))
    done = started('--params-file', str(file), '-p', 'modle:=x')
    warnings = [line for line in done.stderr.splitlines() if '[WARN]' in line]
    assert len(warnings) == 3
    assert 'image_topics' in warnings[0] and 'did you mean image_topic?' in warnings[0]
    assert 'modle' in warnings[1] and 'did you mean model?' in warnings[1]
    assert 'xyzzy' in warnings[2] and 'config/localize.yaml' in warnings[2]


def dumped(peer: Peer) -> dict[str, Any]:
    """What `ros2 param dump /localize` writes, by the same services."""
    asked = ListParameters.Request()
    names = peer.call(ListParameters, '/localize/list_parameters', asked).result.names
    asked = GetParameters.Request(names=names)
    values = peer.call(GetParameters, '/localize/get_parameters', asked).values
    parameters: dict[str, Any] = {}
    for name, value in sorted(zip(names, values), key=lambda pair: pair[0]):
        *outer, last = name.split('.')
        place = parameters
        for part in outer:
            place = place.setdefault(part, {})
        plain = parameter_value_to_python(value)
        place[last] = list(plain) if isinstance(plain, (list, tuple, array)) else plain
    return {'/localize': {'ros__parameters': parameters}}


def test_what_ros2_param_dump_writes_can_be_read_back(
    world: dict[str, Any], tmp_path: Path
) -> None:
    with domain() as (number, peer), running(number, **world, tf_rate=30.0):
        written = dumped(peer)
    assert written['/localize']['ros__parameters']['base_T_camera'] == []
    file = tmp_path / 'localize.yaml'
    file.write_text(yaml.dump(written, default_flow_style=False))
    log = tmp_path / 'log'
    with (
        domain() as (number, peer),
        running(number, '--params-file', str(file), log=log),
    ):
        peer.wait(
            lambda: peer.state() == State.PRIMARY_STATE_ACTIVE,
            'the node does not start from its own dump',
        )
        assert dumped(peer) == written
    warnings = [line for line in log.read_text().splitlines() if 'WARN' in line]
    assert all('vpr_msgs is not built' in line for line in warnings)


def test_an_empty_list_without_a_type_is_no_mounting() -> None:
    assert checked(NodeConfig, {'base_T_camera': []}).mountings() == [None]
    with pytest.raises(ConfigError, match='expected a list of numbers'):
        checked(NodeConfig, {'base_T_camera': [None]})


@pytest.mark.parametrize('after_s', [0.0, 0.1, 0.3, 0.6, 1.0, 1.5])
def test_ctrl_c_while_it_starts_ends_it_without_a_traceback(
    world: dict[str, Any], after_s: float
) -> None:
    given = [word for name, value in world.items() for word in ('-p', f'{name}:={value}')]
    with free_domain() as number:
        process = subprocess.Popen(
            [*NODE, '--ros-args', *given],
            cwd=ROOT,
            env=os.environ | {'ROS_DOMAIN_ID': str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # Python itself takes a moment to start, when no code of ours runs; numpy comes early.
        deadline = time.monotonic() + 30
        while 'numpy' not in Path(f'/proc/{process.pid}/maps').read_text():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == 0, printed
    assert 'Traceback' not in printed and 'KeyboardInterrupt' not in printed
