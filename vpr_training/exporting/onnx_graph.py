"""The ONNX graph of a network, which has to compute what the network computes.

The graph takes the camera's bytes and gives unit descriptors, so that nothing about the network
can be done differently on the robot. torch and onnxruntime must agree on the same images.
"""

import io
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import ModelCard, write_model
from vpr_ros.core.types import Image
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.graph_edits import simplified
from vpr_training.models.network import ExportedNetwork, Network

LEAST_COSINE = 0.99999
"""Between the descriptors of torch and of onnxruntime for the same image."""

_OPSET = 17


class ParityError(TrainingError):
    """The exported graph does not compute what the network computes."""


def checked_graph(network: Network, card: ModelCard) -> bytes:
    """The fp32 graph of a network; ParityError if it computes something else."""
    exported = ExportedNetwork(network).eval()
    graph = to_onnx(exported)
    with tempfile.TemporaryDirectory(prefix='export-') as scratch:
        trial = OnnxDescriber(write_model(Path(scratch) / 'model', graph, card))
        cosine = parity(exported, trial, images_for_parity(card))
    if not cosine >= LEAST_COSINE:
        raise ParityError(
            f'{card.name}: not written, cosine of torch and ONNX is {cosine:.7f}, '
            f'at least {LEAST_COSINE} is needed'
        )
    return graph


def to_onnx(exported: ExportedNetwork) -> bytes:
    """The ONNX file's bytes, B dynamic.

    The input is `images` uint8 [B, H, W, 3], the output `descriptors` float32 [B, D].
    """
    config = exported.network.config
    example = torch.zeros(2, config.image_height, config.image_width, 3, dtype=torch.uint8)
    free = {'images': {0: 'B'}, 'descriptors': {0: 'B'}}
    return simplified(traced(exported, (example,), ['images'], ['descriptors'], free))


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
            file,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=free,
            opset_version=_OPSET,
            dynamo=False,
        )
    return file.getvalue()


def parity(exported: ExportedNetwork, describer: OnnxDescriber, images: Sequence[Image]) -> float:
    """Smallest cosine between the two descriptors of an image, described alone and as a batch."""
    with torch.inference_mode():
        expected = exported(torch.from_numpy(np.stack(images))).numpy()  # [B, D]
    together = describer.describe(images)
    alone = np.concatenate([describer.describe([image]) for image in images])
    return float(min((expected * found).sum(axis=1).min() for found in (together, alone)))


def images_for_parity(card: ModelCard) -> list[Image]:
    """Smooth, sharp, dark and flat pictures of the network's size, the same every time."""
    rng = np.random.default_rng(0)
    height, width = card.image_size
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 120 * np.sin(rows / 9)[..., None] * np.cos(columns / 5)[..., None]
    smooth = np.repeat(waves, 3, axis=2).astype(np.uint8)
    return [noise, smooth, noise // 8, np.maximum(smooth, noise)]
