"""What the belief over the drive and its calibrated probability are worth, on real drives.

    python benchmarks/belief.py [--model MODEL] [--data ../shared/data] [--cache DIR] [--fit]

One setting for all sets, no odometry, no look-ahead. A set's radius is its own truth: two frames,
one for nordland, 3 m for KITTI, 5 m for the demo; frame k of a set without poses is at (k, 0, 0)
at 8 Hz. --fit prints the weights for the model's card (benchmarks/fitting.py). Maps of other
places are judged by pairs.py, and a robot that is carried away by kidnapping.py.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from driven import PERIOD_NS, Bench, Outcome, localized
from fitting import ONLY_FOREIGN, benches, training
from inputs import add_data_argument

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import shows_something
from vpr_ros.core.intervals import clopper_pearson, drive_interval
from vpr_ros.core.localizing.belief import Belief
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.kept_calibrations import as_dict, model_calibration_of
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.background import EVERY_PLACE, WholeBackground
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.mapping.grid import place_grid
from vpr_ros.drives.posed_images import PosedImages
from vpr_ros.evaluating.calibration import BLOCK, calibrate


def show(title: str, header: str, rows: list[str]) -> None:
    print(f'\n{title}\n\n| {header} |')
    print('|' + '---|' * (header.count('|') + 1))
    print('\n'.join(f'| {row} |' for row in rows), flush=True)


def recall_rows(found: list[Bench]) -> Iterator[str]:
    """R@1 of single images and of the belief, of the frames that have a mapped place."""
    for bench in found:
        whole = localized(bench, bench.driven)
        can = whole.matchable
        shares = [
            f'{hits[can].mean():.3f} {between(drive_interval(hits[can]))}'
            for hits in (whole.single, whole.best)
        ]
        yield f'{bench.name} | {len(bench.mapped)} | {can.sum()} | ' + ' | '.join(shares)


def calibration_rows(found: list[Bench]) -> Iterator[str]:
    """The shipped calibration and the map's own, on the frames that the latter did not see."""
    for bench in found:
        held_out = (np.arange(len(bench.driven)) // BLOCK) % 2 == 1
        driven = bench.driven
        fitted = calibrate(
            PosedImages(driven.descriptors, driven.bases, driven.stamps_ns, driven.cells),
            Localizer(None, bench.place_map, LocalizerConfig(agreement_radius=bench.radius_m)),
            bench.radius_m,
            source=bench.name,
        )
        cells = []
        for made, judged in ((None, fitted.before), (fitted.calibration, fitted.after)):
            outcome = localized(bench, bench.driven, calibration=made)
            can = held_out & outcome.matchable
            answered = outcome.right[can]
            fixed, right = outcome.fixed[held_out], outcome.right[held_out]
            cells.append(
                f'{judged.error:.3f} | {answered.mean():.2f} {between(drive_interval(answered))}'
                f' | {said_false(fixed, right)}'
            )
        yield f'{bench.name} | ' + ' | '.join(cells)


def said_false(fixed: np.ndarray, right: np.ndarray) -> str:
    """How many fixes are false, and the interval of that share (Clopper and Pearson)."""
    count, false = int(fixed.sum()), int((fixed & ~right).sum())
    return f'{false} of {count} {between(clopper_pearson(false, count))}'


def between(ends: tuple[float, float]) -> str:
    """An interval of a share."""
    return f'[{ends[0]:.2f}, {ends[1]:.2f}]'


def disturbances(bench: Bench, describer: OnnxDescriber) -> Iterator[tuple[str, str]]:
    """What is done to a drive, from its middle on or all along, and what comes of it."""
    driven, random = bench.driven, np.random.default_rng(0)
    count = len(driven)
    half = count // 2
    late = slice(half, None)
    undisturbed = localized(bench, driven)
    yield 'nothing, all along', _told(undisturbed, slice(None))
    yield 'nothing, second half', _told(undisturbed, late)
    frozen = replace(driven[np.minimum(np.arange(count), half)], bases=driven.bases)  # drives on
    yield 'camera frozen, second half', _told(localized(bench, frozen), late)
    black = np.arange(count) < half
    yield 'black, second half', _told(localized(bench, driven, seen=black), late)
    for what, change in LENSES.items():
        yield f'{what}, second half', _told(_through_lens(bench, describer, change), late)
    for share in (0.1, 0.5):
        kept = np.flatnonzero(random.random(count) >= share)
        thinned = replace(driven[kept], stamps_ns=driven.stamps_ns[kept])
        yield f'{share:.0%} of the frames lost', _told(localized(bench, thinned), slice(None))
    yield 'twice as fast', _told(localized(bench, driven[::2]), slice(None))
    yield 'driven backwards', _told(localized(bench, driven[::-1]), slice(None))


def _told(outcome: Outcome, part: slice) -> str:
    """The share of the frames with a mapped place that got a right fix, and the false fixes."""
    fixed, right = outcome.fixed[part], outcome.right[part]
    answered = right[outcome.matchable[part]]
    return f'{answered.mean():.2f}, {int((fixed & ~right).sum())} of {int(fixed.sum())}'


def _through_lens(
    bench: Bench, describer: OnnxDescriber, change: Callable[[np.ndarray], np.ndarray]
) -> Outcome:
    """A drive whose camera moves or is covered from the middle on."""
    half = len(bench.driven) // 2
    changed = [change(load()) for load in bench.driven.loads[half:]]
    rows, cells = bench.driven.descriptors.copy(), bench.driven.cells
    kept = [describe_as_kept(describer, image) for image in changed]
    rows[half:] = [one.descriptor for one in kept]
    if cells is not None:
        cells = np.concatenate([cells[:half], [one.cells for one in kept]])
    seen = np.ones(len(rows), dtype=bool)
    seen[half:] = [shows_something(image) for image in changed]
    return localized(bench, replace(bench.driven, descriptors=rows, cells=cells), seen=seen)


def disturbed_rows(found: list[Bench], describer: OnnxDescriber) -> Iterator[str]:
    """A row for each disturbance, a cell for each drive."""
    columns = [dict(disturbances(bench, describer)) for bench in found]
    for what in columns[0]:
        yield f'{what} | ' + ' | '.join(column[what] for column in columns)


def _motion_blurred(share: float, image: np.ndarray) -> np.ndarray:
    """As if the camera turned by a share of the picture's width during the exposure."""
    length = max(round(share * image.shape[1]), 1)
    return cv2.blur(image, (length, 1))


def _covered(share: float, image: np.ndarray) -> np.ndarray:
    """With something black over the left share of the lens."""
    image = image.copy()
    image[:, : round(share * image.shape[1])] = 0
    return image


LENSES = {
    'blurred over 5 % of the width': partial(_motion_blurred, 0.05),
    'blurred over 20 % of the width': partial(_motion_blurred, 0.2),
    'a third covered': partial(_covered, 1 / 3),
    'two thirds covered': partial(_covered, 2 / 3),
    'covered': partial(_covered, 1.0),
}


def cost_ms(places: int) -> tuple[float, float]:
    """Median processor time of a frame, and of the 20 best places after it, on one thread.

    Of a map of which all places are compared; larger ones are in scale.py.
    """
    cv2.setNumThreads(1)
    random = np.random.default_rng(0)
    rows = random.standard_normal((8, places)).astype(np.float32)
    positions = np.arange(places)[:, None] * np.array([1.0, 0, 0])
    grid = place_grid(positions, np.arange(places) * PERIOD_NS)
    flat = WholeBackground(np.zeros(places, np.float32), np.ones(places, np.float32))
    belief = Belief(grid, flat)
    taken = []
    for frame in range(60):
        started = time.process_time()
        belief.step(rows[frame % 8], stamp_ns=frame * (PERIOD_NS + 7_000_000))
        stepped = time.process_time()
        belief.places(20)
        taken.append((stepped - started, time.process_time() - stepped))
    step, best = np.median(np.array(taken[5:]), axis=0) * 1e3
    return float(step), float(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', type=Path, default=default_model(), help='default: %(default)s')
    add_data_argument(parser)
    parser.add_argument('--cache', type=Path, help='keep descriptors here between runs')
    parser.add_argument('--fit', action='store_true', help='fit the shipped weights anew')
    arguments = parser.parse_args()
    model = Model.open(arguments.model, precision='fp32')
    for places in (250, 1_000, EVERY_PLACE):
        step, best = cost_ms(places)
        print(
            f'{places:>8,} places: {step:.2f} ms of processor time a frame, {best:.2f} the 20 best'
        )
    with tempfile.TemporaryDirectory() as folder:
        found = list(benches(model, arguments.data, arguments.cache, Path(folder)))
        if arguments.fit:
            shipped = model_calibration_of(found[0].place_map.header)
            made = training(found, risk_ratio=shipped.risk_ratio).fitted()
            print(json.dumps(as_dict(replace(made, risk_ratio=shipped.risk_ratio)), indent=1))
            return
        judged = [bench for bench in found if bench.name not in ONLY_FOREIGN]
        header = 'set | places | queries | R@1, one image | R@1, belief'
        show('Recall', header, list(recall_rows(judged)))
        header = (
            'set | shipped: error | answered | false fixes | own: error | answered | false fixes'
        )
        show('Probability', header, list(calibration_rows(judged)))
        header = 'what | ' + ' | '.join(bench.name for bench in judged)
        rows = list(disturbed_rows(judged, OnnxDescriber(model)))
        show('Disturbed: answered of the answerable, false of the fixes', header, rows)


if __name__ == '__main__':
    main()
