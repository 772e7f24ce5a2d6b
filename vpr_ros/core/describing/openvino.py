"""Run a model by Intel's OpenVINO on the processor. The only module that imports openvino.

By default OpenVINO computes float layers in bfloat16 if the processor has it, which makes it
faster than onnxruntime there (decision 0027). An fp32 graph is computed in fp32, because that is
what was asked for. The float layers of an int8 graph may have fewer bits, because its other layers
have still fewer. If OpenVINO has no bfloat16 for one of them, as for lite0 on a processor with
AMX, they are computed in fp32, too.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.parity import Bits, require_parity
from vpr_ros.core.errors import BackendError
from vpr_ros.core.image import resize
from vpr_ros.core.types import Cells, Descriptors, Image


def openvino_name() -> str:
    """OpenVINO with its version, where it can be imported."""
    try:
        version = str(_imported().__version__).partition('-')[0]
    except BackendError:
        return 'OpenVINO'
    return f'OpenVINO {version}'


class OpenVinoDescriber:
    """A model folder run by OpenVINO, all threads on one image."""

    def __init__(self, model: Model, reference: OnnxDescriber, *, threads: int = 0) -> None:
        """threads: 0 takes all cores this process may use.

        reference: the same graph by onnxruntime, whose descriptors this has to give. Raises
        BackendError without openvino, for a graph that it refuses and for other descriptors.
        """
        openvino = _imported()
        self._model = model
        settings: dict[str, Any] = {
            'INFERENCE_NUM_THREADS': threads or len(os.sched_getaffinity(0)),
            'NUM_STREAMS': 1,
            'PERFORMANCE_HINT': 'LATENCY',
        }
        bits: Bits = 'int8' if model.precision.startswith('int8') else 'fp32'
        in_fp32 = settings | {'INFERENCE_PRECISION_HINT': 'f32'}
        self._request = compiled_request(
            openvino, model, [settings, in_fp32] if bits == 'int8' else [in_fp32]
        )
        require_parity(self, reference, bits, what=openvino_name())

    @property
    def model(self) -> Model:
        """The model that runs."""
        return self._model

    @property
    def at_once(self) -> int:
        """Always one, because there is one request."""
        return 1

    def describe(self, images: Sequence[Image]) -> Descriptors:
        """Images uint8 [H, W, 3] RGB of any sizes -> float32 [B, D] of unit norm.

        Raises BackendError where OpenVINO fails while it runs.
        """
        return self._run(1, images)[0]

    def describe_with_cells(self, images: Sequence[Image]) -> tuple[Descriptors, Cells | None]:
        """The same, and float16 [B, h, w, C] of unit norm; None of a model without cells."""
        descriptors, *cells = self._run(1 if self._model.card.cells is None else 2, images)
        return descriptors, cells[0] if cells else None

    def _run(self, outputs: int, images: Sequence[Image]) -> list[NDArray[Any]]:
        """The first outputs of the graph, whose order `OnnxDescriber` has checked."""
        rows = []
        for image in images:
            try:
                self._request.infer([resize(image, self._model.card.image_size)[None]])
            except RuntimeError as error:  # pybind11 turns C++ exceptions into these
                raise BackendError(
                    f'{self._model.graph}: OpenVINO fails on an image ({error})'
                ) from error
            rows.append(
                [np.array(self._request.get_output_tensor(row).data) for row in range(outputs)]
            )
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def compiled_request(openvino: Any, model: Model, ways: Sequence[Mapping[str, Any]]) -> Any:
    """What runs a graph, by the first settings that it can be compiled with.

    Raises BackendError where there are none.
    """
    core, refused = openvino.Core(), ''
    for settings in ways:
        try:
            return core.compile_model(str(model.graph), 'CPU', settings).create_infer_request()
        except RuntimeError as error:  # pybind11 turns C++ exceptions into these
            refused = refused or str(error)
    raise BackendError(f'{model.graph}: OpenVINO cannot run it ({refused})')


def _imported() -> Any:
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise BackendError(f'OpenVINO cannot be imported ({error})') from error
    return openvino
