"""Whitening: the mean and the covariance of images become weights, without a gradient.

They are those of the images as the trainer would see them (crops, RandAugment, disturbed light):
of the parts of the aggregator `whitened`, or of what any other one gives, before its projection.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vpr_training.basics.errors import TrainingError
from vpr_training.data.disturbance import disturbed
from vpr_training.data.loader import TrainingBatches
from vpr_training.models.aggregators import Whitened
from vpr_training.models.network import ExportedNetwork, Network

LEAST_VARIANCE = 0.3
"""Added to each component's variance, as a share of their mean: weak ones are mostly noise."""


class Moments:
    """Mean [C, n] and covariances over C and over n of samples [B, C, n], seen batch by batch."""

    def __init__(self, channels: int, positions: int) -> None:
        self._count = 0
        self._sum = torch.zeros(channels, positions, dtype=torch.float64)
        self._over_channels = torch.zeros(channels, channels, dtype=torch.float64)
        self._over_positions = torch.zeros(positions, positions, dtype=torch.float64)

    def add(self, samples: Tensor) -> None:
        """Samples [B, C, n] more."""
        x = samples.double()
        self._count += len(x)
        self._sum += x.sum(dim=0)
        self._over_channels += torch.einsum('bcn,bdn->cd', x, x)
        self._over_positions += torch.einsum('bcn,bcm->nm', x, x)

    @property
    def mean(self) -> Tensor:
        """[C, n]."""
        return self._sum / self._count

    @property
    def over_channels(self) -> Tensor:
        """Summed over the positions, [C, C]."""
        return self._over_channels / self._count - self.mean @ self.mean.T

    @property
    def over_positions(self) -> Tensor:
        """Summed over the channels, [n, n]."""
        return self._over_positions / self._count - self.mean.T @ self.mean


def whitening(covariance: Tensor, keep: int) -> Tensor:
    """The strongest components of a covariance [D, D], at one variance: rows of [keep, D]."""
    variances, axes = torch.linalg.eigh(covariance)
    strongest = variances.clamp(min=0).flip(0)[:keep]
    scale = (strongest + LEAST_VARIANCE * variances.mean()) ** -0.5
    return (axes.flip(1)[:, :keep] * scale).T


def whiten(
    network: Network, batches: TrainingBatches, *, epochs: int, disturb: float, seed: int = 0
) -> None:
    """Give a network's parts, or its projection, the moments of the images.

    Raises TrainingError for a network that has neither.
    """
    aggregator, projection = network.aggregator, network.projection
    seen = partial(_maps, network, batches, epochs=epochs, disturb=disturb, seed=seed)
    if isinstance(aggregator, Whitened):
        _whiten_parts(aggregator, seen())
        return
    most = aggregator.descriptor_size + 1
    if not isinstance(projection, nn.Linear) or not 1 < projection.out_features <= most:
        raise TrainingError(
            f'network.descriptor_size is {network.config.descriptor_size}, expected 2 to {most}: '
            f'what {network.config.aggregator} gives is whitened by a projection'
        )
    _whiten_projection(aggregator, projection, seen())


def _maps(
    network: Network, batches: TrainingBatches, *, epochs: int, disturb: float, seed: int
) -> Iterator[list[Tensor]]:
    """What the backbone makes of the images, batch by batch."""
    exported = ExportedNetwork(network).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode(), _bar(epochs * len(batches)) as bar:
        for epoch in range(epochs):
            batches.set_epoch(epoch)
            for number, (images, _) in enumerate(batches, start=epoch * len(batches)):
                yield exported.maps(disturbed(images, disturb, seed=seed + number))
                bar.update()


def _whiten_parts(aggregator: Whitened, seen: Iterator[list[Tensor]]) -> None:
    things = Moments(len(aggregator.mean), 1)
    grids = [Moments(*one.mean.shape) for one in aggregator.grids]
    for maps in seen:
        things.add(aggregator.plain_things(maps)[:, :, None])
        for moments, one in zip(grids, aggregator.grids, strict=True):
            moments.add(one.plain(maps[0]))
    with torch.no_grad():
        aggregator.mean.copy_(things.mean[:, 0])
        components = whitening(things.over_channels, aggregator.things.out_features)
        aggregator.things.weight.copy_(components)
        aggregator.typical_length.copy_(_typical_length(components, things))
        for moments, one in zip(grids, aggregator.grids, strict=True):
            one.mean.copy_(moments.mean)
            one.over_channels.copy_(whitening(moments.over_channels, len(one.over_channels)))
            one.over_cells.copy_(whitening(moments.over_positions, one.over_cells.shape[1]).T)


def _whiten_projection(
    aggregator: nn.Module, projection: nn.Linear, seen: Iterator[list[Tensor]]
) -> None:
    """The last number is a constant of typical length: unrelated images have a similarity of 0.5.

    See Whitened, which has it for the same reason.
    """
    moments = Moments(projection.in_features, 1)
    for maps in seen:
        moments.add(aggregator(maps)[:, :, None])
    components = whitening(moments.over_channels, projection.out_features - 1)
    with torch.no_grad():
        projection.weight[:-1], projection.weight[-1] = components, 0
        projection.bias[:-1] = -components @ moments.mean[:, 0]
        projection.bias[-1] = _typical_length(components, moments)


def _typical_length(components: Tensor, moments: Moments) -> Tensor:
    """Root of the mean square of what is left of the samples, a scalar."""
    return (components @ moments.over_channels @ components.T).trace().sqrt()


def _bar(batches: int) -> Any:
    return tqdm(total=batches, desc='whitening', unit='batch', disable=None)
