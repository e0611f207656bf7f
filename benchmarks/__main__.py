"""`python -m benchmarks`: which benchmark to run, with what.

Nothing heavy is imported here: numpy's and FAISS's BLAS read the environment when they are loaded, so the
environment is prepared first (see benchmarks.machine.prepare_environment).
"""

import argparse
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import machine

METHODS = {
    "exact": "adanns.ExactIndex at every rung",
    "funnel": "adanns.FunnelIndex",
    "ivf": "adanns.IVFIndex",
    "faiss-flat": "FAISS Flat at every rung",
    "faiss-ivf": "FAISS IVF-Flat on all dims",
    "faiss-ivf-refine": "FAISS IVF-Flat on a prefix, refined at all dims",
    "faiss-4bit": "FAISS IVF with residual 4-bit codes of a prefix, refined at all dims",
    "faiss-hnsw": "FAISS HNSW32 on a prefix, refined at all dims",
    "rigid-flat": "FAISS Flat on the rigid twin, where the data set has one",
    "rigid-faiss-ivf": "FAISS IVF-Flat on the rigid twin",
    "rigid-ivf": "adanns.IVFIndex on the rigid twin, all dims",
}

# With --device cuda, what is installed of it.
GPU_METHODS = {
    "torch-exact": "torch: float16 products and top-k, at every rung",
    "torch-funnel": "torch: a shortlist of a prefix, gathered and compared at all dims",
    "faiss-gpu-flat": "FAISS GPU Flat at every rung, float16",
    "faiss-gpu-ivf": "FAISS GPU IVF-Flat on a prefix, reranked by torch",
    "cuvs-exact": "cuVS brute force at every rung, float16",
    "cuvs-ivf": "cuVS IVF-Flat on a prefix, reranked by torch",
    "cuvs-cagra": "cuVS CAGRA on a prefix, reranked by torch",
}

CODE_METHODS = {
    "opq": "adanns.OPQIndex, 8 and 4 bits a segment",
    "ivfopq": "adanns.IVFOPQIndex, 8 and 4 bits",
    "compact": "adanns.CompactIndex",
    "faiss-opq": "FAISS OPQ of a prefix, all rows compared, 8 and 4 bits",
    "faiss-ivfopq": "FAISS IVF with residual OPQ codes of a prefix",
    "faiss-4bit": "the same with 4 bits a segment (fast scan)",
    "faiss-rabitq": "FAISS IVF with RaBitQ codes of a prefix (fast scan)",
    "faiss-opq-all": "FAISS OPQ of all dims",
    "faiss-ivfopq-all": "FAISS IVF with OPQ codes of all dims",
    "rigid-opq": "FAISS OPQ of the rigid twin, where the data set has one",
    "rigid-ivfopq": "FAISS IVF with OPQ codes of the rigid twin",
    "opq-build": "seconds and distortion of learning a code, ours and FAISS's",
}

KINDS = {kind: f"the index class of kind {kind}" for kind in ("exact", "funnel", "ivf", "opq", "ivfopq", "compact")}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, prepare the environment, run the benchmark."""
    options = _parser().parse_args(arguments)
    options.environment = machine.prepare_environment(options.threads)
    run = importlib.import_module(f"benchmarks.{options.benchmark.replace('-', '_')}").run
    return int(run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure adanns beside its peers.")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    speedup = benchmarks.add_parser(
        "speedup",
        help="accuracy against time: our indices beside FAISS, in one run",
        epilog="Methods: " + "; ".join(f"{key}: {what}" for key, what in (METHODS | GPU_METHODS).items()) + ".",
    )
    speedup.add_argument("--queries", type=_at_least_one, help="how many queries (default: all, at most 10,000)")
    everything = [*METHODS, *GPU_METHODS]
    speedup.add_argument("--methods", type=_method_list, default=everything, help="comma-separated (default: all)")
    speedup.add_argument("--quick", action="store_true", help="at most 2 rounds and 1,000 queries, a coarser sweep")
    _add_common(speedup)
    _add_device(speedup)
    codes = benchmarks.add_parser(
        "codes",
        help="accuracy against bytes per vector and time: our codes beside FAISS's",
        epilog="Methods: " + "; ".join(f"{key}: {what}" for key, what in CODE_METHODS.items()) + ".",
    )
    codes.add_argument("--bytes", type=_size_list, default=[8, 16, 32, 64], help="of a code (default: 8,16,32,64)")
    codes.add_argument("--queries", type=_at_least_one, help="how many queries (default: all, at most 2,000)")
    codes.add_argument(
        "--methods", type=_code_method_list, default=list(CODE_METHODS), help="comma-separated (default: all)"
    )
    codes.add_argument("--quick", action="store_true", help="at most 2 rounds and 1,000 queries, a coarser sweep")
    _add_common(codes)
    _add_device(codes)
    change = benchmarks.add_parser("change", help="what adding, removing and filtering cost")
    change.add_argument("--queries", type=_at_least_one, help="how many queries (default: all, at most 1,000)")
    change.add_argument("--rows", type=_at_least_one, help="of the data set, the first so many (default: all)")
    change.add_argument("--dims", type=_at_least_one, help="a rung to cut vectors at (default: all dims)")
    change.add_argument("--scratch", type=Path, help="folder for saved indices (default: the system's for such files)")
    _add_common(change)
    dims = benchmarks.add_parser("dims", help="1-NN top-1 by dims: MRL, rigid models, SVD, random features")
    dims.add_argument("--queries", type=_at_least_one, help="how many queries (default: all, at most 5,000)")
    _add_common(dims)
    cascade = benchmarks.add_parser("cascade", help="adaptive classification: expected dims against top-1")
    cascade.add_argument("--dataset", default="glyphs-1k", help="one with a classifier (default: glyphs-1k)")
    cascade.add_argument("--threads", type=_at_least_one, default=machine.available_cores(), help="of numpy")
    cascade.add_argument("--seed", type=int, default=0, help="of the halves: one to learn from, one to measure on")
    cascade.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/CPU/RUN)")
    calibration = benchmarks.add_parser(
        "calibration", help="synthetic-imagenet-1k beside the published figures of ImageNet-1K, by dims"
    )
    calibration.add_argument(
        "--queries", type=_at_least_one, help="how many queries (default: all up to 64 dims; beyond, at most 8,000)"
    )
    calibration.add_argument("--quick", action="store_true", help="1,000 queries")
    calibration.add_argument("--threads", type=_at_least_one, default=machine.available_cores())
    calibration.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/CPU/RUN)")
    engine = benchmarks.add_parser("engine", help="the engine beside the machine's bandwidth and FAISS's k-means")
    engine.add_argument("--clusters", type=_at_least_one, help="of k-means (default: 4,096, or rows / 128)")
    _add_common(engine)
    prepare = benchmarks.add_parser(
        "prepare", help="make a data set that is not in the box; it goes on where it left off"
    )
    prepare.add_argument("name", choices=("glyphs-1k", "glyphs-4k", "icons-full"))
    prepare.add_argument(
        "--rigid-dims", type=_dims_list, help="also train rigid models at these dims, e.g. 8,64 (default: all dims)"
    )
    prepare.add_argument("--threads", type=_at_least_one, default=machine.available_cores(), help="processes at once")
    step = benchmarks.add_parser("training-step", help="what the Matryoshka loss adds to a step of training")
    step.add_argument("--widths", type=_dims_list, default=[16, 32, 64], help="of the network (default: 16,32,64)")
    step.add_argument("--batch", type=_at_least_one, default=512)
    step.add_argument("--dims", type=_at_least_one, default=2048)
    step.add_argument("--classes", type=_at_least_one, default=1000)
    step.add_argument("--rounds", type=_at_least_one, default=15, help="medians are reported (default: 15)")
    step.add_argument("--threads", type=_at_least_one, default=machine.available_cores())
    step.add_argument("--seed", type=int, default=0)
    step.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/CPU/RUN)")
    cuda_report = benchmarks.add_parser(
        "cuda-report", help="registers, spills and occupancy of every CUDA kernel; needs nvcc, no GPU"
    )
    cuda_report.add_argument(
        "--archs", type=_dims_list, default=[80, 86, 89, 90, 100, 120], help="compute capabilities, e.g. 80,90"
    )
    cuda_report.add_argument(
        "--threads", type=_at_least_one, default=machine.available_cores(), help="compilers at once"
    )
    cuda_report.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/CPU/RUN)")
    storage = benchmarks.add_parser(
        "storage", help="saving, opening and searching from disk, beside copying and memory"
    )
    storage.add_argument("--rows", type=_at_least_one, default=1_000_000)
    storage.add_argument("--dims", type=_at_least_one, default=512)
    storage.add_argument("--kinds", type=_kind_list, default=list(KINDS), help="comma-separated (default: all)")
    storage.add_argument("--rounds", type=_at_least_one, default=5, help="medians are reported (default: 5)")
    storage.add_argument(
        "--folder", type=Path, help="where to save, on a disk (default: the system's temporary folder)"
    )
    storage.add_argument("--threads", type=_at_least_one, default=machine.available_cores())
    storage.add_argument("--seed", type=int, default=0)
    storage.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/CPU/RUN)")
    crash = benchmarks.add_parser("crash", help="kill saves at random moments: is the index whole after each?")
    crash.add_argument("--kills", type=_at_least_one, default=10_000)
    crash.add_argument("--folder", type=Path, help="where to save, on a disk (default: the system's temporary folder)")
    crash.add_argument("--seed", type=int, default=0)
    crash.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/CPU/RUN)")
    crash.set_defaults(threads=1)
    kernels = benchmarks.add_parser("cuda-kernels", help="each CUDA kernel beside what the GPU could do; needs one")
    kernels.add_argument("--rounds", type=_at_least_one, default=9, help="medians are reported (default: 9)")
    kernels.add_argument("--seed", type=int, default=0)
    kernels.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/GPU/RUN)")
    kernels.set_defaults(threads=1)
    draw = benchmarks.add_parser(
        "draw", help="print tables, write page and plots again from the results.json of speedup or codes"
    )
    draw.add_argument("folder", type=Path, help="where results.json is")
    draw.set_defaults(threads=1)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        default="icons",
        help="a name of docs/datasets.md, such as icons, glyphs-1k or npy:DIR (default: icons)",
    )
    parser.add_argument(
        "--rounds", type=_at_least_one, default=3, help="timed rounds; medians are reported (default: 3)"
    )
    parser.add_argument(
        "--threads", type=_at_least_one, default=machine.available_cores(), help="for builds and batches"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/CPU/RUN)")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where our searches run; FAISS's stay on the CPU (default: cpu)",
    )


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _dims_list(text: str) -> list[int]:
    return [_at_least_one(dims) for dims in text.split(",")]


def _size_list(text: str) -> list[int]:
    return sorted({_at_least_one(size) for size in text.split(",")})


def _method_list(text: str) -> list[str]:
    return _names_of(METHODS | GPU_METHODS, text)


def _code_method_list(text: str) -> list[str]:
    return _names_of(CODE_METHODS, text)


def _kind_list(text: str) -> list[str]:
    return _names_of(KINDS, text)


def _names_of(known: Mapping[str, str], text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is unknown; choose from {', '.join(known)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
