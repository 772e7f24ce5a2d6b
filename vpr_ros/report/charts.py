"""Charts and maps as SVG text, small enough to stand inside a page.

Colours are class names that the page's style sheet fills, so that one drawing serves light, dark
and paper. Many dots are one path of zero-length strokes, rounded to a tenth of a unit and drawn
once per spot, so that the size of a drawing is bounded however long a drive is.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Tone: TypeAlias = Literal['s0', 's1', 's2', 's3', 's4', 's5', 'good', 'bad', 'silent', 'plain']

SERIES_TONES: tuple[Tone, ...] = ('s0', 's1', 's2', 's3', 's4', 's5')
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 40  # margins of the plot area, units
_LEGEND_ROW = 20
_MOST_VERTICES = 1500  # of a line
_MOST_TITLED = 80  # points of a series that say their value when pointed at


@dataclass(frozen=True, slots=True)
class Series:
    """One set of points [n] of a chart."""

    name: str
    x: Array
    y: Array  # NaN breaks the line
    tone: Tone = 's0'
    style: Literal['line', 'step', 'dots'] = 'line'
    low: Array | None = None  # [n], band of uncertainty
    high: Array | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over common axes."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    y_range: tuple[float, float] | None = None  # None: from the points
    x_range: tuple[float, float] | None = None
    log_y: bool = False
    level: tuple[float, str] | None = None  # a horizontal line and its name
    wide: bool = False
    note: str = ''


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer on the map: where the robot was and where it was said to be."""

    truth: tuple[float, float]  # m
    answer: tuple[float, float]  # m
    caption: str
    refused: bool = False  # it was not given as an answer


@dataclass(frozen=True, slots=True)
class PathMap:
    """What was mapped, driven and answered, seen from above; all positions [n, 2] in metres."""

    title: str
    places: Array
    truth: Sequence[Array]  # one array for each drive
    right: Array  # answers inside the tolerance
    silent: Array  # true positions without an answer
    mistakes: Sequence[Mistake]
    note: str = ''
    estimated: Sequence[Array] = ()  # answers in time order, one array for each drive


@dataclass(frozen=True, slots=True)
class _Axis:
    """A range of values laid over a range of units."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: Array) -> Array:
        low, high = self.low, self.high
        if self.log:
            values, low, high = (
                np.log10(np.maximum(values, low)),
                math.log10(low),
                math.log10(high),
            )
        span = (high - low) or 1.0
        return np.asarray(self.start + (values - low) / span * (self.end - self.start))

    def ticks(self, count: int = 5) -> list[float]:
        if self.log:
            decades = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**decade for decade in decades]
        return nice_ticks(self.low, self.high, count)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten from low to high."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [
        round(number * step, 12) + 0.0
        for number in range(first, math.floor(high / step + 1e-9) + 1)
    ]


def draw_chart(chart: Chart) -> str:
    """The SVG of a chart; a sentence where it has no finite point."""
    width, height = (1080, 250) if chart.wide else (520, 300)
    named = [entry for entry in chart.series if entry.name]
    height += _LEGEND_ROW if len(named) > 1 else 0
    top = _TOP + (_LEGEND_ROW if len(named) > 1 else 0)
    x_low, x_high = chart.x_range or _range([entry.x for entry in chart.series])
    levels = [np.array([chart.level[0]])] if chart.level else []
    y_low, y_high = chart.y_range or _range(
        [
            values
            for entry in chart.series
            for values in (entry.y, entry.low, entry.high)
            if values is not None
        ]
        + levels,
        log=chart.log_y,
    )
    if not all(map(math.isfinite, (x_low, x_high, y_low, y_high))):
        return '<p class="none">There is nothing to draw.</p>'
    x_axis = _Axis(x_low, x_high, _LEFT, width - _RIGHT)
    y_axis = _Axis(y_low, y_high, height - _BOTTOM, top, log=chart.log_y)
    parts = [_frame(chart, x_axis, y_axis, width, height)]
    for entry in chart.series:
        parts += _drawn(entry, x_axis, y_axis)
    if chart.level:
        at = float(y_axis(np.array([chart.level[0]]))[0])
        parts.append(
            f'<line class="level" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick" x="{width - _RIGHT - 4}" y="{at - 5:.1f}" text-anchor="end">'
            f'{escape(chart.level[1])}</text>'
        )
    if len(named) > 1:
        parts.append(_legend([(entry.name, entry.tone) for entry in named], _LEFT))
    return _svg(parts, width, height, chart.title, kind='chart')


def draw_map(path_map: PathMap) -> str:
    """The SVG of a map, equally scaled in x and y."""
    everything = np.concatenate(
        [
            path_map.places,
            *path_map.truth,
            path_map.right,
            path_map.silent,
            *(np.array([mistake.truth, mistake.answer]) for mistake in path_map.mistakes),
        ]
    ).reshape(-1, 2)
    everything = everything[np.isfinite(everything).all(axis=1)]
    if not len(everything):
        return '<p class="none">There is nothing to draw.</p>'
    width, top = 1080, _TOP + _LEGEND_ROW
    inner = width - _LEFT - _RIGHT
    low, high = everything.min(axis=0), everything.max(axis=0)
    span = np.maximum(high - low, 1e-3)
    inner_height = float(np.clip(inner * span[1] / span[0], 200, 640))
    scale = 0.94 * min(inner / span[0], inner_height / span[1])  # units per metre
    centre = (low + high) / 2
    half = np.array([inner, inner_height]) / scale / 2
    height = round(inner_height + top + _BOTTOM)
    x_axis = _Axis(centre[0] - half[0], centre[0] + half[0], _LEFT, width - _RIGHT)
    y_axis = _Axis(centre[1] - half[1], centre[1] + half[1], height - _BOTTOM, top)
    lines = [
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'class="wrong{" refused" if mistake.refused else ""}">'
        f'<title>{escape(mistake.caption)}</title></line>'
        for mistake in path_map.mistakes
        for (x1, y1), (x2, y2) in [
            (_at(x_axis, y_axis, mistake.truth), _at(x_axis, y_axis, mistake.answer))
        ]
    ]
    given = [mistake.answer for mistake in path_map.mistakes if not mistake.refused]
    wrong = np.array(given).reshape(-1, 2)
    parts = [
        _grid(x_axis, y_axis, width, height, top, 'x [m]', 'y [m]'),
        '<g class="zoom">',
        _dots(path_map.places, x_axis, y_axis, 'places'),
        *(_line(path, x_axis, y_axis, 'truth') for path in path_map.truth),
        *(_line(path, x_axis, y_axis, 'estimated') for path in path_map.estimated),
        *lines,
        _dots(path_map.silent, x_axis, y_axis, 'dot silent'),
        _dots(path_map.right, x_axis, y_axis, 'dot good'),
        _dots(wrong, x_axis, y_axis, 'dot bad'),
        '</g>',
        _legend(
            [
                (f'mapped places ({len(path_map.places)})', 'plain'),
                ('true path', 's0'),
                *([('estimated path', 's3')] if path_map.estimated else []),
                (f'right ({len(path_map.right)})', 'good'),
                (f'wrong ({len(wrong)})', 'bad'),
                (f'no answer ({len(path_map.silent)})', 'silent'),
            ],
            _LEFT,
        ),
    ]
    return _svg(parts, width, height, path_map.title, kind='map')


def _svg(parts: Iterable[str], width: int, height: int, title: str, *, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _range(arrays: Sequence[Array], *, log: bool = False) -> tuple[float, float]:
    """Finite minimum and maximum with a little room; NaN where there is none."""
    values = np.concatenate(
        [np.asarray(array, dtype=np.float64) for array in arrays] or [np.empty(0)]
    )
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not values.size:
        return math.nan, math.nan
    low, high = float(values.min()), float(values.max())
    if log:
        return 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high) + 1e-9)
    if low == high:
        return low - 0.5, high + 0.5
    return low, high + 0.04 * (high - low)


def _frame(chart: Chart, x_axis: _Axis, y_axis: _Axis, width: int, height: int) -> str:
    return _grid(x_axis, y_axis, width, height, int(y_axis.end), chart.x_label, chart.y_label)


def _grid(
    x_axis: _Axis, y_axis: _Axis, width: int, height: int, top: int, x_label: str, y_label: str
) -> str:
    parts = []
    for value, at in _placed(y_axis):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">'
            f'{value:g}</text>'
        )
    for value, at in _placed(x_axis, 10 if width > 600 else 6):
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{height - _BOTTOM}"/>'
            f'<text class="tick" x="{at:.1f}" y="{height - _BOTTOM + 16}" text-anchor="middle">'
            f'{value:g}</text>'
        )
    middle = (top + height - _BOTTOM) / 2
    parts.append(
        f'<text class="label" x="{(_LEFT + width - _RIGHT) / 2}" y="{height - 6}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    return ''.join(parts)


def _placed(axis: _Axis, count: int = 5) -> list[tuple[float, float]]:
    """Each tick's value and where it stands."""
    ticks = axis.ticks(count)
    return list(zip(ticks, axis(np.array(ticks)).tolist(), strict=True))


def _drawn(entry: Series, x_axis: _Axis, y_axis: _Axis) -> list[str]:
    parts = []
    x, y = np.asarray(entry.x, np.float64), np.asarray(entry.y, np.float64)
    if entry.low is not None and entry.high is not None:
        around = np.concatenate(
            [np.stack([x, entry.high], axis=1), np.stack([x, entry.low], axis=1)[::-1]]
        )
        parts.append(_line(around, x_axis, y_axis, f'band {entry.tone}'))
    points = np.stack([x, y], axis=1)
    if entry.style == 'dots':
        parts.append(_dots(points, x_axis, y_axis, f'dot {entry.tone}'))
    else:
        way = _stepped(points) if entry.style == 'step' else points
        parts.append(_line(way, x_axis, y_axis, f'line {entry.tone}'))
    shape = 'pin' if entry.style == 'dots' else 'point'
    if len(points) <= _MOST_TITLED and entry.style != 'step':
        parts += [
            f'<circle class="{shape} {entry.tone}" cx="{at_x:.1f}" cy="{at_y:.1f}" r="3">'
            f'<title>{escape(entry.name)} {value_x:g}: {value_y:.4g}</title></circle>'
            for (value_x, value_y), at_x, at_y in zip(points.tolist(), x_axis(x), y_axis(y))
            if math.isfinite(at_x) and math.isfinite(at_y)
        ]
    return parts


def _stepped(points: Array) -> Array:
    """Points [n, 2] with a corner between each two: first across, then up or down."""
    if len(points) < 2:
        return points
    corners = np.stack([points[1:, 0], points[:-1, 1]], axis=1)
    return np.concatenate([np.stack([points[:-1], corners], axis=1).reshape(-1, 2), points[-1:]])


def _line(points: Array, x_axis: _Axis, y_axis: _Axis, classes: str) -> str:
    """A path through points [n, 2], thinned to what can be seen, broken where they are NaN."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    if len(points) > _MOST_VERTICES:
        rows = np.unique(np.linspace(0, len(points) - 1, _MOST_VERTICES).round().astype(int))
        points = points[rows]
    words, pen_up = [], True
    for x, y in zip(x_axis(points[:, 0]).tolist(), y_axis(points[:, 1]).tolist(), strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            pen_up = True
            continue
        words.append(f'{"M" if pen_up else "L"}{x:.1f} {y:.1f}')
        pen_up = False
    return f'<path class="{classes}" d="{"".join(words)}"/>' if words else ''


def _dots(points: Array, x_axis: _Axis, y_axis: _Axis, classes: str) -> str:
    points = np.asarray(points, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    spots = np.stack([x_axis(points[:, 0]), y_axis(points[:, 1])], axis=1).round(1)
    words = ''.join(f'M{x:g} {y:g}h0' for x, y in np.unique(spots, axis=0).tolist())
    return f'<path class="{classes}" d="{words}"/>' if words else ''


def _at(x_axis: _Axis, y_axis: _Axis, point: tuple[float, float]) -> tuple[float, float]:
    return float(x_axis(np.array(point[0]))), float(y_axis(np.array(point[1])))


def _legend(entries: Sequence[tuple[str, str]], left: int) -> str:
    parts, at = [], float(left)
    for name, tone in entries:
        parts.append(
            f'<rect class="key {tone}" x="{at:.0f}" y="7" width="12" height="12" rx="3"/>'
            f'<text class="tick" x="{at + 17:.0f}" y="17">{escape(name)}</text>'
        )
        at += 34 + 6.4 * len(name)
    return ''.join(parts)
