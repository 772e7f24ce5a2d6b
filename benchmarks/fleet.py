"""What a fleet's store costs: push, pull, version and rollback of a map of 100,000 places.

    python benchmarks/fleet.py [--quick] [--json]

The places are made up from real ones. The demo's day drive is mapped with the defaults: 512
numbers, 3,200 bytes of cells and some 175 landmarks a place. Place k takes the descriptor of real
place k modulo their number, mixed with another one by chance (0.9 and 0.1) and of norm 1, the
cells of the real place with one bit in fifty turned, its landmarks and its thumbnail. They lie a
metre apart on streets 20 m apart, one part for each street. The store keeps the thumbnails and
landmarks that repeat once for many places, so that a real store is larger.

Each step runs in a process of its own, as a user would run it, and is timed from its start to its
end without the start of Python and the imports. The peak is its largest resident memory, with the
map's files that are mapped. What it wrote is what the kernel counts. The store is a folder on the
local disk (VPR_SCRATCH, else a temporary folder). Beside a push and a pull of all stands a copy of
the map's folder, which is what one would do without a store.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sections import Section, map_of_day, run

STREET_M, ONE_BIT_OF = 20.0, 50
PLACES, PARTS = 100_000, 10


def made_map(folder: Path, places: int, parts: int, *, first: int = 0) -> None:
    """A map of made-up places; its parts are streets, numbered from `first`."""
    from vpr_ros.core.describing.describe import OnnxDescriber
    from vpr_ros.core.describing.model import Model
    from vpr_ros.core.describing.shipped import default_model
    from vpr_ros.core.geometry import FORWARD_CAMERA
    from vpr_ros.core.landmarks.features import CellFeatures
    from vpr_ros.core.mapping.header import read_header
    from vpr_ros.core.mapping.place_map import PlaceMap
    from vpr_ros.core.mapping.writer import MapWriter, build
    from vpr_ros.map_care.edit import append

    model = Model.open(default_model())
    real = folder.with_name('real')
    features = CellFeatures()
    map_of_day(OnnxDescriber(model), real)
    source = PlaceMap.open(real)
    everything = np.arange(len(source))
    descriptors, cells = source.descriptors_of(everything), source.cells_of(everything)
    thumbnails = [source.thumbnail_jpeg(row) for row in everything]
    landmarks = [source.landmarks(row) for row in everything]
    rng = np.random.default_rng(first)

    def add(writer: MapWriter, street: int, count: int) -> None:
        for number in range(count):
            own, other = (street * count + number) % len(source), int(rng.integers(len(source)))
            row = 0.9 * descriptors[own] + 0.1 * descriptors[other]
            row += 0.01 * rng.standard_normal(row.shape, dtype=np.float32)
            turned = np.zeros(cells[own].size * 8, dtype=bool)
            turned[rng.integers(turned.size, size=turned.size // ONE_BIT_OF)] = True
            pose = FORWARD_CAMERA.copy()
            pose[:2] = number, STREET_M * street
            writer.add(
                row / np.linalg.norm(row),
                pose,
                stamp_ns=(street * count + number) * 10**9,
                name=f'{street}/{number}.jpg',
                thumbnail=thumbnails[own],
                cells=cells[own] ^ np.packbits(turned).reshape(cells[own].shape),
            )
            writer.add_landmarks(landmarks[own])

    each, kept = places // parts, (source.header.camera, features)
    with build(folder, source.header, features=features) as writer:
        add(writer, first, each)
    for street in range(first + 1, first + parts):
        with append(folder, read_header(folder), landmarks=kept) as writer:
            add(writer, street, each)


def step(argv: list[str]) -> dict[str, Any]:
    """Run a command of `map` in a process of its own; its seconds, peak and bytes written."""
    words = [sys.executable, __file__, '--step', *argv]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(found.stderr)
    answer: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return answer


def run_step(argv: list[str]) -> None:
    import lancedb  # noqa: F401

    from vpr_ros import map

    before, started = written_bytes(), time.perf_counter()
    cpu = time.process_time()
    status = copied(*argv[1:]) if argv[0] == 'copy' else map.main(argv)
    taken = time.perf_counter() - started
    print(
        json.dumps(
            {
                's': round(taken, 2),
                'cpu_s': round(time.process_time() - cpu, 2),
                'peak_mb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                'written_mb': round((written_bytes() - before) / 1e6, 1),
            }
        )
    )
    sys.exit(status)


def copied(folder: str, copy: str) -> int:
    """Copy a map's folder until it is on the disk, as a push and a pull write theirs."""
    shutil.copytree(folder, copy)
    for path in Path(copy).rglob('*.*'):
        with path.open('rb+') as file:
            os.fsync(file)
    return 0


def written_bytes() -> int:
    counters = Path('/proc/self/io').read_text().split()
    return int(counters[counters.index('write_bytes:') + 1])


def size_mb(folder: Path) -> float:
    return round(sum(p.stat().st_size for p in folder.rglob('*') if p.is_file()) / 1e6, 1)


def files(folder: Path) -> dict[str, bytes]:
    from hashlib import sha256

    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).digest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def steps(folder: Path, places: int, parts: int) -> dict[str, dict[str, Any]]:
    """What each step took."""
    whole, fleet, one = folder / 'map', str(folder / 'fleet'), folder / 'one'
    made_map(whole, places, parts)
    found: dict[str, dict[str, Any]] = {}

    def done(name: str, *argv: str) -> None:
        found[name] = step(list(argv))

    done('copy', 'copy', str(whole), str(folder / 'copy'))
    found['copy']['size_mb'] = size_mb(folder / 'copy')
    shutil.rmtree(folder / 'copy')
    done('push', 'push', str(whole), '--fleet', fleet)
    found['push']['size_mb'] = size_mb(Path(fleet))
    done('push again', 'push', str(whole), '--fleet', fleet)
    made_map(one, places // parts, 1, first=parts)
    done('push a part', 'push', str(one), '--fleet', fleet)
    done('versions', 'fleet', fleet)
    middle = f'--near={places / parts / 2},{STREET_M * parts / 2},500'
    near = ['pull', '--fleet', fleet, middle, '--output', str(folder / 'cut')]
    for name, options in (('pull near', ['--distractors', '0']), ('pull cut', [])):
        done(name, *near, *options)
        found[name]['size_mb'] = size_mb(folder / 'cut')
    done('pull', 'pull', '--fleet', fleet, '--version', '2', '--output', str(folder / 'a'))
    found['pull']['size_mb'] = size_mb(folder / 'a')
    done('rollback', 'fleet', fleet, '--rollback', '2')
    done('pull again', 'pull', '--fleet', fleet, '--output', str(folder / 'b'))
    found['pull again']['equal_bytes'] = files(folder / 'a') == files(folder / 'b')
    return found


def measure(quick: bool) -> list[Section]:
    """All steps on one made-up map."""
    places = PLACES // 10 if quick else PLACES
    with tempfile.TemporaryDirectory(dir=os.environ.get('VPR_SCRATCH')) as folder:
        found = steps(Path(folder), places, PARTS)
    section = Section(
        "A fleet's store",
        'A robot pulls its part of a city in seconds, and can pull every older version.',
    )
    copy = found['copy']
    for name, what, is_whole in (
        ('push', f'push of {places:,} places in {PARTS} parts', True),
        ('push again', 'the same push again, which adds nothing', False),
        ('push a part', f'push of one more part, {places // PARTS:,} places', False),
        ('versions', 'list of versions', False),
        ('pull near', 'pull within 500 m, `--distractors 0`', False),
        ('pull cut', 'pull within 500 m', False),
        ('pull', f'pull of {places:,} places', True),
        ('rollback', 'rollback', False),
        ('pull again', 'pull of all after the rollback', True),
    ):
        one = found[name]
        took = (
            f'{what} ({one["cpu_s"]} s of the processor, {one["peak_mb"]:,} MB at the peak, '
            f'{one["written_mb"]:,} MB written)'
        )
        if is_whole:
            section.add(took, one['s'], 'copy of the folder', copy['s'], unit='s')
        else:
            section.add(took, one['s'], unit='s')
    again = 'the same bytes' if found['pull again']['equal_bytes'] else 'OTHER BYTES'
    section.notes.append(
        f'The map takes {copy["size_mb"]:,} MB, the store {found["push"]["size_mb"]:,} MB, the '
        f'cut of 500 m {found["pull near"]["size_mb"]:,} MB, with distractors '
        f'{found["pull cut"]["size_mb"]:,} MB. The pulls before and after the rollback gave '
        f'{again}.'
    )
    return [section]


if __name__ == '__main__':
    if sys.argv[1:2] == ['--step']:
        run_step(sys.argv[2:])
    else:
        run(__doc__, measure)
