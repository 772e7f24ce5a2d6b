"""Cells: a second output of networks and graphs, by which places are recognized."""

import json
import tarfile
import threading
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from worlds import picture, write_recall_set

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
onnx = pytest.importorskip('onnx', reason='needs onnx: make setup-training')
from test_rebuild import published, small

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, read_card, write_model
from vpr_ros.core.matching.bits import packed
from vpr_training import evaluate, export
from vpr_training.basics.errors import TrainingError
from vpr_training.data.layouts import open_recall_set
from vpr_training.evaluating.recall import examine
from vpr_training.evaluating.verifying import ranked_anew
from vpr_training.exporting import recall_gate
from vpr_training.exporting.graph_edits import halved, in_single
from vpr_training.exporting.model_folder import export as export_network
from vpr_training.exporting.network_from_graph import load_model
from vpr_training.exporting.onnx_graph import ParityError, images_for_parity, parity
from vpr_training.exporting.quantize import calibrate, fp16_graph, int8_graph, most_sensitive
from vpr_training.exporting.recall_gate import Gate, RefusedError, accept
from vpr_training.exporting.shorter_descriptors import shortened
from vpr_training.learning.cells import CellSamples, learn_cells
from vpr_training.learning.config import WhiteningConfig
from vpr_training.models.checkpoints import contents, load_checkpoint
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig

PLACES = 20


def pictures(count: int = 16) -> list[np.ndarray]:
    return [picture(place, height=64, width=96) for place in range(count)]


@pytest.fixture(scope='module')
def with_cells(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """ResNet18 + GeM with cells of 16 numbers, learned on pictures."""
    folder = tmp_path_factory.mktemp('models') / 'with_cells'
    config = small(aggregator='gem', descriptor_size=10, cells=16)
    network = published(folder, config)
    maps = ExportedNetwork(network).maps(torch.from_numpy(np.stack(pictures())))
    samples = CellSamples(16, most=1000, seed=0)
    samples.add(maps[0].detach())
    learn_cells(network.cells, samples.array(), WhiteningConfig())
    card = read_card(folder / 'card.json')
    return export_network(network, card, folder)


@pytest.fixture(scope='module')
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty places, each seen twice, the second time moved by some pixels and with noise."""
    rng = np.random.default_rng(0)
    seen = [picture(place) for place in range(PLACES)]
    again = [np.roll(one, 12, axis=1) + rng.normal(0, 15, one.shape) for one in seen]
    queries = [np.clip(one, 0, 255).astype(np.uint8) for one in again]
    return write_recall_set(tmp_path_factory.mktemp('sets') / 'walk', seen, queries)


# ---- networks


def test_a_network_gives_cells_only_where_they_are_asked_for() -> None:
    torch.manual_seed(0)
    network = Network(small(aggregator='gem', cells=8)).eval()
    images = torch.from_numpy(np.stack(pictures(2)))
    with torch.no_grad():
        descriptors, cells = ExportedNetwork(network)(images)
        alone = ExportedNetwork(network, cells=False)(images)
        (features,) = ExportedNetwork(network).maps(images)
    assert torch.equal(descriptors, alone)
    assert cells.dtype == torch.float16 and cells.shape == (2, 8, 12, 8)
    assert network.cells_size() == (8, 12, 8)
    linear = network.cells.linear
    for row, column in ((0, 0), (3, 7)):
        plain = linear.weight @ features[1, :, row, column] + linear.bias
        expected = (plain / plain.norm()).detach()
        torch.testing.assert_close(cells[1, row, column].float(), expected, atol=1e-3, rtol=0)


def test_lite0_takes_cells_from_the_named_map() -> None:
    options = {
        'backbone': 'efficientnet_lite0',
        'aggregator': 'layout',
        'taps': ('stride8', 'stride16'),
    }
    sizes = [
        Network(small(**options, cells=8, cells_tap=tap)).cells_size()
        for tap in ('', 'stride16', 'stride8')
    ]
    assert sizes == [(4, 6, 8), (4, 6, 8), (8, 12, 8)]


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'cells': 12}, 'cells 12, expected a multiple of 8 up to 1024'),
        ({'cells': -8}, 'cells -8'),
        ({'cells': 8, 'cells_tap': 'stride16'}, "cells_tap 'stride16', expected none"),
        ({'cells': 136}, 'network.cells is 136, expected at most 128'),
        (
            {'backbone': 'efficientnet_lite0', 'taps': ['head'], 'cells': 8},
            "cells_tap 'stride16', expected head",
        ),
    ],
)
def test_impossible_cells_are_refused(values: dict, said: str) -> None:
    start = {'weights': None, 'last_stage': 2, 'aggregator': 'gem', 'image_height': 64}
    with pytest.raises(TrainingError, match=said):
        Network(NetworkConfig.from_mapping({**start, **values}, source='test'))


def test_a_checkpoint_without_cells_is_one_of_before(tmp_path: Path) -> None:
    network = Network(small(aggregator='gem'))
    held = contents(network, provenance={})
    for name in ('cells', 'cells_tap'):
        del held['network'][name]
    torch.save(held, tmp_path / 'old.ckpt')
    assert load_checkpoint(tmp_path / 'old.ckpt').cells is None


# ---- graphs


def test_a_graph_gives_the_networks_cells_and_comes_back(with_cells: Model) -> None:
    assert with_cells.card.cells == (8, 12, 16)
    describer = OnnxDescriber(with_cells)
    network = load_model(with_cells.folder).eval()
    found = parity(ExportedNetwork(network), describer, images_for_parity(with_cells.card))
    assert found.descriptors > 0.9999 and found.cells is not None and found.cells > 0.9999
    descriptors, cells = describer.describe_with_cells(pictures(3))
    assert cells.dtype == np.float16 and cells.shape == (3, 8, 12, 16)
    np.testing.assert_allclose(np.linalg.norm(cells.astype(np.float32), axis=3), 1, atol=2e-3)
    np.testing.assert_array_equal(descriptors, describer.describe(pictures(3)))


def test_a_graph_with_other_cells_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vpr_training.exporting import onnx_graph

    real = onnx_graph.to_onnx

    def turned(exported: ExportedNetwork) -> bytes:
        cells = exported.network.cells
        held = cells.linear.weight.detach().clone()
        with torch.no_grad():
            cells.linear.weight.copy_(held.flip(0))
            graph = real(exported)
            cells.linear.weight.copy_(held)
        return graph

    monkeypatch.setattr(onnx_graph, 'to_onnx', turned)
    with pytest.raises(ParityError, match=r'not written, .* of cells -?0\.\d+, expected at least'):
        published(tmp_path / 'model', small(aggregator='gem', cells=8))


@pytest.mark.parametrize('kind', ['fp16', 'int8', 'int8_symmetric'])
def test_graphs_with_fewer_bits_keep_the_cells(
    with_cells: Model, tmp_path: Path, kind: str
) -> None:
    graph = with_cells.graph.read_bytes()
    images = pictures()
    if kind == 'fp16':
        made = fp16_graph(graph)
    else:
        calibrated = calibrate(graph, images)
        assert not any('cells' in layer for layer in calibrated.layers)
        assert not any('cells' in layer for layer in most_sensitive(calibrated))
        made = int8_graph(calibrated, symmetric=kind == 'int8_symmetric')
        constants = {entry.name: entry for entry in onnx.load_from_string(made).graph.initializer}
        floats = [one for one in constants.values() if list(one.dims) == [128, 16]]
        assert [one.data_type for one in floats] == [onnx.TensorProto.FLOAT]
    model = write_model(tmp_path / 'model', made, with_cells.card)
    found = OnnxDescriber(model).describe_with_cells(images)
    expected = OnnxDescriber(with_cells).describe_with_cells(images)
    for one, other, least in zip(found, expected, (0.99, 0.95)):
        cosines = (one.astype(np.float32) * other.astype(np.float32)).sum(axis=-1)
        assert cosines.mean() > least
    differing = np.unpackbits(packed(found[1]) ^ packed(expected[1])).mean()
    assert differing < (0.01 if kind == 'fp16' else 0.1)


def test_shorter_descriptors_leave_the_cells(with_cells: Model, tmp_path: Path) -> None:
    from dataclasses import replace

    graph = shortened(with_cells.graph.read_bytes(), np.zeros(10, 'f4'), np.eye(10, 4, dtype='f4'))
    model = write_model(tmp_path / 'model', graph, replace(with_cells.card, descriptor_size=4))
    descriptors, cells = OnnxDescriber(model).describe_with_cells(pictures(2))
    long, expected = OnnxDescriber(with_cells).describe_with_cells(pictures(2))
    np.testing.assert_array_equal(cells, expected)
    short = long[:, :4] / np.linalg.norm(long[:, :4], axis=1, keepdims=True)
    np.testing.assert_allclose(descriptors, short, atol=1e-6)


def test_large_matrices_are_halved_and_come_back(with_cells: Model, tmp_path: Path) -> None:
    graph = with_cells.graph.read_bytes()
    smaller = halved(graph, large=1000)
    assert len(graph) - len(smaller) > 2 * 1000  # 128 x 16 and 128 x 10 numbers, two bytes each
    model = write_model(tmp_path / 'model', smaller, with_cells.card)
    found, expected = (OnnxDescriber(one).describe(pictures(4)) for one in (model, with_cells))
    assert 0.999999 < (found * expected).sum(axis=1).min() < 1.000001
    load_model(model.folder)
    again = onnx.load_from_string(smaller)
    in_single(again)
    kinds = {entry.data_type for entry in again.graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in kinds
    assert halved(graph) == onnx.load_from_string(graph).SerializeToString()  # nothing is large


# ---- verification


def test_only_the_best_are_ordered_anew_and_missing_ones_stay_missing() -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 256, (5, 6, 1), dtype=np.uint8)
    rows = np.eye(5, 3, dtype=np.float32) + 0.5
    ranked = np.array([[0, 1, 2, 4], [3, 1, -1, -1]])
    found = ranked_anew(
        ranked, database=rows, queries=rows[[2, 1]], database_bits=bits,
        query_bits=bits[[2, 1]], grid=(2, 3), best=3,
    )  # fmt: skip
    assert found[0, 0] == 2 and set(found[0, :3]) == {0, 1, 2} and found[0, 3] == 4
    assert found[1].tolist() == [1, 3, -1, -1]
    assert ranked[0, 0] == 0


def figures(words: list[str], out: Path) -> dict:
    assert evaluate.main([*words, '--json', str(out)]) == 0
    return json.loads(out.read_text())


def test_evaluate_tells_recall_with_and_without_verification(
    with_cells: Model, walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        '--model', str(with_cells.folder), '--dataset', str(walk),
        '--cache', str(tmp_path / 'store'),
    ]  # fmt: skip
    found = figures([*words, '--report', str(tmp_path / 'page.html')], tmp_path / 'out.json')
    assert found['verified']['candidates'] == 25
    # Untrained, all descriptors are alike; cells of the same picture still agree.
    assert found['verified']['recall']['1'] > found['recall']['1']
    assert 'verified 1.000' in capsys.readouterr().out
    assert 'verified' in (tmp_path / 'page.html').read_text()
    plain = figures([*words, '--verify', '0'], tmp_path / 'out.json')
    assert plain['verified'] is None and plain['recall'] == found['recall']
    few = figures([*words, '--verify', '2'], tmp_path / 'out.json')['verified']
    assert few['candidates'] == 2 and few['recall']['5'] == found['recall']['5']
    assert evaluate.main([*words, '--verify', '-1']) == 2


def test_a_model_without_cells_verifies_nothing(
    tmp_path: Path, walk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(tmp_path / 'plain', small(aggregator='gem'))
    words = ['--model', str(tmp_path / 'plain'), '--dataset', str(walk), '--no-cache']
    assert figures(words, tmp_path / 'out.json')['verified'] is None
    assert evaluate.main([*words, '--verify', '5']) == 2
    assert 'the model has no cells, so it cannot verify 5 candidates' in capsys.readouterr().err


class Stopping:
    """A describer that stops after some images, as a user does."""

    def __init__(self, inner: OnnxDescriber, stop_after: int) -> None:
        self.inner, self.model, self.at_once = inner, inner.model, 1
        self.count, self.stop_after, self.counting = 0, stop_after, threading.Lock()

    def describe_with_cells(self, images):
        with self.counting:
            if self.count + len(images) > self.stop_after:
                raise KeyboardInterrupt
            self.count += len(images)
        return self.inner.describe_with_cells(images)


def test_an_interrupted_run_goes_on_in_both_files(
    with_cells: Model, walk: Path, tmp_path: Path
) -> None:
    describer, images = OnnxDescriber(with_cells), open_recall_set(walk)
    store = tmp_path / 'store'
    with pytest.raises(KeyboardInterrupt, match='16 of 20 images'):
        examine(Stopping(describer, 17), images, store, verify=None)
    bits = next(store.glob('*.cells.partial'))
    bits.write_bytes(bits.read_bytes()[:-1])  # the last row is not whole
    second = Stopping(describer, 999)
    found = examine(second, images, store, verify=None)
    assert second.count == 5 + 20
    assert not list(store.glob('*.partial'))
    third = Stopping(describer, 0)
    again = examine(third, images, store, verify=None)
    fresh = examine(describer, images, tmp_path / 'fresh', verify=None)
    for other in (again, fresh):
        np.testing.assert_array_equal(found.database.cell_bits(), other.database.cell_bits())
        np.testing.assert_array_equal(found.database.array(), other.database.array())
        np.testing.assert_array_equal(found.verified.ranked, other.verified.ranked)
    expected = packed(describer.describe_with_cells([pictures(1)[0]])[1])
    assert found.database.cell_bits().shape == (20, *expected.shape[1:])


# ---- the gate


@pytest.fixture
def gate(walk: Path) -> Gate:
    sets = [open_recall_set(walk)]
    return Gate(sets=sets, max_drop=5, calibration=pictures(), calibration_name='made', threads=1)


def test_the_gate_measures_recall_with_verification(with_cells: Model, gate: Gate) -> None:
    card, _ = accept(with_cells.graph.read_bytes(), with_cells.card, ['fp16'], gate)
    (recall,) = card.precisions['fp16'].recall_at_1.values()
    pairings = {'alone', 'on_fp32_map', 'fp32_queries'}
    assert recall.keys() == pairings | {f'{one}_verified' for one in pairings}
    assert recall['alone_verified'] > 0.9


def test_a_graph_whose_cells_are_broken_is_refused(
    with_cells: Model, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(graph: bytes) -> bytes:
        model = onnx.load_from_string(graph)
        for entry in model.graph.initializer:
            if list(entry.dims) == [128, 16]:
                zeros = np.zeros((128, 16), dtype=np.float32)
                entry.CopyFrom(onnx.numpy_helper.from_array(zeros, entry.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(recall_gate, 'fp16_graph', broken)
    with pytest.raises(RefusedError, match='fp16: R@1 on walk with verification falls by'):
        accept(with_cells.graph.read_bytes(), with_cells.card, ['fp16'], gate)


# ---- cells for a model that has none


@pytest.mark.parametrize('kind', ['folder', 'tar'])
def test_a_finished_model_gets_cells_and_keeps_its_descriptors(
    kind: str, walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(tmp_path / 'plain', small(aggregator='gem', descriptor_size=10))
    source = walk / 'database'
    if kind == 'tar':
        source = tmp_path / 'images.tar'
        with tarfile.open(source, 'w') as tar:
            tar.add(walk / 'database', 'images')
    words = ['--from', str(tmp_path / 'plain'), '--output', str(tmp_path / 'model')]
    assert export.main([*words, '--cells', '8', '--cells-on', str(source)]) == 0
    assert 'cells: 8 x 12 of 8 numbers' in capsys.readouterr().out
    old, new = Model.open(tmp_path / 'plain'), Model.open(tmp_path / 'model')
    assert new.card.sha256 != old.card.sha256 and new.card.reads_maps_of(old.card.sha256)
    added = new.card.provenance['cells']
    assert added['to']['sha256'] == old.card.sha256 and added['images'] == PLACES
    assert added['learned_on'] == [source.name]
    expected = OnnxDescriber(old).describe(pictures())
    found, cells = OnnxDescriber(new).describe_with_cells(pictures())
    assert ((found * expected).sum(axis=1) > 0.9999).all()
    assert ((cells > 0).mean(axis=(0, 1, 2)) < 0.85).all()
    assert load_model(tmp_path / 'model').config.cells == 8
    # Once more is refused.
    words = ['--from', str(tmp_path / 'model'), '--output', str(tmp_path / 'model')]
    assert export.main([*words, '--cells', '8', '--cells-on', str(source)]) == 2
    assert 'already has cells' in capsys.readouterr().err


@pytest.mark.parametrize('height', [64, 96])
def test_a_finished_model_takes_the_cells_of_another_of_its_backbone(
    tmp_path: Path, height: int
) -> None:
    """height: of the giver's images, which need not be that of the other's."""
    giver = published(
        tmp_path / 'giver',
        small(aggregator='gem', descriptor_size=10, cells=16, image_height=height),
    )
    plain = published(tmp_path / 'plain', small(aggregator='avg', descriptor_size=12))
    plain.backbone.load_state_dict(giver.backbone.state_dict())
    export_network(plain, read_card(tmp_path / 'plain/card.json'), tmp_path / 'plain')
    words = ['--from', str(tmp_path / 'plain'), '--output', str(tmp_path / 'model')]
    assert export.main([*words, '--cells-from', str(tmp_path / 'giver')]) == 0
    old, new, gave = (Model.open(tmp_path / name) for name in ('plain', 'model', 'giver'))
    assert new.card.reads_maps_of(old.card.sha256)
    assert new.card.provenance['cells']['of']['sha256'] == gave.card.sha256
    found, cells = OnnxDescriber(new).describe_with_cells(pictures(4))
    _, expected = OnnxDescriber(gave).describe_with_cells(pictures(4))
    assert ((found * OnnxDescriber(old).describe(pictures(4))).sum(axis=1) > 0.9999).all()
    assert new.card.cells is not None and gave.card.cells is not None
    assert new.card.cells[2] == gave.card.cells[2]
    if height == 64:
        assert new.card.cells == gave.card.cells
        np.testing.assert_allclose(cells.astype('f4'), expected.astype('f4'), atol=2e-3)


def test_cells_of_another_backbone_are_not_taken(
    with_cells: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = published(tmp_path / 'other', small(aggregator='gem'))
    torch.nn.init.orthogonal_(other.backbone.conv1.weight.flatten(1))
    export_network(other, read_card(tmp_path / 'other/card.json'), tmp_path / 'other')
    words = ['--from', str(tmp_path / 'other'), '--output', str(tmp_path / 'out')]
    for more, said in (
        (['--cells-from', str(with_cells.folder)], 'its cells are of another backbone'),
        (['--cells-from', str(tmp_path / 'other')], 'has no cells to give'),
        (['--cells-from', str(with_cells.folder), '--cells', '8'], '--cells-from needs a model'),
    ):
        assert export.main([*words, *more]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--cells', '8'], '--cells needs a model (--from) and images'),
        (['--cells', '9', '--cells-on', 'WALK'], 'cells 9, expected a multiple of 8'),
        (['--cells', '8', '--cells-on', 'WALK', '--cells-tap', 'head'], "cells_tap 'head'"),
        (['--cells', '8', '--cells-on', 'nowhere.tar'], 'nowhere.tar: cannot be read'),
        (['--cells', '8', '--cells-on', 'nowhere'], 'nowhere: no such file'),
        (['--cells', '8', '--cells-on', 'FEW'], '--cells-on: 3 images'),
    ],
)
def test_cells_that_cannot_be_added_are_one_line(
    words: list[str], said: str, walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(tmp_path / 'plain', small(aggregator='gem'))
    few = tmp_path / 'few'
    few.mkdir()
    for place in range(3):
        cv2.imwrite(str(few / f'{place}.png'), picture(place))
    places = {'WALK': str(walk / 'database'), 'FEW': str(few)}
    words = [places.get(word, word) for word in words]
    source = ['--from', str(tmp_path / 'plain'), '--output', str(tmp_path / 'out')]
    assert export.main([*source, *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_training_leaves_cells_as_they_are() -> None:
    """No loss sees them; a network with cells learns as one without."""
    pytest.importorskip('lightning', reason='make setup-training')
    from lightning.fabric import Fabric

    from vpr_training.data.config import DataConfig
    from vpr_training.runs.run_folder import RunFolder
    from vpr_training.runs.settings import TrainConfig
    from vpr_training.runs.training_loop import Training
    from vpr_training.runs.validation import Validation

    config = TrainConfig(network=small(aggregator='gem', cells=8), data=DataConfig())
    network = Network(config.network)
    before = {name: one.clone() for name, one in network.cells.state_dict().items()}

    class Batches:
        order = ''

        def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
            pass

        def __len__(self) -> int:
            return 1

        def __iter__(self):
            images = torch.from_numpy(np.stack(pictures(4)))
            return iter([(images, torch.tensor([0, 0, 1, 1]))])

    fabric = Fabric(accelerator='cpu', devices=1)
    training = Training(
        fabric, config, network, Batches(), Validation([], batch=1, workers=0),
        RunFolder(Path('unused')), {},
    )  # fmt: skip
    training.train_epoch()
    assert training.progress.step == 1
    for name, one in network.cells.state_dict().items():
        assert torch.equal(one, before[name])
    assert asdict(network.config)['cells'] == 8
