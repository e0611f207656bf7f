"""Does a filter leave exactly the rows that it allows, however few or many, given in any form, in any scan?"""

from __future__ import annotations

import ctypes
import functools
import gc
from typing import Any

import numpy as np
import pytest
import twins
from recipes import DIMS, METRICS, RECIPES, ROWS, assert_same, built, ids_of, rows_of

import adanns

QUERIES = rows_of(7, seed=1)
LARGE, LARGE_DIMS = 40_000, 24  # rows that threads share, and lists of many blocks
SHARES = [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99]

every_recipe = pytest.mark.parametrize("name", RECIPES)


class Predicate:
    """A function compiled elsewhere, as numba's cfuncs are: `address` is all that counts. This one is Python's own."""

    def __init__(self, function: Any) -> None:
        self._held = ctypes.CFUNCTYPE(ctypes.c_int8, ctypes.c_int64)(function)
        self.address = int(ctypes.cast(self._held, ctypes.c_void_p).value or 0)


def forms(ids: Any) -> dict[str, Any]:
    """The same allowed ids, said in many ways; ids must be small."""
    mask = np.zeros(ids.max() + 1, np.bool_)
    mask[ids] = True
    allowed = set(ids.tolist())
    return {
        "array": ids,
        "array of others too": np.concatenate([ids, [-5, 1 << 50], ids]),
        "unsigned": ids.astype(np.uint64),
        "list": ids.tolist(),
        "set": allowed,
        "mask": mask,
        "list of bools": mask.tolist(),
        "packed": adanns.Filter.packed(np.packbits(mask, bitorder="little")),
        "predicate": Predicate(lambda identity: identity in allowed),
        "filter": adanns.Filter(ids),
    }


def test_every_form_of_a_filter_means_the_same() -> None:
    index = adanns.FunnelIndex(25).build(rows_of(200), np.arange(200)[::-1] * 3)
    index.add(rows_of(50, seed=4), np.arange(50) * 3 + 1)
    allowed = np.array([0, 3, 9, 300, 4, 148, 77, 597])
    expected = index.search(QUERIES, 10, filter=allowed)
    assert (expected.counts == 7).all()
    assert set(expected.ids[:, :7].ravel().tolist()) == {0, 3, 9, 300, 4, 148, 597}
    for what, form in forms(allowed).items():
        assert_same(index.search(QUERIES, 10, filter=form), expected), what
    assert (index.search(QUERIES, 5, filter=range(0, 600, 3)).ids % 3 == 0).all()
    assert index.search(QUERIES, 5, filter=[]).counts.sum() == 0
    assert index.search(QUERIES, 5, filter=np.zeros(0, np.bool_)).counts.sum() == 0
    assert_same(index.search(QUERIES, 5, filter=np.ones(600, np.bool_)), index.search(QUERIES, 5))


def test_a_numba_cfunc_is_a_filter() -> None:
    numba = pytest.importorskip("numba")  # which may come later than a new Python
    index: Any = adanns.ExactIndex().build(rows_of(100))
    for signature in ("int8(int64)", "boolean(int64)"):
        even = numba.cfunc(signature)(lambda identity: identity % 2 == 0)
        assert_same(index.search(QUERIES, 9, filter=even), index.search(QUERIES, 9, filter=range(0, 100, 2)))


@pytest.mark.parametrize("metric", METRICS)
@every_recipe
def test_a_filtered_search_that_leaves_nothing_out_is_exact(name: str, metric: str) -> None:
    recipe, index = RECIPES[name], built(name, metric, "mixed")
    twin = twins.distances(twins.stored(rows_of(ROWS), metric, index.parameters.precision), QUERIES, metric)
    generator = np.random.default_rng(0)
    for share in (0.005, 0.05, 0.2, 0.5, 0.97):
        allowed = generator.random(ROWS) < share
        for k in (1, 10, ROWS):
            result = recipe.exhaustive(index, QUERIES, k, filter=ids_of(ROWS)[allowed])
            twins.assert_nearest(result, twin[:, allowed], ids_of(ROWS)[allowed], 1e-5)


@every_recipe
def test_results_come_as_long_as_there_are_any(name: str) -> None:
    """With one probe and the default rerank, whatever the filter."""
    recipe, index = RECIPES[name], built(name)
    generator = np.random.default_rng(1)
    for share in (0.004, 0.02, 0.1, 0.4, 0.9):
        allowed = ids_of(ROWS)[generator.random(ROWS) < share]
        result = recipe.search(index, QUERIES, 20, filter=allowed, **({"probes": 1} if recipe.all_lists else {}))
        assert (result.counts == min(20, len(allowed))).all()
        assert set(result.ids[result.ids >= 0].tolist()) <= set(allowed.tolist())
        assert (result.distances[:, 1:] >= result.distances[:, :-1]).all()
        stats = result.stats
        assert all(stage.kept <= stage.read for stage in stats)
        assert next(stage for stage in stats if stage.stage == "scan").read >= result.counts.sum()


LARGE_INDICES = {
    "exact": lambda: adanns.ExactIndex(metric="l2", ladder=(8, 24)),
    "funnel": lambda: adanns.FunnelIndex(8, ladder=(8, 24)),
    "funnel at a longer prefix": lambda: adanns.FunnelIndex(24, ladder=(8, 24), precision="int8"),
    "ivf": lambda: adanns.IVFIndex(8, 24, 40, ladder=(8, 24), iterations=2, points_per_list=20),
    "opq": lambda: adanns.OPQIndex(24, 12, bits=4, ladder=(8, 24), rotations=1, training_rows=1000),
    "ivfopq": lambda: adanns.IVFOPQIndex(
        8, 24, 40, 12, bits=8, ladder=(8, 24), rotations=1, training_rows=1000, iterations=2, points_per_list=20
    ),
}


@functools.cache
def large(name: str) -> Any:
    """Three segments, a tenth of the rows removed."""
    rows = rows_of(LARGE, LARGE_DIMS)
    index = LARGE_INDICES[name]().build(rows[:30_000], threads=2)
    index.add(rows[30_000:38_000], threads=2).add(rows[38_000:], threads=2)
    index.remove(range(3, LARGE, 10))
    return index


def all_kept(name: str) -> dict[str, Any]:
    if name == "exact":
        return {}
    lists = {"probes": 40} if "ivf" in name else {}
    return {"rerank": [(24, LARGE)], **lists}


@pytest.mark.parametrize("name", LARGE_INDICES)
def test_any_selectivity_is_exact_in_every_scan_on_any_threads(name: str) -> None:
    index, queries = large(name), rows_of(5, LARGE_DIMS, seed=1)
    stored = twins.stored(rows_of(LARGE, LARGE_DIMS), index.parameters.metric, "float32")
    twin = twins.distances(stored, queries, index.parameters.metric)
    live = np.arange(LARGE) % 10 != 3
    tolerance = (
        0.02 if index.parameters.precision == "int8" else 1e-3 if name != "exact" else 1e-5
    )  # of the stored type
    generator = np.random.default_rng(2)
    for share in SHARES:
        allowed = generator.random(LARGE) < share
        chosen = adanns.Filter(np.flatnonzero(allowed))
        whole = index.search(queries, 10, filter=chosen, threads=1, **all_kept(name))
        left = np.flatnonzero(allowed & live)
        assert (whole.counts == min(10, len(left))).all()
        assert np.isin(whole.ids[whole.ids >= 0], left).all()
        nearest = np.sort(twin[:, left], axis=1)[:, :10]
        np.testing.assert_allclose(whole.distances[:, : nearest.shape[1]], nearest, rtol=tolerance, atol=tolerance)
        for threads in (2, 7):
            assert_same(index.search(queries, 10, filter=chosen, threads=threads, **all_kept(name)), whole)
        one = index.search(queries[2], 10, filter=chosen, threads=7, **all_kept(name))
        assert np.array_equal(one.ids[0], whole.ids[2])
        assert np.array_equal(one.distances[0], whole.distances[2])


@pytest.mark.parametrize("name", LARGE_INDICES)
def test_rows_that_lie_together_are_found_too(name: str) -> None:
    """Filters of whole blocks, of none, of a block's first or last row."""
    index, queries = large(name), rows_of(3, LARGE_DIMS, seed=1)
    for allowed in (range(16, 32), range(29_999, 30_001), [LARGE - 1], range(100, 5000), range(0, LARGE, 16)):
        live = [identity for identity in allowed if identity % 10 != 3]
        result = index.search(queries, 50, filter=allowed, **all_kept(name))
        assert (result.counts == min(50, len(live))).all()
        assert set(result.ids[result.ids >= 0].tolist()) <= set(live)


def test_a_filter_follows_the_changes_of_an_index() -> None:
    index = adanns.ExactIndex().build(rows_of(100))
    odd = adanns.Filter(np.arange(1, 400, 2))
    assert (index.search(QUERIES, 100, filter=odd).counts == 50).all()
    index.add(rows_of(60, seed=2))
    assert (index.search(QUERIES, 100, filter=odd).counts == 80).all()
    index.remove(range(1, 21))
    assert (index.search(QUERIES, 100, filter=odd).counts == 70).all()
    index.compact()
    assert (index.search(QUERIES, 100, filter=odd).counts == 70).all()
    assert (adanns.ExactIndex().build(rows_of(9)).search(QUERIES, 9, filter=odd).counts == 4).all()


def test_a_filter_is_prepared_once_for_a_snapshot_and_forgotten_with_it() -> None:
    index = adanns.ExactIndex().build(rows_of(100))
    odd = adanns.Filter(np.arange(1, 100, 2))
    snapshot = index._snapshot
    assert odd.narrowed(snapshot) is odd.narrowed(snapshot)
    index.search(QUERIES, 3, filter=[1, 2])
    gc.collect()
    assert len(snapshot.narrowed) == 1
    del odd
    gc.collect()
    assert len(snapshot.narrowed) == 0


@pytest.mark.parametrize(
    ("allowed", "error", "message"),
    [
        (
            lambda identity: True,
            TypeError,
            r"would be called for every row; compile it: numba.cfunc\('int8\(int64\)'\)",
        ),
        ([1.5], TypeError, "dtype float64; expected integers"),
        ("odd", TypeError, "dtype <U3; expected integers"),
        (np.ones((2, 2), np.bool_), ValueError, r"filter has shape \(2, 2\); expected a bool per id"),
        (np.ones((2, 2), np.int64), ValueError, r"shape \(2, 2\); expected one dimension"),
    ],
)
def test_bad_filters_are_refused(allowed: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        built("exact").search(QUERIES, 3, filter=allowed)
    with pytest.raises(TypeError, match="expected uint8, one-dimensional"):
        adanns.Filter.packed(np.zeros(3, np.int64))


@every_recipe
def test_range_search_finds_what_search_finds_within_the_radius(name: str) -> None:
    recipe = RECIPES[name]
    for metric in METRICS:
        index = built(name, metric)
        twin = twins.distances(rows_of(ROWS), QUERIES, metric)
        for radius in (float(np.quantile(twin, 0.2)), -1e9, float(twin.max()) + 1, np.inf):
            found = recipe.range_search(index, QUERIES, radius)
            assert found.offsets[-1] == len(found.ids) == len(found.distances)
            nearest = recipe.exhaustive(index, QUERIES, ROWS)
            for query in range(len(QUERIES)):
                distances, ids = found.of(query)
                assert (np.diff(distances) >= 0).all()
                assert (distances <= radius).all()
                within = nearest.distances[query] < radius - 1e-5 * (1 + abs(radius))
                assert set(nearest.ids[query][within].tolist()) <= set(ids.tolist())
                assert abs(found.counts[query] - (twin[query] <= radius).sum()) <= 1
            for threads in (1, 3):
                again = recipe.range_search(index, QUERIES, radius, threads=threads)
                assert all(np.array_equal(a, b) for a, b in zip(again, found, strict=True))


def test_range_search_of_an_exact_index_gives_the_distances_of_search_bit_for_bit() -> None:
    index = large("exact")
    queries = rows_of(5, LARGE_DIMS, seed=1)
    nearest = index.search(queries, 100)
    for threads in (1, 7):
        for query in range(5):
            found = index.range_search(queries[query], float(nearest.distances[query, -1]), threads=threads)
            assert found.ids.tolist() == nearest.ids[query].tolist()
            assert np.array_equal(found.distances, nearest.distances[query])
    assert index.range_search(queries, 1.0, dims=8).counts.sum() > index.range_search(queries, 1.0).counts.sum()


def test_range_search_at_zero_queries_and_zero_rows() -> None:
    index: Any = adanns.ExactIndex().build(np.concatenate([rows_of(5), np.zeros((2, DIMS), np.float32)]))
    zero = np.zeros(DIMS, np.float32)
    assert index.range_search(zero, 1.0).counts.tolist() == [7]
    assert index.range_search(zero, 0.999).counts.tolist() == [0]
    assert set(index.range_search(QUERIES[0], 1.0).ids.tolist()) >= {5, 6}
