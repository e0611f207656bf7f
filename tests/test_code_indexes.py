"""Do indices of learnt codes give what exact search of the decoded rows gives, at every prefix that they code?"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twins
from recipes import LADDER, METRICS, ROWS, assert_same, ids_of, rows_of

import adanns
from adanns.storage.segment import read_segment

TOLERANCE = 2e-5
QUERIES = rows_of(17, seed=1)
LISTS = {"cluster_dims": 16, "lists": 7, "iterations": 3}
CODES = {
    "opq-8": lambda **options: adanns.OPQIndex(33, 3, rotations=2, **options),
    "opq-4": lambda **options: adanns.OPQIndex(16, 4, bits=4, rotations=2, **options),
    "ivfopq-8": lambda **options: adanns.IVFOPQIndex(scan_dims=65, code_bytes=13, rotations=1, **LISTS, **options),
    "ivfopq-4": lambda **options: adanns.IVFOPQIndex(scan_dims=16, code_bytes=8, bits=4, **LISTS, **options),
    "ivfopq-whole-rows": lambda **options: adanns.IVFOPQIndex(
        scan_dims=16, code_bytes=4, bits=4, residual=False, **LISTS, **options
    ),
    "compact": lambda **options: adanns.CompactIndex(6, **LISTS, **options),
    "compact-prefixes": lambda **options: adanns.CompactIndex(
        9, scan_dims=65, bits=4, prefixes=(5, 33), **LISTS, **options
    ),
}
SCANNED = {"compact": (100,), "compact-prefixes": (5, 33, 65), "opq-8": (33,), "ivfopq-8": (65,)}

every_code = pytest.mark.parametrize("name", CODES)
every_metric = pytest.mark.parametrize("metric", METRICS)


def built(name: str, rows: Any = None, **options: Any) -> Any:
    rows = rows_of(ROWS) if rows is None else rows
    return CODES[name](**{"ladder": LADDER, "precision": None, **options}).build(rows, ids_of(len(rows)))


def saved_arrays(index: Any, folder: Path) -> dict[str, Any]:
    index.save(folder)
    return read_segment(twins.segment_of(folder), mmap=False, verify=True)[1]


def everything(name: str) -> dict[str, Any]:
    return {} if name.startswith("opq") else {"probes": 7}


def turned(queries: Any, arrays: dict[str, Any], metric: str, dims: int) -> Any:
    """Queries as decoded rows are: their prefix, rotated."""
    whole = int(arrays["table_rungs"][-1, 0])
    padded = np.zeros((len(queries), whole))
    padded[:, :dims] = queries[:, :dims]
    rotated = padded @ arrays["table_rotation"].T
    segments = dict(arrays["table_rungs"].tolist())[dims]
    return rotated[:, : arrays["table_segment_ends"][segments - 1]]


@every_metric
@every_code
def test_codes_alone_give_exact_search_of_the_decoded_rows(name: str, metric: str, tmp_path: Path) -> None:
    index = built(name, metric=metric)
    arrays = saved_arrays(index, tmp_path / "index")
    for dims in SCANNED.get(name, (16,)):
        twin = twins.distances(twins.decoded(arrays, dims), turned(QUERIES, arrays, metric, dims), metric)
        for k in (1, 10):
            result = index.search(QUERIES, k, scan_dims=dims, **everything(name))
            twins.assert_nearest(result, twin, arrays["ids"], TOLERANCE * max(1.0, float(np.abs(twin).max())))


@every_metric
@every_code
def test_a_row_is_coded_near_to_where_it_is(name: str, metric: str, tmp_path: Path) -> None:
    """Decoded and turned back, rows are nearer to the stored prefix than its mean is, by what the training says."""
    index = built(name, metric=metric)
    arrays = saved_arrays(index, tmp_path / "index")
    dims = int(arrays["table_rungs"][-1, 0])
    order = np.argsort(ids_of(ROWS))[np.searchsorted(np.sort(ids_of(ROWS)), arrays["ids"])]
    prefix = rows_of(ROWS)[order, :dims]
    prefix = twins.unit(prefix) if metric == "cosine" else prefix
    decoded = twins.decoded(arrays) @ arrays["table_rotation"]
    error = ((prefix - decoded) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(error, index.distortion[-1], rtol=1e-3)
    assert error < 0.75 * prefix.var(axis=0).sum()
    assert all(after <= 1.001 * before for before, after in itertools.pairwise(index.distortion))


@every_metric
@every_code
def test_codes_alone_search_alike_from_disk_in_threads_and_one_by_one(name: str, metric: str, tmp_path: Path) -> None:
    index = built(name, metric=metric)
    expected = index.search(QUERIES, 5, threads=1)
    index.save(tmp_path / "index")
    assert_same(adanns.load(tmp_path / "index", mmap=True).search(QUERIES, 5), expected)
    assert_same(index.search(QUERIES, 5, threads=3), expected)
    assert_same(index.search(QUERIES[3], 5), index.search(QUERIES[3:4], 5))
    for row in range(len(QUERIES)):
        assert np.array_equal(index.search(QUERIES[row], 5).ids[0], expected.ids[row])


@every_code
def test_codes_alone_are_small(name: str) -> None:
    """No more than codes (padded to blocks of 16), ids, and what does not grow with the rows."""
    few, many = built(name), built(name, rows_of(8 * ROWS))
    grown = many.bytes_per_vector * many.rows - few.bytes_per_vector * few.rows
    code_bytes = {"opq-8": 3, "opq-4": 4, "ivfopq-8": 13, "ivfopq-4": 8, "ivfopq-whole-rows": 4}.get(name)
    code_bytes = code_bytes or many.parameters.bytes_per_vector
    blocks_of_padding = 2 * 7
    assert grown <= (code_bytes + 8) * (many.rows - few.rows) + 16 * code_bytes * blocks_of_padding


@every_code
def test_a_rerank_needs_planes(name: str) -> None:
    index = built(name)
    with pytest.raises(
        ValueError, match=re.escape("rerank=[(100, 50)]: this index keeps codes alone; build it with a")
    ):
        index.search(QUERIES, 10, rerank=[(100, 50)])
    other = next(dims for dims in LADDER if dims not in SCANNED.get(name, (16,)))
    with pytest.raises(ValueError, match=f"scan_dims={other}: this index keeps codes alone, and can scan at"):
        index.search(QUERIES, 10, scan_dims=other)
    whole = built(name, precision="float32")
    result = whole.search(QUERIES, 10, rerank=[(100, ROWS)], **everything(name))
    twins.assert_nearest(result, twins.distances(rows_of(ROWS), QUERIES, "cosine"), ids_of(ROWS), TOLERANCE)


@pytest.mark.parametrize("name", ["opq-4", "ivfopq-8", "compact-prefixes"])
def test_zero_rows_are_at_distance_1_and_crowd_nothing_out(name: str) -> None:
    rows = rows_of(ROWS).copy()
    rows[100:250] = 0
    index = built(name, rows)
    distances, ids = index.search(QUERIES[:1], ROWS, **everything(name))
    found = dict(zip(ids[0].tolist(), distances[0].tolist(), strict=True))
    for row, identity in enumerate(ids_of(ROWS).tolist()):
        assert (found[identity] == 1) == (100 <= row < 250)
    best = index.search(QUERIES, 5, **everything(name))
    assert not np.isin(best.ids, ids_of(ROWS)[100:250]).any()


@every_metric
@every_code
def test_zero_queries_find_rows(name: str, metric: str) -> None:
    result = built(name, metric=metric).search(np.zeros(100, np.float32), 5)
    assert (result.counts == 5).all()
    if metric == "cosine":
        assert (result.distances == 1).all()


@pytest.mark.parametrize("name", ["opq-4", "ivfopq-4", "compact-prefixes"])
def test_constant_and_equal_dims_can_be_coded(name: str) -> None:
    rows = rows_of(ROWS).copy()
    rows[:, 1] = rows[:, 0]
    rows[:, 3:7] = 2
    index = built(name, rows, metric="l2", precision="float32")
    result = index.search(QUERIES, 10, rerank=[(100, ROWS)], **everything(name))
    twins.assert_nearest(result, twins.distances(rows, QUERIES, "l2"), ids_of(ROWS), TOLERANCE)
    same = built(name, np.ones((40, 100), np.float32)).search(QUERIES, 40, **everything(name))
    assert (same.counts == 40).all()


def test_more_bytes_and_more_probes_find_more() -> None:
    rows, queries = rows_of(3000), rows_of(100, seed=1)
    truth = adanns.ExactIndex(ladder=LADDER).build(rows).search(queries, 10).ids

    def recall(size: int, probes: int) -> float:
        index = adanns.CompactIndex(size, cluster_dims=16, lists=16, ladder=LADDER, precision=None).build(rows)
        return adanns.evaluate.recall(index.search(queries, 10, probes=probes).ids, truth, 10)

    found = [recall(size, 16) for size in (2, 4, 8, 12)]
    assert all(before < after for before, after in itertools.pairwise(found))
    assert found[-1] > 0.5
    assert recall(8, 1) < recall(8, 16)


def test_compact_chooses_dims_and_bits_for_its_bytes() -> None:
    rows = rows_of(600)
    scanned = [adanns.CompactIndex(size, lists=3, cluster_dims=5, ladder=LADDER) for size in (1, 4, 8, 12)]
    assert [index.build(rows).search(QUERIES).stats[1].dims for index in scanned] == [16, 33, 65, 100]
    codes_of_4, codes_of_8 = (
        adanns.CompactIndex(4, lists=3, cluster_dims=5, ladder=LADDER, precision=precision)._code(LADDER)
        for precision in ("float16", None)
    )
    assert (codes_of_4.bits, codes_of_4.segments) == (4, 8)
    assert (codes_of_8.bits, codes_of_8.segments) == (8, 4)


BAD: list[tuple[Any, str]] = [
    (
        lambda: adanns.OPQIndex(64, 12),
        "code_bytes=12 of 8 bits are 12 segments, which do not divide scan_dims=64 into equal parts; "
        "code_bytes that do: [1, 2, 4, 8, 16, 32, 64]",
    ),
    (lambda: adanns.OPQIndex(32, 32, bits=4), "code_bytes that do: [1, 2, 4, 8, 16]"),
    (lambda: adanns.OPQIndex(7, 1, bits=4), "code_bytes that do: none"),
    (lambda: adanns.OPQIndex(bits=5), "bits=5; a codebook has 4 or 8"),
    (lambda: adanns.OPQIndex(bits=None), "bits=None; a codebook has 4 or 8"),
    (lambda: adanns.OPQIndex(code_bytes=0), "code_bytes=0; expected 1 or more"),
    (lambda: adanns.OPQIndex(rotations=-1), "rotations=-1; expected 0 or more"),
    (lambda: adanns.OPQIndex(training_rows=0), "training_rows=0; expected 1 or more"),
    (lambda: adanns.IVFOPQIndex(scan_dims=0), "scan_dims=0; expected 1 or more"),
    (lambda: adanns.IVFOPQIndex(scan_dims=1024, code_bytes=512), "code_bytes=512 of 8 bits are 512 segments"),
    (lambda: adanns.CompactIndex(0), "bytes_per_vector=0; expected 1 or more"),
    (lambda: adanns.CompactIndex(200), "bytes_per_vector=200 are 400 segments of 4 bits; a code has 256 at most"),
    (
        lambda: adanns.CompactIndex(1, prefixes=(8, 16)),
        "bytes_per_vector=1 are 2 segments of 4 bits, too few for prefixes=",
    ),
    (lambda: adanns.CompactIndex(prefixes=(16, 8)), "prefixes is (16, 8); its dims must be positive and increase"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_parameters_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


BAD_BUILDS: list[tuple[Any, str]] = [
    (lambda: adanns.OPQIndex(64, ladder=LADDER), "scan_dims=64 is not on the ladder"),
    (lambda: adanns.OPQIndex(128), "scan_dims=128 is beyond the 100 dimensions"),
    (
        lambda: adanns.OPQIndex(16, 4, ladder=LADDER, training_rows=200),
        "training_rows=200 are fewer than the 256 entries of a codebook of 8 bits; bits=4 needs 16",
    ),
    (
        lambda: adanns.CompactIndex(2, cluster_dims=16, ladder=LADDER, bits=8),
        "the 40 rows are fewer than the 256 entries of a codebook of 8 bits; bits=4 needs 16",
    ),
    (
        lambda: adanns.CompactIndex(64, ladder=LADDER),
        "bytes_per_vector=64: 100 dims of 4 bits each fill 50 bytes; ask for 50 at most",
    ),
    (
        lambda: adanns.CompactIndex(2, prefixes=(33,), ladder=LADDER),
        "prefixes=(33,): expected rungs below the 16 dims that are coded",
    ),
    (lambda: adanns.CompactIndex(4, prefixes=(20,), ladder=LADDER), "a rung of prefixes=20 is not on the ladder"),
]


@pytest.mark.parametrize(("make", "message"), BAD_BUILDS, ids=[message for _, message in BAD_BUILDS])
def test_what_does_not_fit_the_vectors_is_refused_before_any_work(make: Any, message: str) -> None:
    index, steps = make(), []
    rows = rows_of(300 if "training_rows" in message else 40)
    with pytest.raises(ValueError, match=re.escape(message)):
        index.build(rows, progress=lambda *step: steps.append(step[0]))
    assert set(steps) <= {"packing rows"}
    with pytest.raises(adanns.NotBuiltError):
        index.search(QUERIES)


def test_rows_fewer_than_codebook_entries_change_nothing() -> None:
    index = built("opq-4")
    before = index.search(QUERIES)
    with pytest.raises(ValueError, match="the 15 rows are fewer than the 16 entries of a codebook of 4 bits"):
        index.build(rows_of(15))
    assert_same(index.search(QUERIES), before)
