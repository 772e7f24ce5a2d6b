"""What the node adds to the description of an image, from ten thousand places to a million.

    python benchmarks/scale.py [--quick] [--json]

It is the node's own path, `Localizer.locate` with its defaults: belief on, cells matched. Beside
it stand other indices on the same descriptors, which only search.

Descriptors are the default model's of real images, spread to so many: the demo's drives, and where
they are there the sets of ../shared/data and the streets of ../shared/train. A route of a thousand
places goes from one real descriptor to the next in 25 steps; on the way it is a convex mix of both
plus a residual, which has the covariance of the real ones, changes slowly along the route, and
gives back the energy that mixing takes. A drive along a route sees each place plus the difference
of a real pair, the same place in two drives of a real set, pair after pair. A place has the cells
of the real image next to it, and a drive sees these turned by a column, with a fifth of the bits
flipped.

Frames come at the pace of a camera. A drive begins with no idea of where it is. Each map and each
index is opened in a process of its own, so that its memory is its own. `search alone` is a search
for the best 25, by us and by the others; an exact comparison says what each of them finds.

VPR_MAPS=DIR keeps the made-up maps there and takes up those that are there; VPR_SCRATCH=DIR is
where the others are made; VPR_CACHE=DIR keeps the descriptors of the real images.
"""

import io
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from driven import described, folder_pass
from index import KEPT as KEPT_BEST
from index import MOST_HNSW as MOST_GRAPH
from index import flat, hnsw, part_of, resident_mb, unit
from inputs import DATA, ROOT
from PIL import Image
from sections import PAUSE_S, Section, run

SHARED = DATA.parent
PAIRS = ('gardenspoint_thumb', 'corridor', 'nordland_64x32')
STREETS = ('gsv_cambridge_grid', 'gsv_informal_cities')
MOST_USED = 1000  # images of a set
ROUTE, ANCHOR = 1000, 25
KEPT = 0.9  # of a residual, from place to place
FLOOR = 0.1  # residual's share of the energy at the real descriptors themselves
FRAMES, SETTLED = 120, 20  # of a drive, and those before which it may be lost
FLIPPED = 0.2
CHUNK = 50_000  # rows that are read at a time
BUDGETS_MS = {10_000: 1.0, 100_000: 5.0, 1_000_000: 15.0}


def real(cache: Path | None) -> dict[str, np.ndarray]:
    """Real descriptors [R, D] and cells [R, 400, 8], and pairs of looks [F, D] by their set."""
    from vpr_ros.core.describing.model import Model
    from vpr_ros.core.describing.shipped import default_model
    from vpr_ros.drives import open_drive

    model = Model.open(default_model(), precision='fp32')
    rows, cells, pairs = [], [], {}
    for name in ('day', 'dusk'):
        frames = list(open_drive(ROOT / 'demo' / 'drives' / name).frames())
        loads = np.array([frame.load for frame in frames])
        found = described(name, loads, model, cache)
        rows.append(found[0])
        cells.append(found[1])
    for name in PAIRS:
        if (SHARED / 'data' / name).is_dir():
            first, second = (
                folder_pass(SHARED / 'data' / name / part, model, cache)
                for part in ('database', 'queries')
            )
            rows.append(first.descriptors)
            cells.append(first.cells)
            pairs[f'pairs_{name}'] = second.descriptors - first.descriptors
    for name in STREETS:
        if (SHARED / 'train' / f'{name}.tar').is_file():
            found = described(
                name, np.array(streets(SHARED / 'train' / f'{name}.tar')), model, cache
            )
            rows.append(found[0])
            cells.append(found[1])
    if not pairs:  # nothing but the repository: the demo's dusk less its day, frame by frame
        count = min(len(rows[0]), len(rows[1]))
        pairs['pairs_demo'] = rows[1][:count] - rows[0][:count]
    return {'rows': np.concatenate(rows), 'cells': np.concatenate(cells), **pairs}


def streets(tar: Path) -> list[Callable[[], np.ndarray]]:
    """What loads some of the images of a tar."""
    with tarfile.open(tar) as opened:
        names = [name for name in opened.getnames() if name.endswith('.jpg')]
    return [partial(in_tar, tar, name) for name in names[:: max(len(names) // MOST_USED, 1)]]


def in_tar(tar: Path, name: str) -> np.ndarray:
    with tarfile.open(tar) as opened:
        member = opened.extractfile(name)
        return np.asarray(Image.open(io.BytesIO(member.read())).convert('RGB'))


def routes(rows: np.ndarray, places: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Descriptors [1000, D] of route after route, and the real one next to each [1000]."""
    random = np.random.default_rng(0)
    mean = rows.mean(axis=0)
    apart = rows - mean
    values, vectors = np.linalg.eigh(np.cov(apart.T))
    axes = (np.sqrt(np.maximum(values, 0))[:, None] * vectors.T).astype(np.float32)
    along = np.arange(ROUTE)
    share = ((along % ANCHOR) / ANCHOR)[:, None].astype(np.float32)
    for _ in range(places // ROUTE):
        anchors = random.integers(0, len(rows), ROUTE // ANCHOR + 1)
        before, after = anchors[along // ANCHOR], anchors[along // ANCHOR + 1]
        steps = random.standard_normal((ROUTE, rows.shape[1]), dtype=np.float32)
        for place in range(1, ROUTE):
            steps[place] = KEPT * steps[place - 1] + np.sqrt(1 - KEPT**2) * steps[place]
        lost = 1 - share**2 - (1 - share) ** 2 + FLOOR
        mixed = (1 - share) * apart[before] + share * apart[after]
        made = mean + np.sqrt(1 - FLOOR) * mixed + np.sqrt(lost) * (steps @ axes)
        yield unit(made).astype(np.float32), np.where(share[:, 0] < 0.5, before, after)


def build(folder: Path, places: int, cache: str = '') -> None:
    """A map on a grid of streets, and drives along some of them."""
    from vpr_ros.core.geometry import FORWARD_CAMERA
    from vpr_ros.core.mapping.header import MapHeader
    from vpr_ros.core.mapping.writer import build as build_map

    seen = real(Path(cache) if cache else None)
    rows, cells = seen['rows'], seen['cells']
    header = MapHeader(
        model_name='made',
        model_sha256='0' * 64,
        descriptor_size=rows.shape[1],
        cells=(20, 20, 64),
    )
    pairs = [seen[name] for name in sorted(seen) if name.startswith('pairs')]
    chosen = np.linspace(0, places // ROUTE - 1, len(pairs)).astype(int).tolist()
    drives, started = [], time.perf_counter()
    with build_map(folder / 'map', header) as writer:
        for route, (made, beside) in enumerate(routes(rows, places)):
            for number, row in enumerate(made):
                pose = FORWARD_CAMERA.copy()
                pose[:2] = number, 10 * route
                writer.add(
                    row,
                    pose,
                    stamp_ns=(route * ROUTE + number) * 10**9,
                    name=str(number),
                    thumbnail=b'',
                    cells=cells[beside[number]],
                )
            for drive, differences in enumerate(pairs):
                if chosen[drive] == route:
                    drives.append(driven(drive, route, made, differences, cells[beside]))
    np.savez(
        folder / 'drives.npz',
        **{name: np.array([drive[name] for drive in drives]) for name in drives[0]},
    )
    print(json.dumps({'build_s': time.perf_counter() - started, 'real': len(rows)}))


def driven(
    drive: int, route: int, made: np.ndarray, differences: np.ndarray, cells: np.ndarray
) -> dict[str, np.ndarray]:
    """One drive along a route: queries, their cells and true places."""
    random = np.random.default_rng(100 + drive)
    at = 300 + np.arange(FRAMES)
    pair = np.resize(np.arange(len(differences)), FRAMES)
    turned = np.roll(cells[at].reshape(FRAMES, 20, 20, 8), 1, axis=2).reshape(FRAMES, 400, 8)
    flips = np.packbits(random.random((FRAMES, 400, 64)) < FLIPPED, axis=-1)
    return {
        'queries': unit(made[at] + differences[pair]).astype(np.float32),
        'cells': turned ^ flips,
        'places': route * ROUTE + at,
    }


def memory_mb() -> dict[str, float]:
    """Resident memory now: of the process' own, and pages of files."""
    lines = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return {name: int(lines[name].split()[0]) / 1e3 for name in ('VmRSS', 'RssAnon', 'RssFile')}


def ours(folder: Path) -> None:
    """Localize the drives as the node does."""
    import cv2
    import faiss

    from vpr_ros.core.localizing.config import LocalizerConfig
    from vpr_ros.core.localizing.localizer import Localizer
    from vpr_ros.core.localizing.query import Query
    from vpr_ros.core.mapping.place_map import PlaceMap

    threads = int(os.environ['OMP_NUM_THREADS'])
    cv2.setNumThreads(threads)
    faiss.omp_set_num_threads(threads)
    drives = dict(np.load(folder / 'drives.npz', allow_pickle=False))
    started = time.perf_counter()
    place_map = PlaceMap.open(folder / 'map')
    localizer = Localizer(None, place_map, LocalizerConfig())
    opened = time.perf_counter() - started
    rows, used = [], 0.0
    for queries, cells, truth in zip(drives['queries'], drives['cells'], drives['places']):
        localizer.reset()
        for frame, place in enumerate(truth):
            query = Query(queries[frame], frame * 10**9, cells=cells[frame])
            before, started = time.process_time(), time.perf_counter()
            located = localizer.locate(query)
            taken = (time.perf_counter() - started) * 1e3
            used = (time.process_time() - before) * 1e3
            spent = located.latency_ms
            first, alone = (
                abs(int(found.place_index[0]) - int(place)) <= 2
                for found in (located.candidates, located.similar)
            )
            rows.append(
                (taken, used, spent['search'] + spent['judge'], spent['match'], first, alone)
            )
            time.sleep(PAUSE_S)
    table = np.array(rows).reshape(len(drives['places']), -1, 6)
    settled = table[:, SETTLED:].reshape(-1, 6)
    names = ('ms', 'processor_ms', 'search_ms', 'match_ms')
    medians = dict(zip(names, np.median(table.reshape(-1, 6)[:, :4], axis=0).tolist()))
    print(
        json.dumps(
            medians
            | {
                'p95_ms': float(np.percentile(table[..., 0], 95)),
                'begin_ms': float(np.median(table[:, :SETTLED, 0])),
                'right': float(settled[:, 4].mean()),
                'alone': float(settled[:, 5].mean()),
                'open_s': opened,
                **memory_mb(),
            }
        )
    )


def searched(folder: Path, name: str) -> None:
    """The same queries searched by one engine alone, with the share that it finds."""
    import faiss

    faiss.omp_set_num_threads(int(os.environ['OMP_NUM_THREADS']))
    queries = np.load(folder / 'drives.npz', allow_pickle=False)['queries']
    queries = queries[:, :: queries.shape[1] // 30].reshape(-1, queries.shape[-1])
    started = time.perf_counter()
    search = ENGINES[name](folder)
    made = time.perf_counter() - started
    taken, found = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(search(query)[:KEPT_BEST])
        taken.append(time.perf_counter() - started)
        time.sleep(PAUSE_S)
    memory = resident_mb()
    exact = best_rows(folder, queries)
    first = np.mean([ids[0] == best[0] for ids, best in zip(found, exact)])
    among = np.mean([np.isin(best, ids).mean() for ids, best in zip(found, exact)])
    print(
        json.dumps(
            {
                'ms': float(np.median(taken)) * 1e3,
                'first': float(first),
                'among': float(among),
                'ready_s': made,
                'VmRSS': memory,
            }
        )
    )


def mapped_rows(folder: Path) -> np.ndarray:
    """The descriptors [N, D] as they lie on the disk."""
    path = folder / 'map/parts/0000/descriptors.npy'
    return np.load(path, mmap_mode='r', allow_pickle=False)


def best_rows(folder: Path, queries: np.ndarray) -> np.ndarray:
    """The best rows [Q, 25] by comparison with all; kept beside the map."""
    import faiss

    kept = folder / 'exact.npy'
    if not kept.is_file():
        rows = mapped_rows(folder)
        blocks = [slice(start, start + CHUNK) for start in range(0, len(rows), CHUNK)]
        found = [
            faiss.knn(queries, np.array(rows[block]), KEPT_BEST, metric=faiss.METRIC_INNER_PRODUCT)
            for block in blocks
        ]
        values = np.concatenate([similarity for similarity, _ in found], axis=1)
        ids = np.concatenate([ids + block.start for block, (_, ids) in zip(blocks, found)], axis=1)
        order = np.argsort(-values, axis=1, kind='stable')[:, :KEPT_BEST]
        np.save(kept, np.take_along_axis(ids, order, axis=1))
    return np.load(kept, allow_pickle=False)


def vpr_ros(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    from vpr_ros.core.mapping.place_map import PlaceMap

    index = PlaceMap.open(folder / 'map').index
    return lambda query: index.search(query[None], KEPT_BEST)[1][0]


def usearch(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    import numkong  # noqa: F401, without it usearch's wheel lacks a symbol
    from usearch.index import Index

    rows = np.array(mapped_rows(folder))
    index = Index(ndim=rows.shape[1], metric='ip', dtype='f16', expansion_search=200)
    index.add(np.arange(len(rows)), rows, threads=int(os.environ['OMP_NUM_THREADS']))
    return lambda query: index.search(query, KEPT_BEST, threads=1).keys


def half_flat(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Compares all rows, which it holds in half precision; filled block by block."""
    import faiss

    rows = mapped_rows(folder)
    index = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    for start in range(0, len(rows), CHUNK):
        index.add(np.array(rows[start : start + CHUNK]))
    return lambda query: index.search(query[None], KEPT_BEST)[1][0]


ENGINES: dict[str, Callable[[Path], Callable[[np.ndarray], np.ndarray]]] = {
    'vpr_ros': vpr_ros,
    'faiss IndexFlatL2': lambda folder: flat(np.array(mapped_rows(folder))),
    'hnswlib': lambda folder: hnsw(np.array(mapped_rows(folder))),
    'usearch f16': usearch,
    'faiss flat f16': half_flat,
}
LARGEST = {'faiss IndexFlatL2': 100_000, 'hnswlib': MOST_GRAPH, 'usearch f16': MOST_GRAPH}


def measured(places: int, threads: int, folder: Path, cache: str, section: Section) -> None:
    """Rows of one number of places."""
    call = partial(part_of, __file__, threads)
    if not (folder / 'drives.npz').is_file():
        call('build', str(folder), str(places), cache)
    our, search = call('ours', str(folder)), call('vpr_ros', str(folder))
    budget_ms = BUDGETS_MS[places]
    said = f'budget {budget_ms:g} ms, {"kept" if our["ms"] <= budget_ms else "missed"}'
    section.add(f'{places:,} places: added in all, p50', our['ms'], said)
    section.add('of it search and belief', our['search_ms'])
    section.add('of it matching 25 places by cells', our['match_ms'])
    section.add('processor time of it all', our['processor_ms'])
    section.add('resident memory', our['VmRSS'], f'{our["RssAnon"]:.0f} MB its own', unit='MB')
    for name in list(ENGINES)[1:]:
        if places > LARGEST.get(name, places):
            continue
        other = call(name, str(folder))
        if 'failed' in other:
            section.notes.append(f'{name}: {other["failed"]}')
            continue
        section.add('search alone', search['ms'], f'{name}: {finds(other)}', other['ms'])
    section.notes.append(
        f'{places:,} places spread from real descriptors. Our search alone {finds(search)}. '
        f'With the belief: p95 {our["p95_ms"]:.2f} ms; median of the first {SETTLED} frames of '
        f'a drive {our["begin_ms"]:.2f} ms; the right place is first in {our["right"]:.3f} of '
        f'the later frames (by the image alone: {our["alone"]:.3f}); opened in '
        f'{our["open_s"]:.1f} s; {our["RssFile"]:.0f} MB of the resident memory are pages of '
        f'files. Other programs kept {os.getloadavg()[0]:.1f} cores busy.'
    )


def finds(engine: dict[str, float]) -> str:
    """How well an engine searches, and what it takes."""
    return (
        f'finds {engine["first"]:.3f} of the best places, {engine["among"]:.3f} of the best '
        f'{KEPT_BEST}; '
        f'ready in {engine["ready_s"]:.1f} s, {engine["VmRSS"]:,.0f} MB'
    )


def measure(quick: bool) -> list[Section]:
    """From ten thousand places to a million."""
    section = Section(
        'Localizing on a large map',
        'The cost of a frame, without describing it, grows far more slowly than the map.',
    )
    threads = min(2, len(os.sched_getaffinity(0)))
    cache = os.environ.get('VPR_CACHE', '')
    with tempfile.TemporaryDirectory(dir=os.environ.get('VPR_SCRATCH')) as scratch:
        for places in list(BUDGETS_MS)[: 1 if quick else None]:
            folder = Path(os.environ.get('VPR_MAPS') or scratch) / str(places)
            folder.mkdir(parents=True, exist_ok=True)
            measured(places, threads, folder, cache, section)
    section.notes.append(
        f'hnswlib and usearch build their graph for {MOST_GRAPH:,} places at most here, because '
        'one of a million takes a quarter of an hour on two cores. At a million, faiss keeps half '
        'floats (1 GB), because IndexFlatL2 would take 2 GB.'
    )
    return [section]


def part(name: str, folder: Path, *rest: str) -> None:
    """One part, in this process."""
    if name == 'build':
        build(folder, int(rest[0]), *rest[1:])
    elif name == 'ours':
        ours(folder)
    else:
        searched(folder, name)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--part']:
        part(sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
    else:
        run(__doc__, measure)
