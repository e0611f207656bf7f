"""`python -m benchmarks prepare NAME`: make a data set that `adanns.datasets.load(NAME)` then finds in the cache.

Each data set's recipe is a file here; nothing of this is needed to use a data set that is there.
"""

from __future__ import annotations

import argparse
import sys

from adanns.datasets.dataset import DatasetUnavailableError


def run(options: argparse.Namespace) -> int:
    """Make the data set `options.name` with rigid twins at `options.rigid_dims`; print where it lies."""
    if options.name in ("glyphs-1k", "glyphs-4k"):
        from benchmarks.prepare.glyph_sets import prepare
    else:
        from benchmarks.prepare.icons_full import prepare
    try:
        folder = prepare(options.name, rigid_dims=options.rigid_dims, workers=options.threads)
    except DatasetUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    print(folder)
    return 0
