"""The reasons for a verdict, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from adanns.diagnosis.energy import Energy
from adanns.diagnosis.prefixes import NEIGHBOURS, Curves
from adanns.diagnosis.sampling import Lengths, Sample
from adanns.diagnosis.verdict import UNCORRELATED, Shape

REVERSED = 0.1  # share of the energy that the first half of the dims lacks
SHUFFLED = 0.3  # share of the energy that the first half of the dims lacks, were they sorted
UNIT_LENGTH = 1e-3
NEARLY_UNIT_LENGTH = 0.05
GOOD_RECALL = 0.9
TYPICAL_SHORTLIST = 100
FEW_ROWS_PER_DIM = 4


def about_neighbours(shape: Shape, curves: Curves) -> Iterator[str]:
    """What prefixes keep, beside a rotation and an SVD."""
    given, rotated, svd = ([row[0] for row in curve.recall] for curve in curves.all)
    # Where the two to compare with differ most, it shows most plainly which of them the vectors resemble.
    at = int(np.argmax(np.subtract(svd, rotated)))
    yield (
        f"The {NEIGHBOURS} nearest at {curves.prefix_dims[at]} dims hold {share(given[at])} of the {NEIGHBOURS} "
        f"nearest at all dims; of a random rotation of the vectors {share(rotated[at])}, of their SVD {share(svd[at])}."
    )
    if shape == "indifferent":
        if np.mean(rotated[:-1]) >= GOOD_RECALL:
            yield "A few directions hold all of the neighbourhood, and every prefix sees enough of them."
        else:
            yield "All directions matter alike: a shorter vector is a worse one, however it is made."
    elif shape in ("partly", "unordered", "reversed"):
        good = curves.prefix_dims[int(np.argmax(np.greater_equal(svd, GOOD_RECALL)))]
        if good < curves.prefix_dims[-1]:
            yield f"Rotated by their SVD they could be cut: its first {good} dims hold {share(GOOD_RECALL)} or more."


def about_energy(shape: Shape, energy: Energy) -> Iterator[str]:
    """How the energy lies over the dimensions, and what leaves it so."""
    if energy.steps:
        yield (
            f"The energy per dimension falls in steps, after {listed(energy.steps)} dims, and is flat between: "
            "training at these dims leaves such steps, a rotation or an SVD does not."
        )
    elif energy.falls_smoothly and energy.correlation < UNCORRELATED:
        yield (
            "The energy falls smoothly and the dimensions are not correlated, which is what an SVD or PCA leaves; "
            "whether the model was trained for prefixes before that cannot be seen."
        )
    elif energy.falls_smoothly:
        yield f"The energy falls smoothly, over correlated dimensions (r.m.s. correlation {energy.correlation:.2f})."
    elif shape == "ordered":
        yield "The energy per dimension shows no steps."
    half = len(energy.variances) // 2
    first_half = energy.share(half)
    if first_half < half / len(energy.variances) - REVERSED:
        yield f"The last half of the dims holds {share(1 - first_half)} of the energy: are they the wrong way round?"
    elif not energy.steps and not energy.falls_smoothly:
        strongest = sorted(energy.variances, reverse=True)
        if sum(strongest[:half]) / sum(strongest) > first_half + SHUFFLED:
            yield "Some dims hold far more energy than others, but not the first ones: were the dims shuffled?"


def about_labels(curves: Curves) -> Iterator[str]:
    """What prefixes keep of the labels."""
    if curves.top1 is None:
        return
    given, rotated, svd = curves.top1
    at = int(np.argmax(np.subtract(np.maximum(given, svd), rotated)))
    yield (
        f"1-NN top-1 at {curves.prefix_dims[at]} dims is {share(given[at])}, of the rotation {share(rotated[at])}, "
        f"of the SVD {share(svd[at])}; at all dims {share(given[-1])}."
    )


def about_ladder(ladder: tuple[int, ...], nominal: tuple[int, ...], curves: Curves) -> Iterator[str]:
    """Which rungs to use, which not, and where to start."""
    if len(ladder) == 1:
        yield f"Search at all {ladder[0]} dims: ladder=({ladder[0]},)."
        return
    unseen = [rung for rung in nominal if rung not in ladder]
    if unseen:
        yield f"ladder={ladder} suits, not {nominal}: nothing shows training at {listed(unseen)} dims."
        at = curves.prefix_dims.index(unseen[-1])
        given, rotated = curves.given.recall[at][0], curves.rotated.recall[at][0]
        if given < GOOD_RECALL:
            yield f"The {NEIGHBOURS} nearest at {unseen[-1]} dims hold {share(given)} (rotated: {share(rotated)})."
    else:
        yield f"ladder={ladder} suits."
    size = min(curves.shortlists, key=lambda size: abs(size - TYPICAL_SHORTLIST))
    held = [row[curves.shortlists.index(size)] for row in curves.given.recall]
    recall = dict(zip(curves.prefix_dims, held, strict=True))
    first = next((rung for rung in ladder[:-1] if recall.get(rung, 0) >= GOOD_RECALL), None)
    if first is not None:
        yield (
            f"For a first shortlist: the {size} nearest at {first} dims hold {share(recall[first])} of the "
            f"{NEIGHBOURS} nearest (of the rows drawn; among more rows it takes a longer one)."
        )


def about_lengths(lengths: Lengths, dims: int) -> Iterator[str]:
    """Whether rows are normalised."""
    span = f"{lengths.shortest:.4g} to {lengths.longest:.4g}"
    off = max(abs(lengths.shortest - 1), abs(lengths.longest - 1))
    shorter = [prefix for prefix in lengths.equal_at if prefix < dims]
    if off <= UNIT_LENGTH:
        if shorter:
            yield f"Rows have length 1 at all dims, and equal lengths at {listed(shorter)} dims too."
        else:
            yield "Rows have length 1 at all dims only; under cosine a prefix has to be scaled again, as adanns does."
    elif off <= NEARLY_UNIT_LENGTH:
        yield f"Rows are nearly of length 1 ({span}), as after rounding; scale them again for cosine, as adanns does."
    elif dims in lengths.equal_at:
        yield f"Rows all have length {lengths.median:.4g}."
    elif lengths.longest <= 1 + UNIT_LENGTH:
        yield f"Rows are not normalised, but none is longer than 1 ({span}): they may be cut from normalised ones."
    else:
        yield f"Rows are not normalised (lengths {span}, median {lengths.median:.4g})."


def about_rows(sample: Sample) -> Iterator[str]:
    """What else is odd about the rows drawn."""
    for what, count, total in (
        ("Zero rows", sample.zero_rows, sample.drawn),
        ("Copies of another row", sample.duplicate_rows, sample.drawn),
        ("Constant dims", sample.constant_dims, sample.dims),
    ):
        if count:
            yield f"{what}: {count:,} of {total:,}."
    if len(sample.database) < FEW_ROWS_PER_DIM * sample.dims:
        yield f"{len(sample.database):,} rows are few for {sample.dims} dims: the SVD is flattered, take it with care."


def share(value: float) -> str:
    """A share as whole per cent."""
    return f"{100 * value:.0f}%"


def listed(numbers: Sequence[int]) -> str:
    """1, 2 and 3."""
    *others, last = map(str, numbers)
    return f"{', '.join(others)} and {last}" if others else last
