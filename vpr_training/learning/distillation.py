"""Distillation: a student learns to see as a trained teacher does, from images without labels.

Three things are matched: what the teacher sees in each cell of its feature maps, which a 1x1
convolution reads from the student's map (Romero et al. 2015); how alike the teacher finds any two
images of a batch, which the student's own descriptors repeat (Park et al. 2019); and, where both
have some, the cells that verification compares. The first two are measured as the share of the
teacher's variance that is left unexplained, and cells as one less their mean cosine. Of each, 0 is
a perfect copy and 1 is as good as a constant, so the weights compare.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_training.basics.errors import TrainingError
from vpr_training.learning.config import DistillationConfig
from vpr_training.models.network import ExportedNetwork, Network, channels_last

_LEAST_VARIANCE = 1e-8


class Seen(NamedTuple):  # which Fabric can look into
    """What a network makes of a batch of images."""

    descriptors: Tensor  # [B, D], unit norm
    maps: list[Tensor]  # each [B, c, h, w]; of a student: the teacher's, as it reads them
    cells: Tensor | None  # [B, h, w, C], unit norm; None: not asked for


class Student(nn.Module):
    """A network in training, and the adapter that reads the teacher's maps from its own."""

    def __init__(
        self, exported: ExportedNetwork, teacher_channels: Sequence[int], *, cells: bool
    ) -> None:
        """teacher_channels: of each of the teacher's maps; cells: whether they learn, too."""
        super().__init__()
        self.exported = exported
        own = exported.network.backbone.channels[-1]
        self.adapter = nn.Conv2d(own, sum(teacher_channels), 1)
        self._channels = list(teacher_channels)
        self._cells = cells

    def forward(self, images: Tensor) -> Seen:
        """Bytes [B, H, W, 3] -> what the student sees; maps are the teacher's as it reads them."""
        descriptors, maps = self.exported.describe_with_maps(images)
        read = self.adapter(maps[-1])
        cells = self.exported.network.cells_of(maps) if self._cells else None
        return Seen(descriptors, list(torch.split(read, self._channels, dim=1)), cells)


class Distillation:
    """The loss of a student beside its teacher."""

    def __init__(self, config: DistillationConfig, teacher: Network) -> None:
        """teacher: the one that config names."""
        self._config = config
        self._teacher = ExportedNetwork(teacher)
        channels_last(self._teacher.eval().requires_grad_(False))

    def student(self, exported: ExportedNetwork) -> Student:
        """A network as a student of this teacher; raises TrainingError for cells unlike its."""
        teacher, student = self._teacher.network, exported.network
        if self._config.cells:
            wanted, own = teacher.config.cells, student.config.cells
            if not wanted:
                raise TrainingError(
                    f'{self._config.teacher}: the teacher has no cells; set distillation.cells '
                    'to 0, or choose a teacher that has some, such as models/lite0-vlad'
                )
            if own != wanted:
                raise TrainingError(
                    f'network.cells is {own}, expected {wanted}: distillation.cells copies those '
                    f'of {self._config.teacher}'
                )
        return Student(exported, teacher.backbone.channels, cells=self._config.cells > 0)

    def teach(self, images: Tensor) -> Seen:
        """What the teacher sees in bytes [B, H, W, 3]."""
        self._teacher.to(images.device)
        with torch.no_grad():
            descriptors, maps = self._teacher.describe_with_maps(images)
            cells = self._teacher.network.cells_of(maps) if self._config.cells else None
        return Seen(descriptors, maps, cells)

    def __call__(self, found: Seen, wanted: Seen) -> Tensor:
        """The loss, a scalar, of what the student sees and of what the teacher does."""
        loss = self._config.maps * unexplained_maps(found.maps, wanted.maps)
        loss = loss + self._config.similarities * unexplained_similarities(
            found.descriptors, wanted.descriptors
        )
        if found.cells is None or wanted.cells is None:
            return loss
        return loss + self._config.cells * unexplained_cells(found.cells, wanted.cells)


def unexplained_maps(read: Sequence[Tensor], maps: Sequence[Tensor]) -> Tensor:
    """Share of the maps' variance that is not read from the student, the mean over the maps.

    read: each [B, c, h, w]; maps: each [B, c, h', w'], brought to h x w and, per channel over the
    batch, to mean 0 and variance 1, so that no channel is louder than another.
    """
    losses = []
    for part, target in zip(read, maps, strict=True):
        same_size = F.interpolate(
            target.float(), size=part.shape[2:], mode='bilinear', align_corners=False
        )
        standard = F.batch_norm(same_size, None, None, training=True)
        losses.append(F.mse_loss(part.float(), standard))
    return torch.stack(losses).mean()


def unexplained_cells(student: Tensor, teacher: Tensor) -> Tensor:
    """One less the mean cosine of unit cells, [B, h, w, C] and [B, h', w', C].

    Cells have a mean of 0, so that a constant explains nothing of them.
    """
    wanted = teacher.float().permute(0, 3, 1, 2)
    if wanted.shape[2:] != student.shape[1:3]:
        wanted = F.interpolate(
            wanted, size=student.shape[1:3], mode='bilinear', align_corners=False
        )
    wanted = F.normalize(wanted, dim=1).permute(0, 2, 3, 1)
    return 1 - (student.float() * wanted).sum(dim=-1).mean()


def unexplained_similarities(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of the pairs' cosines, as a share of the teacher's variance over the pairs.

    Both are unit descriptors, [B, D] and [B, E]; a batch of 2 has one pair, and no variance.
    """
    first, second = torch.triu_indices(len(student), len(student), offset=1)
    own, wanted = ((one.float() @ one.float().T)[first, second] for one in (student, teacher))
    return F.mse_loss(own, wanted) / wanted.var(correction=0).clamp(min=_LEAST_VARIANCE)
