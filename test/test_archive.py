"""A map of many drives: the same bytes whoever makes it, however often a worker is killed."""

import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from waiting import until
from worlds import (
    straight_drive,
    unit_rows,
    write_map,
    write_posed_folder,
    write_tiny_model,
)

from vpr_ros.batch.workers import ATTEMPTS, WorkerLost, Workers, carried_out
from vpr_ros.build_map import main
from vpr_ros.core.errors import DriveError
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap

DRIVES = ROOT / 'demo' / 'drives'
PLAIN = ('--landmarks', 'none')  # which is sooner done
LOOPBACK = {'0100007F', '0000000000000000FFFF00000100007F', '00000000000000000000000001000000'}
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec('ray') is None, reason='needs ray: make setup-test'
)


def cut(target: Path, images: range, *, of: str = 'day') -> Path:
    """A bag with some of the images of a drive of the demo, and all of its poses."""
    seen = 0
    with (
        Reader(DRIVES / of) as reader,
        Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        connections = {
            each.id: writer.add_connection(
                each.topic, each.msgtype, msgdef=each.msgdef.data, rihs01=each.digest
            )
            for each in reader.connections
        }
        for connection, stamp_ns, data in reader.messages():
            if 'image' in connection.topic:
                seen += 1
                if seen - 1 not in images:
                    continue
            writer.write(connections[connection.id], stamp_ns, data)
    return target


@pytest.fixture(scope='module')
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bags of 9 images each."""
    folder = tmp_path_factory.mktemp('archive')
    for number in range(3):
        cut(folder / f'drive_{number}', range(9 * number, 9 * number + 9))
    return folder


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny', cells=True).folder


@pytest.fixture(scope='module')
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The map that this process makes alone, by the shipped model."""
    output = tmp_path_factory.mktemp('alone') / 'map'
    assert main(['--bags', str(archive), '--output', str(output), '--stretch', '3']) == 0
    assert len(PlaceMap.open(output)) == 27
    return content(output)


def content(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def started(archive: Path, output: Path, *words: str) -> subprocess.Popen[str]:
    """The command in a process of its own, whose home is empty."""
    home = output.parent / 'home'
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, '-m', 'vpr_ros.build_map', '--bags', str(archive), '--stretch', '3',
         '--output', str(output), *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, 'HOME': str(home)},
    )  # fmt: skip


def kill_a_worker(work: Path, process: subprocess.Popen[str]) -> int:
    """Kill who writes the second piece of a drive or a later one, as its lock tells."""
    while process.poll() is None:
        for lock in work.glob('*/.000[1-9].lock'):
            try:
                found = re.search(r'\(process (\d+) on ', lock.read_text())
            except FileNotFoundError:
                continue
            if found:
                os.kill(int(found[1]), signal.SIGKILL)
                return int(found[1])
        time.sleep(0.005)
    raise AssertionError(f'ended before a worker could be killed: {process.communicate()[0]}')


def listening(pid: int) -> set[str]:
    """Addresses, as the kernel writes them, on which a process and its descendants listen."""
    parent_of = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        with suppress(OSError):
            parent_of[int(stat.parent.name)] = int(stat.read_text().rpartition(')')[2].split()[1])
    family = {pid}
    while grown := {one for one, parent in parent_of.items() if parent in family} - family:
        family |= grown
    sockets = set()
    for one in family:
        for link in Path(f'/proc/{one}/fd').glob('*'):
            with suppress(OSError):
                sockets.add(str(link.readlink()))
    rows = [
        line.split()
        for name in ('tcp', 'tcp6')
        for line in Path(f'/proc/net/{name}').read_text().splitlines()[1:]
    ]
    return {
        row[1].partition(':')[0]
        for row in rows
        if row[3] == '0A' and f'socket:[{row[9]}]' in sockets
    }


@pytest.mark.parametrize('by', [(), pytest.param(('--ray',), marks=needs_ray)])
def test_a_killed_worker_leaves_the_map_as_it_would_be(
    archive: Path, undisturbed: dict[str, bytes], tmp_path: Path, by: tuple[str, ...]
) -> None:
    output, work = tmp_path / 'map', tmp_path / 'map.work'
    process = started(archive, output, '--workers', '2', *by)
    killed = kill_a_worker(work, process)
    found = listening(process.pid)
    assert found <= LOOPBACK and bool(found) == bool(by)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert killed != process.pid
    assert content(output) == undisturbed
    assert not (tmp_path / 'home' / '.ray').exists()  # where Ray would keep its secret
    # Again: all is found, so that not even a cluster that does not exist is asked.
    words = ['--workers', '2', *([*by, '127.0.0.1:1'] if by else [])]
    process = started(archive, tmp_path / 'again', '--work', str(work), *words)
    said, _ = process.communicate()
    assert (
        process.returncode == 0 and '3 recordings mapped, 3 of them were already done' in said
    ), said
    assert content(tmp_path / 'again') == undisturbed


def test_an_interrupted_archive_goes_on_with_the_piece_that_is_missing(
    archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['--bags', str(archive), '--model', str(model), '--stretch', '3', *PLAIN]
    assert main([*words, '--output', str(tmp_path / 'map')]) == 0
    first = content(tmp_path / 'map')
    drives = sorted((tmp_path / 'map.work').iterdir())
    assert [len(list(drive.glob('0*/map.yaml'))) for drive in drives] == [3] * 3
    (drives[0] / 'drive.json').unlink()
    (drives[0] / '0001' / 'map.yaml').unlink()
    (drives[0] / '0002.json').write_text('{"mapped": -')  # damaged
    (drives[2] / '0001' / 'map.yaml').unlink()  # of a drive that is said to be done
    before = {path: path.stat().st_ino for path in drives[0].glob('0*/parts/0000/poses.npy')}
    assert main([*words, '--output', str(tmp_path / 'map')]) == 0
    after = {path: path.stat().st_ino for path in before}
    assert [before[path] == after[path] for path in sorted(before)] == [True, False, False]
    assert content(tmp_path / 'map') == first
    damaged = drives[1] / '0000' / 'parts' / '0000' / 'poses.npy'
    poses = damaged.read_bytes()
    damaged.unlink()  # the map holds the same file
    damaged.write_bytes(poses[:-1] + b'!')
    capsys.readouterr()
    assert main([*words, '--output', str(tmp_path / 'map')]) == 2
    said = capsys.readouterr().err
    assert f'{damaged}: sha256' in said and f'you can delete {tmp_path / "map.work"}' in said
    assert content(tmp_path / 'map') == first


@pytest.mark.parametrize(
    'options',
    [
        [],
        ['--landmarks', 'sift'],
        ['--half', *PLAIN],
        ['--no-thumbnails', '--every', '3m', *PLAIN],
        ['--mounting', '0.1 0 1 -0.5 0.5 -0.5 0.5', *PLAIN],
        ['--model', str(ROOT / 'models' / 'lite0-vlad'), '--precision', 'int8', *PLAIN],
    ],
    ids=lambda options: ' '.join(options[:1]) or 'none',
)
def test_an_archive_of_one_drive_is_what_build_map_makes_of_it(
    archive: Path, model: Path, tmp_path: Path, options: list[str]
) -> None:
    bag = str(archive / 'drive_0')
    maps = []
    for kind in ('--bag', '--bags'):
        words = [kind, bag, '--output', str(tmp_path / kind), '--model', str(model), *options]
        assert main(words) == 0
        maps.append(read_header(tmp_path / kind))
    ours = {'source', 'command', 'made_at', 'part_sources'}
    alone, archived = ({k: v for k, v in asdict(each).items() if k not in ours} for each in maps)
    assert archived == alone


def test_a_stretch_without_one_usable_image_is_done_too(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day, dark = tmp_path / 'day', tmp_path / 'dark'
    for folder, broken in ((day, range(3, 6)), (dark, range(9))):
        write_posed_folder(folder, range(9))
        for row in broken:
            (folder / 'images' / f'{row:06d}.jpg').write_bytes(b'no image')
    words = ['--bags', str(day), str(dark), '--stretch', '3', '--model', str(model)]
    words += ['--leave-out-broken', '--output', str(tmp_path / 'map')]
    made = []
    for _ in range(2):
        assert main(words) == 1
        out, err = capsys.readouterr()
        assert '9 images read, 6 places mapped' in out and '3 images could not be used' in out
        assert 'dark: not one of its 9 images can be mapped' in err
        (done,) = (tmp_path / 'map.work').glob('*/drive.json')
        made.append((done.parent / '0001.json').stat().st_ino)
        assert not (done.parent / '0001').exists()
        done.unlink()
    assert made[0] == made[1] and len(PlaceMap.open(tmp_path / 'map')) == 6


def test_other_options_or_another_model_are_other_work(
    archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, work = str(archive / 'drive_0'), tmp_path / 'work'
    other = write_tiny_model(tmp_path / 'other', name='other', grid=4, cells=True).folder
    made = 0
    for extra in (['--model', str(model)], ['--model', str(other)],
                  ['--model', str(model), '--every', '2m']):  # fmt: skip
        assert main(['--bags', bag, '--output', str(tmp_path / 'map'), '--work', str(work),
                     *PLAIN, *extra]) == 0  # fmt: skip
        made += 1
        assert len(list(work.iterdir())) == made
        assert 'already done' not in capsys.readouterr().out
    os.utime(next(Path(bag).glob('*.mcap')), ns=(1, 1))
    assert main(['--bags', bag, '--output', str(tmp_path / 'map'), '--work', str(work),
                 *PLAIN, *extra]) == 0  # fmt: skip
    assert len(list(work.iterdir())) == made + 1


def test_another_file_of_poses_is_other_work(
    archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, poses = str(archive / 'drive_0'), tmp_path / 'poses.tum'
    words = ['--bags', bag, '--output', str(tmp_path / 'map'), '--model', str(model), *PLAIN]
    for x, is_done in ((5, False), (5, True), (7, False)):
        poses.write_text(f'0 {x} 0 0 0 0 0 1\n9e9 {x} 0 0 0 0 0 1\n')
        assert main([*words, '--pose-file', str(poses), '--max-pose-gap', '9e9']) == 0
        assert ('already done' in capsys.readouterr().out) == is_done
        assert (PlaceMap.open(tmp_path / 'map').base_poses([0])[0, 0] == x).all()


def test_images_behind_a_link_are_other_work_when_they_change(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive, disk = tmp_path / 'drive', tmp_path / 'disk'
    write_posed_folder(drive, range(4))
    shutil.move(drive / 'images', disk)
    (drive / 'images').symlink_to(disk)
    words = ['--bags', str(drive), '--output', str(tmp_path / 'map'), '--model', str(model)]
    for done in (False, True):
        assert main(words) == 0
        assert ('already done' in capsys.readouterr().out) == done
    before = PlaceMap.open(tmp_path / 'map').descriptors_of(np.arange(4))
    shutil.copy(disk / '000003.jpg', disk / '000000.jpg')
    assert main(words) == 0
    assert 'already done' not in capsys.readouterr().out
    after = PlaceMap.open(tmp_path / 'map').descriptors_of(np.arange(4))
    assert (before == after).all(axis=1).tolist() == [False, True, True, True]
    assert (after[0] == after[3]).all()


def test_broken_drives_are_all_named_and_the_others_are_kept(
    archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / 'broken'
    broken.mkdir()
    (broken / 'broken.mcap').write_bytes(b'\x89MCAP0\r\n' + bytes(100))
    words = ['--bags', str(archive), str(broken), str(tmp_path / 'none.mcap'),
             '--model', str(model), '--output', str(tmp_path / 'map'), *PLAIN]  # fmt: skip
    assert main(words) == 2
    said = capsys.readouterr().err
    assert 'error: 2 of 5 recordings cannot be mapped' in said and '--leave-out-broken' in said
    assert re.search(r'note: .*broken', said) and re.search(r'note: .*none\.mcap', said)
    assert not (tmp_path / 'map').exists()
    assert main([*words, '--leave-out-broken']) == 1
    out, err = capsys.readouterr()
    assert '3 recordings mapped, 3 of them were already done' in out and 'none.mcap' in err
    assert len(PlaceMap.open(tmp_path / 'map')) == 27


def test_what_is_to_be_known_of_each_recording_is_told_whenever_the_map_is_made(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day, plain = tmp_path / 'drives' / 'day', tmp_path / 'drives' / 'plain'
    for folder in (day, plain):
        write_posed_folder(folder, range(3))
    shutil.copy(day / 'images' / '000000.jpg', day / 'images' / 'unlisted.jpg')
    (plain / 'poses.csv').unlink()
    words = ['--bags', str(day), str(plain), '--model', str(model), '--leave-out-broken']
    for again in (False, True):
        assert main([*words, '--output', str(tmp_path / 'map')]) == 1
        out, err = capsys.readouterr()
        assert ('already done' in out) == again
        assert f'note: {day}: poses from poses.csv: 3 of 3 images\n' in err
        assert f'{day}/images is not listed in poses.csv and was left out\n' in err
        assert f'note: {plain}: no poses in it' in err
        assert f'note: {plain}: no poses: plain images\n' in err
        assert 'the mounting of the camera is unknown in 1 of 1 recording' in err


def test_recordings_whose_cameras_are_mounted_differently_are_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drives = [write_posed_folder(tmp_path / f'day_{number}', range(2)) for number in range(6)]
    for drive, height_m in zip(drives[:5], (1, 1, 1, 1, 2)):
        (drive / 'mounting.yaml').write_text(
            f'position: [0, 0, {height_m}]\nquaternion_xyzw: [-0.5, 0.5, -0.5, 0.5]\n'
        )
    words = ['--bags', *map(str, drives[:5]), '--model', str(model)]
    assert main([*words, '--output', str(tmp_path / 'five')]) == 0
    said = capsys.readouterr().err
    assert '1 of 5 recordings has the camera mounted in another way than' in said
    assert 'is unknown' not in said
    assert read_header(tmp_path / 'five').source == ', '.join(map(str, drives[:5]))
    words = ['--bags', *map(str, drives), '--model', str(model)]
    assert main([*words, '--output', str(tmp_path / 'six')]) == 0
    said = capsys.readouterr().err
    assert '2 of 6 recordings have the camera mounted in another way than' in said
    assert 'the mounting of the camera is unknown in 1 of 6 recordings' in said
    source = f'6 recordings from {drives[0]} to {drives[5]}'
    assert read_header(tmp_path / 'six').source == source


@pytest.mark.parametrize(('name', 'inner'), [('drive.json', 'report'), ('0000.json', None)])
@pytest.mark.parametrize('changed', [None, 'many'])
def test_a_file_of_the_work_that_says_something_else_is_made_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, inner: str | None, changed: str | None,
) -> None:  # fmt: skip
    """As one of another version of the program may."""
    drive = write_posed_folder(tmp_path / 'drive', range(2))
    words = ['--bags', str(drive), '--output', str(tmp_path / 'map'), '--model', str(model)]
    assert main(words) == 0
    (file,) = (tmp_path / 'map.work').glob(f'*/{name}')
    written = file.read_text()
    values = json.loads(written)
    report = values[inner] if inner else values
    del report['mapped']
    report |= {} if changed is None else {'mapped': changed}
    file.write_text(json.dumps(values))
    if inner is None:
        (file.parent / 'drive.json').unlink()
    capsys.readouterr()
    assert main(words) == 0
    assert 'already done' not in capsys.readouterr().out and file.read_text() == written


def test_options_of_many_drives_are_refused_for_one(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['--bag', str(archive / 'drive_0'), '--output', str(tmp_path / 'map')]
    assert main([*words, '--workers', '2']) == 2
    assert '--workers works only with --bags' in capsys.readouterr().err
    assert main(['--bags', *words[1:], '--workers', '999999']) == 2
    assert '--workers 999999: expected at most 256 on this machine' in capsys.readouterr().err


@pytest.mark.parametrize('work', ['map', 'map/work', 'link/work'])
def test_pieces_within_the_map_that_is_replaced_are_refused_before_any_work(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], work: str
) -> None:
    (tmp_path / 'link').symlink_to('map')
    words = ['--bags', str(archive), '--output', str(tmp_path / 'map')]
    assert main([*words, '--work', str(tmp_path / work)]) == 2
    said = f'--work {tmp_path / work}: is the map {tmp_path / "map"} itself or lies within it'
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'map').exists()


def doubled(item: int, threads: int) -> tuple[int, int]:
    """A piece of work; 3 kills whoever does it, and 13 cannot be done."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 13:
        raise DriveError('thirteen')
    return 2 * item, threads


@pytest.mark.parametrize(
    ('workers', 'here', 'threads'),
    [
        (Workers(), 1, 8),
        (Workers(3), 3, 2),
        (Workers(9), 9, 1),
        (Workers(2, threads=3), 2, 3),
        (Workers(ray=''), 8, 1),
        (Workers(threads=3, ray=''), 2, 3),
        (Workers(threads=9, ray=''), 1, 9),
        (Workers(2, ray=''), 2, 4),
    ],
)
def test_workers_share_the_cores_of_this_machine(
    workers: Workers, here: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(8)))
    assert (workers.here, workers.threads_each) == (here, threads)


@pytest.mark.parametrize(('threads', 'each'), [(0, 1), (3, 3)])
def test_a_worker_of_a_cluster_has_one_thread_unless_told_otherwise(
    threads: int, each: int
) -> None:
    assert Workers(threads=threads, ray='head:6379').threads_each == each


def test_work_that_kills_every_worker_does_not_stop_the_rest() -> None:
    found = dict(carried_out(doubled, range(6), Workers(count=2, threads=1)))
    assert isinstance(lost := found.pop(3), WorkerLost)
    assert f'killed {ATTEMPTS} times' in str(lost)
    assert found == {item: (2 * item, 1) for item in (0, 1, 2, 4, 5)}


def own_process(item: int, threads: int) -> int:
    return os.getpid()


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    until(lambda: not Path(f'/proc/{process}').exists(), 'nobody saw that it was killed')


def test_a_worker_that_is_killed_between_two_pieces_costs_nothing() -> None:
    done, killed = [], set[int]()
    for item, worker in carried_out(own_process, range(4), Workers(count=2, threads=1)):
        assert isinstance(worker, int) and worker not in killed
        done.append(item)
        if len(killed) < 2:
            kill(worker)
            killed.add(worker)
    assert sorted(done) == [0, 1, 2, 3]


def awaited(item: Path | None, threads: int) -> bool:
    if item is not None:
        until(item.exists, 'the others are not done')
    return item is not None


def test_a_long_piece_of_work_holds_back_no_other_one(tmp_path: Path) -> None:
    others_done, done = tmp_path / 'done', list[bool]()
    items = [others_done, None, None, None]
    for _, is_long in carried_out(awaited, items, Workers(2, threads=1)):
        assert isinstance(is_long, bool)
        done.append(is_long)
        if len(done) == 3:
            others_done.touch()
    assert done == [False, False, False, True]


def threads_of_libraries(item: int, threads: int) -> tuple[str | None, int]:
    return os.environ.get('OMP_NUM_THREADS'), cv2.getNumThreads()


def test_libraries_of_a_worker_have_its_threads_and_those_here_keep_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for before in ('3', None):
        monkeypatch.setenv('OMP_NUM_THREADS', '3')
        if before is None:
            monkeypatch.delenv('OMP_NUM_THREADS')
        ((_, found),) = carried_out(threads_of_libraries, [0], Workers(2, threads=1))
        assert found == ('1', 1)
        assert os.environ.get('OMP_NUM_THREADS') == before


ABANDONED = """
from pathlib import Path
import os, sys, time
from vpr_ros.batch.workers import Workers, carried_out

def busy(item, threads):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

if __name__ == '__main__':
    list(carried_out(busy, [1, 2], Workers(count=2, threads=1)))
"""


def test_workers_end_with_the_command_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / 'program.py').write_text(ABANDONED)
    (folder := tmp_path / 'workers').mkdir()
    process = subprocess.Popen(
        [sys.executable, tmp_path / 'program.py', folder],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    until(lambda: len(list(folder.iterdir())) == 2, 'not every worker begins')
    process.kill()
    process.wait()
    workers = [Path('/proc', each.name) for each in folder.iterdir()]
    until(lambda: not any(worker.exists() for worker in workers), 'a worker goes on')


INTERRUPTED = """
import signal
from vpr_ros.batch.workers import Workers, carried_out
from test_archive import doubled
if __name__ == '__main__':
    print(list(carried_out(doubled, [1], Workers(count=2, threads=1))))
else:
    signal.raise_signal(signal.SIGINT)
"""


def test_ctrl_c_does_not_reach_a_worker_that_still_imports_its_modules(tmp_path: Path) -> None:
    """A terminal sends it to all processes; a traceback of each worker came before the command's
    own word.
    """
    (tmp_path / 'program.py').write_text(INTERRUPTED)
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    done = subprocess.run(
        [sys.executable, tmp_path / 'program.py'],
        env=os.environ | {'PYTHONPATH': paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ('[(1, (2, 1))]\n', '')


def test_an_error_of_a_worker_is_the_error_of_the_command() -> None:
    with pytest.raises(DriveError, match=r'^thirteen$'):
        list(carried_out(doubled, [1, 13], Workers(count=2, threads=1)))


TWICE = """
from test_archive import doubled
from vpr_ros.batch.workers import Workers, carried_out
for items in ([1, 2], [1, 3]):
    found = dict(carried_out(doubled, items, Workers(1, 1, '')))
    print(*(found[item] for item in items))
"""


@needs_ray
def test_a_program_may_start_ray_again_and_work_that_kills_its_workers_is_given_up() -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    done = subprocess.run(
        [sys.executable, '-c', TWICE],
        env=os.environ | {'PYTHONPATH': paths},
        capture_output=True,
        text=True,
    )
    first, *_, last = done.stdout.splitlines()  # between them Ray tells of the killed ones
    assert (first, last) == ('(2, 1) (4, 1)', f'(2, 1) {WorkerLost()}'), done.stderr
    assert done.returncode == 0


OPENING = """
import resource, sys
from vpr_ros.core.mapping.header import read_header
from vpr_ros.core.mapping.place_map import PlaceMap
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
print(len(PlaceMap.open(sys.argv[1])))
"""


def test_a_map_of_more_files_than_a_process_may_usually_open_is_opened(tmp_path: Path) -> None:
    from vpr_ros.map_care.edit import merge

    maps = [write_map(tmp_path / f'{n}', unit_rows(2, 8, n), straight_drive(2)) for n in range(50)]
    merge(maps, tmp_path / 'all')
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1000:
        pytest.skip('this machine allows no process 1000 open files')
    command = [sys.executable, '-c', OPENING, str(tmp_path / 'all')]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.returncode) == ('100\n', 0), done.stderr


def test_ray_that_is_not_installed_is_one_line(
    archive: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, 'ray', None)
    words = ['--bags', str(archive), '--output', str(tmp_path / 'map'), '--model', str(model)]
    assert main([*words, '--ray']) == 2
    said = capsys.readouterr().err
    assert "pip install 'vpr_ros[batch]'" in said and 'Traceback' not in said


@pytest.mark.parametrize(
    'by', [('--workers', '2'), pytest.param(('--ray',), marks=needs_ray)], ids=' '.join
)
def test_sigterm_keeps_what_is_done_and_says_so(
    archive: Path, tmp_path: Path, by: tuple[str, ...]
) -> None:
    """Ray has a handler of its own, which would print where each of its threads is."""
    work = tmp_path / 'map.work'
    process = started(archive, tmp_path / 'map', *by)
    until(lambda: any(work.glob('*/0000')) or process.poll() is not None, 'nothing is mapped')
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert printed.splitlines()[-1] == (
        f'stopped; {work} keeps what is done, and the same command continues from there'
    )
    assert 'SIGTERM' not in printed and 'Traceback' not in printed


@needs_ray
def test_a_cluster_at_which_nobody_answers_is_one_line_at_once(
    archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray itself asks again for many minutes."""
    with socket.socket() as nobody:
        nobody.bind(('127.0.0.1', 0))  # and does not listen
        address = f'127.0.0.1:{nobody.getsockname()[1]}'
        words = ['--bags', str(archive), '--output', str(tmp_path / 'map'), '--model', str(model)]
        assert main([*words, '--ray', address]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f'error: --ray: Ray cannot be used at {address} (')
    assert 'Connection refused' in said and 'start the cluster (`ray start`)' in said


def test_a_work_folder_that_cannot_be_made_is_told_before_any_work(
    archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('')
    words = ['--bags', str(archive), '--output', str(tmp_path / 'map'), '--model', str(model)]
    assert main([*words, '--work', str(tmp_path / 'file' / 'work')]) == 2
    said = capsys.readouterr().err
    assert said == f'error: {tmp_path}/file/work: cannot be written (Not a directory)\n'


def test_a_folder_that_is_no_map_is_refused_before_any_work(
    archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (output := tmp_path / 'photos').mkdir()
    (output / 'photo.jpg').write_bytes(b'')
    words = ['--bags', str(archive), '--output', str(output), '--model', str(model)]
    assert main(words) == 2
    assert f'{output}: ' in capsys.readouterr().err and not (tmp_path / 'photos.work').exists()
    assert [file.name for file in output.iterdir()] == ['photo.jpg']
