"""Which indices must pass the contract? One recipe per index class and way of scanning; a new index adds one line.

The ladder and the number of rows are chosen to straddle: rungs inside and across planes and lanes, lists and blocks
with remainders.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adanns

Array = NDArray[Any]

LADDER = (5, 16, 33, 65, 100)
DIMS = LADDER[-1]
ROWS = 307
LISTS = 7
FOREIGN_DIMS = 3  # of the representation that clusters the rows in the MG-IVF recipe
METRICS = ("l2", "ip", "cosine")
MIXED = {16: "float32", 65: "float16", 100: "int8"}
PRECISIONS = {"float32": "float32", "float16": "float16", "int8": "int8", "mixed": MIXED}


def foreign_representation(rows: Array) -> Array:
    """Another embedding of the same things: not a prefix of theirs."""
    return np.ascontiguousarray(rows[:, 29 : 29 + FOREIGN_DIMS], np.float32)


@dataclass(frozen=True)
class Recipe:
    """How to make, build and search one kind of index. Extra keywords go to the index, `build` or `search`."""

    index_class: type[Any]
    options: dict[str, Any] = field(default_factory=dict)
    dims_keyword: str = "dims"  # of `search`: the prefix that is scanned
    everything: Callable[[int, int], dict[str, Any]] = lambda rows, dims: {}  # keywords that leave no row out
    foreign: bool = False
    fewest_rows: int = 1  # that it can be built of

    @property
    def all_lists(self) -> dict[str, Any]:
        """Keywords of a search that visits every list, where there are any."""
        return {"probes": LISTS} if "lists" in self.options else {}

    def make(self, metric: str = "cosine", precision: Any = "float32", **options: Any) -> Any:
        return self.index_class(metric=metric, precision=precision, **{"ladder": LADDER, **self.options, **options})

    def build(self, index: Any, vectors: Any, *args: Any, rows: Array | None = None, **options: Any) -> Any:
        """`rows`: the whole matrix, where `vectors` is an iterator."""
        if self.foreign:
            representation = foreign_representation(vectors if rows is None else rows)
            lists = min(LISTS, len(representation))
            options["clusters"] = adanns.train_kmeans(representation, lists, seed=3)
        return index.build(vectors, *args, **options)

    def add(self, index: Any, vectors: Array, *args: Any, **options: Any) -> Any:
        return index.add(vectors, *args, **self._routed(vectors, options))

    def upsert(self, index: Any, vectors: Array, *args: Any, **options: Any) -> Any:
        return index.upsert(vectors, *args, **self._routed(vectors, options))

    def _routed(self, vectors: Array, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "routing_vectors": foreign_representation(vectors)} if self.foreign else options

    def search(self, index: Any, queries: Array, k: int = 10, **options: Any) -> Any:
        if self.foreign:
            options["routing_queries"] = foreign_representation(np.atleast_2d(queries))
        return index.search(queries, k, **options)

    def range_search(self, index: Any, queries: Array, radius: float, **options: Any) -> Any:
        """Of all rows."""
        if self.foreign:
            options["routing_queries"] = foreign_representation(np.atleast_2d(queries))
        if "lists" in self.options:
            options["probes"] = LISTS
        return index.range_search(queries, radius, **options)

    def exhaustive(self, index: Any, queries: Array, k: int = 10, dims: int | None = None, **options: Any) -> Any:
        """A search that leaves nothing out, at all dims or at a rung: the result is exact."""
        asked = {} if dims is None else {self.dims_keyword: dims}
        keywords = self.everything(index.rows, dims or index.dims)
        return self.search(index, queries, k, **{**asked, **keywords, **options})


def _rerank_all(rows: int, dims: int) -> dict[str, Any]:
    return {"rerank": [(dims, rows)]}


def _probe_all(rows: int, dims: int) -> dict[str, Any]:
    return {"rerank": [(dims, rows)], "probes": rows}


_IVF = {"cluster_dims": 16, "scan_dims": 33, "lists": LISTS, "iterations": 4}
_CODE = {"code_bytes": 4, "bits": 4, "rotations": 2}
RECIPES = {
    "exact": Recipe(adanns.ExactIndex),
    "funnel-codes": Recipe(adanns.FunnelIndex, {"shortlist_dims": 16}, "shortlist_dims", _rerank_all),
    "funnel-planes": Recipe(
        adanns.FunnelIndex, {"shortlist_dims": 5, "scan_precision": None}, "shortlist_dims", _rerank_all
    ),
    "ivf-codes": Recipe(adanns.IVFIndex, _IVF, "scan_dims", _probe_all),
    "ivf-planes": Recipe(adanns.IVFIndex, {**_IVF, "scan_precision": None}, "scan_dims", _probe_all),
    "opq": Recipe(adanns.OPQIndex, {**_CODE, "scan_dims": 16}, "scan_dims", _rerank_all, fewest_rows=16),
    "ivfopq": Recipe(adanns.IVFOPQIndex, {**_IVF, **_CODE, "scan_dims": 16}, "scan_dims", _probe_all, fewest_rows=16),
    "compact": Recipe(
        adanns.CompactIndex,
        {**_IVF, "bytes_per_vector": 5, "prefixes": (16,), "rotations": 2},
        "scan_dims",
        _probe_all,
        fewest_rows=16,
    ),
    "mg-ivf": Recipe(adanns.IVFIndex, {**_IVF, "cluster_dims": 100}, "scan_dims", _probe_all, foreign=True),
}


@functools.cache
def rows_of(count: int, dims: int = DIMS, seed: int = 0) -> Array:
    """float32 rows in clusters, most of their length in the first dims, as Matryoshka embeddings have it. Read-only."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((11, dims))
    rows = centres[generator.integers(0, 11, count)] + 0.7 * generator.standard_normal((count, dims))
    rows = np.asarray(rows / np.sqrt(1 + np.arange(dims) / 20), np.float32)
    rows.setflags(write=False)
    return rows


def ids_of(count: int) -> Array:
    """Ids that are not row numbers, in no order."""
    return np.random.default_rng(count).permutation(10 * count)[:count].astype(np.int64) + (1 << 40)


@functools.cache
def built(name: str, metric: str = "cosine", precision: str = "float32") -> Any:
    """The index of a recipe over `rows_of(ROWS)` with `ids_of(ROWS)`; shared, so tests must not rebuild it."""
    recipe = RECIPES[name]
    return recipe.build(recipe.make(metric, PRECISIONS[precision]), rows_of(ROWS), ids_of(ROWS))


def assert_same(one: Any, other: Any) -> None:
    """Two results are equal bit for bit."""
    assert np.array_equal(one.ids, other.ids)
    assert np.array_equal(one.distances.view(np.uint32), other.distances.view(np.uint32))
    assert np.array_equal(one.counts, other.counts)


def spoilt(row: int, value: float, dtype: type = np.float32, count: int = 40) -> Any:
    """Rows with one value that does not belong."""
    rows = rows_of(count).astype(dtype)
    rows[row, DIMS - 1] = value
    return rows
