"""Does the benchmark of training steps measure every loss and write what it measured?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import machine, training_step  # noqa: E402


def test_every_loss_is_timed_beside_the_rigid_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "prepare_environment", lambda threads: {})
    sizes = ["--batch", "4", "--dims", "16", "--classes", "5", "--widths", "1,2", "--rounds", "2", "--threads", "1"]
    assert command.main(["training-step", *sizes, "--output", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "results.json").read_text())
    names = ["rigid", "MRL", "MRL-E", "MRL, plain loop"]
    assert [(row["width"], row["loss"]) for row in content["steps"]] == [(w, name) for w in (1, 2) for name in names]
    assert all(row["milliseconds"] > 0 and row["ratio"] > 0 for row in content["steps"])
    assert content["steps"][0]["ratio"] == 1


def test_the_plain_loop_and_ours_are_the_same_loss() -> None:
    ladder = (8, 16)
    heads, looped = training_step.looped_loss(ladder, 5)
    ours, fast = training_step.matryoshka_loss(ladder, 5, tied=False)
    with torch.no_grad():
        for rung, dims in enumerate(ladder):
            ours.head.weights[rung].copy_(heads[str(dims)].weight)
            ours.head.biases[rung].copy_(heads[str(dims)].bias)
    embeddings, targets = torch.randn(6, 16), torch.randint(0, 5, (6,))
    torch.testing.assert_close(fast(embeddings, targets), looped(embeddings, targets))
