"""What the belief over the drive and its calibrated probability are worth, on real drives.

    python benchmarks/belief.py [--model MODEL] [--data ../shared/data] [--cache DIR] [--fit]

One setting for all sets, no odometry, no look-ahead. A set's radius is its own truth: two frames,
one for nordland, 3 m for KITTI, 5 m for the demo; frame k of a set without poses is at (k, 0, 0)
at 8 Hz. --fit prints the weights for the model's card (benchmarks/fitting.py).
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from driven import PERIOD_NS, ROOT, Bench, Pass, carried, localized
from fitting import FOREIGN_FRAMES, ONLY_FOREIGN, benches, halves, training

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.image import shows_something
from vpr_ros.core.intervals import drive_interval
from vpr_ros.core.localizing.belief import Belief
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.mapping.background import EVERY_PLACE, WholeBackground
from vpr_ros.core.mapping.described import describe_as_kept
from vpr_ros.core.mapping.grid import place_grid
from vpr_ros.drives.posed_images import PosedImages
from vpr_ros.evaluating.calibration import BLOCK, calibrate
from vpr_ros.session.tracker import State


def show(title: str, header: str, rows: list[str]) -> None:
    print(f'\n{title}\n\n| {header} |')
    print('|' + '---|' * (header.count('|') + 1))
    print('\n'.join(f'| {row} |' for row in rows), flush=True)


def recall_rows(found: list[Bench]) -> Iterator[str]:
    for bench in found:
        if bench.name in ONLY_FOREIGN:
            continue
        whole = localized(bench, bench.driven)
        can = whole.matchable
        low, high = drive_interval(whole.best[can])
        yield (
            f'{bench.name} | {len(bench.mapped)} | {can.sum()} | {whole.single[can].mean():.3f} | '
            f'{whole.best[can].mean():.3f} [{low:.3f}, {high:.3f}]'
        )


def calibration_rows(found: list[Bench]) -> Iterator[str]:
    for bench in found:
        if bench.name in ONLY_FOREIGN:
            continue
        held_out = (np.arange(len(bench.driven)) // BLOCK) % 2 == 1
        driven = bench.driven
        fitted = calibrate(
            PosedImages(driven.descriptors, driven.bases, driven.stamps_ns, driven.cells),
            Localizer(None, bench.place_map, LocalizerConfig(agreement_radius=bench.radius_m)),
            bench.radius_m,
            source=bench.name,
        )
        cells = [f'{judged.error:.3f}' for judged in (fitted.before, fitted.after)]
        for made in (None, fitted.calibration):
            outcome = localized(bench, bench.driven, calibration=made)
            fixed, right = outcome.fixed[held_out], outcome.right[held_out]
            false = int((fixed & ~right).sum())
            inside = outcome.inside[held_out][right]
            share = f'{inside.mean():.2f}' if len(inside) else '-'
            cells.append(f'{fixed.mean():.2f} | {false} of {fixed.sum()} | {share}')
        yield f'{bench.name} | ' + ' | '.join([cells[0], cells[2], cells[1], cells[3]])


def foreign_rows(found: list[Bench]) -> Iterator[str]:
    for bench in found:
        cells = []
        for other in found:
            if other.name == bench.name:
                cells.append('')
                continue
            second = halves(other.driven[:FOREIGN_FRAMES])[1]
            outcome = localized(bench, second, foreign=True)
            cells.append(f'{outcome.fixed.sum()}/{len(second)}')
        yield f'{bench.name} | ' + ' | '.join(cells)


def disturbances(bench: Bench) -> Iterator[str]:
    driven, random = bench.driven, np.random.default_rng(0)
    count = len(driven)
    half = count // 2
    third = count // 3
    kidnapped = localized(bench, carried(driven))
    after = kidnapped.states[third:]
    away = next((n for n, state in enumerate(after) if state is not State.LOCALIZED), None)
    lost = next((n for n, state in enumerate(after) if state is State.LOST), None)
    back = next(
        (n for n, state in enumerate(after) if n > (away or 0) and state is State.LOCALIZED), None
    )
    wrong = int((kidnapped.fixed & ~kidnapped.right)[third:].sum())
    yield (
        f'{bench.name} | carried away, {kidnapped.states[third - 1].value} | no longer LOCALIZED '
        f'after {_frames(away)}, LOST after {_frames(lost)}, LOCALIZED after {_frames(back)} | '
        f'{wrong} | {kidnapped.fixed[third:].sum()}'
    )
    frozen = np.minimum(np.arange(count), half)
    yield _disturbed(bench, 'camera frozen from the middle on', driven[frozen], slice(half, None))
    black = np.arange(count) < half
    yield _disturbed(bench, 'black from the middle on', driven, slice(half, None), seen=black)
    for share in (0.1, 0.5):
        kept = np.flatnonzero(random.random(count) >= share)
        thinned = replace(driven[kept], stamps_ns=driven.stamps_ns[kept])
        yield _disturbed(bench, f'{share:.0%} of the frames lost', thinned, slice(None))
    yield _disturbed(bench, 'twice as fast', driven[::2], slice(None))
    yield _disturbed(bench, 'driven backwards', driven[::-1], slice(None))


def _disturbed(bench: Bench, what: str, driven: Pass, part: slice, **options: object) -> str:
    if what.startswith('camera frozen'):
        driven = replace(driven, bases=bench.driven.bases)  # the robot drives on
    outcome = localized(bench, driven, **options)
    can = outcome.matchable[part]
    best, fixed, right = outcome.best[part], outcome.fixed[part], outcome.right[part]
    states = [state.value for state in outcome.states[part]]
    return (
        f'{bench.name} | {what} | R@1 {best[can].mean():.3f}, answered {fixed.mean():.2f}, '
        f'ends {states[-1]} | {int((fixed & ~right).sum())} | {fixed.sum()}'
    )


def lens_rows(bench: Bench, describer: OnnxDescriber) -> Iterator[str]:
    """What a moving or a covered camera does to the probability, from the middle of a drive on."""
    half = len(bench.driven) // 2
    before = localized(bench, bench.driven)
    for what, change in LENSES.items():
        changed = [change(load()) for load in bench.driven.loads[half:]]
        rows, cells = bench.driven.descriptors.copy(), bench.driven.cells
        kept = [describe_as_kept(describer, image) for image in changed]
        rows[half:] = [one.descriptor for one in kept]
        if cells is not None:
            cells = np.concatenate([cells[:half], [one.cells for one in kept]])
        seen = np.ones(len(rows), dtype=bool)
        seen[half:] = [shows_something(image) for image in changed]
        after = localized(bench, replace(bench.driven, descriptors=rows, cells=cells), seen=seen)
        clear, marred = before.probability[half:], after.probability[half:]
        false = int((after.fixed & ~after.right)[half:].sum())
        yield (
            f'{bench.name} | {what} | {clear.mean():.2f} | {marred.mean():.2f} | '
            f'{(marred > clear + 0.05).mean():.2f} | {after.fixed[half:].mean():.2f} | {false}'
        )


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


def _frames(number: int | None) -> str:
    return 'no frame' if number is None else f'frame {number + 1}'


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
    default = Path(os.environ.get('VPR_DATA') or ROOT.parent / 'shared' / 'data')
    parser.add_argument('--model', type=Path, default=default_model(), help='default: %(default)s')
    parser.add_argument('--data', type=Path, default=default, help='default: %(default)s')
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
            print(training(found).fitted())
            return
        header = 'set | places | queries | R@1, one image | R@1, belief'
        show('Recall', header, list(recall_rows(found)))
        header = (
            'set | shipped: error | answered | false fixes | inside 95 % | '
            'own: error | answered | false fixes | inside 95 %'
        )
        show('Probability', header, list(calibration_rows(found)))
        header = 'map | ' + ' | '.join(bench.name for bench in found)
        show('Fixes of drives along the map of another set', header, list(foreign_rows(found)))
        rows = [
            row for bench in found if bench.name not in ONLY_FOREIGN for row in disturbances(bench)
        ]
        show('Disturbances', 'set | what | outcome | false fixes | fixes', rows)
        header = (
            'set | camera | probability before | after | share of frames where it rose by 0.05 | '
            'answered | false fixes'
        )
        describer = OnnxDescriber(model)
        rows = [
            row
            for bench in found
            if bench.name not in (*ONLY_FOREIGN, 'nordland_64x32')
            for row in lens_rows(bench, describer)
        ]
        show('A moving or covered camera', header, rows)


if __name__ == '__main__':
    main()
