"""Aggregators: feature maps of an image become one descriptor.

Each is a module from a list of maps [B, C, h, w], fine to coarse, to [B, D]; the network makes the
result a unit vector.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.plurals import counted
from vpr_training.basics.errors import TrainingError

THINGS_WEIGHT = 1.2
"""In the aggregator `whitened`, of a picture of typical strangeness; all grids together have 1."""

_LEAST_STRANGE = 0.5  # of the typical; below, strangeness takes no more weight away


def average(features: Tensor) -> Tensor:
    """Mean over the map: [B, C, h, w] -> [B, C]."""
    return features.mean(dim=(2, 3))


def generalized_mean(features: Tensor, power: Tensor | float, eps: float = 1e-6) -> Tensor:
    """GeM (Radenovic et al. 2018, eq. 3): (mean x^p)^(1/p), [B, C, h, w] -> [B, C].

    Values below eps count as eps. p = 1 is the mean, a large p the maximum.
    """
    return features.clamp(min=eps).pow(power).mean(dim=(2, 3)).pow(1 / power)


def centred_grid(features: Tensor, cells: int) -> Tensor:
    """The map averaged to cells x cells, less channel means: [B, C, h, w] -> [B, C * cells^2].

    What is everywhere in the picture (light, weather, season) goes with the mean; the layout
    stays.
    """
    means = grid(features, cells)
    return (means - means.mean(dim=(2, 3), keepdim=True)).flatten(1)


def grid(features: Tensor, cells: int) -> Tensor:
    """The map's means in cells x cells parts: [B, C, h, w] -> [B, C, cells, cells]."""
    rows, columns = (_bins(int(size), cells).to(features) for size in features.shape[2:])
    return rows @ features @ columns.T


def _bins(size: int, cells: int) -> Tensor:
    """Averages `size` positions in `cells` bins, [cells, size].

    The bins are those of adaptive_avg_pool, which ONNX lacks.
    """
    bins = torch.zeros(cells, size)
    for cell in range(cells):
        start, end = cell * size // cells, -(-(cell + 1) * size // cells)
        bins[cell, start:end] = 1 / (end - start)
    return bins


class Average(nn.Module):
    """AVG of the last map."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.descriptor_size = channels[-1]

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] -> [B, C]."""
        return average(maps[-1])


class GeM(nn.Module):
    """Generalized mean of the last map, with a learnable power."""

    def __init__(self, channels: Sequence[int], *, power: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(float(power)))
        self.eps = eps
        self.descriptor_size = channels[-1]

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] -> [B, C]."""
        return generalized_mean(maps[-1], self.power, self.eps)


class FeatureMixer(nn.Module):
    """One mixing layer over positions (Ali-bey et al. 2023, eq. 2): x + W2 relu(W1 norm(x))."""

    def __init__(self, positions: int, ratio: float) -> None:
        super().__init__()
        hidden = int(positions * ratio)
        self.norm = nn.LayerNorm(positions)
        self.enter, self.leave = nn.Linear(positions, hidden), nn.Linear(hidden, positions)
        for layer in (self.enter, self.leave):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h * w] -> the same."""
        mixed: Tensor = x + self.leave(F.relu(self.enter(self.norm(x))))
        return mixed


class MixVPR(nn.Module):
    """MixVPR (Ali-bey et al. 2023): mix positions, then project channels and rows.

    The mixers see a fixed number of positions, so the size of the map is part of the module.
    """

    def __init__(
        self,
        channels: Sequence[int],
        map_size: tuple[int, int],
        *,
        out_channels: int = 512,
        out_rows: int = 4,
        mix_depth: int = 4,
        mlp_ratio: float = 1.0,
    ) -> None:
        """map_size: (h, w) of the last map, whatever it is."""
        super().__init__()
        self.map_size = map_size
        positions = map_size[0] * map_size[1]
        self.mix = nn.Sequential(*[FeatureMixer(positions, mlp_ratio) for _ in range(mix_depth)])
        self.channels = nn.Linear(channels[-1], out_channels)
        self.rows = nn.Linear(positions, out_rows)
        self.descriptor_size = out_channels * out_rows

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] -> [B, out_channels * out_rows]; TrainingError for maps of another size."""
        features = maps[-1]
        if tuple(features.shape[2:]) != self.map_size:
            raise TrainingError(
                f'MixVPR: the feature map is {tuple(features.shape[2:])}, expected '
                f'{self.map_size}; use images of the size in the configuration'
            )
        x = self.mix(features.flatten(2))  # [B, C, h * w]
        x = self.channels(x.permute(0, 2, 1)).permute(0, 2, 1)  # [B, out_channels, h * w]
        flat: Tensor = self.rows(x).flatten(1)
        return flat


class ConvAP(nn.Module):
    """ConvAP (Ali-bey et al. 2022): a 1x1 convolution, then the mean in each of cells x cells."""

    def __init__(
        self, channels: Sequence[int], *, out_channels: int = 512, cells: int = 2
    ) -> None:
        super().__init__()
        self.channels = nn.Conv2d(channels[-1], out_channels, 1)
        self.cells = cells
        self.descriptor_size = out_channels * cells**2

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] -> [B, out_channels * cells^2]."""
        return grid(self.channels(maps[-1]), self.cells).flatten(1)


class CosPlace(nn.Module):
    """CosPlace's head (Berton et al. 2022): unit features, GeM, and a linear layer.

    What is pooled is brought to unit length first, which the published head leaves out.
    """

    def __init__(
        self, channels: Sequence[int], *, out_channels: int = 512, power: float = 3.0
    ) -> None:
        super().__init__()
        self.pool = GeM(channels, power=power)
        self.linear = nn.Linear(channels[-1], out_channels)
        self.descriptor_size = out_channels

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] -> [B, out_channels]."""
        pooled = self.pool([F.normalize(maps[-1], dim=1)])
        described: Tensor = self.linear(F.normalize(pooled, dim=1))
        return described


class NetVLAD(nn.Module):
    """NetVLAD (Arandjelovic et al. 2016, eq. 4): residuals to soft-assigned cluster centres.

    The centres start as random directions and are learned. Of cells they are found by k-means
    (vpr_training.whitening), as in the paper.
    """

    def __init__(
        self, channels: Sequence[int], *, clusters: int = 64, sharpness: float = 10.0
    ) -> None:
        """sharpness: of the first assignment; features and centres are unit vectors then."""
        super().__init__()
        centres = F.normalize(torch.randn(clusters, channels[-1]), dim=1)
        self.centres = nn.Parameter(centres)
        self.assign = nn.Linear(channels[-1], clusters)
        self.sharpness = sharpness
        self.set_centres(centres)
        self.descriptor_size = clusters * channels[-1]

    def set_centres(self, centres: Tensor) -> None:
        """Take unit vectors [clusters, C], to which features are assigned by their cosine."""
        with torch.no_grad():
            self.centres.copy_(centres)
            self.assign.weight.copy_(self.sharpness * centres)
            self.assign.bias.zero_()

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] -> [B, clusters * C]."""
        x = F.normalize(maps[-1].flatten(2), dim=1).transpose(1, 2)  # [B, h * w, C]
        shares = F.softmax(self.assign(x), dim=2).transpose(1, 2)  # [B, clusters, h * w]
        residuals = shares @ x - shares.sum(dim=2, keepdim=True) * self.centres
        return F.normalize(residuals, dim=2).flatten(1)


class Layout(nn.Module):
    """What is in the picture beside where it is; nothing to train.

    The generalized mean of the last map names the things and does not care where they are; the
    centred grid of the first map keeps their layout. Each part is a unit vector, so that both
    weigh the same.
    """

    def __init__(self, channels: Sequence[int], *, power: float = 3.0, cells: int = 4) -> None:
        super().__init__()
        if len(channels) < 2:
            raise TrainingError(
                'layout: the backbone gives one feature map, expected two (taps: [stride16, head])'
            )
        self.power, self.cells = float(power), cells
        self.descriptor_size = channels[-1] + channels[0] * cells**2

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] and [B, E, h', w'] -> [B, E + C * cells^2]."""
        things = F.normalize(generalized_mean(maps[-1], self.power), dim=1)
        places = F.normalize(centred_grid(maps[0], self.cells), dim=1)
        return torch.cat([things, places], dim=1)


class WhitenedGrid(nn.Module):
    """A centred grid of cells x cells, whitened over its channels and over its cells.

    The covariance of channels x cells is taken as the product of one over channels and one over
    cells (a Kronecker product), which a few thousand images tell well and which costs little.
    """

    def __init__(
        self,
        channels: int,
        cells: int,
        *,
        keep_channels: int,
        keep_modes: int,
        weight: float = 1.0,
    ) -> None:
        """keep_channels, keep_modes: the strongest components that stay, over channels and cells.

        weight: the length of its descriptors. It begins as a plain grid; vpr_training.whitening
        finds the values, training goes on.
        """
        super().__init__()
        if not (1 <= keep_channels <= channels and 1 <= keep_modes <= cells**2):
            raise TrainingError(
                f'whitened: a grid keeps {counted(keep_channels, "channel")} and '
                f'{counted(keep_modes, "mode")}, expected at most {channels} and {cells**2}'
            )
        self.cells = cells
        self.mean = nn.Parameter(torch.zeros(channels, cells**2))
        self.over_channels = nn.Parameter(torch.eye(keep_channels, channels))
        self.over_cells = nn.Parameter(torch.eye(cells**2, keep_modes))
        self.weight = nn.Parameter(torch.tensor(weight))
        self.descriptor_size = keep_channels * keep_modes

    def plain(self, features: Tensor) -> Tensor:
        """A map [B, C, h, w] -> its centred grid, a unit vector, as [B, C, cells^2]."""
        flat = F.normalize(centred_grid(features, self.cells), dim=1)
        return flat.view(-1, *self.mean.shape)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, keep_channels * keep_modes], as long as its weight."""
        whitened = self.over_channels @ (self.plain(features) - self.mean) @ self.over_cells
        return self.weight * F.normalize(whitened.flatten(1), dim=1)


class Whitened(nn.Module):
    """What is in the picture beside where it is, as in Layout, each part whitened.

    What all pictures have in common says nothing about the place: each part loses the mean of many
    images, and directions in which images differ much weigh as much as others (Jegou and Chum
    2012). Unrelated pictures then have a similarity of 0; a constant number, as long as all parts
    together, brings it to 0.5, where descriptors without whitening have it, so that thresholds
    mean the same. The order of similarities stays.

    A whitened vector's length is how strange a picture is (Mahalanobis' distance). What a network
    finds in a strange one, which may be very coarse or dark, says little: things weigh less by the
    square of it.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        power: float = 3.0,
        things: int = 1024,
        grids: Sequence[Sequence[int]] = ((4, 112, 15), (8, 112, 63)),
    ) -> None:
        """things: components kept of the last map's generalized mean.

        grids: of the first map, each (cells, channels kept, modes kept). A centred grid has at
        most cells^2 - 1 modes. All grids together begin with a weight of 1.
        """
        super().__init__()
        if any(len(one) != 3 for one in grids) or not grids:
            raise TrainingError(
                f'whitened: grids {grids}, expected [[cells, channels, modes], ...]'
            )
        self.power = float(power)
        self.mean = nn.Parameter(torch.zeros(channels[-1]))
        self.things = nn.Linear(channels[-1], things, bias=False)
        self.weight = nn.Parameter(torch.tensor(THINGS_WEIGHT))
        length = (things / (3 * channels[-1])) ** 0.5  # of random weights
        self.typical_length = nn.Parameter(torch.tensor(length))
        self.grids = nn.ModuleList(
            WhitenedGrid(
                channels[0],
                cells,
                keep_channels=kept,
                keep_modes=modes,
                weight=len(grids) ** -0.5,
            )
            for cells, kept, modes in grids
        )
        self.descriptor_size = things + sum(kept * modes for _, kept, modes in grids) + 1

    def plain_things(self, maps: list[Tensor]) -> Tensor:
        """The last map [B, C, h, w] -> its generalized mean, a unit vector [B, C]."""
        return F.normalize(generalized_mean(maps[-1], self.power), dim=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] and [B, E, h', w'] -> [B, things + the grids' sizes + 1]."""
        things = self.things(self.plain_things(maps) - self.mean)
        strange = things.norm(dim=1, keepdim=True) / self.typical_length
        things = self.weight * F.normalize(things, dim=1) / strange.clamp(min=_LEAST_STRANGE) ** 2
        parts = torch.cat([things, *(grid_of(maps[0]) for grid_of in self.grids)], dim=1)
        return torch.cat([parts, parts.norm(dim=1, keepdim=True)], dim=1)


class VladLayout(nn.Module):
    """What is in the picture, NetVLAD, beside where it is, a centred grid; each whitened.

    NetVLAD does not care where things are, which a camera that has turned needs; a coarse picture
    has little but its layout. Each part is a unit vector, the layout times its weight. A constant
    number makes the similarity of unrelated pictures 0.5, as in Whitened.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        clusters: int = 64,
        sharpness: float = 15.0,
        things: int = 320,
        grid: int = 10,
        layout: int = 191,
        weight: float = 1.0,
    ) -> None:
        """clusters, sharpness: of NetVLAD; grid: rows and columns of the layout.

        things, layout: components kept of each part. They begin random; vpr_training.whitening
        finds the values.
        """
        super().__init__()
        self.vlad = NetVLAD(channels, clusters=clusters, sharpness=sharpness)
        self.grid, self.weight = grid, float(weight)
        self.things = nn.Linear(self.vlad.descriptor_size, things)
        self.layout = nn.Linear(channels[-1] * grid**2, layout)
        self.descriptor_size = things + layout + 1

    def plain(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """[B, C, h, w] -> unit vectors [B, clusters * C] and [B, C * grid^2], not whitened."""
        layout = centred_grid(maps[-1], self.grid)
        return F.normalize(self.vlad(maps), dim=1), F.normalize(layout, dim=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[B, C, h, w] -> [B, things + layout + 1]."""
        things, layout = self.plain(maps)
        parts = torch.cat(
            [
                F.normalize(self.things(things), dim=1),
                self.weight * F.normalize(self.layout(layout), dim=1),
            ],
            dim=1,
        )
        return torch.cat([parts, parts.norm(dim=1, keepdim=True)], dim=1)
