"""How fast and how good is each setting: one accuracy pass over all queries, then interleaved timed rounds."""

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

from adanns.datasets import Dataset
from benchmarks.data import Accuracy, Database, Floats, K, Workload, prepare
from benchmarks.methods.base import Built, Method, Setting
from benchmarks.results import Measurement

# A slow setting is timed on so many of the queries that one batch, or one loop of single queries, takes about this.
BATCH_SECONDS = 0.12
LOOP_SECONDS = 0.06
# Fewer would be unfair to exact search: FAISS multiplies matrices, and does so well only from some hundred queries on.
FEWEST_IN_BATCH = 1000
FEWEST_IN_LOOP = 20
MOST_IN_LOOP = 500
WARM_UP_QUERIES = 32
# A batch so long is timed once: what else the machine does has averaged out within it.
LONG_BATCH_SECONDS = 5.0
# A setting that another of its method beats in accuracy at so many times its speed is timed in one round only.
HOPELESSLY_SLOWER = 2.0


@dataclass
class Trial:
    """One setting on its way through the rounds."""

    built: Built
    setting: Setting
    accuracy: Accuracy
    mflops: float
    first_pass_us: float
    batch_queries: int
    loop_queries: int
    batch_us: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)

    @property
    def is_long(self) -> bool:
        """Whether one batch takes long enough to be timed only once."""
        return self.batch_queries * self.first_pass_us > LONG_BATCH_SECONDS * 1e6

    def is_hopeless(self, others: list["Trial"]) -> bool:
        """Whether another setting of the method was much faster and no worse by any measure of accuracy."""
        mine = [value or 0.0 for value in astuple(self.accuracy)]
        return any(
            other.first_pass_us * HOPELESSLY_SLOWER < self.first_pass_us
            and all((theirs or 0.0) >= ours for theirs, ours in zip(astuple(other.accuracy), mine, strict=True))
            for other in others
            if other.built.method == self.built.method
        )

    def measurement(self) -> Measurement:
        """Medians over the rounds."""
        return Measurement(
            method=self.built.method,
            family=self.built.family,
            parameters=dict(self.setting.parameters),
            build_seconds=self.built.build_seconds,
            bytes_per_vector=self.built.bytes_per_vector,
            queries_per_second=1e6 / median(self.batch_us),
            batch_us=median(self.batch_us),
            batch_us_fastest=min(self.batch_us),
            batch_us_slowest=max(self.batch_us),
            latency_p50_us=median(self.p50_us),
            latency_p99_us=median(self.p99_us),
            recall10=self.accuracy.recall10,
            top1=self.accuracy.top1,
            map10=self.accuracy.map10,
            mflops=self.mflops,
            batch_queries=self.batch_queries,
            latency_queries=self.loop_queries,
            rounds=len(self.batch_us),
        )


def measure_methods(
    methods: Mapping[str, Method],
    workload: Workload,
    *,
    wanted: Sequence[str],
    rounds: int,
    threads: int,
    seed: int,
    together: bool,
) -> list[Measurement]:
    """Build and measure the methods that are wanted: all in the same rounds, or each built, timed and freed alone."""
    measurements: list[Measurement] = []
    waiting: list[Built] = []
    for name in [name for name in methods if name in wanted]:
        for index in methods[name]():
            print(f"Built {index.method}: {index.build_seconds:.1f} s", file=sys.stderr)
            waiting.append(index)
            if not together:
                measurements += measure(waiting, workload, rounds=rounds, threads=threads, seed=seed)
                waiting = []
            del index  # or it would live until the next one is built
    if waiting:
        measurements += measure(waiting, workload, rounds=rounds, threads=threads, seed=seed)
    return measurements


def measure_rigid_twin(
    dataset: Dataset,
    methods: Callable[[Workload, Database], Mapping[str, Method]],
    *,
    queries: int,
    wanted: Sequence[str],
    threads: int,
    seed: int,
    **options: Any,
) -> list[Measurement]:
    """Measure the methods of the rigid twin, if the data set has one and any are wanted; then all of it is freed."""
    twin = dataset.rigid.get(dataset.ladder[-1])
    if twin is None or not any(name.startswith("rigid") for name in wanted):
        return []
    print("Preparing the rigid twin", file=sys.stderr)
    workload, database = prepare(twin, queries, seed, threads, with_exact=False)
    return measure_methods(methods(workload, database), workload, wanted=wanted, threads=threads, seed=seed, **options)


def measure(
    built: list[Built], workload: Workload, *, rounds: int, threads: int, seed: int, progress: bool = True
) -> list[Measurement]:
    """Measure every setting of every built index.

    A batch is one call for all queries on `threads` threads; latency is a loop of one-query calls on one thread. The
    settings are timed round by round, each round in another order, so that what else the machine does hits all alike.
    """
    pairs = [(index, setting) for index in built for setting in index.settings]
    quiet = None if progress else True  # None: shown on a terminal only
    print(f"Measuring {len(pairs)} settings", file=sys.stderr)
    trials = [
        _accuracy_pass(index, setting, workload, threads)
        for index, setting in tqdm(pairs, desc="accuracy", unit="setting", disable=quiet)
    ]
    contenders = [trial for trial in trials if not trial.is_hopeless(trials) and not trial.is_long]
    schedule = [trials] + [contenders] * (rounds - 1)
    random = np.random.default_rng(seed)
    with tqdm(total=sum(map(len, schedule)), desc="timing", unit="setting", disable=quiet) as bar:
        for timed in schedule:
            for position in random.permutation(len(timed)):
                _time_once(timed[position], workload.queries, threads)
                bar.update()
    return [trial.measurement() for trial in trials]


def _accuracy_pass(built: Built, setting: Setting, workload: Workload, threads: int) -> Trial:
    """Search all queries once; how long that takes decides on how many of them the setting is timed."""
    queries = workload.queries
    start = time.perf_counter()
    ids = setting.search(queries, K, threads)
    seconds_per_query = (time.perf_counter() - start) / len(queries)
    mflops = setting.mflops(len(queries))
    # A single query on one thread takes at least its share of the batch.
    loop_queries = int(LOOP_SECONDS / (seconds_per_query * threads))
    return Trial(
        built,
        setting,
        workload.accuracy(ids),
        mflops,
        first_pass_us=seconds_per_query * 1e6,
        batch_queries=min(len(queries), max(FEWEST_IN_BATCH, int(BATCH_SECONDS / seconds_per_query))),
        loop_queries=min(len(queries), MOST_IN_LOOP, max(FEWEST_IN_LOOP, loop_queries)),
    )


def _time_once(trial: Trial, queries: Floats, threads: int) -> None:
    search = trial.setting.search
    batch = queries[: trial.batch_queries]
    search(queries[:WARM_UP_QUERIES], K, threads)
    start = time.perf_counter()
    search(batch, K, threads)
    trial.batch_us.append((time.perf_counter() - start) / len(batch) * 1e6)

    singles = [queries[row : row + 1] for row in range(trial.loop_queries)]
    seconds = []
    search(singles[-1], K, 1)
    gc.disable()
    for query in singles:
        start = time.perf_counter()
        search(query, K, 1)
        seconds.append(time.perf_counter() - start)
    gc.enable()
    trial.p50_us.append(float(np.percentile(seconds, 50)) * 1e6)
    trial.p99_us.append(float(np.percentile(seconds, 99)) * 1e6)
