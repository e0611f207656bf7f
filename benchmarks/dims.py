"""What does a prefix keep? 1-NN top-1 by dims of a Matryoshka model beside what one would do without it."""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from adanns import datasets
from benchmarks import machine, plots, reference, results
from benchmarks.data import Floats, converted, load, short_name, shown_source
from benchmarks.figures import Figure, Panel, Series, marked_name
from benchmarks.table import aligned

MOST_QUERIES = 5_000
CHUNK_ROWS = 1_024  # what a chunk and 2,000 queries give stays in the cache
SVD_ROWS = 65_536
MATRYOSHKA, PER_SIZE, TRUNCATED, SVD, RANDOM = (
    "MRL",
    "one model per size",
    "rigid model, truncated",
    "SVD",
    "random features",
)

Transform = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Top1:
    """The share of queries whose nearest row, by the cosine of the first `dims`, has their label."""

    method: str
    dims: int
    top1: float


def run(options: argparse.Namespace) -> int:
    """Measure, print, write results and figure; options as parsed by benchmarks.__main__."""
    dataset = load(options.dataset)
    if dataset.database_labels is None:
        print(f"{options.dataset} has no labels; top-1 cannot be measured", file=sys.stderr)
        return 2
    count = min(options.queries or MOST_QUERIES, len(dataset.queries))
    rows = np.sort(np.random.default_rng(options.seed).permutation(len(dataset.queries))[:count])
    found = list(_measure(dataset, rows, options.seed))
    print(report(found))
    content = {
        **results.heading("dims"),
        "dataset": {
            "name": short_name(dataset),
            "rows": len(dataset.database),
            "ladder": list(dataset.ladder),
            "source": shown_source(dataset),
            "synthetic": dataset.synthetic,
        },
        "options": {"queries": count, "seed": options.seed},
        "standard_error": max(np.sqrt(one.top1 * (1 - one.top1) / count) for one in found),
        "top1": [asdict(one) for one in found],
    }
    folder = options.output or machine.results_folder(f"dims-{short_name(dataset)}")
    print("\nWritten:", *write(content, folder), sep="\n  ")
    return 0


def _measure(dataset: datasets.Dataset, queries: npt.NDArray[np.int64], seed: int) -> Iterator[Top1]:
    ladder = dataset.ladder

    def by_dims(method: str, model: datasets.Dataset, rungs: Sequence[int], transform: Transform) -> Iterator[Top1]:
        print(f"{method}: {', '.join(map(str, rungs))} dims", file=sys.stderr)
        for dims, top1 in zip(rungs, prefix_top1(model, queries, rungs, transform), strict=True):
            yield Top1(method, dims, top1)

    yield from by_dims(MATRYOSHKA, dataset, ladder, _as_is)
    for dims, model in dataset.rigid.items():
        yield from by_dims(PER_SIZE, model, [dims], _as_is)
    twin = dataset.rigid.get(ladder[-1])
    if twin is not None:
        yield from by_dims(TRUNCATED, twin, ladder, _as_is)
        yield from by_dims(SVD, twin, ladder, _svd(twin, seed))
        # Features in random order: those that come first are a random subset.
        order = np.random.default_rng(seed).permutation(ladder[-1])
        yield from by_dims(RANDOM, twin, ladder, lambda vectors: np.ascontiguousarray(vectors[:, order]))


def _as_is(vectors: Floats) -> Floats:
    return vectors


def _svd(model: datasets.Dataset, seed: int) -> Transform:
    """Coordinates along the right singular vectors of a sample of the database, the largest first."""
    count = min(SVD_ROWS, len(model.database))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(model.database))[:count])
    sample = converted(model.database[chosen], unit=True)
    _, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    turn = np.ascontiguousarray(vectors[:, ::-1], np.float32)
    return lambda rows: np.asarray(rows @ turn)


def prefix_top1(
    model: datasets.Dataset, query_rows: npt.NDArray[np.int64], rungs: Sequence[int], transform: Transform
) -> list[float]:
    """1-NN top-1 at every rung, all in one pass over the database: a prefix's dot product adds up over its bands."""
    queries = transform(converted(model.queries[query_rows], unit=False))
    every = np.arange(len(queries))
    best = np.full((len(rungs), len(queries)), -np.inf, np.float32)
    nearest = np.zeros((len(rungs), len(queries)), np.int64)
    for start in tqdm(range(0, len(model.database), CHUNK_ROWS), desc="search", unit="chunk", disable=None):
        chunk = transform(converted(model.database[start : start + CHUNK_ROWS], unit=False))
        dots = np.zeros((len(queries), len(chunk)), np.float32)
        scaled = np.empty_like(dots)
        squares = np.zeros(len(chunk), np.float32)
        for place, (low, high) in enumerate(pairwise((0, *rungs))):
            band = chunk[:, low:high]
            np.matmul(queries[:, low:high], band.T, out=scaled)
            dots += scaled
            squares += np.einsum("ij,ij->i", band, band)
            # The query's own norm is the same for all rows: it does not change which is nearest.
            np.multiply(dots, 1 / np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny)), out=scaled)
            rows = scaled.argmax(axis=1)
            values = scaled[every, rows]
            better = values > best[place]
            best[place, better], nearest[place, better] = values[better], start + rows[better]
    labels, expected = np.asarray(model.database_labels), np.asarray(model.query_labels)[query_rows]
    return [float((labels[ids] == expected).mean()) for ids in nearest]


def report(found: Sequence[Top1]) -> str:
    """One line per method, one column per rung, per cent."""
    rungs = sorted({one.dims for one in found})
    lines = [["1-NN top-1, %", *(str(rung) for rung in rungs)]]
    for method in dict.fromkeys(one.method for one in found):
        by_dims = {one.dims: one.top1 for one in found if one.method == method}
        lines.append([method, *(f"{100 * by_dims[rung]:.2f}" if rung in by_dims else "-" for rung in rungs)])
    return aligned(lines)


def write(content: dict[str, Any], folder: Path) -> list[Path]:
    """results.json, results.csv and top1_by_dims.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("results.json", "results.csv", "top1_by_dims.png")]
    results.write_content(content, paths[0])
    with paths[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, ["method", "dims", "top1"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(content["top1"])
    plots.save(figure(content), paths[2])
    return paths


def figure(content: dict[str, Any]) -> Figure:
    """The papers' figure, ours beside theirs."""
    data, found = content["dataset"], content["top1"]
    ours = [
        Series(
            method,
            [(one["dims"], 100 * one["top1"], f"{one['dims']} dims") for one in found if one["method"] == method],
        )
        for method in dict.fromkeys(one["method"] for one in found)
    ]
    published = [Series(name, points) for name, points in reference.top1_by_dims().items()]
    caption = (
        f"{marked_name(data)}: {data['rows']:,} rows, {content['options']['queries']:,} queries, exact search by "
        "cosine. One network: trained with the Matryoshka loss; or for all dims alone (rigid), then cut to the first "
        "dims, to random ones, or by SVD; or for that many dims alone."
    )
    panels = [
        Panel(title, "dimensions (log)", "1-NN top-1 accuracy, %", "log2", "linear", series)
        for title, series in ((f"This run: {data['name']}", ours), ("Published: MRL, ResNet50, ImageNet-1K", published))
    ]
    return Figure("top1_by_dims", "Top-1 accuracy by dimensions", caption, panels)
