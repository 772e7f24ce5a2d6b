"""The rendered training world's plan: reproducible, places apart, conditions different."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from math import cos, hypot
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'demo'))

import training_world
from vpr_training.data.config import DataConfig
from vpr_training.data.place_table import read
from world import World


@pytest.fixture(scope='module')
def town() -> World:
    """The first town of the default batch."""
    return World.generate(100)


def test_equal_seeds_give_equal_plans(town: World) -> None:
    again = training_world.plan_views(World.generate(100), places=20, views=4)
    other = training_world.plan_views(World.generate(101), places=20, views=4)
    plan = training_world.plan_views(town, places=20, views=4)
    assert plan == again
    assert [view.x for view in plan] != [view.x for view in other]


def test_places_seen_the_same_way_are_apart(town: World) -> None:
    places = training_world.choose_places(town, 40)
    for k, a in enumerate(places):
        for b in places[:k]:
            opposite = cos(a.heading_rad - b.heading_rad) < -0.5
            assert opposite or hypot(a.x - b.x, a.y - b.y) >= 8.0


def test_each_place_is_seen_under_different_conditions_from_near_it(town: World) -> None:
    places = training_world.choose_places(town, 40)
    conditions = defaultdict(list)
    for view in training_world.plan_views(town, places=40, views=4):
        place = places[view.place]
        conditions[view.place].append(view.condition)
        assert hypot(view.x - place.x, view.y - place.y) <= 2.5
        assert cos(view.yaw_rad - place.heading_rad) >= cos(np.radians(12.0))
    assert len(conditions) == 40
    assert all(len(set(names)) == 4 for names in conditions.values())


def test_the_camera_stands_at_its_height_and_looks_along_its_yaw(town: World) -> None:
    for view in training_world.plan_views(town, places=10, views=2):
        pose = view.map_T_camera
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(pose[:3, 3], (view.x, view.y, view.height_m))
        east, north = pose[:2, 2] / np.linalg.norm(pose[:2, 2])
        np.testing.assert_allclose((east, north), (np.cos(view.yaw_rad), np.sin(view.yaw_rad)))


def test_parked_cars_differ_between_conditions_and_towns() -> None:
    names = training_world.WEATHERS
    seeds = {training_world.weather(n, s).clutter_seed for n in names for s in (100, 101)}
    assert len(seeds) == 2 * len(names)


def test_a_varied_town_keeps_its_streets_and_unlearns_its_look_alikes(town: World) -> None:
    varied = training_world.varied_town(100)
    assert varied == training_world.varied_town(100)
    assert varied.streets == town.streets
    assert [h.x for h in varied.houses] == [h.x for h in town.houses]
    assert len({house.wall_rgb for house in varied.houses}) == len(varied.houses)


def test_only_frames_without_a_picture_are_missing_and_only_pictures_are_listed(
    town: World, tmp_path: Path
) -> None:
    views = [
        *training_world.plan_views(town, places=3, views=2),
        *training_world.plan_views(World.generate(101), places=3, views=2),
    ]
    (tmp_path / 'images').mkdir()
    half_done = [*views[:3], views[-1]]
    for view in half_done:
        (tmp_path / view.image).write_bytes(b'')
    (tmp_path / views[4].image).with_suffix('.partial').write_bytes(b'half a file')
    wanted = training_world.missing(views, tmp_path)
    assert {view.image for view in wanted} == {v.image for v in views} - {
        v.image for v in half_done
    }
    training_world.write_table(views, tmp_path, places=3, first_seed=100)
    with (tmp_path / 'places.csv').open() as file:
        rows = [(r['image'], r['place_id'], r['city']) for r in csv.DictReader(file)]
    assert rows == [
        (view.image, number, city)
        for view, number, city in zip(
            half_done, '0015', ('town_0100', 'town_0100', 'town_0100', 'town_0101')
        )
    ]


def test_the_training_reads_the_table_as_places(town: World, tmp_path: Path) -> None:
    views = training_world.plan_views(town, places=5, views=4)
    (tmp_path / 'images').mkdir()
    for view in views:
        (tmp_path / view.image).write_bytes(b'a picture')
    training_world.write_table(views, tmp_path, places=5, first_seed=100)
    found = read(tmp_path, DataConfig(root=str(tmp_path), min_images_per_place=4))
    assert found.places == 5


def test_more_views_than_conditions_or_places_than_room_are_refused(town: World) -> None:
    with pytest.raises(ValueError, match='9 views of a place, but there are 6 conditions'):
        training_world.plan_views(town, places=2, views=9)
    with pytest.raises(ValueError, match='has room for'):
        training_world.plan_views(town, places=999, views=2)
