"""Export a network to a model folder that the robot runs: an ONNX graph and a card.

The graph takes the camera's bytes and gives unit descriptors, so that nothing about the network
can be done differently on the robot. Before anything is written, torch and onnxruntime must agree
on the same images.
"""

import argparse
import io
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from vpr_ros.command import command
from vpr_ros.core.describe import OnnxDescriber
from vpr_ros.core.model import Model, ModelCard, write_model
from vpr_ros.core.types import Image
from vpr_training.errors import TrainingError
from vpr_training.models.backbone import read_state
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig

LEAST_COSINE = 0.99999
"""Between the descriptors of torch and of onnxruntime for the same image."""

_OPSET = 17


class ParityError(TrainingError):
    """The exported graph does not compute what the network computes."""


def load_checkpoint(path: Path) -> Network:
    """A network from a checkpoint; raises TrainingError.

    The checkpoint is {'network': configuration, 'state_dict': tensors}.
    """
    return _restored(read_state(path), path)


def _restored(held: Mapping[str, Any], path: Path) -> Network:
    if missing := sorted({'network', 'state_dict'} - held.keys()):
        raise TrainingError(
            f'{path}: lacks {", ".join(missing)}; not a checkpoint of this package'
        )
    config = NetworkConfig.from_mapping({**held['network'], 'weights': None}, source=str(path))
    network = Network(config)
    try:
        network.load_state_dict(held['state_dict'])
    except RuntimeError as error:
        line = ' '.join(str(error).split())[:300]
        raise TrainingError(f'{path}: its tensors are of another architecture: {line}') from error
    return network


def export_checkpoint(path: Path, output: Path) -> Model:
    """Export a checkpoint under the output folder's name; raises TrainingError, ParityError."""
    held = read_state(path)
    network = _restored(held, path)
    provenance = {'checkpoint': path.name, **held.get('provenance', {})}
    data = provenance.get('training_data', 'unknown data')
    card = _card(
        network,
        name=output.name,
        summary=f'{network.config.backbone} + {network.config.aggregator}, trained on {data}',
        provenance=provenance,
    )
    return export(network, card, output)


def load_untrained(path: Path) -> tuple[Network, ModelCard]:
    """A network that needs no training, and its card; raises TrainingError.

    It is made from a file under config/models.
    """
    try:
        held = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, yaml.YAMLError) as error:
        raise TrainingError(f'{path}: cannot be read ({error})') from error
    if not isinstance(held, dict) or not {'network', 'card'} <= held.keys():
        raise TrainingError(f'{path}: expected the keys network and card')
    network = Network(NetworkConfig.from_mapping(held['network'], source=str(path)))
    try:
        return network, _card(network, **held['card'])
    except TypeError as error:
        raise TrainingError(f'{path}: card: {error}') from error


def export(network: Network, card: ModelCard, output: Path) -> Model:
    """Write a model folder.

    Raises ParityError, and leaves what was there, if the graph computes something else.
    """
    exported = ExportedNetwork(network).eval()
    graph = to_onnx(exported)
    with tempfile.TemporaryDirectory(prefix='export-') as scratch:
        trial = OnnxDescriber(write_model(Path(scratch) / 'model', graph, card))
        cosine = parity(exported, trial, images_for_parity(card))
    if not cosine >= LEAST_COSINE:
        raise ParityError(
            f'{output}: not written, cosine of torch and ONNX is {cosine:.7f}, '
            f'at least {LEAST_COSINE} is needed'
        )
    return write_model(output, graph, card)


def to_onnx(exported: ExportedNetwork) -> bytes:
    """The ONNX file's bytes, B dynamic.

    The input is `images` uint8 [B, H, W, 3], the output `descriptors` float32 [B, D].
    """
    config = exported.network.config
    example = torch.zeros(2, config.image_height, config.image_width, 3, dtype=torch.uint8)
    file = io.BytesIO()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the tracer, that sizes are constants: they are
        torch.onnx.export(
            exported,
            (example,),
            file,
            input_names=['images'],
            output_names=['descriptors'],
            dynamic_axes={'images': {0: 'B'}, 'descriptors': {0: 'B'}},
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
    waves = 127 + 120 * np.sin(rows / 9)[..., None] * np.cos(columns / (5, 11, 23)[0])[..., None]
    smooth = np.repeat(waves, 3, axis=2).astype(np.uint8)
    return [noise, smooth, noise // 8, np.maximum(smooth, noise)]


def _card(network: Network, **said: Any) -> ModelCard:
    config = network.config
    provenance = dict(said.pop('provenance', {})) | {'network': asdict(config)}
    return ModelCard(
        image_height=config.image_height,
        image_width=config.image_width,
        descriptor_size=network.descriptor_size,
        provenance=provenance,
        **said,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m vpr_training.export', description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--checkpoint', type=Path, metavar='CKPT', help='a trained network')
    source.add_argument(
        '--config',
        type=Path,
        metavar='FILE',
        help='a network that needs no training: config/models/*.yaml',
    )
    parser.add_argument(
        '--output', required=True, type=Path, metavar='MODEL', help='the model folder'
    )
    parser.add_argument(
        '--precision', choices=('fp32', 'fp16', 'int8'), default='fp32', help='only fp32 so far'
    )
    parser.add_argument(
        '--calibration', type=Path, metavar='DIR', help='images for int8 (not used so far)'
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help. Ends with 1, and writes nothing, if torch and ONNX disagree."""
    arguments = _parser().parse_args(argv)
    if arguments.precision != 'fp32':
        raise TrainingError(f'--precision {arguments.precision}: not there yet, only fp32 is')
    try:
        if arguments.checkpoint:
            model = export_checkpoint(arguments.checkpoint, arguments.output)
        else:
            model = export(*load_untrained(arguments.config), arguments.output)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    size_mb = model.graph.stat().st_size / 1e6
    print(
        f'{model.folder}: {model.card.name}, {model.card.descriptor_size} numbers an image, '
        f'{size_mb:.1f} MB'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
