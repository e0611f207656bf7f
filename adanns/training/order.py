"""Order points so that neighbours in number are neighbours in space: a tile of queries then shares lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POWER_ITERATIONS = 8  # enough for a direction of large spread; the principal one is not needed


def locality_order(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """A permutation of the rows of (rows, dims): halve by the direction of largest spread, recursively."""
    order = np.arange(len(points), dtype=np.int64)
    doubles = points.astype(np.float64)  # squares of large coordinates go beyond float32
    stack = [(0, len(points))]
    while stack:
        begin, end = stack.pop()
        if end - begin <= 2:
            continue
        rows = order[begin:end]
        part = doubles[rows]
        along = _spread(part - part.mean(axis=0))
        order[begin:end] = rows[np.argsort(along, kind="stable")]
        middle = (begin + end) // 2
        stack += [(begin, middle), (middle, end)]
    return order


def _spread(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates along a direction of large variance. einsum, since BLAS may add in another order on more threads."""
    direction = np.zeros(centred.shape[1])
    direction[np.argmax(centred.var(axis=0))] = 1
    for _ in range(POWER_ITERATIONS):
        direction = np.einsum("rd,r->d", centred, np.einsum("rd,d->r", centred, direction))
        norm = np.linalg.norm(direction)
        if norm == 0:
            break
        direction /= norm
    along: NDArray[np.float64] = np.einsum("rd,d->r", centred, direction)
    return along
