"""Does the rotation only help, keep its blocks and lengths, and give the same for any threads?"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from recipes import rows_of

from adanns.progress import Progress
from adanns.training.codebooks import distortion_of
from adanns.training.opq import Block, ProductQuantiser, balanced_order, best_rotation, cross_products, train_opq

QUIET = Progress(False)
MIXED = (
    rows_of(2000, 24) @ np.linalg.qr(np.random.default_rng(0).standard_normal((24, 24)))[0].astype(np.float32)
).astype(np.float32)  # every dimension holds something of every other one
LAYOUTS = {
    "whole": [Block(24, 6)],
    "uneven": [Block(24, 7)],
    "bands": [Block(8, 4), Block(24, 5)],
    "three bands": [Block(8, 3), Block(12, 1), Block(24, 4)],
}

every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def trained(points: Any, blocks: Any, bits: int = 4, iterations: int = 4, threads: int = 2) -> ProductQuantiser:
    return train_opq(points, blocks, bits, iterations=iterations, seed=0, threads=threads, progress=QUIET)


@every_layout
def test_rotations_are_orthonormal_and_never_mix_blocks(layout: str) -> None:
    blocks = LAYOUTS[layout]
    rotation = trained(MIXED, blocks).rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(len(rotation)), atol=1e-5)
    assert len(rotation) == 24
    for begin, block in zip([0, *(block.end for block in blocks[:-1])], blocks, strict=True):
        assert not np.delete(rotation[begin : block.end], np.arange(begin, block.end), axis=1).any()


@every_layout
def test_rungs_say_how_many_segments_code_a_prefix(layout: str) -> None:
    expected = {
        "whole": ((24, 6),),
        "uneven": ((24, 7),),
        "bands": ((8, 4), (24, 9)),
        "three bands": ((8, 3), (12, 4), (24, 8)),
    }
    quantiser = trained(MIXED, LAYOUTS[layout], iterations=0)
    assert quantiser.rungs == expected[layout]
    assert len(quantiser.codebooks.segment_ends) == quantiser.rungs[-1][1]


@pytest.mark.parametrize("bits", [4, 8])
@every_layout
def test_the_distortion_falls_from_turn_to_turn(layout: str, bits: int) -> None:
    distortion = trained(MIXED, LAYOUTS[layout], bits, iterations=8).distortion
    assert len(distortion) == 9
    assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(distortion))
    assert distortion[-1] < distortion[0]


def test_the_distortion_is_that_of_the_decoded_points() -> None:
    quantiser = trained(MIXED, [Block(24, 6)], iterations=3)
    decoded = quantiser.decode(quantiser.encode(MIXED, 2), 2)
    np.testing.assert_allclose(distortion_of(MIXED, decoded), quantiser.distortion[-1], rtol=1e-4)


def test_a_prefix_of_the_code_is_a_code_of_the_prefix() -> None:
    whole = trained(MIXED, [Block(8, 4), Block(24, 5)])
    dims, segments = whole.rungs[0]
    codes = whole.encode(MIXED, 2)[:, :segments]
    end = int(whole.codebooks.segment_ends[segments - 1])
    books = whole.codebooks
    rotated = np.concatenate([books.book(b, e)[codes[:, s]] for s, (b, e) in enumerate(books.segments[:segments])], 1)
    decoded = rotated @ whole.rotation[:end, :dims] / np.float32(whole.scale)
    alone = trained(np.ascontiguousarray(MIXED[:, :dims]), [Block(dims, segments)])
    of_alone = alone.decode(alone.encode(np.ascontiguousarray(MIXED[:, :dims]), 2), 2)
    assert distortion_of(MIXED[:, :dims], decoded) < 1.05 * distortion_of(MIXED[:, :dims], of_alone)


def test_the_parametric_start_is_far_below_the_given_axes_where_variances_differ() -> None:
    uneven = (rows_of(2000, 24) * np.float32(0.7) ** np.arange(24, dtype=np.float32)).astype(np.float32)
    from_start = trained(uneven, [Block(24, 6)], iterations=0).distortion[0]
    axes = sum(
        trained(np.ascontiguousarray(uneven[:, i : i + 4]), [Block(4, 1)]).distortion[-1] for i in range(0, 24, 4)
    )
    assert from_start < 0.7 * axes


def test_procrustes_finds_the_rotation_between_two_clouds() -> None:
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((24, 24)))[0].astype(np.float32)
    found = best_rotation(MIXED, np.ascontiguousarray(MIXED @ turn.T), [(0, Block(24, 6))], 2)
    np.testing.assert_allclose(found, turn, atol=1e-3)


def test_directions_are_dealt_so_that_products_of_variances_are_even() -> None:
    variances = 0.8 ** np.arange(16.0)
    order = balanced_order(variances, [4, 4, 4, 4])
    assert sorted(order) == list(range(16))
    products = np.log(variances[order]).reshape(4, 4).sum(axis=1)
    assert np.ptp(products) < 4 * np.log(1 / 0.8)
    assert sorted(balanced_order(np.zeros(7), [3, 2, 2])) == list(range(7))


def test_same_code_with_any_threads() -> None:
    one, *others = [trained(MIXED, [Block(8, 4), Block(24, 5)], threads=threads) for threads in (1, 2, 7)]
    for other in others:
        assert np.array_equal(one.rotation, other.rotation)
        assert np.array_equal(one.codebooks.entries, other.codebooks.entries)
        assert one.distortion == other.distortion


@pytest.mark.parametrize("length", [1e-30, 1.0, 1e30])
def test_codes_do_not_depend_on_the_unit_of_length(length: float) -> None:
    expected = trained(MIXED, [Block(24, 6)])
    result = trained(MIXED * np.float32(length), [Block(24, 6)])
    ratio = result.distortion[-1] / length**2 / expected.distortion[-1]
    assert abs(ratio - 1) < 0.05
    decoded = result.decode(result.encode(MIXED * np.float32(length), 2), 2)
    assert np.isfinite(decoded).all()
    assert np.isfinite(result.entries).all()


@pytest.mark.parametrize("kind", ["constant", "duplicate", "zero"])
def test_dims_without_information_do_no_harm(kind: str) -> None:
    points = MIXED.copy()
    if kind == "constant":
        points[:, 3:9] = 0.5
    elif kind == "duplicate":
        points[:, 12:] = points[:, :12]
    else:
        points[...] = 0
    quantiser = trained(points, [Block(24, 6)])
    decoded = quantiser.decode(quantiser.encode(points, 2), 2)
    assert distortion_of(points, decoded) <= 1.01 * trained(MIXED, [Block(24, 6)]).distortion[-1]


def test_cross_products_are_those_of_numpy() -> None:
    rows = rows_of(9001, 7)
    expected = rows.T.astype(np.float64) @ MIXED[np.arange(9001) % 2000].astype(np.float64)
    found = cross_products(rows, MIXED[np.arange(9001) % 2000], 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_progress_counts_the_turns() -> None:
    steps: list[tuple[str, int, int]] = []
    train_opq(
        MIXED, [Block(24, 6)], 4, iterations=3, seed=0, threads=1, progress=Progress(lambda *step: steps.append(step))
    )
    assert steps == [("rotating and coding", done, 4) for done in (1, 2, 3, 4)]
