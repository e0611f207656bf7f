"""Do cascades stop where they should, and does learning find the thresholds that are worth most?"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins import Array

from adanns.adaptive_classification import (
    Cascade,
    Classifier,
    RungPredictions,
    learn_curve,
    learn_greedily,
    learn_thresholds,
    majority_vote,
    oracle,
    predict_rungs,
    rung_logits,
)

LADDER = (2, 4, 8, 16)


def predictions_of(seed: int, rows: int = 60, rungs: int = 4, steps: int = 8) -> tuple[RungPredictions, Array]:
    """Rungs that are right the more often the longer and the surer they are; confidences on a grid: some tie."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, rows)
    confidences = random.integers(1, steps + 1, (rungs, rows)) / steps
    right = random.random((rungs, rows)) < confidences * np.linspace(0.6, 1, rungs)[:, None]
    guesses = np.where(right, labels, (labels + random.integers(1, 5, (rungs, rows))) % 5)
    return RungPredictions(LADDER[:rungs], guesses, confidences), labels


def classified_row_by_row(cascade: Cascade, predictions: RungPredictions) -> tuple[list[int], list[int]]:
    labels, dims_used = [], []
    for row in range(predictions.rows):
        for dims, threshold in zip(cascade.ladder, (*cascade.thresholds, 0.0), strict=True):
            rung = predictions.ladder.index(dims)
            if predictions.confidences[rung, row] >= threshold:
                break
        labels.append(int(predictions.labels[rung, row]))
        dims_used.append(dims)
    return labels, dims_used


def measured(cascade: Cascade, predictions: RungPredictions, labels: Array) -> tuple[float, float]:
    found, dims_used = cascade.classify(predictions)
    return float(dims_used.mean()), float((found == labels).mean())


def classifier_of_integers(seed: int = 0, classes: int = 6) -> Classifier:
    """Small integers, whose products are exact in float32 and float16, in whatever order they are summed."""
    random = np.random.default_rng(seed)
    arrays: dict[str, Any] = {"ladder": np.array(LADDER)}
    for dims in LADDER:
        arrays[f"weight_{dims}"] = random.integers(-2, 3, (classes, dims)).astype(np.float32) / 2
        arrays[f"bias_{dims}"] = random.integers(-2, 3, classes).astype(np.float32) / 2
    return Classifier.from_arrays(arrays)


def embeddings_of_integers(rows: int = 300, seed: int = 1) -> Array:
    return np.random.default_rng(seed).integers(-2, 3, (rows, LADDER[-1])).astype(np.float32) / 2


@given(
    seed=st.integers(0, 1000),
    ladder=st.sets(st.sampled_from(LADDER), min_size=1).map(sorted),
    thresholds=st.lists(st.integers(0, 9), min_size=3, max_size=3),
)
def test_a_cascade_equals_a_loop_over_rows(seed: int, ladder: list[int], thresholds: list[int]) -> None:
    predictions, _ = predictions_of(seed)
    cascade = Cascade(tuple(ladder), tuple(value / 8 for value in thresholds[: len(ladder) - 1]))
    labels, dims_used = cascade.classify(predictions)
    assert labels.dtype == dims_used.dtype == np.int64
    assert (labels.tolist(), dims_used.tolist()) == classified_row_by_row(cascade, predictions)


def test_thresholds_of_0_stop_all_rows_and_thresholds_above_1_none() -> None:
    predictions, _ = predictions_of(0)
    assert set(Cascade(LADDER, (0, 0, 0)).classify(predictions)[1]) == {2}
    assert set(Cascade(LADDER, (1.01, 1.01, 1.01)).classify(predictions)[1]) == {16}
    assert set(Cascade(LADDER, (1.01, 0, 1.01)).classify(predictions)[1]) == {4}


def test_a_softmax_equal_to_the_threshold_stops() -> None:
    predictions = RungPredictions((2, 4), np.array([[1], [2]]), np.array([[0.5], [0.9]]))
    assert Cascade((2, 4), (0.5,)).classify(predictions)[1] == [2]
    assert Cascade((2, 4), (0.5000001,)).classify(predictions)[1] == [4]


@given(seed=st.integers(0, 50), thresholds=st.tuples(*[st.floats(0, 1.1)] * 3), half=st.booleans())
def test_streaming_equals_classifying_everything_first(seed: int, thresholds: tuple[float, ...], half: bool) -> None:
    classifier = classifier_of_integers(seed)
    embeddings = embeddings_of_integers(50, seed).astype(np.float16 if half else np.float32)
    cascade = Cascade(LADDER, thresholds)
    everything = cascade.classify(predict_rungs(embeddings, classifier, progress=False))
    streamed = cascade.predict(embeddings, classifier, progress=False)
    np.testing.assert_array_equal(streamed, everything)


def test_streaming_reads_a_rung_only_for_rows_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, embeddings = classifier_of_integers(), embeddings_of_integers(5000)
    cascade = Cascade((2, 8, 16), (0.5, 0.7))
    computed = dict.fromkeys(LADDER, 0)
    plain = Classifier.prefix_logits

    def counted(self: Classifier, prefixes: Array) -> Array:
        computed[prefixes.shape[1]] += len(prefixes)
        return plain(self, prefixes)

    monkeypatch.setattr(Classifier, "prefix_logits", counted)
    _, dims_used = cascade.predict(embeddings, classifier, progress=False)
    assert computed == {2: 5000, 4: 0, 8: (dims_used >= 8).sum(), 16: (dims_used == 16).sum()}
    assert 0 < computed[16] < computed[8] < 5000


def test_confidences_are_the_softmax_of_the_likeliest_class() -> None:
    classifier, embeddings = classifier_of_integers(), embeddings_of_integers()
    logits = rung_logits(embeddings, classifier)
    assert (logits.dtype, logits.shape) == (np.float32, (4, 300, 6))
    for rung, dims in enumerate(LADDER):
        expected = embeddings[:, :dims] @ classifier.weights[dims].T + classifier.biases[dims]
        np.testing.assert_array_equal(logits[rung], expected)
    exponentials = np.exp(logits.astype(np.float64))
    softmax = exponentials / exponentials.sum(axis=2, keepdims=True)
    for predictions in (
        RungPredictions.from_logits(logits, LADDER),
        predict_rungs(embeddings, classifier, progress=False),
    ):
        np.testing.assert_array_equal(predictions.labels, logits.argmax(axis=2))
        np.testing.assert_allclose(predictions.confidences, softmax.max(axis=2), rtol=1e-6)


def test_very_large_logits_neither_overflow_nor_tie() -> None:
    logits = np.array([[[1e4, 0.0, -1e4], [20.0, 0.0, -1e4], [18.0, 0.0, -1e4]]], np.float32)
    predictions = RungPredictions.from_logits(logits, (2,))
    first, second, third = predictions.confidences[0]
    assert first == 1 > second > third


@given(seed=st.integers(0, 200), rungs=st.integers(1, 4))
def test_the_curve_rises_is_what_it_says_and_is_nowhere_below_a_single_rung(seed: int, rungs: int) -> None:
    predictions, labels = predictions_of(seed, rungs=rungs)
    curve = learn_curve(predictions, labels)
    for cheaper, dearer in pairwise(curve):
        assert cheaper.expected_cost < dearer.expected_cost
        assert cheaper.accuracy < dearer.accuracy
    for point in curve:
        assert measured(point.cascade, predictions, labels) == pytest.approx((point.expected_cost, point.accuracy))
    for dims, accuracy in zip(predictions.ladder, predictions.correct(labels).mean(axis=1), strict=True):
        assert max(point.accuracy for point in curve if point.expected_cost <= dims) >= accuracy


def all_cascades(predictions: RungPredictions) -> list[Cascade]:
    """One for every way to cut the confidences of two or three rungs."""
    cuts = [[0.0, *(np.unique(one) + 1e-9)] for one in predictions.confidences[:-1]]
    return [Cascade(predictions.ladder, one) for one in np.array(np.meshgrid(*cuts)).reshape(len(cuts), -1).T.tolist()]


@given(seed=st.integers(0, 100), price=st.floats(0, 0.2))
def test_with_one_threshold_no_cascade_is_worth_more_than_the_curves_best(seed: int, price: float) -> None:
    predictions, labels = predictions_of(seed, rows=30, rungs=2, steps=30)
    curve = learn_curve(predictions, labels)
    best = max(point.accuracy - price * point.expected_cost for point in curve)
    possible = [measured(one, predictions, labels) for one in all_cascades(predictions)]
    # Points whose costs differ by less than a hundredth may be left out.
    assert best >= max(accuracy - price * dims for dims, accuracy in possible) - price * 0.01 * LADDER[1] - 1e-9


def test_with_two_thresholds_the_curve_is_close_to_the_best_of_all_cascades() -> None:
    lost = []
    for seed in range(12):
        predictions, labels = predictions_of(seed, rows=40, rungs=3, steps=20)
        possible = [measured(one, predictions, labels) for one in all_cascades(predictions)]
        curve = learn_curve(predictions, labels)
        for price in (0.0, 0.01, 0.03, 0.1):
            best = max(point.accuracy - price * point.expected_cost for point in curve)
            lost.append(max(accuracy - price * dims for dims, accuracy in possible) - best)
    assert np.mean(lost) < 0.001
    assert max(lost) < 0.03  # one row of 40


def test_a_cascade_learnt_from_sure_and_right_rows_saves_dims_without_loss() -> None:
    """Rung 2 is right where it is sure; the dims of rung 16 are needed for a tenth of the rows."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 9, 4000)
    hard = random.random(4000) < 0.1
    first = np.where(hard, (labels + 1) % 9, labels)
    sure = np.where(hard, random.uniform(0.2, 0.6, 4000), random.uniform(0.6, 1, 4000))
    predictions = RungPredictions((2, 16), np.stack([first, labels]), np.stack([sure, np.ones(4000)]))
    learnt, rest = slice(0, 2000), slice(2000, None)
    cascade = learn_thresholds(predictions.of(learnt), labels[learnt])
    assert cascade.thresholds[0] == pytest.approx(0.6, abs=0.01)
    dims, accuracy = measured(cascade, predictions.of(rest), labels[rest])
    assert accuracy > 0.998
    assert dims == pytest.approx(2 * 0.9 + 16 * 0.1, abs=0.3)


def test_rungs_at_which_no_row_stops_are_left_out() -> None:
    predictions, labels = predictions_of(3, rows=200, rungs=3)
    useless = RungPredictions(
        predictions.ladder,
        np.stack([predictions.labels[0], (labels + 1) % 5, predictions.labels[2]]),
        predictions.confidences,
    )
    curve = learn_curve(useless, labels)
    assert {rung for point in curve for rung in point.cascade.ladder} == {2, 8}


def test_other_costs_are_minimised_if_asked_for() -> None:
    predictions, labels = predictions_of(5, rows=400)
    costs = np.cumsum(LADDER)
    for point in learn_curve(predictions, labels, costs=costs):
        _, dims_used = point.cascade.classify(predictions)
        assert costs[np.searchsorted(LADDER, dims_used)].mean() == pytest.approx(point.expected_cost)
        assert point.cascade.dims_multiplied(dims_used).mean() <= point.expected_cost + 1e-9


def test_dims_multiplied_count_every_rung_tried() -> None:
    cascade = Cascade((2, 8, 16), (0.5, 0.5))
    assert cascade.dims_multiplied(np.array([2, 8, 16, 2])).tolist() == [2, 10, 26, 2]


def test_a_budget_a_target_or_a_longest_prefix_choose_from_the_curve() -> None:
    predictions, labels = predictions_of(1, rows=500)
    curve = learn_curve(predictions, labels)
    assert learn_thresholds(predictions, labels) == curve[-1].cascade
    within = learn_thresholds(predictions, labels, expected_dims=5)
    dims, accuracy = measured(within, predictions, labels)
    assert dims <= 5
    assert accuracy == max(point.accuracy for point in curve if point.expected_cost <= 5)
    reaching = learn_thresholds(predictions, labels, accuracy=0.6)
    dims, accuracy = measured(reaching, predictions, labels)
    assert accuracy >= 0.6
    assert dims == min(point.expected_cost for point in curve if point.accuracy >= 0.6)
    short = learn_thresholds(predictions, labels, max_dims=7)
    assert max(short.ladder) <= 4
    assert short == learn_curve(predictions.at((2, 4)), labels)[-1].cascade


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"expected_dims": 1.5}, "expected_dims=1.5; the first rung alone has 2"),
        ({"accuracy": 0.999}, "accuracy=0.999 is not reached; the most accurate cascade has 0."),
        ({"max_dims": 1}, r"max_dims=1, but the ladder \(2, 4, 8, 16\) starts at 2"),
        ({"expected_dims": 5, "accuracy": 0.5}, "both expected_dims and accuracy are given"),
    ],
)
def test_what_cannot_be_had_is_said(options: dict[str, Any], words: str) -> None:
    predictions, labels = predictions_of(1)
    with pytest.raises(ValueError, match=words):
        learn_thresholds(predictions, labels, **options)


@given(seed=st.integers(0, 100))
def test_greedy_thresholds_are_the_papers(seed: int) -> None:
    predictions, labels = predictions_of(seed, rows=20, steps=100)
    correct = predictions.correct(labels)
    grid = np.linspace(0.1, 1, 100)
    expected = []
    for rung in range(3):
        best = None
        for threshold in grid:
            right = 0
            for row in range(predictions.rows):
                stops = predictions.confidences[rung, row] >= threshold
                right += int(correct[rung if stops else rung + 1, row])
            if best is None or right > best[0]:
                best = (right, threshold)
        assert best is not None
        expected.append(best[1])
    cascade = learn_greedily(predictions, labels)
    assert cascade == Cascade(LADDER, tuple(expected))
    assert cascade.up_to(9) == Cascade((2, 4, 8), tuple(expected[:2]))


def test_no_cascade_is_more_accurate_than_the_oracle_and_none_as_accurate_is_cheaper() -> None:
    for seed in range(10):
        predictions, labels = predictions_of(seed)
        found, dims_used = oracle(predictions, labels)
        accuracy, dims = (found == labels).mean(), dims_used.mean()
        assert accuracy == predictions.correct(labels).any(axis=0).mean()
        assert accuracy >= (majority_vote(predictions) == labels).mean()
        for point in learn_curve(predictions, labels):
            assert point.accuracy <= accuracy
            assert point.accuracy < accuracy or point.expected_cost >= dims
        for row in range(predictions.rows):
            right = [rung for rung in range(4) if predictions.labels[rung, row] == labels[row]]
            assert dims_used[row] == LADDER[right[0] if right else 0]


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        ([1, 1, 2, 3], 1),
        ([1, 1, 2, 2], 2),  # two each: the longer prefix
        ([2, 1, 1, 2], 2),
        ([4, 3, 2, 1], 1),  # one each
        ([3, 3, 3, 1], 3),
    ],
)
def test_ties_in_a_vote_go_to_the_longest_prefix(votes: list[int], winner: int) -> None:
    predictions = RungPredictions(LADDER, np.array(votes)[:, None], np.ones((4, 1)))
    assert majority_vote(predictions).tolist() == [winner]


@given(
    ladder=st.sets(st.integers(1, 3000), min_size=1, max_size=6).map(lambda rungs: tuple(sorted(rungs))),
    data=st.data(),
)
def test_json_gives_back_an_equal_cascade(ladder: tuple[int, ...], data: st.DataObject) -> None:
    size = len(ladder) - 1
    cascade = Cascade(ladder, tuple(data.draw(st.lists(st.floats(0, 2), min_size=size, max_size=size))))
    assert Cascade.from_json(cascade.to_json()) == cascade
    with pytest.raises(dataclasses.FrozenInstanceError):
        cascade.ladder = (1,)  # type: ignore[misc]


@pytest.mark.parametrize("text", ["[1, 2]", '{"ladder": [2, 4]}', '{"ladder": [2], "thresholds": [], "more": 1}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a JSON object of ladder and thresholds"):
        Cascade.from_json(text)


@pytest.mark.parametrize(
    ("ladder", "thresholds", "error", "words"),
    [
        ((2, 4), (), ValueError, "0 thresholds for 2 rungs; expected 1"),
        ((2, 4), (0.5, 0.5), ValueError, "2 thresholds for 2 rungs"),
        ((4, 2), (0.5,), ValueError, "must be positive and increase"),
        ((), (), ValueError, "must be positive and increase"),
        (None, (), TypeError, "ladder is None"),
        ((2, 4), (-0.1,), ValueError, "expected 0 or more"),
        ((2, 4), (float("nan"),), ValueError, "expected 0 or more"),
        ((2, 4), (float("inf"),), ValueError, "above 1 for a rung at which no row stops"),
        ((2, 4), ("much",), TypeError, "expected numbers"),
    ],
)
def test_impossible_cascades_are_refused(ladder: Any, thresholds: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Cascade(ladder, thresholds)


def test_a_cascade_says_which_rung_is_not_there() -> None:
    predictions, _ = predictions_of(0)
    with pytest.raises(ValueError, match="a rung of the cascade=5 is not on the ladder"):
        Cascade((2, 5), (0.5,)).classify(predictions)
    with pytest.raises(ValueError, match="a rung of the cascade=5 is not on the ladder"):
        Cascade((2, 5), (0.5,)).predict(embeddings_of_integers(), classifier_of_integers())
    with pytest.raises(ValueError, match="max_dims=1, but the cascade"):
        Cascade((2, 4), (0.5,)).up_to(1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p, y: p.correct(y[:-1]), ValueError, r"labels have shape \(59,\); expected \(60,\)"),
        (lambda p, y: p.correct(y / 2), TypeError, "labels have dtype float64; expected integers"),
        (lambda p, y: learn_curve(p.of([]), y[:0]), ValueError, "no rows to learn from"),
        (lambda p, y: learn_curve(p, y, costs=[1, 2]), ValueError, "expected 4 increasing numbers"),
        (lambda p, y: learn_curve(p, y, costs=[1, 2, 2, 3]), ValueError, "expected 4 increasing numbers"),
        (lambda p, y: RungPredictions.from_logits(np.ones((2, 3)), (2, 4)), ValueError, "expected floats .rungs, rows"),
        (
            lambda p, y: RungPredictions.from_logits(np.ones((2, 3, 4)), (2,)),
            ValueError,
            "of 2 rungs but the ladder is",
        ),
        (
            lambda p, y: RungPredictions.from_logits(np.array([[[0.0], [np.nan]]]), (2,)),
            ValueError,
            "logits: row 1 holds NaN or infinity",
        ),
    ],
)
def test_bad_predictions_are_refused(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(*predictions_of(0))


def test_bad_embeddings_are_refused() -> None:
    classifier = classifier_of_integers()
    with pytest.raises(ValueError, match="embeddings have 8 dimensions; expected 16"):
        predict_rungs(np.ones((3, 8), np.float32), classifier)
    with pytest.raises(TypeError, match="embeddings have dtype int64"):
        Cascade(LADDER, (0, 0, 0)).predict(np.ones((3, 16), np.int64), classifier)
    with pytest.raises(ValueError, match="logits: row 0 holds NaN or infinity"):
        predict_rungs(np.full((3, 16), np.nan, np.float32), classifier, progress=False)


def test_progress_is_told() -> None:
    classifier, embeddings = classifier_of_integers(), embeddings_of_integers(5000)
    for work in (predict_rungs, Cascade(LADDER, (0.5, 0.5, 0.5)).predict):
        calls: list[tuple[str, int, int]] = []
        work(embeddings, classifier, progress=lambda *call, calls=calls: calls.append(call))  # type: ignore[operator]
        assert calls == [("classify", 4096, 5000), ("classify", 5000, 5000)]


def test_a_classifier_comes_from_the_file_of_a_head(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    mrl = pytest.importorskip("adanns.mrl")
    for tied in (False, True):
        head = mrl.MatryoshkaHead(LADDER, 7, tied=tied)
        np.savez(tmp_path / "classifier.npz", **head.export())
        classifier = Classifier.load(tmp_path / "classifier.npz")
        assert (classifier.ladder, classifier.classes) == (LADDER, 7)
        embeddings = embeddings_of_integers()
        with torch.no_grad():
            expected = head(torch.from_numpy(embeddings)).numpy()
        np.testing.assert_allclose(rung_logits(embeddings, classifier), expected, atol=1e-5)


def head_arrays(**changed: Any) -> dict[str, Any]:
    arrays = {
        "ladder": np.array([2, 4]),
        "weight_2": np.ones((3, 2)),
        "bias_2": np.ones(3),
        "weight_4": np.ones((3, 4)),
        "bias_4": np.ones(3),
    }
    return {name: value for name, value in (arrays | changed).items() if value is not None}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ladder": None}, "'ladder' is missing; there are bias_2, bias_4, weight_2, weight_4"),
        ({"weight_4": None}, "'weight_4' is missing"),
        ({"bias_2": None}, "'bias_2' is missing"),
        ({"ladder": np.array([4, 2])}, "must be positive and increase"),
        ({"ladder": np.array(4)}, "must be positive and increase"),
        ({"weight_4": np.ones((3, 3))}, r"'weight_4' is float64 of shape \(3, 3\); expected floats of shape \(3, 4\)"),
        ({"bias_4": np.ones(2)}, r"'bias_4' is float64 of shape \(2,\); expected floats of shape \(3,\)"),
        ({"weight_2": np.ones((3, 2), int)}, "'weight_2' is int64"),
        ({"weight_2": np.full((3, 2), np.nan)}, "'weight_2' holds NaN or infinity"),
    ],
)
def test_a_damaged_classifier_file_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    path = tmp_path / "classifier.npz"
    np.savez(path, **head_arrays())
    assert Classifier.load(path).classes == 3
    np.savez(path, **head_arrays(**changed))
    with pytest.raises(ValueError, match=f"classifier.npz: not a file of classifier heads .*{words}"):
        Classifier.load(path)


def test_what_is_no_classifier_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "classifier.npz"
    with pytest.raises(FileNotFoundError, match=r"classifier\.npz"):
        Classifier.load(path)
    np.savez(path, **head_arrays())
    whole = path.read_bytes()
    for content in (b"", b"something else", whole[: len(whole) // 2], whole[:300] + b"??" + whole[302:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"classifier\.npz: not a file of classifier heads"):
            Classifier.load(path)
    np.save(tmp_path / "weights.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"weights\.npy: not a file of classifier heads"):
        Classifier.load(tmp_path / "weights.npy")
