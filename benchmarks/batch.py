"""How much of the bare model's throughput an archive of drives gets, by two workers.

    python benchmarks/batch.py [--quick] [--json]

Bare: onnxruntime on images that are decoded and scaled already, one thread a core, each with its
own image, which is the most that the model gives on this machine. Ours: everything, from opening
the bags to the map on disk; once with the start of the workers, as a person waits for it, and once
without, as the rate is over hours. Each round takes all of them in turns.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
from sections import Section, run

from vpr_ros.batch.workers import Workers
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import resize
from vpr_ros.drives import open_drive
from vpr_ros.map_care.archive import Recipe, build_archive

DRIVES = Path(__file__).resolve().parents[1] / 'demo' / 'drives'
WORKERS = 2
WAYS = {'processes': Workers(WORKERS, 1), 'Ray': Workers(WORKERS, 1, '')}


def measure(quick: bool) -> list[Section]:
    """The demo's two drives, several times each."""
    section = Section(
        'An archive of drives',
        'Many drives are described by two workers nearly as fast as the model alone runs.',
    )
    model = Model.open(default_model())
    calls: dict[str, Callable[[], float]] = {'bare': bare(model)}
    calls |= {way: archive(model, workers, 1 if quick else 4) for way, workers in WAYS.items()}
    speeds: dict[str, list[float]] = {way: [] for way in calls}
    for _ in range(1 if quick else 3):
        for way, call in calls.items():
            speeds[way].append(call())
    median = {way: float(np.median(found)) for way, found in speeds.items()}
    for way in WAYS:
        section.add(
            f'build_map --bags, {WORKERS} workers by {way}, {model.card.name} {model.precision}',
            median[way],
            f'bare model, {WORKERS} threads',
            median['bare'],
            unit='images/s',
            more_is_better=True,
        )
    return [section]


def bare(model: Model) -> Callable[[], float]:
    """Images a second of the model alone."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model.graph), options, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    frames = open_drive(DRIVES / 'day').frames()
    ready = [resize(frame.load(), model.card.image_size)[None] for frame in frames]

    def call() -> float:
        with ThreadPoolExecutor(WORKERS) as pool:
            started = time.perf_counter()
            count = len(list(pool.map(lambda image: session.run(None, {name: image}), 2 * ready)))
            return count / (time.perf_counter() - started)

    return call


def archive(model: Model, workers: Workers, times: int) -> Callable[[], float]:
    """Images a second of the whole work, its workers' start included."""

    def call() -> float:
        with tempfile.TemporaryDirectory() as folder:
            drives = list(linked(Path(folder), times))
            started = time.perf_counter()
            found = build_archive(
                drives,
                Path(folder) / 'map',
                Path(folder) / 'work',
                Recipe(model=model.folder, precision=model.precision),
                workers=workers,
            )
            seconds = time.perf_counter() - started
        return sum(each.report.mapped for each in found.finished) / seconds

    return call


def linked(folder: Path, times: int) -> Iterator[Path]:
    """The demo's drives under several names."""
    for number in range(times):
        for drive in ('day', 'dusk'):
            path = folder / f'{drive}_{number}'
            path.symlink_to(DRIVES / drive)
            yield path


if __name__ == '__main__':
    run(__doc__, measure)
