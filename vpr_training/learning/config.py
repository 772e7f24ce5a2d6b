"""Settings of what changes the weights."""

from dataclasses import dataclass, field
from typing import Any, Literal


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
class WhiteningConfig:
    """What vpr_training.whitening makes of the images' means and covariances."""

    least_variance: float = 0.3
    """Added to each component's variance, as a share of their mean: weak ones are mostly noise."""
    cells_power: float = 0.35
    """Cells: the power of its variance by which each component is divided; 0.5 whitens wholly."""
    cells_turns: int = 50
    """Cells: steps that turn their axes until signs say most; 0: axes stay as they are."""
    cells_samples: int = 100_000
    """Cells: how many are looked at, over all images; 100,000 of 256 channels are 0.1 GB."""


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
    """Further arguments of its constructor; defaults are the paper's (learning/schedules.py)."""
    warmup_steps: int = 600
    """Steps over which the rate rises linearly to the scheduled one; 0: none."""
