"""Graphs with the inputs and outputs of XFeat and LighterGlue that need no weights.

Corners are where the image changes most, a descriptor is what it looks like around in coarse
waves, and matching is by the descriptors alone.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.core.landmarks.xfeat import (
    MATCHER_INPUTS,
    MATCHER_NAME,
    MATCHER_OUTPUTS,
    NETWORK_INPUTS,
    NETWORK_NAME,
    NETWORK_OUTPUTS,
)

_PATCH_PX = 32
_FLOAT = TensorProto.FLOAT


def network() -> bytes:
    """Grey [1, 1, H, W] -> descriptors [1, 64, H/8, W/8], scores [1, H, W], reliability."""
    at = (np.arange(_PATCH_PX) + 0.5) / _PATCH_PX
    window = np.exp(-8 * (at - 0.5) ** 2)
    waves = np.cos(np.pi * np.arange(1, 9)[:, None] * at) * window  # [8, P]
    waves -= waves.mean(axis=1, keepdims=True)
    filters = np.einsum('ux,vy->uvxy', waves, waves).reshape(64, 1, _PATCH_PX, _PATCH_PX)
    edges = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / (8 * 255)
    constants = {
        'filters': filters,
        'edges': edges.reshape(1, 1, 3, 3),
        'smooth': np.full((1, 1, 3, 3), 1 / 9),
    }
    pad = (_PATCH_PX - 8) // 2
    nodes = [
        helper.make_node('Conv', ['grey', 'filters'], ['raw'], strides=[8, 8], pads=[pad] * 4),
        helper.make_node('LpNormalization', ['raw'], ['descriptors'], axis=1, p=2),
        helper.make_node('Conv', ['grey', 'smooth'], ['blurred'], pads=[1] * 4),
        helper.make_node('Conv', ['blurred', 'edges'], ['change'], pads=[1] * 4),
        helper.make_node('Abs', ['change'], ['strength']),
        helper.make_node('Squeeze', ['strength', 'one'], ['scores']),
        helper.make_node(
            'AveragePool', ['strength'], ['mean'], kernel_shape=[8, 8], strides=[8, 8]
        ),
        helper.make_node('Sigmoid', ['mean'], ['reliability']),
    ]
    sizes = ([1, 64, None, None], [1, None, None], [1, 1, None, None])
    return _graph(nodes, constants, NETWORK_INPUTS, [[1, 1, None, None]], NETWORK_OUTPUTS, sizes)


def matcher() -> bytes:
    """Ten times the cosine minus one, as if it were a logarithm of probabilities."""
    _, first, _, second = MATCHER_INPUTS
    nodes = [
        helper.make_node('Transpose', [second], ['turned'], perm=[0, 2, 1]),
        helper.make_node('MatMul', [first, 'turned'], ['cosine']),
        helper.make_node('Sub', ['cosine', 'unit'], ['below']),
        helper.make_node('Mul', ['below', 'steep'], list(MATCHER_OUTPUTS)),
    ]
    constants = {'unit': np.array(1.0), 'steep': np.array(10.0)}
    sizes = [[1, None, 2], [1, None, 64], [1, None, 2], [1, None, 64]]
    return _graph(nodes, constants, MATCHER_INPUTS, sizes, MATCHER_OUTPUTS, [[1, None, None]])


def graphs(*, lighterglue: bool = False) -> dict[str, bytes]:
    """What XFeatFeatures takes."""
    return {NETWORK_NAME: network()} | ({MATCHER_NAME: matcher()} if lighterglue else {})


def _graph(nodes, constants, inputs, input_sizes, outputs, output_sizes) -> bytes:
    graph = helper.make_graph(
        nodes,
        'tiny',
        [helper.make_tensor_value_info(n, _FLOAT, s) for n, s in zip(inputs, input_sizes)],
        [helper.make_tensor_value_info(n, _FLOAT, s) for n, s in zip(outputs, output_sizes)],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in constants.items()]
        + [numpy_helper.from_array(np.array([1], np.int64), 'one')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    return model.SerializeToString()
