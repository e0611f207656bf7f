"""Search of the rigid twin: embeddings of the same network trained for all dims alone, searched at all dims.

What the papers compare with: without prefixes that mean anything, lists are made, routed and scanned on all dims.
"""

import dataclasses
from collections.abc import Iterator

from benchmarks.data import Database, Workload
from benchmarks.methods.base import Built, Method, Sweep
from benchmarks.methods.faiss_peers import FaissPeers
from benchmarks.methods.ours import Ours


def rigid_methods(workload: Workload, database: Database, sweep: Sweep, threads: int) -> dict[str, Method]:
    """The methods over a rigid twin's workload; keys as in benchmarks.__main__.METHODS."""
    peers = FaissPeers(workload, database, sweep, threads)
    ours = Ours(workload, sweep, threads)
    return {
        "rigid-flat": _named("FAISS flat, rigid model", peers.flat),
        "rigid-faiss-ivf": _named("FAISS IVF, rigid model", peers.all_dims_ivf),
        "rigid-ivf": _named("adanns IVF, rigid model", ours.ivf),
    }


def _named(name: str, method: Method) -> Method:
    def build() -> Iterator[Built]:
        for built in method():
            yield dataclasses.replace(built, method=name, family="rigid")

    return build
