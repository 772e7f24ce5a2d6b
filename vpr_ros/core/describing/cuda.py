"""The few calls of CUDA's runtime that TensorRT needs, by NVIDIA's cuda-python.

Every call of cuda-python returns its status first; here a bad one becomes a BackendError that
names the call. Whatever is allocated belongs to a `Memory`, which frees it in the reverse order.
"""

import ctypes
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.core.errors import BackendError

INSTALL = (
    'install cuda-python of the same major version as CUDA, for example '
    '`pip install "cuda-python==12.*"`'
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """The graphics processor that is used: the first one."""

    name: str
    compute_capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Buffer:
    """The same bytes on the host (pinned, which is copied without a detour) and on the GPU."""

    host: NDArray[Any]
    host_address: int
    device_address: int


def load_runtime() -> Any:
    """cuda-python's module of the runtime; raises BackendError where it is not installed.

    It is cuda.bindings.runtime from 12.8 on, cuda.cudart before; 13.0 has no cuda.cudart.
    """
    try:
        from cuda.bindings import runtime

        return runtime
    except ImportError:
        pass
    try:
        from cuda import cudart
    except ImportError as error:
        raise BackendError(f'cuda-python cannot be imported ({error}); {INSTALL}') from error
    return cudart


def stream_handle(stream: Any) -> int:
    """Address of a stream, as TensorRT takes it; `int(stream)` is deprecated from 12.9 on."""
    try:
        from cuda.bindings.utils import get_cuda_native_handle
    except ImportError:
        return int(stream)
    return int(get_cuda_native_handle(stream))


class Memory:
    """A stream and buffers, freed together by `close`, whatever fails on the way."""

    def __init__(self) -> None:
        """Raises BackendError without cuda-python or a GPU."""
        self._runtime = load_runtime()
        self._owned = ExitStack()
        count = self._call('cudaGetDeviceCount')
        if count < 1:
            raise BackendError('CUDA finds no GPU')
        self.stream = self._call('cudaStreamCreate')
        self._owned.callback(self._call, 'cudaStreamDestroy', self.stream)

    @property
    def gpu(self) -> Gpu:
        """The GPU that has the memory."""
        found = self._call('cudaGetDeviceProperties', 0)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return Gpu(name.rstrip('\0'), (int(found.major), int(found.minor)))

    def buffer(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Buffer:
        """Memory for an array on both sides; raises BackendError where there is too little."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        host = self._call('cudaHostAlloc', size, self._runtime.cudaHostAllocDefault)
        self._owned.callback(self._call, 'cudaFreeHost', host)
        device = self._call('cudaMalloc', size)
        self._owned.callback(self._call, 'cudaFree', device)
        pinned = (ctypes.c_uint8 * size).from_address(int(host))
        view = np.ctypeslib.as_array(pinned).view(dtype).reshape(shape)
        return Buffer(view, int(host), int(device))

    def to_device(self, buffer: Buffer, count: int) -> None:
        """Queue the copy of the first `count` rows to the GPU."""
        size = buffer.host[:count].nbytes
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(buffer.device_address, buffer.host_address, size, kind)

    def to_host(self, buffer: Buffer, count: int) -> None:
        """Queue the copy of the first `count` rows from the GPU."""
        size = buffer.host[:count].nbytes
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(buffer.host_address, buffer.device_address, size, kind)

    def wait(self) -> None:
        """Wait until all queued work is done."""
        self._call('cudaStreamSynchronize', self.stream)

    def close(self) -> None:
        """Free everything; more than once is no error."""
        self._owned.close()

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        self._call('cudaMemcpyAsync', target, source, size, kind, self.stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self._runtime, name)(*arguments)
        if status != self._runtime.cudaError_t.cudaSuccess:
            _, text = self._runtime.cudaGetErrorString(status)
            said = text.decode() if isinstance(text, bytes) else text
            raise BackendError(f'CUDA: {name}: {said}')
        return values[0] if values else None
