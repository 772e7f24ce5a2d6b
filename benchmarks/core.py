"""What the core costs beside what a user would take instead, as ratios inside one run.

    make bench

A describer is compared with the bare onnxruntime session that it wraps, image decoding included on
both sides; the search with a flat faiss index and with a plain numpy scan.
"""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import faiss
import numpy as np
import onnxruntime as ort

from vpr_ros.core.describe import OnnxDescriber
from vpr_ros.core.image import decode, encode_jpeg
from vpr_ros.core.index import ExactIndex
from vpr_ros.core.model import Model
from vpr_ros.shipped import default_model

ROUNDS = 30
DESCRIPTOR_SIZE = 512


def medians_ms(**calls: Callable[[], object]) -> dict[str, float]:
    """Median time of each call in ms.

    The calls take turns, so that a noisy machine hits all alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(ROUNDS + 3):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if round_number >= 3:
                taken[name].append(time.perf_counter() - started)
    return {name: float(np.median(times)) * 1e3 for name, times in taken.items()}


def show(title: str, found: dict[str, float], ours: str) -> None:
    print(f'\n{title}')
    for name, value in found.items():
        print(f'  {name:<24} {value:9.3f} ms   {value / found[ours]:6.2f} x ours')


def bench_describe(threads: int) -> None:
    model = Model.open(default_model())
    describer = OnnxDescriber(model, threads=threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(model.graph), options, providers=['CPUExecutionProvider'])
    name, (height, width) = session.get_inputs()[0].name, model.card.image_size
    picture = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8), (9, 9), 0
    )
    encoded = encode_jpeg(picture)

    def bare() -> object:
        bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        rgb = cv2.cvtColor(cv2.resize(bgr, (width, height)), cv2.COLOR_BGR2RGB)
        return session.run(None, {name: rgb[None]})

    found = medians_ms(ours=lambda: describer.describe([decode(encoded)]), bare_onnxruntime=bare)
    show(f'VGA JPEG to descriptor, {model.card.name}, {threads} threads', found, 'ours')


def bench_search(places: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((places, DESCRIPTOR_SIZE), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = rows[places // 2 : places // 2 + 1].copy()
    index, flat = ExactIndex([rows]), faiss.IndexFlatL2(DESCRIPTOR_SIZE)
    flat.add(rows)
    found = medians_ms(
        ours=lambda: index.search(query, 20),
        faiss_flat=lambda: flat.search(query, 20),
        numpy_scan=lambda: np.argsort(((rows - query) ** 2).sum(axis=1))[:20],
    )
    show(f'20 best of {places:,} places x {DESCRIPTOR_SIZE}', found, 'ours')


if __name__ == '__main__':
    print(f'{Path(__file__).name}: medians of {ROUNDS} rounds, exact results on every side')
    for thread_count in (1, 2):
        bench_describe(thread_count)
    for place_count in (1_000, 10_000, 100_000):
        bench_search(place_count)
