"""How FAISS is built and swept: exact, IVF on all dims, and three first stages on a prefix with a refine stage.

Every search is one FAISS call: transforms inside the index cut and renormalise the prefix, and IndexRefine reranks a
shortlist at all dims. Lists, shortlists, training points and iterations are those of our own IVF.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from adanns import evaluate
from benchmarks.data import Database, Floats, Ids, K, Workload
from benchmarks.machine import available_bytes
from benchmarks.methods.base import Built, Setting, Stopwatch, Sweep, constant

# Its type stubs know only part of its SWIG interface.
faiss: Any = importlib.import_module("faiss")
FaissIndex = Any
FaissParameters = Any


class FaissPeers:
    """FAISS's methods over one workload; they share the refine stage's store."""

    def __init__(self, workload: Workload, database: Database, sweep: Sweep, threads: int) -> None:
        self.workload = workload
        self.database = database
        self.sweep = sweep
        self.threads = threads
        self._chosen_store: RefineStore | None = None
        use_matrix_products()

    def flat(self) -> Iterator[Built]:
        """Exact search of every (renormalised) prefix; by inner product where that is the same: FAISS's fastest."""
        for dims in self.workload.dataset.ladder:
            exact = faiss.IndexFlatL2(dims) if self.workload.metric == "l2" else faiss.IndexFlatIP(dims)
            index = exact if dims == self.workload.dims else self._on_prefix(exact, dims)
            seconds = self._add(index)
            cost = evaluate.mflops_exact(self.workload.rows, dims)
            setting = Setting({"dims": dims}, searcher(index), constant(cost))
            yield Built("FAISS flat", "faiss", seconds, self._bytes_per_vector(index), [setting])

    def all_dims_ivf(self) -> Iterator[Built]:
        """IVF-Flat routed and scanned on all dims."""
        index = faiss.index_factory(self.workload.dims, f"IVF{self.sweep.lists},Flat", self._metric)
        seconds = self._train_and_add(index)
        settings = []
        for probes in self.sweep.probes:
            parameters = {"dims": self.workload.dims, "lists": self.sweep.lists, "probes": probes}
            search = searcher(index, faiss.SearchParametersIVF(nprobe=probes))
            settings.append(Setting(parameters, search, constant(self._ivf_cost(self.workload.dims, probes, 0))))
        yield Built("FAISS IVF, all dims", "faiss", seconds, self._bytes_per_vector(index), settings)

    def prefix_ivf(self) -> Iterator[Built]:
        """IVF-Flat on a prefix, then the refine stage."""
        for dims in self.sweep.prefixes:
            yield self._refined_ivf("FAISS IVF prefix + refine", f"IVF{self.sweep.lists},Flat", dims)

    def four_bit_ivf(self) -> Iterator[Built]:
        """IVF with residual 4-bit codes of one dimension each on a prefix, then the refine stage."""
        dims = self.sweep.prefixes[-1]
        yield self._refined_ivf("FAISS IVF 4-bit + refine", f"IVF{self.sweep.lists},PQ{dims}x4fsr", dims)

    def prefix_hnsw(self) -> Iterator[Built]:
        """HNSW with 32 neighbours on a prefix, then the refine stage."""
        for dims in self.sweep.prefixes:
            base = self._on_prefix(faiss.index_factory(dims, "HNSW32", self._metric), dims)
            seconds = self._train_and_add(base)
            store = self.refine_store(base)
            index = faiss.IndexRefine(base, store.index)
            settings = []
            for ef_search in (16, 32, 64, 128, 256):
                for shortlist in self.sweep.shortlists:
                    parameters = {
                        "prefix_dims": dims,
                        "ef_search": ef_search,
                        "shortlist": shortlist,
                        "refine": store.kind,
                    }
                    graph = faiss.SearchParametersHNSW(efSearch=ef_search)
                    search = counting_hnsw(searcher(index, refining(shortlist, graph)))
                    cost = counted_hnsw_mflops(dims, shortlist * self.workload.dims)
                    settings.append(Setting(parameters, search, cost))
            size = self._bytes_per_vector(base) + store.bytes_per_vector
            yield Built("FAISS HNSW prefix + refine", "faiss", seconds + store.seconds, size, settings)

    def _refined_ivf(self, method: str, recipe: str, dims: int) -> Built:
        base = self._on_prefix(faiss.index_factory(dims, recipe, self._metric), dims)
        seconds = self._train_and_add(base)
        store = self.refine_store(base)
        index = faiss.IndexRefine(base, store.index)
        settings = []
        for probes in self.sweep.probes:
            for shortlist in self.sweep.shortlists:
                parameters = {
                    "prefix_dims": dims,
                    "lists": self.sweep.lists,
                    "probes": probes,
                    "shortlist": shortlist,
                    "refine": store.kind,
                }
                search = searcher(index, refining(shortlist, faiss.SearchParametersIVF(nprobe=probes)))
                settings.append(Setting(parameters, search, constant(self._ivf_cost(dims, probes, shortlist))))
        size = self._bytes_per_vector(base) + store.bytes_per_vector
        return Built(method, "faiss", seconds + store.seconds, size, settings)

    def refine_store(self, base: FaissIndex) -> "RefineStore":
        """All dims for the refine stage: in float32 or float16, whichever refines faster here behind `base`.

        Only float16 where float32 would take more than half of the memory that is left.
        """
        if self._chosen_store is None:
            free = available_bytes()
            kinds = ["float16"] if free is not None and 2 * self.database.nbytes > free else ["float32", "float16"]
            stores = [self._filled_store(kind) for kind in kinds]
            seconds: list[list[float]] = [[] for _ in stores]
            queries = self.workload.queries[:1000]
            for _ in range(5):
                for store, times in zip(stores, seconds, strict=True):
                    with Stopwatch() as watch:
                        searcher(faiss.IndexRefine(base, store.index), refining(100, None))(queries, K, self.threads)
                    times.append(watch.seconds)
            self._chosen_store = min(zip(stores, seconds, strict=True), key=lambda trial: median(trial[1]))[0]
        return self._chosen_store

    def _filled_store(self, kind: str) -> "RefineStore":
        if kind == "float32":
            index = faiss.IndexFlat(self.workload.dims, self._metric)
        else:
            half = faiss.ScalarQuantizer.QT_fp16
            index = faiss.IndexScalarQuantizer(self.workload.dims, half, self._metric)
        return RefineStore(kind, index, self._add(index), self._bytes_per_vector(index))

    @property
    def _metric(self) -> int:
        """L2 for cosine too: the vectors have length 1, and routing by L2 needs fewer probes than by inner product."""
        inner_product = self.workload.metric == "ip"
        return int(faiss.METRIC_INNER_PRODUCT if inner_product else faiss.METRIC_L2)

    def _on_prefix(self, index: FaissIndex, dims: int) -> FaissIndex:
        """`index` behind the transforms that cut whole vectors to their first `dims`, renormalised under cosine."""
        wrapped = faiss.IndexPreTransform(index)
        if self.workload.metric == "cosine":
            wrapped.prepend_transform(faiss.NormalizationTransform(dims, 2.0))
        wrapped.prepend_transform(faiss.RemapDimensionsTransform(self.workload.dims, dims, False))
        return wrapped

    def _train_and_add(self, index: FaissIndex) -> float:
        """Train and fill an index with our IVF's number of iterations and points; returns seconds."""
        faiss.omp_set_num_threads(self.threads)
        innermost = index.index if isinstance(index, faiss.IndexPreTransform) else index
        if isinstance(innermost, faiss.IndexIVF):
            innermost.cp.niter = self.sweep.iterations
            innermost.cp.max_points_per_centroid = self.sweep.points_per_list
            innermost.cp.seed = self.sweep.seed
        sample = self.database.sample(self.sweep.lists * self.sweep.points_per_list, self.sweep.seed)
        with Stopwatch() as watch:
            index.train(sample)
        del sample
        return watch.seconds + self._add(index)

    def _add(self, index: FaissIndex) -> float:
        """Add all rows; returns FAISS's seconds, without those of converting rows for it."""
        watch = Stopwatch()
        for chunk in self.database.chunks():
            with watch:
                index.add(chunk)
        return watch.seconds

    def _ivf_cost(self, dims: int, probes: int, shortlist: int) -> float:
        rerank = [(self.workload.dims, shortlist)] if shortlist else []
        return evaluate.mflops_ivf(self.workload.rows, self.sweep.lists, dims, dims, probes, rerank)

    def _bytes_per_vector(self, index: FaissIndex) -> float:
        return serialized_bytes(index) / self.workload.rows


def use_matrix_products() -> None:
    """Have FAISS compare vectors by matrix products from so many queries x dims on: three times as fast at 64 dims.

    Its default, 128,000, would leave out batches of 1,000 queries, and learning short segments from some ten thousand
    rows, which is eight times as fast.
    """
    faiss.cvar.distance_compute_blas_threshold = 32_000


@dataclass(frozen=True)
class RefineStore:
    """Whole vectors for the refine stage."""

    kind: str
    index: FaissIndex
    seconds: float
    bytes_per_vector: float


def searcher(index: FaissIndex, parameters: FaissParameters = None) -> Callable[[Floats, int, int], Ids]:
    """The search of a Setting."""

    def search(queries: Floats, k: int, threads: int) -> Ids:
        faiss.omp_set_num_threads(threads)
        ids: Ids = index.search(queries, k, params=parameters)[1]
        return ids

    return search


def refining(shortlist: int, inner: FaissParameters) -> FaissParameters:
    """Parameters that rerank `shortlist` candidates of a first stage behind transforms, searched with `inner`."""
    base = faiss.SearchParametersPreTransform(index_params=inner)
    return faiss.IndexRefineSearchParameters(k_factor=shortlist / K, base_index_params=base)


def counting_hnsw(search: Callable[[Floats, int, int], Ids]) -> Callable[[Floats, int, int], Ids]:
    """The same search, with FAISS's count of compared vectors starting at zero."""

    def counted(queries: Floats, k: int, threads: int) -> Ids:
        faiss.cvar.hnsw_stats.reset()
        return search(queries, k, threads)

    return counted


def counted_hnsw_mflops(dims: int, rerank_flops: int) -> Callable[[int], float]:
    """Cost of the graph search that just ended; no formula says how many vectors it compares."""
    return lambda queries: (faiss.cvar.hnsw_stats.ndis / queries * dims + rerank_flops) / 1e6


def serialized_bytes(index: FaissIndex) -> int:
    """How long the index is as a file, counted without keeping it."""
    written = 0

    def count(block: bytes) -> None:
        nonlocal written
        written += len(block)

    faiss.write_index(index, faiss.BufferedIOWriter(faiss.PyCallbackIOWriter(count)))
    return written
