"""AdANNS-OPQ: every row compared by a product-quantised code of a prefix (AdANNS, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adanns.arrays import checked_count
from adanns.indexes.base import Index
from adanns.indexes.searching import default_cascade, search_snapshot
from adanns.indexes.table_codes import TableCode, add_table_code, check_training_rows, code_working_bytes
from adanns.ladder import Metric, Precision, checked_ladder, checked_rung
from adanns.parameters import OPQParameters
from adanns.planes import PlaneBuilder
from adanns.progress import Progress
from adanns.results import SearchResult


class OPQIndex(Index[OPQParameters]):
    """Compares the codes of all rows, and reranks the best where planes are kept.

    >>> index = OPQIndex(scan_dims=64, code_bytes=16, precision=None).build(vectors)
    >>> distances, ids = index.search(queries, k=10)
    """

    kind = "opq"
    parameters_type = OPQParameters

    def __init__(
        self,
        scan_dims: int = 64,
        code_bytes: int = 16,
        *,
        bits: int = 8,
        metric: Metric = "cosine",
        ladder: Sequence[int] | None = None,
        precision: Precision | None = "float16",
        rotations: int = 10,
        seed: int = 0,
        training_rows: int = 65536,
    ) -> None:
        """precision: of the planes that a rerank reads; None keeps codes alone. The others: see OPQParameters."""
        super().__init__(
            OPQParameters(
                metric=metric,
                ladder=checked_ladder(ladder),
                precision=precision,
                scan_dims=scan_dims,
                code_bytes=code_bytes,
                bits=bits,
                rotations=rotations,
                seed=seed,
                training_rows=training_rows,
            )
        )

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        scan_dims: int | None = None,
        rerank: Sequence[tuple[int, int]] | None = None,
        filter: Any = None,
        threads: int | None = None,
    ) -> SearchResult:
        """The k nearest rows by their codes.

        scan_dims: prefix at which all rows are compared; another than the one coded scans the planes.
        rerank: stages (dims, keep): the best `keep` of the stage before are rescored at `dims`. Default: 100 (or 4 k)
            at four times the scan's dims, then 20 (or 2 k) at all. An empty list measures a few times k at
            the scan's own dims. An index of codes alone measures on them and has no other stages.
        filter: ids that may be returned (see adanns.Filter); where they are few, planes are compared if there are any.
        """
        snapshot = self._need_snapshot()
        k, built = checked_count(k, "k"), snapshot.first
        scan = self._rung(built, scan_dims, self._parameters.scan_dims, "scan_dims")
        stages = default_cascade(built, scan, k) if rerank is None else rerank
        return search_snapshot(snapshot, queries, k, scan_dims=scan, rerank=stages, threads=threads, filter=filter)

    @property
    def distortion(self) -> tuple[float, ...]:
        """Mean squared distance of the training rows to their codes, per turn of the rotation."""
        return tuple(self._need_built().arrays["table_distortion"].tolist())

    def _code(self, ladder: Sequence[int]) -> TableCode:
        rung = checked_rung(self._parameters.scan_dims, ladder, "scan_dims")
        return TableCode.of(self._parameters, (rung,), residual=False)

    def _check_dims(self, ladder: Sequence[int]) -> None:
        self._code(ladder)

    def _read_dims(self, ladder: Sequence[int]) -> int:
        return self._parameters.scan_dims

    def _working_bytes(self, rows: int, ladder: tuple[int, ...]) -> int:
        return code_working_bytes(rows, self._code(ladder))

    def _organise(self, builder: PlaneBuilder, progress: Progress, threads: int) -> None:
        code = self._code(builder.ladder)
        check_training_rows(builder.rows, code)
        add_table_code(builder, code, np.array([0, builder.rows], np.int64), progress, threads)
