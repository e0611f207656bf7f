"""A folder of arrays as a data set: what npy:DIR gives, and what it refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adanns import datasets

ROWS, QUERIES, DIMS = 7, 3, 8
LADDER = (2, 4, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    np.save(tmp_path / "database.npy", random.normal(size=(ROWS, DIMS)).astype(np.float16))
    np.save(tmp_path / "queries.npy", random.normal(size=(QUERIES, DIMS)).astype(np.float32))
    np.save(tmp_path / "database_labels.npy", np.arange(ROWS))
    np.save(tmp_path / "query_labels.npy", np.arange(QUERIES, dtype=np.uint8))
    (tmp_path / "ladder.json").write_text("[2, 4, 8]")
    (tmp_path / "class_names.json").write_text('["a", "b", "c", "d", "e", "f", "g"]')
    return tmp_path


def test_folder_is_memory_mapped(folder: Path) -> None:
    dataset = datasets.load(f"npy:{folder}")
    assert isinstance(dataset.database, np.memmap)
    assert isinstance(dataset.queries, np.memmap)
    assert dataset.name == f"npy:{folder}"
    assert dataset.ladder == (2, 4, 8)
    assert dataset.metric == "cosine"
    assert dataset.class_names == tuple("abcdefg")
    assert dataset.database_labels is not None
    assert dataset.database_labels.tolist() == list(range(ROWS))
    np.testing.assert_array_equal(dataset.database, np.load(folder / "database.npy"))


def test_folder_needs_only_its_vectors(folder: Path) -> None:
    for name in ("database_labels.npy", "query_labels.npy", "ladder.json", "class_names.json"):
        (folder / name).unlink()
    dataset = datasets.load(f"npy:{folder}")
    assert dataset.database_labels is dataset.query_labels is None
    assert dataset.class_names is None
    assert dataset.ladder == (8,)


def test_folder_may_say_its_metric_and_licence(folder: Path) -> None:
    (folder / "about.json").write_text(json.dumps({"metric": "ip", "source": "mine", "licence": "CC0-1.0"}))
    dataset = datasets.load(f"npy:{folder}")
    assert (dataset.metric, dataset.source, dataset.licence) == ("ip", "mine", "CC0-1.0")


def test_folder_is_synthetic_only_if_it_says_so(folder: Path) -> None:
    assert not datasets.load(f"npy:{folder}").synthetic
    (folder / "about.json").write_text(json.dumps({"synthetic": "true", "made": "at home"}))
    assert datasets.load(f"npy:{folder}").synthetic


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for part, rows in ("database", ROWS), ("queries", QUERIES):
        np.save(folder / f"{part}.npy", np.ones((rows, DIMS), np.float32))
    for part, rows in ("database", ROWS), ("query", QUERIES):
        np.save(folder / f"{part}_labels.npy", np.arange(rows))
    (folder / "ladder.json").write_text(json.dumps(LADDER))
    (folder / "about.json").write_text(json.dumps({"metric": "ip", "source": "mine", "synthetic": "true"}))
    (folder / "class_names.json").write_text(json.dumps(list("abcdefg")))
    add_classifier(folder)
    return folder


def add_rigid(folder: Path, dims: int, rows: int = ROWS, queries: int = QUERIES, name: str = "") -> Path:
    twin = folder / (name or f"rigid-{dims}")
    twin.mkdir()
    np.save(twin / "database.npy", np.full((rows, dims), dims, np.float16))
    np.save(twin / "queries.npy", np.full((queries, dims), dims, np.float16))
    return twin


def add_classifier(folder: Path, ladder: tuple[int, ...] = LADDER, rungs: tuple[int, ...] | None = None) -> Path:
    heads: dict[str, Any] = {f"weight_{dims}": np.zeros((5, dims), np.float32) for dims in rungs or ladder}
    np.savez(folder / "classifier.npz", ladder=np.array(ladder), **heads)
    return folder / "classifier.npz"


def test_rigid_twins_share_everything_but_the_vectors(folder: Path) -> None:
    for dims in (16, 4):
        add_rigid(folder, dims)
    dataset = datasets.load(f"npy:{folder}")
    assert list(dataset.rigid) == [4, 16]
    for dims, twin in dataset.rigid.items():
        assert (twin.ladder, twin.database.shape, twin.queries.shape) == ((dims,), (ROWS, dims), (QUERIES, dims))
        assert (twin.name, twin.metric) == (f"npy:{folder}-rigid-{dims}", dataset.metric)
        assert twin.database_labels is dataset.database_labels
        assert twin.query_labels is dataset.query_labels
        assert twin.database[0, 0] == dims


def test_classifier_is_a_path_where_there_is_one(folder: Path) -> None:
    assert datasets.load(f"npy:{folder}").classifier is None
    assert add_classifier(folder) == datasets.load(f"npy:{folder}").classifier


def array(name: str, value: npt.NDArray[Any]) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, value)


def text(name: str, value: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(value)


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def resized(name: str, change: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size + change)


def folder_instead(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (removed("database.npy"), FileNotFoundError, r"/database\.npy: no such file"),
        (removed("queries.npy"), FileNotFoundError, r"/queries\.npy: no such file"),
        (removed("query_labels.npy"), FileNotFoundError, r"/query_labels\.npy: missing"),
        (removed("database_labels.npy"), FileNotFoundError, r"/database_labels\.npy: missing"),
        (array("database.npy", np.zeros(8, np.float32)), ValueError, r"/database\.npy: shape \(8,\)"),
        (array("database.npy", np.zeros((2, 8))), ValueError, r"/database\.npy: dtype float64; expected float16 or"),
        (array("database.npy", np.zeros((1, 8), ">f4")), ValueError, r"/database\.npy: dtype >f4"),
        (array("queries.npy", np.zeros((2, 7), np.float32)), ValueError, r"/queries\.npy: 7 dims, but .* has 8"),
        (array("queries.npy", np.zeros((0, 8), np.float32)), ValueError, r"/queries\.npy: "),
        (
            array("queries.npy", np.array([None])),
            ValueError,
            r"/queries\.npy: dtype object; expected numbers \(pickled",
        ),
        (
            array("queries.npy", np.zeros((8, 3), np.float32).T),
            ValueError,
            r"/queries\.npy: in column \(Fortran\) order",
        ),
        (resized("database.npy", -1), ValueError, r"/database\.npy: truncated: 239 bytes, but .*\(7, 8\)\) means 240"),
        (resized("database.npy", 9), ValueError, r"/database\.npy: overlong: 249 bytes, but .*\(7, 8\)\) means 240"),
        (resized("query_labels.npy", -1), ValueError, r"/query_labels\.npy: truncated: 130 bytes"),
        (folder_instead("queries.npy"), IsADirectoryError, r"/queries\.npy: a folder; expected a file"),
        (folder_instead("query_labels.npy"), IsADirectoryError, r"/query_labels\.npy: a folder"),
        (folder_instead("about.json"), IsADirectoryError, r"/about\.json"),
        (text("queries.npy", "1 2 3"), ValueError, r"/queries\.npy: not a \.npy file"),
        (text("queries.npy", ""), ValueError, r"/queries\.npy: not a \.npy file"),
        (array("query_labels.npy", np.arange(2)), ValueError, r"/query_labels\.npy: shape \(2,\); expected \(3,\)"),
        (array("database_labels.npy", np.ones(7)), ValueError, r"/database_labels\.npy: dtype float64; expected int"),
        (text("ladder.json", "[2, 4"), ValueError, r"/ladder\.json: not JSON"),
        (text("ladder.json", '{"a": 1}'), ValueError, r"/ladder\.json: .* expected a list of positive integers"),
        (text("ladder.json", "[0, 8]"), ValueError, r"/ladder\.json: .* expected a list of positive integers"),
        (text("ladder.json", "[true, 8]"), ValueError, r"/ladder\.json: .* expected a list of positive integers"),
        (text("ladder.json", "[4, 2, 8]"), ValueError, r"/ladder\.json: .* must increase"),
        (text("ladder.json", "[4, 4, 8]"), ValueError, r"/ladder\.json: .* must increase"),
        (text("ladder.json", "[2, 4]"), ValueError, r"/ladder\.json: .* last rung must be all 8 dims"),
        (text("ladder.json", "[]"), ValueError, r"/ladder\.json: .* last rung must be all 8 dims"),
        (text("ladder.json", "[" * 100_000), ValueError, r"/ladder\.json: not JSON"),
        (text("about.json", "[]"), ValueError, r"/about\.json: expected an object of strings"),
        (text("about.json", '{"metric": "dot"}'), ValueError, r"/about\.json: metric 'dot'; choose l2, ip, cosine"),
        (text("about.json", '{"synthetic": "yes"}'), ValueError, r"/about\.json: synthetic 'yes'; choose true, false"),
        (text("class_names.json", '{"0": "a"}'), ValueError, r"/class_names\.json: expected a list of strings"),
        (array("query_labels.npy", np.array([0, -1, 1])), ValueError, r"/class_names\.json: 7 names, .* from -1 to 1"),
        (text("class_names.json", '["a", "b"]'), ValueError, r"/class_names\.json: 2 names, but .* from 0 to 6"),
        (lambda folder: add_rigid(folder, 8, name="rigid-all"), ValueError, r"/rigid-all: expected a number of dims"),
        (lambda folder: add_rigid(folder, 4, name="rigid-04"), ValueError, r"/rigid-04: expected a number of dims"),
        (
            lambda folder: add_rigid(folder, 8, name="rigid-4"),
            ValueError,
            r"/rigid-4/.*shape \(7, 8\); expected \(7, 4\)",
        ),
        (lambda folder: add_rigid(folder, 4, rows=6), ValueError, r"/rigid-4/database\.npy: .* expected \(7, 4\)"),
        (lambda folder: add_rigid(folder, 4, queries=2), ValueError, r"/rigid-4/queries\.npy: .* expected \(3, 4\)"),
        (lambda folder: (folder / "rigid-4").mkdir(), FileNotFoundError, r"/rigid-4/database\.npy: no such file"),
        (text("classifier.npz", "not a zip"), ValueError, r"/classifier\.npz: not a \.npz file of classifier heads"),
        (
            lambda folder: add_classifier(folder, (2, 8)),
            ValueError,
            r"/classifier\.npz: heads for the ladder \(2, 8\); exp",
        ),
        (
            lambda folder: add_classifier(folder, (2, 4, 8), (2, 8)),
            ValueError,
            r"/classifier\.npz: without weight_4; exp",
        ),
        (folder_instead("classifier.npz"), IsADirectoryError, r"/classifier\.npz: a folder"),
    ],
)
def test_folder_errors_name_the_file(
    folder: Path, spoil: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    spoil(folder)
    with pytest.raises(error, match=message):
        datasets.load(f"npy:{folder}")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        datasets.load(f"npy:{tmp_path / 'nowhere'}")


@given(
    name=st.sampled_from(["classifier.npz", "ladder.json", "about.json", "database_labels.npy", "class_names.json"]),
    cut=st.one_of(st.none(), st.floats(0, 1, exclude_max=True)),
    extra=st.binary(max_size=20),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
)
def test_damage_is_an_error_that_names_the_file(
    whole_folder: Path, name: str, cut: float | None, extra: bytes, changes: list[tuple[float, int]]
) -> None:
    whole = (whole_folder / name).read_bytes()
    content = bytearray(whole)
    for place, value in changes:
        content[int(place * len(content))] = value
    (whole_folder / name).write_bytes(content[: len(content) if cut is None else int(cut * len(content))] + extra)
    try:
        datasets.load(f"npy:{whole_folder}")
    except (ValueError, OSError) as error:
        assert str(whole_folder / name) in str(error) or str(whole_folder / "class_names.json") in str(error)
    finally:
        (whole_folder / name).write_bytes(whole)
