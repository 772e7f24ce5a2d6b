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
from vpr_training.exporting.model_folder import export_checkpoint
from vpr_training.learning.whitening import LEAST_VARIANCE, Moments, whitening
from vpr_training.models.aggregators import Whitened
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
    found = whitening(torch.tensor(axes * variances @ axes.T), 4).numpy()
    left = found @ (axes * variances @ axes.T) @ found.T
    floor = LEAST_VARIANCE * variances.mean()
    np.testing.assert_allclose(left, np.diag(variances[:4] / (variances[:4] + floor)), atol=1e-9)


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


@pytest.mark.timeout(300)
def test_any_aggregator_is_whitened_by_its_projection(tmp_path: Path, images: Path) -> None:
    mixvpr = NetworkConfig(
        weights=None, last_stage=2, image_height=64, image_width=64, aggregator='mixvpr',
        aggregator_options={'out_channels': 4, 'out_rows': 2, 'mix_depth': 1},
    )  # fmt: skip
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
