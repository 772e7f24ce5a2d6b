"""Recall, index and retrieval against naive loops."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import unit_rows

from vpr_ros.core.intervals import wilson
from vpr_ros.core.mapping.index import ExactIndex, best_of
from vpr_ros.core.recall import precision_recall, recall_at, recall_of_ranks


@given(
    queries=st.integers(1, 12),
    places=st.integers(1, 30),
    k=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_recall_equals_a_naive_count(queries: int, places: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranked = np.array([rng.permutation(places)[:k] for _ in range(queries)])
    positives = [
        rng.choice(places, rng.integers(0, min(4, places + 1)), replace=False)
        for _ in range(queries)
    ]
    found = recall_at(ranked, positives, (1, 3, 5))
    for n in (1, 3, 5):
        hits = 0
        for row, true_rows in zip(ranked, positives, strict=True):
            hits += any(place in true_rows for place in row[:n])
        assert found.at[n] == pytest.approx(hits / queries)
    assert found.unmatchable == sum(len(true_rows) == 0 for true_rows in positives)


def test_missing_answers_are_not_mistaken_for_the_last_place() -> None:
    assert recall_at(np.array([[-1, -1]]), [np.array([-1, 3])], (1,)).at[1] == 0.0


def test_recall_of_a_drive_is_less_sure_than_that_of_as_many_photos() -> None:
    ranks = np.where(np.arange(400) % 80 < 60, 0, -1)  # right and wrong in long stretches
    nothing = np.zeros(400, dtype=bool)
    alone = recall_of_ranks(np.random.default_rng(0).permutation(ranks), nothing, (1,))
    driven = recall_of_ranks(ranks, nothing, (1,), least=10)
    assert alone.at[1] == driven.at[1] == 0.75
    widths = [high - low for low, high in (alone.interval[1], driven.interval[1])]
    assert widths[1] > 1.5 * widths[0]


def test_a_photo_tells_for_itself_and_a_frame_with_its_neighbours() -> None:
    ranks, nothing = np.zeros(200, dtype=np.int64), np.zeros(200, dtype=bool)
    assert recall_of_ranks(ranks, nothing, (1,)).interval[1] == wilson(1.0, 200)
    assert recall_of_ranks(ranks, nothing, (1,), least=10).interval[1] == wilson(1.0, 20)


def test_full_precision_ends_at_the_first_wrong_answer() -> None:
    right = np.arange(16) != 10  # 15 of 16, of which ten are surer than the wrong one
    found = precision_recall(-np.arange(16.0), right, np.ones(16, dtype=bool))
    assert found is not None and found.recall_at_full_precision == 10 / 16


@pytest.mark.parametrize('queries', [1, 7])
@pytest.mark.parametrize('sizes', [(40,), (13, 1, 26), (0, 40)])
def test_search_over_blocks_equals_sorting_all_similarities(
    queries: int, sizes: tuple[int, ...]
) -> None:
    rows, asked = unit_rows(40, 16, 1), unit_rows(queries, 16, 2)
    index = ExactIndex(np.split(rows, np.cumsum(sizes)[:-1]))
    similarity, found = index.search(asked, 5)
    all_similarities = asked @ rows.T
    np.testing.assert_array_equal(found, np.argsort(-all_similarities, axis=1)[:, :5])
    np.testing.assert_allclose(similarity, -np.sort(-all_similarities, axis=1)[:, :5], rtol=1e-5)


def test_a_scan_shared_by_threads_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, query = unit_rows(40, 16, 1), unit_rows(1, 16, 2)
    monkeypatch.setattr('vpr_ros.core.mapping.index._THREAD_READS', 100)
    index = ExactIndex([rows[:25], rows[25:26], rows[26:]])
    np.testing.assert_allclose(index.similarities(query[0]), rows @ query[0], atol=1e-6)
    assert index.search(query, 5)[1].tolist() == [np.argsort(-(rows @ query[0]))[:5].tolist()]


WATCHED = """
import time
import numpy as np
from vpr_ros.core.mapping.index import ExactIndex
rows = np.random.default_rng(0).standard_normal((2000, 3072), dtype=np.float32)
index = ExactIndex([rows])
index.similarities(rows[0])
used = 0.0
for row in rows[:10]:
    index.similarities(row)
    before = time.process_time()
    time.sleep(0.05)
    used += time.process_time() - before
print(used)
"""


def test_a_search_leaves_no_thread_waiting_in_a_loop() -> None:
    done = subprocess.run(
        [sys.executable, '-c', WATCHED], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 0.2  # of 0.5 s of sleep; BLAS would use them all


def test_asking_for_more_places_than_there_are_gives_all_of_them() -> None:
    similarity, found = ExactIndex([unit_rows(3, 8, 0)]).search(unit_rows(2, 8, 1), 10)
    assert similarity.shape == found.shape == (2, 3)
    assert ExactIndex([]).search(unit_rows(2, 8, 1), 10)[0].shape == (2, 0)
    assert ExactIndex([]).search(unit_rows(1, 8, 1), 10)[0].shape == (1, 0)
    nowhere, query = np.empty(0, np.int64), unit_rows(1, 8, 1)[0]
    assert ExactIndex([]).similarities(query).shape == (0,)
    assert ExactIndex([unit_rows(3, 8, 0)]).search_among(nowhere, query, 5)[1].tolist() == []


def test_equal_similarities_come_in_row_order() -> None:
    similarity, rows = best_of(np.array([0.5, 0.9, 0.5, 0.9], dtype=np.float32), 4)
    assert rows.tolist() == [1, 3, 0, 2]
    assert (np.diff(similarity) <= 0).all()


def naive_precision_recall(scores, right, matchable):
    """Every threshold tried, every answer counted."""
    points = []
    for threshold in sorted(set(scores), reverse=True):
        accepted = [row for row, score in enumerate(scores) if score >= threshold]
        true = sum(right[row] for row in accepted)
        points.append((threshold, true / len(accepted), true / sum(matchable)))
    return points


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), min_size=1, max_size=40)
)
def test_precision_and_recall_equal_a_naive_loop(rows):
    scores = np.array([score / 7 for score, _, _ in rows])
    matchable = np.array([can for _, _, can in rows])
    right = np.array([is_right and can for _, is_right, can in rows])
    found = precision_recall(scores, right, matchable)
    if not matchable.any():
        assert found is None
        return
    expected = naive_precision_recall(scores.tolist(), right.tolist(), matchable.tolist())
    np.testing.assert_allclose(
        np.stack([found.threshold, found.precision, found.recall], axis=1), expected
    )
    area, before = 0.0, 0.0
    for _, precision, recall in expected:
        area += (recall - before) * precision
        before = recall
    assert found.average_precision == pytest.approx(area)
    flawless = [recall for _, precision, recall in expected if precision == 1]
    assert found.recall_at_full_precision == max(flawless, default=0.0)


def test_a_perfect_ranking_has_average_precision_one():
    scores, right = np.array([0.9, 0.8, 0.2]), np.array([True, True, False])
    found = precision_recall(scores, right, right)
    assert found.average_precision == found.recall_at_full_precision == 1.0
