"""What makes cells of a map: principal components of many cells, turned so that signs say most.

Channels of a map are loud and alike. Components are scaled by a power of their variance, as
descriptors are whitened, but less: weak ones are noise. A map keeps the sign of each number alone,
and principal components put most of what there is into the first of them. Any turn of the axes
leaves all cosines as they are; the one that brings cells nearest to the corners of a cube makes
signs say most (Gong and Lazebnik, Iterative Quantization, CVPR 2011).
"""

import faiss
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vpr_training.basics.errors import TrainingError
from vpr_training.learning.config import WhiteningConfig
from vpr_training.models.cells import CellProjection

LEAST_VARIANCE = 1e-3
"""Added to each component's variance, as a share of the largest."""

_STEPS = 25  # of k-means


class CellSamples:
    """Cells of many maps, a bounded number of them, chosen by chance from each map alike."""

    def __init__(self, images: int, *, most: int, seed: int) -> None:
        """images: how many there will be; most: cells that are kept, at least one an image."""
        self._of_each = max(1, most // max(images, 1))
        self._chance = torch.Generator().manual_seed(seed)
        self._kept: list[Tensor] = []

    def add(self, features: Tensor) -> None:
        """A batch of maps [B, E, h, w]."""
        cells = features.flatten(2).transpose(1, 2)  # [B, h * w, E]
        for image in cells:
            chosen = torch.randperm(len(image), generator=self._chance)[: self._of_each]
            self._kept.append(image[chosen].clone())

    def array(self) -> Tensor:
        """All cells that were kept, [n, E]."""
        return torch.cat(self._kept)


def learn_cells(projection: CellProjection, samples: Tensor, config: WhiteningConfig) -> None:
    """Set a projection's values from samples [n, E] of its map."""
    numbers = projection.linear.out_features
    mean, components = cell_components(samples.double(), numbers, power=config.cells_power)
    whitened = (samples.double() - mean) @ components.T
    turned = turned_to_signs(whitened, steps=config.cells_turns)
    projection.set_values(mean.float(), (turned.T @ components).float())


def cell_components(samples: Tensor, numbers: int, *, power: float) -> tuple[Tensor, Tensor]:
    """Mean [E] of samples [n, E], and their strongest components, rows of [numbers, E].

    Each is divided by its variance to the given power: 0.5 brings all to one variance.
    """
    mean = samples.mean(dim=0)
    centred = samples - mean
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(samples))
    strongest = variances.flip(0)[:numbers].clamp(min=0)
    scale = (strongest + LEAST_VARIANCE * variances[-1]) ** -power
    return mean, (axes.flip(1)[:, :numbers] * scale).T


def turned_to_signs(whitened: Tensor, *, steps: int, seed: int = 0) -> Tensor:
    """The rotation R [C, C] that brings samples [n, C], as unit vectors, nearest to signs.

    Each step takes the signs of what is turned, then the best turn to them (Procrustes), so that
    |sign(V R) - V R| falls (their equations 2 and 3). No steps: the identity.
    """
    size = whitened.shape[1]
    if not steps:
        return torch.eye(size, dtype=whitened.dtype)
    chance = torch.Generator().manual_seed(seed)
    start = torch.randn(size, size, generator=chance, dtype=whitened.dtype)
    turn: Tensor = torch.linalg.qr(start).Q
    units = normalize(whitened, dim=1)
    for _ in range(steps):
        signs = torch.where(units @ turn > 0, 1.0, -1.0).to(whitened.dtype)
        left, _, right = torch.linalg.svd(units.T @ signs)
        turn = left @ right
    return turn


def unit_centres(cells: Tensor, count: int) -> Tensor:
    """Centres [count, C] of cells [n, C], unit vectors like them: spherical k-means by faiss."""
    if len(cells) < count:
        raise TrainingError(
            f'{len(cells)} cells for {count} clusters; give more images or fewer clusters'
        )
    search = faiss.Kmeans(
        cells.shape[1],
        count,
        niter=_STEPS,
        spherical=True,
        seed=0,
        max_points_per_centroid=len(cells) // count + 1,  # all of them
    )
    search.train(cells.float().numpy())
    return normalize(torch.from_numpy(search.centroids), dim=1)
