"""Rows in lists: clustered on a few dims, routed to by the nearest centroids (AdANNS, section 4.1)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import CHUNK_ROWS, Arrays, checked_count, checked_queries, checked_radius, checked_vectors
from adanns.indexes.base import Index
from adanns.indexes.built import Built
from adanns.indexes.searching import default_cascade, range_search_snapshot, search_snapshot
from adanns.indexes.snapshot import Snapshot
from adanns.ladder import Metric, checked_rung
from adanns.parameters import ListParameters
from adanns.planes import PADDED, PlaneBuilder, PlaneTuple, encoded_blocks, padded
from adanns.progress import Progress, ProgressCallback
from adanns.results import RangeResult, SearchResult
from adanns.training.kmeans import SEEDING_POINTS, Clusters, as_points, fill_empty_clusters, lloyd, sample_rows
from adanns.training.order import locality_order
from adanns.workspace import Workspace

LISTS_PER_ROOT = 4  # lists = 4 sqrt(rows): routing and scanning a list then cost about the same
P = TypeVar("P", bound=ListParameters)
I = TypeVar("I", bound="ListsIndex[Any]")  # noqa: E741


class ListsIndex(Index[P]):
    """Base of the indices that compare only the rows of the lists nearest to the query."""

    @property
    def lists(self) -> int:
        """How many lists the index has."""
        return self._need_built().lists

    def build(
        self: I,
        vectors: Any,
        ids: Any = None,
        *,
        clusters: Clusters | None = None,
        threads: int | None = None,
        progress: bool | ProgressCallback | None = None,
        memory_budget: int | None = None,
        scratch: str | Path | None = None,
    ) -> I:
        """Index `vectors` (see Index.build).

        clusters: a clustering made elsewhere, e.g. on another representation (MG-IVF: AdANNS, section 4.1). Where its
            centroids are not of a prefix on the ladder, searches need `routing_queries` of the centroids' dims.
        """
        if clusters is not None and not isinstance(clusters, Clusters):
            raise TypeError(f"clusters is a {type(clusters).__name__}; expected adanns.Clusters")
        organise = partial(self._organise, foreign=clusters)
        return self._build(vectors, ids, threads, progress, organise, Workspace(memory_budget, scratch))

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        probes: int = 8,
        cluster_dims: int | None = None,
        scan_dims: int | None = None,
        rerank: Sequence[tuple[int, int]] | None = None,
        routing_queries: Any = None,
        filter: Any = None,
        threads: int | None = None,
    ) -> SearchResult:
        """The k nearest rows in the `probes` nearest lists.

        cluster_dims: prefix of the centroids that routes, up to the one built with.
        scan_dims: prefix at which the rows of those lists are compared: by their codes where codes of that prefix are
            kept, else by the planes.
        rerank: stages (dims, keep): the best `keep` of the stage before are rescored at `dims`. Default: 100 (or 4 k)
            at four times the scan's dims, then 20 (or 2 k) at all. An empty list measures a few times k at
            the scan's own dims. An index of codes alone measures on them and has no other stages.
        routing_queries: the queries as the centroids' own representation has them, for foreign clusters.
        filter: ids that may be returned (see adanns.Filter). min(k, allowed) results come back: where probed lists hold
            fewer, more lists are probed, and where few ids are allowed, all of their rows are compared.
        """
        snapshot = self._need_snapshot()
        k, built = checked_count(k, "k"), snapshot.first
        scan = self._rung(built, scan_dims, self._scan_dims(built), "scan_dims")
        routing, routing_dims = self._routing(snapshot, queries, routing_queries, cluster_dims)
        return search_snapshot(
            snapshot,
            queries,
            k,
            scan_dims=scan,
            rerank=default_cascade(built, scan, k) if rerank is None else rerank,
            threads=threads,
            probes=min(checked_count(probes, "probes"), built.lists),
            routing_dims=routing_dims,
            routing_queries=routing,
            filter=filter,
        )

    def _working_bytes(self, rows: int, ladder: tuple[int, ...]) -> int:
        """The sample that is clustered, the rows drawn from it to start with, and a chunk of rows to assign."""
        parameters = self._parameters
        lists = parameters.lists or default_lists(rows)
        sample = min(rows, lists * parameters.points_per_list)
        seeding = min(sample, lists * SEEDING_POINTS)
        return 4 * parameters.cluster_dims * (sample + seeding + 4 * lists + 2 * min(rows, CHUNK_ROWS))

    def range_search(
        self,
        queries: Any,
        radius: float,
        *,
        dims: int | None = None,
        probes: int = 8,
        cluster_dims: int | None = None,
        routing_queries: Any = None,
        filter: Any = None,
        threads: int | None = None,
    ) -> RangeResult:
        """Every row of the `probes` nearest lists within a distance of `radius` (see Index.range_search).

        probes, cluster_dims, routing_queries: as in `search`; as many probes as lists leave nothing out.
        """
        snapshot = self._need_snapshot()
        built = snapshot.first
        routing, routing_dims = self._routing(snapshot, queries, routing_queries, cluster_dims)
        return range_search_snapshot(
            snapshot,
            queries,
            checked_radius(radius),
            dims=self._rung(built, dims, built.measured_dims, "dims"),
            threads=threads,
            probes=min(checked_count(probes, "probes"), built.lists),
            routing_dims=routing_dims,
            routing_queries=routing,
            filter=filter,
        )

    def add(
        self: I,
        vectors: Any,
        ids: Any = None,
        *,
        routing_vectors: Any = None,
        threads: int | None = None,
        progress: bool | ProgressCallback | None = None,
    ) -> I:
        """Add vectors to the lists that are there (see Index.add).

        routing_vectors: the vectors as the centroids' own representation has them, for foreign clusters.
        """
        return self._add(vectors, ids, threads, progress, replace=False, routing_vectors=routing_vectors)

    def upsert(
        self: I,
        vectors: Any,
        ids: Any,
        *,
        routing_vectors: Any = None,
        threads: int | None = None,
        progress: bool | ProgressCallback | None = None,
    ) -> I:
        """Add vectors in place of those with the same ids (see Index.upsert and `add`)."""
        return self._add(vectors, ids, threads, progress, replace=True, routing_vectors=routing_vectors)

    def _check_rows(self, rows: int, ladder: Sequence[int]) -> None:
        """Raise where so few rows cannot be indexed."""

    @abstractmethod
    def _scan_dims(self, built: Built) -> int:
        """Prefix that a search scans unless it is told another."""

    @abstractmethod
    def _add_codes(
        self, builder: PlaneBuilder, list_offsets: NDArray[np.int64], progress: Progress, threads: int
    ) -> None:
        """Add what a scan reads beside the planes; rows are in the order of their lists."""

    def _routing(
        self, snapshot: Snapshot, queries: Any, routing_queries: Any, cluster_dims: int | None
    ) -> tuple[Any, int]:
        """(what to route by, its dims): None for the queries themselves."""
        built = snapshot.first
        if routing_queries is not None:
            check = checked_queries if snapshot.device is None else snapshot.device.accepted
            routing: Any = check(routing_queries, built.centroid_dims, "routing_queries")
            asked = 1 if np.ndim(queries) == 1 else len(queries)
            if len(routing) != asked:
                raise ValueError(f"routing_queries have {len(routing)} rows but there are {asked} queries")
            if cluster_dims is not None:
                raise ValueError("cluster_dims and routing_queries exclude each other")
            return routing, built.centroid_dims
        if built.centroid_dims not in built.ladder:
            raise ValueError(
                f"this index routes by centroids of {built.centroid_dims} dims, not a prefix on its ladder "
                f"{built.ladder}; pass routing_queries="
            )
        if cluster_dims is None:
            return None, built.centroid_dims
        dims = checked_rung(cluster_dims, built.ladder, "cluster_dims")
        if dims > built.centroid_dims:
            raise ValueError(f"cluster_dims={dims}, but the lists were clustered on {built.centroid_dims} dims")
        return None, dims

    def _routing_points(
        self, first: Built, rows: int, routing_vectors: Any, threads: int
    ) -> NDArray[np.float32] | None:
        if routing_vectors is None:
            if first.centroid_dims not in first.ladder:
                raise ValueError(
                    f"this index clusters by {first.centroid_dims} dims, not a prefix on its ladder {first.ladder}; "
                    f"pass routing_vectors="
                )
            return None
        points = np.array(checked_vectors(routing_vectors, "routing_vectors", first.centroid_dims), np.float32)
        if len(points) != rows:
            raise ValueError(f"routing_vectors have {len(points)} rows but there are {rows} vectors")
        bad = _core.first_not_finite(points, threads)
        if bad >= 0:
            raise ValueError(f"routing_vectors: row {bad} holds NaN or infinity")
        return as_points(points, self._parameters.metric == "cosine")

    def _organise(
        self, builder: PlaneBuilder, progress: Progress, threads: int, foreign: Clusters | None = None
    ) -> None:
        self._check_rows(builder.rows, builder.ladder)
        if foreign is None:
            clusters = self._clustered(builder, progress, threads)
        else:
            clusters = _checked_clusters(foreign, builder.rows, threads)
        order = locality_order(clusters.centroids)
        lists = np.empty(len(order), np.int32)
        lists[order] = np.arange(len(order), dtype=np.int32)
        list_of_row = lists[clusters.assignments]
        counts = np.bincount(list_of_row, minlength=len(order))
        builder.permute(np.argsort(list_of_row, kind="stable").astype(np.int64))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        builder.arrays["list_offsets"] = offsets
        self._add_centroids(builder, clusters.centroids[order], threads)
        self._add_codes(builder, offsets, progress, threads)

    def _clustered(self, builder: PlaneBuilder, progress: Progress, threads: int) -> Clusters:
        """k-means on a sample of the stored prefix, then every row to its nearest centroid."""
        parameters, rows = self._parameters, builder.rows
        dims = checked_rung(parameters.cluster_dims, builder.ladder, "cluster_dims")
        lists = parameters.lists or default_lists(rows)
        if lists > rows:
            raise ValueError(f"lists={lists} is more than the {rows} rows")
        sample = builder.prefix(dims, sample_rows(rows, lists * parameters.points_per_list, parameters.seed))
        spherical = parameters.metric == "cosine"
        centroids, objective = lloyd(
            sample, lists, parameters.iterations, parameters.seed, spherical, threads, progress
        )
        del sample
        assignments = np.empty(rows, np.int32)
        distances = np.empty(rows, np.float32)
        for start in range(0, rows, CHUNK_ROWS):
            end = min(start + CHUNK_ROWS, rows)
            points = builder.prefix(dims, first_row=start, count=end - start)
            assignments[start:end], distances[start:end] = _core.assign(points, centroids, False, True, threads)
            progress.step("assigning rows", end, rows)
        centroids = fill_empty_clusters(
            centroids, assignments, distances, lambda row: builder.prefix(dims, first_row=row, count=1)[0]
        )
        return Clusters(centroids, assignments, objective)

    def _add_centroids(self, builder: PlaneBuilder, centroids: NDArray[np.float32], threads: int) -> None:
        builder.arrays |= centroid_arrays(centroids, builder.ladder, self._parameters.metric, threads)


def centroid_arrays(centroids: NDArray[np.float32], ladder: Sequence[int], metric: Metric, threads: int) -> Arrays:
    """What routes to lists: the centroids as one list of int8 codes, and their norms at every rung that can route."""
    count, dims = centroids.shape
    plane = np.zeros((count, padded(dims)), np.float32)
    plane[:, :dims] = centroids
    planes: list[PlaneTuple] = [(0, dims, plane, None, None)]
    code = encoded_blocks(planes, dims, metric == "cosine", np.array([0, count], np.int64), threads)
    arrays: Arrays = {f"centroid_{part}": array for part, array in code.items()}
    rungs = [rung for rung in ladder if rung < dims] if dims in ladder else []
    arrays["centroid_ladder"] = np.array([*rungs, dims], np.int32)
    if metric != "ip":
        terms = np.zeros((len(rungs) + 1, padded(count) + PADDED), np.float32)
        _core.row_terms(planes, count, metric, arrays["centroid_ladder"], terms, threads)
        arrays["centroid_terms"] = terms
    return arrays


def default_lists(rows: int) -> int:
    """About 4 sqrt(rows), a multiple of 16 (one block of centroids), with at least 16 rows a list."""
    lists = min(LISTS_PER_ROOT * math.sqrt(rows), rows / PADDED)
    return max(1, round(lists / PADDED) * PADDED) if lists >= PADDED else max(1, int(lists))


def _checked_clusters(clusters: Clusters, rows: int, threads: int) -> Clusters:
    centroids = np.ascontiguousarray(checked_vectors(clusters.centroids, "centroids"), np.float32)
    if _core.first_not_finite(centroids, threads) >= 0:
        raise ValueError("centroids hold NaN or infinity")
    assignments = np.asarray(clusters.assignments)
    if not np.issubdtype(assignments.dtype, np.integer):
        raise TypeError(f"assignments have dtype {assignments.dtype}; expected integers")
    if assignments.shape != (rows,):
        raise ValueError(f"assignments have shape {assignments.shape}; expected ({rows},), one cluster per row")
    if assignments.min() < 0 or assignments.max() >= len(centroids):
        raise ValueError(
            f"assignments run from {assignments.min()} to {assignments.max()}; there are {len(centroids)} centroids"
        )
    return Clusters(centroids, assignments.astype(np.int32), clusters.objective)
