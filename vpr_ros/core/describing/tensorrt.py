"""Run a model by NVIDIA's TensorRT. The only module that imports tensorrt.

An engine is what TensorRT compiles of a graph for one GPU by one version of itself. It takes
minutes to build and does not run anywhere else, so that it is kept in the user's cache, never in a
model or a map. A kept engine is used only if its file is whole and was made for this GPU, version,
precision and graph; else it is built again.

TensorRT 8.6 to 10 pick the kernels' precision by flags of the builder ("weakly typed"); 11 has no
such flags any more and takes the precisions that stand in the graph.

Nothing in here has been run on a GPU: see docs/jetson.md.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from vpr_ros.core.atomic import replace_file
from vpr_ros.core.describing.cuda import Buffer, Gpu, Memory, stream_handle
from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import Model, ModelCard
from vpr_ros.core.describing.precision import Precision
from vpr_ros.core.errors import BackendError
from vpr_ros.core.image import resize
from vpr_ros.core.types import Cells, Descriptors, Image

EnginePrecision: TypeAlias = Literal['fp32', 'fp16', 'int8']
ENGINE_PRECISIONS: tuple[EnginePrecision, ...] = get_args(EnginePrecision)
Progress: TypeAlias = Callable[[str], None]
"""Told what is being done while an engine is built; may be called from another thread."""

MOST_IMAGES = 8  # of one inference; the engine is tuned for one
_WORKSPACE_BYTES = 1 << 30
_OLDEST = (8, 6)
_LEAST_COSINE: dict[EnginePrecision, float] = {'fp32': 0.999, 'fp16': 0.99, 'int8': 0.95}
"""Between an engine's descriptors and onnxruntime's of the same graph; below it, the engine is
refused: a power or a sum may be too large for 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """What an engine was built for; another key needs another engine."""

    gpu: str
    compute_capability: str
    tensorrt: str
    precision: EnginePrecision
    graph_sha256: str
    most_images: int = MOST_IMAGES

    @property
    def file_name(self) -> str:
        """The engine's name in the cache."""
        return (
            f'{_slug(self.gpu)}-sm{self.compute_capability}-trt{self.tensorrt}-'
            f'{self.precision}-{self.graph_sha256[:12]}.engine'
        )

    @property
    def timing_file_name(self) -> str:
        """Name of the measured kernels, which serve every engine of this GPU and version."""
        return f'{_slug(self.gpu)}-sm{self.compute_capability}-trt{self.tensorrt}.timing'


class ParityError(BackendError):
    """An engine that runs and describes otherwise than onnxruntime; fp32 may be right."""


class TensorRtDescriber:
    """A model folder run by TensorRT on the first GPU; to be closed."""

    def __init__(
        self,
        model: Model,
        *,
        precision: EnginePrecision | None = None,
        cache: Path,
        progress: Progress = lambda text: None,
        rebuild: bool = False,
    ) -> None:
        """Load the engine from the cache, or build it, check it and keep it.

        precision: None takes `default_precision`. Raises BackendError for all that TensorRT and
        CUDA cannot do, ModelError for a graph that is missing or damaged.
        """
        _require_version()
        self._precision = precision or default_precision(model.card)
        self._model = Model.open(model.folder, precision=graph_precision(self._precision))
        self._lock = Lock()
        self._log = _Log()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
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
        """One: the GPU has one stream and one set of buffers."""
        return 1

    @property
    def key(self) -> EngineKey:
        """What the engine was built for."""
        return self._key

    @property
    def was_built(self) -> bool:
        """Whether the engine was not in the cache."""
        return self._was_built

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
            self._context = self._engine = self._runtime = None
            self._memory.close()

    def __enter__(self) -> 'TensorRtDescriber':
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self, cache: Path, progress: Progress, rebuild: bool) -> None:
        self._key = engine_key(self._model, self._precision, self._memory.gpu)
        self._not_kept = ''
        self._runtime = trt.Runtime(self._log)
        path = cache / self._key.file_name
        refusal = path.with_suffix('.refused')
        if not rebuild and (reason := _read(refusal)):
            raise ParityError(reason.decode())
        plan = None if rebuild else read_engine(path, self._key)
        if plan is not None:
            self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._was_built = self._engine is None
        if self._was_built:
            self._build(path, refusal, progress)
        else:
            self._prepare()

    def _build(self, path: Path, refusal: Path, progress: Progress) -> None:
        """Build, check and keep the engine; a refused one is remembered instead."""
        plan = build_plan(self._model, self._key, self._log, path.parent, progress)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._log.error(f'{self._model.graph}: the engine just built does not load')
        self._prepare()
        try:
            self._require_parity()
        except ParityError as error:  # not to be built again at each start
            _kept(refusal, str(error).encode())
            raise
        with suppress(OSError):
            refusal.unlink()
        self._not_kept = _kept(path, engine_file(self._key, plan))

    def _prepare(self) -> None:
        """Buffers and the context; raises BackendError where the engine is of another kind."""
        tensors = _tensors(self._engine, self._model)
        self._input = tensors.images
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._log.error(f'{self._model.graph}: no execution context, too little memory?')
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
            raise self._log.error(f'{self._model.graph}: TensorRT refuses the buffer of {name}')

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
                raise self._log.error(f'TensorRT refuses {count} images of {width}x{height}')
            self._memory.to_device(self._images, count)
            if not self._context.execute_async_v3(stream_handle(self._memory.stream)):
                raise self._log.error(f'{self._model.graph}: TensorRT does not run')
            for buffer in wanted:
                self._memory.to_host(buffer, count)
            self._memory.wait()
            return [np.array(buffer.host[:count]) for buffer in wanted]

    def _require_parity(self) -> None:
        """Refuse an engine whose descriptors, or cells, are not onnxruntime's."""
        images = _probes()
        expected, expected_cells = OnnxDescriber(self._model).describe_with_cells(images)
        found, cells = self.describe_with_cells(images)
        self._require_alike('descriptors', float((found * expected).sum(axis=1).min()))
        if cells is not None and expected_cells is not None:
            products = cells.astype(np.float32) * expected_cells.astype(np.float32)
            # The mean: a cell that shows next to nothing has no direction of its own.
            self._require_alike('cells', float(products.sum(axis=-1).mean()))

    def _require_alike(self, what: str, cosine: float) -> None:
        if not cosine >= _LEAST_COSINE[self._precision]:  # also where it is NaN
            raise ParityError(
                f'{self._model.graph}: cosine {cosine:.3f} between {what} of the '
                f'{self._precision} engine and of onnxruntime, expected at least '
                f'{_LEAST_COSINE[self._precision]}; take another precision, fp32 is the safe one'
            )


def weakly_typed() -> bool:
    """Whether this TensorRT chooses precisions by flags (8.6 to 10)."""
    return hasattr(trt.BuilderFlag, 'FP16')


def graph_precision(precision: EnginePrecision) -> Precision:
    """The graph that an engine of a precision is built from."""
    if precision == 'int8':
        return 'int8_symmetric'
    return 'fp16' if precision == 'fp16' and not weakly_typed() else 'fp32'


def default_precision(card: ModelCard) -> EnginePrecision:
    """fp16, or fp32 where that would need a graph in fp16 and the model has none.

    Never int8, which is to be asked for: its recall was measured on another processor.
    """
    return 'fp16' if weakly_typed() or 'fp16' in card.precisions else 'fp32'


def engine_key(model: Model, precision: EnginePrecision, gpu: Gpu) -> EngineKey:
    """What an engine of a model on a GPU is built for."""
    return EngineKey(
        gpu=gpu.name,
        compute_capability='.'.join(map(str, gpu.compute_capability)),
        tensorrt=trt.__version__,
        precision=precision,
        graph_sha256=model.graph_sha256,
    )


def engine_file(key: EngineKey, plan: bytes) -> bytes:
    """An engine as it is kept: a line of JSON with its key and digest, then TensorRT's plan."""
    header = asdict(key) | {'sha256': hashlib.sha256(plan).hexdigest()}
    return json.dumps(header, sort_keys=True).encode() + b'\n' + plan


def read_engine(path: Path, key: EngineKey) -> bytes | None:
    """The plan in a kept engine; None where there is none, or it is broken or another one's."""
    header, _, plan = _read(path).partition(b'\n')
    return plan if engine_file(key, plan).startswith(header + b'\n') and plan else None


def build_plan(
    model: Model, key: EngineKey, log: '_Log', cache: Path, progress: Progress
) -> bytes:
    """Compile a model's graph, which takes minutes; raises BackendError."""
    progress(f'TensorRT builds the {key.precision} engine, which takes minutes')
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags())
    parser = trt.OnnxParser(network, log)
    if not parser.parse(cast_first(model.graph.read_bytes())):
        said = '; '.join(str(parser.get_error(row).desc()) for row in range(parser.num_errors))
        raise BackendError(f'{model.graph}: TensorRT {trt.__version__} cannot read it: {said}')
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    _set_precision(config, key.precision)
    _add_profile(builder, network, config, model)
    timing = cache / key.timing_file_name
    _use_timing(config, timing)
    monitor = _monitor(progress)
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise log.error(f'{model.graph}: TensorRT cannot build the {key.precision} engine')
    _kept(timing, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def cast_first(graph: bytes) -> bytes:
    """The same graph with its images cast to numbers before they are transposed.

    TensorRT takes uint8 as input of a network and nowhere else: a cast has to be the first node.
    Transposing and casting give the same in either order. Raises BackendError without onnx.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError(
            f'onnx cannot be imported ({error}), it prepares graphs for TensorRT; pip install onnx'
        ) from error
    model = onnx.load_from_string(graph)
    nodes = model.graph.node
    images = model.graph.input[0].name
    readers = [node for node in nodes if images in node.input]
    if len(readers) != 1 or readers[0].op_type != 'Transpose':
        return graph
    transpose = readers[0]
    casts = [node for node in nodes if transpose.output[0] in node.input]
    if len(casts) != 1 or casts[0].op_type != 'Cast':
        return graph
    first, second = list(nodes).index(transpose), list(nodes).index(casts[0])
    between, result = transpose.output[0], casts[0].output[0]
    cast_node, transpose_node = onnx.NodeProto(), onnx.NodeProto()
    cast_node.CopyFrom(casts[0])
    transpose_node.CopyFrom(transpose)
    cast_node.input[0], cast_node.output[0] = images, between
    transpose_node.input[0], transpose_node.output[0] = between, result
    nodes[first].CopyFrom(cast_node)
    nodes[second].CopyFrom(transpose_node)
    return bytes(model.SerializeToString())


class _Log(trt.ILogger):
    """Keeps what TensorRT says of an error, for the message; prints nothing."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._said: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, also from its own threads."""
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self._said.append(msg)

    def error(self, text: str) -> BackendError:
        """An error to raise: what failed, and the last that TensorRT said."""
        return BackendError(f'{text}{f" ({self._said[-1]})" if self._said else ""}')


def _monitor(progress: Progress) -> 'trt.IProgressMonitor | None':
    """What TensorRT tells its progress to; None for 8.6, which has no such thing."""
    if not hasattr(trt, 'IProgressMonitor'):
        return None

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(f'{phase_name}: {step + 1} of {self._steps.get(phase_name, step + 1)}')
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def _network_flags() -> int:
    """8.6 has to be told that the batch is a dimension like others; later ones know no other."""
    if _version() >= (10, 0):
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def _set_precision(config: trt.IBuilderConfig, precision: EnginePrecision) -> None:
    if not weakly_typed():
        return  # the graph says it
    if precision in ('fp16', 'int8'):  # an int8 graph's other layers run in fp16
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == 'int8':
        config.set_flag(trt.BuilderFlag.INT8)


def _add_profile(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    model: Model,
) -> None:
    """One image to MOST_IMAGES, tuned for one: the node describes them singly."""
    profile = builder.create_optimization_profile()
    size = (*model.card.image_size, 3)
    name = network.get_input(0).name
    one, most = trt.Dims([1, *size]), trt.Dims([MOST_IMAGES, *size])
    profile.set_shape(name, one, one, most)
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(f'{model.graph}: TensorRT refuses {size} images of a dynamic number')


def _use_timing(config: trt.IBuilderConfig, path: Path) -> None:
    """Start from the kernels that earlier builds have measured, where they are of this kind."""
    cache: trt.ITimingCache | None = config.create_timing_cache(_read(path))
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b''), False)


def _read(path: Path) -> bytes:
    """A file of the cache; empty where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b''


def _kept(path: Path, content: bytes) -> str:
    """Keep a file in the cache; a cache that cannot be written costs time and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        return f'{path}: cannot be written ({error.strerror or error})'
    return ''


@dataclass(frozen=True, slots=True)
class _Tensors:
    """Names of an engine's input and outputs."""

    images: str
    descriptors: str
    cells: str | None


def _tensors(engine: trt.ICudaEngine, model: Model) -> _Tensors:
    """Tell an engine's tensors apart by kind and shape, which differ, as names and order may not.

    Raises BackendError where they are not the model's.
    """
    card = model.card
    outgoing = trt.TensorIOMode.OUTPUT
    expected: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
        'images': (trt.TensorIOMode.INPUT, trt.DataType.UINT8, (*card.image_size, 3)),
        'descriptors': (outgoing, trt.DataType.FLOAT, (card.descriptor_size,)),
    }
    if card.cells is not None:
        expected['cells'] = (outgoing, trt.DataType.HALF, card.cells)
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


def _probes() -> list[Image]:
    """Two smooth pictures, alike on every machine."""
    rng = np.random.default_rng(0)
    return [resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (240, 320)) for _ in range(2)]


def _version() -> tuple[int, int]:
    major, minor = trt.__version__.split('.')[:2]
    return int(major), int(minor)


def _require_version() -> None:
    if _version() < _OLDEST:
        raise BackendError(
            f'TensorRT {trt.__version__}, expected {".".join(map(str, _OLDEST))} or newer'
        )


def _slug(name: str) -> str:
    return re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'gpu'
