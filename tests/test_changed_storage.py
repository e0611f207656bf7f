"""Is a changed index on disk what it was in memory: segments and bitmaps, nothing written twice, nothing lost?"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes import RECIPES, assert_same, ids_of, rows_of
from safetensors import safe_open

import adanns
from adanns.storage import segment
from adanns.storage.segment import read_segment, write_segment

QUERIES = rows_of(9, seed=1)


def changed(name: str = "ivf-codes", metric: str = "l2") -> Any:
    """Three segments, two of them with removed rows."""
    recipe = RECIPES[name]
    index = recipe.build(recipe.make(metric), rows_of(300), ids_of(300))
    recipe.add(index, rows_of(90, seed=5), np.arange(90))
    recipe.add(index, rows_of(20, seed=6), np.arange(90, 110))
    index.remove(np.concatenate([ids_of(300)[:50], np.arange(10)]))
    return index


def files_of(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.glob(pattern)}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_a_changed_index_comes_back(name: str, mmap: bool, tmp_path: Path) -> None:
    index, recipe = changed(name), RECIPES[name]
    index.save(tmp_path / "index")
    loaded: Any = adanns.load(tmp_path / "index", mmap=mmap, verify=True)
    for what in ("rows", "dims", "ladder", "bytes_per_vector", "parameters", "health"):
        one, other = getattr(loaded, what), getattr(index, what)
        assert (one() if what == "health" else one) == (other() if what == "health" else other)
    assert_same(recipe.exhaustive(loaded, QUERIES, 300), recipe.exhaustive(index, QUERIES, 300))
    recipe.add(loaded, rows_of(3, seed=9), [5000, 5001, 5002])
    assert loaded.compact().rows == 353
    loaded.save(tmp_path / "index")
    assert adanns.load(tmp_path / "index").health() == loaded.health()


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    index: Any = adanns.ExactIndex().build(rows_of(300))
    index.save(tmp_path)
    first = files_of(tmp_path, "segment-*")
    index.add(rows_of(80, seed=5)).save(tmp_path)
    second = files_of(tmp_path, "segment-*")
    assert len(second) == 2
    assert first.items() < second.items()
    index.remove([3, 301])
    index.save(tmp_path)
    assert files_of(tmp_path, "segment-*") == second
    assert len(files_of(tmp_path, "removed-*")) == 2
    index = adanns.load(tmp_path, mmap=True)
    index.remove([4])
    index.save(tmp_path)
    assert files_of(tmp_path, "segment-*") == second
    assert len(files_of(tmp_path, "removed-*")) == 2
    index.compact().save(tmp_path)
    assert len(files_of(tmp_path, "segment-*")) == 1
    assert not files_of(tmp_path, "removed-*")
    assert adanns.load(tmp_path, verify=True).rows == 377


def test_an_index_that_was_not_changed_is_saved_for_older_readers(tmp_path: Path) -> None:
    changed().save(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["version"] == 3
    RECIPES["ivf-codes"].make().build(rows_of(40)).save(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["version"] == 2


def test_bitmaps_and_later_segments_are_what_the_format_says(tmp_path: Path) -> None:
    changed().save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["learnt"]["rows"] == 300
    assert manifest["learnt"]["added"] == 110
    first, second, third = manifest["segments"]
    with safe_open(tmp_path / first["removed"], "np") as file:
        removed = np.unpackbits(file.get_tensor("removed"), count=300, bitorder="little")
        assert file.metadata()["of"] == first["arrays"]
    with safe_open(tmp_path / first["arrays"], "np") as file:
        assert set(file.get_tensor("ids")[removed == 1]) == set(ids_of(300)[:50])
    with safe_open(tmp_path / second["arrays"], "np") as file:
        names = {name for name in file.keys() if not name.startswith("padding.")}  # noqa: SIM118
    assert names == {"ids", "plane_0", "plane_1", "terms", "list_offsets", "code_blocks"}
    assert third["removed"] is None


FAULTS: dict[str, tuple[Any, str]] = {
    "a full disk": (segment, "_write_array"),
    "a failing fsync": (os, "fsync"),
    "a failing rename": (Path, "rename"),
    "a failing swap": (Path, "replace"),
}


def failing_at(call: int, real: Callable[..., Any], calls: list[None]) -> Callable[..., Any]:
    """`real`, but the given call fails; `calls` grows with each."""

    def function(*arguments: Any, **keywords: Any) -> Any:
        calls.append(None)
        if len(calls) == call:
            raise OSError(28, "No space left on device")
        return real(*arguments, **keywords)

    return function


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_step_leaves_the_old_index_or_the_new_one(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, (owner, name) = changed(), FAULTS[fault]
    index.save(tmp_path)
    old = index.search(QUERIES)
    index.add(rows_of(70, seed=8), np.arange(70) + 4000)
    index.remove(np.arange(20, 30))
    for step in itertools.count(1):
        calls: list[None] = []
        with monkeypatch.context() as patched, contextlib.suppress(OSError):
            patched.setattr(owner, name, failing_at(step, getattr(owner, name), calls))
            index.save(tmp_path)
        loaded: Any = adanns.load(tmp_path, verify=True)
        assert_same(loaded.search(QUERIES), old if loaded.rows == 350 else index.search(QUERIES))
        if len(calls) < step:
            break
    assert loaded.rows == index.rows == 410


def test_mutated_files_of_a_changed_index_are_read_or_refused(tmp_path: Path) -> None:
    changed("compact").save(tmp_path)
    generator = np.random.default_rng(0)
    for path, number in itertools.product(sorted(tmp_path.glob("*[nz]")) + sorted(tmp_path.glob("*s")), range(80)):
        whole = path.read_bytes()
        content = bytearray(whole)
        for _ in range(generator.integers(1, 4)):
            reach = len(content) if number % 2 else min(len(content), 900)
            content[generator.integers(reach)] = generator.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(adanns.CorruptIndexError, adanns.IncompatibleVersionError, FileNotFoundError):
            adanns.load(tmp_path, mmap=bool(number % 3)).search(QUERIES, 3)
        path.write_bytes(whole)


def manifest_with(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    changed().save(folder)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    entries = json.loads((folder / "manifest.json").read_text())["segments"]
    bitmap, later = entries[1]["removed"], entries[2]["arrays"]
    bytes_of = {"removed": np.zeros(3, np.uint8)}

    def rewritten(name: str, arrays: Any, metadata: Any = None) -> None:
        said, held = read_segment(folder / name, mmap=False, verify=True)
        (folder / name).unlink()
        write_segment(folder / name, {**held, **arrays}, said if metadata is None else metadata)

    for spoil, message in (
        (lambda: manifest_with(folder, segments=[]), "there are no segments"),
        (lambda: manifest_with(folder, segments=[entries[0], entries[0]]), "or one of them twice"),
        (lambda: manifest_with(folder, segments=[{"arrays": "../x", "removed": None}]), "not the name of a file"),
        (lambda: manifest_with(folder, learnt={"rows": -1, "imbalance": 1, "added": 0}), "does not describe"),
        (lambda: manifest_with(folder, segments=[{**entries[0], "removed": bitmap}]), "does not say which rows"),
        (lambda: (folder / bitmap).unlink(), "is missing"),
        (lambda: rewritten(bitmap, bytes_of), "3 bytes say which of 90 rows are removed"),
        (lambda: rewritten(bitmap, {"removed": np.zeros(12, np.int8)}), "does not say which rows"),
        (lambda: rewritten(later, {"code_scales": np.ones(33, np.float32)}), "which are shared"),
        (lambda: rewritten(later, {"list_offsets": np.array([0, 20], np.int64)}), "made alike|wrong shape"),
        (lambda: rewritten(later, {"ids": np.arange(3)}), "one row per id"),
        (lambda: rewritten(later, {}, {"format": "adanns", "kind": "exact"}), "is not of the index"),
    ):
        spoil()
        with pytest.raises(adanns.CorruptIndexError, match=message):
            adanns.load(folder)
        for path, content in whole.items():
            path.write_bytes(content)
    assert adanns.load(folder, verify=True).rows == 350
