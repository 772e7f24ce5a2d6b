"""The drives through a rendered town: exact poses, equal plans, and a stopped run goes on."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import hypot, pi
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'demo'))

import contact_sheet
import town_drives
from drive import rotation_matrix
from render import Filming, plan_filming
from town_drives import JUDGED_DRIVES, drive_folder, plan_drive, prepare
from vpr_ros.drives import open_drive
from world import CONDITIONS, DRIVES, Camera, Condition, Drive, World, clutter

STEADY = replace(DRIVES['mapping'], weave_m=0.0, heading_noise_deg=0.0)


@pytest.fixture(scope='module')
def town() -> World:
    """The town that the set is drawn in unless another is named."""
    return World.generate(21)


def filmed(world: World, plan: Drive, condition: Condition = CONDITIONS['day']) -> Filming:
    """A drive through the demo's camera."""
    return plan_filming(world, condition, plan, Camera())


def draw(filming: Filming, folder: Path, frames: list[int]) -> None:
    """Put a plain picture where the renderer, which is not installed here, would put a frame."""
    picture = np.full((filming.camera.height_px, filming.camera.width_px, 3), 128, np.uint8)
    for k in frames:
        cv2.imwrite(str(folder / 'images' / f'{k:06d}.jpg'), picture)


def test_equal_towns_give_equal_plans_and_other_towns_other_ones(town: World) -> None:
    same_town, other_town = World.generate(21), World.generate(22)
    for name in JUDGED_DRIVES:
        plan, again = plan_drive(town, name), plan_drive(same_town, name)
        other = plan_drive(other_town, name)
        np.testing.assert_array_equal(plan.map_T_camera, again.map_T_camera)
        np.testing.assert_array_equal(plan.times_s, again.times_s)
        assert clutter(plan.world, plan.condition) == clutter(again.world, again.condition)
        assert not np.array_equal(plan.map_T_camera[:9], other.map_T_camera[-9:])
        assert clutter(plan.world, plan.condition) != clutter(other.world, other.condition)


def test_oncoming_is_the_route_reversed_with_the_heading_turned(town: World) -> None:
    assert town.corners('oncoming') == tuple(reversed(town.corners('mapped')))
    forth = filmed(town, replace(STEADY, lane_m=-1.25)).motion
    back = filmed(town, replace(STEADY, route='oncoming', lane_m=1.25)).motion
    straight = [  # the corners are cut by another radius from the other side
        k
        for k in range(0, len(forth.xy_m), 40)
        if all(hypot(*(forth.xy_m[k] - corner)) > 14.0 for corner in town.mapped_route[1:-1])
    ]
    assert len(straight) > 50
    for k in straight:
        off_m = np.hypot(*(back.xy_m - forth.xy_m[k]).T)
        nearest = int(off_m.argmin())
        assert off_m[nearest] < 0.1
        turned = back.yaw_rad[nearest] - forth.yaw_rad[k]
        assert np.cos(turned) == pytest.approx(-1.0, abs=1e-6)


def test_oncoming_keeps_to_its_own_right(town: World) -> None:
    day, oncoming = plan_drive(town, 'day').motion, plan_drive(town, 'oncoming').motion
    middle = next(k for k, x in enumerate(oncoming.xy_m[:, 0]) if x < 60.0)  # Mill Street
    assert oncoming.xy_m[middle, 1] > 0.8
    assert day.xy_m[np.abs(day.xy_m[:, 0] - 60.0).argmin(), 1] < -0.8
    assert np.cos(oncoming.yaw_rad[middle]) == pytest.approx(np.cos(pi), abs=1e-3)


def test_the_detour_leaves_the_map_turns_and_returns_onto_it(town: World) -> None:
    mapped = plan_drive(town, 'day').motion.xy_m[::20]
    motion = plan_drive(town, 'detour').motion
    away_m = np.array([np.hypot(*(mapped - xy).T).min() for xy in motion.xy_m[::20]])
    off_map = np.flatnonzero(away_m > 25.0)
    assert (off_map[0] > 0) and (off_map[-1] < len(away_m) - 20)
    np.testing.assert_array_equal(np.diff(off_map), 1)  # once
    assert 45.0 < len(off_map) < 60.0  # points 1 m apart
    assert away_m[-20:].max() < 1.5
    junction_x, _ = town.detour_route[-2]
    yaw_rad, xy = motion.yaw_rad[::20], motion.xy_m[::20]
    assert np.abs(xy[off_map, 0] - junction_x).max() < 2.8  # clear of what is parked
    assert np.sin(yaw_rad[off_map[0]]) > 0.9 and np.sin(yaw_rad[off_map[-1]]) < -0.9


def test_pictures_are_about_two_metres_apart(town: World) -> None:
    for name in JUDGED_DRIVES:
        steps_m = np.hypot(*np.diff(plan_drive(town, name).map_T_camera[:, :2, 3], axis=0).T)
        assert 1.8 < np.median(steps_m) < 2.3, name
        assert steps_m.max() < 2.5, name


def test_what_stands_about_differs_between_drives_but_lane(town: World) -> None:
    standing = {
        name: tuple(map(repr, clutter(town, judged.condition)))
        for name, judged in JUDGED_DRIVES.items()
    }
    assert standing.pop('lane') == standing['day']
    assert len(set(standing.values())) == len(standing)


def test_traffic_is_more_vehicles_and_more_vans_and_none_in_the_way(town: World) -> None:
    def vehicles(name: str) -> list[tuple[str, float, float]]:
        found = clutter(town, JUDGED_DRIVES[name].condition)
        return [(t.kind, t.x, t.y) for t in found if t.kind in ('car', 'van')]

    def vans(name: str) -> int:
        return sum(kind == 'van' for kind, _, _ in vehicles(name))

    assert len(vehicles('traffic')) > 1.5 * len(vehicles('day'))
    assert vans('traffic') > 4 * vans('day')
    path = plan_drive(town, 'traffic').motion.xy_m[::10]
    for _, x, y in vehicles('traffic'):
        assert np.hypot(*(path - (x, y)).T).min() > 1.9


def test_every_drive_goes_on_where_it_was(town: World, tmp_path: Path) -> None:
    for name in JUDGED_DRIVES:
        filming, folder = plan_drive(town, name), drive_folder(tmp_path, 21, name)
        everything = list(range(len(filming.times_s)))
        assert prepare(filming, folder) == everything
        draw(filming, folder, [0, 3])
        (folder / 'images' / '000001.partial').write_bytes(b'half a file')
        assert prepare(filming, folder) == [k for k in everything if k not in (0, 3)]


def test_a_folder_of_another_plan_is_refused_and_left_alone(town: World, tmp_path: Path) -> None:
    prepare(plan_drive(town, 'day'), tmp_path)
    before = (tmp_path / 'poses.csv').read_bytes()
    with pytest.raises(ValueError, match='holds the pictures of another plan'):
        prepare(plan_drive(town, 'fog'), tmp_path)
    with pytest.raises(ValueError, match='holds the pictures of another plan'):
        prepare(plan_drive(World.generate(22), 'day'), tmp_path)
    assert (tmp_path / 'poses.csv').read_bytes() == before


def test_a_drawn_drive_opens_as_a_posed_folder_with_its_exact_poses(
    town: World, tmp_path: Path
) -> None:
    filming = plan_drive(town, 'oncoming')
    prepare(filming, tmp_path)
    draw(filming, tmp_path, list(range(len(filming.times_s))))
    drive = open_drive(tmp_path)
    assert len(drive) == len(filming.times_s)
    assert drive.trajectory is not None and drive.camera is not None and not drive.warnings
    poses = drive.trajectory.poses
    np.testing.assert_allclose(poses[:, :3], filming.map_T_camera[:, :3, 3], atol=1e-6)
    for pose, matrix in zip(poses, filming.map_T_camera):
        np.testing.assert_allclose(rotation_matrix(pose[3:]), matrix[:3, :3], atol=1e-6)
    assert drive.mounting_known
    np.testing.assert_allclose(drive.base_T_camera[:3], (0.5, 0.0, 1.4))


def test_the_command_names_its_drives_and_refuses_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'argv', ['town_drives.py', '--drives', 'sandstorm'])
    with pytest.raises(SystemExit):
        town_drives.main()
    assert 'sandstorm' in capsys.readouterr().err


def test_a_sheet_has_a_row_for_each_drive_and_a_gap_for_what_was_not_drawn(
    town: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ('day', 'detour', 'fog')]
    for folder in folders:
        filming = plan_drive(town, folder.name)
        prepare(filming, folder)
        draw(filming, folder, list(range(20 if folder.name == 'fog' else len(filming.times_s))))
    sheet = tmp_path / 'sheet.png'
    options = ['--places', '3', '--width', '80', '--output', str(sheet)]
    monkeypatch.setattr(sys, 'argv', ['contact_sheet.py', *map(str, folders), *options])
    contact_sheet.main()
    picture = cv2.imread(str(sheet))
    assert picture is not None
    centres = picture[32::64, 42::84]  # [row, column, 3]
    white = (centres.min(axis=2) > 250).tolist()
    drawn, elsewhere = [False, False, False], [True, False, True]
    assert white[:2] == [[*drawn, elsewhere[0]], [*drawn, elsewhere[1]]]
    assert white[2] == [False, True, True, elsewhere[2]]


def test_a_sheet_names_a_drive_without_pictures(
    town: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(plan_drive(town, 'day'), tmp_path)
    options = [str(tmp_path), str(tmp_path), '--output', str(tmp_path / 'sheet.png')]
    monkeypatch.setattr(sys, 'argv', ['contact_sheet.py', *options])
    with pytest.raises(SystemExit):
        contact_sheet.main()
    assert f'{tmp_path}: has no picture yet' in capsys.readouterr().err
