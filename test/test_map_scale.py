"""Care of large maps: as the plain loops say, and in memory that does not grow with N x N."""

import math
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from worlds import straight_drive, unit_rows, write_map

from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.map_care import redundancy
from vpr_ros.map_care.check import Alias, check, distinct, find_gaps
from vpr_ros.map_care.recall import _themselves, map_recall, own_places
from vpr_ros.map_care.redundancy import Redundancy, standing_for

SIZE = 32


def wandering(count: int, *, seed: int = 0) -> np.ndarray:
    """Poses [count, 7] of a drive in steps of 1 to 12 m that crosses itself."""
    random = np.random.default_rng(seed)
    poses = straight_drive(count)
    steps = random.uniform(1, 3, count) * np.where(random.random(count) < 0.1, 4, 1)
    turns = np.cumsum(random.normal(0, 0.6, count))
    poses[:, 0] = np.cumsum(steps * np.cos(turns))
    poses[:, 1] = np.cumsum(steps * np.sin(turns))
    return poses


def made(folder: Path, count: int) -> PlaceMap:
    """A map of a wandering drive with descriptors of which every fifth repeats an older one."""
    rows = unit_rows(count, SIZE)
    rows[4::5] = rows[: len(rows[4::5])]
    header = MapHeader(model_name='test', model_sha256='a' * 64, descriptor_size=SIZE)
    with build(folder, header) as writer:
        for number, (row, pose) in enumerate(zip(rows, wandering(count))):
            writer.add(row, pose, stamp_ns=number // 2, name=f'{number}')
    return PlaceMap.open(folder)


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    return made(tmp_path_factory.mktemp('small') / 'map', 250)


@pytest.mark.parametrize('shortest_m', [2.0, 4.5, 9.0])
def test_gaps_are_those_of_the_plain_loop(small: PlaceMap, shortest_m: float) -> None:
    positions = small.poses[:, :3]

    def is_covered(start: np.ndarray, end: np.ndarray) -> bool:
        reach_m = shortest_m / 2
        count = 2 * min(math.ceil(np.linalg.norm(end - start) / shortest_m), 50)
        points = start + np.linspace(0, 1, count + 1)[:, None] * (end - start)
        return all(np.linalg.norm(positions - point, axis=1).min() <= reach_m for point in points)

    expected = {
        (place, place + 1)
        for place in range(len(small) - 1)
        if np.linalg.norm(positions[place + 1] - positions[place]) > shortest_m
        and not is_covered(positions[place], positions[place + 1])
    }
    found = find_gaps(small, shortest_m=shortest_m)
    assert {(gap.before, gap.after) for gap in found} == expected
    assert [gap.length_m for gap in found] == sorted((gap.length_m for gap in found), reverse=True)


@pytest.mark.parametrize('apart_m', [3.0, 15.0, 200.0])
def test_distinct_look_alikes_are_those_of_the_plain_loop(small: PlaceMap, apart_m: float) -> None:
    random = np.random.default_rng(1)
    pairs = random.integers(0, len(small), (150, 2)).tolist()
    aliases = [Alias(place, twin, 0.9, 0.5, 30.0) for place, twin in pairs]
    expected: list[Alias] = []
    for alias in aliases:
        pair = small.poses[[alias.place, alias.twin], :3]
        for other in expected:
            ends = small.poses[[other.place, other.twin], :3]
            apart = [np.linalg.norm(ends - each, axis=1).max() for each in (pair, pair[::-1])]
            if min(apart) <= apart_m:
                break
        else:
            expected.append(alias)
    assert distinct(aliases, small, apart_m) == expected


def test_the_kept_place_is_that_of_the_plain_loop(small: PlaceMap) -> None:
    limits = Redundancy(radius_m=4.0, heading_rad=np.pi, similarity=0.3)
    descriptors, positions = small.blocks[0], small.poses[:, :3]
    expected, kept = np.arange(len(small)), []
    for row in np.argsort(-small.stamps_ns, kind='stable').tolist():
        near = [
            place
            for place in kept
            if np.linalg.norm(positions[place] - positions[row]) <= limits.radius_m
            and descriptors[place] @ descriptors[row] >= limits.similarity
        ]
        if near:
            expected[row] = max(near, key=lambda place: descriptors[place] @ descriptors[row])
        else:
            kept.append(row)
    found = standing_for(small, limits)
    np.testing.assert_array_equal(found, expected)
    assert (found != np.arange(len(small))).sum() > 3


def test_a_place_is_kept_from_finding_itself_as_the_plain_loop_says(small: PlaceMap) -> None:
    images = own_places(small).images
    expected = [
        np.flatnonzero(
            (small.stamps_ns == stamp_ns) & (small.blocks[0] == descriptor).all(axis=1)
        ).tolist()
        for descriptor, stamp_ns in zip(images.descriptors, images.stamps_ns)
    ]
    assert [rows.tolist() for rows in _themselves(images, small)] == expected
    assert expected[0] == [0]


def test_places_of_one_moment_are_themselves_only_with_all_their_numbers(tmp_path: Path) -> None:
    rows, at_once = np.eye(3, 8, dtype=np.float32), np.zeros(3, np.int64)
    place_map = write_map(tmp_path / 'map', rows, straight_drive(3), stamps_ns=at_once)
    found = _themselves(own_places(place_map).images, place_map)
    assert [each.tolist() for each in found] == [[0], [1], [2]]


@pytest.mark.parametrize(
    ('radius_m', 'similarity', 'kept'), [(2.0, 1.0, 1), (1.9, 1.0, 0), (2.0, 1.1, 0)]
)
def test_a_place_stands_for_another_up_to_the_limits_themselves(
    tmp_path: Path, radius_m: float, similarity: float, kept: int
) -> None:
    alike = np.eye(1, 8, dtype=np.float32).repeat(2, axis=0)
    place_map = write_map(tmp_path / 'map', alike, straight_drive(2, spacing_m=2.0))
    found = standing_for(place_map, Redundancy(radius_m=radius_m, similarity=similarity))
    assert found.tolist() == [kept, 1]


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


VERBS: dict[str, Callable[[PlaceMap], object]] = {
    'check': lambda place_map: check(place_map, near_m=1, far_m=5),
    'prune': lambda place_map: standing_for(place_map, Redundancy()),
    'recall': lambda place_map: map_recall(own_places(place_map), place_map, Tolerance(5.0)),
}


def test_memory_grows_with_the_places_and_not_with_their_square(tmp_path: Path) -> None:
    """Eight times the places; a matrix of all pairs as float32 would be 10 MB."""
    few, many = made(tmp_path / 'few', 200), made(tmp_path / 'many', 1600)
    for name, verb in VERBS.items():
        before, after = (peak_bytes(partial(verb, place_map)) for place_map in (few, many))
        assert after < min(12 * before + 1e6, 4 * 1600**2 / 2), name


def test_places_on_one_spot_are_compared_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A robot that stands still: every place is near every other, and none alike."""
    monkeypatch.setattr(redundancy, '_AT_ONCE', 50)
    rows = unit_rows(400, 512)
    place_map = write_map(tmp_path / 'map', rows, straight_drive(400, spacing_m=1e-5))
    peak = peak_bytes(lambda: standing_for(place_map, Redundancy()))
    assert peak < rows.nbytes / 2
