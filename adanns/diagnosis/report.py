"""What a diagnosis says: numbers, a table, JSON."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adanns.diagnosis.energy import Energy
from adanns.diagnosis.prefixes import NEIGHBOURS, Curve, Curves
from adanns.diagnosis.sampling import Lengths
from adanns.diagnosis.verdict import HEADLINES, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 112
LEGEND = (
    f"energy: share of the variance in the prefix. recall@{NEIGHBOURS}: share of the {NEIGHBOURS} nearest at all dims "
    f'among the {NEIGHBOURS} nearest at the prefix; "in n": among the n nearest. *: on the ladder that suits.'
)


@dataclass(frozen=True)
class Diagnosis:
    """Are these vectors Matryoshka-shaped? `print` it for a table and the verdict.

    shape: "matryoshka"; "svd" (ordered by energy, dims not correlated); "ordered" (prefixes are good, no rungs show);
        "partly"; "unordered"; "reversed"; "indifferent" (every rotation's prefixes are as good).
    order: where the prefixes' recall stands between a random rotation's, 0, and an SVD's, 1; None if all are alike.
    ladder: the rungs that suit; all dims alone where prefixes are not embeddings. reasons: why, in sentences.
    rows, dims, dtype: of the vectors.
    drawn: rows looked at; database_rows, queries: distinct ones searched, and searched for.
    zero_rows, duplicate_rows: among those drawn. constant_dims: dims with one value in all of them.
    lengths, energy, curves: what was measured.
    """

    shape: Shape
    order: float | None
    ladder: tuple[int, ...]
    reasons: tuple[str, ...]
    rows: int
    dims: int
    dtype: str
    metric: str
    seed: int
    drawn: int
    database_rows: int
    queries: int
    zero_rows: int
    duplicate_rows: int
    constant_dims: int
    lengths: Lengths
    energy: Energy
    curves: Curves

    @property
    def verdict(self) -> str:
        """The shape, in a sentence."""
        return HEADLINES[self.shape]

    def __str__(self) -> str:
        heading = (
            f"{self.rows:,} x {self.dims} {self.dtype} vectors, {self.metric}; measured on {self.database_rows:,} rows "
            f"and {self.queries:,} queries drawn from them, seed {self.seed}"
        )
        reasons = [
            line for reason in self.reasons for line in textwrap.wrap(f"- {reason}", WIDTH, subsequent_indent="  ")
        ]
        return "\n".join(
            [heading, "", *_aligned(self._table()), "", *textwrap.wrap(LEGEND, WIDTH), "", self.verdict, *reasons]
        )

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back equal."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Diagnosis:
        """The diagnosis that `to_json` wrote."""
        values: dict[str, Any] = _with_tuples(json.loads(text))
        curves = values["curves"]
        for name in ("given", "rotated", "svd"):
            curves[name] = Curve(**curves[name])
        values |= {
            "lengths": Lengths(**values["lengths"]),
            "energy": Energy(**values["energy"]),
            "curves": Curves(**curves),
        }
        return cls(**values)

    def plot(self, target: str | Path | Sequence[Axes]) -> None:
        """Draw energy, recall and (with labels) top-1 by dims: to a file, or onto as many matplotlib axes.

        ModuleNotFoundError without matplotlib.
        """
        from adanns.diagnosis.plot import draw

        draw(self, target)

    def _table(self) -> list[list[str]]:
        curves = self.curves
        top1 = curves.top1 or ()
        lines = [
            [
                *("dims", "energy", f"recall@{NEIGHBOURS}", "rotated", "SVD"),
                *(f"in {size}" for size in curves.shortlists[1:]),
                *(("top-1", "rotated", "SVD") if top1 else ()),
            ]
        ]
        for at, dims in enumerate(curves.prefix_dims):
            shares = [
                self.energy.share(dims),
                *(curve.recall[at][0] for curve in curves.all),
                *curves.given.recall[at][1:],
                *(values[at] for values in top1),
            ]
            mark = "*" if dims in self.ladder else " "
            lines.append([f"{mark}{dims:>5}", *(f"{value:.3f}" for value in shares)])
        return lines


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]


def _with_tuples(value: Any) -> Any:
    """JSON's lists as tuples, however deep."""
    if isinstance(value, list):
        return tuple(map(_with_tuples, value))
    return {name: _with_tuples(item) for name, item in value.items()} if isinstance(value, dict) else value
