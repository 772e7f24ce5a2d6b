"""A model's graph with fewer bits: int8 by calibration images, or fp16.

Weights become int8 with a scale for each channel, activations uint8 with a scale and a zero point
for each tensor, around every layer that computes much; what has no 8-bit form (powers, norms, the
layer norm) stays in float, and so do the few nodes that make cells of a map: maps keep nothing but
their signs, and a product of 112 or 256 by 64 costs little. The bytes of the image are taken for
what they are, an 8-bit tensor, so that the first layer reads them without a detour through floats.

Activations are unsigned because on x86 onnxruntime has fast kernels for these alone: the same
graphs with signed ones were slower than fp32 (decision 0014). TensorRT takes signed ones
without a zero point only; the symmetric form is for it.
"""

import copy
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    create_calibrator,
)
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.transformers.float16 import convert_float_to_float16
from tqdm import tqdm

from vpr_ros.core.describing.describe import opened_session
from vpr_ros.core.errors import ImageError, noting
from vpr_ros.core.image import resize
from vpr_ros.core.plurals import counted
from vpr_ros.core.settings import did_you_mean
from vpr_ros.core.types import Image
from vpr_ros.drives import open_drive
from vpr_ros.drives.posed_images import Unusable
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.equalize import equalized
from vpr_training.exporting.graph_edits import (
    ancestors,
    halved,
    initializers,
    remove_unused,
    simplified,
    users,
)
from vpr_training.exporting.rounding import rounded

FEWEST_IMAGES = 16
MOST_IMAGES = 64
"""Number of images that calibration takes from a drive, evenly over its length."""

_LAYERS = ('Conv', 'Gemm', 'MatMul')
_QUANTIZED = (*_LAYERS, 'Add', 'Relu', 'Clip', 'MaxPool')
_FEWEST_WEIGHTS = 1000
"""Of a matrix product: smaller ones pool or centre, which costs nothing and ends a descriptor."""
_FLOAT_IN_FP16 = (
    *('ReduceL2', 'ReduceMean', 'Pow', 'LayerNormalization'),  # sums of squares exceed fp16
    *('Sub', 'Div', 'Clip', 'Expand', 'Concat', 'Flatten'),  # of bytes, and of unit vectors
)
_IMAGES = 8  # on which the sensitivity of a layer is measured


def calibration_images(source: Path, image_size: tuple[int, int]) -> list[Image]:
    """Images of a drive (a bag or a folder), resized, evenly over its length.

    Those that cannot be read are left out. Raises VprError where the drive cannot be read,
    TrainingError where it has too few images.
    """
    drive, unusable = open_drive(source), Unusable()
    count = len(drive)
    wanted = set(np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(int).tolist())
    found = []
    for row, frame in enumerate(drive.frames()):
        if row in wanted:
            try:
                found.append(resize(frame.load(), image_size))
            except ImageError as error:
                unusable.add(error)
    if len(found) < FEWEST_IMAGES:
        with noting(unusable.lines):
            raise TrainingError(
                f'--calibration {source}: {counted(len(found), "image")}, expected at least '
                f'{FEWEST_IMAGES} from where the robot drives'
            )
    return found


@dataclass(frozen=True)
class Calibrated:
    """A float graph prepared for quantization, and the range of each of its tensors."""

    model: Any  # onnx.ModelProto
    rounded: Mapping[str, Mapping[str, Any]]  # layer -> its constants where it is quantized
    ranges: Any  # onnxruntime's TensorsData
    images: Sequence[Image]
    bytes_tensor: str  # the images as bytes, [B, 3, H, W]; '' if the first layer needs floats
    float_tensor: str  # what the first layer reads instead

    @property
    def layers(self) -> list[str]:
        """Names of the nodes that may be quantized or kept in float."""
        return _layers_of(self.model)


def _layers_of(model: Any) -> list[str]:
    aside = _pooling_products(model) | _behind_cells(model)
    nodes = [node for node in model.graph.node if node.op_type in _LAYERS]
    return [node.name for node in nodes if node.name not in aside]


def require_layers(graph: bytes, keep: Sequence[str]) -> None:
    """Raise TrainingError for a layer of `keep` that a model's graph does not have."""
    if not keep:
        return
    layers = _layers_of(onnx.load_from_string(simplified(graph)))
    if unknown := [layer for layer in keep if layer not in layers]:
        such = f'they have names such as {", ".join(layers[:3])}' if layers else 'it has none'
        raise TrainingError(
            f'--keep-in-float {unknown[0]}: the graph has no such layer to quantize; '
            f'{did_you_mean(unknown[0], layers, otherwise=such)}'
        )


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, images: Sequence[Image]) -> None:
        self._batches = iter(
            tqdm([{name: image[None]} for image in images], desc='calibration', disable=None)
        )

    def get_next(self) -> Any:
        return next(self._batches, None)


def calibrate(graph: bytes, images: Sequence[Image]) -> Calibrated:
    """Find the range of every tensor of a model's graph; images are of the network's size.

    Channels are equalized and weights rounded for the output's sake first. Raises TrainingError
    for a graph without layers to quantize.
    """
    model = onnx.load_from_string(simplified(graph))
    if not any(node.op_type in _LAYERS for node in model.graph.node):
        raise TrainingError('the graph has no layers with weights, so int8 would change nothing')
    bytes_tensor, float_tensor, zero_point = _fold_normalization(model)
    even = equalized(model, images)
    model = onnx.shape_inference.infer_shapes(even.model)
    with tempfile.TemporaryDirectory(prefix='calibrate-') as folder:
        path = Path(folder) / 'model.onnx'
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            list(_QUANTIZED),
            augmented_model_path=str(Path(folder) / 'augmented.onnx'),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(model.graph.input[0].name, images))
        ranges = calibrator.compute_data().data
    for tensor, (least, most) in even.ranges.items():
        ranges[tensor] = TensorData(lowest=np.float32(least), highest=np.float32(most))
    if bytes_tensor:
        low, high = np.float32(-zero_point), np.float32(255 - zero_point)  # scale 1
        ranges[float_tensor] = TensorData(lowest=low, highest=high)
    together = TensorsData(CalibrationMethod.MinMax, ranges)
    constants = rounded(model, images)
    return Calibrated(model, constants, together, images, bytes_tensor, float_tensor)


def int8_graph(
    calibrated: Calibrated, keep: Iterable[str] = (), *, symmetric: bool = False
) -> bytes:
    """The quantized graph; layers named in `keep` stay in float, with those that feed them.

    symmetric: the form for TensorRT, with signed activations and float biases. What stays of large
    matrices is of half precision, as in the fp32 graph.
    """
    exclude = {name for layer in keep for name in _with_sources(calibrated.model, layer)}
    exclude |= _pooling_products(calibrated.model) | _behind_cells(calibrated.model)
    return halved(_quantized(calibrated, exclude=sorted(exclude), only=[], symmetric=symmetric))


def fp16_graph(graph: bytes) -> bytes:
    """Weights and activations in half precision; the input, the outputs and norms as they are."""
    model = onnx.load_from_string(simplified(graph))
    halved = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=list(_FLOAT_IN_FP16)
    )
    return bytes(halved.SerializeToString())


def most_sensitive(calibrated: Calibrated, *, symmetric: bool = False) -> list[str]:
    """The layers, first the one that changes outputs most if it alone is quantized.

    By the descriptor's cosine, and the cells' mean one where there are some.
    """
    batch = np.stack(calibrated.images[:: -(-len(calibrated.images) // _IMAGES)])
    expected = _outputs(calibrated.model.SerializeToString(), batch)
    distances = {}
    for layer in tqdm(calibrated.layers, desc='sensitivity', unit='layer', disable=None):
        alone = _quantized(calibrated, exclude=[], only=[layer], symmetric=symmetric)
        distances[layer] = sum(
            float(1 - (before * after).sum(axis=-1).mean())
            for before, after in zip(expected, _outputs(alone, batch), strict=True)
        )
    return sorted(distances, key=lambda layer: -distances[layer])


def _pooling_products(model: Any) -> set[str]:
    """Names of matrix products with few constants, or none."""
    constants = initializers(model)
    return {
        node.name
        for node in model.graph.node
        if node.op_type == 'MatMul'
        and sum(constants[name].size for name in node.input if name in constants) < _FEWEST_WEIGHTS
    }


def _behind_cells(model: Any) -> set[str]:
    """Names of the nodes that make cells of a map, and of all that reads what they make."""
    cells = [output.name for output in model.graph.output][1:]
    above = ancestors(model, cells)
    names: set[str] = set()
    made: set[str] = set()
    for node in model.graph.node:  # in the graph's order
        if (node.name in above and node.op_type == 'MatMul') or made & set(node.input):
            names.add(node.name)
            made |= set(node.output)
    return names


def _with_sources(model: Any, layer: str) -> set[str]:
    """A layer, the layers that feed it, and what lies between.

    onnxruntime quantizes a float layer between two quantized ones by itself when it loads the
    graph, with one scale for all channels, which loses most (0.90 for 0.99 of cosine).
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    (wanted,) = (node for node in model.graph.node if node.name == layer)
    found, ahead = {layer}, list(wanted.input)
    while ahead:
        node = makers.get(ahead.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            ahead += [] if node.op_type in _LAYERS else node.input
    return found


def _outputs(graph: bytes, batch: Any) -> list[NDArray[np.float32]]:
    """Descriptors [B, D], and cells [B, h, w, C] where the graph gives some."""
    session = opened_session(graph, source='the calibrated graph')
    found = session.run(None, {session.get_inputs()[0].name: batch})
    return [np.asarray(one, dtype=np.float32) for one in found]


def _quantized(
    calibrated: Calibrated, *, exclude: list[str], only: list[str], symmetric: bool
) -> bytes:
    model = copy.deepcopy(calibrated.model)
    skipped = set(exclude)
    constants = {
        name: array
        for layer, arrays in calibrated.rounded.items()
        if layer not in skipped and (not only or layer in only)
        for name, array in arrays.items()
    }
    for entry in model.graph.initializer:
        if entry.name in constants:
            entry.CopyFrom(numpy_helper.from_array(constants[entry.name], entry.name))
    quantizer = QDQQuantizer(
        model,
        True,  # a scale for each channel
        False,  # all 8 bits
        QuantType.QInt8,
        QuantType.QInt8 if symmetric else QuantType.QUInt8,
        calibrated.ranges,
        only,
        exclude,
        list(_QUANTIZED),
        {'ActivationSymmetric': True, 'QuantizeBias': False} if symmetric else {},
    )
    quantizer.quantize_model()
    model = quantizer.model.model
    if not symmetric:
        _read_bytes(model, calibrated)
    remove_unused(model)
    return bytes(model.SerializeToString())


def _fold_normalization(model: Any) -> tuple[str, str, int]:
    """Let the first convolution read the image's bytes less a whole number; changes the model.

    The division by the deviation goes into its weights; what the mean differs from the whole
    number goes into its bias, which is exact except under the padding. Gives the tensor of bytes,
    the tensor that the convolution reads, and the number; '', '', 0 where the graph does not begin
    with Cast, Sub, Div, Conv.
    """
    chain = _first_nodes(model, ('Cast', 'Sub', 'Div', 'Conv'))
    constants = initializers(model)
    if not chain or any(node.input[1] not in constants for node in chain[1:]):
        return '', '', 0
    cast, sub, div, convolution = chain
    channels = constants[convolution.input[1]].shape[1]
    mean, deviation = (
        np.broadcast_to(constants[node.input[1]].ravel(), channels) for node in (sub, div)
    )
    zero_point = round(float(mean.mean()))
    weights = constants[convolution.input[1]] / deviation[:, None, None]  # [C, 3, h, w]
    bias = (weights * (zero_point - mean)[:, None, None]).sum(axis=(1, 2, 3))
    if len(convolution.input) > 2:
        bias = bias + constants[convolution.input[2]]
    replaced = {
        'bytes_mean': np.float32(zero_point),
        'bytes_weights': weights.astype(np.float32),
        'bytes_bias': bias.astype(np.float32),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in replaced.items()
    )
    sub.input[1] = 'bytes_mean'
    del convolution.input[:]
    convolution.input.extend([sub.output[0], 'bytes_weights', 'bytes_bias'])
    model.graph.node.remove(div)
    remove_unused(model)
    return cast.input[0], sub.output[0], zero_point


def _first_nodes(model: Any, kinds: Sequence[str]) -> list[Any]:
    """The chain of nodes of these kinds that begins at the first one; [] if there is none."""
    readers = users(model)
    chain = [node for node in model.graph.node if node.op_type == kinds[0]][:1]
    for kind in kinds[1:] if chain else ():
        following = readers[chain[-1].output[0]]
        if len(following) != 1 or following[0].op_type != kind:
            return []
        chain.append(following[0])
    return chain


def _read_bytes(model: Any, calibrated: Calibrated) -> None:
    """Feed the image's bytes to the first layer where it is quantized; changes the model.

    Bytes less a whole number, quantized with scale 1, are the bytes again.
    """
    tensor = calibrated.float_tensor
    quantizers = [
        node
        for node in model.graph.node
        if node.op_type == 'QuantizeLinear' and node.input[0] == tensor
    ]
    if not tensor or not quantizers:
        return
    readers = users(model)
    for node in quantizers:
        for reader in readers[node.output[0]]:
            reader.input[0] = calibrated.bytes_tensor
        model.graph.node.remove(node)
    (less,) = (node for node in model.graph.node if tensor in node.output)
    (cast,) = (node for node in model.graph.node if less.input[0] in node.output)
    model.graph.node.remove(less)
    model.graph.node.remove(cast)
