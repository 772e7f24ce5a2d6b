"""Whatever input is given, it is read or refused in the project's own words.

A short run of tools/fuzz.py from the kept seeds, which are read first; `make fuzz` runs longer.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 20


@pytest.mark.slow
def test_no_seed_and_no_mutation_of_one_is_answered_with_anything_but_our_errors(
    tmp_path: Path,
) -> None:
    command = [sys.executable, 'tools/fuzz.py', '--seed=1', f'--seconds={SECONDS}']
    done = subprocess.run(
        [*command, f'--output={tmp_path}'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'messages: ' in done.stdout and 'bag: ' in done.stdout


BROKEN = """
import sys, time, ctypes
sys.path[:0] = ['tools', 'test/fuzz']
sys.argv = ['tools/fuzz.py', *sys.argv[1:]]
import fuzz, targets


def make(folder):
    def run(content):
        if content == b'crash':
            ctypes.string_at(0)
        raise KeyError(content)
    return run


targets.TARGETS['image'] = targets.Target(make, lambda: [b'a', b'b', b'crash'])
fuzz.__file__ = __file__
sys.exit(fuzz.main())
"""


def test_a_fault_is_said_once_and_its_input_kept_and_a_crash_ends_nothing_else(
    tmp_path: Path,
) -> None:
    """With a reader in place of a real one that raises, and crashes."""
    program = tmp_path / 'broken.py'
    program.write_text(BROKEN)
    command = [sys.executable, str(program), '--target=image', '--target=mounting']
    done = subprocess.run(
        [*command, '--inputs=10', f'--output={tmp_path / "kept"}'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert 'the process ended with status -11' in done.stdout and 'string_at' in done.stdout
    assert 'mounting: 10 inputs, 0 faults' in done.stdout
    assert done.stdout.count('KeyError in') == 1
    assert sorted(kept.read_bytes() for kept in (tmp_path / 'kept').iterdir()) == [b'a', b'crash']
