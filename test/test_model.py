"""A model folder is written whole or not at all, and a damaged one is refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from worlds import write_tiny_model

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.errors import ImageError, ModelError
from vpr_ros.drives.prefetch import described


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


def test_a_missing_folder_says_what_a_model_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'expected one with model\.onnx and card\.json'):
        Model.open(tmp_path / 'nowhere')


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'format_version': 9}, 'format version 9'),
        ({'descriptor_size': 'many'}, 'descriptor_size'),
        ({'image_height': 0}, 'image_height'),
        ({'same_descriptors_as': 'ab12'}, 'same_descriptors_as'),
        ({'same_descriptors_as': [1]}, 'same_descriptors_as'),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(
    model: Model, changes: dict[str, object], said: str
) -> None:
    change_card(model, **changes)
    with pytest.raises(ModelError, match=said):
        Model.open(model.folder)


@pytest.mark.parametrize('changes', [{'descriptor_size': 64}, {'image_width': 32}])
def test_a_card_that_contradicts_its_graph_is_refused(
    model: Model, changes: dict[str, object]
) -> None:
    change_card(model, **changes)
    with pytest.raises(ModelError, match='card'):
        OnnxDescriber(Model.open(model.folder))


def test_garbage_instead_of_a_graph_is_refused(tmp_path: Path) -> None:
    card = ModelCard(name='garbage', image_height=8, image_width=8, descriptor_size=4)
    with pytest.raises(ModelError, match='not an ONNX file'):
        write_model(tmp_path / 'garbage', b'not a graph', card)
    assert not (tmp_path / 'garbage').exists()
    model = write_model(tmp_path / 'empty', b'', card)
    with pytest.raises(ModelError, match='onnxruntime cannot run it'):
        OnnxDescriber(model)


def test_replacing_a_model_leaves_no_litter(model: Model) -> None:
    before = model.card.sha256
    again = write_tiny_model(model.folder, grid=4)
    assert again.card.sha256 != before
    assert [path.name for path in model.folder.parent.iterdir()] == ['tiny']


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
