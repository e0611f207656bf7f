"""How do tests call the kernels of csrc/cuda, and what must these give?

Vectors are small integers, so that every sum is exact in any order and the twin's answer is the answer, ties and all.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from cuda_emulator.emulator import Device, Emulator
from cuda_hardware import Hardware, HardwareMemory
from numpy.typing import NDArray

Array = NDArray[Any]
AnyDevice: TypeAlias = Device | HardwareMemory

DTYPES = {"float32": np.float32, "float16": np.float16, "int8": np.int8}
Loaded = tuple[ModuleType, Emulator | Hardware]
NO_CANDIDATE = np.uint64(2**64 - 1)


def load(folder: Path) -> Loaded:
    """adanns._cuda as the emulator runs it, and the emulator inside it."""
    (path,) = folder.glob("_cuda.*.so")
    spec = importlib.util.spec_from_file_location("_cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, Emulator(path)


def small_integers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.integers(-3, 4, shape).astype(np.float32)


def row_terms(rows: Array, metric: str, dims: int) -> Array:
    """l2 |x|^2, cosine 1 / |x| (0 for zeros), of a prefix."""
    squares = (rows[:, :dims].astype(np.float64) ** 2).sum(axis=1)
    if metric == "cosine":
        return np.where(squares > 0, 1 / np.sqrt(np.where(squares > 0, squares, 1)), 0).astype(np.float32)
    return squares.astype(np.float32)


def keys(rows: Array, queries: Array, metric: str, dims: int) -> Array:
    """(queries, rows): what the kernels rank by, in float32 as they do."""
    dots = (queries[:, :dims].astype(np.float64) @ rows[:, :dims].T.astype(np.float64)).astype(np.float32)
    terms = row_terms(rows, metric, dims)
    found = {"l2": terms - 2 * dots, "ip": -dots, "cosine": -dots * terms}[metric]
    return (found + np.float32(0)).astype(np.float32)


def nearest(keys: Array, keep: int) -> tuple[Array, Array]:
    """(keys, rows) of each query's nearest, equal keys by row; +inf and -1 behind the last."""
    found = np.full((len(keys), keep), np.inf, np.float32), np.full((len(keys), keep), -1, np.int64)
    for query, of_rows in enumerate(keys):
        order = [row for row in np.argsort(of_rows, kind="stable")[:keep] if of_rows[row] < np.inf]
        found[0][query, : len(order)], found[1][query, : len(order)] = of_rows[order], order
    return found


def probed(offsets: Array, probes: Array) -> Array:
    """(queries, rows): is the row in a list that the query probes? probes: -1 for none."""
    list_of_row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return np.asarray((probes[:, :, None] == list_of_row).any(axis=1))


def packed(keys: Array, rows: Array) -> Array:
    """Candidates as csrc/cuda/planes.h defines them; none where the row is -1."""
    bits = keys.astype(np.float32).view(np.uint32)
    ordered = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    return np.where(rows < 0, NO_CANDIDATE, ordered << np.uint64(32) | np.maximum(rows, 0).astype(np.uint64))


def unpacked(candidates: Array) -> tuple[Array, Array]:
    """(keys, rows) of candidates as csrc/cuda/planes.h defines them."""
    bits = (candidates >> np.uint64(32)).astype(np.uint32)
    keys = np.where(bits >> 31 == 1, bits & np.uint32(0x7FFFFFFF), ~bits).astype(np.uint32).view(np.float32)
    none = candidates == NO_CANDIDATE
    return np.where(none, np.float32(np.inf), keys), np.where(none, -1, (candidates & 0xFFFFFFFF).astype(np.int64))


def assert_equals_twin(candidates: Array, keys: Array, keep: int) -> None:
    """The candidates are the nearest rows by `keys` (queries, rows), bit for bit, equal keys in the order of rows."""
    found, twin = unpacked(candidates), nearest(keys, keep)
    np.testing.assert_array_equal(found[0], twin[0])
    np.testing.assert_array_equal(found[1], twin[1])


def found_of(module: ModuleType, device: AnyDevice, queries: int, keep: int, groups: int, capacity: int | None) -> Any:
    """What a scan finds, with room for `capacity` candidates of each query."""
    capacity = capacity or module.capacity_for(keep)
    arrays = [
        device.empty((queries, capacity), np.uint64),
        device.empty((queries,), np.int32),
        device.empty((queries,), np.float32),
        device.empty((queries, max(1, groups)), np.uint32),
    ]
    return module.Found(*(device.address(array) for array in arrays), capacity, groups)


@dataclass
class Stored:
    """Rows as planes on a device: `values` is what the planes hold, number types and all."""

    module: ModuleType
    device: AnyDevice
    values: Array
    planes: Any

    @classmethod
    def of(cls, module: ModuleType, device: AnyDevice, rows: Array, types: dict[int, str]) -> Stored:
        """types: number type by the plane's last dim, ascending."""
        tuples, first = [], 0
        values = rows.copy()
        for end, kind in types.items():
            dims = end - first
            scales, offsets = np.full(dims, 0.5, np.float32), np.full(dims, -1, np.float32)
            part = rows[:, first:end]
            if kind == "int8":
                values[:, first:end] = offsets + scales * part
            # What pads a row is any number: queries are zero there.
            padded = np.full((len(rows), -(-dims // 16) * 16), 7, DTYPES[kind])
            padded[:, :dims] = part
            scale_address, offset_address = (device.lend(each) for each in (scales, offsets))
            plane = (kind, device.lend(padded), padded.shape[1], first, dims, scale_address, offset_address, 4.0)
            tuples.append(plane)
            first = end
        return cls(module, device, values, module.Planes(tuples))

    def terms(self, metric: str, dims: int) -> int:
        return 0 if metric == "ip" else self.device.lend(row_terms(self.values, metric, dims))

    def queries(self, queries: Array) -> tuple[int, int, int]:
        return self.device.lend(queries), queries.shape[1], len(queries)

    def scan_all(
        self,
        queries: Array,
        metric: str,
        dims: int,
        keep: int,
        capacity: int | None = None,
        *,
        tiles: bool = False,
        multiprocessors: int = 2,
    ) -> Array:
        """Candidates (queries, keep). tiles: on tensor cores. multiprocessors: fewer give each block more rows."""
        rows, count = len(self.values), len(queries)
        found = found_of(self.module, self.device, count, keep, self.module.sample_groups(rows, keep), capacity)
        out = self.device.empty((count, keep), np.uint64)
        arguments = [self.planes, metric, self.terms(metric, dims), self.queries(queries), rows, dims, keep]
        arguments.append(multiprocessors)
        if tiles:
            halves = self.device.empty((self.module.halves_for(self.planes, dims, count),), np.uint8)
            self.module.scan_tiles(*arguments, self.device.address(halves), found, self.device.address(out))
        else:
            self.module.scan_all(*arguments, found, self.device.address(out))
        return self.device.read(out)

    def scan_lists(
        self,
        queries: Array,
        metric: str,
        dims: int,
        keep: int,
        offsets: Array,
        probes: Array,
        capacity: int | None = None,
        *,
        tiles: bool = False,
    ) -> Array:
        """Candidates (queries, keep). offsets: int64 (lists + 1); probes: int32 (queries, probes)."""
        module, count = self.module, len(queries)
        lists, probe_count = len(offsets) - 1, probes.shape[1]
        numbers = self.device.empty((module.list_numbers(lists, count, probe_count),), np.int32)
        out = self.device.empty((count, keep), np.uint64)
        scan, more = module.scan_lists, {}
        if tiles:
            halves = self.device.empty((module.halves_for(self.planes, dims, count),), np.uint8)
            scan, more = module.scan_list_tiles, {"rows": len(self.values), "halves": self.device.address(halves)}
        scan(
            self.planes,
            metric,
            self.terms(metric, dims),
            self.queries(queries),
            offsets=self.device.lend(offsets),
            lists=lists,
            probes=self.device.lend(probes),
            probe_count=probe_count,
            dims=dims,
            keep=keep,
            numbers=self.device.address(numbers),
            found=found_of(module, self.device, count, keep, module.list_tile_groups(keep) if tiles else 0, capacity),
            out=self.device.address(out),
            **more,
        )
        return self.device.read(out)

    def rerank(
        self,
        queries: Array,
        metric: str,
        scan_dims: int,
        stages: list[tuple[int, int, bool]],
        candidates: Array,
        ids: Array,
        k: int,
    ) -> tuple[Array, Array]:
        """(distances, ids), each (queries, k). stages: (dims, keep, exact)."""
        distances = self.device.empty((len(queries), k), np.float32)
        nearest_ids = self.device.empty((len(queries), k), np.int64)
        counts = self.device.empty((len(queries),), np.int32)
        rescored = self.device.empty((len(queries), max(1, len(stages))), np.int32)
        self.module.rerank(
            self.planes,
            metric,
            scan_dims,
            self.terms(metric, scan_dims),
            [(dims, keep, exact, self.terms(metric, dims)) for dims, keep, exact in stages],
            self.queries(queries),
            self.device.lend(candidates),
            candidates.shape[1],
            self.device.lend(ids),
            k,
            self.device.address(distances),
            self.device.address(nearest_ids),
            self.device.address(counts),
            self.device.address(rescored),
        )
        found = self.device.read(distances), self.device.read(nearest_ids)
        np.testing.assert_array_equal(self.device.read(counts), np.isfinite(found[0]).sum(axis=1))
        if stages:
            kept = np.minimum((candidates != NO_CANDIDATE).sum(axis=1)[:, None], [keep for _, keep, _ in stages])
            np.testing.assert_array_equal(self.device.read(rescored), np.minimum.accumulate(kept, axis=1))
        return found
