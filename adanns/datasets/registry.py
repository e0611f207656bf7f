"""Which data sets are there, and who loads them?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from adanns.datasets import array_folder, icons, imagenet, prepared, synthetic_imagenet, wordnet
from adanns.datasets.dataset import Dataset

_LOADERS: dict[str, Callable[[], Dataset]] = {
    "icons": icons.load,
    "wordnet": wordnet.load,
    synthetic_imagenet.NAME: synthetic_imagenet.load,
    **{name: partial(prepared.load, name) for name in prepared.CACHE_NAMES},
}
_FOLDER_LOADERS: dict[str, Callable[[str], Dataset]] = {
    "npy": array_folder.load,
    **{name: partial(imagenet.load, name) for name in imagenet.NAMES},
}


def available() -> tuple[str, ...]:
    """The names `load` knows. Those that end in ":DIR" stand for arrays in a folder of your own."""
    return (*_LOADERS, *(f"{scheme}:DIR" for scheme in _FOLDER_LOADERS))


def load(name: str) -> Dataset:
    """Load a data set by name; docs/datasets.md says what each is.

    "icons" comes with the package. "wordnet" (a minute) and "synthetic-imagenet-1k" (minutes, 10.9 GB) are made on
    first use and kept in the cache folder, which is $ADANNS_CACHE or ~/.cache/adanns. The others are looked for there:
    `python -m benchmarks prepare NAME` makes them. DatasetUnavailableError says what is lacking. "npy:DIR" maps the
    arrays in DIR, see `adanns.datasets.array_folder`; "imagenet-1k:DIR", "imagenet-4k:DIR" and "imagenet-v2:DIR" the
    papers' arrays, see `adanns.datasets.imagenet`. Any other name raises ValueError.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set is a str, not {type(name).__name__}")
    if name in _LOADERS:
        return _LOADERS[name]()
    scheme, _, folder = name.partition(":")
    if scheme in _FOLDER_LOADERS:
        if not folder:
            raise ValueError(f"{name!r}: these arrays lie in a folder of your own; load '{scheme}:DIR'")
        return _FOLDER_LOADERS[scheme](folder)
    raise ValueError(f"unknown data set {name!r}; choose {', '.join(available())} (DIR: the folder of your arrays)")
