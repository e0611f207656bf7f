"""What do changes cost: adding rows, searching among removed ones, filters of any selectivity?"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import adanns
from adanns import datasets, evaluate
from benchmarks import data, machine, results
from benchmarks.data import Floats, Ids, K
from benchmarks.table import aligned

ADDED_ROWS = 10_000
REMOVED_SHARE = 0.1
SHARES = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.9, 0.99)  # of the rows, that a filter lets through
TARGET = 0.95  # recall@10 that lists are probed for
MOST_QUERIES = 1_000
SINGLE_QUERIES = 200
SCAN_DIMS = 64
EXACT, IVF = "exact", "ivf"


@dataclass(frozen=True)
class Cost:
    """Microseconds a query in one situation, in a batch and one by one, beside the same index unchanged, unfiltered.

    share: of the rows that a search may return. recall10: against exact search of those. Times are medians of rounds.
    """

    index: str
    situation: str
    share: float
    probes: int
    recall10: float
    batch_us: float
    single_us: float
    batch_ratio: float
    single_ratio: float


@dataclass(frozen=True)
class Situation:
    """An index and the keywords of its searches."""

    index: Any
    name: str
    share: float
    recall10: float
    options: Mapping[str, Any]


def run(options: argparse.Namespace) -> int:
    """Measure, print, write; options as parsed by benchmarks.__main__."""
    dataset = data.load(options.dataset)
    dims = options.dims or int(dataset.database.shape[1])
    rows = min(options.rows or len(dataset.database), len(dataset.database))
    if dims not in dataset.ladder:
        print(f"--dims {dims} is not on the ladder {dataset.ladder} of {options.dataset}", file=sys.stderr)
        return 2
    ladder = tuple(rung for rung in dataset.ladder if rung <= dims)
    count = min(options.queries or MOST_QUERIES, len(dataset.queries))
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(dataset.queries))[:count])
    queries = np.ascontiguousarray(dataset.queries[chosen, :dims], np.float32)
    with machine.OtherLoad() as other_load, tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        added, costs = _measure(dataset, rows, ladder, queries, Path(folder), options)
    content = {
        **results.heading("change", environment=options.environment, other_load_cores=other_load.cores),
        "dataset": {
            "name": data.short_name(dataset),
            "rows": rows,
            "dims": dims,
            "ladder": list(ladder),
            "source": data.shown_source(dataset),
            "synthetic": dataset.synthetic,
        },
        "options": {
            "queries": count,
            "single_queries": min(SINGLE_QUERIES, count),
            "rounds": options.rounds,
            "threads": options.threads,
            "seed": options.seed,
            "target_recall10": TARGET,
        },
        "added": added,
        "costs": [asdict(cost) for cost in costs],
    }
    print(report(content))
    if warning := other_load.warning():
        print(f"\n{warning}")
    output = options.output or machine.results_folder(f"change-{data.short_name(dataset)}")
    print("\nWritten:", *write(content, output), sep="\n  ")
    return 0


def _measure(
    dataset: datasets.Dataset,
    rows: int,
    ladder: tuple[int, ...],
    queries: Floats,
    folder: Path,
    options: argparse.Namespace,
) -> tuple[list[dict[str, Any]], list[Cost]]:
    added: list[dict[str, Any]] = []
    metric: Any = dataset.metric
    common = {"metric": metric, "ladder": ladder, "precision": "float16"}
    scan_dims = max(rung for rung in ladder if rung <= max(SCAN_DIMS, ladder[0]))
    kinds: dict[str, Any] = {
        EXACT: adanns.ExactIndex(**common),
        IVF: adanns.IVFIndex(scan_dims, scan_dims, seed=options.seed, **common),
    }
    first = max(rows - ADDED_ROWS, rows // 2)
    for name, index in kinds.items():
        print(f"{name}: build {first:,} rows, add {rows - first:,}", file=sys.stderr)
        index.build(_chunks(dataset, 0, first, ladder[-1]), threads=options.threads)
        new = np.ascontiguousarray(dataset.database[first:rows, : ladder[-1]])
        start = perf_counter()
        index.add(new, threads=options.threads)
        added.append({"index": name, "rows": len(new), "to": first, "seconds": perf_counter() - start})
        start = perf_counter()
        index.compact()
        added[-1]["compact_seconds"] = perf_counter() - start
        index.save(folder / name)
    del kinds, index  # both are mapped from the page cache from here on, whole and changed
    costs = []
    exact: Any = adanns.load(folder / EXACT, mmap=True)
    for name in (EXACT, IVF):
        print(f"{name}: search", file=sys.stderr)
        baseline, others = _situations(name, folder / name, exact, queries, rows, options)
        costs += _timed(name, baseline, others, queries, options)
    return added, costs


def _chunks(dataset: datasets.Dataset, begin: int, end: int, dims: int) -> Any:
    for start in range(begin, end, 1 << 16):
        yield np.ascontiguousarray(dataset.database[start : min(end, start + (1 << 16)), :dims])


def _situations(
    name: str, folder: Path, exact: Any, queries: Floats, rows: int, options: argparse.Namespace
) -> tuple[Situation, list[Situation]]:
    """The whole index, and the same with rows removed or filtered, each with as many probes as its recall takes."""
    whole: Any = adanns.load(folder, mmap=True)
    truth = exact.search(queries, K, threads=options.threads).ids
    probes, recall = _probes_for(whole, queries, truth, TARGET, options.threads)
    baseline = Situation(whole, "whole", 1.0, recall, probes)
    generator = np.random.default_rng(options.seed)

    gone = generator.random(rows) < REMOVED_SHARE
    changed: Any = adanns.load(folder, mmap=True)
    changed.remove(np.flatnonzero(gone))
    truth = exact.search(queries, K, filter=~gone, threads=options.threads).ids
    got = evaluate.recall(changed.search(queries, K, threads=options.threads, **probes).ids, truth, K)
    others = [Situation(changed, f"{REMOVED_SHARE:.0%} removed", 1 - REMOVED_SHARE, got, probes)]
    for share in SHARES:
        allowed = np.flatnonzero(generator.random(rows) < share)
        if len(allowed) < K:
            continue
        chosen = adanns.Filter(allowed)
        truth = exact.search(queries, K, filter=chosen, threads=options.threads).ids
        probes, got = _probes_for(whole, queries, truth, recall, options.threads, filter=chosen)
        others.append(Situation(whole, f"filter of {share:.2%}", share, got, {"filter": chosen, **probes}))
    return baseline, others


def _probes_for(
    index: Any, queries: Floats, truth: Ids, target: float, threads: int, **options: Any
) -> tuple[dict[str, Any], float]:
    """The fewest probes (a power of two) that reach a recall, and the recall; those of the best one if none does."""
    best: tuple[dict[str, Any], float] = {}, 0.0
    probes = 1
    while probes <= getattr(index, "lists", 1):
        keywords = {"probes": probes} if hasattr(index, "lists") else {}
        recall = evaluate.recall(index.search(queries, K, threads=threads, **keywords, **options).ids, truth, K)
        if recall > best[1] + 0.001 or not best[0]:
            best = keywords, recall
        if recall >= target:
            break
        probes *= 2
    return best


def _timed(
    name: str, baseline: Situation, others: Sequence[Situation], queries: Floats, options: argparse.Namespace
) -> list[Cost]:
    """Rounds that visit every situation in turn, so that what else the machine does meets all alike."""
    every = [baseline, *others]
    batch: list[list[float]] = [[] for _ in every]
    single: list[list[float]] = [[] for _ in every]
    few = queries[:SINGLE_QUERIES]
    for _ in range(options.rounds):
        for place, one in enumerate(every):
            batch[place].append(_seconds(partial(one.index.search, queries, K, threads=options.threads, **one.options)))
            single[place].append(_seconds(partial(_one_by_one, one, few)))
    batch_us = [1e6 * median(times) / len(queries) for times in batch]
    single_us = [1e6 * median(times) / len(few) for times in single]
    return [
        Cost(
            name,
            one.name,
            one.share,
            one.options.get("probes", 0),
            one.recall10,
            batch_us[place],
            single_us[place],
            batch_us[place] / batch_us[0],
            single_us[place] / single_us[0],
        )
        for place, one in enumerate(every)
    ]


def _one_by_one(one: Situation, queries: Floats) -> None:
    for query in queries:
        one.index.search(query, K, threads=1, **one.options)


def _seconds(call: Callable[[], Any]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def report(content: Mapping[str, Any]) -> str:
    """What was added, and one line per situation."""
    lines = [["index", "situation", "probes", "recall@10", "us/query", "times whole", "one by one", "times whole"]]
    for cost in content["costs"]:
        lines.append(
            [
                cost["index"],
                cost["situation"],
                str(cost["probes"] or "-"),
                f"{cost['recall10']:.3f}",
                f"{cost['batch_us']:.1f}",
                f"{cost['batch_ratio']:.2f}",
                f"{cost['single_us']:.1f}",
                f"{cost['single_ratio']:.2f}",
            ]
        )
    added = [
        f"{one['index']}: {one['rows']:,} rows added to {one['to']:,} in {one['seconds']:.2f} s, "
        f"compacted in {one['compact_seconds']:.2f} s"
        for one in content["added"]
    ]
    return "\n".join([*added, "", aligned(lines)])


def write(content: Mapping[str, Any], folder: Path) -> list[Path]:
    """results.json and results.csv; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "results.json", folder / "results.csv"]
    results.write_content(content, paths[0])
    with paths[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, list(content["costs"][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(content["costs"])
    return paths
