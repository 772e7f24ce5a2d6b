"""What is printed, where the output is closed or full, and where others chose the words."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vpr_ros.cli.command import command
from vpr_ros.core import cache
from vpr_ros.core.errors import ConfigError, DriveError, told
from vpr_ros.core.names import printable
from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.written import write_fixes

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / 'test' / 'golden_maps' / 'newest'
_EVIL = '\x1b[31m\x1b]52;c;AAAA\x07\x9b2J\r\u202e'


def ran(arguments: Sequence[object], redirection: str = '') -> subprocess.CompletedProcess[str]:
    words = ' '.join(f"'{word}'" for word in (sys.executable, '-m', *arguments))
    return subprocess.run(
        ['bash', '-c', f'{words} {redirection}'],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )


@pytest.mark.parametrize('redirection', ['>&-', '>&- 2>&-', '2>&-', '2>/dev/full'])
def test_a_command_works_where_nobody_can_read_it(redirection: str) -> None:
    assert ran(['vpr_ros.map', 'info', GOLDEN], redirection).returncode == 0
    assert ran(['vpr_ros.map', 'info', '/nowhere'], redirection).returncode == 2


@pytest.mark.parametrize(
    'arguments',
    [['vpr_ros.map', 'info', GOLDEN], ['vpr_ros.node.config'], ['vpr_training.config']],
    ids=['map', 'parameters', 'settings'],
)
def test_an_output_that_is_full_is_one_line(arguments: list[object]) -> None:
    if arguments[0] == 'vpr_training.config':
        pytest.importorskip('docstring_parser', reason='needs the trainer: make setup-training')
    done = ran(arguments, '>/dev/full')
    assert done.returncode == 2
    assert done.stderr.startswith('error: standard output: No space left on device; make room')
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('redirection', ['>&-', '>/dev/full', '| head -0'])
def test_the_help_of_the_node_works_where_nobody_can_read_it(redirection: str) -> None:
    done = ran(['vpr_ros.localize', '--help'], redirection)
    assert (done.returncode, done.stderr) == (0, '')


SHOWING = """
from tqdm import tqdm
from vpr_ros.cli.command import command
main = command(lambda argv: sum(tqdm(range(3), disable=None)) - 3)
raise SystemExit(main([]))
"""


@pytest.mark.parametrize('redirection', ['2>&-', '>&- 2>&-'])
def test_a_command_shows_its_progress_to_nobody(redirection: str, tmp_path: Path) -> None:
    (tmp_path / 'showing.py').write_text(SHOWING)
    done = subprocess.run(
        ['bash', '-c', f"'{sys.executable}' '{tmp_path}/showing.py' {redirection}"],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0


def test_a_name_that_is_too_long_is_one_line() -> None:
    done = ran(['vpr_ros.map', 'info', 'x' * 300])
    assert done.returncode == 2
    assert (
        done.stderr == f'error: {"x" * 300}/map.yaml: File name too long; choose a shorter name\n'
    )


BEGINNING = """
import tempfile, time
from vpr_ros.cli.command import command
@command
def main(argv):
    with tempfile.TemporaryDirectory() as scratch:
        print(scratch, flush=True)
        time.sleep(60)
raise SystemExit(main([]))
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_removes_what_it_has_begun(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, '-c', BEGINNING],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    scratch = Path(process.stdout.readline().strip())
    assert scratch.is_dir()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, 'stopped\n')
    assert not scratch.exists()


@pytest.mark.parametrize(
    'started', [['-m', 'vpr_ros.map'], ['-m', 'vpr_training.config'], ['map']]
)
def test_a_command_that_is_stopped_while_it_imports_says_so_in_one_word(
    started: list[str], tmp_path: Path
) -> None:
    """By `python -m` and by the name that is installed; numpy stands for all that is imported."""
    if 'vpr_training.config' in started:
        pytest.importorskip('docstring_parser', reason='needs the trainer: make setup-training')
    stopping = 'import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n'
    (tmp_path / 'numpy.py').write_text(stopping)
    (tmp_path / 'map').write_text('from vpr_ros.map import main\nmain()\n')
    done = subprocess.run(
        [sys.executable, *started],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': f'{tmp_path}:{ROOT}'},
    )
    assert (done.returncode, done.stderr) == (130, 'stopped\n')


def test_a_program_that_imports_the_package_keeps_its_ctrl_c(tmp_path: Path) -> None:
    program = tmp_path / 'mine.py'
    program.write_text('import signal, vpr_ros.map\nsignal.raise_signal(signal.SIGINT)\n')
    done = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    assert done.stderr.endswith('KeyboardInterrupt\n')


def test_a_handler_of_sigterm_that_is_there_stays() -> None:
    def ours(*_: object) -> None:
        pass

    found = []
    main = command(lambda argv: found.append(signal.getsignal(signal.SIGTERM)) or 0)
    before = signal.signal(signal.SIGTERM, ours)
    try:
        assert main([]) == 0
        assert found == [ours] and signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)
    assert main([]) == 0
    assert found[1] not in (ours, signal.SIG_DFL)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_machine_may_lack_what_a_command_needs(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(error: OSError) -> int:
        @command
        def main(argv: Sequence[str] | None = None) -> int:
            raise error

        return main([])

    assert failing(OSError(errno.ENOSPC, 'No space left on device', '/tmp/x')) == 2
    assert '/tmp/x: No space left on device; make room' in capsys.readouterr().err
    assert failing(PermissionError(errno.EACCES, 'Permission denied', b'/tmp/y')) == 2
    assert capsys.readouterr().err == (
        'error: /tmp/y: Permission denied; give this user access to it, or choose another path\n'
    )
    for where in ('/tmp/z', None):
        assert failing(OSError(errno.EMFILE, 'Too many open files', where)) == 2
        assert 'Too many open files; let this process open more' in capsys.readouterr().err
    said = "No usable temporary directory found in ['/tmp']"
    assert failing(FileNotFoundError(errno.ENOENT, said)) == 2
    assert 'TMPDIR' in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):  # a bug keeps its traceback
        failing(FileNotFoundError(errno.ENOENT, 'No such file', 'a'))
    with pytest.raises(PermissionError):  # of what, nobody knows
        failing(PermissionError(errno.EPERM, 'Operation not permitted'))


def test_an_error_is_told_by_its_own_sentence_or_by_the_path_at_fault() -> None:
    assert told(ConfigError('map: not given')) == 'map: not given'
    too_long = OSError(errno.ENAMETOOLONG, 'File name too long', 'xx')
    assert told(too_long) == 'xx: File name too long; choose a shorter name'
    assert told(ValueError('a bug')) == "ValueError('a bug')"
    assert told(OSError(errno.EBADF, 'Bad file descriptor')) == (
        "OSError(9, 'Bad file descriptor')"
    )


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(Path, 'home', nowhere)
    with pytest.raises(ConfigError, match='XDG_CACHE_HOME'):
        cache.cache_folder('vpr_ros')
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')  # as if it were not set
    with pytest.raises(ConfigError, match='XDG_CACHE_HOME'):
        cache.cache_folder('vpr_ros')
    monkeypatch.setenv('XDG_CACHE_HOME', '/caches')
    assert cache.cache_folder('vpr_ros') == Path('/caches/vpr_ros')


def test_files_are_known_again_by_their_paths_sizes_and_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [Path('a'), Path('b')]
    for file in files:
        file.write_bytes(b'first')
        os.utime(file, ns=(0, 10**18))
    known = cache.files_digest(files)
    assert cache.files_digest([tmp_path / 'a', tmp_path / 'b']) == known
    os.utime('b', ns=(0, 10**18 + 1))
    assert cache.files_digest(files) != known
    Path('b').write_bytes(b'longer')
    os.utime('b', ns=(0, 10**18))
    assert cache.files_digest(files) != known
    Path('b').write_bytes(b'other')  # of the same size and time, which is all that is looked at
    os.utime('b', ns=(0, 10**18))
    assert cache.files_digest(files) == known
    Path('b').rename('c')
    assert cache.files_digest([Path('a'), Path('c')]) != known
    with pytest.raises(FileNotFoundError):
        cache.files_digest(files)


def test_the_words_of_a_map_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    folder = tmp_path / 'map'
    shutil.copytree(GOLDEN, folder)
    header = yaml.safe_load((folder / 'map.yaml').read_text())
    header |= dict.fromkeys(('frame_id', 'model_name', 'source', 'command', 'made_at'), _EVIL)
    header['changes'] = [change | {'command': _EVIL} for change in header['changes']]
    for name in [name for name in header['files'] if name.endswith('names.txt')]:
        lines = (folder / name).read_text().splitlines()
        evil = _EVIL.replace('\r', '')
        (folder / name).write_text(''.join(f'{line}{evil}\n' for line in lines))
        header['files'][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / 'map.yaml').write_text(yaml.safe_dump(header))
    for verb in ('info', 'check'):
        done = ran(['vpr_ros.map', verb, folder])
        assert r'\x1b[31m\x1b]52;c;AAAA\x07\x9b2J' in done.stdout, verb
        assert all(line.isprintable() for line in (done.stdout + done.stderr).split('\n')), verb


def test_the_words_of_an_error_do_not_reach_the_terminal_raw(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @command
    def main(argv: Sequence[str] | None = None) -> int:
        print('one\ttab\n\x1bc')
        error = DriveError(f'/odom{_EVIL} has no pose')
        error.notes = (f'{_EVIL} was left out',)
        raise error

    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == 'one\ttab\n\\x1bc\n'
    assert said.err.count('\n') == 2
    assert all(line.isprintable() for line in said.err.split('\n'))


@pytest.mark.parametrize('where', ['missing/p.png', 'full.png'])
def test_a_picture_that_cannot_be_written_is_one_line_and_the_old_one_stays(
    tmp_path: Path, where: str
) -> None:
    (tmp_path / 'full.png').write_bytes(b'the old one')
    limited = 'import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (3000, 3000))'
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            f'{limited}; from vpr_ros.map import main; raise SystemExit(main())',
            *('info', str(GOLDEN), '--picture', str(tmp_path / where)),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    assert done.returncode == 2
    assert f'error: {tmp_path / where}: cannot be written' in done.stderr
    assert done.stderr.count('\n') == 1
    assert (tmp_path / 'full.png').read_bytes() == b'the old one'
    assert [path.name for path in tmp_path.iterdir()] == ['full.png']


def test_a_drive_without_one_fix_gives_an_empty_file_of_fixes(tmp_path: Path) -> None:
    answers: list[Answer] = []
    assert write_fixes(tmp_path / 'fixes.tum', answers) == 0
    assert (tmp_path / 'fixes.tum').read_bytes() == b''
    with pytest.raises(DriveError, match='cannot be written'):
        write_fixes(tmp_path / 'missing' / 'fixes.tum', answers)


@given(st.text(st.characters(codec=None), max_size=12))
def test_any_text_becomes_printable_and_printable_text_stays(text: str) -> None:
    said = printable(text)
    assert said.isprintable()
    assert printable(said) == said
    said.encode()
    assert printable('a\n\tb', kept='\n\t') == 'a\n\tb'


def test_characters_that_cannot_be_seen_are_written_as_numbers() -> None:
    assert printable('\x1b\u202e\udcdf\U000e0001') == r'\x1b\u202e\xdf\ue0001'
    assert printable('straße 道 é') == 'straße 道 é'
