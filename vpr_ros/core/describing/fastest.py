"""Which way to run a model is the fastest on this machine, measured once and remembered.

A way is a backend with a number of threads. All of them are right already (`parity`), so that a
choice that would come out otherwise tomorrow changes how long an image takes and nothing else.
More threads than help take cores from the rest of the robot for nothing: of ways that are about as
fast, the one with the fewest threads is taken. The ways take turns, because a machine that starts
up is busy.
"""

import json
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

from vpr_ros.core.describing.describe import Describer
from vpr_ros.core.describing.engine import keep, sealed, unsealed
from vpr_ros.core.errors import BackendError
from vpr_ros.core.plurals import counted

ABOUT_AS_FAST = 1.05
"""Of times: a way that takes so many times the fastest's is as good."""

_ROUNDS, _IN_A_ROW = 5, 3
_PAUSE_S = 0.02  # in which the threads of the backend that ran before come to rest
_Name = TypeVar('_Name', bound=Hashable)


@dataclass(frozen=True, slots=True)
class Way:
    """A backend with a number of threads."""

    backend: str  # name and version, for people
    threads: int  # 0: it runs on a GPU

    def __str__(self) -> str:
        if not self.threads:
            return self.backend
        return f'{self.backend}, {counted(self.threads, "thread")}'


@dataclass(frozen=True, slots=True)
class Fastest:
    """The way to take, opened, and what is known of the others."""

    way: Way
    describer: Describer
    taken_ms: dict[Way, float]  # of one image; empty where there was no choice
    refused: tuple[str, ...] = ()  # why ways that were wished for cannot be taken


Measure: TypeAlias = Callable[[Mapping[Way, Describer]], dict[Way, float]]
"""Whatever times describers: the milliseconds of each for one image."""


def steps_of_threads(most: int) -> list[int]:
    """1, 2, 4 ... and the most."""
    return sorted({*(1 << power for power in range(most.bit_length())), most})


def best_of(taken_ms: Mapping[Way, float]) -> Way:
    """The way with the fewest threads among those that are about as fast as the fastest.

    Of two with as many threads the first named one.
    """
    enough_ms = ABOUT_AS_FAST * min(taken_ms.values())
    ways = [way for way, taken in taken_ms.items() if taken <= enough_ms]
    return min(ways, key=lambda way: way.threads)


def fastest(
    openers: Mapping[Way, Callable[[], Describer]],
    *,
    key: Mapping[str, str],
    cache: Path,
    progress: Callable[[str], None] = lambda text: None,
    measure: Measure | None = None,
) -> Fastest:
    """Open the best way (`best_of`); raises BackendError where none can be opened.

    openers: of each way, which raise BackendError where it cannot be taken. The first backend is
    taken where no other is clearly faster. key: what the times are of, such as processor and
    graph; they are remembered in `cache` by it. measure: None times them here.
    """
    if len(openers) == 1:
        (way,) = openers
        return Fastest(way, openers[way](), {})
    kept = remembered(key, cache)
    opened, refused = opened_ways({way: openers[way] for way in openers if str(way) not in kept})
    if opened:
        progress('measures how fast this machine runs the model, once')
        others, why = opened_ways({way: openers[way] for way in openers if str(way) in kept})
        refused += why
        opened |= others
        taken_ms = (measure or _taken_ms)({way: opened[way] for way in openers if way in opened})
        remember(taken_ms, key=key, cache=cache)
    else:
        taken_ms = {way: kept[str(way)] for way in openers if str(way) in kept}
    left = dict(taken_ms)
    while left:
        best = best_of(left)
        if best not in opened:
            there, why = opened_ways({best: openers[best]})
            opened, refused = opened | there, refused + why
        if best in opened:
            return Fastest(best, opened[best], taken_ms, tuple(dict.fromkeys(refused)))
        del left[best]
    raise BackendError('; '.join(dict.fromkeys(refused)))


def opened_ways(
    openers: Mapping[Way, Callable[[], Describer]],
) -> tuple[dict[Way, Describer], list[str]]:
    """The ways that can be opened, and why the others cannot."""
    opened: dict[Way, Describer] = {}
    refused: list[str] = []
    for way, opener in openers.items():
        try:
            opened[way] = opener()
        except BackendError as error:
            refused.append(str(error))
    return opened, refused


def remembered(key: Mapping[str, str], cache: Path) -> dict[str, float]:
    """The milliseconds of ways, by their text, that were measured for a key."""
    found: dict[str, float] = json.loads(unsealed(_path(key, cache), key) or b'{}')
    return found


def remember(taken_ms: Mapping[Way, float], *, key: Mapping[str, str], cache: Path) -> None:
    """Keep what was measured, in place of what was kept of the same ways."""
    kept = remembered(key, cache) | {str(way): taken for way, taken in taken_ms.items()}
    keep(_path(key, cache), sealed(key, json.dumps(kept).encode()))


def medians_ms(
    describers: Mapping[_Name, Describer],
    *,
    rounds: Iterable[int] = range(_ROUNDS),
    in_a_row: int = _IN_A_ROW,
    with_cells: bool = False,
) -> dict[_Name, float]:
    """Milliseconds of each for one image; they take turns.

    rounds: turns of each, such as a range with a progress bar. with_cells: describe cells, too,
    where a model has some.
    """
    taken_s: dict[_Name, list[float]] = {name: [] for name in describers}
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


def _taken_ms(describers: Mapping[Way, Describer]) -> dict[Way, float]:
    return medians_ms(describers, with_cells=True)


def _path(key: Mapping[str, str], cache: Path) -> Path:
    return cache / f'{key["graph"][:12]}.fastest'
