"""Measure every way to run a model on this machine, and say which one to take.

The node measures the ways on the CPU by itself when it first runs a model. Measuring them again on
a quiet machine, as here, replaces what it remembers.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vpr_ros.core.describing.backend import (
    CPU_BACKENDS,
    measured_for,
    open_describer,
    ways_on_cpu,
)
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.fastest import (
    Way,
    best_of,
    medians_ms,
    opened_ways,
    remember,
    steps_of_threads,
)
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.parity import probes
from vpr_ros.core.plurals import counted


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of the ways to run a model."""

    taken_ms: dict[Way, float]  # for one image, the median
    cosines: dict[Way, float]  # the least, to the same graph by onnxruntime on the CPU
    refused: Sequence[str]  # why other ways cannot be taken


def threads_within(share: float) -> int:
    """Number of threads for this share (0 to 1) of the cores of this process; at least one."""
    return max(1, int(share * len(os.sched_getaffinity(0)) + 1e-6))


def measured_ways(
    model: Model,
    *,
    most_threads: int,
    cache: Path,
    progress: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Every way that works here, taking turns; the node remembers those on the CPU.

    model: opened with the precision that is to run; a GPU may take another of its graphs.
    """
    backends = CPU_BACKENDS if find_spec('openvino') else CPU_BACKENDS[:1]
    openers = ways_on_cpu(model, steps_of_threads(most_threads), backends=backends)
    opened, refused = opened_ways(openers)
    on_cpu = list(opened)
    on_gpu = open_describer(model, threads=1, cache=cache, progress=progress)
    if not on_gpu.threads:
        opened[Way(on_gpu.name, 0)] = on_gpu.describer
    elif on_gpu.is_failure:
        refused.append(on_gpu.reason)
    try:
        taken_ms = medians_ms(opened, with_cells=True)
        expected = OnnxDescriber(model).describe(probes())
        cosines = {
            way: float((describer.describe(probes()) * expected).sum(axis=1).min())
            for way, describer in opened.items()
        }
    finally:
        on_gpu.close()
    remember({way: taken_ms[way] for way in on_cpu}, key=measured_for(model), cache=cache)
    return Measured(taken_ms, cosines, list(dict.fromkeys(refused)))


def table(measured: Measured) -> list[str]:
    """A line for each way, and what to set where the node by itself takes a slower one."""
    best, taken = best_of(measured.taken_ms), _taken(measured.taken_ms)
    fastest_ms = min(measured.taken_ms.values())
    lines = [
        f'{way.backend:<36} {counted(way.threads, "thread") if way.threads else "GPU":<11} '
        f'{taken_ms:8.2f} ms  {taken_ms / fastest_ms:5.2f} of the fastest  '
        f'cosine {measured.cosines[way]:.4f}{"  <- the node takes this" if way == taken else ""}'
        for way, taken_ms in measured.taken_ms.items()
    ]
    if not taken.threads and best.threads:
        backend = 'openvino' if best.backend.startswith('OpenVINO') else 'cpu'
        lines.append(
            f'the CPU is faster than the GPU here: set the parameter backend to {backend}'
        )
    return [*lines, *(f'left out: {reason}' for reason in measured.refused)]


def _taken(taken_ms: Mapping[Way, float]) -> Way:
    """What the node takes: a GPU that works, however fast it is, else the best on the CPU."""
    return next((way for way in taken_ms if not way.threads), best_of(taken_ms))
