"""The index classes, and which saved kind is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adanns.arrays import checked_count
from adanns.errors import CorruptIndexError
from adanns.indexes.base import Index
from adanns.indexes.compact import CompactIndex
from adanns.indexes.exact import ExactIndex
from adanns.indexes.funnel import FunnelIndex
from adanns.indexes.ivf import IVFIndex
from adanns.indexes.ivfopq import IVFOPQIndex
from adanns.indexes.opq import OPQIndex
from adanns.storage.folder import read_index

# What the constructors and the engine make of arrays and parameters that no index has.
MISFITS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError)
INDEX_CLASSES: tuple[type[Index[Any]], ...] = (
    ExactIndex,
    FunnelIndex,
    IVFIndex,
    OPQIndex,
    IVFOPQIndex,
    CompactIndex,
)


def load(folder: str | Path, mmap: bool = False, *, memory_dims: int | None = None, verify: bool = False) -> Index[Any]:
    """The index that `save` wrote.

    mmap: its arrays stay on disk until they are read; it opens in milliseconds whatever its size.
    memory_dims: of a mapped index, read planes that hold dims below this to memory, and with them codes, terms, lists
        and ids: what every search reads. The planes of a rerank stay on disk, read row by row.
    verify: compare the checksum of every array, which reads them all.
    Raises FileNotFoundError, CorruptIndexError that says what is wrong with which file, or IncompatibleVersionError.
    """
    if memory_dims is not None:
        memory_dims = checked_count(memory_dims, "memory_dims", least=0)
        if not mmap:
            raise ValueError(f"memory_dims={memory_dims} says what to read of a mapped index; pass mmap=True with it")
    place = Path(folder).absolute()
    stored = read_index(place, mmap=mmap, verify=verify)
    for index_class in INDEX_CLASSES:
        if index_class.kind == stored.kind:
            try:
                return index_class.restore(stored, place, memory_dims)
            except MISFITS as error:
                raise CorruptIndexError(
                    f"{folder} does not hold a {stored.kind} index as its manifest says: {error}"
                ) from error
    raise CorruptIndexError(
        f"{folder} holds an index of kind {stored.kind!r}; known are {[c.kind for c in INDEX_CLASSES]}"
    )


__all__ = [
    "INDEX_CLASSES",
    "CompactIndex",
    "ExactIndex",
    "FunnelIndex",
    "IVFIndex",
    "IVFOPQIndex",
    "Index",
    "OPQIndex",
    "load",
]
