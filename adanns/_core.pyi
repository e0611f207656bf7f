"""Types of the native engine; tests/test_core_stub.py compares them with the module.

Arrays must have exactly the dtype named here and be C-contiguous: nothing is converted. Rows of planes and vectors are
NDArray[Any] because float32, float16 and (in planes) int8 are all welcome.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# (first_dim, dims, rows, scales, offsets); scales and offsets are None but for int8.
_Plane: TypeAlias = tuple[int, int, NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]
# (dims, blocks, scales, offsets)
_Code: TypeAlias = tuple[int, NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]
# (dims, bits, rungs (dims, segments), segment_ends, rotation, codebooks, blocks, centroids): see csrc/core/index_view.h
_TableCode: TypeAlias = tuple[
    int,
    int,
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.float32] | None,
    NDArray[np.float32],
    NDArray[np.uint8],
    NDArray[np.float32] | None,
]

class IndexView:
    def __init__(
        self,
        *,
        metric: str,
        ladder: NDArray[np.int32],
        planes: list[_Plane],
        terms: NDArray[np.float32] | None,
        ids: NDArray[np.int64],
        code: _Code | None,
        lists: tuple[NDArray[np.int64], _Code, NDArray[np.int32], NDArray[np.float32] | None] | None,
        table_code: _TableCode | None = None,
        zero_rows: NDArray[np.int64] | None = None,
    ) -> None: ...

class Snapshot:
    def __init__(self, segments: Sequence[tuple[IndexView, NDArray[np.uint64] | None]]) -> None: ...
    def live_rows(self) -> list[int]: ...
    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        scan_dims: int,
        scan: str,
        probe_count: int,
        routing_dims: int,
        stages: Sequence[tuple[int, int]],
        threads: int,
        routing_queries: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32], int, list[int]]: ...
    def range_search(
        self,
        queries: NDArray[np.float32],
        radius: float,
        dims: int,
        scan: str,
        probe_count: int,
        routing_dims: int,
        threads: int,
        routing_queries: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], int]: ...

def ids_where(ids: NDArray[np.int64], address: int) -> NDArray[np.bool_]: ...
def first_not_finite(vectors: NDArray[Any], threads: int) -> int: ...
def pack_rows(
    vectors: NDArray[Any],
    normalise: bool,
    planes: list[_Plane],
    first_row: int,
    threads: int,
) -> tuple[str, int]: ...
def read_prefix(
    planes: list[_Plane],
    rows: NDArray[np.int64] | None,
    first_row: int,
    count: int,
    dims: int,
    normalise: bool,
    threads: int,
) -> NDArray[np.float32]: ...
def row_terms(
    planes: list[_Plane],
    rows: int,
    metric: str,
    ladder: NDArray[np.int32],
    out: NDArray[np.float32],
    threads: int,
) -> None: ...
def quantise_plane(
    rows: NDArray[np.float32],
    dims: int,
    out: NDArray[np.int8],
    threads: int,
    learnt: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
def encode_blocks(
    planes: list[_Plane],
    dims: int,
    normalise: bool,
    list_offsets: NDArray[np.int64],
    blocks: NDArray[np.uint8],
    threads: int,
    learnt: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
def assign(
    rows: NDArray[np.float32], centroids: NDArray[np.float32], by_dot: bool, with_distances: bool, threads: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
def sum_clusters(
    rows: NDArray[np.float32], nearest: NDArray[np.int32], clusters: int, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...
def encode_segments(
    points: NDArray[np.float32],
    segment_ends: NDArray[np.int32],
    bits: int,
    codebooks: NDArray[np.float32],
    threads: int,
) -> NDArray[np.uint8]: ...
def sum_segments(
    points: NDArray[np.float32],
    codes: NDArray[np.uint8],
    segment_ends: NDArray[np.int32],
    bits: int,
    threads: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...
def pack_table_blocks(
    codes: NDArray[np.uint8], bits: int, list_offsets: NDArray[np.int64], threads: int
) -> NDArray[np.uint8]: ...
def multiply_rows(rows: NDArray[np.float32], matrix: NDArray[np.float32], threads: int) -> NDArray[np.float32]: ...
def permute_rows(rows: NDArray[Any], order: NDArray[np.int64], out: NDArray[Any], threads: int) -> None: ...
def isa() -> str: ...
def available_isas() -> list[str]: ...

class kernels:  # noqa: N801 - a submodule; a stub file cannot nest one
    @staticmethod
    def dot_rows(rows: NDArray[Any], queries: NDArray[np.float32]) -> NDArray[np.float32]: ...
    @staticmethod
    def dot_gather(
        plane: NDArray[Any], rows: NDArray[np.uint32], query: NDArray[np.float32]
    ) -> NDArray[np.float32]: ...
    @staticmethod
    def block_keys(
        blocks: NDArray[np.uint8], queries: NDArray[np.int8], form: str, terms: NDArray[np.float32]
    ) -> NDArray[np.float32]: ...
    @staticmethod
    def table_keys(
        blocks: NDArray[np.uint8],
        bits: int,
        bytes: int,
        tables: NDArray[np.uint8],
        form: str,
        terms: NDArray[np.float32],
    ) -> NDArray[np.float32]: ...
    @staticmethod
    def round_tables(tables: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, float]: ...
    @staticmethod
    def collect_below(
        keys: NDArray[np.float32],
        threshold: float,
        first_row: int,
        mask_words: NDArray[np.uint64] | None = None,
        first_bit: int = 0,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint32]]: ...
    @staticmethod
    def bound_of_smallest(keys: NDArray[np.float32], keep: int) -> float: ...
    @staticmethod
    def select_smallest(
        keys: NDArray[np.float32], rows: NDArray[np.uint32], keep: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint32], float]: ...
    @staticmethod
    def to_float16(values: NDArray[np.float32]) -> NDArray[np.uint16]: ...
    @staticmethod
    def from_float16(values: NDArray[np.uint16]) -> NDArray[np.float32]: ...
