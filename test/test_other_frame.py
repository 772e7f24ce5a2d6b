"""True poses of another frame than the map's are told, with the turn and shift between them."""

import numpy as np
import pytest
from test_evaluation import Line, Places, at

from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.figures import evaluate
from vpr_ros.evaluating.other_frame import OtherFrame, other_frame_of
from vpr_ros.evaluating.shown_figures import as_json, as_table, headline
from vpr_ros.evaluating.tolerance import Tolerance

RADIUS_M = 2.0


def route(count: int = 120) -> np.ndarray:
    """Positions along two streets that meet at a corner, and up a slope, [count, 3]."""
    along = np.linspace(0, 100, count)
    return np.stack([np.minimum(along, 60), np.maximum(along - 60, 0), along / 50], axis=1)


def turned(positions: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return positions @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def fixes_of(truth: np.ndarray, *, false: float = 0.0) -> np.ndarray:
    """Fixes with some decimetres of noise; a share of them lies anywhere."""
    random = np.random.default_rng(0)
    fixes = truth + random.normal(0, 0.3, truth.shape)
    wrong = random.random(len(fixes)) < false
    fixes[wrong, :2] = random.uniform(-100, 100, (wrong.sum(), 2))
    return fixes


@pytest.mark.parametrize('degrees', [50.0, -170.0, 0.0])
def test_a_turn_and_a_shift_are_found_among_false_fixes(degrees: float) -> None:
    moved_m = np.array([10.0, -20.0, 5.0])
    fixes = fixes_of(turned(route(), degrees) + moved_m, false=0.3)
    other = other_frame_of(fixes, route(), radius_m=RADIUS_M)
    assert other is not None and (other.is_mirrored, other.scale) == (False, 1.0)
    assert other.turned_deg == pytest.approx(degrees, abs=1.0)
    assert other.moved_m == pytest.approx(moved_m, abs=0.5)
    assert 0.6 < other.agreeing / other.fixes < 0.8 and other.fixes == 120
    assert str(other).startswith(f'turned by {round(degrees)} deg and moved by (')


def test_another_scale_and_exchanged_axes_are_told_as_that() -> None:
    scaled = other_frame_of(fixes_of(route()), 0.4 * route(), radius_m=RADIUS_M)
    assert scaled is not None and scaled.scale == pytest.approx(2.5, rel=0.05)
    assert 'multiplied by 2.' in str(scaled) and not scaled.is_mirrored
    winding = route()
    winding[:, 1] += 10 * np.sin(winding[:, 0] / 5)
    mirrored = other_frame_of(fixes_of(winding), winding[:, [1, 0, 2]], radius_m=RADIUS_M)
    assert mirrored is not None and mirrored.is_mirrored and mirrored.scale == 1.0
    assert str(mirrored).startswith('exchanged in x and y, turned by')


def test_right_fixes_chance_and_a_robot_that_stands_tell_nothing() -> None:
    def found(fixes: np.ndarray, truth: np.ndarray) -> OtherFrame | None:
        return other_frame_of(fixes, truth, radius_m=RADIUS_M)

    assert found(fixes_of(route(), false=0.45), route()) is None
    anywhere = np.random.default_rng(1).uniform(0, 100, (120, 3)) * [1, 1, 0]
    assert found(anywhere, route()) is None
    assert found(np.zeros((120, 3)), np.full((120, 3), 50.0)) is None
    assert found(np.zeros((120, 3)), route()) is None  # every fix in one place
    assert found(route(9) + 50.0, route(9)) is None
    assert found(route()[:0], route()[:0]) is None


def test_the_table_says_what_to_do_and_calls_a_clock_a_clock() -> None:
    def said(*, ahead: float = 0.0, left: float = 0.0) -> tuple[str, dict[str, object], list[str]]:
        given = []
        for row in range(30):
            fix = at(row + ahead)
            fix[1] += left
            given.append(Answer(row * 10**9, np.array([at(row)]), fix, 0.9, {}))
        found = evaluate(given, Line(30), Places(), Tolerance(RADIUS_M))
        labels = [figure.label for figure in headline(found).figures]
        return as_table(found, Tolerance(RADIUS_M)), as_json(found), labels

    table, figures, labels = said(left=40.0)
    (line,) = [row for row in table.splitlines() if row.startswith('another frame')]
    assert '30 of 30 fixes   are right if the true positions are turned by 0 deg and' in line
    assert line.endswith('map and drive have different frames; take poses of both in one')
    assert figures['other_frame']['moved_m'] == pytest.approx([0.0, 40.0, 0.0])
    assert 'another frame' in labels and 'check the' not in table
    table, figures, labels = said(ahead=5.0)  # by the way of some seconds
    assert 'check the clocks' in table and 'another frame' not in table + ''.join(labels)
    table, figures, _ = said()
    assert figures['other_frame'] is None and 'another frame' not in table
