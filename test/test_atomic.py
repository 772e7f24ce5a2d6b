"""A folder or file that is written is the old one or the new one, whatever happens on the way.

Where a file system cannot exchange folders its refusal is simulated, as the kernel words it.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from waiting import until
from worlds import contents, straight_drive, unit_rows, write_map, write_tiny_model

from vpr_ros.core import atomic
from vpr_ros.core.atomic import (
    replace_file,
    require_writable,
    staged_file,
    staged_folder,
    unwritable_as,
)
from vpr_ros.core.describing.model import Model
from vpr_ros.core.errors import MapError
from vpr_ros.core.folder_kind import FolderKind
from vpr_ros.core.mapping.header import read_header, write_calibration
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.writer_lock import only_writer

ROOT = Path(__file__).resolve().parents[1]
DECK = FolderKind('card.json', 'a deck', LookupError, ('*.card',))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder `map` with a file, alone in its own folder."""
    target = tmp_path / 'maps' / 'map'
    target.mkdir(parents=True)
    (target / 'old').touch()
    return target


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, '_exchange', lambda first, second: False)


# Every point --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('change', 'way', 'exchange'),
    [
        *(('build', way, how) for way in ('kill', 'error', 'errors', 'interrupt')
          for how in ('exchange', 'EINVAL')),
        ('build', 'kill', 'missing'),
        ('append', 'kill', 'EINVAL'),
        ('append', 'error', 'exchange'),
        ('calibrate', 'kill', 'exchange'),
        ('calibrate', 'error', 'exchange'),
    ],
)  # fmt: skip
def test_a_fault_at_any_system_call_leaves_the_old_map_or_the_new_one_and_no_harm_to_the_next(
    tmp_path: Path, change: str, way: str, exchange: str
) -> None:
    command = [sys.executable, 'test/commit_faults.py', change, way, exchange]
    threads = {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [*command, '--folder', str(tmp_path)],
        cwd=ROOT,
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found['wrong'] == []
    assert found['points'] == sum(found['ended'].values()) > 10
    if change != 'calibrate':
        assert {'open', 'mkdir', 'fsync', 'rename', 'unlink', 'rmdir'} <= found['calls'].keys()
        assert found['calls'].get('renameat2', 0) == (exchange != 'missing')


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is synced, renamed and removed: the call and its paths."""
    found: list[tuple[str, ...]] = []

    def fsync(descriptor: int) -> None:
        found.append(('fsync', str(Path(f'/proc/self/fd/{descriptor}').readlink())))

    def told(module: object, name: str) -> None:
        call = getattr(module, name)

        def tell(*given: object, **options: object) -> object:
            found.append((name, *map(str, given)))
            return call(*given, **options)

        monkeypatch.setattr(module, name, tell)

    monkeypatch.setattr(os, 'fsync', fsync)
    for module, name in ((os, 'rename'), (os, 'replace'), (atomic, '_exchange')):
        told(module, name)
    told(shutil, 'rmtree')
    return found


def first_after(calls: list[tuple[str, ...]], at: int) -> tuple[set[str], str]:
    """What is synced next after a call, and the name of the first call that is no sync."""
    synced = set()
    for name, *paths in calls[at + 1 :]:
        if name != 'fsync':
            return synced, name
        synced.add(paths[0])
    return synced, ''


@pytest.mark.parametrize('way', ['new', 'exchange', 'two renames'])
def test_a_folder_is_synced_before_it_gets_its_name_and_the_name_before_the_old_is_removed(
    folder: Path, calls: list[tuple[str, ...]], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == 'new':
        shutil.rmtree(folder)
    if way == 'two renames':
        monkeypatch.setattr(atomic, '_exchange', lambda first, second: False)
    with staged_folder(folder) as staging:
        (staging / 'parts').mkdir()
        (staging / 'parts' / 'file').write_bytes(b'new')
        calls.clear()
    new = str(staging), str(folder)
    named = calls.index(('_exchange' if way == 'exchange' else 'rename', *new))
    before = {paths[0] for name, *paths in calls[:named] if name == 'fsync'}
    assert before >= {str(staging / one) for one in ('', 'parts', 'parts/file')}
    assert first_after(calls, named) == (
        {str(folder.parent)},
        'rename' if way == 'two renames' else 'rmtree',
    )
    if way == 'two renames':  # after a power cut, too, the old one must have one of its names
        aside = next(n for n, (name, *paths) in enumerate(calls) if paths[0] == str(folder))
        assert first_after(calls, aside) == ({str(folder.parent)}, 'rename')


def test_a_file_is_synced_before_it_gets_its_name_and_the_name_after(
    folder: Path, calls: list[tuple[str, ...]]
) -> None:
    replace_file(folder / 'old', b'new')
    (first, staging), (second, *names), (third, parent) = calls
    assert (first, second, third) == ('fsync', 'replace', 'fsync')
    assert names == [staging, str(folder / 'old')] and parent == str(folder)


# Recovery -----------------------------------------------------------------------------------


def test_a_map_and_a_model_that_were_moved_aside_are_there_again_when_they_are_opened(
    tmp_path: Path,
) -> None:
    write_map(tmp_path / 'map', unit_rows(3, 16), straight_drive(3))
    (tmp_path / 'map').rename(tmp_path / '.map.old-4711')  # by an earlier program
    write_tiny_model(tmp_path / 'model')
    (tmp_path / 'model').rename(tmp_path / '.model.old-0123456789ab')
    assert len(PlaceMap.open(tmp_path / 'map')) == 3
    Model.open(tmp_path / 'model')
    assert names(tmp_path) == ['map', 'model']


def test_the_last_of_several_that_were_moved_aside_gets_the_name(folder: Path) -> None:
    earlier, probe = folder.with_name('.map.old-4711'), folder.with_name('probe')
    folder.rename(earlier)

    def ticked() -> bool:
        probe.touch()
        return probe.stat().st_ctime_ns > earlier.stat().st_ctime_ns

    until(ticked, 'the clock of the file system stands')
    probe.unlink()
    folder.mkdir()
    (folder / 'newer').touch()
    folder.rename(folder.with_name('.map.old-22'))
    atomic.recover_folder(folder)
    assert names(folder) == ['newer']


def test_a_link_to_a_folder_that_was_moved_aside_leads_to_it_again(folder: Path) -> None:
    (folder.parent / 'current').symlink_to('map')
    folder.rename(folder.with_name('.map.old-0123456789ab'))
    atomic.recover_folder(folder.parent / 'current')
    assert names(folder.parent / 'current') == ['old']


def test_what_is_only_named_alike_is_left_alone(folder: Path) -> None:
    others = [
        '.map.old-mine',
        '.map.partial-2.partial-0123456789ab',
        '.mapp.partial-22',
        'map.old-1',
    ]
    for name in others:
        (folder.parent / name).mkdir()
    with staged_folder(folder):
        pass
    assert names(folder.parent) == sorted(['map', *others])


@pytest.mark.parametrize('name', ['a[b]*', 'ü', '.hidden', 'with space', '-'])
def test_leftovers_of_any_name_are_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / f'.{name}.partial-17').mkdir()
    (tmp_path / f'.{name}.partial-0123456789ab').mkdir()
    with staged_folder(tmp_path / name) as staging:
        (staging / 'file').touch()
    replace_file(tmp_path / name / 'file', b'new')
    assert (names(tmp_path), names(tmp_path / name)) == ([name], ['file'])


def test_a_folder_that_was_moved_aside_and_replaced_since_is_a_leftover(folder: Path) -> None:
    aside = folder.with_name('.map.old-0123456789ab')
    aside.mkdir()
    (aside / 'older').touch()
    with staged_folder(folder) as staging:
        assert names(folder) == ['old']
        (staging / 'new').touch()
    assert (names(folder.parent), names(folder)) == (['map'], ['new'])


def test_a_file_that_fails_leaves_the_old_one_and_no_litter(tmp_path: Path) -> None:
    replace_file(tmp_path / 'file', b'old')
    with pytest.raises(ZeroDivisionError), staged_file(tmp_path / 'file') as staging:
        staging.write_bytes(b'new')
        raise ZeroDivisionError
    assert names(tmp_path) == ['file'] and (tmp_path / 'file').read_bytes() == b'old'


def test_a_reader_finds_a_map_at_every_moment_of_its_replacement(
    tmp_path: Path, no_exchange: None
) -> None:
    folder = tmp_path / 'map'
    write_map(folder, unit_rows(2, 16), straight_drive(2))
    ended = threading.Event()
    errors: list[Exception] = []
    read = 0

    def read_it() -> None:
        nonlocal read
        while not ended.is_set():
            try:
                read_header(folder)
            except MapError as error:
                errors.append(error)
            read += 1

    reader = threading.Thread(target=read_it)
    reader.start()
    try:
        for count in range(2, 22):
            write_map(folder, unit_rows(count, 16), straight_drive(count))
    finally:
        ended.set()
        reader.join()
    assert errors == [] and read > 20
    assert names(tmp_path) == ['map']


# Two writers --------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from vpr_ros.core.atomic import staged_folder
with staged_folder(Path(sys.argv[1])) as staging:
    (staging / 'first').touch()
    print('began', flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=[[], ['unshare', '--pid', '--fork', '--mount-proc']])
def first_writer(
    request: pytest.FixtureRequest, folder: Path
) -> Iterator['subprocess.Popen[str]']:
    """Writes the folder until its input ends; also with process numbers of its own."""
    apart: list[str] = request.param
    if apart and subprocess.run([*apart, 'true'], capture_output=True, check=False).returncode:
        pytest.skip('needs the right to make a namespace of processes (root)')
    with subprocess.Popen(
        [*apart, sys.executable, '-c', HOLD, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == 'began\n'
        yield writer


def test_a_second_writer_is_told_of_the_first_before_it_begins_and_the_first_goes_on(
    folder: Path, first_writer: 'subprocess.Popen[str]'
) -> None:
    said = r'-c .*map \(process \d+ on .+, since 20.+\) is writing it; wait until'
    began = False
    with pytest.raises(OSError, match=said) as refused, staged_folder(folder):
        began = True
    assert refused.value.errno == errno.EBUSY and not began
    first_writer.communicate(timeout=60)
    assert (names(folder.parent), names(folder)) == (['map'], ['first'])
    with staged_folder(folder):
        pass


def test_a_map_that_another_program_changes_is_not_calibrated_and_not_built(
    tmp_path: Path,
) -> None:
    folder = tmp_path / 'map'
    write_map(folder, unit_rows(3, 16), straight_drive(3))
    with only_writer(folder):
        for change in (
            lambda: write_calibration(folder, {}),
            lambda: write_map(folder, unit_rows(3, 16), straight_drive(3)),
        ):
            with pytest.raises(MapError, match=r'map: cannot be written \(.* is writing it; wait'):
                change()
    write_calibration(folder, {'bias': 1.0})
    assert names(tmp_path) == ['map'] and names(folder) == ['map.yaml', 'parts']


def test_a_lock_says_who_holds_it_and_nothing_of_who_held_it_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'argv', ['/opt/build_map', *['a_long_name.mcap'] * 1000])
    lock = folder.parent / '.map.lock'
    lock.write_text('of a program that was killed ' * 100)
    with staged_folder(folder):
        said = lock.read_text()
    assert said.startswith('build_map a_long_name.mcap') and said.endswith(')')
    assert len(said) < 500 and f'(process {os.getpid()} on ' in said


def test_who_waits_gets_its_turn_after_the_first(folder: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with only_writer(folder, waits=True) as alone:
            order.append(f'second {alone}')

    with only_writer(folder) as alone:
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.1)
        order.append(f'first {alone}')
    waiting.join()
    assert order == ['first True', 'second True'] and names(folder.parent) == ['map']


_KILLED_BESIDE_ITS_CHILD = """
import os, signal, sys, time
from pathlib import Path
from vpr_ros.core.writer_lock import only_writer
with only_writer(Path(sys.argv[1])):
    child = os.fork()
    if not child:
        os.close(1)  # whoever reads it waits for its last holder
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize('inside', ['.', 'parts'])
def test_the_working_directory_is_not_replaced(
    folder: Path, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / 'parts').mkdir()
    monkeypatch.chdir(folder / inside)
    with pytest.raises(OSError, match='it is the working directory'), staged_folder(folder):
        pass
    assert names(folder) == ['old', 'parts'] and names(folder.parent) == ['map']


def test_a_child_that_outlives_a_killed_writer_does_not_keep_its_lock(folder: Path) -> None:
    killed = subprocess.run(
        [sys.executable, '-c', _KILLED_BESIDE_ITS_CHILD, str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    try:
        with only_writer(folder) as alone:
            assert alone
    finally:
        os.kill(int(killed.stdout), signal.SIGKILL)


def test_writers_of_one_file_take_turns_and_leave_one_content(tmp_path: Path) -> None:
    contents = [bytes([number]) * 10_000 for number in range(8)]
    threads = [
        threading.Thread(target=replace_file, args=(tmp_path / 'file', content))
        for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / 'file').read_bytes() in contents and names(tmp_path) == ['file']


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_writing_works_and_nothing_of_others_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, 'flock', refuse)
    of_others = ['.file.partial-0123456789ab', '.map.partial-0123456789ab']
    for name in of_others:
        (folder.parent / name).mkdir()
    with staged_folder(folder) as staging, staged_folder(folder) as other:
        (staging / 'first').touch()
        (other / 'second').touch()
    replace_file(folder.parent / 'file', b'new')
    assert names(folder.parent) == [*of_others, 'file', 'map']
    assert names(folder) == ['first']


def test_a_lock_that_its_last_holder_has_just_removed_is_taken_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken, calls = folder.parent / '.map.lock', fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not calls:
            lock.unlink()  # between our opening and our locking it
        calls.append(operation)
        taken(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', late)
    with staged_folder(folder):
        assert len(calls) == 2 and str(os.getpid()) in lock.read_text()


@pytest.mark.parametrize(
    ('number', 'is_written'), [(errno.EINVAL, True), (errno.ENOSYS, True), (errno.EIO, False)]
)
def test_a_folder_that_no_file_system_syncs_is_written_and_one_on_a_bad_disk_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_written: bool
) -> None:
    synced = os.fsync

    def fails(descriptor: int) -> None:
        if Path(f'/proc/self/fd/{descriptor}').readlink().is_dir():
            raise OSError(number, os.strerror(number))
        synced(descriptor)

    monkeypatch.setattr(os, 'fsync', fails)
    told = nullcontext() if is_written else pytest.raises(OSError, match=os.strerror(number))
    with told, staged_folder(folder) as staging:
        (staging / 'new').touch()
    assert (names(folder.parent), names(folder)) == (['map'], ['new' if is_written else 'old'])


@pytest.mark.parametrize('number', [errno.EACCES, errno.EPERM, errno.EROFS])
def test_who_may_not_lock_a_folder_is_not_sure_to_be_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened = os.open

    def refuse(path: str | Path, *given: int) -> int:
        if str(path).endswith('.lock'):
            raise OSError(number, os.strerror(number))
        return opened(path, *given)

    monkeypatch.setattr(os, 'open', refuse)
    with only_writer(folder) as is_alone:
        assert not is_alone


def test_a_link_in_place_of_a_lock_leads_nowhere(folder: Path, tmp_path: Path) -> None:
    """Where others may write, too, somebody could have put it there."""
    (tmp_path / 'mine').write_text('mine')
    (folder.parent / '.map.lock').symlink_to(tmp_path / 'mine')
    with pytest.raises(OSError, match='symbolic'), staged_folder(folder):
        raise AssertionError
    assert (tmp_path / 'mine').read_text() == 'mine' and names(folder) == ['old']


# Targets ------------------------------------------------------------------------------------


def test_a_target_of_another_kind_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='not a folder'), staged_folder(tmp_path / 'file'):
        raise AssertionError
    with pytest.raises(OSError, match='not a regular file'), staged_file(tmp_path):
        raise AssertionError
    assert names(tmp_path) == ['file']


def test_a_folder_replaces_an_empty_one_and_one_of_its_kind_alone(tmp_path: Path) -> None:
    folder = tmp_path / 'folder'

    def is_refused(target: Path) -> bool:
        before = contents(tmp_path)
        try:
            DECK.require_place(target)
        except LookupError as error:
            said = 'exists and is not a deck; give a new folder, or a deck to replace'
            assert str(error) == f'{target}: {said}'
            return True
        finally:
            assert contents(tmp_path) == before
        return False

    assert not is_refused(tmp_path / 'nothing') and not is_refused(tmp_path / 'far' / 'away')
    folder.mkdir()
    assert not is_refused(folder)
    (folder / 'diary.txt').touch()
    assert is_refused(folder) and is_refused(folder / 'diary.txt')
    with pytest.raises(LookupError, match='not a deck'), DECK.staged(folder):
        raise AssertionError
    (folder / 'card.json').touch()
    assert is_refused(folder)  # another program's card.json, beside a diary
    (folder / 'diary.txt').rename(folder / 'king.card')
    (folder / '.DS_Store').touch()
    assert not is_refused(folder)
    with DECK.staged(folder) as staging:
        (staging / 'card.json').write_text('new')
    assert contents(tmp_path) == {'folder/card.json': b'new'}


@pytest.mark.parametrize('name', ['diary.txt', 'inner/card.json', '.git/HEAD'])
def test_a_folder_of_its_kind_that_has_something_else_in_it_is_not_replaced(
    tmp_path: Path, name: str
) -> None:
    for file in ('card.json', 'king.card', name):
        (tmp_path / 'deck' / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'deck' / file).touch()
    said = f'{name.partition("/")[0]} in it does not belong to a deck; move it to another folder'
    for write in (DECK.require_place, lambda target: DECK.staged(target).__enter__()):
        with pytest.raises(LookupError, match=re.escape(said)):
            write(tmp_path / 'deck')
    assert (tmp_path / 'deck' / name).exists()


def test_a_folder_is_not_made_within_one_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / 'deck').mkdir()
    (tmp_path / 'deck' / 'card.json').touch()
    DECK.require_place(tmp_path / 'deck' / 'inner')  # the card.json of another program
    (tmp_path / 'deck' / 'king.card').touch()
    (tmp_path / 'link').symlink_to('deck')
    for above in ('deck', 'deck/far', 'link'):
        with pytest.raises(LookupError, match=r'lies within a deck, \S+/deck, which is'):
            DECK.require_place(tmp_path / above / 'inner')


@pytest.mark.parametrize('above', ['file', 'file/deep', '/proc', '/proc/self'])
def test_a_place_where_nothing_can_be_made_is_told_before_any_work(
    tmp_path: Path, above: str
) -> None:
    (tmp_path / 'file').touch()
    target = tmp_path / above / 'target'
    with pytest.raises(OSError, match=r'No such file|Not a directory|Operation not permitted'):
        require_writable(target)
    with pytest.raises(LookupError, match=f'{target}: cannot be written'):
        DECK.require_place(target)
    with pytest.raises(LookupError, match=f'{target}: cannot be written'), DECK.staged(target):
        raise AssertionError


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (OSError(errno.ENOSPC, 'No space left', '.out.partial-0123456789ab'), 'No space left'),
        (OSError('cannot seek'), 'cannot seek'),
        (RuntimeError('a reason\n  of two lines'), 'a reason of two lines'),
        (RuntimeError(), 'RuntimeError'),
    ],
)
def test_a_failed_write_is_told_on_one_line_with_its_reason_and_the_next_step(
    error: Exception, reason: str
) -> None:
    with (
        pytest.raises(LookupError) as told,
        unwritable_as(LookupError, 'out', also=RuntimeError, next_step='take another disk'),
    ):
        raise error
    assert str(told.value) == f'out: cannot be written ({reason}); take another disk'
    assert told.value.__cause__ is error


def test_what_is_no_failed_write_is_told_as_it_is() -> None:
    with pytest.raises(RuntimeError), unwritable_as(LookupError, 'out'):
        raise RuntimeError


def test_a_folder_that_another_program_writes_is_told_before_any_work(tmp_path: Path) -> None:
    with staged_folder(tmp_path / 'folder'), pytest.raises(LookupError, match='is writing it'):
        DECK.require_place(tmp_path / 'folder')


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A folder to mount something on, unmounted in the end."""
    if os.getuid() or not shutil.which('mount'):
        pytest.skip('needs root and mount')
    (tmp_path / 'mounted').mkdir()
    yield tmp_path / 'mounted'
    subprocess.run(['umount', str(tmp_path / 'mounted')], check=False, capture_output=True)


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(['mount', *map(str, arguments)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip(f'needs the right to mount ({done.stderr.decode().strip()})')


def test_a_mount_point_is_refused_before_any_work(mounted: Path) -> None:
    mount('--bind', mounted, mounted)
    with pytest.raises(OSError, match='mount point'), staged_folder(mounted):
        raise AssertionError
    with staged_folder(mounted / 'map') as staging:
        (staging / 'new').touch()
    assert names(mounted) == ['map']


def test_a_folder_of_a_container_image_is_refused_before_any_work(mounted: Path) -> None:
    """An overlay, as containers have: folders of its lower layers cannot be renamed."""
    lower, upper, work = (mounted.with_name(name) for name in ('lower', 'upper', 'work'))
    for folder in (lower / 'map', upper, work):
        folder.mkdir(parents=True)
    layers = f'lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=off'
    mount('-t', 'overlay', 'overlay', '-o', layers, mounted)
    with pytest.raises(OSError, match='part of a container image'), staged_folder(mounted / 'map'):
        raise AssertionError
    for _ in range(2):
        with staged_folder(mounted / 'other') as staging:
            (staging / 'new').touch()
    assert names(mounted) == ['map', 'other']


def test_on_a_real_file_system_without_exchange_a_folder_is_replaced(mounted: Path) -> None:
    """FAT, as on memory cards."""
    image = mounted.with_name('image')
    if not shutil.which('mkfs.vfat'):
        pytest.skip('needs mkfs.vfat (Debian: apt install dosfstools)')
    image.write_bytes(bytes(4 << 20))
    subprocess.run(['mkfs.vfat', str(image)], check=True, capture_output=True)
    mount('-o', 'loop', '-t', 'vfat', image, mounted)
    for name in ('first', 'second'):
        with staged_folder(mounted / 'map') as staging:
            (staging / name).touch()
        assert (names(mounted), names(mounted / 'map')) == (['map'], [name])
