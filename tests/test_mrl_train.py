"""Does training learn, does it repeat, and does it go on exactly where it was cut off?"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from adanns import mrl  # noqa: E402
from adanns.mrl.schedule import rate_at  # noqa: E402

torch.set_num_threads(1)  # at these sizes more threads only wait for each other

LADDER = (8, 16, 32)
CLASSES = 10
ROWS = 330
BATCH = 32  # 10 batches an epoch, 10 rows left over
EPOCHS = 3
SETTINGS: dict[str, Any] = {"epochs": EPOCHS, "learning_rate": 5e-3, "progress": False}


class CutOffError(Exception):
    """The process ends here."""


def problem(rows: int = ROWS, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Points around one centre a class."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, 24))
    labels = rng.integers(0, CLASSES, rows)
    return (centres[labels] + spread * rng.standard_normal((rows, 24))).astype(np.float32), labels


def network() -> tuple[Any, Any]:
    """A model that draws random numbers and keeps running statistics, and a Matryoshka loss."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [torch.nn.Linear(24, 48), torch.nn.BatchNorm1d(48), torch.nn.ReLU(), torch.nn.Dropout(0.2)]
        model = torch.nn.Sequential(*layers, torch.nn.Linear(48, 32))
        return model, mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(LADDER, CLASSES), label_smoothing=0.1)


def jitter(inputs: Any) -> Any:
    """An augmentation that draws from all three global generators."""
    return inputs + 0.1 * torch.randn_like(inputs) + 0.1 * np.random.random() + 0.1 * random.random()  # noqa: NPY002


class Jittered(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.points, self.labels = problem()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return jitter(torch.from_numpy(self.points[row])), int(self.labels[row])


def array_batches() -> Any:
    return mrl.ArrayBatches(*problem(), batch=BATCH, seed=5, transform=jitter)


def loader(**options: Any) -> Any:
    return torch.utils.data.DataLoader(Jittered(), batch_size=BATCH, drop_last=True, shuffle=True, **options)


def loader_with_generator() -> Any:
    return loader(generator=torch.Generator())


def loader_with_sampler() -> Any:
    data = Jittered()
    sampler = torch.utils.data.RandomSampler(data, generator=torch.Generator())
    return torch.utils.data.DataLoader(data, batch_size=BATCH, drop_last=True, sampler=sampler)


def trained(batches: Any, cut_off_at: int | None = None, **options: Any) -> tuple[dict[str, Any], Any]:
    """All weights and statistics after training, and its report."""

    def progress(what: str, done: int, total: int) -> None:
        if done == cut_off_at:
            raise CutOffError

    model, loss = network()
    report = mrl.train(model, loss, batches, **(SETTINGS | {"progress": progress} | options))
    return {**model.state_dict(), **loss.state_dict(prefix="loss.")}, report


def assert_bit_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


def test_eight_dims_learn_almost_what_all_of_them_do() -> None:
    points, labels = problem(2000, spread=0.7)
    model, loss = network()
    batches = mrl.ArrayBatches(points, labels, batch=50, rows=np.arange(1000))
    report = mrl.train(model, loss, batches, **(SETTINGS | {"epochs": 6}))
    with torch.inference_mode():
        logits = loss.head(model.eval()(torch.from_numpy(points[1000:])))
    top1 = (logits.argmax(-1).numpy() == labels[1000:]).mean(1)
    assert top1[-1] > 0.9
    assert top1[0] > top1[-1] - 0.05
    assert report.steps == len(report.losses) == 120
    assert report.losses[-20:].mean() < report.losses[:20].mean() / 2


@pytest.mark.parametrize("make", [array_batches, loader])
def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(make: Callable[[], Any]) -> None:
    one, _ = trained(make(), epochs=1)
    torch.rand(3), np.random.random(), random.random()  # noqa: NPY002
    other, _ = trained(make(), epochs=1)
    assert_bit_equal(one, other)
    third, _ = trained(make(), epochs=1, seed=1)
    assert not torch.equal(one["0.weight"], third["0.weight"])


@pytest.mark.parametrize("make", [array_batches, loader, loader_with_generator, loader_with_sampler])
@pytest.mark.parametrize(
    ("cut_off_at", "resumes_at"), [(14, 12), (10, 8), (20, 20), (23, 20)], ids=["middle", "end", "boundary", "after"]
)
def test_resumed_training_gives_bit_equal_weights(
    tmp_path: Path, make: Callable[[], Any], cut_off_at: int, resumes_at: int
) -> None:
    whole, expected = trained(make())
    options = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 4}
    with pytest.raises(CutOffError):
        trained(make(), cut_off_at, **options)
    resumed, report = trained(make(), **options)
    assert report.resumed_at == resumes_at
    assert_bit_equal(whole, resumed)
    np.testing.assert_array_equal(report.losses, expected.losses)


def test_resumed_training_with_everything_switched_on_gives_bit_equal_weights(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "checkpoint_every": 7, "schedule": "cosine", "clip_norm": 0.5, "mixed_precision": "bfloat16", "warmup": 0.2,
    }  # fmt: skip
    whole, _ = trained(array_batches(), checkpoint=tmp_path / "whole.pt", **options)
    for cut_off_at in (8, 17, 25):
        with pytest.raises(CutOffError):
            trained(array_batches(), cut_off_at, checkpoint=tmp_path / "cut.pt", **options)
    resumed, report = trained(array_batches(), checkpoint=tmp_path / "cut.pt", **options)
    assert report.resumed_at == 21
    assert_bit_equal(whole, resumed)


def test_worker_processes_replay_their_epoch(tmp_path: Path) -> None:
    def make() -> Any:
        return loader(num_workers=1, multiprocessing_context="fork")

    whole, _ = trained(make(), epochs=1)
    options = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 4, "epochs": 1}
    with pytest.raises(CutOffError):
        trained(make(), 5, **options)
    resumed, _ = trained(make(), **options)
    assert_bit_equal(whole, resumed)


def test_a_crash_while_writing_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = trained(array_batches())
    path = tmp_path / "run.pt"

    def crash(self: Path, target: Path) -> None:
        if written:
            raise CutOffError
        written.append(target)
        rename(self, target)

    written: list[Path] = []
    rename = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(CutOffError):
            trained(array_batches(), checkpoint=path, checkpoint_every=4)
    # The second checkpoint is there in full, but not under its name; half of it is what a crash earlier leaves.
    part = path.with_name("run.pt.part")
    part.write_bytes(part.read_bytes()[:1000])
    resumed, report = trained(array_batches(), checkpoint=path, checkpoint_every=4)
    assert report.resumed_at == 4
    assert_bit_equal(whole, resumed)
    assert not part.exists()


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    whole, expected = trained(array_batches(), checkpoint=tmp_path / "run.pt")
    again, report = trained(array_batches(), checkpoint=tmp_path / "run.pt")
    assert report.resumed_at == report.steps == 30
    assert_bit_equal(whole, again)
    np.testing.assert_array_equal(report.losses, expected.losses)


def test_generators_and_modes_are_given_back() -> None:
    torch.manual_seed(3), np.random.seed(3), random.seed(3)  # noqa: NPY002
    expected = torch.rand(2), np.random.random(), random.random()  # noqa: NPY002
    torch.manual_seed(3), np.random.seed(3), random.seed(3)  # noqa: NPY002
    model, loss = network()
    model.train()
    model[1].eval()
    loss.eval()
    mrl.train(model, loss, array_batches(), **(SETTINGS | {"epochs": 1}))
    assert (model.training, model[1].training, model[3].training, loss.training) == (True, False, True, False)
    assert torch.equal(torch.rand(2), expected[0])
    assert (np.random.random(), random.random()) == expected[1:]  # noqa: NPY002


def test_batches_are_augmented_anew_and_can_be_had_from_any_one_on() -> None:
    points = np.zeros((40, 2), np.float32)
    batches = mrl.ArrayBatches(points, np.arange(40), batch=10, transform=jitter)
    seen = [(inputs, targets) for epoch in range(2) for inputs, targets in batches.epoch(epoch)]
    assert len({float(inputs[0, 0]) for inputs, _ in seen}) == len(seen) == 8
    for epoch in range(2):
        assert sorted(torch.cat([targets for _, targets in seen[4 * epoch : 4 * epoch + 4]]).tolist()) == [*range(40)]
    assert not torch.equal(seen[0][1], seen[4][1])
    for (inputs, targets), (again, same) in zip(seen[6:], batches.epoch(1, first=2), strict=True):
        assert torch.equal(inputs, again)
        assert torch.equal(targets, same)


def test_a_loader_shuffles_every_epoch_anew() -> None:
    seen: list[Any] = []
    model = torch.nn.Linear(1, 2)
    model.register_forward_hook(lambda _, inputs, __: seen.extend(inputs[0][:, 0].tolist()))
    rows = torch.utils.data.TensorDataset(torch.arange(40.0)[:, None])
    for generator in (None, torch.Generator()):
        seen.clear()
        batches = torch.utils.data.DataLoader(rows, batch_size=10, shuffle=True, generator=generator)
        mrl.train(model, mrl.MatryoshkaLoss(lambda prefix: prefix.mean(), (1, 2)), batches, **SETTINGS)
        epochs = [tuple(seen[start : start + 40]) for start in (0, 40, 80)]
        assert len(set(epochs)) == 3
        assert all(sorted(order) == [*range(40)] for order in epochs)


def test_the_learning_rate_rises_to_its_peak_and_falls() -> None:
    for schedule in ("one-cycle", "cosine"):
        for warmup in (0, 0.05, 0.3):
            rates = [rate_at(step, 100, schedule, warmup) for step in range(100)]
            peak = int(np.argmax(rates))
            assert rates[peak] == pytest.approx(1)
            assert peak == max(round(100 * warmup) - 1, 0)
            assert (np.diff(rates[: peak + 1]) > 0).all()
            assert (np.diff(rates[peak:]) < 0).all()
            assert 0 < rates[-1] < 0.02
    assert rate_at(0, 1, "one-cycle", 0.3) == 1


def test_matrices_decay_and_biases_do_not() -> None:
    model, loss = torch.nn.Linear(4, 4), mrl.MatryoshkaLoss(lambda prefix: 0 * prefix.sum(), (2, 4))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    batches = mrl.ArrayBatches(np.ones((2, 4), np.float32), None, batch=2)
    mrl.train(model, loss, batches, **(SETTINGS | {"weight_decay": 0.1}))
    assert (model.weight.abs() < before[0].abs()).all()
    assert torch.equal(model.bias, before[1])


def test_two_views_are_handed_to_the_loss_one_by_one() -> None:
    class TwoViews(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.Linear(24, 32)

        def forward(self, points: Any) -> Any:
            return self.encoder(jitter(points)), self.encoder(jitter(points))

    batches = mrl.ArrayBatches(problem()[0], None, batch=BATCH)
    report = mrl.train(TwoViews(), mrl.MatryoshkaInfoNCE(LADDER, temperature=0.1), batches, **SETTINGS)
    assert report.losses[-5:].mean() < report.losses[:5].mean()


def test_a_loader_may_give_dicts_of_tensors() -> None:
    class Bag(torch.nn.Linear):
        def forward(self, inputs: Any) -> Any:
            return super().forward(inputs["points"])

    points, labels = problem()
    rows = [({"points": point}, int(label)) for point, label in zip(points, labels, strict=True)]
    loss = mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(LADDER, CLASSES))
    batches = torch.utils.data.DataLoader(rows, batch_size=BATCH)
    assert mrl.train(Bag(24, 32), loss, batches, **SETTINGS).steps == EPOCHS * 11


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("mixed_precision", [None, "float16", "bfloat16"])
def test_training_on_a_gpu_resumes_bit_equal(tmp_path: Path, mixed_precision: Any) -> None:
    options = {"device": "cuda", "mixed_precision": mixed_precision}
    whole, report = trained(array_batches(), **options)
    assert report.losses[-1] < report.losses[0]
    with pytest.raises(CutOffError):
        trained(array_batches(), 14, checkpoint=tmp_path / "run.pt", checkpoint_every=4, **options)
    resumed, _ = trained(array_batches(), checkpoint=tmp_path / "run.pt", checkpoint_every=4, **options)
    assert_bit_equal(whole, resumed)
