"""What searching costs from a thousand to a million places, beside what a user would take instead.

    python benchmarks/index.py [--quick] [--json]

Descriptors are made, 512 numbers each, with the statistics that the shipped model's have on the
demo's drives and on three sets of real images: a common direction with 0.4 of the energy,
variances along the principal axes that fall as 1/rank, routes of a thousand places in which
neighbours have a similarity of 0.83, and queries that have one of 0.72 to their own place, as dusk
has to day. At a million places a query's most similar place is its own in little more than half of
the cases: the nearest ones are close rivals, which is hard on an approximate search.

Each map is built, opened and searched in a process of its own, so that its memory is its own.
Queries come at the pace of a camera, some thirty a second: a search in a loop would not show what
threads cost that wait for the next one. Latencies are medians; processor time is that of all
threads until the next query. `ready` is opening the map for us, and reading or building for the
others.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sections import PAUSE_S, Section, run

SIZE, ROUTE, QUERIES, KEPT = 512, 1000, 500, 25
MOST_HNSW = 100_000  # a graph of more takes a quarter of an hour to build on two cores
COMMON, NEIGHBOUR, QUERY = 0.4, 0.83, 0.72  # shares of the energy; similarities


def descriptors(places: int) -> Iterator[np.ndarray]:
    """Rows [1000, 512], route after route."""
    rng = np.random.default_rng(0)
    mean, axes = statistics()
    keep = (NEIGHBOUR - COMMON) / (1 - COMMON)
    for _ in range(places // ROUTE):
        steps = rng.standard_normal((ROUTE, SIZE), dtype=np.float32)
        for place in range(1, ROUTE):
            steps[place] = keep * steps[place - 1] + np.sqrt(1 - keep**2) * steps[place]
        yield unit(np.sqrt(COMMON) * mean + np.sqrt(1 - COMMON) * (steps @ axes))


def statistics() -> tuple[np.ndarray, np.ndarray]:
    """The common direction [512] and the scaled principal axes [512, 512]."""
    rng = np.random.default_rng(1)
    variances = 1 / np.arange(1, SIZE + 1)
    turned = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    axes = np.sqrt(variances / variances.sum())[:, None] * turned
    return unit(rng.standard_normal(SIZE)).astype(np.float32), axes.astype(np.float32)


def queries_of(rows: np.ndarray) -> np.ndarray:
    """Another look at places [Q, 512]."""
    rng = np.random.default_rng(2)
    mean, axes = statistics()
    own = (rows - np.sqrt(COMMON) * mean) / np.sqrt(1 - COMMON)
    other = rng.standard_normal(rows.shape, dtype=np.float32) @ axes
    keep = (QUERY - COMMON) / (1 - COMMON)
    seen = keep * own + np.sqrt(1 - keep**2) * other
    return unit(np.sqrt(COMMON) * mean + np.sqrt(1 - COMMON) * seen).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def build(folder: Path, places: int) -> None:
    """A map on a grid of streets."""
    from vpr_ros.core.geometry import FORWARD_CAMERA
    from vpr_ros.core.mapping.header import MapHeader
    from vpr_ros.core.mapping.writer import build as build_map

    header = MapHeader(model_name='made', model_sha256='0' * 64, descriptor_size=SIZE)
    chosen = np.sort(np.random.default_rng(3).choice(places, min(QUERIES, places), replace=False))
    seen = []
    started = time.perf_counter()
    with build_map(folder / 'map', header) as writer:
        for route, rows in enumerate(descriptors(places)):
            for number, row in enumerate(rows):
                place = route * ROUTE + number
                pose = FORWARD_CAMERA.copy()
                pose[:2] = number, 10 * route
                writer.add(row, pose, stamp_ns=place, name=f'{place}', thumbnail=b'')
            seen.append(rows[chosen[chosen // ROUTE == route] % ROUTE])
    np.save(folder / 'queries.npy', queries_of(np.concatenate(seen)))
    print(json.dumps({'build_s': time.perf_counter() - started}))


def resident_mb() -> float:
    """Resident memory now."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def asked(
    search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray
) -> tuple[list[np.ndarray], dict[str, float]]:
    """What a search finds, and its milliseconds a query."""
    found, taken = [], []
    before = time.process_time()
    for query in queries:
        started = time.perf_counter()
        found.append(search(query))
        taken.append(time.perf_counter() - started)
        time.sleep(PAUSE_S)
    used = time.process_time() - before
    return found, {
        'ms': float(np.median(taken)) * 1e3,
        'p95_ms': float(np.percentile(taken, 95)) * 1e3,
        'processor_ms': used / len(queries) * 1e3,
    }


def ours(folder: Path) -> None:
    """Open and search as the node does."""
    from vpr_ros.core.mapping.place_map import PlaceMap

    queries = np.load(folder / 'queries.npy', allow_pickle=False)
    before = resident_mb()
    started = time.perf_counter()
    place_map = PlaceMap.open(folder / 'map')
    opened = time.perf_counter() - started
    found, spent = asked(lambda query: place_map.index.search(query[None], KEPT)[1][0], queries)
    np.save(folder / 'found.npy', np.array(found))
    print(
        json.dumps(spent | {'open_s': opened, 'resident_mb': resident_mb(), 'before_mb': before})
    )


def rival(folder: Path, name: str) -> None:
    """The same search by something else; memory is what it holds."""
    import faiss

    faiss.omp_set_num_threads(int(os.environ['OMP_NUM_THREADS']))
    rows = np.load(folder / 'map/parts/0000/descriptors.npy', mmap_mode='r', allow_pickle=False)
    queries = np.load(folder / 'queries.npy', allow_pickle=False)
    started = time.perf_counter()
    search = RIVALS[name](np.array(rows))
    made = time.perf_counter() - started
    found, spent = asked(search, queries[:100])
    if name == 'faiss IndexFlatL2':
        exact = faiss.knn(queries, np.array(rows), 1, metric=faiss.METRIC_INNER_PRODUCT)[1]
        np.save(folder / 'exact.npy', exact[:, 0])
    exact = np.load(folder / 'exact.npy', allow_pickle=False)
    same = float(np.mean([ids[0] == truth for ids, truth in zip(found, exact)]))
    print(json.dumps(spent | {'open_s': made, 'resident_mb': resident_mb(), 'same': same}))


def flat(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    import faiss

    index = faiss.IndexFlatL2(SIZE)
    index.add(rows)
    return lambda query: index.search(query[None], KEPT)[1][0]


def numpy_scan(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda query: np.argsort(-(rows @ query))[:KEPT]


def hnsw(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    import hnswlib

    index = hnswlib.Index(space='ip', dim=SIZE)
    index.init_index(max_elements=len(rows), ef_construction=200, M=16)
    index.add_items(rows)
    index.set_ef(200)
    return lambda query: index.knn_query(query, k=KEPT)[0][0]


NEED_NOT_BE = ('hnswlib', 'usearch f16')  # installed
RIVALS = {'faiss IndexFlatL2': flat, 'numpy scan': numpy_scan, 'hnswlib': hnsw}


def part_of(file: str, threads: int, *arguments: str) -> dict[str, Any]:
    """Run a part of a benchmark file in a process of its own."""
    environment = os.environ | {
        name: str(threads) for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS')
    }
    command = ['taskset', '-c', f'0-{threads - 1}', sys.executable, file, '--part', *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and arguments[0] in NEED_NOT_BE:
        return {'failed': done.stderr.strip().splitlines()[-1]}
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def measured(places: int, threads: int, folder: Path, section: Section) -> None:
    """Rows of one number of places."""
    part_of(__file__, threads, 'build', str(folder), str(places))
    flat_l2 = part_of(__file__, threads, 'faiss IndexFlatL2', str(folder))
    our = part_of(__file__, threads, 'ours', str(folder))
    found = np.load(folder / 'found.npy', allow_pickle=False)
    same = float(np.mean(found[:, 0] == np.load(folder / 'exact.npy', allow_pickle=False)))
    others = {
        'faiss IndexFlatL2': flat_l2,
        'numpy scan': part_of(__file__, threads, 'numpy scan', str(folder)),
    }
    if places <= MOST_HNSW:
        others['hnswlib'] = part_of(__file__, threads, 'hnswlib', str(folder))
    for name, other in others.items():
        if 'failed' in other:
            section.notes.append(f'{name}: {other["failed"]}')
            continue
        beside = f'{name} (finds {other["same"]:.3f}, ready in {other["open_s"]:.1f} s)'
        section.add(f'search among {places:,}, p50', our['ms'], beside, other['ms'])
        section.add('the same, processor time', our['processor_ms'], name, other['processor_ms'])
    section.add(
        f'resident memory at {places:,}',
        our['resident_mb'],
        'faiss IndexFlatL2',
        flat_l2['resident_mb'],
        unit='MB',
    )
    section.notes.append(
        f'{places:,} places: p95 {our["p95_ms"]:.2f} ms; finds the best place of an exact search '
        f'in {same:.3f} of the queries; opened in {our["open_s"]:.2f} s.'
    )


def measure(quick: bool) -> list[Section]:
    """From a thousand places to a million."""
    section = Section(
        'Searching a map',
        'Among a million places, a search takes less time than describing one image.',
    )
    threads = min(2, len(os.sched_getaffinity(0)))
    for places in (1_000, 10_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            measured(places, threads, Path(folder), section)
    return [section]


def part(name: str, folder: Path, *places: str) -> None:
    """One part, in this process."""
    if name == 'build':
        build(folder, int(places[0]))
    elif name == 'ours':
        ours(folder)
    else:
        rival(folder, name)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--part']:
        part(sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
    else:
        run(__doc__, measure)
