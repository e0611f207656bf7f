"""What one would write in torch for a GPU: products of float16 matrices and top-k, of all dims or of a prefix first."""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from adanns import evaluate
from benchmarks.data import Floats, Ids, Workload
from benchmarks.methods.base import Built, Setting, Stopwatch, constant

CHUNK_ROWS = 1 << 18  # that scores are made of at a time
SCORE_BYTES = 1 << 30  # of a batch of queries against such a chunk
GATHERED_BYTES = 1 << 30  # of the candidates of a batch
Tensor = Any


class TorchPeers:
    """torch's methods over one workload, which share one float16 matrix on the device."""

    def __init__(self, workload: Workload, device: str) -> None:
        self.workload = workload
        self.device = device
        self.torch: Any = importlib.import_module("torch")
        self._rows: Tensor | None = None
        self._norms: dict[int, Tensor] = {}

    def exact(self) -> Iterator[Built]:
        """Every row at every rung."""
        seconds = self._upload()
        settings = []
        for dims in self.workload.dataset.ladder:
            cost = constant(evaluate.mflops_exact(self.workload.rows, dims))
            settings.append(Setting({"dims": dims}, self._exact_search(dims), cost))
        yield Built("torch exact", "torch", seconds, 2 * self.workload.dims, settings)

    def funnel(self) -> Iterator[Built]:
        """A shortlist from a prefix, its rows gathered and compared at all dims."""
        seconds, ladder = self._upload(), self.workload.dataset.ladder
        settings = []
        for dims in [rung for rung in ladder[:-1] if rung in (16, 32, 64, 128)] or ladder[:1]:
            for keep in (50, 200, 800):
                rerank = [(ladder[-1], keep)]
                cost = constant(evaluate.mflops_adaptive(self.workload.rows, dims, rerank))
                parameters = {"shortlist_dims": dims, "rerank": [list(stage) for stage in rerank]}
                settings.append(Setting(parameters, self._funnel_search(dims, keep), cost))
        yield Built("torch funnel", "torch", seconds, 2 * self.workload.dims, settings)

    def _upload(self) -> float:
        with Stopwatch() as watch:
            if self._rows is None:
                database = self.workload.dataset.database
                parts = [
                    self.torch.as_tensor(np.array(database[start : start + CHUNK_ROWS])).to(
                        self.device, self.torch.float16
                    )
                    for start in range(0, len(database), CHUNK_ROWS)
                ]
                self._rows = self.torch.cat(parts)
                self._synchronise()
        return watch.seconds

    def _synchronise(self) -> None:
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def _squares(self, dims: int) -> Tensor:
        """|x|^2 of every row at a prefix."""
        if dims not in self._norms:
            rows, torch = self._need_rows(), self.torch
            self._norms[dims] = torch.cat(
                [
                    rows[start : start + CHUNK_ROWS, :dims].float().square().sum(dim=1)
                    for start in range(0, len(rows), CHUNK_ROWS)
                ]
            )
        return self._norms[dims]

    def _need_rows(self) -> Tensor:
        if self._rows is None:
            raise RuntimeError("nothing was uploaded")
        return self._rows

    def _scores(self, dots: Tensor, squares: Tensor) -> Tensor:
        """Larger is nearer."""
        dots = dots.float()
        if self.workload.metric == "ip":
            return dots
        if self.workload.metric == "l2":
            return 2 * dots - squares
        return dots * squares.clamp_min(1e-30).rsqrt()

    def _nearest(self, queries: Tensor, dims: int, keep: int) -> tuple[Tensor, Tensor]:
        """(scores, rows) of the best of all rows at a prefix."""
        rows, squares, torch = self._need_rows(), self._squares(dims), self.torch
        asked, scores, found = queries[:, :dims].to(torch.float16), None, None
        for start in range(0, len(rows), CHUNK_ROWS):
            part = self._scores(asked @ rows[start : start + CHUNK_ROWS, :dims].T, squares[start : start + CHUNK_ROWS])
            best, place = part.topk(min(keep, part.shape[1]), dim=1)
            place += start
            if scores is not None:
                best, place = torch.cat([scores, best], 1), torch.cat([found, place], 1)
                best, order = best.topk(min(keep, best.shape[1]), dim=1)
                place = place.gather(1, order)
            scores, found = best, place
        return scores, found

    def _exact_search(self, dims: int) -> Any:
        def search(queries: Floats, k: int, threads: int) -> Ids:
            batch = max(1, SCORE_BYTES // (4 * min(CHUNK_ROWS, self.workload.rows)))
            return self._in_batches(queries, batch, lambda some: self._nearest(some, dims, k)[1])

        return search

    def _funnel_search(self, dims: int, keep: int) -> Any:
        def rerank(queries: Tensor, k: int) -> Tensor:
            rows, squares, torch = self._need_rows(), self._squares(self.workload.dims), self.torch
            _, shortlist = self._nearest(queries, dims, keep)
            dots = torch.einsum("qd,qsd->qs", queries.to(torch.float16), rows[shortlist])
            _, order = self._scores(dots, squares[shortlist]).topk(k, dim=1)
            return shortlist.gather(1, order)

        def search(queries: Floats, k: int, threads: int) -> Ids:
            batch = min(
                SCORE_BYTES // (4 * min(CHUNK_ROWS, self.workload.rows)),
                GATHERED_BYTES // (2 * keep * self.workload.dims),
            )
            return self._in_batches(queries, max(1, batch), lambda some: rerank(some, k))

        return search

    def _in_batches(self, queries: Floats, batch: int, search: Any) -> Ids:
        parts: Sequence[Tensor] = [
            search(self.torch.as_tensor(np.array(queries[start : start + batch])).to(self.device))
            for start in range(0, len(queries), batch)
        ]
        ids: Ids = self.torch.cat(list(parts)).cpu().numpy()
        return ids
