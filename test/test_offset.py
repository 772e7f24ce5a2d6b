"""What the fixes of a drive are off by in common, against offsets that were put in."""

import math

import numpy as np
import pytest
from test_evaluation import Line, Places, at

from vpr_ros.core.geometry import compose, yaw_quat
from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.figures import evaluate
from vpr_ros.evaluating.judging import Judged
from vpr_ros.evaluating.offset import Offset, offset_of
from vpr_ros.evaluating.shown_figures import as_json, as_table, headline
from vpr_ros.evaluating.tolerance import Tolerance

COUNT, SPEED_MPS, PERIOD_S = 120, 2.0, 0.5


def driven(seconds: float) -> np.ndarray:
    """Where a robot is that drives in a circle of 20 m, in its own heading."""
    angle = SPEED_MPS * seconds / 20.0
    position = [20 * np.sin(angle), 20 * (1 - np.cos(angle)), 0.0]
    return np.concatenate([position, yaw_quat(angle)])


def found(
    fix_of: object, *, count: int = COUNT, period_s: float = PERIOD_S, radius_m: float = 1.0
) -> Offset | None:
    """The offset of two drives' fixes: fix_of gives one, or None, for the time of an image."""
    seconds = [row * period_s for row in range(count)]
    none = np.empty((0, 7))
    answers = [
        Answer(round(second * 1e9), none, fix_of(second), 0.9, {})  # type: ignore[operator]
        for second in seconds
    ]
    rows = np.zeros(count, dtype=np.int64)
    judged = Judged(
        answers=answers,
        truth=np.stack([driven(second) for second in seconds]),
        rank=rows,
        right_first=rows == 0,
        unmatchable=rows > 0,
        right=rows == 0,
        drive=(np.arange(count) >= count // 2).astype(np.int64),
        single_rank=rows,
        other_direction=rows > 0,
    )
    return offset_of(judged, radius_m=radius_m)


def off_by(ahead: float, left: float, up: float, turn: float = 0.0) -> object:
    """Fixes that are off by as much in the robot's own axes, scattered, every tenth far away."""
    random = np.random.default_rng(0)

    def fix(second: float) -> np.ndarray:
        by = np.array([ahead, left, up, *yaw_quat(turn)])
        by[:3] += random.normal(0, 0.1, 3)
        if second % 5 == 0:
            by[0] += 30.0
        return compose(driven(second), by)

    return fix


def test_an_offset_in_the_robots_axes_is_found_among_false_fixes() -> None:
    offset = found(off_by(0.5, -0.8, -1.4, math.radians(3)))
    assert offset.mean_m == pytest.approx([0.5, -0.8, -1.4], abs=0.05)
    assert offset.turned_deg == pytest.approx(3.0)
    assert offset.fixes == COUNT * 9 // 10
    assert 0.1 < offset.scatter_m < 0.2 and offset.is_telling
    for mean, (low, high) in zip([0.5, -0.8, -1.4], offset.interval_m):
        assert low < mean < high and high - low < 0.1
    shown = offset.as_json()
    assert (shown['ahead_m'], shown['up_m_interval'][0]) == (
        offset.mean_m[0],
        offset.interval_m[2][0],
    )


@pytest.mark.parametrize('late_s', [0.3, -0.3, 3.0])
def test_a_clock_that_is_wrong_is_told_in_seconds(late_s: float) -> None:
    """Also one that makes every fix false."""
    offset = found(lambda second: driven(second + late_s))
    assert offset.late_s == pytest.approx(late_s, rel=0.05) and offset.is_telling
    assert offset.fixes == COUNT


def test_what_lies_beside_the_path_or_within_the_scatter_tells_nothing() -> None:
    assert not found(off_by(0.0, 0.9, 0.0)).is_telling
    assert not found(off_by(0.1, 0.0, 0.1)).is_telling


def test_what_one_of_two_drives_alone_is_off_by_is_not_sure() -> None:
    def fix(second: float) -> np.ndarray | None:
        if second < COUNT * PERIOD_S / 2:
            return compose(driven(second), at(0.9))
        return driven(second) if second % 2 == 0 else None

    offset = found(fix)
    assert offset.mean_m[0] > 3 * offset.scatter_m and not offset.is_telling


def test_a_robot_that_stands_has_an_offset_and_no_clock() -> None:
    offset = found(lambda second: compose(driven(0.0), at(0.5)), period_s=0.0)
    assert offset.mean_m[0] == pytest.approx(0.5) and math.isnan(offset.late_s)


def test_few_fixes_and_fixes_without_anything_in_common_have_none() -> None:
    assert found(off_by(0.5, 0, 0), count=9) is None
    assert found(lambda second: driven(second) if second < 4 else None) is None
    random = np.random.default_rng(0)
    assert found(lambda second: driven(random.uniform(0, 60))) is None


def test_the_table_says_what_an_offset_may_come_from() -> None:
    given = [Answer(row * 10**9, np.array([at(row)]), at(row + 0.4), 0.9, {}) for row in range(30)]
    evaluation = evaluate(given, Line(30), Places(), Tolerance(2.0))
    (line,) = [row for row in as_table(evaluation, Tolerance(2.0)).splitlines() if 'offset' in row]
    assert '0.40 m ahead   0.00 m left, 0.00 m up: what the fixes are off by in common' in line
    assert line.endswith('stamped 0.40 s late; check the clocks and the mounting')
    assert as_json(evaluation)['offset']['late_s'] == pytest.approx(0.4)
    (card,) = [card for card in headline(evaluation).figures if card.label == 'mean offset']
    assert (card.value, card.tone) == ('0.40 m ahead', 'bad')
    without = Line(30)
    without.has_heading = False  # nobody knows what is ahead
    assert evaluate(given, without, Places(), Tolerance(2.0)).offset is None
    few = evaluate(given[:5], Line(30), Places(), Tolerance(2.0))
    assert as_json(few)['offset'] is None and 'offset' not in as_table(few, Tolerance(2.0))


def test_a_camera_mounted_too_low_is_told_as_a_mounting() -> None:
    given = []
    for row in range(30):
        fix = at(row)
        fix[2] = -0.6
        given.append(Answer(row * 10**9, np.array([at(row)]), fix, 0.9, {}))
    said = as_table(evaluate(given, Line(30), Places(), Tolerance(2.0)), Tolerance(2.0))
    assert '0.60 m down   0.00 m left, 0.00 m ahead' in said
    assert 'check the mounting of the camera' in said and 'stamped' not in said
