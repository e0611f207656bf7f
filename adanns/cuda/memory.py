"""Device memory as a search sees it: what cupy gives, and what the tests' emulator stands in for."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = Any
"""A device array: cupy's, or numpy's in the emulator."""


def torch_of(array: Any) -> Any:
    """The module torch, if `array` is one of its tensors; else None. It is not imported for that."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else None


class Memory(Protocol):
    """Arrays of one device. Work is queued on `stream`."""

    def put(self, array: NDArray[Any]) -> Array:
        """A copy of a host array on the device."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array."""
        ...

    def holds(self, array: Any) -> bool:
        """Whether an array of another library is on the device."""
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

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of zeros."""
        ...

    def masked(self, values: Array | None, mask: Array) -> Array:
        """float32: of values, or of zeros, those where the mask is true; NaN elsewhere."""
        ...

    def address(self, array: Array) -> int:
        """Where an array's first element is."""
        ...

    def read(self, array: Array) -> NDArray[Any]:
        """A copy on the host, once the stream's work is done."""
        ...

    def copy(self, source: Array, to: Array) -> None:
        """Queue a copy into another array of the device."""
        ...

    def record(self, work: Callable[[Memory], Any]) -> Recording | None:
        """What `work` queues, to be queued again as one launch; None where that cannot be."""
        ...

    def stream(self) -> int:
        """The address of the stream that work is queued on; 0 is the default one."""
        ...

    def free_bytes(self) -> int:
        """What can still be put."""
        ...


class Recording(Protocol):
    """Work to be queued again and again, by one thread at a time."""

    result: Any
    """What the work returned."""

    def replay(self, before: Callable[[], None]) -> None:
        """Queue `before` and then the work, after what others queued up to their `done`."""
        ...

    def done(self) -> None:
        """Whoever replays next waits for what is queued up to here."""
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

    def holds(self, array: Any) -> bool:
        """Whether an array of another library is on the device."""
        if torch_of(array) is not None:  # one that requires a gradient has no interface
            return bool(array.is_cuda)
        return hasattr(array, "__cuda_array_interface__")

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
        torch = torch_of(array)
        if torch is None or not array.is_cuda:
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

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of zeros."""
        return self.cupy.zeros(shape, np.dtype(dtype))

    def masked(self, values: Array | None, mask: Array) -> Array:
        """float32: of values, or of zeros, those where the mask is true; NaN elsewhere."""
        given = np.float32(0) if values is None else values
        return self.cupy.where(mask, given, np.float32(np.nan))

    def address(self, array: Array) -> int:
        """Where an array's first element is."""
        return int(array.data.ptr)

    def read(self, array: Array) -> NDArray[Any]:
        """A copy on the host, once the stream's work is done."""
        copied: NDArray[Any] = self.cupy.asnumpy(array)
        return copied

    def copy(self, source: Array, to: Array) -> None:
        """Queue a copy into another array of the device."""
        to[...] = source

    def record(self, work: Callable[[Memory], Any]) -> Recording | None:
        """What `work` queues as a CUDA graph; None where CUDA will not record it."""
        streams = self.cupy.cuda
        stream, memory = streams.Stream(non_blocking=True), _KeepingMemory()
        try:
            with stream:
                stream.begin_capture()
                try:
                    result = work(memory)
                finally:
                    graph = stream.end_capture()
        except (streams.runtime.CUDARuntimeError, RuntimeError):
            return None
        return _CupyRecording(graph, result, memory)

    def stream(self) -> int:
        """The address of cupy's current stream."""
        return int(self.cupy.cuda.get_current_stream().ptr)

    def free_bytes(self) -> int:
        """What the device and cupy's pool have left."""
        free, _ = self.cupy.cuda.runtime.memGetInfo()
        return int(free) + int(self.cupy.get_default_memory_pool().free_bytes())


class _KeepingMemory(CupyMemory):
    """Keeps all that a recorded search took: a graph goes on using it."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Array] = []

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array."""
        return self._keep(super().empty(shape, dtype))

    def _keep(self, array: Array) -> Array:
        self._kept.append(array)
        return array


class _CupyRecording:
    """A CUDA graph and the memory it works in."""

    def __init__(self, graph: Any, result: Any, memory: CupyMemory) -> None:
        self._graph, self.result, self._memory = graph, result, memory
        self._done = memory.cupy.cuda.Event(disable_timing=True)

    def replay(self, before: Callable[[], None]) -> None:
        """Queue `before` and the graph on cupy's current stream."""
        self._memory.cupy.cuda.get_current_stream().wait_event(self._done)
        before()
        self._graph.launch()

    def done(self) -> None:
        """Whoever replays next, on whatever stream, waits for what is queued up to here."""
        self._done.record()
