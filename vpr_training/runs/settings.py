"""All settings of a training run: the dataclasses are their one home.

Those of the network, the data and the learning stand in their own rooms. YAML files, command line
and help are made from them (see `settings_parser`).
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from vpr_ros.batch.workers import MOST_PROCESSES
from vpr_training.basics.errors import TrainingError
from vpr_training.data.config import DataConfig
from vpr_training.learning.config import (
    DistillationConfig,
    LossConfig,
    OptimizerConfig,
    SchedulerConfig,
    WhiteningConfig,
)
from vpr_training.models.network import NetworkConfig

_LARGEST_SEED = 2**32 - 1  # of NumPy


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """What recall is measured on while training."""

    roots: tuple[str, ...] = ()
    """Evaluation sets. R@1 on the first one chooses the best checkpoint, else the loss does."""
    radius: float = 0.0
    """Metres within which an answer is right, if positions are known. 0 means as the set says."""
    every: int = 1
    """Number of epochs between two validations."""
    batch: int = 32
    """Number of images described at once."""


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
    """Teacher that replaces the loss. Its images need no places (data.images_per_place: 1)."""
    whitening: WhiteningConfig = field(default_factory=WhiteningConfig)
    """Settings of vpr_training.whitening. Training does not use them."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimizer."""
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    """Learning rate over time."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Recall while training."""
    epochs: int = 30
    """Number of passes over the places."""
    steps: int = 0
    """Number of optimizer steps, which replaces epochs. 0 means that epochs decide."""
    patience: int = 0
    """Stop after this many validations without improvement. 0 means never."""
    seed: int = 0
    """Seed of the random weights, the sampling and the augmentation."""
    init: str = ''
    """Start of fine-tuning: shipped, a model folder, or a checkpoint. Empty: network.weights."""
    finish: bool = False
    """At the end, write RUN/model and RUN/map, and compare recall on the held-out part."""
    accelerator: Literal['auto', 'cpu', 'gpu'] = 'auto'
    """Hardware to train on."""
    devices: int = 0
    """Number of GPUs, or of processes on a CPU. 0 means all GPUs, or one process on a CPU."""
    precision: Literal['auto', '32', '16-mixed', 'bf16-mixed'] = 'auto'
    """Number format. auto means 16-mixed on a GPU and 32 on a CPU."""
    checkpoint_minutes: float = 10.0
    """Time between two checkpoints within an epoch. Each epoch also ends with one."""

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
            ('distillation.cells', self.distillation.cells, 0),
            ('whitening.least_variance', self.whitening.least_variance, 0),
            ('whitening.cells_power', self.whitening.cells_power, 0),
            ('whitening.cells_turns', self.whitening.cells_turns, 0),
            ('whitening.cells_samples', self.whitening.cells_samples, 1),
            ('validation.radius', self.validation.radius, 0),
        ):
            if not low <= value < math.inf:
                raise TrainingError(f'{source}: {name} is {value}, expected {low} or more')
        for name, value, high in (
            ('seed', self.seed, _LARGEST_SEED),
            ('devices', self.devices, MOST_PROCESSES),
        ):
            if value > high:
                raise TrainingError(f'{source}: {name} is {value}, expected at most {high}')
        for name, positive in (
            ('optimizer.lr', self.optimizer.lr),
            ('checkpoint_minutes', self.checkpoint_minutes),
        ):
            if not 0 < positive < math.inf:
                raise TrainingError(f'{source}: {name} is {positive}, expected more than 0')
        self.data.check()
        if self.finish and not self.init:
            raise TrainingError(
                f'{source}: finish compares with the model of init, but init is not given; set '
                'init'
            )
        if self.finish and not self.data.held_out and not self.validation.roots:
            raise TrainingError(
                f'{source}: finish has no images to measure on; set data.held_out or '
                'validation.roots'
            )
