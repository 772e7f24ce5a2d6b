"""Charts and maps as SVG text, small enough to stand inside a page.

A chart is series over common axes, a map is what was mapped, driven and answered; what they mean
is the caller's business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal, TypeAlias

import numpy as np

from vpr_ros.report.svg import (
    BOTTOM,
    LEFT,
    NOTHING,
    RIGHT,
    TOP,
    Array,
    Axis,
    Legend,
    dots,
    grid,
    line,
    spot,
    svg,
)

Tone: TypeAlias = Literal['s0', 's1', 's2', 's3', 's4', 's5', 'good', 'bad', 'silent', 'plain']

SERIES_TONES: tuple[Tone, ...] = ('s0', 's1', 's2', 's3', 's4', 's5')
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
    unjudged: Array = field(default_factory=lambda: np.empty((0, 2)))  # answers without a truth


def draw_chart(chart: Chart) -> str:
    """The SVG of a chart; a sentence where it has no finite point."""
    width, height = (1080, 250) if chart.wide else (520, 300)
    named = [(entry.name, entry.tone) for entry in chart.series if entry.name]
    legend = Legend(named if len(named) > 1 else [], width)
    height += legend.height
    (x_low, x_high), (y_low, y_high) = _ranges(chart)
    if not all(map(math.isfinite, (x_low, x_high, y_low, y_high))):
        return NOTHING
    x_axis = Axis(x_low, x_high, LEFT, width - RIGHT)
    y_axis = Axis(y_low, y_high, height - BOTTOM, TOP + legend.height, log=chart.log_y)
    parts = [
        _frame(chart, x_axis, y_axis, width, height),
        *(part for entry in chart.series for part in _drawn(entry, x_axis, y_axis)),
        _level(chart, y_axis, width),
        legend.drawn(),
    ]
    return svg(parts, width, height, chart.title, kind='chart')


def draw_map(path_map: PathMap) -> str:
    """The SVG of a map, equally scaled in x and y."""
    spots = _spots(path_map)
    if not len(spots):
        return NOTHING
    given = [mistake.answer for mistake in path_map.mistakes if not mistake.refused]
    wrong = np.array(given).reshape(-1, 2)
    width = 1080
    legend = Legend(_meanings(path_map, len(wrong)), width)
    top = TOP + legend.height
    x_axis, y_axis, height = _equal_axes(spots, width, top)
    parts = [
        grid(x_axis, y_axis, width, height, top, 'x [m]', 'y [m]'),
        '<g class="zoom">',
        dots(path_map.places, x_axis, y_axis, 'places'),
        *(line(path, x_axis, y_axis, 'truth') for path in path_map.truth),
        *(line(path, x_axis, y_axis, 'estimated') for path in path_map.estimated),
        *(_joined(mistake, x_axis, y_axis) for mistake in path_map.mistakes),
        dots(path_map.silent, x_axis, y_axis, 'dot silent'),
        dots(path_map.unjudged, x_axis, y_axis, 'dot s0'),
        dots(path_map.right, x_axis, y_axis, 'dot good'),
        dots(wrong, x_axis, y_axis, 'dot bad'),
        '</g>',
        legend.drawn(),
    ]
    return svg(parts, width, height, path_map.title, kind='map')


def _meanings(path_map: PathMap, wrong: int) -> list[tuple[str, str]]:
    """Names and tones of what is on a map; without any truth nothing is said to be right."""
    judged = [
        (f'right ({len(path_map.right)})', 'good'),
        (f'wrong ({wrong})', 'bad'),
        (f'no answer ({len(path_map.silent)})', 'silent'),
    ]
    has_truth, unjudged = any(map(len, path_map.truth)), len(path_map.unjudged)
    return [
        (f'mapped places ({len(path_map.places)})', 'plain'),
        *([('true path', 's0')] if has_truth else []),
        *([('estimated path', 's3')] if path_map.estimated else []),
        *(judged if has_truth else []),
        *([(f'truth unknown ({unjudged})', 's0')] if unjudged else []),
    ]


def _spots(path_map: PathMap) -> Array:
    """All finite positions of a map [n, 2]."""
    ends = [np.array([mistake.truth, mistake.answer]) for mistake in path_map.mistakes]
    drawn = [path_map.places, *path_map.truth, path_map.right, path_map.silent, *ends]
    drawn.append(path_map.unjudged)
    spots = np.concatenate(drawn).reshape(-1, 2)
    return np.asarray(spots[np.isfinite(spots).all(axis=1)])


def _equal_axes(spots: Array, width: int, top: int) -> tuple[Axis, Axis, int]:
    """Axes of one scale with positions [n, 2] in their middle, and the height of the drawing."""
    inner = width - LEFT - RIGHT
    low, high = spots.min(axis=0), spots.max(axis=0)
    span = np.maximum(high - low, 1e-3)
    inner_height = float(np.clip(inner * span[1] / span[0], 200, 640))
    scale = 0.94 * min(inner / span[0], inner_height / span[1])  # units per metre
    centre = (low + high) / 2
    half = np.array([inner, inner_height]) / scale / 2
    height = round(inner_height + top + BOTTOM)
    x_axis = Axis(centre[0] - half[0], centre[0] + half[0], LEFT, width - RIGHT)
    y_axis = Axis(centre[1] - half[1], centre[1] + half[1], height - BOTTOM, top)
    return x_axis, y_axis, height


def _joined(mistake: Mistake, x_axis: Axis, y_axis: Axis) -> str:
    """The line from where the robot was to where it was said to be."""
    x1, y1 = spot(x_axis, y_axis, mistake.truth)
    x2, y2 = spot(x_axis, y_axis, mistake.answer)
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'class="wrong{" refused" if mistake.refused else ""}">'
        f'<title>{escape(mistake.caption)}</title></line>'
    )


def _level(chart: Chart, y_axis: Axis, width: int) -> str:
    """The horizontal line of a chart and its name."""
    if chart.level is None:
        return ''
    value, name = chart.level
    at = float(y_axis(np.array([value]))[0])
    return (
        f'<line class="level" x1="{LEFT}" x2="{width - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text class="tick" x="{width - RIGHT - 4}" y="{at - 5:.1f}" text-anchor="end">'
        f'{escape(name)}</text>'
    )


def _ranges(chart: Chart) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ranges of x and of y; NaN where there is no finite point."""
    bands = [(entry.y, entry.low, entry.high) for entry in chart.series]
    heights = [values for band in bands for values in band if values is not None]
    heights += [np.array([chart.level[0]])] if chart.level else []
    return (
        chart.x_range or _range([entry.x for entry in chart.series]),
        chart.y_range or _range(heights, log=chart.log_y),
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


def _frame(chart: Chart, x_axis: Axis, y_axis: Axis, width: int, height: int) -> str:
    return grid(x_axis, y_axis, width, height, int(y_axis.end), chart.x_label, chart.y_label)


def _drawn(entry: Series, x_axis: Axis, y_axis: Axis) -> list[str]:
    parts = []
    x, y = np.asarray(entry.x, np.float64), np.asarray(entry.y, np.float64)
    if entry.low is not None and entry.high is not None:
        around = np.concatenate(
            [np.stack([x, entry.high], axis=1), np.stack([x, entry.low], axis=1)[::-1]]
        )
        parts.append(line(around, x_axis, y_axis, f'band {entry.tone}'))
    points = np.stack([x, y], axis=1)
    if entry.style == 'dots':
        parts.append(dots(points, x_axis, y_axis, f'dot {entry.tone}'))
    else:
        way = _stepped(points) if entry.style == 'step' else points
        parts.append(line(way, x_axis, y_axis, f'line {entry.tone}'))
    shape = 'pin' if entry.style == 'dots' else 'point'
    if len(points) <= _MOST_TITLED and (entry.style != 'step' or len(points) == 1):
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
