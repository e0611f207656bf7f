"""Which thresholds buy the most accuracy for the dimensions spent? Learnt from rows held out from training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adanns.adaptive_classification.cascade import Cascade
from adanns.adaptive_classification.predictions import Float64s, RungPredictions

NEVER, ALWAYS = 2.0, 0.0  # thresholds that no softmax reaches, and that all do
CLOSE = 0.01  # no further point is sought between two whose costs differ by less than this share
LEAST_GAIN = 1e-12  # in accuracy; rounding gains less
PAPER_GRID = np.linspace(0.1, 1, 100)


@dataclass(frozen=True)
class CurvePoint:
    """A cascade, and what it gives on the rows it was learnt from.

    expected_cost: mean over the rows; the expected dims, unless other costs were asked for.
    accuracy: share of rows classified right.
    """

    cascade: Cascade
    expected_cost: float
    accuracy: float


def learn_curve(
    predictions: RungPredictions, labels: Any, *, costs: Sequence[float] | None = None
) -> tuple[CurvePoint, ...]:
    """The cascades that trade expected dims for accuracy best, from the cheapest to the most accurate.

    predictions: of rows held out from training; labels: integers (rows,).
    costs: what a row costs that stops at each rung, increasing; None: its dims, as the paper counts. The multiply-adds
        of separate classifiers are numpy.cumsum(ladder).

    Each point maximises accuracy - price * cost for some price, by setting one threshold after the other to its best
    value until none improves; prices are those at which two neighbours on the curve are worth the same. Single rungs
    are candidates too, so the curve is nowhere below them. Each point costs more than the one before and is more
    accurate.
    """
    search = _Search(predictions, labels, costs)
    rungs = range(len(predictions.ladder))
    alone = [search.setting(tuple(NEVER if below < rung else ALWAYS for below in rungs)) for rung in rungs]
    most_accurate = max((search.improved(one, price=0) for one in alone), key=lambda one: (one.accuracy, -one.cost))
    found = [*alone, most_accurate, *search.between(alone[0], most_accurate)]
    return tuple(CurvePoint(_cascade(one, predictions.ladder), one.cost, one.accuracy) for one in _front(found))


def learn_thresholds(
    predictions: RungPredictions,
    labels: Any,
    *,
    max_dims: int | None = None,
    expected_dims: float | None = None,
    accuracy: float | None = None,
) -> Cascade:
    """One cascade off the learnt curve.

    max_dims: the longest prefix that it may use. expected_dims: the most accurate one that uses no more on average.
    accuracy: the cheapest one that reaches this share on these rows. Neither: the most accurate one.
    ValueError where no cascade does that.
    """
    if expected_dims is not None and accuracy is not None:
        raise ValueError("both expected_dims and accuracy are given; ask for one and see what the other comes to")
    ladder = predictions.ladder
    if max_dims is not None:
        ladder = tuple(rung for rung in ladder if rung <= max_dims)
        if not ladder:
            raise ValueError(
                f"max_dims={max_dims}, but the ladder {predictions.ladder} starts at {predictions.ladder[0]}"
            )
    curve = learn_curve(predictions.at(ladder), labels)
    if accuracy is not None:
        chosen = next((point for point in curve if point.accuracy >= accuracy), None)
        if chosen is None:
            best = curve[-1].accuracy
            raise ValueError(f"accuracy={accuracy} is not reached; the most accurate cascade has {best:.4f}")
        return chosen.cascade
    if expected_dims is not None:
        affordable = [point for point in curve if point.expected_cost <= expected_dims]
        if not affordable:
            raise ValueError(f"expected_dims={expected_dims}; the first rung alone has {curve[0].expected_cost:g}")
        return affordable[-1].cascade
    return curve[-1].cascade


def learn_greedily(predictions: RungPredictions, labels: Any, grid: Sequence[float] | Float64s = PAPER_GRID) -> Cascade:
    """The paper's thresholds: each rung's is the most accurate one of a grid if only the next rung is behind it.

    Of equally accurate ones the lowest. `up_to(max_dims)` of it gives a line of the paper's table (MRL, section 4.1).
    """
    correct = predictions.correct(labels)
    thresholds = []
    for rung in range(len(predictions.ladder) - 1):
        stops = predictions.confidences[rung] >= np.asarray(grid)[:, None]
        accuracies = np.where(stops, correct[rung], correct[rung + 1]).mean(axis=1)
        thresholds.append(float(grid[int(accuracies.argmax())]))
    return Cascade(predictions.ladder, tuple(thresholds))


@dataclass(frozen=True)
class _Setting:
    """Thresholds of all rungs (the last one's means nothing) with their mean cost and accuracy."""

    thresholds: tuple[float, ...]
    cost: float
    accuracy: float

    def worth(self, price: float) -> float:
        return self.accuracy - price * self.cost


class _Search:
    """Looks for thresholds by coordinate ascent; arrays are (rungs, rows)."""

    def __init__(self, predictions: RungPredictions, labels: Any, costs: Sequence[float] | None) -> None:
        if predictions.rows == 0:
            raise ValueError("there are no rows to learn from")
        self._costs = np.asarray(predictions.ladder if costs is None else costs, np.float64)
        if self._costs.shape != (len(predictions.ladder),) or (np.diff(self._costs) <= 0).any():
            raise ValueError(f"costs are {costs}; expected {len(predictions.ladder)} increasing numbers, one per rung")
        self._correct = predictions.correct(labels)
        self._confidences = predictions.confidences
        self._order = np.argsort(-self._confidences, axis=1, kind="stable")
        self._sorted = np.take_along_axis(self._confidences, self._order, axis=1)
        # Rows of equal confidence stop together: whether so many of the most confident ones may.
        ends = np.ones((len(self._sorted), 1), np.bool_)
        self._whole = np.hstack([ends, self._sorted[:, 1:] != self._sorted[:, :-1], ends])

    def setting(self, thresholds: tuple[float, ...]) -> _Setting:
        """The thresholds with what they cost and give."""
        stops = self._confidences >= np.array((*thresholds[:-1], ALWAYS))[:, None]
        rung = stops.argmax(axis=0)
        correct = self._correct[rung, np.arange(len(rung))]
        return _Setting(thresholds, float(self._costs[rung].mean()), float(correct.mean()))

    def improved(self, start: _Setting, price: float) -> _Setting:
        """From `start`, each threshold in turn at its best value until none is worth more; never worse than `start`."""
        value = self._correct - price * self._costs[:, None]
        best = start
        while True:
            thresholds = list(best.thresholds)
            goes_on = self._confidences < np.array(thresholds)[:, None]
            reached = np.vstack([np.ones((1, goes_on.shape[1]), np.bool_), np.logical_and.accumulate(goes_on[:-1])])
            onward = value[-1]  # what each row is worth if it goes on; the last rung answers all that reach it
            for rung in reversed(range(len(thresholds) - 1)):
                gain = np.where(reached[rung], value[rung] - onward, 0)
                thresholds[rung] = self._best_threshold(rung, gain)
                onward = np.where(self._confidences[rung] >= thresholds[rung], value[rung], onward)
            found = self.setting(tuple(thresholds))
            if found.worth(price) <= best.worth(price) + LEAST_GAIN:
                return best
            best = found

    def between(self, cheap: _Setting, dear: _Setting) -> Iterator[_Setting]:
        """Settings above the line from `cheap` to `dear`, then above the lines to and from these, and so on."""
        if dear.cost <= cheap.cost * (1 + CLOSE) or dear.accuracy <= cheap.accuracy:
            return
        price = (dear.accuracy - cheap.accuracy) / (dear.cost - cheap.cost)
        found = max((self.improved(one, price) for one in (cheap, dear)), key=lambda one: one.worth(price))
        if found.worth(price) <= cheap.worth(price) + LEAST_GAIN:
            return
        yield found
        yield from self.between(cheap, found)
        yield from self.between(found, dear)

    def _best_threshold(self, rung: int, gain: Float64s) -> float:
        """Where the most confident rows' gains of stopping add up to most; between two confidences, not on one."""
        confidences = self._sorted[rung]
        totals = np.concatenate([[0.0], np.cumsum(gain[self._order[rung]])])
        whole = self._whole[rung]
        stopping = int(np.argmax(np.where(whole, totals, -np.inf)))
        if totals[stopping] <= 0:
            return NEVER
        # Rows that do not come here or gain nothing may lie between: the threshold is midway to the first that matters.
        different = np.flatnonzero(whole[stopping:] & (totals[stopping:] != totals[stopping]))
        if not len(different):
            return ALWAYS
        first_to_go_on = confidences[stopping + different[0] - 1]
        return float((confidences[stopping - 1] + first_to_go_on) / 2)


def _front(settings: Sequence[_Setting]) -> list[_Setting]:
    """Those that are more accurate than all that cost no more, by cost."""
    front: list[_Setting] = []
    for one in sorted(settings, key=lambda one: (one.cost, -one.accuracy)):
        if not front or one.accuracy > front[-1].accuracy:
            front.append(one)
    return front


def _cascade(setting: _Setting, ladder: tuple[int, ...]) -> Cascade:
    """Without the rungs at which no row stops and those that no row reaches."""
    kept = []
    for rung, threshold in zip(ladder, (*setting.thresholds[:-1], ALWAYS), strict=True):
        if threshold <= 1:
            kept.append((rung, threshold))
        if threshold == ALWAYS:
            break
    return Cascade(tuple(rung for rung, _ in kept), tuple(threshold for _, threshold in kept[:-1]))
