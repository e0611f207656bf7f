"""Do results depend on nothing but the query: not on threads, batches, other searches at the same time, or a fork?

Here with enough rows that threads share them, lists span many blocks, and shortlists are cut many times.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import twins
from recipes import assert_same, rows_of

import adanns

ROWS = 50_000  # three pieces of 16,384 rows and more
QUERIES = rows_of(300, 24, seed=1)

INDICES = {
    "exact": lambda metric: adanns.ExactIndex(metric=metric, ladder=(8, 24)),
    "funnel-codes": lambda metric: adanns.FunnelIndex(8, metric=metric, ladder=(8, 24)),
    "funnel-planes": lambda metric: adanns.FunnelIndex(
        8, metric=metric, ladder=(8, 24), precision="int8", scan_precision=None
    ),
    "ivf-few-lists": lambda metric: adanns.IVFIndex(8, 24, 3, metric=metric, ladder=(8, 24), iterations=2),
    "ivf-many-lists": lambda metric: adanns.IVFIndex(
        8, 8, 500, metric=metric, ladder=(8, 24), iterations=2, points_per_list=20
    ),
}

every_index = pytest.mark.parametrize("name", INDICES)
every_metric = pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])


@functools.cache
def vectors() -> Any:
    rows = rows_of(ROWS, 24).copy()
    rows[30_000:31_000] = rows[:1000]  # ties far apart, where pieces are merged
    return rows


@functools.cache
def large(name: str, metric: str) -> Any:
    return INDICES[name](metric).build(vectors(), threads=2)


@every_metric
@every_index
def test_results_are_the_same_for_any_threads_and_batches(name: str, metric: str) -> None:
    index = large(name, metric)
    whole = index.search(QUERIES, 10, threads=1)
    for threads in (2, 3, 7):
        assert_same(index.search(QUERIES, 10, threads=threads), whole)
        assert index.search(QUERIES, 10, threads=threads).stats == whole.stats
    for first, count in ((0, 1), (1, 1), (5, 2), (9, 3), (17, 5), (40, 8), (100, 63)):
        for threads in (1, 2, 3, 7):
            some = index.search(QUERIES[first : first + count], 10, threads=threads)
            assert np.array_equal(some.ids, whole.ids[first : first + count])
            assert np.array_equal(some.distances, whole.distances[first : first + count])
    singles = [index.search(query, 10, threads=7).stats for query in QUERIES[:8]]
    for stage, parts in zip(index.search(QUERIES[:8], 10).stats, zip(*singles, strict=True), strict=True):
        assert (stage.read, stage.kept) == (sum(part.read for part in parts), sum(part.kept for part in parts))


@every_metric
def test_many_rows_are_searched_exactly(metric: str) -> None:
    twin = twins.distances(vectors(), QUERIES[:20], metric)
    for threads in (1, 7):
        for k in (1, 10, 3000):
            result = large("exact", metric).search(QUERIES[:20], k, threads=threads)
            twins.assert_nearest(result, twin, np.arange(ROWS), 1e-5)
            single = large("exact", metric).search(QUERIES[0], k, threads=threads)
            assert np.array_equal(single.ids[0], result.ids[0])


@every_index
def test_searches_at_the_same_time_do_not_disturb_each_other(name: str) -> None:
    index, other = large(name, "cosine"), large("exact", "l2")
    expected = [index.search(QUERIES[i : i + 40], 10, threads=1) for i in range(0, 300, 40)]
    other_expected = other.search(QUERIES[:30], 50)
    with ThreadPoolExecutor(5) as pool:
        parts = [QUERIES[i : i + 40] for _ in range(4) for i in range(0, 300, 40)]
        jobs = [pool.submit(index.search, part, 10, threads=3) for part in parts]
        others = [pool.submit(other.search, QUERIES[:30], 50, threads=2) for _ in range(4)]
        for i, job in enumerate(jobs):
            assert_same(job.result(), expected[i % len(expected)])
        for job in others:
            assert_same(job.result(), other_expected)


def test_a_search_during_a_rebuild_sees_the_old_index_or_the_new_one() -> None:
    old, new = rows_of(2000, 24), rows_of(3000, 24, seed=9)
    expected = [adanns.FunnelIndex(8, ladder=(8, 24)).build(rows).search(QUERIES[:5]) for rows in (old, new)]
    index = adanns.FunnelIndex(8, ladder=(8, 24)).build(old)
    seen: list[Any] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            seen.append(index.search(QUERIES[:5]))

    searcher = threading.Thread(target=search)
    searcher.start()
    for rows in (new, old) * 5:
        index.build(rows)
    stop.set()
    searcher.join()
    assert seen
    for result in seen:
        assert any(np.array_equal(result.ids, one.ids) for one in expected)


def test_other_threads_of_python_run_while_a_search_does() -> None:
    index = large("exact", "l2")
    turns, turns_during_searches = 0, []

    def search() -> None:
        before = turns
        for _ in range(5):
            index.search(QUERIES, 10, threads=1)
        turns_during_searches.append(turns - before)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # seconds: no thread gives way but where it lets go of the interpreter itself
    try:
        searcher = threading.Thread(target=search)
        searcher.start()
        while not turns_during_searches:
            turns += 1
            time.sleep(0)
        searcher.join()
    finally:
        sys.setswitchinterval(interval)
    assert turns_during_searches[0] > 0


FORKING = """
import os, signal, sys
import numpy as np
import adanns

rows = np.random.default_rng(0).standard_normal((20_000, 24)).astype(np.float32)
index = adanns.FunnelIndex(12, ladder=(12, 24)).build(rows, threads=3)
expected = index.search(rows[:300], threads=3)
child = os.fork()
signal.alarm(60)  # nobody waits longer than this
result = index.search(rows[:300], threads=3)
same = np.array_equal(result.ids, expected.ids) and np.array_equal(result.distances, expected.distances)
rebuilt = adanns.IVFIndex(12, 12, 9, ladder=(12, 24)).build(rows[:3000], threads=3)
threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 3
os.write(1, f"{'parent' if child else 'child'} {same} {rebuilt.rows} {threads}\\n".encode())  # in one piece
if child:
    os.write(1, f"exit {os.waitpid(child, 0)[1]}\\n".encode())
"""  # both end as an interpreter does, and so does the pool of threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_searches_builds_and_ends_after_its_parent_searched() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert sorted(done.stdout.splitlines()) == ["child True 3000 3", "exit 0", "parent True 3000 3"], done.stderr
    assert done.returncode == 0
