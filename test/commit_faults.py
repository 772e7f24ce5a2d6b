"""Break a change of a map at each of its system calls in turn, and look what is left.

    python test/commit_faults.py build kill exchange --folder DIR

A process of its own, because a killed one is a fork of it: pytest has threads. Prints one JSON
object: how many points there are, of which calls, and what was found wrong.
"""

import argparse
import builtins
import ctypes
import errno
import fcntl
import io
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from worlds import CELLS, cell_bits, straight_drive, unit_rows

from vpr_ros.core.errors import MapError
from vpr_ros.core.mapping.header import MapHeader, read_header, write_calibration
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.map_care.edit import append

OF_OS = ('open', 'mkdir', 'rename', 'replace', 'unlink', 'rmdir', 'fsync', 'link', 'pwrite')
CALIBRATION = {'bias': 2.0}


class Faults:
    """System calls of this process, of which one, or all from one on, go wrong."""

    def __init__(self, *, fails: Callable[[], None], after: bool, persists: bool) -> None:
        self._fails, self._after, self._persists = fails, after, persists
        self.at = sys.maxsize
        self.calls: list[str] = []
        self.is_on = False

    def guarded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*given: Any, **options: Any) -> Any:
            if not self.is_on:
                return call(*given, **options)
            self.calls.append(name)
            point = len(self.calls)
            hit = point == self.at or (self._persists and point > self.at)
            if hit and not self._after:
                self._fails()
            result = call(*given, **options)
            if hit and self._after:
                self._fails()
            return result

        return guarded

    def install(self, exchange: str) -> None:
        for name in OF_OS:
            # Nothing here outlives a power cut, so that syncs are counted and not done.
            real = (lambda descriptor: None) if name == 'fsync' else getattr(os, name)
            setattr(os, name, self.guarded(name, real))
        fcntl.flock = self.guarded('flock', fcntl.flock)
        io.open = builtins.open = self.guarded('open', io.open)
        real = ctypes.CDLL(None, use_errno=True).renameat2
        given = real if exchange == 'exchange' else refusing(exchange)
        libc = SimpleNamespace(renameat2=self.guarded('renameat2', given))
        if exchange == 'missing':
            del libc.renameat2
        ctypes.CDLL = lambda *given, **options: libc  # type: ignore[assignment,misc]


def refusing(name: str) -> Callable[..., int]:
    """A renameat2 as the kernel's is on file systems that cannot exchange."""

    def renameat2(*given: Any) -> int:
        ctypes.set_errno(getattr(errno, name, 0))
        return -1

    return renameat2


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError(errno.EIO, 'Input/output error')


def interrupt() -> None:
    raise KeyboardInterrupt


HEADER = MapHeader(model_name='m', model_sha256='c' * 64, descriptor_size=16, cells=CELLS)


def add(writer: Any, count: int) -> None:
    for row in range(count):
        writer.add(
            unit_rows(count, 16)[row],
            straight_drive(count)[row],
            stamp_ns=row,
            name=f'{row}',
            thumbnail=b'x',
            cells=cell_bits(count)[row],
        )


def build_map(folder: Path, count: int = 2) -> None:
    with build(folder, HEADER) as writer:
        add(writer, count)


def append_to_map(folder: Path) -> None:
    with append(folder, read_header(folder)) as writer:
        add(writer, 1)


def calibrate(folder: Path) -> None:
    write_calibration(folder, CALIBRATION)


CHANGES: dict[str, Callable[[Path], None]] = {
    'build': build_map,
    'append': append_to_map,
    'calibrate': calibrate,
}
# How it goes wrong: what happens, whether after the call, whether from then on.
WAYS: dict[str, tuple[Callable[[], None], bool, bool]] = {
    'kill': (kill, False, False),
    'error': (fail, False, False),
    'errors': (fail, False, True),
    'interrupt': (interrupt, True, False),
}


def state(folder: Path) -> str:
    """Which map is there: the old one, or one of the new ones."""
    try:
        opened = PlaceMap.open(folder)
    except MapError as error:
        return f'no map: {error}'
    is_calibrated = opened.header.calibration == CALIBRATION
    opened.cells_of(np.arange(len(opened)))
    return f'{len(opened)} places, {is_calibrated}'


OLD = '3 places, False'
NEW = {'build': '2 places, False', 'append': '4 places, False', 'calibrate': '3 places, True'}


def attempt(change: str, folder: Path, faults: Faults, point: int, way: str) -> str:
    """Try the change with a fault; how it ended."""
    faults.at, faults.calls = point, []
    if way == 'kill':
        child = os.fork()
        if child == 0:
            faults.is_on = True
            CHANGES[change](folder)
            os._exit(0)
        return 'killed' if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) else 'done'
    faults.is_on = True
    try:
        CHANGES[change](folder)
    except (OSError, MapError):
        return 'error'
    except KeyboardInterrupt:
        return 'interrupted'
    finally:
        faults.is_on = False
    return 'done'


def look(change: str, folder: Path, ended: str, way: str = '') -> list[str]:
    """What is wrong after an attempt that ended so."""
    found = state(folder)
    wanted = [OLD, NEW[change]]
    if ended == 'done':
        wanted = [NEW[change]]
    elif ended == 'error' and way == 'error' and change != 'calibrate':
        wanted = [OLD]  # what one error begins is undone; a file's last sync is after its rename
    wrong = [] if found in wanted else [f'{found}, expected {" or ".join(wanted)}']
    try:
        build_map(folder, 1)
    except (OSError, MapError) as error:
        wrong.append(f'the next build: {error}')
    left = sorted(path.name for path in folder.parent.iterdir())
    inside = sorted(path.name for path in folder.iterdir())
    if (left, inside) != (['map'], ['map.yaml', 'parts']):
        wrong.append(f'litter: {left}, {inside}')
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('change', choices=CHANGES)
    parser.add_argument('way', choices=WAYS)
    parser.add_argument('exchange', help='exchange, missing, or the errno of one that refuses')
    parser.add_argument('--folder', type=Path, required=True)
    arguments = parser.parse_args()
    fails, after, persists = WAYS[arguments.way]
    faults = Faults(fails=fails, after=after, persists=persists)
    faults.install(arguments.exchange)
    old = arguments.folder / 'old'
    build_map(old, 3)
    ways = Counter[str]()
    wrong: list[str] = []
    point, names = 0, []
    while not names or point < len(names):
        # The first attempt has no fault, and says which points there are.
        folder = arguments.folder / f'{point}' / 'map'
        shutil.copytree(old, folder)
        if not names:
            faults.is_on, faults.calls = True, []
            CHANGES[arguments.change](folder)
            faults.is_on = False
            names = list(faults.calls)
            wrong += look(arguments.change, folder, 'done')
        else:
            point += 1
            ended = attempt(arguments.change, folder, faults, point, arguments.way)
            ways[ended] += 1
            found = look(arguments.change, folder, ended, arguments.way)
            wrong += [f'{point} ({names[point - 1]}), {ended}: {one}' for one in found]
        shutil.rmtree(folder.parent)
    print(json.dumps({'points': point, 'calls': Counter(names), 'ended': ways, 'wrong': wrong}))


if __name__ == '__main__':
    main()
