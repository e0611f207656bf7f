"""An index on a device: checks what is asked as the CPU's search does, and answers in the library that asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import Stages, checked_queries
from adanns.cuda.engine import Engine, Request, Results, Scan
from adanns.cuda.graphs import Graphs
from adanns.cuda.memory import Array, torch_of
from adanns.cuda.stored import AllowedRows, DeviceArrays
from adanns.results import Numbers, SearchResult


@dataclass(frozen=True)
class Guests:
    """Queries on the device, and how to hand results back to whoever brought them: (distances, ids, counts)."""

    rows: Array
    give_back: Callable[[list[Results]], tuple[Any, Any, Any]]

    def __len__(self) -> int:
        return len(self.rows)


class DeviceCopy:
    """The arrays of an index on a device, and its searches there."""

    def __init__(self, stored: DeviceArrays) -> None:
        self._memory = stored.memory
        self._engine = Engine(stored)
        self._graphs = Graphs(self._engine, stored.memory)
        self._allowed: WeakKeyDictionary[Any, AllowedRows] = WeakKeyDictionary()

    def allowed(self, owner: Any, rows: Callable[[], NDArray[np.bool_]]) -> AllowedRows:
        """Which rows a filter lets through, put on the device once for as long as `owner` lives."""
        known = self._allowed.get(owner)
        if known is None:
            known = self._allowed[owner] = AllowedRows(rows(), self._memory)
        return known

    def accepted(self, queries: Any, dims: int, name: str = "queries") -> Guests:
        """Queries of cupy or torch where they are, others copied to the device.

        Those on the device are not waited for: NaN among them is no error, such a query finds nothing.
        """
        if not self._memory.holds(queries):
            rows = checked_queries(queries, dims, name)
            bad = _core.first_not_finite(rows, 1)
            if bad >= 0:
                raise ValueError(f"{name}: row {bad} holds NaN or infinity")
            return Guests(self._memory.put(rows), self._on_host)
        array = self._memory.adopt(queries)
        if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4, 8):
            raise TypeError(f"{name} have dtype {array.dtype}; expected float32 or float16")
        if array.ndim == 1:
            array = array[np.newaxis, :]
        if array.ndim != 2 or array.shape[1] != dims:
            raise ValueError(f"{name} have shape {array.shape}; expected (rows, {dims})")
        if not len(array):
            raise ValueError(f"{name} are empty: shape {array.shape}")
        own = library_of(queries)
        return Guests(self._memory.contiguous(array), lambda batches: self._on_device(batches, own))

    def search(
        self,
        queries: Any,
        k: int,
        *,
        scan_dims: int,
        scan: Scan,
        stages: Stages,
        probes: int,
        routing_dims: int,
        routing_queries: Guests | None,
        allowed: AllowedRows | None = None,
    ) -> SearchResult:
        """As the CPU's search of a snapshot; all but the queries are checked already.

        allowed: the rows that may be found. With lists, it then waits to see whether enough were.
        """
        stored = self._engine.stored
        with self._memory.stream_of(queries):
            guests = self.accepted(queries, stored.dims)
            routing = None if routing_queries is None else routing_queries.rows
            request = Request(k, scan_dims, scan, probes, routing_dims, stages)
            replayed = self._graphs.search(guests.rows, request) if routing is None and allowed is None else None
            batches = [replayed] if replayed else self._engine.search(guests.rows, request, routing, allowed)
            if allowed is not None and probes:
                self._search_everywhere(guests.rows, request, batches, allowed)
            distances, ids, counts = guests.give_back(batches)
        count = len(guests.rows)
        return SearchResult(
            distances, ids, counts, lambda: self._stats(count, scan_dims, probes, routing_dims, batches)
        )

    def _search_everywhere(self, rows: Array, request: Request, batches: list[Results], allowed: AllowedRows) -> None:
        """Where the probed lists hold fewer allowed rows than are wanted, all lists are searched."""
        wanted, first = min(request.k, allowed.count), 0
        for batch in batches:
            answers = batch.answers()
            short = np.flatnonzero(self._memory.read(answers.counts) < wanted)
            if len(short):
                some = self._memory.put(short)
                queries = self._memory.contiguous(rows[first : first + batch.queries][some])
                found = self._engine.batch(queries, request._replace(probes=0), queries, allowed)
                for to, values in zip(answers, found.answers(), strict=True):
                    to[some] = values
            first += batch.queries

    def _on_host(self, batches: list[Results]) -> tuple[Any, Any, Any]:
        """(distances, ids, counts) of numpy: one copy a batch."""
        parts = [batch.answers(self._memory.read(batch.packed)) for batch in batches]
        if len(parts) == 1:
            return parts[0].distances, parts[0].ids, parts[0].counts
        return (
            np.concatenate([part.distances for part in parts]),
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )

    def _on_device(self, batches: list[Results], own: Callable[[Array], Any]) -> tuple[Any, Any, Any]:
        """The same as arrays of the library that asked."""
        parts = [batch.answers() for batch in batches]
        join = self._memory.join
        return (
            own(join([part.distances for part in parts])),
            own(join([part.ids for part in parts])),
            own(join([part.counts for part in parts])),
        )

    def _stats(self, queries: int, scan_dims: int, probes: int, routing_dims: int, batches: list[Results]) -> Numbers:
        """(stage, dims, read, kept) of each stage, read from the device when asked."""
        stored, read = self._engine.stored, self._memory.read
        scanned, stats = queries * stored.rows, []
        if stored.lists is not None and probes:
            stats.append(("route", routing_dims, queries * stored.lists.count, queries * probes))
            if batches[0].probes is not None:
                sizes = np.append(read(stored.lists.sizes), 0)  # of list -1, too
                scanned = sum(int(sizes[read(batch.probes)].sum()) for batch in batches)
        rescored = [int(number) for number in sum(read(batch.answers().rescored).sum(axis=0) for batch in batches)]
        plan = batches[0].plan
        rescored = [*rescored[: len(plan)], 0]
        stats.append(("scan", scan_dims, scanned, rescored[0]))
        stats.extend(("rerank", stage.dims, rescored[i], rescored[i + 1]) for i, stage in enumerate(plan))
        return tuple(stats)


def library_of(queries: Any) -> Callable[[Array], Any]:
    """What makes arrays of the library that `queries` are of, without a copy: torch tensors, or cupy's own."""
    torch = torch_of(queries)
    as_own: Callable[[Array], Any] = (lambda array: array) if torch is None else torch.from_dlpack
    return as_own
