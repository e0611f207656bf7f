"""Which shape have the vectors, and which ladder suits them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from adanns.diagnosis.energy import Energy
from adanns.diagnosis.prefixes import Curves

Shape = Literal["matryoshka", "svd", "ordered", "partly", "unordered", "reversed", "indifferent"]

# An order of 0 is that of a random rotation, of 1 that of an SVD. Trained embeddings measured from .6 to .9, rotated
# ones within .1 of 0.
CLEARLY_ORDERED = 0.3
BARELY_ORDERED = 0.15
# One rotation differs from the next by about .01 in mean recall; on Gaussian noise an SVD gains .02 over a rotation.
LEAST_GAIN = 0.02
LEAST_ROOM = 0.03
UNCORRELATED = 0.03

HEADLINES: dict[Shape, str] = {
    "matryoshka": "Matryoshka-shaped.",
    "svd": "Ordered as an SVD or PCA orders vectors: prefixes are good embeddings, at any dims.",
    "ordered": "Ordered: prefixes are good embeddings, but nothing shows at which dims they were trained.",
    "partly": "Hardly Matryoshka-shaped: prefixes are little better than those of a random rotation.",
    "unordered": "Not Matryoshka-shaped: prefixes are no better than those of a random rotation.",
    "reversed": "Not Matryoshka-shaped: prefixes are worse than those of a random rotation.",
    "indifferent": "Not Matryoshka-shaped: there is no order to have, any rotation's prefixes are as good.",
}


@dataclass(frozen=True)
class Standing:
    """Where prefixes stand between a random rotation's and an SVD's, in mean recall or top-1 over all prefixes.

    order: 0 as the rotation's, 1 as the SVD's or better; None where all are alike. gain: over the rotation's.
    """

    order: float | None
    gain: float


def standing(given: Sequence[float], rotated: Sequence[float], svd: Sequence[float]) -> Standing:
    """Compare values by prefix; the last one, of the whole vector, is the same for all and left out."""
    mean, lowest, highest = (float(np.mean(values[:-1])) for values in (given, rotated, svd))
    room = max(highest, mean) - lowest
    return Standing((mean - lowest) / room if room >= LEAST_ROOM else None, mean - lowest)


def judge(curves: Curves, energy: Energy) -> tuple[Shape, float | None]:
    """The shape, and the order by recall; the shape is by whichever of recall and top-1 shows more order."""
    by_recall = standing(*([row[0] for row in curve.recall] for curve in curves.all))
    best = by_recall
    if curves.top1 is not None:
        best = max(by_recall, standing(*curves.top1), key=lambda one: one.gain)
    return _shape(best, energy), by_recall.order


def suitable_ladder(shape: Shape, nominal: tuple[int, ...], steps: tuple[int, ...]) -> tuple[int, ...]:
    """The rungs that the steps show; where all are rungs of `nominal`, that from the first step on."""
    if shape in ("svd", "ordered"):
        return nominal
    if shape != "matryoshka":
        return nominal[-1:]
    if set(steps) <= set(nominal):
        return tuple(rung for rung in nominal if rung >= steps[0])
    return (*steps, nominal[-1])


def _shape(best: Standing, energy: Energy) -> Shape:
    if best.order is None:
        return "indifferent"
    if abs(best.gain) < LEAST_GAIN or abs(best.order) < BARELY_ORDERED:
        return "unordered"
    if best.order < 0:
        return "reversed"
    if energy.steps:
        return "matryoshka"
    if best.order < CLEARLY_ORDERED:
        return "partly"
    return "svd" if energy.falls_smoothly and energy.correlation < UNCORRELATED else "ordered"
