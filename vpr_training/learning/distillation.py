"""Distillation: a student learns to see as a trained teacher does, from images without labels.

Two things are matched: what the teacher sees in each cell of its feature maps, which a 1x1
convolution reads from the student's map (Romero et al. 2015), and how alike the teacher finds any
two images of a batch, which the student's own descriptors repeat (Park et al. 2019). Both are
measured as the share of the teacher's variance that is left unexplained: 0 is a perfect copy, 1 is
as good as a constant, so the weights compare.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_training.basics.errors import TrainingError
from vpr_training.learning.config import DistillationConfig
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.models.model_file import network_of_file
from vpr_training.models.network import ExportedNetwork, Network, channels_last

_LEAST_VARIANCE = 1e-8


class Student(nn.Module):
    """A network in training, and the adapter that reads the teacher's maps from its own."""

    def __init__(self, exported: ExportedNetwork, teacher_channels: Sequence[int]) -> None:
        """teacher_channels: of each of the teacher's maps."""
        super().__init__()
        self.exported = exported
        own = exported.network.backbone.channels[-1]
        self.adapter = nn.Conv2d(own, sum(teacher_channels), 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes [B, H, W, 3] -> unit descriptors [B, D], the teacher's maps as read [B, C, h, w].

        C: the channels of all maps of the teacher, one behind the other.
        """
        descriptors, maps = self.exported.describe_with_maps(images)
        return descriptors, self.adapter(maps[-1])


class Distillation:
    """The loss of a student beside its teacher."""

    def __init__(self, config: DistillationConfig) -> None:
        """Load the teacher; raises TrainingError."""
        self._config = config
        self._teacher = ExportedNetwork(read_teacher(Path(config.teacher)))
        channels_last(self._teacher.eval().requires_grad_(False))
        self.channels = self._teacher.network.backbone.channels

    def teach(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the teacher makes of bytes [B, H, W, 3]: descriptors [B, E] and its maps."""
        self._teacher.to(images.device)
        with torch.no_grad():
            wanted, maps = self._teacher.describe_with_maps(images)
        return wanted.float(), [one.float() for one in maps]

    def __call__(
        self, descriptors: Tensor, read: Tensor, wanted: Tensor, maps: Sequence[Tensor]
    ) -> Tensor:
        """The loss, a scalar.

        descriptors: the student's [B, D], unit norm; read: the teacher's maps as the student has
        them [B, C, h, w]; wanted and maps: what the teacher teaches.
        """
        return self._config.maps * unexplained_maps(
            read, maps
        ) + self._config.similarities * unexplained_similarities(descriptors, wanted)


def unexplained_maps(read: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Share of the maps' variance that is not read from the student, the mean over the maps.

    read: [B, C, h, w]; maps: each [B, c, h', w'], brought to h x w and, per channel over the
    batch, to mean 0 and variance 1, so that no channel is louder than another. The c add up to C.
    """
    losses = []
    for part, target in zip(
        torch.split(read, [one.shape[1] for one in maps], dim=1), maps, strict=True
    ):
        same_size = F.interpolate(
            target, size=part.shape[2:], mode='bilinear', align_corners=False
        )
        standard = F.batch_norm(same_size, None, None, training=True)
        losses.append(F.mse_loss(part, standard))
    return torch.stack(losses).mean()


def unexplained_similarities(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of the pairs' cosines, as a share of the teacher's variance over the pairs.

    Both are unit descriptors, [B, D] and [B, E]; a batch of 2 has one pair, and no variance.
    """
    first, second = torch.triu_indices(len(student), len(student), offset=1)
    own, wanted = ((one @ one.T)[first, second] for one in (student, teacher))
    return F.mse_loss(own, wanted) / wanted.var(correction=0).clamp(min=_LEAST_VARIANCE)


def read_teacher(path: Path) -> Network:
    """From a checkpoint, or a file such as config/models/lite0.yaml; raises TrainingError."""
    if not path.is_file():
        raise TrainingError(
            f'{path}: no such file; distillation.teacher is a checkpoint or config/models/*.yaml'
        )
    return network_of_file(path) if path.suffix == '.yaml' else load_checkpoint(path)
