"""Prepare a graph for 8 bits: every channel fills the range of its tensor.

A tensor has one scale in 8 bits. A channel that reaches a tenth of the others' values has a tenth
of the steps. So the layer in front of a tensor multiplies each channel by a factor, and the layers
behind divide by it. Weights have a scale for each channel and hardly notice (cross-layer
equalization: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias
Correction).

- Behind ReLU and ReLU6, a factor is enough.
- Linear layers and the sums of MobileNet's blocks share the factors, and each tensor has offsets
  of its own, which centre its channels. Two nodes take both back for a reader that is no 1 x 1
  convolution.

A channel's range leaves rare peaks out if that makes the squared error of 8 bits smaller. Under
ReLU6 such peaks are cut off in the prepared graph, too.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from vpr_ros.core.describing.describe import opened_session
from vpr_ros.core.types import Image
from vpr_training.exporting.graph_edits import attribute, initializers, users

Floats: TypeAlias = NDArray[np.floating[Any]]

LARGEST_FACTOR = 32.0
"""Of a channel that shows next to nothing."""

_ACTIVATIONS = ('Relu', 'Clip')
_STEPS = 255
_SHARES = np.arange(1.0, 0.25, -0.05)  # of a channel's whole range
_PEAKS = 4.0  # a squared error by cutting weighs so many times one by rounding: peaks carry more
_PIXELS = 256  # of an image that a channel's range is judged by


@dataclass(frozen=True, slots=True)
class Extent:
    """What each channel of a tensor [B, C, h, w] is to cover."""

    low: Floats  # [C]
    high: Floats  # [C]


@dataclass(frozen=True, slots=True)
class Equalized:
    """A prepared graph, and the range of each tensor whose channels fill it."""

    model: Any  # onnx.ModelProto
    ranges: dict[str, tuple[float, float]]  # tensor -> least and most value


def equalized(model: Any, images: Sequence[Image]) -> Equalized:
    """Prepare an onnx.ModelProto by images of the network's size; it stays as it is."""
    edits = _Edits(model)
    activated, streams = _activated(edits), _streams(edits)
    extents = _extents(model, images, {*activated, *(name for group in streams for name in group)})
    ranges: dict[str, tuple[float, float]] = {}
    for tensor, limit in activated.items():
        high = extents[tensor].high
        most = limit if np.isfinite(limit) else float(high.max())
        edits.scale(tensor, _bounded(most / np.maximum(high, 1e-12)))
        ranges[tensor] = (0.0, most)
    for group in streams:
        ranges |= edits.centre(group, extents)
    return Equalized(edits.changed_model(), ranges)


def tensors_of(
    model: Any, names: Iterable[str], images: Sequence[Image]
) -> Iterable[dict[str, Floats]]:
    """The named tensors of a graph for one image after another, each without the batch axis."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = sorted(names)
    for name in names:
        watched.graph.output.append(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    session = opened_session(watched.SerializeToString(), source='the graph to equalize')
    feed = session.get_inputs()[0].name
    for image in images:
        found = session.run(names, {feed: image[None]})
        yield {name: np.asarray(tensor[0]) for name, tensor in zip(names, found, strict=True)}


class _Edits:
    """A graph whose convolutions change."""

    def __init__(self, model: Any) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.constants: dict[str, NDArray[Any]] = initializers(self.model)
        self.makers = {name: node for node in self.model.graph.node for name in node.output}
        self.readers = users(self.model)

    def is_convolution(self, node: Any) -> bool:
        """Whether a node is a convolution with weights and a bias that no other node reads."""
        return (
            node is not None
            and node.op_type == 'Conv'
            and len(node.input) == 3
            and all(
                name in self.constants and len(self.readers[name]) == 1 for name in node.input[1:]
            )
            and (attribute(node, 'group', 1) == 1 or self.constants[node.input[1]].shape[1] == 1)
        )

    def is_pointwise(self, node: Any) -> bool:
        """Whether it reads each pixel by itself: no padding sees an offset."""
        if not self.is_convolution(node) or attribute(node, 'group', 1) != 1:
            return False
        is_single = self.constants[node.input[1]].shape[2:] == (1, 1)
        return is_single and not any(attribute(node, 'pads', ()))

    def scale(self, tensor: str, factors: Floats) -> None:
        """Multiply an activation's channels in front, divide behind."""
        self._scale_outputs(self.makers[self.makers[tensor].input[0]], factors)
        for reader in self.readers[tensor]:
            self._scale_inputs(reader, 1 / factors)

    def centre(
        self, group: Sequence[str], extents: Mapping[str, Extent]
    ) -> dict[str, tuple[float, float]]:
        """Centre and scale the tensors of a linear stream; gives their ranges."""
        halves = {name: (extents[name].high - extents[name].low) / 2 for name in group}
        reach = np.max(list(halves.values()), axis=0)  # [C]
        factors = _bounded(reach.max() / np.maximum(reach, 1e-12))
        offsets: dict[str, Floats] = {}
        ranges: dict[str, tuple[float, float]] = {}
        for name in group:  # in the graph's order: a sum comes behind what it adds
            maker = self.makers[name]
            middle = (extents[name].high + extents[name].low) / 2
            if maker.op_type == 'Add':
                offsets[name] = offsets[maker.input[0]] + offsets[maker.input[1]]
            else:
                offsets[name] = middle
                self._shift_outputs(maker, -middle)
                self._scale_outputs(maker, factors)
            most = float((factors * (halves[name] + abs(middle - offsets[name]))).max())
            ranges[name] = (-most, most)
        for name in group:
            self._take_back(name, set(group), 1 / factors, offsets[name])
        return ranges

    def changed_model(self) -> Any:
        """The graph with its new constants."""
        for entry in self.model.graph.initializer:
            if entry.name in self.constants:
                array = self.constants[entry.name]
                kind = numpy_helper.to_array(entry).dtype
                entry.CopyFrom(numpy_helper.from_array(array.astype(kind), entry.name))
        return self.model

    def _scale_outputs(self, convolution: Any, factors: Floats) -> None:
        weights, bias = convolution.input[1:]
        self.constants[weights] = self.constants[weights] * factors[:, None, None, None]
        self.constants[bias] = self.constants[bias] * factors

    def _shift_outputs(self, convolution: Any, offsets: Floats) -> None:
        bias = convolution.input[2]
        self.constants[bias] = self.constants[bias] + offsets

    def _scale_inputs(self, convolution: Any, factors: Floats) -> None:
        name = convolution.input[1]
        along = (0, 1) if attribute(convolution, 'group', 1) == 1 else (1, 0)  # or depthwise
        shaped = np.expand_dims(factors, (along[0], 2, 3))
        self.constants[name] = self.constants[name] * shaped

    def _take_back(
        self,
        name: str,
        group: set[str],
        factors: Floats,
        offsets: Floats,
    ) -> None:
        """Give what reads a tensor of a stream what it read before."""
        others = []
        for reader in self.readers[name]:
            if self.is_pointwise(reader):
                weights = self.constants[reader.input[1]]
                self._scale_inputs(reader, factors)
                self._shift_outputs(reader, weights[:, :, 0, 0] @ offsets)
            elif not group & set(reader.output):
                others.append(reader)
        if others:
            self._insert(name, others, factors, offsets)

    def _insert(
        self,
        name: str,
        readers: Sequence[Any],
        factors: Floats,
        offsets: Floats,
    ) -> None:
        """Nodes behind a tensor; of kinds that stay in float."""
        made, source = [], name
        for kind, values in (('Mul', factors), ('Sub', -offsets)):
            result = f'{source}_{kind.lower()}'
            shaped = values.astype(np.float32).reshape(1, -1, 1, 1)
            self.model.graph.initializer.append(numpy_helper.from_array(shaped, f'{result}_by'))
            made.append(helper.make_node(kind, [source, f'{result}_by'], [result], name=result))
            source = result
        for reader in readers:
            for place, read in enumerate(reader.input):
                if read == name:
                    reader.input[place] = source
        nodes = self.model.graph.node
        at = next(row for row, node in enumerate(nodes) if name in node.output) + 1
        for node in reversed(made):
            nodes.insert(at, node)


def _activated(edits: _Edits) -> dict[str, float]:
    """Tensors between convolutions behind ReLU or ReLU6, and the bound of their values."""
    found: dict[str, float] = {}
    for node in edits.model.graph.node:
        if node.op_type not in _ACTIVATIONS:
            continue
        limit = np.inf if node.op_type == 'Relu' else _limit_of_relu6(node, edits.constants)
        readers = edits.readers[node.output[0]]
        if (
            limit > 0
            and edits.is_convolution(edits.makers.get(node.input[0]))
            and len(edits.readers[node.input[0]]) == 1
            and readers
            and all(edits.is_convolution(reader) for reader in readers)
        ):
            found[node.output[0]] = limit
    return found


def _limit_of_relu6(clip: Any, constants: Mapping[str, NDArray[Any]]) -> float:
    """The upper bound of a Clip from 0; 0 of another one."""
    bounds = [constants.get(name) for name in clip.input[1:3]]
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None or bounds[0].any():
        return 0.0
    return float(bounds[1])


def _streams(edits: _Edits) -> list[list[str]]:
    """Groups of tensors of convolutions and their sums without activation, in the graph's order.

    Only those that a 1 x 1 convolution reads and nothing else adds to.
    """
    group_of: dict[str, int] = {}
    for number, node in enumerate(edits.model.graph.node):
        name = node.output[0]
        if edits.is_convolution(node):
            group_of[name] = number
        elif node.op_type == 'Add' and all(part in group_of for part in node.input):
            joined = {group_of[part] for part in node.input}
            group_of[name] = number
            group_of |= {part: number for part, group in group_of.items() if group in joined}
    groups: dict[int, list[str]] = defaultdict(list)
    for name, number in group_of.items():
        groups[number].append(name)
    outputs = {output.name for output in edits.model.graph.output}
    return [
        group
        for group in groups.values()
        if not outputs & set(group) and _is_linear_stream(group, edits)
    ]


def _is_linear_stream(group: Sequence[str], edits: _Edits) -> bool:
    members = set(group)
    readers = [
        reader
        for name in group
        for reader in edits.readers[name]
        if not members & set(reader.output)
    ]
    return any(map(edits.is_pointwise, readers)) and not any(
        reader.op_type in ('Add', *_ACTIVATIONS) for reader in readers
    )


def _extents(model: Any, images: Sequence[Image], names: set[str]) -> dict[str, Extent]:
    """Of each tensor [C, h, w] the ranges of its channels that 8 bits show best."""
    if not names:
        return {}
    rng = np.random.default_rng(0)
    seen: dict[str, list[Floats]] = {name: [] for name in names}
    for tensors in tensors_of(model, names, images):
        for name, tensor in tensors.items():
            rows = tensor.reshape(len(tensor), -1)
            some = rows[:, rng.integers(0, rows.shape[1], min(_PIXELS, rows.shape[1]))]
            ends = np.stack([rows.min(axis=1), rows.max(axis=1)], axis=1)
            seen[name].append(np.concatenate([ends, some], axis=1))
    return {name: _best_extent(np.concatenate(parts, axis=1)) for name, parts in seen.items()}


def _best_extent(values: Floats) -> Extent:
    """Ranges of channels [C] with the least squared error of 8 bits; values: [C, n]."""
    low, high = values.min(axis=1), values.max(axis=1)
    fixed = np.where(low >= 0, low, np.where(high <= 0, high, (low + high) / 2))
    least: Floats = np.full(len(values), np.inf)
    found = Extent(low, high)
    for share in _SHARES:
        tried = Extent(fixed + (low - fixed) * share, fixed + (high - fixed) * share)
        cut = np.clip(values, tried.low[:, None], tried.high[:, None]) - values
        rounding = ((tried.high - tried.low) / _STEPS) ** 2 / 12
        error = _PEAKS * (cut**2).mean(axis=1) + rounding
        better = error < least
        least = np.where(better, error, least)
        found = Extent(
            np.where(better, tried.low, found.low), np.where(better, tried.high, found.high)
        )
    return found


def _bounded(factors: Floats) -> Floats:
    bounded: Floats = np.clip(factors, 1, LARGEST_FACTOR).astype(np.float32)
    return bounded
