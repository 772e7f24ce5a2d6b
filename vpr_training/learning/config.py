"""Settings of what changes the weights."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What pulls images of a place together and pushes places apart."""

    name: Literal['multi_similarity', 'contrastive', 'triplet', 'ntxent', 'circle'] = (
        'multi_similarity'
    )
    """The loss, from pytorch-metric-learning."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the loss. multi_similarity has alpha 1, beta 50, base 0."""
    miner: Literal['multi_similarity', 'batch_hard', 'none'] = 'multi_similarity'
    """How to choose the pairs of a batch that the loss sees. none takes all pairs."""
    miner_options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the miner. multi_similarity has epsilon 0.1."""


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """A teacher to learn from, in place of the loss of places."""

    teacher: str = ''
    """config/models/*.yaml, a checkpoint, or a model folder. Empty means training on places."""
    maps: float = 1.0
    """Weight of the difference to the teacher's feature maps, cell by cell."""
    similarities: float = 1.0
    """Weight of the difference to the teacher's similarities of two images."""
    cells: float = 0.0
    """Weight of the difference to the teacher's cells. 0: they do not learn (network.cells)."""


@dataclass(frozen=True, kw_only=True)
class WhiteningConfig:
    """What vpr_training.whitening makes of the images' means and covariances."""

    least_variance: float = 0.3
    """Added to each variance, as a share of their mean: weak components are mostly noise."""
    cells: bool = True
    """Whether cells are learned, where the network has some. false keeps those of init."""
    cells_power: float = 0.35
    """Cells: each component is divided by its variance to this power. 0.5 whitens fully."""
    cells_turns: int = 50
    """Cells: number of steps that turn the axes so that signs keep the most. 0 means none."""
    cells_samples: int = 100_000
    """Cells: number of cells to sample from all images. 100,000 of 256 channels take 0.1 GB."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How the weights move."""

    name: Literal['adam', 'adamw', 'asgd', 'sgd'] = 'adam'
    """The optimizer, from torch.optim. adam is Adam, not AdamW."""
    lr: float = 2e-4
    """Learning rate before the schedule."""
    weight_decay: float = 0.0
    """Weight decay: L2 in adam, asgd and sgd, decoupled in adamw."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the optimizer, such as momentum."""
    gradient_clip: float = 0.0
    """Largest norm of all gradients together. 0 means no clipping."""


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """How the learning rate changes: the warm-up by step, everything else once per epoch."""

    name: Literal['none', 'multi_step', 'plateau', 'cosine', 'cyclic'] = 'multi_step'
    """MultiStepLR, ReduceLROnPlateau, CosineAnnealingLR or CyclicLR (triangular2)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the schedule. The defaults are the paper's (learning/schedules.py)."""
    warmup_steps: int = 600
    """Number of steps in which the rate rises linearly to the scheduled one. 0 means none."""
