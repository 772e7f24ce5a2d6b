"""A network made from a model folder computes what the folder's graph computes, and can learn."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import ROOT

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
from vpr_ros.core.describing.model import Model, ModelCard, read_card, write_model
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.model_folder import export
from vpr_training.exporting.network_from_graph import load_model
from vpr_training.exporting.onnx_graph import images_for_parity
from vpr_training.exporting.shorter_descriptors import shortened
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig

AGGREGATORS = {
    'avg': {},
    'gem': {'power': 2.5},
    'mixvpr': {'out_channels': 8, 'out_rows': 2, 'mix_depth': 2},
    'convap': {'out_channels': 8},
    'cosplace': {'out_channels': 16},
    'netvlad': {'clusters': 3},
}


def published(folder: Path, config: NetworkConfig, *, seed: int = 0) -> Network:
    """A network with statistics and weights unlike any start, exported into a folder."""
    torch.manual_seed(seed)
    network = Network(config).eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0, 0.2)
                part.running_mean.normal_(0, 0.2)
                part.running_var.uniform_(0.5, 1.5)
        for name, one in network.aggregator.named_parameters():
            if name.endswith(('mean', 'bias')):
                one.normal_(0, 0.01)
    card = ModelCard(
        name=folder.name,
        image_height=config.image_height,
        image_width=config.image_width,
        descriptor_size=network.descriptor_size,
        provenance={'network': asdict(config)},
    )
    export(network, card, folder)
    return network


def small(**other: Any) -> NetworkConfig:
    options = {'weights': None, 'image_height': 64, 'image_width': 96, 'last_stage': 2}
    return NetworkConfig(**options | other)


@pytest.mark.parametrize('aggregator', AGGREGATORS)
def test_every_aggregator_comes_back(tmp_path: Path, aggregator: str) -> None:
    config = small(
        aggregator=aggregator, aggregator_options=AGGREGATORS[aggregator], descriptor_size=10
    )
    first = published(tmp_path / 'model', config)
    again = load_model(tmp_path / 'model').eval()
    images = torch.from_numpy(np.stack(images_for_parity(read_card(tmp_path / 'model/card.json'))))
    with torch.inference_mode():
        expected, found = ExportedNetwork(first)(images), ExportedNetwork(again)(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_whitened_grids_of_one_weight_come_back(tmp_path: Path) -> None:
    config = small(
        backbone='efficientnet_lite0', aggregator='whitened', taps=('stride8', 'stride16'),
        aggregator_options={'things': 20, 'grids': [[2, 12, 3], [3, 12, 5]]},
    )  # fmt: skip
    published(tmp_path / 'model', config)
    grids = load_model(tmp_path / 'model').aggregator.grids
    assert [one.weight.item() for one in grids] == [pytest.approx(2**-0.5)] * 2


@pytest.mark.parametrize('backbone', ['resnet50', 'efficientnet_lite0'])
def test_every_kind_of_block_comes_back(tmp_path: Path, backbone: str) -> None:
    published(tmp_path / 'model', small(backbone=backbone, aggregator='gem'))
    load_model(tmp_path / 'model')


@pytest.mark.skipif(not (ROOT / 'models' / 'lite0').is_dir(), reason='no shipped model')
def test_every_shipped_model_comes_back() -> None:
    for card in (ROOT / 'models').glob('*/card.json'):
        network = load_model(card.parent)
        assert any(one.requires_grad for one in network.parameters())


def test_statistics_stay_while_the_network_learns(tmp_path: Path) -> None:
    published(tmp_path / 'model', small(aggregator='gem', frozen_stages=0))
    network = load_model(tmp_path / 'model').train()
    before = {name: one.clone() for name, one in network.named_buffers()}
    images = torch.randn(4, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    network(images).sum().backward()
    assert before and all(torch.equal(one, before[name]) for name, one in network.named_buffers())
    assert all(one.grad is not None for one in network.parameters())


def test_a_card_of_another_network_is_refused(tmp_path: Path) -> None:
    published(tmp_path / 'model', small(aggregator='gem'))
    card = tmp_path / 'model' / 'card.json'
    said = json.loads(card.read_text())
    for changed, complaint in (
        ({'aggregator': 'mixvpr'}, 'another architecture: its graph has no aggregator.mix.0.norm'),
        ({'backbone': 'resnet34'}, 'another architecture: its graph has no'),
        ({'backbone': 'resnet50'}, 'another architecture'),
        ({'aggregator': 'avg'}, 'a cosine of'),
        ({'backbone': 'vgg'}, "backbone 'vgg', expected one of"),
    ):
        network = {**said['provenance']['network'], **changed}
        card.write_text(json.dumps({**said, 'provenance': {'network': network}}))
        with pytest.raises(TrainingError, match=complaint):
            load_model(tmp_path / 'model')
    card.write_text(json.dumps({**said, 'provenance': {}}))
    with pytest.raises(TrainingError, match='does not say how the network is built'):
        load_model(tmp_path / 'model')


def test_a_model_with_shortened_descriptors_is_refused(tmp_path: Path) -> None:
    published(tmp_path / 'model', small(aggregator='gem'))
    model = Model.open(tmp_path / 'model')
    size = model.card.descriptor_size
    graph = shortened(
        model.graph.read_bytes(), np.zeros(size, np.float32), np.eye(size, 8, dtype=np.float32)
    )
    write_model(tmp_path / 'short', graph, replace(model.card, descriptor_size=8))
    with pytest.raises(TrainingError, match=rf'have 8 numbers, those of the network {size}; a'):
        load_model(tmp_path / 'short')


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    config = small(aggregator='gem')
    published(tmp_path / 'model', config)
    graph = onnx.load(tmp_path / 'model' / 'model.onnx')
    for entry in graph.graph.initializer:
        if entry.name == 'mean':
            entry.CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 9, 'f4'), 'mean'))
    card = read_card(tmp_path / 'model' / 'card.json')
    write_model(tmp_path / 'other', graph.SerializeToString(), card)
    with pytest.raises(TrainingError, match='of another architecture'):
        load_model(tmp_path / 'other')
