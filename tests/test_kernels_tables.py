"""Do table codes and the scans of them give what their numpy twins give? test_every_isa.py repeats this."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from adanns import _core
from adanns._core import kernels

Array = Any
FORMS = ("plain", "add", "multiply")
SEGMENTS = (1, 2, 3, 7, 8, 9, 16, 17, 33)
# Of one, a few and many dims; 5 codes are an odd number of nibbles.
LAYOUTS = {"one": (1,), "ones": tuple(range(1, 18)), "mixed": (3, 4, 6, 14, 34), "wide": (16, 33, 100)}


def laid_out(tables: Array) -> Array:
    """Tables (queries, segments, entries) as the kernels take them."""
    queries, segments, entries = tables.shape
    if entries == 256:
        return np.ascontiguousarray(tables.reshape(queries, -1))
    groups = np.zeros((queries, -(-segments // 8), 2, 4, 16), np.uint8)  # [group of 4 bytes][nibble][byte][entry]
    for segment in range(segments):
        groups[:, segment // 8, segment % 2, segment // 2 % 4] = tables[:, segment]
    return groups.reshape(queries, -1)


def blocked(codes: Array, bits: int) -> Array:
    """Codes (rows, segments) in blocks [block][byte][16 rows]; rows that fill the last block are code 0."""
    rows, segments = codes.shape
    whole = np.zeros((-(-rows // 16) * 16, -(-segments * bits // 8) * 8 // bits), np.uint8)
    whole[:rows, :segments] = codes
    held = whole if bits == 8 else whole[:, ::2] | whole[:, 1::2] << 4
    return np.ascontiguousarray(held.reshape(-1, 16, held.shape[1]).transpose(0, 2, 1))


def looked_up(tables: Array, codes: Array) -> Array:
    """(queries, rows): sums of the entries of (queries, segments, entries) that codes (rows, segments) name."""
    segments = np.arange(codes.shape[1])
    return np.array([table[segments, codes].sum(axis=1) for table in tables])


def keys_of(codes: Array, bits: int, tables: Array, form: str, terms: Array) -> Array:
    bytes_read = -(-tables.shape[1] * bits // 8)
    return kernels.table_keys(blocked(codes, bits), bits, bytes_read, laid_out(tables), form, terms)


def random_case(bits: int, segments: int, rows: int, queries: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(segments)
    codes = generator.integers(0, 1 << bits, (rows, segments)).astype(np.uint8)
    return codes, generator.integers(0, 256, (queries, segments, 1 << bits)).astype(np.uint8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [4, 8])
def test_table_keys_are_exact_sums_of_the_entries_named(bits: int, form: str) -> None:
    for segments in SEGMENTS:
        codes, tables = random_case(bits, segments, 16 * 17, 8)
        terms = np.random.default_rng(1).standard_normal(16 * 17).astype(np.float32)
        sums = looked_up(tables, codes).astype(np.float32)
        twin = {"plain": sums, "add": sums + terms, "multiply": sums * terms}[form]
        blocks, laid = blocked(codes, bits), laid_out(tables)
        for count in (1, 2, 3, 4, 5, 7, 8, 9, 17):
            for queries in (1, 2, 3, 4, 5, 8):
                keys = kernels.table_keys(
                    blocks[:count], bits, blocks.shape[1], laid[:queries], form, terms[: 16 * count]
                )
                assert np.array_equal(keys, twin[:queries, : 16 * count])


@pytest.mark.parametrize("bits", [4, 8])
def test_sums_of_256_largest_entries_do_not_overflow(bits: int) -> None:
    codes, tables = random_case(bits, 256, 80, 8)
    terms = np.zeros(80, np.float32)
    assert np.array_equal(keys_of(codes, bits, np.full_like(tables, 255), "plain", terms), np.full((8, 80), 65280))
    tables[:, ::2] = 255
    assert np.array_equal(keys_of(codes, bits, tables, "plain", terms), looked_up(tables, codes))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_prefix_of_the_codes_reads_no_further(bits: int) -> None:
    codes, tables = random_case(bits, 21, 48, 3)
    terms = np.zeros(48, np.float32)
    for segments in range(1, 22):
        keys = keys_of(codes, bits, tables[:, :segments], "plain", terms)
        assert np.array_equal(keys, looked_up(tables[:, :segments], codes[:, :segments]))


@pytest.mark.parametrize("entries", [16, 256])
def test_rounded_tables_are_within_half_a_step(entries: int) -> None:
    for segments in (*SEGMENTS, 256):
        generator = np.random.default_rng(segments)
        tables = generator.standard_normal((segments, entries)) * np.linspace(2, 0.01, segments)[:, np.newaxis]
        tables = tables.astype(np.float32)
        rounded, step, bias = kernels.round_tables(tables)
        low = tables.min(axis=1, keepdims=True)
        assert step == pytest.approx((tables.max(axis=1) - low[:, 0]).max() / 255, rel=1e-5)
        assert bias == pytest.approx(low.sum(dtype=np.float64), rel=1e-5)
        steps = np.floor((tables - low) / step + 0.5).astype(np.int64)
        got = rounded.astype(np.int64)
        near = laid_out(np.clip(steps, 0, 255).astype(np.uint8)[np.newaxis])[0].astype(np.int64)
        assert (np.abs(got - near) <= 1).all()  # halves may go either way
        assert np.mean(got != near) < 0.01
        assert got.max() == 255


def test_tables_of_one_value_round_to_zero() -> None:
    for value in (0.0, -3.5, 1e-40):
        rounded, step, bias = kernels.round_tables(np.full((5, 16), value, np.float32))
        assert not rounded.any()
        assert step == 0
        assert bias == pytest.approx(5 * value)


def test_tables_beyond_float_round_to_something_finite() -> None:
    tables = np.zeros((256, 16), np.float32)
    tables[::3, ::5] = np.inf
    tables[1::3, ::5] = -np.inf
    tables[2::3, ::5] = np.nan
    tables[4, 4] = 3e38
    _, step, bias = kernels.round_tables(tables)
    with np.errstate(over="raise"):
        assert np.isfinite(np.float32(-2 * step) * np.float32(65280) + np.float32(-2 * bias))


def random_books(bits: int, ends: tuple[int, ...], rows: int) -> tuple[Array, Array, list[Array]]:
    """Points (rows, dims), and codebooks both flat and one by one."""
    generator = np.random.default_rng(rows)
    points = generator.standard_normal((rows, ends[-1])).astype(np.float32)
    widths = np.diff((0, *ends))
    books = [generator.standard_normal((1 << bits, width)).astype(np.float32) for width in widths]
    return points, np.concatenate([book.ravel() for book in books]), books


def segments_of(points: Array, ends: tuple[int, ...]) -> list[Array]:
    return np.split(points, ends[:-1], axis=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", [4, 8])
def test_each_segment_is_encoded_by_its_nearest_entry(bits: int, layout: str) -> None:
    ends = LAYOUTS[layout]
    for rows in (1, 63, 64, 200):
        points, flat, books = random_books(bits, ends, rows)
        codes = _core.encode_segments(points, np.array(ends, np.int32), bits, flat, 1)
        assert codes.shape == (rows, len(ends))
        for segment, (part, book) in enumerate(zip(segments_of(points, ends), books, strict=True)):
            squared = ((part[:, np.newaxis].astype(np.float64) - book) ** 2).sum(axis=2)
            chosen = np.take_along_axis(squared, codes[:, [segment]].astype(int), axis=1)[:, 0]
            assert (chosen <= squared.min(axis=1) + 1e-5 * (1 + squared.max(axis=1))).all()
        assert np.array_equal(_core.encode_segments(points, np.array(ends, np.int32), bits, flat, 3), codes)


@pytest.mark.parametrize("bits", [4, 8])
def test_equal_entries_are_named_by_the_smaller_number(bits: int) -> None:
    points, _, books = random_books(bits, (3, 5), 100)
    half = 1 << (bits - 1)
    for book in books:
        book[half:] = book[:half]
    flat = np.concatenate([book.ravel() for book in books])
    assert (_core.encode_segments(points, np.array([3, 5], np.int32), bits, flat, 1) < half).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_segment_sums_add_the_rows_of_each_entry_in_order(bits: int) -> None:
    ends = LAYOUTS["mixed"]
    points, _, _ = random_books(bits, ends, 300)
    codes = np.random.default_rng(2).integers(0, (1 << bits) - 1, (300, len(ends))).astype(np.uint8)
    for threads in (1, 4):
        sums, counts = _core.sum_segments(points, codes, np.array(ends, np.int32), bits, threads)
        twins = []
        for segment, part in enumerate(segments_of(points, ends)):
            twin = np.zeros((1 << bits, part.shape[1]), np.float32)
            np.add.at(twin, codes[:, segment], part)
            twins.append(twin.ravel())
            assert np.array_equal(counts[segment], np.bincount(codes[:, segment], minlength=1 << bits))
        assert np.array_equal(sums, np.concatenate(twins))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("segments", [1, 2, 5, 8])
def test_blocks_hold_the_codes_and_lists_start_new_ones(segments: int, bits: int) -> None:
    for rows in (1, 15, 16, 17, 100):
        codes = np.random.default_rng(rows).integers(0, 1 << bits, (rows, segments)).astype(np.uint8)
        lists = np.array([0, rows // 3, rows // 3, rows // 2, rows], np.int64)
        twin = np.concatenate([blocked(codes[a:b], bits) for a, b in itertools.pairwise(lists) if a < b])
        for threads in (1, 3):
            assert np.array_equal(_core.pack_table_blocks(codes, bits, lists, threads), twin)


@pytest.mark.parametrize("dims", [1, 15, 64, 65])
@pytest.mark.parametrize("columns", [1, 16, 31, 32, 33, 100])
def test_rows_times_matrix(columns: int, dims: int) -> None:
    generator = np.random.default_rng(columns)
    rows = generator.standard_normal((137, dims)).astype(np.float32)
    matrix = generator.standard_normal((dims, columns)).astype(np.float32)
    product = _core.multiply_rows(rows, matrix, 1)
    np.testing.assert_allclose(product, rows.astype(np.float64) @ matrix, rtol=0, atol=1e-5 * dims)
    assert np.array_equal(_core.multiply_rows(rows, matrix, 3), product)
    for row in range(9):  # nor does a row depend on those around it
        assert np.array_equal(_core.multiply_rows(rows[row : row + 1], matrix, 1)[0], product[row])


def test_a_wide_matrix_is_multiplied_in_several_passes() -> None:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((3, 700)).astype(np.float32)
    matrix = generator.standard_normal((700, 500)).astype(np.float32)  # passes of 192 columns at 700 dims
    np.testing.assert_allclose(_core.multiply_rows(rows, matrix, 2), rows.astype(np.float64) @ matrix, atol=1e-3)
