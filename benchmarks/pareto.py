"""Which settings are worth using: Pareto fronts, and the fastest at a given accuracy."""

from collections.abc import Iterable

from benchmarks.results import Measurement


def front(measurements: Iterable[Measurement], cost: str, quality: str) -> list[Measurement]:
    """Those that no other beats: from cheap to dear, each strictly better than all cheaper ones.

    Measurements without the quality (no labels) are left out.
    """
    known = [row for row in measurements if getattr(row, quality) is not None]
    known.sort(key=lambda row: (getattr(row, cost), -getattr(row, quality)))
    best: list[Measurement] = []
    for row in known:
        if not best or getattr(row, quality) > getattr(best[-1], quality):
            best.append(row)
    return best


def fastest(measurements: Iterable[Measurement], cost: str, quality: str, at_least: float) -> Measurement | None:
    """The cheapest that reaches a quality; None if none does."""
    good = [row for row in measurements if getattr(row, quality) is not None and getattr(row, quality) >= at_least]
    return min(good, key=lambda row: getattr(row, cost), default=None)


def by_method(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Measurements grouped by method, in order of first appearance."""
    groups: dict[str, list[Measurement]] = {}
    for row in measurements:
        groups.setdefault(row.method, []).append(row)
    return groups
