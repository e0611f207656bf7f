"""Draw plots and page again from results measured before."""

import argparse

from benchmarks import page, plots, results, table


def run(options: argparse.Namespace) -> int:
    """Read results.json in a folder, print its tables and write its page and plots anew."""
    finished = results.read_json(options.folder / "results.json")
    print(table.report(finished))
    page.write(finished, options.folder / "index.html")
    plots.draw_all(finished, options.folder)
    return 0
