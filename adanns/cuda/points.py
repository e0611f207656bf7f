"""Rows on a device that are assigned to centroids: what k-means does again and again."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from adanns.cuda.memory import Array, Memory
from adanns.cuda.stored import half_scale_of

CHUNK_ROWS = 1 << 17  # assigned at a time: bounds the halves that tensor cores take
ALIGNED = 16  # elements that rows of centroids are padded to
SUM_BITS = 61  # of a sum over all rows, whatever their signs


class DevicePoints:
    """Rows on a device. Assignment is rounded to float16, distances and sums are not; none depends on any order."""

    def __init__(self, points: NDArray[np.float32], memory: Memory, module: ModuleType) -> None:
        self._memory, self._module = memory, module
        self._points = memory.put(points)
        count, self.dims = points.shape
        largest = half_scale_of(memory.largest(self._points))
        self._sum_scale = 2.0 ** (SUM_BITS - math.ceil(math.log2(count + 1))) / (2 * largest) if largest else 1.0
        self._assigned = memory.empty((count,), np.int32)
        self._distances = memory.empty((count,), np.float32)

    def nearest(self, centroids: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(assignments, squared distances) of all rows; centroids: float32 (clusters, dims)."""
        self._assign(centroids, None)
        return self._memory.read(self._assigned), self._memory.read(self._distances)

    def nearest_and_sums(
        self, centroids: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """The same, and the sums of the rows of each cluster, float32 (clusters, dims)."""
        sums = self._memory.zeros(centroids.shape, np.int64)
        self._assign(centroids, sums)
        found = (self._memory.read(sums) / self._sum_scale).astype(np.float32)
        return self._memory.read(self._assigned), self._memory.read(self._distances), found

    def _assign(self, centroids: NDArray[np.float32], sums: Array | None) -> None:
        memory, module, dims = self._memory, self._module, self.dims
        clusters = len(centroids)
        half_scale = half_scale_of(float(np.abs(centroids).max()))
        if half_scale == 0:
            raise ValueError("centroids of zeros, or beyond 1e30, are not for a GPU: cluster on the CPU")
        halved = np.zeros((clusters, -(-dims // ALIGNED) * ALIGNED), np.float16)
        scaled = centroids / np.float32(half_scale)
        halved[:, :dims] = scaled
        squares = np.square(scaled).sum(axis=1) * np.float32(half_scale)
        exact, rows, terms = memory.put(np.ascontiguousarray(centroids)), memory.put(halved), memory.put(squares)
        planes = module.Planes([("float16", memory.address(rows), halved.shape[1], 0, dims, 0, 0, 0.0)])
        count = len(self._points)
        for first in range(0, count, CHUNK_ROWS):
            some = min(CHUNK_ROWS, count - first)
            together = -(-some // module.ASSIGNED_TOGETHER) * module.ASSIGNED_TOGETHER
            halves = memory.empty((module.halves_for(planes, dims, together),), np.uint8)
            nearest = memory.empty((some,), np.uint64)
            module.assign(
                self._rows(first, some),
                dims,
                memory.address(exact),
                clusters,
                planes,
                memory.address(terms),
                memory.address(halves),
                memory.address(nearest),
                self._sum_scale,
                memory.address(self._assigned[first:]),
                memory.address(self._distances[first:]),
                0 if sums is None else memory.address(sums),
                memory.stream(),
            )

    def _rows(self, first: int, count: int) -> tuple[int, int, int]:
        return self._memory.address(self._points[first:]), self.dims, count
