"""Which data sets are there, and who loads them?"""

from __future__ import annotations

from collections.abc import Callable

from adanns.datasets import array_folder, icons, wordnet
from adanns.datasets.dataset import Dataset

FOLDER_SCHEME = "npy:"

_LOADERS: dict[str, Callable[[], Dataset]] = {"icons": icons.load, "wordnet": wordnet.load}


def available() -> tuple[str, ...]:
    """The names `load` knows; a user's own arrays are loaded as `npy:DIR`."""
    return tuple(_LOADERS)


def load(name: str) -> Dataset:
    """Load a data set by name.

    "icons" comes with the package. "wordnet" is made on first use (a minute) and kept in the cache folder, which is
    $ADANNS_CACHE or ~/.cache/adanns; DatasetUnavailableError says what it lacks. "npy:DIR" memory-maps the arrays in
    DIR: see `adanns.datasets.array_folder`. Any other name raises ValueError.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set is a str, not {type(name).__name__}")
    if name.startswith(FOLDER_SCHEME) and name != FOLDER_SCHEME:
        return array_folder.load(name.removeprefix(FOLDER_SCHEME))
    if name not in _LOADERS:
        choices = ", ".join(_LOADERS)
        raise ValueError(f"unknown data set {name!r}; choose {choices}, or {FOLDER_SCHEME}DIR for arrays of your own")
    return _LOADERS[name]()
