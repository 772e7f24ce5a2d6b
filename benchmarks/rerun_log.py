"""What a Rerun log costs: bytes on the disk, the drive's own time, and processor time beside it.

    python benchmarks/rerun_log.py --map MAP --bag BAG

Localizes the images of a drive once, and then hands its answers to a log at 10 images a second.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from index import resident_mb

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Frame
from vpr_ros.drives import open_drive
from vpr_ros.drives.posed_images import frames_of
from vpr_ros.rerun_log.drive_log import DriveLog
from vpr_ros.session.answers import Localized

PERIOD_S = 0.1


def localized(place_map: PlaceMap, bag: Path) -> list[Localized]:
    """The answers to a drive's images."""
    model = Model.open(default_model())
    localizer = Localizer(OnnxDescriber(model, threads=1), place_map)
    answers = []
    for recorded in frames_of(open_drive(bag)):
        frame = Frame(recorded.load(at_least_hw=localizer.needed_hw), recorded.stamp_ns)
        answers.append(Localized(frame, localizer.step(frame), 0.0))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--map', type=Path, required=True)
    parser.add_argument('--bag', type=Path, required=True)
    given = parser.parse_args()
    place_map = PlaceMap.open(given.map)
    answers = localized(place_map, given.bag)
    before_mb = resident_mb()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'drive.rrd'
        log = DriveLog(path, place_map, tell=print)
        taken_ms, worked_s = [], time.process_time()
        for answer in answers:
            started_s = time.perf_counter()
            log.take([answer])
            taken_ms.append((time.perf_counter() - started_s) * 1e3)
            time.sleep(PERIOD_S)
        log.close()
        worked_ms = (time.process_time() - worked_s) / len(answers) * 1e3
        print(f'{len(answers)} images of {answers[0].frame.image.shape}, {log.left_out} left out')
        print(f'a log    {path.stat().st_size / len(answers) / 1e3:.1f} kB an image')
        print(
            'the drive {:.2f} / {:.2f} ms at the median and 95 %'.format(
                *np.percentile(taken_ms, [50, 95])
            )
        )
        print(f'processor {worked_ms:.1f} ms an image, beside the drive')
        print(f'memory    {resident_mb() - before_mb:.0f} MB, Rerun itself included')


if __name__ == '__main__':
    main()
