"""Do the synthetic vectors behave as published for ImageNet-1K? Accuracy by dims beside the papers' columns."""

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from adanns import ExactIndex, datasets, evaluate
from adanns.datasets import Dataset, synthetic_imagenet
from adanns.datasets.synthetic_model import DIMS
from benchmarks import machine, plots, reference, results
from benchmarks.figures import Figure, Panel, Series, marked_name
from benchmarks.table import aligned

K = 10
SHORTLIST = 200  # of adaptive retrieval, as published
LOW_DIMS = 64  # up to here all queries are searched; beyond, fewer of them, since each costs up to 32 times as much
FEWER_QUERIES = 8_000
TWIN_QUERIES = 2_000  # of the rigid twin, which nothing was fitted to
QUICK_QUERIES = 1_000
SHARD_ROWS = 1 << 17
TOLERANCE = 1.5  # points of top-1 that a rung may be off

Ids = npt.NDArray[np.int64]
Neighbours = dict[int, Ids]
"""Ids (queries, k) by dims."""


@dataclass(frozen=True)
class Rung:
    """Exact search by the first `dims`; accuracies in per cent, `published_` ones beside ours.

    standard_error: binomial, of top1. rigid_top1: of the rigid twin cut to `dims`, by at most TWIN_QUERIES queries;
    published: of random features.
    shortlist_recall: share of the 10 nearest at all dims that is among the 200 nearest at these. adaptive_map10: mAP@10
    of these 200, ranked by all dims. Both up to 64 dims, None beyond.
    """

    dims: int
    queries: int
    top1: float
    standard_error: float
    published_top1: float
    rigid_top1: float
    published_rigid_top1: float
    map10: float
    published_map10: float
    adaptive_map10: float | None
    published_adaptive_map10: float | None
    shortlist_recall: float | None


def run(options: argparse.Namespace) -> int:
    """Measure, print, write results and figure; 1 if a rung is further off than TOLERANCE."""
    dataset = datasets.load(synthetic_imagenet.NAME)
    queries = min(options.queries or (QUICK_QUERIES if options.quick else len(dataset.queries)), len(dataset.queries))
    rungs = measure(dataset, queries, min(queries, FEWER_QUERIES), options.threads)
    worst = max(abs(rung.top1 - rung.published_top1) for rung in rungs)
    print(report(rungs))
    print(f"\nLargest difference from the published MRL column: {worst:.2f} points (at most {TOLERANCE} wanted)")
    content = {
        **results.heading("calibration"),
        "dataset": {
            "name": dataset.name,
            "rows": len(dataset.database),
            "ladder": list(dataset.ladder),
            "source": dataset.source,
            "synthetic": dataset.synthetic,
        },
        "options": {"queries": queries, "twin_queries": min(queries, TWIN_QUERIES), "quick": options.quick},
        "largest_difference": worst,
        "rungs": [asdict(rung) for rung in rungs],
    }
    folder = options.output or machine.results_folder(f"calibration-{dataset.name}")
    print("\nWritten:", *write(content, folder), sep="\n  ")
    return int(worst > TOLERANCE)


def measure(dataset: Dataset, queries: int, fewer: int, threads: int) -> list[Rung]:
    """Search the first `queries` queries up to 64 dims, the first `fewer` beyond and for shortlists."""
    twin = dataset.rigid[dataset.ladder[-1]]
    low = tuple(dims for dims in dataset.ladder if dims <= LOW_DIMS)
    high = dataset.ladder[len(low) :]
    found = nearest(dataset, low, K, queries, threads, f"up to {low[-1]} dims")
    found |= nearest(dataset, high, K, fewer, threads, f"beyond {low[-1]} dims")
    rigid = nearest(twin, dataset.ladder, K, min(queries, TWIN_QUERIES), threads, "rigid twin")
    shortlists = nearest(dataset, low, SHORTLIST, fewer, threads, "shortlists")
    exact = found[dataset.ladder[-1]]
    published = _published()

    def top1(ids: Ids) -> float:
        return 100 * evaluate.top1_accuracy(ids, *_labels(dataset, len(ids)))

    def map10(ids: Ids) -> float:
        return 100 * evaluate.mean_average_precision(ids, *_labels(dataset, len(ids)), K)

    rungs = []
    for dims, ids in found.items():
        accuracy = top1(ids)
        shortlist = shortlists.get(dims)
        rungs.append(
            Rung(
                dims=dims,
                queries=len(ids),
                top1=accuracy,
                standard_error=math.sqrt(accuracy * (100 - accuracy) / len(ids)),
                rigid_top1=top1(rigid[dims]),
                map10=map10(ids),
                adaptive_map10=None if shortlist is None else map10(ranked(dataset, shortlist)),
                shortlist_recall=None if shortlist is None else evaluate.n_recall(shortlist, exact, K, SHORTLIST),
                **published[dims],
            )
        )
    return rungs


def nearest(vectors: Dataset, rungs: Sequence[int], k: int, queries: int, threads: int, what: str) -> Neighbours:
    """The k nearest rows of the first queries by cosine at each rung; a shard in memory at a time."""
    wanted = np.asarray(vectors.queries[:queries, : rungs[-1]], np.float32)
    best: dict[int, tuple[npt.NDArray[np.float32], Ids]] = {}
    for start in tqdm(range(0, len(vectors.database), SHARD_ROWS), desc=what, unit="shard", disable=None):
        shard = np.ascontiguousarray(vectors.database[start : start + SHARD_ROWS, : rungs[-1]])
        index = ExactIndex(metric="cosine", ladder=rungs, precision="float16").build(shard, progress=False)
        for dims in rungs:
            distances, ids = index.search(wanted, min(k, len(shard)), dims=dims, threads=threads)
            ids = ids + start
            if dims in best:
                distances, ids = np.hstack([best[dims][0], distances]), np.hstack([best[dims][1], ids])
            order = np.argsort(distances, axis=1, kind="stable")[:, :k]
            best[dims] = np.take_along_axis(distances, order, axis=1), np.take_along_axis(ids, order, axis=1)
    return {dims: ids for dims, (_, ids) in best.items()}


def ranked(dataset: Dataset, shortlist: Ids) -> Ids:
    """Each query's shortlist, by cosine at all dims."""
    result = np.empty_like(shortlist)
    for place, ids in enumerate(tqdm(shortlist, desc="rank shortlists", disable=None)):
        rows = dataset.database[ids].astype(np.float32)
        cosines = rows @ dataset.queries[place].astype(np.float32) / np.linalg.norm(rows, axis=1)
        result[place] = ids[np.argsort(-cosines, kind="stable")]
    return result


def _labels(dataset: Dataset, queries: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if dataset.database_labels is None or dataset.query_labels is None:
        raise ValueError(f"{dataset.name} has no labels")
    return np.asarray(dataset.database_labels), np.asarray(dataset.query_labels[:queries])


def _published() -> dict[int, dict[str, Any]]:
    """The published figures of each rung, under Rung's names."""
    top1 = {int(row["dims"]): row for row in results.read_csv(reference.FOLDER / "imagenet1k_1nn_top1_by_dims.csv")}
    map10 = {int(row["dims"]): row for row in results.read_csv(reference.FOLDER / "imagenet1k_map10_by_dims.csv")}
    adaptive = {
        int(row["shortlist_dims"]): float(row["map10"])
        for row in results.read_csv(reference.FOLDER / "adaptive_retrieval_imagenet1k.csv")
        if int(row["rerank_dims"]) == DIMS
    }
    return {
        dims: {
            "published_top1": float(row["mrl"]),
            "published_rigid_top1": float(row["random_features"]),
            "published_map10": float(map10[dims]["mrl"]),
            "published_adaptive_map10": adaptive.get(dims),
        }
        for dims, row in top1.items()
    }


def report(rungs: Sequence[Rung]) -> str:
    """A line per rung, the published figure in brackets behind ours."""
    heads = ["dims", "queries", "top-1 (MRL)", "+-", "rotated (random features)", "mAP@10 (MRL)"]
    lines = [[*heads, "200 of these, ranked: mAP@10 (MRL)", "holding of the exact 10"]]
    for rung in rungs:
        adaptive = rung.adaptive_map10, rung.published_adaptive_map10
        lines.append(
            [
                str(rung.dims),
                f"{rung.queries:,}",
                _pair(rung.top1, rung.published_top1),
                f"{rung.standard_error:.2f}",
                _pair(rung.rigid_top1, rung.published_rigid_top1),
                _pair(rung.map10, rung.published_map10),
                _pair(*adaptive),
                "-" if rung.shortlist_recall is None else f"{rung.shortlist_recall:.3f}",
            ]
        )
    return aligned(lines)


def _pair(ours: float | None, published: float | None) -> str:
    return "-" if ours is None or published is None else f"{ours:.2f} ({published:.2f})"


def write(content: dict[str, Any], folder: Path) -> list[Path]:
    """results.json, results.csv and calibration.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("results.json", "results.csv", "calibration.png")]
    results.write_content(content, paths[0])
    with paths[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Rung)], lineterminator="\n")
        writer.writeheader()
        for rung in content["rungs"]:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in rung.items()})
    plots.save(figure(content), paths[2])
    return paths


def figure(content: dict[str, Any]) -> Figure:
    """Ours solid, published dashed, in one pair of axes."""
    rungs, data = content["rungs"], content["dataset"]

    def curve(name: str, key: str) -> Series:
        return Series(name, [(rung["dims"], rung[key], "") for rung in rungs if rung[key] is not None])

    top1 = [
        curve("synthetic", "top1"),
        curve("MRL, published", "published_top1"),
        curve("synthetic, rotated", "rigid_top1"),
        curve("random features, published", "published_rigid_top1"),
    ]
    map10 = [
        curve("synthetic", "map10"),
        curve("MRL, published", "published_map10"),
        curve("synthetic, 200 ranked by all dims", "adaptive_map10"),
        curve("MRL, 200 ranked by all dims, published", "published_adaptive_map10"),
    ]
    fewest, most = min(rung["queries"] for rung in rungs), max(rung["queries"] for rung in rungs)
    caption = (
        f"{marked_name(data)}: {data['rows']:,} rows, whose top-1 by dims was fitted to that of MRL (ResNet50, "
        f"ImageNet-1K); the rest follows from how they are drawn. {most:,} queries up to {LOW_DIMS} dims, {fewest:,} "
        f"beyond; standard error at most {max(rung['standard_error'] for rung in rungs):.2f} points."
    )
    x_label = "dimensions of the prefix (log)"
    panels = [
        Panel("1-NN by exact search", x_label, "top-1 accuracy, %", "log2", "linear", top1),
        Panel("10 nearest", x_label, "mAP@10, %", "log2", "linear", map10),
    ]
    return Figure("calibration", "Synthetic ImageNet-1K beside the published figures", caption, panels)
