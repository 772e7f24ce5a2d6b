"""Recall of a network that is still training.

Images are read and resized by the core, descriptors are searched and counted by the core: the
figure is the one that `evaluate` gives for the exported model, up to rounding.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from vpr_ros.core.image import read, resize
from vpr_ros.core.recall import Recall, recall_at
from vpr_ros.core.types import Descriptors, Image
from vpr_training.data.loader import start_worker, started
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.ranking import rank
from vpr_training.evaluating.recall import RECALL_NS
from vpr_training.models.network import ExportedNetwork


class _Files(Dataset[Image]):
    def __init__(self, paths: Sequence[Path], size_hw: tuple[int, int]) -> None:
        self._paths = np.array([str(path) for path in paths])
        self._size_hw = size_hw

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Image:
        return resize(read(Path(self._paths[row])), self._size_hw)


class Validation:
    """The evaluation sets of a run."""

    def __init__(self, sets: Sequence[RecallSet], *, batch: int, workers: int) -> None:
        self.sets = sets
        self._batch, self._workers = batch, workers

    def measure(
        self,
        network: ExportedNetwork,
        device: torch.device,
        *,
        between: Callable[[], object] = lambda: None,
    ) -> dict[str, Recall]:
        """Recall on each set by its name; the network is left as it was found.

        between: is called between two batches of images, and may raise.
        """
        trains = network.training
        network.eval()
        try:
            return {
                images.name: recall_at(
                    self.rank(network, images, device, between=between),
                    images.positives,
                    RECALL_NS,
                )
                for images in self.sets
            }
        finally:
            network.train(trains)

    def rank(
        self,
        network: ExportedNetwork,
        images: RecallSet,
        device: torch.device,
        *,
        between: Callable[[], object] = lambda: None,
    ) -> NDArray[np.int64]:
        """Database rows most similar to each query [Q, max(RECALL_NS)]; the network in eval."""
        database = self._describe(network, images.database, device, between)
        queries = (
            self._describe(network, images.queries, device, between)
            if images.earlier_than is None
            else database[images.earlier_than]
        )
        return rank(database, queries, images.earlier_than, max(RECALL_NS))

    def _describe(
        self,
        network: ExportedNetwork,
        paths: Sequence[Path],
        device: torch.device,
        between: Callable[[], object],
    ) -> Descriptors:
        config = network.network.config
        loader = DataLoader(
            _Files(paths, (config.image_height, config.image_width)),
            batch_size=self._batch,
            num_workers=self._workers,
            collate_fn=lambda images: torch.from_numpy(np.stack(images)),
            worker_init_fn=start_worker,
        )
        found = []
        with torch.inference_mode():
            bar = tqdm(
                started(loader),
                total=len(loader),
                desc='measuring',
                unit='batch',
                disable=None,
                delay=2,
                leave=False,
            )
            for images in bar:
                between()
                found.append(network.describe(images.to(device)).float().cpu().numpy())
        return np.concatenate(found)
