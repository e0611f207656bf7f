"""Which data sets are there, and who loads them?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from adanns.datasets import array_folder, icons, prepared, wordnet
from adanns.datasets.dataset import Dataset

_LOADERS: dict[str, Callable[[], Dataset]] = {
    "icons": icons.load,
    "wordnet": wordnet.load,
    **{name: partial(prepared.load, name) for name in prepared.CACHE_NAMES},
}
_FOLDER_LOADERS: dict[str, Callable[[str], Dataset]] = {
    "npy": array_folder.load,
}


def available() -> tuple[str, ...]:
    """The names `load` knows; arrays in a folder are loaded as `npy:DIR`."""
    return tuple(_LOADERS)


def load(name: str) -> Dataset:
    """Load a data set by name; docs/datasets.md says what each is.

    "icons" comes with the package. "wordnet" is made on first use (a minute) and kept in the cache folder, which is
    $ADANNS_CACHE or ~/.cache/adanns. The others are looked for there: `python -m benchmarks prepare NAME` makes them.
    DatasetUnavailableError says what is lacking. "npy:DIR" memory-maps the arrays in DIR: see
    `adanns.datasets.array_folder`. Any other name raises ValueError.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set is a str, not {type(name).__name__}")
    if name in _LOADERS:
        return _LOADERS[name]()
    scheme, _, folder = name.partition(":")
    if scheme in _FOLDER_LOADERS and folder:
        return _FOLDER_LOADERS[scheme](folder)
    choices = ", ".join([*_LOADERS, *(f"{scheme}:DIR" for scheme in _FOLDER_LOADERS)])
    raise ValueError(f"unknown data set {name!r}; choose {choices} (DIR: a folder with the arrays)")
