"""Build what everything stands on: roads, pavements, grass, road markings and far hills.

The town's streets run along x and y, so the ground is a grid cut along every edge of them: no two
faces lie in one another, and the kerbs follow from which neighbours are roads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import cos, pi, sin

from shapes import (
    CONCRETE,
    Point,
    Shape,
    Surface,
)
from world import Rectangle, Street


def ground_shape(streets: Sequence[Street], margin_m: float = 160.0) -> Shape:
    """Return roads, raised pavements and grass: a grid cut along every edge, so none overlap."""
    roads = [s.strip(s.half_width_m) for s in streets]
    paths = [s.strip(s.corridor_m) for s in streets]
    joints = [(*s.start, s) for s in streets] + [(*s.end, s) for s in streets]
    paths += [
        (x - s.corridor_m, y - s.corridor_m, x + s.corridor_m, y + s.corridor_m)
        for x, y, s in joints
    ]
    roads += [
        (x - s.half_width_m, y - s.half_width_m, x + s.half_width_m, y + s.half_width_m)
        for x, y, s in joints
    ]
    xs = _cuts([b[k] for b in roads + paths for k in (0, 2)], margin_m)
    ys = _cuts([b[k] for b in roads + paths for k in (1, 3)], margin_m)
    kinds = [
        [_cell((a + b) / 2, (c + d) / 2, roads, paths) for c, d in pairwise(ys)]
        for a, b in pairwise(xs)
    ]
    shape = Shape()
    high = {'asphalt': 0.0, 'pavement': 0.12, 'grass': 0.12}
    for i, (x0, x1) in enumerate(pairwise(xs)):
        for j, (y0, y1) in enumerate(pairwise(ys)):
            kind = kinds[i][j]
            z = high[kind]
            shape.polygon([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], Surface(kind))
            if kind != 'asphalt':
                continue
            for di, dj, (ax, ay), (bx, by) in (
                (-1, 0, (x0, y0), (x0, y1)),
                (1, 0, (x1, y1), (x1, y0)),
                (0, -1, (x1, y0), (x0, y0)),
                (0, 1, (x0, y1), (x1, y1)),
            ):
                ni, nj = i + di, j + dj
                if 0 <= ni < len(kinds) and 0 <= nj < len(kinds[0]) and kinds[ni][nj] != 'asphalt':
                    kerb = (
                        min(ax, bx) + min(0, di) * 0.16,
                        min(ay, by) + min(0, dj) * 0.16,
                        max(ax, bx) + max(0, di) * 0.16,
                        max(ay, by) + max(0, dj) * 0.16,
                    )
                    shape.box((kerb[0], kerb[1], 0.0), (kerb[2], kerb[3], 0.135), CONCRETE)
    return shape


def markings_shape(streets: Sequence[Street]) -> Shape:
    """Return dashes, edge lines, zebra crossings and manhole covers, a hair above the asphalt."""
    shape, paint = Shape(), Surface('road_paint')
    for street in streets:
        others = [s.strip(s.half_width_m + 3.6) for s in streets if s is not street]
        along = 1.0
        while along < street.length_m - 2:
            _mark(shape, street, along, along + 2.0, -0.06, 0.06, paint, others)
            along += 5.0
        for side in (-1, 1):
            edge = side * (street.half_width_m - 0.35)
            along = 0.0
            while along < street.length_m - 1:
                _mark(shape, street, along, along + 1.0, edge - 0.05, edge + 0.05, paint, others)
                along += 1.0
        for end in (13.0, street.length_m - 11.5):
            for k in range(8):
                left = -street.half_width_m + 0.5 + k * 1.1
                _mark(shape, street, end - 1.3, end + 1.3, left, left + 0.55, paint, [], z=0.012)
        for k in range(int(street.length_m / 13)):
            x, y = street.at(7 + 13 * k, ((k * 7919) % 5 - 2) * 0.6)
            shape.rod(
                (x, y, -0.05), (x, y, 0.008), 0.33, 0.33, Surface('metal', (0.09, 0.085, 0.08)), 14
            )
    return shape


def _mark(
    shape: Shape,
    street: Street,
    a: float,
    b: float,
    right: float,
    left: float,
    paint: Surface,
    avoid: list[Rectangle],
    z: float = 0.008,
) -> None:
    corners = [street.at(a, right), street.at(b, right), street.at(b, left), street.at(a, left)]
    mid_x, mid_y = sum(c[0] for c in corners) / 4, sum(c[1] for c in corners) / 4
    if not any(box[0] < mid_x < box[2] and box[1] < mid_y < box[3] for box in avoid):
        shape.polygon([(x, y, z) for x, y in corners], paint)


def _cuts(values: list[float], margin: float) -> list[float]:
    values = sorted([*values, min(values) - margin, max(values) + margin])
    found = values[:1]
    for value in values[1:]:
        if value - found[-1] > 1e-3:
            found.append(value)
    return found


def _cell(
    x: float,
    y: float,
    roads: list[Rectangle],
    paths: list[Rectangle],
) -> str:
    for kind, boxes in (('asphalt', roads), ('pavement', paths)):
        if any(b[0] < x < b[2] and b[1] < y < b[3] for b in boxes):
            return kind
    return 'grass'


def hills_shape(middle: tuple[float, float], radius_m: float = 330.0) -> Shape:
    """Return a ring of low hills round the town, so that the plain has an end."""
    shape, steps = Shape(), 96
    tops = [
        13.0 + 8.0 * sin(3 * a) + 5.0 * sin(7 * a + 1) + 2.5 * sin(17 * a)
        for a in (2 * pi * k / steps for k in range(steps))
    ]
    for k in range(steps):
        a, b = 2 * pi * k / steps, 2 * pi * (k + 1) / steps
        foot, ridge = radius_m * 0.6, radius_m
        points: list[Point] = [
            (middle[0] + r * cos(t), middle[1] + r * sin(t), z)
            for r, t, z in (
                (foot, b, 0.0),
                (foot, a, 0.0),
                (ridge, a, tops[k]),
                (ridge, b, tops[(k + 1) % steps]),
            )
        ]
        shape.polygon(points, Surface('hill'))
    return shape
