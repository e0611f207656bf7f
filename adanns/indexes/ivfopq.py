"""AdANNS-IVFOPQ: lists clustered on a few dims, scanned by codes of a prefix (AdANNS, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from adanns.indexes.coded_lists import CodedListsIndex
from adanns.indexes.table_codes import TableCode
from adanns.ladder import Metric, Precision, checked_ladder, checked_rung
from adanns.parameters import IVFOPQParameters


class IVFOPQIndex(CodedListsIndex[IVFOPQParameters]):
    """Compares the codes of the rows in the lists nearest to the query, and reranks the best where planes are kept.

    >>> index = IVFOPQIndex(cluster_dims=64, scan_dims=64, code_bytes=16).build(vectors)
    >>> distances, ids = index.search(queries, k=10, probes=16, rerank=[(512, 100)])
    """

    kind = "ivfopq"
    parameters_type = IVFOPQParameters

    def __init__(
        self,
        cluster_dims: int = 64,
        scan_dims: int = 64,
        lists: int | None = None,
        code_bytes: int = 16,
        *,
        bits: int = 8,
        residual: bool = True,
        metric: Metric = "cosine",
        ladder: Sequence[int] | None = None,
        precision: Precision | None = "float16",
        rotations: int = 10,
        training_rows: int = 65536,
        seed: int = 0,
        iterations: int = 10,
        points_per_list: int = 128,
    ) -> None:
        """precision: of the planes that a rerank reads; None keeps codes alone. The others: see IVFOPQParameters."""
        super().__init__(
            IVFOPQParameters(
                metric=metric,
                ladder=checked_ladder(ladder),
                precision=precision,
                cluster_dims=cluster_dims,
                lists=lists,
                seed=seed,
                iterations=iterations,
                points_per_list=points_per_list,
                scan_dims=scan_dims,
                code_bytes=code_bytes,
                bits=bits,
                residual=residual,
                rotations=rotations,
                training_rows=training_rows,
            )
        )

    def _code(self, ladder: Sequence[int]) -> TableCode:
        rung = checked_rung(self._parameters.scan_dims, ladder, "scan_dims")
        return TableCode.of(self._parameters, (rung,), residual=self._parameters.residual)
