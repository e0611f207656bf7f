"""What must each part of the engine give? Plain numpy twins of a few lines, in float64 unless rounding is the point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def unit(rows: Array) -> Array:
    """Rows divided by their norms; zero rows stay zero."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def distances(vectors: Array, queries: Array, metric: str, dims: int | None = None) -> Array:
    """(queries, rows) at a prefix: squared L2, minus the inner product, or 1 - cosine of the renormalised prefix."""
    x, q = vectors[:, :dims].astype(np.float64), queries[:, :dims].astype(np.float64)
    if metric == "l2":
        return np.array([((x - one) ** 2).sum(axis=1) for one in q])
    return -q @ x.T if metric == "ip" else 1 - unit(q) @ unit(x).T


def quantised(rows: Array) -> tuple[Array, Array, Array]:
    """(codes, scales, offsets) per dimension: value = offset + scale * code, codes from -127 to 127."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    scales, offsets = (high - low) / np.float32(254), np.float32(0.5) * (high + low)
    codes = np.rint((rows - offsets) / np.where(scales > 0, scales, np.float32(1)))
    return np.clip(codes, -127, 127).astype(np.int8), scales, offsets


def stored(vectors: Array, metric: str, precision: str | Mapping[int, str]) -> Array:
    """The values that an index keeps: normalised under cosine, then rounded to the number type of their dimension."""
    rows = (unit(vectors) if metric == "cosine" else vectors).astype(np.float32)
    first = 0
    for end, kind in sorted({rows.shape[1]: precision}.items() if isinstance(precision, str) else precision.items()):
        part = rows[:, first:end]
        if kind == "float16":
            rows[:, first:end] = part.astype(np.float16)
        elif kind == "int8":
            codes, scales, offsets = quantised(part)
            rows[:, first:end] = offsets + scales * codes
        first = end
    return rows


def unblocked(blocks: Array) -> Array:
    """int8 codes (16 * blocks, dims padded to 4) of blocks [block][group of 4 dims][16 rows][4 dims] stored + 128."""
    steps = blocks.reshape(len(blocks), -1, 16, 4).transpose(0, 2, 1, 3)
    return (steps.reshape(16 * len(blocks), -1).astype(np.int16) - 128).astype(np.int8)


def smallest(keys: Array, keep: int) -> Array:
    """Positions of the `keep` smallest keys, of equal ones the first, in their order."""
    return np.sort(np.argsort(keys, kind="stable")[:keep])


def assert_nearest(result: Any, twin: Array, ids: Array, tolerance: float) -> None:
    """`result` holds the nearest of the twin's (queries, rows) distances, up to rounding; ids[row] names the row."""
    row_of = {int(identity): row for row, identity in enumerate(ids)}
    k = result.ids.shape[1]
    found = min(k, twin.shape[1])
    assert (result.counts == found).all()
    assert result.distances.dtype == np.float32
    assert result.ids.dtype == np.int64
    for query, (distances_got, ids_got) in enumerate(zip(*result, strict=True)):
        rows = [row_of[int(identity)] for identity in ids_got[:found]]
        assert len(set(rows)) == found
        np.testing.assert_allclose(distances_got[:found], twin[query, rows], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(distances_got[:found], np.sort(twin[query])[:found], rtol=tolerance, atol=tolerance)
        assert (ids_got[found:] == -1).all()
        assert np.isposinf(distances_got[found:]).all()


def segment_of(folder: Path) -> Path:
    """The one segment file of a saved index."""
    (segment,) = folder.glob("segment-*.safetensors")
    return segment


def decoded(arrays: Mapping[str, Array], dims: int | None = None) -> Array:
    """The rows that learnt codes stand for, in stored order, before the rotation is undone: a prefix of them.

    arrays: as an index saves them. Blocks are [block][byte][16 rows]; each list starts a new one.
    """
    ends, books, rungs = arrays["table_segment_ends"], arrays["table_codebooks"], arrays["table_rungs"].tolist()
    entries = len(books) // ends[-1]
    offsets = arrays.get("list_offsets", np.array([0, len(arrays["ids"])]))
    blocks = arrays["table_blocks"].transpose(0, 2, 1).reshape(-1, arrays["table_blocks"].shape[1])
    first, parts = 0, []
    for size in np.diff(offsets):
        parts.append(blocks[first : first + size])
        first += -(-size // 16) * 16
    codes = np.concatenate(parts)
    if entries == 16:
        codes = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
    segments = dict(rungs)[dims or rungs[-1][0]]
    begins = [0, *ends[:-1]]
    rows = np.hstack(
        [
            books[entries * begin : entries * end].reshape(entries, end - begin)[codes[:, segment]]
            for segment, (begin, end) in enumerate(zip(begins[:segments], ends[:segments], strict=True))
        ]
    )
    if "table_centroids" in arrays:
        rows = rows + np.repeat(arrays["table_centroids"][:, : rows.shape[1]], np.diff(offsets), axis=0)
    return rows
