"""Store vectors once, in planes: one array per band or few neighbouring bands, in its own number type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import Arrays, Vectors, aligned_empty, checked_ids, row_chunks
from adanns.errors import DuplicateIdError
from adanns.ladder import Band, Metric, ladder_for
from adanns.progress import Progress

PADDED = 16  # elements: rows are padded to whole vectors, and row terms leave as much room at their end
PlaneTuple = tuple[int, int, NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]
Scales: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Step and middle of int8 codes per dimension: value = middle + step * code."""
Plan: TypeAlias = Callable[[tuple[int, ...]], tuple[Band, ...]]
"""The planes of vectors with this ladder; raises where something else does not fit the ladder."""


def padded(dims: int) -> int:
    """`dims` rounded up to whole vectors."""
    return -(-dims // PADDED) * PADDED


def plane_tuples(bands: Sequence[Band], arrays: Arrays) -> list[PlaneTuple]:
    """The planes of an index as the engine takes them."""
    return [
        (
            band.first_dim,
            band.dims,
            arrays[f"plane_{i}"],
            arrays.get(f"plane_{i}_scales"),
            arrays.get(f"plane_{i}_offsets"),
        )
        for i, band in enumerate(bands)
    ]


class PlaneBuilder:
    """Packs chunks of vectors into planes; afterwards `bands`, `ladder`, `rows` and `arrays` (planes and ids)."""

    def __init__(
        self,
        metric: Metric,
        ladder: Sequence[int] | None,
        plan: Plan,
        threads: int,
        *,
        learnt: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """learnt: arrays of an index that the vectors are added to: its scales and offsets of int8 are taken."""
        self.metric = metric
        self._given_ladder = ladder
        self._plan = plan
        self._threads = threads
        self._learnt = learnt

    def pack(self, vectors: Any, ids: Any, progress: Progress, *, first_id: int = 0) -> None:
        """Read all chunks. Raises before anything is kept where a chunk is not as expected.

        first_id: of the numbers that rows get without ids of their own.
        """
        added_to = self._given_ladder[-1] if self._learnt is not None and self._given_ladder is not None else None
        chunks, rows = row_chunks(vectors, added_to)
        parts: list[list[NDArray[Any]]] = []
        part_ids: list[Any] = []
        done = 0
        for chunk, chunk_ids in chunks:
            if not parts:
                self.ladder = ladder_for(chunk.shape[1], self._given_ladder)
                self.bands = self._plan(self.ladder)
            if rows is None or not parts:
                parts.append([self._staging(band, rows or len(chunk)) for band in self.bands])
            self._pack_chunk(chunk, parts[-1], done if rows is not None else 0, done)
            if chunk_ids is not None:
                part_ids.append(checked_ids(chunk_ids, len(chunk)))
            done += len(chunk)
            progress.step("packing rows", done, rows or done)
        if not parts:
            raise ValueError("vectors are empty: the iterator gave no chunk")
        if part_ids and (ids is not None or len(part_ids) != len(parts)):
            raise ValueError("ids come either with every chunk or as ids=, not both")
        self.rows = done
        self.arrays: Arrays = {"ids": checked_ids(_joined_ids(part_ids) if part_ids else ids, done, first_id)}
        for i, band in enumerate(self.bands):
            plane = parts[0][i] if len(parts) == 1 else np.concatenate([part[i] for part in parts])
            for part in parts:
                part[i] = plane[:0]  # what was copied is free again
            self._keep(f"plane_{i}", band, plane)

    def permute(self, order: NDArray[np.int64]) -> None:
        """Put row order[i] at i, in every array."""
        for name in ("ids", *(f"plane_{i}" for i in range(len(self.bands)))):
            source = self.arrays[name]
            target = aligned_empty(source.shape, source.dtype)
            _core.permute_rows(source, order, target, self._threads)
            self.arrays[name] = target

    def prefix(
        self, dims: int, rows: NDArray[np.int64] | None = None, first_row: int = 0, count: int = 0
    ) -> NDArray[np.float32]:
        """Stored rows at a prefix as float32 (normalised under cosine)."""
        return _core.read_prefix(self.planes(), rows, first_row, count, dims, self.metric == "cosine", self._threads)

    def planes(self) -> list[PlaneTuple]:
        """The planes as the engine takes them."""
        return plane_tuples(self.bands, self.arrays)

    def drop_planes(self) -> None:
        """Keep what was made of the planes without them."""
        for name in [name for name in self.arrays if name.startswith("plane_")]:
            del self.arrays[name]
        self.bands = ()

    def add_terms(self) -> None:
        """Norms per rung of the values as stored: `terms`, float32 (rungs, rows + padding)."""
        if self.metric == "ip":
            return
        terms = aligned_empty((len(self.ladder), padded(self.rows) + PADDED), np.float32)
        terms[:, self.rows :] = 0
        _core.row_terms(self.planes(), self.rows, self.metric, np.array(self.ladder, np.int32), terms, self._threads)
        self.arrays["terms"] = terms

    def add_code(self, dims: int, list_offsets: NDArray[np.int64]) -> None:
        """int8 blocks of a prefix: `code_blocks`, `code_scales`, `code_offsets`."""
        learnt = self._scales_of("code")
        code = encoded_blocks(self.planes(), dims, self.metric == "cosine", list_offsets, self._threads, learnt)
        self.arrays |= {f"code_{part}": array for part, array in code.items()}

    def _scales_of(self, name: str) -> Scales | None:
        return None if self._learnt is None else (self._learnt[f"{name}_scales"], self._learnt[f"{name}_offsets"])

    def _staging(self, band: Band, rows: int) -> NDArray[Any]:
        # int8 needs the extent of every dimension first, so it waits in float32.
        return aligned_empty((rows, padded(band.dims)), np.float16 if band.type == "float16" else np.float32)

    def _pack_chunk(self, chunk: Vectors, parts: list[NDArray[Any]], first_row: int, rows_before: int) -> None:
        planes: list[PlaneTuple] = [
            (band.first_dim, band.dims, part, None, None) for band, part in zip(self.bands, parts, strict=True)
        ]
        problem, row = _core.pack_rows(chunk, self.metric == "cosine", planes, first_row, self._threads)
        if problem == "not finite":
            raise ValueError(f"vectors: row {rows_before + row} holds NaN or infinity")
        if problem == "beyond float16":
            raise ValueError(
                f"vectors: row {rows_before + row} goes beyond 65504, the largest float16; "
                f"build with precision='float32'"
            )

    def _keep(self, name: str, band: Band, plane: NDArray[Any]) -> None:
        if band.type == "int8":
            codes = aligned_empty(plane.shape, np.int8)
            scales, offsets = _core.quantise_plane(plane, band.dims, codes, self._threads, self._scales_of(name))
            self.arrays |= {name: codes, f"{name}_scales": scales, f"{name}_offsets": offsets}
        else:
            self.arrays[name] = plane


def encoded_blocks(
    planes: list[PlaneTuple],
    dims: int,
    normalise: bool,
    list_offsets: NDArray[np.int64],
    threads: int,
    learnt: Scales | None = None,
) -> Arrays:
    """int8 code `blocks` of a prefix, `scales` and `offsets` per dimension; each list starts a new block of 16 rows."""
    blocks = int((-(-np.diff(list_offsets) // PADDED)).sum())
    codes = aligned_empty((blocks, -(-dims // 4) * 4 * PADDED), np.uint8)
    scales, offsets = _core.encode_blocks(planes, dims, normalise, list_offsets, codes, threads, learnt)
    return {"blocks": codes, "scales": scales, "offsets": offsets}


def _joined_ids(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    try:
        return checked_ids(np.concatenate(parts), sum(len(part) for part in parts))
    except DuplicateIdError as error:
        raise DuplicateIdError(f"{error} (rows counted over all chunks)") from None
