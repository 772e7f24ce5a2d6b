"""Our training step beside a plain loop of the same model, loss and optimizer, in one run.

  python benchmarks/training.py [--seconds 60]

Both see the same batches from memory, so that only the loop differs: Fabric, mining, warm-up,
logging and the progress bar are in ours; forward, loss, backward and step are in both.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

try:
    import torch
    from lightning.fabric import Fabric
    from pytorch_metric_learning import losses, miners
except ImportError as error:
    print(f'training: left out, needs make setup-training ({error})')
    sys.exit(0)
from vpr_training.data.config import DataConfig
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.training_loop import Training
from vpr_training.runs.validation import Validation

PLACES, IMAGES, SIDE_PX, BATCHES = 8, 4, 160, 4


class Batches:
    """Batches in memory, in the form that the trainer reads."""

    order = ''  # see PlaceSampler

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        size = (PLACES * IMAGES, SIDE_PX, SIDE_PX, 3)
        self.images = [
            torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
            for _ in range(BATCHES)
        ]
        self.labels = torch.arange(PLACES).repeat_interleave(IMAGES)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        pass

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self):
        return ((images, self.labels) for images in self.images)


def plain_loop(network: Network, batches: Batches) -> None:
    """One epoch as anyone would write it."""
    model = ExportedNetwork(network).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    loss_of, mine = (
        losses.MultiSimilarityLoss(alpha=1, beta=50, base=0),
        miners.MultiSimilarityMiner(),
    )
    for images, labels in batches:
        descriptors = model(images)
        loss = loss_of(descriptors, labels, mine(descriptors, labels))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=60)
    seconds = parser.parse_args().seconds
    config = TrainConfig(
        network=NetworkConfig(weights=None, image_height=SIDE_PX, image_width=SIDE_PX),
        data=DataConfig(places_per_batch=PLACES, images_per_place=IMAGES),
    )
    batches = Batches()
    fabric = Fabric(accelerator='cpu', devices=1)
    with tempfile.TemporaryDirectory() as folder:
        ours = Training(
            fabric, config, Network(config.network), batches,
            Validation([], batch=1, workers=0), RunFolder(Path(folder)), {},
        )  # fmt: skip
        plain = Network(config.network)
        took: dict[str, list[float]] = {'ours': [], 'plain': []}
        ends = time.monotonic() + seconds
        while time.monotonic() < ends or len(took['plain']) < 3:
            epochs = {'ours': ours.train_epoch, 'plain': lambda: plain_loop(plain, batches)}
            for name, epoch in epochs.items():
                started = time.monotonic()
                epoch()
                took[name].append(time.monotonic() - started)
            ours.progress.batch = 0
    rounds = len(took['ours']) - 1
    images = BATCHES * PLACES * IMAGES
    rates = {name: images / float(np.median(times[1:])) for name, times in took.items()}
    print(f'training step, ResNet18 + MixVPR, {SIDE_PX} px (median of {rounds} epochs):')
    for name, rate in rates.items():
        print(f'  {name:6} {rate:7.1f} images/s')
    print(f'  ours / plain loop {rates["ours"] / rates["plain"]:.3f} (at least 0.97 wanted)')


if __name__ == '__main__':
    main()
