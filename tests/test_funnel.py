"""Does a cascade keep and rescore what its stages say, adding only the bands not read before?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twins
from recipes import DIMS, LADDER, METRICS, PRECISIONS, RECIPES, ROWS, built, ids_of, rows_of

import adanns

QUERIES = rows_of(17, seed=1)
TOLERANCE = 1e-5


def cascade(metric: str, precision: str, scan_dims: int, stages: list[tuple[int, int]], k: int) -> tuple[Any, Any]:
    """(distances, ids): of each stage's survivors the best `keep` go on and are measured anew."""
    rows = twins.stored(rows_of(ROWS), metric, PRECISIONS[precision])
    at = {dims: twins.distances(rows, QUERIES, metric, dims) for dims in LADDER}
    alive = np.tile(np.arange(ROWS), (len(QUERIES), 1))
    dims = scan_dims
    for following, keep in [*stages, (0, k)]:
        order = np.argsort(np.take_along_axis(at[dims], alive, axis=1), axis=1, kind="stable")[:, :keep]
        alive = np.take_along_axis(alive, order, axis=1)
        dims = following or dims
    return np.take_along_axis(at[dims], alive, axis=1), ids_of(ROWS)[alive]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("funnel-planes", [(33, 60), (65, 30), (100, 12)]),
        ("funnel-planes", [(16, 80), (100, 80)]),
        ("funnel-planes", [(65, 20)]),
        ("funnel-planes", [(5, 40), (16, 40), (33, 39)]),
        ("funnel-planes", []),
        ("funnel-codes", [(16, ROWS), (33, 60), (100, 12)]),  # all are measured at the scan's own dims first
        ("funnel-codes", [(16, ROWS), (65, 31)]),
    ],
)
def test_each_stage_rescores_the_best_of_the_stage_before(
    name: str, stages: list[tuple[int, int]], metric: str, precision: str
) -> None:
    result = built(name, metric, precision).search(QUERIES, 10, rerank=stages)
    distances, ids = cascade(metric, precision, 5 if name == "funnel-planes" else 16, stages, 10)
    np.testing.assert_allclose(result.distances, distances, atol=TOLERANCE * np.abs(distances).max())
    assert (result.ids == ids).mean() > 0.99  # float32 may swap neighbours that float64 tells apart


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "exact"])
def test_incremental_rerank_equals_distance_from_scratch(name: str, metric: str, precision: str) -> None:
    index, recipe = built(name, metric, precision), RECIPES[name]
    twin = twins.distances(twins.stored(rows_of(ROWS), metric, PRECISIONS[precision]), QUERIES, metric)
    for scan_dims in (5, 16, 33, 65, 100):
        stages = [(dims, ROWS) for dims in LADDER if dims >= scan_dims]
        for some in (stages, stages[1:] or stages, stages[-1:]):
            asked = {recipe.dims_keyword: scan_dims, **recipe.all_lists}
            result = recipe.search(index, QUERIES, 20, rerank=some, **asked)
            twins.assert_nearest(result, twin, ids_of(ROWS), TOLERANCE)


@pytest.mark.parametrize("metric", METRICS)
def test_without_a_rerank_the_shortlist_is_measured_at_its_own_dims(metric: str) -> None:
    for name in ("funnel-codes", "funnel-planes"):
        for dims in (5, 16, 33):
            result = built(name, metric).search(QUERIES, 10, shortlist_dims=dims, rerank=[])
            twin = twins.distances(twins.stored(rows_of(ROWS), metric, "float32"), QUERIES, metric, dims)
            np.testing.assert_allclose(result.distances, np.sort(twin)[:, :10], rtol=0.02, atol=0.02)
            row_of = {identity: row for row, identity in enumerate(ids_of(ROWS).tolist())}
            rows = np.vectorize(row_of.__getitem__)(result.ids)
            np.testing.assert_allclose(result.distances, np.take_along_axis(twin, rows, axis=1), atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["funnel-codes", "ivf-codes"])
def test_int8_codes_choose_nearly_what_the_planes_choose(name: str, metric: str) -> None:
    rows, queries = rows_of(3000, seed=7), rows_of(50, seed=8)
    recipe = RECIPES[name]
    found = []
    for scan_precision in ("int8", None):
        index = recipe.make(metric, "float32", scan_precision=scan_precision).build(rows)
        for dims in (5, 16):
            keywords = {recipe.dims_keyword: dims, **recipe.all_lists}
            found.append(index.search(queries, 20, rerank=[(dims, 20)], **keywords).ids)
    for codes, planes in zip(found[:2], found[2:], strict=True):
        recall = adanns.evaluate.recall(codes, planes, 20)
        assert 0.9 < recall < 1  # 1 would mean that no codes were used


def test_default_rerank_is_the_papers_200_or_twice_k_at_all_dims() -> None:
    rows = rows_of(1000, seed=7)
    index = RECIPES["funnel-codes"].make().build(rows)
    for k, keep in ((10, 200), (100, 200), (150, 300)):
        scan, rerank = index.search(QUERIES, k).stats
        assert (scan.stage, scan.dims, scan.read, scan.kept) == ("scan", 16, 17 * 1000, 17 * keep)
        assert (rerank.stage, rerank.dims, rerank.read, rerank.kept) == ("rerank", DIMS, 17 * keep, 17 * k)


def test_stats_name_each_stage_of_a_cascade() -> None:
    index = built("ivf-codes")
    result = index.search(QUERIES, 5, probes=3, cluster_dims=5, scan_dims=16, rerank=[(33, 40), (65, 20), (100, 10)])
    stages = [(stage.stage, stage.dims) for stage in result.stats]
    assert stages == [("route", 5), ("scan", 16), ("rerank", 33), ("rerank", 65), ("rerank", 100)]
    route, scan, *reranks = result.stats
    assert (route.read, route.kept) == (17 * 7, 17 * 3)
    assert 17 * 40 < scan.read < 17 * ROWS
    assert [(stage.read, stage.kept) for stage in reranks] == [(680, 340), (340, 170), (170, 85)]


@pytest.mark.parametrize("name", ["funnel-codes", "funnel-planes", "ivf-planes"])
def test_rows_whose_distance_goes_beyond_float32_do_not_displace_others(name: str) -> None:
    rows, query = rows_of(ROWS).copy(), QUERIES[0].copy()
    rows[::2, 40:50] = 1e25  # |x|^2 is infinite from 65 dims on, and so is q.x: their difference is no number
    query[40:50] = 1e18
    index = RECIPES[name].make("l2", "float32").build(rows)
    for stages in ([(65, ROWS), (100, 20)], [(65, ROWS)], [(100, ROWS)]):
        result = index.search(query, 10, rerank=stages, **RECIPES[name].all_lists)
        assert result.counts[0] == 10
        assert (result.ids[0] % 2 == 1).all()
