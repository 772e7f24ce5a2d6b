"""The real TensorRT-RTX reads every graph and builds its engine for every GPU that it knows.

No GPU is needed for that. Only running is left to test/tensorrt_stand_in.py.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from real_backends import import_apart
from tensorrt_stand_in import StandIn, installed
from worlds import picture, write_tiny_model

from vpr_ros import build_engine
from vpr_ros.core.describing.backend import open_describer
from vpr_ros.core.describing.cuda import Gpu
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.engine import (
    MOST_IMAGES,
    build_ahead,
    build_plan,
    cast_first,
    engine_key,
    graph_precision,
)
from vpr_ros.core.describing.model import Model, read_card, write_model
from vpr_ros.core.describing.precision import Accepted
from vpr_ros.core.describing.tensorrt import TensorRtDescriber
from vpr_ros.core.describing.tensorrt_library import (
    ENGINE_PRECISIONS,
    EnginePrecision,
    Library,
    kept_log,
    load,
)
from vpr_ros.core.errors import BackendError
from vpr_training.exporting.quantize import fp16_graph

MODELS = Path(__file__).resolve().parents[1] / 'models'
SHIPPED = sorted(path.parent.name for path in MODELS.glob('*/card.json'))
CAPABILITIES = ('8.0', '8.6', '8.9', '12.0', '12.1')
TURING = '7.5'  # multiplies fp16 matrices alone
IMAGES = [picture(place) for place in range(3)]


@pytest.fixture(scope='session')
def real() -> ModuleType:
    name = 'tensorrt_rtx_bindings'
    return import_apart(name, 'tensorrt_rtx')[name]


@pytest.fixture
def library(real: ModuleType) -> Library:
    return Library('TensorRT-RTX', real)


@pytest.fixture
def rtx_card(real: ModuleType) -> Iterator[StandIn]:
    with installed(StandIn(rtx=real, gpu='NVIDIA RTX 4070', capability=(8, 9))) as state:
        yield state


def plan_of(
    library: Library, model: Model, precision: EnginePrecision, capability: str, cache: Path
) -> bytes:
    """What the library builds of the model's graph."""
    major, minor = map(int, capability.split('.'))
    key = engine_key(library, model, precision, Gpu('', (major, minor)))
    return build_plan(library, model, key, cache=cache, progress=lambda text: None)


def in_fp16(model: Model, folder: Path) -> Model:
    """The model with an fp16 graph, made as the export makes it."""
    whole = model.graph.read_bytes()
    graph = fp16_graph(whole)
    digest = hashlib.sha256(graph).hexdigest()
    made = Accepted(sha256=digest, size_bytes=len(graph), latency_ms=1.0, threads=1)
    card = replace(model.card, precisions={'fp16': made})
    write_model(folder, whole, card, smaller={'fp16': graph})
    return Model.open(folder, precision='fp16')


# What the real library takes --------------------------------------------------------------------


def test_the_library_knows_the_gpus_that_engines_are_built_for(library: Library) -> None:
    assert set(library.capabilities) == {TURING, *CAPABILITIES}
    assert not library.weakly_typed and library.builds_ahead


@pytest.mark.parametrize('name', SHIPPED)
def test_every_shipped_graph_for_engines_is_built_for_every_gpu(
    library: Library, tmp_path: Path, name: str
) -> None:
    held = {'fp32', *read_card(MODELS / name / 'card.json').precisions}
    built = 0
    for precision in ENGINE_PRECISIONS:
        if graph_precision(library, precision) not in held:
            continue
        model = Model.open(MODELS / name, precision=graph_precision(library, precision))
        for capability in CAPABILITIES:
            plan = plan_of(library, model, precision, capability, tmp_path)
            assert len(plan) > 1_000_000
            built += 1
    assert built >= len(CAPABILITIES)


@pytest.mark.parametrize('name', SHIPPED)
def test_every_shipped_model_in_fp16_is_built_for_every_gpu_turing_too(
    library: Library, tmp_path: Path, name: str
) -> None:
    model = in_fp16(Model.open(MODELS / name, precision='fp32'), tmp_path / name)
    for capability in (TURING, *CAPABILITIES):
        assert plan_of(library, model, 'fp16', capability, tmp_path)


@pytest.mark.parametrize('name', SHIPPED)
def test_turing_multiplies_no_fp32_matrices_and_the_library_says_so(
    library: Library, tmp_path: Path, name: str
) -> None:
    model = Model.open(MODELS / name, precision='fp32')
    with pytest.raises(BackendError, match=r'capability 7\.5 .*FP32 GEMM is not supported'):
        plan_of(library, model, 'fp32', TURING, tmp_path)


@pytest.mark.parametrize(
    'name', [name for name in SHIPPED if read_card(MODELS / name / 'card.json').cells]
)
def test_cells_of_every_shipped_model_are_the_same_in_fp16(tmp_path: Path, name: str) -> None:
    model = Model.open(MODELS / name, precision='fp32')
    _, expected = OnnxDescriber(model).describe_with_cells(IMAGES)
    _, found = OnnxDescriber(in_fp16(model, tmp_path / name)).describe_with_cells(IMAGES)
    assert expected is not None and found is not None
    assert found.shape == expected.shape == (3, *(model.card.cells or ()))
    np.testing.assert_allclose(np.linalg.norm(expected.astype(float), axis=-1), 1, atol=2e-3)
    assert (expected.astype(float) * found.astype(float)).sum(axis=-1).mean() > 0.999


@pytest.mark.parametrize('name', SHIPPED)
def test_bytes_have_to_be_cast_before_they_are_transposed(library: Library, name: str) -> None:
    graph = (MODELS / name / 'model.onnx').read_bytes()
    for prepared, is_read in ((graph, False), (cast_first(graph), True)):
        log = kept_log(library.module)
        builder = library.module.Builder(log)
        network = builder.create_network(library.network_flags())
        parser = library.module.OnnxParser(network, log)
        assert parser.parse(prepared) is is_read
        if not is_read:
            assert 'UInt8' in parser.get_error(0).desc()
        else:
            assert network.get_input(0).shape[0] == -1  # images of any number


def test_a_gpu_that_the_library_does_not_know_is_named(library: Library, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    for capability in ('9.0', '8.7'):  # H100, Orin
        with pytest.raises(BackendError, match=rf'7\.5, 8\.0, .* not for {capability}'):
            build_ahead(library, model, capability, cache=tmp_path)
    for capability in ('89', 'ada', '8.', ''):
        with pytest.raises(BackendError, match=r'expected one such as 8\.9'):
            build_ahead(library, model, capability, cache=tmp_path)


# Built ahead, and run by the stand-in -----------------------------------------------------------


def describer_of(model: Model, cache: Path, **options: Any) -> TensorRtDescriber:
    return TensorRtDescriber(model, library=load('TensorRT-RTX'), cache=cache, **options)


def test_an_engine_built_ahead_is_checked_on_the_gpu_once_and_then_only_loaded(
    rtx_card: StandIn, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / 'tiny', cells=True)
    library, cache = load('TensorRT-RTX'), tmp_path / 'cache'
    path = build_ahead(library, model, '8.9', cache=cache)
    assert build_ahead(library, model, '8.9', cache=cache) == path and rtx_card.built == 1
    expected, expected_cells = OnnxDescriber(model).describe_with_cells(IMAGES)
    assert expected_cells is not None
    for runs in ([2, 3], [3]):  # the check describes two pictures, once
        rtx_card.batches.clear()
        with describer_of(model, cache) as describer:
            assert describer.key.gpu == ''
            descriptors, cells = describer.describe_with_cells(IMAGES)
        assert rtx_card.batches == runs and rtx_card.built == 1 and not rtx_card.live
        np.testing.assert_allclose(descriptors, expected, atol=1e-6)
        assert cells is not None
        np.testing.assert_allclose(cells.astype(float), expected_cells.astype(float), atol=1e-3)


def test_an_engine_built_ahead_that_describes_otherwise_is_refused_once_and_for_all(
    rtx_card: StandIn, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    build_ahead(load('TensorRT-RTX'), model, '8.9', cache=tmp_path)
    rtx_card.scale_output = 0.0
    for _ in range(2):
        with pytest.raises(BackendError, match=r'cosine 0\.\d+ between descriptors'):
            describer_of(model, tmp_path)
    assert rtx_card.batches == [2] and not rtx_card.live


def test_an_engine_that_is_built_ahead_anew_is_checked_anew(
    rtx_card: StandIn, tmp_path: Path
) -> None:
    model, library = write_tiny_model(tmp_path / 'tiny'), load('TensorRT-RTX')
    path = build_ahead(library, model, '8.9', cache=tmp_path)
    rtx_card.scale_output = 0.0
    with pytest.raises(BackendError, match=r'cosine'):
        describer_of(model, tmp_path)
    rtx_card.scale_output = 1.0
    build_ahead(library, model, '8.9', cache=tmp_path)  # the engine is there: nothing is built
    with pytest.raises(BackendError, match=r'cosine'):
        describer_of(model, tmp_path)
    build_ahead(library, model, '8.9', cache=tmp_path, rebuild=True)
    assert rtx_card.built == 2
    describer_of(model, tmp_path).close()
    path.with_suffix('.refused').write_bytes(b'\xff\xfe')  # damaged: refused still, in one line
    with pytest.raises(BackendError):
        describer_of(model, tmp_path)


def test_an_engine_built_ahead_that_cannot_be_kept_is_an_error(
    rtx_card: StandIn, tmp_path: Path
) -> None:
    """Other engines run without a cache; this one is there for nothing else."""
    (tmp_path / 'cache').write_text('no folder')
    model = write_tiny_model(tmp_path / 'tiny')
    with pytest.raises(BackendError, match=str(tmp_path / 'cache')):
        build_ahead(load('TensorRT-RTX'), model, '8.9', cache=tmp_path / 'cache')


def test_another_gpu_of_the_capability_checks_for_itself_and_another_capability_builds(
    rtx_card: StandIn, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    for gpu, capability, built, batches in (
        ('NVIDIA RTX 4070', (8, 9), 1, [2]),
        ('NVIDIA RTX 4070', (8, 9), 1, []),
        ('NVIDIA L4', (8, 9), 1, [2]),
        ('NVIDIA RTX 3060', (8, 6), 2, [2]),
    ):
        rtx_card.gpu, rtx_card.capability = gpu, capability
        rtx_card.batches.clear()
        describer_of(model, tmp_path).close()
        assert (rtx_card.built, rtx_card.batches) == (built, batches)


def test_kernels_compiled_for_the_gpu_serve_the_next_start_unless_they_are_garbage(
    rtx_card: StandIn, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    for _ in range(2):
        describer_of(model, tmp_path).close()
    (kernels,) = tmp_path.glob('*.kernels')
    whole = kernels.read_bytes()
    kernels.write_bytes(whole[:-1])
    describer_of(model, tmp_path).close()
    rtx_card.gpu = 'NVIDIA L4'
    describer_of(model, tmp_path).close()
    assert rtx_card.kernels == [b'', b'compiled', b'', b'']
    assert not list(tmp_path.glob('*.timing'))  # TensorRT-RTX measures nothing


def test_batches_of_any_size_are_described(rtx_card: StandIn, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    images = [picture(place) for place in range(2 * MOST_IMAGES + 3)]
    with describer_of(model, tmp_path) as describer:
        found = describer.describe(images)
    np.testing.assert_allclose(found, OnnxDescriber(model).describe(images), atol=1e-6)


def test_auto_takes_tensorrt_rtx_where_tensorrt_is_not(rtx_card: StandIn, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    version = load('TensorRT-RTX').full_name
    for backend in ('auto', 'tensorrt_rtx'):
        chosen = open_describer(model, backend=backend, cache=tmp_path)
        assert chosen.name == f'{version} fp32 on NVIDIA RTX 4070' and not chosen.reason
        chosen.close()
    chosen = open_describer(model, backend='tensorrt', cache=tmp_path)
    assert chosen.is_failure and 'TensorRT cannot be imported' in chosen.reason


def test_a_gpu_that_tensorrt_rtx_does_not_know_leaves_the_cpu_at_work(
    rtx_card: StandIn, tmp_path: Path
) -> None:
    rtx_card.gpu, rtx_card.capability = 'NVIDIA H100', (9, 0)
    chosen = open_describer(write_tiny_model(tmp_path / 'tiny'), cache=tmp_path)
    assert 'on CPU' in chosen.name and chosen.is_failure and 'not for 9.0' in chosen.reason


# The command ------------------------------------------------------------------------------------


def test_the_command_builds_for_named_gpus_where_there_is_none(
    real: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    wanted = ['--model', str(model.folder), '--cache', str(tmp_path / 'engines')]
    with installed(StandIn(rtx=real, gpus=0)):
        assert build_engine.main([*wanted, '--for', '8.9', '12.0']) == 0
    printed = [Path(line) for line in capsys.readouterr().out.split()]
    assert printed == sorted((tmp_path / 'engines').iterdir(), key=printed.index)
    headers = [json.loads(path.read_bytes().partition(b'\n')[0]) for path in printed]
    assert [header['compute_capability'] for header in headers] == ['8.9', '12.0']
    assert {header['gpu'] for header in headers} == {''}


def test_the_command_says_what_cannot_be_built_ahead(
    real: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    wanted = ['--model', str(model.folder), '--cache', str(tmp_path)]
    with installed(StandIn(rtx=real, gpus=0)):
        assert build_engine.main([*wanted, '--for', '9.0']) == 2
        assert 'not for 9.0' in capsys.readouterr().err
        assert build_engine.main([*wanted, '--for', '8.9', '--check', 'drive']) == 2
        assert 'leave out --check' in capsys.readouterr().err
    with installed(StandIn()):
        assert build_engine.main([*wanted, '--for', '8.9']) == 2
        assert 'TensorRT-RTX cannot be imported' in capsys.readouterr().err
