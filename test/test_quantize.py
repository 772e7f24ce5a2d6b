"""Graphs with fewer bits compute nearly the same, and are refused where that is not enough."""

import json
import resource
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from convolutions import SIZE, write_convolutional_model
from worlds import picture, write_recall_set, write_tiny_model

onnx = pytest.importorskip('onnx', reason='needs onnx: make setup-training')
from onnx import TensorProto, numpy_helper

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, write_model
from vpr_training.basics.errors import TrainingError
from vpr_training.data.layouts import open_recall_set
from vpr_training.data.recall_set import RecallSet
from vpr_training.exporting import recall_gate as gate_module
from vpr_training.exporting.graph_edits import simplified
from vpr_training.exporting.quantize import (
    FEWEST_IMAGES,
    calibrate,
    calibration_images,
    fp16_graph,
    int8_graph,
    most_sensitive,
    require_layers,
)
from vpr_training.exporting.recall_gate import (
    Gate,
    Hits,
    RefusedError,
    Seen,
    accept,
    check_sets,
    recall_in_pairings,
    refusal,
)

PLACES = 20


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return write_convolutional_model(tmp_path_factory.mktemp('models') / 'convolutions')


@pytest.fixture(scope='module')
def images() -> list[np.ndarray]:
    return [picture(place, height=SIZE, width=SIZE) for place in range(FEWEST_IMAGES)]


@pytest.fixture(scope='module')
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty places, each seen twice, the second time with noise."""
    rng = np.random.default_rng(0)
    seen = [picture(place) for place in range(PLACES)]
    again = [np.clip(one + rng.normal(0, 20, one.shape), 0, 255).astype(np.uint8) for one in seen]
    return write_recall_set(tmp_path_factory.mktemp('sets') / 'walk', seen, again)


@pytest.fixture
def gate(walk: Path, images: list[np.ndarray]) -> Gate:
    sets = [open_recall_set(walk)]
    return Gate(sets=sets, max_drop=5, calibration=images, calibration_name='made', threads=1)


def described(graph: bytes, model: Model, folder: Path, images: list[np.ndarray]) -> np.ndarray:
    return OnnxDescriber(write_model(folder, graph, model.card)).describe(images)


def kinds(graph: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(graph).graph.node)


def test_a_simplified_graph_has_no_padding_nodes_and_computes_the_same(
    model: Model, images: list[np.ndarray], tmp_path: Path
) -> None:
    graph = simplified(model.graph.read_bytes())
    assert kinds(model.graph.read_bytes())['Pad'] == 1 and kinds(graph)['Pad'] == 0
    expected = OnnxDescriber(model).describe(images)
    np.testing.assert_allclose(
        described(graph, model, tmp_path / 'model', images), expected, atol=1e-5
    )


def test_a_padding_with_another_value_stays(model: Model, tmp_path: Path) -> None:
    changed = onnx.load(model.graph)
    changed.graph.initializer.append(numpy_helper.from_array(np.float32(1), 'one'))
    next(node for node in changed.graph.node if node.op_type == 'Pad').input.append('one')
    assert kinds(simplified(changed.SerializeToString()))['Pad'] == 1


def test_a_graph_for_which_there_is_no_room_is_one_line(model: Model) -> None:
    graph = model.graph.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(TrainingError, match=r'cannot be written .*; set TMPDIR to a folder'):
            simplified(graph)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('symmetric', [False, True])
def test_int8_descriptors_are_close_to_those_of_fp32(
    model: Model, images: list[np.ndarray], tmp_path: Path, symmetric: bool
) -> None:
    graph = int8_graph(calibrate(model.graph.read_bytes(), images), symmetric=symmetric)
    found = described(graph, model, tmp_path / 'model', images)
    expected = OnnxDescriber(model).describe(images)
    assert ((found * expected).sum(axis=1) > 0.99).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert not np.array_equal(found, expected)


def test_a_graph_that_is_prepared_for_8_bits_describes_as_before(
    model: Model, images: list[np.ndarray], tmp_path: Path
) -> None:
    """Means and deviations of colours are in its weights, and its channels are evened out."""
    prepared = calibrate(model.graph.read_bytes(), images).model.SerializeToString()
    found = described(prepared, model, tmp_path / 'model', images)
    assert ((found * OnnxDescriber(model).describe(images)).sum(axis=1) > 0.9999).all()


def test_the_first_int8_layer_reads_the_images_bytes(
    model: Model, images: list[np.ndarray]
) -> None:
    graph = int8_graph(calibrate(model.graph.read_bytes(), images))
    assert not {'Cast', 'Sub', 'Div'} & kinds(graph).keys()
    assert kinds(graph)['Conv'] == 3


def test_a_symmetric_graph_has_what_tensorrt_takes(model: Model, images: list[np.ndarray]) -> None:
    """Signed bytes, zero points of zero, biases in float."""
    graph = int8_graph(calibrate(model.graph.read_bytes(), images), symmetric=True)
    loaded = onnx.load_from_string(graph).graph
    types = Counter(entry.data_type for entry in loaded.initializer)
    assert TensorProto.UINT8 not in types and TensorProto.INT32 not in types
    zero_points = [entry for entry in loaded.initializer if 'zero_point' in entry.name]
    assert zero_points and not any(numpy_helper.to_array(entry).any() for entry in zero_points)


def test_a_kept_layer_and_what_feeds_it_have_float_weights(
    model: Model, images: list[np.ndarray]
) -> None:
    graph = onnx.load_from_string(
        int8_graph(calibrate(model.graph.read_bytes(), images), keep=['b'])
    ).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    quantized = {
        node.name: made_by.get(node.input[1]) == 'DequantizeLinear'
        for node in graph.node
        if node.op_type == 'Conv'
    }
    assert quantized == {'a': False, 'b': False, 'c': True}


def test_the_layer_that_8_bits_hurt_comes_first(images: list[np.ndarray], tmp_path: Path) -> None:
    weak = write_convolutional_model(tmp_path / 'weak', weak_layer=True)
    calibrated = calibrate(weak.graph.read_bytes(), images)
    assert most_sensitive(calibrated)[0] == 'b'


def test_a_graph_without_layers_to_quantize_is_refused(
    images: list[np.ndarray], tmp_path: Path
) -> None:
    tiny = write_tiny_model(tmp_path / 'tiny')
    with pytest.raises(TrainingError, match='no layers with weights, so int8 would change'):
        calibrate(tiny.graph.read_bytes(), images)


def test_fp16_keeps_the_types_of_input_and_output(
    model: Model, images: list[np.ndarray], tmp_path: Path
) -> None:
    graph = fp16_graph(model.graph.read_bytes())
    assert len(graph) < 0.75 * len(model.graph.read_bytes())
    found = described(graph, model, tmp_path / 'model', images)  # checks the types
    assert ((found * OnnxDescriber(model).describe(images)).sum(axis=1) > 0.9999).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-4)


def test_calibration_takes_images_from_the_whole_drive(walk: Path, tmp_path: Path) -> None:
    found = calibration_images(walk / 'database', (SIZE, SIZE))
    assert len(found) == PLACES and found[0].shape == (SIZE, SIZE, 3)
    few = tmp_path / 'few'
    few.mkdir()
    for place in range(FEWEST_IMAGES - 1):
        cv2.imwrite(str(few / f'{place}.png'), picture(place))
    with pytest.raises(TrainingError, match=r'--calibration .*few: 15 images, expected at least'):
        calibration_images(few, (SIZE, SIZE))
    for name in ('15', '16'):
        cv2.imwrite(str(few / f'{name}.png'), picture(0))
    (few / '3.png').write_bytes(b'no image')
    assert len(calibration_images(few, (SIZE, SIZE))) == 16
    (few / '4.png').write_bytes(b'no image')
    with pytest.raises(TrainingError, match=r'few: 15 images, expected at least') as caught:
        calibration_images(few, (SIZE, SIZE))
    assert caught.value.notes[0].startswith('2 images could not be used, the first: ')


def test_accepted_graphs_come_with_what_was_measured(
    model: Model, gate: Gate, tmp_path: Path
) -> None:
    graph = model.graph.read_bytes()
    card, smaller = accept(graph, model.card, ['fp16', 'int8'], gate)
    assert list(card.precisions) == ['fp32', 'fp16', 'int8'] and smaller.keys() == {'fp16', 'int8'}
    write_model(tmp_path / 'model', graph, card, smaller=smaller)
    for name, record in card.precisions.items():
        opened = Model.open(tmp_path / 'model', precision=name)
        assert opened.graph.stat().st_size == record.size_bytes
        assert 0 < record.latency_ms < 1e4 and record.threads == 1
        (recall,) = record.recall_at_1.values()
        pairings = {'alone'} | (set() if name == 'fp32' else {'on_fp32_map', 'fp32_queries'})
        assert recall.keys() == pairings
    assert card.precisions['int8'].made['calibration_images'] == FEWEST_IMAGES
    json.loads(json.dumps(card.precisions['int8'].made, allow_nan=False))


def test_layers_return_to_float_until_recall_holds(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that gives every image the same descriptor stands for the first attempt."""
    weak = write_convolutional_model(tmp_path / 'weak', weak_layer=True)
    real = gate_module.int8_graph

    def blind(calibrated: Any, keep: Any = (), **settings: Any) -> bytes:
        return real(calibrated, keep, **settings) if keep else blinded(weak)

    monkeypatch.setattr(gate_module, 'int8_graph', blind)
    card, _ = accept(weak.graph.read_bytes(), weak.card, ['int8'], gate)
    assert card.precisions['int8'].made['kept_in_float'] == ['b']


def test_layers_that_are_named_stay_in_float_from_the_first_attempt(
    model: Model, gate: Gate
) -> None:
    graph = model.graph.read_bytes()
    (layer, *_) = calibrate(graph, gate.calibration).layers
    card, _ = accept(graph, model.card, ['int8'], replace(gate, keep=[layer]))
    assert card.precisions['int8'].made['kept_in_float'] == [layer]
    require_layers(graph, [layer])
    with pytest.raises(TrainingError, match=f'--keep-in-float nothing: .* such as {layer}'):
        require_layers(graph, [layer, 'nothing'])


def blinded(model: Model) -> bytes:
    """The model's graph with a first layer that sees nothing."""
    graph = onnx.load(model.graph)
    (weights,) = (entry for entry in graph.graph.initializer if entry.name == 'a_weights')
    weights.CopyFrom(
        numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(weights)), 'a_weights')
    )
    return bytes(graph.SerializeToString())


def test_a_graph_that_loses_places_is_refused(
    model: Model, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, 'fp16_graph', lambda graph: blinded(model))
    with pytest.raises(RefusedError, match=r'fp16: R@1 on walk falls by \d+\.\d points'):
        accept(model.graph.read_bytes(), model.card, ['fp16'], gate)


def answers(queries: int, *, lost: int = 0, gained: int = 0) -> tuple[Hits, Hits]:
    """What two graphs find of a set: before, where half is found, and after."""
    before = np.arange(queries) < queries // 2
    after = before.copy()
    after[:lost] = False
    after[queries - gained :] |= gained > 0
    return {'alone': before}, {'alone': after}


@pytest.mark.parametrize(
    ('sets', 'said'),
    [
        # Of a hundred queries five are chance, where the other sets lose nothing.
        ({'few': (100, 6, 1), 'many': (900, 2, 2)}, ''),
        # A loss that is no chance is one, however many queries other sets have.
        ({'few': (100, 8, 0), 'many': (2000, 0, 0)}, 'R@1 on few falls by 8.0 points'),
        # As it would not be if this were the only set: 6 of 6 come by chance in one of 64.
        ({'few': (100, 6, 0), 'more': (900, 0, 0), 'many': (900, 0, 0), 'most': (900, 0, 0)}, ''),
        # Many small ones that could each be chance are none together.
        ({'a': (100, 3, 0), 'b': (100, 3, 0)}, 'R@1 over all 2 sets falls by 3.0 points'),
        # A single set is all there is.
        ({'only': (100, 3, 0)}, 'R@1 on only falls by 3.0 points'),
        ({'only': (100, 3, 2)}, ''),
    ],
)
def test_a_loss_counts_over_all_sets_and_on_one_where_it_is_no_chance(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, sets: dict[str, tuple[int, int, int]], said: str
) -> None:
    seen = {name: answers(n, lost=lost, gained=won) for name, (n, lost, won) in sets.items()}
    trials = SimpleNamespace(hits=lambda *_: ((name, after) for name, (_, after) in seen.items()))
    reference = {name: before for name, (before, _) in seen.items()}
    monkeypatch.setattr(gate_module, '_attempts', lambda *_: [(b'made', {})])
    told = pytest.raises(RefusedError, match=f'fp16: {said}') if said else nullcontext()
    with told:
        allowing = replace(gate, max_drop=1.0)
        made, record = gate_module._accepted('fp16', b'', trials, reference, allowing)
        assert made == b'made' and record.recall_at_1.keys() == sets.keys()


def test_what_is_verified_is_held_to_what_was_verified_before() -> None:
    """Verification finds more: what it finds is no gain of the graph with fewer bits."""
    found = np.arange(100)
    reference = {'set': {'alone': found < 50, 'alone_verified': found < 80}}
    after = {'alone': found < 50, 'on_fp32_map': found < 49, 'alone_verified': found < 60}
    said = refusal({'set': after}, reference, 1.0)
    assert said.startswith('R@1 on set with verification falls by 20.0 points (0.800 to 0.600)')
    assert not refusal({'set': after | {'alone_verified': found < 79}}, reference, 1.0)


def test_each_pairing_takes_its_own_map_and_its_own_queries() -> None:
    """Place 0 answers three queries; the graphs mean opposite things by their descriptors."""
    one, other = np.eye(8, dtype=np.float32)[:2]
    images = RecallSet(
        name='set',
        database=(Path('0'), Path('1')),
        queries=(Path('a'), Path('b'), Path('c')),
        positives=(np.array([0]),) * 3,
        truth='made up',
    )
    own = np.array([other, one]), np.array([other, other, one])
    reference = np.array([one, other]), np.array([one, one, one])
    described = [tuple(Seen(rows, None) for rows in each) for each in (own, reference)]
    assert recall_in_pairings(images, *described) == {
        'alone': pytest.approx(2 / 3),
        'on_fp32_map': pytest.approx(1 / 3),
        'fp32_queries': 0.0,
    }


def test_a_set_without_true_matches_is_no_gate(walk: Path, tmp_path: Path) -> None:
    empty = tmp_path / 'empty'
    empty.mkdir()
    for half in ('database', 'queries'):
        (empty / half).symlink_to(walk / half)
    (empty / 'gt.csv').write_text('query,positives\n00.png,\n')
    with pytest.raises(TrainingError, match='--validate empty: none of its queries has a true'):
        check_sets([open_recall_set(empty)])
    with pytest.raises(TrainingError, match='--validate walk: this set is given twice'):
        check_sets([open_recall_set(walk), open_recall_set(walk)])
