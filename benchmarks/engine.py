"""How close is the engine to what the machine can do? Bandwidth of a scan, time outside the kernels, and k-means."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np

import adanns
from adanns import datasets
from benchmarks import machine
from benchmarks.data import Floats
from benchmarks.methods.base import Sweep
from benchmarks.table import aligned, number

SCAN_DIMS = 64
SINGLE_CALLS = 2000


def run(options: argparse.Namespace) -> int:
    """Measure, print, write results.json; options as parsed by benchmarks.__main__."""
    print(f"Preparing {options.dataset}", file=sys.stderr)
    dataset = datasets.load(options.dataset)
    dims = max(rung for rung in dataset.ladder if rung <= SCAN_DIMS)
    prefix = np.array(dataset.database[:, :dims], dtype=np.float32)
    with machine.OtherLoad() as other_load:
        findings = {
            "scan": [_scan(prefix, threads, options.rounds) for threads in sorted({1, options.threads})],
            "outside_kernels": _outside_kernels(),
            "kmeans": _kmeans(prefix, options.threads, options.seed, options.rounds),
        }
    report(findings)
    name = dataset.name.removeprefix("npy:").rstrip("/").rpartition("/")[2]
    results_folder = Path(__file__).parent / "results"
    folder = options.output or results_folder / machine.cpu_slug() / f"engine-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": "engine",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe() | {"environment": options.environment, "other_load_cores": other_load.cores},
        "dataset": {"name": name, "rows": len(prefix), "prefix_dims": dims},
        "options": {"threads": options.threads, "rounds": options.rounds, "seed": options.seed},
        "findings": findings,
    }
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"\nWritten:\n  {folder / 'results.json'}")
    return 0


def _scan(prefix: Floats, threads: int, rounds: int) -> dict[str, float]:
    """Bytes per second of an exact scan for one query, beside those of plainly reading as much memory."""
    index = adanns.ExactIndex(metric="l2", ladder=(prefix.shape[1],), precision="float32")
    index.build(prefix, progress=False)
    query = prefix[:1].copy()
    reading, scanning = [], []
    with ThreadPoolExecutor(threads) as pool:
        pieces = np.array_split(prefix.reshape(-1), threads)
        for _ in range(5 * rounds):
            reading.append(_seconds(lambda: list(pool.map(np.max, pieces))))
            words = [piece[: len(piece) // 2 * 2].view(np.uint64) for piece in pieces]
            reading.append(_seconds(lambda: list(pool.map(np.bitwise_or.reduce, words))))  # noqa: B023
            scanning.append(_seconds(lambda: index.search(query, k=10, threads=threads)))
    # The best of the two ways of reading: the machine's bandwidth is what the fastest reader gets.
    read = prefix.nbytes / min(median(reading[::2]), median(reading[1::2]))
    scan = prefix.nbytes / median(scanning)
    return {"threads": threads, "read_gb_per_s": read / 1e9, "scan_gb_per_s": scan / 1e9, "share": scan / read}


def _outside_kernels() -> dict[str, float]:
    """Microseconds of a one-query search that has next to nothing to do: 64 rows of 16 dims."""
    rows = np.random.default_rng(0).standard_normal((64, 16), dtype=np.float32)
    exact = adanns.ExactIndex().build(rows, progress=False)
    funnel = adanns.FunnelIndex(shortlist_dims=8).build(rows, progress=False)
    ivf = adanns.IVFIndex(cluster_dims=8, scan_dims=8, lists=4).build(rows, progress=False)
    searches: dict[str, Callable[[Floats], Any]] = {
        "ExactIndex": lambda query: exact.search(query, k=10, threads=1),
        "FunnelIndex": lambda query: funnel.search(query, k=10, rerank=[(16, 10)], threads=1),
        "IVFIndex": lambda query: ivf.search(query, k=10, probes=1, rerank=[(16, 10)], threads=1),
    }
    query = rows[:1].copy()
    return {
        name: median(_seconds(lambda: search(query)) for _ in range(SINGLE_CALLS)) * 1e6  # noqa: B023
        for name, search in searches.items()
    }


def _kmeans(prefix: Floats, threads: int, seed: int, rounds: int) -> dict[str, Any]:
    """Seconds to cluster (train on a sample, assign all rows) by us and by FAISS, and the mean squared distance left."""
    points = prefix.copy()
    faiss.normalize_L2(points)
    sweep = Sweep.of(len(points), (points.shape[1],), seed, quick=False)
    faiss.omp_set_num_threads(threads)
    settings = {"niter": sweep.iterations, "max_points_per_centroid": sweep.points_per_list, "seed": seed + 1}

    def by_faiss() -> tuple[Floats, Any]:
        kmeans = faiss.Kmeans(points.shape[1], sweep.lists, **settings)
        kmeans.train(points)
        return kmeans.centroids, kmeans.index.search(points, 1)[1][:, 0]

    def by_us() -> tuple[Floats, Any]:
        clusters = adanns.train_kmeans(
            points,
            sweep.lists,
            iterations=sweep.iterations,
            points_per_cluster=sweep.points_per_list,
            seed=seed,
            threads=threads,
            progress=False,
        )
        return clusters.centroids, clusters.assignments

    seconds: dict[str, list[float]] = {"adanns": [], "faiss": []}
    objective = {}
    for _ in range(rounds):
        for name, cluster in (("adanns", by_us), ("faiss", by_faiss)):
            start = time.perf_counter()
            centroids, assignments = cluster()
            seconds[name].append(time.perf_counter() - start)
            objective[name] = _mean_squared_distance(points, centroids, assignments)
    return {
        "clusters": sweep.lists,
        "iterations": sweep.iterations,
        "points_per_cluster": sweep.points_per_list,
        "seconds": {name: median(times) for name, times in seconds.items()},
        "mean_squared_distance": objective,
    }


def _mean_squared_distance(points: Floats, centroids: Floats, assignments: Any) -> float:
    total = 0.0
    for start in range(0, len(points), 65536):
        rows = slice(start, start + 65536)
        difference = points[rows] - centroids[assignments[rows]]
        total += float(np.einsum("ij,ij->", difference, difference, dtype=np.float64))
    return total / len(points)


def report(findings: dict[str, Any]) -> None:
    """Print what was found."""
    lines = [["exact scan, one query, float32", "GB/s", "plain reading", "share"]]
    for scan in findings["scan"]:
        numbers = [number(scan["scan_gb_per_s"]), number(scan["read_gb_per_s"]), f"{scan['share']:.0%}"]
        lines.append([f"  {scan['threads']} thread{'s' * (scan['threads'] > 1)}", *numbers])
    print(aligned(lines), end="\n\n")
    lines = [["one-query search of next to nothing", "us"]]
    lines += [[f"  {name}", number(us)] for name, us in findings["outside_kernels"].items()]
    print(aligned(lines), end="\n\n")
    kmeans = findings["kmeans"]
    lines = [
        [f"k-means, {kmeans['clusters']} clusters, {kmeans['iterations']} iterations", "s", "mean squared distance"]
    ]
    for name, seconds in kmeans["seconds"].items():
        lines.append([f"  {name}", number(seconds), f"{kmeans['mean_squared_distance'][name]:.5f}"])
    print(aligned(lines))


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
