"""Does an index that moves from FAISS to us, or back, answer as before?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from recipes import ids_of, rows_of

import adanns

faiss = pytest.importorskip("faiss")
pytestmark = pytest.mark.filterwarnings("ignore:builtin type Swig")

DIMS, ROWS, LISTS, K = 48, 1500, 12, 10
VECTORS, QUERIES, IDS = rows_of(ROWS, DIMS), rows_of(20, DIMS, seed=1), ids_of(ROWS)
METRICS = {"l2": faiss.METRIC_L2, "ip": faiss.METRIC_INNER_PRODUCT}
every_metric = pytest.mark.parametrize("metric", METRICS)
# Entries of a table are rounded to bytes before they choose, and centroids to 8 bits: nearly the same is found.
FOUND_BY_CODES, FOUND_BY_SOME_LISTS = 0.99, 0.97


def trained(make: Any, metric: str) -> Any:
    return filled(make(METRICS[metric]))


def filled(index: Any) -> Any:
    """With the vectors, after as little training as will do."""
    inner = index
    if isinstance(index, faiss.IndexPreTransform):
        inner = faiss.downcast_index(index.index)
        transform = faiss.downcast_VectorTransform(index.chain.at(0))
        if isinstance(transform, faiss.OPQMatrix):
            transform.niter, transform.niter_pq = 2, 2
    if hasattr(inner, "pq"):
        inner.pq.cp.niter, inner.pq.cp.min_points_per_centroid = 2, 1
    index.train(VECTORS)
    index.add(VECTORS)
    return index


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """FAISS's threads wait in a loop, which takes long where others work."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def flat(metric: int) -> Any:
    return faiss.IndexFlat(DIMS, metric)


def ivf_flat(metric: int) -> Any:
    return faiss.IndexIVFFlat(faiss.IndexFlat(DIMS, metric), DIMS, LISTS, metric)


def pq(bits: int) -> Any:
    return lambda metric: faiss.IndexPQ(DIMS, 12, bits, metric)


def opq(bits: int) -> Any:
    return lambda metric: faiss.IndexPreTransform(faiss.OPQMatrix(DIMS, 12), faiss.IndexPQ(DIMS, 12, bits, metric))


def ivfpq(bits: int) -> Any:
    return lambda metric: faiss.IndexIVFPQ(faiss.IndexFlat(DIMS, metric), DIMS, LISTS, 12, bits, metric)


def ivfopq(bits: int) -> Any:
    return lambda metric: faiss.IndexPreTransform(faiss.OPQMatrix(DIMS, 12), ivfpq(bits)(metric))


def share(ours: Any, theirs: Any) -> float:
    """Of FAISS's neighbours, how many we have, by query."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]))


def assert_same_distances(ours: Any, found: Any, distances: Any, metric: str) -> None:
    """Where the same rows were found; rows of equal codes are in any order."""
    same = (np.sort(ours.ids) == np.sort(found)).all(axis=1)
    assert same.mean() > 0.6
    sign = -1 if metric == "ip" else 1
    np.testing.assert_allclose(ours.distances[same], sign * distances[same], rtol=2e-4, atol=2e-4)


def assert_equal_answers(
    ours: Any, theirs: Any, metric: str, expected: float, queries: Any = QUERIES, ids: Any = None, **search: Any
) -> None:
    """As many neighbours as `expected` are the same, and so are the distances of those."""
    inner = theirs.index if isinstance(theirs, faiss.IndexPreTransform) else theirs
    inner = faiss.downcast_index(inner)
    if "probes" in search:
        inner.nprobe = search["probes"]
    distances, found = theirs.search(queries, K)
    found = found if ids is None else ids[found]
    result = ours.search(queries, K, **search)
    assert share(result.ids, found) >= expected
    assert_same_distances(result, found, distances, metric)


@every_metric
def test_a_flat_index_comes_over(metric: str) -> None:
    theirs = trained(flat, metric)
    ours: Any = adanns.from_faiss(theirs)
    assert isinstance(ours, adanns.ExactIndex)
    assert ours.ladder == (DIMS,)
    assert_equal_answers(ours, theirs, metric, 1.0)
    assert (ours.arrays["plane_0"][:, :DIMS] == VECTORS).all()
    ours = adanns.from_faiss(theirs, ladder=(8, DIMS))
    expected: Any = adanns.ExactIndex(metric=metric, ladder=(8, DIMS)).build(VECTORS)  # type: ignore[arg-type]
    assert (ours.search(QUERIES, dims=8).ids == expected.search(QUERIES, dims=8).ids).all()


@every_metric
def test_ids_come_over(metric: str) -> None:
    inner = trained(flat, metric)
    theirs = faiss.IndexIDMap(faiss.IndexFlat(DIMS, METRICS[metric]))
    theirs.add_with_ids(VECTORS, IDS)
    assert_equal_answers(adanns.from_faiss(theirs), inner, metric, 1.0, ids=IDS)
    with_ids = trained(ivfpq(8), metric)
    with_ids.reset()
    with_ids.add_with_ids(VECTORS, IDS)
    assert_equal_answers(adanns.from_faiss(with_ids), with_ids, metric, FOUND_BY_CODES, probes=LISTS)
    theirs = faiss.IndexIDMap2(faiss.IndexFlat(DIMS))
    theirs.add_with_ids(VECTORS[:2], np.array([7, 7]))
    with pytest.raises(adanns.DuplicateIdError, match="id 7 is given to rows 0 and 1"):
        adanns.from_faiss(theirs)


@every_metric
def test_lists_of_vectors_come_over(metric: str) -> None:
    theirs = trained(ivf_flat, metric)
    ours = adanns.from_faiss(theirs, ladder=(16, DIMS))
    assert isinstance(ours, adanns.IVFIndex)
    assert_equal_answers(ours, theirs, metric, 1.0, probes=LISTS)
    assert_equal_answers(ours, theirs, metric, FOUND_BY_SOME_LISTS, probes=3)
    assert ours.search(QUERIES, scan_dims=16, probes=LISTS).counts.min() == K


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("make", [pq, opq], ids=["pq", "opq"])
@every_metric
def test_codes_come_over_as_they_are(metric: str, make: Any, bits: int) -> None:
    theirs = trained(make(bits), metric)
    ours = adanns.from_faiss(theirs)
    assert isinstance(ours, adanns.OPQIndex)
    assert_equal_answers(ours, theirs, metric, FOUND_BY_CODES)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("make", [ivfpq, ivfopq])
@every_metric
def test_codes_in_lists_come_over_as_they_are(metric: str, make: Any, bits: int, residual: bool) -> None:
    index = make(bits)(METRICS[metric])
    inner = faiss.downcast_index(index.index) if make is ivfopq else index
    inner.by_residual = residual
    filled(index)
    ours = adanns.from_faiss(index)
    assert isinstance(ours, adanns.IVFOPQIndex)
    assert_equal_answers(ours, index, metric, FOUND_BY_CODES, probes=LISTS)
    assert_equal_answers(ours, index, metric, FOUND_BY_SOME_LISTS, probes=3)


@pytest.mark.parametrize("make", [flat, ivf_flat, pq(8), opq(4), ivfpq(4), ivfopq(8)])
@every_metric
def test_there_and_back_it_is_the_same_index(metric: str, make: Any, tmp_path: Any) -> None:
    ours = adanns.from_faiss(trained(make, metric))
    ours.save(tmp_path / "index")
    again = adanns.from_faiss(adanns.to_faiss(adanns.load(tmp_path / "index", mmap=True)))
    for name, array in ours.arrays.items():
        if name.startswith(("centroid", "list", "ids", "plane", "table_blocks")) and make is ivf_flat:
            continue  # our own order of the lists, and centroids decoded once more
        if name.startswith("centroid"):
            continue
        np.testing.assert_allclose(again.arrays[name], array, rtol=1e-6, atol=1e-6)
    probes = {"probes": LISTS} if hasattr(ours, "lists") else {}
    one, other = ours.search(QUERIES, K, **probes), again.search(QUERIES, K, **probes)
    assert (one.ids == other.ids).all()


OURS: dict[str, tuple[Any, float]] = {
    "exact": (lambda metric: adanns.ExactIndex(metric=metric, precision="float16"), 1.0),
    "ivf": (lambda metric: adanns.IVFIndex(DIMS, DIMS, LISTS, metric=metric, scan_precision=None), 1.0),
    "opq": (lambda metric: adanns.OPQIndex(24, 6, metric=metric, precision=None, rotations=2), FOUND_BY_CODES),
    "opq-4": (lambda metric: adanns.OPQIndex(DIMS, 6, bits=4, metric=metric, precision=None), FOUND_BY_CODES),
    "ivfopq": (lambda metric: adanns.IVFOPQIndex(24, 24, LISTS, 6, metric=metric, precision=None), FOUND_BY_CODES),
    "ivfopq-plain": (
        lambda metric: adanns.IVFOPQIndex(24, 24, LISTS, 6, metric=metric, precision=None, residual=False),
        FOUND_BY_CODES,
    ),
    "compact": (
        lambda metric: adanns.CompactIndex(6, DIMS, DIMS, LISTS, metric=metric, precision=None),
        FOUND_BY_CODES,
    ),
}


@pytest.mark.parametrize("name", OURS)
@every_metric
def test_ours_goes_over(name: str, metric: str) -> None:
    make, expected = OURS[name]
    ours = make(metric).build(VECTORS, IDS, progress=False)
    theirs = adanns.to_faiss(ours)
    assert theirs.ntotal == ROWS
    search = {"probes": LISTS} if hasattr(ours, "lists") else {}
    result = ours.search(QUERIES, K, **search, **({"rerank": [(DIMS, ROWS)]} if name == "ivf" else {}))
    for inner in (theirs, getattr(theirs, "index", None)):
        if inner is not None and hasattr(faiss.downcast_index(inner), "nprobe"):
            faiss.downcast_index(inner).nprobe = LISTS
    distances, found = theirs.search(np.ascontiguousarray(QUERIES[:, : theirs.d]), K)
    assert share(result.ids, found) >= expected
    assert_same_distances(result, found, distances, metric)


def test_cosine_goes_over_as_inner_products_of_normalised_vectors() -> None:
    ours = adanns.ExactIndex(metric="cosine").build(VECTORS, progress=False)
    unit = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
    products, found = adanns.to_faiss(ours).search(unit, K)
    result = ours.search(QUERIES, K)
    assert (result.ids == found).all()
    np.testing.assert_allclose(1 - result.distances, products, atol=1e-5)


REFUSED: dict[str, tuple[Any, str]] = {
    "another class": (lambda: faiss.IndexHNSWFlat(DIMS, 8), "a IndexHNSWFlat is none of IndexFlat"),
    "another metric": (lambda: faiss.IndexFlat(DIMS, faiss.METRIC_L1), "its metric is number"),
    "other bits": (lambda: faiss.IndexPQ(DIMS, 12, 6), "its codes are 12 of 6 bits"),
    "half a byte": (lambda: faiss.IndexPQ(DIMS, 3, 4), "its codes are 3 of 4 bits"),
    "fewer dims": (
        lambda: faiss.IndexPreTransform(faiss.OPQMatrix(DIMS, 12, 24), faiss.IndexPQ(24, 12, 8)),
        "its transform makes 24 dims of 48, which changes distances",
    ),
    "a rotated flat": (
        lambda: faiss.IndexPreTransform(faiss.RandomRotationMatrix(DIMS, DIMS), faiss.IndexFlat(DIMS)),
        "a IndexFlat.* behind a rotation",
    ),
    "another transform": (
        lambda: faiss.IndexPreTransform(faiss.NormalizationTransform(DIMS), faiss.IndexFlat(DIMS)),
        "its transform is a NormalizationTransform",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_twin_is_refused_with_the_reason(name: str) -> None:
    make, message = REFUSED[name]
    index = filled(make())
    with pytest.raises(adanns.NoTwinError, match=f"no index of ours is equal to this .*: {message}"):
        adanns.from_faiss(index)


def test_an_empty_index_and_codes_with_a_ladder_are_refused() -> None:
    with pytest.raises(adanns.NoTwinError, match="it holds no vectors"):
        adanns.from_faiss(faiss.IndexFlat(DIMS))
    with pytest.raises(adanns.NoTwinError, match=r"its codes are of all dims, so that it cannot be searched at ladder"):
        adanns.from_faiss(trained(pq(4), "l2"), ladder=(8, DIMS))
    with pytest.raises(ValueError, match=r"ladder .* ends at 40 but the vectors have 48"):
        adanns.from_faiss(trained(flat, "l2"), ladder=(8, 40))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (adanns.FunnelIndex(12), "FAISS has no shortlist of a prefix"),
        (adanns.IVFIndex(24, 24), "clustered on 24 of 48 dims"),
        (adanns.OPQIndex(24, 6), "it keeps vectors beside its codes"),
        (adanns.OPQIndex(24, 6, precision=None), "it ranks codes by cosine"),
        (adanns.CompactIndex(5, 24, 24, metric="l2", precision=None, prefixes=(12,)), "segments of several widths"),
    ],
)
def test_ours_without_a_twin_is_refused_with_the_reason(index: Any, message: str) -> None:
    with pytest.raises(adanns.NoTwinError, match=f"FAISS has no index that is equal to this .*: .*{message}"):
        adanns.to_faiss(index.build(VECTORS, progress=False))
