"""Results as text for a terminal."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from benchmarks.pareto import by_method, front
from benchmarks.results import Measurement, Run, ran_on

QUALITY_NAMES = {"recall10": "recall@10", "top1": "top-1"}


def report(run: Run) -> str:
    """Everything a run prints: each method's Pareto fronts, then the speedups at equal accuracy."""
    parts = [front_table(run.measurements, "recall10")]
    if any(row.top1 is not None for row in run.measurements):
        parts.append(front_table(run.measurements, "top1"))
    parts += [
        speedup_table(list(group), run)
        for _, group in groupby(run.summary["comparisons"], lambda c: (c["cost"], c["quality"]))
    ]
    if run.summary.get("against_rigid"):
        parts.append(rigid_table(run.summary["against_rigid"]))
    return "\n\n".join(parts)


def front_table(measurements: Sequence[Measurement], quality: str) -> str:
    """The Pareto front of each method, accuracy against batch time."""
    header = [
        "",
        "recall@10",
        "top-1",
        "mAP@10",
        "us/query",
        "queries/s",
        "p50 us",
        "p99 us",
        "MFLOPs",
        "B/vector",
        "build s",
    ]
    lines = [header]
    for method, group in by_method(measurements).items():
        common = common_parameters(group)
        name = f"{method} ({compact(common)})" if common else method
        lines.append([name] + [""] * (len(header) - 1))
        lines += [
            [
                f"  {compact({key: value for key, value in row.parameters.items() if key not in common})}",
                share(row.recall10),
                share(row.top1),
                share(row.map10),
                number(row.batch_us),
                f"{row.queries_per_second:,.0f}",
                number(row.latency_p50_us),
                number(row.latency_p99_us),
                number(row.mflops),
                f"{row.bytes_per_vector:,.0f}",
                number(row.build_seconds),
            ]
            for row in front(group, "batch_us", quality)
        ]
    title = f"Pareto fronts, {QUALITY_NAMES[quality]} against batch time per query:"
    return f"{title}\n{aligned(lines)}"


def speedup_table(comparisons: Sequence[dict[str, Any]], run: Run) -> str:
    """Each method's fastest setting at each target, and how many times faster than exact search of all dims."""
    first = comparisons[0]
    how = f"a batch on {ran_on(run)}" if first["cost"] == "batch_us" else "one query at a time, p50"
    exact = (
        ""
        if first["exact_us"] is None
        else f"; in brackets: times faster than exact search of all dims, {number(first['exact_us'])} us"
    )
    title = f"us per query at equal {QUALITY_NAMES[first['quality']]} ({how}{exact}):"
    lines = [["", *(f">= {comparison['label']}" for comparison in comparisons)]]
    for method in by_method(run.measurements):
        cells = []
        for comparison in comparisons:
            row = next((row for row in comparison["rows"] if row["method"] == method), None)
            cells.append("-" if row is None else number(row["us"]) + times(row["against_exact"]))
        lines.append([method, *cells])
    for peer in [method for method in by_method(run.measurements) if method.startswith("FAISS")]:
        lines.append([f"our best over {peer}", *(ratio(over(comparison, peer)) for comparison in comparisons)])
    if any(comparison["ours_against_peer"] for comparison in comparisons):
        lines.append(["our best over the peers' best", *(ratio(c["ours_against_peer"]) for c in comparisons)])
    return f"{title}\n{aligned(lines)}"


def rigid_table(rows: Sequence[dict[str, Any]]) -> str:
    """Search of the Matryoshka model against IVF on the rigid twin, at the top-1 that the latter reaches."""
    lines = [["", "at top-1", "us", "ours", "us", "top-1", "times faster"]]
    for row in rows:
        how = "batch" if row["cost"] == "batch_us" else "one query, p50"
        setting = f"{row['method']} ({compact(row['rigid_parameters'])}), {how}, {row['label']}"
        ours = f"{row['ours']} ({compact(row['our_parameters'])})"
        cells = [share(row["top1"]), number(row["rigid_us"]), ours, number(row["our_us"]), share(row["our_top1"])]
        lines.append([setting, *cells, ratio(row["ratio"])])
    return f"Against IVF on the rigid twin, at the top-1 accuracy it reaches:\n{aligned(lines)}"


def over(comparison: dict[str, Any], peer: str) -> float | None:
    """How many times faster our best is than one method, where both reach the accuracy."""
    us = {row["method"]: float(row["us"]) for row in comparison["rows"]}
    ours = comparison["ours"]
    return us[peer] / us[ours] if ours and peer in us else None


def common_parameters(group: Sequence[Measurement]) -> dict[str, Any]:
    """The parameters that all settings of a method share, if there are several settings."""
    if len(group) < 2:
        return {}
    first = group[0].parameters
    return {key: value for key, value in first.items() if all(row.parameters.get(key) == value for row in group)}


def compact(parameters: dict[str, Any]) -> str:
    """Parameters as one short line: probes 8, rerank 128:100 256:40."""

    def shown(value: Any) -> str:
        if isinstance(value, list):
            return " ".join(":".join(str(part) for part in stage) for stage in value)
        return str(value)

    return ", ".join(f"{name.replace('_', ' ')} {shown(value)}" for name, value in parameters.items())


def aligned(lines: Iterable[Sequence[str]]) -> str:
    """Columns padded to equal width, the first to the left, the others to the right."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    )


def share(value: float | None) -> str:
    """A share between 0 and 1, to four digits."""
    return "-" if value is None else f"{value:.4f}"


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def ratio(value: float | None) -> str:
    """How many times faster."""
    return "-" if value is None else f"{value:,.{0 if value >= 100 else 1 if value >= 0.95 else 2}f}x"


def times(value: float | None) -> str:
    """How many times faster, in brackets behind a number; nothing if unknown."""
    return "" if value is None else f" ({ratio(value)})"
