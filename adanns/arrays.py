"""The door: turn what users have into checked arrays. Below it nothing is checked twice."""

from __future__ import annotations

import math
import mmap
import operator
import os
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from adanns.errors import DuplicateIdError
from adanns.ladder import checked_rung

Vectors: TypeAlias = NDArray[Any]  # float32 or float16 (rows, dims), rows contiguous
Stages: TypeAlias = tuple[tuple[int, int], ...]
Arrays: TypeAlias = dict[str, NDArray[Any]]  # the named arrays that an index is

CHUNK_ROWS = 1 << 16  # rows packed at a time: bounds the memory beside the index
CACHE_LINE = 64
LARGEST_COUNT = (1 << 31) - 1
LARGEST_ID = (1 << 63) - 1
MISSING = -1  # stands in results for the id of a row that was not found


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An uninitialised C-contiguous array that starts on a cache line, so that padded rows do too."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    buffer = np.empty(size + CACHE_LINE, np.uint8)
    start = -buffer.ctypes.data % CACHE_LINE
    return buffer[start : start + size].view(kind).reshape(shape)


def aligned_copy(array: NDArray[Any]) -> NDArray[Any]:
    """The same values in memory of their own that starts on a cache line."""
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def mapping_of(array: NDArray[Any]) -> mmap.mmap | None:
    """The memory map that an array is a view of."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def advise(array: NDArray[Any], advice: str) -> None:
    """Tell the system how the pages of an array that is mapped are used; nothing where it is not, or knows no advice.

    advice: such as "MADV_RANDOM". A first page that is shared with what lies before is taken along.
    """
    mapping = mapping_of(array)
    if mapping is None or not array.size or not hasattr(mmap, advice):
        return
    begin = array.ctypes.data - np.frombuffer(mapping, np.uint8, 1).ctypes.data
    page = begin - begin % mmap.PAGESIZE
    mapping.madvise(getattr(mmap, advice), page, begin + array.nbytes - page)


def let_go(array: NDArray[Any]) -> None:
    """Give back the pages of an array that is mapped from a file and shared with it: its content stays there."""
    advise(array, "MADV_DONTNEED")


def checked_vectors(vectors: Any, name: str, dims: int | None = None) -> Vectors:
    """A float32 or float16 matrix with contiguous rows. float64 becomes float32; other types are a TypeError."""
    array = np.asarray(vectors)
    check_matrix(array, name, dims)
    kind = np.float16 if array.itemsize == 2 else np.float32
    if array.dtype != kind:  # float64, or the other byte order
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which the engine refuses by row
            array = array.astype(kind)
    to_next_row, to_next_dim = array.strides
    whole_rows = to_next_row >= array.itemsize * array.shape[1] and to_next_dim == array.itemsize
    if not (whole_rows and array.flags.aligned):  # aligned: strides are multiples of the item size, too
        array = np.require(array, requirements=["C", "ALIGNED"])
    return array


def check_matrix(array: NDArray[Any], name: str, dims: int | None = None) -> None:
    """Raise where type or shape are not those of vectors."""
    if array.dtype.kind != "f" or array.itemsize not in (2, 4, 8):
        raise TypeError(f"{name} have dtype {array.dtype}; expected float32 or float16")
    if array.ndim != 2:
        raise ValueError(f"{name} have shape {array.shape}; expected (rows, dims)")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise ValueError(f"{name} are empty: shape {array.shape}")
    if dims is not None and array.shape[1] != dims:
        raise ValueError(f"{name} have {array.shape[1]} dimensions; expected {dims}")


def checked_queries(queries: Any, dims: int, name: str = "queries") -> NDArray[np.float32]:
    """A C-contiguous float32 matrix of `dims` columns; a single vector becomes one row. NaN is found by the engine."""
    if (
        type(queries) is np.ndarray
        and queries.dtype == np.float32
        and queries.ndim == 2
        and queries.shape[1] == dims
        and queries.shape[0] > 0
        and queries.flags.c_contiguous
        and queries.flags.aligned
    ):
        return queries  # the common case costs nothing
    array = np.asarray(queries)
    array = checked_vectors(array[np.newaxis, :] if array.ndim == 1 else array, name, dims)
    return np.ascontiguousarray(array, dtype=np.float32)


def row_chunks(
    vectors: Any, dims: int | None = None, chunk_rows: int = CHUNK_ROWS
) -> tuple[Iterator[tuple[Vectors, Any]], int | None]:
    """Checked chunks of (vectors, ids or None), and how many rows there are where that is known.

    `vectors` is anything numpy reads as a matrix (memory maps are read `chunk_rows` at a time, and let go), or an
    iterable of chunks, each a matrix or a pair (matrix, ids). dims: what all must have, where that is known.
    """
    if is_matrix(vectors):
        whole = np.asarray(vectors)
        check_matrix(whole, "vectors", dims)
        # A private map's pages hold what was written to them, and nothing else does.
        shared = isinstance(vectors, np.memmap) and vectors.mode in ("r", "r+")
        return _parts_of(whole, chunk_rows, shared), len(whole)
    if not isinstance(vectors, Iterable):
        raise TypeError(f"vectors are a {type(vectors).__name__}; expected a matrix or an iterable of chunks")
    return _checked_chunks(vectors, dims), None


def is_matrix(vectors: Any) -> bool:
    """Whether vectors are one matrix, not chunks of one."""
    if hasattr(vectors, "__array__"):
        return True
    if not isinstance(vectors, Sequence) or isinstance(vectors, tuple):
        return False
    first = vectors[0] if len(vectors) else ()
    in_chunk = first[0] if isinstance(first, tuple) and len(first) == 2 else first
    return getattr(in_chunk, "ndim", 1) != 2  # rows, then, and not matrices


def _parts_of(whole: NDArray[Any], chunk_rows: int, shared: bool) -> Iterator[tuple[Vectors, Any]]:
    for start in range(0, len(whole), chunk_rows):
        part = whole[start : start + chunk_rows]
        yield checked_vectors(part, "vectors"), None
        if shared:
            let_go(part)


def _checked_chunks(chunks: Iterable[Any], dims: int | None) -> Iterator[tuple[Vectors, Any]]:
    for number, chunk in enumerate(chunks):
        rows, ids = chunk if isinstance(chunk, tuple) and len(chunk) == 2 else (chunk, None)
        array = checked_vectors(rows, f"vectors of chunk {number}", dims)
        dims = array.shape[1]
        yield array, ids


def checked_ids(ids: Any, rows: int, first_id: int = 0) -> NDArray[np.int64]:
    """Unique int64 ids other than -1, one per row; None gives first_id, first_id + 1, ..."""
    if ids is None:
        if first_id + rows > LARGEST_ID:
            raise ValueError(f"ids would go from {first_id} beyond int64; pass ids=")
        return np.arange(first_id, first_id + rows, dtype=np.int64)
    array = _as_ids(ids, "ids")
    if array.shape != (rows,):
        raise ValueError(f"ids have shape {array.shape}; expected ({rows},), one per row")
    if (array == MISSING).any():
        raise ValueError(f"ids hold {MISSING} at row {int((array == MISSING).argmax())}, which means a missing result")
    values, counts = np.unique(array, return_counts=True)
    if len(values) != rows:
        twice = values[counts > 1][0]
        first, second = np.flatnonzero(array == twice)[:2]
        raise DuplicateIdError(f"id {twice} is given to rows {first} and {second}; ids must be unique")
    return array


def checked_id_set(ids: Any, name: str) -> NDArray[np.int64]:
    """Different int64 ids, ascending, of one id or of any array, list, set or range of them."""
    array = _as_ids(list(ids) if isinstance(ids, Set) else ids, name)
    if array.ndim > 1:
        raise ValueError(f"{name} have shape {array.shape}; expected one dimension")
    return np.unique(array)


def _as_ids(ids: Any, name: str) -> NDArray[np.int64]:
    array = np.asarray(ids)
    if array.size == 0 and not isinstance(ids, np.ndarray):
        array = array.astype(np.int64)  # numpy takes an empty list for float64
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} have dtype {array.dtype}; expected integers")
    if array.dtype == np.uint64 and array.max(initial=0) > LARGEST_ID:
        raise ValueError(f"{name} go beyond int64")
    return np.array(array, dtype=np.int64)


def checked_count(value: Any, name: str, least: int = 1) -> int:
    """An int of at least `least`."""
    count = _checked_int(value, name)
    if not least <= count <= LARGEST_COUNT:
        raise ValueError(
            f"{name}={count}; expected {least} or more" + ("" if count < least else f", {LARGEST_COUNT} at most")
        )
    return count


def checked_radius(radius: Any) -> float:
    """A distance: any number but NaN."""
    try:
        value = float(radius)
    except (TypeError, ValueError):
        raise TypeError(f"radius is {radius!r}; expected a number") from None
    if math.isnan(value):
        raise ValueError("radius is NaN; expected a distance")
    return value


def checked_seed(value: Any) -> int:
    """A seed of numpy's random generators: an int that is not negative."""
    seed = _checked_int(value, "seed")
    if seed < 0:
        raise ValueError(f"seed={seed}; expected 0 or more")
    return seed


def _checked_int(value: Any, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected an int") from None


def checked_threads(threads: Any) -> int:
    """A positive number of threads; None means one per CPU that this process may use."""
    return _usable_cpus() if threads is None else checked_count(threads, "threads")


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: counts what a container or taskset leaves
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def remeasured(scan_dims: int, k: int) -> Stages:
    """The one stage of a search whose scan rounds: such a scan only chooses, what is returned is measured in floats."""
    return ((scan_dims, 2 * k + 32),)


def checked_stages(rerank: Any, ladder: Sequence[int], scan_dims: int, k: int) -> Stages:
    """Rerank stages [(dims, keep), ...]: rungs that increase from the scan's on, keeps that do not increase, >= k."""
    stages: list[tuple[int, int]] = []
    try:
        pairs = [(dims, keep) for dims, keep in rerank]
    except (TypeError, ValueError):
        raise TypeError(f"rerank is {rerank!r}; expected a list of (dims, keep) pairs") from None
    for dims, keep in pairs:
        dims = checked_rung(dims, ladder, "dims of a rerank stage")
        keep = checked_count(keep, "keep of a rerank stage")
        least = stages[-1][0] + 1 if stages else scan_dims
        if dims < least:
            raise ValueError(f"rerank={pairs}: dims must increase from stage to stage, from the scan's {scan_dims} on")
        if stages and keep > stages[-1][1]:
            raise ValueError(f"rerank={pairs}: a stage cannot keep more than the one before it")
        stages.append((dims, keep))
    if stages and stages[-1][1] < k:
        raise ValueError(f"rerank={pairs}: the last stage keeps {stages[-1][1]}, fewer than k={k}")
    return tuple(stages)
