"""TensorRT and TensorRT-RTX, and all in which they and their versions differ.

The only module that imports either. Both have one interface, and one path through it serves them:

- TensorRT 8.6 to 10 pick the kernels' precision by flags of the builder ("weakly typed"). 11, and
  every TensorRT-RTX, have no such flags and take the precisions that stand in the graph.
- TensorRT measures kernels on the GPU at hand while it builds, keeps what it measured in a timing
  cache, and its engine runs on that kind of GPU alone. TensorRT-RTX builds for named compute
  capabilities without a GPU, within a second; it compiles the kernels on the robot at the first
  inferences and keeps them in a runtime cache. Its timing cache does nothing and is deprecated.
- TensorRT-RTX knows GeForce and RTX cards of some capabilities only: not Jetsons, not the H100.

A library is imported when it is asked for: most machines have none.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from vpr_ros.core.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt  # both have its interface; its types are what mypy checks against

LibraryName: TypeAlias = Literal['TensorRT', 'TensorRT-RTX']
LIBRARIES: tuple[LibraryName, ...] = get_args(LibraryName)
EnginePrecision: TypeAlias = Literal['fp32', 'fp16', 'int8']
ENGINE_PRECISIONS: tuple[EnginePrecision, ...] = get_args(EnginePrecision)
Progress: TypeAlias = Callable[[str], None]
"""Told what is being done while an engine is built; may be called from another thread."""

_MODULES: dict[LibraryName, tuple[str, ...]] = {
    'TensorRT': ('tensorrt',),
    # The second one alone where only the wheels with libraries were installed.
    'TensorRT-RTX': ('tensorrt_rtx', 'tensorrt_rtx_bindings'),
}
_OLDEST: dict[LibraryName, tuple[int, int]] = {'TensorRT': (8, 6), 'TensorRT-RTX': (1, 2)}


class MissingLibraryError(BackendError):
    """A library that is not installed, which is no failure on most machines."""


@dataclass(frozen=True, slots=True)
class Library:
    """One of the two libraries, imported, with what is particular to it."""

    name: LibraryName
    module: Any

    @property
    def full_name(self) -> str:
        """Name and version, for people and for keys of engines."""
        return f'{self.name} {self.module.__version__}'

    @property
    def weakly_typed(self) -> bool:
        """Whether precisions are chosen by flags (TensorRT 8.6 to 10), not by the graph."""
        return hasattr(self.module.BuilderFlag, 'FP16')

    @property
    def builds_ahead(self) -> bool:
        """Whether engines are built for a compute capability, without a GPU."""
        return self.name == 'TensorRT-RTX'

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Compute capabilities that engines can be built ahead for, such as 8.9."""
        return tuple(_capabilities(self.module)) if self.builds_ahead else ()

    def network_flags(self) -> int:
        """Flags of the network: 8.6 to 9 must be told that the batch is an ordinary dimension."""
        if self.builds_ahead or _version(self.module) >= (10, 0):
            return 0
        return 1 << int(self.module.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)

    def set_precision(self, config: 'trt.IBuilderConfig', precision: EnginePrecision) -> None:
        """Set the precision by flags, if the graph does not say it."""
        if not self.weakly_typed:
            return
        if precision in ('fp16', 'int8'):  # an int8 graph's other layers run in fp16
            config.set_flag(self.module.BuilderFlag.FP16)
        if precision == 'int8':
            config.set_flag(self.module.BuilderFlag.INT8)

    def set_target(self, config: Any, capability: str) -> None:
        """What an engine is built for; TensorRT builds for the GPU at hand alone.

        Raises BackendError for a capability that the library does not know.
        """
        if not self.builds_ahead:
            return
        known = _capabilities(self.module)
        if capability not in known:
            raise BackendError(
                f'{self.full_name} builds for compute capabilities {", ".join(known)}, '
                f'not for {capability}'
            )
        config.num_compute_capabilities = 1
        config.set_compute_capability(known[capability], 0)

    def use_timing(self, config: 'trt.IBuilderConfig', measured: bytes) -> None:
        """Start from the kernels that earlier builds have measured, where they are of this GPU."""
        if self.builds_ahead:
            return
        cache: trt.ITimingCache | None = config.create_timing_cache(measured)
        if cache is None or not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b''), False)

    def measured(self, config: 'trt.IBuilderConfig') -> bytes:
        """What `use_timing` is to start from the next time; empty where nothing is measured."""
        return b'' if self.builds_ahead else bytes(config.get_timing_cache().serialize())

    def context(self, engine: Any, kernels: bytes) -> tuple[Any, Any]:
        """An execution context, or None; and the cache of kernels compiled here, or None.

        kernels: what such a cache held before. The library itself leaves them aside where they are
        of another GPU, driver or version.
        """
        if not self.builds_ahead:
            return engine.create_execution_context(), None
        config = engine.create_runtime_config()
        cache = config.create_runtime_cache()
        if kernels:
            cache.deserialize(kernels)
        config.set_runtime_cache(cache)
        return engine.create_execution_context(runtime_config=config), cache


def load(name: LibraryName) -> Library:
    """Import a library; MissingLibraryError without it, BackendError for one that is too old."""
    reasons = []
    for module_name in _MODULES[name]:
        try:
            module = importlib.import_module(module_name)
        except (ImportError, AttributeError, OSError) as error:
            reasons.append(str(error))
            continue
        if _version(module) < _OLDEST[name]:
            oldest = '.'.join(map(str, _OLDEST[name]))
            raise BackendError(f'{name} {module.__version__}, expected {oldest} or newer')
        return Library(name, module)
    raise MissingLibraryError(f'{name} cannot be imported ({reasons[0]})')


def kept_log(module: Any) -> Any:
    """A logger for the library that prints nothing and keeps errors for `raised`."""

    class Log(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            """Called by the library, also from its own threads."""
            if severity in (module.ILogger.Severity.INTERNAL_ERROR, module.ILogger.Severity.ERROR):
                self.said.append(msg)

    return Log()


def failure(log: Any, text: str) -> BackendError:
    """An error to raise: what failed, and the last that the library said."""
    return BackendError(f'{text}{f" ({log.said[-1]})" if log.said else ""}')


def monitor(module: Any, progress: Progress) -> Any:
    """What the library tells its progress to; None for TensorRT 8.6, which has no such thing."""
    if not hasattr(module, 'IProgressMonitor'):
        return None

    class Monitor(module.IProgressMonitor):
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(f'{phase_name}: {step + 1} of {self._steps.get(phase_name, step + 1)}')
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def _capabilities(module: Any) -> dict[str, Any]:
    """The members SM75 ... SM121 of the library's enumeration as 7.5 ... 12.1."""
    members = module.ComputeCapability.__members__
    return {
        f'{name[2:-1]}.{name[-1]}': member
        for name, member in members.items()
        if name.startswith('SM')
    }


def _version(module: Any) -> tuple[int, int]:
    major, minor = module.__version__.split('.')[:2]
    return int(major), int(minor)
