"""How sure one can be of a share: 95 % intervals of independent answers, and of those of a drive.

Answers to photos of different places are independent draws, and the classical intervals hold for
them: Wilson's, and Clopper and Pearson's where the share is that of rare mistakes and the interval
must not be too narrow.

The frames of a drive are not. Neighbours see the same street in the same light: they are right or
wrong together, and a thousand of them tell less than a thousand photos. Their share is drawn anew
in stretches as long as neighbours resemble each other (the circular block bootstrap: Kuensch, The
Jackknife and the Bootstrap for General Stationary Observations, Annals of Statistics 17, 1989;
Politis and Romano, A Circular Block-Resampling Procedure for Stationary Data, 1992), and several
drives are drawn as wholes first. A stretch has as many frames as the autocorrelation of the
answers asks for (Politis and White, Automatic Block-Length Selection for the Dependent Bootstrap,
2004, with the correction of 2009), and BLOCK at least: so few mistakes as a good drive has do not
show how they cling together.

A bootstrap cannot draw what it has not seen. Where fewer than FEWEST stretches hold a hit, or a
miss, Wilson's interval of as many answers as there are stretches stands in.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Interval: TypeAlias = tuple[float, float]

BLOCK = 10
"""Frames of a stretch at least: neighbours that see much the same."""

FEWEST = 5
"""Stretches with a hit, and with a miss, from which on a bootstrap can tell."""

UNKNOWN: Interval = (float('nan'), float('nan'))

_RESAMPLES = 1000
_Z = 1.959964  # of a normal distribution, 97.5 %
_TAIL = 0.025
_STEPS = 60  # of bisection: all digits of a double
_SEEN = 2.0  # sqrt(log10(n) / n): an autocorrelation below this is noise (Politis and White)


def wilson(share: float, count: float) -> Interval:
    """95 % interval of a share of `count` independent answers; the whole range for none.

    Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927. count: need
    not be whole.
    """
    if not count > 0:
        return 0.0, 1.0
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    half /= 1 + _Z**2 / count
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def clopper_pearson(hits: int, count: int) -> Interval:
    """95 % interval of a share of independent answers, never narrower than it says.

    Clopper and Pearson, The Use of Confidence or Fiducial Limits, 1934. The whole range for none.
    """
    if count == 0:
        return 0.0, 1.0
    low = _where(lambda p: _at_least(hits, count, p) > _TAIL) if hits else 0.0
    high = _where(lambda p: _at_least(hits + 1, count, p) > 1 - _TAIL) if hits < count else 1.0
    return low, high


def block_length(values: Array) -> int:
    """Frames of a stretch of one drive's values [Q]: what their autocorrelation asks for.

    BLOCK at least, and a third of the drive at most, so that there is something to draw from.
    """
    count = len(values)
    most = max(count // 3, 1)
    centred = values - values.mean() if count else values
    if count < 2 * BLOCK or not np.abs(centred).max(initial=0.0) > 0:
        return min(BLOCK, most)
    lags = min(int(np.ceil(np.sqrt(count))) + BLOCK, count - 1)
    covariance = np.array([centred[lag:] @ centred[: count - lag] for lag in range(lags + 1)])
    covariance /= count
    is_noise = np.abs(covariance[1:] / covariance[0]) < _SEEN * np.sqrt(np.log10(count) / count)
    width = 2 * _first_run(is_noise, max(5, int(np.ceil(np.sqrt(np.log10(count))))))
    lag = np.arange(-min(width, lags), min(width, lags) + 1)
    weighted = np.clip(2 * (1 - np.abs(lag) / max(width, 1)), 0, 1) * covariance[np.abs(lag)]
    bend, spectrum = float(np.abs(lag) @ weighted), float(weighted.sum())
    asked = (1.5 * (bend / max(spectrum, 1e-12)) ** 2 * count) ** (1 / 3)
    return min(max(int(np.ceil(asked)), BLOCK), most)


def drive_interval(
    values: NDArray[Any],
    *,
    drive: NDArray[np.int64] | None = None,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Interval:
    """95 % interval of the share of true ones among answers [Q] to the frames of drives.

    In the order of the frames. drive: [Q], the number of each frame's drive; None: all of one. NaN
    for none.
    """
    if not len(values):
        return UNKNOWN
    hits = np.asarray(values, dtype=np.float64)
    parts = _parts(hits, drive)
    lengths = [block_length(part) for part in parts]
    stretches = sum(len(part) / length for part, length in zip(parts, lengths, strict=True))
    fewest = min(_stretches_with(value, parts, lengths) for value in (0.0, 1.0))
    if fewest < FEWEST:
        return wilson(float(hits.mean()), stretches)
    return bootstrap_interval(parts, lengths=lengths, resamples=resamples, seed=seed)


def bootstrap_interval(
    parts: Sequence[Array],
    *,
    of: Callable[[Array], float] = lambda values: float(values.mean()),
    lengths: Sequence[int] | None = None,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Interval:
    """95 % interval of a figure of the values of drives, drawn anew in stretches.

    parts: of each drive the values [q, ...] in the order of its frames; where there are several,
    drives are drawn first. of: the figure of such values, their mean unless another is given.
    lengths: of a drive's stretches, in frames; None: what its first column asks for.
    """
    parts = [part for part in parts if len(part)]
    if not parts:
        return UNKNOWN
    random = np.random.default_rng(seed)
    chosen = lengths or [block_length(part.reshape(len(part), -1)[:, 0]) for part in parts]
    drawn = np.empty(resamples)
    for sample in range(resamples):
        which = random.integers(len(parts), size=len(parts)) if parts[1:] else [0]
        rows = [
            parts[number][_drawn(len(parts[number]), chosen[number], random)] for number in which
        ]
        drawn[sample] = of(np.concatenate(rows))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def pooled_interval(hits: Sequence[float], counts: Sequence[float], *, seed: int = 0) -> Interval:
    """95 % interval of a share over units that are drawn as wholes, such as drives.

    hits, counts: of each unit, how many of how many.
    """
    table = np.array([hits, counts], dtype=np.float64)
    table = table[:, table[1] > 0]
    units = table.shape[1]
    if not units:
        return UNKNOWN
    share = float(table[0].sum() / table[1].sum())
    if min((table[0] > 0).sum(), (table[0] < table[1]).sum()) < FEWEST:
        return wilson(share, units)
    rows = np.random.default_rng(seed).integers(units, size=(_RESAMPLES, units))
    drawn = table[0][rows].sum(axis=1) / table[1][rows].sum(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _parts(values: Array, drive: NDArray[np.int64] | None) -> list[Array]:
    if drive is None:
        return [values]
    return [values[drive == number] for number in np.unique(drive)]


def _stretches_with(value: float, parts: Sequence[Array], lengths: Sequence[int]) -> int:
    """How many stretches have a frame of this value."""
    return sum(
        len(np.unique(np.flatnonzero(part == value) // length))
        for part, length in zip(parts, lengths, strict=True)
    )


def _drawn(count: int, length: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Rows of a drive of `count` frames, drawn in stretches; after its end comes its start."""
    starts = random.integers(count, size=-(-count // length))
    rows = (starts[:, None] + np.arange(length)).reshape(-1)[:count]
    return np.asarray(rows % count)


def _first_run(flags: Bools, length: int) -> int:
    """Where the first run of `length` true flags begins, from 1; the last flag where none does."""
    run = 0
    for place, flag in enumerate(flags.tolist(), start=1):
        run = run + 1 if flag else 0
        if run == length:
            return max(place - length, 1)
    return max(len(flags) // 2, 1)


def _where(is_above: Callable[[float], bool]) -> float:
    """Where a rising condition on [0, 1] becomes true."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return (low + high) / 2


def _at_least(hits: int, count: int, share: float) -> float:
    """How probable it is that of `count` draws at least `hits` are true."""
    logs = np.log(np.arange(1, count + 1, dtype=np.float64))
    factorials = np.concatenate([[0.0], np.cumsum(logs)])
    number = np.arange(hits, count + 1)
    choices = factorials[count] - factorials[number] - factorials[count - number]
    with np.errstate(divide='ignore', invalid='ignore'):
        heights = choices + number * np.log(share) + (count - number) * np.log1p(-share)
    return float(np.exp(heights).sum())
