"""What is a cascade up against? One rung for all rows, the vote of all rungs, and an oracle."""

from __future__ import annotations

from typing import Any

import numpy as np

from adanns.adaptive_classification.predictions import Labels, RungPredictions


def majority_vote(predictions: RungPredictions) -> Labels:
    """int64 (rows,): the label that most rungs predict; of equally many votes, that of the longest prefix."""
    votes = (predictions.labels[:, None] == predictions.labels[None]).sum(axis=1)
    longest_first = votes[::-1]
    winner = len(votes) - 1 - longest_first.argmax(axis=0)
    return np.asarray(predictions.labels[winner, np.arange(predictions.rows)])


def oracle(predictions: RungPredictions, labels: Any) -> tuple[Labels, Labels]:
    """labels and dims_used, int64 (rows,), of one who knows the truth: the first rung that is right.

    Rows that no rung gets right stop at the first, where they cost least. labels: integers (rows,).
    """
    rung = predictions.correct(labels).argmax(axis=0)
    return predictions.labels[rung, np.arange(predictions.rows)], np.array(predictions.ladder, np.int64)[rung]
