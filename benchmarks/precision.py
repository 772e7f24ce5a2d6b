"""What a model's smaller graphs cost and lose beside fp32: latency, bytes, recall, in one run.

    python benchmarks/precision.py [MODEL] [--sets DIR ...]

Graphs take turns at one and at two threads. R@1 is that of each graph on its own map, of its
queries on a map of the fp32 graph, and of fp32 queries on its map, as the export's gate has it.
"""

import argparse
import tempfile
from pathlib import Path

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.precision import Precision
from vpr_ros.core.describing.shipped import default_model
from vpr_training.data.layouts import open_recall_set
from vpr_training.exporting.latency import latencies_ms
from vpr_training.exporting.recall_gate import described, recall_in_pairings


def show_latency(model: Model, threads: int) -> None:
    """One line for each graph, as a ratio to fp32."""
    precisions: list[Precision] = list(model.card.precisions) or ['fp32']
    found = latencies_ms(model.folder, precisions, threads)
    print(f'\n{threads} threads')
    for name, value in found.items():
        size_mb = Model.open(model.folder, precision=name).graph.stat().st_size / 1e6
        ratio = found['fp32'] / value
        print(f'  {name:<15} {value:8.2f} ms   {ratio:5.2f} times as fast   {size_mb:6.1f} MB')


def show_recall(model: Model, folder: Path, store: Path) -> None:
    """One line for each graph: R@1 in all pairings."""
    images = open_recall_set(folder)
    reference = described(OnnxDescriber(model), images, store, 'fp32')
    print(f'\n{images.name}, R@1 of {len(images.queries)} queries')
    for name in model.card.precisions:
        describer = OnnxDescriber(Model.open(model.folder, precision=name))
        found = recall_in_pairings(images, described(describer, images, store, name), reference)
        said = '   '.join(f'{pairing} {share:.3f}' for pairing, share in found.items())
        print(f'  {name:<15} {said}')


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', nargs='?', type=Path, metavar='MODEL', help='default: shipped')
    parser.add_argument('--sets', nargs='*', default=[], type=Path, metavar='DIR')
    arguments = parser.parse_args()
    model = Model.open(arguments.model or default_model(), precision='fp32')
    for threads in (1, 2):
        show_latency(model, threads)
    with tempfile.TemporaryDirectory(prefix='precision-') as store:
        for folder in arguments.sets:
            show_recall(model, folder, Path(store))


if __name__ == '__main__':
    main()
