"""The benchmark of adaptive classification: its table, its figure, and a tiny run from end to end."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is in the extra 'bench'"),
    pytest.mark.filterwarnings("ignore:builtin type Swig"),
]
ROOT = Path(__file__).resolve().parents[1]
LADDER = (2, 4, 8)
CLASSES = 6


def write_data(folder: Path) -> None:
    """Classes around centres, classified by their distance to the centre's prefix."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, LADDER[-1])).astype(np.float32)
    folder.mkdir()
    for name, rows in (("database", 40), ("queries", 1200)):
        labels = rng.integers(0, CLASSES, rows)
        vectors = centres[labels] + 0.6 * rng.standard_normal((rows, LADDER[-1])).astype(np.float32)
        np.save(folder / f"{name}.npy", vectors.astype(np.float16))
        np.save(folder / f"{'database' if name == 'database' else 'query'}_labels.npy", labels)
    heads: dict[str, np.ndarray] = {"ladder": np.array(LADDER)}
    for dims in LADDER:
        # -|x - c|^2 / (2 * 0.36) up to what is the same for all classes: the likelihood, hence calibrated softmax.
        heads[f"weight_{dims}"] = centres[:, :dims] / np.float32(0.36)
        heads[f"bias_{dims}"] = -0.5 * (centres[:, :dims] ** 2).sum(axis=1) / np.float32(0.36)
    np.savez(folder / "classifier.npz", **heads)
    (folder / "ladder.json").write_text(json.dumps(LADDER))


def run(folder: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "cascade", "--dataset", f"npy:{folder}", "--threads", "1"]
    return subprocess.run([*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True)


def test_tiny_run_writes_table_csv_and_figure(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    done = run(tmp_path / "data", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = {(row["method"], int(row["max_dims"])): (float(row["expected_dims"]), float(row["top1"])) for row in rows}
    single = {dims: points["one rung for all rows", dims][1] for dims in LADDER}
    assert single[2] < single[4] < single[8]
    for dims in LADDER:
        assert points["one rung for all rows", dims][0] == points["majority vote of the rungs", dims][0] == dims
        assert points["oracle", dims][1] >= max(single[rung] for rung in LADDER if rung <= dims)
        assert points["oracle", dims][0] <= dims
    assert points["cascade, the paper's thresholds", 8][0] < 8
    assert f"{100 * single[4]:.2f}" in done.stdout
    assert (tmp_path / "results" / "cascade.png").stat().st_size > 10_000

    content = json.loads((tmp_path / "results" / "results.json").read_text())
    assert content["options"] == {"rows_learnt_from": 600, "rows": 600, "seed": 0}
    assert content["dataset"]["name"] == "data"
    assert str(tmp_path) not in json.dumps(content["dataset"])
    all_dims = content["equal_accuracy"][-1]
    assert (all_dims["rung"], all_dims["rung_top1"]) == (8, pytest.approx(single[8]))
    assert all_dims["cascade_dims"] < 8
    assert all_dims["cascade_top1"] > single[8] - 0.03
    cascades = [point for point in content["points"] if point["method"] == "cascade, learnt for each budget"]
    assert all(len(point["thresholds"]) == len(point["ladder"]) - 1 for point in cascades)
    assert all(point["expected_dims"] <= point["multiplied_dims"] for point in content["points"])


def test_data_without_a_classifier_are_refused(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    (tmp_path / "data" / "classifier.npz").unlink()
    done = run(tmp_path / "data", tmp_path / "results")
    assert done.returncode == 2
    assert "has no classifier or no labels" in done.stderr
    assert not (tmp_path / "results").exists()


def test_points_that_lie_close_together_are_thinned() -> None:
    from benchmarks.cascade import Point, thinned

    points = [Point("cascade", 64, dims, dims, 0.5) for dims in (8.0, 8.1, 8.5, 9.0, 20.0, 20.1)]
    assert [point.expected_dims for point in thinned(points)] == [8.0, 9.0, 20.0, 20.1]


def test_the_published_points_are_those_of_the_paper() -> None:
    from benchmarks import reference

    cascades = reference.adaptive_classification()
    assert len(cascades) == 7
    assert (37.19, 76.29, "up to 128 dims") in cascades
    assert reference.linear_top1_by_dims()["MRL"][6] == (512.0, 76.65, "512 dims")
