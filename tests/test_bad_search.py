"""Is every bad input of `search` refused with the named error and a message that says what came?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from recipes import LADDER, RECIPES, ROWS, assert_same, built, foreign_representation, ids_of, rows_of, spoilt

import adanns

GOOD = rows_of(40)
QUERIES = rows_of(3, seed=1)

every_recipe = pytest.mark.parametrize("name", RECIPES)


# name: (queries, keywords of search, error, what its message says)
BAD_SEARCHES: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "other dims": (QUERIES[:, :48], {}, ValueError, "queries have 48 dimensions; expected 100"),
    "other dims, one query": (QUERIES[0, :48], {}, ValueError, "queries have 48 dimensions; expected 100"),
    "three dimensions": (QUERIES[np.newaxis], {}, ValueError, "queries have shape (1, 3, 100)"),
    "no queries": (QUERIES[:0], {}, ValueError, "queries are empty: shape (0, "),
    "integers": (QUERIES.astype(int), {}, TypeError, "queries have dtype int64; expected float32 or float16"),
    "NaN": (spoilt(2, np.nan), {}, ValueError, "queries: row 2 holds NaN or infinity"),
    "infinity": (spoilt(1, np.inf, np.float16), {}, ValueError, "queries: row 1 holds NaN or infinity"),
    "beyond float32": (spoilt(1, 1e300, np.float64), {}, ValueError, "queries: row 1 holds NaN or infinity"),
    "k of none": (QUERIES, {"k": 0}, ValueError, "k=0; expected 1 or more"),
    "negative k": (QUERIES, {"k": -3}, ValueError, "k=-3; expected 1 or more"),
    "half a k": (QUERIES, {"k": 2.5}, TypeError, "k is 2.5; expected an int"),
    "k of text": (QUERIES, {"k": "10"}, TypeError, "k is '10'; expected an int"),
    "k beyond 32 bits": (QUERIES, {"k": 1 << 31}, ValueError, "k=2147483648; expected 1 or more, 2147483647 at most"),
    "no threads": (QUERIES, {"threads": 0}, ValueError, "threads=0; expected 1 or more"),
    "threads of text": (QUERIES, {"threads": "2"}, TypeError, "threads is '2'; expected an int"),
    "an unknown keyword": (QUERIES, {"nprobe": 3}, TypeError, "nprobe"),
}
BAD_DIMS: dict[str, tuple[Any, type[Exception], str]] = {
    "off the ladder": (20, ValueError, "=20 is not on the ladder (5, 16, 33, 65, 100)"),
    "beyond the vector": (200, ValueError, "=200 is beyond the 100 dimensions of the vectors"),
    "zero": (0, ValueError, "=0 is not on the ladder"),
    "negative": (-5, ValueError, "=-5 is not on the ladder"),
    "text": ("16", TypeError, "is '16'; expected an int on the ladder"),
    "a float": (16.0, TypeError, "is 16.0; expected an int on the ladder"),
}
BAD_STAGES: dict[str, tuple[Any, type[Exception], str]] = {
    "no list": (65, TypeError, "rerank is 65; expected a list of (dims, keep) pairs"),
    "zero": (0, TypeError, "rerank is 0; expected a list of (dims, keep) pairs"),
    "one pair": ((65, 20), TypeError, "rerank is (65, 20); expected a list of (dims, keep) pairs"),
    "triples": ([(65, 20, 1)], TypeError, "expected a list of (dims, keep) pairs"),
    "text": ("65:20", TypeError, "expected a list of (dims, keep) pairs"),
    "off the ladder": ([(64, 20)], ValueError, "dims of a rerank stage=64 is not on the ladder"),
    "beyond the vector": ([(128, 20)], ValueError, "dims of a rerank stage=128 is beyond the 100 dimensions"),
    "dims that are no int": ([("100", 20)], TypeError, "dims of a rerank stage is '100'"),
    "fewer dims than the scan": (
        [(5, 20)],
        ValueError,
        "must increase from stage to stage, from the scan's 33 on",
    ),
    "dims that do not increase": ([(65, 20), (65, 20)], ValueError, "dims must increase from stage to stage"),
    "dims that decrease": ([(100, 20), (65, 20)], ValueError, "dims must increase from stage to stage"),
    "keep of none": ([(65, 0)], ValueError, "keep of a rerank stage=0; expected 1 or more"),
    "half a keep": ([(65, 20.5)], TypeError, "keep of a rerank stage is 20.5"),
    "keeps that increase": ([(65, 20), (100, 30)], ValueError, "a stage cannot keep more than the one before"),
    "keep below k": ([(65, 20), (100, 9)], ValueError, "the last stage keeps 9, fewer than k=10"),
}


@every_recipe
def test_a_bad_search_is_refused_and_changes_nothing(name: str) -> None:
    index, recipe = built(name), RECIPES[name]
    before = recipe.search(index, QUERIES)
    for queries, keywords, error, message in BAD_SEARCHES.values():
        with pytest.raises(error, match=re.escape(message)):
            if recipe.foreign:
                keywords = {**keywords, "routing_queries": np.ones((len(np.atleast_2d(queries)), 3), np.float32)}
            index.search(queries, **keywords)
        assert_same(recipe.search(index, QUERIES), before)


@pytest.mark.parametrize("case", BAD_DIMS)
@every_recipe
def test_bad_dims_are_refused(name: str, case: str) -> None:
    value, error, message = BAD_DIMS[case]
    keyword = RECIPES[name].dims_keyword
    with pytest.raises(error, match=re.escape(keyword) + ".*" + re.escape(message)):
        RECIPES[name].search(built(name), QUERIES, **{keyword: value})
    if RECIPES[name].all_lists and not RECIPES[name].foreign:
        with pytest.raises(error, match="cluster_dims.*" + re.escape(message)):
            RECIPES[name].search(built(name), QUERIES, cluster_dims=value)


@pytest.mark.parametrize("case", BAD_STAGES)
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "exact"])
def test_bad_rerank_stages_are_refused(name: str, case: str) -> None:
    stages, error, message = BAD_STAGES[case]
    with pytest.raises(error, match=re.escape(message)):
        RECIPES[name].search(built(name), QUERIES, rerank=stages, **{RECIPES[name].dims_keyword: 33})


@pytest.mark.parametrize("name", ["ivf-codes", "mg-ivf"])
def test_bad_probes_are_refused(name: str) -> None:
    for probes, error, message in (
        (0, ValueError, "probes=0; expected 1 or more"),
        (-1, ValueError, "probes=-1"),
        (2.0, TypeError, "probes is 2.0; expected an int"),
        (None, TypeError, "probes is None; expected an int"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            RECIPES[name].search(built(name), QUERIES, probes=probes)


def test_routing_queries_must_fit_the_centroids_and_the_queries() -> None:
    foreign, own = built("mg-ivf"), built("ivf-codes")
    routing = foreign_representation(QUERIES)
    with pytest.raises(ValueError, match=re.escape("centroids of 3 dims, not a prefix on its ladder (5, ")):
        foreign.search(QUERIES)
    with pytest.raises(ValueError, match="routing_queries have 2 dimensions; expected 3"):
        foreign.search(QUERIES, routing_queries=routing[:, :2])
    with pytest.raises(ValueError, match="routing_queries have 2 rows but there are 3 queries"):
        foreign.search(QUERIES, routing_queries=routing[:2])
    with pytest.raises(ValueError, match="routing_queries have 3 rows but there are 1 queries"):
        foreign.search(QUERIES[0], routing_queries=routing)
    with pytest.raises(TypeError, match="routing_queries have dtype int64"):
        foreign.search(QUERIES, routing_queries=routing.astype(int))
    with pytest.raises(ValueError, match="routing_queries: row 1 holds NaN or infinity"):
        foreign.search(QUERIES, routing_queries=np.where(np.arange(3)[:, np.newaxis] == 1, np.nan, routing))
    with pytest.raises(ValueError, match="cluster_dims and routing_queries exclude each other"):
        foreign.search(QUERIES, routing_queries=routing, cluster_dims=16)
    with pytest.raises(ValueError, match="cluster_dims=33, but the lists were clustered on 16 dims"):
        own.search(QUERIES, cluster_dims=33)


@every_recipe
def test_what_needs_a_built_index_says_so(name: str, tmp_path: Any) -> None:
    index = RECIPES[name].make()
    uses: list[Callable[[], Any]] = [
        lambda: RECIPES[name].search(index, QUERIES),
        lambda: index.save(tmp_path / "index"),
        lambda: index.rows,
        lambda: index.dims,
        lambda: index.ladder,
        lambda: index.bytes_per_vector,
    ]
    for use in uses + ([lambda: index.lists] if RECIPES[name].all_lists else []):
        with pytest.raises(adanns.NotBuiltError, match=r"holds nothing yet: call build\(vectors\) first"):
            use()
    assert not (tmp_path / "index").exists()


@every_recipe
def test_numbers_of_numpy_are_as_good_as_ints(name: str) -> None:
    recipe = RECIPES[name]
    options = {key: np.int64(value) for key, value in recipe.options.items() if isinstance(value, int)}
    index = recipe.make(ladder=np.array(LADDER, np.int16), **options)
    assert index.parameters == recipe.make().parameters
    recipe.build(index, rows_of(ROWS), ids_of(ROWS))
    result = recipe.search(index, QUERIES, np.int32(7), **{recipe.dims_keyword: np.int64(33)})
    assert_same(result, recipe.search(built(name), QUERIES, 7, **{recipe.dims_keyword: 33}))
    if name != "exact":
        stages = np.array([(65, 40), (100, 30)])
        assert_same(
            recipe.search(index, QUERIES, rerank=stages), recipe.search(built(name), QUERIES, rerank=stages.tolist())
        )
