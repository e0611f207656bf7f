"""Threads that change indices while others search them, for some seconds: `python tests/stress_threads.py [SECONDS]`.

tools/sanitize_threads.sh runs it with an engine built with ThreadSanitizer, which reports every race.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import numpy as np

import adanns

ROWS, DIMS = 3000, 32
INDICES = {
    "exact": lambda: adanns.ExactIndex(ladder=(8, 32)),
    "funnel": lambda: adanns.FunnelIndex(8, ladder=(8, 32)),
    "ivf": lambda: adanns.IVFIndex(8, 32, 9, ladder=(8, 32), iterations=2),
    "opq": lambda: adanns.OPQIndex(32, 8, bits=4, ladder=(8, 32), rotations=1),
    "ivfopq": lambda: adanns.IVFOPQIndex(8, 32, 9, 8, bits=8, ladder=(8, 32), rotations=1, precision=None),
}


def change(index: Any, until: float, seed: int) -> None:
    """Add, replace, remove and compact in turns."""
    generator = np.random.default_rng(seed)
    turn = 0
    while time.monotonic() < until:
        rows = generator.standard_normal((200, DIMS)).astype(np.float32)
        ids = 10_000 * (seed + 1) + generator.permutation(2000)[:200]
        index.upsert(rows, ids, threads=2)
        index.remove(ids[:150], missing="ignore")
        turn += 1
        if turn % 7 == 0:
            index.compact()


def search(index: Any, until: float, queries: Any, even: adanns.Filter) -> None:
    """Search in every way; rows that were there from the start are never changed, and always found."""
    while time.monotonic() < until:
        found = index.search(queries, 5, threads=2)
        assert (found.counts == 5).all()
        found = index.search(queries[:2], 5, filter=even, threads=3)
        assert (found.counts == 5).all()
        assert (found.ids % 2 == 0).all()
        index.range_search(queries[0], 0.5, threads=2)
        index.health()


def stress(seconds: float) -> None:
    """All kinds of indices, one after another, for as long together."""
    rows = np.random.default_rng(0).standard_normal((ROWS, DIMS)).astype(np.float32)
    even = adanns.Filter(np.arange(0, 100_000, 2))
    for make in INDICES.values():
        index = make().build(rows, threads=2, progress=False)
        until = time.monotonic() + seconds / len(INDICES)
        failures: list[Exception] = []

        def guarded(work: Any, *arguments: Any, failures: list[Exception] = failures) -> None:
            try:
                work(*arguments)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(change, index, until, seed)) for seed in range(2)]
        threads += [threading.Thread(target=guarded, args=(search, index, until, rows[:40], even)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        assert index.compact().rows >= ROWS


if __name__ == "__main__":
    stress(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
    print(f"no race among threads that change and search: {', '.join(INDICES)}")
