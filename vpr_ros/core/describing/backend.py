"""Choose what runs a model: TensorRT or TensorRT-RTX, else onnxruntime, on a GPU or the CPU.

The one place where that is decided. Where the fastest cannot be had, the next one runs and the
reason is told: a robot with a broken GPU goes on with its CPU, and its diagnostics say so.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import onnxruntime as ort

from vpr_ros.core.cache import cache_folder
from vpr_ros.core.describing.describe import CPU, Describer, OnnxDescriber, Provider
from vpr_ros.core.describing.fastest import fastest
from vpr_ros.core.describing.model import Model
from vpr_ros.core.describing.openvino import OpenVinoDescriber
from vpr_ros.core.describing.parity import ParityError
from vpr_ros.core.describing.precision import WANTED, processor_name
from vpr_ros.core.describing.tensorrt import TensorRtDescriber
from vpr_ros.core.describing.tensorrt_library import (
    LIBRARIES,
    EnginePrecision,
    LibraryName,
    MissingLibraryError,
    load,
)
from vpr_ros.core.errors import BackendError, VprError

BACKENDS = ('auto', 'tensorrt', 'tensorrt_rtx', 'onnxruntime', 'openvino', 'cpu')
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
    """A describer, what runs it, and why it is not what was wished for."""

    describer: Describer
    name: str  # what runs, for people
    reason: str = ''  # why nothing faster does; empty where that was not asked for
    is_failure: bool = False  # the reason is worth a warning: something is installed and fails
    close: Callable[[], None] = lambda: None


def default_engine_cache() -> Path:
    """Where engines are kept: vpr_ros/engines in the user's cache folder."""
    return cache_folder('vpr_ros') / 'engines'


def open_describer(
    model: Model,
    *,
    backend: str = 'auto',
    precision: str = 'auto',
    threads: int = 0,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Chosen:
    """Open a model by the wished backend, else by the next one that works.

    model: opened with `precision` for the CPU; an engine may take another of its graphs. backend:
    one of BACKENDS. threads: of the CPU. cache: of engines, None takes the default. Raises
    ModelError where not even the CPU can run the model, BackendError for an unknown backend.
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
            reason = '; '.join(filter(None, [reason, str(error)]))
            is_failure = is_failure or backend != 'auto'
        except VprError as error:
            reason, is_failure = '; '.join(filter(None, [reason, str(error)])), True
    if backend == 'openvino':
        try:
            return _openvino(model, OnnxDescriber(model, threads=threads), threads)
        except BackendError as error:
            reason, is_failure = str(error), True
    wished = {'openvino': [_OPENVINO], 'cpu': []}.get(backend, [_TENSORRT, _CUDA])
    available = [name for name in wished if name in ort.get_available_providers()]
    try:
        chosen = _by_onnxruntime(model, available, precision, threads, cache, reason, is_failure)
        if backend == 'auto' and not available and find_spec('openvino') is not None:
            return _faster_on_cpu(chosen, model, threads, cache)
        return chosen
    except VprError as error:
        if not available:
            raise
        reason = '; '.join(filter(None, [reason, str(error)]))
        return _by_onnxruntime(model, [], precision, threads, cache, reason, True)


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
        '; '.join(filter(None, [reason, describer.not_kept])),
        bool(describer.not_kept),
        describer.close,
    )


def _openvino(model: Model, reference: OnnxDescriber, threads: int) -> Chosen:
    """Open the model by OpenVINO on the CPU; raises BackendError."""
    describer = OpenVinoDescriber(model, reference, threads=threads)
    return Chosen(describer, f'OpenVINO {describer.version} {model.precision} on CPU')


def _faster_on_cpu(chosen: Chosen, model: Model, threads: int, cache: Path) -> Chosen:
    """OpenVINO in place of onnxruntime where it is right and was measured to be faster here."""
    onnx_describer = chosen.describer
    if not isinstance(onnx_describer, OnnxDescriber):
        return chosen
    try:
        other = _openvino(model, onnx_describer, threads)
    except BackendError as error:
        reason = '; '.join(filter(None, [chosen.reason, str(error)]))
        return replace(chosen, reason=reason, is_failure=True)
    choices = {one.name: one for one in (chosen, other)}
    key = {
        'processor': processor_name(),
        'threads': str(threads or len(os.sched_getaffinity(0))),
        'graph': model.graph_sha256,
    }
    name, taken_ms = fastest(
        {name: one.describer for name, one in choices.items()}, key=key, cache=cache
    )
    measured = ', '.join(f'{name} {taken:.1f} ms' for name, taken in taken_ms.items())
    return replace(
        choices[name],
        reason='; '.join(filter(None, [chosen.reason, f'measured here: {measured}'])),
        is_failure=chosen.is_failure,
    )


def engine_precision(precision: str) -> EnginePrecision | None:
    """What an engine is built with for a precision of WANTED; None leaves it to the library."""
    return _ENGINE_PRECISION.get(precision, 'int8')


def _by_onnxruntime(
    model: Model,
    names: list[str],
    precision: str,
    threads: int,
    cache: Path,
    reason: str,
    is_failure: bool,
) -> Chosen:
    """names: of the providers to try before the CPU."""
    if names and precision == 'auto':  # which was chosen for the CPU
        model = Model.open(model.folder, precision='fp32')
    providers = [_provider(name, cache) for name in names]
    describer = OnnxDescriber(model, threads=threads, providers=[*providers, CPU])
    runs = describer.providers[0].removesuffix('ExecutionProvider')
    if names and describer.providers[0] not in names:
        told = f'onnxruntime has {", ".join(names)}, and none of them starts'
        reason, is_failure = '; '.join(filter(None, [reason, told])), True
    name = f'onnxruntime {ort.__version__} {model.precision} on {runs}'
    return Chosen(describer, name, reason, is_failure)


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
