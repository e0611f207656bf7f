"""Does IVFIndex look where the nearest lists are: routing, probes, lists, foreign clusters?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twins
from recipes import DIMS, LADDER, METRICS, ROWS, assert_same, rows_of

import adanns

LISTS = 20


def far_clusters(rows: int = 400, seed: int = 0) -> tuple[Any, Any]:
    """Rows around 20 far corners, told apart by any prefix of 16 dims or more; and which corner each is at."""
    generator = np.random.default_rng(seed)
    corners = np.sign(np.random.default_rng(5).standard_normal((LISTS, DIMS))) * 3
    which = generator.integers(0, LISTS, rows)
    return (corners[which] + 0.1 * generator.standard_normal((rows, DIMS))).astype(np.float32), which


def one_probe_per_corner(metric: str, **options: Any) -> tuple[Any, Any, Any]:
    """An index whose lists are the corners, made from given clusters; its rows' corners and the corners' centroids."""
    rows, which = far_clusters()
    centroids = np.stack([rows[which == corner].mean(axis=0) for corner in range(LISTS)])
    clusters = adanns.Clusters(np.ascontiguousarray(centroids[:, :33]), which.astype(np.int32))
    index = adanns.IVFIndex(16, 33, metric=metric, ladder=LADDER, **options).build(rows, clusters=clusters)
    return index, which, centroids


@pytest.mark.parametrize("scan_precision", ["int8", None])
@pytest.mark.parametrize("metric", METRICS)
def test_probing_finds_the_rows_of_the_nearest_lists_only(metric: str, scan_precision: Any) -> None:
    index, which, centroids = one_probe_per_corner(metric, scan_precision=scan_precision)
    queries, corners = far_clusters(30, seed=1)
    for cluster_dims in (None, 16, 33):
        nearest = np.argsort(twins.distances(centroids, queries, metric, cluster_dims or 33), axis=1)
        for probes in (1, 2, 5):
            result = index.search(queries, 400, probes=probes, cluster_dims=cluster_dims, rerank=[(100, 400)])
            for query in range(30):
                found = result.ids[query, : result.counts[query]]
                lists = set(which[found].tolist())
                assert corners[query] in lists
                assert len(lists) == probes
                assert result.counts[query] == np.isin(which, list(lists)).sum()
                if probes == 1:
                    assert lists == {int(nearest[query, 0])}


def test_cosine_routes_by_the_renormalised_prefix_of_the_centroids() -> None:
    rows, which = far_clusters()
    rows[which % 2 == 1, :16] *= 0.2  # half of the corners have short prefixes
    centroids = np.stack([rows[which == corner].mean(axis=0) for corner in range(LISTS)])
    clusters = adanns.Clusters(np.ascontiguousarray(centroids[:, :33]), which.astype(np.int32))
    index = adanns.IVFIndex(16, 33, ladder=LADDER).build(rows, clusters=clusters)
    for cluster_dims in (16, 33):
        result = index.search(centroids.astype(np.float32), 400, probes=1, cluster_dims=cluster_dims)
        for corner in range(LISTS):
            assert set(which[result.ids[corner, : result.counts[corner]]]) == {corner}


def test_lists_beyond_the_range_of_float32_are_the_farthest() -> None:
    rows, which = far_clusters()
    rows[which >= 10] *= np.float32(1e25)  # the squares of these are infinite
    centroids = np.stack([rows[which == corner].mean(axis=0) for corner in range(LISTS)])
    clusters = adanns.Clusters(np.ascontiguousarray(centroids[:, :33]), which.astype(np.int32))
    index = adanns.IVFIndex(16, 33, metric="l2", ladder=LADDER, precision="float32").build(rows, clusters=clusters)
    near = rows[which < 10]
    for probes in (10, 12, 15, 19, 20):
        result = index.search(near[:30], 400, probes=probes, rerank=[(100, 400)])
        assert (result.counts == len(near)).all()
        assert (which[result.ids[:, : len(near)]] < 10).all()
        if probes == 19:  # as many lists of their own: one list is not read
            assert 400 - result.stats[1].read / 30 in np.bincount(which)


def test_more_probes_never_find_less() -> None:
    rows, queries = rows_of(3000, seed=2), rows_of(50, seed=3)
    index = adanns.IVFIndex(16, 33, lists=40, ladder=LADDER).build(rows)
    exact = adanns.ExactIndex(ladder=LADDER, precision="float16").build(rows).search(queries, 10)
    recalls = []
    for probes in (1, 2, 4, 8, 16, 40, 1000):  # more than there are lists means all
        ids = index.search(queries, 10, probes=probes, rerank=[(100, 3000)]).ids
        recalls.append(adanns.evaluate.recall(ids, exact.ids, 10))
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.9
    assert recalls[-1] == recalls[-2] == 1


def test_lists_are_of_nearest_centroids() -> None:
    rows, _ = far_clusters(2000)
    index = adanns.IVFIndex(16, 16, lists=LISTS, ladder=LADDER, precision="float32", metric="l2", seed=1).build(rows)
    result = index.search(rows, 1, probes=1)
    assert (
        result.ids[:, 0] == np.arange(2000)
    ).mean() > 0.95  # rows are in the list nearest to themselves, up to int8 centroids
    found = [index.search(row, 2000, probes=1, rerank=[(100, 2000)]).counts[0] for row in rows[:50]]
    assert sum(found) < 50 * 2000 / 4  # and lists are parts, not everything
    assert index.lists == LISTS


@pytest.mark.parametrize("metric", METRICS)
def test_lists_are_never_empty_even_for_duplicates(metric: str) -> None:
    rows = np.repeat(rows_of(3), 20, axis=0)
    for lists in (1, 3, 30, 60):
        index = adanns.IVFIndex(16, 16, lists=lists, ladder=LADDER, metric=metric).build(rows)  # type: ignore[arg-type]
        assert index.lists == lists
        counts = [
            index.search(rows[::20], 60, probes=probes, rerank=[(100, 60)]).counts.min()
            for probes in range(1, lists + 1)
        ]
        assert counts[-1] == 60
        assert (np.diff(counts) >= 1).all()


@pytest.mark.parametrize("metric", METRICS)
def test_as_many_lists_as_rows_and_a_single_list_are_both_exact_with_all_probes(metric: str) -> None:
    rows, queries = rows_of(ROWS), rows_of(5, seed=1)
    twin = twins.distances(rows, queries, metric)
    for lists in (1, ROWS):
        index: Any = adanns.IVFIndex(16, 16, lists, metric=metric, ladder=LADDER, precision="float32")  # type: ignore
        result = index.build(rows).search(queries, probes=lists, rerank=[(100, ROWS)])
        twins.assert_nearest(result, twin, np.arange(ROWS), 1e-5)


def test_the_number_of_lists_grows_with_the_rows() -> None:
    lists = [adanns.IVFIndex(8, 8).build(rows_of(count, 16)).lists for count in (1, 15, 100, 300, 2000, 6000)]
    assert lists[0] == lists[1] == 1
    assert lists == sorted(lists)
    assert lists[-1] % 16 == 0
    assert 100 <= lists[-1] <= 6000 / 16


def test_another_seed_makes_other_lists() -> None:
    rows, queries = rows_of(2000), rows_of(20, seed=1)
    results = [adanns.IVFIndex(16, 16, 30, ladder=LADDER, seed=seed).build(rows).search(queries, probes=1)
               for seed in (0, 0, 1)]  # fmt: skip
    assert_same(results[0], results[1])
    assert not np.array_equal(results[0].ids, results[2].ids)


def test_foreign_clusters_route_by_their_own_representation() -> None:
    rows, queries = rows_of(600), rows_of(20, seed=1)
    sides = np.random.default_rng(4).integers(0, 6, 620)
    other = np.eye(6, 7, dtype=np.float32)[sides] * 5  # has nothing to do with the rows, and dims off the ladder
    clusters = adanns.train_kmeans(other[:600], 6, seed=1)
    index = adanns.IVFIndex(scan_dims=33, ladder=LADDER, metric="l2").build(rows, clusters=clusters)
    assert index.lists == 6
    result = index.search(queries, 600, probes=1, routing_queries=other[600:], rerank=[(100, 600)])
    for query in range(20):
        assert set(result.ids[query, : result.counts[query]]) == set(np.flatnonzero(sides[:600] == sides[600 + query]))
    one = index.search(queries[3], 600, probes=1, routing_queries=other[603], rerank=[(100, 600)])
    assert np.array_equal(one.ids[0], result.ids[3])


def test_foreign_clusters_of_a_prefix_need_no_routing_queries() -> None:
    rows, queries = rows_of(600), rows_of(20, seed=1)
    clusters = adanns.train_kmeans(np.ascontiguousarray(rows[:, :33]), 9, seed=1)
    index = adanns.IVFIndex(scan_dims=16, ladder=LADDER, metric="l2").build(rows, clusters=clusters)
    for cluster_dims in (None, 5, 16, 33):
        result = index.search(queries, probes=9, cluster_dims=cluster_dims, rerank=[(100, 600)])
        expected = index.search(queries, probes=9, routing_queries=queries[:, :33], rerank=[(100, 600)])
        assert_same(result, expected)
    part = index.search(queries, probes=2)
    assert_same(part, index.search(queries, probes=2, routing_queries=np.ascontiguousarray(queries[:, :33])))


def test_empty_foreign_clusters_are_lists_of_no_rows() -> None:
    rows, which = far_clusters()
    which = np.where(which >= 17, 0, which)  # the last three corners stay empty
    centroids = np.stack(
        [rows[which == corner].mean(axis=0) if corner < 17 else rows[corner] for corner in range(LISTS)]
    )
    clusters = adanns.Clusters(np.ascontiguousarray(centroids[:, :33]), which.astype(np.int64))  # type: ignore[arg-type]
    index = adanns.IVFIndex(scan_dims=33, ladder=LADDER).build(rows, clusters=clusters)
    assert index.lists == LISTS
    result = index.search(centroids[17:].astype(np.float32), 5, probes=1)
    assert result.counts.max() <= 5
    assert (index.search(rows[:7], 5, probes=LISTS).counts == 5).all()
    twins.assert_nearest(
        index.search(rows[:7], 400, probes=LISTS, rerank=[(100, 400)]),
        twins.distances(twins.stored(rows, "cosine", "float16"), rows[:7], "cosine"),
        np.arange(400),
        1e-5,
    )


def test_an_index_without_foreign_clusters_forgets_those_of_the_build_before() -> None:
    rows = rows_of(600)
    index = adanns.IVFIndex(16, 33, 12, ladder=LADDER)
    index.build(rows, clusters=adanns.train_kmeans(rows[:, :3], 5))
    assert index.lists == 5
    assert index.build(rows).lists == 12
    index.search(rows[:2])
