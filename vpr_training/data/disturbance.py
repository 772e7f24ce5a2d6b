"""Other light, other weather, a worse camera: disturbances that leave everything where it is.

Unlike RandAugment they move nothing, so a teacher's maps of the undisturbed image stay the right
answer. They run on the device that trains, for a whole batch, from torch's random numbers.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_LAMPS = 4  # the lights of a scene change in so many by so many parts of the picture


def disturbed(images: Tensor, strength: float) -> Tensor:
    """Each image in other light, other colours, coarser and noisier, at random.

    images: uint8 [B, H, W, 3] RGB; strength: 0 leaves them, 1 goes from day to night. The result
    has the same shape and type.
    """
    if strength == 0:
        return images
    x = images.permute(0, 3, 1, 2).float() / 255
    x = _coarser(x, strength)
    x = _other_light(x, strength)
    x = _other_colours(x, strength)
    noise = _some(x, 0.5) * torch.rand_like(x[:, :1, :1, :1]) * torch.randn_like(x)
    x = x + 0.08 * strength * noise
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _other_light(x: Tensor, strength: float) -> Tensor:
    """Another exposure, another gamma, and lamps and shadows here and there: [B, 3, H, W]."""
    spread = torch.randn(len(x), 1, _LAMPS, _LAMPS, device=x.device) * _some(x, 0.5)
    lamps = F.interpolate(spread, size=x.shape[2:], mode='bicubic', align_corners=False)
    stops = lamps + torch.randn_like(x[:, :1, :1, :1])
    gamma = torch.exp(0.5 * strength * torch.randn_like(x[:, :1, :1, :1]))
    return x.clamp(min=1e-3).pow(gamma) * torch.exp(0.6 * strength * (stops - 0.5))


def _other_colours(x: Tensor, strength: float) -> Tensor:
    """A tint, and less or no colour."""
    tint = torch.exp(0.2 * strength * torch.randn_like(x[:, :, :1, :1]))
    grey = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    faded = _some(x, 0.5) * torch.rand_like(x[:, :1, :1, :1]).sqrt() * min(strength, 1.0)
    return torch.lerp(x, grey.expand_as(x), faded) * tint


def _coarser(x: Tensor, strength: float) -> Tensor:
    """Every second image as from a camera of fewer pixels: up to 1 + 4 * strength times fewer."""
    scales = 1 + 4 * strength * torch.rand(len(x)).square() * (torch.rand(len(x)) < 0.5)
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
        for one, scale in zip(x.split(1), scales.tolist(), strict=True)
    ]
    return torch.cat(coarse)


def _some(x: Tensor, share: float) -> Tensor:
    """1 for a random share of the images and 0 for the others, [B, 1, 1, 1]."""
    return (torch.rand(len(x), 1, 1, 1, device=x.device) < share).to(x)
