"""What does the classifier of each rung say? From the file of a trained head, with numpy alone."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import check_matrix
from adanns.ladder import checked_ladder

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Classifier:
    """Linear classifiers of prefixes, one a rung (MRL, section 3).

    ladder: the prefixes, increasing. weights, biases: by dims, float32 (classes, dims) and (classes,).
    """

    ladder: tuple[int, ...]
    weights: Mapping[int, Floats]
    biases: Mapping[int, Floats]

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Classifier:
        """Read the .npz file of a head: numpy.savez(path, **head.export()), see adanns.mrl.MatryoshkaHead.

        FileNotFoundError, or a ValueError that names the file and what is wrong in it.
        """
        with Path(path).open("rb") as file:
            try:
                arrays = np.load(file, allow_pickle=False)
                if not isinstance(arrays, Mapping):
                    raise ValueError("a single array")
                return cls.from_arrays(dict(arrays))
            except (ValueError, EOFError, zipfile.BadZipFile) as error:
                raise ValueError(f"{path}: not a file of classifier heads ({error})") from error

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Classifier:
        """Check and take "ladder" and, for every rung m of it, "weight_<m>" and "bias_<m>"."""
        rungs = np.asarray(_entry(arrays, "ladder"))
        ladder = checked_ladder(rungs.tolist() if rungs.ndim == 1 else [])
        assert ladder is not None  # only for None
        weights, biases = {}, {}
        classes = len(np.atleast_1d(_entry(arrays, f"bias_{ladder[0]}")))
        for dims in ladder:
            weights[dims] = _checked(arrays, f"weight_{dims}", (classes, dims))
            biases[dims] = _checked(arrays, f"bias_{dims}", (classes,))
        return cls(ladder, weights, biases)

    @property
    def classes(self) -> int:
        """How many classes it tells apart; labels are 0 ... classes - 1."""
        return len(self.biases[self.ladder[0]])

    def prefix_logits(self, prefixes: NDArray[Any]) -> Floats:
        """float32 (rows, classes) of prefixes (rows, dims), whose width says which rung; not checked."""
        dims = prefixes.shape[1]
        return np.asarray(np.asarray(prefixes, np.float32) @ self.weights[dims].T + self.biases[dims])

    def checked_embeddings(self, embeddings: Any) -> NDArray[Any]:
        """The embeddings if they are a matrix of floats as wide as the ladder reaches."""
        array = np.asarray(embeddings)
        check_matrix(array, "embeddings", self.ladder[-1])
        return array


def rung_logits(embeddings: Any, classifier: Classifier) -> Floats:
    """float32 (rungs, rows, classes): all logits at once, so for few rows; `predict_rungs` keeps what a cascade needs.

    embeddings: float16 or float32 (rows, dims), as wide as the classifier's ladder.
    """
    array = classifier.checked_embeddings(embeddings)
    return np.stack([classifier.prefix_logits(array[:, :dims]) for dims in classifier.ladder])


def _entry(arrays: Mapping[str, Any], name: str) -> Any:
    if name not in arrays:
        raise ValueError(f"{name!r} is missing; there are {', '.join(sorted(arrays)) or 'no arrays'}")
    return arrays[name]


def _checked(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Floats:
    array = np.asarray(_entry(arrays, name))
    if array.dtype.kind != "f" or array.shape != shape:
        raise ValueError(f"{name!r} is {array.dtype} of shape {array.shape}; expected floats of shape {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name!r} holds NaN or infinity")
    return np.asarray(array, np.float32)
