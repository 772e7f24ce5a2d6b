"""Every drive on every map: false fixes, answers and errors of the ordered pairs, on one page.

    python benchmarks/pairs.py [--data ../shared/data] [--worlds outputs/worlds] [--cache DIR]
                               [--output outputs/pairs] [--model MODEL]

A pair is a drive that is mapped and a drive that is localized on it. Four groups:

- rendered: all ordered pairs of the drives of a rendered town (by day, at night, in snow, ...) and
  of the demo's, also with odometry where there is some;
- real: the sets of real images that are sequences, in both directions;
- foreign: drives along maps of other places, where every fix is false;
- mixture: drives whose middle third is another place's: they leave the map and return.

Writes pairs.json, pairs.html and observations.npz, from which calibrations are fitted.
"""

import argparse
import csv
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from driven import (
    RADII_M,
    ROOT,
    Bench,
    Outcome,
    Pass,
    drive_pass,
    folder_pass,
    line_pass,
    localized,
    strayed,
    written,
)
from pairs_page import pairs_page
from tqdm import tqdm

from vpr_ros.core.atomic import staged_file
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.geometry import IDENTITY
from vpr_ros.core.image_files import is_image_file
from vpr_ros.core.intervals import (
    clopper_pearson,
    drive_interval,
    pooled_interval,
)
from vpr_ros.core.localizing.confidence import Calibration, reliability
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.report.page import write_page

TARGET = LocalizerConfig().max_false_fix_rate
FRAMES = 300  # of a drive at most, so that the whole matrix takes minutes
FOREIGN_FRAMES = 150
LAP = 40  # frames, after which rtabmap_corridor_loop repeats itself


@dataclass(frozen=True)
class Journey:
    """One drive of one place under one condition."""

    place: str
    condition: str
    driven: Pass
    radius_m: float
    is_rendered: bool

    @property
    def name(self) -> str:
        return f'{self.place}/{self.condition}'


@dataclass(frozen=True)
class Pair:
    """A drive on a map."""

    group: str  # rendered, real, foreign or mixture
    mapped: Journey
    asked: Journey
    driven: Pass  # of it, what is localized
    foreign: np.ndarray  # [Q], whether a frame is of another place
    with_odometry: bool = False

    @property
    def name(self) -> str:
        odometry = ' + odometry' if self.with_odometry else ''
        what = ' (strays)' if self.group == 'mixture' else ''
        return f'{self.mapped.name} > {self.asked.name}{what}{odometry}'


def journeys(model: Model, data: Path, worlds: Path, cache: Path | None) -> list[Journey]:
    """All drives that are there."""
    found = list(_rendered(model, worlds, cache))
    demo = ROOT / 'demo' / 'drives'
    found += [
        Journey('demo', name, drive_pass(demo / name, model, cache), 5.0, True)
        for name in ('day', 'dusk')
    ]
    return found + list(_real(model, data, cache))


def _rendered(model: Model, worlds: Path, cache: Path | None) -> Iterator[Journey]:
    """The drives of each world, without those that are still being rendered."""
    for folder in sorted({table.parent for table in worlds.glob('*/*/poses.csv')}):
        images = [file for file in (folder / 'images').iterdir() if is_image_file(file)]
        posed = len((folder / 'poses.csv').read_text().splitlines()) - 1
        if len(images) < posed:
            print(f'{folder}: {len(images)} of {posed} images; left out')
            continue
        size = sum(file.stat().st_size for file in images)
        name = f'{folder.parent.name}-{folder.name}-{size}'
        driven = drive_pass(folder, model, cache, name=name)
        yield Journey(folder.parent.name, folder.name, driven, 5.0, True)


def _real(model: Model, data: Path, cache: Path | None) -> Iterator[Journey]:
    for name in ('corridor', 'gardenspoint_thumb', 'nordland_64x32'):
        if (data / name).is_dir():
            for part, condition in zip(('database', 'queries'), _CONDITIONS[name], strict=True):
                driven = folder_pass(data / name / part, model, cache)
                yield Journey(name, condition, driven, RADII_M[name], False)
    loop = 'rtabmap_corridor_loop'
    if (data / loop).is_dir():
        whole = folder_pass(data / loop / 'images', model, cache)
        for lap, condition in enumerate(('lap 1', 'lap 2')):
            driven = whole[lap * LAP : (lap + 1) * LAP]
            driven = replace(driven, bases=whole.bases[:LAP])
            yield Journey(loop, condition, driven, RADII_M[loop], False)
    if (data / 'kitti_clip1').is_dir():
        whole = drive_pass(data / 'kitti_clip1', model, cache)
        for start, condition in enumerate(('even', 'odd')):
            half = replace(whole[start::2], stamps_ns=whole.stamps_ns[start::2])
            yield Journey('kitti_clip1', condition, half, 3.0, False)
    if (data / 'lund_street_gps').is_dir():
        for part in ('database', 'queries'):
            yield Journey('lund_street_gps', part, _lund(data, part, model, cache), 15.0, False)
    if (data / 'ie_tower_indoor').is_dir():
        driven = folder_pass(data / 'ie_tower_indoor' / 'queries', model, cache)
        yield Journey('ie_tower_indoor', 'floors', driven, 2.0, False)


_CONDITIONS = {
    'corridor': ('pass 1', 'pass 2'),
    'gardenspoint_thumb': ('right', 'left'),
    'nordland_64x32': ('summer', 'winter'),
}


def _lund(data: Path, part: str, model: Model, cache: Path | None) -> Pass:
    """Photos along a street, by the positions that their cameras wrote down."""
    folder = data / 'lund_street_gps'
    files = sorted(file for file in (folder / part).iterdir() if is_image_file(file))
    with (folder / 'positions.csv').open(newline='') as file:
        at = {
            row['image']: (float(row['utm_east']), float(row['utm_north']))
            for row in csv.DictReader(file)
        }
    along = line_pass(f'lund_street_gps-{part}', files, model, cache)
    bases = np.tile(IDENTITY, (len(files), 1))
    bases[:, :2] = np.array([at[file.name] for file in files]) - at['01.jpg']
    return replace(along, bases=bases)


def pairs_of(found: Sequence[Journey]) -> list[Pair]:
    """The whole matrix."""
    made: list[Pair] = []
    for mapped in found:
        for asked in found:
            if mapped.place == asked.place and mapped.condition != asked.condition:
                made += _own_pairs(mapped, asked)
    return made + list(_foreign_pairs(found)) + list(_mixtures(found))


def _own_pairs(mapped: Journey, asked: Journey) -> Iterator[Pair]:
    driven = asked.driven.cut(0, FRAMES)
    own = np.zeros(len(driven), dtype=bool)
    group = 'rendered' if asked.is_rendered else 'real'
    yield Pair(group, mapped, asked, replace(driven, travelled_m=None), own)
    if driven.travelled_m is not None:
        yield Pair(group, mapped, asked, driven, own, with_odometry=True)


def _foreign_pairs(found: Sequence[Journey]) -> Iterator[Pair]:
    """The first map of each place with a drive of each other place.

    Of two rendered towns, which look most alike, all drives.
    """
    first = {journey.place: journey for journey in reversed(found)}
    for mapped in first.values():
        for asked in found:
            alike = mapped.is_rendered and asked.is_rendered
            is_last = asked is {journey.place: journey for journey in found}[asked.place]
            if asked.place != mapped.place and (alike or is_last):
                driven = replace(asked.driven.cut(0, FOREIGN_FRAMES), travelled_m=None)
                yield Pair('foreign', mapped, asked, driven, np.ones(len(driven), dtype=bool))


def _mixtures(found: Sequence[Journey]) -> Iterator[Pair]:
    """Each drive on the first map of its place, with another place's images in its middle."""
    first = {journey.place: journey for journey in reversed(found)}
    places = list(first)
    for asked in found:
        mapped = first[asked.place]
        if asked is mapped or len(asked.driven) < 60:
            continue
        others = [place for place in places if place != asked.place]
        alike = [name for name in others if first[name].is_rendered == asked.is_rendered]
        others = alike or others
        other = first[others[places.index(asked.place) % len(others)]]
        driven, foreign = strayed(asked.driven.cut(0, FRAMES), other.driven)
        yield Pair('mixture', mapped, asked, driven, foreign)


def outcomes(
    pairs: Sequence[Pair],
    model: Model,
    *,
    calibration: Callable[[Pair], Calibration | None] = lambda pair: None,
    workers: int = 2,
) -> Iterator[tuple[Pair, Outcome]]:
    """What each pair gets, in their order; calibration: of a pair, None takes the model's."""
    with tempfile.TemporaryDirectory() as folder:
        global _JOB  # which the workers inherit: no large arguments go to them
        maps = {}
        for pair in pairs:
            if pair.mapped.name not in maps:
                maps[pair.mapped.name] = Path(folder) / str(len(maps))
                written(pair.mapped.driven, model, maps[pair.mapped.name])
        _JOB = _Job(pairs, maps, model, calibration)
        context = multiprocessing.get_context('fork')
        with context.Pool(workers) as pool:
            found = pool.imap(_outcome, range(len(pairs)))
            shown = tqdm(found, total=len(pairs), unit='pair', disable=None)
            yield from zip(pairs, shown)


@dataclass(frozen=True)
class _Job:
    pairs: Sequence[Pair]
    maps: dict[str, Path]
    model: Model
    calibration: Callable[[Pair], Calibration | None]


_JOB: _Job | None = None


def _outcome(number: int) -> Outcome:
    pair = _JOB.pairs[number]
    return localized(
        bench_of(pair, _JOB.maps[pair.mapped.name]),
        pair.driven,
        foreign=pair.foreign,
        calibration=_JOB.calibration(pair),
    )


def bench_of(pair: Pair, folder: Path) -> Bench:
    """The pair as the other benchmarks know it; folder: of its map."""
    from vpr_ros.core.mapping.place_map import PlaceMap

    mapped = pair.mapped
    place_map = PlaceMap.open(folder)
    return Bench(mapped.place, mapped.driven, pair.driven, mapped.radius_m, place_map)


def figures(pair: Pair, outcome: Outcome, *, target: float = TARGET) -> dict[str, object]:
    """All figures of a pair."""
    can, fixed, right = outcome.matchable, outcome.fixed, outcome.right
    false = fixed & ~right
    true = np.where(fixed, right, outcome.best)  # of what is answered, or would be
    asked = fixed if can.any() else np.ones_like(fixed)  # elsewhere, every fix is false
    exact = clopper_pearson(int(false.sum()), int(asked.sum()))
    inside = outcome.inside[right].astype(bool)
    first = np.flatnonzero(right)
    able = np.flatnonzero(can)
    waited = int(first[0] - able[0]) if len(first) else None
    stamps_ns = pair.driven.stamps_ns
    return {
        'pair': pair.name,
        'group': pair.group,
        'map_place': pair.mapped.place,
        'map_condition': pair.mapped.condition,
        'drive_place': pair.asked.place,
        'drive_condition': pair.asked.condition,
        'odometry': pair.with_odometry,
        'radius_m': pair.mapped.radius_m,
        'places': len(pair.mapped.driven),
        'frames': len(can),
        'answerable': int(can.sum()),
        'fixes': int(fixed.sum()),
        'false_fixes': int(false.sum()),
        'false_rate': _share(false[asked]),  # of the fixes; where none can be right, of the frames
        'false_rate_interval': exact,
        'false_rate_interval_drive': drive_interval(false[asked]),
        'false_of_frames': _share(false),
        'false_of_frames_interval_drive': drive_interval(false),
        'target': target,
        'at_most_target': bool(false.sum() <= target * asked.sum()),
        'within_interval': bool(exact[0] <= target),
        'answered': _share(right[can]),
        'answered_interval': drive_interval(right[can]),
        'best_right': _share(outcome.best[can]),
        'error_m': float(np.nanmedian(outcome.error_m[fixed])) if right.any() else None,
        'first_fix_frames': waited,
        'first_fix_s': None
        if waited is None
        else float(stamps_ns[first[0]] - stamps_ns[able[0]]) / 1e9,
        'calibration_error': reliability(outcome.probability, true).error,
        'inside_ellipse': _share(inside),
        'inside_ellipse_interval': drive_interval(inside),
        'true_fixes': int(right.sum()),
        'inside': int(inside.sum()),
    }


def _share(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None


def summary(rows: Sequence[dict]) -> dict[str, object]:
    """Pairs together; their intervals are over pairs, drawn as wholes."""

    def pooled(hits: str, counts: str) -> dict[str, object]:
        table = np.array([(row[hits], row[counts]) for row in rows], dtype=float)
        total = table.sum(axis=0)
        return {
            'share': float(total[0] / total[1]) if total[1] else None,
            'interval': pooled_interval(*table.T),
        }

    answerable = [row for row in rows if row['answerable']]
    means = [row['answered'] for row in answerable]
    errors = [row['error_m'] for row in rows if row['error_m'] is not None]
    firsts = [row['first_fix_frames'] for row in answerable]
    return {
        'pairs': len(rows),
        'frames': sum(row['frames'] for row in rows),
        'answerable': sum(row['answerable'] for row in rows),
        'fixes': sum(row['fixes'] for row in rows),
        'false_fixes': sum(row['false_fixes'] for row in rows),
        'false_rate': pooled('false_fixes', 'fixes'),
        'false_of_frames': pooled('false_fixes', 'frames'),
        'pairs_at_most_target': sum(row['at_most_target'] for row in rows),
        'pairs_within_interval': sum(row['within_interval'] for row in rows),
        'answered_mean': float(np.mean(means)) if means else None,
        'answered': pooled('right_answerable', 'answerable') if means else None,
        'error_m': float(np.median(errors)) if errors else None,
        'first_fix_frames': _median_or_none(firsts),
        'calibration_error_mean': float(np.mean([row['calibration_error'] for row in rows])),
        'inside_ellipse': pooled('inside', 'true_fixes'),
    }


def _median_or_none(numbers: Sequence[float | None]) -> float | None:
    """Those that never came count as the latest."""
    values = [np.inf if number is None else number for number in numbers]
    middle = float(np.median(values)) if values else np.inf
    return middle if np.isfinite(middle) else None


def groups(rows: Sequence[dict]) -> dict[str, dict[str, object]]:
    """Summaries by group, and of the rendered ones by map's and by drive's condition."""
    found: dict[str, list[dict]] = {'all': list(rows)}
    own = [row for row in rows if row['answerable']]
    found['own'] = own  # of their own place, mixtures too
    for row in rows:
        odometry = ', odometry' if row['odometry'] else ''
        found.setdefault(row['group'] + odometry, []).append(row)
        if row['group'] == 'rendered':
            found.setdefault(f'map by {row["map_condition"]}{odometry}', []).append(row)
            found.setdefault(f'drive by {row["drive_condition"]}{odometry}', []).append(row)
        if row['group'] == 'real':
            found.setdefault(row['map_place'], []).append(row)
    return {name: summary(part) for name, part in found.items()}


def save_observations(path: Path, made: Sequence[tuple[Pair, Outcome]]) -> None:
    """What calibrations are fitted from, a row for each frame of each pair.

    observed [F, OBSERVED], NaN where nothing was seen; best [F], whether the best place is true;
    right, fixed, answerable, probability [F]; pair, frame [F]; and of each pair [P] its names,
    group, places and conditions.
    """
    counts = [len(outcome.best) for _, outcome in made]
    columns = ('observed', 'best', 'right', 'fixed', 'probability')
    arrays = {
        name: np.concatenate([getattr(outcome, name) for _, outcome in made]) for name in columns
    }
    arrays['answerable'] = np.concatenate([outcome.matchable for _, outcome in made])
    arrays['pair'] = np.repeat(np.arange(len(made)), counts)
    arrays['frame'] = np.concatenate([np.arange(count) for count in counts])
    words = {
        'name': [pair.name for pair, _ in made],
        'group': [pair.group for pair, _ in made],
        'map_place': [pair.mapped.place for pair, _ in made],
        'map_condition': [pair.mapped.condition for pair, _ in made],
        'drive_place': [pair.asked.place for pair, _ in made],
        'drive_condition': [pair.asked.condition for pair, _ in made],
    }
    arrays |= {f'pair_{key}': np.array(values) for key, values in words.items()}
    arrays['pair_odometry'] = np.array([pair.with_odometry for pair, _ in made])
    with staged_file(path) as staged, staged.open('wb') as file:
        np.savez_compressed(file, **arrays)


def measured(made: Sequence[tuple[Pair, Outcome]]) -> dict[str, object]:
    """What pairs.json holds."""
    rows = []
    for pair, outcome in made:
        row = figures(pair, outcome)
        row['right_answerable'] = int(outcome.right[outcome.matchable].sum())
        rows.append(row)
    probability = np.concatenate([outcome.probability for _, outcome in made])
    true = np.concatenate([np.where(o.fixed, o.right, o.best) for _, o in made])
    trust = reliability(probability, true)
    return {
        'target': TARGET,
        'groups': groups(rows),
        'reliability': {
            'error': trust.error,
            'promised': trust.promised.tolist(),
            'true': trust.true.tolist(),
            'count': trust.count.tolist(),
        },
        'pairs': rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    data = Path(os.environ.get('VPR_DATA') or ROOT.parent / 'shared' / 'data')
    parser.add_argument('--model', type=Path, default=default_model(), help='default: %(default)s')
    parser.add_argument('--data', type=Path, default=data, help='default: %(default)s')
    worlds = ROOT / 'outputs' / 'worlds'
    parser.add_argument('--worlds', type=Path, default=worlds, help='default: %(default)s')
    parser.add_argument('--cache', type=Path, help='keep descriptors here between runs')
    output = ROOT / 'outputs' / 'pairs'
    parser.add_argument('--output', type=Path, default=output, help='default: %(default)s')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    started_s = time.monotonic()
    model = Model.open(arguments.model, precision='fp32')
    found = journeys(model, arguments.data, arguments.worlds, arguments.cache)
    pairs = pairs_of(found)
    made = list(outcomes(pairs, model, workers=arguments.workers))
    whole = measured(made) | {'model': model.card.name, 'model_sha256': model.card.sha256}
    arguments.output.mkdir(parents=True, exist_ok=True)
    save_observations(arguments.output / 'observations.npz', made)
    text = json.dumps(_finite(whole), indent=1)
    (arguments.output / 'pairs.json').write_text(text + '\n')
    write_page(
        arguments.output / 'pairs.html',
        pairs_page(_finite(whole), command=' '.join(['python', *sys.argv])),
    )
    for name, part in whole['groups'].items():
        print(said(name, part))
    print(f'{len(pairs)} pairs in {time.monotonic() - started_s:.0f} s: {arguments.output}')


def said(name: str, part: dict) -> str:
    """A group in one line."""
    rate, inside = (part[key]['share'] for key in ('false_rate', 'inside_ellipse'))
    words = [
        f'{name:<32}{part["pairs"]:4} pairs',
        f'{part["false_fixes"]:4} false of {part["fixes"]:5} fixes ({_percent(rate)})',
        f'target held {part["pairs_within_interval"]}',
        f'answered {_percent(part["answered_mean"])}',
        f'error {"-" if part["error_m"] is None else format(part["error_m"], ".2f")} m',
        f'first fix {"-" if part["first_fix_frames"] is None else part["first_fix_frames"]}',
        f'ECE {part["calibration_error_mean"]:.3f}',
        f'inside {_percent(inside)}',
    ]
    return ' | '.join(words)


def _percent(share: float | None) -> str:
    return '-' if share is None else f'{share:.1%}'


def _finite(value: object) -> object:
    """For JSON: None where there is no number."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


if __name__ == '__main__':
    main()
