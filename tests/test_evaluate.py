"""adanns.evaluate against values worked by hand."""

import numpy as np
import pytest

from adanns import evaluate


def test_top1_is_the_label_of_the_nearest() -> None:
    # Row labels a b b c. Query 0 (a) finds row 0: right. Query 1 (b) finds row 3, a c: wrong. Query 2 (c) finds row 3:
    # right. Query 3 (a) finds row 1, a b: wrong, though its second neighbour would be right. 2 of 4.
    ids = [[0, 1], [3, 1], [3, 0], [1, 0]]
    labels = np.array(["a", "b", "b", "c"])
    assert evaluate.top1_accuracy(ids, labels, np.array(["a", "b", "c", "a"])) == 0.5


def test_nothing_found_counts_as_wrong() -> None:
    # -1 must not be read as numpy's "last row", whose label here is the query's own. 1 of 2.
    assert evaluate.top1_accuracy([[-1], [2]], [7, 7, 8], [8, 8]) == 0.5
    # Likewise for AP@2: query 0 finds nothing, query 1 has AP (1/1 + 2/2) / 2 = 1, so the mean is 0.5.
    assert evaluate.mean_average_precision([[-1, -1], [1, 0]], [7, 7, 8], [8, 7], 2) == 0.5


def test_recall_is_the_shared_part_of_the_first_k() -> None:
    # Query 0: {1,2} of {1,2,3} in any order, 2/3. Query 1: {4,5,6} all, 1. Mean 5/6. The fourth column is ignored.
    ids = [[2, 1, 9, 3], [6, 5, 4, 0]]
    exact = [[1, 2, 3, 8], [4, 5, 6, 7]]
    assert evaluate.recall(ids, exact, 3) == pytest.approx(5 / 6)


def test_n_recall_looks_deeper_than_k() -> None:
    # 2-recall@4: query 0 has 1 and 2 among its four, 2/2; query 1 has 5 but not 4 among its four, 1/2. Mean 3/4.
    ids = [[9, 2, 8, 1], [5, 0, 1, 2]]
    exact = [[1, 2, 3], [4, 5, 6]]
    assert evaluate.n_recall(ids, exact, k=2, n=4) == 0.75
    # 2-recall@2 of the same: 1/2 and 1/2.
    assert evaluate.n_recall(ids, exact, k=2, n=2) == 0.5


def test_recall_counts_an_id_once_and_padding_never() -> None:
    # Found twice, 5 is still one of three; -1 on both sides is not a neighbour. 1/3.
    assert evaluate.recall([[5, 5, -1]], [[5, 6, -1]], 3) == pytest.approx(1 / 3)


def test_recall_in_pieces_equals_recall_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ids = np.array([rng.permutation(40)[:10] for _ in range(23)])
    exact = np.array([rng.permutation(40)[:10] for _ in range(23)])
    plain = sum(len(set(a) & set(b)) for a, b in zip(ids.tolist(), exact.tolist(), strict=True)) / 230
    assert evaluate.recall(ids, exact, 10) == pytest.approx(plain)
    monkeypatch.setattr(evaluate, "_COMPARISONS_AT_ONCE", 700)  # 7 queries at a time, the last piece shorter
    assert evaluate.recall(ids, exact, 10) == pytest.approx(plain)


def test_average_precision_divides_by_k() -> None:
    # Labels of rows: 0 0 1 1. Query label 0 and neighbours 0, 2, 1: relevant at 1 and 3.
    # AP@3 = (1/1 + 2/3) / 3 = 5/9, though only two rows of the database are relevant.
    assert evaluate.mean_average_precision([[0, 2, 1]], [0, 0, 1, 1], [0], 3) == pytest.approx(5 / 9)
    # AP@2 = (1/1) / 2.
    assert evaluate.mean_average_precision([[0, 2, 1]], [0, 0, 1, 1], [0], 2) == 0.5
    # Over two queries: query 1 (label 1) with 2, 3, 0: (1/1 + 2/2) / 3 = 2/3. Mean of 5/9 and 6/9 = 11/18.
    both = evaluate.mean_average_precision([[0, 2, 1], [2, 3, 0]], [0, 0, 1, 1], [0, 1], 3)
    assert both == pytest.approx(11 / 18)


def test_mflops_match_the_published_figures() -> None:
    # MRL on ImageNet-1K: exact 2048 dims, 1,281,167 * 2048 = 2,623.83 MFLOPs.
    assert evaluate.mflops_exact(1_281_167, 2048) == pytest.approx(2623.83, abs=0.005)
    # AR 16 -> 2048 with a shortlist of 200: 20.4987 + 200 * 2048 / 1e6 = 20.4987 + 0.4096 = 20.91 (table: 20.91).
    assert evaluate.mflops_adaptive(1_281_167, 16, [(2048, 200)]) == pytest.approx(20.91, abs=0.005)
    # Funnel 8 -> 16..2048: 10.2493 + (16*800 + 32*400 + 64*200 + 128*50 + 2048*10) / 1e6 = 10.2493 + 0.0653 (10.31).
    cascade = [(16, 800), (32, 400), (64, 200), (128, 50), (2048, 10)]
    assert evaluate.mflops_adaptive(1_281_167, 8, cascade) == pytest.approx(10.31, abs=0.005)


def test_mflops_of_ivf_worked_by_hand() -> None:
    # Route 64 * 100 = 6,400; scan 4 lists of 1,000,000 / 100 rows at 32 dims = 1,280,000; rerank 50 * 512 = 25,600.
    assert evaluate.mflops_ivf(1_000_000, 100, 64, 32, 4, [(512, 50)]) == pytest.approx(1.312)
    assert evaluate.mflops_ivf(1_000_000, 100, 64, 32, 4) == pytest.approx(1.2864)
    # All lists at the cluster dims: the exact scan plus the routing.
    assert evaluate.mflops_ivf(5000, 10, 8, 8, 10) == pytest.approx(evaluate.mflops_exact(5000, 8) + 80 / 1e6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate.recall([1, 2], [[1, 2]], 1), r"ids must have shape \(queries, k\)"),
        (lambda: evaluate.recall(np.empty((0, 3), int), np.empty((0, 3), int), 1), "both at least 1"),
        (lambda: evaluate.recall([[1, 2]], [[1, 2]], 3), "n must be between 1 and the 2 columns of ids; got 3"),
        (lambda: evaluate.n_recall([[1, 2]], [[1, 2]], 3, 2), "k must be between 1 and the 2 columns of exact_ids"),
        (lambda: evaluate.recall([[1, 2]], [[1, 2]], 0), "must be between 1 and the 2 columns"),
        (lambda: evaluate.n_recall([[1, 2]], [[1, 2]], 1, 5), "n must be between 1 and the 2 columns of ids; got 5"),
        (lambda: evaluate.recall([[1]], [[1], [2]], 1), "ids are of 1 queries but exact_ids of 2"),
        (lambda: evaluate.recall([[-2]], [[1]], 1), "or -1 for none; got -2"),
        (lambda: evaluate.top1_accuracy([[3]], [0, 1, 2], [0]), "ids name row 3 but there are 3 database_labels"),
        (lambda: evaluate.top1_accuracy([[0]], [0], [0, 1]), "ids are of 1 queries but there are 2 query_labels"),
        (lambda: evaluate.top1_accuracy([[0]], [[0]], [0]), "database_labels must have one dimension"),
        (lambda: evaluate.top1_accuracy([[-1]], [], [0]), "database_labels are empty"),
        (lambda: evaluate.mflops_exact(0, 8), "rows must be at least 1; got 0"),
        (lambda: evaluate.mflops_ivf(10, 4, 8, 8, 5), "probes must be at most the number of lists, 4; got 5"),
        (lambda: evaluate.mflops_adaptive(10, 8, [(16, 0)]), "rerank keep must be at least 1; got 0"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_float_ids_are_refused() -> None:
    with pytest.raises(TypeError, match="ids must be integers; got float64"):
        evaluate.recall(np.ones((1, 1)), [[1]], 1)
