"""How much faster is adaptive retrieval at equal accuracy? Our indices beside FAISS, measured in one run."""

import argparse
import sys
from pathlib import Path

from adanns import datasets
from benchmarks import data, machine, results, summary, table
from benchmarks.draw import draw
from benchmarks.measure import measure_methods, measure_rigid_twin
from benchmarks.methods import faiss_methods, gpu_methods, our_methods, rigid_methods
from benchmarks.methods.base import Sweep

MOST_QUERIES = 10_000
QUICK_QUERIES = 1_000
INDEXES_WITH_WHOLE_VECTORS = 8


def run(options: argparse.Namespace) -> int:
    """Measure, print the tables, write the results; options as parsed by benchmarks.__main__."""
    rounds = min(options.rounds, 2) if options.quick else options.rounds
    queries = options.queries or (QUICK_QUERIES if options.quick else MOST_QUERIES)
    dataset = data.load(options.dataset)
    sweep = Sweep.of(len(dataset.database), dataset.ladder, options.seed, options.quick)
    together = _fits_together(dataset)
    measured = {
        "wanted": options.methods,
        "rounds": rounds,
        "threads": options.threads,
        "seed": options.seed,
        "together": together,
    }
    with machine.OtherLoad() as other_load:
        measurements = measure_rigid_twin(
            dataset,
            lambda workload, database: rigid_methods(
                workload, database, sweep.for_rigid_twin(workload.dims), options.threads
            ),
            queries=queries,
            **measured,
        )
        print(f"Preparing {options.dataset}", file=sys.stderr)
        workload, database = data.prepare(dataset, queries, options.seed, options.threads)
        methods = our_methods(workload, sweep, options.threads, options.device)
        if options.device != "cpu":
            methods |= gpu_methods(workload, sweep, options.device)
        methods |= faiss_methods(workload, database, sweep, options.threads)
        measurements += measure_methods(methods, workload, **measured)
    finished = results.Run(
        **results.heading(
            "speedup", **machine.gpu(options.device), environment=options.environment, other_load_cores=other_load.cores
        ),
        dataset=dict(workload.describe()),
        options={
            "device": options.device,
            "threads": options.threads,
            "rounds": rounds,
            "seed": options.seed,
            "methods": options.methods,
            "indexes_in_memory": "all" if together else "one at a time",
            "quick": options.quick,
        },
        measurements=measurements,
        summary=summary.summarise(measurements, workload.dims),
    )
    print(table.report(finished))
    if warning := other_load.warning():
        print(f"\n{warning}")
    folder = options.output or machine.results_folder(f"speedup-{workload.name}", options.device)
    print("\nWritten:", *write(finished, folder), sep="\n  ")
    return 0


def _fits_together(dataset: datasets.Dataset) -> bool:
    """Whether all indexes fit into memory at once: some eight of them hold whole vectors."""
    free = machine.available_bytes()
    rows, dims = dataset.database.shape
    return free is None or INDEXES_WITH_WHOLE_VECTORS * rows * dims * 4 < free


def write(run: results.Run, folder: Path) -> list[Path]:
    """Write a run as CSV, JSON, PNG plots and one page; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "results.csv", folder / "results.json"]
    results.write_csv(run.measurements, paths[0])
    results.write_json(run, paths[1])
    return paths + draw(run, folder)
