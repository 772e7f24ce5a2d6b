"""How fast many images go through: making a map, and evaluating a bag offline.

    python benchmarks/throughput.py [--quick] [--json]

The bare model computes images that are decoded already, one after another on all cores, as the
node does. On our side everything counts: reading the bag, decoding, describing, and what follows.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
from describing import precisions
from inputs import DRIVES
from sections import Section, map_of_day, run

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import resize
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.drives import Drive, open_drive
from vpr_ros.drives.drive import RecordedFrame
from vpr_ros.evaluating.answers import answers_offline

LAPS, SECOND = 6, 10**9


def measure(quick: bool) -> list[Section]:
    """The demo's drives, a map and its evaluation against the bare model."""
    section = Section(
        'Many images',
        'Each core works on its own image. Landmarks take most of the time of making a map, and '
        'half of the time of an evaluation.',
    )
    for precision in precisions(default_model()):
        with_model(Model.open(default_model(), precision=precision), section, quick=quick)
    return [section]


def with_model(model: Model, section: Section, *, quick: bool) -> None:
    """The rows of one graph."""
    describer = OnnxDescriber(model, singly=False)
    session = ort.InferenceSession(str(model.graph), providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    dusk = open_drive(DRIVES / 'dusk')
    ready = [resize(frame.load(), model.card.image_size)[None] for frame in dusk.frames()]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / 'map'
        map_of_day(describer, target)
        localizer = Localizer(describer, PlaceMap.open(target, model=model))

        def evaluated() -> int:
            return sum(1 for _ in answers_offline(repeated(dusk), localizer))

        def bare() -> int:
            for image in ready:
                session.run(None, {name: image})
            return len(ready)

        calls = {
            'map': lambda: map_of_day(describer, Path(folder) / 'again'),
            'evaluation': evaluated,
            'bare': bare,
        }
        speeds = {name: [] for name in calls}
        for _ in range(2 if quick else 5):
            for what, call in calls.items():
                speeds[what].append(per_second(call))
    median = {what: float(np.median(found)) for what, found in speeds.items()}
    for title, what in (('build_map', 'map'), ('evaluate_bag', 'evaluation')):
        section.add(
            f'{title}, {model.card.name} {model.precision}',
            median[what],
            'bare model, decoded images',
            median['bare'],
            unit='images/s',
            more_is_better=True,
        )


def repeated(drive: Drive) -> Iterator[RecordedFrame]:
    """A drive of a thousand images: opening a bag takes as long as describing twenty."""
    frames = list(drive.frames())
    length_ns = frames[-1].stamp_ns - frames[0].stamp_ns + SECOND
    for lap in range(LAPS):
        for frame in frames:
            yield replace(frame, stamp_ns=frame.stamp_ns + lap * length_ns)


def per_second(call: Callable[[], int]) -> float:
    """Images a second of a call that returns how many it took."""
    started = time.perf_counter()
    count = call()
    return count / (time.perf_counter() - started)


if __name__ == '__main__':
    run(__doc__, measure)
