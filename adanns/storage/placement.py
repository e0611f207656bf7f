"""Which arrays of a mapped index are read to memory, and how the others are read from disk."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import Arrays, aligned_copy
from adanns.ladder import Band


def placed(arrays: Arrays, bands: Sequence[Band], memory_dims: int) -> Arrays:
    """Mapped arrays with those in memory that a search reads most of.

    Planes that begin below `memory_dims`, and everything that is no plane - codes, terms, lists, ids - are copied. The
    other planes stay on disk, which is told that their rows are read one here, one there: reading ahead would read
    many times what a rerank asks for.
    """
    on_disk = {f"plane_{number}" for number, band in enumerate(bands) if band.first_dim >= memory_dims}
    found: Arrays = {}
    for name, array in arrays.items():
        if name in on_disk:
            _read_at_random(array)
            found[name] = array
        else:
            found[name] = aligned_copy(array)
    return found


def mapping_of(array: NDArray[np.generic]) -> mmap.mmap | None:
    """The memory map that an array is a view of."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _read_at_random(array: NDArray[np.generic]) -> None:
    mapping = mapping_of(array)
    if mapping is None or not array.size or not hasattr(mmap, "MADV_RANDOM"):
        return
    first = np.frombuffer(mapping, np.uint8, 1).ctypes.data
    begin = array.ctypes.data - first
    page = begin - begin % mmap.PAGESIZE
    mapping.madvise(mmap.MADV_RANDOM, page, begin + array.nbytes - page)
