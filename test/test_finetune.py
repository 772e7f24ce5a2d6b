"""Fine-tuning on a drive: a held-out part, a model, a map, and what changed, or the old model."""

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from worlds import straight_drive, write_posed_folder, write_tiny_model

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('lightning', reason='make setup-training')
from conftest import ROOT
from test_rebuild import published
from test_train import draw_place, in_process, one_line, steps, until

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, read_card, write_model
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.intervals import block_length, difference_interval
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_training.basics.errors import DatasetError
from vpr_training.data.config import DataConfig
from vpr_training.data.held_out import stretches
from vpr_training.data.layouts import open_held_out, open_places
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.recall import Answers, Measured
from vpr_training.models.network import NetworkConfig
from vpr_training.runs.comparison import Comparison, Outcome
from vpr_training.runs.fine_tuning import card_of
from vpr_training.train import main as train

FILE = ROOT / 'config' / 'train' / 'finetune_own_drive.yaml'
PLACES = 40


def write_drives(folder: Path, *names: str, places: int = PLACES) -> Path:
    """Drives along x past places 10 m apart, two frames at each, every drive by another light."""
    for number, name in enumerate(names):
        images = folder / name / 'images'
        images.mkdir(parents=True)
        rows = ['image,stamp_s,x,y,z,qx,qy,qz,qw']
        for frame, pose in enumerate(straight_drive(places * 2, spacing_m=5.0)):
            place, view = divmod(frame, 2)
            pose[0] = 10.0 * place + 0.5 * view
            picture = draw_place(place, 2 * number + view)
            (images / f'{frame:04d}.jpg').write_bytes(encode_jpeg(picture, quality=95))
            rows.append(f'{frame:04d}.jpg,{frame}.0,' + ','.join(f'{one:.6f}' for one in pose))
        (folder / name / 'poses.csv').write_text('\n'.join(rows) + '\n')
    return folder


def config(root: Path, **other: object) -> DataConfig:
    held: dict[str, object] = {
        'root': str(root), 'held_out': 0.3, 'images_per_place': 2, 'min_images_per_place': 2,
    }  # fmt: skip
    return DataConfig(**(held | other))  # type: ignore[arg-type]


@pytest.fixture(scope='module')
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drives(tmp_path_factory.mktemp('drives'), 'day', 'night')


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that knows nothing, as a model folder."""
    folder = tmp_path_factory.mktemp('models') / 'start'
    network = NetworkConfig(
        weights=None, aggregator='gem', last_stage=2, image_height=64, image_width=64
    )
    published(folder, network)
    return folder


def flags(model: Path, drives: Path, run: Path, *more: str) -> list[str]:
    return [
        f'--config={FILE}', f'--init={model}', f'--data.root={drives}', f'--output={run}',
        '--network.frozen_stages=0', '--data.places_per_batch=4', '--data.augment=none',
        '--data.augment_crop=1', '--accelerator=cpu', '--steps=0', *more,
    ]  # fmt: skip


# ---- what is held out


@given(places=st.integers(2, 300), share=st.floats(0.01, 0.9))
def test_stretches_are_few_long_and_as_many_places_as_asked(places: int, share: float) -> None:
    if max(round(places * share), 1) >= places:
        with pytest.raises(DatasetError, match=r'leaves none of the .* places to learn from'):
            stretches(places, share)
        return
    held = stretches(places, share)
    assert held.sum() == max(round(places * share), 1)
    starts = np.flatnonzero(held & ~np.append(False, held[:-1]))
    assert len(starts) <= 5 and (len(starts) == 1 or held.sum() >= 4 * len(starts))
    assert (stretches(places, share) == held).all()


def test_no_image_near_the_held_out_part_is_trained_on(drives: Path) -> None:
    settings = config(drives)
    places, held = open_places(settings), open_held_out(settings, radius_m=0)
    files = {Path(path).resolve() for path in (*held.database, *held.queries)}
    trained = {places.path(row) for row in range(len(places.files))}
    assert len(files) == 12 * 4 and not files & trained
    x_of = {}
    for drive in ('day', 'night'):
        with (drives / drive / 'poses.csv').open() as file:
            for row in csv.DictReader(file):
                x_of[(drives / drive / 'images' / row['image']).resolve()] = float(row['x'])
    nearest = min(abs(x_of[one] - x_of[other]) for one in files for other in trained)
    assert nearest > 2 * settings.place_radius + settings.place_gap
    assert not open_places(config(drives, held_out=0)).files.size < len(files) + len(trained)


def test_the_first_drive_answers_the_others(drives: Path) -> None:
    held = open_held_out(config(drives), radius_m=0)
    assert {path.parents[1].name for path in held.database} == {'day'}
    assert {path.parents[1].name for path in held.queries} == {'night'}
    for query, rows in zip(held.queries, held.positives, strict=True):
        place = int(query.stem) // 2
        assert {int(held.database[row].stem) // 2 for row in rows} == {place}
    assert 'others are the queries' in held.truth


def test_one_drive_answers_every_second_frame(drives: Path) -> None:
    held = open_held_out(config(drives / 'day'), radius_m=0)
    order = sorted([*held.database, *held.queries])
    assert set(order[::2]) == set(held.database) and set(order[1::2]) == set(held.queries)
    assert all(len(rows) == 1 for rows in held.positives)
    assert 'every second frame' in held.truth


def test_a_wider_radius_makes_more_answers_right(drives: Path) -> None:
    narrow = open_held_out(config(drives), radius_m=1)
    wide = open_held_out(config(drives), radius_m=11)
    for first, second in zip(narrow.positives, wide.positives, strict=True):
        assert set(first) < set(second)


def test_a_table_of_places_holds_out_neighbours_in_its_order(drives: Path, tmp_path: Path) -> None:
    images = sorted((drives / 'day' / 'images').iterdir())
    lines = [f'{path},{number // 2}' for number, path in enumerate(images)]
    (tmp_path / 'places.csv').write_text('\n'.join(['image,place_id', *lines]) + '\n')
    settings = config(tmp_path)
    places, held = open_places(settings), open_held_out(settings, radius_m=0)
    kept = {int(Path(str(file)).stem) // 2 for file in places.files}
    asked = {int(path.stem) // 2 for path in held.queries}
    assert len(asked) == 12 and min(abs(one - other) for one in kept for other in asked) == 2
    for query, rows in zip(held.queries, held.positives, strict=True):
        assert [held.database[row].stem for row in rows] == [f'{int(query.stem) - 1:04d}']


def test_a_table_of_places_holds_out_places_of_the_chosen_cities_only(
    drives: Path, tmp_path: Path
) -> None:
    images = sorted((drives / 'day' / 'images').iterdir())
    rows = [(number // 2, path) for number, path in enumerate(images)]
    lines = [f'{path},{place},{"Rome" if place < 10 else "Oslo"}' for place, path in rows]
    (tmp_path / 'empty.jpg').touch()
    lines.insert(9, f'{tmp_path}/empty.jpg,4,Rome')
    (tmp_path / 'places.csv').write_text('\n'.join(['image,place_id,city', *lines]) + '\n')
    settings = config(tmp_path, cities=('Rome',))
    places, held = open_places(settings), open_held_out(settings, radius_m=0)
    kept = {int(Path(str(file)).stem) // 2 for file in places.files}
    assert {int(path.stem) // 2 for path in held.database} == {3, 4, 5}
    assert kept == {0, 1, 7, 8, 9}
    with pytest.raises(DatasetError, match='no images of Bonn; it has Oslo, Rome'):
        open_places(config(tmp_path, cities=('Bonn',)))


def test_without_a_route_or_an_answer_nothing_is_held_out(drives: Path, tmp_path: Path) -> None:
    (tmp_path / 'train' / 'Rome').mkdir(parents=True)
    with pytest.raises(DatasetError, match='needs places in the order of a route'):
        open_places(config(drives, images_per_place=1, min_images_per_place=1))
    short = write_posed_folder(tmp_path / 'short', [0, 1, 2, 3])
    with pytest.raises(DatasetError, match='no query with a true match within 2 m'):
        open_held_out(config(short), radius_m=0)


# ---- before and after


@given(
    before=st.lists(st.booleans(), min_size=1, max_size=60), seed=st.integers(0, 100),
    kept=st.floats(0, 1),
)  # fmt: skip
def test_a_paired_interval_is_that_of_resampled_queries(
    before: list[bool], seed: int, kept: float
) -> None:
    first = np.array(before)
    rng = np.random.default_rng(seed)
    second = np.where(rng.random(len(first)) < kept, first, ~first)
    change = second.astype(int) - first
    drawn = [change[rng.integers(0, len(first), len(first))].mean() for _ in range(1000)]
    assume(block_length(change.astype(float), least=1) == 1)  # no neighbours that go together
    assume({-1, 1} <= {*change} or not change.any())  # else see the exact test of the changed ones
    found = difference_interval(first, second)
    tolerance = 0.02 + 1.5 / len(first) + 0.3 * np.std(drawn)
    assert found == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=tolerance)
    assert found[0] - 1e-9 <= change.mean() <= found[1] + 1e-9 or len(first) < 60


@pytest.mark.timeout(300)
def test_one_command_ends_with_a_model_a_map_and_what_changed(
    model: Path, drives: Path, tmp_path: Path
) -> None:
    run = tmp_path / 'run'
    schedule = ('--scheduler.name=cosine', '--scheduler.options={T_max: 30}', '--epochs=30')
    rates = ('--data.workers=0', '--optimizer.lr=3e-3', *schedule)
    process = in_process(*flags(model, drives, run, *rates))
    said, complaint = process.communicate(timeout=280)
    assert process.returncode == 0, complaint
    assert 'images held out' in said and 'others are the queries' in said
    figures = json.loads((run / 'comparison.json').read_text())
    (held,) = figures['sets'].values()
    change = held['difference_1']
    assert held['queries'] == held['database'] == 24
    assert change['value'] == pytest.approx(held['after']['1'] - held['before']['1'])
    assert change['interval'][0] > 0, said
    assert f'fine-tuning helped: use {run / "model"}' in said and 'keep' not in said
    assert figures['recommended'] == str(run / 'model')
    card = read_card(run / 'model' / 'card.json')
    start = read_card(model / 'card.json')
    assert card.provenance['fine_tuned_from']['sha256'] == start.sha256 != card.sha256
    assert card.recall == {f'{drives.name} held out': held['after']}
    OnnxDescriber(Model.open(run / 'model'))
    mapped = PlaceMap.open(run / 'map')
    assert len(mapped) == PLACES * 2
    assert mapped.header.model_sha256 == card.sha256
    assert (run / 'comparison.png').stat().st_size > 5_000


def test_a_model_that_was_fine_tuned_over_and_over_still_has_a_card(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    graph, card = model.graph.read_bytes(), model.card
    for month in range(1, 21):
        card = card_of(replace(model.card, name=f'month {month}'), card, [])
        card = write_model(tmp_path / 'tuned', graph, card).card
    assert card.provenance['fine_tuned_from']['name'] == 'month 19'
    before = [one['name'] for one in card.provenance['fine_tuned_before']]
    assert before == [*(f'month {month}' for month in range(18, 0, -1)), 'tiny']
    assert len(card.weaknesses) == 1


def ranked_at(ranks: np.ndarray) -> Comparison:
    """60 queries of 200 images, whose true one each is the first before, and at ranks after."""
    images = RecallSet(
        name='held out',
        database=(Path('image.jpg'),) * 200,
        queries=(Path('query.jpg'),) * len(ranks),
        positives=(np.array([100]),) * len(ranks),
        truth='said so',
    )

    def measured(ranks: np.ndarray) -> Measured:
        ranking = np.tile(np.arange(25), (len(ranks), 1))
        ranking[np.arange(len(ranks)), ranks] = 100
        answers = Answers.of(ranking, images)
        return Measured(None, 'fp32', answers, None, 0, None, None)  # type: ignore[arg-type]

    every_other = np.tile([0, 4], len(ranks) // 2)
    return Comparison(images, measured(every_other), measured(ranks))


@pytest.mark.parametrize(
    ('after', 'said'),
    [
        ([0, 0], 'fine-tuning helped: use NEW'),
        ([0, 4], 'keep OLD: fine-tuning did not help here (the new one is NEW)'),
        ([5, 4], 'keep OLD: fine-tuning did not help here (the new one is NEW)'),
        ('one', 'keep OLD: the gain may be chance, because its interval includes 0 (the new'),
    ],
)
def test_the_new_model_is_recommended_where_its_gain_is_more_than_chance(
    after: list[int] | str, said: str
) -> None:
    ranks = np.tile([0, 4], 30) if isinstance(after, str) else np.tile(after, 30)
    ranks[1] = 0 if isinstance(after, str) else ranks[1]
    worse = ranked_at(np.full(60, 5))
    found = Outcome((ranked_at(ranks), worse), Path('OLD'), Path('NEW'))  # the first set decides
    assert str(found).splitlines()[-1].startswith(said)
    helped = said.startswith('fine-tuning helped')
    assert found.recommended == Path('NEW' if helped else 'OLD')
    assert found.as_json()['recommended'] == ('NEW' if helped else 'OLD')


def test_a_comparison_tells_both_recalls_and_their_difference() -> None:
    compared = ranked_at(np.tile([0, 5], 30))
    found = compared.as_json()
    assert (found['queries'], found['database'], found['unmatchable']) == (60, 200, 0)
    assert [found['before'][n] for n in ('1', '5', '10')] == [0.5, 1.0, 1.0]
    assert [found['after'][n] for n in ('1', '5', '10')] == [0.5, 0.5, 1.0]
    assert found['difference_1'] == {'value': 0.0, 'interval': [0.0, 0.0]}
    low, high = found['difference_5']['interval']
    assert found['difference_5']['value'] == -0.5 and low < -0.5 < high < 0
    assert found['before']['1_low'] < 0.5 < found['before']['1_high']
    shown = str(compared).splitlines()
    assert shown[0].startswith('held out: 60 queries in 200 images, 0 of them without a true')
    assert (
        shown[3].split()[:2] == ['R@5', '1.000']
        and f'-0.500 [{low:+.3f}, {high:+.3f}]' in shown[3]
    )


def test_a_model_that_became_worse_is_not_recommended(
    model: Path, drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'run'
    assert train(flags(model, drives / 'day', run, '--optimizer.lr=1e-9', '--epochs=1')) == 0
    said = capsys.readouterr().out
    assert f'keep {model}: fine-tuning did not help here' in said
    assert PlaceMap.open(run / 'map').header.model_sha256 == read_card(model / 'card.json').sha256


@pytest.mark.timeout(300)
def test_a_stopped_run_goes_on_to_the_same_end(model: Path, drives: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    assert train(flags(model, drives, whole, '--epochs=3')) == 0
    process = in_process(*flags(model, drives, broken, '--epochs=3'))
    until(lambda: (broken / 'last.ckpt').exists(), process)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 130 and '--resume' in complaint, complaint
    assert train([f'--resume={broken}']) == 0
    assert steps(broken) == steps(whole)
    found = [json.loads((run / 'comparison.json').read_text())['sets'] for run in (whole, broken)]
    assert found[0] == found[1]


def test_an_end_that_was_interrupted_is_made_up_for(
    model: Path,
    drives: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    run = tmp_path / 'run'
    with monkeypatch.context() as patched:
        patched.setattr('vpr_training.runs.training_run.map_drive', interrupted)
        assert train(flags(model, drives / 'day', run, '--epochs=1', '--data.workers=0')) == 130
    assert f'--resume {run}' in capsys.readouterr().err
    made = read_card(run / 'model' / 'card.json')
    assert not (run / 'map').exists() and not (run / 'result.json').exists()
    assert train([f'--resume={run}']) == 0
    assert len(PlaceMap.open(run / 'map')) == PLACES * 2 and (run / 'result.json').exists()
    assert read_card(run / 'model' / 'card.json') == made


def test_bad_input_is_one_line_and_leaves_the_run_alone(
    model: Path, drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unposed = tmp_path / 'unposed'
    (unposed / 'images').mkdir(parents=True)
    (unposed / 'images' / '0.jpg').write_bytes(encode_jpeg(draw_place(0, 0)))
    few = write_drives(tmp_path / 'few', 'day', places=2)
    for root, more, complaint in (
        (unposed, (), 'not a known training set'),
        (few, (), 'a batch needs at least two places'),
        (drives, ('--data.held_out=0',), 'finish has no images to measure on'),
        (
            drives / 'day',
            ('--validation.radius=0.001',),
            'no query with a true match within 0.001 m',
        ),
        (
            drives,
            ('--network.image_width=96', '--network.aggregator=convap'),
            'of another architecture (network.aggregator is gem, not convap, '
            'network.image_width is 64, not 96); leave these settings out',
        ),
        (drives, ('--init=',), 'init is not given'),
        (drives, ('--data.held_out=2',), 'data.held_out is 2'),
        (drives, (f'--init={tmp_path / "none"}',), 'no such file'),
        (drives, (f'--init={drives}',), 'card.json'),
    ):
        assert train(flags(model, root, tmp_path / 'run', *more)) == 2
        assert complaint in one_line(capsys)
        assert not (tmp_path / 'run').exists()
    (tmp_path / 'file').write_text('not a folder')
    assert train(flags(model, drives, tmp_path / 'file' / 'run')) == 2
    assert 'cannot be written' in one_line(capsys)
