"""Device memory as the search sees it: what cupy gives, and what the tests' emulator stands in for."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = Any  # a device array: cupy's, or numpy's in the emulator


class Memory(Protocol):
    """Arrays of one device."""

    def put(self, array: NDArray[Any]) -> Array:
        """A copy of a host array on the device."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array."""
        ...

    def address(self, array: Array) -> int:
        """Where an array's first element is."""
        ...

    def read(self, array: Array) -> NDArray[Any]:
        """A copy on the host, once the stream's work is done."""
        ...


class CupyMemory:
    """The current device of cupy; copies and kernels are queued on its current stream."""

    def __init__(self) -> None:
        self.cupy = importlib.import_module("cupy")

    def put(self, array: NDArray[Any]) -> Array:
        """A copy of a host array on the device."""
        return self.cupy.asarray(array)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialised array."""
        return self.cupy.empty(shape, np.dtype(dtype))

    def address(self, array: Array) -> int:
        """Where an array's first element is."""
        return int(array.data.ptr)

    def read(self, array: Array) -> NDArray[Any]:
        """A copy on the host, once the stream's work is done."""
        copied: NDArray[Any] = self.cupy.asnumpy(array)
        return copied
