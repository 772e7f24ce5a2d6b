"""A model folder is written whole or not at all, and a damaged one is refused by name."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ROOT
from worlds import write_posed_folder, write_tiny_model

from vpr_ros.core.describing import shipped
from vpr_ros.core.describing.describe import OnnxDescriber, opened_session, run_graph
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.describing.precision import Accepted, Precision
from vpr_ros.core.errors import ImageError, MapError, ModelError
from vpr_ros.drives import open_drive
from vpr_ros.drives.prefetch import described
from vpr_ros.map_care.build import build_map

ACCEPTED = {'sha256': 'x', 'size_bytes': 1, 'latency_ms': 5.0, 'threads': 1}
"""What a card says of an accepted graph."""


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return write_tiny_model(tmp_path / 'tiny')


def change_card(model: Model, **changes: object) -> None:
    path = model.folder / 'card.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_descriptors_are_unit_vectors_whatever_the_image_size(model: Model) -> None:
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (480, 640), (9, 200), (33, 8)]
    images = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]
    found = OnnxDescriber(model).describe(images)
    assert found.shape == (4, 192) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_an_image_is_described_the_same_alone_and_in_a_batch(model: Model) -> None:
    images = [
        np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8) for i in range(3)
    ]
    describer = OnnxDescriber(model)
    together = describer.describe(images)
    alone = np.concatenate([describer.describe([image]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_changed_graph_is_refused(model: Model) -> None:
    model.graph.write_bytes(model.graph.read_bytes() + b'\0')
    with pytest.raises(ModelError, match=r'model\.onnx: sha256 .* the card says'):
        Model.open(model.folder)


@pytest.mark.parametrize('name', ['model.onnx', 'card.json'])
def test_a_missing_file_is_named(model: Model, name: str) -> None:
    (model.folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        Model.open(model.folder)


def test_a_missing_folder_says_what_a_model_is_and_which_are_shipped(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r'expected one with model\.onnx and card\.json'
    ) as raised:
        Model.open(tmp_path / 'nowhere')
    names = sorted(card.parent.name for card in ROOT.glob('models/*/card.json'))
    assert str(raised.value).endswith(f'; shipped in {ROOT / "models"}: {", ".join(names)}')


def test_shipped_models_are_found_by_name_and_digest_also_beside_a_broken_one(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = [tmp_path / 'first', tmp_path / 'second']
    monkeypatch.setattr(shipped, 'share_folders', lambda: iter(shares))
    with pytest.raises(ModelError, match='give --model FOLDER, or install the package again'):
        shipped.default_model()
    assert shipped.shipped_models() == 'none is shipped'
    (broken := shares[0] / 'models' / 'broken').mkdir(parents=True)
    (broken / 'card.json').write_text('{')
    made, default = (shares[1] / 'models' / name for name in ('made', shipped.DEFAULT_MODEL))
    shutil.copytree(model.folder, made)
    default.mkdir()
    (default / 'card.json').write_text('{')
    assert shipped.default_model() == default
    assert shipped.model_that_made('tiny', model.card.sha256) == made
    with pytest.raises(MapError, match=r'made with model tiny \(00000000.*give its folder'):
        shipped.model_that_made('tiny', 64 * '0')
    assert shipped.shipped_models() == f'shipped in {broken.parent}: broken'


@pytest.mark.parametrize('package', ['vpr_ros', 'vpr_training'])
def test_onnxruntime_reports_nothing_and_leaves_no_number_of_this_machine(
    model: Model, tmp_path: Path, package: str
) -> None:
    """Where it reports, it makes $XDG_CACHE_HOME/Microsoft when it is loaded."""
    code = (
        f'import {package}, onnxruntime, os\n'
        f'onnxruntime.InferenceSession({str(model.graph)!r})\n'
        'print(os.environ["ORT_DISABLE_TELEMETRY"])\n'
    )
    suppressing = {'CI', 'ORT_DISABLE_TELEMETRY', 'ORT_RUNNING_UNIT_TESTS'}
    environment = {name: value for name, value in os.environ.items() if name not in suppressing}
    environment |= {'XDG_CACHE_HOME': str(tmp_path / 'cache'), 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == '1\n', done.stderr
    assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'format_version': 9}, 'format version 9'),
        ({'descriptor_size': 'many'}, 'descriptor_size'),
        ({'image_height': 0}, 'image_height'),
        ({'same_descriptors_as': 'ab12'}, 'same_descriptors_as'),
        ({'same_descriptors_as': [1]}, 'same_descriptors_as'),
        ({'image_height': True}, 'image_height is True'),
        ({'sha256': None}, 'sha256 is None, expected text'),
        ({'sha256': 12}, 'sha256 is 12, expected text'),
        ({'name': ['tiny']}, 'name is'),
        ({'summary': 3}, 'summary is 3'),
        ({'provenance': [1]}, 'provenance is'),
        ({'calibration': 'good'}, "calibration is 'good', expected a mapping or null"),
        ({'weaknesses': 'slow'}, "weaknesses is 'slow', expected a list of sentences"),
        ({'cells': 'many'}, r"cells is 'many', expected \[rows, columns, numbers\]"),
        ({'cells': [4, 4]}, r'cells is \[4, 4\], expected'),
        ({'cells': [4, 4, 12]}, r'cells is \[4, 4, 12\], .* the numbers a multiple of 8'),
        ({'cells': [0, 4, 8]}, r'cells is \[0, 4, 8\], .* each from 1 to 1024'),
        ({'cells': [4, 1025, 8]}, r'cells is \[4, 1025, 8\], .* each from 1 to 1024'),
        ({'cells': [4, True, 8]}, r'cells is \[4, True, 8\], expected'),
        ({'precisions': {'int8': ACCEPTED | {'latency_ms': '5'}}}, 'precisions: int8: expected'),
        ({'precisions': {'int8': ACCEPTED | {'threads': None}}}, 'precisions: int8: expected'),
        ({'precisions': {'int8': ACCEPTED | {'size_bytes': 1.5}}}, 'precisions: int8: expected'),
        ({'precisions': {'int8': ACCEPTED | {'sha256': 5}}}, 'precisions: int8: expected'),
        ({'precisions': {'int8': ACCEPTED | {'made': 'x'}}}, 'precisions: int8: expected'),
        ({'precisions': {'int8': ACCEPTED | {'recall_at_1': 'x'}}}, 'precisions: int8: expected'),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(
    model: Model, changes: dict[str, object], said: str
) -> None:
    change_card(model, **changes)
    with pytest.raises(ModelError, match=said):
        Model.open(model.folder)


def test_what_a_later_program_says_in_a_card_is_passed_over(model: Model) -> None:
    change_card(
        model, colour='red', precisions={'int8': ACCEPTED | {'latency_ms': 0.5, 'energy_j': 0.1}}
    )
    found = Model.open(model.folder, precision='fp32')
    assert found.card.name == 'tiny' and found.card.precisions['int8'].latency_ms == 0.5


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('[]', 'card.json: format version None, this program reads 1'),
        (
            '{"format_version": 1, "name": "x", "image_height": 8}',
            'lacks descriptor_size, image_w',
        ),
        ('{"format_version": 1', 'card.json: not valid JSON'),
        ('', 'card.json: not valid JSON'),
    ],
)
def test_a_card_that_is_none_is_refused(model: Model, text: str, said: str) -> None:
    (model.folder / 'card.json').write_text(text)
    with pytest.raises(ModelError, match=said):
        Model.open(model.folder)


def test_a_calibration_that_no_robot_could_read_makes_no_map(model: Model, tmp_path: Path) -> None:
    drive = write_posed_folder(tmp_path / 'drive', range(3))
    good, changed = OnnxDescriber(model), tmp_path / 'map' / 'map.yaml'
    build_map(open_drive(drive), good, tmp_path / 'map', command='test')
    before = changed.read_bytes()
    change_card(model, calibration={'weights': float('nan')})
    with pytest.raises(ModelError, match=r'card.json: calibration: .*; remove the entry'):
        build_map(
            open_drive(drive),
            OnnxDescriber(Model.open(model.folder)),
            tmp_path / 'map',
            command='',
        )
    assert changed.read_bytes() == before


@pytest.mark.parametrize('changes', [{'descriptor_size': 64}, {'image_width': 32}])
def test_a_card_that_contradicts_its_graph_is_refused(
    model: Model, changes: dict[str, object]
) -> None:
    change_card(model, **changes)
    with pytest.raises(ModelError, match='card'):
        OnnxDescriber(Model.open(model.folder))


def test_what_onnxruntime_says_of_an_image_is_one_line(model: Model) -> None:
    session = opened_session(str(model.graph), source='it')
    given = {session.get_inputs()[0].name: np.zeros((1, 1, 1, 3), dtype=np.uint8)}
    outputs = [session.get_outputs()[0].name]
    with pytest.raises(Exception, match='\n'):
        session.run(outputs, given)
    with pytest.raises(ModelError, match=r'^it: onnxruntime fails on an image [^\n]+$'):
        run_graph(session, outputs, given, source='it')


def test_garbage_instead_of_a_graph_is_refused(tmp_path: Path) -> None:
    card = ModelCard(name='garbage', image_height=8, image_width=8, descriptor_size=4)
    with pytest.raises(ModelError, match='not an ONNX file'):
        write_model(tmp_path / 'garbage', b'not a graph', card)
    assert not (tmp_path / 'garbage').exists()
    model = write_model(tmp_path / 'empty', b'', card)
    with pytest.raises(ModelError, match='onnxruntime cannot run it'):
        OnnxDescriber(model)


@pytest.mark.parametrize(
    ('nodes', 'said'),
    [
        ([('Concat', ['was', 'was'], {'axis': 0})], 'gives 2 rows for one image, expected one'),
        (
            [
                ('ReduceMax', ['was'], {'keepdims': 0}),
                ('Cast', ['ReduceMax'], {'to': onnx.TensorProto.INT64}),
                ('Add', ['Cast', 'far'], {}),
                ('Gather', ['was', 'Add'], {'axis': 1}),
            ],
            'onnxruntime fails on an image .* out of data bounds',
        ),
        ([('Add', ['was', 'was'], {})], 'its descriptor of an image has the length 2, expected 1'),
        ([('Div', ['zero', 'zero'], {})], 'its descriptor of an image has the length nan'),
    ],
    ids=['rows', 'failure', 'length', 'nan'],
)
def test_a_graph_that_fails_while_it_runs_is_named(
    model: Model, nodes: list[tuple[str, list[str], dict[str, int]]], said: str
) -> None:
    made = onnx.load(model.graph)
    (end,) = (node for node in made.graph.node if 'descriptors' in node.output)
    end.output[0] = 'was'
    far = onnx.numpy_helper.from_array(np.full(192, 10**6), 'far')
    made.graph.initializer.append(far)
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 192), 'f4'), 'zero'))
    made.graph.node.extend(
        onnx.helper.make_node(kind, read, [kind], **options) for kind, read, options in nodes
    )
    made.graph.node[-1].output[0] = 'descriptors'
    changed = write_model(model.folder, made.SerializeToString(), model.card)
    with pytest.raises(ModelError, match=rf'model\.onnx: {said}'):
        OnnxDescriber(changed).describe([np.eye(64, dtype=np.uint8)[..., None].repeat(3, axis=2)])


def test_replacing_a_model_leaves_no_litter(model: Model) -> None:
    before = model.card.sha256
    again = write_tiny_model(model.folder, grid=4)
    assert again.card.sha256 != before
    assert [path.name for path in model.folder.parent.iterdir()] == ['tiny']


def test_a_folder_that_is_no_model_is_not_replaced(tmp_path: Path) -> None:
    diary = tmp_path / 'home' / 'diary.txt'
    diary.parent.mkdir()
    write_tiny_model(diary.parent)  # an empty folder may become a model
    (diary.parent / 'card.json').unlink()
    diary.write_text('dear diary')
    with pytest.raises(
        ModelError, match='is not a model; give a new folder, or a model to replace'
    ):
        write_tiny_model(diary.parent)
    assert diary.read_text() == 'dear diary'


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'name': 5}, 'name is 5, expected text'),
        ({'provenance': {'data': {1, 2}}}, 'not JSON serializable'),
        ({'format_version': 2}, 'format version 2, this program reads 1'),
        ({'weaknesses': ('slow ' * 250_000,)}, 'larger than 1.0 MB'),
        (
            {'precisions': {'int8': Accepted(**ACCEPTED | {'latency_ms': 0.0})}},
            'int8: expected .* latency_ms above 0',
        ),
    ],
    ids=['name', 'provenance', 'version', 'size', 'latency'],
)
def test_a_card_that_could_not_be_read_again_is_not_written(
    model: Model, change: dict[str, object], said: str
) -> None:
    before = (model.folder / 'card.json').read_bytes()
    with pytest.raises(ModelError, match=said):
        write_model(model.folder, model.graph.read_bytes(), replace(model.card, **change))
    assert (model.folder / 'card.json').read_bytes() == before


@pytest.mark.parametrize(
    ('precisions', 'said'),
    [
        ({}, 'was not written, because its card has no int8'),
        ({'int8': Accepted(**ACCEPTED)}, r'model\.int8\.onnx: sha256 .* the card says x'),
    ],
)
def test_a_graph_that_the_card_has_not_accepted_is_not_written(
    model: Model, precisions: dict[Precision, Accepted], said: str
) -> None:
    graph = model.graph.read_bytes()
    with pytest.raises(ModelError, match=said):
        write_model(
            model.folder,
            graph,
            replace(model.card, precisions=precisions),
            smaller={'int8': graph},
        )
    assert not (model.folder / 'model.int8.onnx').exists()
    assert Model.open(model.folder).card == model.card


def test_a_model_that_cannot_be_written_is_named() -> None:
    with pytest.raises(ModelError, match='cannot be written'):
        write_tiny_model(Path('/proc/self/tiny'))


def test_threads_that_describe_an_image_each_find_what_one_image_on_all_threads_gives(
    model: Model,
) -> None:
    images = [
        np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8) for i in range(12)
    ]
    singly = OnnxDescriber(model, threads=2)
    together = OnnxDescriber(model, threads=3, singly=False)
    assert (singly.at_once, together.at_once) == (1, 3)
    found = described(range(12), lambda index, needed_hw: images[index], together)
    for index, made in found:
        assert not isinstance(made, ImageError)
        np.testing.assert_array_equal(made[0], images[index])
        np.testing.assert_allclose(made[1], singly.describe([images[index]])[0], atol=1e-6)
