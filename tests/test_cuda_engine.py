"""Does an index on a device find what it finds on the CPU? In the emulator, and on a GPU where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_emulator.emulator import Device
from cuda_search import AnyDevice, Array, Loaded

import adanns
from adanns import cuda
from adanns.cuda import engine, graphs
from adanns.cuda.engine import planned
from adanns.cuda.layout import BLOCK_ROWS, stored_at

ROWS, DIMS, QUERIES = 700, 64, 7
METRICS = ["l2", "ip", "cosine"]
INDICES: dict[str, Any] = {
    "exact": lambda metric: adanns.ExactIndex(metric=metric, precision="float32"),
    "exact half": lambda metric: adanns.ExactIndex(metric=metric, precision="float16"),
    "funnel": lambda metric: adanns.FunnelIndex(shortlist_dims=16, metric=metric),
    "ivf": lambda metric: adanns.IVFIndex(cluster_dims=16, scan_dims=16, lists=12, metric=metric),
    "ivf planes": lambda metric: adanns.IVFIndex(
        cluster_dims=32, scan_dims=16, lists=12, metric=metric, scan_precision=None, precision="float32"
    ),
    "opq": lambda metric: adanns.OPQIndex(scan_dims=32, code_bytes=8, metric=metric, rotations=1),
    "opq alone": lambda metric: adanns.OPQIndex(scan_dims=32, code_bytes=8, metric=metric, precision=None, rotations=1),
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


@pytest.fixture(autouse=True)
def current(monkeypatch: pytest.MonkeyPatch, loaded: Loaded, device: AnyDevice) -> None:
    """The emulator, or the GPU, is what `to("cuda")` copies to."""
    monkeypatch.setattr(cuda, "current_device", lambda: (device, loaded[0]))


class Guest:
    """What cupy and torch have in common; the emulator knows it by its values."""

    def __init__(self, values: Array) -> None:
        self.values = values

    __cuda_array_interface__ = property(lambda self: self.values.__array_interface__)

    def __len__(self) -> int:
        return len(self.values)


def assert_near(found: adanns.SearchResult, result: adanns.SearchResult) -> None:
    """The same ids but where distances are as good as equal."""
    np.testing.assert_allclose(found.distances, result.distances, rtol=2e-4, atol=2e-5)
    different = found.ids != result.ids
    assert different.mean() < 0.02
    np.testing.assert_array_equal(found.counts, result.counts)


def shared(found: adanns.SearchResult, result: adanns.SearchResult) -> float:
    """The share of ids that both have."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(found.ids, result.ids, strict=True)]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("queries", [2, QUERIES])  # few, and enough for tensor cores
def test_device_finds_what_the_cpu_finds(vectors: tuple[Array, Array], name: str, metric: str, queries: int) -> None:
    rows, asked = vectors[0], vectors[1][:queries]
    index = INDICES[name](metric).build(rows, ids=np.arange(ROWS)[::-1] * 3)
    arguments: dict[str, Any] = {}
    if not name.startswith("exact") and not name.endswith("alone"):
        arguments["rerank"] = [(32, 60), (DIMS, 20)]
    if hasattr(index, "lists"):
        arguments["probes"] = index.lists  # fewer: the CPU rounds queries to route, a device does not
    result, found = (each.search(asked, 10, **arguments) for each in (index, index.to("cuda")))
    scans = [next(stage for stage in each.stats if stage.stage == "scan") for each in (found, result)]
    assert (scans[0].dims, scans[0].read) == (scans[1].dims, scans[1].read)  # a rerank more or less is each one's own
    assert found.stats[-1].kept == result.stats[-1].kept
    if name in ("exact", "exact half", "ivf planes"):
        assert_near(found, result)
    else:  # queries and tables are rounded on the CPU, not here: a few of the last candidates differ
        assert shared(found, result) > 0.9


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["ivf", "ivf planes", "ivfopq"])
def test_routed_search_is_that_of_the_nearest_lists(vectors: tuple[Array, Array], name: str, metric: str) -> None:
    index = INDICES[name](metric).build(vectors[0])
    result, found = (each.search(vectors[1], 10, probes=4, rerank=[(DIMS, 60)]) for each in (index, index.to("cuda")))
    assert shared(found, result) > 0.9
    assert found.stats[1].read == pytest.approx(result.stats[1].read, rel=0.2)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("queries", [2, QUERIES])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.95])
def test_a_filter_lets_the_same_rows_through_on_the_device(
    vectors: tuple[Array, Array], name: str, metric: str, queries: int, share: float
) -> None:
    rows, asked = vectors[0], vectors[1][:queries]
    ids = np.arange(ROWS)[::-1] * 3
    index = INDICES[name](metric).build(rows, ids=ids)
    allowed = adanns.Filter(ids[np.random.default_rng(5).random(ROWS) < share])
    arguments: dict[str, Any] = {"filter": allowed}
    if not name.startswith("exact") and not name.endswith("alone"):
        arguments["rerank"] = [(DIMS, 200)]
    if hasattr(index, "lists"):
        arguments["probes"] = index.lists
    result, found = (each.search(asked, 10, **arguments) for each in (index, index.to("cuda")))
    np.testing.assert_array_equal(found.counts, result.counts)
    if name.endswith("alone"):  # tables are rounded on the CPU, not here
        assert shared(found, result) > 0.8
    else:
        assert_near(found, result)


@pytest.mark.parametrize("probes", [1, 4])  # by four, lists are probed by enough queries for tensor cores
@pytest.mark.parametrize("name", ["ivf", "ivf planes", "ivfopq", "compact alone"])
def test_few_probes_of_a_filtered_search_find_as_many_as_are_wanted(
    vectors: tuple[Array, Array], name: str, probes: int
) -> None:
    index = INDICES[name]("l2").build(vectors[0])
    copied = index.to("cuda")
    of_list = index.segments[0]["list_offsets"]
    rows = index.segments[0]["ids"][of_list[3] : of_list[5]]  # all in two lists: most queries do not probe them
    for allowed in (rows, rows[:4], np.zeros(0, np.int64)):
        found = copied.search(vectors[1], 10, probes=probes, filter=allowed)
        assert (found.counts == min(10, len(allowed))).all()
        assert set(found.ids[found.ids >= 0].tolist()) <= set(allowed.tolist())
        if len(allowed) > 10 and not name.endswith("alone"):
            everywhere = index.search(vectors[1], 10, probes=index.lists, filter=allowed, rerank=[(DIMS, 200)])
            assert shared(found, everywhere) > 0.9


def test_what_a_filter_lets_through_is_put_on_the_device_once(
    vectors: tuple[Array, Array], device: AnyDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = INDICES["exact"]("ip").build(vectors[0]).to("cuda")
    made, masked = [], device.masked
    monkeypatch.setattr(device, "masked", lambda values, mask: made.append(1) or masked(values, mask))
    even = adanns.Filter(range(0, ROWS, 2))
    found = [copied.search(vectors[1][:2], 5, filter=even) for _ in range(3)]
    assert len(made) == 1
    assert all((one.ids % 2 == 0).all() for one in found)
    assert (copied.search(vectors[1][:2], 5).ids % 2 == 1).any()


@pytest.mark.parametrize(("name", "arguments"), [("exact half", {}), ("ivf planes", {"probes": 10, "rerank": []})])
def test_more_are_found_than_a_rounded_scan_could_choose(
    vectors: tuple[Array, Array], name: str, arguments: dict[str, Any]
) -> None:
    index = INDICES[name]("l2").build(vectors[0])
    result, found = (each.search(vectors[1], 500, **arguments) for each in (index, index.to("cuda")))
    np.testing.assert_array_equal(found.counts, result.counts)
    assert_near(found, result)


@pytest.mark.parametrize("dims", [8, 16, 64])
def test_any_prefix_is_searched(vectors: tuple[Array, Array], dims: int) -> None:
    for name, argument in (("exact half", "dims"), ("ivf", "scan_dims")):
        index = INDICES[name]("cosine").build(vectors[0])
        arguments: dict[str, Any] = {argument: dims} | ({"probes": 12} if name == "ivf" else {})
        result, found = (each.search(vectors[1], 5, **arguments) for each in (index, index.to("cuda")))
        assert shared(found, result) > 0.9


def test_foreign_clusters_route_by_their_own_queries(vectors: tuple[Array, Array]) -> None:
    rows, asked = vectors
    other, routing = np.ascontiguousarray(rows[:, ::-1][:, :20]), np.ascontiguousarray(asked[:, ::-1][:, :20])
    index = INDICES["ivf planes"]("l2").build(rows, clusters=adanns.train_kmeans(other, 12))
    arguments: dict[str, Any] = {"probes": 5, "routing_queries": routing, "rerank": [(DIMS, 100)]}
    result, found = (each.search(asked, 5, **arguments) for each in (index, index.to("cuda")))
    assert shared(found, result) > 0.9


def test_queries_on_the_device_stay_there(vectors: tuple[Array, Array], device: AnyDevice) -> None:
    if not isinstance(device, Device):
        pytest.skip("a GPU takes arrays of cupy and torch: see test_cuda_libraries.py")
    index = INDICES["ivf"]("cosine").build(vectors[0]).to("cuda")
    expected, found = index.search(vectors[1], 5), index.search(Guest(vectors[1].astype(np.float64)), 5)
    np.testing.assert_array_equal(found.ids, expected.ids)
    with pytest.raises(ValueError, match=r"queries have shape \(7, 63\); expected \(rows, 64\)"):
        index.search(Guest(vectors[1][:, :63]), 5)
    with pytest.raises(TypeError, match=r"queries have dtype int32; expected float32 or float16"):
        index.search(Guest(vectors[1].astype(np.int32)), 5)


def test_a_changed_index_is_copied_without_its_removed_rows(vectors: tuple[Array, Array]) -> None:
    index = INDICES["exact"]("l2").build(vectors[0][:500])
    index.add(vectors[0][500:], ids=np.arange(500, ROWS))
    first = index.search(vectors[1], 1).ids[:, 0]
    index.remove(np.unique(first))
    copied = index.to("cuda")
    assert copied.rows == index.rows
    assert_near(copied.search(vectors[1], 10), index.search(vectors[1], 10))


def test_what_a_gpu_cannot_do_is_said(vectors: tuple[Array, Array], tmp_path: Path) -> None:
    index = INDICES["exact"]("l2").build(vectors[0])
    copied = index.to("cuda")
    assert copied.to("cuda") is copied
    assert index.to("cpu") is index
    with pytest.raises(ValueError, match="range_search runs on the CPU"):
        copied.range_search(vectors[1], 1.0)
    with pytest.raises(ValueError, match="then copy that one"):
        copied.remove(3)
    with pytest.raises(ValueError, match="row 2 holds NaN or infinity"):
        copied.search(np.where(np.arange(QUERIES)[:, None] == 2, np.nan, vectors[1]).astype(np.float32), 5)
    with pytest.raises(ValueError, match=r"shortlist of 2000 candidates; a GPU keeps up to 1024"):
        INDICES["ivf"]("l2").build(vectors[0]).to("cuda").search(vectors[1], 500)
    with pytest.raises(ValueError, match="device='tpu'; choose 'cpu' or 'cuda'"):
        index.to("tpu")
    copied.save(tmp_path / "index")
    assert_near(copied.search(vectors[1], 5), adanns.load(tmp_path / "index").search(vectors[1], 5))


def test_too_little_memory_is_said_before_anything_is_copied(
    vectors: tuple[Array, Array], device: AnyDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = INDICES["exact"]("l2").build(vectors[0])
    monkeypatch.setattr(device, "free_bytes", lambda: 10**8)
    monkeypatch.setattr(device, "put", None)
    with pytest.raises(MemoryError, match=r"needs 0\.54 GB of device memory.*0\.10 GB are free"):
        index.to("cuda")


def test_many_queries_are_searched_in_batches(vectors: tuple[Array, Array], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST_QUERIES", 3)
    index = INDICES["ivf"]("cosine").build(vectors[0])
    result, found = (each.search(vectors[1], 5, probes=3) for each in (index, index.to("cuda")))
    assert found.ids.shape == result.ids.shape
    assert shared(found, result) > 0.85
    assert found.stats[0] == result.stats[0]


class Replayed:
    """What a recording does, by doing the work again."""

    def __init__(self, work: Any, memory: AnyDevice) -> None:
        self._work, self._memory = work, memory
        self.result = work(memory)
        self.replays = 0

    def replay(self, before: Any) -> None:
        before()
        again = self._work(self._memory)
        self.result.packed[...] = again.packed
        if again.probes is not None:
            self.result.probes[...] = again.probes
        self.replays += 1

    def done(self) -> None:
        pass


def test_a_search_like_one_before_is_replayed(
    vectors: tuple[Array, Array], device: AnyDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[Replayed] = []

    def record(work: Any) -> Replayed:
        recorded.append(Replayed(work, device))
        return recorded[-1]

    monkeypatch.setattr(device, "record", record)
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 2)
    index = INDICES["ivf"]("cosine").build(vectors[0]).to("cuda")
    first = [index.search(vectors[1][row], 5, probes=3) for row in range(4)]
    assert len(recorded) == 1  # one query is like another
    assert recorded[0].replays == 3
    for row, found in enumerate(first):
        again = index.search(vectors[1][row], 5, probes=3)
        np.testing.assert_array_equal(again.ids, found.ids)
        assert again.stats == found.stats
    for probes in (4, 4, 5, 5):  # other graphs, of which two are kept
        index.search(vectors[1][0], 5, probes=probes)
    assert len(recorded) == 3
    index.search(vectors[1][0], 5, probes=3)
    assert recorded[0].replays == 7


def test_a_rounded_scan_is_measured_again_once() -> None:
    stages = [(16, 100), (32, 50), (64, 20)]
    assert [stage.exact for stage in planned(stages, 16, exact=False, at_once=True)] == [True, False, False]
    assert [stage.exact for stage in planned(stages, 16, exact=True, at_once=True)] == [False, False, False]
    assert [stage.exact for stage in planned(stages, 8, exact=False, at_once=False)] == [False, False, True]
    assert [stage.exact for stage in planned(stages, 16, exact=False, at_once=False)] == [True, False, False]


def test_rows_are_found_in_blocks_that_lists_begin_anew() -> None:
    offsets = np.array([0, 3, 3, 20, 36], np.int64)
    assert stored_at(offsets, BLOCK_ROWS).tolist() == [0, 1, 2, *range(16, 33), *range(48, 64)]
