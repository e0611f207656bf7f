"""ImageNet embeddings as the papers' repositories (MRL, AdANNS) write them: `load("imagenet-1k:DIR")`.

DIR holds pairs of files, one pair for each model and part:

    {1K|4K|V2}_{train|val}_mrl{0|1}_e{0|1}_{ff|rr}{dims}-X.npy     float32 (rows, dims), not normalised
    {1K|4K|V2}_{train|val}_mrl{0|1}_e{0|1}_{ff|rr}{dims}-y.npy     labels (rows, 1), uint16 or (older) float16

`train` is the database and `val` the queries; ImageNetV2 has queries only, for the database of 1K. mrl1_e0 is the
Matryoshka model, e1 its weight-tied form MRL-E, mrl0_e0 a rigid one trained for its dims alone; ff and rr mean the
same. The older imagenet1k, imagenet4k or imagenet4m, imagenetv2 and nesting{0|1}_sh{0|1} are read, too. The
repositories scale every prefix to length 1 and search by L2, which is what cosine means here: the arrays stay as is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adanns.datasets.array_folder import rigid_twin
from adanns.datasets.dataset import Dataset, Labels, Vectors
from adanns.datasets.npy_file import map_numbers, map_vectors
from adanns.ladder import default_ladder

LARGEST_EXACT_FLOAT16 = 2048  # integers beyond it are rounded to multiples of 2
LICENCE = "ImageNet's terms of access: non-commercial research and education"
_SETS = {
    "1K": "1K",
    "4K": "4K",
    "V2": "V2",
    "imagenet1k": "1K",
    "imagenet4k": "4K",
    "imagenet4m": "4K",
    "imagenetv2": "V2",
}
_NAME = re.compile(
    rf"(?P<set>{'|'.join(_SETS)})_(?P<part>train|val)_(?:mrl|nesting)(?P<nested>[01])_(?:e|sh)(?P<tied>[01])"
    r"_(?:ff|rr)(?P<dims>[1-9][0-9]{0,8})-X\.npy"
)


@dataclass(frozen=True)
class _Parts:
    """Which files' `train` is the database, which files' `val` the queries, and how many classes there are."""

    database: str
    queries: str
    classes: int


NAMES = {
    "imagenet-1k": _Parts("1K", "1K", 1000),
    "imagenet-4k": _Parts("4K", "4K", 4202),
    "imagenet-v2": _Parts("1K", "V2", 1000),
}


class _Array(NamedTuple):
    """What a file's name says: 1K, 4K or V2; train or val; "mrl", "mrl-e" or "rigid"; dims."""

    set: str
    part: str
    model: str
    dims: int

    def expected(self) -> str:
        """The name that the AdANNS repository gives such a file."""
        flags = {"mrl": "mrl1_e0", "mrl-e": "mrl1_e1", "rigid": "mrl0_e0"}[self.model]
        return f"{self.set}_{self.part}_{flags}_rr{self.dims}-X.npy"


def load(name: str, folder: str | Path, *, tied: bool | None = None) -> Dataset:
    """Map the arrays of `name` (imagenet-1k, imagenet-4k or imagenet-v2) in `folder`; rigid arrays become `rigid`.

    tied: True for MRL-E, False for MRL, None for whichever is there, MRL first.
    FileNotFoundError names what is missing; ValueError names a file whose size, shape, type or labels are wrong.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; {name}:DIR names one with files such as {_example(name)}")
    files = _files(folder)
    queries = _chosen_queries(name, folder, files, tied)
    database_file = _file(queries._replace(set=NAMES[name].database, part="train"), files, folder)
    database, query_vectors = _vectors(database_file, queries.dims), _vectors(files[queries], queries.dims)
    dataset = Dataset(
        name=name,
        database=database,
        queries=query_vectors,
        database_labels=_labels(database_file, len(database), name),
        query_labels=_labels(files[queries], len(query_vectors), name),
        ladder=default_ladder(queries.dims),
        metric="cosine",
        source=f"{database_file.name} and {files[queries].name}, as the papers' repositories write them",
        licence=LICENCE,
    )
    rigid = sorted(array.dims for array in files if array == queries._replace(model="rigid", dims=array.dims))
    return replace(dataset, rigid={dims: _rigid(dataset, dims, files, folder) for dims in rigid})


def _example(name: str) -> str:
    return _Array(NAMES[name].queries, "val", "mrl", 2048).expected()


def _files(folder: Path) -> dict[_Array, Path]:
    """The arrays of vectors in `folder`; ValueError if two files are named as the same one."""
    files: dict[_Array, Path] = {}
    for file in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(file.name):
            model = "mrl-e" if match["tied"] == "1" else "mrl" if match["nested"] == "1" else "rigid"
            array = _Array(_SETS[match["set"]], match["part"], model, int(match["dims"]))
            if array in files:
                raise ValueError(f"{file}: the same array as {files[array].name} by its name; keep one of them")
            files[array] = file
    return files


def _chosen_queries(name: str, folder: Path, files: dict[_Array, Path], tied: bool | None) -> _Array:
    """The Matryoshka queries; of several dims, the most."""
    for model in ("mrl", "mrl-e") if tied is None else ("mrl-e",) if tied else ("mrl",):
        found = [array for array in files if array[:3] == (NAMES[name].queries, "val", model)]
        if found:
            return max(found, key=lambda array: array.dims)
    what = "" if tied is None else "MRL-E " if tied else "MRL "
    raise FileNotFoundError(f"{folder}: no {what}queries of {name}; expected a file such as {_example(name)}")


def _file(array: _Array, files: dict[_Array, Path], folder: Path) -> Path:
    if array not in files:
        raise FileNotFoundError(f"{folder / array.expected()}: no such file, nor one of the older names for it")
    return files[array]


def _vectors(file: Path, dims: int) -> Vectors:
    vectors = map_vectors(file)
    if vectors.shape[1] != dims:
        raise ValueError(f"{file}: {vectors.shape[1]} dims, but its name says {dims}")
    return vectors


def _label_file(vectors: Path) -> Path:
    return vectors.with_name(vectors.name.removesuffix("-X.npy") + "-y.npy")


def _labels(vectors: Path, rows: int, name: str) -> Labels:
    """The labels beside a file of vectors as integers (rows,); all of them are read and checked."""
    file, classes = _label_file(vectors), NAMES[name].classes
    labels = map_numbers(file)
    if labels.shape not in ((rows, 1), (rows,)):
        raise ValueError(
            f"{file}: shape {labels.shape}; expected {(rows, 1)}, one label for each row of {vectors.name}"
        )
    labels = labels.reshape(-1)
    if labels.dtype == np.float16:
        if classes > LARGEST_EXACT_FLOAT16:
            raise ValueError(
                f"{file}: labels in float16, which rounds integers beyond {LARGEST_EXACT_FLOAT16:,} and so merges some "
                f"of the {classes:,} classes of {name}; write them again as uint16"
            )
        wrong = ~((labels >= 0) & (labels < classes) & (labels == np.trunc(labels)))
    elif labels.dtype.kind in "iu":
        wrong = ~((labels >= 0) & (labels < classes))
    else:
        raise ValueError(f"{file}: dtype {labels.dtype}; expected uint16 (or float16, as older scripts write)")
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{file}: label {labels[row]} in row {row:,}; expected an integer from 0 to {classes - 1:,}")
    return labels.astype(np.uint16) if labels.dtype == np.float16 else labels


def _rigid(dataset: Dataset, dims: int, files: dict[_Array, Path], folder: Path) -> Dataset:
    """The rigid twin of `dims`; where its own labels are there, they must be the data set's: then rows correspond."""
    parts = NAMES[dataset.name]
    queries = files[_Array(parts.queries, "val", "rigid", dims)]
    database = _file(_Array(parts.database, "train", "rigid", dims), files, folder)
    for vectors, labels in (database, dataset.database_labels), (queries, dataset.query_labels):
        file = _label_file(vectors)
        if labels is not None and file.exists():
            own = _labels(vectors, len(labels), dataset.name)
            if not np.array_equal(own, labels):
                raise ValueError(f"{file}: not the labels of {dataset.source}, so these rows are of other images")
    return rigid_twin(dataset, dims, database, queries)
