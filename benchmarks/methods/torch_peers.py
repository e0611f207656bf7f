"""What one would write in torch for a GPU: products of float16 matrices and top-k, of all dims or of a prefix first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from adanns import evaluate
from benchmarks.data import Floats, Ids
from benchmarks.methods.base import Built, Setting, constant
from benchmarks.methods.torch_rows import TorchRows


@dataclass(frozen=True)
class TorchPeers:
    """torch's methods over one workload."""

    rows: TorchRows

    def exact(self) -> Iterator[Built]:
        """Every row at every rung."""
        seconds, workload = self.rows.upload(), self.rows.workload
        settings = []
        for dims in workload.dataset.ladder:
            cost = constant(evaluate.mflops_exact(workload.rows, dims))
            settings.append(Setting({"dims": dims}, self._exact_search(dims), cost))
        yield Built("torch exact", "torch", seconds, 2 * workload.dims, settings)

    def funnel(self) -> Iterator[Built]:
        """A shortlist from a prefix, its rows gathered and compared at all dims."""
        seconds, workload = self.rows.upload(), self.rows.workload
        ladder, settings = workload.dataset.ladder, []
        for dims in [rung for rung in ladder[:-1] if rung in (16, 32, 64, 128)] or ladder[:1]:
            for keep in (50, 200, 800):
                rerank = [(ladder[-1], keep)]
                cost = constant(evaluate.mflops_adaptive(workload.rows, dims, rerank))
                parameters = {"shortlist_dims": dims, "rerank": [list(stage) for stage in rerank]}
                settings.append(Setting(parameters, self._funnel_search(dims, keep), cost))
        yield Built("torch funnel", "torch", seconds, 2 * workload.dims, settings)

    def _exact_search(self, dims: int) -> Any:
        rows = self.rows

        def search(queries: Floats, k: int, threads: int) -> Ids:
            return rows.in_batches(queries, rows.score_batch(), lambda some: rows.nearest(some, dims, k))

        return search

    def _funnel_search(self, dims: int, keep: int) -> Any:
        rows = self.rows

        def search(queries: Floats, k: int, threads: int) -> Ids:
            batch = min(rows.score_batch(), rows.rerank_batch(keep))
            return rows.in_batches(queries, batch, lambda some: rows.reranked(some, rows.nearest(some, dims, keep), k))

        return search
