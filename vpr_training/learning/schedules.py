"""Optimizers, learning-rate schedules, and a warm-up that does not fight them.

The defaults of the schedules are the paper's. All of them step once per epoch. The warm-up scales
the scheduled rate for the duration of a step and puts it back, so a schedule never sees it.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import lr_scheduler

from vpr_training.basics.errors import TrainingError
from vpr_training.learning.config import OptimizerConfig, SchedulerConfig

_OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    'adam': torch.optim.Adam,
    'adamw': torch.optim.AdamW,
    'asgd': torch.optim.ASGD,
    'sgd': torch.optim.SGD,
}
_SCHEDULERS: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    'none': (lr_scheduler.ConstantLR, {'factor': 1.0}),
    'multi_step': (lr_scheduler.MultiStepLR, {'milestones': [5, 10, 15], 'gamma': 0.3}),
    'plateau': (lr_scheduler.ReduceLROnPlateau, {'mode': 'min', 'min_lr': 0.0}),
    'cosine': (lr_scheduler.CosineAnnealingLR, {'T_max': 5}),
    # The momentum is left alone: Adam has none to cycle, and the paper names none.
    'cyclic': (
        lr_scheduler.CyclicLR,
        {
            'base_lr': 1e-3,
            'max_lr': 0.1,
            'step_size_up': 1,
            'mode': 'triangular2',
            'cycle_momentum': False,
        },
    ),
}


def make_optimizer(
    config: OptimizerConfig, parameters: Sequence[Parameter]
) -> torch.optim.Optimizer:
    """The optimizer of a run; TrainingError for an option that it does not have."""
    try:
        return _OPTIMIZERS[config.name](
            parameters, lr=config.lr, weight_decay=config.weight_decay, **config.options
        )
    except (TypeError, ValueError) as error:
        raise TrainingError(f'optimizer {config.name}: {error}') from error


def make_scheduler(config: SchedulerConfig, optimizer: torch.optim.Optimizer) -> Any:
    """The schedule of a run; TrainingError for an option that it does not have."""
    kind, options = _SCHEDULERS[config.name]
    milestones = config.options.get('milestones', [])
    if not isinstance(milestones, list) or not all(isinstance(one, int) for one in milestones):
        raise TrainingError(
            f'scheduler {config.name}: milestones is {milestones!r}, expected epochs such as '
            '[5, 10]'
        )
    try:
        return kind(optimizer, **{**options, **config.options})
    except (TypeError, ValueError, ArithmeticError) as error:
        raise TrainingError(f'scheduler {config.name}: {error}') from error


def step_epoch(scheduler: Any, loss: float) -> None:
    """End an epoch; loss: its mean, which only ReduceLROnPlateau looks at."""
    with warnings.catch_warnings():  # a run that goes on at an epoch's end takes no step before
        warnings.filterwarnings('ignore', message='Detected call of `lr_scheduler.step')
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(loss)
        else:
            scheduler.step()


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The scheduled rate, without warm-up."""
    return float(optimizer.param_groups[0]['lr'])


def warm_up_factor(step: int, warmup_steps: int) -> float:
    """What the scheduled rate is multiplied by in a step, from 0: (step + 1) / warmup_steps."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


@contextmanager
def warmed_up(optimizer: torch.optim.Optimizer, step: int, warmup_steps: int) -> Iterator[None]:
    """Scale the rate by `warm_up_factor` inside the block."""
    factor = warm_up_factor(step, warmup_steps)
    scheduled = [group['lr'] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, scheduled, strict=True):
        group['lr'] = rate * factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, scheduled, strict=True):
            group['lr'] = rate


def rates_over_epochs(
    optimizer: OptimizerConfig, scheduler: SchedulerConfig, epochs: int
) -> list[float]:
    """The rate of each epoch, by running the schedule on nothing, with a loss that never falls.

    Raises TrainingError for options that the optimizer or the schedule cannot compute with.
    """
    moving = make_optimizer(optimizer, [Parameter(torch.zeros(1))])
    schedule = make_scheduler(scheduler, moving)
    rates = []
    for epoch in range(1, epochs + 1):
        rates.append(rate := learning_rate(moving))
        if not 0 <= rate < math.inf:
            raise TrainingError(
                f'scheduler {scheduler.name}: the learning rate of epoch {epoch} is {rate}, '
                'expected 0 or more; change scheduler.options'
            )
        try:
            step_epoch(schedule, 1.0)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise TrainingError(f'scheduler {scheduler.name}: {error}') from error
    return rates
