"""Store vectors once, in planes: one array per band or few neighbouring bands, in its own number type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from adanns import _core
from adanns.arrays import CHUNK_ROWS, Arrays, Vectors, aligned_empty, checked_ids, row_chunks
from adanns.errors import DuplicateIdError
from adanns.ladder import Band, Metric, ladder_for
from adanns.progress import Progress
from adanns.workspace import SHARE, GrowingFile, Workspace

PADDED = 16  # elements: rows are padded to whole vectors, and row terms leave as much room at their end
FAULT_BYTES = 1 << 16  # that Linux maps around a byte of a file that is read
PlaneTuple = tuple[int, int, NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]
Scales: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Step and middle of int8 codes per dimension: value = middle + step * code."""
Plan: TypeAlias = Callable[[tuple[int, ...]], tuple[Band, ...]]
"""The planes of vectors with this ladder; raises where something else does not fit the ladder."""
WorkingBytes: TypeAlias = Callable[[int, tuple[int, ...]], int]
"""Memory that it takes to organise so many rows with this ladder, wherever the planes are."""


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
        workspace: Workspace | None = None,
        working_bytes: WorkingBytes = lambda rows, ladder: 0,
        learnt: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """workspace: where the arrays are made; default: in memory. working_bytes: see there.

        learnt: arrays of an index that the vectors are added to: its scales and offsets of int8 are taken.
        """
        self.workspace = workspace or Workspace()
        self._working_bytes = working_bytes
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
        width = vectors.shape[1] if getattr(vectors, "ndim", 0) == 2 else 1
        chunks, rows = row_chunks(vectors, added_to, self.workspace.chunk_rows(4 * max(1, width)))
        parts: list[list[NDArray[Any]]] = []
        files: list[GrowingFile] = []  # in place of parts where they do not fit in memory together
        part_ids: list[Any] = []
        done = chunk_count = 0
        for chunk, chunk_ids in chunks:
            if not chunk_count:
                self.ladder = ladder_for(chunk.shape[1], self._given_ladder)
                self.bands = self._plan(self.ladder)
                if rows is not None:
                    self._expect(rows)
                elif self.workspace.on_disk:
                    files = [self.workspace.growing() for _ in self.bands]
            if rows is None or not parts:
                empty = aligned_empty if files else self.workspace.empty
                parts.append(
                    [empty(_staging_shape(band, rows or len(chunk)), _staging_type(band)) for band in self.bands]
                )
            self._pack_chunk(chunk, parts[-1], done if rows is not None else 0, done)
            if files:
                for file, plane in zip(files, parts.pop(), strict=True):
                    file.append(plane)
            self.workspace.let_go(parts[-1] if parts else ())
            if chunk_ids is not None:
                part_ids.append(checked_ids(chunk_ids, len(chunk)))
            done += len(chunk)
            chunk_count += 1
            progress.step("packing rows", done, rows or done)
        if not chunk_count:
            raise ValueError("vectors are empty: the iterator gave no chunk")
        if part_ids and (ids is not None or len(part_ids) != chunk_count):
            raise ValueError("ids come either with every chunk or as ids=, not both")
        if rows is None:
            self._expect(done)
        self.rows = done
        self.arrays: Arrays = {"ids": checked_ids(_joined_ids(part_ids) if part_ids else ids, done, first_id)}
        for i, band in enumerate(self.bands):
            if files:
                plane = files[i].array(_staging_shape(band, done), _staging_type(band))
            else:
                plane = parts[0][i] if len(parts) == 1 else np.concatenate([part[i] for part in parts])
            for part in parts:
                part[i] = plane[:0]  # what was copied is free again
            self._keep(f"plane_{i}", band, plane)

    def permute(self, order: NDArray[np.int64]) -> None:
        """Put row order[i] at i, in every array."""
        for name in ("ids", *(f"plane_{i}" for i in range(len(self.bands)))):
            source = self.arrays[name]
            target = self.workspace.empty(source.shape, source.dtype)
            if self.workspace.on_disk:
                self._permute_by_parts(source, order, target)
            else:
                _core.permute_rows(source, order, target, self._threads)
            self.arrays[name] = target

    def prefix(
        self, dims: int, rows: NDArray[np.int64] | None = None, first_row: int = 0, count: int = 0
    ) -> NDArray[np.float32]:
        """Stored rows at a prefix as float32 (normalised under cosine)."""
        planes, normalise = self.planes(), self.metric == "cosine"
        if rows is None or not self.workspace.on_disk:
            found = _core.read_prefix(planes, rows, first_row, count, dims, normalise, self._threads)
            self._let_go()
            return found
        found = np.empty((len(rows), dims), np.float32)
        for start in range(0, len(rows), CHUNK_ROWS):
            some = rows[start : start + CHUNK_ROWS]
            found[start : start + len(some)] = _core.read_prefix(planes, some, 0, 0, dims, normalise, self._threads)
            self._let_go()
        return found

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
        terms = self.workspace.empty((len(self.ladder), padded(self.rows) + PADDED), np.float32)
        terms[:, self.rows :] = 0
        ladder = np.array(self.ladder, np.int32)
        chunk_rows = self.workspace.chunk_rows(4 * padded(self.ladder[-1]))
        for start in range(0, self.rows, chunk_rows):
            end = min(start + chunk_rows, self.rows)
            part = np.empty((len(ladder), end - start), np.float32)
            planes = [
                (first, dims, rows[start:end], scales, offsets) for first, dims, rows, scales, offsets in self.planes()
            ]
            _core.row_terms(planes, end - start, self.metric, ladder, part, self._threads)
            terms[:, start:end] = part
            self._let_go()
        self.workspace.let_go((terms,))
        self.arrays["terms"] = terms

    def add_code(self, dims: int, list_offsets: NDArray[np.int64]) -> None:
        """int8 blocks of a prefix: `code_blocks`, `code_scales`, `code_offsets`."""
        learnt, empty = self._scales_of("code"), self.workspace.empty
        code = encoded_blocks(self.planes(), dims, self.metric == "cosine", list_offsets, self._threads, learnt, empty)
        self._let_go()
        self.arrays |= {f"code_{part}": array for part, array in code.items()}

    def _scales_of(self, name: str) -> Scales | None:
        return None if self._learnt is None else (self._learnt[f"{name}_scales"], self._learnt[f"{name}_offsets"])

    def _expect(self, rows: int) -> None:
        """Of planes, a second copy of one while rows are put in order, and terms."""
        row_bytes = [padded(band.dims) * (2 if band.type == "float16" else 4) for band in self.bands]
        terms = 0 if self.metric == "ip" else 4 * len(self.ladder)
        array_bytes = rows * (sum(row_bytes) + max(row_bytes, default=0) + terms)
        self.workspace.expect(rows, array_bytes, self._working_bytes(rows, self.ladder))

    def _permute_by_parts(self, source: NDArray[Any], order: NDArray[np.int64], target: NDArray[Any]) -> None:
        """Parts of the target that fit in memory, each filled in the order of the source: disks like it so."""
        share = (self.workspace.budget or 0) // SHARE
        part_rows = max(1, share * len(source) // source.nbytes)
        scattered_rows = max(PADDED, share // FAULT_BYTES)
        for start in range(0, len(order), part_rows):
            rows = order[start : start + part_rows]
            part = aligned_empty((len(rows), *source.shape[1:]), source.dtype)
            ascending = np.argsort(rows, kind="stable")
            for first in range(0, len(rows), scattered_rows):
                some = ascending[first : first + scattered_rows]
                part[some] = source[rows[some]]
                self.workspace.let_go((source,))
            target[start : start + len(rows)] = part
            self.workspace.let_go((target,))

    def _let_go(self) -> None:
        self.workspace.let_go(self.arrays.values())

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
            codes = self.workspace.empty(plane.shape, np.int8)
            scales, offsets = _core.quantise_plane(plane, band.dims, codes, self._threads, self._scales_of(name))
            self.workspace.let_go((plane, codes))
            self.arrays |= {name: codes, f"{name}_scales": scales, f"{name}_offsets": offsets}
        else:
            self.arrays[name] = plane


def _staging_shape(band: Band, rows: int) -> tuple[int, int]:
    return rows, padded(band.dims)


def _staging_type(band: Band) -> type[np.floating[Any]]:
    # int8 needs the extent of every dimension first, so it waits in float32.
    return np.float16 if band.type == "float16" else np.float32


def encoded_blocks(
    planes: list[PlaneTuple],
    dims: int,
    normalise: bool,
    list_offsets: NDArray[np.int64],
    threads: int,
    learnt: Scales | None = None,
    empty: Callable[[tuple[int, ...], DTypeLike], NDArray[Any]] = aligned_empty,
) -> Arrays:
    """int8 code `blocks` of a prefix, `scales` and `offsets` per dimension; each list starts a new block of 16 rows."""
    blocks = int((-(-np.diff(list_offsets) // PADDED)).sum())
    codes = empty((blocks, -(-dims // 4) * 4 * PADDED), np.uint8)
    scales, offsets = _core.encode_blocks(planes, dims, normalise, list_offsets, codes, threads, learnt)
    return {"blocks": codes, "scales": scales, "offsets": offsets}


def _joined_ids(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    try:
        return checked_ids(np.concatenate(parts), sum(len(part) for part in parts))
    except DuplicateIdError as error:
        raise DuplicateIdError(f"{error} (rows counted over all chunks)") from None
