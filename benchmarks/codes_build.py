"""What does it cost to learn an OPQ code? Seconds and distortion, ours beside FAISS's, from the same rows."""

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from adanns.progress import Progress
from adanns.training.opq import Block, train_opq
from benchmarks.codes_results import OPQBuild
from benchmarks.data import Database, Floats, Workload
from benchmarks.methods.base import Stopwatch
from benchmarks.methods.code_sweep import CodeSweep, fits
from benchmarks.methods.faiss_peers import use_matrix_products
from benchmarks.methods.faiss_training import product_quantiser, trained_opq

faiss: Any = importlib.import_module("faiss")
BITS = 8
# (dims of the prefix, bytes): four and eight dims a segment, and the lengths that the papers use.
SHAPES = ((64, 8), (64, 16), (128, 16), (128, 32), (256, 32), (256, 64))


def compare(workload: Workload, sweep: CodeSweep, threads: int) -> list[OPQBuild]:
    """Learn codes of every shape that fits: ours from the parametric start alone and with all turns, then FAISS's."""
    faiss.omp_set_num_threads(threads)
    use_matrix_products()
    return [
        build
        for dims, size in SHAPES
        if dims in sweep.ladder and fits(dims, size, BITS)
        for build in _of_shape(workload, sweep, dims, size, threads)
    ]


def _of_shape(workload: Workload, sweep: CodeSweep, dims: int, size: int, threads: int) -> Iterator[OPQBuild]:
    print(f"Learning OPQ codes: {dims} dims, {size} bytes", file=sys.stderr)
    points = Database(workload.dataset, dims).sample(2 * sweep.training_rows, sweep.seed)
    learnt_from, others = points[::2].copy(), points[1::2].copy()

    def build(who: str, rotations: int, seconds: float, decoded: Floats) -> OPQBuild:
        distortion = float(np.einsum("ij,ij->i", others - decoded, others - decoded).mean())
        return OPQBuild(who, dims, size, rotations, len(learnt_from), seconds, distortion)

    for rotations in (0, sweep.rotations):
        with Stopwatch() as watch:
            ours = train_opq(
                learnt_from,
                [Block(dims, size)],
                BITS,
                iterations=rotations,
                seed=sweep.seed,
                threads=threads,
                progress=Progress(False),
            )
        yield build("adanns", rotations, watch.seconds, ours.decode(ours.encode(others, threads), threads))
    with Stopwatch() as watch:
        rotation = trained_opq(learnt_from, size, BITS, sweep.rotations)
        quantiser = product_quantiser(dims, size, BITS)
        quantiser.train(rotation.apply(learnt_from))
    decoded = rotation.reverse_transform(quantiser.decode(quantiser.compute_codes(rotation.apply(others))))
    yield build("FAISS", sweep.rotations, watch.seconds, decoded)
