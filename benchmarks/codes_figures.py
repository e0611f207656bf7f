"""What is plotted of a run of codes: accuracy by bytes, beside the published curves, and recall against time."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import reference
from benchmarks.codes_results import CASCADED, RERANKED, is_alone, is_reranked, of_size, sizes_of
from benchmarks.figures import SINGLE_TITLE, Figure, Panel, Series, batch_title, describe_data
from benchmarks.pareto import by_method, front
from benchmarks.results import Measurement, Run
from benchmarks.styles import STYLES
from benchmarks.table import compact

BYTES_LABEL = "bytes of a code (log)"
KEY = "Solid: ours; dashed: FAISS's; a colour is a kind of code."
PUBLISHED = "Published: AdANNS, ResNet50, ImageNet-1K"
COSTS = {"batch_us": "time per query, µs (log)", "latency_p50_us": "median latency, µs (log)"}


def figures(run: Run) -> list[Figure]:
    """All figures that the run's data allow."""
    drawn = [_recall_by_bytes(run)]
    if run.summary["against_rigid"] or any(row.top1 is not None for row in run.measurements):
        drawn.append(_top1_by_bytes(run))
    drawn += [_recall_by_time(run, "batch_us"), _recall_by_time(run, "latency_p50_us"), _alone_by_time(run)]
    return [figure for figure in drawn if any(panel.series for panel in figure.panels)]


def _recall_by_bytes(run: Run) -> Figure:
    best = run.summary["best"]
    panels = [
        Panel("Codes alone", BYTES_LABEL, "recall@10 against exact search of all dims", "log2", "linear",
              _by_bytes(best["alone"], "recall10")),
        Panel(_rerank_title(run), BYTES_LABEL, "recall@10 (log of what is missed)", "log2", "recall",
              _by_bytes(best["reranked"], "recall10")),
    ]  # fmt: skip
    caption = f"{describe_data(run)}. Each method's best prefix and number of probes. {KEY}"
    return Figure("recall_by_bytes", "Recall by bytes of a code", caption, panels, shared_legend=True)


def _top1_by_bytes(run: Run) -> Figure:
    """The papers' figure, ours beside theirs."""
    published = [Series(name, points) for name, points in reference.quantised_top1_by_bytes().items()]
    y_label = "top-1 accuracy, %"
    panels = [
        Panel(f"This run: {run.dataset['name']}, codes alone", BYTES_LABEL, y_label, "log2", "linear",
              _by_bytes(run.summary["best"]["alone"], "top1", factor=100)),
        Panel(PUBLISHED, BYTES_LABEL, y_label, "log2", "linear", published),
    ]  # fmt: skip
    caption = (
        f"{describe_data(run)}. Each method's best prefix and number of probes, nothing reranked. All dims (published: "
        f"MR-2048) and the rigid model have no prefix. {KEY}"
    )
    return Figure("top1_by_bytes", "Top-1 accuracy by bytes of a code", caption, panels, shared_legend=True)


def _recall_by_time(run: Run, cost: str) -> Figure:
    """One panel per size, of what has lists."""
    listed = [row for row in run.measurements if is_reranked(row) and "lists" in row.parameters]
    panels = [
        Panel(f"{size} bytes", COSTS[cost], "recall@10", "log", "recall", _fronts(of_size(listed, size), cost))
        for size in sizes_of(listed)
    ]
    how = batch_title(run) if cost == "batch_us" else SINGLE_TITLE
    caption = f"{describe_data(run)}. {how}; {_rerank_title(run).lower()}. {KEY}"
    key, title = ("recall_by_time", "time") if cost == "batch_us" else ("recall_by_latency", "latency of one query")
    return Figure(key, f"Recall against {title}, by bytes of a code", caption, panels, shared_legend=True)


def _alone_by_time(run: Run) -> Figure:
    """Codes alone, over all rows and in lists."""
    alone = [row for row in run.measurements if is_alone(row) and row.recall10 is not None]
    panels = []
    for size in sizes_of(alone):
        curves = _fronts(of_size(alone, size), "batch_us")
        panels.append(Panel(f"{size} bytes", COSTS["batch_us"], "recall@10", "log", "linear", curves))
    caption = f"{describe_data(run)}. {batch_title(run)}; nothing reranked. {KEY}"
    title = "Codes alone: recall against time, by bytes of a code"
    return Figure("alone_by_time", title, caption, panels, shared_legend=True)


def _by_bytes(best: Sequence[Mapping[str, Any]], quality: str, factor: float = 1) -> list[Series]:
    """One curve per method, in the order of STYLES, of what codes_summary.best_by_bytes gave."""
    series = []
    for method in STYLES:
        points = [
            (float(row["bytes"]), factor * row[quality], compact(row["parameters"][quality]))
            for row in best
            if row["method"] == method and row[quality] is not None
        ]
        if points:
            series.append(Series(_shown(method), points))
    return series


def _fronts(measurements: Sequence[Measurement], cost: str) -> list[Series]:
    groups = by_method(measurements)
    series = []
    for method in STYLES:
        if method in groups:
            best = front(groups[method], cost, "recall10")
            points = [(getattr(row, cost), row.recall10 or 0.0, compact(row.parameters)) for row in best]
            if points:
                series.append(Series(_shown(method), points))
    return series


def _shown(method: str) -> str:
    """Without what all curves of a panel have in common."""
    return method.removesuffix(RERANKED).removesuffix(CASCADED)


def _rerank_title(run: Run) -> str:
    return f"The best {run.options['shortlist']} ranked by all dims"
