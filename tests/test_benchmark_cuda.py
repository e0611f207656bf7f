"""Does `--device cuda` measure what it says? The emulator stands in for the GPU, at a tiny size."""

from __future__ import annotations

import json
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_search import AnyDevice, Loaded

pytest.importorskip("faiss")
KEPT = 60  # candidates of a first stage
pytestmark = pytest.mark.filterwarnings("ignore:builtin type Swig")


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 420)
    vectors = rng.standard_normal((5, 32))[labels] + 0.5 * rng.standard_normal((420, 32))
    vectors = (vectors / np.sqrt(1 + np.arange(32))).astype(np.float32)
    for name, part in (("database", slice(0, 400)), ("queries", slice(400, 420))):
        np.save(tmp_path / f"{name}.npy", vectors[part])
        np.save(tmp_path / ("database_labels.npy" if name == "database" else "query_labels.npy"), labels[part])
    (tmp_path / "ladder.json").write_text("[16, 32]")
    return f"npy:{tmp_path}"


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch, loaded: Loaded, device: AnyDevice) -> None:
    from adanns import cuda
    from benchmarks import machine, measure

    monkeypatch.setattr(cuda, "current_device", lambda: (device, loaded[0]))
    monkeypatch.setattr(machine, "gpu", lambda device: {} if device == "cpu" else {"gpu": "an emulator"})
    monkeypatch.setattr(machine, "prepare_environment", lambda threads: {})  # faiss is imported already
    for name in ("FEWEST_IN_LOOP", "MOST_IN_LOOP", "WARM_UP_QUERIES"):
        monkeypatch.setattr(measure, name, 1)


@pytest.mark.parametrize(
    ("benchmark", "arguments", "methods"),
    [
        ("speedup", ["--methods", "exact,funnel"], {"adanns exact", "adanns funnel"}),
        ("codes", ["--methods", "compact", "--bytes", "4"], {"adanns Compact", "adanns Compact + rerank"}),
    ],
)
def test_our_methods_run_on_the_device(
    dataset: str, tmp_path: Path, benchmark: str, arguments: list[str], methods: set[str]
) -> None:
    from benchmarks import __main__ as command_line

    output = tmp_path / "results"
    command = [
        benchmark,
        "--dataset",
        dataset,
        "--quick",
        "--threads",
        "1",
        "--device",
        "cuda",
        "--output",
        str(output),
    ]
    assert command_line.main([*command, *arguments]) == 0
    run = json.loads((output / "results.json").read_text())
    assert (run["options"]["device"], run["machine"]["gpu"]) == ("cuda", "an emulator")
    assert {row["method"] for row in run["measurements"]} >= methods
    assert max(row["recall10"] for row in run["measurements"]) > 0.95


def test_torch_finds_what_exact_search_finds(dataset: str) -> None:
    pytest.importorskip("torch")
    from benchmarks import data
    from benchmarks.methods.torch_peers import TorchPeers
    from benchmarks.methods.torch_rows import TorchRows

    workload, _ = data.prepare(data.load(dataset), 20, 0, 1)
    peers = TorchPeers(TorchRows(workload, "cpu"))
    for built in (*peers.exact(), *peers.funnel()):
        assert best_recall(workload, built) > 0.97


def test_libraries_that_are_not_there_are_named(capsys: pytest.CaptureFixture[str], dataset: str) -> None:
    pytest.importorskip("torch")
    from benchmarks import data
    from benchmarks.methods import gpu_methods
    from benchmarks.methods.base import Sweep

    workload, _ = data.prepare(data.load(dataset), 20, 0, 1)
    assert set(gpu_methods(workload, Sweep.of(400, (16, 32), 0, quick=True), "cpu")) == {"torch-exact", "torch-funnel"}
    said = capsys.readouterr().err
    assert "Without faiss-gpu-flat, faiss-gpu-ivf: this FAISS was built without its GPU half" in said
    assert "Without cuvs-exact, cuvs-ivf, cuvs-cagra: No module named 'cuvs'" in said


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_methods_of_gpu_libraries_find_what_exact_search_finds(
    dataset: str, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    pytest.importorskip("torch")
    faiss: Any = pytest.importorskip("faiss")
    from benchmarks import data
    from benchmarks.__main__ import GPU_METHODS
    from benchmarks.methods import gpu_methods
    from benchmarks.methods.base import Sweep

    for name, value in faiss_stand_ins(faiss).items():
        monkeypatch.setattr(faiss, name, value, raising=False)
    for name, module in cuvs_stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)
    workload, _ = data.prepare(replace(data.load(dataset), metric=metric), 20, 0, 1)
    sweep = replace(Sweep.of(400, (16, 32), 0, quick=True), shortlists=(KEPT,))
    methods = gpu_methods(workload, sweep, "cpu")
    assert list(methods) == list(GPU_METHODS)
    for method in methods.values():
        for built in method():
            if built.settings[0].parameters.get("dims", 32) == 32:
                assert best_recall(workload, built) > 0.97, built.method


def best_recall(workload: Any, built: Any) -> float:
    return max(workload.accuracy(setting.search(workload.queries, 10, 1)).recall10 or 0.0 for setting in built.settings)


def faiss_stand_ins(faiss: Any) -> dict[str, Any]:
    """FAISS's own CPU indices under the names and with the arguments of its GPU half."""

    def lists(resources: None, dims: int, count: int, metric: int) -> Any:
        index = faiss.IndexIVFFlat(faiss.IndexFlat(dims, metric), dims, count, metric)
        index.cp.min_points_per_centroid = 1
        return index

    return {
        "StandardGpuResources": lambda: SimpleNamespace(setDefaultNullStreamAllDevices=lambda: None),
        "GpuIndexFlatConfig": SimpleNamespace,
        "GpuIndexFlat": lambda resources, dims, metric, config: faiss.IndexFlat(dims, metric),
        "GpuIndexIVFFlat": lists,
    }


def cuvs_stand_ins() -> dict[str, Any]:
    """Modules with cuVS's names and signatures that compare all rows; they do not round a graph's or a list's way."""
    import torch

    def nearest(index: tuple[Any, str], queries: Any, k: int) -> tuple[Any, Any]:
        rows, metric = index
        assert queries.dtype == rows.dtype == torch.float16
        scores = queries.float() @ rows.float().T
        if metric == "sqeuclidean":
            scores = 2 * scores - rows.float().square().sum(1)
        best, found = scores.topk(k, dim=1)
        if k == KEPT:
            found[:, -1] = torch.iinfo(torch.int64).max  # as where a first stage found too few
        return best, found

    modules: dict[str, Any] = {name: ModuleType(name) for name in ("cuvs", "cuvs.neighbors")}
    exact = ModuleType("cuvs.neighbors.brute_force")
    # This one keeps no reference to the rows.
    exact.build = lambda rows, metric: (weakref.ref(rows), metric)  # type: ignore[attr-defined]
    exact.search = lambda index, queries, k: nearest((index[0](), index[1]), queries, k)  # type: ignore[attr-defined]
    modules[exact.__name__] = exact
    for name in ("ivf_flat", "cagra"):
        module: Any = ModuleType(f"cuvs.neighbors.{name}")
        module.IndexParams = lambda graph_degree=64, **options: SimpleNamespace(graph_degree=graph_degree, **options)
        module.SearchParams = SimpleNamespace
        module.build = lambda shape, rows: (rows, shape.metric)
        module.search = lambda how, index, queries, k: nearest(index, queries, k)
        modules[module.__name__] = module
    return modules
