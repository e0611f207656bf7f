"""The methods that are measured, by the names the command line knows."""

import sys

from benchmarks.data import Database, Workload
from benchmarks.methods.base import Method, Sweep
from benchmarks.methods.code_sweep import CodeSweep
from benchmarks.methods.faiss_codes import FaissCodes
from benchmarks.methods.faiss_peers import FaissPeers
from benchmarks.methods.gpu_libraries import Cuvs, FaissOnGpu, why_missing
from benchmarks.methods.our_codes import OurCodes
from benchmarks.methods.ours import Device, Ours
from benchmarks.methods.rigid import rigid_methods
from benchmarks.methods.torch_peers import TorchPeers
from benchmarks.methods.torch_rows import TorchRows

__all__ = [
    "CodeSweep",
    "Method",
    "Sweep",
    "faiss_code_methods",
    "faiss_methods",
    "gpu_methods",
    "our_code_methods",
    "our_methods",
    "rigid_code_methods",
    "rigid_methods",
]


def our_methods(workload: Workload, sweep: Sweep, threads: int, device: Device) -> dict[str, Method]:
    """Our methods over one workload; keys as in benchmarks.__main__.METHODS."""
    ours = Ours(workload, sweep, threads, device)
    return {"exact": ours.exact, "funnel": ours.funnel, "ivf": ours.ivf}


def faiss_methods(workload: Workload, database: Database, sweep: Sweep, threads: int) -> dict[str, Method]:
    """FAISS's methods over one workload; keys as in benchmarks.__main__.METHODS."""
    peers = FaissPeers(workload, database, sweep, threads)
    return {
        "faiss-flat": peers.flat,
        "faiss-ivf": peers.all_dims_ivf,
        "faiss-ivf-refine": peers.prefix_ivf,
        "faiss-4bit": peers.four_bit_ivf,
        "faiss-hnsw": peers.prefix_hnsw,
    }


def gpu_methods(workload: Workload, sweep: Sweep, device: Device) -> dict[str, Method]:
    """What torch, and FAISS's GPU half and cuVS where they are installed, do over one workload on a device.

    Keys as in benchmarks.__main__.GPU_METHODS.
    """
    rows = TorchRows(workload, device)
    peers, faiss, cuvs = TorchPeers(rows), FaissOnGpu(rows, sweep), Cuvs(rows, sweep)
    methods: dict[str, Method] = {"torch-exact": peers.exact, "torch-funnel": peers.funnel}
    of_libraries: dict[str, dict[str, Method]] = {
        "faiss-gpu": {"faiss-gpu-flat": faiss.flat, "faiss-gpu-ivf": faiss.prefix_ivf},
        "cuvs": {"cuvs-exact": cuvs.exact, "cuvs-ivf": cuvs.prefix_ivf, "cuvs-cagra": cuvs.prefix_graph},
    }
    for library, its_methods in of_libraries.items():
        if missing := why_missing(library):
            print(f"Without {', '.join(its_methods)}: {missing}", file=sys.stderr)
        else:
            methods |= its_methods
    return methods


def our_code_methods(workload: Workload, sweep: CodeSweep, threads: int, device: Device) -> dict[str, Method]:
    """Our codes over one workload; keys as in benchmarks.__main__.CODE_METHODS."""
    ours = OurCodes(workload, sweep, threads, device)
    return {"opq": ours.opq, "ivfopq": ours.ivfopq, "compact": ours.compact}


def faiss_code_methods(workload: Workload, database: Database, sweep: CodeSweep, threads: int) -> dict[str, Method]:
    """FAISS's codes over one workload; keys as in benchmarks.__main__.CODE_METHODS."""
    codes = FaissCodes(workload, database, sweep, threads)
    return {
        "faiss-opq": codes.opq,
        "faiss-ivfopq": codes.ivfopq,
        "faiss-4bit": codes.four_bit,
        "faiss-rabitq": codes.rabitq,
        "faiss-opq-all": codes.all_dims_opq,
        "faiss-ivfopq-all": codes.all_dims_ivfopq,
    }


def rigid_code_methods(workload: Workload, database: Database, sweep: CodeSweep, threads: int) -> dict[str, Method]:
    """FAISS's codes of a rigid twin, of all dims: what the papers compare with; keys as in CODE_METHODS."""
    codes = FaissCodes(workload, database, sweep, threads, model="rigid model")
    return {"rigid-opq": codes.all_dims_opq, "rigid-ivfopq": codes.all_dims_ivfopq}
