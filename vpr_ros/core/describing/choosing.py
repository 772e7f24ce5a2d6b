"""Measure every way to run a model on this machine, and say which one to take.

Ways are backends with numbers of threads. More threads than help take cores from the rest of the
robot for nothing: of ways that are about as fast, the one with the fewest is chosen.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vpr_ros.core.describing.backend import open_describer
from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.fastest import medians_ms
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.openvino import OpenVinoDescriber
from vpr_ros.core.describing.parity import probes
from vpr_ros.core.errors import BackendError

_ABOUT_AS_FAST = 1.05


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a model, and what was measured of it."""

    backend: str  # the node's parameter
    name: str  # for people
    threads: int  # 0: it runs on a GPU
    taken_ms: float  # for one image, the median
    cosine: float  # the least, to the same graph by onnxruntime on the CPU


def threads_within(share: float) -> int:
    """Number of threads for this share (0 to 1) of the cores of this process; at least one."""
    return max(1, int(share * len(os.sched_getaffinity(0)) + 1e-6))


def measured_ways(
    model: Model,
    *,
    most_threads: int,
    cache: Path,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[list[Way], list[str]]:
    """Every way that works here, taking turns, and why others do not.

    model: opened with the precision that is to run; a GPU may take another of its graphs.
    """
    opened: dict[str, tuple[str, str, int, Describer]] = {}
    refused: list[str] = []
    for threads in _steps(most_threads):
        reference = OnnxDescriber(model, threads=threads)
        opened[f'cpu {threads}'] = ('cpu', 'onnxruntime', threads, reference)
        if find_spec('openvino') is None:
            continue
        try:
            other = OpenVinoDescriber(model, reference, threads=threads)
        except BackendError as error:
            refused.append(str(error))
        else:
            opened[f'openvino {threads}'] = ('openvino', 'OpenVINO', threads, other)
    on_gpu = open_describer(model, threads=1, cache=cache, progress=progress)
    if not on_gpu.name.endswith('CPU'):
        opened['auto'] = ('auto', on_gpu.name, 0, on_gpu.describer)
    elif on_gpu.is_failure:
        refused.append(on_gpu.reason)
    try:
        taken_ms = medians_ms({key: entry[3] for key, entry in opened.items()})
        expected = OnnxDescriber(model).describe(probes())
        ways = [
            Way(
                backend,
                name,
                threads,
                taken_ms[key],
                float((describer.describe(probes()) * expected).sum(axis=1).min()),
            )
            for key, (backend, name, threads, describer) in opened.items()
        ]
    finally:
        on_gpu.close()
    return ways, list(dict.fromkeys(refused))


def best_of(ways: Sequence[Way]) -> Way:
    """The way with the fewest threads among those that are about as fast as the fastest."""
    enough_ms = _ABOUT_AS_FAST * min(way.taken_ms for way in ways)
    return min(
        (way for way in ways if way.taken_ms <= enough_ms),
        key=lambda way: (way.threads, way.taken_ms),
    )


def table(ways: Sequence[Way]) -> list[str]:
    """A line for each way, and the parameters to set."""
    best = best_of(ways)
    fastest_ms = min(way.taken_ms for way in ways)
    lines = [
        f'{way.name:<28} {f"{way.threads} threads" if way.threads else "GPU":<11} '
        f'{way.taken_ms:8.2f} ms  {way.taken_ms / fastest_ms:5.2f} of the fastest  '
        f'cosine {way.cosine:.4f}{"  <- take this" if way is best else ""}'
        for way in ways
    ]
    return [*lines, f'parameters: backend: {best.backend}, threads: {best.threads}']


def _steps(most_threads: int) -> list[int]:
    """Numbers of threads to try: 1, 2, 4 ... and the largest."""
    steps = [1 << power for power in range(most_threads.bit_length())]
    return sorted({*(step for step in steps if step < most_threads), most_threads})
