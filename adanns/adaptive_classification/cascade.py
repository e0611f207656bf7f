"""Which prefix is enough for a row? Classify at the smallest rung, go on while the softmax is below its threshold."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adanns.adaptive_classification.classifier import Classifier
from adanns.adaptive_classification.predictions import CHUNK_ROWS, Labels, RungPredictions, likeliest
from adanns.ladder import checked_ladder, checked_rung
from adanns.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class Cascade:
    """Adaptive classification (MRL, section 4.1).

    ladder: the rungs that are tried, in order. thresholds: one for each but the last: a row stops at the first rung
    whose largest softmax is at least its threshold. 0 stops all rows, anything above 1 none; the last rung answers the
    rest.
    """

    ladder: tuple[int, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        ladder = checked_ladder(self.ladder)
        if ladder is None:
            raise TypeError("ladder is None; expected the rungs of the cascade")
        object.__setattr__(self, "ladder", ladder)
        object.__setattr__(self, "thresholds", _checked_thresholds(self.thresholds, len(ladder) - 1))

    def classify(self, predictions: RungPredictions) -> tuple[Labels, Labels]:
        """labels and dims_used, int64 (rows,), from what all rungs predict; the ladder's rungs must be among them.

        dims_used is the rung that answered. This is how the paper counts dimensions, and what is read of an embedding:
        a later rung shares the dims of those before it and adds only its own band.
        """
        tried = predictions.at(self.ladder)
        stops = np.vstack(
            [tried.confidences[:-1] >= np.reshape(self.thresholds, (-1, 1)), np.ones((1, tried.rows), np.bool_)]
        )
        rung = stops.argmax(axis=0)
        return tried.labels[rung, np.arange(tried.rows)], np.array(self.ladder, np.int64)[rung]

    def predict(
        self, embeddings: Any, classifier: Classifier, *, progress: bool | ProgressCallback | None = None
    ) -> tuple[Labels, Labels]:
        """labels and dims_used as of `classify`, but a rung is computed only for the rows that need it.

        embeddings: float16 or float32 (rows, dims), as wide as the classifier's ladder; only the prefixes that are
        needed are copied.
        """
        for rung in self.ladder:
            checked_rung(rung, classifier.ladder, "a rung of the cascade")
        array = classifier.checked_embeddings(embeddings)
        labels, dims_used = np.empty(len(array), np.int64), np.empty(len(array), np.int64)
        with Progress(progress) as bar:
            for start in range(0, len(array), CHUNK_ROWS):
                rows = np.arange(start, min(start + CHUNK_ROWS, len(array)))
                for dims, threshold in zip(self.ladder, (*self.thresholds, -math.inf), strict=True):
                    if not len(rows):
                        break
                    found, confidences = likeliest(classifier.prefix_logits(array[rows, :dims]))
                    labels[rows], dims_used[rows] = found, dims  # stands if the row stops here
                    rows = rows[confidences < threshold]
                bar.step("classify", min(start + CHUNK_ROWS, len(array)), len(array))
        return labels, dims_used

    def dims_multiplied(self, dims_used: Labels) -> Labels:
        """Multiply-adds per class and row: every rung tried counts whole, as separate classifiers are computed.

        Those of a tied head (MRL-E) add up over bands like distances do, so that dims_used itself is their number.
        """
        place = np.searchsorted(self.ladder, dims_used)
        return np.cumsum(self.ladder)[place]

    def up_to(self, max_dims: int) -> Cascade:
        """This cascade without the rungs beyond `max_dims`, whose rows its last rung answers."""
        rungs = [rung for rung in self.ladder if rung <= max_dims]
        if not rungs:
            raise ValueError(f"max_dims={max_dims}, but the cascade {self.ladder} starts at {self.ladder[0]}")
        return Cascade(tuple(rungs), self.thresholds[: len(rungs) - 1])

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back equal."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Cascade:
        """The cascade that `to_json` wrote."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or set(fields) != {"ladder", "thresholds"}:
            raise ValueError(f"a cascade is {text}; expected a JSON object of ladder and thresholds")
        return cls(tuple(fields["ladder"]), tuple(fields["thresholds"]))


def _checked_thresholds(thresholds: Iterable[float], count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(value) for value in thresholds)
    except (TypeError, ValueError):
        raise TypeError(f"thresholds are {thresholds!r}; expected numbers") from None
    if len(values) != count:
        raise ValueError(f"{len(values)} thresholds for {count + 1} rungs; expected {count}, the last rung has none")
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"thresholds are {values}; expected 0 or more, above 1 for a rung at which no row stops")
    return values
