"""How much faster at equal accuracy: each method's fastest setting against exact search and against each other."""

from collections.abc import Sequence
from typing import Any

from benchmarks.pareto import by_method, fastest
from benchmarks.results import Measurement

EXACT_METHODS = ("adanns exact", "FAISS flat")
RECALL_TARGETS = (0.9, 0.95, 0.97, 0.98, 0.99)
# Points of top-1 given up against exact search of all dims; "no loss" is within 0.1 point, as the papers' plots read.
TOP1_LOSSES = (0.001, 0.005, 0.01)
COSTS = ("batch_us", "latency_p50_us")


def summarise(measurements: Sequence[Measurement], dims: int) -> dict[str, Any]:
    """Speedups at equal recall@10 and at equal top-1, for batches and for single queries; JSON-able."""
    targets = [("recall10", target, f"{target:.2f}") for target in RECALL_TARGETS]
    exact_top1 = next((row.top1 for row in _exact_all_dims(measurements, dims)), None)
    if exact_top1 is not None:
        targets += [("top1", exact_top1 - loss, f"exact - {100 * loss:.1f} points") for loss in TOP1_LOSSES]
    return {
        "exact_top1": exact_top1,
        "comparisons": [
            _compare(measurements, dims, cost, quality, target, label)
            for cost in COSTS
            for quality, target, label in targets
        ],
    }


def baseline(measurements: Sequence[Measurement], dims: int, cost: str) -> Measurement | None:
    """Exact search of all dims, by whoever does it fastest."""
    return min(_exact_all_dims(measurements, dims), key=lambda row: getattr(row, cost), default=None)


def _compare(
    measurements: Sequence[Measurement], dims: int, cost: str, quality: str, target: float, label: str
) -> dict[str, Any]:
    exact = baseline(measurements, dims, cost)
    exact_cost = None if exact is None else getattr(exact, cost)
    rows = []
    for method, group in by_method(measurements).items():
        best = fastest(group, cost, quality, target)
        if best is not None:
            value = getattr(best, cost)
            rows.append(
                {
                    "method": method,
                    "family": best.family,
                    "us": value,
                    "against_exact": None if exact_cost is None else exact_cost / value,
                    "parameters": best.parameters,
                }
            )
    ours = min((row for row in rows if row["family"] == "adanns"), key=lambda row: row["us"], default=None)
    peer = min((row for row in rows if row["family"] == "faiss"), key=lambda row: row["us"], default=None)
    return {
        "cost": cost,
        "quality": quality,
        "target": target,
        "label": label,
        "exact_us": exact_cost,
        "rows": rows,
        "ours": ours and ours["method"],
        "peer": peer and peer["method"],
        "ours_against_peer": peer["us"] / ours["us"] if ours and peer else None,
    }


def _exact_all_dims(measurements: Sequence[Measurement], dims: int) -> list[Measurement]:
    return [row for row in measurements if row.method in EXACT_METHODS and row.parameters["dims"] == dims]
