"""AdANNS-IVF: lists clustered on a few dims, scanned on a few dims, reranked on more (AdANNS, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adanns.indexes.built import Built
from adanns.indexes.lists import ListsIndex
from adanns.ladder import Metric, Precision, ScalarType, checked_ladder, checked_rung
from adanns.parameters import IVFParameters
from adanns.planes import PlaneBuilder
from adanns.progress import Progress


class IVFIndex(ListsIndex[IVFParameters]):
    """Compares only the rows of the lists nearest to the query.

    >>> index = IVFIndex(cluster_dims=64, scan_dims=64).build(vectors)
    >>> distances, ids = index.search(queries, k=10, probes=8, rerank=[(256, 100), (512, 20)])
    """

    kind = "ivf"
    parameters_type = IVFParameters

    def __init__(
        self,
        cluster_dims: int = 64,
        scan_dims: int = 64,
        lists: int | None = None,
        *,
        metric: Metric = "cosine",
        ladder: Sequence[int] | None = None,
        precision: Precision = "float16",
        scan_precision: ScalarType | None = "int8",
        seed: int = 0,
        iterations: int = 10,
        points_per_list: int = 128,
    ) -> None:
        super().__init__(
            IVFParameters(
                metric=metric,
                ladder=checked_ladder(ladder),
                precision=precision,
                cluster_dims=cluster_dims,
                scan_dims=scan_dims,
                lists=lists,
                scan_precision=scan_precision,
                seed=seed,
                iterations=iterations,
                points_per_list=points_per_list,
            )
        )

    def _scan_dims(self, built: Built) -> int:
        return self._parameters.scan_dims

    def _check_dims(self, ladder: Sequence[int]) -> None:
        checked_rung(self._parameters.scan_dims, ladder, "scan_dims")

    def _add_codes(
        self, builder: PlaneBuilder, list_offsets: NDArray[np.int64], progress: Progress, threads: int
    ) -> None:
        if self._parameters.scan_precision == "int8":
            builder.add_code(self._parameters.scan_dims, list_offsets)
