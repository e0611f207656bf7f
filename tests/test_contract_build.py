"""Does every index build the same from whatever form the vectors come in?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes import (
    DIMS,
    RECIPES,
    ROWS,
    assert_same,
    built,
    ids_of,
    rows_of,
)
from twins import segment_of

from adanns import arrays
from adanns.storage.segment import read_segment

QUERIES = rows_of(9, seed=1)
HALVES = rows_of(ROWS).astype(np.float16)  # exactly float32 and float64 too

every_recipe = pytest.mark.parametrize("name", RECIPES)


def files_of(index: Any, folder: Path) -> dict[str, bytes]:
    """What `save` writes: all that an index is."""
    index.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def structured(rows: Any) -> Any:
    """A view into records: rows 1 byte further apart than their floats are long."""
    records = np.zeros(len(rows), [("vector", rows.dtype, rows.shape[1]), ("flag", np.uint8)])
    records["vector"] = rows
    return records["vector"]


def strided(rows: Any) -> Any:
    wide = np.zeros((2 * len(rows), rows.shape[1] + 3), rows.dtype)
    wide[::2, 1:-2] = rows
    return wide[::2, 1:-2]


FORMS = {
    "float16": lambda rows: rows,
    "float32": lambda rows: rows.astype(np.float32),
    "float64": lambda rows: rows.astype(np.float64),
    "big-endian": lambda rows: rows.astype(">f4"),
    "column-major": lambda rows: np.asfortranarray(rows.astype(np.float32)),
    "strided": lambda rows: strided(rows.astype(np.float32)),
    "every second column": lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
    "backwards": lambda rows: np.ascontiguousarray(rows[::-1])[::-1],
    "records": lambda rows: structured(rows.astype(np.float32)),
    "nested lists": lambda rows: rows.astype(np.float64).tolist(),
    "chunks": lambda rows: (rows[start : start + 100] for start in range(0, ROWS, 100)),
    "chunks of one row": lambda rows: (rows[row : row + 1] for row in range(ROWS)),
    "chunks of different types": lambda rows: (
        rows[start : start + 50].astype((np.float16, np.float32, np.float64)[start % 3]) for start in range(0, ROWS, 50)
    ),
    "a tuple of chunks": lambda rows: (rows[:3], rows[3:]),
    "a list of chunks": lambda rows: [rows[:3], rows[3:]],
}


@pytest.mark.parametrize("form", FORMS)
@every_recipe
def test_vectors_of_any_form_make_the_same_index(name: str, form: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    expected = recipe.build(recipe.make("cosine", "float32"), HALVES)
    index = recipe.build(recipe.make("cosine", "float32"), FORMS[form](HALVES), rows=HALVES)
    assert files_of(index, tmp_path / "one") == files_of(expected, tmp_path / "other")


@pytest.mark.parametrize("form", [form for form in FORMS if "chunks" not in form])
def test_the_engine_gets_aligned_matrices_in_its_own_byte_order(form: str) -> None:
    odd = np.zeros(2 * HALVES.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(HALVES.shape)
    odd[...] = HALVES
    for vectors in (FORMS[form](HALVES), odd, odd[::2]):
        rows, queries = arrays.checked_vectors(vectors, "vectors"), arrays.checked_queries(vectors, DIMS)
        assert rows.dtype in (np.float16, np.float32)
        assert queries.dtype == np.float32
        assert queries.flags.c_contiguous
        for array in (rows, queries):
            assert array.flags.aligned
            assert array.strides[1] == array.itemsize
            assert array.strides[0] % array.itemsize == 0
            assert np.array_equal(array, np.asarray(vectors, np.float32))


@every_recipe
def test_a_memory_map_makes_the_same_index(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    for dtype in (np.float32, np.float16, np.float64):
        path = tmp_path / f"{np.dtype(dtype)}.npy"
        np.save(path, HALVES.astype(dtype))
        index = recipe.build(recipe.make(), np.load(path, mmap_mode="r"))
        expected = recipe.build(recipe.make(), HALVES)
        assert_same(recipe.search(index, QUERIES), recipe.search(expected, QUERIES))


@every_recipe
def test_large_arrays_are_read_in_chunks_to_the_same_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES[name]
    monkeypatch.setattr(arrays, "CHUNK_ROWS", 50)
    for form in (HALVES, HALVES.astype(np.float64)):
        index = recipe.build(recipe.make(), form, ids_of(ROWS))
        assert_same(recipe.search(index, QUERIES), recipe.search(built_from_halves(name), QUERIES))


def built_from_halves(name: str) -> Any:
    return RECIPES[name].build(RECIPES[name].make(), HALVES, ids_of(ROWS))


@every_recipe
def test_ids_come_beside_the_vectors_or_with_each_chunk(name: str) -> None:
    recipe, ids = RECIPES[name], ids_of(ROWS)
    expected = recipe.search(built_from_halves(name), QUERIES)
    chunks = ((HALVES[start : start + 90], ids[start : start + 90]) for start in range(0, ROWS, 90))
    assert_same(recipe.search(recipe.build(recipe.make(), chunks, rows=HALVES), QUERIES), expected)
    plain_chunks = (HALVES[start : start + 90] for start in range(0, ROWS, 90))
    assert_same(recipe.search(recipe.build(recipe.make(), plain_chunks, ids, rows=HALVES), QUERIES), expected)
    for form in (ids.tolist(), ids.astype(np.uint64), np.repeat(ids, 2)[::2]):
        assert_same(recipe.search(recipe.build(recipe.make(), HALVES, form), QUERIES), expected)


@every_recipe
def test_without_ids_rows_are_numbered(name: str) -> None:
    recipe = RECIPES[name]
    expected = recipe.search(built_from_halves(name), QUERIES)
    result = recipe.search(recipe.build(recipe.make(), HALVES), QUERIES)
    assert (ids_of(ROWS)[result.ids] == expected.ids).all()
    assert np.array_equal(result.distances, expected.distances)


@every_recipe
def test_same_input_and_seed_make_the_same_index_with_any_threads(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    for precision in ("float32", "int8"):
        indices = [
            recipe.build(recipe.make("l2", precision), rows_of(ROWS), threads=threads) for threads in (1, 1, 2, 7)
        ]
        first, *others = [files_of(index, tmp_path / f"{precision}-{i}") for i, index in enumerate(indices)]
        assert all(other == first for other in others)


@every_recipe
def test_building_does_not_keep_or_change_the_vectors(name: str) -> None:
    recipe = RECIPES[name]
    rows, ids = rows_of(ROWS).copy(), ids_of(ROWS)
    index = recipe.build(recipe.make("l2"), rows, ids)
    before = recipe.search(index, QUERIES)
    assert np.array_equal(rows, rows_of(ROWS))
    assert np.array_equal(ids, ids_of(ROWS))
    rows[...] = 7
    ids[...] = 7
    assert_same(recipe.search(index, QUERIES), before)


@every_recipe
def test_rebuilding_replaces_what_was_there(name: str) -> None:
    recipe = RECIPES[name]
    index = recipe.make()
    assert recipe.build(index, rows_of(50, seed=5)) is index
    recipe.build(index, rows_of(ROWS), ids_of(ROWS))
    assert index.rows == ROWS
    assert_same(recipe.search(index, QUERIES), recipe.search(built(name), QUERIES))


@every_recipe
def test_an_index_with_the_default_ladder_can_be_rebuilt_with_other_dims(name: str) -> None:
    recipe = RECIPES[name]
    options: dict[str, Any] = {key: 16 for key in recipe.options if key.endswith("_dims")}
    options |= {"prefixes": (8,)} if "prefixes" in recipe.options else {}
    index = recipe.make(ladder=None, **options)
    recipe.build(index, np.ascontiguousarray(rows_of(ROWS)[:, :64]))
    assert index.ladder == index.parameters.ladder == (8, 16, 32, 64)
    recipe.build(index, np.ascontiguousarray(rows_of(ROWS)[:, 36:68]))
    assert index.ladder == index.parameters.ladder == (8, 16, 32)


@every_recipe
def test_the_index_says_what_it_holds(name: str, tmp_path: Path) -> None:
    index = built(name, "cosine", "float16")
    assert (index.rows, index.dims, index.ladder) == (ROWS, DIMS, (5, 16, 33, 65, 100))
    index.save(tmp_path / "index")
    _, arrays_of_file = read_segment(segment_of(tmp_path / "index"), mmap=False, verify=False)
    stored = sum(array.nbytes for array in arrays_of_file.values())
    assert index.bytes_per_vector == stored / ROWS
    assert index.bytes_per_vector > 2 * DIMS
    assert f"{ROWS} rows x {DIMS} dims" in repr(index)
    assert "empty" in repr(RECIPES[name].make())


@every_recipe
def test_progress_is_told_to_a_callback_until_all_is_done(name: str) -> None:
    steps: list[tuple[str, int, int]] = []
    recipe = RECIPES[name]
    recipe.build(recipe.make(), HALVES, progress=lambda what, done, total: steps.append((what, done, total)))
    assert steps
    for kind in {what for what, _, _ in steps}:
        done = [step for what, step, _ in steps if what == kind]
        assert done == sorted(done)
        assert done[-1] == next(total for what, _, total in reversed(steps) if what == kind)
