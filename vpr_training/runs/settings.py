"""All settings of a training run: the dataclasses are their one home.

YAML files, command line and help are made from them by jsonargparse, which refuses unknown keys
and values of another type. `python -m vpr_training.train --print_config` prints them all.
"""

import json
import math
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from docstring_parser import DocstringMeta, parse_from_object
from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

from vpr_training.basics.errors import TrainingError
from vpr_training.data.config import DataConfig
from vpr_training.models.network import NetworkConfig

set_parsing_settings(docstring_parse_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What pulls images of a place together and pushes places apart."""

    name: Literal['multi_similarity', 'contrastive', 'triplet', 'ntxent', 'circle'] = (
        'multi_similarity'
    )
    """The loss, as pytorch-metric-learning has it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of its constructor; multi_similarity: alpha 1, beta 50, base 0."""
    miner: Literal['multi_similarity', 'batch_hard', 'none'] = 'multi_similarity'
    """Which pairs of a batch the loss sees; none: all."""
    miner_options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the miner's constructor; multi_similarity: epsilon 0.1."""


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """A teacher to learn from, in place of the loss of places."""

    teacher: str = ''
    """A file such as config/models/lite0.yaml, or a checkpoint; empty: none, places teach."""
    maps: float = 1.0
    """Weight of what the teacher sees in each cell of its feature maps."""
    similarities: float = 1.0
    """Weight of how alike the teacher finds two images."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How the weights move."""

    name: Literal['adam', 'adamw', 'asgd', 'sgd'] = 'adam'
    """The optimizer, as torch.optim has it; adam is Adam, not AdamW."""
    lr: float = 2e-4
    """Learning rate before the schedule."""
    weight_decay: float = 0.0
    """Decay: L2 in adam, asgd and sgd, decoupled in adamw."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of its constructor, such as momentum."""
    gradient_clip: float = 0.0
    """Largest norm of all gradients together; 0: not clipped."""


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """How the learning rate changes: the warm-up by step, everything else once per epoch."""

    name: Literal['none', 'multi_step', 'plateau', 'cosine', 'cyclic'] = 'multi_step'
    """MultiStepLR, ReduceLROnPlateau, CosineAnnealingLR, CyclicLR (triangular2)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of its constructor; the paper's are the defaults (see schedules.py)."""
    warmup_steps: int = 600
    """Steps over which the rate rises linearly to the scheduled one; 0: none."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """What recall is measured on while training."""

    roots: tuple[str, ...] = ()
    """Evaluation sets; the first one's R@1 chooses the best checkpoint. None: the loss does."""
    radius: float = 0.0
    """Metres within which an answer is right, where positions are known; 0: the set's own."""
    every: int = 1
    """Epochs between two validations."""
    batch: int = 32
    """Images described at once."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Backbone and aggregator."""
    data: DataConfig = field(default_factory=DataConfig)
    """Training images, and how batches are made of them."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Loss and miner."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Teacher in place of the loss; its images need no places (data.images_per_place: 1)."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimizer."""
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    """Learning rate over time."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Recall while training."""
    epochs: int = 30
    """Passes over the places."""
    steps: int = 0
    """Optimizer steps, in place of epochs, where the data may be of any size; 0: epochs count."""
    patience: int = 0
    """Stop after so many validations without a better one; 0: never."""
    seed: int = 0
    """Of the weights that start random, the sampling and the augmentation."""
    init: str = ''
    """Start of fine-tuning: shipped, a model folder, or a checkpoint; empty: network.weights."""
    finish: bool = False
    """At the end: RUN/model and RUN/map, and recall before and after on what is held out."""
    accelerator: Literal['auto', 'cpu', 'gpu'] = 'auto'
    """What it runs on."""
    devices: int = 0
    """Number of GPUs, or of processes on a CPU; 0: all GPUs, one process on a CPU."""
    precision: Literal['auto', '32', '16-mixed', 'bf16-mixed'] = 'auto'
    """Number format; auto: 16-mixed on a GPU, 32 on a CPU."""
    checkpoint_minutes: float = 10.0
    """Time between two checkpoints within an epoch; each epoch ends with one anyway."""

    def epochs_of(self, batches: int) -> int:
        """How many there will be, of so many batches each; the last may end early."""
        return math.ceil(self.steps / batches) if self.steps else self.epochs

    def check(self, source: str) -> None:
        """Raise TrainingError for a value that no run can have."""
        self.network.check(source)
        for name, value, low in (
            ('epochs', self.epochs, 1),
            ('steps', self.steps, 0),
            ('patience', self.patience, 0),
            ('devices', self.devices, 0),
            ('seed', self.seed, 0),
            ('scheduler.warmup_steps', self.scheduler.warmup_steps, 0),
            ('validation.every', self.validation.every, 1),
            ('validation.batch', self.validation.batch, 1),
            ('optimizer.weight_decay', self.optimizer.weight_decay, 0),
            ('optimizer.gradient_clip', self.optimizer.gradient_clip, 0),
            ('distillation.maps', self.distillation.maps, 0),
            ('distillation.similarities', self.distillation.similarities, 0),
        ):
            if not value >= low:
                raise TrainingError(f'{source}: {name} is {value}, expected {low} or more')
        for name, positive in (
            ('optimizer.lr', self.optimizer.lr),
            ('checkpoint_minutes', self.checkpoint_minutes),
        ):
            if not positive > 0:
                raise TrainingError(f'{source}: {name} is {positive}, expected more than 0')
        self.data.check()
        if self.finish and not self.init:
            raise TrainingError(f'{source}: finish compares with the start; init is not given')
        if self.finish and not self.data.held_out and not self.validation.roots:
            raise TrainingError(
                f'{source}: finish measures on nothing; set data.held_out or validation.roots'
            )


class HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Settings with their defaults, below a description whose lines stay as they are."""


def add_settings(parser: ArgumentParser) -> None:
    """Add --config and a flag for each setting to a command's arguments."""
    parser.add_argument(
        '--config', action='config', help='a file of settings: config/train/*.yaml'
    )
    parser.add_class_arguments(TrainConfig)


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Any:
    """Arguments of the command line; TrainingError for what it cannot mean."""
    try:
        return parser.parse_args(argv)
    except ArgumentError as error:
        said = ' '.join(str(error).split())
        # Of a file that is not YAML, jsonargparse does not say which.
        words = [word for flag in argv or () for word in flag.split('=', 1)]
        files = [after for word, after in pairwise(words) if word == '--config']
        where = f'{", ".join(files)}: ' if said.startswith('Problems parsing config') else ''
        raise TrainingError(where + said) from error


def settings(parser: ArgumentParser, arguments: Any, *, source: str) -> TrainConfig:
    """The settings among parsed arguments, checked; raises TrainingError."""
    made = parser.instantiate(arguments)
    config = TrainConfig(
        **{entry.name: getattr(made, entry.name) for entry in fields(TrainConfig)}
    )
    config.check(source)
    return config


def read_settings(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Settings from a YAML file and flags that go before it; raises TrainingError."""
    parser = ArgumentParser(exit_on_error=False)
    add_settings(parser)
    return settings(parser, parse(parser, ['--config', str(path), *overrides]), source=str(path))


def all_settings() -> str:
    """The text of config/train/all_settings.yaml: every key with its default and meaning."""
    lines = [
        '# Every setting of `python -m vpr_training.train`, with its default and meaning. Made by',
        '# `python -m vpr_training.config`; a file of settings needs only what differs.',
        *_documented(TrainConfig(), indent=''),
    ]
    return '\n'.join(lines) + '\n'


def _documented(section: Any, *, indent: str) -> list[str]:
    documents = {one.args[1]: one.description for one in _attributes(type(section))}
    lines = []
    for entry in fields(section):
        value = getattr(section, entry.name)
        lines.append(f'{indent}# {" ".join((documents[entry.name] or "").split())}')
        if is_dataclass(value):
            lines += [f'{indent}{entry.name}:', *_documented(value, indent=f'{indent}  ')]
        else:
            held = list(value) if isinstance(value, tuple) else value
            lines.append(f'{indent}{entry.name}: {json.dumps(held)}')
    return lines


def _attributes(section: type) -> list[DocstringMeta]:
    return [one for one in parse_from_object(section).meta if one.args[0] == 'attribute']


if __name__ == '__main__':
    print(all_settings(), end='')
