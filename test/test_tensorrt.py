"""Engines are built once, kept whole, freed, and given up for onnxruntime with the reason.

No GPU is needed: test/tensorrt_stand_in.py stands in for TensorRT and CUDA.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tensorrt_stand_in import StandIn, installed
from worlds import picture, write_posed_folder, write_tiny_model

from vpr_ros import build_engine
from vpr_ros.core.describing.backend import default_engine_cache, open_describer
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.engine import cast_first, engine_file, graph_precision
from vpr_ros.core.describing.model import Model, read_card, write_model
from vpr_ros.core.describing.precision import Accepted
from vpr_ros.core.describing.tensorrt import TensorRtDescriber
from vpr_ros.core.describing.tensorrt_library import ENGINE_PRECISIONS, load
from vpr_ros.core.errors import BackendError, ModelError

IMAGES = [picture(place) for place in range(3)]


@pytest.fixture(autouse=True)
def nothing_else_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings', 'openvino'):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return write_tiny_model(tmp_path / 'tiny')


@pytest.fixture
def jetson() -> Iterator[StandIn]:
    with installed(StandIn()) as state:
        yield state


def describer_of(model: Model, cache: Path, **options: Any) -> TensorRtDescriber:
    return TensorRtDescriber(model, library=load('TensorRT'), cache=cache, **options)


def engines(cache: Path) -> list[Path]:
    return sorted(cache.glob('*.engine'))


def with_graphs(model: Model, *precisions: Any) -> Model:
    """The model with copies of its graph as smaller ones."""
    graph = model.graph.read_bytes()
    record = Accepted(sha256=model.card.sha256, size_bytes=1, latency_ms=1.0, threads=1)
    card = replace(model.card, precisions=dict.fromkeys(precisions, record))
    return write_model(model.folder, graph, card, smaller=dict.fromkeys(precisions, graph))


def test_the_engine_describes_as_onnxruntime_does_in_batches_of_any_size(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    images = [picture(place) for place in range(19)]
    with describer_of(model, tmp_path) as describer:
        found = describer.describe(images)
        jetson.batches.clear()
        np.testing.assert_array_equal(describer.describe(images[:1]), found[:1])
        assert jetson.batches == [1] and describer.at_once == 1
    np.testing.assert_allclose(found, OnnxDescriber(model).describe(images), atol=1e-6)
    assert found.dtype == np.float32


def test_cells_are_onnxruntimes_in_batches_of_any_size_and_copied_only_when_asked_for(
    jetson: StandIn, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / 'tiny', cells=True)
    images = [picture(place) for place in range(19)]
    expected, expected_cells = OnnxDescriber(model).describe_with_cells(images)
    assert expected_cells is not None
    with describer_of(model, tmp_path) as describer:
        descriptors, cells = describer.describe_with_cells(images)
        jetson.fetched.clear()
        np.testing.assert_array_equal(describer.describe(images[:1]), descriptors[:1])
        assert jetson.fetched == [descriptors[:1].nbytes]
        np.testing.assert_array_equal(describer.describe_with_cells(images[:1])[1], cells[:1])
        assert jetson.fetched[1:] == [descriptors[:1].nbytes, cells[:1].nbytes]
    assert not jetson.live and cells.dtype == np.float16 and cells.shape == (19, 4, 4, 48)
    np.testing.assert_allclose(descriptors, expected, atol=1e-6)
    np.testing.assert_allclose(cells.astype(float), expected_cells.astype(float), atol=1e-3)


def test_a_model_without_cells_gives_none(model: Model, jetson: StandIn, tmp_path: Path) -> None:
    with describer_of(model, tmp_path) as describer:
        descriptors, cells = describer.describe_with_cells(IMAGES)
        np.testing.assert_array_equal(descriptors, describer.describe(IMAGES))
    assert cells is None


def test_an_engine_of_wrong_cells_or_without_them_is_refused(
    jetson: StandIn, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / 'tiny', cells=True)
    jetson.scale_output, jetson.scaled_output = 0.0, 'cells'
    with pytest.raises(BackendError, match=r'cosine 0\.\d+ between cells'):
        describer_of(model, tmp_path)
    jetson.scaled_output = 'none'
    plain = write_tiny_model(tmp_path / 'plain')
    lying = write_model(tmp_path / 'lying', plain.graph.read_bytes(), model.card)
    with pytest.raises(BackendError, match=r'the engine has .* expected .* cells'):
        describer_of(lying, tmp_path)
    assert not jetson.live and not engines(tmp_path)


def test_an_engine_is_built_once(model: Model, jetson: StandIn, tmp_path: Path) -> None:
    with describer_of(model, tmp_path) as first:
        assert jetson.built == 1 and not first.not_kept
    with describer_of(model, tmp_path) as second:
        assert jetson.built == 1
        np.testing.assert_allclose(
            second.describe(IMAGES), OnnxDescriber(model).describe(IMAGES), atol=1e-6
        )
    describer_of(model, tmp_path, rebuild=True).close()
    assert jetson.built == 2 and len(engines(tmp_path)) == 1


def test_another_gpu_version_precision_or_graph_needs_another_engine(
    model: Model, tmp_path: Path
) -> None:
    other = write_tiny_model(tmp_path / 'other', grid=4)
    cases = [
        (StandIn(), model, 'fp16'),
        (StandIn(gpu='Xavier'), model, 'fp16'),
        (StandIn(version='8.6.2'), model, 'fp16'),
        (StandIn(), model, 'fp32'),
        (StandIn(), other, 'fp16'),
    ]
    for built, (state, wanted, precision) in enumerate(cases, 1):
        with installed(state), describer_of(wanted, tmp_path, precision=precision):
            assert state.built == 1 and len(engines(tmp_path)) == built
    for state, wanted, precision in cases:
        with installed(state), describer_of(wanted, tmp_path, precision=precision):
            assert state.built == 1


@pytest.mark.parametrize('damage', ['cut', 'bit', 'foreign', 'empty', 'old', 'refused'])
def test_a_kept_engine_that_is_broken_or_foreign_is_built_again(
    model: Model, tmp_path: Path, damage: str
) -> None:
    with installed(StandIn()), describer_of(model, tmp_path):
        pass
    (path,) = engines(tmp_path)
    whole = path.read_bytes()
    header, _, plan = whole.partition(b'\n')
    if damage == 'cut':
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == 'bit':
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    elif damage == 'foreign':
        path.write_bytes(json.dumps(json.loads(header) | {'gpu': 'X'}).encode() + b'\n' + plan)
    elif damage == 'refused':  # whole, and TensorRT itself does not take it
        from_elsewhere = b'plan of another kind'
        with installed(StandIn()), describer_of(model, tmp_path) as describer:
            path.write_bytes(engine_file(describer.key, from_elsewhere))
    else:
        path.write_bytes(b'' if damage == 'empty' else plan)
    with installed(StandIn()) as state, describer_of(model, tmp_path) as describer:
        assert state.built == 1
        assert describer.describe(IMAGES).shape == (3, 192)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ('version', 'network_flags', 'flags', 'tells'),
    [('8.6.2', 1, ['FP16'], False), ('10.3.0', 0, ['FP16'], True), ('11.4.1', 0, [], True)],
)
def test_each_version_is_asked_in_its_own_way(
    model: Model,
    tmp_path: Path,
    version: str,
    network_flags: int,
    flags: list[str],
    tells: bool,
) -> None:
    model = with_graphs(model, 'fp16')
    said: list[str] = []
    with (
        installed(StandIn(version=version, old_cuda_module=version < '9')) as state,
        describer_of(model, tmp_path, precision='fp16', progress=said.append) as describer,
    ):
        assert (state.network_flags, state.flags) == ([network_flags], flags)
        assert describer.model.precision == ('fp16' if version.startswith('11') else 'fp32')
    assert ('Tuning: 2 of 2' in said) is tells and 'takes minutes' in said[0]


def test_int8_is_built_from_the_symmetric_graph_and_leaves_the_rest_to_fp16(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    with describer_of(with_graphs(model, 'int8_symmetric'), tmp_path, precision='int8') as made:
        assert made.model.graph.name == 'model.int8_symmetric.onnx'
        assert jetson.flags == ['FP16', 'INT8']


def test_a_graph_that_the_model_lacks_is_named_with_the_next_step(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r'no int8_symmetric graph .* vpr_training\.export'):
        describer_of(model, tmp_path, precision='int8')
    assert not jetson.live


def test_without_a_wish_it_is_fp16_unless_tensorrt_11_lacks_the_graph(
    model: Model, tmp_path: Path
) -> None:
    for version, precision in [('10.3.0', 'fp16'), ('11.4.1', 'fp32')]:
        with installed(StandIn(version=version)), describer_of(model, tmp_path) as describer:
            assert describer.key.precision == precision


def test_measured_kernels_serve_the_next_build_unless_they_are_garbage(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    for _ in range(2):
        describer_of(model, tmp_path, rebuild=True).close()
    (timing,) = tmp_path.glob('*.timing')
    timing.write_bytes(b'garbage')
    describer_of(model, tmp_path, rebuild=True).close()
    assert jetson.timing == [b'', b'timed', b'']


def test_closing_frees_everything_and_twice_is_no_error(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    describer = describer_of(model, tmp_path)
    assert len(jetson.live) == 5  # the stream, and two buffers on both sides
    describer.close()
    describer.close()
    assert not jetson.live
    with pytest.raises(BackendError, match='closed'):
        describer.describe(IMAGES)


@pytest.mark.parametrize(
    ('failing', 'said'),
    [
        ('cudaStreamCreate', 'cudaStreamCreate: cudaErrorMemoryAllocation'),
        ('cudaGetDeviceProperties', 'cudaGetDeviceProperties'),
        ('cudaHostAlloc', 'cudaHostAlloc'),
        ('cudaMalloc', 'cudaMalloc'),
        ('cudaMemcpyAsync', 'cudaMemcpyAsync'),
        ('cudaStreamSynchronize', 'cudaStreamSynchronize'),
        ('build_serialized_network', r'cannot build the fp16 engine .* \(no kernel for node 3\)'),
        ('deserialize_cuda_engine', 'does not load'),
        ('create_execution_context', 'no execution context'),
        ('set_tensor_address', 'refuses the buffer of images'),
        ('execute_async_v3', 'does not run'),
    ],
)
def test_whatever_fails_is_named_frees_all_and_keeps_no_engine(
    model: Model, jetson: StandIn, tmp_path: Path, failing: str, said: str
) -> None:
    jetson.failing = failing
    with pytest.raises(BackendError, match=said):
        describer_of(model, tmp_path)
    assert not jetson.live and not engines(tmp_path)


def test_an_engine_that_describes_otherwise_than_onnxruntime_is_refused_and_not_kept(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    jetson.scale_output = 0.0
    with pytest.raises(BackendError, match=r'cosine 0\.\d+ .* expected at least 0\.99'):
        describer_of(model, tmp_path)
    jetson.scale_output = float('nan')
    with pytest.raises(BackendError, match='cosine nan'):
        describer_of(model, tmp_path, rebuild=True)
    assert not jetson.live and not engines(tmp_path)


def test_where_fp16_is_wrong_auto_runs_fp32_and_does_not_try_fp16_at_each_start(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    jetson.scale_output, jetson.scaled_flags = 0.0, ('FP16',)
    for _ in range(2):
        chosen = open_describer(model, cache=tmp_path)
        assert chosen.name == 'TensorRT 10.3.0 fp32 on Orin' and 'cosine' in chosen.reason
        chosen.close()
    assert jetson.built == 2  # fp16 once, fp32 once
    with pytest.raises(BackendError, match='cosine'):
        describer_of(model, tmp_path, precision='fp16')
    assert jetson.built == 2
    jetson.scale_output = 1.0
    describer_of(model, tmp_path, precision='fp16', rebuild=True).close()
    describer_of(model, tmp_path, precision='fp16').close()
    assert jetson.built == 3 and not list(tmp_path.glob('*.refused'))


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    (tmp_path / 'file').write_text('')
    with describer_of(model, tmp_path / 'file' / 'cache') as describer:
        assert 'cannot be written' in describer.not_kept
        assert describer.describe(IMAGES).shape == (3, 192)


def test_no_gpu_and_an_old_version_are_said(model: Model, tmp_path: Path) -> None:
    with installed(StandIn(gpus=0)), pytest.raises(BackendError, match='finds no GPU'):
        describer_of(model, tmp_path)
    with (
        installed(StandIn(version='8.5.1')),
        pytest.raises(BackendError, match=r'TensorRT 8\.5\.1, expected 8\.6 or newer'),
    ):
        describer_of(model, tmp_path)


def transposed_first(folder: Path) -> Model:
    """The tiny model with the order of nodes that the exporter writes."""
    model = write_tiny_model(folder)
    graph = onnx.load(model.graph)
    names = [node.op_type for node in graph.graph.node]
    assert names[:2] == ['Cast', 'Transpose']
    nodes = [
        helper.make_node('Transpose', ['images'], ['bytes'], perm=[0, 3, 1, 2]),
        helper.make_node('Cast', ['bytes'], ['planes'], to=TensorProto.FLOAT),
    ]
    for position, node in enumerate(nodes):
        graph.graph.node[position].CopyFrom(node)
    return write_model(folder, graph.SerializeToString(), model.card)


def test_images_are_cast_before_they_are_transposed(jetson: StandIn, tmp_path: Path) -> None:
    model = transposed_first(tmp_path / 'tiny')
    with describer_of(model, tmp_path) as describer:
        found = describer.describe(IMAGES)
    np.testing.assert_allclose(found, OnnxDescriber(model).describe(IMAGES), atol=1e-6)


def test_the_shipped_graphs_can_be_read(jetson: StandIn) -> None:
    library = load('TensorRT')
    root = Path(__file__).resolve().parents[1] / 'models'
    for path in sorted(root.glob('*/card.json')):
        held = {'fp32', *read_card(path).precisions}
        for precision in sorted(
            held & {graph_precision(library, one) for one in ENGINE_PRECISIONS}
        ):
            model = Model.open(path.parent, precision=precision)
            graph = onnx.load_from_string(cast_first(model.graph.read_bytes())).graph
            readers = [node for node in graph.node if graph.input[0].name in node.input]
            assert [node.op_type for node in readers] == ['Cast'], model.graph
            assert readers[0].output[0] not in {info.name for info in graph.value_info}


@pytest.mark.parametrize(
    ('form', 'changes'),
    [
        ('transposed and cast', True),
        ('cast and transposed', False),
        ('transposed for two', False),
        ('transposed, not cast', False),
        ('read by two', False),
    ],
)
def test_only_a_graph_that_casts_what_it_transposed_is_changed(form: str, changes: bool) -> None:
    transpose = helper.make_node('Transpose', ['images'], ['turned'], perm=[0, 3, 1, 2])
    cast = helper.make_node('Cast', ['turned'], ['found'], to=TensorProto.FLOAT)
    nodes = {
        'transposed and cast': [transpose, cast],
        'cast and transposed': [
            helper.make_node('Cast', ['images'], ['turned'], to=TensorProto.FLOAT),
            helper.make_node('Transpose', ['turned'], ['found'], perm=[0, 3, 1, 2]),
        ],
        'transposed for two': [transpose, cast, helper.make_node('Shape', ['turned'], ['shape'])],
        'transposed, not cast': [transpose, helper.make_node('Shape', ['turned'], ['found'])],
        'read by two': [transpose, cast, helper.make_node('Shape', ['images'], ['shape'])],
    }[form]
    images = helper.make_tensor_value_info('images', TensorProto.UINT8, [1, 4, 6, 3])
    found = helper.make_empty_tensor_value_info('found')
    graph = helper.make_model(helper.make_graph(nodes, 'net', [images], [found]))
    before = graph.SerializeToString()
    assert (cast_first(before) != before) is changes


def test_a_graph_that_tensorrt_cannot_read_is_named(jetson: StandIn, tmp_path: Path) -> None:
    tiny = write_tiny_model(tmp_path / 'tiny')
    graph = onnx.load(tiny.graph)
    graph.graph.node.add().CopyFrom(helper.make_node('Identity', ['images'], ['unused']))
    model = write_model(tmp_path / 'odd', graph.SerializeToString(), tiny.card)
    with pytest.raises(BackendError, match=r'cannot read it: UINT8 is not supported here'):
        describer_of(model, tmp_path)


# The choice ------------------------------------------------------------------------------------


def test_without_tensorrt_auto_is_onnxruntime_and_no_failure(model: Model, tmp_path: Path) -> None:
    chosen = open_describer(model, cache=tmp_path)
    assert 'on CPU' in chosen.name and not chosen.is_failure
    assert 'TensorRT cannot be imported' in chosen.reason
    found = chosen.describer.describe(IMAGES)
    np.testing.assert_array_equal(found, OnnxDescriber(model).describe(IMAGES))
    assert not list(tmp_path.glob('*.engine'))


def test_auto_takes_tensorrt_where_it_is(model: Model, jetson: StandIn, tmp_path: Path) -> None:
    chosen = open_describer(model, cache=tmp_path)
    assert chosen.name == 'TensorRT 10.3.0 fp16 on Orin' and not chosen.reason
    chosen.close()
    assert not jetson.live


@pytest.mark.parametrize(
    ('failing', 'reason'), [('cudaMalloc', 'cudaMalloc'), ('cudaGetDeviceCount', 'Count')]
)
def test_a_tensorrt_that_fails_leaves_the_cpu_at_work_and_says_why(
    model: Model, jetson: StandIn, tmp_path: Path, failing: str, reason: str
) -> None:
    jetson.failing = failing
    chosen = open_describer(model, cache=tmp_path)
    assert 'on CPU' in chosen.name and chosen.is_failure and reason in chosen.reason
    assert chosen.describer.describe(IMAGES).shape == (3, 192)
    assert not jetson.live


@pytest.mark.parametrize(('precision', 'runs'), [('auto', 'fp16'), ('fp32', 'fp32')])
def test_an_engine_has_the_precision_that_was_asked_for(
    model: Model, jetson: StandIn, tmp_path: Path, precision: str, runs: str
) -> None:
    chosen = open_describer(model, precision=precision, cache=tmp_path)
    assert f' {runs} on ' in chosen.name and chosen.threads == 0 and jetson.built == 1
    chosen.close()


def test_an_exception_of_the_library_leaves_the_cpu_at_work_and_says_why(
    model: Model, jetson: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object, **__: object) -> None:
        raise RuntimeError('out of device memory')

    monkeypatch.setattr('vpr_ros.core.describing.backend.TensorRtDescriber', raises)
    chosen = open_describer(model, cache=tmp_path)
    assert 'on CPU' in chosen.name and chosen.is_failure
    assert 'TensorRT: out of device memory' in chosen.reason


@pytest.mark.parametrize('backend', ['tensorrt', 'openvino'])
def test_what_was_asked_for_and_is_missing_is_a_failure_that_runs_on_the_cpu(
    model: Model, tmp_path: Path, backend: str
) -> None:
    chosen = open_describer(model, backend=backend, cache=tmp_path)
    assert chosen.is_failure and chosen.reason and 'on CPU' in chosen.name


@pytest.mark.parametrize('backend', ['onnxruntime', 'cpu'])
def test_onnxruntime_alone_needs_no_reason(
    model: Model, jetson: StandIn, tmp_path: Path, backend: str
) -> None:
    chosen = open_describer(model, backend=backend, cache=tmp_path)
    assert 'on CPU' in chosen.name and not chosen.reason and not jetson.built


def test_an_unknown_backend_is_refused(model: Model) -> None:
    with pytest.raises(BackendError, match=r"backend 'cuda' .* expected one of auto, tensorrt"):
        open_describer(model, backend='cuda')


def test_a_gpu_of_onnxruntime_that_does_not_start_is_told(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ['CUDAExecutionProvider', 'CPUExecutionProvider']
    monkeypatch.setattr('onnxruntime.get_available_providers', lambda: names)
    with pytest.warns(UserWarning, match='CUDAExecutionProvider'):
        chosen = open_describer(model, backend='onnxruntime', cache=tmp_path)
    assert 'on CPU' in chosen.name and chosen.is_failure and chosen.threads > 0
    assert 'CUDAExecutionProvider' in chosen.reason


def test_engines_are_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert default_engine_cache() == Path('/somewhere/vpr_ros/engines')


def test_what_was_measured_is_kept_beside_engines(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr('os.sched_getaffinity', lambda process: {0, 1})
    open_describer(model, backend='cpu')
    assert list((tmp_path / 'vpr_ros' / 'engines').glob('*.fastest'))


def test_the_command_builds_an_engine_again_where_that_is_asked_for(
    model: Model, jetson: StandIn, tmp_path: Path
) -> None:
    words = ['--model', str(model.folder), '--cache', str(tmp_path)]
    for more, built in (([], 1), ([], 1), (['--rebuild'], 2)):
        assert build_engine.main([*words, *more]) == 0
        assert jetson.built == built


# The command -----------------------------------------------------------------------------------


def test_the_command_without_tensorrt_names_the_next_step(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_engine.main(['--model', str(model.folder)]) == 2
    said = capsys.readouterr().err
    assert 'TensorRT cannot be imported' in said and 'docs/how-to/jetson.md' in said


def test_the_command_builds_and_checks_parity_recall_and_latency(
    model: Model, jetson: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapped = write_posed_folder(tmp_path / 'mapped', range(8))
    driven = write_posed_folder(tmp_path / 'driven', [1, 3, 5])
    arguments = ['--model', str(model.folder), '--cache', str(tmp_path / 'cache')]
    check = ['--check', str(driven), '--map-bag', str(mapped)]
    assert build_engine.main([*arguments, *check]) == 0
    said = capsys.readouterr().out
    assert 'TensorRT 10.3.0 fp16 on Orin' in said and 'min 1.00000' in said
    assert said.count('R@1 1.000, R@5 1.000, R@10 1.000 (3 queries, 0 of them') == 3
    assert 'latency, engine' in said and 'latency, CPU' in said
    assert len(engines(tmp_path / 'cache')) == 1 and not jetson.live


def test_one_drive_alone_is_checked_against_every_second_of_its_images(
    model: Model, jetson: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driven = write_posed_folder(tmp_path / 'driven', [0, 0, 1, 1, 2, 3])
    arguments = ['--model', str(model.folder), '--cache', str(tmp_path / 'cache')]
    assert build_engine.main([*arguments, '--check', str(driven)]) == 0
    assert 'R@1 0.667' in capsys.readouterr().out  # of place 3 there is no second image


def test_a_map_bag_without_a_bag_to_check_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_engine.main(['--map-bag', 'somewhere']) == 2
    assert 'works only with --check' in capsys.readouterr().err
