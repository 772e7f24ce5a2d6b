"""Settings: published rows as files, unknown keys refused, every key documented."""

import re
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('jsonargparse', reason='make setup-training')
from vpr_training.basics.errors import TrainingError
from vpr_training.config import all_settings
from vpr_training.learning.config import LossConfig, OptimizerConfig, SchedulerConfig
from vpr_training.learning.losses import PlaceLoss
from vpr_training.learning.schedules import rates_over_epochs
from vpr_training.paper import published as paper
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.settings_parser import read_settings

FILES = sorted((ROOT / 'config' / 'train').glob('*.yaml'))


def settings(tmp_path: Path, text: str, *flags: str) -> TrainConfig:
    path = tmp_path / 'settings.yaml'
    path.write_text(text)
    return read_settings(path, flags)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_read(path: Path) -> None:
    read_settings(path)


def test_there_is_a_file_for_every_published_row_and_it_says_what_the_row_says() -> None:
    rates = {'adam': (2e-4, 0.0), 'adamw': (1e-3, 0.1), 'asgd': (0.3, 0.001)}
    schedulers = {
        'MultiStepLR': ('multi_step', {'milestones': [5, 10, 15], 'gamma': 0.3}),
        'ReduceLROnPlateau': ('plateau', {'mode': 'min', 'min_lr': 0.0}),
        'CosineAnnealingLR': ('cosine', {'T_max': 5}),
        'CyclicLR triangular2': ('cyclic', {'base_lr': 1e-3, 'max_lr': 0.1, 'step_size_up': 1}),
    }
    for table, rows in paper.TABLES.items():
        for row in rows:
            config = read_settings(ROOT / 'config' / 'train' / f'{row.config}.yaml')
            assert config.network.aggregator == row.pooling.lower()
            assert config.epochs == (30 if table == 'pooling' else 15)
            assert (config.network.last_stage, config.network.frozen_stages) == (3, 2)
            assert (config.data.places_per_batch, config.data.images_per_place) == (32, 4)
            assert config.loss.options == {'alpha': 1, 'beta': 50, 'base': 0}
            assert config.scheduler.warmup_steps == 600
            optimizer = row.varied.lower() if table == 'optimizers' else 'adam'
            assert config.optimizer.name == optimizer
            assert (config.optimizer.lr, config.optimizer.weight_decay) == rates[optimizer]
            name, options = schedulers[row.varied if table == 'schedulers' else 'MultiStepLR']
            assert config.scheduler.name == name
            assert options.items() <= config.scheduler.options.items()


def test_a_flag_overrides_the_file(tmp_path: Path) -> None:
    config = settings(tmp_path, 'optimizer: {lr: 2e-4}\nepochs: 3\n', '--optimizer.lr=5e-3')
    assert config.optimizer.lr == 5e-3 and config.epochs == 3


def test_a_file_of_settings_may_have_an_equals_sign_in_its_path(tmp_path: Path) -> None:
    folder = tmp_path / 'lr=0.1'
    folder.mkdir()
    assert settings(folder, 'epochs: 3\n').epochs == 3


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('optimiser: {lr: 1}', 'optimiser'),
        ('optimizer: {rate: 1}', 'rate'),
        ('epochs: many', 'epochs'),
        ('optimizer: {name: lion}', 'lion'),
        ('epochs: 0', 'epochs is 0'),
        ('devices: 999999', 'devices is 999999, expected at most 256'),
        ('seed: 4294967296', 'seed is 4294967296, expected at most 4294967295'),
        ('optimizer: {lr: -1}', 'optimizer.lr is -1'),
        ('optimizer: {lr: .nan}', 'optimizer.lr is nan'),
        ('network: {last_stage: 9}', 'last_stage 9'),
        ('epochs: [', 'settings.yaml'),
        ('optimizer: {lr: .inf}', 'optimizer.lr is inf'),
        ('validation: {radius: -5}', 'validation.radius is -5'),
        ('', 'settings.yaml: holds no settings'),
        ('- seed', 'settings.yaml: holds no settings'),
        ('data:\n', 'settings.yaml: data has no settings below it; .* or remove the line'),
        ('seed: 1\nepochs: 2\nseed: 3', 'settings.yaml: seed is there twice, in lines 1 and 3'),
        ('data: {root: a}\nepochs: 2\ndata: {cities: [b]}', 'data is there twice'),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(TrainingError, match=said) as caught:
        settings(tmp_path, text)
    assert '\n' not in str(caught.value)


def with_setting(name: str, value: float) -> TrainConfig:
    group, _, entry = name.rpartition('.')
    config = TrainConfig()
    if not group:
        return replace(config, **{entry: value})
    return replace(config, **{group: replace(getattr(config, group), **{entry: value})})


@pytest.mark.parametrize(
    ('name', 'low', 'below'),
    [
        ('epochs', 1, 0),
        ('steps', 0, -1),
        ('patience', 0, -1),
        ('devices', 0, -1),
        ('seed', 0, -1),
        ('scheduler.warmup_steps', 0, -1),
        ('validation.every', 1, 0),
        ('validation.batch', 1, 0),
        ('validation.radius', 0.0, -0.1),
        ('optimizer.weight_decay', 0.0, -0.1),
        ('optimizer.gradient_clip', 0.0, -0.1),
        ('distillation.maps', 0.0, -0.1),
        ('distillation.similarities', 0.0, -0.1),
        ('distillation.cells', 0.0, -0.1),
        ('whitening.least_variance', 0.0, -0.1),
        ('whitening.cells_power', 0.0, -0.1),
        ('whitening.cells_turns', 0, -1),
        ('whitening.cells_samples', 1, 0),
        ('optimizer.lr', 1e-9, 0.0),
        ('checkpoint_minutes', 1e-9, 0.0),
    ],
)
def test_each_setting_has_a_least_value(name: str, low: float, below: float) -> None:
    with_setting(name, low).check('here')
    for wrong in (below, float('nan'), float('inf')):
        with pytest.raises(TrainingError, match=f'^here: {name} is {wrong}, expected'):
            with_setting(name, wrong).check('here')


@pytest.mark.parametrize(('name', 'most'), [('seed', 2**32 - 1), ('devices', 256)])
def test_some_settings_have_a_largest_value(name: str, most: int) -> None:
    with_setting(name, most).check('here')
    with pytest.raises(TrainingError, match=f'{name} is {most + 1}, expected at most {most}'):
        with_setting(name, most + 1).check('here')


def test_an_end_with_a_comparison_needs_a_start_and_something_to_measure_on() -> None:
    config = replace(TrainConfig(), finish=True)
    with pytest.raises(TrainingError, match='finish compares with the model of init'):
        config.check('here')
    config = replace(config, init='model')
    with pytest.raises(TrainingError, match='finish has no images to measure on'):
        config.check('here')
    replace(config, data=replace(config.data, held_out=0.3)).check('here')
    replace(config, validation=replace(config.validation, roots=('set',))).check('here')


def test_a_file_that_is_not_utf_8_or_grows_without_bound_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / 'settings.yaml'
    path.write_bytes('# größe\nseed: 1\n'.encode('latin-1'))
    with pytest.raises(TrainingError, match=r'settings.yaml: it is not UTF-8 text'):
        read_settings(path)
    names = 'abcdefghi'
    lines = ['a: &a [lol, lol]', *(f'{b}: &{b} [{f"*{a}, " * 9}]' for a, b in pairwise(names))]
    path.write_text('\n'.join(lines))
    with pytest.raises(TrainingError, match=r'settings.yaml: it has more than 2000000 values'):
        read_settings(path)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('--optimiser.lr', '3'), 'optimiser.lr 3; did you mean --optimizer.lr?'),
        (('data.root=x',), 'data.root=x; did you mean --data.root?'),
        (('--xyzzy=1',), 'xyzzy=1; see --help'),
        (('--optimizer.lr=nan',), 'optimizer.lr is nan, expected a finite number such as 0.001'),
        (('--epochs=x',), 'epochs is x, expected a whole number such as 10'),
        (('--validation.roots=x',), 'validation.roots is x, expected a list such as [a, b]'),
        (('--loss.options=3',), 'loss.options is 3, expected options such as {a: 1, b: 2}'),
        (('--precision=64',), 'is 64, expected one of auto, 32, 16-mixed, bf16-mixed'),
    ],
)
def test_flags_that_cannot_be_are_refused_with_the_nearest_one(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        settings(tmp_path, 'epochs: 2\n', *words)
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            'network:\n  agregator: gem\n',
            'no setting network.agregator; did you mean network.aggre',
        ),
        ('epoch: 3\n', 'no setting epoch; did you mean epochs?'),
        ('xyzzy: 3\n', 'no setting xyzzy; see --help'),
    ],
)
def test_a_misspelt_setting_is_named_with_its_file_and_the_nearest_one(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        settings(tmp_path, text)
    assert str(caught.value).startswith(f'{tmp_path}/settings.yaml: {said}')


def test_options_that_cannot_be_computed_with_are_refused_before_training() -> None:
    for options in ({'T_max': 0}, {'T_max': 'a'}):
        with pytest.raises(TrainingError, match='scheduler cosine: '):
            rates_over_epochs(
                OptimizerConfig(), SchedulerConfig(name='cosine', options=options), 2
            )
    with pytest.raises(TrainingError, match=r'loss.options or loss.miner_options of multi'):
        PlaceLoss(LossConfig(options={'alpha': 'x'}))
    with pytest.raises(TrainingError, match=r'loss.options or loss.miner_options of multi'):
        PlaceLoss(LossConfig(miner_options={'epsilon': 'x'}))
    with pytest.raises(TrainingError, match='of multi_similarity: the loss is nan with them'):
        PlaceLoss(LossConfig(options={'alpha': float('nan')}))
    for options, said in (
        ({'gamma': -1.0}, 'learning rate of epoch 6 is -0.0002, expected 0 or more'),
        ({'gamma': float('nan')}, 'learning rate of epoch 6 is nan'),
        ({'milestones': '5'}, "milestones is '5', expected epochs such as"),
        ({'milestones': ['5']}, "milestones is ['5'], expected epochs such as"),
    ):
        with pytest.raises(TrainingError, match=re.escape(said)):
            rates_over_epochs(OptimizerConfig(), SchedulerConfig(options=options), 7)


def test_the_list_of_all_settings_is_the_one_in_config() -> None:
    path = ROOT / 'config' / 'train' / 'all_settings.yaml'
    assert path.read_text(encoding='utf-8') == all_settings()


def test_every_setting_is_documented() -> None:
    text = all_settings()

    def names(of: type) -> list[str]:
        found = []
        for entry in fields(of):
            kind = entry.default_factory if callable(entry.default_factory) else None
            found += names(kind) if isinstance(kind, type) and is_dataclass(kind) else [entry.name]
        return found

    lines = text.splitlines()
    for name in names(TrainConfig):
        rows = [row for row, line in enumerate(lines) if line.strip().startswith(f'{name}:')]
        assert rows, name
        assert all(lines[row - 1].strip().startswith('# ') for row in rows), name
