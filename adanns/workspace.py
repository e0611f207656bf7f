"""Where a build keeps what grows with the rows: in memory, or in files where it was given a budget that says so."""

from __future__ import annotations

import math
import mmap
import operator
import os
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from adanns.arrays import CHUNK_ROWS, aligned_empty, let_go

BYTES_PER_ROW = 72  # of a build beside its arrays: ids and what finds them twice, a row's list and its new place
LEAST_CHUNK_ROWS = 1024
SHARE = 4  # of the budget that a chunk of rows, or a part of a plane while rows are put in order, may take: 1 / SHARE


class Workspace:
    """Makes the arrays of one build. Files have no name: they are gone with the last array that lies in them.

    budget: bytes that the build may take from the system for itself; None: as many as it likes. Mapped files do not
        count, since the system takes their pages back when it needs them; the build lets go of them as it passes.
    scratch: folder for the files; None: the system's temporary one.
    """

    def __init__(self, budget: Any = None, scratch: str | Path | None = None) -> None:
        if budget is not None:
            try:
                budget = operator.index(budget)
            except TypeError:
                raise TypeError(f"memory_budget is {budget!r}; expected a number of bytes") from None
            if budget < 1:
                raise ValueError(f"memory_budget={budget}; expected a number of bytes")
        elif scratch is not None:
            raise ValueError(f"scratch={str(scratch)!r} is for builds within a memory_budget; pass one")
        if scratch is not None and not Path(scratch).is_dir():
            raise FileNotFoundError(f"scratch={str(scratch)!r} is not a folder")
        self.budget: int | None = budget
        self.on_disk = budget is not None
        self._scratch = scratch

    def expect(self, rows: int, array_bytes: int, working_bytes: int) -> None:
        """Choose memory where arrays and the work on them fit in the budget; raise where the work alone does not."""
        if self.budget is None:
            return
        least = rows * BYTES_PER_ROW + working_bytes
        if least > self.budget:
            raise ValueError(
                f"memory_budget={self.budget} bytes is too small: beside what can be on disk, this build of {rows} "
                f"rows takes {least} bytes; allow as many, or take fewer lists, points_per_list or training_rows"
            )
        self.on_disk = least + array_bytes > self.budget

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of any content that starts on a cache line. Raises OSError where the disk is too small for it."""
        kind = np.dtype(dtype)
        if not self.on_disk or 0 in shape:
            return aligned_empty(shape, dtype)
        return empty_on_disk(shape, kind, self._scratch)

    def growing(self) -> GrowingFile:
        """A file for rows of which no one knows how many will come."""
        return GrowingFile(self._scratch)

    def chunk_rows(self, row_bytes: int) -> int:
        """Rows to read at a time."""
        if self.budget is None:
            return CHUNK_ROWS
        return min(CHUNK_ROWS, max(LEAST_CHUNK_ROWS, self.budget // SHARE // row_bytes))

    def let_go(self, arrays: Iterable[NDArray[Any]]) -> None:
        """Of those that are in files, give the pages back: their content stays in the files."""
        if self.on_disk:
            for array in arrays:
                let_go(array)


def empty_on_disk(shape: tuple[int, ...], dtype: np.dtype[Any], scratch: str | os.PathLike[str] | None) -> NDArray[Any]:
    """An array of zeros in a file without a name, gone with it; not empty. OSError where the disk is too small."""
    size = math.prod(shape) * dtype.itemsize
    with tempfile.TemporaryFile(dir=scratch) as file:
        # A hole that cannot be filled later would end the process; so the room is taken now.
        os.posix_fallocate(file.fileno(), 0, size)
        mapped = mmap.mmap(file.fileno(), size)
    array: NDArray[Any] = np.ndarray(shape, dtype, mapped)
    return array


class GrowingFile:
    """Rows as they come, in one file without a name: one map at the end, and not one for every chunk."""

    def __init__(self, scratch: str | Path | None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed when it is mapped
        weakref.finalize(self, self._file.close)

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows behind those that are there."""
        self._file.write(rows.reshape(-1).view(np.uint8).data)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """All of them; nothing can be appended then."""
        self._file.flush()
        array: NDArray[Any] = np.ndarray(shape, dtype, mmap.mmap(self._file.fileno(), 0))
        self._file.close()
        return array
