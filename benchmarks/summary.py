"""How much faster at equal accuracy: each method's fastest setting against exact search and against each other."""

from collections.abc import Sequence
from typing import Any

from benchmarks.pareto import by_method, fastest
from benchmarks.results import Measurement

PEERS = ("faiss", "torch", "cuvs")  # families of methods
EXACT_METHODS = ("adanns exact", "FAISS flat")
RECALL_TARGETS = (0.9, 0.95, 0.97, 0.98, 0.99)
# Points of top-1 given up against exact search of all dims; "no loss" is within 0.1 point, as the papers' plots read.
TOP1_LOSSES = (0.001, 0.005, 0.01)
COSTS = ("batch_us", "latency_p50_us")
RIGID_IVF_METHODS = ("FAISS IVF, rigid model", "adanns IVF, rigid model")


def summarise(measurements: Sequence[Measurement], dims: int) -> dict[str, Any]:
    """Speedups at equal recall@10 and at equal top-1, for batches and for single queries; JSON-able.

    "against_rigid" is the papers' headline: IVF on the rigid twin against our best on the Matryoshka model, at the
    top-1 that rigid IVF reaches at best, and a little below.
    """
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
        "against_rigid": [
            row
            for cost in COSTS
            for method in RIGID_IVF_METHODS
            for loss in (0.0, *TOP1_LOSSES)
            if (row := _against_rigid(measurements, cost, method, loss)) is not None
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
    peer = min((row for row in rows if row["family"] in PEERS), key=lambda row: row["us"], default=None)
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


def _against_rigid(measurements: Sequence[Measurement], cost: str, method: str, loss: float) -> dict[str, Any] | None:
    group = [row for row in measurements if row.method == method and row.top1 is not None]
    if not group:
        return None
    target = max(row.top1 for row in group if row.top1 is not None) - loss
    rigid = fastest(group, cost, "top1", target)
    ours = fastest([row for row in measurements if row.family == "adanns"], cost, "top1", target)
    if rigid is None or ours is None:
        return None
    rigid_us, our_us = getattr(rigid, cost), getattr(ours, cost)
    return {
        "cost": cost,
        "method": method,
        "label": f"its best - {100 * loss:.1f} points" if loss else "its best",
        "top1": target,
        "rigid_us": rigid_us,
        "rigid_parameters": rigid.parameters,
        "ours": ours.method,
        "our_us": our_us,
        "our_top1": ours.top1,
        "our_parameters": ours.parameters,
        "ratio": rigid_us / our_us,
    }


def _exact_all_dims(measurements: Sequence[Measurement], dims: int) -> list[Measurement]:
    return [row for row in measurements if row.method in EXACT_METHODS and row.parameters["dims"] == dims]
