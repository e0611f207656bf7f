"""How many segments does each band get? The next one always goes where it takes away most of the distortion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adanns.progress import Progress
from adanns.training.codebooks import distortion_of, first_codebooks, lloyd_step
from adanns.training.opq import Block, parametric_rotation, rotated, scale_of

POINTS_PER_ENTRY = 32  # to measure a distortion: more than a few per cent of it is noise below
STEPS = 4


def allocate(
    points: NDArray[np.float32],
    ends: Sequence[int],
    segments: int,
    bits: int,
    *,
    seed: int,
    threads: int,
    progress: Progress,
) -> list[Block]:
    """Blocks that end at `ends` with `segments` segments in all.

    Distortions are measured on points, float32 (rows, ends[-1]): of the block's dims with so many segments, and without
    any their whole variance. A block of few dims, much energy or little structure gets more; one may get none.
    """
    sample = points[: POINTS_PER_ENTRY << bits]
    begins = [0, *ends[:-1]]
    counts = [0] * len(ends)

    def measured(block: int, count: int) -> float:
        part = np.ascontiguousarray(sample[:, begins[block] : ends[block]])
        return measured_distortion(part, count, bits, seed, threads)

    now = [measured(block, 0) for block in range(len(ends))]
    following = [measured(block, 1) for block in range(len(ends))]
    for done in range(segments):
        gains = [-1.0 if counts[b] == ends[b] - begins[b] else now[b] - following[b] for b in range(len(ends))]
        best = int(np.argmax(gains))
        counts[best] += 1
        now[best] = following[best]
        if counts[best] < ends[best] - begins[best]:
            following[best] = measured(best, counts[best] + 1)
        progress.step("allocating bits", done + 1, segments)
    return [Block(end, count) for end, count in zip(ends, counts, strict=True)]


def measured_distortion(points: NDArray[np.float32], segments: int, bits: int, seed: int, threads: int) -> float:
    """Mean squared distance of points (rows, dims) from a code of so many segments with the parametric rotation."""
    if segments == 0:
        centred = points - points.mean(axis=0, dtype=np.float64).astype(np.float32)
        return distortion_of(centred, np.zeros_like(centred))
    block = Block(points.shape[1], segments)
    scale = scale_of(points)
    turned = rotated(points, np.float32(scale) * parametric_rotation(points, [(0, block)], threads), threads)
    books = first_codebooks(turned, np.cumsum(block.widths(0)).tolist(), bits, seed, threads)
    for _ in range(STEPS):
        books, _ = lloyd_step(turned, books, threads)
    return distortion_of(turned, books.decode(books.encode(turned, threads))) / scale**2
