"""What adding a drive of 1,000 images costs, by the size of the map that it is added to.

    python benchmarks/map_care.py [--places 1000 10000 100000]

Describing the images is left out: it costs the same for every map. `written` are the bytes handed
to write calls.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from vpr_ros.core.geometry import FORWARD_CAMERA
from vpr_ros.core.mapping.header import MapHeader, read_header
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import MapWriter, build
from vpr_ros.map_care.edit import append

SIZE, ADDED, THUMBNAIL_BYTES, ROUNDS = 512, 1000, 7000, 5


def add(writer: MapWriter, count: int) -> None:
    """Places with random descriptors along a line."""
    rng = np.random.default_rng(0)
    thumbnail = rng.bytes(THUMBNAIL_BYTES)
    for number in range(count):
        row = rng.standard_normal(SIZE, dtype=np.float32)
        pose = FORWARD_CAMERA.copy()
        pose[0] = number
        row /= np.linalg.norm(row)
        writer.add(row, pose, stamp_ns=number, name=f'{number}.jpg', thumbnail=thumbnail)


def written_bytes() -> int:
    counters = Path('/proc/self/io').read_text().split()
    return int(counters[counters.index('wchar:') + 1])


def measure(places: int, folder: Path) -> None:
    header = MapHeader(model_name='made', model_sha256='0' * 64, descriptor_size=SIZE)
    with build(folder / 'map', header) as writer:
        add(writer, places)
    taken, written = [], []
    for _ in range(ROUNDS):
        started, before = time.perf_counter(), written_bytes()
        with append(folder / 'map', read_header(folder / 'map')) as writer:
            add(writer, ADDED)
        taken.append(time.perf_counter() - started)
        written.append(written_bytes() - before)
    assert len(PlaceMap.open(folder / 'map')) == places + ROUNDS * ADDED
    print(f'{places:>12,} {np.median(taken):9.2f} s {np.median(written) / 1e6:11.2f} MB')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--places', type=int, nargs='+', default=[1_000, 10_000, 100_000])
    print('places before      adding 1,000      written')
    for places in parser.parse_args().places:
        with tempfile.TemporaryDirectory() as folder:
            measure(places, Path(folder))


if __name__ == '__main__':
    main()
