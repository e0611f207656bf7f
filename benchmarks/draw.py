"""Draw plots and page of a run; `python -m benchmarks draw` does so again from results measured before."""

import argparse
from pathlib import Path

from benchmarks import codes_figures, codes_table, figures, page, plots, results, table
from benchmarks.results import Run


def run(options: argparse.Namespace) -> int:
    """Read results.json in a folder, print its tables and write its page and plots anew."""
    finished = results.read_json(options.folder / "results.json")
    print((codes_table if finished.benchmark == "codes" else table).report(finished))
    draw(finished, options.folder)
    return 0


def draw(run: Run, folder: Path) -> list[Path]:
    """Write index.html and the plots; returns their paths."""
    drawn = (codes_figures if run.benchmark == "codes" else figures).figures(run)
    page.write(run, drawn, folder / "index.html")
    return [folder / "index.html", *plots.draw_all(drawn, folder)]
