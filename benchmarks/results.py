"""What was measured, as CSV for a spreadsheet and JSON with everything needed to judge it."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import machine


@dataclass(frozen=True)
class Measurement:
    """One setting of one method. Accuracies are shares, times are per query and medians over the rounds.

    recall10 is None for a rigid twin: its neighbours are not those of the Matryoshka model.
    """

    method: str
    family: str
    parameters: dict[str, Any]
    build_seconds: float
    bytes_per_vector: float
    queries_per_second: float
    batch_us: float
    batch_us_fastest: float
    batch_us_slowest: float
    latency_p50_us: float
    latency_p99_us: float
    recall10: float | None
    top1: float | None
    map10: float | None
    mflops: float
    batch_queries: int
    latency_queries: int
    rounds: int


@dataclass(frozen=True)
class Run:
    """One run of a benchmark: where, of what, under which options, and all it measured."""

    benchmark: str
    date: str
    machine: dict[str, Any]
    dataset: dict[str, Any]
    options: dict[str, Any]
    measurements: list[Measurement]
    summary: dict[str, Any]


def heading(benchmark: str, **machine_facts: Any) -> dict[str, Any]:
    """What every file of results begins with: which benchmark, when, and on what."""
    return {
        "benchmark": benchmark,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe() | machine_facts,
    }


def ran_on(run: Run) -> str:
    """What batches ran on, in words: the GPU, or so many threads."""
    if run.options.get("device", "cpu") != "cpu":
        return str(run.machine["gpu"])
    threads = run.options["threads"]
    return f"{threads} thread{'s' * (threads > 1)}"


def write_content(content: Mapping[str, Any], path: Path) -> None:
    """Write results of any shape as JSON."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def write_json(run: Run, path: Path) -> None:
    """Write all of a run."""
    write_content(asdict(run), path)


def read_json(path: Path) -> Run:
    """Read what write_json wrote."""
    content = json.loads(path.read_text())
    content["measurements"] = [Measurement(**row) for row in content["measurements"]]
    return Run(**content)


def write_csv(measurements: list[Measurement], path: Path) -> None:
    """Write one line per measurement; parameters as JSON, six significant digits."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Measurement)], lineterminator="\n")
        writer.writeheader()
        for measurement in measurements:
            row = {
                name: f"{value:.6g}" if isinstance(value, float) else value for name, value in vars(measurement).items()
            }
            writer.writerow(row | {"parameters": json.dumps(measurement.parameters)})


def read_csv(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file with a header."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
