"""Cells tell which of some candidates an image shows: correspondences, votes and scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpr_ros.core.matching.bits import packed
from vpr_ros.core.matching.correspondences import Correspondences, correspondences
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


def naive_nearest(query: np.ndarray, place: np.ndarray) -> list[tuple[int, int, bool]]:
    """Of each of the query's cells: the nearest, its Hamming distance, whether it is mutual."""
    apart = np.array([[np.unpackbits(one ^ other).sum() for other in place] for one in query])
    found = []
    for row in apart:
        other = int(row.argmin())
        found.append((other, int(row[other]), row[other] == apart[:, other].min()))
    return found


def naive_correspondences(
    query: np.ndarray, places: np.ndarray
) -> list[list[tuple[int, int, float]]]:
    """Of each candidate: the query's cell, the candidate's, and what they tell, pair by pair."""
    numbers = 8 * query.shape[1]
    nearest = [naive_nearest(query, place) for place in places]
    usual = [np.mean([one[cell][1] for one in nearest]) for cell in range(len(query))]
    return [
        [
            (cell, other, (usual[cell] - distance) / (numbers / 2))
            for cell, (other, distance, is_mutual) in enumerate(one)
            if is_mutual and distance < usual[cell] - 1e-6
        ]
        for one in nearest
    ]


def naive_agreement(pairs: list[tuple[int, int, float]], grid: tuple[int, int]) -> float:
    """The best window at the best scale, by loops."""
    rows, columns = grid
    best = 0.0
    for scale in SCALES:
        votes: dict[tuple[int, int], float] = {}
        for one, other, telling in pairs:
            ours, theirs = divmod(one, columns), divmod(other, columns)
            centre = (rows - 1) / 2, (columns - 1) / 2
            down, right = (
                int(np.rint((theirs[axis] - centre[axis]) - scale * (ours[axis] - centre[axis])))
                for axis in (0, 1)
            )
            if abs(down) < rows and abs(right) < columns:
                votes[down, right] = votes.get((down, right), 0) + telling**2
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
    for candidate, expected in enumerate(naive_correspondences(query, places)):
        ours = found.candidate == candidate
        pairs = zip(found.query_cell[ours], found.place_cell[ours], strict=True)
        assert list(pairs) == [(one, other) for one, other, _ in expected]
        tell = [telling for *_, telling in expected]
        np.testing.assert_allclose(found.telling[ours], tell, rtol=1e-4, atol=1e-6)


@given(st.integers(0, 2**31), st.sampled_from([(4, 5), (6, 3)]))
def test_the_score_equals_a_loop_over_windows(seed: int, grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    query = rng.integers(0, 256, (grid[0] * grid[1], 2), dtype=np.uint8)
    places = rng.integers(0, 256, (2, *query.shape), dtype=np.uint8)
    places[0] = np.roll(query.reshape(*grid, 2), 1, axis=1).reshape(query.shape)
    expected = [naive_agreement(pairs, grid) for pairs in naive_correspondences(query, places)]
    np.testing.assert_allclose(match_scores(query, places, grid), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('grid', [(13, 9), (9, 14)])
def test_votes_on_a_grid_larger_than_a_window_equal_a_loop_over_windows(
    grid: tuple[int, int],
) -> None:
    """Of more candidates than lie side by side; some of the pairs moved together."""
    rng = np.random.default_rng(grid[0])
    cells, columns, candidates = grid[0] * grid[1], grid[1], 7
    pairs: list[list[tuple[int, int, float]]] = []
    for _ in range(candidates):
        cell, other = rng.integers(0, cells, (2, 24))
        moved = (cell[:8] + 2 * columns + 1) % cells
        found = zip(cell, [*moved, *other[8:]], rng.uniform(0.1, 0.6, 24).astype(np.float32))
        pairs.append([(int(one), int(two), float(tell)) for one, two, tell in found])
    columns_of = [np.array(column) for column in zip(*[pair for one in pairs for pair in one])]
    found = Correspondences(
        candidate=np.repeat(np.arange(candidates), 24),
        query_cell=columns_of[0],
        place_cell=columns_of[1],
        telling=columns_of[2].astype(np.float32),
    )
    expected = [naive_agreement(one, grid) for one in pairs]
    np.testing.assert_allclose(agreement(found, grid, candidates), expected, rtol=1e-4)


def test_the_same_image_stands_out_of_others() -> None:
    query, others = seen(scene(0), 0, 0), [seen(scene(seed), 0, 0) for seed in range(1, 5)]
    scores = match_scores(query, np.stack([query, *others]), GRID)
    assert scores[0] > 20 * scores[1:].max()


def test_cells_that_every_candidate_has_tell_nothing() -> None:
    """The upper half is sky, in all images the same; the lower half is of one place alone."""
    sky, ground = scene(9, *GRID), scene(10, *GRID)
    images = []
    for seed in (10, 11, 12, 13):
        image = scene(seed, *GRID)
        image[:10] = sky[:10]
        images.append(seen(image, 0, 0))
    query = np.concatenate([sky[:10], ground[10:]])
    found = correspondences(seen(query, 0, 0), np.stack(images))
    assert set(found.query_cell[found.candidate == 0] // 20) == set(range(10, 20))


def test_of_one_candidate_alone_nothing_is_told() -> None:
    query = seen(scene(0), 0, 0)
    assert match_scores(query, query[None], GRID).tolist() == [0]


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
    strangers = [seen(scene(seed), 0, 0) for seed in range(6, 10)]
    scores = match_scores(seen(nearer, 0, 0), np.stack([seen(world, 0, 0), *strangers]), GRID)
    assert scores[0] > 3 * scores[1:].max()


@pytest.mark.parametrize('strong', [0, 1, 5, 11])
def test_votes_of_one_candidate_do_not_reach_the_others(strong: int) -> None:
    """The last displacements of one lie before the first ones of the next."""
    telling = np.full(24, 0.1, np.float32)
    telling[[2 * strong, 2 * strong + 1]] = 1
    found = Correspondences(
        candidate=np.repeat(np.arange(12), 2),
        query_cell=np.tile([0, 399], 12),  # the corners, which are farthest apart
        place_cell=np.tile([399, 0], 12),
        telling=telling,
    )
    expected = np.full(12, 0.01 / 400)
    expected[strong] = 1 / 400
    np.testing.assert_allclose(agreement(found, GRID, 12), expected, rtol=1e-5)


def test_no_candidate_has_no_score() -> None:
    query = seen(scene(8), 0, 0)
    assert match_scores(query, query[None][:0], GRID).shape == (0,)
    assert agreement(correspondences(query, query[None][:0]), GRID, 0).shape == (0,)
