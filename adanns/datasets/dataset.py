"""What a data set is: vectors to search, queries, what they show, and where it all comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]


class DatasetUnavailableError(RuntimeError):
    """A data set is not in the cache and cannot be made here; the message says what to install or to run."""


@dataclass(frozen=True)
class Dataset:
    """Matryoshka embeddings with queries.

    database: float16 or float32 (rows, dims); queries: the same dims. Either may be a read-only memory map.
    database_labels, query_labels: integers, one a row, or None. A query is answered well by a row of its own label.
    ladder: the dims the embeddings were trained for, increasing, the last one all dims.
    metric: the metric they were trained for: "l2", "ip" or "cosine".
    class_names: what label i is called, or None.
    rigid: the same rows and queries embedded by models trained for all of their dims alone, by dims. Their ladder is
        (dims,); labels are shared. They are the papers' baselines RR, and truncated or by SVD the others.
    classifier: the file of the classifier heads (`numpy.load` gives ladder, weight_<dims>, bias_<dims>), or None.
    synthetic: whether the vectors were drawn at random, to be said wherever a number of theirs is shown.
    """

    name: str
    database: Vectors
    queries: Vectors
    database_labels: Labels | None
    query_labels: Labels | None
    ladder: tuple[int, ...]
    metric: str
    source: str
    licence: str
    class_names: tuple[str, ...] | None = None
    rigid: Mapping[int, Dataset] = field(default_factory=dict)
    classifier: Path | None = None
    synthetic: bool = False
