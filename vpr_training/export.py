"""Export a network to a model folder that the robot runs: ONNX graphs and a card.

The graph takes the camera's bytes and gives unit descriptors, so that nothing about the network
can be done differently on the robot. Before anything is written, torch and onnxruntime must agree
on the same images, and graphs with fewer bits must find as many places as the fp32 one.
"""

import argparse
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from vpr_ros.cli.command import command
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.describing.precision import PRECISIONS, Precision
from vpr_ros.core.types import Image
from vpr_training.basics.errors import TrainingError
from vpr_training.data.layouts import open_recall_set
from vpr_training.exporting.graph_edits import simplified
from vpr_training.exporting.quantize import calibration_images
from vpr_training.exporting.recall_gate import ALONE, Gate, RefusedError, accept, check_sets
from vpr_training.exporting.shorter_descriptors import components, descriptors_of, shortened
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
    return export(*trained(path, output.name), output)


def trained(path: Path, name: str, told_by: Path | None = None) -> tuple[Network, ModelCard]:
    """A checkpoint's network, and its card with what the file `told_by` says besides."""
    held = read_state(path)
    network = _restored(held, path)
    said = _read_model_file(told_by)['card'] if told_by else {}
    provenance = {'checkpoint': path.name, **held.get('provenance', {})}
    data = provenance.get('training_data', 'unknown data')
    summary = f'{network.config.backbone} + {network.config.aggregator}, trained on {data}'
    known = {'name': name, 'summary': summary, **said}
    known['provenance'] = provenance | said.get('provenance', {})
    return network, _card(network, source=told_by or path, **known)


def load_untrained(path: Path) -> tuple[Network, ModelCard]:
    """A network that needs no training, and its card; raises TrainingError.

    It is made from a file under config/models.
    """
    held = _read_model_file(path)
    network = Network(NetworkConfig.from_mapping(held['network'], source=str(path)))
    return network, _card(network, source=path, **held['card'])


def _read_model_file(path: Path) -> dict[str, Any]:
    """A file such as config/models/lite0.yaml, with the keys network and card."""
    try:
        held = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, yaml.YAMLError) as error:
        raise TrainingError(f'{path}: cannot be read ({error})') from error
    if not isinstance(held, dict) or not {'network', 'card'} <= held.keys():
        raise TrainingError(f'{path}: expected the keys network and card')
    return held


def export(network: Network, card: ModelCard, output: Path) -> Model:
    """Write a model folder with the fp32 graph.

    Raises ParityError, and leaves what was there, if the graph computes something else.
    """
    return write_model(output, checked_graph(network, card), card)


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
    return simplified(file.getvalue())


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


def _card(network: Network, *, source: Path, **said: Any) -> ModelCard:
    config = network.config
    provenance = dict(said.pop('provenance', {})) | {'network': asdict(config)}
    try:
        return ModelCard(
            image_height=config.image_height,
            image_width=config.image_width,
            descriptor_size=network.descriptor_size,
            provenance=provenance,
            **said,
        )
    except TypeError as error:
        raise TrainingError(f'{source}: card: {error}') from error


@dataclass(frozen=True)
class _Source:
    """What a model folder is made from."""

    graph: bytes  # fp32
    card: ModelCard
    smaller: dict[Precision, bytes]  # that the card accepts already


def _source(arguments: argparse.Namespace) -> _Source:
    """The fp32 graph of --from, --checkpoint or --config; raises ParityError, VprError."""
    if not arguments.model:
        network, card = (
            trained(arguments.checkpoint, arguments.output.name, arguments.card)
            if arguments.checkpoint
            else load_untrained(arguments.config)
        )
        return _Source(checked_graph(network, card), card, {})
    model = Model.open(arguments.model, precision='fp32')
    smaller: dict[Precision, bytes] = {
        name: Model.open(arguments.model, precision=name).graph.read_bytes()
        for name in model.card.precisions
        if name != 'fp32' and name not in arguments.precision
    }
    return _Source(model.graph.read_bytes(), model.card, smaller)


def _reduced(source: _Source, arguments: argparse.Namespace) -> _Source:
    """The same with shorter descriptors, where --descriptor-size asks for them; VprError."""
    size = arguments.descriptor_size
    if not size:
        return source
    if not arguments.reduce_on:
        raise TrainingError('--reduce-on: not given; principal components need images')
    with tempfile.TemporaryDirectory(prefix='export-') as folder:
        card = replace(source.card, precisions={})
        describer = OnnxDescriber(
            write_model(Path(folder) / 'model', source.graph, card), singly=False
        )
        graph = shortened(
            source.graph, *components(descriptors_of(describer, arguments.reduce_on, size), size)
        )
    reduced_on = [str(path) for path in arguments.reduce_on]
    return _Source(
        graph,
        replace(
            card,
            name=f'{card.name}-{size}',
            descriptor_size=size,
            recall={},
            provenance=card.provenance | {'principal_components_of': reduced_on},
        ),
        {},
    )


def _gate(arguments: argparse.Namespace, image_size: tuple[int, int]) -> Gate:
    """What --validate, --calibration and --max-recall-drop say; raises VprError."""
    if not arguments.validate:
        raise TrainingError(
            '--validate: not given; smaller graphs are accepted by their recall on data sets'
        )
    if not 0 <= arguments.max_recall_drop <= 100:
        raise TrainingError(
            f'--max-recall-drop {arguments.max_recall_drop:g}: expected 0 to 100 points'
        )
    if arguments.threads < 0:
        raise TrainingError(f'--threads {arguments.threads}: expected 0 or more')
    sets = [open_recall_set(folder) for folder in arguments.validate]
    check_sets(sets)
    images: list[Image] = []
    if any(name.startswith('int8') for name in arguments.precision):
        if not arguments.calibration:
            raise TrainingError(
                '--calibration: not given; int8 needs images from where the robot drives'
            )
        images = calibration_images(arguments.calibration, image_size)
    return Gate(
        sets=sets,
        max_drop=arguments.max_recall_drop,
        calibration=images,
        calibration_name=str(arguments.calibration),
        threads=arguments.threads or len(os.sched_getaffinity(0)),
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
    source.add_argument(
        '--from',
        dest='model',
        type=Path,
        metavar='MODEL',
        help='a model folder, whose fp32 graph stays as it is, so that its maps stay valid',
    )
    parser.add_argument(
        '--output', required=True, type=Path, metavar='MODEL', help='the model folder'
    )
    parser.add_argument(
        '--card',
        type=Path,
        metavar='FILE',
        help='for --checkpoint: what the card tells people, as in config/models/*.yaml',
    )
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=PRECISIONS,
        default=['fp32'],
        help='graphs to write beside the fp32 one, which is always written; '
        'int8 is for processors, int8_symmetric for TensorRT',
    )
    parser.add_argument(
        '--descriptor-size',
        type=int,
        default=0,
        metavar='D',
        help='shorten descriptors to so many numbers, by principal components',
    )
    parser.add_argument(
        '--reduce-on',
        nargs='+',
        default=[],
        type=Path,
        metavar='DRIVE',
        help='for --descriptor-size: bags or folders of images, more images than numbers',
    )
    group = parser.add_argument_group('graphs with fewer bits')
    group.add_argument(
        '--calibration',
        type=Path,
        metavar='DRIVE',
        help='for int8 and int8_symmetric: a bag or a folder of images, '
        'of places like those that the robot will see',
    )
    group.add_argument(
        '--validate',
        nargs='+',
        default=[],
        type=Path,
        metavar='DATASET',
        help='sets on which recall must hold, as for vpr_training.evaluate',
    )
    group.add_argument(
        '--max-recall-drop',
        type=float,
        default=1.0,
        metavar='POINTS',
        help='of R@1, on each set (default: %(default)s)',
    )
    group.add_argument(
        '--threads', type=int, default=0, metavar='N', help='of the latency; default: every core'
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help.

    Ends with 1, and writes nothing, if torch and ONNX disagree or a graph loses recall.
    """
    arguments = _parser().parse_args(argv)
    wanted = [name for name in PRECISIONS[1:] if name in arguments.precision]
    try:
        source = _reduced(_source(arguments), arguments)
        graph, card, smaller = source.graph, source.card, source.smaller
        if wanted:
            gate = _gate(arguments, card.image_size)
            card, smaller = accept(graph, card, wanted, gate, kept=smaller)
        model = write_model(arguments.output, graph, card, smaller=smaller)
    except (ParityError, RefusedError) as error:
        print(error, file=sys.stderr)
        return 1
    _say(model)
    return 0


def _say(model: Model) -> None:
    size_mb = model.graph.stat().st_size / 1e6
    print(
        f'{model.folder}: {model.card.name}, {model.card.descriptor_size} numbers an image, '
        f'{size_mb:.1f} MB'
    )
    for name, record in model.card.precisions.items():
        print(
            f'{name}: {record.size_bytes / 1e6:.1f} MB, {record.latency_ms:.1f} ms an image '
            f'on {record.threads} threads'
        )
        for images, recall in record.recall_at_1.items():
            others = ', '.join(
                f'{pairing} {share:.3f}' for pairing, share in recall.items() if pairing != ALONE
            )
            print(f'  R@1 {images}: {recall[ALONE]:.3f}{f" ({others})" if others else ""}')


if __name__ == '__main__':
    sys.exit(main())
