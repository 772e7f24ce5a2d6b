"""On a large map the filter works on what stands out, and answers as the exact one does."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_belief import curl
from test_codes import another_look, clustered_rows
from worlds import straight_drive, write_map

from vpr_ros.core.localizing.belief import Belief
from vpr_ros.core.localizing.block_weights import MOST_BLOCKS
from vpr_ros.core.localizing.config import LocalizerConfig
from vpr_ros.core.localizing.localizer import Localizer
from vpr_ros.core.localizing.query import Prior, Query
from vpr_ros.core.localizing.retrieve import places_inside
from vpr_ros.core.mapping import background as background_module
from vpr_ros.core.mapping import codes as codes_module
from vpr_ros.core.mapping.background import SampledBackground, map_background
from vpr_ros.core.mapping.grid import PlaceGrid, place_grid
from vpr_ros.core.mapping.index import CodedIndex, ExactIndex, best_of
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.positions import Positions, stretches
from vpr_ros.core.types import Descriptors

PLACES, SIZE = 100_000, 32
SECOND = 10**9
LOOK_ALIKES = 40  # stretches of 60 places that are found a second time elsewhere


def routes(count: int, size: int, look_alikes: int = LOOK_ALIKES) -> Descriptors:
    """Descriptors along a drive, in which neighbours are alike and some stretches come twice."""
    rng = np.random.default_rng(0)
    scales = (1 / np.sqrt(np.arange(1, size + 1))).astype(np.float32)
    rows = rng.standard_normal((count, size), dtype=np.float32)
    for place in range(1, count):
        rows[place] = 0.9 * rows[place - 1] + np.sqrt(1 - 0.9**2) * rows[place]
    for here, there in rng.integers(0, count - 60, (look_alikes, 2)).tolist():
        rows[there : there + 60] = rows[here : here + 60] + 0.15 * rng.standard_normal((60, size))
    rows *= scales
    rows[:, 0] += 1.2
    return unit(rows)


def unit(rows: Descriptors) -> Descriptors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def seen_again(rows: Descriptors, seed: int) -> Descriptors:
    """Another drive along places: noise in each image, and what all images of the drive share."""
    scales = 1 / np.sqrt(np.arange(1, rows.shape[1] + 1))
    rng = np.random.default_rng(seed)
    shared = 0.3 * rng.standard_normal(rows.shape[1]) * scales
    noise = rng.standard_normal(rows.shape) * scales
    return unit(rows * np.linalg.norm(scales) + shared + noise)


def line(count: int) -> PlaceGrid:
    """Places a metre and a second apart."""
    positions = np.arange(count)[:, None] * np.array([1.0, 0, 0])
    return place_grid(positions, np.arange(count) * SECOND)


def test_frame_by_frame_it_agrees_with_the_exact_filter_among_look_alikes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, grid = routes(PLACES, SIZE), line(PLACES)
    index = ExactIndex([rows])
    large = map_background(index)
    monkeypatch.setattr(background_module, 'EVERY_PLACE', PLACES)
    whole = map_background(index)
    assert whole.has_all and not large.has_all
    begun = 7_000 + np.arange(30)
    carried = np.concatenate([begun, 71_000 + 2 * np.arange(40)])
    same, apart, sure, right = [], [], [], []
    exact, sparse = Belief(grid, whole), Belief(grid, large)
    for frame, query in enumerate(seen_again(rows[carried], seed=1)):
        row = index.similarities(query)
        found = [best_of(row, 25)[1]]
        found.append(best_of(index.similarities(sparse.contrast(query)), sparse.looks_at)[1])
        exact.step(row, stamp_ns=frame * SECOND)
        sparse.step(query, stamp_ns=frame * SECOND, likely=np.concatenate(found))
        (best, weight), (place, share) = exact.places(1), sparse.places(1)
        same.append(best[0] == place[0])
        apart.append(abs(weight[0] - share[0]))
        sure.append(weight[0] > 0.2)
        right.append(abs(place[0] - carried[frame]) <= 2)
    assert np.mean(same) >= 0.9
    assert np.mean(np.array(same)[sure]) >= 0.98
    assert np.median(apart) < 0.01
    assert all(right[20:30]) and all(right[-15:])
    assert sparse.cells.sum() + sparse.elsewhere == pytest.approx(1, abs=1e-3)


def both(
    monkeypatch: pytest.MonkeyPatch, rows: Descriptors, grid: PlaceGrid
) -> tuple[Belief, Belief]:
    """The exact filter and that of a large map, whose sample is all of it."""
    monkeypatch.setattr(background_module, '_SAMPLE', len(rows))
    index = ExactIndex([rows])
    exact, sparse = Belief(grid, map_background(index)), Belief(grid, SampledBackground(index))
    assert exact.needs_every_place and not sparse.needs_every_place
    return exact, sparse


def assert_same(sparse: Belief, exact: Belief, *, share: float) -> None:
    """Weights agree to within a share of them."""
    np.testing.assert_allclose(sparse.cells, exact.cells, rtol=share, atol=1e-7)
    assert sparse.elsewhere == pytest.approx(exact.elsewhere, rel=share)
    speeds = exact.standing().speeds
    np.testing.assert_allclose(sparse.standing().speeds, speeds, rtol=share, atol=1e-6)


@pytest.mark.parametrize('way', [1, -1], ids=['forwards', 'backwards'])
def test_it_is_the_exact_filter_while_all_of_a_map_is_at_work_and_follows_it_after(
    monkeypatch: pytest.MonkeyPatch, way: int
) -> None:
    """Told by cells, landmarks and GPS; then the robot drives on in the dark."""
    count = 600
    rows = routes(count, SIZE, look_alikes=2)
    exact, sparse = both(monkeypatch, rows, line(count))
    path = 300 + way * np.arange(30)
    for frame, query in enumerate(seen_again(rows[path], seed=4)):
        told = path[frame] + np.array([3, 0, -200]), np.array([0.2, 0.9, 0.4], np.float32)
        given = {
            'stamp_ns': frame * SECOND,
            'travelled_m': 1.0 if frame % 2 else None,
            'told': told,
        }
        exact.step(rows @ query, **given)
        sparse.step(query, likely=np.arange(count), **given)
        for belief in (exact, sparse):
            if frame in (10, 20):
                belief.hear(path[frame] + np.arange(-2, 30), -0.5)
            if frame == 15:
                belief.restrict(np.arange(200, 400), on_map=False)
        assert_same(sparse, exact, share=1e-3)
    assert exact.places(1)[1][0] > 0.2
    steps_m = [1.0] * 25 + [37.0] + [1.0] * 10  # past the ends of several blocks
    for frame, travelled_m in enumerate(steps_m, 30):
        given = {'stamp_ns': frame * SECOND, 'travelled_m': travelled_m, 'evidence': 0.0}
        exact.step(rows @ rows[0], **given)
        sparse.step(rows[0], **given)
        (best, weight), (place, share) = exact.places(1), sparse.places(1)
        assert abs(place[0] - best[0]) <= 1 and share[0] == pytest.approx(weight[0], rel=0.1)
        assert sparse.elsewhere == pytest.approx(exact.elsewhere, rel=0.02)
    assert abs(int(place[0]) - (300 + way * (29 + 72))) < 20
    assert len(sparse._weights.blocks) < 25


def test_branches_lead_where_they_do_in_the_exact_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for those between places of hardly any weight."""
    count = 300
    rows = routes(count, SIZE, look_alikes=0)
    grid = place_grid(curl(count), np.arange(count) * SECOND)
    assert len(grid.link_from) > 100
    exact, sparse = both(monkeypatch, rows, grid)
    for frame, query in enumerate(seen_again(rows[150:170], seed=4)):
        exact.step(rows @ query, stamp_ns=frame * SECOND)
        sparse.step(query, stamp_ns=frame * SECOND, likely=np.arange(count))
        assert_same(sparse, exact, share=0.06)
    for frame in range(20, 26):
        for belief, query in ((exact, rows @ rows[0]), (sparse, rows[0])):
            belief.step(query, stamp_ns=frame * SECOND, evidence=0.0)
        np.testing.assert_allclose(sparse.cells, exact.cells, rtol=0.3, atol=1e-3)
    assert len(sparse._weights.blocks) < 19


def test_its_work_does_not_grow_with_the_map() -> None:
    rows = routes(20_000, SIZE)
    belief = Belief(line(20_000), SampledBackground(ExactIndex([rows])))
    for frame, query in enumerate(seen_again(rows[500:530], seed=2)):
        likely = best_of(rows @ query, 25)[1]
        belief.step(query, stamp_ns=frame * SECOND, likely=likely)
    assert belief.places(1)[0][0] in range(527, 532)
    assert len(belief._weights.blocks) <= 25 + MOST_BLOCKS
    for frame in range(30):  # once it is sure, hardly anything but what is found is at work
        belief.step(rows[530 + frame], stamp_ns=(30 + frame) * SECOND, likely=np.array([530]))
    assert len(belief._weights.blocks) < 20


def test_a_known_region_takes_all_weight_of_a_large_map_and_gives_it_back() -> None:
    rows = routes(20_000, SIZE)
    belief = Belief(line(20_000), SampledBackground(ExactIndex([rows])))
    for inside in (np.arange(300, 340), np.arange(2_000, 12_000)):  # few, and more than fit
        belief.reset()
        belief.restrict(inside, on_map=True)
        cells = belief.cells
        assert cells[inside[-1] + 20 :].max() <= (0 if len(inside) < 100 else cells[inside].max())
        assert belief.elsewhere == 0
        belief.restrict(inside, on_map=False)
        belief.step(rows[inside[5]], stamp_ns=0, likely=inside[:20])
        assert belief.places(1)[0][0] in inside
        belief.step(rows[inside[6]], stamp_ns=SECOND, likely=inside[:20])
        assert belief.cells.sum() + belief.elsewhere == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize('on_map', [True, False])
@pytest.mark.parametrize('inside', [np.arange(300, 340), np.arange(2_000, 12_000)])
def test_outside_of_a_known_region_no_place_of_a_large_map_has_weight(
    monkeypatch: pytest.MonkeyPatch, inside: np.ndarray, on_map: bool
) -> None:
    """Few places, and more than fit; a map that is exchanged in between takes these weights."""
    count = 20_000
    rows = routes(count, SIZE)
    monkeypatch.setattr(background_module, 'EVERY_PLACE', count)
    exact, sparse = both(monkeypatch, rows, line(count))
    for belief in (exact, sparse):
        belief.restrict(inside, on_map=on_map)
    assert_same(sparse, exact, share=1e-4)
    for frame, query in enumerate(seen_again(rows[inside[5] + np.arange(6)], seed=2)):
        sparse.step(query, stamp_ns=frame * SECOND, likely=best_of(rows @ query, 25)[1])
        standing = sparse.standing()
        assert standing.weight.sum() + standing.elsewhere == pytest.approx(1, abs=1e-4)
        after = Belief(line(count), SampledBackground(ExactIndex([rows])))
        after.begin_at(standing)
        assert after.cells.sum() + after.elsewhere == pytest.approx(1, abs=1e-4)
        if frame < 4:  # then it goes on without
            sparse.restrict(inside, on_map=on_map)
            share_outside = sparse.cells.sum() - sparse.cells[inside].sum()
            assert share_outside == pytest.approx(0, abs=1e-6)


def test_a_sample_tells_what_the_whole_row_tells() -> None:
    rows = routes(20_000, SIZE)
    index = ExactIndex([rows])
    sampled = SampledBackground(index)
    contrast = rows[77] - sampled.mean
    centred = rows - rows.mean(axis=0)
    exact = (centred / np.linalg.norm(centred, axis=1, keepdims=True)) @ contrast
    row = sampled.row(contrast)
    assert row.std() == pytest.approx(exact.std(), rel=0.05)
    assert row.mean() == pytest.approx(exact.mean(), abs=0.1 * exact.std())
    places = np.array([3, 77, 19_999])
    np.testing.assert_allclose(
        sampled.row_at(places, contrast), exact[places], atol=0.1 * exact.std()
    )


@given(
    st.integers(1, 200),
    st.floats(-30, 130),
    st.floats(-30, 130),
    st.floats(0.01, 300),
    st.integers(0, 5),
)
@example(200, 50.0, 50.0, 30.0, 1)  # of several strips
@example(200, 95.0, 5.0, 40.0, 2)
def test_places_inside_a_circle_are_found_without_a_look_at_all(
    count: int, x: float, y: float, radius_m: float, seed: int
) -> None:
    places = np.random.default_rng(seed).uniform(0, 100, (count, 3)).round(seed)
    near = Positions(places).near(np.array([x, y]), radius_m)
    assert (np.diff(near) > 0).all()
    inside = np.flatnonzero(np.hypot(*(places[:, :2] - [x, y]).T) <= radius_m)
    assert set(inside.tolist()) <= set(near.tolist())


def test_stretches_are_ranges_one_after_another() -> None:
    found = stretches(np.array([3, 7, 7, 1]), np.array([5, 7, 9, 0]))
    assert found.tolist() == [3, 4, 7, 8]
    assert len(stretches(np.empty(0, np.int64), np.empty(0, np.int64))) == 0


@pytest.fixture(scope='module')
def coded_map(tmp_path_factory: pytest.TempPathFactory) -> PlaceMap:
    """6,000 places a metre apart in two parts of a map, one of them with codes."""
    folder = tmp_path_factory.mktemp('large') / 'map'
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr(codes_module, 'CODED_FROM_BYTES', 100_000)
        return write_map(folder, clustered_rows(6000, 64), straight_drive(6000))


def test_one_scan_finds_what_two_searches_find(coded_map: PlaceMap) -> None:
    rows = np.asarray(coded_map.blocks[0])
    index, exact = coded_map.index, ExactIndex([rows])
    assert isinstance(index, CodedIndex)
    mean = rows.mean(axis=0)
    shares = []
    for query in another_look(rows[::300]):
        contrast = query - mean
        similarity, found, beside = index.search_beside(query, 25, contrast, 64)
        best, truth, others = exact.search_beside(query, 25, contrast, 64)
        assert found[0] == truth[0]
        np.testing.assert_allclose(similarity, rows[found] @ query, atol=1e-5)
        shares.append(np.isin(others, beside).mean())
        some = np.arange(100, 900)
        similarity, found = index.search_among(some, query, 10)
        best, truth = exact.search_among(some, query, 10)
        assert found[0] == truth[0]
        np.testing.assert_allclose(similarity, best, atol=1e-3)
        np.testing.assert_allclose(index.similar_about(some, query), rows[some] @ query, atol=5e-3)
    assert np.mean(shares) > 0.97


def test_a_prior_is_searched_and_nothing_else(
    coded_map: PlaceMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.asarray(coded_map.blocks[0])
    localizer = Localizer(None, coded_map, LocalizerConfig())  # type: ignore[arg-type]
    prior = Prior(coded_map.poses[2000, :3], radius_m=30.0)
    inside = places_inside(prior, coded_map)
    assert inside.tolist() == np.flatnonzero(prior.allows(coded_map.poses[:, :3])).tolist()

    def refuse(*_: object) -> None:
        raise AssertionError('searched the whole map')

    for whole in ('search', 'search_beside', 'similarities'):
        monkeypatch.setattr(CodedIndex, whole, refuse)
    for frame in range(4):
        query = Query(rows[2005 + frame], frame * SECOND, prior=prior)
        located = localizer.locate(query)
        assert located.candidates.place_index[0] == 2005 + frame
        assert np.isin(located.similar.place_index, inside).all()


def test_a_drive_is_localized_on_a_large_map(coded_map: PlaceMap) -> None:
    rows = np.asarray(coded_map.blocks[0])
    localizer = Localizer(None, coded_map, LocalizerConfig())  # type: ignore[arg-type]
    best = [
        int(localizer.locate(Query(query, frame * SECOND)).candidates.place_index[0])
        for frame, query in enumerate(another_look(rows[1000:1040], noise=0.4))
    ]
    assert np.abs(np.array(best[10:]) - np.arange(1010, 1040)).max() <= 2


def test_what_is_known_goes_on_in_another_belief_about_the_same_large_map() -> None:
    rows = routes(20_000, SIZE)
    background = SampledBackground(ExactIndex([rows]))
    before, after = Belief(line(20_000), background), Belief(line(20_000), background)
    for frame, query in enumerate(seen_again(rows[500:520], seed=2)):
        likely = best_of(rows @ query, 25)[1]
        before.step(query, stamp_ns=frame * SECOND, likely=likely)
    after.begin_at(before.standing())
    places, weight = before.places(10)
    again, shares = after.places(10)
    assert again[0] == places[0]
    np.testing.assert_allclose(shares[:3], weight[:3], rtol=0.01)
    assert after.cells.sum() + after.elsewhere == pytest.approx(1, abs=1e-3)


def test_a_camera_that_looks_another_way_counts_as_in_the_exact_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 8_000
    rows, grid = routes(count, SIZE), line(count)
    index = ExactIndex([rows])
    sparse = Belief(grid, SampledBackground(index))
    monkeypatch.setattr(background_module, 'EVERY_PLACE', count)
    exact = Belief(grid, map_background(index))
    sees = np.roll(np.arange(count), 300)  # at place k, this camera sees place k - 300
    sees[:1000] = -1
    best = []
    for frame, query in enumerate(seen_again(rows[4_000:4_030], seed=3)):
        seen = {'stamp_ns': frame * SECOND, 'camera': 1, 'places_seen': sees}
        row = index.similarities(query)
        exact.step(row, **seen)
        contrast = index.similarities(sparse.contrast(query, camera=1))
        likely = np.concatenate([best_of(row, 25)[1], best_of(contrast, sparse.looks_at)[1]])
        sparse.step(query, likely=likely, **seen)
        best.append((int(exact.places(1)[0][0]), int(sparse.places(1)[0][0])))
    assert abs(best[-1][0] - 4_329) <= 2
    assert all(abs(first - second) <= 1 for first, second in best[15:])
