"""k-means codebooks of all segments of a table code at once.

A table code cuts rotated points into segments of any widths and keeps, per segment, the number of the nearest of 16 or
256 entries (product quantisation: Jegou et al., 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.training.kmeans import spread_seeds


@dataclass(frozen=True)
class Codebooks:
    """The entries that codes stand for.

    bits: 4 or 8; a segment has 2**bits entries. segment_ends: int32 (segments,), where each segment ends.
    entries: float32 (2**bits * segment_ends[-1],), segment after segment, each (2**bits, width) row by row.
    """

    bits: int
    segment_ends: NDArray[np.int32]
    entries: NDArray[np.float32]

    @property
    def segments(self) -> list[tuple[int, int]]:
        """First dim and end of each segment."""
        ends = self.segment_ends.tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def book(self, begin: int, end: int) -> NDArray[np.float32]:
        """A view of the entries of the segment [begin, end)."""
        return self.entries[begin << self.bits : end << self.bits].reshape(1 << self.bits, end - begin)

    def encode(self, points: NDArray[np.float32], threads: int) -> NDArray[np.uint8]:
        """The nearest entry of each segment, uint8 (rows, segments); ties go to the smaller number."""
        return _core.encode_segments(points, self.segment_ends, self.bits, self.entries, threads)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The points that codes stand for, float32 (rows, segment_ends[-1])."""
        points = np.empty((len(codes), self.segment_ends[-1]), np.float32)
        for segment, (begin, end) in enumerate(self.segments):
            points[:, begin:end] = self.book(begin, end)[codes[:, segment]]
        return points


def first_codebooks(
    points: NDArray[np.float32], segment_ends: Sequence[int], bits: int, seed: int, threads: int
) -> Codebooks:
    """Codebooks for k-means to start from: entries spread over the points, float32 (rows, segment_ends[-1])."""
    books = Codebooks(bits, np.array(segment_ends, np.int32), np.empty(segment_ends[-1] << bits, np.float32))
    for begin, end in books.segments:
        part = np.ascontiguousarray(points[:, begin:end])
        spread = companded(part[:, 0], 1 << bits) if end - begin == 1 else spread_seeds(part, 1 << bits, seed, threads)
        books.book(begin, end)[...] = spread.reshape(1 << bits, end - begin)
    return books


def companded(values: NDArray[np.float32], entries: int) -> NDArray[np.float32]:
    """Entries in proportion to the cube root of the values' density: the best quantiser of one dimension where entries
    are many (Panter and Dite, 1951), from which Lloyd's steps have little way left.
    """
    ordered = np.sort(values.astype(np.float64))
    # Between neighbours n apart of N rows the density is 1 / (N n), and its cube root times n goes as n^(2/3).
    reached = np.concatenate([[0], np.cumsum(np.diff(ordered) ** (2 / 3))])
    wanted = (np.arange(entries) + 0.5) / entries * reached[-1]
    return np.asarray(np.interp(wanted, reached, ordered), np.float32)


def lloyd_step(points: NDArray[np.float32], books: Codebooks, threads: int) -> tuple[Codebooks, NDArray[np.uint8]]:
    """One step of k-means in all segments: better codebooks, and the codes of the points before it."""
    codes = books.encode(points, threads)
    sums, counts = _core.sum_segments(points, codes, books.segment_ends, books.bits, threads)
    better = Codebooks(books.bits, books.segment_ends, sums)
    for segment, (begin, end) in enumerate(books.segments):
        book, used = better.book(begin, end), counts[segment] > 0
        np.divide(book, counts[segment][:, np.newaxis], out=book, where=used[:, np.newaxis], casting="same_kind")
        if not used.all():
            before = books.book(begin, end)
            book[~used] = before[~used]
            _use_the_rest(book, np.flatnonzero(~used), points[:, begin:end], before[codes[:, segment]])
    return better, codes


def _use_the_rest(
    book: NDArray[np.float32],
    unused: NDArray[np.int64],
    points: NDArray[np.float32],
    decoded: NDArray[np.float32],
) -> None:
    """In place: entries that no point named go to the points farthest from theirs, as long as any is away from it.

    No point loses its entry, so the distortion cannot increase.
    """
    distances = ((points - decoded).astype(np.float64) ** 2).sum(axis=1)
    farthest = np.argsort(-distances, kind="stable")[: len(unused)]
    farthest = farthest[distances[farthest] > 0]
    book[unused[: len(farthest)]] = points[farthest]


def distortion_of(points: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    """Mean squared distance from points to what their codes stand for."""
    return float(np.sum(((points - decoded) ** 2).sum(axis=1), dtype=np.float64)) / len(points)
