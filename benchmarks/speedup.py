"""How much faster is adaptive retrieval at equal accuracy? Our indices beside FAISS, measured in one run."""

import argparse
import sys
from pathlib import Path

from adanns import datasets
from benchmarks import data, machine, page, plots, results, summary, table
from benchmarks.measure import measure
from benchmarks.methods import faiss_methods, our_methods, rigid_methods
from benchmarks.methods.base import Built, Method, Sweep

MOST_QUERIES = 10_000
QUICK_QUERIES = 1_000
# More than this many cores used by others, on average, and the times are not to be trusted.
BUSY_CORES = 0.1
INDEXES_WITH_WHOLE_VECTORS = 8
RIGID_METHODS = ("rigid-flat", "rigid-faiss-ivf", "rigid-ivf")


def run(options: argparse.Namespace) -> int:
    """Measure, print the tables, write the results; options as parsed by benchmarks.__main__."""
    rounds = min(options.rounds, 2) if options.quick else options.rounds
    queries = options.queries or (QUICK_QUERIES if options.quick else MOST_QUERIES)
    dataset = data.load(options.dataset)
    sweep = Sweep.of(len(dataset.database), dataset.ladder, options.seed, options.quick)
    together = _fits_together(dataset)
    with machine.OtherLoad() as other_load:
        measurements = []
        twin = dataset.rigid.get(dataset.ladder[-1])
        if twin is not None and any(name in options.methods for name in RIGID_METHODS):
            print("Preparing the rigid twin", file=sys.stderr)
            workload, database = data.prepare(twin, queries, options.seed, options.threads, with_exact=False)
            rigid = rigid_methods(workload, database, sweep.for_rigid_twin(workload.dims), options.threads)
            measurements += _measured(rigid, workload, rounds, together, options)
            del rigid
        print(f"Preparing {options.dataset}", file=sys.stderr)
        workload, database = data.prepare(dataset, queries, options.seed, options.threads)
        methods = our_methods(workload, sweep, options.threads)
        methods |= faiss_methods(workload, database, sweep, options.threads)
        measurements += _measured(methods, workload, rounds, together, options)
    finished = results.Run(
        **results.heading("speedup", environment=options.environment, other_load_cores=other_load.cores),
        dataset=dict(workload.describe()),
        options={
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
    if other_load.cores is not None and other_load.cores > BUSY_CORES:
        print(
            f"\nNot a quiet machine: other processes used {other_load.cores} cores meanwhile. Do not trust the times."
        )
    folder = options.output or machine.results_folder(f"speedup-{workload.name}")
    print("\nWritten:", *write(finished, folder), sep="\n  ")
    return 0


def _fits_together(dataset: datasets.Dataset) -> bool:
    """Whether all indexes fit into memory at once: some eight of them hold whole vectors."""
    free = machine.available_bytes()
    rows, dims = dataset.database.shape
    return free is None or INDEXES_WITH_WHOLE_VECTORS * rows * dims * 4 < free


def _measured(
    methods: dict[str, Method], workload: data.Workload, rounds: int, together: bool, options: argparse.Namespace
) -> list[results.Measurement]:
    """Build and measure the methods that are wanted: all in the same rounds, or each built, timed and freed alone."""
    measurements: list[results.Measurement] = []
    waiting: list[Built] = []
    for name in [name for name in methods if name in options.methods]:
        for index in methods[name]():
            print(f"Built {index.method}: {index.build_seconds:.1f} s", file=sys.stderr)
            waiting.append(index)
            if not together:
                measurements += measure(waiting, workload, rounds=rounds, threads=options.threads, seed=options.seed)
                waiting = []
            del index  # or it would live until the next one is built
    if waiting:
        measurements += measure(waiting, workload, rounds=rounds, threads=options.threads, seed=options.seed)
    return measurements


def write(run: results.Run, folder: Path) -> list[Path]:
    """Write a run as CSV, JSON, PNG plots and one page; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "results.csv", folder / "results.json", folder / "index.html"]
    results.write_csv(run.measurements, paths[0])
    results.write_json(run, paths[1])
    page.write(run, paths[2])
    return paths + plots.draw_all(run, folder)
