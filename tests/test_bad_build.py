"""Is every bad input of `build` refused with the named error, a message that says what came, and nothing changed?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from recipes import RECIPES, Recipe, assert_same, foreign_representation, ids_of, rows_of, spoilt

import adanns

GOOD = rows_of(40)
QUERIES = rows_of(3, seed=1)

every_recipe = pytest.mark.parametrize("name", RECIPES)


def chunks(*arrays: Any) -> Iterator[Any]:
    yield from arrays


def failing_chunks() -> Iterator[Any]:
    yield GOOD
    raise OSError("the disk is gone")


def failing_progress(what: str, done: int, total: int) -> None:
    raise RuntimeError("stopped by the user")


# name: (vectors, keywords of build, error, what its message says)
BAD_BUILDS: dict[str, tuple[Callable[[], Any], dict[str, Any], type[Exception], str]] = {
    "one dimension": (lambda: np.zeros(7, np.float32), {}, ValueError, "vectors have shape (7,); expected (rows"),
    "one dimension, float64": (lambda: np.zeros(7), {}, ValueError, "vectors have shape (7,)"),
    "no dimension": (lambda: np.array(5.0), {}, ValueError, "vectors have shape ()"),
    "three dimensions": (lambda: np.zeros((2, 3, 4)), {}, ValueError, "vectors have shape (2, 3, 4)"),
    "no rows": (lambda: np.zeros((0, 8), np.float32), {}, ValueError, "vectors are empty: shape (0, 8)"),
    "no rows, float64": (lambda: np.zeros((0, 8)), {}, ValueError, "vectors are empty: shape (0, 8)"),
    "no columns": (lambda: np.zeros((8, 0)), {}, ValueError, "vectors are empty: shape (8, 0)"),
    "an empty list": (list, {}, ValueError, "shape (0,)"),
    "integers": (lambda: GOOD.astype(np.int32), {}, TypeError, "vectors have dtype int32; expected float32 or float16"),
    "complex numbers": (lambda: GOOD.astype(complex), {}, TypeError, "vectors have dtype complex128"),
    "long doubles": (lambda: GOOD.astype(np.longdouble), {}, TypeError, "vectors have dtype float128"),
    "objects": (lambda: GOOD.astype(object), {}, TypeError, "vectors have dtype object"),
    "text": (lambda: "vectors", {}, TypeError, "vectors have dtype <U7"),
    "nothing": (lambda: None, {}, TypeError, "vectors are a NoneType; expected a matrix or an iterable"),
    "a number": (lambda: 5, {}, TypeError, "vectors are a int"),
    "NaN": (lambda: spoilt(17, np.nan), {}, ValueError, "vectors: row 17 holds NaN or infinity"),
    "infinity": (lambda: spoilt(39, -np.inf), {}, ValueError, "vectors: row 39 holds NaN or infinity"),
    "NaN as float16": (lambda: spoilt(3, np.nan, np.float16), {}, ValueError, "vectors: row 3 holds NaN or infinity"),
    "infinity as float16": (lambda: spoilt(4, np.inf, np.float16), {}, ValueError, "vectors: row 4 holds NaN"),
    "beyond float32": (lambda: spoilt(5, 1e300, np.float64), {}, ValueError, "vectors: row 5 holds NaN or infinity"),
    "NaN in a later chunk": (lambda: chunks(GOOD, spoilt(17, np.nan)), {}, ValueError, "vectors: row 57 holds NaN"),
    "no chunks": (lambda: chunks(), {}, ValueError, "vectors are empty: the iterator gave no chunk"),
    "an empty chunk": (lambda: chunks(GOOD, GOOD[:0]), {}, ValueError, "vectors of chunk 1 are empty: shape (0, 100)"),
    "chunks of other dims": (
        lambda: chunks(GOOD, GOOD[:, :50]), {}, ValueError, "chunk 1 have 50 dimensions; expected 100"
    ),
    "chunks of integers": (lambda: chunks(GOOD, GOOD.astype(int)), {}, TypeError, "chunk 1 have dtype int64"),
    "chunks that fail": (failing_chunks, {}, OSError, "the disk is gone"),
    "dims off the ladder": (lambda: GOOD[:, :99], {}, ValueError, "ends at 100 but the vectors have 99 dimensions"),
    "too few ids": (lambda: GOOD, {"ids": np.arange(39)}, ValueError, "ids have shape (39,); expected (40,)"),
    "ids in a matrix": (lambda: GOOD, {"ids": np.zeros((40, 1), int)}, ValueError, "ids have shape (40, 1)"),
    "ids that are no integers": (lambda: GOOD, {"ids": np.arange(40.0)}, TypeError, "ids have dtype float64"),
    "ids that are text": (lambda: GOOD, {"ids": ["a"] * 40}, TypeError, "ids have dtype <U1"),
    "negative ids": (lambda: GOOD, {"ids": np.arange(40) - 1}, ValueError, "ids hold -1 at row 0"),
    "ids beyond int64": (
        lambda: GOOD, {"ids": np.arange(40).astype(np.uint64) + np.uint64(1 << 63)}, ValueError, "ids go beyond int64"
    ),
    "duplicate ids": (
        lambda: GOOD,
        {"ids": np.where(np.arange(40) == 30, 7, np.arange(40))},
        adanns.DuplicateIdError,
        "id 7 is given to rows 7 and 30",
    ),
    "duplicate ids in two chunks": (
        lambda: chunks((GOOD, np.arange(40)), (GOOD, np.arange(40) + 39)),
        {},
        adanns.DuplicateIdError,
        "id 39 is given to rows 39 and 40",
    ),
    "ids in some chunks only": (lambda: chunks((GOOD, np.arange(40)), GOOD), {}, ValueError, "with every chunk"),
    "ids twice": (lambda: chunks((GOOD, np.arange(40))), {"ids": np.arange(40)}, ValueError, "not both"),
    "no threads": (lambda: GOOD, {"threads": 0}, ValueError, "threads=0; expected 1 or more"),
    "half a thread": (lambda: GOOD, {"threads": 0.5}, TypeError, "threads is 0.5; expected an int"),
    "progress that is no callable": (lambda: GOOD, {"progress": "bar"}, TypeError, "progress is 'bar'"),
    "progress that stops the work": (lambda: GOOD, {"progress": failing_progress}, RuntimeError, "stopped by the user"),
}  # fmt: skip


def build(recipe: Recipe, index: Any, vectors: Any, **keywords: Any) -> Any:
    """As recipe.build, but with clusters of the good rows, whatever the vectors are."""
    if recipe.foreign:
        keywords["clusters"] = adanns.train_kmeans(foreign_representation(GOOD), 7)
    return index.build(vectors, **keywords)


@pytest.mark.parametrize("case", BAD_BUILDS)
@every_recipe
def test_a_bad_build_is_refused_and_changes_nothing(name: str, case: str) -> None:
    vectors, keywords, error, message = BAD_BUILDS[case]
    recipe = RECIPES[name]
    empty = recipe.make()
    with pytest.raises(error, match=re.escape(message)):
        build(recipe, empty, vectors(), **keywords)
    with pytest.raises(adanns.NotBuiltError):
        recipe.search(empty, QUERIES)
    index = build(recipe, recipe.make(), GOOD, ids=ids_of(40))
    before, parameters = recipe.search(index, QUERIES), index.parameters
    with pytest.raises(error, match=re.escape(message)):
        build(recipe, index, vectors(), **keywords)
    assert_same(recipe.search(index, QUERIES), before)
    assert index.parameters == parameters


@every_recipe
def test_float16_overflow_names_the_row_and_the_way_out(name: str) -> None:
    recipe = RECIPES[name]
    for value in (65505, -1e5):
        for precision in ("float16", {16: "float32", 100: "float16"}):
            with pytest.raises(ValueError, match=r"row 8 goes beyond 65504.*precision='float32'"):
                build(recipe, recipe.make("l2", precision), spoilt(8, value))
    assert build(recipe, recipe.make("l2", "float32"), spoilt(8, 1e5)).rows == 40
    assert build(recipe, recipe.make("cosine", "float16"), spoilt(8, 1e5)).rows == 40


CENTROIDS = np.eye(4, 6, dtype=np.float32)
ASSIGNMENTS = np.arange(40, dtype=np.int32) % 4


@pytest.mark.parametrize(
    ("clusters", "error", "message"),
    [
        (5, TypeError, "clusters is a int; expected adanns.Clusters"),
        (adanns.Clusters(CENTROIDS[0], ASSIGNMENTS), ValueError, "centroids have shape (6,)"),
        (adanns.Clusters(CENTROIDS.astype(np.int8), ASSIGNMENTS), TypeError, "centroids have dtype int8"),  # type: ignore
        (adanns.Clusters(CENTROIDS * np.float32(np.nan), ASSIGNMENTS), ValueError, "centroids hold NaN or infinity"),
        (adanns.Clusters(CENTROIDS, ASSIGNMENTS[:39]), ValueError, "assignments have shape (39,); expected (40,)"),
        (adanns.Clusters(CENTROIDS, ASSIGNMENTS * 1.0), TypeError, "assignments have dtype float64"),
        (
            adanns.Clusters(CENTROIDS, ASSIGNMENTS - 1),
            ValueError,
            "assignments run from -1 to 2; there are 4",
        ),
        (adanns.Clusters(CENTROIDS, ASSIGNMENTS + 1), ValueError, "assignments run from 1 to 4; there are 4"),
    ],
)
def test_bad_foreign_clusters_are_refused(clusters: Any, error: type[Exception], message: str) -> None:
    index = RECIPES["ivf-codes"].make().build(GOOD)
    before = index.search(QUERIES)
    with pytest.raises(error, match=re.escape(message)):
        index.build(GOOD, clusters=clusters)
    assert_same(index.search(QUERIES), before)


def test_more_lists_than_rows_are_refused() -> None:
    index = RECIPES["ivf-codes"].make(lists=41)
    with pytest.raises(ValueError, match="lists=41 is more than the 40 rows"):
        index.build(GOOD)
    assert RECIPES["ivf-codes"].make(lists=40).build(GOOD).lists == 40
