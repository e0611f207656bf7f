"""An index of ours from one of FAISS: its vectors or codes taken over as they are, its clusters too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import Arrays, checked_ids, checked_threads
from adanns.errors import NoTwinError
from adanns.indexes.base import Index
from adanns.indexes.exact import ExactIndex
from adanns.indexes.ivf import IVFIndex
from adanns.indexes.ivfopq import IVFOPQIndex
from adanns.indexes.lists import centroid_arrays
from adanns.indexes.opq import OPQIndex
from adanns.ladder import Metric, checked_ladder, ladder_for
from adanns.parameters import IVFOPQParameters, OPQParameters
from adanns.training.kmeans import Clusters

READ = "IndexFlat, IndexIVFFlat, IndexPQ, IndexIVFPQ, the last two also behind an OPQMatrix, all also in an IndexIDMap"
ORTHOGONAL = 1e-3  # how far a rotation may be from keeping dot products


def from_faiss(index: Any, *, ladder: Sequence[int] | None = None) -> Index[Any]:
    """Our twin of a FAISS index.

    IndexFlat gives ExactIndex, IndexIVFFlat IVFIndex, IndexPQ OPQIndex and IndexIVFPQ IVFOPQIndex, with the rotation of
    an OPQMatrix before it, and with the ids of an IndexIDMap around it. Vectors, codebooks, codes and clusters are
    taken over, nothing is learnt or rounded again; only centroids are, to 8 bits each dim, as we route by them: with
    some of the lists probed, a borderline list may be another.

    ladder: the dims that are embeddings, of vectors that are kept; default: all dims alone, since FAISS does not know.
        An index of codes has none but all dims.
    Distances under inner product are minus FAISS's. FAISS has no cosine: an index of normalised vectors stays one of
    inner products. Raises NoTwinError that says why, DuplicateIdError for ids that come twice, ImportError without
    FAISS.
    """
    import faiss

    found = _Parts.of(faiss, index)
    rungs = ladder_for(found.inner.d if found.rotation is None else found.rotation.shape[1], checked_ladder(ladder))
    if ladder is None:
        rungs = rungs[-1:]
    kind = type(found.inner).__name__
    if found.inner.ntotal == 0:
        _refuse(index, "it holds no vectors")
    if isinstance(found.inner, faiss.IndexFlat):
        vectors = found.inner.reconstruct_n(0, found.inner.ntotal)
        _refuse_rotation(found, kind)
        return ExactIndex(metric=found.metric, ladder=rungs).build(vectors, found.ids, progress=False)
    if type(found.inner) is faiss.IndexIVFFlat:
        _refuse_rotation(found, kind)
        return _ivf(faiss, found, rungs)
    if type(found.inner) in (faiss.IndexPQ, faiss.IndexIVFPQ):
        if len(rungs) > 1:
            _refuse(index, f"its codes are of all dims, so that it cannot be searched at ladder={rungs}")
        return _opq(faiss, found) if type(found.inner) is faiss.IndexPQ else _ivfopq(faiss, found)
    return _refuse(index, f"a {kind} is none of {READ}")


@dataclass(frozen=True)
class _Parts:
    """A FAISS index without what is wrapped around it."""

    inner: Any
    metric: Metric
    ids: NDArray[np.int64] | None  # of an IndexIDMap, by the number that the index inside knows
    rotation: NDArray[np.float32] | None  # rows are the rotated dims

    @classmethod
    def of(cls, faiss: Any, index: Any) -> _Parts:
        inner, ids, rotation = faiss.downcast_index(index), None, None
        while True:
            if isinstance(inner, faiss.IndexIDMap) and ids is None:
                ids = faiss.vector_to_array(inner.id_map)
            elif isinstance(inner, faiss.IndexPreTransform) and rotation is None:
                rotation = _rotation_of(faiss, inner)
            else:
                break
            inner = faiss.downcast_index(inner.index)
        metrics: dict[int, Metric] = {faiss.METRIC_L2: "l2", faiss.METRIC_INNER_PRODUCT: "ip"}
        if inner.metric_type not in metrics:
            _refuse(inner, f"its metric is number {inner.metric_type}; ours are L2 and inner product")
        return cls(inner, metrics[inner.metric_type], ids, rotation)


def _rotation_of(faiss: Any, index: Any) -> NDArray[np.float32]:
    if index.chain.size() != 1:
        _refuse(index, f"it has {index.chain.size()} transforms; ours is one rotation")
    transform = faiss.downcast_VectorTransform(index.chain.at(0))
    if not isinstance(transform, faiss.LinearTransform):
        _refuse(index, f"its transform is a {type(transform).__name__}; ours is a rotation")
    matrix: NDArray[np.float32] = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
    if transform.d_out != transform.d_in:
        _refuse(index, f"its transform makes {transform.d_out} dims of {transform.d_in}, which changes distances")
    if transform.have_bias and faiss.vector_to_array(transform.b).any():
        _refuse(index, "its transform moves the origin; ours is a rotation")
    if np.abs(matrix @ matrix.T - np.eye(len(matrix))).max() > ORTHOGONAL:
        _refuse(index, "its transform is not orthogonal, which changes distances; ours is a rotation")
    return matrix


def _ivf(faiss: Any, found: _Parts, ladder: tuple[int, ...]) -> IVFIndex:
    index = found.inner
    codes, ids, counts = _lists_of(faiss, found)
    vectors = codes.view(np.float32)
    assignments = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    ours = IVFIndex(
        index.d, index.d, len(counts), metric=found.metric, ladder=ladder, precision="float32", scan_precision=None
    )
    return ours.build(vectors, ids, clusters=Clusters(_centroids_of(faiss, found), assignments), progress=False)


def _opq(faiss: Any, found: _Parts) -> OPQIndex:
    index = found.inner
    dims, code = _code_arrays(faiss, found)
    ids = checked_ids(found.ids, index.ntotal)
    blocks = _packed(faiss.vector_to_array(index.codes), found, np.array([0, index.ntotal], np.int64))
    parameters = OPQParameters(
        metric=found.metric,
        ladder=(dims,),
        precision=None,
        scan_dims=dims,
        code_bytes=index.pq.code_size,
        bits=index.pq.nbits,
    )
    return OPQIndex.of_arrays(parameters, {"ids": ids, "table_blocks": blocks, **code})


def _ivfopq(faiss: Any, found: _Parts) -> IVFOPQIndex:
    index = found.inner
    dims, code = _code_arrays(faiss, found)
    codes, ids, counts = _lists_of(faiss, found)
    centroids = _centroids_of(faiss, found)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    arrays: Arrays = {
        "ids": checked_ids(ids, index.ntotal),
        "list_offsets": offsets,
        "table_blocks": _packed(codes, found, offsets),
        **code,
        # The coarse quantiser works on rotated vectors, our routing on those that come.
        **centroid_arrays(
            np.ascontiguousarray(centroids @ code["table_rotation"]), (dims,), found.metric, checked_threads(None)
        ),
    }
    if index.by_residual:
        arrays["table_centroids"] = centroids
    parameters = IVFOPQParameters(
        metric=found.metric,
        ladder=(dims,),
        precision=None,
        cluster_dims=dims,
        scan_dims=dims,
        lists=len(counts),
        code_bytes=index.pq.code_size,
        bits=index.pq.nbits,
        residual=bool(index.by_residual),
    )
    return IVFOPQIndex.of_arrays(parameters, arrays)


def _code_arrays(faiss: Any, found: _Parts) -> tuple[int, Arrays]:
    """(dims, codebooks and rotation as we keep them)."""
    index, quantiser = found.inner, found.inner.pq
    if quantiser.nbits not in (4, 8) or quantiser.M * quantiser.nbits % 8:
        _refuse(index, f"its codes are {quantiser.M} of {quantiser.nbits} bits; ours are of 8, or an even number of 4")
    dims, width = index.d, index.d // quantiser.M
    return dims, {
        "table_rungs": np.array([[dims, quantiser.M]], np.int32),
        "table_segment_ends": np.arange(width, dims + 1, width, dtype=np.int32),
        "table_rotation": np.eye(dims, dtype=np.float32) if found.rotation is None else found.rotation,
        "table_codebooks": faiss.vector_to_array(quantiser.centroids),
        "table_distortion": np.empty(0),
    }


def _packed(codes: NDArray[np.uint8], found: _Parts, offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Codes in our blocks: FAISS too has the first of two 4-bit codes in the lower half of a byte."""
    quantiser = found.inner.pq
    rows = codes.reshape(found.inner.ntotal, quantiser.code_size)
    if quantiser.nbits == 4:
        rows = np.stack([rows & 15, rows >> 4], axis=2).reshape(len(rows), quantiser.M)
    return _core.pack_table_blocks(np.ascontiguousarray(rows), quantiser.nbits, offsets, checked_threads(None))


def _lists_of(faiss: Any, found: _Parts) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """(codes (rows, bytes), ids (rows,), rows of each list) in the order of the lists."""
    lists = found.inner.invlists
    counts = np.array([lists.list_size(number) for number in range(found.inner.nlist)], np.int64)
    codes = np.empty((int(counts.sum()), lists.code_size), np.uint8)
    ids = np.empty(len(codes), np.int64)
    start = 0
    for number, count in enumerate(counts.tolist()):
        if count:
            here = slice(start, start + count)
            codes[here] = faiss.rev_swig_ptr(lists.get_codes(number), count * lists.code_size).reshape(count, -1)
            ids[here] = faiss.rev_swig_ptr(lists.get_ids(number), count)
        start += count
    return codes, ids if found.ids is None else found.ids[ids], counts


def _centroids_of(faiss: Any, found: _Parts) -> NDArray[np.float32]:
    coarse = faiss.downcast_index(found.inner.quantizer)
    if coarse.metric_type != found.inner.metric_type:
        _refuse(found.inner, "its coarse quantiser has another metric than its lists")
    centroids: NDArray[np.float32] = coarse.reconstruct_n(0, found.inner.nlist)
    return centroids


def _refuse_rotation(found: _Parts, kind: str) -> None:
    if found.rotation is not None:
        _refuse(found.inner, f"a {kind} behind a rotation is none of {READ}; FAISS can reconstruct its vectors")


def _refuse(index: Any, why: str) -> NoReturn:
    raise NoTwinError(f"no index of ours is equal to this {type(index).__name__}: {why}")
