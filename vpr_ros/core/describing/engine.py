"""Engines, which TensorRT or TensorRT-RTX compile from a graph: build them, and keep them.

An engine runs on one kind of GPU with one version of its library. So it is kept in the user's
cache, never in a model or a map. Its name and its first line say what it is for. That line also
has the digest of the rest, because the libraries do not check what they load. Only TensorRT itself
needs a GPU, when it builds.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr_ros.core.atomic import replace_file, unwritable
from vpr_ros.core.describing.cuda import Gpu
from vpr_ros.core.describing.model import Model, ModelCard
from vpr_ros.core.describing.precision import Precision
from vpr_ros.core.describing.tensorrt_library import (
    EnginePrecision,
    Library,
    Progress,
    failure,
    kept_log,
    monitor,
)
from vpr_ros.core.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

MOST_IMAGES = 8  # of one inference; the engine is tuned for one
REFUSED = '.refused'
"""Suffix of a file beside an engine that says why it is not used: it describes otherwise."""

_WORKSPACE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """What an engine was built for; another key needs another engine."""

    gpu: str  # name; empty: any of this compute capability
    compute_capability: str  # such as 8.9
    library: str  # name and version
    precision: EnginePrecision
    graph_sha256: str
    most_images: int = MOST_IMAGES

    @property
    def file_name(self) -> str:
        """The engine's name in the cache."""
        return f'{self._stem}-{self.precision}-{self.graph_sha256[:12]}.engine'

    @property
    def timing_file_name(self) -> str:
        """Name of the measured kernels, which serve every engine of this GPU and version."""
        return f'{self._stem}.timing'

    @property
    def _stem(self) -> str:
        gpu = f'{_slug(self.gpu)}-' if self.gpu else ''
        return f'{gpu}sm{self.compute_capability}-{_slug(self.library)}'


def graph_precision(library: Library, precision: EnginePrecision) -> Precision:
    """The graph that an engine of a precision is built from."""
    if precision == 'int8':
        return 'int8_symmetric'
    return 'fp16' if precision == 'fp16' and not library.weakly_typed else 'fp32'


def default_precision(library: Library, card: ModelCard) -> EnginePrecision:
    """fp16, or fp32 where that would need a graph in fp16 and the model has none.

    Never int8, which is to be asked for: its recall was measured on another processor.
    """
    return 'fp16' if library.weakly_typed or 'fp16' in card.precisions else 'fp32'


def engine_key(library: Library, model: Model, precision: EnginePrecision, gpu: Gpu) -> EngineKey:
    """What an engine of a model is built for; model: with the graph that `graph_precision` says.

    gpu: for TensorRT-RTX its compute capability alone counts.
    """
    return EngineKey(
        gpu='' if library.builds_ahead else gpu.name,
        compute_capability='.'.join(map(str, gpu.compute_capability)),
        library=library.full_name,
        precision=precision,
        graph_sha256=model.graph_sha256,
    )


def engine_file(key: EngineKey, plan: bytes) -> bytes:
    """An engine as it is kept: a line of JSON with its key and digest, then the library's plan."""
    return sealed(asdict(key), plan)


def read_engine(path: Path, key: EngineKey) -> bytes | None:
    """The plan in a kept engine; None where there is none, or it is broken or another one's."""
    return unsealed(path, asdict(key)) or None


def sealed(names: Mapping[str, Any], content: bytes) -> bytes:
    """A file of the cache: a line with what the content is and its digest, then the content."""
    header = {**names, 'sha256': hashlib.sha256(content).hexdigest()}
    return json.dumps(header, sort_keys=True).encode() + b'\n' + content


def unsealed(path: Path, names: Mapping[str, Any]) -> bytes:
    """The content of such a file; empty where it is missing, broken or something else."""
    header, _, content = read(path).partition(b'\n')
    return content if sealed(names, content).startswith(header + b'\n') else b''


def read(path: Path) -> bytes:
    """A file of the cache; empty where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b''


def keep(path: Path, content: bytes) -> str:
    """Keep a file in the cache; gives why not, for such a cache costs time and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        return unwritable(path, error)
    return ''


def build_ahead(
    library: Library,
    model: Model,
    capability: str,
    *,
    precision: EnginePrecision | None = None,
    cache: Path,
    progress: Progress = lambda text: None,
    rebuild: bool = False,
) -> Path:
    """Build the engine for a compute capability where there may be no GPU, and keep it.

    capability: such as 8.9. precision: None takes `default_precision`. Gives the engine's file,
    which may have been there. The robot checks it when it first loads it. Raises BackendError for
    a library that cannot do it, what it refuses, and a cache that cannot be written; ModelError
    for a graph that is missing.
    """
    if not library.builds_ahead:
        raise BackendError(
            f'{library.full_name} builds an engine only on the GPU that runs it; to build for a '
            'compute capability, use TensorRT-RTX'
        )
    major, _, minor = capability.partition('.')
    if not (major.isdecimal() and minor.isdecimal()):
        raise BackendError(f'compute capability {capability!r}: expected one such as 8.9')
    precision = precision or default_precision(library, model.card)
    model = Model.open(model.folder, precision=graph_precision(library, precision))
    key = engine_key(library, model, precision, Gpu('', (int(major), int(minor))))
    path = cache / key.file_name
    if rebuild or read_engine(path, key) is None:
        plan = build_plan(library, model, key, cache=cache, progress=progress)
        if not_kept := keep(path, engine_file(key, plan)):
            raise BackendError(not_kept)
        with suppress(OSError):
            path.with_suffix(REFUSED).unlink()  # said of the engine before
    return path


def build_plan(
    library: Library, model: Model, key: EngineKey, *, cache: Path, progress: Progress
) -> bytes:
    """Compile a model's graph, which takes TensorRT minutes; raises BackendError."""
    how_long = '' if library.builds_ahead else ', which takes minutes'
    progress(f'{library.name} builds the {key.precision} engine{how_long}')
    log = kept_log(library.module)
    builder: trt.Builder = library.module.Builder(log)
    network = builder.create_network(library.network_flags())
    parser: trt.OnnxParser = library.module.OnnxParser(network, log)
    if not parser.parse(cast_first(model.graph.read_bytes())):
        said = '; '.join(str(parser.get_error(row).desc()) for row in range(parser.num_errors))
        raise BackendError(f'{model.graph}: {library.full_name} cannot read it: {said}')
    config = builder.create_builder_config()
    config.set_memory_pool_limit(library.module.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    library.set_target(config, key.compute_capability)
    library.set_precision(config, key.precision)
    _add_profile(library, builder, network, config, model)
    timing = cache / key.timing_file_name
    library.use_timing(config, read(timing))
    told = monitor(library.module, progress)
    if told is not None:
        config.progress_monitor = told
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise failure(
            log,
            f'{model.graph}: {library.full_name} cannot build the {key.precision} engine '
            f'for compute capability {key.compute_capability}',
        )
    if measured := library.measured(config):
        keep(timing, measured)
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
            f'onnx cannot be imported ({error}), and TensorRT needs it to prepare graphs; '
            'pip install onnx'
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
    for info in [info for info in model.graph.value_info if info.name == between]:
        model.graph.value_info.remove(info)  # it says uint8, and floats are there now
    return bytes(model.SerializeToString())


def _add_profile(
    library: Library,
    builder: 'trt.Builder',
    network: 'trt.INetworkDefinition',
    config: 'trt.IBuilderConfig',
    model: Model,
) -> None:
    """One image to MOST_IMAGES, tuned for one: the node describes them singly."""
    profile = builder.create_optimization_profile()
    size = (*model.card.image_size, 3)
    name = network.get_input(0).name
    dims = library.module.Dims
    one, most = dims([1, *size]), dims([MOST_IMAGES, *size])
    profile.set_shape(name, one, one, most)
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(
            f'{model.graph}: {library.name} refuses batches of varying size for images of {size}'
        )


def _slug(name: str) -> str:
    return re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'gpu'
