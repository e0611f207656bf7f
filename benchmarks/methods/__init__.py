"""The methods that are measured, by the names the command line knows."""

from benchmarks.data import Workload
from benchmarks.methods.base import Method, Sweep
from benchmarks.methods.faiss_peers import FaissPeers
from benchmarks.methods.ours import Ours


def all_methods(workload: Workload, sweep: Sweep, threads: int) -> dict[str, Method]:
    """Every method over one workload; keys as in benchmarks.__main__.METHODS."""
    ours = Ours(workload, sweep, threads)
    peers = FaissPeers(workload, sweep, threads)
    return {
        "exact": ours.exact,
        "funnel": ours.funnel,
        "ivf": ours.ivf,
        "faiss-flat": peers.flat,
        "faiss-ivf": peers.rigid_ivf,
        "faiss-ivf-refine": peers.prefix_ivf,
        "faiss-4bit": peers.four_bit_ivf,
        "faiss-hnsw": peers.prefix_hnsw,
    }
