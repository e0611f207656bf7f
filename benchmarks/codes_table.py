"""Results of codes as text for a terminal: accuracy by bytes, speed at equal recall, and the claims with numbers."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from benchmarks.results import Run
from benchmarks.table import aligned, compact, number, ratio, share

TOP1_TOLERANCE = 0.002  # of a short code of a prefix against a long one of the rigid model
SHORT_CODE = 16
LEAST_RATIO = 1.5


def report(run: Run) -> str:
    """Everything a run prints."""
    return "\n\n".join(_parts(run))


def _parts(run: Run) -> Iterator[str]:
    summary = run.summary
    alone, reranked = summary["best"]["alone"], summary["best"]["reranked"]
    how = f"the best {run.options['shortlist']} ranked by all dims"
    yield by_bytes_table(alone, "recall10", "recall@10 by bytes of a code, codes alone:")
    yield by_bytes_table(reranked, "recall10", f"recall@10 by bytes of a code, {how}:")
    if any(row["top1"] is not None for row in alone):
        yield by_bytes_table(alone, "top1", "top-1 by bytes of a code, codes alone:")
        yield by_bytes_table(alone, "map10", "mAP@10 by bytes of a code, codes alone:")
        yield by_bytes_table(reranked, "top1", f"top-1 by bytes of a code, {how}:")
    if summary["equal_recall"]:
        yield equal_recall_table(summary["equal_recall"], how)
    if summary["opq_builds"]:
        yield builds_table(summary["opq_builds"])
    yield "\n".join(["What it comes to:", *(f"  {line}" for line in claims(summary))])


def by_bytes_table(best: Sequence[Mapping[str, Any]], quality: str, title: str) -> str:
    """A line per method, a column per size; behind the best of each column a star."""
    sizes = sorted({row["bytes"] for row in best})
    values = {(row["method"], row["bytes"]): row[quality] for row in best if row[quality] is not None}
    top = {size: max(value for key, value in values.items() if key[1] == size) for _, size in values}
    lines = [["", *(f"{size} B " for size in sizes)]]
    for method in dict.fromkeys(method for method, _ in values):
        cells = []
        for size in sizes:
            value = values.get((method, size))
            cells.append(share(value) + ("*" if value is not None and value == top[size] else " "))
        lines.append([method, *cells])
    return f"{title}\n{aligned(lines)}"


def equal_recall_table(rows: Sequence[Mapping[str, Any]], how: str) -> str:
    """Microseconds per query, ours and FAISS's, at each size and recall."""
    costs = ["ours, us", "FAISS, us", "times faster"]
    lines = [["", *costs, "by cascades", "one query:", *costs, "ours", "FAISS"]]
    for (size, target), group in groupby(rows, lambda row: (row["bytes"], row["target"])):
        by_cost = {row["cost"]: row for row in group}
        batch, single = by_cost["batch_us"], by_cost["latency_p50_us"]
        mark = " (FAISS's best)" if batch["is_peers_best"] else ""
        lines.append(
            [
                f"{size} B, recall@10 >= {target:.3f}{mark}",
                number(batch["our_us"]),
                number(batch["peer_us"]),
                ratio(batch["ratio"]),
                ratio(batch["cascade_ratio"]),
                "",
                number(single["our_us"]),
                number(single["peer_us"]),
                ratio(single["ratio"]),
                _setting(batch["our_method"], batch["our_parameters"]),
                _setting(batch["peer_method"], batch["peer_parameters"]),
            ]
        )
    return f"us per query at equal recall@10, {how}:\n{aligned(lines)}"


def builds_table(builds: Sequence[Mapping[str, Any]]) -> str:
    """Seconds and distortion of learning a code."""
    lines = [["", "turns", "seconds", "distortion"]]
    for build in builds:
        name = f"{build['who']}, {build['dims']} dims, {build['bytes']} bytes"
        lines.append([name, str(build["rotations"]), number(build["seconds"]), f"{build['distortion']:.4f}"])
    title = f"Learning an OPQ code of 8 bits a segment from {builds[0]['rows']:,} rows; distortion of as many others:"
    return f"{title}\n{aligned(lines)}"


def claims(summary: Mapping[str, Any]) -> Iterator[str]:
    """One line per claim: what was wanted, what was found."""
    for row in summary["against_rigid"]:
        if row["bytes"] == SHORT_CODE and row["rigid_bytes"] > SHORT_CODE:
            yield (
                f"{_verdict(row['difference'] >= -TOP1_TOLERANCE)} top-1 of codes alone: {row['ours']}, {row['bytes']} "
                f"bytes, {_percent(row['top1'])}; {row['rigid']}, {row['rigid_bytes']} bytes, "
                f"{_percent(row['rigid_top1'])}: {100 * row['difference']:+.2f} points "
                f"(standard error of each {100 * row['standard_error']:.2f})"
            )
    for row in summary["same_rerank"]:
        yield (
            f"{_verdict(row['difference'] >= 0)} {row['bytes']} bytes, best recall@10 with the same rerank: "
            f"{row['ours']} {share(row['our_recall'])}, {row['peer']} {share(row['peer_recall'])}"
        )
    batches = [row for row in summary["equal_recall"] if row["cost"] == "batch_us"]
    for size, group in groupby(batches, lambda row: row["bytes"]):
        ratios = [row["ratio"] for row in group]
        yield (
            f"{_verdict(min(ratios) >= LEAST_RATIO)} {size} bytes, batches at equal recall@10 with the same rerank: "
            f"{ratio(min(ratios))} to {ratio(max(ratios))} FAISS's queries/s"
        )
    for row in summary["opq_at_equal_distortion"]:
        faster = row["reached"] and row["our_seconds"] <= row["peer_seconds"]
        yield (
            f"{_verdict(faster)} OPQ of {row['dims']} dims in {row['bytes']} bytes: distortion "
            f"{row['our_distortion']:.4f} in {number(row['our_seconds'])} s, "
            f"FAISS {row['peer_distortion']:.4f} in {number(row['peer_seconds'])} s"
        )


def _verdict(reached: bool) -> str:
    return "yes" if reached else "NO "


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _setting(method: str, parameters: Mapping[str, Any]) -> str:
    shown = {name: parameters[name] for name in ("dims", "bits", "probes") if name in parameters}
    return f"{method.partition(' + ')[0]} ({compact(shown)})"
