"""One list of figures: the JSON that programs read, the table and the headline for people."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from test_evaluation import Line, Places, at

from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.ellipse import Extent
from vpr_ros.evaluating.figures import Evaluation, Provenance, evaluate, pooled
from vpr_ros.evaluating.judging import Judged
from vpr_ros.evaluating.shown_figures import FIGURES, as_json, as_table, finite, headline
from vpr_ros.evaluating.tolerance import Tolerance

SPREAD, SHARES = {'median', 'p90'}, {'1', '5', '10', '20'}
KEYS = [
    'recall', 'single_image', 'recall_interval', 'queries', 'unmatchable', 'database', 'frames',
    'without_pose', 'unusable', 'dropped', 'calibration', 'answered', 'answered_interval',
    'no_fix_reasons', 'answerable', 'answered_of_answerable', 'answered_of_answerable_interval',
    'other_direction', 'fixes_not_on_map',
    'false_fixes', 'false_fixes_interval', 'average_precision', 'recall_at_full_precision',
    'time_to_first_fix_s', 'position_error_m', 'heading_error_deg', 'offset', 'other_frame',
    'inside_ellipse', 'inside_ellipse_interval', 'inside_ellipse_axes', 'latency_ms',
]  # fmt: skip
TOLERANCE = Tolerance(2.0)


def test_what_json_has_no_number_for_is_null_however_deep() -> None:
    given = {'share': math.nan, 'interval': (0.5, math.inf), 'rows': [[1.0, -math.inf], 'nan']}
    said = finite(given)
    assert said == {'share': None, 'interval': [0.5, None], 'rows': [[1.0, None], 'nan']}
    assert json.loads(json.dumps(said, allow_nan=False)) == said


def answers(count: int, *, fixes: bool, told: bool) -> list[Answer]:
    """One a second along the line, 10 cm off; told: all that the core tells and the node not."""
    more = {'covariance': np.eye(6)} if fixes else {}
    if told:
        more |= {'similarity': 0.5, 'is_calibrated': True}
    return [
        Answer(
            second * 10**9,
            np.array([at(second + 0.1)]),
            at(second + 0.1) if fixes else None,
            0.9 if told else math.nan,
            {'search': 1.0 + second},
            similar=np.array([at(second)]) if told else None,
            **more,
        )
        for second in range(count)
    ]


def evaluated(*, fixes: bool = True, told: bool = True, count: int = 20) -> Evaluation:
    given = answers(count, fixes=fixes, told=told)
    counts = {'unusable': 2, 'dropped': 3, 'node_latency_ms': {'total': {'p50': 5.0, 'p95': 6.0}}}
    return evaluate(given, Line(count), Places(), TOLERANCE, **counts)


def test_the_json_has_the_keys_that_it_always_had_in_their_order() -> None:
    found = as_json(evaluated())
    assert list(found) == KEYS
    assert found == json.loads(json.dumps(found, allow_nan=False))
    for name in ('recall', 'single_image', 'recall_interval'):
        assert set(found[name]) == SHARES
    assert set(found['position_error_m']) == set(found['heading_error_deg']) == SPREAD
    assert set(found['calibration']) == {'error', 'promised', 'true', 'count'}
    assert found['latency_ms']['total'] == {'p50': 5.0, 'p95': 6.0}
    assert set(found['latency_ms']['search']) == {'p50', 'p95', 'p99'}
    for name in ('recall_interval', *(key for key in KEYS[1:] if key.endswith('_interval'))):
        ends = found[name]['1'] if name == 'recall_interval' else found[name]
        assert isinstance(ends, list) and len(ends) == 2
    counts = {'queries': 20, 'database': 50, 'frames': 20, 'unusable': 2, 'dropped': 3}
    assert {name: found[name] for name in counts} == counts


def test_what_does_not_exist_is_null_in_the_json() -> None:
    found = as_json(evaluated(fixes=False, told=False))
    for name in (
        'single_image', 'calibration', 'false_fixes', 'average_precision', 'inside_ellipse',
        'recall_at_full_precision', 'time_to_first_fix_s',
    ):  # fmt: skip
        assert found[name] is None, name
    assert found['false_fixes_interval'] == [None, None]
    assert found['position_error_m'] == {'median': None, 'p90': None}
    assert found['recall']['1'] == 1.0 and found['recall']['5'] is None


def test_the_table_says_each_figure_once() -> None:
    rows = as_table(evaluated(), TOLERANCE).splitlines()
    labels = [row[:22].rstrip() for row in rows]
    assert len(set(labels)) == len(labels)
    assert rows[0] == 'right within          2 m'
    assert rows[1].startswith('Recall@1              1.000   [')
    assert 'answered              100.0%   of the queries got a fix' in rows
    assert 'position error        0.1 m   at the median, 90 % within 0.1 m' in rows
    assert 'dropped               3   images, for newer ones' in rows
    assert 'latency search        10.5 ms   at the median, 95 % within 19.1 ms' in rows
    assert 'nan' not in '\n'.join(rows)


def test_the_table_says_what_is_not_known_and_leaves_out_what_does_not_apply() -> None:
    said = as_table(evaluated(fixes=False, told=False), TOLERANCE)
    for label in ('false fixes', 'calibration error', 'position error', 'heading error'):
        assert f'{label:<22}–   not known' in said
    for label in ('inside the ellipse', 'time to first fix', 'average precision', 'one image'):
        assert label not in said


def test_of_fixes_off_the_map_it_is_said_how_many_are_false() -> None:
    """The map ends at 49 m; 2 m further no place is within the radius, but a pose may be."""
    given = [
        Answer(second * 10**9, np.array([at(49)]), at(second), 0.9, {}) for second in range(60)
    ]
    assert (
        'fixes off the map     8   where the map has no place; 0 false, the others within the '
        'radius all the same'
    ) in as_table(evaluate(given, Line(60), Places(), TOLERANCE), TOLERANCE)
    given[55] = replace(given[55], pose=at(49))
    assert '8   where the map has no place; 1 false,' in as_table(
        evaluate(given, Line(60), Places(), TOLERANCE), TOLERANCE
    )
    lost = [replace(answer, pose=at(0)) for answer in given]
    assert '8   where the map has no place; they count as false' in as_table(
        evaluate(lost, Line(60), Places(), TOLERANCE), TOLERANCE
    )


def test_the_headline_shows_the_same_words_as_the_table() -> None:
    found = evaluated()
    table, shown = as_table(found, TOLERANCE), headline(found).figures
    assert [figure.label for figure in shown] == [
        'Recall@1', 'not on the map', 'dropped', 'answered', 'of the answerable', 'false fixes',
        'average precision', 'time to first fix', 'position error', 'heading error',
        'mean offset', 'inside the ellipse',
    ]  # fmt: skip
    for figure in shown:
        assert f'{figure.label:<22}{figure.value}   {figure.note}'.rstrip() in table.splitlines()
    tones = {figure.label: figure.tone for figure in shown}
    assert (tones['false fixes'], tones['dropped']) == ('good', 'silent')


def test_each_key_is_in_the_list_once() -> None:
    assert len({shown.key for shown in FIGURES}) == len(FIGURES)


def test_judged_answers_are_taken_apart_and_put_together_again() -> None:
    judged = evaluated().judged
    first = np.arange(20) < 7
    both = Judged.joined([judged.of(first), judged.of(~first)])
    assert both.answers == judged.answers
    for name in ('truth', 'rank', 'unmatchable', 'right', 'single_rank'):
        np.testing.assert_array_equal(getattr(both, name), getattr(judged, name))
    assert both.drive.tolist() == [0] * 7 + [1] * 13


def test_pooled_drives_add_up_what_their_answers_do_not_say() -> None:
    one = evaluated().provenance
    two = pooled([evaluated(), evaluated(count=10)]).provenance
    assert (two.frames, two.unusable, two.dropped) == (30, 4, 6)
    assert (two.database, two.node_latency_ms) == (one.database, one.node_latency_ms)
    wide = replace(one, has_heading=False, extent=Extent.of(100 * np.eye(3)))
    for order in ((one, wide), (wide, one)):
        both = Provenance.joined(order)
        assert both.extent is wide.extent and not both.has_heading


def test_judged_is_made_by_keywords_only() -> None:
    with pytest.raises(TypeError):
        Judged([], *([np.empty(0)] * 6))
