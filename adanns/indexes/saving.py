"""A snapshot as a folder holds it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import Arrays
from adanns.indexes.built import Built, bands_of, bundle
from adanns.indexes.changes import is_per_row, own_arrays, shared_arrays
from adanns.indexes.filters import packed
from adanns.indexes.snapshot import Origin, Segment, Snapshot, unpacked
from adanns.parameters import IndexParameters
from adanns.storage.folder import Part, Stored
from adanns.storage.manifest import Learnt
from adanns.storage.placement import placed


def stored_of(kind: str, parameters: IndexParameters, snapshot: Snapshot, known: Mapping[Built, str] | None) -> Stored:
    """What to save. known: which segments the folder holds already, and in which files."""
    parts = []
    for number, segment in enumerate(snapshot.segments):
        removed = None if segment.live is None else np.packbits(~unpacked(segment), bitorder="little")
        file = "" if known is None else known.get(segment.built, "")
        parts.append(Part(own_arrays(segment.built, first=number == 0), removed, file))
    origin, learnt = snapshot.origin, None
    if origin != Origin.of(snapshot.first):
        learnt = Learnt(origin.rows, origin.imbalance, origin.added)
    return Stored(kind, parameters.to_json(), tuple(parts), learnt)


def restored(stored: Stored, parameters: IndexParameters, memory_dims: int | None = None) -> Snapshot:
    """The snapshot that was saved. Raises ValueError or KeyError where the parts are not of one index.

    memory_dims: see adanns.load.
    """
    bands = bands_of(parameters)
    parts = [part.arrays if memory_dims is None else placed(part.arrays, bands, memory_dims) for part in stored.parts]
    first = bundle(parameters, parts[0])
    segments = [_segment(first, stored.parts[0].removed)]
    for part, own in zip(stored.parts[1:], parts[1:], strict=True):
        segments.append(_segment(bundle(parameters, _with_shared(first, own)), part.removed))
    learnt = stored.learnt
    origin = Origin.of(first) if learnt is None else Origin(learnt.rows, learnt.imbalance, learnt.added)
    return Snapshot(segments, origin)


def _with_shared(first: Built, own: Arrays) -> Arrays:
    strange = [name for name in own if not is_per_row(name)]
    if strange:
        raise ValueError(f"a segment beside the first one holds {strange}, which are shared")
    return shared_arrays(first) | own


def _segment(built: Built, removed: NDArray[np.uint8] | None) -> Segment:
    if removed is None:
        return Segment(built)
    if len(removed) != -(-built.rows // 8):
        raise ValueError(f"{len(removed)} bytes say which of {built.rows} rows are removed")
    bits: NDArray[Any] = np.unpackbits(removed, count=built.rows, bitorder="little")
    return Segment(built, packed(bits == 0))
