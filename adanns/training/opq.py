"""Optimised product quantisation: a rotation, and codebooks of the segments of what it gives (Ge et al., 2013).

The rotation starts where each segment gets as much of the variance as the others (section 3.3 there, parametric), then
takes turns with the codebooks: each is best for the other as it is (section 3.2). Restricted to blocks of dims, it
keeps prefixes: the segments of the first blocks are a code of the dims of those blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.progress import Progress
from adanns.training.codebooks import Codebooks, distortion_of, first_codebooks, lloyd_step

STEPS_PER_ROTATION = 4  # of k-means, between two rotations
PRODUCT_ROWS = 4096  # added in float32; their sums in float64


@dataclass(frozen=True)
class Block:
    """Dims up to `end`, from the block before on: rotated among themselves and cut into `segments`."""

    end: int
    segments: int

    def widths(self, begin: int) -> list[int]:
        """Dims of each segment: as even as can be."""
        each, more = divmod(self.end - begin, self.segments)
        return [each + (segment < more) for segment in range(self.segments)]


@dataclass(frozen=True)
class ProductQuantiser:
    """What turns points into codes.

    rotation: float32 (dims, dims), orthogonal; its rows are the rotated dims, in the order of the segments.
    rungs: (prefix dims, segments) that are codes of their own. The last is the whole code.
    scale: a power of two that `codebooks` are in: rotated points times scale lie within [-1, 1], so that squares of
        large and small values stay within float32.
    distortion: of the training points per rotation: the mean squared distance to their codes.
    """

    rotation: NDArray[np.float32]
    codebooks: Codebooks
    rungs: tuple[tuple[int, int], ...]
    scale: float
    distortion: tuple[float, ...]

    def encode(self, points: NDArray[np.float32], threads: int) -> NDArray[np.uint8]:
        """Codes of points, uint8 (rows, segments)."""
        return self.codebooks.encode(rotated(points, self.rotation * np.float32(self.scale), threads), threads)

    def decode(self, codes: NDArray[np.uint8], threads: int) -> NDArray[np.float32]:
        """The points that codes stand for, float32 (rows, dims)."""
        return _core.multiply_rows(self.codebooks.decode(codes), self.rotation / np.float32(self.scale), threads)

    @property
    def entries(self) -> NDArray[np.float32]:
        """The codebooks' entries in the scale of the points."""
        entries: NDArray[np.float32] = self.codebooks.entries / np.float32(self.scale)
        return entries


def train_opq(
    points: NDArray[np.float32],
    blocks: Sequence[Block],
    bits: int,
    *,
    iterations: int,
    seed: int,
    threads: int,
    progress: Progress,
) -> ProductQuantiser:
    """Rotation and codebooks for points, float32 (rows, dims of the last block), of at least 2**bits rows.

    iterations: turns of the rotation; 0 leaves the parametric start. The same bits come out for any `threads`.
    """
    scale = scale_of(points)
    spans = block_spans(blocks)
    rotation = np.float32(scale) * parametric_rotation(points, spans, threads)
    turned = rotated(points, rotation, threads)
    ends = np.cumsum([width for begin, block in spans for width in block.widths(begin)])
    books = first_codebooks(turned, ends.tolist(), bits, seed, threads)
    distortion = []
    for iteration in range(iterations + 1):
        for _ in range(STEPS_PER_ROTATION):
            books, _ = lloyd_step(turned, books, threads)
        decoded = books.decode(books.encode(turned, threads))
        distortion.append(distortion_of(turned, decoded) / scale**2)
        if iteration < iterations:
            rotation = np.float32(scale) * best_rotation(points, decoded, spans, threads)
            turned = rotated(points, rotation, threads)
        progress.step("rotating and coding", iteration + 1, iterations + 1)
    return ProductQuantiser(rotation / np.float32(scale), books, rungs_of(blocks), scale, tuple(distortion))


def block_spans(blocks: Sequence[Block]) -> list[tuple[int, Block]]:
    """(first dim, block) of each block."""
    begins = [0, *(block.end for block in blocks[:-1])]
    return list(zip(begins, blocks, strict=True))


def rungs_of(blocks: Sequence[Block]) -> tuple[tuple[int, int], ...]:
    """(prefix dims, segments up to there) after each block."""
    counts = np.cumsum([block.segments for block in blocks]).tolist()
    return tuple((block.end, count) for block, count in zip(blocks, counts, strict=True))


def rotated(points: NDArray[np.float32], rotation: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
    """Points (rows, dims) turned by a rotation (dims, dims)."""
    return _core.multiply_rows(points, np.ascontiguousarray(rotation.T), threads)


def scale_of(points: NDArray[np.float32]) -> float:
    """The power of two that brings the largest norm of points to 1 or less, and near it."""
    largest = float(np.abs(points).max()) * float(np.sqrt(points.shape[1]))
    return float(2.0 ** -np.ceil(np.log2(largest))) if largest > 0 else 1.0


def parametric_rotation(
    points: NDArray[np.float32], spans: Sequence[tuple[int, Block]], threads: int
) -> NDArray[np.float32]:
    """Principal directions of each block, dealt to its segments so that the products of their variances are even."""
    parts = []
    for begin, block in spans:
        part = points[:, begin : block.end]
        centred = np.ascontiguousarray(part - part.mean(axis=0, dtype=np.float64), np.float32)
        centred *= np.float32(scale_of(centred))
        variances, directions = np.linalg.eigh(cross_products(centred, centred, threads))
        order = balanced_order(variances[::-1], block.widths(begin))
        parts.append((begin, directions[:, ::-1].T[order]))
    return _block_diagonal(parts, points.shape[1])


def balanced_order(variances: NDArray[np.float64], widths: Sequence[int]) -> list[int]:
    """Which of the falling variances goes where, segment after segment: each to the segment with room whose product of
    variances is smallest so far (Ge et al., section 3.3.2).
    """
    logarithms = np.log(np.maximum(variances, 1e-9 * variances[0]) + np.finfo(np.float64).tiny)
    logarithms -= logarithms.min() - 1e-3  # above 0, so that a product grows with each factor
    members: list[list[int]] = [[] for _ in widths]
    products = np.zeros(len(widths))
    for direction, logarithm in enumerate(logarithms):
        room = [segment for segment, width in enumerate(widths) if len(members[segment]) < width]
        smallest = min(room, key=lambda segment: products[segment])
        members[smallest].append(direction)
        products[smallest] += logarithm
    return [direction for segment in members for direction in segment]


def best_rotation(
    points: NDArray[np.float32], decoded: NDArray[np.float32], spans: Sequence[tuple[int, Block]], threads: int
) -> NDArray[np.float32]:
    """The rotation within blocks that brings points nearest to what their codes stand for (orthogonal Procrustes)."""
    parts = []
    for begin, block in spans:
        here = slice(begin, block.end)
        left, _, right = np.linalg.svd(cross_products(points[:, here], decoded[:, here], threads))
        parts.append((begin, (left @ right).T))
    return _block_diagonal(parts, points.shape[1])


def cross_products(left: NDArray[np.float32], right: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    """left.T @ right in float64, the same bits for any `threads` (BLAS promises that for neither)."""
    total = np.zeros((left.shape[1], right.shape[1]))
    for start in range(0, len(left), PRODUCT_ROWS):
        rows = slice(start, start + PRODUCT_ROWS)
        columns = np.ascontiguousarray(left[rows].T)
        total += _core.multiply_rows(columns, np.ascontiguousarray(right[rows]), threads)
    return total


def _block_diagonal(parts: Sequence[tuple[int, NDArray[np.float64]]], dims: int) -> NDArray[np.float32]:
    """(dims, dims) of the square parts (first dim, rotation)."""
    rotation = np.zeros((dims, dims), np.float32)
    for begin, part in parts:
        here = slice(begin, begin + len(part))
        rotation[here, here] = part
    return rotation
