"""A diagnosis as a picture: energy, recall and top-1 by dims."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adanns.diagnosis.prefixes import NEIGHBOURS
from adanns.diagnosis.report import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, told apart by colour-blind readers too.
GIVEN, ROTATED, SVD, STEP = "#D55E00", "#7A7A7A", "#0072B2", "#C4C4C4"
LONGER_SHORTLISTS = (50, 200)
DECADE = 10
DOTS_PER_INCH = 140


def draw(diagnosis: Diagnosis, target: str | Path | Sequence[Axes]) -> None:
    """Draw onto two axes, three with labels; a path makes its own and writes them."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Diagnosis.plot needs matplotlib ({error}): pip install matplotlib (or adanns[bench])"
        ) from error
    panels = [_energy, _recall, *([_top1] if diagnosis.curves.top1 is not None else [])]
    if not isinstance(target, str | Path):
        if len(target) != len(panels):
            raise ValueError(f"{len(target)} axes were given; this diagnosis has {len(panels)} panels")
        for panel, axes in zip(panels, target, strict=True):
            panel(diagnosis, axes)
        return
    # Not pyplot, whose state and backend are the caller's. Title and subtitle have the top eighth to themselves.
    layout = ConstrainedLayoutEngine(rect=(0.005, 0, 0.99, 0.87), wspace=0.03)
    figure = Figure(figsize=(5.2 * len(panels), 5.2), layout=layout)
    FigureCanvasAgg(figure)
    for place, panel in enumerate(panels, 1):
        panel(diagnosis, figure.add_subplot(1, len(panels), place))
    ladder = ", ".join(map(str, diagnosis.ladder))
    subtitle = (
        f"{diagnosis.rows:,} x {diagnosis.dims} {diagnosis.dtype}, {diagnosis.metric}; {diagnosis.database_rows:,} "
        f"rows and {diagnosis.queries:,} queries drawn. The ladder that suits: {ladder}"
    )
    figure.text(0.012, 0.985, diagnosis.verdict, fontsize=14, fontweight="bold", va="top")
    figure.text(0.012, 0.92, textwrap.fill(subtitle, 75 * len(panels)), fontsize=9, color="#444444", va="top")
    figure.savefig(target, dpi=DOTS_PER_INCH)


def _energy(diagnosis: Diagnosis, axes: Axes) -> None:
    variances = diagnosis.energy.variances
    mean = sum(variances) / len(variances)
    relative = [value / mean if value else math.nan for value in variances]  # constant dims have no place on a log axis
    axes.plot(range(1, len(variances) + 1), relative, ".", color=GIVEN, markersize=4)
    shown = [value for value in relative if value > 0]
    if max(shown) > DECADE * min(shown):
        axes.set_yscale("log")
    axes.set_ylabel("variance, relative to the mean dimension")
    steps = diagnosis.energy.steps
    _finish(axes, f"Energy of each dimension{', and its steps' if steps else ''}", "dimension (log)")
    if steps:
        axes.xaxis.grid(False)
        axes.set_xticks((*steps, len(variances)))
        for step in steps:
            axes.axvline(step + 0.5, color=STEP, linewidth=1, zorder=0)


def _recall(diagnosis: Diagnosis, axes: Axes) -> None:
    curves = diagnosis.curves
    for curve, colour, marker, name in (
        (curves.svd, SVD, "s", "their SVD"),
        (curves.given, GIVEN, "o", "these vectors"),
        (curves.rotated, ROTATED, "X", "a random rotation"),
    ):
        axes.plot(curves.prefix_dims, [100 * row[0] for row in curve.recall], color=colour, marker=marker, label=name)
    for size, style in zip(LONGER_SHORTLISTS, ("--", ":"), strict=True):
        if size in curves.shortlists:
            place = curves.shortlists.index(size)
            held = [100 * row[place] for row in curves.given.recall]
            axes.plot(curves.prefix_dims, held, color=GIVEN, linestyle=style, label=f"these, in the nearest {size}")
    axes.set_ylabel(f"of the {NEIGHBOURS} nearest at all dims, %")
    axes.set_ylim(0, 102)
    axes.legend(loc="lower right", fontsize=9, framealpha=0.9, edgecolor="#E4E4E4")
    _finish(axes, f"Found among the {NEIGHBOURS} nearest at the prefix", "dimensions of the prefix (log)")


def _top1(diagnosis: Diagnosis, axes: Axes) -> None:
    given, rotated, svd = diagnosis.curves.top1 or ((), (), ())
    for values, colour, marker, name in (
        (svd, SVD, "s", "their SVD"),
        (given, GIVEN, "o", "these vectors"),
        (rotated, ROTATED, "X", "a random rotation"),
    ):
        axes.plot(
            diagnosis.curves.prefix_dims, [100 * value for value in values], color=colour, marker=marker, label=name
        )
    axes.set_ylabel("top-1 accuracy, %")
    axes.legend(loc="lower right", fontsize=9, framealpha=0.9, edgecolor="#E4E4E4")
    _finish(axes, "Nearest neighbour of the same label", "dimensions of the prefix (log)")


def _finish(axes: Axes, title: str, x_label: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
