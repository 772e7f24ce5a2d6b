"""How much of the bare model's throughput an archive of drives gets, by two workers.

    python benchmarks/batch.py [--quick] [--json]

Bare: onnxruntime on images that are decoded and scaled already, one thread a core, each with its
own image, which is the most that the model gives on this machine. Ours: everything, from the start
of the workers and the opening of the bags to the map on disk. Each round takes all in turns.
Beside the rates stands what an image takes of the processors, which other programs on the machine
change less; Ray's workers are not our children, so that theirs is not known.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from inputs import DRIVES
from sections import Section, run

from vpr_ros.batch.workers import Workers
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import resize
from vpr_ros.drives import open_drive
from vpr_ros.map_care.archive import build_archive
from vpr_ros.map_care.landmark_kind import NO_LANDMARKS
from vpr_ros.map_care.pieces import Recipe

WORKERS = 2
WAYS = {'processes': Workers(WORKERS, 1), 'Ray': Workers(WORKERS, 1, '')}


@dataclass
class Spent:
    """What some images took."""

    images: int
    wall_s: float
    cores_s: float  # of this process and of its children that have ended


def spent(call: Callable[[], int]) -> Spent:
    """Time a call that returns how many images it took."""
    started, cores = time.perf_counter(), sum(os.times()[:4])
    images = call()
    return Spent(images, time.perf_counter() - started, sum(os.times()[:4]) - cores)


def measure(quick: bool) -> list[Section]:
    """The demo's two drives, several times each."""
    section = Section(
        'An archive of drives',
        'Two processes describe many drives at three quarters of the speed of the bare model.',
    )
    model = Model.open(default_model())
    calls = {'bare': bare(model)}
    calls |= {way: archive(model, workers, 2 if quick else 4) for way, workers in WAYS.items()}
    rounds = [{way: spent(call) for way, call in calls.items()} for _ in range(1 if quick else 3)]

    def median(way: str, of: Callable[[Spent], float]) -> float:
        return float(np.median([of(found[way]) for found in rounds]))

    for way in WAYS:
        section.add(
            f'build_map --bags, {WORKERS} workers by {way}, {model.card.name} {model.precision}',
            median(way, lambda found: found.images / found.wall_s),
            f'bare model, {WORKERS} threads',
            median('bare', lambda found: found.images / found.wall_s),
            unit='images/s',
            more_is_better=True,
        )
    section.add(
        'the same by processes: time of the processors for an image',
        median('processes', lambda found: 1e3 * found.cores_s / found.images),
        'bare model',
        median('bare', lambda found: 1e3 * found.cores_s / found.images),
    )
    return [section]


def bare(model: Model) -> Callable[[], int]:
    """The model alone, on the images of a drive."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model.graph), options, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    frames = open_drive(DRIVES / 'day').frames()
    ready = [resize(frame.load(), model.card.image_size)[None] for frame in frames]

    def call() -> int:
        with ThreadPoolExecutor(WORKERS) as pool:
            return len(list(pool.map(lambda image: session.run(None, {name: image}), 2 * ready)))

    return call


def archive(model: Model, workers: Workers, times: int) -> Callable[[], int]:
    """The whole work, on the demo's drives."""

    def call() -> int:
        with tempfile.TemporaryDirectory() as folder:
            drives = list(linked(Path(folder), times))
            found = build_archive(
                drives,
                Path(folder) / 'map',
                Path(folder) / 'work',
                Recipe(model=model.folder, precision=model.precision, landmarks=NO_LANDMARKS),
                workers=workers,
            )
        return sum(each.report.mapped for each in found.finished)

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
