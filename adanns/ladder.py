"""Which prefix lengths are embeddings: ladders, and how their bands are laid out in planes."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Metric = Literal["l2", "ip", "cosine"]
ScalarType = Literal["float32", "float16", "int8"]
Precision = ScalarType | Mapping[int, ScalarType]

METRICS: tuple[Metric, ...] = ("l2", "ip", "cosine")
SCALAR_TYPES: tuple[ScalarType, ...] = ("float32", "float16", "int8")

SMALLEST_RUNG = 8
FIRST_PLANE_DIMS = 64  # rungs up to here share a plane: its rows are a few cache lines at most
PLANE_GROWTH = 4  # each further plane reaches this many times as far as the one before


def default_ladder(dims: int) -> tuple[int, ...]:
    """The nesting of the papers: halve while even and at least 8. 512 -> 8, 16, ..., 512; 768 -> 12, 24, ..., 768."""
    ladder = [dims]
    while ladder[0] % 2 == 0 and ladder[0] // 2 >= SMALLEST_RUNG:
        ladder.insert(0, ladder[0] // 2)
    return tuple(ladder)


def checked_ladder(ladder: Iterable[int] | None) -> tuple[int, ...] | None:
    """An increasing tuple of positive ints; None, which means the default ladder, stays None."""
    if ladder is None:
        return None
    rungs = checked_rungs(ladder, "ladder")
    if not rungs:
        raise ValueError("ladder is (); its dims must be positive and increase")
    return rungs


def checked_rungs(rungs: Iterable[int], name: str) -> tuple[int, ...]:
    """An increasing tuple of positive ints."""
    try:
        checked = tuple(operator.index(rung) for rung in rungs)
    except TypeError:
        raise TypeError(f"{name} is {rungs!r}; expected increasing positive ints such as (8, 16, 32)") from None
    if any(rung < 1 for rung in checked[:1]) or any(low >= high for low, high in itertools.pairwise(checked)):
        raise ValueError(f"{name} is {checked}; its dims must be positive and increase")
    return checked


def ladder_for(dims: int, ladder: Sequence[int] | None) -> tuple[int, ...]:
    """The ladder of vectors of `dims` dimensions: the given one, which must end at `dims`, or the default."""
    if ladder is None:
        return default_ladder(dims)
    if ladder[-1] != dims:
        raise ValueError(f"ladder {tuple(ladder)} ends at {ladder[-1]} but the vectors have {dims} dimensions")
    return tuple(ladder)


def checked_rung(value: object, ladder: Sequence[int], name: str) -> int:
    """`value` if it is a rung of the ladder, else an error that says which are."""
    try:
        rung = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected an int on the ladder {tuple(ladder)}") from None
    if rung in ladder:
        return rung
    if rung > ladder[-1]:
        raise ValueError(f"{name}={rung} is beyond the {ladder[-1]} dimensions of the vectors")
    raise ValueError(
        f"{name}={rung} is not on the ladder {tuple(ladder)}; if the vectors were trained at {rung} dims, "
        f"build the index with a ladder= that holds it"
    )


@dataclass(frozen=True)
class Band:
    """Dims [first_dim, first_dim + dims) of every row, stored together in one number type."""

    first_dim: int
    dims: int
    type: ScalarType


def plan_planes(ladder: Sequence[int], precision: Precision) -> tuple[Band, ...]:
    """Cut the ladder into planes: one up to 64 dims, then each up to 4 times as far; also wherever the type changes."""
    if isinstance(precision, str):
        precision = {ladder[-1]: precision}
    ends = sorted(precision)
    for end in ends:
        checked_rung(end, ladder, "a key of precision")
    if ends[-1] != ladder[-1]:
        raise ValueError(f"precision covers dims up to {ends[-1]} but the vectors have {ladder[-1]}")
    cuts = set(ends)
    reach = FIRST_PLANE_DIMS
    for rung, following in zip(ladder, (*ladder[1:], None), strict=True):
        if following is None or following > reach:
            cuts.add(rung)
            reach = max(rung, reach) * PLANE_GROWTH if rung >= FIRST_PLANE_DIMS else reach * PLANE_GROWTH
    bands = []
    first = 0
    for cut in sorted(cuts):
        type_ = precision[next(end for end in ends if end >= cut)]
        bands.append(Band(first, cut - first, type_))
        first = cut
    return tuple(bands)


def checked_precision(precision: Precision | None) -> Precision:
    """`precision` if every type in it is known."""
    if isinstance(precision, str):
        types: list[object] = [precision]
    elif isinstance(precision, Mapping) and precision:
        types = list(precision.values())
    else:
        raise TypeError(f"precision is {precision!r}; expected one of {SCALAR_TYPES} or a mapping {{dims: type}}")
    for type_ in types:
        if type_ not in SCALAR_TYPES:
            raise ValueError(f"precision is {type_!r}; choose one of {SCALAR_TYPES}")
    return precision


def checked_metric(metric: object) -> Metric:
    """`metric` if it is known."""
    for known in METRICS:
        if metric == known:
            return known
    raise ValueError(f"metric is {metric!r}; choose one of {METRICS}")
