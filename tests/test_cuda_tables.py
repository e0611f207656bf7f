"""Does the table-code scan of csrc/cuda rank rows by what their codes decode to?

The emulator runs them, and a GPU where there is one.
"""

from __future__ import annotations

import cuda_search as cuda
import numpy as np
import pytest
from cuda_emulator.emulator import ORDERS
from cuda_search import AnyDevice, Array, Loaded, small_integers

SIZES = [0, 70, 1, 300, 32]


class TableCode:
    """Random codes of `sizes` rows per list, and the rows that they decode to."""

    def __init__(
        self, loaded: Loaded, device: AnyDevice, bits: int, segments: int, sizes: list[int], *, residual: bool
    ) -> None:
        rng = np.random.default_rng(bits * segments)
        self.module, self.device = loaded[0], device
        self.sizes, self.segments = sizes, segments
        self.offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.ends = np.cumsum(rng.integers(1, 5, segments)).astype(np.int32)
        entries, rows, dims = 1 << bits, int(self.offsets[-1]), int(self.ends[-1])
        books = [small_integers(rng, (entries, width)) for width in np.diff(self.ends, prepend=0)]
        codes = rng.integers(0, entries, (rows, segments))
        self.rows = np.hstack([book[codes[:, segment]] for segment, book in enumerate(books)])
        centroids = small_integers(rng, (len(sizes), dims + 3))
        if residual:
            self.rows = self.rows + np.repeat(centroids[:, :dims], sizes, axis=0)
        words, block_offsets = interleaved(codes, bits, sizes)
        self.code = self.module.TableCode(
            bits,
            device.lend(words),
            words.shape[1],
            device.lend(block_offsets),
            device.lend(self.ends),
            device.lend(np.concatenate([book.reshape(-1) for book in books])),
            device.lend(centroids) if residual else 0,
            dims + 3,
        )

    def scan(
        self,
        queries: Array,
        metric: str,
        probes: Array,
        segments: int,
        keep: int,
        splits: int,
        capacity: int | None = None,
    ) -> Array:
        dims = int(self.ends[segments - 1])
        terms = 0 if metric == "ip" else self.device.lend(cuda.row_terms(self.rows, metric, dims))
        groups = self.module.table_groups(keep)
        out = self.device.empty((len(queries), keep), np.uint64)
        self.module.scan_tables(
            self.code,
            metric,
            terms,
            (self.device.lend(queries), queries.shape[1], len(queries)),
            self.device.lend(self.offsets),
            len(self.sizes),
            self.device.lend(probes),
            probes.shape[1],
            probes.shape[1],
            segments,
            keep,
            splits,
            cuda.found_of(self.module, self.device, len(queries), keep, groups, capacity),
            self.device.address(out),
        )
        return self.device.read(out)


def interleaved(codes: Array, bits: int, sizes: list[int]) -> tuple[Array, Array]:
    """(words [block][word][32 rows], first block of each list). What fills up words and blocks is any code."""
    per_word = 32 // bits
    row_words = -(-codes.shape[1] // per_word)
    counts = [-(-size // 32) for size in sizes]
    filled = np.full((32 * sum(counts), row_words * per_word), (1 << bits) - 1, np.uint32)
    first, block, blocks = 0, 0, []
    for size, count in zip(sizes, counts, strict=True):
        filled[32 * block : 32 * block + size, : codes.shape[1]] = codes[first : first + size]
        blocks.append(block)
        first, block = first + size, block + count
    shifts = (np.arange(per_word, dtype=np.uint32) * bits).astype(np.uint32)
    words = (filled.reshape(-1, 32, row_words, per_word) << shifts).sum(axis=3, dtype=np.uint32)
    return np.ascontiguousarray(words.transpose(0, 2, 1)), np.array(blocks, np.int64)


@pytest.mark.parametrize(("dims", "rotated_dims"), [(1, 1), (33, 20), (100, 100)])
def test_queries_are_rotated(loaded: Loaded, device: AnyDevice, dims: int, rotated_dims: int) -> None:
    rng = np.random.default_rng(dims)
    queries, rotation = small_integers(rng, (3, dims + 5)), small_integers(rng, (rotated_dims, dims))
    out = device.empty((3, rotated_dims), np.float32)
    loaded[0].rotate(
        (device.lend(queries), dims + 5, 3), dims, device.lend(rotation), rotated_dims, device.address(out)
    )
    np.testing.assert_array_equal(device.read(out), queries[:, :dims] @ rotation.T)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize(("bits", "segments"), [(4, 11), (8, 5)])
def test_table_scan_ranks_by_decoded_rows_in_any_order(
    loaded: Loaded, device: AnyDevice, bits: int, segments: int, metric: str, order: str
) -> None:
    code = TableCode(loaded, device, bits, segments, SIZES, residual=True)
    queries = small_integers(np.random.default_rng(8), (3, int(code.ends[-1])))
    probes = np.array([[3, 1, -1], [0, 2, 4], [4, 3, 2]], np.int32)
    with loaded[1].order(order):
        found = code.scan(queries, metric, probes, segments, keep=10, splits=2)
    keys = cuda.keys(code.rows, queries, metric, int(code.ends[-1]))
    keys[~cuda.probed(code.offsets, probes)] = np.inf
    cuda.assert_equals_twin(found, keys, 10)


@pytest.mark.parametrize(
    ("bits", "segments", "prefix", "rows", "keep"),
    [(4, 1, 1, 1, 1), (4, 9, 8, 600, 64), (8, 4, 3, 33, 40), (8, 64, 61, 40, 5), (4, 256, 250, 40, 5)],
)
def test_a_prefix_of_codes_is_scanned_alone(
    loaded: Loaded, device: AnyDevice, bits: int, segments: int, prefix: int, rows: int, keep: int
) -> None:
    code = TableCode(loaded, device, bits, segments, [rows], residual=False)
    queries = small_integers(np.random.default_rng(9), (1, int(code.ends[-1])))
    found = code.scan(queries, "l2", np.zeros((1, 1), np.int32), prefix, keep, splits=1)
    cuda.assert_equals_twin(found, cuda.keys(code.rows, queries, "l2", int(code.ends[prefix - 1])), keep)


@pytest.mark.parametrize("bits", [4, 8])
def test_queries_of_which_more_is_found_than_there_is_room_for_are_scanned_again(
    loaded: Loaded, device: AnyDevice, bits: int
) -> None:
    code = TableCode(loaded, device, bits, 6, SIZES, residual=True)
    queries = small_integers(np.random.default_rng(10), (3, int(code.ends[-1])))
    probes = np.tile(np.arange(5, dtype=np.int32), (3, 1))
    found = code.scan(queries, "l2", probes, 6, keep=10, splits=2, capacity=32)
    cuda.assert_equals_twin(found, cuda.keys(code.rows, queries, "l2", int(code.ends[-1])), 10)


def test_tables_that_shared_memory_cannot_hold_are_refused(loaded: Loaded, device: AnyDevice) -> None:
    code = TableCode(loaded, device, 8, 98, [3], residual=False)
    queries = np.ones((1, int(code.ends[-1])), np.float32)
    with pytest.raises(ValueError, match=r"98 segments of 8 bits; beside a shortlist of 64 .* holds 1 to \d+"):
        code.scan(queries, "ip", np.zeros((1, 1), np.int32), 98, keep=64, splits=1)
