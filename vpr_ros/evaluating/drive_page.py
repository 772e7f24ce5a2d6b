"""The page of `evaluate_bag --report`: drives against maps, one way of localizing or several."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import ImageError
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.types import Image, Poses
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluating.figures import Evaluation, Judged, Tolerance
from vpr_ros.report.charts import SERIES_TONES, Chart, Mistake, PathMap, Series, Tone
from vpr_ros.report.page import (
    Facts,
    Figure,
    Gallery,
    Headline,
    Page,
    Picture,
    Section,
    Strip,
    Table,
)
from vpr_ros.report.recall_chart import recall_chart

WORST = 12
"""Failures shown of each variant."""

_MATCHES = 5
_PICTURE_PX = 320
_MOST_TIMELINES = 6  # drives that get a timeline of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way of localizing the drives: a map, a model, settings; and what came of it."""

    name: str
    evaluation: Evaluation  # all drives
    splits: Mapping[str, Evaluation]  # by drive and by time; may be empty
    place_map: PlaceMap
    base_T_camera: Poses | None  # [7], as the localizer was told
    facts: Sequence[tuple[str, str]]  # settings, digests
    images_per_s: float  # NaN where the speed is the bag's own
    memory_mb: float  # peak of the process that localized


def drive_report(
    variants: Sequence[Variant], drives: Sequence[Drive], tolerance: Tolerance, *, command: str
) -> Page:
    """The page; the first variant is in the headline."""
    first = variants[0].evaluation
    sections: list[Section] = [_headline(variants[0]), _comparison(variants)]
    sections += [
        Table(f'By part: {variant.name}', _HEADER, _rows(variant.splits))
        for variant in variants
        if variant.splits
    ]
    if first.recall.queries:
        recalls = {variant.name: variant.evaluation.recall for variant in variants}
        sections += [recall_chart(recalls), *_precision_charts(variants)]
    sections.append(_latency_table(variants))
    for variant in variants:
        of_it = f': {variant.name}' if variants[1:] else ''
        sections.append(_map(f'Where it was right and wrong{of_it}', variant))
        sections += _timelines(variant, drives, tolerance, of_it)
    if first.recall.queries:
        sections += [
            _failures(
                f'Worst failures{f": {variant.name}" if variants[1:] else ""}',
                variant,
                drives,
                tolerance,
            )
            for variant in variants
        ]
    sections.append(_facts(variants, drives, tolerance, command))
    return Page(
        'How well the map answers' if not variants[1:] else 'Compared on the same drives',
        f'{", ".join(drive.name for drive in drives)}: {len(first.answers)} images, '
        f'right within {_tolerance(tolerance)}',
        sections,
    )


_HEADER = (
    '', 'queries', 'not on map', 'R@1', 'R@5', 'R@10', 'R@20', 'answered', 'false',
    'error m', 'turn deg',
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
            _with_interval(found.false_fixes, found.false_fixes_interval),
            f'{_number(found.position_error_m["median"])}\n'
            f'{_number(found.position_error_m["p90"])}',
            _number(found.heading_error_deg['median']),
        ]
        for name, found in evaluations.items()
    ]


def _comparison(variants: Sequence[Variant]) -> Table:
    return Table(
        'Figures' if not variants[1:] else 'Side by side',
        _HEADER,
        _rows({variant.name: variant.evaluation for variant in variants}),
        note='Second lines are 95 % bootstrap intervals; errors are medians, the second line '
        'of the position error is what 90 % of the fixes stay within. '
        'Queries that are not on the map count as misses.',
    )


def _headline(variant: Variant) -> Headline:
    found = variant.evaluation
    recall, curve = found.recall, found.precision_recall
    low, high = recall.interval[1]
    figures = []
    if recall.queries:
        figures = [
            Figure('Recall@1', f'{recall.at[1]:.3f}', f'95 %: {low:.3f} to {high:.3f}', 's0'),
            Figure(
                'not on the map',
                str(recall.unmatchable),
                f'of {recall.queries} queries, counted as misses',
                'silent' if recall.unmatchable else 'plain',
            ),
        ]
    figures.append(Figure('answered', f'{found.answered:.0%}', 'got a fix', 'plain'))
    if recall.queries:
        figures.append(
            Figure(
                'false fixes',
                '–' if math.isnan(found.false_fixes) else f'{found.false_fixes:.1%}',
                'of the fixes, at the set threshold',
                'bad' if found.false_fixes > 0 else 'good',
            )
        )
    if not math.isnan(found.position_error_m['median']):
        p90, turned = found.position_error_m['p90'], found.heading_error_deg['median']
        heading = '' if math.isnan(turned) else f', heading {turned:.1f} deg'
        figures.append(
            Figure(
                'median error',
                f'{_number(found.position_error_m["median"])} m',
                f'90 % within {_number(p90)} m{heading}',
            )
        )
    if curve:
        figures.append(
            Figure(
                'average precision',
                f'{curve.average_precision:.3f}',
                f'recall at 100 % precision: {curve.recall_at_full_precision:.3f}',
            )
        )
    if not math.isnan(found.inside_ellipse):
        figures.append(
            Figure(
                'inside the ellipse',
                f'{found.inside_ellipse:.0%}',
                'true positions, expected 95 %',
            )
        )
    if not math.isnan(found.time_to_first_fix_s):
        figures.append(Figure('time to first fix', f'{found.time_to_first_fix_s:.1f} s'))
    if found.dropped:
        figures.append(Figure('dropped', str(found.dropped), 'images, for newer ones', 'silent'))
    if not math.isnan(variant.images_per_s):
        figures.append(
            Figure(
                'speed', f'{variant.images_per_s:.0f} /s', f'{variant.memory_mb:.0f} MB at most'
            )
        )
    return Headline(figures)


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
            *(_number(spread.get(share, math.nan)) for share in ('p50', 'p95', 'p99')),
        ]
        for variant in variants
        for stage, spread in variant.evaluation.latency_ms.items()
    ]
    memory = '; '.join(f'{variant.name} {variant.memory_mb:.0f} MB' for variant in variants)
    live = any('end_to_end' in variant.evaluation.latency_ms for variant in variants)
    note = (
        '' if live else ' Each core describes an image of its own here, which the node does not.'
    )
    return Table(
        'Latency by stage [ms]',
        ['', 'p50', 'p95', 'p99'],
        rows,
        note=f'Peak memory: {memory}.{note}',
    )


def _map(title: str, variant: Variant) -> PathMap:
    judged = variant.evaluation.judged
    poses, elapsed_s, error_m = judged.poses, judged.elapsed_s, judged.error_m
    fixed, known = judged.fixed, judged.known
    mistakes = []
    for row in np.flatnonzero(known):
        answer, true = judged.answers[row], judged.truth[row]
        if fixed[row] and not judged.right[row]:
            caption = f'{elapsed_s[row]:.1f} s: wrong fix, {error_m[row]:.1f} m off'
            mistakes.append(Mistake(_xy(true), _xy(poses[row]), caption))
        elif not fixed[row] and judged.rank[row] != 0 and len(answer.candidates):
            apart_m = float(np.linalg.norm(answer.candidates[0, :3] - true[:3]))
            caption = f'{elapsed_s[row]:.1f} s: wrong first match, {apart_m:.1f} m off, no fix'
            mistakes.append(Mistake(_xy(true), _xy(answer.candidates[0]), caption, refused=True))
    drives = np.unique(judged.drive)
    return PathMap(
        title,
        variant.place_map.base_poses(base_T_camera=variant.base_T_camera)[:, :2],
        [judged.truth[known & (judged.drive == number), :2] for number in drives],
        poses[(judged.right | ~known) & fixed][:, :2],
        judged.truth[known & ~fixed][:, :2],
        mistakes,
        note='Solid lines join a wrong fix to the true position, dashed ones a wrong first match '
        'that gave no fix. The wheel zooms, dragging moves, a double click shows all.',
        estimated=[poses[fixed & (judged.drive == number), :2] for number in drives],
    )


def _timelines(
    variant: Variant, drives: Sequence[Drive], tolerance: Tolerance, of_it: str
) -> list[Chart]:
    judged = variant.evaluation.judged
    charts = []
    for number, drive in enumerate(drives[:_MOST_TIMELINES]):
        part = judged.of(judged.drive == number)
        if not part.answers:
            continue
        which = f' ({drive.name})' if drives[1:] else ''
        probability = np.array([answer.probability for answer in part.answers])
        if np.isfinite(probability).any():
            charts.append(
                Chart(
                    f'Probability over time{which}{of_it}',
                    'time [s]',
                    'probability',
                    _by_outcome(part, probability),
                    y_range=(0, 1),
                    wide=True,
                )
            )
        error_m = np.maximum(part.error_m, 1e-3)
        if np.isfinite(error_m).any():
            charts.append(
                Chart(
                    f'Error over time{which}{of_it}',
                    'time [s]',
                    'error [m]',
                    _by_outcome(part, error_m),
                    log_y=True,
                    level=(tolerance.radius_m, f'{tolerance.radius_m:g} m'),
                    wide=True,
                )
            )
    return charts


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


def _failures(
    title: str, variant: Variant, drives: Sequence[Drive], tolerance: Tolerance
) -> Gallery:
    """Wrong fixes by their error, then queries whose first match is wrong, latest hit first."""
    judged = variant.evaluation.judged
    wrong_fix = judged.known & judged.fixed & ~judged.right
    missed = judged.known & ~judged.unmatchable & (judged.rank != 0) & ~wrong_fix
    fixes = np.flatnonzero(wrong_fix)
    fixes = fixes[np.argsort(-judged.error_m[fixes], kind='stable')]
    misses = np.flatnonzero(missed)
    late = np.where(judged.rank[misses] < 0, np.iinfo(np.int64).max, judged.rank[misses])
    misses = misses[np.argsort(-late, kind='stable')]
    if not len(fixes) and not len(misses):
        return Gallery(title, [], 'No fix was wrong, and every place was the first match.')
    shown = [*fixes[: WORST - min(len(misses), WORST // 3)], *misses][:WORST]
    images = _images(judged, shown, drives)
    places = variant.place_map.base_poses(base_T_camera=variant.base_T_camera)
    strips = [_strip(int(row), images.get(int(row)), variant, places, tolerance) for row in shown]
    note = (
        f'{len(fixes)} wrong fixes, {len(misses)} other queries whose first match is wrong; '
        'metres are distances to the true position.'
    )
    return Gallery(title, strips, note)


def _strip(
    row: int, image: Image | None, variant: Variant, places: Poses, tolerance: Tolerance
) -> Strip:
    judged = variant.evaluation.judged
    answer, true = judged.answers[row], judged.truth[row]
    pictures = [Picture(b'' if image is None else _jpeg(image), 'query', 's0')]
    for rank, candidate in enumerate(answer.candidates[:_MATCHES], start=1):
        place = int(np.argmin(np.linalg.norm(places - candidate, axis=1)))
        apart_m = float(np.linalg.norm(candidate[:3] - true[:3]))
        tone: Tone = 'good' if tolerance.accepts(candidate, true) else 'bad'
        caption = f'{rank}: {_number(apart_m)} m'
        pictures.append(Picture(_jpeg(variant.place_map.thumbnail(place)), caption, tone))
    apart = np.linalg.norm(places[:, :3] - true[:3], axis=1)
    nearest = int(np.argmin(apart))
    caption = f'nearest place: {_number(float(apart[nearest]))} m'
    if judged.unmatchable[row]:
        caption += ', not on the map'
    pictures.append(Picture(_jpeg(variant.place_map.thumbnail(nearest)), caption, 'good'))
    outcome = (
        f'wrong fix, {_number(float(judged.error_m[row]))} m off'
        if judged.fixed[row]
        else 'no fix'
    )
    sure = '' if math.isnan(answer.probability) else f', probability {answer.probability:.2f}'
    heading = f'{judged.elapsed_s[row]:.1f} s: {outcome}{sure}'
    return Strip(heading, pictures)


def _images(judged: Judged, rows: Sequence[np.int64], drives: Sequence[Drive]) -> dict[int, Image]:
    """The chosen queries' images, read once more; those that cannot be are left out."""
    found = {}
    for number, drive in enumerate(drives):
        wanted = {
            judged.answers[row].stamp_ns: int(row) for row in rows if judged.drive[row] == number
        }
        if not wanted:
            continue
        for frame in drive.frames():
            if frame.stamp_ns in wanted:
                try:
                    found[wanted.pop(frame.stamp_ns)] = frame.load()
                except ImageError:
                    continue
            if not wanted:
                break
    return found


def _facts(
    variants: Sequence[Variant], drives: Sequence[Drive], tolerance: Tolerance, command: str
) -> Facts:
    facts = [('drives', ', '.join(drive.name for drive in drives))]
    facts.append(('right within', _tolerance(tolerance)))
    facts.append(('intervals', '95 %, bootstrap over queries, 1000 resamples, seed 0'))
    for variant in variants:
        facts += [(f'{variant.name}: {name}', value) for name, value in variant.facts]
    found = variants[0].evaluation
    for name, count in (
        ('images without a true pose', found.without_pose),
        ('images that could not be used', found.unusable),
        ('images dropped', found.dropped),
    ):
        if count:
            facts.append((name, str(count)))
    facts += [('note', warning) for drive in drives for warning in drive.warnings]
    return Facts('How to repeat it', facts, [command])


def _jpeg(image: Image) -> bytes:
    return encode_jpeg(image, longest_side_px=_PICTURE_PX, quality=75)


def _xy(pose: Poses) -> tuple[float, float]:
    return float(pose[0]), float(pose[1])


def _tolerance(tolerance: Tolerance) -> str:
    if tolerance.heading_rad is None:
        return f'{tolerance.radius_m:g} m'
    return f'{tolerance.radius_m:g} m and {math.degrees(tolerance.heading_rad):g} deg'


def _number(value: float) -> str:
    return '–' if math.isnan(value) else f'{value:.3g}' if value < 1000 else f'{value:.0f}'


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return '–' if math.isnan(value) else '{:.3f}\n{:.2f}–{:.2f}'.format(value, *interval)
