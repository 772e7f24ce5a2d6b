"""Make a network that can learn again from a model folder, which holds an ONNX graph and a card.

Trained networks are published as model folders only, without a torch file. The card says how the
network is built, and each node of the graph is named after the layer that it came from. In the
graph, normalizations are merged into the convolutions in front of them. Here each normalization
only adds the bias of its convolution: it has statistics of mean 0 and variance 1, and a weight
that cancels their scale. So these statistics must stay (`network.frozen_statistics`).
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard
from vpr_ros.core.plurals import by_count
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.graph_edits import attribute, in_single, initializers
from vpr_training.exporting.onnx_graph import images_for_parity, parity
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig
from vpr_training.models.tensors import load_state

LEAST_COSINE = 0.9999
"""Between the descriptors of the graph and of the network made from it, for the same image; and
between their cells, the mean over an image."""


def config_of(card: ModelCard, folder: Path) -> NetworkConfig:
    """How a model's network is built; TrainingError where the card does not say."""
    held = card.provenance.get('network')
    if not isinstance(held, dict):
        raise TrainingError(
            f'{folder}: its card does not say how the network is built (provenance: '
            'network), and training needs that; export it again from its checkpoint'
        )
    config = NetworkConfig.from_mapping(held, source=str(folder))
    return replace(config, weights=None, frozen_statistics=True)


def load_model(folder: Path, config: NetworkConfig | None = None) -> Network:
    """A network with the weights of a model folder's fp32 graph.

    config: how it is built; None: as the card says. Raises ModelError for a folder that cannot be
    used, TrainingError where network and graph differ.
    """
    model = Model.open(folder, precision='fp32')
    network = Network(config or config_of(model.card, folder))
    graph = onnx.load(model.graph)
    in_single(graph)
    weights = dict(_weights(network, _Graph(graph), folder))
    load_state(
        network,
        weights,
        source=str(folder),
        refusal='the model is of another architecture',
        strict=False,
    )
    _require_sizes(network, model)
    describer = OnnxDescriber(model, singly=False)
    found = parity(ExportedNetwork(network).eval(), describer, images_for_parity(model.card))
    if not found.holds(descriptors=LEAST_COSINE, cells=LEAST_COSINE):
        raise TrainingError(
            f'{folder}: the model is of another architecture: descriptors of the network made '
            f'from it have a cosine of {found} with those of its graph, expected at least '
            f'{LEAST_COSINE}'
        )
    return network


def _require_sizes(network: Network, model: Model) -> None:
    """Raise TrainingError where a model's outputs are not those of its network."""
    card, cells = model.card, network.cells_size()
    if network.descriptor_size != card.descriptor_size:
        raise TrainingError(
            f'{model.folder}: its descriptors have {card.descriptor_size} numbers, those of the '
            f'network {network.descriptor_size}; a model with shortened descriptors cannot be '
            'trained, so give the one that it was made from'
        )
    if None not in (cells, card.cells) and cells != card.cells:
        raise TrainingError(
            f'{model.folder}: its cells are {card.cells}, those of the network {cells}'
        )


class _Graph:
    """The constants that each layer's nodes read, by the layer's name in the network."""

    def __init__(self, graph: Any) -> None:
        self.constants = initializers(graph)
        self.nodes: dict[str, list[Any]] = defaultdict(list)
        for node in graph.graph.node:
            self.nodes[_layer(node.name)].append(node)

    def of(self, layer: str, *operators: str) -> list[tuple[Any, list[NDArray[np.float32]]]]:
        """The layer's nodes of these kinds, each with the constants that it reads."""
        return [
            (node, [self.constants[name] for name in node.input if name in self.constants])
            for node in self.nodes[layer]
            if node.op_type in operators
        ]


def _layer(node: str) -> str:
    """`/network/backbone/layer1/layer1.0/conv1/Conv` -> `backbone.layer1.0.conv1`."""
    scopes = node.strip('/').split('/')[:-1]
    if scopes[:1] == ['network']:
        scopes = scopes[1:]
    kept = [one for one, inner in pairwise([*scopes, '']) if not inner.startswith(f'{one}.')]
    return '.'.join(kept)


def _weights(network: Network, graph: _Graph, folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and statistic of the network, by its name; raises TrainingError."""
    missing = [name for name, _ in network.named_parameters()]
    layers = [(name, part) for name, part in network.named_modules() if not list(part.children())]
    for (name, part), (after, norm) in pairwise([*layers, ('', nn.Identity())]):
        found: dict[str, Any] = {}
        if isinstance(part, nn.Conv2d):
            found = _convolution(graph, name, after, norm)
        elif isinstance(part, nn.Linear):
            found = _linear(graph, name)
        elif isinstance(part, nn.LayerNorm):
            found = _named(graph.of(name, 'LayerNormalization'), name)
        for key, value in found.items():
            yield key, torch.from_numpy(np.array(value, dtype=np.float32))
            if key in missing:
                missing.remove(key)
    for name in list(missing):  # of an aggregator itself, such as the power of GeM
        shape = tuple(network.get_parameter(name).shape)
        value = graph.constants.get(f'network.{name}', _shared(graph, name, shape))
        if value is not None:
            yield name, torch.from_numpy(np.array(value, dtype=np.float32))
            missing.remove(name)
    if missing:
        more = len(missing) - 1
        raise TrainingError(
            f'{folder}: the model is of another architecture: its graph has no {missing[0]}'
            + (f', and {more} more {by_count(more, "is", "are")} missing' if more else '')
        )


def _shared(graph: _Graph, name: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """The only constant of this shape that a parameter's layer reads.

    Equal constants are one in a graph, under the name of the first.
    """
    layer, _, _ = name.rpartition('.')
    read = [each for _, constants in graph.of(layer, 'Mul', 'MatMul') for each in constants]
    fitting = [each for each in read if each.shape == shape]
    return fitting[0] if len(fitting) == 1 else None


def _convolution(graph: _Graph, name: str, after: str, norm: nn.Module) -> dict[str, Any]:
    """Values of a convolution; the bias belongs to the normalization, if one follows."""
    found = _named(graph.of(name, 'Conv'), name)
    if not found or not isinstance(norm, nn.BatchNorm2d):
        return found
    zeros = np.zeros(norm.num_features)
    bias = found.pop(f'{name}.bias', zeros)
    return found | {
        f'{after}.weight': np.full(norm.num_features, np.sqrt(1 + norm.eps)),
        f'{after}.bias': bias,
        f'{after}.running_mean': zeros,
        f'{after}.running_var': zeros + 1,
    }


def _named(nodes: list[tuple[Any, list[Any]]], name: str) -> dict[str, Any]:
    """Weight and bias of the only node, as it reads them."""
    if len(nodes) != 1:
        return {}
    return {
        f'{name}.{kind}': value
        for kind, value in zip(('weight', 'bias'), nodes[0][1], strict=False)
    }


def _linear(graph: _Graph, name: str) -> dict[str, Any]:
    """Values of a linear layer: one node, or a product and a sum."""
    products = graph.of(name, 'MatMul', 'Gemm')
    found = _named(products, name)
    if not found:
        return {}
    node = products[0][0]
    if not attribute(node, 'transB', 0):
        found[f'{name}.weight'] = found[f'{name}.weight'].T
    return _named_bias(graph, name) | found


def _named_bias(graph: _Graph, name: str) -> dict[str, Any]:
    sums = [constants for _, constants in graph.of(name, 'Add') if constants]
    return {f'{name}.bias': sums[0][0]} if len(sums) == 1 else {}
