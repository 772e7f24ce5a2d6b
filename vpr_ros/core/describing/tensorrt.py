"""Run a model by NVIDIA's TensorRT or TensorRT-RTX, which have one interface.

What differs between the two and their versions is in `tensorrt_library`; how engines are built and
kept in `engine`. A kept engine is used only if its file is whole and was made for this GPU,
version, precision and graph, and if it has once described two pictures as onnxruntime does on this
GPU; that also holds for an engine that was built elsewhere.

Nothing in here has been run on a GPU: see docs/how-to/jetson.md.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.describing.cuda import Buffer, Memory, stream_handle
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.engine import (
    MOST_IMAGES,
    REFUSED,
    EngineKey,
    build_plan,
    default_precision,
    engine_file,
    engine_key,
    graph_precision,
    keep,
    read,
    read_engine,
    sealed,
    unsealed,
)
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.parity import ParityError, require_parity
from vpr_ros.core.describing.tensorrt_library import (
    EnginePrecision,
    Library,
    Progress,
    failure,
    kept_log,
)
from vpr_ros.core.errors import BackendError
from vpr_ros.core.image import resize
from vpr_ros.core.plurals import counted
from vpr_ros.core.types import Cells, Descriptors, Image


class TensorRtDescriber:
    """A model folder run by TensorRT or TensorRT-RTX on the first GPU; to be closed."""

    def __init__(
        self,
        model: Model,
        *,
        library: Library,
        precision: EnginePrecision | None = None,
        cache: Path,
        progress: Progress = lambda text: None,
        rebuild: bool = False,
    ) -> None:
        """Load the engine from the cache, or build it, check it and keep it.

        precision: None takes `default_precision`. Raises BackendError for all that the library and
        CUDA cannot do, ModelError for a graph that is missing or damaged.
        """
        self._library = library
        self._precision = precision or default_precision(library, model.card)
        graph = graph_precision(library, self._precision)
        self._model = Model.open(model.folder, precision=graph)
        self._lock = Lock()
        self._log = kept_log(library.module)
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._kernels: Any = None  # TensorRT-RTX's cache of what it compiled for this GPU
        self._memory = Memory()
        try:
            self._open(cache, progress, rebuild)
        except BaseException:
            self.close()
            raise

    @property
    def model(self) -> Model:
        """The model that runs."""
        return self._model

    @property
    def at_once(self) -> int:
        """Always one, because the GPU has one stream and one set of buffers."""
        return 1

    @property
    def key(self) -> EngineKey:
        """What the engine was built for."""
        return self._key

    @property
    def gpu(self) -> str:
        """Name of the GPU that runs it."""
        return self._gpu_names['gpu']

    @property
    def not_kept(self) -> str:
        """Why the engine is not in the cache; empty where it is."""
        return self._not_kept

    def describe(self, images: Sequence[Image]) -> Descriptors:
        """Images uint8 [H, W, 3] RGB of any sizes -> float32 [B, D] of unit norm."""
        return self._run([self._descriptors], images)[0]

    def describe_with_cells(self, images: Sequence[Image]) -> tuple[Descriptors, Cells | None]:
        """The same, and float16 [B, h, w, C] of unit norm; None of a model without cells."""
        wanted = [self._descriptors, *([] if self._cells is None else [self._cells])]
        descriptors, *cells = self._run(wanted, images)
        return descriptors, cells[0] if cells else None

    def close(self) -> None:
        """Free the engine, its buffers and the stream; more than once is no error."""
        with self._lock:
            self._keep_kernels()
            self._context = self._kernels = self._engine = self._runtime = None
            self._memory.close()

    def __enter__(self) -> 'TensorRtDescriber':
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self, cache: Path, progress: Progress, rebuild: bool) -> None:
        gpu = self._memory.gpu
        self._key = engine_key(self._library, self._model, self._precision, gpu)
        self._not_kept = ''
        path = cache / self._key.file_name
        if not rebuild and (reason := read(path.with_suffix(REFUSED))):
            raise ParityError(reason.decode(errors='replace'))
        # Kernels and checks are of the very GPU, of which an engine may serve several.
        self._kernels_path = path.with_suffix('.kernels')
        self._gpu_names = {'gpu': gpu.name, 'engine': self._key.file_name}
        self._runtime = self._library.module.Runtime(self._log)
        plan = None if rebuild else read_engine(path, self._key)
        if plan is not None:
            self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._was_built = plan is None or self._engine is None
        if plan is None or self._engine is None:
            plan = build_plan(
                self._library, self._model, self._key, cache=cache, progress=progress
            )
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise failure(
                    self._log, f'{self._model.graph}: the engine just built does not load'
                )
        self._prepare()
        self._check(path, plan)

    def _check(self, path: Path, plan: bytes) -> None:
        """Check an engine that is new here, and keep it; a refused one is remembered instead."""
        checked = path.with_suffix('.checked')
        digest = hashlib.sha256(plan).hexdigest().encode()
        if not self._was_built and unsealed(checked, self._gpu_names) == digest:
            return
        refusal = path.with_suffix(REFUSED)
        try:
            require_parity(
                self,
                OnnxDescriber(self._model),
                self._precision,
                what=f'the {self._precision} engine',
            )
        except ParityError as error:  # not to be built again at each start
            keep(refusal, str(error).encode())
            raise
        with suppress(OSError):
            refusal.unlink()
        if self._was_built:
            self._not_kept = keep(path, engine_file(self._key, plan))
        keep(checked, sealed(self._gpu_names, digest))
        self._keep_kernels()

    def _keep_kernels(self) -> None:
        """Keep what was compiled for this GPU, where that has grown."""
        if self._kernels is None:
            return
        with suppress(RuntimeError):  # a cache: freeing everything else must go on
            content = sealed(self._gpu_names, bytes(self._kernels.serialize()))
            if content != read(self._kernels_path):
                keep(self._kernels_path, content)

    def _prepare(self) -> None:
        """Buffers and the context; raises BackendError where the engine is of another kind."""
        tensors = _tensors(self._library.module, self._engine, self._model)
        self._input = tensors.images
        kernels = unsealed(self._kernels_path, self._gpu_names)
        self._context, self._kernels = self._library.context(self._engine, kernels)
        if self._context is None:
            raise failure(
                self._log, f'{self._model.graph}: no execution context, too little memory?'
            )
        card = self._model.card
        self._images = self._memory.buffer((MOST_IMAGES, *card.image_size, 3), np.uint8)
        self._descriptors = self._memory.buffer((MOST_IMAGES, card.descriptor_size), np.float32)
        self._cells = None
        self._bind(tensors.images, self._images)
        self._bind(tensors.descriptors, self._descriptors)
        if tensors.cells is not None and card.cells is not None:
            self._cells = self._memory.buffer((MOST_IMAGES, *card.cells), np.float16)
            self._bind(tensors.cells, self._cells)

    def _bind(self, name: str, buffer: Buffer) -> None:
        if not self._context.set_tensor_address(name, buffer.device_address):
            raise failure(
                self._log,
                f'{self._model.graph}: {self._library.name} refuses the buffer of {name}',
            )

    def _run(self, wanted: Sequence[Buffer], images: Sequence[Image]) -> list[NDArray[Any]]:
        """Outputs of any number of images; only the wanted ones are copied to the host."""
        parts = [
            self._run_at_once(wanted, images[start : start + MOST_IMAGES])
            for start in range(0, len(images), MOST_IMAGES)
        ]
        return [np.concatenate(rows) for rows in zip(*parts, strict=True)]

    def _run_at_once(
        self, wanted: Sequence[Buffer], images: Sequence[Image]
    ) -> list[NDArray[Any]]:
        """At most MOST_IMAGES images -> the first rows of each wanted buffer."""
        height, width = self._model.card.image_size
        count = len(images)
        with self._lock:
            if self._context is None:
                raise BackendError('this describer is closed')
            for row, image in enumerate(images):
                self._images.host[row] = resize(image, (height, width))
            if not self._context.set_input_shape(self._input, (count, height, width, 3)):
                raise failure(
                    self._log,
                    f'{self._library.name} refuses {counted(count, "image")} of {width}x{height}',
                )
            self._memory.to_device(self._images, count)
            if not self._context.execute_async_v3(stream_handle(self._memory.stream)):
                raise failure(self._log, f'{self._model.graph}: {self._library.name} does not run')
            for buffer in wanted:
                self._memory.to_host(buffer, count)
            self._memory.wait()
            return [np.array(buffer.host[:count]) for buffer in wanted]


@dataclass(frozen=True, slots=True)
class _Tensors:
    """Names of an engine's input and outputs."""

    images: str
    descriptors: str
    cells: str | None


def _tensors(module: Any, engine: Any, model: Model) -> _Tensors:
    """Find an engine's tensors by kind and shape, because names and order may differ.

    Raises BackendError if they are not those of the model.
    """
    card = model.card
    outgoing = module.TensorIOMode.OUTPUT
    expected: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
        'images': (module.TensorIOMode.INPUT, module.DataType.UINT8, (*card.image_size, 3)),
        'descriptors': (outgoing, module.DataType.FLOAT, (card.descriptor_size,)),
    }
    if card.cells is not None:
        expected['cells'] = (outgoing, module.DataType.HALF, card.cells)
    found: dict[str, tuple[Any, Any, tuple[int, ...]]] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = engine.get_tensor_shape(name)
        sizes = tuple(shape[axis] for axis in range(1, len(shape)))
        found[name] = engine.get_tensor_mode(name), engine.get_tensor_dtype(name), sizes
    names = {form: name for name, form in found.items()}
    if len(found) != len(expected) or names.keys() != set(expected.values()):
        forms = ', '.join(f'{what} {form}' for what, form in expected.items())
        raise BackendError(f'{model.graph}: the engine has {found}, expected {forms}')
    return _Tensors(
        names[expected['images']],
        names[expected['descriptors']],
        names[expected['cells']] if 'cells' in expected else None,
    )
