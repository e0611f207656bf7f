"""A measurement as the benchmarks make it, for tests of what is made of measurements."""

from __future__ import annotations

from typing import Any

from benchmarks.results import Measurement


def measurement(method: str, us: float, recall: float | None, **others: Any) -> Measurement:
    values: dict[str, Any] = {
        "method": method,
        "family": method.split()[0].lower(),
        "parameters": {"dims": 64, "rerank": [[64, 100], [128, 20]]},
        "build_seconds": 1.5,
        "bytes_per_vector": 512.0,
        "queries_per_second": 1e6 / us,
        "batch_us": us,
        "batch_us_fastest": us * 0.9,
        "batch_us_slowest": us * 1.1,
        "latency_p50_us": 2 * us,
        "latency_p99_us": 5 * us,
        "recall10": recall,
        "top1": None,
        "map10": None,
        "mflops": 3.25,
        "batch_queries": 1000,
        "latency_queries": 100,
        "rounds": 3,
    }
    return Measurement(**(values | others))
