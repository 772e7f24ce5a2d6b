"""Small maps and models for tests, written by the same code that users run."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from vpr_ros.core.geometry import FORWARD_CAMERA, compose, yaw_quat
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.model import Model, ModelCard, write_model
from vpr_ros.core.place_map import MapHeader, PlaceMap, build
from vpr_ros.core.types import Poses


def unit_rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Random unit descriptors [count, size]."""
    rows = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def straight_drive(count: int, *, spacing_m: float = 1.0, yaw_rad: float = 0.0) -> Poses:
    """map_T_camera [count, 7] of a robot that drives along x, looking `yaw_rad` from it."""
    bases = np.zeros((count, 7))
    bases[:, 0] = np.arange(count) * spacing_m
    bases[:, 3:] = yaw_quat(yaw_rad)
    return compose(bases, FORWARD_CAMERA)


def write_map(
    folder: Path,
    descriptors: np.ndarray,
    poses: Poses,
    *,
    model_sha256: str = 'a' * 64,
    has_heading: bool = True,
) -> PlaceMap:
    """A map of given descriptors and camera poses."""
    header = MapHeader(
        model_name='test',
        model_sha256=model_sha256,
        descriptor_size=descriptors.shape[1],
        has_heading=has_heading,
    )
    with build(folder, header) as writer:
        for row, (descriptor, pose) in enumerate(zip(descriptors, poses, strict=True)):
            picture = np.full((24, 32, 3), row % 256, dtype=np.uint8)
            writer.add(
                descriptor,
                pose,
                stamp_ns=row * 10**9,
                name=f'{row}.jpg',
                thumbnail=encode_jpeg(picture),
            )
    return PlaceMap.open(folder)


def write_tiny_model(folder: Path, *, name: str = 'tiny', grid: int = 8) -> Model:
    """A real ONNX model in a few hundred bytes: the image averaged to grid x grid cells, centred, of unit norm."""
    size, descriptor_size = 64, grid * grid * 3
    nodes = [
        helper.make_node('Cast', ['images'], ['floats'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['floats'], ['planes'], perm=[0, 3, 1, 2]),
        helper.make_node(
            'AveragePool',
            ['planes'],
            ['cells'],
            kernel_shape=[size // grid] * 2,
            strides=[size // grid] * 2,
        ),
        helper.make_node('Flatten', ['cells'], ['flat']),
        helper.make_node('ReduceMean', ['flat'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Sub', ['flat', 'mean'], ['centred']),
        helper.make_node('LpNormalization', ['centred'], ['descriptors'], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info('images', TensorProto.UINT8, ['B', size, size, 3])],
        [helper.make_tensor_value_info('descriptors', TensorProto.FLOAT, ['B', descriptor_size])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    card = ModelCard(
        name=name, image_height=size, image_width=size, descriptor_size=descriptor_size
    )
    return write_model(folder, made.SerializeToString(), card)
