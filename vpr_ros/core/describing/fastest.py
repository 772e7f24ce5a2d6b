"""Which of several backends is the fastest on this machine, measured once and remembered.

All of them are right already (`parity`), so that a choice that would come out otherwise tomorrow
changes how long an image takes and nothing else. They take turns, because a machine that starts up
is busy; one that is hardly faster does not replace the first.
"""

import json
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.describing.engine import keep, sealed, unsealed

_ROUNDS, _IN_A_ROW = 5, 3
_PAUSE_S = 0.02  # in which the threads of the backend that ran before stop to spin
_LEAST_GAIN = 1.05


def fastest(
    describers: Mapping[str, Describer], *, key: Mapping[str, str], cache: Path
) -> tuple[str, dict[str, float]]:
    """The name of the fastest, and the median milliseconds of each for one image.

    describers: by name, the first one to be taken where no other is clearly faster. key: what else
    the result is of, such as processor, versions and graph; it is remembered in `cache` by it.
    """
    names = {**key, 'backends': ', '.join(describers)}
    path = cache / f'{key["graph"][:12]}.fastest'
    taken_ms: dict[str, float] = json.loads(unsealed(path, names) or b'{}')
    if taken_ms.keys() != describers.keys():
        taken_ms = medians_ms(describers)
        keep(path, sealed(names, json.dumps(taken_ms).encode()))
    first, best = next(iter(describers)), min(taken_ms, key=lambda name: taken_ms[name])
    return (best if taken_ms[first] >= _LEAST_GAIN * taken_ms[best] else first), taken_ms


def medians_ms(
    describers: Mapping[str, Describer],
    *,
    rounds: Iterable[int] = range(_ROUNDS),
    in_a_row: int = _IN_A_ROW,
    with_cells: bool = False,
) -> dict[str, float]:
    """Milliseconds of each for one image; they take turns.

    rounds: turns of each, such as a range with a progress bar. with_cells: describe cells, too,
    where a model has some.
    """
    taken_s: dict[str, list[float]] = {name: [] for name in describers}
    for _ in rounds:
        for name, describer in describers.items():
            size = describer.model.card.image_size
            image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
            describe = describer.describe_with_cells if with_cells else describer.describe
            time.sleep(_PAUSE_S)
            describe([image])
            for _ in range(in_a_row):
                started_s = time.perf_counter()
                describe([image])
                taken_s[name].append(time.perf_counter() - started_s)
    return {name: round(1e3 * statistics.median(taken), 3) for name, taken in taken_s.items()}
