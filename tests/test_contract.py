"""What does every index promise of its results? One suite over all recipes; test_every_isa.py repeats it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import twins
from recipes import (
    DIMS,
    FOREIGN_DIMS,
    LADDER,
    LISTS,
    METRICS,
    PRECISIONS,
    RECIPES,
    ROWS,
    assert_same,
    built,
    ids_of,
    rows_of,
)

import adanns

TOLERANCE = 1e-5
STAGES = ("route", "scan", "rerank")
QUERIES = rows_of(17, seed=1)

every_recipe = pytest.mark.parametrize("name", RECIPES)
every_metric = pytest.mark.parametrize("metric", METRICS)
every_precision = pytest.mark.parametrize("precision", PRECISIONS)


def twin_of(metric: str, precision: str, dims: int | None = None, queries: Any = QUERIES) -> Any:
    """Distances of the rows as stored, to all queries."""
    return twins.distances(twins.stored(rows_of(ROWS), metric, PRECISIONS[precision]), queries, metric, dims)


@every_precision
@every_metric
@every_recipe
def test_leaving_nothing_out_is_exact_search(name: str, metric: str, precision: str) -> None:
    for k in (1, 10, ROWS):
        result = RECIPES[name].exhaustive(built(name, metric, precision), QUERIES, k)
        twins.assert_nearest(result, twin_of(metric, precision), ids_of(ROWS), TOLERANCE)


@every_precision
@every_metric
@every_recipe
def test_any_rung_can_be_searched(name: str, metric: str, precision: str) -> None:
    for dims in LADDER:
        result = RECIPES[name].exhaustive(built(name, metric, precision), QUERIES, dims=dims)
        twins.assert_nearest(result, twin_of(metric, precision, dims), ids_of(ROWS), TOLERANCE)


@every_precision
@every_metric
@every_recipe
def test_distances_ascend_and_belong_to_the_ids(name: str, metric: str, precision: str) -> None:
    result = RECIPES[name].search(built(name, metric, precision), QUERIES, 10)
    distances, ids = result
    assert (result.counts == 10).all()
    assert (np.diff(distances, axis=1) >= 0).all()
    row_of = {identity: row for row, identity in enumerate(ids_of(ROWS).tolist())}
    rows = np.vectorize(row_of.__getitem__)(ids)
    twin = np.take_along_axis(twin_of(metric, precision), rows, axis=1)
    np.testing.assert_allclose(distances, twin, rtol=TOLERANCE, atol=TOLERANCE * np.abs(twin).max())
    assert all(len(set(row)) == 10 for row in ids.tolist())


@every_metric
@every_recipe
def test_more_than_there_is_is_padded(name: str, metric: str) -> None:
    result = RECIPES[name].exhaustive(built(name, metric), QUERIES, ROWS + 5, **keep_more(name, ROWS + 5))
    assert (result.counts == ROWS).all()
    assert (result.ids[:, ROWS:] == -1).all()
    assert np.isposinf(result.distances[:, ROWS:]).all()
    assert (result.ids[:, :ROWS] >= 0).all()
    assert np.isfinite(result.distances[:, :ROWS]).all()


def keep_more(name: str, keep: int) -> dict[str, Any]:
    return {} if name == "exact" else {"rerank": [(DIMS, keep)]}


@every_metric
@every_recipe
def test_results_do_not_depend_on_threads(name: str, metric: str) -> None:
    index = built(name, metric, "mixed")
    one = RECIPES[name].search(index, QUERIES, 10, threads=1)
    for threads in (2, 3, 7, None):
        other = RECIPES[name].search(index, QUERIES, 10, threads=threads)
        assert_same(one, other)
        assert one.stats == other.stats


@every_precision
@every_metric
@every_recipe
def test_one_query_at_a_time_gives_what_a_batch_gives(name: str, metric: str, precision: str) -> None:
    index = built(name, metric, precision)
    batch = RECIPES[name].search(index, QUERIES, 10)
    for i, query in enumerate(QUERIES):
        for asked in (query, QUERIES[i : i + 1]):  # one-dimensional, or one row
            one = RECIPES[name].search(index, asked, 10)
            assert one.ids.shape == (1, 10)
            assert np.array_equal(one.ids[0], batch.ids[i])
            assert np.array_equal(one.distances[0].view(np.uint32), batch.distances[i].view(np.uint32))


@every_recipe
def test_queries_of_any_form_give_the_same(name: str) -> None:
    index, recipe = built(name), RECIPES[name]
    halves = QUERIES.astype(np.float16)
    expected = recipe.search(index, halves.astype(np.float32))
    reversed_rows = np.ascontiguousarray(halves.astype(np.float32)[::-1])[::-1]
    wide = np.zeros((len(halves), 2 * DIMS), np.float32)
    wide[:, ::2] = halves
    bytes_off = np.zeros(4 * halves.size + 1, np.uint8)[1:].view(np.float32).reshape(halves.shape)
    bytes_off[...] = halves
    for form in (halves, halves.astype(np.float64), np.asfortranarray(halves), reversed_rows, wide[:, ::2], bytes_off):
        assert_same(recipe.search(index, form), expected)
    assert_same(recipe.search(index, halves.astype(">f4")), expected)


@every_recipe
def test_threads_search_one_index_with_different_dims_at_once(name: str) -> None:
    index, recipe = built(name, "cosine", "float16"), RECIPES[name]
    expected = {dims: recipe.exhaustive(index, QUERIES, dims=dims, threads=1) for dims in LADDER}
    with ThreadPoolExecutor(4) as pool:
        asked = [dims for _ in range(10) for dims in LADDER]
        results = pool.map(lambda dims: recipe.exhaustive(index, QUERIES, dims=dims, threads=2), asked)
        for dims, result in zip(asked, results, strict=True):
            assert_same(result, expected[dims])


@every_recipe
def test_cosine_at_a_prefix_equals_the_renormalised_slice(name: str) -> None:
    whole, recipe = built(name, "cosine"), RECIPES[name]
    part = adanns.ExactIndex(metric="cosine").build(rows_of(ROWS)[:, :33]).search(QUERIES[:, :33], 10)
    result = recipe.exhaustive(whole, QUERIES, 10, dims=33)
    np.testing.assert_allclose(result.distances, part.distances, atol=TOLERANCE)
    assert (ids_of(ROWS)[part.ids] == result.ids).all()


@every_metric
@every_recipe
def test_zero_vectors_are_at_distance_one_under_cosine_and_break_nothing_else(name: str, metric: str) -> None:
    rows = rows_of(60).copy()
    rows[[0, 7, 8, 59]] = 0
    queries = np.concatenate([QUERIES[:3], np.zeros((1, DIMS), np.float32)])
    index = RECIPES[name].build(RECIPES[name].make(metric), rows)
    result = RECIPES[name].exhaustive(index, queries, 60)
    twins.assert_nearest(result, twins.distances(rows, queries, metric), np.arange(60), TOLERANCE)


@every_metric
@every_recipe
def test_duplicate_vectors_are_all_found_and_ordered_by_id(name: str, metric: str) -> None:
    rows = np.repeat(rows_of(10), 30, axis=0)
    index = RECIPES[name].build(RECIPES[name].make(metric), rows, ids_of(300))
    result = RECIPES[name].exhaustive(index, rows[::30], 30)
    twins.assert_nearest(result, twins.distances(rows, rows[::30], metric), ids_of(300), TOLERANCE)
    equal = result.distances[:, 1:] == result.distances[:, :-1]
    assert equal.any()
    assert (result.ids[:, 1:] > result.ids[:, :-1])[equal].all()


@every_metric
@every_recipe
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17])
def test_few_rows_are_enough(name: str, metric: str, count: int) -> None:
    rows, recipe = rows_of(count), RECIPES[name]
    if count < recipe.fewest_rows:
        with pytest.raises(ValueError, match=f"the {count} rows are fewer than the {recipe.fewest_rows} entries"):
            recipe.build(recipe.make(metric), rows)
        return
    lists = {} if "lists" not in recipe.options else {"lists": min(count, 7)}
    index = recipe.build(recipe.make(metric, "float16", **lists), rows)
    assert (index.rows, index.dims, index.ladder) == (count, DIMS, LADDER)
    result = recipe.exhaustive(index, QUERIES, 3, **keep_more(name, 20))
    twin = twins.distances(twins.stored(rows, metric, "float16"), QUERIES, metric)
    twins.assert_nearest(result, twin, np.arange(count), TOLERANCE)


@every_recipe
def test_cosine_does_not_depend_on_the_length_of_the_query(name: str) -> None:
    index, recipe = built(name, "cosine"), RECIPES[name]
    expected = recipe.exhaustive(index, QUERIES, 10)
    for length in (1e-25, 1e-6, 1e6, 1e25):
        result = recipe.exhaustive(index, QUERIES * np.float32(length), 10)
        assert (result.ids == expected.ids).all()
        np.testing.assert_allclose(result.distances, expected.distances, atol=TOLERANCE)


@every_recipe
def test_cosine_does_not_depend_on_the_length_of_the_rows(name: str) -> None:
    recipe = RECIPES[name]
    lengths = np.float32(10.0) ** np.linspace(-41, 37, ROWS, dtype=np.float32)[:, np.newaxis]
    rows = rows_of(ROWS) * np.where(lengths < 1e-37, np.float32(1e-40), lengths)  # the first ones are denormal
    index = recipe.build(recipe.make("cosine", "float32"), rows)
    result = recipe.exhaustive(index, QUERIES, 10)
    twins.assert_nearest(result, twins.distances(rows, QUERIES, "cosine"), np.arange(ROWS), TOLERANCE)


@every_metric
@every_recipe
def test_distances_too_large_for_float32_are_missing_results(name: str, metric: str) -> None:
    recipe = RECIPES[name]
    rows = rows_of(ROWS).copy()
    rows[::3] *= np.float32(1e30)
    index = recipe.build(recipe.make(metric), rows)
    for queries in (QUERIES, QUERIES * np.float32(1e30), QUERIES * np.float32(1e-30)):
        for keywords in ({}, recipe.everything(ROWS, DIMS)):
            distances, ids = result = recipe.search(index, queries, 20, **keywords)
            real = np.arange(20) < result.counts[:, np.newaxis]
            assert ((distances < np.inf) == real).all()  # -inf under ip: nearer than a float32 can say
            assert (np.isposinf(distances) == ~real).all()
            assert ((ids >= 0) == real).all()
            assert (distances[:, 1:] >= distances[:, :-1]).all()


@every_metric
@every_recipe
def test_stats_add_up(name: str, metric: str) -> None:
    index, recipe = built(name, metric), RECIPES[name]
    for queries, k, keywords in (
        (QUERIES, 10, {}),
        (QUERIES, ROWS, recipe.everything(ROWS, DIMS)),
        (QUERIES[:1], 3, {}),
    ):
        result = recipe.search(index, queries, k, **keywords)
        stats = result.stats
        assert [stage.stage for stage in stats] == sorted((stage.stage for stage in stats), key=STAGES.index)
        assert stats[-1].kept == result.counts.sum()
        for stage, following in itertools.pairwise(stats):
            if stage.stage != "route":  # which hands on lists, not rows
                assert stage.kept == following.read
        assert all(stage.kept <= stage.read and stage.dims in (*LADDER, FOREIGN_DIMS) for stage in stats)
        scan = next(stage for stage in stats if stage.stage == "scan")
        if not hasattr(index, "lists") or keywords:
            assert scan.read == len(queries) * ROWS
        if stats[0].stage == "route":
            assert stats[0].read == len(queries) * LISTS
            assert stats[0].kept == len(queries) * min(LISTS, keywords.get("probes", 8))


def changed(name: str, metric: str) -> Any:
    """Three segments, removed rows in two of them."""
    recipe = RECIPES[name]
    index = recipe.build(recipe.make(metric), rows_of(ROWS), ids_of(ROWS))
    recipe.add(index, rows_of(80, seed=5), np.arange(80))
    recipe.add(index, rows_of(19, seed=6), np.arange(80, 99))
    index.remove(np.concatenate([ids_of(ROWS)[::5], np.arange(30)]))
    return index


@every_metric
@every_recipe
def test_a_changed_index_keeps_the_contract(name: str, metric: str) -> None:
    """Whatever the threads and batches, filtered or not; sorted, with true distances, padded, and stats that add up."""
    index, recipe = changed(name, metric), RECIPES[name]
    held = np.concatenate([rows_of(ROWS), rows_of(80, seed=5), rows_of(19, seed=6)])
    ids = np.concatenate([ids_of(ROWS), np.arange(99)])
    live = ~np.isin(ids, np.concatenate([ids_of(ROWS)[::5], np.arange(30)]))
    twin = twins.distances(held[live], QUERIES, metric)
    for k in (1, 10, int(live.sum())):
        twins.assert_nearest(recipe.exhaustive(index, QUERIES, k), twin, ids[live], TOLERANCE)
    for asked in ({}, {"filter": ids[live][::3]}):
        batch = recipe.search(index, QUERIES, 10, threads=1, **asked)
        for threads in (2, 7):
            other = recipe.search(index, QUERIES, 10, threads=threads, **asked)
            assert_same(other, batch)
            assert other.stats == batch.stats
        for i in (0, 16):
            one = recipe.search(index, QUERIES[i], 10, **asked)
            assert np.array_equal(one.ids[0], batch.ids[i])
            assert np.array_equal(one.distances[0].view(np.uint32), batch.distances[i].view(np.uint32))
        for stage, following in itertools.pairwise(batch.stats):
            if stage.stage != "route":
                assert stage.kept == following.read
        assert all(stage.kept <= stage.read for stage in batch.stats)
