"""Do the scans of csrc/cuda find what plain numpy finds, whatever the order of threads?

The emulator runs them, and a GPU where there is one.
"""

from __future__ import annotations

import cuda_search as cuda
import numpy as np
import pytest
from cuda_emulator.emulator import ORDERS
from cuda_search import AnyDevice, Loaded, Stored, small_integers

METRICS = ["l2", "ip", "cosine"]
# Number types by the plane's last dim: one plane, several, and several of different types.
TYPES = {
    "float32": {40: "float32"},
    "float16": {16: "float16", 40: "float16"},
    "int8": {40: "int8"},
    "mixed": {8: "int8", 21: "float16", 40: "float32"},
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("types", TYPES)
def test_scan_of_all_rows_equals_twin_in_any_order(
    loaded: Loaded, device: AnyDevice, types: str, metric: str, order: str
) -> None:
    rng = np.random.default_rng(1)
    rows, queries = small_integers(rng, (300, 40)), small_integers(rng, (5, 40))
    stored = Stored.of(loaded[0], device, rows, TYPES[types])
    with loaded[1].order(order):
        found = stored.scan_all(queries, metric, dims=37, keep=10)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, metric, 37), 10)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [5, 20])  # a small tile of queries, and a large one
@pytest.mark.parametrize("types", TYPES)
def test_scan_on_tensor_cores_equals_twin_in_any_order(
    loaded: Loaded, device: AnyDevice, types: str, count: int, metric: str, order: str
) -> None:
    rng = np.random.default_rng(2)
    rows, queries = small_integers(rng, (150, 40)), small_integers(rng, (count, 40))
    stored = Stored.of(loaded[0], device, rows, TYPES[types])
    with loaded[1].order(order):
        found = stored.scan_all(queries, metric, dims=37, keep=10, tiles=True)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, metric, 37), 10)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("types", "metric"),
    [
        ({150: "float32"}, "l2"),
        ({150: "float16"}, "ip"),
        ({150: "int8"}, "cosine"),
        ({40: "int8", 99: "float16", 150: "float32"}, "cosine"),
    ],
)
def test_many_queries_of_long_vectors_equal_twin_in_any_order(
    loaded: Loaded, device: AnyDevice, types: dict[int, str], metric: str, order: str
) -> None:
    rng = np.random.default_rng(3)
    rows, queries = small_integers(rng, (300, 150)), small_integers(rng, (130, 150))
    stored = Stored.of(loaded[0], device, rows, types)
    with loaded[1].order(order):
        found = stored.scan_all(queries, metric, dims=139, keep=10, tiles=True)  # tiles of the largest size
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, metric, 139), 10)


@pytest.mark.parametrize("order", ["forward", "random-1"])
@pytest.mark.parametrize(
    ("count", "types", "metric"),
    [
        (5, {150: "float16"}, "l2"),  # small tiles, whose queries are copied again and again
        (20, {100: "float16"}, "cosine"),  # larger ones, whose queries stay
        (20, {40: "int8", 99: "float16", 150: "float32"}, "l2"),
        (130, {70: "float32"}, "ip"),  # two of them
        (130, {60: "int8", 150: "float16"}, "cosine"),  # the largest
        (257, {90: "float16"}, "ip"),
        (257, {160: "float16"}, "l2"),
    ],
)
def test_a_block_that_takes_tile_after_tile_equals_twin(
    loaded: Loaded, device: AnyDevice, count: int, types: dict[int, str], metric: str, order: str
) -> None:
    rng = np.random.default_rng(count)
    dims = max(types)
    rows, queries = small_integers(rng, (850, dims)), small_integers(rng, (count, dims))
    stored = Stored.of(loaded[0], device, rows, types)
    with loaded[1].order(order):
        found = stored.scan_all(queries, metric, dims - 1, keep=10, tiles=True, multiprocessors=1)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, metric, dims - 1), 10)


def test_many_queries_of_the_longest_vectors_equal_twin(loaded: Loaded, device: AnyDevice) -> None:
    rng = np.random.default_rng(15)
    rows, queries = small_integers(rng, (20, 4800)), small_integers(rng, (130, 4800))
    stored = Stored.of(loaded[0], device, rows, {4800: "float32"})  # too long for tiles of the largest size
    found = stored.scan_all(queries, "ip", 4800, keep=5, tiles=True)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, "ip", 4800), 5)


@pytest.mark.parametrize(("count", "dims"), [(20, 40), (130, 40), (130, 132)])
def test_tiles_find_what_is_within_the_bound_of_a_sample(
    loaded: Loaded, device: AnyDevice, count: int, dims: int
) -> None:
    rng = np.random.default_rng(14)
    rows, queries = small_integers(rng, (2300, dims)), small_integers(rng, (count, dims))
    stored = Stored.of(loaded[0], device, rows, {dims: "float16"})
    found = stored.scan_all(queries, "l2", dims, keep=10, tiles=True, multiprocessors=1)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, "l2", dims), 10)


ODD_SIZES: list[tuple[int, int, int, dict[int, str]]] = [
    (0, 8, 3, {8: "float16"}),
    (1, 1, 1, {1: "float32"}),
    (31, 15, 5, {15: "float16"}),
    (33, 16, 40, {16: "int8"}),
    (257, 17, 10, {17: "float16"}),
    (65, 31, 64, {1: "int8", 2: "float32", 31: "int8"}),
    (65, 31, 64, {1: "int8", 2: "float16", 31: "int8"}),
    (600, 64, 64, {64: "float16"}),
    (1100, 33, 1024, {33: "int8"}),
    (2300, 5, 16, {5: "float16"}),  # more rows than are all collected: a sample bounds them
    (2500, 7, 40, {7: "int8"}),  # all are collected, and more than are copied to select from
    (40, 2048, 7, {64: "int8", 256: "float16", 1000: "float16", 2048: "float32"}),
    (40, 2048, 7, {64: "int8", 256: "float16", 1000: "float16", 2048: "float16"}),
    (34, 1999, 7, {2048: "float16"}),
]


@pytest.mark.parametrize(
    ("rows", "dims", "keep", "types", "tiles"),
    [(*size, tiles) for size in ODD_SIZES for tiles in (False, True)],
)
@pytest.mark.parametrize("count", [1, 3])
def test_scan_equals_twin_at_odd_sizes(
    loaded: Loaded,
    device: AnyDevice,
    rows: int,
    dims: int,
    keep: int,
    types: dict[int, str],
    tiles: bool,
    count: int,
) -> None:
    rng = np.random.default_rng(rows)
    vectors, queries = small_integers(rng, (rows, max(types))), small_integers(rng, (count, max(types)))
    stored = Stored.of(loaded[0], device, vectors, types)
    found = stored.scan_all(queries, "l2", dims, keep, tiles=tiles)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, "l2", dims), keep)


@pytest.mark.parametrize("order", ["forward", "random-1"])
@pytest.mark.parametrize("tiles", [False, True])
def test_queries_of_which_more_is_found_than_there_is_room_for_are_scanned_again(
    loaded: Loaded, device: AnyDevice, tiles: bool, order: str
) -> None:
    rng = np.random.default_rng(12)
    rows, queries = small_integers(rng, (500, 24)), small_integers(rng, (3, 24))
    rows[:, 0] = 0
    queries[1] = 0
    stored = Stored.of(loaded[0], device, rows, {24: "float16"})
    with loaded[1].order(order):
        found = stored.scan_all(queries, "l2", 24, 10, capacity=64, tiles=tiles)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, "l2", 24), 10)


def test_a_sample_that_misleads_costs_time_only(loaded: Loaded, device: AnyDevice) -> None:
    rows = np.zeros((2600, 8), np.float32)
    rows[:, 0] = 50 + np.arange(2600) % 7
    rows[1030:1250, 0] = np.arange(220) % 5  # all that is near, where a sample hardly looks
    stored, queries = Stored.of(loaded[0], device, rows, {8: "float16"}), np.zeros((2, 8), np.float32)
    found = stored.scan_all(queries, "l2", 8, 5, capacity=128)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, "l2", 8), 5)


def test_tensor_cores_are_near_for_normal_vectors(loaded: Loaded, device: AnyDevice) -> None:
    rng = np.random.default_rng(13)
    rows, queries = rng.standard_normal((200, 96), np.float32), rng.standard_normal((17, 96), np.float32)
    rows, queries[3] = rows.astype(np.float16).astype(np.float32), queries[3] * 1e-15
    queries[4] *= 1e15
    stored = Stored.of(loaded[0], device, rows, {96: "float16"})
    keys, found = cuda.unpacked(stored.scan_all(queries, "cosine", 96, 10, tiles=True))
    twin = cuda.keys(stored.values, queries, "cosine", 96)
    scale = np.linalg.norm(queries, axis=1, keepdims=True)
    np.testing.assert_allclose(keys / scale, np.take_along_axis(twin, found, axis=1) / scale, atol=2e-4)
    np.testing.assert_allclose(keys / scale, cuda.nearest(twin, 10)[0] / scale, atol=2e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_of_equal_rows_the_first_are_kept_in_any_order(loaded: Loaded, device: AnyDevice, order: str) -> None:
    rng = np.random.default_rng(2)
    rows = small_integers(rng, (3, 20))[rng.integers(0, 3, 700)]
    stored, queries = Stored.of(loaded[0], device, rows, {20: "float16"}), small_integers(rng, (2, 20))
    with loaded[1].order(order):
        found = stored.scan_all(queries, "l2", dims=20, keep=100)
    cuda.assert_equals_twin(found, cuda.keys(stored.values, queries, "l2", 20), 100)


def test_rows_whose_distance_is_beyond_float_are_not_found(loaded: Loaded, device: AnyDevice) -> None:
    rows = np.ones((5, 8), np.float32)
    rows[[1, 3]] = 3e38
    stored = Stored.of(loaded[0], device, rows, {8: "float32"})
    with np.errstate(over="ignore"):
        _, found = cuda.unpacked(stored.scan_all(np.ones((1, 8), np.float32), "l2", dims=8, keep=5))
    assert found.tolist() == [[0, 2, 4, -1, -1]]


def test_scan_of_normal_vectors_is_right_to_rounding(loaded: Loaded, device: AnyDevice) -> None:
    rng = np.random.default_rng(3)
    rows, queries = rng.standard_normal((200, 100), np.float32), rng.standard_normal((2, 100), np.float32)
    rows = rows.astype(np.float16).astype(np.float32)
    stored = Stored.of(loaded[0], device, rows, {64: "float16", 100: "float32"})
    keys, found = cuda.unpacked(stored.scan_all(queries, "cosine", dims=90, keep=10))
    twin = cuda.keys(stored.values, queries, "cosine", 90)
    np.testing.assert_allclose(keys, cuda.nearest(twin, 10)[0], rtol=1e-5)
    np.testing.assert_allclose(keys, np.take_along_axis(twin, found, axis=1), rtol=1e-5)


LISTS = [0, 5, 270, 1, 0, 64, 33]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("tiles", [False, True])
def test_scan_of_lists_equals_twin_in_any_order(
    loaded: Loaded, device: AnyDevice, tiles: bool, types: str, metric: str, order: str
) -> None:
    rng = np.random.default_rng(4)
    rows, queries = small_integers(rng, (sum(LISTS), 40)), small_integers(rng, (6, 40))
    stored = Stored.of(loaded[0], device, rows, TYPES[types])
    probes = np.stack([rng.permutation(len(LISTS))[:3] for _ in queries]).astype(np.int32)
    probes[0] = [0, 4, -1]  # empty lists and none
    probes[1:, 0] = 2  # a list that more queries probe than a block takes
    assert_lists_equal_twin(loaded, stored, LISTS, queries, probes, metric=metric, order=order, keep=10, tiles=tiles)


def assert_lists_equal_twin(
    loaded: Loaded,
    stored: Stored,
    sizes: list[int],
    queries: cuda.Array,
    probes: cuda.Array,
    *,
    metric: str,
    order: str,
    keep: int,
    dims: int = 37,
    capacity: int | None = None,
    tiles: bool = False,
) -> None:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    with loaded[1].order(order):
        found = stored.scan_lists(queries, metric, dims, keep, offsets, probes, capacity, tiles=tiles)
    keys = cuda.keys(stored.values, queries, metric, dims)
    keys[~cuda.probed(offsets, probes)] = np.inf
    cuda.assert_equals_twin(found, keys, keep)


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize(
    ("queries", "probes", "keep", "capacity"), [(1, 1, 3, None), (1, 5, 300, None), (9, 4, 64, None), (3, 4, 20, 32)]
)
def test_scan_of_many_small_lists_equals_twin(
    loaded: Loaded, device: AnyDevice, queries: int, probes: int, keep: int, capacity: int | None, tiles: bool
) -> None:
    rng = np.random.default_rng(5)
    sizes = rng.integers(0, 2, 1030).tolist()
    sizes[1029] = 300
    rows, asked = small_integers(rng, (sum(sizes), 40)), small_integers(rng, (queries, 40))
    chosen = np.stack([rng.permutation(1030)[:probes] for _ in range(queries)]).astype(np.int32)
    chosen[:, 0] = 1029
    stored = Stored.of(loaded[0], device, rows, TYPES["float16"])
    assert_lists_equal_twin(
        loaded,
        stored,
        sizes,
        asked,
        chosen,
        metric="l2",
        order="random-1",
        keep=keep,
        capacity=capacity,
        tiles=tiles,
    )


@pytest.mark.parametrize("order", ["forward", "random-1"])
@pytest.mark.parametrize(
    ("types", "metric"), [({64: "int8"}, "cosine"), ({300: "float16"}, "l2"), ({20: "float32", 300: "int8"}, "ip")]
)
def test_lists_that_many_queries_probe_equal_twin(
    loaded: Loaded, device: AnyDevice, types: dict[int, str], metric: str, order: str
) -> None:
    rng = np.random.default_rng(6)
    sizes, dims = [2500, 300, 0, 140], max(types)  # a sample bounds the first one's rows
    rows, queries = small_integers(rng, (sum(sizes), dims)), small_integers(rng, (35, dims))
    stored = Stored.of(loaded[0], device, rows, types)
    probes = np.stack([rng.permutation(4)[:2] for _ in queries]).astype(np.int32)
    assert_lists_equal_twin(
        loaded, stored, sizes, queries, probes, metric=metric, order=order, keep=10, dims=dims - 3, tiles=True
    )


def test_elements_beyond_2_to_the_31_are_found(loaded: Loaded, device: AnyDevice) -> None:
    count = 2**31 // 16 + 1000
    plane = np.zeros((count, 16), np.int8)  # pages that nobody touches take no memory
    plane[-3] = 1
    planes = loaded[0].Planes(
        [("int8", device.lend(plane), 16, 0, 16, ones := device.lend(np.ones(16, np.float32)), ones, 1)]
    )
    stored = Stored(loaded[0], device, np.empty((count, 0), np.float32), planes)
    offsets = np.array([0, count - 40, count], np.int64)
    found = stored.scan_lists(np.ones((1, 16), np.float32), "ip", 16, 2, offsets, np.array([[1]], np.int32))
    keys, rows = cuda.unpacked(found)
    assert rows.tolist() == [[count - 3, count - 40]]
    assert keys.tolist() == [[-32, -16]]


def test_what_kernels_cannot_do_is_refused(loaded: Loaded, device: AnyDevice) -> None:
    module = loaded[0]
    stored = Stored.of(module, device, np.ones((4, 16), np.float32), {16: "float32"})
    with pytest.raises(ValueError, match=r"shortlist of 1025 candidates; the device keeps 1 to 1024"):
        stored.scan_all(np.ones((1, 16), np.float32), "ip", dims=16, keep=1025)
    with pytest.raises(ValueError, match=r"metric hamming is unknown; choose one of l2, ip, cosine"):
        stored.scan_all(np.ones((1, 16), np.float32), "hamming", dims=16, keep=1)
    with pytest.raises(ValueError, match=r"no multiple of 16 bytes"):
        module.Planes([("int8", 8, 16, 0, 16, 0, 0, 0)])
    with pytest.raises(ValueError, match=r"17 elements apart, no multiple of 16: pad them"):
        module.Planes([("int8", 16, 17, 0, 16, 0, 0, 0)])
    with pytest.raises(ValueError, match=r"number type int4 is unknown; choose one of float32, float16, int8"):
        module.Planes([("int4", 16, 16, 0, 16, 0, 0, 0)])
