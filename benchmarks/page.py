"""Write a run as one HTML page that needs nothing beside itself: data, styles and script are inside."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.results import Run
from benchmarks.styles import STYLES

ASSETS = Path(__file__).parent / "page_assets"


def write(run: Run, figures: Sequence[Figure], path: Path) -> None:
    """Write the page."""
    path.write_text(render(run, figures))


def render(run: Run, figures: Sequence[Figure]) -> str:
    """The page as text; each benchmark has its own document and script."""
    content = {
        "run": asdict(run),
        "figures": [asdict(figure) for figure in figures],
        "styles": {name: asdict(style) for name, style in STYLES.items()},
    }
    page = (ASSETS / f"{run.benchmark}.html").read_text()
    scripts = ("chart.js", "common.js", f"{run.benchmark}.js")
    for mark, text in {
        "/*STYLE*/": (ASSETS / "page.css").read_text(),
        "/*SCRIPT*/": "".join((ASSETS / script).read_text() for script in scripts),
        # A "<" in the data must not end the script element that holds them.
        "/*CONTENT*/": json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
    }.items():
        page = page.replace(mark, text)
    return page
