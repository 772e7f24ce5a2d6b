"""Build houses: recessed windows, doors, shop fronts, roofs and what sits on them.

The frame is that of `world.House`: x along the front, y into the house, z up from the doorstep.
Windows and doors are real holes in the wall, because their shadows are half of how a facade looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from shapes import (
    CONCRETE,
    DARK,
    GLASS,
    LIT_GLASS,
    ROOFING,
    STEEL,
    Point,
    Shape,
    Surface,
)
from world import House, Rgb


@dataclass(frozen=True, slots=True)
class _Opening:
    x0: float
    x1: float
    z0: float
    z1: float
    kind: str  # window, door, shop, gate


def house_shape(house: House, lit_share: float = 0.0, light_seed: int = 0) -> Shape:
    """Return a house with recessed windows, a door or a shop front, a roof and what sits on it."""
    shape, rng = Shape(), Random(house.seed + light_seed)
    wall, half = Surface(house.wall, house.wall_rgb), house.width_m / 2
    for storey in range(house.storeys):
        _front_storey(shape, house, storey, rng, lit_share)
    top, depth = house.wall_height_m, house.depth_m
    for x, first, last in ((-half, depth, 0.0), (half, 0.0, depth)):
        shape.polygon([(x, first, 0.0), (x, last, 0.0), (x, last, top), (x, first, top)], wall)
        _side_windows(shape, house, x, rng, lit_share)
    shape.polygon(
        [(half, depth, 0.0), (-half, depth, 0.0), (-half, depth, top), (half, depth, top)], wall
    )
    _front_trim(shape, house)
    _roof(shape, house, wall)
    return shape


def _front_storey(shape: Shape, house: House, storey: int, rng: Random, lit_share: float) -> None:
    z0, z1 = storey * house.storey_m, (storey + 1) * house.storey_m
    openings = _ground_openings(house) if storey == 0 else _upper_openings(house, storey)
    wall = Surface(house.wall, house.wall_rgb)
    if storey == 0 and house.ground == 'shop':
        wall = Surface('paint', house.sign_rgb)
    edge = -house.width_m / 2
    for o in [*openings, None]:
        right = o.x0 if o else house.width_m / 2
        _facade(shape, edge, right, z0, z1, wall)
        if o is None:
            break
        _facade(shape, o.x0, o.x1, z0, o.z0, wall)
        _facade(shape, o.x0, o.x1, o.z1, z1, wall)
        _fill_opening(
            shape,
            house,
            o,
            wall,
            lit=rng.random()
            < (0.8 if o.kind == 'shop' else 1.0) * lit_share * (2.5 if o.kind == 'shop' else 1.0),
        )
        edge = o.x1


def _ground_openings(house: House) -> list[_Opening]:
    half, w = house.width_m / 2, house.window_m[0]
    if house.ground == 'shop':
        middle = half - 1.5
        return [
            _Opening(-half + 0.3, middle - 0.2, 0.5, 2.5, 'shop'),
            _Opening(middle, half - 0.4, 0.05, 2.4, 'door'),
        ]
    if house.ground == 'warehouse':
        found = [_Opening(-1.7, 1.7, 0.0, 3.1, 'gate')]
        spots = [-7.4, -5.2, -3.2, 3.2, 5.2, 7.4]
        return sorted(
            [*found, *(_Opening(x - 0.7, x + 0.7, 1.1, 3.0, 'window') for x in spots)],
            key=lambda o: o.x0,
        )
    found, pitch = [], house.width_m / house.columns
    door_column = house.seed % house.columns if house.garden_m < 1.5 else house.columns // 2
    for column in range(house.columns):
        x = -half + (column + 0.5) * pitch
        if column == door_column:
            found.append(_Opening(x - 0.52, x + 0.52, 0.12, 2.3, 'door'))
        else:
            found.append(
                _Opening(
                    x - w / 2,
                    x + w / 2,
                    0.9,
                    min(0.9 + house.window_m[1], house.storey_m - 0.25),
                    'window',
                )
            )
    return found


def _upper_openings(house: House, storey: int) -> list[_Opening]:
    base, pitch = storey * house.storey_m, house.width_m / house.columns
    w, h = house.window_m
    low = base + (0.25 if house.balconies and storey < 3 else 0.75)
    high = min(base + 0.75 + h, base + house.storey_m - 0.2)
    xs = [-house.width_m / 2 + (c + 0.5) * pitch for c in range(house.columns)]
    return [_Opening(x - w / 2, x + w / 2, low, high, 'window') for x in xs]


def _facade(
    shape: Shape, x0: float, x1: float, z0: float, z1: float, surface: Surface, y: float = 0.0
) -> None:
    if x1 - x0 > 1e-3 and z1 - z0 > 1e-3:
        shape.polygon([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)], surface)


def _fill_opening(shape: Shape, house: House, o: _Opening, wall: Surface, *, lit: bool) -> None:
    deep = 0.16
    for a, b in (
        ((o.x0, o.z0), (o.x0, o.z1)),
        ((o.x0, o.z1), (o.x1, o.z1)),
        ((o.x1, o.z1), (o.x1, o.z0)),
        ((o.x1, o.z0), (o.x0, o.z0)),
    ):
        shape.polygon(
            [(a[0], 0.0, a[1]), (b[0], 0.0, b[1]), (b[0], deep, b[1]), (a[0], deep, a[1])], wall
        )
    frame = Surface('paint', house.frame_rgb)
    if o.kind in ('door', 'gate'):
        door = Surface('paint', house.door_rgb)
        _facade(shape, o.x0, o.x1, o.z0, o.z1, door, deep)
        if o.kind == 'door':
            _facade(
                shape,
                o.x0 + 0.12,
                o.x1 - 0.12,
                o.z1 - 0.5,
                o.z1 - 0.12,
                LIT_GLASS if lit else GLASS,
                deep - 0.01,
            )
            shape.box((o.x0 - 0.12, -0.45, 0.0), (o.x1 + 0.12, 0.1, 0.13), CONCRETE)
        else:
            for k in range(1, 6):
                x = o.x0 + (o.x1 - o.x0) * k / 6
                shape.box((x - 0.02, deep - 0.04, o.z0), (x + 0.02, deep, o.z1), DARK)
        return
    _facade(shape, o.x0, o.x1, o.z0, o.z1, LIT_GLASS if lit else GLASS, deep)
    t = 0.055
    columns, rows = (3, 1) if o.kind == 'shop' else house.panes
    for k in range(columns + 1):
        x = o.x0 + (o.x1 - o.x0) * k / columns
        shape.box(
            (max(o.x0, x - t / 2 - (t / 2 if k == columns else 0)), deep - 0.05, o.z0),
            (min(o.x1, x + t / 2 + (t / 2 if k == 0 else 0)), deep, o.z1),
            frame,
        )
    for k in range(rows + 1):
        z = o.z0 + (o.z1 - o.z0) * k / rows
        shape.box(
            (o.x0, deep - 0.05, max(o.z0, z - t / 2)), (o.x1, deep, min(o.z1, z + t / 2)), frame
        )
    if o.kind == 'window':
        trim = Surface('plaster', house.trim_rgb)
        shape.box((o.x0 - 0.1, -0.09, o.z0 - 0.1), (o.x1 + 0.1, 0.02, o.z0), trim)
        shape.box((o.x0 - 0.1, -0.04, o.z1), (o.x1 + 0.1, 0.02, o.z1 + 0.17), trim)
        if house.shutters_rgb:
            for x0, x1 in ((o.x0 - 0.5, o.x0 - 0.05), (o.x1 + 0.05, o.x1 + 0.5)):
                shape.box(
                    (x0, -0.05, o.z0), (x1, 0.0, o.z1), Surface('boards', house.shutters_rgb)
                )
        elif not lit and (int(o.x0 * 7 + o.z0 * 13 + house.seed) % 3) == 0:
            z = o.z0 + 0.45 * (o.z1 - o.z0)  # a blind half down
            _facade(
                shape, o.x0 + t, o.x1 - t, z, o.z1, Surface('matt', (0.6, 0.57, 0.5)), deep - 0.01
            )


def _side_windows(shape: Shape, house: House, x: float, rng: Random, lit_share: float) -> None:
    out = 0.03 if x > 0 else -0.03
    frame = Surface('paint', house.frame_rgb)
    for storey in range(house.storeys):
        for y in (house.depth_m * 0.3, house.depth_m * 0.7):
            z = storey * house.storey_m + 0.9
            glass = LIT_GLASS if rng.random() < lit_share else GLASS
            shape.box((min(x, x + out), y - 0.55, z), (max(x, x + out), y + 0.55, z + 1.4), frame)
            for y0, y1 in ((y - 0.47, y - 0.04), (y + 0.04, y + 0.47)):
                shape.box(
                    (min(x, x + out * 1.3), y0, z + 0.08),
                    (max(x, x + out * 1.3), y1, z + 1.32),
                    glass,
                )


def _front_trim(shape: Shape, house: House) -> None:
    half, trim = house.width_m / 2, Surface('plaster', house.trim_rgb)
    if house.ground != 'shop':
        shape.box((-half, -0.05, 0.0), (half, 0.0, 0.11), CONCRETE)
    if house.banded:
        for storey in range(1, house.storeys):
            z = storey * house.storey_m
            shape.box((-half, -0.06, z - 0.1), (half, 0.0, z + 0.08), trim)
    if house.ground == 'shop':
        z = 2.6
        shape.box(
            (-half + 0.1, -0.14, z), (half - 0.1, 0.0, z + 0.55), Surface('paint', house.sign_rgb)
        )
        if house.awning_rgb:
            _awning(shape, -half + 0.25, half - 1.6, house.awning_rgb)
    if house.ground == 'warehouse':
        z = house.wall_height_m - 0.75
        shape.box(
            (-6.2, -0.1, z - 0.12), (6.2, 0.0, z + 0.72), Surface('paint', (0.72, 0.68, 0.56))
        )
    if house.balconies:
        pitch = house.width_m / house.columns
        for storey in range(1, min(3, house.storeys)):
            for column in range(house.columns):
                if (column + storey + house.columns) % 2 == 0:
                    _balcony(
                        shape,
                        -half + (column + 0.5) * pitch,
                        storey * house.storey_m + 0.12,
                        pitch * 0.42,
                    )
    shape.rod(
        (half - 0.12, -0.08, 0.0), (half - 0.12, -0.08, house.wall_height_m), 0.05, 0.05, STEEL, 5
    )


def _awning(shape: Shape, x0: float, x1: float, rgb: Rgb) -> None:
    stripes = max(3, int((x1 - x0) / 0.45))
    for k in range(stripes):
        a, b = x0 + (x1 - x0) * k / stripes, x0 + (x1 - x0) * (k + 1) / stripes
        surface = Surface('matt', rgb if k % 2 == 0 else (0.75, 0.73, 0.68))
        shape.polygon(
            [(a, -1.15, 2.15), (b, -1.15, 2.15), (b, -0.02, 2.62), (a, -0.02, 2.62)], surface
        )
        shape.polygon(
            [(a, -1.15, 1.95), (b, -1.15, 1.95), (b, -1.15, 2.15), (a, -1.15, 2.15)], surface
        )


def _balcony(shape: Shape, x: float, z: float, half: float) -> None:
    shape.box((x - half, -0.95, z - 0.12), (x + half, 0.0, z), CONCRETE)
    shape.box((x - half, -0.95, z + 0.92), (x + half, -0.9, z + 0.98), DARK)
    count = int(2 * half / 0.16)
    for k in range(count + 1):
        bar = x - half + 2 * half * k / count
        shape.box((bar - 0.012, -0.94, z), (bar + 0.012, -0.915, z + 0.95), DARK)


def _roof(shape: Shape, house: House, wall: Surface) -> None:
    half, depth, top, rise = (
        house.width_m / 2,
        house.depth_m,
        house.wall_height_m,
        house.roof_rise_m,
    )
    tiles, trim = Surface('tiles', house.roof_rgb), Surface('plaster', house.trim_rgb)
    over, drop = 0.35, 0.35 * rise / (depth / 2)
    if house.roof == 'flat':
        shape.polygon(
            [(-half, 0.0, top), (half, 0.0, top), (half, depth, top), (-half, depth, top)], ROOFING
        )
        for low, high in (
            ((-half, 0.0), (half, 0.3)),
            ((-half, depth - 0.3), (half, depth)),
            ((-half, 0.3), (-half + 0.3, depth - 0.3)),
            ((half - 0.3, 0.3), (half, depth - 0.3)),
        ):
            shape.box((*low, top), (*high, top + rise), wall)
        shape.box((-half, -0.22, top - 0.1), (half, 0.0, top + 0.22), trim)
        shape.box((-half, -0.1, top + rise - 0.02), (half, 0.4, top + rise + 0.1), trim)
        return
    if house.roof == 'gable':
        front: list[Point] = [
            (-half, -over, top - drop),
            (half, -over, top - drop),
            (half, depth / 2, top + rise),
            (-half, depth / 2, top + rise),
        ]
        back: list[Point] = [
            (half, depth + over, top - drop),
            (-half, depth + over, top - drop),
            (-half, depth / 2, top + rise),
            (half, depth / 2, top + rise),
        ]
        _slab(shape, front, tiles, trim)
        _slab(shape, back, tiles, trim)
        for x, a, b in ((-half, depth, 0.0), (half, 0.0, depth)):
            shape.polygon([(x, a, top), (x, b, top), (x, depth / 2, top + rise)], wall)
    elif house.roof == 'front_gable':
        slope = 0.3 * rise / half
        for sign in (-1, 1):
            eave, ridge = sign * (half + 0.02), 0.0
            points: list[Point] = [
                (eave, depth, top),
                (eave, -over, top),
                (ridge, -over, top + rise),
                (ridge, depth, top + rise),
            ]
            _slab(
                shape,
                points if sign < 0 else [points[1], points[0], points[3], points[2]],
                tiles,
                trim,
            )
        shape.polygon([(-half, 0.0, top), (half, 0.0, top), (0.0, 0.0, top + rise)], wall)
        shape.polygon([(half, depth, top), (-half, depth, top), (0.0, depth, top + rise)], wall)
        if rise > 2.3:
            z = top + rise * 0.3 - slope
            _facade(shape, -0.45, 0.45, z, z + 0.95, Surface('paint', house.frame_rgb), -0.03)
            _facade(shape, -0.37, 0.37, z + 0.08, z + 0.87, GLASS, -0.04)
    else:
        ridge_half = max(0.4, half - depth / 2)
        e: list[Point] = [
            (-half - over, -over, top),
            (half + over, -over, top),
            (half + over, depth + over, top),
            (-half - over, depth + over, top),
        ]
        left: Point = (-ridge_half, depth / 2, top + rise)
        right: Point = (ridge_half, depth / 2, top + rise)
        for points in (
            [e[0], e[1], right, left],
            [e[1], e[2], right],
            [e[2], e[3], left, right],
            [e[3], e[0], left],
        ):
            shape.polygon(points, tiles)
        shape.box(
            (-half - over, -over, top - 0.16), (half + over, depth + over, top - 0.002), trim
        )
    _roof_extras(shape, house)


def _slab(shape: Shape, points: list[Point], tiles: Surface, trim: Surface) -> None:
    """Add a sloping roof face with a visible edge."""
    lower: list[Point] = [(x, y, z - 0.16) for x, y, z in points]
    shape.polygon(points, tiles)
    shape.polygon(lower[::-1], trim)
    for i in range(4):
        j = (i + 1) % 4
        shape.polygon([lower[i], lower[j], points[j], points[i]], trim)


def _roof_extras(shape: Shape, house: House) -> None:
    half, depth, top, rise = (
        house.width_m / 2,
        house.depth_m,
        house.wall_height_m,
        house.roof_rise_m,
    )
    brick = Surface('brick', (0.30, 0.11, 0.07))
    for k in range(house.chimneys):
        x = (half - 0.55) * (1 if k == 0 else -1) * (1 if house.roof == 'gable' else 0.35)
        z = top + rise + 0.75
        shape.box((x - 0.42, depth / 2 - 0.32, top), (x + 0.42, depth / 2 + 0.32, z), brick)
        shape.box((x - 0.48, depth / 2 - 0.38, z), (x + 0.48, depth / 2 + 0.38, z + 0.1), CONCRETE)
        for dx in (-0.2, 0.2):
            shape.rod(
                (x + dx, depth / 2, z),
                (x + dx, depth / 2, z + 0.42),
                0.12,
                0.09,
                Surface('matt', (0.42, 0.17, 0.08)),
                6,
            )
    for k in range(house.dormers):
        x = 0.0 if house.dormers == 1 else (k - 0.5) * half
        y, z = depth * 0.16, top + rise * 0.25
        paint = Surface('plaster', house.trim_rgb)
        shape.box((x - 0.65, y, z - 0.4), (x + 0.65, depth * 0.45, z + 1.1), paint)
        _facade(shape, x - 0.48, x + 0.48, z + 0.05, z + 0.95, GLASS, y - 0.02)
        shape.box((x - 0.78, y - 0.15, z + 1.1), (x + 0.78, depth * 0.48, z + 1.2), ROOFING)
