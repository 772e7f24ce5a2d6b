"""The running node: from publishing an image to receiving its answer, and what it costs.

    python benchmarks/node.py [--quick] [--json] [--soak-minutes 3]

Bags of the demo's pictures, enlarged, are played into the real node in its own process; its
processor time and memory are read from /proc.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import numpy as np
from inputs import DRIVES
from onnx import TensorProto, helper
from sections import Section, map_of_day, run

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import encode_jpeg, resize
from vpr_ros.drives import open_drive
from vpr_ros.drives.writer import writing
from vpr_ros.evaluating.live import LiveRun, run_live

SIZES = {'VGA': (480, 640), '1080p': (1080, 1920)}
TICKS = os.sysconf('SC_CLK_TCK')
PAGE_MB = os.sysconf('SC_PAGE_SIZE') / 1e6
SECOND = 10**9


@dataclass
class Watched:
    """What /proc told of the node, a row for each look."""

    at_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self, process: int) -> None:
        """Add a row."""
        folder = Path('/proc') / str(process)
        fields = (folder / 'stat').read_text().rpartition(')')[2].split()
        self.handles.append(len(list((folder / 'fd').iterdir())))
        self.at_s.append(time.monotonic())
        self.cpu_s.append((int(fields[11]) + int(fields[12])) / TICKS)
        self.threads.append(int(fields[17]))
        self.resident_mb.append(int(fields[21]) * PAGE_MB)

    def cores(self) -> float:
        """Cores kept busy, in the mean over the middle of the time."""
        start, end = len(self.at_s) // 4, len(self.at_s) * 3 // 4
        return (self.cpu_s[end] - self.cpu_s[start]) / (self.at_s[end] - self.at_s[start])


@contextmanager
def watching(period_s: float = 0.5) -> Iterator[Watched]:
    """Look at the node, this process' only child with that name, every so often."""
    watched, ended = Watched(), Event()

    def watch() -> None:
        while not ended.wait(period_s):
            for process in children():
                with suppress(OSError):  # it has just ended
                    watched.look(process)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        ended.set()
        thread.join()


def children() -> list[int]:
    """Processes of the node that this one has started."""
    tasks = Path('/proc/self/task').glob('*/children')
    found = [int(word) for task in tasks for word in task.read_text().split()]
    return [
        process
        for process in found
        if b'vpr_ros.localize' in (Path('/proc') / str(process) / 'cmdline').read_bytes()
    ]


def write_bag(
    output: Path, size_hw: tuple[int, int], *, rate_hz: float, seconds: float, jpeg: bool
) -> Path:
    """The demo's pictures at dusk, enlarged, over and over."""
    pictures = [resize(frame.load(), size_hw) for frame in open_drive(DRIVES / 'dusk').frames()]
    pictures = pictures[:40]
    encoded = [encode_jpeg(picture, quality=90) for picture in pictures] if jpeg else []
    with writing(output) as bag:
        for row in range(round(rate_hz * seconds)):
            stamp_ns = SECOND + round(row * SECOND / rate_hz)
            if jpeg:
                bag.compressed(stamp_ns, encoded[row % len(encoded)], 'jpeg')
            else:
                bag.image(stamp_ns, pictures[row % len(pictures)])
    return output


def latencies_ms(found: LiveRun) -> np.ndarray:
    """From publishing to receiving, by image."""
    return np.array([answer.latency_ms['end_to_end'] for answer in found.answers])


def by_rate_and_size(section: Section, place_map: Path, folder: Path, *, quick: bool) -> None:
    """Latency and cores at 10 and 30 Hz."""
    for name, size_hw in SIZES.items():
        for jpeg in (True, False):
            for rate_hz in (10.0, 30.0):
                seconds = 4 if quick or (name == '1080p' and not jpeg) else 15
                kind = 'JPEG' if jpeg else 'raw'
                bag = write_bag(
                    folder / f'{name}-{kind}-{rate_hz:.0f}',
                    size_hw,
                    rate_hz=rate_hz,
                    seconds=seconds,
                    jpeg=jpeg,
                )
                with watching() as watched:
                    found = run_live(bag, None, {'map': str(place_map)})
                taken_ms = latencies_ms(found)
                p50, p95, p99 = np.percentile(taken_ms, [50, 95, 99])
                describe = found.node_latency_ms['describe']
                if rate_hz == 10.0:
                    stages = [
                        f'{stage} {taken["p50"]:.1f}'
                        for stage, taken in found.node_latency_ms.items()
                    ]
                    section.notes.append(f'{name} {kind}, stages, p50 in ms: {", ".join(stages)}.')
                section.rows.append(
                    (
                        f'{name} {kind}, {rate_hz:.0f} Hz: p50 / p95 / p99',
                        f'{p50:.1f} / {p95:.1f} / {p99:.1f} ms',
                        'describe p50',
                        f'{describe["p50"]:.1f} ms',
                        f'+{p50 - describe["p50"]:.1f} ms; {watched.cores():.2f} cores; '
                        f'{found.dropped} of {found.sent} dropped',
                    )
                )


def slow_model(folder: Path) -> Model:
    """A model that needs longer than a frame of 30 Hz: convolutions of random numbers."""
    width, size = 128, 64
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node('Cast', ['images'], ['floats'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['floats'], ['x0'], perm=[0, 3, 1, 2]),
    ]
    weights = []
    for layer, inputs in enumerate([3, *[width] * 16]):
        values = random.normal(0, 0.03, (width, inputs, 3, 3)).astype(np.float32)
        weights.append(
            helper.make_tensor(
                f'w{layer}', TensorProto.FLOAT, values.shape, values.tobytes(), True
            )
        )
        nodes.append(
            helper.make_node(
                'Conv', [f'x{layer}', f'w{layer}'], [f'x{layer + 1}'], pads=[1, 1, 1, 1]
            )
        )
    nodes += [
        helper.make_node('GlobalAveragePool', [f'x{layer + 1}'], ['pooled']),
        helper.make_node('Flatten', ['pooled'], ['flat']),
        helper.make_node('LpNormalization', ['flat'], ['descriptors'], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        'slow',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, ['B', size, size, 3])],
        [helper.make_tensor_value_info('descriptors', TensorProto.FLOAT, ['B', width])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    card = ModelCard(name='slow', image_height=size, image_width=size, descriptor_size=width)
    return write_model(folder, made.SerializeToString(), card)


def overloaded(section: Section, folder: Path, *, quick: bool) -> None:
    """30 Hz into a model that cannot keep up."""
    model = slow_model(folder / 'slow')
    map_of_day(OnnxDescriber(model), folder / 'slow_map')
    bag = write_bag(
        folder / 'slow_bag', (240, 320), rate_hz=30.0, seconds=6 if quick else 30, jpeg=True
    )
    found = run_live(bag, None, {'map': str(folder / 'slow_map'), 'model': str(model.folder)})
    taken_ms = latencies_ms(found)
    third = len(taken_ms) // 3
    first, last = np.median(taken_ms[:third]), np.median(taken_ms[-third:])
    section.rows.append(
        (
            '30 Hz into a model too slow for it, median of the last third',
            f'{last:.1f} ms',
            'of the first third',
            f'{first:.1f} ms',
            f'describe {found.node_latency_ms["describe"]["p50"]:.0f} ms; '
            f'{found.dropped} of {found.sent} dropped',
        )
    )


def start_up(section: Section, place_map: Path, folder: Path) -> None:
    """From starting the process to the first answer."""
    bag = write_bag(folder / 'start', (240, 320), rate_hz=10.0, seconds=2, jpeg=True)
    with watching(0.02) as watched:
        started_s = time.monotonic()
        answered_s: list[float] = []
        run_live(
            bag,
            None,
            {'map': str(place_map)},
            on_answer=lambda stamp_ns, message, doubt: answered_s.append(time.monotonic()),
        )
    section.rows.append(
        (
            'start of the process to the first answer',
            f'{answered_s[0] - started_s:.1f} s',
            'of it, waiting for listeners',
            '1.0 s',
            f'{watched.resident_mb[-1]:.0f} MB resident',
        )
    )


def soak(place_map: Path, folder: Path, minutes: float) -> Section:
    """Minutes at 30 Hz: what grows?"""
    section = Section(
        'Hours of running',
        'Memory, handles and threads of the node do not grow with the number of frames.',
    )
    bag = write_bag(folder / 'soak', (240, 320), rate_hz=30.0, seconds=60 * minutes, jpeg=True)
    with watching(1.0) as watched:
        found = run_live(bag, None, {'map': str(place_map)})
    settled = len(watched.at_s) // 5  # caches and allocators fill at first
    at_min = (np.array(watched.at_s) - watched.at_s[0])[settled:] / 60
    for what, values, unit in (
        ('resident memory', watched.resident_mb, 'MB'),
        ('open handles', watched.handles, ''),
        ('threads', watched.threads, ''),
    ):
        kept = np.array(values[settled:-2], dtype=float)
        growth = np.polyfit(at_min[: len(kept)], kept, 1)[0]
        section.rows.append(
            (
                f'{what} after {minutes:g} min at 30 Hz, {found.sent} frames',
                f'{kept[-1]:.0f} {unit}'.strip(),
                'at the beginning',
                f'{kept[0]:.0f} {unit}'.strip(),
                f'{growth:+.3f} a minute',
            )
        )
    return section


def measure(quick: bool, soak_minutes: float = 3.0) -> list[Section]:
    """All of it, on a map of the demo's day."""
    section = Section(
        'The running node',
        'Apart from the network, a pose takes ten to twenty milliseconds. A computer that is too '
        'slow drops frames and does not lag. The map has landmarks by cells. The node looks for '
        "them in images of the map's own shape (VGA), not in others (1080p).",
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place_map = folder / 'map'
        describer = OnnxDescriber(Model.open(default_model()), singly=False)
        map_of_day(describer, place_map)
        by_rate_and_size(section, place_map, folder, quick=quick)
        overloaded(section, folder, quick=quick)
        start_up(section, place_map, folder)
        return [section, soak(place_map, folder, 0.3 if quick else soak_minutes)]


if __name__ == '__main__':
    minutes = 3.0
    if '--soak-minutes' in sys.argv:
        at = sys.argv.index('--soak-minutes')
        minutes = float(sys.argv[at + 1])
        del sys.argv[at : at + 2]
    run(__doc__, lambda quick: measure(quick, minutes))
