"""A FAISS index from one of ours, where FAISS has an equal."""

from __future__ import annotations

import itertools
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import Arrays, checked_threads
from adanns.errors import NoTwinError
from adanns.indexes.base import Index
from adanns.indexes.built import bands_of
from adanns.indexes.changes import coded_centroids
from adanns.planes import plane_tuples

BLOCK_ROWS = 16


def to_faiss(index: Index[Any]) -> Any:
    """The FAISS index that answers as ours does.

    ExactIndex gives IndexFlat, IVFIndex clustered on all dims IndexIVFFlat; indices of codes alone (precision=None)
    give IndexPQ, or with lists IndexIVFPQ, behind their rotation as an OPQMatrix; ids that are not row numbers come
    as an IndexIDMap, or in the lists. Codes of a prefix take queries of that prefix. Inner products are FAISS's own,
    ours with the sign changed. Under cosine, which FAISS lacks, exact and IVF indices become inner products of
    normalised vectors: normalise queries too, and distances are 1 - what FAISS returns.

    Lists are routed to by our centroids, which are of 8 bits a dim, or where codes are residuals by what those are
    residuals of: with some of the lists probed, a borderline list may be another. Raises NoTwinError that says why,
    ImportError without FAISS.
    """
    import faiss

    arrays = dict(index.arrays)
    if index.kind == "exact":
        flat = faiss.IndexFlat(index.dims, _metric(faiss, index))
        flat.add(_rows_of(index, arrays))
        return _with_ids(faiss, flat, arrays["ids"])
    if index.kind == "ivf":
        return _ivf_flat(faiss, index, arrays)
    if "table_blocks" in arrays:
        return _codes(faiss, index, arrays)
    return _refuse(index, "FAISS has no shortlist of a prefix with a rerank of the rest")


def _ivf_flat(faiss: Any, index: Index[Any], arrays: Arrays) -> Any:
    centroids = coded_centroids(arrays)
    if centroids.shape[1] != index.dims:
        _refuse(index, f"its lists are clustered on {centroids.shape[1]} of {index.dims} dims, FAISS's on all")
    metric = _metric(faiss, index)
    twin = faiss.IndexIVFFlat(_quantiser(faiss, centroids, metric), index.dims, len(centroids), metric)
    _fill_lists(faiss, twin, _rows_of(index, arrays).view(np.uint8), arrays)
    return twin


def _codes(faiss: Any, index: Index[Any], arrays: Arrays) -> Any:
    if "plane_0" in arrays:
        _refuse(index, "it keeps vectors beside its codes; build it with precision=None")
    if index.parameters.metric == "cosine":
        _refuse(index, "it ranks codes by cosine, which divides by the length of what a code stands for")
    widths = np.diff(arrays["table_segment_ends"], prepend=0)
    if len(arrays["table_rungs"]) > 1 or len(set(widths.tolist())) > 1:
        _refuse(index, "its code has segments of several widths")
    dims, segments = arrays["table_rungs"][-1].tolist()
    bits = (len(arrays["table_codebooks"]) // dims).bit_length() - 1
    metric, rotation = _metric(faiss, index), arrays["table_rotation"]
    if "list_offsets" not in arrays:
        twin = faiss.IndexPQ(dims, segments, bits, metric)
        faiss.copy_array_to_vector(arrays["table_codebooks"], twin.pq.centroids)
        twin.is_trained = True
        twin.add_sa_codes(_unpacked(arrays))
        return _with_ids(faiss, _rotated(faiss, twin, rotation), arrays["ids"])
    centroids = arrays.get("table_centroids")
    if centroids is None:
        centroids = coded_centroids(arrays)
        if centroids.shape[1] != dims:
            _refuse(index, f"its lists are clustered on {centroids.shape[1]} dims and its codes are of {dims}")
        centroids = np.ascontiguousarray(centroids @ rotation.T)
    twin = faiss.IndexIVFPQ(_quantiser(faiss, centroids, metric), dims, len(centroids), segments, bits, metric)
    twin.by_residual = "table_centroids" in arrays
    faiss.copy_array_to_vector(arrays["table_codebooks"], twin.pq.centroids)
    _fill_lists(faiss, twin, _unpacked(arrays), arrays)
    twin.precompute_table()
    return _rotated(faiss, twin, rotation)


def _metric(faiss: Any, index: Index[Any]) -> int:
    return int(faiss.METRIC_L2 if index.parameters.metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def _rows_of(index: Index[Any], arrays: Arrays) -> NDArray[np.float32]:
    """The vectors as stored, normalised under cosine."""
    planes = plane_tuples(bands_of(index.parameters), arrays)
    normalise = index.parameters.metric == "cosine"
    return _core.read_prefix(planes, None, 0, index.rows, index.dims, normalise, checked_threads(None))


def _unpacked(arrays: Arrays) -> NDArray[np.uint8]:
    """Codes row by row, as many bytes as FAISS has them in: blocks are [byte][16 rows], and each list starts one."""
    rows = arrays["table_blocks"].transpose(0, 2, 1)
    rows = rows.reshape(-1, rows.shape[2])
    offsets = arrays.get("list_offsets", np.array([0, len(arrays["ids"])]))
    counts = np.diff(offsets)
    first_places = BLOCK_ROWS * np.concatenate([[0], np.cumsum(-(-counts // BLOCK_ROWS))[:-1]])
    places = np.arange(offsets[-1]) + np.repeat(first_places - offsets[:-1], counts)
    return np.ascontiguousarray(rows[places])


def _quantiser(faiss: Any, centroids: NDArray[np.float32], metric: int) -> Any:
    quantiser = faiss.IndexFlat(centroids.shape[1], metric)
    quantiser.add(centroids)
    return quantiser


def _fill_lists(faiss: Any, twin: Any, codes: NDArray[np.uint8], arrays: Arrays) -> None:
    offsets = arrays["list_offsets"].tolist()
    for number, (begin, end) in enumerate(itertools.pairwise(offsets)):
        if begin == end:
            continue
        ids = np.ascontiguousarray(arrays["ids"][begin:end])
        own = np.ascontiguousarray(codes[begin:end])
        twin.invlists.add_entries(number, end - begin, faiss.swig_ptr(ids), faiss.swig_ptr(own))
    twin.ntotal = offsets[-1]
    twin.is_trained = True


def _rotated(faiss: Any, twin: Any, rotation: NDArray[np.float32]) -> Any:
    if np.array_equal(rotation, np.eye(len(rotation), dtype=np.float32)):
        return twin
    transform = faiss.OPQMatrix(rotation.shape[1], 1, len(rotation))
    faiss.copy_array_to_vector(np.ascontiguousarray(rotation).reshape(-1), transform.A)
    transform.is_trained = True
    return faiss.IndexPreTransform(transform, twin)


def _with_ids(faiss: Any, twin: Any, ids: NDArray[np.int64]) -> Any:
    if np.array_equal(ids, np.arange(len(ids))):
        return twin
    twin.ntotal = 0  # what is put into an IndexIDMap must be empty
    mapped = faiss.IndexIDMap(twin)
    twin.ntotal = len(ids)
    faiss.copy_array_to_vector(np.ascontiguousarray(ids), mapped.id_map)
    mapped.ntotal = len(ids)
    return mapped


def _refuse(index: Index[Any], why: str) -> NoReturn:
    raise NoTwinError(f"FAISS has no index that is equal to this {type(index).__name__}: {why}")
