"""An index of table codes built by hand, and what a search of it must give, in plain numpy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

import adanns
from adanns import _core
from adanns.ladder import plan_planes
from adanns.planes import plane_tuples
from adanns.results import SearchResult

Array = Any
LADDER = (8, 24, 40)
DIMS = 24  # of the code, a rung of the ladder
# 11 segments: an odd number of nibbles; 5 of them make the prefix of 8 dims.
ENDS = np.array([1, 2, 4, 6, 8, 10, 12, 15, 18, 21, 24], np.int32)
RUNGS = np.array([[8, 5], [24, 11]], np.int32)
# Each rung with a segment of no dims, for what the others do not tell of its norm: the first of all and the last.
NORM_ENDS = np.array([0, 1, 2, 4, 6, 8, 10, 12, 15, 18, 21, 24, 24], np.int32)
NORM_RUNGS = np.array([[8, 6], [24, 13]], np.int32)
NORM_SEGMENTS = (0, 12)


def rotation(generator: np.random.Generator) -> Array:
    """Orthogonal, and mixes no dims across the prefix of 8."""
    whole = np.zeros((DIMS, DIMS), np.float32)
    for begin, end in ((0, 8), (8, DIMS)):
        whole[begin:end, begin:end] = np.linalg.qr(generator.standard_normal((end - begin, end - begin)))[0]
    return whole


@dataclass
class Case:
    """An index of table codes over the rows of an IVFIndex (or of an ExactIndex), and what its codes decode to."""

    metric: Any
    bits: int = 4
    lists: int = 0
    residual: bool = False
    norm_segments: bool = False
    rotated: bool = True
    rows: int = 300
    planes: bool = True

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.rows)
        vectors = generator.standard_normal((self.rows, LADDER[-1])).astype(np.float32) + np.float32(0.3)
        vectors[5] = 0
        ids = generator.permutation(10 * self.rows)[: self.rows].astype(np.int64)
        options: dict[str, Any] = {"metric": self.metric, "ladder": LADDER, "precision": "float32"}
        index: Any = adanns.ExactIndex(**options)
        if self.lists:
            index = adanns.IVFIndex(8, 24, lists=self.lists, scan_precision=None, **options)
        arrays = index.build(vectors, ids, progress=False)._built.arrays
        self.arrays, self.ids = arrays, arrays["ids"]
        self.bands = plan_planes(LADDER, "float32")
        planes = plane_tuples(self.bands, arrays)
        self.stored = _core.read_prefix(planes, None, 0, self.rows, LADDER[-1], False, 1)
        self.zero_rows = np.flatnonzero(~self.stored.any(axis=1))

        self.segment_ends, self.rungs = (NORM_ENDS, NORM_RUNGS) if self.norm_segments else (ENDS, RUNGS)
        points = _core.read_prefix(planes, None, 0, self.rows, DIMS, self.metric == "cosine", 1)
        offsets = arrays.get("list_offsets", np.array([0, self.rows]))
        self.list_of_row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        self.centroids = np.array([points[a:b].mean(axis=0) for a, b in itertools.pairwise(offsets)], np.float32)
        taken_off = self.centroids[self.list_of_row] * np.float32(self.residual)
        turn = rotation(generator) if self.rotated else np.eye(DIMS, dtype=np.float32)
        left = np.ascontiguousarray((points - taken_off) @ turn.T)
        widths = np.diff(self.segment_ends, prepend=0)
        books = [left[generator.integers(0, self.rows, 1 << self.bits), end - width : end]
                 for end, width in zip(self.segment_ends, widths, strict=True)]  # fmt: skip
        flat = np.concatenate([book.ravel() for book in books])
        self.codes = _core.encode_segments(left, self.segment_ends, self.bits, flat, 1)
        rest = np.concatenate([book[self.codes[:, s]] for s, book in enumerate(books)], axis=1) @ turn
        self.decoded = taken_off + rest
        norms: Any = self.norms(points, books, taken_off, rest) if self.metric != "ip" else None
        self.table_code: Any = (
            DIMS,
            self.bits,
            self.rungs,
            self.segment_ends,
            turn if self.rotated else None,
            flat,
            _core.pack_table_blocks(self.codes, self.bits, offsets.astype(np.int64), 1),
            self.centroids if self.residual else None,
            norms,
        )
        self.turned_books = [
            book @ turn[end - width : end] for end, width, book in zip(self.segment_ends, widths, books, strict=True)
        ]
        self.view = self.make_view()

    def norms(self, points: Array, books: list[Array], taken_off: Array, rest: Array) -> tuple[Array, Any, Array]:
        """Of entries, lists and prefixes; the segments of no dims are coded here, by the level nearest to 2 c . r."""
        of_entries = np.zeros((2, len(books), 1 << self.bits), np.float32)
        for rung, (dims, segments) in enumerate(self.rungs):
            for segment in range(segments):
                of_entries[rung, segment] = (books[segment] ** 2).sum(axis=1)
            if self.norm_segments:
                crossed = 2 * (taken_off * rest)[:, :dims].sum(axis=1)
                levels = np.quantile(crossed, np.linspace(0, 1, 1 << self.bits)).astype(np.float32)
                self.codes[:, NORM_SEGMENTS[rung]] = np.abs(crossed[:, np.newaxis] - levels).argmin(axis=1)
                of_entries[rung, NORM_SEGMENTS[rung]] = levels
        of_lists = np.stack([(self.centroids[:, :dims] ** 2).sum(axis=1) for dims, _ in self.rungs], axis=1)
        lengths = [np.linalg.norm(points[:, :dims], axis=1).mean() for dims, _ in self.rungs]
        of_prefixes = np.array(lengths if self.metric == "cosine" else [1, 1], np.float32)
        return of_entries.reshape(2, -1), of_lists if self.residual else None, of_prefixes

    def make_view(self, **changes: Any) -> Any:
        arrays, lists = self.arrays, None
        if self.lists:
            centroids = (8, *(arrays[f"centroid_{part}"] for part in ("blocks", "scales", "offsets")))
            lists = (arrays["list_offsets"], centroids, arrays["centroid_ladder"], arrays.get("centroid_terms"))
        given = {
            "metric": self.metric,
            "ladder": np.array(LADDER, np.int32),
            "planes": plane_tuples(self.bands, arrays) if self.planes else [],
            "terms": arrays.get("terms") if self.planes else None,
            "ids": self.ids,
            "code": None,
            "lists": lists,
            "table_code": self.table_code,
            "zero_rows": None if self.planes else self.zero_rows,
        }
        return _core.IndexView(**(given | changes))

    def search(
        self, queries: Array, k: int, dims: int, stages: list[tuple[int, int]], threads: int = 1, view: Any = None
    ) -> SearchResult:
        found = (view or self.view).search(queries, k, dims, "tables", self.lists, 8, stages, threads)
        return SearchResult(*found[:3], ())

    def squared_norms(self, dims: int) -> Array:
        """(rows,): |x^|^2 of decoded prefixes, as the entries and lists that rows name have it."""
        rung, segments = next((i, count) for i, (of, count) in enumerate(self.rungs) if of == dims)
        of_entries, of_lists, _ = self.table_code[8]
        of_segments = of_entries[rung].reshape(len(self.segment_ends), -1)[
            np.arange(segments), self.codes[:, :segments]
        ]
        of_row = 0 if of_lists is None else of_lists[self.list_of_row, rung].astype(np.float64)
        return of_segments.sum(axis=1, dtype=np.float64) + of_row

    def twin(self, queries: Array, dims: int = DIMS, zero_rows: Array = None) -> Array:
        """(queries, rows): distances to the decoded rows; those that the view is told are zero count as that."""
        zeros = self.zero_rows if zero_rows is None else zero_rows
        q = queries[:, :dims].astype(np.float64)
        dots = q @ self.decoded[:, :dims].astype(np.float64).T
        if self.metric == "ip":
            return np.where(np.isin(np.arange(self.rows), zeros), 0, -dots)
        squared = np.maximum(0, self.squared_norms(dims))
        squared[zeros] = dots[:, zeros] = 0
        if self.metric == "l2":
            return np.maximum(0, (q**2).sum(axis=1)[:, np.newaxis] - 2 * dots + squared)
        lengths = np.linalg.norm(q, axis=1)[:, np.newaxis] * np.sqrt(squared)
        return 1 - dots / np.where(lengths > 0, lengths, np.inf)

    def scan_keys(self, query: Array, dims: int) -> tuple[Array, float]:
        """(rows,): exact sums of one query's rounded tables, and the step that they are rounded to."""
        rung, segments = next((i, count) for i, (of, count) in enumerate(self.rungs) if of == dims)
        weight, list_part = 0.0, np.zeros(self.lists or 1)
        if self.residual:
            list_part = self.centroids[:, :dims].astype(np.float64) @ query[:dims]
        tables = np.array([book[:, :dims].astype(np.float64) @ query[:dims] for book in self.turned_books[:segments]])
        if self.metric != "ip":
            of_entries, of_lists, lengths = self.table_code[8]
            weight = np.linalg.norm(query[:dims]) / lengths[rung] if self.metric == "cosine" else 1.0
            tables -= weight / 2 * of_entries[rung].reshape(len(self.segment_ends), -1)[:segments]
            list_part = list_part - weight / 2 * (0 if of_lists is None else of_lists[:, rung])
        low = tables.min(axis=1, keepdims=True)
        step = (tables - low).max() / 255
        rounded = low + step * np.floor((tables - low) / step + 0.5)
        sums = rounded[np.arange(segments), self.codes[:, :segments]].sum(axis=1) + list_part[self.list_of_row]
        return -sums, step
