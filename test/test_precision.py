"""Which graph of a model runs, and that the wrong one never does."""

import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import picture, straight_drive, write_map, write_tiny_model

from vpr_ros.core.describing import model as model_module
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, file_sha256, write_model
from vpr_ros.core.describing.precision import (
    Accepted,
    choose,
)
from vpr_ros.core.errors import ModelError
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.processor import Processor, read_processor


@pytest.fixture(autouse=True)
def fast_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests say the same on every processor."""
    fast = Processor('any', frozenset({'avx_vnni'}))
    monkeypatch.setattr(model_module, 'this_processor', lambda: fast)


def accepted(latency_ms: float, *, sha256: str = 'a' * 64) -> Accepted:
    return Accepted(sha256=sha256, size_bytes=1, latency_ms=latency_ms, threads=2)


@pytest.fixture
def two_graphs(tmp_path: Path) -> Model:
    """A tiny model whose int8 graph is another file that gives the same descriptors."""
    tiny = write_tiny_model(tmp_path / 'tiny')
    graph = tiny.graph.read_bytes()
    smaller = write_tiny_model(tmp_path / 'renamed', name='another').graph
    records = {
        'fp32': accepted(9, sha256=tiny.card.sha256),
        'int8': accepted(3, sha256=file_sha256(smaller)),
    }
    card = replace(tiny.card, precisions=records)
    return write_model(tmp_path / 'model', graph, card, smaller={'int8': smaller.read_bytes()})


def test_auto_takes_the_fastest_that_was_accepted() -> None:
    records = {'fp32': accepted(9), 'fp16': accepted(12), 'int8': accepted(4)}
    where = Path('model')
    assert choose(records, 'auto', source=where, fast_bytes=True) == 'int8'
    assert choose(records, 'auto', source=where, fast_bytes=False) == 'fp32'
    faster = records | {'fp16': accepted(8)}
    assert choose(faster, 'auto', source=where, fast_bytes=False) == 'fp16'
    slow = records | {'int8': accepted(20)}
    assert choose(slow, 'auto', source=where, fast_bytes=True) == 'fp32'
    assert choose({}, 'auto', source=where, fast_bytes=True) == 'fp32'


_PI = """processor : 0
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor : 1
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
_JETSON = """processor : 0
model name\t: ARMv8 Processor rev 1 (v8l)
Features\t: fp asimd aes
CPU implementer\t: 0x41
CPU part\t: 0xd42
"""


@pytest.mark.parametrize(
    ('said', 'is_fast', 'name'),
    [
        ('model name\t: Epyc 9\nflags\t\t: fpu avx2 avx512_vnni\n', True, 'Epyc 9'),
        ('model name\t: Core i3\nflags\t\t: fpu avx2 avx512f\n', False, 'Core i3'),
        ('model name\t: avx_vnni\nflags\t\t: fpu\nbugs\t\t: avx_vnni\n', False, 'avx_vnni'),
        ('model name\t: Big: 2\n\nmodel name\t: Small\n', False, 'Big: 2, Small'),
        (_PI, True, 'Raspberry Pi 5 Model B Rev 1.0, 0x41/0xd0b'),
        (_JETSON, False, 'ARMv8 Processor rev 1 (v8l), 0x41/0xd42'),
        ('model name\t: \xe9\xff avx_vnni2\n', False, '\xe9\xff avx_vnni2'),
        ('', False, platform.machine()),
        (None, False, platform.machine()),
    ],
)
def test_what_a_processor_can_do_is_read_from_the_system(
    tmp_path: Path, said: str | None, is_fast: bool, name: str
) -> None:
    cpuinfo = tmp_path / 'cpuinfo'
    if said is not None:
        cpuinfo.write_text(said, encoding='utf-8')
    found = read_processor(cpuinfo)
    assert (found.name, found.multiplies_bytes_fast) == (name, is_fast)


def test_a_wanted_graph_runs_also_where_it_is_slow() -> None:
    records = {'fp32': accepted(9), 'int8': accepted(20)}
    assert choose(records, 'int8', source=Path('model'), fast_bytes=False) == 'int8'


def test_a_graph_that_was_never_accepted_is_refused_with_the_next_step(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    with pytest.raises(ModelError, match=r'no int8 graph .* has fp32; .*vpr_training\.export'):
        Model.open(model.folder, precision='int8')
    with pytest.raises(ModelError, match="precision 'int4': expected one of auto, fp32"):
        Model.open(model.folder, precision='int4')
    assert Model.open(model.folder).precision == 'fp32'


def test_the_chosen_graph_is_the_one_that_runs(two_graphs: Model) -> None:
    chosen = Model.open(two_graphs.folder)
    assert chosen.precision == 'int8' and chosen.graph.name == 'model.int8.onnx'
    assert chosen.graph_sha256 == file_sha256(chosen.graph) != chosen.card.sha256
    described = OnnxDescriber(chosen).describe([picture(0)])
    expected = OnnxDescriber(Model.open(two_graphs.folder, precision='fp32')).describe(
        [picture(0)]
    )
    np.testing.assert_allclose(described, expected, atol=1e-6)


def test_a_map_is_the_same_models_map_whatever_graph_made_it(
    two_graphs: Model, tmp_path: Path
) -> None:
    rows = OnnxDescriber(two_graphs).describe([picture(place) for place in range(3)])
    write_map(tmp_path / 'map', rows, straight_drive(3), model_sha256=two_graphs.card.sha256)
    for precision in ('fp32', 'int8'):
        model = Model.open(two_graphs.folder, precision=precision)
        assert len(PlaceMap.open(tmp_path / 'map', model=model)) == 3


def test_a_changed_int8_graph_is_refused_and_fp32_still_runs(two_graphs: Model) -> None:
    path = two_graphs.folder / 'model.int8.onnx'
    path.write_bytes(path.read_bytes() + b'\0')
    with pytest.raises(ModelError, match=r'model\.int8\.onnx: sha256 .* the card says'):
        Model.open(two_graphs.folder)
    assert Model.open(two_graphs.folder, precision='fp32').precision == 'fp32'


def test_a_missing_int8_graph_is_named(two_graphs: Model) -> None:
    (two_graphs.folder / 'model.int8.onnx').unlink()
    with pytest.raises(ModelError, match=r'model\.int8\.onnx: No such file'):
        Model.open(two_graphs.folder)


@pytest.mark.parametrize(
    ('precisions', 'said'),
    [
        ([], 'precisions are'),
        ({'int4': {}}, 'precisions are'),
        ({'int8': None}, 'precisions: int8: expected sha256'),
        ({'int8': {'sha256': 'a'}}, 'precisions: int8: expected sha256'),
        ({'int8': {'sha256': 'a', 'size_bytes': 1, 'latency_ms': 0, 'threads': 1}}, 'above 0'),
    ],
)
def test_a_card_with_impossible_precisions_is_refused(
    two_graphs: Model, precisions: object, said: str
) -> None:
    path = two_graphs.folder / 'card.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'precisions': precisions}))
    with pytest.raises(ModelError, match=said):
        Model.open(two_graphs.folder)
