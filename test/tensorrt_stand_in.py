"""A stand-in for TensorRT and CUDA: the few calls that the robot makes, without a GPU.

It is no TensorRT. What it answers follows NVIDIA's documentation, and what it computes comes from
onnxruntime, so that descriptors are real. "Device memory" is host memory under other addresses,
which only a copy or an engine reaches; everything allocated is counted until it is freed.

Of TensorRT-RTX, which is there as wheels, it stands in for running alone, which takes a GPU: with
`rtx` the real library reads graphs and builds engines, and `Runtime` runs what they were built of.
"""

import ctypes
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_MAGIC = b'stand-in plan\n'


@dataclass
class StandIn:
    """What the tests set, and what they look at afterwards."""

    version: str = '10.3.0'
    gpu: str = 'Orin'
    gpus: int = 1
    capability: tuple[int, int] = (8, 7)
    rtx: ModuleType | None = None  # the real TensorRT-RTX, in place of TensorRT
    old_cuda_module: bool = False  # cuda.cudart in place of cuda.bindings.runtime
    failing: str = ''  # name of a call that fails
    scale_output: float = 1.0  # of half of the descriptor: an engine that is wrong
    scaled_output: str = ''  # the output that is wrong; empty: all
    scaled_flags: tuple[
        str, ...
    ] = ()  # of the builder, with which alone it is wrong; none: always
    live: dict[int, Any] = field(default_factory=dict)  # address -> memory, handle -> stream
    flags: list[str] = field(default_factory=list)  # of the builder
    last_flags: tuple[str, ...] = ()  # of the last build
    network_flags: list[int] = field(default_factory=list)
    built: int = 0
    timing: list[bytes] = field(default_factory=list)  # what builds started from
    kernels: list[bytes] = field(default_factory=list)  # what contexts started from
    parsed: bytes = b''  # by TensorRT-RTX
    batches: list[int] = field(default_factory=list)
    fetched: list[int] = field(default_factory=list)  # bytes of each copy to the host

    @property
    def major(self) -> int:
        return int(self.version.split('.')[0])


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2


class Cuda:
    """As cuda.bindings.runtime: each call returns its status first."""

    cudaError_t = Error
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice=_HOST_TO_DEVICE, cudaMemcpyDeviceToHost=_DEVICE_TO_HOST
    )
    cudaHostAllocDefault = 0

    def __init__(self, state: StandIn) -> None:
        self._state = state
        self._next = 0x1000

    def _status(self, name: str) -> Error:
        failing = self._state.failing == name
        return Error.cudaErrorMemoryAllocation if failing else Error.cudaSuccess

    def cudaGetErrorString(self, status: Error) -> tuple[Error, bytes]:
        return Error.cudaSuccess, status.name.encode()

    def cudaGetDeviceCount(self) -> tuple[Error, int]:
        return self._status('cudaGetDeviceCount'), self._state.gpus

    def cudaGetDeviceProperties(self, device: int) -> tuple[Error, Any]:
        assert device == 0
        major, minor = self._state.capability
        found = SimpleNamespace(name=self._state.gpu.encode(), major=major, minor=minor)
        return self._status('cudaGetDeviceProperties'), found

    def cudaStreamCreate(self) -> tuple[Error, int]:
        if self._status('cudaStreamCreate'):
            return self._status('cudaStreamCreate'), 0
        return Error.cudaSuccess, self._keep('stream')

    def cudaStreamDestroy(self, stream: int) -> tuple[Error]:
        del self._state.live[stream]
        return (Error.cudaSuccess,)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Error, int]:
        if self._status('cudaHostAlloc'):
            return self._status('cudaHostAlloc'), 0
        memory = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(memory)
        self._state.live[address] = memory
        return Error.cudaSuccess, address

    def cudaFreeHost(self, address: int) -> tuple[Error]:
        del self._state.live[address]
        return (Error.cudaSuccess,)

    def cudaMalloc(self, size: int) -> tuple[Error, int]:
        if self._status('cudaMalloc'):
            return self._status('cudaMalloc'), 0
        return Error.cudaSuccess, self._keep(bytearray(size))

    cudaFree = cudaFreeHost

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[Error]:
        assert self._state.live[stream] == 'stream'
        live = self._state.live
        if kind == _HOST_TO_DEVICE:
            live[target][:size] = bytes(live[source])[:size]
        else:
            ctypes.memmove(target, bytes(live[source][:size]), size)
            self._state.fetched.append(size)
        return (self._status('cudaMemcpyAsync'),)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:
        return (self._status('cudaStreamSynchronize'),)

    def _keep(self, memory: Any) -> int:
        self._next += 1
        self._state.live[self._next] = memory
        return self._next


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity


class IProgressMonitor:
    pass


class TensorIOMode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    UINT8 = 5


class Context:
    def __init__(self, state: StandIn, engine: 'Engine') -> None:
        self._state, self._engine = state, engine
        self._addresses: dict[str, int] = {}
        self._batch = 0
        self.kernels: Kernels | None = None

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return self._state.failing != 'set_tensor_address'

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return 1 <= shape[0] <= self._engine.most

    def execute_async_v3(self, stream: int) -> bool:
        assert self._state.live[stream] == 'stream'
        if self._state.failing == 'execute_async_v3':
            return False
        self._state.batches.append(self._batch)
        if self.kernels is not None:
            self.kernels.compiled = b'compiled'
        session, live = self._engine.session, self._state.live
        given = session.get_inputs()[0]
        size = self._batch * int(np.prod(given.shape[1:]))
        images = np.frombuffer(live[self._addresses[given.name]], np.uint8, size)
        outputs = session.run(None, {given.name: images.reshape(-1, *given.shape[1:])})
        is_wrong = self._engine.flags == self._state.scaled_flags or not self._state.scaled_flags
        for made, found in zip(session.get_outputs(), outputs, strict=True):
            if is_wrong and self._state.scaled_output in ('', made.name):
                found[:, : found.shape[1] // 2] *= self._state.scale_output
            live[self._addresses[made.name]][: found.nbytes] = found.tobytes()
        return True


class Engine:
    def __init__(self, state: StandIn, graph: bytes, most: int) -> None:
        self._state, self.most, self.flags = state, most, state.last_flags
        self.session = ort.InferenceSession(graph, providers=['CPUExecutionProvider'])
        self._io = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self._io)

    def get_tensor_name(self, index: int) -> str:
        return str(self._io[index].name)

    def _tensor(self, name: str) -> Any:
        return next(tensor for tensor in self._io if tensor.name == name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        inputs = [tensor.name for tensor in self.session.get_inputs()]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        kinds = {
            'tensor(uint8)': DataType.UINT8,
            'tensor(float)': DataType.FLOAT,
            'tensor(float16)': DataType.HALF,
        }
        return kinds[self._tensor(name).type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self._tensor(name).shape)

    def create_runtime_config(self) -> 'RuntimeConfig':
        assert self._state.rtx is not None
        return RuntimeConfig(self._state)

    def create_execution_context(
        self, runtime_config: 'RuntimeConfig | None' = None
    ) -> Context | None:
        if self._state.failing == 'create_execution_context':
            return None
        context = Context(self._state, self)
        if runtime_config is not None:
            context.kernels = runtime_config.kernels
            self._state.kernels.append(context.kernels.compiled)
        return context


class Kernels:
    """TensorRT-RTX's cache of what it compiled for the GPU."""

    compiled = b''

    def deserialize(self, blob: bytes) -> bool:
        self.compiled = blob
        return True

    def serialize(self) -> bytes:
        return self.compiled


class RuntimeConfig:
    kernels: Kernels

    def __init__(self, state: StandIn) -> None:
        self._state = state

    def create_runtime_cache(self) -> Kernels:
        return Kernels()

    def set_runtime_cache(self, cache: Kernels) -> bool:
        self.kernels = cache
        return True


def tensorrt_module(state: StandIn) -> ModuleType:
    """The module `tensorrt` of the version that `state` says."""

    class Config:
        progress_monitor: Any = None

        def __init__(self) -> None:
            self.timing = b''
            self.most = 0
            state.last_flags = ()

        def set_memory_pool_limit(self, pool: str, size: int) -> None:
            assert pool == 'workspace' and size > 0

        def set_flag(self, flag: str) -> None:
            state.flags.append(flag)
            state.last_flags = (*state.last_flags, flag)

        def add_optimization_profile(self, profile: Any) -> int:
            self.most = profile.shapes[2][0]
            return 0

        def create_timing_cache(self, known: bytes) -> Any:
            return SimpleNamespace(known=known, serialize=lambda: b'timed')

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            if cache.known not in (b'', b'timed'):
                return False
            state.timing.append(cache.known)
            self.timing = cache
            return True

        def get_timing_cache(self) -> Any:
            return self.timing

    class Profile:
        def set_shape(self, name: str, *shapes: Any) -> None:
            self.name, self.shapes = name, shapes

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            self._logger = logger

        def create_network(self, flags: int) -> Any:
            state.network_flags.append(flags)
            return SimpleNamespace(graph=b'', get_input=lambda index: SimpleNamespace(name='x'))

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
            if state.failing == 'build_serialized_network':
                self._logger.log(Severity.WARNING, 'not this')
                self._logger.log(Severity.ERROR, 'no kernel for node 3')
                return None
            if config.progress_monitor is not None:
                config.progress_monitor.phase_start('Tuning', '', 2)
                config.progress_monitor.step_complete('Tuning', 1)
                config.progress_monitor.phase_finish('Tuning')
            state.built += 1
            return _MAGIC + bytes([config.most]) + network.graph

    class OnnxParser:
        def __init__(self, network: Any, logger: ILogger) -> None:
            self._network, self.num_errors = network, 0

        def parse(self, graph: bytes) -> bool:
            model = onnx.load_from_string(graph)
            images = model.graph.input[0].name
            readers = {node.op_type for node in model.graph.node if images in node.input}
            if readers != {'Cast'}:  # all that TensorRT does with uint8
                self.num_errors = 1
                return False
            self._network.graph = graph
            self._network.get_input = lambda index: SimpleNamespace(name=images)
            return True

        def get_error(self, index: int) -> Any:
            return SimpleNamespace(desc=lambda: 'UINT8 is not supported here')

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if state.failing == 'deserialize_cuda_engine' or not plan.startswith(_MAGIC):
                return None
            start = len(_MAGIC)
            return Engine(state, plan[start + 1 :], plan[start])

    module = ModuleType('tensorrt')
    weak = {'FP16': 'FP16', 'INT8': 'INT8'} if state.major < 11 else {}
    explicit = {'EXPLICIT_BATCH': 0} if state.major < 11 else {}
    names = {
        '__version__': state.version,
        'ILogger': ILogger,
        'Builder': Builder,
        'OnnxParser': OnnxParser,
        'Runtime': Runtime,
        'BuilderFlag': SimpleNamespace(**weak),
        'NetworkDefinitionCreationFlag': SimpleNamespace(**explicit),
        'MemoryPoolType': SimpleNamespace(WORKSPACE='workspace'),
        'TensorIOMode': TensorIOMode,
        'DataType': DataType,
        'Dims': tuple,
        'IBuilderConfig': Config,
        'ICudaEngine': Engine,
        'INetworkDefinition': object,
        'ITimingCache': object,
    }
    if state.major >= 9:
        names['IProgressMonitor'] = IProgressMonitor
    for name, value in names.items():
        setattr(module, name, value)
    return module


_PLANS: dict[str, bytes] = {}
"""Digest of what the real TensorRT-RTX built -> the graph it was built of."""


def rtx_module(state: StandIn) -> ModuleType:
    """The real `tensorrt_rtx` with a runtime that needs no GPU."""
    real: Any = state.rtx

    # Not derived from the real ones: what pybind11 makes of such classes warns when it is freed.
    class OnnxParser:
        def __init__(self, network: Any, logger: Any) -> None:
            self._real = real.OnnxParser(network, logger)

        def parse(self, graph: bytes) -> bool:
            state.parsed = graph
            return bool(self._real.parse(graph))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    class Builder:
        def __init__(self, logger: Any) -> None:
            self._real = real.Builder(logger)

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            plan = self._real.build_serialized_network(network, config)
            if plan is not None:
                state.built += 1
                _PLANS[hashlib.sha256(bytes(plan)).hexdigest()] = state.parsed
            return plan

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    class Runtime:
        """Never the real one, which may end the process where there is no GPU."""

        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            graph = _PLANS.get(hashlib.sha256(plan).hexdigest())
            if state.failing == 'deserialize_cuda_engine' or graph is None:
                return None
            return Engine(state, graph, 8)

    module = ModuleType('tensorrt_rtx')
    vars(module).update({k: v for k, v in vars(real).items() if not k.startswith('__')})
    replaced = {
        '__version__': real.__version__,
        'OnnxParser': OnnxParser,
        'Builder': Builder,
        'Runtime': Runtime,
        'TensorIOMode': TensorIOMode,
        'DataType': DataType,
    }
    vars(module).update(replaced)
    return module


def cuda_modules(state: StandIn) -> dict[str, ModuleType]:
    """cuda-python's modules, of 12.8 and later or of the time before."""
    package = ModuleType('cuda')
    package.__path__ = []
    runtime: Any = Cuda(state)
    if state.old_cuda_module:
        package.cudart = runtime
        return {'cuda': package, 'cuda.cudart': runtime}
    bindings = ModuleType('cuda.bindings')
    bindings.__path__ = []
    bindings.runtime = runtime
    package.bindings = bindings
    utils = ModuleType('cuda.bindings.utils')
    utils.get_cuda_native_handle = int
    names = {'cuda': package, 'cuda.bindings': bindings}
    return names | {'cuda.bindings.runtime': runtime, 'cuda.bindings.utils': utils}


@contextmanager
def installed(state: StandIn) -> Iterator[StandIn]:
    """Let imports find the stand-in for TensorRT, or for TensorRT-RTX, and not the other one."""
    names: dict[str, Any] = dict.fromkeys(('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings'))
    if state.rtx is None:
        names['tensorrt'] = tensorrt_module(state)
    else:
        names['tensorrt_rtx'] = rtx_module(state)
    names |= cuda_modules(state)
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield state
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
