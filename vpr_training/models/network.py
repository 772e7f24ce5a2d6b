"""A backbone, an aggregator and a unit vector at the end, described by one configuration.

Beside the descriptor a network may give the cells of one of its maps (see `cells`).

The configuration alone rebuilds the network, so a checkpoint carries it and a model card quotes
it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.describing.model import MOST_CELLS
from vpr_training.basics.errors import TrainingError
from vpr_training.models import aggregators
from vpr_training.models.backbone import (
    LITE0_STAGES,
    LITE0_TAPS,
    RESNETS,
    Backbone,
    EfficientNetLite0,
    ResNet,
    load_weights,
)
from vpr_training.models.cells import CellProjection

LITE0 = 'efficientnet_lite0'
BACKBONES = (*RESNETS, LITE0)
MOST_SIDE = 8192
"""Pixels of an image's side."""

MOST_NUMBERS = 65536
"""Numbers of a descriptor."""

AGGREGATORS = (
    'avg',
    'gem',
    'mixvpr',
    'convap',
    'cosplace',
    'netvlad',
    'layout',
    'whitened',
    'vlad_layout',
)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What a network is made of."""

    backbone: str = 'resnet18'
    """The backbone: resnet18, resnet34, resnet50 or efficientnet_lite0."""
    aggregator: str = 'mixvpr'
    """avg, gem, mixvpr, convap, cosplace, netvlad, whitened, vlad_layout or layout."""
    image_height: int = 320
    """Height of the network's input in pixels. Images of other sizes are resized to it."""
    image_width: int = 320
    """Width of the network's input in pixels."""
    weights: str | None = 'imagenet'
    """Weights of the backbone: imagenet (published), a file, a checkpoint, or null for random."""
    last_stage: int = 3
    """ResNet: the last stage that is used, 1 to 4."""
    frozen_stages: int = 2
    """Number of first stages that never learn, of ResNet's 4 or Lite0's 7. -1 means all."""
    frozen_statistics: bool = False
    """Whether normalizations keep their statistics, because those of small batches are poor."""
    taps: tuple[str, ...] = ('stride16',)
    """Lite0: the feature maps that the aggregator sees: stride8, stride16, stride32 or head."""
    aggregator_options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the aggregator, such as power, out_channels or clusters."""
    descriptor_size: int = 0
    """Size of the descriptor, by a linear layer at the end. 0 keeps the size of the aggregator."""
    cells: int = 0
    """Numbers of each cell, a second output for verification: a multiple of 8. 0: no cells."""
    cells_tap: str = ''
    """Lite0: the map of `taps` that gives the cells. Empty means stride16. ResNet has one map."""
    aggregates_cells: bool = False
    """Whether the aggregator sees the cells, as one map of C channels, instead of the maps."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, source: str) -> 'NetworkConfig':
        """From YAML or a checkpoint; TrainingError for unknown keys and impossible values."""
        if not isinstance(values, Mapping):
            raise TrainingError(f'{source}: network is {values!r}, expected a mapping')
        known = {entry.name: entry for entry in fields(cls)}
        if unknown := sorted(map(str, values.keys() - known.keys())):
            raise TrainingError(
                f'{source}: unknown {", ".join(unknown)}; known are {", ".join(known)}'
            )
        _require_types(values, source)
        config = cls(**{**values, 'taps': tuple(values.get('taps', ('stride16',)))})
        config.check(source)
        return config

    def check(self, source: str) -> None:
        """Raise TrainingError for a value that no network can have."""
        for name, known in (('backbone', BACKBONES), ('aggregator', AGGREGATORS)):
            if getattr(self, name) not in known:
                raise TrainingError(
                    f'{source}: {name} {getattr(self, name)!r}, expected one of {", ".join(known)}'
                )
        if not all(32 <= side <= MOST_SIDE for side in (self.image_height, self.image_width)):
            raise TrainingError(
                f'{source}: images are {self.image_height} x {self.image_width}, '
                f'expected at least 32 x 32 and at most {MOST_SIDE} x {MOST_SIDE}'
            )
        stages = LITE0_STAGES if self.backbone == LITE0 else self.last_stage
        if not 1 <= self.last_stage <= 4 or not -1 <= self.frozen_stages <= stages:
            raise TrainingError(
                f'{source}: last_stage {self.last_stage} and frozen_stages {self.frozen_stages}, '
                f'expected 1 to 4, and -1 to {stages}'
            )
        if not 0 <= self.descriptor_size <= MOST_NUMBERS:
            raise TrainingError(
                f'{source}: descriptor_size {self.descriptor_size}, expected 0 to {MOST_NUMBERS}'
            )
        if self.backbone == LITE0 and not set(self.taps) <= set(LITE0_TAPS):
            raise TrainingError(
                f'{source}: taps {self.taps}, expected some of {", ".join(LITE0_TAPS)}'
            )
        if not 0 <= self.cells <= MOST_CELLS or self.cells % 8:
            raise TrainingError(
                f'{source}: cells {self.cells}, expected a multiple of 8 up to {MOST_CELLS}'
            )
        if self.aggregates_cells and not self.cells:
            raise TrainingError(
                f'{source}: aggregates_cells is set, but cells is 0; expected 8 or more, such as '
                '64'
            )
        known = self.taps if self.backbone == LITE0 else ('',)
        if self.cells and self._cells_tap not in known:
            raise TrainingError(
                f'{source}: cells_tap {self._cells_tap!r}, expected '
                + (' or '.join(filter(None, known)) or 'none: ResNet gives one map')
            )

    @property
    def _cells_tap(self) -> str:
        return self.cells_tap or ('stride16' if self.backbone == LITE0 else '')

    @property
    def cells_map(self) -> int:
        """Which of the backbone's maps has the cells."""
        return self.taps.index(self._cells_tap) if self.backbone == LITE0 else -1


def differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """The settings of a network in which another one's are different, with both values."""
    return [
        f'network.{name} is {theirs.get(name)}, not {ours[name]}'
        for name in sorted(ours)
        if theirs.get(name) != ours[name]
    ]


def _require_types(values: Mapping[str, Any], source: str) -> None:
    """Raise TrainingError for a value of another type than NetworkConfig declares."""
    plain = NetworkConfig()
    for name, value in values.items():
        kind = type(getattr(plain, name))
        if name == 'taps':
            fits = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
        else:
            fits = type(value) is kind or (name == 'weights' and value is None)
        if not fits:
            said = 'names' if name == 'taps' else kind.__name__
            raise TrainingError(f'{source}: network.{name} is {value!r}, expected {said}')


class Network(nn.Module):
    """Normalized images [B, 3, H, W] -> unit descriptors [B, D]."""

    def __init__(self, config: NetworkConfig) -> None:
        """Build the network and load the backbone's weights; raises TrainingError."""
        super().__init__()
        self.config = config
        self.backbone = _backbone(config)
        self.backbone.frozen_statistics = config.frozen_statistics
        load_weights(self.backbone, config.backbone, config.weights)
        self.aggregator = _aggregator(config, self.backbone)
        own_size: int = self.aggregator.descriptor_size
        self.descriptor_size = config.descriptor_size or own_size
        self.projection = (
            nn.Linear(own_size, config.descriptor_size)
            if config.descriptor_size
            else nn.Identity()
        )
        self.cells = _cell_projection(config, self.backbone) if config.cells else None

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, D]."""
        return self.aggregate(self.backbone(images))

    def aggregate(self, maps: list[Tensor]) -> Tensor:
        """The backbone's maps, each [B, C, h, w] -> [B, D]."""
        return F.normalize(self.projection(self.aggregated(maps)), dim=1)

    def aggregated(self, maps: list[Tensor]) -> Tensor:
        """The backbone's maps -> what the aggregator makes of them, or of their cells [B, A]."""
        found: Tensor = self.aggregator(self.aggregated_maps(maps))
        return found

    def aggregated_maps(self, maps: list[Tensor]) -> list[Tensor]:
        """What the aggregator sees: the backbone's maps, or their cells [B, C, h, w]."""
        if not self.config.aggregates_cells:
            return maps
        return [self.cells_of(maps).permute(0, 3, 1, 2)]

    def cells_of(self, maps: list[Tensor]) -> Tensor:
        """The backbone's maps -> cells [B, h, w, C] of unit norm; TrainingError without any."""
        if self.cells is None:
            raise TrainingError('network.cells is 0, so the network gives no cells')
        found: Tensor = self.cells(maps[self.config.cells_map])
        return found

    def cells_size(self) -> tuple[int, int, int] | None:
        """Rows, columns and numbers of the cells, as an image of the configured size has them."""
        if self.cells is None:
            return None
        trained = self.training
        image = torch.zeros(1, 3, self.config.image_height, self.config.image_width)
        with torch.inference_mode():
            self.eval()
            rows, columns, numbers = self.cells_of(self.backbone(image)).shape[1:]
            self.train(trained)
        return rows, columns, numbers


class ExportedNetwork(nn.Module):
    """What a model folder holds: uint8 RGB images [B, H, W, 3] -> unit descriptors [B, D].

    And cells, float16 [B, h, w, C] of unit norm, where the network has some.
    """

    mean: Tensor  # [1, 3, 1, 1]
    std: Tensor

    def __init__(self, network: Network, *, cells: bool = True) -> None:
        """Put the backbone's normalization in front of a network.

        cells: whether cells come out, too, where the network has some; training needs none.
        """
        super().__init__()
        self.network = network
        self._gives_cells = cells and network.cells is not None
        self.register_buffer('mean', torch.tensor(network.backbone.mean).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(network.backbone.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """[B, H, W, 3] -> [B, D], or these and float16 [B, h, w, C]."""
        descriptors, maps = self.describe_with_maps(images)
        if not self._gives_cells:
            return descriptors
        return descriptors, self.network.cells_of(maps).to(torch.float16)

    def describe(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] -> [B, D]."""
        return self.describe_with_maps(images)[0]

    def describe_with_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, H, W, 3] -> [B, D], and the backbone's maps that made it, each [B, C, h, w]."""
        maps = self.maps(images)
        return self.network.aggregate(maps), maps

    def maps(self, images: Tensor) -> list[Tensor]:
        """[B, H, W, 3] -> the backbone's maps, each [B, C, h, w]."""
        floats = images.permute(0, 3, 1, 2).to(torch.float32)
        maps: list[Tensor] = self.network.backbone((floats - self.mean) / self.std)
        return maps


def channels_last(network: ExportedNetwork) -> ExportedNetwork:
    """The network, whose weights now lie in memory as processors convolve them fastest."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return network


def _backbone(config: NetworkConfig) -> Backbone:
    stages = LITE0_STAGES if config.backbone == LITE0 else config.last_stage
    frozen = stages if config.frozen_stages == -1 else config.frozen_stages
    if config.backbone == LITE0:
        return EfficientNetLite0(config.taps, frozen_stages=frozen)
    return ResNet(config.backbone, last_stage=config.last_stage, frozen_stages=frozen)


def _cell_projection(config: NetworkConfig, backbone: Backbone) -> CellProjection:
    channels = backbone.channels[config.cells_map]
    if config.cells > channels:
        raise TrainingError(
            f'network.cells is {config.cells}, expected at most {channels}, the channels of '
            'the feature map'
        )
    return CellProjection(channels, config.cells)


def _aggregator(config: NetworkConfig, backbone: Backbone) -> Any:
    options = dict(config.aggregator_options)
    kinds: dict[str, Any] = {
        'avg': aggregators.Average,
        'gem': aggregators.GeM,
        'mixvpr': aggregators.MixVPR,
        'convap': aggregators.ConvAP,
        'cosplace': aggregators.CosPlace,
        'netvlad': aggregators.NetVLAD,
        'layout': aggregators.Layout,
        'whitened': aggregators.Whitened,
        'vlad_layout': aggregators.VladLayout,
    }
    if config.aggregator == 'mixvpr':
        stride = backbone.strides[config.cells_map if config.aggregates_cells else -1]
        options['map_size'] = (-(-config.image_height // stride), -(-config.image_width // stride))
    channels = [config.cells] if config.aggregates_cells else backbone.channels
    try:
        return kinds[config.aggregator](channels, **options)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: it does not fit memory
        line = ' '.join(str(error).split())[:200]
        raise TrainingError(f'aggregator_options of {config.aggregator}: {line}') from error
