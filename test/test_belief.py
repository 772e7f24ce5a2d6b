"""A drive tells more than its images: the filter over places, speeds and elsewhere."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import unit_rows

from vpr_ros.core.localizing.belief import SPEEDS, Belief
from vpr_ros.core.localizing.block_weights import BlockWeights
from vpr_ros.core.mapping.background import WholeBackground, map_background
from vpr_ros.core.mapping.grid import PlaceGrid, place_grid
from vpr_ros.core.mapping.index import ExactIndex

PLACES = 120
SECOND = 10**9


def line(count: int, spacing_m: float = 1.0) -> np.ndarray:
    """Positions [count, 3] along x."""
    return np.arange(count)[:, None] * np.array([spacing_m, 0, 0])


def stamps(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * SECOND


def fresh(count: int = PLACES, **options: float) -> Belief:
    """A belief over places a metre and a second apart."""
    flat = WholeBackground(np.zeros(count, np.float32), np.ones(count, np.float32))
    return Belief(place_grid(line(count), stamps(count)), flat, **options)


def glimpse(place: int, seed: int, *, count: int = PLACES, height: float = 3.0) -> np.ndarray:
    """A row of noise in which one place stands out a little: no image alone can be trusted."""
    row = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    row[place] += height
    return row


def drive(belief: Belief, places: list[int], **options: float) -> list[int]:
    """The best place after each frame, one frame a second."""
    start = 0 if belief._stamp_ns is None else belief._stamp_ns // SECOND + 1
    best = []
    for frame, place in enumerate(places):
        belief.step(
            glimpse(place, seed=1000 * place + frame),
            stamp_ns=(start + frame) * SECOND,
            **options,
        )
        best.append(int(belief.places(1)[0][0]))
    return best


def right_share(best: list[int], places: list[int], within: int = 1) -> float:
    return float(np.mean(np.abs(np.array(best) - np.array(places)) <= within))


@pytest.mark.parametrize(
    'places',
    [
        list(range(10, 90)),
        list(range(100, 20, -1)),
        list(range(0, 120, 2)),
        [30 + frame // 2 for frame in range(80)],
        [int(20 + 1.3 * frame) for frame in range(70)],
        [*range(20, 50), *[50] * 20, *range(50, 80)],
    ],
    ids=['forwards', 'backwards', 'twice as fast', 'half as fast', 'odd speed', 'with a stop'],
)
def test_a_drive_is_followed_where_single_images_fail(places: list[int]) -> None:
    alone = [
        int(np.argmax(glimpse(place, seed=1000 * place + frame)))
        for frame, place in enumerate(places)
    ]
    followed = drive(fresh(), places)
    half = len(places) // 3
    assert right_share(alone, places) < 0.75
    assert right_share(followed[half:], places[half:], within=2) > 0.85


def test_weights_and_elsewhere_sum_to_one_in_every_frame() -> None:
    belief = fresh()
    for frame in range(50):
        belief.step(glimpse(frame, frame), stamp_ns=frame * SECOND)
        assert float(belief.cells.sum()) + belief.elsewhere == pytest.approx(1, abs=1e-4)
        assert (belief.cells >= 0).all()


def test_carried_to_another_place_it_lets_go_and_finds_the_new_one() -> None:
    belief = fresh()
    drive(belief, list(range(10, 50)))
    after = drive(belief, list(range(90, 115)))
    assert right_share(after[15:], list(range(105, 115))) == 1.0


def test_noise_alone_is_elsewhere() -> None:
    belief = fresh()
    drive(belief, list(range(10, 50)))
    for frame in range(40):
        belief.step(glimpse(0, 7000 + frame, height=0.0), stamp_ns=(100 + frame) * SECOND)
    assert belief.elsewhere > 0.5


def test_the_same_image_again_and_again_proves_nothing() -> None:
    frozen, row = fresh(), glimpse(40, 1)
    frozen.step(row, stamp_ns=0)
    once = float(frozen.cells.max())
    for frame in range(1, 30):
        frozen.step(row, stamp_ns=frame * SECOND)
    assert float(frozen.cells.max()) <= once


def test_frames_that_show_nothing_lower_what_is_believed_and_never_raise_it() -> None:
    belief = fresh()
    drive(belief, list(range(10, 50)))
    heights, away = [float(belief.cells.max())], [belief.elsewhere]
    for frame in range(10):
        belief.step(glimpse(50 + frame, frame), stamp_ns=(40 + frame) * SECOND, evidence=0.0)
        heights.append(float(belief.cells.max()))
        away.append(belief.elsewhere)
    assert heights == sorted(heights, reverse=True) and heights[-1] < 0.9 * heights[0]
    assert away == sorted(away)


def test_what_all_images_of_a_drive_share_is_no_evidence() -> None:
    """One place looks like every image of this drive, by its weather alone."""
    weather = np.zeros(PLACES, np.float32)
    weather[7] = 8.0
    belief, best = fresh(), []
    for frame in range(60):
        belief.step(glimpse(20 + frame, frame, height=4.0) + weather, stamp_ns=frame * SECOND)
        best.append(int(belief.places(1)[0][0]))
    assert right_share(best[30:], list(range(50, 80))) > 0.9


def test_odometry_carries_the_belief_where_images_say_nothing() -> None:
    belief = fresh(max_speed_mps=2.0)
    drive(belief, list(range(10, 40)), travelled_m=1.0)
    for frame in range(10):
        belief.step(
            glimpse(0, frame),
            stamp_ns=(100 + frame) * SECOND,
            travelled_m=1.0,
            evidence=0.0,
        )
    assert abs(int(belief.places(1)[0][0]) - 49) <= 3


def test_a_known_region_takes_all_weight() -> None:
    belief = fresh()
    drive(belief, list(range(10, 30)))
    inside = np.zeros(PLACES, dtype=bool)
    inside[80:90] = True
    belief.restrict(np.flatnonzero(inside), on_map=True)
    belief.step(glimpse(85, 3), stamp_ns=20 * SECOND)
    assert 77 <= int(belief.places(1)[0][0]) <= 92
    belief.restrict(np.empty(0, dtype=np.int64), on_map=True)
    assert float(belief.cells.sum()) > 0


def test_gps_leaves_open_that_the_robot_is_off_the_map() -> None:
    belief, inside = fresh(), np.arange(PLACES) < 10
    for frame in range(3):
        belief.step(glimpse(5, frame), stamp_ns=frame * SECOND)
    elsewhere, on_map = belief.elsewhere, belief.cells[:10].sum()
    belief.restrict(np.flatnonzero(inside), on_map=False)
    assert belief.elsewhere == pytest.approx(elsewhere / (elsewhere + on_map), rel=1e-3)
    belief.step(glimpse(5, 9), stamp_ns=3 * SECOND)
    assert belief.cells.sum() + belief.elsewhere == pytest.approx(1, abs=1e-4)


def test_an_image_that_is_like_one_place_alone_leaves_weights_that_are_numbers() -> None:
    """Its place stands out by 200 standard deviations, beyond what float32 has exponents for."""
    belief = fresh(40_000)
    row = np.zeros(40_000, np.float32)
    row[7] = 1
    told = np.array([7]), np.array([3], np.float32)
    for frame in range(2):
        belief.step(row, stamp_ns=frame * SECOND, told=told)
        assert belief.cells[7] == pytest.approx(1, abs=1e-3)
        assert belief.cells.sum() + belief.elsewhere == pytest.approx(1, abs=1e-3)


def test_reset_forgets_the_drive() -> None:
    belief, new = fresh(), fresh()
    drive(belief, list(range(10, 50)))
    belief.reset()
    row = glimpse(60, 1)
    belief.step(row, stamp_ns=0)
    new.step(row, stamp_ns=0)
    np.testing.assert_array_equal(belief.cells, new.cells)


def test_a_crossing_leads_onto_the_other_branch() -> None:
    """Two streets cross at place 30 and place 90; the robot turns from one into the other."""
    first = np.stack([np.arange(60.0), np.zeros(60), np.zeros(60)], axis=1)
    second = np.stack([np.full(60, 30.0), np.arange(60.0) - 30, np.zeros(60)], axis=1)
    grid = place_grid(np.concatenate([first, second]), stamps(120))
    crossing = {(30, grid.place_of_cell.tolist().index(90))}
    assert crossing <= set(zip(grid.link_from.tolist(), grid.link_to.tolist(), strict=True))
    assert (grid.place_of_cell == -1).sum() == 2  # the break between the two streets
    flat = WholeBackground(np.zeros(120, np.float32), np.ones(120, np.float32))
    belief = Belief(grid, flat)
    turning = [*range(10, 31), *range(91, 118)]
    best = drive(belief, turning)
    assert right_share(best[30:], turning[30:]) > 0.9


def naively_shifted(row: np.ndarray, cells: float) -> np.ndarray:
    moved = np.zeros(len(row))
    whole = int(np.floor(cells))
    for cell, weight in enumerate(row.tolist()):
        for to, share in ((cell + whole, 1 - cells + whole), (cell + whole + 1, cells - whole)):
            if 0 <= to < len(row):
                moved[to] += share * weight
    return moved


@given(st.integers(2, 70), st.floats(-90, 90, allow_nan=False))
def test_moving_is_a_shift_with_linear_interpolation(size: int, cells: float) -> None:
    weights = BlockWeights(np.arange(size), len(SPEEDS), is_whole=True)
    weight = np.random.default_rng(size).random((len(SPEEDS), size)).astype(np.float32)
    weights.at_work[:, 0] = weight
    shifts = cells * SPEEDS
    weights.move(shifts, np.empty(0, np.int64), stays=1.0, arrives=0.0)
    for row, shift, out in zip(weight, shifts, weights.at_work[:, 0], strict=True):
        np.testing.assert_allclose(out, naively_shifted(row, float(shift)), atol=1e-5)


class InLoops:
    """The filter in loops over speeds, cells and "elsewhere"; each cell of the grid is a place."""

    def __init__(self, grid: PlaceGrid, background: WholeBackground) -> None:
        self.grid, self.map, count = grid, background, len(grid)
        self.weight = np.full((len(SPEEDS), count), 0.5 / (len(SPEEDS) * count))
        self.elsewhere, self.frames, self.stamp_s, self.held_m = 0.5, 0, 0.0, 0.0
        self.seen: dict[int, list] = {}  # of each camera: background, its frames, last heights

    def step(
        self,
        query: np.ndarray,
        stamp_s: float,
        *,
        evidence: float = 1.0,
        travelled_m: float | None = None,
        told: dict[int, float] | None = None,
        camera: int = 0,
        sees: np.ndarray | None = None,
    ) -> None:
        seen = self.seen.setdefault(camera, [self.map.mean.astype(np.float64), 10.0, None])
        contrast = query - seen[0]
        row = (contrast - contrast.mean()) / self.map.distance
        heights, novelty = (row - row.mean()) / row.std(), 1.0
        if evidence > 0 and seen[2] is not None:
            novelty = min(max((1 - (heights * seen[2]).mean()) / 0.02, 0.0), 1.0)
        moved_m = None if travelled_m is None else travelled_m + self.held_m
        elapsed_s = max(stamp_s - self.stamp_s, 0.0)
        self.stamp_s = max(self.stamp_s, stamp_s)
        self.held_m = 0.0
        if novelty < 0.01 and (moved_m or 0.0) < 0.1:
            self.held_m = moved_m or 0.0
            return
        counts = evidence * novelty
        if counts > 0:
            seen[1] += counts
            seen[0] = seen[0] + counts / seen[1] * contrast
            seen[2] = heights
        self.move(elapsed_s, moved_m)
        for place in range(len(self.grid)):
            shown = place if sees is None else sees[place]
            if shown >= 0:
                nats = counts * (0.6 * (heights[shown] - 1.5) + (told or {}).get(shown, 0.0))
                self.weight[:, place] *= np.exp(nats)
        total = self.weight.sum() + self.elsewhere
        self.weight, self.elsewhere = self.weight / total, self.elsewhere / total

    def move(self, elapsed_s: float, travelled_m: float | None) -> None:
        self.frames += 1
        links = zip(self.grid.link_from, self.grid.link_to, self.grid.link_turns)
        going = {place: 0.02 * self.weight[:, place] for place in self.grid.link_from}
        for here, there, turns in links:
            self.weight[:, here] -= going[here]
            self.weight[:, there] += going[here][::-1] if turns else going[here]
        before, last = self.weight.copy(), len(SPEEDS) - 1
        leaves = min(1e-2 + 2e-3 * elapsed_s, 0.5)
        for row, share in enumerate(SPEEDS.tolist()):
            mixed = before[row]
            if self.frames % 3 == 0:  # speeds change, up and down in turn
                source = row - 1 if self.frames % 6 else row + 1
                mixed = 0.94 * mixed + 0.06 * before[min(max(source, 0), last)]
            shift = 2 * self.grid.mapping_speed_mps * share * elapsed_s
            if travelled_m is not None:
                shift = np.sign(share) * (0.75 + 0.5 * abs(share)) * travelled_m
            moved = naively_shifted((1 - leaves) * mixed, shift / self.grid.cell_m)
            self.weight[row] = moved + 0.1 * self.elsewhere / before.size
        self.elsewhere = 0.9 * self.elsewhere + leaves * (1 - self.elsewhere)


def test_every_frame_is_what_bayes_rule_says() -> None:
    """Against loops: on branches, by two cameras, with and without odometry and evidence."""
    random, count = np.random.default_rng(3), 80
    grid = place_grid(curl(count), stamps(count))
    background = WholeBackground(
        random.normal(0, 0.3, count).astype(np.float32),
        random.uniform(0.5, 2, count).astype(np.float32),
    )
    belief, loops = Belief(grid, background), InLoops(grid, background)
    sees = np.roll(np.arange(count), 9)
    sees[20:30] = -1
    told = np.array([14, 8]), np.array([1.5, 0.5], np.float32)
    frames: list[dict[str, Any]] = [{} for _ in range(20)]
    frames[2] = {'evidence': 0.5}
    frames[4] = {'told': told}
    frames[5] = {'camera': 1, 'places_seen': sees}
    frames[6] = {'travelled_m': 1.3}
    frames[7] = {'camera': 1, 'places_seen': sees, 'told': told}
    frames[8] = {'evidence': 0.0, 'travelled_m': 0.4}
    for again, travelled_m in ((10, 0.04), (11, 0.05), (12, 0.03), (13, 0.0), (14, None)):
        frames[again] = {'travelled_m': travelled_m}
    moments_s = np.arange(20) + np.where(np.arange(20) > 16, 200.0, 0.0)
    moments_s[4] = 2.5  # it comes late
    row = before = np.zeros(count, np.float32)
    for frame, (extras, stamp_s) in enumerate(zip(frames, moments_s.tolist(), strict=True)):
        if not 10 <= frame <= 14:  # when the images repeat each other
            row = glimpse(8 + frame, frame, count=count)
        if frame == 16:  # as near the last one as the next image of a slow robot
            row = before + 0.05 * row
        before = row
        novelty = belief.step(row, stamp_ns=round(stamp_s * SECOND), **extras)
        assert frame != 16 or 0.01 < novelty < 0.9
        naive = dict(extras)
        naive['sees'] = naive.pop('places_seen', None)
        naive['told'] = dict(zip(*told, strict=True)) if 'told' in naive else None
        loops.step(row, stamp_s, **naive)
        np.testing.assert_allclose(
            belief.cells, loops.weight.sum(axis=0), rtol=2e-3, atol=1e-6, err_msg=f'frame {frame}'
        )
        assert belief.elsewhere == pytest.approx(loops.elsewhere, rel=2e-3)
        speeds = loops.weight.sum(axis=1) / loops.weight.sum()
        np.testing.assert_allclose(belief.standing().speeds, speeds, rtol=2e-3, atol=1e-5)


def test_the_grid_has_a_cell_per_place_and_none_across_a_jump() -> None:
    even = place_grid(line(50, 2.0), stamps(50))
    assert even.place_of_cell.tolist() == list(range(50))
    assert even.cell_m == 2.0 and even.mapping_speed_mps == 2.0
    far = line(50, 2.0)
    far[25:] += 500
    assert len(place_grid(far, stamps(50))) == 52
    standing = np.concatenate([line(20), np.tile([[19.0, 0, 0]], (30, 1))])
    assert len(place_grid(standing, stamps(50))) == 20
    alone = place_grid(line(1), stamps(1))
    assert len(alone) == 1


def test_the_mapping_speed_is_that_of_the_moving_robot() -> None:
    standing = np.concatenate([line(20, 2.0), np.tile([[38.0, 0, 0]], (30, 1))])
    assert place_grid(standing, 4 * stamps(50)).mapping_speed_mps == 0.5
    jumping = standing + np.where(np.arange(50) >= 10, 500.0, 0.0)[:, None]
    assert place_grid(jumping, 4 * stamps(50)).mapping_speed_mps == 0.5
    assert place_grid(line(20, 2.0), np.zeros(20, np.int64)).mapping_speed_mps == 2.0


def curl(count: int) -> np.ndarray:
    """Positions [count, 3] a metre apart on a path that comes near itself again and again."""
    random = np.random.default_rng(4)
    turns = np.where(np.arange(count) // 30 % 2, 0.3, -0.3) + random.normal(0, 0.1, count)
    yaw, pitch = np.cumsum(turns), random.normal(0, 0.05, count)
    steps = [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)]
    return np.cumsum(np.stack(steps, axis=1), axis=0)


def test_links_lead_to_the_nearest_place_of_another_branch() -> None:
    """Against a loop over pairs of places."""
    positions = curl(200)
    grid = place_grid(positions, stamps(200))
    assert grid.cell_m == pytest.approx(1) and len(grid) == 200  # a cell is a place
    expected = []
    for here in range(200):
        apart_m = np.linalg.norm(positions - positions[here], axis=1)
        apart_m[max(here - 5, 0) : here + 6] = np.inf  # the same branch
        there = int(apart_m.argmin())
        if apart_m[there] < 1.5:
            ways = (
                positions[min(place + 1, 199)] - positions[max(place - 1, 0)]
                for place in (here, there)
            )
            expected.append((here, there, bool(np.dot(*ways) < 0)))
    found = zip(grid.link_from.tolist(), grid.link_to.tolist(), grid.link_turns.tolist())
    assert list(found) == expected
    assert len(expected) > 40 and {turns for *_, turns in expected} == {True, False}


def test_a_drive_is_driven_the_way_it_was_up_to_its_ends() -> None:
    """Beside its last places the next drive passes the same way, and starts far behind."""
    first, second = line(30), line(80) + np.array([-40.0, 1, 0])
    grid = place_grid(np.concatenate([first, second]), stamps(110))
    assert 29 in grid.link_from
    assert not grid.link_turns.any()


def test_uneven_places_lie_on_the_grid_by_distance() -> None:
    positions = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 0, 0], [6, 0, 0]])
    grid = place_grid(positions, stamps(5))
    assert grid.cell_m == 1.5
    nearest = [
        int(np.argmin(np.abs(positions[:, 0] - cell * grid.cell_m))) for cell in range(len(grid))
    ]
    apart_m = np.abs(positions[grid.place_of_cell, 0] - np.arange(len(grid)) * grid.cell_m)
    nearest_m = np.abs(positions[nearest, 0] - np.arange(len(grid)) * grid.cell_m)
    np.testing.assert_allclose(apart_m, nearest_m)


def test_the_background_is_the_mean_over_the_map() -> None:
    rows = unit_rows(40, 16)
    background = map_background(ExactIndex([rows[:25], rows[25:]]))
    np.testing.assert_allclose(background.mean, (rows @ rows.T).mean(axis=1), atol=1e-5)
    apart = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    np.testing.assert_allclose(background.distance, apart, atol=1e-5)


def test_what_else_is_heard_of_places_moves_weight_to_or_from_them() -> None:
    belief = fresh()
    drive(belief, list(range(10, 20)))
    heard = np.arange(19, 23)
    before = belief.cells[heard].sum()
    belief.hear(heard, 1.0)
    more = belief.cells[heard].sum()
    assert more > before
    assert belief.cells.sum() + belief.elsewhere == pytest.approx(1.0, abs=1e-5)
    belief.hear(heard, -1.0)
    np.testing.assert_allclose(belief.cells[heard].sum(), before, rtol=1e-4)
