"""What each rung predicts for each row, and how sure it is: all that a cascade needs to know of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adanns.adaptive_classification.classifier import Classifier
from adanns.ladder import checked_ladder, checked_rung
from adanns.progress import Progress, ProgressCallback

Labels = NDArray[np.int64]
Float64s = NDArray[np.float64]

CHUNK_ROWS = 4096  # logits of 1,000 classes for so many rows take 16 MB


@dataclass(frozen=True, eq=False)
class RungPredictions:
    """ladder; labels: int64 (rungs, rows), the likeliest class; confidences: float64 (rungs, rows), its softmax."""

    ladder: tuple[int, ...]
    labels: Labels
    confidences: Float64s

    @classmethod
    def from_logits(cls, logits: Any, ladder: Sequence[int]) -> RungPredictions:
        """From logits (rungs, rows, classes), the rungs in the order of the ladder."""
        rungs = checked_ladder(ladder)
        array = np.asarray(logits)
        if array.ndim != 3 or array.dtype.kind != "f":
            raise ValueError(f"logits are {array.dtype} of shape {array.shape}; expected floats (rungs, rows, classes)")
        if rungs is None or len(array) != len(rungs):
            raise ValueError(f"logits are of {len(array)} rungs but the ladder is {rungs}")
        pairs = [likeliest(one) for one in array]
        return cls(rungs, np.stack([label for label, _ in pairs]), np.stack([sure for _, sure in pairs]))

    @property
    def rows(self) -> int:
        """How many rows were classified."""
        return int(self.labels.shape[1])

    def of(self, rows: Any) -> RungPredictions:
        """Those of some rows: whatever numpy takes as an index."""
        return RungPredictions(self.ladder, self.labels[:, rows], self.confidences[:, rows])

    def at(self, ladder: Sequence[int]) -> RungPredictions:
        """Those of some rungs."""
        places = [self.ladder.index(checked_rung(rung, self.ladder, "a rung of the cascade")) for rung in ladder]
        return RungPredictions(tuple(ladder), self.labels[places], self.confidences[places])

    def correct(self, labels: Any) -> NDArray[np.bool_]:
        """(rungs, rows): whether each rung predicts the row's label. labels: integers (rows,)."""
        wanted = np.asarray(labels)
        if wanted.dtype.kind not in "iu":
            raise TypeError(f"labels have dtype {wanted.dtype}; expected integers")
        if wanted.shape != (self.rows,):
            raise ValueError(f"labels have shape {wanted.shape}; expected ({self.rows},), one per row")
        return np.asarray(self.labels == wanted)


def predict_rungs(
    embeddings: Any, classifier: Classifier, *, progress: bool | ProgressCallback | None = None
) -> RungPredictions:
    """Classify every row at every rung, some rows at a time: memory maps are read once, from start to end.

    embeddings: float16 or float32 (rows, dims), as wide as the classifier's ladder.
    """
    array = classifier.checked_embeddings(embeddings)
    shape = (len(classifier.ladder), len(array))
    labels, confidences = np.empty(shape, np.int64), np.empty(shape, np.float64)
    with Progress(progress) as bar:
        for start in range(0, len(array), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            part = np.asarray(array[chunk], np.float32)
            for rung, dims in enumerate(classifier.ladder):
                labels[rung, chunk], confidences[rung, chunk] = likeliest(classifier.prefix_logits(part[:, :dims]))
            bar.step("classify", min(start + CHUNK_ROWS, len(array)), len(array))
    return RungPredictions(classifier.ladder, labels, confidences)


def likeliest(logits: NDArray[Any]) -> tuple[Labels, Float64s]:
    """The class with the highest logit, of equal ones the first, and its softmax: int64 and float64 (rows,)."""
    labels = logits.argmax(axis=1)
    highest = np.take_along_axis(logits, labels[:, None], axis=1)
    if not np.isfinite(highest).all():
        raise ValueError(f"logits: row {int(np.argmin(np.isfinite(highest)))} holds NaN or infinity")
    # Summed in float64, so that confidences just below 1 stay apart.
    return labels, 1 / np.exp(logits - highest).sum(axis=1, dtype=np.float64)
