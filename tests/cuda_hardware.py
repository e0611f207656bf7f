"""A GPU in the emulator's place: the same tests run on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numpy.typing import DTypeLike, NDArray

from adanns.cuda.memory import CupyMemory


class Hardware:
    """Its own order of threads."""

    @contextmanager
    def order(self, name: str) -> Iterator[None]:
        yield

    @contextmanager
    def device(self) -> Iterator[HardwareMemory]:
        yield HardwareMemory()


class HardwareMemory(CupyMemory):
    """Keeps what was lent for as long as a test lasts."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Any] = []

    def lend(self, array: NDArray[Any]) -> int:
        """Where an array is that kernels may only read."""
        self._kept.append(self.put(array))
        return self.address(self._kept[-1])

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Memory that stays, also where a test knows only its address."""
        self._kept.append(super().empty(shape, dtype))
        return self._kept[-1]
