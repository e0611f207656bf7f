"""The index classes, and which saved kind is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adanns.errors import CorruptIndexError
from adanns.indexes.base import Index
from adanns.indexes.compact import CompactIndex
from adanns.indexes.exact import ExactIndex
from adanns.indexes.funnel import FunnelIndex
from adanns.indexes.ivf import IVFIndex
from adanns.indexes.ivfopq import IVFOPQIndex
from adanns.indexes.opq import OPQIndex
from adanns.storage.folder import read_folder

INDEX_CLASSES: tuple[type[Index[Any]], ...] = (
    ExactIndex,
    FunnelIndex,
    IVFIndex,
    OPQIndex,
    IVFOPQIndex,
    CompactIndex,
)


def load(folder: str | Path, mmap: bool = False) -> Index[Any]:
    """The index that `save` wrote; with `mmap` its arrays stay on disk until they are read."""
    kind, parameters, arrays = read_folder(Path(folder), mmap)
    for index_class in INDEX_CLASSES:
        if index_class.kind == kind:
            try:
                return index_class.restore(parameters, arrays)
            except (ValueError, KeyError, TypeError) as error:
                raise CorruptIndexError(f"{folder} does not hold a {kind} index as its header says: {error}") from error
    raise CorruptIndexError(f"{folder} holds an index of kind {kind!r}; known are {[c.kind for c in INDEX_CLASSES]}")


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
