"""k-means: the clusters that route queries to lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adanns import _core, cuda
from adanns.arrays import CHUNK_ROWS, checked_count, checked_seed, checked_threads, checked_vectors
from adanns.cuda.points import DevicePoints
from adanns.ladder import Metric, checked_metric
from adanns.progress import Progress, ProgressCallback

SPLIT = np.float32(1 / 64)  # of the way from a centroid to its farthest row: small, to take about half of the rows
SEEDING_POINTS = 32  # rows per cluster that the starting centroids are drawn from
SEEDING_ROUNDS = 8
PLACED_ROWS = 1 << 22  # rows that are put on a device at a time


class Points(Protocol):
    """Rows that are assigned to centroids, here or on a device."""

    def nearest(self, centroids: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(assignments, squared distances) of all rows."""
        ...

    def nearest_and_sums(
        self, centroids: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """The same, and the sums of the rows of each cluster."""
        ...


Place: TypeAlias = Callable[[NDArray[np.float32]], Points]
"""Puts rows where they are assigned."""


@dataclass(frozen=True)
class _HostPoints:
    points: NDArray[np.float32]
    threads: int

    def nearest(self, centroids: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        return _core.assign(self.points, centroids, False, True, self.threads)

    def nearest_and_sums(
        self, centroids: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        assignments, distances = self.nearest(centroids)
        sums, _ = _core.sum_clusters(self.points, assignments, len(centroids), self.threads)
        return assignments, distances, sums


def _on_host(threads: int) -> Place:
    return lambda points: _HostPoints(points, threads)


def _on_device() -> Place:
    memory, module = cuda.current_device()
    return lambda points: DevicePoints(points, memory, module)


@dataclass(frozen=True)
class Clusters:
    """A clustering of rows: centroids float32 (clusters, dims), assignments int32 (rows,), one cluster per row.

    objective: sum of squared distances to the nearest centroid over the sample, per iteration; empty where unknown.
    """

    centroids: NDArray[np.float32]
    assignments: NDArray[np.int32]
    objective: tuple[float, ...] = ()


def train_kmeans(
    vectors: Any,
    clusters: int,
    *,
    iterations: int = 10,
    seed: int = 0,
    metric: Metric = "l2",
    points_per_cluster: int = 128,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
    progress: bool | ProgressCallback | None = None,
) -> Clusters:
    """Cluster the rows of a matrix (Lloyd); under cosine rows and centroids are normalised (spherical k-means).

    Trained on a seeded sample of `points_per_cluster * clusters` rows; then every row is assigned, and no cluster is
    empty.
    device: where rows are assigned; on a GPU, where the nearest centroid is found in float16, clusters are not bit for
        bit the CPU's.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r}; choose 'cpu' or 'cuda'")
    array = checked_vectors(vectors, "vectors")
    clusters = checked_count(clusters, "clusters")
    if clusters > len(array):
        raise ValueError(f"clusters={clusters} is more than the {len(array)} rows")
    checked_count(iterations, "iterations")
    checked_count(points_per_cluster, "points_per_cluster")
    seed = checked_seed(seed)
    spherical = checked_metric(metric) == "cosine"
    workers = checked_threads(threads)
    bad = _core.first_not_finite(array, workers)
    if bad >= 0:
        raise ValueError(f"vectors: row {bad} holds NaN or infinity")
    with Progress(progress) as shown:
        rows = as_points(array, spherical)
        sample = rows[sample_rows(len(rows), clusters * points_per_cluster, seed)]
        place = _on_host(workers) if device == "cpu" else _on_device()
        centroids, objective = lloyd(sample, clusters, iterations, seed, spherical, workers, shown, place)
        parts = [
            place(rows[start : start + PLACED_ROWS]).nearest(centroids) for start in range(0, len(rows), PLACED_ROWS)
        ]
        assignments, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
    centroids = fill_empty_clusters(centroids, assignments, distances, lambda row: rows[row])
    return Clusters(centroids, assignments, objective)


def sample_rows(rows: int, size: int, seed: int) -> NDArray[np.int64]:
    """`size` different row numbers, ascending; all of them where there are no more."""
    if size >= rows:
        return np.arange(rows, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(rows, size, replace=False)).astype(np.int64)


def spread_seeds(sample: NDArray[np.float32], clusters: int, seed: int, threads: int) -> NDArray[np.float32]:
    """Different rows to start from: the first ones at random, then rounds of rows drawn by squared distance to those
    chosen (k-means++ in rounds, as in k-means|| of Bahmani et al., 2012). 2% lower objectives than random rows here.
    """
    generator = np.random.default_rng(seed + 1)
    pool = sample[sample_rows(len(sample), clusters * SEEDING_POINTS, seed + 2)]
    chosen = generator.choice(len(pool), -(-clusters // SEEDING_ROUNDS), replace=False)
    distances = np.full(len(pool), np.inf, np.float32)
    fresh = chosen
    while len(chosen) < clusters:
        nearest = _core.assign(pool, np.ascontiguousarray(pool[fresh]), False, True, threads)[1]
        distances = np.minimum(distances, nearest)
        distances[chosen] = 0
        wanted = min(len(fresh), clusters - len(chosen))
        weights = np.minimum(distances.astype(np.float64), np.finfo(np.float32).max)
        apart = np.flatnonzero(weights)
        if len(apart) > wanted:
            fresh = generator.choice(len(pool), wanted, replace=False, p=weights / weights.sum())
        else:  # fewer different rows than clusters: all that differ, then any that are left
            left = np.setdiff1d(np.arange(len(pool)), np.concatenate([chosen, apart]))
            fresh = np.concatenate([apart, generator.choice(left, wanted - len(apart), replace=False)])
        chosen = np.concatenate([chosen, fresh])
    return np.ascontiguousarray(pool[np.sort(chosen)])


def lloyd(
    sample: NDArray[np.float32],
    clusters: int,
    iterations: int,
    seed: int,
    spherical: bool,
    threads: int,
    progress: Progress,
    place: Place | None = None,
) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Centroids and the objective per iteration, from `clusters` different rows; empty clusters split large ones.

    place: where rows are assigned; None: here.
    """
    centroids = spread_seeds(sample, clusters, seed, threads)
    points = (place or _on_host(threads))(sample)
    objective = []
    for iteration in range(iterations):
        assignments, distances, sums = points.nearest_and_sums(centroids)
        objective.append(float(distances.sum(dtype=np.float64)))
        counts = np.bincount(assignments, minlength=clusters)
        centroids = np.divide(sums, np.maximum(counts, 1)[:, np.newaxis], dtype=np.float32)
        _split_large(centroids, counts, sample, assignments, distances)
        if spherical:
            centroids = _normalised(centroids)
        progress.step("k-means", iteration + 1, iterations)
    return centroids, tuple(objective)


def _split_large(
    centroids: NDArray[np.float32],
    counts: NDArray[np.int64],
    sample: NDArray[np.float32],
    assignments: NDArray[np.int32],
    distances: NDArray[np.float32],
) -> None:
    """In place: each empty cluster goes beside the largest one left, a little towards that one's farthest row.

    The large one stays where it is, so no row gets a longer way and the objective cannot increase.
    """
    for empty in np.flatnonzero(counts == 0):
        large = int(np.argmax(counts))
        if counts[large] < 2:
            return
        members = np.flatnonzero(assignments == large)
        farthest = members[np.argmax(distances[members])]
        distances[farthest] = 0  # the next split of this cluster goes another way
        centroids[empty] = centroids[large] + SPLIT * (sample[farthest] - centroids[large])
        counts[large] -= counts[large] // 2
        counts[empty] = 1


def fill_empty_clusters(
    centroids: NDArray[np.float32],
    assignments: NDArray[np.int32],
    distances: NDArray[np.float32],
    point: Any,
) -> NDArray[np.float32]:
    """Give each empty cluster the farthest row of the largest one. Changes `assignments`; `point(row)` reads a row."""
    counts = np.bincount(assignments, minlength=len(centroids))
    for empty in np.flatnonzero(counts == 0):
        large = int(np.argmax(counts))
        members = np.flatnonzero(assignments == large)
        row = members[np.argmax(distances[members])]
        centroids[empty] = point(int(row))
        assignments[row] = empty
        distances[row] = 0
        counts[large] -= 1
        counts[empty] = 1
    return centroids


def as_points(array: NDArray[Any], spherical: bool) -> NDArray[np.float32]:
    """Rows as k-means takes them: float32, of length 1 where it is spherical."""
    points = np.ascontiguousarray(array, dtype=np.float32)
    if not spherical:
        return points
    return np.concatenate(
        [_normalised(points[start : start + CHUNK_ROWS]) for start in range(0, len(points), CHUNK_ROWS)]
    )


def _normalised(points: NDArray[np.float32]) -> NDArray[np.float32]:
    # In float64: the square of a large or a small float32 is none.
    norms = np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(points / np.where(norms > 0, norms, 1), np.float32)
