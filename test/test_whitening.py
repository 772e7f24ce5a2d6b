"""Whitening: means and covariances of images become the aggregator's weights."""

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('lightning', reason='make setup-training')
from test_train import draw_place, one_line

from vpr_ros.core.image import read, resize
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.model_folder import export_checkpoint
from vpr_training.learning.cells import (
    LEAST_VARIANCE,
    CellSamples,
    cell_components,
    learn_cells,
    turned_to_signs,
    unit_centres,
)
from vpr_training.learning.config import WhiteningConfig
from vpr_training.learning.whitening import Moments, whitening
from vpr_training.models.aggregators import Whitened
from vpr_training.models.cells import CellProjection
from vpr_training.models.checkpoints import load_checkpoint
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig
from vpr_training.whitening import main

FLAGS = (
    '--network.backbone=resnet18', '--network.weights=null', '--network.last_stage=2',
    '--network.image_height=64', '--network.image_width=64', '--network.aggregator=whitened',
    '--network.aggregator_options={things: 8, grids: [[2, 6, 3]]}', '--data.images_per_place=1',
    '--data.min_images_per_place=1', '--data.places_per_batch=8', '--data.workers=0',
    '--data.disturb=0.3', '--epochs=1',
)  # fmt: skip


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('images')
    for number in range(24):
        cv2.imwrite(str(folder / f'{number}.jpg'), draw_place(number, number % 3))
    return folder


def test_moments_of_batches_are_those_of_all_samples_at_once() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(2, 3, (50, 4, 6))
    moments = Moments(4, 6)
    for part in np.split(samples, [7, 20, 21]):
        moments.add(torch.tensor(part))
    mean = samples.mean(axis=0)
    over_channels, over_positions = np.zeros((4, 4)), np.zeros((6, 6))
    for sample in samples - mean:
        over_channels += sample @ sample.T / len(samples)
        over_positions += sample.T @ sample / len(samples)
    np.testing.assert_allclose(moments.mean, mean)
    np.testing.assert_allclose(moments.over_channels, over_channels)
    np.testing.assert_allclose(moments.over_positions, over_positions)


def test_whitened_components_come_in_order_and_weak_ones_are_held_down() -> None:
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    variances = np.array([9.0, 4.0, 1.0, 0.25, 0.0])
    found = whitening(torch.tensor(axes * variances @ axes.T), 4, least_variance=0.3).numpy()
    left = found @ (axes * variances @ axes.T) @ found.T
    floor = 0.3 * variances.mean()
    np.testing.assert_allclose(left, np.diag(variances[:4] / (variances[:4] + floor)), atol=1e-9)


def test_the_strongest_components_of_a_wide_covariance_are_those_of_all_its_axes() -> None:
    size, keep = 2100, 5
    axes = np.linalg.qr(np.random.default_rng(2).normal(size=(size, 40)))[0]
    variances = 0.8 ** np.arange(40)
    covariance = axes * variances @ axes.T
    found = whitening(torch.tensor(covariance), keep, least_variance=0.3).numpy()
    floor = 0.3 * np.trace(covariance) / size
    expected = (axes[:, :keep] / np.sqrt(variances[:keep] + floor)).T
    signs = np.sign((found * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, signs * expected, atol=1e-6)


def some_cells(count: int = 500, channels: int = 12) -> np.ndarray:
    """Loud and alike, as the channels of a map are."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(count, 6)) @ rng.normal(size=(6, channels)) + rng.normal(
        2, 0.1, (count, channels)
    )


def test_components_of_cells_equal_a_singular_value_decomposition() -> None:
    samples = some_cells()
    mean, found = cell_components(torch.tensor(samples), 4, power=0.35)
    _, lengths, axes = np.linalg.svd(samples - samples.mean(axis=0), full_matrices=False)
    variances = lengths**2 / len(samples)
    expected = axes[:4] / ((variances + LEAST_VARIANCE * variances[0])[:4, None] ** 0.35)
    np.testing.assert_allclose(mean, samples.mean(axis=0))
    signs = np.sign((found.numpy() * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, signs * expected, atol=1e-9)


def test_a_turn_keeps_cosines_and_brings_cells_nearer_to_their_signs() -> None:
    rng = np.random.default_rng(4)
    samples = rng.normal(size=(2000, 8)) * np.linspace(3, 0.3, 8)
    turn = turned_to_signs(torch.tensor(samples), steps=50).numpy()
    np.testing.assert_allclose(turn @ turn.T, np.eye(8), atol=1e-9)
    assert (turn == turned_to_signs(torch.tensor(samples), steps=50).numpy()).all()
    units = samples / np.linalg.norm(samples, axis=1, keepdims=True)

    def loss(of: np.ndarray) -> float:
        turned = units @ of
        return float(((np.where(turned > 0, 1, -1) - turned) ** 2).sum())

    assert loss(turn) < loss(np.eye(8))
    others = [np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(20)]
    assert loss(turn) < min(loss(other) for other in others)
    # The axes have more equal shares of the variance.
    before, after = (one.var(axis=0) / one.var(axis=0).sum() for one in (units, units @ turn))
    assert after.max() < 0.75 * before.max() and after.min() > 5 * before.min()


def test_one_step_of_turning_is_the_best_rotation_to_the_signs() -> None:
    """Scipy's Procrustes is the independent formula."""
    procrustes = pytest.importorskip('scipy.linalg', reason='needs scipy').orthogonal_procrustes
    samples = np.random.default_rng(5).normal(size=(300, 6)) * np.linspace(2, 0.5, 6)
    units = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    chance = torch.Generator().manual_seed(7)
    start = torch.linalg.qr(torch.randn(6, 6, generator=chance, dtype=torch.float64)).Q.numpy()
    expected, _ = procrustes(units, np.where(units @ start > 0, 1.0, -1.0))
    found = turned_to_signs(torch.tensor(samples), steps=1, seed=7)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_learned_cells_have_no_mean_and_come_from_all_maps_alike() -> None:
    maps = torch.tensor(some_cells(4 * 30)).float().view(4, 30, 12).transpose(1, 2)
    maps = maps.reshape(4, 12, 5, 6)
    samples = CellSamples(4, most=40, seed=0)
    samples.add(maps[:1])
    samples.add(maps[1:])
    kept = samples.array()
    assert kept.shape == (40, 12)
    owners = [int((maps.flatten(2) == one[None, :, None]).all(1).nonzero()[0, 0]) for one in kept]
    assert np.bincount(owners).tolist() == [10] * 4
    projection = CellProjection(12, 8)
    learn_cells(projection, maps.flatten(2).transpose(1, 2).reshape(-1, 12), WhiteningConfig())
    with torch.no_grad():
        plain = projection.linear(maps.permute(0, 2, 3, 1)).reshape(-1, 8)
        cells = projection(maps)
    assert plain.mean(dim=0).abs().max() < 1e-4 * plain.abs().max()
    assert cells.shape == (4, 5, 6, 8)
    np.testing.assert_allclose(cells.norm(dim=3), 1, rtol=1e-5)


def test_the_command_makes_a_checkpoint_that_the_robot_can_run(
    tmp_path: Path, images: Path
) -> None:
    run = tmp_path / 'run'
    assert main([*FLAGS, f'--data.root={images}', f'--output={run}']) == 0
    aggregator = load_checkpoint(run / 'best.ckpt').aggregator
    assert isinstance(aggregator, Whitened)
    assert aggregator.mean.detach().abs().sum() > 0
    assert 0 < aggregator.typical_length.item() < 8**0.5  # of eight components of variance below 1
    # Centred grids have no mean over their cells, and no mode of it.
    assert aggregator.grids[0].over_cells.detach().sum(dim=0).abs().max() < 1e-3
    model = export_checkpoint(run / 'best.ckpt', tmp_path / 'model')
    assert model.card.descriptor_size == 8 + 18 + 1
    assert model.card.provenance['loss'].startswith('none: means')


def test_every_image_counts_whatever_the_size_of_a_batch(tmp_path: Path, images: Path) -> None:
    """Of 24 images, batches of 9 leave 6 for a short one."""
    found = []
    for size in (24, 9):
        run = tmp_path / f'{size}'
        flags = (*FLAGS, '--data.augment=none', '--data.disturb=0')
        words = (f'--data.places_per_batch={size}', f'--data.root={images}', f'--output={run}')
        assert main([*flags, *words]) == 0
        found.append(load_checkpoint(run / 'best.ckpt').aggregator.state_dict()['mean'])
    torch.testing.assert_close(*found)


def test_parts_a_projection_and_cells_are_whitened_together(tmp_path: Path, images: Path) -> None:
    run = tmp_path / 'run'
    flags = [*FLAGS, '--network.descriptor_size=9', '--network.cells=16']
    assert main([*flags, f'--data.root={images}', f'--output={run}']) == 0
    assert main([*FLAGS, f'--data.root={images}', f'--output={tmp_path / "parts"}']) == 0
    network = load_checkpoint(run / 'best.ckpt').eval()
    alone = load_checkpoint(tmp_path / 'parts' / 'best.ckpt').aggregator.state_dict()
    for name, one in network.aggregator.state_dict().items():
        torch.testing.assert_close(one, alone[name])
    with torch.no_grad():
        pictures = [resize(read(one), (64, 64)) for one in images.iterdir()]
        maps = ExportedNetwork(network).maps(torch.from_numpy(np.stack(pictures)))
        whitened = network.projection(network.aggregator(maps))
        cells = network.cells_of(maps)
    spread = whitened[:, :-1].mean(dim=0).norm() / whitened[:, :-1].norm(dim=1).mean()
    assert spread < 0.7  # images were augmented
    assert cells.shape == (24, 8, 8, 16)
    assert ((cells > 0).float().mean(dim=(0, 1, 2)) - 0.5).abs().max() < 0.35
    model = export_checkpoint(run / 'best.ckpt', tmp_path / 'model')
    assert model.card.descriptor_size == 9 and model.card.cells == (8, 8, 16)


@pytest.mark.timeout(300)
def test_any_aggregator_is_whitened_by_its_projection(tmp_path: Path, images: Path) -> None:
    mixvpr = NetworkConfig(
        weights=None, last_stage=2, image_height=64, image_width=64, aggregator='mixvpr',
        aggregator_options={'out_channels': 4, 'out_rows': 2, 'mix_depth': 1},
    )  # fmt: skip
    torch.manual_seed(0)
    start = Network(mixvpr)
    torch.save(
        {'network': asdict(mixvpr), 'state_dict': start.state_dict()}, tmp_path / 'start.ckpt'
    )
    flags = [
        '--network.aggregator=mixvpr', f'--network.aggregator_options={mixvpr.aggregator_options}',
        '--network.descriptor_size=7', f'--init={tmp_path / "start.ckpt"}', '--data.disturb=0',
        '--data.augment_operations=1', '--data.augment_magnitude=0',
    ]  # fmt: skip
    assert main([*FLAGS, *flags, f'--data.root={images}', f'--output={tmp_path / "run"}']) == 0
    found = load_checkpoint(tmp_path / 'run' / 'best.ckpt').eval()
    for name, one in start.aggregator.state_dict().items():
        assert torch.equal(found.aggregator.state_dict()[name], one), name
    pictures = [resize(read(one), (64, 64)) for one in images.iterdir()]
    exported = ExportedNetwork(found)
    with torch.no_grad():
        maps = exported.maps(torch.from_numpy(np.stack(pictures)))
        whitened = found.projection(found.aggregator(maps)).numpy()
        unit = found.aggregate(maps).numpy()
    parts, constant = whitened[:, :-1], whitened[:, -1]
    assert np.allclose(constant, constant[0])
    mean_square = (parts**2).sum(axis=1).mean()
    assert np.isclose(constant[0] ** 2, mean_square, rtol=0.2)  # images were augmented
    apart = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    assert 0.3 < apart.mean() < 0.7


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        (
            ['--network.aggregator=gem', '--network.aggregator_options={}'],
            'descriptor_size is 0, expected 2 to 129',
        ),
        (
            [
                '--network.aggregator=gem',
                '--network.aggregator_options={}',
                '--network.descriptor_size=130',
            ],
            'descriptor_size is 130, expected 2 to 129',
        ),
        (['--data.root=nowhere'], 'nowhere: no such file'),
    ],
)
def test_what_cannot_be_whitened_is_one_line(
    tmp_path: Path, images: Path, wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FLAGS, f'--data.root={images}', *wrong, f'--output={tmp_path / "run"}']) == 2
    assert said in one_line(capsys)
    assert not (tmp_path / 'run' / 'best.ckpt').exists()


def test_centres_are_the_directions_of_the_cells_that_are_nearest_to_them() -> None:
    rng = np.random.default_rng(8)
    cells = rng.normal(size=(600, 5)) + 3 * np.repeat(np.eye(5)[:3], 200, axis=0)
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    found = unit_centres(torch.tensor(cells, dtype=torch.float32), 3).numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    nearest = (cells @ found.T).argmax(axis=1)
    for centre in range(3):
        mean = cells[nearest == centre].mean(axis=0)
        assert mean @ found[centre] / np.linalg.norm(mean) > 0.999
    with pytest.raises(TrainingError, match='2 cells for 3 clusters'):
        unit_centres(torch.tensor(cells[:2], dtype=torch.float32), 3)


VLAD_LAYOUT = (
    *FLAGS[:5], '--network.aggregator=vlad_layout', '--network.cells=8',
    '--network.aggregates_cells=true',
    '--network.aggregator_options={clusters: 4, things: 6, grid: 2, layout: 5, weight: 0.5}',
    *FLAGS[7:], '--data.augment=none',
)  # fmt: skip


def test_things_and_layout_of_cells_are_whitened_each_by_itself(
    images: Path, tmp_path: Path
) -> None:
    run = tmp_path / 'run'
    flags = [flag for flag in VLAD_LAYOUT if not flag.startswith('--data.disturb')]
    assert main([*flags, f'--data.root={images}', f'--output={run}']) == 0
    network = load_checkpoint(run / 'best.ckpt').eval()
    size = network.config.image_height, network.config.image_width
    pictures = [resize(read(path), size) for path in sorted(images.glob('*.jpg'))]
    exported = ExportedNetwork(network).eval()
    with torch.inference_mode():
        maps = exported.maps(torch.from_numpy(np.stack(pictures)))
        plain = network.aggregator.plain(network.aggregated_maps(maps))
        layers = network.aggregator.things, network.aggregator.layout
        for part, layer in zip(plain, layers, strict=True):
            samples = part.double().numpy()
            centred = samples - samples.mean(axis=0)
            covariance = centred.T @ centred / len(samples)
            floor = 0.3 * np.trace(covariance) / len(covariance)
            strongest = np.linalg.eigvalsh(covariance)[::-1][: layer.out_features]
            whitened = layer(part).double().numpy()
            np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)
            np.testing.assert_allclose(
                np.cov(whitened.T, bias=True), np.diag(strongest / (strongest + floor)), atol=0.02
            )
        descriptors, cells = exported(torch.from_numpy(np.stack(pictures)))
    assert descriptors.shape == (24, 12) and cells.shape == (24, 8, 8, 8)
    np.testing.assert_allclose(descriptors[:, -1], 0.5**0.5, rtol=1e-5)  # the constant
    lengths = [descriptors[:, part].norm(dim=1) for part in (slice(0, 6), slice(6, 11))]
    np.testing.assert_allclose(lengths[1] / lengths[0], 0.5, rtol=1e-4)  # the layout's weight
    export_checkpoint(run / 'best.ckpt', tmp_path / 'model')  # torch and onnxruntime agree
