"""Whitening: the mean and the covariance of images become weights, without a gradient.

They are those of the images as the trainer would see them (crops, RandAugment, disturbed light).
What is whitened: the parts of the aggregator `whitened`, in a first pass over the images; what an
aggregator gives, where a projection to `descriptor_size` numbers follows it, in a pass that sees
the parts whitened; and the cells (see `cells`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vpr_training.basics.errors import TrainingError
from vpr_training.data.disturbance import disturbed
from vpr_training.data.loader import TrainingBatches
from vpr_training.learning.cells import CellSamples, learn_cells, unit_centres
from vpr_training.learning.config import WhiteningConfig
from vpr_training.models.aggregators import NetVLAD, VladLayout, Whitened, WhitenedGrid
from vpr_training.models.network import ExportedNetwork, Network, channels_last

_WIDE = 2048
"""Of a covariance: wider ones give their strongest components alone, by iteration."""

_MORE, _ITERATIONS = 128, 12  # components that are iterated beside the wanted ones, and how often


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
        # In place: the covariance of a wide descriptor is most of the memory.
        rows = x.transpose(0, 1).flatten(1)  # [C, B * n]
        self._over_channels.addmm_(rows, rows.T)
        columns = x.flatten(0, 1)  # [B * C, n]
        self._over_positions.addmm_(columns.T, columns)

    @property
    def mean(self) -> Tensor:
        """[C, n]."""
        return self._sum / self._count

    @property
    def over_channels(self) -> Tensor:
        """Summed over the positions, [C, C]."""
        return (self._over_channels / self._count).addmm_(self.mean, self.mean.T, alpha=-1)

    @property
    def over_positions(self) -> Tensor:
        """Summed over the channels, [n, n]."""
        return (self._over_positions / self._count).addmm_(self.mean.T, self.mean, alpha=-1)


def whitening(covariance: Tensor, keep: int, *, least_variance: float) -> Tensor:
    """The strongest components of a covariance [D, D], at one variance: rows of [keep, D].

    least_variance: added to each variance, as a share of their mean.
    """
    variances, axes = _strongest(covariance, keep)
    mean = covariance.diagonal().mean()
    return (axes * (variances + least_variance * mean) ** -0.5).T


def _strongest(covariance: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Variances [keep], falling, and axes [D, keep] of a covariance [D, D]."""
    size = len(covariance)
    if size <= _WIDE or 4 * (keep + _MORE) > size:
        variances, axes = torch.linalg.eigh(covariance)
        return variances.clamp(min=0).flip(0)[:keep], axes.flip(1)[:, :keep]
    # All axes of 10,000 numbers would take minutes and gigabytes; iteration gives the first ones.
    start = torch.randn(
        size,
        keep + _MORE,
        generator=torch.Generator().manual_seed(0),
        dtype=covariance.dtype,
    )
    basis = torch.linalg.qr(start).Q
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(covariance @ basis).Q
    variances, turn = torch.linalg.eigh(basis.T @ covariance @ basis)
    axes = basis @ turn
    return variances.clamp(min=0).flip(0)[:keep], axes.flip(1)[:, :keep]


class _Whitened(Protocol):
    """A part of a network that is learned from a pass over the images' maps."""

    def add(self, maps: list[Tensor]) -> None: ...

    def finish(self) -> None: ...


def whiten(
    network: Network,
    batches: TrainingBatches,
    *,
    epochs: int,
    disturb: float,
    seed: int = 0,
    config: WhiteningConfig | None = None,
) -> None:
    """Give a network's parts, its projection and its cells the moments of the images.

    Raises TrainingError for a network that has none of them.
    """
    config = config or WhiteningConfig()
    for together in _passes(network, epochs * _images(batches), seed, config):
        for maps in _maps(network, batches, epochs=epochs, disturb=disturb, seed=seed):
            for part in together:
                part.add(maps)
        for part in together:
            part.finish()


def _passes(
    network: Network, images: int, seed: int, config: WhiteningConfig
) -> list[Sequence[_Whitened]]:
    """What is learned in each pass over the images; raises TrainingError where nothing is."""
    aggregator, projection = network.aggregator, network.projection
    first: list[_Whitened] = []
    if network.cells is not None and config.cells:
        samples = CellSamples(images, most=config.cells_samples, seed=seed)
        first.append(_Cells(network, samples, config))
    if isinstance(aggregator, Whitened):
        first.append(_Parts(aggregator, config))
    if isinstance(aggregator, VladLayout):
        return [first, [_ThingsAndLayout(network, aggregator, config)]]
    if not network.config.descriptor_size and first:
        return [first]
    most = aggregator.descriptor_size + 1
    if not isinstance(projection, nn.Linear) or not 1 < projection.out_features <= most:
        raise TrainingError(
            f'network.descriptor_size is {network.config.descriptor_size}, expected 2 to {most}: '
            f'a projection to that size whitens what {network.config.aggregator} gives'
        )
    last = _Projection(network, projection, config)
    needs_first = isinstance(aggregator, Whitened) or network.config.aggregates_cells
    return [first, [last]] if needs_first else [[*first, last]]


def _images(batches: TrainingBatches) -> int:
    """Number of images in one epoch, at most."""
    return len(batches) * batches.images_per_batch


def _maps(
    network: Network, batches: TrainingBatches, *, epochs: int, disturb: float, seed: int
) -> Iterator[list[Tensor]]:
    """What the backbone makes of the images, batch by batch."""
    exported = channels_last(ExportedNetwork(network).eval())
    with torch.inference_mode(), _bar(epochs * len(batches)) as bar:
        for epoch in range(epochs):
            batches.set_epoch(epoch)
            for number, (images, _) in enumerate(batches, start=epoch * len(batches)):
                yield exported.maps(disturbed(images, disturb, seed=seed + number))
                bar.update()


class _Cells:
    """The projection of cells, and NetVLAD's centres where that aggregates them."""

    def __init__(self, network: Network, samples: CellSamples, config: WhiteningConfig) -> None:
        self._network, self._samples, self._config = network, samples, config

    def add(self, maps: list[Tensor]) -> None:
        self._samples.add(maps[self._network.config.cells_map])

    def finish(self) -> None:
        network, samples = self._network, self._samples.array()  # [n, E]
        if network.cells is None:
            raise TypeError('a network without cells')
        learn_cells(network.cells, samples, self._config)
        vlad = getattr(network.aggregator, 'vlad', network.aggregator)
        if network.config.aggregates_cells and isinstance(vlad, NetVLAD):
            with torch.no_grad():
                cells = network.cells(samples[:, :, None, None])[:, 0, 0]  # maps of one cell
            vlad.set_centres(unit_centres(cells, len(vlad.centres)))


class _Parts:
    def __init__(self, aggregator: Whitened, config: WhiteningConfig) -> None:
        self._aggregator, self._least = aggregator, config.least_variance
        self._things = Moments(len(aggregator.mean), 1)
        self._parts = [one for one in aggregator.grids if isinstance(one, WhitenedGrid)]
        self._grids = [Moments(*one.mean.shape) for one in self._parts]

    def add(self, maps: list[Tensor]) -> None:
        self._things.add(self._aggregator.plain_things(maps)[:, :, None])
        for moments, one in zip(self._grids, self._parts, strict=True):
            moments.add(one.plain(maps[0]))

    def finish(self) -> None:
        aggregator, things, least = self._aggregator, self._things, self._least
        with torch.no_grad():
            aggregator.mean.copy_(things.mean[:, 0])
            components = whitening(
                things.over_channels, aggregator.things.out_features, least_variance=least
            )
            aggregator.things.weight.copy_(components)
            aggregator.typical_length.copy_(_typical_length(components, things.over_channels))
            for moments, one in zip(self._grids, self._parts, strict=True):
                one.mean.copy_(moments.mean)
                one.over_channels.copy_(
                    whitening(moments.over_channels, len(one.over_channels), least_variance=least)
                )
                one.over_cells.copy_(
                    whitening(
                        moments.over_positions, one.over_cells.shape[1], least_variance=least
                    ).T
                )


class _ThingsAndLayout:
    def __init__(self, network: Network, aggregator: VladLayout, config: WhiteningConfig) -> None:
        self._network, self._least = network, config.least_variance
        self._layers = aggregator.things, aggregator.layout
        self._plain = aggregator.plain
        self._moments = [Moments(layer.in_features, 1) for layer in self._layers]

    def add(self, maps: list[Tensor]) -> None:
        for moments, part in zip(
            self._moments, self._plain(self._network.aggregated_maps(maps)), strict=True
        ):
            moments.add(part[:, :, None])

    def finish(self) -> None:
        for layer, moments in zip(self._layers, self._moments, strict=True):
            components = whitening(
                moments.over_channels, layer.out_features, least_variance=self._least
            )
            with torch.no_grad():
                layer.weight.copy_(components)
                layer.bias.copy_(-components @ moments.mean[:, 0])


class _Projection:
    """The last number is a constant of typical length: unrelated images have a similarity of 0.5.

    See models.aggregators.Whitened, which has it for the same reason.
    """

    def __init__(self, network: Network, projection: nn.Linear, config: WhiteningConfig) -> None:
        self._network, self._projection = network, projection
        self._least = config.least_variance
        self._moments = Moments(projection.in_features, 1)

    def add(self, maps: list[Tensor]) -> None:
        self._moments.add(self._network.aggregated(maps)[:, :, None])

    def finish(self) -> None:
        projection, mean = self._projection, self._moments.mean[:, 0]
        covariance = self._moments.over_channels
        components = whitening(covariance, projection.out_features - 1, least_variance=self._least)
        with torch.no_grad():
            projection.weight[:-1], projection.weight[-1] = components, 0
            projection.bias[:-1] = -components @ mean
            projection.bias[-1] = _typical_length(components, covariance)


def _typical_length(components: Tensor, covariance: Tensor) -> Tensor:
    """Root of the mean square of what is left of the samples, a scalar."""
    return ((components @ covariance) * components).sum().sqrt()


def _bar(batches: int) -> Any:
    return tqdm(total=batches, desc='whitening', unit='batch', disable=None)
