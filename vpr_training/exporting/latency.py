"""How long the graphs of a model take for an image on this processor, measured in turns."""

import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import CARD_NAME, Model, read_card
from vpr_ros.core.describing.precision import Precision

_ROUNDS, _IN_A_ROW = 10, 5
_PAUSE_S = 0.03  # in which the threads of the graph that ran before stop to spin


def latencies_ms(
    folder: Path, precisions: Sequence[Precision], threads: int
) -> dict[Precision, float]:
    """Median milliseconds of describing one image with graphs of a model, in turns.

    Cells are described, too, where the model has some.
    """
    describers: dict[Precision, OnnxDescriber] = {
        name: OnnxDescriber(Model.open(folder, precision=name), threads=threads)
        for name in precisions
    }
    size = read_card(folder / CARD_NAME).image_size
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    taken: dict[Precision, list[float]] = {name: [] for name in describers}
    for _ in tqdm(range(_ROUNDS), desc='latency', disable=None, leave=False):
        for name, describer in describers.items():
            time.sleep(_PAUSE_S)
            describer.describe_with_cells([image])
            for _ in range(_IN_A_ROW):
                started = time.perf_counter()
                describer.describe_with_cells([image])
                taken[name].append(time.perf_counter() - started)
    return {name: round(1e3 * statistics.median(times), 3) for name, times in taken.items()}


def processor() -> str:
    """Its name, as the card says on what was measured."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()
