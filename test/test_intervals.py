"""Intervals hold what they promise: by sums by hand, and on drives made up again and again."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.core.intervals import (
    BLOCK,
    block_length,
    clopper_pearson,
    difference_interval,
    drive_interval,
    wilson,
)


def at_most(hits: int, count: int, share: float) -> float:
    """How probable at most so many hits are, summed term by term."""
    return sum(
        math.comb(count, number) * share**number * (1 - share) ** (count - number)
        for number in range(hits + 1)
    )


def drive(count: int, share: float, stretch: float, random: np.random.Generator) -> np.ndarray:
    """Answers that stay right, or wrong, for a stretch of so many frames on average."""
    starts = random.random(count) < 1 / stretch
    starts[0] = True
    return (random.random(starts.sum()) < share)[np.cumsum(starts) - 1]


@given(count=st.integers(1, 80), data=st.data())
@settings(max_examples=60, deadline=None)
def test_beyond_the_exact_interval_what_was_seen_is_improbable(
    count: int, data: st.DataObject
) -> None:
    hits = data.draw(st.integers(0, count))
    low, high = clopper_pearson(hits, count)
    assert low <= hits / count <= high
    if hits:
        assert 1 - at_most(hits - 1, count, low) == pytest.approx(0.025, abs=1e-6)
    if hits < count:
        assert at_most(hits, count, high) == pytest.approx(0.025, abs=1e-6)


def test_the_exact_interval_of_many_answers_is_computed_too() -> None:
    low, high = clopper_pearson(100, 100_000)
    assert 0.0008 < low < 0.001 < high < 0.0013


@given(share=st.floats(0, 1), count=st.floats(0.1, 1e6))
def test_wilsons_ends_are_where_the_share_is_two_deviations_away(
    share: float, count: float
) -> None:
    low, high = wilson(share, count)
    assert 0 <= low <= share + 1e-9 and share - 1e-9 <= high <= 1
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            deviation = math.sqrt(end * (1 - end) / count)
            assert abs(share - end) / deviation == pytest.approx(1.959964, rel=1e-3)


def test_of_nothing_nothing_is_known() -> None:
    assert wilson(0.0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)
    assert all(map(math.isnan, drive_interval(np.empty(0, dtype=bool))))


@pytest.mark.parametrize('stretch', [1, 6, 12])
def test_the_interval_of_a_drive_holds_the_true_share_where_neighbours_go_together(
    stretch: int,
) -> None:
    random = np.random.default_rng(stretch)
    drives = [drive(300, 0.8, stretch, random) for _ in range(80)]
    intervals = [drive_interval(hits) for hits in drives]
    held = np.mean([low <= 0.8 <= high for low, high in intervals])
    assert held >= 0.85
    if stretch > 1:  # as if frames were independent
        naive = [wilson(float(hits.mean()), len(hits)) for hits in drives]
        assert np.mean([low <= 0.8 <= high for low, high in naive]) <= held - 0.2


def test_a_stretch_is_as_long_as_neighbours_go_together() -> None:
    random = np.random.default_rng(0)
    lengths = [
        np.mean([block_length(drive(600, 0.5, s, random) * 1.0, least=1) for _ in range(10)])
        for s in (1, 8, 30)
    ]
    assert lengths[0] < 5 < lengths[1] < lengths[2]
    assert block_length(np.ones(600)) == BLOCK  # which tells nothing
    assert block_length(np.ones(9)) == 3


def test_a_drive_without_mistakes_tells_as_much_as_it_has_stretches() -> None:
    assert drive_interval(np.zeros(200, dtype=bool)) == wilson(0.0, 200 / BLOCK)
    one = np.arange(200) == 50
    assert drive_interval(one)[1] >= drive_interval(np.zeros(200, dtype=bool))[1]


def test_several_drives_are_drawn_as_wholes() -> None:
    random = np.random.default_rng(1)
    shares = random.random(12)
    hits = np.concatenate([random.random(100) < share for share in shares])
    number = np.repeat(np.arange(12), 100)
    as_one, as_twelve = (
        drive_interval(random.permutation(hits)),
        drive_interval(hits, drive=number),
    )
    assert as_twelve[1] - as_twelve[0] > 2 * (as_one[1] - as_one[0])
    low, high = as_twelve
    assert low < hits.mean() < high


def test_a_difference_that_comes_in_one_stretch_is_less_sure() -> None:
    before, spread = np.zeros((2, 400), dtype=bool)
    spread[::10] = True
    together = np.arange(400) // 10 % 10 == 0
    assert spread.sum() == together.sum()
    widths = [
        high - low
        for low, high in (difference_interval(before, after) for after in (spread, together))
    ]
    assert widths[1] > 1.5 * widths[0]


def test_a_difference_between_independent_answers_has_the_usual_interval() -> None:
    before, after = np.zeros((2, 400), dtype=bool)
    before[:20], after[20:80] = True, True  # 20 are lost and 60 gained, which is 0.1 more
    order = np.random.default_rng(0).permutation(400)
    deviation = np.sqrt((80 / 400 - 0.1**2) / 400)
    found = difference_interval(before[order], after[order])
    np.testing.assert_allclose(found, [0.1 - 1.96 * deviation, 0.1 + 1.96 * deviation], atol=0.01)
    assert difference_interval(before, before) == (0.0, 0.0)


@pytest.mark.parametrize('queries', [1, 6, 100])
@pytest.mark.parametrize('changed', [1, 3, 5, 6, 20])
def test_a_few_changes_that_all_go_one_way_may_be_chance(queries: int, changed: int) -> None:
    """By the sign test five of five may, with 0.0625, and six of six may not, with 0.031."""
    before, after = np.zeros((2, queries), dtype=bool)
    after[np.random.default_rng(1).permutation(queries)[:changed]] = True
    low, high = difference_interval(before, after)
    assert low <= after.mean() <= high
    assert (low > 0) == (after.sum() >= 6)
    assert difference_interval(after, before) == pytest.approx((-high, -low), abs=0.02)


def test_a_drive_without_misses_is_not_sure_to_have_none() -> None:
    assert drive_interval(np.ones(200, dtype=bool)) == wilson(1.0, 200 / BLOCK)
