"""Does a search of table codes return what decoding every row and comparing would? test_every_isa.py repeats this."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twins
from table_case import ENDS, LADDER, Case

Array = Any
METRICS = ("l2", "ip", "cosine")


def queries_of(count: int = 9) -> Array:
    return np.random.default_rng(count).standard_normal((count, LADDER[-1])).astype(np.float32)


KINDS: dict[str, Any] = {
    "flat": {},
    "unrotated": {"rotated": False},
    "lists": {"lists": 7},
    "residual": {"lists": 7, "residual": True, "norm_segments": True},
    "residual without norm segments": {"lists": 7, "residual": True},
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
@pytest.mark.parametrize("kind", ["flat", "lists"])
def test_entries_tell_the_norm_of_a_decoded_row_that_is_no_residual(kind: str, metric: str) -> None:
    case = Case(metric, planes=False, **KINDS[kind])
    for dims in (8, 24):
        found = case.search(queries_of(), 20, dims, [(dims, case.rows)], view=case.make_view(zero_rows=None))
        twins.assert_nearest(found, twins.distances(case.decoded, queries_of(), metric, dims), case.ids, 1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [8, 24])
def test_a_scan_keeps_the_least_sums_of_rounded_tables(dims: int, kind: str, bits: int, metric: str) -> None:
    case = Case(metric, bits, planes=False, **KINDS[kind])
    row_of = {int(identity): row for row, identity in enumerate(case.ids)}
    for keep in (10, 60):
        found = case.search(queries_of(), keep, dims, [(dims, keep)])
        for query, ids in zip(queries_of(), found.ids, strict=True):
            keys, step = case.scan_keys(query, dims)
            kept = keys[[row_of[int(identity)] for identity in ids]]
            assert kept.max() <= np.sort(keys)[keep - 1] + 2.1 * step  # a float table may round to the other side


def test_rows_that_the_index_names_as_zero_are_at_distance_one() -> None:
    case = Case("cosine", planes=False)
    others = np.array([7, 40], np.int64)  # that decode to something else
    named = case.make_view(zero_rows=others)
    for dims in (8, 24):
        found = case.search(queries_of(), case.rows, dims, [(dims, case.rows)], view=named)
        twin = case.twin(queries_of(), dims, zero_rows=others)
        assert (twin[:, others] == 1).all()
        twins.assert_nearest(found, twin, case.ids, 1e-4)


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
    case = Case(metric, planes=False, **KINDS["residual"])
    zero = np.zeros((1, LADDER[-1]), np.float32)
    twins.assert_nearest(case.search(zero, 20, 24, [(24, case.rows)]), case.twin(zero), case.ids, 1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_queries_beyond_float_return_no_nan(metric: str) -> None:
    case, alone = (Case(metric, planes=planes, **KINDS["residual"]) for planes in (True, False))
    queries = queries_of(2) * np.float32(1e38)
    for view, stages in ((case.view, [(40, 50)]), (alone.view, [(24, 50)])):
        found = case.search(queries, 10, 24, stages, view=view)
        real = np.arange(10) < found.counts[:, np.newaxis]
        assert not np.isnan(found.distances).any()
        assert (found.ids[~real] == -1).all()


# What each part of a table code may not be: the engine reads memory by them.
BAD_PARTS: dict[str, tuple[int, Any]] = {
    "table codes have 4 or 8 bits": (1, 5),
    "rungs are rows": (2, np.array([24, 11], np.int32)),
    "rungs ascend": (2, np.array([[8, 5], [8, 6], [24, 11]], np.int32)),
    "the last rung": (2, np.array([[8, 5], [24, 12]], np.int32)),
    "segment ends do not descend": (3, np.concatenate([ENDS[:-2], ENDS[-1:], ENDS[-2:-1]])),
    "the last segment ends at 1": (3, np.zeros(11, np.int32)),
    "the first rung of a table code has dims": (3, np.concatenate([np.zeros(5, np.int32), ENDS[5:]])),
    "1 to 256 segments": (3, ENDS[:0]),
    "one row per rotated dimension": (4, np.eye(23, 24, dtype=np.float32)),
    "segments end within the dims": (3, np.concatenate([ENDS[:-1], np.array([25], np.int32)])),
    "codebooks hold": (5, np.zeros(100, np.float32)),
    "wrong shape": (6, np.zeros((19, 5, 16), np.uint8)),
    "one centroid of the code's dims per list": (7, np.zeros((1, 24), np.float32)),
    "norms under l2 and cosine only": (8, None),
    "norms are": (8, (np.zeros((2, 176), np.float32), None)),
    "squared norms are": (8, (np.zeros((1, 176), np.float32), None, np.ones(2, np.float32))),
    "squared norms have the wrong type": (8, (np.zeros((2, 176)), None, np.ones(2, np.float32))),
    "one prefix norm per rung": (8, (np.zeros((2, 176), np.float32), None, np.ones(1, np.float32))),
    "prefix norms are above zero": (8, (np.zeros((2, 176), np.float32), None, np.array([1, 0], np.float32))),
    "where they have centroids": (
        8,
        (np.zeros((2, 176), np.float32), np.zeros((7, 2), np.float32), np.ones(2, np.float32)),
    ),
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


def test_norms_of_lists_that_do_not_fit_are_refused() -> None:
    case = Case("l2", **KINDS["residual"])
    *rest, (of_entries, of_lists, of_prefixes) = case.table_code
    for norms, message in ((of_lists.T.copy(), r"\(lists, rungs\)"), (None, "where they have centroids")):
        with pytest.raises(ValueError, match=message):
            case.make_view(table_code=(*rest, (of_entries, norms, of_prefixes)))
    with pytest.raises(ValueError, match="a table code is"):
        case.make_view(table_code=tuple(rest))
    with pytest.raises(ValueError, match="norms under l2 and cosine only"):
        Case("ip").make_view(table_code=Case("l2").table_code)


def test_zero_rows_and_terms_that_do_not_fit_are_refused() -> None:
    case = Case("cosine")
    for zero_rows in ([3, 3], [4, 3], [-1, 3], [3, 300]):
        with pytest.raises(ValueError, match="zero rows are numbers of rows and ascend"):
            case.make_view(zero_rows=np.array(zero_rows, np.int64))
    with pytest.raises(ValueError, match="wrong type"):
        case.make_view(zero_rows=np.array([3], np.int32))
    with pytest.raises(ValueError, match="l2 and cosine need row terms"):
        case.make_view(terms=None)


def test_a_scan_that_the_index_cannot_do_is_refused() -> None:
    case, alone = Case("l2"), Case("l2", planes=False)
    queries = queries_of()
    for view, scan, dims, stages, message in (
        (case.view, "tables", 40, [], "no rung of the table code"),
        (case.view, "tables", 24, [], "only chooses rows"),
        (case.make_view(table_code=None), "tables", 24, [], "no rung of the table code"),
        (alone.view, "planes", 24, [], "only the table code"),
        (alone.view, "tables", 24, [(40, 20)], "the one stage is at scan_dims"),
        (alone.view, "tables", 24, [(24, 20), (24, 10)], "the one stage is at scan_dims"),
        (case.view, "codes", 24, [], "choose 'planes', 'code' or 'tables'"),
    ):
        with pytest.raises(ValueError, match=message):
            view.search(queries, 5, dims, scan, 0, 0, stages, 1)
