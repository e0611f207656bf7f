"""What a method of search is to the benchmark: something built once and searched under a sweep of settings."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.data import Floats, Ids


@dataclass(frozen=True)
class Setting:
    """One way of searching a built index.

    `parameters` name it and are JSON-able. `search(queries, k, threads)` returns ids. `mflops(queries)` is the cost
    per query; it may count, so it is asked right after `queries` queries were searched.
    """

    parameters: Mapping[str, Any]
    search: Callable[[Floats, int, int], Ids]
    mflops: Callable[[int], float]


@dataclass(frozen=True)
class Built:
    """An index in memory and the settings to search it under.

    `family` is "adanns", "faiss", "torch", "cuvs" or "rigid".
    """

    method: str
    family: str
    build_seconds: float
    bytes_per_vector: float
    settings: list[Setting]


Method = Callable[[], Iterator[Built]]


@dataclass(frozen=True)
class Sweep:
    """What is swept, from the size of the data. All methods share it, so that none is favoured."""

    lists: int
    probes: tuple[int, ...]
    shortlists: tuple[int, ...]
    prefixes: tuple[int, ...]
    seed: int = 0
    iterations: int = 10
    points_per_list: int = 128

    def for_rigid_twin(self, dims: int) -> "Sweep":
        """On all dims, with a quarter of the lists: routing costs dims / 64 times as much as on a prefix.

        At 2,048 dims and ImageNet-1K's size that is the papers' 1,024 lists.
        """
        lists = max(1, self.lists // 4)
        probes = tuple(count for count in self.probes if count <= lists)
        return replace(self, lists=lists, probes=probes, prefixes=(dims,))

    @staticmethod
    def of(rows: int, ladder: tuple[int, ...], seed: int, quick: bool) -> "Sweep":
        """About 4 sqrt(rows) lists, a power of two, and on average not under 39 rows each (FAISS's lower limit)."""
        wanted = round(math.log2(4 * math.sqrt(rows)))
        most = max(0, math.floor(math.log2(rows / 39)))
        lists = 2 ** min(wanted, most)
        probes = (1, 4, 16, 64) if quick else (1, 2, 4, 8, 16, 32, 64)
        return Sweep(
            lists=lists,
            probes=tuple(count for count in probes if count <= lists),
            shortlists=(20, 100) if quick else (20, 50, 100),
            prefixes=tuple(rung for rung in ladder[:-1] if rung in (32, 64)) or ladder[:1],
            seed=seed,
        )


def constant(value: float) -> Callable[[int], float]:
    """A cost that follows from a formula, whatever was searched."""
    return lambda queries: value


class Stopwatch:
    """Wall-clock seconds of `with` blocks, added up."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start
