"""What an index is at one moment: segments, and which of their rows are live. Replaced as a whole, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.cuda.device_copy import DeviceCopy
from adanns.indexes.built import Built
from adanns.indexes.filters import Filter, packed

Words = NDArray[np.uint64]
"""A bit per stored row, row r at bit r % 64 of word r // 64, and one word more, which the engine may read."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Rows that came together, and which of them take part: `live` is None where all do."""

    built: Built
    live: Words | None = None


@dataclass(frozen=True)
class Origin:
    """What was learnt from, to tell how far an index has drifted since.

    rows: of the last build. imbalance: of its lists (see `imbalance`); 0 where there are none. added: rows since.
    """

    rows: int
    imbalance: float
    added: int = 0

    @classmethod
    def of(cls, built: Built) -> Origin:
        """Where this is a build's own outcome."""
        return cls(built.rows, imbalance(np.diff(built.arrays["list_offsets"])) if built.lists else 0.0)


class Snapshot:
    """All that one search sees."""

    def __init__(self, segments: Sequence[Segment], origin: Origin, device: DeviceCopy | None = None) -> None:
        self.device = device  # where searches run; None: here
        self.segments = tuple(segments)
        self.first = segments[0].built  # what was learnt is kept with it; the others share it
        self.origin = origin
        self.engine = _core.Snapshot([(segment.built.view, segment.live) for segment in segments])
        self.live_rows = self.engine.live_rows()
        self.rows = sum(self.live_rows)
        self.narrowed: WeakKeyDictionary[Filter, Snapshot] = WeakKeyDictionary()

    @property
    def stored_rows(self) -> int:
        """Rows in memory, removed ones among them."""
        return sum(segment.built.rows for segment in self.segments)

    @property
    def whole(self) -> bool:
        """Whether it is one segment of which nothing was removed."""
        return len(self.segments) == 1 and self.segments[0].live is None

    def live_rows_of(self, ids: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Per segment, the row of each id; -1 where it has none that is live. An id is live in one segment at most."""
        return [_live_only(segment, segment.built.rows_of(ids)) for segment in self.segments]

    def with_added(self, built: Built) -> Snapshot:
        """A snapshot with one segment more."""
        origin = replace(self.origin, added=self.origin.added + built.rows)
        return Snapshot((*self.segments, Segment(built)), origin)

    def without_empty_segments(self) -> Snapshot:
        """A snapshot without segments of which nothing is live; the first one, which others share, always stays."""
        kept = [segment for i, segment in enumerate(self.segments) if i == 0 or self.live_rows[i]]
        return self if len(kept) == len(self.segments) else Snapshot(kept, self.origin)

    def without(self, ids: NDArray[np.int64]) -> tuple[Snapshot, NDArray[np.bool_]]:
        """A snapshot in which these different ids are not live, and which of them were."""
        found = np.zeros(len(ids), np.bool_)
        segments = []
        for segment, rows in zip(self.segments, self.live_rows_of(ids), strict=True):
            here = rows >= 0
            found |= here
            segments.append(_with_cleared(segment, rows[here]) if here.any() else segment)
        return (Snapshot(segments, self.origin) if found.any() else self), found


def unpacked(segment: Segment) -> NDArray[np.bool_]:
    """Whether each stored row of a segment is live."""
    rows = segment.built.rows
    if segment.live is None:
        return np.ones(rows, np.bool_)
    return np.unpackbits(segment.live.view(np.uint8), count=rows, bitorder="little").view(np.bool_)


def imbalance(sizes: NDArray[np.int64]) -> float:
    """lists * sum of squared sizes / rows squared: how many times the rows of an even list a random row shares a list
    with. 1 where lists are even.
    """
    rows = float(sizes.sum())
    return float(len(sizes) * np.square(sizes, dtype=np.float64).sum() / rows**2) if rows else 1.0


def _live_only(segment: Segment, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if segment.live is None:
        return rows
    live = segment.live.view(np.uint8)[rows >> 3] >> (rows & 7).astype(np.uint8) & 1  # of row -1 it is never asked
    return np.where((rows >= 0) & (live == 1), rows, -1)


def _with_cleared(segment: Segment, rows: NDArray[np.int64]) -> Segment:
    live = packed(np.ones(segment.built.rows, np.bool_)) if segment.live is None else segment.live.copy()
    np.bitwise_and.at(live.view(np.uint8), rows >> 3, ~(1 << (rows & 7)).astype(np.uint8))
    return Segment(segment.built, live)
