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
miss, Wilson's interval of as many answers as there are stretches stands in. Of a difference see
`difference_interval`.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Interval: TypeAlias = tuple[float, float]

BLOCK = 10
"""Frames of a drive's stretch at least: neighbours that see much the same."""

FEWEST = 5
"""Stretches with a hit, and with a miss, from which on a bootstrap can tell."""

UNKNOWN: Interval = (float('nan'), float('nan'))

RESAMPLES = 1000

SAID = (
    f'95 %, circular block bootstrap over stretches and drives, {RESAMPLES} resamples, seed 0; '
    f"Wilson's where fewer than {FEWEST} stretches have a hit or a miss"
)
"""What a page says of them."""

_Z = 1.959964  # of a normal distribution, 97.5 %
_TAIL = 0.025
_STEPS = 60  # of bisection: all digits of a double
_SEEN = 2.0  # times sqrt(log10(n) / n): a smaller autocorrelation is noise (Politis and White)
_IN_A_ROW = 5  # lags without autocorrelation after which there is none
_AT_ONCE = 10**6  # stretches drawn at once


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


def block_length(values: Array, *, least: int = BLOCK) -> int:
    """Frames of a stretch of one drive's values [Q]: what their autocorrelation asks for.

    `least` at least, and a third of the drive at most, so that there is something to draw from.
    """
    count = len(values)
    most = max(count // 3, 1)
    centred = values - values.mean() if count else values
    if count < 4 * _IN_A_ROW or not np.abs(centred).max(initial=0.0) > 0:
        return min(least, most)
    lags = min(int(np.ceil(np.sqrt(count))) + 2 * _IN_A_ROW, count - 1)
    covariance = np.array([centred[lag:] @ centred[: count - lag] for lag in range(lags + 1)])
    limit = _SEEN * np.sqrt(np.log10(count) / count)
    width = min(2 * _last_seen(np.abs(covariance[1:] / covariance[0]) >= limit), lags)
    lag = np.arange(-width, width + 1)
    weighted = np.clip(2 * (1 - np.abs(lag) / max(width, 1)), 0, 1) * covariance[np.abs(lag)]
    bend, spectrum = float(np.abs(lag) @ weighted), float(weighted.sum())
    if not spectrum > 0:
        return min(least, most)
    asked = (1.5 * (bend / spectrum) ** 2 * count) ** (1 / 3)
    return min(max(int(np.ceil(asked)), least), most)


def drive_interval(
    values: NDArray[Any],
    *,
    drive: NDArray[np.int64] | None = None,
    least: int = BLOCK,
) -> Interval:
    """95 % interval of the share of true ones among answers [Q], in the order of their frames.

    NaN for none. drive: [Q], the number of each frame's drive; None: all are of one. least: frames
    of a stretch; 1 for images of which it is not known whether they are a drive, whose
    autocorrelation alone decides.
    """
    if not len(values):
        return UNKNOWN
    hits = np.asarray(values, dtype=np.float64)
    parts = _parts(hits, drive)
    lengths = [block_length(part, least=least) for part in parts]
    fewest = min(_stretches_with(value, parts, lengths) for value in (0.0, 1.0))
    if fewest < FEWEST:
        stretches = sum(len(part) / length for part, length in zip(parts, lengths, strict=True))
        return wilson(float(hits.mean()), stretches)
    return _percentiles(_drawn_means(parts, lengths))


def mean_interval(values: Array, *, drive: NDArray[np.int64]) -> Interval:
    """95 % bootstrap interval of the mean of measurements [Q], in the order of their frames.

    drive: [Q], as of `drive_interval`.
    """
    parts = _parts(values, drive)
    return _percentiles(_drawn_means(parts, [block_length(part) for part in parts]))


def difference_interval(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Interval:
    """95 % bootstrap interval of how much a share rose, from the same queries before and after.

    before, after: [Q], in the order of the images. Queries are drawn as pairs, so that those which
    both find, or both miss, say nothing; and in stretches, where neighbours go together. Where all
    changes go one way, the other way cannot be drawn. The interval then also has what Clopper and
    Pearson say of the stretches that changed: it leaves 0 out from six of them on.
    """
    if before.size == 0:
        return 0.0, 0.0
    rose = after.astype(np.float64) - before
    length = block_length(rose, least=1)
    low, high = _percentiles(_drawn_means([rose], [length]))
    up, down = (_stretches_with(value, [rose], [length]) for value in (1.0, -1.0))
    if not (up and down):
        changed = float(np.abs(rose).mean())
        ends = [changed * (2 * end - 1) for end in clopper_pearson(up, up + down)]
        low, high = min(low, ends[0]), max(high, ends[1])
    return low, high


def _drawn_means(parts: Sequence[Array], lengths: Sequence[int]) -> Array:
    """Means [RESAMPLES] of drives' values, of drives and of stretches in them drawn anew."""
    random = np.random.default_rng(0)
    shape = (RESAMPLES, len(parts))
    chosen = random.integers(len(parts), size=shape) if parts[1:] else np.zeros(shape, np.int64)
    sums, counts = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for number, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        samples = np.nonzero(chosen == number)[0]
        if length == 1:
            np.add.at(sums, samples, _drawn_sums(part, len(samples), random))
            np.add.at(counts, samples, len(part))
            continue
        stretches = -(-len(part) // length)
        running = np.concatenate([[0.0], np.cumsum(np.concatenate([part, part[:length]]))])
        step = max(_AT_ONCE // stretches, 1)
        for start in range(0, len(samples), step):
            rows = samples[start : start + step]
            starts = random.integers(len(part), size=(len(rows), stretches))
            np.add.at(sums, rows, (running[starts + length] - running[starts]).sum(axis=1))
            np.add.at(counts, rows, stretches * length)
    return sums / counts


def _drawn_sums(values: Array, samples: int, random: np.random.Generator) -> Array:
    """Sums [samples] of as many single values as there are, of which few are distinct."""
    distinct, counts = np.unique(values, return_counts=True)
    drawn = random.multinomial(len(values), counts / len(values), size=samples)
    return np.asarray(drawn @ distinct)


def _percentiles(drawn: Array) -> Interval:
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


def _last_seen(is_seen: Bools) -> int:
    """The last lag, from 1, before a run of lags without autocorrelation; 0: none is seen."""
    last = 0
    for lag, seen in enumerate(is_seen.tolist(), start=1):
        if seen:
            last = lag
        elif lag - last >= _IN_A_ROW:
            break
    return last


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
