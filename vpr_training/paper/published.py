"""What the paper published, to stand beside what is measured here.

"Enhancing Visual Place Recognition through Advanced Pooling Strategies and Optimization
Techniques": recall in percent at 1 and 5, by ResNet18 cut at its third stage, trained on GSV-XS.
A table of the same paper with R@5 of 83.91, 48.80 and 61.90 for the baseline contradicts the table
of pooling below, which is the one to reproduce.
"""

from dataclasses import dataclass

SETS = ('SF-XS val', 'SF-XS test', 'Tokyo-XS')


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: the file of settings that repeats it, and the published recalls."""

    config: str  # under config/train
    pooling: str
    varied: str  # what the table is about, '' for the pooling itself
    recall: tuple[tuple[float, float], ...]  # R@1 and R@5 in percent, per set of SETS


_GEM_ADAM = ((56.82, 72.33), (21.60, 36.90), (35.24, 53.02))
_MIXVPR_ADAM = ((78.28, 85.86), (57.70, 69.40), (73.65, 84.13))

TABLES: dict[str, tuple[Row, ...]] = {
    'pooling': (
        Row('resnet18_avg', 'AVG', '', ((54.96, 69.60), (17.20, 32.40), (29.84, 46.35))),
        Row('resnet18_gem', 'GeM', '', ((57.12, 72.68), (23.00, 37.10), (34.29, 51.75))),
        Row('resnet18_mixvpr', 'MixVPR', '', ((78.41, 86.28), (57.40, 69.10), (72.38, 84.13))),
    ),
    'optimizers': (
        Row('resnet18_gem_adam', 'GeM', 'Adam', _GEM_ADAM),
        Row(
            'resnet18_gem_adamw', 'GeM', 'AdamW', ((58.85, 73.70), (23.10, 35.70), (33.33, 52.38))
        ),
        Row('resnet18_gem_asgd', 'GeM', 'ASGD', ((55.84, 71.24), (22.20, 37.30), (30.48, 53.02))),
        Row('resnet18_mixvpr_adam', 'MixVPR', 'Adam', _MIXVPR_ADAM),
        Row(
            'resnet18_mixvpr_adamw',
            'MixVPR',
            'AdamW',
            ((78.23, 86.15), (53.60, 66.90), (64.44, 78.73)),
        ),
        Row(
            'resnet18_mixvpr_asgd',
            'MixVPR',
            'ASGD',
            ((77.13, 85.30), (52.80, 67.00), (61.27, 74.29)),
        ),
    ),
    'schedulers': (
        Row('resnet18_gem_adam', 'GeM', 'MultiStepLR', _GEM_ADAM),
        Row(
            'resnet18_gem_plateau',
            'GeM',
            'ReduceLROnPlateau',
            ((58.25, 73.29), (23.70, 37.90), (32.38, 50.16)),
        ),
        Row(
            'resnet18_gem_cosine',
            'GeM',
            'CosineAnnealingLR',
            ((57.58, 72.74), (21.40, 38.80), (34.29, 53.02)),
        ),
        Row(
            'resnet18_gem_cyclic',
            'GeM',
            'CyclicLR triangular2',
            ((58.26, 73.36), (20.80, 37.10), (29.52, 51.11)),
        ),
        Row('resnet18_mixvpr_adam', 'MixVPR', 'MultiStepLR', _MIXVPR_ADAM),
        Row(
            'resnet18_mixvpr_plateau',
            'MixVPR',
            'ReduceLROnPlateau',
            ((78.66, 85.83), (55.50, 68.40), (67.62, 80.63)),
        ),
        Row(
            'resnet18_mixvpr_cosine',
            'MixVPR',
            'CosineAnnealingLR',
            ((78.27, 85.37), (56.10, 69.70), (71.75, 83.17)),
        ),
        Row(
            'resnet18_mixvpr_cyclic',
            'MixVPR',
            'CyclicLR triangular2',
            ((77.46, 85.31), (50.90, 62.70), (70.79, 80.63)),
        ),
    ),
}

GRID: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    'adamw': ((1e-4, 3e-4, 1e-3, 3e-3), (0.0, 0.01, 0.1)),
    'asgd': ((3e-2, 1e-1, 3e-1, 1.0), (0.0, 0.001, 0.01)),
}
"""Figure 2, GeM: optimizer -> learning rates and weight decays.

The paper names only the best ones (AdamW 1e-3 and 0.1, ASGD 3e-1 and 0.001); the grid around them
is ours.
"""
