"""Which rows are looked at, and in what state are they?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import check_matrix, checked_vectors

Floats = NDArray[np.float32]
Labels = NDArray[Any]

FEWEST_ROWS = 100  # distinct ones; below this the shares measured are mostly chance
QUERY_SHARE = 5  # where rows are scarce, one in so many is a query
EQUAL_LENGTHS = 1e-3  # relative spread of lengths that float16 storage leaves


@dataclass(frozen=True)
class Sample:
    """Distinct rows that are not zero, float32, split into a database and queries, and what was found beside them."""

    database: Floats
    queries: Floats
    database_labels: Labels | None
    query_labels: Labels | None
    dtype: str  # of the vectors as they came
    drawn: int
    zero_rows: int
    duplicate_rows: int

    @property
    def dims(self) -> int:
        """Dimensions of a row."""
        return int(self.database.shape[1])

    @property
    def constant_dims(self) -> int:
        """How many dimensions have one value in all rows."""
        return int(np.count_nonzero(np.ptp(self.database, axis=0) == 0))


@dataclass(frozen=True)
class Lengths:
    """L2 lengths of the rows drawn; `equal_at`: the prefixes at which all have the same length, whatever it is."""

    shortest: float
    median: float
    longest: float
    equal_at: tuple[int, ...]


def draw(vectors: Any, labels: Any, rows: int, queries: int, seed: int) -> Sample:
    """Draw at most rows + queries of `vectors`; only these are read, in the order in which they lie."""
    whole = np.asarray(vectors)
    check_matrix(whole, "vectors")
    if whole.shape[1] < 2:
        raise ValueError("vectors have 1 dimension; there is no prefix to look at")
    all_labels = _checked_labels(labels, len(whole))
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(len(whole), min(len(whole), rows + queries), replace=False))
    # Adding 0 makes -0 and 0 the same bytes, so that equal rows are found.
    drawn = np.asarray(checked_vectors(whole[chosen], "vectors"), np.float32) + np.float32(0)
    finite = np.isfinite(drawn).all(axis=1)
    if not finite.all():
        raise ValueError(f"vectors: row {chosen[np.argmin(finite)]} holds NaN or infinity")
    some = drawn.any(axis=1)
    usable = np.flatnonzero(some)
    # Copies of a row would share a neighbour's place by chance.
    _, first = np.unique(_as_bytes(drawn[usable]), return_index=True)
    distinct = usable[np.sort(first)]
    if len(distinct) < FEWEST_ROWS:
        raise ValueError(
            f"of {len(drawn):,} rows drawn, {len(distinct):,} are distinct and not zero; "
            f"a diagnosis needs {FEWEST_ROWS} or more"
        )
    shuffled = random.permutation(distinct)
    query_count = min(queries, len(distinct) // QUERY_SHARE)
    query_rows, database_rows = np.sort(shuffled[:query_count]), np.sort(shuffled[query_count:])
    return Sample(
        database=drawn[database_rows],
        queries=drawn[query_rows],
        database_labels=None if all_labels is None else all_labels[chosen[database_rows]],
        query_labels=None if all_labels is None else all_labels[chosen[query_rows]],
        dtype=whole.dtype.name,
        drawn=len(drawn),
        zero_rows=int(np.count_nonzero(~some)),
        duplicate_rows=len(usable) - len(distinct),
    )


def lengths(database: Floats, prefix_dims: tuple[int, ...]) -> Lengths:
    """How long rows are, and at which prefixes they are all equally long."""
    equal_at = []
    squares = np.zeros(len(database), np.float64)
    start = 0
    for stop in prefix_dims:
        band = database[:, start:stop].astype(np.float64)
        squares += np.einsum("ij,ij->i", band, band)
        start = stop
        if np.sqrt(squares).std() <= EQUAL_LENGTHS * np.sqrt(squares).mean():
            equal_at.append(stop)
    whole = np.sqrt(squares)
    return Lengths(float(whole.min()), float(np.median(whole)), float(whole.max()), tuple(equal_at))


def _checked_labels(labels: Any, rows: int) -> Labels | None:
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (rows,):
        raise ValueError(f"labels have shape {array.shape}; expected ({rows},), one per row")
    return array


def _as_bytes(rows: Floats) -> NDArray[np.void]:
    """Each row as one opaque value, which numpy can sort."""
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
