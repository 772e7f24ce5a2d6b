"""Build what stands in the street: cars, trees, hedges, lamps, signs, benches and the like.

Each stands on z = 0 at its own origin and faces +x; leaves are single small faces, because a tree
drawn as a ball never looks like one.
"""

from __future__ import annotations

from math import cos, pi, sin, sqrt
from random import Random

from shapes import (
    CONCRETE,
    DARK,
    LAMP,
    RUBBER,
    STEEL,
    WOOD,
    Point,
    Shape,
    Surface,
    cross,
    unit,
)
from world import Rgb, Thing


def car_shape(rgb: Rgb, *, van: bool) -> Shape:
    """Return a parked car or van, facing +x, wheels on the ground."""
    shape, paint = Shape(), Surface('car_paint', rgb)
    if van:
        body = [
            (-2.45, 0.36),
            (2.4, 0.36),
            (2.45, 0.62),
            (2.35, 0.95),
            (1.75, 1.12),
            (-2.45, 1.12),
        ]
        cabin = ((-2.45, -2.42, 1.15, 1.72), 1.12, 2.05, 0.92, 0.84)
    else:
        body = [
            (-2.08, 0.34),
            (2.05, 0.34),
            (2.12, 0.56),
            (2.02, 0.76),
            (1.02, 0.92),
            (-1.85, 0.95),
            (-2.1, 0.84),
        ]
        cabin = ((-1.85, -1.25, 0.1, 0.98), 0.92, 1.44, 0.83, 0.62)
    half = 0.92 if van else 0.87
    shape.prism(body, -half, half, paint)
    (rear, rear_top, front_top, front), low, high, wide, narrow = cabin
    b: list[Point] = [
        (rear, -wide, low),
        (front, -wide, low),
        (front, wide, low),
        (rear, wide, low),
    ]
    t: list[Point] = [
        (rear_top, -narrow, high),
        (front_top, -narrow, high),
        (front_top, narrow, high),
        (rear_top, narrow, high),
    ]
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 0)):
        glazed = not van or (i, j) == (1, 2)
        shape.polygon([b[i], b[j], t[j], t[i]], Surface('car_glass') if glazed else paint)
    shape.polygon(t, paint)
    shape.box(
        (rear_top - 0.04, -narrow - 0.02, high - 0.03),
        (front_top + 0.04, narrow + 0.02, high + 0.03),
        paint,
    )
    for i in range(4):
        shape.rod(b[i], t[i], 0.05, 0.045, paint, 4)
    if not van:
        for y, sign in ((-wide, 1), (wide, -1)):
            shape.rod((-0.45, y, low), (-0.45, sign * -narrow, high), 0.05, 0.05, DARK, 4)
    else:
        for y in (-1, 1):
            shape.polygon(
                [
                    (0.5, y * 0.925, 1.2),
                    (1.45, y * 0.925, 1.2),
                    (1.22, y * 0.875, 1.8),
                    (0.5, y * 0.875, 1.8),
                ][::y],
                Surface('car_glass'),
            )
    nose, tail = (2.4, -2.46) if van else (2.06, -2.1)
    for y in (-0.62, 0.62):
        shape.box(
            (nose - 0.05, y - 0.19, 0.62),
            (nose + 0.03, y + 0.19, 0.76),
            Surface('paint', (0.75, 0.75, 0.72)),
        )
        shape.box(
            (tail - 0.02, y - 0.2, 0.66),
            (tail + 0.05, y + 0.2, 0.84),
            Surface('paint', (0.35, 0.01, 0.01)),
        )
        shape.box(
            (tail - 0.02, -0.27, 0.5),
            (tail + 0.05, 0.27, 0.62),
            Surface('paint', (0.7, 0.7, 0.66)),
        )
    shape.box((nose - 0.04, -0.8, 0.34), (nose + 0.07, 0.8, 0.5), DARK)
    shape.box((tail - 0.06, -0.8, 0.34), (tail + 0.04, 0.8, 0.48), DARK)
    for x in (1.5, -1.5) if van else (1.3, -1.28):
        for y0, y1 in ((-half - 0.02, -half + 0.2), (half - 0.2, half + 0.02)):
            shape.rod((x, y0, 0.33), (x, y1, 0.33), 0.33, 0.33, RUBBER, 14)
            hub = y0 - 0.005 if y0 < 0 else y1 + 0.005
            shape.rod(
                (x, hub, 0.33),
                (x, hub + 0.01, 0.33),
                0.2,
                0.2,
                Surface('metal', (0.45, 0.45, 0.46)),
                10,
            )
    return shape


def tree_shape(variant: int, *, leaf_share: float, leaf_m: float = 0.19) -> Shape:
    """Return a tree about 6.5 m tall: a forked trunk, and leaves spread through a few clouds."""
    shape, rng = Shape(), Random(variant + 77)
    bark, leaf = Surface('bark', (0.13, 0.09, 0.06)), Surface('leaf')
    fork: Point = (0.0, 0.0, 2.1)
    shape.rod((0.0, 0.0, 0.0), fork, 0.17, 0.12, bark, 7)
    clouds: list[tuple[Point, float]] = [((0.0, 0.0, 4.9), 1.3)]
    for k in range(6):
        angle = 2 * pi * k / 6 + rng.uniform(-0.4, 0.4)
        out, high = rng.uniform(0.8, 1.35), rng.uniform(3.2, 4.9)
        clouds.append(((out * cos(angle), out * sin(angle), high), rng.uniform(0.8, 1.15)))
    for centre, _ in clouds:
        shape.rod(fork, centre, 0.09, 0.025, bark, 5)
    for _ in range(int(7000 * leaf_share)):
        centre, radius = rng.choice(clouds)
        away = unit((rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1)))
        r = radius * (0.55 + 0.5 * sqrt(rng.random()))
        at: Point = (
            centre[0] + r * away[0],
            centre[1] + r * away[1],
            centre[2] + 0.85 * r * away[2],
        )
        _leaf(shape, at, leaf_m * rng.uniform(0.6, 1.2), rng, leaf)
    return shape


def hedge_shape(length: float, height: float, *, leaf_share: float = 1.0) -> Shape:
    """Return a clipped hedge along x."""
    shape, rng = Shape(), Random(int(length * 100))
    core = Surface('matt', (0.02, 0.035, 0.012))
    shape.box((-length / 2 + 0.1, -0.2, 0.0), (length / 2 - 0.1, 0.2, height - 0.12), core)
    for _ in range(int(420 * length)):
        x, y, z = (
            rng.uniform(-length / 2, length / 2),
            rng.uniform(-0.32, 0.32),
            rng.uniform(0.03, height),
        )
        if max(abs(y) / 0.32, z / height) > 0.72:
            _leaf(shape, (x, y, z), 0.13, rng, Surface('leaf'))
    return shape


def bush_shape(*, leaf_share: float) -> Shape:
    """Return a round bush of about 1 m radius."""
    shape, rng = Shape(), Random(5)
    for _ in range(900):
        away = unit((rng.gauss(0, 1), rng.gauss(0, 1), abs(rng.gauss(0, 1))))
        r = rng.uniform(0.75, 1.0)
        _leaf(
            shape, (r * away[0], r * away[1], 0.1 + 1.1 * r * away[2]), 0.2, rng, Surface('leaf')
        )
    return shape


def _leaf(shape: Shape, at: Point, size: float, rng: Random, surface: Surface) -> None:
    a = unit((rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 0.6)))
    b = unit(cross(a, unit((rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1)))))
    h = size / 2
    points: list[Point] = [
        (at[0] + u * a[0] + v * b[0], at[1] + u * a[1] + v * b[1], at[2] + u * a[2] + v * b[2])
        for u, v in ((-h, 0.0), (0.0, -h * 0.7), (h, 0.0), (0.0, h * 0.7))
    ]
    shape.polygon(points, surface)


def lamp_shape() -> Shape:
    """Return a street lamp whose arm reaches 1.7 m along +x, over the road."""
    shape = Shape()
    shape.rod((0.0, 0.0, 0.0), (0.0, 0.0, 0.9), 0.10, 0.09, STEEL)
    shape.rod((0.0, 0.0, 0.9), (0.0, 0.0, 5.3), 0.06, 0.045, STEEL)
    shape.rod((0.0, 0.0, 5.2), (0.7, 0.0, 5.6), 0.04, 0.035, STEEL, 6)
    shape.rod((0.7, 0.0, 5.6), (1.4, 0.0, 5.62), 0.035, 0.035, STEEL, 6)
    shape.box((1.1, -0.14, 5.56), (1.75, 0.14, 5.7), STEEL)
    shape.box((1.18, -0.11, 5.52), (1.7, 0.11, 5.56), LAMP)
    return shape


def thing_shape(thing: Thing) -> Shape:
    """Return any small piece of street furniture."""
    shape, own = Shape(), Surface('paint', thing.rgb)
    match thing.kind:
        case 'bin':
            shape.box((-0.29, -0.29, 0.08), (0.29, 0.29, 0.95), own)
            shape.box((-0.33, -0.34, 0.95), (0.33, 0.33, 1.04), own)
            for y in (-0.24, 0.24):
                shape.rod((-0.3, y, 0.1), (-0.3, y + 0.05, 0.1), 0.1, 0.1, RUBBER, 8)
        case 'bench':
            for x in (-0.75, 0.75):
                shape.box((x - 0.04, -0.22, 0.0), (x + 0.04, 0.22, 0.44), DARK)
                shape.box((x - 0.04, 0.2, 0.4), (x + 0.04, 0.26, 0.9), DARK)
            for k in range(4):
                shape.box((-0.95, -0.24 + 0.12 * k, 0.44), (0.95, -0.15 + 0.12 * k, 0.48), WOOD)
            for k in range(3):
                shape.box((-0.95, 0.18, 0.55 + 0.13 * k), (0.95, 0.21, 0.65 + 0.13 * k), WOOD)
        case 'post_box':
            red = Surface('paint', (0.45, 0.02, 0.015))
            shape.rod((0.0, 0.0, 0.0), (0.0, 0.0, 1.4), 0.24, 0.24, red, 14)
            shape.rod((0.0, 0.0, 1.4), (0.0, 0.0, 1.55), 0.28, 0.2, red, 14)
            shape.box((-0.27, -0.13, 1.1), (0.27, 0.13, 1.16), DARK)
        case 'planter':
            shape.box(
                (-0.6, -0.3, 0.0),
                (0.6, 0.3, 0.5),
                (CONCRETE, WOOD, Surface('paint', (0.05, 0.09, 0.12)))[thing.variant],
            )
            rng = Random(thing.variant)
            petals = ((0.6, 0.05, 0.12), (0.65, 0.45, 0.05), (0.45, 0.12, 0.5))[thing.variant]
            for k in range(170):
                surface = Surface('matt', petals) if k % 3 == 0 else Surface('leaf')
                _leaf(
                    shape,
                    (rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.3), rng.uniform(0.48, 0.85)),
                    0.14,
                    rng,
                    surface,
                )
        case 'cabinet':
            shape.box((-0.55, -0.2, 0.0), (0.55, 0.2, 1.15), Surface('paint', (0.22, 0.26, 0.22)))
        case 'bollards':
            for x in (-2.4, -0.8, 0.8, 2.4):
                shape.rod((x, 0.0, 0.0), (x, 0.0, 0.85), 0.08, 0.07, DARK)
                shape.rod(
                    (x, 0.0, 0.7),
                    (x, 0.0, 0.78),
                    0.083,
                    0.083,
                    Surface('paint', (0.75, 0.75, 0.7)),
                )
        case 'cycles':
            for x in (-0.7, 0.0, 0.7):
                _bicycle(
                    shape,
                    x,
                    ((0.4, 0.02, 0.02), (0.02, 0.1, 0.3), (0.05, 0.25, 0.1))[
                        int(x * 2 + thing.variant) % 3
                    ],
                )
        case 'bus_stop':
            shape.box((-1.9, 0.55, 2.3), (1.9, -0.8, 2.4), Surface('paint', (0.05, 0.15, 0.25)))
            for x in (-1.8, 0.0, 1.8):
                shape.box((x - 0.04, 0.42, 0.0), (x + 0.04, 0.5, 2.3), STEEL)
            shape.box((-1.8, 0.45, 0.3), (1.8, 0.47, 2.1), Surface('car_glass'))
            shape.box((1.8, -0.5, 0.3), (1.86, 0.45, 2.1), Surface('paint', (0.6, 0.35, 0.05)))
            shape.box((-1.2, 0.05, 0.42), (1.2, 0.4, 0.48), WOOD)
        case 'sign_limit' | 'sign_parking' | 'sign_way':
            _road_sign(shape, thing.kind)
        case 'sign_name':
            shape.rod((-0.55, 0.0, 0.0), (-0.55, 0.0, 2.5), 0.04, 0.04, STEEL)
            shape.rod((0.55, 0.0, 0.0), (0.55, 0.0, 2.5), 0.04, 0.04, STEEL)
            shape.box((-0.8, -0.02, 2.1), (0.8, 0.02, 2.5), own)
        case 'fence' | 'tall_fence':
            _fence(shape, thing.size, 1.9 if thing.kind == 'tall_fence' else 1.0, thing)
        case 'low_wall' | 'tall_wall':
            high = 2.1 if thing.kind == 'tall_wall' else 0.8
            brick = Surface('stone' if thing.kind == 'low_wall' else 'brick', thing.rgb)
            shape.box((-thing.size / 2, -0.13, 0.0), (thing.size / 2, 0.13, high), brick)
            shape.box(
                (-thing.size / 2, -0.18, high), (thing.size / 2, 0.18, high + 0.09), CONCRETE
            )
        case 'church':
            _church(shape, thing.rgb)
        case _:
            raise ValueError(
                f'{thing.kind}: no such thing; expected one of the kinds named in world.Thing'
            )
    return shape


def _church(shape: Shape, rgb: Rgb) -> None:
    stone, slate = Surface('stone', rgb), Surface('tiles', (0.12, 0.15, 0.16))
    shape.box((-2.7, -2.7, 0.0), (2.7, 2.7, 19.0), stone)
    shape.box((-2.95, -2.95, 13.2), (2.95, 2.95, 13.6), CONCRETE)
    shape.box((-2.95, -2.95, 18.8), (2.95, 2.95, 19.2), CONCRETE)
    for k in range(4):
        a: list[Point] = [
            (-2.9, -2.9, 19.2),
            (2.9, -2.9, 19.2),
            (2.9, 2.9, 19.2),
            (-2.9, 2.9, 19.2),
        ]
        shape.polygon([a[k], a[(k + 1) % 4], (0.0, 0.0, 30.0)], slate)
    for z, half in ((14.6, 0.8), (7.0, 0.45)):
        shape.box((-half, -2.76, z), (half, 2.76, z + 2.8), DARK)
        shape.box((-2.76, -half, z), (2.76, half, z + 2.8), DARK)


def _bicycle(shape: Shape, x: float, rgb: Rgb) -> None:
    for y in (-0.5, 0.5):
        for k in range(12):
            a, b = 2 * pi * k / 12, 2 * pi * (k + 1) / 12
            shape.rod(
                (x, y + 0.33 * cos(a), 0.33 + 0.33 * sin(a)),
                (x, y + 0.33 * cos(b), 0.33 + 0.33 * sin(b)),
                0.022,
                0.022,
                RUBBER,
                4,
            )
    paint = Surface('paint', rgb)
    tubes = (
        ((-0.5, 0.33), (-0.15, 0.78)),
        ((-0.15, 0.78), (0.38, 0.8)),
        ((0.38, 0.8), (0.5, 0.33)),
        ((-0.5, 0.33), (0.02, 0.3)),
        ((0.02, 0.3), (0.38, 0.8)),
        ((0.02, 0.3), (-0.18, 0.9)),
    )
    for (y0, z0), (y1, z1) in tubes:
        shape.rod((x, y0, z0), (x, y1, z1), 0.02, 0.02, paint, 4)
    shape.rod((x - 0.25, 0.42, 0.98), (x + 0.25, 0.42, 0.98), 0.015, 0.015, DARK, 4)
    shape.box((x - 0.06, -0.3, 0.9), (x + 0.06, -0.06, 0.95), DARK)


def _road_sign(shape: Shape, kind: str) -> None:
    """Add a sign plate that faces the traffic coming along +x."""
    shape.rod((0.0, 0.0, 0.0), (0.0, 0.0, 2.9), 0.035, 0.035, STEEL)
    red, white, blue = (
        Surface('paint', c) for c in ((0.5, 0.015, 0.015), (0.75, 0.75, 0.75), (0.01, 0.08, 0.40))
    )
    if kind == 'sign_limit':
        shape.rod((-0.03, 0.0, 2.55), (-0.05, 0.0, 2.55), 0.34, 0.34, STEEL, 18)
        shape.rod((-0.05, 0.0, 2.55), (-0.06, 0.0, 2.55), 0.34, 0.34, red, 18)
        shape.rod((-0.06, 0.0, 2.55), (-0.07, 0.0, 2.55), 0.25, 0.25, white, 18)
        for y in (-0.09, 0.09):
            shape.box((-0.08, y - 0.05, 2.42), (-0.07, y + 0.05, 2.68), DARK)
    elif kind == 'sign_parking':
        shape.box((-0.06, -0.3, 2.3), (-0.04, 0.3, 2.9), blue)
        shape.box((-0.075, 0.06, 2.4), (-0.06, 0.14, 2.8), white)
        shape.box((-0.075, -0.14, 2.58), (-0.06, 0.14, 2.8), white)
    else:
        shape.polygon([(-0.05, 0.42, 2.95), (-0.05, -0.42, 2.95), (-0.05, 0.0, 2.2)][::-1], red)
        shape.polygon([(-0.06, 0.28, 2.87), (-0.06, -0.28, 2.87), (-0.06, 0.0, 2.38)][::-1], white)


def _fence(shape: Shape, length: float, height: float, thing: Thing) -> None:
    colours: tuple[Rgb, ...] = ((0.68, 0.67, 0.62), (0.28, 0.17, 0.09), (0.12, 0.2, 0.16))
    paint = (
        Surface('boards', thing.rgb)
        if thing.kind == 'tall_fence'
        else Surface('paint', colours[thing.variant])
    )
    wide, gap = (0.14, 0.012) if thing.kind == 'tall_fence' else (0.09, 0.07)
    count = int(length / (wide + gap))
    for k in range(count):
        x = -length / 2 + k * (wide + gap)
        shape.box((x, -0.02, 0.06), (x + wide, 0.02, height - 0.06 * (k % 2)), paint)
    for z in (0.25, height * 0.8):
        shape.box((-length / 2, 0.02, z), (length / 2, 0.06, z + 0.08), paint)
