"""The ONNX graph of a network, which has to compute what the network computes.

The graph takes the camera's bytes and gives unit descriptors, and unit cells where the network has
some, so that nothing about the network can be done differently on the robot. torch and onnxruntime
must agree on the same images.
"""

import io
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import ModelCard, write_model
from vpr_ros.core.types import Cells, Descriptors, Image
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.graph_edits import halved, simplified
from vpr_training.models.network import ExportedNetwork, Network

LEAST_COSINE = 0.99999
"""Between the descriptors of torch and of onnxruntime for the same image."""
LEAST_CELLS_COSINE = 0.9999
"""Between their cells, the mean over an image; these are of half precision."""

CELLS = 'cells'
_OPSET = 17


class ParityError(TrainingError):
    """The exported graph does not compute what the network computes."""


@dataclass(frozen=True)
class Parity:
    """How alike a network and a graph see the same images."""

    descriptors: float  # smallest cosine of an image's descriptors
    cells: float | None  # smallest mean cosine of an image's cells; None: there are none

    def holds(self, *, descriptors: float, cells: float) -> bool:
        """Whether both reach so much."""
        # >=: a graph that gives NaN agrees with nothing.
        return self.descriptors >= descriptors and (self.cells is None or self.cells >= cells)

    def __str__(self) -> str:
        cells = '' if self.cells is None else f', of cells {self.cells:.6f}'
        return f'{self.descriptors:.7f}{cells}'


def checked_graph(network: Network, card: ModelCard) -> bytes:
    """The fp32 graph of a network; ParityError if it computes something else."""
    exported = ExportedNetwork(network).eval()
    graph = to_onnx(exported)
    with tempfile.TemporaryDirectory(prefix='export-') as scratch:
        told = replace(card, cells=network.cells_size())
        trial = OnnxDescriber(write_model(Path(scratch) / 'model', graph, told))
        found = parity(exported, trial, images_for_parity(card))
    if not found.holds(descriptors=LEAST_COSINE, cells=LEAST_CELLS_COSINE):
        cells = '' if found.cells is None else f', of cells {LEAST_CELLS_COSINE}'
        raise ParityError(
            f'{card.name}: the model was not written, because the cosine of torch and ONNX is '
            f'{found}, expected at least {LEAST_COSINE}{cells}'
        )
    return graph


def to_onnx(exported: ExportedNetwork) -> bytes:
    """The ONNX file's bytes, B dynamic.

    The input is `images` uint8 [B, H, W, 3], the outputs `descriptors` float32 [B, D] and, of a
    network that has them, `cells` float16 [B, h, w, C]. Large matrices are of half precision.
    """
    config = exported.network.config
    example = torch.zeros(2, config.image_height, config.image_width, 3, dtype=torch.uint8)
    outputs = ['descriptors', *([CELLS] if config.cells else [])]
    free = {name: {0: 'B'} for name in ('images', *outputs)}
    graph = simplified(traced(exported, (example,), ['images'], outputs, free))
    size = exported.network.cells_size()
    return halved(graph if size is None else _with_size(graph, CELLS, size))


def _with_size(graph: bytes, output: str, size: Sequence[int]) -> bytes:
    """The graph with an output's axes behind B said in numbers; the tracer leaves them open."""
    model = onnx.load_from_string(graph)
    (found,) = (entry for entry in model.graph.output if entry.name == output)
    for axis, length in zip(found.type.tensor_type.shape.dim[1:], size, strict=True):
        axis.dim_value = length
    return bytes(model.SerializeToString())


def traced(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    free: Mapping[str, Mapping[int, str]],
) -> bytes:
    """The ONNX file's bytes of what a module does with an example; free: axes of any size."""
    file = io.BytesIO()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the tracer, about sizes; the caller compares outputs
        torch.onnx.export(
            module,
            example,
            file,  # type: ignore[arg-type]  # the older exporter takes it
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=free,
            opset_version=_OPSET,
            dynamo=False,
        )
    return file.getvalue()


def parity(exported: ExportedNetwork, describer: OnnxDescriber, images: Sequence[Image]) -> Parity:
    """How alike both describe images, which are described alone and as a batch."""
    with torch.inference_mode():
        given = exported(torch.from_numpy(np.stack(images)))
    expected, wanted = given if isinstance(given, tuple) else (given, None)
    alone = [describer.describe_with_cells([image]) for image in images]
    apart = np.concatenate([descriptors for descriptors, _ in alone])
    together, cells = describer.describe_with_cells(images)
    return Parity(
        min(_least_cosine(expected, found) for found in (together, apart)),
        None if wanted is None or cells is None else _least_cosine(wanted, cells),
    )


def _least_cosine(expected: Tensor, found: Descriptors | Cells) -> float:
    """Smallest over the images of the mean cosine of unit vectors [B, ..., D]."""
    cosines = (expected.double().numpy() * found.astype(np.float64)).sum(axis=-1)
    return float(cosines.reshape(len(found), -1).mean(axis=1).min())


def images_for_parity(card: ModelCard) -> list[Image]:
    """Smooth, sharp, dark and flat pictures of the network's size, the same every time."""
    rng = np.random.default_rng(0)
    height, width = card.image_size
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 120 * np.sin(rows / 9)[..., None] * np.cos(columns / 5)[..., None]
    smooth = np.repeat(waves, 3, axis=2).astype(np.uint8)
    return [noise, smooth, noise // 8, np.maximum(smooth, noise)]
