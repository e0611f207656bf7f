"""How fast is an index saved, opened and searched from disk, beside copying its bytes and searching it in memory?"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import adanns
from benchmarks import machine, results
from benchmarks.table import aligned, number

K = 10
QUERIES = 1000
CLUSTERS = 1000  # of the made-up vectors
OPENINGS = 5
HalfFloats: TypeAlias = NDArray[np.float16]
INDICES: dict[str, Callable[[], Any]] = {
    "exact": lambda: adanns.ExactIndex(precision="float16"),
    "funnel": lambda: adanns.FunnelIndex(),
    "ivf": lambda: adanns.IVFIndex(),
    "opq": lambda: adanns.OPQIndex(),
    "ivfopq": lambda: adanns.IVFOPQIndex(),
    "compact": lambda: adanns.CompactIndex(),
}


@dataclass(frozen=True)
class Stored:
    """One index on disk. Times are medians; ratios are of times in the same round, medians too.

    save_to_copy: of `save` to copying the file that it wrote, which is in the page cache, and syncing the copy.
    mapped_to_memory: of a batch searched from the memory map, warm, to the same batch in memory.
    """

    kind: str
    megabytes: float
    save_seconds: float
    copy_seconds: float
    save_to_copy: float
    open_ms: float
    mapped_us: float
    memory_us: float
    mapped_to_memory: float


def run(options: argparse.Namespace) -> int:
    """Measure, print, write results.json; options as parsed by benchmarks.__main__."""
    vectors = made_up(options.rows, options.dims, options.seed)
    queries = made_up(QUERIES, options.dims, options.seed + 1)
    found = []
    with machine.OtherLoad() as other_load, tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for kind in options.kinds:
            print(f"Building and saving {kind}", file=sys.stderr)
            index = INDICES[kind]().build(vectors, threads=options.threads, progress=False)
            found.append(measure(kind, index, queries, Path(folder), options.rounds, options.threads))
    header = ["", "MB", "save s", "copy s", "save / copy", "open ms", "mapped us/query", "in memory", "ratio"]
    lines = [header]
    for row in found:
        times = [row.save_seconds, row.copy_seconds, row.save_to_copy, row.open_ms, row.mapped_us, row.memory_us]
        lines.append([row.kind, f"{row.megabytes:.0f}", *map(number, times), f"{row.mapped_to_memory:.3f}"])
    print(aligned(lines))
    content = {
        **results.heading("storage", environment=options.environment, other_load_cores=other_load.cores),
        "options": {key: getattr(options, key) for key in ("rows", "dims", "rounds", "threads", "seed", "kinds")},
        "measurements": [asdict(row) for row in found],
    }
    place = options.output or machine.results_folder("storage")
    place.mkdir(parents=True, exist_ok=True)
    results.write_content(content, place / "results.json")
    print(f"\nWritten to {place}")
    if warning := other_load.warning():
        print(warning)
    return 0


def made_up(rows: int, dims: int, seed: int) -> HalfFloats:
    """float16 vectors in clusters, a chunk at a time: how many fit is for the index to say."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((CLUSTERS, dims), dtype=np.float32)
    vectors = np.empty((rows, dims), np.float16)
    for start in range(0, rows, 1 << 16):
        part = vectors[start : start + (1 << 16)]
        part[:] = centres[generator.integers(0, CLUSTERS, len(part))]
        part += (0.5 * generator.standard_normal(part.shape, dtype=np.float32)).astype(np.float16)
    return vectors


def measure(kind: str, index: Any, queries: HalfFloats, folder: Path, rounds: int, threads: int) -> Stored:
    """Save, copy, open and search one index, round by round."""
    saves, copies, mapped_times, memory_times = [], [], [], []
    place = folder / kind
    for _ in range(rounds):
        shutil.rmtree(place, ignore_errors=True)
        os.sync()  # what was removed is not written while the clock runs
        saves.append(_seconds(partial(index.save, place)))
        os.sync()
        (segment,) = place.glob("*.safetensors")
        copies.append(_seconds(partial(_copy, segment, folder / "copy")))
        (folder / "copy").unlink()
    opened = [_seconds(lambda: adanns.load(place, mmap=True)) for _ in range(OPENINGS)]
    mapped: Any = adanns.load(place, mmap=True)
    for one in (mapped, index):
        one.search(queries, K, threads=threads)
    for _ in range(max(rounds, 3)):
        mapped_times.append(_search_seconds(mapped, queries, threads))
        memory_times.append(_search_seconds(index, queries, threads))
    size = sum(path.stat().st_size for path in place.iterdir())
    del mapped
    shutil.rmtree(place)
    per_query = 1e6 / len(queries)
    return Stored(
        kind=kind,
        megabytes=size / 1e6,
        save_seconds=median(saves),
        copy_seconds=median(copies),
        save_to_copy=_ratio(saves, copies),
        open_ms=1e3 * median(opened),
        mapped_us=per_query * median(mapped_times),
        memory_us=per_query * median(memory_times),
        mapped_to_memory=_ratio(mapped_times, memory_times),
    )


def _seconds(act: Callable[[], Any]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _copy(path: Path, copy: Path) -> None:
    """What `cp` does, and onto the disk."""
    shutil.copyfile(path, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def _search_seconds(index: Any, queries: HalfFloats, threads: int) -> float:
    return _seconds(lambda: index.search(queries, K, threads=threads))


def _ratio(ours: list[float], others: list[float]) -> float:
    return median(one / other for one, other in zip(ours, others, strict=True))
