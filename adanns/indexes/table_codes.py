"""Learnt codes of a prefix: trained on a sample of the rows, written for all of them in blocks that scans look up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import CHUNK_ROWS, Arrays
from adanns.parameters import CodeParameters
from adanns.planes import PlaneBuilder
from adanns.progress import Progress
from adanns.training.allocation import allocate
from adanns.training.codebooks import Codebooks
from adanns.training.kmeans import sample_rows
from adanns.training.opq import Block, ProductQuantiser, rotated, scale_of, train_opq

COPIES_TO_LEARN = 4  # of the training points: themselves, rotated, decoded, and one in passing
COPIES_TO_CODE = 3  # of a chunk of rows: themselves, scaled, rotated

TableCodeTuple: TypeAlias = tuple[
    int,
    int,
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.uint8],
    NDArray[np.float32] | None,
]


def table_code_tuple(arrays: Arrays) -> TableCodeTuple:
    """The learnt code of an index as the engine takes it."""
    rungs, ends, codebooks = arrays["table_rungs"], arrays["table_segment_ends"], arrays["table_codebooks"]
    if not (rungs.ndim == 2 and rungs.size and ends.ndim == 1 and ends.size and ends[-1] > 0):
        raise ValueError("a learnt code has segments and rungs")
    bits = (len(codebooks) // int(ends[-1])).bit_length() - 1  # a codebook has 2**bits entries
    return (
        int(rungs[-1, 0]),
        bits,
        rungs,
        ends,
        arrays["table_rotation"],
        codebooks,
        arrays["table_blocks"],
        arrays.get("table_centroids"),
    )


@dataclass(frozen=True)
class TableCode:
    """How a code is learnt.

    rungs: prefixes that are codes of their own, increasing; the last is what is coded. Each band between them is
        rotated on its own and gets as many of the `segments` as pay.
    residual: of what is left of a row without the mean of its list.
    """

    rungs: tuple[int, ...]
    segments: int
    bits: int
    rotations: int
    seed: int
    training_rows: int
    residual: bool

    @classmethod
    def of(cls, parameters: CodeParameters, rungs: tuple[int, ...], *, residual: bool) -> TableCode:
        """As an index's parameters have it."""
        return cls(
            rungs=rungs,
            segments=parameters.segments,
            bits=parameters.code_bits,
            rotations=parameters.rotations,
            seed=parameters.seed,
            training_rows=parameters.training_rows,
            residual=residual,
        )

    @property
    def dims(self) -> int:
        """The coded prefix."""
        return self.rungs[-1]


def check_training_rows(rows: int, code: TableCode) -> None:
    """Raise where codebooks cannot be learnt from so few rows."""
    entries = 1 << code.bits
    if min(rows, code.training_rows) < entries:
        what = f"the {rows} rows" if rows <= code.training_rows else f"training_rows={code.training_rows}"
        advice = "; bits=4 needs 16" if code.bits == 8 else ""
        raise ValueError(f"{what} are fewer than the {entries} entries of a codebook of {code.bits} bits{advice}")


def code_working_bytes(rows: int, code: TableCode) -> int:
    """Memory that it takes to learn a code and to write it for so many rows."""
    training, chunk = min(rows, code.training_rows), min(rows, CHUNK_ROWS)
    return 4 * code.dims * (COPIES_TO_LEARN * training + COPIES_TO_CODE * chunk) + rows * (8 + 2 * code.segments)


def add_table_code(
    builder: PlaneBuilder, code: TableCode, list_offsets: NDArray[np.int64], progress: Progress, threads: int
) -> None:
    """Learn a code and write it for all rows, which are in the order of their lists (or one list of all).

    Adds table_blocks, table_rungs, table_segment_ends, table_rotation, table_codebooks and table_distortion; of
    residuals table_centroids; zero_rows where a metric that normalises met any.
    """
    rows = Rows(builder, code.dims, list_offsets)
    if code.residual:
        rows.take_off(rows.list_means())
    points = rows.points(sample_rows(builder.rows, code.training_rows, code.seed))
    blocks = [Block(code.dims, code.segments)]
    if len(code.rungs) > 1:
        blocks = allocate(
            points, code.rungs, code.segments, code.bits, seed=code.seed, threads=threads, progress=progress
        )
    quantiser = train_opq(
        points, blocks, code.bits, iterations=code.rotations, seed=code.seed, threads=threads, progress=progress
    )
    del points
    builder.arrays |= {
        "table_rungs": np.array(quantiser.rungs, np.int32),
        "table_segment_ends": quantiser.codebooks.segment_ends,
        "table_rotation": quantiser.rotation,
        "table_codebooks": quantiser.entries,
        "table_distortion": np.array(quantiser.distortion),
    }
    if rows.means is not None:
        builder.arrays["table_centroids"] = rotated(rows.means, quantiser.rotation, threads)
    _write_codes(builder, rows, quantiser, list_offsets, progress, threads)


def add_learnt_codes(
    builder: PlaneBuilder, learnt: Arrays, list_offsets: NDArray[np.int64], progress: Progress, threads: int
) -> None:
    """Write for a builder's rows the code that another index learnt, of which `learnt` are the arrays."""
    rungs, ends, entries = learnt["table_rungs"], learnt["table_segment_ends"], learnt["table_codebooks"]
    rotation = learnt["table_rotation"]
    scale = scale_of(entries.reshape(-1, int(ends[-1])))
    bits = (len(entries) // int(ends[-1])).bit_length() - 1
    books = Codebooks(bits, ends, entries * np.float32(scale))
    quantiser = ProductQuantiser(rotation, books, tuple((int(dims), int(count)) for dims, count in rungs), scale, ())
    rows = Rows(builder, int(rungs[-1, 0]), list_offsets)
    if "table_centroids" in learnt:
        rows.take_off(_core.multiply_rows(learnt["table_centroids"], rotation, threads))  # turned back
    _write_codes(builder, rows, quantiser, list_offsets, progress, threads)


def _write_codes(
    builder: PlaneBuilder,
    rows: Rows,
    quantiser: ProductQuantiser,
    list_offsets: NDArray[np.int64],
    progress: Progress,
    threads: int,
) -> None:
    codes, zero_rows = encoded(rows, quantiser, progress, threads)
    builder.arrays["table_blocks"] = _core.pack_table_blocks(codes, quantiser.codebooks.bits, list_offsets, threads)
    if len(zero_rows) and builder.metric == "cosine":
        builder.arrays["zero_rows"] = zero_rows


class Rows:
    """The rows of a builder as a code sees them: a prefix, less what is taken off the rows of each list."""

    def __init__(self, builder: PlaneBuilder, dims: int, list_offsets: NDArray[np.int64]) -> None:
        self.count = builder.rows
        self.means: NDArray[np.float32] | None = None
        self._builder = builder
        self._dims = dims
        self._lists = len(list_offsets) - 1
        self._list_of_row = np.repeat(np.arange(self._lists), np.diff(list_offsets))

    def take_off(self, means: NDArray[np.float32]) -> None:
        """From now on rows come without the mean of their list, float32 (lists, dims)."""
        self.means = means

    def points(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Any rows, float32 (rows, dims)."""
        return self._without_means(self._builder.prefix(self._dims, rows), rows)

    def chunk(self, start: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Rows [start, end), and which of all rows are zero among them."""
        prefix = self._builder.prefix(self._dims, first_row=start, count=end - start)
        zero_rows = start + np.flatnonzero(~prefix.any(axis=1))
        return self._without_means(prefix, slice(start, end)), zero_rows

    def _without_means(self, prefix: NDArray[np.float32], rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        if self.means is not None:
            prefix -= self.means[self._list_of_row[rows]]
        return prefix

    def list_means(self) -> NDArray[np.float32]:
        """Of all rows of each list, summed in float64; 0 of an empty one."""
        sums = np.zeros((self._lists, self._dims))
        for start in range(0, self.count, CHUNK_ROWS):
            end = min(start + CHUNK_ROWS, self.count)
            prefix = self._builder.prefix(self._dims, first_row=start, count=end - start)
            lists, firsts = np.unique(self._list_of_row[start:end], return_index=True)
            sums[lists] += np.add.reduceat(prefix, firsts, axis=0, dtype=np.float64)
        means = sums / np.maximum(np.bincount(self._list_of_row, minlength=self._lists), 1)[:, np.newaxis]
        return means.astype(np.float32)


def encoded(
    rows: Rows, quantiser: ProductQuantiser, progress: Progress, threads: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Codes of all rows, uint8 (rows, segments), and the rows that are zero."""
    codes = np.empty((rows.count, len(quantiser.codebooks.segment_ends)), np.uint8)
    zero_rows = []
    for start in range(0, rows.count, CHUNK_ROWS):
        end = min(start + CHUNK_ROWS, rows.count)
        points, zero = rows.chunk(start, end)
        codes[start:end] = quantiser.encode(points, threads)
        zero_rows.append(zero)
        progress.step("coding rows", end, rows.count)
    return codes, np.concatenate(zero_rows)
