"""So many bytes a vector: dims, bits and segments of the codes chosen for it."""

from __future__ import annotations

from collections.abc import Sequence

from adanns.indexes.coded_lists import CodedListsIndex
from adanns.indexes.table_codes import TableCode
from adanns.ladder import Metric, Precision, checked_ladder, checked_rung
from adanns.parameters import CompactParameters

# Of the coded prefix. Codes alone find more the more dims they tell of (8 bytes, glyphs: recall@10 .625 on 64 dims and
# .646 on 128); before a rerank the shortlist is as good on half of them, and queries and builds take half as long.
DIMS_PER_BYTE, DIMS_PER_BYTE_ALONE = 8, 16
MOST_DIMS = 512  # a rotation of n dims costs n^2 per query and row


class CompactIndex(CodedListsIndex[CompactParameters]):
    """The most accurate codes we know of in a given number of bytes: of residuals in lists, on a prefix that suits it.

    >>> index = CompactIndex(bytes_per_vector=16).build(vectors)
    >>> distances, ids = index.search(queries, k=10, probes=16)

    With `prefixes`, a search may scan fewer dims of the same codes (AdANNS-D on codes):

    >>> index = CompactIndex(bytes_per_vector=32, prefixes=(64, 128)).build(vectors)
    >>> distances, ids = index.search(queries, k=10, probes=16, scan_dims=64)
    """

    kind = "compact"
    parameters_type = CompactParameters

    def __init__(
        self,
        bytes_per_vector: int = 16,
        cluster_dims: int = 64,
        scan_dims: int | None = None,
        lists: int | None = None,
        *,
        bits: int | None = None,
        prefixes: Sequence[int] = (),
        metric: Metric = "cosine",
        ladder: Sequence[int] | None = None,
        precision: Precision | None = "float16",
        rotations: int = 10,
        training_rows: int = 65536,
        seed: int = 0,
        iterations: int = 10,
        points_per_list: int = 128,
    ) -> None:
        """precision: of the planes that a rerank reads; None keeps codes alone. The others: see CompactParameters."""
        super().__init__(
            CompactParameters(
                metric=metric,
                ladder=checked_ladder(ladder),
                precision=precision,
                cluster_dims=cluster_dims,
                lists=lists,
                seed=seed,
                iterations=iterations,
                points_per_list=points_per_list,
                bytes_per_vector=bytes_per_vector,
                scan_dims=scan_dims,
                bits=bits,
                prefixes=tuple(prefixes),
                rotations=rotations,
                training_rows=training_rows,
            )
        )

    def _code(self, ladder: Sequence[int]) -> TableCode:
        parameters = self._parameters
        dims = chosen_dims(ladder, parameters)
        prefixes = [checked_rung(prefix, ladder, "a rung of prefixes") for prefix in parameters.prefixes]
        if prefixes and prefixes[-1] >= dims:
            raise ValueError(f"prefixes={parameters.prefixes}: expected rungs below the {dims} dims that are coded")
        if parameters.segments > dims:
            most = dims * parameters.code_bits // 8
            raise ValueError(
                f"bytes_per_vector={parameters.bytes_per_vector}: {dims} dims of {parameters.code_bits} bits each fill "
                f"{most} bytes; ask for {most} at most, more scan_dims, or IVFIndex, which keeps a byte per dim"
            )
        return TableCode.of(parameters, (*prefixes, dims), residual=True)


def chosen_dims(ladder: Sequence[int], parameters: CompactParameters) -> int:
    """`scan_dims`, or the first rung of so many dims a byte."""
    if parameters.scan_dims is not None:
        return checked_rung(parameters.scan_dims, ladder, "scan_dims")
    dims_per_byte = DIMS_PER_BYTE_ALONE if parameters.precision is None else DIMS_PER_BYTE
    wanted = max(parameters.segments, min(MOST_DIMS, dims_per_byte * parameters.bytes_per_vector))
    return next((rung for rung in ladder if rung >= wanted), ladder[-1])
