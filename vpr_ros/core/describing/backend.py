"""Choose what runs a model: TensorRT or TensorRT-RTX, else onnxruntime, on a GPU or the CPU.

The one place where that is decided. Where the fastest cannot be had, the next one runs and the
reason is told: a robot with a broken GPU goes on with its CPU, and its diagnostics say so.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import onnxruntime as ort

from vpr_ros.core.cache import cache_folder
from vpr_ros.core.describing.describe import CPU, Describer, OnnxDescriber, Provider
from vpr_ros.core.describing.fastest import (
    ABOUT_AS_FAST,
    Fastest,
    Way,
    fastest,
    steps_of_threads,
)
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.openvino import OpenVinoDescriber, openvino_name
from vpr_ros.core.describing.parity import ParityError
from vpr_ros.core.describing.precision import WANTED
from vpr_ros.core.describing.tensorrt import TensorRtDescriber
from vpr_ros.core.describing.tensorrt_library import (
    LIBRARIES,
    EnginePrecision,
    LibraryName,
    MissingLibraryError,
    Progress,
    load,
)
from vpr_ros.core.errors import BackendError, VprError
from vpr_ros.core.processor import this_processor

BACKENDS = ('auto', 'tensorrt', 'tensorrt_rtx', 'onnxruntime', 'openvino', 'cpu')
CpuBackend: TypeAlias = Literal['onnxruntime', 'OpenVINO']
CPU_BACKENDS: tuple[CpuBackend, ...] = get_args(CpuBackend)
"""What runs a graph on a processor; recall was measured with the first."""

_LIBRARIES: dict[str, tuple[LibraryName, ...]] = {
    'auto': LIBRARIES,
    'tensorrt': ('TensorRT',),
    'tensorrt_rtx': ('TensorRT-RTX',),
}
_ENGINE_PRECISION: dict[str, EnginePrecision | None] = {
    'auto': None,
    'fp32': 'fp32',
    'fp16': 'fp16',
}  # all others are int8
_TENSORRT, _CUDA = 'TensorrtExecutionProvider', 'CUDAExecutionProvider'
_OPENVINO = 'OpenVINOExecutionProvider'


@dataclass(frozen=True, slots=True)
class Chosen:
    """A describer, what runs it, and why it is not the backend that was asked for."""

    describer: Describer
    name: str  # what runs, for people
    reason: str = ''  # why nothing faster does; empty where that was not asked for
    is_failure: bool = False  # the reason is worth a warning: something is installed and fails
    close: Callable[[], None] = lambda: None
    threads: int = 0  # of the CPU; 0: it runs on a GPU
    measured: str = ''  # what the ways on the CPU take; empty where there was no choice


def default_engine_cache() -> Path:
    """Where engines are kept: vpr_ros/engines in the user's cache folder."""
    return cache_folder('vpr_ros') / 'engines'


def open_describer(
    model: Model,
    *,
    backend: str = 'auto',
    precision: str = 'auto',
    threads: int = 0,
    most_threads: int = 0,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Chosen:
    """Open a model by the wished backend, else by the next one that works.

    model: opened with `precision` for the CPU; an engine may take another of its graphs. backend:
    one of BACKENDS. threads: of the CPU; 0 takes the fewest of up to `most_threads` (0: every
    core) that are about as fast as the fastest, measured once. cache: of engines and of what was
    measured, None takes the default. Raises ModelError where not even the CPU can run the model,
    BackendError for an unknown backend.
    """
    if backend not in BACKENDS or precision not in WANTED:
        raise BackendError(
            f'backend {backend!r} with precision {precision!r}: expected one of '
            f'{", ".join(BACKENDS)} with one of {", ".join(WANTED)}'
        )
    cache = cache or default_engine_cache()
    reason, is_failure = '', False
    for library in _LIBRARIES.get(backend, ()):
        try:
            return open_tensorrt(
                model, library=library, precision=precision, cache=cache, progress=progress
            )
        except MissingLibraryError as error:
            reason = _joined(reason, str(error))
            is_failure = is_failure or backend != 'auto'
        except VprError as error:
            reason, is_failure = _joined(reason, str(error)), True
    most_threads = threads or most_threads or len(os.sched_getaffinity(0))
    on_cpu = partial(
        _on_cpu,
        model,
        steps=[threads] if threads else steps_of_threads(most_threads),
        cache=cache,
        progress=progress,
    )
    if backend == 'openvino':
        try:
            return on_cpu(('OpenVINO',))
        except BackendError as error:
            reason, is_failure = str(error), True
    providers = _providers(backend)
    if providers:
        try:
            chosen = _by_providers(model, providers, precision, most_threads, cache)
            return _with_reason(chosen, reason, is_failure)
        except VprError as error:
            reason, is_failure = _joined(reason, str(error)), True
    may_choose = backend == 'auto' and not providers and find_spec('openvino') is not None
    return _with_reason(
        on_cpu(CPU_BACKENDS if may_choose else ('onnxruntime',)), reason, is_failure
    )


def open_tensorrt(
    model: Model,
    *,
    library: LibraryName,
    precision: str,
    cache: Path,
    progress: Callable[[str], None],
    rebuild: bool = False,
) -> Chosen:
    """Open a model by TensorRT or TensorRT-RTX, or raise BackendError or ModelError.

    precision: as the node's parameter; auto is fp16 where that is possible and right, else fp32.
    Raises MissingLibraryError, which is a BackendError, where the library is not installed.
    """
    opened = partial(
        TensorRtDescriber,
        model,
        library=load(library),
        cache=cache,
        progress=progress,
        rebuild=rebuild,
    )
    wanted = engine_precision(precision)
    reason = ''
    try:
        try:
            describer = opened(precision=wanted)
        except ParityError as error:
            if precision != 'auto':
                raise
            reason = str(error)
            describer = opened(precision='fp32')
    except (RuntimeError, TypeError) as error:  # pybind11 turns C++ exceptions into these
        raise BackendError(f'{library}: {error}') from error
    key = describer.key
    return Chosen(
        describer,
        f'{key.library} {key.precision} on {describer.gpu}',
        _joined(reason, describer.not_kept),
        bool(describer.not_kept),
        describer.close,
    )


def ways_on_cpu(
    model: Model, steps: Sequence[int], *, backends: Sequence[CpuBackend] = CPU_BACKENDS
) -> dict[Way, Callable[[], Describer]]:
    """How to open a model by backends for processors, each with each number of threads.

    An opener raises BackendError where its way cannot be taken.
    """
    opener: dict[CpuBackend, Callable[..., Describer]] = {
        'onnxruntime': partial(OnnxDescriber, model),
        'OpenVINO': partial(_openvino, model),
    }
    # OpenVINO is imported only where it is asked for.
    names = [
        openvino_name() if backend == 'OpenVINO' else f'onnxruntime {ort.__version__}'
        for backend in backends
    ]
    return {
        Way(f'{name} {model.precision} on CPU', threads): partial(opener[backend], threads=threads)
        for backend, name in zip(backends, names, strict=True)
        for threads in steps
    }


def measured_for(model: Model) -> dict[str, str]:
    """What times of ways to run a model's graph are of, as a key to remember them by."""
    processor = this_processor()
    return {
        'processor': processor.name,
        'abilities': ' '.join(sorted(processor.abilities)),  # of one name, some have fewer
        'cores': str(len(os.sched_getaffinity(0))),
        'graph': model.graph_sha256,
    }


def _openvino(model: Model, *, threads: int) -> Describer:
    """By OpenVINO, which has to describe as onnxruntime does; raises BackendError."""
    return OpenVinoDescriber(model, OnnxDescriber(model, threads=threads), threads=threads)


def _on_cpu(
    model: Model,
    backends: Sequence[CpuBackend],
    *,
    steps: Sequence[int],
    cache: Path,
    progress: Progress,
) -> Chosen:
    """The fastest way on the CPU; raises ModelError, and BackendError where none can be taken."""
    ways = ways_on_cpu(model, steps, backends=backends)
    return _chosen(fastest(ways, key=measured_for(model), cache=cache, progress=progress))


def _chosen(found: Fastest) -> Chosen:
    """The fastest way, with the times of the others."""
    said = ''
    if found.taken_ms:
        times = (f'{way} {taken:.1f} ms' for way, taken in found.taken_ms.items())
        said = (
            f'{"; ".join(times)}; taken: the fewest threads within {ABOUT_AS_FAST:g} times the '
            'fastest'
        )
    return Chosen(
        found.describer,
        found.way.backend,
        '; '.join(found.refused),
        bool(found.refused),
        threads=found.way.threads,
        measured=said,
    )


def _with_reason(chosen: Chosen, reason: str, is_failure: bool) -> Chosen:
    """The same with one more reason in front."""
    return replace(
        chosen,
        reason=_joined(reason, chosen.reason),
        is_failure=is_failure or chosen.is_failure,
    )


def _joined(*reasons: str) -> str:
    return '; '.join(filter(None, reasons))


def engine_precision(precision: str) -> EnginePrecision | None:
    """What an engine is built with for a precision of WANTED; None leaves it to the library."""
    return _ENGINE_PRECISION.get(precision, 'int8')


def _providers(backend: str) -> list[str]:
    """The providers of onnxruntime that a backend tries before the CPU."""
    wished = {'openvino': [_OPENVINO], 'cpu': []}.get(backend, [_TENSORRT, _CUDA])
    return [name for name in wished if name in ort.get_available_providers()]


def _by_providers(
    model: Model, names: list[str], precision: str, threads: int, cache: Path
) -> Chosen:
    """By the first of onnxruntime's providers that starts, else by its CPU; raises ModelError."""
    if precision == 'auto':  # which was chosen for the CPU
        model = Model.open(model.folder, precision='fp32')
    providers = [_provider(name, cache) for name in names]
    describer = OnnxDescriber(model, threads=threads, providers=[*providers, CPU])
    runs = describer.providers[0]
    name = f'onnxruntime {ort.__version__} {model.precision} on '
    name += runs.removesuffix('ExecutionProvider')
    if runs in names:
        return Chosen(describer, name)
    told = f'onnxruntime has {", ".join(names)}, and none of them starts'
    return Chosen(describer, name, told, True, threads=threads)


def _provider(name: str, cache: Path) -> Provider:
    """A provider with its options; engines of onnxruntime's own TensorRT are kept beside ours."""
    if name != _TENSORRT:
        return name
    folder = str(cache / 'onnxruntime')
    return name, {
        'trt_engine_cache_enable': True,
        'trt_engine_cache_path': folder,
        'trt_timing_cache_enable': True,
        'trt_timing_cache_path': folder,
    }
