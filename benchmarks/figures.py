"""What is plotted: curves and axes, from a run and from the published figures; drawn by plots.py and by the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks import reference
from benchmarks.pareto import by_method, front
from benchmarks.reference import Points
from benchmarks.results import Measurement, Run, ran_on
from benchmarks.styles import STYLES
from benchmarks.table import compact, number, times

Scale = Literal["linear", "log", "log2", "recall"]

TOP1_POINTS_SHOWN = 4
SINGLE_TITLE = "One query at a time"


@dataclass(frozen=True)
class Series:
    """A named curve; points are (x, y, text shown with the point)."""

    name: str
    points: Points


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x_label: str
    y_label: str
    x_scale: Scale
    y_scale: Scale
    series: list[Series]
    kind: Literal["curves", "dots"] = "curves"


@dataclass(frozen=True)
class Figure:
    """Panels side by side, with the name of their file and one sentence about them."""

    key: str
    title: str
    caption: str
    panels: list[Panel]
    shared_legend: bool = False


def figures(run: Run) -> list[Figure]:
    """All figures that the run's data allow: those with labels only where the data have labels."""
    result = [_recall(run), _equal_recall(run)]
    if any(row.top1 is not None for row in run.measurements):
        result += [_top1(run), _top1_by_time(run), _top1_by_dims(run), _map_by_mflops(run)]
    return result


def describe_data(run: Run) -> str:
    """The dataset in one line."""
    data = run.dataset
    return f"{marked_name(data)}: {data['rows']:,} x {data['dims']} dims, {data['queries']:,} queries"


def marked_name(data: Mapping[str, Any]) -> str:
    """The name of a run's dataset; vectors that were drawn at random are called so wherever they are plotted."""
    return f"{data['name']}, SYNTHETIC vectors" if data.get("synthetic") else str(data["name"])


def _recall(run: Run) -> Figure:
    y_label = "recall@10 against exact search of all dims"
    panels = [
        Panel(title, x_label, y_label, "log", "recall", _fronts(run.measurements, cost, "recall10"))
        for cost, title, x_label in (
            ("batch_us", batch_title(run), "time per query, µs (log)"),
            ("latency_p50_us", SINGLE_TITLE, "median latency, µs (log)"),
        )
    ]
    caption = f"{describe_data(run)}. Up and to the left is better; each curve is a method's Pareto front."
    return Figure("recall", "Recall against time", caption, panels, shared_legend=True)


def _equal_recall(run: Run) -> Figure:
    """One dot per method: its fastest setting at recall@10 of .97."""
    panels = []
    for comparison in run.summary["comparisons"]:
        if comparison["quality"] == "recall10" and comparison["target"] == 0.97:
            rows = sorted(comparison["rows"], key=lambda row: -float(row["us"]))
            series = []
            for position, row in enumerate(rows):
                text = f"{number(row['us'])} µs{times(row['against_exact'])}"
                series.append(Series(row["method"], [(row["us"], position, text)]))
            title = batch_title(run) if comparison["cost"] == "batch_us" else SINGLE_TITLE
            panels.append(Panel(title, "time per query, µs (log)", "", "log", "linear", series, kind="dots"))
    caption = (
        f"{describe_data(run)}. Each method's fastest setting with recall@10 of at least .97; "
        "in brackets, how many times faster than exact search of all dims."
    )
    return Figure("equal_recall", "Time per query at equal recall", caption, panels)


def _top1(run: Run) -> Figure:
    highest = max(row.top1 for row in run.measurements if row.top1 is not None)
    good = [row for row in run.measurements if row.top1 is not None and row.top1 > highest - TOP1_POINTS_SHOWN / 100]
    panels = [
        Panel(title, x_label, "top-1 accuracy, %", "log", "linear", _fronts(good, cost, "top1", y_factor=100))
        for cost, title, x_label in (
            ("batch_us", batch_title(run), "time per query, µs (log)"),
            ("latency_p50_us", SINGLE_TITLE, "median latency, µs (log)"),
        )
    ]
    caption = f"{describe_data(run)}. Pareto fronts, the best {TOP1_POINTS_SHOWN} points of accuracy."
    return Figure("top1", "Top-1 accuracy against time", caption, panels, shared_legend=True)


def _top1_by_time(run: Run) -> Figure:
    """The paper's comparison: IVF clustered on a prefix against IVF clustered on all dims."""
    ivf = [row for row in run.measurements if "IVF" in row.method]
    ours = Panel(
        f"This run: {run.dataset['name']}",
        "time per query, ms (log)",
        "top-1 accuracy, %",
        "log",
        "linear",
        _fronts(ivf, "batch_us", "top1", x_factor=1e-3, y_factor=100),
    )
    published = Panel(
        "Published: AdANNS, figure 1, ImageNet-1K",
        "time per query, ms (log)",
        "top-1 accuracy, %",
        "log",
        "linear",
        _series(reference.top1_by_milliseconds()),
    )
    caption = (
        f"{describe_data(run)}; published: 1,281,167 x 2048 dims, on the authors' machine, so compare the shapes: "
        "lists made from a prefix against lists made from all dims."
    )
    return Figure("top1_ivf", "Top-1 accuracy of IVF against time", caption, [ours, published])


def _top1_by_dims(run: Run) -> Figure:
    method = next((name for name in ("adanns exact", "FAISS flat") if name in by_method(run.measurements)), "")
    points: Points = sorted(
        (row.parameters["dims"], 100 * row.top1, f"{row.parameters['dims']} dims")
        for row in run.measurements
        if row.method == method and row.top1 is not None
    )
    curves = {
        f"This run: {run.dataset['name']}": {method: points} if points else {},
        "Published: MRL, ResNet50, ImageNet-1K": reference.top1_by_dims(),
    }
    x_label, y_label = "dimensions of the prefix (log)", "top-1 accuracy of exact search, %"
    panels = [Panel(title, x_label, y_label, "log2", "linear", _series(named)) for title, named in curves.items()]
    caption = (
        "What a prefix keeps: exact search at every rung. The published SVD and one-model-per-size curves are what "
        "Matryoshka training is up against."
    )
    return Figure("top1_dims", "Top-1 accuracy by dimensions", caption, panels)


def _map_by_mflops(run: Run) -> Figure:
    methods = ("adanns exact", "adanns funnel", "adanns IVF")
    rows = [row for row in run.measurements if row.method in methods]
    ours = Panel(
        f"This run: {run.dataset['name']}",
        "MFLOPs per query (log)",
        "mAP@10, %",
        "log",
        "linear",
        _fronts(rows, "mflops", "map10", y_factor=100),
    )
    published = Panel(
        "Published: MRL, ResNet50, ImageNet-1K",
        "MFLOPs per query (log)",
        "mAP@10, %",
        "log",
        "linear",
        _series(reference.map_by_mflops()),
    )
    caption = (
        "One multiply-add is one FLOP; costs by the papers' formulas. Adaptive retrieval and funnels reach the "
        "accuracy of all dims at a fraction of the arithmetic."
    )
    return Figure("map_mflops", "mAP@10 against arithmetic", caption, [ours, published])


def _series(curves: dict[str, Points]) -> list[Series]:
    return [Series(name, points) for name, points in curves.items()]


def batch_title(run: Run) -> str:
    """How batches are timed, in words."""
    return f"All queries in one call, {ran_on(run)}"


def _fronts(
    measurements: Sequence[Measurement], cost: str, quality: str, x_factor: float = 1, y_factor: float = 1
) -> list[Series]:
    """Each method's Pareto front, in the order of STYLES."""
    groups = by_method(measurements)
    series = []
    for method in STYLES:
        if method in groups:
            best = front(groups[method], cost, quality)
            points = [
                (getattr(row, cost) * x_factor, getattr(row, quality) * y_factor, compact(row.parameters))
                for row in best
            ]
            if points:
                series.append(Series(method, points))
    return series
