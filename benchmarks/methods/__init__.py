"""The methods that are measured, by the names the command line knows."""

from benchmarks.data import Database, Workload
from benchmarks.methods.base import Method, Sweep
from benchmarks.methods.faiss_peers import FaissPeers
from benchmarks.methods.ours import Ours
from benchmarks.methods.rigid import rigid_methods

__all__ = ["Method", "Sweep", "faiss_methods", "our_methods", "rigid_methods"]


def our_methods(workload: Workload, sweep: Sweep, threads: int) -> dict[str, Method]:
    """Our methods over one workload; keys as in benchmarks.__main__.METHODS."""
    ours = Ours(workload, sweep, threads)
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
