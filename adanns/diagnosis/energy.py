"""How does the energy lie over the dimensions: in steps, as training at rungs leaves it, or in a smooth fall?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adanns.diagnosis.sampling import Floats

Float64s = NDArray[np.float64]

FEWEST_DIMS = 4  # of a band
SMALLEST_STEP = np.log(1.1)  # a fall of a tenth in mean energy per dimension
CLEAR_STEP = 30.0  # squared t statistic; chance alone stays below it at thousands of possible places
AS_LIKELY = 12.0  # of places whose squared errors differ by less than so many noise variances, the roundest is taken
# Bands of trained models slope for less than a fifth of the whole fall, those cut into a smooth one for half of it.
SLOPE_OF_STEPS = 0.3
CORRELATED_DIMS = 128  # correlations are taken over at most so many dimensions
FLOOR = 1e-9  # constant dimensions count as this share of the strongest one's energy


@dataclass(frozen=True)
class Energy:
    """Where the vectors vary.

    variances: of each dimension. steps: prefixes after which the energy per dimension falls by a step, from a flat band
    to a flat band; empty where it falls smoothly or not at all. falls_smoothly: it does fall, but not in steps.
    correlation: root mean square of the correlations between the first dimensions, without that of chance.
    """

    variances: tuple[float, ...]
    steps: tuple[int, ...]
    falls_smoothly: bool
    correlation: float

    def share(self, dims: int) -> float:
        """The share of the energy in the first `dims` dimensions."""
        return float(sum(self.variances[:dims]) / sum(self.variances))


def energy_of(database: Floats) -> Energy:
    """Look at the variances and correlations of the dimensions of some rows."""
    variances = database.var(axis=0, dtype=np.float64)
    cuts, slope = find_steps(variances, len(database))
    in_steps = slope < SLOPE_OF_STEPS
    return Energy(
        tuple(variances.tolist()), cuts if in_steps else (), bool(cuts) and not in_steps, _correlation(database)
    )


def find_steps(variances: Float64s, rows: int) -> tuple[tuple[int, ...], float]:
    """Where log variances fall by a step, and how much of the fall is slope within the bands between (0: flat bands).

    Bands are cut at their clearest step until none is clear. `rows`: how many the variances were estimated from.
    """
    logs = np.log(np.maximum(variances, FLOOR * variances.max()))
    cuts = _rounded(logs, tuple(_cuts(logs, 0, rows)), rows)
    bands = [logs[start:stop] for start, stop in pairwise((0, *cuts, len(logs)))]
    fall = bands[0].mean() - bands[-1].mean()
    slopes = sum(np.polyfit(np.arange(len(band)), band, 1)[0] * len(band) for band in bands if len(band) > 1)
    return cuts, float(-slopes / fall) if cuts else 0.0


def _cuts(logs: Float64s, first: int, rows: int) -> Iterator[int]:
    """Steps down inside one band, in order, as dims from the start of the vector."""
    if len(logs) < 2 * FEWEST_DIMS:
        return
    places, drops, explained, noise = _steps_down(logs, rows)
    best = int(np.argmax(explained))
    if drops[best] < SMALLEST_STEP or explained[best] < CLEAR_STEP * noise:
        return
    cut = int(places[best])
    yield from _cuts(logs[:cut], first, rows)
    yield first + cut
    yield from _cuts(logs[cut:], first + cut, rows)


def _rounded(logs: Float64s, cuts: tuple[int, ...], rows: int) -> tuple[int, ...]:
    """Each cut at the roundest of the places that are about as likely, its neighbours being where they are."""
    rounded = []
    edges = (0, *cuts, len(logs))
    for before, after in zip(edges[:-2], edges[2:], strict=True):
        places, _, explained, noise = _steps_down(logs[before:after], rows)
        likely = np.flatnonzero(explained >= explained.max() - AS_LIKELY * noise)
        best = max(likely, key=lambda at: (_roundness(before + int(places[at])), explained[at]))
        rounded.append(before + int(places[best]))
    return tuple(rounded)


def _steps_down(logs: Float64s, rows: int) -> tuple[NDArray[np.int64], Float64s, Float64s, float]:
    """For every place of a step: dims before it, the drop there, the squared error that it explains; and the noise."""
    dims = len(logs)
    before = np.arange(FEWEST_DIMS, dims - FEWEST_DIMS + 1)
    sums = np.cumsum(logs)
    drops = sums[before - 1] / before - (sums[-1] - sums[before - 1]) / (dims - before)
    explained = np.where(drops > 0, drops**2 * before * (dims - before) / dims, 0)
    left = (np.sum((logs - logs.mean()) ** 2) - explained.max()) / (dims - 2)
    return before, drops, explained, max(float(left), 2 / rows)  # 2 / rows: of a log variance, for normal values


def _roundness(dims: int) -> int:
    """The largest power of two that divides `dims`."""
    return dims & -dims


def _correlation(database: Floats) -> float:
    varied = np.flatnonzero(np.ptp(database, axis=0) > 0)[:CORRELATED_DIMS]
    if len(varied) < 2:
        return 0.0
    squares = np.corrcoef(database[:, varied], rowvar=False) ** 2
    of_pairs = (squares.sum() - len(varied)) / (len(varied) * (len(varied) - 1))
    return float(np.sqrt(max(0.0, of_pairs - 1 / len(database))))
