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


def test_threads_may_share_an_index(index: adanns.IVFIndex, queries: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    expected = index.search(queries, 10)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: index.search(queries, 10), range(20)):
            np.testing.assert_array_equal(found.ids, expected.ids)
