"""Losses and miners of pytorch-metric-learning, by name.

All of them compare descriptors by their cosine: descriptors are unit vectors, so that is the dot
product of the paper.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from vpr_training.basics.errors import TrainingError
from vpr_training.learning.config import LossConfig

Mined: TypeAlias = tuple[Tensor, ...]
"""Rows of a batch: anchors, positives, anchors, negatives; or anchors, positives, negatives."""

_LOSSES: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    'multi_similarity': (losses.MultiSimilarityLoss, {'alpha': 1.0, 'beta': 50.0, 'base': 0.0}),
    'contrastive': (losses.ContrastiveLoss, {'pos_margin': 1.0, 'neg_margin': 0.5}),
    'triplet': (losses.TripletMarginLoss, {'margin': 0.1}),
    'ntxent': (losses.NTXentLoss, {'temperature': 0.07}),
    'circle': (losses.CircleLoss, {'m': 0.4, 'gamma': 80}),
}
_MINERS: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    'multi_similarity': (miners.MultiSimilarityMiner, {'epsilon': 0.1}),
    'batch_hard': (miners.BatchHardMiner, {}),
}


class PlaceLoss:
    """Descriptors and place labels -> loss, and the share of pairs that it saw."""

    def __init__(self, config: LossConfig) -> None:
        """Build loss and miner; TrainingError for an option that they cannot use."""
        self._loss = _make(_LOSSES, config.name, config.options)
        self._miner = (
            None if config.miner == 'none' else _make(_MINERS, config.miner, config.miner_options)
        )
        try:
            found, _ = self(torch.eye(4), torch.tensor([0, 0, 1, 1]))
            if not bool(torch.isfinite(found)):
                raise ValueError(f'the loss is {float(found)} with them')
        except Exception as error:  # whatever an option of another type leads to
            line = ' '.join(str(error).split())[:200]
            raise TrainingError(
                f'loss.options or loss.miner_options of {config.name}: {line}'
            ) from error

    def __call__(self, descriptors: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        """descriptors: [B, D], unit norm; labels: int64 [B]; returns a scalar and a share."""
        if self._miner is None:
            return self._loss(descriptors, labels), 1.0
        mined = self._miner(descriptors, labels)
        return self._loss(descriptors, labels, mined), mined_share(mined, len(labels))


def mined_share(mined: Mined, images: int) -> float:
    """Share of the ordered pairs of a batch's images that a miner chose, each of them once."""
    chosen = len(mined[0]) + len(mined[2 if len(mined) == 4 else 0])
    return chosen / (images * (images - 1)) if images > 1 else 0.0


def _make(
    kinds: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]],
    name: str,
    options: Mapping[str, Any],
) -> Any:
    kind, defaults = kinds[name]
    try:
        return kind(distance=distances.CosineSimilarity(), **{**defaults, **options})
    except TypeError as error:
        raise TrainingError(f'{name}: {error}') from error
