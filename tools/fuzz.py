"""Give what reads other people's input what nobody would write, and say what does not bear it.

    python tools/fuzz.py --seconds 600            # all targets, each its share
    python tools/fuzz.py --target bag --seconds 60
    python tools/fuzz.py --replay outputs/fuzz/bag-1a2b3c4d

The project's own errors are an answer; any other exception, a crash, more than 10 s or 1 GB for
one input is a fault. Its input is kept in outputs/fuzz, one for each place in the code. Each
target runs in a process of its own, so that a crash ends nothing else. Exit status 1 where faults
were found.
"""

import argparse
import faulthandler
import hashlib
import importlib.util
import json
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'test'), str(ROOT / 'test' / 'fuzz')]

from mutation import LARGEST, mutated
from targets import SEEDS, TARGETS

from vpr_ros.core.errors import VprError
from vpr_ros.core.plurals import counted

MOST_S, MOST_BYTES = 10, 1 << 30  # of one input
_SAID_EVERY_S = 2.0


class SlowError(Exception):
    """An input took too long."""


def main() -> int:
    """The command; see above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seconds', type=float, default=60.0, help='for all targets together')
    parser.add_argument('--target', action='append', choices=TARGETS, default=[])
    parser.add_argument('--seed', type=int, help='the same inputs again; by default others')
    parser.add_argument('--inputs', type=int, default=sys.maxsize, help='at most, of each target')
    parser.add_argument('--replay', type=Path, help='one kept input, with its traceback')
    parser.add_argument('--output', type=Path, default=ROOT / 'outputs' / 'fuzz')
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.replay:
        return replay(arguments.replay, arguments.target)
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    targets = arguments.target or there()
    if arguments.child:
        print(json.dumps(fuzz(targets[0], seed, arguments)), flush=True)
        return 0
    arguments.output.mkdir(parents=True, exist_ok=True)
    given = [f'--seed={seed}', f'--inputs={arguments.inputs}', f'--output={arguments.output}']
    inputs = faults = 0
    ends_s = time.monotonic() + arguments.seconds
    for number, target in enumerate(targets):
        share_s = max(ends_s - time.monotonic(), 0.1) / (len(targets) - number)
        found = run_apart(target, [*given, f'--seconds={share_s}'], arguments.output)
        inputs += found['inputs']
        faults += len(found['faults'])
    print(f'{counted(inputs, "input")}, {counted(faults, "fault")}, seed {seed}')
    return 1 if faults else 0


def there() -> list[str]:
    """The targets for which everything is installed."""
    if importlib.util.find_spec('rclpy'):
        return list(TARGETS)
    print('messages: left out, because ROS 2 is not there (make setup)')
    return [target for target in TARGETS if target != 'messages']


def run_apart(target: str, given: list[str], output: Path) -> dict[str, Any]:
    """Fuzz a target in its own process; says how it goes, and keeps the input of a crash."""
    current = output / f'.{target}-current'
    command = [sys.executable, __file__, '--child', f'--target={target}', *given]
    found: dict[str, Any] = {'inputs': 0, 'faults': {}}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            found = json.loads(line)
            said = f'{target}: {counted(found["inputs"], "input")}, {found["refused"]} refused, '
            said += f'{counted(len(found["faults"]), "fault")}'
            print(f'\r{said}', end='', flush=True) if sys.stdout.isatty() else None
    stack = output / f'.{target}-stack'
    if child.returncode and not current.exists():
        raise SystemExit(
            f'{target}: the process ended with status {child.returncode} before the first input'
        )
    if child.returncode:
        size = int.from_bytes(current.read_bytes()[:8], 'little')
        path = keep(output, target, current.read_bytes()[8 : 8 + size])
        said = f'the process ended with status {child.returncode}:\n{stack.read_text()}'
        found['faults'][said] = str(path)
    inputs, faults = counted(found['inputs'], 'input'), counted(len(found['faults']), 'fault')
    print(f'\r{target}: {inputs}, {faults}')
    for path in (current, stack):
        path.unlink(missing_ok=True)
    for what, path in found['faults'].items():
        print(f'  {what}\n    python tools/fuzz.py --replay {path}')
    return found


def fuzz(target: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Inputs of one target until the time is over; how many, and the faults by where they are."""
    quiet()
    stack = (arguments.output / f'.{target}-stack').open('w')
    faulthandler.enable(stack)
    rng = random.Random(f'{seed} {target}')
    found: dict[str, Any] = {'inputs': 0, 'refused': 0, 'faults': {}}
    with reading(target) as run, noting(arguments.output / f'.{target}-current') as note:
        seeds = TARGETS[target].seeds()
        started_s = said_s = time.monotonic()
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        while found['inputs'] < arguments.inputs:
            number = found['inputs']
            sound = number < len(seeds)  # all seeds first, as they are
            content = seeds[number] if sound else mutated(rng, seeds, words=TARGETS[target].words)
            note(content)
            what = ''
            try:
                with limited(stack):
                    run(content)
            except VprError:
                found['refused'] += 1
            except Exception as error:
                what = where(error)
            found['inputs'] += 1
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if (most - held) * 1024 > MOST_BYTES:
                what = f'more than {MOST_BYTES >> 20} MB of memory'
            held = most
            is_new = bool(what) and what not in found['faults']
            if is_new:
                found['faults'][what] = str(keep(arguments.output, target, content))
            now_s = time.monotonic()
            if is_new or now_s - said_s > _SAID_EVERY_S:
                print(json.dumps(found), flush=True)  # known even if the next input crashes
                said_s = now_s
            if now_s - started_s > arguments.seconds and number >= len(seeds):
                break
    return found


def keep(output: Path, target: str, content: bytes) -> Path:
    """Write an input, named by its target and content."""
    path = output / f'{target}-{hashlib.sha256(content).hexdigest()[:8]}'
    path.write_bytes(content)
    return path


def replay(path: Path, targets: list[str]) -> int:
    """Read one input again; its error goes to the terminal."""
    names = targets or [name for name in TARGETS if path.name.startswith(f'{name}-')]
    names = names or [path.resolve().parent.name]
    with reading(names[0]) as run:
        try:
            run(path.read_bytes())
        except VprError as error:
            print(f'{names[0]}: refused, as it should be: {error}')
        else:
            print(f'{names[0]}: read')
    return 0


@contextmanager
def reading(target: str) -> Iterator[Any]:
    """A target's reader in a folder of its own, in memory where there is room for it."""
    memory = Path('/dev/shm')
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield TARGETS[target].make(Path(folder))


@contextmanager
def noting(path: Path) -> Iterator[Any]:
    """Notes each input where it outlives the process."""
    path.write_bytes(bytes(8 + LARGEST))
    with path.open('r+b') as file, mmap.mmap(file.fileno(), 0) as page:

        def note(content: bytes) -> None:
            page[:8] = len(content).to_bytes(8, 'little')
            page[8 : 8 + len(content)] = content

        yield note


@contextmanager
def limited(stack: TextIO) -> Iterator[None]:
    """Ends what takes too long: with an error in Python, with the process in C."""

    def stop(*_: Any) -> None:
        raise SlowError(f'more than {MOST_S} s')

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MOST_S)
    faulthandler.dump_traceback_later(3 * MOST_S, exit=True, file=stack)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


def where(error: Exception) -> str:
    """What was raised, and the last lines of this project on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f'{Path(frame.filename).relative_to(ROOT)}:{frame.lineno}'
        for frame in frames
        if frame.filename.startswith((f'{ROOT}/vpr_ros', f'{ROOT}/vpr_training'))
    ]
    return f'{type(error).__name__} in {" ".join(ours[-2:]) or "no file of ours"}'


def quiet() -> None:
    """Keep C libraries, which complain of every broken image, from the terminal."""
    warnings.simplefilter('ignore')
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if __name__ == '__main__':
    assert SEEDS.is_dir(), 'make seeds first: python test/fuzz/make_seeds.py'
    sys.exit(main())
