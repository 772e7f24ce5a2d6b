"""The one list of figures: what each is called, in which unit it comes, and where it is shown.

The JSON of --json, the table in the terminal and the headline of the page are made from this list,
in its order. The keys of the JSON are a contract: programs read them.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.core.plurals import by_count, counted
from vpr_ros.evaluating.figures import Evaluation, Provenance
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.report.charts import Tone
from vpr_ros.report.page import Figure, Headline

UNKNOWN = '–'
"""Stands for a figure that does not exist."""

_LABEL_WIDTH = 22
_MANY = 0.1  # share of the queries, of which people are told


@dataclass(frozen=True, slots=True)
class Line:
    """A figure in words: a row of the table, and a card of the headline if it is a main one."""

    label: str
    value: str
    note: str = ''
    tone: Tone = 'plain'
    is_main: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One figure: its key and value in the JSON, and the words that people read.

    A figure without a label and without lines is for programs only.
    """

    key: str
    value: Callable[[Evaluation], Any]
    label: str = ''
    form: str = '{}'  # of the value
    note: str = ''
    tone: Callable[[Any], Tone] = lambda value: 'plain'
    is_main: bool = False
    says_unknown: bool = False  # where the figure does not exist: a line says so, or there is none
    lines: Callable[[Evaluation], Iterator[Line]] | None = None  # in place of the one by label

    def said(self, evaluation: Evaluation) -> Iterator[Line]:
        """The lines of this figure."""
        if self.lines is not None:
            yield from self.lines(evaluation)
        elif self.label:
            value = finite(self.value(evaluation))
            if value is not None:
                words = self.form.format(value), self.note, self.tone(value)
                yield Line(self.label, *words, self.is_main)
            elif self.says_unknown:
                yield Line(self.label, UNKNOWN, 'not known', is_main=self.is_main)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The contract of --json; figures that do not exist (an error without any fix) are null."""
    return {shown.key: finite(shown.value(evaluation)) for shown in FIGURES}


def as_table(evaluation: Evaluation, tolerance: Tolerance) -> str:
    """The figures for a person, a line for each."""
    rows = [Line('right within', str(tolerance)), *_lines(evaluation)]
    return '\n'.join(
        f'{line.label:<{_LABEL_WIDTH}}{line.value}   {line.note}'.rstrip() for line in rows
    )


def headline(evaluation: Evaluation, *further: Line) -> Headline:
    """The main figures, as they stand large on a page; `further` follow them."""
    main = [line for line in _lines(evaluation) if line.is_main]
    return Headline(
        [Figure(line.label, line.value, line.note, line.tone) for line in (*main, *further)]
    )


def finite(value: Any) -> Any:
    """A value for JSON, which knows no NaN and no infinity: both are None, however deep."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float) -> str:
    """Three digits, more before the point."""
    if math.isnan(value):
        return UNKNOWN
    return f'{value:.3g}' if value < 1000 else f'{value:.0f}'


def _lines(evaluation: Evaluation) -> Iterator[Line]:
    for shown in FIGURES:
        yield from shown.said(evaluation)


def _recall(found: Evaluation) -> Iterator[Line]:
    for n, (low, high) in found.recall.interval.items():
        share = found.recall.at[n]
        if not math.isnan(share):
            note = f'[{low:.3f}, {high:.3f}]'
            yield Line(f'Recall@{n}', f'{share:.3f}', note, 's0', is_main=n == 1)


def _single_image(found: Evaluation) -> Iterator[Line]:
    if found.single_image is not None:
        share = found.single_image.at[1]
        yield Line('Recall@1, one image', f'{share:.3f}', 'without the drive so far')


def _queries(found: Evaluation) -> Iterator[Line]:
    yield Line('queries / places', f'{found.recall.queries} / {found.provenance.database}')


def _answered(found: Evaluation) -> Iterator[Line]:
    """Without any true pose there is no query, and the share is that of all images."""
    whose = 'queries' if found.recall.queries else 'images'
    yield Line('answered', f'{found.answered:.1%}', f'of the {whose} got a fix', is_main=True)


def _unmatchable(found: Evaluation) -> Iterator[Line]:
    count, queries = found.recall.unmatchable, found.recall.queries
    if not queries:
        return
    note = f'of {counted(queries, "query")}, counted as misses'
    yield Line('not on the map', f'{count}', note, _if_any(count), is_main=True)


def _no_fix_reasons(found: Evaluation) -> Iterator[Line]:
    for reason, count in found.no_fix_reasons.items():
        yield Line(
            'no fix', f'{count}', f'{by_count(count, "image", "images")}: {reason}', 'silent'
        )


def _other_direction(found: Evaluation) -> Iterator[Line]:
    """Only where it is a good part of the drive: some images are turned at every corner."""
    count, queries = found.other_direction, found.recall.queries
    if queries and count >= _MANY * queries:
        note = (
            f'of {counted(queries, "query")}: the places there were mapped in another viewing '
            'direction; map this direction, too'
        )
        yield Line('other direction', f'{count}', note, 'bad', is_main=True)


def _not_on_map(found: Evaluation) -> Iterator[Line]:
    if count := found.fixes_not_on_map:
        false = found.false_fixes_not_on_map
        counted_as = f'{by_count(count, "it counts", "they count")} as false'
        if false < count:
            counted_as = f'{false} false, the others within the radius all the same'
        note = f'where the map has no place; {counted_as}'
        yield Line('fixes off the map', f'{count}', note, 'bad' if false else 'plain')


def _images(
    key: str,
    label: str,
    count: Callable[[Provenance], int],
    *,
    note: str = '',
    is_main: bool = False,
) -> Shown:
    """A count of images that were no queries, of which people are told where there are any."""

    def lines(found: Evaluation) -> Iterator[Line]:
        if images := count(found.provenance):
            noun = by_count(images, 'image', 'images')
            yield Line(label, f'{images}', f'{noun}{note}', 'silent', is_main=is_main)

    return Shown(key=key, value=lambda found: count(found.provenance), lines=lines)


def _calibration(found: Evaluation) -> dict[str, Any] | None:
    trust = found.reliability
    if trust is None:
        return None
    return {
        'error': trust.error,
        'promised': trust.promised.tolist(),
        'true': trust.true.tolist(),
        'count': trust.count.tolist(),
    }


def _calibration_error(found: Evaluation) -> Iterator[Line]:
    if found.reliability is None:
        yield Line('calibration error', UNKNOWN, 'not known')
    else:
        yield Line('calibration error', f'{found.reliability.error:.3f}')


def _spread(
    key: str, label: str, unit: str, spread: Callable[[Evaluation], dict[str, float]]
) -> Shown:
    def lines(found: Evaluation) -> Iterator[Line]:
        median, p90 = spread(found)['median'], spread(found)['p90']
        if math.isnan(median):
            yield Line(label, UNKNOWN, 'not known')
        else:
            note = f'at the median, 90 % within {number(p90)} {unit}'
            yield Line(label, f'{number(median)} {unit}', note, is_main=True)

    return Shown(key=key, value=spread, lines=lines)


def _offset(found: Evaluation) -> Iterator[Line]:
    offset = found.offset
    if offset is None:
        return
    ahead, left, up = offset.mean_m.tolist()
    along, beside, above = (
        f'{abs(value):.2f} m {more if value >= 0 else less}'
        for more, less, value in (
            ('ahead', 'behind', ahead),
            ('left', 'right', left),
            ('up', 'down', up),
        )
    )
    first, last = (along, above) if abs(ahead) >= abs(up) else (above, along)
    note = f'{beside}, {last}: what the fixes are off by in common'
    if not offset.is_telling or (found.other_frame is not None and not _is_late(found)):
        yield Line('mean offset', first, note)
        return
    step = 'check the mounting of the camera'
    if abs(ahead) >= abs(up) and not math.isnan(offset.late_s):
        stamped = f'{abs(offset.late_s):.2f} s {"late" if ahead > 0 else "early"}'
        step = f'as if the true poses were stamped {stamped}; check the clocks and the mounting'
    yield Line('mean offset', first, f'{note}; {step}', 'bad', is_main=True)


def _other_frame(found: Evaluation) -> Iterator[Line]:
    other = found.other_frame
    if other is None or _is_late(found):
        return
    share = f'{other.agreeing} of {counted(other.fixes, "fix")}'
    note = (
        f'are right if the true positions are {other}: map and drive have different frames; '
        'take poses of both in one'
    )
    yield Line('another frame', share, note, 'bad', is_main=True)


def _is_late(found: Evaluation) -> bool:
    """Whether fixes lie ahead or behind only, for which a clock is the simpler cause."""
    offset, radius_m = found.offset, found.provenance.radius_m
    return (
        offset is not None
        and offset.is_telling
        and bool(np.all(np.abs(offset.mean_m[1:]) <= radius_m))
    )


def _latency(found: Evaluation) -> Iterator[Line]:
    for stage, spread in found.latency_ms.items():
        note = f'at the median, 95 % within {spread["p95"]:.1f} ms'
        yield Line(f'latency {stage}', f'{spread["p50"]:.1f} ms', note)


def _if_any(count: int) -> Tone:
    return 'silent' if count else 'plain'


def _if_wrong(share: float) -> Tone:
    return 'bad' if share > 0 else 'good'


FIGURES = (
    Shown(key='recall', value=lambda found: found.recall.shares(), lines=_recall),
    Shown(
        key='single_image',
        value=lambda found: found.single_image and found.single_image.shares(),
        lines=_single_image,
    ),
    Shown(key='recall_interval', value=lambda found: found.recall.intervals()),
    Shown(key='queries', value=lambda found: found.recall.queries, lines=_queries),
    Shown(key='unmatchable', value=lambda found: found.recall.unmatchable, lines=_unmatchable),
    Shown(key='database', value=lambda found: found.provenance.database),
    Shown(key='frames', value=lambda found: found.provenance.frames),
    _images('without_pose', 'without a true pose', lambda come: come.without_pose),
    _images('unusable', 'not usable', lambda come: come.unusable),
    _images(
        'dropped',
        'dropped',
        lambda come: come.dropped,
        note=', for newer ones',
        is_main=True,
    ),
    Shown(key='calibration', value=_calibration, lines=_calibration_error),
    Shown(
        key='answered',
        value=lambda found: found.answered,
        lines=_answered,
    ),
    Shown(key='answered_interval', value=lambda found: list(found.answered_interval)),
    Shown(key='no_fix_reasons', value=lambda found: found.no_fix_reasons, lines=_no_fix_reasons),
    Shown(key='answerable', value=lambda found: found.answerable),
    Shown(
        key='answered_of_answerable',
        value=lambda found: found.answered_of_answerable,
        label='of the answerable',
        form='{:.1%}',
        note='of the queries with a place on the map got a right fix',
        is_main=True,
    ),
    Shown(
        key='answered_of_answerable_interval',
        value=lambda found: list(found.answered_of_answerable_interval),
    ),
    Shown(
        key='other_direction',
        value=lambda found: found.other_direction,
        lines=_other_direction,
    ),
    Shown(key='fixes_not_on_map', value=lambda found: found.fixes_not_on_map, lines=_not_on_map),
    Shown(
        key='false_fixes',
        value=lambda found: found.false_fixes,
        label='false fixes',
        form='{:.1%}',
        note='of the fixes, at the set threshold',
        tone=_if_wrong,
        is_main=True,
        says_unknown=True,
    ),
    Shown(key='false_fixes_interval', value=lambda found: list(found.false_fixes_interval)),
    Shown(
        key='average_precision',
        value=lambda found: found.precision_recall and found.precision_recall.average_precision,
        label='average precision',
        form='{:.3f}',
        note='of the first matches',
        is_main=True,
    ),
    Shown(
        key='recall_at_full_precision',
        value=lambda found: (
            found.precision_recall and found.precision_recall.recall_at_full_precision
        ),
        label='recall, 100 % precise',
        form='{:.3f}',
    ),
    Shown(
        key='time_to_first_fix_s',
        value=lambda found: found.time_to_first_fix_s,
        label='time to first fix',
        form='{:.1f} s',
        is_main=True,
    ),
    _spread('position_error_m', 'position error', 'm', lambda found: found.position_error_m),
    _spread('heading_error_deg', 'heading error', 'deg', lambda found: found.heading_error_deg),
    Shown(
        key='offset', value=lambda found: found.offset and found.offset.as_json(), lines=_offset
    ),
    Shown(
        key='other_frame',
        value=lambda found: found.other_frame and found.other_frame.as_json(),
        lines=_other_frame,
    ),
    Shown(
        key='inside_ellipse',
        value=lambda found: found.inside_ellipse,
        label='inside the ellipse',
        form='{:.1%}',
        note='of the true positions, expected 95 %',
        is_main=True,
    ),
    Shown(key='inside_ellipse_interval', value=lambda found: list(found.inside_ellipse_interval)),
    Shown(key='inside_ellipse_axes', value=lambda found: found.inside_ellipse_axes),
    Shown(key='latency_ms', value=lambda found: found.latency_ms, lines=_latency),
)
"""Every figure, in the order in which it is shown."""
