"""Build solid things from polygons with named surfaces.

Nothing here knows the renderer: a shape is a list of polygons, each with a `Surface` and texture
coordinates in metres, so a brick is the same size on every wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, hypot, pi, sin

from world import Rgb

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Surface:
    """What a polygon is made of; the renderer turns each kind into a material."""

    kind: str
    rgb: Rgb = (0.5, 0.5, 0.5)


GLASS, LIT_GLASS = Surface('glass'), Surface('lit_glass')
STEEL, DARK = Surface('metal', (0.18, 0.19, 0.20)), Surface('paint', (0.02, 0.02, 0.022))
RUBBER, LAMP, CONCRETE = (
    Surface('matt', (0.015, 0.015, 0.016)),
    Surface('lamp'),
    Surface('concrete', (0.42, 0.41, 0.39)),
)
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
        p: list[Point] = [
            (a, b, c),
            (d, b, c),
            (d, e, c),
            (a, e, c),
            (a, b, f),
            (d, b, f),
            (d, e, f),
            (a, e, f),
        ]
        for corners in (
            (0, 1, 5, 4),
            (1, 2, 6, 5),
            (2, 3, 7, 6),
            (3, 0, 4, 7),
            (4, 5, 6, 7),
            (3, 2, 1, 0),
        ):
            self.polygon([p[i] for i in corners], surface)

    def prism(
        self, outline: Sequence[tuple[float, float]], y0: float, y1: float, surface: Surface
    ) -> None:
        """Extrude an outline in x and z (counter-clockwise seen from -y) from y0 to y1."""
        front: list[Point] = [(x, y0, z) for x, z in outline]
        back: list[Point] = [(x, y1, z) for x, z in outline]
        self.polygon(front, surface)
        self.polygon(back[::-1], surface)
        for i in range(len(outline)):
            j = (i + 1) % len(outline)
            self.polygon([front[j], front[i], back[i], back[j]], surface)

    def rod(
        self, start: Point, end: Point, r0: float, r1: float, surface: Surface, sides: int = 8
    ) -> None:
        """Add a tapered round bar with closed ends."""
        axis = unit(_minus(end, start))
        side = unit(cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0)))
        other = cross(axis, side)
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


def _flat_coordinates(points: Sequence[Point]) -> list[tuple[float, float]]:
    normal = unit(cross(_minus(points[1], points[0]), _minus(points[2], points[0])))
    if abs(normal[2]) > 0.99:
        return [(p[0], p[1]) for p in points]
    across = unit(cross((0.0, 0.0, 1.0), normal))
    upward = cross(normal, across)
    return [(_dot(p, across), _dot(p, upward)) for p in points]


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Point, b: Point) -> Point:
    """Return the vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def unit(a: Point) -> Point:
    """Return the vector at length 1 (0 stays 0)."""
    length = hypot(*a) or 1.0
    return a[0] / length, a[1] / length, a[2] / length
