"""Draw plots and page of a run; `python -m benchmarks draw` does so again from results measured before.

A run of codes is also summarised anew: it takes long enough to be asked new questions afterwards.
"""

import argparse
from pathlib import Path

from benchmarks import codes_figures, codes_summary, codes_table, figures, page, plots, results, table
from benchmarks.results import Run


def run(options: argparse.Namespace) -> int:
    """Read results.json in a folder, print its tables and write its page and plots anew."""
    path = options.folder / "results.json"
    finished = results.read_json(path)
    if finished.benchmark == "codes":
        finished = codes_summary.summarised_anew(finished)
        results.write_json(finished, path)
    print((codes_table if finished.benchmark == "codes" else table).report(finished))
    draw(finished, options.folder)
    return 0


def draw(run: Run, folder: Path) -> list[Path]:
    """Write index.html and the plots; returns their paths."""
    drawn = (codes_figures if run.benchmark == "codes" else figures).figures(run)
    page.write(run, drawn, folder / "index.html")
    return [folder / "index.html", *plots.draw_all(drawn, folder)]
