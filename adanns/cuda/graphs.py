"""Small batches as CUDA graphs: a search like one before is one launch, not a dozen."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from adanns.cuda.engine import Engine, Request, Results
from adanns.cuda.memory import Array, Memory, Recording

MOST_QUERIES = 64  # of a batch: larger ones take long enough without
MOST_GRAPHS = 32  # the least recently used goes first; each keeps its workspace
Key: TypeAlias = tuple[int, Request]  # how many queries, and what is asked


@dataclass
class _Graph:
    queries: Array
    recording: Recording
    results: Results
    lock: Any


class Graphs:
    """The graphs of one engine. A request is recorded when it comes for the second time."""

    def __init__(self, engine: Engine, memory: Memory) -> None:
        self._engine, self._memory = engine, memory
        self._lock = threading.Lock()
        self._graphs: OrderedDict[Key, _Graph | None] = OrderedDict()

    def search(self, queries: Array, request: Request) -> Results | None:
        """The answers, or None where this request is to be searched without a graph. queries: float32, contiguous."""
        key = (len(queries), request)
        if len(queries) > MOST_QUERIES:
            return None
        with self._lock:
            if key not in self._graphs:
                self._remember(key, None)  # the first time fills cupy's pool and compiles its kernels
                return None
            graph = self._graphs[key]
            self._graphs.move_to_end(key)
            if graph is None:
                graph = self._recorded(queries, request)
                if graph is None:
                    return None
                self._remember(key, graph)
        with graph.lock:
            graph.recording.replay(before=lambda: self._memory.copy(queries, graph.queries))
            results = replace(graph.results, packed=graph.results.packed.copy())
            if results.probes is not None:
                results = replace(results, probes=results.probes.copy())
            graph.recording.done()
        return results

    def _remember(self, key: Key, graph: _Graph | None) -> None:
        self._graphs[key] = graph
        while len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)

    def _recorded(self, queries: Array, request: Request) -> _Graph | None:
        own = self._memory.zeros(queries.shape, np.float32)

        def work(memory: Memory) -> Results:
            return Engine(self._engine.stored, memory).batch(own, request, own)

        recording = self._memory.record(work)
        if recording is None:
            return None
        return _Graph(own, recording, recording.result, threading.Lock())
