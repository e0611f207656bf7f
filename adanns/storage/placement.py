"""Which arrays of a mapped index are read to memory, and how the others are read from disk."""

from __future__ import annotations

from collections.abc import Sequence

from adanns.arrays import Arrays, advise, aligned_copy
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
            advise(array, "MADV_RANDOM")
            found[name] = array
        else:
            found[name] = aligned_copy(array)
    return found
