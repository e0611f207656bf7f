"""The codes of an index as kernels read them: rows one after another instead of the CPU's blocks of 16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import CHUNK_ROWS, Arrays
from adanns.planes import padded

BLOCK_ROWS = 16  # of the CPU's blocks; each list starts a new one
WARP = 32  # rows that table codes are interleaved for; each list starts a new warp of them
WORD_BYTES = 4


def code_rows(blocks: NDArray[np.uint8], list_offsets: NDArray[np.int64]) -> NDArray[np.int8]:
    """int8 codes, row-major and padded to 16 dims; blocks: [block][group of 4 dims][16 rows][4 dims], code + 128."""
    groups = blocks.shape[1] // (4 * BLOCK_ROWS)
    source = stored_at(list_offsets, BLOCK_ROWS)
    rows = np.zeros((len(source), padded(4 * groups)), np.int8)
    by_row = blocks.reshape(-1, groups, BLOCK_ROWS, 4)
    for start in range(0, len(source), CHUNK_ROWS):
        at = source[start : start + CHUNK_ROWS]
        codes = by_row[at // BLOCK_ROWS, :, at % BLOCK_ROWS, :].reshape(len(at), -1)
        rows[start : start + len(at), : 4 * groups] = (codes ^ 0x80).view(np.int8)
    return rows


def stored_at(list_offsets: NDArray[np.int64], block_rows: int) -> NDArray[np.int64]:
    """The place of each row where every list starts a new block."""
    sizes = np.diff(list_offsets)
    first = block_offsets(list_offsets, block_rows)[:-1] * block_rows
    return np.arange(int(list_offsets[-1]), dtype=np.int64) + np.repeat(first - list_offsets[:-1], sizes)


def block_offsets(list_offsets: NDArray[np.int64], block_rows: int) -> NDArray[np.int64]:
    """The first block of each list, and how many there are."""
    return np.concatenate([[0], np.cumsum(-(-np.diff(list_offsets) // block_rows))]).astype(np.int64)


@dataclass(frozen=True)
class TableWords:
    """words: uint32 [block of 32 rows][word][32 rows], the first code lowest; codes: uint8 (rows, segments)."""

    words: NDArray[np.uint32]
    codes: NDArray[np.uint8]


def table_words(blocks: NDArray[np.uint8], bits: int, segments: int, list_offsets: NDArray[np.int64]) -> TableWords:
    """Table codes interleaved for warps, from blocks [block][byte][16 rows]."""
    source, target = stored_at(list_offsets, BLOCK_ROWS), stored_at(list_offsets, WARP)
    row_bytes = blocks.shape[1]
    row_words = -(-row_bytes // WORD_BYTES)
    warps = int(block_offsets(list_offsets, WARP)[-1])
    padded_rows = np.zeros((warps * WARP, row_words * WORD_BYTES), np.uint8)
    bytes_of_rows = blocks[source // BLOCK_ROWS, :, source % BLOCK_ROWS]
    padded_rows[target, :row_bytes] = bytes_of_rows
    words = padded_rows.view(np.uint32).reshape(warps, WARP, row_words)
    codes = bytes_of_rows
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)[:, :segments]
    return TableWords(np.ascontiguousarray(words.transpose(0, 2, 1)), np.ascontiguousarray(codes))


def decoded_terms(
    arrays: Arrays, codes: NDArray[np.uint8], list_offsets: NDArray[np.int64], metric: str
) -> NDArray[np.float32]:
    """Row terms (rungs, rows) of what table codes decode to: l2 |x|^2, cosine 1 / |x|, 0 where a row was zero."""
    ends, entries = arrays["table_segment_ends"], arrays["table_codebooks"].reshape(-1)
    size = len(entries) // int(ends[-1])
    rungs = arrays["table_rungs"]
    centroids = arrays.get("table_centroids")
    list_of_row = np.repeat(np.arange(len(list_offsets) - 1), np.diff(list_offsets))
    terms = np.empty((len(rungs), len(codes)), np.float32)
    for start in range(0, len(codes), CHUNK_ROWS):
        some = slice(start, start + CHUNK_ROWS)
        squares = np.zeros(len(codes[some]), np.float32)
        begin = rung = 0
        for segment, end in enumerate(ends.tolist()):
            book = entries[begin * size : end * size].reshape(size, end - begin)
            values = book[codes[some, segment]]
            if centroids is not None:
                values = values + centroids[list_of_row[some], begin:end]
            squares += np.square(values).sum(axis=1)
            begin = end
            if segment + 1 == rungs[rung, 1]:
                terms[rung, some] = squares
                rung += 1
    if metric == "l2":
        return terms
    terms = np.where(terms > 0, 1 / np.sqrt(np.where(terms > 0, terms, 1)), 0).astype(np.float32)
    terms[:, arrays.get("zero_rows", np.empty(0, np.int64))] = 0
    return terms
