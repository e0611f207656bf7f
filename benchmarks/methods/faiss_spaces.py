"""In which space are FAISS's codes made: a prefix, or all dims brought down by PCA; with the rows in it."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.data import Database, Floats, Workload
from benchmarks.methods.base import Stopwatch
from benchmarks.methods.code_sweep import CodeSweep

faiss: Any = importlib.import_module("faiss")


@dataclass(frozen=True, eq=False)
class Space:
    """Rows of `dims` dims. `transforms`, one after another, bring whole vectors into it; they took `seconds` to learn.

    sample(rows, seed): random rows of it.
    """

    name: str
    dims: int
    transforms: list[Any]
    rows: Callable[[], Iterator[Floats]]
    sample: Callable[[int, int], Floats]
    seconds: float


def prefix_space(workload: Workload, dims: int) -> Space:
    """The first `dims`, renormalised under cosine."""
    database = Database(workload.dataset, dims)
    transforms = [faiss.RemapDimensionsTransform(workload.dims, dims, False)]
    if workload.metric == "cosine":
        transforms.append(faiss.NormalizationTransform(dims, 2.0))
    return Space("prefix", dims, transforms, database.chunks, database.sample, 0.0)


def reduced_space(workload: Workload, database: Database, sweep: CodeSweep) -> Space:
    """All dims, brought down by PCA: what one does without prefixes. All rows of it are kept in memory.

    FAISS's OPQ can reduce dims too, but would need all of them at every turn and every size: eight times the products.
    """
    pca = faiss.PCAMatrix(workload.dims, sweep.reduced_dims)
    rows = np.empty((workload.rows, sweep.reduced_dims), np.float32)
    watch = Stopwatch()
    points = database.sample(sweep.training_rows, sweep.seed)
    with watch:
        pca.train(points)
    del points
    first = 0
    for chunk in database.chunks():
        with watch:
            rows[first : first + len(chunk)] = pca.apply(chunk)
        first += len(chunk)

    def sample(count: int, seed: int) -> Floats:
        chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
        return rows[np.sort(chosen)]

    return Space("all dims", sweep.reduced_dims, [pca], lambda: iter([rows]), sample, watch.seconds)
