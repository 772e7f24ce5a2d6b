"""The robot is carried to another place of the same map: does it notice, and find itself again?

A trial drives RUN_IN frames of a drive up to a frame at which it is LOCALIZED, and goes on with
FOLLOWED frames from another place of the drive, without a word to the localizer and at the next
stamps. All is seeded.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from driven import Maps, Matches, Outcome, localized, spread
from journeys import Journey, Pair
from pair_figures import median_or_none

from vpr_ros.core.intervals import drive_interval, wilson
from vpr_ros.core.localizing.confidence import Calibration
from vpr_ros.session.tracker import State

TRIALS = 10  # of each drive
ATTEMPTS = 40  # at most, for trials that begin LOCALIZED
RUN_IN = 60  # frames before the robot is carried, at most
FOLLOWED = 40  # frames after
SHORTEST = 15  # frames after, where a drive ends
APART = 4.0  # radii, at least, that the robot is carried
LOST_WITHIN, FOUND_WITHIN = 5, 15  # frames that are asked for


@dataclass(frozen=True)
class Trial:
    """One kidnapping; frames are counted from 1 after it, None: never."""

    pair: str
    drive: str
    is_rendered: bool
    carried_m: float
    followed: int  # frames after
    unsure: int | None  # first frame that is not LOCALIZED
    lost: int | None  # first frame that is LOST
    fixed: int | None  # first frame with a right fix
    found: int | None  # first frame that is LOCALIZED with a right fix
    wrong: int  # false fixes before that frame, or at all


def kidnapped(
    pairs: Sequence[Pair],
    maps: Maps,
    *,
    calibration: Callable[[Pair], Calibration | None] = lambda pair: None,
    matches: Matches | None = None,
    workers: int = 2,
) -> list[Trial]:
    """TRIALS kidnappings on each drive that is asked of the first map of its place.

    calibration: of a pair, None takes the model's.
    """
    chosen = list(_chosen(pairs))

    def trials(number: int) -> list[Trial]:
        pair = chosen[number]
        return list(_trials(pair, maps, calibration(pair)))

    found = spread(trials, len(chosen), matches, workers=workers, unit='kidnapped drive')
    return [trial for part in found for trial in part]


def _chosen(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Without odometry, which would tell that the robot was carried; long drives only."""
    firsts: dict[str, Journey] = {}
    for pair in pairs:
        if pair.group not in ('rendered', 'real') or pair.with_odometry:
            continue
        first = firsts.setdefault(pair.mapped.place, pair.mapped)
        if first is pair.mapped and len(pair.driven) >= SHORTEST + RUN_IN:
            yield pair


def _trials(pair: Pair, maps: Maps, calibration: Calibration | None) -> Iterator[Trial]:
    """The same draws whatever the calibration is; those that begin LOCALIZED are taken."""
    mapped, driven = pair.mapped, pair.driven
    bench = maps.bench(mapped.place, mapped.name, mapped.driven, driven, mapped.radius_m)
    random = np.random.default_rng(zlib.crc32(pair.name.encode()))
    alone = localized(bench, driven, calibration=calibration)
    able = alone.matchable
    made = 0
    for _ in range(ATTEMPTS):
        at, to = (int(row) for row in random.integers(len(driven), size=2))
        carried_m = float(np.linalg.norm(driven.bases[at, :3] - driven.bases[to, :3]))
        if alone.states[at] is not State.LOCALIZED or carried_m < APART * mapped.radius_m:
            continue
        after = np.arange(to, min(to + FOLLOWED, len(driven)))
        if len(after) < SHORTEST or not able[after[:SHORTEST]].all():
            continue
        before = np.arange(max(at - RUN_IN, 0), at + 1)
        outcome = localized(
            bench, driven[np.concatenate([before, after])], calibration=calibration
        )
        if outcome.states[len(before) - 1] is not State.LOCALIZED:
            continue
        yield _trial(pair, outcome, len(before), carried_m)
        made += 1
        if made == TRIALS:
            return


def _trial(pair: Pair, outcome: Outcome, start: int, carried_m: float) -> Trial:
    states, right = outcome.states[start:], outcome.right[start:]
    false = (outcome.fixed & ~outcome.right)[start:]
    found = _first([s is State.LOCALIZED and is_right for s, is_right in zip(states, right)])
    until = len(states) if found is None else found
    return Trial(
        pair.name,
        pair.asked.name,
        pair.asked.is_rendered,
        carried_m,
        len(states),
        _first([state is not State.LOCALIZED for state in states]),
        _first([state is State.LOST for state in states]),
        _first(right.tolist()),
        found,
        int(false[:until].sum()),
    )


def _first(flags: Sequence[bool]) -> int | None:
    return next((number for number, flag in enumerate(flags, start=1) if flag), None)


def kidnapping_summary(trials: Sequence[Trial]) -> dict[str, object]:
    """All trials, the rendered and the real ones, and each drive."""
    parts = {
        'all': list(trials),
        'rendered': [trial for trial in trials if trial.is_rendered],
        'real': [trial for trial in trials if not trial.is_rendered],
    }
    for trial in trials:
        parts.setdefault(trial.pair, []).append(trial)
    return {
        'groups': {name: _summary(part) for name, part in parts.items() if part},
        'trials': [asdict(trial) for trial in trials],
    }


def _summary(trials: Sequence[Trial]) -> dict[str, object]:
    kinds = {
        'unsure': [_within(trial.unsure, LOST_WITHIN) for trial in trials],
        'lost': [_within(trial.lost, LOST_WITHIN) for trial in trials],
        'noticed': [
            _within(trial.lost, LOST_WITHIN) or _within(trial.found, LOST_WITHIN)
            for trial in trials
        ],
        'fixed': [_within(trial.fixed, FOUND_WITHIN) for trial in trials],
        'found': [_within(trial.found, FOUND_WITHIN) for trial in trials],
        'no_wrong': [trial.wrong == 0 for trial in trials],
    }
    kinds['all'] = [
        all(flags) for flags in zip(*(kinds[k] for k in ('lost', 'found', 'no_wrong')))
    ]
    return {
        'trials': len(trials),
        'drives': len({trial.pair for trial in trials}),
        **{kind: _share(flags, trials) for kind, flags in kinds.items()},
        **{
            f'{name}_frames': median_or_none([getattr(trial, name) for trial in trials])
            for name in ('unsure', 'lost', 'fixed', 'found')
        },
        'wrong_fixes': sum(trial.wrong for trial in trials),
    }


def _share(flags: Sequence[bool], trials: Sequence[Trial]) -> dict[str, object]:
    """With Wilson's interval, and that over drives."""
    drives = list(dict.fromkeys(trial.pair for trial in trials))
    number = np.array([drives.index(trial.pair) for trial in trials])
    share = float(np.mean(flags))
    return {
        'share': share,
        'interval': wilson(share, len(flags)),
        'interval_drives': drive_interval(np.array(flags), drive=number, least=1),
    }


def _within(frame: int | None, most: int) -> bool:
    return frame is not None and frame <= most
