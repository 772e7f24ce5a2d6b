"""Cells tell which of some candidates an image shows: correspondences, votes and scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpr_ros.core.matching.bits import packed
from vpr_ros.core.matching.correspondences import correspondences
from vpr_ros.core.matching.displacement import SCALES, WINDOW, agreement
from vpr_ros.core.matching.scores import match_scores

GRID = (20, 20)
NUMBERS = 64


def scene(seed: int, rows: int = 40, columns: int = 40, numbers: int = NUMBERS) -> np.ndarray:
    """Numbers of cells of something large, of which images show parts."""
    return np.random.default_rng(seed).standard_normal((rows, columns, numbers))


def seen(
    numbers: np.ndarray, top: int, left: int, *, noise: float = 0.0, seed: int = 0
) -> np.ndarray:
    """The bits of a part of a scene, GRID large."""
    part = numbers[top : top + GRID[0], left : left + GRID[1]]
    noisy = part + noise * np.random.default_rng(seed).standard_normal(part.shape)
    return packed(noisy.astype(np.float16))


def naive_correspondences(query: np.ndarray, place: np.ndarray) -> list[tuple[int, int, int]]:
    """Query's cell, place's cell and Hamming distance, pair by pair."""
    apart = np.array([[np.unpackbits(one ^ other).sum() for other in place] for one in query])
    found = []
    for one, row in enumerate(apart):
        other = int(row.argmin())
        if row[other] == apart[:, other].min():
            found.append((one, other, int(row[other])))
    return found


def naive_agreement(
    pairs: list[tuple[int, int, int]], grid: tuple[int, int], numbers: int
) -> float:
    """The best window at the best scale, by loops."""
    rows, columns = grid
    best = 0.0
    for scale in SCALES:
        votes: dict[tuple[int, int], float] = {}
        for one, other, distance in pairs:
            ours, theirs = divmod(one, columns), divmod(other, columns)
            centre = (rows - 1) / 2, (columns - 1) / 2
            down, right = (
                int(np.rint((theirs[axis] - centre[axis]) - scale * (ours[axis] - centre[axis])))
                for axis in (0, 1)
            )
            if abs(down) < rows and abs(right) < columns:
                weight = max(1 - 2 * distance / numbers, 0) ** 2
                votes[down, right] = votes.get((down, right), 0) + weight
        half = WINDOW // 2
        for down in range(-rows, rows + 1):
            for right in range(-columns, columns + 1):
                near = [
                    weight
                    for (y, x), weight in votes.items()
                    if abs(y - down) <= half and abs(x - right) <= half
                ]
                best = max(best, sum(near))
    return best / (rows * columns)


def test_bits_are_signs_row_by_row() -> None:
    cells = np.full((2, 3, 16), -0.25, dtype=np.float16)
    cells[1, 2, 0] = cells[1, 2, 9] = 0.25
    bits = packed(cells)
    assert bits.shape == (6, 2) and bits.dtype == np.uint8
    assert bits[:5].sum() == 0
    assert bits[5].tolist() == [0b10000000, 0b01000000]


@given(st.integers(0, 2**31), st.sampled_from([(4, 5, 8), (3, 3, 48), (5, 2, 64), (2, 6, 192)]))
def test_correspondences_equal_a_loop_over_pairs_of_cells(
    seed: int, form: tuple[int, int, int]
) -> None:
    rows, columns, numbers = form
    rng = np.random.default_rng(seed)
    query = rng.integers(0, 256, (rows * columns, numbers // 8), dtype=np.uint8)
    places = rng.integers(0, 256, (3, *query.shape), dtype=np.uint8)
    places[1, ::2] = query[::2]
    found = correspondences(query, places)
    for candidate, place in enumerate(places):
        expected = naive_correspondences(query, place)
        ours = found.candidate == candidate
        pairs = zip(found.query_cell[ours], found.place_cell[ours], strict=True)
        assert list(pairs) == [(one, other) for one, other, _ in expected]
        cosine = [1 - 2 * distance / numbers for *_, distance in expected]
        np.testing.assert_allclose(found.similarity[ours], cosine, rtol=1e-5)


@given(st.integers(0, 2**31), st.sampled_from([(4, 5), (6, 3)]))
def test_the_score_equals_a_loop_over_windows(seed: int, grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    query = rng.integers(0, 256, (grid[0] * grid[1], 2), dtype=np.uint8)
    places = rng.integers(0, 256, (2, *query.shape), dtype=np.uint8)
    places[0] = np.roll(query.reshape(*grid, 2), 1, axis=1).reshape(query.shape)
    expected = [
        naive_agreement(naive_correspondences(query, place), grid, numbers=16) for place in places
    ]
    np.testing.assert_allclose(match_scores(query, places, grid), expected, rtol=1e-5)


def test_the_same_image_has_a_score_of_one_and_another_next_to_none() -> None:
    query, other = seen(scene(0), 0, 0), seen(scene(1), 0, 0)
    same, strange = match_scores(query, np.stack([query, other]), GRID)
    assert same == pytest.approx(1)
    assert strange < 0.03


@pytest.mark.parametrize('down, right', [(0, 3), (4, 0), (-5, 2)])
def test_a_camera_that_has_turned_is_recognized(down: int, right: int) -> None:
    world = scene(2)
    query = seen(world, 10, 10)
    turned = seen(world, 10 + down, 10 + right, noise=0.7, seed=3)
    strangers = [seen(scene(seed), 0, 0) for seed in range(4, 8)]
    scores = match_scores(query, np.stack([*strangers, turned]), GRID)
    assert scores.argmax() == 4
    assert scores[4] > 3 * scores[:4].max()


@pytest.mark.parametrize('scale', [0.7, 1.4])
def test_a_camera_that_has_come_nearer_is_recognized(scale: float) -> None:
    world = scene(5, *GRID)
    rows, columns = (
        np.clip(np.rint(9.5 + (np.arange(20) - 9.5) * scale), 0, 19).astype(int) for _ in range(2)
    )
    nearer = world[np.ix_(rows, columns)]
    scores = match_scores(
        seen(nearer, 0, 0), np.stack([seen(world, 0, 0), seen(scene(6), 0, 0)]), GRID
    )
    assert scores[0] > 3 * scores[1]


def test_votes_of_one_candidate_do_not_reach_the_next() -> None:
    """The last rows of displacements of one lie before the first ones of the next."""
    query = seen(scene(7), 0, 0)
    shifted = seen(scene(7), 19, 19)  # one cell in common, in the far corner
    alone = [match_scores(query, place[None], GRID)[0] for place in (shifted, query)]
    together = match_scores(query, np.stack([shifted, query, shifted]), GRID)
    np.testing.assert_allclose(together, [alone[0], alone[1], alone[0]], rtol=1e-6)


def test_no_candidate_has_no_score() -> None:
    query = seen(scene(8), 0, 0)
    assert match_scores(query, query[None][:0], GRID).shape == (0,)
    assert agreement(correspondences(query, query[None][:0]), GRID, 0).shape == (0,)
