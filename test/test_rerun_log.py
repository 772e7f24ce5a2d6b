"""Logs for the Rerun viewer, read back by Rerun's own reader."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rerun', reason='rerun-sdk is not installed: make setup-test')
from rerun.chunk import RrdReader
from session_world import answers_of, drive, session_on, street
from worlds import (
    picture,
    write_pictured_map,
    write_posed_folder,
    write_tiny_model,
)

from vpr_ros import build_map, evaluate_bag
from vpr_ros.core.errors import LogError
from vpr_ros.core.geometry import matrix, principal_axes
from vpr_ros.core.localizing.localizer import Localization
from vpr_ros.core.localizing.outcome import Fix, NoFix
from vpr_ros.core.localizing.retrieve import Candidates
from vpr_ros.core.localizing.sightings import SeenLandmarks
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.rerun_log import drive_log
from vpr_ros.rerun_log.drive_log import DriveLog, before
from vpr_ros.session.answers import Answer, Localized, MapChanged, StateChanged

ROOT = Path(__file__).resolve().parents[1]
Rows = dict[str, list[tuple[int | None, dict[str, Any]]]]
ALONG = [*range(10, 26), 250, 250, 26, 27]  # places of the street; 250 is dark
COLOURS = {'LOST': (207, 84, 60), 'TENTATIVE': (230, 140, 20), 'LOCALIZED': (46, 160, 67)}


def read(path: Path) -> Rows:
    """Each entity's rows by time: its stamp in ns, None for ever, and its components."""
    found: Rows = defaultdict(list)
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        stamps = batch.column('image').cast('int64').to_pylist() if not chunk.is_static else None
        for row, values in enumerate(batch.to_pylist()):
            parts = {name.partition(':')[2]: value for name, value in values.items()}
            found[chunk.entity_path].append((stamps[row] if stamps else None, parts))
    return {name: sorted(rows, key=lambda row: row[0] or 0) for name, rows in found.items()}


def timed(rows: Rows, entity: str, component: str) -> list[tuple[int, Any]]:
    """The stamps at which an entity has a component, and what it is."""
    found = [(stamp, parts.get(component)) for stamp, parts in rows.get(entity, [])]
    return [(stamp, value) for stamp, value in found if stamp is not None and value is not None]


@pytest.fixture(scope='module')
def place_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return street(tmp_path_factory.mktemp('street') / 'map')


@pytest.fixture(scope='module')
def answers(place_map: PlaceMap) -> list[list[Answer]]:
    """What a session answers to each image along a street, two of which are dark."""
    session = session_on(place_map)
    return [answers_of(session, [event]) for event in drive(ALONG)]


@pytest.fixture(scope='module')
def located(answers: list[list[Answer]]) -> list[Localization]:
    return [each.located for step in answers for each in step if isinstance(each, Localized)]


@pytest.fixture(scope='module')
def rows(
    place_map: PlaceMap, answers: list[list[Answer]], tmp_path_factory: pytest.TempPathFactory
) -> Rows:
    path = tmp_path_factory.mktemp('log') / 'drive.rrd'
    logged(path, place_map, answers)
    return read(path)


def logged(
    path: Path, place_map: PlaceMap, answers: list[list[Answer]], **options: Any
) -> DriveLog:
    log = DriveLog(path, place_map, **({'tell': pytest.fail, 'waits': True} | options))
    for step in answers:
        log.take(step)
    log.close()
    return log


# What a log shows --------------------------------------------------------------------------------


def test_every_image_stands_at_its_stamp(rows: Rows, located: list[Localization]) -> None:
    stamps = [each.stamp_ns for each in located]
    assert len(stamps) == len(ALONG)
    for entity, component in (
        ('/camera/0', 'blob'),
        ('/answer', 'text'),
        ('/drive/probability', 'scalars'),
        ('/map/candidates', 'positions'),
    ):
        assert [stamp for stamp, _ in timed(rows, entity, component)] == stamps, entity


def test_the_camera_is_seen_as_a_small_jpeg(
    place_map: PlaceMap, answers: list[list[Answer]], tmp_path: Path
) -> None:
    first = next(each for each in answers[0] if isinstance(each, Localized))
    wide = np.repeat(np.repeat(picture(3), 6, axis=0), 6, axis=1)  # [720, 960, 3]
    logged(
        tmp_path / 'a.rrd', place_map, [[replace(first, frame=replace(first.frame, image=wide))]]
    )
    ((_, [blob]),) = timed(read(tmp_path / 'a.rrd'), '/camera/0', 'blob')
    seen = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert seen.shape == (360, 480, 3)
    assert np.abs(seen.astype(int) - wide[::2, ::2]).mean() < 8


def test_the_map_and_the_fixes_are_where_they_are(
    rows: Rows, located: list[Localization], place_map: PlaceMap
) -> None:
    ((_, places),) = timed(rows, '/map/places', 'positions')
    np.testing.assert_allclose(places, place_map.poses[:, :3], rtol=1e-6)
    fixes = [(each.stamp_ns, each.outcome) for each in located if isinstance(each.outcome, Fix)]
    assert len(fixes) > 5
    shown = timed(rows, '/map/fixes', 'positions')
    assert [stamp for stamp, _ in shown] == [stamp for stamp, _ in fixes]
    np.testing.assert_allclose(
        [position for _, [position] in shown], [fix.pose[:3] for _, fix in fixes], rtol=1e-6
    )


def test_fixes_have_the_colour_of_the_state(rows: Rows, answers: list[list[Answer]]) -> None:
    state, expected = 'LOST', {}
    for step in answers:
        for each in step:
            state = each.state.value if isinstance(each, StateChanged) else state
        for each in step:
            if isinstance(each, Localized) and isinstance(each.located.outcome, Fix):
                red, green, blue = COLOURS[state]
                expected[each.located.stamp_ns] = (red << 24) | (green << 16) | (blue << 8) | 0xFF
    found = {stamp: colour for stamp, [colour] in timed(rows, '/map/fixes', 'colors')}
    assert found == expected and len(set(expected.values())) > 1


def test_the_extent_is_two_sigmas_along_its_axes(rows: Rows, located: list[Localization]) -> None:
    fixes = [each.outcome for each in located if isinstance(each.outcome, Fix)]
    sizes = timed(rows, '/map/robot/two_sigma', 'half_sizes')
    turns = timed(rows, '/map/robot/two_sigma', 'quaternions')
    assert len(sizes) == len(fixes)
    for fix, (_, [size]), (_, [turn]) in zip(fixes, sizes, turns, strict=True):
        axes = matrix(np.array(turn, dtype=np.float64))
        spread = axes @ np.diag(np.square(size) / 4) @ axes.T
        np.testing.assert_allclose(spread, fix.covariance[:3, :3], rtol=1e-3, atol=1e-6)


def test_principal_axes_give_the_covariance_back() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        root = random.standard_normal((3, 3))
        sigmas, turn = principal_axes(root @ root.T)
        axes = matrix(turn)
        np.testing.assert_allclose(axes @ np.diag(sigmas**2) @ axes.T, root @ root.T, atol=1e-9)


def test_numbers_and_reasons_are_those_of_the_answers(
    rows: Rows, located: list[Localization]
) -> None:
    probabilities = [value for _, [value] in timed(rows, '/drive/probability', 'scalars')]
    assert probabilities == [each.outcome.probability for each in located]
    beliefs = [value for _, [value] in timed(rows, '/drive/belief', 'scalars')]
    weights = [each.candidates.weight for each in located]
    np.testing.assert_allclose(
        beliefs, [weight[0] for weight in weights if weight is not None], rtol=1e-6
    )
    said = [text for _, [text] in timed(rows, '/answer', 'text')]
    for text, each in zip(said, located, strict=True):
        outcome = each.outcome
        assert ('**fix**' in text) == isinstance(outcome, Fix)
        if isinstance(outcome, NoFix):
            assert f'no fix: {outcome.reason.value}' in text
    assert any('the image shows nothing' in text for text in said)


def test_states_are_told_where_they_change(rows: Rows, answers: list[list[Answer]]) -> None:
    changes = [each for step in answers for each in step if isinstance(each, StateChanged)]
    assert len(changes) > 1
    states = [state for _, [state] in timed(rows, '/drive/state', 'state')]
    assert states == [change.state.value for change in changes]  # the first image is a fix
    lines = [text for _, [text] in timed(rows, '/events', 'text')]
    assert lines == [f'{each.before.value} -> {each.state.value}' for each in changes]


def test_matches_are_the_pictures_of_the_map(
    rows: Rows, located: list[Localization], place_map: PlaceMap
) -> None:
    best = {each.stamp_ns: int(each.candidates.place_index[0]) for each in located}
    shown = timed(rows, '/matches/first', 'blob')
    assert 5 < len(shown) <= len(best)  # once for each place
    for stamp, [blob] in shown:
        assert bytes(blob) == place_map.thumbnail_jpeg(best[stamp])


def test_without_a_fix_no_robot_is_left_on_the_map(
    rows: Rows, located: list[Localization]
) -> None:
    robot = {stamp: True for stamp, _ in timed(rows, '/map/robot', 'origins')}
    robot |= {stamp: False for stamp, _ in timed(rows, '/map/robot', 'is_recursive')}
    stands = False
    for each in located:
        stands = robot.get(each.stamp_ns, stands)
        assert stands == isinstance(each.outcome, Fix)


def test_another_map_is_shown_from_the_next_image_on(
    place_map: PlaceMap, answers: list[list[Answer]], tmp_path: Path
) -> None:
    other = street(tmp_path / 'other', z_m=7.0)
    logged(tmp_path / 'a.rrd', place_map, [answers[0], [MapChanged(other)], answers[1]])
    first, second = timed(read(tmp_path / 'a.rrd'), '/map/places', 'positions')
    assert first[1][0][2] == 0.0 and second[1][0][2] == 7.0 and first[0] < second[0]


def test_landmarks_are_shown_as_seen_and_not_seen(
    place_map: PlaceMap, answers: list[list[Answer]], tmp_path: Path
) -> None:
    mapped = PlaceMap.open(ROOT / 'test/golden_maps/sift_landmarks')
    place = max(range(len(mapped)), key=lambda each: len(mapped.landmarks(each) or ()))
    landmarks = mapped.landmarks(place)
    assert landmarks is not None and len(landmarks) > 2
    seen = np.arange(len(landmarks)) % 3 == 0
    first, second = (
        next(each for each in step if isinstance(each, Localized)) for step in answers[:2]
    )
    few = Candidates(np.arange(2), np.ones(2, np.float32), mapped.base_poses(np.arange(2)))
    without, located = (
        replace(each, located=replace(each.located, candidates=few)) for each in (second, first)
    )
    shown = replace(located.located, landmarks=SeenLandmarks(place, seen))
    steps = [[MapChanged(mapped)], [replace(located, located=shown)], [without]]
    logged(tmp_path / 'a.rrd', place_map, steps)
    rows = read(tmp_path / 'a.rrd')
    turn, shift = matrix(mapped.poses[place, 3:]), mapped.poses[place, :3]
    expected = np.array([turn @ point + shift for point in landmarks.points_m])
    for entity, mask in (('seen', seen), ('not_seen', ~seen)):
        ((stamp, points),) = timed(rows, f'/map/landmarks/{entity}', 'positions')
        assert stamp == first.located.stamp_ns
        np.testing.assert_allclose(points, expected[mask], rtol=1e-4, atol=1e-4)
        ((cleared, _),) = timed(rows, f'/map/landmarks/{entity}', 'is_recursive')
        assert cleared == second.located.stamp_ns
    assert f'{seen.sum()} of {len(seen)} landmarks seen' in timed(rows, '/answer', 'text')[0][1][0]


def test_the_file_says_how_it_is_laid_out(
    place_map: PlaceMap, answers: list[list[Answer]], tmp_path: Path
) -> None:
    logged(tmp_path / 'a.rrd', place_map, answers[:2], cameras=2)
    reader = RrdReader(tmp_path / 'a.rrd')
    (layout,) = reader.blueprints()
    batches = [chunk.to_record_batch() for chunk in reader.stream(store=layout)]
    views = {
        value
        for batch in batches
        for name in batch.schema.names
        if name.endswith('display_name')
        for values in batch.column(name).to_pylist()
        for value in values or ()
    }
    assert views >= {'camera 0', 'camera 1', 'first match', 'map', 'how sure', 'answer', 'state'}


# What must not happen ----------------------------------------------------------------------------


def test_a_file_of_before_stays_beside_the_new_one(
    place_map: PlaceMap, answers: list[list[Answer]], tmp_path: Path
) -> None:
    path = tmp_path / 'a.rrd'
    for step in answers[:2]:
        logged(path, place_map, [step])
    stamps = [timed(read(each), '/answer', 'text')[0][0] for each in (before(path), path)]
    assert stamps == sorted(stamps) and stamps[0] < stamps[1]


def test_a_log_takes_no_more_room_than_it_may(
    place_map: PlaceMap,
    answers: list[list[Answer]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drive_log, '_CHECK_S', 0.0)  # look at the file after each image
    path, most_bytes = tmp_path / 'a.rrd', 200_000
    logged(path, place_map, answers * 6, most_bytes=most_bytes)
    assert {each.name for each in tmp_path.iterdir()} == {'a.rrd', 'a.before.rrd'}
    written = sum(each.stat().st_size for each in tmp_path.iterdir())
    assert written < 2 * most_bytes  # a file so small is mostly its own table of contents
    for each in tmp_path.iterdir():
        rows = read(each)
        assert timed(rows, '/map/places', 'positions') and timed(rows, '/matches/first', 'blob')


def test_a_log_leaves_room_on_the_disk_and_says_so_once(
    place_map: PlaceMap,
    answers: list[list[Answer]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drive_log, 'FREE_BYTES', 1 << 62)  # more than any disk has
    told: list[str] = []
    log = logged(tmp_path / 'a.rrd', place_map, answers, tell=told.append)
    assert len(told) == 1 and 'are free on the disk' in told[0] and 'make room' in told[0]
    assert log.said == f'ended: {told[0]}'


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, 'test')
from session_world import answers_of, drive, session_on
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.rerun_log import drive_log
place_map = PlaceMap.open(sys.argv[1])
drive_log._CHECK_S = 0.0
told = []
log = drive_log.DriveLog(Path(sys.argv[2]), place_map, tell=told.append, waits=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
session = session_on(place_map)
for event in drive([*range(10, 50)]):
    log.take(answers_of(session, [event]))
log.close()
assert session.state.value == 'LOCALIZED', session.state
assert len(told) == 1 and 'cannot be written' in told[0], told
assert log.images < 40, log.images
"""


def run_alone(program: str, place_map: PlaceMap, folder: Path) -> None:
    """Run a program on a map and a log in a process of its own, which has to end well."""
    command = [sys.executable, '-c', program, str(place_map.folder), str(folder / 'a.rrd')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_file_that_cannot_grow_ends_the_log_and_not_the_drive(
    place_map: PlaceMap, tmp_path: Path
) -> None:
    run_alone(FULL, place_map, tmp_path)


HANGS = """
import sys, threading
from pathlib import Path
sys.path.insert(0, 'test')
from session_world import answers_of, drive, session_on
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.rerun_log import drive_log, outlet
# Stands in for a write that never returns, which cannot be made here.
outlet.Outlet._write = lambda self, piece: threading.Event().wait()
place_map = PlaceMap.open(sys.argv[1])
drive_log._CHECK_S, drive_log._PATIENCE_S = 0.0, 0.5
told = []
log = drive_log.DriveLog(Path(sys.argv[2]), place_map, tell=told.append, waits=True)
session = session_on(place_map)
for event in drive([*range(10, 50)] * 10):
    log.take(answers_of(session, [event]))
log.close()
assert len(told) == 1 and 'cannot be written' in told[0], told
"""


def test_a_write_that_never_returns_does_not_keep_the_process(
    place_map: PlaceMap, tmp_path: Path
) -> None:
    run_alone(HANGS, place_map, tmp_path)


class Hanging:
    """Stands in for a file on a disk that hangs, which cannot be made here."""

    goes_on = threading.Event()

    def __init__(self, path: Path, **_: Any) -> None:
        self.logged = 0

    def log(self, moment: Any) -> None:
        assert self.goes_on.wait(60)

    def flush(self, *, timeout_s: float) -> None:
        pass

    def give_up(self) -> None:
        pass

    def close(self, *, timeout_s: float) -> None:
        pass


def test_a_disk_that_hangs_costs_images_of_the_log_and_no_time(
    place_map: PlaceMap,
    answers: list[list[Answer]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drive_log, 'recording_class', lambda: Hanging)
    log = DriveLog(tmp_path / 'a.rrd', place_map, tell=pytest.fail)
    for step in answers:
        log.take(step)  # would wait for ever, did it wait
    assert log.left_out >= len(answers) - drive_log._MOST_WAITING - 1 > 0
    Hanging.goes_on.set()
    log.close()
    assert log.images + log.left_out == len(answers) and 'left out' in log.said


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('map.yaml', 'expected a file that ends with .rrd'),
        ('none/a.rrd', 'none does not exist'),
        ('folder.rrd', 'exists and is not a file'),
        (300 * 'x' + '.rrd', r'cannot be written \(File name too long\)'),
    ],
    ids=['map', 'missing folder', 'folder', 'long name'],
)
def test_a_log_goes_only_where_a_log_may_be(
    name: str, said: str, place_map: PlaceMap, tmp_path: Path
) -> None:
    (tmp_path / 'map.yaml').write_text('precious')
    (tmp_path / 'folder.rrd').mkdir()
    with pytest.raises(LogError, match=said):
        DriveLog(tmp_path / name, place_map, tell=pytest.fail)
    assert (tmp_path / 'map.yaml').read_text() == 'precious'


@pytest.fixture
def without_rerun(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ('recording', 'layout'):
        monkeypatch.delitem(sys.modules, f'vpr_ros.rerun_log.{name}', raising=False)
    monkeypatch.setitem(sys.modules, 'rerun', None)
    return


@pytest.mark.usefixtures('without_rerun')
def test_without_the_package_it_is_named(place_map: PlaceMap, tmp_path: Path) -> None:
    with pytest.raises(LogError, match='pip install rerun-sdk'):
        DriveLog(tmp_path / 'a.rrd', place_map, tell=pytest.fail)


def test_one_room_alone_uses_rerun() -> None:
    users = {
        path.relative_to(ROOT / 'vpr_ros').parts[0]
        for path in (ROOT / 'vpr_ros').rglob('*.py')
        if 'import rerun' in path.read_text()
    }
    assert users == {'rerun_log'}


# From the commands and the node ------------------------------------------------------------------


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/, the drives day/ and dusk/, and a map/ of the day."""
    folder = tmp_path_factory.mktemp('world')
    write_tiny_model(folder / 'model')
    write_posed_folder(folder / 'day', range(12))
    write_posed_folder(folder / 'dusk', [3, 4, 5, 6, 7, 8, 20, 21])
    words = ['--model', str(folder / 'model'), '--bag', str(folder / 'day')]
    assert build_map.main([*words, '--output', str(folder / 'map')]) == 0
    return folder


def evaluated(world: Path, *words: str) -> int:
    given = ['--map', str(world / 'map'), '--model', str(world / 'model')]
    return evaluate_bag.main([*given, '--bag', str(world / 'dusk'), *words])


def test_evaluate_bag_logs_all_images_and_the_true_path(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'dusk.rrd'
    assert evaluated(world, '--rerun', str(path)) == 0
    assert f'rerun {path}' in capsys.readouterr().out
    rows = read(path)
    assert len(timed(rows, '/camera/0', 'blob')) == 8
    ((_, true),) = rows['/map/true_path']
    np.testing.assert_allclose(np.array(true['strips'][0])[:3, 0], [30.0, 40.0, 50.0], atol=1e-4)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--rerun', 'a.rrd', '--compare', 'belief=false'], '--rerun logs one bag on one map'),
        (['--rerun', 'a.html'], 'expected a file that ends with .rrd'),
    ],
)
def test_evaluate_bag_refuses_a_log_before_it_works(
    world: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(world, *words) == 2
    written = capsys.readouterr()
    assert said in written.err and not written.out


@pytest.mark.usefixtures('without_rerun')
def test_evaluate_bag_names_the_package(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(world, '--rerun', str(tmp_path / 'a.rrd')) == 2
    assert 'pip install rerun-sdk' in capsys.readouterr().err


@pytest.mark.parametrize('folder', ['there', 'not_there'])
def test_the_node_logs_and_goes_on_where_it_cannot(tmp_path: Path, folder: str) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from ros_world import domain, running
    from sensor_msgs.msg import Image

    from vpr_ros.core.encodings import rgb_to_image
    from vpr_ros.node.conversions import header

    world = write_pictured_map(tmp_path, 3)
    (tmp_path / 'there').mkdir()
    path, said = tmp_path / folder / 'drive.rrd', tmp_path / 'said'
    with (
        domain() as (number, peer),
        running(number, log=said, rerun=path, **world),
    ):
        images = peer.publisher(Image, '/image')
        for place in range(3):
            stamp = header(10**18 + place * 10**9, 'camera')
            peer.show(images, rgb_to_image(picture(place), Image, stamp))
        assert peer._answered is not None and len(peer._answered) == 3
    if folder == 'there':
        stamps = [stamp for stamp, _ in timed(read(path), '/answer', 'text')]
        assert stamps == [10**18 + place * 10**9 for place in range(3)]
    else:
        assert said.read_text().count('rerun: no log') == 1
        assert 'does not exist; create it first' in said.read_text()
        assert not os.path.lexists(path)
