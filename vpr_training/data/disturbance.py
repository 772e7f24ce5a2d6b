"""Other light, other weather, a worse camera: disturbances that leave everything where it is.

Unlike RandAugment they move nothing, so a teacher's maps of the undisturbed image stay the right
answer. They run on the device that trains, for a whole batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_LAMPS = 4  # lamps and shadows lie on a grid of so many rows and columns


def disturbed(images: Tensor, strength: float, *, seed: int) -> Tensor:
    """Each image in other light, other colours, coarser and noisier, at random.

    images: uint8 [B, H, W, 3] RGB; strength: 0 leaves them, 1 goes from day to night. The result
    has the same shape and type, and depends on the seed alone.
    """
    if strength == 0:
        return images
    dice = _Dice(images, seed)
    x = images.permute(0, 3, 1, 2).float() / 255
    x = _coarser(x, strength, dice)
    x = _other_light(x, strength, dice)
    x = _other_colours(x, strength, dice)
    noise = dice.some(0.5) * dice.uniform() * dice.normal(*x.shape[1:])
    x = x + 0.08 * strength * noise
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class _Dice:
    """Random numbers for each image of a batch, [B, ...]."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self._images, self._device = len(images), images.device
        self._generator = torch.Generator(self._device).manual_seed(seed)

    def uniform(self) -> Tensor:
        """Uniform numbers between 0 and 1, [B, 1, 1, 1]."""
        return torch.rand(self._images, 1, 1, 1, device=self._device, generator=self._generator)

    def normal(self, channels: int = 1, height: int = 1, width: int = 1) -> Tensor:
        """Normal numbers of mean 0 and variance 1, [B, channels, height, width]."""
        return torch.randn(
            self._images, channels, height, width, device=self._device, generator=self._generator
        )

    def some(self, share: float) -> Tensor:
        """1 for a random share of the images and 0 for the others, [B, 1, 1, 1]."""
        return (self.uniform() < share).float()


def _other_light(x: Tensor, strength: float, dice: _Dice) -> Tensor:
    """Another exposure, another gamma, and lamps and shadows here and there: [B, 3, H, W]."""
    spread = dice.normal(1, _LAMPS, _LAMPS) * dice.some(0.5)
    lamps = F.interpolate(spread, size=x.shape[2:], mode='bicubic', align_corners=False)
    stops = lamps + dice.normal()
    gamma = torch.exp(0.5 * strength * dice.normal())
    return x.clamp(min=1e-3).pow(gamma) * torch.exp(0.6 * strength * (stops - 0.5))


def _other_colours(x: Tensor, strength: float, dice: _Dice) -> Tensor:
    """A tint, and less or no colour."""
    tint = torch.exp(0.2 * strength * dice.normal(3))
    grey = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    faded = dice.some(0.5) * dice.uniform().sqrt() * strength
    return torch.lerp(x, grey.expand_as(x), faded) * tint


def _coarser(x: Tensor, strength: float, dice: _Dice) -> Tensor:
    """Every second image as from a camera of fewer pixels: up to 1 + 4 * strength times fewer."""
    scales = (1 + 4 * strength * dice.uniform().square() * dice.some(0.5)).flatten()
    size = x.shape[2:]
    coarse = [
        one
        if scale < 1.1
        else F.interpolate(
            F.interpolate(one, size=[max(1, round(side / scale)) for side in size], mode='area'),
            size=size,
            mode='bilinear',
            align_corners=False,
        )
        for one, scale in zip(torch.split(x, 1), scales.tolist(), strict=True)
    ]
    return torch.cat(coarse)
