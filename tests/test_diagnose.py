"""Does a diagnosis see what was planted, and does it count right?"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins import Array, distances

import adanns
from adanns import Diagnosis, datasets, diagnose
from adanns.diagnosis.energy import energy_of, find_steps
from adanns.diagnosis.prefixes import Curve, Curves, probed_dims, shortlist_sizes
from adanns.diagnosis.verdict import judge
from adanns.ladder import default_ladder

ROWS, DIMS = 1200, 64
SMALL: dict[str, Any] = {"rows": 1000, "queries": 200, "progress": False}


def noise(seed: int = 0, rows: int = ROWS, dims: int = DIMS) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, dims)).astype(np.float32)


def in_steps(*steps: int, fall: float = 0.45, rows: int = ROWS, dims: int = DIMS) -> Array:
    """Gaussian rows whose standard deviation falls to `fall` of what it was after each step, flat between."""
    return noise(1, rows, dims) * np.float32(fall) ** np.searchsorted(steps, np.arange(dims), side="right")


def smooth() -> Array:
    return noise(2) * np.float32(0.94) ** np.arange(DIMS)


def rotation(dims: int = DIMS, seed: int = 3) -> Array:
    return np.linalg.qr(noise(seed, dims, dims))[0]


def correlated() -> Array:
    """A smooth fall over dims that share a part."""
    return (noise(2) + noise(4, ROWS, 1)) * np.float32(0.94) ** np.arange(DIMS)


def half_ordered() -> Array:
    """A quarter of the way from a rotation to the order of the SVD."""
    rotated = smooth() @ rotation()
    return np.hstack([rotated[:, :8] * np.float32(1.45), rotated[:, 8:]])


@pytest.mark.parametrize(
    ("vectors", "shape", "ladder"),
    [
        (in_steps(8, 16, 32), "matryoshka", (8, 16, 32, 64)),
        (in_steps(16, 32), "matryoshka", (16, 32, 64)),  # rungs of the default ladder, but not its first
        (in_steps(12, 40), "matryoshka", (12, 40, 64)),  # no rungs of the default ladder
        (in_steps(8, 16, 32)[:, :32], "matryoshka", (8, 16, 32)),  # cut
        (smooth(), "svd", (8, 16, 32, 64)),
        (correlated(), "ordered", (8, 16, 32, 64)),
        (in_steps(8, 16, 32) @ rotation(), "unordered", (64,)),
        (smooth() @ rotation(), "unordered", (64,)),
        (half_ordered(), "partly", (64,)),
        (in_steps(8, 16, 32)[:, ::-1], "reversed", (64,)),
        (noise(rows=6000, dims=16), "indifferent", (16,)),
    ],
)
def test_a_planted_shape_is_seen(vectors: Array, shape: str, ladder: tuple[int, ...]) -> None:
    diagnosis = diagnose(vectors, queries=200, progress=False)
    assert (diagnosis.shape, diagnosis.ladder) == (shape, ladder), str(diagnosis)
    assert diagnosis.verdict in str(diagnosis)


def test_one_direction_that_holds_everything_leaves_no_order_to_have() -> None:
    line = noise(5, 500, 1) @ noise(6, 1, DIMS)
    diagnosis = diagnose(line, metric="l2", **SMALL)
    assert diagnosis.shape == "indifferent"
    assert "A few directions hold all" in str(diagnosis)


def curve(recall: list[float], top1: list[float] | None) -> Curve:
    return Curve(tuple((value,) for value in recall), None if top1 is None else tuple(top1))


@pytest.mark.parametrize(
    ("recall", "top1", "shape"),
    [
        ([0.2, 0.4, 1.0], None, "unordered"),
        ([0.2, 0.4, 1.0], [0.1, 0.3, 0.6], "unordered"),
        ([0.2, 0.4, 1.0], [0.4, 0.6, 0.6], "ordered"),  # neighbours show nothing, labels do
        ([0.4, 0.6, 1.0], [0.1, 0.3, 0.6], "ordered"),  # and the other way round
        ([0.1, 0.2, 1.0], None, "reversed"),
        ([0.25, 0.45, 1.0], None, "partly"),
    ],
)
def test_the_shape_is_by_whichever_of_neighbours_and_labels_shows_more_order(
    recall: list[float], top1: list[float] | None, shape: str
) -> None:
    rotated, svd = curve([0.2, 0.4, 1.0], top1 and [0.1, 0.3, 0.6]), curve([0.5, 0.6, 1.0], top1 and [0.2, 0.4, 0.6])
    curves = Curves((8, 16, 32), (10,), curve(recall, top1), rotated, svd)
    assert judge(curves, energy_of(noise()))[0] == shape


def test_the_icons_are_matryoshka_until_they_are_rotated_or_ordered_by_an_svd() -> None:
    icons = datasets.load("icons").database[::40, :128]
    options: dict[str, Any] = {"queries": 100, "progress": False}
    diagnosis = diagnose(icons, **options)
    assert diagnosis.energy.steps == (8, 16, 32, 64)
    assert (diagnosis.shape, diagnosis.ladder) == ("matryoshka", (8, 16, 32, 64, 128))
    assert "none is longer than 1" in str(diagnosis)
    assert diagnose(icons @ rotation(128), **options).shape == "unordered"
    _, directions = np.linalg.eigh(icons.T @ icons)
    assert diagnose(icons @ directions[:, ::-1], **options).shape == "svd"


def test_a_ladder_of_ones_own_is_judged() -> None:
    assert diagnose(in_steps(12, 40), ladder=(12, 40, 64), **SMALL).ladder == (12, 40, 64)
    diagnosis = diagnose(in_steps(16, 32), ladder=(20, 64), **SMALL)
    assert diagnosis.ladder == (16, 32, 64)
    assert "not (20, 64): nothing shows training at 20 dims" in str(diagnosis)


@given(
    steps=st.sets(st.sampled_from([8, 12, 16, 24, 32, 40, 48, 64, 80, 96]), min_size=1, max_size=4),
    fall=st.floats(0.3, 0.7),
    unevenness=st.floats(0, 0.08),
    seed=st.integers(0, 100),
)
def test_steps_are_found_where_they_were_planted(steps: set[int], fall: float, unevenness: float, seed: int) -> None:
    uneven = np.random.default_rng(seed).standard_normal(128)
    variances = fall ** (2 * np.searchsorted(sorted(steps), np.arange(128), side="right")) * np.exp(unevenness * uneven)
    cuts, slope = find_steps(variances, rows=20_000)
    assert cuts == tuple(sorted(steps))
    assert slope < 0.3


@given(fall=st.floats(0.005, 0.1), unevenness=st.floats(0, 0.2), seed=st.integers(0, 100))
def test_a_smooth_fall_has_no_steps(fall: float, unevenness: float, seed: int) -> None:
    uneven = np.random.default_rng(seed).standard_normal(256)
    cuts, slope = find_steps(np.exp(-fall * np.arange(256) + unevenness * uneven), rows=20_000)
    assert not cuts or slope > 0.3


def test_measures_equal_plain_numpy() -> None:
    vectors = in_steps(8, 16, rows=300, dims=24)
    labels = np.random.default_rng(0).integers(0, 5, 300)
    vectors[:, 20] = 3  # constant
    diagnosis = diagnose(vectors, labels, metric="l2", queries=50, progress=False)
    # The split is the diagnosis's own; drawing again with the same seed gives it.
    sample = adanns.diagnosis.sampling.draw(vectors, labels, 20_000, 50, 0)
    assert sample.database_labels is not None
    assert sample.query_labels is not None
    assert (len(sample.database), len(sample.queries)) == (250, 50)
    exact = np.argsort(distances(sample.database, sample.queries, "l2"), axis=1)[:, :10]
    curves = diagnosis.curves
    assert curves.prefix_dims == (1, 2, 3, 4, 6, 8, 12, 16, 24)
    assert curves.shortlists == (10, 20, 50)
    for at, dims in enumerate(curves.prefix_dims):
        order = np.argsort(distances(sample.database, sample.queries, "l2", dims), axis=1)
        for place, size in enumerate(curves.shortlists):
            shared = [len(set(near[:size]) & set(wanted)) / 10 for near, wanted in zip(order, exact, strict=True)]
            assert curves.given.recall[at][place] == pytest.approx(np.mean(shared), abs=0.004)  # a tie or two
        right = sample.database_labels[order[:, 0]] == sample.query_labels
        assert curves.given.top1 is not None
        assert curves.given.top1[at] == pytest.approx(right.mean())
        variances = sample.database.astype(np.float64).var(axis=0)
        assert diagnosis.energy.share(dims) == pytest.approx(variances[:dims].sum() / variances.sum(), rel=1e-5)
    whole = np.linalg.norm(sample.database, axis=1)
    assert diagnosis.lengths.shortest == pytest.approx(whole.min())
    assert diagnosis.lengths.longest == pytest.approx(whole.max())
    assert diagnosis.constant_dims == 1
    assert curves.rotated.recall[-1] == curves.svd.recall[-1] == curves.given.recall[-1]
    assert curves.given.recall[-1][0] == 1


def test_an_svd_is_at_least_as_good_as_a_rotation_and_neither_depends_on_the_basis_given() -> None:
    vectors = smooth()
    as_they_are, rotated = diagnose(vectors, **SMALL), diagnose(vectors @ rotation(), **SMALL)
    for curves in (as_they_are.curves, rotated.curves):
        assert all(
            svd[0] > chance[0] for svd, chance in zip(curves.svd.recall[:-1], curves.rotated.recall, strict=False)
        )
    np.testing.assert_allclose(as_they_are.curves.svd.recall, rotated.curves.svd.recall, atol=0.01)


@pytest.mark.parametrize(
    ("scale", "words", "equal_at"),
    [
        (lambda lengths: 1 / lengths, "Rows have length 1 at all dims only", (64,)),
        (
            lambda lengths: np.random.default_rng(0).uniform(0.98, 1.02, lengths.shape) / lengths,
            "nearly of length 1",
            (),
        ),
        (lambda lengths: 7 / lengths, "Rows all have length 7", (64,)),
        (lambda lengths: np.float32(1), "Rows are not normalised (lengths", ()),
        (lambda lengths: 1 / lengths.max(), "none is longer than 1", ()),
    ],
)
def test_lengths_are_told(scale: Any, words: str, equal_at: tuple[int, ...]) -> None:
    vectors = in_steps(8, 16, 32)
    diagnosis = diagnose(vectors * scale(np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), **SMALL)
    assert words in str(diagnosis)
    assert diagnosis.lengths.equal_at == equal_at
    assert diagnosis.shape == "matryoshka"


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_scale_does_not_matter(scale: float) -> None:
    vectors = in_steps(8, 16, 32)
    scaled = diagnose(vectors * np.float32(scale), **SMALL)
    assert (scaled.shape, scaled.energy.steps) == ("matryoshka", (8, 16, 32))
    np.testing.assert_allclose(scaled.curves.svd.recall, diagnose(vectors, **SMALL).curves.svd.recall, atol=0.01)


def test_prefixes_that_are_normalised_too_are_told() -> None:
    vectors = in_steps(8, 16, 32)
    vectors[:, :16] /= np.linalg.norm(vectors[:, :16], axis=1, keepdims=True)
    vectors[:, 16:] /= np.linalg.norm(vectors[:, 16:], axis=1, keepdims=True)
    diagnosis = diagnose(vectors * np.sqrt([0.8] * 16 + [0.2] * 48, dtype=np.float32), **SMALL)
    assert diagnosis.lengths.equal_at == (16, 64)
    assert "length 1 at all dims, and equal lengths at 16 dims too" in str(diagnosis)


def test_zero_and_duplicate_rows_are_counted_and_left_out() -> None:
    vectors = noise(rows=400)
    vectors[7] = 0
    vectors[8] = -0.0
    vectors[100:105] = vectors[20]
    vectors[:, 60:] = 0
    diagnosis = diagnose(vectors, **SMALL)
    assert (diagnosis.drawn, diagnosis.zero_rows, diagnosis.duplicate_rows) == (400, 2, 5)
    assert diagnosis.database_rows + diagnosis.queries == 393
    text = str(diagnosis)
    assert "Zero rows: 2 of 400." in text
    assert "Copies of another row: 5 of 400." in text
    assert "Constant dims: 4 of 64." in text


def test_the_same_seed_gives_the_same_diagnosis_in_any_number_type_and_from_a_file(tmp_path: Path) -> None:
    vectors = in_steps(8, 16, 32).astype(np.float16)
    first = diagnose(vectors, **SMALL)
    assert diagnose(vectors, threads=1, **SMALL) == first
    assert diagnose(vectors, seed=1, **SMALL) != first
    assert diagnose(vectors.astype(np.float64), **SMALL) == dataclasses.replace(first, dtype="float64")
    np.save(tmp_path / "vectors.npy", vectors)
    assert diagnose(np.load(tmp_path / "vectors.npy", mmap_mode="r"), **SMALL) == first


def test_only_the_rows_drawn_are_read() -> None:
    vectors = in_steps(8, 16, 32)
    drawn = np.random.default_rng(0).choice(ROWS, 550, replace=False)
    spoilt = np.full_like(vectors, np.nan)
    spoilt[drawn] = vectors[drawn]
    diagnosis = diagnose(spoilt, rows=500, queries=50, progress=False)
    assert (diagnosis.rows, diagnosis.drawn, diagnosis.database_rows, diagnosis.queries) == (ROWS, 550, 500, 50)
    assert diagnosis.shape == "matryoshka"


def test_json_gives_back_an_equal_diagnosis() -> None:
    for labels in (None, np.arange(ROWS) % 3):
        diagnosis = diagnose(smooth(), labels, **SMALL)
        assert Diagnosis.from_json(diagnosis.to_json()) == diagnosis
        assert json.loads(diagnosis.to_json())["shape"] == "svd"
    with pytest.raises(dataclasses.FrozenInstanceError):
        diagnosis.shape = "matryoshka"  # type: ignore[misc]


def test_the_table_has_a_line_for_each_prefix_and_marks_the_ladder() -> None:
    diagnosis = diagnose(in_steps(16, 32), np.arange(ROWS) % 3, **SMALL)
    lines = str(diagnosis).splitlines()
    heading = next(line for line in lines if "recall@10" in line)
    assert heading.split() == [
        *("dims", "energy", "recall@10", "rotated", "SVD"),
        *("in", "20", "in", "50", "in", "100", "in", "200"),
        *("top-1", "rotated", "SVD"),
    ]
    table = lines[lines.index(heading) + 1 :][: len(diagnosis.curves.prefix_dims)]
    assert [int(line.replace("*", " ").split()[0]) for line in table] == [8, 12, 16, 24, 32, 48, 64]
    assert [int(line[1:].split()[0]) for line in table if line.startswith("*")] == [16, 32, 64]
    assert len({len(line) for line in [heading, *table]}) == 1
    assert max(map(len, lines)) <= 120


def test_a_plot_is_drawn_to_a_file_or_onto_axes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    diagnosis = diagnose(in_steps(8, 16, 32), np.arange(ROWS) % 3, **SMALL)
    diagnosis.plot(tmp_path / "diagnosis.png")
    assert (tmp_path / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    energy, recall, top1 = axes = list(Figure().subplots(1, 3))
    diagnosis.plot(axes)
    assert [tick for tick in energy.get_xticks() if tick in (8, 16, 32)] == [8, 16, 32]
    assert len(recall.lines) == 5
    assert [round(y) for y in top1.lines[1].get_ydata()] == [round(100 * y) for y in diagnosis.curves.given.top1 or ()]
    with pytest.raises(ValueError, match="2 axes were given; this diagnosis has 3 panels"):
        diagnosis.plot(axes[:2])


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install matplotlib \(or adanns\[bench\]\)"):
        diagnose(noise(), **SMALL).plot(tmp_path / "diagnosis.png")


@given(dims=st.integers(2, 5000))
def test_probed_dims_increase_to_all_dims_and_hold_the_default_ladder(dims: int) -> None:
    probed = probed_dims(dims, (dims,))
    assert list(probed) == sorted(set(probed))
    assert probed[0] >= 1
    assert probed[-1] == dims
    assert len(probed) >= 2
    assert set(default_ladder(dims)) <= set(probed)
    assert len(probed) < 40


def test_shortlists_stay_a_small_part_of_the_rows() -> None:
    assert shortlist_sizes(80) == (10, 20)
    assert shortlist_sizes(20_000) == (10, 20, 50, 100, 200, 500)


def test_correlation_is_that_of_the_dims_without_that_of_chance() -> None:
    assert energy_of(noise(rows=300)).correlation < 0.02
    shared = noise(9, 300, 1)
    assert energy_of(shared + noise(rows=300)).correlation == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("vectors", "options", "error", "words"),
    [
        (np.arange(6), {}, TypeError, "vectors have dtype int64"),
        (noise()[0], {}, ValueError, r"vectors have shape \(64,\)"),
        (noise()[:0], {}, ValueError, "vectors are empty"),
        (noise()[:, :1], {}, ValueError, "vectors have 1 dimension; there is no prefix"),
        (noise()[:60], {}, ValueError, "of 60 rows drawn, 60 are distinct and not zero; a diagnosis needs 100 or more"),
        (np.zeros((500, 8), np.float32), {}, ValueError, "of 500 rows drawn, 0 are distinct and not zero"),
        (np.where(np.arange(ROWS)[:, None] == 9, np.nan, noise()), {}, ValueError, "row 9 holds NaN or infinity"),
        (noise(), {"labels": [1, 2]}, ValueError, r"labels have shape \(2,\); expected \(1200,\), one per row"),
        (noise(), {"metric": "dot"}, ValueError, "metric is 'dot'"),
        (noise(), {"ladder": (8, 32)}, ValueError, "ends at 32 but the vectors have 64 dimensions"),
        (noise(), {"rows": 0}, ValueError, "rows=0"),
        (noise(), {"queries": 1.5}, TypeError, "queries is 1.5"),
        (noise(), {"seed": -1}, ValueError, "seed=-1"),
        (noise(), {"threads": 0}, ValueError, "threads=0"),
        (noise(), {"progress": 3}, TypeError, "progress is 3"),
    ],
)
def test_bad_input_is_refused(vectors: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        diagnose(vectors, **options)


def test_progress_is_told_step_by_step() -> None:
    calls: list[tuple[str, int, int]] = []
    diagnose(noise(rows=300), progress=lambda *call: calls.append(call))
    assert [done for _, done, _ in calls] == list(range(1, 20))
    assert {(what, total) for what, _, total in calls} == {("diagnose", 19)}
