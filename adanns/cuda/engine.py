"""A search on a device: route -> scan -> rerank -> top-k, queued on a stream without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from adanns.arrays import remeasured
from adanns.cuda.memory import Array, Memory
from adanns.cuda.stored import AllowedRows, Code, DeviceArrays, Terms

MOST_QUERIES = 2048  # of a batch: bounds the workspace, 8 KB to 100 KB a query
FEW_QUERIES = 4  # up to so many are scanned one by one; tensor cores take more
FEW_VISITS = 2  # of a list, on average: fewer queries are compared with its rows one by one
BLOCKS_OF_TABLES = 1024  # that keep a device busy

Scan = Literal["planes", "code", "tables"]


class Request(NamedTuple):
    """What a search is asked beside its queries; stages: (dims, keep)."""

    k: int
    scan_dims: int
    scan: Scan
    probes: int
    routing_dims: int
    stages: tuple[tuple[int, int], ...]


class Stage(NamedTuple):
    """One stage of a rerank. exact: what the scan measured is measured anew."""

    dims: int
    keep: int
    exact: bool


class Answers(NamedTuple):
    """Of one batch, see SearchResult. rescored: (queries, stages)."""

    ids: Array
    distances: Array
    counts: Array
    rescored: Array


@dataclass(frozen=True)
class Results:
    """What one batch ends with. packed: all answers in one array of bytes, so that one copy brings them to the host.

    probes: lists, int32 (queries, probes), -1 for none.
    """

    packed: Array
    queries: int
    k: int
    plan: tuple[Stage, ...]
    probes: Array | None

    @staticmethod
    def size(queries: int, k: int, stages: int) -> int:
        """Bytes of `packed`."""
        return queries * (12 * k + 4 + 4 * max(1, stages))

    def answers(self, packed: Array | None = None) -> Answers:
        """Views of `packed`, or of a copy of it."""
        source = self.packed if packed is None else packed
        places, first = [], 0
        for columns, dtype in ((self.k, np.int64), (self.k, np.float32), (1, np.int32), (None, np.int32)):
            width = max(1, len(self.plan)) if columns is None else columns
            last = first + self.queries * width * np.dtype(dtype).itemsize
            places.append(source[first:last].view(dtype).reshape(self.queries, width))
            first = last
        ids, distances, counts, rescored = places
        return Answers(ids, distances, counts[:, 0], rescored)


class Engine:
    """Searches of one stored index. Holds no state of a search, so that threads may share it, each on its stream."""

    def __init__(self, stored: DeviceArrays, memory: Memory | None = None) -> None:
        """memory: where a search's own arrays come from, where that is not the index's."""
        self.stored = stored
        self._memory, self._module = memory or stored.memory, stored.module
        self._multiprocessors: int = stored.module.multiprocessors()

    def search(
        self,
        queries: Array,
        request: Request,
        routing_queries: Array | None = None,
        allowed: AllowedRows | None = None,
    ) -> list[Results]:
        """One Results per batch of up to MOST_QUERIES. queries: float32 (queries, dims) on the device, contiguous.

        allowed: the rows that may be found; None: all.
        """
        routing = queries if routing_queries is None else routing_queries
        return [
            self.batch(queries[first:last], request, routing[first:last], allowed)
            for first in range(0, len(queries), MOST_QUERIES)
            for last in (min(first + MOST_QUERIES, len(queries)),)
        ]

    def batch(self, queries: Array, request: Request, routing: Array, allowed: AllowedRows | None = None) -> Results:
        """One batch."""
        k, scan_dims, scan, probes, routing_dims, stages = request
        stored, lists = self.stored, self.stored.lists
        probed = None
        if lists is not None and 0 < probes < lists.count:
            probed = self._route(routing, probes, routing_dims)
        on_tiles = scan != "tables" and self._fits_tiles(scan, scan_dims, len(queries), probed)
        if not stages and (scan == "code" or on_tiles):
            again = remeasured(scan_dims, k)
            if scan == "planes" and again[0][1] > self._module.MAX_KEEP:
                on_tiles = False  # floats choose as exactly as they measure
            else:
                stages = again
        if not stored.has_planes:
            stages = ()  # tables are floats here: what they say is final
        plan = planned(stages, scan_dims, exact=scan == "planes" and not on_tiles, at_once=scan != "code")
        keep = plan[0].keep if plan else k
        self._check_keep(keep)
        if scan == "tables":
            shortlists = self._scan_tables(queries, scan_dims, keep, probed, allowed)
        elif probed is not None:
            shortlists = self._scan_lists(queries, scan, scan_dims, keep, probed, allowed, tiles=on_tiles)
        else:
            planes, terms = self._scanned(scan, scan_dims, allowed)
            shortlists = self._scan_all(planes, terms, queries, stored.rows, scan_dims, keep, tiles=on_tiles)
        return self._rerank(queries, scan, scan_dims, tuple(plan), shortlists, keep, k, probed)

    def _check_keep(self, keep: int) -> None:
        most = self._module.MAX_KEEP
        if keep > most:
            raise ValueError(
                f"a shortlist of {keep} candidates; a GPU keeps up to {most}: ask for fewer, or search on the CPU"
            )

    def _fits_tiles(self, scan: Scan, dims: int, queries: int, probed: Array | None) -> bool:
        lists = self.stored.lists
        if probed is not None and lists is not None and probed.size < FEW_VISITS * lists.count:
            return False
        planes, _ = self._scanned(scan, dims)
        return queries > FEW_QUERIES and bool(self._module.fits_tensor_cores(planes, dims))

    def _scanned(self, scan: Scan, dims: int, allowed: AllowedRows | None = None) -> tuple[Any, Array | None]:
        """(planes, terms) that all rows are compared by."""
        if scan == "code":
            code = self._code()
            planes, terms = code.planes, code.key_terms[dims]
        else:
            planes, terms = self.stored.planes, self.stored.terms.at(dims)
        return planes, _masked(terms, allowed, scan, dims)

    def _code(self) -> Code:
        code = self.stored.code
        if code is None:
            raise ValueError("this index keeps no int8 code")
        return code

    def _route(self, queries: Array, probes: int, dims: int) -> Array:
        """int32 (queries, probes): the nearest lists."""
        lists = self.stored.lists
        assert lists is not None
        most = self._module.MAX_KEEP
        if probes > most:
            raise ValueError(f"probes={probes}; a GPU routes to up to {most} lists, or to all {lists.count}")
        code = lists.centroids
        tiles = len(queries) > FEW_QUERIES
        nearest = self._scan_all(code.planes, code.key_terms[dims], queries, lists.count, dims, probes, tiles=tiles)
        probed = self._memory.empty((len(queries), probes), np.int32)
        self._module.name_lists(self._at(nearest), probed.size, self._at(probed), self._memory.stream())
        return probed

    def _scan_all(
        self, planes: Any, terms: Array | None, queries: Array, rows: int, dims: int, keep: int, *, tiles: bool
    ) -> Array:
        module, memory = self._module, self._memory
        out = memory.empty((len(queries), keep), np.uint64)
        found, workspace = self._found(len(queries), keep, module.sample_groups(rows, keep))
        shared = (planes, self.stored.metric, self._at(terms), self._tuple(queries), rows, dims, keep)
        if tiles:
            halves = memory.empty((module.halves_for(planes, dims, len(queries)),), np.uint8)
            module.scan_tiles(*shared, self._multiprocessors, self._at(halves), found, self._at(out), memory.stream())
        else:
            module.scan_all(*shared, self._multiprocessors, found, self._at(out), memory.stream())
        del workspace  # the stream's work on it comes before whatever takes this memory next
        return out

    def _scan_lists(
        self,
        queries: Array,
        scan: Scan,
        dims: int,
        keep: int,
        probed: Array,
        allowed: AllowedRows | None,
        *,
        tiles: bool,
    ) -> Array:
        lists, memory, module = self.stored.lists, self._memory, self._module
        assert lists is not None
        planes, terms = self._scanned(scan, dims, allowed)
        out = memory.empty((len(queries), keep), np.uint64)
        probes = probed.shape[1]
        numbers = memory.empty((module.list_numbers(lists.count, len(queries), probes),), np.int32)
        found, workspace = self._found(len(queries), keep, module.list_tile_groups(keep) if tiles else 0)
        of_lists = (self._at(lists.offsets), lists.count, self._at(probed), probes)
        shared = (planes, self.stored.metric, self._at(terms), self._tuple(queries), *of_lists)
        if tiles:
            halves = memory.empty((module.halves_for(planes, dims, len(queries)),), np.uint8)
            module.scan_list_tiles(
                *shared,
                self.stored.rows,
                dims,
                keep,
                self._at(numbers),
                self._at(halves),
                found,
                self._at(out),
                memory.stream(),
            )
        else:
            module.scan_lists(*shared, dims, keep, self._at(numbers), found, self._at(out), memory.stream())
        del workspace
        return out

    def _scan_tables(
        self, queries: Array, dims: int, keep: int, probed: Array | None, allowed: AllowedRows | None
    ) -> Array:
        stored, memory, module = self.stored, self._memory, self._module
        tables = stored.tables
        if tables is None:
            raise ValueError("this index keeps no learnt code")
        segments, most = tables.segments[dims], module.most_segments(tables.bits, keep)
        if segments > most:
            raise ValueError(
                f"{segments} segments of {tables.bits} bits; beside a shortlist of {keep} a GPU scans up to {most}"
            )
        terms = _masked(tables.terms.at(dims), allowed, "tables", dims)
        probe_stride = 0 if probed is None else probed.shape[1]
        probes = tables.all_lists if probed is None else probed
        rotated_dims = tables.rotation.shape[0]
        rotated = memory.empty((len(queries), rotated_dims), np.float32)
        module.rotate(
            self._tuple(queries),
            tables.dims,
            self._at(tables.rotation),
            rotated_dims,
            self._at(rotated),
            memory.stream(),
        )
        out = memory.empty((len(queries), keep), np.uint64)
        found, workspace = self._found(len(queries), keep, module.table_groups(keep))
        splits = max(1, min(BLOCKS_OF_TABLES // len(queries), stored.rows // 1024))
        module.scan_tables(
            tables.code,
            stored.metric,
            self._at(terms),
            self._tuple(rotated),
            self._at(tables.offsets),
            len(tables.offsets) - 1,
            self._at(probes),
            probes.shape[-1],
            probe_stride,
            segments,
            keep,
            splits,
            found,
            self._at(out),
            memory.stream(),
        )
        del workspace
        return out

    def _rerank(
        self,
        queries: Array,
        scan: Scan,
        scan_dims: int,
        plan: tuple[Stage, ...],
        shortlists: Array,
        keep: int,
        k: int,
        probed: Array | None,
    ) -> Results:
        stored, memory = self.stored, self._memory
        packed = memory.empty((Results.size(len(queries), k, len(plan)),), np.uint8)
        results = Results(packed, len(queries), k, plan, probed)
        ids, distances, counts, rescored = results.answers()
        terms: Terms = stored.terms
        if scan == "tables" and not stored.has_planes and stored.tables is not None:
            terms = stored.tables.terms
        self._module.rerank(
            stored.planes,
            stored.metric,
            scan_dims,
            self._at(terms.at(scan_dims)),
            [(stage.dims, stage.keep, stage.exact, self._at(stored.terms.at(stage.dims))) for stage in plan],
            self._tuple(queries),
            self._at(shortlists),
            keep,
            self._at(stored.ids),
            k,
            self._at(distances),
            self._at(ids),
            self._at(counts),
            self._at(rescored),
            memory.stream(),
        )
        return results

    def _found(self, queries: int, keep: int, groups: int) -> tuple[Any, tuple[Array, ...]]:
        """What a scan finds, and the arrays that must live until it is queued."""
        capacity = self._module.capacity_for(keep)
        arrays = (
            self._memory.empty((queries, capacity), np.uint64),
            self._memory.empty((queries,), np.int32),
            self._memory.empty((queries,), np.float32),
            self._memory.empty((queries, max(1, groups)), np.uint32),
        )
        return self._module.Found(*map(self._at, arrays), capacity, groups), arrays

    def _at(self, array: Array | None) -> int:
        return 0 if array is None else self._memory.address(array)

    def _tuple(self, queries: Array) -> tuple[int, int, int]:
        return self._at(queries), queries.shape[1], len(queries)


def _masked(terms: Array | None, allowed: AllowedRows | None, scan: Scan, dims: int) -> Array | None:
    """The terms that a scan compares rows by, where only some rows are allowed."""
    return terms if allowed is None else allowed.of(terms, scan, dims)


def planned(stages: Sequence[tuple[int, int]], scan_dims: int, *, exact: bool, at_once: bool) -> list[Stage]:
    """Where what a rounded scan measured is measured anew: in the first stage, or, of an int8 code (not at_once), in
    the last one or at the scan's own dims, since it is good enough to choose by until then.
    """
    plan = []
    for number, (dims, keep) in enumerate(stages):
        due = at_once or dims == scan_dims or number == len(stages) - 1
        plan.append(Stage(dims, keep, due and not exact))
        exact = exact or due
    return plan
