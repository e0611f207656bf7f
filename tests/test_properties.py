"""Do selection, ladders and searches hold for any small input? Hypothesis looks for the one that breaks them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import adanns
from adanns._core import kernels
from adanns.ladder import plan_planes

# Few different values, so that ties are common; signed zeros, denormals and infinities among them.
FEW_KEYS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-40, -1e-40, float("inf"), -float("inf"), 3e38])
ANY_KEYS = st.floats(width=32, allow_nan=False)
KEYS = arrays_of.arrays(np.float32, st.integers(2, 80), elements=st.one_of(FEW_KEYS, ANY_KEYS))
LADDERS = st.sets(st.integers(1, 80), min_size=1, max_size=6).map(lambda rungs: tuple(sorted(rungs)))
TYPES = st.sampled_from(["float32", "float16", "int8"])
METRICS = st.sampled_from(["l2", "ip", "cosine"])


@given(KEYS, st.data())
def test_select_smallest_is_a_stable_sort_cut_off(keys: Any, data: Any) -> None:
    keep = data.draw(st.integers(1, len(keys) - 1))
    rows = np.arange(len(keys), dtype=np.uint32)
    kept_keys, kept_rows, bound = kernels.select_smallest(keys, rows, keep)
    twin = twins.smallest(keys, keep)
    assert np.array_equal(kept_rows, twin)
    assert np.array_equal(kept_keys, keys[twin])
    assert kept_keys.max() <= bound <= np.delete(keys, twin).min()


@given(KEYS, st.data())
def test_collecting_below_the_bound_loses_nothing_that_is_kept(keys: Any, data: Any) -> None:
    keep = data.draw(st.integers(1, len(keys)))
    bound = kernels.bound_of_smallest(keys, keep)
    assert np.count_nonzero(keys <= bound) >= keep
    below, rows = kernels.collect_below(keys, bound, 5)
    assert np.array_equal(rows, 5 + np.flatnonzero(keys < np.float32(bound)))
    assert np.array_equal(below, keys[rows - 5])


@given(st.integers(1, 5000))
def test_the_default_ladder_halves_down_to_eight(dims: int) -> None:
    ladder = adanns.default_ladder(dims)
    assert ladder[-1] == dims
    assert all(high == 2 * low for low, high in itertools.pairwise(ladder))
    assert ladder[0] < 16 or ladder[0] % 2 == 1
    assert ladder[0] >= min(8, dims)


@given(st.sets(st.integers(1, 5000), min_size=1, max_size=12).map(sorted), st.data())
def test_planes_cover_all_dims_once_and_end_on_rungs(ladder: list[int], data: Any) -> None:
    ends = data.draw(st.sets(st.sampled_from(ladder)).map(lambda some: sorted({*some, ladder[-1]})))
    precision = {end: data.draw(TYPES) for end in ends}
    planes = plan_planes(ladder, precision)
    first = 0
    for plane in planes:
        assert plane.first_dim == first
        assert plane.dims > 0
        first += plane.dims
        assert first in ladder
        assert all(precision[next(e for e in ends if e > dim)] == plane.type for dim in (plane.first_dim, first - 1))
    assert first == ladder[-1]
    assert len(planes) <= len(ends) + 6


@st.composite
def searches(draw: Any) -> tuple[Any, ...]:
    """(index class, options, rows, queries, ids, k, rung, threads)"""
    ladder = draw(LADDERS)
    dims, count = ladder[-1], draw(st.integers(1, 70))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    rows = generator.standard_normal((count, dims)).astype(np.float32)
    if draw(st.booleans()):
        rows = np.round(rows)  # ties and zero rows
    if draw(st.booleans()):
        rows = rows[generator.integers(0, count, count)]  # duplicates
    ends = draw(st.sets(st.sampled_from(ladder)).map(lambda some: sorted({*some, dims})))
    options = {"metric": draw(METRICS), "ladder": ladder, "precision": {end: draw(TYPES) for end in ends}}
    index_class = draw(st.sampled_from([adanns.ExactIndex, adanns.FunnelIndex, adanns.IVFIndex]))
    if index_class is not adanns.ExactIndex:
        options["scan_precision"] = draw(st.sampled_from(["int8", None]))
    if index_class is adanns.FunnelIndex:
        options["shortlist_dims"] = draw(st.sampled_from(ladder))
    if index_class is adanns.IVFIndex:
        options |= {"cluster_dims": draw(st.sampled_from(ladder)), "scan_dims": draw(st.sampled_from(ladder))}
        options |= {"lists": draw(st.integers(1, count)), "iterations": 2}
    queries = generator.standard_normal((draw(st.integers(1, 10)), dims)).astype(np.float32)
    queries[draw(st.integers(0, len(queries) - 1))] = rows[0]
    ids = generator.permutation(1000)[:count]
    return index_class, options, rows, queries, ids, draw(st.integers(1, 80)), draw(st.integers(1, 3))


@given(searches(), st.data())
def test_any_search_that_leaves_nothing_out_is_exact(search: tuple[Any, ...], data: Any) -> None:
    index_class, options, rows, queries, ids, k, threads = search
    index = index_class(**options).build(rows, ids, threads=threads)
    keep = max(k, len(rows))
    rungs = list(options["ladder"])
    if index_class is adanns.ExactIndex:
        dims = data.draw(st.sampled_from(rungs))
        result = index.search(queries, k, dims=dims, threads=threads)
    else:
        scan_dims = data.draw(st.sampled_from(rungs))
        above = [rung for rung in rungs if rung >= scan_dims]
        stages = sorted(data.draw(st.sets(st.sampled_from(above), min_size=1)))
        dims = stages[-1]
        keyword = "shortlist_dims" if index_class is adanns.FunnelIndex else "scan_dims"
        probes = {} if index_class is adanns.FunnelIndex else {"probes": len(rows)}
        rerank = [(stage, keep) for stage in stages]
        result = index.search(queries, k, rerank=rerank, threads=threads, **{keyword: scan_dims}, **probes)
    stored = twins.stored(rows, options["metric"], options["precision"])
    twins.assert_nearest(result, twins.distances(stored, queries, options["metric"], dims), ids, 2e-5)


@given(searches(), st.data())
def test_any_search_gives_distinct_rows_with_their_true_distances(search: tuple[Any, ...], data: Any) -> None:
    index_class, options, rows, queries, ids, k, threads = search
    index = index_class(**options).build(rows, ids, threads=threads)
    probes = {"probes": data.draw(st.integers(1, 10))} if index_class is adanns.IVFIndex else {}
    result = index.search(queries, k, threads=threads, **probes)
    twin = twins.distances(twins.stored(rows, options["metric"], options["precision"]), queries, options["metric"])
    for query, count in enumerate(result.counts):
        found = [ids.tolist().index(identity) for identity in result.ids[query, :count]]
        assert len(set(found)) == count <= min(k, len(rows))
        tolerance = 2e-5 * max(1, np.abs(twin).max())
        np.testing.assert_allclose(result.distances[query, :count], twin[query, found], rtol=0, atol=tolerance)
        assert (np.diff(result.distances[query, :count]) >= 0).all()
        assert (result.ids[query, count:] == -1).all()
        assert np.isposinf(result.distances[query, count:]).all()
