"""Icons: the sample that comes with the package, embedded by a small network trained with the Matryoshka loss.

54,440 icons of 1,000 classes from 163 permissively licensed icon sets. Whole sets are held out as queries, so that no
query's drawing style is in the database. `python -m benchmarks.prepare.icons` makes the file; data/ICONS.md says what
is in it, data/LICENCES.md whose icons they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from adanns.datasets.dataset import Dataset
from adanns.datasets.packing import unpack

SAMPLE = Path(__file__).parent / "data" / "icons.npz"


def load(sample: Path = SAMPLE) -> Dataset:
    """Unpack the sample to float32; takes about a second."""
    with np.load(sample, allow_pickle=False) as packed:
        vectors = unpack(packed)
        rows = int(packed["database_rows"])
        return Dataset(
            name="icons",
            database=vectors[:rows],
            queries=vectors[rows:],
            database_labels=packed["labels"][:rows],
            query_labels=packed["labels"][rows:],
            ladder=tuple(packed["ladder"].tolist()),
            metric="cosine",
            source=str(packed["source"]),
            licence="permissive, by icon set: see adanns/datasets/data/LICENCES.md",
            class_names=tuple(packed["class_names"].tolist()),
        )


def row_sets(sample: Path = SAMPLE) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """The icon set's prefix of each database row and of each query."""
    with np.load(sample, allow_pickle=False) as packed:
        prefixes = packed["set_prefixes"][packed["sets"]]
        rows = int(packed["database_rows"])
        return prefixes[:rows], prefixes[rows:]
