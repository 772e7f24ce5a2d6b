"""Before 8 bits, channels fill their ranges and weights are rounded for the output's sake."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from convolutions import SIZE, write_convolutional_model
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import picture

onnx = pytest.importorskip('onnx', reason='needs onnx: make setup-training')
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import write_model
from vpr_training.exporting.equalize import equalized, tensors_of
from vpr_training.exporting.quantize import calibrate, int8_graph
from vpr_training.exporting.rounding import rounded, rounded_rows

CHANNELS = 8


@pytest.fixture(scope='module')
def images() -> list[np.ndarray]:
    return [picture(place, height=SIZE, width=SIZE) for place in range(16)]


def mobile(*, smallest: float = 1.0) -> Any:
    """A stem, two blocks of MobileNet with a sum of their outputs, and averages of that sum.

    smallest: of the factors between channels of the linear tensors, which the next layers undo.
    """
    rng = np.random.default_rng(0)
    factors = np.geomspace(smallest, 1, CHANNELS)
    shapes = {
        'stem': (CHANNELS, 3, 3, 3),
        'project1': (CHANNELS, CHANNELS, 1, 1),
        'expand': (16, CHANNELS, 1, 1),
        'depth': (16, 1, 3, 3),
        'project2': (CHANNELS, 16, 1, 1),
    }
    constants = {}
    for name, shape in shapes.items():
        weights = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        if name.startswith('project'):
            weights *= factors[:, None, None, None]
        if name == 'expand':
            weights /= factors[None, :, None, None]
        constants[f'{name}_w'] = weights / (100 if name == 'stem' else 1)
        constants[f'{name}_b'] = rng.normal(0.3, 0.1, shape[0]) * (
            factors if name.startswith('project') else 1
        )
    constants |= {'zero': np.array(0.0), 'six': np.array(6.0)}
    constants['undo'] = 1 / factors.reshape(1, -1, 1, 1)
    node = helper.make_node

    def convolution(name: str, source: str, **options: Any) -> Any:
        return node('Conv', [source, f'{name}_w', f'{name}_b'], [name], name=name, **options)

    def relu6(name: str) -> Any:
        return node('Clip', [name, 'zero', 'six'], [f'{name}_6'], name=f'{name}_6')

    nodes = [
        node('Transpose', ['images'], ['planes'], perm=[0, 3, 1, 2], name='planes'),
        node('Cast', ['planes'], ['floats'], to=TensorProto.FLOAT, name='floats'),
        convolution('stem', 'floats', strides=[2, 2], pads=[1] * 4),
        relu6('stem'),
        convolution('project1', 'stem_6'),
        convolution('expand', 'project1'),
        relu6('expand'),
        convolution('depth', 'expand_6', pads=[1] * 4, group=16),
        relu6('depth'),
        convolution('project2', 'depth_6'),
        node('Add', ['project1', 'project2'], ['sum'], name='sum'),
        node('Mul', ['sum', 'undo'], ['level'], name='level'),
        node('AveragePool', ['level'], ['cells'], kernel_shape=[4, 4], strides=[4, 4], name='p'),
        node('Flatten', ['cells'], ['flat'], name='flat'),
        node('LpNormalization', ['flat'], ['descriptors'], axis=1, p=2, name='norm'),
    ]
    size = CHANNELS * (SIZE // 8) ** 2
    graph = helper.make_graph(
        nodes,
        'mobile',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, ['B', SIZE, SIZE, 3])],
        [helper.make_tensor_value_info('descriptors', TensorProto.FLOAT, ['B', size])],
        [
            numpy_helper.from_array(np.asarray(array, np.float32), name)
            for name, array in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def described(model: Any, images: list[np.ndarray]) -> np.ndarray:
    return np.array([found['descriptors'] for found in tensors_of(model, ['descriptors'], images)])


def cosines(graph: bytes, model: Any, images: list[np.ndarray]) -> np.ndarray:
    made = onnx.load_from_string(graph)
    del made.graph.value_info[:]
    return (described(made, images) * described(model, images)).sum(axis=1)


@pytest.mark.parametrize('smallest', [1.0, 0.05])
def test_a_prepared_graph_computes_the_same(smallest: float, images: list[np.ndarray]) -> None:
    model = mobile(smallest=smallest)
    found = equalized(model, images)
    assert {'stem_6', 'expand_6', 'depth_6', 'project1', 'project2', 'sum'} == set(found.ranges)
    assert ((described(found.model, images) * described(model, images)).sum(axis=1) > 0.999).all()


def test_channels_fill_the_range_of_their_tensor(images: list[np.ndarray]) -> None:
    found = equalized(mobile(smallest=0.05), images)
    for name in ('project1', 'sum'):
        seen = [tensors[name] for tensors in tensors_of(found.model, [name], images)]
        reached = np.abs(np.stack(seen)).max(axis=(0, 2, 3))  # [C]
        least, most = found.ranges[name]
        assert least == -most and (reached > most / 4).all()


def test_8_bits_lose_little_where_channels_are_uneven(images: list[np.ndarray]) -> None:
    model = mobile(smallest=0.01)
    graph = int8_graph(calibrate(model.SerializeToString(), images))
    assert cosines(graph, model, images).min() > 0.995


def test_a_network_with_relu_keeps_its_descriptors_and_gets_no_nodes(
    images: list[np.ndarray], tmp_path: Path
) -> None:
    model = write_convolutional_model(tmp_path / 'model')
    found = equalized(onnx.load(model.graph), images).model
    assert len(found.graph.node) == len(onnx.load(model.graph).graph.node)
    again = write_model(tmp_path / 'again', found.SerializeToString(), model.card)
    expected = OnnxDescriber(model).describe(images)
    np.testing.assert_allclose(OnnxDescriber(again).describe(images), expected, atol=1e-5)


def inputs_of(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [1, 3, size], and the covariance [1, size, size] of inputs that are much alike."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(200, 1)) + 0.2 * rng.normal(size=(200, size))
    return rng.normal(size=(1, 3, size)), np.cov(seen.T)[None]


def error(weights: np.ndarray, found: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    left = weights - found
    return np.einsum('gok,gkl,gol->go', left, covariance, left)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 25))
def test_the_output_errs_no_more_than_with_each_weight_rounded(seed: int, size: int) -> None:
    weights, covariance = inputs_of(seed, size)
    scale = np.abs(weights).max(axis=2, keepdims=True) / 127
    nearest = np.round(weights / scale) * scale
    found = rounded_rows(weights, covariance)
    worst = error(weights, nearest, covariance) + 1e-12
    assert (error(weights, found, covariance) <= worst).all()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 25))
def test_rounded_weights_are_on_the_grid_that_their_largest_gives(seed: int, size: int) -> None:
    found = rounded_rows(*inputs_of(seed, size))
    steps = found / (np.abs(found).max(axis=2, keepdims=True) / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)


def outputs(model: Any, constants: dict[str, np.ndarray], layer: str, images: Any) -> np.ndarray:
    """What a layer gives for images, [C, n], with other constants."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for entry in changed.graph.initializer:
        if entry.name in constants:
            entry.CopyFrom(numpy_helper.from_array(constants[entry.name], entry.name))
    seen = [tensors[layer] for tensors in tensors_of(changed, [layer], images)]
    return np.concatenate([one.reshape(len(one), -1) for one in seen], axis=1)


@pytest.mark.parametrize('layer', ['stem', 'depth'])
def test_a_rounded_layers_output_keeps_its_mean_and_errs_less(
    layer: str, images: list[np.ndarray]
) -> None:
    model = mobile()
    constants = rounded(model, images)[layer]
    plain = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = plain[f'{layer}_w']
    scale = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
    nearest = {f'{layer}_w': np.round(weights / scale) * scale}
    before, after, naive = (
        outputs(model, changed, layer, images) for changed in ({}, constants, nearest)
    )
    np.testing.assert_allclose(after.mean(axis=1), before.mean(axis=1), atol=0.01)
    ratio = np.var(after - before, axis=1) / np.var(naive - before, axis=1)
    assert (ratio <= 1.01).all() and ratio.mean() < 0.8
