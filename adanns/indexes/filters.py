"""Which ids a search may return: a set of them, a bit or a bool per id, or a compiled predicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import checked_id_set

if TYPE_CHECKING:
    from adanns.indexes.built import Built
    from adanns.indexes.snapshot import Segment, Snapshot, Words

Mask = NDArray[np.bool_]


class Filter:
    """Allowed ids, to be used in many searches: which rows they are is found once for every segment of an index.

    allowed: ids (an array of integers, list, set or range; ids that an index does not hold allow nothing); an array of
        bool, of which element i allows id i (what is beyond its end is not allowed); or a compiled predicate of int64
        that returns int8 or bool: any object with the `address` of one, such as a numba cfunc of the signature
        "int8(int64)". It may be called from any thread.

    >>> in_stock = adanns.Filter(np.flatnonzero(stock))
    >>> distances, ids = index.search(queries, k=10, filter=in_stock)
    """

    def __init__(self, allowed: Any) -> None:
        self._mask_of = _mask_maker(allowed)
        self._masks: WeakKeyDictionary[Built, Words] = WeakKeyDictionary()

    @classmethod
    def packed(cls, bits: Any) -> Filter:
        """Of a bit per id: bit i % 8 of byte i // 8 allows id i, as numpy.packbits(..., bitorder="little") writes it.

        bits: uint8, one-dimensional.
        """
        array = np.asarray(bits)
        if array.dtype != np.uint8 or array.ndim != 1:
            raise TypeError(f"bits are {array.dtype} of shape {array.shape}; expected uint8, one-dimensional")
        return cls(np.unpackbits(array, bitorder="little").view(np.bool_))

    @classmethod
    def of(cls, allowed: Any) -> Filter:
        """`allowed` itself where it is a filter."""
        return allowed if isinstance(allowed, Filter) else cls(allowed)

    def narrowed(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot in which only allowed rows are live; made once."""
        known = snapshot.narrowed.get(self)
        if known is None:
            known = type(snapshot)([self._narrowed(segment) for segment in snapshot.segments], snapshot.origin)
            snapshot.narrowed[self] = known
        return known

    def _narrowed(self, segment: Segment) -> Segment:
        words = self._masks.get(segment.built)
        if words is None:
            words = self._masks[segment.built] = packed(self._mask_of(segment.built))
        return type(segment)(segment.built, words if segment.live is None else words & segment.live)


def packed(mask: Mask) -> Words:
    """A bool per row as bits, row r at bit r % 64 of word r // 64, and one word more, which the engine may read."""
    words = np.zeros(len(mask) // 64 + 2, np.uint64)
    bits = np.packbits(mask, bitorder="little")
    words.view(np.uint8)[: len(bits)] = bits
    return words


def _mask_maker(allowed: Any) -> Callable[[Built], Mask]:
    """What says, for the rows of a segment, whether each is allowed."""
    address = getattr(allowed, "address", None)
    if isinstance(address, int):

        def by_predicate(built: Built) -> Mask:
            return _core.ids_where(built.arrays["ids"], allowed.address)  # `allowed` is kept: its code must stay

        return by_predicate
    if callable(allowed):
        raise TypeError(
            f"filter is {allowed!r}, which would be called for every row; compile it: numba.cfunc('int8(int64)'), "
            f"or pass the ids that it allows"
        )
    if not isinstance(allowed, (set, frozenset)) and np.asarray(allowed).dtype == np.bool_:
        mask = np.array(allowed, np.bool_)
        if mask.ndim != 1:
            raise ValueError(f"filter has shape {mask.shape}; expected a bool per id")

        def by_bool(built: Built) -> Mask:
            ids = built.arrays["ids"]
            inside = (ids >= 0) & (ids < len(mask))
            return np.asarray(inside & mask[np.where(inside, ids, 0)] if len(mask) else inside, np.bool_)

        return by_bool
    ids = checked_id_set(allowed, "allowed ids")

    def by_id(built: Built) -> Mask:
        rows = built.rows_of(ids)
        found = np.zeros(built.rows, np.bool_)
        found[rows[rows >= 0]] = True
        return found

    return by_id
