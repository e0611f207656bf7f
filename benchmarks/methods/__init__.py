"""The methods that are measured, by the names the command line knows."""

from benchmarks.data import Floats, Workload
from benchmarks.methods.base import Method, Sweep
from benchmarks.methods.faiss_peers import FaissPeers
from benchmarks.methods.ours import Ours


def our_methods(workload: Workload, sweep: Sweep, threads: int) -> dict[str, Method]:
    """Our methods over one workload; keys as in benchmarks.__main__.METHODS."""
    ours = Ours(workload, sweep, threads)
    return {"exact": ours.exact, "funnel": ours.funnel, "ivf": ours.ivf}


def faiss_methods(workload: Workload, database: Floats, sweep: Sweep, threads: int) -> dict[str, Method]:
    """FAISS's methods over one workload; keys as in benchmarks.__main__.METHODS."""
    peers = FaissPeers(workload, database, sweep, threads)
    return {
        "faiss-flat": peers.flat,
        "faiss-ivf": peers.rigid_ivf,
        "faiss-ivf-refine": peers.prefix_ivf,
        "faiss-4bit": peers.four_bit_ivf,
        "faiss-hnsw": peers.prefix_hnsw,
    }
