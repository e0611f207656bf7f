"""Are embeddings written whole, exactly, or not at all - and does a retrofitted model keep what it had?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from adanns import mrl  # noqa: E402

torch.set_num_threads(1)  # at these sizes more threads only wait for each other

ROWS, FEATURES, DIMS = 23, 6, 8


def inputs() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, FEATURES), dtype=np.float32)


def model() -> Any:
    """Dropout shows whether it is in evaluation mode."""
    return torch.nn.Sequential(torch.nn.Linear(FEATURES, DIMS), torch.nn.Dropout(0.5))


def expected(network: Any) -> np.ndarray:
    return network[0](torch.from_numpy(inputs())).detach().numpy()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("batch", [1, 5, 23, 100])
def test_the_file_holds_the_embeddings(tmp_path: Path, dtype: Any, batch: int) -> None:
    network = model()
    got = mrl.embed(network, inputs(), tmp_path / "e.npy", dtype=dtype, batch=batch, progress=False)
    assert (got.dtype, got.shape, got.flags.writeable) == (dtype, (ROWS, DIMS), False)
    np.testing.assert_allclose(got, expected(network), rtol=1e-3 if dtype == "float16" else 1e-5, atol=1e-4)
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), got)
    assert network.training
    assert [path.name for path in tmp_path.iterdir()] == ["e.npy"]


def test_memory_maps_and_loaders_give_what_arrays_give(tmp_path: Path) -> None:
    network = model()
    whole = mrl.embed(network, inputs(), tmp_path / "e.npy", dtype="float32", batch=4)
    np.save(tmp_path / "inputs.npy", inputs())
    mapped = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    rows = torch.utils.data.TensorDataset(torch.from_numpy(inputs()), torch.arange(ROWS))
    for source in (mapped, torch.utils.data.DataLoader(rows, batch_size=4)):
        got = mrl.embed(network, source, tmp_path / "other.npy", dtype="float32", batch=4)
        np.testing.assert_array_equal(got, whole)


def test_progress_counts_rows(tmp_path: Path) -> None:
    calls: list[Any] = []
    mrl.embed(model(), inputs(), tmp_path / "e.npy", batch=10, progress=lambda *call: calls.append(call))
    assert calls == [("embedding", 10, ROWS), ("embedding", 20, ROWS), ("embedding", 23, ROWS)]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.nan, FloatingPointError, "row 17 holds NaN or infinity"),
        (np.inf, FloatingPointError, "row 17 holds NaN or infinity"),
        (1e5, OverflowError, "row 17 reaches 100000, beyond float16's 65504; use dtype='float32'"),
    ],
)
def test_values_that_do_not_fit_are_refused_and_the_old_file_stays(
    tmp_path: Path, value: float, error: type[Exception], message: str
) -> None:
    rows = inputs()
    path = tmp_path / "e.npy"
    mrl.embed(torch.nn.Identity(), rows, path, batch=5)
    before = path.read_bytes()
    rows[17, 2] = value
    with pytest.raises(error, match=message):
        mrl.embed(torch.nn.Identity(), rows, path, batch=5)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["e.npy"]


def test_float32_holds_what_float16_does_not(tmp_path: Path) -> None:
    got = mrl.embed(torch.nn.Identity(), np.full((2, 3), 1e5, np.float32), tmp_path / "e.npy", dtype="float32")
    assert (got == 1e5).all()


class Unflat(torch.nn.Module):
    def forward(self, rows: Any) -> Any:
        return rows[:, None]


@pytest.mark.parametrize(
    ("network", "source", "options", "message"),
    [
        (torch.nn.Identity(), inputs(), {"dtype": "int8"}, "dtype is 'int8'"),
        (torch.nn.Identity(), inputs(), {"batch": 0}, "batch=0"),
        (torch.nn.Identity(), np.zeros((0, 3), np.float32), {}, "at least one row"),
        (torch.nn.Identity(), np.zeros(3, np.float32), {}, r"expected \(rows, ...\)"),
        (Unflat(), inputs(), {}, r"model gives shape \(23, 1, 6\)"),
    ],
)
def test_bad_calls_are_refused(tmp_path: Path, network: Any, source: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mrl.embed(network, source, tmp_path / "e.npy", **options)
    assert not list(tmp_path.iterdir())


def test_retrofitting_starts_as_a_rotation_to_the_principal_axes() -> None:
    rows = torch.from_numpy(inputs()) * torch.tensor([1.0, 5, 2, 4, 3, 6])
    rotation = torch.linalg.qr(torch.randn(FEATURES, FEATURES, generator=torch.Generator().manual_seed(0)))[0]
    rotated = rows @ rotation
    start = mrl.retrofit(torch.nn.Identity(), rotated)(rotated).detach()
    torch.testing.assert_close(start @ start.T, rows @ rows.T, rtol=1e-4, atol=1e-3)
    energies = start.square().sum(0)
    assert (energies.diff() < 0).all()
    # No rotation keeps more in a prefix than the largest singular values.
    torch.testing.assert_close(energies, torch.linalg.svdvals(rows) ** 2, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(mrl.retrofit(torch.nn.Identity(), rotated, dims=2)(rotated).detach(), start[:, :2])


def test_training_a_retrofit_makes_prefixes_keep_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    # Classes 3 dims tell apart, beside louder dims that say nothing.
    labels = rng.integers(0, 8, 600)
    corners = 2.0 * np.array([[label >> bit & 1 for bit in range(3)] for label in labels]) - 1
    rows = np.concatenate([3 * rng.standard_normal((600, 5)), corners + 0.1 * rng.standard_normal((600, 3))], 1)
    rows = (rows @ np.linalg.qr(rng.standard_normal((8, 8)))[0]).astype(np.float32)

    def top1(network: Any) -> float:
        with torch.inference_mode():
            prefix = network(torch.from_numpy(rows))[:, :4].numpy()
        prefix = prefix / np.linalg.norm(prefix, axis=1, keepdims=True)
        cosines = prefix @ prefix.T
        np.fill_diagonal(cosines, -2)
        return float((labels[cosines.argmax(1)] == labels).mean())

    network = mrl.retrofit(torch.nn.Identity(), torch.from_numpy(rows))
    before = top1(network)
    loss = mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead((4, 8), 8))
    mrl.train(network, loss, mrl.ArrayBatches(rows, labels, batch=50), epochs=15, learning_rate=0.03, progress=False)
    assert top1(network) > before + 0.3


def test_neighbours_of_a_retrofit_are_kept_without_labels() -> None:
    rows = np.random.default_rng(0).standard_normal((400, 8), dtype=np.float32)
    network = mrl.retrofit(torch.nn.Identity(), torch.from_numpy(rows))
    loss = mrl.MatryoshkaNeighbours((2, 4, 8), temperature=0.1)
    batches = mrl.ArrayBatches(rows, rows, batch=100)
    report = mrl.train(network, loss, batches, epochs=20, learning_rate=3e-3, weight_decay=0, progress=False)
    assert report.losses[-4:].mean() < report.losses[:4].mean()


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_backbone_stays_as_it_was(frozen: bool) -> None:
    backbone = torch.nn.Sequential(torch.nn.Linear(FEATURES, 5), torch.nn.BatchNorm1d(5))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    network = mrl.retrofit(backbone, torch.from_numpy(inputs()), frozen=frozen)
    loss = mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead((2, 5), 3))
    batches = mrl.ArrayBatches(inputs(), np.arange(ROWS) % 3, batch=8)
    mrl.train(network, loss, batches, epochs=1, learning_rate=0.01, progress=False)
    changed = [key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])]
    assert bool(changed) != frozen


@pytest.mark.parametrize(
    ("backbone", "sample", "dims", "message"),
    [
        (torch.nn.Identity(), torch.zeros(4, 3), 4, "dims=4 is more than the 3 features"),
        (torch.nn.Identity(), torch.zeros(4, 3), 0, "dims=0"),
        (torch.nn.Identity(), torch.full((4, 3), torch.nan), None, "NaN or infinity"),
        (Unflat(), torch.zeros(4, 3), None, r"shape \(4, 1, 3\); expected \(rows, features\)"),
    ],
)
def test_a_bad_retrofit_is_refused(backbone: Any, sample: Any, dims: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mrl.retrofit(backbone, sample, dims=dims)
