"""Device memory as a search sees it: what cupy gives, and what the tests' emulator stands in for."""

from __future__ import annotations

import contextlib
import importlib
import sys
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = Any
"""A device array: cupy's, or numpy's in the emulator."""


class Memory(Protocol):
    """Arrays of one device. Work is queued on `stream`."""

    def put(self, array: NDArray[Any]) -> Array:
        """A copy of a host array on the device."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array."""
        ...

    def adopt(self, array: Any) -> Array:
        """Another library's array on the device, where it is."""
        ...

    def contiguous(self, array: Array) -> Array:
        """float32, rows one after another."""
        ...

    def join(self, arrays: list[Array]) -> Array:
        """One array of the rows of all."""
        ...

    def stream_of(self, array: Any) -> AbstractContextManager[Any]:
        """Queue work where whoever made `array` queues theirs."""
        ...

    def largest(self, array: Array) -> float:
        """The largest absolute value of all."""
        ...

    def multiply(self, rows: Array, matrix: Array) -> Array:
        """rows @ matrix.T, float32."""
        ...

    def address(self, array: Array) -> int:
        """Where an array's first element is."""
        ...

    def read(self, array: Array) -> NDArray[Any]:
        """A copy on the host, once the stream's work is done."""
        ...

    def stream(self) -> int:
        """The address of the stream that work is queued on; 0 is the default one."""
        ...

    def free_bytes(self) -> int:
        """What can still be put."""
        ...


class CupyMemory:
    """The current device of cupy; copies and kernels are queued on its current stream.

    Arrays come from cupy's pool, so that a search allocates nothing anew once one like it has run.
    """

    def __init__(self) -> None:
        self.cupy = importlib.import_module("cupy")

    def put(self, array: NDArray[Any]) -> Array:
        """A copy of a host array on the device."""
        return self.cupy.asarray(array)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array."""
        return self.cupy.empty(shape, np.dtype(dtype))

    def adopt(self, array: Any) -> Array:
        """Another library's array on the device, where it is."""
        return self.cupy.asarray(array.detach() if hasattr(array, "detach") else array)

    def contiguous(self, array: Array) -> Array:
        """float32, rows one after another."""
        return self.cupy.ascontiguousarray(array, np.float32)

    def join(self, arrays: list[Array]) -> Array:
        """One array of the rows of all."""
        return arrays[0] if len(arrays) == 1 else self.cupy.concatenate(arrays)

    def stream_of(self, array: Any) -> AbstractContextManager[Any]:
        """torch's current stream for its tensors on the device; else cupy's, as it is."""
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(array, torch.Tensor) or not array.is_cuda:
            return contextlib.nullcontext()
        current, streams = torch.cuda.current_stream(array.device), self.cupy.cuda
        stream: AbstractContextManager[Any]
        if hasattr(streams.Stream, "from_external"):  # cupy 14; ExternalStream is deprecated there
            stream = streams.Stream.from_external(current)
        else:
            stream = streams.ExternalStream(current.cuda_stream)
        return stream

    def largest(self, array: Array) -> float:
        """The largest absolute value of all."""
        return max(float(array.max()), -float(array.min()))

    def multiply(self, rows: Array, matrix: Array) -> Array:
        """rows @ matrix.T, float32."""
        return self.cupy.matmul(rows, matrix.T)

    def address(self, array: Array) -> int:
        """Where an array's first element is."""
        return int(array.data.ptr)

    def read(self, array: Array) -> NDArray[Any]:
        """A copy on the host, once the stream's work is done."""
        copied: NDArray[Any] = self.cupy.asnumpy(array)
        return copied

    def stream(self) -> int:
        """The address of cupy's current stream."""
        return int(self.cupy.cuda.get_current_stream().ptr)

    def free_bytes(self) -> int:
        """What the device and cupy's pool have left."""
        free, _ = self.cupy.cuda.runtime.memGetInfo()
        return int(free) + int(self.cupy.get_default_memory_pool().free_bytes())
