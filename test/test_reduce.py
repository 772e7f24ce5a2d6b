"""Shorter descriptors: the graph computes the formula; too few images are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import picture, write_posed_folder, write_tiny_model

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.shorter_descriptors import components, descriptors_of, shortened


def test_the_shortened_graph_projects_as_the_formula_says(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    describer = OnnxDescriber(model)
    drive = write_posed_folder(tmp_path / 'drive', range(40))
    rows = descriptors_of(describer, [drive], 16)
    mean, projection = components(rows, 16)
    covariance = np.cov(rows.astype(np.float64).T, bias=True)
    variances, axes = np.linalg.eigh(covariance)
    graph = shortened(model.graph.read_bytes(), mean, projection)
    card = ModelCard(
        name='short', image_height=64, image_width=64, descriptor_size=projection.shape[1]
    )
    short = OnnxDescriber(write_model(tmp_path / 'short', graph, card))
    images = [picture(100 + number) for number in range(5)]
    found = short.describe(images)
    long = describer.describe(images) - rows.mean(axis=0)
    expected = long @ axes[:, ::-1][:, :16] / np.maximum(variances[::-1][:16], 1e-12) ** 0.25
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    # Axes have no sign; similarities do not depend on it.
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_shortened_model_can_be_shortened_again(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    rng = np.random.default_rng(0)
    graph = model.graph.read_bytes()
    rows = OnnxDescriber(model).describe([picture(number) for number in range(3)])
    for size in (16, 8, 4):
        mean = rng.normal(size=rows.shape[1]).astype(np.float32) / 99
        projection = rng.normal(size=(rows.shape[1], size)).astype(np.float32)
        graph = shortened(graph, mean, projection)
        rows = (rows - mean) @ projection
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    short = write_model(tmp_path / 'short', graph, replace(model.card, descriptor_size=4))
    found = OnnxDescriber(short).describe([picture(number) for number in range(3)])
    np.testing.assert_allclose(found, rows, atol=1e-4)


@pytest.mark.parametrize('size', [40, 192, 500])
def test_too_few_images_or_numbers_are_refused(tmp_path: Path, size: int) -> None:
    describer = OnnxDescriber(write_tiny_model(tmp_path / 'tiny'))
    drive = write_posed_folder(tmp_path / 'drive', range(30))
    with pytest.raises(TrainingError, match="fewer than the model's 192 and the 30 images"):
        descriptors_of(describer, [drive], size)


def test_images_that_are_the_same_again_and_again_are_refused(tmp_path: Path) -> None:
    describer = OnnxDescriber(write_tiny_model(tmp_path / 'tiny'))
    drive = write_posed_folder(tmp_path / 'drive', [0, 1, 2, 3, 4] * 8)
    rows = descriptors_of(describer, [drive], 16)
    with pytest.raises(TrainingError, match='differ in 4 directions only; give other images'):
        components(rows, 16)
    assert components(rows, 4)[1].shape == (192, 4)


def test_the_command_writes_a_model_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = pytest.importorskip('vpr_training.export', reason='needs torch')
    source = write_tiny_model(tmp_path / 'tiny')
    drive = write_posed_folder(tmp_path / 'drive', range(20))
    words = ['--from', str(source.folder), '--output', str(tmp_path / 'short')]
    assert export.main([*words, '--descriptor-size', '8']) == 2
    assert export.main([*words, '--descriptor-size', '-8', '--reduce-on', str(drive)]) == 2
    assert '--descriptor-size -8: expected a whole number' in capsys.readouterr().err
    assert export.main([*words, '--descriptor-size', '8', '--reduce-on', str(drive)]) == 0
    made = Model.open(tmp_path / 'short')
    assert (made.card.name, made.card.descriptor_size) == ('tiny-8', 8)
    assert made.card.sha256 != source.card.sha256
    assert OnnxDescriber(made).describe([picture(0)]).shape == (1, 8)
