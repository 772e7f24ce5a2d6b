"""`build_engine --choose`, and the node's threads: fastest without taking a core for nothing."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import write_tiny_model

from vpr_ros.build_engine import main
from vpr_ros.core.describing.backend import Chosen, measured_for, open_describer, ways_on_cpu
from vpr_ros.core.describing.choosing import Measured, measured_ways, table, threads_within
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.fastest import (
    Fastest,
    Way,
    best_of,
    fastest,
    medians_ms,
    remember,
    remembered,
    steps_of_threads,
)
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.parity import probes
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.errors import BackendError


def taken(*times: tuple[int, float]) -> dict[Way, float]:
    return {Way('onnxruntime', threads): taken_ms for threads, taken_ms in times}


@pytest.mark.parametrize(
    ('times', 'threads'),
    [
        ([(1, 20.0), (2, 11.0), (4, 10.6)], 2),
        ([(1, 20.0), (2, 11.0), (4, 6.0)], 4),
        ([(1, 10.0), (2, 10.0)], 1),
        ([(1, 10.0), (0, 2.0)], 0),
    ],
)
def test_threads_that_hardly_help_are_left_to_the_robot(
    times: Iterable[tuple[int, float]], threads: int
) -> None:
    assert best_of(taken(*times)).threads == threads


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.1, 1e3)), min_size=1))
def test_the_choice_is_never_slower_than_1_05_times_the_fastest(
    times: list[tuple[int, float]],
) -> None:
    taken_ms = taken(*times)
    assert taken_ms[best_of(taken_ms)] <= 1.05 * min(taken_ms.values())


def test_of_as_many_threads_the_backend_that_recall_was_measured_with_is_taken() -> None:
    first, second = Way('onnxruntime', 2), Way('OpenVINO', 2)
    assert best_of({first: 10.0, second: 9.8}) == first
    assert best_of({first: 11.0, second: 9.8}) == second


@pytest.mark.parametrize(
    ('most', 'steps'), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8])]
)
def test_numbers_of_threads_double_up_to_the_most(most: int, steps: list[int]) -> None:
    assert steps_of_threads(most) == steps


class Clock:
    """In place of measuring: times that are given, and how often they were asked for."""

    def __init__(self, *taken_ms: float) -> None:
        self.taken_ms, self.asked = taken_ms, 0

    def __call__(self, describers: Mapping[Way, Describer]) -> dict[Way, float]:
        self.asked += 1
        return dict(zip(describers, self.taken_ms, strict=True))


def test_the_fastest_is_measured_once_for_each_key(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    ways = ways_on_cpu(model, [1, 2, 4], backends=['onnxruntime'])
    key, clock = measured_for(model), Clock(20.0, 11.0, 10.8)
    found = fastest(ways, key=key, cache=tmp_path, measure=clock)
    assert found.way.threads == 2 and clock.asked == 1
    assert list(found.taken_ms.values()) == [20.0, 11.0, 10.8]
    again = fastest(ways, key=key, cache=tmp_path, measure=clock)
    assert (again.way, again.taken_ms, clock.asked) == (found.way, found.taken_ms, 1)
    fastest(ways, key=key | {'processor': 'other'}, cache=tmp_path, measure=clock)
    assert clock.asked == 2
    (kept,) = tmp_path.glob('*.fastest')
    kept.write_bytes(kept.read_bytes()[:-1])  # a file that is not whole is measured anew
    fastest(ways, key=key | {'processor': 'other'}, cache=tmp_path, measure=clock)
    assert clock.asked == 3


def test_a_smaller_share_of_the_cores_goes_by_what_was_measured_of_all(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    key, clock = measured_for(model), Clock(20.0, 11.0, 6.0)
    for steps, threads in (([1, 2, 4], 4), ([1, 2], 2)):
        ways = ways_on_cpu(model, steps, backends=['onnxruntime'])
        found = fastest(ways, key=key, cache=tmp_path, measure=clock)
        assert found.way.threads == threads and clock.asked == 1


def test_a_way_takes_the_median_of_its_images_without_the_first_of_each_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    clock = SimpleNamespace(sleep=lambda seconds: None, perf_counter=lambda: now_s[0])
    monkeypatch.setattr('vpr_ros.core.describing.fastest.time', clock)
    model = write_tiny_model(tmp_path / 'tiny')

    class Timed:
        def __init__(self, *taken_s: float) -> None:
            self.model, self.taken_s = model, iter(taken_s)

        def describe(self, images: object) -> None:
            now_s[0] += next(self.taken_s)

        def describe_with_cells(self, images: object) -> None:
            now_s[0] += 10 * next(self.taken_s)

    turn = (9.0, 0.02, 0.01, 0.7)  # the first image is slow, and one is disturbed
    found = medians_ms({'one': Timed(*turn, *turn)}, rounds=range(2))
    assert found == {'one': pytest.approx(20.0)}
    found = medians_ms({'one': Timed(*turn)}, rounds=range(1), with_cells=True)
    assert found == {'one': pytest.approx(200.0)}


def test_a_new_way_is_measured_beside_those_that_are_known(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    key, said = measured_for(model), list[str]()

    def refuse() -> Describer:
        raise BackendError('broken since')

    def found(steps: list[int], *taken_ms: float, broken: int = 0) -> Fastest:
        ways = ways_on_cpu(model, steps, backends=['onnxruntime'])
        openers = {way: refuse if way.threads == broken else ways[way] for way in ways}
        clock = Clock(*taken_ms)
        return fastest(openers, key=key, cache=tmp_path, progress=said.append, measure=clock)

    assert found([1, 2], 20.0, 5.0).way.threads == 2
    again = found([1, 2, 4], 21.0, 6.0, 12.0)
    assert again.way.threads == 2 and list(again.taken_ms.values()) == [21.0, 6.0, 12.0]
    assert found([1, 2, 4]).taken_ms == again.taken_ms
    assert said == ['measures how fast this machine runs the model, once'] * 2
    left = found([1, 2, 4, 8], 21.0, 12.0, 13.0, broken=2)
    assert left.way.threads == 4 and left.refused == ('broken since',)


def test_a_way_that_is_refused_leaves_the_others_and_is_told(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')

    def refuse() -> Describer:
        raise BackendError('describes otherwise')

    ways = ways_on_cpu(model, [1, 2], backends=['onnxruntime']) | {
        Way('other', threads): refuse for threads in (1, 2)
    }
    key, clock = measured_for(model), Clock(10.0, 5.0)
    for _ in range(2):
        found = fastest(ways, key=key, cache=tmp_path, measure=clock)
        assert found.way.threads == 2 and found.refused == ('describes otherwise',)
    assert clock.asked == 1
    with pytest.raises(BackendError, match='describes otherwise'):
        fastest({Way('other', 1): refuse, Way('other', 2): refuse}, key=key, cache=tmp_path)


def test_what_was_fastest_and_no_longer_opens_is_replaced_by_the_next(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    ways = ways_on_cpu(model, [1, 2], backends=['onnxruntime'])
    key, clock = measured_for(model), Clock(10.0, 5.0)
    first, second = ways
    assert fastest(ways, key=key, cache=tmp_path, measure=clock).way == second

    def refuse() -> Describer:
        raise BackendError('broken since')

    found = fastest(ways | {second: refuse}, key=key, cache=tmp_path, measure=clock)
    assert found.way == first and found.refused == ('broken since',)


def test_the_node_runs_with_the_fewest_threads_that_are_about_as_fast_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(8)))
    model = write_tiny_model(tmp_path / 'tiny')
    ways = list(ways_on_cpu(model, [1, 2, 4, 8], backends=['onnxruntime']))
    times = dict(zip(ways, (20.0, 11.0, 6.0, 5.9), strict=True))
    remember(times, key=measured_for(model), cache=tmp_path)
    chosen = open_describer(model, backend='cpu', cache=tmp_path)
    assert chosen.threads == 4 and not chosen.reason
    assert '4 threads 6.0 ms; ' in chosen.measured and 'within 1.05' in chosen.measured
    halved = open_describer(model, backend='cpu', most_threads=2, cache=tmp_path)
    assert halved.threads == 2 and '4 threads' not in halved.measured
    given = open_describer(model, backend='cpu', threads=3, cache=tmp_path)
    assert given.threads == 3 and not given.measured


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
    found = measured_ways(model, most_threads=3, cache=tmp_path)
    on_cpu = [way for way in found.taken_ms if way.backend.startswith('onnxruntime')]
    assert [way.threads for way in on_cpu] == [1, 2, 3]
    assert all(taken_ms > 0 for taken_ms in found.taken_ms.values())
    assert all(cosine > 0.999 for cosine in found.cosines.values())


def test_the_node_goes_by_what_the_command_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / 'model')
    words = ['--model', str(model.folder), '--choose', '--threads', '2', '--cache', str(tmp_path)]
    assert main(words) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if '<- the node' in line]
    chosen = open_describer(model, most_threads=2, cache=tmp_path)
    assert chosen.name in line and f' {chosen.threads} thread' in line and chosen.measured


@pytest.mark.parametrize(
    ('gpu_ms', 'backend', 'advice'),
    [
        (2.0, 'onnxruntime', ''),
        (10.4, 'onnxruntime', ''),
        (20.0, 'onnxruntime', 'set the parameter backend to cpu'),
        (20.0, 'OpenVINO', 'set the parameter backend to openvino'),
    ],
)
def test_the_table_says_that_the_node_takes_a_gpu_and_what_to_set_where_that_is_slower(
    gpu_ms: float, backend: str, advice: str
) -> None:
    gpu, cpu = Way('TensorRT', 0), Way(f'{backend} 1.2', 2)
    lines = table(Measured({cpu: 10.0, gpu: gpu_ms}, {cpu: 1.0, gpu: 0.9}, ['no other']))
    (taken,) = [line for line in lines if '<- the node takes this' in line]
    assert taken.split()[:2] == ['TensorRT', 'GPU'] and lines[-1] == 'left out: no other'
    assert [line.rpartition(': ')[2] for line in lines[2:-1]] == ([advice] if advice else [])


def test_a_gpu_is_measured_beside_the_ways_on_the_cpu_and_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, closed = write_tiny_model(tmp_path / 'tiny'), list[bool]()
    gpu = Chosen(OnnxDescriber(model), 'TensorRT', close=lambda: closed.append(True))
    opened = 'vpr_ros.core.describing.choosing.open_describer'
    monkeypatch.setattr(opened, lambda *_, **__: gpu)
    found = measured_ways(model, most_threads=1, cache=tmp_path)
    assert [way.threads for way in found.taken_ms][-1] == 0 and closed == [True]
    assert found.cosines[Way('TensorRT', 0)] > 0.999 and not found.refused
    assert not any('TensorRT' in way for way in remembered(measured_for(model), tmp_path))
    broken = Chosen(OnnxDescriber(model), 'onnxruntime', 'no GPU', is_failure=True, threads=1)
    monkeypatch.setattr(opened, lambda *_, **__: broken)
    found = measured_ways(model, most_threads=1, cache=tmp_path)
    assert all(way.threads for way in found.taken_ms) and found.refused == ['no GPU']


def test_a_choice_for_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (['--for', '8.9'], ['--rebuild']):
        assert main(['--choose', *words]) == 2
        assert words[0] in capsys.readouterr().err.partition('leave out')[2]


def test_the_threads_of_the_node_follow_the_share_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from vpr_ros.node.config import NodeConfig

    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(8)))
    assert NodeConfig().most_threads == 8
    assert NodeConfig(core_share=0.5).most_threads == 4
    assert NodeConfig(core_share=0.5, threads=3).most_threads == 3


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


def test_openvino_is_imported_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_import() -> str:
        raise AssertionError('imported')

    monkeypatch.setattr('vpr_ros.core.describing.backend.openvino_name', no_import)
    model = write_tiny_model(tmp_path / 'tiny')
    (way,) = ways_on_cpu(model, [1], backends=('onnxruntime',))
    assert way.backend.startswith('onnxruntime ')
    with pytest.raises(AssertionError, match='imported'):
        ways_on_cpu(model, [1])
