"""Does a search on a device find what the same index finds on the CPU? By every index class, in the emulator or on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_search import AnyDevice, Array, Loaded

import adanns
from adanns.cuda.engine import Engine, planned
from adanns.cuda.layout import BLOCK_ROWS, stored_at
from adanns.cuda.stored import Stored
from adanns.ladder import plan_planes

ROWS, DIMS, QUERIES = 700, 64, 7
METRICS = ["l2", "ip", "cosine"]
INDICES: dict[str, Any] = {
    "exact": lambda metric: adanns.ExactIndex(metric=metric, precision="float32"),
    "exact half": lambda metric: adanns.ExactIndex(metric=metric, precision="float16"),
    "funnel": lambda metric: adanns.FunnelIndex(scan_dims=16, metric=metric),
    "ivf": lambda metric: adanns.IVFIndex(cluster_dims=16, scan_dims=16, lists=12, metric=metric),
    "ivf planes": lambda metric: adanns.IVFIndex(
        cluster_dims=32, scan_dims=16, lists=12, metric=metric, scan_precision=None, precision="float32"
    ),
    "opq": lambda metric: adanns.OPQIndex(scan_dims=32, code_bytes=8, metric=metric, rotations=1),
    "opq alone": lambda metric: adanns.OPQIndex(
        scan_dims=32, code_bytes=8, metric=metric, precision=None, rotations=1
    ),
    "ivfopq": lambda metric: adanns.IVFOPQIndex(
        cluster_dims=16, scan_dims=32, code_bytes=8, lists=12, metric=metric, rotations=1
    ),
    "compact alone": lambda metric: adanns.CompactIndex(
        bytes_per_vector=8, scan_dims=32, prefixes=(16,), bits=4, metric=metric, precision=None, rotations=1
    ),
}


@pytest.fixture(scope="module")
def vectors() -> tuple[Array, Array]:
    rng = np.random.default_rng(31)
    scale = 1 / np.sqrt(1 + np.arange(DIMS))
    rows = (rng.standard_normal((ROWS, DIMS)) * scale).astype(np.float32)
    rows[17] = 0
    return rows, (rng.standard_normal((QUERIES, DIMS)) * scale).astype(np.float32)


def searched(
    loaded: Loaded, device: AnyDevice, index: Any, queries: Array, k: int, **arguments: Any
) -> tuple[Array, Array, Array]:
    """(distances, ids, counts) of the device, asked as the index's own search asks the CPU."""
    built = index._built
    stored = Stored(
        built.arrays,
        plan_planes(built.ladder, index.parameters.precision) if index.parameters.precision is not None else (),
        built.ladder,
        index.parameters.metric,
        device,
        loaded[0],
    )
    (found,) = Engine(stored).search(device.put(queries), k, **arguments)
    return device.read(found.distances), device.read(found.ids), device.read(found.counts)


def assert_near(found: tuple[Array, Array, Array], result: adanns.SearchResult) -> None:
    """The same ids but where distances are as good as equal."""
    np.testing.assert_allclose(found[0], result.distances, rtol=2e-4, atol=2e-5)
    different = found[1] != result.ids
    assert different.mean() < 0.02
    np.testing.assert_array_equal(found[2], result.counts)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("queries", [2, QUERIES])  # few, and enough for tensor cores
def test_device_finds_what_the_cpu_finds(
    loaded: Loaded, device: AnyDevice, vectors: tuple[Array, Array], name: str, metric: str, queries: int
) -> None:
    rows, asked = vectors[0], vectors[1][:queries]
    index = INDICES[name](metric).build(rows, ids=np.arange(ROWS)[::-1] * 3)
    built = index._built
    scan_dims = {"exact": DIMS, "exact half": DIMS}.get(name, getattr(index.parameters, "scan_dims", DIMS))
    scan = built.scan_of(scan_dims)
    arguments: dict[str, Any] = {"rerank": [(32, 60), (DIMS, 20)]} if not built.codes_alone else {}
    if name.startswith("exact"):
        arguments = {}
    stages = arguments.get("rerank", [])
    probes = routing = 0
    if built.lists:
        arguments["probes"] = probes = built.lists  # fewer: the CPU rounds queries to route, a device does not
        routing = built.centroid_dims
    result = index.search(asked, 10, **arguments)
    found = searched(
        loaded,
        device,
        index,
        asked,
        10,
        scan_dims=scan_dims,
        scan=scan,
        probes=probes,
        routing_dims=routing,
        stages=stages,
    )
    if scan == "planes":
        assert_near(found, result)
    else:  # queries and tables are rounded on the CPU, not here: a few of the last candidates differ
        shared = [len(np.intersect1d(a, b)) / 10 for a, b in zip(found[1], result.ids, strict=True)]
        assert np.mean(shared) > 0.9


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["ivf", "ivf planes", "ivfopq"])
def test_routed_search_is_that_of_the_nearest_lists(
    loaded: Loaded, device: AnyDevice, vectors: tuple[Array, Array], name: str, metric: str
) -> None:
    rows, asked = vectors
    index = INDICES[name](metric).build(rows)
    built = index._built
    result = index.search(asked, 10, probes=4, rerank=[(DIMS, 60)])
    found = searched(
        loaded,
        device,
        index,
        asked,
        10,
        scan_dims=index.parameters.scan_dims,
        scan=built.scan_of(index.parameters.scan_dims),
        probes=4,
        routing_dims=built.centroid_dims,
        stages=[(DIMS, 60)],
    )
    shared = [len(np.intersect1d(a, b)) / 10 for a, b in zip(found[1], result.ids, strict=True)]
    assert np.mean(shared) > 0.9


def test_a_rounded_scan_is_measured_again_once() -> None:
    stages = [(16, 100), (32, 50), (64, 20)]
    assert [stage.exact for stage in planned(stages, 16, exact=False, at_once=True)] == [True, False, False]
    assert [stage.exact for stage in planned(stages, 16, exact=True, at_once=True)] == [False, False, False]
    assert [stage.exact for stage in planned(stages, 8, exact=False, at_once=False)] == [False, False, True]
    assert [stage.exact for stage in planned(stages, 16, exact=False, at_once=False)] == [True, False, False]


def test_rows_are_found_in_blocks_that_lists_begin_anew() -> None:
    offsets = np.array([0, 3, 3, 20, 36], np.int64)
    assert stored_at(offsets, BLOCK_ROWS).tolist() == [0, 1, 2, *range(16, 33), *range(48, 64)]
