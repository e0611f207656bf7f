"""What the results of codes are sorted by: codes alone or reranked, bytes; and what learning an OPQ code gave."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Measurement

# A method's name ends so where its codes give a shortlist: for the rerank that all share, or a cascade of our own.
RERANKED, CASCADED = " + rerank", " + cascade"


@dataclass(frozen=True)
class OPQBuild:
    """One way to learn a code of `bytes` segments of 8 bits.

    rotations: turns of the rotation after the start. distortion: mean squared distance of rows to their codes, of rows
    that nothing was learnt from.
    """

    who: str
    dims: int
    bytes: int
    rotations: int
    rows: int
    seconds: float
    distortion: float


def is_reranked(row: Measurement) -> bool:
    """Whether it has the rerank that all methods share."""
    return row.method.endswith(RERANKED)


def is_alone(row: Measurement) -> bool:
    """Whether it is searched by its codes alone."""
    return not row.method.endswith((RERANKED, CASCADED))


def sizes_of(measurements: Sequence[Measurement]) -> list[int]:
    """Sizes of codes, ascending."""
    return sorted({row.parameters["bytes"] for row in measurements})


def of_size(measurements: Sequence[Measurement], size: int) -> list[Measurement]:
    """Those whose codes have so many bytes."""
    return [row for row in measurements if row.parameters["bytes"] == size]
