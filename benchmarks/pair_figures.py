"""The figures of each ordered pair and of groups of them, and what calibrations are fitted from.

Fixes of a pair are few and false ones fewer: their share has the exact interval, of fixes taken as
independent, which is the stricter one for what is asked of it, that the target lies within. All
other shares have the intervals of a drive.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from driven import Outcome
from journeys import Pair

from vpr_ros.core.atomic import staged_file
from vpr_ros.core.intervals import clopper_pearson, drive_interval
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.evaluating.reliability import reliability

TARGET = LocalizerConfig().max_false_fix_rate
OWN = 'maps of their own place'

Made: TypeAlias = tuple[Pair, Outcome]


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
        'is_metric': pair.mapped.is_metric,
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


def summary(part: Sequence[Made], rows: Sequence[dict]) -> dict[str, object]:
    """Pairs together, rows their figures; intervals are over pairs and over stretches in them."""
    drive = np.concatenate([np.full(len(o.best), n) for n, (_, o) in enumerate(part)])

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(outcome, name) for _, outcome in part])

    can, fixed, right, inside = map(joined, ('matchable', 'fixed', 'right', 'inside'))
    metric = np.concatenate([np.full(len(o.best), pair.mapped.is_metric) for pair, o in part])
    trust = reliability(joined('probability'), np.where(fixed, right, joined('best')))

    def pooled(flags: np.ndarray, chosen: np.ndarray) -> dict[str, object]:
        interval = drive_interval(flags[chosen], drive=drive[chosen])
        return {'share': _share(flags[chosen]), 'interval': interval}

    answerable = [row for row in rows if row['answerable']]
    means = [row['answered'] for row in answerable]
    errors = [row['error_m'] for row in rows if row['error_m'] is not None]
    return {
        'pairs': len(rows),
        'frames': len(can),
        'answerable': int(can.sum()),
        'fixes': int(fixed.sum()),
        'false_fixes': int((fixed & ~right).sum()),
        'false_rate': pooled(~right, fixed),
        'false_of_frames': pooled(fixed & ~right, np.ones_like(fixed)),
        'pairs_at_most_target': sum(row['at_most_target'] for row in rows),
        'pairs_within_interval': sum(row['within_interval'] for row in rows),
        'answered_mean': float(np.mean(means)) if means else None,
        'answered': pooled(right, can),
        'error_m': float(np.median(errors)) if errors else None,
        'first_fix_frames': median_or_none([row['first_fix_frames'] for row in answerable]),
        'first_fix_s': median_or_none([row['first_fix_s'] for row in answerable]),
        'calibration_error': trust.error,
        'calibration_error_mean': float(np.mean([row['calibration_error'] for row in rows])),
        'inside_ellipse': pooled(inside == 1, right & metric),  # where truth is exact enough
    }


def median_or_none(numbers: Sequence[float | None]) -> float | None:
    """Those that never came count as the latest."""
    values = [np.inf if number is None else number for number in numbers]
    middle = float(np.median(values)) if values else np.inf
    return middle if np.isfinite(middle) else None


def groups(made: Sequence[Made], rows: Sequence[dict]) -> dict[str, dict[str, object]]:
    """Summaries by group, and of the rendered pairs by the map's and by the drive's condition."""
    chosen: dict[str, list[int]] = {'all': [], OWN: []}
    for number, row in enumerate(rows):
        for name in _groups_of(row):
            chosen.setdefault(name, []).append(number)
    return {
        name: summary([made[n] for n in numbers], [rows[n] for n in numbers])
        for name, numbers in chosen.items()
        if numbers
    }


def _groups_of(row: dict) -> Iterator[str]:
    odometry = ', odometry' if row['odometry'] else ''
    if row['group'] != 'twin':
        yield 'all'
    if row['group'] in ('rendered', 'real'):
        yield OWN
    yield row['group'] + odometry
    if row['group'] == 'rendered':
        yield f'map by {row["map_condition"]}{odometry}'
        yield f'drive by {row["drive_condition"]}{odometry}'
    if row['group'] == 'real':
        yield row['map_place']


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


def measured(made: Sequence[Made]) -> dict[str, object]:
    """What pairs.json holds."""
    rows = [figures(pair, outcome) for pair, outcome in made]
    own = [one for one, row in zip(made, rows) if OWN in _groups_of(row)]
    return {
        'target': TARGET,
        'groups': groups(made, rows),
        'reliability': {OWN: _trust(own), 'all': _trust(made)},
        'pairs': rows,
    }


def _trust(made: Sequence[Made]) -> dict[str, object]:
    """The reliability diagram of pairs, each frame once."""
    probability = np.concatenate([outcome.probability for _, outcome in made])
    true = np.concatenate([np.where(o.fixed, o.right, o.best) for _, o in made])
    trust = reliability(probability, true)
    return {
        'error': trust.error,
        'promised': trust.promised.tolist(),
        'true': trust.true.tolist(),
        'count': trust.count.tolist(),
    }
