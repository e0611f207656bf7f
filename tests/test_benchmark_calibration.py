"""Synthetic ImageNet-1K beside the published figures: the search in shards against a plain one, and what is written."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from twins import distances

from adanns import datasets
from adanns.datasets import Dataset, array_folder, synthetic_imagenet

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is in the extra 'bench'"),
    pytest.mark.filterwarnings("ignore:builtin type Swig"),
]
ROWS, QUERIES = 1500, 60


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("synthetic")
    synthetic_imagenet.write(folder, rows=ROWS, queries=QUERIES, progress=False)
    return array_folder.load(folder, name=synthetic_imagenet.NAME)


def test_neighbours_found_in_shards_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch, small: Dataset) -> None:
    from benchmarks import calibration

    monkeypatch.setattr(calibration, "SHARD_ROWS", 400)
    found = calibration.nearest(small, (8, 64), 5, 20, threads=1, what="test")
    for dims, ids in found.items():
        cosine = distances(small.database[:, :dims], small.queries[:20, :dims], "cosine")
        expected = np.sort(cosine, axis=1)[:, :5]
        np.testing.assert_allclose(np.take_along_axis(cosine, ids, axis=1), expected, atol=1e-5)


def test_shortlists_are_ranked_by_all_dims(small: Dataset) -> None:
    from benchmarks import calibration

    shortlist = np.random.default_rng(0).integers(0, ROWS, (QUERIES, 20))
    ranked = calibration.ranked(small, shortlist)
    cosine = np.take_along_axis(distances(small.database, small.queries, "cosine"), ranked, axis=1)
    assert (np.diff(cosine, axis=1) > -1e-6).all()
    np.testing.assert_array_equal(np.sort(ranked, axis=1), np.sort(shortlist, axis=1))


def test_a_run_puts_every_rung_beside_the_published_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import calibration

    monkeypatch.setattr(datasets, "load", {synthetic_imagenet.NAME: small}.__getitem__)
    options = argparse.Namespace(queries=50, quick=False, threads=1, output=tmp_path)
    assert calibration.run(options) == 1, "so few rows are no ImageNet: their accuracy is far off, which it must say"
    assert "8 " in capsys.readouterr().out
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["dataset"]["synthetic"] is True
    assert [rung["dims"] for rung in content["rungs"]] == list(small.ladder)
    assert [rung["published_top1"] for rung in content["rungs"]][::8] == [62.19, 70.97]
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["top1"]) for row in rows] == pytest.approx([rung["top1"] for rung in content["rungs"]], rel=1e-5)
    assert (tmp_path / "calibration.png").stat().st_size > 10_000
    figure = calibration.figure(content)
    assert "SYNTHETIC" in figure.caption


def test_accuracy_is_that_of_a_plain_search(small: Dataset) -> None:
    from benchmarks import calibration

    rungs = calibration.measure(small, 50, 30, threads=1)
    assert [rung.queries for rung in rungs] == [50] * 4 + [30] * 5
    for rung in rungs[1], rungs[-1]:
        for dataset, top1 in (small, rung.top1), (small.rigid[2048], rung.rigid_top1):
            count = rung.queries if dataset is small else 50
            nearest = distances(
                dataset.database[:, : rung.dims], dataset.queries[:count, : rung.dims], "cosine"
            ).argmin(axis=1)
            expected = np.asarray(small.database_labels)[nearest] == np.asarray(small.query_labels)[:count]
            assert top1 == pytest.approx(100 * expected.mean(), abs=100 / count)
