"""Which places of a map are right at a pose: as the plain loop says, in little memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.core.geometry import yaw_quat
from vpr_ros.evaluating.tolerance import Tolerance, TruePlaces


def poses(count: int, *, side_m: float, seed: int, flat: bool = False) -> np.ndarray:
    """Level poses [count, 7] in a square, one position in three on a grid of half metres."""
    random = np.random.default_rng(seed)
    found = np.zeros((count, 7))
    found[:, :3] = random.uniform(-side_m / 2, side_m / 2, (count, 3)) * [1, 1, 0 if flat else 0.1]
    found[::3, :3] = np.round(2 * found[::3, :3]) / 2
    for row, yaw in enumerate(random.uniform(-np.pi, np.pi, count)):
        found[row, 3:] = yaw_quat(yaw)
    return found


@given(
    seed=st.integers(0, 10_000),
    radius_m=st.sampled_from([1e-9, 0.5, 1.0, 2.5, 40.0, 1e6]),
    heading_rad=st.sampled_from([None, 0.3, np.pi]),
    count=st.integers(0, 60),
)
@settings(deadline=None, max_examples=60)
def test_the_right_places_are_those_that_the_loop_finds(
    seed, radius_m, heading_rad, count
) -> None:
    places, queries = poses(count, side_m=20, seed=seed), poses(20, side_m=30, seed=seed + 1)
    queries[: len(places[:20])] = places[:20]
    tolerance = Tolerance(radius_m, heading_rad)
    right = TruePlaces(places, tolerance)
    for query in queries:
        expected = [
            row for row, place in enumerate(places) if bool(tolerance.accepts(place, query))
        ]
        assert right.rows(query).tolist() == expected
    missing = [not right.rows(query).size for query in queries]
    assert right.missing(queries).tolist() == missing


def test_without_a_true_pose_no_place_is_right() -> None:
    right = TruePlaces(poses(10, side_m=3, seed=0), Tolerance(1e9))
    assert not right.rows(np.full(7, np.nan)).size
    assert right.missing(np.full((2, 7), np.nan)).all() and not len(
        right.missing(np.empty((0, 7)))
    )


def test_a_pose_far_off_the_map_has_no_right_place() -> None:
    right = TruePlaces(poses(10, side_m=3, seed=0), Tolerance(1.0))
    for far_m in (1e3, 1e9, 1e300):
        assert not right.rows(np.array([far_m, -far_m, 0, 0, 0, 0, 1.0])).size


@pytest.mark.parametrize('side_m', [2000.0, 1.0])
def test_20000_places_are_searched_in_little_memory(side_m: float) -> None:
    """All 300 queries against all places at once were 140 MB; spread out or on one spot."""
    places = poses(20_000, side_m=side_m, seed=1, flat=True)
    queries = poses(300, side_m=1.2 * side_m, seed=2, flat=True)
    tolerance = Tolerance(8.0, np.radians(60.0))
    tracemalloc.start()
    missing = TruePlaces(places, tolerance).missing(queries)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6
    expected = [not tolerance.accepts(places, query).any() for query in queries]
    assert missing.tolist() == expected
    assert side_m < 10 or 0 < missing.sum() < 300
