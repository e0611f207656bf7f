"""What changes cost: a tiny run from end to end."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is in the extra 'bench'")
ROOT = Path(__file__).resolve().parents[1]


def test_tiny_run_measures_every_situation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    centres = rng.standard_normal((20, 32)).astype(np.float32)
    for name, rows in (("database", 4000), ("queries", 30)):
        vectors = centres[rng.integers(0, 20, rows)] + rng.standard_normal((rows, 32))
        np.save(folder / f"{name}.npy", vectors.astype(np.float32))
    (folder / "ladder.json").write_text(json.dumps([8, 16, 32]))
    command = [sys.executable, "-m", "benchmarks", "change", "--dataset", f"npy:{folder}", "--rows", "3000"]
    command += ["--dims", "16", "--rounds", "2", "--threads", "1", "--output", str(tmp_path / "results")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "results" / "results.json").read_text())
    assert content["dataset"]["rows"] == 3000
    assert content["dataset"]["ladder"] == [8, 16]
    assert [one["index"] for one in content["added"]] == ["exact", "ivf"]
    assert all(one["rows"] == 1500 for one in content["added"])
    costs = content["costs"]
    assert [cost["situation"] for cost in costs if cost["index"] == "ivf"][:3] == [
        "whole",
        "10% removed",
        "filter of 1.00%",
    ]
    assert all(cost["recall10"] > 0.99 for cost in costs if cost["index"] == "exact")
    for cost in costs:
        assert cost["batch_us"] > 0
        assert cost["situation"] in done.stdout
        if cost["situation"] == "whole":
            assert cost["batch_ratio"] == cost["single_ratio"] == 1
            target = cost["recall10"]
        elif cost["index"] == "ivf" and cost["situation"] != "10% removed":
            assert cost["recall10"] >= target - 0.03
    lines = (tmp_path / "results" / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + len(costs)
