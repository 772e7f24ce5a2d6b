"""Describe a small town and how it may look, without drawing anything.

Everything a renderer needs is plain data made from one seed, so that the same town can be drawn by
another renderer, checked by a test, or varied in numbers as training data. The look-alikes are
part of the description: a stretch of houses, and a warehouse at the end of the street, are put up
twice on purpose, far apart, and `World.look_alikes` says where.

Map frame: x east, y north, z up, metres; angles in radians, counter-clockwise from east unless the
name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import cos, hypot, pi, sin
from random import Random
from typing import Literal

Rgb = tuple[float, float, float]  # linear light, each in [0, 1]
Rectangle = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max in metres
# What is driven: the mapped streets; the same, but it ends where no map reaches; the same with a
# turn there and back onto the map; the mapped streets from their end to their start.
Route = Literal['mapped', 'leaving', 'returning', 'oncoming']
Corners = tuple[tuple[float, float], ...]  # corner points of a route in the map frame


@dataclass(frozen=True, slots=True)
class Street:
    """A straight carriageway along x or y with a pavement on either side."""

    name: str
    start: tuple[float, float]
    end: tuple[float, float]
    trees_every_m: float = 0.0  # 0: no avenue trees
    half_width_m: float = 4.7
    pavement_m: float = 2.6

    @property
    def length_m(self) -> float:
        """Distance from start to end."""
        return hypot(self.end[0] - self.start[0], self.end[1] - self.start[1])

    @property
    def direction(self) -> tuple[float, float]:
        """Unit vector from start to end."""
        return (
            (self.end[0] - self.start[0]) / self.length_m,
            (self.end[1] - self.start[1]) / self.length_m,
        )

    @property
    def corridor_m(self) -> float:
        """Half the width between the house fronts."""
        return self.half_width_m + self.pavement_m

    def at(self, along_m: float, left_m: float = 0.0) -> tuple[float, float]:
        """Return the map point this far along and this far to the left of the middle line."""
        ux, uy = self.direction
        return (
            self.start[0] + along_m * ux - left_m * uy,
            self.start[1] + along_m * uy + left_m * ux,
        )

    def strip(self, half_width_m: float) -> Rectangle:
        """Return the rectangle within this distance of the middle line."""
        return _bounds(
            [
                self.at(s, side)
                for s in (0.0, self.length_m)
                for side in (-half_width_m, half_width_m)
            ]
        )


@dataclass(frozen=True, slots=True)
class House:
    """One building; local x runs along its front, y goes into it, the front's middle is (0, 0)."""

    x: float
    y: float
    yaw: float
    width_m: float
    depth_m: float
    storeys: int
    storey_m: float
    wall: str  # brick, plaster, stone, boards
    wall_rgb: Rgb
    roof: str  # gable, front_gable, hip, flat
    roof_rgb: Rgb
    roof_rise_m: float
    columns: int
    window_m: tuple[float, float]  # width, height
    panes: tuple[int, int]
    frame_rgb: Rgb
    trim_rgb: Rgb
    door_rgb: Rgb
    ground: str = 'home'  # home, shop, warehouse
    sign: str = ''
    sign_rgb: Rgb = (0.05, 0.1, 0.2)
    shutters_rgb: Rgb | None = None
    awning_rgb: Rgb | None = None
    banded: bool = False
    balconies: bool = False
    chimneys: int = 0
    dormers: int = 0
    garden_m: float = 0.0
    seed: int = 0

    @property
    def wall_height_m(self) -> float:
        """Height of the eaves above the doorstep."""
        return self.storeys * self.storey_m

    @property
    def footprint(self) -> Rectangle:
        """The ground it covers, in the map frame."""
        half = self.width_m / 2
        corners = [(-half, 0.0), (half, 0.0), (-half, self.depth_m), (half, self.depth_m)]
        c, s = cos(self.yaw), sin(self.yaw)
        return _bounds([(self.x + c * u - s * v, self.y + s * u + c * v) for u, v in corners])


@dataclass(frozen=True, slots=True)
class Thing:
    """Anything that stands in the street: its kind says how it is drawn."""

    kind: str  # tree, lamp, car, van, bin, bench, hedge, fence, sign_*, bus_stop, church ...
    x: float
    y: float
    yaw: float = 0.0
    size: float = 1.0
    rgb: Rgb = (0.5, 0.5, 0.5)
    variant: int = 0
    text: str = ''


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Two places that look nearly the same: positions in metres and the shared heading."""

    name: str
    first_xy: tuple[float, float]
    second_xy: tuple[float, float]
    heading_rad: float

    @property
    def apart_m(self) -> float:
        """How far apart the two places are."""
        return hypot(self.first_xy[0] - self.second_xy[0], self.first_xy[1] - self.second_xy[1])


@dataclass(frozen=True, slots=True)
class World:
    """A town: what stays where it is whatever the hour."""

    seed: int
    streets: tuple[Street, ...]
    houses: tuple[House, ...]
    things: tuple[Thing, ...]
    look_alikes: tuple[LookAlike, ...]
    mapped_route: Corners  # of the mapping drive
    detour_route: Corners  # the same start, but it ends where no map reaches

    @staticmethod
    def generate(seed: int) -> World:
        """Return the town of this seed; equal seeds give equal towns."""
        return _Town(seed).build()

    def corners(self, route: Route) -> Corners:
        """Return the corner points of a route, in the order of travel."""
        match route:
            case 'mapped':
                return self.mapped_route
            case 'leaving':
                return self.detour_route
            case 'oncoming':
                return self.mapped_route[::-1]
            case 'returning':
                x, y = self.detour_route[-1]
                back_x = x - U_TURN_M
                return (*self.detour_route, (back_x, y), (back_x, self.mapped_route[-1][1]))


@dataclass(frozen=True, slots=True)
class Condition:
    """Light, weather, season, and what happens to stand about that day."""

    name: str
    start_utc: str  # ISO 8601 time of the first frame
    sun_elevation_deg: float
    sun_azimuth_deg: float  # clockwise from north
    sun_strength: float  # W/m^2 of the sun lamp; 0 puts it out
    sun_rgb: Rgb
    sky_strength: float
    sky_tint: Rgb
    cloud_cover: float  # 0 to 1
    cloud_rgb: Rgb
    exposure_stops: float
    lamp_watts: float = 0.0  # 0: street lamps are off
    lit_windows: float = 0.0  # share of windows with a light behind them
    wetness: float = 0.0  # 0 dry, 1 mirror-wet road
    snow: float = 0.0  # share of what faces the sky that is white
    leaf_rgb: Rgb = (0.10, 0.20, 0.035)
    leaf_share: float = 1.0  # 1 summer, 0 bare branches
    fog_visibility_m: float = 0.0  # how far a dark thing can be told from the fog; 0: clear air
    sensor_noise: float = 0.0  # standard deviation in 8-bit grey levels
    clutter_seed: int = 0  # other parked cars and bins for another number
    parked_share: float = 0.5
    van_share: float = 0.09  # of the parked vehicles
    oncoming_every_m: float = 0.0  # vehicles in the left lane of the mapped route; 0: none


@dataclass(frozen=True, slots=True)
class Drive:
    """How the robot travels: where in the road, how fast, how steadily, how often it looks."""

    lane_m: float  # left of the middle line; negative is right
    cruise_mps: float
    corner_mps: float
    rate_hz: float
    weave_m: float
    heading_noise_deg: float
    route: Route
    seed: int


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera and where it sits on the robot's base."""

    width_px: int = 320
    height_px: int = 240
    horizontal_fov_deg: float = 84.0
    forward_m: float = 0.5
    up_m: float = 1.4
    pitch_up_deg: float = 3.0


CONDITIONS: dict[str, Condition] = {
    'day': Condition(
        name='day',
        start_utc='2026-06-01T12:00:00+00:00',
        sun_elevation_deg=46.0,
        sun_azimuth_deg=215.0,
        sun_strength=9.0,
        sun_rgb=(1.0, 0.94, 0.84),
        sky_strength=0.27,
        sky_tint=(1.0, 1.0, 1.0),
        cloud_cover=0.62,
        cloud_rgb=(1.0, 1.0, 1.0),
        exposure_stops=0.15,
        sensor_noise=1.0,
        clutter_seed=11,
    ),
    'dusk': Condition(
        name='dusk',
        start_utc='2026-06-01T21:30:00+00:00',
        sun_elevation_deg=4.0,
        sun_azimuth_deg=292.0,
        sun_strength=0.5,
        sun_rgb=(1.0, 0.48, 0.2),
        sky_strength=0.17,
        sky_tint=(0.95, 0.9, 1.25),
        cloud_cover=0.5,
        cloud_rgb=(1.0, 0.55, 0.42),
        exposure_stops=0.75,
        lamp_watts=700.0,
        lit_windows=0.24,
        wetness=0.15,
        sensor_noise=2.5,
        clutter_seed=29,
        parked_share=0.6,
    ),
    'night': Condition(
        name='night',
        start_utc='2026-06-01T23:45:00+00:00',
        sun_elevation_deg=1.0,
        sun_azimuth_deg=350.0,
        sun_strength=0.0,
        sun_rgb=(1.0, 1.0, 1.0),
        sky_strength=0.014,
        sky_tint=(0.6, 0.75, 1.4),
        cloud_cover=0.3,
        cloud_rgb=(0.5, 0.55, 0.8),
        exposure_stops=1.7,
        lamp_watts=700.0,
        lit_windows=0.22,
        sensor_noise=5.0,
        clutter_seed=41,
    ),
    'rain': Condition(
        name='rain',
        start_utc='2026-10-20T09:00:00+00:00',
        sun_elevation_deg=25.0,
        sun_azimuth_deg=140.0,
        sun_strength=0.0,
        sun_rgb=(1.0, 1.0, 1.0),
        sky_strength=0.42,
        sky_tint=(0.9, 0.95, 1.0),
        cloud_cover=1.0,
        cloud_rgb=(0.55, 0.58, 0.62),
        exposure_stops=0.7,
        lit_windows=0.12,
        wetness=0.85,
        leaf_rgb=(0.30, 0.14, 0.03),
        leaf_share=0.6,
        sensor_noise=2.0,
        clutter_seed=53,
    ),
    'overcast': Condition(
        name='overcast',
        start_utc='2026-04-10T10:00:00+00:00',
        sun_elevation_deg=35.0,
        sun_azimuth_deg=150.0,
        sun_strength=0.0,
        sun_rgb=(1.0, 1.0, 1.0),
        sky_strength=0.45,
        sky_tint=(1.0, 1.0, 1.0),
        cloud_cover=1.0,
        cloud_rgb=(0.75, 0.77, 0.8),
        exposure_stops=0.4,
        leaf_rgb=(0.16, 0.26, 0.05),
        leaf_share=0.5,
        sensor_noise=1.0,
        clutter_seed=67,
    ),
    'fog': Condition(
        name='fog',
        start_utc='2026-11-05T09:30:00+00:00',
        sun_elevation_deg=20.0,
        sun_azimuth_deg=150.0,
        sun_strength=0.0,
        sun_rgb=(1.0, 1.0, 1.0),
        sky_strength=0.42,
        sky_tint=(1.0, 1.0, 1.0),
        cloud_cover=1.0,
        cloud_rgb=(0.72, 0.74, 0.77),
        exposure_stops=0.4,
        lit_windows=0.1,
        wetness=0.3,
        fog_visibility_m=150.0,
        leaf_rgb=(0.26, 0.16, 0.03),
        leaf_share=0.4,
        sensor_noise=1.5,
        clutter_seed=97,
    ),
    'snow': Condition(
        name='snow',
        start_utc='2026-01-15T11:00:00+00:00',
        sun_elevation_deg=18.0,
        sun_azimuth_deg=170.0,
        sun_strength=0.0,
        sun_rgb=(1.0, 1.0, 1.0),
        sky_strength=0.36,
        sky_tint=(0.95, 0.98, 1.0),
        cloud_cover=1.0,
        cloud_rgb=(0.74, 0.77, 0.82),
        exposure_stops=0.1,
        lit_windows=0.1,
        snow=0.9,
        leaf_rgb=(0.16, 0.09, 0.03),
        leaf_share=0.01,
        sensor_noise=1.5,
        clutter_seed=79,
        parked_share=0.4,
    ),
}

DRIVES: dict[str, Drive] = {
    'mapping': Drive(
        lane_m=-1.25,
        cruise_mps=6.0,
        corner_mps=3.6,
        rate_hz=3.0,
        weave_m=0.08,
        heading_noise_deg=0.6,
        route='mapped',
        seed=1,
    ),
    'revisit': Drive(
        lane_m=0.1,
        cruise_mps=8.2,
        corner_mps=4.4,
        rate_hz=4.3,
        weave_m=0.15,
        heading_noise_deg=1.6,
        route='leaving',
        seed=2,
    ),
}

U_TURN_M = 0.4  # from one leg of the turn to the other, middle to middle, before the lane's shift
ONCOMING_LEFT_M = 1.75  # from the middle of the road to the middle of an oncoming vehicle
END_CLEAR_M = 14.0  # no oncoming vehicle nearer than this to a corner of the route

_BRICKS: tuple[Rgb, ...] = (
    (0.33, 0.10, 0.06),
    (0.40, 0.17, 0.10),
    (0.23, 0.08, 0.06),
    (0.47, 0.33, 0.18),
    (0.36, 0.24, 0.17),
)
_PLASTERS: tuple[Rgb, ...] = (
    (0.70, 0.66, 0.56),
    (0.72, 0.50, 0.22),
    (0.62, 0.30, 0.22),
    (0.36, 0.47, 0.56),
    (0.42, 0.52, 0.38),
    (0.75, 0.62, 0.42),
    (0.60, 0.42, 0.42),
    (0.74, 0.74, 0.72),
    (0.30, 0.38, 0.44),
    (0.66, 0.40, 0.16),
)
_STONES: tuple[Rgb, ...] = ((0.45, 0.42, 0.36), (0.36, 0.35, 0.33), (0.52, 0.45, 0.34))
_BOARDS: tuple[Rgb, ...] = (
    (0.25, 0.33, 0.40),
    (0.62, 0.60, 0.55),
    (0.32, 0.16, 0.10),
    (0.20, 0.27, 0.22),
)
_WALLS = {'brick': _BRICKS, 'plaster': _PLASTERS, 'stone': _STONES, 'boards': _BOARDS}
_ROOFS: tuple[Rgb, ...] = (
    (0.34, 0.11, 0.06),
    (0.27, 0.13, 0.08),
    (0.10, 0.105, 0.12),
    (0.16, 0.15, 0.14),
    (0.22, 0.08, 0.06),
)
_DOORS: tuple[Rgb, ...] = (
    (0.35, 0.03, 0.03),
    (0.03, 0.10, 0.25),
    (0.02, 0.15, 0.08),
    (0.30, 0.16, 0.06),
    (0.02, 0.02, 0.025),
    (0.55, 0.40, 0.05),
    (0.40, 0.42, 0.44),
)
_CARS: tuple[Rgb, ...] = (
    (0.55, 0.56, 0.58),
    (0.02, 0.02, 0.025),
    (0.70, 0.70, 0.68),
    (0.35, 0.02, 0.02),
    (0.03, 0.08, 0.25),
    (0.12, 0.13, 0.14),
    (0.10, 0.20, 0.14),
    (0.50, 0.34, 0.05),
    (0.20, 0.30, 0.38),
)
_SIGNS = (
    'BAKERY',
    'CAFE LUNA',
    'BOOKS',
    'PHARMACY',
    'FLOWERS',
    'BIKES',
    'BARBER',
    'HOTEL',
    'TEA ROOM',
    'RECORDS',
    'TAILOR',
    'GROCER',
    'PIZZA',
    'CLOCKS',
    'GALLERY',
    'OPTICIAN',
)


def clutter(world: World, condition: Condition) -> list[Thing]:
    """Return what stands about only under this condition: parked cars and vans, and bins."""
    rng = Random(world.seed * 1009 + condition.clutter_seed)
    found: list[Thing] = []
    for street in world.streets:
        ux, uy = street.direction
        yaw = _yaw(ux, uy)
        for side in (-1, 1):
            along = 4.0 + rng.random() * 5
            while along < street.length_m - 5:
                x, y = street.at(along, side * (street.half_width_m - 0.98))
                if rng.random() < condition.parked_share and not _near_junction(
                    world, street, x, y, 15.0
                ):
                    kind = 'van' if rng.random() < condition.van_share else 'car'
                    turned = yaw + (0 if side < 0 else pi) + rng.gauss(0, 0.015)
                    found.append(
                        Thing(kind, x, y, turned, rng.uniform(0.94, 1.06), rng.choice(_CARS))
                    )
                along += rng.uniform(5.8, 9.5)
            for _ in range(int(street.length_m / 16)):
                x, y = street.at(
                    rng.uniform(2, street.length_m - 2), side * (street.corridor_m - 0.45)
                )
                if not _near_junction(world, street, x, y, 9.0):
                    rgb = rng.choice(
                        (
                            (0.02, 0.10, 0.04),
                            (0.03, 0.03, 0.035),
                            (0.02, 0.06, 0.2),
                            (0.25, 0.12, 0.03),
                        )
                    )
                    found.append(
                        Thing('bin', x, y, yaw + rng.gauss(0, 0.3), rng.uniform(0.9, 1.1), rgb)
                    )
    return found + _oncoming(world, condition, rng)


def _oncoming(world: World, condition: Condition, rng: Random) -> list[Thing]:
    """Return vehicles that stand in the left lane of the mapped route and face its traveller."""
    found: list[Thing] = []
    if condition.oncoming_every_m <= 0:
        return found
    for (x0, y0), (x1, y1) in pairwise(world.mapped_route):
        leg = Street('', (x0, y0), (x1, y1))
        along = END_CLEAR_M
        while along < leg.length_m - END_CLEAR_M:
            x, y = leg.at(along, ONCOMING_LEFT_M)
            kind = 'van' if rng.random() < condition.van_share else 'car'
            facing = _yaw(*leg.direction) + pi + rng.gauss(0, 0.03)
            found.append(Thing(kind, x, y, facing, rng.uniform(0.94, 1.06), rng.choice(_CARS)))
            along += condition.oncoming_every_m * rng.uniform(0.7, 1.3)
    return found


@dataclass(slots=True)
class _Town:
    """The builder's work table: what is already standing decides what still fits."""

    seed: int
    rng: Random = field(init=False)
    streets: list[Street] = field(default_factory=list)
    houses: list[House] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    signs_left: list[str] = field(default_factory=list)

    TWIN_FROM_M = 30.0
    TWIN_TO_M = 64.0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)

    def build(self) -> World:
        rng = self.rng
        first, second, third = rng.uniform(88, 92), rng.uniform(63, 67), rng.uniform(93, 97)
        b, c = (first, 0.0), (first, second)
        e = (first + third, second)
        end, astray = (e[0], e[1] - 44.0), (e[0], e[1] + 50.0)
        mill = Street('Mill Street', (-16.0, 0.0), b)
        elm = Street('Elm Avenue', (b[0], -32.0), (c[0], c[1] + 32.0), trees_every_m=8.5)
        high = Street('High Street', c, e)
        church = Street('Church Lane', (e[0], e[1] - 72.0), e, trees_every_m=14.0)
        quay = Street('Quay Lane', e, (e[0], e[1] + 78.0), trees_every_m=26.0)
        self.streets = [mill, elm, high, church, quay]
        self._put_twins(mill, high, mill_from_m=16.0)
        for street in self.streets:
            for side in (1, -1):
                self._line_with_houses(street, side)
        self._close_ends(mill, elm, church, quay)
        for street in self.streets:
            self._furnish(street)
        self.things.append(
            Thing('church', b[0] - 34.0, second * 0.52, 0.0, 1.0, (0.50, 0.46, 0.38))
        )
        self._fill_yards()
        return World(
            seed=self.seed,
            streets=tuple(self.streets),
            houses=tuple(self.houses),
            things=tuple(self.things),
            look_alikes=(
                LookAlike('twin terraces', (40.0, 0.0), (c[0] + 40.0, c[1]), 0.0),
                LookAlike('twin warehouses', (b[0] - 18.0, 0.0), (e[0] - 18.0, e[1]), 0.0),
            ),
            mapped_route=((0.0, 0.0), b, c, e, end),
            detour_route=((0.0, 0.0), b, c, e, astray),
        )

    def _put_twins(self, mill: Street, high: Street, mill_from_m: float) -> None:
        """Put the same terraces and trees in both streets, and the same warehouse at both ends."""
        for side in (1, -1):
            style = Random(self.seed * 31 + side)
            along = self.TWIN_FROM_M
            while along < self.TWIN_TO_M - 4:
                house = self._draw_house(style, width_m=style.choice((6.4, 7.2, 8.0)), twin=True)
                for street, offset in ((mill, mill_from_m), (high, 0.0)):
                    placed = _beside(street, side, offset + along + house.width_m / 2, house)
                    other = self.rng
                    self.houses.append(
                        replace(
                            placed, door_rgb=other.choice(_DOORS), seed=other.randrange(1 << 30)
                        )
                    )
                along += house.width_m
            for step in (34.0, 47.0, 60.0):
                rgb = (0.0, 0.0, 0.0)
                for street, offset in ((mill, mill_from_m), (high, 0.0)):
                    x, y = street.at(offset + step + 3 * side, side * (street.half_width_m + 0.6))
                    self.things.append(
                        Thing('tree', x, y, step, 0.82 + 0.05 * side, rgb, int(step) % 3)
                    )
        for street in (mill, high):
            ux, uy = street.direction
            x, y = street.at(street.length_m + street.corridor_m + 0.6)
            yaw = _yaw(ux, uy) - pi / 2
            self.houses.append(
                replace(_warehouse(), x=x, y=y, yaw=yaw, seed=self.rng.randrange(1 << 30))
            )

    def _line_with_houses(self, street: Street, side: int) -> None:
        rng, along = self.rng, 0.5
        while along < street.length_m - 4:
            house = self._draw_house(rng, width_m=rng.uniform(6.2, 11.5))
            placed = _beside(street, side, along + house.width_m / 2, house)
            if along + house.width_m <= street.length_m + 6 and self._fits(
                placed.footprint, own=street
            ):
                self.houses.append(placed)
                self._front_garden(street, side, along, placed)
                along += house.width_m
                if rng.random() < 0.3:
                    along = self._gap(street, side, along)
            else:
                along += 0.8

    def _draw_house(self, rng: Random, *, width_m: float, twin: bool = False) -> House:
        wall = rng.choices(('brick', 'plaster', 'stone', 'boards'), (0.28, 0.52, 0.10, 0.10))[0]
        storeys = rng.choices((2, 3, 4), (0.48, 0.40, 0.12))[0]
        shop = rng.random() < 0.3 and not twin
        setback = 0.0 if shop or twin else rng.choice((0.0, 0.0, 0.4, 2.2, 3.2))
        roof = rng.choices(('gable', 'front_gable', 'hip', 'flat'), (0.44, 0.22, 0.16, 0.18))[0]
        window_w = rng.uniform(0.95, 1.35)
        wall_rgb = _vary(rng, rng.choice(_WALLS[wall]))
        return House(
            x=0.0,
            y=0.0,
            yaw=0.0,
            width_m=width_m,
            depth_m=rng.uniform(8.0, 9.5),
            storeys=storeys,
            storey_m=rng.uniform(2.8, 3.3),
            wall=wall,
            wall_rgb=wall_rgb,
            roof=roof,
            roof_rgb=_vary(rng, rng.choice(_ROOFS)),
            roof_rise_m=rng.uniform(1.9, 3.2) if roof != 'flat' else 0.7,
            columns=max(2, min(5, round(width_m / rng.uniform(2.0, 2.9)))),
            window_m=(window_w, rng.uniform(1.25, 1.75)),
            panes=rng.choice(((2, 2), (2, 3), (1, 2), (2, 1), (3, 2))),
            frame_rgb=rng.choice(
                ((0.75, 0.75, 0.72), (0.75, 0.75, 0.72), (0.09, 0.06, 0.04), (0.05, 0.07, 0.09))
            ),
            trim_rgb=rng.choice(((0.66, 0.63, 0.56), (0.72, 0.71, 0.68), (0.30, 0.27, 0.24))),
            door_rgb=rng.choice(_DOORS),
            ground='shop' if shop else 'home',
            sign=self._draw_sign() if shop else '',
            sign_rgb=rng.choice(
                (
                    (0.02, 0.12, 0.08),
                    (0.25, 0.02, 0.03),
                    (0.02, 0.06, 0.2),
                    (0.03, 0.03, 0.03),
                    (0.5, 0.3, 0.02),
                )
            ),
            awning_rgb=rng.choice(
                (None, (0.55, 0.05, 0.04), (0.04, 0.22, 0.12), (0.05, 0.1, 0.35), (0.6, 0.45, 0.1))
            )
            if shop
            else None,
            shutters_rgb=rng.choice(((0.05, 0.14, 0.09), (0.08, 0.14, 0.25), (0.22, 0.10, 0.05)))
            if wall == 'plaster' and rng.random() < 0.4
            else None,
            banded=rng.random() < 0.45,
            balconies=storeys > 2 and rng.random() < 0.3,
            chimneys=rng.choice((0, 1, 1, 2)) if roof != 'flat' else 0,
            dormers=rng.choice((0, 0, 1, 2)) if roof == 'gable' else 0,
            garden_m=setback,
            seed=rng.randrange(1 << 30),
        )

    def _draw_sign(self) -> str:
        if not self.signs_left:
            self.signs_left = list(_SIGNS)
            self.rng.shuffle(self.signs_left)
        return self.signs_left.pop()

    def _front_garden(self, street: Street, side: int, along: float, house: House) -> None:
        if house.garden_m < 1.5:
            return
        kind = self.rng.choice(('hedge', 'fence', 'low_wall'))
        half_door = 0.9
        for a, b in (
            (along, along + house.width_m / 2 - half_door),
            (along + house.width_m / 2 + half_door, along + house.width_m),
        ):
            x, y = street.at((a + b) / 2, side * (street.corridor_m + 0.3))
            ux, uy = street.direction
            self.things.append(
                Thing(kind, x, y, _yaw(ux, uy), b - a, (0.45, 0.42, 0.36), self.rng.randrange(3))
            )
        if self.rng.random() < 0.5:
            x, y = street.at(along + 1.4, side * (street.corridor_m + house.garden_m * 0.55))
            self.things.append(
                Thing('bush', x, y, self.rng.random() * 6, self.rng.uniform(0.5, 0.9))
            )

    def _gap(self, street: Street, side: int, along: float) -> float:
        """Leave a gap closed by a fence, a tree behind it; return where the next house starts."""
        gap_m = self.rng.uniform(2.6, 5.5)
        ux, uy = street.direction
        x, y = street.at(along + gap_m / 2, side * (street.corridor_m + 0.2))
        if self._fits((x - 2, y - 2, x + 2, y + 2), own=street):
            kind = self.rng.choice(('tall_fence', 'tall_wall'))
            rgb = (0.28, 0.17, 0.09) if kind == 'tall_fence' else (0.34, 0.14, 0.09)
            self.things.append(Thing(kind, x, y, _yaw(ux, uy), gap_m, rgb))
            tx, ty = street.at(along + gap_m / 2, side * (street.corridor_m + 4.5))
            self.things.append(
                Thing(
                    'tree',
                    tx,
                    ty,
                    self.rng.random() * 6,
                    self.rng.uniform(0.7, 1.0),
                    variant=self.rng.randrange(3),
                )
            )
        return along + gap_m

    def _close_ends(self, mill: Street, elm: Street, church: Street, quay: Street) -> None:
        ends = (
            (mill, 0.0, pi / 2),
            (elm, 0.0, pi / 2),
            (elm, elm.length_m, -pi / 2),
            (church, 0.0, pi / 2),
            (quay, quay.length_m, -pi / 2),
        )
        for street, along, turn in ends:
            ux, uy = street.direction
            x, y = street.at(along + (3.0 if along else -3.0))
            house = self._draw_house(self.rng, width_m=self.rng.uniform(15, 18))
            house = replace(house, storeys=3, columns=6, roof='hip', garden_m=0.0)
            self.houses.append(replace(house, x=x, y=y, yaw=_yaw(ux, uy) + turn))

    def _furnish(self, street: Street) -> None:
        rng, (ux, uy) = self.rng, street.direction
        yaw, kerb = _yaw(ux, uy), street.half_width_m
        for step in range(int(street.length_m // 17)):
            side = 1 if step % 2 else -1
            x, y = street.at(9 + 17 * step, side * (kerb + 0.35))
            if not self._on_other_road(street, x, y):
                self.things.append(Thing('lamp', x, y, yaw + (pi if side > 0 else 0) + pi / 2))
        if street.trees_every_m:
            for step in range(int(street.length_m / street.trees_every_m)):
                for side in (-1, 1):
                    x, y = street.at(5.5 + street.trees_every_m * step, side * (kerb + 0.75))
                    if not self._on_other_road(street, x, y, margin_m=3.5) and rng.random() < 0.85:
                        self.things.append(
                            Thing(
                                'tree',
                                x,
                                y,
                                rng.random() * 6,
                                rng.uniform(0.75, 1.05),
                                variant=rng.randrange(3),
                            )
                        )
        kinds = (
            'sign_limit',
            'sign_parking',
            'sign_way',
            'bench',
            'post_box',
            'planter',
            'planter',
            'bus_stop',
            'bollards',
            'cabinet',
            'cycles',
        )
        for _ in range(int(street.length_m / 6)):
            side, kind = rng.choice((-1, 1)), rng.choice(kinds)
            inset = 1.9 if kind in ('bench', 'bus_stop', 'planter', 'cabinet', 'cycles') else 0.4
            x, y = street.at(rng.uniform(5, street.length_m - 5), side * (kerb + inset))
            clear = all(
                hypot(t.x - x, t.y - y) > 2.2
                for t in self.things
                if t.kind not in ('hedge', 'fence')
            )
            if clear and not self._on_other_road(street, x, y, margin_m=1.0):
                rgb = rng.choice(((0.3, 0.3, 0.32), (0.35, 0.16, 0.08), (0.10, 0.16, 0.12)))
                facing = yaw + (0 if side < 0 else pi)
                self.things.append(Thing(kind, x, y, facing, 1.0, rgb, rng.randrange(3)))
        for end, inward in ((0.0, 1), (street.length_m, -1)):
            x, y = street.at(end + inward * 9.0, -inward * -(kerb + 0.4))
            if not self._on_other_road(street, x, y, margin_m=1.0):
                self.things.append(
                    Thing('sign_name', x, y, yaw, 1.0, (0.02, 0.05, 0.2), 0, street.name.upper())
                )

    def _fill_yards(self) -> None:
        """Put big trees behind the houses, so that no gap shows an empty plain."""
        x0, y0, x1, y1 = _bounds([p for s in self.streets for p in (s.start, s.end)])
        for _ in range(260):
            x, y = self.rng.uniform(x0 - 45, x1 + 45), self.rng.uniform(y0 - 45, y1 + 45)
            around = (x - 2.6, y - 2.6, x + 2.6, y + 2.6)
            if self._fits(around, own=None) and all(
                hypot(t.x - x, t.y - y) > 5.5 for t in self.things if t.kind == 'tree'
            ):
                self.things.append(
                    Thing(
                        'tree',
                        x,
                        y,
                        self.rng.random() * 6,
                        self.rng.uniform(1.0, 1.7),
                        variant=self.rng.randrange(3),
                    )
                )

    def _fits(self, box: Rectangle, *, own: Street | None) -> bool:
        roads = [s.strip(s.corridor_m - 0.05) for s in self.streets]
        ends = [(s, s.start) for s in self.streets] + [(s, s.end) for s in self.streets]
        reach = [(x - 7.0, y - 7.0, x + 7.0, y + 7.0) for _, (x, y) in ends]
        taken = [h.footprint for h in self.houses]
        return not any(_overlap(box, other) for other in roads + reach + taken)

    def _on_other_road(self, own: Street, x: float, y: float, margin_m: float = 0.3) -> bool:
        point = (x - margin_m, y - margin_m, x + margin_m, y + margin_m)
        return any(_overlap(point, s.strip(s.half_width_m)) for s in self.streets if s is not own)


def _warehouse() -> House:
    return House(
        x=0.0,
        y=0.0,
        yaw=0.0,
        width_m=19.0,
        depth_m=12.0,
        storeys=3,
        storey_m=3.7,
        wall='brick',
        wall_rgb=(0.36, 0.12, 0.07),
        roof='front_gable',
        roof_rgb=(0.11, 0.11, 0.12),
        roof_rise_m=3.8,
        columns=6,
        window_m=(1.5, 2.1),
        panes=(3, 3),
        frame_rgb=(0.06, 0.07, 0.08),
        trim_rgb=(0.62, 0.58, 0.50),
        door_rgb=(0.05, 0.15, 0.12),
        ground='warehouse',
        banded=True,
    )


def _beside(street: Street, side: int, along_m: float, house: House) -> House:
    x, y = street.at(along_m, side * (street.corridor_m + house.garden_m))
    ux, uy = street.direction
    return replace(house, x=x, y=y, yaw=_yaw(ux, uy) + (0.0 if side > 0 else pi))


def _near_junction(world: World, own: Street, x: float, y: float, distance_m: float) -> bool:
    """Return whether another street's road begins within this distance of its middle line."""
    near = [s.strip(distance_m) for s in world.streets if s is not own]
    return any(box[0] < x < box[2] and box[1] < y < box[3] for box in near)


def _vary(rng: Random, rgb: Rgb) -> Rgb:
    light = rng.uniform(0.85, 1.12)
    r, g, b = (min(0.85, max(0.01, channel * light * rng.uniform(0.94, 1.06))) for channel in rgb)
    return r, g, b


def _yaw(ux: float, uy: float) -> float:
    return {(1, 0): 0.0, (0, 1): pi / 2, (-1, 0): pi, (0, -1): -pi / 2}[(round(ux), round(uy))]


def _bounds(points: list[tuple[float, float]]) -> Rectangle:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    slack = 0.02  # terraces share a wall
    return (
        a[0] + slack < b[2] and b[0] + slack < a[2] and a[1] + slack < b[3] and b[1] + slack < a[3]
    )
