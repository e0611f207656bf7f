"""What a search returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""A StageStats per stage, but for its name."""


@dataclass(frozen=True)
class StageStats:
    """What one stage did, summed over the queries of a batch."""

    stage: str  # "route", "scan" or "rerank"
    dims: int  # prefix length it compared
    read: int  # centroids, rows or candidates compared
    kept: int  # lists, rows or candidates handed on


class SearchResult:
    """Neighbours of a batch of queries; unpacks as `distances, ids`.

    distances: float32 (queries, k), ascending; smaller is nearer (l2: squared L2; cosine: 1 - cos; ip: -dot).
    ids: int64 (queries, k). Where fewer than k rows were found: id -1, distance +inf.
    counts: int32 (queries,), how many of each row are real.
    stats: one StageStats per stage, in order.
    """

    __slots__ = ("_stats", "counts", "distances", "ids")

    def __init__(
        self,
        distances: NDArray[np.float32],
        ids: NDArray[np.int64],
        counts: NDArray[np.int32],
        stats: Numbers | Callable[[], Numbers],
    ) -> None:
        self.distances = distances
        self.ids = ids
        self.counts = counts
        self._stats = stats

    @property
    def stats(self) -> tuple[StageStats, ...]:
        """What each stage read and kept, in order."""
        numbers = self._stats() if callable(self._stats) else self._stats
        *stages, last = (StageStats(*stage) for stage in numbers)
        return (*stages, replace(last, kept=int(self.counts.sum())))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        yield self.distances
        yield self.ids

    def __len__(self) -> int:
        return 2  # distances, ids

    def __repr__(self) -> str:
        queries, k = self.ids.shape
        return f"SearchResult({queries} queries, k={k})"


@dataclass(frozen=True, eq=False)
class RangeResult:
    """All neighbours within a radius, for a batch of queries; unpacks as `offsets, distances, ids`.

    offsets: int64 (queries + 1,); query q has results offsets[q] to offsets[q + 1].
    distances: float32 (results,), ascending for each query. ids: int64 (results,).
    """

    offsets: NDArray[np.int64]
    distances: NDArray[np.float32]
    ids: NDArray[np.int64]

    def of(self, query: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(distances, ids) of one query."""
        here = slice(self.offsets[query], self.offsets[query + 1])
        return self.distances[here], self.ids[here]

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 (queries,), how many results each query has."""
        return np.diff(self.offsets)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        yield self.offsets
        yield self.distances
        yield self.ids

    def __repr__(self) -> str:
        return f"RangeResult({len(self.offsets) - 1} queries, {len(self.ids)} results)"
