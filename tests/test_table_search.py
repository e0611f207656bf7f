"""Does a search of table codes return what decoding every row and comparing would? test_every_isa.py repeats this."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import twins

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
METRICS = ("l2", "ip", "cosine")


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
    rotated: bool = True
    rows: int = 300
    planes: bool = True
    segment_ends: Array = field(default_factory=lambda: ENDS)
    rungs: Array = field(default_factory=lambda: RUNGS)

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.rows)
        vectors = generator.standard_normal((self.rows, LADDER[-1])).astype(np.float32) + np.float32(0.3)
        vectors[5] = 0
        ids = generator.permutation(10 * self.rows)[: self.rows].astype(np.int64)
        options: dict[str, Any] = {"metric": self.metric, "ladder": LADDER, "precision": "float32"}
        index: Any = adanns.ExactIndex(**options)
        if self.lists:
            index = adanns.IVFIndex(8, 24, lists=self.lists, scan_precision=None, **options)
        arrays = index.build(vectors, ids, progress=False).arrays
        self.arrays, self.ids = arrays, arrays["ids"]
        self.bands = plan_planes(LADDER, "float32")
        planes = plane_tuples(self.bands, arrays)
        self.stored = _core.read_prefix(planes, None, 0, self.rows, LADDER[-1], False, 1)

        points = _core.read_prefix(planes, None, 0, self.rows, DIMS, self.metric == "cosine", 1)
        offsets = arrays.get("list_offsets", np.array([0, self.rows]))
        list_of_row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        self.centroids = generator.standard_normal((len(offsets) - 1, DIMS)).astype(np.float32)
        taken_off = self.centroids[list_of_row] * np.float32(self.residual)
        turn = rotation(generator) if self.rotated else np.eye(DIMS, dtype=np.float32)
        left = np.ascontiguousarray((points - taken_off) @ turn.T)
        widths = np.diff(self.segment_ends, prepend=0)
        books = [left[generator.integers(0, self.rows, 1 << self.bits), end - width : end]
                 for end, width in zip(self.segment_ends, widths, strict=True)]  # fmt: skip
        flat = np.concatenate([book.ravel() for book in books])
        codes = _core.encode_segments(left, self.segment_ends, self.bits, flat, 1)
        self.decoded = taken_off + np.concatenate([book[codes[:, s]] for s, book in enumerate(books)], axis=1) @ turn
        self.table_code = (
            DIMS,
            self.bits,
            self.rungs,
            self.segment_ends,
            turn if self.rotated else None,
            flat,
            _core.pack_table_blocks(codes, self.bits, offsets.astype(np.int64), 1),
            np.ascontiguousarray(self.centroids @ turn.T) if self.residual else None,
        )
        self.view = self.make_view()

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
        }
        return _core.IndexView(**(given | changes))

    def search(
        self, queries: Array, k: int, dims: int = DIMS, stages: Any = (), threads: int = 1, view: Any = None
    ) -> SearchResult:
        snapshot = _core.Snapshot([(view or self.view, None)])
        found = snapshot.search(queries, k, dims, "tables", self.lists, 8, list(stages), threads)
        return SearchResult(*found[:3], ())

    def twin(self, queries: Array, dims: int = DIMS) -> Array:
        """(queries, rows): distances to the decoded rows."""
        return twins.distances(self.decoded, queries, self.metric, dims)


def queries_of(count: int = 9) -> Array:
    return np.random.default_rng(count).standard_normal((count, LADDER[-1])).astype(np.float32)


KINDS: dict[str, Any] = {
    "flat": {},
    "unrotated": {"rotated": False},
    "lists": {"lists": 7},
    "residual": {"lists": 7, "residual": True},
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [8, 24])
def test_codes_alone_return_distances_to_decoded_rows(dims: int, kind: str, bits: int, metric: str) -> None:
    case = Case(metric, bits, planes=False, **KINDS[kind])
    found = case.search(queries_of(), 20, dims, [(dims, case.rows)])
    twins.assert_nearest(found, case.twin(queries_of(), dims), case.ids, 1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [8, 24])
def test_a_scan_of_rounded_tables_is_off_by_their_rounding_only(dims: int, kind: str, bits: int, metric: str) -> None:
    case = Case(metric, bits, **KINDS[kind])
    queries = queries_of()
    found = case.search(queries, case.rows, dims)
    assert (found.counts == case.rows).all()
    row_of = {int(identity): row for row, identity in enumerate(case.ids)}
    twin = case.twin(queries, dims)
    lengths = np.linalg.norm(case.decoded[:, :dims], axis=1) if metric == "cosine" else np.ones(case.rows)
    for query, (distances, ids) in enumerate(zip(*found, strict=True)):
        rows = [row_of[int(identity)] for identity in ids]
        error = (distances - twin[query, rows]) * lengths[rows]  # the shorter a decoded row, the more rounding tells
        assert np.abs(error).max() < 0.15 * np.abs(twin[query]).max()
        assert np.abs(error).mean() < 0.02 * np.abs(twin[query]).max()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["flat", "residual"])
@pytest.mark.parametrize("stages", [[(24, 300)], [(40, 300)], [(24, 300), (40, 300)]])
def test_rerank_returns_distances_of_the_stored_rows(stages: Any, kind: str, metric: str) -> None:
    case = Case(metric, **KINDS[kind])
    for dims in (8, 24):
        found = case.search(queries_of(), 20, dims, stages)
        twins.assert_nearest(found, twins.distances(case.stored, queries_of(), metric, stages[-1][0]), case.ids, 1e-4)


def test_the_first_stage_ranks_by_stored_rows_and_not_by_codes() -> None:
    case = Case("l2", lists=7)
    queries = queries_of()
    found = case.search(queries, 10, 24, [(24, 300), (40, 10)])  # the ten that the second stage gets are the nearest
    nearest = case.ids[np.argsort(twins.distances(case.stored, queries, "l2", 24), axis=1)[:, :10]]
    assert all(set(got) == set(expected) for got, expected in zip(found.ids, nearest, strict=True))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_results_do_not_depend_on_threads_or_batches(kind: str, bits: int) -> None:
    case = Case("cosine", bits, **KINDS[kind])
    for view in (case.view, case.make_view(planes=[], terms=None)):
        queries, stages = queries_of(70), [(24, 40)]
        whole = case.search(queries, 10, 24, stages, view=view)
        for threads in (2, 5):
            other = case.search(queries, 10, 24, stages, threads, view)
            assert np.array_equal(other.distances, whole.distances)
            assert np.array_equal(other.ids, whole.ids)
        for first in range(12):
            some = case.search(queries[first : first + 3], 10, 24, stages, view=view)
            assert np.array_equal(some.distances, whole.distances[first : first + 3])
            assert np.array_equal(some.ids, whole.ids[first : first + 3])


@pytest.mark.parametrize("bits", [4, 8])
def test_one_query_over_many_rows_is_the_same_on_several_threads(bits: int) -> None:
    case = Case("l2", bits, rows=33_000)  # two pieces of rows
    one, three = (case.search(queries_of(1), 50, 24, [(24, 100)], threads) for threads in (1, 3))
    assert np.array_equal(one.distances, three.distances)
    assert np.array_equal(one.ids, three.ids)


@pytest.mark.parametrize("metric", METRICS)
def test_zero_queries_find_rows(metric: str) -> None:
    case = Case(metric, planes=False, lists=7, residual=True)
    zero = np.zeros((1, LADDER[-1]), np.float32)
    for stages in ([], [(24, case.rows)]):
        found = case.search(zero, 20, 24, stages)
        twins.assert_nearest(found, case.twin(zero), case.ids, 1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_queries_beyond_float_return_no_nan(metric: str) -> None:
    case = Case(metric, lists=7, residual=True)
    queries = queries_of(2) * np.float32(1e38)
    for stages in ([], [(40, 50)]):
        found = case.search(queries, 10, 24, stages)
        real = np.arange(10) < found.counts[:, np.newaxis]
        assert not np.isnan(found.distances).any()
        assert (found.ids[~real] == -1).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_zero_rows_have_distance_1_whatever_they_decode_to(bits: int) -> None:
    case = Case("cosine", bits, planes=False, lists=7, residual=True)
    zero_rows = np.array([0, 17, 18, 299])
    view = case.make_view(zero_rows=zero_rows)
    for dims in (8, 24):
        twin = case.twin(queries_of(), dims)
        twin[:, zero_rows] = 1
        for stages in ([], [(dims, case.rows)]):
            found = case.search(queries_of(), case.rows, dims, stages, view=view)
            at_1 = {tuple(ids[distances == 1]) for distances, ids in zip(*found, strict=True)}
            assert all(set(case.ids[zero_rows]) <= set(ids) for ids in at_1)
        twins.assert_nearest(case.search(queries_of(), 20, dims, [(dims, 300)], view=view), twin, case.ids, 1e-4)


def test_row_terms_are_the_same_whichever_search_makes_them() -> None:
    """They are made where a search first needs them: by one thread, by three, by four searches at once."""
    case = Case("cosine", rows=9000, lists=7, residual=True, planes=False)
    expected = case.search(queries_of(), 10)
    threads = case.search(queries_of(), 10, view=case.make_view(), threads=3)
    one_by_one = [case.search(query[np.newaxis], 10, view=case.make_view()) for query in queries_of()]
    shared = case.make_view()
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda _: case.search(queries_of(), 10, view=shared), range(4)))
    assert np.array_equal(np.concatenate([one.distances for one in one_by_one]), expected.distances)
    for found in (threads, *at_once):
        assert np.array_equal(found.distances, expected.distances)


def test_planes_need_terms_and_codes_alone_need_none() -> None:
    for metric in ("l2", "cosine"):
        with pytest.raises(ValueError, match="planes need row terms under l2 and cosine"):
            Case(metric).make_view(terms=None)
    with pytest.raises(ValueError, match="planes need row terms"):
        Case("l2", planes=False).make_view(terms=np.zeros((3, 400), np.float32))


@pytest.mark.parametrize("zero_rows", [[300], [-1], [4, 4], [5, 3]], ids=str)
def test_zero_rows_that_do_not_fit_are_refused(zero_rows: list[int]) -> None:
    with pytest.raises(ValueError, match="zero rows ascend"):
        Case("cosine").make_view(zero_rows=np.array(zero_rows))


# What each part of a table code may not be: the engine reads memory by them.
BAD_PARTS: dict[str, tuple[int, Any]] = {
    "table codes have 4 or 8 bits": (1, 5),
    "rungs are rows": (2, np.array([24, 11], np.int32)),
    "rungs ascend": (2, np.array([[8, 5], [8, 6], [24, 11]], np.int32)),
    "the last rung": (2, np.array([[8, 5], [24, 12]], np.int32)),
    "segment ends ascend": (3, np.concatenate([ENDS[:-1], ENDS[-2:-1]])),
    "1 to 256 segments": (3, ENDS[:0]),
    "one row per rotated dimension": (4, np.eye(23, 24, dtype=np.float32)),
    "segments end within the dims": (3, np.concatenate([ENDS[:-1], np.array([25], np.int32)])),
    "codebooks hold": (5, np.zeros(100, np.float32)),
    "wrong shape": (6, np.zeros((19, 5, 16), np.uint8)),
    "one rotated centroid per list": (7, np.zeros((1, 24), np.float32)),
}


@pytest.mark.parametrize("message", BAD_PARTS)
def test_a_table_code_that_does_not_fit_is_refused(message: str) -> None:
    case = Case("l2", rotated=message == "one row per rotated dimension")
    position, part = BAD_PARTS[message]
    code = list(case.table_code)
    code[position] = part
    if message == "segments end within the dims":
        code[5] = np.zeros(25 * 16, np.float32)
    with pytest.raises(ValueError, match=message):
        case.make_view(table_code=tuple(code))


def test_a_scan_that_the_index_cannot_do_is_refused() -> None:
    case, alone = Case("l2"), Case("l2", planes=False)
    queries = queries_of()
    for view, scan, dims, stages, message in (
        (case.view, "tables", 40, [], "no rung of the table code"),
        (case.make_view(table_code=None), "tables", 24, [], "no rung of the table code"),
        (alone.view, "planes", 24, [], "only the table code"),
        (alone.view, "tables", 24, [(40, 20)], "the one stage is at scan_dims"),
        (alone.view, "tables", 24, [(24, 20), (24, 10)], "the one stage is at scan_dims"),
        (case.view, "codes", 24, [], "choose 'planes', 'code' or 'tables'"),
    ):
        with pytest.raises(ValueError, match=message):
            _core.Snapshot([(view, None)]).search(queries, 5, dims, scan, 0, 0, stages, 1)
