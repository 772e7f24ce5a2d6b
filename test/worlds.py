"""Small maps and models for tests, written by the same code that users run."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from onnx import NodeProto, TensorProto, helper

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard, write_model
from vpr_ros.core.geometry import FORWARD_CAMERA, compose, yaw_quat
from vpr_ros.core.image import encode_jpeg
from vpr_ros.core.mapping.header import MapHeader
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.core.mapping.writer import build
from vpr_ros.core.types import CellBits, Datum, Poses

CELLS = (3, 4, 16)  # rows, columns and numbers of the cells of made-up maps


def unit_rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Random unit descriptors [count, size]."""
    rows = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cell_bits(count: int, seed: int = 0) -> CellBits:
    """Random cells of CELLS as maps keep them, [count, 12, 2]."""
    rows, columns, numbers = CELLS
    shape = (count, rows * columns, numbers // 8)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


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
    datum: Datum | None = None,
    cells: CellBits | None = None,
    stamps_ns: np.ndarray | None = None,
) -> PlaceMap:
    """A map of given descriptors and camera poses, and of given cells of CELLS.

    stamps_ns: [N]; None: a second apart.
    """
    header = MapHeader(
        model_name='test',
        model_sha256=model_sha256,
        descriptor_size=descriptors.shape[1],
        has_heading=has_heading,
        datum=datum,
        cells=None if cells is None else CELLS,
        field_of_view_deg=90.0,
    )
    with build(folder, header) as writer:
        for row, (descriptor, pose) in enumerate(zip(descriptors, poses, strict=True)):
            picture = np.full((24, 32, 3), row % 256, dtype=np.uint8)
            writer.add(
                descriptor,
                pose,
                stamp_ns=row * 10**9 if stamps_ns is None else int(stamps_ns[row]),
                name=f'{row}.jpg',
                thumbnail=encode_jpeg(picture),
                cells=None if cells is None else cells[row],
            )
    return PlaceMap.open(folder)


def write_tiny_model(
    folder: Path, *, name: str = 'tiny', grid: int = 8, cells: bool = False
) -> Model:
    """A real ONNX model in a few hundred bytes.

    It gives the image averaged to grid x grid squares, centred, of unit norm. cells: and as its
    second output 4 x 4 cells of 48 numbers, each 4 x 4 averages of three colours, likewise.
    """
    size, descriptor_size = 64, grid * grid * 3
    nodes = [
        helper.make_node('Cast', ['images'], ['floats'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['floats'], ['planes'], perm=[0, 3, 1, 2]),
        helper.make_node(
            'AveragePool',
            ['planes'],
            ['squares'],
            kernel_shape=[size // grid] * 2,
            strides=[size // grid] * 2,
        ),
        helper.make_node('Flatten', ['squares'], ['flat']),
        helper.make_node('ReduceMean', ['flat'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Sub', ['flat', 'mean'], ['centred']),
        helper.make_node('LpNormalization', ['centred'], ['descriptors'], axis=1, p=2),
    ]
    value = helper.make_tensor_value_info
    outputs = [value('descriptors', TensorProto.FLOAT, ['B', descriptor_size])]
    if cells:
        nodes += _cell_nodes()
        outputs.append(value('cells', TensorProto.FLOAT16, ['B', 4, 4, 48]))
    images = value('images', TensorProto.UINT8, ['B', size, size, 3])
    graph = helper.make_graph(nodes, name, [images], outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    card = ModelCard(
        name=name,
        image_height=size,
        image_width=size,
        descriptor_size=descriptor_size,
        cells=(4, 4, 48) if cells else None,
    )
    return write_model(folder, made.SerializeToString(), card)


def _cell_nodes() -> list[NodeProto]:
    node = helper.make_node
    return [
        node('AveragePool', ['planes'], ['fine'], kernel_shape=[4, 4], strides=[4, 4]),
        node('SpaceToDepth', ['fine'], ['deep'], blocksize=4),
        node('Transpose', ['deep'], ['rows'], perm=[0, 2, 3, 1]),
        node('ReduceMean', ['rows'], ['middle'], axes=[3], keepdims=1),
        node('Sub', ['rows', 'middle'], ['differences']),
        node('LpNormalization', ['differences'], ['units'], axis=-1, p=2),
        node('Cast', ['units'], ['cells'], to=TensorProto.FLOAT16),
    ]


def picture(place: int, *, height: int = 120, width: int = 160) -> np.ndarray:
    """A picture unlike those of the other places, RGB."""
    coarse = np.random.default_rng(place).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write_pictured_map(
    folder: Path, count: int, *, spacing_m: float = 1.0, z_m: float = 0.0
) -> dict[str, Path]:
    """A tiny model, and a map of places along x that look to it like their pictures.

    The two folders, as the node's parameters name them.
    """
    model = write_tiny_model(folder / 'model')
    descriptors = OnnxDescriber(model).describe([picture(place) for place in range(count)])
    poses = straight_drive(count, spacing_m=spacing_m)
    poses[:, 2] += z_m
    write_map(folder / 'map', descriptors, poses, model_sha256=model.card.sha256)
    return {'map': folder / 'map', 'model': folder / 'model'}


def write_recall_set(
    folder: Path, database: Sequence[np.ndarray], queries: Sequence[np.ndarray]
) -> Path:
    """A set with gt.csv; the n-th query shows the place of the n-th image of the database."""
    for half, images in (('database', database), ('queries', queries)):
        (folder / half).mkdir(parents=True)
        for place, image in enumerate(images):
            cv2.imwrite(str(folder / half / f'{place:02}.png'), image)
    lines = [f'{place:02}.png,{place:02}.png' for place in range(len(queries))]
    (folder / 'gt.csv').write_text('\n'.join(['query,positives', *lines, '']))
    return folder


def write_posed_folder(
    folder: Path, places: Sequence[int], *, spacing_m: float = 10.0, period_s: float = 0.1
) -> Path:
    """A drive past places in the order given, place n at x = n * spacing_m."""
    (folder / 'images').mkdir(parents=True)
    rows = ['image,stamp_s,x,y,z,qx,qy,qz,qw']
    poses = straight_drive(max(places) + 1, spacing_m=spacing_m)
    for row, place in enumerate(places):
        name = f'{row:06d}.jpg'
        (folder / 'images' / name).write_bytes(encode_jpeg(picture(place), quality=95))
        numbers = ','.join(f'{value:.9f}' for value in poses[place])
        rows.append(f'{name},{1 + row * period_s:.3f},{numbers}')
    (folder / 'poses.csv').write_text('\n'.join(rows) + '\n')
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The content of each file below a folder, by its path within it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }
