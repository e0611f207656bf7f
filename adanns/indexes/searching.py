"""One search of a snapshot: what to scan, in one native call, and where a filter lets so few rows through that another
way is faster or more lists are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import Stages, checked_queries, checked_stages, checked_threads, remeasured
from adanns.indexes.built import Built
from adanns.indexes.filters import Filter
from adanns.indexes.snapshot import Snapshot, unpacked
from adanns.results import RangeResult, SearchResult

SHORTLIST = 100  # candidates kept of the scan by default
RERANK_GROWTH = 4  # the default cascade's middle stage: four times the scan's dims
LAST_STAGE = 20  # candidates that the default cascade compares at all dims
# Where a filter lets fewer rows through than one in so many, planes are compared instead of codes: codes come in blocks
# of 16 rows, so that up to 16 are read for one.
ROWS_PER_ALLOWED = 4
# Where the probed lists hold so many times as many rows as a filter lets through, all those are compared, in whatever
# list: a row of planes here and there costs two to four times as much as one of a list's codes, and none is missed.
PROBED_PER_ALLOWED = 3
WIDER = 4  # times as many probes, as long as a filter leaves too few results


@dataclass
class Found:
    """Arrays of results, and what was read for them."""

    distances: NDArray[np.float32]
    ids: NDArray[np.int64]
    counts: NDArray[np.int32]
    scanned: int
    rescored: list[int]
    routed: int  # queries that were, again where they had to be
    probed: int  # lists, summed over those

    def replace(self, some: NDArray[np.int64], other: Found) -> None:
        """Results of some queries by those of another search."""
        self.distances[some], self.ids[some], self.counts[some] = other.distances, other.ids, other.counts
        self.scanned += other.scanned
        self.rescored = [a + b for a, b in zip(self.rescored, other.rescored, strict=True)]
        self.routed += other.routed
        self.probed += other.probed


Scan = Literal["planes", "code", "tables"]


def search_snapshot(
    snapshot: Snapshot,
    queries: Any,
    k: int,
    *,
    scan_dims: int,
    rerank: Any,
    threads: int | None,
    probes: int = 0,
    routing_dims: int = 0,
    routing_queries: Any = None,
    filter: Any = None,
) -> SearchResult:
    """Route -> scan -> rerank -> top-k in one native call. `k`, `probes` and dims are checked already.

    probes: lists that are searched for each query; 0: all rows. routing_queries: what they are found by, if not by the
        queries' own prefix of `routing_dims`.
    """
    built, workers = snapshot.first, checked_threads(threads)
    scan: Scan = built.scan_of(scan_dims)
    if snapshot.device is not None:
        allowed = None
        if filter is not None:
            seen = Filter.of(filter).narrowed(snapshot)
            probes = 0 if _lists_are_in_the_way(snapshot, seen.rows, probes) else probes
            allowed = snapshot.device.allowed(seen, lambda: unpacked(seen.segments[0]))  # a device's copy is one
        return snapshot.device.search(
            queries,
            k,
            scan_dims=scan_dims,
            scan=scan,
            stages=_stages(built, rerank, scan, scan_dims, k),
            probes=probes,
            routing_dims=routing_dims,
            routing_queries=routing_queries,
            allowed=allowed,
        )
    rows = checked_queries(queries, built.dims)
    stages = _stages(built, rerank, scan, scan_dims, k)
    if filter is None:
        distances, ids, counts, scanned, rescored = snapshot.engine.search(
            rows, k, scan_dims, scan, probes, routing_dims, stages, workers, routing_queries
        )
        stats = stats_of(built, len(rows), scan_dims, routing_dims, stages, scanned, rescored, len(rows) * probes)
        return SearchResult(distances, ids, counts, stats)

    seen = Filter.of(filter).narrowed(snapshot)
    scan, probes = _strategy(snapshot, seen.rows, scan, probes)

    def call(some: NDArray[np.float32], routed_by: NDArray[np.float32] | None) -> Found:
        found = seen.engine.search(some, k, scan_dims, scan, probes, routing_dims, stages, workers, routed_by)
        return Found(*found, routed=len(some), probed=len(some) * probes)

    got, wanted = call(rows, routing_queries), min(k, seen.rows)
    while 0 < probes < built.lists and (got.counts < wanted).any():
        probes = min(WIDER * probes, built.lists)
        some = np.flatnonzero(got.counts < wanted)
        got.replace(some, call(rows[some], None if routing_queries is None else routing_queries[some]))
    stats = stats_of(built, got.routed, scan_dims, routing_dims, stages, got.scanned, got.rescored, got.probed)
    return SearchResult(got.distances, got.ids, got.counts, stats)


def range_search_snapshot(
    snapshot: Snapshot,
    queries: Any,
    radius: float,
    *,
    dims: int,
    threads: int | None,
    probes: int = 0,
    routing_dims: int = 0,
    routing_queries: NDArray[np.float32] | None = None,
    filter: Any = None,
) -> RangeResult:
    """Every row of the probed lists (of the index where there is no routing) within a radius, measured at `dims`."""
    if snapshot.device is not None:
        raise ValueError("range_search runs on the CPU: index.to('cpu').range_search(...)")
    built, workers = snapshot.first, checked_threads(threads)
    rows = checked_queries(queries, built.dims)
    scan: Scan = "tables" if built.codes_alone else "planes"
    if built.codes_alone:
        built.scan_of(dims)  # raises where codes do not measure at these dims
    seen = snapshot
    if filter is not None:
        seen = Filter.of(filter).narrowed(snapshot)
        scan, probes = _strategy(snapshot, seen.rows, scan, probes)
    offsets, distances, ids, _ = seen.engine.range_search(
        rows, radius, dims, scan, probes, routing_dims, workers, routing_queries
    )
    return RangeResult(offsets, distances, ids)


def _stages(built: Built, rerank: Any, scan: Scan, scan_dims: int, k: int) -> Stages:
    """The stages of a rerank, checked; what a scan of codes chooses is measured again, also without any."""
    stages = checked_stages(rerank, built.ladder, scan_dims, k) if rerank is not None else ()
    if stages and built.codes_alone:
        raise ValueError(f"rerank={rerank}: this index keeps codes alone; build it with a precision to rerank")
    return remeasured(scan_dims, k) if scan != "planes" and not stages else stages


def _strategy(snapshot: Snapshot, allowed: int, scan: Scan, probes: int) -> tuple[Scan, int]:
    """How to search so few rows, and with how many probes: by planes, where codes would be read for nothing;
    everywhere, where lists would.
    """
    built = snapshot.first
    if _lists_are_in_the_way(snapshot, allowed, probes):
        # Codes of residuals are read list by list: without planes, by way of all lists.
        return (scan, built.lists) if built.codes_alone else ("planes", 0)
    if not probes and not built.codes_alone and allowed * ROWS_PER_ALLOWED <= snapshot.rows:
        return "planes", 0
    return scan, probes


def _lists_are_in_the_way(snapshot: Snapshot, allowed: int, probes: int) -> bool:
    """Whether the probed lists hold so many more rows than a filter lets through that those are had for less."""
    return probes > 0 and PROBED_PER_ALLOWED * allowed * snapshot.first.lists <= snapshot.rows * probes


def stats_of(
    built: Built,
    queries: int,
    scan_dims: int,
    routing_dims: int,
    stages: Stages,
    scanned: int,
    rescored: Sequence[int],
    probed: int,
) -> tuple[tuple[str, int, int, int], ...]:
    """What each stage read and kept: (stage, dims, read, kept)."""
    read = [*rescored, 0]  # what the last stage keeps is counted by SearchResult, when asked
    stats = [("scan", scan_dims, scanned, read[0])]
    if probed:
        stats.insert(0, ("route", routing_dims, queries * built.lists, probed))
    stats.extend(("rerank", dims, read[i], read[i + 1]) for i, (dims, _) in enumerate(stages))
    return tuple(stats)


def default_cascade(built: Built, scan_dims: int, k: int) -> Sequence[tuple[int, int]]:
    """100 (or 4 k) candidates at the first rung of four times the scan's dims, then 20 (or 2 k) at all dims."""
    if built.codes_alone:
        return []
    middle = next((rung for rung in built.ladder if rung >= RERANK_GROWTH * scan_dims), built.dims)
    stages = [(middle, max(SHORTLIST, 4 * k))]
    if middle < built.dims:
        stages.append((built.dims, max(LAST_STAGE, 2 * k)))
    return stages
