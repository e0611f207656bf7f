"""All vectors on a device as torch sees them, and what its users write with that: products, top-k, a rerank."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.data import Floats, Ids, Workload
from benchmarks.methods.base import Stopwatch

CHUNK_ROWS = 1 << 18  # that scores are made of at a time
SCORE_BYTES = 1 << 30  # of a batch of queries against such a chunk
GATHERED_BYTES = 1 << 30  # of the candidates of a batch
Tensor = Any


class TorchRows:
    """One float16 matrix on the device, which several methods share; it is copied there when the first one asks."""

    def __init__(self, workload: Workload, device: str) -> None:
        self.workload = workload
        self.device = device
        self.torch: Any = importlib.import_module("torch")
        self._rows: Tensor | None = None
        self._squares: dict[int, Tensor] = {}

    def upload(self) -> float:
        """Seconds that copying took; 0 if it was done."""
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
                self.synchronise()
        return watch.seconds

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def prefix(self, dims: int, dtype: Any = None) -> Tensor:
        """(rows, dims) of their own, of length 1 under cosine; float32 or `dtype`."""
        return self.cut(self._uploaded(), dims, dtype)

    def cut(self, vectors: Tensor, dims: int, dtype: Any = None) -> Tensor:
        """The same of any vectors."""
        dtype = self.torch.float32 if dtype is None else dtype
        out = self.torch.empty((len(vectors), dims), dtype=dtype, device=self.device)
        for start in range(0, len(vectors), CHUNK_ROWS):
            part = vectors[start : start + CHUNK_ROWS, :dims].float()
            if self.workload.metric == "cosine":
                part = part / part.norm(dim=1, keepdim=True).clamp_min(1e-30)
            out[start : start + CHUNK_ROWS] = part
        return out

    def nearest(self, queries: Tensor, dims: int, keep: int) -> Tensor:
        """Rows of the best of all at a prefix, the best first."""
        rows, squares, torch = self._uploaded(), self._squares_of(dims), self.torch
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
        return found

    def reranked(self, queries: Tensor, shortlists: Tensor, k: int) -> Tensor:
        """The best k of each query's shortlist at all dims; rows below 0 are none."""
        rows, squares, torch = self._uploaded(), self._squares_of(self.workload.dims), self.torch
        candidates = shortlists.clamp_min(0)
        dots = torch.einsum("qd,qsd->qs", queries.to(torch.float16), rows[candidates])
        scores = self._scores(dots, squares[candidates]).masked_fill(shortlists < 0, -torch.inf)
        _, order = scores.topk(k, dim=1)
        return shortlists.gather(1, order)

    def score_batch(self) -> int:
        """Queries at a time, for `nearest`."""
        return max(1, SCORE_BYTES // (4 * min(CHUNK_ROWS, self.workload.rows)))

    def rerank_batch(self, keep: int) -> int:
        """Queries at a time, for `reranked`."""
        return max(1, GATHERED_BYTES // (2 * keep * self.workload.dims))

    def in_batches(self, queries: Floats, batch: int, search: Callable[[Tensor], Tensor]) -> Ids:
        """What `search` finds for queries of numpy, as numpy."""
        parts: Sequence[Tensor] = [
            search(self.torch.as_tensor(np.array(queries[start : start + batch])).to(self.device))
            for start in range(0, len(queries), batch)
        ]
        ids: Ids = self.torch.cat(list(parts)).cpu().numpy()
        return ids

    def _uploaded(self) -> Tensor:
        self.upload()
        return self._rows

    def _squares_of(self, dims: int) -> Tensor:
        """|x|^2 of every row at a prefix."""
        if dims not in self._squares:
            rows = self._uploaded()
            self._squares[dims] = self.torch.cat(
                [
                    rows[start : start + CHUNK_ROWS, :dims].float().square().sum(dim=1)
                    for start in range(0, len(rows), CHUNK_ROWS)
                ]
            )
        return self._squares[dims]

    def _scores(self, dots: Tensor, squares: Tensor) -> Tensor:
        """Larger is nearer."""
        dots = dots.float()
        if self.workload.metric == "ip":
            return dots
        if self.workload.metric == "l2":
            return 2 * dots - squares
        return dots * squares.clamp_min(1e-30).rsqrt()
