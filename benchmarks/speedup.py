"""How much faster is adaptive retrieval at equal accuracy? Our indices beside FAISS, measured in one run."""

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import data, machine, page, plots, results, summary, table
from benchmarks.measure import measure
from benchmarks.methods import faiss_methods, our_methods
from benchmarks.methods.base import Built, Method, Sweep

MOST_QUERIES = 10_000
QUICK_QUERIES = 1_000
# More than this many cores used by others, on average, and the times are not to be trusted.
BUSY_CORES = 0.1


def run(options: argparse.Namespace) -> int:
    """Measure, print the tables, write the results; options as parsed by benchmarks.__main__."""
    rounds = min(options.rounds, 2) if options.quick else options.rounds
    queries = options.queries or (QUICK_QUERIES if options.quick else MOST_QUERIES)
    print(f"Preparing {options.dataset}", file=sys.stderr)
    workload, database = data.prepare(options.dataset, queries, options.seed, options.threads)
    sweep = Sweep.of(workload.rows, workload.dataset.ladder, options.seed, options.quick)
    with machine.OtherLoad() as other_load:
        # FAISS first: what it is built from is as large as an index, and gone before ours are built.
        peers = _build(faiss_methods(workload, database, sweep, options.threads), options.methods)
        del database
        built = _build(our_methods(workload, sweep, options.threads), options.methods) + peers
        measurements = measure(built, workload, rounds=rounds, threads=options.threads, seed=options.seed)
    finished = results.Run(
        benchmark="speedup",
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine.describe() | {"environment": options.environment, "other_load_cores": other_load.cores},
        dataset=dict(workload.describe()),
        options={
            "threads": options.threads,
            "rounds": rounds,
            "seed": options.seed,
            "methods": options.methods,
            "quick": options.quick,
        },
        measurements=measurements,
        summary=summary.summarise(measurements, workload.dims),
    )
    print(table.report(finished))
    if other_load.cores is not None and other_load.cores > BUSY_CORES:
        print(
            f"\nNot a quiet machine: other processes used {other_load.cores} cores meanwhile. Do not trust the times."
        )
    results_folder = Path(__file__).parent / "results"
    folder = options.output or results_folder / machine.cpu_slug() / f"speedup-{workload.name}"
    print("\nWritten:", *write(finished, folder), sep="\n  ")
    return 0


def write(run: results.Run, folder: Path) -> list[Path]:
    """Write a run as CSV, JSON, PNG plots and one page; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "results.csv", folder / "results.json", folder / "index.html"]
    results.write_csv(run.measurements, paths[0])
    results.write_json(run, paths[1])
    page.write(run, paths[2])
    return paths + plots.draw_all(run, folder)


def _build(methods: dict[str, Method], wanted: list[str]) -> list[Built]:
    """Build the indexes of the methods that are wanted, one after the other."""
    built = []
    for name, method in methods.items():
        if name in wanted:
            for index in method():
                print(f"Built {index.method}: {index.build_seconds:.1f} s", file=sys.stderr)
                built.append(index)
    return built
