"""Does everything that makes an index's arrays give what its numpy twin gives? test_every_isa.py repeats this."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twins

from adanns import _core

DIMS = (1, 15, 16, 17, 100)
COUNTS = (1, 7, 16, 33, 1500)  # work is cut into tasks of 1024 rows


def plane_of(rows: Any, first_dim: int = 0, filler: float = 0) -> tuple[int, int, Any, Any, Any]:
    """A plane as the engine takes it: columns padded to 16; int8 is quantised."""
    dims = rows.shape[1]
    width = -(-dims // 16) * 16
    padding = ((0, 0), (0, width - dims))
    if rows.dtype == np.int8:
        scales, offsets = np.linspace(0.5, 2, dims, dtype=np.float32), np.linspace(-1, 1, dims, dtype=np.float32)
        return first_dim, dims, np.pad(rows, padding), scales, offsets
    return first_dim, dims, np.pad(rows, padding, constant_values=filler), None, None


def random_rows(count: int, dims: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, dims)).astype(np.float32)


@pytest.mark.parametrize("dims", DIMS)
def test_assign_finds_the_nearest_centroid(dims: int) -> None:
    rows = random_rows(1500, dims)
    for clusters in (1, 15, 16, 17, 33, 100):
        centroids = random_rows(clusters, dims, seed=1)
        for by_dot in (False, True):
            nearest, distances = _core.assign(rows, centroids, by_dot, True, 2)
            twin = twins.distances(centroids, rows, "ip" if by_dot else "l2")
            chosen = np.take_along_axis(twin, nearest[:, np.newaxis].astype(int), axis=1)[:, 0]
            assert (chosen <= twin.min(axis=1) + 1e-5 * (1 + np.abs(twin).max(axis=1))).all()
            squared = twins.distances(centroids, rows, "l2")[np.arange(1500), nearest]
            np.testing.assert_allclose(distances, squared, rtol=1e-5)
        assert _core.assign(rows, centroids, False, False, 1)[1].size == 0


def test_assign_over_many_passes_of_centroids() -> None:
    centroids = random_rows(1700, 100)  # passes of 640 at 100 dims
    rows = np.concatenate([centroids[::-1], centroids[:5]]) + np.float32(1e-3)
    nearest, _ = _core.assign(rows, centroids, False, True, 2)
    assert (nearest == np.concatenate([np.arange(1700)[::-1], np.arange(5)])).all()


def test_assign_gives_ties_to_the_smaller_index() -> None:
    centroids = np.tile(random_rows(40, 17), (50, 1))  # 2000 centroids, 50 copies of each of 40, over several passes
    rows = random_rows(333, 17, seed=2)
    nearest, _ = _core.assign(rows, centroids, False, False, 1)
    assert (nearest < 40).all()
    assert (nearest == _core.assign(rows, centroids[:40], False, False, 1)[0]).all()


def test_assign_measures_distances_near_a_far_centroid() -> None:
    centroids = np.full((1, 16), 1000, np.float32)
    rows = centroids + np.linspace(0, 0.5, 9, dtype=np.float32)[:, np.newaxis]
    distances = _core.assign(rows, centroids, False, True, 1)[1]
    np.testing.assert_allclose(distances, ((rows - centroids) ** 2).sum(axis=1), rtol=1e-6)


def test_assign_does_not_depend_on_threads_or_on_the_rows_around() -> None:
    rows, centroids = random_rows(2100, 33), random_rows(50, 33, seed=1)
    nearest, distances = _core.assign(rows, centroids, False, True, 1)
    for threads in (2, 3, 7):
        others = _core.assign(rows, centroids, False, True, threads)
        assert np.array_equal(others[0], nearest)
        assert np.array_equal(others[1], distances)
    for first in range(12):
        some = rows[first : first + 9]
        assert np.array_equal(_core.assign(some, centroids, False, True, 1)[1], distances[first : first + 9])


@pytest.mark.parametrize("threads", [1, 2, 7, 100])
def test_sum_clusters_adds_rows_in_order(threads: int) -> None:
    rows = random_rows(900, 17)
    nearest = np.random.default_rng(3).integers(0, 23, 900).astype(np.int32)
    nearest[nearest == 5] = 6  # one cluster is empty
    sums, counts = _core.sum_clusters(rows, nearest, 23, threads)
    twin = np.zeros((23, 17), np.float32)
    np.add.at(twin, nearest, rows)
    assert np.array_equal(sums, twin)
    assert np.array_equal(counts, np.bincount(nearest, minlength=23))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dims", DIMS)
def test_first_not_finite_names_the_first_row(dims: int, dtype: type) -> None:
    rows = random_rows(2500, dims).astype(dtype)
    rows[0] = 0
    rows[-1] = np.finfo(dtype).max
    assert _core.first_not_finite(rows, 2) == -1
    for bad in (np.nan, np.inf, -np.inf):
        for first in (0, 3, 1024, 2499):
            spoilt = rows.copy()
            spoilt[first, dims // 2] = spoilt[min(first + 1030, 2499), dims - 1] = bad
            for threads in (1, 3):
                assert _core.first_not_finite(spoilt, threads) == first
            assert _core.first_not_finite(spoilt[first:][::2], 1) == 0


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("dims", DIMS)
def test_packing_writes_each_band_and_zeros_behind_it(dims: int, half: bool) -> None:
    for count in COUNTS:
        vectors = random_rows(count, dims)
        vectors = vectors.astype(np.float16) if half else vectors
        cut = (dims + 1) // 2
        first = plane_of(np.full((count + 3, cut), 9, np.float16), filler=9)
        planes = [first] if cut == dims else [first, plane_of(np.full((count + 3, dims - cut), 9, np.float32), cut, 9)]
        assert _core.pack_rows(vectors, False, planes, 2, 2) == ("", -1)
        for first_dim, band, rows, _, _ in planes:
            twin = vectors[:, first_dim : first_dim + band].astype(rows.dtype)
            assert np.array_equal(rows[2:-1, :band], twin)
            assert (rows[2:-1, band:] == 0).all()
            assert (rows[[0, 1, -1]] == 9).all()  # the rows before and after


def test_packing_reads_rows_that_lie_apart() -> None:
    wide = random_rows(50, 40)
    plane = plane_of(np.zeros((25, 17), np.float32))
    assert _core.pack_rows(wide[::2, 3:20], False, [plane], 0, 1) == ("", -1)
    assert np.array_equal(plane[2][:, :17], wide[::2, 3:20])


@pytest.mark.parametrize("dims", DIMS)
def test_packing_normalises_whole_rows(dims: int) -> None:
    vectors = random_rows(33, dims) * 10 ** np.linspace(-40, 37, 33, dtype=np.float32)[:, np.newaxis]
    vectors[4] = 0
    plane = plane_of(np.full((33, dims), 9, np.float32))
    assert _core.pack_rows(vectors, True, [plane], 0, 1) == ("", -1)
    np.testing.assert_allclose(plane[2][:, :dims], twins.unit(vectors), rtol=1e-6, atol=1e-7)


def test_packing_names_the_first_row_it_cannot_keep() -> None:
    vectors = random_rows(3000, 20)
    vectors[[1300, 2600], 7] = -65505
    vectors[2000, 19] = np.nan
    for threads in (1, 3):
        for dtype, expected in ((np.float16, ("beyond float16", 1300)), (np.float32, ("not finite", 2000))):
            plane = plane_of(np.zeros((3000, 20), dtype))
            assert _core.pack_rows(vectors, False, [plane], 0, threads) == expected
        halves = plane_of(np.zeros((3000, 20), np.float16))
        assert _core.pack_rows(vectors[:2000], True, [halves], 0, threads) == ("", -1)  # normalised rows always fit
    vectors[[1300, 2600], 7] = 65504
    assert _core.pack_rows(vectors[:2000], False, [plane_of(np.zeros((2000, 20), np.float16))], 0, 1) == ("", -1)


def test_the_first_bad_row_is_named_even_where_another_thread_finds_its_own_sooner() -> None:
    vectors = random_rows(6 * 1024, 20)
    vectors[[2047, 2048, 3072, 4096], 0] = np.nan  # the last row of a task, and the first ones of those that follow
    for _ in range(30):
        plane = plane_of(np.zeros((6 * 1024, 20), np.float32))
        assert _core.pack_rows(vectors, False, [plane], 0, 4) == ("not finite", 2047)
        assert _core.first_not_finite(vectors, 4) == 2047


def mixed_planes(count: int) -> tuple[list[Any], Any]:
    """Planes of all number types, and the values they stand for."""
    generator = np.random.default_rng(count)
    codes = generator.integers(-127, 128, (count, 20)).astype(np.int8)
    parts = [random_rows(count, 17), random_rows(count, 30, seed=1).astype(np.float16)]
    planes = [plane_of(parts[0], 0, filler=9), plane_of(parts[1], 17, filler=9), plane_of(codes, 47)]
    values = planes[2][4] + planes[2][3] * codes.astype(np.float32)
    return planes, np.concatenate([*[part.astype(np.float32) for part in parts], values], axis=1)


@pytest.mark.parametrize("dims", [1, 16, 17, 18, 33, 47, 48, 67])
def test_prefixes_are_read_from_planes_of_all_types(dims: int) -> None:
    for count in COUNTS:
        planes, values = mixed_planes(count)
        assert np.array_equal(_core.read_prefix(planes, None, 0, count, dims, False, 2), values[:, :dims])
        half = count // 2
        assert np.array_equal(_core.read_prefix(planes, None, half, count - half, dims, False, 1), values[half:, :dims])
        rows = np.random.default_rng(1).integers(0, count, 40)
        assert np.array_equal(_core.read_prefix(planes, rows, 0, 0, dims, False, 1), values[rows, :dims])
        normalised = _core.read_prefix(planes, None, 0, count, dims, True, 2)
        np.testing.assert_allclose(normalised, twins.unit(values[:, :dims]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_row_terms_are_squared_or_inverse_norms_of_each_rung(metric: str) -> None:
    ladder = np.array([1, 16, 17, 40, 67], np.int32)
    for count in COUNTS:
        planes, values = mixed_planes(count)
        planes[0][2][0] = 0  # a zero prefix
        values[0, :17] = 0
        terms = np.full((5, count + 16), -1, np.float32)
        _core.row_terms(planes, count, metric, ladder, terms, 2)
        squared = np.array([(values[:, :dims].astype(np.float64) ** 2).sum(axis=1) for dims in ladder])
        inverse = np.where(squared > 0, 1 / np.sqrt(np.where(squared > 0, squared, 1)), 0)
        np.testing.assert_allclose(terms[:, :count], squared if metric == "l2" else inverse, rtol=1e-6)
        assert (terms[:, count:] == -1).all()


def rows_to_quantise(count: int, dims: int) -> Any:
    rows = random_rows(count, dims) * np.linspace(0.1, 3, dims, dtype=np.float32)
    rows[:, dims // 2] = 2.5  # a constant dimension
    return rows


@pytest.mark.parametrize("dims", DIMS)
def test_quantising_spreads_each_dimension_over_its_extent(dims: int) -> None:
    for count in COUNTS:
        rows = rows_to_quantise(count, dims)
        out = np.full((count, -(-dims // 16) * 16), 9, np.int8)
        scales, offsets = _core.quantise_plane(plane_of(rows, filler=99)[2], dims, out, 2)
        codes, twin_scales, twin_offsets = twins.quantised(rows)
        assert np.array_equal(out[:, :dims], codes)
        assert (out[:, dims:] == 0).all()
        assert np.array_equal(scales, twin_scales)
        assert np.array_equal(offsets, twin_offsets)
        assert (np.abs(offsets + scales * codes - rows) <= scales / 2 + 1e-6).all()


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("dims", DIMS)
def test_code_blocks_hold_the_codes_and_lists_start_new_blocks(dims: int, normalise: bool) -> None:
    for count in COUNTS:
        rows = rows_to_quantise(count, dims)
        lists = np.array([0, count // 3, count // 3, count // 2, count], np.int64)  # one is empty
        block_counts = -(-np.diff(lists) // 16)
        blocks = np.zeros((block_counts.sum(), -(-dims // 4) * 64), np.uint8)
        scales, offsets = _core.encode_blocks([plane_of(rows)], dims, normalise, lists, blocks, 2)
        source = _core.read_prefix([plane_of(rows)], None, 0, count, dims, normalise, 1)
        codes, twin_scales, twin_offsets = twins.quantised(source)
        assert np.array_equal(scales, twin_scales)
        assert np.array_equal(offsets, twin_offsets)
        unblocked = twins.unblocked(blocks)
        expected = np.zeros_like(unblocked)  # padding rows and dims are code 0
        for begin, end, block in zip(lists, lists[1:], np.cumsum(block_counts) - block_counts, strict=False):
            expected[16 * block : 16 * block + end - begin, :dims] = codes[begin:end]
        assert np.array_equal(unblocked, expected)


@pytest.mark.parametrize("shape", [(2100,), (2100, 3), (2100, 16)])
def test_permuting_puts_row_order_i_at_i(shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).integers(0, 1 << 30, shape)
    order = np.random.default_rng(1).permutation(2100)
    out = np.zeros_like(rows)
    _core.permute_rows(rows, order, out, 3)
    assert np.array_equal(out, rows[order])
