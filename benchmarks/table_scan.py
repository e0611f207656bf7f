"""How fast are codes scanned, ours beside FAISS's? The same codebooks and codes of random rows, one thread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import faiss
import numpy as np

from adanns import _core
from benchmarks.data import Floats

ROWS = 1_000_000
TRAINING_ROWS = 20_000
ITERATIONS = 5  # of k-means: how good the codebooks are changes no scan's speed
DIMS = 64
CODE_BYTES = (16, 32)
K = 10
RESCORED = 30  # rows that the rounded tables choose and float tables then measure
BATCH = 64
FAST_SCAN: Any = faiss.IndexPQFastScan
BLOCK_SIZES = (32, 64, 96, 128, 160)  # FAISS's `bbs`: rows that its fast scan takes at a time, all that it offers


@dataclass(frozen=True)
class ScanSpeed:
    """Medians of both; `overlap` is the share of FAISS's ten nearest that ours has too."""

    bits: int
    code_bytes: int
    queries: int
    rows_per_second: float
    faiss_name: str
    faiss_rows_per_second: float
    overlap: float


def scan_speeds(rounds: int, seed: int, rows: int = ROWS) -> Iterator[ScanSpeed]:
    """Of 4-bit and 8-bit codes, for one query and for a batch; FAISS scans at its best block size."""
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((rows, DIMS), dtype=np.float32)
    queries = generator.standard_normal((BATCH, DIMS), dtype=np.float32)
    threads = faiss.omp_get_max_threads()
    for bits in (4, 8):
        for code_bytes in CODE_BYTES:
            quantised = faiss.IndexPQ(DIMS, code_bytes * 8 // bits, bits)
            quantised.pq.cp.niter = ITERATIONS
            quantised.train(vectors[:TRAINING_ROWS])
            quantised.add(vectors)
            view = _view_of(quantised)
            peers: dict[str, Any] = {"FAISS IndexPQ": quantised}
            if bits == 4:
                peers = {f"FAISS IndexPQFastScan, bbs {size}": FAST_SCAN(quantised, size) for size in BLOCK_SIZES}
            faiss.omp_set_num_threads(1)
            for count in (1, BATCH):
                yield _compare(bits, code_bytes, view, peers, queries[:count], rows, rounds)
            faiss.omp_set_num_threads(threads)


def _compare(
    bits: int, code_bytes: int, view: _core.IndexView, peers: dict[str, Any], queries: Floats, rows: int, rounds: int
) -> ScanSpeed:
    ours = _core.Snapshot([(view, None)])
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours.search(queries, K, DIMS, "tables", 0, 0, [(DIMS, RESCORED)], 1)
    } | {name: lambda index=index: index.search(queries, K) for name, index in peers.items()}
    found = {name: call()[1] for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = perf_counter()
            call()
            seconds[name].append(perf_counter() - start)
    medians = {name: median(times) for name, times in seconds.items()}
    best = min(peers, key=lambda name: medians[name])
    pairs = zip(found["ours"], found[best], strict=True)
    overlap = float(np.mean([len(set(ours) & set(theirs)) / K for ours, theirs in pairs]))
    scanned = rows * len(queries)
    return ScanSpeed(bits, code_bytes, len(queries), scanned / medians["ours"], best, scanned / medians[best], overlap)


def _view_of(quantised: Any) -> _core.IndexView:
    """Our index of the same codes."""
    bits, segments, rows = quantised.pq.nbits, quantised.pq.M, quantised.ntotal
    codebooks = faiss.vector_to_array(quantised.pq.centroids)
    width = DIMS // segments
    packed = faiss.vector_to_array(quantised.codes).reshape(rows, -1)
    codes = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=2).reshape(rows, segments)
    table_code = (
        DIMS,
        bits,
        np.array([[DIMS, segments]], np.int32),
        np.arange(width, DIMS + 1, width, dtype=np.int32),
        None,
        codebooks,
        _core.pack_table_blocks(codes, bits, np.array([0, rows], np.int64), 1),
        None,
    )
    return _core.IndexView(
        metric="l2",
        ladder=np.array([DIMS], np.int32),
        planes=[],
        terms=None,
        ids=np.arange(rows),
        code=None,
        lists=None,
        table_code=table_code,
    )
