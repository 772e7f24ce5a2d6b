"""Cells: what an image shows at each place of one of its maps, as short local descriptors.

Descriptors are averages, so those of two images of one place only resemble each other; their cells
agree one by one. The backbone makes the map anyway, so cells cost one matrix product.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CellProjection(nn.Module):
    """A map [B, E, h, w] -> its cells [B, h, w, C], each of unit norm.

    One linear layer: the mean that whitening takes away is in its bias. It begins random;
    vpr_training.whitening and vpr_training.export --cells find the values.
    """

    def __init__(self, channels: int, numbers: int) -> None:
        """channels: E; numbers: C."""
        super().__init__()
        self.linear = nn.Linear(channels, numbers)
        nn.init.orthogonal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def set_values(self, mean: Tensor, components: Tensor) -> None:
        """Take a mean [E] away and project on components, rows of [C, E]."""
        with torch.no_grad():
            self.linear.weight.copy_(components)
            self.linear.bias.copy_(-components @ mean)

    def forward(self, features: Tensor) -> Tensor:
        """[B, E, h, w] -> [B, h, w, C]."""
        return F.normalize(self.linear(features.permute(0, 2, 3, 1)), dim=3)
