"""Build houses, cars, trees and street furniture as polygons with named surfaces.

Nothing here knows the renderer: a shape is a list of polygons, each with a `Surface` and texture coordinates in metres, so a
brick is the same size on every wall. Local frames are those of `world.House` and `world.Thing` (x along the front or the way it
faces, z up, ground at z = 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, hypot, pi, sin, sqrt
from random import Random

from world import House, Rgb, Street, Thing

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Surface:
    """What a polygon is made of; the renderer turns each kind into a material."""

    kind: str
    rgb: Rgb = (0.5, 0.5, 0.5)


GLASS, LIT_GLASS = Surface('glass'), Surface('lit_glass')
STEEL, DARK = Surface('metal', (0.18, 0.19, 0.20)), Surface('paint', (0.02, 0.02, 0.022))
RUBBER, LAMP, CONCRETE = Surface('matt', (0.015, 0.015, 0.016)), Surface('lamp'), Surface('concrete', (0.42, 0.41, 0.39))
WOOD, ROOFING = Surface('boards', (0.28, 0.16, 0.08)), Surface('matt', (0.12, 0.12, 0.12))


@dataclass(slots=True)
class Shape:
    """Polygons, their surfaces, and texture coordinates in metres."""

    vertices: list[Point] = field(default_factory=list)
    polygons: list[list[int]] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    texture: list[list[tuple[float, float]]] = field(default_factory=list)

    def polygon(self, points: Sequence[Point], surface: Surface) -> None:
        """Add a flat polygon, counter-clockwise seen from outside."""
        first = len(self.vertices)
        self.vertices.extend(points)
        self.polygons.append(list(range(first, first + len(points))))
        self.surfaces.append(surface)
        self.texture.append(_flat_coordinates(points))

    def box(self, low: Point, high: Point, surface: Surface) -> None:
        """Add an axis-aligned box."""
        (a, b, c), (d, e, f) = low, high
        p: list[Point] = [(a, b, c), (d, b, c), (d, e, c), (a, e, c), (a, b, f), (d, b, f), (d, e, f), (a, e, f)]
        for corners in ((0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (4, 5, 6, 7), (3, 2, 1, 0)):
            self.polygon([p[i] for i in corners], surface)

    def prism(self, outline: Sequence[tuple[float, float]], y0: float, y1: float, surface: Surface) -> None:
        """Extrude an outline in x and z (counter-clockwise seen from -y) from y0 to y1."""
        front: list[Point] = [(x, y0, z) for x, z in outline]
        back: list[Point] = [(x, y1, z) for x, z in outline]
        self.polygon(front, surface)
        self.polygon(back[::-1], surface)
        for i in range(len(outline)):
            j = (i + 1) % len(outline)
            self.polygon([front[j], front[i], back[i], back[j]], surface)

    def rod(self, start: Point, end: Point, r0: float, r1: float, surface: Surface, sides: int = 8) -> None:
        """Add a tapered round bar with closed ends."""
        axis = _unit(_minus(end, start))
        side = _unit(_cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0)))
        other = _cross(axis, side)
        rings: list[list[Point]] = []
        for centre, radius in ((start, r0), (end, r1)):
            ring: list[Point] = []
            for k in range(sides):
                c, s = radius * cos(2 * pi * k / sides), radius * sin(2 * pi * k / sides)
                ring.append(
                    (
                        centre[0] + c * side[0] + s * other[0],
                        centre[1] + c * side[1] + s * other[1],
                        centre[2] + c * side[2] + s * other[2],
                    )
                )
            rings.append(ring)
        for k in range(sides):
            n = (k + 1) % sides
            self.polygon([rings[0][k], rings[0][n], rings[1][n], rings[1][k]], surface)
        self.polygon(rings[0][::-1], surface)
        self.polygon(rings[1], surface)


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
    shape.polygon([(half, depth, 0.0), (-half, depth, 0.0), (-half, depth, top), (half, depth, top)], wall)
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
        _fill_opening(shape, house, o, wall, lit=rng.random() < (0.8 if o.kind == 'shop' else 1.0) * lit_share * (2.5 if o.kind == 'shop' else 1.0))
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
        return sorted([*found, *(_Opening(x - 0.7, x + 0.7, 1.1, 3.0, 'window') for x in spots)], key=lambda o: o.x0)
    found, pitch = [], house.width_m / house.columns
    door_column = house.seed % house.columns if house.garden_m < 1.5 else house.columns // 2
    for column in range(house.columns):
        x = -half + (column + 0.5) * pitch
        if column == door_column:
            found.append(_Opening(x - 0.52, x + 0.52, 0.12, 2.3, 'door'))
        else:
            found.append(_Opening(x - w / 2, x + w / 2, 0.9, min(0.9 + house.window_m[1], house.storey_m - 0.25), 'window'))
    return found


def _upper_openings(house: House, storey: int) -> list[_Opening]:
    base, pitch = storey * house.storey_m, house.width_m / house.columns
    w, h = house.window_m
    low = base + (0.25 if house.balconies and storey < 3 else 0.75)
    high = min(base + 0.75 + h, base + house.storey_m - 0.2)
    xs = [-house.width_m / 2 + (c + 0.5) * pitch for c in range(house.columns)]
    return [_Opening(x - w / 2, x + w / 2, low, high, 'window') for x in xs]


def _facade(shape: Shape, x0: float, x1: float, z0: float, z1: float, surface: Surface, y: float = 0.0) -> None:
    if x1 - x0 > 1e-3 and z1 - z0 > 1e-3:
        shape.polygon([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)], surface)


def _fill_opening(shape: Shape, house: House, o: _Opening, wall: Surface, *, lit: bool) -> None:
    deep = 0.16
    for a, b in (((o.x0, o.z0), (o.x0, o.z1)), ((o.x0, o.z1), (o.x1, o.z1)), ((o.x1, o.z1), (o.x1, o.z0)), ((o.x1, o.z0), (o.x0, o.z0))):
        shape.polygon([(a[0], 0.0, a[1]), (b[0], 0.0, b[1]), (b[0], deep, b[1]), (a[0], deep, a[1])], wall)
    frame = Surface('paint', house.frame_rgb)
    if o.kind in ('door', 'gate'):
        door = Surface('paint', house.door_rgb)
        _facade(shape, o.x0, o.x1, o.z0, o.z1, door, deep)
        if o.kind == 'door':
            _facade(shape, o.x0 + 0.12, o.x1 - 0.12, o.z1 - 0.5, o.z1 - 0.12, LIT_GLASS if lit else GLASS, deep - 0.01)
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
        shape.box((max(o.x0, x - t / 2 - (t / 2 if k == columns else 0)), deep - 0.05, o.z0), (min(o.x1, x + t / 2 + (t / 2 if k == 0 else 0)), deep, o.z1), frame)
    for k in range(rows + 1):
        z = o.z0 + (o.z1 - o.z0) * k / rows
        shape.box((o.x0, deep - 0.05, max(o.z0, z - t / 2)), (o.x1, deep, min(o.z1, z + t / 2)), frame)
    if o.kind == 'window':
        trim = Surface('plaster', house.trim_rgb)
        shape.box((o.x0 - 0.1, -0.09, o.z0 - 0.1), (o.x1 + 0.1, 0.02, o.z0), trim)
        shape.box((o.x0 - 0.1, -0.04, o.z1), (o.x1 + 0.1, 0.02, o.z1 + 0.17), trim)
        if house.shutters_rgb:
            for x0, x1 in ((o.x0 - 0.5, o.x0 - 0.05), (o.x1 + 0.05, o.x1 + 0.5)):
                shape.box((x0, -0.05, o.z0), (x1, 0.0, o.z1), Surface('boards', house.shutters_rgb))
        elif not lit and (int(o.x0 * 7 + o.z0 * 13 + house.seed) % 3) == 0:
            z = o.z0 + 0.45 * (o.z1 - o.z0)  # a blind half down
            _facade(shape, o.x0 + t, o.x1 - t, z, o.z1, Surface('matt', (0.6, 0.57, 0.5)), deep - 0.01)


def _side_windows(shape: Shape, house: House, x: float, rng: Random, lit_share: float) -> None:
    out = 0.03 if x > 0 else -0.03
    frame = Surface('paint', house.frame_rgb)
    for storey in range(house.storeys):
        for y in (house.depth_m * 0.3, house.depth_m * 0.7):
            z = storey * house.storey_m + 0.9
            glass = LIT_GLASS if rng.random() < lit_share else GLASS
            shape.box((min(x, x + out), y - 0.55, z), (max(x, x + out), y + 0.55, z + 1.4), frame)
            for y0, y1 in ((y - 0.47, y - 0.04), (y + 0.04, y + 0.47)):
                shape.box((min(x, x + out * 1.3), y0, z + 0.08), (max(x, x + out * 1.3), y1, z + 1.32), glass)


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
        shape.box((-half + 0.1, -0.14, z), (half - 0.1, 0.0, z + 0.55), Surface('paint', house.sign_rgb))
        if house.awning_rgb:
            _awning(shape, -half + 0.25, half - 1.6, house.awning_rgb)
    if house.ground == 'warehouse':
        z = house.wall_height_m - 0.75
        shape.box((-6.2, -0.1, z - 0.12), (6.2, 0.0, z + 0.72), Surface('paint', (0.72, 0.68, 0.56)))
    if house.balconies:
        pitch = house.width_m / house.columns
        for storey in range(1, min(3, house.storeys)):
            for column in range(house.columns):
                if (column + storey + house.columns) % 2 == 0:
                    _balcony(shape, -half + (column + 0.5) * pitch, storey * house.storey_m + 0.12, pitch * 0.42)
    shape.rod((half - 0.12, -0.08, 0.0), (half - 0.12, -0.08, house.wall_height_m), 0.05, 0.05, STEEL, 5)


def _awning(shape: Shape, x0: float, x1: float, rgb: Rgb) -> None:
    stripes = max(3, int((x1 - x0) / 0.45))
    for k in range(stripes):
        a, b = x0 + (x1 - x0) * k / stripes, x0 + (x1 - x0) * (k + 1) / stripes
        surface = Surface('matt', rgb if k % 2 == 0 else (0.75, 0.73, 0.68))
        shape.polygon([(a, -1.15, 2.15), (b, -1.15, 2.15), (b, -0.02, 2.62), (a, -0.02, 2.62)], surface)
        shape.polygon([(a, -1.15, 1.95), (b, -1.15, 1.95), (b, -1.15, 2.15), (a, -1.15, 2.15)], surface)


def _balcony(shape: Shape, x: float, z: float, half: float) -> None:
    shape.box((x - half, -0.95, z - 0.12), (x + half, 0.0, z), CONCRETE)
    shape.box((x - half, -0.95, z + 0.92), (x + half, -0.9, z + 0.98), DARK)
    count = int(2 * half / 0.16)
    for k in range(count + 1):
        bar = x - half + 2 * half * k / count
        shape.box((bar - 0.012, -0.94, z), (bar + 0.012, -0.915, z + 0.95), DARK)


def _roof(shape: Shape, house: House, wall: Surface) -> None:
    half, depth, top, rise = house.width_m / 2, house.depth_m, house.wall_height_m, house.roof_rise_m
    tiles, trim = Surface('tiles', house.roof_rgb), Surface('plaster', house.trim_rgb)
    over, drop = 0.35, 0.35 * rise / (depth / 2)
    if house.roof == 'flat':
        shape.polygon([(-half, 0.0, top), (half, 0.0, top), (half, depth, top), (-half, depth, top)], ROOFING)
        for low, high in (((-half, 0.0), (half, 0.3)), ((-half, depth - 0.3), (half, depth)), ((-half, 0.3), (-half + 0.3, depth - 0.3)), ((half - 0.3, 0.3), (half, depth - 0.3))):
            shape.box((*low, top), (*high, top + rise), wall)
        shape.box((-half, -0.22, top - 0.1), (half, 0.0, top + 0.22), trim)
        shape.box((-half, -0.1, top + rise - 0.02), (half, 0.4, top + rise + 0.1), trim)
        return
    if house.roof == 'gable':
        front: list[Point] = [(-half, -over, top - drop), (half, -over, top - drop), (half, depth / 2, top + rise), (-half, depth / 2, top + rise)]
        back: list[Point] = [(half, depth + over, top - drop), (-half, depth + over, top - drop), (-half, depth / 2, top + rise), (half, depth / 2, top + rise)]
        _slab(shape, front, tiles, trim)
        _slab(shape, back, tiles, trim)
        for x, a, b in ((-half, depth, 0.0), (half, 0.0, depth)):
            shape.polygon([(x, a, top), (x, b, top), (x, depth / 2, top + rise)], wall)
    elif house.roof == 'front_gable':
        slope = 0.3 * rise / half
        for sign in (-1, 1):
            eave, ridge = sign * (half + 0.02), 0.0
            points: list[Point] = [(eave, depth, top), (eave, -over, top), (ridge, -over, top + rise), (ridge, depth, top + rise)]
            _slab(shape, points if sign < 0 else [points[1], points[0], points[3], points[2]], tiles, trim)
        shape.polygon([(-half, 0.0, top), (half, 0.0, top), (0.0, 0.0, top + rise)], wall)
        shape.polygon([(half, depth, top), (-half, depth, top), (0.0, depth, top + rise)], wall)
        if rise > 2.3:
            z = top + rise * 0.3 - slope
            _facade(shape, -0.45, 0.45, z, z + 0.95, Surface('paint', house.frame_rgb), -0.03)
            _facade(shape, -0.37, 0.37, z + 0.08, z + 0.87, GLASS, -0.04)
    else:
        ridge_half = max(0.4, half - depth / 2)
        e: list[Point] = [(-half - over, -over, top), (half + over, -over, top), (half + over, depth + over, top), (-half - over, depth + over, top)]
        left: Point = (-ridge_half, depth / 2, top + rise)
        right: Point = (ridge_half, depth / 2, top + rise)
        for points in ([e[0], e[1], right, left], [e[1], e[2], right], [e[2], e[3], left, right], [e[3], e[0], left]):
            shape.polygon(points, tiles)
        shape.box((-half - over, -over, top - 0.16), (half + over, depth + over, top - 0.002), trim)
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
    half, depth, top, rise = house.width_m / 2, house.depth_m, house.wall_height_m, house.roof_rise_m
    brick = Surface('brick', (0.30, 0.11, 0.07))
    for k in range(house.chimneys):
        x = (half - 0.55) * (1 if k == 0 else -1) * (1 if house.roof == 'gable' else 0.35)
        z = top + rise + 0.75
        shape.box((x - 0.42, depth / 2 - 0.32, top), (x + 0.42, depth / 2 + 0.32, z), brick)
        shape.box((x - 0.48, depth / 2 - 0.38, z), (x + 0.48, depth / 2 + 0.38, z + 0.1), CONCRETE)
        for dx in (-0.2, 0.2):
            shape.rod((x + dx, depth / 2, z), (x + dx, depth / 2, z + 0.42), 0.12, 0.09, Surface('matt', (0.42, 0.17, 0.08)), 6)
    for k in range(house.dormers):
        x = 0.0 if house.dormers == 1 else (k - 0.5) * half
        y, z = depth * 0.16, top + rise * 0.25
        paint = Surface('plaster', house.trim_rgb)
        shape.box((x - 0.65, y, z - 0.4), (x + 0.65, depth * 0.45, z + 1.1), paint)
        _facade(shape, x - 0.48, x + 0.48, z + 0.05, z + 0.95, GLASS, y - 0.02)
        shape.box((x - 0.78, y - 0.15, z + 1.1), (x + 0.78, depth * 0.48, z + 1.2), ROOFING)


def car_shape(rgb: Rgb, *, van: bool) -> Shape:
    """Return a parked car or van, facing +x, wheels on the ground."""
    shape, paint = Shape(), Surface('car_paint', rgb)
    if van:
        body = [(-2.45, 0.36), (2.4, 0.36), (2.45, 0.62), (2.35, 0.95), (1.75, 1.12), (-2.45, 1.12)]
        cabin = ((-2.45, -2.42, 1.15, 1.72), 1.12, 2.05, 0.92, 0.84)
    else:
        body = [(-2.08, 0.34), (2.05, 0.34), (2.12, 0.56), (2.02, 0.76), (1.02, 0.92), (-1.85, 0.95), (-2.1, 0.84)]
        cabin = ((-1.85, -1.25, 0.1, 0.98), 0.92, 1.44, 0.83, 0.62)
    half = 0.92 if van else 0.87
    shape.prism(body, -half, half, paint)
    (rear, rear_top, front_top, front), low, high, wide, narrow = cabin
    b: list[Point] = [(rear, -wide, low), (front, -wide, low), (front, wide, low), (rear, wide, low)]
    t: list[Point] = [(rear_top, -narrow, high), (front_top, -narrow, high), (front_top, narrow, high), (rear_top, narrow, high)]
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 0)):
        glazed = not van or (i, j) == (1, 2)
        shape.polygon([b[i], b[j], t[j], t[i]], Surface('car_glass') if glazed else paint)
    shape.polygon(t, paint)
    shape.box((rear_top - 0.04, -narrow - 0.02, high - 0.03), (front_top + 0.04, narrow + 0.02, high + 0.03), paint)
    for i in range(4):
        shape.rod(b[i], t[i], 0.05, 0.045, paint, 4)
    if not van:
        for y, sign in ((-wide, 1), (wide, -1)):
            shape.rod((-0.45, y, low), (-0.45, sign * -narrow, high), 0.05, 0.05, DARK, 4)
    else:
        for y in (-1, 1):
            shape.polygon([(0.5, y * 0.925, 1.2), (1.45, y * 0.925, 1.2), (1.22, y * 0.875, 1.8), (0.5, y * 0.875, 1.8)][::y], Surface('car_glass'))
    nose, tail = (2.4, -2.46) if van else (2.06, -2.1)
    for y in (-0.62, 0.62):
        shape.box((nose - 0.05, y - 0.19, 0.62), (nose + 0.03, y + 0.19, 0.76), Surface('paint', (0.75, 0.75, 0.72)))
        shape.box((tail - 0.02, y - 0.2, 0.66), (tail + 0.05, y + 0.2, 0.84), Surface('paint', (0.35, 0.01, 0.01)))
        shape.box((tail - 0.02, -0.27, 0.5), (tail + 0.05, 0.27, 0.62), Surface('paint', (0.7, 0.7, 0.66)))
    shape.box((nose - 0.04, -0.8, 0.34), (nose + 0.07, 0.8, 0.5), DARK)
    shape.box((tail - 0.06, -0.8, 0.34), (tail + 0.04, 0.8, 0.48), DARK)
    for x in ((1.5, -1.5) if van else (1.3, -1.28)):
        for y0, y1 in ((-half - 0.02, -half + 0.2), (half - 0.2, half + 0.02)):
            shape.rod((x, y0, 0.33), (x, y1, 0.33), 0.33, 0.33, RUBBER, 14)
            hub = y0 - 0.005 if y0 < 0 else y1 + 0.005
            shape.rod((x, hub, 0.33), (x, hub + 0.01, 0.33), 0.2, 0.2, Surface('metal', (0.45, 0.45, 0.46)), 10)
    return shape


def tree_shape(variant: int, *, leaf_share: float, leaf_m: float = 0.19) -> Shape:
    """Return a tree about 6.5 m tall: a trunk with forks, and single leaves spread through a few clouds."""
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
        away = _unit((rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1)))
        r = radius * (0.55 + 0.5 * sqrt(rng.random()))
        at: Point = (centre[0] + r * away[0], centre[1] + r * away[1], centre[2] + 0.85 * r * away[2])
        _leaf(shape, at, leaf_m * rng.uniform(0.6, 1.2), rng, leaf)
    return shape


def hedge_shape(length: float, height: float, *, leaf_share: float = 1.0) -> Shape:
    """Return a clipped hedge along x."""
    shape, rng = Shape(), Random(int(length * 100))
    core = Surface('matt', (0.02, 0.035, 0.012))
    shape.box((-length / 2 + 0.1, -0.2, 0.0), (length / 2 - 0.1, 0.2, height - 0.12), core)
    for _ in range(int(420 * length)):
        x, y, z = rng.uniform(-length / 2, length / 2), rng.uniform(-0.32, 0.32), rng.uniform(0.03, height)
        if max(abs(y) / 0.32, z / height) > 0.72:
            _leaf(shape, (x, y, z), 0.13, rng, Surface('leaf'))
    return shape


def bush_shape(*, leaf_share: float) -> Shape:
    """Return a round bush of about 1 m radius."""
    shape, rng = Shape(), Random(5)
    for _ in range(900):
        away = _unit((rng.gauss(0, 1), rng.gauss(0, 1), abs(rng.gauss(0, 1))))
        r = rng.uniform(0.75, 1.0)
        _leaf(shape, (r * away[0], r * away[1], 0.1 + 1.1 * r * away[2]), 0.2, rng, Surface('leaf'))
    return shape


def _leaf(shape: Shape, at: Point, size: float, rng: Random, surface: Surface) -> None:
    a = _unit((rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 0.6)))
    b = _unit(_cross(a, _unit((rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1)))))
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
            shape.box((-0.6, -0.3, 0.0), (0.6, 0.3, 0.5), (CONCRETE, WOOD, Surface('paint', (0.05, 0.09, 0.12)))[thing.variant])
            rng = Random(thing.variant)
            petals = ((0.6, 0.05, 0.12), (0.65, 0.45, 0.05), (0.45, 0.12, 0.5))[thing.variant]
            for k in range(170):
                surface = Surface('matt', petals) if k % 3 == 0 else Surface('leaf')
                _leaf(shape, (rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.3), rng.uniform(0.48, 0.85)), 0.14, rng, surface)
        case 'cabinet':
            shape.box((-0.55, -0.2, 0.0), (0.55, 0.2, 1.15), Surface('paint', (0.22, 0.26, 0.22)))
        case 'bollards':
            for x in (-2.4, -0.8, 0.8, 2.4):
                shape.rod((x, 0.0, 0.0), (x, 0.0, 0.85), 0.08, 0.07, DARK)
                shape.rod((x, 0.0, 0.7), (x, 0.0, 0.78), 0.083, 0.083, Surface('paint', (0.75, 0.75, 0.7)))
        case 'cycles':
            for x in (-0.7, 0.0, 0.7):
                _bicycle(shape, x, ((0.4, 0.02, 0.02), (0.02, 0.1, 0.3), (0.05, 0.25, 0.1))[int(x * 2 + thing.variant) % 3])
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
            shape.box((-thing.size / 2, -0.18, high), (thing.size / 2, 0.18, high + 0.09), CONCRETE)
        case 'church':
            _church(shape, thing.rgb)
        case _:
            raise ValueError(f'{thing.kind}: no such thing; expected one of the kinds named in world.Thing')
    return shape


def _church(shape: Shape, rgb: Rgb) -> None:
    stone, slate = Surface('stone', rgb), Surface('tiles', (0.12, 0.15, 0.16))
    shape.box((-2.7, -2.7, 0.0), (2.7, 2.7, 19.0), stone)
    shape.box((-2.95, -2.95, 13.2), (2.95, 2.95, 13.6), CONCRETE)
    shape.box((-2.95, -2.95, 18.8), (2.95, 2.95, 19.2), CONCRETE)
    for k in range(4):
        a: list[Point] = [(-2.9, -2.9, 19.2), (2.9, -2.9, 19.2), (2.9, 2.9, 19.2), (-2.9, 2.9, 19.2)]
        shape.polygon([a[k], a[(k + 1) % 4], (0.0, 0.0, 30.0)], slate)
    for z, half in ((14.6, 0.8), (7.0, 0.45)):
        shape.box((-half, -2.76, z), (half, 2.76, z + 2.8), DARK)
        shape.box((-2.76, -half, z), (2.76, half, z + 2.8), DARK)


def hills_shape(middle: tuple[float, float], radius_m: float = 330.0) -> Shape:
    """Return a ring of low hills round the town, so that the plain has an end."""
    shape, steps = Shape(), 96
    tops = [13.0 + 8.0 * sin(3 * a) + 5.0 * sin(7 * a + 1) + 2.5 * sin(17 * a) for a in (2 * pi * k / steps for k in range(steps))]
    for k in range(steps):
        a, b = 2 * pi * k / steps, 2 * pi * (k + 1) / steps
        foot, ridge = radius_m * 0.6, radius_m
        points: list[Point] = [
            (middle[0] + r * cos(t), middle[1] + r * sin(t), z)
            for r, t, z in ((foot, b, 0.0), (foot, a, 0.0), (ridge, a, tops[k]), (ridge, b, tops[(k + 1) % steps]))
        ]
        shape.polygon(points, Surface('hill'))
    return shape


def _bicycle(shape: Shape, x: float, rgb: Rgb) -> None:
    for y in (-0.5, 0.5):
        for k in range(12):
            a, b = 2 * pi * k / 12, 2 * pi * (k + 1) / 12
            shape.rod((x, y + 0.33 * cos(a), 0.33 + 0.33 * sin(a)), (x, y + 0.33 * cos(b), 0.33 + 0.33 * sin(b)), 0.022, 0.022, RUBBER, 4)
    paint = Surface('paint', rgb)
    for a, b in (((-0.5, 0.33), (-0.15, 0.78)), ((-0.15, 0.78), (0.38, 0.8)), ((0.38, 0.8), (0.5, 0.33)), ((-0.5, 0.33), (0.02, 0.3)), ((0.02, 0.3), (0.38, 0.8)), ((0.02, 0.3), (-0.18, 0.9))):
        shape.rod((x, *a), (x, *b), 0.02, 0.02, paint, 4)
    shape.rod((x - 0.25, 0.42, 0.98), (x + 0.25, 0.42, 0.98), 0.015, 0.015, DARK, 4)
    shape.box((x - 0.06, -0.3, 0.9), (x + 0.06, -0.06, 0.95), DARK)


def _road_sign(shape: Shape, kind: str) -> None:
    """Add a sign plate that faces the traffic coming along +x."""
    shape.rod((0.0, 0.0, 0.0), (0.0, 0.0, 2.9), 0.035, 0.035, STEEL)
    red, white, blue = (Surface('paint', c) for c in ((0.5, 0.015, 0.015), (0.75, 0.75, 0.75), (0.01, 0.08, 0.40)))
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
    paint = Surface('boards', thing.rgb) if thing.kind == 'tall_fence' else Surface('paint', colours[thing.variant])
    wide, gap = (0.14, 0.012) if thing.kind == 'tall_fence' else (0.09, 0.07)
    count = int(length / (wide + gap))
    for k in range(count):
        x = -length / 2 + k * (wide + gap)
        shape.box((x, -0.02, 0.06), (x + wide, 0.02, height - 0.06 * (k % 2)), paint)
    for z in (0.25, height * 0.8):
        shape.box((-length / 2, 0.02, z), (length / 2, 0.06, z + 0.08), paint)


def ground_shape(streets: Sequence[Street], margin_m: float = 160.0) -> Shape:
    """Return roads, raised pavements with kerbs, and grass: a grid cut along every edge, so that no two faces fight."""
    roads = [s.strip(s.half_width_m) for s in streets]
    paths = [s.strip(s.corridor_m) for s in streets]
    joints = [(*s.start, s) for s in streets] + [(*s.end, s) for s in streets]
    paths += [(x - s.corridor_m, y - s.corridor_m, x + s.corridor_m, y + s.corridor_m) for x, y, s in joints]
    roads += [(x - s.half_width_m, y - s.half_width_m, x + s.half_width_m, y + s.half_width_m) for x, y, s in joints]
    xs = _cuts([b[k] for b in roads + paths for k in (0, 2)], margin_m)
    ys = _cuts([b[k] for b in roads + paths for k in (1, 3)], margin_m)
    kinds = [[_cell((a + b) / 2, (c + d) / 2, roads, paths) for c, d in zip(ys, ys[1:])] for a, b in zip(xs, xs[1:])]
    shape = Shape()
    high = {'asphalt': 0.0, 'pavement': 0.12, 'grass': 0.12}
    for i, (x0, x1) in enumerate(zip(xs, xs[1:])):
        for j, (y0, y1) in enumerate(zip(ys, ys[1:])):
            kind = kinds[i][j]
            z = high[kind]
            shape.polygon([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], Surface(kind))
            if kind != 'asphalt':
                continue
            for di, dj, (ax, ay), (bx, by) in ((-1, 0, (x0, y0), (x0, y1)), (1, 0, (x1, y1), (x1, y0)), (0, -1, (x1, y0), (x0, y0)), (0, 1, (x0, y1), (x1, y1))):
                ni, nj = i + di, j + dj
                if 0 <= ni < len(kinds) and 0 <= nj < len(kinds[0]) and kinds[ni][nj] != 'asphalt':
                    kerb = (min(ax, bx) + min(0, di) * 0.16, min(ay, by) + min(0, dj) * 0.16, max(ax, bx) + max(0, di) * 0.16, max(ay, by) + max(0, dj) * 0.16)
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
            shape.rod((x, y, -0.05), (x, y, 0.008), 0.33, 0.33, Surface('metal', (0.09, 0.085, 0.08)), 14)
    return shape


def _mark(shape: Shape, street: Street, a: float, b: float, right: float, left: float, paint: Surface, avoid: list[tuple[float, float, float, float]], z: float = 0.008) -> None:
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


def _cell(x: float, y: float, roads: list[tuple[float, float, float, float]], paths: list[tuple[float, float, float, float]]) -> str:
    for kind, boxes in (('asphalt', roads), ('pavement', paths)):
        if any(b[0] < x < b[2] and b[1] < y < b[3] for b in boxes):
            return kind
    return 'grass'


def _flat_coordinates(points: Sequence[Point]) -> list[tuple[float, float]]:
    normal = _unit(_cross(_minus(points[1], points[0]), _minus(points[2], points[0])))
    if abs(normal[2]) > 0.99:
        return [(p[0], p[1]) for p in points]
    across = _unit(_cross((0.0, 0.0, 1.0), normal))
    upward = _cross(normal, across)
    return [(_dot(p, across), _dot(p, upward)) for p in points]


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Point, b: Point) -> Point:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _unit(a: Point) -> Point:
    length = hypot(*a) or 1.0
    return a[0] / length, a[1] / length, a[2] / length
