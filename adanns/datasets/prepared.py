"""Data sets that `python -m benchmarks prepare NAME` makes: loaded from the cache, never made on first use.

Making one takes from minutes to hours and needs what only the benchmarks need (torch, fonts, icon packages).
"""

from __future__ import annotations

from adanns.datasets import array_folder
from adanns.datasets.cache import cache_folder
from adanns.datasets.dataset import Dataset, DatasetUnavailableError

# The cached folder of each, in the format of array_folder. The number behind a name changes with the recipe, so that
# no old copy is taken for a new one.
CACHE_NAMES = {
    "icons-full": "icons-full-2",
    "glyphs-1k": "glyphs-1k-2",
    "glyphs-4k": "glyphs-4k-1",
}


def load(name: str) -> Dataset:
    """Map the prepared arrays of `name`, a key of CACHE_NAMES; DatasetUnavailableError says how to make them."""
    folder = cache_folder() / CACHE_NAMES[name]
    if not folder.is_dir():
        raise DatasetUnavailableError(
            f"the data set {name!r} is not in the cache folder {folder.parent}: python -m benchmarks prepare {name}"
        )
    return array_folder.load(folder, name=name)
