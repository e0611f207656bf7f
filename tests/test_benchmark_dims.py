"""Top-1 by dims: the one-pass search against searching each prefix from scratch, and a tiny run from end to end."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is in the extra 'bench'"),
    pytest.mark.filterwarnings("ignore:builtin type Swig"),
]
ROOT = Path(__file__).resolve().parents[1]
LADDER = (4, 8, 16, 32)


def class_vectors(rng: np.random.Generator, rows: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Ten classes; as in a Matryoshka embedding, earlier dims tell more."""
    labels = np.arange(rows) % 10
    centres = np.random.default_rng(99).standard_normal((10, 32)) / np.sqrt(1 + np.arange(32))
    return (centres[labels] + 0.2 * rng.standard_normal((rows, 32))).astype(np.float32), labels


def test_one_pass_over_bands_equals_search_of_each_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    from adanns.datasets import Dataset
    from benchmarks import dims

    monkeypatch.setattr(dims, "CHUNK_ROWS", 37)
    rng = np.random.default_rng(0)
    (database, labels), (queries, expected) = class_vectors(rng, 500), class_vectors(rng, 90)
    database[3, :8] = 0  # a prefix of zeros has no direction; it must not win
    model = Dataset("made", database, queries, labels, expected, LADDER, "cosine", "here", "none")
    chosen = np.arange(0, 90, 2)
    found = dims.prefix_top1(model, chosen, LADDER, lambda vectors: vectors)
    for rung, top1 in zip(LADDER, found, strict=True):
        norms = np.maximum(np.linalg.norm(database[:, :rung], axis=1, keepdims=True), 1e-30)
        nearest = (queries[chosen, :rung] @ (database[:, :rung] / norms).T).argmax(axis=1)
        assert top1 == (labels[nearest] == expected[chosen]).mean()
    assert found[0] < found[-1]


def test_tiny_run_writes_table_csv_and_figure(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (database, labels), (queries, expected) = class_vectors(rng, 500), class_vectors(rng, 100)
    turn = np.linalg.qr(rng.standard_normal((32, 32)))[0].astype(np.float32)
    folder = tmp_path / "data"
    models: dict[str, Any] = {"": np.eye(32, dtype=np.float32), "rigid-32": turn, "rigid-8": turn[:, :8]}
    for name, matrix in models.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        np.save(folder / name / "database.npy", database @ matrix)
        np.save(folder / name / "queries.npy", queries @ matrix)
    np.save(folder / "database_labels.npy", labels)
    np.save(folder / "query_labels.npy", expected)
    (folder / "ladder.json").write_text(json.dumps(LADDER))

    command = [sys.executable, "-m", "benchmarks", "dims", "--dataset", f"npy:{folder}", "--threads", "1"]
    output = tmp_path / "results"
    done = subprocess.run([*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (output / "results.csv").open() as file:
        top1 = {(row["method"], int(row["dims"])): float(row["top1"]) for row in csv.DictReader(file)}
    # A turn changes no distance at all dims; the SVD turns back what was lost by it.
    assert top1["MRL", 32] == top1["rigid model, truncated", 32] == top1["SVD", 32] == top1["random features", 32]
    assert top1["one model per size", 8] == top1["rigid model, truncated", 8] < top1["SVD", 8]
    assert f"{100 * top1['MRL', 4]:.2f}" in done.stdout
    assert str(tmp_path) not in (output / "results.json").read_text()
    assert (output / "top1_by_dims.png").stat().st_size > 10_000
