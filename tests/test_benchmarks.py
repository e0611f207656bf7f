"""The benchmark's own arithmetic, its files, and one tiny run from end to end."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measurements import measurement

from benchmarks import __main__ as command_line
from benchmarks import figures, machine, page, reference, results, summary, table
from benchmarks.pareto import fastest, front
from benchmarks.results import Run
from benchmarks.styles import STYLES

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is in the extra 'bench'")
ROOT = Path(__file__).resolve().parents[1]


def small_run(labels: bool = True) -> Run:
    """Exact search at 100 us, our IVF at 5 us with recall .96 and at 10 us with .98, FAISS's at 30 us with .985."""
    accuracy = {"top1": 0.7, "map10": 0.6} if labels else {}
    rows = [
        measurement("FAISS flat", 100.0, 1.0, parameters={"dims": 128}, **accuracy),
        measurement("FAISS flat", 50.0, 0.6, parameters={"dims": 64}, **accuracy),
        measurement("adanns IVF", 5.0, 0.96, parameters={"lists": 16, "probes": 1, "rerank": [[128, 20]]}, **accuracy),
        measurement("adanns IVF", 10.0, 0.98, parameters={"lists": 16, "probes": 4, "rerank": [[128, 20]]}, **accuracy),
        measurement("FAISS IVF, all dims", 30.0, 0.985, parameters={"lists": 16, "probes": 2}, **accuracy),
    ]
    return Run(
        benchmark="speedup",
        date="2026-01-02T03:04:05+00:00",
        machine={"cpu": "A processor", "cores": 2, "commit": None, "commit_is_dirty": False},
        dataset={
            "name": "</script><b>made up",
            "rows": 1000,
            "dims": 128,
            "queries": 50,
            "metric": "l2",
            "source": "here",
            "ladder": [64, 128],
        },
        options={"threads": 2, "rounds": 3, "seed": 0, "methods": [], "quick": False},
        measurements=rows,
        summary=summary.summarise(rows, 128),
    )


def test_front_keeps_what_nothing_beats() -> None:
    a, b, c = (measurement("m", us, recall) for us, recall in ((10, 0.9), (20, 0.95), (30, 0.99)))
    dearer, worse = measurement("m", 20, 0.9), measurement("m", 25, 0.94)
    assert front([c, dearer, a, worse, b], "batch_us", "recall10") == [a, b, c]


def test_front_takes_the_better_of_two_equally_fast_and_skips_the_unlabelled() -> None:
    good, bad, unlabelled = (
        measurement("m", 10, 0.9, top1=0.8),
        measurement("m", 10, 0.9, top1=0.7),
        measurement("m", 1, 1),
    )
    assert front([bad, unlabelled, good], "batch_us", "top1") == [good]


def test_fastest_reaches_the_target_or_is_none() -> None:
    rows = [measurement("m", 10, 0.9), measurement("m", 20, 0.95), measurement("m", 15, 0.95)]
    assert fastest(rows, "batch_us", "recall10", 0.95) == rows[2]
    assert fastest(rows, "batch_us", "recall10", 0.96) is None


def test_speedup_compares_at_equal_accuracy() -> None:
    comparisons = small_run().summary["comparisons"]
    (at97,) = [c for c in comparisons if (c["cost"], c["quality"], c["target"]) == ("batch_us", "recall10", 0.97)]
    # Recall .97: exact 100 us, ours 10 us (the 5 us setting has only .96), FAISS's best 30 us.
    assert {row["method"]: row["against_exact"] for row in at97["rows"]} == {
        "FAISS flat": 1,
        "adanns IVF": 10,
        "FAISS IVF, all dims": pytest.approx(100 / 30),
    }
    assert (at97["ours"], at97["peer"], at97["ours_against_peer"]) == ("adanns IVF", "FAISS IVF, all dims", 3)
    (at95,) = [c for c in comparisons if (c["cost"], c["target"]) == ("batch_us", 0.95)]
    assert at95["ours_against_peer"] == 6


def test_speedup_without_exact_search_has_no_ratio_to_it() -> None:
    (only, *_) = summary.summarise([measurement("adanns IVF", 5, 1.0)], 128)["comparisons"]
    assert only["exact_us"] is None
    assert only["rows"][0]["against_exact"] is None
    assert only["ours_against_peer"] is None


def test_rigid_twin_is_compared_at_the_top1_it_reaches() -> None:
    rigid = "FAISS IVF, rigid model"
    rows = [
        measurement(rigid, 100.0, None, family="rigid", top1=0.700),
        measurement(rigid, 400.0, None, family="rigid", top1=0.712),
        measurement("adanns IVF", 5.0, 0.9, top1=0.711),
        measurement("adanns IVF", 8.0, 0.99, top1=0.713),
    ]
    compared = summary.summarise(rows, 128)["against_rigid"]
    batch = {row["label"]: row for row in compared if row["cost"] == "batch_us"}
    assert (batch["its best"]["rigid_us"], batch["its best"]["our_us"], batch["its best"]["ratio"]) == (400, 8, 50)
    assert batch["its best - 0.1 points"]["ratio"] == 80
    assert batch["its best - 0.5 points"]["ratio"] == 80
    assert "50.0x" in table.rigid_table(compared)


def test_recall_of_a_rigid_twin_is_in_no_comparison() -> None:
    rows = [measurement("FAISS IVF, rigid model", 1.0, None, family="rigid"), measurement("adanns IVF", 5.0, 0.99)]
    compared = [one for one in summary.summarise(rows, 128)["comparisons"] if one["quality"] == "recall10"]
    assert {row["method"] for one in compared for row in one["rows"]} == {"adanns IVF"}


@needs_faiss
@pytest.mark.filterwarnings("ignore:builtin type Swig")
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_exact_search_in_chunks_equals_numpy(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from adanns.datasets import Dataset
    from benchmarks import data

    monkeypatch.setattr(data, "CHUNK_BYTES", 4 * 12 * 7)  # 7 rows, fewer than K
    rng = np.random.default_rng(0)
    database, queries = (rng.standard_normal((rows, 12)).astype(np.float32) for rows in (50, 5))
    dataset = Dataset("made", database, queries, None, None, (12,), metric, "here", "none")
    workload, rows = data.prepare(dataset, None, seed=0, threads=1)
    if metric == "cosine":
        database, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (database, queries))
    products = queries @ database.T
    distances = (database**2).sum(1) - 2 * products if metric == "l2" else -products
    np.testing.assert_array_equal(workload.exact_ids, np.argsort(distances, axis=1)[:, : data.K])
    np.testing.assert_allclose(np.concatenate(list(rows.chunks())), database, rtol=1e-6)
    assert rows.sample(20, seed=1).shape == (20, 12)


def test_report_names_methods_speedups_and_shared_parameters() -> None:
    text = table.report(small_run())
    assert "adanns IVF (lists 16, rerank 128:20)" in text
    assert re.search(r"^  probes 4 +0\.9800 +0\.7000 +0\.6000 +10\.0 +100,000 ", text, re.MULTILINE)
    assert re.search(r"^adanns IVF .* 10\.0 \(10\.0x\)", text, re.MULTILINE)
    assert re.search(r"^our best over the peers' best .* 6\.0x +3\.0x", text, re.MULTILINE)
    assert "top-1 against" not in table.report(small_run(labels=False))


def test_numbers_have_three_digits() -> None:
    assert [table.number(value) for value in (0.01234, 1.234, 12.34, 123.4, 12345.6)] == [
        "0.012",
        "1.23",
        "12.3",
        "123",
        "12,346",
    ]


def test_json_reads_back_what_was_written(tmp_path: Path) -> None:
    run = small_run()
    results.write_json(run, tmp_path / "results.json")
    assert results.read_json(tmp_path / "results.json") == run


def test_csv_has_one_line_per_setting(tmp_path: Path) -> None:
    rows = small_run(labels=False).measurements
    results.write_csv(rows, tmp_path / "results.csv")
    read = results.read_csv(tmp_path / "results.csv")
    assert [float(line["batch_us"]) for line in read] == [row.batch_us for row in rows]
    assert json.loads(read[2]["parameters"]) == rows[2].parameters
    assert read[0]["top1"] == ""


def test_page_loads_nothing_from_elsewhere() -> None:
    text = page.render(small_run(), figures.figures(small_run()))
    assert "http" not in text
    assert not re.search(r"""\b(src|href)\s*=\s*["'](?!data:)|@import|url\(|\bfetch\(|\bimport\b""", text)
    assert not re.search(r"/\*(STYLE|SCRIPT|CONTENT)\*/", text)


def test_page_keeps_data_inside_their_element() -> None:
    text = page.render(small_run(), figures.figures(small_run()))
    assert "<b>made up" not in text
    (content,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)
    assert json.loads(content)["run"] == dataclasses.asdict(small_run())


@pytest.mark.parametrize("labels", [True, False])
def test_every_curve_has_a_style(labels: bool) -> None:
    drawn = figures.figures(small_run(labels))
    assert {figure.key for figure in drawn} >= {"recall", "equal_recall"}
    assert ("map_mflops" in {figure.key for figure in drawn}) is labels
    for figure in drawn:
        assert len(figure.panels) == 2
        assert {series.name for panel in figure.panels for series in panel.series} <= set(STYLES)


def test_plots_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks import plots

    paths = plots.draw_all(figures.figures(small_run()), tmp_path)
    assert [path.name for path in paths] == [f"{figure.key}.png" for figure in figures.figures(small_run())]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_recall_that_misses_three_of_ten_thousand_is_not_drawn_at_one() -> None:
    pytest.importorskip("matplotlib")
    from benchmarks import plots

    assert plots._recall_height(0.9997) < plots._recall_height(1.0)
    script = (Path(page.__file__).parent / "page_assets" / "chart.js").read_text(encoding="utf-8")
    assert f"const RECALL_ONE = {plots.RECALL_ONE};" in script  # the page draws it there too


def test_draw_writes_page_and_plots_from_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results.write_json(small_run(), tmp_path / "results.json")
    command = [sys.executable, "-m", "benchmarks", "draw", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == table.report(small_run()).strip()
    assert (tmp_path / "index.html").read_text() == page.render(small_run(), figures.figures(small_run()))
    assert (tmp_path / "recall.png").exists()


def test_published_curves_hold_the_papers_headlines() -> None:
    # shared/reference: AR 16 -> 2048 reaches mAP@10 65.27 at 20.9 MFLOPs; AdANNS-IVF 70.1 near .06 ms, rigid needs 5.6.
    assert (20.91, 65.27) in [(x, y) for x, y, _ in reference.map_by_mflops()["MRL adaptive"]]
    curves = reference.top1_by_milliseconds()
    assert any(x < 0.065 and y > 70.1 for x, y, _ in curves["AdANNS-IVF"])
    assert min(x for x, y, _ in curves["rigid IVF"] if y > 70.1) > 5
    assert [x for x, _, _ in reference.top1_by_dims()["MRL"]] == [8, 16, 32, 64, 128, 256, 512, 1024, 2048]


def test_environment_must_be_prepared_before_numpy_is_loaded() -> None:
    with pytest.raises(RuntimeError, match=r"numpy.* imported before"):
        machine.prepare_environment(2)


def test_blas_gets_kernels_and_threads_for_this_processor() -> None:
    code = "from benchmarks import machine; print(machine.prepare_environment(3))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    flags = machine.cpu_info().get("flags", "").split()
    core = "'SkylakeX'" if "avx512vl" in flags else "'Haswell'" if "avx2" in flags else "None"
    assert done.stdout.strip() == (
        f"{{'OPENBLAS_CORETYPE': {core}, 'OPENBLAS_NUM_THREADS': '3', 'OMP_NUM_THREADS': '3'}}"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speedup", "--methods", "ivf,gpu"], "'gpu' is unknown; choose from exact, funnel, ivf"),
        (["speedup", "--threads", "0"], "'0' is not a whole number from 1 on"),
        (["speedup", "--rounds", "two"], "'two' is not a whole number from 1 on"),
        ([], "BENCHMARK"),
    ],
)
def test_bad_options_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main(arguments)
    assert message in capsys.readouterr().err


@needs_faiss
@pytest.mark.filterwarnings("ignore:builtin type Swig")
def test_all_methods_share_one_sweep() -> None:
    from benchmarks.methods.base import Sweep

    ladder = (8, 16, 32, 64, 128)
    # 4 * sqrt(50,000) = 894, nearest power of two 1024, 49 rows each; 4 * sqrt(1,000,000) = 4000, so 4096.
    assert Sweep.of(50_000, ladder, seed=0, quick=False).lists == 1024
    assert Sweep.of(1_000_000, ladder, seed=0, quick=False).lists == 4096
    # 4 * sqrt(1000) = 126 lists would hold 8 rows each; 1000 / 39 = 25.6, so 16.
    small = Sweep.of(1000, ladder, seed=0, quick=False)
    assert (small.lists, small.probes, small.prefixes) == (16, (1, 2, 4, 8, 16), (32, 64))
    assert Sweep.of(1000, (8, 16), seed=0, quick=False).prefixes == (8,)
    rigid = small.for_rigid_twin(128)
    assert (rigid.lists, rigid.probes, rigid.prefixes) == (4, (1, 2, 4), (128,))


@needs_faiss
def test_tiny_run_from_end_to_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 20, 1600)
    # Every class has a centre; later dims carry less, as in a Matryoshka embedding.
    vectors = rng.standard_normal((20, 64))[labels] + 0.5 * rng.standard_normal((1600, 64))
    vectors = (vectors / np.sqrt(1 + np.arange(64))).astype(np.float16)
    np.save(tmp_path / "database.npy", vectors[:1500])
    np.save(tmp_path / "queries.npy", vectors[1500:])
    np.save(tmp_path / "database_labels.npy", labels[:1500])
    np.save(tmp_path / "query_labels.npy", labels[1500:])
    (tmp_path / "ladder.json").write_text("[8, 16, 32, 64]")
    # The rigid twin: the same vectors turned, so that a prefix means little.
    (tmp_path / "rigid-64").mkdir()
    turned = vectors @ np.linalg.qr(rng.standard_normal((64, 64)))[0].astype(np.float16)
    np.save(tmp_path / "rigid-64" / "database.npy", turned[:1500])
    np.save(tmp_path / "rigid-64" / "queries.npy", turned[1500:])

    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "speedup",
        "--dataset",
        f"npy:{tmp_path}",
        "--quick",
        "--threads",
        "1",
    ]
    output = tmp_path / "results"
    done = subprocess.run([*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "us per query at equal recall@10" in done.stdout

    run = results.read_json(output / "results.json")
    assert {row.method for row in run.measurements} <= set(STYLES)
    assert len({row.method for row in run.measurements}) == len(command_line.METHODS)
    assert str(tmp_path) not in (output / "results.json").read_text()
    assert (run.dataset["rows"], run.dataset["queries"], run.options["threads"]) == (1500, 100, 1)
    exact = [row for row in run.measurements if row.method == "adanns exact" and row.parameters == {"dims": 64}]
    assert exact[0].recall10 is not None
    assert exact[0].recall10 >= 0.999
    rigid = [row for row in run.measurements if row.family == "rigid"]
    assert {row.recall10 for row in rigid} == {None}
    (rigid_exact,) = [row for row in rigid if row.method == "FAISS flat, rigid model"]
    # Turned vectors have the same neighbours, but for their rounding.
    assert rigid_exact.top1 == pytest.approx(exact[0].top1, abs=0.03)
    assert {row["method"] for row in run.summary["against_rigid"]} == set(summary.RIGID_IVF_METHODS)
    assert "Against IVF on the rigid twin" in done.stdout
    assert exact[0].mflops == 1500 * 64 / 1e6
    for row in run.measurements:
        assert row.batch_us_fastest <= row.batch_us <= row.batch_us_slowest
        assert 0 < row.latency_p50_us <= row.latency_p99_us
        assert row.mflops > 0
        assert row.bytes_per_vector > 2 * row.parameters.get("dims", 0)
    names = {path.name for path in output.iterdir()}
    assert names >= {"results.csv", "results.json", "index.html", "recall.png", "top1_dims.png"}


@needs_faiss
def test_a_data_set_that_is_not_there_is_one_line_not_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "dims", "--dataset", f"npy:{tmp_path / 'nowhere'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nowhere: no such folder" in done.stderr


@needs_faiss
@pytest.mark.filterwarnings("ignore:builtin type Swig")
def test_rounds_time_all_once_and_contenders_every_time() -> None:
    from benchmarks.data import Accuracy
    from benchmarks.measure import measure
    from benchmarks.methods.base import Built, Setting, constant

    calls: list[tuple[str, int, int]] = []

    def setting(name: str, seconds: float) -> Setting:
        def search(queries: Any, k: int, threads: int) -> Any:
            calls.append((name, len(queries), threads))
            time.sleep(seconds if len(queries) == 40 else 0)
            return np.full((len(queries), k), {"good": 1, "slow": 1, "poor": 0}[name])

        return Setting({"name": name}, search, constant(7.5))

    class Workload:
        queries = np.zeros((40, 8), dtype=np.float32)

        def accuracy(self, ids: Any) -> Accuracy:
            return Accuracy(recall10=float(ids.mean()), top1=None, map10=None)

    # "slow" is no better than "good" at ten times its time; "poor" is the fastest.
    settings = [setting("good", 0.02), setting("slow", 0.2), setting("poor", 0.001)]
    built = Built("m", "faiss", 1.0, 100.0, settings)
    workload: Any = Workload()
    rows = measure([built], workload, rounds=3, threads=2, seed=0, progress=False)
    assert [(row.parameters["name"], row.recall10, row.rounds, row.mflops) for row in rows] == [
        ("good", 1.0, 3, 7.5),
        ("slow", 1.0, 1, 7.5),
        ("poor", 0.0, 3, 7.5),
    ]
    assert 500 <= rows[0].batch_us <= 5000  # 20 ms for 40 queries, and what a busy machine adds
    # Batches run on the threads asked for, single queries on one.
    assert {threads for _, count, threads in calls if count == 40} == {2}
    assert {threads for _, count, threads in calls if count == 1} == {1}
