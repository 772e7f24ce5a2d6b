"""The page of `evaluate_bag --report`: drives against maps, one way of localizing or several."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.intervals import SAID
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Poses
from vpr_ros.drives.drive import Drive, notes_of
from vpr_ros.evaluating.failures import failures
from vpr_ros.evaluating.figures import Evaluation
from vpr_ros.evaluating.judging import Judged
from vpr_ros.evaluating.measuring import Variant
from vpr_ros.evaluating.shown_figures import UNKNOWN, Line, headline, number
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.report.charts import SERIES_TONES, Chart, Mistake, PathMap, Series, Tone
from vpr_ros.report.page import Facts, Headline, Page, Section, Table
from vpr_ros.report.recall_chart import recall_chart

_MOST_TIMELINES = 6  # drives that get a timeline of their own


def drive_report(
    variants: Sequence[Variant], drives: Sequence[Drive], tolerance: Tolerance, *, command: str
) -> Page:
    """The page; the first variant is in the headline."""
    several = len(variants) > 1
    first = variants[0].evaluation
    has_truth = first.recall.queries > 0
    named = [(f': {variant.name}' if several else '', variant) for variant in variants]
    sections: list[Section] = [
        _headline(variants[0]),
        _comparison(variants),
        *(_parts(variant) for variant in variants if variant.splits),
        *(_curves(variants) if has_truth else []),
        _latency_table(variants),
        *chain.from_iterable(
            _courses(variant, drives, tolerance, of_it) for of_it, variant in named
        ),
        *(
            failures(f'Worst failures{of_it}', variant, drives, tolerance)
            for of_it, variant in named
            if has_truth
        ),
        _facts(variants, drives, tolerance, command),
    ]
    return Page(
        'Compared on the same drives' if several else 'How well the map answers',
        f'{", ".join(drive.name for drive in drives)}: {counted(len(first.answers), "image")}, '
        f'right within {tolerance}',
        sections,
    )


def _parts(variant: Variant) -> Table:
    return Table(f'By part: {variant.name}', _HEADER, _rows(variant.splits))


def _curves(variants: Sequence[Variant]) -> list[Section]:
    recalls = {variant.name: variant.evaluation.recall for variant in variants}
    return [recall_chart(recalls), *_precision_charts(variants)]


def _courses(
    variant: Variant, drives: Sequence[Drive], tolerance: Tolerance, of_it: str
) -> list[Section]:
    """Where and when a variant was right; `of_it` names it in the titles."""
    where = _map(f'Where it was right and wrong{of_it}', variant)
    return [where, *_timelines(variant, drives, tolerance, of_it)]


_HEADER = (
    '', 'queries', 'not on map', 'R@1', 'R@5', 'R@10', 'R@20', 'answered', 'of answerable',
    'false',    'error m', 'turn deg',
)  # fmt: skip


def _rows(evaluations: Mapping[str, Evaluation]) -> list[list[str]]:
    return [
        [
            name,
            str(found.recall.queries),
            str(found.recall.unmatchable),
            *(
                _with_interval(found.recall.at[n], found.recall.interval[n])
                for n in (1, 5, 10, 20)
            ),
            _with_interval(found.answered, found.answered_interval),
            _with_interval(found.answered_of_answerable, found.answered_of_answerable_interval),
            _with_interval(found.false_fixes, found.false_fixes_interval),
            f'{number(found.position_error_m["median"])}\n{number(found.position_error_m["p90"])}',
            number(found.heading_error_deg['median']),
        ]
        for name, found in evaluations.items()
    ]


def _comparison(variants: Sequence[Variant]) -> Table:
    return Table(
        'Figures' if not variants[1:] else 'Side by side',
        _HEADER,
        _rows({variant.name: variant.evaluation for variant in variants}),
        note='Second lines are 95 % intervals. Errors are medians; 90 % of the fixes stay within '
        'the second line of the position error. Queries that are not on the map count as misses. '
        'The others are answerable, and a right fix answers them.',
    )


def _headline(variant: Variant) -> Headline:
    speed = Line('speed', f'{variant.images_per_s:.0f} /s', f'{variant.memory_mb:.0f} MB at most')
    return headline(variant.evaluation, *([] if math.isnan(variant.images_per_s) else [speed]))


def _precision_charts(variants: Sequence[Variant]) -> list[Chart]:
    series = [
        Series(
            variant.name,
            curve.recall,
            curve.precision,
            SERIES_TONES[number % len(SERIES_TONES)],
            'step',
        )
        for number, variant in enumerate(variants)
        if (curve := variant.evaluation.precision_recall)
    ]
    if not series:
        return []
    note = 'Of the first matches, over the threshold of their similarity.'
    return [
        Chart(
            'Precision and recall',
            'recall',
            'precision',
            series,
            x_range=(0, 1),
            y_range=(0, 1),
            note=note,
        )
    ]


def _latency_table(variants: Sequence[Variant]) -> Table:
    rows = [
        [
            f'{variant.name}: {stage}' if variants[1:] else stage,
            *(number(spread.get(share, math.nan)) for share in ('p50', 'p95', 'p99')),
        ]
        for variant in variants
        for stage, spread in variant.evaluation.latency_ms.items()
    ]
    memory = '; '.join(f'{variant.name} {variant.memory_mb:.0f} MB' for variant in variants)
    live = any('end_to_end' in variant.evaluation.latency_ms for variant in variants)
    note = '' if live else ' Here each core describes its own image, which the node does not do.'
    return Table(
        'Latency by stage [ms]',
        ['', 'p50', 'p95', 'p99'],
        rows,
        note=f'Peak memory: {memory}.{note}',
    )


def _map(title: str, variant: Variant) -> PathMap:
    judged, place_map = variant.evaluation.judged, variant.setup.place_map
    poses, fixed, known = judged.poses, judged.fixed, judged.known
    drives = np.unique(judged.drive)
    return PathMap(
        title,
        place_map.base_poses()[~place_map.is_distractor, :2],
        [judged.truth[known & (judged.drive == number), :2] for number in drives],
        poses[judged.right & known, :2],
        judged.truth[known & ~fixed][:, :2],
        _mistakes(judged),
        note='Solid lines join a wrong fix to the true position, dashed ones a wrong first match '
        'that gave no fix. The wheel zooms, dragging moves, a double click shows all.',
        estimated=[poses[fixed & (judged.drive == number), :2] for number in drives],
        unjudged=poses[fixed & ~known, :2],
    )


def _mistakes(judged: Judged) -> list[Mistake]:
    """Wrong fixes, and wrong first matches that gave no fix."""
    poses, elapsed_s, error_m, fixed = judged.poses, judged.elapsed_s, judged.error_m, judged.fixed
    mistakes = []
    for row in np.flatnonzero(judged.known):
        answer, true, at = judged.answers[row], judged.truth[row], f'{elapsed_s[row]:.1f} s'
        if fixed[row] and not judged.right[row]:
            caption = f'{at}: wrong fix, {error_m[row]:.1f} m off'
            mistakes.append(Mistake(_xy(true), _xy(poses[row]), caption))
        elif not fixed[row] and judged.rank[row] != 0 and len(answer.candidates):
            apart_m = float(np.linalg.norm(answer.candidates[0, :3] - true[:3]))
            caption = f'{at}: wrong first match, {apart_m:.1f} m off, no fix'
            mistakes.append(Mistake(_xy(true), _xy(answer.candidates[0]), caption, refused=True))
    return mistakes


def _timelines(
    variant: Variant, drives: Sequence[Drive], tolerance: Tolerance, of_it: str
) -> list[Chart]:
    judged = variant.evaluation.judged
    charts = []
    for number_of_drive, drive in enumerate(drives[:_MOST_TIMELINES]):
        part = judged.of(judged.drive == number_of_drive)
        which = f' ({drive.name})' if drives[1:] else ''
        charts += [_probabilities(part, which + of_it), _errors(part, tolerance, which + of_it)]
    shown = [chart for chart in charts if chart.series]
    if shown and drives[_MOST_TIMELINES:]:
        every = counted(len(drives), 'drive')
        note = f'Timelines of the first {_MOST_TIMELINES} of {every} are shown.'
        shown[-1] = replace(shown[-1], note=note)
    return shown


def _probabilities(part: Judged, of_it: str) -> Chart:
    return Chart(
        f'Probability over time{of_it}',
        'time [s]',
        'probability',
        _by_outcome(part, np.array([answer.probability for answer in part.answers])),
        y_range=(0, 1),
        wide=True,
    )


def _errors(part: Judged, tolerance: Tolerance, of_it: str) -> Chart:
    return Chart(
        f'Error over time{of_it}',
        'time [s]',
        'error [m]',
        _by_outcome(part, np.maximum(part.error_m, 1e-3)),
        log_y=True,
        level=(tolerance.radius_m, f'{tolerance.radius_m:g} m'),
        wide=True,
    )


def _by_outcome(part: Judged, values: NDArray[np.float64]) -> list[Series]:
    elapsed_s, fixed, known = part.elapsed_s, part.fixed, part.known
    groups: list[tuple[str, NDArray[np.bool_], Tone]] = [
        ('right', part.right, 'good'),
        ('wrong', fixed & known & ~part.right, 'bad'),
        ('fix, truth unknown', fixed & ~known, 's0'),
        ('no fix', ~fixed, 'silent'),
    ]
    return [
        Series(name, elapsed_s[rows], values[rows], tone, 'dots')
        for name, rows, tone in groups
        if np.isfinite(values[rows]).any()
    ]


def _facts(
    variants: Sequence[Variant], drives: Sequence[Drive], tolerance: Tolerance, command: str
) -> Facts:
    come = variants[0].evaluation.provenance
    counts = (
        ('images without a true pose', come.without_pose),
        ('images that could not be used', come.unusable),
        ('images dropped', come.dropped),
    )
    facts = [
        ('drives', ', '.join(drive.name for drive in drives)),
        ('right within', str(tolerance)),
        ('intervals', SAID),
        *(
            (f'{variant.name}: {name}', value)
            for variant in variants
            for name, value in variant.facts
        ),
        *((name, str(count)) for name, count in counts if count),
        *(('note', warning) for drive in drives for warning in notes_of(drive)),
    ]
    return Facts('How to repeat it', facts, [command])


def _xy(pose: Poses) -> tuple[float, float]:
    return float(pose[0]), float(pose[1])


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return UNKNOWN if math.isnan(value) else '{:.3f}\n{:.2f}–{:.2f}'.format(value, *interval)
