"""Write a run as one HTML page that needs nothing beside itself: data, styles and script are inside."""

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.figures import STYLES, figures
from benchmarks.results import Run

ASSETS = Path(__file__).parent / "page_assets"


def write(run: Run, path: Path) -> None:
    """Write the page."""
    path.write_text(render(run))


def render(run: Run) -> str:
    """The page as text."""
    content = {
        "run": asdict(run),
        "figures": [asdict(figure) for figure in figures(run)],
        "styles": {name: asdict(style) for name, style in STYLES.items()},
    }
    page = (ASSETS / "page.html").read_text()
    for mark, text in {
        "/*STYLE*/": (ASSETS / "page.css").read_text(),
        "/*SCRIPT*/": (ASSETS / "chart.js").read_text() + (ASSETS / "page.js").read_text(),
        # A "<" in the data must not end the script element that holds them.
        "/*CONTENT*/": json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
    }.items():
        page = page.replace(mark, text)
    return page
