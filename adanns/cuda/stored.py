"""An index's arrays on a device, as the kernels of csrc/cuda take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import Arrays
from adanns.cuda.layout import WARP, block_offsets, code_rows, decoded_terms, table_words
from adanns.cuda.memory import Array, Memory
from adanns.ladder import Band

WORKSPACE_BYTES = 512 << 20  # what searches take beside an index, at most
PlaneTuple: TypeAlias = tuple[str, int, int, int, int, int, int, float]
"""Number type, address, elements from row to row, first dim, dims, addresses of scales and offsets, half scale."""


@dataclass(frozen=True)
class Terms:
    """Row terms, a row per rung; none of the inner product."""

    ladder: tuple[int, ...]
    array: Array | None

    def at(self, dims: int) -> Array | None:
        """Of one rung."""
        return None if self.array is None else self.array[self.ladder.index(dims)]


class AllowedRows:
    """Which rows a filter lets through: the terms by which rows are scanned, NaN for all others.

    No kernel knows of filters: a key of NaN is within no bound. Terms are made when a scan first asks for them.
    """

    def __init__(self, allowed: NDArray[np.bool_], memory: Memory) -> None:
        self.count = int(allowed.sum())
        self._allowed, self._memory = memory.put(allowed), memory
        memory.read(self._allowed[:1])  # a wait: searches on other streams may use it at once
        self._masked: dict[tuple[str, int], Array] = {}

    def of(self, terms: Array | None, what: str, dims: int) -> Array:
        """`terms` of a rung, or where there are none, zeros: masked. what: names them."""
        if (what, dims) not in self._masked:
            rows = None if terms is None else terms[: len(self._allowed)]
            masked = self._memory.masked(rows, self._allowed)
            self._memory.read(masked[:1])  # as above
            self._masked[what, dims] = masked
        return self._masked[what, dims]


@dataclass(frozen=True)
class Code:
    """int8 rows of a prefix as one plane, and what makes keys of their dot products at each rung."""

    planes: Any
    key_terms: dict[int, Array | None]


@dataclass(frozen=True)
class Lists:
    """Where lists begin, and their centroids."""

    offsets: Array
    sizes: Array
    count: int
    centroids: Code


@dataclass(frozen=True)
class Tables:
    """A learnt code."""

    code: Any
    dims: int
    rotation: Array
    offsets: Array  # of lists; of one that is all rows, where there are none
    all_lists: Array  # int32
    segments: dict[int, int]  # by rung
    terms: Terms
    bits: int


class DeviceArrays:
    """One index on a device. Keeps its arrays alive: kernels know addresses alone.

    Raises MemoryError before anything is copied where there is no room for it.
    """

    def __init__(
        self,
        arrays: Arrays,
        bands: Sequence[Band],
        ladder: tuple[int, ...],
        metric: str,
        memory: Memory,
        module: ModuleType,
    ) -> None:
        _require_room(arrays, memory)
        self.memory, self.module, self.metric = memory, module, metric
        self._kept: list[Array] = []
        self.rows = len(arrays["ids"])
        self.ids = self._put(arrays["ids"])
        self.ladder, self.dims = ladder, ladder[-1]
        terms = arrays.get("terms")
        self.terms = Terms(ladder, None if terms is None else self._put(terms))
        self.planes = module.Planes([self._plane(band, i, arrays) for i, band in enumerate(bands)])
        self.has_planes = bool(bands)
        offsets = arrays.get("list_offsets", np.array([0, self.rows], np.int64))
        self.code = self._code("code", arrays, offsets, terms, ladder) if "code_blocks" in arrays else None
        self.lists = self._lists(arrays) if "list_offsets" in arrays else None
        self.tables = self._tables(arrays, offsets) if "table_blocks" in arrays else None

    def _put(self, array: NDArray[Any]) -> Array:
        self._kept.append(self.memory.put(np.ascontiguousarray(array)))
        return self._kept[-1]

    def _address(self, array: NDArray[Any] | None) -> int:
        return 0 if array is None else self.memory.address(self._put(array))

    def _plane(self, band: Band, number: int, arrays: Arrays) -> PlaneTuple:
        name = f"plane_{number}"
        plane = arrays[name]
        scales, offsets = (self._address(arrays.get(f"{name}_{part}")) for part in ("scales", "offsets"))
        stored = self._put(plane)
        half_scale = half_scale_of(self.memory.largest(stored)) if plane.dtype == np.float32 else 0.0
        address = self.memory.address(stored)
        return (str(plane.dtype), address, plane.shape[1], band.first_dim, band.dims, scales, offsets, half_scale)

    def _code(
        self,
        name: str,
        arrays: Arrays,
        list_offsets: NDArray[np.int64],
        terms: NDArray[np.float32] | None,
        ladder: tuple[int, ...],
    ) -> Code:
        rows = code_rows(arrays[f"{name}_blocks"], list_offsets)
        scales, offsets = arrays[f"{name}_scales"], arrays[f"{name}_offsets"]
        dims, count = len(scales), len(rows)
        plane = (
            "int8",
            self._address(rows),
            rows.shape[1],
            0,
            dims,
            self._address(scales),
            self._address(offsets),
            0.0,
        )
        key_terms: dict[int, Array | None] = {}
        for rung, prefix in enumerate(ladder):
            if prefix > dims:
                break
            key_terms[prefix] = None if terms is None else self._put(self._key_terms(terms, ladder, rung, dims, count))
        return Code(self.module.Planes([plane]), key_terms)

    def _key_terms(
        self, terms: NDArray[np.float32], ladder: tuple[int, ...], rung: int, code_dims: int, rows: int
    ) -> NDArray[np.float32]:
        """l2: of the rung. cosine: coded rows are normalised at all of the code's dims, so |x_code| / |x_prefix|."""
        own = terms[rung, :rows]
        if self.metric == "l2":
            return own
        whole = terms[ladder.index(code_dims), :rows]
        if ladder[rung] == code_dims:
            return np.ones(rows, np.float32)
        return np.divide(own, whole, out=np.zeros(rows, np.float32), where=whole > 0)

    def _lists(self, arrays: Arrays) -> Lists:
        offsets = arrays["list_offsets"]
        count = len(offsets) - 1
        ladder = tuple(arrays["centroid_ladder"].tolist())
        whole = np.array([0, count], np.int64)
        centroids = self._code("centroid", arrays, whole, arrays.get("centroid_terms"), ladder)
        return Lists(self._put(offsets), self._put(np.diff(offsets)), count, centroids)

    def _tables(self, arrays: Arrays, list_offsets: NDArray[np.int64]) -> Tables:
        ends, rungs = arrays["table_segment_ends"], arrays["table_rungs"]
        bits = (arrays["table_codebooks"].size // int(ends[-1])).bit_length() - 1
        found = table_words(arrays["table_blocks"], bits, len(ends), list_offsets)
        dims = tuple(rungs[:, 0].tolist())
        terms = None
        if self.metric != "ip":
            terms = self._put(decoded_terms(arrays, found.codes, list_offsets, self.metric))
        centroids = arrays.get("table_centroids")
        code = self.module.TableCode(
            bits,
            self._address(found.words),
            found.words.shape[1],
            self._address(block_offsets(list_offsets, WARP)),
            self._address(ends),
            self._address(arrays["table_codebooks"]),
            self._address(centroids),
            0 if centroids is None else centroids.shape[1],
        )
        segments = dict(zip(dims, rungs[:, 1].tolist(), strict=True))
        rotation, offsets = self._put(arrays["table_rotation"]), self._put(list_offsets)
        all_lists = self._put(np.arange(len(list_offsets) - 1, dtype=np.int32))
        return Tables(code, dims[-1], rotation, offsets, all_lists, segments, Terms(dims, terms), bits)


def _require_room(arrays: Arrays, memory: Memory) -> None:
    needed = sum(array.nbytes for array in arrays.values()) + WORKSPACE_BYTES
    free = memory.free_bytes()
    if needed > free:
        raise MemoryError(
            f"the index needs {needed / 1e9:.2f} GB of device memory, its searches' {WORKSPACE_BYTES / 1e9:.2f} GB "
            f"included, and {free / 1e9:.2f} GB are free: use fewer bytes per vector, or the CPU"
        )


def half_scale_of(largest: float) -> float:
    """The power of two that brings values up to `largest` to 2 at most, for float16 to hold; 0 where none does."""
    if not 1e-30 < largest < 1e30:
        return 0.0
    return float(2.0 ** (np.frexp(largest)[1] - 1))
