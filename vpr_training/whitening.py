"""Whiten a network's descriptors on images without labels: a training without a gradient.

  python -m vpr_training.whitening --config config/train/whiten_lite0.yaml --data.root IMAGES

Means and covariances of the aggregator `whitened` are those of the images, as the trainer would
see them (crops, RandAugment, disturbed light), over `epochs` passes. RUN/best.ckpt is exported, or
trained further, as that of any run. Some minutes for a few thousand images on a laptop.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from torch import Tensor
from tqdm import tqdm

from vpr_ros.command import command
from vpr_training.config import HelpFormatter, TrainConfig, add_settings, parse, settings
from vpr_training.data.disturbance import disturbed
from vpr_training.data.layouts import open_places
from vpr_training.data.loader import TrainingBatches, training_batches
from vpr_training.errors import TrainingError
from vpr_training.models.aggregators import Whitened
from vpr_training.models.network import ExportedNetwork, Network
from vpr_training.run_folder import RunFolder

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
    """Give a network's aggregator the moments of the images; TrainingError if it has none."""
    aggregator = network.aggregator
    if not isinstance(aggregator, Whitened):
        raise TrainingError(
            f'network.aggregator is {network.config.aggregator}: only whitened can be whitened'
        )
    exported = ExportedNetwork(network).eval().to(memory_format=torch.channels_last)
    things = Moments(len(aggregator.mean), 1)
    grids = [Moments(*one.mean.shape) for one in aggregator.grids]
    with torch.inference_mode(), _bar(epochs * len(batches)) as bar:
        for epoch in range(epochs):
            batches.set_epoch(epoch)
            for number, (images, _) in enumerate(batches, start=epoch * len(batches)):
                _, maps = exported.describe_with_maps(
                    disturbed(images, disturb, seed=seed + number)
                )
                things.add(aggregator.plain_things(maps)[:, :, None])
                for moments, one in zip(grids, aggregator.grids, strict=True):
                    moments.add(one.plain(maps[0]))
                bar.update()
    with torch.no_grad():
        aggregator.mean.copy_(things.mean[:, 0])
        projection = whitening(things.over_channels, aggregator.things.out_features)
        aggregator.things.weight.copy_(projection)
        lengths = (projection @ things.over_channels @ projection.T).trace()
        aggregator.typical_length.copy_(lengths.sqrt())
        for moments, one in zip(grids, aggregator.grids, strict=True):
            one.mean.copy_(moments.mean)
            one.over_channels.copy_(whitening(moments.over_channels, len(one.over_channels)))
            one.over_cells.copy_(whitening(moments.over_positions, one.over_cells.shape[1]).T)


def _bar(batches: int) -> Any:
    return tqdm(total=batches, desc='whitening', unit='batch', disable=None)


def run(config: TrainConfig, folder: RunFolder, *, config_yaml: str) -> None:
    """Whiten, and write the run's checkpoint; raises VprError."""
    torch.manual_seed(config.seed)
    places = open_places(config.data)
    network = Network(config.network)
    batches = training_batches(
        places,
        config.data,
        height=config.network.image_height,
        width=config.network.image_width,
        seed=config.seed,
    )
    folder.create(config_yaml, seed=config.seed)
    print(f'{places}; {network.descriptor_size} numbers an image', flush=True)
    whiten(network, batches, epochs=config.epochs, disturb=config.data.disturb, seed=config.seed)
    provenance = {
        'training_data': places.name,
        'images': len(places.files),
        'loss': 'none: means and covariances of images without labels',
        'seed': config.seed,
    }
    folder.save(
        folder.best,
        {
            'network': {**asdict(config.network), 'weights': None},
            'state_dict': network.state_dict(),
            'provenance': provenance,
        },
    )
    print(f'next: python -m vpr_training.export --checkpoint {folder.best} --output MODEL')


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    parser = ArgumentParser(
        prog='python -m vpr_training.whitening',
        usage='%(prog)s --config FILE [--KEY VALUE ...] [--output RUN]',
        description=__doc__,
        formatter_class=HelpFormatter,
        exit_on_error=False,
    )
    add_settings(parser)
    parser.add_argument(
        '--output', type=str, default='runs/whitened', metavar='RUN', help="the run's folder"
    )
    arguments = parse(parser, argv)
    folder = RunFolder(Path(arguments.output))
    config = settings(parser, arguments, source='settings')
    for beside in ('config', 'output'):
        arguments.pop(beside, None)
    run(config, folder, config_yaml=parser.dump(arguments, skip_unset=False))
    return 0


if __name__ == '__main__':
    sys.exit(main())
