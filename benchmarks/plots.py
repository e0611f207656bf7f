"""Draw the figures as PNG files."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.figures import Figure, Panel
from benchmarks.styles import STYLES

RECALL_TICKS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
# On an axis of log(1 - recall), recall 1 has no place; everything above this is drawn here, at the tick "1".
RECALL_ONE = 0.9999
LOWEST_RECALL_SHOWN = 0.5
DOTS_PER_INCH = 140
HEAD_INCHES = 0.75  # of title and caption
ROW_INCHES = 5.05  # of a row of panels


def draw_all(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Write one PNG per figure; returns their paths."""
    paths = []
    for figure in figures:
        paths.append(folder / f"{figure.key}.png")
        save(figure, paths[-1])
    return paths


def save(figure: Figure, path: Path) -> None:
    """Draw a figure into a PNG file; no display is needed."""
    matplotlib.use("Agg")
    canvas = draw(figure)
    canvas.savefig(path, dpi=DOTS_PER_INCH)
    plt.close(canvas)


def draw(figure: Figure) -> Canvas:
    """Draw the panels in rows of two; one legend below them where they share their curves."""
    rows = -(-len(figure.panels) // 2)
    height = HEAD_INCHES + ROW_INCHES * rows
    layout = ConstrainedLayoutEngine(rect=(0.005, 0, 0.99, 1 - HEAD_INCHES / height))
    columns = min(2, len(figure.panels))
    canvas, grid = plt.subplots(rows, columns, figsize=(12, height), squeeze=False, layout=layout)
    for axis, panel in zip(grid.flat, figure.panels, strict=True):
        if panel.kind == "dots":
            _draw_dots(axis, panel)
        else:
            _draw_curves(axis, panel)
        axis.set_title(panel.title, fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, color="#E4E4E4", linewidth=0.8)
        axis.set_axisbelow(True)
    if figure.shared_legend:
        handles = {
            label: line for axis in grid.flat for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        canvas.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    elif figure.panels[0].kind == "curves":
        for axis in grid.flat:
            if axis.get_legend_handles_labels()[0]:
                axis.legend(loc="lower right", fontsize=9, framealpha=0.9, edgecolor="#E4E4E4")
    canvas.text(0.012, 1 - 0.09 / height, figure.title, fontsize=14, fontweight="bold", va="top")
    caption = textwrap.fill(figure.caption, 180)
    canvas.text(0.012, 1 - 0.41 / height, caption, fontsize=9, color="#444444", va="top")
    return canvas


def _draw_curves(axis: Axes, panel: Panel) -> None:
    for position, series in enumerate(panel.series):
        style = STYLES[series.name]
        points = [(x, _recall_height(y) if panel.y_scale == "recall" else y) for x, y, _ in series.points]
        axis.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=style.colour,
            marker=style.marker,
            linestyle="--" if style.dashed else "-",
            markerfacecolor="white" if style.dashed else style.colour,
            markersize=5.5,
            linewidth=1.7,
            zorder=3 - position / len(panel.series),  # what is named first is on top
            label=series.name,
        )
    _scale_x(axis, panel)
    axis.set_ylabel(panel.y_label)
    if panel.y_scale == "recall":
        ticks = [*RECALL_TICKS, RECALL_ONE]
        axis.set_yticks([_recall_height(tick) for tick in ticks], [f"{tick:g}" for tick in RECALL_TICKS] + ["1"])
        shown = [y for series in panel.series for _, y, _ in series.points if y >= LOWEST_RECALL_SHOWN]
        lowest = min(shown, default=LOWEST_RECALL_SHOWN)
        axis.set_ylim(_recall_height(lowest) - 0.1, _recall_height(1) + 0.12)


def _draw_dots(axis: Axes, panel: Panel) -> None:
    """One named line per method with a dot and its text; the fastest on top."""
    for series in panel.series:
        style = STYLES[series.name]
        ((x, height, text),) = series.points
        face = "white" if style.dashed else style.colour
        axis.plot(x, height, style.marker, color=style.colour, markerfacecolor=face, markersize=9)
        axis.annotate(text, (x, height), xytext=(10, 0), textcoords="offset points", va="center", fontsize=9)
    axis.set_yticks([y for s in panel.series for _, y, _ in s.points], [s.name for s in panel.series])
    values = [x for s in panel.series for x, _, _ in s.points]
    if values:
        # Room for the text to the right of the slowest method's dot.
        axis.set_xlim(min(values) / 1.5, max(values) * (max(values) / min(values) * 2) ** 0.6)
    _scale_x(axis, panel)
    axis.margins(y=0.08)


def _scale_x(axis: Axes, panel: Panel) -> None:
    axis.set_xlabel(panel.x_label)
    if panel.x_scale == "log2":
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%d"))
    elif panel.x_scale == "log":
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        decades = math.log10(high / low)
        # Dots leave room for their text on the right; it needs no ticks.
        high = min(high, 1.5 * max((x for series in panel.series for x, _, _ in series.points), default=high))
        steps = (1, 2, 5) if decades < 2.5 else (1, 3) if decades < 3.5 else (1,)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        axis.set_xticks(ticks, [f"{tick:,.0f}" if tick >= 1 else f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_locator(ticker.NullLocator())


def _recall_height(recall: float) -> float:
    return -math.log10(1 - min(recall, RECALL_ONE))
