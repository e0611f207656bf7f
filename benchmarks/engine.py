"""How close is the engine to what the machine can do? Bandwidth of a scan, time outside the kernels, k-means, codes."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import faiss
import numpy as np

import adanns
from benchmarks import machine, results
from benchmarks.data import Floats, load, short_name
from benchmarks.table import aligned, number
from benchmarks.table_scan import ROWS, scan_speeds

PREFIX_DIMS = 64
ALLOWED_OUTSIDE_KERNELS_US = 10.0
SINGLE_CALLS = 5000
MOST_CLUSTERS = 4096
ITERATIONS = 10
POINTS_PER_CLUSTER = 128


@dataclass(frozen=True)
class Figure:
    """A quantity beside the one it has to stand up to; `ratio` is over 1 where ours is the better one."""

    name: str
    value: float
    unit: str
    compared_with: str
    compared_value: float
    ratio: float


def run(options: argparse.Namespace) -> int:
    """Measure, print, write results.json; options as parsed by benchmarks.__main__."""
    print(f"Preparing {options.dataset}", file=sys.stderr)
    dataset = load(options.dataset)
    dims = max(rung for rung in dataset.ladder if rung <= PREFIX_DIMS)
    prefix = np.array(dataset.database[:, :dims], dtype=np.float32)
    clusters = options.clusters or max(1, min(MOST_CLUSTERS, len(prefix) // POINTS_PER_CLUSTER))
    with machine.OtherLoad() as other_load:
        figures = list(_measure(prefix, clusters, options))
    lines = [["", "measured", "", "compared with", "", "ratio"]]
    for figure in figures:
        pair = [figure.compared_with, number(figure.compared_value)]
        lines.append([figure.name, number(figure.value), figure.unit, *pair, f"{figure.ratio:.2f}"])
    print(aligned(lines))
    content = {
        **results.heading("engine", environment=options.environment, other_load_cores=other_load.cores),
        "dataset": {"name": short_name(dataset), "rows": len(prefix), "dims": dataset.database.shape[1]},
        "options": {key: getattr(options, key) for key in ("threads", "rounds", "seed")} | {"clusters": clusters},
        "figures": [asdict(figure) for figure in figures],
    }
    folder = options.output or machine.results_folder(f"engine-{short_name(dataset)}")
    folder.mkdir(parents=True, exist_ok=True)
    results.write_content(content, folder / "results.json")
    print(f"\nWritten:\n  {folder / 'results.json'}")
    return 0


def _measure(prefix: Floats, clusters: int, options: argparse.Namespace) -> Iterator[Figure]:
    for threads in sorted({1, options.threads}):
        yield _scan(prefix, threads, options.rounds)
    yield from _outside_kernels()
    yield from _kmeans(prefix[: clusters * POINTS_PER_CLUSTER], clusters, options)
    yield from _table_scans(options)


def _scan(prefix: Floats, threads: int, rounds: int) -> Figure:
    """Bytes per second of an exact scan for one query, beside those of plainly reading as much memory."""
    index = adanns.ExactIndex(metric="l2", ladder=(prefix.shape[1],), precision="float32")
    index.build(prefix, threads=threads, progress=False)
    query = prefix[:1].copy()
    pieces = np.array_split(prefix.reshape(-1), threads)
    words = [piece[: len(piece) // 2 * 2].view(np.uint64) for piece in pieces]
    by_max, by_or, by_scan = [], [], []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5 * rounds):
            by_max.append(_seconds(lambda: list(pool.map(np.max, pieces))))
            by_or.append(_seconds(lambda: list(pool.map(np.bitwise_or.reduce, words))))
            by_scan.append(_seconds(lambda: index.search(query, k=10, threads=threads)))
    # The machine's bandwidth is what its fastest reader gets.
    read = prefix.nbytes / min(median(by_max), median(by_or)) / 1e9
    scan = prefix.nbytes / median(by_scan) / 1e9
    name = f"exact scan, one query, {prefix.shape[1]} dims, {threads} thread{'s' * (threads > 1)}"
    return Figure(name, scan, "GB/s", f"reading the same {prefix.nbytes / 2**20:,.0f} MiB", read, scan / read)


def _outside_kernels() -> Iterator[Figure]:
    """Microseconds of a one-query call that has next to nothing to compute."""
    rows = np.random.default_rng(0).standard_normal((16, 16), dtype=np.float32)
    query = rows[:1].copy()
    exact = adanns.ExactIndex().build(rows, progress=False)
    funnel = adanns.FunnelIndex(shortlist_dims=8).build(rows, progress=False)
    ivf = adanns.IVFIndex(cluster_dims=8, scan_dims=8, lists=1).build(rows, progress=False)
    calls: dict[str, Callable[[], Any]] = {
        "exact": lambda: exact.search(query, k=10, threads=1),
        "funnel": lambda: funnel.search(query, k=10, rerank=[(16, 10)], threads=1),
        "IVF": lambda: ivf.search(query, k=10, probes=1, rerank=[(16, 10)], threads=1),
    }
    for name, call in calls.items():
        microseconds = median(_seconds(call) for _ in range(SINGLE_CALLS)) * 1e6
        allowed = ALLOWED_OUTSIDE_KERNELS_US
        yield Figure(
            f"one-query call over 16 rows, {name}", microseconds, "us", "allowed", allowed, allowed / microseconds
        )


def _kmeans(points: Floats, clusters: int, options: argparse.Namespace) -> Iterator[Figure]:
    """Seconds to cluster and assign the same points by us and by FAISS, and how well: sum of squared distances."""
    points = points.copy()
    faiss.normalize_L2(points)
    faiss.omp_set_num_threads(options.threads)

    def ours() -> tuple[Any, Any]:
        found = adanns.train_kmeans(
            points,
            clusters,
            iterations=ITERATIONS,
            points_per_cluster=POINTS_PER_CLUSTER,
            seed=options.seed,
            threads=options.threads,
            progress=False,
        )
        return found.centroids, found.assignments

    def theirs() -> tuple[Any, Any]:
        kmeans = faiss.Kmeans(
            points.shape[1],
            clusters,
            niter=ITERATIONS,
            max_points_per_centroid=POINTS_PER_CLUSTER,
            seed=options.seed + 1,
        )
        kmeans.train(points)
        return kmeans.centroids, kmeans.index.search(points, 1)[1][:, 0]

    seconds: list[list[float]] = [[], []]
    objective = [0.0, 0.0]
    for _ in range(options.rounds):
        for position, cluster in enumerate((ours, theirs)):
            start = time.perf_counter()
            centroids, assignments = cluster()
            seconds[position].append(time.perf_counter() - start)
            objective[position] = _sum_of_squares(points, centroids, assignments)
    name = f"k-means, {len(points):,} x {points.shape[1]}, {clusters} clusters, {ITERATIONS} iterations"
    mine, other = (median(times) for times in seconds)
    yield Figure(name, mine, "s", "FAISS Kmeans", other, other / mine)
    yield Figure("its objective", objective[0], "", "FAISS Kmeans", objective[1], objective[1] / objective[0])


def _table_scans(options: argparse.Namespace) -> Iterator[Figure]:
    """Rows per second of scans of codes, with how many of FAISS's nearest rows ours found."""
    for speed in scan_speeds(5 * options.rounds, options.seed):
        calls = "one query" if speed.queries == 1 else f"{speed.queries} queries"
        name = f"{speed.bits}-bit codes of {speed.code_bytes} bytes, {ROWS:,} rows, {calls}, 1 thread"
        ours, theirs = speed.rows_per_second / 1e6, speed.faiss_rows_per_second / 1e6
        yield Figure(name, ours, "Mrows/s", speed.faiss_name, theirs, ours / theirs)
        yield Figure("its nearest 10", speed.overlap, "", "those of FAISS", 1.0, speed.overlap)


def _sum_of_squares(points: Floats, centroids: Any, assignments: Any) -> float:
    total = 0.0
    for start in range(0, len(points), 65536):
        rows = slice(start, start + 65536)
        difference = points[rows] - centroids[assignments[rows]]
        total += float(np.einsum("ij,ij->", difference, difference, dtype=np.float64))
    return total


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
