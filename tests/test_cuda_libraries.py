"""Are arrays of cupy and torch searched where they are? On a GPU only."""

from __future__ import annotations

import numpy as np
import pytest

import adanns
from adanns import cuda

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason=cuda.why_not() or "runs here")


@pytest.fixture(scope="module")
def index() -> adanns.IVFIndex:
    vectors = np.random.default_rng(3).standard_normal((5000, 64), np.float32)
    return adanns.IVFIndex(cluster_dims=16, scan_dims=16).build(vectors).to("cuda")


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((100, 64), np.float32)


def test_torch_queries_give_torch_results_on_its_stream(index: adanns.IVFIndex, queries: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    expected = index.search(queries, 10)
    with torch.cuda.stream(torch.cuda.Stream()):
        tensor = torch.as_tensor(queries).cuda(non_blocking=True).requires_grad_()
        distances, ids = index.search(tensor, 10)
        assert isinstance(ids, torch.Tensor)
        assert ids.is_cuda
        np.testing.assert_array_equal(ids.cpu().numpy(), expected.ids)
        np.testing.assert_array_equal(distances.cpu().numpy(), expected.distances)


def test_cupy_queries_give_cupy_results(index: adanns.IVFIndex, queries: np.ndarray) -> None:
    cupy = pytest.importorskip("cupy")
    expected = index.search(queries, 10)
    found = index.search(cupy.asarray(queries), 10)
    assert isinstance(found.ids, cupy.ndarray)
    np.testing.assert_array_equal(found.ids.get(), expected.ids)
    assert found.stats == expected.stats


def test_a_query_with_nan_on_the_device_finds_nothing(index: adanns.IVFIndex, queries: np.ndarray) -> None:
    cupy = pytest.importorskip("cupy")
    expected = index.search(queries, 10)
    damaged = cupy.asarray(queries)
    damaged[3] = cupy.nan
    found = index.search(damaged, 10)
    assert found.ids[3].tolist() == [-1] * 10
    np.testing.assert_array_equal(found.ids.get()[4:], expected.ids[4:])


def test_a_search_repeated_as_a_graph_finds_the_same(index: adanns.IVFIndex, queries: np.ndarray) -> None:
    cupy = pytest.importorskip("cupy")
    for rows in (1, 7):
        few = queries[:rows]
        first = index.search(few, 10, probes=5)
        for asked in (few, few, cupy.asarray(few)):
            again = index.search(asked, 10, probes=5)
            ids = again.ids if isinstance(again.ids, np.ndarray) else again.ids.get()
            np.testing.assert_array_equal(ids, first.ids)
            assert again.stats == first.stats
        other = index.search(queries[50 : 50 + rows], 10, probes=5)
        assert (other.ids[:, 0] != first.ids[:, 0]).any()
    graphs = index._need_snapshot().device._graphs._graphs
    assert any(graph is not None for graph in graphs.values()), "nothing was recorded"


def test_codes_are_searched_as_graphs_too(queries: np.ndarray) -> None:
    vectors = np.random.default_rng(5).standard_normal((3000, 64), np.float32)
    for index in (
        adanns.OPQIndex(scan_dims=32, code_bytes=8, rotations=1).build(vectors).to("cuda"),
        adanns.ExactIndex().build(vectors).to("cuda"),
    ):
        first, *others = [index.search(queries[:3], 10) for _ in range(4)]
        for other in others:
            np.testing.assert_array_equal(other.ids, first.ids)
        assert any(graph is not None for graph in index._need_snapshot().device._graphs._graphs.values())


def test_threads_may_share_an_index(index: adanns.IVFIndex, queries: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    expected = index.search(queries, 10)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: index.search(queries, 10), range(20)):
            np.testing.assert_array_equal(found.ids, expected.ids)
        alone = [index.search(query, 10).ids for query in queries[:20]] * 5  # a batch may route by rounded queries
        for ids, found in zip(
            alone, pool.map(lambda row: index.search(queries[row % 20], 10), range(100)), strict=True
        ):
            np.testing.assert_array_equal(found.ids, ids)
