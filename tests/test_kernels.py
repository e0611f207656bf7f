"""Does every kernel give what its numpy twin gives, at sizes around the lanes? test_every_isa.py repeats this."""

from __future__ import annotations

import os

import numpy as np
import pytest
import twins

from adanns import _core
from adanns._core import kernels

DIMS = (1, 15, 16, 17, 100)
ROW_COUNTS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33)
SCALAR_TYPES = (np.float32, np.float16, np.int8)


def padded(rows: np.ndarray, filler: float = 0) -> np.ndarray:
    """Columns up to a multiple of 16; `filler` in planes shows that a zero query really hides what it should."""
    extra = -rows.shape[1] % 16
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, extra)), constant_values=filler))


def random_rows(generator: np.random.Generator, count: int, dims: int, scalar: type) -> np.ndarray:
    if scalar is np.int8:
        return generator.integers(-128, 128, (count, dims)).astype(np.int8)
    rows = generator.standard_normal((count, dims)).astype(scalar)
    rows.flat[::7] *= scalar(1e-6)  # denormal as float16
    return rows


def dot_tolerance(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """float32 rounding: relative to the sum of magnitudes, not to the sum."""
    return 1e-6 * (np.abs(queries).astype(np.float64) @ np.abs(rows.astype(np.float64)).T) + 1e-30


def test_the_level_asked_for_is_in_use() -> None:
    assert _core.isa() == (os.environ.get("ADANNS_ISA") or _core.available_isas()[-1])


@pytest.mark.parametrize("scalar", SCALAR_TYPES)
@pytest.mark.parametrize("dims", DIMS)
def test_dot_rows_equals_matrix_product(dims: int, scalar: type) -> None:
    generator = np.random.default_rng(dims)
    for count in ROW_COUNTS:
        rows = random_rows(generator, count, dims, scalar)
        for query_count in range(1, 9):
            queries = generator.standard_normal((query_count, dims)).astype(np.float32)
            dots = kernels.dot_rows(padded(rows, filler=9), padded(queries))
            twin = queries.astype(np.float64) @ rows.astype(np.float64).T
            assert (np.abs(dots - twin) <= dot_tolerance(rows, queries)).all()


@pytest.mark.parametrize("scalar", SCALAR_TYPES)
@pytest.mark.parametrize("dims", DIMS)
def test_a_dot_does_not_depend_on_its_place_in_a_batch(dims: int, scalar: type) -> None:
    generator = np.random.default_rng(dims)
    rows = padded(random_rows(generator, 11, dims, scalar))
    queries = padded(generator.standard_normal((8, dims)).astype(np.float32))
    dots = kernels.dot_rows(rows, queries)
    for query_count in range(1, 8):
        assert (kernels.dot_rows(rows, queries[:query_count]) == dots[:query_count]).all()
    for row in range(len(rows)):
        assert (kernels.dot_rows(rows[row:], queries) == dots[:, row:]).all()


@pytest.mark.parametrize("scalar", SCALAR_TYPES)
@pytest.mark.parametrize("dims", DIMS)
def test_dot_gather_equals_dots_of_the_rows_named(dims: int, scalar: type) -> None:
    generator = np.random.default_rng(dims)
    plane = random_rows(generator, 50, dims, scalar)
    query = generator.standard_normal((1, dims)).astype(np.float32)
    for count in (0, *ROW_COUNTS):
        rows = generator.integers(0, 50, count).astype(np.uint32)  # in any order, some twice
        dots = kernels.dot_gather(padded(plane, filler=9), rows, padded(query)[0])
        twin = plane[rows].astype(np.float64) @ query[0].astype(np.float64)
        assert dots.shape == twin.shape
        assert (np.abs(dots - twin) <= dot_tolerance(plane[rows], query)[0]).all()


@pytest.mark.parametrize("form", ["plain", "add", "multiply"])
@pytest.mark.parametrize("dims", DIMS)
def test_block_keys_are_exact_integer_dots(dims: int, form: str) -> None:
    generator = np.random.default_rng(dims)
    groups = -(-dims // 4)
    for block_count in range(1, 20):
        blocks = generator.integers(0, 256, (block_count, groups * 64)).astype(np.uint8)
        terms = generator.standard_normal(block_count * 16).astype(np.float32)
        for query_count in range(1, 9):
            queries = np.zeros((query_count, groups * 4), np.int8)
            queries[:, :dims] = generator.integers(-128, 128, (query_count, dims))
            dots = (queries.astype(np.int64) @ twins.unblocked(blocks).astype(np.int64).T).astype(np.float32)
            twin = {"plain": dots, "add": dots + terms, "multiply": dots * terms}[form]
            assert (kernels.block_keys(blocks, queries, form, terms) == twin).all()


def test_block_keys_do_not_saturate() -> None:
    terms = np.zeros(16, np.float32)
    for code in (0, 128, 255):
        blocks = np.full((1, 64 * 32), code, np.uint8)
        for value in (-128, 127):
            keys = kernels.block_keys(blocks, np.full((1, 128), value, np.int8), "plain", terms)
            assert (keys == 128 * (code - 128) * value).all()


def test_block_keys_of_a_prefix_read_no_further() -> None:
    generator = np.random.default_rng(5)
    blocks = generator.integers(0, 256, (3, 64 * 10)).astype(np.uint8)
    queries = generator.integers(-127, 128, (3, 4 * 4)).astype(np.int8)
    twin = queries.astype(np.int64) @ twins.unblocked(blocks)[:, :16].astype(np.int64).T
    assert (kernels.block_keys(blocks, queries, "plain", np.zeros(48, np.float32)) == twin).all()


SELECTION_KEYS = {
    "distinct": lambda generator, count: generator.permutation(count).astype(np.float32) - count // 3,
    "ties": lambda generator, count: generator.integers(-2, 3, count).astype(np.float32),
    "equal": lambda generator, count: np.full(count, -1.5, np.float32),
    "zeros": lambda generator, count: generator.choice(np.array([0.0, -0.0, 1e-45, -1e-45], np.float32), count),
    "extremes": lambda generator, count: generator.choice(
        np.array([np.inf, -np.inf, 3e38, -3e38, 1e-40, 0], np.float32), count
    ),
}
SELECTION_COUNTS = (2, 3, 4, 5, 8, 15, 16, 17, 31, 64, 100, 129, 500)


@pytest.mark.parametrize("kind", SELECTION_KEYS)
def test_select_smallest_keeps_the_first_of_equal_keys_in_order(kind: str) -> None:
    generator = np.random.default_rng(1)
    for count in SELECTION_COUNTS:
        keys = SELECTION_KEYS[kind](generator, count)
        rows = generator.permutation(count).astype(np.uint32) + np.uint32(4_000_000_000)
        for keep in sorted({1, 2, count // 2, count - 1} & set(range(1, count))):
            kept_keys, kept_rows, bound = kernels.select_smallest(keys, rows, keep)
            twin = twins.smallest(keys, keep)
            assert (kept_rows == rows[twin]).all()
            assert (kept_keys == keys[twin]).all()
            dropped = np.delete(keys, twin)
            assert kept_keys.max() <= bound <= dropped.min()


@pytest.mark.parametrize("kind", SELECTION_KEYS)
def test_collect_below_keeps_what_is_below_in_order(kind: str) -> None:
    generator = np.random.default_rng(2)
    for count in (0, 1, *SELECTION_COUNTS):
        keys = SELECTION_KEYS[kind](generator, count)
        for threshold in (np.inf, -np.inf, 0.0, *keys[:2]):
            for first_row in (0, 7, 4_000_000_000):
                kept_keys, kept_rows = kernels.collect_below(keys, threshold, first_row)
                twin = np.flatnonzero(keys < threshold)
                assert (kept_rows == first_row + twin).all()
                assert (kept_keys == keys[twin]).all()


@pytest.mark.parametrize("kind", SELECTION_KEYS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 1.0])
def test_collect_below_leaves_out_rows_that_a_mask_leaves_out(kind: str, share: float) -> None:
    generator = np.random.default_rng(4)
    for count in (0, 1, *SELECTION_COUNTS):
        keys = SELECTION_KEYS[kind](generator, count)
        for first_bit in (0, 5, 31, 33, 63, 64, 117):
            held = generator.random(first_bit + count) < share
            words = np.zeros((len(held) + 63) // 64 + 1, np.uint64)
            words.view(np.uint8)[: (len(held) + 7) // 8] = np.packbits(held, bitorder="little")
            words[-1] = ~np.uint64(0)  # what follows the rows' bits counts for nothing
            for threshold in (np.inf, *keys[:1]):
                kept_keys, kept_rows = kernels.collect_below(keys, threshold, 7, words, first_bit)
                twin = np.flatnonzero((keys < threshold) & held[first_bit:])
                assert (kept_rows == 7 + twin).all()
                assert (kept_keys == keys[twin]).all()


@pytest.mark.parametrize("kind", SELECTION_KEYS)
def test_at_least_keep_keys_are_within_the_bound(kind: str) -> None:
    generator = np.random.default_rng(3)
    for count in (1, *SELECTION_COUNTS, 3000):
        keys = SELECTION_KEYS[kind](generator, count)
        for keep in sorted({1, 2, count // 2, count} & set(range(1, count + 1))):
            bound = kernels.bound_of_smallest(keys, keep)
            assert np.count_nonzero(keys <= bound) >= keep
            assert bound <= keys.max()


def test_the_bound_is_cut_close_to_the_keys_kept() -> None:
    keys = np.random.default_rng(4).permutation(5000).astype(np.float32)
    for keep in (1, 10, 200, 1000):
        assert np.count_nonzero(keys <= kernels.bound_of_smallest(keys, keep)) <= 2 * keep + 10


def test_every_float16_becomes_its_float32() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    twin = patterns.view(np.float16).astype(np.float32)
    values = kernels.from_float16(patterns)
    assert np.array_equal(values, twin, equal_nan=True)
    assert (np.signbit(values) == np.signbit(twin))[~np.isnan(twin)].all()


def test_float32_rounds_to_the_nearest_even_float16() -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)  # every finite one, denormals too
    middles = (halves[:-1] + halves[1:]) / 2
    largest = np.float32([65504, 65519.996, 65520, 65535, 65536, 1e30, np.inf, 1e-45, 2**-25, 2.0000002**-25])
    edges = np.concatenate([halves, middles, largest])
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(0))])
    values = np.concatenate([edges, -edges])
    with np.errstate(over="ignore"):
        twin = values.astype(np.float16).view(np.uint16)
    assert (kernels.to_float16(values) == twin).all()


def test_conversion_writes_all_of_any_length() -> None:
    values = np.linspace(-3, 3, 70, dtype=np.float32)
    for count in range(70):
        halves = kernels.to_float16(values[:count])
        assert (halves.view(np.float16) == values[:count].astype(np.float16)).all()
        assert (kernels.from_float16(halves) == values[:count].astype(np.float16).astype(np.float32)).all()
