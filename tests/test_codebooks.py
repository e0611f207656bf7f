"""Do the codebooks of table codes only get better, leave no entry idle, and give the same for any threads?"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from recipes import rows_of

from adanns.training.codebooks import Codebooks, companded, distortion_of, first_codebooks, lloyd_step

POINTS = rows_of(3000, 13)
ENDS = (1, 2, 5, 13)  # widths 1, 1, 3, 8

every_size = pytest.mark.parametrize("bits", [4, 8])


def nearest(points: Any, books: Codebooks) -> Any:
    """The plain twin of `encode`."""
    return np.stack(
        [
            ((points[:, np.newaxis, begin:end] - books.book(begin, end).astype(np.float64)) ** 2).sum(2).argmin(1)
            for begin, end in books.segments
        ],
        axis=1,
    )


def distortions(points: Any, books: Codebooks, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        books, codes = lloyd_step(points, before := books, 2)
        found.append(distortion_of(points, before.decode(codes)))
    return found


@every_size
def test_codes_name_the_nearest_entries_and_decode_to_them(bits: int) -> None:
    books = first_codebooks(POINTS, ENDS, bits, seed=0, threads=2)
    codes = books.encode(POINTS, 2)
    assert codes.dtype == np.uint8
    decoded, twin = books.decode(codes), books.decode(nearest(POINTS, books).astype(np.uint8))
    np.testing.assert_allclose(distortion_of(POINTS, decoded), distortion_of(POINTS, twin), rtol=1e-6)
    for segment, (begin, end) in enumerate(books.segments):
        assert np.array_equal(decoded[:, begin:end], books.book(begin, end)[codes[:, segment]])


@every_size
def test_a_step_moves_entries_to_the_means_of_their_points(bits: int) -> None:
    books = first_codebooks(POINTS, ENDS, bits, seed=0, threads=1)
    better, codes = lloyd_step(POINTS, books, 1)
    for segment, (begin, end) in enumerate(books.segments):
        for entry in np.unique(codes[:, segment]):
            mean = POINTS[codes[:, segment] == entry, begin:end].mean(axis=0, dtype=np.float64)
            np.testing.assert_allclose(better.book(begin, end)[entry], mean, rtol=1e-5, atol=1e-6)


@every_size
@pytest.mark.parametrize("kind", ["spread", "duplicates", "constant"])
def test_the_distortion_never_increases(kind: str, bits: int) -> None:
    points = {
        "spread": POINTS,
        "duplicates": np.repeat(rows_of(20, 13), 50, axis=0),
        "constant": np.where(np.arange(13) < 5, np.float32(0.25), POINTS).astype(np.float32),
    }[kind]
    found = distortions(points, first_codebooks(points, ENDS, bits, seed=0, threads=1), 8)
    rounding = 1e-6 * found[0] + 1e-12
    assert all(after <= before + rounding for before, after in itertools.pairwise(found))


def test_entries_that_no_point_names_are_put_to_use() -> None:
    books = first_codebooks(POINTS, ENDS, 4, seed=0, threads=1)
    for begin, end in books.segments:
        books.book(begin, end)[1:] = 100  # all points are nearest to entry 0
    for _ in range(6):
        books, _ = lloyd_step(POINTS, books, 1)
    codes = books.encode(POINTS, 1)
    assert all(len(np.unique(codes[:, segment])) == 16 for segment in range(len(ENDS)))


def test_fewer_different_points_than_entries_are_coded_exactly() -> None:
    points = np.repeat(rows_of(10, 13), 30, axis=0)
    books = first_codebooks(points, ENDS, 4, seed=0, threads=1)
    for _ in range(10):
        books, _ = lloyd_step(points, books, 1)
    np.testing.assert_allclose(books.decode(books.encode(points, 1)), points, atol=1e-6)


@every_size
def test_same_codebooks_with_any_threads(bits: int) -> None:
    found = []
    for threads in (1, 2, 7):
        books = first_codebooks(POINTS, ENDS, bits, seed=3, threads=threads)
        for _ in range(3):
            books, _ = lloyd_step(POINTS, books, threads)
        found.append(books.entries)
    assert all(np.array_equal(entries, found[0]) for entries in found)


def test_a_normal_dimension_is_quantised_as_well_as_it_can_be() -> None:
    values = np.random.default_rng(0).standard_normal((20_000, 1)).astype(np.float32)
    books = first_codebooks(values, (1,), 4, seed=0, threads=1)
    for _ in range(4):
        books, _ = lloyd_step(values, books, 1)
    # Lloyd and Max: 16 levels of a normal variable leave .01154 of its variance.
    assert distortion_of(values, books.decode(books.encode(values, 1))) < 1.03 * 0.01154


def test_companded_entries_ascend_within_the_values() -> None:
    values = POINTS[:, 0]
    entries = companded(values, 256)
    assert (np.diff(entries) > 0).all()
    assert values.min() <= entries[0] <= entries[-1] <= values.max()
    assert (companded(np.full(50, 3, np.float32), 16) == 3).all()
