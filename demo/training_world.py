"""Photograph places of many towns under many conditions and from many viewpoints, to train on.

What a descriptor has to ignore (hour, weather, season, lane, heading, height, lens, exposure,
parked cars) changes between the views of a place; what it has to see (houses, trees, street)
stays. The result is a folder with `places.csv`, which the training reads as it is. The plan is
plain data made from the town's seed; frames that exist are skipped, so a stopped run goes on where
it was.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import atan2, cos, hypot, radians, sin
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

import drive
from render import QuietStdout, develop
from world import CONDITIONS, Camera, Condition, House, Rgb, World

APART_M = 8.0
# By name and not all of CONDITIONS: a plan draws from this list, and equal seeds give equal plans.
WEATHERS = ('day', 'dusk', 'night', 'overcast', 'rain', 'snow')
END_MARGIN_M = 14.0  # from a street's end, where a house closes the view
COLUMNS = ('image', 'place_id', 'city', 'east_m', 'north_m')


@dataclass(frozen=True, slots=True)
class Place:
    """A point on the middle of a street and the direction of travel; map frame, metres, rad."""

    x: float
    y: float
    heading_rad: float


@dataclass(frozen=True, slots=True)
class View:
    """One photograph to take: of which place, when, from where, and through which lens."""

    town: int
    place: int  # counted within the town
    condition: str
    x: float
    y: float
    yaw_rad: float
    height_m: float
    pitch_up_deg: float
    roll_deg: float
    horizontal_fov_deg: float
    exposure_stops: float  # relative to the condition's own

    @property
    def image(self) -> str:
        """The picture's path in the output folder."""
        return f'images/t{self.town:04d}_p{self.place:03d}_{self.condition}.jpg'

    @property
    def map_T_camera(self) -> NDArray[np.float64]:
        """The pose [4, 4] of the optical frame (x right, y down, z forward)."""
        camera = Camera(forward_m=0.0, up_m=self.height_m, pitch_up_deg=self.pitch_up_deg)
        base = drive.base_matrices(np.array([[self.x, self.y]]), np.array([self.yaw_rad]))[0]
        c, s = cos(radians(self.roll_deg)), sin(radians(self.roll_deg))
        roll = np.eye(4)
        roll[:2, :2] = ((c, -s), (s, c))
        pose: NDArray[np.float64] = base @ drive.mounting(camera) @ roll
        return pose


def choose_places(world: World, count: int) -> list[Place]:
    """Return this many places, at least 8 m apart unless they look in opposite directions.

    Raises ValueError if the streets have no room for them.
    """
    rng = Random(world.seed * 7 + 1)
    candidates = []
    for street in world.streets:
        along = END_MARGIN_M + rng.uniform(0.0, 2.0)
        heading = atan2(street.direction[1], street.direction[0])
        while along < street.length_m - END_MARGIN_M:
            x, y = street.at(along)
            candidates += [Place(x, y, heading + turn) for turn in (0.0, np.pi)]
            along += APART_M + rng.uniform(0.1, 1.0)
    rng.shuffle(candidates)
    chosen: list[Place] = []
    for candidate in candidates:
        if len(chosen) < count and all(_are_two(candidate, other) for other in chosen):
            chosen.append(candidate)
    if len(chosen) < count:
        raise ValueError(f'town {world.seed} has room for {len(chosen)} places, not {count}')
    return chosen


def _are_two(a: Place, b: Place) -> bool:
    opposite = cos(a.heading_rad - b.heading_rad) < -0.5
    return opposite or hypot(a.x - b.x, a.y - b.y) >= APART_M


def plan_views(world: World, *, places: int, views: int) -> list[View]:
    """Return the views of a town, place by place, each place's in different conditions.

    Equal seeds give equal plans, and the first places and conditions do not depend on `views`.
    Raises ValueError if there are fewer conditions than views, or no room for the places.
    """
    if not 1 <= views <= len(WEATHERS):
        raise ValueError(f'{views} views of a place, but there are {len(WEATHERS)} conditions')
    planned = []
    for number, place in enumerate(choose_places(world, places)):
        rng = Random(world.seed * 1_000_003 + number)
        for condition in rng.sample(WEATHERS, len(WEATHERS))[:views]:
            planned.append(_look(rng, world.seed, number, place, condition))
    return planned


def _look(rng: Random, town: int, number: int, place: Place, condition: str) -> View:
    along, left = rng.uniform(-1.5, 1.5), rng.uniform(-2.0, 2.0)
    c, s = cos(place.heading_rad), sin(place.heading_rad)
    return View(
        town=town,
        place=number,
        condition=condition,
        x=place.x + c * along - s * left,
        y=place.y + s * along + c * left,
        yaw_rad=place.heading_rad + radians(rng.uniform(-12.0, 12.0)),
        height_m=rng.uniform(0.5, 2.0),
        pitch_up_deg=rng.uniform(-2.0, 6.0),
        roll_deg=rng.uniform(-3.0, 3.0),
        horizontal_fov_deg=rng.uniform(60.0, 110.0),
        exposure_stops=rng.uniform(-0.6, 0.6),
    )


def varied_town(seed: int) -> World:
    """Return a town whose colours, storeys and trees differ from other towns' and within it.

    The look-alikes of the demo's town are undone: here every place must have one answer.
    """
    world, rng = World.generate(seed), Random(seed * 13 + 5)
    tint: Rgb = (rng.uniform(0.65, 1.3), rng.uniform(0.7, 1.2), rng.uniform(0.65, 1.3))
    taller, trees, tree_size = (
        rng.choice((-1, 0, 0, 1, 2)),
        rng.uniform(0.2, 1.0),
        rng.uniform(0.7, 1.3),
    )
    return replace(
        world,
        houses=tuple(_varied_house(house, rng, tint, taller) for house in world.houses),
        things=tuple(
            replace(thing, size=thing.size * tree_size * rng.uniform(0.8, 1.2))
            if thing.kind == 'tree'
            else thing
            for thing in world.things
            if thing.kind != 'tree' or rng.random() < trees
        ),
    )


def _varied_house(house: House, rng: Random, tint: Rgb, taller: int) -> House:
    r, g, b = (
        min(0.85, max(0.01, channel * share * rng.uniform(0.7, 1.3)))
        for channel, share in zip(house.wall_rgb, tint)
    )
    storeys = max(1, min(6, house.storeys + taller + rng.choice((-1, 0, 0, 1))))
    return replace(
        house,
        wall_rgb=(r, g, b),
        storeys=storeys,
        balconies=house.balconies and storeys > 2,
    )


def weather(name: str, seed: int) -> Condition:
    """Return a condition as it is in this town: another sun, other clouds, other parked cars."""
    condition = CONDITIONS[name]
    rng = Random(seed * 101 + WEATHERS.index(name))
    high = condition.sun_elevation_deg > 40
    return replace(
        condition,
        sun_azimuth_deg=rng.uniform(0.0, 360.0),
        sun_elevation_deg=rng.uniform(22.0, 60.0) if high else condition.sun_elevation_deg,
        cloud_cover=condition.cloud_cover
        if condition.cloud_cover > 0.9
        else rng.uniform(0.2, 0.85),
        parked_share=rng.uniform(0.2, 0.7),
        clutter_seed=rng.randrange(1 << 30),
    )


def missing(views: Sequence[View], output: Path) -> list[View]:
    """Return the views that have no picture yet, all of one condition together."""
    return sorted(
        (view for view in views if not (output / view.image).exists()),
        key=lambda view: (view.town, view.condition),
    )


def write_table(views: Sequence[View], output: Path, *, places: int, first_seed: int) -> None:
    """Write places.csv of the pictures that exist; places are numbered on from town to town."""
    partial = output / 'places.csv.partial'
    with partial.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for view in views:
            if (output / view.image).exists():
                number = (view.town - first_seed) * places + view.place
                where = (f'{view.x:.3f}', f'{view.y:.3f}')
                writer.writerow((view.image, number, f'town_{view.town:04d}', *where))
    partial.replace(output / 'places.csv')


def main() -> None:
    """Plan the towns and photograph what is missing, town by town."""
    parser = _parser()
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.towns)
    try:
        views = [
            view
            for seed in seeds
            for view in plan_views(World.generate(seed), places=args.places, views=args.views)
        ]
    except ValueError as error:
        parser.error(str(error))
    (args.output / 'images').mkdir(parents=True, exist_ok=True)
    wanted = missing(views, args.output)
    print(f'{len(views)} frames of {args.towns} towns, {len(wanted)} to render', flush=True)
    began, done = time.monotonic(), 0
    for seed in seeds:
        for name in WEATHERS:
            here = [view for view in wanted if (view.town, view.condition) == (seed, name)]
            if not here:
                continue
            _photograph(here, args)
            done += len(here)
            each = (time.monotonic() - began) / done
            print(
                f'town {seed} {name}  {done}/{len(wanted)}  {each:.2f} s a frame  '
                f'{each * (len(wanted) - done) / 60:.1f} min left',
                flush=True,
            )
            write_table(views, args.output, places=args.places, first_seed=args.first_seed)
    write_table(views, args.output, places=args.places, first_seed=args.first_seed)


def _photograph(views: Sequence[View], args: argparse.Namespace) -> None:
    """Build a town under one condition once and take all its views."""
    from scene import Scene  # here, so that a plan can be made without the renderer

    condition = weather(views[0].condition, views[0].town)
    camera = Camera(width_px=args.width, height_px=args.height)
    with QuietStdout():
        scene = Scene(
            varied_town(views[0].town),
            condition,
            camera,
            samples=args.samples,
            threads=args.threads,
        )
    for view in views:
        path = args.output / view.image
        raw = path.with_suffix('.raw.png')
        with QuietStdout():
            scene.set_up_camera(
                horizontal_fov_deg=view.horizontal_fov_deg, exposure_stops=view.exposure_stops
            )
            scene.photograph(view.map_T_camera, raw)
        develop(raw, path, condition, seed=view.town * 1009 + view.place)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument('--output', required=True, type=Path)
    parser.add_argument('--towns', type=int, default=20)
    parser.add_argument('--first-seed', type=int, default=100, help='the first town')
    parser.add_argument('--places', type=int, default=40, help='per town')
    parser.add_argument('--views', type=int, default=4, help='conditions per place')
    parser.add_argument('--samples', type=int, default=4, help='light paths per pixel')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--width', type=int, default=256, help='pixels')
    parser.add_argument('--height', type=int, default=192, help='pixels')
    return parser


if __name__ == '__main__':
    main()
