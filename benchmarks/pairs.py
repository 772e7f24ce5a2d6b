"""Every drive on every map: false fixes, answers and errors of the ordered pairs, on one page.

    python benchmarks/pairs.py [--data ../shared/data] [--worlds outputs/worlds] [--cache DIR]
                               [--output outputs/pairs] [--model MODEL] [--precision P]
                               [--risk-ratio R] [--as-shipped]

A pair is a drive that is mapped and a drive that is localized on it. Five groups:

- rendered: all ordered pairs of the drives of a rendered town (by day, at night, in snow, ...) and
  of the demo's, also with odometry where there is some;
- real: the sets of real images that are sequences, in both directions;
- foreign: drives along maps of other places, where every fix is false;
- twin: the same between rendered towns, which share their roads and some houses;
- mixture: drives whose middle third is another place's: they leave the map and return.

And the robot is carried away in the middle of drives. Each pair is judged by a calibration that
was fitted without its places (benchmarks/fitting.py), unless --as-shipped asks for the model's
own. Writes pairs.json, pairs.html and observations.npz.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from driven import Maps, Matches, Outcome, localized, spread
from fitting import benches, training
from inputs import ROOT, add_data_argument
from journeys import Pair, journeys, pairs_of
from kidnapping import kidnapped, kidnapping_summary
from pair_figures import measured, save_observations
from pairs_page import pairs_page, percent

from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.shipped import default_model
from vpr_ros.core.localizing.confidence import SHIPPED, Calibration
from vpr_ros.core.localizing.kept_calibrations import from_dict
from vpr_ros.evaluating.shown_figures import finite
from vpr_ros.report.page import write_page


def outcomes(
    pairs: Sequence[Pair],
    maps: Maps,
    *,
    calibration: Callable[[Pair], Calibration | None] = lambda pair: None,
    matches: Matches | None = None,
    workers: int = 2,
) -> Iterator[tuple[Pair, Outcome]]:
    """What each pair gets, in their order; calibration: of a pair, None takes the model's."""
    for pair in pairs:
        maps.write(pair.mapped.name, pair.mapped.driven)

    def outcome(number: int) -> Outcome:
        pair = pairs[number]
        mapped = pair.mapped
        bench = maps.bench(mapped.place, mapped.name, mapped.driven, pair.driven, mapped.radius_m)
        return localized(bench, pair.driven, foreign=pair.foreign, calibration=calibration(pair))

    yield from zip(pairs, spread(outcome, len(pairs), matches, workers=workers, unit='pair'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', type=Path, default=default_model(), help='default: %(default)s')
    parser.add_argument('--precision', default='fp32', help='of its graph; default: %(default)s')
    add_data_argument(parser)
    worlds = ROOT / 'outputs' / 'worlds'
    parser.add_argument('--worlds', type=Path, default=worlds, help='default: %(default)s')
    parser.add_argument('--cache', type=Path, help='keep descriptors here between runs')
    output = ROOT / 'outputs' / 'pairs'
    parser.add_argument('--output', type=Path, default=output, help='default: %(default)s')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        '--as-shipped',
        action='store_true',
        help="judge by the model's own calibration, which knows half of each real drive",
    )
    parser.add_argument(
        '--risk-ratio', type=float, metavar='R', help="default: that of the model's card"
    )
    arguments = parser.parse_args()
    started_s = time.monotonic()
    model = Model.open(arguments.model, precision=arguments.precision)
    found = journeys(model, arguments.data, arguments.worlds, arguments.cache)
    pairs, matches = pairs_of(found), Matches(arguments.cache)
    with tempfile.TemporaryDirectory() as folder:
        maps = Maps(model, Path(folder))
        options = {
            'matches': matches,
            'workers': arguments.workers,
            'calibration': _calibration(arguments, model, matches, Path(folder)),
        }
        made = list(outcomes(pairs, maps, **options))
        trials = kidnapped(pairs, maps, **options)
    matches.save()
    whole = measured(made) | {
        'kidnapping': kidnapping_summary(trials),
        'model': model.card.name,
        'model_sha256': model.card.sha256,
    }
    figures = finite(whole)
    arguments.output.mkdir(parents=True, exist_ok=True)
    save_observations(arguments.output / 'observations.npz', made)
    text = json.dumps(figures, indent=1)
    (arguments.output / 'pairs.json').write_text(text + '\n')
    write_page(
        arguments.output / 'pairs.html',
        pairs_page(figures, command=' '.join(['python', *sys.argv])),
    )
    for name, part in whole['groups'].items():
        print(said(name, part))
    print(f'{len(pairs)} pairs in {time.monotonic() - started_s:.0f} s: {arguments.output}')


def _calibration(
    arguments: argparse.Namespace, model: Model, matches: Matches, folder: Path
) -> Callable[[Pair], Calibration]:
    """What gives each pair's calibration."""
    shipped = from_dict(model.card.calibration) if model.card.calibration else SHIPPED
    ratio = arguments.risk_ratio or shipped.risk_ratio
    if arguments.as_shipped:
        return lambda pair: replace(shipped, risk_ratio=ratio)
    with matches.remembered():
        frames = training(
            list(benches(model, arguments.data, arguments.cache, folder)), risk_ratio=ratio
        )

    @cache
    def without(places: frozenset[str]) -> Calibration:
        return replace(frames.fitted(without=sorted(places)), risk_ratio=ratio)

    return lambda pair: without(frozenset({pair.mapped.place, pair.asked.place}))


def said(name: str, part: dict) -> str:
    """A group in one line."""
    rate, inside = (part[key]['share'] for key in ('false_rate', 'inside_ellipse'))
    words = [
        f'{name:<32}{part["pairs"]:4} pairs',
        f'{part["false_fixes"]:4} false of {part["fixes"]:5} fixes ({percent(rate)})',
        f'target held {part["pairs_within_interval"]}',
        f'answered {percent(part["answered_mean"])}',
        f'error {"-" if part["error_m"] is None else format(part["error_m"], ".2f")} m',
        f'first fix {"-" if part["first_fix_frames"] is None else part["first_fix_frames"]}',
        f'ECE {part["calibration_error_mean"]:.3f}',
        f'inside {percent(inside)}',
    ]
    return ' | '.join(words)


if __name__ == '__main__':
    main()
