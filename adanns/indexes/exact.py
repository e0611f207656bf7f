"""Exact search at any prefix: the reference that everything else is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adanns.arrays import checked_count
from adanns.indexes.base import Index
from adanns.indexes.searching import search_snapshot
from adanns.ladder import Metric, Precision, checked_ladder
from adanns.parameters import ExactParameters
from adanns.planes import PlaneBuilder
from adanns.progress import Progress
from adanns.results import SearchResult


class ExactIndex(Index[ExactParameters]):
    """Compares every row, at any rung of the ladder.

    >>> index = ExactIndex(metric="cosine").build(vectors)
    >>> distances, ids = index.search(queries, k=10, dims=64)
    """

    kind = "exact"
    parameters_type = ExactParameters

    def __init__(
        self, *, metric: Metric = "cosine", ladder: Sequence[int] | None = None, precision: Precision = "float32"
    ) -> None:
        super().__init__(ExactParameters(metric=metric, ladder=checked_ladder(ladder), precision=precision))

    def search(
        self, queries: Any, k: int = 10, *, dims: int | None = None, filter: Any = None, threads: int | None = None
    ) -> SearchResult:
        """The k nearest rows of each query at the prefix of `dims` dimensions; None: all of them.

        filter: ids that may be returned (see adanns.Filter).
        """
        snapshot = self._need_snapshot()
        k = checked_count(k, "k")
        scan_dims = self._rung(snapshot.first, dims, snapshot.first.dims, "dims")
        return search_snapshot(snapshot, queries, k, scan_dims=scan_dims, rerank=None, threads=threads, filter=filter)

    def _check_dims(self, ladder: Sequence[int]) -> None:
        pass  # any ladder will do

    def _organise(self, builder: PlaneBuilder, progress: Progress, threads: int) -> None:
        pass  # the planes are all there is
