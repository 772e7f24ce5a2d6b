"""What a model's graphs cost and lose by each backend: latency, bytes, recall, in one run.

    python benchmarks/precision.py [MODEL] [--sets DIR ...]

Backends (OpenVINO, TensorRT and TensorRT-RTX, and onnxruntime's providers for a GPU, where they
are) and graphs take turns at one and at two threads. Ratios
are to fp32 by onnxruntime. R@1 is that of each graph on its own map, of its
queries on a map of the fp32 graph, and of fp32 queries on its map, as the export's gate has it.
"""

import argparse
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from sections import find_openvino, medians_ms

from vpr_ros.core.describing.backend import (
    default_engine_cache,
    open_describer,
    open_tensorrt,
)
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.openvino import OpenVinoDescriber
from vpr_ros.core.describing.parity import probes
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.describing.tensorrt_library import LIBRARIES, MissingLibraryError
from vpr_ros.core.errors import BackendError, ModelError
from vpr_training.data.layouts import open_recall_set
from vpr_training.exporting.recall_gate import described, recall_in_pairings


def on_cpu(model: Model, threads: int) -> dict[str, Describer]:
    """Each graph by each backend for processors."""
    found: dict[str, Describer] = {}
    for precision in list(model.card.precisions) or ['fp32']:
        graph = Model.open(model.folder, precision=precision)
        reference = OnnxDescriber(graph, threads=threads)
        found[f'onnxruntime {precision}'] = reference
        if find_spec('openvino'):
            found[f'OpenVINO {precision}'] = OpenVinoDescriber(graph, reference, threads=threads)
    return found


def on_gpu(model: Model) -> dict[str, Describer]:
    """By engines of each library in each precision, and by onnxruntime where it has a GPU.

    Why a library that is installed cannot is printed.
    """
    found: dict[str, Describer] = {}
    for library in LIBRARIES:
        for precision in ('fp32', 'fp16', 'int8'):
            try:
                chosen = open_tensorrt(
                    model,
                    library=library,
                    precision=precision,
                    cache=default_engine_cache(),
                    progress=lambda text: None,
                )
            except MissingLibraryError:
                continue
            except (BackendError, ModelError) as error:
                print(f'  without {library} {precision}: {error}')
                continue
            found[chosen.name] = chosen.describer
    for precision in model.card.precisions:
        chosen = open_describer(model, backend='onnxruntime', precision=precision)
        if not chosen.name.endswith('CPU'):
            found[chosen.name] = chosen.describer
    return found


def show_latency(
    model: Model, taking_turns: dict[str, Describer], *, rounds: int, batch: int
) -> None:
    """One line for each graph and backend, as a ratio to fp32 by onnxruntime."""
    image = probes()[0]
    expected = OnnxDescriber(model).describe([image])
    calls = {name: partial(one.describe, [image] * batch) for name, one in taking_turns.items()}
    found = medians_ms(calls, rounds=rounds)
    chosen = Model.open(model.folder).precision
    best = min(found[name] for name in found)
    print(f'{model.card.name}, {batch} at once; auto takes the graph {chosen}')
    for name, value in found.items():
        size_mb = taking_turns[name].model.graph.stat().st_size / 1e6
        cosine = float((calls[name]()[:1] * expected).sum())
        print(
            f'  {name:<44} {value:8.2f} ms  {found["onnxruntime fp32"] / value:5.2f} times as fast'
            f'  {value / best:5.2f} of the best  {size_mb:5.1f} MB  cosine {cosine:.4f}'
        )


def show_recall(
    model: Model, all_of_them: dict[str, Describer], folder: Path, store: Path
) -> None:
    """One line for each graph and backend: R@1 in all pairings."""
    images = open_recall_set(folder)
    reference = described(OnnxDescriber(model), images, store, f'{model.card.name} fp32')
    print(f'\n{model.card.name} on {images.name}, R@1 of {len(images.queries)} queries')
    for name, describer in all_of_them.items():
        label = f'{model.card.name} {name}'
        found = recall_in_pairings(images, described(describer, images, store, label), reference)
        said = '   '.join(f'{pairing} {share:.3f}' for pairing, share in found.items())
        print(f'  {name:<44} {said}')


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', nargs='?', type=Path, metavar='MODEL', help='default: shipped')
    parser.add_argument('--rounds', type=int, default=50, help='of the latency')
    parser.add_argument('--batch', type=int, default=1, help='images described at once')
    parser.add_argument('--sets', nargs='*', default=[], type=Path, metavar='DIR')
    arguments = parser.parse_args()
    find_openvino()
    model = Model.open(arguments.model or default_model(), precision='fp32')
    by_gpu = on_gpu(model)
    for threads in (1, 2):
        print(f'\n{threads} threads')
        show_latency(
            model,
            on_cpu(model, threads) | by_gpu,
            rounds=arguments.rounds,
            batch=arguments.batch,
        )
    with tempfile.TemporaryDirectory(prefix='precision-') as store:
        for folder in arguments.sets:
            show_recall(model, on_cpu(model, 0) | by_gpu, folder, Path(store))


if __name__ == '__main__':
    main()
