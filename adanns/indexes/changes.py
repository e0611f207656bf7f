"""New rows in the manner of an index that was built, and segments merged into one, without learning anything again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import CHUNK_ROWS, Arrays, aligned_empty
from adanns.indexes.built import Built, bundle
from adanns.indexes.snapshot import Segment, Snapshot, unpacked
from adanns.indexes.table_codes import add_learnt_codes
from adanns.parameters import IndexParameters
from adanns.planes import PADDED, PlaneBuilder, padded
from adanns.progress import Progress

PER_ROW = ("ids", "terms", "code_blocks", "list_offsets", "table_blocks", "zero_rows")
"""Arrays that each segment has of its own, beside its planes; all others are learnt, and shared with the first."""

MERGE_RATIO = 2  # segments after the first shrink by it at least, so there are O(log rows) of them


def own_arrays(built: Built, *, first: bool) -> Arrays:
    """What a saved segment holds: the first one everything, the others what is not the first one's."""
    return {name: array for name, array in built.arrays.items() if first or is_per_row(name)}


def is_per_row(name: str) -> bool:
    """Whether an array is of a segment's own rows."""
    return name in PER_ROW or (name.startswith("plane_") and name.removeprefix("plane_").isdecimal())


def encoded(
    first: Built,
    parameters: IndexParameters,
    builder: PlaneBuilder,
    points: NDArray[np.float32] | None,
    progress: Progress,
    threads: int,
) -> Built:
    """A builder's rows as the first segment's: in its lists, by its codes.

    points: what the lists were clustered by, float32 (rows, centroid dims), where that is no prefix of the rows.
    """
    offsets = np.array([0, builder.rows], np.int64)
    if first.lists:
        offsets = _sorted_into_lists(first, builder, points, threads)
        builder.arrays["list_offsets"] = offsets
    if "code_blocks" in first.arrays:
        builder.add_code(first.code_dims, offsets)
    if first.table_rungs:
        add_learnt_codes(builder, first.arrays, offsets, progress, threads)
    if first.codes_alone:
        builder.drop_planes()
    else:
        builder.add_terms()
    return bundle(parameters, shared_arrays(first) | builder.arrays)


def shared_arrays(first: Built) -> Arrays:
    """All that an index learnt."""
    return {name: array for name, array in first.arrays.items() if not is_per_row(name)}


def _sorted_into_lists(
    first: Built, builder: PlaneBuilder, points: NDArray[np.float32] | None, threads: int
) -> NDArray[np.int64]:
    centroids = coded_centroids(first.arrays)
    nearest = np.empty(builder.rows, np.int32)
    for start in range(0, builder.rows, CHUNK_ROWS):
        end = min(start + CHUNK_ROWS, builder.rows)
        if points is None:
            some = builder.prefix(first.centroid_dims, first_row=start, count=end - start)
        else:
            some = np.ascontiguousarray(points[start:end])
        nearest[start:end] = _core.assign(some, centroids, False, False, threads)[0]
    builder.permute(np.argsort(nearest, kind="stable").astype(np.int64))
    counts = np.bincount(nearest, minlength=first.lists)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def coded_centroids(arrays: Arrays) -> NDArray[np.float32]:
    """Centroids as routing has them: decoded from blocks [block][group of 4 dims][16 centroids][4 dims]."""
    blocks, scales = arrays["centroid_blocks"], arrays["centroid_scales"]
    steps = blocks.reshape(len(blocks), -1, PADDED, 4).transpose(0, 2, 1, 3).reshape(PADDED * len(blocks), -1)
    codes = steps[: len(arrays["list_offsets"]) - 1, : len(scales)].astype(np.float32) - 128
    return np.ascontiguousarray(arrays["centroid_offsets"] + scales * codes, np.float32)


def small_tail(snapshot: Snapshot) -> int:
    """How many of the last segments to merge into one: those that the rows after them outgrow. Never the first one,
    which may be larger than memory.
    """
    rows = [segment.built.rows for segment in snapshot.segments]
    count, together = 1, rows[-1]
    while count < len(rows) - 1 and rows[-count - 1] <= MERGE_RATIO * together:
        count += 1
        together += rows[-count]
    return count


def merged(segments: Sequence[Segment], first: Built, parameters: IndexParameters) -> Built:
    """The live rows of some segments in one: list by list, segment after segment in each."""
    sources = [Source(segment) for segment in segments]
    counts = np.sum([source.counts for source in sources], axis=0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    block_offsets = np.concatenate([[0], np.cumsum(-(-counts // PADDED))]).astype(np.int64)
    filled = np.zeros(len(counts), np.int64)
    for source in sources:
        source.place(offsets, block_offsets, filled)
        filled += source.counts
    arrays = shared_arrays(first)
    for name in first.arrays:
        if name == "list_offsets":
            arrays[name] = offsets
        elif name in ("code_blocks", "table_blocks"):
            arrays[name] = _merged_blocks(name, sources, int(block_offsets[-1]))
        elif name != "zero_rows" and is_per_row(name):
            arrays[name] = _merged_rows(name, sources, int(offsets[-1]))
    zero = np.concatenate([source.zero_rows() for source in sources])
    if len(zero):
        arrays["zero_rows"] = np.sort(zero)
    return bundle(parameters, arrays)


class Source:
    """The live rows of a segment that is merged, and where they go.

    rows: as stored, in the order of lists. counts: of each list. to: their rows there; slots: their places in blocks of
    16, of which each list starts a new one, here (`from_slots`) and there (`to_slots`).
    """

    def __init__(self, segment: Segment) -> None:
        self.arrays = segment.built.arrays
        live = unpacked(segment)
        self.rows = np.flatnonzero(live)
        offsets = self.arrays.get("list_offsets", np.array([0, segment.built.rows], np.int64))
        self._list_of_row = np.searchsorted(offsets, self.rows, side="right") - 1
        self.counts = np.bincount(self._list_of_row, minlength=len(offsets) - 1)
        block_offsets = np.concatenate([[0], np.cumsum(-(-np.diff(offsets) // PADDED))])
        self.from_slots = PADDED * block_offsets[self._list_of_row] + self.rows - offsets[self._list_of_row]

    def place(self, offsets: NDArray[np.int64], block_offsets: NDArray[np.int64], filled: NDArray[np.int64]) -> None:
        """Go behind what already fills each list."""
        lists = self._list_of_row
        firsts = np.concatenate([[0], np.cumsum(self.counts)])
        in_list = filled[lists] + np.arange(len(lists)) - firsts[lists]
        self.to = offsets[lists] + in_list
        self.to_slots = PADDED * block_offsets[lists] + in_list

    def zero_rows(self) -> NDArray[np.int64]:
        """Where the rows that are zero go."""
        zero = self.arrays.get("zero_rows", np.empty(0, np.int64))
        return np.asarray(self.to[np.isin(self.rows, zero)], np.int64)


def _chunks(source: Source) -> list[slice]:
    return [slice(start, start + CHUNK_ROWS) for start in range(0, len(source.rows), CHUNK_ROWS)]


def _merged_rows(name: str, sources: Sequence[Source], rows: int) -> NDArray[np.generic]:
    like = sources[0].arrays[name]
    if name == "terms":
        terms = aligned_empty((len(like), padded(rows) + PADDED), like.dtype)
        terms[:, rows:] = 0
        for source in sources:
            terms[:, source.to] = source.arrays[name][:, source.rows]
        return terms
    merged_rows = aligned_empty((rows, *like.shape[1:]), like.dtype)
    for source in sources:
        for some in _chunks(source):  # a copy of a chunk at a time, whatever the size of a segment
            merged_rows[source.to[some]] = source.arrays[name][source.rows[some]]
    return merged_rows


def _merged_blocks(name: str, sources: Sequence[Source], blocks: int) -> NDArray[np.uint8]:
    like = sources[0].arrays[name]
    merged_blocks = aligned_empty((blocks, *like.shape[1:]), like.dtype)
    merged_blocks[...] = 128 if name == "code_blocks" else 0  # code 0, which fills the last block of a list
    to = _by_row(name, merged_blocks)
    for source in sources:
        read = _by_row(name, source.arrays[name])
        for some in _chunks(source):
            to_block, to_row = np.divmod(source.to_slots[some], PADDED)
            block, row = np.divmod(source.from_slots[some], PADDED)
            to[to_block, :, to_row] = read[block, :, row]
    return merged_blocks


def _by_row(name: str, blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A view with the 16 rows of a block on its third axis."""
    return blocks.reshape(len(blocks), blocks.shape[1] // (4 * PADDED), PADDED, 4) if name == "code_blocks" else blocks
