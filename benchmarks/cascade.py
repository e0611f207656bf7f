"""How few dimensions does a classification need? Cascades of rungs beside one rung for all, a vote and an oracle."""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.adaptive_classification import (
    Cascade,
    Classifier,
    RungPredictions,
    learn_curve,
    learn_greedily,
    majority_vote,
    oracle,
    predict_rungs,
)
from benchmarks import machine, plots, reference, results
from benchmarks.data import load, short_name, shown_source
from benchmarks.figures import Figure, Panel, Series, marked_name
from benchmarks.table import aligned

CASCADE, GREEDY, SINGLE, VOTE, ORACLE = (
    "cascade, learnt for each budget",
    "cascade, the paper's thresholds",
    "one rung for all rows",
    "majority vote of the rungs",
    "oracle",
)
LEAST_GAP = 1.08  # of points on the plotted curve, as a ratio of dims

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Point:
    """A way to classify, measured on rows that nothing was learnt from.

    expected_dims: mean of the prefix read. multiplied_dims: mean of the dims of all rungs computed, as separate
    classifiers multiply them. top1: share of rows classified right. ladder, thresholds: of a cascade.
    """

    method: str
    max_dims: int
    expected_dims: float
    multiplied_dims: float
    top1: float
    ladder: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True)
class EqualAccuracy:
    """A cascade learnt to be as accurate as one rung is on the rows learnt from, and both on the other rows."""

    rung: int
    rung_top1: float
    cascade_dims: float
    cascade_top1: float


def run(options: argparse.Namespace) -> int:
    """Measure, print, write results and figure; options as parsed by benchmarks.__main__."""
    dataset = load(options.dataset)
    if dataset.classifier is None or dataset.query_labels is None:
        print(f"{options.dataset} has no classifier or no labels; nothing can be classified", file=sys.stderr)
        return 2
    classifier = Classifier.load(dataset.classifier)
    predictions, labels = predict_rungs(dataset.queries, classifier), np.asarray(dataset.query_labels, np.int64)
    order = np.random.default_rng(options.seed).permutation(len(labels))
    learnt, other = np.array_split(order, 2)
    points, equal = measure(predictions.of(learnt), labels[learnt], predictions.of(other), labels[other])
    print(report(points, equal))
    content = {
        **results.heading("cascade"),
        "dataset": {
            "name": short_name(dataset),
            "classes": classifier.classes,
            "ladder": list(classifier.ladder),
            "source": shown_source(dataset),
            "synthetic": dataset.synthetic,
        },
        "options": {"rows_learnt_from": len(learnt), "rows": len(other), "seed": options.seed},
        "standard_error": max(np.sqrt(one.top1 * (1 - one.top1) / len(other)) for one in points),
        "points": [asdict(one) for one in points],
        "equal_accuracy": [asdict(one) for one in equal],
    }
    folder = options.output or machine.results_folder(f"cascade-{short_name(dataset)}")
    print("\nWritten:", *write(content, folder), sep="\n  ")
    return 0


def measure(
    learnt: RungPredictions, learnt_labels: Labels, other: RungPredictions, labels: Labels
) -> tuple[list[Point], list[EqualAccuracy]]:
    """Learn from some rows, measure on others."""
    ladder = other.ladder

    def of_cascade(method: str, cascade: Cascade) -> Point:
        found, dims_used = cascade.classify(other)
        multiplied = float(cascade.dims_multiplied(dims_used).mean())
        top1 = float((found == labels).mean())
        return Point(
            method, cascade.ladder[-1], float(dims_used.mean()), multiplied, top1, cascade.ladder, cascade.thresholds
        )

    curve = learn_curve(learnt, learnt_labels)
    points = [of_cascade(CASCADE, point.cascade) for point in curve]
    greedy = learn_greedily(learnt, learnt_labels)
    points += [of_cascade(GREEDY, greedy.up_to(dims)) for dims in ladder[1:]]
    points += [of_cascade(SINGLE, Cascade((dims,), ())) for dims in ladder]
    points += _vote_and_oracle(other, labels)
    equal = []
    for place, accuracy in enumerate(learnt.correct(learnt_labels).mean(axis=1)):
        at = next(at for at, point in enumerate(curve) if point.accuracy >= accuracy)
        rung_top1 = float(other.correct(labels)[place].mean())
        equal.append(EqualAccuracy(ladder[place], rung_top1, points[at].expected_dims, points[at].top1))
    return points, equal


def _vote_and_oracle(other: RungPredictions, labels: Labels) -> Iterator[Point]:
    """The vote of all rungs up to each one, which reads and computes all of them, and who knows the truth."""
    sums = dict(zip(other.ladder, np.cumsum(other.ladder).tolist(), strict=True))
    for count, dims in enumerate(other.ladder, 1):
        tried = other.at(other.ladder[:count])
        yield Point(VOTE, dims, float(dims), float(sums[dims]), float((majority_vote(tried) == labels).mean()))
    for count, dims in enumerate(other.ladder, 1):
        found, dims_used = oracle(other.at(other.ladder[:count]), labels)
        mean = float(dims_used.mean())
        yield Point(ORACLE, dims, mean, mean, float((found == labels).mean()))


def report(points: Sequence[Point], equal: Sequence[EqualAccuracy]) -> str:
    """Every way to classify, and what a cascade saves at the accuracy of each rung."""
    lines = [["", "dims", "multiplied", "top-1, %"]]
    for method in dict.fromkeys(point.method for point in points):
        lines.append([method, "", "", ""])
        for point in thinned([point for point in points if point.method == method]):
            dims = [f"{point.expected_dims:,.2f}", f"{point.multiplied_dims:,.1f}"]
            lines.append([f"  up to {point.max_dims}", *dims, f"{100 * point.top1:.2f}"])
    saved = [["rung", "top-1, %", "cascade: dims", "top-1, %", "fewer dims"]]
    for one in equal:
        ratio = f"{one.rung / one.cascade_dims:.1f}x"
        saved.append(
            [
                str(one.rung),
                f"{100 * one.rung_top1:.2f}",
                f"{one.cascade_dims:.2f}",
                f"{100 * one.cascade_top1:.2f}",
                ratio,
            ]
        )
    title = (
        "The cheapest cascades that are as accurate as one rung on the rows learnt from, both measured on the others:"
    )
    return f"{aligned(lines)}\n\n{title}\n{aligned(saved)}"


def thinned(points: Sequence[Point]) -> list[Point]:
    """Of points that lie close together, the first; the last of all is kept."""
    kept: list[Point] = []
    for point in points:
        if not kept or point.expected_dims >= LEAST_GAP * kept[-1].expected_dims:
            kept.append(point)
    return kept if kept[-1:] == list(points[-1:]) else [*kept, points[-1]]


def write(content: dict[str, Any], folder: Path) -> list[Path]:
    """results.json, results.csv and cascade.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("results.json", "results.csv", "cascade.png")]
    results.write_content(content, paths[0])
    with paths[1].open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = ("method", "max_dims", "expected_dims", "multiplied_dims", "top1")
        writer.writerow((*names, "ladder", "thresholds"))
        for point in content["points"]:
            values = [f"{value:.6g}" if isinstance(value, float) else value for value in map(point.get, names)]
            writer.writerow(
                (*values, *(" ".join(f"{x:.6g}" for x in point[name]) for name in ("ladder", "thresholds")))
            )
    plots.save(figure(content), paths[2])
    return paths


def figure(content: dict[str, Any]) -> Figure:
    """The paper's figure, ours beside it."""
    data = content["dataset"]
    points = [Point(**point) for point in content["points"]]
    ours = [
        Series(
            method,
            [
                (point.expected_dims, 100 * point.top1, f"up to {point.max_dims} dims")
                for point in thinned([point for point in points if point.method == method])
            ],
        )
        for method in dict.fromkeys(point.method for point in points)
    ]
    published = {GREEDY: reference.adaptive_classification()} | {
        {"MRL": SINGLE}.get(name, name): values for name, values in reference.linear_top1_by_dims().items()
    }
    caption = (
        f"{marked_name(data)}: {data['classes']:,} classes, thresholds learnt from "
        f"{content['options']['rows_learnt_from']:,} rows, measured on {content['options']['rows']:,} others. A row's "
        "dims are those of the rung that answered, as the paper counts: the longest prefix read. The oracle stops at "
        "the first rung that is right."
    )
    x_label, y_label = "expected dimensions (log)", "top-1 accuracy, %"
    panels = [
        Panel(f"This run: {data['name']}", x_label, y_label, "log2", "linear", ours),
        Panel(
            "Published: MRL, ResNet50, ImageNet-1K",
            x_label,
            y_label,
            "log2",
            "linear",
            [Series(name, values) for name, values in published.items()],
        ),
    ]
    return Figure("cascade", "Adaptive classification", caption, panels)
