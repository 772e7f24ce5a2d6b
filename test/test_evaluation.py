"""Figures of drives: pooled, in parts, compared, without truth; and the page that shows them."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bags
import numpy as np
import pytest
from worlds import picture, write_posed_folder, write_tiny_model

from vpr_ros import build_map, evaluate_bag
from vpr_ros.core.geometry import FORWARD_CAMERA, IDENTITY, compose, yaw_quat
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.intervals import drive_interval
from vpr_ros.core.localizing.outcome import Reason
from vpr_ros.core.recall import precision_recall
from vpr_ros.core.trajectory import Trajectory
from vpr_ros.drives.folder_to_bag import WriteOptions, write_bag
from vpr_ros.evaluating.answers import Answer
from vpr_ros.evaluating.figures import by_time, evaluate, pooled
from vpr_ros.evaluating.reliability import reliability
from vpr_ros.evaluating.shown_figures import as_table
from vpr_ros.evaluating.tolerance import Tolerance
from vpr_ros.evaluating.written import write_fixes

ROOT = Path(__file__).resolve().parents[1]
ON_MAP, OFF_MAP = [3, 4, 5, 6, 7, 8], [20, 21]


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/, the mapping drive day/, and the drives/ dawn and dusk; two places are not mapped."""
    folder = tmp_path_factory.mktemp('world')
    write_tiny_model(folder / 'model')
    write_tiny_model(folder / 'coarse', name='coarse', grid=1)
    write_posed_folder(folder / 'day', range(12))
    write_posed_folder(folder / 'drives' / 'dawn', ON_MAP)
    write_posed_folder(folder / 'drives' / 'dusk', [*OFF_MAP, *ON_MAP])
    return folder


def run(world: Path, *words: str, model: str = 'model') -> int:
    """Each image alone: the pictures jump from place to place."""
    given = ['--model', str(world / model), *words]
    if '--set' in given:
        given.insert(given.index('--set') + 1, 'belief=false')
    else:
        given += ['--set', 'belief=false']
    return evaluate_bag.main(['--map-bag', str(world / 'day'), *given])


def figures(world: Path, tmp_path: Path, *words: str, **options: str) -> dict:
    path = tmp_path / 'figures.json'
    assert run(world, *words, '--json', str(path), **options) == 0
    return json.loads(path.read_text())


def test_two_bags_are_enough(world: Path, tmp_path: Path) -> None:
    dusk = str(world / 'drives' / 'dusk')
    found = figures(world, tmp_path, '--bag', dusk, '--set', 'min_similarity=0.9')
    assert found['recall'] == {'1': 0.75, '5': 0.75, '10': 0.75, '20': 0.75}
    assert (found['queries'], found['database'], found['unmatchable']) == (8, 12, 2)
    assert found['average_precision'] == found['recall_at_full_precision'] == 1.0
    assert found['time_to_first_fix_s'] == pytest.approx(0.2)
    assert found['images_per_s'] > 0 and found['peak_memory_mb'] > 10
    assert set(found['latency_ms']['decode']) == {'p50', 'p95', 'p99'}


def test_several_bags_are_pooled_and_reported_apart(world: Path, tmp_path: Path) -> None:
    both = figures(world, tmp_path, '--bag', str(world / 'drives'))
    names = [str(world / 'drives' / name) for name in ('dawn', 'dusk')]
    assert figures(world, tmp_path, '--bag', *names)['recall'] == both['recall']
    assert list(both['splits']) == names
    assert both['queries'] == 14 and both['recall']['1'] == pytest.approx(12 / 14)
    dawn, dusk = both['splits'].values()
    assert (dawn['recall']['1'], dusk['recall']['1']) == (1.0, 0.75)
    assert (dawn['unmatchable'], dusk['unmatchable']) == (0, 2)


def test_the_page_says_how_many_timelines_it_leaves_out(world: Path, tmp_path: Path) -> None:
    page, dusk = tmp_path / 'page.html', str(world / 'drives' / 'dusk')
    assert run(world, '--bag', *[dusk] * 6, '--report', str(page)) == 0
    assert 'Timelines of' not in page.read_text()
    assert run(world, '--bag', *[dusk] * 7, '--report', str(page)) == 0
    assert 'Timelines of the first 6 of 7 drives are shown.' in page.read_text()


def test_parts_by_time_add_up(world: Path, tmp_path: Path) -> None:
    words = ('--bag', str(world / 'drives' / 'dusk'), '--split-every', '0.2')
    found = figures(world, tmp_path, *words)
    parts = found['splits']
    assert [part['queries'] for part in parts.values()] == [2, 2, 2, 2]
    assert [part['recall']['1'] for part in parts.values()] == [0.0, 1.0, 1.0, 1.0]
    assert next(iter(parts)) == '0 to 0.2 s'


def test_two_models_and_two_settings_are_compared(world: Path, tmp_path: Path) -> None:
    page = tmp_path / 'page.html'
    words = ('--model', str(world / 'coarse'), '--bag', str(world / 'drives' / 'dusk'))
    words += ('--compare', 'min_similarity=1.0', '--report', str(page))
    found = figures(world, tmp_path, *words)
    alone = 'belief=False'
    names = [f'tiny {alone}', f'tiny {alone}, min_similarity=1.0', f'coarse {alone}']
    assert [entry['name'] for entry in found['variants']][:3] == names
    tiny, strict, coarse, _ = found['variants']
    assert tiny['recall'] == strict['recall'] and strict['answered'] < tiny['answered']
    assert coarse['false_fixes'] > tiny['false_fixes']
    text = page.read_text()
    for name in names:
        assert name in text
    assert 'Side by side' in text and text.count('class="map"') == 4


def test_two_maps_are_compared_each_with_its_model(world: Path, tmp_path: Path) -> None:
    maps, words = [], []
    for name in ('model', 'coarse'):
        maps.append(tmp_path / f'map_{name}')
        made = ['--bag', str(world / 'day'), '--output', str(maps[-1])]
        assert build_map.main([*made, '--model', str(world / name)]) == 0
        words += ['--map', str(maps[-1]), '--model', str(world / name)]
    out = tmp_path / 'figures.json'
    words += ['--bag', str(world / 'drives' / 'dusk'), '--json', str(out)]
    assert evaluate_bag.main(words) == 0
    variants = json.loads(out.read_text())['variants']
    assert [entry['name'] for entry in variants] == ['map_model', 'map_coarse']
    assert [entry['model'] for entry in variants] == ['tiny', 'coarse']
    assert evaluate_bag.main([*words, '--map', str(maps[0])]) == 2  # three maps, two models


def test_the_page_shows_what_was_wrong_and_how_to_repeat_it(world: Path, tmp_path: Path) -> None:
    page = tmp_path / 'page.html'
    words = ('--bag', str(world / 'drives' / 'dusk'), '--report', str(page))
    assert run(world, *words, '--set', 'min_similarity=-1', 'min_agreement=0') == 0
    text = page.read_text()
    assert text.count('wrong fix, ') >= 4  # of both places off the map: on the map, as pictures
    assert 'not on the map' in text and text.count('data:image/jpeg;base64,') >= 2 * 7
    assert 'evaluate_bag --map-bag' in text and 'sha256' in text and 'min_agreement=0' in text
    for heading in (
        'Recall over N', 'Precision and recall', 'Latency by stage', 'Probability over time',
        'Error over time', 'Worst failures', 'How to repeat it',
    ):  # fmt: skip
        assert f'<h2>{heading}' in text, heading


def test_images_without_a_fix_are_counted_by_reason_and_shown(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figures = tmp_path / 'page.html', tmp_path / 'figures.json'
    words = (
        '--bag',
        str(world / 'drives' / 'dusk'),
        '--report',
        str(page),
        '--json',
        str(figures),
    )
    assert run(world, *words, '--set', 'min_similarity=1') == 0
    found, text = json.loads(figures.read_text()), page.read_text()
    why = Reason.NOTHING_SIMILAR.value
    assert found['answered'] == 0.25 and found['queries'] == 8
    assert found['no_fix_reasons'] == {why: 6}
    assert re.search(f'no fix +6   images: {why}', capsys.readouterr().out)
    assert f'no fix ({why})' in text and 'whose first match is right but got no fix' in text


@pytest.fixture
def blind(world: Path, tmp_path: Path) -> Path:
    """A bag of images alone."""
    folder = tmp_path / 'blind'
    write_posed_folder(folder, ON_MAP)
    (folder / 'poses.csv').unlink()
    return folder / 'images'


def test_without_true_poses_the_rest_is_reported(
    world: Path, blind: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, tum = tmp_path / 'page.html', tmp_path / 'fixes.tum'
    words = ('--bag', str(blind), '--report', str(page), '--tum', str(tum))
    found = figures(world, tmp_path, *words, '--set', 'min_similarity=0.9')
    assert found['recall'] == {'1': None, '5': None, '10': None, '20': None}
    assert found['queries'] == 0 and found['false_fixes'] is None
    assert found['answered'] == 1.0 and found['latency_ms']['describe']['p50'] > 0
    assert found['position_error_m'] == {'median': None, 'p90': None}
    assert len(np.loadtxt(tum)) == len(ON_MAP)
    out = capsys.readouterr().out
    assert 'has no true poses' in out and 'not on the map' not in out
    assert 'answered              100.0%   of the images got a fix' in out
    drawn = page.read_text().split('class="map"')[1].split('</svg>')[0]
    assert f'truth unknown ({len(ON_MAP)})' in drawn  # and not right, nor wrong
    assert not re.search(r'right \(|wrong \(|no answer|true path|dot good', drawn)
    assert 'nan' not in page.read_text().replace('nano', '')


def test_fewer_candidates_than_n_are_not_passed_off_as_recall(world: Path, tmp_path: Path) -> None:
    words = ('--bag', str(world / 'drives' / 'dusk'), '--set', 'candidates=5')
    found = figures(world, tmp_path, *words)['recall']
    assert found['5'] == 0.75 and found['10'] is None and found['20'] is None


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--radius', '0'], '--radius 0: expected a number above 0'),
        (['--split-every', 'nan'], '--split-every nan'),
        (['--compare', 'speed=3'], 'expected NAME=VALUE'),
        (['--compare', 'candidates=5', '--tum', 'x.tum'], 'several were given'),
        (['--json', 'x', '--report', './x'], '--report and --json: both write'),
        (['--json', '/proc/self/x.json'], 'cannot be written'),
        (['--report', '/proc/self/x.html'], 'cannot be written'),
    ],
)
def test_a_bad_option_is_one_line(
    world: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, '--bag', str(world / 'drives' / 'dusk'), *words) == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert said in error and all(line.startswith('note: ') for line in notes)


def test_a_heading_is_not_asked_of_positions_without_one(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'photos'
    folder.mkdir()
    for place in ON_MAP:
        name = f'@{400000 + place}.0@4000000.0@33@S@@@@@@@@@@@.jpg'
        (folder / name).write_bytes(encode_jpeg(picture(place), quality=90))
    words = ['--map-bag', str(folder), '--bag', str(folder), '--model', str(world / 'model')]
    assert evaluate_bag.main([*words, '--heading', '20']) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert '--heading: the positions of' in said and f'{folder} have no headings' in said
    assert evaluate_bag.main(words) == 0


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3', 'ros1'])
def test_every_kind_of_bag_gives_the_same_figures(world: Path, tmp_path: Path, kind: str) -> None:
    bag = tmp_path / ('dusk.bag' if kind == 'ros1' else 'dusk')
    write_bag(world / 'drives' / 'dusk', bag, WriteOptions(storage=kind))
    from_bag = figures(world, tmp_path, '--bag', str(bag))
    from_folder = figures(world, tmp_path, '--bag', str(world / 'drives' / 'dusk'))
    for name in ('recall', 'answered', 'queries', 'unmatchable', 'false_fixes'):
        assert from_bag[name] == from_folder[name]


class Line:
    """A drive along x at 1 m/s, one image a second."""

    name, frame_id, datum = 'line', 'map', None
    has_heading = mounting_known = True
    base_T_camera, field_of_view_deg = FORWARD_CAMERA, None

    def __init__(self, count: int) -> None:
        poses = np.tile(FORWARD_CAMERA, (count, 1))
        poses[:, 0] = np.arange(count)
        self.trajectory = Trajectory(np.arange(count) * 10**9, poses)
        self.count, self.warnings = count, []

    def __len__(self) -> int:
        return self.count


class Places:
    """A map of one place for each metre up to 50 m."""

    class header:  # noqa: N801
        has_heading = True

    is_distractor = np.zeros(50, dtype=bool)

    def __len__(self) -> int:
        return 50

    def base_poses(self):
        poses = np.tile(IDENTITY, (50, 1))
        poses[:, 0] = np.arange(50)
        return poses

    @property
    def poses(self):
        return compose(self.base_poses(), FORWARD_CAMERA)


def at(x: float) -> np.ndarray:
    pose = IDENTITY.copy()
    pose[0] = x
    return pose


@pytest.mark.parametrize(
    ('turned_deg', 'camera_turned_deg', 'is_told'),
    [(180, 0, True), (-70, 0, True), (50, 0, False), (0, 180, True), (180, 180, False)],
)
def test_a_drive_that_looks_another_way_than_the_map_is_told(
    turned_deg: float, camera_turned_deg: float, is_told: bool
) -> None:
    """It is the camera that counts: one behind sees the way back."""
    line = Line(60)
    turned = np.array([0, 0, 0, *yaw_quat(np.radians(turned_deg))])
    mounted = np.array([0, 0, 0, *yaw_quat(np.radians(camera_turned_deg))])
    line.base_T_camera = compose(mounted, FORWARD_CAMERA)
    robots = np.array([compose(at(x), turned) for x in range(60)])
    line.trajectory = Trajectory(line.trajectory.stamps_ns, compose(robots, line.base_T_camera))
    given = [Answer(second * 10**9, np.empty((0, 7)), None, 0.1, {}) for second in range(60)]
    found = evaluate(given, line, Places(), Tolerance(2.0))
    assert found.other_direction == (52 if is_told else 0)
    note = (
        'other direction       52   of 60 queries: the places there were mapped in another viewing'
    )
    assert (note in as_table(found, Tolerance(2.0))) == is_told
    line.has_heading = False
    assert evaluate(given, line, Places(), Tolerance(2.0)).other_direction == 0


def test_a_few_images_that_look_another_way_are_counted_and_not_told() -> None:
    line = Line(60)
    turned = np.array([0, 0, 0, *yaw_quat(np.pi)])
    robots = [compose(at(x), turned if x < 5 else IDENTITY) for x in range(60)]
    cameras = compose(np.array(robots), FORWARD_CAMERA)
    line.trajectory = Trajectory(line.trajectory.stamps_ns, cameras)
    given = [Answer(second * 10**9, np.empty((0, 7)), None, 0.1, {}) for second in range(60)]
    found = evaluate(given, line, Places(), Tolerance(2.0))
    assert found.other_direction == 5 and 'other direction' not in as_table(found, Tolerance(2.0))


def test_figures_equal_a_count_by_hand() -> None:
    """60 images, ten beyond the map; every third without a fix, every seventh fix 30 m off."""
    answers, expected_errors = [], []
    for second in range(60):
        seen = second + (30 if second % 7 == 0 else 1)
        candidates = np.array([at(seen), at(second)])
        fixed = second % 3 != 0
        answers.append(
            Answer(second * 10**9, candidates, at(seen) if fixed else None, 0.5, {'total': 1.0})
        )
        if fixed:
            expected_errors.append(seen - second)
    found = evaluate(answers, Line(60), Places(), Tolerance(2.0))
    right_first = sum(1 for second in range(52) if second % 7)  # then it is off the map
    assert found.recall.at[1] == pytest.approx(right_first / 60)
    assert found.recall.at[5] != found.recall.at[5]  # two candidates tell nothing of the fifth
    assert found.recall.unmatchable == sum(second > 51 for second in range(60))
    assert found.answered == pytest.approx(40 / 60)
    assert found.false_fixes == pytest.approx(sum(e > 2 for e in expected_errors) / 40)
    right = [second for second in range(60) if second % 3 and second % 7]
    assert found.answerable == 52
    on_map = [second for second in right if second <= 51]
    assert found.answered_of_answerable == pytest.approx(len(on_map) / 52)
    assert found.fixes_not_on_map == sum(second % 3 != 0 for second in range(52, 60))
    assert found.false_fixes_not_on_map == 1  # at 56 s; the others are 1 m off
    assert found.position_error_m['median'] == np.median(expected_errors)
    assert found.time_to_first_fix_s == 1.0
    low, high = found.answered_interval
    assert low < found.answered < high
    parts = by_time(found, 20.0)
    assert [len(part.answers) for part in parts.values()] == [20, 20, 20]
    twice = pooled([found, found])
    assert twice.recall.at[1] == found.recall.at[1] and twice.recall.queries == 120
    assert twice.time_to_first_fix_s == 1.0
    without = Line(60)
    without.has_heading = False  # the map alone has headings
    found = evaluate(answers, without, Places(), Tolerance(2.0))
    assert math.isnan(found.heading_error_deg['median'])


def made_up(seconds: range, first_fix: int, random: np.random.Generator) -> list[Answer]:
    """Answers of all kinds: right ones, wrong ones and none, of which not all tell all."""
    found = []
    for second in seconds:
        near, shown, off = (
            second + random.choice([0.5, 1.9, 2.1, 30.0], count) for count in (20, 20, 1)
        )
        fix = at(off[0])
        fix[2], fix[3:] = 0.4, yaw_quat(random.uniform(-1, 1))
        has_fix = second >= first_fix and random.random() < 0.6
        found.append(
            Answer(
                second * 10**9,
                np.array([at(x) for x in near]),
                fix if has_fix else None,
                random.random(),
                {'all': random.random()} | ({'odd': random.random()} if second % 2 else {}),
                covariance=np.eye(6) * random.choice([0.1, 2.0]) if second % 3 else None,
                similarity=random.random(),
                similar=np.array([at(x) for x in shown]),
                is_calibrated=second % 4 > 0,
                reason=None if has_fix else list(Reason)[second % 2],
            )
        )
    return found


def test_figures_of_two_drives_equal_plain_loops() -> None:
    """The first drive begins before its poses, the second ends beyond the map."""
    random = np.random.default_rng(4)
    given = made_up(range(-3, 40), 6, random), made_up(range(10, 70), 23, random)
    lines = Line(40), Line(70)
    found = pooled(
        [evaluate(own, line, Places(), Tolerance(2.0)) for own, line in zip(given, lines)]
    )
    drive, x, rank, single, right, prob, turned, off, inside, told = ([] for _ in range(10))
    everything = [*given[0], *given[1]]
    answers = [answer for answer in everything if answer.stamp_ns >= 0]  # the queries

    def first_near(poses: np.ndarray, true: float) -> int:
        near = [row for row, pose in enumerate(poses) if abs(pose[0] - true) <= 2]
        return near[0] if near and true <= 51 else -1  # the map ends there

    for row, answer in enumerate(answers):
        true, fix = answer.stamp_ns / 1e9, answer.pose
        drive.append(0 if row < 40 else 1)
        x.append(true)
        rank.append(first_near(answer.candidates, true))
        single.append(first_near(answer.similar, true))
        far = np.inf if fix is None else np.hypot(fix[0] - true, 0.4)
        off.append(far)
        right.append(far <= 2)
        turned.append(0.0 if fix is None else np.degrees(2 * abs(np.arcsin(fix[5]))))
        prob.append(answer.probability)
        told.append(fix is not None and answer.covariance is not None)
        inside.append(told[-1] and abs(fix[0] - true) <= 1.96 * answer.covariance[0, 0] ** 0.5)
    drive, x, rank, single, right, prob, turned, off, inside, told = map(
        np.array, (drive, x, rank, single, right, prob, turned, off, inside, told)
    )
    fixed, able = np.isfinite(off), x <= 51

    def interval(hits: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
        return drive_interval(hits[rows], drive=drive[rows])

    whole = np.full(100, True)
    for n in (1, 5, 10, 20):
        assert found.recall.at[n] == pytest.approx(np.mean((rank >= 0) & (rank < n)))
        assert found.recall.interval[n] == interval((rank >= 0) & (rank < n), whole)
        assert found.single_image.at[n] == pytest.approx(np.mean((single >= 0) & (single < n)))
    assert (found.recall.queries, found.recall.unmatchable) == (100, sum(x > 51))
    assert (found.provenance.without_pose, found.provenance.frames) == (3, 110)
    assert found.answered == np.mean(fixed) and found.answered_interval == interval(fixed, whole)
    assert found.answerable == sum(able)
    assert found.answered_of_answerable == pytest.approx(np.mean(right[able]))
    assert found.answered_of_answerable_interval == interval(right, able)
    assert found.fixes_not_on_map == sum(fixed & ~able) > 0
    assert found.false_fixes == pytest.approx(np.mean(~right[fixed]))
    assert found.false_fixes_interval == interval(~right, fixed)
    for spread, values in ((found.position_error_m, off), (found.heading_error_deg, turned)):
        expected = np.percentile(values[fixed], [50, 90])
        assert [spread['median'], spread['p90']] == pytest.approx(expected.tolist())
    assert found.inside_ellipse == pytest.approx(np.mean(inside[told]))
    assert found.inside_ellipse_interval == interval(inside, told)
    waited = [x[fixed & (drive == number)].min() - start for number, start in ((0, -3), (1, 10))]
    assert found.time_to_first_fix_s == pytest.approx(np.mean(waited)) and min(waited) >= 6
    calibrated = np.array([answer.is_calibrated for answer in answers])
    first = np.array([abs(one.candidates[0, 0] - true) <= 2 for one, true in zip(answers, x)])
    true = np.where(fixed, right, first)
    assert found.reliability.error == reliability(prob[calibrated], true[calibrated]).error
    sure = np.array([answer.similarity for answer in answers])
    counts = able | ~first
    expected = precision_recall(sure[counts], rank[counts] == 0, able[counts])
    assert found.precision_recall.average_precision == expected.average_precision
    for reason in list(Reason)[:2]:
        count = sum(answer.reason is reason for answer in answers)
        assert found.no_fix_reasons[reason.value] == count > 0
    for stage in ('all', 'odd'):
        taken = [answer.latency_ms[stage] for answer in everything if stage in answer.latency_ms]
        assert list(found.latency_ms[stage].values()) == pytest.approx(
            np.percentile(taken, [50, 95, 99]).tolist()
        )
    parts = by_time(found, 20.0)  # since the first image of each drive
    assert list(parts) == ['0 to 20 s', '20 to 40 s', '40 to 60 s']
    assert [part.recall.queries for part in parts.values()] == [37, 40, 23]
    assert [part.provenance.without_pose for part in parts.values()] == [3, 0, 0]
    assert all(math.isnan(part.time_to_first_fix_s) for part in parts.values())


def test_a_fix_before_the_true_poses_begin_counts_for_the_time_alone() -> None:
    answers = [
        Answer(second * 10**9, np.array([at(second)]), at(second), 0.9, {})
        for second in range(-4, 6)
    ]
    answers[0] = replace(answers[0], pose=None)
    found = evaluate(answers, Line(10), Places(), Tolerance(2.0))
    assert found.time_to_first_fix_s == 1.0  # and not 0 s, from the first true pose
    assert (found.recall.queries, found.provenance.without_pose) == (6, 4)
    assert (found.answered, found.false_fixes, len(found.answers)) == (1.0, 0.0, 10)
    early = by_time(found, 2.0)['0 to 2 s']
    assert (early.recall.queries, early.answered) == (0, 0.5)


def test_a_drive_without_poses_takes_no_figure_from_the_others() -> None:
    answers = [Answer(s * 10**9, np.array([at(s)]), at(s), 0.9, {}) for s in range(10)]
    blind = Line(10)
    blind.trajectory, blind.has_heading = None, False
    known, unknown = (
        evaluate(answers, line, Places(), Tolerance(2.0)) for line in (Line(10), blind)
    )
    both = pooled([known, unknown])
    assert known.heading_error_deg == both.heading_error_deg == {'median': 0.0, 'p90': 0.0}
    assert both.position_error_m == known.position_error_m
    assert math.isnan(unknown.heading_error_deg['median'])
    assert (both.recall.queries, both.provenance.without_pose) == (10, 10)


def test_recall_is_known_of_a_map_of_few_places_and_of_images_that_nothing_answers() -> None:
    class Three(Places):
        def __len__(self) -> int:
            return 3

    answers = [
        Answer(0, np.empty((0, 7)), None, 0.0, {}, reason=Reason.NOTHING_SEEN),
        Answer(10**9, np.array([at(40), at(20), at(1)]), None, 0.0, {}),
    ]
    found = evaluate(answers, Line(2), Three(), Tolerance(2.0))
    assert found.recall.at == {1: 0.0, 5: 0.5, 10: 0.5, 20: 0.5}


def test_what_a_probability_promises_is_held_against_the_fix_that_it_came_with() -> None:
    """Landmarks may refute the best place; then their pose is what is promised."""
    answers = [
        Answer(
            second * 10**9,
            np.array([at(second + 30)]),  # the best place is wrong
            at(second) if second < 20 else None,  # the landmarks' pose is right
            0.95 if second < 20 else 0.05,
            {},
            is_calibrated=second < 30,
        )
        for second in range(40)
    ]
    trust = evaluate(answers, Line(40), Places(), Tolerance(2.0)).reliability
    assert trust is not None and trust.count.sum() == 30
    assert trust.true[9] == 1.0 and trust.true[0] == 0.0
    assert trust.error == pytest.approx(0.05)


def test_on_a_line_the_ellipse_is_tested_along_it() -> None:
    wide = np.diag([1.0, 1e4, 1e4, 1.0, 1.0, 1.0])
    answers = [
        Answer(second * 10**9, np.array([at(second)]), at(second + off), 1.0, {}, wide)
        for second, off in enumerate([1.9, 2.1] * 20)
    ]
    found = evaluate(answers, Line(40), Places(), Tolerance(5.0))
    assert found.inside_ellipse_axes == 1
    assert found.inside_ellipse == 0.5  # 1.96 standard deviations; with three, 2.8 would do


def test_the_fixes_are_read_by_evo(world: Path, tmp_path: Path) -> None:
    """Its error of our TUM file against the truth is the one that we report."""
    pytest.importorskip('evo', reason='evo is not installed (pip install evo)')
    from evo.core import metrics, sync
    from evo.tools import file_interface

    drive, tum = world / 'drives' / 'dawn', tmp_path / 'fixes.tum'
    truth = tmp_path / 'truth.tum'
    found = figures(
        world, tmp_path, '--bag', str(drive), '--tum', str(tum), '--set', 'min_similarity=0.9'
    )
    rows = np.loadtxt(tum)
    poses = np.tile(IDENTITY, (len(ON_MAP), 1))
    poses[:, 0] = np.array(ON_MAP) * 10.0
    stamps = 1 + np.arange(len(ON_MAP)) * 0.1
    np.savetxt(truth, np.column_stack([stamps, poses]))
    reference, ours = sync.associate_trajectories(
        file_interface.read_tum_trajectory_file(str(truth)),
        file_interface.read_tum_trajectory_file(str(tum)),
    )
    assert ours.num_poses == len(rows) == len(ON_MAP) and ours.check()[0]
    error = metrics.APE(metrics.PoseRelation.translation_part)
    error.process_data((reference, ours))
    median_m = error.get_statistic(metrics.StatisticsType.median)
    assert median_m == pytest.approx(found['position_error_m']['median'], abs=1e-6)


def test_fixes_of_drives_that_share_stamps_are_all_written(tmp_path: Path) -> None:
    """Simulated drives all begin at zero."""
    given = [
        Answer(second * 10**9, np.array([at(x)]), None if x == 5 else at(x), 0.5, {})
        for second, x in ((0, 1), (1, 3), (0, 2), (1, 4), (2, 5))
    ]
    assert write_fixes(tmp_path / 'fixes.tum', given) == 4
    assert np.loadtxt(tmp_path / 'fixes.tum')[:, :2].tolist() == [[0, 1], [0, 2], [1, 3], [1, 4]]
    assert write_fixes(tmp_path / 'none.tum', given[-1:]) == 0


def test_of_a_bag_that_breaks_off_what_can_be_read_is_measured_and_said(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = write_posed_folder(tmp_path / 'long', ON_MAP * 100)
    write_bag(long, tmp_path / 'bag')
    (storage,) = (tmp_path / 'bag').glob('*.mcap')
    storage.write_bytes(storage.read_bytes()[: storage.stat().st_size * 2 // 3])
    page = tmp_path / 'page.html'
    found = figures(world, tmp_path, '--bag', str(tmp_path / 'bag'), '--report', str(page))
    assert 100 < found['queries'] < 600 and found['recall']['1'] == 1.0
    said = capsys.readouterr().err
    assert 'recover' in said and 'recover' in page.read_text()


def test_two_clocks_are_one_line_that_asks_for_the_same_clock(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with bags.writing(tmp_path / 'bag') as put:
        for second in range(5):
            put('/image', second, bags.image(1_700_000_000 + second, second))
            put('/odom', second, bags.odometry(second, bags.along_x(second)))
    assert run(world, '--bag', str(tmp_path / 'bag')) == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert 'none of 5 images has a true pose at its stamp' in error
    assert all(line.startswith('note: ') for line in notes)
    assert 'same clock' in error


def test_a_real_ros1_bag_is_measured(shared_data: Path, tmp_path: Path) -> None:
    """Three images, the first older than the first odometry; the map is of the same two."""
    bag = str(shared_data / 't265_ros1_bag' / 'trimmed_locoffice.bag')
    path = tmp_path / 'figures.json'
    words = ['--map-bag', bag, '--bag', bag, '--json', str(path)]
    assert evaluate_bag.main([*words, '--image-topic', '/camera/fisheye1/image_raw']) == 0
    found = json.loads(path.read_text())
    assert (found['frames'], found['without_pose'], found['queries']) == (3, 1, 2)
    assert found['recall']['1'] == 1.0 and found['position_error_m']['median'] < 0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bag_of_20000_frames_is_measured_in_bounded_memory(world: Path, tmp_path: Path) -> None:
    """Decoded they are 0.2 GB; against 2,000 frames the peak may grow by 60 MB, page included."""

    def peak_mb(count: int) -> float:
        bag, out = tmp_path / f'bag_{count}', tmp_path / 'figures.json'
        small = [encode_jpeg(picture(place, height=48, width=64)) for place in range(12)]
        with bags.writing(bag) as put:
            for row in range(count):
                seconds, place = 1 + row * 0.05, row % 12
                put('/image/compressed', seconds, bags.compressed(seconds, 0, data=small[place]))
                put('/odom', seconds, bags.odometry(seconds, bags.along_x(10 * place)))
        words = ['--map-bag', str(world / 'day'), '--model', str(world / 'model')]
        words += ['--bag', str(bag), '--json', str(out), '--report', str(tmp_path / 'page.html')]
        words += ['--set', 'belief=false']
        command = [sys.executable, '-m', 'vpr_ros.evaluate_bag', *words, '--threads', '1']
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        found = json.loads(out.read_text())
        assert found['frames'] == count and found['recall']['1'] > 0.99
        assert (tmp_path / 'page.html').stat().st_size < 3_000_000
        return found['peak_memory_mb']

    assert peak_mb(20_000) - peak_mb(2000) < 60


def test_landmarks_are_only_mapped_where_a_map_is_made(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_bag.main(['--map', 'm', '--bag', str(world / 'dusk'), '--landmarks']) == 2
    assert 'build_map --landmarks' in capsys.readouterr().err
