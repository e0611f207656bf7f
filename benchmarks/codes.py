"""How accurate are codes of so many bytes, and how fast? Ours beside FAISS's, measured in one run."""

import argparse
import sys
from pathlib import Path

from benchmarks import codes_build, codes_summary, codes_table, data, machine, results
from benchmarks.draw import draw
from benchmarks.measure import measure_methods, measure_rigid_twin
from benchmarks.methods import faiss_code_methods, our_code_methods, rigid_code_methods
from benchmarks.methods.code_sweep import CodeSweep

MOST_QUERIES = 2_000
QUICK_QUERIES = 1_000
OPQ_BUILD = "opq-build"


def run(options: argparse.Namespace) -> int:
    """Measure, print the tables, write the results; options as parsed by benchmarks.__main__."""
    rounds = min(options.rounds, 2) if options.quick else options.rounds
    queries = options.queries or (QUICK_QUERIES if options.quick else MOST_QUERIES)
    dataset = data.load(options.dataset)
    sweep = CodeSweep.of(len(dataset.database), dataset.ladder, options.bytes, options.seed, options.quick)
    measured = {
        "wanted": options.methods,
        "rounds": rounds,
        "threads": options.threads,
        "seed": options.seed,
        "together": False,
    }
    with machine.OtherLoad() as other_load:
        measurements = measure_rigid_twin(
            dataset,
            lambda workload, database: rigid_code_methods(workload, database, sweep, options.threads),
            queries=queries,
            **measured,
        )
        print(f"Preparing {options.dataset}", file=sys.stderr)
        workload, database = data.prepare(dataset, queries, options.seed, options.threads)
        builds = codes_build.compare(workload, sweep, options.threads) if OPQ_BUILD in options.methods else []
        # FAISS's hold the whole vectors of their reranks: they go before ours come.
        methods = faiss_code_methods(workload, database, sweep, options.threads)
        measurements += measure_methods(methods, workload, **measured)
        methods = our_code_methods(workload, sweep, options.threads, options.device)
        measurements += measure_methods(methods, workload, **measured)
    finished = results.Run(
        **results.heading(
            "codes", **machine.gpu(options.device), environment=options.environment, other_load_cores=other_load.cores
        ),
        dataset=dict(workload.describe()),
        options={
            "bytes": options.bytes,
            "device": options.device,
            "threads": options.threads,
            "rounds": rounds,
            "seed": options.seed,
            "methods": options.methods,
            "shortlist": sweep.shortlist,
            "training_rows": sweep.training_rows,
            "rotations": sweep.rotations,
            "faiss_rotations": sweep.faiss_rotations,
            "indexes_in_memory": "one at a time",
            "quick": options.quick,
        },
        measurements=measurements,
        summary=codes_summary.summarise(measurements, builds, len(workload.queries)),
    )
    print(codes_table.report(finished))
    if warning := other_load.warning():
        print(f"\n{warning}")
    folder = options.output or machine.results_folder(f"codes-{workload.name}", options.device)
    print("\nWritten:", *write(finished, folder), sep="\n  ")
    return 0


def write(run: results.Run, folder: Path) -> list[Path]:
    """Write a run as CSV, JSON, PNG plots and one page; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "results.csv", folder / "results.json"]
    results.write_csv(run.measurements, paths[0])
    results.write_json(run, paths[1])
    return paths + draw(run, folder)
