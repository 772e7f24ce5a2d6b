"""The parts of drawings as SVG text: axes, a grid, a legend, lines and dots.

Colours are class names that the page's style sheet fills, so that one drawing serves light, dark
and paper. Many dots are one path of zero-length strokes, rounded to a tenth of a unit and drawn
once per spot, so that the size of a drawing is bounded however long a drive is.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40
"""Margins of the plot area, in units of the drawing."""

NOTHING = '<p class="none">There is nothing to draw.</p>'
"""Stands in place of a drawing."""

_LEGEND_ROW, _KEY, _KEY_GAP = 20, 17, 17  # of a row, of a colour, between two names, units
_LETTER = 6.4  # mean width of a letter of 11.5 units
_MOST_VERTICES = 1500  # of a line


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values laid over a range of units."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: Array) -> Array:
        """Where values stand, in units."""
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
        """Round values inside the range, about `count` of them."""
        if self.log:
            decades = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**decade for decade in decades]
        return nice_ticks(self.low, self.high, count)


class Legend:
    """Names beside their colours, in as many rows as they need."""

    def __init__(self, entries: Sequence[tuple[str, str]], width: int) -> None:
        """entries: names and tones; width: of the whole drawing."""
        self._placed: list[tuple[str, str, float, int]] = []
        at, row = float(LEFT), 0
        most = int((width - RIGHT - LEFT - _KEY) / _LETTER)
        for name, tone in entries:
            shown = name if len(name) <= most else f'{name[: most - 1]}…'
            taken = _KEY + _LETTER * len(shown)
            if at > LEFT and at + taken > width - RIGHT:
                at, row = float(LEFT), row + 1
            self._placed.append((shown, tone, at, row))
            at += taken + _KEY_GAP
        self.height = (row + 1) * _LEGEND_ROW if entries else 0

    def drawn(self) -> str:
        """The names and their colours; nothing where there are none."""
        return ''.join(
            f'<rect class="key {tone}" x="{at:.0f}" y="{row * _LEGEND_ROW + 7}" width="12" '
            f'height="12" rx="3"/><text class="tick" x="{at + _KEY:.0f}" '
            f'y="{row * _LEGEND_ROW + 17}">{escape(name)}</text>'
            for name, tone, at, row in self._placed
        )


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


def svg(parts: Iterable[str], width: int, height: int, title: str, *, kind: str) -> str:
    """A drawing of its parts; kind: the class that the style sheet knows."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def grid(
    x_axis: Axis, y_axis: Axis, width: int, height: int, top: int, x_label: str, y_label: str
) -> str:
    """Lines and numbers at the ticks of both axes, and what the axes mean."""
    parts = []
    for value, at in _placed(y_axis):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">'
            f'{value:g}</text>'
        )
    for value, at in _placed(x_axis, 10 if width > 600 else 6):
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{height - BOTTOM}"/>'
            f'<text class="tick" x="{at:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">'
            f'{value:g}</text>'
        )
    middle = (top + height - BOTTOM) / 2
    parts.append(
        f'<text class="label" x="{(LEFT + width - RIGHT) / 2}" y="{height - 6}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    return ''.join(parts)


def _placed(axis: Axis, count: int = 5) -> list[tuple[float, float]]:
    """Each tick's value and where it stands."""
    ticks = axis.ticks(count)
    return list(zip(ticks, axis(np.array(ticks)).tolist(), strict=True))


def line(points: Array, x_axis: Axis, y_axis: Axis, classes: str) -> str:
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


def dots(points: Array, x_axis: Axis, y_axis: Axis, classes: str) -> str:
    """Points [n, 2] as one path, each spot once; those that are NaN are left out."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    spots = np.stack([x_axis(points[:, 0]), y_axis(points[:, 1])], axis=1).round(1)
    words = ''.join(f'M{x:g} {y:g}h0' for x, y in np.unique(spots, axis=0).tolist())
    return f'<path class="{classes}" d="{words}"/>' if words else ''


def spot(x_axis: Axis, y_axis: Axis, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point stands, in units."""
    return float(x_axis(np.array(point[0]))), float(y_axis(np.array(point[1])))
