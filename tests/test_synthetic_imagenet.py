"""Synthetic ImageNet-1K: any piece can be drawn alone, the files hold it, and it behaves as published."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from twins import distances

from adanns import ExactIndex, datasets
from adanns.datasets import array_folder, synthetic_imagenet
from adanns.datasets.synthetic_model import CHUNK_ROWS, DATABASE, DIMS, LADDER, QUERIES, Floats, Model, Part
from adanns.evaluate import top1_accuracy

ROWS, QUERY_ROWS = 2 * CHUNK_ROWS + 904, 500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 5,000 rows and 500 queries, written as all of them are."""
    path = tmp_path_factory.mktemp("synthetic")
    synthetic_imagenet.write(path, rows=ROWS, queries=QUERY_ROWS, progress=False)
    return path


@pytest.fixture(scope="module")
def small(folder: Path) -> datasets.Dataset:
    return array_folder.load(folder, name=synthetic_imagenet.NAME)


def drawn(model: Model, part: Part, rows: int, dims: int) -> Floats:
    """The prefix of the first rows, chunk by chunk."""
    counts = [min(CHUNK_ROWS, rows - first) for first in range(0, rows, CHUNK_ROWS)]
    return np.concatenate([model.chunk(part, number, rows=count, dims=dims) for number, count in enumerate(counts)])


def top1(dataset: datasets.Dataset, dims: int) -> float:
    """Of exact search at a prefix, in per cent."""
    assert dataset.database_labels is not None
    assert dataset.query_labels is not None
    index = ExactIndex(metric="cosine", ladder=(dims,)).build(dataset.database[:, :dims], progress=False)
    ids = index.search(dataset.queries[:, :dims], 1).ids
    return 100 * top1_accuracy(ids, dataset.database_labels, dataset.query_labels)


# ---- drawing


def test_a_seed_draws_the_same_and_another_seed_something_else() -> None:
    first = Model(seed=3).chunk(QUERIES, 1, rows=50)
    np.testing.assert_array_equal(first, Model(seed=3).chunk(QUERIES, 1, rows=50))
    assert abs(np.corrcoef(first.ravel(), Model(seed=4).chunk(QUERIES, 1, rows=50).ravel())[0, 1]) < 0.05


def test_rows_are_as_they_were_when_the_cache_was_named() -> None:
    assert synthetic_imagenet.CACHE_NAME == "synthetic-imagenet-1k-1", "a new recipe needs a new name and new values"
    row = Model().chunk(DATABASE, 7, rows=2)[1:]
    np.testing.assert_allclose(row[0, [0, 9, 100, 2047]], [-0.1682149, -0.8893501, -0.1064431, 0.01630408], rtol=1e-5)
    np.testing.assert_allclose(Model().rotated(row)[0, [0, 2047]], [-0.660818, 0.3408474], rtol=1e-4)


@pytest.mark.parametrize("dims", [8, 64, 2048])
@pytest.mark.parametrize("rows", [1, 77])
def test_a_piece_of_a_chunk_equals_that_piece_of_the_whole(rows: int, dims: int) -> None:
    whole = Model().chunk(DATABASE, 2, rows=100)
    np.testing.assert_array_equal(Model().chunk(DATABASE, 2, rows=rows, dims=dims), whole[:rows, :dims])


def test_chunks_and_parts_have_random_streams_of_their_own() -> None:
    model = Model(classes=1)  # all of one class, so that row i of each chunk has the same mean
    pieces = [model.chunk(part, number, rows=40) for part in (DATABASE, QUERIES) for number in (0, 1, 2)]
    rows = np.array([piece[3] for piece in pieces])
    correlation = np.corrcoef(rows - np.concatenate(pieces).mean(axis=0))
    assert np.abs(correlation - np.eye(len(rows))).max() < 0.5


def test_labels_are_balanced() -> None:
    counts = np.bincount(Model().labels(0, synthetic_imagenet.ROWS))
    assert len(counts) == 1000
    assert set(counts.tolist()) == {1281, 1282}
    np.testing.assert_array_equal(Model().labels(999, 3), [999, 0, 1])


def test_one_row_in_twelve_and_one_query_in_five_look_like_another_class() -> None:
    model = Model(classes=20)
    rows, queries = drawn(model, DATABASE, 4000, DIMS), drawn(model, QUERIES, 2000, DIMS)
    labels = model.labels(0, 4000)
    means = np.array([rows[labels == label].mean(axis=0) for label in range(20)])
    for vectors, part in (rows, DATABASE), (queries, QUERIES):
        nearest = distances(means, vectors, "cosine").argmin(axis=1)
        own = model.labels(0, len(vectors))
        standard_error = np.sqrt(part.confused * (1 - part.confused) / len(vectors))
        assert (nearest != own).mean() == pytest.approx(part.confused, abs=3 * standard_error)
        steps = np.bincount((nearest - own)[nearest != own] % 20, minlength=20)
        assert steps[1:4].min() > 0.25 * steps.sum(), "the next three classes, equally often"


def test_early_dims_tell_classes_apart_and_those_of_the_rigid_twin_all_alike() -> None:
    model = Model(classes=20)
    rows, labels = drawn(model, DATABASE, 4000, DIMS), model.labels(0, 4000)

    def told_apart(vectors: Floats) -> Floats:
        """The share of each dim's variance that lies between classes."""
        means = np.array([vectors[labels == label].mean(axis=0) for label in range(20)])
        return np.asarray(means.var(axis=0) / vectors.var(axis=0))

    share = told_apart(rows)
    bands = [share[low:high].mean() for low, high in pairwise((0, *LADDER))]
    assert all(later < earlier + 0.02 for earlier, later in pairwise(bands))
    assert bands[0] > 2 * bands[-1]
    share = told_apart(model.rotated(rows))
    assert share[:64].mean() == pytest.approx(share[64:].mean(), rel=0.1)


def test_the_rotation_keeps_dot_products() -> None:
    rows = np.random.default_rng(0).standard_normal((30, DIMS), dtype=np.float32)
    turned = Model().rotated(rows)
    np.testing.assert_allclose(turned @ turned.T, rows @ rows.T, atol=0.01)


# ---- files


def test_files_hold_what_is_drawn(small: datasets.Dataset) -> None:
    for part, written, twin in (
        (DATABASE, small.database, small.rigid[DIMS].database),
        (QUERIES, small.queries, small.rigid[DIMS].queries),
    ):
        vectors = drawn(Model(), part, len(written), DIMS)
        np.testing.assert_array_equal(written, vectors.astype(np.float16))
        # The rotation is a matrix product: how many rows it is done for at once may change the rounding.
        np.testing.assert_allclose(twin, Model().rotated(vectors), rtol=2e-3, atol=1e-3)
    np.testing.assert_array_equal(small.database_labels, np.arange(ROWS) % 1000)
    np.testing.assert_array_equal(small.query_labels, np.arange(QUERY_ROWS) % 1000)


def test_it_has_imagenets_shape_and_is_marked_synthetic(small: datasets.Dataset) -> None:
    assert (synthetic_imagenet.ROWS, synthetic_imagenet.QUERY_ROWS, DIMS) == (1_281_167, 50_000, 2048)
    assert small.ladder == (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    assert small.metric == "cosine"
    assert small.database.dtype == small.queries.dtype == np.float16
    for dataset in small, small.rigid[DIMS]:
        assert dataset.synthetic
        assert "synthetic" in dataset.name
        assert "synthetic" in dataset.source


def test_the_rigid_twin_has_the_same_distances_at_all_dims(small: datasets.Dataset) -> None:
    twin = small.rigid[DIMS]
    assert twin.ladder == (DIMS,)
    expected = distances(small.database[:300], small.queries[:50], "cosine")
    np.testing.assert_allclose(distances(twin.database[:300], twin.queries[:50], "cosine"), expected, atol=5e-4)


def test_load_makes_it_on_first_use_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADANNS_CACHE", str(tmp_path))
    monkeypatch.setattr(synthetic_imagenet, "write", partial(synthetic_imagenet.write, rows=20, queries=10))
    first = datasets.load("synthetic-imagenet-1k")
    monkeypatch.delattr(synthetic_imagenet.Model, "chunk")
    second = datasets.load("synthetic-imagenet-1k")
    assert second.database.shape == second.rigid[DIMS].database.shape == (20, DIMS)
    np.testing.assert_array_equal(first.queries, second.queries)


def test_an_interrupted_call_goes_on_with_what_is_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: datasets.Dataset
) -> None:
    chunk, asked = Model.chunk, list[tuple[Part, int]]()

    def fail_at(failing: tuple[Part, int] | None) -> Callable[..., Floats]:
        def recording(model: Model, part: Part, number: int, **shape: Any) -> Floats:
            asked.append((part, number))
            if (part, number) == failing:
                raise KeyboardInterrupt
            return chunk(model, part, number, **shape)

        return recording

    monkeypatch.setattr(Model, "chunk", fail_at((DATABASE, 1)))
    with pytest.raises(KeyboardInterrupt):
        synthetic_imagenet.write(tmp_path, rows=ROWS, queries=QUERY_ROWS, progress=False)
    assert asked == [(QUERIES, 0), (DATABASE, 0), (DATABASE, 1)]
    assert not (tmp_path / "database.npy").exists()
    asked.clear()
    monkeypatch.setattr(Model, "chunk", fail_at(None))
    synthetic_imagenet.write(tmp_path, rows=ROWS, queries=QUERY_ROWS, progress=False)
    assert asked == [(DATABASE, 0), (DATABASE, 1), (DATABASE, 2)]
    resumed = array_folder.load(tmp_path)
    np.testing.assert_array_equal(resumed.database, small.database)
    np.testing.assert_array_equal(resumed.rigid[DIMS].queries, small.rigid[DIMS].queries)


def test_too_small_a_disk_is_refused_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=10**9))
    with pytest.raises(OSError, match=r"needs 10\.9 GB in .*, where 1\.0 GB are free; .*ADANNS_CACHE"):
        synthetic_imagenet.write(tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_progress_counts_rows(tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    synthetic_imagenet.write(tmp_path, rows=3000, queries=7, progress=lambda *step: said.append(step))
    assert said == [("draw queries", 7, 7), ("draw database", 2048, 3000), ("draw database", 3000, 3000)]


# ---- behaviour


def test_cut_to_few_dims_the_rigid_twin_is_far_below(small: datasets.Dataset) -> None:
    for dims in 8, 16, 32:
        assert top1(small.rigid[DIMS], dims) < 0.7 * top1(small, dims)
