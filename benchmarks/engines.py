"""What TensorRT-RTX builds of the shipped models, and in what time, where there is no GPU.

    python benchmarks/engines.py [--quick]

Running an engine takes a GPU: `build_engine --check` (docs/how-to/jetson.md).
"""

import sys
import tempfile
import time
from pathlib import Path

from inputs import MODELS
from sections import Section, run

from vpr_ros.core.describing.engine import build_ahead, graph_precision
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.tensorrt_library import (
    ENGINE_PRECISIONS,
    Library,
    MissingLibraryError,
    load,
)

APART = Path(sys.prefix) / 'tensorrt_rtx'  # where `make setup-test` puts it
TURING = '7.5'  # has no fp32 matrix products in TensorRT-RTX, and the shipped graphs have some


def measure(quick: bool) -> list[Section]:
    """A line for each graph; nothing without the library."""
    section = Section(
        'Engines built ahead',
        'Without a GPU, TensorRT-RTX builds every shipped graph for every GPU that it supports '
        'from Ampere on.',
    )
    sys.path.append(str(APART))
    try:
        library = load('TensorRT-RTX')
    except MissingLibraryError as error:
        section.notes.append(f'Not measured: {error}.')
        return [section]
    capabilities = [one for one in library.capabilities if one != TURING]
    capabilities = capabilities[:1] if quick else capabilities
    built = 0
    for folder in MODELS:
        built += len(capabilities) * by_graph(section, library, folder, capabilities)
    section.notes.append(
        f'{library.full_name}: {built} engines for compute capabilities '
        f'{", ".join(capabilities)}. 7.5 (Turing) takes only fp16 graphs.'
    )
    return [section]


def by_graph(section: Section, library: Library, folder: Path, capabilities: list[str]) -> int:
    """A line for each graph of a model; gives how many it has."""
    model = Model.open(folder, precision='fp32')
    graphs = 0
    for precision in ENGINE_PRECISIONS:
        if graph_precision(library, precision) not in {'fp32', *model.card.precisions}:
            continue
        taken_s, sizes_mb = [], []
        with tempfile.TemporaryDirectory(prefix='engines-') as cache:
            for capability in capabilities:
                started_s = time.perf_counter()
                path = build_ahead(
                    library, model, capability, precision=precision, cache=Path(cache)
                )
                taken_s.append(time.perf_counter() - started_s)
                sizes_mb.append(path.stat().st_size / 1e6)
        section.rows.append(
            (
                f'{model.card.name} {precision}',
                f'{min(taken_s):.2f} to {max(taken_s):.2f} s',
                'size',
                f'{min(sizes_mb):.0f} to {max(sizes_mb):.0f} MB',
                '',
            )
        )
        graphs += 1
    return graphs


if __name__ == '__main__':
    run(__doc__ or '', measure)
