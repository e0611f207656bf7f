"""What several of FAISS's indexes have in common: lists of a space and OPQ rotations, each trained once."""

import importlib
from typing import Any

from benchmarks.data import Floats
from benchmarks.methods.base import Stopwatch, Sweep
from benchmarks.methods.code_sweep import CodeSweep
from benchmarks.methods.faiss_spaces import Space

faiss: Any = importlib.import_module("faiss")
Transform = Any


class Trained:
    """Lists and rotations; what they took is told to each index that asks, since each would have needed them."""

    def __init__(self, sweep: CodeSweep, metric: int) -> None:
        self._sweep = sweep
        self._metric = metric
        self._rotations: dict[tuple[Space, int, int], tuple[Transform, float]] = {}
        self._centroids: dict[Space, tuple[Floats, float]] = {}

    def rotation(self, space: Space, segments: int, bits: int) -> tuple[Transform, float]:
        """FAISS's OPQ for so many segments of so many bits, and its seconds."""
        key = space, segments, bits
        if key not in self._rotations:
            points = space.sample(self._sweep.training_rows, self._sweep.seed)
            with Stopwatch() as watch:
                rotation = trained_opq(points, segments, bits, self._sweep.faiss_rotations)
            self._rotations[key] = rotation, watch.seconds
        return self._rotations[key]

    def centroids(self, space: Space, lists: Sweep) -> tuple[Floats, float]:
        """Centroids of the lists, float32 (lists, dims), by our IVF's number of iterations and points; and seconds."""
        if space not in self._centroids:
            clustering = faiss.Clustering(space.dims, lists.lists)
            clustering.niter = lists.iterations
            clustering.max_points_per_centroid = lists.points_per_list
            clustering.min_points_per_centroid = 1
            clustering.seed = lists.seed
            clustering.spherical = self._metric == faiss.METRIC_INNER_PRODUCT
            quantizer = faiss.IndexFlat(space.dims, self._metric)
            points = space.sample(lists.lists * lists.points_per_list, lists.seed)
            with Stopwatch() as watch:
                clustering.train(points, quantizer)
            self._centroids[space] = quantizer.reconstruct_n(0, lists.lists), watch.seconds
        return self._centroids[space]


def trained_opq(points: Floats, segments: int, bits: int, rotations: int) -> Transform:
    """FAISS's OPQ rotation of points, for so many segments of so many bits."""
    dims = points.shape[1]
    rotation = faiss.OPQMatrix(dims, segments, dims)
    rotation.niter = rotations
    rotation.max_train_points = len(points)
    quantiser = product_quantiser(dims, segments, bits)
    rotation.pq = quantiser
    rotation.train(points)
    rotation.pq = None  # it would outlive the quantiser
    return rotation


def product_quantiser(dims: int, segments: int, bits: int) -> Any:
    """FAISS's quantiser, learnt from however few rows without a warning for each segment."""
    quantiser = faiss.ProductQuantizer(dims, segments, bits)
    quantiser.cp.min_points_per_centroid = 1
    return quantiser
