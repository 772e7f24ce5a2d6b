"""How fast a bag is evaluated offline beside the bare model on images that are decoded already.

    python benchmarks/evaluation.py

Both take turns over the same frames of the demo's drive, so that a noisy machine hits both alike.
Everything counts on our side: reading the bag, decoding, describing, searching, estimating.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from vpr_ros.build_map import build_map
from vpr_ros.core.describe import OnnxDescriber
from vpr_ros.core.image import resize
from vpr_ros.core.localizer import Localizer
from vpr_ros.core.model import Model
from vpr_ros.core.place_map import PlaceMap
from vpr_ros.drives import open_drive
from vpr_ros.evaluation import answers_offline
from vpr_ros.shipped import default_model

ROUNDS = 5
DRIVES = Path(__file__).resolve().parents[1] / 'demo' / 'drives'


def main() -> None:
    model = Model.open(default_model())
    describer = OnnxDescriber(model, singly=False)
    session = ort.InferenceSession(str(model.graph), providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    with tempfile.TemporaryDirectory() as folder:
        build_map(open_drive(DRIVES / 'day'), describer, Path(folder) / 'map')
        localizer = Localizer(describer, PlaceMap.open(Path(folder) / 'map', model=model))
        drive = open_drive(DRIVES / 'dusk')
        ready = [resize(frame.load(), model.card.image_size)[None] for frame in drive.frames()]
        ours, bare = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            count = sum(1 for _ in answers_offline(drive.frames(), localizer))
            ours.append(count / (time.perf_counter() - started))
            started = time.perf_counter()
            for image in ready:
                session.run(None, {name: image})
            bare.append(len(ready) / (time.perf_counter() - started))
    ratio = np.median(np.array(ours) / np.array(bare))
    print(f'evaluation of a bag      {np.median(ours):8.1f} images/s')
    print(f'bare model, no decoding  {np.median(bare):8.1f} images/s')
    print(f'share of the bare model  {ratio:8.2f}')


if __name__ == '__main__':
    main()
