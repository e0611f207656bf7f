"""Does k-means only get better, leave no cluster empty, and give the same for the same seed?"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import twins
from recipes import rows_of

import adanns
from adanns.training.kmeans import spread_seeds

ROWS = rows_of(2000, 17)


def lloyd(rows: Any, centroids: Any, iterations: int) -> list[float]:
    """The objective per iteration of plain k-means from these centroids."""
    objective = []
    for _ in range(iterations):
        squared = twins.distances(centroids, rows, "l2")
        nearest = squared.argmin(axis=1)
        objective.append(squared.min(axis=1).sum())
        centroids = np.stack([rows[nearest == cluster].mean(axis=0) for cluster in range(len(centroids))])
    return objective


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("clusters", [1, 16, 33, 500, 2000])
def test_the_objective_never_increases(clusters: int, metric: Any) -> None:
    result = adanns.train_kmeans(ROWS, clusters, metric=metric, iterations=8, points_per_cluster=3)
    assert len(result.objective) == 8
    rounding = 1e-6 * result.objective[0] + 1e-9
    assert all(after <= before + rounding for before, after in itertools.pairwise(result.objective))


@pytest.mark.parametrize("clusters", [20, 60])
def test_the_objective_never_increases_where_empty_clusters_are_refilled(clusters: int) -> None:
    # Mostly duplicates, so that every start has empty clusters; away from the origin, so that a step relative to the
    # coordinates is a large one.
    rows = np.repeat(rows_of(15, 17) * np.float32(0.01) + 10, 40, axis=0)
    rows[::40] += rows_of(15, 17, seed=3) * np.float32(0.01)
    for seed in range(5):
        objective = adanns.train_kmeans(rows, clusters, iterations=10, seed=seed).objective
        rounding = 1e-3 * float(((rows - rows.mean(axis=0)) ** 2).sum())
        assert all(after <= before + rounding for before, after in itertools.pairwise(objective)), objective


def test_the_objective_is_that_of_plain_lloyd() -> None:
    result = adanns.train_kmeans(ROWS, 10, iterations=6, points_per_cluster=10**6)
    start = spread_seeds(ROWS, 10, seed=0, threads=1)
    np.testing.assert_allclose(result.objective, lloyd(ROWS, start, 6), rtol=1e-5)


def test_separated_clusters_are_found() -> None:
    corners = np.eye(8, 17, dtype=np.float32) * 50
    which = np.random.default_rng(0).integers(0, 8, 2000)
    results = [
        adanns.train_kmeans(ROWS + corners[which], 8, seed=seed, iterations=20, points_per_cluster=2000)
        for seed in range(10)
    ]
    result = min(results, key=lambda clusters: clusters.objective[-1])
    assert len(set(zip(which.tolist(), result.assignments.tolist(), strict=True))) == 8
    for cluster in range(8):
        members = (ROWS + corners[which])[result.assignments == cluster]
        np.testing.assert_allclose(result.centroids[cluster], members.mean(axis=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_every_row_is_assigned_to_its_nearest_centroid(metric: Any) -> None:
    result = adanns.train_kmeans(ROWS, 50, metric=metric, points_per_cluster=10)
    assert result.centroids.dtype == np.float32
    assert result.centroids.shape == (50, 17)
    assert result.assignments.dtype == np.int32
    assert result.assignments.shape == (2000,)
    points = twins.unit(ROWS) if metric == "cosine" else ROWS
    squared = twins.distances(result.centroids, points, "l2")
    chosen = squared[np.arange(2000), result.assignments]
    assert (chosen <= squared.min(axis=1) + 1e-5 * squared.max()).all()


def test_centroids_are_of_length_one_under_cosine_only() -> None:
    spherical = adanns.train_kmeans(ROWS, 20, metric="cosine")
    np.testing.assert_allclose(np.linalg.norm(spherical.centroids, axis=1), 1, rtol=1e-5)
    plain = adanns.train_kmeans(ROWS, 20, metric="l2")
    assert (np.abs(np.linalg.norm(plain.centroids, axis=1) - 1) > 0.1).any()


@pytest.mark.parametrize("length", [1e-40, 1e-25, 1e25])
def test_spherical_clusters_do_not_depend_on_the_length_of_rows(length: float) -> None:
    lengths = np.where(np.arange(2000) % 2 == 0, np.float32(1), np.float32(length))[:, np.newaxis]
    expected = adanns.train_kmeans(ROWS, 12, metric="cosine")
    result = adanns.train_kmeans(ROWS * lengths, 12, metric="cosine")
    assert (result.assignments == expected.assignments).mean() > 0.99
    np.testing.assert_allclose(result.objective, expected.objective, rtol=1e-3)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("clusters", [1, 2, 7, 59, 60])
def test_no_cluster_is_empty_whatever_the_rows(clusters: int, metric: Any) -> None:
    duplicates = np.repeat(rows_of(3, 17), 20, axis=0)
    for rows in (duplicates, np.zeros((60, 17), np.float32), rows_of(60, 17), duplicates + np.float32(1e4)):
        result = adanns.train_kmeans(rows, clusters, metric=metric, points_per_cluster=1)
        assert np.bincount(result.assignments, minlength=clusters).min() >= 1
        assert len(result.centroids) == clusters
        assert np.isfinite(result.centroids).all()


def test_same_seed_same_clusters_with_any_threads() -> None:
    results = [adanns.train_kmeans(ROWS, 40, seed=7, threads=threads) for threads in (1, 1, 2, 3, 7, 1000)]
    for other in results[1:]:
        assert np.array_equal(other.centroids, results[0].centroids)
        assert np.array_equal(other.assignments, results[0].assignments)
        assert other.objective == results[0].objective
    another = adanns.train_kmeans(ROWS, 40, seed=8)
    assert not np.array_equal(another.centroids, results[0].centroids)


def test_training_reads_a_sample_and_assigns_all() -> None:
    few = adanns.train_kmeans(ROWS, 10, points_per_cluster=5)
    all_rows = adanns.train_kmeans(ROWS, 10, points_per_cluster=200)
    assert few.objective[0] < all_rows.objective[0] / 10
    assert len(few.assignments) == 2000


def test_rows_of_any_form_give_the_same_clusters() -> None:
    halves = ROWS.astype(np.float16)
    expected = adanns.train_kmeans(halves, 9)
    before = halves.copy()
    for form in (halves.astype(np.float32), halves.astype(np.float64), np.asfortranarray(halves), halves.tolist()):
        result = adanns.train_kmeans(form, 9)
        assert np.array_equal(result.assignments, expected.assignments)
        assert np.array_equal(result.centroids, expected.centroids)
    assert np.array_equal(halves, before)


def test_progress_counts_the_iterations() -> None:
    steps: list[tuple[str, int, int]] = []
    adanns.train_kmeans(ROWS, 5, iterations=4, progress=lambda *step: steps.append(step))
    assert steps == [("k-means", done, 4) for done in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (ROWS, {"clusters": 0}, ValueError, "clusters=0; expected 1 or more"),
        (ROWS, {"clusters": 2.5}, TypeError, "clusters is 2.5; expected an int"),
        (ROWS, {"clusters": 2001}, ValueError, "clusters=2001 is more than the 2000 rows"),
        (ROWS, {"iterations": 0}, ValueError, "iterations=0; expected 1 or more"),
        (ROWS, {"points_per_cluster": 0}, ValueError, "points_per_cluster=0; expected 1 or more"),
        (ROWS, {"metric": "euclid"}, ValueError, "metric is 'euclid'"),
        (ROWS, {"seed": -1}, ValueError, "seed=-1; expected 0 or more"),
        (ROWS, {"seed": None}, TypeError, "seed is None; expected an int"),
        (ROWS, {"threads": 0}, ValueError, "threads=0; expected 1 or more"),
        (ROWS, {"progress": 3}, TypeError, "progress is 3"),
        (ROWS[0], {}, ValueError, "vectors have shape (17,); expected (rows, dims)"),
        (ROWS[:0], {}, ValueError, "vectors are empty: shape (0, 17)"),
        (ROWS.astype(int), {}, TypeError, "vectors have dtype int64"),
        (np.where(np.arange(2000)[:, np.newaxis] == 77, np.nan, ROWS), {}, ValueError, "row 77 holds NaN or infinity"),
        (None, {}, TypeError, "vectors have dtype object"),
    ],
)
def test_bad_input_is_refused(rows: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        adanns.train_kmeans(rows, **{"clusters": 3, **options})


def test_seeds_are_different_rows_even_where_most_rows_are_equal() -> None:
    rows = np.zeros((100, 4), np.float32)
    rows[:20] = rows_of(20, 4)
    for clusters in (1, 7, 20, 60, 100):
        seeds = spread_seeds(rows, clusters, seed=0, threads=1)
        assert seeds.shape == (clusters, 4)
        distinct = len(np.unique(seeds, axis=0))
        assert distinct == min(clusters, 21) if clusters >= 60 else distinct >= clusters // 2


def test_spread_seeds_start_lower_than_random_rows() -> None:
    random_rows = ROWS[np.random.default_rng(0).choice(len(ROWS), 100, replace=False)]
    spread = spread_seeds(ROWS, 100, seed=0, threads=1)
    assert lloyd(ROWS, spread, 1)[0] < lloyd(ROWS, random_rows, 1)[0]
