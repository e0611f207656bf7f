"""How near do the kernels of csrc/cuda come to what the GPU could do? Each stage alone, on random vectors of
ImageNet-1K's shape, beside its floor and what its kernels should take (benchmarks/cuda_roofline.py).
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from adanns import cuda
from adanns.cuda.engine import FEW_VISITS
from benchmarks import machine, results
from benchmarks.cuda_roofline import CASES, DIMS, KEEP, LISTS, PREFIX, RERANK, ROWS, Case
from benchmarks.table import aligned, number

CHUNK_ROWS = 1 << 16
CODE_BYTES = 32
Run = Callable[[], object]


def run(options: argparse.Namespace) -> int:
    """Measure, print, write."""
    if not cuda.is_available():
        print(f"cuda-kernels needs a GPU: {cuda.why_not()}", file=sys.stderr)
        return 2
    bench = Bench(options.seed)
    copied = bench.copy_gigabytes_per_second()
    rows = []
    for case in CASES:
        milliseconds = timed(bench.cupy, bench.work(case), options.rounds)
        rows.append({**case.record(), "us": 1e3 * milliseconds})
    print(text := report(rows, copied))
    folder = options.output or machine.results_folder("cuda-kernels", "cuda")
    folder.mkdir(parents=True, exist_ok=True)
    heading = results.heading("cuda-kernels", **machine.gpu("cuda"))
    results.write_content({**heading, "copy_gb_per_s": copied, "cases": rows}, folder / "results.json")
    (folder / "table.txt").write_text(text + "\n")
    print("\nWritten:", folder / "results.json", folder / "table.txt", sep="\n  ")
    return 0


def report(rows: list[dict[str, Any]], copied: float) -> str:
    """A line per stage."""
    lines = [["stage", "queries", "us", "us/query", "ours us (estimate)", "floor us (estimate)", "of the floor"]]
    for row in rows:
        share = f"{row['floor_us'] / row['us']:.0%}"
        each = row["us"] / row["queries"]
        times = [number(us) for us in (row["us"], each, row["estimate_us"], row["floor_us"])]
        lines.append([row["name"], f"{row['queries']:,}", *times, share])
    return f"{aligned(lines)}\n\nA copy within the GPU moves {copied:,.0f} GB/s, read and written."


def timed(cupy: Any, work: Run, rounds: int) -> float:
    """Median milliseconds on the device."""
    work()
    found = []
    for _ in range(rounds):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        work()
        end.record()
        end.synchronize()
        found.append(cupy.cuda.get_elapsed_time(begin, end))
    return float(median(found))


class Bench:
    """Random rows on the device, and the work of each case over them."""

    def __init__(self, seed: int) -> None:
        self.cupy = importlib.import_module("cupy")
        self.memory, self.module = cuda.current_device()
        self.multiprocessors = self.module.multiprocessors()
        self.random = self.cupy.random.default_rng(seed)
        self.host_random = np.random.default_rng(seed)
        self.kept: list[Any] = []
        self.planes = {
            2: self.module.Planes(
                [
                    self._plane("float16", first, last)
                    for first, last in ((0, PREFIX), (PREFIX, RERANK[0][0]), (RERANK[0][0], DIMS))
                ]
            ),
            1: self.module.Planes([self._plane("int8", 0, PREFIX)]),
        }
        self.terms = self._keep(self.cupy.ones(ROWS, np.float32))
        self.ids = self._keep(self.cupy.arange(ROWS, dtype=np.int64))
        self.queries = self._keep(self.random.standard_normal((2048, DIMS), dtype=np.float32))

    def copy_gigabytes_per_second(self) -> float:
        """What this GPU's memory moves, read and written."""
        source = self.cupy.empty(1 << 30, np.uint8)
        to = self.cupy.empty_like(source)
        return float(2 * source.nbytes / timed(self.cupy, lambda: self.cupy.copyto(to, source), 5) / 1e6)

    def work(self, case: Case) -> Run:
        """What a case does, its workspace made."""
        if case.name.startswith("scan of all"):
            dims = DIMS if f"{DIMS} dims" in case.name else PREFIX
            return self._scan_all(case.queries, dims, 2 if "float16" in case.name else 1, "tensor" in case.operations)
        if "lists" in case.name:
            return self._scan_lists(case.queries, int(case.name.split()[2]))
        if case.name.startswith("rerank"):
            return self._rerank(case.queries)
        if "codes" in case.name:
            return self._scan_codes(case.queries, 8 if "8 bits" in case.name else 4)
        return self._assign(case.queries)

    def _plane(self, kind: str, first: int, last: int) -> tuple[Any, ...]:
        rows = self._keep(self.cupy.empty((ROWS, last - first), getattr(np, kind)))
        for start in range(0, ROWS, CHUNK_ROWS):
            some = rows[start : start + CHUNK_ROWS]
            values = self.random.standard_normal(some.shape, dtype=np.float32)
            some[...] = self.cupy.clip(values * 30, -127, 127) if kind == "int8" else values
        scales, offsets = (self._keep(self.cupy.full(last - first, value, np.float32)) for value in (1 / 30, 0))
        return (kind, self._at(rows), last - first, first, last - first, self._at(scales), self._at(offsets), 0.0)

    def _keep(self, array: Any) -> Any:
        self.kept.append(array)
        return array

    def _at(self, array: Any) -> int:
        return int(self.memory.address(array))

    def _new(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._keep(self.memory.empty(shape, dtype))

    def _found(self, queries: int, groups: int) -> Any:
        capacity = self.module.capacity_for(KEEP)
        arrays = (
            self._new((queries, capacity), np.uint64),
            self._new((queries,), np.int32),
            self._new((queries,), np.float32),
            self._new((queries, max(1, groups)), np.uint32),
        )
        return self.module.Found(*map(self._at, arrays), capacity, groups)

    def _some(self, queries: int) -> tuple[int, int, int]:
        return self._at(self.queries), DIMS, queries

    def _scan_all(self, queries: int, dims: int, element_bytes: int, tiles: bool) -> Run:
        planes, out = self.planes[element_bytes], self._new((queries, KEEP), np.uint64)
        found = self._found(queries, self.module.sample_groups(ROWS, KEEP))
        shared = (planes, "cosine", self._at(self.terms), self._some(queries), ROWS, dims, KEEP, self.multiprocessors)
        if not tiles:
            return lambda: self.module.scan_all(*shared, found, self._at(out))
        halves = self._new((self.module.halves_for(planes, dims, queries),), np.uint8)
        return lambda: self.module.scan_tiles(*shared, self._at(halves), found, self._at(out))

    def _scan_lists(self, queries: int, probes: int) -> Run:
        offsets = self._keep(self.memory.put(np.linspace(0, ROWS, LISTS + 1).astype(np.int64)))
        chosen = np.stack([self.host_random.permutation(LISTS)[:probes] for _ in range(queries)]).astype(np.int32)
        probed = self._keep(self.memory.put(chosen))
        numbers = self._new((self.module.list_numbers(LISTS, queries, probes),), np.int32)
        module, planes, out = self.module, self.planes[1], self._new((queries, KEEP), np.uint64)
        of_lists = (self._at(offsets), LISTS, self._at(probed), probes)
        shared = (planes, "cosine", self._at(self.terms), self._some(queries), *of_lists)
        if queries * probes < FEW_VISITS * LISTS:
            found = self._found(queries, 0)
            return lambda: module.scan_lists(*shared, PREFIX, KEEP, self._at(numbers), found, self._at(out))
        found = self._found(queries, module.list_tile_groups(KEEP))
        halves = self._new((module.halves_for(planes, PREFIX, queries),), np.uint8)
        work = (self._at(numbers), self._at(halves))
        return lambda: module.scan_list_tiles(*shared, ROWS, PREFIX, KEEP, *work, found, self._at(out))

    def _rerank(self, queries: int) -> Run:
        rows = self.host_random.integers(0, ROWS, (queries, KEEP)).astype(np.uint64)
        shortlists = self._keep(self.memory.put(np.uint64(1 << 63) | rows))
        k = 10
        results = [
            self._new(shape, dtype)
            for shape, dtype in (
                ((queries, k), np.float32),
                ((queries, k), np.int64),
                ((queries,), np.int32),
                ((queries, len(RERANK)), np.int32),
            )
        ]
        stages = [(dims, keep, stage == 0, self._at(self.terms)) for stage, (dims, keep) in enumerate(RERANK)]
        return lambda: self.module.rerank(
            self.planes[2],
            "cosine",
            PREFIX,
            self._at(self.terms),
            stages,
            self._some(queries),
            self._at(shortlists),
            KEEP,
            self._at(self.ids),
            k,
            *map(self._at, results),
        )

    def _scan_codes(self, queries: int, bits: int) -> Run:
        segments, blocks = 8 * CODE_BYTES // bits, -(-ROWS // 32)
        words = self._keep(self.random.integers(0, 2**32, (blocks, CODE_BYTES // 4, 32), dtype=np.uint32))
        ends = self._keep(self.memory.put(np.arange(1, segments + 1, dtype=np.int32) * 2))
        books = self._keep(self.random.standard_normal(2 * segments << bits, dtype=np.float32))
        zero, whole = (self._keep(self.memory.put(np.array(v, np.int64))) for v in ([0], [0, ROWS]))
        code = self.module.TableCode(
            bits, self._at(words), CODE_BYTES // 4, self._at(zero), self._at(ends), self._at(books)
        )
        probes, out = self._keep(self.memory.put(np.zeros(1, np.int32))), self._new((queries, KEEP), np.uint64)
        found = self._found(queries, self.module.table_groups(KEEP))
        return lambda: self.module.scan_tables(
            code,
            "cosine",
            self._at(self.terms),
            self._some(queries),
            self._at(whole),
            1,
            self._at(probes),
            1,
            0,
            segments,
            KEEP,
            max(1, 1024 // queries),
            found,
            self._at(out),
        )

    def _assign(self, rows: int) -> Run:
        points = self._keep(self.random.standard_normal((rows, PREFIX), dtype=np.float32))
        centroids = self._keep(self.random.standard_normal((LISTS, PREFIX), dtype=np.float32))
        terms = self._keep(self.cupy.square(centroids).sum(axis=1))
        halved = self._keep(centroids.astype(np.float16))
        planes = self.module.Planes([("float16", self._at(halved), PREFIX, 0, PREFIX, 0, 0, 0.0)])
        halves = self._new((self.module.halves_for(planes, PREFIX, rows),), np.uint8)
        nearest, assigned = self._new((rows,), np.uint64), self._new((rows,), np.int32)
        distances, sums = self._new((rows,), np.float32), self._keep(self.cupy.zeros((LISTS, PREFIX), np.int64))
        return lambda: self.module.assign(
            (self._at(points), PREFIX, rows),
            PREFIX,
            self._at(centroids),
            LISTS,
            planes,
            self._at(terms),
            self._at(halves),
            self._at(nearest),
            2.0**30,
            self._at(assigned),
            self._at(distances),
            self._at(sums),
        )
