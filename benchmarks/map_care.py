"""What adding a drive of 1,000 images costs, and what the care of a large map costs.

    python benchmarks/map_care.py [--places 1000 10000 100000]
    python benchmarks/map_care.py --care [--before TREE] [--places 10000 100000] [--limit S]

Describing the images is left out: it costs the same for every map. `written` are the bytes handed
to write calls.

--care: made-up maps as in benchmarks/index.py: places of 512 numbers, a metre apart on streets of
a kilometre, 10 m between the streets. Each piece of work has a process of its own. Seconds are the
processor's, memory is the peak above what the opened map took. TREE is a checkout of an older
commit, whose program does the same in the same run; work beyond the limit is stopped and said.

    gaps        find_gaps where every step is longer than asked for, so that each is looked into
    look-alikes distinct, of as many made-up pairs as `map check` looks at: 20,000 at most
    redundant   standing_for, with the limits of `map prune`
    recall      map_recall of 2,000 of the map's own places, as `map prune` and `merge` measure it
    frames      30 frames of the belief; its memory is that of the opened map, too
    truth       whether 2,000 poses have a right place, as evaluate_bag asks it
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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


def care(folder: Path, work: str) -> None:
    """One piece of work on a made-up map; prints what it took as JSON."""
    from vpr_ros.evaluating.tolerance import Tolerance, TruePlaces
    from vpr_ros.map_care import check, recall, redundancy

    unopened = peak_mb()
    place_map = PlaceMap.open(folder)
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(place_map), (min(len(place_map), 20_000), 2)).tolist()
    aliases = [check.Alias(place, twin, 0.9, 0.5, 30.0) for place, twin in pairs]
    asked = place_map.base_poses(rng.integers(0, len(place_map), 2000))
    asked[:, :2] += rng.normal(0, 5, (2000, 2))
    limits, five = redundancy.Redundancy(), Tolerance(5.0, float(np.radians(60)))
    ways: dict[str, Callable[[], object]] = {
        'gaps': lambda: check.find_gaps(place_map, shortest_m=0.9),
        'look-alikes': lambda: check.distinct(aliases, place_map, 20.0),
        'redundant': lambda: redundancy.standing_for(place_map, limits),
        'recall': lambda: recall.map_recall(recall.own_places(place_map), place_map, five),
        'frames': lambda: localize(place_map),
        'truth': lambda: TruePlaces(place_map.base_poses(), five).missing(asked),
    }
    before = unopened if work == 'frames' else peak_mb()
    started = time.process_time()
    ways[work]()
    print(json.dumps([time.process_time() - started, peak_mb() - before]))


def localize(place_map: PlaceMap) -> None:
    """Frames that look as places do, by the belief."""
    from vpr_ros.core.localizing.config import LocalizerConfig
    from vpr_ros.core.localizing.localizer import Localizer
    from vpr_ros.core.localizing.query import Query

    localizer = Localizer(None, place_map, LocalizerConfig())  # type: ignore[arg-type]
    for place in range(1000, 1030):
        localizer.locate(Query(place_map.descriptor(place), place * 10**9))


def peak_mb() -> float:
    """The most memory that was resident so far."""
    status = Path('/proc/self/status').read_text().split()
    return int(status[status.index('VmHWM:') + 1]) / 1024


def cared(tree: Path, folder: Path, work: str, limit_s: float) -> str:
    """What a tree's program takes for one piece of work, as text."""
    command = [sys.executable, __file__, '--of', str(folder), '--work', work]
    paths = os.pathsep.join([str(tree), str(Path(__file__).parent)])
    try:
        done = subprocess.run(
            ['timeout', f'{limit_s:g}', *command],
            env=os.environ | {'PYTHONPATH': paths, 'TQDM_DISABLE': '1'},
            check=True,
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        if error.returncode != 124:
            raise RuntimeError(error.stderr) from error
        return f'stopped after {limit_s:g} s'
    seconds, megabytes = json.loads(done.stdout)
    return f'{seconds:8.2f} s {megabytes:7.1f} MB'


def all_care(trees: dict[str, Path], sizes: list[int], limit_s: float) -> None:
    """Every piece of work by every tree's program."""
    from index import build as build_made

    print(f'{"places":>8} {"":<12}' + ''.join(f'{name:>22}' for name in trees))
    for places in sizes:
        with tempfile.TemporaryDirectory() as folder:
            build_made(Path(folder), places)
            for work in ('gaps', 'look-alikes', 'redundant', 'recall', 'frames', 'truth'):
                took = [
                    cared(tree, Path(folder) / 'map', work, limit_s) for tree in trees.values()
                ]
                print(
                    f'{places:>8} {work:<12}' + ''.join(f'{each:>22}' for each in took), flush=True
                )


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--places', type=int, nargs='+')
    parser.add_argument('--care', action='store_true')
    parser.add_argument('--before', type=Path, metavar='TREE')
    parser.add_argument('--limit', type=float, default=120.0, metavar='S')
    parser.add_argument('--of', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--work', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.of:
        care(arguments.of, arguments.work)
        return
    if arguments.care:
        trees = {'before': arguments.before} if arguments.before else {}
        trees['now'] = Path(__file__).resolve().parents[1]
        all_care(trees, arguments.places or [10_000, 100_000], arguments.limit)
        return
    print('places before      adding 1,000      written')
    for places in arguments.places or [1_000, 10_000, 100_000]:
        with tempfile.TemporaryDirectory() as folder:
            measure(places, Path(folder))


if __name__ == '__main__':
    main()
