"""What a fleet's store costs: push, pull, version and rollback of a map of 100,000 places.

    python benchmarks/fleet.py [--places 100000] [--parts 10] [--folder DIR] [--json]

The places are made up from real ones. The demo's drives are described by the shipped model
(512 numbers and 3,200 bytes of cells a place). Place k takes the descriptor of real place k modulo
their number, mixed with another one by chance (0.9 and 0.1) and of norm 1, the cells of the real
place with one bit in fifty turned, and its thumbnail. They lie a metre apart on streets 20 m
apart, one part for each street.

Each step runs in a process of its own, as a user would run it, and is timed from its start to its
end without the start of Python and the imports. `peak` is its largest resident memory, with the
map's files that are mapped. `moved` is what the kernel counts as written by it. The store is a
folder on the local disk.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

DRIVES = Path(__file__).resolve().parents[1] / 'demo' / 'drives'
STREET_M, ONE_BIT_OF = 20.0, 50


def made_map(folder: Path, places: int, parts: int, *, first: int = 0) -> None:
    """A map of made-up places; its parts are streets, numbered from `first`."""
    from vpr_ros.core.describing.describe import OnnxDescriber
    from vpr_ros.core.describing.model import Model
    from vpr_ros.core.describing.shipped import default_model
    from vpr_ros.core.geometry import FORWARD_CAMERA
    from vpr_ros.core.mapping.header import read_header
    from vpr_ros.core.mapping.place_map import PlaceMap
    from vpr_ros.core.mapping.writer import MapWriter, build
    from vpr_ros.drives import open_drive
    from vpr_ros.map_care.build import build_map
    from vpr_ros.map_care.edit import append

    model = Model.open(default_model())
    real = folder.with_name('real')
    build_map(open_drive(DRIVES / 'day'), OnnxDescriber(model), real)
    source = PlaceMap.open(real)
    everything = np.arange(len(source))
    descriptors, cells = source.descriptors_of(everything), source.cells_of(everything)
    thumbnails = [source.thumbnail_jpeg(row) for row in everything]
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

    each = places // parts
    with build(folder, source.header) as writer:
        add(writer, first, each)
    for street in range(first + 1, first + parts):
        with append(folder, read_header(folder)) as writer:
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
    status = map.main(argv)
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


def measure(folder: Path, places: int, parts: int) -> list[tuple[str, dict[str, Any]]]:
    whole, fleet, one = folder / 'map', str(folder / 'fleet'), folder / 'one'
    started = time.perf_counter()
    made_map(whole, places, parts)
    print(f'made in {time.perf_counter() - started:.0f} s, {size_mb(whole)} MB', file=sys.stderr)
    rows: list[tuple[str, dict[str, Any]]] = []

    def done(name: str, *argv: str) -> None:
        rows.append((name, step(list(argv))))
        print(name, rows[-1][1], file=sys.stderr)

    done('push of all', 'push', str(whole), '--fleet', fleet)
    rows[-1][1]['store_mb'] = size_mb(Path(fleet))
    done('push again', 'push', str(whole), '--fleet', fleet)
    made_map(one, places // parts, 1, first=parts)
    done('push of one more part', 'push', str(one), '--fleet', fleet)
    done('version (list)', 'fleet', fleet)
    middle = f'--near={places / parts / 2},{STREET_M * parts / 2},500'
    done('pull of 500 m', 'pull', '--fleet', fleet, middle, '--output', str(folder / 'cut'))
    rows[-1][1]['map_mb'] = size_mb(folder / 'cut')
    done('pull of all', 'pull', '--fleet', fleet, '--version', '2', '--output', str(folder / 'a'))
    rows[-1][1]['map_mb'] = size_mb(folder / 'a')
    done('rollback', 'fleet', fleet, '--rollback', '2')
    done('pull of all again', 'pull', '--fleet', fleet, '--output', str(folder / 'b'))
    rows[-1][1]['equal_bytes'] = files(folder / 'a') == files(folder / 'b')
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--places', type=int, default=100_000)
    parser.add_argument('--parts', type=int, default=10)
    parser.add_argument('--folder', type=Path, help='for some GB; default: a temporary one')
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rows = measure(Path(folder), arguments.places, arguments.parts)
    if arguments.json:
        print(json.dumps(dict(rows), indent=2))
        return
    print(f'{arguments.places} places in {arguments.parts} parts, {os.cpu_count()} cores')
    for name, figures in rows:
        print(f'{name:<24}', '  '.join(f'{key} {value}' for key, value in figures.items()))


if __name__ == '__main__':
    if sys.argv[1:2] == ['--step']:
        run_step(sys.argv[2:])
    main()
