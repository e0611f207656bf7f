"""Do bits go to the bands where they take away most of the distortion?"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from recipes import rows_of

from adanns.progress import Progress
from adanns.training.allocation import allocate, measured_distortion

QUIET = Progress(False)
NOISE = np.random.default_rng(0).standard_normal((1000, 24)).astype(np.float32)


def counts(points: Any, ends: Any, segments: int, bits: int = 4) -> list[int]:
    blocks = allocate(points, ends, segments, bits, seed=0, threads=2, progress=QUIET)
    assert [block.end for block in blocks] == list(ends)
    return [block.segments for block in blocks]


def test_bands_of_equal_energy_get_equally_many() -> None:
    assert counts(NOISE, (8, 16, 24), 12) == [4, 4, 4]


def test_a_band_of_more_energy_gets_more_and_one_of_none_gets_one() -> None:
    scaled = NOISE * np.repeat(np.array([1, 0.3, 0], np.float32), 8)
    first, second, third = counts(scaled, (8, 16, 24), 11)
    assert first > second > 1
    assert third == 1


def test_no_band_gets_more_segments_than_it_has_dims() -> None:
    scaled = NOISE * np.repeat(np.array([1, 1e-3, 1e-3], np.float32), [2, 10, 12])
    assert counts(scaled, (2, 12, 24), 10)[0] == 2
    assert counts(NOISE, (8, 24), 24) == [8, 16]


@pytest.mark.parametrize("bits", [4, 8])
def test_more_segments_leave_less_distortion(bits: int) -> None:
    found = [measured_distortion(NOISE, segments, bits, 0, 1) for segments in (1, 2, 4, 8, 24)]
    assert all(after < before for before, after in itertools.pairwise(found))


def test_the_greedy_choice_is_as_good_as_the_best_split() -> None:
    points = np.ascontiguousarray(rows_of(1000, 24) * np.float32(0.9) ** np.arange(24, dtype=np.float32))

    def distortion(split: tuple[int, int]) -> float:
        parts = (points[:, :8], points[:, 8:])
        return sum(
            measured_distortion(np.ascontiguousarray(part[:512]), count, 4, 0, 1)
            for part, count in zip(parts, split, strict=True)
        )

    chosen = counts(points, (8, 24), 9)
    best = min(distortion((first, 9 - first)) for first in range(1, 9))
    assert distortion((chosen[0], chosen[1])) <= 1.02 * best


def test_same_allocation_with_any_threads() -> None:
    found = [allocate(NOISE, (8, 24), 9, 4, seed=1, threads=threads, progress=QUIET) for threads in (1, 2, 7)]
    assert found[1:] == found[:-1]


def test_rows_in_an_order_are_sampled_evenly() -> None:
    """Of the first rows alone, nothing would be known of the second band."""
    ordered = np.repeat(NOISE[:, :16], 2, axis=0)
    ordered[:1000, 8:] = 0
    assert counts(ordered, (8, 16), 8)[1] > 1
