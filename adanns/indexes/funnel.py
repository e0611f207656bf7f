"""Adaptive retrieval: a shortlist at few dims, then a cascade of rungs (MRL, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adanns.arrays import checked_count
from adanns.indexes.base import Index
from adanns.indexes.searching import search_snapshot
from adanns.ladder import Metric, Precision, ScalarType, checked_ladder, checked_rung
from adanns.parameters import FunnelParameters
from adanns.planes import PlaneBuilder
from adanns.progress import Progress
from adanns.results import SearchResult

SHORTLIST = 200  # the papers' shortlist


class FunnelIndex(Index[FunnelParameters]):
    """Compares every row at a short prefix and only the best at more.

    >>> index = FunnelIndex(shortlist_dims=16).build(vectors)
    >>> distances, ids = index.search(queries, k=10, rerank=[(64, 200), (512, 50)])
    """

    kind = "funnel"
    parameters_type = FunnelParameters

    def __init__(
        self,
        shortlist_dims: int = 16,
        *,
        metric: Metric = "cosine",
        ladder: Sequence[int] | None = None,
        precision: Precision = "float16",
        scan_precision: ScalarType | None = "int8",
    ) -> None:
        super().__init__(
            FunnelParameters(
                metric=metric,
                ladder=checked_ladder(ladder),
                precision=precision,
                shortlist_dims=shortlist_dims,
                scan_precision=scan_precision,
            )
        )

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        shortlist_dims: int | None = None,
        rerank: Sequence[tuple[int, int]] | None = None,
        filter: Any = None,
        threads: int | None = None,
    ) -> SearchResult:
        """The k nearest rows by way of a shortlist.

        shortlist_dims: prefix at which all rows are compared; beyond the one built with, the planes are scanned instead
            of the int8 code.
        rerank: stages (dims, keep): the best `keep` of the stage before are rescored at `dims`. Default: the paper's,
            200 (or 2 k) at all dims. An empty list returns the shortlist's order.
        filter: ids that may be returned (see adanns.Filter); where they are few, their planes are compared.
        """
        snapshot = self._need_snapshot()
        k, built = checked_count(k, "k"), snapshot.first
        scan_dims = self._rung(built, shortlist_dims, self._parameters.shortlist_dims, "shortlist_dims")
        stages = [(built.dims, max(SHORTLIST, 2 * k))] if rerank is None else rerank
        return search_snapshot(snapshot, queries, k, scan_dims=scan_dims, rerank=stages, threads=threads, filter=filter)

    def _check_dims(self, ladder: Sequence[int]) -> None:
        checked_rung(self._parameters.shortlist_dims, ladder, "shortlist_dims")

    def _organise(self, builder: PlaneBuilder, progress: Progress, threads: int) -> None:
        if self._parameters.scan_precision == "int8":
            builder.add_code(self._parameters.shortlist_dims, np.array([0, builder.rows], np.int64))
