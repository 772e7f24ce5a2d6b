"""Edits of an exported ONNX graph that keep what it computes.

torch leaves shape arithmetic, constants and paddings in the graph as nodes of their own. Between
two convolutions each of them takes the image's maps out of the layout in which the runtime
computes: without the paddings EfficientNet-Lite0 takes 0.6 of the time.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidProtobuf

from vpr_ros.core.atomic import unwritable_as
from vpr_ros.core.describing.describe import CPU
from vpr_training.basics.errors import TrainingError

LARGE = 500_000
"""A graph stores matrices of at least this many numbers in half precision."""

_SPATIAL = 2  # the first axis of a map [B, C, h, w] that has a direction
_HALF = '_half'  # ends the name of a constant in half precision


def simplified(graph: bytes) -> bytes:
    """The same graph with constants computed, normalizations and paddings in the convolutions.

    onnxruntime does it by way of a file; raises TrainingError where that cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix='graph-') as folder:
        path = Path(folder) / 'model.onnx'
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        more_room = 'set TMPDIR to a folder on a disk with more room'
        with unwritable_as(TrainingError, path, also=InvalidProtobuf, next_step=more_room):
            ort.InferenceSession(graph, options, providers=[CPU])
        model = onnx.load(path)
    foreign = [entry for entry in model.opset_import if entry.domain not in ('', 'ai.onnx')]
    for entry in foreign:  # onnxruntime imports all that it knows; ONNX's own operators are used
        model.opset_import.remove(entry)
    fold_paddings(model)
    remove_unused(model)
    return bytes(model.SerializeToString())


def halved(graph: bytes, *, large: int = LARGE) -> bytes:
    """The same graph with large matrices in half precision, and a node that casts each back.

    A projection of 10,000 numbers to 500 takes 10 MB of the file instead of 20. onnxruntime casts
    once, when it loads the graph, so that it computes as before, with weights that are rounded by
    some 0.0003 of themselves: cosines move by less than 1e-6. Convolutions stay as they are,
    because TensorRT wants their weights as constants.
    """
    model = onnx.load_from_string(graph)
    readers = users(model)
    constants = {entry.name: entry for entry in model.graph.initializer}
    for name, entry in constants.items():
        products = readers[name]
        if (
            entry.data_type == TensorProto.FLOAT
            and np.prod(entry.dims) >= large
            and products
            and all(node.op_type in ('MatMul', 'Gemm') for node in products)
        ):
            values = numpy_helper.to_array(entry).astype(np.float16)
            model.graph.initializer.remove(entry)
            model.graph.initializer.append(numpy_helper.from_array(values, f'{name}{_HALF}'))
            cast = helper.make_node(
                'Cast', [f'{name}{_HALF}'], [name], to=TensorProto.FLOAT, name=f'{name}{_HALF}'
            )
            model.graph.node.insert(0, cast)
    return bytes(model.SerializeToString())


def in_single(model: Any) -> None:
    """Bring constants that `halved` has halved back to single precision; changes the model."""
    constants = initializers(model)
    for cast in [node for node in model.graph.node if node.name.endswith(_HALF)]:
        values = constants[cast.input[0]].astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, cast.output[0]))
        model.graph.node.remove(cast)
    remove_unused(model)


def fold_paddings(model: Any) -> None:
    """Let convolutions do the zero padding in front of them; changes the model."""
    constants = initializers(model)
    readers = users(model)
    for pad in [node for node in model.graph.node if node.op_type == 'Pad']:
        if not _is_zero_padding(pad, constants):
            continue
        before, after = np.split(constants[pad.input[1]], 2)
        convolutions = readers[pad.output[0]]
        if before[:_SPATIAL].any() or after[:_SPATIAL].any():
            continue
        if any(node.op_type != 'Conv' or _pads_itself(node) for node in convolutions):
            continue
        added = np.concatenate([before[_SPATIAL:], after[_SPATIAL:]])
        for node in convolutions:
            _pad_more(node, added)
            node.input[0] = pad.input[0]
        model.graph.node.remove(pad)


def attribute(node: Any, name: str, default: Any) -> Any:
    """The value of a node's attribute; the default where it has none of this name."""
    found = (entry for entry in node.attribute if entry.name == name)
    return next(map(helper.get_attribute_value, found), default)


def initializers(model: Any) -> dict[str, Any]:
    """The constants of a graph as arrays, by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def users(model: Any) -> dict[str, list[Any]]:
    """The nodes that read a tensor, by the tensor's name."""
    found: dict[str, list[Any]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            found[name].append(node)
    return found


def ancestors(model: Any, outputs: Iterable[str]) -> set[str]:
    """Names of the nodes on which tensors depend, by the tensors' names."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    ahead = list(outputs)
    while ahead:
        node = makers.get(ahead.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            ahead += node.input
    return found


def remove_unused(model: Any) -> None:
    """Take away constants that no node reads; changes the model."""
    read = {name for node in model.graph.node for name in node.input}
    for entry in [entry for entry in model.graph.initializer if entry.name not in read]:
        model.graph.initializer.remove(entry)


def _is_zero_padding(pad: Any, constants: dict[str, Any]) -> bool:
    value = pad.input[2] if len(pad.input) > 2 else ''
    return (
        attribute(pad, 'mode', b'constant') == b'constant'
        and len(pad.input) < 4  # axes
        and pad.input[1] in constants
        and (not value or (value in constants and not np.any(constants[value])))
    )


def _pads_itself(convolution: Any) -> bool:
    """Whether a convolution works out its padding from the image's size."""
    return bool(attribute(convolution, 'auto_pad', b'NOTSET') != b'NOTSET')


def _pad_more(convolution: Any, added: Any) -> None:
    """Add to a convolution's own padding: h and w before, h and w after."""
    pads = attribute(convolution, 'pads', np.zeros_like(added))
    for entry in [entry for entry in convolution.attribute if entry.name == 'pads']:
        convolution.attribute.remove(entry)
    together = [int(pixels) for pixels in pads + added]
    convolution.attribute.append(helper.make_attribute('pads', together))
