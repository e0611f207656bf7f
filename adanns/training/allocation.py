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
    """Blocks that end at `ends` with `segments` segments in all, at least one each.

    Distortions are measured on points, float32 (rows, ends[-1]): of the block's dims with so many segments. A block of
    many dims, much energy or little structure gets more.
    """
    sample = points[:: max(1, len(points) // (POINTS_PER_ENTRY << bits))]  # of all of them: neighbours may be alike
    begins = [0, *ends[:-1]]
    counts = [1] * len(ends)

    def measured(block: int, count: int) -> float:
        part = np.ascontiguousarray(sample[:, begins[block] : ends[block]])
        return measured_distortion(part, count, bits, seed, threads)

    now = [measured(block, 1) for block in range(len(ends))]
    following = [measured(block, 2) if ends[block] - begins[block] > 1 else np.inf for block in range(len(ends))]
    for done in range(len(ends), segments):
        gains = [before - after for before, after in zip(now, following, strict=True)]
        best = int(np.argmax(gains))
        counts[best] += 1
        now[best] = following[best]
        full = counts[best] == ends[best] - begins[best]
        following[best] = np.inf if full else measured(best, counts[best] + 1)
        progress.step("allocating bits", done + 1, segments)
    return [Block(end, count) for end, count in zip(ends, counts, strict=True)]


def measured_distortion(points: NDArray[np.float32], segments: int, bits: int, seed: int, threads: int) -> float:
    """Mean squared distance of points (rows, dims) from a code of so many segments with the parametric rotation."""
    block = Block(points.shape[1], segments)
    scale = scale_of(points)
    turned = rotated(points, np.float32(scale) * parametric_rotation(points, [(0, block)], threads), threads)
    books = first_codebooks(turned, np.cumsum(block.widths(0)).tolist(), bits, seed, threads)
    for _ in range(STEPS):
        books, _ = lloyd_step(turned, books, threads)
    return distortion_of(turned, books.decode(books.encode(turned, threads))) / scale**2
