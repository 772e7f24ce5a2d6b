"""Export a network to a model folder that the robot runs: ONNX graphs and a card.

The graph takes the bytes of the camera and gives unit descriptors, so the robot computes exactly
what was trained. If torch and onnxruntime disagree on the same images, or if a graph with fewer
bits finds too few of the places that the fp32 graph finds, nothing is written and the exit status
is 1. What the model is made from stays as it is, unless --output names it.

Next: build a map with the new model (build_map --model MODEL). Maps of other models do not work
with it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vpr_ros.cli.command import Parser, command
from vpr_ros.cli.option_values import between, count, threads
from vpr_ros.core.describing.model import MODEL, Model, ModelCard, write_model
from vpr_ros.core.describing.precision import PRECISIONS, Precision
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Image
from vpr_training.basics.errors import TrainingError
from vpr_training.data.layouts import open_recall_set
from vpr_training.exporting.model_folder import load_untrained, told_anew, trained
from vpr_training.exporting.onnx_graph import ParityError, checked_graph
from vpr_training.exporting.quantize import calibration_images, require_layers
from vpr_training.exporting.recall_gate import ALONE, Gate, RefusedError, accept, check_sets
from vpr_training.exporting.shorter_descriptors import shorter
from vpr_training.runs.adding_cells import with_cells, with_cells_of


@dataclass(frozen=True)
class _Source:
    """What a model folder is made from."""

    graph: bytes  # fp32
    card: ModelCard
    smaller: dict[Precision, bytes]  # that the card accepts already


def _require_used(arguments: argparse.Namespace) -> None:
    """Raise TrainingError for an option that has no effect, because another one is missing."""
    smaller = any(name != 'fp32' for name in arguments.precision)
    int8 = any(name.startswith('int8') for name in arguments.precision)
    for option, given, used, needs in (
        ('--validate', arguments.validate, smaller, '--precision fp16, int8 or int8_symmetric'),
        ('--calibration', arguments.calibration, int8, '--precision int8 or int8_symmetric'),
        ('--keep-in-float', arguments.keep_in_float, int8, '--precision int8 or int8_symmetric'),
        ('--reduce-on', arguments.reduce_on, arguments.descriptor_size, '--descriptor-size'),
        ('--cells-on', arguments.cells_on, arguments.cells, '--cells'),
        ('--cells-tap', arguments.cells_tap, arguments.cells, '--cells'),
        ('--card', arguments.card, not arguments.config, '--checkpoint or --from'),
    ):
        if given and not used:
            raise TrainingError(
                f'{option}: has an effect only with {needs}; give that too, or leave it out'
            )


def _source(arguments: argparse.Namespace) -> _Source:
    """The fp32 graph of --from, --checkpoint or --config; raises ParityError, VprError."""
    if arguments.cells_from and (arguments.cells or not arguments.model):
        raise TrainingError(
            '--cells-from needs a model (--from), and takes the place of --cells and --cells-on'
        )
    if arguments.cells and not (arguments.model and arguments.cells_on):
        raise TrainingError(
            '--cells needs a model (--from) and images without labels (--cells-on); '
            'to train a network with cells, set network.cells'
        )
    if arguments.cells_from:
        return _Source(*with_cells_of(arguments.model, arguments.cells_from), {})
    if arguments.cells:
        return _Source(
            *with_cells(
                arguments.model, arguments.cells_on, arguments.cells, tap=arguments.cells_tap
            ),
            {},
        )
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
        raise TrainingError('--reduce-on: not given, but principal components need images')
    return _Source(*shorter(source.graph, source.card, arguments.reduce_on, size), {})


def _gate(arguments: argparse.Namespace, graph: bytes, image_size: tuple[int, int]) -> Gate:
    """What --validate, --calibration and --max-recall-drop say; raises VprError.

    graph: the fp32 one.
    """
    if not arguments.validate:
        raise TrainingError(
            '--validate: not given, but the recall on a data set decides whether a smaller graph '
            'is accepted'
        )
    sets = [open_recall_set(folder) for folder in arguments.validate]
    check_sets(sets)
    images: list[Image] = []
    if any(name.startswith('int8') for name in arguments.precision):
        require_layers(graph, arguments.keep_in_float)  # before images are read
        if not arguments.calibration:
            raise TrainingError(
                '--calibration: not given, but int8 needs images from where the robot drives'
            )
        images = calibration_images(arguments.calibration, image_size)
    return Gate(
        sets=sets,
        max_drop=arguments.max_recall_drop,
        calibration=images,
        calibration_name=str(arguments.calibration),
        keep=arguments.keep_in_float,
        threads=arguments.threads or len(os.sched_getaffinity(0)),
    )


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = Parser(
        prog='python -m vpr_training.export',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--checkpoint', type=Path, metavar='CKPT', help='a trained network: RUN/best.ckpt'
    )
    source.add_argument(
        '--config',
        type=Path,
        metavar='FILE',
        help='a network that needs no training, from config/models/*.yaml',
    )
    source.add_argument(
        '--from',
        dest='model',
        type=Path,
        metavar='MODEL',
        help='a model folder; its fp32 graph and its maps stay valid, except with '
        '--descriptor-size, --cells and --cells-from',
    )
    parser.add_argument(
        '--output',
        required=True,
        type=Path,
        metavar='MODEL',
        help='the model folder to write, in place of a model that is there',
    )
    parser.add_argument(
        '--card',
        type=Path,
        metavar='FILE',
        help='with --checkpoint and --from: a file with the texts of the card, '
        'as in config/models/*.yaml',
    )
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=PRECISIONS,
        default=['fp32'],
        help='graphs to write in addition to the fp32 graph; int8 is for processors, '
        'int8_symmetric for TensorRT',
    )
    parser.add_argument(
        '--descriptor-size',
        type=count,
        default=0,
        metavar='D',
        help='shorten descriptors to this many numbers by principal components',
    )
    parser.add_argument(
        '--reduce-on',
        nargs='+',
        default=[],
        type=Path,
        metavar='DRIVE',
        help='with --descriptor-size: bags or folders with more images than these numbers',
    )
    _add_cells(parser)
    _add_smaller_graphs(parser)
    return parser


def _add_cells(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('cells for a model without cells, with --from')
    group.add_argument(
        '--cells',
        type=count,
        default=0,
        metavar='C',
        help='add a second output for verification: cells of this many numbers, a multiple of 8 '
        'such as 64; the descriptors stay the same, the digest changes',
    )
    group.add_argument(
        '--cells-on',
        nargs='+',
        default=[],
        type=Path,
        metavar='IMAGES',
        help='bags, folders of images, or .tar files of images; some hundred images are enough',
    )
    group.add_argument(
        '--cells-from',
        type=Path,
        metavar='MODEL',
        help='instead of --cells: take the cells of another model of the same backbone',
    )
    group.add_argument(
        '--cells-tap',
        default='',
        metavar='TAP',
        help='for EfficientNet-Lite0: the feature map that gives the cells (default: stride16)',
    )


def _add_smaller_graphs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('graphs with fewer bits')
    group.add_argument(
        '--calibration',
        type=Path,
        metavar='DRIVE',
        help='for int8 and int8_symmetric: a bag or folder of images from places like those that '
        'the robot will see',
    )
    group.add_argument(
        '--validate',
        nargs='+',
        default=[],
        type=Path,
        metavar='DATASET',
        help='data sets on which recall must hold, as for vpr_training.evaluate',
    )
    group.add_argument(
        '--max-recall-drop',
        type=between(0, 100),
        default=1.0,
        metavar='POINTS',
        help='largest allowed loss of R@1 over the queries of all sets (default: %(default)s '
        'points); a single set may lose more only if that can be chance',
    )
    group.add_argument(
        '--keep-in-float',
        nargs='+',
        default=[],
        metavar='LAYER',
        help="for int8: layers that stay in float, such as an earlier card's kept_in_float",
    )
    group.add_argument(
        '--threads',
        type=threads,
        default=0,
        metavar='N',
        help='threads with which latency is measured (default: every core)',
    )


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help.

    Ends with 1, and writes nothing, if torch and ONNX disagree or a graph loses recall.
    """
    arguments = make_parser().parse_args(argv)
    wanted = [name for name in PRECISIONS[1:] if name in arguments.precision]
    _require_used(arguments)
    MODEL.require_place(arguments.output)
    try:
        source = _reduced(_source(arguments), arguments)
        if arguments.model and arguments.card:
            source = replace(source, card=told_anew(source.card, arguments.card))
        graph, card, smaller = source.graph, source.card, source.smaller
        if wanted:
            gate = _gate(arguments, graph, card.image_size)
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
    if model.card.cells:
        print('cells: {} x {} of {} numbers'.format(*model.card.cells))
    for name, record in model.card.precisions.items():
        print(
            f'{name}: {record.size_bytes / 1e6:.1f} MB, {record.latency_ms:.1f} ms an image '
            f'on {counted(record.threads, "thread")}'
        )
        for images, recall in record.recall_at_1.items():
            others = ', '.join(
                f'{pairing} {share:.3f}' for pairing, share in recall.items() if pairing != ALONE
            )
            print(f'  R@1 {images}: {recall[ALONE]:.3f}{f" ({others})" if others else ""}')


if __name__ == '__main__':
    sys.exit(main())
