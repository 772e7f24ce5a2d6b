"""Learning rates, number by number, and a warm-up that the schedules never see."""

import math

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('jsonargparse', reason='make setup-training')
from torch.optim import lr_scheduler

from vpr_training.basics.errors import TrainingError
from vpr_training.learning.config import OptimizerConfig, SchedulerConfig
from vpr_training.learning.schedules import (
    learning_rate,
    make_optimizer,
    make_scheduler,
    rates_over_epochs,
    step_epoch,
    warmed_up,
)

ADAM = OptimizerConfig(name='adam', lr=2e-4)


def of_torch(
    kind: type, epochs: int, losses: list[float] | None = None, **options: object
) -> list[float]:
    """Rates of torch's own schedule, built and stepped by hand."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    schedule, rates = kind(optimizer, **options), []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step(*([losses[epoch]] if losses else []))
    return rates


def test_multi_step_is_torchs_and_the_formula() -> None:
    found = rates_over_epochs(ADAM, SchedulerConfig(name='multi_step'), 20)
    assert found == of_torch(lr_scheduler.MultiStepLR, 20, milestones=[5, 10, 15], gamma=0.3)
    np.testing.assert_allclose(found, [2e-4 * 0.3 ** (epoch // 5) for epoch in range(20)])


def test_cosine_is_torchs_and_the_formula() -> None:
    found = rates_over_epochs(ADAM, SchedulerConfig(name='cosine'), 15)
    assert found == of_torch(lr_scheduler.CosineAnnealingLR, 15, T_max=5)
    expected = [1e-4 * (1 + math.cos(math.pi * epoch / 5)) for epoch in range(15)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_cyclic_is_torchs_and_the_formula() -> None:
    found = rates_over_epochs(ADAM, SchedulerConfig(name='cyclic'), 12)
    assert found == of_torch(
        lr_scheduler.CyclicLR, 12, base_lr=1e-3, max_lr=0.1, step_size_up=1, mode='triangular2',
        cycle_momentum=False,
    )  # fmt: skip
    # Up in one epoch, down in one, each peak half as high above the base.
    expected = [1e-3 + (0.099 / 2 ** (epoch // 2) if epoch % 2 else 0) for epoch in range(12)]
    np.testing.assert_allclose(found, expected)


def test_plateau_is_torchs_and_looks_at_the_loss() -> None:
    losses = [1.0, 0.5, *[0.5] * 12, 0.1]
    optimizer = make_optimizer(ADAM, [torch.nn.Parameter(torch.zeros(1))])
    schedule = make_scheduler(SchedulerConfig(name='plateau'), optimizer)
    found = []
    for loss in losses:
        found.append(learning_rate(optimizer))
        optimizer.step()
        step_epoch(schedule, loss)
    assert found == of_torch(lr_scheduler.ReduceLROnPlateau, 15, losses, mode='min', min_lr=0.0)
    # Ten epochs without a better loss are allowed, the next one lowers the rate.
    np.testing.assert_allclose(found, [2e-4] * 13 + [2e-5] * 2)


def test_no_schedule_keeps_the_rate() -> None:
    assert rates_over_epochs(ADAM, SchedulerConfig(name='none'), 4) == [2e-4] * 4


def test_a_run_that_goes_on_at_the_end_of_an_epoch_steps_its_schedule_first() -> None:
    """Torch would warn of a schedule that is ahead of its optimizer; warnings are errors here."""
    optimizer = make_optimizer(ADAM, [torch.nn.Parameter(torch.zeros(1))])
    options = {'milestones': [1], 'gamma': 0.3}
    schedule = make_scheduler(SchedulerConfig(name='multi_step', options=options), optimizer)
    step_epoch(schedule, 1.0)
    assert learning_rate(optimizer) == pytest.approx(0.3 * 2e-4)


@pytest.mark.parametrize('name', ['multi_step', 'plateau', 'cosine', 'cyclic'])
def test_a_warm_up_does_not_change_what_the_schedule_does(name: str) -> None:
    scheduler = SchedulerConfig(name=name)
    optimizer = make_optimizer(ADAM, [torch.nn.Parameter(torch.zeros(1))])
    schedule = make_scheduler(scheduler, optimizer)
    plain, scheduled, used = rates_over_epochs(ADAM, scheduler, 8), [], []
    for epoch in range(8):
        scheduled.append(learning_rate(optimizer))
        for batch in range(3):
            with warmed_up(optimizer, 3 * epoch + batch, 10):
                used.append(learning_rate(optimizer))
                optimizer.step()
        step_epoch(schedule, 1.0)
    assert scheduled == plain
    expected = [plain[step // 3] * min(1, (step + 1) / 10) for step in range(24)]
    np.testing.assert_allclose(used, expected)


def test_adam_is_adam_and_not_adamw() -> None:
    moving = make_optimizer(ADAM, [torch.nn.Parameter(torch.zeros(1))])
    assert type(moving) is torch.optim.Adam
    decayed = make_optimizer(
        OptimizerConfig(name='adamw', lr=1e-3, weight_decay=0.1),
        [torch.nn.Parameter(torch.zeros(1))],
    )
    assert type(decayed) is torch.optim.AdamW and decayed.defaults['weight_decay'] == 0.1


@pytest.mark.parametrize('name', ['adam', 'adamw', 'asgd', 'sgd'])
def test_every_optimizer_finds_the_bottom_of_a_bowl(name: str) -> None:
    place = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = make_optimizer(OptimizerConfig(name=name, lr=0.05), [place])
    for _ in range(400):
        optimizer.zero_grad()
        (place**2).sum().backward()
        optimizer.step()
    assert place.detach().norm() < 0.1


def test_options_that_do_not_exist_are_named() -> None:
    with pytest.raises(TrainingError, match=r'optimizer adam.*wings'):
        make_optimizer(OptimizerConfig(options={'wings': 2}), [torch.nn.Parameter(torch.zeros(1))])
    optimizer = make_optimizer(ADAM, [torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(TrainingError, match=r'scheduler cosine.*gamma'):
        make_scheduler(SchedulerConfig(name='cosine', options={'gamma': 1}), optimizer)
