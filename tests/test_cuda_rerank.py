"""Does the rerank of csrc/cuda keep and order what plain numpy does, stage by stage?

The emulator runs them, and a GPU where there is one.
"""

from __future__ import annotations

import cuda_search as cuda
import numpy as np
import pytest
from cuda_emulator.emulator import ORDERS
from cuda_search import AnyDevice, Array, Loaded, Stored, small_integers

METRICS = ["l2", "ip", "cosine"]
Stages = list[tuple[int, int, bool]]


def distances_of(metric: str, keys: Array, query: Array) -> Array:
    """What the query itself adds to its keys."""
    squared = float((query.astype(np.float64) ** 2).sum())
    if metric == "l2":
        return np.maximum(0, keys + np.float32(squared))
    if metric == "ip":
        return keys
    return (1 + keys.astype(np.float64) / np.sqrt(squared)).astype(np.float32) if squared else np.ones_like(keys)


def reranked(
    values: Array, queries: Array, metric: str, scan_dims: int, stages: Stages, shortlists: Array, ids: Array, k: int
) -> tuple[Array, Array]:
    """Each stage keeps the nearest so far, equal ones by their place in the shortlist, and measures at its dims."""
    distances = np.full((len(queries), k), np.inf, np.float32)
    nearest_ids = np.full((len(queries), k), -1, np.int64)
    for query, shortlist in enumerate(shortlists):
        kept = shortlist[shortlist >= 0]
        keys = cuda.keys(values, queries, metric, scan_dims)[query]
        places = np.arange(len(kept))
        dims = scan_dims
        for dims, keep, _ in stages:
            places = places[:keep]
            keys = cuda.keys(values, queries, metric, dims)[query]
            places = places[np.lexsort((places, keys[kept[places]]))]
        rows = kept[places[:k]]
        found = distances_of(metric, keys[rows], queries[query, :dims])
        order = np.lexsort((ids[rows], found))
        distances[query, : len(rows)], nearest_ids[query, : len(rows)] = found[order], ids[rows[order]]
    return distances, nearest_ids


def shortlisted(values: Array, queries: Array, metric: str, dims: int, count: int) -> tuple[Array, Array]:
    """(candidates, rows) of the scan that a rerank follows."""
    keys, rows = cuda.nearest(cuda.keys(values, queries, metric, dims), count)
    return cuda.packed(keys, rows), rows


def assert_reranked(found: tuple[Array, Array], twin: tuple[Array, Array], metric: str) -> None:
    if metric == "cosine":  # the dot is recovered from a rounded key
        np.testing.assert_allclose(found[0], twin[0], rtol=1e-5, atol=1e-6)
        clear = np.ones_like(twin[0], dtype=bool)
        clear[:, 1:] &= np.diff(twin[0], axis=1) > 1e-5
        clear[:, :-1] &= np.diff(twin[0], axis=1) > 1e-5
        clear[:, -1] = False  # what comes next is not known
        assert clear.any()
        np.testing.assert_array_equal(found[1][clear], twin[1][clear])
        return
    np.testing.assert_array_equal(found[0], twin[0])
    np.testing.assert_array_equal(found[1], twin[1])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_incremental_rerank_equals_distances_from_scratch_in_any_order(
    loaded: Loaded, device: AnyDevice, kind: str, metric: str, order: str
) -> None:
    rng = np.random.default_rng(6)
    rows, queries = small_integers(rng, (120, 100)), small_integers(rng, (2, 100))
    stored = Stored.of(loaded[0], device, rows, {16: kind, 64: kind, 100: kind})
    ids = rng.permutation(120).astype(np.int64) * 10**12
    stages = [(17, 30, False), (100, 12, False)]
    candidates, shortlist = shortlisted(stored.values, queries, metric, 8, 37)
    with loaded[1].order(order):
        found = stored.rerank(queries, metric, 8, stages, candidates, ids, 5)
    assert_reranked(found, reranked(stored.values, queries, metric, 8, stages, shortlist, ids, 5), metric)


@pytest.mark.parametrize(
    ("rows", "dims", "scan_dims", "stages", "count", "k"),
    [
        (1, 1, 1, [], 1, 1),
        (5, 16, 8, [(16, 100, False)], 3, 10),
        (300, 33, 16, [(33, 256, False)], 257, 300),
        (1200, 40, 3, [(5, 1024, False), (17, 500, False), (40, 77, False)], 1024, 64),
        (60, 2048, 64, [(1999, 33, False), (2048, 3, False)], 50, 10),
    ],
)
def test_rerank_equals_twin_at_odd_sizes(
    loaded: Loaded, device: AnyDevice, rows: int, dims: int, scan_dims: int, stages: Stages, count: int, k: int
) -> None:
    rng = np.random.default_rng(rows)
    vectors, queries = small_integers(rng, (rows, dims)), small_integers(rng, (1, dims))
    types = {min(dims, 20): "int8", dims: "float16"} if dims > 20 else {dims: "float16"}
    stored = Stored.of(loaded[0], device, vectors, types)
    ids = np.arange(rows, dtype=np.int64)[::-1].copy()
    candidates, shortlist = shortlisted(stored.values, queries, "l2", scan_dims, count)
    found = stored.rerank(queries, "l2", scan_dims, stages, candidates, ids, k)
    assert_reranked(found, reranked(stored.values, queries, "l2", scan_dims, stages, shortlist, ids, k), "l2")


@pytest.mark.parametrize("metric", METRICS)
def test_an_exact_stage_measures_what_a_rounded_scan_only_guessed(
    loaded: Loaded, device: AnyDevice, metric: str
) -> None:
    rng = np.random.default_rng(7)
    rows, queries = small_integers(rng, (50, 48)), small_integers(rng, (2, 48))
    stored = Stored.of(loaded[0], device, rows, {16: "int8", 48: "float16"})
    ids = np.arange(50, dtype=np.int64)
    keys, shortlist = cuda.nearest(cuda.keys(stored.values, queries, metric, 16), 20)
    rounded = np.sort(keys + rng.random(keys.shape).astype(np.float32), axis=1)
    stages = [(32, 20, False), (48, 20, True)]
    found = stored.rerank(queries, metric, 16, stages, cuda.packed(rounded, shortlist), ids, 10)
    assert_reranked(found, reranked(stored.values, queries, metric, 16, stages, shortlist, ids, 10), "cosine")


def test_a_query_without_candidates_finds_nothing(loaded: Loaded, device: AnyDevice) -> None:
    stored = Stored.of(loaded[0], device, np.ones((4, 16), np.float32), {16: "float16"})
    candidates = np.full((1, 3), cuda.NO_CANDIDATE)
    distances, ids = stored.rerank(
        np.ones((1, 16), np.float32), "l2", 8, [(16, 3, False)], candidates, np.arange(4, dtype=np.int64), 2
    )
    assert distances.tolist() == [[np.inf, np.inf]]
    assert ids.tolist() == [[-1, -1]]


def test_equal_distances_are_ordered_by_id(loaded: Loaded, device: AnyDevice) -> None:
    stored = Stored.of(loaded[0], device, np.ones((6, 8), np.float32), {8: "float32"})
    queries, ids = np.ones((1, 8), np.float32), np.array([5, -7, 2**40, 0, 9, 1], np.int64)
    candidates, _ = shortlisted(stored.values, queries, "ip", 8, 6)
    distances, found = stored.rerank(queries, "ip", 8, [], candidates, ids, 6)
    assert found.tolist() == [[-7, 0, 1, 5, 9, 2**40]]
    assert (distances == -8).all()


def test_more_stages_than_the_device_takes_are_refused(loaded: Loaded, device: AnyDevice) -> None:
    stored = Stored.of(loaded[0], device, np.ones((4, 16), np.float32), {16: "float16"})
    with pytest.raises(ValueError, match=r"9 stages of a rerank; the device takes up to 8"):
        stored.rerank(
            np.ones((1, 16), np.float32),
            "l2",
            8,
            [(16, 3, False)] * 9,
            np.zeros((1, 3), np.uint64),
            np.zeros(4, np.int64),
            2,
        )
