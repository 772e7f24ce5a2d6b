"""All ways to run models on this machine in one table: latency, recall, size, parity.

    python benchmarks/precision.py [MODEL ...] [--threads 1 2] [--sets DIR ...] [--output PAGE.md]

Models (all shipped ones), their graphs, backends (OpenVINO, TensorRT and TensorRT-RTX, and
onnxruntime's providers for a GPU, where they are) and numbers of threads. All ways of a model
take turns. Ratios are to fp32 by onnxruntime with as many threads. R@1 is the worst of three: each
graph on its own map, its queries on a map of the fp32 graph, and fp32 queries on its map, as the
export's gate has it; with cells, R@1 is with verification. The way that the node takes is marked.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from inputs import MODELS
from sections import find_openvino, medians_ms

from vpr_ros.core.describing.backend import (
    default_engine_cache,
    open_describer,
    open_tensorrt,
)
from vpr_ros.core.describing.choosing import threads_within
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.fastest import Way, best_of, steps_of_threads
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.openvino import OpenVinoDescriber
from vpr_ros.core.describing.parity import probes
from vpr_ros.core.describing.tensorrt_library import LIBRARIES, MissingLibraryError
from vpr_ros.core.errors import BackendError, ModelError
from vpr_ros.core.plurals import counted
from vpr_ros.core.processor import this_processor
from vpr_training.data.layouts import open_recall_set
from vpr_training.exporting.recall_gate import VERIFIED, described, recall_in_pairings

FP32 = 'fp32'
HEAD = ('model', 'runs', 'threads', 'ms', 'times fp32', 'of the best', 'MB', 'cosine')


def on_cpu(model: Model, threads: int) -> dict[str, Describer]:
    """Each graph by each backend for processors; why one cannot is printed."""
    found: dict[str, Describer] = {}
    for precision in list(model.card.precisions) or ['fp32']:
        graph = Model.open(model.folder, precision=precision)
        reference = OnnxDescriber(graph, threads=threads)
        found[f'onnxruntime {precision}'] = reference
        if find_spec('openvino'):
            try:
                one = OpenVinoDescriber(graph, reference, threads=threads)
            except BackendError as error:
                print(f'  without OpenVINO {precision}: {error}')
            else:
                found[f'OpenVINO {precision}'] = one
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


def rows_of(
    model: Model,
    describers: dict[Way, Describer],
    recall: dict[str, list[str]],
    *,
    rounds: int,
    batch: int,
) -> list[list[str]]:
    """A row for each way; recall: R@1 on each set by the way's backend and graph."""
    image = probes()[0]
    expected = OnnxDescriber(model).describe([image])
    by_name = {str(way): way for way in describers}
    calls = {str(way): partial(one.describe, [image] * batch) for way, one in describers.items()}
    taken_ms = {by_name[name]: taken for name, taken in medians_ms(calls, rounds=rounds).items()}
    graph = Model.open(model.folder).precision
    chosen = best_of(
        {
            way: taken
            for way, taken in taken_ms.items()
            if not way.threads or describers[way].model.precision == graph
        }
    )
    best_ms = min(taken_ms.values())
    rows = []
    for way, taken in taken_ms.items():
        plain = taken_ms.get(Way(f'onnxruntime {FP32}', way.threads or 1))
        size_mb = describers[way].model.graph.stat().st_size / 1e6
        cosine = float((calls[str(way)]()[:1] * expected).sum())
        rows.append(
            [
                model.card.name,
                f'{way.backend}{" (the node)" if way == chosen else ""}',
                str(way.threads or 'GPU'),
                f'{taken:.1f}',
                f'{plain / taken:.2f}' if plain else '',
                f'{taken / best_ms:.2f}',
                f'{size_mb:.1f}',
                f'{cosine:.4f}',
                *recall.get(way.backend, []),
            ]
        )
    return rows


def worst_recall(
    model: Model, describers: dict[str, Describer], folder: Path, store: Path
) -> dict[str, str]:
    """R@1 of each graph and backend in the pairing where it is least.

    Each backend has a folder of its own in `store`, which knows graphs, not what runs them.
    """
    images = open_recall_set(folder)
    reference = described(
        OnnxDescriber(model), images, store / 'reference', f'{model.card.name} {FP32}'
    )
    found = {}
    for number, (name, describer) in enumerate(describers.items()):
        own = described(describer, images, store / str(number), f'{model.card.name} {name}')
        shares = recall_in_pairings(images, own, reference)
        verified = [share for key, share in shares.items() if key.endswith(VERIFIED)]
        found[name] = f'{min(verified or shares.values()):.3f}'
    return found


def table(folders: Sequence[Path], arguments: argparse.Namespace) -> list[str]:
    """The table's lines, in Markdown."""
    sets = [folder.name for folder in arguments.sets]
    lines = [
        '| ' + ' | '.join([*HEAD, *(f'R@1 {name}' for name in sets)]) + ' |',
        '|---' * (len(HEAD) + len(sets)) + '|',
    ]
    for folder in folders:
        model = Model.open(folder, precision=FP32)
        by_gpu = on_gpu(model)
        describers = {
            Way(name, threads): one
            for threads in arguments.threads
            for name, one in on_cpu(model, threads).items()
        } | {Way(name, 0): one for name, one in by_gpu.items()}
        recall: dict[str, list[str]] = {}
        with tempfile.TemporaryDirectory(prefix='precision-') as store:
            for images in arguments.sets:
                once = on_cpu(model, max(arguments.threads)) | by_gpu
                for name, share in worst_recall(model, once, images, Path(store)).items():
                    recall.setdefault(name, []).append(share)
        rows = rows_of(model, describers, recall, rounds=arguments.rounds, batch=arguments.batch)
        lines += ['| ' + ' | '.join(row) + ' |' for row in rows]
    return lines


def asked() -> str:
    """The command that makes this page, without where it is written."""
    words = sys.argv[1:]
    if '--output' in words:
        at = words.index('--output')
        words = words[:at] + words[at + 2 :]
    return shlex.join(['python', 'benchmarks/precision.py', *words])


def page(lines: Sequence[str], batch: int) -> str:
    """The table as a page, with what it was measured on."""
    versions = ', '.join(
        f'{name} {version(name)}' for name in ('onnxruntime', 'openvino') if find_spec(name)
    )
    return '\n'.join(
        [
            '# Ways to run a model',
            '',
            f'Made by `{asked()}` on {this_processor().name} with '
            f'{counted(len(os.sched_getaffinity(0)), "core")}, {counted(batch, "image")} at '
            f'once; {versions}. Load, with its own: {os.getloadavg()[2]:.1f}.',
            '',
            'All ways of a model take turns. `times fp32` is the speed relative to fp32 with '
            'onnxruntime on as many threads; `of the best` is the time relative to the fastest '
            'row of the model. R@1 is with verification where a model has cells. It is the worst '
            'of three: this graph for queries and map, for the queries alone, and for the map '
            'alone, with fp32 for the other. The cosine is to the descriptors of fp32. The node '
            'takes the marked row.',
            '',
            *lines,
            '',
        ]
    )


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('models', nargs='*', type=Path, metavar='MODEL', help='default: shipped')
    parser.add_argument(
        '--threads', nargs='+', type=int, default=steps_of_threads(threads_within(1.0))
    )
    parser.add_argument('--rounds', type=int, default=50, help='of the latency')
    parser.add_argument('--batch', type=int, default=1, help='images described at once')
    parser.add_argument('--sets', nargs='*', default=[], type=Path, metavar='DIR')
    parser.add_argument('--output', type=Path, metavar='PAGE', help='write a page, too')
    arguments = parser.parse_args()
    find_openvino()
    folders = arguments.models or MODELS
    lines = table(folders, arguments)
    print('\n'.join(lines))
    if arguments.output:
        arguments.output.write_text(page(lines, arguments.batch), encoding='utf-8')


if __name__ == '__main__':
    main()
