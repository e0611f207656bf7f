"""Does `--device cuda` measure what it says? The emulator stands in for the GPU, at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cuda_search import AnyDevice, Loaded

pytest.importorskip("faiss")
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

    workload, _ = data.prepare(data.load(dataset), 20, 0, 1)
    peers = TorchPeers(workload, "cpu")
    for built in (*peers.exact(), *peers.funnel()):
        found = [workload.accuracy(setting.search(workload.queries, 10, 1)).recall10 or 0 for setting in built.settings]
        assert max(found) > 0.97
