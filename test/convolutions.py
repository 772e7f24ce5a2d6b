"""A small convolutional network as an ONNX model, made without torch, for what quantizes."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.core.describing.model import Model, ModelCard, write_model

SIZE, CHANNELS = 64, 16


def write_convolutional_model(folder: Path, *, weak_layer: bool = False) -> Model:
    """Bytes, normalization, three convolutions (one behind a padding), averages, unit norm.

    weak_layer: the second convolution has large weights for channels that are always zero, so that
    8 bits leave nothing for the others.
    """
    rng = np.random.default_rng(0)
    shapes = {
        'a': (CHANNELS, 3, 3, 3),
        'b': (CHANNELS,) * 2 + (3, 3),
        'c': (CHANNELS,) * 2 + (1, 1),
    }
    constants = {
        f'{name}_weights': rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        for name, shape in shapes.items()
    }
    constants |= {f'{name}_bias': rng.normal(0, 0.1, CHANNELS) for name in shapes}
    if weak_layer:
        constants['a_weights'][0], constants['a_bias'][0] = 0, -1  # always zero behind the ReLU
        constants['b_weights'][:, 0] = 1000
    constants |= {
        'mean': np.array([120.0, 116, 104]).reshape(1, 3, 1, 1),
        'std': np.array([58.0, 57, 57]).reshape(1, 3, 1, 1),
    }
    initializers = [
        numpy_helper.from_array(np.asarray(array, np.float32), name)
        for name, array in constants.items()
    ]
    initializers.append(numpy_helper.from_array(np.array([0, 0, 1, 1] * 2, np.int64), 'pads'))
    node = helper.make_node
    nodes = [
        node('Transpose', ['images'], ['planes'], perm=[0, 3, 1, 2], name='planes'),
        node('Cast', ['planes'], ['floats'], to=TensorProto.FLOAT, name='floats'),
        node('Sub', ['floats', 'mean'], ['centred'], name='centred'),
        node('Div', ['centred', 'std'], ['normal'], name='normal'),
        node(
            'Conv',
            ['normal', 'a_weights', 'a_bias'],
            ['a'],
            pads=[1] * 4,
            strides=[2, 2],
            name='a',
        ),
        node('Relu', ['a'], ['a_relu'], name='a_relu'),
        node('Pad', ['a_relu', 'pads'], ['padded'], name='padded'),
        node('Conv', ['padded', 'b_weights', 'b_bias'], ['b'], strides=[2, 2], name='b'),
        node('Relu', ['b'], ['b_relu'], name='b_relu'),
        node('Conv', ['b_relu', 'c_weights', 'c_bias'], ['c'], name='c'),
        node('AveragePool', ['c'], ['cells'], kernel_shape=[4, 4], strides=[4, 4], name='cells'),
        node('Flatten', ['cells'], ['flat'], name='flat'),
        node('LpNormalization', ['flat'], ['descriptors'], axis=1, p=2, name='norm'),
    ]
    size = CHANNELS * (SIZE // 16) ** 2
    graph = helper.make_graph(
        nodes,
        'convolutions',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, ['B', SIZE, SIZE, 3])],
        [helper.make_tensor_value_info('descriptors', TensorProto.FLOAT, ['B', size])],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    card = ModelCard(
        name='convolutions', image_height=SIZE, image_width=SIZE, descriptor_size=size
    )
    return write_model(folder, made.SerializeToString(), card)
