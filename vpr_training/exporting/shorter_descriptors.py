"""Shorter descriptors of a finished model: principal components, added to its graph.

A map of shorter descriptors is smaller and searched faster, and finds less: how much less is
measured before it is used. The components are those of images from where the robot drives, half
whitened, as between Jegou and Chum, Negative Evidences and Co-occurrences in Image Retrieval: The
Benefit of PCA and Whitening, ECCV 2012, and none.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tqdm import tqdm

from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import ModelCard, write_model
from vpr_ros.core.errors import noting
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Descriptors
from vpr_ros.drives import open_drive
from vpr_ros.drives.posed_images import Unusable, usable
from vpr_ros.drives.prefetch import described, load
from vpr_training.basics.errors import TrainingError
from vpr_training.exporting.graph_edits import halved

_WHITENING = 0.5  # 1 brings all components to one variance, 0 leaves them
_LEAST_VARIANCE = 1e-12  # of a component of unit descriptors in single precision; less is rounding
_LONG, _SHORT = 'long_descriptors', 'descriptors'


def shorter(
    graph: bytes, card: ModelCard, sources: Sequence[Path], size: int
) -> tuple[bytes, ModelCard]:
    """A model's fp32 graph and card with descriptors of `size` numbers; raises VprError.

    sources: drives or folders whose images give the components.
    """
    card = replace(card, precisions={})
    with tempfile.TemporaryDirectory(prefix='shorter-') as folder:
        describer = OnnxDescriber(write_model(Path(folder) / 'model', graph, card), singly=False)
        found = components(descriptors_of(describer, sources, size), size)
    changed = replace(
        card,
        name=f'{card.name}-{size}',
        descriptor_size=size,
        recall={},
        provenance=card.provenance | {'principal_components_of': [str(path) for path in sources]},
    )
    return shortened(graph, *found), changed


def descriptors_of(describer: Describer, sources: Sequence[Path], size: int) -> Descriptors:
    """Descriptors [n, D] of the images of drives or folders; TrainingError for too few of them."""
    rows, unusable = [], Unusable()
    for source in sources:
        drive = open_drive(source)
        frames = tqdm(drive.frames(), total=len(drive), unit='image', disable=None, delay=2)
        rows += [row for _, (_, row) in usable(described(frames, load, describer), unusable)]
    if len(rows) <= size or size >= describer.model.card.descriptor_size:
        with noting(unusable.lines):
            raise TrainingError(
                f"--descriptor-size {size}: expected fewer than the model's "
                f'{describer.model.card.descriptor_size} and the '
                f'{counted(len(rows), "image")} of --reduce-on'
            )
    return np.array(rows)


def components(descriptors: Descriptors, size: int) -> tuple[Descriptors, NDArray[np.float32]]:
    """Mean [D] of descriptors [n, D], and their first principal components [D, size].

    Raises TrainingError for descriptors that do not differ in so many directions: the others would
    be noise, which whitening enlarges.
    """
    mean = descriptors.mean(axis=0, dtype=np.float64)
    centred = descriptors - mean
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    variances = lengths[:size] ** 2 / len(descriptors)
    if (told := int((variances > _LEAST_VARIANCE).sum())) < size:
        raise TrainingError(
            f'--descriptor-size {size}: the images of --reduce-on differ in '
            f'{counted(told, "direction")} only; give other images, not the same ones repeated'
        )
    projection = axes[:size].T / variances ** (_WHITENING / 2)
    return mean.astype(np.float32), np.ascontiguousarray(projection, dtype=np.float32)


def shortened(graph: bytes, mean: Descriptors, projection: NDArray[np.float32]) -> bytes:
    """The graph with its descriptors projected and brought to unit norm; cells stay."""
    model = onnx.load_from_string(graph)
    output = model.graph.output[0]
    tag = _free_tag(model)
    long, mean_name, axes_name = f'{_LONG}{tag}', f'pca_mean{tag}', f'pca_components{tag}'
    centred, projected = f'centred_descriptors{tag}', f'projected_descriptors{tag}'
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == output.name:
                    names[place] = long
    model.graph.initializer.extend(
        [numpy_helper.from_array(mean, mean_name), numpy_helper.from_array(projection, axes_name)]
    )
    model.graph.node.extend(
        [
            helper.make_node('Sub', [long, mean_name], [centred]),
            helper.make_node('MatMul', [centred, axes_name], [projected]),
            helper.make_node('LpNormalization', [projected], [_SHORT], axis=1, p=2),
        ]
    )
    output.name = _SHORT
    output.type.tensor_type.shape.dim[1].dim_value = projection.shape[1]
    onnx.checker.check_model(model)
    return halved(bytes(model.SerializeToString()))


def _free_tag(model: onnx.ModelProto) -> str:
    """What ends the names of new tensors: nothing, or _2, _3 ... of a model shortened before."""
    used = {name for node in model.graph.node for name in node.output}
    tags = chain([''], (f'_{time}' for time in count(2)))
    return next(tag for tag in tags if f'{_LONG}{tag}' not in used)
