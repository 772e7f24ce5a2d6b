"""`build_engine --choose`, and the node's threads: fastest without taking a core for nothing."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import write_tiny_model

from vpr_ros.build_engine import main
from vpr_ros.core.describing.choosing import Way, best_of, measured_ways, threads_within
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.parity import probes
from vpr_ros.core.describing.shipped import default_model


def ways(*taken: tuple[int, float]) -> list[Way]:
    return [Way('cpu', 'onnxruntime', threads, taken_ms, 1.0) for threads, taken_ms in taken]


@pytest.mark.parametrize(
    ('taken', 'threads'),
    [
        ([(1, 20.0), (2, 11.0), (4, 10.6)], 2),
        ([(1, 20.0), (2, 11.0), (4, 6.0)], 4),
        ([(1, 10.0), (2, 10.0)], 1),
        ([(1, 10.0), (0, 2.0)], 0),
    ],
)
def test_threads_that_hardly_help_are_left_to_the_robot(
    taken: Iterable[tuple[int, float]], threads: int
) -> None:
    assert best_of(ways(*taken)).threads == threads


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.1, 1e3)), min_size=1))
def test_the_choice_is_never_slower_than_1_05_times_the_fastest(
    taken: list[tuple[int, float]],
) -> None:
    assert best_of(ways(*taken)).taken_ms <= 1.05 * min(taken_ms for _, taken_ms in taken)


@pytest.mark.parametrize(
    ('share', 'cores', 'threads'),
    [(1.0, 8, 8), (0.5, 8, 4), (0.3, 8, 2), (0.25, 2, 1), (0.0, 8, 1), (0.1, 10, 1)],
)
def test_a_share_of_the_cores_is_kept_to_and_is_at_least_one(
    monkeypatch: pytest.MonkeyPatch, share: float, cores: int, threads: int
) -> None:
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(cores)))
    assert threads_within(share) == threads


def test_every_way_on_this_machine_is_measured_and_describes_alike(tmp_path: Path) -> None:
    model = Model.open(write_tiny_model(tmp_path / 'model').folder)
    found, _ = measured_ways(model, most_threads=3, cache=tmp_path)
    assert {way.threads for way in found if way.backend == 'cpu'} == {1, 2, 3}
    assert all(way.taken_ms > 0 and way.cosine > 0.999 for way in found)


def test_the_command_says_what_to_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_tiny_model(tmp_path / 'model').folder
    words = ['--model', str(model), '--choose', '--threads', '2', '--cache', str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.count('<- take this') == 1
    assert 'parameters: backend: ' in said and 'threads: ' in said


def test_a_choice_for_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--choose', '--for', '8.9']) == 2
    assert '--choose' in capsys.readouterr().err


def test_the_threads_of_the_node_follow_the_share_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from vpr_ros.node.config import NodeConfig

    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(8)))
    assert NodeConfig().inference_threads == 8
    assert NodeConfig(core_share=0.5).inference_threads == 4
    assert NodeConfig(core_share=0.5, threads=3).inference_threads == 3


def test_threads_that_wait_take_no_core() -> None:
    model = Model.open(default_model(), precision='fp32')
    taken_s: dict[int, list[float]] = {1: [], 4: []}
    describers = {threads: OnnxDescriber(model, threads=threads) for threads in taken_s}
    for _ in range(10):
        for threads, describer in describers.items():
            describer.describe(probes()[:1])
            started_s = time.process_time()
            describer.describe(probes()[:1])
            taken_s[threads].append(time.process_time() - started_s)
    assert min(taken_s[4]) < 2.0 * min(taken_s[1])
