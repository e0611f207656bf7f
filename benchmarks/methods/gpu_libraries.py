"""FAISS on a GPU and cuVS, where they are installed: exact search, and a first stage on a prefix that torch reranks.

Neither has a rerank on the device that follows a first stage of its own on fewer dims, so torch does it for both, as
their users do. Written from the interfaces of FAISS 1.15 and cuVS 26.10; stand-ins for both run in the tests, but
neither has run on a GPU here yet.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from adanns import evaluate
from benchmarks.data import Floats, Ids
from benchmarks.methods.base import Built, Setting, Stopwatch, Sweep, constant
from benchmarks.methods.torch_rows import Tensor, TorchRows

SEARCH_WIDTHS = (64, 128, 256)  # of cuVS's graph: candidates that a search keeps
RERANK_BATCH = 4096  # queries, at most

# From queries on the device, cut and normalised as rows are, and how many are wanted: rows, int64, below 0 for none.
FirstStage = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class GpuLibrary:
    """What both have in common: exact search, and first stages with a rerank."""

    rows: TorchRows
    sweep: Sweep

    def _exact(self, name: str, family: str, dims: int, seconds: float, nearest: FirstStage) -> Built:
        """Of vectors in float16."""
        rows = self.rows

        def search(queries: Floats, k: int, threads: int) -> Ids:
            return rows.in_batches(queries, RERANK_BATCH, lambda some: nearest(rows.cut(some, dims), k))

        cost = constant(evaluate.mflops_exact(rows.workload.rows, dims))
        return Built(name, family, seconds, 2 * dims, [Setting({"dims": dims}, search, cost)])

    def _reranked(
        self, dims: int, parameters: dict[str, Any], keep: int, mflops: float, nearest: FirstStage
    ) -> Setting:
        rows = self.rows

        def some_reranked(queries: Tensor, k: int) -> Tensor:
            return rows.reranked(queries, nearest(rows.cut(queries, dims), keep), k)

        def search(queries: Floats, k: int, threads: int) -> Ids:
            batch = min(RERANK_BATCH, rows.rerank_batch(keep))
            return rows.in_batches(queries, batch, lambda some: some_reranked(some, k))

        parameters = {"prefix_dims": dims, **parameters, "shortlist": keep}
        return Setting(parameters, search, constant(mflops))

    def _lists_searched(self, dims: int, with_probes: Callable[[int], FirstStage]) -> list[Setting]:
        sweep, workload = self.sweep, self.rows.workload
        settings = []
        for probes in sweep.probes:
            for keep in sweep.shortlists:
                rerank = [(workload.dims, keep)]
                cost = evaluate.mflops_ivf(workload.rows, sweep.lists, dims, dims, probes, rerank)
                parameters = {"lists": sweep.lists, "probes": probes}
                settings.append(self._reranked(dims, parameters, keep, cost, with_probes(probes)))
        return settings


class FaissOnGpu(GpuLibrary):
    """FAISS built with its GPU half."""

    def flat(self) -> Iterator[Built]:
        """Exact search of every (renormalised) prefix, in float16."""
        faiss = gpu_faiss()
        for dims in self.rows.workload.dataset.ladder:
            config = faiss.GpuIndexFlatConfig()
            config.useFloat16 = True
            with Stopwatch() as watch:
                index = TensorIndex(faiss.GpuIndexFlat(self._resources(), dims, self._metric, config))
                index.add(self.rows.prefix(dims))
                self.rows.synchronise()
            yield self._exact("FAISS GPU flat", "faiss", dims, watch.seconds, index.search)

    def prefix_ivf(self) -> Iterator[Built]:
        """IVF-Flat on a prefix, then the rerank."""
        faiss, sweep = gpu_faiss(), self.sweep
        for dims in sweep.prefixes:
            with Stopwatch() as watch:
                lists = faiss.GpuIndexIVFFlat(self._resources(), dims, sweep.lists, self._metric)
                lists.cp.niter, lists.cp.max_points_per_centroid = sweep.iterations, sweep.points_per_list
                index, vectors = TensorIndex(lists), self.rows.prefix(dims)
                index.train(vectors)
                index.add(vectors)
                self.rows.synchronise()

            def with_probes(probes: int, index: TensorIndex = index) -> FirstStage:
                parameters = faiss.SearchParametersIVF(nprobe=probes)
                return lambda queries, keep: index.search(queries, keep, parameters)

            size = 4 * dims + 8 + 2 * self.rows.workload.dims
            settings = self._lists_searched(dims, with_probes)
            yield Built("FAISS GPU IVF prefix + torch", "faiss", watch.seconds, size, settings)

    @staticmethod
    def _resources() -> Any:
        """On the default stream, which is torch's too, so that neither waits for the other."""
        resources = gpu_faiss().StandardGpuResources()
        resources.setDefaultNullStreamAllDevices()
        return resources

    @property
    def _metric(self) -> int:
        faiss = gpu_faiss()
        return int(faiss.METRIC_INNER_PRODUCT if self.rows.workload.metric == "ip" else faiss.METRIC_L2)


class TensorIndex:
    """An index of FAISS that takes torch's tensors where they are, by its C++ methods.

    FAISS's own module for that changes all of its classes, and those that take numpy get slower and break.
    """

    def __init__(self, index: Any) -> None:
        self._index, self._faiss = index, gpu_faiss()

    def train(self, vectors: Tensor) -> None:
        """float32, contiguous, as everywhere here."""
        self._index.train_c(len(vectors), self._floats(vectors))

    def add(self, vectors: Tensor) -> None:
        """Rows behind those that are there."""
        self._index.add_c(len(vectors), self._floats(vectors))

    def search(self, queries: Tensor, k: int, parameters: Any = None) -> Tensor:
        """Rows, int64 (queries, k); -1 for none."""
        distances = queries.new_empty((len(queries), k))
        rows = queries.new_empty((len(queries), k), dtype=importlib.import_module("torch").int64)
        self._index.search_c(
            len(queries),
            self._floats(queries),
            k,
            self._floats(distances),
            self._faiss.cast_integer_to_idx_t_ptr(rows.data_ptr()),
            parameters,
        )
        return rows

    def _floats(self, tensor: Tensor) -> Any:
        return self._faiss.cast_integer_to_float_ptr(tensor.data_ptr())


class Cuvs(GpuLibrary):
    """NVIDIA's cuVS; vectors in float16."""

    def exact(self) -> Iterator[Built]:
        """Every row at every rung."""
        module = importlib.import_module("cuvs.neighbors.brute_force")
        half = self.rows.torch.float16
        for dims in self.rows.workload.dataset.ladder:
            with Stopwatch() as watch:
                vectors = self.rows.prefix(dims, half)
                index = module.build(vectors, metric=self._metric)
                self.rows.synchronise()

            # The index reads the vectors where they are, and does not keep them.
            def nearest(queries: Tensor, k: int, index: Any = index, vectors: Tensor = vectors) -> Tensor:
                return self._tensor(module.search(index, queries.to(half), k)[1])

            yield self._exact("cuVS exact", "cuvs", dims, watch.seconds, nearest)

    def prefix_ivf(self) -> Iterator[Built]:
        """IVF-Flat on a prefix, then the rerank."""
        module = importlib.import_module("cuvs.neighbors.ivf_flat")
        sweep, half = self.sweep, self.rows.torch.float16
        for dims in sweep.prefixes:
            share = min(1.0, sweep.lists * sweep.points_per_list / self.rows.workload.rows)
            shape = module.IndexParams(
                n_lists=sweep.lists,
                metric=self._metric,
                kmeans_n_iters=sweep.iterations,
                kmeans_trainset_fraction=share,
            )
            with Stopwatch() as watch:
                index = module.build(shape, self.rows.prefix(dims, half))
                self.rows.synchronise()

            def with_probes(probes: int, index: Any = index) -> FirstStage:
                how = module.SearchParams(n_probes=probes)
                return lambda queries, keep: self._tensor(module.search(how, index, queries.to(half), keep)[1])

            size = 2 * dims + 8 + 2 * self.rows.workload.dims
            yield Built("cuVS IVF prefix + torch", "cuvs", watch.seconds, size, self._lists_searched(dims, with_probes))

    def prefix_graph(self) -> Iterator[Built]:
        """CAGRA's graph on a prefix, then the rerank."""
        module = importlib.import_module("cuvs.neighbors.cagra")
        half = self.rows.torch.float16
        for dims in self.sweep.prefixes:
            shape = module.IndexParams(metric=self._metric)
            with Stopwatch() as watch:
                index = module.build(shape, self.rows.prefix(dims, half))
                self.rows.synchronise()
            settings = []
            for width in SEARCH_WIDTHS:
                how = module.SearchParams(itopk_size=width)

                def nearest(queries: Tensor, keep: int, how: Any = how, index: Any = index) -> Tensor:
                    return self._tensor(module.search(how, index, queries.to(half), keep)[1])

                for keep in [keep for keep in self.sweep.shortlists if keep <= width]:
                    # It does not count what it compares; a walk looks at the neighbours of so many rows at most.
                    cost = (width * shape.graph_degree * dims + keep * self.rows.workload.dims) / 1e6
                    settings.append(self._reranked(dims, {"itopk_size": width}, keep, cost, nearest))
            size = 2 * dims + 4 * shape.graph_degree + 2 * self.rows.workload.dims
            yield Built("cuVS CAGRA prefix + torch", "cuvs", watch.seconds, size, settings)

    def _tensor(self, found: Any) -> Tensor:
        """Its device arrays as a tensor; a row that is none is the largest number of its type, or -1."""
        rows = self.rows.torch.as_tensor(found, device=self.rows.device).to(self.rows.torch.int64)
        return rows.masked_fill(rows >= self.rows.workload.rows, -1)

    @property
    def _metric(self) -> str:
        return "inner_product" if self.rows.workload.metric == "ip" else "sqeuclidean"


def gpu_faiss() -> Any:
    """FAISS; ImportError where it was built without a GPU."""
    faiss: Any = importlib.import_module("faiss")
    if not hasattr(faiss, "StandardGpuResources"):
        raise ImportError("this FAISS was built without its GPU half (faiss-gpu has it)")
    return faiss


def why_missing(library: str) -> str | None:
    """Why "faiss-gpu" or "cuvs" cannot be measured; None where it can."""
    try:
        if library == "cuvs":
            importlib.import_module("cuvs.neighbors")
        else:
            gpu_faiss()
    except ImportError as error:
        return str(error)
    return None
