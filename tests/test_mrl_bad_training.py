"""Is what cannot be trained, or resumed, refused at the door with what was expected?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from adanns import mrl  # noqa: E402

torch.set_num_threads(1)  # at these sizes more threads only wait for each other

ROWS, FEATURES, CLASSES = 40, 4, 3
POINTS = np.random.default_rng(0).standard_normal((ROWS, FEATURES), dtype=np.float32)
LABELS = np.arange(ROWS) % CLASSES
GOOD: dict[str, Any] = {"epochs": 2, "learning_rate": 0.01, "progress": False}


def train(labels: Any = LABELS, points: Any = POINTS, batches: Any = None, width: int = 6, **options: Any) -> Any:
    model = torch.nn.Sequential(torch.nn.Linear(FEATURES, width), torch.nn.Linear(width, 8))
    loss = options.pop("loss", None) or mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead((4, 8), CLASSES))
    batches = mrl.ArrayBatches(points, labels, batch=10) if batches is None else batches
    return mrl.train(model, loss, batches, **(GOOD | options))


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self) -> Any:
        while True:
            yield torch.zeros(FEATURES), 0


class Short:
    """Says it has more batches than it has."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        return iter([(torch.zeros(5, FEATURES), torch.zeros(5, dtype=torch.int64))] * 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train(LABELS + 1), "target 3 at row 2; expected 0 ... 2"),
        (lambda: train(LABELS - 1), "target -1 at row 0"),
        (lambda: train(LABELS.astype(float)), "targets are torch.float32; expected a tensor of int64"),
        (lambda: train(epochs=0), "epochs=0"),
        (lambda: train(learning_rate=0), "learning_rate=0"),
        (lambda: train(weight_decay=-1), "weight_decay=-1"),
        (lambda: train(clip_norm=0), "clip_norm=0"),
        (lambda: train(seed=-1), "seed=-1"),
        (lambda: train(schedule="step"), "schedule is 'step'; choose one of ('one-cycle', 'cosine')"),
        (lambda: train(warmup=1), "warmup=1"),
        (lambda: train(mixed_precision="half"), "mixed_precision is 'half'"),
        (lambda: train(mixed_precision="float16"), "needs a GPU"),
        (lambda: train(checkpoint="run.pt", checkpoint_every=0), "checkpoint_every=0"),
        (lambda: train(checkpoint="nowhere/run.pt"), "there is no folder nowhere"),
        (lambda: train(loss=torch.nn.functional.cross_entropy), "expected a module, e.g. MatryoshkaLoss(loss, ladder)"),
        (lambda: train(loss=mrl.MatryoshkaLoss(lambda x, y: x.sum(1), (8,))), "the loss has shape (10,)"),
        (lambda: train(batches=torch.utils.data.DataLoader(Endless())), "without a length"),
        (lambda: train(batches=[]), "batches are empty"),
        (lambda: train(batches=Short()), "epoch 0 gave 2 batches; len(batches) is 3"),
        (
            lambda: mrl.train(
                torch.nn.Identity(),
                mrl.MatryoshkaLoss(torch.sum, (4,)),
                mrl.ArrayBatches(POINTS, None, batch=4),
                **GOOD,
            ),
            "nothing to train",
        ),
        (lambda: mrl.ArrayBatches(POINTS, LABELS, batch=41), "batch=41 is larger than the data: 40 rows"),
        (lambda: mrl.ArrayBatches(POINTS, LABELS, batch=3, rows=[0, 1]), "larger than the data: 2 rows"),
        (lambda: mrl.ArrayBatches(POINTS, LABELS, batch=1, rows=[40]), "rows go from 40 to 40; inputs have 40 rows"),
        (lambda: mrl.ArrayBatches(POINTS, LABELS, batch=1, rows=[0.5]), "expected row numbers or a mask of 40"),
        (lambda: mrl.ArrayBatches(POINTS, LABELS[1:], batch=1), "39 targets for 40 rows"),
        (lambda: mrl.ArrayBatches(POINTS, LABELS.astype(str), batch=1), "expected integers or floats"),
        (lambda: mrl.ArrayBatches(POINTS[0], LABELS, batch=1), "expected (rows, ...)"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights(tmp_path: Path, bad: float) -> None:
    points = POINTS.copy()
    points[7] = bad
    model = torch.nn.Linear(FEATURES, 8)
    loss = mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead((4, 8), CLASSES))
    batches = mrl.ArrayBatches(points, LABELS, batch=10)
    wrong = next(step for step, batch in enumerate(batches.epoch(0)) if not torch.isfinite(batch[0]).all())
    with pytest.raises(FloatingPointError, match=f"the loss at step {wrong} is nan"):
        mrl.train(model, loss, batches, **GOOD, checkpoint=tmp_path / "run.pt", checkpoint_every=wrong + 1)
    assert torch.isfinite(model.weight).all()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"epochs": 3}, "epochs: 2 there, 3 here"),
        ({"learning_rate": 0.02}, "learning_rate: 0.01 there, 0.02 here"),
        ({"schedule": "cosine", "warmup": 0.3}, "schedule: 'one-cycle' there, 'cosine' here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"width": 7}, "model.0.weight: (6, 4) there, (7, 4) here"),
        ({"batches": mrl.ArrayBatches(POINTS, LABELS, batch=9)}, "batch: 10 there, 9 here"),
        ({"batches": mrl.ArrayBatches(POINTS, LABELS, batch=10, seed=1)}, "order_seed: 0 there, 1 here"),
        (
            {"loss": mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead((2, 8), CLASSES))},
            "loss.head.weights.0: (3, 4) there, (3, 2) here",
        ),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_with_what_differs(
    tmp_path: Path, other: dict[str, Any], difference: str
) -> None:
    path = tmp_path / "run.pt"
    train(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is the checkpoint of another run") as caught:
        train(checkpoint=path, **other)
    assert difference in str(caught.value)
    assert path.read_bytes() == before


def spoilt(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut short":
        content = content[:-100]
    elif how == "longer":
        content += b"x"
    elif how == "one bit":
        content[len(content) // 2] ^= 1
    elif how == "empty":
        content.clear()
    path.write_bytes(content)
    if how == "torch's own":
        torch.save({"model": {}}, path)


@pytest.mark.parametrize("how", ["cut short", "longer", "one bit", "empty", "torch's own"])
def test_a_damaged_or_foreign_checkpoint_is_named(tmp_path: Path, how: str) -> None:
    path = tmp_path / "run.pt"
    train(checkpoint=path)
    spoilt(path, how)
    with pytest.raises(mrl.CorruptCheckpointError, match=str(path)):
        train(checkpoint=path)


def test_importing_adanns_imports_no_torch() -> None:
    script = "import sys, adanns; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
