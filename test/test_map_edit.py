"""A map grows and shrinks beside itself.

Adding costs what is added, an open map stays what it was, and every failure leaves the old one.
"""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from waiting import until_begun
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.camera import Camera
from vpr_ros.core.errors import MapError
from vpr_ros.core.geometry import FORWARD_CAMERA, angle_between, compose, yaw_quat
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping import place_map as place_map_module
from vpr_ros.core.mapping.header import MapHeader, map_id, read_header, write_header
from vpr_ros.core.mapping.layout import MOST_PARTS, part_name
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.core.types import Datum, Poses
from vpr_ros.drives.posed_images import PosedImages
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care import edit
from vpr_ros.map_care.edit import append, keep_places, merge, slimmed
from vpr_ros.map_care.pruning import prune
from vpr_ros.map_care.recall import Queries
from vpr_ros.map_care.redundancy import Redundancy, standing_for

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_map(tmp_path / 'map', unit_rows(20, 16), straight_drive(20))
    return tmp_path / 'map'


def add_rows(folder: Path, count: int, *, seed: int = 1) -> None:
    """Append places that lie 100 m to the left of the first ones, with thumbnails of 200 grey."""
    poses = straight_drive(count)
    poses[:, 1] += 100
    thumbnail = encode_jpeg(np.full((24, 32, 3), 200, dtype=np.uint8))
    with append(folder, read_header(folder), command='map append', source='more') as writer:
        for row, pose in enumerate(poses):
            descriptor = unit_rows(count, 16, seed)[row]
            name = f'more {row}.jpg'
            writer.add(descriptor, pose, stamp_ns=row, name=name, thumbnail=thumbnail)


def test_an_appended_map_has_the_old_places_and_then_the_new_ones(folder: Path) -> None:
    add_rows(folder, 5)
    place_map = PlaceMap.open(folder)
    rows = np.concatenate([unit_rows(20, 16), unit_rows(5, 16, 1)])
    assert len(place_map) == 25 and place_map.header.parts == ['parts/0000', 'parts/0001']
    np.testing.assert_array_equal(place_map.descriptors_of(np.arange(25)), rows)
    np.testing.assert_allclose(place_map.poses[20:, 1], 100)
    assert place_map.names[19:21] == ['19.jpg', 'more 0.jpg']
    assert [round(float(place_map.thumbnail(row).mean())) for row in (19, 20)] == [19, 200]
    queries = unit_rows(7, 16, 2)
    np.testing.assert_array_equal(
        place_map.index.search(queries, 6)[1], np.argsort(-queries @ rows.T, axis=1)[:, :6]
    )
    (change,) = place_map.header.changes
    assert (change.command, change.source, change.places) == ('map append', 'more', 25)


def test_a_folder_that_is_no_map_is_not_replaced_by_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / 'papers').mkdir()
    (tmp_path / 'papers' / 'thesis.txt').write_text('years')
    place_map = PlaceMap.open(folder)
    for change in (
        lambda output: merge([place_map], output),
        lambda output: keep_places(place_map, np.ones(20, dtype=bool), output),
    ):
        with pytest.raises(MapError, match='exists and is not a map'):
            change(tmp_path / 'papers')
        assert (tmp_path / 'papers' / 'thesis.txt').read_text() == 'years'


def written_bytes() -> int:
    """Bytes that this process has handed to write calls."""
    counters = Path('/proc/self/io').read_text().split()
    return int(counters[counters.index('wchar:') + 1])


def test_adding_to_a_large_map_reads_and_writes_no_more_than_to_a_small_one(
    tmp_path: Path,
) -> None:
    """The old files get a second name, so that their content is neither copied nor read."""
    costs = {}
    for count in (20, 20_000):
        folder = tmp_path / str(count)
        write_map(folder, unit_rows(count, 16), straight_drive(count))
        old = {path.name: path.stat().st_ino for path in (folder / 'parts/0000').iterdir()}
        before = written_bytes()
        add_rows(folder, 10)
        costs[count] = written_bytes() - before
        kept = {path.name: path.stat().st_ino for path in (folder / 'parts/0000').iterdir()}
        assert kept == old
        assert len(PlaceMap.open(folder)) == count + 10
    assert costs[20_000] - costs[20] < 100  # a longer number in map.yaml


def test_where_files_cannot_be_linked_they_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError('no links here')

    monkeypatch.setattr(os, 'link', refuse)
    add_rows(folder, 5)
    assert len(PlaceMap.open(folder)) == 25


@pytest.mark.parametrize('wrong', [{'name': 'a' * 5000}, {'thumbnail': bytes(2 << 20)}])
def test_what_no_map_can_be_opened_with_is_not_written(
    folder: Path, wrong: dict[str, str | bytes]
) -> None:
    place: dict[str, Any] = {'stamp_ns': 0, 'name': 'a.jpg', 'thumbnail': b''}
    with (
        pytest.raises(MapError, match=r'a name of \d+ and a thumbnail of \d+ bytes'),
        append(folder, read_header(folder)) as writer,
    ):
        writer.add(unit_rows(1, 16)[0], straight_drive(1)[0], **place | wrong)
    assert len(PlaceMap.open(folder)) == 20


def test_a_map_takes_no_more_recordings_than_four_digits_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert part_name(MOST_PARTS - 1) == 'parts/9999'
    monkeypatch.setattr(edit, 'MOST_PARTS', 2)
    add_rows(folder, 5)
    with pytest.raises(MapError, match='at most 2 recordings'):
        add_rows(folder, 3)
    assert len(PlaceMap.open(folder)) == 25


def test_an_append_that_fails_leaves_the_map_and_no_litter(folder: Path) -> None:
    before = map_id(read_header(folder))
    with pytest.raises(ZeroDivisionError), append(folder, read_header(folder)) as writer:
        writer.add(unit_rows(1, 16)[0], straight_drive(1)[0], stamp_ns=0, name='', thumbnail=b'')
        raise ZeroDivisionError
    with pytest.raises(MapError, match='not changed, because no image'):
        add_rows(folder, 0)
    assert map_id(PlaceMap.open(folder).header) == before
    assert [path.name for path in folder.parent.iterdir()] == ['map']


def test_a_map_without_one_of_its_files_is_not_appended_to(folder: Path) -> None:
    (folder / 'parts/0000/poses.npy').unlink()
    with pytest.raises(MapError, match=r'parts/0000/poses\.npy: this file is missing'):
        add_rows(folder, 1)


def test_a_change_by_somebody_else_meanwhile_is_not_lost(folder: Path) -> None:
    header = read_header(folder)
    with (
        pytest.raises(MapError, match='another program changed the map'),
        append(folder, header) as w,
    ):
        write_header(folder, replace(header, source='somebody'))
        w.add(unit_rows(1, 16)[0], straight_drive(1)[0], stamp_ns=0, name='', thumbnail=b'')
    assert read_header(folder).source == 'somebody' and len(PlaceMap.open(folder)) == 20


APPEND_FOREVER = """
import sys
sys.path.insert(0, {test!r})
from pathlib import Path
from worlds import straight_drive, unit_rows
from vpr_ros.map_care.edit import append
from vpr_ros.core.mapping.header import read_header, write_header
folder = Path({folder!r})
with append(folder, read_header(folder)) as writer:
    print('started', flush=True)
    while True:
        row, pose = unit_rows(1, 16)[0], straight_drive(1)[0]
        writer.add(row, pose, stamp_ns=0, name='0', thumbnail=b'x' * 1000)
"""


def test_a_killed_append_leaves_the_old_map_and_the_next_one_removes_its_remains(
    folder: Path,
) -> None:
    code = APPEND_FOREVER.format(test=str(ROOT / 'test'), folder=str(folder))
    command = [sys.executable, '-c', code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as adder:
        assert adder.stdout is not None and adder.stdout.readline() == b'started\n'
        until_begun(folder)
        os.kill(adder.pid, signal.SIGKILL)
    assert len(PlaceMap.open(folder)) == 20
    assert len(list(folder.parent.iterdir())) == 3  # the map, what was begun, and its lock
    add_rows(folder, 5)
    assert len(PlaceMap.open(folder)) == 25
    assert [path.name for path in folder.parent.iterdir()] == ['map']


def test_an_open_map_stays_what_it_was_when_its_folder_is_replaced(folder: Path) -> None:
    opened = PlaceMap.open(folder)
    write_map(folder, unit_rows(3, 16, 9), straight_drive(3, spacing_m=7))
    assert opened.names[12] == '12.jpg'
    assert round(float(opened.thumbnail(12).mean())) == 12
    np.testing.assert_array_equal(opened.index.search(unit_rows(20, 16)[4:5], 1)[1], [[4]])
    shutil.rmtree(folder)
    assert round(float(opened.thumbnail(19).mean())) == 19


def test_a_map_that_is_replaced_while_it_is_opened_opens_as_the_new_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_file = place_map_module.check_file

    def replace_it_first(path: Path, expected: str) -> None:
        monkeypatch.setattr(place_map_module, 'check_file', check_file)
        write_map(folder, unit_rows(3, 16, 9), straight_drive(3))
        check_file(path, expected)

    monkeypatch.setattr(place_map_module, 'check_file', replace_it_first)
    assert len(PlaceMap.open(folder)) == 3


def test_a_link_to_a_map_stays_a_link(folder: Path) -> None:
    link = folder.with_name('current')
    link.symlink_to(folder)
    add_rows(link, 5)
    assert link.is_symlink() and len(PlaceMap.open(folder)) == 25


def test_merged_maps_have_all_places_and_a_shared_recording_once(
    tmp_path: Path, folder: Path
) -> None:
    other = write_map(tmp_path / 'other', unit_rows(7, 16, 3), straight_drive(7, yaw_rad=1.0))
    shutil.copytree(folder, tmp_path / 'longer')
    add_rows(tmp_path / 'longer', 5)
    longer = replace(read_header(tmp_path / 'longer'), part_sources=('day.bag', ''))
    write_header(tmp_path / 'longer', longer)
    maps = [PlaceMap.open(folder), other, PlaceMap.open(tmp_path / 'longer')]
    notes = merge(maps, tmp_path / 'all', command='map merge')
    merged = PlaceMap.open(tmp_path / 'all')
    assert len(merged) == 32
    expected = [unit_rows(20, 16), unit_rows(7, 16, 3), unit_rows(5, 16, 1)]
    np.testing.assert_array_equal(np.concatenate(merged.blocks), np.concatenate(expected))
    np.testing.assert_array_equal(merged.poses[20:27], other.poses)
    assert len(notes) == 1
    assert notes[0].endswith('longer/parts/0000: 20 places of day.bag, held already')
    assert [len(PlaceMap.open(m.folder)) for m in maps] == [20, 7, 25]


def test_a_map_may_be_merged_into_itself(tmp_path: Path, folder: Path) -> None:
    other = write_map(tmp_path / 'other', unit_rows(7, 16, 3), straight_drive(7))
    merge([PlaceMap.open(folder), other], folder)
    assert len(PlaceMap.open(folder)) == 27


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'model_sha256': 'b' * 64, 'model_name': 'other'}, r'test \(aaaa.*other \(bbbb'),
        ({'frame_id': 'odom'}, 'positions in frame odom, expected frame map'),
        ({'datum': Datum(33, 'U', 0.0, 0.0)}, 'positions in UTM zone 33U, expected frame map'),
        ({'has_heading': False}, 'the first map has headings and the second has none'),
    ],
)
def test_maps_that_do_not_fit_are_not_merged(
    tmp_path: Path, folder: Path, wrong: dict[str, object], said: str
) -> None:
    header = replace(read_header(folder), **wrong)  # type: ignore[arg-type]
    with build(tmp_path / 'other', header) as writer:
        pose = straight_drive(1)[0]
        writer.add(unit_rows(1, 16)[0], pose, stamp_ns=0, name='', thumbnail=b'')
    maps = [PlaceMap.open(folder), PlaceMap.open(tmp_path / 'other')]
    with pytest.raises(MapError, match=said):
        merge(maps, tmp_path / 'all')
    assert not (tmp_path / 'all').exists()


@pytest.mark.parametrize('output', ['all', 'map'])
def test_descriptors_of_another_size_under_the_same_models_name_are_not_merged(
    tmp_path: Path, folder: Path, output: str
) -> None:
    other = write_map(tmp_path / 'other', unit_rows(3, 24), straight_drive(3))
    assert other.header.model_sha256 == read_header(folder).model_sha256
    with pytest.raises(MapError, match='descriptors have 16 and 24 numbers'):
        merge([PlaceMap.open(folder), other], tmp_path / output)
    assert len(PlaceMap.open(folder)) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ['map', 'other']


def geographic(folder: Path, datum: Datum, poses: Poses) -> PlaceMap:
    header = MapHeader(
        model_name='test', model_sha256='a' * 64, descriptor_size=16, frame_id='map', datum=datum
    )
    with build(folder, header) as writer:
        for row, pose in enumerate(poses):
            descriptor = unit_rows(len(poses), 16, int(datum.east_m))[row]
            writer.add(descriptor, pose, stamp_ns=row, name='', thumbnail=b'')
    return PlaceMap.open(folder)


def test_geographic_maps_of_one_zone_are_merged_at_the_first_ones_origin(tmp_path: Path) -> None:
    first = geographic(tmp_path / 'a', Datum(33, 'U', 500.0, 1000.0), straight_drive(3))
    second = geographic(tmp_path / 'b', Datum(33, 'U', 700.0, 900.0), straight_drive(3))
    before = second.poses.copy()
    merge([first, second], tmp_path / 'all')
    merged = PlaceMap.open(tmp_path / 'all')
    np.testing.assert_allclose(merged.poses[3:, :2], before[:, :2] + [200, -100])
    np.testing.assert_array_equal(PlaceMap.open(tmp_path / 'b').poses, before)


@pytest.mark.parametrize(('higher_m', 'is_told'), [(0.0, False), (0.01, True)])
def test_a_map_whose_camera_is_mounted_in_another_way_is_named(
    tmp_path: Path, folder: Path, higher_m: float, is_told: bool
) -> None:
    mounting = FORWARD_CAMERA + higher_m * np.eye(7)[2]
    header = replace(read_header(folder), base_T_camera=tuple(mounting.tolist()), files=None)
    with build(tmp_path / 'other', header) as writer:
        writer.add(unit_rows(1, 16, 3)[0], straight_drive(1)[0], stamp_ns=0, name='')
    notes = merge([PlaceMap.open(folder), PlaceMap.open(tmp_path / 'other')], tmp_path / 'all')
    said = f'{tmp_path / "other"}: its camera is mounted in another way'
    assert [note.startswith(said) for note in notes] == [True] * is_told


@pytest.mark.parametrize(('focal_px', 'is_told'), [(400.0, False), (300.0, True)])
def test_a_map_whose_camera_has_another_lens_is_named(
    tmp_path: Path, folder: Path, focal_px: float, is_told: bool
) -> None:
    for name, focal in (('first', 400.0), ('other', focal_px)):
        camera = Camera(640, 480, (focal, 0, 319.5, 0, focal, 239.5, 0, 0, 1))
        held = {'camera': camera, 'landmark_features': 'root-sift', 'files': None}
        with build(tmp_path / name, replace(read_header(folder), **held)) as writer:
            writer.add(unit_rows(1, 16, 3)[0], straight_drive(1)[0], stamp_ns=0, name=name)
    maps = [PlaceMap.open(tmp_path / name) for name in ('first', 'other')]
    notes = merge(maps, tmp_path / 'all')
    said = f'{tmp_path / "other"}: its camera has another lens'
    assert [note.startswith(said) for note in notes] == [True] * is_told
    assert read_header(tmp_path / 'all').camera == maps[0].header.camera


def test_kept_places_are_all_that_is_left(tmp_path: Path, folder: Path) -> None:
    add_rows(folder, 5)
    old = PlaceMap.open(folder)
    kept = np.arange(25) % 3 == 0
    assert keep_places(old, kept, tmp_path / 'small', command='map prune')
    small = PlaceMap.open(tmp_path / 'small')
    np.testing.assert_array_equal(np.concatenate(small.blocks), np.concatenate(old.blocks)[kept])
    np.testing.assert_array_equal(small.poses, old.poses[kept])
    np.testing.assert_array_equal(small.stamps_ns, old.stamps_ns[kept])
    assert small.names == [name for name, keep in zip(old.names, kept) if keep]
    assert small.thumbnail_jpeg(7) == old.thumbnail_jpeg(21)
    assert [change.command for change in small.header.changes] == ['map append', 'map prune']


def test_a_map_says_of_each_part_which_drive_it_is_from(tmp_path: Path, folder: Path) -> None:
    write_header(folder, replace(read_header(folder), source='first', part_sources=()))
    add_rows(folder, 5)
    other = tmp_path / 'other'
    with build(other, replace(read_header(folder), source='other'), features=None) as writer:
        pose = straight_drive(1)[0]
        writer.add(unit_rows(1, 16, 7)[0], pose, stamp_ns=0, name='0', thumbnail=b'')
    assert read_header(other).drives == ('other',)
    both = tmp_path / 'both'
    merge([PlaceMap.open(other), PlaceMap.open(folder), PlaceMap.open(other)], both)
    assert read_header(both).drives == ('other', 'first', 'more')
    slimmed(PlaceMap.open(both), both, thumbnails=False)
    add_rows(both, 2, seed=4)
    assert read_header(both).drives == ('other', 'first', 'more', 'more')
    pruned = tmp_path / 'pruned'
    keep_places(PlaceMap.open(both), np.arange(28) % 2 == 0, pruned)
    assert read_header(pruned).drives == ('other and 2 more',)
    add_rows(pruned, 2, seed=5)
    assert read_header(pruned).drives == ('other and 2 more', 'more')


@pytest.mark.parametrize('wrong', ['more', ['one'], ['one', 2], {'one': 1, 'two': 2}])
def test_a_map_that_names_other_drives_than_it_has_parts_is_damaged(
    folder: Path, wrong: Any
) -> None:
    add_rows(folder, 5)
    path = folder / 'map.yaml'
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {'part_sources': wrong}))
    with pytest.raises(MapError, match=r'part_sources: .* expected the drive of each part, 2'):
        read_header(folder)


def test_a_smaller_map_that_is_declined_or_empty_is_not_written(folder: Path) -> None:
    old = PlaceMap.open(folder)
    seen: list[int] = []
    kept = np.arange(20) < 4
    assert not keep_places(old, kept, folder, accepts=lambda small: bool(seen.append(len(small))))
    assert seen == [4] and len(PlaceMap.open(folder)) == 20
    with pytest.raises(MapError, match='none of its 20 places would be left'):
        keep_places(old, kept & False, folder)
    assert [path.name for path in folder.parent.iterdir()] == ['map']


def test_places_that_were_added_meanwhile_are_not_lost_by_pruning(folder: Path) -> None:
    old = PlaceMap.open(folder)
    add_rows(folder, 5)
    with pytest.raises(MapError, match='another program changed the map'):
        keep_places(old, np.arange(20) < 4, folder)
    assert len(PlaceMap.open(folder)) == 25
    assert keep_places(PlaceMap.open(folder), np.arange(25) < 4, folder)
    assert len(PlaceMap.open(folder)) == 4


def test_redundancy_is_what_comparing_every_place_with_every_kept_one_gives(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    count = 300
    poses = np.zeros((count, 7))
    poses[:, :2] = rng.uniform(-3, 3, (count, 2))
    poses[:, 3:] = yaw_quat(rng.uniform(-1, 1, count))
    poses = compose(poses, straight_drive(1)[0])
    rows = unit_rows(8, 16)[rng.integers(0, 8, count)] + 0.02 * unit_rows(count, 16, 5)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    place_map = write_map(tmp_path / 'map', rows, poses)
    limits = Redundancy(radius_m=0.9, heading_rad=0.6, similarity=0.95)

    kept: list[int] = []
    for row in reversed(range(count)):  # the newest is the last
        stands = [
            other
            for other in kept
            if np.linalg.norm(poses[other, :3] - poses[row, :3]) <= 0.9
            and angle_between(poses[other, 3:], poses[row, 3:]) <= 0.6
            and rows[other] @ rows[row] >= 0.95
        ]
        if not stands:
            kept.append(row)
    keeper = standing_for(place_map, limits)
    assert sorted(kept) == np.flatnonzero(keeper == np.arange(count)).tolist()
    assert 50 < len(kept) < 250
    assert set(keeper.tolist()) == set(kept)


def test_a_recall_that_falls_by_as_much_as_allowed_is_allowed(tmp_path: Path) -> None:
    """Of ten queries eight are right before and seven after: 0.8 - 0.7 is more than 0.1 in bits.

    The newest place looks like place 7 and lies 6 m beside it, where it is not right.
    """
    rows = np.eye(16, dtype=np.float32)[[*range(10), 7]]
    rows[10, [7, 15]] = 0.96, 0.28
    poses = straight_drive(11)
    poses[:, 0], poses[10, 0] = np.arange(11) * 10.0, 76.0
    old = write_map(tmp_path / 'map', rows, poses)
    shown = rows[[*range(8), 0, 0]]  # the last two look like another place
    asked = Queries(PosedImages(shown, old.base_poses()[:10], old.stamps_ns[:10], None))
    for allowed, written in ((0.0999, False), (0.1, True)):
        found = prune(
            old, tmp_path / 'small', asked, limits=Redundancy(radius_m=7.0),
            tolerance=Tolerance(5.0), max_recall_drop=allowed,
        )  # fmt: skip
        assert (found.redundant, found.before.at[1], found.after.at[1]) == (1, 0.8, 0.7)
        assert found.written == written == (tmp_path / 'small').exists()
    assert PlaceMap.open(tmp_path / 'small').poses[-1, 0] == 76.0
